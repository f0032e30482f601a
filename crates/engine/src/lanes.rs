//! Who is next. One lane per destination, so that a slow one holds up nobody else; within a lane one
//! place per source, so that the same association is never worked on twice at once and any number of
//! changes to it wait as one.

use std::collections::{BTreeMap, HashMap, VecDeque};

use model::{DestinationId, Timestamp};
use store::Node;
use tokio::{sync::oneshot, time::Instant};

/// All lanes.
#[derive(Default)]
pub(crate) struct Lanes(BTreeMap<DestinationId, Lane>);

/// The work waiting for and running at one destination.
pub(crate) struct Lane {
    fresh: VecDeque<Node>,
    backfill: VecDeque<Node>,
    places: HashMap<Node, Place>,
    running: usize,
    waiters: HashMap<Node, Vec<oneshot::Sender<()>>>,
    /// How many sources one call may carry.
    batch: usize,
    /// Nothing starts before this.
    gate: Option<Instant>,
    /// Failures in a row that say something about the destination as a whole.
    failures: u32,
    /// When removals caused by the source were carried out, for the mass-delete hold.
    removals: VecDeque<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Fresh,
    Backfill,
    Running {
        /// It was offered again meanwhile.
        again: bool,
    },
}

/// Failures in a row after which a destination is probed by one call at a time.
const TRIPPED: u32 = 5;

impl Default for Lane {
    fn default() -> Self {
        Self {
            fresh: VecDeque::new(),
            backfill: VecDeque::new(),
            places: HashMap::new(),
            running: 0,
            waiters: HashMap::new(),
            batch: 1,
            gate: None,
            failures: 0,
            removals: VecDeque::new(),
        }
    }
}

impl Lanes {
    pub(crate) fn lane(&mut self, destination: DestinationId) -> &mut Lane {
        self.0.entry(destination).or_default()
    }

    pub(crate) fn forget(&mut self, destination: DestinationId) {
        self.0.remove(&destination);
    }

    pub(crate) fn destinations(&self) -> Vec<DestinationId> {
        self.0.keys().copied().collect()
    }

    /// Places taken, in all lanes.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(|lane| lane.places.len()).sum()
    }

    /// The earliest moment at which a closed lane opens.
    pub(crate) fn next_gate(&self) -> Option<Instant> {
        self.0.values().filter(|lane| !lane.places.is_empty()).filter_map(|lane| lane.gate).min()
    }
}

impl Lane {
    /// Asks for a source to be looked at. Fresh changes go before backfill.
    pub(crate) fn offer(&mut self, source: Node, fresh: bool) {
        match self.places.get_mut(&source) {
            Some(Place::Running { again }) => *again = true,
            Some(Place::Fresh) => {}
            Some(place @ Place::Backfill) if fresh => {
                // Its place in the backfill queue goes stale and is skipped there.
                *place = Place::Fresh;
                self.fresh.push_back(source);
            }
            Some(Place::Backfill) => {}
            None if fresh => {
                self.places.insert(source, Place::Fresh);
                self.fresh.push_back(source);
            }
            None => {
                self.places.insert(source, Place::Backfill);
                self.backfill.push_back(source);
            }
        }
    }

    /// The next sources to work on together, if another worker may start. Nothing while the gate is
    /// closed.
    pub(crate) fn take(&mut self, now: Instant, concurrency: usize) -> Vec<Node> {
        if self.gate.is_some_and(|gate| gate > now) {
            return Vec::new();
        }
        self.gate = None;
        let concurrency = if self.failures >= TRIPPED { 1 } else { concurrency };
        let mut taken = Vec::new();
        while self.running < concurrency && taken.len() < self.batch {
            let Some((source, expected)) = self.pop() else { break };
            if self.places.get(&source) == Some(&expected) {
                self.places.insert(source, Place::Running { again: false });
                taken.push(source);
            }
        }
        if !taken.is_empty() {
            self.running += 1;
        }
        taken
    }

    fn pop(&mut self) -> Option<(Node, Place)> {
        match self.fresh.pop_front() {
            Some(source) => Some((source, Place::Fresh)),
            None => self.backfill.pop_front().map(|source| (source, Place::Backfill)),
        }
    }

    /// One worker has ended.
    pub(crate) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A source has been worked on. It goes back in line if it was offered again meanwhile, or if
    /// the worker says so; otherwise whoever waits for it is told.
    pub(crate) fn finish(&mut self, source: Node, again: bool) {
        let offered = matches!(self.places.remove(&source), Some(Place::Running { again: true }));
        if again || offered {
            self.offer(source, true);
            return;
        }
        for waiter in self.waiters.remove(&source).unwrap_or_default() {
            // Whoever waited may have stopped waiting.
            let _ = waiter.send(());
        }
    }

    /// Told when the source has next been worked on and nothing about it is waiting.
    pub(crate) fn wait(&mut self, source: Node) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.entry(source).or_default().push(sender);
        receiver
    }

    pub(crate) fn set_batch(&mut self, batch: usize) {
        self.batch = batch.max(1);
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

    /// Closes the lane until then, at least.
    pub(crate) fn close_until(&mut self, until: Instant) {
        self.gate = Some(self.gate.map_or(until, |gate| gate.max(until)));
    }

    /// Opens the lane at once: something was changed that may have mended it.
    pub(crate) fn reopen(&mut self) {
        self.gate = None;
        self.failures = 0;
    }

    /// Removals since `since`.
    pub(crate) fn recent_removals(&mut self, since: Timestamp) -> usize {
        while self.removals.front().is_some_and(|at| *at < since) {
            self.removals.pop_front();
        }
        self.removals.len()
    }

    pub(crate) fn removed(&mut self, at: Timestamp) {
        self.removals.push_back(at);
    }

    /// Sources waiting or running.
    pub(crate) fn pending(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> Node {
        Node([n; 16])
    }

    #[tokio::test]
    async fn a_source_is_never_taken_twice_and_changes_merge() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.offer(node(1), true);
        lane.offer(node(1), true);
        assert_eq!(lane.take(now, 8), [node(1)]);
        assert!(lane.take(now, 8).is_empty());
        lane.offer(node(1), true);
        assert!(lane.take(now, 8).is_empty(), "it is running");
        lane.ended();
        lane.finish(node(1), false);
        assert_eq!(lane.take(now, 8), [node(1)], "it was offered meanwhile");
        lane.ended();
        lane.finish(node(1), false);
        assert!(lane.take(now, 8).is_empty());
        assert_eq!(lane.pending(), 0);
    }

    #[tokio::test]
    async fn fresh_changes_overtake_backfill() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.offer(node(1), false);
        lane.offer(node(2), false);
        lane.offer(node(3), true);
        lane.offer(node(2), true);
        let order: Vec<_> = (0..4).flat_map(|_| lane.take(now, 8)).collect();
        assert_eq!(order, [node(3), node(2), node(1)]);
    }

    #[tokio::test]
    async fn concurrency_is_bounded_and_drops_to_a_probe_when_tripped() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        (0..9).for_each(|n| lane.offer(node(n), true));
        assert_eq!((0..9).filter(|_| !lane.take(now, 3).is_empty()).count(), 3);
        (0..TRIPPED).for_each(|_| {
            lane.unhealthy();
        });
        lane.ended();
        assert!(lane.take(now, 3).is_empty(), "two still run, one is allowed");
        lane.healthy();
        assert_eq!(lane.take(now, 3).len(), 1);
    }

    #[tokio::test]
    async fn a_closed_lane_opens_in_time() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.offer(node(1), true);
        lane.close_until(now + std::time::Duration::from_secs(1));
        assert!(lane.take(now, 8).is_empty());
        assert_eq!(lane.take(now + std::time::Duration::from_secs(1), 8), [node(1)]);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_once_nothing_is_left_to_do() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.offer(node(1), true);
        let mut told = lane.wait(node(1));
        lane.take(now, 1);
        lane.ended();
        lane.finish(node(1), true);
        assert!(told.try_recv().is_err());
        lane.take(now, 1);
        lane.ended();
        lane.finish(node(1), false);
        assert!(told.try_recv().is_ok());
    }
}
