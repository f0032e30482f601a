//! What waits to be committed, for back ends whose one writer takes many batches at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{Batch, Check, Revision, StoreError, Write};

/// What waits to be written, in units of [`ROOM_UNIT`]: 64 MiB.
const ROOM: usize = 65_536;
const ROOM_UNIT: usize = 1024;
/// What a batch counts for beyond its bytes, in units: bounds the number that wait as well.
const ROOM_PER_BATCH: usize = 4;
/// Most batches in one group: beyond it the flush is a small part of the cost, and all would wait for
/// the last.
pub(crate) const GROUP_BATCHES: usize = 1000;
/// Most bytes in one group; a single larger batch still goes through, alone.
pub(crate) const GROUP_BYTES: usize = 8 << 20;

/// A piece of work and whoever waits for it.
pub(crate) struct Request<W> {
    pub(crate) work: W,
    /// About how many bytes it holds.
    pub(crate) size: usize,
    pub(crate) answer: oneshot::Sender<Result<Revision, StoreError>>,
    /// Since when it waits.
    pub(crate) since: tokio::time::Instant,
    /// Its share of the queue, given back once it is answered.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The writer's end.
pub(crate) type Requests<W> = mpsc::UnboundedReceiver<Request<W>>;

/// The callers' end.
pub(crate) struct Queue<W> {
    requests: mpsc::UnboundedSender<Request<W>>,
    room: Arc<Semaphore>,
}

impl<W> Queue<W> {
    /// Both ends. The writer's ends once the callers' is dropped and what was queued is taken.
    pub(crate) fn new() -> (Self, Requests<W>) {
        let (requests, taken) = mpsc::unbounded_channel();
        (Self { requests, room: Arc::new(Semaphore::new(ROOM)) }, taken)
    }

    /// Hands work of about `size` bytes to the writer and waits for what becomes of it.
    pub(crate) async fn send(&self, work: W, size: usize) -> Result<Revision, StoreError> {
        let closed = || StoreError::Backend("the store's writer has ended; start the server again".into());
        let room = u32::try_from((ROOM_PER_BATCH + size / ROOM_UNIT).min(ROOM)).map_err(|_| closed())?;
        let room = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_| closed())?;
        let (answer, outcome) = oneshot::channel();
        let since = tokio::time::Instant::now();
        let request = Request { work, size, answer, since, room };
        self.requests.send(request).map_err(|_| closed())?;
        outcome.await.unwrap_or(Err(StoreError::Unknown))
    }
}

/// A request and those that wait behind it, as many as go together.
pub(crate) fn group<W>(first: Request<W>, queue: &mut Requests<W>) -> Vec<Request<W>> {
    let mut size = first.size;
    let mut requests = vec![first];
    while requests.len() < GROUP_BATCHES && size < GROUP_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        size += next.size;
        requests.push(next);
    }
    requests
}

/// About how many bytes a batch holds.
pub(crate) fn size(batch: &Batch) -> usize {
    let checks = batch.checks.iter().map(|check| match check {
        Check::Absent(key) | Check::Present(key) | Check::Unchanged(key, _) | Check::EmptyAfter(key) => {
            key.len()
        }
    });
    let writes = batch.writes.iter().map(|write| match write {
        Write::Put(key, value) => key.len() + value.len(),
        Write::Delete(key) => key.len(),
    });
    checks.chain(writes).sum()
}
