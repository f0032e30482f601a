//! libsodium's sealed boxes, by the crypto_box crate (destinations.md 4.2).

use base64::{Engine, prelude::BASE64_STANDARD};
use crypto_box::{
    PublicKey,
    aead::rand_core::{CryptoRng, Error, RngCore, impls},
};
use model::Entropy;
use tokio::time::Instant;

use crate::Fault;

/// The public key of a scope, which GitHub changes now and then.
#[derive(Clone)]
pub(super) struct TargetKey {
    pub(super) id: String,
    pub(super) key: PublicKey,
    pub(super) fetched: Instant,
}

impl TargetKey {
    /// Reads what GitHub answers: 32 bytes in base64.
    pub(super) fn read(id: String, key: &str) -> Option<Self> {
        let key = PublicKey::from_slice(&BASE64_STANDARD.decode(key).ok()?).ok()?;
        Some(Self { id, key, fetched: Instant::now() })
    }

    /// The same key, whenever it was fetched.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.id == other.id && self.key == other.key
    }

    /// The value for nobody but whoever has the private key, in padded base64. The box is made in place:
    /// the buffer that held the value holds the ciphertext afterwards.
    pub(super) fn seal(&self, value: &[u8], entropy: &dyn Entropy) -> Result<String, Fault> {
        let sealed = self
            .key
            .seal(&mut Dice(entropy), value)
            .map_err(|_| Fault::internal("sealing_failed", "the value could not be encrypted"))?;
        Ok(BASE64_STANDARD.encode(sealed))
    }
}

/// Our randomness, as crypto_box wants it.
struct Dice<'a>(&'a dyn Entropy);

impl RngCore for Dice<'_> {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// [`Entropy`] is for keys and nonces.
impl CryptoRng for Dice<'_> {}

#[cfg(test)]
mod tests {
    use crypto_box::SecretKey;
    use model::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (SecretKey, TargetKey) {
        let secret = SecretKey::from_bytes([7; 32]);
        let public = BASE64_STANDARD.encode(secret.public_key().as_bytes());
        let key = TargetKey::read("id".into(), &public).unwrap();
        (secret, key)
    }

    proptest! {
        #[test]
        fn a_box_is_48_bytes_longer_and_opens(value in proptest::collection::vec(any::<u8>(), 0..300), seed: u64) {
            let (secret, key) = pair();
            let sealed = BASE64_STANDARD.decode(key.seal(&value, &SeededEntropy::new(seed)).unwrap()).unwrap();
            prop_assert_eq!(sealed.len(), value.len() + 48);
            prop_assert_eq!(secret.unseal(&sealed).unwrap(), value);
        }
    }

    #[test]
    fn no_two_boxes_of_a_value_are_equal() {
        let (_, key) = pair();
        let entropy = SeededEntropy::new(1);
        assert_ne!(key.seal(b"v", &entropy).unwrap(), key.seal(b"v", &entropy).unwrap());
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one() {
        // The middle one is the example of GitHub's own description: 33 bytes.
        for bad in ["", "hBT5WZEj8ZoOv6TYJsfWq7MxTEQopZO5/IT3ZCVQPzs", "AAAA", "not base64"] {
            assert!(TargetKey::read("id".into(), bad).is_none(), "{bad}");
        }
    }
}
