//! Commits seen from outside.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{Batch, Revision, Store, StoreError};

/// Told how commits go, for whoever counts them.
pub trait CommitWatch: Send + Sync {
    /// One has ended. Must not block.
    fn committed(&self, took: Duration, outcome: Result<(), &StoreError>);
}

impl Store {
    /// Tells this watch of every commit of records from now on, whichever clone of the store makes it. Only
    /// the first watch is told.
    pub fn watch(&self, watch: Arc<dyn CommitWatch>) {
        // A second one is not worth a lock on the way of every commit.
        let _ = self.watched().set(watch);
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        let begun = Instant::now();
        let outcome = self.backend().commit(batch).await;
        if let Some(watch) = self.watched().get() {
            watch.committed(begun.elapsed(), outcome.as_ref().map(|_| ()));
        }
        outcome
    }
}
