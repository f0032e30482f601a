//! What only Azure Key Vault has: token sources and challenges, soft delete and its limbo, versions that
//! cannot be told apart by time, every line of the failure map. Against the pretend service; what the
//! pretend service is worth is judged by Microsoft's own client (sdk.rs).

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod auth;
mod failures;
mod sdk;
mod service;
mod soft_delete;
mod tls;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Last, Mark, Mode, Net, NetSettings,
    Present, Put, PutOutcome, Receipt, Remote, Remove, WriteId,
    fakes::FakeAzure,
    kinds,
    net::{Resolve, Snapshot},
};
use futures_util::future::BoxFuture;
use model::{AssociationId, ManualClock, RemoteName, SeededEntropy, StoreId, Timestamp, json::SecretJson};
use serde_json::{Value, json};

/// What the pretend service puts into its refusals.
const CANARY: &str = "CANARY-FROM-REMOTE";

/// The pretend service, and the clock both sides look at.
struct Bench {
    fake: FakeAzure,
    clock: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        Self { fake: FakeAzure::start(clock.clone()).await.unwrap(), clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn net(&self, settings: NetSettings, environment: Snapshot) -> Arc<Net> {
        let settings = NetSettings { system_roots: false, ..settings };
        Net::new(settings, Arc::new(environment), self.clock.clone(), Arc::new(SeededEntropy::new(1)))
            .unwrap()
    }

    /// With the app that may do everything, and whatever else is said; `null` takes a setting away.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        self.open_in(merged(self.settings(), more), Snapshot::default())
    }

    fn settings(&self) -> Value {
        json!({"key_vault_uri": FakeAzure::VAULT, "endpoint": self.fake.url(), "auth_endpoint": self.fake.url(),
            "tenant_id": FakeAzure::TENANT, "client_id": FakeAzure::CLIENT_ID,
            "client_secret": FakeAzure::CLIENT_SECRET})
    }

    fn open_in(&self, settings: Value, environment: Snapshot) -> Arc<dyn Destination> {
        let net = NetSettings { allow_private_networks: true, ..NetSettings::default() };
        try_open(settings, &self.net(net, environment)).unwrap()
    }

    /// The vault under its own name, which leads to the pretend service: for the server's own identity.
    fn open_as_server(&self, more: Value, environment: Snapshot) -> Arc<dyn Destination> {
        let net = NetSettings {
            allow_private_networks: true,
            resolver: Some(Arc::new(Hosts::default())),
            ..NetSettings::default()
        };
        let uri = format!("http://pretend.vault.azure.net:{}", self.fake.port());
        try_open(merged(json!({ "key_vault_uri": uri }), more), &self.net(net, environment)).unwrap()
    }

    fn value(&self, name: &str) -> String {
        let view = self.fake.view(name).filter(|view| !view.deleted).unwrap();
        view.value.expose_text().unwrap().to_owned()
    }
}

fn merged(mut settings: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
        all.extend(more);
        all.retain(|_, value| !value.is_null());
    }
    settings
}

/// Looks up the names of vaults and nothing else, and remembers what it was asked.
#[derive(Default)]
struct Hosts(Mutex<Vec<String>>);

impl Resolve for Hosts {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.0.lock().unwrap().push(host.to_owned());
        let known = host.starts_with("pretend.");
        let answer =
            if known { Ok(vec![IpAddr::from([127, 0, 0, 1])]) } else { Err(io::ErrorKind::NotFound.into()) };
        Box::pin(std::future::ready(answer))
    }
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "azure-kv").unwrap()
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    let (config, _) = Config::read(kind(), &SecretJson::new(settings), Mode::Replace, None)?;
    kind().open(&config, net)
}

fn environment(variables: &[(&str, &str)]) -> Snapshot {
    let vars = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Snapshot { vars, home: None }
}

fn name(name: &str) -> RemoteName {
    kind().remote_name(name).unwrap()
}

fn mark(write: u8) -> Mark {
    Mark {
        store: StoreId::from_bytes([1; 16]),
        epoch: 1,
        association: AssociationId::from_bytes([2; 16]),
        version: u64::from(write),
        write: Some(WriteId([write; 32])),
    }
}

async fn put(
    destination: &Arc<dyn Destination>,
    at: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    send(destination, at, value, write, expect, &[], None).await
}

/// `settings`: the tags that are no longer wanted, when settings are to be carried and not the value.
async fn send(
    destination: &Arc<dyn Destination>,
    at: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
    tags: &[(&str, &str)],
    settings: Option<&[String]>,
) -> Result<PutOutcome, Fault> {
    let (name, value, mark) = (name(at), value.into(), mark(write));
    let tags: BTreeMap<String, String> =
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    destination
        .put(&Put {
            name: &name,
            value: &value,
            encoding: Encoding::Text,
            mark: &mark,
            tags: &tags,
            expect,
            value_changed: settings.is_none(),
            settings_changed: settings,
            last: Last::default(),
        })
        .await
}

fn written(outcome: Result<PutOutcome, Fault>) -> Receipt {
    match outcome {
        Ok(PutOutcome::Written(receipt)) => receipt,
        other => panic!("not written: {other:?}"),
    }
}

fn taken(outcome: Result<PutOutcome, Fault>) -> Present {
    match outcome {
        Ok(PutOutcome::Taken(present)) => present,
        other => panic!("not taken: {other:?}"),
    }
}

async fn create(destination: &Arc<dyn Destination>, at: &str) -> Receipt {
    written(put(destination, at, "v", 1, Expect::Absent).await)
}

async fn remove(destination: &Arc<dyn Destination>, at: &str) -> Result<(), Fault> {
    let owner = mark(0);
    destination.remove(&Remove { name: &name(at), handle: None, owner: Some(&owner) }).await
}

async fn present(destination: &Arc<dyn Destination>, at: &str) -> Present {
    match destination.look(&name(at)).await {
        Ok(Remote::Present(present)) => present,
        other => panic!("not present: {other:?}"),
    }
}

/// The code of a fault, after making sure that it repeats nothing.
fn code<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> &'static str {
    let fault = outcome.unwrap_err();
    for text in [format!("{fault}"), format!("{fault:?}")] {
        assert!(!text.contains(CANARY) && !text.contains(FakeAzure::CLIENT_SECRET), "{text}");
    }
    fault.code
}
