//! Saving, restoring, checking and looking at stores, with the binary and with `bao`.

use std::{
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use store::{Backend, Batch, EmbeddedOptions, Write, data_dir};
use tempfile::tempdir;

use crate::harness::{Boot, bao, eventually, init, keyferry, postgres};

fn run(args: &[&str]) -> Output {
    keyferry().args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a successful command said, as JSON.
fn told(output: Output) -> Value {
    let Output { status, stdout, stderr } = output;
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

/// The exit code of a command that failed, and what it said about it.
fn refused(output: Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A store with one secret in it, closed; its root token.
async fn filled(data: &Path) -> String {
    let token = init(data);
    let server = Boot::data(data, &token).start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    client.post("secret/data/app/db", json!({ "data": { "k": "one" } })).await.expect(200);
    server.signal("TERM");
    assert!(server.wait().0.success());
    token
}

async fn value(data: &Path, token: &str) -> Value {
    let server = Boot::data(data, token).start();
    server.client().get("secret/data/app/db").await.expect(200).data()["data"]["k"].take()
}

#[tokio::test]
async fn a_store_saved_offline_comes_back_in_another_directory() {
    let home = tempdir().unwrap();
    let (data, snap, back) = (home.path().join("data"), home.path().join("snap"), home.path().join("back"));
    let token = filled(&data).await;
    let saved = told(run(&["backup", "--data", text(&data), "--out", text(&snap), "--json"]));
    assert_eq!(saved["authenticated"], true);
    let (code, why) = refused(run(&["backup", "--data", text(&data), "--out", text(&snap)]));
    assert!(code == 2 && why.contains("exists already"), "{why}");
    let key = data.join("root.key");
    let checked = told(run(&["verify", text(&snap), "--key-file", text(&key), "--json"]));
    assert_eq!(checked["entries"], saved["entries"]);
    assert_eq!(told(run(&["verify", text(&snap), "--json"]))["authenticated"], false);
    let (code, why) = refused(run(&["restore", text(&snap), "--data", text(&back)]));
    assert!(code == 2 && why.contains("--key-file"), "{why}");
    assert!(!back.join("keyferry.redb").exists());
    told(run(&["restore", text(&snap), "--data", text(&back), "--key-file", text(&key), "--json"]));
    assert_eq!(value(&back, &token).await, "one");
    let server = Boot::data(&back, &token).start();
    assert_eq!(server.client().get("sys/sync/config").await.expect(200).data()["paused"], "restored");
    drop(server);
    told(run(&["doctor", "--data", text(&back), "--json"]));
    told(run(&["doctor", "--snapshot", text(&snap), "--key-file", text(&key), "--json"]));
}

#[tokio::test]
async fn a_restore_over_a_store_needs_to_be_asked_for_and_a_broken_snapshot_changes_nothing() {
    let home = tempdir().unwrap();
    let (data, snap) = (home.path().join("data"), home.path().join("snap"));
    let token = filled(&data).await;
    told(run(&["backup", "--data", text(&data), "--out", text(&snap), "--json"]));
    let server = Boot::data(&data, &token).start();
    server.client().post("secret/data/app/db", json!({ "data": { "k": "two" } })).await.expect(200);
    let (code, why) = refused(run(&["restore", text(&snap), "--data", text(&data), "--replace"]));
    assert!(code == 1 && why.contains("stop that server first"), "{why}");
    let (code, why) = refused(run(&["doctor", "--data", text(&data)]));
    assert!(code == 1 && why.contains("stop that server first"), "{why}");
    drop(server);
    let (code, why) = refused(run(&["restore", text(&snap), "--data", text(&data)]));
    assert!(code == 2 && why.contains("--replace"), "{why}");
    let mut bytes = std::fs::read(&snap).unwrap();
    let broken = home.path().join("broken");
    std::fs::write(&broken, &bytes[..bytes.len() - 700]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = home.path().join("flipped");
    std::fs::write(&flipped, &bytes).unwrap();
    for file in [&broken, &flipped] {
        let (code, why) = refused(run(&["restore", text(file), "--data", text(&data), "--replace"]));
        assert!(code == 1 && why.contains("damaged or incomplete") && why.contains(text(file)), "{why}");
        let (code, why) = refused(run(&["verify", text(file)]));
        assert!(code == 1 && why.contains("damaged or incomplete"), "{why}");
    }
    assert_eq!(value(&data, &token).await, "two");
    told(run(&["restore", text(&snap), "--data", text(&data), "--replace", "--json"]));
    assert_eq!(value(&data, &token).await, "one");
}

#[tokio::test]
async fn a_running_server_is_saved_and_restored_through_its_api() {
    let server = Boot::dev().start();
    let client = server.client();
    client.post("secret/data/app/db", json!({ "data": { "k": "one" } })).await.expect(200);
    let home = tempdir().unwrap();
    let snap = home.path().join("snap");
    let online = |args: &[&str]| {
        let (url, token) = (server.url.as_str(), server.token.as_str());
        keyferry().args(args).env("VAULT_ADDR", url).env("VAULT_TOKEN", token).output().unwrap()
    };
    told(online(&["backup", "--out", text(&snap), "--json"]));
    client.post("secret/data/app/db", json!({ "data": { "k": "two" } })).await.expect(200);
    told(online(&["restore", text(&snap), "--json"]));
    let read = client.get("secret/data/app/db").await;
    assert_eq!(read.data()["data"]["k"], "one");
    let other = Boot::dev().start();
    let refused = keyferry()
        .args(["restore", text(&snap)])
        .env("VAULT_ADDR", &other.url)
        .env("VAULT_TOKEN", &other.token)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another root key"));
}

#[test]
fn shares_open_what_was_saved_from_a_store_that_people_keep() {
    let server = Boot::dev().start();
    let home = tempdir().unwrap();
    let snap = home.path().join("snap");
    let (url, token) = (server.url.as_str(), server.token.as_str());
    let saved = keyferry()
        .args(["backup", "--out", text(&snap), "--json"])
        .env("VAULT_ADDR", url)
        .env("VAULT_TOKEN", token)
        .output()
        .unwrap();
    told(saved);
    let log = server.log();
    let share =
        log.lines().find_map(|line| line.split_once("unseal key, should you seal it: ")).unwrap().1.trim();
    let typed = |args: &[&str], line: &str| {
        let mut child = keyferry()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{line}").unwrap();
        child.wait_with_output().unwrap()
    };
    let checked = told(typed(&["verify", text(&snap), "--shares", "--json"], share));
    assert_eq!(checked["authenticated"], true);
    let (code, why) = refused(typed(&["verify", text(&snap), "--shares"], &"0".repeat(64)));
    assert!(code == 1 && why.contains("do not make the key"), "{why}");
    let back = home.path().join("back");
    told(typed(&["restore", text(&snap), "--data", text(&back), "--shares", "--json"], share));
    assert!(back.join("keyferry.redb").exists() && !back.join("root.key").exists(), "people keep the key");
}

#[tokio::test]
async fn bao_saves_and_restores_snapshots() {
    let Some(binary) = bao() else { return };
    let server = Boot::dev().start();
    let client = server.client();
    client.post("secret/data/app/db", json!({ "data": { "k": "one" } })).await.expect(200);
    let home = tempdir().unwrap();
    let snap = home.path().join("raft.snap");
    let bao = |args: &[&str]| {
        let output = std::process::Command::new(&binary)
            .args(args)
            .env("BAO_ADDR", &server.url)
            .env("BAO_TOKEN", &server.token)
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    bao(&["operator", "raft", "snapshot", "save", text(&snap)]);
    assert_eq!(told(run(&["verify", text(&snap), "--json"]))["authenticated"], false);
    client.post("secret/data/app/db", json!({ "data": { "k": "two" } })).await.expect(200);
    bao(&["operator", "raft", "snapshot", "restore", text(&snap)]);
    assert_eq!(client.get("secret/data/app/db").await.expect(200).data()["data"]["k"], "one");
    bao(&["operator", "raft", "snapshot", "restore", "-force", text(&snap)]);
}

#[tokio::test]
async fn a_store_moves_from_a_directory_to_a_database_and_back() {
    let Some(database) = postgres() else { return };
    let home = tempdir().unwrap();
    let (data, snap, back) = (home.path().join("data"), home.path().join("snap"), home.path().join("back"));
    let token = filled(&data).await;
    let key = data.join("root.key");
    told(run(&["backup", "--data", text(&data), "--out", text(&snap), "--json"]));
    let config = database.config(&home.path().join("pg"), "");
    told(run(&["restore", text(&snap), "--config", text(&config), "--key-file", text(&key), "--json"]));
    let (code, why) =
        refused(run(&["restore", text(&snap), "--config", text(&config), "--key-file", text(&key)]));
    assert!(code == 2 && why.contains("--replace"), "{why}");
    let server = Boot::config(&config, &token).start();
    let client = server.client();
    assert_eq!(client.get("secret/data/app/db").await.data()["data"]["k"], "one");
    client.post("secret/data/app/db", json!({ "data": { "k": "two" } })).await.expect(200);
    assert_eq!(told(run(&["doctor", "--config", text(&config), "--json"]))["findings"], json!([]));
    let again = home.path().join("again");
    told(run(&["backup", "--config", text(&config), "--out", text(&again), "--json"]));
    drop(server);
    told(run(&["restore", text(&again), "--data", text(&back), "--key-file", text(&key), "--json"]));
    assert_eq!(value(&back, &token).await, "two");
}

/// Flips a bit in the first record of a type.
async fn flip(data: &Path, tag: u8) {
    let backend = data_dir::existing(data, EmbeddedOptions::default()).unwrap();
    let (key, entry) = backend.scan(&[tag], None, 1).await.unwrap().remove(0);
    let mut value = entry.value.to_vec();
    let middle = value.len() / 2;
    value[middle] ^= 4;
    backend.commit(Batch { checks: vec![], writes: vec![Write::Put(key, value)] }).await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_does_not_stop_the_others_and_nothing_of_it_is_removed() {
    const SECRETS: [&str; 3] = ["app/a", "app/b", "app/c"];
    const SECRET_META: u8 = 0x10;
    const SECRET_VERSION: u8 = 0x12;
    const OUTBOX: u8 = 0x33;
    for (tag, record) in [(SECRET_VERSION, "secret version"), (SECRET_META, "secret"), (OUTBOX, "outbox row")]
    {
        let home = tempdir().unwrap();
        let (data, out) = (home.path().join("data"), home.path().join("out"));
        let token = init(&data);
        std::fs::create_dir(&out).unwrap();
        let server = Boot::data(&data, &token).start();
        let client = server.client();
        client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
        let file = out.join("delivered.json");
        client.post("sys/sync/destinations/file/one", json!({ "path": text(&file) })).await.expect(200);
        for secret in SECRETS {
            client
                .post(&format!("secret/data/{secret}"), json!({ "data": { "k": secret } }))
                .await
                .expect(200);
            let asked = json!({ "mount": "secret", "secret_name": secret });
            client.post("sys/sync/destinations/file/one/associations/set", asked).await.expect(200);
        }
        if tag == OUTBOX {
            // Something must be waiting.
            client.post("sys/sync/config", json!({ "disabled": true })).await.expect(200);
            client.post("secret/data/app/a", json!({ "data": { "k": "later" } })).await.expect(200);
        }
        let before = std::fs::read_to_string(&file).unwrap();
        server.signal("TERM");
        server.wait();
        flip(&data, tag).await;

        let (code, why) = refused(run(&["doctor", "--data", text(&data)]));
        assert!(code == 1 && why.contains("1 findings"), "{why}");
        let said = run(&["doctor", "--data", text(&data), "--json"]);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(
            (&said["findings"][0]["record"], &said["findings"][0]["fault"]),
            (&json!(record), &json!("damaged"))
        );
        assert!(!said["findings"][0]["name"].is_null(), "{said}");

        let server = Boot::data(&data, &token).start();
        let client = server.client();
        let listed =
            client.list("secret/metadata/app").await.expect(200).data()["keys"].as_array().unwrap().len();
        assert_eq!(listed, if tag == SECRET_META { 2 } else { 3 });
        let mut damaged = 0;
        for secret in SECRETS {
            let answer = client.get(&format!("secret/data/{secret}")).await;
            if answer.status.as_u16() == 500 {
                assert!(
                    answer.text.contains("damaged") && answer.text.contains("keyferry doctor"),
                    "{}",
                    answer.text
                );
                damaged += 1;
            } else {
                assert_eq!(answer.status.as_u16(), 200);
            }
        }
        assert_eq!(damaged, usize::from(tag != OUTBOX));
        // Asked for again, what cannot be read is held back, and the others arrive.
        client.post("sys/sync/config", json!({ "disabled": false })).await.expect(200);
        for secret in SECRETS {
            client.post(&format!("secret/metadata/{secret}"), json!({ "max_versions": 7 })).await;
            let asked = json!({ "mount": "secret", "secret_name": secret });
            client.post("sys/sync/destinations/file/one/associations/set", asked).await;
        }
        let all = eventually("the others are in sync", || async {
            let path = "sys/sync/destinations/file/one/associations";
            let data = client.get(path).await.expect(200).data();
            let all: Vec<Value> = data["associated_secrets"].as_object()?.values().cloned().collect();
            let synced = all.iter().filter(|one| one["sync_status"] == "SYNCED").count();
            (synced >= 2).then_some(all)
        })
        .await;
        assert_eq!(all.len(), 3, "{all:?}");
        let after = std::fs::read_to_string(&file).unwrap();
        for secret in SECRETS {
            assert!(before.contains(secret) && after.contains(secret), "{secret} is still there");
        }
    }
}
