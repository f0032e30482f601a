//! Who the calls are made as: an app's client secret, or the server's own identity. The flows are three
//! requests (destinations.md 2.3); they are ours, so that every one of them goes through the guarded way
//! out and credentials are sent to nobody a destination names.

mod answer;
mod challenge;
mod sources;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};

pub(super) use answer::Token;
pub(super) use challenge::{Challenge, may_be_sent};
pub(super) use sources::{Settings, Sources};

use crate::{Fault, Retry};

/// After a renewal that failed, the next is tried this much later, while the old token still works.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// What tokens are asked for.
#[derive(Debug, Clone, Default)]
struct Wanted {
    tenant: Option<String>,
    resource: Option<String>,
}

/// The token of one destination: asked for when first needed, renewed in time, by one caller for all.
pub(super) struct Auth {
    sources: Sources,
    /// The host that must be in the resource's domain before a token is sent.
    host: String,
    wanted: ArcSwap<Wanted>,
    current: ArcSwapOption<Token>,
    /// Held while a token is asked for; holds why there was none the last time.
    asking: tokio::sync::Mutex<Option<Fault>>,
    asked: AtomicU64,
}

impl Auth {
    /// `host`: the one tokens are checked against. `resource`: what they are for, where that is known
    /// without asking the vault.
    pub(super) fn new(sources: Sources, host: String, resource: Option<String>) -> Self {
        let wanted = Wanted { tenant: sources.tenant(), resource };
        Self {
            sources,
            host,
            wanted: ArcSwap::from_pointee(wanted),
            current: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::new(None),
            asked: AtomicU64::new(0),
        }
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
            self.current.store(None);
        }
        Ok(changed)
    }

    /// A token that will last for a while.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Fault> {
        let now = self.sources.now();
        if let Some(current) = self.current.load_full() {
            if !current.is_due(now) {
                return Ok(current);
            }
            if current.is_usable(now) {
                // One renews it, the others go on with what still works.
                let Ok(mut turn) = self.asking.try_lock() else { return Ok(current) };
                return match self.ask(&mut turn, None).await {
                    Ok(fresh) => Ok(fresh),
                    Err(fault) => {
                        tracing::warn!(%fault, "an Azure token could not be renewed yet");
                        let kept = Arc::new(current.put_off(now.plus(RENEWAL_PAUSE)));
                        self.current.store(Some(Arc::clone(&kept)));
                        Ok(kept)
                    }
                };
            }
        }
        let before = self.asked.load(Ordering::Acquire);
        let mut turn = self.asking.lock().await;
        if self.asked.load(Ordering::Acquire) != before {
            // Somebody asked while we waited; that answer is ours too.
            if let Some(current) = self.current.load_full().filter(|current| current.is_usable(now)) {
                return Ok(current);
            }
            if let Some(fault) = &*turn {
                return Err(fault.clone());
            }
        }
        self.ask(&mut turn, None).await
    }

    /// Another token in place of one that was refused, with the claims the vault asks for.
    pub(super) async fn renew(&self, refused: &Arc<Token>, claims: Option<&str>) -> Result<(), Fault> {
        let mut turn = self.asking.lock().await;
        let current = self.current.load_full();
        if current.is_some_and(|current| !Arc::ptr_eq(&current, refused)) {
            // Somebody was quicker.
            return Ok(());
        }
        self.current.store(None);
        self.ask(&mut turn, claims).await.map(|_| ())
    }

    /// Forgets a token that was refused for good, in case others come into force.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        if self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, refused)) {
            self.current.store(None);
        }
    }

    async fn ask(&self, last: &mut Option<Fault>, claims: Option<&str>) -> Result<Arc<Token>, Fault> {
        let wanted = self.wanted.load_full();
        let asked = match &wanted.resource {
            Some(resource) => self.sources.token(wanted.tenant.as_deref(), resource, claims).await,
            None => {
                Err(Fault::internal("resource_missing", "a token was asked for before it was known for what"))
            }
        };
        let outcome = match asked {
            Ok(token) => {
                let token = Arc::new(token);
                self.current.store(Some(Arc::clone(&token)));
                *last = None;
                Ok(token)
            }
            Err(fault) => {
                *last = Some(fault.clone());
                Err(fault)
            }
        };
        self.asked.fetch_add(1, Ordering::Release);
        outcome
    }
}
