use std::{collections::BTreeMap, ops::Bound};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::StoreError;

/// Grows with every commit of a back end. An entry carries the revision of the commit that wrote it,
/// so "unchanged since" is one comparison and a deleted and re-created entry is never mistaken for
/// the old one. There may be gaps, a restart makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A value and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Sealed bytes.
    pub value: Bytes,
    /// When it was written.
    pub revision: Revision,
}

/// What must hold for a batch to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Nothing is stored under the key.
    Absent(Vec<u8>),
    /// Something is stored under the key.
    Present(Vec<u8>),
    /// What is stored under the key was written by this commit.
    Unchanged(Vec<u8>, Revision),
    /// Once the batch is applied, nothing is stored under any key that begins with this.
    EmptyAfter(Vec<u8>),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Stores or replaces.
    Put(Vec<u8>, Vec<u8>),
    /// Removes; removing what is not there is no error.
    Delete(Vec<u8>),
}

/// Changes that take effect together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold at the moment of commit.
    pub checks: Vec<Check>,
    /// Applied in order.
    pub writes: Vec<Write>,
}

/// The largest value a back end takes, in bytes. Far above what the server accepts in one request
/// (decisions 16), far below what any back end could not hold.
pub const MAX_VALUE: usize = 128 << 20;

/// The longest announcement, in bytes.
pub const MAX_ANNOUNCEMENT: usize = 3000;

/// An ordered, transactional byte store. Keys compare byte by byte.
///
/// The contract, exercised by one suite on every back end:
/// - A commit that returned `Ok` survives a crash of the process and of the machine.
/// - Commits are serialisable: checks and writes of one batch see one state, and no two batches
///   interleave.
/// - A read that starts after a commit returned sees it, from any handle of any process.
/// - A batch whose checks fail changes nothing and answers [`StoreError::Conflict`]; it never fails
///   another batch that happened to be flushed with it.
/// - A value above [`MAX_VALUE`] is refused with [`StoreError::TooLarge`], and the whole batch with
///   it.
/// - A commit whose caller stops waiting for it may still take effect, as a whole.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What `sys/seal-status` calls it: `inmem`, `embedded`, `postgresql`.
    fn name(&self) -> &'static str;

    /// The entry under a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Entries whose keys begin with `prefix`, in key order, the first `limit` after `after`
    /// (exclusive; a whole key, which need not exist any more). All of one moment.
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError>;

    /// Applies a batch, durably, and tells its revision: the one its entries now carry. A batch
    /// without writes only checks, and tells the revision of a commit no later than itself.
    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError>;

    /// Whether other processes may be at work on the same entries at the same time. Where none can be,
    /// nobody pays for finding out who they are.
    fn shared(&self) -> bool {
        false
    }

    /// Tells whoever listens, in this process and in others, at most [`MAX_ANNOUNCEMENT`] bytes. Nobody
    /// relies on it: an announcement may be lost, doubled, late, out of order, and come back to its sender.
    /// It does not fail and does not wait long. Whoever can reach the back end can read it, so nothing in
    /// it is secret.
    async fn announce(&self, _announcement: Bytes) {}

    /// What is announced from now on. `None`: this back end carries no announcements. A receiver that lags
    /// is told that it missed some.
    fn announcements(&self) -> Option<broadcast::Receiver<Bytes>> {
        None
    }

    /// Everything there is, all of one moment, handed out a page at a time: commits made meanwhile are
    /// not waited for and do not show. The default reads all of it into memory at once.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(InMemory(self.scan(&[], None, usize::MAX).await?.into_iter())))
    }

    /// Puts these entries in the place of everything there is, in one commit, whose revision all of them
    /// carry. The first error among them, or a failure of the back end, leaves everything as it was. The
    /// default gathers them in memory.
    async fn replace(&self, entries: Replacement) -> Result<Revision, StoreError> {
        let before = self.scan(&[], None, usize::MAX).await?;
        let mut writes: Vec<_> = before.into_iter().map(|(key, _)| Write::Delete(key)).collect();
        for entry in entries {
            let (key, value) = entry?;
            writes.push(Write::Put(key, value));
        }
        self.commit(Batch { checks: Vec::new(), writes }).await
    }
}

/// What takes the place of everything in a back end: keys, each once, and sealed values.
pub type Replacement = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + Send>;

/// The entries of one moment, see [`Backend::snapshot`]. Dropping it lets go of the moment.
#[async_trait]
pub trait Snapshot: Send {
    /// The next entries in key order: some, of about [`SNAPSHOT_PAGE`] bytes together; none at the end.
    async fn next(&mut self) -> Result<Vec<(Vec<u8>, Entry)>, StoreError>;
}

/// About how many bytes of keys and values a page of a [`Snapshot`] holds. One larger entry is a page of
/// its own.
pub const SNAPSHOT_PAGE: usize = 256 << 10;

/// A moment that is in memory already.
struct InMemory(std::vec::IntoIter<(Vec<u8>, Entry)>);

#[async_trait]
impl Snapshot for InMemory {
    async fn next(&mut self) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let mut page = Vec::new();
        let mut size = 0;
        while size < SNAPSHOT_PAGE {
            let Some((key, entry)) = self.0.next() else { break };
            size += key.len() + entry.value.len();
            page.push((key, entry));
        }
        Ok(page)
    }
}

/// What a batch's checks are held against, for back ends that evaluate them in this process.
pub(crate) trait State {
    /// Why it could not be read.
    type Error;

    /// The commit that wrote what is under the key now.
    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Self::Error>;

    /// Whether `holds` is true of every stored key that begins with `prefix`. May stop at the first
    /// that fails.
    fn every_key(&self, prefix: &[u8], holds: impl FnMut(&[u8]) -> bool) -> Result<bool, Self::Error>;
}

impl Batch {
    /// Whether all checks hold in `state`.
    pub(crate) fn holds<S: State>(&self, state: &S) -> Result<bool, S::Error> {
        // Made only when a check asks for it.
        let mut outcome = None;
        for check in &self.checks {
            let holds = match check {
                Check::Absent(key) => state.revision(key)?.is_none(),
                Check::Present(key) => state.revision(key)?.is_some(),
                Check::Unchanged(key, revision) => state.revision(key)? == Some(*revision),
                Check::EmptyAfter(prefix) => {
                    let outcome = outcome.get_or_insert_with(|| self.outcome());
                    let from = (Bound::Included(prefix.as_slice()), Bound::Unbounded);
                    // Nothing written stays, and nothing stored is left untouched.
                    outcome
                        .range::<[u8], _>(from)
                        .take_while(|(key, _)| key.starts_with(prefix))
                        .all(|(_, stays)| !stays)
                        && state.every_key(prefix, |key| outcome.contains_key(key))?
                }
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// For each key the batch writes: whether something is left there by the last write to it.
    fn outcome(&self) -> BTreeMap<&[u8], bool> {
        self.writes
            .iter()
            .map(|write| match write {
                Write::Put(key, _) => (key.as_slice(), true),
                Write::Delete(key) => (key.as_slice(), false),
            })
            .collect()
    }

    /// Refuses values that no back end takes.
    pub(crate) fn check_sizes(&self) -> Result<(), StoreError> {
        for write in &self.writes {
            if let Write::Put(_, value) = write
                && value.len() > MAX_VALUE
            {
                return Err(StoreError::TooLarge { size: value.len(), limit: MAX_VALUE });
            }
        }
        Ok(())
    }
}
