//! The seal between typed records and the bytes a back end holds.
//!
//! A root key opens the key ring; the key ring holds one data key per term and the index key. Each
//! record is sealed with AES-256-GCM under a key derived (HKDF-SHA-256) from the newest term's data
//! key and the record's own key bytes, with a fresh 96-bit nonce. Because every record has its own
//! derived key, the number of seals under one key is the number of times one record was written,
//! far below the 2^32 at which random nonces begin to matter.
//!
//! The record's key, the format byte and the term are bound as associated data: a sealed value moved
//! to another key, or relabelled, does not open.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
};
use model::{Entropy, SecretBytes, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{Keys, StoreError};

/// Where the sealed key ring lives. No record has this tag.
pub(crate) const KEYRING_KEY: &[u8] = &[0x00];
const SEAL_FORMAT: u8 = 1;
const HEADER: usize = 1 + 4 + NONCE_LEN;

/// The key that opens the key ring. Wiped on drop.
#[derive(Clone)]
pub struct RootKey(SecretBytes);

impl RootKey {
    /// A new random key.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        entropy.fill(&mut bytes);
        Self(bytes.into())
    }

    /// From its 32 bytes.
    pub fn from_bytes(bytes: SecretBytes) -> Option<Self> {
        (bytes.len() == 32).then_some(Self(bytes))
    }

    /// Its 32 bytes, for the key file or the seal that guards it.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// What the sealed key ring holds.
#[derive(Serialize, Deserialize)]
struct KeyRing {
    index_key: [u8; 32],
    /// Oldest first; the last one seals.
    terms: Vec<Term>,
}

#[derive(Serialize, Deserialize)]
struct Term {
    number: u32,
    key: [u8; 32],
    created: Timestamp,
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        self.index_key.zeroize();
        self.terms.iter_mut().for_each(|term| term.key.zeroize());
    }
}

/// A term's data key, ready to derive record keys from.
struct TermKey {
    number: u32,
    key: hkdf::Prk,
}

/// Seals and opens record bytes.
pub struct Barrier {
    terms: RwLock<Arc<Vec<TermKey>>>,
    entropy: Arc<dyn Entropy>,
}

impl Barrier {
    /// Makes a first key ring. Returns it sealed, to be stored under [`KEYRING_KEY`].
    pub(crate) fn create(
        root: &RootKey,
        entropy: &Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Vec<u8>, StoreError> {
        let mut ring =
            KeyRing { index_key: [0; 32], terms: vec![Term { number: 1, key: [0; 32], created: now }] };
        entropy.fill(&mut ring.index_key);
        entropy.fill(&mut ring.terms[0].key);
        seal_ring(root, &ring, entropy.as_ref())
    }

    /// Opens the key ring: the barrier, and the index keys that never change.
    pub(crate) fn open(
        root: &RootKey,
        sealed: &[u8],
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Self, Keys), StoreError> {
        let ring = open_ring(root, sealed)?;
        let keys = Keys::new(&ring.index_key);
        Ok((Self { terms: RwLock::new(Arc::new(term_keys(&ring))), entropy }, keys))
    }

    /// The key ring with one more term, sealed for storage. [`Barrier::adopt`] starts to use it once
    /// it is stored.
    pub(crate) fn rotated(
        &self,
        root: &RootKey,
        sealed: &[u8],
        now: Timestamp,
    ) -> Result<(Vec<u8>, u32), StoreError> {
        let mut ring = open_ring(root, sealed)?;
        let number = ring.terms.last().map_or(1, |term| term.number + 1);
        let mut term = Term { number, key: [0; 32], created: now };
        self.entropy.fill(&mut term.key);
        ring.terms.push(term);
        Ok((seal_ring(root, &ring, self.entropy.as_ref())?, number))
    }

    /// Takes over a stored key ring's terms.
    pub(crate) fn adopt(&self, root: &RootKey, sealed: &[u8]) -> Result<(), StoreError> {
        let terms = Arc::new(term_keys(&open_ring(root, sealed)?));
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
        Ok(())
    }

    /// The term that seals, and when it was installed is in the ring.
    pub fn term(&self) -> u32 {
        self.current_terms().last().map_or(0, |term| term.number)
    }

    fn current_terms(&self) -> Arc<Vec<TermKey>> {
        Arc::clone(&self.terms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals `plain` for the record key `key`.
    pub(crate) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let tag = key.first().copied().unwrap_or_default();
        let terms = self.current_terms();
        let term = terms.last().ok_or(StoreError::Corrupt { tag, what: "the key ring holds no key" })?;
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(HEADER + plain.len() + AES_256_GCM.tag_len());
        sealed.push(SEAL_FORMAT);
        sealed.extend_from_slice(&term.number.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let mac = record_key(term, key)
            .and_then(|cipher| {
                cipher.seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    associated_data(key, term.number),
                    &mut sealed[HEADER..],
                )
            })
            .map_err(|_| StoreError::Corrupt { tag, what: "it could not be sealed" })?;
        sealed.extend_from_slice(mac.as_ref());
        Ok(sealed)
    }

    /// Opens what [`Barrier::seal`] made for the same key. The plain bytes are wiped on drop.
    pub(crate) fn open_record(&self, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let tag = key.first().copied().unwrap_or_default();
        let corrupt = |what| StoreError::Corrupt { tag, what };
        if sealed.len() < HEADER + AES_256_GCM.tag_len() {
            return Err(corrupt("it is too short"));
        }
        let (header, body) = sealed.split_at(HEADER);
        if header[0] != SEAL_FORMAT {
            return Err(corrupt("it is sealed in a format this version does not know"));
        }
        let (number, nonce) = header[1..].split_at(4);
        let number = u32::from_be_bytes(number.try_into().unwrap_or_default());
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt("its nonce is damaged"))?;
        let terms = self.current_terms();
        let term = terms
            .iter()
            .rev()
            .find(|term| term.number == number)
            .ok_or(corrupt("it is sealed under a key that the key ring does not hold"))?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length = record_key(term, key)
            .and_then(|cipher| {
                cipher.open_in_place(nonce, associated_data(key, number), &mut plain).map(|plain| plain.len())
            })
            .map_err(|_| corrupt("its seal is broken"))?;
        plain.truncate(length);
        Ok(plain)
    }
}

fn associated_data(key: &[u8], term: u32) -> Aad<Vec<u8>> {
    let mut data = Vec::with_capacity(key.len() + 5);
    data.push(SEAL_FORMAT);
    data.extend_from_slice(&term.to_be_bytes());
    data.extend_from_slice(key);
    Aad::from(data)
}

fn record_key(term: &TermKey, key: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    let info = [b"keyferry record".as_slice(), key];
    let okm = term.key.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(okm)))
}

fn term_keys(ring: &KeyRing) -> Vec<TermKey> {
    ring.terms
        .iter()
        .map(|term| TermKey {
            number: term.number,
            key: hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &term.key),
        })
        .collect()
}

fn ring_cipher(root: &RootKey) -> Result<LessSafeKey, StoreError> {
    // EXPOSE: the root key opens the key ring, here and nowhere else.
    UnboundKey::new(&AES_256_GCM, root.expose())
        .map(LessSafeKey::new)
        .map_err(|_| StoreError::Corrupt { tag: 0, what: "the root key is not 32 bytes" })
}

fn seal_ring(root: &RootKey, ring: &KeyRing, entropy: &dyn Entropy) -> Result<Vec<u8>, StoreError> {
    let failed = StoreError::Corrupt { tag: 0, what: "the key ring could not be sealed" };
    let mut plain = Zeroizing::new(postcard::to_stdvec(ring).map_err(|_| failed.clone())?);
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mac = ring_cipher(root)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from([SEAL_FORMAT]), &mut plain)
        .map_err(|_| failed)?;
    Ok([&[SEAL_FORMAT], nonce.as_slice(), &plain, mac.as_ref()].concat())
}

fn open_ring(root: &RootKey, sealed: &[u8]) -> Result<KeyRing, StoreError> {
    let corrupt = |what| StoreError::Corrupt { tag: 0, what };
    let Some((&format, rest)) = sealed.split_first() else { return Err(corrupt("the key ring is empty")) };
    if format != SEAL_FORMAT || rest.len() < NONCE_LEN {
        return Err(corrupt("the key ring is of a format this version does not know"));
    }
    let (nonce, body) = rest.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt("the key ring is damaged"))?;
    let mut plain = Zeroizing::new(body.to_vec());
    let length = ring_cipher(root)?
        .open_in_place(nonce, Aad::from([SEAL_FORMAT]), &mut plain)
        .map_err(|_| corrupt("the key ring does not open with this root key"))?
        .len();
    postcard::from_bytes(&plain[..length]).map_err(|_| corrupt("the key ring does not parse"))
}
