//! A whole store in one file: what `sys/storage/raft/snapshot` streams and `keyferry backup` writes.
//!
//! The file is a gzip-compressed tar archive, because Vault's clients look into what they save and want
//! `SHA256SUMS.sealed` at its end. In it, in this order:
//!
//! - `meta.json`: what it is (`keyferry snapshot`, version 1), the store's id and epoch, when it was made, a
//!   salt, and the guard of the root key if people or a service keep it: so that shares are enough to check it.
//! - `state/00000000.bin` and so on: entries as the back end holds them (sealed values under hashed keys),
//!   each a 4-byte length, the key, a 4-byte length and the value, about 256 KiB together, sealed once more.
//! - `SHA256SUMS`: the digest of every file before it, as `sha256sum -c` reads it.
//! - `SHA256SUMS.sealed`: how many chunks and entries there are, the newest revision, and the digest of
//!   `SHA256SUMS`, sealed.
//!
//! The seal is AES-256-GCM under a key derived (HKDF-SHA-256) from the root key and the salt, with the number
//! of the chunk as its nonce and `meta.json`'s digest bound to it. So a chunk that was changed, moved, left
//! out or taken from another snapshot is found, and so is a file that ends early. Without the root key the
//! archive's structure and the digests can be checked, which finds damage but no forgery.

mod archive;
mod read;
mod restore;
mod write;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    error::Unspecified,
    hmac,
};
use model::StoreId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{RootKey, StoreError};
pub use read::{Ended, Pair, Pairs, Reader};
pub use restore::{Checked, Guarding, RestoreError, check, restore};
pub use write::Writer;

/// What `meta.json` begins with.
const KIND: &str = "keyferry snapshot";
/// The version written today.
const VERSION: u64 = 1;

const META: &str = "meta.json";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";

const DIGEST: usize = 32;
const TAG: usize = 16;
/// The number of the end mark, which no chunk has.
const END: u64 = u64::MAX;

/// Why a snapshot cannot be used. No text repeats what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The file is something else.
    #[error("it is not a keyferry snapshot: {0}")]
    NotASnapshot(&'static str),
    /// A newer keyferry made it.
    #[error(
        "it is of snapshot version {found}, and this keyferry reads version {VERSION}; use the keyferry that made it, or a newer one"
    )]
    OtherVersion {
        /// Its version.
        found: u64,
    },
    /// It is not what was written.
    #[error("it is damaged or incomplete: {0}; use another snapshot")]
    Damaged(&'static str),
    /// It was made by a store with another root key.
    #[error(
        "it is sealed under another store's root key, or was changed; give the root key or the key shares of the store that made it"
    )]
    WrongKey,
    /// The file could not be read.
    #[error("it could not be read: {0}")]
    Io(String),
}

impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        Self::Backend(format!("the snapshot cannot be restored: {error}"))
    }
}

/// What a snapshot tells to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    kind: String,
    version: u64,
    /// The store it was made of, 32 hexadecimal digits.
    pub store_id: String,
    /// That store's epoch.
    pub epoch: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The keyferry that made it.
    pub made_by: String,
    /// Hexadecimal.
    salt: String,
    /// The guard of the root key, as stored, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
}

impl Meta {
    /// The guard by which shares or a service give the root key; `None`: a key file keeps it.
    ///
    /// # Errors
    /// When there is one that does not parse.
    pub fn guard(&self) -> Result<Option<crate::Guard>, SnapshotError> {
        let Some(guard) = &self.guard else { return Ok(None) };
        let bytes = hex::decode(guard).map_err(|_| SnapshotError::Damaged("the guard is not hexadecimal"))?;
        crate::Guard::parse(&bytes).map(Some).map_err(SnapshotError::Damaged)
    }

    /// Whether it was made of this store.
    pub fn is_of(&self, store: StoreId) -> bool {
        self.store_id == store.to_string()
    }
}

/// The end mark, sealed.
#[derive(Serialize, Deserialize)]
struct End {
    chunks: u64,
    entries: u64,
    revision: u64,
    sums: [u8; DIGEST],
}

/// Seals and opens the parts of one snapshot.
struct Seal {
    key: LessSafeKey,
    meta: [u8; DIGEST],
}

impl Seal {
    fn new(root: &RootKey, salt: &[u8], meta: [u8; DIGEST]) -> Result<Self, Unspecified> {
        // EXPOSE: HKDF-Expand (RFC 5869 2.3) of one block, from the root key to a key of this snapshot's own.
        let from = hmac::Key::new(hmac::HMAC_SHA256, root.expose());
        let mut derived = [0; DIGEST];
        derived.copy_from_slice(hmac::sign(&from, &[b"keyferry snapshot", salt, &[1]].concat()).as_ref());
        let key = UnboundKey::new(&AES_256_GCM, &derived).map(LessSafeKey::new);
        derived.zeroize();
        Ok(Self { key: key?, meta })
    }

    /// The key is of this snapshot alone, so its numbers are nonces.
    fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, number: u64, plain: &mut Vec<u8>) -> Result<(), Unspecified> {
        self.key.seal_in_place_append_tag(Self::nonce(number), Aad::from(self.meta), plain)
    }

    fn open<'a>(&self, number: u64, sealed: &'a mut [u8]) -> Result<&'a [u8], SnapshotError> {
        self.key
            .open_in_place(Self::nonce(number), Aad::from(self.meta), sealed)
            .map(|plain| &*plain)
            .map_err(|Unspecified| SnapshotError::WrongKey)
    }
}

/// A line of `SHA256SUMS`.
fn sum_line(name: &str, digest: &[u8]) -> String {
    format!("{}  {name}\n", hex::encode(digest))
}

fn chunk_name(number: u64) -> String {
    format!("state/{number:08}.bin")
}

/// For fuzzing: see [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) fn archive_of(mut bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write as _;
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part);
        bytes = rest;
    }
    let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let mut sums = String::new();
    let last = parts.len().saturating_sub(1);
    let mut add = |name: &str, contents: &[u8], sums: &mut String| {
        archive.write_all(&archive::header(name, contents.len() as u64, 0))?;
        archive.write_all(contents)?;
        archive.write_all(&[0; archive::BLOCK][..archive::padding(contents.len() as u64)])?;
        sums.push_str(&sum_line(name, &write::sha256(contents)));
        Ok::<_, std::io::Error>(())
    };
    for (number, part) in parts.iter().enumerate() {
        match number {
            0 => add(META, part, &mut sums)?,
            n if n == last => {
                let told = sums.clone();
                add(SUMS, told.as_bytes(), &mut sums)?;
                add(SEALED, part, &mut sums)?;
            }
            n => add(&chunk_name(n as u64 - 1), part, &mut sums)?,
        }
    }
    archive.write_all(&[0; 2 * archive::BLOCK])?;
    archive.finish()
}

#[cfg(test)]
mod tests;
