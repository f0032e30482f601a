use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use destinations::{Kind, Net};
use model::{Clock, DestinationId, Entropy, MountAccessor, SecretPath, Timestamp};
use store::{
    Cached, Node, RecordPrefix, Store, StoreError,
    records::{Outbox, Restored, SyncConfig, Told},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    IdentityIssuer,
    authority::Authority,
    calls::{self, Traces},
    cluster::{self, Cluster, ClusterSettings, Lease},
    lanes::{Lanes, Taken, Urgency},
    observer::Observer,
    quota::{Account, Accounts},
    registry::Registry,
    rules::{Covering, RuleBook},
    source::Source,
    sweep,
    timers::{Later, Timers},
};

/// How the engine works. Defaults suit real providers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most calls under way at one destination.
    pub concurrency: usize,
    /// How much of the limits that providers document may be used, in percent. Less leaves room for
    /// others who use the same account, more is for raised limits. 0: calls are made as fast as they
    /// can, until the provider complains.
    pub quota_percent: u32,
    /// First wait after a failure that time may mend; doubled with every further one.
    pub backoff: Duration,
    /// Longest wait after such failures.
    pub backoff_cap: Duration,
    /// First wait after a failure that the operator must mend outside; doubled likewise.
    pub slow_backoff: Duration,
    /// Longest wait after such failures.
    pub slow_backoff_cap: Duration,
    /// How often everything is checked for lost work.
    pub sweep_interval: Duration,
    /// More source deletes than this within [`Settings::mass_delete_window`] …
    pub mass_delete_count: usize,
    /// … and more than this share of a destination's associations, in percent, are held until a
    /// person confirms them. 0 switches the hold off (decisions 8).
    pub mass_delete_percent: usize,
    /// See [`Settings::mass_delete_count`].
    pub mass_delete_window: Duration,
    /// What it says to other servers on the same store, and how it watches them.
    pub cluster: ClusterSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 256,
            quota_percent: 100,
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(300),
            slow_backoff: Duration::from_secs(60),
            slow_backoff_cap: Duration::from_secs(3600),
            sweep_interval: Duration::from_secs(300),
            mass_delete_count: 25,
            mass_delete_percent: 30,
            mass_delete_window: Duration::from_secs(600),
            cluster: ClusterSettings::default(),
        }
    }
}

/// What the engine is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Store,
    /// Where secrets come from.
    pub source: Arc<dyn Source>,
    /// The sorts of destination there are.
    pub kinds: Vec<&'static dyn Kind>,
    /// The way out.
    pub net: Arc<Net>,
    /// Signs what destinations show who they are with; `None` where nobody could check it.
    pub identity: Option<Arc<IdentityIssuer>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes, for jitter.
    pub entropy: Arc<dyn Entropy>,
    /// How it works.
    pub settings: Settings,
}

/// The engine. Cheap to clone. It works while it is started and until it is stopped; what it has
/// not done by then is in the store and goes on at the next start.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) sync_config: Cached<SyncConfig>,
    pub(crate) restored: Cached<Restored>,
    /// Associations whose last attempt may have had effects that were not recorded: what was in the
    /// outbox when this process started, and what could not be recorded since.
    /// With a time: calls that nobody waits for any more may take effect until then.
    suspects: Mutex<HashMap<(DestinationId, Node), Option<Instant>>>,
    lanes: Mutex<Lanes>,
    pub(crate) accounts: Accounts,
    timers: Mutex<Timers>,
    /// Associations whose entries are not to be written again before then.
    resting: Mutex<HashMap<(DestinationId, Node), Instant>>,
    timer_changed: Notify,
    pub(crate) book: RuleBook,
    pub(crate) covering: Covering,
    /// Who may read what, where that is watched.
    pub(crate) authority: OnceLock<Arc<dyn Authority>>,
    /// Told what came of deliveries.
    pub(crate) observers: RwLock<Vec<Arc<dyn Observer>>>,
    traces: Mutex<Traces>,
    /// Told when somebody may do less or more than before.
    pub(crate) rights: Notify,
    pub(crate) cluster: Cluster,
    pub(crate) tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends also what did not end in time: no more calls are made, whatever was under way.
    abort: CancellationToken,
    /// All work has ended, or is to.
    ended: CancellationToken,
}

impl Engine {
    /// Puts the parts together. Nothing runs before [`Engine::start`].
    pub fn new(parts: Parts) -> Self {
        let cluster = Cluster::new(
            parts.store.shared(),
            parts.settings.cluster.clone(),
            &parts.clock,
            parts.entropy.as_ref(),
        );
        Self(Arc::new(Inner {
            cluster,
            store: parts.store,
            source: parts.source,
            clock: parts.clock,
            entropy: parts.entropy,
            accounts: Accounts::new(parts.settings.quota_percent),
            settings: parts.settings,
            registry: Registry::new(parts.kinds, parts.net, parts.identity),
            sync_config: Cached::default(),
            restored: Cached::default(),
            suspects: Mutex::default(),
            lanes: Mutex::default(),
            timers: Mutex::default(),
            resting: Mutex::default(),
            timer_changed: Notify::new(),
            book: RuleBook::default(),
            covering: Covering::default(),
            authority: OnceLock::new(),
            observers: RwLock::default(),
            traces: Mutex::default(),
            rights: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// The kinds there are.
    pub fn kinds(&self) -> &[&'static dyn Kind] {
        self.0.registry.kinds()
    }

    /// The issuer of identity tokens, if there is one.
    pub fn identity(&self) -> Option<&IdentityIssuer> {
        self.0.registry.identity()
    }

    /// Takes up what the outbox holds, and goes on until stopped.
    pub async fn start(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        if inner.cluster.shared() {
            inner.join().await;
        } else {
            inner.resume(true).await?;
        }
        let unfinished = Arc::clone(inner);
        inner.tasks.spawn(async move {
            if let Err(error) = unfinished.resume_unfinished().await {
                tracing::error!(%error, "what was left unfinished could not be taken up; the sweep tries again");
            }
        });
        let timers = Arc::clone(inner);
        inner.tasks.spawn(async move { timers.run_timers().await });
        let sweeper = Arc::clone(inner);
        inner.tasks.spawn(async move { sweep::run(&sweeper).await });
        Ok(())
    }

    /// Takes no new work and waits for what is under way, at most so long. Tells whether all of it
    /// ended; what did not is given up, as by a crash, and repeated at the next start.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.0.stop.cancel();
        self.0.tasks.close();
        let ended = tokio::time::timeout(deadline, self.0.tasks.wait()).await.is_ok();
        self.0.abort.cancel();
        if ended && self.0.cluster.shared() {
            self.0.take_leave().await;
        }
        self.0.ended.cancel();
        ended
    }

    /// An outbox row was committed: the association is looked at as soon as its lane allows.
    pub fn pending(&self, destination: DestinationId, source: Node) {
        self.0.offer(destination, source, Urgency::Edit);
    }
}

impl Inner {
    pub(crate) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The identity of a source.
    pub(crate) fn node(&self, accessor: &MountAccessor, path: &SecretPath) -> Node {
        let keys = self.store.keys();
        keys.secret(keys.mount(accessor), path)
    }

    /// Puts a source in line and starts as many workers as may run; or asks the server that works for the
    /// destination to.
    pub(crate) fn offer(self: &Arc<Self>, destination: DestinationId, source: Node, urgency: Urgency) {
        if !self.cluster.owns(destination) {
            self.cluster.tell(Told { destination, source, urgency: urgency as u8, reopen: false });
            return;
        }
        self.timers().cancel(destination, source);
        if let Some(trace) = calls::current() {
            self.traces().note(destination, source, trace);
        }
        self.lanes().lane(destination).offer(source, urgency);
        self.pump(destination);
    }

    /// Starts as many workers as a lane allows.
    pub(crate) fn pump(self: &Arc<Self>, destination: DestinationId) {
        let Some(lease) = self.cluster.lease(destination) else { return };
        while !self.stop.is_cancelled() && lease.takes_work() {
            let taken = self.lanes().lane(destination).take(Instant::now(), self.settings.concurrency);
            let Some(taken) = taken else { return };
            let (inner, lease) = (Arc::clone(self), Arc::clone(&lease));
            let under_way = lease.enter();
            let abort = self.abort.clone();
            self.tasks.spawn(async move {
                let work = inner.work_within(destination, taken, &lease);
                let _ = abort.run_until_cancelled(work).await;
                drop(under_way);
            });
        }
    }

    /// Works for a lease: what it commits depends on it.
    async fn work_within(self: Arc<Self>, destination: DestinationId, taken: Taken, lease: &Lease) {
        let fence = lease.fence();
        #[cfg(test)]
        let fence = fence.filter(|_| !self.cluster.is_broken(cluster::Broken::Fence));
        match fence {
            Some(fence) => store::fence::within(fence, self.work(destination, taken, lease)).await,
            None => self.work(destination, taken, lease).await,
        }
    }

    /// Opens a lane that was closed because of failures, wherever it is.
    pub(crate) fn reopen(&self, destination: DestinationId) {
        if self.cluster.owns(destination) {
            self.lanes().lane(destination).reopen();
        } else {
            let (source, urgency) = (Node([0; 16]), Urgency::Backfill as u8);
            self.cluster.tell(Told { destination, source, urgency, reopen: true });
        }
    }

    /// Starts what waits for this account: there is room in its line.
    pub(crate) fn pump_account(self: &Arc<Self>, account: &Account) {
        account.members().into_iter().for_each(|destination| self.pump(destination));
    }

    /// Looks at a source again at that time.
    pub(crate) fn put_off(&self, until: Timestamp, destination: DestinationId, source: Node, why: Later) {
        self.timers().set(until, destination, source, why);
        self.timer_changed.notify_one();
    }

    /// Wakes the timer loop: a lane was closed, or the clock is to be read again.
    pub(crate) fn timers_changed(&self) {
        self.timer_changed.notify_one();
    }

    /// The association's entries are not to be written again for so long.
    pub(crate) fn rest(&self, destination: DestinationId, source: Node, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= 1024 {
            resting.retain(|_, until| *until > now);
        }
        resting.insert((destination, source), now + pause);
    }

    /// How much longer they are not to be.
    pub(crate) fn rest_of(&self, destination: DestinationId, source: Node) -> Option<Duration> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let left = resting.get(&(destination, source))?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What is recorded of this association may be behind what was done.
    pub(crate) fn suspect(&self, destination: DestinationId, source: Node) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.entry((destination, source)).or_default();
    }

    /// The same, and calls that were given up may take effect until then.
    pub(crate) fn doubt(&self, destination: DestinationId, source: Node, until: Instant) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        let known = suspects.entry((destination, source)).or_default();
        *known = (*known).max(Some(until));
    }

    /// For how much longer such calls may.
    pub(crate) fn doubtful_for(&self, destination: DestinationId, source: Node) -> Option<Duration> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        let left = (*suspects.get(&(destination, source))?)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Whether it may be.
    pub(crate) fn is_suspect(&self, destination: DestinationId, source: Node) -> bool {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(destination, source))
    }

    /// What is recorded is what was done.
    pub(crate) fn clear(&self, destination: DestinationId, source: Node) {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).remove(&(destination, source));
    }

    /// Whether what is recorded of something in a shard may be behind.
    pub(crate) fn suspects_in(&self, shard: u8) -> bool {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.keys().any(|(destination, _)| cluster::shard_of(*destination) == shard)
    }

    /// What is done at these is another server's business now.
    pub(crate) fn forget_suspects(&self, its: impl Fn(DestinationId) -> bool) {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| !its(*id));
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| !its(*id));
    }

    /// Takes up what goes beyond single associations: rules that do not cover everything yet, purges.
    pub(crate) async fn resume_unfinished(self: &Arc<Self>) -> Result<(), StoreError> {
        self.cover_pending().await?;
        self.resume_purges().await
    }

    /// Puts everything the outbox holds for this server in line. `after_a_crash`: another process may have
    /// been at work on it when it ended, so what is recorded of it is not trusted.
    pub(crate) async fn resume(self: &Arc<Self>, after_a_crash: bool) -> Result<(), StoreError> {
        if !self.cluster.shared() {
            return self.resume_rows(&self.store.keys().outbox_all(), after_a_crash, None).await;
        }
        for shard in self.cluster.owned() {
            self.resume_shard(shard, None).await?;
        }
        Ok(())
    }

    /// The same for one shard. `doubtful`: until when calls of whoever had it before may take effect.
    pub(crate) async fn resume_shard(
        self: &Arc<Self>,
        shard: u8,
        doubtful: Option<Instant>,
    ) -> Result<(), StoreError> {
        for first in cluster::first_bytes(shard) {
            self.resume_rows(&self.store.keys().outbox_from(first), false, doubtful).await?;
        }
        Ok(())
    }

    async fn resume_rows(
        self: &Arc<Self>,
        prefix: &RecordPrefix<Outbox>,
        after_a_crash: bool,
        doubtful: Option<Instant>,
    ) -> Result<(), StoreError> {
        const PAGE: usize = 1000;
        let mut after = None;
        loop {
            let page = self.store.scan_sound(prefix, after.as_ref(), PAGE).await?;
            for (key, row) in &page.records {
                let Some((destination, source)) = store::Keys::parts_of_association(key.as_bytes()) else {
                    continue;
                };
                let now = self.clock.now();
                if let Some(until) = doubtful {
                    // Also what is not due yet: the clock of whoever had it may have been ahead.
                    self.doubt(destination, source, until);
                } else if after_a_crash && row.record.due.is_none_or(|due| due <= now) {
                    self.suspect(destination, source);
                }
                match row.record.due {
                    Some(due) if due > now => {
                        if !self.timers().has(destination, source) {
                            let why = self.why_later(destination, source).await?;
                            self.put_off(due, destination, source, why);
                        }
                    }
                    _ => self.offer(destination, source, Urgency::Backfill),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether what was put off is to be tried again, or will expire.
    async fn why_later(&self, destination: DestinationId, source: Node) -> Result<Later, StoreError> {
        let failed = match self.store.get(&self.store.keys().association(destination, source)).await {
            Ok(association) => association.is_some_and(|association| association.record.has_failed()),
            // Whoever looks at it says so.
            Err(StoreError::Corrupt { .. }) => true,
            Err(error) => return Err(error),
        };
        Ok(if failed { Later::Again(Urgency::Backfill) } else { Later::Expires })
    }

    /// Puts in line what has come due, and opens lanes that were closed for a while.
    async fn run_timers(self: Arc<Self>) {
        // The wall clock may be stepped, so it is read again at least this often.
        const LONGEST_SLEEP: Duration = Duration::from_secs(5);
        loop {
            let changed = self.timer_changed.notified();
            let now = self.clock.now();
            loop {
                let due = self.timers().pop(now);
                let Some((destination, source, why)) = due else { break };
                let urgency = match why {
                    Later::Again(urgency) => urgency,
                    Later::Expires => Urgency::Edit,
                };
                self.offer(destination, source, urgency);
            }
            let mut sleep = LONGEST_SLEEP;
            if let Some(next) = self.timers().next() {
                sleep = sleep.min(next.since(now));
            }
            let gate = self.lanes().next_gate();
            if let Some(gate) = gate {
                if gate <= Instant::now() {
                    let destinations = self.lanes().destinations();
                    destinations.into_iter().for_each(|destination| self.pump(destination));
                } else {
                    sleep = sleep.min(gate - Instant::now());
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// A random share of `most`: full jitter, so that many failures at once do not retry at once.
    pub(crate) fn jitter(&self, most: Duration) -> Duration {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(u64::from_le_bytes(bytes) % most)
    }
}
