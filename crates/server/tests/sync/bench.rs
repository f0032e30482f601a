//! A server without sockets over a memory store, with an engine and a destination in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use destinations::{
    Kind, Net, NetSettings,
    in_mem::{InMem, Space},
    net::Snapshot,
};
use engine::{Engine, IdentityIssuer, KvSource, Parts};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use model::{Clock, Entropy, SeededEntropy, Timestamp};
use serde_json::{Value, json};
use server::{
    app::{App, AppParts, Settings, SourceRights, SyncApi, SyncSettings, core::Core, tokens},
    http::{Limits, Service},
    metrics::Metrics,
};
use store::{Memory, RootKey, Store};
use tokio::time::Instant;

/// Wall-clock time that follows tokio's, so that a paused test moves both.
pub(crate) struct TokioClock(pub(crate) Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.0.elapsed())
    }
}

pub(crate) struct Bench {
    pub(crate) app: Arc<App>,
    service: Service,
    in_mem: &'static InMem,
    root: String,
    pub(crate) powerless: String,
    pub(crate) accessor: String,
    folder: tempfile::TempDir,
    said: Mutex<String>,
}

/// An answer with what changes from run to run made equal.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn errors(status: u16, errors: &[&str]) -> Self {
        Self { status, body: json!({ "errors": errors }) }
    }

    pub(crate) fn ok(&self) {
        assert!(matches!(self.status, 200 | 204), "{self:?}");
    }

    pub(crate) fn data(&self) -> Value {
        self.ok();
        self.body["data"].clone()
    }

    pub(crate) fn text(&self) -> String {
        self.body["errors"][0].as_str().unwrap_or_default().to_owned()
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(SyncSettings::default()).await
    }

    pub(crate) async fn with(sync: SyncSettings) -> Self {
        Self::build(sync, keeper::Options::default(), false).await
    }

    /// With `sync.continuous_authorisation`.
    pub(crate) async fn watched() -> Self {
        Self::build(SyncSettings::default(), keeper::Options::default(), true).await
    }

    pub(crate) async fn made(sync: SyncSettings, keeper: keeper::Options) -> Self {
        Self::build(sync, keeper, false).await
    }

    async fn build(sync: SyncSettings, keeper: keeper::Options, watched: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock(Instant::now()));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let key = RootKey::random(entropy.as_ref());
        let store =
            Store::init(Arc::new(Memory::new()), &key, clock.as_ref(), Arc::clone(&entropy)).await.unwrap();
        let root = tokens::create_root(&store, clock.as_ref(), entropy.as_ref(), None).await.unwrap();
        let in_mem: &'static InMem = Box::leak(Box::new(InMem::new()));
        // Every kind there is, but with a memory of this bench's own.
        let own = |kind: &'static dyn Kind| -> &'static dyn Kind {
            if kind.slug() == in_mem.slug() { in_mem } else { kind }
        };
        let settings = NetSettings { system_roots: false, ..NetSettings::default() };
        let net = Net::new(settings, Arc::new(Snapshot::default()), Arc::clone(&clock), Arc::clone(&entropy))
            .unwrap();
        let engine = Engine::new(Parts {
            store: store.clone(),
            source: Arc::new(KvSource::new(store.clone(), Arc::clone(&clock))),
            kinds: destinations::kinds().iter().map(|kind| own(*kind)).collect(),
            net: Arc::clone(&net),
            identity: Some(Arc::new(IdentityIssuer::new(
                store.clone(),
                Arc::clone(&clock),
                Arc::clone(&entropy),
                "https://keyferry.example",
            ))),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            settings: engine::Settings::default(),
        });
        if watched {
            engine.authorise_by(Arc::new(SourceRights::new(store.clone())));
        }
        let metrics = Metrics::new(clock.now());
        engine.observe(metrics.clone());
        engine.start().await.unwrap();
        let app = App::new(AppParts {
            net: Some(net),
            store: store.clone(),
            clock,
            entropy,
            signal: Arc::new(engine.clone()),
            sync: Some(SyncApi::new(engine, store, sync)),
            settings: Settings::default(),
        });
        let app = Arc::new(app.with_keeper(keeper).with_metrics(metrics));
        let mut bench = Self {
            service: Service::new(Core::of(Arc::clone(&app)), Limits::default()),
            app,
            in_mem,
            root: root.expose_text().unwrap().to_owned(),
            powerless: String::new(),
            accessor: String::new(),
            folder: tempfile::tempdir().unwrap(),
            said: Mutex::default(),
        };
        bench.raw("POST", "sys/mounts/my-kv", r#"{"type":"kv-v2"}"#).await.ok();
        let mount = bench.get("sys/mounts/my-kv").await.data();
        mount["accessor"].as_str().unwrap().clone_into(&mut bench.accessor);
        let made = bench.post("auth/token/create", json!({ "policies": ["default"] })).await;
        made.body["auth"]["client_token"].as_str().unwrap().clone_into(&mut bench.powerless);
        bench
    }

    /// The root token.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Asks until the status of a destination's one association is this one.
    pub(crate) async fn becomes(&self, destination: &str, status: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..600 {
            let data = self.get(&format!("{destination}/associations")).await.data();
            last = data["associated_secrets"].as_object().unwrap().values().next().unwrap().clone();
            if last["sync_status"] == status {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never became {status}: {last}");
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str, token: Option<&str>) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("http://127.0.0.1/v1/{path}"));
        if let Some(token) = token {
            request = request.header("X-Vault-Token", token);
        }
        request = request.header(
            "Content-Type",
            // curl's --data says so of whatever it sends, the founding page's samples included.
            if method == "PATCH" {
                "application/merge-patch+json"
            } else {
                "application/x-www-form-urlencoded"
            },
        );
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = self.service.answer(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        if !path.contains("/data/") {
            self.said.lock().unwrap().push_str(text);
        }
        let mut body = if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap() };
        make_equal(&mut body);
        Reply { status, body }
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(method, path, body, Some(&self.root)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.raw("POST", path, &body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.raw("GET", path, "").await
    }

    pub(crate) async fn get_without_token(&self, path: &str) -> Reply {
        self.send("GET", path, "", None).await
    }

    pub(crate) async fn list(&self, path: &str) -> Reply {
        self.raw("LIST", path, "").await
    }

    /// The destination's memory.
    pub(crate) fn space(&self) -> Arc<Space> {
        self.in_mem.space("")
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.space().entry(name).map(|entry| entry.value.expose_text().unwrap().to_owned())
    }

    /// The statuses of a destination's associations, once nothing is under way.
    pub(crate) async fn statuses(&self, destination: &str) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let data = self.get(&format!("{destination}/associations")).await.data();
        let entries = data["associated_secrets"].as_object().unwrap().values();
        entries.map(|entry| entry["sync_status"].as_str().unwrap().to_owned()).collect()
    }

    /// A file that a `file` destination may write.
    pub(crate) fn file(&self) -> String {
        self.folder.path().join("secrets.json").to_str().unwrap().to_owned()
    }

    /// All answers so far, but those to reads and writes of secrets.
    pub(crate) fn everything_said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

fn make_equal(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        match name.as_str() {
            "request_id" => *member = json!("uuid"),
            "updated_at" => *member = json!("time"),
            _ => make_equal(member),
        }
    }
}
