//! The seal between typed records and the bytes a back end holds.
//!
//! A root key opens the key ring ([`crate::keyring`]); the key ring holds one data key per term and
//! the index key. Each record is sealed with AES-256-GCM under a key of its own, derived
//! (HKDF-SHA-256) from a term's data key and the record's key bytes, with a fresh 96-bit nonce. So the
//! number of seals under one key is the number of times one record was written, far below the 2^32 at
//! which random nonces begin to matter.
//!
//! A sealed record: format (1 byte), term (4, big endian), nonce (12), ciphertext, tag (16). All
//! before the ciphertext is bound as associated data. The record's key is bound by the derivation: a
//! sealed value moved to another key, or relabelled, does not open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hmac,
};
use model::Entropy;
use zeroize::Zeroize;

use crate::{keyring::KeyRing, plain::Plain, wipe::Wiped};

const SEAL_FORMAT: u8 = 1;
/// Format, term, nonce.
pub(crate) const HEADER: usize = 1 + 4 + NONCE_LEN;
pub(crate) const TAG: usize = 16;

/// Seals and opens record bytes.
pub(crate) struct Barrier {
    /// Oldest first; the last one seals. Never empty.
    terms: ArcSwap<Vec<TermKey>>,
    entropy: Arc<dyn Entropy>,
}

/// A term's data key, ready to derive record keys from. Wiped on drop.
struct TermKey {
    number: u32,
    key: hmac::Key,
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Sealed under a term this key ring does not hold: perhaps another process has added one.
    UnknownTerm,
    /// In our words.
    Broken(&'static str),
}

impl Barrier {
    pub(crate) fn new(ring: &KeyRing, entropy: Arc<dyn Entropy>) -> Self {
        Self { terms: ArcSwap::from_pointee(term_keys(ring)), entropy }
    }

    /// Takes over the terms of a key ring that was stored, unless the ones known are newer already.
    pub(crate) fn adopt(&self, ring: &KeyRing) {
        let newer = Arc::new(term_keys(ring));
        let newest = |terms: &[TermKey]| terms.last().map_or(0, |term| term.number);
        self.terms.rcu(|known| Arc::clone(if newest(&newer) > newest(known) { &newer } else { known }));
    }

    /// The term that seals.
    pub(crate) fn term(&self) -> u32 {
        self.terms.load().last().map_or(0, |term| term.number)
    }

    /// An empty buffer to seal; `spare`: how many bytes are expected.
    pub(crate) fn plain(spare: usize) -> Plain {
        Plain::behind(HEADER, spare + TAG)
    }

    /// Seals what was put into a [`Barrier::plain`] for the record key `key`.
    pub(crate) fn seal(&self, key: &[u8], mut plain: Plain) -> Result<Vec<u8>, &'static str> {
        let terms = self.terms.load();
        let term = terms.last().ok_or("the key ring holds no key")?;
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let (header, body) = plain.parts_mut();
        header[0] = SEAL_FORMAT;
        header[1..5].copy_from_slice(&term.number.to_be_bytes());
        header[5..].copy_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = record_key(term, key)
            .and_then(|cipher| cipher.seal_in_place_separate_tag(nonce, Aad::from(&*header), body))
            .map_err(|Unspecified| "it could not be sealed")?;
        plain.extend(tag.as_ref());
        Ok(plain.into_sealed())
    }

    /// Opens what [`Barrier::seal`] made for the same key. The plain bytes are wiped on drop.
    pub(crate) fn open(&self, key: &[u8], sealed: &[u8]) -> Result<Wiped, Unopened> {
        let too_short = Unopened::Broken("it is too short");
        let (header, rest) = sealed.split_first_chunk::<HEADER>().ok_or(too_short)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(too_short)?;
        let [format, t1, t2, t3, t4, nonce @ ..] = *header;
        if format != SEAL_FORMAT {
            return Err(Unopened::Broken("it is sealed in a format this version does not know"));
        }
        let number = u32::from_be_bytes([t1, t2, t3, t4]);
        let terms = self.terms.load();
        let term = terms.iter().rev().find(|term| term.number == number).ok_or(Unopened::UnknownTerm)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut plain = Wiped(vec![0; body.len()]);
        record_key(term, key)
            .and_then(|cipher| cipher.open_separate_gather(nonce, Aad::from(header), body, tag, &mut plain.0))
            .map_err(|Unspecified| Unopened::Broken("its seal is broken"))?;
        Ok(plain)
    }
}

/// The record's own key: HKDF-Expand (RFC 5869 2.3) of the term's data key, of one block. Written out
/// because the keyed state is then set up once per term.
fn record_key(term: &TermKey, key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    const LABEL: &[u8] = b"keyferry record";
    const SHORT: usize = 96;
    let (mut short, long);
    let length = LABEL.len() + key.len() + 1;
    let info: &[u8] = if length <= SHORT {
        short = [0; SHORT];
        short[..LABEL.len()].copy_from_slice(LABEL);
        short[LABEL.len()..length - 1].copy_from_slice(key);
        short[length - 1] = 1;
        &short[..length]
    } else {
        long = [LABEL, key, &[1]].concat();
        &long
    };
    let mut derived = [0; 32];
    let cipher = hmac::sign_to_buffer(&term.key, info, &mut derived)
        .and_then(|derived| UnboundKey::new(&AES_256_GCM, derived))
        .map(LessSafeKey::new);
    derived.as_mut_slice().zeroize();
    cipher
}

fn term_keys(ring: &KeyRing) -> Vec<TermKey> {
    ring.terms()
        .map(|(number, key)| TermKey { number, key: hmac::Key::new(hmac::HMAC_SHA256, key) })
        .collect()
}

#[cfg(test)]
mod tests {
    use model::{SeededEntropy, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::random(&SeededEntropy::new(1), Timestamp::from_secs(1))
    }

    fn barrier(ring: &KeyRing) -> Barrier {
        Barrier::new(ring, Arc::new(SeededEntropy::new(2)))
    }

    fn seal(barrier: &Barrier, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut plain = Barrier::plain(0);
        plain.extend(bytes);
        barrier.seal(key, plain).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_does_not_show() {
        let barrier = barrier(&ring());
        for size in [0, 1, 15, 16, 17, 300, 100_000] {
            let plain = vec![b'x'; size];
            let sealed = seal(&barrier, b"key", &plain);
            assert_eq!(sealed.len(), HEADER + size + TAG);
            assert!(size < 16 || !sealed.windows(16).any(|window| window == &plain[..16]));
            assert_eq!(*barrier.open(b"key", &sealed).unwrap(), *plain);
        }
        assert_ne!(seal(&barrier, b"key", b"same"), seal(&barrier, b"key", b"same"), "the nonce is fresh");
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let barrier = barrier(&ring());
        let sealed = seal(&barrier, b"key", b"some bytes");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(barrier.open(b"key", &changed).is_err(), "bit {bit} of byte {at}");
            }
        }
        for length in 0..sealed.len() {
            assert!(barrier.open(b"key", &sealed[..length]).is_err(), "cut to {length}");
        }
        assert!(barrier.open(b"key", &[&sealed[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_value_moved_to_another_key_does_not_open() {
        let barrier = barrier(&ring());
        let sealed = seal(&barrier, b"key", b"some bytes");
        for other in [b"".as_slice(), b"ke", b"key\0", b"kez", b"another"] {
            assert_eq!(barrier.open(other, &sealed), Err(Unopened::Broken("its seal is broken")));
        }
    }

    #[test]
    fn a_value_of_another_store_does_not_open() {
        let sealed = seal(&barrier(&ring()), b"key", b"some bytes");
        let other = KeyRing::random(&SeededEntropy::new(7), Timestamp::from_secs(1));
        assert_eq!(barrier(&other).open(b"key", &sealed), Err(Unopened::Broken("its seal is broken")));
    }

    #[test]
    fn terms_are_kept_apart_and_an_unknown_one_is_told() {
        let first = ring();
        let second = first.rotated(&SeededEntropy::new(3), Timestamp::from_secs(2)).unwrap();
        let (old, new) = (barrier(&first), barrier(&second));
        assert_eq!((old.term(), new.term()), (1, 2));
        let (by_old, by_new) = (seal(&old, b"key", b"old"), seal(&new, b"key", b"new"));
        assert_eq!(*new.open(b"key", &by_old).unwrap(), *b"old");
        assert_eq!(old.open(b"key", &by_new), Err(Unopened::UnknownTerm));
        let mut relabelled = by_old;
        relabelled[4] = 2;
        assert_eq!(new.open(b"key", &relabelled), Err(Unopened::Broken("its seal is broken")));
        old.adopt(&second);
        assert_eq!(*old.open(b"key", &by_new).unwrap(), *b"new");
        new.adopt(&first);
        assert_eq!(new.term(), 2, "an older ring read late changes nothing");
    }

    #[test]
    fn record_keys_are_hkdfs() {
        use aws_lc_rs::hkdf;
        let ring = ring();
        let (_, data_key) = ring.terms().next().unwrap();
        for length in [0, 1, 33, 79, 80, 81, 500] {
            let key = vec![b'k'; length];
            let mut derived = [0; 32];
            let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, data_key);
            prk.expand(&[b"keyferry record", &key], &AES_256_GCM).unwrap().fill(&mut derived).unwrap();
            let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived).unwrap());
            let sealed = seal(&barrier(&ring), &key, b"some bytes");
            let (header, body) = sealed.split_first_chunk::<HEADER>().unwrap();
            let nonce = Nonce::try_assume_unique_for_key(&header[5..]).unwrap();
            let mut body = body.to_vec();
            assert_eq!(cipher.open_in_place(nonce, Aad::from(header), &mut body).unwrap(), b"some bytes");
        }
    }

    /// Bytes sealed by the first version, which every later one must open.
    #[test]
    fn the_format_is_pinned() {
        let sealed = "0100000001ce56971cde355897421efc0bb0875d8a4d989529729cc7fcd5b510e7b19b2465b6d92333552f";
        assert_eq!(hex::encode(seal(&barrier(&ring()), b"key", b"some bytes")), sealed);
        assert_eq!(*barrier(&ring()).open(b"key", &hex::decode(sealed).unwrap()).unwrap(), *b"some bytes");
    }

    proptest! {
        #[test]
        fn no_bytes_make_opening_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), format in 0..3_u8) {
            let barrier = barrier(&ring());
            prop_assert!(barrier.open(b"key", &bytes).is_err());
            let _ = barrier.open(b"key", &[&[format, 0, 0, 0, 1], &bytes[..]].concat());
        }
    }
}
