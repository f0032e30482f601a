//! Where keyferry keeps what it knows: a narrow ordered, transactional byte store, and the sealed,
//! typed records above it.
//!
//! Two seams. Below, [`Backend`] holds opaque bytes under opaque keys: it sees keyed hashes and
//! sealed values only, and is a page or two to write. Above, [`Store`] gives typed records, opened
//! and sealed on the way. Nothing above a backend assumes that one process owns
//! the data: every change is a [`Transaction`] that states what it read, and loses when that is no
//! longer so.

mod backend;
mod barrier;
pub mod data_dir;
pub mod doctor;
mod embedded;
mod error;
pub mod fence;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
pub mod key_dir;
mod keyring;
mod keys;
pub mod kv;
mod memory;
mod open_error;
mod plain;
mod postgres;
mod queue;
pub mod records;
mod restored;
pub mod root_key_file;
pub mod snapshot;
mod typed;
mod watch;
mod wipe;

pub use backend::{
    Backend, Batch, Check, Entry, MAX_ANNOUNCEMENT, MAX_VALUE, Replacement, Revision, SNAPSHOT_PAGE,
    Snapshot, Write,
};
pub use embedded::{Embedded, EmbeddedOptions};
pub use error::StoreError;
pub use guard::{AutoUnseal, BadShares, GivenKey, Guard, ShareKey};
pub use keyring::RootKey;
pub use keys::{Keys, Node, RecordKey, RecordPrefix};
pub use memory::Memory;
pub use open_error::OpenError;
pub use postgres::{BadConnection, Postgres, PostgresOptions};
pub use records::Record;
pub use typed::{Cached, Sound, Store, Stored, Transaction};
pub use watch::CommitWatch;
