//! How a store's root key is kept when no key file keeps it: split among people, or wrapped by a service.
//!
//! A *guard* stands in the back end beside the key ring, in clear: it holds nothing that opens anything by
//! itself. With key shares, the root key is wrapped under a *share key* that is cut into shares (Shamir's
//! scheme over GF(2^8)); with a service, the service has wrapped the root key, and the share key only proves
//! that enough people agree to something (Vault calls those recovery keys).

use std::{convert::Infallible, fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
};
use model::{Entropy, SecretBytes};
use rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize};
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::{Backend, Batch, Check, Revision, RootKey, StoreError, Write, wipe::Wiped};

/// Where the guard is stored. No record has this tag, and it sorts behind the key ring.
pub(crate) const GUARD_KEY: &[u8] = &[0x00, 0x01];

const FORMAT: u8 = 1;
const KEY: usize = 32;
/// Binds a wrapped root key to its purpose.
const ROOT: &[u8] = b"keyferry guard: root key";
/// The same for what a share key of a service-kept store proves itself by.
const PROOF: &[u8] = b"keyferry guard: proof";

/// How the root key of a store is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// `shamir`, or what the service is called: `awskms`, `static`.
    pub kind: String,
    /// How many shares the share key was cut into; 0 = there is none.
    pub shares: u8,
    /// How many of them make it.
    pub threshold: u8,
    /// The root key, wrapped under the share key (`shamir`) or by the service.
    pub root: Vec<u8>,
    /// For a store kept by a service: what the share key opens, to prove itself.
    pub proof: Vec<u8>,
}

impl Guard {
    /// The guard of the store in a back end, and the commit that wrote it. `None`: a key file keeps the
    /// root key, or there is no store.
    pub async fn read(backend: &dyn Backend) -> Result<Option<(Self, Revision)>, StoreError> {
        let Some(entry) = backend.get(GUARD_KEY).await? else { return Ok(None) };
        let guard = Self::parse(&entry.value).map_err(|what| StoreError::Corrupt { tag: 0, what })?;
        Ok(Some((guard, entry.revision)))
    }

    /// Reads a stored guard.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        match bytes.split_first() {
            Some((&FORMAT, fields)) => match postcard::take_from_bytes(fields) {
                Ok((guard, [])) => Ok(guard),
                _ => Err("the guard of the root key does not parse"),
            },
            _ => Err("the guard of the root key is of a format this version does not know"),
        }
    }

    /// Puts another guard in its place.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else did so first.
    pub async fn replace(&self, backend: &dyn Backend, before: Revision) -> Result<Revision, StoreError> {
        let checks = vec![Check::Unchanged(GUARD_KEY.to_vec(), before)];
        backend.commit(Batch { checks, writes: vec![self.put()?] }).await
    }

    pub(crate) fn put(&self) -> Result<Write, StoreError> {
        let fields = postcard::to_stdvec(self)
            .map_err(|_| StoreError::Corrupt { tag: 0, what: "the guard could not be encoded" })?;
        Ok(Write::Put(GUARD_KEY.to_vec(), [&[FORMAT], fields.as_slice()].concat()))
    }

    /// The root key, if this is the share key it was wrapped under.
    pub fn root_by(&self, key: &ShareKey) -> Option<RootKey> {
        RootKey::from_bytes(key.open(ROOT, &self.root)?)
    }

    /// Whether this is the share key of a store that a service keeps.
    pub fn is_proven_by(&self, key: &ShareKey) -> bool {
        key.open(PROOF, &self.proof).is_some()
    }
}

/// Why a number of shares cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadShares {
    /// Too few or too many.
    #[error("the number of shares must be 1 to 255")]
    Count,
    /// Out of range for the number of shares.
    #[error("the threshold must be 1 to the number of shares, and at least 2 when there are several shares")]
    Threshold,
}

/// The key that is cut into shares. Wiped on drop.
pub struct ShareKey(SecretBytes);

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareKey")
    }
}

impl ShareKey {
    /// A new random key.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; KEY]);
        entropy.fill(&mut bytes);
        Self(bytes.into())
    }

    /// From its 32 bytes.
    pub fn from_bytes(bytes: SecretBytes) -> Option<Self> {
        (bytes.len() == KEY).then_some(Self(bytes))
    }

    /// Whether a key can be cut like this.
    pub fn check(shares: u64, threshold: u64) -> Result<(u8, u8), BadShares> {
        let shares = u8::try_from(shares).ok().filter(|n| *n > 0).ok_or(BadShares::Count)?;
        let fits = |t: u8| (1..=shares).contains(&t) && (t > 1 || shares == 1);
        let threshold = u8::try_from(threshold).ok().filter(|t| fits(*t)).ok_or(BadShares::Threshold)?;
        Ok((shares, threshold))
    }

    /// Cuts it into shares, of which any `threshold` make it again. A single share is the key itself.
    pub fn split(&self, shares: u8, threshold: u8, entropy: &dyn Entropy) -> Option<Vec<SecretBytes>> {
        if shares == 1 {
            return Some(vec![self.0.clone()]);
        }
        // EXPOSE: cut by the library, whose shares go straight into bytes that wipe themselves.
        let cut = Gf256::split_array(threshold.into(), shares.into(), self.0.expose(), Dice(entropy)).ok()?;
        Some(cut.into_iter().map(SecretBytes::new).collect())
    }

    /// Puts shares together. What comes out is a key whatever went in; whether it is the right one is told
    /// by what it opens. `None`: they cannot belong together (of different lengths, or one twice).
    pub fn combine(shares: &[SecretBytes]) -> Option<Self> {
        if let [one] = shares {
            return Self::from_bytes(one.clone());
        }
        // EXPOSE: put together by the library; the copies it takes wipe themselves.
        let copies: Zeroizing<Vec<Vec<u8>>> =
            Zeroizing::new(shares.iter().map(|share| share.expose().to_vec()).collect());
        Self::from_bytes(SecretBytes::new(Gf256::combine_array(&*copies).ok()?))
    }

    /// Bytes of one share.
    pub fn share_len(shares: u8) -> usize {
        if shares == 1 { KEY } else { KEY + 1 }
    }

    /// A root key, wrapped.
    pub fn wrap(&self, root: &RootKey, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        // EXPOSE: sealed in the next call.
        self.seal(ROOT, root.expose(), entropy)
    }

    /// What this key proves itself by.
    pub fn proof(&self, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        self.seal(PROOF, b"", entropy)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        // EXPOSE: to seal and open what the guard holds.
        UnboundKey::new(&AES_256_GCM, self.0.expose()).map(LessSafeKey::new).ok()
    }

    fn seal(&self, purpose: &[u8], plain: &[u8], entropy: &dyn Entropy) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut body = Wiped(plain.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut body.0)
            .ok()?;
        Some([&nonce, &*body, tag.as_ref()].concat())
    }

    fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Wiped(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .cipher()?
            .open_in_place(nonce, Aad::from(purpose), &mut body.0)
            .map_err(|Unspecified| ())
            .ok()?;
        Some(SecretBytes::from(&*plain))
    }
}

/// A service or a machine that keeps a root key, so that a server opens its store by itself.
#[async_trait::async_trait]
pub trait AutoUnseal: Send + Sync {
    /// What `sys/seal-status` shows as `type`: `awskms`, `static`.
    fn kind(&self) -> &'static str;

    /// Wraps a new store's root key.
    async fn wrap(&self, root: &RootKey) -> Result<Vec<u8>, String>;

    /// Opens what it wrapped. The text says what went wrong and never what was wrapped.
    async fn unwrap(&self, wrapped: &[u8]) -> Result<RootKey, String>;
}

/// A key that somebody hands to the server at start, such as by its environment.
pub struct GivenKey {
    key: ShareKey,
    entropy: Arc<dyn Entropy>,
}

impl GivenKey {
    /// Keeps root keys under this key.
    pub fn new(key: ShareKey, entropy: Arc<dyn Entropy>) -> Self {
        Self { key, entropy }
    }
}

#[async_trait::async_trait]
impl AutoUnseal for GivenKey {
    fn kind(&self) -> &'static str {
        "static"
    }

    async fn wrap(&self, root: &RootKey) -> Result<Vec<u8>, String> {
        self.key
            .wrap(root, self.entropy.as_ref())
            .ok_or_else(|| "the root key could not be wrapped".to_owned())
    }

    async fn unwrap(&self, wrapped: &[u8]) -> Result<RootKey, String> {
        let root = self.key.open(ROOT, wrapped).and_then(RootKey::from_bytes);
        root.ok_or_else(|| "the key that was given is not the one this store was made with".to_owned())
    }
}

/// Our dice, for the library.
struct Dice<'a>(&'a dyn Entropy);

impl TryRng for Dice<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Dice<'_> {}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;
    use proptest::prelude::*;

    use super::*;
    use crate::Memory;

    fn entropy() -> SeededEntropy {
        SeededEntropy::new(7)
    }

    #[test]
    fn any_threshold_of_shares_makes_the_key_and_fewer_do_not() {
        let (key, root) = (ShareKey::random(&entropy()), RootKey::random(&SeededEntropy::new(8)));
        let root_guard = |threshold| Guard {
            kind: "shamir".into(),
            shares: 5,
            threshold,
            root: key.wrap(&root, &entropy()).unwrap(),
            proof: Vec::new(),
        };
        for threshold in 2..=5_u8 {
            let shares = key.split(5, threshold, &entropy()).unwrap();
            assert!(shares.iter().all(|share| share.len() == ShareKey::share_len(5)));
            let guard = root_guard(threshold);
            for first in 0..5 {
                let some = |count: usize| -> Vec<SecretBytes> {
                    (first..first + count).map(|at| shares[at % 5].clone()).collect()
                };
                let made = ShareKey::combine(&some(threshold.into())).unwrap();
                assert_eq!(guard.root_by(&made).unwrap().expose(), root.expose());
                if threshold > 2 {
                    let wrong = ShareKey::combine(&some(usize::from(threshold) - 1)).unwrap();
                    assert!(guard.root_by(&wrong).is_none());
                }
            }
        }
    }

    #[test]
    fn one_share_is_the_key_itself() {
        let key = ShareKey::random(&entropy());
        let [share] = key.split(1, 1, &entropy()).unwrap().try_into().unwrap();
        assert_eq!(share.len(), ShareKey::share_len(1));
        assert_eq!(ShareKey::combine(&[share]).unwrap().0.expose(), key.0.expose());
    }

    #[test]
    fn shares_that_cannot_belong_together_make_nothing() {
        let shares = ShareKey::random(&entropy()).split(3, 2, &entropy()).unwrap();
        assert!(ShareKey::combine(&[shares[0].clone(), shares[0].clone()]).is_none(), "one twice");
        assert!(ShareKey::combine(&[shares[0].clone(), SecretBytes::from("short")]).is_none());
        assert!(ShareKey::combine(&[]).is_none());
    }

    #[test]
    fn counts_out_of_range_are_refused() {
        for (shares, threshold, fault) in [
            (0, 0, BadShares::Count),
            (256, 2, BadShares::Count),
            (3, 0, BadShares::Threshold),
            (3, 1, BadShares::Threshold),
            (3, 4, BadShares::Threshold),
            (3, 300, BadShares::Threshold),
        ] {
            assert_eq!(ShareKey::check(shares, threshold), Err(fault), "{shares}/{threshold}");
        }
        assert_eq!(ShareKey::check(1, 1), Ok((1, 1)));
        assert_eq!(ShareKey::check(255, 255), Ok((255, 255)));
    }

    #[test]
    fn a_proof_is_no_root_key_and_the_other_way_round() {
        let key = ShareKey::random(&entropy());
        let guard = Guard {
            kind: "awskms".into(),
            shares: 1,
            threshold: 1,
            root: key.proof(&entropy()).unwrap(),
            proof: key.wrap(&RootKey::random(&entropy()), &entropy()).unwrap(),
        };
        assert!(guard.root_by(&key).is_none() && !guard.is_proven_by(&key));
    }

    #[tokio::test]
    async fn a_guard_is_read_back_and_replaced_by_one_only() {
        let backend = Memory::new();
        assert!(Guard::read(&backend).await.unwrap().is_none());
        let key = ShareKey::random(&entropy());
        let guard = Guard {
            kind: "static".into(),
            shares: 0,
            threshold: 0,
            root: vec![1; 60],
            proof: key.proof(&entropy()).unwrap(),
        };
        backend.commit(Batch { checks: vec![], writes: vec![guard.put().unwrap()] }).await.unwrap();
        let (read, revision) = Guard::read(&backend).await.unwrap().unwrap();
        assert_eq!(read, guard);
        assert!(read.is_proven_by(&key) && !read.is_proven_by(&ShareKey::random(&SeededEntropy::new(9))));
        guard.replace(&backend, revision).await.unwrap();
        assert_eq!(guard.replace(&backend, revision).await, Err(StoreError::Conflict));
        for bad in [vec![], vec![FORMAT], vec![FORMAT + 1, 0]] {
            let writes = vec![Write::Put(GUARD_KEY.to_vec(), bad)];
            backend.commit(Batch { checks: vec![], writes }).await.unwrap();
            assert!(matches!(Guard::read(&backend).await, Err(StoreError::Corrupt { tag: 0, .. })));
        }
    }

    proptest! {
        #[test]
        fn no_shares_make_it_panic(shares in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
            let shares: Vec<SecretBytes> = shares.into_iter().map(SecretBytes::new).collect();
            let _ = ShareKey::combine(&shares);
        }
    }
}
