use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::{Backend, Batch, Entry, Revision, StoreError, Write, backend::State};

/// A back end that forgets: for `server --dev`, tests and simulation.
///
/// Several stores may be opened over one, as several processes open one database; it is then made by
/// [`Memory::shared`].
#[derive(Default)]
pub struct Memory {
    entries: Mutex<Entries>,
    /// Who is told of announcements, where there may be others to tell.
    listeners: Option<broadcast::Sender<Bytes>>,
}

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

    /// Empty, and used by several servers.
    pub fn shared() -> Self {
        Self { listeners: Some(broadcast::Sender::new(1024)), ..Self::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn shared(&self) -> bool {
        self.listeners.is_some()
    }

    async fn announce(&self, announcement: Bytes) {
        if let Some(listeners) = &self.listeners {
            // Nobody listening is no error.
            let _ = listeners.send(announcement);
        }
    }

    fn announcements(&self) -> Option<broadcast::Receiver<Bytes>> {
        self.listeners.as_ref().map(broadcast::Sender::subscribe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_announced_is_heard_where_several_servers_may_be() {
        let alone = Memory::new();
        assert!(!alone.shared() && alone.announcements().is_none());
        alone.announce(Bytes::from_static(b"nobody hears it")).await;
        let shared = Memory::shared();
        let (mut one, mut two) = (shared.announcements().unwrap(), shared.announcements().unwrap());
        shared.announce(Bytes::from_static(b"news")).await;
        assert!(shared.shared());
        for heard in [one.recv().await, two.recv().await] {
            assert_eq!(heard.as_deref(), Ok(b"news".as_slice()));
        }
    }
}
