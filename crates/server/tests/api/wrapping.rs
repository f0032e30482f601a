//! Response wrapping, cubbyholes and leases.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, MERGE_PATCH, ROOT};

async fn wrapped(bench: &Bench, method: &str, path: &str, body: &str) -> Answer {
    let headers = [("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", "5m"), MERGE_PATCH];
    bench.send(method, path, body, &headers).await
}

fn token_in(answer: &Answer) -> String {
    answer.json()["wrap_info"]["token"].as_str().unwrap().to_owned()
}

async fn unwrap(bench: &Bench, token: &str) -> Answer {
    bench.as_token(token, "PUT", "sys/wrapping/unwrap", "").await
}

#[tokio::test]
async fn an_answer_is_passed_on_in_a_wrapping_and_opened_once() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"p":"hunter2"}}"#).await;
    let answer = wrapped(&bench, "GET", "secret/data/a", "").await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert!(!answer.text().contains("hunter2"));
    assert_eq!((&json["request_id"], &json["data"], &json["auth"]), (&json!(""), &Value::Null, &Value::Null));
    let info = &json["wrap_info"];
    assert_eq!(
        (&info["ttl"], &info["creation_path"], &info["creation_time"]),
        (&json!(300), &json!("secret/data/a"), &json!("2023-09-20T14:51:53.961861Z"))
    );
    assert_eq!(info.get("wrapped_accessor"), None);
    let token = token_in(&answer);
    // Looking it up needs no right and does not use it up.
    for _ in 0..2 {
        let looked =
            bench.as_token("", "POST", "sys/wrapping/lookup", &format!(r#"{{"token":"{token}"}}"#)).await;
        assert_eq!(
            looked.data().to_string(),
            r#"{"creation_path":"secret/data/a","creation_time":"2023-09-20T14:51:53.961861Z","creation_ttl":300}"#
        );
    }
    // It is good for nothing else.
    for (method, path) in
        [("GET", "secret/data/a"), ("GET", "auth/token/lookup-self"), ("POST", "auth/token/create")]
    {
        let token = token_in(&wrapped(&bench, "GET", "secret/data/a", "").await);
        assert_eq!(bench.as_token(&token, method, path, "").await.status, 403, "{method} {path}");
    }
    let opened = unwrap(&bench, &token).await;
    assert_eq!(opened.status, 200);
    assert_eq!(opened.data()["data"]["p"], "hunter2");
    assert_ne!(opened.json()["request_id"], "");
    assert_snapshot!(unwrap(&bench, &token).await, @r#"400 {"errors":["wrapping token is not valid or does not exist"]}"#);
    assert_snapshot!(bench.as_token("", "POST", "sys/wrapping/lookup", &format!(r#"{{"token":"{token}"}}"#)).await, @r#"400 {"errors":["wrapping token is not valid or does not exist"]}"#);
    // Nor is another token one.
    for token in [ROOT, "none", ""] {
        assert_eq!(unwrap(&bench, token).await.status, 400, "{token:?}");
    }
    // It ends with its time, and what it held with it.
    let token = token_in(&wrapped(&bench, "GET", "secret/data/a", "").await);
    bench.clock.advance(Duration::from_mins(5));
    assert_eq!(unwrap(&bench, &token).await.status, 400);
    bench.app.do_chores().await.unwrap();
    let left = bench.store.scan_all(&bench.store.keys().entries_of("wrapping", "answer")).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_is_wrapped_and_what_is_not() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"p":"1"}}"#).await;
    bench.delete("secret/data/a").await;
    // A 404 that has a body is wrapped like a success, and comes out as a 404.
    let answer = wrapped(&bench, "GET", "secret/data/a", "").await;
    assert_eq!(answer.status, 200, "{answer}");
    let opened = unwrap(&bench, &token_in(&answer)).await;
    assert_eq!((opened.status, &opened.data()["data"]), (404, &Value::Null));
    assert_eq!(opened.data()["metadata"]["version"], 1);
    // Errors, and answers without a body, are not.
    assert_snapshot!(wrapped(&bench, "GET", "secret/data/none", "").await, @r#"404 {"errors":[]}"#);
    assert_eq!(wrapped(&bench, "DELETE", "secret/data/a", "").await.status, 204);
    assert_eq!(wrapped(&bench, "GET", "sys/health", "").await.json()["initialized"], true);
    // What a login or a token's maker gets is, with its accessor.
    let answer = wrapped(&bench, "POST", "auth/token/create", r#"{"policies":["default"]}"#).await;
    let accessor = answer.json()["wrap_info"]["wrapped_accessor"].as_str().unwrap().to_owned();
    let opened = unwrap(&bench, &token_in(&answer)).await;
    assert_eq!(opened.json()["auth"]["accessor"], accessor.as_str());
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    bench.post("auth/u/users/anna", r#"{"password":"pw"}"#).await;
    let headers = [("X-Vault-Wrap-TTL", "60")];
    let answer = bench.send("POST", "auth/u/login/anna", r#"{"password":"pw"}"#, &headers).await;
    assert!(answer.json()["auth"].is_null(), "{answer}");
    assert_eq!(unwrap(&bench, &token_in(&answer)).await.json()["auth"]["metadata"]["username"], "anna");
    for (ttl, text) in [
        ("-1", "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative"),
        ("soon", "error parsing X-Vault-Wrap-TTL header: not a duration"),
    ] {
        let answer =
            bench.send("GET", "sys/mounts", "", &[("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", ttl)]).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
    }
    let plain =
        bench.send("GET", "sys/mounts", "", &[("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", "0")]).await;
    assert!(plain.json()["wrap_info"].is_null() && !plain.data().is_null());
}

#[tokio::test]
async fn wrap_and_rewrap_and_unwrap_for_another() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.post("sys/wrapping/wrap", r#"{"k":"v"}"#).await, @r#"400 {"errors":["endpoint requires response wrapping to be used"]}"#);
    let token = token_in(
        &wrapped(&bench, "POST", "sys/wrapping/wrap", r#"{"k":"v","n":12345678901234567890}"#).await,
    );
    let again = bench.post("sys/wrapping/rewrap", &format!(r#"{{"token":"{token}"}}"#)).await;
    assert_eq!(again.json()["wrap_info"]["creation_path"], "sys/wrapping/wrap");
    assert_eq!(unwrap(&bench, &token).await.status, 400, "the old one is dead");
    let token = token_in(&again);
    let weak = bench.token(r#"{"policies":["default"]}"#).await;
    let nobody = bench.token_of("nothing").await;
    let body = format!(r#"{{"token":"{token}"}}"#);
    assert_eq!(bench.as_token(&nobody, "POST", "sys/wrapping/unwrap", &body).await.status, 403);
    assert_eq!(bench.as_token(&weak, "POST", "sys/wrapping/rewrap", &body).await.status, 403);
    let opened = bench.as_token(&weak, "POST", "sys/wrapping/unwrap", &body).await;
    assert_eq!(
        opened.data(),
        json!({ "k": "v", "n": serde_json::from_str::<Value>("12345678901234567890").unwrap() })
    );
    assert_eq!(bench.as_token(&weak, "POST", "sys/wrapping/unwrap", &body).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_unwrap_at_once_one_gets_it() {
    let bench = Bench::new().await;
    for round in 0..5 {
        let token = token_in(&wrapped(&bench, "GET", "sys/mounts", "").await);
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let (bench, token) = (bench.clone(), token.clone());
                tokio::spawn(async move { unwrap(&bench, &token).await.status })
            })
            .collect();
        let mut got = 0;
        for attempt in tries {
            match attempt.await.unwrap() {
                200 => got += 1,
                status => assert_eq!(status, 400),
            }
        }
        assert_eq!(got, 1, "round {round}");
    }
}

#[tokio::test]
async fn policies_may_demand_a_wrapping() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{}}"#).await;
    bench.policy("w", r#"path "secret/data/a" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "10m" }"#).await;
    let token = bench.token_of("w").await;
    for (ttl, status) in [("0", 403), ("59", 403), ("60", 200), ("10m", 200), ("601s", 403)] {
        let answer = bench
            .send("GET", "secret/data/a", "", &[("X-Vault-Token", &token), ("X-Vault-Wrap-TTL", ttl)])
            .await;
        assert_eq!(answer.status, status, "{ttl}");
    }
}

#[tokio::test]
async fn every_token_has_a_place_of_its_own() {
    let bench = Bench::bare().await;
    let anna = bench.token(r#"{"policies":["default"],"id":"anna"}"#).await;
    let bert = bench.token(r#"{"policies":["default"],"id":"bert"}"#).await;
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        bench.as_token(token, method, &format!("cubbyhole/{path}"), body).await
    };
    assert_eq!(call(&anna, "POST", "a/b", r#"{"k":"v","n":[1]}"#).await.status, 204);
    assert_eq!(call(&anna, "POST", "c", r#"{"k":"w"}"#).await.status, 204);
    assert_eq!(call(&anna, "GET", "a/b", "").await.data(), json!({ "k": "v", "n": [1] }));
    assert_eq!(call(&anna, "LIST", "", "").await.keys(), ["a/", "c"]);
    assert_eq!(call(&anna, "LIST", "a", "").await.keys(), ["b"]);
    // Nobody else looks in, root included.
    for token in [&bert, ROOT] {
        assert_eq!(call(token, "GET", "a/b", "").await.status, 404);
        assert_eq!(call(token, "LIST", "", "").await.status, 404);
    }
    assert_snapshot!(call(&anna, "POST", "x", "{}").await, @r#"400 {"errors":["missing data fields"]}"#);
    assert_eq!(call(&anna, "DELETE", "c", "").await.status, 204);
    assert_eq!(call(&anna, "GET", "c", "").await.status, 404);
    let batch = bench.post("auth/token/create", r#"{"type":"batch","policies":["default"]}"#).await.json();
    let batch = batch["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_snapshot!(call(&batch, "GET", "a", "").await, @r#"400 {"errors":["cubbyhole operations are only supported by \"service\" type tokens"]}"#);
    // It ends with the token; one of the same text made anew finds nothing.
    bench.post("auth/token/revoke", r#"{"token":"anna"}"#).await;
    bench.token(r#"{"policies":["default"],"id":"anna"}"#).await;
    assert_eq!(call("anna", "GET", "a/b", "").await.status, 404);
    bench.app.do_chores().await.unwrap();
    assert!(
        bench.store.scan_all(&bench.store.keys().entries_of("cubbyhole", "owner")).await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn tokens_have_leases() {
    let bench = Bench::bare().await;
    let made =
        bench.post("auth/token/create", r#"{"policies":["default"],"ttl":"1h","id":"t"}"#).await.json();
    let accessor = made["auth"]["accessor"].as_str().unwrap();
    let id = format!("auth/token/create/{accessor}");
    let body = format!(r#"{{"lease_id":"{id}"}}"#);
    let looked = bench.call("PUT", "sys/leases/lookup", &body).await.data();
    assert_eq!(
        (&looked["ttl"], &looked["renewable"], &looked["id"], &looked["last_renewal"]),
        (&json!(3600), &json!(true), &json!(id), &Value::Null)
    );
    assert_eq!(bench.list("sys/leases/lookup/auth/token/").await.keys(), ["create/"]);
    assert_eq!(bench.list("sys/leases/lookup/auth/token/create").await.keys(), [accessor]);
    bench.clock.advance(Duration::from_mins(30));
    let renewed = bench
        .call("PUT", "sys/leases/renew", &format!(r#"{{"lease_id":"{id}","increment":600}}"#))
        .await
        .json();
    assert_eq!(
        (&renewed["lease_id"], &renewed["renewable"], &renewed["lease_duration"]),
        (&json!(id), &json!(true), &json!(600))
    );
    for (path, text) in [("lookup", "invalid lease"), ("renew", "lease not found")] {
        let answer = bench
            .call("PUT", &format!("sys/leases/{path}"), r#"{"lease_id":"auth/token/create/none"}"#)
            .await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
        let answer = bench.call("PUT", &format!("sys/leases/{path}"), "{}").await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, "lease_id must be specified")
        );
    }
    assert_eq!(bench.call("PUT", "sys/leases/revoke", &body).await.status, 204);
    assert_eq!(bench.call("PUT", "sys/leases/revoke", &body).await.status, 204);
    assert_eq!(bench.as_token("t", "GET", "auth/token/lookup-self", "").await.status, 403);
    // By prefix: whole segments, and never what has no lease.
    for id in ["a", "b"] {
        bench
            .post("auth/token/create", &format!(r#"{{"policies":["default"],"ttl":"1h","id":"{id}"}}"#))
            .await;
    }
    bench.post("auth/token/create-orphan", r#"{"policies":["default"],"ttl":"1h","id":"o"}"#).await;
    assert_eq!(bench.call("PUT", "sys/leases/revoke-prefix/auth/token/create", "").await.status, 204);
    for (id, status) in [("a", 403), ("b", 403), ("o", 200), (ROOT, 200)] {
        assert_eq!(bench.as_token(id, "GET", "auth/token/lookup-self", "").await.status, status, "{id}");
    }
}
