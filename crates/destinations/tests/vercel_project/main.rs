//! What only Vercel projects have: environments and the records they are divided among, arrays that
//! half-succeed, hidden variables, lists in three forms, allowances. Against the pretend service; the
//! stand-in is tried in the contract suite.
//!
//! | Variable | Part |
//! |---|---|
//! | `KEYFERRY_TEST_NODE` | a Node.js |
//! | `KEYFERRY_TEST_VERCEL_SDK` | a folder in which npm has installed `@vercel/sdk` |

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod failures;
mod oracle;
mod service;

use std::sync::Arc;

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Mode, Net, Put, PutOutcome, Receipt,
    Remove,
    fakes::FakeVercel,
    net::Snapshot,
    testing::{self, Writing, create, fault, mark, put, remove, taken, with, written},
};
use model::{ManualClock, RemoteName, SecretBytes, Timestamp, json::SecretJson};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

const ALL: [&str; 3] = ["development", "preview", "production"];

struct Bench {
    fake: FakeVercel,
    clock: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW)));
        Self { fake: FakeVercel::start(clock.clone()).await.unwrap(), clock }
    }

    fn net(&self) -> Arc<Net> {
        testing::net(self.clock.clone(), testing::nearby(), Snapshot::default())
    }

    fn settings(&self, environments: &[&str]) -> Value {
        json!({"endpoint": self.fake.url(), "access_token": FakeVercel::TOKEN,
            "project_id": FakeVercel::PROJECT, "team_id": FakeVercel::TEAM,
            "deployment_environments": environments})
    }

    fn open(&self, environments: &[&str]) -> Arc<dyn Destination> {
        self.open_with(environments, json!({}))
    }

    fn open_with(&self, environments: &[&str], more: Value) -> Arc<dyn Destination> {
        try_open(with(self.settings(environments), more), &self.net()).unwrap()
    }

    /// What is there under a name: `type targets=value` for each record.
    fn state(&self, name: &str) -> Vec<String> {
        let mut all: Vec<String> = self
            .fake
            .seen(name)
            .iter()
            .map(|record| {
                let mut target = record.target.clone();
                target.sort_unstable();
                format!("{} {}={}", record.kind, target.join("+"), record.value)
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Calls since the last time this was asked.
    fn cost(&self) -> usize {
        let calls = self.fake.all_calls();
        self.fake.forget_calls();
        calls
    }
}

fn kind() -> &'static dyn Kind {
    testing::kind("vercel-project")
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    testing::open(kind(), settings, net)
}

fn writing<'a>(name: &str, value: &str, write: u8, expect: Expect<'a>) -> Writing<'a> {
    Writing::new(name, value, write).expecting(expect)
}

async fn put_all(
    destination: &Arc<dyn Destination>,
    writings: &[Writing<'_>],
) -> Vec<Result<PutOutcome, Fault>> {
    let puts: Vec<Put<'_>> = writings.iter().map(Writing::put).collect();
    destination.put_many(&puts).await
}
