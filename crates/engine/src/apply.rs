//! Carries out planned steps at one destination. Every step may be carried out again: a crash, a
//! retry or a second server doing the same work changes nothing at the destination.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use destinations::{
    Abilities, Destination, Expect, Fault, Last, Mark, Present, Put, PutOutcome, Receipt, Remote, Remove,
    WriteId,
};
use model::{RemoteName, Timestamp, Version};
use store::records::{self, LedgerEntry};
use tokio::time::Instant;

use crate::{
    calls::Teller,
    cluster::{LEASE_LAPSED, Lease},
    gate::Gate,
    observer::Act,
    plan::{PutStep, Step},
    quota::Operation,
};

/// What applying needs beside the steps.
pub struct Site<'a> {
    /// The opened destination.
    pub destination: &'a Arc<dyn Destination>,
    /// Its rules.
    pub abilities: &'a Abilities,
    /// Custom tags now wanted.
    pub tags: &'a BTreeMap<String, String>,
    /// Their names.
    pub tag_names: &'a [String],
    /// Digest of tags and per-secret settings now wanted.
    pub settings: [u8; 32],
    /// Take over what is a stranger's.
    pub overwrite: bool,
    /// Where calls wait for their turn; `None`: they need not.
    pub gate: Option<&'a Gate>,
    /// Told of every call.
    pub(crate) told: Option<&'a Teller<'a>>,
    /// What calls may be made on; `None`: nobody else could make them.
    pub lease: Option<&'a Lease>,
    /// Told before first writes to a destination that holds no marks.
    pub journal: Option<&'a dyn Journal>,
    /// Now.
    pub now: Timestamp,
}

impl Site<'_> {
    /// Makes a call while the lease holds.
    async fn leased<T>(
        &self,
        entries: usize,
        call: impl Future<Output = Vec<Result<T, Fault>>>,
    ) -> Vec<Result<T, Fault>> {
        let Some(lease) = self.lease else { return call.await };
        let given_up = || {
            Fault::internal(
                LEASE_LAPSED,
                "this server could not make sure in time that the work is still its own; the call was given up and is repeated",
            )
        };
        if !lease.holds() {
            return (0..entries).map(|_| Err(given_up())).collect();
        }
        match lease.during(call).await {
            Some(answers) => answers,
            None => (0..entries).map(|_| Err(given_up().ambiguous())).collect(),
        }
    }

    /// Makes a call that concerns so many entries, once its turn has come.
    async fn call<T>(
        &self,
        operation: Operation,
        entries: usize,
        call: impl Future<Output = Vec<Result<T, Fault>>>,
    ) -> Vec<Result<T, Fault>> {
        let begun = Instant::now();
        let call = self.leased(entries, call);
        let tell = async |waited| match self.told {
            Some(teller) => teller.call(operation, entries, waited, call).await,
            None => call.await,
        };
        let Some(gate) = self.gate else { return tell(Duration::ZERO).await };
        // A bulk call is one call, however much it carries.
        let times = if self.abilities.batch > 1 { 1 } else { entries };
        let turn = match gate.turn(operation, times).await {
            Ok(turn) => turn,
            Err(fault) => return (0..entries).map(|_| Err(fault.clone())).collect(),
        };
        let answers = tell(begun.elapsed()).await;
        let throttled = answers.iter().filter_map(|answer| answer.as_ref().err()).find(|f| f.is_throttled());
        turn.answered(throttled);
        answers
    }
}

/// Where nothing can be marked, the ledger is the proof of what is ours. So it is told that a first write is
/// about to be sent, after looking and before sending: what it does not know of was never written.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Notes these writes of the job group's association. False when that could not be done: then they
    /// are not sent.
    async fn note(&self, group: usize, writes: &[(&RemoteName, WriteId)]) -> bool;
}

/// Whose entry a step is about, and which write it would be.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The mark, without a write.
    pub mark: Mark,
    /// The source version.
    pub version: Version,
}

/// One step to carry out.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which association it belongs to, for the caller.
    pub group: usize,
    /// Whose it is.
    pub owner: Owner,
    /// The write it would be. Ignored for removals.
    pub write: WriteId,
    /// What to do.
    pub step: Step,
}

/// What came of a step.
#[derive(Debug)]
pub struct Done {
    /// Which association it belongs to.
    pub group: usize,
    /// What was done, or with a fault tried.
    pub act: Act,
    /// The entry as it now is known; `None` when nothing of ours is left.
    pub entry: Option<LedgerEntry>,
    /// The name of an entry that is gone, so that its claim can be given up.
    pub gone: Option<LedgerEntry>,
    /// Why it is not as it should be.
    pub fault: Option<Fault>,
}

/// Carries out the steps of any number of associations: looks first, then writes, then removals,
/// each in bulk where the destination can.
pub async fn apply(site: &Site<'_>, jobs: Vec<Job>) -> Vec<Done> {
    let mut done = Vec::with_capacity(jobs.len());
    let mut writes = Vec::new();
    let mut removals = Vec::new();
    for job in jobs {
        let Job { group, owner, write, step } = job;
        match step {
            Step::Keep(entry) => {
                done.push(Done { group, act: Act::Nothing, entry: Some(entry), gone: None, fault: None });
            }
            Step::Forget(entry) => {
                done.push(Done { group, act: Act::Forget, entry: None, gone: Some(entry), fault: None });
            }
            Step::Refuse(entry, fault) => {
                let (act, entry, fault) = (Act::Nothing, Some(entry), Some(fault));
                done.push(Done { group, act, entry, gone: None, fault });
            }
            Step::Put(step) => {
                writes.push(Writing {
                    group,
                    mark: Mark { write: Some(write), ..owner.mark },
                    version: owner.version,
                    step,
                    how: How::Fresh,
                });
            }
            Step::Remove(entry) => removals.push((group, owner, entry)),
        }
    }
    write_all(site, writes, &mut done).await;
    remove_all(site, removals, &mut done).await;
    done
}

/// A write on its way.
pub(crate) struct Writing {
    pub(crate) group: usize,
    pub(crate) mark: Mark,
    pub(crate) version: Version,
    pub(crate) step: Box<PutStep>,
    pub(crate) how: How,
}

/// What is known of the place a write goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// What the ledger says.
    Fresh,
    /// Looked: it is not there.
    Gone,
    /// Looked: it is ours.
    Ours,
    /// It may be taken over.
    TakeOver {
        /// Nobody could look.
        unverified: bool,
    },
}

impl Writing {
    fn expect(&self, site: &Site<'_>) -> Expect<'_> {
        let handle = self.step.entry.receipt.handle.as_deref();
        match self.how {
            How::TakeOver { .. } => Expect::Anything,
            How::Gone => Expect::Absent,
            How::Ours => Expect::Ours(handle),
            How::Fresh if self.written() => Expect::Ours(handle),
            How::Fresh if site.overwrite => Expect::Anything,
            How::Fresh => Expect::Absent,
        }
    }

    fn written(&self) -> bool {
        self.step.entry.fingerprint.is_some()
    }

    /// A write was sent, or may have been.
    fn sent(&self) -> bool {
        self.step.entry.write.is_some()
    }

    fn put<'a>(&'a self, site: &'a Site<'a>) -> Put<'a> {
        Put {
            name: &self.step.desired.name,
            value: &self.step.desired.value,
            encoding: self.step.desired.encoding,
            mark: &self.mark,
            tags: site.tags,
            expect: self.expect(site),
            value_changed: self.step.value_changed || !matches!(self.how, How::Fresh | How::Ours),
            settings_changed: self.step.tags_gone.as_deref(),
            last: Last {
                revision: self.step.entry.receipt.revision.as_deref(),
                unsure: self.step.entry.unsure,
            },
        }
    }

    fn judge(&self, site: &Site<'_>, present: &Present) -> Result<How, Fault> {
        // Where nothing can be marked, the ledger is the proof.
        if !site.abilities.marks && !present.managed_by_provider && (self.written() || self.sent()) {
            return Ok(How::Ours);
        }
        judge(site.overwrite, &self.mark, self.written(), present)
    }

    /// It is there as it should be, with this receipt.
    fn settled(self, site: &Site<'_>, act: Act, receipt: Receipt) -> Done {
        let mut entry = self.step.entry;
        let news =
            entry.fingerprint != Some(self.step.fingerprint) || entry.failure.is_some() || entry.unsure;
        entry.fingerprint = Some(self.step.fingerprint);
        entry.write = self.mark.write.map(|write| write.0);
        entry.version = self.version;
        entry.settings = site.settings;
        entry.tags = site.tag_names.to_vec();
        entry.receipt = records::Receipt { handle: receipt.handle, revision: receipt.revision };
        entry.unsure = false;
        entry.unverified = match self.how {
            How::TakeOver { unverified } => unverified,
            // Where there are no marks, nothing that is seen later verifies it.
            How::Fresh | How::Gone | How::Ours => entry.unverified && !site.abilities.marks,
        };
        entry.failure = None;
        if news {
            entry.changed = site.now;
        }
        Done { group: self.group, act, entry: Some(entry), gone: None, fault: None }
    }

    fn failed(self, fault: Fault) -> Done {
        let mut entry = self.step.entry;
        if fault.code == "name_taken" {
            // Looked at and a stranger's: no write of ours is there.
            entry.unsure = false;
        }
        if fault.ambiguous {
            entry.unsure = true;
            entry.write = self.mark.write.map(|write| write.0);
        }
        Done { group: self.group, act: Act::Write, entry: Some(entry), gone: None, fault: Some(fault) }
    }
}

async fn write_all(site: &Site<'_>, writes: Vec<Writing>, done: &mut Vec<Done>) {
    let (mut look, mut ready): (Vec<_>, Vec<_>) = writes.into_iter().partition(|writing| writing.step.look);
    if !look.is_empty() {
        let names: Vec<_> = look.iter().map(|writing| writing.step.desired.name.clone()).collect();
        let remotes = site.call(Operation::Look, names.len(), site.destination.look_many(&names)).await;
        for (writing, remote) in look.drain(..).zip(remotes) {
            match seen(site, writing, remote) {
                Ok(writing) => ready.push(writing),
                Err(settled) => done.push(*settled),
            }
        }
    }
    // A second round only for what a first one found taken by something that may be taken over.
    for round in 0..2 {
        let outcomes = put_chunks(site, &ready).await;
        let mut again = Vec::new();
        for (mut writing, outcome) in ready.drain(..).zip(outcomes) {
            match outcome {
                Ok(PutOutcome::Written(receipt)) => done.push(writing.settled(site, Act::Write, receipt)),
                Ok(PutOutcome::Taken(present)) if round == 0 => match writing.judge(site, &present) {
                    Ok(how) => {
                        writing.how = how;
                        again.push(writing);
                    }
                    Err(fault) => done.push(writing.failed(fault)),
                },
                Ok(PutOutcome::Taken(present)) => {
                    let fault = taken(&writing.mark, writing.written(), &present);
                    done.push(writing.failed(fault));
                }
                Err(fault) => done.push(writing.failed(fault)),
            }
        }
        if again.is_empty() {
            break;
        }
        ready = again;
    }
}

/// What a look means for a write: go on, or it is settled.
pub(crate) fn seen(
    site: &Site<'_>,
    mut writing: Writing,
    remote: Result<Remote, Fault>,
) -> Result<Writing, Box<Done>> {
    match remote {
        Err(fault) => {
            // Looking sends no write, whatever became of it. What it was to show is still not known.
            writing.step.entry.unsure = true;
            Err(Box::new(writing.failed(Fault { ambiguous: false, ..fault })))
        }
        Ok(Remote::Absent) => {
            writing.how = How::Gone;
            Ok(writing)
        }
        Ok(Remote::CannotTell) => {
            if !writing.written() {
                writing.how = How::TakeOver { unverified: true };
            }
            // A refresh that cannot look writes again, so that a person's wish has its effect.
            writing.step.value_changed = true;
            Ok(writing)
        }
        Ok(Remote::Present(present)) => match writing.judge(site, &present) {
            Err(fault) => Err(Box::new(writing.failed(fault))),
            Ok(how) => {
                writing.how = how;
                let there = present.mark.as_ref().and_then(|mark| mark.write);
                let last = &writing.step.entry;
                // A mark outlives a change of the value by hand where it is not part of the value's
                // version; the service's revision does not.
                let untouched = last.receipt.revision.is_none()
                    || present.revision.is_none()
                    || present.revision == last.receipt.revision;
                // Where the service cannot tell which write an entry holds, its revision does.
                let as_last_written = match there {
                    Some(write) => Some(write.0) == last.write && untouched,
                    None => {
                        present.revision.is_some()
                            && present.revision == last.receipt.revision
                            && !last.unsure
                    }
                };
                let as_wanted = there.is_some() && there == writing.mark.write;
                let receipt = Receipt { handle: present.handle.clone(), revision: present.revision };
                if how == How::Ours && !present.recoverable && writing.step.tags_gone.is_none() {
                    if as_wanted {
                        return Err(Box::new(writing.settled(site, Act::Verify, receipt)));
                    }
                    if as_last_written && !writing.step.value_changed {
                        writing.mark.write = writing.step.entry.write.map(WriteId);
                        return Err(Box::new(writing.settled(site, Act::Verify, receipt)));
                    }
                }
                // It is not what was last written: someone changed it there.
                writing.step.value_changed |= !as_last_written;
                writing.step.entry.receipt.handle = present.handle;
                Ok(writing)
            }
        },
    }
}

/// Whether what is there may be written, and how. `written`: it once was ours.
pub(crate) fn judge(overwrite: bool, mark: &Mark, written: bool, present: &Present) -> Result<How, Fault> {
    if present.managed_by_provider {
        return Err(Fault::client(
            "managed_by_provider",
            "the entry of this name belongs to another service of the provider and is never written; choose another name",
        ));
    }
    if present.mark.as_ref().is_some_and(|there| there.same_owner(mark)) {
        return Ok(How::Ours);
    }
    if overwrite {
        return Ok(How::TakeOver { unverified: false });
    }
    if present.unreadable {
        return Ok(How::TakeOver { unverified: true });
    }
    // Vault's entries are adopted by whoever takes over from it; not once they were ours.
    if present.vaults && present.mark.is_none() && !written {
        return Ok(How::TakeOver { unverified: false });
    }
    Err(taken(mark, written, present))
}

/// What is there is not ours.
pub(crate) fn taken(mark: &Mark, written: bool, present: &Present) -> Fault {
    let later =
        present.mark.as_ref().is_some_and(|there| there.store == mark.store && there.epoch > mark.epoch);
    if later {
        return Fault::client(
            "later_restore",
            "the entry was written by a copy of this store that was restored later, so it is left alone; stop the older copy, or adopt the entry with on_conflict = overwrite",
        );
    }
    if written {
        return Fault::client(
            "ownership_lost",
            "the entry no longer bears this association's mark, so it is left alone; to take it over set on_conflict = overwrite and set the association again",
        );
    }
    Fault::client(
        "name_taken",
        "an entry of this name that keyferry did not write is already there and is left alone; to adopt it set on_conflict = overwrite and set the association again, or choose another name template",
    )
}

async fn put_chunks(site: &Site<'_>, writes: &[Writing]) -> Vec<Result<PutOutcome, Fault>> {
    let mut outcomes = Vec::with_capacity(writes.len());
    for chunk in writes.chunks(site.abilities.batch.max(1)) {
        let first_writes = chunk.iter().any(|writing| !writing.written());
        let operation = if first_writes { Operation::Create } else { Operation::Update };
        let puts: Vec<_> = chunk.iter().map(|writing| writing.put(site)).collect();
        let answers = site
            .call(operation, puts.len(), async {
                if !note(site, chunk).await {
                    let fault =
                        || Fault::internal("ledger_busy", "the write could not be noted before it was sent");
                    return chunk.iter().map(|_| Err(fault())).collect();
                }
                match puts.as_slice() {
                    [one] => vec![site.destination.put(one).await],
                    many => site.destination.put_many(many).await,
                }
            })
            .await;
        outcomes.extend(answers);
    }
    // An adapter that answers too little has not said what happened.
    while outcomes.len() < writes.len() {
        outcomes.push(Err(Fault::internal(
            "adapter_incomplete",
            "the adapter gave no answer for this entry",
        )
        .ambiguous()));
    }
    outcomes
}

/// Notes first writes where the ledger is the only proof. Whether they may be sent.
async fn note(site: &Site<'_>, chunk: &[Writing]) -> bool {
    let Some(journal) = site.journal else { return true };
    let mut groups = BTreeMap::<usize, Vec<(&RemoteName, WriteId)>>::new();
    for writing in chunk.iter().filter(|writing| !writing.written() && !writing.sent()) {
        if let Some(write) = writing.mark.write {
            groups.entry(writing.group).or_default().push((&writing.step.desired.name, write));
        }
    }
    for (group, its) in groups {
        if !journal.note(group, &its).await {
            return false;
        }
    }
    true
}

async fn remove_all(site: &Site<'_>, removals: Vec<(usize, Owner, LedgerEntry)>, done: &mut Vec<Done>) {
    let mut ready = Vec::with_capacity(removals.len());
    for (group, owner, entry) in removals {
        // An entry whose successor could not be written stays until it can (decisions 10).
        let successor_failed = done.iter().any(|other| {
            other.group == group
                && other.fault.is_some()
                && other.entry.as_ref().is_some_and(|e| e.sub_key == entry.sub_key && e.name != entry.name)
        });
        if successor_failed {
            done.push(Done { group, act: Act::Nothing, entry: Some(entry), gone: None, fault: None });
        } else {
            ready.push((group, owner, entry));
        }
    }
    for chunk in ready.chunks(site.abilities.batch.max(1)) {
        let removes: Vec<_> = chunk
            .iter()
            .map(|(_, owner, entry)| Remove {
                name: &entry.name,
                handle: entry.receipt.handle.as_deref(),
                owner: (site.abilities.marks && !entry.unverified).then_some(&owner.mark),
            })
            .collect();
        let outcomes = site
            .call(Operation::Remove, removes.len(), async {
                match removes.as_slice() {
                    [one] => vec![site.destination.remove(one).await],
                    many => site.destination.remove_many(many).await,
                }
            })
            .await;
        let unanswered =
            || Err(Fault::internal("adapter_incomplete", "the adapter gave no answer for this entry"));
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(unanswered));
        for ((group, _, entry), outcome) in chunk.iter().zip(outcomes) {
            let group = *group;
            done.push(match outcome {
                Ok(()) => {
                    let gone = Some(entry.clone());
                    Done { group, act: Act::Remove, entry: None, gone, fault: None }
                }
                // It was never known to be ours, and now is known not to be.
                Err(fault) if fault.code == "ownership_lost" && entry.fingerprint.is_none() => {
                    let gone = Some(entry.clone());
                    Done { group, act: Act::Forget, entry: None, gone, fault: None }
                }
                Err(fault) => {
                    let mut entry = entry.clone();
                    // It may be gone: whoever wants it back must not rely on what was written.
                    entry.unsure |= fault.ambiguous;
                    Done { group, act: Act::Remove, entry: Some(entry), gone: None, fault: Some(fault) }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use destinations::{Encoding, kinds};
    use model::{AssociationId, Granularity, RemoteName, StoreId};

    use super::*;
    use crate::{plan::unwritten, spread::Desired};

    /// What a look makes of an entry of revision 7 that was last written as revision 7 by write 3, at a
    /// service that does not hold which write it was.
    fn looked(revision: Option<&str>, unsure: bool) -> Result<Writing, Box<Done>> {
        let kind = kinds().iter().find(|kind| kind.slug() == "in-mem").unwrap();
        let clock = Arc::new(model::ManualClock::new(Timestamp::from_secs(9)));
        let net = crate::testing::quiet_net(clock, Arc::new(model::SeededEntropy::new(1)));
        let destination = kind.open(&destinations::Config::default(), &net).unwrap();
        let mark = Mark {
            store: StoreId::from_bytes([1; 16]),
            epoch: 1,
            association: AssociationId::from_bytes([2; 16]),
            version: 1,
            write: Some(WriteId([4; 32])),
        };
        let site = Site {
            destination: &destination,
            abilities: kind.abilities(),
            tags: &BTreeMap::new(),
            tag_names: &[],
            settings: [0; 32],
            overwrite: false,
            gate: None,
            told: None,
            lease: None,
            journal: None,
            now: Timestamp::from_secs(9),
        };
        let desired = Desired {
            sub_key: None,
            name: RemoteName::from_kind("n"),
            value: "v".into(),
            encoding: Encoding::Text,
        };
        let mut entry = unwritten(&desired, Granularity::SecretPath, site.now);
        entry.fingerprint = Some([8; 32]);
        entry.write = Some([3; 32]);
        entry.receipt.revision = Some("7".to_owned());
        entry.unsure = unsure;
        let step = PutStep {
            desired,
            fingerprint: [8; 32],
            entry,
            look: true,
            value_changed: unsure,
            tags_gone: None,
        };
        let there = Present {
            mark: Some(Mark { write: None, ..mark.clone() }),
            revision: revision.map(ToOwned::to_owned),
            ..Present::default()
        };
        let writing = Writing { group: 0, mark, version: Version(1), step: Box::new(step), how: How::Fresh };
        seen(&site, writing, Ok(Remote::Present(there)))
    }

    #[test]
    fn a_revision_proves_a_write_where_the_service_keeps_no_mark_of_it() {
        let settled = looked(Some("7"), false).err().unwrap();
        assert_eq!(settled.entry.unwrap().write, Some([3; 32]));
        for (revision, unsure) in [(Some("8"), false), (None, false), (Some("7"), true)] {
            let writing = looked(revision, unsure).ok().unwrap();
            assert!(writing.step.value_changed, "{revision:?} {unsure}");
        }
    }
}
