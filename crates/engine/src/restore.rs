//! After the store was restored from a snapshot: nothing is sent out before a person has seen what would
//! change and has said that it may (decisions 6a).
//!
//! A restored ledger is older than what is at the destinations. So once the restore is confirmed every
//! association counts as not looked at yet, and what services answered before the restore (handles,
//! revisions) is forgotten: each entry is looked at, proven to bear this store's and this association's mark,
//! and written only where it is not what the store holds. What the store does not know of is never touched.

use std::sync::Arc;

use destinations::{Mark, Remote};
use model::{DestinationKey, RemoteName, SecretPath, Version};
use store::{
    Keys, StoreError, Stored,
    records::{Association, Cause, Destination, Outbox, Outcome, Receipt, Restored},
};

use crate::{
    Engine,
    apply::{How, Site, Writing, seen, taken},
    engine::Inner,
    plan::{self, Context, Step, Wanted},
    registry::Opened,
    source::SourceState,
    spread::{self, Desired},
    worker::values_of,
};

/// Associations read, and looked at, at a time.
const PAGE: usize = 256;

/// Whether nobody has looked since the restore at what is recorded of an association as written. Holds for
/// one look: what that could not prove is unsure from then on.
pub(crate) fn is_unproven(association: &Association) -> bool {
    association.outcome == Outcome::New
        && association.version == Version(0)
        && association.entries.iter().any(|entry| entry.fingerprint.is_some())
}

/// What confirming a restore would do.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The restore.
    pub restored: Restored,
    /// What would come of it at each destination, sorted by type and name.
    pub destinations: Vec<DestinationForecast>,
}

/// What would come of one destination.
#[derive(Debug, Clone)]
pub struct DestinationForecast {
    /// The destination.
    pub key: DestinationKey,
    /// One for each entry, in no order.
    pub entries: Vec<Foreseen>,
    /// There are more associations than were asked for.
    pub truncated: bool,
}

/// What would become of one entry.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// Its name at the destination; empty where there can be none.
    pub name: RemoteName,
    /// The path of the source's mount.
    pub mount: String,
    /// The source.
    pub path: SecretPath,
    /// The key it holds, if it holds one.
    pub sub_key: Option<String>,
    /// What would become of it.
    pub forecast: Forecast,
}

/// What would become of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forecast {
    /// It is not there and would be created.
    Create,
    /// It is not what the store holds, or that cannot be told, and would be written over.
    Overwrite,
    /// It would be removed: its source is deleted in the restored store.
    Remove,
    /// It would be left as it is: it is what it should be, or is not there and should not be.
    Leave,
    /// It would be left as it is, for this reason.
    Refuse(String),
    /// It cannot be told now, for this reason; it would be left as it is while that is so.
    Unknown(String),
}

impl Engine {
    /// The restore that waits for a person, if one does.
    pub async fn unconfirmed_restore(&self) -> Result<Option<Restored>, StoreError> {
        self.0.store.unconfirmed_restore().await
    }

    /// What confirming the restore would do, found out by reading alone: at most `limit` associations of each
    /// destination, or of the one named. `None`: no restore waits.
    pub async fn restore_plan(
        &self,
        only: Option<&DestinationKey>,
        limit: usize,
    ) -> Result<Option<RestorePlan>, StoreError> {
        let Some(restored) = self.unconfirmed_restore().await? else { return Ok(None) };
        let mut destinations = Vec::new();
        for (_, stored) in self.0.store.scan_all(&self.0.store.keys().destinations()).await? {
            if only.is_none_or(|only| *only == stored.record.key) {
                destinations.push(self.0.forecast(&stored.record, limit).await?);
            }
        }
        destinations
            .sort_by(|a, b| (&a.key.kind, a.key.name.as_str()).cmp(&(&b.key.kind, b.key.name.as_str())));
        Ok(Some(RestorePlan { restored, destinations }))
    }

    /// Says that destinations may be written to again. Nothing happens where no restore waits.
    ///
    /// # Errors
    /// When the store fails, or was restored again meanwhile: then nothing is sent out.
    pub async fn confirm_restore(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        if self.unconfirmed_restore().await?.is_none() {
            return Ok(());
        }
        let prefix = inner.store.keys().associations();
        let mut after = None;
        loop {
            let page = inner.store.scan(&prefix, after.as_ref(), PAGE).await?;
            let last = page.len() < PAGE;
            for (key, association) in &page {
                inner.distrust(key, association.clone()).await?;
            }
            after = page.into_iter().last().map(|(key, _)| key);
            if last {
                break;
            }
        }
        // Only now does anybody work.
        inner.store.confirm_restore(inner.clock.as_ref()).await?;
        tracing::warn!(
            "the restore was confirmed; destinations are compared with the store and brought in line"
        );
        inner.resume(false).await
    }
}

impl Inner {
    /// Whether the store was restored and nobody has said yet that it is to be delivered from. Also while
    /// this process still works with what it read before another one restored the store.
    pub(crate) async fn awaits_confirmation(&self) -> Result<bool, StoreError> {
        let stored = self.store.get_cached(&self.store.keys().restored(), &self.restored).await?;
        let Some(restored) = stored.as_ref().map(|stored| &stored.record) else { return Ok(false) };
        let behind = restored.epoch != self.store.header().epoch;
        if behind {
            tracing::error!(
                "the store was restored underneath this server; nothing is sent out before it is started again"
            );
        }
        Ok(behind || restored.confirmed.is_none())
    }

    /// Nothing that is recorded of an association is believed before it has been looked at.
    async fn distrust(
        &self,
        key: &store::RecordKey<Association>,
        mut stored: Stored<Association>,
    ) -> Result<(), StoreError> {
        let Some((destination, source)) = Keys::parts_of_association(key.as_bytes()) else { return Ok(()) };
        loop {
            let mut next = stored.record;
            next.outcome = Outcome::New;
            next.version = Version(0);
            next.entries.iter_mut().for_each(|entry| entry.receipt = Receipt::default());
            let cause = if next.removing { Cause::Remove } else { Cause::Set };
            let row = Outbox { at: self.clock.now(), due: None, cause };
            let mut transaction = self.store.transaction();
            transaction.expect(key, Some(stored.revision)).put(key, &next);
            transaction.put(&self.store.keys().outbox(destination, source), &row);
            match transaction.commit().await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict) => match self.store.get(key).await? {
                    Some(fresh) => stored = fresh,
                    None => return Ok(()),
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn forecast(
        self: &Arc<Self>,
        destination: &Destination,
        limit: usize,
    ) -> Result<DestinationForecast, StoreError> {
        let key = destination.key.clone();
        let prefix = self.store.keys().associations_of(destination.id);
        let mut forecast = DestinationForecast { key, entries: Vec::new(), truncated: false };
        let opened = self.registry.get(&self.store, destination.id, &destination.key, &self.accounts).await?;
        let (mut after, mut left) = (None, limit);
        loop {
            let asked = PAGE.min(left.saturating_add(1));
            let page = self.store.scan(&prefix, after.as_ref(), asked).await?;
            for (_, association) in page.iter().take(left) {
                if let Some(opened) = &opened {
                    self.foresee(opened, &association.record, &mut forecast.entries).await;
                }
            }
            if page.len() > left {
                forecast.truncated = true;
                return Ok(forecast);
            }
            left -= page.len();
            let over = page.len() < asked;
            after = page.into_iter().last().map(|(key, _)| key).or(after);
            if over {
                return Ok(forecast);
            }
        }
    }

    /// The plan that a worker would make, and what looking says about each of its steps.
    async fn foresee(&self, opened: &Opened, association: &Association, into: &mut Vec<Foreseen>) {
        let mut tell = |name: RemoteName, sub_key: Option<String>, forecast: Forecast| {
            into.push(Foreseen {
                name,
                mount: association.mount.clone(),
                path: association.path.clone(),
                sub_key,
                forecast,
            });
        };
        let nowhere = || RemoteName::from_kind("");
        let adapter = match &opened.adapter {
            Ok(adapter) => adapter,
            Err(fault) => return tell(nowhere(), None, Forecast::Unknown(fault.to_string())),
        };
        let previous = opened.options.previous_on_delete;
        let mut version = association.version;
        let wanted = if association.removing {
            Wanted::Nothing
        } else {
            match self.source.read(&association.accessor, &association.path, previous).await {
                SourceState::Present { version: read, data, .. } => {
                    version = read;
                    match spread::spread(opened.kind, &opened.options, &values_of(association), &data) {
                        Ok(targets) => Wanted::Entries(read, targets),
                        Err(fault) => return tell(nowhere(), None, Forecast::Refuse(fault.to_string())),
                    }
                }
                SourceState::Absent => Wanted::Nothing,
                SourceState::MountGone => {
                    let why = "the mount of this secret is not there in the restored store";
                    return tell(nowhere(), None, Forecast::Unknown(why.to_owned()));
                }
                SourceState::Unknown { message } => return tell(nowhere(), None, Forecast::Unknown(message)),
            }
        };
        let mut ledger = association.entries.clone();
        ledger.iter_mut().for_each(|entry| entry.receipt = Receipt::default());
        let fingerprint = |desired: &Desired| self.fingerprint(opened, desired);
        let context = Context {
            abilities: opened.kind.abilities(),
            settings: opened.options.settings,
            tags: &opened.tag_names,
            granularity: opened.options.granularity,
            always_look: true,
            refresh: true,
            generation: opened.record.generation,
            fingerprint: &fingerprint,
            now: self.clock.now(),
        };
        let site = Site {
            destination: adapter,
            abilities: opened.kind.abilities(),
            tags: &opened.options.tags,
            tag_names: &opened.tag_names,
            settings: opened.options.settings,
            overwrite: opened.options.overwrite,
            gate: None,
            lease: None,
            journal: None,
            told: None,
            now: self.clock.now(),
        };
        let header = self.store.header();
        let mark = Mark {
            store: header.id,
            epoch: header.epoch,
            association: association.id,
            version: version.0,
            write: None,
        };
        for step in plan::plan(wanted, ledger, &context) {
            match step {
                Step::Keep(entry) => tell(entry.name, entry.sub_key, Forecast::Leave),
                Step::Forget(_) => {}
                Step::Refuse(entry, fault) => {
                    tell(entry.name, entry.sub_key, Forecast::Refuse(fault.to_string()));
                }
                Step::Remove(entry) => {
                    let forecast = match adapter.look(&entry.name).await {
                        Err(fault) => Forecast::Unknown(fault.to_string()),
                        Ok(Remote::Absent) => Forecast::Leave,
                        Ok(Remote::Present(present))
                            if site.abilities.marks
                                && !entry.unverified
                                && !present.mark.as_ref().is_some_and(|there| there.same_owner(&mark)) =>
                        {
                            Forecast::Refuse(taken(&mark, true, &present).to_string())
                        }
                        Ok(_) => Forecast::Remove,
                    };
                    tell(entry.name, entry.sub_key, forecast);
                }
                Step::Put(put) => {
                    let (name, sub_key) = (put.desired.name.clone(), put.desired.sub_key.clone());
                    let write = self.write_id(association, version, &put.fingerprint);
                    let forecast = match adapter.look(&name).await {
                        Err(fault) => Forecast::Unknown(fault.to_string()),
                        Ok(remote) => {
                            let mark = Mark { write: Some(write), ..mark.clone() };
                            let writing = Writing { group: 0, mark, version, step: put, how: How::Fresh };
                            match seen(&site, writing, Ok(remote)) {
                                Ok(Writing { how: How::Gone, .. }) => Forecast::Create,
                                Ok(_) => Forecast::Overwrite,
                                Err(done) => match done.fault {
                                    Some(fault) => Forecast::Refuse(fault.to_string()),
                                    None => Forecast::Leave,
                                },
                            }
                        }
                    };
                    tell(name, sub_key, forecast);
                }
            }
        }
    }
}
