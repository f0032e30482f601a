//! `sys/init`: making a store, once.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use model::SecretBytes;
use store::{Guard, RootKey, ShareKey, Store};
use zeroize::Zeroizing;

use super::{
    super::{
        AppError, Fields, Operation, Reply, Request,
        json::{self, Object},
        tokens,
    },
    Core, Unsealing,
};

/// What a new store is opened with, told once.
pub struct Made {
    /// Shares of the unseal key, or of the recovery key where a service unseals.
    pub shares: Vec<SecretBytes>,
    /// The first token.
    pub root_token: SecretBytes,
}

impl Core {
    /// `sys/init`.
    pub(super) async fn init(&self, request: &Request) -> Result<Reply, AppError> {
        match request.operation {
            Operation::Read => {
                let initialised = self.is_initialised().await?;
                Ok(Reply::bare(
                    200,
                    json::object(|o| {
                        o.put("initialized", &initialised);
                    }),
                ))
            }
            Operation::Write => self.init_as_asked(request).await,
            _ => Err(AppError::UnsupportedOperation),
        }
    }

    async fn init_as_asked(&self, request: &Request) -> Result<Reply, AppError> {
        let mut fields = Fields::of(request)?;
        for name in ["pgp_keys", "recovery_pgp_keys", "root_token_pgp_key"] {
            let given = fields.get(name).is_some_and(|keys| match keys {
                serde_json::Value::Array(keys) => !keys.is_empty(),
                serde_json::Value::String(key) => !key.is_empty(),
                _ => true,
            });
            if given {
                return Err(AppError::invalid(format!("{name} is not available in keyferry: leave it out")));
            }
        }
        let (count, needed) = match self.unsealing {
            Unsealing::Auto(_) => ("recovery_shares", "recovery_threshold"),
            _ => ("secret_shares", "secret_threshold"),
        };
        let shares = fields.unsigned(count)?.unwrap_or(0);
        let threshold = fields.unsigned(needed)?.unwrap_or(0);
        if self.is_initialised().await? {
            return Err(AppError::invalid("Vault is already initialized"));
        }
        let made = self.make(shares, threshold, None).await?;
        let auto = matches!(self.unsealing, Unsealing::Auto(_));
        Ok(Reply::bare(
            200,
            json::object_with_room(4096, |o| {
                if auto {
                    o.put("keys", &[(); 0]).put("keys_base64", &[(); 0]);
                    put_shares(o, "recovery_keys", "recovery_keys_base64", &made.shares);
                } else {
                    put_shares(o, "keys", "keys_base64", &made.shares);
                }
                // EXPOSE: the first token is told to whoever made the store, once.
                o.put("root_token", made.root_token.expose_text().unwrap_or_default());
            }),
        ))
    }

    /// Makes the store and its first token. Where a service unseals, it is opened at once; otherwise it is
    /// sealed, and its shares are the only way in.
    ///
    /// `root_token`: the text of the first token, if it is to be a certain one.
    ///
    /// # Errors
    /// When there is a store already, or the numbers make no sense.
    pub async fn make(
        &self,
        shares: u64,
        threshold: u64,
        root_token: Option<SecretBytes>,
    ) -> Result<Made, AppError> {
        let _turn = self.rites.lock().await;
        let entropy = self.entropy.as_ref();
        let (shares, threshold) = ShareKey::check(shares, threshold)
            .map_err(|fault| AppError::invalid(format!("invalid seal configuration: {fault}")))?;
        let (root, key) = (RootKey::random(entropy), ShareKey::random(entropy));
        let failed = || AppError::Internal("key material could not be made".to_owned());
        let (kind, wrapped, proof) = match &self.unsealing {
            Unsealing::Shares => ("shamir", key.wrap(&root, entropy).ok_or_else(failed)?, Vec::new()),
            Unsealing::Auto(service) => {
                let wrapped = service.wrap(&root).await.map_err(|why| {
                    AppError::Internal(format!("{} did not wrap the root key: {why}", service.kind()))
                })?;
                (service.kind(), wrapped, key.proof(entropy).ok_or_else(failed)?)
            }
            Unsealing::AtStart => {
                return Err(AppError::invalid("a store of this server is made with `keyferry init`"));
            }
        };
        let guard = Guard { kind: kind.to_owned(), shares, threshold, root: wrapped, proof };
        let parts = key.split(shares, threshold, entropy).ok_or_else(failed)?;
        let (store, root_token) = Store::init_guarded(
            Arc::clone(&self.backend),
            &root,
            &guard,
            self.clock.as_ref(),
            Arc::clone(&self.entropy),
            async |store: &Store| tokens::create_root(store, self.clock.as_ref(), entropy, root_token).await,
        )
        .await
        .map_err(|error| match error {
            store::StoreError::Conflict => AppError::invalid("Vault is already initialized"),
            other => other.into(),
        })?;
        tracing::info!(seal = kind, shares, threshold, "a store was made");
        if matches!(self.unsealing, Unsealing::Auto(_)) {
            self.open_store(store).await?;
        }
        Ok(Made { shares: parts, root_token })
    }
}

/// Shares as Vault tells them: once in hexadecimal digits, once in base64.
pub(super) fn put_shares(o: &mut Object<'_>, hex_name: &str, base64_name: &str, shares: &[SecretBytes]) {
    // EXPOSE: shares are told to whoever had them made, once; the copies wipe themselves.
    let texts = |encode: fn(&[u8]) -> String| -> Zeroizing<Vec<String>> {
        Zeroizing::new(shares.iter().map(|share| encode(share.expose())).collect())
    };
    o.put(hex_name, &*texts(|bytes| hex::encode(bytes)));
    o.put(base64_name, &*texts(|bytes| BASE64_STANDARD.encode(bytes)));
}
