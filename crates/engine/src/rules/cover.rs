//! Bringing what is associated in line with the rules, for secrets that were there before.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{DestinationId, DestinationKey, MountAccessor, SecretPath};
use store::{
    Keys, Node, StoreError,
    records::{Association, Cause, Links, Outbox, Rules, SyncConfig},
};

use super::{MountRules, Pattern, new_association};
use crate::{engine::Inner, lanes::Urgency};

/// Associations per transaction.
const BATCH: usize = 64;
/// Waits this long before going on after our own store failed, or while the queue is full.
const PAUSE: Duration = Duration::from_millis(500);

/// What is being covered.
#[derive(Default)]
pub(crate) struct Covering(Mutex<HashSet<(MountAccessor, DestinationId)>>);

impl Covering {
    fn begin(&self, what: &(MountAccessor, DestinationId)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what.clone())
    }

    fn end(&self, what: &(MountAccessor, DestinationId)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    fn contains(&self, what: &(MountAccessor, DestinationId)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(what)
    }
}

/// Whether a round ended with everything as the rules have it.
#[derive(PartialEq, Eq)]
enum Round {
    Done,
    /// The rules changed meanwhile.
    Again,
}

/// A secret that a rule is about.
struct Found {
    path: SecretPath,
    source: Node,
}

impl Inner {
    pub(crate) fn is_covering(&self, accessor: &MountAccessor, id: DestinationId) -> bool {
        self.covering.contains(&(accessor.clone(), id))
    }

    /// Takes up what was left unfinished.
    pub(crate) async fn cover_pending(self: &Arc<Self>) -> Result<(), StoreError> {
        for (_, stored) in self.store.scan_all(&self.store.keys().rules_all()).await? {
            for (accessor, id) in stored.record.pending {
                if self.cluster.owns(id) {
                    self.cover(&accessor, id);
                }
            }
        }
        Ok(())
    }

    /// Brings the associations of a mount's secrets with a destination in line with the rules, in the
    /// background.
    pub(crate) fn cover(self: &Arc<Self>, accessor: &MountAccessor, id: DestinationId) {
        let what = (accessor.clone(), id);
        if !self.covering.begin(&what) {
            // Whoever is at it sees that the rules changed.
            return;
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                inner.cover_until_done(&what.0, id).await;
                inner.covering.end(&what);
                // Someone may have asked just before the end.
                let pending = inner.is_pending(&what.0, id).await;
                if inner.stopped().is_cancelled() || !pending || !inner.covering.begin(&what) {
                    return;
                }
            }
        });
    }

    async fn is_pending(&self, accessor: &MountAccessor, id: DestinationId) -> bool {
        let keys = self.store.keys();
        let stored = self.store.get(&keys.rules(keys.mount(accessor))).await;
        stored.is_ok_and(|stored| {
            stored.is_some_and(|stored| stored.record.pending.iter().any(|(_, pending)| *pending == id))
        })
    }

    async fn cover_until_done(self: &Arc<Self>, accessor: &MountAccessor, id: DestinationId) {
        while !self.stopped().is_cancelled() {
            match self.cover_once(accessor, id).await {
                Ok(Round::Done) => return,
                Ok(Round::Again) | Err(StoreError::Conflict) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::error!(%error, "the secrets of a rule could not be gone through; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn cover_once(
        self: &Arc<Self>,
        accessor: &MountAccessor,
        id: DestinationId,
    ) -> Result<Round, StoreError> {
        let rules = self.book.of(&self.store, accessor).await?;
        if !rules.record.pending.iter().any(|(_, pending)| *pending == id) {
            return Ok(Round::Done);
        }
        let its = rules.record.rules.iter().find(|rule| rule.destination == id);
        if let Some((key, mount)) = its.map(|rule| (rule.key.clone(), rule.mount.clone())) {
            let destination = self.store.get(&self.store.keys().destination(&key)).await?;
            if destination.is_none_or(|there| there.record.id != id) {
                self.drop_rules(id).await?;
                return Ok(Round::Done);
            }
            for pattern in rules.patterns(id) {
                if self.cover_pattern(accessor, id, &key, &mount, &rules, pattern).await? == Round::Again {
                    return Ok(Round::Again);
                }
            }
        }
        if rules.understood(id) && self.settle_members(accessor, id, &rules).await? == Round::Again {
            return Ok(Round::Again);
        }
        self.covered(accessor, id, &rules).await
    }

    /// Goes through the secrets that a pattern may match, folder by folder.
    async fn cover_pattern(
        self: &Arc<Self>,
        accessor: &MountAccessor,
        id: DestinationId,
        key: &DestinationKey,
        mount: &str,
        rules: &MountRules,
        pattern: &Pattern,
    ) -> Result<Round, StoreError> {
        let mut folders: Vec<Vec<String>> =
            vec![pattern.folder().into_iter().map(ToOwned::to_owned).collect()];
        while let Some(folder) = folders.pop() {
            let Some(children) = self.source.children(accessor, &folder).await? else {
                // The mount is gone: there is nothing to be found, and nothing to be concluded from it.
                return Ok(Round::Done);
            };
            let mut found = Vec::new();
            for name in children.secrets {
                let path =
                    folder.iter().map(String::as_str).chain([name.as_str()]).collect::<Vec<_>>().join("/");
                let Ok(path) = SecretPath::parse(&path) else { continue };
                if pattern.matches(&path) && rules.why(&path, id).is_some() {
                    let source = self.node(accessor, &path);
                    found.push(Found { path, source });
                }
            }
            for some in found.chunks(BATCH) {
                self.wait_for_room().await?;
                if self.enlist(accessor, id, key, mount, rules, some).await? == Round::Again {
                    return Ok(Round::Again);
                }
                if self.stopped().is_cancelled() {
                    return Ok(Round::Again);
                }
            }
            if pattern.reaches(folder.len() + 1) {
                folders.extend(children.folders.into_iter().map(|name| {
                    let mut below = folder.clone();
                    below.push(name);
                    below
                }));
            }
        }
        Ok(Round::Done)
    }

    /// Waits while the queue is full.
    async fn wait_for_room(&self) -> Result<(), StoreError> {
        loop {
            let config = self.store.get_cached(&self.store.keys().sync_config(), &self.sync_config).await?;
            let capacity = config
                .map_or_else(|| SyncConfig::default().queue_capacity, |config| config.record.queue_capacity);
            if self.pending() < capacity || self.stopped().is_cancelled() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Associates some secrets, those that are not yet.
    async fn enlist(
        self: &Arc<Self>,
        accessor: &MountAccessor,
        id: DestinationId,
        key: &DestinationKey,
        mount: &str,
        rules: &MountRules,
        found: &[Found],
    ) -> Result<Round, StoreError> {
        let keys = self.store.keys();
        let rules_key = keys.rules(keys.mount(accessor));
        loop {
            let now = self.clock.now();
            let mut transaction = self.store.transaction();
            let mut new = Vec::new();
            for Found { path, source } in found {
                let association_key = keys.association(id, *source);
                if self.store.get(&association_key).await?.is_some() {
                    continue;
                }
                let links_key = keys.links(*source);
                let links = self.store.get(&links_key).await?;
                transaction.expect(&links_key, links.as_ref().map(|links| links.revision));
                let mut destinations = links.map(|links| links.record.destinations).unwrap_or_default();
                if !destinations.contains(&id) {
                    destinations.push(id);
                }
                let association = Association {
                    mount: mount.to_owned(),
                    ..new_association(keys, key, accessor, path, *source, now)
                };
                transaction.put(&links_key, &Links { destinations });
                transaction.expect_absent(&association_key).put(&association_key, &association);
                let row = Outbox { at: now, due: None, cause: Cause::Settings };
                transaction.put(&keys.outbox(id, *source), &row);
                new.push(*source);
            }
            if new.is_empty() {
                return Ok(Round::Done);
            }
            transaction.expect(&rules_key, rules.revision);
            let destination = self.store.get(&keys.destination(key)).await?;
            if destination.is_none_or(|there| there.record.id != id) {
                return Ok(Round::Again);
            }
            transaction.expect_present(&keys.destination(key));
            match transaction.commit().await {
                Ok(_) => {
                    new.into_iter().for_each(|source| self.offer(id, source, Urgency::Backfill));
                    return Ok(Round::Done);
                }
                Err(StoreError::Conflict) if self.changed(accessor, rules).await? => return Ok(Round::Again),
                Err(StoreError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn changed(&self, accessor: &MountAccessor, rules: &MountRules) -> Result<bool, StoreError> {
        Ok(self.book.of(&self.store, accessor).await?.revision != rules.revision)
    }

    /// Takes away what no rule asks for any more and nobody set singly, and takes back such removals for
    /// what a rule asks for again.
    async fn settle_members(
        self: &Arc<Self>,
        accessor: &MountAccessor,
        id: DestinationId,
        rules: &MountRules,
    ) -> Result<Round, StoreError> {
        let prefix = self.store.keys().associations_of(id);
        let mut after = None;
        loop {
            let page = self.store.scan(&prefix, after.as_ref(), 256).await?;
            let last = page.len() < 256;
            for (key, stored) in &page {
                let wrong = |association: &Association| {
                    let wanted = rules.why(&association.path, id).is_some();
                    !association.single && association.accessor == *accessor && association.removing == wanted
                };
                if !wrong(&stored.record) {
                    continue;
                }
                let Some((_, source)) = Keys::parts_of_association(key.as_bytes()) else { continue };
                if self.settle_member(accessor, id, source, rules, &wrong).await? == Round::Again {
                    return Ok(Round::Again);
                }
            }
            after = page.into_iter().last().map(|(key, _)| key);
            if last {
                return Ok(Round::Done);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn settle_member(
        self: &Arc<Self>,
        accessor: &MountAccessor,
        id: DestinationId,
        source: Node,
        rules: &MountRules,
        wrong: impl Fn(&Association) -> bool,
    ) -> Result<Round, StoreError> {
        let keys = self.store.keys();
        let key = keys.association(id, source);
        loop {
            let stored = self.store.get(&key).await?;
            let Some(stored) = stored.filter(|stored| wrong(&stored.record)) else { return Ok(Round::Done) };
            let removing = !stored.record.removing;
            let cause = if removing { Cause::Remove } else { Cause::Settings };
            let next = Association { removing, attempts: 0, ..stored.record };
            let mut transaction = self.store.transaction();
            transaction.expect(&keys.rules(keys.mount(accessor)), rules.revision);
            transaction.expect(&key, Some(stored.revision)).put(&key, &next);
            let row = Outbox { at: self.clock.now(), due: None, cause };
            transaction.put(&keys.outbox(id, source), &row);
            match transaction.commit().await {
                Ok(_) => {
                    self.offer(id, source, Urgency::Backfill);
                    return Ok(Round::Done);
                }
                Err(StoreError::Conflict) if self.changed(accessor, rules).await? => return Ok(Round::Again),
                Err(StoreError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes that everything is as the rules have it, if they are still the same.
    async fn covered(
        &self,
        accessor: &MountAccessor,
        id: DestinationId,
        rules: &MountRules,
    ) -> Result<Round, StoreError> {
        let keys = self.store.keys();
        let key = keys.rules(keys.mount(accessor));
        let Some(stored) = self.store.get(&key).await? else { return Ok(Round::Done) };
        if Some(stored.revision) != rules.revision {
            return Ok(Round::Again);
        }
        let mut next = stored.record;
        next.pending.retain(|(_, pending)| *pending != id);
        let mut transaction = self.store.transaction();
        transaction.expect(&key, Some(stored.revision));
        if next == Rules::default() {
            transaction.delete(&key);
        } else {
            transaction.put(&key, &next);
        }
        match transaction.commit().await {
            Ok(_) => Ok(Round::Done),
            Err(StoreError::Conflict) => Ok(Round::Again),
            Err(error) => Err(error),
        }
    }
}
