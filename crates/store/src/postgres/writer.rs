//! The one task of this process that changes the database.
//!
//! It takes whatever batches wait and carries them out in one database transaction. That begins by raising
//! the one row that counts revisions, and so by waiting for the writers of all other processes: from there to
//! the commit nobody else changes anything, which is why the checks can be held against what is read then,
//! and why revisions become visible in their order.
//!
//! A connection that is lost while a commit is under way leaves the question whether it took effect. Every
//! transaction therefore also notes its number in this writer's row of `writers`. The next one, on whatever
//! connection, waits for the counting row, which the lost one holds until it has ended, and reads the note.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::{join_all, join3, join4};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::ToSql;

use super::{
    cache::{Cache, Item},
    fault::{Fault, Kind},
    link::{Pause, Session, Target},
    reader::{signed, unsigned},
};
use crate::{
    Batch, Check, Revision, StoreError, Write,
    backend::State,
    queue::{Request, Requests, group},
};

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// A time-out must not end the wait for a synchronous standby, which would look like success.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";
const COUNT: usize = 0;
const DONE: usize = 1;
const REVISIONS: usize = 2;
const BELOW: usize = 3;
const PUT: usize = 4;
const REMOVE: usize = 5;
const NOTE: usize = 6;

pub(super) struct Writer {
    target: Arc<Target>,
    cache: Arc<Mutex<Cache>>,
    statements: Vec<String>,
    /// This writer's row in `writers`.
    id: [u8; 16],
    /// The number of the newest transaction.
    number: i64,
}

/// What a transaction came to, should it have taken effect.
struct Done {
    outcomes: Vec<Result<Revision, StoreError>>,
    before: u64,
    after: u64,
    items: Vec<(Vec<u8>, Item)>,
}

impl Writer {
    pub(super) fn new(target: Arc<Target>, cache: Arc<Mutex<Cache>>, id: [u8; 16]) -> Self {
        let s = &target.options.schema;
        let statements = vec![
            format!("UPDATE {s}.meta SET revision = revision + $1 RETURNING format, revision"),
            format!("SELECT done FROM {s}.writers WHERE id = $1"),
            format!("SELECT key, revision FROM {s}.entries WHERE key = ANY($1) AND value IS NOT NULL"),
            format!(
                "SELECT key, revision FROM {s}.entries WHERE key >= $1 AND (key < $2 OR $2 IS NULL) AND value IS NOT \
                 NULL ORDER BY key LIMIT $3"
            ),
            format!(
                "INSERT INTO {s}.entries (key, value, revision) SELECT * FROM unnest($1::bytea[], $2::bytea[], \
                 $3::bigint[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision"
            ),
            format!(
                "UPDATE {s}.entries e SET value = NULL, revision = d.revision FROM (SELECT * FROM unnest($1::bytea[], \
                 $2::bigint[]) AS u (key, revision)) d WHERE e.key = d.key AND e.value IS NOT NULL"
            ),
            format!(
                "INSERT INTO {s}.writers (id, done, seen) VALUES ($1, $2, now()) ON CONFLICT (id) DO UPDATE SET done = \
                 excluded.done, seen = excluded.seen"
            ),
        ];
        Self { target, cache, statements, id, number: 0 }
    }

    /// Commits until nobody can ask any more and what was queued is done.
    pub(super) async fn run(mut self, mut queue: Requests<Batch>) {
        let mut session = None;
        while let Some(first) = queue.recv().await {
            let longest = self.target.options.timeout;
            let (requests, late): (Vec<_>, Vec<_>) =
                group(first, &mut queue).into_iter().partition(|request| request.since.elapsed() < longest);
            for request in late {
                let _ = request.answer.send(Err(self.target.waited()));
            }
            if !requests.is_empty() {
                self.commit(&mut session, requests).await;
            }
        }
    }

    /// One group, on as many connections as it takes.
    async fn commit(&mut self, session: &mut Option<Session>, requests: Vec<Request<Batch>>) {
        let deadline = Instant::now() + self.target.options.timeout;
        let mut pause = Pause::default();
        // What an attempt would come to that may have taken effect.
        let mut before = None;
        self.number += 1;
        let outcome = loop {
            let attempt_ends = (Instant::now() + self.target.patience()).min(deadline);
            let attempt = timeout_at(attempt_ends, self.attempt(session, &requests, &mut before));
            let fault = match attempt.await {
                Ok(Ok(done)) => break Ok(done),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::lost("no answer in time"),
            };
            self.target.failed(&fault);
            let mut usable = fault.kind != Kind::Lost;
            if usable && let Some(session) = &*session {
                usable = matches!(timeout_at(deadline, session.roll_back()).await, Ok(Ok(())));
            }
            if !usable && let Some(session) = session.take() {
                session.cut();
            }
            let doubtful = before.is_some();
            if fault.kind == Kind::Refused && !doubtful {
                break Err(self.target.error(&fault));
            }
            if !pause.fits(deadline) {
                break Err(if doubtful { StoreError::Unknown } else { self.target.waited() });
            }
            pause.wait().await;
        };
        match outcome {
            Ok(done) => {
                self.target.works();
                if done.after > done.before {
                    let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.committed(done.before, done.after, done.items);
                }
                for (request, outcome) in requests.into_iter().zip(done.outcomes) {
                    // A caller that no longer waits is no error.
                    let _ = request.answer.send(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, batches = requests.len(), "a commit failed");
                for request in requests {
                    let _ = request.answer.send(Err(error.clone()));
                }
            }
        }
    }

    async fn attempt(
        &self,
        session: &mut Option<Session>,
        requests: &[Request<Batch>],
        before: &mut Option<Done>,
    ) -> Result<Done, Fault> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.target.connect(&self.statements).await?),
        };
        let (mut state, done, counted) = self.begin(session, requests).await?;
        match before.take() {
            // It took effect after all.
            Some(earlier) if done >= self.number => {
                session.roll_back().await?;
                return Ok(earlier);
            }
            _ => {}
        }
        let made = state.carry_out(requests, counted);
        if made.after == made.before {
            session.roll_back().await?;
            return Ok(made);
        }
        // From here on it may take effect whatever is heard of it, even nothing in time.
        let made = before.insert(made);
        match self.end(session, made).await {
            Ok(()) => before.take().ok_or_else(|| Fault::refused("its outcome was lost")),
            Err((in_doubt, fault)) => {
                if !in_doubt {
                    *before = None;
                }
                Err(fault)
            }
        }
    }

    /// Begins a transaction, which waits for those of others, and reads what the checks ask for: the state,
    /// the number of this writer's last transaction, and the revision before.
    async fn begin(
        &self,
        session: &Session,
        requests: &[Request<Batch>],
    ) -> Result<(Loaded, i64, u64), Fault> {
        let batches: i64 = i64::try_from(requests.len()).unwrap_or(i64::MAX);
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        let mut written = 0_i64;
        for Request { work: batch, .. } in requests {
            written += i64::try_from(batch.writes.len()).unwrap_or(i64::MAX);
            for check in &batch.checks {
                match check {
                    Check::Absent(key) | Check::Present(key) | Check::Unchanged(key, _) => {
                        keys.push(key.as_slice());
                    }
                    Check::EmptyAfter(prefix) => prefixes.push(prefix.as_slice()),
                }
            }
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        // One more than the whole group could remove decides.
        let enough = written.saturating_add(1);
        let below = join_all(prefixes.iter().map(|prefix| async {
            let end = successor(prefix);
            session.query(BELOW, &[prefix, &end.as_deref(), &enough]).await
        }));
        let id = self.id.as_slice();
        let count: [&(dyn ToSql + Sync); 1] = [&batches];
        let own: [&(dyn ToSql + Sync); 1] = [&id];
        let named: [&(dyn ToSql + Sync); 1] = [&keys];
        // All on their way before the first is answered.
        let (begun, counted, done, (revisions, below)) = join4(
            session.run(BEGIN),
            session.query(COUNT, &count),
            session.query(DONE, &own),
            futures_util::future::join(session.query(REVISIONS, &named), below),
        )
        .await;
        begun?;
        let counted = counted?;
        let Some(row) = counted.first() else {
            return Err(Fault::refused("the table meta is empty: restore the database from a backup"));
        };
        super::check_format(row.get(0))?;
        let revision = unsigned(row.get(1)).saturating_sub(unsigned(batches));
        let done = done?.first().map_or(0, |row| row.get(0));
        let mut state = Loaded::default();
        for row in revisions?
            .into_iter()
            .chain(below.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten())
        {
            state.0.insert(row.get::<_, &[u8]>(0).to_vec(), Some(unsigned(row.get(1))));
        }
        Ok((state, done, revision))
    }

    /// Writes and commits. With a failure comes whether it may have taken effect all the same.
    async fn end(&self, session: &Session, made: &Done) -> Result<(), (bool, Fault)> {
        let (mut put, mut values, mut put_at) = (Vec::new(), Vec::new(), Vec::new());
        let (mut removed, mut removed_at) = (Vec::new(), Vec::new());
        for (key, item) in &made.items {
            match &item.value {
                Some(value) => {
                    put.push(key.as_slice());
                    values.push(value.as_ref());
                    put_at.push(signed(item.revision));
                }
                None => {
                    removed.push(key.as_slice());
                    removed_at.push(signed(item.revision));
                }
            }
        }
        let id = self.id.as_slice();
        let putting: [&(dyn ToSql + Sync); 3] = [&put, &values, &put_at];
        let removing: [&(dyn ToSql + Sync); 2] = [&removed, &removed_at];
        let noting: [&(dyn ToSql + Sync); 2] = [&id, &self.number];
        let changing = async {
            let (put, removed) = futures_util::future::join(
                async { if put.is_empty() { Ok(Vec::new()) } else { session.query(PUT, &putting).await } },
                async {
                    if removed.is_empty() { Ok(Vec::new()) } else { session.query(REMOVE, &removing).await }
                },
            )
            .await;
            put.and(removed)
        };
        let (changed, noted, committed) =
            join3(changing, session.query(NOTE, &noting), session.run(COMMIT)).await;
        // A statement that the database refused makes it roll back, which `COMMIT` does not call a failure. A
        // lost connection tells nothing of what came after.
        let refused = [&changed, &noted]
            .into_iter()
            .any(|outcome| outcome.as_ref().is_err_and(|fault| fault.kind != Kind::Lost));
        match changed.and(noted).map(|_| ()).and(committed.clone()) {
            Ok(()) => Ok(()),
            Err(fault) => {
                let in_doubt = !refused && committed.err().is_some_and(|fault| fault.kind != Kind::Again);
                Err((in_doubt, fault))
            }
        }
    }
}

/// What is stored under the keys and prefixes that checks name, and was written since; no more.
#[derive(Default)]
struct Loaded(BTreeMap<Vec<u8>, Option<u64>>);

impl Loaded {
    /// Applies the batches in order, as far as their checks hold.
    fn carry_out(&mut self, requests: &[Request<Batch>], before: u64) -> Done {
        let mut last = before;
        let mut items: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(requests.len());
        for Request { work: batch, .. } in requests {
            let Ok(holds) = batch.holds(self);
            if !holds {
                outcomes.push(Err(StoreError::Conflict));
                continue;
            }
            if !batch.writes.is_empty() {
                last += 1;
                self.write(batch, last, &mut items);
            }
            outcomes.push(Ok(Revision(last)));
        }
        Done { outcomes, before, after: last, items: items.into_iter().collect() }
    }

    fn write(&mut self, batch: &Batch, revision: u64, items: &mut BTreeMap<Vec<u8>, Item>) {
        for write in &batch.writes {
            let (key, value) = match write {
                Write::Put(key, value) => (key, Some(Bytes::copy_from_slice(value))),
                Write::Delete(key) => (key, None),
            };
            self.0.insert(key.clone(), value.is_some().then_some(revision));
            items.insert(key.clone(), Item { revision, value });
        }
    }
}

impl State for Loaded {
    type Error = Infallible;

    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, Infallible> {
        Ok(self.0.get(key).copied().flatten().map(Revision))
    }

    fn every_key(&self, prefix: &[u8], mut holds: impl FnMut(&[u8]) -> bool) -> Result<bool, Infallible> {
        Ok(self
            .0
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, revision)| revision.is_some())
            .all(|(key, _)| holds(key)))
    }
}

/// The first key behind all that begin with `prefix`; none when there is no such key.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=end].to_vec();
    next[end] += 1;
    Some(next)
}
