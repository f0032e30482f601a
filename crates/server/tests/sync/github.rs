//! The founding page's GitHub destination, GitHub apps (vault-sync-api.md 3.6), and a secret on its way to a
//! pretend GitHub.

use std::{sync::Arc, time::Duration};

use destinations::fakes::{FakeGithub, RsaPem, Trouble};
use model::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::bench::{Bench, Reply};

const PATH: &str = "sys/sync/destinations/gh/my-store-1";
const APP: &str = "sys/sync/github-apps/my-app";

/// The sample payload, word for word.
#[tokio::test(start_paused = true)]
async fn the_sample_is_made_and_read_masked() {
    let bench = Bench::new().await;
    let payload = r#"{
"access_token": "github_pat_12345",
"repository_owner": "my-organization-or-username",
"repository_name": "my-repository"
}"#;
    let made = bench.raw("POST", PATH, payload).await;
    made.ok();
    assert_eq!(made.body["warnings"], Value::Null);
    let read = bench.get(PATH).await;
    assert_eq!(made.data(), read.data());
    let expected = json!({
        "connection_details": {
            "access_token": "*****",
            "repository_owner": "my-organization-or-username",
            "repository_name": "my-repository"
        },
        "name": "my-store-1",
        "type": "gh",
        "options": {
            "custom_tags": {},
            "granularity": "secret-key",
            "granularity_level": "secret-key",
            "secret_name_template": "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}_{{ .SecretKey | uppercase }}"
        },
        "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
    });
    assert_eq!(read.data(), expected);
    // By path: the template of the documentation's example.
    bench.raw("PATCH", PATH, r#"{"granularity":"secret-path"}"#).await.ok();
    assert_eq!(
        bench.get(PATH).await.data()["options"]["secret_name_template"],
        "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}"
    );
    for (body, field) in [
        (r#"{"access_token":"x","repository_owner":"o"}"#, "repository_name"),
        (r#"{"access_token":"x","repository_owner":"o","repository_name":"o/r"}"#, "repository_name"),
        (r#"{"repository_owner":"o","repository_name":"r","app_name":"a"}"#, "installation_id"),
        (r#"{"repository_owner":"o","repository_name":"r","app_name":"a","installation_id":1}"#, "app_name"),
        (
            r#"{"access_token":"x","repository_owner":"o","repository_name":"r","custom_tags":{"a":"b"}}"#,
            "custom_tags",
        ),
    ] {
        let refused = bench.raw("POST", "sys/sync/destinations/gh/other", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    assert_eq!(bench.get("sys/sync/destinations/gh/other").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn an_app_is_made_shown_listed_replaced_and_removed() {
    let bench = Bench::new().await;
    let (key, other) = (RsaPem::generate(), RsaPem::generate());
    assert_eq!(bench.list("sys/sync/github-apps").await, Reply::errors(404, &[]));
    assert_eq!(bench.get(APP).await.status, 404);
    let made = bench.post(APP, json!({"app_id": "12345", "private_key": key.pkcs1})).await;
    let expected = json!({
        "app_id": 12345, "name": "my-app", "fingerprint": key.fingerprint, "private_key": "*****"
    });
    assert_eq!(made.data(), expected);
    assert_eq!(bench.get(APP).await.data(), expected);
    for (method, path) in [("LIST", "sys/sync/github-apps"), ("GET", "sys/sync/github-apps/?list=true")] {
        assert_eq!(bench.raw(method, path, "").await.data(), json!({"keys": ["my-app"]}));
    }
    // Without a key in the request, the one there is stays; with one it is replaced.
    let renumbered = bench.post(APP, json!({"app_id": 7, "private_key": "*****"})).await.data();
    assert_eq!((&renumbered["app_id"], &renumbered["fingerprint"]), (&json!(7), &json!(key.fingerprint)));
    let rekeyed = bench.post(APP, json!({"app_id": 7, "private_key": other.pkcs8, "colour": "red"})).await;
    assert_eq!(rekeyed.data()["fingerprint"], other.fingerprint);
    assert!(rekeyed.body["warnings"].to_string().contains("colour"));
    for (body, field) in [
        (json!({"private_key": key.pkcs1}), "app_id"),
        (json!({"app_id": 0, "private_key": key.pkcs1}), "app_id"),
        (json!({"app_id": "x", "private_key": key.pkcs1}), "app_id"),
        (json!({"app_id": 1}), "private_key"),
        (json!({"app_id": 1, "private_key": "no PEM"}), "private_key"),
        (json!({"app_id": 1, "private_key": ["x"]}), "private_key"),
        (json!({"app_id": 1, "private_key": key.pkcs1, "enterprise_url": "x"}), "enterprise_url"),
    ] {
        let refused = bench.post("sys/sync/github-apps/bad", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    assert_eq!(bench.post("sys/sync/github-apps/a%20b", json!({"app_id": 1})).await.status, 400);
    assert_eq!(bench.raw("PATCH", APP, "{}").await.status, 405);
    assert_eq!(bench.get("sys/sync/github-apps/a/b").await.status, 404);
    assert_eq!(bench.raw("DELETE", APP, "").await.status, 204);
    assert_eq!(bench.raw("DELETE", APP, "").await, Reply::errors(404, &[]));
    assert_eq!(bench.get(APP).await.status, 404);
    let material = |pem: &str| pem.lines().nth(5).unwrap().to_owned();
    for secret in [material(&key.pkcs1), material(&other.pkcs8)] {
        assert!(!bench.everything_said().contains(&secret));
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_used_stays_and_is_shown_where_it_is() {
    let bench = Bench::new().await;
    let key = RsaPem::generate();
    bench.post(APP, json!({"app_id": 1, "private_key": key.pkcs1})).await.ok();
    let settings = json!({"repository_owner": "o", "repository_name": "r", "app_name": "my-app",
        "installation_id": "77"});
    let details = bench.post(PATH, settings).await.data()["connection_details"].clone();
    assert_eq!(
        details,
        json!({"app_config": {"app_name": "my-app"}, "app_name": "my-app", "installation_id": 77,
            "repository_owner": "o", "repository_name": "r"})
    );
    let refused = bench.raw("DELETE", APP, "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("gh/my-store-1"), "{}", refused.text());
    // Nor may it become one that the destination cannot use.
    let moved = json!({"app_id": 1, "enterprise_url": "https://git.example.com"});
    let refused = bench.post(APP, moved.clone()).await;
    assert!(refused.text().contains("private_key: must be given again"), "{}", refused.text());
    let mut moved = moved;
    moved["private_key"] = key.pkcs1.into();
    let refused = bench.post(APP, moved).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("gh/my-store-1"), "{}", refused.text());
    // From an app to a token and back, as Terraform does it: what is left out goes.
    let token = json!({"repository_owner": "o", "repository_name": "r", "access_token": "t"});
    let details = bench.post(PATH, token).await.data()["connection_details"].clone();
    assert_eq!((&details["access_token"], &details["app_name"]), (&json!("*****"), &Value::Null));
    let app = json!({"repository_owner": "o", "repository_name": "r", "app_name": "my-app",
        "installation_id": 77});
    let details = bench.post(PATH, app).await.data()["connection_details"].clone();
    assert_eq!((&details["access_token"], &details["app_name"]), (&Value::Null, &json!("my-app")));
    bench.raw("DELETE", PATH, "").await.ok();
    assert_eq!(bench.raw("DELETE", APP, "").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn apps_need_rights_like_anything_else() {
    let bench = Bench::new().await;
    for (method, path) in [("LIST", "sys/sync/github-apps"), ("GET", APP), ("POST", APP), ("DELETE", APP)] {
        assert_eq!(bench.send(method, path, "{}", None).await.status, 403, "{method} {path}");
        let powerless = bench.send(method, path, "{}", Some(&bench.powerless)).await;
        assert_eq!(powerless.status, 403, "{method} {path}");
    }
}

/// The time of [`Bench`], for the pretend service. It is not paused: timers would run out while sockets are
/// waited for.
struct SameClock(tokio::time::Instant);

impl Clock for SameClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.0.elapsed())
    }
}

async fn github() -> (Bench, FakeGithub) {
    let clock = Arc::new(SameClock(tokio::time::Instant::now()));
    let (bench, fake) = (Bench::new().await, FakeGithub::start(clock).await.unwrap());
    bench.raw("POST", "my-kv/data/app/db", r#"{"data":{"user":"app","pass":"canary-7f3a"}}"#).await.ok();
    (bench, fake)
}

fn settings(fake: &FakeGithub, more: Value) -> Value {
    let mut settings = json!({"repository_owner": "acme", "repository_name": "app", "endpoint": fake.url(),
        "disable_strict_networking": true});
    if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
        all.extend(more);
    }
    settings
}

async fn set(bench: &Bench) -> Value {
    let source = json!({"mount": "my-kv", "secret_name": "app/db"});
    bench.post(&format!("{PATH}/associations/set"), source).await.data()["associated_secrets"].clone()
}

fn statuses(entries: &Value) -> Vec<&str> {
    entries.as_object().unwrap().values().map(|entry| entry["sync_status"].as_str().unwrap()).collect()
}

/// Waits until every entry is in this state.
async fn becomes(bench: &Bench, status: &str) {
    for _ in 0..600 {
        let data = bench.get(&format!("{PATH}/associations")).await.data();
        if statuses(&data["associated_secrets"]).iter().all(|there| *there == status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", bench.get(&format!("{PATH}/associations")).await.body);
}

#[tokio::test]
async fn a_secret_arrives_changes_and_leaves() {
    let (bench, fake) = github().await;
    bench.post(PATH, settings(&fake, json!({"access_token": FakeGithub::TOKEN}))).await.ok();
    let entries = set(&bench).await;
    assert_eq!(statuses(&entries), ["SYNCED", "SYNCED"]);
    let prefix = format!("VAULT_{}_APP_DB", bench.accessor.to_uppercase());
    let value = |key: &str| {
        let secret = fake.secret("repos/acme/app", &format!("{prefix}_{key}"));
        secret.map(|secret| secret.value.expose_text().unwrap().to_owned())
    };
    assert_eq!((value("USER").as_deref(), value("PASS").as_deref()), (Some("app"), Some("canary-7f3a")));
    fake.forget_calls();
    bench.raw("POST", "my-kv/data/app/db", r#"{"data":{"user":"app","pass":"canary-7f3b"}}"#).await.ok();
    becomes(&bench, "SYNCED").await;
    assert_eq!(value("PASS").as_deref(), Some("canary-7f3b"));
    assert_eq!(
        (fake.calls("write"), fake.all_calls()),
        (1, 1),
        "one call for what changed, none for what did not"
    );
    bench.raw("DELETE", "my-kv/data/app/db", "").await.ok();
    becomes(&bench, "UNSYNCED").await;
    assert!(fake.names("repos/acme/app").is_empty());
    assert!(!bench.everything_said().contains("canary-7f3"));
}

#[tokio::test]
async fn a_strangers_secret_is_refused_and_survives_the_association() {
    let (bench, fake) = github().await;
    let name = format!("VAULT_{}_APP_DB_PASS", bench.accessor.to_uppercase());
    fake.plant("repos/acme/app", &name, "theirs");
    bench.post(PATH, settings(&fake, json!({"access_token": FakeGithub::TOKEN}))).await.ok();
    let entries = set(&bench).await;
    let entry = |key: &str| entries[format!("{}/app/db/{key}", bench.accessor)].clone();
    assert_eq!(entry("pass")["sync_status"], "CLIENT_SIDE_ERROR");
    assert_eq!(entry("pass")["error_code"], "name_taken");
    assert_eq!(entry("user")["sync_status"], "SYNCED");
    bench
        .post(&format!("{PATH}/associations/remove"), json!({"mount": "my-kv", "secret_name": "app/db"}))
        .await
        .ok();
    assert_eq!(fake.names("repos/acme/app"), [name]);
}

/// Keys of one secret that differ in case only are one name at GitHub: neither is delivered.
#[tokio::test]
async fn keys_that_differ_in_case_only_collide() {
    let (bench, fake) = github().await;
    bench.raw("POST", "my-kv/data/app/db", r#"{"data":{"Pass":"a","pASS":"b","user":"c"}}"#).await.ok();
    bench.post(PATH, settings(&fake, json!({"access_token": FakeGithub::TOKEN}))).await.ok();
    let entries = set(&bench).await;
    for key in ["Pass", "pASS"] {
        assert_eq!(entries[format!("{}/app/db/{key}", bench.accessor)]["error_code"], "name_collision");
    }
    assert_eq!(fake.names("repos/acme/app").len(), 1);
}

/// What failed because of the app works as soon as the app is mended, without the destination being touched.
#[tokio::test]
async fn a_mended_app_reopens_its_destinations() {
    let (bench, fake) = github().await;
    let (key, wrong) = (RsaPem::generate(), RsaPem::generate());
    fake.add_app(4242, &key, 9001);
    let app = |key: &RsaPem| json!({"app_id": 4242, "private_key": key.pkcs8, "endpoint": fake.url()});
    bench.post(APP, app(&wrong)).await.ok();
    bench.post(PATH, settings(&fake, json!({"app_name": "my-app", "installation_id": 9001}))).await.ok();
    let entries = set(&bench).await;
    assert_eq!(statuses(&entries), ["CLIENT_SIDE_ERROR", "CLIENT_SIDE_ERROR"]);
    bench.post(APP, app(&key)).await.ok();
    becomes(&bench, "SYNCED").await;
    assert_eq!(fake.names("repos/acme/app").len(), 2);
}

/// The whole way: a refusal that passes is told, waited out and mended by itself.
#[tokio::test]
async fn an_outage_and_a_lost_answer_end_well() {
    let (bench, fake) = github().await;
    bench.post(PATH, settings(&fake, json!({"access_token": FakeGithub::TOKEN}))).await.ok();
    fake.trouble(
        "write",
        [
            Trouble::answer(502, "<html>"),
            Trouble::LoseAnswer,
            Trouble::answer(409, "{}"),
            Trouble::Answer(403, vec![("retry-after", "1".to_owned())], "{}"),
        ],
    );
    set(&bench).await;
    becomes(&bench, "SYNCED").await;
    assert_eq!(fake.names("repos/acme/app").len(), 2);
}
