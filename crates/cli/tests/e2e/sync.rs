//! The sync API over HTTP, against moto and against files.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::harness::{Aws, Boot, Client, Server, eventually, moto};

/// The one association entry of an answer.
fn entry(data: &Value) -> Value {
    let entries = data["associated_secrets"].as_object().unwrap();
    assert_eq!(entries.len(), 1, "{data}");
    entries.values().next().unwrap().clone()
}

/// What a `file` destination holds: name → value. Nothing while there is no such file.
pub(crate) fn delivered(file: &Path) -> BTreeMap<String, String> {
    std::fs::read(file).map_or_else(|_| BTreeMap::new(), |bytes| serde_json::from_slice(&bytes).unwrap())
}

async fn status(client: &Client, destination: &str) -> Value {
    entry(&client.get(&format!("{destination}/associations")).await.data())["sync_status"].clone()
}

async fn becomes(client: &Client, destination: &str, word: &str) {
    eventually(word, async || (status(client, destination).await == word).then_some(())).await;
}

#[tokio::test]
async fn a_destinations_life_follows_the_founding_page() {
    let server = Server::dev();
    let client = server.client();
    let Some(moto) = moto() else { return };
    let at = "sys/sync/destinations/aws-sm/my-store-1";

    assert_eq!(client.list("sys/sync/destinations").await.expect(404).json(), json!({ "errors": [] }));
    client.get(at).await.expect(404);
    let body = json!({
        "access_key_id": "AKI***", "secret_access_key": "ktri****", "region": "us-west-1", "endpoint": moto,
    });
    let made = client.post(at, body).await.data();
    assert_eq!((&made["name"], &made["type"]), (&json!("my-store-1"), &json!("aws-sm")));
    let details = &made["connection_details"];
    assert_eq!(details["access_key_id"], "*****");
    assert_eq!(details["secret_access_key"], "*****");
    assert_eq!(details["region"], "us-west-1");
    assert_eq!(client.get(at).await.data(), made);

    let listed = client.list("sys/sync/destinations").await.data();
    assert_eq!(listed["keys"], json!(["aws-sm"]));
    assert_eq!(listed["key_info"], json!({ "aws-sm": ["my-store-1"] }));
    assert_eq!(listed["total_destinations"], 1);
    assert_eq!(client.get("sys/sync/destinations/?list=true").await.data(), listed);

    let patched = client
        .patch(at, json!({ "custom_tags": { "team": "a" }, "secret_access_key": "*****" }))
        .await
        .data();
    assert_eq!(patched["options"]["custom_tags"], json!({ "team": "a" }));
    assert_eq!(patched["connection_details"]["region"], "us-west-1");

    client.delete(at).await.expect(204);
    client.get(at).await.expect(404);
    for (path, body) in [
        ("sys/sync/destinations/no-such-type/x", json!({})),
        ("sys/sync/destinations/azure-kv/x", json!({})),
        ("sys/sync/destinations/aws-sm/x", json!({ "region": ["a", "b"] })),
        ("sys/sync/destinations/aws-sm/x", json!({ "secret_name_template": "{{ .Nope }}" })),
        ("sys/sync/destinations/aws-sm/x", json!({ "granularity": "secret-word" })),
    ] {
        let refused = client.post(path, body).await.expect(400).json();
        assert!(refused["errors"][0].as_str().is_some_and(|text| text.len() > 10), "{path}: {refused}");
    }
}

#[tokio::test]
async fn a_value_arrives_changes_and_leaves_at_aws() {
    let server = Server::dev();
    let client = server.client();
    let Some(moto) = moto() else { return };
    let aws = Aws::new(&moto, "eu-west-1");
    let at = "sys/sync/destinations/aws-sm/life";
    let config = json!({
        "access_key_id": "a", "secret_access_key": "b", "region": "eu-west-1", "endpoint": moto,
        "recovery_window_in_days": 0, "custom_tags": { "team": "a" },
    });
    client.post(at, config).await.expect(200);
    client.post("secret/data/app/db", json!({ "data": { "b": 1, "a": "x" } })).await.expect(200);
    let pair = json!({ "mount": "secret", "secret_name": "app/db" });

    let set = client.post(&format!("{at}/associations/set"), pair.clone()).await.data();
    assert_eq!((&set["store_name"], &set["store_type"]), (&json!("life"), &json!("aws-sm")));
    let made = entry(&set);
    assert_eq!(made["sync_status"], "SYNCED", "moto answers well within the two seconds of decision 5");
    assert_eq!(made["secret_name"], "app/db");
    let name = made["external_name"].as_str().unwrap();
    assert_eq!(name, format!("vault/{}/app/db", made["accessor"].as_str().unwrap()));
    assert_eq!(aws.value(name).await.unwrap(), json!({ "a": "x", "b": 1 }));
    assert!(aws.tags(name).await.to_string().contains("\"team\""));

    client.post("secret/data/app/db", json!({ "data": { "a": "y" } })).await.expect(200);
    eventually("the second value", async || aws.value(name).await.filter(|v| *v == json!({ "a": "y" })))
        .await;
    becomes(&client, at, "SYNCED").await;

    client.delete("secret/data/app/db").await.expect(204);
    becomes(&client, at, "UNSYNCED").await;
    assert_eq!(aws.value(name).await, None);
    client.post("secret/undelete/app/db", json!({ "versions": [2] })).await.expect(204);
    becomes(&client, at, "SYNCED").await;
    assert_eq!(aws.value(name).await.unwrap(), json!({ "a": "y" }));

    assert_eq!(client.delete(at).await.status, 400, "a destination with associations stays");
    let removed = entry(&client.post(&format!("{at}/associations/remove"), pair.clone()).await.data());
    assert_eq!(removed["sync_status"], "UNSYNCED");
    assert_eq!(aws.value(name).await, None);
    assert_eq!(client.get(&format!("{at}/associations")).await.data()["associated_secrets"], json!({}));
    client.post(&format!("{at}/associations/remove"), pair).await.expect(200);
    client.delete(at).await.expect(204);
}

#[tokio::test]
async fn one_secret_reaches_two_files_and_both_views_tell() {
    let server = Server::dev();
    let client = server.client();
    let target = tempfile::tempdir().unwrap();
    let file = |name: &str| target.path().join(format!("{name}.json"));
    for name in ["one", "two"] {
        let config = json!({ "path": file(name) });
        client.post(&format!("sys/sync/destinations/file/{name}"), config).await.expect(200);
    }
    let hold = |value: &'static str, counts: [usize; 2]| {
        let found = [delivered(&file("one")), delivered(&file("two"))];
        let wanted = format!("{{\"k\":\"{value}\"}}");
        let all = found.iter().flat_map(BTreeMap::values).all(|text| *text == wanted);
        (all && found.map(|rows| rows.len()) == counts).then_some(())
    };
    client.post("secret/data/shared", json!({ "data": { "k": "first" } })).await.expect(200);
    for name in ["one", "two"] {
        let set = format!("sys/sync/destinations/file/{name}/associations/set");
        client.post(&set, json!({ "mount": "secret/", "secret_name": "shared" })).await.expect(200);
    }
    eventually("both files", async || hold("first", [1, 1])).await;

    let all = client.list("sys/sync/associations").await.data();
    assert_eq!((&all["total_associations"], &all["total_secrets"]), (&json!(2), &json!(1)));
    let by_secret =
        client.get("sys/sync/associations/destinations?mount=secret&secret_name=shared").await.data();
    let rows = by_secret["associated_destinations"].as_object().unwrap();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["file/one", "file/two"]);

    client.post("secret/data/shared", json!({ "data": { "k": "second" } })).await.expect(200);
    eventually("both updates", async || hold("second", [1, 1])).await;

    client.delete("sys/sync/destinations/file/one?purge=true").await;
    eventually("the purge", async || {
        let gone = client.get("sys/sync/destinations/file/one").await.status == 404;
        if gone { hold("second", [0, 1]) } else { None }
    })
    .await;
    client.delete("secret/metadata/shared").await.expect(204);
    eventually("the removal", async || hold("", [0, 0])).await;
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_the_overview() {
    let server = Server::dev();
    let client = server.client();
    client.post("secret/data/s", json!({ "data": { "k": "v" } })).await.expect(200);
    let pair = json!({ "mount": "secret", "secret_name": "s" });

    // Nobody listens there: the provider's side.
    let at = "sys/sync/destinations/aws-sm/nobody";
    let config = json!({
        "access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "endpoint": "http://127.0.0.1:9",
    });
    client.post(at, config).await.expect(200);
    client.post(&format!("{at}/associations/set"), pair.clone()).await.expect(200);
    becomes(&client, at, "EXTERNAL_SERVICE_ERROR").await;
    let told = entry(&client.get(&format!("{at}/associations")).await.data());
    assert!(told["error_code"].is_string() && told["error_message"].is_string(), "{told}");

    // A directory that is not there: the operator's side.
    let at = "sys/sync/destinations/file/nowhere";
    client.post(at, json!({ "path": "/nonexistent-directory/of-this-test.json" })).await.expect(200);
    client.post(&format!("{at}/associations/set"), pair).await.expect(200);
    becomes(&client, at, "CLIENT_SIDE_ERROR").await;

    for (body, status) in [
        (json!({ "mount": "secret", "secret_name": "never" }), 400..=404),
        (json!({ "mount": "nope", "secret_name": "s" }), 400..=404),
        (json!({ "mount": "secret", "secret_name": "folder/" }), 400..=400),
        (json!({ "mount": "secret" }), 400..=400),
    ] {
        let answer = client.post(&format!("{at}/associations/set"), body.clone()).await;
        assert!(status.contains(&answer.status.as_u16()), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_syncs_without_the_right_to() {
    let server = Server::dev();
    let root = server.client();
    let target = tempfile::tempdir().unwrap();
    root.post("sys/sync/destinations/file/out", json!({ "path": target.path().join("x.json") }))
        .await
        .expect(200);
    root.post("secret/data/theirs", json!({ "data": { "k": "v" } })).await.expect(200);
    let made = root.post("auth/token/create", json!({ "policies": ["powerless"] })).await.expect(200).json();
    let powerless = root.with_token(made["auth"]["client_token"].as_str());
    let pair = json!({ "mount": "secret", "secret_name": "theirs" });
    for client in [powerless, root.with_token(None), root.with_token(Some("hvs.nobodys"))] {
        for (method, path) in [
            ("GET", "sys/sync/config"),
            ("PATCH", "sys/sync/config"),
            ("LIST", "sys/sync/destinations"),
            ("GET", "sys/sync/destinations/file/out"),
            ("POST", "sys/sync/destinations/file/out"),
            ("DELETE", "sys/sync/destinations/file/out"),
            ("GET", "sys/sync/destinations/file/out/associations"),
            ("POST", "sys/sync/destinations/file/out/associations/set"),
            ("POST", "sys/sync/destinations/file/out/associations/remove"),
            ("LIST", "sys/sync/associations"),
        ] {
            let body = (method == "POST" || method == "PATCH").then(|| pair.clone());
            let refused = client.call(method, path, body).await.expect(403);
            assert!(refused.text.contains("permission denied"), "{method} {path}: {refused:?}");
        }
    }
    assert!(std::fs::read_dir(target.path()).unwrap().next().is_none());
    root.get("sys/sync/destinations/file/out").await.expect(200);
}

#[tokio::test]
async fn list_keys_can_be_written_with_a_slash() {
    let server = Boot::dev().env("KEYFERRY_SYNC_LIST_KEY_STYLE", "slash").start();
    let client = server.client();
    let target = tempfile::tempdir().unwrap();
    client
        .post("sys/sync/destinations/file/x", json!({ "path": target.path().join("x.json") }))
        .await
        .expect(200);
    let listed = client.list("sys/sync/destinations").await.data();
    assert_eq!(listed["keys"], json!(["file/"]));
    assert_eq!(listed["key_info"], json!({ "file/": ["x"] }));
}

#[tokio::test]
async fn activation_can_be_required() {
    let server = Boot::dev().env("KEYFERRY_SYNC_REQUIRE_ACTIVATION", "true").start();
    let client = server.client();
    let target = tempfile::tempdir().unwrap();
    let (at, body) = ("sys/sync/destinations/file/x", json!({ "path": target.path().join("x.json") }));
    client.post(at, body.clone()).await.expect(400);
    let flags = client.with_token(None).get("sys/activation-flags").await.data();
    assert_eq!(flags, json!({ "activated": [], "unactivated": ["secrets-sync"] }));
    client.call("PUT", "sys/activation-flags/secrets-sync/activate", None).await.expect(200);
    client.post(at, body).await.expect(200);
}
