use model::{DestinationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::record;
use crate::Node;

pub use model::NodeId;

/// A server at work on a shared store. It writes this again and again; when it does not any more,
/// another one takes it away, and its work over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerNode {
    /// Which.
    pub id: NodeId,
    /// What its operator calls it: the host name.
    pub name: String,
    /// Where clients reach it; may be empty.
    pub api_addr: String,
    /// Its own version.
    pub version: String,
    /// The newest record formats it knows: [`FORMATS`].
    pub formats: u32,
    /// When it started, by its clock.
    pub started: Timestamp,
    /// When it last wrote this, by its clock: for people. Whether it is alive is not told from it.
    pub echo: Timestamp,
    /// It takes no more work: it is about to end, or was told to step down.
    pub leaving: bool,
    /// Places taken in its lanes.
    pub pending: u64,
    /// What waits at the destinations it works for, those with most first, where something does.
    pub backlogs: Vec<NodeBacklog>,
    /// How many looks it has asked others for, ever.
    pub told: u64,
    /// The latest of them, the newest last.
    pub recent: Vec<Told>,
}

/// What waits at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBacklog {
    /// The destination.
    pub destination: DestinationId,
    /// Associations.
    pub pending: u64,
    /// Milliseconds until all of it is done, where that can be told.
    pub eta: Option<u64>,
    /// What holds it back, as the API says it.
    pub bound_by: Option<String>,
}

/// A look that another server is asked for: its row is in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Told {
    /// At which destination.
    pub destination: DestinationId,
    /// At which source.
    pub source: Node,
    /// How soon: 0 is soonest.
    pub urgency: u8,
    /// A destination that was left alone because of failures is to be tried again at once.
    pub reopen: bool,
}

/// A part of the work, and whose it is. Written when it changes hands and at no other time: the commit that
/// wrote it is what its holder's changes depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// `None`: it was given up and waits for somebody.
    pub owner: Option<NodeId>,
    /// How often it has changed hands.
    pub term: u64,
    /// Whoever had it before ended all calls and recorded what came of them.
    pub settled: bool,
}

/// The newest record formats that this version knows. Grows when a record gets a format that older
/// versions cannot read. Such a format is written only once the store's [`Floor`] says that nobody is left
/// who cannot read it.
pub const FORMATS: u32 = 1;

/// What a version must know to work on this store at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// Its [`FORMATS`] must be at least this.
    pub formats: u32,
}

record!(Floor, 0x05, 1);
record!(ServerNode, 0x36, 1);
record!(Shard, 0x37, 1);
