//! The founding page's Azure destination, and what its peer's Terraform provider expects of it.

use std::{sync::Arc, time::Duration};

use destinations::fakes::{FakeAzure, Refuse};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bench::{Bench, Reply, TokioClock};

const PATH: &str = "sys/sync/destinations/azure-kv/my-store-1";

/// The sample payload, word for word. `subscription_id` is in it and means nothing, which is said.
#[tokio::test(start_paused = true)]
async fn the_sample_is_made_and_read_masked() {
    let bench = Bench::new().await;
    let payload = r#"{
"key_vault_uri": "https://keyvault-1234abcd.vault.azure.net",
"subscription_id": "uuid",
"tenant_id": "uuid",
"client_id": "uuid",
"client_secret": "90y8Q***"
}"#;
    let made = bench.raw("POST", PATH, payload).await;
    made.ok();
    assert!(made.body["warnings"].to_string().contains("subscription_id"), "{}", made.body["warnings"]);
    let read = bench.get(PATH).await;
    assert_eq!(made.data(), read.data());
    let expected = json!({
        "connection_details": {
            "key_vault_uri": "https://keyvault-1234abcd.vault.azure.net",
            "tenant_id": "uuid",
            "client_id": "uuid",
            "client_secret": "*****"
        },
        "name": "my-store-1",
        "type": "azure-kv",
        "options": {
            "custom_tags": {},
            "granularity": "secret-path",
            "granularity_level": "secret-path",
            "secret_name_template": r#"vault-{{ .MountAccessor | replace "_" "-" }}-{{ .SecretPath }}"#
        },
        "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
    });
    assert_eq!(read.data(), expected);
}

/// Terraform sends `cloud = "cloud"` and a template with a slash, and wants both back as they were; it
/// creates destinations before there is anything to connect to, and expects bad tags to be refused.
#[tokio::test(start_paused = true)]
async fn what_is_sent_comes_back_and_what_cannot_be_is_refused() {
    let bench = Bench::new().await;
    let template = "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath }}/x";
    let body = json!({"key_vault_uri": "https://vault.azure.example", "client_id": "c", "client_secret": "s",
        "tenant_id": "t", "cloud": "cloud", "secret_name_template": template, "granularity": "secret-path",
        "custom_tags": {"foo": "bar"}});
    let data = bench.post(PATH, body).await.data();
    assert_eq!(data["connection_details"]["cloud"], "cloud");
    assert_eq!(data["options"]["secret_name_template"], template);
    assert_eq!(data["options"]["custom_tags"], json!({"foo": "bar"}));
    // A later POST without the secret keeps it; what else it leaves out is gone.
    let again = json!({"key_vault_uri": "https://vault.azure.example", "client_id": "c", "tenant_id": "t"});
    let data = bench.post(PATH, again).await.data();
    assert_eq!(data["connection_details"]["client_secret"], "*****");
    assert_eq!(data["connection_details"].get("cloud"), None);

    for (body, field) in [
        (r"{}", "key_vault_uri"),
        (r#"{"key_vault_uri":"not a url"}"#, "key_vault_uri"),
        (r#"{"key_vault_uri":"https://a.vault.azure.net","client_secret":"s"}"#, "client_id"),
        (r#"{"key_vault_uri":"https://a.vault.azure.net","cloud":"moon"}"#, "cloud"),
        (r#"{"key_vault_uri":"https://a.vault.azure.net","cloud":"china"}"#, "cloud"),
        (
            r#"{"key_vault_uri":"https://a.vault.azure.net","custom_tags":{"invalid key with spaces":"x"}}"#,
            "custom_tags",
        ),
        (r#"{"key_vault_uri":"https://a.vault.azure.net","allowed_ports":[70000]}"#, "allowed_ports"),
    ] {
        let refused = bench.raw("POST", "sys/sync/destinations/azure-kv/other", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    assert_eq!(bench.get("sys/sync/destinations/azure-kv/other").await, Reply::errors(404, &[]));
}

async fn becomes(bench: &Bench, status: &str) -> Value {
    bench.becomes(PATH, status).await
}

/// A secret's life, through the engine: made, changed for one call, left alone for none, removed, and back
/// under its name while Azure is busy deleting it. A vault that refuses is come back to.
#[tokio::test]
async fn a_secret_lives_in_a_vault() {
    let bench = Bench::new().await;
    let vault = FakeAzure::start(Arc::new(TokioClock(Instant::now()))).await.unwrap();
    let settings = json!({"key_vault_uri": FakeAzure::VAULT, "endpoint": vault.url(), "auth_endpoint": vault.url(),
        "tenant_id": FakeAzure::TENANT, "client_id": FakeAzure::CLIENT_ID,
        "client_secret": FakeAzure::CLIENT_SECRET, "disable_strict_networking": true});
    bench.post(PATH, settings).await.ok();
    bench.post("my-kv/data/app/db", json!({"data": {"password": "first"}})).await.ok();
    let pair = json!({"mount": "my-kv", "secret_name": "app/db"});
    let set = bench.post(&format!("{PATH}/associations/set"), pair.clone()).await.data();
    let entry = set["associated_secrets"].as_object().unwrap().values().next().unwrap();
    assert_eq!(entry["sync_status"], "SYNCED");
    let name = entry["external_name"].as_str().unwrap();
    assert_eq!(name, format!("vault-{}-app-db", bench.accessor.replace('_', "-")));
    let value = || {
        let view = vault.view(name).filter(|view| !view.deleted)?;
        Some(view.value.expose_text().unwrap().to_owned())
    };
    assert_eq!(value().as_deref(), Some(r#"{"password":"first"}"#));
    assert_eq!(vault.vault_calls(), 2, "a look and a write");

    vault.forget_calls();
    let throttled = Refuse { status: 429, code: "Throttled", retry_after: Some(1), ..Refuse::default() };
    vault.refuse("Set", [throttled]);
    bench.post("my-kv/data/app/db", json!({"data": {"password": "second"}})).await.ok();
    let failed = becomes(&bench, "EXTERNAL_SERVICE_ERROR").await;
    assert_eq!(failed["error_code"], "throttled");
    becomes(&bench, "SYNCED").await;
    assert_eq!(value().as_deref(), Some(r#"{"password":"second"}"#));
    assert_eq!(vault.vault_calls(), 2, "one refused, one that was taken");

    // The same value again costs nothing.
    vault.forget_calls();
    bench.post("my-kv/data/app/db", json!({"data": {"password": "second"}})).await.ok();
    becomes(&bench, "SYNCED").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(vault.vault_calls(), 0);

    vault.set_limbo(Duration::from_secs(1));
    bench.raw("DELETE", "my-kv/data/app/db", "").await.ok();
    becomes(&bench, "UNSYNCED").await;
    assert_eq!(value(), None);
    bench.post("my-kv/data/app/db", json!({"data": {"password": "third"}})).await.ok();
    becomes(&bench, "SYNCED").await;
    assert_eq!(value().as_deref(), Some(r#"{"password":"third"}"#));
    assert_eq!(vault.calls("Recover"), 1);
    assert_eq!(vault.view(name).unwrap().versions, 3);

    let removed = bench.post(&format!("{PATH}/associations/remove"), pair).await.data();
    assert_eq!(removed["associated_secrets"].as_object().unwrap().len(), 1);
    assert_eq!(value(), None);
    bench.raw("DELETE", PATH, "").await.ok();
    assert!(!bench.everything_said().contains(FakeAzure::CLIENT_SECRET));
    assert!(!bench.everything_said().contains("CANARY-FROM-REMOTE"));
}
