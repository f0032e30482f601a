//! Everything at once: taken as of one moment, and put in the place of what was there.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;

use super::{
    fault::{Fault, Kind},
    link::{Session, Target},
    reader::unsigned,
};
use crate::{Entry, MAX_VALUE, Replacement, Revision, SNAPSHOT_PAGE, Snapshot, StoreError};

/// Entries asked for at a time.
const ROWS: usize = 100;
/// Bytes of entries sent in one statement.
const SENT_TOGETHER: usize = 4 << 20;
/// It holds up nobody, and whoever takes it in may be slow.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL idle_in_transaction_session_timeout = 900000";

/// The entries as the database showed them when this began.
pub(super) struct Moment {
    target: Arc<Target>,
    session: Session,
    rows: VecDeque<(Vec<u8>, Entry)>,
    last: Option<Vec<u8>>,
    ended: bool,
}

impl Moment {
    pub(super) async fn begin(target: Arc<Target>) -> Result<Self, StoreError> {
        let s = &target.options.schema;
        let read = format!(
            "SELECT key, value, revision FROM {s}.entries WHERE (key > $1 OR $1 IS NULL) AND value IS NOT NULL ORDER BY \
             key LIMIT {ROWS}"
        );
        let session = target.connect(&[read]).await.map_err(|fault| target.error(&fault))?;
        session.run(BEGIN_SNAPSHOT).await.map_err(|fault| target.error(&fault))?;
        let mut moment = Self { target, session, rows: VecDeque::new(), last: None, ended: false };
        // The first statement is what fixes the moment.
        moment.fetch().await?;
        Ok(moment)
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let rows = timeout(self.target.patience(), self.session.query(0, &[&self.last]))
            .await
            .map_err(|_| self.target.waited())?
            .map_err(|fault| self.target.error(&fault))?;
        self.ended = rows.len() < ROWS;
        for row in rows {
            let value = Bytes::copy_from_slice(row.get(1));
            let entry = Entry { value, revision: Revision(unsigned(row.get(2))) };
            self.rows.push_back((row.get::<_, &[u8]>(0).to_vec(), entry));
        }
        self.last = self.rows.back().map(|(key, _)| key.clone()).or(self.last.take());
        Ok(())
    }
}

#[async_trait]
impl Snapshot for Moment {
    async fn next(&mut self) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        let (mut page, mut size) = (Vec::new(), 0);
        while size < SNAPSHOT_PAGE {
            if self.rows.is_empty() && !self.ended {
                self.fetch().await?;
            }
            let Some((key, entry)) = self.rows.pop_front() else { break };
            size += key.len() + entry.value.len();
            page.push((key, entry));
        }
        Ok(page)
    }
}

/// Puts these entries in the place of everything, in one transaction, for which all writers wait.
pub(super) async fn replace(target: &Target, entries: Replacement) -> Result<Revision, StoreError> {
    let s = &target.options.schema;
    let statements = [
        // No cache of any process knows anything of what was before.
        format!(
            "UPDATE {s}.meta SET revision = revision + 1, pruned_below = revision + 1 RETURNING format, revision"
        ),
        format!("DELETE FROM {s}.entries"),
        format!("INSERT INTO {s}.entries SELECT k, v, $3 FROM unnest($1::bytea[], $2::bytea[]) AS u (k, v)"),
    ];
    let session = target.connect(&statements).await.map_err(|fault| target.error(&fault))?;
    let committing = match write_all(&session, entries).await {
        Ok(revision) => session.run("COMMIT").await.map(|()| revision),
        Err(Failed::Entry(error)) => {
            // Dropping the connection would do as well.
            let _ = session.roll_back().await;
            return Err(error);
        }
        Err(Failed::Database(fault)) => return Err(target.error(&fault)),
    };
    committing.map_err(|fault| match fault.kind {
        Kind::Lost => StoreError::Unknown,
        Kind::Again | Kind::Refused => target.error(&fault),
    })
}

/// Why not everything could be written.
enum Failed {
    /// An entry was none, or one that no back end takes.
    Entry(StoreError),
    Database(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Database(fault)
    }
}

async fn write_all(session: &Session, mut entries: Replacement) -> Result<Revision, Failed> {
    session.run("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0").await?;
    let counted = session.query(0, &[]).await?;
    let row = counted.first().ok_or_else(|| Fault::refused("the table meta is empty"))?;
    super::check_format(row.get(0))?;
    let revision: i64 = row.get(1);
    session.query(1, &[]).await?;
    loop {
        let (mut keys, mut values, mut size) = (Vec::new(), Vec::new(), 0);
        while size < SENT_TOGETHER {
            let Some(entry) = entries.next() else { break };
            let (key, value) = entry.map_err(Failed::Entry)?;
            if value.len() > MAX_VALUE {
                return Err(Failed::Entry(StoreError::TooLarge { size: value.len(), limit: MAX_VALUE }));
            }
            size += key.len() + value.len();
            keys.push(key);
            values.push(value);
        }
        if keys.is_empty() {
            return Ok(Revision(unsigned(revision)));
        }
        session.query(2, &[&keys, &values, &revision]).await?;
    }
}
