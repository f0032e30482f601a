//! Changes that only the holder of a lease may make.
//!
//! Whatever is committed inside [`within`] names the record that was written when the lease was taken,
//! as unchanged. So a process that was paused, cut off or given up for dead, and does not know it, changes
//! nothing any more once another one has taken over, whichever function it happens to be in.

use std::future::Future;

use tokio::task::futures::TaskLocalFuture;

use crate::{Backend, Check, Revision, StoreError};

/// The record that proves a lease, and the commit by which it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    key: Vec<u8>,
    revision: Revision,
}

tokio::task_local! {
    static FENCE: Fence;
}

impl Fence {
    /// Of the record under this key, as that commit wrote it.
    pub fn new(key: &crate::RecordKey<crate::records::Shard>, revision: Revision) -> Self {
        Self { key: key.as_bytes().to_vec(), revision }
    }

    /// What every batch is to check.
    fn check(&self) -> Check {
        Check::Unchanged(self.key.clone(), self.revision)
    }

    async fn holds(&self, backend: &dyn Backend) -> Result<bool, StoreError> {
        Ok(backend.get(&self.key).await?.is_some_and(|entry| entry.revision == self.revision))
    }
}

/// Runs a future all of whose commits depend on the lease. Tasks that it spawns are not bound.
pub fn within<F: Future>(fence: Fence, future: F) -> TaskLocalFuture<Fence, F> {
    FENCE.scope(fence, future)
}

/// The check that a batch made here must carry, if any.
pub(crate) fn current() -> Option<Check> {
    FENCE.try_with(Fence::check).ok()
}

/// Why a batch made here was refused: because of what it decided on, or because the lease is gone.
pub(crate) async fn why_refused(backend: &dyn Backend) -> StoreError {
    let Ok(fence) = FENCE.try_with(Fence::clone) else { return StoreError::Conflict };
    match fence.holds(backend).await {
        Ok(true) => StoreError::Conflict,
        Ok(false) => StoreError::Fenced,
        Err(error) => error,
    }
}
