//! Against guessing: after some failures in a row a name is not let in for a while, whatever it brings.
//!
//! Names that exist are counted in the store, so that neither a restart nor another process forgets.
//! Names that do not exist are counted in memory, a bounded number of them: they must look the same from
//! outside, and a stranger must not be able to fill the store.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::methods::Site;
use crate::app::{AppError, entries::Table};

/// Failures in a row that are let pass.
const TRIES: u32 = 5;
/// How long no more is let in, and after how long without a failure the count begins anew.
const PAUSE: Duration = Duration::from_mins(15);
/// Names remembered that do not exist.
const MOST_UNKNOWN: usize = 10_000;

/// What is remembered of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    fn locked(self, now: Timestamp) -> bool {
        self.count >= TRIES && now < self.last.plus(PAUSE)
    }

    fn one_more(self, now: Timestamp) -> Self {
        let count = if now < self.last.plus(PAUSE) { self.count.saturating_add(1) } else { 1 };
        Self { count, last: now }
    }
}

/// Of names that do not exist.
#[derive(Default)]
pub(crate) struct Lockouts(Mutex<HashMap<(String, String), Failures>>);

/// One name's count, to be held from before it is checked until after it is known who it was.
pub(super) struct Guard<'a> {
    at: &'a Site<'a>,
    name: &'a str,
    known: bool,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

fn table<'a>(at: &Site<'a>) -> Table<'a, Failures> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "failures")
}

/// Waits until no other attempt at a name is under way, so that many at once are no more tries than
/// they are one after the other. `name` is in the form in which names are compared; `known` tells whether
/// there is somebody of that name.
///
/// # Errors
/// [`AppError::Denied`] while the name is locked.
pub(super) async fn guard<'a>(at: &'a Site<'a>, name: &'a str, known: bool) -> Result<Guard<'a>, AppError> {
    let table = table(at);
    let turn = at.app.locks.of(table.key(name).as_bytes()).await;
    let failures = if known {
        table.get(name).await?.map(|kept| kept.value)
    } else {
        at.app.lockouts.held().get(&key(at, name)).copied()
    };
    if failures.is_some_and(|failures| failures.locked(at.app.clock.now())) {
        return Err(AppError::no_token());
    }
    Ok(Guard { at, name, known, _turn: turn })
}

fn key(at: &Site<'_>, name: &str) -> (String, String) {
    (at.mount.accessor.to_string(), name.to_owned())
}

impl Guard<'_> {
    /// It was somebody else.
    pub(super) async fn failed(self) -> Result<(), AppError> {
        let now = self.at.app.clock.now();
        if self.known {
            return table(self.at)
                .change(self.name, |known| Ok((Some(known.unwrap_or_default().one_more(now)), ())))
                .await;
        }
        let mut held = self.at.app.lockouts.held();
        if held.len() >= MOST_UNKNOWN {
            held.retain(|_, failures| failures.locked(now));
        }
        if held.len() >= MOST_UNKNOWN {
            held.clear();
        }
        let failures = held.entry(key(self.at, self.name)).or_default();
        *failures = failures.one_more(now);
        Ok(())
    }

    /// It was them.
    pub(super) async fn succeeded(self) -> Result<(), AppError> {
        if self.known {
            table(self.at).remove(self.name).await?;
        }
        Ok(())
    }
}

impl Lockouts {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a name in again, which whoever may write it may decide.
pub(super) async fn forgive(at: &Site<'_>, name: &str) -> Result<(), AppError> {
    table(at).remove(name).await.map(drop)
}
