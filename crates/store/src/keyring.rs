//! The keys of a store, themselves sealed under the root key.
//!
//! A sealed key ring: format (1 byte), the root key's id (8), nonce (12), ciphertext, tag (16). The id
//! is a keyed hash that tells nothing about the key; it is there to tell a wrong key from a damaged
//! ring.

use std::sync::Arc;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hmac,
};
use model::{Entropy, SecretBytes, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{Keys, plain::Plain, wipe::Wiped};

/// Where the sealed key ring lives. No record has this tag.
pub(crate) const KEYRING_KEY: &[u8] = &[0x00];

const RING_FORMAT: u8 = 1;
const ID: usize = 8;
const HEADER: usize = 1 + ID + NONCE_LEN;

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

    fn id(&self) -> [u8; ID] {
        // EXPOSE: a keyed hash of nothing secret, by which a store knows its key.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        let mut id = [0; ID];
        id.copy_from_slice(&hmac::sign(&key, b"keyferry root key").as_ref()[..ID]);
        id
    }

    fn cipher(&self) -> Result<LessSafeKey, Unspecified> {
        // EXPOSE: the root key opens the key ring, here and nowhere else.
        UnboundKey::new(&AES_256_GCM, self.expose()).map(LessSafeKey::new)
    }
}

/// Why a sealed key ring does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It was sealed under another root key.
    WrongKey,
    /// In our words.
    Broken(&'static str),
}

/// The keys of a store, opened. Wiped on drop.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyRing {
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

impl KeyRing {
    /// A new ring with a first term.
    pub(crate) fn random(entropy: &dyn Entropy, now: Timestamp) -> Self {
        let mut ring =
            Self { index_key: [0; 32], terms: vec![Term { number: 1, key: [0; 32], created: now }] };
        entropy.fill(&mut ring.index_key);
        entropy.fill(&mut ring.terms[0].key);
        ring
    }

    /// The same ring with one more term.
    pub(crate) fn rotated(&self, entropy: &dyn Entropy, now: Timestamp) -> Option<Self> {
        let number = self.term().checked_add(1)?;
        // Room for all of them: a vector that grows leaves keys behind.
        let mut terms = Vec::with_capacity(self.terms.len() + 1);
        terms.extend(self.terms.iter().map(|term| Term { ..*term }));
        terms.push(Term { number, key: [0; 32], created: now });
        entropy.fill(&mut terms.last_mut()?.key);
        Some(Self { index_key: self.index_key, terms })
    }

    /// The newest term, which seals.
    pub(crate) fn term(&self) -> u32 {
        self.terms.last().map_or(0, |term| term.number)
    }

    /// When the newest term was made.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.terms.last().map(|term| term.created)
    }

    /// Each term's number and data key, oldest first.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (u32, &[u8; 32])> {
        self.terms.iter().map(|term| (term.number, &term.key))
    }

    /// The index keys, which stay the same for the life of a store.
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.index_key)
    }

    /// Sealed, to be stored under [`KEYRING_KEY`].
    pub(crate) fn seal(&self, root: &RootKey, entropy: &Arc<dyn Entropy>) -> Result<Vec<u8>, &'static str> {
        let mut plain =
            Plain::behind(HEADER, 1024).with_fields(self).ok_or("the key ring could not be encoded")?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let (header, body) = plain.parts_mut();
        header[0] = RING_FORMAT;
        header[1..=ID].copy_from_slice(&root.id());
        header[1 + ID..].copy_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = root
            .cipher()
            .and_then(|cipher| cipher.seal_in_place_separate_tag(nonce, Aad::from(&*header), body))
            .map_err(|Unspecified| "the key ring could not be sealed")?;
        plain.extend(tag.as_ref());
        Ok(plain.into_sealed())
    }

    /// Opens what [`KeyRing::seal`] made.
    pub(crate) fn open(root: &RootKey, sealed: &[u8]) -> Result<Self, Unopened> {
        let broken = Unopened::Broken;
        let (header, body) =
            sealed.split_first_chunk::<HEADER>().ok_or(broken("the key ring is too short"))?;
        let [format, rest @ ..] = header;
        if *format != RING_FORMAT {
            return Err(broken("the key ring is of a format this version does not know"));
        }
        let (id, nonce) = rest.split_at(ID);
        if !bool::from(id.ct_eq(&root.id())) {
            return Err(Unopened::WrongKey);
        }
        let damaged = |Unspecified| broken("the key ring is damaged");
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(damaged)?;
        let mut plain = Wiped(body.to_vec());
        let cipher = root.cipher().map_err(damaged)?;
        let plain = cipher.open_in_place(nonce, Aad::from(header), &mut plain.0).map_err(damaged)?;
        match postcard::take_from_bytes::<Self>(plain) {
            Ok((ring, [])) if !ring.terms.is_empty() => Ok(ring),
            _ => Err(broken("the key ring does not parse")),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;

    use super::*;

    fn sealed() -> (RootKey, Vec<u8>) {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let root = RootKey::random(entropy.as_ref());
        let ring = KeyRing::random(entropy.as_ref(), Timestamp::from_secs(1));
        let ring = ring.rotated(entropy.as_ref(), Timestamp::from_secs(2)).unwrap();
        let sealed = ring.seal(&root, &entropy).unwrap();
        (root, sealed)
    }

    #[test]
    fn a_ring_opens_with_its_root_key_only() {
        let (root, sealed) = sealed();
        let ring = KeyRing::open(&root, &sealed).unwrap();
        assert_eq!(ring.terms().map(|(number, _)| number).collect::<Vec<_>>(), [1, 2]);
        let keys: Vec<_> = ring.terms().map(|(_, key)| *key).collect();
        assert_ne!(keys[0], keys[1]);
        let other = RootKey::random(&SeededEntropy::new(9));
        assert_eq!(KeyRing::open(&other, &sealed).err(), Some(Unopened::WrongKey));
    }

    #[test]
    fn every_changed_bit_is_noticed_and_only_the_id_looks_like_a_wrong_key() {
        let (root, sealed) = sealed();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                let unopened = KeyRing::open(&root, &changed).err().expect("opened although changed");
                assert_eq!(unopened == Unopened::WrongKey, (1..=ID).contains(&at), "byte {at}");
            }
        }
        for length in 0..sealed.len() {
            assert!(KeyRing::open(&root, &sealed[..length]).is_err());
        }
    }

    /// A ring sealed by the first version, which every later one must open.
    #[test]
    fn the_format_is_pinned() {
        let (root, sealed) = sealed();
        let pinned = concat!(
            "01a109a61f878ccd56630bfdb7a6a634a5f1aa2b573874d52c54c891d30829dbec6f3cfa9b576e956aad76c739",
            "74f257c79dd8074abdf8eaa23c8b6124be514ba899331dec3b7728916e006cd5674424e10f46e099bd5d66d3f2",
            "95106204ab5232d59c90b88cb9bd43efd9fc1c383cd31e8598ad27d80a091a546055a60a57aa24985dc6d06ab6",
            "73dfcfa5bd296efd81293d"
        );
        assert_eq!(hex::encode(sealed), pinned);
        assert!(KeyRing::open(&root, &hex::decode(pinned).unwrap()).is_ok());
    }
}
