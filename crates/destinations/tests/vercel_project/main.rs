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

use std::{collections::BTreeMap, sync::Arc};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Last, Mark, Mode, Net, NetSettings, Put,
    PutOutcome, Receipt, Remove, WriteId, fakes::FakeVercel, kinds, net::Snapshot,
};
use model::{
    AssociationId, ManualClock, RemoteName, SecretBytes, SeededEntropy, StoreId, Timestamp, json::SecretJson,
};
use serde_json::{Value, json};

/// What the pretend service puts into its refusals.
const CANARY: &str = "CANARY-FROM-REMOTE";

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
        let settings =
            NetSettings { system_roots: false, allow_private_networks: true, ..NetSettings::default() };
        let entropy = Arc::new(SeededEntropy::new(1));
        Net::new(settings, Arc::new(Snapshot::default()), self.clock.clone(), entropy).unwrap()
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
        let mut settings = self.settings(environments);
        if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
            all.extend(more);
        }
        try_open(settings, &self.net()).unwrap()
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
    *kinds().iter().find(|kind| kind.slug() == "vercel-project").unwrap()
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    let (config, _) = Config::read(kind(), &SecretJson::new(settings), Mode::Replace, None)?;
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

/// A put in the making.
struct Writing<'a> {
    name: RemoteName,
    value: SecretBytes,
    mark: Mark,
    expect: Expect<'a>,
    carry: bool,
}

impl<'a> Writing<'a> {
    fn new(name: &str, value: &str, write: u8, expect: Expect<'a>) -> Self {
        Self {
            name: RemoteName::from_kind(name),
            value: value.into(),
            mark: mark(write),
            expect,
            carry: false,
        }
    }
}

async fn put_all(
    destination: &Arc<dyn Destination>,
    writings: &[Writing<'_>],
) -> Vec<Result<PutOutcome, Fault>> {
    let tags = BTreeMap::new();
    let puts: Vec<Put<'_>> = writings
        .iter()
        .map(|writing| Put {
            name: &writing.name,
            value: &writing.value,
            encoding: Encoding::Text,
            mark: &writing.mark,
            tags: &tags,
            expect: writing.expect,
            value_changed: !writing.carry,
            settings_changed: writing.carry.then_some(&[][..]),
            last: Last::default(),
        })
        .collect();
    destination.put_many(&puts).await
}

async fn put(
    destination: &Arc<dyn Destination>,
    name: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    let outcomes = put_all(destination, &[Writing::new(name, value, write, expect)]).await;
    outcomes.into_iter().next().unwrap()
}

fn written(outcome: Result<PutOutcome, Fault>) -> Receipt {
    match outcome {
        Ok(PutOutcome::Written(receipt)) => receipt,
        other => panic!("not written: {other:?}"),
    }
}

fn taken(outcome: Result<PutOutcome, Fault>) -> destinations::Present {
    match outcome {
        Ok(PutOutcome::Taken(present)) => present,
        other => panic!("not taken: {other:?}"),
    }
}

async fn create(destination: &Arc<dyn Destination>, name: &str) -> Receipt {
    written(put(destination, name, "v", 1, Expect::Absent).await)
}

async fn remove(
    destination: &Arc<dyn Destination>,
    name: &str,
    handle: Option<&str>,
    proved: bool,
) -> Result<(), Fault> {
    let (name, owner) = (RemoteName::from_kind(name), mark(0));
    destination.remove(&Remove { name: &name, handle, owner: proved.then_some(&owner) }).await
}

/// The fault an outcome is, after making sure that it repeats nothing.
fn fault<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> Fault {
    let fault = outcome.expect_err("this had to fail");
    assert!(!format!("{fault} {fault:?}").contains(CANARY), "the fault repeats the answer: {fault}");
    fault
}
