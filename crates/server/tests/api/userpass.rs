//! Names and passwords, and guessing them.

use std::time::Duration;

use insta::assert_snapshot;

use crate::bench::Bench;

async fn bench() -> Bench {
    let bench = Bench::bare().await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench
}

async fn login(bench: &Bench, name: &str, password: &str) -> (u16, String) {
    let path = format!("auth/userpass/login/{name}");
    let answer = bench.as_token("", "PUT", &path, &format!(r#"{{"password":"{password}"}}"#)).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn users_are_kept_and_log_in() {
    let bench = bench().await;
    let body = r#"{"password":"pw","token_policies":"Ops,dev","token_ttl":"1h","token_max_ttl":"2h"}"#;
    assert_eq!(bench.post("auth/userpass/users/Anna", body).await.status, 204);
    assert_snapshot!(bench.get("auth/userpass/users/anna").await.data(), @r#"{"token_bound_cidrs":[],"token_explicit_max_ttl":0,"token_max_ttl":7200,"token_no_default_policy":false,"token_num_uses":0,"token_period":0,"token_policies":["dev","ops"],"token_ttl":3600,"token_type":"default"}"#);
    assert_eq!(bench.list("auth/userpass/users").await.keys(), ["anna"]);
    let answer = bench.as_token("", "POST", "auth/userpass/login/ANNA", r#"{"password":"pw"}"#).await;
    assert_snapshot!(answer.json()["auth"]["metadata"], @r#"{"username":"anna"}"#);
    assert_snapshot!(answer.json()["auth"]["policies"], @r#"["default","dev","ops"]"#);
    assert_eq!(answer.json()["auth"]["lease_duration"], 3600);
    assert_eq!(answer.json()["data"], serde_json::Value::Null);
    let token = answer.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    let me = bench.as_token(&token, "GET", "auth/token/lookup-self", "").await.data();
    assert_eq!(
        (&me["display_name"], &me["path"], &me["orphan"]),
        (&"userpass-anna".into(), &"auth/userpass/login/ANNA".into(), &true.into())
    );
    // Renewals go by what the user may have today.
    bench.clock.advance(Duration::from_mins(50));
    let renewed = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_eq!(renewed.json()["auth"]["lease_duration"], 3600);
    bench.clock.advance(Duration::from_mins(50));
    let renewed = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_eq!(renewed.json()["auth"]["lease_duration"], 1200, "two hours from the login on");
    bench.post("auth/userpass/users/anna/policies", r#"{"token_policies":["dev"]}"#).await;
    let refused = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_snapshot!(refused, @r#"400 {"errors":["policies have changed, not renewing"]}"#);

    assert_eq!(bench.post("auth/userpass/users/anna/password", r#"{"password":"new"}"#).await.status, 204);
    assert_eq!(login(&bench, "anna", "pw").await.0, 400);
    assert_eq!(login(&bench, "anna", "new").await.0, 200);
    for (path, body, text) in [
        ("users/bert", "{}", "missing password"),
        (
            "users/bert",
            r#"{"password":"x","token_policies":["Root"]}"#,
            "policies cannot contain root: only a root token can make another",
        ),
        (
            "users/bert",
            r#"{"password":"x","token_ttl":2,"token_max_ttl":1}"#,
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        ),
        (
            "users/bert",
            r#"{"password":"x","token_type":"batch","token_period":1}"#,
            "'token_type' cannot be 'batch' or 'default-batch' when set to generate tokens that are periodic",
        ),
        (
            "users/bert",
            r#"{"password":"x","token_bound_cidrs":"nowhere"}"#,
            "token_bound_cidrs: expected address ranges such as 10.0.0.0/8 or 2001:db8::/32",
        ),
        ("users/bert", r#"{"password":"x","token_ttl":-1}"#, "token_ttl must be positive"),
        (
            "users/be%20rt",
            r#"{"password":"x"}"#,
            "a user name must be 1 to 128 bytes of letters, digits, '-', '_', '.', '@' and '+'",
        ),
        ("users/bert/password", r#"{"password":"x"}"#, "username does not exist"),
        ("users/bert/policies", "{}", "username does not exist"),
        ("login/anna", "{}", "missing password"),
    ] {
        let answer = bench.post(&format!("auth/userpass/{path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, text),
            "{path} {body}"
        );
    }
    assert_eq!(bench.delete("auth/userpass/users/anna").await.status, 204);
    assert_eq!(login(&bench, "anna", "new").await.0, 400);
    let refused = bench.as_token(&token, "POST", "auth/token/renew-self", "").await;
    assert_snapshot!(refused, @r#"400 {"errors":["the user of this token is gone, not renewing"]}"#);
}

#[tokio::test]
async fn who_guesses_is_kept_out_and_learns_nothing() {
    let bench = bench().await;
    bench.post("auth/userpass/users/anna", r#"{"password":"pw"}"#).await;
    // Names that are there and names that are not answer alike, try for try, in whatever letters.
    for attempt in 0..8 {
        let names = if attempt % 2 == 0 { ("anna", "nobody") } else { ("ANNA", "NoBody") };
        let there = login(&bench, names.0, "wrong").await;
        let not_there = login(&bench, names.1, "wrong").await;
        assert_eq!(there, not_there, "attempt {attempt}");
        let status = if attempt < 5 { 400 } else { 403 };
        assert_eq!(there.0, status, "attempt {attempt}");
    }
    // The right password does not help now.
    assert_eq!(login(&bench, "Anna", "pw").await.0, 403);
    bench.clock.advance(Duration::from_secs(15 * 60 - 1));
    assert_eq!(login(&bench, "anna", "pw").await.0, 403);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(login(&bench, "anna", "pw").await.0, 200);
    assert_eq!(login(&bench, "nobody", "wrong").await.0, 400);
    // A success begins anew.
    for _ in 0..4 {
        assert_eq!(login(&bench, "anna", "wrong").await.0, 400);
    }
    assert_eq!(login(&bench, "anna", "pw").await.0, 200);
    for _ in 0..4 {
        assert_eq!(login(&bench, "anna", "wrong").await.0, 400);
    }
    assert_eq!(login(&bench, "anna", "pw").await.0, 200);
    // Whoever may set the password lets the user in again.
    for _ in 0..6 {
        login(&bench, "anna", "wrong").await;
    }
    assert_eq!(login(&bench, "anna", "pw").await.0, 403);
    bench.post("auth/userpass/users/anna/password", r#"{"password":"pw"}"#).await;
    assert_eq!(login(&bench, "anna", "pw").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_guesses_at_once_are_no_more_tries() {
    let bench = bench().await;
    bench.post("auth/userpass/users/anna", r#"{"password":"pw"}"#).await;
    let tries = (0..20).map(|_| {
        let bench = bench.clone();
        tokio::spawn(async move { login(&bench, "anna", "wrong").await.0 })
    });
    let mut checked = 0;
    for attempt in tries.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            400 => checked += 1,
            status => assert_eq!(status, 403),
        }
    }
    assert_eq!(checked, 5);
}

#[tokio::test]
async fn logins_and_tokens_are_held_to_their_addresses() {
    let bench = bench().await;
    bench
        .post("auth/userpass/users/anna", r#"{"password":"pw","token_bound_cidrs":["10.0.0.0/8","::1"]}"#)
        .await;
    let body = r#"{"password":"pw"}"#;
    let from =
        async |address: &str| bench.send_from(address, "POST", "auth/userpass/login/anna", body, &[]).await;
    assert_eq!(from("11.0.0.1").await.status, 400);
    let answer = from("10.0.0.1").await;
    assert_eq!(answer.status, 200, "{answer}");
    let token = answer.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    for (address, status) in
        [("10.9.9.9", 200), ("::1", 200), ("::ffff:10.1.1.1", 200), ("127.0.0.1", 403), ("11.0.0.1", 403)]
    {
        let looked =
            bench.send_from(address, "GET", "auth/token/lookup-self", "", &[("X-Vault-Token", &token)]).await;
        assert_eq!(looked.status, status, "{address}");
    }
    // Nor does it open what looks at the token itself.
    let seen =
        bench.send_from("11.0.0.1", "GET", "sys/internal/ui/mounts", "", &[("X-Vault-Token", &token)]).await;
    assert_eq!(seen.data()["auth"], serde_json::json!({}));
}

#[tokio::test]
async fn a_users_older_parameters_count_and_the_newer_ones_win() {
    let bench = Bench::new().await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    let body = r#"{"password":"a word","ttl":"5m","max_ttl":"10m","policies":"ops","bound_cidrs":"10.0.0.0/8","token_ttl":60}"#;
    assert_eq!(bench.post("auth/userpass/users/anna", body).await.status, 204);
    let user = bench.get("auth/userpass/users/anna").await.data();
    assert_eq!((&user["token_ttl"], &user["token_max_ttl"]), (&60.into(), &600.into()));
    assert_eq!(
        (&user["token_policies"][0], &user["token_bound_cidrs"][0]),
        (&"ops".into(), &"10.0.0.0/8".into())
    );
    assert_eq!(bench.post("auth/userpass/users/anna", r#"{"ttl":"20m"}"#).await.status, 400);
}
