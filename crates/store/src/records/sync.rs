use std::fmt;

use model::{
    AssociationId, Blame, DestinationId, DestinationKey, Granularity, MountAccessor, RemoteName, SecretPath,
    Timestamp, Version,
};
use serde::{Deserialize, Serialize};

use super::record;
use crate::{Node, wipe::wipe};

/// One configured destination.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its identity: made again under the same name it is another.
    pub id: DestinationId,
    /// Type and name.
    pub key: DestinationKey,
    /// When it was made.
    pub created: Timestamp,
    /// Grows with every change of its settings, so that an opened adapter can be told stale.
    pub generation: u64,
    /// Its settings, credentials among them, in the form `destinations::Config` writes. Wiped on drop.
    #[serde(with = "super::run")]
    pub config: Vec<u8>,
    /// A purge under way or failed.
    pub purge: Option<Purge>,
    /// Removals are held because too many source deletes arrived at once (decisions 8): since when.
    pub mass_delete_held: Option<Timestamp>,
    /// When a person last confirmed held removals.
    pub mass_delete_confirmed: Option<Timestamp>,
}

/// A destination being emptied before it is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// When it was asked for.
    pub initiated: Timestamp,
    /// Why it stopped, if it did. A stopped purge leaves the destination usable.
    pub error: Option<String>,
}

impl Drop for Destination {
    fn drop(&mut self) {
        wipe(&mut self.config);
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({}, generation {})", self.key, self.generation)
    }
}

/// The link of one source with one destination, and all that is known of what was written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// Part of the ownership mark.
    pub id: AssociationId,
    /// The destination it belongs to.
    pub destination: DestinationKey,
    /// The source's mount.
    pub accessor: MountAccessor,
    /// The mount's path when the association was made, to name it once the mount is gone.
    pub mount: String,
    /// The source's path below its mount.
    pub path: SecretPath,
    /// When it was made.
    pub created: Timestamp,
    /// It is being removed: the remote entries go, then this record.
    pub removing: bool,
    /// The source version that was last worked with.
    pub version: Version,
    /// The destination's settings generation that was last worked with.
    pub generation: u64,
    /// Attempts at the work now pending that failed, for backoff.
    pub attempts: u32,
    /// Grows with every decision to write, so that a value that returns to what it once was is
    /// still a new write (decisions 26).
    pub turn: u64,
    /// What the source came to when last looked at, for associations without entries.
    pub outcome: Outcome,
    /// When `outcome` last changed.
    pub outcome_at: Timestamp,
    /// What was written and is believed to be there: one entry, or one per key.
    pub entries: Vec<LedgerEntry>,
    /// A person associated just this secret. Otherwise rules did, and it goes when they go.
    pub single: bool,
    /// Whose right to read the source it lives by, where that is watched; `None`: nobody's is known.
    pub grantor: Option<Grantor>,
}

/// Whoever associated a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grantor {
    /// The names of their token's policies.
    pub policies: Vec<String>,
    /// The entity their token stood for.
    pub entity: Option<String>,
    /// The accessor of their token.
    pub accessor: String,
}

/// The rules by which secrets of one mount are associated with destinations. One record, so that
/// whoever writes a secret reads all of them or none, and checks them unchanged: no secret that is new
/// can miss a rule that is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Rules {
    /// In the order in which they were made.
    pub rules: Vec<Rule>,
    /// Destinations (with this mount, again) whose associations may not be as the rules have it yet:
    /// secrets that were there before a rule came, or left behind when one went.
    pub pending: Vec<(MountAccessor, DestinationId)>,
}

/// Associates every secret of a mount that its pattern matches with a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The destination's identity.
    pub destination: DestinationId,
    /// Its type and name.
    pub key: DestinationKey,
    /// The mount.
    pub accessor: MountAccessor,
    /// The mount's path when the rule was made, to name it once the mount is gone.
    pub mount: String,
    /// Which secrets, by path below the mount.
    pub pattern: String,
    /// Which not.
    pub exclude: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whose right to read the secrets its associations live by, where that is watched.
    pub grantor: Option<Grantor>,
}

impl Association {
    /// Whether anything about it is not as it should be.
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_) | Outcome::Unknown(_))
            || self.entries.iter().any(|entry| entry.failure.is_some())
    }
}

/// What the latest look at an association came to as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Not looked at yet.
    New,
    /// Everything that should be there is.
    Synced,
    /// The source is gone and so are the remote entries.
    Unsynced,
    /// It cannot be told what the destination should hold: the source's mount is gone.
    Unknown(Failure),
    /// It failed as a whole: the source, the template, the destination's settings.
    Failed(Failure),
}

/// A failure, in our own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose turn it is.
    pub blame: Blame,
    /// Stable (`error_code`).
    pub code: String,
    /// One sentence, no value, no remote body.
    pub message: String,
    /// When it happened.
    pub at: Timestamp,
    /// When it is tried again; `None` when it waits for a change or a person.
    pub retry_at: Option<Timestamp>,
    /// The source version that could not be delivered.
    pub version: Version,
    /// The destination's settings generation with which it could not.
    pub generation: u64,
}

/// One remote entry of an association: the ledger of what we wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The key it holds, for `secret-key` granularity.
    pub sub_key: Option<String>,
    /// Its name at the destination.
    pub name: RemoteName,
    /// The granularity it was written with.
    pub granularity: Granularity,
    /// Keyed fingerprint of the value last written; `None` before the first write succeeded.
    pub fingerprint: Option<[u8; 32]>,
    /// The id of the last write sent, also when its answer was lost.
    pub write: Option<[u8; 32]>,
    /// The source version last written.
    pub version: Version,
    /// Digest of the tags and per-secret settings last written.
    pub settings: [u8; 32],
    /// Names of the custom tags last written, so that removed ones can be removed there.
    pub tags: Vec<String>,
    /// What the service answered.
    pub receipt: Receipt,
    /// A write may have been sent whose answer is not known: look before the next one.
    pub unsure: bool,
    /// Nobody could look whether the name was free when it was first written (decisions 6).
    pub unverified: bool,
    /// When its state last changed.
    pub changed: Timestamp,
    /// Why it is not as it should be.
    pub failure: Option<Failure>,
}

/// What the service answered to the last write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Receipt {
    /// Its own immutable name of the entry.
    pub handle: Option<String>,
    /// Its revision of the entry.
    pub revision: Option<String>,
}

/// Which destinations a source is associated with. A write to the source reads this and checks it
/// unchanged, so no association can be missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Links {
    /// In no order.
    pub destinations: Vec<DestinationId>,
}

/// "Look at this association again." Holds no value and no version: whoever looks reads the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// When it was asked for.
    pub at: Timestamp,
    /// `None` is news: to be looked at now. A time is a look put off until then, after a failed
    /// attempt or for a version that will expire; the association's state is settled meanwhile.
    pub due: Option<Timestamp>,
    /// Why.
    pub cause: Cause,
}

/// Why an association is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The source was written, deleted, undeleted or destroyed.
    Source,
    /// A person set the association, or set it again.
    Set,
    /// A person removed the association, or purges the destination.
    Remove,
    /// The destination's settings changed.
    Settings,
    /// The slow sweep found it wanting.
    Sweep,
}

/// Who holds a remote name at a destination: two sources can never share one (decisions 11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameClaim {
    /// The source that holds it.
    pub source: Node,
    /// The key of the source it stands for.
    pub sub_key: Option<String>,
    /// The name, as written.
    pub name: RemoteName,
}

/// `sys/sync/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncConfig {
    /// Nothing is sent out; work queues up.
    pub disabled: bool,
    /// Most pending looks.
    pub queue_capacity: u64,
    /// Someone activated the feature, where that is required (decisions 3).
    pub activated: bool,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { disabled: false, queue_capacity: 1_000_000, activated: false }
    }
}

/// A credential that destinations share, such as a GitHub app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedCredential {
    /// Its sort, as the URL names it: `github-apps`.
    pub sort: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What makes it, in the form `destinations::Config` writes. Wiped on drop.
    #[serde(with = "super::run")]
    pub config: Vec<u8>,
}

impl Drop for SharedCredential {
    fn drop(&mut self) {
        wipe(&mut self.config);
    }
}

impl fmt::Debug for SharedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedCredential({}/{})", self.sort, self.name)
    }
}

record!(SyncConfig, 0x03, 1);
record!(Destination, 0x30, 1);
record!(Association, 0x31, 1);
record!(Links, 0x32, 1);
record!(Outbox, 0x33, 1);
record!(NameClaim, 0x34, 1);
record!(SharedCredential, 0x38, 1);
record!(Rules, 0x35, 1);
