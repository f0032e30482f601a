//! What is stored: one file per kind of record, each with a tag and a format version that never
//! change their meaning once released.

mod auth;
mod entries;
mod identity;
mod kv;
mod nodes;
mod policies;
mod sync;
mod system;
mod tokens;

pub use auth::{AuthMount, AuthTable};
pub use entries::Entry;
pub use identity::{IdentityKey, IdentityKeys};
pub use kv::{Folder, SecretMeta, SecretVersion, VersionMeta};
pub use nodes::{FORMATS, Floor, NodeBacklog, NodeId, ServerNode, Shard, Told};
pub use policies::{Policy, PolicyIndex};
pub use sync::{
    Association, Cause, Destination, Failure, Grantor, LedgerEntry, Links, NameClaim, Outbox, Outcome, Purge,
    Receipt, Rule, Rules, SharedCredential, SyncConfig,
};
pub use system::{KvConfig, Mount, MountConfig, MountTable, Restored, StoreHeader};
pub use tokens::{Token, TokenByAccessor};

use serde::{Serialize, de::DeserializeOwned};

/// A kind of record.
///
/// The tag begins the record's key and is part of what the seal binds; the format version precedes
/// the encoded fields. A new format gets a new number, and `decode` keeps reading the old ones.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Pinned for ever, unique: the table in this module's test.
    const TAG: u8;
    /// The format written today.
    const FORMAT: u8;

    /// Reads the fields of a record written in `format`.
    fn decode(format: u8, bytes: &[u8]) -> Result<Self, &'static str> {
        if format == Self::FORMAT {
            match postcard::take_from_bytes(bytes) {
                Ok((record, [])) => Ok(record),
                Ok(_) => Err("something follows its fields"),
                Err(_) => Err("its fields do not parse"),
            }
        } else {
            Err("it is of a format this version does not know; a newer keyferry wrote it")
        }
    }
}

/// Secret bytes as one run: encoded like any list of bytes, but read in one step into a buffer of the
/// right size, so that growing leaves no copies behind.
mod run {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Run;
        impl de::Visitor<'_> for Run {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Run)
    }
}

macro_rules! record {
    ($name:ident, $tag:literal, $format:literal) => {
        impl crate::records::Record for $name {
            const TAG: u8 = $tag;
            const FORMAT: u8 = $format;
        }
    };
}
use record;

#[cfg(test)]
mod tests;
