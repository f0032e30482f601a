use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Backend, Batch, Entry, Revision, StoreError, Write, backend::State};

/// A back end that forgets: for `server --dev`, tests and simulation.
#[derive(Default)]
pub struct Memory(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<Vec<u8>, Entry>,
    last: u64,
}

impl Memory {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State for Entries {
    type Error = Infallible;

    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Infallible> {
        Ok(self.by_key.get(key).map(|entry| entry.revision))
    }

    fn every_key(&self, prefix: &[u8], mut holds: impl FnMut(&[u8]) -> bool) -> Result<bool, Infallible> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        Ok(self
            .by_key
            .range::<[u8], _>(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .all(|(key, _)| holds(key)))
    }
}

#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        "inmem"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries().by_key.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(self
            .entries()
            .by_key
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_sizes()?;
        let mut entries = self.entries();
        let Ok(holds) = batch.holds(&*entries);
        if !holds {
            return Err(StoreError::Conflict);
        }
        if !batch.writes.is_empty() {
            entries.last += 1;
        }
        let revision = Revision(entries.last);
        for write in batch.writes {
            match write {
                Write::Put(key, value) => {
                    // Boxed: without the room the writer did not need.
                    let value = Bytes::from(value.into_boxed_slice());
                    entries.by_key.insert(key, Entry { value, revision });
                }
                Write::Delete(key) => {
                    entries.by_key.remove(&key);
                }
            }
        }
        Ok(revision)
    }
}
