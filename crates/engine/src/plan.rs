//! What to do about one association: what should be there, compared with what is known to be there.
//! Pure: no I/O, no time but the one given. The server and the command line both decide here.

use destinations::{Abilities, Fault, Retry};
use model::{Granularity, RemoteName, Timestamp, Version};
use store::records::{Failure, LedgerEntry, Receipt};

use crate::spread::{Desired, Target};

/// What should be at the destination.
#[derive(Debug)]
pub enum Wanted {
    /// These entries, of this source version.
    Entries(Version, Vec<Target>),
    /// Nothing: the source is proven gone, or a person said so.
    Nothing,
}

/// What a plan depends on beside the two sides.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The destination's rules.
    pub abilities: &'a Abilities,
    /// Digest of tags and per-secret settings now wanted.
    pub settings: [u8; 32],
    /// Names of the custom tags now wanted.
    pub tags: &'a [String],
    /// How the secret is now cut into entries.
    pub granularity: Granularity,
    /// Look before every update.
    pub always_look: bool,
    /// Verify what the ledger says instead of trusting it: a person asked.
    pub refresh: bool,
    /// The destination's settings generation.
    pub generation: u64,
    /// Makes a keyed fingerprint of what an entry should hold.
    pub fingerprint: &'a (dyn Fn(&Desired) -> [u8; 32] + Sync),
    /// Now.
    pub now: Timestamp,
}

/// One thing to do, with the ledger entry it is about.
#[derive(Debug, Clone)]
pub enum Step {
    /// It is as it should be, as far as is known: no call.
    Keep(LedgerEntry),
    /// Write it.
    Put(Box<PutStep>),
    /// It cannot be written; what is there stays.
    Refuse(LedgerEntry, Fault),
    /// Take it away.
    Remove(LedgerEntry),
    /// Nothing of ours is there: forget it.
    Forget(LedgerEntry),
}

/// One entry to write.
#[derive(Debug, Clone)]
pub struct PutStep {
    /// What it should be.
    pub desired: Desired,
    /// The fingerprint of the desired value.
    pub fingerprint: [u8; 32],
    /// What is known of it; a fresh entry if nothing is.
    pub entry: LedgerEntry,
    /// Look at it first.
    pub look: bool,
    /// The value differs from what was last written, or that is not known.
    pub value_changed: bool,
    /// Settings differ: the custom tags to take away.
    pub tags_gone: Option<Vec<String>>,
}

/// Compares the two sides. Writes come before removals, so that a renamed entry is never absent
/// (decisions 10).
pub fn plan(wanted: Wanted, ledger: Vec<LedgerEntry>, context: &Context<'_>) -> Vec<Step> {
    let mut ledger: Vec<Option<LedgerEntry>> = ledger.into_iter().map(Some).collect();
    let mut steps = Vec::new();
    if let Wanted::Entries(version, targets) = wanted {
        for target in targets {
            steps.push(match target {
                Target::Entry(desired) => {
                    let known = take(&mut ledger, context.abilities, &desired.name);
                    entry_step(desired, known, version, context)
                }
                Target::Illegal { sub_key, name, fault } => {
                    refuse_step(&mut ledger, sub_key, name, fault, version, context)
                }
            });
        }
    }
    steps.extend(ledger.into_iter().flatten().map(|entry| {
        // Without marks nothing else tells a stranger's entry from ours than what was sent.
        let may_be_there = entry.unsure && (context.abilities.marks || entry.write.is_some());
        if entry.fingerprint.is_some() || may_be_there { Step::Remove(entry) } else { Step::Forget(entry) }
    }));
    steps
}

/// Takes the ledger entry of this name out, as the destination compares names.
fn take(ledger: &mut [Option<LedgerEntry>], abilities: &Abilities, name: &RemoteName) -> Option<LedgerEntry> {
    let identity = abilities.names.identity(name);
    ledger
        .iter_mut()
        .find(|slot| slot.as_ref().is_some_and(|entry| abilities.names.identity(&entry.name) == identity))
        .and_then(Option::take)
}

fn entry_step(desired: Desired, known: Option<LedgerEntry>, version: Version, context: &Context<'_>) -> Step {
    let fingerprint = (context.fingerprint)(&desired);
    let mut entry = known.unwrap_or_else(|| unwritten(&desired, context.granularity, context.now));
    entry.sub_key.clone_from(&desired.sub_key);
    entry.granularity = context.granularity;
    let written = entry.fingerprint.is_some();
    let value_changed = entry.unsure || entry.fingerprint != Some(fingerprint);
    let settings_changed = written && entry.settings != context.settings;
    if !context.refresh {
        if waits_for_a_change(&entry, version, context.generation) {
            return Step::Keep(entry);
        }
        if !value_changed && !settings_changed {
            entry.version = version;
            if entry.failure.take().is_some() {
                // The source has come back to what was delivered before the failure.
                entry.changed = context.now;
            }
            return Step::Keep(entry);
        }
    }
    // A write that notices what is there needs no look before a first write.
    let notices = context.abilities.create_notices;
    let look =
        if written { context.refresh || context.always_look || (entry.unsure && !notices) } else { !notices };
    let tags_gone = settings_changed
        .then(|| entry.tags.iter().filter(|tag| !context.tags.contains(tag)).cloned().collect());
    Step::Put(Box::new(PutStep { desired, fingerprint, entry, look, value_changed, tags_gone }))
}

/// It failed for good with just this version and these settings: trying again would fail again.
fn waits_for_a_change(entry: &LedgerEntry, version: Version, generation: u64) -> bool {
    entry.failure.as_ref().is_some_and(|failure| {
        failure.retry_at.is_none() && failure.version == version && failure.generation == generation
    })
}

/// A target that cannot be delivered keeps what is there under it, if anything: unknown is never
/// absent, and neither is undeliverable.
fn refuse_step(
    ledger: &mut [Option<LedgerEntry>],
    sub_key: Option<String>,
    name: Option<RemoteName>,
    fault: Fault,
    version: Version,
    context: &Context<'_>,
) -> Step {
    let known = name.as_ref().and_then(|name| take(ledger, context.abilities, name)).or_else(|| {
        ledger
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|entry| entry.sub_key == sub_key))
            .and_then(Option::take)
    });
    let entry = known.unwrap_or_else(|| LedgerEntry {
        unsure: false,
        ..blank(sub_key, name.unwrap_or_else(|| RemoteName::from_kind("")), context.granularity, context.now)
    });
    if waits_for_a_change(&entry, version, context.generation) {
        return Step::Keep(entry);
    }
    Step::Refuse(entry, fault)
}

/// The ledger entry of something that is about to be written for the first time. It is `unsure` from
/// the start: once this is stored a write may happen at any moment, crash or no crash.
pub fn unwritten(desired: &Desired, granularity: Granularity, now: Timestamp) -> LedgerEntry {
    blank(desired.sub_key.clone(), desired.name.clone(), granularity, now)
}

fn blank(sub_key: Option<String>, name: RemoteName, granularity: Granularity, now: Timestamp) -> LedgerEntry {
    LedgerEntry {
        sub_key,
        name,
        granularity,
        fingerprint: None,
        write: None,
        version: Version(0),
        settings: [0; 32],
        tags: Vec::new(),
        receipt: Receipt::default(),
        unsure: true,
        unverified: false,
        changed: now,
        failure: None,
    }
}

/// A fault as the ledger keeps it. `retry_at` is the caller's to choose.
pub fn failure(fault: &Fault, at: Timestamp, version: Version, generation: u64) -> Failure {
    Failure {
        blame: fault.blame,
        code: fault.code.to_owned(),
        message: fault.message.clone().into_owned(),
        at,
        // Filled in by whoever schedules the next attempt; anything but `WhenChanged` gets one.
        retry_at: (fault.retry != Retry::WhenChanged).then_some(at),
        version,
        generation,
    }
}
