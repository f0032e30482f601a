//! Three servers on one database, one of which is killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    harness::{Boot, Client, Server, eventually, init_by, postgres},
    sync::delivered,
};

const SECRETS: usize = 12;

/// The number that a destination holds.
fn held(file: &std::path::Path) -> Option<u64> {
    delivered(file).values().next()?.split_once(":\"")?.1.trim_end_matches("\"}").parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_its_work_goes_on_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let Some(database) = postgres() else { return };
    let config = database.config(home.path(), "");
    let token = init_by(&config);
    let mut servers: Vec<_> = (0..3).map(|_| Boot::config(&config, &token).start()).collect();
    let clients: Vec<Client> = servers.iter().map(Server::client).collect();
    clients[0].post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let file = |n: usize| home.path().join(format!("f{n}.json"));
    for n in 0..SECRETS {
        let client = &clients[n % 3];
        client.post(&format!("secret/data/s{n}"), json!({ "data": { "n": "0" } })).await.expect(200);
        let destination = format!("sys/sync/destinations/file/f{n}");
        client.post(&destination, json!({ "path": file(n) })).await.expect(200);
        let association = json!({ "mount": "secret", "secret_name": format!("s{n}") });
        // Through a server that need not be the one that works for it.
        let other = &clients[(n + 1) % 3];
        let set = other.post(&format!("{destination}/associations/set"), association).await.expect(200);
        assert!(set.text.contains("SYNCED"), "{}", set.text);
    }
    let nodes = async |client: &Client| client.get("sys/ha-status").await.expect(200).data()["nodes"].clone();
    let told = nodes(&clients[2]).await;
    assert_eq!(told.as_array().unwrap().len(), 3, "{told}");
    assert_eq!(told.as_array().unwrap().iter().filter(|node| node["active_node"] == true).count(), 1);
    assert_eq!(clients[1].get("sys/leader").await.json()["ha_enabled"], true);
    clients[0].get("sys/health").await.expect(200);

    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..SECRETS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..SECRETS {
        let (clients, acknowledged, stop) = (clients.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
        writers.spawn(async move {
            for number in 1_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return number - 1;
                }
                let client = &clients[usize::try_from(number).unwrap() % 3];
                let body = json!({ "data": { "n": number.to_string() } });
                let answer = client.try_call("POST", &format!("secret/data/s{n}"), Some(body)).await;
                if answer.is_ok_and(|answer| answer.status == 200) {
                    acknowledged[n].store(number, Ordering::Relaxed);
                }
            }
            0
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    servers.remove(1).kill();
    let (killed, at): (_, Vec<_>) =
        (Instant::now(), acknowledged.iter().map(|number| number.load(Ordering::Relaxed)).collect());
    // What is written from now on arrives at every destination, whoever had worked for it.
    let mut longest = Duration::ZERO;
    for (n, before) in at.iter().enumerate() {
        eventually("work goes on", async || held(&file(n)).filter(|now| now > before)).await;
        longest = longest.max(killed.elapsed());
    }
    println!("every destination was served again {longest:?} after the kill");
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let total: u64 = acknowledged.iter().map(|number| number.load(Ordering::Relaxed)).sum();
    println!("{total} writes were acknowledged in {:?}", killed.elapsed() + Duration::from_secs(2));
    for n in 0..SECRETS {
        let stored = clients[2].get(&format!("secret/data/s{n}")).await.expect(200).data();
        let stored: u64 = stored["data"]["n"].as_str().unwrap().parse().unwrap();
        assert!(stored >= acknowledged[n].load(Ordering::Relaxed), "an acknowledged write of s{n} is lost");
        eventually("the newest value", async || held(&file(n)).filter(|now| *now == stored)).await;
    }
    eventually("the dead one is missed", async || {
        (nodes(&clients[0]).await.as_array().unwrap().len() == 2).then_some(())
    })
    .await;
}
