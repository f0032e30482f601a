//! Credentials that destinations share (GitHub apps): making, changing and removing them.
//!
//! A destination names one in its settings. Changing the credential counts as changing the settings of all
//! that name it, so that they are opened again and what failed because of it is tried again.

use destinations::{Config, FieldFault, Shared};
use model::{DestinationKey, json::SecretJson};
use store::{
    RecordKey, StoreError, Stored,
    records::{Cause, Destination, SharedCredential},
};

use crate::{Engine, manage::config_of, registry::shared_config};

/// Why a shared credential cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// A setting of it cannot be accepted.
    #[error(transparent)]
    Field(#[from] FieldFault),
    /// Destinations name it.
    #[error("the {title} is used by the destination {by}; change or delete that first")]
    InUse {
        /// What it is called.
        title: &'static str,
        /// One of them.
        by: DestinationKey,
    },
    /// One of the destinations that name it would not open with it any more.
    #[error("the destination {by} uses this {title} and would not work with it as given: {fault}")]
    Unfit {
        /// What it is called.
        title: &'static str,
        /// The destination.
        by: DestinationKey,
        /// Why.
        fault: FieldFault,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A shared credential as it may be shown.
#[derive(Debug, Clone)]
pub struct SharedView {
    /// Its name.
    pub name: String,
    /// Its settings, secrets masked, and what can be told of them.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A destination that names a credential.
type User = (RecordKey<Destination>, Stored<Destination>, Config);

impl Engine {
    /// The sorts of shared credential there are.
    pub fn shared_sorts(&self) -> impl Iterator<Item = &'static Shared> {
        self.kinds().iter().filter_map(|kind| kind.shared())
    }

    /// Makes a credential, or replaces its settings; what is secret and left out is kept. The second part
    /// names members of the body that no setting is called by.
    pub async fn write_shared(
        &self,
        shared: &'static Shared,
        name: &str,
        body: &SecretJson,
    ) -> Result<(SharedView, Vec<String>), SharedError> {
        let inner = &self.0;
        let key = inner.store.keys().shared_credential(shared.slug, name);
        loop {
            let before = inner.store.get(&key).await?;
            let previous = before.as_ref().map(|before| shared_config(&before.record)).transpose()?;
            let (config, unknown) = Config::read_shared(shared, body, previous.as_ref())?;
            let view = view(shared, name, &config)?;
            let record = SharedCredential {
                sort: shared.slug.to_owned(),
                name: name.to_owned(),
                created: before.as_ref().map_or_else(|| inner.clock.now(), |before| before.record.created),
                // EXPOSE: settings with a private key go into the sealed record.
                config: config.to_bytes().expose().to_vec(),
            };
            let users = self.users(shared, name).await?;
            let mut transaction = inner.store.transaction();
            transaction.expect(&key, before.as_ref().map(|before| before.revision)).put(&key, &record);
            for (user_key, user, settings) in &users {
                self.fits(shared, &user.record, settings, &config)?;
                let mut next = user.record.clone();
                next.generation += 1;
                transaction.expect(user_key, Some(user.revision)).put(user_key, &next);
            }
            match transaction.commit().await {
                Ok(_) => {}
                Err(StoreError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
            for (_, user, _) in &users {
                self.look_at_all(user.record.id, Cause::Settings).await?;
            }
            return Ok((view, unknown));
        }
    }

    /// One credential.
    pub async fn shared(
        &self,
        shared: &'static Shared,
        name: &str,
    ) -> Result<Option<SharedView>, SharedError> {
        let key = self.0.store.keys().shared_credential(shared.slug, name);
        let Some(stored) = self.0.store.get(&key).await? else { return Ok(None) };
        Ok(Some(view(shared, name, &shared_config(&stored.record)?)?))
    }

    /// The names of all credentials of a sort, sorted.
    pub async fn shared_names(&self, shared: &'static Shared) -> Result<Vec<String>, StoreError> {
        let all = self.0.store.scan_all(&self.0.store.keys().shared_credentials_of(shared.slug)).await?;
        let mut names: Vec<String> = all.into_iter().map(|(_, stored)| stored.record.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Removes a credential that no destination names. Whether there was one.
    pub async fn remove_shared(&self, shared: &'static Shared, name: &str) -> Result<bool, SharedError> {
        let key = self.0.store.keys().shared_credential(shared.slug, name);
        loop {
            let Some(stored) = self.0.store.get(&key).await? else { return Ok(false) };
            if let Some((_, user, _)) = self.users(shared, name).await?.first() {
                return Err(SharedError::InUse { title: shared.title, by: user.record.key.clone() });
            }
            let mut transaction = self.0.store.transaction();
            transaction.expect(&key, Some(stored.revision)).delete(&key);
            match transaction.commit().await {
                Ok(_) => return Ok(true),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The destinations that name a credential.
    async fn users(&self, shared: &'static Shared, name: &str) -> Result<Vec<User>, StoreError> {
        let keys = self.0.store.keys();
        let mut users = Vec::new();
        for kind in self.kinds() {
            if kind.shared().is_none_or(|other| other.slug != shared.slug) {
                continue;
            }
            for (_, stored) in self.0.store.scan_all(&keys.destinations_of(kind.slug())).await? {
                let config = config_of(&stored.record)?;
                if config.text(shared.named_by) == Some(name) {
                    users.push((keys.destination(&stored.record.key), stored, config));
                }
            }
        }
        Ok(users)
    }

    fn fits(
        &self,
        shared: &'static Shared,
        user: &Destination,
        settings: &Config,
        credential: &Config,
    ) -> Result<(), SharedError> {
        let Some(kind) = self.0.registry.kind(&user.key.kind) else { return Ok(()) };
        self.0
            .registry
            .try_open_with(kind, &user.key, settings, shared, credential)
            .map_err(|fault| SharedError::Unfit { title: shared.title, by: user.key.clone(), fault })
    }
}

fn view(shared: &'static Shared, name: &str, config: &Config) -> Result<SharedView, FieldFault> {
    let mut settings = config.shown_shared(shared);
    for (member, text) in (shared.describe)(config)? {
        settings.insert(member.to_owned(), text.into());
    }
    Ok(SharedView { name: name.to_owned(), settings })
}
