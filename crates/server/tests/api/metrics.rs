//! `sys/metrics`: who may read it, in which forms, and what it counts.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use server::{
    app::Settings,
    http::Limits,
    metrics::{CATALOGUE, Sort},
};

use crate::bench::{Bench, ROOT};

impl Bench {
    /// The answer's status, media type and text.
    async fn metrics(&self, query: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = http::Request::builder().uri(format!("/v1/sys/metrics{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.service.answer(request.body(Full::new(Bytes::new())).unwrap()).await;
        let (parts, body) = answer.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (parts.status.as_u16(), parts.headers["content-type"].to_str().unwrap().to_owned(), body)
    }

    async fn scrape(&self) -> String {
        self.metrics("?format=prometheus", &[("X-Vault-Token", ROOT)]).await.2
    }
}

/// The value of a sample, as printed.
fn sample<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

#[tokio::test]
async fn metrics_take_a_token_that_may_read_them() {
    let bench = Bench::new().await;
    bench.policy("watch", r#"path "sys/metrics" { capabilities = ["read"] }"#).await;
    let may = bench.token_of("watch").await;
    bench.policy("other", r#"path "secret/*" { capabilities = ["read"] }"#).await;
    let may_not = bench.token_of("other").await;
    for (token, status) in [("", 403), ("wrong", 403), (may_not.as_str(), 403), (may.as_str(), 200)] {
        for query in ["", "?format=prometheus"] {
            assert_eq!(bench.metrics(query, &[("X-Vault-Token", token)]).await.0, status, "{query}");
        }
    }
    assert_eq!(bench.post("sys/metrics", "").await.status, 405);
    assert_eq!(bench.call("PUT", "sys/seal", "").await.status, 204);
    assert_eq!(bench.metrics("", &[("X-Vault-Token", may.as_str())]).await.0, 503);
}

#[tokio::test]
async fn metrics_may_be_shown_to_anybody_sealed_or_not() {
    let settings = Settings { unauthenticated_metrics: true, ..Settings::default() };
    let bench = Bench::with(Limits::default(), settings).await;
    let (status, _, text) = bench.metrics("?format=prometheus", &[]).await;
    assert_eq!((status, sample(&text, "vault_core_unsealed")), (200, Some("1")));
    assert_eq!(bench.call("PUT", "sys/seal", "").await.status, 204);
    let (status, _, text) = bench.metrics("?format=prometheus", &[]).await;
    assert_eq!((status, sample(&text, "vault_core_unsealed")), (200, Some("0")));
}

#[tokio::test]
async fn metrics_come_as_prometheus_text_or_as_vaults_json() {
    let bench = Bench::new().await;
    let root = ("X-Vault-Token", ROOT);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    assert_eq!(bench.metrics("?format=prometheus", &[root]).await.1, text);
    assert_eq!(bench.metrics("", &[root, ("Accept", openmetrics)]).await.1, text);
    let (status, media_type, json) = bench.metrics("", &[root]).await;
    assert_eq!((status, media_type.as_str()), (200, "application/json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Timestamp"], "2023-09-20 14:51:53.961861 +0000 UTC");
    let unsealed = json["Gauges"].as_array().unwrap().iter().find(|g| g["Name"] == "vault.core.unsealed");
    assert_eq!(unsealed.unwrap()["Value"], 1.0);
    assert!(json["Samples"].as_array().unwrap().iter().any(|s| s["Name"] == "vault.core.handle_request"));
    let (status, _, refused) = bench.metrics("?format=xml", &[root]).await;
    assert_eq!(status, 400);
    assert!(refused.contains("metric response format"), "{refused}");
}

#[tokio::test]
async fn what_is_asked_and_answered_is_counted() {
    let bench = Bench::new().await;
    bench.post("secret/data/app/db", r#"{"data":{"a":"1"}}"#).await;
    bench.get("secret/data/app/db").await;
    bench.get("secret/data/app/none").await;
    bench.as_token("", "GET", "secret/data/app/db", "").await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench.post("auth/userpass/users/ann", r#"{"password":"a long password"}"#).await;
    bench.login("auth/userpass/login/ann", r#"{"password":"a long password"}"#).await;
    let text = bench.scrape().await;
    for (name, value) in [
        (r#"keyferry_http_requests_total{api="secrets",status="200"}"#, "2"),
        (r#"keyferry_http_requests_total{api="secrets",status="404"}"#, "1"),
        (r#"keyferry_http_requests_total{api="secrets",status="403"}"#, "1"),
        (r#"vault_core_response_status_code{code="404",type="4xx"}"#, "1"),
        ("vault_core_handle_login_request_count", "1"),
        ("vault_core_in_flight_requests", "1"),
        ("vault_route_read_secret__count", "2"),
        ("vault_route_update_secret__count", "1"),
        (r#"vault_token_creation{auth_method="userpass",token_type="service"}"#, "1"),
        ("process_start_time_seconds", "1695221513"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name} in:\n{text}");
    }
    let commits: u64 =
        sample(&text, r#"keyferry_store_commits_total{outcome="done"}"#).unwrap().parse().unwrap();
    assert!(commits >= 4 && sample(&text, "vault_barrier_put_count").is_some(), "{text}");
}

#[tokio::test]
async fn no_metric_tells_of_secrets() {
    let bench = Bench::new().await;
    let canary = "canary-7f3a";
    for path in
        [format!("secret/data/{canary}"), format!("{canary}/x"), format!("auth/{canary}/login/{canary}")]
    {
        bench.post(&path, &format!(r#"{{"data":{{"{canary}":"{canary}"}}}}"#)).await;
        bench.get(&format!("{path}?x={canary}")).await;
        bench.as_token(canary, "LIST", &path, "").await;
    }
    let text = bench.scrape().await + &bench.metrics("", &[("X-Vault-Token", ROOT)]).await.2;
    assert!(!text.contains(canary), "{text}");
}

/// Prometheus' text format 0.0.4, as far as a reader relies on it.
#[tokio::test]
async fn every_line_is_of_the_catalogue_and_well_formed() {
    let bench = Bench::new().await;
    bench.get("secret/data/app/none").await;
    let text = bench.scrape().await;
    let mut typed = ("", "");
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            typed = header.split_once(' ').unwrap();
            let known = CATALOGUE.iter().find(|described| described.shown() == typed.0);
            match known.map(|known| known.sort) {
                Some(Sort::Gauge) => assert_eq!(typed.1, "gauge"),
                Some(Sort::Counter) => assert_eq!(typed.1, "counter"),
                Some(Sort::Histogram) => assert_eq!(typed.1, "histogram"),
                None => assert!(typed.0.starts_with("vault_route_"), "{line}"),
            }
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, words)| words.len() > 5), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = name.split('{').next().unwrap();
            let suffixes: &[&str] =
                if typed.1 == "histogram" { &["_sum", "_count", "_bucket"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(typed.0)), "{line}");
        }
    }
}
