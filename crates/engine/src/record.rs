//! What came of a piece of work: the ledger, the row, and when to look again, in one commit.

use std::{collections::HashMap, sync::Arc, time::Duration};

use destinations::{Fault, Retry};
use model::{DestinationId, Timestamp, Version};
use store::{
    Node, RecordKey, Revision, StoreError, Stored,
    records::{Association, Cause, LedgerEntry, Links, NameClaim, Outbox, Outcome},
};
use tokio::time::Instant;

use crate::{
    apply::Done,
    engine::Inner,
    lanes::Urgency,
    plan,
    registry::Opened,
    restore::is_unproven,
    timers::Later,
    worker::{After, Work},
};

/// When an association may be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    /// Whatever is said of it.
    Whatever,
    /// While it is to be removed, and no rule asks for it.
    Removed,
    /// While it is due to rules alone and nothing new was asked for since this row.
    Gone {
        /// The row that was worked on.
        row: Revision,
    },
}

/// Whether it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgot {
    Yes,
    /// It is wanted again.
    Wanted,
    /// A rule asks for it.
    Ruled,
}

/// What is to be recorded.
struct Outcomes {
    next: Association,
    /// When to look again.
    due: Option<(Timestamp, Later)>,
    /// Names that are not held any more.
    given_up: Vec<LedgerEntry>,
    /// Not all that is wanted was done, and nothing failed.
    unfinished: bool,
}

impl Inner {
    /// Records what came of it, and says when to look again.
    pub(crate) async fn record(
        self: &Arc<Self>,
        opened: &Opened,
        work: Work,
        urgency: Urgency,
    ) -> Result<After, StoreError> {
        let Work { source, row, association, version, expires, whole, gone, done, doubtful, waits } = work;
        let id = opened.record.id;
        let now = self.clock.now();
        let mut next = association.record.clone();
        let unproven = is_unproven(&next);
        next.generation = opened.record.generation;
        next.version = version;
        let mut due = expires.filter(|at| *at > now);
        let mut given_up = Vec::new();
        let mut failed = None;
        if let Some(whole) = whole {
            if let Outcome::Failed(failure) | Outcome::Unknown(failure) = &whole {
                failed = Some(failure.code.clone());
                due = earlier(due, failure.retry_at);
            }
            if unproven {
                // What is at the destination has still not been looked at.
                next.entries.iter_mut().for_each(|entry| entry.unsure = true);
            }
            settle(&mut next, whole, now);
        } else {
            let mut entries = Vec::with_capacity(done.len());
            let mut wrote = false;
            let mut shared_fault: Option<Fault> = None;
            for Done { entry, gone, fault, .. } in done {
                given_up.extend(gone);
                let Some(mut entry) = entry else {
                    wrote = true;
                    continue;
                };
                match fault {
                    Some(fault) => {
                        let mut failure = plan::failure(&fault, now, version, opened.record.generation);
                        failure.retry_at = self.retry_at(&fault, next.attempts, now);
                        due = earlier(due, failure.retry_at);
                        failed = Some(failure.code.clone());
                        if entry.failure.as_ref().map(|f| (f.blame, &f.code))
                            != Some((failure.blame, &failure.code))
                        {
                            entry.changed = now;
                        }
                        entry.failure = Some(failure);
                        entry.unsure |= unproven;
                        if fault.retry != Retry::WhenChanged {
                            shared_fault = Some(fault);
                        }
                    }
                    None => wrote |= entry.failure.is_none(),
                }
                entries.push(entry);
            }
            self.judge_lane(opened, shared_fault.as_ref(), wrote);
            next.entries = entries;
            if failed.is_none() {
                settle(&mut next, if gone { Outcome::Unsynced } else { Outcome::Synced }, now);
            } else if next.outcome == Outcome::New {
                next.outcome_at = now;
            }
        }
        if failed.is_some() {
            next.attempts = next.attempts.saturating_add(1);
        } else {
            next.attempts = 0;
            next.turn += 1;
        }
        report(opened, &next, failed.as_deref(), version);
        if next.removing && next.entries.is_empty() && failed.is_none() {
            return match self.forget_association(id, source, Forget::Removed).await? {
                Forgot::Yes => {
                    self.after_removal(opened, None).await?;
                    Ok(After::Done)
                }
                // Someone wants it again, and its row says so.
                Forgot::Wanted => Ok(After::Again),
                Forgot::Ruled => self.adopt(id, source, next).await,
            };
        }
        // What rules alone asked for goes with its secret, and comes again with it.
        if gone && failed.is_none() && !next.single && next.entries.is_empty() {
            let how = Forget::Gone { row: row.revision };
            if self.forget_association(id, source, how).await? == Forgot::Yes {
                return Ok(After::Done);
            }
        }
        let removing = next.removing;
        due = match doubtful {
            Some(until) => earlier(due, Some(until)),
            None => due,
        };
        let later = match failed {
            None => Later::Expires,
            // What fails again and again need not go before what is new.
            Some(_) if next.attempts > 3 => Later::Again(Urgency::Backfill),
            Some(_) => Later::Again(urgency),
        };
        let due = due.map(|at| (at, later));
        let outcome = Outcomes { next, due, given_up, unfinished: waits };
        let after = self.commit_outcome(opened, source, row, association.revision, outcome).await?;
        if removing && due.is_none() {
            self.after_removal(opened, failed).await?;
        }
        Ok(after)
    }

    /// Writes the association and deletes or puts off its row, unless something new was asked for
    /// meanwhile: then the row stays, and what was learnt is kept all the same.
    async fn commit_outcome(
        &self,
        opened: &Opened,
        source: Node,
        row: Stored<Outbox>,
        mut read_at: Revision,
        outcome: Outcomes,
    ) -> Result<After, StoreError> {
        let Outcomes { mut next, due, given_up, unfinished } = outcome;
        let keys = self.store.keys();
        let id = opened.record.id;
        let row_key = keys.outbox(id, source);
        let association_key: RecordKey<Association> = keys.association(id, source);
        let names = &opened.kind.abilities().names;
        let mut news = false;
        loop {
            let mut transaction = self.store.transaction();
            transaction.expect(&association_key, Some(read_at)).put(&association_key, &next);
            for entry in &given_up {
                if !next.entries.iter().any(|kept| kept.name == entry.name) && !entry.name.as_str().is_empty()
                {
                    transaction.delete(&keys.name_claim(id, &names.identity(&entry.name)));
                }
            }
            if !news {
                transaction.expect(&row_key, Some(row.revision));
                match due {
                    // It is still to be looked at, and says so.
                    Some(_) if unfinished => &mut transaction,
                    None => transaction.delete(&row_key),
                    Some((due, _)) => transaction.put(
                        &row_key,
                        &Outbox { at: row.record.at, due: Some(due), cause: row.record.cause },
                    ),
                };
            }
            match transaction.commit().await {
                Ok(_) if news => return Ok(After::Again),
                Ok(_) => return Ok(due.map_or(After::Done, |(at, why)| After::At(at, why))),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
            let Some(fresh) = self.store.get(&association_key).await? else { return Ok(After::Again) };
            if fresh.revision != read_at {
                // Someone else changed it: their wish, our knowledge.
                read_at = fresh.revision;
                let Association { removing, single, grantor, mount, .. } = fresh.record;
                next = Association { removing, single, grantor, mount, ..next };
            }
            news = self.store.get(&row_key).await?.is_none_or(|now| now.revision != row.revision);
        }
    }

    /// Takes an association away with everything that points to it.
    pub(crate) async fn forget_association(
        &self,
        id: DestinationId,
        source: Node,
        how: Forget,
    ) -> Result<Forgot, StoreError> {
        let keys = self.store.keys();
        let association_key = keys.association(id, source);
        let links_key = keys.links(source);
        let row_key = keys.outbox(id, source);
        loop {
            let association = self.store.get(&association_key).await?;
            let links = self.store.get(&links_key).await?;
            let mut transaction = self.store.transaction();
            match (how, &association) {
                (Forget::Removed, Some(stored)) => {
                    if !stored.record.removing {
                        return Ok(Forgot::Wanted);
                    }
                    let Association { accessor, path, .. } = &stored.record;
                    let rules = self.book.of(&self.store, accessor).await?;
                    if rules.why(path, id).is_some() {
                        return Ok(Forgot::Ruled);
                    }
                    transaction.expect(&keys.rules(keys.mount(accessor)), rules.revision);
                }
                (Forget::Gone { row }, Some(stored)) => {
                    let now = self.store.get(&row_key).await?;
                    if stored.record.single || now.is_none_or(|now| now.revision != row) {
                        return Ok(Forgot::Wanted);
                    }
                    transaction.expect(&row_key, Some(row));
                }
                (Forget::Whatever, _) | (_, None) => {}
            }
            transaction
                .expect(&association_key, association.as_ref().map(|a| a.revision))
                .delete(&association_key);
            transaction.delete(&row_key);
            transaction.expect(&links_key, links.as_ref().map(|links| links.revision));
            if let Some(links) = links {
                let rest: Vec<_> =
                    links.record.destinations.into_iter().filter(|other| *other != id).collect();
                if rest.is_empty() {
                    transaction.delete(&links_key);
                } else {
                    transaction.put(&links_key, &Links { destinations: rest });
                }
            }
            for (key, claim) in self.claims_of(id, source, association.as_ref()).await? {
                transaction.expect(&key, Some(claim)).delete(&key);
            }
            match transaction.commit().await {
                Ok(_) => return Ok(Forgot::Yes),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What a person removed is asked for by a rule: nothing of it is left at the destination, and it is
    /// delivered anew as the rule's.
    async fn adopt(
        &self,
        id: DestinationId,
        source: Node,
        removed: Association,
    ) -> Result<After, StoreError> {
        let keys = self.store.keys();
        let key = keys.association(id, source);
        loop {
            let Some(stored) = self.store.get(&key).await?.filter(|stored| stored.record.removing) else {
                return Ok(After::Again);
            };
            let mut transaction = self.store.transaction();
            for (claimed, claim) in self.claims_of(id, source, Some(&stored)).await? {
                transaction.expect(&claimed, Some(claim)).delete(&claimed);
            }
            let next = Association {
                removing: false,
                single: false,
                attempts: 0,
                outcome: Outcome::New,
                entries: removed.entries.clone(),
                turn: removed.turn,
                ..stored.record
            };
            transaction.expect(&key, Some(stored.revision)).put(&key, &next);
            let row = Outbox { at: self.clock.now(), due: None, cause: Cause::Settings };
            transaction.put(&keys.outbox(id, source), &row);
            match transaction.commit().await {
                Ok(_) => return Ok(After::Again),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The names an association holds.
    async fn claims_of(
        &self,
        id: DestinationId,
        source: Node,
        association: Option<&Stored<Association>>,
    ) -> Result<Vec<(RecordKey<NameClaim>, Revision)>, StoreError> {
        let Some(association) = association else { return Ok(Vec::new()) };
        let Some(kind) = self.registry.kind(&association.record.destination.kind) else {
            return Ok(Vec::new());
        };
        let names = &kind.abilities().names;
        let mut found = HashMap::new();
        for entry in association.record.entries.iter().filter(|entry| !entry.name.as_str().is_empty()) {
            let key = self.store.keys().name_claim(id, &names.identity(&entry.name));
            if let Some(claim) = self.store.get(&key).await?.filter(|claim| claim.record.source == source) {
                found.insert(key.as_bytes().to_vec(), (key, claim.revision));
            }
        }
        Ok(found.into_values().collect())
    }

    /// What a worker's outcome says about the destination as a whole.
    fn judge_lane(self: &Arc<Self>, opened: &Opened, fault: Option<&Fault>, wrote: bool) {
        let mut lanes = self.lanes();
        let lane = lanes.lane(opened.record.id);
        let Some(fault) = fault else {
            if wrote {
                lane.healthy();
            }
            return;
        };
        if fault.is_name_busy() {
            // One entry's trouble. The others go on.
            return;
        }
        if fault.is_throttled() && opened.account.is_some() {
            // The account has been slowed down, for all its destinations.
            return;
        }
        let failures = lane.unhealthy();
        let pause = match fault.retry {
            Retry::After(wait) => Some(wait),
            Retry::Backoff | Retry::Slowly if failures >= 5 => {
                Some(self.jitter(doubled(self.settings.backoff, failures - 5, Duration::from_secs(60))))
            }
            _ => None,
        };
        if let Some(pause) = pause {
            lane.close_until(Instant::now() + pause.min(Duration::from_secs(3600)));
        }
        drop(lanes);
        self.timers_changed();
    }

    /// When to try again.
    pub(crate) fn retry_at(&self, fault: &Fault, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        let settings = &self.settings;
        let wait = match fault.retry {
            Retry::WhenChanged => return None,
            Retry::After(wait) => wait + self.jitter(settings.backoff),
            Retry::Backoff => self.jitter(doubled(settings.backoff, attempts, settings.backoff_cap)),
            Retry::Slowly => {
                let most = doubled(settings.slow_backoff, attempts, settings.slow_backoff_cap);
                most / 2 + self.jitter(most / 2)
            }
        };
        Some(now.plus(wait.max(Duration::from_millis(1))))
    }
}

fn settle(association: &mut Association, outcome: Outcome, now: Timestamp) {
    let same = match (&association.outcome, &outcome) {
        (Outcome::Failed(a), Outcome::Failed(b)) | (Outcome::Unknown(a), Outcome::Unknown(b)) => {
            (a.blame, &a.code) == (b.blame, &b.code)
        }
        (a, b) => a == b,
    };
    if !same {
        association.outcome_at = now;
    }
    association.outcome = outcome;
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(2u32.saturating_pow(times.min(30))).min(cap)
}

/// One line per failure, where it is handled.
fn report(opened: &Opened, association: &Association, failed: Option<&str>, version: Version) {
    match failed {
        Some(code) => tracing::warn!(
            destination = %opened.record.key, association = %association.id, version = version.0,
            attempts = association.attempts, error_code = code, "a sync failed"
        ),
        None => tracing::debug!(
            destination = %opened.record.key, association = %association.id, version = version.0, "in sync"
        ),
    }
}
