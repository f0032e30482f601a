//! One Vercel project (destinations.md 5).
//!
//! What a change costs. A first write is one plain POST for a whole batch: without `upsert` Vercel refuses
//! what is there already, so it needs no look, and cannot write over a stranger's variable however close
//! the race. A changed value is a PATCH of the record by the id it was given when we made it: a variable
//! that was deleted and made again by someone else does not answer to it. An upsert is addressed by name
//! and would write over it; so a batch of changes, where one upsert takes the place of many PATCHes, is
//! preceded by one list that shows whose the records are. Whatever goes against expectation ends at the
//! same place: one list for all that is unsettled, and what [`Listing::write`] makes of it.

use std::borrow::Cow;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use model::RemoteName;
use zeroize::Zeroizing;

use super::{
    MAX_VALUE_BYTES,
    api::Api,
    faults::{Meaning, Refusal},
    mark,
    post::{Item, Made},
    reconcile::{Listing, Step, Verdict},
    targets::{self, Targets},
    wire,
};
use crate::{Destination, Encoding, Expect, Fault, Present, Put, PutOutcome, Receipt, Remote, Remove, Retry};

/// Up to so many records are changed one by one: as many calls as a list and an upsert are.
const FEW: usize = 2;

pub(super) struct VercelProject {
    pub(super) api: Api,
    /// The environments of the configuration.
    pub(super) wanted: Targets,
    pub(super) always_look: bool,
}

/// A put on its way.
struct Job<'a> {
    put: &'a Put<'a>,
    value: Cow<'a, str>,
    comment: String,
    /// The records that are as they should be.
    done: Vec<(Targets, Made)>,
    /// Records made by this very call.
    fresh: Vec<String>,
    /// What it came to; `None`: not settled yet.
    outcome: Option<Result<PutOutcome, Fault>>,
}

/// Wiped when it is a copy.
impl Drop for Job<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(value) = &mut self.value {
            drop(Zeroizing::new(std::mem::take(value)));
        }
    }
}

impl<'a> Job<'a> {
    fn of(put: &'a Put<'a>) -> Self {
        let mut outcome = None;
        let value = match put.encoding {
            // Into the request body.
            Encoding::Text => match put.value.expose_text() {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => {
                    outcome = Some(Err(Fault::internal("value_not_text", "a text value is not UTF-8")));
                    Cow::Borrowed("")
                }
            },
            Encoding::Binary => Cow::Owned(BASE64_STANDARD.encode(put.value.expose())),
        };
        if value.len() > MAX_VALUE_BYTES {
            outcome = Some(Err(Fault::too_large(value.len(), MAX_VALUE_BYTES)));
        }
        if put.mark.write.is_none() {
            let fault = Fault::internal("write_id_missing", "a write came without its identity");
            outcome = Some(Err(fault));
        }
        Self { put, value, comment: mark::comment(put.mark), done: Vec::new(), fresh: Vec::new(), outcome }
    }

    fn item(&self, targets: Targets) -> Item<'_> {
        Item { key: self.put.name.as_str(), value: &self.value, comment: &self.comment, targets }
    }

    fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    fn fail(&mut self, fault: Fault) {
        self.outcome = Some(Err(fault));
    }

    /// A record is as it should be.
    fn made(&mut self, targets: Targets, made: Made, wanted: Targets) {
        self.done.retain(|(other, _)| *other != targets);
        self.done.push((targets, made));
        if self.done.len() == wanted.records().len() {
            let handle =
                targets::handle(self.done.iter().map(|(targets, made)| (*targets, made.id.as_str())));
            let revision = self.done.iter().filter_map(|(_, made)| made.revision.clone()).max();
            self.outcome = Some(Ok(PutOutcome::Written(Receipt { handle: Some(handle), revision })));
        }
    }
}

/// A variable on its way: which job's, for which environments.
type Place = (usize, Targets);

impl VercelProject {
    async fn write(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, Fault>> {
        let mut jobs: Vec<Job<'_>> = puts.iter().map(Job::of).collect();
        let mut first = Vec::new();
        let mut by_id = Vec::new();
        for (at, job) in jobs.iter().enumerate().filter(|(_, job)| job.is_open()) {
            // Settings are compared with what is there, value or not.
            if job.put.settings_changed.is_some() || !job.put.value_changed {
                continue;
            }
            match job.put.expect {
                Expect::Absent | Expect::Anything => {
                    first.extend(self.wanted.records().into_iter().map(|targets| (at, targets)));
                }
                Expect::Ours(handle) if !self.always_look => {
                    by_id.extend(self.ids(handle).into_iter().flatten().map(|(set, id)| (at, set, id)));
                }
                Expect::Ours(_) => {}
            }
        }
        self.create(&mut jobs, &first).await;
        if by_id.len() <= FEW {
            for (at, targets, id) in by_id {
                self.edit(&mut jobs[at], targets, id).await;
            }
        }
        if jobs.iter().any(Job::is_open) {
            match self.api.list().await {
                Ok(listing) => self.settle(&mut jobs, &listing).await,
                Err(refusal) => self.settle_unseen(&mut jobs, &refusal).await,
            }
        }
        let unsettled = || Err(Fault::internal("adapter_incomplete", "a write was not carried out"));
        jobs.iter_mut().map(|job| job.outcome.take().unwrap_or_else(unsettled)).collect()
    }

    /// The ids in a handle, if it is one of an entry made as entries are made now.
    fn ids<'h>(&self, handle: Option<&'h str>) -> Option<Vec<(Targets, &'h str)>> {
        let mut ids: Vec<(Targets, &str)> = targets::ids(handle?).collect();
        let mut wanted = self.wanted.records();
        ids.sort_unstable_by_key(|(targets, _)| targets.to_string());
        wanted.sort_unstable_by_key(Targets::to_string);
        ids.iter().map(|(targets, _)| *targets).eq(wanted).then_some(ids)
    }

    /// Makes what is not there. What is there stays unsettled.
    async fn create(&self, jobs: &mut [Job<'_>], places: &[Place]) {
        let outcomes = self.post(jobs, places, false).await;
        for ((at, targets), outcome) in places.iter().zip(outcomes) {
            let job = &mut jobs[*at];
            match outcome {
                Ok(made) => {
                    job.fresh.push(made.id.clone());
                    job.made(*targets, made, self.wanted);
                }
                Err(refusal) if refusal.meaning == Meaning::Conflict => {}
                Err(refusal) => job.fail(refusal.fault),
            }
        }
    }

    async fn post(&self, jobs: &[Job<'_>], places: &[Place], upsert: bool) -> Vec<Result<Made, Refusal>> {
        if places.is_empty() {
            return Vec::new();
        }
        let items: Vec<Item<'_>> = places.iter().map(|(at, targets)| jobs[*at].item(*targets)).collect();
        self.api.post(&items, upsert).await
    }

    /// Changes a record by its id. One that is gone, or in someone's way, leaves the job unsettled.
    async fn edit(&self, job: &mut Job<'_>, targets: Targets, id: &str) {
        if !job.is_open() {
            return;
        }
        let outcome = self.api.edit(id, &job.item(targets).unchanged()).await;
        match outcome {
            Ok(record) => {
                let made = Made { id: id.to_owned(), ..Made::of(&record) };
                job.made(targets, made, self.wanted);
            }
            Err(refusal) if matches!(refusal.meaning, Meaning::NotFound | Meaning::Conflict) => {}
            Err(refusal) => job.fail(refusal.fault),
        }
    }

    /// Carries out what is left, now that it is known what is there.
    async fn settle(&self, jobs: &mut [Job<'_>], listing: &Listing) {
        let (mut deletions, mut narrowings, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        let (mut upserts, mut creations) = (Vec::new(), Vec::new());
        for at in open(jobs) {
            jobs[at].done.clear();
            let put = jobs[at].put;
            let ids: Vec<&str> = match put.expect {
                Expect::Ours(Some(handle)) if !self.always_look => {
                    targets::ids(handle).map(|(_, id)| id).collect()
                }
                _ => Vec::new(),
            };
            let steps = match listing.write(put, self.wanted, &ids) {
                Verdict::Steps(steps) => steps,
                Verdict::Taken(present) => {
                    self.give_up(&mut jobs[at], present).await;
                    continue;
                }
            };
            for step in steps {
                match step {
                    Step::Keep { targets, id, revision } => {
                        jobs[at].made(targets, Made { id, revision }, self.wanted);
                    }
                    Step::Upsert { targets } => upserts.push((at, targets)),
                    Step::Create { targets } => creations.push((at, targets)),
                    Step::Move { targets, id } => moves.push((at, targets, id)),
                    Step::Narrow { id, rest } => narrowings.push((at, id, rest)),
                    Step::Delete { id } => deletions.push((at, id)),
                }
            }
        }
        let gone = self.api.delete_all(deletions.iter().map(|(_, id)| id.clone()).collect()).await;
        for (at, id) in deletions {
            if let Some(Err(fault)) = gone.get(&id) {
                jobs[at].fail(fault.clone());
            }
        }
        for (at, id, rest) in narrowings {
            if let Err(refusal) = self.api.narrow(&id, rest).await {
                jobs[at].fail(refusal.fault);
            }
        }
        for (at, targets, id) in moves {
            self.edit(&mut jobs[at], targets, &id).await;
        }
        upserts.retain(|(at, _)| jobs[*at].is_open());
        let outcomes = self.post(jobs, &upserts, true).await;
        self.take(jobs, &upserts, outcomes);
        creations.retain(|(at, _)| jobs[*at].is_open());
        let outcomes = self.post(jobs, &creations, false).await;
        let mut blind = Vec::new();
        for (place, outcome) in creations.into_iter().zip(outcomes) {
            let (at, targets) = place;
            match outcome {
                // What is in the way is not shown to this token.
                Err(refusal) if refusal.meaning == Meaning::Conflict && listing.may_hide(targets) => {
                    if jobs[at].put.expect == Expect::Anything {
                        blind.push(place);
                    } else {
                        self.give_up(&mut jobs[at], unreadable()).await;
                    }
                }
                outcome => self.take(jobs, &[place], vec![outcome]),
            }
        }
        let outcomes = self.post(jobs, &blind, true).await;
        self.take(jobs, &blind, outcomes);
        for at in open(jobs) {
            // A record vanished or came after the list was made.
            jobs[at].fail(Fault::external("vanished", "the variable changed at Vercel while it was written"));
        }
    }

    fn take(&self, jobs: &mut [Job<'_>], places: &[Place], outcomes: Vec<Result<Made, Refusal>>) {
        for ((at, targets), outcome) in places.iter().zip(outcomes) {
            match outcome {
                Ok(made) => jobs[*at].made(*targets, made, self.wanted),
                Err(refusal) => jobs[*at].fail(refusal.fault),
            }
        }
    }

    /// There was no list. Where the token may not read, what is known to be ours, or may be taken over,
    /// is written as Vault would (decisions 6): by name, last write wins.
    async fn settle_unseen(&self, jobs: &mut [Job<'_>], refusal: &Refusal) {
        let mut blind = Vec::new();
        for at in open(jobs) {
            let job = &mut jobs[at];
            match job.put.expect {
                _ if refusal.meaning != Meaning::Denied => job.fail(refusal.fault.clone()),
                Expect::Absent => self.give_up(job, unreadable()).await,
                Expect::Ours(_) if self.always_look => job.fail(cannot_look(
                    "ownership_check is always, but the access token may not list the project's variables",
                )),
                Expect::Ours(_) | Expect::Anything => {
                    job.done.clear();
                    blind.extend(self.wanted.records().into_iter().map(|targets| (at, targets)));
                }
            }
        }
        let outcomes = self.post(jobs, &blind, true).await;
        self.take(jobs, &blind, outcomes);
    }

    /// Something else has the name. What was made of the entry before that was noticed is taken back.
    async fn give_up(&self, job: &mut Job<'_>, present: Present) {
        let undone = self.api.delete_all(std::mem::take(&mut job.fresh)).await;
        job.outcome = Some(match undone.into_values().find_map(Result::err) {
            None => Ok(PutOutcome::Taken(present)),
            Some(fault) => Err(fault.ambiguous()),
        });
    }

    fn seen(&self, name: &RemoteName, listing: &Listing) -> Remote {
        let there = listing.there(name.as_str(), self.wanted);
        if there.is_empty() {
            return if listing.may_hide(self.wanted) { Remote::CannotTell } else { Remote::Absent };
        }
        Remote::Present(wire::present(&there, &self.wanted.records()))
    }

    /// What has to go for a removal, by id or by what is left of it.
    fn to_remove(&self, remove: &Remove<'_>, listing: &Result<Listing, Refusal>) -> Result<Vec<Step>, Fault> {
        let by_handle = || -> Vec<Step> {
            let ids = targets::ids(remove.handle.unwrap_or_default());
            ids.map(|(_, id)| Step::Delete { id: id.to_owned() }).collect()
        };
        let unseen = "nothing proves that the variable is ours: its id is not known, and the access token may \
                      not see the project's production variables";
        match listing {
            Ok(listing) => match listing.remove(remove, self.wanted) {
                Err(fault) => Err(fault),
                Ok(steps) if !listing.may_hide(self.wanted) => Ok(steps),
                // What is not shown may be there. An id is given to no other record, so it proves as much
                // as the mark.
                Ok(mut steps) => {
                    let named = by_handle();
                    if named.is_empty() && steps.is_empty() {
                        return Err(cannot_look(unseen));
                    }
                    let hidden = |step: &Step| match step {
                        Step::Delete { id } => !listing.records.iter().any(|record| record.id == *id),
                        _ => false,
                    };
                    steps.extend(named.into_iter().filter(hidden));
                    Ok(steps)
                }
            },
            Err(refusal) if refusal.meaning == Meaning::Denied => match by_handle() {
                steps if steps.is_empty() => Err(cannot_look(unseen)),
                steps => Ok(steps),
            },
            Err(refusal) => Err(refusal.fault.clone()),
        }
    }

    async fn clear(&self, removes: &[Remove<'_>]) -> Vec<Result<(), Fault>> {
        let listing = self.api.list().await;
        let mut outcomes = vec![Ok(()); removes.len()];
        let (mut deletions, mut narrowings) = (Vec::new(), Vec::new());
        for (at, remove) in removes.iter().enumerate() {
            match self.to_remove(remove, &listing) {
                Err(fault) => outcomes[at] = Err(fault),
                Ok(steps) => {
                    for step in steps {
                        match step {
                            Step::Delete { id } => deletions.push((at, id)),
                            Step::Narrow { id, rest } => narrowings.push((at, id, rest)),
                            _ => {}
                        }
                    }
                }
            }
        }
        let gone = self.api.delete_all(deletions.iter().map(|(_, id)| id.clone()).collect()).await;
        for (at, id) in deletions {
            if let Some(Err(fault)) = gone.get(&id) {
                outcomes[at] = Err(fault.clone());
            }
        }
        for (at, id, rest) in narrowings {
            match self.api.narrow(&id, rest).await {
                Err(refusal) if refusal.meaning != Meaning::NotFound => outcomes[at] = Err(refusal.fault),
                _ => {}
            }
        }
        outcomes
    }
}

fn open(jobs: &[Job<'_>]) -> Vec<usize> {
    (0..jobs.len()).filter(|at| jobs[*at].is_open()).collect()
}

fn unreadable() -> Present {
    Present { unreadable: true, ..Present::default() }
}

fn cannot_look(message: &'static str) -> Fault {
    Fault::client("cannot_look", message).retry(Retry::Slowly)
}

/// The answer of the only one asked about.
fn only<T>(answers: Vec<Result<T, Fault>>) -> Result<T, Fault> {
    let none = || Err(Fault::internal("adapter_incomplete", "the adapter gave no answer for this entry"));
    answers.into_iter().next().unwrap_or_else(none)
}

#[async_trait]
impl Destination for VercelProject {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        only(self.look_many(std::slice::from_ref(name)).await)
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        only(self.write(std::slice::from_ref(put)).await)
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        only(self.clear(std::slice::from_ref(remove)).await)
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        if names.is_empty() {
            return Vec::new();
        }
        match self.api.list().await {
            Ok(listing) => names.iter().map(|name| Ok(self.seen(name, &listing))).collect(),
            Err(refusal) if refusal.meaning == Meaning::Denied => {
                names.iter().map(|_| Ok(Remote::CannotTell)).collect()
            }
            Err(refusal) => names.iter().map(|_| Err(refusal.fault.clone())).collect(),
        }
    }

    async fn put_many(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, Fault>> {
        self.write(puts).await
    }

    async fn remove_many(&self, removes: &[Remove<'_>]) -> Vec<Result<(), Fault>> {
        if removes.is_empty() {
            return Vec::new();
        }
        self.clear(removes).await
    }
}
