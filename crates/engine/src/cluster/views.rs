//! What is told of the servers, and what others say about their work.

use std::{sync::Arc, time::Duration};

use model::{DestinationId, Timestamp};
use store::records::{NodeBacklog, NodeId, ServerNode};
use tokio::time::Instant;

use super::Cluster;
use crate::{Backlog, BoundBy, Engine, associations::WAIT, engine::Inner};

/// So many destinations' backlogs are told with every sign of life.
const BACKLOGS: usize = 128;
/// Looks this often whether another server has done what it was asked for.
const STEP: Duration = Duration::from_millis(25);

/// A server, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// This life of it.
    pub id: NodeId,
    /// What its operator calls it.
    pub name: String,
    /// Where clients reach it; may be empty.
    pub api_addr: String,
    /// Its version.
    pub version: String,
    /// When it started, by its clock.
    pub started: Timestamp,
    /// When it last said that it is alive, by its clock.
    pub echo: Timestamp,
    /// It is this one.
    pub this: bool,
    /// It has shard 0: the one that is called active where others want one to be.
    pub active: bool,
}

impl Engine {
    /// The servers at work on this store, this one first; none where it is not shared.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, store::StoreError> {
        let inner = &self.0;
        if !inner.cluster.shared() {
            return Ok(Vec::new());
        }
        let keys = inner.store.keys();
        let me = inner.cluster.state().id;
        let first = inner.store.get(&keys.shard(0)).await?.and_then(|stored| stored.record.owner);
        let all = inner.store.scan_all(&keys.server_nodes()).await?;
        let mut views: Vec<_> = all
            .into_iter()
            .map(|(_, stored)| {
                let ServerNode { id, name, api_addr, version, started, echo, .. } = stored.record;
                NodeView {
                    id,
                    name,
                    api_addr,
                    version,
                    started,
                    echo,
                    this: id == me,
                    active: first == Some(id),
                }
            })
            .collect();
        views.sort_by_key(|view| (!view.this, view.started, view.id));
        Ok(views)
    }

    /// Hands all work to others and takes none for a while, where there are others.
    pub fn step_down(&self) {
        self.0.step_aside();
    }

    /// Whether this server is the one that does what only one should do, of those things that bear this
    /// name. Where it matters that it is only one, [`Engine::alone_for`] makes sure.
    pub fn leads(&self, name: &[u8]) -> bool {
        self.0.cluster.lease(self.0.stand_in(name)).is_some_and(|lease| lease.takes_work())
    }

    /// Runs something that only one server should do, if it is this one: what it commits is refused once
    /// another has taken over.
    pub async fn alone_for<T>(&self, name: &[u8], task: impl Future<Output = T>) -> Option<T> {
        let lease = self.0.cluster.lease(self.0.stand_in(name)).filter(|lease| lease.takes_work())?;
        let _under_way = lease.enter();
        match lease.fence() {
            Some(fence) => lease.during(store::fence::within(fence, task)).await,
            None => Some(task.await),
        }
    }
}

impl Cluster {
    /// Places taken in the lanes of other servers.
    pub(crate) fn pending_elsewhere(&self) -> u64 {
        if !self.shared() {
            return 0;
        }
        self.state().others.values().map(|other| other.pending).sum()
    }

    fn backlog_elsewhere(&self, id: DestinationId) -> Option<NodeBacklog> {
        let state = self.state();
        let all = state.others.values().flat_map(|other| &other.backlogs);
        all.into_iter().find(|backlog| backlog.destination == id).cloned()
    }
}

impl Inner {
    /// A destination that stands for something else that only one server should do.
    fn stand_in(&self, name: &[u8]) -> DestinationId {
        let digest = self.store.keys().digest("alone", &[name]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        DestinationId::from_bytes(id)
    }

    pub(super) fn own_backlogs(&self) -> Vec<NodeBacklog> {
        let destinations = self.lanes().destinations();
        let mut backlogs: Vec<_> = destinations
            .into_iter()
            .filter_map(|destination| {
                let backlog = self.backlog(destination, false);
                (backlog.pending > 0).then(|| NodeBacklog {
                    destination,
                    pending: backlog.pending as u64,
                    eta: backlog.eta.map(|eta| u64::try_from(eta.as_millis()).unwrap_or(u64::MAX)),
                    bound_by: backlog.bound_by.map(|bound| bound.as_str().to_owned()),
                })
            })
            .collect();
        backlogs.sort_by_key(|backlog| std::cmp::Reverse(backlog.pending));
        backlogs.truncate(BACKLOGS);
        backlogs
    }

    /// The backlog of a destination, whoever works for it. What another server has to do is known from
    /// what it last said, and from the outbox where that was nothing.
    pub(crate) async fn any_backlog(
        &self,
        id: DestinationId,
        paused: bool,
    ) -> Result<Backlog, store::StoreError> {
        if self.cluster.owns(id) {
            return Ok(self.backlog(id, paused));
        }
        let told = self.cluster.backlog_elsewhere(id);
        let pending = match &told {
            Some(told) => usize::try_from(told.pending).unwrap_or(usize::MAX),
            None => self.rows_waiting(id, 1000).await?,
        };
        let eta = told.as_ref().and_then(|told| told.eta).map(Duration::from_millis);
        let bound_by = told.and_then(|told| BoundBy::of(&told.bound_by?));
        Ok(match pending {
            0 => Backlog { pending, eta: Some(Duration::ZERO), bound_by: None },
            _ if paused => Backlog { pending, eta: None, bound_by: Some(BoundBy::Paused) },
            _ => Backlog { pending, eta, bound_by },
        })
    }

    /// How many rows of a destination are to be looked at now, at most so many.
    async fn rows_waiting(&self, id: DestinationId, most: usize) -> Result<usize, store::StoreError> {
        let rows = self.store.scan(&self.store.keys().outbox_of(id), None, most).await?;
        Ok(rows.iter().filter(|(_, row)| row.record.due.is_none()).count())
    }

    /// Whether nothing of a destination is to be looked at now.
    pub(crate) async fn is_quiet(&self, id: DestinationId) -> Result<bool, store::StoreError> {
        if self.cluster.owns(id) {
            return Ok(self.lanes().known(id).is_none_or(|lane| lane.pending() == 0));
        }
        Ok(self.rows_waiting(id, 64).await? == 0)
    }

    /// Waits until an association has been looked at, by whichever server, no longer than a request may.
    /// To be made before the look is asked for, and awaited after.
    pub(crate) fn outcome(
        self: &Arc<Self>,
        id: DestinationId,
        source: store::Node,
    ) -> impl Future<Output = ()> + use<> {
        let here = self.cluster.owns(id).then(|| self.lanes().lane(id).wait(source));
        let inner = Arc::clone(self);
        async move {
            let deadline = Instant::now() + WAIT;
            let told = async {
                if let Some(here) = here
                    && here.await.is_ok()
                {
                    return;
                }
                // Another server does it, or has taken it over.
                let key = inner.store.keys().outbox(id, source);
                while inner
                    .store
                    .get(&key)
                    .await
                    .is_ok_and(|row| row.is_some_and(|row| row.record.due.is_none()))
                {
                    tokio::time::sleep(STEP).await;
                }
            };
            // Whether it ended or not is read from the store.
            let _ = tokio::time::timeout_at(deadline, told).await;
        }
    }
}
