/// Why the store could not do something. Absence is not an error: it is an `Option`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What a transaction had read has changed since. Read again and decide again.
    #[error("the data changed underneath; try again")]
    Conflict,
    /// The change was made for a shard of the work that another server has taken over meanwhile
    /// ([`fence`](crate::fence)). Nothing was changed, and it must not be tried again.
    #[error("another server has taken this work over")]
    Fenced,
    /// A record does not open: damaged, foreign, moved, or sealed under another key.
    #[error("a stored record of type {tag:#04x} is damaged or foreign: {what}")]
    Corrupt {
        /// The record type's pinned tag.
        tag: u8,
        /// In our words.
        what: &'static str,
    },
    /// The back end failed: disk, database, connection. Nothing is known to have been written.
    #[error("the storage back end failed: {0}")]
    Backend(String),
    /// A commit was sent to the back end and its outcome is not known.
    #[error("the storage back end failed while committing; whether it took effect is not known")]
    Unknown,
    /// A value is larger than the back end takes.
    #[error("a record of {size} bytes is larger than the storage takes ({limit} bytes)")]
    TooLarge {
        /// Its size, sealed.
        size: usize,
        /// The limit.
        limit: usize,
    },
}
