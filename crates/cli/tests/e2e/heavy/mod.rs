//! The crash tests: a server, and the database it is on, killed again and again while it writes and syncs. Every
//! acknowledged write must be there afterwards, and the destinations must come to equal the source:
//! nothing missing, nothing left behind, nothing twice.
//!
//! More of it: `KEYFERRY_KILLS=1000 cargo nextest run --profile kills -p cli --test e2e heavy::`

mod database;
mod limits;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use model::{Entropy as _, SeededEntropy};
use serde_json::{Value, json};

use crate::harness::{Aws, Boot, Client, Cluster, Server, eventually, init, moto};

/// How often something is killed: as often as was asked for, else `usual`.
fn cycles(usual: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a tester's switch")]
    let asked = std::env::var("KEYFERRY_KILLS").ok();
    asked.map_or(usual, |asked| asked.parse().expect("KEYFERRY_KILLS is a number"))
}

const SECRETS: u64 = 12;
const REGION: &str = "ap-south-1";
const DESTINATIONS: [&str; 2] = ["aws-sm/crash", "file/crash"];

/// What clients were told, and what they asked without being told.
#[derive(Default)]
struct Ledger {
    /// Secret → the number in the last acknowledged write (none: its removal was acknowledged), and every
    /// outcome that was asked for since then without an answer.
    secrets: BTreeMap<String, (Option<u64>, Vec<Option<u64>>)>,
    acknowledged: u64,
}

impl Ledger {
    fn asked(&mut self, secret: &str, wanted: Option<u64>) {
        self.secrets.entry(secret.to_owned()).or_default().1.push(wanted);
    }

    fn told(&mut self, secret: &str, got: Option<u64>) {
        self.secrets.insert(secret.to_owned(), (got, Vec::new()));
        self.acknowledged += 1;
    }
}

/// Writes and removes until the server is gone. `troubled`: its database may be, too, and then it says that
/// something may or may not have been done.
async fn scribble(client: Client, ledger: Arc<Mutex<Ledger>>, worker: u64, seed: u64, troubled: bool) {
    let dice = SeededEntropy::new(seed);
    for step in 0.. {
        let mut bytes = [0; 2];
        dice.fill(&mut bytes);
        // Each worker has its own secrets: the ledger needs to know the order of writes to one.
        let secret = format!("s{}", worker + 3 * (u64::from(bytes[0]) % (SECRETS / 3)));
        let number = seed * 1_000_000 + step;
        let (path, body, wanted) = match bytes[1] % 10 {
            0 => ("metadata", None, None),
            _ => ("data", Some(json!({ "data": { "n": number, "pad": "x".repeat(200) } })), Some(number)),
        };
        ledger.lock().unwrap().asked(&secret, wanted);
        let method = if wanted.is_some() { "POST" } else { "DELETE" };
        match client.try_call(method, &format!("secret/{path}/{secret}"), body).await {
            Ok(answer) if answer.status.is_success() => ledger.lock().unwrap().told(&secret, wanted),
            Ok(answer) if troubled && answer.status.is_server_error() => {}
            Ok(answer) => panic!("{method} {secret}: {answer:?}"),
            Err(_) => return,
        }
    }
}

/// Sets and removes associations until the server is gone; returns nothing, as what it was told is asked
/// for again at the end.
async fn associate(client: Client, seed: u64, troubled: bool) {
    let dice = SeededEntropy::new(seed ^ 0x5eed);
    loop {
        let mut bytes = [0; 3];
        dice.fill(&mut bytes);
        let secret = format!("s{}", u64::from(bytes[0]) % SECRETS);
        let destination = DESTINATIONS[usize::from(bytes[1] % 2)];
        let verb = if bytes[2].is_multiple_of(4) { "remove" } else { "set" };
        let path = format!("sys/sync/destinations/{destination}/associations/{verb}");
        match client.try_call("POST", &path, Some(json!({ "mount": "secret", "secret_name": secret }))).await
        {
            // A secret that is gone cannot be associated; that is a fair answer here.
            Ok(answer) => assert!(troubled || answer.status.as_u16() < 500, "{answer:?}"),
            Err(_) => return,
        }
    }
}

/// What the source says of a secret now.
async fn read(client: &Client, secret: &str) -> Option<u64> {
    let answer = client.get(&format!("secret/data/{secret}")).await;
    match answer.status.as_u16() {
        200 => Some(answer.data()["data"]["n"].as_u64().unwrap()),
        404 => None,
        _ => panic!("{answer:?}"),
    }
}

/// Compares every secret with what was promised, and takes what is there as the new truth.
async fn check(client: &Client, ledger: &Mutex<Ledger>, cycle: u32) {
    let expected = ledger.lock().unwrap().secrets.clone();
    for (secret, (acknowledged, asked)) in expected {
        let found = read(client, &secret).await;
        assert!(
            found == acknowledged || asked.contains(&found),
            "cycle {cycle}: {secret} is {found:?}; acknowledged {acknowledged:?}, asked since {asked:?}"
        );
        ledger.lock().unwrap().secrets.insert(secret, (found, Vec::new()));
    }
}

/// Destination → secret → the name it has there, for every association.
async fn associations(client: &Client) -> BTreeMap<&'static str, BTreeMap<String, (String, Value)>> {
    let mut all = BTreeMap::new();
    for destination in DESTINATIONS {
        let data = client.get(&format!("sys/sync/destinations/{destination}/associations")).await.data();
        let rows = data["associated_secrets"].as_object().unwrap().values().map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            (text("secret_name"), (text("external_name"), entry["sync_status"].clone()))
        });
        all.insert(destination, rows.collect());
    }
    all
}

/// Whether both destinations hold exactly what the associations say; what is wrong if not.
async fn converged(client: &Client, aws: &Aws, accessor: &str, file: &Path) -> Result<usize, String> {
    let mut entries = 0;
    for (destination, rows) in associations(client).await {
        let mut wanted = BTreeMap::new();
        for (secret, (name, status)) in rows {
            match read(client, &secret).await {
                Some(number) if status == "SYNCED" => {
                    wanted.insert(name, number);
                }
                None if status == "UNSYNCED" => {}
                live => return Err(format!("{destination} {secret}: {status}, source {live:?}")),
            }
        }
        entries += wanted.len();
        let mut found = BTreeMap::new();
        if destination == "aws-sm/crash" {
            for name in aws.names(&format!("vault/{accessor}/")).await {
                let value = aws.value(&name).await;
                found.insert(name, value.and_then(|v| v["n"].as_u64()).unwrap_or_default());
            }
        } else {
            for (name, value) in crate::sync::delivered(file) {
                let value: Value = serde_json::from_str(&value).unwrap_or_default();
                found.insert(name, value["n"].as_u64().unwrap_or_default());
            }
        }
        if found != wanted {
            return Err(format!("{destination}: wanted {wanted:?}, found {found:?}"));
        }
    }
    Ok(entries)
}

/// What is killed in a cycle: the server always, at its end.
#[derive(Clone, Copy, PartialEq)]
enum Also {
    Nothing,
    /// Its database, from which the server recovers by itself first.
    DatabaseBefore,
    /// Its database, in the same moment.
    DatabaseTogether,
}

/// Kills a server that `boot` starts, and its database, `cycles` times.
async fn kill_again_and_again(
    home: &Path,
    boot: impl Fn() -> Server,
    mut database: Option<&mut Cluster>,
    cycles: u32,
) {
    let Some(moto) = moto() else { return };
    let delivered = home.join("delivered.json");
    let server = boot();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let accessor = client.get("sys/mounts/secret").await.data()["accessor"].as_str().unwrap().to_owned();
    let config = json!({
        "access_key_id": "a", "secret_access_key": "b", "region": REGION, "endpoint": moto,
        "recovery_window_in_days": 0,
    });
    client.post("sys/sync/destinations/aws-sm/crash", config).await.expect(200);
    client.post("sys/sync/destinations/file/crash", json!({ "path": delivered })).await.expect(200);
    // The guard against mass deletes is another test's business.
    server.kill();

    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let enough = async |more: u64| {
        // A busy machine gets its work done before the kill too, only later.
        let enough = ledger.lock().unwrap().acknowledged + more;
        eventually("some acknowledged writes", async || {
            (ledger.lock().unwrap().acknowledged >= enough).then_some(())
        })
        .await;
    };
    let dice = SeededEntropy::new(4);
    for cycle in 0..cycles {
        let server = boot();
        let client = server.client();
        check(&client, &ledger, cycle).await;
        let also = match (&database, cycle % 3) {
            (None, _) | (_, 0) => Also::Nothing,
            (_, 1) => Also::DatabaseBefore,
            _ => Also::DatabaseTogether,
        };
        let mut work = tokio::task::JoinSet::new();
        for worker in 0..3 {
            let seed = u64::from(cycle) * 3 + worker + 1;
            work.spawn(scribble(client.clone(), ledger.clone(), worker, seed, also != Also::Nothing));
        }
        work.spawn(associate(client.clone(), u64::from(cycle), also != Also::Nothing));
        enough(8).await;
        let mut wait = [0];
        dice.fill(&mut wait);
        // Really waits: the moment of the kill is what is being varied.
        tokio::time::sleep(Duration::from_millis(u64::from(wait[0]) / 3)).await;
        match (&mut database, also) {
            (Some(database), Also::DatabaseBefore) => {
                database.crash();
                database.start();
                enough(8).await;
                server.kill();
            }
            (Some(database), Also::DatabaseTogether) => {
                database.crash();
                server.kill();
                database.start();
            }
            _ => server.kill(),
        }
        while let Some(done) = work.join_next().await {
            done.unwrap();
        }
    }

    let server = boot();
    let client = server.client();
    check(&client, &ledger, cycles).await;
    let aws = Aws::new(&moto, REGION);
    let last = Mutex::new(String::new());
    let settled = eventually("the destinations to equal the source", async || {
        match converged(&client, &aws, &accessor, &delivered).await {
            Ok(entries) => Some(entries),
            Err(difference) => {
                *last.lock().unwrap() = difference;
                None
            }
        }
    });
    let entries = tokio::time::timeout(Duration::from_secs(59), settled)
        .await
        .unwrap_or_else(|_| panic!("not converged: {}", last.lock().unwrap()));
    let acknowledged = ledger.lock().unwrap().acknowledged;
    assert!(
        acknowledged >= 8 * u64::from(cycles),
        "only {acknowledged} writes were acknowledged: too few to prove much"
    );
    assert!(entries > 4, "only {entries} entries were delivered: too few to prove much");
    println!("{cycles} kills, {acknowledged} acknowledged writes, {entries} delivered entries");
}

fn for_crashes(boot: Boot) -> Server {
    boot.env("KEYFERRY_SYNC_ALLOW_PRIVATE_NETWORKS", "true").env("KEYFERRY_SYNC_QUOTA_PERCENT", "0").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing_and_leave_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let token = init(&data);
    kill_again_and_again(home.path(), || for_crashes(Boot::data(&data, &token)), None, cycles(200)).await;
}
