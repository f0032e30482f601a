//! What only GitHub has: scopes, public keys that change, limits told by headers, apps. Against the pretend
//! service; the parts not written by us are tried in the contract suite.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod apps;
mod failures;
mod limits;
mod service;
mod settings;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, FieldValue, Kind, Last, Mark, Mode, Net,
    NetSettings, Put, PutOutcome, Remote, Remove, WriteId,
    fakes::{FakeGithub, RsaPem},
    kinds,
    net::Snapshot,
};
use model::{
    AssociationId, Clock, ManualClock, RemoteName, SecretBytes, SeededEntropy, StoreId, Timestamp,
    json::SecretJson,
};
use serde_json::{Value, json};

const REPOSITORY: &str = "repos/acme/app";
const ENVIRONMENT: &str = "repos/acme/app/environments/prod/eu 1";
const ORGANIZATION: &str = "orgs/acme";

/// What the pretend service puts into its refusals.
const CANARY: &str = "CANARY-FROM-REMOTE";

/// The pretend service, a clock for it, and one for us.
struct Bench {
    fake: FakeGithub,
    theirs: Arc<ManualClock>,
    ours: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        let now = Timestamp::from_secs(1_790_000_000);
        let theirs = Arc::new(ManualClock::new(now));
        let ours = Arc::new(ManualClock::new(now));
        Self { fake: FakeGithub::start(theirs.clone()).await.unwrap(), theirs, ours }
    }

    /// On the wall, and for timers.
    async fn advance(&self, by: Duration) {
        self.theirs.advance(by);
        self.ours.advance(by);
        pass(by).await;
    }

    fn net(&self, environment: Snapshot) -> Arc<Net> {
        let settings =
            NetSettings { system_roots: false, allow_private_networks: true, ..NetSettings::default() };
        Net::new(settings, Arc::new(environment), self.ours.clone(), Arc::new(SeededEntropy::new(1))).unwrap()
    }

    /// A repository's secrets, with the token that works, and whatever else is said.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        self.try_open(more).unwrap()
    }

    fn try_open(&self, more: Value) -> Result<Arc<dyn Destination>, FieldFault> {
        try_open(self.settings(more), &self.net(Snapshot::default()), None)
    }

    fn settings(&self, more: Value) -> Value {
        let settings = json!({"repository_owner": "acme", "repository_name": "app",
            "endpoint": self.fake.url(), "access_token": FakeGithub::TOKEN});
        with(settings, more)
    }

    fn organization(&self, more: Value) -> Value {
        let settings = json!({"repository_owner": null, "repository_name": null,
            "secrets_location": "organization", "organization_name": "acme"});
        self.settings(with(settings, more))
    }

    /// What the calls since the last time this was asked were.
    fn cost(&self) -> String {
        let names = ["token", "key", "list", "look", "repository", "write", "remove"];
        let calls = names.map(|name| (name, self.fake.calls(name)));
        self.fake.forget_calls();
        let made = calls.into_iter().filter(|(_, times)| *times > 0);
        made.map(|(name, times)| format!("{name} {times}")).collect::<Vec<_>>().join(", ")
    }

    fn theirs_secs(&self) -> i64 {
        self.theirs.now().as_secs()
    }

    fn value(&self, scope: &str, name: &str) -> Option<String> {
        self.fake.secret(scope, name).map(|secret| secret.value.expose_text().unwrap().to_owned())
    }
}

fn with(mut settings: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
        all.extend(more);
    }
    settings
}

/// Lets time pass for timers, without waiting.
async fn pass(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "gh").unwrap()
}

fn try_open(
    settings: Value,
    net: &Arc<Net>,
    app: Option<&Config>,
) -> Result<Arc<dyn Destination>, FieldFault> {
    let (mut config, _) = Config::read(kind(), &SecretJson::new(settings), Mode::Replace, None)?;
    if let Some(app) = app {
        config.lay_in(kind().shared().unwrap(), app);
    }
    kind().open(&config, net)
}

fn mark(write: u8) -> Mark {
    Mark {
        store: StoreId::from_bytes([1; 16]),
        epoch: 1,
        association: AssociationId::from_bytes([2; 16]),
        version: 1,
        write: Some(WriteId([write; 32])),
    }
}

async fn put(
    destination: &Arc<dyn Destination>,
    name: &str,
    value: &str,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    send(destination, name, &value.into(), Encoding::Text, expect).await
}

async fn send(
    destination: &Arc<dyn Destination>,
    name: &str,
    value: &SecretBytes,
    encoding: Encoding,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    let (name, mark) = (RemoteName::from_kind(name), mark(1));
    destination
        .put(&Put {
            name: &name,
            value,
            encoding,
            mark: &mark,
            tags: &BTreeMap::new(),
            expect,
            value_changed: true,
            settings_changed: None,
            last: Last::default(),
        })
        .await
}

fn written(outcome: Result<PutOutcome, Fault>) {
    match outcome {
        Ok(PutOutcome::Written(_)) => {}
        other => panic!("not written: {other:?}"),
    }
}

async fn look(destination: &Arc<dyn Destination>, name: &str) -> Result<Remote, Fault> {
    destination.look(&RemoteName::from_kind(name)).await
}

async fn remove(destination: &Arc<dyn Destination>, name: &str) -> Result<(), Fault> {
    destination.remove(&Remove { name: &RemoteName::from_kind(name), handle: None, owner: None }).await
}

/// The fault an outcome is, which repeats nothing of what the service said.
fn fault<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> Fault {
    let fault = outcome.unwrap_err();
    assert!(!format!("{fault:?}").contains(CANARY), "{fault:?}");
    fault
}
