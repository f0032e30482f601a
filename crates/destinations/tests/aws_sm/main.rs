//! What only AWS Secrets Manager has: credential sources, clocks, keys, replicas, recovery windows,
//! permissions. Against the pretend service; the stand-ins are tried in the contract suite.

#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod credentials;
mod service;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use destinations::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Held, Kind, Last, Mark, Mode, Net, NetSettings,
    Put, PutOutcome, Receipt, Remove, WriteId, fakes::FakeAws, kinds, net::Snapshot,
};
use model::{AssociationId, ManualClock, RemoteName, SeededEntropy, StoreId, Timestamp, json::SecretJson};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

/// What the pretend service puts into its refusals.
const CANARY: &str = "CANARY-FROM-REMOTE";

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
        let settings = NetSettings { system_roots: false, ..settings };
        Net::new(settings, Arc::new(environment), self.ours.clone(), Arc::new(SeededEntropy::new(1))).unwrap()
    }

    /// With the keys that work, and whatever else is said.
    fn open(&self, more: Value) -> Arc<dyn Destination> {
        let mut settings = json!({"region": REGION, "endpoint": self.fake.url(),
            "access_key_id": FakeAws::ACCESS_KEY, "secret_access_key": FakeAws::SECRET_KEY});
        if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
            all.extend(more);
        }
        self.open_in(settings, Snapshot::default())
    }

    fn open_in(&self, settings: Value, environment: Snapshot) -> Arc<dyn Destination> {
        let net = NetSettings { allow_private_networks: true, ..NetSettings::default() };
        try_open(settings, &self.net(net, environment)).unwrap()
    }
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "aws-sm").unwrap()
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

async fn put(
    destination: &Arc<dyn Destination>,
    name: &str,
    value: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    send(destination, name, value, write, expect, None).await
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
    let (name, value, mark) = (RemoteName::from_kind(name), value.into(), mark(write));
    destination
        .put(&Put {
            name: &name,
            value: &value,
            encoding: Encoding::Text,
            mark: &mark,
            tags: &BTreeMap::new(),
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

/// The code of the fault an outcome is, which repeats nothing of what the service said.
fn code<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> &'static str {
    let fault = outcome.unwrap_err();
    assert!(!format!("{fault:?}").contains(CANARY), "{fault:?}");
    fault.code
}
