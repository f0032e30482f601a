//! Associations live by the right of whoever made them, where that is watched.

use serde_json::{Value, json};

use crate::{
    DESTINATION, SECRET,
    bench::{Bench, Reply},
    source,
};

const POLICY: &str = r#"
    path "my-kv/data/*" { capabilities = ["read"] }
    path "sys/sync/*" { capabilities = ["read", "list", "create", "update", "delete"] }
"#;

async fn write_policy(bench: &Bench, text: &str) {
    bench.post("sys/policies/acl/team", json!({ "policy": text })).await.ok();
}

/// A destination, a secret, and an association made by somebody of policy `team`.
async fn associated(bench: &Bench) -> String {
    bench.post(DESTINATION, json!({})).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", SECRET).await.ok();
    write_policy(bench, POLICY).await;
    let made =
        bench.post("auth/token/create", json!({ "policies": ["team"], "no_default_policy": true })).await;
    let token = made.body["auth"]["client_token"].as_str().unwrap().to_owned();
    set(bench, &token).await.ok();
    token
}

async fn set(bench: &Bench, token: &str) -> Reply {
    let body = source("my-secret-1").to_string();
    bench.send("POST", &format!("{DESTINATION}/associations/set"), &body, Some(token)).await
}

/// The association's entry, once nothing is under way.
async fn entry(bench: &Bench) -> Value {
    bench.statuses(DESTINATION).await;
    let data = bench.get(&format!("{DESTINATION}/associations")).await.data();
    data["associated_secrets"].as_object().unwrap().values().next().unwrap().clone()
}

fn told(entry: &Value) -> (&str, Option<&str>) {
    (entry["sync_status"].as_str().unwrap(), entry["error_code"].as_str())
}

const LOST: (&str, Option<&str>) = ("CLIENT_SIDE_ERROR", Some("source_permission_lost"));

#[tokio::test(start_paused = true)]
async fn who_loses_the_right_to_read_holds_an_association_back_until_it_returns() {
    let bench = Bench::watched().await;
    let token = associated(&bench).await;
    let name = format!("vault/{}/my-secret-1", bench.accessor);
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    // The token's end is not the right's end.
    bench.post("auth/token/revoke", json!({ "token": token })).await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", r#"{"data":{"v":"2"}}"#).await.ok();
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    assert_eq!(bench.value(&name).as_deref(), Some(r#"{"v":"2"}"#));

    write_policy(&bench, r#"path "my-kv/data/else" { capabilities = ["read"] }"#).await;
    let shown = entry(&bench).await;
    assert_eq!(told(&shown), LOST);
    assert_eq!(shown["retry_at"], Value::Null, "it waits for a person");
    // Nothing of what happens to the source reaches the destination now: no change, no delete.
    bench.raw("POST", "my-kv/data/my-secret-1", r#"{"data":{"v":"3"}}"#).await.ok();
    assert_eq!(told(&entry(&bench).await), LOST);
    assert_eq!(bench.value(&name).as_deref(), Some(r#"{"v":"2"}"#));
    bench.raw("DELETE", "my-kv/data/my-secret-1", "").await.ok();
    assert_eq!(told(&entry(&bench).await), LOST);
    assert_eq!(bench.value(&name).as_deref(), Some(r#"{"v":"2"}"#));
    bench.raw("POST", "my-kv/undelete/my-secret-1", r#"{"versions":[3]}"#).await.ok();

    write_policy(&bench, POLICY).await;
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    assert_eq!(bench.value(&name).as_deref(), Some(r#"{"v":"3"}"#));
    // Gone with the policy altogether, and back with somebody else who may.
    bench.raw("DELETE", "sys/policies/acl/team", "").await.ok();
    assert_eq!(told(&entry(&bench).await), LOST);
    let root = bench.root().to_owned();
    set(&bench, &root).await.ok();
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    write_policy(&bench, r#"path "my-kv/*" { capabilities = ["deny"] }"#).await;
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None), "it is root's now");
}

#[tokio::test(start_paused = true)]
async fn the_right_follows_a_moved_mount_and_a_removal_needs_none() {
    let bench = Bench::watched().await;
    associated(&bench).await;
    bench.post("sys/remount", json!({ "from": "my-kv", "to": "moved" })).await.ok();
    write_policy(
        &bench,
        r#"path "my-kv/data/*" { capabilities = ["deny"] } path "moved/data/*" { capabilities = ["read"] }"#,
    )
    .await;
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    write_policy(&bench, r#"path "my-kv/data/*" { capabilities = ["read"] }"#).await;
    assert_eq!(told(&entry(&bench).await), LOST);
    // Whoever may remove it removes it, and what it wrote.
    let body = json!({ "mount": "moved", "secret_name": "my-secret-1" });
    bench.post(&format!("{DESTINATION}/associations/remove"), body).await.ok();
    assert_eq!(bench.value(&format!("vault/{}/my-secret-1", bench.accessor)), None);
}

#[tokio::test(start_paused = true)]
async fn without_the_switch_only_the_moment_of_setting_counts() {
    let bench = Bench::new().await;
    associated(&bench).await;
    bench.raw("DELETE", "sys/policies/acl/team", "").await.ok();
    bench.raw("POST", "my-kv/data/my-secret-1", r#"{"data":{"v":"2"}}"#).await.ok();
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    assert_eq!(
        bench.value(&format!("vault/{}/my-secret-1", bench.accessor)).as_deref(),
        Some(r#"{"v":"2"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_associates_lives_by_the_right_of_who_made_the_rule() {
    let bench = Bench::watched().await;
    bench.post(DESTINATION, json!({ "secret_name_template": "{{ .SecretPath }}" })).await.ok();
    bench.raw("POST", "my-kv/data/app/a", SECRET).await.ok();
    write_policy(&bench, POLICY).await;
    let made =
        bench.post("auth/token/create", json!({ "policies": ["team"], "no_default_policy": true })).await;
    let token = made.body["auth"]["client_token"].as_str().unwrap().to_owned();
    let body = json!({ "mount": "my-kv", "secret_prefix": "app/" }).to_string();
    bench.send("POST", &format!("{DESTINATION}/associations/set"), &body, Some(&token)).await.ok();
    assert_eq!(told(&entry(&bench).await), ("SYNCED", None));
    write_policy(&bench, "path \"else\" {}").await;
    assert_eq!(told(&entry(&bench).await), LOST);
    // What is written now is associated by the rule, and not delivered either.
    bench.raw("POST", "my-kv/data/app/b", SECRET).await.ok();
    assert_eq!(bench.statuses(DESTINATION).await, ["CLIENT_SIDE_ERROR", "CLIENT_SIDE_ERROR"]);
    assert_eq!(bench.value("app/b"), None);
    write_policy(&bench, POLICY).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["SYNCED", "SYNCED"]);
    assert!(bench.value("app/b").is_some());
}
