//! What no stand-in does, said by WireMock: storms of refusals that end, keys that go stale, arrays that
//! half-succeed, names in limbo. Each trial scripts the answers, one after the other, as the provider documents
//! them, and looks at the requests that were made of them.
//!
//! `KEYFERRY_TEST_WIREMOCK` is the base URL of a WireMock 3; `KEYFERRY_TEST_REQUIRE_PARTS=1` makes it a failure
//! when there is none.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod aws;
mod azure;
mod gcp;
mod github;
mod vercel;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use destinations::{
    Destination, Expect, Fault, Net, Put, PutOutcome,
    net::{Client, Effect, Policy, Snapshot},
    testing::{self, Writing, written},
};
use model::{Clock, Timestamp};
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "the parts are named by the environment of the test run")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "requests are dated")]
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(jiff::Timestamp::now().as_second())
    }
}

/// A corner of WireMock for one trial: everything below a path of its own.
struct Wire {
    client: Client,
    base: String,
    corner: String,
}

impl Wire {
    /// `None`: there is no WireMock, and none is required.
    #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
    fn new() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(base) = variable("KEYFERRY_TEST_WIREMOCK") else {
            let required = variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() == Some("1");
            assert!(!required, "KEYFERRY_TEST_WIREMOCK is not set");
            eprintln!("left out: KEYFERRY_TEST_WIREMOCK is not set");
            return None;
        };
        #[expect(clippy::disallowed_methods, reason = "corners of different runs must differ")]
        let run = jiff::Timestamp::now().as_nanosecond();
        let corner = format!("/t{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self { client: net().client(&Policy::default()), base, corner })
    }

    fn url(&self) -> String {
        format!("{}{}", self.base, self.corner)
    }

    async fn admin(&self, path: &str, body: &Value) -> Value {
        let request = http::Request::post(format!("{}/__admin/{path}", self.base))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let answer = self.client.call(request, Effect::Write).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.body.expose_text().unwrap());
        serde_json::from_slice(answer.body.expose()).unwrap()
    }

    /// Scripts the answers to a call, one after the other; the last is given from then on. `path` is a
    /// regular expression for what comes after the corner's own path.
    async fn script(&self, method: &str, path: &str, answers: impl IntoIterator<Item = Value>) {
        let scenario = format!("{} {method} {path}", self.corner);
        let answers: Vec<Value> = answers.into_iter().collect();
        for (at, answer) in answers.iter().enumerate() {
            let state = |at: usize| if at == 0 { "Started".to_owned() } else { at.to_string() };
            let mut mapping = json!({
                "request": {"method": method, "urlPathPattern": format!("{}{path}", self.corner)},
                "response": answer,
                "scenarioName": scenario,
                "requiredScenarioState": state(at),
            });
            if at + 1 < answers.len() {
                mapping["newScenarioState"] = state(at + 1).into();
            }
            self.admin("mappings", &mapping).await;
        }
    }

    /// The requests of a method, in order: path with query, and body.
    async fn requests(&self, method: &str) -> Vec<(String, Value)> {
        let filter = json!({"method": method, "urlPathPattern": format!("{}.*", self.corner)});
        let found = self.admin("requests/find", &filter).await;
        let mut requests: Vec<(i64, String, Value)> = found["requests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|request| {
                let url = request["url"].as_str().unwrap().strip_prefix(&self.corner).unwrap().to_owned();
                let body = serde_json::from_str(request["body"].as_str().unwrap_or_default());
                (request["loggedDate"].as_i64().unwrap(), url, body.unwrap_or_default())
            })
            .collect();
        requests.sort_by_key(|(date, ..)| *date);
        requests.into_iter().map(|(_, url, body)| (url, body)).collect()
    }
}

/// An answer in WireMock's words.
fn answer(status: u16, body: Value) -> Value {
    let mut answer = json!({"status": status, "headers": {"Content-Type": "application/json"}});
    answer["jsonBody"] = body;
    answer
}

fn with_header(mut answer: Value, name: &str, value: &str) -> Value {
    answer["headers"][name] = value.into();
    answer
}

fn net() -> Arc<Net> {
    testing::net(Arc::new(SystemClock), testing::nearby(), Snapshot::default())
}

fn open(slug: &str, settings: Value) -> Arc<dyn Destination> {
    testing::open(testing::kind(slug), settings, &net()).unwrap()
}

async fn put_all(
    destination: &Arc<dyn Destination>,
    names: &[&str],
    write: u8,
    expect: Expect<'_>,
) -> Vec<Result<PutOutcome, Fault>> {
    let writings: Vec<Writing<'_>> =
        names.iter().map(|name| Writing::new(*name, "v", write).expecting(expect)).collect();
    let puts: Vec<Put<'_>> = writings.iter().map(Writing::put).collect();
    destination.put_many(&puts).await
}

async fn put(
    destination: &Arc<dyn Destination>,
    name: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    put_all(destination, &[name], write, expect).await.pop().unwrap()
}
