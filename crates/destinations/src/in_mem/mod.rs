//! `in-mem`: a destination that keeps what it is given in memory, and forgets it when the process
//! ends. It is the reference for how a destination behaves, and a scriptable stand-in for tests.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{Granularity, RemoteName, SecretBytes};

use crate::{
    Abilities, Case, Config, Destination, Encoding, Expect, Fault, Field, FieldFault, Held, Kind, Mark,
    NameRule, Net, Present, Put, PutOutcome, Receipt, Remote, Remove, Shape, TagRule,
};

/// The kind. Each instance has spaces of its own.
#[derive(Default)]
pub struct InMem {
    spaces: Mutex<BTreeMap<String, Arc<Space>>>,
}

const FIELDS: &[Field] = &[Field::new(
    "space",
    Shape::Text,
    "Name of the memory to keep entries in. Destinations with the same name share it.",
)
.immutable()];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
    key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
    names: NameRule {
        allows: |c| !c.is_control(),
        allowed: "anything but control characters",
        replacement: '_',
        max_len: 1024,
        case: Case::Sensitive,
        also: |_| None,
    },
    max_value_bytes: 1 << 20,
    empty_values: true,
    marks: true,
    create_notices: true,
    custom_tags: Some(TagRule {
        max_tags: 50,
        max_key: 128,
        max_value: 256,
        key_allows: |c| !c.is_control(),
        value_allows: |c| !c.is_control(),
        allowed: "anything but control characters",
        key_also: |_| None,
    }),
    binary: true,
    batch: 1,
};

impl InMem {
    /// A kind with empty spaces.
    pub const fn new() -> Self {
        Self { spaces: Mutex::new(BTreeMap::new()) }
    }

    /// The space of that name; `""` is that of destinations that name none.
    pub fn space(&self, name: &str) -> Arc<Space> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(spaces.entry(name.to_owned()).or_default())
    }
}

impl Kind for InMem {
    fn slug(&self) -> &'static str {
        "in-mem"
    }

    fn title(&self) -> &'static str {
        "Memory"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn reads_values(&self) -> bool {
        true
    }

    fn open(&self, config: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(self.space(config.text("space").unwrap_or_default()))
    }
}

/// One memory: the opened destination, and the handle by which tests look at it and steer it.
#[derive(Default)]
pub struct Space(Mutex<State>);

#[derive(Default)]
struct State {
    entries: BTreeMap<RemoteName, Entry>,
    made: u64,
    script: VecDeque<Step>,
    calls: Calls,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its value.
    pub value: SecretBytes,
    /// Text or bytes.
    pub encoding: Encoding,
    /// Whose it is.
    pub mark: Option<Mark>,
    /// It bears Vault's mark.
    pub vaults: bool,
    /// Its custom tags.
    pub tags: BTreeMap<String, String>,
    /// Never given to another entry.
    pub handle: String,
    /// Counts the writes that changed the value.
    pub revision: u64,
}

/// How often each call was made, the scripted failures included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// [`Destination::look`].
    pub look: usize,
    /// [`Destination::put`].
    pub put: usize,
    /// [`Destination::remove`].
    pub remove: usize,
    /// Names that [`Destination::read_many`] was asked for.
    pub read: usize,
}

/// What becomes of a coming call.
#[derive(Debug, Clone)]
pub enum Step {
    /// It goes through.
    Pass,
    /// It fails and changes nothing.
    Fail(Fault),
    /// It takes effect, and the answer is this fault.
    LoseAnswer(Fault),
    /// It waits first, then the next step applies.
    Wait(Duration),
}

impl Space {
    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.state().entries.get(&RemoteName::from_kind(name)).cloned()
    }

    /// The names there are, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().entries.keys().map(|name| name.as_str().to_owned()).collect()
    }

    /// Puts an entry there that nobody asked us for; replaces what is there under another handle.
    pub fn plant(&self, name: &str, value: impl Into<SecretBytes>, mark: Option<Mark>, vaults: bool) {
        let mut state = self.state();
        let entry = Entry {
            value: value.into(),
            encoding: Encoding::Text,
            mark,
            vaults,
            tags: BTreeMap::new(),
            handle: state.next_handle(),
            revision: 1,
        };
        state.entries.insert(RemoteName::from_kind(name), entry);
    }

    /// Changes an entry behind our back, or takes it away when it is set to `None`.
    pub fn meddle(&self, name: &str, change: impl FnOnce(&mut Option<Entry>)) {
        let name = RemoteName::from_kind(name);
        let mut state = self.state();
        let mut entry = state.entries.remove(&name);
        change(&mut entry);
        if let Some(entry) = entry {
            state.entries.insert(name, entry);
        }
    }

    /// What becomes of the coming calls, one step each, in order; then everything goes through.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.state().script.extend(steps);
    }

    /// How often each call was made so far.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as the script says; the fault that follows, and whether the call takes effect first.
    async fn scripted(&self, count: fn(&mut Calls) -> &mut usize) -> Result<Option<Fault>, Fault> {
        *count(&mut self.state().calls) += 1;
        loop {
            let step = self.state().script.pop_front();
            match step {
                None | Some(Step::Pass) => return Ok(None),
                Some(Step::Fail(fault)) => return Err(fault),
                Some(Step::LoseAnswer(fault)) => return Ok(Some(fault)),
                Some(Step::Wait(time)) => tokio::time::sleep(time).await,
            }
        }
    }
}

impl State {
    fn next_handle(&mut self) -> String {
        self.made += 1;
        format!("entry-{}", self.made)
    }
}

fn present(entry: &Entry) -> Present {
    Present {
        mark: entry.mark.clone(),
        vaults: entry.vaults,
        handle: Some(entry.handle.clone()),
        revision: Some(entry.revision.to_string()),
        ..Present::default()
    }
}

/// Whether a put may go onto what is there.
fn may_write(entry: &Entry, put: &Put<'_>) -> bool {
    match put.expect {
        Expect::Anything => true,
        Expect::Ours(Some(handle)) if entry.handle == handle => true,
        Expect::Absent | Expect::Ours(_) => entry.mark.as_ref().is_some_and(|m| m.same_owner(put.mark)),
    }
}

#[async_trait]
impl Destination for Space {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        let lost = self.scripted(|calls| &mut calls.look).await?;
        let remote =
            self.state().entries.get(name).map_or(Remote::Absent, |entry| Remote::Present(present(entry)));
        lost.map_or(Ok(remote), Err)
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let lost = self.scripted(|calls| &mut calls.put).await?;
        if put.value.len() > ABILITIES.max_value_bytes {
            return Err(Fault::too_large(put.value.len(), ABILITIES.max_value_bytes));
        }
        let mut state = self.state();
        let outcome = match state.entries.get_mut(put.name) {
            Some(entry) if !may_write(entry, put) => PutOutcome::Taken(present(entry)),
            Some(entry) => {
                let same = entry.mark.as_ref().is_some_and(|mark| mark.write == put.mark.write);
                if put.value_changed && !same {
                    entry.value = put.value.clone();
                    entry.encoding = put.encoding;
                    entry.revision += 1;
                }
                let removed = put.settings_changed.unwrap_or_default();
                entry.tags.retain(|key, _| !removed.contains(key));
                entry.tags.extend(put.tags.iter().map(|(k, v)| (k.clone(), v.clone())));
                entry.mark = Some(put.mark.clone());
                PutOutcome::Written(receipt(entry))
            }
            None => {
                let entry = Entry {
                    value: put.value.clone(),
                    encoding: put.encoding,
                    mark: Some(put.mark.clone()),
                    vaults: false,
                    tags: put.tags.clone(),
                    handle: state.next_handle(),
                    revision: 1,
                };
                let receipt = receipt(&entry);
                state.entries.insert(put.name.clone(), entry);
                PutOutcome::Written(receipt)
            }
        };
        lost.map_or(Ok(outcome), Err)
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let lost = self.scripted(|calls| &mut calls.remove).await?;
        let mut state = self.state();
        if let Some(entry) = state.entries.get(remove.name) {
            let ours = entry.mark.as_ref();
            if remove.owner.is_some_and(|owner| !ours.is_some_and(|mark| mark.same_owner(owner))) {
                return Err(Fault::ownership_lost());
            }
            state.entries.remove(remove.name);
        }
        lost.map_or(Ok(()), Err)
    }

    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let failed = match self.scripted(|calls| &mut calls.read).await {
                Ok(None) => None,
                Ok(Some(fault)) | Err(fault) => Some(fault),
            };
            let held = match self.state().entries.get(name) {
                None => Held::Nothing,
                Some(entry) => Held::Value(entry.value.clone(), entry.encoding),
            };
            answers.push(failed.map_or(Ok(held), Err));
        }
        answers
    }
}

fn receipt(entry: &Entry) -> Receipt {
    Receipt { handle: Some(entry.handle.clone()), revision: Some(entry.revision.to_string()) }
}
