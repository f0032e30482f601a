//! The durable back end of a single server: one redb file.
//!
//! redb is a copy-on-write B-tree with checksummed pages and snapshot readers; it is kept behind
//! [`Backend`] so that another engine can take its place. What this module adds: group commit
//! ([`writer`]), reads that cost one tree descent, revisions, and refusals that say what is wrong
//! with a file ([`mod@file`]).
//!
//! A commit is one flush to disk: redb recognises by checksums one that a power cut left unfinished,
//! and goes back to the one before. The price is that if, after a crash, the *newest* commit has also
//! rotted on the medium, it looks like an unfinished one. Any older damage is refused, as is any
//! damage to a file that was closed properly. Two flushes per commit would tell these apart and cost
//! every lone writer half its speed.

#[cfg(test)]
mod crash_tests;
mod disk;
mod file;
#[cfg(test)]
mod pretend;
mod writer;

use std::{
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};

use async_trait::async_trait;
use bytes::Bytes;
use redb::StorageError;

pub(crate) use self::file::sync_dir_of;
use self::{
    file::Source,
    writer::{Current, Entries, Work},
};
use crate::{
    Backend, Batch, Entry, OpenError, Revision, StoreError,
    backend::{Replacement, SNAPSHOT_PAGE, Snapshot},
    queue::{self, Queue},
};

/// How to use an embedded store's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The most memory its cache takes, in bytes. Default 64 MiB. The operating system caches the
    /// file too, outside the process.
    pub cache_bytes: usize,
    /// Verify every page's checksum when opening (default). Reads the whole file; without it damage
    /// is noticed only when met, if at all.
    pub check_on_open: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, check_on_open: true }
    }
}

/// A durable back end in one file, used by one process at a time. Dropping it finishes what is
/// queued and closes the file.
pub struct Embedded {
    current: Arc<Current>,
    /// `None` only while dropping.
    queue: Option<Queue<Work>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Makes a new, empty store file that only its owner can read.
    ///
    /// # Errors
    /// [`OpenError::AlreadyThere`] when there is a file already; it is left as it is.
    pub fn create(path: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        file::make_empty(path)?;
        let source = Source::file(path, options);
        let made = source.create().and_then(|opened| {
            sync_dir_of(path)?;
            Self::start(source, opened)
        });
        if made.is_err() {
            // Half a store is of no use, and would be in the way of the next attempt.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Opens a store file.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] when there is none: nothing is ever made here. Otherwise the reason why
    /// the file cannot be used.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let source = Source::file(path, options);
        let opened = source.open()?;
        Self::start(source, opened)
    }

    fn start(source: Source, opened: file::Opened) -> Result<Self, OpenError> {
        let current = Arc::new(Current::empty());
        let (queue, requests) = Queue::new();
        let writer = writer::start(source, opened, Arc::clone(&current), requests)?;
        Ok(Self { current, queue: Some(queue), writer: Some(writer) })
    }

    /// Reads from the newest committed state. A read costs no lock and no system call when its pages
    /// are cached; a page that is not comes from the operating system's cache or the disk.
    async fn read<T>(
        &self,
        read: impl Fn(&Entries) -> Result<T, StorageError> + Sync,
    ) -> Result<T, StoreError> {
        let reason = match self.try_read(&read) {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        // After a failure redb answers nothing from the file any more. Taking its turn in the queue, a
        // batch of nothing makes the writer notice and open the file again, where that can help.
        match self.commit(Batch::default()).await {
            Ok(_) => self.try_read(&read).map_err(StoreError::Backend),
            Err(_) => Err(StoreError::Backend(reason)),
        }
    }

    fn try_read<T>(&self, read: impl Fn(&Entries) -> Result<T, StorageError>) -> Result<T, String> {
        let current = self.current.load();
        let Some(entries) = current.as_ref() else { return Err("the store's file is closed".into()) };
        // redb may panic on a page that went bad while the file was open.
        match catch_unwind(AssertUnwindSafe(|| read(entries))) {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("a page of the store's file makes no sense".into()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A panic there has been reported by the thread itself.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.read(|entries| entries.get(key)?.map(|found| entry(found.value())).transpose()).await
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
        self.read(|entries| {
            let mut found = Vec::new();
            for next in entries.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
                let (key, value) = next?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), entry(value.value())?));
            }
            Ok(found)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_sizes()?;
        let size = queue::size(&batch);
        self.send(Work::Batch(batch), size).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        // As a read does it: after a failure the file is opened again where that can help.
        self.read(|_| Ok(())).await?;
        let entries = self.current.load_full();
        let entries = entries.ok_or_else(|| StoreError::Backend("the store's file is closed".into()))?;
        Ok(Box::new(Moment { entries, after: None }))
    }

    async fn replace(&self, entries: Replacement) -> Result<Revision, StoreError> {
        self.send(Work::Replace(entries), 0).await
    }
}

/// The entries as of one commit. Its pages are not used again while this is held.
struct Moment {
    entries: Arc<Entries>,
    after: Option<Vec<u8>>,
}

#[async_trait]
impl Snapshot for Moment {
    async fn next(&mut self) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let read = || {
            let (mut page, mut size) = (Vec::new(), 0);
            for next in self.entries.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = next?;
                size += key.value().len() + value.value().len();
                page.push((key.value().to_vec(), entry(value.value())?));
                if size >= SNAPSHOT_PAGE {
                    break;
                }
            }
            Ok::<_, StorageError>(page)
        };
        // redb may panic on a page that went bad while the file was open.
        let page = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(page) => page.map_err(|error| StoreError::Backend(error.to_string()))?,
            Err(_) => return Err(StoreError::Backend("a page of the store's file makes no sense".into())),
        };
        self.after = page.last().map(|(key, _)| key.clone()).or(self.after.take());
        Ok(page)
    }
}

impl Embedded {
    /// Hands work to the writer and waits for what it comes to.
    async fn send(&self, work: Work, size: usize) -> Result<Revision, StoreError> {
        match &self.queue {
            Some(queue) => queue.send(work, size).await,
            None => Err(StoreError::Unknown),
        }
    }
}

/// The revision in front of a stored value.
fn split(stored: &[u8]) -> Result<(Revision, &[u8]), StorageError> {
    match stored.split_first_chunk() {
        Some((revision, value)) => Ok((Revision(u64::from_be_bytes(*revision)), value)),
        None => Err(StorageError::Corrupted("an entry is too short".into())),
    }
}

fn entry(stored: &[u8]) -> Result<Entry, StorageError> {
    split(stored).map(|(revision, value)| Entry { value: Bytes::copy_from_slice(value), revision })
}
