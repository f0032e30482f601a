//! Where a worker's calls wait for their turn at the provider's account.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use destinations::Fault;
use tokio::time::Instant;

use crate::{
    engine::Inner,
    lanes::Urgency,
    quota::{Account, Entering, Operation, Turn},
};

/// One worker's way to its turns.
pub struct Gate {
    account: Arc<Account>,
    urgency: Urgency,
    /// Given up with the first turn, so that another worker may start.
    entering: Mutex<Option<Entering>>,
    inner: Arc<Inner>,
    writes: AtomicUsize,
    /// Nanoseconds.
    waited: AtomicU64,
}

impl Gate {
    pub(crate) fn new(
        inner: Arc<Inner>,
        account: Arc<Account>,
        urgency: Urgency,
        entering: Option<Entering>,
    ) -> Self {
        Self {
            account,
            urgency,
            entering: Mutex::new(entering),
            inner,
            writes: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
        }
    }

    /// Waits for a turn to make so many calls.
    ///
    /// # Errors
    /// [`Fault::throttled`] when the provider allows none for so long that whoever waits should rather
    /// begin anew then.
    pub(crate) async fn turn(&self, operation: Operation, times: usize) -> Result<Turn, Fault> {
        let begun = Instant::now();
        let turn = self.account.turn(operation, times, self.urgency).await;
        let waited = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(waited, Ordering::Relaxed);
        if turn.is_ok() && operation != Operation::Look {
            self.writes.fetch_add(times, Ordering::Relaxed);
        }
        let entered = self.entering.lock().unwrap_or_else(PoisonError::into_inner).take();
        if entered.is_some() {
            drop(entered);
            self.inner.pump_account(&self.account);
        }
        turn
    }

    /// Time spent waiting.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// Writes and removals that had their turn, each bulk call as one.
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let entered = self.entering.lock().unwrap_or_else(PoisonError::into_inner).take();
        if entered.is_some() {
            // No call was needed.
            drop(entered);
            self.inner.pump_account(&self.account);
        }
    }
}
