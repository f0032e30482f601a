//! The one way in which a secret changes: read, decide, commit if nothing of what was read has
//! changed meanwhile, else read and decide again.

use engine::rules::{Changed, announce};
use model::{DestinationId, Timestamp, Version};
use store::{
    Node, RecordKey, StoreError, Transaction,
    kv::{Secret, read_secret},
    records::{Folder, Mount, SecretMeta, SecretVersion},
};

use super::Target;
use crate::app::{ATTEMPTS, App, AppError, SyncSignal};

/// What is to become of a secret.
pub(super) enum Edit {
    /// It stays as it is.
    Keep,
    /// It gets new metadata, and maybe a new current version.
    Put {
        /// The metadata.
        meta: SecretMeta,
        /// The value of `meta.current`, when that is new.
        value: Option<SecretVersion>,
        /// Versions whose values go.
        erase: Vec<Version>,
        /// Destinations may have to be told.
        delivers: bool,
    },
    /// It goes, with all its versions.
    Remove,
}

/// Changes a secret. `choose` picks the version whose value `decide` wants to see; `decide` is called
/// anew with what is there then whenever others were faster, so it must not remember anything.
///
/// # Errors
/// What `decide` refuses, and [`AppError::Busy`] when others were faster every time.
pub(super) async fn change<T>(
    app: &App,
    target: &Target,
    choose: impl Fn(&SecretMeta, Timestamp) -> Option<Version>,
    decide: impl Fn(&Mount, Option<&Secret>, Timestamp) -> Result<(Edit, T), AppError>,
) -> Result<T, AppError> {
    let _turn = app.locks.of(&target.secret.0).await;
    for _ in 0..ATTEMPTS {
        match attempt(app, target, &choose, &decide).await {
            Ok(done) => return done,
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

async fn attempt<T>(
    app: &App,
    target: &Target,
    choose: impl Fn(&SecretMeta, Timestamp) -> Option<Version>,
    decide: impl Fn(&Mount, Option<&Secret>, Timestamp) -> Result<(Edit, T), AppError>,
) -> Result<Result<T, AppError>, StoreError> {
    let (store, keys) = (&app.store, app.store.keys());
    let router = match app.router().await {
        Ok(router) => router,
        Err(fault) => return Ok(Err(fault)),
    };
    let Some(mount) = router.of_accessor(&target.accessor) else {
        return Ok(Err(AppError::no_route(target.path.as_str())));
    };
    let now = app.clock.now();
    let found = read_secret(store, target.parent, target.secret, |meta| choose(meta, now)).await?;
    let (edit, answer) = match decide(mount, found.as_ref(), now) {
        Ok(decided) => decided,
        Err(fault) => return Ok(Err(fault)),
    };
    let meta_key = keys.secret_meta(target.parent, target.secret);
    let mut transaction = store.transaction();
    let mut may_be_delivered = false;
    let delivers = match edit {
        Edit::Keep => return Ok(Ok(answer)),
        Edit::Put { meta, value, erase, delivers } => {
            if found.is_none() {
                enter_folders(app, target, &mut transaction).await?;
            }
            if let Some(value) = &value {
                transaction.put(&keys.secret_version(target.secret, meta.current), value);
            }
            for version in erase {
                transaction.delete(&keys.secret_version(target.secret, version));
            }
            transaction.put(&meta_key, &meta);
            may_be_delivered = meta.versions.values().any(|version| version.live(now));
            delivers
        }
        Edit::Remove => {
            if let Some(found) = &found {
                for version in found.meta.record.versions.keys() {
                    transaction.delete(&keys.secret_version(target.secret, *version));
                }
                transaction.delete(&meta_key);
                leave_folders(app, target, &mut transaction).await?;
            }
            true
        }
    };
    // Nothing is written into a mount that was disabled or reconfigured meanwhile.
    transaction.expect(&keys.mounts(), router.revision());
    transaction.expect(&meta_key, found.map(|found| found.meta.revision));
    let mut wake = Wake { signal: app.signal.as_ref(), source: target.secret, destinations: Vec::new() };
    if delivers {
        let changed = Changed {
            accessor: &target.accessor,
            mount: mount.path.bare(),
            path: may_be_delivered.then_some(&target.path),
            source: target.secret,
            now,
        };
        wake.destinations = announce(store, &app.rules, &changed, &mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(Ok(answer))
}

/// Tells the engine when it is dropped, so also when the client goes away while the commit is under
/// way and nobody hears how it ended.
struct Wake<'a> {
    signal: &'a dyn SyncSignal,
    source: Node,
    destinations: Vec<DestinationId>,
}

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        for destination in &self.destinations {
            self.signal.pending(*destination, self.source);
        }
    }
}

/// The folders a secret is in, deepest first: each with its parent and name.
fn folders(app: &App, target: &Target) -> Vec<(Node, Node, String)> {
    let mut folders = Vec::new();
    let mut parent = target.root;
    let mut segments: Vec<&str> = target.path.segments().collect();
    segments.pop();
    for segment in segments {
        let folder = app.store.keys().segment(parent, segment);
        folders.push((parent, folder, segment.to_owned()));
        parent = folder;
    }
    folders.reverse();
    folders
}

/// Makes the entries of the folders that a new secret is in. A folder's entry is there exactly while
/// something is in it, so where one is there those above it are too.
async fn enter_folders(app: &App, target: &Target, transaction: &mut Transaction) -> Result<(), StoreError> {
    for (parent, folder, name) in folders(app, target) {
        let key = app.store.keys().folder(parent, folder);
        if app.store.get(&key).await?.is_some() {
            // Whoever empties it meanwhile takes it away.
            transaction.expect_present(&key);
            return Ok(());
        }
        transaction.put(&key, &Folder { name });
    }
    Ok(())
}

/// Removes the entries of the folders that a secret's removal leaves empty. The first folder that is
/// not left empty is held by something else in it, which must still be there at the commit: else two
/// removals could each leave the folder to the other.
async fn leave_folders(app: &App, target: &Target, transaction: &mut Transaction) -> Result<(), StoreError> {
    let (store, keys) = (&app.store, app.store.keys());
    let secret = keys.secret_meta(target.parent, target.secret);
    let mut gone_folder: Option<RecordKey<Folder>> = None;
    for (parent, folder, _) in folders(app, target) {
        let secrets = keys.secrets_in(folder);
        for (key, _) in store.scan(&secrets, None, 2).await? {
            if key != secret {
                transaction.expect_present(&key);
                return Ok(());
            }
        }
        let subfolders = keys.folders_in(folder);
        for (key, _) in store.scan(&subfolders, None, 2).await? {
            if gone_folder.as_ref() != Some(&key) {
                transaction.expect_present(&key);
                return Ok(());
            }
        }
        let key = keys.folder(parent, folder);
        transaction.expect_empty_after(&secrets).expect_empty_after(&subfolders).delete(&key);
        gone_folder = Some(key);
    }
    Ok(())
}
