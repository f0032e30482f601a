//! Reads of single keys.
//!
//! They are answered in waves: all that wait share one question, "what changed since", which brings the cache
//! up to date, and what the cache does not hold is fetched along with it. A read is answered by a wave that
//! was sent after the read began, so it sees every commit that was told before that, by whatever process.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::try_join;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_postgres::Row;

use super::{
    cache::{Cache, Item},
    fault::{Fault, Kind},
    link::{Pause, Session, Target},
};
use crate::{Entry, StoreError};

/// Most reads in one wave.
const WAVE_READS: usize = 4096;
/// More changes than this between two waves, and all is read anew.
const WAVE_CHANGES: i64 = 1000;
/// Before the first wave nothing is held, so no change matters.
const NO_CHANGES: i64 = i64::MAX;

/// A read and whoever waits for it.
pub(super) struct Read {
    pub(super) key: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<Option<Entry>, StoreError>>,
    pub(super) since: Instant,
}

pub(super) struct Reader {
    target: Arc<Target>,
    cache: Arc<Mutex<Cache>>,
    statements: [String; 2],
}

const CHANGES: usize = 0;
const FETCH: usize = 1;

impl Reader {
    pub(super) fn new(target: Arc<Target>, cache: Arc<Mutex<Cache>>) -> Self {
        let s = &target.options.schema;
        let statements = [
            format!(
                "SELECT m.format, m.revision, m.pruned_below, e.key, e.revision FROM {s}.meta m LEFT JOIN LATERAL \
                 (SELECT key, revision FROM {s}.entries WHERE revision > $1 ORDER BY revision LIMIT {WAVE_CHANGES}) e \
                 ON true"
            ),
            format!("SELECT key, value, revision FROM {s}.entries WHERE key = ANY($1)"),
        ];
        Self { target, cache, statements }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers reads until nobody can ask any more.
    pub(super) async fn run(self, mut reads: mpsc::UnboundedReceiver<Read>) {
        let mut session = None;
        while let Some(first) = reads.recv().await {
            let mut wave = vec![first];
            while wave.len() < WAVE_READS {
                let Ok(next) = reads.try_recv() else { break };
                wave.push(next);
            }
            self.answer(&mut session, wave).await;
        }
    }

    /// One wave, on as many connections as it takes.
    async fn answer(&self, session: &mut Option<Session>, mut wave: Vec<Read>) {
        let mut pause = Pause::default();
        loop {
            // Those who no longer wait, and those who waited long enough.
            let longest = self.target.options.timeout;
            let (waiting, late): (Vec<_>, Vec<_>) = wave
                .into_iter()
                .filter(|read| !read.answer.is_closed())
                .partition(|read| read.since.elapsed() < longest);
            for read in late {
                let _ = read.answer.send(Err(self.target.waited()));
            }
            wave = waiting;
            if wave.is_empty() {
                return;
            }
            let fault = match self.try_answer(session, &wave).await {
                Ok(items) => {
                    self.target.works();
                    for (read, item) in wave.into_iter().zip(items) {
                        let _ = read.answer.send(Ok(item.entry()));
                    }
                    return;
                }
                Err(fault) => fault,
            };
            self.target.failed(&fault);
            if let Some(session) = session.take() {
                session.cut();
            }
            if fault.kind == Kind::Refused {
                for read in wave {
                    let _ = read.answer.send(Err(self.target.error(&fault)));
                }
                return;
            }
            pause.wait().await;
        }
    }

    async fn try_answer(&self, session: &mut Option<Session>, wave: &[Read]) -> Result<Vec<Item>, Fault> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.target.connect(&self.statements).await?),
        };
        timeout(self.target.patience(), self.ask(session, wave))
            .await
            .unwrap_or_else(|_| Err(Fault::lost("no answer in time")))
    }

    async fn ask(&self, session: &Session, wave: &[Read]) -> Result<Vec<Item>, Fault> {
        let (known, missing) = {
            let cache = self.cache();
            let missing: BTreeSet<&[u8]> =
                wave.iter().map(|read| read.key.as_slice()).filter(|key| !cache.holds(key)).collect();
            (cache.known(), missing)
        };
        let since = known.map_or(NO_CHANGES, signed);
        let missing: Vec<&[u8]> = missing.into_iter().collect();
        let since: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&since];
        let changes = session.query(CHANGES, &since);
        let (changes, found) = if missing.is_empty() {
            (changes.await?, Vec::new())
        } else {
            try_join(changes, session.query(FETCH, &[&missing])).await?
        };
        let at = self.take_in(known.is_some(), &changes)?;
        let mut items = self.collect(wave, at, &missing, &found);
        // What was held, and changed.
        let mut late: Vec<&[u8]> = wave
            .iter()
            .zip(&items)
            .filter(|(_, item)| item.is_none())
            .map(|(read, _)| read.key.as_slice())
            .collect();
        if !late.is_empty() {
            late.sort_unstable();
            late.dedup();
            let found = session.query(FETCH, &[&late]).await?;
            let again = self.collect(wave, at, &late, &found);
            for (item, again) in items.iter_mut().zip(again) {
                *item = item.take().or(again);
            }
        }
        items.into_iter().map(|item| item.ok_or_else(|| Fault::lost("an answer is missing"))).collect()
    }

    /// Brings the cache up to date; the revision it is at.
    fn take_in(&self, knew: bool, rows: &[Row]) -> Result<u64, Fault> {
        let Some(first) = rows.first() else {
            return Err(Fault::refused("the table meta is empty: restore the database from a backup"));
        };
        super::check_format(first.get(0))?;
        let (at, pruned) = (unsigned(first.get(1)), unsigned(first.get(2)));
        let whole = i64::try_from(rows.len()).is_ok_and(|rows| rows < WAVE_CHANGES);
        let mut cache = self.cache();
        if !knew || !whole || cache.known().is_none_or(|known| known < pruned) {
            cache.start_over(at);
        } else {
            let changed =
                rows.iter().filter_map(|row| Some((row.get::<_, Option<&[u8]>>(3)?, unsigned(row.get(4)))));
            cache.changed(at, changed);
        }
        Ok(at)
    }

    /// What each read comes to: what was found for the keys that were asked for, else what is held.
    fn collect(&self, wave: &[Read], at: u64, asked: &[&[u8]], found: &[Row]) -> Vec<Option<Item>> {
        let found: std::collections::HashMap<&[u8], Item> = found
            .iter()
            .map(|row| {
                let value = row.get::<_, Option<&[u8]>>(1).map(Bytes::copy_from_slice);
                (row.get(0), Item { revision: unsigned(row.get(2)), value })
            })
            .collect();
        let mut cache = self.cache();
        for key in asked {
            cache.offer(key, found.get(key).cloned().unwrap_or_else(Item::nothing), at);
        }
        wave.iter()
            .map(|read| {
                if asked.binary_search(&read.key.as_slice()).is_ok() {
                    Some(found.get(read.key.as_slice()).cloned().unwrap_or_else(Item::nothing))
                } else {
                    cache.get(&read.key)
                }
            })
            .collect()
    }
}

/// As the database counts.
pub(super) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// As we count.
pub(super) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
