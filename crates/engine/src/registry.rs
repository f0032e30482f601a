//! Opened destinations, kept between calls and replaced when their settings change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use destinations::{Config, Destination, FieldFault, Identity, IdentityTokens, Kind, Net, Shared};
use model::{DestinationId, DestinationKey, SecretBytes};
use store::{Cached, RecordKey, Store, StoreError, Stored, records};

use crate::{
    IdentityIssuer,
    options::Options,
    quota::{Account, Accounts},
};

/// A destination ready to be called.
pub(crate) struct Opened {
    /// Its record, as of this opening.
    pub(crate) record: records::Destination,
    /// Its kind.
    pub(crate) kind: &'static dyn Kind,
    /// How the engine treats it.
    pub(crate) options: Options,
    /// Names of its custom tags.
    pub(crate) tag_names: Vec<String>,
    /// The provider account it draws on, if its calls are counted.
    pub(crate) account: Option<Arc<Account>>,
    /// The adapter, or why its settings do not open.
    pub(crate) adapter: Result<Arc<dyn Destination>, FieldFault>,
}

#[derive(Default)]
struct Slot {
    record: Cached<records::Destination>,
    opened: Mutex<Option<Arc<Opened>>>,
}

/// The kinds there are, and what is open.
pub(crate) struct Registry {
    kinds: Vec<&'static dyn Kind>,
    net: Arc<Net>,
    identity: Option<Arc<IdentityIssuer>>,
    slots: Mutex<HashMap<DestinationId, Arc<Slot>>>,
}

impl Registry {
    pub(crate) fn new(
        kinds: Vec<&'static dyn Kind>,
        net: Arc<Net>,
        identity: Option<Arc<IdentityIssuer>>,
    ) -> Self {
        Self { kinds, net, identity, slots: Mutex::default() }
    }

    pub(crate) fn identity(&self) -> Option<&IdentityIssuer> {
        self.identity.as_deref()
    }

    /// The way out for the destination of this name.
    fn net(&self, key: &DestinationKey) -> Arc<Net> {
        match &self.identity {
            Some(issuer) => {
                let tokens: Arc<dyn IdentityTokens> = issuer.clone();
                self.net.with_identity(Identity::new(tokens, &key.kind, key.name.as_str()))
            }
            None => Arc::clone(&self.net),
        }
    }

    pub(crate) fn kinds(&self) -> &[&'static dyn Kind] {
        &self.kinds
    }

    pub(crate) fn kind(&self, slug: &str) -> Option<&'static dyn Kind> {
        self.kinds.iter().find(|kind| kind.slug() == slug).copied()
    }

    /// Checks settings by opening them once.
    pub(crate) fn try_open(
        &self,
        kind: &'static dyn Kind,
        key: &DestinationKey,
        config: &Config,
    ) -> Result<Options, FieldFault> {
        let options = Options::read(kind, config)?;
        kind.open(config, &self.net(key))?;
        Ok(options)
    }

    /// Lays the shared credential that settings name, if they do, into them. What was laid in is told, so
    /// that a change can be made to depend on it. One that is not there is left for [`Kind::open`] to refuse.
    pub(crate) async fn lay_in_shared(
        &self,
        store: &Store,
        kind: &'static dyn Kind,
        config: &mut Config,
    ) -> Result<Option<(RecordKey<records::SharedCredential>, Stored<records::SharedCredential>)>, StoreError>
    {
        let Some(shared) = kind.shared() else { return Ok(None) };
        let Some(name) = config.text(shared.named_by) else { return Ok(None) };
        let key = store.keys().shared_credential(shared.slug, name);
        let Some(stored) = store.get(&key).await? else { return Ok(None) };
        config.lay_in(shared, &shared_config(&stored.record)?);
        Ok(Some((key, stored)))
    }

    /// The destination of this name and identity, opened. `None` when it is not there any more.
    pub(crate) async fn get(
        &self,
        store: &Store,
        id: DestinationId,
        key: &DestinationKey,
        accounts: &Accounts,
    ) -> Result<Option<Arc<Opened>>, StoreError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(id).or_default())
        };
        let stored = store.get_cached(&store.keys().destination(key), &slot.record).await?;
        let Some(stored) = stored.filter(|stored| stored.record.id == id) else {
            self.forget(id);
            return Ok(None);
        };
        {
            let opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = opened.as_ref()
                && open.record == stored.record
            {
                return Ok(Some(Arc::clone(open)));
            }
        }
        let corrupt = |what| StoreError::Corrupt { tag: <records::Destination as store::Record>::TAG, what };
        let kind = self.kind(&key.kind).ok_or(corrupt("its type is one this version does not have"))?;
        let mut config = Config::from_bytes(&SecretBytes::from(stored.record.config.as_slice()))
            .map_err(|_| corrupt("its settings do not parse"))?;
        let options = Options::read(kind, &config).map_err(|_| corrupt("its settings are not valid"))?;
        // A change of the credential is a change of the generation of all that name it.
        self.lay_in_shared(store, kind, &mut config).await?;
        let mut opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
        // Only other settings make another adapter: what it has cached (tokens, keys, connections)
        // outlives a change of the record that is none of its business.
        let adapter = match opened.as_ref() {
            Some(open) if open.record.generation == stored.record.generation => open.adapter.clone(),
            _ => kind.open(&config, &self.net(key)),
        };
        let tag_names = options.tags.keys().cloned().collect();
        let account = accounts.of(store.keys(), kind, &config, id);
        let fresh =
            Arc::new(Opened { record: stored.record.clone(), kind, options, tag_names, account, adapter });
        *opened = Some(Arc::clone(&fresh));
        Ok(Some(fresh))
    }

    /// Opens settings again as they would be with another shared credential, to see whether they would.
    pub(crate) fn try_open_with(
        &self,
        kind: &'static dyn Kind,
        key: &DestinationKey,
        config: &Config,
        shared: &Shared,
        credential: &Config,
    ) -> Result<(), FieldFault> {
        let mut config = config.clone();
        config.lay_in(shared, credential);
        kind.open(&config, &self.net(key)).map(drop)
    }

    pub(crate) fn forget(&self, id: DestinationId) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// The settings of a stored credential.
pub(crate) fn shared_config(record: &records::SharedCredential) -> Result<Config, StoreError> {
    Config::from_bytes(&SecretBytes::from(record.config.as_slice())).map_err(|_| StoreError::Corrupt {
        tag: <records::SharedCredential as store::Record>::TAG,
        what: "its settings do not parse",
    })
}
