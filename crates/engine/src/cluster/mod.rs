//! Several servers over one store. Any of them answers requests; the work at destinations is divided.
//!
//! A destination belongs to one of [`SHARDS`] shards, and a shard to one server, so that order, quotas and
//! what is known of a destination stay in one place. How it is kept that way:
//!
//! - Every server writes its [`ServerNode`] record again and again, each time expecting it as it left it.
//!   Whoever sees the record of another stand still for [`ClusterSettings::expire`], by its own monotonic
//!   clock, takes that record away. Clocks of two machines are never compared.
//! - A server trusts its leases for [`ClusterSettings::valid`] from the moment at which it *began* its last
//!   successful write, which is shorter. After that it starts no call and gives up those under way; so
//!   it has stopped before anybody may take over, also when it was frozen, or cannot reach the store.
//! - A shard record is written when the shard changes hands and at no other time. Everything that a worker
//!   commits names it as unchanged (`store::fence`), so whoever lost it can record nothing.
//! - What a call that was given up still does on its way is not trusted to have ended: whoever takes over
//!   from a server that did not say goodbye writes what is new at once, removes nothing for
//!   [`ClusterSettings::in_flight`], and after that looks at everything once more.
//!
//! Where the store is not shared, none of this runs: there is one lease, and it always holds.

mod lease;
mod member;
mod shares;
mod tell;
#[cfg(test)]
mod tests;
mod views;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{Clock, DestinationId, Entropy};
use store::records::{NodeId, ServerNode};
use tokio::{sync::Notify, time::Instant};

pub use lease::Lease;
use lease::Validity;
use member::Member;
use tell::Outgoing;
pub use views::NodeView;

use crate::engine::Inner;

/// Parts into which the work is divided. Never changes for a store: all its servers must agree.
pub(crate) const SHARDS: u8 = 64;

/// `error_code` of a call that was given up because this server might not be the one to make it any more.
pub(crate) const LEASE_LAPSED: &str = "lease_lapsed";

/// The part that a destination belongs to. Its identity is random, so destinations spread evenly, and the
/// outbox rows of a shard lie side by side.
pub(crate) fn shard_of(destination: DestinationId) -> u8 {
    destination.as_bytes()[0] / (u8::MAX / SHARDS + 1)
}

/// What the identities of a shard's destinations begin with.
pub(crate) fn first_bytes(shard: u8) -> impl Iterator<Item = u8> {
    let each = u8::MAX / SHARDS + 1;
    (0..each).map(move |n| shard * each + n)
}

/// What a server says about itself to others, and how it watches them.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// What its operator calls it.
    pub name: String,
    /// Where clients reach it; may be empty.
    pub api_addr: String,
    /// Its version.
    pub version: String,
    /// It says so often that it is alive.
    pub beat: Duration,
    /// So long it trusts its leases after it last said so.
    pub valid: Duration,
    /// After so long without a word others take its work over. Longer than [`ClusterSettings::valid`] by
    /// more than a packet takes to its destination.
    pub expire: Duration,
    /// A call that was given up may still take effect for so long.
    pub in_flight: Duration,
    /// Work under way may take so long to end when a shard is handed over.
    pub drain: Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            api_addr: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            beat: Duration::from_secs(1),
            valid: Duration::from_secs(3),
            expire: Duration::from_secs(4),
            in_flight: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// What is left out on purpose, so that the simulation can show that it would be missed.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// What a worker records does not depend on its lease.
    Fence,
    /// Calls go on when the lease has run out.
    Deadline,
    /// What another server may have had under way is believed to be as it recorded it.
    Suspicion,
    /// A shard whose hand-over got no answer from the store stays with nobody at work on it.
    HandBack,
}

/// This server among the others.
pub(crate) struct Cluster {
    shared: bool,
    pub(crate) settings: ClusterSettings,
    /// The lease where there are no others.
    sole: Arc<Lease>,
    validity: Arc<Validity>,
    state: Mutex<State>,
    member: tokio::sync::Mutex<Member>,
    outgoing: Mutex<Outgoing>,
    /// The next look at the others is due.
    wake: Notify,
    /// There is something to announce.
    speak: Notify,
    #[cfg(test)]
    pub(crate) broken: Mutex<Option<Broken>>,
}

struct State {
    id: NodeId,
    leases: BTreeMap<u8, Arc<Lease>>,
    /// The others, as last read.
    others: BTreeMap<NodeId, ServerNode>,
    /// Takes no work until then.
    aside: Option<Instant>,
}

impl Cluster {
    pub(crate) fn new(
        shared: bool,
        settings: ClusterSettings,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Self {
        let now = clock.now();
        let validity = Arc::new(Validity::new(Arc::clone(clock)));
        Self {
            shared,
            settings,
            sole: Arc::new(Lease::sole()),
            validity,
            state: Mutex::new(State {
                id: NodeId::random(entropy),
                leases: BTreeMap::new(),
                others: BTreeMap::new(),
                aside: None,
            }),
            member: tokio::sync::Mutex::new(Member::new(now)),
            outgoing: Mutex::default(),
            wake: Notify::new(),
            speak: Notify::new(),
            #[cfg(test)]
            broken: Mutex::default(),
        }
    }

    pub(crate) fn shared(&self) -> bool {
        self.shared
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease on a destination, if this server has one.
    pub(crate) fn lease(&self, destination: DestinationId) -> Option<Arc<Lease>> {
        self.lease_of(shard_of(destination))
    }

    fn lease_of(&self, shard: u8) -> Option<Arc<Lease>> {
        if !self.shared {
            return Some(Arc::clone(&self.sole));
        }
        self.state().leases.get(&shard).filter(|lease| !lease.is_over()).cloned()
    }

    /// Whether the work at a destination is this server's.
    pub(crate) fn owns(&self, destination: DestinationId) -> bool {
        self.lease(destination).is_some()
    }

    /// The shards that are this server's.
    pub(crate) fn owned(&self) -> Vec<u8> {
        let state = self.state();
        state.leases.iter().filter(|(_, lease)| !lease.is_over()).map(|(shard, _)| *shard).collect()
    }

    /// A commit told that the lease is lost.
    pub(crate) fn lost(&self, lease: &Lease) {
        lease.end();
        self.wake.notify_one();
    }

    /// As if it had not been heard of for a while.
    #[cfg(test)]
    pub(crate) fn lapse(&self) {
        self.validity.end();
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> NodeId {
        self.state().id
    }

    #[cfg(test)]
    pub(crate) fn is_broken(&self, how: Broken) -> bool {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) == Some(how)
    }
}

impl Inner {
    /// Forgets what is known of a shard's work, which is another server's now.
    fn let_go(&self, shard: u8) {
        self.cluster.state().leases.remove(&shard);
        let its = |destination: DestinationId| shard_of(destination) == shard;
        let mut lanes = self.lanes();
        for destination in lanes.destinations() {
            if its(destination) {
                lanes.forget(destination);
            }
        }
        drop(lanes);
        self.timers().cancel_all(its);
        self.forget_suspects(its);
    }
}
