//! SIGTERM and SIGINT: what is under way is finished, what comes later is not begun, nothing is lost.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Boot, init};

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let data = tempfile::tempdir().unwrap();
    let token = init(data.path());
    for signal in ["TERM", "INT"] {
        let server = Boot::data(data.path(), &token).start();
        let client = server.client();
        client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await;
        let body = json!({ "data": { "signal": signal } }).to_string();
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /v1/secret/data/{signal} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body.as_bytes()[..5]).await.unwrap();
        // The server has the head once it has served this later request.
        client.get("sys/health").await.expect(200);
        server.signal(signal);
        crate::harness::eventually("the port to close", async || {
            TcpStream::connect(server.address()).await.is_err().then_some(())
        })
        .await;
        stream.write_all(&body.as_bytes()[5..]).await.unwrap();
        let mut said = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut said)).await;
        assert!(read.is_ok() && said.starts_with("HTTP/1.1 200"), "{signal}: {said}");
        let (status, _, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert!(!log.contains("panicked"), "{log}");

        let server = Boot::data(data.path(), &token).start();
        let kept = server.client().get(&format!("secret/data/{signal}")).await.data();
        assert_eq!(kept["data"]["signal"], signal);
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_hold_the_end_up() {
    let data = tempfile::tempdir().unwrap();
    let token = init(data.path());
    let server = Boot::data(data.path(), &token).env("KEYFERRY_LISTENER_SHUTDOWN_DEADLINE", "1s").start();
    let mut idle = TcpStream::connect(server.address()).await.unwrap();
    idle.write_all(b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    server.client().get("sys/health").await.expect(200);
    server.signal("TERM");
    let (status, _, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    drop(idle);
}
