//! Methods, headers and bodies (kv-v2-api.md 2).

use insta::assert_snapshot;

use crate::bench::{Answer, Bench, ROOT};
use bytes::Bytes;
use http_body_util::Full;

#[tokio::test]
async fn tokens_come_in_two_headers() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{}}"#).await;
    for (headers, status) in [
        (&[("X-Vault-Token", ROOT)][..], 200),
        (&[("Authorization", "Bearer root")], 200),
        (&[("authorization", "bearer  root ")], 200),
        (&[("X-Vault-Token", ""), ("Authorization", "Bearer root")], 200),
        (&[("X-Vault-Token", "wrong"), ("Authorization", "Bearer root")], 403),
        (&[("X-Vault-Token", ROOT), ("Authorization", "Bearer wrong")], 200),
        (&[("Authorization", "Basic root")], 403),
        (&[("Authorization", "Bearer ")], 403),
        (&[("Authorization", "Bearer")], 403),
        (&[], 403),
        (
            &[
                ("X-Vault-Token", ROOT),
                ("X-Vault-Request", "true"),
                ("X-Vault-Policy-Override", "true"),
                ("X-Vault-MFA", "x"),
                ("X-Vault-Index", "x"),
                ("X-Vault-Inconsistent", "x"),
            ],
            200,
        ),
    ] {
        assert_eq!(bench.send("GET", "secret/data/a", "", headers).await.status, status, "{headers:?}");
    }
    assert_snapshot!(bench.send("GET", "secret/data/a", "", &[]).await, @r#"403 {"errors":["permission denied"]}"#);
    let long = "x".repeat(5000);
    assert_eq!(bench.send("GET", "secret/data/a", "", &[("X-Vault-Token", &long)]).await.status, 403);
}

#[tokio::test]
async fn there_is_the_root_namespace_only() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{}}"#).await;
    for namespace in ["", "/", "root", "root/", "/root/"] {
        let answer = bench
            .send("GET", "secret/data/a", "", &[("X-Vault-Token", ROOT), ("X-Vault-Namespace", namespace)])
            .await;
        assert_eq!(answer.status, 200, "{namespace}");
        assert_eq!(answer.headers["x-vault-namespace"], namespace);
    }
    let answer = bench
        .send("GET", "secret/data/a", "", &[("X-Vault-Token", ROOT), ("X-Vault-Namespace", "team-a")])
        .await;
    assert_snapshot!(answer, @r#"404 {"errors":["namespace not found: this server has the root namespace only"]}"#);
}

#[tokio::test]
async fn unknown_methods_are_405_with_an_empty_list() {
    let bench = Bench::new().await;
    for method in ["OPTIONS", "TRACE", "CONNECT", "FOO", "HEAD", "list", "get"] {
        let answer = bench.call(method, "secret/data/a", "").await;
        assert_eq!(answer.to_string(), r#"405 {"errors":[]}"#, "{method}");
    }
}

#[tokio::test]
async fn odd_paths_never_reach_an_engine() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{}}"#).await;
    for path in [
        "secret/data/%2e%2e/data/a",
        "secret/data/./a",
        "secret/data/../../sys/mounts",
        "secret/data/a%0a",
        "secret/data/%00",
        "secret/data/a%",
        "secret/data/%ff",
    ] {
        for method in ["GET", "POST", "DELETE", "LIST"] {
            assert_eq!(bench.call(method, path, "").await.status, 400, "{method} {path}");
            // Refused before anyone is asked who they are.
            assert_eq!(bench.as_token("", method, path, "").await.status, 400, "{method} {path}");
        }
    }
    // Decoded once, not twice.
    assert_eq!(bench.get("secret/data/%2561").await.status, 404);
    assert_eq!(bench.get("secret/data/%61").await.status, 200);
    for path in ["/", "/v1", "/ui/", "/v2/secret"] {
        let request =
            http::Request::get(path).header("X-Vault-Token", ROOT).body(Full::new(Bytes::new())).unwrap();
        let answer = Answer::of(bench.service.answer(request).await).await;
        assert_eq!(answer.to_string(), r#"404 {"errors":[]}"#);
    }
}

#[tokio::test]
async fn bodies_are_json_whatever_they_say() {
    let bench = Bench::new().await;
    for content_type in ["", "text/plain", "application/json", "application/x-www-form-urlencoded"] {
        let headers = [("X-Vault-Token", ROOT), ("Content-Type", content_type)];
        let answer = bench.send("POST", "secret/data/a", " \n{\"data\":{}}", &headers).await;
        assert_eq!(answer.status, 200, "{content_type}");
    }
    let form =
        [("X-Vault-Token", ROOT), ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    assert_eq!(
        bench.send("POST", "secret/config", "max_versions=4&cas_required=false", &form).await.status,
        204
    );
    assert_eq!(bench.get("secret/config").await.data()["max_versions"], 4);
}

#[tokio::test]
async fn costly_json_is_refused_before_anyone_is_asked_who_they_are() {
    let bench = Bench::new().await;
    let deep = format!("{}{}", "[".repeat(501), "]".repeat(501));
    let long = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat((1 << 20) + 1));
    let many = format!("[{}]", vec!["1"; 10_001].join(","));
    for (body, words) in
        [(&deep, "nesting exceeds 500"), (&long, "string value exceeds"), (&many, "exceeds 10000 members")]
    {
        for token in [ROOT, ""] {
            let answer = bench.as_token(token, "POST", "secret/data/a", body).await;
            assert_eq!(answer.status, 400);
            assert!(
                answer.text().starts_with(r#"{"errors":["failed to parse JSON input: JSON "#),
                "{answer}"
            );
            assert!(answer.text().contains(words), "{answer}");
        }
    }
    let form = [("X-Vault-Token", ROOT), ("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(bench.send("POST", "secret/config", &"a&".repeat(10_001), &form).await.status, 400);
    // Just within.
    let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(498), "]".repeat(498));
    assert_eq!(bench.post("secret/data/a", &deep).await.status, 200);
    assert_eq!(bench.get("secret/data/a").await.status, 200);
    assert_eq!(bench.get("secret/subkeys/a").await.status, 200);
    assert_eq!(bench.patch("secret/data/a", &deep).await.status, 200);
}
