//! One worker: a few sources of one destination, from outbox row to recorded outcome.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use destinations::{Fault, Mark, WriteId};
use model::{DestinationId, RemoteName, Timestamp, Version};
use store::{
    Node, StoreError, Stored, Transaction,
    records::{Association, Cause, Failure, LedgerEntry, NameClaim, Outbox, Outcome},
};
use tokio::time::Instant;

use crate::{
    apply::{self, Done, Job, Journal, Owner, Site},
    cluster::{LEASE_LAPSED, Lease},
    engine::Inner,
    gate::Gate,
    lanes::{Open, Taken, Urgency},
    plan::{self, Context, Wanted},
    quota::Entering,
    record::Forget,
    registry::Opened,
    restore::is_unproven,
    source::SourceState,
    spread::{self, Desired, Target},
    template::Values,
    timers::Later,
};

/// `error_code` of removals that wait for a person, since there are too many at once (decisions 8).
pub const MASS_DELETE_HELD: &str = "mass_delete_held";
/// Waits this long before looking again at what our own store would not give or take.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What becomes of a source's place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing is left to do.
    Done,
    /// It changed meanwhile.
    Again,
    /// Not before then.
    At(Timestamp, Later),
    /// Not before syncing is switched on.
    Parked,
}

/// A source being worked on.
pub(crate) struct Work {
    pub(crate) source: Node,
    pub(crate) row: Stored<Outbox>,
    pub(crate) association: Stored<Association>,
    /// The version that is being delivered; the last one known for removals.
    pub(crate) version: Version,
    /// When the delivered version stops being live.
    pub(crate) expires: Option<Timestamp>,
    /// What the source as a whole came to; `None`: see the entries.
    pub(crate) whole: Option<Outcome>,
    /// Nothing should be there.
    pub(crate) gone: bool,
    pub(crate) done: Vec<Done>,
    /// Until then another server's calls may still take effect, so nothing is removed before, and what was
    /// written is looked at again.
    pub(crate) doubtful: Option<Timestamp>,
    /// Something was not removed for that reason.
    pub(crate) waits: bool,
}

/// One run of a worker.
struct Visit<'a> {
    lease: &'a Lease,
    urgency: Urgency,
    /// Its place on the way to a turn, until the gate has it.
    entering: Option<Entering>,
    gate: Option<Gate>,
}

impl Inner {
    /// Works on these sources, then gives their places up.
    pub(crate) async fn work(self: &Arc<Self>, destination: DestinationId, taken: Taken, lease: &Lease) {
        let started = Instant::now();
        let Taken { sources, urgency, entering } = taken;
        let mut visit = Visit { lease, urgency, entering, gate: None };
        let outcomes = self.work_on(destination, &sources, &mut visit).await;
        if lease.is_over() {
            // The lane has gone with it.
            return;
        }
        for (source, after) in &outcomes {
            if let After::At(until, why) = after {
                self.put_off(*until, destination, *source, *why);
            }
        }
        let mut back = Vec::new();
        let account = {
            let mut lanes = self.lanes();
            let lane = lanes.lane(destination);
            lane.ended();
            for (source, after) in outcomes {
                if lane.finish(source, after == After::Again) {
                    back.push(source);
                } else if after == After::Parked {
                    lane.park(source);
                }
            }
            if let Some(gate) = &visit.gate {
                lane.cost.add(started.elapsed().saturating_sub(gate.waited()), gate.writes(), sources.len());
            }
            lane.account()
        };
        back.into_iter().for_each(|source| self.timers().cancel(destination, source));
        if let (Some(entering), Some(account)) = (visit.entering.take(), account) {
            // It ended before it came to a call.
            drop(entering);
            self.pump_account(&account);
        }
        drop(visit);
        self.pump(destination);
    }

    async fn work_on(
        self: &Arc<Self>,
        id: DestinationId,
        sources: &[Node],
        visit: &mut Visit<'_>,
    ) -> Vec<(Node, After)> {
        let mut outcomes = Vec::with_capacity(sources.len());
        let again = Later::Again(visit.urgency);
        let pause = |inner: &Self| After::At(inner.clock.now().plus(STORE_PAUSE), again);
        let lease = visit.lease;
        if !self.is_observed() {
            return sources.iter().map(|source| (*source, pause(self))).collect();
        }
        let mut works = Vec::new();
        for &source in sources {
            if let Some(rest) = self.rest_of(id, source) {
                outcomes.push((source, After::At(self.clock.now().plus(rest), again)));
                continue;
            }
            match self.load(id, source, again).await {
                Ok(Ok(work)) => works.push(work),
                Ok(Err(after)) => outcomes.push((source, after)),
                Err(StoreError::Fenced) => {
                    self.cluster.lost(lease);
                    return outcomes;
                }
                Err(error) => {
                    tracing::error!(destination = %id, %error, "an association could not be read");
                    outcomes.push((source, pause(self)));
                }
            }
        }
        let Some(first) = works.first() else { return outcomes };
        let key = first.association.record.destination.clone();
        let opened = match self.registry.get(&self.store, id, &key, &self.accounts).await {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                outcomes.extend(self.drop_orphans(id, works).await);
                return outcomes;
            }
            Err(error) => {
                tracing::error!(destination = %key, %error, "a destination could not be read");
                outcomes.extend(works.iter().map(|work| (work.source, pause(self))));
                return outcomes;
            }
        };
        let open = Open { batch: opened.kind.abilities().batch, account: opened.account.clone() };
        self.lanes().lane(id).set_open(id, open);
        if let Some(account) = &opened.account {
            let (account, entering) = (Arc::clone(account), visit.entering.take());
            visit.gate = Some(Gate::new(Arc::clone(self), account, visit.urgency, entering));
        }
        // Others may start now that the lane knows its account.
        self.pump(id);
        if let Err(error) = self.deliver(&opened, &mut works, visit.gate.as_ref(), lease).await {
            if error == StoreError::Fenced {
                self.cluster.lost(lease);
            }
            // Nothing was sent: planning comes before the first call.
            tracing::error!(destination = %key, %error, "sync work could not go on");
            outcomes.extend(works.iter().map(|work| (work.source, pause(self))));
            return outcomes;
        }
        if let Some(until) = works.iter().find_map(|work| work.doubtful) {
            // They are looked at again once nothing can come back any more.
            for work in works.extract_if(.., |work| work.waits && work.gone) {
                outcomes.push((work.source, After::At(until, Later::Again(Urgency::Backfill))));
            }
        }
        for work in &works {
            let given_up = |fault: &Fault| fault.code == LEASE_LAPSED && fault.ambiguous;
            if work.done.iter().filter_map(|done| done.fault.as_ref()).any(given_up) {
                self.doubt(id, work.source, Instant::now() + self.settings.cluster.in_flight);
            }
        }
        // Until it is recorded, what was done may be lost.
        works.iter().for_each(|work| self.suspect(id, work.source));
        match self.tell(&opened, &works).await {
            Ok(true) => {}
            told => {
                if let Err(error) = told {
                    tracing::error!(destination = %key, %error, "who is to be told of a sync could not be read; it is repeated");
                }
                outcomes.extend(works.iter().map(|work| (work.source, pause(self))));
                return outcomes;
            }
        }
        for work in works {
            let source = work.source;
            let doubtful = self.doubtful_for(id, source).is_some();
            let after = match self.record(&opened, work, visit.urgency).await {
                Ok(after) => {
                    // What is doubtful stays so until it was looked at once more.
                    if !doubtful {
                        self.clear(id, source);
                    }
                    after
                }
                Err(StoreError::Fenced) => {
                    self.cluster.lost(lease);
                    return outcomes;
                }
                Err(error) => {
                    tracing::error!(destination = %key, %error, "the outcome of a sync could not be recorded; it is repeated");
                    pause(self)
                }
            };
            if let (Some(account), Some(_)) =
                (&opened.account, visit.gate.as_ref().filter(|g| g.writes() > 0))
            {
                self.rest(id, source, account.entry_pause());
            }
            outcomes.push((source, after));
        }
        outcomes
    }

    /// Reads the row and the association; `Err` tells what to do when there is nothing to work on.
    async fn load(
        &self,
        id: DestinationId,
        source: Node,
        again: Later,
    ) -> Result<Result<Work, After>, StoreError> {
        let keys = self.store.keys();
        let row_key = keys.outbox(id, source);
        let Some(row) = self.store.get(&row_key).await? else { return Ok(Err(After::Done)) };
        if let Some(due) = row.record.due.filter(|due| *due > self.clock.now()) {
            return Ok(Err(After::At(due, again)));
        }
        let Some(mut association) = self.store.get(&keys.association(id, source)).await? else {
            let mut transaction = self.store.transaction();
            transaction.expect(&row_key, Some(row.revision)).delete(&row_key);
            return Ok(Err(match transaction.commit().await {
                Err(StoreError::Conflict) => After::Again,
                done => done.map(|_| After::Done)?,
            }));
        };
        let waits = if association.record.removing {
            self.awaits_confirmation().await?
        } else {
            self.disabled().await?
        };
        if waits {
            // The row stays.
            return Ok(Err(After::Parked));
        }
        let suspect = self.is_suspect(id, source);
        let doubtful = self.doubtful_for(id, source).map(|left| self.clock.now().plus(left));
        if suspect {
            association.record.entries.iter_mut().for_each(|entry| entry.unsure = true);
        }
        Ok(Ok(Work {
            source,
            row,
            version: Version(0),
            expires: None,
            whole: None,
            gone: association.record.removing,
            association,
            done: Vec::new(),
            doubtful,
            waits: false,
        }))
    }

    /// Whether nothing is sent out: syncing is switched off, or waits for a restore to be confirmed.
    pub(crate) async fn disabled(&self) -> Result<bool, StoreError> {
        if self.awaits_confirmation().await? {
            return Ok(true);
        }
        let config = self.store.get_cached(&self.store.keys().sync_config(), &self.sync_config).await?;
        Ok(config.is_some_and(|config| config.record.disabled))
    }

    /// The destination is gone: so are its associations, whatever is left at the remote.
    async fn drop_orphans(&self, id: DestinationId, works: Vec<Work>) -> Vec<(Node, After)> {
        let mut outcomes = Vec::new();
        for work in works {
            let after = match self.forget_association(id, work.source, Forget::Whatever).await {
                Ok(_) => After::Done,
                Err(_) => After::At(self.clock.now().plus(STORE_PAUSE), Later::Again(Urgency::Backfill)),
            };
            outcomes.push((work.source, after));
        }
        outcomes
    }

    /// Works out and carries out what each source needs.
    async fn deliver(
        self: &Arc<Self>,
        opened: &Opened,
        works: &mut [Work],
        gate: Option<&Gate>,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        let adapter = match &opened.adapter {
            Ok(adapter) => adapter,
            Err(fault) => {
                for work in works.iter_mut() {
                    let fault = Fault::client("destination_invalid", fault.to_string());
                    work.whole = Some(Outcome::Failed(self.failure(opened, work, &fault)));
                }
                return Ok(());
            }
        };
        let now = self.clock.now();
        let fingerprint = |desired: &Desired| self.fingerprint(opened, desired);
        let mut jobs = Vec::new();
        for (group, work) in works.iter_mut().enumerate() {
            let Some(wanted) = self.wanted(opened, work).await? else { continue };
            if work.waits {
                continue;
            }
            let context = Context {
                abilities: opened.kind.abilities(),
                settings: opened.options.settings,
                tags: &opened.tag_names,
                granularity: opened.options.granularity,
                always_look: opened.options.always_look,
                refresh: work.row.record.cause == Cause::Set && work.row.record.due.is_none()
                    || is_unproven(&work.association.record),
                generation: opened.record.generation,
                fingerprint: &fingerprint,
                now,
            };
            let association = &work.association.record;
            let owner = Owner {
                mark: Mark {
                    store: self.store.header().id,
                    epoch: self.store.header().epoch,
                    association: association.id,
                    version: work.version.0,
                    write: None,
                },
                version: work.version,
            };
            for step in plan::plan(wanted, association.entries.clone(), &context) {
                let write = match &step {
                    plan::Step::Put(put) => self.write_id(association, work.version, &put.fingerprint),
                    _ => WriteId([0; 32]),
                };
                let step = match step {
                    // What was there before may come back.
                    plan::Step::Remove(entry) | plan::Step::Forget(entry) if work.doubtful.is_some() => {
                        work.waits = true;
                        plan::Step::Keep(entry)
                    }
                    step => step,
                };
                jobs.push(Job { group, owner: owner.clone(), write, step });
            }
        }
        let marks = opened.kind.abilities().marks;
        let unmarked = works.iter().filter(|_| !marks);
        let associations = unmarked.map(|work| (work.source, work.association.clone())).collect();
        let ledgers = Ledgers {
            inner: self,
            destination: opened.record.id,
            associations: tokio::sync::Mutex::new(associations),
        };
        let teller = self.teller(opened, works);
        let site = Site {
            destination: adapter,
            abilities: opened.kind.abilities(),
            tags: &opened.options.tags,
            tag_names: &opened.tag_names,
            settings: opened.options.settings,
            overwrite: opened.options.overwrite,
            gate,
            told: teller.as_ref(),
            lease: Some(lease),
            journal: (!marks).then_some(&ledgers as &dyn Journal),
            now,
        };
        for done in apply::apply(&site, jobs).await {
            if let Some(work) = works.get_mut(done.group) {
                work.done.push(done);
            }
        }
        if let Some(teller) = &teller {
            self.untraced(teller, opened.record.id, works);
        }
        for (work, (_, association)) in works.iter_mut().zip(ledgers.associations.into_inner()) {
            work.association = association;
        }
        Ok(())
    }

    /// What should be there; `None` when nothing may be done, with the reason in `work.whole`.
    async fn wanted(
        self: &Arc<Self>,
        opened: &Opened,
        work: &mut Work,
    ) -> Result<Option<Wanted>, StoreError> {
        if work.gone {
            work.waits = work.doubtful.is_some();
            return Ok(Some(Wanted::Nothing));
        }
        let association = work.association.record.clone();
        if let Some(fault) = self.permission_fault(&association).await {
            work.whole = Some(Outcome::Failed(self.failure(opened, work, &fault)));
            return Ok(None);
        }
        let previous = opened.options.previous_on_delete;
        let state = self.source.read(&association.accessor, &association.path, previous).await;
        let (version, data) = match state {
            SourceState::Present { version, data, expires } => {
                work.version = version;
                work.expires = expires;
                (version, data)
            }
            SourceState::Absent if work.doubtful.is_some() => {
                (work.gone, work.waits) = (true, true);
                return Ok(Some(Wanted::Nothing));
            }
            SourceState::Absent => {
                if self.hold_mass_delete(opened, work).await? {
                    return Ok(None);
                }
                work.gone = true;
                return Ok(Some(Wanted::Nothing));
            }
            SourceState::MountGone => {
                let fault = Fault::client(
                    "source_mount_gone",
                    "the mount of this secret was disabled; the remote entry is left as it is until the association is removed",
                );
                work.whole = Some(Outcome::Unknown(self.failure(opened, work, &fault)));
                return Ok(None);
            }
            SourceState::Unknown { message } => {
                let fault = Fault::internal("source_unreadable", message);
                work.whole = Some(Outcome::Failed(self.failure(opened, work, &fault)));
                return Ok(None);
            }
        };
        let values = values_of(&association);
        let targets = match spread::spread(opened.kind, &opened.options, &values, &data) {
            Ok(targets) => targets,
            Err(fault) => {
                work.whole = Some(Outcome::Failed(self.failure(opened, work, &fault)));
                return Ok(None);
            }
        };
        let targets = self.claim(opened, work, targets).await?;
        Ok(Some(Wanted::Entries(version, targets)))
    }

    /// Claims the names that are new, and notes them in the ledger before anything is written under
    /// them, so that a crash can leave nothing behind that nobody knows of. A name that another
    /// source holds is not delivered.
    async fn claim(
        &self,
        opened: &Opened,
        work: &mut Work,
        mut targets: Vec<Target>,
    ) -> Result<Vec<Target>, StoreError> {
        let keys = self.store.keys();
        let association_key = keys.association(opened.record.id, work.source);
        loop {
            let mut transaction = self.store.transaction();
            let claimed = self.claim_names(opened, work, &mut targets, &mut transaction).await?;
            if claimed.is_empty() {
                return Ok(targets);
            }
            let mut next = work.association.record.clone();
            next.entries.extend(claimed);
            transaction
                .expect(&association_key, Some(work.association.revision))
                .put(&association_key, &next);
            match transaction.commit().await {
                Ok(revision) => {
                    work.association = Stored { record: next, revision };
                    return Ok(targets);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
            match self.store.get(&association_key).await? {
                Some(fresh) => work.association = fresh,
                None => return Err(StoreError::Conflict),
            }
        }
    }

    /// Adds the claims that are needed to a transaction and returns their ledger entries.
    async fn claim_names(
        &self,
        opened: &Opened,
        work: &Work,
        targets: &mut [Target],
        transaction: &mut Transaction,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        let names = &opened.kind.abilities().names;
        let mut claimed = Vec::new();
        for target in targets {
            let Target::Entry(desired) = target else { continue };
            let identity = names.identity(&desired.name);
            if work.association.record.entries.iter().any(|entry| names.identity(&entry.name) == identity) {
                continue;
            }
            let key = self.store.keys().name_claim(opened.record.id, &identity);
            match self.store.get(&key).await? {
                Some(claim) if claim.record.source != work.source => {
                    *target = Target::Illegal {
                        sub_key: desired.sub_key.clone(),
                        name: None,
                        fault: Fault::client(
                            "name_collision",
                            "another associated secret already has this remote name; change the name template",
                        ),
                    };
                    continue;
                }
                held => transaction.expect(&key, held.map(|claim| claim.revision)),
            };
            let claim = NameClaim {
                source: work.source,
                sub_key: desired.sub_key.clone(),
                name: desired.name.clone(),
            };
            transaction.put(&key, &claim);
            claimed.push(plan::unwritten(desired, opened.options.granularity, self.clock.now()));
        }
        Ok(claimed)
    }

    /// Whether this removal must wait for a person (decisions 8).
    async fn hold_mass_delete(
        self: &Arc<Self>,
        opened: &Opened,
        work: &mut Work,
    ) -> Result<bool, StoreError> {
        let settings = &self.settings;
        let written = work.association.record.entries.iter().any(|entry| entry.fingerprint.is_some());
        if settings.mass_delete_percent == 0 || !written {
            return Ok(false);
        }
        let now = self.clock.now();
        let window_start =
            Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos(settings.mass_delete_window)));
        let recent = self.lanes().lane(opened.record.id).recent_removals(window_start);
        let held = if opened.record.mass_delete_held.is_some() {
            true
        } else if opened.record.mass_delete_confirmed.is_some_and(|at| at > window_start) {
            false
        } else if recent >= settings.mass_delete_count {
            let total = self.count_associations(opened.record.id).await?;
            (recent + 1) * 100 > total * settings.mass_delete_percent
        } else {
            false
        };
        if !held {
            self.lanes().lane(opened.record.id).removed(now);
            return Ok(false);
        }
        if opened.record.mass_delete_held.is_none() {
            tracing::warn!(destination = %opened.record.key, "more removals than allowed at once; they are held until confirmed");
            self.edit_destination(&opened.record.key, |record| record.mass_delete_held = Some(now)).await?;
        }
        let fault = Fault::client(
            MASS_DELETE_HELD,
            "too many secrets of this destination were deleted at the source at once; the remote entry stays until a person confirms (POST …/confirm-deletes)",
        );
        work.whole = Some(Outcome::Failed(self.failure(opened, work, &fault)));
        Ok(true)
    }

    fn failure(&self, opened: &Opened, work: &Work, fault: &Fault) -> Failure {
        let now = self.clock.now();
        let mut failure = plan::failure(fault, now, work.version, opened.record.generation);
        failure.retry_at = self.retry_at(fault, work.association.record.attempts, now);
        failure
    }

    pub(crate) fn fingerprint(&self, opened: &Opened, desired: &Desired) -> [u8; 32] {
        // EXPOSE: into a keyed digest.
        let name = desired.name.as_str().as_bytes();
        let parts = [opened.record.id.as_bytes().as_slice(), name, desired.value.expose()];
        self.store.keys().digest("fingerprint", &parts)
    }

    /// Repeats of one write have one id; the association's birth and turn keep a value that comes
    /// back to what it once was apart (decisions 26). The fingerprint already binds destination,
    /// name and value.
    pub(crate) fn write_id(
        &self,
        association: &Association,
        version: Version,
        fingerprint: &[u8; 32],
    ) -> WriteId {
        let parts = [
            association.id.as_bytes().as_slice(),
            &association.created.as_nanos().to_be_bytes(),
            &association.turn.to_be_bytes(),
            &version.0.to_be_bytes(),
            fingerprint,
        ];
        WriteId(self.store.keys().digest("write", &parts))
    }
}

/// The associations being worked on, to note writes in before they are sent.
struct Ledgers<'a> {
    inner: &'a Inner,
    destination: DestinationId,
    associations: tokio::sync::Mutex<Vec<(Node, Stored<Association>)>>,
}

#[async_trait]
impl Journal for Ledgers<'_> {
    async fn note(&self, group: usize, writes: &[(&RemoteName, WriteId)]) -> bool {
        let mut associations = self.associations.lock().await;
        let Some((source, association)) = associations.get_mut(group) else { return false };
        let key = self.inner.store.keys().association(self.destination, *source);
        for _ in 0..3 {
            let mut next = association.record.clone();
            for (name, write) in writes {
                // An entry that is not there any more has been given up meanwhile.
                let Some(entry) = next.entries.iter_mut().find(|entry| entry.name == **name) else {
                    return false;
                };
                entry.write = Some(write.0);
            }
            let mut transaction = self.inner.store.transaction();
            transaction.expect(&key, Some(association.revision)).put(&key, &next);
            match transaction.commit().await {
                Ok(revision) => {
                    *association = Stored { record: next, revision };
                    return true;
                }
                Err(StoreError::Conflict) => {}
                Err(_) => return false,
            }
            // Someone changed it meanwhile, and asked for another look at it.
            match self.inner.store.get(&key).await {
                Ok(Some(fresh)) => *association = fresh,
                _ => return false,
            }
        }
        false
    }
}

/// What a name template sees of an association.
pub(crate) fn values_of(association: &Association) -> Values<'_> {
    Values {
        destination_type: &association.destination.kind,
        destination_name: association.destination.name.as_str(),
        mount_path: association.mount.trim_end_matches('/'),
        mount_accessor: association.accessor.as_str(),
        secret_path: association.path.as_str(),
        secret_key: "",
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
