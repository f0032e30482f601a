//! Keeper's cryptography, all of it done by aws-lc-rs (keeper.md 3.2, 3.5, 3.7).
//!
//! Nonces, IVs, symmetric keys and EC scalars come from the [`Entropy`] that is handed in. The one
//! exception is the random number inside an ECDSA signature, which aws-lc draws for itself.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement, cipher, digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use model::{Entropy, SecretBytes};
use zeroize::Zeroizing;

/// Bytes of a P-256 point: 4, x, y.
pub(crate) const POINT_LEN: usize = 65;
const IV_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Something sealed did not open, or a key is none. There is nothing safe to say about why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not decrypt")]
pub(crate) struct Sealed;

/// An AES-256 key.
#[derive(Clone, Debug)]
pub(crate) struct Key(SecretBytes);

impl Key {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; KEY_LEN]);
        entropy.fill(&mut bytes);
        Self(bytes.into())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Sealed> {
        if bytes.len() == KEY_LEN { Ok(Self(bytes.into())) } else { Err(Sealed) }
    }

    /// The bytes, to be sealed under another key or written into a configuration.
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// iv (12) ‖ AES-256-GCM(plain) ‖ tag (16), no additional data.
    pub(crate) fn seal(&self, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, Sealed> {
        let mut iv = [0; NONCE_LEN];
        entropy.fill(&mut iv);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(plain);
        let tag = self
            .gcm()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::empty(),
                &mut sealed[NONCE_LEN..],
            )
            .map_err(|_| Sealed)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sealed> {
        let (iv, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Sealed)?;
        let mut text = Zeroizing::new(rest.to_vec());
        let length = self
            .gcm()?
            .open_in_place(Nonce::assume_unique_for_key(*iv), Aad::empty(), &mut text)
            .map_err(|_| Sealed)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Opens a key that is sealed under this one.
    pub(crate) fn open_key(&self, sealed: &[u8]) -> Result<Self, Sealed> {
        Self::from_bytes(&self.open(sealed)?)
    }

    /// iv (16) ‖ AES-256-CBC(plain, PKCS#7). Keeper's format for subfolder keys and folder names only.
    pub(crate) fn seal_cbc(&self, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, Sealed> {
        let mut iv = [0; IV_LEN];
        entropy.fill(&mut iv);
        let key = cipher::UnboundCipherKey::new(&cipher::AES_256, self.expose()).map_err(|_| Sealed)?;
        let key = cipher::PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|_| Sealed)?;
        let mut text = Vec::with_capacity(plain.len() + IV_LEN);
        text.extend_from_slice(plain);
        key.less_safe_encrypt(&mut text, cipher::EncryptionContext::Iv128(iv.into())).map_err(|_| Sealed)?;
        Ok([&iv, text.as_slice()].concat())
    }

    pub(crate) fn open_cbc(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sealed> {
        let (iv, rest) = sealed.split_first_chunk::<IV_LEN>().ok_or(Sealed)?;
        if rest.is_empty() || !rest.len().is_multiple_of(IV_LEN) {
            return Err(Sealed);
        }
        let key = cipher::UnboundCipherKey::new(&cipher::AES_256, self.expose()).map_err(|_| Sealed)?;
        let key = cipher::PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| Sealed)?;
        let mut text = Zeroizing::new(rest.to_vec());
        let length =
            key.decrypt(&mut text, cipher::DecryptionContext::Iv128((*iv).into())).map_err(|_| Sealed)?.len();
        text.truncate(length);
        Ok(text)
    }

    fn gcm(&self) -> Result<LessSafeKey, Sealed> {
        UnboundKey::new(&AES_256_GCM, self.expose()).map(LessSafeKey::new).map_err(|_| Sealed)
    }
}

/// A P-256 public key, uncompressed. Only the form is checked here; whether it is on the curve shows
/// when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; POINT_LEN]);

impl PublicKey {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Sealed> {
        let point: [u8; POINT_LEN] = bytes.try_into().map_err(|_| Sealed)?;
        if point[0] == 4 { Ok(Self(point)) } else { Err(Sealed) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; POINT_LEN] {
        &self.0
    }

    /// ECIES as Keeper does it: point of a one-time key ‖ [`Key::seal`] under SHA-256 of the ECDH
    /// x-coordinate.
    pub(crate) fn seal(&self, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, Sealed> {
        let (once, _) = scalar(entropy)?;
        let point = once.compute_public_key().map_err(|_| Sealed)?;
        let key = shared(&once, &self.0)?;
        Ok([point.as_ref(), &key.seal(plain, entropy)?].concat())
    }

    /// Whether an ECDSA signature of `message` is this key's.
    #[cfg(any(test, feature = "fakes"))]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.0).verify(message, signature).is_ok()
    }
}

/// A P-256 key pair: a client's identity.
pub(crate) struct PrivateKey {
    signing: EcdsaKeyPair,
    #[cfg(any(test, feature = "fakes"))]
    agreeing: agreement::PrivateKey,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key and its PKCS#8 form, as the configuration keeps it.
    pub(crate) fn random(entropy: &dyn Entropy) -> Result<(Self, SecretBytes), Sealed> {
        let (key, scalar) = scalar(entropy)?;
        let public = key.compute_public_key().map_err(|_| Sealed)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &*scalar,
            public.as_ref(),
        )
        .map_err(|_| Sealed)?;
        let pkcs8 = SecretBytes::from(pair.to_pkcs8v1().map_err(|_| Sealed)?.as_ref());
        Ok((Self::from_pkcs8(pkcs8.expose())?, pkcs8))
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Sealed> {
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(|_| Sealed)?;
        let public = PublicKey::from_bytes(signing.public_key().as_ref())?;
        Ok(Self {
            signing,
            #[cfg(any(test, feature = "fakes"))]
            agreeing: agreement::PrivateKey::from_private_key_der(&agreement::ECDH_P256, der)
                .map_err(|_| Sealed)?,
            public,
        })
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// An ECDSA-P256-SHA256 signature in DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Sealed> {
        let signature = self.signing.sign(&SystemRandom::new(), message).map_err(|_| Sealed)?;
        Ok(signature.as_ref().to_vec())
    }

    /// Opens what [`PublicKey::seal`] sealed.
    #[cfg(any(test, feature = "fakes"))]
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sealed> {
        let (point, rest) = sealed.split_first_chunk::<POINT_LEN>().ok_or(Sealed)?;
        shared(&self.agreeing, point)?.open(rest)
    }
}

/// A random scalar of P-256, as a key and as bytes.
fn scalar(entropy: &dyn Entropy) -> Result<(agreement::PrivateKey, Zeroizing<[u8; KEY_LEN]>), Sealed> {
    // A draw misses the range once in 2^32: four misses mean broken entropy.
    for _ in 0..4 {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut *bytes);
        if let Ok(key) = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*bytes) {
            return Ok((key, bytes));
        }
    }
    Err(Sealed)
}

fn shared(mine: &agreement::PrivateKey, theirs: &[u8; POINT_LEN]) -> Result<Key, Sealed> {
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, theirs);
    agreement::agree(mine, theirs, Sealed, |secret| {
        Key::from_bytes(digest::digest(&digest::SHA256, secret).as_ref())
    })
}

/// The client's public name: HMAC-SHA-512 of a fixed text under the one-time token's key, in
/// standard base64.
pub(crate) fn client_id(token_key: &Key) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA512, token_key.expose());
    to_base64(hmac::sign(&key, b"KEEPER_SECRETS_MANAGER_CLIENT_ID").as_ref())
}

/// Keyed digests for marks on what is written elsewhere: equal for equal input under one application,
/// and saying nothing to whoever does not have its key.
#[derive(Clone)]
pub struct MarkKey(hmac::Key);

impl MarkKey {
    /// Of its own purpose: nothing else is derived from the application's key with this text.
    pub(crate) fn derive(app_key: &Key) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, app_key.expose());
        let derived = hmac::sign(&key, b"keyferry: marks on synchronised entries, 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// A digest of a purpose and parts, each preceded by its length, so that they cannot run together.
    pub fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl std::fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkKey")
    }
}

/// A new record, folder or file UID. None begins with `-`, which a command line would take for an
/// option (keeper.md 2).
pub(crate) fn new_uid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    if bytes[0] & 0xf8 == 0xf8 {
        bytes[0] &= 0x7f;
    }
    to_base64_url(&bytes)
}

const EITHER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads base64 of either alphabet, padded or not: Keeper's clients write all four.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/']) {
        let url_safe = Zeroizing::new(text.replace('+', "-").replace('/', "_"));
        return EITHER.decode(url_safe.as_bytes()).ok();
    }
    EITHER.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn to_base64_url(bytes: &[u8]) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;

    use super::*;

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let entropy = SeededEntropy::new(1);
        let (key, other) = (Key::random(&entropy), Key::random(&entropy));
        let sealed = key.seal(b"text", &entropy).unwrap();
        assert_eq!(sealed.len(), 12 + 4 + 16);
        assert_eq!(key.open(&sealed).unwrap().as_slice(), b"text");
        assert!(other.open(&sealed).is_err());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(key.open(&bent).is_err(), "byte {at}");
            assert!(key.open(&sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn folder_texts_survive_cbc_and_broken_ones_are_refused() {
        let entropy = SeededEntropy::new(2);
        let key = Key::random(&entropy);
        for length in [0, 1, 15, 16, 17, 32] {
            let plain = vec![7; length];
            let sealed = key.seal_cbc(&plain, &entropy).unwrap();
            assert_eq!(sealed.len(), 16 + (length / 16 + 1) * 16);
            assert_eq!(key.open_cbc(&sealed).unwrap().as_slice(), plain);
            assert!(key.open_cbc(&sealed[..sealed.len() - 1]).is_err());
            assert!(key.open_cbc(&sealed[..16]).is_err());
        }
        assert!(key.open_cbc(&[]).is_err());
    }

    #[test]
    fn a_public_key_seals_for_its_private_key() {
        let entropy = SeededEntropy::new(3);
        let (private, pkcs8) = PrivateKey::random(&entropy).unwrap();
        let sealed = private.public().seal(b"key", &entropy).unwrap();
        assert_eq!(sealed.len(), POINT_LEN + 12 + 3 + 16);
        assert_eq!(private.open(&sealed).unwrap().as_slice(), b"key");
        let again = PrivateKey::from_pkcs8(pkcs8.expose()).unwrap();
        assert_eq!(again.public(), private.public());
        let signature = again.sign(b"message").unwrap();
        assert!(private.public().verifies(b"message", &signature));
        assert!(!private.public().verifies(b"massage", &signature));
        let (stranger, _) = PrivateKey::random(&entropy).unwrap();
        assert!(stranger.open(&sealed).is_err());
    }

    #[test]
    fn a_point_off_the_curve_seals_nothing() {
        let mut point = [1; POINT_LEN];
        point[0] = 4;
        let key = PublicKey::from_bytes(&point).unwrap();
        assert_eq!(key.seal(b"key", &SeededEntropy::new(4)), Err(Sealed));
        assert_eq!(PublicKey::from_bytes(&[0; POINT_LEN]), Err(Sealed));
        assert_eq!(PublicKey::from_bytes(&[4; 33]), Err(Sealed));
    }

    #[test]
    fn base64_is_read_in_all_four_forms() {
        let bytes = [0xfb, 0xff, 0x01, 0x02];
        for text in ["+/8BAg==", "+/8BAg", "-_8BAg==", "-_8BAg"] {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_slice()), "{text}");
        }
        assert_eq!(from_base64("no base64!"), None);
    }

    #[test]
    fn marks_are_the_applications_own() {
        let entropy = SeededEntropy::new(6);
        let (key, other) = (Key::random(&entropy), Key::random(&entropy));
        let digest = |key: &Key, purpose: &str, parts: &[&[u8]]| MarkKey::derive(key).digest(purpose, parts);
        let of = digest(&key, "p", &[b"ab", b"c"]);
        assert_eq!(of, digest(&key, "p", &[b"ab", b"c"]));
        for differs in [
            digest(&key, "p", &[b"a", b"bc"]),
            digest(&key, "q", &[b"ab", b"c"]),
            digest(&key, "p", &[b"ab", b"c", b""]),
            digest(&other, "p", &[b"ab", b"c"]),
        ] {
            assert_ne!(of, differs);
        }
    }

    #[test]
    fn a_uid_never_begins_with_a_dash() {
        let entropy = SeededEntropy::new(5);
        for _ in 0..10_000 {
            let uid = new_uid(&entropy);
            assert!(crate::notation::is_uid(&uid) && !uid.starts_with('-'), "{uid}");
        }
    }
}
