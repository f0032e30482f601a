//! Google Secret Manager: our pretend service, Google's own description of the API in front of a small
//! service (google/run.py), and the real one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use destinations::{
    Kind, NetSettings,
    fakes::{FakeGcp, Trouble},
    jwt::SigningKey,
    kinds,
    net::{Client, Effect, Policy, Snapshot},
};
use http::{Method, header};
use model::Clock;
use serde_json::{Value, json};

use crate::bench::{Backdoor, Bench, Call, Need, Part, Setting, SystemClock, missing, net_of, variable};

/// What every part can.
const COMMON: &[Need] =
    &[Need::Marks, Need::Tags, Need::Handles, Need::Versions, Need::Binary, Need::NoEmpty];

pub(crate) fn parts() -> Vec<Part> {
    let outside = |name, setting| Part { kind: "gcp-sm", name, setting, able: COMMON };
    vec![
        Part {
            kind: "gcp-sm",
            name: "fake",
            setting: Setting::There(Arc::new(|| Box::pin(fake()))),
            able: &[
                Need::Marks,
                Need::Tags,
                Need::Handles,
                Need::Versions,
                Need::Binary,
                Need::NoEmpty,
                Need::Troubles,
                Need::Calls,
                Need::Credentials,
            ],
        },
        outside("google", google()),
        outside("real", real()),
    ]
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "gcp-sm").unwrap()
}

/// No two trials share a name, also where they share a service, and over several runs.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("keyferry-contract_{run}-{next}_")
}

fn settings(url: &str, credentials: &str) -> Value {
    json!({"endpoint": url, "credentials": credentials})
}

async fn fake() -> Bench {
    let fake = Arc::new(FakeGcp::start(Arc::new(SystemClock)).await.unwrap());
    Bench {
        kind: kind(),
        settings: settings(&fake.url(), &fake.credentials()),
        wrong: settings(&fake.url(), &fake.stale_credentials()),
        back: Arc::new(FakeBackdoor { fake: Arc::clone(&fake), told: AtomicUsize::new(0) }),
        prefix: prefix(),
        patient: false,
        keep: Box::new(fake),
    }
}

/// Google's description of the API. It looks at no tokens; ours come from the pretend token service.
fn google() -> Setting {
    let Some(url) = variable("KEYFERRY_TEST_GOOGLE") else {
        return missing("KEYFERRY_TEST_GOOGLE is not set");
    };
    Setting::There(Arc::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let tokens = FakeGcp::start(Arc::new(SystemClock)).await.unwrap();
            let settings = settings(&url, &tokens.credentials());
            Bench {
                kind: kind(),
                wrong: settings.clone(),
                settings,
                back: Arc::new(Probe::new(&url, FakeGcp::PROJECT, String::new())),
                prefix: prefix(),
                patient: false,
                keep: Box::new(tokens),
            }
        })
    }))
}

/// A real project, by a service account's key that may do everything there.
fn real() -> Setting {
    let Some(credentials) = variable("KEYFERRY_TEST_REAL_GCP_CREDENTIALS") else {
        return Setting::Missing("KEYFERRY_TEST_REAL_GCP_CREDENTIALS is not set");
    };
    Setting::There(Arc::new(move || {
        let credentials = credentials.clone();
        Box::pin(async move {
            let account: Value = serde_json::from_str(&credentials).unwrap();
            let url = "https://secretmanager.googleapis.com";
            let token = Probe::new(url, "", String::new()).token(&account).await;
            let settings = json!({ "credentials": credentials });
            Bench {
                kind: kind(),
                wrong: settings.clone(),
                settings,
                back: Arc::new(Probe::new(url, account["project_id"].as_str().unwrap(), token)),
                prefix: prefix(),
                patient: false,
                keep: Box::new(()),
            }
        })
    }))
}

/// Speaks to the service on its own.
struct Probe {
    client: Client,
    base: String,
    token: String,
}

impl Probe {
    fn new(url: &str, project: &str, token: String) -> Self {
        let system_roots = url.starts_with("https");
        let net = net_of(NetSettings { system_roots, ..NetSettings::default() }, Snapshot::default());
        let base = format!("{url}/v1/projects/{project}/secrets");
        Self { client: net.client(&Policy::default()), base, token }
    }

    /// A token for a service account, as Google's documentation has it.
    async fn token(&self, account: &Value) -> String {
        let key = SigningKey::from_pem(account["private_key"].as_str().unwrap().as_bytes()).unwrap();
        let now = SystemClock.now().as_secs();
        let claims = json!({"iss": account["client_email"], "aud": account["token_uri"], "iat": now,
            "exp": now + 3600, "scope": "https://www.googleapis.com/auth/cloud-platform"});
        let statement = key.sign(account["private_key_id"].as_str(), &claims).unwrap();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", statement.expose_text().unwrap())
            .finish();
        let request = http::Request::post(account["token_uri"].as_str().unwrap())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        let answer = self.client.call(request, Effect::Read).await.unwrap();
        let granted: Value = serde_json::from_slice(answer.body.expose()).unwrap();
        granted["access_token"].as_str().unwrap().to_owned()
    }

    /// One call. `None` when the service refuses it.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default())
            .unwrap();
        let answer = self.client.call(request, Effect::Write).await.unwrap();
        answer.status.is_success().then(|| serde_json::from_slice(answer.body.expose()).unwrap())
    }

    async fn all_versions(&self, name: &str) -> Option<Vec<Value>> {
        let page = self.call(Method::GET, &format!("/{name}/versions"), None).await?;
        Some(page["versions"].as_array().cloned().unwrap_or_default())
    }
}

fn number(version: &Value) -> u64 {
    version["name"].as_str().unwrap().rsplit_once('/').unwrap().1.parse().unwrap()
}

#[async_trait]
impl Backdoor for Probe {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let versions = self.all_versions(name).await?;
        let enabled = versions.iter().filter(|version| version["state"] == "ENABLED");
        let newest = enabled.map(number).max()?;
        let path = format!("/{name}/versions/{newest}:access");
        let accessed = self.call(Method::GET, &path, None).await?;
        Some(BASE64_STANDARD.decode(accessed["payload"]["data"].as_str().unwrap()).unwrap())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.take_away(name).await;
        let path = format!("?secretId={name}");
        self.call(Method::POST, &path, Some(json!({"replication": {"automatic": {}}}))).await.unwrap();
        let payload = json!({"payload": {"data": BASE64_STANDARD.encode(value)}});
        self.call(Method::POST, &format!("/{name}:addVersion"), Some(payload)).await.unwrap();
    }

    async fn take_away(&self, name: &str) {
        self.call(Method::DELETE, &format!("/{name}"), None).await;
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        let Some(secret) = self.call(Method::GET, &format!("/{name}"), None).await else {
            return BTreeMap::new();
        };
        serde_json::from_value(secret["labels"].clone()).unwrap_or_default()
    }

    fn kept(&self, text: &str) -> String {
        kept(text)
    }

    async fn versions(&self, name: &str) -> usize {
        self.all_versions(name).await.map_or(0, |versions| versions.len())
    }
}

/// How a label keeps the tags of the trials.
fn kept(text: &str) -> String {
    text.replace([' ', ':'], "_")
}

struct FakeBackdoor {
    fake: Arc<FakeGcp>,
    told: AtomicUsize,
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.fake.view(name)?.value.map(|value| value.expose().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.fake.plant(name, value, &[]);
    }

    async fn take_away(&self, name: &str) {
        self.fake.take_away(name);
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.fake.view(name).map(|view| view.labels).unwrap_or_default()
    }

    fn kept(&self, text: &str) -> String {
        kept(text)
    }

    async fn versions(&self, name: &str) -> usize {
        self.fake.view(name).map_or(0, |view| view.versions.len())
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create => "create",
            Call::Update => "addVersion",
            Call::Remove => "delete",
            Call::Look => "get",
        };
        let in_googles_words = |trouble| match trouble {
            Trouble::Refuse("ThrottlingException", _) => Trouble::Refuse("RESOURCE_EXHAUSTED", 429),
            trouble => trouble,
        };
        self.fake.trouble(operation, troubles.into_iter().map(in_googles_words));
    }

    fn costs(&self) -> (usize, usize) {
        (2, 2)
    }

    fn calls(&self) -> usize {
        let all = self.fake.all_calls();
        all - self.told.swap(all, Ordering::Relaxed)
    }
}
