//! The back end of many servers: a PostgreSQL database, or one that speaks its language.
//!
//! Every process has one task that writes ([`writer`]: group commit, ordered by a row all writers wait for)
//! and one that answers reads ([`reader`]: waves that share a question, and a cache that is brought up to date
//! by each). Scans go to the database one by one. What was removed leaves a mark for a while (an entry
//! without a value), from which the caches of other processes learn of it.
//!
//! The required path needs nothing beyond tables, `ON CONFLICT` and row locks; isolation is at least READ
//! COMMITTED, and any stronger level gives the same result with more attempts. Pools that hand out another
//! connection for every transaction (pgbouncer's `transaction` mode) must support prepared statements, and lose
//! the session's time limits.

mod cache;
mod fault;
mod link;
mod news;
mod options;
mod reader;
mod schema;
mod whole;
mod writer;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use model::Entropy;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

pub use self::options::{BadConnection, PostgresOptions};
use self::{
    cache::Cache,
    fault::Fault,
    link::{Pool, Target, What},
    news::News,
    reader::{Read, Reader, signed, unsigned},
    writer::{Writer, successor},
};
use crate::{
    Backend, Batch, Entry, OpenError, Replacement, Revision, Snapshot, StoreError,
    queue::{self, Queue},
};

/// The format of the tables that this program makes and reads.
const FORMAT: usize = schema::STEPS.len();
/// A message of the protocol takes no more than 1 GiB.
const MAX_BATCH: usize = 512 << 20;
/// How long marks of removed entries are kept. A cache that was not brought up to date for longer starts over.
const MARKS_KEPT: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// Marks removed in one transaction: all writers wait for it.
const SWEEP_AT_ONCE: usize = 1000;

const SCAN: usize = 0;

/// A durable back end in a PostgreSQL database, shared by any number of processes.
pub struct Postgres {
    commits: Queue<Batch>,
    reads: mpsc::UnboundedSender<Read>,
    scans: Arc<Pool>,
    news: News,
    target: Arc<Target>,
    sweep: AbortHandle,
}

impl Postgres {
    /// Connects, and makes the tables or brings them up to this version where that is needed. To be called
    /// within a tokio runtime, which also runs what goes on in the background.
    ///
    /// # Errors
    /// Why the database, the schema or what is in it cannot be used. Nothing is changed then.
    pub async fn open(options: PostgresOptions, entropy: &dyn Entropy) -> Result<Self, OpenError> {
        Self::open_with(options, entropy, schema::STEPS).await
    }

    async fn open_with(
        options: PostgresOptions,
        entropy: &dyn Entropy,
        steps: &[&str],
    ) -> Result<Self, OpenError> {
        let place = options.place().to_owned();
        let refused = |what: String| OpenError::Database { at: place.clone(), what };
        options.check().map_err(|bad| refused(bad.to_string()))?;
        let target = Arc::new(Target::new(options));
        let session = first_session(&target).await.map_err(|fault| refused(fault.what))?;
        schema::prepare(&target, &session, steps).await?;
        let durable = session.ask("SELECT current_setting('fsync', true)", &[]).await;
        if durable.is_ok_and(|rows| rows.first().and_then(|row| row.get::<_, Option<&str>>(0)) == Some("off"))
        {
            tracing::warn!(
                database = place,
                "fsync is off at the database: a crash of its machine may lose or damage what was acknowledged"
            );
        }
        drop(session);

        let s = &target.options.schema;
        let scan = format!(
            "SELECT key, value, revision FROM {s}.entries WHERE key >= $1 AND (key > $2 OR $2 IS NULL) AND (key < $3 \
             OR $3 IS NULL) AND value IS NOT NULL ORDER BY key LIMIT $4"
        );
        let scans = Arc::new(Pool::new(Arc::clone(&target), vec![scan]));
        let cache = Arc::new(Mutex::new(Cache::new(target.options.cache_bytes)));
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let (commits, requests) = Queue::new();
        tokio::spawn(Writer::new(Arc::clone(&target), Arc::clone(&cache), id).run(requests));
        let (reads, asked) = mpsc::unbounded_channel();
        tokio::spawn(Reader::new(Arc::clone(&target), Arc::clone(&cache)).run(asked));
        let news = News::start(Arc::clone(&target));
        let sweep = tokio::spawn(sweep(Arc::clone(&scans), Arc::clone(&target), cache)).abort_handle();
        Ok(Self { commits, reads, scans, news, target, sweep })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.sweep.abort();
    }
}

/// A refusal is told at once, as is a database that is not there: whoever starts servers starts them again.
/// One that says it is starting up is waited for.
async fn first_session(target: &Target) -> Result<link::Session, Fault> {
    let deadline = Instant::now() + target.options.timeout;
    let mut pause = link::Pause::default();
    loop {
        match target.connect(&[]).await {
            Err(fault) if fault.what.contains("57P03") && pause.fits(deadline) => pause.wait().await,
            other => return other,
        }
    }
}

/// Refuses to go on where a newer version has changed the tables.
fn check_format(found: i64) -> Result<(), Fault> {
    if usize::try_from(found).is_ok_and(|found| found <= FORMAT) {
        return Ok(());
    }
    Err(Fault::refused(format!(
        "its tables are of format {found} now, and this keyferry reads format {FORMAT}: start the newer version"
    )))
}

#[async_trait]
impl Backend for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let (answer, found) = oneshot::channel();
        let read = Read { key: key.to_vec(), answer, since: Instant::now() };
        let ended = || StoreError::Backend("the store's reader has ended; start the server again".into());
        self.reads.send(read).map_err(|_| ended())?;
        found.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let after = after.filter(|after| *after >= prefix);
        let end = successor(prefix);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.scans.ask(What::Prepared(SCAN), &[&prefix, &after, &end, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let value = Bytes::copy_from_slice(row.get(1));
                (row.get::<_, &[u8]>(0).to_vec(), Entry { value, revision: Revision(unsigned(row.get(2))) })
            })
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.check_sizes()?;
        let size = queue::size(&batch);
        if size > MAX_BATCH {
            return Err(StoreError::TooLarge { size, limit: MAX_BATCH });
        }
        self.commits.send(batch, size).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(whole::Moment::begin(Arc::clone(&self.target)).await?))
    }

    async fn replace(&self, entries: Replacement) -> Result<Revision, StoreError> {
        whole::replace(&self.target, entries).await
    }

    fn shared(&self) -> bool {
        true
    }

    async fn announce(&self, announcement: Bytes) {
        self.news.announce(announcement);
    }

    fn announcements(&self) -> Option<broadcast::Receiver<Bytes>> {
        Some(self.news.listen())
    }
}

/// Removes marks that no cache needs any more, and the notes of writers that are long gone. Every process does
/// so; doing it twice does no harm.
async fn sweep(pool: Arc<Pool>, target: Arc<Target>, cache: Arc<Mutex<Cache>>) {
    let mut seen: VecDeque<(Instant, u64)> = VecDeque::new();
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        let known = cache.lock().unwrap_or_else(PoisonError::into_inner).known();
        if let Some(known) = known {
            seen.push_back((Instant::now(), known));
        }
        let mut old = None;
        while let Some((at, revision)) = seen.front()
            && at.elapsed() >= MARKS_KEPT
        {
            old = Some(*revision);
            seen.pop_front();
        }
        let Some(old) = old else { continue };
        if let Err(error) = remove_marks(&pool, &target.options.schema, old).await {
            tracing::warn!(%error, "marks of removed entries were not cleared away; tried again later");
        }
    }
}

/// Removes the marks of what was removed up to a revision.
async fn remove_marks(pool: &Pool, schema: &str, up_to: u64) -> Result<(), StoreError> {
    let find = format!(
        "SELECT max(revision) FROM (SELECT revision FROM {schema}.entries WHERE value IS NULL AND revision <= $1 ORDER \
         BY revision LIMIT {SWEEP_AT_ONCE}) t"
    );
    loop {
        let rows = pool.ask(What::Text(&find), &[&signed(up_to)]).await?;
        let Some(found) = rows.first().and_then(|row| row.get::<_, Option<i64>>(0)) else { break };
        // The first statement waits for all writers, and the caches learn of it with the second.
        let remove = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; \
             UPDATE {schema}.meta SET pruned_below = {found} WHERE pruned_below < {found}; \
             DELETE FROM {schema}.entries WHERE value IS NULL AND revision <= {found}; COMMIT"
        );
        pool.ask(What::Several(&remove), &[]).await?;
    }
    let gone = format!("DELETE FROM {schema}.writers WHERE seen < now() - interval '1 day'");
    pool.ask(What::Several(&gone), &[]).await.map(|_| ())
}
