//! A store that people open: made, unsealed, rekeyed and sealed with OpenBao's command line, on disk.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    bao::Bao,
    harness::{Boot, Server, keyferry},
};

fn configured(directory: &Path, seal: &str) -> std::path::PathBuf {
    let file = directory.join("keyferry.toml");
    let text = format!(
        "[storage]\npath = \"{}/data\"\n[listener]\naddress = \"127.0.0.1:0\"\n[seal]\n{seal}\n",
        directory.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn operators_make_unseal_rekey_and_seal_a_store() {
    let home = tempfile::tempdir().unwrap();
    let config = configured(home.path(), "type = \"shamir\"");
    let server = Boot::config(&config, "").start();
    let Some(mut bao) = Bao::at(&server) else { return };
    assert!(bao.fails(&["status"]).contains("Initialized"));
    let made = bao.json(&["operator", "init", "-key-shares=3", "-key-threshold=2"]);
    let keys = texts(&made["unseal_keys_b64"]);
    bao.token = made["root_token"].as_str().unwrap().to_owned();
    assert_eq!(bao.run(&["status"]).0, 2, "sealed");
    assert!(bao.fails(&["kv", "put", "secret/a", "k=v"]).contains("sealed"));

    let unseal = |bao: &Bao, keys: &[String]| {
        for key in keys {
            bao.ok(&["operator", "unseal", key]);
        }
        assert_eq!(bao.json(&["status"])["sealed"], false);
    };
    bao.ok(&["operator", "unseal", &keys[0]]);
    assert_eq!(bao.run(&["status"]).0, 2);
    bao.ok(&["operator", "unseal", "-reset"]);
    unseal(&bao, &keys[..2]);
    bao.ok(&["secrets", "enable", "-path=secret", "kv-v2"]);
    bao.ok(&["kv", "put", "secret/a", "k=v"]);
    bao.ok(&["operator", "rotate"]);
    assert_eq!(bao.json(&["operator", "key-status"])["term"], 2);

    // The shares outlive the process; nothing else opens the store.
    drop(server);
    let server = Boot::config(&config, "").start();
    let token = bao.token;
    let mut bao = Bao::at(&server).unwrap();
    bao.token = token;
    assert_eq!(bao.run(&["status"]).0, 2);
    unseal(&bao, &keys[1..]);
    assert_eq!(bao.json(&["kv", "get", "secret/a"])["data"]["data"]["k"], "v");

    let begun = bao.json(&["operator", "rekey", "-init", "-key-shares=2", "-key-threshold=2"]);
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    bao.ok(&["operator", "rekey", &nonce, &keys[0]]);
    let done = bao.json(&["operator", "rekey", &nonce, &keys[2]]);
    let new = texts(&done["keys_base64"]);
    assert_eq!(new.len(), 2);
    bao.ok(&["operator", "seal"]);
    bao.ok(&["operator", "unseal", &keys[0]]);
    assert!(bao.fails(&["operator", "unseal", &keys[1]]).contains("unseal failed"));
    unseal(&bao, &new);

    let begun = bao.json(&["operator", "generate-root", "-init"]);
    let (nonce, otp) =
        (format!("-nonce={}", begun["nonce"].as_str().unwrap()), begun["otp"].as_str().unwrap());
    bao.ok(&["operator", "generate-root", &nonce, &new[0]]);
    let done = bao.json(&["operator", "generate-root", &nonce, &new[1]]);
    let decoded = bao.ok(&[
        "operator",
        "generate-root",
        &format!("-decode={}", done["encoded_token"].as_str().unwrap()),
        &format!("-otp={otp}"),
    ]);
    bao.token = decoded.trim().to_owned();
    assert_eq!(bao.json(&["kv", "get", "secret/a"])["data"]["data"]["k"], "v");

    // No key, share or token is in the log.
    let log = server.log();
    for secret in keys.iter().chain(&new).chain([&bao.token]) {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}

#[tokio::test]
async fn a_key_of_the_environment_opens_the_store_at_every_start() {
    let home = tempfile::tempdir().unwrap();
    let config = configured(home.path(), "type = \"static\"");
    let boot = |key: &str| Boot::config(&config, "").env("KEYFERRY_SEAL_KEY", key).start();
    let server = boot(&"5a".repeat(32));
    let made = server
        .client()
        .with_token(None)
        .post("sys/init", serde_json::json!({"recovery_shares": 1, "recovery_threshold": 1}))
        .await
        .expect(200)
        .json();
    let token = made["root_token"].as_str().unwrap().to_owned();
    let sealed =
        async |server: &Server| server.client().get("sys/seal-status").await.json()["sealed"].clone();
    assert_eq!(sealed(&server).await, false);
    drop(server);
    let server = boot(&"5a".repeat(32));
    server.client().with_token(Some(&token)).get("sys/mounts").await.expect(200);
    drop(server);
    let server = boot(&"5b".repeat(32));
    assert_eq!(sealed(&server).await, true, "another key opens nothing");
    assert!(server.log().contains("not unsealed"), "{}", server.log());
}

#[test]
fn a_seal_that_cannot_be_is_told_before_anything_is_opened() {
    let home = tempfile::tempdir().unwrap();
    for (seal, words) in [
        ("type = \"hsm\"", "shamir"),
        ("type = \"static\"", "KEYFERRY_SEAL_KEY"),
        ("type = \"static\"\nkey = \"abc\"", "64 hexadecimal digits"),
        ("type = \"shamir\"\nkey = \"abc\"", "static"),
    ] {
        let output =
            keyferry().args(["server", "--config"]).arg(configured(home.path(), seal)).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{seal}: {said}");
        assert!(said.contains(words) && said.contains("seal"), "{seal}: {said}");
    }
    assert!(!home.path().join("data").exists());
}

#[tokio::test]
async fn a_key_of_aws_kms_opens_the_store_when_the_server_starts() {
    let Some(moto) = crate::harness::moto() else { return };
    let made = hyper::Request::post("/")
        .header("X-Amz-Target", "TrentService.CreateKey")
        .header("Content-Type", "application/x-amz-json-1.1")
        .header("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAMOTO/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0")
        .body(http_body_util::Full::new("{}".into()));
    let made = crate::harness::Client::new(&moto, None).try_send(made.unwrap()).await.unwrap().json();
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let home = tempfile::tempdir().unwrap();
    let seal = format!(
        "type = \"awskms\"\nkms_key_id = \"{key}\"\nregion = \"eu-west-1\"\naccess_key = \"AKIAMOTO\"\n\
         secret_key = \"canary-kms-secret\"\nendpoint = \"{moto}\""
    );
    let config = configured(home.path(), &seal);
    let server = Boot::config(&config, "").start();
    let init = serde_json::json!({ "recovery_shares": 1, "recovery_threshold": 1 });
    let made = server.client().call("PUT", "sys/init", Some(init)).await.expect(200).json();
    let token = made["root_token"].as_str().unwrap().to_owned();
    let client = server.client().with_token(Some(&token));
    client.call("POST", "sys/mounts/secret", Some(serde_json::json!({ "type": "kv-v2" }))).await.expect(204);
    let value = serde_json::json!({ "data": { "k": "v" } });
    client.call("POST", "secret/data/a", Some(value)).await.expect(200);
    assert!(!server.log().contains("canary"), "{}", server.log());
    drop(server);
    let server = Boot::config(&config, "").start();
    let client = server.client().with_token(Some(&token));
    let told = client.get("sys/seal-status").await.json();
    assert_eq!((&told["sealed"], &told["type"]), (&Value::Bool(false), &Value::from("awskms")));
    assert_eq!(client.get("secret/data/a").await.data()["data"]["k"], "v");
    drop(server);
    // Another key, or none: sealed, and it says why.
    let config = configured(home.path(), &seal.replace(key, "00000000-0000-0000-0000-000000000000"));
    let server = Boot::config(&config, "").start();
    let told = server.client().get("sys/seal-status").await.json();
    assert_eq!(told["sealed"], true, "{told}");
    assert!(told["keyferry_unseal_error"].as_str().unwrap().contains("AWS KMS"), "{told}");
}
