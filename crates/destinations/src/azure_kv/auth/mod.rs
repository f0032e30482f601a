//! Who the calls are made as: an app's client secret, or the server's own identity. The flows are three
//! requests (destinations.md 2.3); they are ours, so that every one of them goes through the guarded way
//! out and credentials are sent to nobody a destination names.

mod answer;
mod challenge;
mod sources;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(super) use answer::Token;
pub(super) use challenge::{Challenge, may_be_sent};
pub(super) use sources::{Settings, Sources};

use crate::{
    Fault, Retry,
    tokens::{Life, TokenCache},
};

/// What tokens are asked for.
#[derive(Debug, Clone, Default)]
struct Wanted {
    tenant: Option<String>,
    resource: Option<String>,
}

/// The token of one destination, and what it is for.
pub(super) struct Auth {
    sources: Sources,
    /// The host that must be in the resource's domain before a token is sent.
    host: String,
    wanted: ArcSwap<Wanted>,
    held: TokenCache<Token>,
}

impl Auth {
    /// `host`: the one tokens are checked against. `resource`: what they are for, where that is known
    /// without asking the vault.
    pub(super) fn new(sources: Sources, host: String, resource: Option<String>) -> Self {
        let wanted = Wanted { tenant: sources.tenant(), resource };
        Self { sources, host, wanted: ArcSwap::from_pointee(wanted), held: TokenCache::new("an Azure token") }
    }

    /// Whether the vault's challenge must be heard before a token can be asked for.
    pub(super) fn needs_challenge(&self) -> bool {
        let wanted = self.wanted.load();
        wanted.resource.is_none() || (wanted.tenant.is_none() && self.sources.need_tenant())
    }

    /// Takes over what a challenge says and is not settled yet. Whether that changed anything.
    ///
    /// A configured tenant stays. A resource is only taken when the host is in its domain.
    pub(super) fn learn(&self, challenge: &Challenge) -> Result<bool, Fault> {
        let known = self.wanted.load_full();
        let mut wanted = Wanted::clone(&known);
        if let Some(resource) =
            challenge.resource.as_ref().filter(|told| known.resource.as_ref() != Some(*told))
        {
            if !may_be_sent(resource, &self.host) {
                return Err(Fault::client(
                    "challenge_rejected",
                    "the vault asks for a token that is not for the domain it is in, so none was sent; \
                     key_vault_uri must be the vault's own name (endpoint says where it is reached), and the \
                     server's own identity is only used with a vault of Azure's",
                )
                .retry(Retry::Slowly));
            }
            wanted.resource = Some(resource.clone());
        }
        if wanted.tenant.is_none() {
            wanted.tenant.clone_from(&challenge.tenant);
        }
        let changed = wanted.resource != known.resource || wanted.tenant != known.tenant;
        if changed {
            self.wanted.store(Arc::new(wanted));
            self.held.clear();
        }
        Ok(changed)
    }

    /// A token that will last for a while.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Fault> {
        self.held.get(self.sources.clock(), || self.ask(None)).await
    }

    /// Another token in place of one that was refused, with the claims the vault asks for.
    pub(super) async fn renew(&self, refused: &Arc<Token>, claims: Option<&str>) -> Result<(), Fault> {
        self.held.replace(refused, || self.ask(claims)).await
    }

    /// Forgets a token that was refused for good, in case others come into force.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        self.held.forget(refused);
    }

    async fn ask(&self, claims: Option<&str>) -> Result<(Token, Option<Life>), Fault> {
        let wanted = self.wanted.load_full();
        let Some(resource) = &wanted.resource else {
            let message = "a token was asked for before it was known for what";
            return Err(Fault::internal("resource_missing", message));
        };
        let (token, life) = self.sources.token(wanted.tenant.as_deref(), resource, claims).await?;
        Ok((token, Some(life)))
    }
}
