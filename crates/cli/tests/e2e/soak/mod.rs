//! A day's worth of requests in minutes: many connections, each doing what clients do, over and over. Afterwards nothing may be
//! left of it, neither in the process's memory nor in the store. The end-to-end tests run it small, `benches/run soak` large.

mod store;
mod work;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Boot, Client, Server, eventually, init};
pub(crate) use store::Counts;
use work::Worker;

/// How much, by how many, and for how long at most.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) operations: u64,
    pub(crate) connections: usize,
    pub(crate) limit: Duration,
}

/// What it came to.
pub(crate) struct Report {
    pub(crate) operations: u64,
    pub(crate) took: Duration,
    /// Taken every half second while it ran.
    pub(crate) samples: Vec<Sample>,
    /// Records by tag before, and after all was cleaned up.
    pub(crate) before: Counts,
    pub(crate) after: Counts,
    /// Bytes of the store's file before and after.
    pub(crate) file: (u64, u64),
}

/// What the process was like at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Operations done so far.
    pub(crate) done: u64,
    pub(crate) at: Duration,
    /// Resident memory in MB.
    pub(crate) resident: f64,
}

impl Report {
    /// The samples taken between two parts of the way, in percent.
    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Sample> {
        let (from, to) = (self.operations * from / 100, self.operations * to / 100);
        self.samples.iter().filter(move |sample| (from..=to).contains(&sample.done))
    }

    /// Mean resident memory within a part of the way, in MB.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand samples")]
    pub(crate) fn resident(&self, from: u64, to: u64) -> f64 {
        let samples: Vec<_> = self.between(from, to).map(|sample| sample.resident).collect();
        samples.iter().sum::<f64>() / samples.len() as f64
    }

    /// Operations a second within a part of the way.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(crate) fn rate(&self, from: u64, to: u64) -> f64 {
        let mut part = self.between(from, to);
        let first = part.next();
        match (first, part.last()) {
            (Some(first), Some(last)) => {
                (last.done - first.done) as f64 / last.at.saturating_sub(first.at).as_secs_f64()
            }
            _ => f64::NAN,
        }
    }
}

/// Runs it on a store of its own, in a directory.
pub(crate) async fn run(home: &Path, plan: Plan) -> Report {
    let data = home.join("data");
    let token = init(&data);
    let boot = || Boot::data(&data, &token).start();

    // What one of each leaves for good (a mount, a role, the entity of whoever logged in) is there from here on.
    let server = boot();
    prepare(&server.client()).await;
    let small = Plan { operations: 3_000.min(plan.operations), ..plan };
    work_off(&server, small, &mut Vec::new()).await;
    end(server).await;
    let before = settled(&data, boot, Counts::at_rest).await;
    let file_before = store::bytes_in(&data);

    let server = boot();
    let mut samples = Vec::new();
    let begun = Instant::now();
    let operations = work_off(&server, plan, &mut samples).await;
    let took = begun.elapsed();
    end(server).await;
    let after = settled(&data, boot, |counts| *counts == before).await;
    Report { operations, took, samples, before, after, file: (file_before, store::bytes_in(&data)) }
}

/// What the work needs: a mount, rights, ways to log in, a destination.
async fn prepare(client: &Client) {
    let policy =
        r#"path "soak/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }"#;
    for (path, body) in [
        ("sys/mounts/soak", json!({ "type": "kv-v2" })),
        ("soak/config", json!({ "max_versions": 5 })),
        ("sys/policies/acl/soak", json!({ "policy": policy })),
        ("sys/auth/approle", json!({ "type": "approle" })),
        ("auth/approle/role/soak", json!({ "token_policies": "soak", "token_ttl": "2s" })),
        ("sys/auth/userpass", json!({ "type": "userpass" })),
        (
            "auth/userpass/users/soak",
            json!({ "password": "a long word", "token_policies": "soak", "token_ttl": "2s" }),
        ),
        ("sys/sync/destinations/in-mem/soak", json!({})),
    ] {
        let answer = client.post(path, body).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
    }
    // The first login of each leaves an entity; the work comes to a password too seldom to rely on it.
    let role = role_id(client).await;
    let made = client.post("auth/approle/role/soak/secret-id", json!({})).await.data();
    let by_role = json!({ "role_id": role, "secret_id": made["secret_id"] });
    client.post("auth/approle/login", by_role).await.expect(200);
    client.post("auth/userpass/login/soak", json!({ "password": "a long word" })).await.expect(200);
    let accessor = json!({ "secret_id_accessor": made["secret_id_accessor"] });
    client.post("auth/approle/role/soak/secret-id-accessor/destroy", accessor).await.expect(204);
}

async fn role_id(client: &Client) -> String {
    client.get("auth/approle/role/soak/role-id").await.data()["role_id"].as_str().unwrap().to_owned()
}

/// Does the work, and cleans up after it. Tells how many operations it was.
async fn work_off(server: &Server, plan: Plan, samples: &mut Vec<Sample>) -> u64 {
    let client = server.client();
    let role = role_id(&client).await;
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let until = begun + plan.limit;
    let mut workers = JoinSet::new();
    for number in 0..plan.connections {
        let worker = Worker::connect(server.address(), &server.token, &role, number, Arc::clone(&done)).await;
        workers.spawn(worker.work(plan.operations, until));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut ticks = 0u32;
    while !workers.is_empty() {
        tokio::select! {
            ended = workers.join_next() => { ended.unwrap().unwrap(); }
            _ = tick.tick() => {
                let (done, at) = (done.load(Ordering::Relaxed), begun.elapsed());
                samples.push(Sample { done, at, resident: store::resident(server.pid()) });
                ticks += 1;
                // What expired is swept now and then in a day; here, every few seconds.
                if ticks.is_multiple_of(10) {
                    client.post("auth/token/tidy", json!({})).await.expect(202);
                }
            }
        }
    }
    let operations = done.load(Ordering::Relaxed);
    clean(&client).await;
    operations
}

/// Until nothing of the work is to be seen through the API.
async fn clean(client: &Client) {
    let list = "sys/sync/destinations/in-mem/soak/associations";
    let all = client.get(list).await.data();
    for (_, entry) in all["associated_secrets"].as_object().unwrap() {
        let body = json!({ "mount": "soak", "secret_name": entry["secret_name"] });
        client.post(&format!("{list}/remove"), body).await.expect(200);
    }
    eventually("no association is left", async || {
        let left = client.get(list).await.data();
        left["associated_secrets"].as_object().is_none_or(serde_json::Map::is_empty).then_some(())
    })
    .await;
    for folder in keys(&client.list("soak/metadata").await.json()) {
        for key in keys(&client.list(&format!("soak/metadata/{folder}")).await.json()) {
            client.delete(&format!("soak/metadata/{folder}{key}")).await.expect(204);
        }
    }
    assert_eq!(client.list("soak/metadata").await.status, 404);
    // The root token is the only one that is left once what expired is swept.
    eventually("no token is left", async || {
        client.post("auth/token/tidy", json!({})).await.expect(202);
        let left = keys(&client.list("auth/token/accessors").await.json()).len();
        (left == 1).then_some(())
    })
    .await;
}

fn keys(list: &Value) -> Vec<String> {
    let keys = list["data"]["keys"].as_array().into_iter().flatten();
    keys.map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// What is in the store once what had a second to live is swept, or after many looks. Answers that were wrapped and what tokens
/// kept are listed nowhere, so nobody can ask for them; a server sweeps when it starts.
async fn settled(data: &Path, boot: impl Fn() -> Server, is_settled: impl Fn(&Counts) -> bool) -> Counts {
    for _ in 0..100 {
        let counts = Counts::of(data).await;
        if is_settled(&counts) {
            return counts;
        }
        let server = boot();
        server.client().post("auth/token/tidy", json!({})).await.expect(202);
        end(server).await;
    }
    Counts::of(data).await
}

/// Asks it to stop, and waits until it did.
async fn end(server: Server) {
    server.signal("TERM");
    let (status, _, log) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(status.success(), "{log}");
}
