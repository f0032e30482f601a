//! A value nobody else uses is sent through every path, then searched for wherever it must not be.

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Answer, Boot, eventually, init, moto};

/// Recognisable, and long enough never to stand anywhere by chance.
const CANARY: &str = "canary-7f3a9c51-value-nobody-else-uses";
/// The same for names, which a stolen store must not show either (decisions 25).
const NAMED: &str = "canaryname-5b1d";

/// Every way the canary could be written down.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
    // In a longer text base64 shifts; the middle of each of the three shifts is always the same.
    let mut all =
        vec![text.as_bytes().to_vec(), hex::encode(text).into_bytes(), hex::encode_upper(text).into_bytes()];
    for shift in 0..3 {
        let padded = [&b"xxx"[..shift], text.as_bytes()].concat();
        let encoded = base64.encode(padded);
        all.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    all
}

fn holds(haystack: &[u8], text: &str) -> bool {
    spellings(text).iter().any(|needle| haystack.windows(needle.len()).any(|window| window == needle))
}

#[track_caller]
fn silent(answer: &Answer) {
    assert!(!holds(answer.text.as_bytes(), CANARY), "an answer shows the value: {answer:?}");
}

fn search_files(directory: &Path, text: &str) {
    let mut searched = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for row in std::fs::read_dir(directory).unwrap() {
            let path = row.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!holds(&bytes, text), "{} holds {text}", path.display());
                searched += bytes.len();
            }
        }
    }
    assert!(searched > 1000, "only {searched} bytes were searched: is this the store?");
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for form in [
        format!("xy{CANARY}z"),
        hex::encode(CANARY),
        base64::engine::general_purpose::STANDARD.encode(format!("a{CANARY}b")),
    ] {
        assert!(holds(form.as_bytes(), CANARY), "{form}");
    }
    assert!(!holds(b"canary-7f3a9c51-value-nobody-else-use", CANARY));
}

#[tokio::test]
async fn a_value_is_nowhere_but_where_it_was_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let token = init(data.path());
    let server = Boot::data(data.path(), &token)
        .env("KEYFERRY_LOG_LEVEL", "debug")
        .env("KEYFERRY_SYNC_ALLOW_PRIVATE_NETWORKS", "true")
        .start();
    let client = server.client();
    let delivered = tempfile::tempdir().unwrap();
    let dead = "http://127.0.0.1:9";
    let aws = moto().unwrap_or_else(|| dead.to_owned());

    let mount = format!("{NAMED}-kv");
    client.post(&format!("sys/mounts/{mount}"), json!({ "type": "kv-v2" })).await.expect(204);
    let at = |name: &str| format!("sys/sync/destinations/aws-sm/{NAMED}-{name}");
    let file = format!("sys/sync/destinations/file/{NAMED}-f");

    // Through every write, well formed and not.
    let secret = format!("{mount}/data/{NAMED}/db");
    let mut answers = vec![
        client.post(&secret, json!({ "data": { "password": CANARY } })).await.expect(200),
        client.patch(&secret, json!({ "data": { "more": CANARY } })).await.expect(200),
        client.post(&secret, json!({ "data": CANARY })).await.expect(400),
        client
            .post(&secret, json!({ "data": { "password": CANARY }, "options": { "cas": CANARY } }))
            .await
            .expect(400),
        client
            .post(&secret, json!({ "data": { "password": CANARY }, "options": { "cas": 77 } }))
            .await
            .expect(400),
        client.post(&secret, json!({ "data": [CANARY] })).await.expect(400),
        client.post(&secret, json!({ CANARY: "unknown field", "data": CANARY })).await.expect(400),
        client.post(&format!("{mount}/delete/{NAMED}/db"), json!({ "versions": [CANARY] })).await.expect(400),
        client.post("sys/mounts/other", json!({ "type": CANARY })).await.expect(400),
        client.with_token(Some(CANARY)).get(&secret).await.expect(403),
        client.post("auth/token/lookup", json!({ "token": CANARY })).await.expect(403),
        client.post("sys/wrapping/unwrap", json!({ "token": CANARY })).await,
        client.post("sys/unseal", json!({ "key": CANARY })).await,
    ];
    for body in [
        format!("{{\"data\":{{\"password\":\"{CANARY}\""),
        format!("{{\"data\":{CANARY}}}"),
        format!("\"{CANARY}\""),
    ] {
        let request = hyper::Request::post(format!("/v1/{secret}"))
            .header("X-Vault-Token", &server.token)
            .body(http_body_util::Full::new(body.into()))
            .unwrap();
        answers.push(client.try_send(request).await.unwrap().expect(400));
    }

    // Through destinations that work, that nobody answers for, and that refuse.
    let keys = json!({ "access_key_id": CANARY, "secret_access_key": CANARY, "region": "us-east-2" });
    let with = |more: Value| {
        let mut all = keys.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    answers.push(client.post(&at("works"), with(json!({ "endpoint": aws }))).await.expect(200));
    answers.push(client.post(&at("dead"), with(json!({ "endpoint": dead }))).await.expect(200));
    let template = "x".repeat(600);
    answers.push(
        client.post(&at("refuses"), with(json!({ "endpoint": aws, "secret_name_template": template }))).await,
    );
    answers.push(
        client
            .post(&at("wrong"), with(json!({ "endpoint": "not a url", "region": [CANARY] })))
            .await
            .expect(400),
    );
    answers.push(client.post(&at("wrong"), with(json!({ "granularity": CANARY }))).await.expect(400));
    answers.push(client.post(&file, json!({ "path": delivered.path().join("out.json") })).await.expect(200));
    let pair = json!({ "mount": mount, "secret_name": format!("{NAMED}/db") });
    for destination in [at("works"), at("dead"), file.clone()] {
        answers.push(client.post(&format!("{destination}/associations/set"), pair.clone()).await.expect(200));
        let settled = eventually("an outcome", async || {
            let answer = client.get(&format!("{destination}/associations")).await.expect(200);
            (!answer.text.contains("\"SYNCING\"")).then_some(answer)
        })
        .await;
        answers.push(settled);
    }
    for (method, path) in [
        ("GET", at("works")),
        ("GET", file.clone()),
        ("LIST", "sys/sync/destinations".to_owned()),
        ("LIST", "sys/sync/associations".to_owned()),
        ("GET", format!("sys/sync/associations/destinations?mount={mount}&secret_name={NAMED}%2Fdb")),
        ("GET", format!("{mount}/metadata/{NAMED}/db")),
        ("GET", format!("{mount}/subkeys/{NAMED}/db")),
        ("LIST", format!("{mount}/metadata/{NAMED}")),
        ("GET", "sys/mounts".to_owned()),
        ("GET", "sys/health".to_owned()),
        ("GET", "sys/seal-status".to_owned()),
        ("DELETE", secret.clone()),
    ] {
        answers.push(client.call(method, &path, None).await);
    }
    for answer in &answers {
        silent(answer);
        assert!(answer.status.as_u16() < 500, "{answer:?}");
    }

    // It really went where it should.
    client.post(&format!("{mount}/undelete/{NAMED}/db"), json!({ "versions": [2] })).await.expect(204);
    assert!(client.get(&secret).await.expect(200).text.contains(CANARY), "an authorised read shows it");
    eventually("the file", async || {
        crate::sync::delivered(&delivered.path().join("out.json"))
            .values()
            .any(|text| text.contains(CANARY))
            .then_some(())
    })
    .await;

    server.signal("TERM");
    let (status, stdout, log) = server.wait();
    assert!(status.success());
    assert!(log.len() > 100, "nothing was logged: {log}");
    for said in [&stdout, &log] {
        assert!(!holds(said.as_bytes(), CANARY), "a log shows the value");
        assert!(!said.contains(&token), "a log shows the token");
    }
    search_files(data.path(), CANARY);
    search_files(data.path(), NAMED);
    search_files(data.path(), &token);
}
