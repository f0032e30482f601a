use model::DestinationId;
use store::Node;

/// Wakes the sync engine. The outbox row is the work; this only says where to look, so a call that
/// is lost costs time and nothing else.
pub trait SyncSignal: Send + Sync {
    /// The association of `source` with `destination` is to be looked at. Must not block.
    fn pending(&self, destination: DestinationId, source: Node);

    /// Somebody may do less or more than before: a policy, an entity, a token or an auth mount changed.
    /// Must not block.
    fn rights_changed(&self) {}
}

/// For servers without a sync engine, and tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSignal;

impl SyncSignal for NoSignal {
    fn pending(&self, _destination: DestinationId, _source: Node) {}
}
