//! Saving and restoring the whole store through the API.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use model::{Clock, Entropy, ManualClock, SecretBytes, SeededEntropy, Timestamp};
use serde_json::{Value, json};
use server::{
    app::{
        App, AppParts, NoSignal, Settings,
        core::{Alone, Core, CoreParts, Opened, Opener, Unsealing},
    },
    http::{Limits, Service},
};
use store::{Backend, GivenKey, Memory, ShareKey, Store};
use tempfile::TempDir;

struct Apps(Arc<ManualClock>, Arc<dyn Entropy>);

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
        Ok(Opened { app: Arc::new(app), beside: Box::new(Alone) })
    }
}

/// A server over a store of its own, open, with `secret/` mounted.
struct Bench {
    service: Service,
    core: Arc<Core>,
    backend: Arc<dyn Backend>,
    token: String,
    _dir: TempDir,
}

impl Bench {
    async fn new(seed: u64, unsealing: Unsealing) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let shared = matches!(unsealing, Unsealing::Shares);
        let core = Core::new(CoreParts {
            backend: Arc::clone(&backend),
            unsealing,
            opener: Arc::new(Apps(Arc::clone(&clock), Arc::clone(&entropy))),
            clock: clock as Arc<dyn Clock>,
            entropy,
            settings: Settings::default(),
        });
        let dir = TempDir::new().unwrap();
        let limits = Limits { spool: Some(dir.path().to_owned()), body: 4096, ..Limits::default() };
        let made = core.make(1, 1, Some(SecretBytes::from("root"))).await.unwrap();
        if shared {
            core.unseal_by(&made.shares).await.unwrap();
        } else {
            core.unseal_by_itself().await;
        }
        let service = Service::new(Arc::clone(&core), limits);
        let bench = Self { service, core, backend, token: "root".into(), _dir: dir };
        assert_eq!(bench.post("sys/mounts/secret", &json!({ "type": "kv-v2" })).await.0, 204);
        bench
    }

    async fn shared(seed: u64) -> Self {
        Self::new(seed, Unsealing::Shares).await
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: Vec<u8>) -> (u16, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("X-Vault-Token", token)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let (parts, body) = self.service.answer(request).await.into_parts();
        (parts.status.as_u16(), body.collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.send(&self.token, "GET", path, vec![]).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let (status, body) = self.send(&self.token, "POST", path, body).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn write(&self, value: &str) {
        let (status, _) = self.post("secret/data/a", &json!({ "data": { "k": value } })).await;
        assert_eq!(status, 200);
    }

    async fn value(&self) -> Value {
        self.get("secret/data/a").await.1["data"]["data"]["k"].take()
    }

    async fn save(&self) -> Vec<u8> {
        let (status, body) = self.send(&self.token, "GET", "sys/storage/raft/snapshot", vec![]).await;
        assert_eq!(status, 200);
        body.to_vec()
    }

    async fn restore(&self, snapshot: &[u8], how: &str) -> (u16, String) {
        let path = format!("sys/storage/raft/{how}");
        let (status, body) = self.send(&self.token, "POST", &path, snapshot.to_vec()).await;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, body["errors"][0].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_restored_server_serves_what_was_saved() {
    let bench = Bench::shared(1).await;
    bench.write("one").await;
    let snapshot = bench.save().await;
    assert!(snapshot.len() > 4096, "larger than any other body may be");
    bench.write("two").await;
    assert_eq!(bench.restore(&snapshot, "snapshot").await, (204, String::new()));
    assert_eq!(bench.value().await, "one");
    bench.write("three").await;
    assert_eq!(bench.get("secret/data/a").await.1["data"]["metadata"]["version"], 2);
    // Again, and by force, which needs none here.
    assert_eq!(bench.restore(&snapshot, "snapshot-force").await.0, 204);
    assert_eq!(bench.value().await, "one");
}

#[tokio::test]
async fn a_broken_snapshot_changes_nothing_and_the_server_goes_on() {
    let bench = Bench::shared(1).await;
    bench.write("one").await;
    let snapshot = bench.save().await;
    bench.write("two").await;
    let mut flipped = snapshot.clone();
    flipped[snapshot.len() / 2] ^= 1;
    let half = &snapshot[..snapshot.len() / 2];
    for (bytes, word) in
        [(&flipped[..], "damaged"), (half, "ends early"), (b"hunter2", "not a keyferry snapshot")]
    {
        let (status, text) = bench.restore(bytes, "snapshot").await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("not restored") && text.contains(word), "{text}");
    }
    assert_eq!(bench.restore(b"", "snapshot").await.0, 400);
    assert_eq!(bench.value().await, "two");
}

#[tokio::test]
async fn another_stores_snapshot_is_refused_and_says_what_to_do() {
    let (ours, theirs) = (Bench::shared(1).await, Bench::shared(2).await);
    theirs.write("theirs").await;
    ours.write("ours").await;
    let snapshot = theirs.save().await;
    let (status, text) = ours.restore(&snapshot, "snapshot").await;
    assert_eq!(status, 400);
    assert!(text.contains("another root key") && text.contains("snapshot-force"), "{text}");
    // People hold the other key's shares, so the server cannot have it.
    let (status, text) = ours.restore(&snapshot, "snapshot-force").await;
    assert_eq!(status, 400);
    assert!(text.contains("keyferry restore"), "{text}");
    assert_eq!(ours.value().await, "ours");
}

#[tokio::test]
async fn a_store_kept_by_the_same_service_takes_anothers_place_by_force() {
    let unsealing = || {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(77));
        let key = ShareKey::from_bytes(SecretBytes::new(vec![9; 32])).unwrap();
        Unsealing::Auto(Arc::new(GivenKey::new(key, entropy)))
    };
    let (ours, theirs) = (Bench::new(1, unsealing()).await, Bench::new(2, unsealing()).await);
    theirs.write("theirs").await;
    ours.write("ours").await;
    let snapshot = theirs.save().await;
    assert_eq!(ours.restore(&snapshot, "snapshot").await.0, 400);
    assert_eq!(ours.restore(&snapshot, "snapshot-force").await, (204, String::new()));
    assert_eq!(ours.value().await, "theirs");
    ours.core.close().await;
    ours.core.unseal_by_itself().await;
    assert_eq!(ours.value().await, "theirs", "it opens by itself again");
}

#[tokio::test]
async fn shares_that_were_withdrawn_since_stay_withdrawn() {
    let bench = Bench::shared(1).await;
    let snapshot = bench.save().await;
    let before = store::Guard::read(bench.backend.as_ref()).await.unwrap().unwrap().0;
    let guard = store::Guard { threshold: before.threshold, ..before.clone() };
    let (_, revision) = store::Guard::read(bench.backend.as_ref()).await.unwrap().unwrap();
    let changed = store::Guard { proof: vec![1], ..guard };
    changed.replace(bench.backend.as_ref(), revision).await.unwrap();
    assert_eq!(bench.restore(&snapshot, "snapshot").await.0, 204);
    let (after, _) = store::Guard::read(bench.backend.as_ref()).await.unwrap().unwrap();
    assert_eq!(after, changed);
}

#[tokio::test]
async fn only_whoever_may_saves_and_restores() {
    let bench = Bench::shared(1).await;
    let policy = |rules: &str| json!({ "policy": rules });
    let rules = [
        ("saver", r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#),
        ("restorer", r#"path "sys/storage/raft/snapshot" { capabilities = ["update"] }"#),
        ("weak", r#"path "sys/storage/raft/snapshot-force" { capabilities = ["update"] }"#),
        ("strong", r#"path "sys/storage/raft/snapshot-force" { capabilities = ["update", "sudo"] }"#),
    ];
    let mut tokens = Vec::new();
    for (name, rules) in rules {
        assert_eq!(bench.post(&format!("sys/policies/acl/{name}"), &policy(rules)).await.0, 204);
        let body = json!({ "policies": [name], "no_default_policy": true, "id": format!("t-{name}") });
        let (status, made) = bench.post("auth/token/create", &body).await;
        assert_eq!(status, 200, "{made}");
        tokens.push(format!("t-{name}"));
    }
    let snapshot = bench.save().await;
    let [saver, restorer, weak, strong] = &tokens[..] else { panic!() };
    let (get, post) = ("sys/storage/raft/snapshot", "sys/storage/raft/snapshot-force");
    let tried = [
        (saver, "GET", get, 200),
        (saver, "POST", get, 403),
        (restorer, "GET", get, 403),
        (weak, "POST", post, 403),
        (restorer, "POST", post, 403),
        (strong, "POST", get, 403),
        (strong, "POST", post, 204),
        (restorer, "POST", get, 204),
    ];
    for (token, method, path, status) in tried {
        let body = if method == "POST" { snapshot.clone() } else { vec![] };
        assert_eq!(bench.send(token, method, path, body).await.0, status, "{token} {method} {path}");
    }
    let (status, _) = bench.send("nobody", "POST", get, snapshot).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_sealed_server_neither_saves_nor_restores() {
    let bench = Bench::shared(1).await;
    let snapshot = bench.save().await;
    assert_eq!(bench.post("sys/seal", &Value::Null).await.0, 204);
    assert_eq!(bench.get("sys/storage/raft/snapshot").await.0, 503);
    assert_eq!(bench.restore(&snapshot, "snapshot").await.0, 503);
}
