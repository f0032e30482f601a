//! `sys/sync/*` as clients see it: a KV write over the API, the engine behind it, and a destination in
//! memory. Shapes are those of the founding API page.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod azure;
mod bench;
mod gcp;
mod github;
mod keeper_mount;
mod leftovers;
mod metrics;
mod rights;
mod rules;
mod terraform;
mod vercel;

use std::time::Duration;

use destinations::{Fault, in_mem::Step};
use serde_json::{Value, json};

use bench::{Bench, Reply};

const DESTINATION: &str = "sys/sync/destinations/in-mem/my-store-1";
const SECRET: &str = r#"{"data":{"user":"app","password":"canary-7f3a"}}"#;

fn source(name: &str) -> Value {
    json!({ "mount": "my-kv", "secret_name": name })
}

async fn synced() -> Bench {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({})).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", SECRET).await.ok();
    bench.post(&format!("{DESTINATION}/associations/set"), source("my-secret-1")).await.ok();
    bench
}

/// The founding page's sample of listing, its superset members included.
#[tokio::test(start_paused = true)]
async fn destinations_are_listed_by_type() {
    let bench = Bench::new().await;
    assert_eq!(bench.list("sys/sync/destinations").await, Reply::errors(404, &[]));
    bench.post("sys/sync/destinations/in-mem/my-dest-1", json!({})).await.ok();
    bench.post("sys/sync/destinations/file/my-dest-1", json!({ "path": bench.file() })).await.ok();
    let expected = json!({
        "request_id": "uuid",
        "lease_id": "",
        "renewable": false,
        "lease_duration": 0,
        "data": {
            "key_info": { "file": ["my-dest-1"], "in-mem": ["my-dest-1"] },
            "keys": ["file", "in-mem"],
            "total_destinations": 2
        },
        "wrap_info": null,
        "warnings": null,
        "auth": null,
        "mount_type": "system"
    });
    for (method, path) in [
        ("LIST", "sys/sync/destinations"),
        ("LIST", "sys/sync/destinations/"),
        ("GET", "sys/sync/destinations?list=true"),
        ("GET", "sys/sync/destinations/?list=1"),
    ] {
        assert_eq!(bench.raw(method, path, "").await.body, expected, "{method} {path}");
    }
    assert_eq!(
        bench.list("sys/sync/destinations/file").await.data(),
        json!({ "keys": ["my-dest-1"], "total_destinations": 1 })
    );
}

/// The founding page's samples of making and reading an AWS destination, to the letter of
/// `connection_details`, `name` and `type`.
#[tokio::test(start_paused = true)]
async fn an_aws_destination_is_made_and_read_masked() {
    let bench = Bench::new().await;
    let path = "sys/sync/destinations/aws-sm/my-store-1";
    let payload = r#"{
"access_key_id": "AKI***",
"secret_access_key": "ktri****",
"region": "us-west-1"
}"#;
    let made = bench.raw("POST", path, payload).await;
    let read = bench.get(path).await;
    assert_eq!(made, read);
    let expected = json!({
        "request_id": "uuid",
        "lease_id": "",
        "renewable": false,
        "lease_duration": 0,
        "data": {
            "connection_details": {
                "access_key_id": "*****",
                "secret_access_key": "*****",
                "region": "us-west-1"
            },
            "name": "my-store-1",
            "type": "aws-sm",
            "options": {
                "custom_tags": {},
                "granularity": "secret-path",
                "granularity_level": "secret-path",
                "secret_name_template": "vault/{{ .MountAccessor }}/{{ .SecretPath }}"
            },
            "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
        },
        "wrap_info": null,
        "warnings": null,
        "auth": null,
        "mount_type": "system"
    });
    assert_eq!(read, Reply { status: 200, body: expected });
    for (body, field) in [
        (r#"{"region":"not a region"}"#, "region"),
        (r#"{"region":"us-west-1","recovery_window_in_days":5}"#, "recovery_window_in_days"),
        (r#"{"region":"us-west-1","access_key_id":"AKI"}"#, "secret_access_key"),
        (r#"{"region":"us-west-1","role_arn":"nonsense"}"#, "role_arn"),
        (r#"{"region":"us-west-1","custom_tags":{"aws:x":"y"}}"#, "custom_tags"),
        (r#"{"region":"us-west-1","endpoint":"ftp://x"}"#, "endpoint"),
    ] {
        let refused = bench.raw("POST", "sys/sync/destinations/aws-sm/other", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    assert_eq!(bench.get("sys/sync/destinations/aws-sm/other").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn list_keys_may_carry_slashes() {
    let bench = Bench::with(server::app::SyncSettings { slash_list_keys: true, ..Default::default() }).await;
    bench.post(DESTINATION, json!({})).await.ok();
    let data = bench.list("sys/sync/destinations").await.data();
    assert_eq!(
        (&data["keys"], &data["key_info"]),
        (&json!(["in-mem/"]), &json!({ "in-mem/": ["my-store-1"] }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_made_read_changed_and_removed() {
    let bench = Bench::new().await;
    let made = bench.post(DESTINATION, json!({ "space": "s", "custom_tags": { "team": "a" } })).await.data();
    let expected = json!({
        "connection_details": { "space": "s" },
        "name": "my-store-1",
        "type": "in-mem",
        "options": {
            "custom_tags": { "team": "a" },
            "granularity": "secret-path",
            "granularity_level": "secret-path",
            "secret_name_template": "vault/{{ .MountAccessor }}/{{ .SecretPath }}"
        },
        "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
    });
    assert_eq!(made, expected);
    assert_eq!(bench.get(DESTINATION).await.data(), expected);
    let patch = r#"{"custom_tags":{"env":"prod"},"tags_to_remove":["team"],"granularity":"secret-key"}"#;
    let patched = bench.raw("PATCH", DESTINATION, patch).await.data();
    assert_eq!(patched["options"]["custom_tags"], json!({ "env": "prod" }));
    assert_eq!(patched["options"]["granularity_level"], "secret-key");
    assert_eq!(patched["connection_details"], json!({ "space": "s" }), "a merge keeps the rest");
    let replaced = bench.raw("PUT", DESTINATION, "{}").await.data();
    assert_eq!(replaced["connection_details"], json!({}), "a POST replaces");
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 204);
    assert_eq!(bench.get(DESTINATION).await, Reply::errors(404, &[]));
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 204, "deleting what is absent succeeds");
}

#[tokio::test(start_paused = true)]
async fn bad_settings_are_refused_by_name_and_nothing_is_stored() {
    let bench = Bench::new().await;
    for (body, part) in [
        (r#"{"granularity":"secret"}"#, "granularity: "),
        (r#"{"secret_name_template":"{{ .Nope }}"}"#, "secret_name_template: "),
        (
            r#"{"granularity":"secret-key","secret_name_template":"x"}"#,
            "secret name template is invalid: external name template should contain reference to the secret key",
        ),
        (r#"{"secret_name_template":"{{ .SecretKey }}"}"#, "secret_name_template: "),
        (r#"{"allowed_ipv4_addresses":["203.0.113.5"]}"#, "allowed_ipv4_addresses"),
        (r#"{"allowed_ports":[70000]}"#, "allowed_ports"),
        (r#"{"on_conflict":"maybe"}"#, "on_conflict: "),
        (r#"{"space":{"a":1}}"#, "space: "),
    ] {
        let reply = bench.raw("POST", DESTINATION, body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.text().contains(part), "{body}: {}", reply.text());
    }
    assert_eq!(bench.get(DESTINATION).await.status, 404);
    let unknown = bench.post("sys/sync/destinations/nope/x", json!({})).await;
    assert_eq!(
        (unknown.status, unknown.text().contains("aws-sm, azure-kv, file, gcp-sm, gh, in-mem")),
        (400, true),
        "{}",
        unknown.text()
    );
    let name = bench.post("sys/sync/destinations/in-mem/a%20b", json!({})).await;
    assert_eq!(name.status, 400);
    let unknown = bench.post(DESTINATION, json!({ "subscription_id": "uuid" })).await;
    assert!(unknown.body["warnings"][0].as_str().unwrap().contains("[subscription_id]"));
}

/// The founding page's samples of setting, reading and removing an association.
#[tokio::test(start_paused = true)]
async fn a_secret_is_associated_read_and_removed() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({})).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", SECRET).await.ok();
    let set = bench.post(&format!("{DESTINATION}/associations/set"), source("my-secret-1")).await;
    let accessor = bench.accessor.clone();
    let key = format!("{accessor}/my-secret-1");
    let entry = |status: &str| {
        json!({
            "accessor": accessor,
            "secret_name": "my-secret-1",
            "sync_status": status,
            "updated_at": "time",
            "mount": "my-kv",
            "external_name": format!("vault/{accessor}/my-secret-1")
        })
    };
    let mut expected = json!({
        "associated_secrets": { key.clone(): entry("SYNCED") },
        "store_name": "my-store-1",
        "store_type": "in-mem",
        "sync_operation_counters": { "SYNCED": 1 }
    });
    assert_eq!(set.data(), expected);
    assert_eq!(
        bench.value(&format!("vault/{accessor}/my-secret-1")).unwrap(),
        r#"{"password":"canary-7f3a","user":"app"}"#
    );
    expected.as_object_mut().unwrap().remove("sync_operation_counters");
    assert_eq!(bench.get(&format!("{DESTINATION}/associations")).await.data(), expected);
    let removed = bench.post(&format!("{DESTINATION}/associations/remove"), source("my-secret-1")).await;
    assert_eq!(removed.data()["associated_secrets"], json!({ key: entry("UNSYNCED") }));
    assert_eq!(bench.value(&format!("vault/{accessor}/my-secret-1")), None);
    assert_eq!(
        bench.get(&format!("{DESTINATION}/associations")).await.data()["associated_secrets"],
        json!({}),
        "an existing destination without any answers 200"
    );
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 204, "right after the removal");
}

#[tokio::test(start_paused = true)]
async fn writes_and_deletes_follow_by_themselves() {
    let bench = synced().await;
    let name = format!("vault/{}/my-secret-1", bench.accessor);
    for (method, path, body, expected) in [
        ("POST", "my-kv/data/my-secret-1", r#"{"data":{"n":2}}"#, Some(r#"{"n":2}"#)),
        ("PATCH", "my-kv/data/my-secret-1", r#"{"data":{"m":3}}"#, Some(r#"{"m":3,"n":2}"#)),
        ("DELETE", "my-kv/data/my-secret-1", "", None),
        ("POST", "my-kv/undelete/my-secret-1", r#"{"versions":[3]}"#, Some(r#"{"m":3,"n":2}"#)),
        ("POST", "my-kv/destroy/my-secret-1", r#"{"versions":[3]}"#, None),
        ("POST", "my-kv/data/my-secret-1", r#"{"data":{"n":4}}"#, Some(r#"{"n":4}"#)),
        ("POST", "my-kv/delete/my-secret-1", r#"{"versions":[1]}"#, Some(r#"{"n":4}"#)),
        ("DELETE", "my-kv/metadata/my-secret-1", "", None),
        ("POST", "my-kv/data/my-secret-1", r#"{"data":{"n":5}}"#, Some(r#"{"n":5}"#)),
    ] {
        bench.raw(method, path, body).await.ok();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(bench.value(&name).as_deref(), expected, "{method} {path} {body}");
        let status = if expected.is_some() { "SYNCED" } else { "UNSYNCED" };
        assert_eq!(bench.statuses(DESTINATION).await, [status], "{method} {path} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_deletes_itself_leaves_the_destination_in_time() {
    let bench = synced().await;
    bench.raw("POST", "my-kv/metadata/my-secret-1", r#"{"delete_version_after":"30s"}"#).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", r#"{"data":{"n":2}}"#).await.ok();
    let name = format!("vault/{}/my-secret-1", bench.accessor);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(bench.value(&name).as_deref(), Some(r#"{"n":2}"#));
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(bench.value(&name), None);
}

#[tokio::test(start_paused = true)]
async fn secret_keys_have_entries_of_their_own() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({ "granularity": "secret-key" })).await.ok();
    bench.raw("POST", "my-kv/data/app/db", r#"{"data":{"user":"app","port":5432}}"#).await.ok();
    let set = bench.post(&format!("{DESTINATION}/associations/set"), source("app/db")).await.data();
    let keys: Vec<_> = set["associated_secrets"].as_object().unwrap().keys().cloned().collect();
    let accessor = &bench.accessor;
    assert_eq!(keys, [format!("{accessor}/app/db/port"), format!("{accessor}/app/db/user")]);
    assert_eq!(set["associated_secrets"][&keys[0]]["sub_key"], "port");
    assert_eq!(bench.value(&format!("vault/{accessor}/app/db/port")).as_deref(), Some("5432"));
    assert_eq!(bench.value(&format!("vault/{accessor}/app/db/user")).as_deref(), Some("app"));
}

#[tokio::test(start_paused = true)]
async fn associations_that_cannot_be_are_refused() {
    let bench = synced().await;
    let set = format!("{DESTINATION}/associations/set");
    for (body, status, part) in [
        (json!({ "mount": "my-kv" }), 400, "secret_name"),
        (json!({ "secret_name": "x" }), 400, "mount"),
        (json!({ "mount": "my-kv", "secret_name": "folder/" }), 400, "secret_name"),
        (json!({ "mount": "nope", "secret_name": "x" }), 400, "no KV version 2 mount"),
        (json!({ "mount": "my-kv", "secret_name": "nope" }), 400, "does not exist"),
        (json!({ "mount": ["x"], "secret_name": {} }), 400, "Field validation failed"),
    ] {
        let reply = bench.post(&set, body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        assert!(reply.text().contains(part), "{body}: {}", reply.text());
    }
    let reply = bench.post("sys/sync/destinations/in-mem/nope/associations/set", source("my-secret-1")).await;
    assert_eq!(reply.status, 404);
    // Terraform's refresh must not meet a missing body.
    let reply = bench.get("sys/sync/destinations/in-mem/nope/associations").await;
    assert_eq!((reply.status, &reply.data()["associated_secrets"]), (200, &json!({})));
    // A deleted secret is not associated.
    bench.raw("POST", "my-kv/data/gone", SECRET).await.ok();
    bench.raw("DELETE", "my-kv/data/gone", "").await.ok();
    assert_eq!(bench.post(&set, source("gone")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_a_code_and_never_a_value() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({})).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", SECRET).await.ok();
    bench.space().script([Step::Fail(Fault::external("unavailable", "the service is down").status(503))]);
    let reply = bench.post(&format!("{DESTINATION}/associations/set"), source("my-secret-1")).await;
    let entry = &reply.data()["associated_secrets"][format!("{}/my-secret-1", bench.accessor)];
    assert_eq!(entry["sync_status"], "EXTERNAL_SERVICE_ERROR");
    assert_eq!(entry["error_code"], "unavailable");
    assert_eq!(entry["error_message"], "the service is down");
    assert_eq!(entry["attempts"], 1);
    assert!(entry["retry_at"].is_string());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["SYNCED"]);
    assert!(!bench.everything_said().contains("canary-7f3a"), "only reads of the secret may tell it");
}

#[tokio::test(start_paused = true)]
async fn two_secrets_cannot_share_a_name() {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({ "secret_name_template": "{{ .SecretBaseName }}" })).await.ok();
    for path in ["a/db", "b/db"] {
        bench.raw("POST", &format!("my-kv/data/{path}"), SECRET).await.ok();
    }
    let set = format!("{DESTINATION}/associations/set");
    bench.post(&set, source("a/db")).await.ok();
    let reply = bench.post(&set, source("b/db")).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("held by secret my-kv/a/db"), "{}", reply.text());
}

#[tokio::test(start_paused = true)]
async fn a_destination_in_use_is_not_dropped_and_a_purge_empties_it() {
    let bench = synced().await;
    let refused = bench.raw("DELETE", DESTINATION, "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("purge=true"), "{}", refused.text());
    assert_eq!(bench.raw("DELETE", &format!("{DESTINATION}?purge=true"), "").await.status, 204);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.get(DESTINATION).await.status, 404);
    assert_eq!(bench.space().names(), [""; 0]);

    let bench = synced().await;
    assert_eq!(bench.raw("DELETE", DESTINATION, r#"{"force_delete":true}"#).await.status, 204);
    assert_eq!(bench.get(DESTINATION).await.status, 404);
    assert_eq!(bench.space().names().len(), 1, "left behind, as asked");
    assert_eq!(bench.list("sys/sync/associations").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_found_by_their_destinations() {
    let bench = synced().await;
    bench.post("sys/sync/destinations/in-mem/two", json!({ "space": "two" })).await.ok();
    bench.post("sys/sync/destinations/in-mem/two/associations/set", source("my-secret-1")).await.ok();
    assert_eq!(
        bench.list("sys/sync/associations").await.data(),
        json!({
            "keys": ["my-kv/my-secret-1"],
            "key_info": { "my-kv/my-secret-1": [{ "mount": "my-kv/", "secret_path": "my-secret-1" }] },
            "total_associations": 2,
            "total_secrets": 1
        })
    );
    for path in [
        "sys/sync/associations/my-kv/my-secret-1",
        "sys/sync/associations/destinations?mount=my-kv&secret_name=my-secret-1",
    ] {
        let found = bench.get(path).await.data();
        let found = found["associated_destinations"].as_object().unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["in-mem/my-store-1", "in-mem/two"]);
        assert_eq!(found["in-mem/two"]["sync_status"], "SYNCED");
        assert_eq!(
            (&found["in-mem/two"]["type"], &found["in-mem/two"]["name"]),
            (&json!("in-mem"), &json!("two"))
        );
    }
    assert_eq!(bench.get("sys/sync/associations/my-kv/nope").await, Reply::errors(404, &[]));
}

#[tokio::test(start_paused = true)]
async fn syncing_can_be_switched_off() {
    let bench = synced().await;
    let config = json!({ "disabled": false, "queue_capacity": 1_000_000 });
    assert_eq!(bench.get("sys/sync/config").await.data(), config);
    let off =
        bench.raw("PATCH", "sys/sync/config", r#"{"disabled":"true","queue_capacity":"1"}"#).await.data();
    assert_eq!(off, json!({ "disabled": true, "queue_capacity": 1 }));
    bench.raw("POST", "my-kv/data/my-secret-1", r#"{"data":{"n":2}}"#).await.ok();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["PENDING"]);
    assert_eq!(bench.raw("DELETE", &format!("{DESTINATION}?purge=true"), "").await.status, 400);
    assert_eq!(bench.raw("DELETE", "sys/sync/config", "").await.data(), config);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["SYNCED"]);
}

#[tokio::test(start_paused = true)]
async fn activation_may_be_required() {
    let bench = Bench::new().await;
    let on = json!({ "activated": ["secrets-sync"], "unactivated": [] });
    assert_eq!(bench.get_without_token("sys/activation-flags").await.data(), on);
    let settings = server::app::SyncSettings { require_activation: true, ..Default::default() };
    let bench = Bench::with(settings).await;
    assert_eq!(bench.get_without_token("sys/activation-flags").await.data()["activated"], json!([]));
    let refused = bench.post(DESTINATION, json!({})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("not activated"));
    assert_eq!(bench.raw("PUT", "sys/activation-flags/secrets-sync/activate", "").await.data(), on);
    bench.post(DESTINATION, json!({})).await.ok();
}

/// What a provider fetches to check identity tokens: public, and without the envelope.
#[tokio::test]
async fn the_documents_of_the_identity_issuer_are_public() {
    let bench = Bench::new().await;
    let base = "identity/oidc/secrets-sync/.well-known";
    let discovery = bench.get_without_token(&format!("{base}/openid-configuration")).await;
    let issuer = "https://keyferry.example/v1/identity/oidc/secrets-sync";
    assert_eq!(discovery.status, 200);
    assert_eq!(discovery.body["issuer"], issuer);
    assert_eq!(discovery.body["jwks_uri"], format!("{issuer}/.well-known/keys"));
    let keys = bench.get_without_token(&format!("{base}/keys")).await;
    let [key] = keys.body["keys"].as_array().unwrap().as_slice() else { panic!("{keys:?}") };
    assert_eq!((key["kty"].as_str(), key["alg"].as_str()), (Some("RSA"), Some("RS256")));
    assert!(key["kid"].is_string() && key["n"].is_string() && key["e"] == "AQAB");
    assert!(key.get("d").is_none(), "the private half stays here");
    assert_eq!(bench.get_without_token(&format!("{base}/keys")).await, keys, "one key for all");
    assert_eq!(bench.raw("PUT", &format!("{base}/keys"), "").await.status, 405);
    assert_eq!(bench.get_without_token("identity/oidc/secrets-sync/other").await.status, 404);

    // A destination that goes by its identity needs no stored key, and says what it lacks.
    let path = "sys/sync/destinations/aws-sm/federated";
    let mut body = json!({"region": "eu-west-1", "identity_token_audience": "sts.amazonaws.com"});
    assert!(bench.post(path, body.clone()).await.text().starts_with("role_arn: "));
    body["role_arn"] = json!("arn:aws:iam::123456789012:role/sync");
    body["identity_token_key"] = json!("another");
    assert!(bench.post(path, body.clone()).await.text().starts_with("identity_token_key: "));
    body["identity_token_key"] = json!("default");
    body["identity_token_ttl"] = json!("30m");
    let shown = bench.post(path, body).await.data()["connection_details"].clone();
    assert_eq!(shown["identity_token_audience"], "*****");
    assert_eq!(shown["identity_token_ttl"], 1800, "a number, as Terraform wants it");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mount_leaves_the_remote_and_its_association_can_go() {
    let bench = synced().await;
    bench.raw("DELETE", "sys/mounts/my-kv", "").await.ok();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["UNKNOWN"]);
    assert_eq!(bench.space().names().len(), 1);
    bench.post(&format!("{DESTINATION}/associations/remove"), source("my-secret-1")).await.ok();
    assert_eq!(bench.space().names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_without_a_token() {
    let bench = synced().await;
    for (method, path) in [
        ("GET", "sys/sync/config"),
        ("PATCH", "sys/sync/config"),
        ("DELETE", "sys/sync/config"),
        ("LIST", "sys/sync/destinations"),
        ("LIST", "sys/sync/destinations/in-mem"),
        ("GET", DESTINATION),
        ("POST", DESTINATION),
        ("PATCH", DESTINATION),
        ("DELETE", DESTINATION),
        ("GET", "sys/sync/destinations/in-mem/my-store-1/associations"),
        ("POST", "sys/sync/destinations/in-mem/my-store-1/associations/set"),
        ("POST", "sys/sync/destinations/in-mem/my-store-1/associations/remove"),
        ("POST", "sys/sync/destinations/in-mem/my-store-1/confirm-deletes"),
        ("LIST", "sys/sync/associations"),
        ("GET", "sys/sync/associations/my-kv/my-secret-1"),
        ("GET", "sys/sync/associations/destinations"),
        ("POST", "sys/activation-flags/secrets-sync/activate"),
    ] {
        assert_eq!(bench.send(method, path, "{}", None).await.status, 403, "{method} {path}");
        let powerless = bench.powerless.clone();
        assert_eq!(bench.send(method, path, "{}", Some(&powerless)).await.status, 403, "{method} {path}");
    }
}
