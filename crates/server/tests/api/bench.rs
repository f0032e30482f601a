//! A server under test: memory store, a clock that stands still, repeatable ids.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use destinations::{Net, NetSettings, net::Snapshot};
use http_body_util::{BodyExt as _, Full};
use model::{DestinationId, ManualClock, SecretBytes, SeededEntropy, Timestamp};
use serde_json::{Map, Value};
use server::{
    app::{
        App, AppParts, Settings, SyncSignal,
        audit::{Audit, Device},
        core::Core,
        tokens,
    },
    http::{Limits, Service},
    metrics::Metrics,
};
use store::{Memory, Node, RootKey, Store};

pub(crate) const ROOT: &str = "root";
pub(crate) const MERGE_PATCH: (&str, &str) = ("Content-Type", "application/merge-patch+json");

/// 2023-09-20T14:51:53.961861Z.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_695_221_513_961_861_000);

/// Remembers what it was told.
#[derive(Default)]
pub(crate) struct Signals(pub(crate) Mutex<Vec<(DestinationId, Node)>>);

impl SyncSignal for Signals {
    fn pending(&self, destination: DestinationId, source: Node) {
        self.0.lock().unwrap().push((destination, source));
    }
}

#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) app: Arc<App>,
    pub(crate) service: Service,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) signals: Arc<Signals>,
}

impl Bench {
    /// With a root token called `root` and nothing mounted.
    pub(crate) async fn bare() -> Self {
        Self::with(Limits::default(), Settings::default()).await
    }

    pub(crate) async fn with(limits: Limits, settings: Settings) -> Self {
        Self::audited(limits, settings, &[]).await
    }

    /// With audit devices.
    pub(crate) async fn audited(limits: Limits, settings: Settings, devices: &[Arc<Device>]) -> Self {
        let entropy = Arc::new(SeededEntropy::new(7));
        let clock = Arc::new(ManualClock::new(NOW));
        let root = RootKey::random(entropy.as_ref());
        let backend = Arc::new(Memory::new());
        let store = Store::init(backend, &root, clock.as_ref(), entropy.clone()).await.unwrap();
        let id = Some(SecretBytes::from(ROOT));
        tokens::create_root(&store, clock.as_ref(), entropy.as_ref(), id).await.unwrap();
        Self::over(store, clock, entropy, limits, settings, devices).await
    }

    /// The same store served anew, with these audit devices.
    pub(crate) async fn reopened(&self, devices: &[Arc<Device>]) -> Self {
        let entropy = Arc::new(SeededEntropy::new(8));
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Self::over(store, clock, entropy, Limits::default(), Settings::default(), devices).await
    }

    async fn over(
        store: Store,
        clock: Arc<ManualClock>,
        entropy: Arc<SeededEntropy>,
        limits: Limits,
        settings: Settings,
        devices: &[Arc<Device>],
    ) -> Self {
        let signals = Arc::new(Signals::default());
        let net =
            NetSettings { system_roots: false, allow_private_networks: false, ..NetSettings::default() };
        let environment = Arc::new(Snapshot::default());
        let net = Net::new(net, environment, clock.clone(), entropy.clone()).unwrap();
        let audit = Audit::open(&store, entropy.as_ref(), devices).await.unwrap();
        let app = App::new(AppParts {
            store: store.clone(),
            clock: clock.clone(),
            entropy,
            signal: signals.clone(),
            sync: None,
            net: Some(net),
            settings,
        });
        let app = Arc::new(app.with_metrics(Metrics::new(NOW)).with_audit(audit));
        let service = Service::new(Core::of(app.clone()), limits);
        Self { app, service, store, clock, signals }
    }

    /// With `secret/` as KV v2 besides.
    pub(crate) async fn new() -> Self {
        let bench = Self::bare().await;
        assert_eq!(bench.post("sys/mounts/secret", r#"{"type":"kv-v2"}"#).await.status, 204);
        bench
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn list(&self, path: &str) -> Answer {
        self.call("LIST", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "").await
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> Answer {
        self.send("PATCH", path, body, &[("X-Vault-Token", ROOT), MERGE_PATCH]).await
    }

    /// As root.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.as_token(ROOT, method, path, body).await
    }

    pub(crate) async fn as_token(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, body, &[("X-Vault-Token", token)]).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.send_from("127.0.0.1", method, path, body, headers).await
    }

    /// From an address.
    pub(crate) async fn send_from(
        &self,
        address: &str,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let remote = std::net::SocketAddr::new(address.parse().unwrap(), 4711);
        let mut request =
            http::Request::builder().method(method).uri(format!("/v1/{path}")).extension(remote);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        Answer::of(self.service.answer(request.body(body).unwrap()).await).await
    }

    /// A new token with these policies.
    pub(crate) async fn token(&self, fields: &str) -> String {
        let answer = self.post("auth/token/create", fields).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Writes a policy.
    pub(crate) async fn policy(&self, name: &str, text: &str) {
        let body = serde_json::json!({ "policy": text }).to_string();
        let answer = self.call("PUT", &format!("sys/policies/acl/{name}"), &body).await;
        assert_eq!(answer.status, 204, "{answer}");
    }

    /// A new token of one policy and nothing else.
    pub(crate) async fn token_of(&self, policy: &str) -> String {
        self.token(&format!(r#"{{"policies":["{policy}"],"no_default_policy":true}}"#)).await
    }

    /// Logs in; the token.
    pub(crate) async fn login(&self, path: &str, body: &str) -> String {
        let answer = self.as_token("", "POST", path, body).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// A place for an association's records: the id of a destination that is linked with a secret.
    pub(crate) async fn link(&self, accessor: &model::MountAccessor, path: &str) -> (DestinationId, Node) {
        let destination = DestinationId::random(&SeededEntropy::new(path.len() as u64));
        let keys = self.store.keys();
        let source = keys.secret(keys.mount(accessor), &model::SecretPath::parse(path).unwrap());
        let mut transaction = self.store.transaction();
        let links = store::records::Links { destinations: vec![destination] };
        transaction.put(&keys.links(source), &links);
        transaction.commit().await.unwrap();
        (destination, source)
    }

    pub(crate) async fn accessor(&self, mount: &str) -> model::MountAccessor {
        let table = self.store.get(&self.store.keys().mounts()).await.unwrap().unwrap().record;
        let mount = table.mounts.into_iter().find(|m| m.path.bare() == mount).unwrap();
        mount.accessor
    }
}

/// An answer. Printed as status and body, the parts of the envelope that say nothing left out and
/// ids replaced.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of<B>(response: http::Response<B>) -> Self
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Self { status: parts.status.as_u16(), headers: parts.headers, body };
        assert_eq!(answer.headers["cache-control"], "no-store");
        if !answer.body.is_empty() {
            assert_eq!(answer.headers["content-type"], "application/json");
            // Whatever is answered is JSON.
            answer.json();
        }
        answer
    }

    pub(crate) fn json(&self) -> Value {
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        reader.disable_recursion_limit();
        let json = serde::Deserialize::deserialize(&mut reader).unwrap();
        reader.end().unwrap();
        json
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let json = self.json();
        let keys = json["data"]["keys"].as_array();
        keys.into_iter().flatten().map(|key| key.as_str().unwrap().to_owned()).collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.body.is_empty() {
            return Ok(());
        }
        let mut json = self.json();
        if let Value::Object(members) = &mut json
            && members.contains_key("request_id")
        {
            drop_dull_parts(members);
        }
        redact(&mut json);
        write!(f, " {json}")
    }
}

/// Every envelope has all its keys; most say nothing.
fn drop_dull_parts(envelope: &mut Map<String, Value>) {
    assert_eq!(envelope.remove("lease_id"), Some(Value::from("")));
    assert_eq!(envelope.remove("renewable"), Some(Value::from(false)));
    assert_eq!(envelope.remove("wrap_info"), Some(Value::Null));
    assert!(envelope.contains_key("mount_type") && envelope.contains_key("lease_duration"));
    if envelope["lease_duration"] == 0 {
        envelope.remove("lease_duration");
    }
    for name in ["data", "auth", "warnings"] {
        if envelope[name].is_null() {
            envelope.remove(name);
        }
    }
}

/// Replaces ids, having looked at their form.
fn redact(json: &mut Value) {
    match json {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                let Value::String(text) = value else {
                    redact(value);
                    continue;
                };
                let is_uuid = text.len() == 36 && text.matches('-').count() == 4;
                match name.as_str() {
                    "request_id" | "uuid" | "cluster_id" | "migration_id" if is_uuid => {
                        "[uuid]".clone_into(text);
                    }
                    "accessor" if text.contains('_') => {
                        let at = text.rfind('_').unwrap();
                        assert_eq!(text.len() - at, 9);
                        text.replace_range(at + 1.., "[hex]");
                    }
                    "accessor" if text.len() == 24 => "[accessor]".clone_into(text),
                    "client_token" | "id" if text.starts_with("hvs.") => "[token]".clone_into(text),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}
