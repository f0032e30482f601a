//! Making, unsealing and sealing a store through the API, and what people do with their shares.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use model::{Clock, Entropy, ManualClock, SecretBytes, SeededEntropy, Timestamp};
use serde_json::{Value, json};
use server::{
    app::{
        App, AppParts, NoSignal, Settings,
        core::{Alone, Beside, Core, CoreParts, Opened, Opener, Unsealing},
    },
    http::{Limits, Service},
};
use store::{Backend, GivenKey, Memory, ShareKey, Store};
use tokio::sync::Semaphore;

/// Opens apps, with something beside them that ends when it is told to, or with nothing.
struct Apps(Arc<ManualClock>, Arc<dyn Entropy>, Option<Arc<Semaphore>>);

/// Deliveries to a destination that does not answer: they end when a permit is there.
struct Delivering(Arc<Semaphore>);

#[async_trait]
impl Beside for Delivering {
    async fn close(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Opener for Apps {
    async fn open(&self, store: Store) -> Result<Opened, String> {
        let app = App::new(AppParts {
            net: None,
            store,
            clock: self.0.clone(),
            entropy: Arc::clone(&self.1),
            signal: Arc::new(NoSignal),
            sync: None,
            settings: Settings::default(),
        });
        let beside: Box<dyn Beside> = match &self.2 {
            Some(ends) => Box::new(Delivering(Arc::clone(ends))),
            None => Box::new(Alone),
        };
        Ok(Opened { app: Arc::new(app), beside })
    }
}

struct Bench {
    service: Service,
    core: Arc<Core>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn ok(self) -> Value {
        assert!(matches!(self.status, 200 | 204), "{self:?}");
        self.body
    }

    fn refused(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body["errors"][0].as_str().unwrap_or_default().contains(text), "{self:?}");
    }
}

impl Bench {
    fn over(backend: Arc<dyn Backend>, unsealing: Unsealing) -> Self {
        Self::delivering(backend, unsealing, None)
    }

    fn delivering(backend: Arc<dyn Backend>, unsealing: Unsealing, ends: Option<Arc<Semaphore>>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(11));
        let core = Core::new(CoreParts {
            backend,
            unsealing,
            opener: Arc::new(Apps(Arc::clone(&clock), Arc::clone(&entropy), ends)),
            clock: clock as Arc<dyn Clock>,
            entropy,
            settings: Settings::default(),
        });
        Self { service: Service::new(Arc::clone(&core), Limits::default()), core }
    }

    fn new() -> Self {
        Self::over(Arc::new(Memory::new()), Unsealing::Shares)
    }

    async fn send(&self, method: &str, path: &str, body: Value, token: &str) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("X-Vault-Token", token)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let (parts, body) = self.service.answer(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null, "").await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, body, "").await
    }

    async fn unseal(&self, key: &str) -> Answer {
        self.put("sys/unseal", json!({ "key": key })).await
    }

    async fn unseal_all(&self, keys: &[String]) {
        for key in keys {
            self.unseal(key).await.ok();
        }
        assert_eq!(self.get("sys/seal-status").await.ok()["sealed"], false);
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// A made, sealed store: its shares in hexadecimal digits and its root token.
async fn made(bench: &Bench, shares: u8, threshold: u8) -> (Vec<String>, String) {
    let told =
        bench.put("sys/init", json!({ "secret_shares": shares, "secret_threshold": threshold })).await.ok();
    (texts(&told["keys"]), told["root_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn while_deliveries_end_the_state_is_told_at_once_and_unsealing_says_why_it_must_wait() {
    let ends = Arc::new(Semaphore::new(0));
    let bench =
        Arc::new(Bench::delivering(Arc::new(Memory::new()), Unsealing::Shares, Some(Arc::clone(&ends))));
    let (keys, root) = made(&bench, 3, 2).await;
    bench.unseal_all(&keys[..2]).await;
    let sealing = tokio::spawn({
        let (bench, root) = (Arc::clone(&bench), root.clone());
        async move { bench.send("PUT", "sys/seal", Value::Null, &root).await }
    });
    // It is sealed from the moment on that nothing is served any more, and none of these waits for the rest.
    while bench.get("sys/seal-status").await.ok()["sealed"] == false {
        tokio::task::yield_now().await;
    }
    bench.send("GET", "sys/mounts", Value::Null, &root).await.refused(503, "Vault is sealed");
    assert_eq!(bench.get("sys/health").await.status, 503);
    for key in &keys {
        bench.unseal(key).await.refused(503, "the server is being sealed");
    }
    assert_eq!(bench.put("sys/unseal", json!({ "reset": true })).await.ok()["progress"], 0);
    let status = bench.get("sys/seal-status").await.ok();
    assert_eq!((&status["sealed"], &status["progress"]), (&json!(true), &json!(0)), "no share was taken");
    assert!(!sealing.is_finished(), "deliveries are still under way");

    ends.add_permits(1);
    sealing.await.unwrap().ok();
    bench.unseal_all(&keys[1..]).await;
    bench.send("GET", "sys/mounts", Value::Null, &root).await.ok();
}

#[tokio::test]
async fn who_stops_waiting_for_the_seal_ends_nothing_early() {
    let ends = Arc::new(Semaphore::new(0));
    let bench = Bench::delivering(Arc::new(Memory::new()), Unsealing::Shares, Some(Arc::clone(&ends)));
    let (keys, root) = made(&bench, 1, 1).await;
    bench.unseal_all(&keys).await;
    {
        let mut sealing = std::pin::pin!(bench.send("PUT", "sys/seal", Value::Null, &root));
        while bench.get("sys/seal-status").await.ok()["sealed"] == false {
            tokio::select! {
                biased;
                _ = &mut sealing => panic!("nothing ended the deliveries"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // Two engines never run over one store.
    bench.unseal(&keys[0]).await.refused(503, "the server is being sealed");
    ends.add_permits(1);
    while bench.unseal(&keys[0]).await.status == 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.get("sys/seal-status").await.ok()["sealed"], false);
}

#[tokio::test]
async fn a_store_is_made_once_and_opened_by_enough_shares() {
    let bench = Bench::new();
    assert_eq!(bench.get("sys/init").await.ok(), json!({ "initialized": false }));
    assert_eq!(bench.get("sys/health").await.status, 501);
    assert_eq!(bench.get("sys/health?uninitcode=299").await.status, 299);
    let status = bench.get("sys/seal-status").await.ok();
    assert_eq!(
        (&status["initialized"], &status["sealed"], &status["type"]),
        (&json!(false), &json!(true), &json!("shamir"))
    );
    bench.unseal("00").await.refused(400, "not yet initialized");
    bench.get("secret/data/a").await.refused(503, "Vault is sealed");

    let (keys, root) = made(&bench, 5, 3).await;
    assert_eq!((keys.len(), bench.get("sys/init").await.ok()), (5, json!({ "initialized": true })));
    bench
        .put("sys/init", json!({"secret_shares": 1, "secret_threshold": 1}))
        .await
        .refused(400, "Vault is already initialized");
    assert_eq!(bench.get("sys/health").await.status, 503);
    assert_eq!(bench.get("sys/health?sealedcode=204").await.status, 204);
    bench.get("sys/mounts").await.refused(503, "Vault is sealed");
    bench.get("sys/internal/ui/mounts/secret").await.refused(503, "Vault is sealed");
    bench.get("sys/activation-flags").await.refused(503, "Vault is sealed");

    let first = bench.unseal(&keys[4]).await.ok();
    assert_eq!((&first["progress"], &first["t"], &first["n"]), (&json!(1), &json!(3), &json!(5)));
    assert_ne!(first["nonce"], "");
    assert_eq!(bench.unseal(&keys[4].to_uppercase()).await.ok()["progress"], 1, "one share counts once");
    assert_eq!(bench.unseal(&keys[0]).await.ok()["progress"], 2);
    assert_eq!(bench.put("sys/unseal", json!({"reset": true})).await.ok()["progress"], 0);
    bench.unseal_all(&[keys[4].clone(), keys[0].clone(), keys[2].clone()]).await;
    assert_eq!(bench.get("sys/health").await.status, 200);
    bench.send("GET", "sys/mounts", Value::Null, &root).await.ok();
    assert_eq!(bench.unseal("nonsense").await.ok()["sealed"], false, "what is open stays open");
}

#[tokio::test]
async fn numbers_that_make_no_sense_make_no_store() {
    let bench = Bench::new();
    for (shares, threshold) in [(0, 0), (5, 1), (2, 3), (300, 2), (1, 0)] {
        bench
            .put("sys/init", json!({"secret_shares": shares, "secret_threshold": threshold}))
            .await
            .refused(400, "invalid seal configuration");
    }
    let pgp = json!({"secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["keybase:a"]});
    bench.put("sys/init", pgp).await.refused(400, "pgp_keys");
    let text = json!({"secret_shares": "many", "secret_threshold": 1});
    bench.put("sys/init", text).await.refused(400, "secret_shares");
    assert_eq!(bench.get("sys/init").await.ok(), json!({ "initialized": false }));
    let empty =
        json!({"secret_shares": "1", "secret_threshold": 1, "pgp_keys": [], "root_token_pgp_key": ""});
    bench.put("sys/init", empty).await.ok();
}

#[tokio::test]
async fn wrong_shares_open_nothing_and_say_so_without_repeating_them() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (keys, _) = made(&bench, 3, 2).await;
    other.put("sys/init", json!({"secret_shares": 3, "secret_threshold": 2})).await.ok();
    for (text, why) in
        [("canary!", "valid hex or base64"), ("00ff", "not a share"), (&"0".repeat(4096), "not a share")]
    {
        let refused = bench.unseal(text).await;
        refused.refused(400, why);
        assert!(!refused.body.to_string().contains(text));
    }
    bench.put("sys/unseal", json!({})).await.refused(400, "'key' must be specified");
    bench.unseal(&keys[0]).await.ok();
    let mut forged = keys[1].clone();
    forged.replace_range(10..12, if &forged[10..12] == "00" { "01" } else { "00" });
    bench.unseal(&forged).await.refused(400, "unseal failed");
    assert_eq!(bench.get("sys/seal-status").await.ok()["progress"], 0, "it begins again");
    bench.unseal_all(&keys[..2]).await;
}

#[tokio::test]
async fn base64_shares_serve_as_well() {
    let bench = Bench::new();
    let told = bench.put("sys/init", json!({"secret_shares": 2, "secret_threshold": 2})).await.ok();
    bench.unseal_all(&texts(&told["keys_base64"])).await;
}

#[tokio::test]
async fn sealing_needs_a_right_and_ends_all_access() {
    let bench = Bench::new();
    let (keys, root) = made(&bench, 1, 1).await;
    bench.unseal_all(&keys).await;
    bench.send("PUT", "sys/seal", Value::Null, "nobody").await.refused(403, "permission denied");
    bench.send("POST", "auth/token/create", json!({"policies": ["default"], "id": "weak"}), &root).await.ok();
    bench.send("PUT", "sys/seal", Value::Null, "weak").await.refused(403, "permission denied");
    assert_eq!(bench.send("GET", "sys/seal", Value::Null, &root).await.status, 405);
    assert_eq!(bench.send("PUT", "sys/seal", Value::Null, &root).await.status, 204);
    bench.send("GET", "sys/mounts", Value::Null, &root).await.refused(503, "Vault is sealed");
    bench.unseal_all(&keys).await;
    bench.send("GET", "sys/mounts", Value::Null, &root).await.ok();
    bench.core.close().await;
}

#[tokio::test]
async fn rotation_adds_a_term_and_old_records_stay_readable() {
    let bench = Bench::new();
    let (keys, root) = made(&bench, 1, 1).await;
    bench.unseal_all(&keys).await;
    let call = async |method, path, body| bench.send(method, path, body, &root).await.ok();
    call("POST", "sys/mounts/kv", json!({"type": "kv-v2"})).await;
    call("POST", "kv/data/a", json!({"data": {"k": "v"}})).await;
    let before = call("GET", "sys/key-status", Value::Null).await;
    assert_eq!((&before["data"]["term"], &before["term"]), (&json!(1), &json!(1)));
    call("PUT", "sys/rotate", Value::Null).await;
    assert_eq!(call("GET", "sys/key-status", Value::Null).await["data"]["term"], 2);
    bench.send("PUT", "sys/seal", Value::Null, &root).await.ok();
    bench.unseal_all(&keys).await;
    assert_eq!(call("GET", "kv/data/a", Value::Null).await["data"]["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn rekeying_needs_a_right_and_enough_shares_and_ends_the_old_ones() {
    let bench = Bench::new();
    let (keys, root) = made(&bench, 3, 2).await;
    bench.unseal_all(&keys[..2]).await;
    let call = async |method, path, body| bench.send(method, path, body, &root).await;
    let wish = json!({"secret_shares": 2, "secret_threshold": 2});
    bench.put("sys/rekey/init", wish.clone()).await.refused(403, "permission denied");
    call("PUT", "sys/rekey/update", json!({"key": keys[0]})).await.refused(400, "no rekey in progress");
    call("PUT", "sys/rekey/init", json!({"secret_shares": 2})).await.refused(400, "invalid rekey");
    assert_eq!(call("GET", "sys/rekey/init", Value::Null).await.ok()["started"], false);
    let begun = call("PUT", "sys/rekey/init", wish.clone()).await.ok();
    assert_eq!((&begun["started"], &begun["required"]), (&json!(true), &json!(2)));
    call("PUT", "sys/rekey/init", wish.clone()).await.refused(400, "already in progress");
    let give = async |key: &str, nonce: &Value| {
        call("PUT", "sys/rekey/update", json!({"key": key, "nonce": nonce})).await
    };
    give(&keys[0], &json!("another")).await.refused(400, "incorrect nonce");
    assert_eq!(give(&keys[0], &begun["nonce"]).await.ok()["progress"], 1);
    let done = give(&keys[2], &begun["nonce"]).await.ok();
    assert_eq!(done["complete"], true);
    let new = texts(&done["keys"]);
    call("PUT", "sys/seal", Value::Null).await.ok();
    bench.unseal(&keys[0]).await.ok();
    bench.unseal(&keys[1]).await.refused(400, "unseal failed");
    bench.unseal_all(&new).await;
    // An abandoned attempt leaves all as it was.
    let begun = call("PUT", "sys/rekey/init", wish).await.ok();
    call("DELETE", "sys/rekey/init", Value::Null).await.ok();
    give(&new[0], &begun["nonce"]).await.refused(400, "no rekey in progress");
}

#[tokio::test]
async fn a_root_token_is_made_by_shares_and_veiled() {
    let bench = Bench::new();
    let (keys, root) = made(&bench, 3, 2).await;
    bench.unseal_all(&keys[..2]).await;
    let call = async |method, path, body| bench.send(method, path, body, &root).await;
    bench.put("sys/generate-root/attempt", json!({})).await.refused(403, "permission denied");
    call("PUT", "sys/generate-root/attempt", json!({"otp": "short"})).await.refused(400, "otp must have");
    let begun = call("PUT", "sys/generate-root/attempt", json!({})).await.ok();
    let otp = begun["otp"].as_str().unwrap().as_bytes().to_vec();
    assert_eq!(json!(otp.len()), begun["otp_length"]);
    assert_eq!(call("GET", "sys/generate-root/attempt", Value::Null).await.ok()["otp"], "", "told once");
    let give = async |key: &str| {
        call("PUT", "sys/generate-root/update", json!({"key": key, "nonce": begun["nonce"]})).await
    };
    assert_eq!(give(&keys[1]).await.ok()["progress"], 1);
    let done = give(&keys[0]).await.ok();
    assert_eq!(done["complete"], true);
    let veiled = BASE64_STANDARD_NO_PAD.decode(done["encoded_token"].as_str().unwrap()).unwrap();
    let token: Vec<u8> = veiled.iter().zip(&otp).map(|(a, b)| a ^ b).collect();
    let token = String::from_utf8(token).unwrap();
    assert!(token.starts_with("hvs.") && token != root);
    bench.send("GET", "sys/mounts", Value::Null, &token).await.ok();
}

fn given(byte: u8) -> Unsealing {
    let key = ShareKey::from_bytes(SecretBytes::new(vec![byte; 32])).unwrap();
    Unsealing::Auto(Arc::new(GivenKey::new(key, Arc::new(SeededEntropy::new(3)))))
}

#[tokio::test]
async fn a_key_of_the_machines_opens_the_store_at_start() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let bench = Bench::over(Arc::clone(&backend), given(1));
    bench.core.unseal_by_itself().await;
    assert_eq!(bench.get("sys/init").await.ok(), json!({ "initialized": false }));
    let told = bench.put("sys/init", json!({"recovery_shares": 3, "recovery_threshold": 2})).await.ok();
    assert_eq!((&told["keys"], texts(&told["recovery_keys"]).len()), (&json!([]), 3));
    let root = told["root_token"].as_str().unwrap();
    let status = bench.get("sys/seal-status").await.ok();
    assert_eq!(
        (&status["sealed"], &status["type"], &status["recovery_seal"]),
        (&json!(false), &json!("static"), &json!(true))
    );
    bench.send("GET", "sys/mounts", Value::Null, root).await.ok();
    bench.send("PUT", "sys/seal", Value::Null, root).await.ok();
    bench.unseal(told["recovery_keys"][0].as_str().unwrap()).await.refused(400, "when the server starts");

    let again = Bench::over(Arc::clone(&backend), given(1));
    again.core.unseal_by_itself().await;
    again.send("GET", "sys/mounts", Value::Null, root).await.ok();
    // Recovery shares prove agreement, and open nothing.
    let begun = again.send("PUT", "sys/generate-root/attempt", json!({}), root).await.ok();
    for key in &texts(&told["recovery_keys"])[..2] {
        let body = json!({"key": key, "nonce": begun["nonce"]});
        again.send("PUT", "sys/generate-root/update", body, root).await.ok();
    }
    again
        .send("PUT", "sys/rekey/init", json!({"secret_shares": 1, "secret_threshold": 1}), root)
        .await
        .refused(400, "rekey-recovery-key");

    let wrong = Bench::over(Arc::clone(&backend), given(2));
    wrong.core.unseal_by_itself().await;
    assert_eq!(wrong.get("sys/health").await.status, 503, "another key opens nothing");
    wrong.core.close().await;
    let people = Bench::over(backend, Unsealing::Shares);
    people.unseal(told["recovery_keys"][0].as_str().unwrap()).await.ok();
    people.unseal(told["recovery_keys"][1].as_str().unwrap()).await.refused(400, "unseal failed");
}
