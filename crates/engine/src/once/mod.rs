//! One run without a store: what `ksm sync` does.
//!
//! The server knows from its ledger what is at a destination. A single run knows nothing, so it looks:
//! [`Once::look`] asks for marks and versions, and reads values only where those do not settle the
//! matter. [`Once::decide`] makes of each item one step of the same [`crate::plan`] the server follows;
//! it is pure, and a dry run stops there. [`Once::carry_out`] hands the steps to the same
//! [`crate::apply`], many at a time, writes before removals, and repeats what time may mend.
//!
//! What a run writes bears a mark as a server's does. Its [`WriteId`] has two halves: a keyed digest of
//! what was wanted and one of the value written. They differ where the value was worked out from what
//! was there: the first half proves, without reading, that what is wanted is in place.

mod carry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use destinations::{
    Abilities, Destination, Encoding, Fault, Held, Kind, Mark, Present, Remote, Retry, WriteId,
};
use model::{AssociationId, Clock, Entropy, Granularity, RemoteName, SecretBytes, StoreId, Version};
use store::records::{LedgerEntry, Receipt};

use crate::{
    apply::{self, How, Owner},
    plan::{self, Context, Step, Wanted},
    spread::{self, Desired, Target},
};

/// One run against one destination.
pub struct Once<'a> {
    /// The opened destination.
    pub destination: Arc<dyn Destination>,
    /// Its kind.
    pub kind: &'static dyn Kind,
    /// Who writes: part of every mark, and the same in every run that is to know its own writes again.
    pub store: StoreId,
    /// Keyed digests of a purpose and parts; the key is the same in every such run, and secret.
    pub digest: &'a Digest<'a>,
    /// Take over what is a stranger's, whoever named it.
    pub overwrite: bool,
    /// Now.
    pub clock: &'a dyn Clock,
    /// Spreads out repetitions.
    pub entropy: &'a dyn Entropy,
}

/// A keyed digest of a purpose and parts. Parts must not run together.
pub type Digest<'a> = dyn Fn(&str, &[&[u8]]) -> [u8; 32] + Sync + 'a;

/// One name at the destination, and what is to be there.
pub struct Item<'a> {
    /// The name.
    pub name: RemoteName,
    /// What is to be there.
    pub wish: Wish<'a>,
    /// A person chose this very name, so that what a stranger put there may be taken over or removed
    /// (decisions 18). Names that follow from titles are not chosen.
    pub named: bool,
}

/// What is to be there.
pub enum Wish<'a> {
    /// This value.
    Hold(SecretBytes, Encoding),
    /// A text that is worked out from the one that is there.
    Change {
        /// Stands for what is wanted of it: equal bytes, equal wish.
        wanted: SecretBytes,
        /// Makes the new text of the present one; `None` when that is as wanted already.
        onto: Onto<'a>,
    },
    /// Nothing.
    Gone,
}

/// Makes a new text of the one that is there.
pub type Onto<'a> =
    Box<dyn Fn(Option<&SecretBytes>) -> Result<Option<SecretBytes>, Fault> + Send + Sync + 'a>;

/// What looking showed of one name.
#[derive(Debug)]
pub struct Seen {
    remote: Result<Remote, Fault>,
    /// There only if it was worth a read.
    value: Option<Result<Held, Fault>>,
}

impl Seen {
    /// Whether something is there that can be read; `None` when nobody can tell.
    pub fn exists(&self) -> Option<bool> {
        match (&self.remote, &self.value) {
            (Err(_), _) => None,
            (Ok(Remote::Absent), _) | (_, Some(Ok(Held::Nothing))) => Some(false),
            (Ok(Remote::Present(present)), _) => Some(!present.recoverable),
            (Ok(Remote::CannotTell), Some(Ok(Held::Value(..)))) => Some(true),
            (Ok(Remote::CannotTell), _) => None,
        }
    }

    /// The value that is there, if it was read.
    pub fn value(&self) -> Option<(&SecretBytes, Encoding)> {
        match &self.value {
            Some(Ok(Held::Value(value, encoding))) => Some((value, *encoding)),
            _ => None,
        }
    }

    /// Why it is not known what is there, if that is so.
    pub fn fault(&self) -> Option<&Fault> {
        self.remote.as_ref().err().or_else(|| self.value.as_ref()?.as_ref().err())
    }
}

/// What is to be done about an item, or has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing is there and nothing should be.
    Nothing,
    /// It is as it should be.
    Keep,
    /// It is not there yet.
    Create,
    /// It is there and differs.
    Update,
    /// It is to go.
    Remove,
    /// It stays as it is, for this reason.
    Refuse(Fault),
}

/// A decision about one item.
#[derive(Debug)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    ready: Option<Ready>,
}

/// All that carrying out needs.
#[derive(Debug, Clone)]
struct Ready {
    owner: Owner,
    write: WriteId,
    step: Step,
    take_over: bool,
}

impl Decision {
    /// Decides against doing anything, whatever was decided before.
    pub fn refuse(fault: Fault) -> Self {
        Self { action: Action::Refuse(fault), ready: None }
    }

    /// Leaves things as they are, whatever was decided before.
    pub const fn leave() -> Self {
        Self::idle(Action::Keep)
    }

    const fn idle(action: Action) -> Self {
        Self { action, ready: None }
    }
}

/// How a write may go.
enum Way {
    /// Nothing is there.
    Fresh,
    /// It is ours, and called this.
    Ours(Option<String>),
    /// Whatever is there may be taken over.
    TakeOver,
}

impl Once<'_> {
    fn abilities(&self) -> &'static Abilities {
        self.kind.abilities()
    }

    fn association(&self, name: &RemoteName) -> AssociationId {
        let name = self.abilities().names.identity(name);
        let digest = (self.digest)("association", &[self.kind.slug().as_bytes(), name.as_bytes()]);
        AssociationId::from_bytes(first_half(&digest))
    }

    fn mark(&self, name: &RemoteName) -> Mark {
        // No source counts versions for us. A later write has to have a higher number all the same, where a
        // service cannot tell two writes of the same second apart.
        let version = u64::try_from(self.clock.now().as_nanos() / 1_000_000).unwrap_or_default();
        Mark { store: self.store, epoch: 0, association: self.association(name), version, write: None }
    }

    /// What the first half of a write's identity is when this is in place.
    fn proof(&self, mark: &Mark, wish: &Wish<'_>) -> Option<[u8; 16]> {
        let (what, bytes): (&[u8], &SecretBytes) = match wish {
            Wish::Hold(value, Encoding::Text) => (b"text", value),
            Wish::Hold(value, Encoding::Binary) => (b"binary", value),
            Wish::Change { wanted, .. } => (b"change", wanted),
            Wish::Gone => return None,
        };
        // EXPOSE: into a keyed digest.
        let parts = [mark.association.as_bytes().as_slice(), what, bytes.expose()];
        Some(first_half(&(self.digest)("wanted", &parts)))
    }

    fn write_id(&self, mark: &Mark, proof: [u8; 16], value: &SecretBytes) -> WriteId {
        // EXPOSE: into a keyed digest.
        let parts = [mark.association.as_bytes().as_slice(), value.expose()];
        let second = first_half(&(self.digest)("written", &parts));
        let mut id = [0; 32];
        id[..16].copy_from_slice(&proof);
        id[16..].copy_from_slice(&second);
        WriteId(id)
    }

    /// Whether the mark says that the wish is in place.
    fn is_proven(&self, mark: &Mark, wish: &Wish<'_>, present: &Present) -> bool {
        let Some(there) = present.mark.as_ref().filter(|there| there.same_owner(mark)) else { return false };
        let Some(write) = there.write.filter(|_| !present.recoverable) else { return false };
        self.proof(mark, wish).is_some_and(|proof| write.0.starts_with(&proof))
    }

    /// Looks at every item's name, and reads the values that decide something; with `all`, every value
    /// there is. One answer per item, in order.
    pub async fn look(&self, items: &[Item<'_>], all: bool) -> Vec<Seen> {
        let names: Vec<RemoteName> = items.iter().map(|item| item.name.clone()).collect();
        let destination = &self.destination;
        let remotes = self.patiently(&names, async |names| destination.look_many(names).await).await;
        let mut seen: Vec<Seen> = remotes.into_iter().map(|remote| Seen { remote, value: None }).collect();
        let worth: Vec<usize> = (0..seen.len().min(items.len()))
            .filter(|&at| self.is_worth_reading(&items[at], &seen[at].remote, all))
            .collect();
        let names: Vec<RemoteName> = worth.iter().map(|&at| items[at].name.clone()).collect();
        let values = if self.kind.reads_values() {
            self.patiently(&names, async |names| destination.read_many(names).await).await
        } else {
            names.iter().map(|_| Err(Fault::cannot_read())).collect()
        };
        for (at, value) in worth.into_iter().zip(values) {
            seen[at].value = Some(value);
        }
        seen
    }

    fn is_worth_reading(&self, item: &Item<'_>, remote: &Result<Remote, Fault>, all: bool) -> bool {
        let present = match remote {
            Err(_) | Ok(Remote::Absent) => return false,
            Ok(Remote::CannotTell) => return true,
            Ok(Remote::Present(present)) => present,
        };
        if all || present.unreadable {
            return !present.recoverable;
        }
        let mark = self.mark(&item.name);
        if present.recoverable || present.managed_by_provider || self.is_proven(&mark, &item.wish, present) {
            return false;
        }
        match &item.wish {
            Wish::Gone => false,
            Wish::Change { .. } => true,
            // Ours, with another write's identity: it differs, and is written over whatever it is.
            Wish::Hold(..) => {
                !present.mark.as_ref().is_some_and(|there| there.same_owner(&mark) && there.write.is_some())
            }
        }
    }

    /// What is to be done about an item. Pure.
    pub fn decide(&self, item: Item<'_>, seen: &Seen) -> Decision {
        let remote = match &seen.remote {
            Ok(remote) => remote,
            Err(fault) => return Decision::refuse(fault.clone()),
        };
        let mark = self.mark(&item.name);
        let named = item.named || self.overwrite;
        if let Wish::Gone = item.wish {
            return self.decide_removal(item.name, mark, named, remote, seen);
        }
        if let Remote::Present(present) = remote
            && self.is_proven(&mark, &item.wish, present)
        {
            return Decision::idle(Action::Keep);
        }
        let proof = self.proof(&mark, &item.wish).unwrap_or_default();
        let (value, encoding) = match self.value(item.wish, remote, seen) {
            Ok(Some(value)) => value,
            Ok(None) if seen.exists() == Some(false) => return Decision::idle(Action::Nothing),
            Ok(None) => return Decision::idle(Action::Keep),
            Err(fault) => return Decision::refuse(fault),
        };
        let way = match Self::way(&mark, named, remote, seen) {
            Ok(way) => way,
            Err(fault) => return Decision::refuse(fault),
        };
        let action = if seen.exists() == Some(false) { Action::Create } else { Action::Update };
        let write = self.write_id(&mark, proof, &value);
        let desired = Desired { sub_key: None, name: item.name, value, encoding };
        let known = match &way {
            Way::Ours(handle) => Some(self.known(&desired, handle.clone())),
            Way::Fresh | Way::TakeOver => None,
        };
        // Where nothing is seen there may still be something that was deleted and is in the way.
        let take_over = matches!(way, Way::TakeOver) || (named && matches!(way, Way::Fresh));
        let wanted = Wanted::Entries(Version(0), vec![Target::Entry(desired)]);
        self.decided(action, wanted, known, mark, write, take_over)
    }

    /// The value to be written; `None` when what is there is as wanted.
    fn value(
        &self,
        wish: Wish<'_>,
        remote: &Remote,
        seen: &Seen,
    ) -> Result<Option<(SecretBytes, Encoding)>, Fault> {
        let (value, encoding) = match wish {
            Wish::Hold(value, encoding) => {
                if seen.value().is_some_and(|there| self.is_same((&value, encoding), there)) {
                    return Ok(None);
                }
                (value, encoding)
            }
            Wish::Change { onto, .. } => {
                let there = match (remote, &seen.value) {
                    (Remote::Absent, _) | (_, Some(Ok(Held::Nothing))) => None,
                    (Remote::Present(present), _) if present.recoverable => None,
                    (_, Some(Ok(Held::Value(value, _)))) => Some(value),
                    // What is there cannot be read, so nothing can be worked out from it.
                    (_, Some(Err(fault))) => return Err(fault.clone()),
                    (_, None) => return Err(Fault::cannot_read()),
                };
                let Some(value) = onto(there)? else { return Ok(None) };
                (value, Encoding::Text)
            }
            Wish::Gone => return Ok(None),
        };
        match spread::refuse_value(self.abilities(), &value) {
            Some(fault) => Err(fault),
            None => Ok(Some((value, encoding))),
        }
    }

    /// Whether a value is the one that is there.
    fn is_same(&self, value: (&SecretBytes, Encoding), there: (&SecretBytes, Encoding)) -> bool {
        // EXPOSE: to be compared; nothing leaves this function.
        let same = value.0.expose() == there.0.expose();
        same && (value.1 == there.1 || !self.abilities().binary && value.1 == Encoding::Text)
    }

    /// Whether and how may be written to what was seen.
    fn way(mark: &Mark, named: bool, remote: &Remote, seen: &Seen) -> Result<Way, Fault> {
        let blind = match remote {
            Remote::Absent => return Ok(Way::Fresh),
            Remote::Present(present) if !present.unreadable => {
                return match apply::judge(named, mark, false, present)? {
                    How::Ours => Ok(Way::Ours(present.handle.clone())),
                    _ if named => Ok(Way::TakeOver),
                    // The server adopts what Vault wrote; here only what is ours or was named is ours.
                    _ => Err(apply::taken(mark, false, present)),
                };
            }
            Remote::CannotTell | Remote::Present(_) => seen,
        };
        match &blind.value {
            Some(Ok(Held::Nothing)) => Ok(Way::Fresh),
            _ if named => Ok(Way::TakeOver),
            _ => Err(cannot_look()),
        }
    }

    fn decide_removal(
        &self,
        name: RemoteName,
        mark: Mark,
        named: bool,
        remote: &Remote,
        seen: &Seen,
    ) -> Decision {
        if seen.exists() == Some(false) {
            return Decision::idle(Action::Nothing);
        }
        let Remote::Present(present) = remote else { return Decision::refuse(cannot_look()) };
        let ours = match apply::judge(named, &mark, false, present) {
            Err(fault) => return Decision::refuse(fault),
            Ok(how) => how == How::Ours,
        };
        // Named by a person, a stranger's may go; what another keyferry or Vault keeps there may not.
        let kept_by_another = present.mark.is_some() || present.vaults || present.unreadable;
        if !ours && (!named || (kept_by_another && !self.overwrite)) {
            return Decision::refuse(Fault::ownership_lost());
        }
        let desired = Desired { sub_key: None, name, value: SecretBytes::from(""), encoding: Encoding::Text };
        let mut known = self.known(&desired, present.handle.clone());
        // Nothing there can be held against our mark: it goes by order of a person.
        known.unverified = !ours;
        self.decided(Action::Remove, Wanted::Nothing, Some(known), mark, WriteId([0; 32]), false)
    }

    /// A ledger entry of what was seen: something of ours is there, of another value.
    fn known(&self, desired: &Desired, handle: Option<String>) -> LedgerEntry {
        LedgerEntry {
            fingerprint: Some([0; 32]),
            unsure: false,
            receipt: Receipt { handle, revision: None },
            ..plan::unwritten(desired, Granularity::SecretPath, self.clock.now())
        }
    }

    fn decided(
        &self,
        action: Action,
        wanted: Wanted,
        known: Option<LedgerEntry>,
        mark: Mark,
        write: WriteId,
        take_over: bool,
    ) -> Decision {
        let context = Context {
            abilities: self.abilities(),
            settings: [0; 32],
            tags: &[],
            granularity: Granularity::SecretPath,
            always_look: false,
            refresh: false,
            generation: 0,
            fingerprint: &|_| write.0,
            now: self.clock.now(),
        };
        let ledger = known.into_iter().collect();
        let Some(mut step) = plan::plan(wanted, ledger, &context).into_iter().next() else {
            return Decision::idle(Action::Nothing);
        };
        if let Step::Put(put) = &mut step {
            // It has just been looked at.
            put.look = false;
        }
        let owner = Owner { mark, version: Version(0) };
        Decision { action, ready: Some(Ready { owner, write, step, take_over }) }
    }
}

fn first_half(digest: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

fn cannot_look() -> Fault {
    Fault::client(
        "cannot_look",
        "the credentials do not allow looking at whose the entry of this name is, so it is left alone",
    )
    .retry(Retry::Slowly)
}
