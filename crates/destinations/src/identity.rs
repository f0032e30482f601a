//! Workload identity federation: a destination shows its provider who it is by a short-lived token that
//! this server signs, instead of a key that somebody keeps (vault-sync-api.md 4.7). The provider is told
//! once to trust the server as an issuer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::SecretBytes;

use crate::{Config, Fault, Field, FieldFault, Net, Shape};

/// Who signs identity tokens.
#[async_trait]
pub trait IdentityTokens: Send + Sync {
    /// A token that says `subject` to `audience` and ends after `ttl`.
    async fn issue(&self, audience: &str, subject: &str, ttl: Duration) -> Result<SecretBytes, Fault>;
}

/// The identity of one destination: what its tokens say, and who signs them.
#[derive(Clone)]
pub struct Identity {
    tokens: Arc<dyn IdentityTokens>,
    subject: String,
}

impl Identity {
    /// The identity of the destination of this type and name, in the root namespace.
    pub fn new(tokens: Arc<dyn IdentityTokens>, kind: &str, name: &str) -> Self {
        Self { tokens, subject: format!("secrets-sync:root:{kind}:{name}") }
    }
}

/// Whom its tokens are for.
pub(crate) const IDENTITY_TOKEN_AUDIENCE: Field = Field::new(
    "identity_token_audience",
    Shape::Text,
    "Workload identity federation: the audience the provider expects in tokens that this server signs. \
     Takes the place of stored credentials.",
)
.secret()
.checked(|audience| {
    let ok = audience.chars().count() < 600 && !audience.chars().any(char::is_control);
    (!ok).then_some("must be an audience of fewer than 600 characters")
});

/// What they are signed with.
pub(crate) const IDENTITY_TOKEN_KEY: Field = Field::new(
    "identity_token_key",
    Shape::Text,
    "Name of the key that signs them. There is one key, `default`, which is also what no name means.",
)
.secret()
.checked(|key| {
    (!matches!(key, "" | "default")).then_some("there is no such key; the only one is \"default\"")
});

/// How long they last.
pub(crate) const IDENTITY_TOKEN_TTL: Field = Field::new(
    "identity_token_ttl",
    Shape::Seconds { min: 0, max: 86_400 },
    "How long such a token lasts, in seconds: 3600 if not given or 0, 86400 at most.",
);

/// A destination's wish to be known by its identity, checked.
#[derive(Clone)]
pub(crate) struct Federation {
    identity: Identity,
    audience: String,
    ttl: Duration,
}

impl Federation {
    /// What the configuration says; `None` when it says nothing of the sort.
    pub(crate) fn of(config: &Config, net: &Net) -> Result<Option<Self>, FieldFault> {
        let Some(audience) =
            config.secret(IDENTITY_TOKEN_AUDIENCE.name).filter(|audience| !audience.is_empty())
        else {
            if config.int(IDENTITY_TOKEN_TTL.name).is_some_and(|ttl| ttl != 0) {
                return Err(FieldFault::new(IDENTITY_TOKEN_TTL.name, NEEDS_AUDIENCE));
            }
            if config.secret(IDENTITY_TOKEN_KEY.name).is_some_and(|key| !key.is_empty()) {
                return Err(FieldFault::new(IDENTITY_TOKEN_KEY.name, NEEDS_AUDIENCE));
            }
            return Ok(None);
        };
        let identity = net.identity().cloned().ok_or_else(|| {
            FieldFault::new(
                IDENTITY_TOKEN_AUDIENCE.name,
                "workload identity federation needs the address under which providers reach this server; set \
                 server.api_addr in its configuration",
            )
        })?;
        // An audience is no secret, but Vault masks it, so it is kept like one.
        let audience = audience
            .expose_text()
            .map_err(|_| FieldFault::new(IDENTITY_TOKEN_AUDIENCE.name, "must be text"))?
            .to_owned();
        let ttl = match config.int(IDENTITY_TOKEN_TTL.name) {
            None | Some(0) => 3600,
            Some(seconds) => seconds.unsigned_abs(),
        };
        Ok(Some(Self { identity, audience, ttl: Duration::from_secs(ttl) }))
    }

    /// Whom its tokens are for.
    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// A fresh token.
    pub(crate) async fn token(&self) -> Result<SecretBytes, Fault> {
        self.identity.tokens.issue(&self.audience, &self.identity.subject, self.ttl).await
    }
}

const NEEDS_AUDIENCE: &str = "has no meaning without identity_token_audience";
