//! The places trials run at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use destinations::{
    Abilities, Config, Destination, Encoding, Expect, Fault, Kind, Last, Mark, Mode, Net, NetSettings,
    Present, Put, PutOutcome, Receipt, Remote, Remove, WriteId, fakes::Trouble, net::Snapshot,
};
use futures_util::future::BoxFuture;
use model::{
    AssociationId, Clock, RemoteName, SecretBytes, SeededEntropy, StoreId, Timestamp, json::SecretJson,
};
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
        let mut settings = self.settings.clone();
        if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
            all.extend(more);
        }
        self.open_with(&settings, NetSettings::default())
    }

    /// With little patience.
    pub(crate) fn open_hasty(&self) -> Arc<dyn Destination> {
        let hasty = NetSettings { call_timeout: Duration::from_millis(200), ..NetSettings::default() };
        self.open_with(&self.settings, hasty)
    }

    pub(crate) fn open_with(&self, settings: &Value, net: NetSettings) -> Arc<dyn Destination> {
        let (config, _) =
            Config::read(self.kind, &SecretJson::new(settings.clone()), Mode::Replace, None).unwrap();
        let destination = self.kind.open(&config, &net_of(net, Snapshot::default())).unwrap();
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

/// Whose writes they are in most trials.
pub(crate) fn mark(write: u8) -> Mark {
    Mark {
        store: StoreId::from_bytes([0x51; 16]),
        epoch: 1,
        association: AssociationId::from_bytes([0xa5; 16]),
        version: u64::from(write),
        write: Some(WriteId([write; 32])),
    }
}

/// A put, with what most trials want filled in.
pub(crate) struct Writing<'a> {
    pub(crate) name: &'a RemoteName,
    pub(crate) value: SecretBytes,
    pub(crate) encoding: Encoding,
    pub(crate) mark: Mark,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) expect: Expect<'a>,
    pub(crate) value_changed: bool,
    pub(crate) settings_changed: Option<Vec<String>>,
    pub(crate) revision: Option<String>,
}

impl<'a> Writing<'a> {
    /// Text, as a first write.
    pub(crate) fn new(name: &'a RemoteName, value: &str, write: u8) -> Self {
        Self {
            name,
            value: value.into(),
            encoding: Encoding::Text,
            mark: mark(write),
            tags: BTreeMap::new(),
            expect: Expect::Absent,
            value_changed: true,
            settings_changed: None,
            revision: None,
        }
    }

    /// As a later write.
    pub(crate) fn ours(name: &'a RemoteName, value: &str, write: u8, handle: Option<&'a str>) -> Self {
        Self { expect: Expect::Ours(handle), ..Self::new(name, value, write) }
    }

    /// As the engine makes it, which remembers the last receipt.
    pub(crate) fn after(name: &'a RemoteName, value: &str, write: u8, receipt: &'a Receipt) -> Self {
        Self {
            revision: receipt.revision.clone(),
            ..Self::ours(name, value, write, receipt.handle.as_deref())
        }
    }

    pub(crate) async fn send(&self, destination: &Arc<dyn Destination>) -> Result<PutOutcome, Fault> {
        destination
            .put(&Put {
                name: self.name,
                value: &self.value,
                encoding: self.encoding,
                mark: &self.mark,
                tags: &self.tags,
                expect: self.expect,
                value_changed: self.value_changed,
                settings_changed: self.settings_changed.as_deref(),
                last: Last { revision: self.revision.as_deref(), unsure: false },
            })
            .await
    }

    /// It must be written.
    pub(crate) async fn written(&self, destination: &Arc<dyn Destination>) -> Receipt {
        match self.send(destination).await {
            Ok(PutOutcome::Written(receipt)) => receipt,
            other => panic!("not written: {other:?}"),
        }
    }

    /// Something must be in the way.
    pub(crate) async fn taken(&self, destination: &Arc<dyn Destination>) -> Present {
        match self.send(destination).await {
            Ok(PutOutcome::Taken(present)) => present,
            other => panic!("not taken: {other:?}"),
        }
    }
}

pub(crate) async fn present(destination: &Arc<dyn Destination>, name: &RemoteName) -> Present {
    match destination.look(name).await {
        Ok(Remote::Present(present)) => present,
        other => panic!("not present: {other:?}"),
    }
}

pub(crate) async fn remove(
    destination: &Arc<dyn Destination>,
    name: &RemoteName,
    handle: Option<&str>,
) -> Result<(), Fault> {
    let owner = mark(0);
    destination.remove(&Remove { name, handle, owner: Some(&owner) }).await
}
