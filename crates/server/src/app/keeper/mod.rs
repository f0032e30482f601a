//! Mounts of type `keeper`: a read-only KV v2 view of what is shared with a Keeper application.
//!
//! Keeper is asked for everything, in one call per interval, and what has changed since is written into
//! the mount as versions of ordinary secrets. So reads, lists and associations are those of KV v2, an
//! association is served while Keeper is away, and nothing in the sync engine knows of Keeper. Only this
//! module writes there: the API refuses to.
//!
//! - A record is a secret under its folder's path and its title, `Production/Main DB`. The path is given
//!   once and kept when the record is renamed, so that a new title moves nothing at a destination. What
//!   makes no path, or one that is taken, goes by its UID.
//! - A secret's `data` is the record flattened to texts, as `ksm sync -r` writes it; UID, revision and
//!   title are in `custom_metadata`.
//! - A record that a full, successful answer no longer has is deleted as by a person: its version can be
//!   read again when it comes back. One that does not decrypt, or an answer that cannot be read, changes
//!   nothing (decisions 8 and 19).

mod paths;
mod poll;
mod reach;
mod settings;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{MountAccessor, Timestamp};
use store::records::Mount;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{App, AppError, Operation, Reply, json::Object, mounts::Place};
use poll::Poll;
pub(super) use settings::{forget, keep, retune, take};

/// The type of these mounts.
pub(super) const MOUNT_TYPE: &str = "keeper";

/// Between looks at the table of mounts when nothing is due: another process may have changed it.
const LOOK: Duration = Duration::from_secs(30);

/// Between looks whether a mount that another server polls has become this one's to poll.
const LOOK_WHETHER_MINE: Duration = Duration::from_secs(2);

/// All mounts of this type, as far as this process has polled them.
#[derive(Default)]
pub(crate) struct Keepers {
    /// How Keeper is connected to.
    pub(crate) options: keeper::Options,
    wake: Notify,
    polls: Mutex<HashMap<MountAccessor, Arc<tokio::sync::Mutex<Poll>>>>,
    reports: Mutex<HashMap<MountAccessor, Report>>,
}

/// What the last polls of a mount came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The last that succeeded.
    polled: Option<Timestamp>,
    /// Why the last one failed, in our words.
    error: Option<String>,
    records: usize,
    unreadable: usize,
}

impl Keepers {
    /// Something about these mounts has changed.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    fn poll_of(&self, accessor: &MountAccessor) -> Arc<tokio::sync::Mutex<Poll>> {
        let mut polls = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(polls.entry(accessor.clone()).or_default())
    }

    fn report(&self, accessor: &MountAccessor) -> Report {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.get(accessor).cloned().unwrap_or_default()
    }

    fn set_report(&self, accessor: &MountAccessor, report: Report) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(accessor.clone(), report);
    }

    /// Another server polls it now, and knows what becomes of that.
    fn forget_report(&self, accessor: &MountAccessor) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(accessor);
    }

    fn retain(&self, mounts: &[Mount]) {
        let there = |accessor: &MountAccessor| mounts.iter().any(|mount| mount.accessor == *accessor);
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).retain(|accessor, _| there(accessor));
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).retain(|accessor, _| there(accessor));
    }
}

impl App {
    /// With what Keeper is connected with: authorities, time limits.
    #[must_use]
    pub fn with_keeper(mut self, options: keeper::Options) -> Self {
        self.keepers.options = options;
        self
    }

    /// Polls the mounts of type `keeper` until told to stop.
    pub async fn run_polls(&self, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = self.do_polls() => next,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.keepers.wake.notified() => {}
                () = tokio::time::sleep(next.min(LOOK)) => {}
            }
        }
    }

    /// Polls the mounts that are due, and says how long nothing will be.
    pub async fn do_polls(&self) -> Duration {
        let Ok(router) = self.router().await else { return LOOK };
        let mounts: Vec<Mount> =
            router.all().iter().filter(|mount| mount.mount_type == MOUNT_TYPE).cloned().collect();
        self.keepers.retain(&mounts);
        let polls = mounts.iter().map(|mount| async move {
            let poll = self.keepers.poll_of(&mount.accessor);
            let mut poll = poll.lock().await;
            let Some(sync) = &self.sync else { return poll.when_due(self, mount).await };
            // One server polls it; what it writes is refused once another one does.
            let name = ["keeper", mount.accessor.as_str()].join(" ");
            match sync.engine().alone_for(name.as_bytes(), poll.when_due(self, mount)).await {
                Some(next) => next,
                None => {
                    poll.is_anothers();
                    self.keepers.forget_report(&mount.accessor);
                    LOOK_WHETHER_MINE
                }
            }
        });
        futures_util::future::join_all(polls).await.into_iter().min().unwrap_or(LOOK)
    }
}

/// Refuses what would change such a mount.
///
/// # Errors
/// For every operation that is not a read or a list.
pub(super) fn check_read_only(mount: &Mount, operation: Operation) -> Result<(), AppError> {
    match operation {
        Operation::Read | Operation::List | Operation::Scan => Ok(()),
        _ if mount.mount_type != MOUNT_TYPE => Ok(()),
        _ => Err(AppError::invalid(
            "this mount shows what is shared with a Keeper application and is read-only; change the record in \
             Keeper, and the mount itself by sys/mounts/<path>/tune",
        )),
    }
}

/// `M/config`: what became of the polls.
pub(super) fn read_config(app: &App, place: &Place<'_>) -> Reply {
    let Report { polled, error, records, unreadable } = app.keepers.report(&place.mount.accessor);
    let interval = settings::interval(place.mount);
    Reply::object(MOUNT_TYPE, |o: &mut Object<'_>| {
        o.put("interval", &interval.as_secs());
        match polled {
            Some(at) => o.put_plain("last_poll", at),
            None => o.put("last_poll", &Option::<String>::None),
        };
        o.put("last_error", &error).put("records", &records).put("unreadable_records", &unreadable);
    })
}
