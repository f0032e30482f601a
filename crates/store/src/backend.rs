use async_trait::async_trait;
use bytes::Bytes;

use crate::StoreError;

/// Grows with every commit of a back end. An entry carries the revision of the commit that wrote it,
/// so "unchanged since" is one comparison and a deleted and re-created entry is never mistaken for
/// the old one.
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

/// An ordered, transactional byte store. Keys compare byte by byte.
///
/// The contract, exercised by one suite on every back end:
/// - A commit that returned `Ok` survives a crash of the process and of the machine.
/// - Commits are serialisable: checks and writes of one batch see one state, and no two batches
///   interleave.
/// - A read that starts after a commit returned sees it, from any handle of any process.
/// - A batch whose checks fail changes nothing and answers [`StoreError::Conflict`]; it never fails
///   another batch that happened to be flushed with it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What `sys/seal-status` calls it: `inmem`, `embedded`, `postgresql`.
    fn name(&self) -> &'static str;

    /// The entry under a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Entries whose keys begin with `prefix`, in key order, the first `limit` after `after`
    /// (exclusive; a whole key).
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError>;

    /// Applies a batch, durably, and tells its revision.
    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError>;
}
