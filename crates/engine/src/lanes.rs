//! Who is next. One lane per destination, so that a slow one holds up nobody else; within a lane one
//! place per source, so that the same association is never worked on twice at once and any number of
//! changes to it wait as one.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use model::{DestinationId, Timestamp};
use store::Node;
use tokio::{sync::oneshot, time::Instant};

use crate::quota::{Account, Entering};

/// How soon work should be done, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// The source of an association changed.
    Edit,
    /// A person asked for it and may be waiting.
    Asked,
    /// Everything else: what was put off, a moved template, a rule's first deliveries, what is left
    /// from before a restart.
    Backfill,
}

impl Urgency {
    pub(crate) const COUNT: usize = 3;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Edit, Self::Asked, Self::Backfill];
}

/// All lanes.
#[derive(Default)]
pub(crate) struct Lanes(BTreeMap<DestinationId, Lane>);

/// The work waiting for and running at one destination.
#[derive(Default)]
pub(crate) struct Lane {
    /// By urgency. A source whose place is of another urgency by now is skipped.
    queues: [VecDeque<Node>; Urgency::COUNT],
    places: HashMap<Node, Place>,
    running: usize,
    waiters: HashMap<Node, Vec<oneshot::Sender<()>>>,
    /// What is known of the destination once a worker has opened it; until then one works alone.
    opened: Option<Open>,
    /// Nothing starts before this.
    gate: Option<Instant>,
    /// Failures in a row that say something about the destination as a whole.
    failures: u32,
    /// When removals caused by the source were carried out, for the mass-delete hold.
    removals: VecDeque<Timestamp>,
    /// Waits until syncing is switched on: its rows stay in the outbox.
    parked: HashSet<Node>,
    /// How long one source takes and draws, lately.
    pub(crate) cost: Cost,
}

/// What the lane must know of an opened destination.
#[derive(Clone)]
pub(crate) struct Open {
    /// How many sources one call may carry.
    pub(crate) batch: usize,
    /// What its calls are counted against.
    pub(crate) account: Option<Arc<Account>>,
}

/// Averages over the latest sources, for forecasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// From start to record, seconds.
    pub(crate) seconds: f64,
    /// Writes, or calls that carry as much.
    pub(crate) writes: f64,
}

impl Cost {
    /// What so many sources together took and drew, which weighs a tenth.
    pub(crate) fn add(&mut self, took: Duration, writes: usize, sources: usize) {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let (writes, sources) = (writes as f64, sources.max(1) as f64);
        self.seconds += (took.as_secs_f64() / sources - self.seconds) / 10.0;
        self.writes += (writes / sources - self.writes) / 10.0;
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self { seconds: 0.1, writes: 1.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting(Urgency),
    Running {
        /// It was offered again meanwhile.
        again: Option<Urgency>,
    },
}

/// Sources to work on together.
pub(crate) struct Taken {
    pub(crate) sources: Vec<Node>,
    /// That of the most urgent.
    pub(crate) urgency: Urgency,
    /// Held until the first call has its turn.
    pub(crate) entering: Option<Entering>,
}

/// Failures in a row after which a destination is probed by one call at a time.
const TRIPPED: u32 = 5;

impl Lanes {
    pub(crate) fn lane(&mut self, destination: DestinationId) -> &mut Lane {
        self.0.entry(destination).or_default()
    }

    /// A lane, if anything ever was in it.
    pub(crate) fn known(&self, destination: DestinationId) -> Option<&Lane> {
        self.0.get(&destination)
    }

    pub(crate) fn forget(&mut self, destination: DestinationId) {
        if let Some(account) = self.0.remove(&destination).and_then(|lane| lane.account()) {
            account.leave(destination);
        }
    }

    pub(crate) fn destinations(&self) -> Vec<DestinationId> {
        self.0.keys().copied().collect()
    }

    /// Places taken, in all lanes.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(Lane::pending).sum()
    }

    /// The earliest moment at which a closed lane opens.
    pub(crate) fn next_gate(&self) -> Option<Instant> {
        self.0.values().filter(|lane| !lane.places.is_empty()).filter_map(Lane::opens_at).min()
    }
}

impl Lane {
    /// Asks for a source to be looked at.
    pub(crate) fn offer(&mut self, source: Node, urgency: Urgency) {
        self.parked.remove(&source);
        match self.places.get_mut(&source) {
            Some(Place::Running { again }) => *again = Some(again.map_or(urgency, |had| had.min(urgency))),
            Some(Place::Waiting(had)) if *had <= urgency => {}
            // Its place in a less urgent queue goes stale and is skipped there.
            _ => {
                self.places.insert(source, Place::Waiting(urgency));
                self.queues[urgency as usize].push_back(source);
            }
        }
    }

    /// The next sources to work on together, if another worker may start. Nothing while the gate is
    /// closed, or while enough of that urgency is on its way to its turn.
    pub(crate) fn take(&mut self, now: Instant, concurrency: usize) -> Option<Taken> {
        if self.gate.is_some_and(|gate| gate > now) {
            return None;
        }
        self.gate = None;
        let alone = self.failures >= TRIPPED || self.opened.is_none();
        if self.running >= if alone { 1 } else { concurrency } {
            return None;
        }
        for urgency in Urgency::ALL {
            self.skip_stale(urgency);
            if self.queues[urgency as usize].is_empty() {
                continue;
            }
            let entering = match self.account() {
                Some(account) => match account.enter(urgency) {
                    Some(entering) => Some(entering),
                    None => continue,
                },
                None => None,
            };
            let batch = self.opened.as_ref().map_or(1, |opened| opened.batch.max(1));
            let mut sources = Vec::with_capacity(batch.min(self.places.len()));
            // A call that carries many takes less urgent ones along.
            for urgency in &Urgency::ALL[urgency as usize..] {
                while sources.len() < batch {
                    self.skip_stale(*urgency);
                    let Some(source) = self.queues[*urgency as usize].pop_front() else { break };
                    self.places.insert(source, Place::Running { again: None });
                    sources.push(source);
                }
            }
            self.running += 1;
            return Some(Taken { sources, urgency, entering });
        }
        None
    }

    fn skip_stale(&mut self, urgency: Urgency) {
        let queue = &mut self.queues[urgency as usize];
        while let Some(source) = queue.front()
            && self.places.get(source) != Some(&Place::Waiting(urgency))
        {
            queue.pop_front();
        }
    }

    /// One worker has ended.
    pub(crate) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A source has been worked on. It goes back in line if it was offered again meanwhile, or if
    /// the worker says so; otherwise whoever waits for it is told. Tells whether it is back in line.
    pub(crate) fn finish(&mut self, source: Node, again: bool) -> bool {
        let offered = match self.places.remove(&source) {
            Some(Place::Running { again }) => again,
            _ => None,
        };
        if again || offered.is_some() {
            self.offer(source, offered.unwrap_or(Urgency::Edit));
            return true;
        }
        for waiter in self.waiters.remove(&source).unwrap_or_default() {
            // Whoever waited may have stopped waiting.
            let _ = waiter.send(());
        }
        false
    }

    /// Not to be looked at before syncing is switched on.
    pub(crate) fn park(&mut self, source: Node) {
        if !self.places.contains_key(&source) {
            self.parked.insert(source);
        }
    }

    /// Told when the source has next been worked on and nothing about it is waiting.
    pub(crate) fn wait(&mut self, source: Node) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.entry(source).or_default().push(sender);
        receiver
    }

    /// A worker opened the destination.
    pub(crate) fn set_open(&mut self, destination: DestinationId, open: Open) {
        let before = self.account();
        let same = match (&before, &open.account) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            before.iter().for_each(|account| account.leave(destination));
            open.account.iter().for_each(|account| account.join(destination));
        }
        self.opened = Some(open);
    }

    /// What its calls are counted against, if that is known.
    pub(crate) fn account(&self) -> Option<Arc<Account>> {
        self.opened.as_ref().and_then(|opened| opened.account.clone())
    }

    /// A call succeeded, or failed for a reason of its own.
    pub(crate) fn healthy(&mut self) {
        self.failures = 0;
    }

    /// A call failed for a reason that other calls will share. Tells how often in a row.
    pub(crate) fn unhealthy(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Whether so much failed in a row that the destination is only probed.
    pub(crate) fn tripped(&self) -> bool {
        self.failures >= TRIPPED
    }

    /// Starts nothing before then.
    pub(crate) fn close_until(&mut self, at: Instant) {
        self.gate = Some(self.gate.map_or(at, |gate| gate.max(at)));
    }

    /// When it opens, if it or its account is closed.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.gate.max(self.account().and_then(|account| account.closed_until()))
    }

    /// Opens it: its settings changed, or a person asked.
    pub(crate) fn reopen(&mut self) {
        self.gate = None;
        self.failures = 0;
    }

    /// Sources waiting, parked or being worked on.
    pub(crate) fn pending(&self) -> usize {
        self.places.len() + self.parked.len()
    }

    /// Notes a removal caused by the source.
    pub(crate) fn removed(&mut self, at: Timestamp) {
        self.removals.push_back(at);
    }

    /// How many there were since then.
    pub(crate) fn recent_removals(&mut self, since: Timestamp) -> usize {
        while self.removals.front().is_some_and(|at| *at < since) {
            self.removals.pop_front();
        }
        self.removals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> Node {
        Node([n; 16])
    }

    /// A lane whose destination has been opened.
    fn open_lane() -> Lane {
        let mut lane = Lane::default();
        lane.set_open(DestinationId::from_bytes([1; 16]), Open { batch: 1, account: None });
        lane
    }

    fn take(lane: &mut Lane, now: Instant, concurrency: usize) -> Vec<Node> {
        lane.take(now, concurrency).map(|taken| taken.sources).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_source_is_never_taken_twice_and_changes_merge() {
        let (mut lane, now) = (open_lane(), Instant::now());
        lane.offer(node(1), Urgency::Edit);
        lane.offer(node(1), Urgency::Edit);
        assert_eq!(take(&mut lane, now, 8), [node(1)]);
        assert!(take(&mut lane, now, 8).is_empty());
        lane.offer(node(1), Urgency::Edit);
        assert!(take(&mut lane, now, 8).is_empty(), "it is running");
        lane.ended();
        lane.finish(node(1), false);
        assert_eq!(take(&mut lane, now, 8), [node(1)], "it was offered meanwhile");
        lane.ended();
        lane.finish(node(1), false);
        assert!(take(&mut lane, now, 8).is_empty());
        assert_eq!(lane.pending(), 0);
    }

    #[tokio::test]
    async fn fresh_changes_overtake_backfill() {
        let (mut lane, now) = (open_lane(), Instant::now());
        lane.offer(node(1), Urgency::Backfill);
        lane.offer(node(2), Urgency::Backfill);
        lane.offer(node(3), Urgency::Edit);
        lane.offer(node(2), Urgency::Edit);
        let order: Vec<_> = (0..4).flat_map(|_| take(&mut lane, now, 8)).collect();
        assert_eq!(order, [node(3), node(2), node(1)]);
    }

    #[tokio::test]
    async fn concurrency_is_bounded_and_drops_to_a_probe_when_tripped() {
        let (mut lane, now) = (open_lane(), Instant::now());
        (0..9).for_each(|n| lane.offer(node(n), Urgency::Edit));
        assert_eq!((0..9).filter(|_| !take(&mut lane, now, 3).is_empty()).count(), 3);
        (0..TRIPPED).for_each(|_| {
            lane.unhealthy();
        });
        lane.ended();
        assert!(take(&mut lane, now, 3).is_empty(), "two still run, one is allowed");
        lane.healthy();
        assert_eq!(take(&mut lane, now, 3).len(), 1);
    }

    #[tokio::test]
    async fn one_works_alone_until_the_destination_is_known() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        (0..3).for_each(|n| lane.offer(node(n), Urgency::Edit));
        assert_eq!(take(&mut lane, now, 8), [node(0)]);
        assert!(take(&mut lane, now, 8).is_empty());
        lane.set_open(DestinationId::from_bytes([1; 16]), Open { batch: 2, account: None });
        assert_eq!(take(&mut lane, now, 8), [node(1), node(2)]);
    }

    #[tokio::test]
    async fn what_is_parked_is_pending_and_goes_on_when_offered() {
        let (mut lane, now) = (open_lane(), Instant::now());
        lane.offer(node(1), Urgency::Edit);
        take(&mut lane, now, 1);
        lane.ended();
        assert!(!lane.finish(node(1), false));
        lane.park(node(1));
        assert_eq!((lane.pending(), take(&mut lane, now, 1)), (1, vec![]));
        lane.offer(node(1), Urgency::Backfill);
        assert_eq!((lane.pending(), take(&mut lane, now, 1)), (1, vec![node(1)]));
    }

    #[tokio::test]
    async fn a_closed_lane_opens_in_time() {
        let (mut lane, now) = (open_lane(), Instant::now());
        lane.offer(node(1), Urgency::Edit);
        lane.close_until(now + std::time::Duration::from_secs(1));
        assert!(take(&mut lane, now, 8).is_empty());
        assert_eq!(take(&mut lane, now + std::time::Duration::from_secs(1), 8), [node(1)]);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_once_nothing_is_left_to_do() {
        let (mut lane, now) = (open_lane(), Instant::now());
        lane.offer(node(1), Urgency::Edit);
        let mut told = lane.wait(node(1));
        take(&mut lane, now, 1);
        lane.ended();
        lane.finish(node(1), true);
        assert!(told.try_recv().is_err());
        take(&mut lane, now, 1);
        lane.ended();
        lane.finish(node(1), false);
        assert!(told.try_recv().is_ok());
    }
}
