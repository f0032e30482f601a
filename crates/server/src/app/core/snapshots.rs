//! `sys/storage/raft/snapshot` and `snapshot-force`: the whole store, out and in again (kv-v2-api.md 11).

use std::{fs::File, sync::Arc};

use store::{
    Guard, RootKey,
    snapshot::{self, Guarding, RestoreError, SnapshotError, Writer},
};
use subtle::ConstantTimeEq as _;

use super::{
    super::{App, AppError, Body, Content, Operation, Reply, Request},
    Core, Unsealing,
};

/// Below `sys/`.
pub(super) const SNAPSHOT: &str = "storage/raft/snapshot";
/// Below `sys/`: also of a store with another root key, where that can be had.
pub(super) const FORCE: &str = "storage/raft/snapshot-force";

/// Whether a request brings a whole snapshot, which is not gathered in memory.
pub fn is_restore(request: &Request) -> bool {
    let path = request.path.strip_prefix("sys/");
    request.operation == Operation::Write && matches!(path, Some(SNAPSHOT | FORCE))
}

impl Core {
    /// Whether a request may bring a snapshot, asked before any of it is taken.
    ///
    /// # Errors
    /// When the server is sealed, or the caller may not.
    pub async fn may_restore(&self, request: &Request) -> Result<(), AppError> {
        let serving = self.open.load_full().ok_or(AppError::Sealed)?;
        serving.app.permit(request).await
    }

    /// The caller was found allowed.
    pub(super) async fn snapshot(&self, app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
        match (request.operation, path) {
            (Operation::Read, SNAPSHOT) => {
                let writer = Writer::new(&app.store, self.clock.now(), self.entropy.as_ref()).await?;
                Ok(Reply { status: 200, content: Content::Snapshot(Box::new(writer)) })
            }
            (Operation::Write, _) => self.restore(app, request, path == FORCE).await,
            _ => Err(AppError::UnsupportedOperation),
        }
    }

    async fn restore(&self, app: &App, request: &Request, force: bool) -> Result<Reply, AppError> {
        let Body::File(file) = &request.body else {
            return Err(AppError::invalid("a snapshot must be sent as the request's body"));
        };
        let _turn = self.rites.lock().await;
        let ours = app.store.root_key().clone();
        let copy = || file.try_clone().map_err(|error| AppError::Internal(error.to_string()));
        let root = match check(copy()?, ours.clone()).await {
            Ok(()) => ours,
            Err(SnapshotError::WrongKey) if force => self.foreign_root(copy()?).await?,
            Err(SnapshotError::WrongKey) => {
                return Err(AppError::invalid(
                    "could not verify the snapshot: it was made by a store with another root key, or was \
                     changed; use the snapshot-force API if it is meant to take this store's place",
                ));
            }
            Err(error) => return Err(refused(&error)),
        };
        // The root key stays: so does how it is kept, and shares that were withdrawn stay withdrawn.
        let same: bool = root.expose().ct_eq(app.store.root_key().expose()).into();
        let guarding = if same { Guarding::AsNow } else { Guarding::AsSaved };
        let before = app.store.clone();
        // Nothing is delivered, read or written while the ground moves.
        self.end().await;
        let backend = Arc::clone(&self.backend);
        let restored = snapshot::restore(
            copy()?,
            &root,
            &backend,
            guarding,
            self.clock.now(),
            Arc::clone(&self.entropy),
        )
        .await;
        match restored {
            Ok((checked, _)) => {
                let (created, entries) = (&checked.meta.created, checked.ended.entries.map(|(n, _)| n));
                tracing::warn!(
                    created,
                    entries,
                    "the store was restored from a snapshot; syncing waits until the restore is confirmed"
                );
                let store = self.store_by(&root).await?;
                self.open_store(store).await?;
                Ok(Reply::empty())
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot was not restored; the store is as it was");
                self.open_store(before).await?;
                Err(match error {
                    RestoreError::Snapshot(error) => refused(&error),
                    RestoreError::Store(error) => error.into(),
                })
            }
        }
    }

    /// The root key of another store's snapshot, if the service that unseals this one opens it.
    async fn foreign_root(&self, file: File) -> Result<RootKey, AppError> {
        let guard = tokio::task::spawn_blocking(move || guard_of(&file))
            .await
            .map_err(|error| AppError::Internal(error.to_string()))?
            .map_err(|error| refused(&error))?;
        match (&self.unsealing, guard) {
            (Unsealing::Auto(service), Some(guard)) if guard.kind == service.kind() => {
                service.unwrap(&guard.root).await.map_err(AppError::invalid)
            }
            _ => Err(AppError::invalid(
                "the snapshot was made by a store whose root key this server does not have; stop the server and \
                 restore it with `keyferry restore`, which takes the other store's key file or key shares",
            )),
        }
    }
}

/// Reads a snapshot to its end, off the threads that answer requests.
async fn check(file: File, root: RootKey) -> Result<(), SnapshotError> {
    let read = tokio::task::spawn_blocking(move || snapshot::check(&file, Some(&root)).map(drop));
    read.await.unwrap_or_else(|error| Err(SnapshotError::Io(error.to_string())))
}

fn guard_of(file: &File) -> Result<Option<Guard>, SnapshotError> {
    use std::io::Seek as _;
    let io = |error: std::io::Error| SnapshotError::Io(error.to_string());
    let mut file = file.try_clone().map_err(io)?;
    file.rewind().map_err(io)?;
    snapshot::Reader::new(std::io::BufReader::new(file))?.meta().guard()
}

fn refused(error: &SnapshotError) -> AppError {
    match error {
        SnapshotError::Io(_) => AppError::Internal(error.to_string()),
        _ => AppError::invalid(format!("the snapshot was not restored: {error}")),
    }
}
