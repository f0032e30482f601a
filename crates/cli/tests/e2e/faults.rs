//! Real faults between the server and a destination: a proxy in between cuts, loses, delays, doubles and spoils
//! what goes over the wire. Whatever happens, the destination ends with the wanted value, the calls stay bounded,
//! nothing of a stranger's is touched, and the status says neither more than is true nor what the wire said.

use std::sync::Arc;

use destinations::fakes::FakeAws;
use model::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Between, Boot, Client, GARBAGE, Server, Wire, eventually};

struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the server under test signs by the real time")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_secs(i64::try_from(now.as_secs()).unwrap())
    }
}

const REGION: &str = "eu-west-1";
const STRANGERS: &str = "of somebody else";

/// A server that waits a second for an answer, and a pretend AWS behind a proxy.
struct Setting {
    _server: Server,
    client: Client,
    aws: FakeAws,
    proxy: Between,
}

const AT: &str = "sys/sync/destinations/aws-sm/faulty";

impl Setting {
    async fn new() -> Self {
        let aws = FakeAws::start(Arc::new(RealClock)).await.unwrap();
        let proxy = Between::start(aws.url().strip_prefix("http://").unwrap()).await;
        let server = Boot::dev().env("KEYFERRY_SYNC_CALL_TIMEOUT", "1s").start();
        let client = server.client();
        let config = json!({
            "access_key_id": FakeAws::ACCESS_KEY, "secret_access_key": FakeAws::SECRET_KEY, "region": REGION,
            "endpoint": proxy.url(), "recovery_window_in_days": 0,
            "secret_name_template": "app/{{ .SecretPath }}",
        });
        client.post(AT, config).await.expect(200);
        aws.plant(REGION, "app/theirs", STRANGERS, &[]);
        Self { _server: server, client, aws, proxy }
    }

    async fn write(&self, value: &str) {
        self.client.post("secret/data/s", json!({ "data": { "v": value } })).await.expect(200);
    }

    fn held(&self) -> Option<String> {
        let view = self.aws.view(REGION, "app/s").filter(|view| !view.deleted)?;
        view.value.map(|value| value.expose_text().unwrap().to_owned())
    }

    /// Waits until the association says `word`, and looks at everything it says until then.
    async fn says(&self, word: &str, wanted: Option<&str>, wire: Wire) {
        eventually(&format!("{word} after {wire:?}"), async || {
            let answer = self.client.get(&format!("{AT}/associations")).await;
            assert!(!answer.text.contains(GARBAGE), "{wire:?}: {}", answer.text);
            let data = answer.data();
            let entry: Value = data["associated_secrets"].as_object().unwrap().values().next()?.clone();
            if self.proxy.is_used_up() && entry["sync_status"] == word {
                assert_eq!(self.held().as_deref(), wanted, "{wire:?}: {entry}");
                return Some(());
            }
            None
        })
        .await;
    }

    /// The calls since the last time this was asked, which must be few.
    fn few_calls(&self, wire: Wire, what: &str) {
        let calls = self.aws.all_calls();
        assert!((1..=8).contains(&calls), "{calls} calls for {what} after {wire:?}");
        self.aws.forget_calls();
    }
}

async fn survives(wire: Wire) {
    let setting = Setting::new().await;
    let pair = json!({ "mount": "secret", "secret_name": "s" });
    setting.write("one").await;

    setting.proxy.next(wire);
    setting.client.post(&format!("{AT}/associations/set"), pair).await.expect(200);
    setting.says("SYNCED", Some(r#"{"v":"one"}"#), wire).await;
    setting.few_calls(wire, "a first write");

    setting.proxy.next(wire);
    setting.write("two").await;
    setting.says("SYNCED", Some(r#"{"v":"two"}"#), wire).await;
    setting.few_calls(wire, "a change");

    setting.proxy.next(wire);
    setting.client.delete("secret/data/s").await.expect(204);
    setting.says("UNSYNCED", None, wire).await;
    setting.few_calls(wire, "a removal");

    let theirs = setting.aws.view(REGION, "app/theirs").unwrap();
    assert_eq!((theirs.versions, theirs.deleted), (1, false), "{wire:?}");
    assert_eq!(theirs.value.unwrap().expose_text().unwrap(), STRANGERS, "{wire:?}");
    assert!(theirs.tags.is_empty(), "{wire:?}: {:?}", theirs.tags);
    assert_eq!(setting.aws.names(REGION), ["app/theirs"], "{wire:?}: nothing is left behind");
}

#[tokio::test]
async fn a_request_that_is_cut_in_the_middle_is_made_again() {
    survives(Wire::CutRequest).await;
}

#[tokio::test]
async fn a_lost_answer_leaves_one_value_and_one_secret() {
    survives(Wire::LoseAnswer).await;
}

#[tokio::test]
async fn an_answer_that_is_later_than_the_time_limit_leaves_one_value_and_one_secret() {
    survives(Wire::Delay).await;
}

#[tokio::test]
async fn a_truncated_answer_is_no_answer() {
    survives(Wire::Truncate).await;
}

#[tokio::test]
async fn a_request_that_arrives_twice_does_nothing_twice() {
    survives(Wire::Duplicate).await;
}

#[tokio::test]
async fn what_is_not_http_is_no_answer_and_is_repeated_nowhere() {
    survives(Wire::Garbage).await;
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_no_answer_and_is_repeated_nowhere() {
    survives(Wire::WrongAnswer).await;
}

#[tokio::test]
async fn an_answer_that_drips_is_not_waited_for_beyond_the_time_limit() {
    survives(Wire::Drip).await;
}

/// Sealing gives a destination that does not answer its time; the state is told meanwhile.
#[tokio::test]
async fn while_a_destination_does_not_answer_a_server_being_sealed_says_so_at_once() {
    let setting = Setting::new().await;
    let client = &setting.client;
    setting.write("one").await;
    // Longer than the test needs: the delivery is under way until the server gives it up.
    setting.proxy.next(Wire::Delay);
    setting.proxy.next(Wire::Delay);
    let pair = json!({ "mount": "secret", "secret_name": "s" });
    client.post(&format!("{AT}/associations/set"), pair).await.expect(200);
    let (sealed, told) = tokio::join!(client.post("sys/seal", json!({})), async {
        eventually("sealed", async || {
            let status = client.get("sys/seal-status").await.json();
            (status["sealed"] == true).then_some(status)
        })
        .await
    });
    sealed.expect(204);
    assert_eq!((&told["sealed"], &told["initialized"]), (&json!(true), &json!(true)));
    client.get("secret/data/s").await.expect(503);
}
