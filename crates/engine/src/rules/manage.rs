//! Making, showing and removing rules.

use std::{sync::Arc, time::Duration};

use model::{DestinationId, DestinationKey, MountAccessor, MountPath, SecretPath, Timestamp};
use store::{
    StoreError,
    records::{Grantor, Rule, Rules},
};
use tokio::time::Instant;

use super::{MountRules, Pattern};
use crate::{AssociationError, Engine, associations::WAIT, engine::Inner};

/// A rule as a caller names it.
#[derive(Debug, Clone)]
pub struct RuleRef {
    /// The mount's identity.
    pub accessor: MountAccessor,
    /// The mount's path.
    pub mount: MountPath,
    /// Which secrets.
    pub pattern: Pattern,
    /// Which not.
    pub exclude: Vec<Pattern>,
    /// Who makes it.
    pub grantor: Option<Grantor>,
}

/// A rule as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// The mount.
    pub accessor: MountAccessor,
    /// The mount's path when the rule was made, without trailing slash.
    pub mount: String,
    /// Which secrets.
    pub pattern: String,
    /// Which not.
    pub exclude: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Not all secrets that were there before it are associated yet.
    pub covering: bool,
}

impl Engine {
    /// Associates all secrets that match with a destination, now and from now on, and waits a little for
    /// it. A rule of that pattern that exists gets the new exclusions.
    pub async fn set_rule(&self, key: &DestinationKey, rule: &RuleRef) -> Result<RuleView, AssociationError> {
        let inner = &self.0;
        let deadline = Instant::now() + WAIT;
        let id = loop {
            let opened = self.changeable(key).await?;
            self.check_capacity().await?;
            match self.try_set_rule(opened.record.id, key, rule).await {
                Ok(()) => break opened.record.id,
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        };
        inner.cover(&rule.accessor, id);
        self.settled(&rule.accessor, id, deadline).await?;
        let found = self.rules(key).await?.into_iter().flatten();
        let found = found
            .into_iter()
            .find(|view| view.accessor == rule.accessor && view.pattern == rule.pattern.as_str());
        // Removed again meanwhile.
        found.ok_or_else(|| AssociationError::NoRule { pattern: rule.pattern.to_string() })
    }

    async fn try_set_rule(
        &self,
        id: DestinationId,
        key: &DestinationKey,
        rule: &RuleRef,
    ) -> Result<(), StoreError> {
        let (store, now) = (&self.0.store, self.0.clock.now());
        let keys = store.keys();
        let destination_key = keys.destination(key);
        let destination = store.get(&destination_key).await?.filter(|there| there.record.id == id);
        let destination = destination.ok_or(StoreError::Conflict)?;
        let rules_key = keys.rules(keys.mount(&rule.accessor));
        let stored = store.get(&rules_key).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let mut rules = stored.map(|stored| stored.record).unwrap_or_default();
        let exclude: Vec<String> = rule.exclude.iter().map(ToString::to_string).collect();
        let mount = rule.mount.bare().to_owned();
        match rules.rules.iter_mut().find(|r| r.destination == id && r.pattern == rule.pattern.as_str()) {
            Some(known) => {
                (known.exclude, known.mount) = (exclude, mount);
                known.grantor.clone_from(&rule.grantor);
            }
            None => rules.rules.push(Rule {
                destination: id,
                key: key.clone(),
                accessor: rule.accessor.clone(),
                mount,
                pattern: rule.pattern.to_string(),
                exclude,
                created: now,
                grantor: rule.grantor.clone(),
            }),
        }
        add_pending(&mut rules, &rule.accessor, id);
        let mut transaction = store.transaction();
        transaction.expect(&rules_key, revision).put(&rules_key, &rules);
        // Written although it stays as it is: a removal that saw no rule then fails.
        transaction.expect(&destination_key, Some(destination.revision));
        transaction.put(&destination_key, &destination.record);
        transaction.commit().await.map(|_| ())
    }

    /// Waits until the secrets that were there are covered and nothing of the destination is under way,
    /// no longer than allowed.
    async fn settled(
        &self,
        accessor: &MountAccessor,
        id: DestinationId,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        const STEP: Duration = Duration::from_millis(10);
        while Instant::now() < deadline {
            let covering = self.0.is_covering(accessor, id);
            if !covering && (self.0.is_quiet(id).await? || self.0.disabled().await?) {
                return Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }

    /// Removes a rule, and with it the associations that are due to it alone, and waits a little for
    /// that. The mount is named by its present accessor or, once it is gone, by the path it had. `None`:
    /// there was no such rule.
    pub async fn remove_rule(
        &self,
        key: &DestinationKey,
        accessor: Option<&MountAccessor>,
        mount: &str,
        pattern: &Pattern,
    ) -> Result<Option<RuleView>, AssociationError> {
        let deadline = Instant::now() + WAIT;
        let opened = self.changeable(key).await?;
        let id = opened.record.id;
        let store = &self.0.store;
        let keys = store.keys();
        loop {
            let named = |rule: &Rule| {
                rule.destination == id
                    && rule.pattern == pattern.as_str()
                    && match accessor {
                        Some(accessor) => rule.accessor == *accessor,
                        None => rule.mount == mount.trim_matches('/'),
                    }
            };
            let all = store.scan_all(&keys.rules_all()).await?;
            let found = all.into_iter().find_map(|(_, stored)| {
                let rule = stored.record.rules.iter().find(|rule| named(rule))?.clone();
                Some((stored, rule))
            });
            let Some((stored, rule)) = found else { return Ok(None) };
            let mut rules = stored.record;
            rules.rules.retain(|rule| !named(rule));
            add_pending(&mut rules, &rule.accessor, id);
            let rules_key = keys.rules(keys.mount(&rule.accessor));
            let mut transaction = store.transaction();
            transaction.expect(&rules_key, Some(stored.revision)).put(&rules_key, &rules);
            match transaction.commit().await {
                Ok(_) => {}
                Err(StoreError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
            self.0.cover(&rule.accessor, id);
            self.settled(&rule.accessor, id, deadline).await?;
            return Ok(Some(view(&rule, self.0.is_covering(&rule.accessor, id))));
        }
    }

    /// The rules of a destination. `None`: there is no such destination.
    pub async fn rules(&self, key: &DestinationKey) -> Result<Option<Vec<RuleView>>, StoreError> {
        let store = &self.0.store;
        let Some(destination) = store.get(&store.keys().destination(key)).await? else { return Ok(None) };
        let id = destination.record.id;
        let mut views = Vec::new();
        for (_, stored) in store.scan_all(&store.keys().rules_all()).await? {
            let covering = stored.record.pending.iter().any(|(_, pending)| *pending == id);
            let its = stored.record.rules.iter().filter(|rule| rule.destination == id);
            views.extend(its.map(|rule| view(rule, covering)));
        }
        views.sort_by(|a, b| (&a.mount, &a.pattern).cmp(&(&b.mount, &b.pattern)));
        Ok(Some(views))
    }

    /// How many rules there are, over all destinations.
    pub async fn count_rules(&self) -> Result<usize, StoreError> {
        let all = self.0.store.scan_all(&self.0.store.keys().rules_all()).await?;
        Ok(all.iter().map(|(_, stored)| stored.record.rules.len()).sum())
    }

    /// The rules by which secrets of a mount are associated.
    pub(crate) async fn mount_rules(&self, accessor: &MountAccessor) -> Result<Arc<MountRules>, StoreError> {
        self.0.book.of(&self.0.store, accessor).await
    }

    /// The rule by which a secret is associated with a destination, if one is about it.
    pub(crate) async fn rule_about(
        &self,
        id: DestinationId,
        accessor: &MountAccessor,
        path: &SecretPath,
    ) -> Result<Option<String>, StoreError> {
        Ok(self.mount_rules(accessor).await?.why(path, id).map(|rule| rule.pattern.clone()))
    }
}

impl Inner {
    /// Whether a destination has rules.
    pub(crate) async fn has_rules(&self, id: DestinationId) -> Result<bool, StoreError> {
        let all = self.store.scan_all(&self.store.keys().rules_all()).await?;
        Ok(all.iter().any(|(_, stored)| stored.record.rules.iter().any(|rule| rule.destination == id)))
    }

    /// Takes the rules of a destination away, and leaves its associations to whoever asked.
    pub(crate) async fn drop_rules(&self, id: DestinationId) -> Result<(), StoreError> {
        let keys = self.store.keys();
        for (key, _) in self.store.scan_all(&keys.rules_all()).await? {
            loop {
                let Some(stored) = self.store.get(&key).await? else { break };
                let mut rules = stored.record;
                let before = rules.rules.len() + rules.pending.len();
                rules.rules.retain(|rule| rule.destination != id);
                rules.pending.retain(|(_, pending)| *pending != id);
                if rules.rules.len() + rules.pending.len() == before {
                    break;
                }
                let mut transaction = self.store.transaction();
                transaction.expect(&key, Some(stored.revision));
                if rules == Rules::default() {
                    transaction.delete(&key);
                } else {
                    transaction.put(&key, &rules);
                }
                match transaction.commit().await {
                    Ok(_) => break,
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn view(rule: &Rule, covering: bool) -> RuleView {
    RuleView {
        accessor: rule.accessor.clone(),
        mount: rule.mount.clone(),
        pattern: rule.pattern.clone(),
        exclude: rule.exclude.clone(),
        created: rule.created,
        covering,
    }
}

fn add_pending(rules: &mut Rules, accessor: &MountAccessor, id: DestinationId) {
    let pending = (accessor.clone(), id);
    if !rules.pending.contains(&pending) {
        rules.pending.push(pending);
    }
}
