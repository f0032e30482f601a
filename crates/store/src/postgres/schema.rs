//! The tables, and what they say about themselves.
//!
//! Nothing here that CockroachDB or YugabyteDB lack: no advisory locks, no functions, no triggers.

use super::{
    fault::{Fault, Kind},
    link::{Session, Target},
};
use crate::OpenError;

/// What is done to a schema of format `n` to make it one of format `n + 1`. A step that was released is never
/// changed. `{s}` stands for the schema.
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE {s}.meta (
        one smallint PRIMARY KEY CHECK (one = 1),
        product text NOT NULL,
        format bigint NOT NULL,
        revision bigint NOT NULL,
        pruned_below bigint NOT NULL
    );
    CREATE TABLE {s}.entries (
        key bytea PRIMARY KEY,
        value bytea,
        revision bigint NOT NULL
    );
    CREATE INDEX entries_revision ON {s}.entries (revision);
    CREATE INDEX entries_removed ON {s}.entries (revision) WHERE value IS NULL;
    CREATE TABLE {s}.writers (
        id bytea PRIMARY KEY,
        done bigint NOT NULL,
        seen timestamptz NOT NULL
    );
    INSERT INTO {s}.meta VALUES (1, 'keyferry', 0, 1, 0);
"];

/// Two that start at once on an empty database get in each other's way this often at most.
const ATTEMPTS: usize = 20;

/// Checks that the schema is ours and of the format this program knows, and makes it so when it is empty or
/// of an older one.
pub(super) async fn prepare(target: &Target, session: &Session, steps: &[&str]) -> Result<(), OpenError> {
    let place = || format!("schema {} of {}", target.options.schema, target.options.place());
    let refused = |what: String| OpenError::Database { at: target.options.place().to_owned(), what };
    let mut attempts = 0;
    loop {
        match bring_up(target, session, steps).await {
            Ok(Found::Ready) => return Ok(()),
            Ok(Found::Newer(found)) => {
                return Err(OpenError::NewerSchema { at: place(), found, known: steps.len() });
            }
            Ok(Found::Foreign(tables)) => return Err(OpenError::ForeignSchema { at: place(), tables }),
            Err(fault) => {
                session.roll_back().await.map_err(|fault| refused(fault.what))?;
                attempts += 1;
                // Whoever lost against another that makes the same tables finds them the next time.
                if attempts == ATTEMPTS || fault.kind == Kind::Lost {
                    return Err(refused(fault.what));
                }
                if fault.kind == Kind::Refused && attempts > 3 {
                    return Err(refused(fault.what));
                }
            }
        }
    }
}

enum Found {
    Ready,
    Newer(i64),
    /// What else is there.
    Foreign(String),
}

async fn bring_up(target: &Target, session: &Session, steps: &[&str]) -> Result<Found, Fault> {
    let schema = &target.options.schema;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let tables = session
        .ask(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1 ORDER BY 1",
            &[schema],
        )
        .await?;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    if !tables.is_empty() && !tables.iter().any(|table| table == "meta") {
        return Ok(Found::Foreign(some_of(&tables)));
    }
    let fresh = tables.is_empty();
    if !fresh {
        let ours = session
            .ask(
                "SELECT count(*) FROM information_schema.columns WHERE table_schema = $1 AND table_name = 'meta' \
                 AND column_name IN ('product', 'format', 'revision', 'pruned_below')",
                &[schema],
            )
            .await?;
        if ours.first().map(|row| row.get::<_, i64>(0)) != Some(4) {
            return Ok(Found::Foreign(some_of(&tables)));
        }
        let meta = session.ask(&format!("SELECT product, format FROM {schema}.meta"), &[]).await?;
        match meta.first().map(|row| (row.get::<_, String>(0), row.get::<_, i64>(1))) {
            Some((product, _)) if product != "keyferry" => return Ok(Found::Foreign(some_of(&tables))),
            None => return Ok(Found::Foreign(some_of(&tables))),
            Some((_, format)) if format > known => return Ok(Found::Newer(format)),
            Some((_, format)) if format == known => return Ok(Found::Ready),
            Some(_) => {}
        }
    }
    if fresh {
        // Outside the transaction: the right to it may be missing where the schema is there already.
        let there = session
            .ask("SELECT 1 FROM information_schema.schemata WHERE schema_name = $1", &[schema])
            .await?;
        if there.is_empty() {
            session.run(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        }
    }
    session.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let format = if fresh {
        0
    } else {
        // The writers of all nodes wait for this row, and look at the format when they have it.
        let row = session.ask(&format!("SELECT format FROM {schema}.meta FOR UPDATE"), &[]).await?;
        row.first().map_or(known, |row| row.get::<_, i64>(0))
    };
    for step in steps.iter().skip(usize::try_from(format).unwrap_or(usize::MAX)) {
        session.run(&step.replace("{s}", schema)).await?;
    }
    session.run(&format!("UPDATE {schema}.meta SET format = {known} WHERE format < {known}")).await?;
    session.run("COMMIT").await?;
    tracing::info!(
        database = target.options.place(),
        schema,
        format = known,
        "the database's tables were made or brought up"
    );
    Ok(Found::Ready)
}

fn some_of(tables: &[String]) -> String {
    let shown = tables.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if tables.len() > 3 { format!("{shown}, …") } else { shown }
}
