use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{AssociationId, RemoteName, SecretBytes, StoreId};

use crate::Fault;

/// One configured destination. Every call may be repeated safely, at any time, by anyone.
#[async_trait]
pub trait Destination: Send + Sync {
    /// What is there under this name, from metadata only: values are not read.
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault>;

    /// Creates or updates, whichever is needed, and marks what it wrote. Restores or recovers a
    /// name of ours that is in its recovery window.
    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault>;

    /// Removes an entry. Succeeds when the name is already gone, or is already on its way out.
    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault>;

    /// [`Destination::look`] for many; a kind whose service lists in bulk overrides it. One answer
    /// per name, in order.
    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            answers.push(self.look(name).await);
        }
        answers
    }

    /// [`Destination::put`] for many; a kind whose service writes in bulk overrides it. One answer
    /// per entry, in order: a batch can half-succeed.
    async fn put_many(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, Fault>> {
        let mut answers = Vec::with_capacity(puts.len());
        for put in puts {
            answers.push(self.put(put).await);
        }
        answers
    }

    /// [`Destination::remove`] for many, likewise.
    async fn remove_many(&self, removes: &[Remove<'_>]) -> Vec<Result<(), Fault>> {
        let mut answers = Vec::with_capacity(removes.len());
        for remove in removes {
            answers.push(self.remove(remove).await);
        }
        answers
    }

    /// Reads values, by the cheapest means there is. Only for a caller that cannot do without: to change
    /// a part of a value, to compare where no mark proves equality, to show it to whoever asked. Syncing
    /// from a store never does. One answer per name, in order. A kind that overrides this says so with
    /// [`crate::Kind::reads_values`]; all others answer with code `cannot_read`.
    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        names.iter().map(|_| Err(Fault::cannot_read())).collect()
    }
}

/// What a read gives.
#[derive(Debug, Clone)]
pub enum Held {
    /// Nothing that could be read: no such entry, one without a value, or one on its way out.
    Nothing,
    /// A value. A kind that takes text only gives back the text it holds.
    Value(SecretBytes, Encoding),
}

/// The identity of one write: a keyed digest (HMAC) over destination, name, source version,
/// generation and value. Equal ids mean the same write, so a repeated write can be told from a new
/// one, also when a value returns to what it once was. It reveals nothing about the value.
///
/// AWS takes its text form as `ClientRequestToken`, which becomes the version id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteId(pub [u8; 32]);

impl WriteId {
    /// 64 lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// What an entry of ours says about itself at the destination (decisions 6a). Written with the
/// value, at no extra call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The store that wrote it.
    pub store: StoreId,
    /// The store's restore epoch when it wrote it.
    pub epoch: u32,
    /// The association it belongs to.
    pub association: AssociationId,
    /// The source version it came from. 0 when read back from a service that does not hold it.
    pub version: u64,
    /// The write it is. `None` when read back from a service that does not hold it.
    pub write: Option<WriteId>,
}

impl Mark {
    /// Whether what bears this mark is `ours`: of the same store and association, and not of a later epoch.
    /// What an earlier epoch wrote was written before the store was restored, and nothing is written after
    /// that before a person has said that it may be (decisions 6a). A later epoch is another copy's.
    pub fn same_owner(&self, ours: &Self) -> bool {
        self.store == ours.store && self.epoch <= ours.epoch && self.association == ours.association
    }
}

/// Whether a value is text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8 text.
    Text,
    /// Any bytes. A kind that takes text only writes base64.
    Binary,
}

/// What the caller knows about the entry it writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect<'a> {
    /// We never wrote it. If anything is there that does not bear this mark's owner, nothing is
    /// written and the answer is [`PutOutcome::Taken`]. (What bears our owner is our own earlier
    /// write whose answer was lost: it is written over.) What is there and cannot be looked at is
    /// [`Present::unreadable`].
    Absent,
    /// We wrote it, and the service called it this (an ARN, an id) where it gives such a handle.
    /// The handle is used to address it, so that an entry deleted and made again by a stranger is
    /// not written to. An entry that is gone is made again, as for `Absent`.
    Ours(Option<&'a str>),
    /// Whatever is there is taken over and marked, except what belongs to another service of the
    /// provider: that is [`PutOutcome::Taken`] even so.
    Anything,
}

/// One entry to write.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// Its name.
    pub name: &'a RemoteName,
    /// Its value.
    pub value: &'a SecretBytes,
    /// Text or bytes.
    pub encoding: Encoding,
    /// The mark to leave. Its `write` is always there.
    pub mark: &'a Mark,
    /// Custom tags, on top of the mark.
    pub tags: &'a BTreeMap<String, String>,
    /// What is known of the entry.
    pub expect: Expect<'a>,
    /// The value differs from what was last written. When false only settings are carried over.
    pub value_changed: bool,
    /// Tags or per-secret fields differ from what was last written: tags in `tags` are set, tags
    /// named here are removed, other per-secret settings are brought in line.
    pub settings_changed: Option<&'a [String]>,
    /// What is remembered of our last write to the entry.
    pub last: Last<'a>,
}

/// What is remembered of the last write to an entry: for services whose writes are not idempotent, and
/// that keep the version before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Last<'a> {
    /// [`Receipt::revision`] of the last write that is known to have succeeded.
    pub revision: Option<&'a str>,
    /// Another write may have been sent since whose answer was lost, or which was never recorded.
    pub unsure: bool,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is there, with this mark.
    Written(Receipt),
    /// Something else is there under this name, and was left alone.
    Taken(Present),
}

/// What to remember of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The service's own immutable name of the entry (an ARN, an id), if it has one.
    pub handle: Option<String>,
    /// The service's revision after the write (a version number, a time), if it told one.
    pub revision: Option<String>,
}

/// One entry to remove.
#[derive(Debug, Clone)]
pub struct Remove<'a> {
    /// Its name.
    pub name: &'a RemoteName,
    /// The handle of the receipt, if there was one.
    pub handle: Option<&'a str>,
    /// The owner it must still bear where the service holds a mark that can be read. Anything else
    /// is left alone and is a [`Fault`] with code `ownership_lost`. Where the credentials do not allow
    /// looking, the handle is the proof, and without one the fault's code is `cannot_look`. `None`: by
    /// order of a person.
    pub owner: Option<&'a Mark>,
}

/// What is at a destination under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// Nothing.
    Absent,
    /// Something.
    Present(Present),
    /// The service or the credentials do not allow looking. An ordinary answer, not a fault.
    CannotTell,
}

/// Something at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Present {
    /// Our kind of mark, this store's or another's. `None`: a stranger's, or Vault's.
    pub mark: Option<Mark>,
    /// It bears Vault's own mark (`hashicorp:vault`).
    pub vaults: bool,
    /// It belongs to another service of the provider and must never be written.
    pub managed_by_provider: bool,
    /// The service's own immutable name of it.
    pub handle: Option<String>,
    /// The service's revision.
    pub revision: Option<String>,
    /// It is deleted and can be recovered.
    pub recoverable: bool,
    /// Something is there, but the credentials do not allow looking at whose it is (decisions 6:
    /// the write then goes ahead as Vault's would, and the association says so).
    pub unreadable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_epoch_wrote_is_ours_and_what_a_later_one_wrote_is_not() {
        let mark = |epoch| Mark {
            store: StoreId::from_bytes([1; 16]),
            epoch,
            association: AssociationId::from_bytes([2; 16]),
            version: 1,
            write: None,
        };
        assert!(mark(3).same_owner(&mark(3)) && mark(2).same_owner(&mark(3)));
        assert!(!mark(4).same_owner(&mark(3)));
        assert!(!Mark { store: StoreId::from_bytes([9; 16]), ..mark(3) }.same_owner(&mark(3)));
        assert!(!Mark { association: AssociationId::from_bytes([9; 16]), ..mark(3) }.same_owner(&mark(3)));
    }
}
