//! A thousand odd requests: none is our fault, and none gets back what it sent.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;

use crate::bench::{Answer, Bench};

const CANARY: &str = "c4n4ry-v4lu3";

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "SCAN", "HEAD", "OPTIONS", "TRACE", "BREW"];

fn paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "",
        "/",
        "//",
        "secret",
        "secret/",
        "secret/data",
        "secret/data/",
        "secret/data//",
        "secret/data/a",
        "secret/data/a/",
        "secret/data/a//b",
        "secret/data/%00",
        "secret/data/%e2%80%ae",
        "secret/data/..",
        "secret/data/%2e%2e%2f%2e%2e/sys/mounts",
        "secret/metadata/a",
        "secret/metadata/",
        "secret/config",
        "secret/config/x",
        "secret/delete/a",
        "secret/undelete/a",
        "secret/destroy/a",
        "secret/subkeys/a",
        "secret/detailed-metadata/",
        "secret/dataa/x",
        "SECRET/data/a",
        "old/a",
        "old/",
        "sys",
        "sys/",
        "sys/mounts/",
        "sys/mounts//",
        "sys/mounts/x",
        "sys/mounts/x/tune",
        "sys/mounts/tune",
        "sys/mounts/a/b/tune",
        "sys/remount",
        "sys/remount/status/",
        "sys/health",
        "sys/seal-status",
        "sys/init",
        "sys/unseal",
        "sys/leader",
        "sys/internal/ui/mounts",
        "sys/internal/ui/mounts/",
        "sys/internal/ui/mounts//",
        "sys/capabilities-self",
        "sys/capabilities",
        "sys/capabilities-accessor",
        "sys/sync/destinations",
        "sys/sync/",
        "sys/activation-flags",
        "auth",
        "auth/",
        "auth/token",
        "auth/token/",
        "auth/token/create",
        "auth/token/create/",
        "auth/token/create/x",
        "auth/token/lookup",
        "auth/token/lookup-accessor",
        "auth/token/renew",
        "auth/token/renew-self",
        "auth/token/accessors",
        "cubbyhole/",
        "identity/",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("secret/data/{}", "a/".repeat(2_000)) + "x");
    paths.push(format!("secret/data/{}", "x".repeat(30_000)));
    paths.push(format!("sys/mounts/{}", "deep/".repeat(500)) + "x");
    paths.push(format!("secret/data/{CANARY}?version={CANARY}&list={CANARY}"));
    paths.push("secret/metadata/?limit=-9223372036854775808&after=%ff%fe&list=1".to_owned());
    paths.push(format!("sys/health?activecode={CANARY}"));
    paths
}

fn bodies() -> Vec<Vec<u8>> {
    let c = CANARY;
    let mut bodies: Vec<Vec<u8>> = [
        String::new(),
        " ".into(),
        "null".into(),
        "[]".into(),
        "0".into(),
        format!("\"{c}\""),
        format!("{{\"data\":\"{c}\"}}"),
        format!("{{\"data\":{{\"{c}\":\"{c}\"}},\"options\":{{\"cas\":\"{c}\"}}}}"),
        format!("{{\"data\":[\"{c}\"],\"options\":[\"{c}\"]}}"),
        format!("{{\"data\":{{\"a\":\"{c}\"}}"),
        format!("{{\"data\":{{\"a\":\"{c}\"}}}}trailing"),
        format!("{{\"versions\":\"{c}\"}}"),
        "{\"versions\":[1e400]}".into(),
        "{\"versions\":[99999999999999999999999]}".into(),
        format!("{{\"max_versions\":\"{c}\",\"cas_required\":\"{c}\",\"delete_version_after\":\"{c}\"}}"),
        "{\"max_versions\":1e99,\"delete_version_after\":\"292277h\"}".into(),
        "{\"delete_version_after\":9223372036854775807}".into(),
        format!("{{\"custom_metadata\":{{\"k\":[\"{c}\"]}}}}"),
        format!("{{\"custom_metadata\":\"{c}\"}}"),
        format!("{{\"type\":\"{c}\",\"config\":\"{c}\",\"options\":\"{c}\"}}"),
        format!("{{\"type\":\"kv\",\"config\":{{\"default_lease_ttl\":\"{c}\"}},\"options\":{{\"version\":\"{c}\"}}}}"),
        format!("{{\"type\":\"kv\",\"description\":[\"{c}\"]}}"),
        "{\"ttl\":\"99999999h\",\"period\":9e18,\"num_uses\":9223372036854775807}".into(),
        format!("{{\"token\":\"{c}\",\"accessor\":\"{c}\",\"increment\":\"{c}\"}}"),
        format!("{{\"from\":\"{c}\",\"to\":[\"{c}\"]}}"),
        "{\"from\":\"..\",\"to\":\"\\u0000\"}".into(),
        "{\"\":\"\",\"\\u0000\":null,\"data\":{\"\":{}}}".into(),
        "{\"data\":{\"a\":1,\"a\":2},\"data\":{}}".into(),
        format!("data={c}&options={c}&%zz=%zz"),
    ]
    .map(String::into_bytes)
    .to_vec();
    bodies.push(b"{\"data\":{\"a\":\"\xff\xfe\"}}".to_vec());
    bodies.push(b"{\"data\":{\"a\":\"\\ud800\"}}".to_vec());
    bodies.push(vec![0; 64]);
    bodies.push(b"\xef\xbb\xbf{}".to_vec());
    bodies.push([b"{\"a\":".repeat(600).as_slice(), b"1", &b"}".repeat(600)].concat());
    bodies
}

#[tokio::test]
async fn odd_requests_are_nobodys_fault_but_the_clients() {
    let bench = Bench::new().await;
    bench.post("sys/mounts/old", r#"{"type":"kv"}"#).await;
    bench.post("secret/data/a", r#"{"data":{"x":1}}"#).await;
    let (paths, bodies) = (paths(), bodies());
    let types =
        ["application/json", "application/merge-patch+json", "application/x-www-form-urlencoded", "\u{7f}"];
    let mut sent = 0;
    for (p, path) in paths.iter().enumerate() {
        for (b, body) in bodies.iter().enumerate() {
            // Each path meets each body; methods and media types take turns.
            let method = METHODS[(p + b) % METHODS.len()];
            let Ok(mut request) = http::Request::builder()
                .method(method)
                .uri(format!("/v1/{path}"))
                .body(Full::new(Bytes::from(body.clone())))
            else {
                continue;
            };
            let headers = request.headers_mut();
            headers.insert("x-vault-token", "root".parse().unwrap());
            if let Ok(content_type) = types[(p + b) % types.len()].parse() {
                headers.insert("content-type", content_type);
            }
            let answer =
                tokio::time::timeout(Duration::from_secs(20), bench.service.answer(request)).await.unwrap();
            let answer = Answer::of(answer).await;
            let shown: String = path.chars().take(80).collect();
            assert!(answer.status < 500, "{method} {shown} body {b}: {answer}");
            let echoes_path = path.contains(CANARY) || (answer.status == 200 && method != "GET");
            assert!(echoes_path || !answer.text().contains(CANARY), "{method} {shown} body {b}: {answer}");
            sent += 1;
            // Undo what would make the rest meaningless.
            if bench.get("sys/mounts/secret").await.status != 200 {
                bench.post("sys/mounts/secret", r#"{"type":"kv-v2"}"#).await;
            }
        }
    }
    assert!(sent > 1_000, "{sent}");
    // And it still works.
    assert_eq!(bench.get("sys/health").await.status, 200);
    assert_eq!(bench.post("secret/config", r#"{"cas_required":false}"#).await.status, 204);
    assert_eq!(bench.post("secret/data/after", r#"{"data":{"x":1}}"#).await.status, 200);
}
