//! Telling other servers that there is work for them: at once where the store carries announcements, and
//! with the next sign of life in any case.

use std::{collections::VecDeque, sync::Arc};

use model::DestinationId;
use store::{
    MAX_ANNOUNCEMENT, Node,
    records::{NodeId, Told},
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::bytes::Bytes;

use super::Cluster;
use crate::{engine::Inner, lanes::Urgency};

/// So many of the latest are told with every sign of life. Whoever misses more looks through the outbox.
const RECENT: usize = 512;
const FORM: u8 = 1;
const LOOKS: u8 = 0;
const CHANGED: u8 = 1;
const TOLD: usize = 33;

#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) told: u64,
    pub(super) recent: VecDeque<Told>,
    unsent: Vec<Told>,
    changed: bool,
}

/// What an announcement says.
enum Heard {
    Looks(Vec<Told>),
    /// Who has which part of the work has changed.
    Changed,
}

impl Cluster {
    /// Asks whoever works for a destination to look.
    pub(crate) fn tell(&self, told: Told) {
        if !self.shared {
            return;
        }
        let mut outgoing = self.outgoing();
        outgoing.told += 1;
        if outgoing.recent.len() == RECENT {
            outgoing.recent.pop_front();
        }
        outgoing.recent.push_back(told);
        if outgoing.unsent.len() < RECENT {
            outgoing.unsent.push(told);
        }
        self.speak.notify_one();
    }

    /// Others should look at who has what.
    pub(super) fn tell_of_change(&self) {
        self.outgoing().changed = true;
        self.speak.notify_one();
    }

    pub(super) fn outgoing(&self) -> std::sync::MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// Announces what there is to announce, until the engine stops.
    pub(super) async fn speak(self: Arc<Self>) {
        let backend = Arc::clone(self.store.backend());
        loop {
            tokio::select! {
                biased;
                () = self.stopped().cancelled() => return,
                () = self.cluster.speak.notified() => {}
            }
            let (unsent, changed) = {
                let mut outgoing = self.cluster.outgoing();
                (std::mem::take(&mut outgoing.unsent), std::mem::take(&mut outgoing.changed))
            };
            for some in unsent.chunks((MAX_ANNOUNCEMENT - 2) / TOLD) {
                backend.announce(encode(some)).await;
            }
            if changed {
                backend.announce(self::changed()).await;
            }
        }
    }

    /// Hears what others announce, until the engine stops.
    pub(super) async fn listen(self: Arc<Self>) {
        let Some(mut announcements) = self.store.backend().announcements() else { return };
        loop {
            let heard = tokio::select! {
                biased;
                () = self.stopped().cancelled() => return,
                heard = announcements.recv() => heard,
            };
            match heard {
                Ok(bytes) => match decode(&bytes) {
                    Some(Heard::Looks(looks)) => looks.iter().for_each(|told| self.heard(told)),
                    Some(Heard::Changed) => self.cluster.wake.notify_one(),
                    // Of a version that says more than this one understands.
                    None => {}
                },
                // What was missed is told again with the next sign of life.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Somebody asks for a look. Whoever it is that works there does it.
    pub(super) fn heard(self: &Arc<Self>, told: &Told) {
        if !self.cluster.owns(told.destination) {
            return;
        }
        if told.reopen {
            self.lanes().lane(told.destination).reopen();
        }
        let urgency = Urgency::ALL.get(usize::from(told.urgency)).copied().unwrap_or(Urgency::Backfill);
        self.offer(told.destination, told.source, urgency);
    }
}

/// That who has which part of the work has changed.
pub(super) fn changed() -> Bytes {
    Bytes::from_static(&[FORM, CHANGED])
}

fn encode(looks: &[Told]) -> Bytes {
    let mut bytes = vec![FORM, LOOKS];
    for told in looks {
        bytes.extend_from_slice(told.destination.as_bytes());
        bytes.extend_from_slice(&told.source.0);
        bytes.push(told.urgency << 1 | u8::from(told.reopen));
    }
    bytes.into()
}

fn decode(bytes: &[u8]) -> Option<Heard> {
    match bytes {
        [FORM, LOOKS, rest @ ..] => {
            rest.as_chunks::<TOLD>().0.iter().map(told).collect::<Option<_>>().map(Heard::Looks)
        }
        [FORM, CHANGED, ..] => Some(Heard::Changed),
        _ => None,
    }
}

fn told(bytes: &[u8; TOLD]) -> Option<Told> {
    let (destination, rest) = bytes.split_first_chunk()?;
    let (source, rest) = rest.split_first_chunk()?;
    let [flags] = rest else { return None };
    Some(Told {
        destination: DestinationId::from_bytes(*destination),
        source: Node(*source),
        urgency: flags >> 1,
        reopen: flags & 1 == 1,
    })
}

/// What of another server's latest words is new, or `None` when some were missed.
pub(super) fn news(before: u64, told: u64, recent: &[Told]) -> Option<&[Told]> {
    let new = usize::try_from(told.saturating_sub(before)).unwrap_or(usize::MAX);
    recent.get(recent.len().checked_sub(new)?..)
}

/// The others, and how many words of each have been heard.
pub(super) type Hearing = std::collections::BTreeMap<NodeId, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    fn look(n: u8) -> Told {
        Told {
            destination: DestinationId::from_bytes([n; 16]),
            source: Node([n; 16]),
            urgency: n % 3,
            reopen: n.is_multiple_of(2),
        }
    }

    #[test]
    fn an_announcement_is_understood_and_one_of_another_version_is_not() {
        let looks: Vec<_> = (0..90).map(look).collect();
        let bytes = encode(&looks);
        assert!(bytes.len() <= MAX_ANNOUNCEMENT);
        assert!(matches!(decode(&bytes), Some(Heard::Looks(heard)) if heard == looks));
        assert!(matches!(decode(&bytes[..40]), Some(Heard::Looks(heard)) if heard == looks[..1]));
        for other in [&[2, 0][..], &[], &[1], &[1, 9]] {
            assert!(decode(other).is_none());
        }
    }

    #[test]
    fn what_is_new_is_told_from_a_count() {
        let recent: Vec<_> = (0..4).map(look).collect();
        assert_eq!(news(10, 10, &recent), Some(&[][..]));
        assert_eq!(news(8, 10, &recent), Some(&recent[2..]));
        assert_eq!(news(5, 10, &recent), None, "one was missed");
        assert_eq!(news(12, 10, &recent), Some(&[][..]));
    }
}
