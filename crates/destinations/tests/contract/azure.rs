//! Azure Key Vault: our pretend vault, and a real one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use destinations::{
    Destination, Fault, Held, Kind, NetSettings, Put, PutOutcome, Remote, Remove,
    fakes::{FakeAzure, Trouble},
    kinds,
    net::{Client, Effect, Policy, Snapshot},
};
use model::RemoteName;
use serde_json::{Value, json};

use crate::bench::{Backdoor, Bench, Call, Need, Part, Setting, SystemClock, net_of, variable};

/// What every part can. Secrets have no identity but their name.
const COMMON: &[Need] =
    &[Need::Marks, Need::Tags, Need::Recovery, Need::Versions, Need::Writes, Need::Binary, Need::Empty];

pub(crate) fn parts() -> Vec<Part> {
    vec![
        Part {
            kind: "azure-kv",
            name: "fake",
            setting: Setting::There(Arc::new(|| Box::pin(fake()))),
            able: &[
                Need::Marks,
                Need::Tags,
                Need::Recovery,
                Need::Versions,
                Need::Writes,
                Need::Binary,
                Need::Empty,
                Need::Troubles,
                Need::Calls,
                Need::Credentials,
            ],
        },
        // The same, taking its time as Azure does, and seen only through its interface.
        Part {
            kind: "azure-kv",
            name: "slow-fake",
            setting: Setting::There(Arc::new(|| Box::pin(slow_fake()))),
            able: COMMON,
        },
        Part { kind: "azure-kv", name: "real", setting: real(), able: COMMON },
    ]
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "azure-kv").unwrap()
}

/// No two trials share a name, also where they share a vault, and over several runs: a name stays taken
/// for months in a vault that is protected from purging.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("kf-{run}-{next}-")
}

fn settings(fake: &FakeAzure, secret: &str) -> Value {
    json!({"key_vault_uri": FakeAzure::VAULT, "endpoint": fake.url(), "auth_endpoint": fake.url(),
        "tenant_id": FakeAzure::TENANT, "client_id": FakeAzure::CLIENT_ID, "client_secret": secret})
}

async fn slow_fake() -> Bench {
    let fake = FakeAzure::start(Arc::new(SystemClock)).await.unwrap();
    fake.set_limbo(Duration::from_secs(1));
    as_real(settings(&fake, FakeAzure::CLIENT_SECRET), Box::new(fake)).await
}

async fn fake() -> Bench {
    let fake = Arc::new(FakeAzure::start(Arc::new(SystemClock)).await.unwrap());
    Bench {
        kind: kind(),
        settings: settings(&fake, FakeAzure::CLIENT_SECRET),
        wrong: settings(&fake, "another secret"),
        back: Arc::new(FakeBackdoor { fake: Arc::clone(&fake), told: AtomicU64::new(0) }),
        prefix: prefix(),
        patient: false,
        keep: Box::new(fake),
    }
}

struct FakeBackdoor {
    fake: Arc<FakeAzure>,
    told: AtomicU64,
}

/// The value as it was before it became text.
fn decoded(value: &[u8], content_type: Option<&str>) -> Vec<u8> {
    match content_type {
        Some("application/octet-stream;base64") => BASE64_STANDARD.decode(value).unwrap(),
        _ => value.to_vec(),
    }
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let view = self.fake.view(name).filter(|view| !view.deleted)?;
        Some(decoded(view.value.expose(), view.content_type.as_deref()))
    }

    async fn plant(&self, name: &str, value: &str) {
        self.fake.plant(name, value, &[("team", "theirs")]);
    }

    async fn take_away(&self, name: &str) {
        self.fake.take_away(name);
    }

    async fn schedule_deletion(&self, name: &str) {
        self.fake.delete(name);
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.fake.view(name).map(|view| view.tags).unwrap_or_default()
    }

    async fn versions(&self, name: &str) -> usize {
        self.fake.view(name).map_or(0, |view| view.versions)
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create | Call::Update => "Set",
            Call::Remove => "Delete",
            Call::Look => "Versions",
        };
        let troubles = troubles.into_iter().map(|trouble| match trouble {
            // As Azure says it.
            Trouble::Refuse("ThrottlingException", _) => Trouble::Refuse("Throttled", 429),
            other => other,
        });
        self.fake.trouble(operation, troubles);
    }

    fn calls(&self) -> usize {
        let all = self.fake.vault_calls();
        let told = self.told.swap(all as u64, Ordering::Relaxed);
        all - usize::try_from(told).unwrap()
    }
}

/// A real vault, for an app that may do everything with its secrets. It should not be protected from
/// purging, or it fills up with deleted secrets.
fn real() -> Setting {
    let variables = (
        variable("KEYFERRY_TEST_REAL_AZURE_VAULT"),
        variable("KEYFERRY_TEST_REAL_AZURE_TENANT_ID"),
        variable("KEYFERRY_TEST_REAL_AZURE_CLIENT_ID"),
        variable("KEYFERRY_TEST_REAL_AZURE_CLIENT_SECRET"),
    );
    let (Some(vault), Some(tenant), Some(client), Some(secret)) = variables else {
        return Setting::Missing("KEYFERRY_TEST_REAL_AZURE_* are not set");
    };
    Setting::There(Arc::new(move || {
        let settings = json!({"key_vault_uri": vault, "tenant_id": tenant, "client_id": client, "client_secret": secret});
        Box::pin(as_real(settings, Box::new(())))
    }))
}

async fn as_real(settings: Value, keep: Box<dyn Send + Sync>) -> Bench {
    let mut wrong = settings.clone();
    wrong["client_secret"] = "wrong".into();
    let back = Arc::new(Probe::new(&settings).await);
    Bench { kind: kind(), settings, wrong, back, prefix: prefix(), patient: true, keep }
}

/// Speaks to a vault on its own.
struct Probe {
    client: Client,
    base: String,
    token: String,
}

/// A real vault takes its time with deleting and recovering: so often it is asked again,
const PATIENCE: usize = 400;
/// so long after the last time.
const PAUSE: Duration = Duration::from_millis(250);

impl Probe {
    async fn new(settings: &Value) -> Self {
        let text =
            |field: &str| settings[field].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
        let or = |field: &str, usual: String| if text(field).is_empty() { usual } else { text(field) };
        let base = or("endpoint", text("key_vault_uri"));
        let authority = or("auth_endpoint", "https://login.microsoftonline.com".to_owned());
        let net = net_of(
            NetSettings { system_roots: base.starts_with("https"), ..NetSettings::default() },
            Snapshot::default(),
        );
        let client = net.client(&Policy::default());
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &text("client_id"))
            .append_pair("client_secret", settings["client_secret"].as_str().unwrap())
            .append_pair("scope", "https://vault.azure.net/.default")
            .finish();
        let request = http::Request::post(format!("{authority}/{}/oauth2/v2.0/token", text("tenant_id")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        let answer = client.call(request, Effect::Read).await.unwrap();
        let answer: Value = serde_json::from_slice(answer.body.expose()).unwrap();
        Self { client, base, token: answer["access_token"].as_str().expect("a token").to_owned() }
    }

    async fn call(&self, method: &str, place: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}/{place}?api-version=7.4", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .unwrap();
        let answer = self.client.call(request, Effect::Write).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice(answer.body.expose()).unwrap_or_default())
    }

    /// Until the answer is one of these.
    async fn until(&self, method: &str, place: &str, body: Option<&Value>, wanted: &[u16]) -> Value {
        for _ in 0..PATIENCE {
            let (status, answer) = self.call(method, place, body).await;
            if wanted.contains(&status) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{method} {place} never came to {wanted:?}");
    }
}

#[async_trait]
impl Backdoor for Probe {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let (status, answer) = self.call("GET", &format!("secrets/{name}"), None).await;
        let value = answer["value"].as_str().filter(|_| status == 200)?;
        Some(decoded(value.as_bytes(), answer["contentType"].as_str()))
    }

    async fn plant(&self, name: &str, value: &str) {
        self.take_away(name).await;
        self.until("PUT", &format!("secrets/{name}"), Some(&json!({ "value": value })), &[200]).await;
    }

    async fn take_away(&self, name: &str) {
        self.schedule_deletion(name).await;
        self.until("DELETE", &format!("deletedsecrets/{name}"), None, &[204, 404]).await;
    }

    async fn schedule_deletion(&self, name: &str) {
        let (status, _) = self.call("DELETE", &format!("secrets/{name}"), None).await;
        if status == 200 {
            self.until("GET", &format!("deletedsecrets/{name}"), None, &[200]).await;
        }
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        let (_, answer) = self.call("GET", &format!("secrets/{name}"), None).await;
        serde_json::from_value(answer["tags"].clone()).unwrap_or_default()
    }

    async fn versions(&self, name: &str) -> usize {
        let (_, answer) = self.call("GET", &format!("secrets/{name}/versions"), None).await;
        answer["value"].as_array().map_or(0, Vec::len)
    }
}

/// A destination for which somebody comes back when the name is busy, as the engine does.
pub(crate) struct Patient(pub(crate) Arc<dyn Destination>);

fn busy<T>(outcome: &Result<T, Fault>) -> bool {
    outcome.as_ref().is_err_and(|fault| fault.code == "name_busy")
}

#[async_trait]
impl Destination for Patient {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        self.0.look(name).await
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        for _ in 0..PATIENCE {
            let outcome = self.0.put(put).await;
            if !busy(&outcome) {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.0.put(put).await
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        for _ in 0..PATIENCE {
            let outcome = self.0.remove(remove).await;
            if !busy(&outcome) {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.0.remove(remove).await
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        self.0.look_many(names).await
    }

    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        self.0.read_many(names).await
    }
}
