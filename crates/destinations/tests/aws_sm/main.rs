//! What only AWS Secrets Manager has: credential sources, clocks, keys, replicas, recovery windows,
//! permissions. Against the pretend service; the stand-ins are tried in the contract suite.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod credentials;
mod service;

use std::{sync::Arc, time::Duration};

use destinations::{
    Destination, Encoding, Expect, Fault, FieldFault, Held, Kind, Net, NetSettings, PutOutcome,
    fakes::FakeAws,
    net::Snapshot,
    testing::{self, Writing, code, create, environment, put, remove, with, written},
};
use model::{ManualClock, RemoteName, Timestamp};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

/// The pretend service, a clock for it, and one for us.
struct Bench {
    fake: FakeAws,
    theirs: Arc<ManualClock>,
    ours: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        // Near the real time, which reqsign compares expiry dates with.
        #[expect(clippy::disallowed_methods, reason = "a library underneath looks at the real time")]
        let now = Timestamp::from_secs(jiff::Timestamp::now().as_second());
        let theirs = Arc::new(ManualClock::new(now));
        let ours = Arc::new(ManualClock::new(now));
        Self { fake: FakeAws::start(theirs.clone()).await.unwrap(), theirs, ours }
    }

    fn advance(&self, by: Duration) {
        self.theirs.advance(by);
        self.ours.advance(by);
    }

    fn net(&self, settings: NetSettings, environment: Snapshot) -> Arc<Net> {
        testing::net(self.ours.clone(), settings, environment)
    }

    /// With the keys that work, and whatever else is said.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        let settings = json!({"region": REGION, "endpoint": self.fake.url(),
            "access_key_id": FakeAws::ACCESS_KEY, "secret_access_key": FakeAws::SECRET_KEY});
        self.open_in(with(settings, more), Snapshot::default())
    }

    fn open_in(&self, settings: Value, environment: Snapshot) -> Arc<dyn Destination> {
        try_open(settings, &self.net(testing::nearby(), environment)).unwrap()
    }
}

fn kind() -> &'static dyn Kind {
    testing::kind("aws-sm")
}

fn try_open(settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    testing::open(kind(), settings, net)
}

/// `settings`: the tags that are no longer wanted, when settings are to be carried and not the value.
async fn send(
    destination: &Arc<dyn Destination>,
    name: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
    settings: Option<&[String]>,
) -> Result<PutOutcome, Fault> {
    let writing = Writing::new(name, value, write).expecting(expect);
    let writing = match settings {
        Some(unwanted) => writing.carrying(unwanted),
        None => writing,
    };
    writing.send(destination).await
}
