//! `sys/unseal` and `sys/seal`, and unsealing by a service.

use std::{sync::Arc, time::Duration};

use model::SecretBytes;
use store::{Guard, RootKey, ShareKey, Store};

use super::{
    super::{AppError, Fields, Reply, Request},
    Core, Unsealing,
    rites::{Given, Sharing, share_of},
    write_only,
};

/// First wait after a service would not unseal; doubled with every further one.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait.
const RETRY_CAP: Duration = Duration::from_secs(60);

impl Core {
    /// `sys/unseal`: takes one share. The last one needed opens the store; a wrong set starts again.
    pub(super) async fn unseal(&self, request: &Request) -> Result<Reply, AppError> {
        write_only(request)?;
        let mut fields = Fields::of(request)?;
        if fields.boolean("migrate")?.unwrap_or(false) {
            return Err(AppError::invalid("changing the sort of seal is not available in keyferry"));
        }
        if fields.boolean("reset")?.unwrap_or(false) {
            *self.unsealing_shares() = Sharing::default();
            return self.seal_state(0, "").await;
        }
        // Clients written in Go spell the field as they like.
        let key = match fields.secret("key")? {
            Some(key) => Some(key),
            None => fields.secret("Key")?,
        };
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(AppError::invalid(
                "'key' must be specified in request body as JSON, or 'reset' set to true",
            ));
        };
        // What is open stays open, whatever the key; the answer is the state, as Vault's is.
        if self.open.load().is_some() {
            return self.seal_state(0, "").await;
        }
        if self.is_ending() {
            return Err(AppError::Busy(
                "the server is being sealed: deliveries under way are given until listener.shutdown_deadline to \
                 end; this share was not taken, give it again when `vault operator seal` has returned"
                    .to_owned(),
            ));
        }
        let guard = match &self.unsealing {
            Unsealing::Shares => self.guard().await?,
            Unsealing::Auto(service) => {
                return Err(AppError::invalid(format!(
                    "this store is unsealed by {}, when the server starts; start it again",
                    service.kind()
                )));
            }
            Unsealing::AtStart => {
                return Err(AppError::invalid(
                    "this store is opened by its root key file, when the server starts; start it again",
                ));
            }
        };
        let Some(guard) = guard else {
            return Err(AppError::invalid("server is not yet initialized"));
        };
        let share = share_of(&key, guard.shares)?;
        let (given, count, nonce) = {
            let mut sharing = self.unsealing_shares();
            let given = sharing.give(share, guard.threshold, self.entropy.as_ref());
            (given, sharing.given.len(), sharing.nonce.clone())
        };
        let Given::All(shares) = given else { return self.seal_state(count, &nonce).await };
        let _turn = self.rites.lock().await;
        // Somebody may have been quicker.
        if self.open.load().is_none() {
            self.open_by(&guard, &shares).await?;
        }
        self.seal_state(0, "").await
    }

    /// Unseals with all shares at once: for who has just made them.
    ///
    /// # Errors
    /// When they do not make the key of the store that is there.
    pub async fn unseal_by(&self, shares: &[SecretBytes]) -> Result<(), AppError> {
        let _turn = self.rites.lock().await;
        let guard = self.guard().await?.ok_or_else(|| AppError::invalid("server is not yet initialized"))?;
        self.open_by(&guard, shares).await
    }

    async fn open_by(&self, guard: &Guard, shares: &[SecretBytes]) -> Result<(), AppError> {
        let root = ShareKey::combine(shares).and_then(|key| guard.root_by(&key));
        let root = root.ok_or_else(|| {
            AppError::invalid(
                "unseal failed: the shares given do not make the key; begin again with the first",
            )
        })?;
        let store = self.store_by(&root).await?;
        self.open_store(store).await
    }

    /// `sys/seal`. The caller was found allowed.
    pub(super) async fn seal(&self, request: &Request) -> Result<Reply, AppError> {
        write_only(request)?;
        let _turn = self.rites.lock().await;
        self.end().await;
        tracing::info!("sealed");
        Ok(Reply::empty())
    }

    pub(super) async fn store_by(&self, root: &RootKey) -> Result<Store, AppError> {
        let store = Store::open(Arc::clone(&self.backend), root, Arc::clone(&self.entropy)).await?;
        store.ok_or_else(|| AppError::Internal("the store has gone".to_owned()))
    }

    /// Serves an opened store.
    pub(super) async fn open_store(&self, store: Store) -> Result<(), AppError> {
        let opened = self.opener.open(store).await.map_err(AppError::Internal)?;
        self.serve(opened);
        tracing::info!("unsealed");
        Ok(())
    }

    /// Opens the store if a service keeps its root key and there is a store. While the service cannot be
    /// reached, the server stays sealed and goes on trying.
    pub async fn unseal_by_itself(self: &Arc<Self>) {
        let Unsealing::Auto(service) = &self.unsealing else { return };
        let (core, service) = (Arc::clone(self), Arc::clone(service));
        if core.try_service(service.as_ref()).await {
            return;
        }
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let mut wait = RETRY;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                if core.try_service(service.as_ref()).await {
                    return;
                }
                wait = RETRY_CAP.min(wait * 2);
            }
        });
    }

    /// Whether there is nothing left to try.
    async fn try_service(&self, service: &dyn store::AutoUnseal) -> bool {
        let _turn = self.rites.lock().await;
        if self.open.load().is_some() {
            return true;
        }
        let outcome = async {
            let Some(Guard { kind, root, .. }) = self.guard().await.map_err(|fault| fault.to_string())?
            else {
                return Ok(());
            };
            if kind != service.kind() {
                return Err(format!(
                    "this store was made to be unsealed by {kind}, not {}: correct seal.type",
                    service.kind()
                ));
            }
            let root = service.unwrap(&root).await?;
            let store = self.store_by(&root).await.map_err(|fault| fault.to_string())?;
            self.open_store(store).await.map_err(|fault| fault.to_string())
        };
        match outcome.await {
            Ok(()) => {
                self.unseal_trouble.store(None);
                true
            }
            Err(why) => {
                self.unseal_trouble.store(Some(Arc::new(why.clone())));
                tracing::error!(seal = service.kind(), why, "the store is not unsealed; it is tried again");
                false
            }
        }
    }
}
