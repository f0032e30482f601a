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

use std::{sync::Arc, time::Duration};

use destinations::{
    Destination, Encoding, Expect, Fault, FieldFault, Kind, Last, Net, NetSettings, Present, Receipt, Remote,
    Retry,
    fakes::{FakeGcp, GcpView, Trouble},
    net::Snapshot,
    testing::{self, environment, fault, look, mark, present, remove, with},
};
use model::{Blame, ManualClock, RemoteName, Timestamp};
use serde_json::{Value, json};

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
        testing::net(self.ours.clone(), settings, environment)
    }

    /// With credentials that work, and whatever else is said.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        let settings = json!({"endpoint": self.fake.url(), "credentials": self.fake.credentials()});
        self.open_in(with(settings, more), Snapshot::default())
    }

    fn open_in(&self, settings: Value, environment: Snapshot) -> Arc<dyn Destination> {
        try_open(settings, &self.net(testing::nearby(), environment)).unwrap()
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
    testing::kind("gcp-sm")
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    testing::open(kind(), settings, net)
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

impl<'a> Writing<'a> {
    fn made(self) -> testing::Writing<'a> {
        let writing =
            testing::Writing::new(self.name, self.value, self.write).expecting(self.expect).tagged(self.tags);
        let writing = match self.settings {
            Some(unwanted) => writing.carrying(unwanted),
            None => writing,
        };
        testing::Writing { last: Last { revision: self.revision, unsure: self.unsure }, ..writing }
    }

    async fn written(self, destination: &Arc<dyn Destination>) -> Receipt {
        self.made().written(destination).await
    }

    async fn taken(self, destination: &Arc<dyn Destination>) -> Present {
        self.made().taken(destination).await
    }

    /// It must fail.
    async fn fault(self, destination: &Arc<dyn Destination>) -> Fault {
        self.made().fault(destination).await
    }
}
