//! One record: a line of JSON whose last two members are the SHA-256 of all that precedes them and a
//! signature of that. What is hashed is the text as it stands, so nothing has to be written anew to check it.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use serde::Deserialize;

use crate::app::json::{self, Object};

/// What the first record of a chain follows.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What a file begins with, and what a server writes when it starts.
pub(super) const OPENED: &str = "opened";
/// What a server writes that found records missing.
pub(super) const MISSING: &str = "missing";

const HASH: &[u8] = b",\"hash\":\"";
const SIGNATURE: &[u8] = b"\",\"signature\":\"";
const END: &[u8] = b"\"}";
const HASH_DIGITS: usize = 64;
const SIGNATURE_DIGITS: usize = 128;
/// Keeps these signatures apart from any others by the same key.
const CONTEXT: &[u8] = b"keyferry sync event chain\0";

/// A record that was read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) told: Told,
    pub(super) hash: String,
    signature: Vec<u8>,
    digest: Vec<u8>,
}

/// The members that the chain is held together by.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) event: String,
    /// Of an `opened`.
    #[serde(default)]
    pub(super) key: Option<String>,
}

/// Signs records.
pub(super) struct Signer(Ed25519KeyPair);

impl Signer {
    /// From 32 random bytes. `None` for any other number of them.
    pub(super) fn new(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// What its signatures are checked with, in hexadecimal digits.
    pub(super) fn public(&self) -> String {
        hex::encode(self.0.public_key().as_ref())
    }

    /// The line of a record, and its hash.
    pub(super) fn record(
        &self,
        seq: u64,
        prev: &str,
        event: &str,
        fill: impl FnOnce(&mut Object<'_>),
    ) -> (Vec<u8>, String) {
        let mut object = json::object_with_room(1024, |o| {
            o.put("seq", &seq).put("prev", prev).put("event", event);
            fill(o);
        });
        let mut line = std::mem::take(&mut *object);
        line.pop();
        let hash = digest(&SHA256, &line);
        let signature = self.0.sign(&signed(hash.as_ref()));
        let hash = hex::encode(hash);
        for part in [HASH, hash.as_bytes(), SIGNATURE, hex::encode(signature).as_bytes(), END, b"\n"] {
            line.extend_from_slice(part);
        }
        (line, hash)
    }
}

fn signed(hash: &[u8]) -> Vec<u8> {
    [CONTEXT, hash].concat()
}

impl Record {
    /// Reads a line without its line feed.
    ///
    /// # Errors
    /// What is wrong with it by itself.
    pub(super) fn read(line: &[u8]) -> Result<Self, &'static str> {
        let not = "it is no record of a chain";
        let tail = HASH.len() + HASH_DIGITS + SIGNATURE.len() + SIGNATURE_DIGITS + END.len();
        let (body, rest) = line.len().checked_sub(tail).map(|at| line.split_at(at)).ok_or(not)?;
        let rest = rest.strip_prefix(HASH).ok_or(not)?;
        let (hash, rest) = rest.split_at_checked(HASH_DIGITS).ok_or(not)?;
        let rest = rest.strip_prefix(SIGNATURE).ok_or(not)?;
        let (signature, rest) = rest.split_at_checked(SIGNATURE_DIGITS).ok_or(not)?;
        if rest != END {
            return Err(not);
        }
        let told: Told = serde_json::from_slice(&[body, b"}"].concat()).map_err(|_| not)?;
        let digest = digest(&SHA256, body).as_ref().to_vec();
        let hash = std::str::from_utf8(hash).map_err(|_| not)?.to_owned();
        if hash != hex::encode(&digest) {
            return Err("it was changed: its hash is not that of its text");
        }
        let signature = hex::decode(signature).map_err(|_| not)?;
        Ok(Self { told, hash, signature, digest })
    }

    /// Whether it was signed with the key that this public key belongs to.
    pub(super) fn is_by(&self, public: &str) -> bool {
        let Ok(public) = hex::decode(public) else { return false };
        UnparsedPublicKey::new(&ED25519, public).verify(&signed(&self.digest), &self.signature).is_ok()
    }
}
