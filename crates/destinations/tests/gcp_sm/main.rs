//! What only Google Secret Manager has: versions that are not idempotent, etags, checksums, replication,
//! labels, sources of credentials, and its failure map. Against the pretend service; the stand-ins are
//! tried in the contract suite.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod credentials;
mod failures;
mod sdk;
mod service;
mod settings;
mod versions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Last, Mark, Mode, Net, NetSettings,
    Present, Put, PutOutcome, Receipt, Remote, Remove, Retry, WriteId,
    fakes::{FakeGcp, GcpView, Trouble},
    kinds,
    net::Snapshot,
};
use model::{
    AssociationId, Blame, ManualClock, RemoteName, SeededEntropy, StoreId, Timestamp, json::SecretJson,
};
use serde_json::{Value, json};

/// What the pretend service puts into its refusals.
const CANARY: &str = "CANARY-FROM-REMOTE";

/// The pretend service, a clock for it, and one for us.
struct Bench {
    fake: FakeGcp,
    theirs: Arc<ManualClock>,
    ours: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        let now = Timestamp::from_secs(1_795_000_000);
        let theirs = Arc::new(ManualClock::new(now));
        let ours = Arc::new(ManualClock::new(now));
        Self { fake: FakeGcp::start(theirs.clone()).await.unwrap(), theirs, ours }
    }

    fn advance(&self, by: Duration) {
        self.theirs.advance(by);
        self.ours.advance(by);
    }

    fn net(&self, settings: NetSettings, environment: Snapshot) -> Arc<Net> {
        let settings = NetSettings { system_roots: false, ..settings };
        Net::new(settings, Arc::new(environment), self.ours.clone(), Arc::new(SeededEntropy::new(1))).unwrap()
    }

    /// With credentials that work, and whatever else is said.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        let mut settings = json!({"endpoint": self.fake.url(), "credentials": self.fake.credentials()});
        if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
            all.extend(more);
        }
        self.open_in(settings, Snapshot::default())
    }

    fn open_in(&self, settings: Value, environment: Snapshot) -> Arc<dyn Destination> {
        let net = NetSettings { allow_private_networks: true, ..NetSettings::default() };
        try_open(settings, &self.net(net, environment)).unwrap()
    }

    fn view(&self, name: &str) -> GcpView {
        self.fake.view(name).unwrap()
    }

    fn value(&self, name: &str) -> Option<String> {
        let value = self.fake.view(name)?.value?;
        Some(value.expose_text().unwrap().to_owned())
    }

    /// The calls of some operations, in their order.
    fn calls<const N: usize>(&self, operations: [&str; N]) -> [usize; N] {
        operations.map(|operation| self.fake.calls(operation))
    }
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "gcp-sm").unwrap()
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    let (config, _) = Config::read(kind(), &SecretJson::new(settings), Mode::Replace, None)?;
    kind().open(&config, net)
}

fn environment(variables: &[(&str, &str)]) -> Snapshot {
    let vars = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Snapshot { vars, home: None }
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

/// A put under the name `a`, as the engine makes it.
#[derive(Clone, Copy)]
struct Writing<'a> {
    name: &'a str,
    value: &'a str,
    write: u8,
    expect: Expect<'a>,
    revision: Option<&'a str>,
    unsure: bool,
    /// The tags that are no longer wanted, when settings are to be carried and not the value.
    settings: Option<&'a [String]>,
    tags: &'a [(&'a str, &'a str)],
}

/// A first write.
fn first(value: &str, write: u8) -> Writing<'_> {
    Writing {
        name: "a",
        value,
        write,
        expect: Expect::Absent,
        revision: None,
        unsure: true,
        settings: None,
        tags: &[],
    }
}

/// A later write.
fn after<'a>(receipt: &'a Receipt, value: &'a str, write: u8) -> Writing<'a> {
    Writing {
        expect: Expect::Ours(receipt.handle.as_deref()),
        revision: receipt.revision.as_deref(),
        unsure: false,
        ..first(value, write)
    }
}

impl Writing<'_> {
    async fn send(self, destination: &Arc<dyn Destination>) -> Result<PutOutcome, Fault> {
        let (name, value, mark) = (RemoteName::from_kind(self.name), self.value.into(), mark(self.write));
        let tags: BTreeMap<String, String> =
            self.tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        destination
            .put(&Put {
                name: &name,
                value: &value,
                encoding: Encoding::Text,
                mark: &mark,
                tags: &tags,
                expect: self.expect,
                value_changed: self.settings.is_none(),
                settings_changed: self.settings,
                last: Last { revision: self.revision, unsure: self.unsure },
            })
            .await
    }

    async fn written(self, destination: &Arc<dyn Destination>) -> Receipt {
        match self.send(destination).await {
            Ok(PutOutcome::Written(receipt)) => receipt,
            other => panic!("not written: {other:?}"),
        }
    }

    async fn taken(self, destination: &Arc<dyn Destination>) -> Present {
        match self.send(destination).await {
            Ok(PutOutcome::Taken(present)) => present,
            other => panic!("not taken: {other:?}"),
        }
    }

    /// It must fail.
    async fn fault(self, destination: &Arc<dyn Destination>) -> Fault {
        fault(self.send(destination).await)
    }
}

async fn look(destination: &Arc<dyn Destination>, name: &str) -> Result<Remote, Fault> {
    destination.look(&RemoteName::from_kind(name)).await
}

async fn present(destination: &Arc<dyn Destination>, name: &str) -> Present {
    match look(destination, name).await {
        Ok(Remote::Present(present)) => present,
        other => panic!("not present: {other:?}"),
    }
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

/// The fault an outcome is, which repeats nothing of what the service said.
fn fault<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> Fault {
    let fault = outcome.unwrap_err();
    assert!(!format!("{fault:?}").contains(CANARY), "{fault:?}");
    fault
}
