//! What waits for a destination, how long it will take, and what holds it back. Told from what is in
//! memory anyway: asking costs neither a call nor a read.

use std::time::Duration;

use model::DestinationId;
use tokio::time::Instant;

use crate::{
    engine::Inner,
    lanes::{Cost, Lane},
    quota::Bound,
};

/// The work that waits for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Associations waiting, being worked on, or to be tried again.
    pub pending: usize,
    /// When all of it will be done if nothing else comes, as things go now. `None` when that cannot be
    /// known: syncing is switched off, or the destination does not answer.
    pub eta: Option<Duration>,
    /// What holds it back; `None` when nothing is pending.
    pub bound_by: Option<BoundBy>,
}

/// What holds work back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundBy {
    /// Syncing is switched off in `sys/sync/config`.
    Paused,
    /// Calls fail one after the other: only one at a time is tried, ever more rarely.
    Outage,
    /// The provider asked for fewer calls than it documents.
    Throttled,
    /// The provider's documented limit.
    Quota,
    /// The number of calls that may be under way at once, and how long each takes.
    Concurrency,
    /// Failed associations, each waiting for its next attempt.
    Retries,
}

impl BoundBy {
    /// As the API says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Outage => "outage",
            Self::Throttled => "throttled",
            Self::Quota => "quota",
            Self::Concurrency => "concurrency",
            Self::Retries => "retries",
        }
    }
}

impl BoundBy {
    /// From what the API says.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let all =
            [Self::Paused, Self::Outage, Self::Throttled, Self::Quota, Self::Concurrency, Self::Retries];
        all.into_iter().find(|bound| bound.as_str() == text)
    }
}

impl Inner {
    /// Work waiting in all lanes, of all servers.
    pub(crate) fn pending(&self) -> u64 {
        self.lanes().len() as u64 + self.cluster.pending_elsewhere()
    }

    /// The backlog of one destination that this server works for.
    pub(crate) fn backlog(&self, id: DestinationId, paused: bool) -> Backlog {
        let (retries, last_retry) = {
            let timers = self.timers();
            let retries = timers.retries(id);
            (retries, if retries > 0 { timers.last_retry(id) } else { None })
        };
        let lanes = self.lanes();
        let idle = Lane::default();
        let lane = lanes.known(id).unwrap_or(&idle);
        let pending = lane.pending() + retries;
        let told = |eta, bound_by| Backlog { pending, eta, bound_by: Some(bound_by) };
        if pending == 0 {
            return Backlog { pending, eta: Some(Duration::ZERO), bound_by: None };
        }
        if paused {
            return told(None, BoundBy::Paused);
        }
        let now = Instant::now();
        if lane.tripped() {
            return told(None, BoundBy::Outage);
        }
        let until_last = last_retry.map(|at| at.since(self.clock.now())).unwrap_or_default();
        let Cost { seconds, writes } = lane.cost;
        let calls = seconds * count(pending) / count(self.settings.concurrency);
        let calls = Duration::from_secs_f64(calls.clamp(0.0, 1e9));
        let Some(account) = lane.account() else {
            let bound = match lane.opens_at() {
                Some(at) if at > now => BoundBy::Outage,
                _ if lane.pending() == 0 => BoundBy::Retries,
                _ => BoundBy::Concurrency,
            };
            return told(Some(calls.max(until_last)), bound);
        };
        // The destinations of an account take turns, so those with less to do are done before.
        let others = account.members().into_iter().filter(|other| *other != id);
        let others = others.filter_map(|other| lanes.known(other));
        let before_us: usize = others.map(|other| other.pending().min(pending)).sum();
        drop(lanes);
        let (quota, bound) = account.forecast(writes * count(pending + before_us), now);
        let bound = match bound {
            Bound::Throttled => BoundBy::Throttled,
            _ if retries == pending => BoundBy::Retries,
            Bound::Quota => BoundBy::Quota,
            Bound::Nothing if quota > calls => BoundBy::Quota,
            Bound::Nothing => BoundBy::Concurrency,
        };
        told(Some(quota.max(calls).max(until_last)), bound)
    }
}

fn count(things: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let count = things as f64;
    count
}
