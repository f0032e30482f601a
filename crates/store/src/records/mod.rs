//! What is stored: one file per kind of record, each with a tag and a format version that never
//! change their meaning once released.

mod kv;
mod sync;
mod system;
mod tokens;

pub use kv::{Folder, SecretMeta, SecretVersion, VersionMeta};
pub use sync::{
    Association, Cause, Destination, Failure, LedgerEntry, Links, NameClaim, Outbox, Outcome, Purge, Receipt,
    SyncConfig,
};
pub use system::{KvConfig, Mount, MountConfig, MountTable, StoreHeader};
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
            postcard::from_bytes(bytes).map_err(|_| "its fields do not parse")
        } else {
            Err("it is of a format this version does not know; a newer keyferry wrote it")
        }
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Changing a number here breaks every store in the field.
    #[test]
    fn tags_are_pinned_and_unique() {
        let tags = [
            (StoreHeader::TAG, 0x01),
            (MountTable::TAG, 0x02),
            (SyncConfig::TAG, 0x03),
            (SecretMeta::TAG, 0x10),
            (Folder::TAG, 0x11),
            (SecretVersion::TAG, 0x12),
            (Token::TAG, 0x20),
            (TokenByAccessor::TAG, 0x21),
            (Destination::TAG, 0x30),
            (Association::TAG, 0x31),
            (Links::TAG, 0x32),
            (Outbox::TAG, 0x33),
            (NameClaim::TAG, 0x34),
        ];
        for (tag, pinned) in tags {
            assert_eq!(tag, pinned);
        }
        assert_eq!(tags.iter().map(|(tag, _)| tag).collect::<BTreeSet<_>>().len(), tags.len());
    }
}
