//! What the tests of adapters have in common: a way out on loopback, marks, and the calls the engine would
//! make. What is told apart in a test stands in the test; what every test says is said here.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these fail their test by panicking")]

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use model::{AssociationId, Clock, RemoteName, SecretBytes, SeededEntropy, StoreId, json::SecretJson};
use serde_json::Value;

use crate::{
    Config, Destination, Encoding, Expect, Fault, FieldFault, Kind, Last, Mark, Mode, Net, NetSettings,
    Present, Put, PutOutcome, Receipt, Remote, Remove, WriteId, kinds, net::Snapshot,
};

/// What every pretend service puts into its refusals, and what therefore must be seen nowhere.
pub const REMOTE_CANARY: &str = "CANARY-FROM-REMOTE";

/// The kind of this slug.
pub fn kind(slug: &str) -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == slug).unwrap()
}

/// A way out that trusts nobody's certificates.
pub fn net(clock: Arc<dyn Clock>, settings: NetSettings, environment: Snapshot) -> Arc<Net> {
    let settings = NetSettings { system_roots: false, ..settings };
    Net::new(settings, Arc::new(environment), clock, Arc::new(SeededEntropy::new(1))).unwrap()
}

/// Settings with which pretend services are reached: they are on this machine.
pub fn nearby() -> NetSettings {
    NetSettings { allow_private_networks: true, ..NetSettings::default() }
}

/// An environment of these variables.
pub fn environment(variables: &[(&str, &str)]) -> Snapshot {
    let vars = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Snapshot { vars, home: None }
}

/// Reads settings and opens a destination with them.
pub fn open(kind: &dyn Kind, settings: Value, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
    let (config, _) = Config::read(kind, &SecretJson::new(settings), Mode::Replace, None)?;
    kind.open(&config, net)
}

/// Settings with more of them.
pub fn with(mut settings: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
        all.extend(more);
    }
    settings
}

/// The same, where `null` takes one away.
pub fn merged(settings: Value, more: Value) -> Value {
    let mut settings = with(settings, more);
    if let Value::Object(all) = &mut settings {
        all.retain(|_, value| !value.is_null());
    }
    settings
}

/// The mark of one association's write of this number, and of the version of this number.
pub fn mark(write: u8) -> Mark {
    Mark {
        store: StoreId::from_bytes([1; 16]),
        epoch: 1,
        association: AssociationId::from_bytes([2; 16]),
        version: u64::from(write),
        write: Some(WriteId([write; 32])),
    }
}

/// What a name is made of: its text as it is, or a name.
pub trait Named {
    /// The name.
    fn named(self) -> RemoteName;
}

impl Named for &str {
    fn named(self) -> RemoteName {
        RemoteName::from_kind(self)
    }
}

impl Named for &String {
    fn named(self) -> RemoteName {
        RemoteName::from_kind(self.as_str())
    }
}

impl Named for &RemoteName {
    fn named(self) -> RemoteName {
        self.clone()
    }
}

impl Named for RemoteName {
    fn named(self) -> RemoteName {
        self
    }
}

/// A put in the making, with what most tests want filled in.
#[derive(Debug, Clone)]
pub struct Writing<'a> {
    /// Under which name.
    pub name: RemoteName,
    /// What.
    pub value: SecretBytes,
    /// Text, unless said otherwise.
    pub encoding: Encoding,
    /// Whose write it is.
    pub mark: Mark,
    /// None, unless said otherwise.
    pub tags: BTreeMap<String, String>,
    /// What is expected to be there.
    pub expect: Expect<'a>,
    /// It is, unless said otherwise.
    pub value_changed: bool,
    /// The tags that are no longer wanted, when settings are to be carried.
    pub settings_changed: Option<Vec<String>>,
    /// What the last receipt said.
    pub last: Last<'a>,
}

impl<'a> Writing<'a> {
    /// Text, as a first write.
    pub fn new(name: impl Named, value: &str, write: u8) -> Self {
        Self {
            name: name.named(),
            value: value.into(),
            encoding: Encoding::Text,
            mark: mark(write),
            tags: BTreeMap::new(),
            expect: Expect::Absent,
            value_changed: true,
            settings_changed: None,
            last: Last::default(),
        }
    }

    /// As a later write.
    pub fn ours(name: impl Named, value: &str, write: u8, handle: Option<&'a str>) -> Self {
        Self { expect: Expect::Ours(handle), ..Self::new(name, value, write) }
    }

    /// As a later write, as the engine makes it, which remembers the last receipt.
    pub fn after(name: impl Named, value: &str, write: u8, receipt: &'a Receipt) -> Self {
        let last = Last { revision: receipt.revision.as_deref(), unsure: false };
        Self { last, ..Self::ours(name, value, write, receipt.handle.as_deref()) }
    }

    /// Expecting something else.
    #[must_use]
    pub fn expecting(self, expect: Expect<'a>) -> Self {
        Self { expect, ..self }
    }

    /// With tags.
    #[must_use]
    pub fn tagged(mut self, tags: &[(&str, &str)]) -> Self {
        self.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self
    }

    /// Carrying settings and not the value: these tags are no longer wanted.
    #[must_use]
    pub fn carrying(self, unwanted: &[String]) -> Self {
        Self { value_changed: false, settings_changed: Some(unwanted.to_vec()), ..self }
    }

    /// As it is handed to a destination.
    pub fn put(&self) -> Put<'_> {
        Put {
            name: &self.name,
            value: &self.value,
            encoding: self.encoding,
            mark: &self.mark,
            tags: &self.tags,
            expect: self.expect,
            value_changed: self.value_changed,
            settings_changed: self.settings_changed.as_deref(),
            last: self.last,
        }
    }

    /// Makes it.
    pub async fn send(&self, destination: &Arc<dyn Destination>) -> Result<PutOutcome, Fault> {
        destination.put(&self.put()).await
    }

    /// It must be written.
    pub async fn written(&self, destination: &Arc<dyn Destination>) -> Receipt {
        written(self.send(destination).await)
    }

    /// Something must be in the way.
    pub async fn taken(&self, destination: &Arc<dyn Destination>) -> Present {
        taken(self.send(destination).await)
    }

    /// It must fail.
    pub async fn fault(&self, destination: &Arc<dyn Destination>) -> Fault {
        fault(self.send(destination).await)
    }
}

/// Puts a text there.
pub async fn put(
    destination: &Arc<dyn Destination>,
    name: impl Named,
    value: &str,
    write: u8,
    expect: Expect<'_>,
) -> Result<PutOutcome, Fault> {
    Writing::new(name, value, write).expecting(expect).send(destination).await
}

/// Makes an entry with the value `v`.
pub async fn create(destination: &Arc<dyn Destination>, name: impl Named) -> Receipt {
    Writing::new(name, "v", 1).written(destination).await
}

/// It must have been written.
pub fn written(outcome: Result<PutOutcome, Fault>) -> Receipt {
    match outcome {
        Ok(PutOutcome::Written(receipt)) => receipt,
        other => panic!("not written: {other:?}"),
    }
}

/// Something must have been in the way.
pub fn taken(outcome: Result<PutOutcome, Fault>) -> Present {
    match outcome {
        Ok(PutOutcome::Taken(present)) => present,
        other => panic!("not taken: {other:?}"),
    }
}

/// What is there.
pub async fn look(destination: &Arc<dyn Destination>, name: impl Named) -> Result<Remote, Fault> {
    destination.look(&name.named()).await
}

/// It must be there.
pub async fn present(destination: &Arc<dyn Destination>, name: impl Named) -> Present {
    match look(destination, name).await {
        Ok(Remote::Present(present)) => present,
        other => panic!("not present: {other:?}"),
    }
}

/// Removes an entry; `proved`: only if it bears our mark.
pub async fn remove(
    destination: &Arc<dyn Destination>,
    name: impl Named,
    handle: Option<&str>,
    proved: bool,
) -> Result<(), Fault> {
    let (name, owner) = (name.named(), mark(0));
    destination.remove(&Remove { name: &name, handle, owner: proved.then_some(&owner) }).await
}

/// The fault an outcome is, after making sure that it repeats nothing of what the service said.
pub fn fault<T: Debug>(outcome: Result<T, Fault>) -> Fault {
    let fault = outcome.expect_err("this had to fail");
    for text in [format!("{fault}"), format!("{fault:?}"), fault.message.to_string(), fault.code.to_owned()] {
        assert!(!text.contains(REMOTE_CANARY), "the fault repeats what it must not: {text}");
    }
    fault
}

/// Its code.
pub fn code<T: Debug>(outcome: Result<T, Fault>) -> &'static str {
    fault(outcome).code
}
