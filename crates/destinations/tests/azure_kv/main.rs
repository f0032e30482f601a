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
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Mode, Net, NetSettings, Present,
    PutOutcome, Receipt, Remote, Remove,
    fakes::FakeAzure,
    net::{Resolve, Snapshot},
    testing::{self, Writing, environment, mark, merged, taken, written},
};
use futures_util::future::BoxFuture;
use model::{ManualClock, RemoteName, Timestamp, json::SecretJson};
use serde_json::{Value, json};

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
        testing::net(self.clock.clone(), settings, environment)
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
        try_open(settings, &self.net(testing::nearby(), environment)).unwrap()
    }

    /// The vault under its own name, which leads to the pretend service: for the server's own identity.
    fn open_as_server(&self, more: Value, environment: Snapshot) -> Arc<dyn Destination> {
        let net = NetSettings { resolver: Some(Arc::new(Hosts::default())), ..testing::nearby() };
        let uri = format!("http://pretend.vault.azure.net:{}", self.fake.port());
        try_open(merged(json!({ "key_vault_uri": uri }), more), &self.net(net, environment)).unwrap()
    }

    fn value(&self, name: &str) -> String {
        let view = self.fake.view(name).filter(|view| !view.deleted).unwrap();
        view.value.expose_text().unwrap().to_owned()
    }
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
    testing::kind("azure-kv")
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    testing::open(kind(), settings, net)
}

fn name(name: &str) -> RemoteName {
    kind().remote_name(name).unwrap()
}

async fn put(
    destination: &Arc<dyn Destination>,
    at: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    testing::put(destination, name(at), value, write, expect).await
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
    let writing = Writing::new(name(at), value, write).expecting(expect).tagged(tags);
    let writing = match settings {
        Some(unwanted) => writing.carrying(unwanted),
        None => writing,
    };
    writing.send(destination).await
}

async fn create(destination: &Arc<dyn Destination>, at: &str) -> Receipt {
    testing::create(destination, name(at)).await
}

async fn remove(destination: &Arc<dyn Destination>, at: &str) -> Result<(), Fault> {
    testing::remove(destination, name(at), None, true).await
}

async fn present(destination: &Arc<dyn Destination>, at: &str) -> Present {
    testing::present(destination, name(at)).await
}

/// The code of a fault, after making sure that it repeats neither the service nor a secret.
fn code<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> &'static str {
    let fault = testing::fault(outcome);
    assert!(!format!("{fault:?}").contains(FakeAzure::CLIENT_SECRET), "{fault:?}");
    fault.code
}
