//! The places trials run at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
pub(crate) use destinations::testing::{Writing, mark, present};
use destinations::{
    Abilities, Destination, Fault, Kind, Net, NetSettings,
    fakes::Trouble,
    net::Snapshot,
    testing::{self, with},
};
use futures_util::future::BoxFuture;
use model::{Clock, RemoteName, SeededEntropy, Timestamp};
use serde_json::Value;

use crate::{aws, azure, gcp, github, local, vercel};

/// What a trial needs of kind and part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Entries can be put there at all. What has marks has this.
    Holds,
    /// A mark that can be read.
    Marks,
    /// Custom tags.
    Tags,
    /// Deleted entries can be recovered.
    Recovery,
    /// An immutable identity of each entry.
    Handles,
    /// Versions are counted.
    Versions,
    /// The part can be made to misbehave.
    Troubles,
    /// Calls are counted.
    Calls,
    /// The part looks at credentials.
    Credentials,
    /// A write can be told from others afterwards.
    Writes,
    /// Bytes that are not text.
    Binary,
    /// Empty values.
    Empty,
    /// No empty values.
    NoEmpty,
    /// Values are given back. The kind itself says so.
    Reads,
}

pub(crate) type Start = Arc<dyn Fn() -> BoxFuture<'static, Bench> + Send + Sync>;

/// Whether a part is there.
#[derive(Clone)]
pub(crate) enum Setting {
    There(Start),
    Missing(&'static str),
    /// It is missing and must not be.
    Required(&'static str),
}

/// A kind, and what stands at the other end.
pub(crate) struct Part {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) setting: Setting,
    pub(crate) able: &'static [Need],
}

impl Part {
    /// What the part lacks of what is needed.
    pub(crate) fn lacks(&self, needs: &[Need]) -> Option<&'static str> {
        let reads =
            || destinations::kinds().iter().any(|kind| kind.slug() == self.kind && kind.reads_values());
        let lacking = needs.iter().find(|need| match need {
            Need::Reads => !reads(),
            Need::Holds => !self.able.contains(&Need::Holds) && !self.able.contains(&Need::Marks),
            need => !self.able.contains(need),
        })?;
        Some(match lacking {
            Need::Holds => "lets nobody in",
            Need::Marks => "has no marks",
            Need::Tags => "has no custom tags",
            Need::Recovery => "deletes at once",
            Need::Handles => "entries have no identity but their name",
            Need::Versions => "counts no versions",
            Need::Troubles => "cannot be made to misbehave",
            Need::Calls => "counts no calls",
            Need::Credentials => "looks at no credentials",
            Need::Writes => "does not tell which write an entry holds",
            Need::Binary => "takes text only",
            Need::Empty => "takes no empty values",
            Need::NoEmpty => "takes empty values",
            Need::Reads => "does not give values back",
        })
    }
}

pub(crate) fn parts() -> Vec<Part> {
    let mut parts = local::parts();
    parts.extend(aws::parts());
    parts.extend(azure::parts());
    parts.extend(gcp::parts());
    parts.extend(vercel::parts());
    parts.extend(github::parts());
    parts
}

/// A variable that names a part.
#[expect(clippy::disallowed_methods, reason = "the parts are named by the environment of the test run")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What stands for a part whose variable is not set.
pub(crate) fn missing(why: &'static str) -> Setting {
    match variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() {
        Some("1") => Setting::Required(why),
        _ => Setting::Missing(why),
    }
}

/// What a part lets a trial see and do past the destination under test.
#[async_trait]
pub(crate) trait Backdoor: Send + Sync {
    /// What the service holds under a name: `None` when nothing is there, or it is being deleted.
    async fn value(&self, name: &str) -> Option<Vec<u8>>;
    /// Puts a stranger's entry there; replaces what is there by another entry.
    async fn plant(&self, name: &str, value: &str);
    /// Takes an entry away for good.
    async fn take_away(&self, name: &str);
    /// Takes an entry away so that it can be recovered.
    async fn schedule_deletion(&self, _: &str) {}
    /// All tags, the mark's among them.
    async fn tags(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// How the service keeps the key or value of a custom tag.
    fn kept(&self, text: &str) -> String {
        text.to_owned()
    }
    /// How many versions there ever were.
    async fn versions(&self, _: &str) -> usize {
        0
    }
    /// What becomes of coming calls: of a first write, of an update, of a removal, of a look.
    fn trouble(&self, _: Call, _: Vec<Trouble>) {}
    /// How many calls a first write costs, and a change of the value.
    fn costs(&self) -> (usize, usize) {
        (1, 1)
    }
    /// The calls made since the last time this was asked.
    fn calls(&self) -> usize {
        0
    }
}

/// A call as the trials think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Update,
    Remove,
    Look,
}

/// One trial's place: a destination, the way past it, and names of its own.
pub(crate) struct Bench {
    pub(crate) kind: &'static dyn Kind,
    pub(crate) back: Arc<dyn Backdoor>,
    /// Settings of the destination, to which a trial may add.
    pub(crate) settings: Value,
    /// Settings with credentials that are not let in.
    pub(crate) wrong: Value,
    /// Begins every name.
    pub(crate) prefix: String,
    /// Somebody comes back for what takes time there.
    pub(crate) patient: bool,
    /// Kept for as long as the trial runs.
    #[expect(dead_code, reason = "kept for its drop")]
    pub(crate) keep: Box<dyn Send + Sync>,
}

impl Bench {
    pub(crate) fn abilities(&self) -> &'static Abilities {
        self.kind.abilities()
    }

    pub(crate) fn open(&self) -> Arc<dyn Destination> {
        self.open_with(&self.settings, NetSettings::default())
    }

    pub(crate) fn open_adding(&self, more: Value) -> Arc<dyn Destination> {
        self.open_with(&with(self.settings.clone(), more), NetSettings::default())
    }

    /// With little patience.
    pub(crate) fn open_hasty(&self) -> Arc<dyn Destination> {
        let hasty = NetSettings { call_timeout: Duration::from_millis(200), ..NetSettings::default() };
        self.open_with(&self.settings, hasty)
    }

    pub(crate) fn open_with(&self, settings: &Value, net: NetSettings) -> Arc<dyn Destination> {
        let net = net_of(net, Snapshot::default());
        let destination = testing::open(self.kind, settings.clone(), &net).unwrap();
        if self.patient { Arc::new(azure::Patient(destination)) } else { destination }
    }

    pub(crate) fn name(&self, name: &str) -> RemoteName {
        self.kind.remote_name(&format!("{}{name}", self.prefix)).unwrap()
    }

    pub(crate) async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.back.value(self.name(name).as_str()).await
    }
}

pub(crate) fn net_of(settings: NetSettings, environment: Snapshot) -> Arc<Net> {
    let settings =
        NetSettings { system_roots: settings.system_roots, allow_private_networks: true, ..settings };
    Net::new(settings, Arc::new(environment), Arc::new(SystemClock), Arc::new(SeededEntropy::new(1))).unwrap()
}

/// The real time: stand-ins and real services look at it.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "signatures are checked against the real time")]
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(jiff::Timestamp::now().as_second())
    }
}

pub(crate) async fn remove(
    destination: &Arc<dyn Destination>,
    name: &RemoteName,
    handle: Option<&str>,
) -> Result<(), Fault> {
    testing::remove(destination, name, handle, true).await
}
