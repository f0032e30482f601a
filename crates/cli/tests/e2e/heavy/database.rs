//! A server whose database dies, or is reached over a connection that cuts, holds back and swallows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use model::{Entropy as _, SeededEntropy};
use serde_json::json;

use super::{Ledger, check, cycles, for_crashes, kill_again_and_again, scribble};
use crate::harness::{Boot, Cluster, Proxy, Traffic, eventually, init_by, keyferry, postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_servers_and_their_database_loses_nothing_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start_new() else { return };
    let config = cluster.database().config(home.path(), "");
    let token = init_by(&config);
    let boot = || for_crashes(Boot::config(&config, &token));
    kill_again_and_again(home.path(), boot, Some(&mut cluster), cycles(24)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_to_the_database_that_is_cut_held_back_or_swallowed_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut database) = postgres() else { return };
    let plain = database.config(&home.path().join("init"), "");
    let token = init_by(&plain);
    let proxy = Proxy::start(database.address());
    database.url = database.url.replace(database.address(), &proxy.address);
    let config = database.config(home.path(), "timeout = \"3s\"");
    std::fs::rename(home.path().join("init/keys"), home.path().join("keys")).unwrap();
    let server = Boot::config(&config, &token).start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);

    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut work = tokio::task::JoinSet::new();
    for worker in 0..3 {
        work.spawn(scribble(client.clone(), ledger.clone(), worker, worker + 1, true));
    }
    let dice = SeededEntropy::new(5);
    for cycle in 0..cycles(30) {
        let mut bytes = [0; 2];
        dice.fill(&mut bytes);
        proxy.let_through(match cycle % 5 {
            0 | 1 => Traffic::CutAfter(u64::from(bytes[0]) * 40),
            2 => Traffic::HeldBack(Duration::from_millis(u64::from(bytes[0]) / 2)),
            3 => Traffic::CutAnswersAfter(u64::from(bytes[0]) * 20),
            // The server learns of it by its own patience only.
            _ => Traffic::Swallowed,
        });
        tokio::time::sleep(Duration::from_millis(100 + u64::from(bytes[1]) * 2)).await;
        proxy.let_through(Traffic::Through);
        let before = ledger.lock().unwrap().acknowledged;
        eventually("writes to go on", async || {
            (ledger.lock().unwrap().acknowledged > before + 5).then_some(())
        })
        .await;
    }
    server.kill();
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    // Read past the proxy.
    let server = Boot::config(&plain_with_keys(&plain, home.path()), &token).start();
    check(&server.client(), &ledger, 0).await;
    println!("{} acknowledged writes", ledger.lock().unwrap().acknowledged);
}

/// The configuration without the proxy, once its keys were moved.
fn plain_with_keys(plain: &std::path::Path, home: &std::path::Path) -> std::path::PathBuf {
    let text = std::fs::read_to_string(plain).unwrap();
    let moved = text.replace(&format!("{}/init/keys", home.display()), &format!("{}/keys", home.display()));
    std::fs::write(plain, moved).unwrap();
    plain.to_owned()
}

#[tokio::test]
async fn a_database_that_is_away_is_told_as_storage_and_back_again_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start_new() else { return };
    let config = cluster.database().config(home.path(), "timeout = \"2s\"");
    let token = init_by(&config);
    let server = Boot::config(&config, &token).start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    client.post("secret/data/a", json!({ "data": { "k": "v" } })).await.expect(200);
    cluster.crash();
    let answers = [
        client.get("secret/data/a").await,
        client.post("secret/data/a", json!({ "data": { "k": "w" } })).await,
    ];
    for answer in answers {
        assert!(answer.status.is_server_error(), "{answer:?}");
    }
    // A server that is started now says so at once.
    let said = keyferry().args(["server", "--config"]).arg(&config).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr).unwrap().contains("connection refused"));
    let log = server.log();
    assert!(log.contains("the database is in trouble"), "{log}");
    assert!(log.lines().count() < 60, "a line for every attempt helps nobody:\n{log}");
    cluster.start();
    eventually("the answer", async || {
        let answer = client.get("secret/data/a").await;
        (answer.status == 200).then(|| assert_eq!(answer.data()["data"]["k"], "v"))
    })
    .await;
    eventually("it to be told", async || server.log().contains("answers again").then_some(())).await;
}

#[tokio::test]
async fn traffic_is_enciphered_and_verified_where_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start_new() else { return };
    let ca = cluster.turn_tls_on();
    let file = home.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let more = format!("ca_file = {file:?}");
    let mut database = cluster.database();
    let plain = database.url.clone();
    let refused = |config: &std::path::Path, words: &str| {
        let output = keyferry().args(["init", "--config"]).arg(config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    };
    // Nobody we know has signed it; it is another host's; and TLS is not to be done without.
    database.url = format!("{plain}?sslmode=verify-full");
    refused(&database.config(home.path(), ""), "TLS: invalid peer certificate: UnknownIssuer");
    database.url = format!("{}?sslmode=verify-full", plain.replace("localhost", "127.0.0.1"));
    refused(&database.config(home.path(), &more), "TLS: invalid peer certificate");
    database.url = format!("{plain}?sslmode=disable");
    refused(&database.config(home.path(), ""), "28000");

    database.url = format!("{plain}?sslmode=verify-full");
    let config = database.config(home.path(), &more);
    let token = init_by(&config);
    for mode in ["verify-full", "require"] {
        database.url = format!("{plain}?sslmode={mode}");
        let config = database.config(home.path(), &more);
        let server = Boot::config(&config, &token).start();
        server.client().get("sys/mounts").await.expect(200);
    }
}
