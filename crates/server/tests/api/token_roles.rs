//! Token roles and batch tokens.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn roles_are_kept_and_hold_their_tokens() {
    let bench = Bench::bare().await;
    let body = r#"{"allowed_policies":"dev,Ops","disallowed_policies":["secret"],"orphan":true,"renewable":false,
        "token_period":0,"token_explicit_max_ttl":"1h","path_suffix":"v1","token_num_uses":3,"token_bound_cidrs":["127.0.0.1"]}"#;
    assert_eq!(bench.post("auth/token/roles/CI", body).await.status, 204);
    assert_snapshot!(bench.get("auth/token/roles/ci").await.data(), @r#"{"allowed_entity_aliases":[],"allowed_policies":["dev","ops"],"allowed_policies_glob":[],"disallowed_policies":["secret"],"disallowed_policies_glob":[],"explicit_max_ttl":3600,"name":"ci","orphan":true,"path_suffix":"v1","period":0,"renewable":false,"token_bound_cidrs":["127.0.0.1/32"],"token_explicit_max_ttl":3600,"token_no_default_policy":false,"token_num_uses":3,"token_period":0,"token_type":"default-service"}"#);
    assert_eq!(bench.list("auth/token/roles").await.keys(), ["ci"]);
    let made = bench
        .post("auth/token/create/ci", r#"{"policies":["dev"],"num_uses":9,"explicit_max_ttl":"2h"}"#)
        .await
        .json();
    let auth = &made["auth"];
    assert_eq!(
        (&auth["policies"], &auth["orphan"], &auth["renewable"], &auth["num_uses"], &auth["lease_duration"]),
        (&json!(["default", "dev"]), &json!(true), &json!(false), &json!(3), &json!(3600))
    );
    let token = auth["client_token"].as_str().unwrap();
    let me = bench.as_token(token, "GET", "auth/token/lookup-self", "").await.data();
    assert_eq!(
        (&me["path"], &me["role"], &me["bound_cidrs"]),
        (&json!("auth/token/create/ci/v1"), &json!("ci"), &json!(["127.0.0.1/32"]))
    );
    let away =
        bench.send_from("10.0.0.1", "GET", "auth/token/lookup-self", "", &[("X-Vault-Token", token)]).await;
    assert_eq!(away.status, 403);
    assert_eq!(
        bench.post("auth/token/create/ci", "{}").await.json()["auth"]["token_policies"],
        json!(["default", "dev", "ops"])
    );
    for (path, body, text) in [
        (
            "create/ci",
            r#"{"policies":["other"]}"#,
            "token policies must be subset of the role's allowed policies or glob policies",
        ),
        (
            "create/ci",
            r#"{"policies":["root"]}"#,
            "token policies must be subset of the role's allowed policies or glob policies",
        ),
        ("create/ci", r#"{"id":"x"}"#, "a token id cannot be given to batch tokens or with a role"),
        ("create/ci", r#"{"entity_alias":"x"}"#, "invalid 'entity_alias' value"),
        ("create/none", "{}", "unknown role none"),
        (
            "roles/x",
            r#"{"token_type":"batch"}"#,
            "'token_type' cannot be 'batch' when role is set to generate non-orphan tokens",
        ),
        ("roles/x", r#"{"token_type":"odd"}"#, "invalid 'token_type' value"),
        (
            "roles/x",
            r#"{"path_suffix":"a/b"}"#,
            "given role path suffix contains invalid characters; letters, digits, '-', '_' and '.' are fine",
        ),
        ("roles/x", r#"{"token_period":-1}"#, "token_period must be positive"),
        ("roles/x", r#"{"token_num_uses":-1}"#, "'token_num_uses' cannot be negative"),
    ] {
        let answer = bench.post(&format!("auth/token/{path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, text),
            "{path} {body}"
        );
    }
    assert_eq!(bench.delete("auth/token/roles/ci").await.status, 204);
    assert_eq!(bench.get("auth/token/roles/ci").await.status, 404);
    assert_eq!(bench.list("auth/token/roles").await.status, 404);
}

#[tokio::test]
async fn a_role_may_give_what_its_user_has_not() {
    let bench = Bench::bare().await;
    bench.policy("maker", r#"path "auth/token/create/ci" { capabilities = ["update"] }"#).await;
    bench.post("auth/token/roles/ci", r#"{"allowed_policies":["deploy"],"orphan":true,"token_period":"1h","allowed_entity_aliases":["ci-*"]}"#).await;
    let maker = bench.token_of("maker").await;
    let made = bench
        .as_token(&maker, "POST", "auth/token/create/ci", r#"{"policies":["deploy"],"entity_alias":"CI-1"}"#)
        .await;
    assert_eq!(made.status, 200, "{made}");
    assert_eq!(made.json()["auth"]["policies"], json!(["default", "deploy"]));
    assert!(!made.json()["auth"]["entity_id"].as_str().unwrap().is_empty());
    assert_eq!(bench.as_token(&maker, "POST", "auth/token/create", "{}").await.status, 403);
    // What the role says of the period holds at each renewal, and without the role there is none.
    let token = made.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    bench.post("auth/token/roles/ci", r#"{"token_period":"2h"}"#).await;
    let renewed = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_eq!(renewed.json()["auth"]["lease_duration"], 7200);
    bench.delete("auth/token/roles/ci").await;
    let refused = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_snapshot!(refused, @r#"400 {"errors":["original token role could not be found, not renewing"]}"#);
}

#[tokio::test]
async fn batch_tokens_live_in_their_own_text() {
    let bench = Bench::new().await;
    bench.policy("r", r#"path "secret/data/*" { capabilities = ["create", "read"] } path "auth/token/create" { capabilities = ["update"] }"#).await;
    let before = bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len();
    let made = bench
        .post("auth/token/create", r#"{"type":"batch","policies":["r"],"ttl":"10m","meta":{"a":"b"}}"#)
        .await
        .json();
    let auth = &made["auth"];
    let token = auth["client_token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("hvb."));
    assert_eq!(
        (&auth["accessor"], &auth["renewable"], &auth["token_type"]),
        (&json!(""), &json!(false), &json!("batch"))
    );
    assert_eq!(
        bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len(),
        before,
        "nothing is stored"
    );
    let call = async |method: &str, path: &str, body: &str| bench.as_token(&token, method, path, body).await;
    assert_eq!(call("POST", "secret/data/a", r#"{"data":{"p":"1"}}"#).await.status, 200);
    let me = call("GET", "auth/token/lookup-self", "").await.data();
    assert_eq!(
        (&me["type"], &me["accessor"], &me["meta"], &me["ttl"]),
        (&json!("batch"), &json!(""), &json!({ "a": "b" }), &json!(600))
    );
    assert_snapshot!(call("POST", "auth/token/renew-self", "").await, @r#"400 {"errors":["batch tokens cannot be renewed"]}"#);
    assert_snapshot!(call("POST", "auth/token/revoke-self", "").await, @r#"400 {"errors":["batch tokens cannot be revoked"]}"#);
    assert_snapshot!(bench.post("auth/token/revoke", &format!(r#"{{"token":"{token}"}}"#)).await, @r#"400 {"errors":["batch tokens cannot be revoked"]}"#);
    assert_snapshot!(call("POST", "auth/token/create", "{}").await, @r#"400 {"errors":["batch tokens cannot create more tokens"]}"#);
    // Changed anywhere it is none.
    let last = token.len() - 1;
    for at in [4, token.len() / 2, last] {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        // The last letter has bits that mean nothing; base64 refuses those.
        assert_eq!(bench.as_token(&other, "GET", "secret/data/a", "").await.status, 403, "{at}");
    }
    bench.clock.advance(Duration::from_mins(10));
    assert_eq!(call("GET", "secret/data/a", "").await.status, 403);

    // It dies with its parent, unless it is an orphan.
    bench.token(r#"{"id":"parent","policies":["r"],"ttl":"1h"}"#).await;
    let child_of_parent = async |body: &str| {
        let made = bench.as_token("parent", "POST", "auth/token/create", body).await.json();
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let child = child_of_parent(r#"{"type":"batch"}"#).await;
    assert_eq!(bench.as_token(&child, "GET", "secret/data/a", "").await.status, 200);
    bench.post("auth/token/revoke", r#"{"token":"parent"}"#).await;
    assert_eq!(bench.as_token(&child, "GET", "secret/data/a", "").await.status, 403);
    // Its policies are not among what the token carries, so a change of one counts at once.
    let batch = bench.post("auth/token/create", r#"{"type":"batch","policies":["r"]}"#).await.json();
    let batch = batch["auth"]["client_token"].as_str().unwrap().to_owned();
    bench.delete("sys/policies/acl/r").await;
    assert_eq!(bench.as_token(&batch, "GET", "secret/data/a", "").await.status, 403);
}

#[tokio::test]
async fn tidy_answers_before_it_is_done() {
    let bench = Bench::bare().await;
    let answer = bench.post("auth/token/tidy", "").await;
    assert_eq!(answer.status, 202);
    assert!(
        answer.json()["warnings"][0].as_str().unwrap().starts_with("Tidy operation successfully started")
    );
}
