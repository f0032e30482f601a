//! What only GitHub has: scopes, public keys that change, limits told by headers, apps. Against the pretend
//! service; the parts not written by us are tried in the contract suite.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod apps;
mod failures;
mod limits;
mod service;
mod settings;

use std::{sync::Arc, time::Duration};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, FieldValue, Kind, Mode, Net, PutOutcome,
    Remote,
    fakes::{FakeGithub, RsaPem},
    net::Snapshot,
    testing::{self, Writing, fault, look, with, written},
};
use model::{Clock, ManualClock, RemoteName, SecretBytes, Timestamp, json::SecretJson};
use serde_json::{Value, json};

const REPOSITORY: &str = "repos/acme/app";
const ENVIRONMENT: &str = "repos/acme/app/environments/prod/eu 1";
const ORGANIZATION: &str = "orgs/acme";

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
        testing::net(self.ours.clone(), testing::nearby(), environment)
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

/// Lets time pass for timers, without waiting.
async fn pass(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

fn kind() -> &'static dyn Kind {
    testing::kind("gh")
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
    let writing = Writing { value: value.clone(), encoding, ..Writing::new(name, "", 1) };
    writing.expecting(expect).send(destination).await
}

async fn remove(destination: &Arc<dyn Destination>, name: &str) -> Result<(), Fault> {
    testing::remove(destination, name, None, false).await
}
