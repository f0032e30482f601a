//! Destinations: making, changing, emptying and removing them, and switching sync off and on.

use std::sync::Arc;

use destinations::{Config, FieldFault, Kind, Mode};
use model::{DestinationId, DestinationKey, MountAccessor, SecretBytes, Timestamp, json::SecretJson};
use store::{
    Keys, Node, Revision, StoreError,
    records::{Association, Cause, Destination, Outbox, Purge, SyncConfig},
};

use crate::{
    Backlog, Engine, engine::Inner, lanes::Urgency, options::Options, record::Forget, registry::Opened,
};

/// Why a destination cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// There is no such sort of destination.
    #[error("unsupported destination type {given}; there are {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        given: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// There is no such destination.
    #[error("no destination of type {} is named {}", .0.kind, .0.name)]
    NoDestination(DestinationKey),
    /// A setting cannot be accepted.
    #[error(transparent)]
    Field(#[from] FieldFault),
    /// A setting that says where secrets are cannot change while some are there.
    #[error(
        "{field}: cannot change while secrets are associated with this destination, since what was written would be orphaned; remove the associations or make another destination"
    )]
    Immutable {
        /// The setting.
        field: String,
    },
    /// It is being emptied.
    #[error("purge in progress: destination {0} is being emptied and takes no changes until that has ended")]
    PurgeInProgress(DestinationKey),
    /// Secrets are still associated.
    #[error(
        "destination {0} still manages associations; remove them first, or delete it with purge=true to remove what was written, or with force_delete=true to leave it behind"
    )]
    InUse(DestinationKey),
    /// Nothing is sent out now.
    #[error(
        "syncing is disabled in sys/sync/config; enable it before purging a destination (after a restore: confirm it with sys/sync/restore-plan/confirm)"
    )]
    Disabled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A destination as it may be shown.
#[derive(Debug, Clone)]
pub struct DestinationView {
    /// Type and name.
    pub key: DestinationKey,
    /// Its settings, secrets masked, by field name.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The granularity in force.
    pub granularity: model::Granularity,
    /// The name template in force.
    pub template: String,
    /// A purge under way or failed.
    pub purge: Option<Purge>,
    /// Removals are held since then.
    pub mass_delete_held: Option<Timestamp>,
    /// What waits for it.
    pub backlog: Backlog,
}

/// How a destination is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Only if nothing is associated.
    Plain,
    /// After everything it holds of ours has been removed, in the background.
    Purge,
    /// At once, leaving what it holds behind.
    Force,
}

impl Engine {
    /// Makes a destination, or replaces or merges its settings. The second part names members of the
    /// body that no setting is called by.
    pub async fn write_destination(
        &self,
        key: &DestinationKey,
        body: &SecretJson,
        mode: Mode,
    ) -> Result<(DestinationView, Vec<String>), DestinationError> {
        let kind = self.known_kind(key)?;
        let inner = &self.0;
        let record_key = inner.store.keys().destination(key);
        loop {
            let before = inner.store.get(&record_key).await?;
            if before.is_none() && mode == Mode::Merge {
                return Err(DestinationError::NoDestination(key.clone()));
            }
            if let Some(before) = &before
                && before.record.purge.as_ref().is_some_and(|purge| purge.error.is_none())
            {
                return Err(DestinationError::PurgeInProgress(key.clone()));
            }
            let previous = before.as_ref().map(|before| config_of(&before.record)).transpose()?;
            let (config, unknown) = Config::read(kind, body, mode, previous.as_ref())?;
            let mut whole = config.clone();
            let shared = inner.registry.lay_in_shared(&inner.store, kind, &mut whole).await?;
            let options = inner.registry.try_open(kind, key, &whole)?;
            if let (Some(before), Some(previous)) = (&before, &previous) {
                self.refuse_immutable(kind, &before.record, previous, &config).await?;
            }
            let record = Destination {
                id: before
                    .as_ref()
                    .map_or_else(|| DestinationId::random(inner.entropy.as_ref()), |before| before.record.id),
                key: key.clone(),
                created: before.as_ref().map_or_else(|| inner.clock.now(), |before| before.record.created),
                generation: before.as_ref().map_or(1, |before| before.record.generation + 1),
                // EXPOSE: settings with credentials go into the sealed record.
                config: config.to_bytes().expose().to_vec(),
                purge: before.as_ref().and_then(|before| before.record.purge.clone()),
                mass_delete_held: before.as_ref().and_then(|before| before.record.mass_delete_held),
                mass_delete_confirmed: before.as_ref().and_then(|b| b.record.mass_delete_confirmed),
            };
            let mut transaction = inner.store.transaction();
            transaction.expect(&record_key, before.as_ref().map(|before| before.revision));
            transaction.put(&record_key, &record);
            if let Some((key, credential)) = &shared {
                // Written as it is, so that nobody removes it at the same moment.
                transaction.expect(key, Some(credential.revision)).put(key, &credential.record);
            }
            match transaction.commit().await {
                Ok(_) => {}
                Err(StoreError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
            if before.is_some() {
                self.look_at_all(record.id, Cause::Settings).await?;
            }
            let paused = inner.disabled().await?;
            return Ok((self.view(kind, &record, &config, &options, paused).await?, unknown));
        }
    }

    /// A setting that says where the secrets are may not change while there are some (decisions 10).
    async fn refuse_immutable(
        &self,
        kind: &dyn Kind,
        record: &Destination,
        previous: &Config,
        next: &Config,
    ) -> Result<(), DestinationError> {
        let changed = previous.changed_fields(next);
        let moved = kind.fields().iter().find(|field| field.immutable && changed.contains(&field.name));
        match moved {
            Some(field) if self.0.has_associations(record.id).await? => {
                Err(DestinationError::Immutable { field: field.name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// One destination.
    pub async fn destination(
        &self,
        key: &DestinationKey,
    ) -> Result<Option<DestinationView>, DestinationError> {
        let kind = self.known_kind(key)?;
        let Some(stored) = self.0.store.get(&self.0.store.keys().destination(key)).await? else {
            return Ok(None);
        };
        let config = config_of(&stored.record)?;
        let options = Options::read(kind, &config)?;
        let paused = self.0.disabled().await?;
        Ok(Some(self.view(kind, &stored.record, &config, &options, paused).await?))
    }

    /// The names of all destinations, by type, sorted.
    pub async fn destinations(&self) -> Result<std::collections::BTreeMap<String, Vec<String>>, StoreError> {
        let mut all = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (_, stored) in self.0.store.scan_all_sound(&self.0.store.keys().destinations()).await?.0 {
            let key = &stored.record.key;
            all.entry(key.kind.clone()).or_default().push(key.name.as_str().to_owned());
        }
        all.values_mut().for_each(|names| names.sort());
        Ok(all)
    }

    /// Removes a destination; removing what is not there succeeds.
    pub async fn remove_destination(
        &self,
        key: &DestinationKey,
        how: Removal,
    ) -> Result<(), DestinationError> {
        self.known_kind(key)?;
        let inner = &self.0;
        let record_key = inner.store.keys().destination(key);
        let Some(stored) = inner.store.get(&record_key).await? else {
            return Ok(());
        };
        let id = stored.record.id;
        match how {
            Removal::Plain => loop {
                let Some(stored) = inner.store.get(&record_key).await?.filter(|s| s.record.id == id) else {
                    return Ok(());
                };
                if inner.has_associations(id).await? || inner.has_rules(id).await? {
                    return Err(DestinationError::InUse(key.clone()));
                }
                match inner.drop_destination(key, id, Some(stored.revision)).await {
                    Err(StoreError::Conflict) => {}
                    done => return done.map_err(Into::into),
                }
            },
            Removal::Force => {
                inner.drop_destination(key, id, None).await?;
                inner.drop_rules(id).await?;
                for node in self.nodes_of(id).await? {
                    inner.forget_association(id, node, Forget::Whatever).await?;
                }
                Ok(())
            }
            Removal::Purge => {
                if inner.disabled().await? {
                    return Err(DestinationError::Disabled);
                }
                let purge = Purge { initiated: inner.clock.now(), error: None };
                inner.edit_destination(key, |record| record.purge = Some(purge.clone())).await?;
                inner.purge(key, id).await.map_err(Into::into)
            }
        }
    }

    /// Lets held removals go ahead (decisions 8).
    pub async fn confirm_deletes(&self, key: &DestinationKey) -> Result<DestinationView, DestinationError> {
        let now = self.0.clock.now();
        let record = self
            .0
            .edit_destination(key, |record| {
                record.mass_delete_held = None;
                record.mass_delete_confirmed = Some(now);
            })
            .await?
            .ok_or_else(|| DestinationError::NoDestination(key.clone()))?;
        self.look_at_all(record.id, Cause::Settings).await?;
        self.destination(key).await?.ok_or_else(|| DestinationError::NoDestination(key.clone()))
    }

    /// `sys/sync/config`.
    pub async fn sync_config(&self) -> Result<SyncConfig, StoreError> {
        let inner = &self.0;
        let stored = inner.store.get_cached(&inner.store.keys().sync_config(), &inner.sync_config).await?;
        Ok(stored.map(|stored| stored.record.clone()).unwrap_or_default())
    }

    /// Changes `sys/sync/config`. Switching on takes up everything that has queued.
    pub async fn set_sync_config(&self, config: &SyncConfig) -> Result<(), StoreError> {
        let key = self.0.store.keys().sync_config();
        let mut transaction = self.0.store.transaction();
        transaction.put(&key, config);
        transaction.commit().await?;
        if !config.disabled {
            self.0.resume(false).await?;
        }
        Ok(())
    }

    /// A mount is gone: its associations are looked at, so that they say so.
    pub async fn mount_gone(&self, accessor: &MountAccessor) -> Result<(), StoreError> {
        let all = self.0.store.scan_all(&self.0.store.keys().associations()).await?;
        let its = all.iter().filter(|(_, association)| association.record.accessor == *accessor);
        let places: Vec<_> = its.filter_map(|(key, _)| Keys::parts_of_association(key.as_bytes())).collect();
        self.look_at(&places, Cause::Settings).await
    }

    /// Puts a look at every association of a destination into the outbox, and opens its lane.
    pub(crate) async fn look_at_all(&self, id: DestinationId, cause: Cause) -> Result<(), StoreError> {
        self.0.reopen(id);
        let places: Vec<_> = self.nodes_of(id).await?.into_iter().map(|node| (id, node)).collect();
        self.look_at(&places, cause).await
    }

    async fn look_at(&self, places: &[(DestinationId, Node)], cause: Cause) -> Result<(), StoreError> {
        for some in places.chunks(256) {
            let mut transaction = self.0.store.transaction();
            for (id, node) in some {
                let row = Outbox { at: self.0.clock.now(), due: None, cause };
                transaction.put(&self.0.store.keys().outbox(*id, *node), &row);
            }
            transaction.commit().await?;
            some.iter().for_each(|(id, node)| self.0.offer(*id, *node, Urgency::Backfill));
        }
        Ok(())
    }

    async fn nodes_of(&self, id: DestinationId) -> Result<Vec<Node>, StoreError> {
        let all = self.0.store.scan_all(&self.0.store.keys().associations_of(id)).await?;
        Ok(all
            .iter()
            .filter_map(|(key, _)| Keys::parts_of_association(key.as_bytes()))
            .map(|(_, n)| n)
            .collect())
    }

    fn known_kind(&self, key: &DestinationKey) -> Result<&'static dyn Kind, DestinationError> {
        self.0.registry.kind(&key.kind).ok_or_else(|| DestinationError::UnknownKind {
            given: key.kind.clone(),
            known: self.kinds().iter().map(|kind| kind.slug()).collect(),
        })
    }

    async fn view(
        &self,
        kind: &dyn Kind,
        record: &Destination,
        config: &Config,
        options: &Options,
        paused: bool,
    ) -> Result<DestinationView, StoreError> {
        Ok(DestinationView {
            key: record.key.clone(),
            settings: config.shown(kind),
            granularity: options.granularity,
            template: options.template_text.clone(),
            purge: record.purge.clone(),
            mass_delete_held: record.mass_delete_held,
            backlog: self.0.any_backlog(record.id, paused).await?,
        })
    }
}

impl Inner {
    /// Changes a destination's record, whatever else changes it meanwhile. `None`: it is gone.
    pub(crate) async fn edit_destination(
        &self,
        key: &DestinationKey,
        edit: impl Fn(&mut Destination),
    ) -> Result<Option<Destination>, StoreError> {
        let record_key = self.store.keys().destination(key);
        loop {
            let Some(stored) = self.store.get(&record_key).await? else { return Ok(None) };
            let mut record = stored.record.clone();
            edit(&mut record);
            let mut transaction = self.store.transaction();
            transaction.expect(&record_key, Some(stored.revision)).put(&record_key, &record);
            match transaction.commit().await {
                Ok(_) => return Ok(Some(record)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn has_associations(&self, id: DestinationId) -> Result<bool, StoreError> {
        Ok(!self.store.scan(&self.store.keys().associations_of(id), None, 1).await?.is_empty())
    }

    pub(crate) async fn count_associations(&self, id: DestinationId) -> Result<usize, StoreError> {
        Ok(self.store.scan_all(&self.store.keys().associations_of(id)).await?.len())
    }

    pub(crate) async fn drop_destination(
        &self,
        key: &DestinationKey,
        id: DestinationId,
        unchanged: Option<Revision>,
    ) -> Result<(), StoreError> {
        let record_key = self.store.keys().destination(key);
        loop {
            // Another server may have taken it away and made one of the same name.
            let Some(stored) = self.store.get(&record_key).await?.filter(|stored| stored.record.id == id)
            else {
                break;
            };
            if unchanged.is_some_and(|unchanged| unchanged != stored.revision) {
                return Err(StoreError::Conflict);
            }
            let mut transaction = self.store.transaction();
            transaction.expect(&record_key, Some(stored.revision)).delete(&record_key);
            match transaction.commit().await {
                Ok(_) => break,
                Err(StoreError::Conflict) if unchanged.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        self.registry.forget(id);
        self.lanes().forget(id);
        Ok(())
    }

    /// Asks for an association to be taken away.
    pub(crate) async fn mark_removing(&self, id: DestinationId, node: Node) -> Result<(), StoreError> {
        let keys = self.store.keys();
        let key = keys.association(id, node);
        loop {
            let Some(stored) = self.store.get(&key).await? else { return Ok(()) };
            let mut transaction = self.store.transaction();
            let next = Association { removing: true, attempts: 0, ..stored.record };
            transaction.expect(&key, Some(stored.revision)).put(&key, &next);
            let row = Outbox { at: self.clock.now(), due: None, cause: Cause::Remove };
            transaction.put(&keys.outbox(id, node), &row);
            match transaction.commit().await {
                Err(StoreError::Conflict) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Takes everything of a destination away that is not on its way out yet, and the destination once
    /// nothing is left.
    async fn purge(self: &Arc<Self>, key: &DestinationKey, id: DestinationId) -> Result<(), StoreError> {
        // No secret that is written from now on joins it any more.
        self.drop_rules(id).await?;
        for (key, association) in self.store.scan_all(&self.store.keys().associations_of(id)).await? {
            let Some((_, node)) = Keys::parts_of_association(key.as_bytes()) else { continue };
            if !association.record.removing || association.record.has_failed() {
                self.mark_removing(id, node).await?;
                self.offer(id, node, Urgency::Backfill);
            }
        }
        if !self.has_associations(id).await? {
            self.drop_destination(key, id, None).await?;
        }
        Ok(())
    }

    /// Goes on with purges that ended with the process that began them.
    pub(crate) async fn resume_purges(self: &Arc<Self>) -> Result<(), StoreError> {
        for (_, stored) in self.store.scan_all(&self.store.keys().destinations()).await? {
            let Destination { id, key, purge, .. } = &stored.record;
            if purge.as_ref().is_some_and(|purge| purge.error.is_none()) && self.cluster.owns(*id) {
                self.resume_purge(key, *id).await?;
            }
        }
        Ok(())
    }

    async fn resume_purge(
        self: &Arc<Self>,
        key: &DestinationKey,
        id: DestinationId,
    ) -> Result<(), StoreError> {
        let all = self.store.scan_all(&self.store.keys().associations_of(id)).await?;
        // What is being removed already has its row, or waits for its next attempt.
        if all.is_empty() || all.iter().any(|(_, association)| !association.record.removing) {
            self.purge(key, id).await?;
        }
        Ok(())
    }

    /// After an association of a destination that is being purged is gone, or would not go.
    pub(crate) async fn after_removal(
        self: &Arc<Self>,
        opened: &Opened,
        failed: Option<String>,
    ) -> Result<(), StoreError> {
        let key = &opened.record.key;
        let Some(stored) = self.store.get(&self.store.keys().destination(key)).await? else { return Ok(()) };
        if stored.record.id != opened.record.id || stored.record.purge.is_none() {
            return Ok(());
        }
        if let Some(code) = failed {
            let error = format!(
                "an association could not be removed: {code}; see the associations of this destination"
            );
            self.edit_destination(key, |record| {
                if let Some(purge) = &mut record.purge {
                    purge.error = Some(error.clone());
                }
            })
            .await?;
        } else if !self.has_associations(opened.record.id).await? {
            self.drop_destination(key, opened.record.id, None).await?;
        }
        Ok(())
    }
}

pub(crate) fn config_of(record: &Destination) -> Result<Config, StoreError> {
    Config::from_bytes(&SecretBytes::from(record.config.as_slice())).map_err(|_| StoreError::Corrupt {
        tag: <Destination as store::Record>::TAG,
        what: "its settings do not parse",
    })
}
