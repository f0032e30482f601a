//! What a destination refuses, how it moves, and what is left when it goes (vault-sync-api.md 3.2 to 3.4).

use std::time::Duration;

use destinations::{Fault, in_mem::Step};
use serde_json::json;

use crate::{DESTINATION, SECRET, bench::Bench, source, synced};

const SET: &str = "sys/sync/destinations/in-mem/my-store-1/associations/set";
const REMOVE: &str = "sys/sync/destinations/in-mem/my-store-1/associations/remove";

/// The cases the Terraform provider's own tests try, and what must be told about each.
#[tokio::test(start_paused = true)]
async fn what_terraform_expects_to_be_refused_is() {
    let bench = Bench::new().await;
    let azure = json!({ "key_vault_uri": "https://v.vault.azure.net", "tenant_id": "t", "client_id": "c", "client_secret": "s" });
    for (kind, settings, part) in [
        ("aws-sm", json!({ "region": "us-east-1", "allowed_ipv4_addresses": ["203.0.113.5"] }), "CIDR"),
        ("aws-sm", json!({ "region": "us-east-1", "allowed_ipv6_addresses": ["2001:db8::1"] }), "CIDR"),
        ("aws-sm", json!({ "region": "us-east-1", "allowed_ports": [70_000] }), "range"),
        ("aws-sm", json!({ "region": "us-east-1", "allowed_ports": [0] }), "range"),
        (
            "aws-sm",
            json!({ "region": "us-east-1", "secret_name_template": "{{ .Nope }}" }),
            "secret_name_template",
        ),
        ("aws-sm", json!({ "region": "us-east-1", "granularity": "secret-word" }), "granularity"),
        ("aws-sm", json!({ "region": "us-east-1", "access_key_id": "A" }), "secret_access_key"),
        (
            "gh",
            json!({ "secret_name_template": "x" }),
            "external name template should contain reference to the secret key",
        ),
    ] {
        let at = format!("sys/sync/destinations/{kind}/bad");
        let refused = bench.post(&at, settings.clone()).await;
        assert_eq!(refused.status, 400, "{kind} {settings}: {}", refused.text());
        assert!(refused.text().contains(part), "{kind} {settings}: {}", refused.text());
        assert_eq!(bench.get(&at).await.status, 404, "{kind} {settings}: nothing is stored");
    }
    let mut spaces = azure;
    spaces["custom_tags"] = json!({ "invalid key with spaces": "x" });
    let refused = bench.post("sys/sync/destinations/azure-kv/bad", spaces).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
}

#[tokio::test(start_paused = true)]
async fn a_type_that_does_not_exist_is_refused_with_those_that_do() {
    let bench = Bench::new().await;
    for (method, path, body) in [
        ("POST", "sys/sync/destinations/nope/x", "{}"),
        ("PATCH", "sys/sync/destinations/nope/x", "{}"),
        ("GET", "sys/sync/destinations/nope/x", ""),
        ("DELETE", "sys/sync/destinations/nope/x", ""),
        ("LIST", "sys/sync/destinations/nope", ""),
        ("GET", "sys/sync/destinations/nope/x/associations", ""),
        ("POST", "sys/sync/destinations/nope/x/associations/set", r#"{"mount":"my-kv","secret_name":"x"}"#),
        (
            "POST",
            "sys/sync/destinations/nope/x/associations/remove",
            r#"{"mount":"my-kv","secret_name":"x"}"#,
        ),
    ] {
        let refused = bench.raw(method, path, body).await;
        assert_eq!(refused.status, 400, "{method} {path}");
        assert!(refused.text().contains("unsupported destination type nope"), "{}", refused.text());
        assert!(refused.text().contains("aws-sm") && refused.text().contains("in-mem"), "{}", refused.text());
    }
}

#[tokio::test(start_paused = true)]
async fn where_secrets_are_cannot_change_under_them() {
    let bench = synced().await;
    let refused = bench.raw("PATCH", DESTINATION, r#"{"space":"elsewhere"}"#).await;
    assert_eq!(
        (refused.status, refused.text().starts_with("space: cannot change")),
        (400, true),
        "{}",
        refused.text()
    );
    assert_eq!(
        bench.post(DESTINATION, json!({ "space": "elsewhere" })).await.status,
        400,
        "nor by replacing"
    );
    bench.post(REMOVE, source("my-secret-1")).await.ok();
    bench.raw("PATCH", DESTINATION, r#"{"space":"elsewhere"}"#).await.ok();
}

#[tokio::test(start_paused = true)]
async fn tags_are_removed_by_patch_only() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({ "custom_tags": { "a": "1", "b": "2" } })).await.ok();
    let kept = bench.post(DESTINATION, json!({ "custom_tags": { "a": "1" }, "tags_to_remove": ["a"] })).await;
    assert_eq!(kept.data()["options"]["custom_tags"], json!({ "a": "1" }));
    let patch = r#"{"custom_tags":{"c":"3"},"tags_to_remove":["a","never-there"]}"#;
    let patched = bench.raw("PATCH", DESTINATION, patch).await;
    assert_eq!(patched.data()["options"]["custom_tags"], json!({ "c": "3" }));
}

#[tokio::test(start_paused = true)]
async fn another_granularity_moves_what_is_there() {
    let bench = synced().await;
    let whole = format!("vault/{}/my-secret-1", bench.accessor);
    assert_eq!(bench.space().names(), std::slice::from_ref(&whole));
    bench.raw("PATCH", DESTINATION, r#"{"granularity":"secret-key"}"#).await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.space().names(), [format!("{whole}/password"), format!("{whole}/user")]);
    let data = bench.get(&format!("{DESTINATION}/associations")).await.data();
    let keys: Vec<_> =
        data["associated_secrets"].as_object().unwrap().values().map(|e| e["sub_key"].clone()).collect();
    assert_eq!(keys, [json!("password"), json!("user")]);
    bench.raw("PATCH", DESTINATION, r#"{"granularity":"secret-path"}"#).await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.space().names(), [whole]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_association_and_never_the_write() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({})).await.ok();
    for n in 0..3 {
        bench.raw("POST", &format!("my-kv/data/s{n}"), SECRET).await.ok();
    }
    bench.raw("PATCH", "sys/sync/config", r#"{"disabled":true,"queue_capacity":1}"#).await.ok();
    let set = bench.post(SET, source("s0")).await.data();
    assert_eq!(set["sync_operation_counters"], json!({ "PENDING": 1 }));
    let refused = bench.post(SET, source("s1")).await;
    assert_eq!(
        (refused.status, refused.text().contains("queue_capacity")),
        (400, true),
        "{}",
        refused.text()
    );
    bench.raw("POST", "my-kv/data/s0", r#"{"data":{"n":2}}"#).await.ok();
    let told = bench.get(DESTINATION).await.data()["backlog"].clone();
    assert_eq!(told, json!({ "pending": 1, "eta_seconds": null, "bound_by": "paused" }));
    bench.raw("PATCH", "sys/sync/config", r#"{"disabled":false}"#).await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.value(&format!("vault/{}/s0", bench.accessor)).as_deref(), Some(r#"{"n":2}"#));
    bench.post(SET, source("s1")).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_purge_shows_its_progress_refuses_changes_and_tells_its_failure() {
    let bench = synced().await;
    bench.raw("POST", "my-kv/data/my-secret-2", SECRET).await.ok();
    bench.post(SET, source("my-secret-2")).await.ok();
    bench.space().script([
        Step::Wait(Duration::from_secs(10)),
        Step::Wait(Duration::from_secs(10)),
        Step::Fail(Fault::client("access_denied", "not allowed")),
    ]);
    assert_eq!(bench.raw("DELETE", &format!("{DESTINATION}?purge=true"), "").await.status, 204);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let data = bench.get(DESTINATION).await.data();
    assert!(data["purge_initiated_at"].is_string() && data["purge_error"].is_null());
    assert_eq!(data["backlog"]["pending"], 2, "what is left to be removed");
    for (method, path, body) in [
        ("POST", SET, source("my-secret-1").to_string()),
        ("POST", REMOVE, source("my-secret-1").to_string()),
        ("PATCH", DESTINATION, "{}".to_owned()),
        ("POST", DESTINATION, "{}".to_owned()),
    ] {
        let refused = bench.raw(method, path, &body).await;
        assert_eq!(
            (refused.status, refused.text().contains("purge in progress")),
            (400, true),
            "{method} {path}"
        );
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let data = bench.get(DESTINATION).await.data();
    assert!(data["purge_error"].as_str().unwrap().contains("access_denied"), "{data}");
    bench.raw("PATCH", DESTINATION, "{}").await.ok();
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 400, "one is still there");
    assert_eq!(bench.raw("DELETE", &format!("{DESTINATION}?force_delete=true"), "").await.status, 204);
    assert_eq!(bench.get(DESTINATION).await.status, 404);
    assert_eq!(bench.list("sys/sync/associations").await.status, 404);
}
