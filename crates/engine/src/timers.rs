//! What is to be looked at later, and when.

use std::collections::{BTreeSet, HashMap};

use model::{DestinationId, Timestamp};
use store::Node;

use crate::lanes::Urgency;

/// Why something is looked at later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Later {
    /// It failed, or may not be done yet.
    Again(Urgency),
    /// All is well, but the delivered version will stop being live.
    Expires,
}

type Place = (DestinationId, Node);

/// At most one time for each association: the one given last.
#[derive(Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, Place)>,
    places: HashMap<Place, (Timestamp, Later)>,
    /// How many [`Later::Again`] each destination has.
    again: HashMap<DestinationId, usize>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, destination: DestinationId, source: Node, why: Later) {
        let place = (destination, source);
        self.remove(place);
        self.due.insert((at, place));
        self.places.insert(place, (at, why));
        if matches!(why, Later::Again(_)) {
            *self.again.entry(destination).or_default() += 1;
        }
    }

    fn remove(&mut self, place: Place) -> Option<Later> {
        let (at, why) = self.places.remove(&place)?;
        self.due.remove(&(at, place));
        if matches!(why, Later::Again(_))
            && let Some(count) = self.again.get_mut(&place.0)
        {
            *count -= 1;
            if *count == 0 {
                self.again.remove(&place.0);
            }
        }
        Some(why)
    }

    /// Whether it has a time.
    pub(crate) fn has(&self, destination: DestinationId, source: Node) -> bool {
        self.places.contains_key(&(destination, source))
    }

    /// It is being looked at anyway.
    pub(crate) fn cancel(&mut self, destination: DestinationId, source: Node) {
        self.remove((destination, source));
    }

    /// Those of some destinations are none of this server's business any more.
    pub(crate) fn cancel_all(&mut self, its: impl Fn(DestinationId) -> bool) {
        let places: Vec<_> = self.places.keys().filter(|(id, _)| its(*id)).copied().collect();
        for place in places {
            self.remove(place);
        }
    }

    /// Takes out the first that is due.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<(DestinationId, Node, Later)> {
        let (_, place) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        let why = self.remove(place)?;
        Some((place.0, place.1, why))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many of a destination wait to be tried again.
    pub(crate) fn retries(&self, destination: DestinationId) -> usize {
        self.again.get(&destination).copied().unwrap_or_default()
    }

    /// When the last of them is due. Looks through what is due later than that, so ask only where
    /// there are some.
    pub(crate) fn last_retry(&self, destination: DestinationId) -> Option<Timestamp> {
        self.due
            .iter()
            .rev()
            .find(|(_, place)| {
                place.0 == destination && matches!(self.places.get(place), Some((_, Later::Again(_))))
            })
            .map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_association_has_one_time_and_retries_are_counted() {
        let (one, two) = (DestinationId::from_bytes([1; 16]), DestinationId::from_bytes([2; 16]));
        let node = |n: u8| Node([n; 16]);
        let at = Timestamp::from_secs;
        let mut timers = Timers::default();
        timers.set(at(9), one, node(1), Later::Again(Urgency::Edit));
        timers.set(at(5), one, node(1), Later::Again(Urgency::Backfill));
        timers.set(at(3), one, node(2), Later::Expires);
        timers.set(at(7), two, node(1), Later::Again(Urgency::Edit));
        assert_eq!((timers.retries(one), timers.retries(two), timers.next()), (1, 1, Some(at(3))));
        assert_eq!(timers.last_retry(one), Some(at(5)));
        assert_eq!(timers.pop(at(2)), None);
        assert_eq!(timers.pop(at(5)), Some((one, node(2), Later::Expires)));
        assert_eq!(timers.pop(at(5)), Some((one, node(1), Later::Again(Urgency::Backfill))));
        assert_eq!(timers.pop(at(5)), None);
        assert_eq!((timers.retries(one), timers.last_retry(one)), (0, None));
        timers.cancel(two, node(1));
        assert_eq!((timers.retries(two), timers.next()), (0, None));
    }
}
