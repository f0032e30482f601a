use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Backend, Batch, Check, Entry, Revision, StoreError, Write};

/// A back end that forgets: for `server --dev`, tests and simulation.
#[derive(Default)]
pub struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Entry>,
    last: u64,
}

impl Memory {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn under(&self, prefix: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Entry)> {
        self.entries.range(prefix.to_vec()..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn holds(&self, check: &Check, writes: &[Write]) -> bool {
        match check {
            Check::Absent(key) => !self.entries.contains_key(key),
            Check::Present(key) => self.entries.contains_key(key),
            Check::Unchanged(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
            Check::EmptyAfter(prefix) => {
                let last_word = |key: &[u8]| {
                    writes.iter().rev().find_map(|write| match write {
                        Write::Put(k, _) if k == key => Some(true),
                        Write::Delete(k) if k == key => Some(false),
                        _ => None,
                    })
                };
                self.under(prefix).all(|(key, _)| last_word(key) == Some(false))
                    && writes.iter().all(|write| match write {
                        Write::Put(key, _) => !key.starts_with(prefix) || last_word(key) == Some(false),
                        Write::Delete(_) => true,
                    })
            }
        }
    }
}

#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        "inmem"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.state().entries.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let state = self.state();
        let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
        Ok(state
            .entries
            .range(from.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after))
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        let mut state = self.state();
        if !batch.checks.iter().all(|check| state.holds(check, &batch.writes)) {
            return Err(StoreError::Conflict);
        }
        state.last += 1;
        let revision = Revision(state.last);
        for write in batch.writes {
            match write {
                Write::Put(key, value) => {
                    state.entries.insert(key, Entry { value: Bytes::from(value), revision });
                }
                Write::Delete(key) => {
                    state.entries.remove(&key);
                }
            }
        }
        Ok(revision)
    }
}
