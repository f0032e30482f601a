//! Audit devices as an operator has them: declared in the configuration, rotated by a signal.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    bao::Bao,
    harness::{Boot, Server, eventually, init, keyferry},
};

/// A server whose configuration ends in these lines; `DIR` in them is its directory.
pub(crate) fn with_config(home: &Path, more: &str) -> Server {
    let data = home.join("data");
    // A second start finds the store there.
    let kept = home.join("token");
    let token = fs::read_to_string(&kept).unwrap_or_else(|_| init(&data));
    fs::write(&kept, &token).unwrap();
    let more = more.replace("DIR", home.to_str().unwrap());
    let text =
        format!("[storage]\npath = \"{}\"\n[listener]\naddress = \"127.0.0.1:0\"\n{more}\n", data.display());
    let file = home.join("keyferry.toml");
    fs::write(&file, text).unwrap();
    Boot::config(&file, &token).start()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line["request"]["path"].as_str().unwrap().to_owned()).collect()
}

const DEVICE: &str =
    "[[audit]]\ntype = \"file\"\nfile_path = \"DIR/audit.log\"\ndescription = \"all of it\"\n";

#[tokio::test]
async fn a_file_is_written_rotated_by_a_signal_and_survives_restarts() {
    let home = tempfile::tempdir().unwrap();
    let (log, old): (PathBuf, PathBuf) = (home.path().join("audit.log"), home.path().join("audit.log.1"));
    let server = with_config(home.path(), DEVICE);
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    client.post("secret/data/a", json!({ "data": { "p": "hunter2" } })).await.expect(200);
    client.get("secret/data/a").await.expect(200);
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(&server.token));
    let told = lines(&log);
    let [.., request, response] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&request["type"], &response["type"]), (&json!("request"), &json!("response")));
    let hashed = client.post("sys/audit-hash/file", json!({ "input": "hunter2" })).await.data();
    assert_eq!(response["response"]["data"]["data"]["p"], hashed["hash"]);

    fs::rename(&log, &old).unwrap();
    server.signal("HUP");
    eventually("the file is made anew", async || log.is_file().then_some(())).await;
    client.get("secret/data/after").await.expect(404);
    assert_eq!(paths(&log), ["secret/data/after", "secret/data/after"]);
    assert!(!paths(&old).contains(&"secret/data/after".to_owned()));
    server.kill();

    // A line that was cut short stays the only one that is.
    let mut torn = fs::read(&log).unwrap();
    torn.extend_from_slice(b"{\"time\":\"20");
    fs::write(&log, torn).unwrap();
    let server = with_config(home.path(), DEVICE);
    let client = server.client();
    client.get("secret/data/again").await.expect(404);
    let text = fs::read_to_string(&log).unwrap();
    let broken = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    assert_eq!((broken, text.lines().count()), (1, 5));
    let again = client.post("sys/audit-hash/file", json!({ "input": "hunter2" })).await.data();
    assert_eq!(again, hashed, "the salt is the store's");
}

#[tokio::test]
async fn standard_output_is_a_device_too() {
    let home = tempfile::tempdir().unwrap();
    let server = with_config(home.path(), "[[audit]]\ntype = \"stdout\"\n");
    server.client().get("secret/data/a").await.expect(404);
    server.signal("TERM");
    let (status, stdout, _) = server.wait();
    assert!(status.success());
    let lines = stdout.lines().filter(|line| line.starts_with("{\"time\":\"")).count();
    assert_eq!(lines, 2, "{stdout}");
}

#[tokio::test]
async fn the_command_line_lists_devices_and_is_told_where_they_are_declared() {
    let home = tempfile::tempdir().unwrap();
    let server = with_config(home.path(), DEVICE);
    let Some(bao) = Bao::at(&server) else { return };
    let list = bao.json(&["audit", "list", "-detailed"]);
    assert_eq!(list["file/"]["type"], "file", "{list}");
    assert_eq!(list["file/"]["description"], "all of it", "{list}");
    let target = home.path().join("made-by-api");
    let option = format!("file_path={}", target.display());
    for line in [
        &["audit", "enable", "file", option.as_str()][..],
        &["audit", "enable", "-path=more", "file", option.as_str()],
        &["audit", "disable", "file/"],
    ] {
        let (code, _, stderr) = bao.run(line);
        assert_eq!(code, 2, "{line:?}");
        assert!(stderr.contains("use declarative, config-based audit device management instead"), "{stderr}");
    }
    assert!(!target.exists());
    let hash = bao.ok(&["write", "-field=hash", "sys/audit-hash/file", "input=text"]);
    assert!(hash.starts_with("hmac-sha256:"), "{hash}");
}

#[tokio::test]
async fn a_device_that_cannot_be_written_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    drop(with_config(home.path(), DEVICE));
    let file = home.path().join("keyferry.toml");
    let text = fs::read_to_string(&file).unwrap();
    let target = home.path().join("target");
    let link = home.path().join("link");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for (bad, told) in [
        ("no/such/dir/a.log", "cannot be opened for appending"),
        ("data", "is not a regular file"),
        ("link", "is not a regular file"),
    ] {
        fs::write(&file, text.replace("audit.log", bad)).unwrap();
        let output = keyferry().args(["server", "--config"]).arg(&file).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("audit device file/") && stderr.contains(told), "{stderr}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"");
}

fn verify(arguments: &[&str]) -> (i32, String) {
    let output = keyferry().args(["audit", "verify"]).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Delivered, moved away, killed, started again: one chain, and whoever tampers with it is found.
#[tokio::test]
async fn the_chain_of_sync_events_is_kept_and_checked() {
    let home = tempfile::tempdir().unwrap();
    let config = "[sync_audit]\nfile = \"DIR/chain.log\"\n";
    let (chain, old) = (home.path().join("chain.log"), home.path().join("chain.log.1"));
    let target = home.path().join("target.json");
    let server = with_config(home.path(), config);
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    client.post("secret/data/app", json!({ "data": { "p": "hunter2" } })).await.expect(200);
    let at = "sys/sync/destinations/file/f";
    client.post(at, json!({ "path": target })).await.expect(200);
    client
        .post(&format!("{at}/associations/set"), json!({ "mount": "secret", "secret_name": "app" }))
        .await
        .expect(200);
    let delivered = async |version: u64| {
        eventually("the record", async || {
            let told = [lines(&old), lines(&chain)].concat();
            told.into_iter().find(|record| record["version"] == version)
        })
        .await
    };
    let record = delivered(1).await;
    assert_eq!((&record["outcome"], &record["path"]), (&json!("written"), &json!("app")));
    assert_eq!((&record["destination"], &record["by"][0]["policies"]), (&json!("file/f"), &json!(["root"])));
    assert_eq!(chain.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    fs::rename(&chain, &old).unwrap();
    server.signal("HUP");
    eventually("the file is made anew", async || chain.is_file().then_some(())).await;
    client.post("secret/data/app", json!({ "data": { "p": "hunter3" } })).await.expect(200);
    delivered(2).await;
    server.kill();
    let server = with_config(home.path(), config);
    let client = server.client();
    client.post("secret/data/app", json!({ "data": { "p": "hunter4" } })).await.expect(200);
    delivered(3).await;

    let head = client.get("sys/audit-chain").await.data()["chains"]["main"].clone();
    let at_head = format!("{}:{}", head["sequence"], head["hash"].as_str().unwrap());
    let key = head["public_key"].as_str().unwrap();
    let (older, newer) = (old.to_str().unwrap(), chain.to_str().unwrap());
    let (code, said) = verify(&["--key", key, "--head", &at_head, older, newer]);
    assert!(code == 0 && said.starts_with("OK: ") && said.contains(" 1 to "), "{code} {said}");
    let text = [fs::read_to_string(&old).unwrap(), fs::read_to_string(&chain).unwrap()].concat();
    assert!(!text.contains("hunter"), "no values");

    let whole = fs::read_to_string(&chain).unwrap();
    let rows: Vec<&str> = whole.lines().collect();
    for (tampered, told) in [
        (whole.replacen("\"version\":2", "\"version\":9", 1), "it was changed"),
        (rows[1..].join("\n") + "\n", "what preceded it is missing"),
        (rows[..rows.len() - 1].join("\n") + "\n", "the end is missing"),
        ([&rows[..1], &rows[2..]].concat().join("\n") + "\n", "are missing before it"),
        (whole.trim_end().to_owned(), "it is cut short"),
    ] {
        fs::write(&chain, tampered).unwrap();
        let (code, said) = verify(&["--key", key, "--head", &at_head, older, newer]);
        assert!(code == 1 && said.contains(told), "{told}: {code} {said}");
    }
    assert_eq!(verify(&["--key", key, newer, older]).0, 1);
    assert_eq!(verify(&["--key", &"0".repeat(64), older]).0, 1);
    assert_eq!(verify(&["no-such-file"]).0, 2);
    assert_eq!(verify(&["--head", "x", older]).0, 2);
}
