//! The server as an issuer of identity tokens (vault-sync-api.md 4.7): the keys that sign them, the tokens,
//! and the two documents by which a provider checks them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use destinations::{Fault, IdentityTokens, jwt::SigningKey};
use model::{Clock, Entropy, SecretBytes, Timestamp};
use serde_json::{Value, json};
use store::{
    Cached, Store, StoreError,
    records::{IdentityKey, IdentityKeys},
};

/// A key signs for this long before another takes its place.
const SIGNS_FOR: Duration = Duration::from_secs(30 * 86_400);

/// A new key is published this long before it signs, since providers keep what they fetched for a while.
const KNOWN_BEFORE: Duration = Duration::from_secs(86_400);

/// A key that signs no more stays published for this long: longer than any token lasts.
const KNOWN_AFTER: Duration = Duration::from_secs(2 * 86_400);

/// Tokens are valid from a little before now, for providers whose clock is behind.
const CLOCK_LEEWAY: u64 = 30;

/// Signs identity tokens.
pub struct IdentityIssuer {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: String,
    keys: Cached<IdentityKeys>,
    /// The key that signed last, ready to sign again.
    ready: Mutex<Option<(String, Arc<SigningKey>)>>,
}

impl IdentityIssuer {
    /// An issuer known under `api_addr`, the URL by which providers reach this server.
    pub fn new(store: Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, api_addr: &str) -> Self {
        let issuer = format!("{}/v1/{PATH}", api_addr.trim_end_matches('/'));
        Self { store, clock, entropy, issuer, keys: Cached::default(), ready: Mutex::default() }
    }

    /// The discovery document, as OpenID Connect has it.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/.well-known/keys", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf"],
        })
    }

    /// The public keys (RFC 7517). Makes the first one if there is none yet, so that a provider may be set
    /// up before a destination is.
    pub async fn jwks(&self) -> Result<Value, StoreError> {
        let mut keys = Vec::new();
        for key in &self.current().await?.keys {
            let Ok(signing) = SigningKey::from_pkcs8(&key.der) else { return Err(corrupt()) };
            let (n, e) = signing.public_parts();
            keys.push(json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.id, "n": n, "e": e }));
        }
        Ok(json!({ "keys": keys }))
    }

    /// The keys as they should be now: one that signs, the next one in time, none that is long over.
    async fn current(&self) -> Result<IdentityKeys, StoreError> {
        let place = self.store.keys().identity_keys();
        loop {
            let now = self.clock.now();
            let stored = self.store.get_cached(&place, &self.keys).await?;
            let kept: Vec<_> = stored.as_ref().map_or_else(Vec::new, |stored| {
                let keys = &stored.record.keys;
                let over = |at: usize| {
                    keys.get(at + 1).is_some_and(|next| next.created.plus(KNOWN_BEFORE + KNOWN_AFTER) <= now)
                };
                keys.iter().enumerate().filter(|(at, _)| !over(*at)).map(|(_, key)| key.clone()).collect()
            });
            let due = kept.last().is_none_or(|last| last.created.plus(SIGNS_FOR) <= now);
            if let (Some(stored), false) = (&stored, due)
                && stored.record.keys.len() == kept.len()
            {
                return Ok(stored.record.clone());
            }
            let mut next = IdentityKeys { keys: kept };
            if due {
                next.keys.push(self.make_key(now).await?);
            }
            let mut transaction = self.store.transaction();
            transaction.expect(&place, stored.as_ref().map(|stored| stored.revision)).put(&place, &next);
            match transaction.commit().await {
                // Another server was faster: its key is as good.
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(other) => return Err(other),
            }
        }
    }

    async fn make_key(&self, now: Timestamp) -> Result<IdentityKey, StoreError> {
        let made = tokio::task::spawn_blocking(SigningKey::generate).await;
        let Ok(Ok(der)) = made else { return Err(corrupt()) };
        // EXPOSE: into the record, which is sealed and wipes itself.
        Ok(IdentityKey {
            id: model::uuid_v4(self.entropy.as_ref()),
            created: now,
            der: der.expose().to_vec(),
        })
    }

    /// The key that signs now, and its id.
    async fn signing(&self) -> Result<(String, Arc<SigningKey>), StoreError> {
        let keys = self.current().await?.keys;
        let now = self.clock.now();
        let known = keys.iter().rev().find(|key| key.created.plus(KNOWN_BEFORE) <= now);
        let key = known.or(keys.first()).ok_or_else(corrupt)?;
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        match &*ready {
            Some((id, signing)) if *id == key.id => Ok((id.clone(), Arc::clone(signing))),
            _ => {
                let signing = Arc::new(SigningKey::from_pkcs8(&key.der).map_err(|_| corrupt())?);
                *ready = Some((key.id.clone(), Arc::clone(&signing)));
                Ok((key.id.clone(), signing))
            }
        }
    }
}

/// Where the documents are, below `/v1/`.
pub const PATH: &str = "identity/oidc/secrets-sync";

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        tag: <IdentityKeys as store::Record>::TAG,
        what: "it holds no key to sign identity tokens with",
    }
}

#[async_trait]
impl IdentityTokens for IdentityIssuer {
    async fn issue(&self, audience: &str, subject: &str, ttl: Duration) -> Result<SecretBytes, Fault> {
        let failed = |_| Fault::internal("identity_token", "the server could not sign an identity token");
        let (id, key) = self.signing().await.map_err(failed)?;
        let now = u64::try_from(self.clock.now().as_secs()).unwrap_or_default();
        let claims = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "nbf": now.saturating_sub(CLOCK_LEEWAY),
            "exp": now.saturating_add(ttl.as_secs()),
            "jti": model::uuid_v4(self.entropy.as_ref()),
        });
        key.sign(Some(&id), &claims).ok_or(()).map_err(|()| failed(corrupt()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use model::SeededEntropy;
    use store::{Memory, RootKey};

    use super::*;

    const DAY: i64 = 86_400;

    struct Now(AtomicI64);

    impl Clock for Now {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    async fn issuer() -> (Arc<Now>, IdentityIssuer) {
        let clock = Arc::new(Now(AtomicI64::new(1_700_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let root = RootKey::random(entropy.as_ref());
        let store = Store::init(Arc::new(Memory::default()), &root, clock.as_ref(), Arc::clone(&entropy))
            .await
            .unwrap();
        let issuer = IdentityIssuer::new(store, clock.clone(), entropy, "https://keyferry.example/");
        (clock, issuer)
    }

    async fn key_ids(issuer: &IdentityIssuer) -> Vec<String> {
        let jwks = issuer.jwks().await.unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn read(token: &SecretBytes, part: usize) -> Value {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let text = token.expose_text().unwrap().split('.').nth(part).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_token_names_issuer_subject_audience_and_end() {
        let (_, issuer) = issuer().await;
        let token = issuer.issue("aud", "secrets-sync:root:aws-sm:a", Duration::from_secs(60)).await.unwrap();
        let claims = read(&token, 1);
        assert_eq!(claims["iss"], "https://keyferry.example/v1/identity/oidc/secrets-sync");
        assert_eq!(claims["iss"], issuer.discovery()["issuer"]);
        assert_eq!(claims["sub"], "secrets-sync:root:aws-sm:a");
        assert_eq!(claims["aud"], "aud");
        assert_eq!(claims["exp"], 1_700_000_060);
        assert_eq!(key_ids(&issuer).await, [read(&token, 0)["kid"].as_str().unwrap()]);
    }

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_after_it_signed_last() {
        let (clock, issuer) = issuer().await;
        let first = key_ids(&issuer).await;
        let signer =
            async || read(&issuer.issue("a", "s", Duration::from_secs(1)).await.unwrap(), 0)["kid"].clone();
        clock.0.fetch_add(30 * DAY, Ordering::Relaxed);
        let both = key_ids(&issuer).await;
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        assert_eq!(signer().await, both[0], "the new key is not known everywhere yet");
        clock.0.fetch_add(DAY, Ordering::Relaxed);
        assert_eq!(signer().await, both[1]);
        assert_eq!(key_ids(&issuer).await, both, "tokens of the old key still live");
        clock.0.fetch_add(2 * DAY, Ordering::Relaxed);
        assert_eq!(key_ids(&issuer).await, [both[1].clone()]);
    }
}
