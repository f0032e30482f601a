use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use model::{Clock, Timestamp};
use store::{Revision, fence::Fence};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Until when this server may believe that its leases are its own.
pub(super) struct Validity {
    clock: Arc<dyn Clock>,
    until: Mutex<Option<(Instant, Timestamp)>>,
}

impl Validity {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, until: Mutex::default() }
    }

    fn until(&self) -> Option<(Instant, Timestamp)> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the moment at which the write that proves it was begun.
    pub(super) fn extend(&self, begun: (Instant, Timestamp), valid: Duration) {
        let until = (begun.0 + valid, begun.1.plus(valid));
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    pub(super) fn end(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The monotonic clock of a machine that was put to sleep stands still; the wall clock does not. Either
    /// may say that time is up.
    pub(super) fn holds(&self) -> bool {
        self.until().is_some_and(|(until, wall)| Instant::now() < until && self.clock.now() < wall)
    }
}

/// The right to work on one shard, from when it was taken until it is given up or lost.
pub struct Lease {
    /// `None`: there is nobody to share with.
    held: Option<Held>,
    over: CancellationToken,
    draining: AtomicBool,
    drain_by: Mutex<Option<Instant>>,
    under_way: AtomicUsize,
}

struct Held {
    fence: Fence,
    revision: Revision,
    validity: Arc<Validity>,
    #[cfg(test)]
    ignores_deadline: bool,
}

impl Lease {
    /// Where there are no others.
    pub(super) fn sole() -> Self {
        Self {
            held: None,
            over: CancellationToken::new(),
            draining: AtomicBool::new(false),
            drain_by: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    pub(super) fn taken(
        fence: Fence,
        revision: Revision,
        validity: Arc<Validity>,
        #[cfg(test)] ignores_deadline: bool,
    ) -> Self {
        let held = Held {
            fence,
            revision,
            validity,
            #[cfg(test)]
            ignores_deadline,
        };
        Self { held: Some(held), ..Self::sole() }
    }

    /// What every commit made for it depends on.
    pub(crate) fn fence(&self) -> Option<Fence> {
        self.held.as_ref().map(|held| held.fence.clone())
    }

    /// The commit by which it was taken.
    pub(super) fn revision(&self) -> Option<Revision> {
        self.held.as_ref().map(|held| held.revision)
    }

    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Whether it was given up or lost. Once it is, it stays so.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Whether a call may be made now.
    pub(crate) fn holds(&self) -> bool {
        let Some(held) = &self.held else { return true };
        #[cfg(test)]
        if held.ignores_deadline {
            return true;
        }
        !self.is_over() && held.validity.holds()
    }

    /// Whether work may be started.
    pub(crate) fn takes_work(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.holds()
    }

    /// Starts no more work, and lets what is under way end within so long.
    pub(super) fn drain(&self, time: Duration) {
        if !self.draining.swap(true, Ordering::Relaxed) {
            *self.drain_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
        }
    }

    /// Goes on after all.
    pub(super) fn resume(&self) -> bool {
        self.draining.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the time to drain is up.
    pub(super) fn is_overdue(&self) -> bool {
        let by = *self.drain_by.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_draining() && by.is_some_and(|by| by <= Instant::now())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// Counts a piece of work until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Makes a call as long as the lease holds. `None`: it was given up, and may have had its effect.
    ///
    /// Whether it holds is asked each time before the call may go on, so that a process that was frozen in
    /// the middle of it does not first send what it was about to send.
    pub(crate) async fn during<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        let mut ended = pin!(self.ended());
        poll_fn(|context| {
            if !self.holds() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(done) = call.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            ended.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    async fn ended(&self) {
        let Some(held) = &self.held else { return std::future::pending().await };
        loop {
            let until = held.validity.until().map(|(until, _)| until);
            let Some(until) = until.filter(|_| self.holds()) else { return };
            tokio::select! {
                () = self.over.cancelled() => return,
                // By then it may have been extended.
                () = tokio::time::sleep_until(until) => {}
            }
            #[cfg(test)]
            if held.ignores_deadline {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Work under way for a lease.
pub(crate) struct UnderWay(Arc<Lease>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use model::ManualClock;
    use store::{Keys, Store};

    use super::*;

    async fn lease(clock: &Arc<ManualClock>) -> (Arc<Validity>, Lease) {
        let entropy = Arc::new(model::SeededEntropy::new(1));
        let root = store::RootKey::random(entropy.as_ref());
        let memory = Arc::new(store::Memory::shared());
        let store = Store::init(memory, &root, clock.as_ref(), entropy).await.unwrap();
        let validity = Arc::new(Validity::new(Arc::clone(clock) as Arc<dyn Clock>));
        let keys: &Keys = store.keys();
        let fence = Fence::new(&keys.shard(1), Revision(1));
        (Arc::clone(&validity), Lease::taken(fence, Revision(1), validity, false))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_while_the_lease_is_renewed_and_is_given_up_when_it_is_not() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1)));
        let (validity, lease) = lease(&clock).await;
        assert!(!lease.holds(), "nothing was proven yet");
        let valid = Duration::from_secs(3);
        let begun = Instant::now();
        validity.extend((begun, clock.now()), valid);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            validity.extend((Instant::now(), clock.now()), valid);
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        assert_eq!(lease.during(slow).await, Some(()));
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
        assert_eq!(lease.during(std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), Duration::from_secs(5), "three after the last proof was begun");
        assert_eq!(lease.during(async { unreachable!("it must not be started") }).await, None::<()>);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_went_on_while_the_machine_slept_ends_it() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1)));
        let (validity, lease) = lease(&clock).await;
        validity.extend((Instant::now(), clock.now()), Duration::from_secs(3));
        assert!(lease.holds());
        clock.advance(Duration::from_secs(4));
        assert!(!lease.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_ends_calls_at_once() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1)));
        let (validity, lease) = lease(&clock).await;
        validity.extend((Instant::now(), clock.now()), Duration::from_secs(3));
        let begun = Instant::now();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            lease.end();
            std::future::pending::<()>().await;
        };
        let other = lease.during(std::future::pending::<()>());
        tokio::select! {
            () = ends => unreachable!(),
            given_up = other => assert_eq!(given_up, None),
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        assert!(lease.is_over() && !lease.takes_work());
    }
}
