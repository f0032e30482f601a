//! Associating secrets with destinations, and telling how they fare.

use std::time::Duration;

use model::{
    DestinationId, DestinationKey, MountAccessor, MountPath, RemoteName, SecretPath, SyncStatus, Timestamp,
};
use store::{
    Keys, Node, StoreError, Stored,
    records::{Association, Cause, Failure, Grantor, LedgerEntry, Links, NameClaim, Outbox, Outcome},
};

use crate::{
    Engine,
    lanes::Urgency,
    plan,
    registry::Opened,
    rules::new_association,
    source::{SourceState, SourceVersion},
    spread::{self, Target},
    worker::values_of,
};

/// How long a request waits for the real outcome (decisions 5).
pub(crate) const WAIT: Duration = Duration::from_secs(2);

/// A secret to associate.
#[derive(Debug, Clone)]
pub struct SourceRef {
    /// Its mount's identity.
    pub accessor: MountAccessor,
    /// Its mount's path.
    pub mount: MountPath,
    /// Its path below the mount.
    pub path: SecretPath,
    /// Who associates it.
    pub grantor: Option<Grantor>,
}

/// Why an association cannot be made, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum AssociationError {
    /// There is no such destination.
    #[error("no destination of type {} is named {}", .0.kind, .0.name)]
    NoDestination(DestinationKey),
    /// Its destination is being emptied.
    #[error("purge in progress: destination {0} is being emptied and takes no changes until that has ended")]
    PurgeInProgress(DestinationKey),
    /// The secret is not there, or deleted.
    #[error(
        "secret {path} in mount {mount} does not exist or its current version is deleted; only a live secret can be associated"
    )]
    NoSecret {
        /// The mount.
        mount: String,
        /// The path.
        path: SecretPath,
    },
    /// The secret could not be read.
    #[error("the secret could not be read: {0}")]
    Unreadable(String),
    /// Another secret already has the remote name.
    #[error(
        "remote name {name} at destination {destination} is already held by secret {holder}; use another name template or remove that association"
    )]
    NameHeld {
        /// The name.
        name: RemoteName,
        /// The destination.
        destination: DestinationKey,
        /// `mount/path` of the secret that holds it.
        holder: String,
    },
    /// Rules alone associate the secret.
    #[error(
        "secret {path} is associated with {destination} by the rule {pattern}; remove the rule, or set it again with the secret in exclude"
    )]
    RuleMember {
        /// The secret.
        path: SecretPath,
        /// The destination.
        destination: DestinationKey,
        /// The rule.
        pattern: String,
    },
    /// The rule was removed while it was being made.
    #[error("the rule {pattern} was removed by someone else at the same time")]
    NoRule {
        /// The rule.
        pattern: String,
    },
    /// Too much work is waiting.
    #[error(
        "the sync queue holds its {0} pending operations at most; try again later or raise queue_capacity in sys/sync/config"
    )]
    QueueFull(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How one remote entry of an association fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// The destination.
    pub destination: DestinationKey,
    /// The source's mount.
    pub accessor: MountAccessor,
    /// The mount's path, without trailing slash.
    pub mount: String,
    /// The source's path.
    pub path: SecretPath,
    /// The key it holds, with `secret-key` granularity.
    pub sub_key: Option<String>,
    /// Its status.
    pub status: SyncStatus,
    /// When the status last changed.
    pub updated_at: Timestamp,
    /// Its name at the destination, once there is one.
    pub external_name: Option<RemoteName>,
    /// Why it is not as it should be.
    pub failure: Option<Failure>,
    /// Failed attempts at the work now pending.
    pub attempts: u32,
    /// Nobody could look whether the name was free.
    pub unverified: bool,
    /// The rule by which it is associated; `None` when a person associated just this secret.
    pub rule: Option<String>,
}

impl Engine {
    /// Associates a secret with a destination and waits a little for the outcome. An association
    /// that exists is refreshed: what is at the destination is looked at, and mended if need be.
    pub async fn set_association(
        &self,
        key: &DestinationKey,
        source: &SourceRef,
    ) -> Result<Vec<EntryView>, AssociationError> {
        let opened = self.changeable(key).await?;
        let previous = opened.options.previous_on_delete;
        let state = self.0.source.read(&source.accessor, &source.path, previous).await;
        let data = match state {
            SourceState::Present { data, .. } => data,
            SourceState::Absent | SourceState::MountGone => {
                return Err(AssociationError::NoSecret {
                    mount: source.mount.bare().to_owned(),
                    path: source.path.clone(),
                });
            }
            SourceState::Unknown { message } => return Err(AssociationError::Unreadable(message)),
        };
        self.check_capacity().await?;
        let node = self.node(&source.accessor, &source.path);
        let id = opened.record.id;
        let done = self.0.outcome(id, node);
        while let Err(error) = self.try_set(&opened, source, node, &data).await {
            match error {
                AssociationError::Store(StoreError::Conflict) => {}
                error => return Err(error),
            }
        }
        self.0.offer(id, node, Urgency::Asked);
        done.await;
        let association = self.0.store.get(&self.0.store.keys().association(id, node)).await?;
        match association {
            Some(association) => self.views(id, node, &association).await.map_err(Into::into),
            None => Ok(Vec::new()),
        }
    }

    async fn try_set(
        &self,
        opened: &Opened,
        source: &SourceRef,
        node: Node,
        data: &model::SecretBytes,
    ) -> Result<(), AssociationError> {
        let inner = &self.0;
        let keys = inner.store.keys();
        let id = opened.record.id;
        let now = inner.clock.now();
        let key = keys.association(id, node);
        let destination_key = keys.destination(&opened.record.key);
        let known = inner.store.get(&key).await?;
        let links_key = keys.links(node);
        let links = inner.store.get(&links_key).await?;
        let mut transaction = inner.store.transaction();
        transaction.expect_present(&destination_key);
        transaction.expect(&key, known.as_ref().map(|known| known.revision));
        let mut association =
            known.map_or_else(|| self.fresh_association(opened, source, node, now), |k| k.record);
        // Set after remove: the wish to remove is withdrawn.
        association.removing = false;
        association.single = true;
        association.grantor.clone_from(&source.grantor);
        association.attempts = 0;
        // The mount may have been moved.
        source.mount.bare().clone_into(&mut association.mount);
        let values = values_of(&association);
        let names = &opened.kind.abilities().names;
        let targets = spread::spread(opened.kind, &opened.options, &values, data).unwrap_or_default();
        let mut claimed = Vec::new();
        for target in &targets {
            let Target::Entry(desired) = target else { continue };
            let identity = names.identity(&desired.name);
            if association.entries.iter().any(|entry| names.identity(&entry.name) == identity) {
                continue;
            }
            let claim_key = keys.name_claim(id, &identity);
            let claim = inner.store.get(&claim_key).await?;
            if let Some(held) = claim.as_ref().filter(|claim| claim.record.source != node) {
                return Err(AssociationError::NameHeld {
                    name: desired.name.clone(),
                    destination: opened.record.key.clone(),
                    holder: self.holder(id, held.record.source).await?,
                });
            }
            transaction.expect(&claim_key, claim.map(|claim| claim.revision));
            transaction.put(
                &claim_key,
                &NameClaim { source: node, sub_key: desired.sub_key.clone(), name: desired.name.clone() },
            );
            claimed.push(plan::unwritten(desired, opened.options.granularity, now));
        }
        association.entries.extend(claimed);
        transaction.put(&key, &association);
        transaction.put(&keys.outbox(id, node), &Outbox { at: now, due: None, cause: Cause::Set });
        transaction.expect(&links_key, links.as_ref().map(|links| links.revision));
        let mut destinations = links.map(|links| links.record.destinations).unwrap_or_default();
        if !destinations.contains(&id) {
            destinations.push(id);
        }
        transaction.put(&links_key, &Links { destinations });
        transaction.commit().await?;
        Ok(())
    }

    fn fresh_association(
        &self,
        opened: &Opened,
        source: &SourceRef,
        node: Node,
        now: Timestamp,
    ) -> Association {
        Association {
            mount: source.mount.bare().to_owned(),
            generation: opened.record.generation,
            single: true,
            ..new_association(
                self.0.store.keys(),
                &opened.record.key,
                &source.accessor,
                &source.path,
                node,
                now,
            )
        }
    }

    /// `mount/path` of the source that holds a name.
    async fn holder(&self, id: DestinationId, source: Node) -> Result<String, StoreError> {
        let association = self.0.store.get(&self.0.store.keys().association(id, source)).await?;
        Ok(association.map_or_else(
            || "that was just removed".to_owned(),
            |association| format!("{}/{}", association.record.mount, association.record.path),
        ))
    }

    /// Removes an association and what it wrote, and waits a little for that. Removing what is not
    /// there succeeds. The mount is named by its present accessor, or, once it is gone, by the path
    /// it had. What is returned is the removed entries, or, when the destination would not give
    /// them up, the entries with the reason.
    pub async fn remove_association(
        &self,
        key: &DestinationKey,
        accessor: Option<&MountAccessor>,
        mount: &str,
        path: &SecretPath,
    ) -> Result<Vec<EntryView>, AssociationError> {
        let opened = self.changeable(key).await?;
        let id = opened.record.id;
        let Some(node) = self.find_association(id, accessor, mount, path).await? else {
            return Ok(Vec::new());
        };
        let association_key = self.0.store.keys().association(id, node);
        let before = loop {
            let Some(before) = self.0.store.get(&association_key).await? else { return Ok(Vec::new()) };
            let association = &before.record;
            let rule = self.rule_about(id, &association.accessor, &association.path).await?;
            match rule {
                None => break before,
                Some(pattern) if !association.single => {
                    let (path, destination) = (path.clone(), key.clone());
                    return Err(AssociationError::RuleMember { path, destination, pattern });
                }
                // It stays, as the rule's, as long as there is something to deliver.
                Some(_) => {
                    let done = self.0.outcome(id, node);
                    let mut transaction = self.0.store.transaction();
                    let next = Association { single: false, ..association.clone() };
                    transaction.expect(&association_key, Some(before.revision)).put(&association_key, &next);
                    let idle = association.entries.is_empty();
                    if idle {
                        let row = Outbox { at: self.0.clock.now(), due: None, cause: Cause::Settings };
                        transaction.put(&self.0.store.keys().outbox(id, node), &row);
                    }
                    match transaction.commit().await {
                        Ok(_) if idle => {
                            self.0.offer(id, node, Urgency::Asked);
                            done.await;
                            return match self.0.store.get(&association_key).await? {
                                Some(left) => Ok(self.views(id, node, &left).await?),
                                None => Ok(self.removed_views(&before.record)),
                            };
                        }
                        Ok(revision) => {
                            return Ok(self.views(id, node, &Stored { record: next, revision }).await?);
                        }
                        Err(StoreError::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        };
        let done = self.0.outcome(id, node);
        self.0.mark_removing(id, node).await?;
        self.0.offer(id, node, Urgency::Asked);
        done.await;
        match self.0.store.get(&association_key).await? {
            Some(left) => Ok(self.views(id, node, &left).await?),
            None => Ok(self.removed_views(&before.record)),
        }
    }

    /// Every entry of an association that is gone, as unsynced.
    fn removed_views(&self, association: &Association) -> Vec<EntryView> {
        let now = self.0.clock.now();
        let entries: Vec<Option<&LedgerEntry>> = match association.entries.as_slice() {
            [] => vec![None],
            entries => entries.iter().map(Some).collect(),
        };
        entries
            .into_iter()
            .map(|entry| EntryView {
                status: SyncStatus::Unsynced,
                updated_at: now,
                sub_key: entry.and_then(|entry| entry.sub_key.clone()),
                external_name: entry.and_then(shown_name),
                ..blank_view(association)
            })
            .collect()
    }

    /// All associations of a destination. `None`: there is no such destination.
    pub async fn associations(&self, key: &DestinationKey) -> Result<Option<Vec<EntryView>>, StoreError> {
        let Some(record) = self.0.store.get(&self.0.store.keys().destination(key)).await? else {
            return Ok(None);
        };
        let prefix = self.0.store.keys().associations_of(record.record.id);
        let mut views = Vec::new();
        for (key, association) in self.0.store.scan_all_sound(&prefix).await?.0 {
            let Some((id, node)) = Keys::parts_of_association(key.as_bytes()) else { continue };
            views.extend(self.views(id, node, &association).await?);
        }
        Ok(Some(views))
    }

    /// The associations of one secret, over all destinations.
    pub async fn associations_of_secret(
        &self,
        accessor: &MountAccessor,
        path: &SecretPath,
    ) -> Result<Vec<EntryView>, StoreError> {
        let node = self.node(accessor, path);
        let links = self.0.store.get(&self.0.store.keys().links(node)).await?;
        let mut views = Vec::new();
        for id in links.map(|links| links.record.destinations).unwrap_or_default() {
            if let Some(association) = self.0.store.get(&self.0.store.keys().association(id, node)).await? {
                views.extend(self.views(id, node, &association).await?);
            }
        }
        Ok(views)
    }

    /// Every associated secret with the number of its destinations, as (mount, path, count).
    pub async fn associated_secrets(&self) -> Result<Vec<(String, SecretPath, usize)>, StoreError> {
        let mut secrets = std::collections::BTreeMap::new();
        for (key, association) in self.0.store.scan_all(&self.0.store.keys().associations()).await? {
            let Some((_, node)) = Keys::parts_of_association(key.as_bytes()) else { continue };
            let association = association.record;
            secrets.entry(node).or_insert_with(|| (association.mount, association.path, 0)).2 += 1;
        }
        let mut list: Vec<_> = secrets.into_values().collect();
        list.sort();
        Ok(list)
    }

    /// How an association fares: its record, and whether something about it is waiting.
    async fn views(
        &self,
        id: DestinationId,
        node: Node,
        stored: &Stored<Association>,
    ) -> Result<Vec<EntryView>, StoreError> {
        let association = &stored.record;
        let rule = if association.single {
            None
        } else {
            self.rule_about(id, &association.accessor, &association.path).await?
        };
        let row = self.0.store.get(&self.0.store.keys().outbox(id, node)).await?;
        let waiting = row.filter(|row| row.record.due.is_none());
        let in_progress = match waiting {
            None => None,
            Some(row) => Some((self.progress(association).await?, row.record.at)),
        };
        let entry_view = |entry: Option<&LedgerEntry>| {
            let failure = match &association.outcome {
                Outcome::Unknown(failure) | Outcome::Failed(failure) => Some(failure),
                _ => entry.and_then(|entry| entry.failure.as_ref()),
            };
            let (status, updated_at) = match (in_progress, &association.outcome, entry) {
                (Some(progress), ..) => progress,
                (None, Outcome::Unknown(_), _) => (SyncStatus::Unknown, association.outcome_at),
                (None, Outcome::Failed(failure), _) => {
                    (SyncStatus::of_blame(failure.blame), association.outcome_at)
                }
                (None, _, Some(entry)) => (entry_status(entry), entry.changed),
                (None, Outcome::Synced, None) => (SyncStatus::Synced, association.outcome_at),
                (None, Outcome::Unsynced, None) => (SyncStatus::Unsynced, association.outcome_at),
                (None, Outcome::New, None) => (SyncStatus::Unknown, association.outcome_at),
            };
            EntryView {
                status,
                updated_at,
                sub_key: entry.and_then(|entry| entry.sub_key.clone()),
                external_name: entry.and_then(shown_name),
                failure: failure.filter(|_| in_progress.is_none()).cloned(),
                attempts: association.attempts,
                unverified: entry.is_some_and(|entry| entry.unverified),
                rule: rule.clone(),
                ..blank_view(association)
            }
        };
        Ok(match association.entries.as_slice() {
            [] => vec![entry_view(None)],
            entries => entries.iter().map(|entry| entry_view(Some(entry))).collect(),
        })
    }

    /// The word for work that is due or under way.
    async fn progress(&self, association: &Association) -> Result<SyncStatus, StoreError> {
        if association.removing {
            return Ok(SyncStatus::Unsyncing);
        }
        if self.0.disabled().await? {
            return Ok(SyncStatus::Pending);
        }
        let version = self.0.source.version(&association.accessor, &association.path, false).await;
        Ok(if version == SourceVersion::Absent { SyncStatus::Unsyncing } else { SyncStatus::Syncing })
    }

    /// The identity of a source.
    pub fn node(&self, accessor: &MountAccessor, path: &SecretPath) -> Node {
        self.0.node(accessor, path)
    }

    /// The association of a secret named by its mount's accessor, or by the path a gone mount had.
    async fn find_association(
        &self,
        id: DestinationId,
        accessor: Option<&MountAccessor>,
        mount: &str,
        path: &SecretPath,
    ) -> Result<Option<Node>, StoreError> {
        let keys = self.0.store.keys();
        if let Some(accessor) = accessor {
            let node = self.node(accessor, path);
            if self.0.store.get(&keys.association(id, node)).await?.is_some() {
                return Ok(Some(node));
            }
        }
        let mount = mount.trim_matches('/');
        let all = self.0.store.scan_all(&keys.associations_of(id)).await?;
        Ok(all
            .iter()
            .find(|(_, association)| association.record.mount == mount && association.record.path == *path)
            .and_then(|(key, _)| Keys::parts_of_association(key.as_bytes()))
            .map(|(_, node)| node))
    }

    /// The destination, if it is there and takes changes.
    pub(crate) async fn changeable(
        &self,
        key: &DestinationKey,
    ) -> Result<std::sync::Arc<Opened>, AssociationError> {
        let missing = || AssociationError::NoDestination(key.clone());
        let record = self.0.store.get(&self.0.store.keys().destination(key)).await?.ok_or_else(missing)?;
        let opened = self
            .0
            .registry
            .get(&self.0.store, record.record.id, key, &self.0.accounts)
            .await?
            .ok_or_else(missing)?;
        match &opened.record.purge {
            Some(purge) if purge.error.is_none() => Err(AssociationError::PurgeInProgress(key.clone())),
            _ => Ok(opened),
        }
    }

    pub(crate) async fn check_capacity(&self) -> Result<(), AssociationError> {
        let capacity = self.sync_config().await?.queue_capacity;
        if self.0.pending() >= capacity {
            return Err(AssociationError::QueueFull(capacity));
        }
        Ok(())
    }
}

fn entry_status(entry: &LedgerEntry) -> SyncStatus {
    match (&entry.failure, entry.fingerprint) {
        (Some(failure), _) => SyncStatus::of_blame(failure.blame),
        (None, Some(_)) if !entry.unsure => SyncStatus::Synced,
        (None, _) => SyncStatus::Unknown,
    }
}

fn shown_name(entry: &LedgerEntry) -> Option<RemoteName> {
    (!entry.name.as_str().is_empty()).then(|| entry.name.clone())
}

fn blank_view(association: &Association) -> EntryView {
    EntryView {
        destination: association.destination.clone(),
        accessor: association.accessor.clone(),
        mount: association.mount.clone(),
        path: association.path.clone(),
        sub_key: None,
        status: SyncStatus::Unknown,
        updated_at: association.outcome_at,
        external_name: None,
        failure: None,
        attempts: 0,
        unverified: false,
        rule: None,
    }
}
