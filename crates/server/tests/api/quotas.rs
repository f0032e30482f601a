//! Rate limits, and pages of other origins.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;

use crate::bench::{Bench, ROOT};

#[tokio::test]
async fn an_address_that_asks_too_often_waits() {
    let bench = Bench::new().await;
    assert_eq!(
        bench
            .post(
                "sys/quotas/rate-limit/kv",
                r#"{"path":"secret/","rate":2.5,"interval":"10s","block_interval":0}"#
            )
            .await
            .status,
        204
    );
    assert_snapshot!(bench.get("sys/quotas/rate-limit/kv").await.data(), @r#"{"block_interval":0,"inheritable":false,"interval":10,"name":"kv","path":"secret/","rate":2.5,"role":"","type":"rate-limit"}"#);
    assert_eq!(bench.list("sys/quotas/rate-limit").await.keys(), ["kv"]);
    let ask = async |address: &str, path: &str| {
        bench.send_from(address, "GET", path, "", &[("X-Vault-Token", ROOT)]).await
    };
    for _ in 0..3 {
        assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 404);
    }
    let refused = ask("10.0.0.1", "secret/data/a").await;
    assert_snapshot!(refused, @r#"429 {"errors":["request path \"secret/data/a\": rate limit quota exceeded"]}"#);
    assert!(!refused.headers.contains_key("retry-after"));
    // Other addresses and other paths go on, and so does this one in the next interval.
    assert_eq!(ask("10.0.0.2", "secret/data/a").await.status, 404);
    assert_eq!(ask("10.0.0.1", "sys/mounts").await.status, 200);
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(ask("::ffff:10.0.0.1", "secret/data/a").await.status, 404);

    bench.post("sys/quotas/config", r#"{"enable_rate_limit_response_headers":true}"#).await;
    let answer = ask("10.0.0.1", "secret/data/a").await;
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("x-ratelimit-limit"), header("x-ratelimit-remaining"), header("x-ratelimit-reset")),
        ("3".into(), "1".into(), "10".into())
    );
    ask("10.0.0.1", "secret/data/a").await;
    let refused = ask("10.0.0.1", "secret/data/a").await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "10"));
    // A change holds at once; a block goes on beyond its interval.
    bench.post("sys/quotas/rate-limit/kv", r#"{"rate":1,"interval":1,"block_interval":60}"#).await;
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 404);
    assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 429);
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 429);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 404);
    assert_eq!(bench.delete("sys/quotas/rate-limit/kv").await.status, 204);
    for _ in 0..5 {
        assert_eq!(ask("10.0.0.1", "secret/data/a").await.status, 404);
    }
}

#[tokio::test]
async fn quotas_come_before_authentication_and_spare_the_probes() {
    let bench = Bench::bare().await;
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    bench.post("sys/quotas/rate-limit/login", r#"{"path":"auth/u/login/*","rate":1,"interval":60}"#).await;
    bench.post("sys/quotas/rate-limit/all", r#"{"rate":1,"interval":60}"#).await;
    let login = async || {
        bench.send_from("10.0.0.9", "POST", "auth/u/login/x", r#"{"password":"y"}"#, &[]).await.status
    };
    assert_eq!((login().await, login().await), (400, 429));
    // The most exact quota counts, each for itself.
    let anyone = async |path: &str| bench.send_from("10.0.0.9", "GET", path, "", &[]).await.status;
    assert_eq!((anyone("sys/mounts").await, anyone("sys/mounts").await), (403, 429));
    for _ in 0..5 {
        assert_eq!(anyone("sys/health").await, 200);
        assert_eq!(anyone("sys/seal-status").await, 200);
    }
    let refuses = async |body: &str, text: &str| {
        let answer = bench
            .send_from("10.1.1.1", "POST", "sys/quotas/rate-limit/x", body, &[("X-Vault-Token", ROOT)])
            .await;
        bench.clock.advance(Duration::from_mins(2));
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text), "{body}");
    };
    refuses(r#"{"path":"a"}"#, "rate: expected a number of requests, greater than 0").await;
    refuses(r#"{"path":"a","rate":-1}"#, "rate: expected a number of requests, greater than 0").await;
    refuses(r#"{"path":"a","rate":"NaN"}"#, "rate: expected a number of requests, greater than 0").await;
    refuses(r#"{"path":"a","rate":1,"interval":0}"#, "interval: must be at least one second").await;
    refuses(r#"{"path":"a","rate":1,"interval":-3}"#, "interval must be positive").await;
    refuses(r#"{"path":"a","rate":1,"role":"x"}"#, "role is not available in keyferry's quotas").await;
    refuses(r#"{"path":"","rate":5}"#, "quota rule with similar properties exists under the name \"all\"")
        .await;
    bench.clock.advance(Duration::from_mins(2));
    assert_snapshot!(bench.get("sys/quotas/config").await.data(), @r#"{"enable_rate_limit_audit_logging":false,"enable_rate_limit_response_headers":false,"rate_limit_exempt_paths":["sys/generate-recovery-token/attempt","sys/generate-recovery-token/update","sys/generate-root/attempt","sys/generate-root/update","sys/health","sys/seal-status","sys/unseal"]}"#);
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_only_when_somebody_says_so() {
    let bench = Bench::bare().await;
    let from = async |method: &str, origin: &str| {
        bench.send(method, "sys/mounts", "", &[("X-Vault-Token", ROOT), ("Origin", origin)]).await
    };
    let origin_of = |answer: &crate::bench::Answer| {
        answer.headers.get("access-control-allow-origin").map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(bench.get("sys/config/cors").await.data(), json!({ "enabled": false }));
    let answer = from("GET", "https://ui.example").await;
    assert_eq!((answer.status, origin_of(&answer)), (200, None));
    assert_eq!(from("OPTIONS", "https://ui.example").await.status, 405);
    let body = r#"{"allowed_origins":"https://ui.example","allowed_headers":"X-Own"}"#;
    assert_eq!(bench.post("sys/config/cors", body).await.status, 204);
    assert_eq!(bench.get("sys/config/cors").await.data()["allowed_origins"], json!(["https://ui.example"]));
    let answer = from("GET", "https://ui.example").await;
    assert_eq!((answer.status, origin_of(&answer).as_deref()), (200, Some("https://ui.example")));
    let answer = from("OPTIONS", "https://ui.example").await;
    assert_eq!((answer.status, answer.headers["access-control-max-age"].to_str().unwrap()), (204, "300"));
    assert!(
        answer.headers["access-control-allow-headers"].to_str().unwrap().ends_with("X-Vault-Token,X-Own")
    );
    for origin in ["https://evil.example", "null", "https://ui.example.evil"] {
        assert_snapshot_text(&from("GET", origin).await);
    }
    for (body, text) in [
        ("{}", "at least one origin or the wildcard must be provided"),
        (
            r#"{"allowed_origins":"*,https://a"}"#,
            "to allow all origins the '*' must be the only value for allowed_origins",
        ),
        (
            r#"{"allowed_origins":["a b"]}"#,
            "allowed_origins and allowed_headers: expected printable ASCII without blanks",
        ),
    ] {
        let answer = bench.post("sys/config/cors", body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
    }
    assert_eq!(bench.delete("sys/config/cors").await.status, 204);
    assert_eq!(origin_of(&from("GET", "https://ui.example").await), None);
}

fn assert_snapshot_text(answer: &crate::bench::Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (403, r#"{"errors":["origin not allowed"]}"#));
}
