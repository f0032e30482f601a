//! Vercel projects as clients see them: the founding page's sample, and a project's variables through the
//! engine, in batches.

use std::sync::Arc;

use destinations::fakes::FakeVercel;
use model::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::bench::Bench;

const PATH: &str = "sys/sync/destinations/vercel-project/my-store-1";

/// The sample payload, word for word.
#[tokio::test(start_paused = true)]
async fn the_sample_is_made_and_read_masked() {
    let bench = Bench::new().await;
    let payload = r#"{
"access_token": "<token>>",
"project_id": "prj_12345",
"deployment_environments": ["development", "preview", "production"]
}"#;
    let made = bench.raw("POST", PATH, payload).await;
    made.ok();
    assert_eq!(made.body["warnings"], Value::Null);
    let read = bench.get(PATH).await;
    assert_eq!(made.data(), read.data());
    let expected = json!({
        "connection_details": {
            "access_token": "*****",
            "project_id": "prj_12345",
            "deployment_environments": ["development", "preview", "production"]
        },
        "name": "my-store-1",
        "type": "vercel-project",
        "options": {
            "custom_tags": {},
            "granularity": "secret-key",
            "granularity_level": "secret-key",
            "secret_name_template": "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}_{{ .SecretKey | uppercase }}"
        },
        "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
    });
    assert_eq!(read.data(), expected);
    for (body, part) in [
        (r#"{"project_id":"p","deployment_environments":["preview"]}"#, "access_token: is required"),
        (r#"{"access_token":"t","deployment_environments":["preview"]}"#, "project_id: is required"),
        (r#"{"access_token":"t","project_id":"p"}"#, "deployment_environments: is required"),
        (
            r#"{"access_token":"t","project_id":"p","deployment_environments":["staging"]}"#,
            "deployment_environments[0]: must be development, preview or production",
        ),
        (
            r#"{"access_token":"t","project_id":"p","deployment_environments":["preview"],"custom_tags":{"a":"b"}}"#,
            "custom_tags: ",
        ),
    ] {
        let refused = bench.raw("POST", "sys/sync/destinations/vercel-project/x", body).await;
        assert_eq!((refused.status, refused.text().contains(part)), (400, true), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_secrets_keys_arrive_change_and_leave() {
    let bench = Bench::new().await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
    let fake = FakeVercel::start(clock).await.unwrap();
    let settings = |environments: Value| {
        json!({"endpoint": fake.url(), "access_token": FakeVercel::TOKEN, "project_id": FakeVercel::PROJECT,
            "team_id": FakeVercel::TEAM, "deployment_environments": environments,
            "secret_name_template": "{{ .SecretBaseName | uppercase }}_{{ .SecretKey | uppercase }}",
            "disable_strict_networking": true})
    };
    bench.post(PATH, settings(json!(["production", "preview", "development"]))).await.ok();
    let data = |skip: usize, version: &str| -> Value {
        (skip..12)
            .map(|n| (format!("k{n:02}"), json!(format!("canary-7f3a-{version}"))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    bench.post("my-kv/data/app/db", json!({"data": data(0, "1")})).await.ok();
    let source = json!({"mount": "my-kv", "secret_name": "app/db"});
    bench.post(&format!("{PATH}/associations/set"), source.clone()).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!((fake.names().len(), fake.all_calls()), (24, 1), "twelve keys, two records each, one call");
    let values =
        |name: &str| -> Vec<String> { fake.seen(name).into_iter().map(|record| record.value).collect() };
    assert_eq!(values("DB_K00"), ["canary-7f3a-1", "canary-7f3a-1"]);

    // Setting it again looks, and finds everything as it should be.
    fake.forget_calls();
    bench.post(&format!("{PATH}/associations/set"), source.clone()).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!((fake.calls("list"), fake.all_calls()), (1, 1));

    // Eleven change, one leaves: one list and one upsert, one list and one deletion.
    fake.forget_calls();
    bench.post("my-kv/data/app/db", json!({"data": data(1, "2")})).await.ok();
    for _ in 0..600 {
        if fake.names().len() == 22 && values("DB_K11") == ["canary-7f3a-2", "canary-7f3a-2"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bench.becomes(PATH, "SYNCED").await;
    assert!(values("DB_K00").is_empty() && values("DB_K01") == ["canary-7f3a-2", "canary-7f3a-2"]);
    assert_eq!(
        (fake.calls("list"), fake.calls("create"), fake.calls("remove"), fake.all_calls()),
        (2, 1, 1, 4)
    );

    bench.post(&format!("{PATH}/associations/remove"), source).await.ok();
    for _ in 0..600 {
        if fake.names().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(fake.names().is_empty());
    assert!(!bench.everything_said().contains(FakeVercel::TOKEN));
}
