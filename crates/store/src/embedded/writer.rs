//! The one thread that changes the file.
//!
//! It takes whatever batches wait, applies them one after the other in one redb transaction, makes
//! that durable with one flush to disk, lets readers see it, and only then answers all of them. So a
//! commit costs its share of a flush, and the more callers wait the smaller the share.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use arc_swap::ArcSwapOption;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    file::{ENTRIES, META, META_RESERVED, Opened, Source},
    split,
};
use crate::{
    Batch, OpenError, Revision, StoreError, Write,
    backend::{MAX_VALUE, Replacement, State},
    queue::{GROUP_BATCHES, GROUP_BYTES, Request, Requests},
};

/// Revisions reserved at a time. Each start of the store skips what is left of a block, which 2^64
/// allows 2^44 times.
const REVISION_BLOCK: u64 = 1 << 20;

/// What readers read: the entries as of the newest commit that was answered. `None` while the file is
/// not open.
pub(super) type Current = ArcSwapOption<Entries>;
/// The entries as of one commit.
pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What is to be written.
pub(super) enum Work {
    Batch(Batch),
    /// In the place of everything.
    Replace(Replacement),
}

/// Starts the thread. It ends, and closes the file, once the queue's other end is dropped and what
/// was queued is done.
pub(super) fn start(
    source: Source,
    opened: Opened,
    current: Arc<Current>,
    queue: Requests<Work>,
) -> Result<JoinHandle<()>, OpenError> {
    let path = source.path.clone();
    let (last, reserved) = (opened.reserved, opened.reserved);
    let mut writer = Writer { source, database: None, stuck: None, current, last, reserved };
    writer.take(opened).map_err(|failed| OpenError::Damaged { file: path.clone(), what: failed.reason })?;
    thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || writer.run(queue))
        .map_err(OpenError::io("start a thread for", path))
}

/// A batch taken from the queue.
struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Revision, StoreError>>,
    _room: OwnedSemaphorePermit,
}

struct Writer {
    source: Source,
    /// `None` after a failure that could not be mended yet.
    database: Option<Database>,
    /// Why nothing can be written any more, until the store is opened by another process.
    stuck: Option<String>,
    current: Arc<Current>,
    /// The newest revision given out.
    last: u64,
    /// The newest revision that may be given out without raising the file's own mark.
    reserved: u64,
}

/// Something did not succeed.
struct Failed {
    /// The changes may be in the file all the same.
    sent: bool,
    reason: String,
}

impl Writer {
    fn run(mut self, mut queue: Requests<Work>) {
        while let Some(mut next) = queue.blocking_recv() {
            let mut size = 0;
            let mut batches = Vec::new();
            let replace = loop {
                let Request { work, size: more, answer, room, .. } = next;
                size += more;
                match work {
                    Work::Batch(batch) => batches.push(Waiting { batch, answer, _room: room }),
                    Work::Replace(entries) => break Some((entries, answer)),
                }
                if batches.len() >= GROUP_BATCHES || size >= GROUP_BYTES {
                    break None;
                }
                match queue.try_recv() {
                    Ok(another) => next = another,
                    Err(_) => break None,
                }
            };
            if !batches.is_empty() {
                self.flush(batches);
            }
            if let Some((entries, answer)) = replace {
                let outcome = self.replace(entries).unwrap_or_else(|failed| Err(self.failed(failed)));
                let _ = answer.send(outcome);
            }
        }
        self.current.store(None);
        if let Err(failed) = self.close() {
            let (file, error) = (self.source.path.display(), failed.reason);
            tracing::warn!(%file, error, "the store did not close cleanly; it is checked when it is next opened");
        }
    }

    fn flush(&mut self, requests: Vec<Waiting>) {
        match self.apply(&requests) {
            Ok(outcomes) => {
                for (request, outcome) in requests.into_iter().zip(outcomes) {
                    // A caller that no longer waits is no error.
                    let _ = request.answer.send(outcome);
                }
            }
            Err(failed) => {
                let error = self.failed(failed);
                for request in requests {
                    let _ = request.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Tells of a failure and opens the file again where that helps.
    fn failed(&mut self, failed: Failed) -> StoreError {
        tracing::error!(file = %self.source.path.display(), error = failed.reason, "the store could not be written");
        if self.database.is_some() {
            self.reopen();
        }
        if failed.sent { StoreError::Unknown } else { StoreError::Backend(failed.reason) }
    }

    /// Everything else in the place of everything, in one transaction. `Ok(Err)`: an entry was none.
    fn replace(&mut self, mut entries: Replacement) -> Result<Result<Revision, StoreError>, Failed> {
        let mut transaction = self.begin()?;
        let last = self.last + 1;
        let mut refused = None;
        let transaction = contained(|| {
            transaction.set_durability(Durability::Immediate)?;
            transaction.delete_table(ENTRIES)?;
            let mut table = transaction.open_table(ENTRIES)?;
            for entry in &mut entries {
                match entry {
                    Ok((_, value)) if value.len() > MAX_VALUE => {
                        refused = Some(StoreError::TooLarge { size: value.len(), limit: MAX_VALUE });
                    }
                    Ok((key, value)) => put(&mut table, &key, &value, last)?,
                    Err(error) => refused = Some(error),
                }
                if refused.is_some() {
                    break;
                }
            }
            drop(table);
            if last > self.reserved {
                transaction.open_table(META)?.insert(META_RESERVED, last + REVISION_BLOCK)?;
            }
            Ok(transaction)
        })?;
        if let Some(error) = refused {
            contained(|| Ok(transaction.abort()?))?;
            return Ok(Err(error));
        }
        self.commit(transaction, last)?;
        Ok(Ok(Revision(last)))
    }

    /// Makes a transaction durable and shows it to readers. What fails from here on may be in the file.
    fn commit(&mut self, transaction: WriteTransaction, last: u64) -> Result<(), Failed> {
        let sent = |failed| Failed { sent: true, ..failed };
        let reserved = if last > self.reserved { last + REVISION_BLOCK } else { self.reserved };
        // Revisions of a flush whose outcome is not known are not given out again.
        self.last = last;
        contained(|| Ok(transaction.commit()?)).map_err(sent)?;
        self.reserved = reserved;
        self.publish().map_err(sent)
    }

    /// One flush: what each request comes to, once it is so on disk.
    fn apply(&mut self, requests: &[Waiting]) -> Result<Vec<Result<Revision, StoreError>>, Failed> {
        let mut transaction = self.begin()?;
        let mut last = self.last;
        let mut outcomes = Vec::with_capacity(requests.len());
        // By move, so that a transaction that fails is also dropped in there.
        let transaction = contained(|| {
            transaction.set_durability(Durability::Immediate)?;
            let mut entries = transaction.open_table(ENTRIES)?;
            for request in requests {
                outcomes.push(apply_one(&mut entries, &request.batch, &mut last)?);
            }
            drop(entries);
            if last > self.reserved {
                transaction.open_table(META)?.insert(META_RESERVED, last + REVISION_BLOCK)?;
            }
            Ok(transaction)
        })?;
        if last == self.last {
            // Nobody changed anything: there is nothing to make durable.
            contained(|| Ok(transaction.abort()?))?;
            return Ok(outcomes);
        }
        self.commit(transaction, last)?;
        Ok(outcomes)
    }

    /// Starts a transaction, on a file opened again where that is needed and can be done.
    fn begin(&mut self) -> Result<WriteTransaction, Failed> {
        let begun = match &self.database {
            Some(database) if self.stuck.is_none() => contained(|| Ok(database.begin_write()?)),
            _ => Err(Failed { sent: false, reason: "the file is closed".into() }),
        };
        if begun.is_ok() {
            return begun;
        }
        self.reopen();
        match (&self.database, &self.stuck) {
            (Some(database), None) => contained(|| Ok(database.begin_write()?)),
            (_, Some(stuck)) => Err(Failed { sent: false, reason: stuck.clone() }),
            (None, None) => begun,
        }
    }

    /// Lets readers see what is committed. The table handle they share holds a read transaction, so
    /// it must follow every commit: an old one would keep freed pages from being used again.
    fn publish(&self) -> Result<(), Failed> {
        if let Some(database) = &self.database {
            let entries = contained(|| Ok(database.begin_read()?.open_table(ENTRIES)?))?;
            self.current.store(Some(Arc::new(entries)));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failed> {
        match self.database.take() {
            Some(database) => contained(|| Ok(database.close()?)),
            None => Ok(()),
        }
    }

    /// Opens the file again after a failure, unless that would be wrong (see [`super::disk`]).
    /// Meanwhile readers keep the last state they were shown, as far as it is in memory.
    fn reopen(&mut self) {
        if self.stuck.is_some() {
            return;
        }
        if self.source.flush_failed() {
            // The database stays open for what readers find in its cache.
            self.stuck = Some(format!(
                "the disk did not take a change to {} for certain, and nothing more is written until \
                 the server is started again; check the disk first",
                self.source.path.display()
            ));
            return;
        }
        // The failure that led here has been told; another one on the way out adds nothing.
        let _ = self.close();
        let failed = match self.source.open() {
            Ok(opened) => match self.take(opened) {
                Ok(()) => {
                    tracing::info!(file = %self.source.path.display(), "the store was opened again after a failure");
                    return;
                }
                Err(failed) => failed.reason,
            },
            // These may pass; the next commit tries again.
            Err(error @ (OpenError::Io { .. } | OpenError::InUse { .. })) => error.to_string(),
            Err(error) => {
                let reason = error.to_string();
                self.stuck = Some(reason.clone());
                reason
            }
        };
        tracing::error!(error = failed, "the store stays closed after a failure");
    }

    fn take(&mut self, opened: Opened) -> Result<(), Failed> {
        self.last = self.last.max(opened.reserved);
        self.reserved = opened.reserved;
        self.database = Some(opened.database);
        self.publish().inspect_err(|_| self.database = None)
    }
}

fn apply_one(
    entries: &mut Table<'_, &'static [u8], &'static [u8]>,
    batch: &Batch,
    last: &mut u64,
) -> Result<Result<Revision, StoreError>, redb::Error> {
    if !batch.holds(&TableState(entries))? {
        return Ok(Err(StoreError::Conflict));
    }
    if batch.writes.is_empty() {
        return Ok(Ok(Revision(*last)));
    }
    *last += 1;
    for write in &batch.writes {
        match write {
            Write::Put(key, value) => put(entries, key, value, *last)?,
            Write::Delete(key) => {
                entries.remove(key.as_slice())?;
            }
        }
    }
    Ok(Ok(Revision(*last)))
}

/// Stores a value behind its revision.
fn put(
    entries: &mut Table<'_, &'static [u8], &'static [u8]>,
    key: &[u8],
    value: &[u8],
    last: u64,
) -> Result<(), redb::Error> {
    let mut room = entries.insert_reserve(key, 8 + value.len())?;
    let (revision, bytes) = room.as_mut().split_at_mut(8);
    revision.copy_from_slice(&last.to_be_bytes());
    bytes.copy_from_slice(value);
    Ok(())
}

/// The entries as one write transaction sees them: earlier batches of the flush included.
struct TableState<'a, 't>(&'a Table<'t, &'static [u8], &'static [u8]>);

impl State for TableState<'_, '_> {
    type Error = redb::StorageError;

    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Self::Error> {
        let found = self.0.get(key)?;
        found.map(|found| split(found.value()).map(|(revision, _)| revision)).transpose()
    }

    fn every_key(&self, prefix: &[u8], mut holds: impl FnMut(&[u8]) -> bool) -> Result<bool, Self::Error> {
        for entry in self.0.range(prefix..)? {
            let (key, _) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if !holds(key.value()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Runs a piece of redb: its errors and its panics become a [`Failed`].
fn contained<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failed { sent: false, reason: error.to_string() }),
        Err(_) => {
            Err(Failed { sent: false, reason: "the storage engine met a state it does not know".into() })
        }
    }
}
