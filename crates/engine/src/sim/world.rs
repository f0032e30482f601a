//! What outlives a process: the store, the destination, the network between, the dice. And one life of a
//! process, as far as these notice it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use destinations::{
    Abilities, Config, Destination, Expect, Fault, Field, FieldFault, Kind, Mark, Net, Present, Put,
    PutOutcome, Receipt, Remote, Remove, Retry,
};
use model::{AssociationId, Clock, DestinationId, Entropy, RemoteName, SeededEntropy, Timestamp};
use store::{
    Backend, Batch, Entry, Keys, Memory, Node, Record, Revision, Store, StoreError, Write,
    records::Association,
};
use tokio::{
    sync::{broadcast, oneshot},
    time::Instant,
};
use tokio_util::bytes::Bytes;

use super::plan::{Fault as Kinds, Faults};
use crate::{
    engine::Inner,
    testing::{ABILITIES, MANY, TokioClock, UNMARKED},
};

/// No call takes longer to have its effect, whatever becomes of whoever made it.
const LONGEST_CALL: u64 = 20_000;

/// One remote entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) value: String,
    pub(super) mark: Option<Mark>,
    handle: u64,
}

impl Held {
    /// Whether we wrote it, which a destination without marks keeps to itself.
    pub(super) fn is_ours(&self) -> bool {
        self.mark.is_some()
    }

    pub(super) fn strangers() -> Self {
        Self { value: "a stranger's".into(), mark: None, handle: 0 }
    }
}

pub(super) struct World {
    pub(super) memory: Arc<Memory>,
    /// The destination holds marks that can be read.
    pub(super) marks: bool,
    pub(super) faults: Faults,
    pub(super) remote: Mutex<BTreeMap<String, Held>>,
    handles: AtomicU64,
    dice: SeededEntropy,
    pub(super) calm: AtomicBool,
    /// What happened, and what the servers log, in order.
    pub(super) log: Arc<Mutex<Vec<String>>>,
    /// What must never happen and did.
    pub(super) wrong: Mutex<Option<String>>,
    pub(super) calls: AtomicU64,
    /// Too many calls, says the destination until then.
    pub(super) storm: Mutex<Option<Instant>>,
    /// Which destination and path an association is of.
    pub(super) owners: Mutex<BTreeMap<AssociationId, (String, String)>>,
    /// Of which destinations and paths something may be removed.
    pub(super) reasons: Mutex<BTreeSet<(String, String)>>,
    pub(super) writer: OnceLock<Store>,
    /// The newest version that was recorded of each association.
    recorded: Mutex<BTreeMap<(DestinationId, Node), u64>>,
}

impl World {
    pub(super) fn new(seed: u64, marks: bool, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::new(Memory::shared()),
            marks,
            faults,
            remote: Mutex::default(),
            handles: AtomicU64::new(0),
            dice: SeededEntropy::new(seed ^ 0x5eed),
            calm: AtomicBool::new(false),
            log: Arc::default(),
            wrong: Mutex::default(),
            calls: AtomicU64::new(0),
            storm: Mutex::default(),
            owners: Mutex::default(),
            reasons: Mutex::default(),
            writer: OnceLock::new(),
            recorded: Mutex::default(),
        })
    }

    pub(super) fn roll(&self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    }

    /// One chance in so many, while things are not calm.
    fn unlucky(&self, kind: Kinds, chance: u64) -> bool {
        // The dice fall whatever is done with them, so that leaving a fault out changes little else.
        let fell = self.roll(chance) == 0;
        fell && self.faults.has(kind) && !self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    pub(super) fn never(&self, what: String) {
        self.note(format!("NEVER: {what}"));
        self.wrong.lock().unwrap().get_or_insert(what);
    }

    /// All that is stored, as the back end sees it.
    pub(super) async fn memory_entries(&self) -> Vec<(Vec<u8>, Bytes)> {
        let entries = self.memory.scan(&[], None, usize::MAX).await.unwrap();
        entries.into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }

    fn present(&self, held: &Held) -> Present {
        if !self.marks {
            return Present::default();
        }
        Present { mark: held.mark.clone(), handle: Some(held.handle.to_string()), ..Present::default() }
    }

    /// Nobody records older knowledge over newer.
    async fn recorded(&self, by: usize, associations: &[(DestinationId, Node)]) {
        let Some(store) = self.writer.get() else { return };
        for (id, source) in associations {
            let stored = store.get(&store.keys().association(*id, *source)).await.unwrap();
            let Some(version) = stored.map(|stored| stored.record.version.0).filter(|version| *version > 0)
            else {
                continue;
            };
            let before = self.recorded.lock().unwrap().insert((*id, *source), version);
            if before.is_some_and(|before| before > version) {
                self.never(format!("{by} recorded version {version} over {before:?}"));
            }
        }
    }

    /// Something of ours is taken away: somebody must have given a reason.
    fn removed(&self, name: &str, held: &Held) {
        let Some(mark) = &held.mark else { return self.never(format!("{name} of a stranger was removed")) };
        let owner = self.owners.lock().unwrap().get(&mark.association).cloned();
        match owner {
            Some(owner) if self.reasons.lock().unwrap().contains(&owner) => {}
            owner => self.never(format!("{name} was removed for no reason: {owner:?}")),
        }
    }
}

/// A wall clock that may be set.
pub(super) struct NodeClock {
    clock: Arc<TokioClock>,
    /// Milliseconds.
    ahead: AtomicI64,
}

impl NodeClock {
    pub(super) fn new(clock: Arc<TokioClock>) -> Self {
        Self { clock, ahead: AtomicI64::new(0) }
    }

    pub(super) fn jump(&self, milliseconds: i64) {
        self.ahead.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed) * 1_000_000;
        Timestamp::from_nanos(self.clock.now().as_nanos() + ahead)
    }
}

/// One life of a process. After its death no call of it returns.
pub(super) struct Life {
    pub(super) world: Arc<World>,
    pub(super) number: usize,
    alive: AtomicBool,
    /// It does not run until then, and does not notice.
    frozen: Mutex<Option<Instant>>,
    /// It does not reach the store until then; whether it waits for it, or is told.
    cut: Mutex<Option<(Instant, bool)>>,
    pub(super) engine: OnceLock<Weak<Inner>>,
}

impl Life {
    pub(super) fn new(world: &Arc<World>, number: usize) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            number,
            alive: AtomicBool::new(true),
            frozen: Mutex::default(),
            cut: Mutex::default(),
            engine: OnceLock::new(),
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn die(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }

    pub(super) fn freeze(&self, time: Duration) {
        *self.frozen.lock().unwrap() = Some(Instant::now() + time);
    }

    pub(super) fn cut_off(&self, time: Duration, silent: bool) {
        *self.cut.lock().unwrap() = Some((Instant::now() + time, silent));
    }

    /// Nothing is wrong with it any more.
    pub(super) fn mend(&self) {
        *self.frozen.lock().unwrap() = None;
        *self.cut.lock().unwrap() = None;
    }

    /// Goes on only while the process runs.
    async fn running(&self) {
        loop {
            if !self.is_alive() {
                std::future::pending::<()>().await;
            }
            let frozen = self.frozen.lock().unwrap().filter(|until| *until > Instant::now());
            let Some(until) = frozen else { return };
            tokio::time::sleep_until(until).await;
        }
    }

    /// Every call outside that may have an effect passes here, before and after it takes effect.
    async fn outside(&self) {
        if self.world.unlucky(Kinds::Crash, 300) {
            self.world.note(format!("{} dies", self.number));
            self.die();
        }
        self.running().await;
    }

    async fn reach_store(&self) -> Result<(), StoreError> {
        self.running().await;
        let cut = self.cut.lock().unwrap().filter(|(until, _)| *until > Instant::now());
        if let Some((until, silent)) = cut {
            if silent {
                tokio::time::sleep_until(until).await;
            }
            return Err(StoreError::Backend("it is not reached".into()));
        }
        if self.world.unlucky(Kinds::Slow, 40) {
            tokio::time::sleep(Duration::from_millis(self.world.roll(30))).await;
            self.running().await;
        }
        Ok(())
    }

    /// No call is made by a server that the others have given up, since somebody else may make it.
    async fn may_call(&self, what: &str, name: &RemoteName) {
        let (Some(inner), Some(store)) = (self.engine.get().and_then(Weak::upgrade), self.world.writer.get())
        else {
            return;
        };
        let record = store.get(&store.keys().server_node(inner.cluster.id())).await.unwrap();
        if record.is_none() && !self.world.faults.has(Kinds::Expelled) {
            self.world.never(format!("{} was given up and calls: {what} {name}", self.number));
        }
    }
}

pub(super) struct Disk(pub(super) Arc<Life>);

#[async_trait]
impl Backend for Disk {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.0.reach_store().await?;
        self.0.world.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.0.reach_store().await?;
        self.0.world.memory.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        let world = &self.0.world;
        self.0.outside().await;
        self.0.reach_store().await?;
        if world.unlucky(Kinds::Disk, 150) {
            return Err(StoreError::Backend("the disk is busy".into()));
        }
        let associations: Vec<_> = batch
            .writes
            .iter()
            .filter_map(|write| match write {
                Write::Put(key, _) if key.first() == Some(&Association::TAG) => {
                    Keys::parts_of_association(key)
                }
                _ => None,
            })
            .collect();
        let done = world.memory.commit(batch).await;
        if done.is_ok() {
            world.recorded(self.0.number, &associations).await;
        }
        self.0.outside().await;
        if world.unlucky(Kinds::Disk, 150) {
            return Err(StoreError::Unknown);
        }
        tokio::task::yield_now().await;
        done
    }

    fn shared(&self) -> bool {
        true
    }

    async fn announce(&self, announcement: Bytes) {
        self.0.running().await;
        let world = Arc::clone(&self.0.world);
        if announcement.windows(6).any(|window| window == b"canary") {
            world.never("an announcement tells a value".into());
        }
        let lost = world.unlucky(Kinds::Announcements, 3);
        let doubled = world.unlucky(Kinds::Announcements, 4);
        let late = world.unlucky(Kinds::Announcements, 4).then(|| world.roll(5000));
        if lost {
            return;
        }
        for _ in 0..=u8::from(doubled) {
            let (memory, announcement) = (Arc::clone(&world.memory), announcement.clone());
            match late {
                None => memory.announce(announcement).await,
                Some(late) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(late)).await;
                        memory.announce(announcement).await;
                    });
                }
            }
        }
    }

    fn announcements(&self) -> Option<broadcast::Receiver<Bytes>> {
        self.0.world.memory.announcements()
    }
}

pub(super) struct SimKind(pub(super) Arc<Life>);

impl Kind for SimKind {
    fn slug(&self) -> &'static str {
        "test"
    }
    fn title(&self) -> &'static str {
        "Simulated"
    }
    fn fields(&self) -> &'static [Field] {
        &[]
    }
    fn abilities(&self) -> &'static Abilities {
        match (self.0.world.marks, self.0.world.faults.has(Kinds::Torn)) {
            (false, _) => &UNMARKED,
            (true, true) => &MANY,
            (true, false) => &ABILITIES,
        }
    }
    fn open(&self, _: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::new(SimDestination(Arc::clone(&self.0))))
    }
}

struct SimDestination(Arc<Life>);

impl SimDestination {
    /// Has `effect` happen at the remote, with everything that can go wrong before, at and after it. Once it
    /// is sent it happens, whatever becomes of the sender.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        name: &RemoteName,
        effect: impl Fn(&World) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let world = &self.0.world;
        self.0.outside().await;
        self.0.may_call(what, name).await;
        world.calls.fetch_add(1, Ordering::Relaxed);
        let number = self.0.number;
        let storm = world.storm.lock().unwrap().is_some_and(|until| until > Instant::now());
        let refused = match world.unlucky(Kinds::Calls, 14).then(|| world.roll(4)) {
            _ if storm => Some(Fault::throttled("slow down").retry(Retry::After(Duration::from_secs(1)))),
            Some(0) => Some(Fault::throttled("slow down").retry(Retry::After(Duration::from_secs(3)))),
            Some(1) => Some(Fault::client("access_denied", "not allowed").retry(Retry::Slowly)),
            Some(2) => Some(Fault::external("timeout", "no answer").ambiguous()),
            Some(_) => Some(Fault::external("unavailable", "down")),
            None => None,
        };
        if let Some(fault) = refused {
            world.note(format!("{number}: {what} {name}: {}", fault.code));
            tokio::time::sleep(Duration::from_millis(world.roll(20))).await;
            return Err(fault);
        }
        let slow = world.unlucky(Kinds::SlowCalls, 25);
        let there = world.roll(if slow { LONGEST_CALL } else { 50 });
        let twice = world.unlucky(Kinds::Calls, 40);
        let (sender, answer) = oneshot::channel();
        tokio::spawn({
            let (world, name) = (Arc::clone(world), name.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(there)).await;
                let done = effect(&world);
                if twice {
                    // Nobody hears what it comes to the second time.
                    let _ = effect(&world);
                }
                let how = if done.is_ok() { "done" } else { "refused" };
                world.note(format!("{number}: {what} {name}: {how}{}", if slow { ", slowly" } else { "" }));
                // Whoever asked may be gone.
                let _ = sender.send(done);
            }
        });
        let done = answer.await.unwrap_or_else(|_| Err(Fault::external("timeout", "no answer").ambiguous()));
        self.0.outside().await;
        if world.unlucky(Kinds::Calls, 14) {
            world.note(format!("{number}: {what} {name}: its answer is lost"));
            return Err(Fault::external("timeout", "no answer").ambiguous());
        }
        tokio::time::sleep(Duration::from_millis(world.roll(50))).await;
        self.0.running().await;
        done
    }
}

#[async_trait]
impl Destination for SimDestination {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        let at = name.as_str().to_owned();
        self.call("look", name, move |world| {
            let all = world.remote.lock().unwrap();
            Ok(all.get(&at).map_or(Remote::Absent, |held| Remote::Present(world.present(held))))
        })
        .await
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let name = put.name.as_str().to_owned();
        let value = put.value.expose_text().unwrap().to_owned();
        let mark = put.mark.clone();
        let (anything, ours) = match put.expect {
            Expect::Anything => (true, None),
            Expect::Absent => (false, None),
            Expect::Ours(handle) => (!self.0.world.marks, handle.map(ToOwned::to_owned)),
        };
        self.call("put", put.name, move |world| {
            let mut all = world.remote.lock().unwrap();
            let there = all.get(&name);
            let same_owner = world.marks
                && there.is_some_and(|held| held.mark.as_ref().is_some_and(|there| there.same_owner(&mark)));
            let addressed = ours
                .as_ref()
                .is_some_and(|handle| there.is_some_and(|held| held.handle.to_string() == *handle));
            if let Some(held) = there
                && !(anything || addressed || same_owner)
            {
                return Ok(PutOutcome::Taken(world.present(held)));
            }
            if there.is_some_and(|held| !held.is_ours()) {
                world.never(format!("{name} of a stranger was written"));
            }
            let handle = match there {
                Some(held) => held.handle,
                None => world.handles.fetch_add(1, Ordering::Relaxed) + 1,
            };
            let held = Held { value: value.clone(), mark: Some(mark.clone()), handle };
            all.insert(name.clone(), held);
            let handle = world.marks.then(|| handle.to_string());
            Ok(PutOutcome::Written(Receipt { handle, revision: None }))
        })
        .await
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let name = remove.name.as_str().to_owned();
        let owner = remove.owner.cloned();
        self.call("remove", remove.name, move |world| {
            let mut all = world.remote.lock().unwrap();
            let Some(held) = all.get(&name) else { return Ok(()) };
            if let Some(owner) = &owner
                && !held.mark.as_ref().is_some_and(|mark| mark.same_owner(owner))
            {
                return Err(Fault::client("ownership_lost", "not ours"));
            }
            world.removed(&name, held);
            all.remove(&name);
            Ok(())
        })
        .await
    }
}
