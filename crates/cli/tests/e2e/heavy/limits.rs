//! A server that the system gives too little: no more open files, no more room in its file.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Boot, eventually, init};

#[tokio::test]
async fn a_server_without_file_descriptors_waits_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let token = init(&data);
    let server = Boot::data(&data, &token).within("ulimit -n 48").start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    client.post("secret/data/a", json!({ "data": { "k": "v" } })).await.expect(200);
    // More than it can accept; the system keeps the rest waiting.
    let mut idle = Vec::new();
    for _ in 0..120 {
        idle.push(TcpStream::connect(server.address()).await.unwrap());
    }
    eventually("the shortage to be told", async || server.log().contains("accept").then_some(())).await;
    let before = server.log().lines().count();
    // Really waits: what is looked at is that nothing storms meanwhile.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = server.log().lines().count();
    assert!(after - before < 50, "{} lines in a second:\n{}", after - before, server.log());
    drop(idle);
    let read =
        eventually("an answer", async || client.try_call("GET", "secret/data/a", None).await.ok()).await;
    assert_eq!(read.data()["data"]["k"], "v");
    client.post("secret/data/a", json!({ "data": { "k": "w" } })).await.expect(200);
}

#[tokio::test]
async fn a_store_whose_file_cannot_grow_says_so_and_keeps_what_it_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let token = init(&data);
    let size = std::fs::metadata(data.join("keyferry.redb")).unwrap().len();
    // In blocks of 512 bytes, as POSIX counts; the signal would end the process instead of failing the write.
    let limit = format!("trap '' XFSZ; ulimit -f {}", size / 512 + 2048);
    let server = Boot::data(&data, &token).within(&limit).start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let body = |number: u32| json!({ "data": { "n": number, "pad": "x".repeat(100_000) } });
    let mut acknowledged = 0;
    let refused = loop {
        let answer = client.post(&format!("secret/data/s{acknowledged}"), body(acknowledged)).await;
        if !answer.status.is_success() {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 500, "the limit was never met");
    };
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert!(acknowledged > 2);
    let log = server.log();
    assert!(log.contains("could not be written") && log.contains("keyferry.redb"), "{log}");
    server.kill();
    let server = Boot::data(&data, &token).start();
    let client = server.client();
    for number in 0..acknowledged {
        assert_eq!(client.get(&format!("secret/data/s{number}")).await.data()["data"]["n"], number);
    }
    client.post("secret/data/more", body(0)).await.expect(200);
}
