//! Machines log in.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;

use crate::bench::{Answer, Bench};

async fn bench() -> Bench {
    let bench = Bench::bare().await;
    bench.post("sys/auth/approle", r#"{"type":"approle"}"#).await;
    bench
}

async fn role_id(bench: &Bench, role: &str) -> String {
    let answer = bench.get(&format!("auth/approle/role/{role}/role-id")).await;
    answer.data()["role_id"].as_str().unwrap().to_owned()
}

async fn secret_id(bench: &Bench, role: &str, body: &str) -> (String, String) {
    let data = bench.post(&format!("auth/approle/role/{role}/secret-id"), body).await.data();
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    (text("secret_id"), text("secret_id_accessor"))
}

async fn login(bench: &Bench, role_id: &str, secret_id: &str) -> Answer {
    let body = json!({ "role_id": role_id, "secret_id": secret_id }).to_string();
    bench.as_token("", "POST", "auth/approle/login", &body).await
}

#[tokio::test]
async fn a_role_and_its_secret_let_a_machine_in() {
    let bench = bench().await;
    let body = r#"{"token_policies":["ci"],"token_ttl":"20m","token_max_ttl":"30m","secret_id_num_uses":2,"secret_id_ttl":"10m"}"#;
    assert_eq!(bench.post("auth/approle/role/CI", body).await.status, 204);
    assert_snapshot!(bench.get("auth/approle/role/ci").await.data(), @r#"{"bind_secret_id":true,"local_secret_ids":false,"secret_id_bound_cidrs":[],"secret_id_num_uses":2,"secret_id_ttl":600,"token_bound_cidrs":[],"token_explicit_max_ttl":0,"token_max_ttl":1800,"token_no_default_policy":false,"token_num_uses":0,"token_period":0,"token_policies":["ci"],"token_ttl":1200,"token_type":"default"}"#);
    assert_eq!(bench.list("auth/approle/role").await.keys(), ["ci"]);
    let role = role_id(&bench, "ci").await;
    let (secret, accessor) = secret_id(&bench, "ci", r#"{"metadata":"{\"job\":\"build\"}"}"#).await;
    let answer = login(&bench, &role, &secret).await;
    assert_eq!(answer.status, 200, "{answer}");
    let auth = answer.json()["auth"].clone();
    assert_eq!(auth["metadata"], json!({ "job": "build", "role_name": "ci" }));
    assert_eq!((&auth["policies"], &auth["lease_duration"]), (&json!(["ci", "default"]), &json!(1200)));
    let looked = bench
        .post(
            "auth/approle/role/ci/secret-id-accessor/lookup",
            &format!(r#"{{"secret_id_accessor":"{accessor}"}}"#),
        )
        .await;
    assert_eq!(
        (&looked.data()["secret_id_num_uses"], &looked.data()["metadata"]),
        (&json!(1), &json!({ "job": "build" }))
    );
    // The second use is the last.
    assert_eq!(login(&bench, &role, &secret).await.status, 200);
    assert_snapshot!(login(&bench, &role, &secret).await, @r#"400 {"errors":["invalid role or secret ID"]}"#);
    // One text, whatever is wrong.
    let (secret, accessor) = secret_id(&bench, "ci", "").await;
    let refused = login(&bench, "none", &secret).await.text();
    assert_eq!(refused, login(&bench, &role, "none").await.text());
    bench.clock.advance(Duration::from_mins(10));
    assert_eq!(refused, login(&bench, &role, &secret).await.text(), "it has expired");
    bench.app.do_chores().await.unwrap();
    let looked = bench
        .post(
            "auth/approle/role/ci/secret-id-accessor/lookup",
            &format!(r#"{{"secret_id_accessor":"{accessor}"}}"#),
        )
        .await;
    assert_eq!(looked.status, 404);
    // The token's renewals go by the role, which may go.
    let token = auth["client_token"].as_str().unwrap();
    assert_eq!(
        bench.as_token(token, "POST", "auth/token/renew-self", "").await.json()["auth"]["lease_duration"],
        1200
    );
    assert_eq!(bench.delete("auth/approle/role/ci").await.status, 204);
    assert_snapshot!(bench.as_token(token, "POST", "auth/token/renew-self", "").await, @r#"400 {"errors":["the role of this token is gone, not renewing"]}"#);
    assert_eq!(bench.get("auth/approle/role/ci").await.status, 404);
}

#[tokio::test]
async fn secret_ids_are_looked_up_chosen_and_destroyed() {
    let bench = bench().await;
    bench.post("auth/approle/role/a", r#"{"secret_id_num_uses":5}"#).await;
    bench.post("auth/approle/role/b", "{}").await;
    assert_eq!(bench.list("auth/approle/role/a/secret-id").await.status, 404);
    let (secret, accessor) = secret_id(&bench, "a", r#"{"num_uses":3,"ttl":"1h"}"#).await;
    let body = format!(r#"{{"secret_id":"{secret}"}}"#);
    let looked = bench.post("auth/approle/role/a/secret-id/lookup", &body).await.data();
    assert_eq!(
        (&looked["secret_id_num_uses"], &looked["secret_id_ttl"], &looked["secret_id_accessor"]),
        (&json!(3), &json!(3600), &json!(accessor))
    );
    assert_eq!(bench.post("auth/approle/role/b/secret-id/lookup", &body).await.status, 204, "another role's");
    let role_b = role_id(&bench, "b").await;
    assert_eq!(login(&bench, &role_b, &secret).await.status, 400, "another role's");
    assert_eq!(bench.list("auth/approle/role/a/secret-id").await.keys(), std::slice::from_ref(&accessor));
    assert_eq!(
        bench.post("auth/approle/role/a/custom-secret-id", r#"{"secret_id":"my-own"}"#).await.data()["secret_id"],
        "my-own"
    );
    assert_snapshot!(bench.post("auth/approle/role/a/custom-secret-id", r#"{"secret_id":"my-own"}"#).await, @r#"400 {"errors":["SecretID is already registered"]}"#);
    bench.post("auth/approle/role/a/role-id", r#"{"role_id":"known"}"#).await;
    assert_eq!(login(&bench, "known", "my-own").await.status, 200);
    assert_snapshot!(bench.post("auth/approle/role/b/role-id", r#"{"role_id":"known"}"#).await, @r#"400 {"errors":["role_id is already in use by another role"]}"#);
    assert_eq!(bench.post("auth/approle/role/a/secret-id/destroy", &body).await.status, 204);
    assert_eq!(bench.post("auth/approle/role/a/secret-id/lookup", &body).await.status, 204);
    let accessor = bench.list("auth/approle/role/a/secret-id").await.keys()[0].clone();
    let body = format!(r#"{{"secret_id_accessor":"{accessor}"}}"#);
    assert_eq!(bench.post("auth/approle/role/b/secret-id-accessor/destroy", &body).await.status, 404);
    assert_eq!(bench.post("auth/approle/role/a/secret-id-accessor/destroy", &body).await.status, 204);
    assert_eq!(login(&bench, "known", "my-own").await.status, 400);
    for (path, body, text) in [
        ("role/a/secret-id", r#"{"num_uses":6}"#, "num_uses cannot be more than what the role allows"),
        ("role/a/secret-id", r#"{"num_uses":0}"#, "num_uses cannot be more than what the role allows"),
        ("role/a/secret-id", r#"{"metadata":"no"}"#, "metadata must be a JSON object of strings"),
        ("role/a/secret-id", r#"{"ttl":-1}"#, "ttl must be positive"),
        (
            "role/a/secret-id",
            r#"{"cidr_list":"x"}"#,
            "cidr_list: expected address ranges such as 10.0.0.0/8 or 2001:db8::/32",
        ),
        ("role/c", r#"{"bind_secret_id":false}"#, "at least one constraint should be enabled on the role"),
        (
            "role/c",
            r#"{"token_policies":["root"]}"#,
            "policies cannot contain root: only a root token can make another",
        ),
        ("role/c", r#"{"local_secret_ids":true}"#, "local_secret_ids is not available in keyferry"),
        ("login", "{}", "missing role_id"),
        ("login", r#"{"role_id":"known"}"#, "missing secret_id"),
    ] {
        let answer = bench.post(&format!("auth/approle/{path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, text),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn secret_ids_are_held_to_their_addresses() {
    let bench = bench().await;
    bench.post("auth/approle/role/a", r#"{"secret_id_bound_cidrs":["10.0.0.0/8"]}"#).await;
    let role = role_id(&bench, "a").await;
    let (secret, _) = secret_id(&bench, "a", r#"{"cidr_list":"10.1.0.0/16"}"#).await;
    let outside = bench.post("auth/approle/role/a/secret-id", r#"{"cidr_list":"11.0.0.0/16"}"#).await;
    assert_snapshot!(outside, @r#"400 {"errors":["cidr_list: must be within the ranges of the role"]}"#);
    let body = json!({ "role_id": role, "secret_id": secret }).to_string();
    for (address, status) in [("10.2.0.1", 400), ("11.0.0.1", 400), ("10.1.0.1", 200)] {
        let answer = bench.send_from(address, "POST", "auth/approle/login", &body, &[]).await;
        assert_eq!(answer.status, status, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_secret_id_is_spent_exactly_as_often_as_it_may_be() {
    let bench = bench().await;
    bench.post("auth/approle/role/a", r#"{"secret_id_num_uses":7}"#).await;
    let role = role_id(&bench, "a").await;
    let (secret, _) = secret_id(&bench, "a", "").await;
    let logins: Vec<_> = (0..30)
        .map(|_| {
            let (bench, role, secret) = (bench.clone(), role.clone(), secret.clone());
            tokio::spawn(async move { login(&bench, &role, &secret).await.status })
        })
        .collect();
    let mut let_in = 0;
    for attempt in logins {
        match attempt.await.unwrap() {
            200 => let_in += 1,
            status => assert_eq!(status, 400),
        }
    }
    assert_eq!(let_in, 7);
}

#[tokio::test]
async fn one_parameter_of_a_role_is_read_written_and_reset_by_itself() {
    let bench = Bench::new().await;
    bench.post("sys/auth/approle", r#"{"type":"approle"}"#).await;
    bench.post("auth/approle/role/r", r#"{"token_ttl":"20m","token_policies":"a"}"#).await;
    let part = async |part: &str| bench.get(&format!("auth/approle/role/r/{part}")).await.data().to_string();
    assert_eq!(part("token-ttl").await, r#"{"token_ttl":1200}"#);
    assert_eq!(part("policies").await, r#"{"token_policies":["a"]}"#);
    for (path, body) in [
        ("token-ttl", r#"{"token_ttl":"5m"}"#),
        ("policies", r#"{"policies":"b,c"}"#),
        ("secret-id-num-uses", r#"{"secret_id_num_uses":7,"token_ttl":1}"#),
    ] {
        assert_eq!(bench.post(&format!("auth/approle/role/r/{path}"), body).await.status, 204, "{path}");
    }
    assert_eq!(part("policies").await, r#"{"token_policies":["b","c"]}"#);
    assert_eq!(part("secret-id-num-uses").await, r#"{"secret_id_num_uses":7}"#);
    // The others stayed as they were.
    assert_eq!(part("token-ttl").await, r#"{"token_ttl":300}"#);
    assert_eq!(bench.delete("auth/approle/role/r/token-ttl").await.status, 204);
    assert_eq!(part("token-ttl").await, r#"{"token_ttl":0}"#);
    for (method, path, body, status) in [
        ("POST", "r/token-ttl", "{}", 400),
        ("POST", "r/token-ttl", r#"{"token_ttl":"soon"}"#, 400),
        ("LIST", "r/token-ttl", "", 404),
        ("GET", "none/token-ttl", "", 404),
        ("POST", "none/token-ttl", r#"{"token_ttl":1}"#, 404),
        ("GET", "r/nothing", "", 404),
    ] {
        let path = format!("auth/approle/role/{path}");
        assert_eq!(bench.call(method, &path, body).await.status, status, "{method} {path}");
    }
    assert_eq!(bench.call("LIST", "auth/approle/role", "").await.data()["keys"].to_string(), r#"["r"]"#);
}
