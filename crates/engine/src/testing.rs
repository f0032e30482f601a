//! A scripted destination and a scripted source for this crate's tests.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use destinations::{
    Abilities, Case, Config, Destination, Expect, Fault, Field, FieldFault, Kind, Mark, Mode, NameRule, Net,
    NetSettings, Present, Put, PutOutcome, Receipt, Remote, Remove, Shape, net::Snapshot,
};
use model::{
    Clock, DestinationKey, DestinationName, Entropy, Granularity, MountAccessor, MountPath, RemoteName,
    SecretBytes, SecretPath, SeededEntropy, SyncStatus, Timestamp, Version, json::SecretJson,
};
use store::{
    Memory, RootKey, Store, StoreError,
    snapshot::{Guarding, Writer, restore},
};
use tokio::time::Instant;

use crate::{
    Engine, EntryView, Parts, Settings, SourceRef,
    rules::{Changed, RuleBook, announce},
    source::{Children, Source, SourceState, SourceVersion},
};

/// What is at the scripted destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) value: String,
    pub(crate) mark: Option<Mark>,
    pub(crate) vaults: bool,
}

#[derive(Default)]
pub(crate) struct Remotes {
    pub(crate) held: Mutex<BTreeMap<String, Held>>,
    pub(crate) calls: Mutex<Vec<String>>,
    /// Faults of the coming writes and removals, in order; `None` lets one through.
    pub(crate) script: Mutex<VecDeque<Option<Fault>>>,
    pub(crate) latency: Mutex<Duration>,
    /// The next write takes effect and its answer is lost.
    pub(crate) lose_answer: Mutex<bool>,
}

pub(crate) struct TestKind {
    pub(crate) remotes: Arc<Remotes>,
    abilities: &'static Abilities,
}

pub(crate) static ABILITIES: Abilities = abilities(true, 1);

/// A service that can hold no mark, and on which a write does not notice what is there.
pub(crate) static UNMARKED: Abilities = abilities(false, 1);

/// Takes several entries with one call.
pub(crate) static MANY: Abilities = abilities(true, 3);

const fn abilities(marks: bool, batch: usize) -> Abilities {
    Abilities {
        granularity: Granularity::SecretPath,
        path_template: "{{ .MountAccessor }}/{{ .SecretPath }}",
        key_template: "{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
        names: NameRule {
            allows: |c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_'),
            allowed: "letters, digits, / and _",
            replacement: '_',
            max_len: 64,
            case: Case::Sensitive,
            also: |_| None,
        },
        max_value_bytes: 100,
        empty_values: false,
        marks,
        create_notices: marks,
        custom_tags: None,
        binary: false,
        batch,
    }
}

impl TestKind {
    /// Tests keep kinds for ever, as programs do.
    pub(crate) fn leak(abilities: &'static Abilities) -> &'static Self {
        Box::leak(Box::new(Self { remotes: Arc::default(), abilities }))
    }
}

impl Kind for TestKind {
    fn slug(&self) -> &'static str {
        "test"
    }
    fn title(&self) -> &'static str {
        "Test"
    }
    fn fields(&self) -> &'static [Field] {
        const FIELDS: &[Field] = &[Field::new("where", Shape::Text, "Where.").immutable()];
        FIELDS
    }
    fn abilities(&self) -> &'static Abilities {
        self.abilities
    }
    fn open(&self, _: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::new(TestDestination(Arc::clone(&self.remotes), self.abilities.marks)))
    }
}

/// What it holds, and whether it holds marks.
struct TestDestination(Arc<Remotes>, bool);

impl TestDestination {
    async fn call(&self, what: &str, name: &RemoteName) -> Result<(), Fault> {
        self.0.calls.lock().unwrap().push(format!("{what} {name}"));
        let latency = *self.0.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.0.script.lock().unwrap().pop_front().flatten().map_or(Ok(()), Err)
    }
}

fn present(held: &Held) -> Present {
    Present {
        mark: held.mark.clone(),
        vaults: held.vaults,
        revision: Some(revision(&held.value)),
        ..Present::default()
    }
}

/// Another one for another value, as services have them.
fn revision(value: &str) -> String {
    format!("of {value}")
}

#[async_trait]
impl Destination for TestDestination {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        self.call("look", name).await?;
        Ok(self
            .0
            .held
            .lock()
            .unwrap()
            .get(name.as_str())
            .map_or(Remote::Absent, |held| Remote::Present(present(held))))
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        self.call("put", put.name).await?;
        let mut all = self.0.held.lock().unwrap();
        if let Some(held) = all.get(put.name.as_str())
            && put.expect == Expect::Absent
            && !held.mark.as_ref().is_some_and(|mark| mark.same_owner(put.mark))
        {
            return Ok(PutOutcome::Taken(present(held)));
        }
        let held = Held {
            value: put.value.expose_text().unwrap().to_owned(),
            mark: self.1.then(|| put.mark.clone()),
            vaults: false,
        };
        let receipt = Receipt { revision: Some(revision(&held.value)), handle: None };
        all.insert(put.name.as_str().to_owned(), held);
        if std::mem::take(&mut *self.0.lose_answer.lock().unwrap()) {
            return Err(Fault::external("timeout", "no answer").ambiguous());
        }
        Ok(PutOutcome::Written(receipt))
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        self.call("remove", remove.name).await?;
        let mut all = self.0.held.lock().unwrap();
        let Some(held) = all.get(remove.name.as_str()) else { return Ok(()) };
        if let Some(owner) = remove.owner
            && !held.mark.as_ref().is_some_and(|mark| mark.same_owner(owner))
        {
            return Err(Fault::client("ownership_lost", "not ours"));
        }
        all.remove(remove.name.as_str());
        Ok(())
    }
}

/// A source whose every answer is written by the test.
#[derive(Default)]
pub(crate) struct TestSource {
    secrets: Mutex<BTreeMap<String, (u64, Option<String>)>>,
    deleted: Mutex<BTreeMap<String, String>>,
    pub(crate) mount_gone: Mutex<bool>,
    pub(crate) unreadable: Mutex<bool>,
    pub(crate) expires: Mutex<Option<Timestamp>>,
}

#[async_trait]
impl Source for TestSource {
    async fn read(&self, _: &MountAccessor, path: &SecretPath, _: bool) -> SourceState {
        if *self.unreadable.lock().unwrap() {
            return SourceState::Unknown { message: "disk on fire".into() };
        }
        if *self.mount_gone.lock().unwrap() {
            return SourceState::MountGone;
        }
        match self.secrets.lock().unwrap().get(path.as_str()) {
            Some((version, Some(data))) => SourceState::Present {
                version: Version(*version),
                data: SecretBytes::from(data.as_str()),
                expires: *self.expires.lock().unwrap(),
            },
            _ => SourceState::Absent,
        }
    }

    async fn version(&self, mount: &MountAccessor, path: &SecretPath, previous: bool) -> SourceVersion {
        match self.read(mount, path, previous).await {
            SourceState::Present { version, .. } => SourceVersion::Live(version),
            SourceState::Absent => SourceVersion::Absent,
            SourceState::MountGone => SourceVersion::MountGone,
            SourceState::Unknown { .. } => SourceVersion::Unknown,
        }
    }

    async fn children(&self, _: &MountAccessor, folder: &[String]) -> Result<Option<Children>, StoreError> {
        if *self.mount_gone.lock().unwrap() {
            return Ok(None);
        }
        let prefix: String = folder.iter().flat_map(|segment| [segment.as_str(), "/"]).collect();
        let mut children = Children::default();
        for path in self.secrets.lock().unwrap().keys() {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            match rest.split_once('/') {
                None => children.secrets.push(rest.to_owned()),
                Some((folder, _)) if !children.folders.iter().any(|known| known == folder) => {
                    children.folders.push(folder.to_owned());
                }
                Some(_) => {}
            }
        }
        Ok(Some(children))
    }
}

/// Wall-clock time that follows tokio's, so that a paused test moves both.
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.0.elapsed())
    }
}

/// A way out that leads nowhere.
pub(crate) fn quiet_net(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Net> {
    let settings = NetSettings { system_roots: false, ..NetSettings::default() };
    Net::new(settings, Arc::new(Snapshot::default()), clock, entropy).unwrap()
}

/// What the KV engine does in the transaction that writes a secret.
pub(crate) async fn announce_change(store: &Store, engine: &Engine, secret: &SourceRef, live: bool) {
    let source = engine.node(&secret.accessor, &secret.path);
    let changed = Changed {
        accessor: &secret.accessor,
        mount: "secret",
        path: live.then_some(&secret.path),
        source,
        now: engine.0.clock.now(),
    };
    let book = RuleBook::default();
    loop {
        let mut transaction = store.transaction();
        let destinations = announce(store, &book, &changed, &mut transaction).await.unwrap();
        match transaction.commit().await {
            Ok(_) => return destinations.into_iter().for_each(|id| engine.pending(id, source)),
            Err(StoreError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// An engine over a memory store with one destination kind `test` and one source mount.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) source: Arc<TestSource>,
    pub(crate) remotes: Arc<Remotes>,
    parts: Box<dyn Fn(Store) -> Parts + Send>,
}

pub(crate) fn accessor() -> MountAccessor {
    MountAccessor::parse("kv_00000001").unwrap()
}

pub(crate) fn secret(path: &str) -> SourceRef {
    SourceRef {
        grantor: None,
        accessor: accessor(),
        mount: MountPath::parse("secret").unwrap(),
        path: SecretPath::parse(path).unwrap(),
    }
}

pub(crate) fn destination(name: &str) -> DestinationKey {
    DestinationKey { kind: "test".into(), name: DestinationName::parse(name).unwrap() }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::with_abilities(settings, &ABILITIES).await
    }

    pub(crate) async fn with_abilities(settings: Settings, abilities: &'static Abilities) -> Self {
        let kind = TestKind::leak(abilities);
        Self::of(settings, kind, Arc::clone(&kind.remotes)).await
    }

    /// With another kind, whose slug is `test` too.
    pub(crate) async fn of(settings: Settings, kind: &'static dyn Kind, remotes: Arc<Remotes>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        let entropy: Arc<SeededEntropy> = Arc::new(SeededEntropy::new(1));
        let root = RootKey::random(entropy.as_ref());
        let store =
            Store::init(Arc::new(Memory::new()), &root, clock.as_ref(), entropy.clone()).await.unwrap();
        let source = Arc::new(TestSource::default());
        let parts = {
            let (source, clock) = (Arc::clone(&source), Arc::clone(&clock));
            move |store| Parts {
                store,
                source: source.clone(),
                kinds: vec![kind],
                net: quiet_net(Arc::clone(&clock), entropy.clone()),
                identity: None,
                clock: Arc::clone(&clock),
                entropy: entropy.clone(),
                settings: settings.clone(),
            }
        };
        let engine = Engine::new(parts(store.clone()));
        engine.start().await.unwrap();
        Self { engine, store, source, remotes, parts: Box::new(parts) }
    }

    /// The process ends without a goodbye and comes back.
    pub(crate) async fn restart(&mut self) {
        self.engine.stop(Duration::ZERO).await;
        self.engine = Engine::new((self.parts)(self.store.clone()));
        self.engine.start().await.unwrap();
    }

    /// The store, as a snapshot.
    pub(crate) async fn save(&self) -> Vec<u8> {
        let now = self.engine.0.clock.now();
        let mut writer = Writer::new(&self.store, now, &SeededEntropy::new(8)).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = writer.piece().await.unwrap() {
            bytes.extend(piece);
        }
        bytes
    }

    /// Puts a snapshot in the place of the store, and serves it. What the source holds is the test's affair.
    pub(crate) async fn restore(&mut self, snapshot: &[u8]) {
        self.engine.stop(Duration::ZERO).await;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(snapshot).unwrap();
        let (root, backend) = (self.store.root_key().clone(), Arc::clone(self.store.backend()));
        let entropy: Arc<SeededEntropy> = Arc::new(SeededEntropy::new(9));
        let now = self.engine.0.clock.now();
        restore(file, &root, &backend, Guarding::AsNow, now, entropy.clone()).await.unwrap();
        self.store = Store::open(backend, &root, entropy).await.unwrap().unwrap();
        self.restart().await;
    }

    pub(crate) async fn configure(&self, name: &str, settings: &str) {
        let body = SecretJson::parse(settings.as_bytes()).unwrap();
        self.engine.write_destination(&destination(name), &body, Mode::Replace).await.unwrap();
    }

    /// Writes or deletes a secret at the source, with its outbox rows, as the KV engine does.
    pub(crate) async fn write(&self, path: &str, data: Option<&str>) {
        let reference = secret(path);
        {
            let mut secrets = self.source.secrets.lock().unwrap();
            let entry = secrets.entry(path.to_owned()).or_default();
            if data.is_some() {
                entry.0 += 1;
            }
            entry.1 = data.map(ToOwned::to_owned);
        }
        announce_change(&self.store, &self.engine, &reference, data.is_some()).await;
    }

    pub(crate) async fn set(&self, name: &str, path: &str) -> Vec<EntryView> {
        self.engine.set_association(&destination(name), &secret(path)).await.unwrap()
    }

    pub(crate) async fn remove(&self, name: &str, path: &str) -> Vec<EntryView> {
        let source = secret(path);
        self.engine
            .remove_association(&destination(name), Some(&source.accessor), "secret", &source.path)
            .await
            .unwrap()
    }

    /// Waits (in paused time) until nothing is waiting or running.
    pub(crate) async fn settle(&self) {
        for _ in 0..10_000 {
            if self.engine.0.lanes().len() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("work does not end");
    }

    pub(crate) async fn views(&self, name: &str) -> Vec<EntryView> {
        self.engine.associations(&destination(name)).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, name: &str) -> Vec<SyncStatus> {
        self.views(name).await.iter().map(|view| view.status).collect()
    }

    pub(crate) fn held(&self) -> Vec<(String, String)> {
        let held = self.remotes.held.lock().unwrap();
        held.iter().map(|(name, held)| (name.clone(), held.value.clone())).collect()
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.remotes.calls.lock().unwrap())
    }

    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.remotes.script.lock().unwrap().extend(faults);
    }
}

impl TestSource {
    /// The secret is gone and nobody is told.
    pub(crate) fn forget(&self, path: &str) {
        if let Some(entry) = self.secrets.lock().unwrap().get_mut(path) {
            entry.1 = None;
        }
    }

    /// A new version that nobody is told of.
    pub(crate) fn change_silently(&self, path: &str, data: &str) {
        let mut secrets = self.secrets.lock().unwrap();
        let entry = secrets.entry(path.to_owned()).or_default();
        *entry = (entry.0 + 1, Some(data.to_owned()));
    }
}

impl TestSource {
    /// Brings the version back that was deleted, if one was.
    pub(crate) fn undelete(&self, path: &str) -> bool {
        let before = self.deleted.lock().unwrap().remove(path);
        let mut secrets = self.secrets.lock().unwrap();
        match (before, secrets.get_mut(path)) {
            (Some(data), Some(entry)) if entry.1.is_none() => {
                entry.1 = Some(data);
                true
            }
            _ => false,
        }
    }

    /// Writes a new version, or deletes it.
    pub(crate) fn put(&self, path: &str, data: Option<&str>) {
        let mut secrets = self.secrets.lock().unwrap();
        let entry = secrets.entry(path.to_owned()).or_default();
        entry.0 += u64::from(data.is_some());
        let before = std::mem::replace(&mut entry.1, data.map(ToOwned::to_owned));
        if let (Some(before), None) = (before, data) {
            self.deleted.lock().unwrap().insert(path.to_owned(), before);
        }
    }

    /// What it holds now.
    pub(crate) fn value(&self, path: &str) -> Option<String> {
        self.secrets.lock().unwrap().get(path).and_then(|(_, data)| data.clone())
    }
}
