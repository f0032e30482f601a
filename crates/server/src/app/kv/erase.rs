//! Erases the data of disabled mounts. Nobody can reach it: no mount has the accessor any more, and a
//! change that began before the mount went expects it still there.

use engine::rules::{Changed, announce};
use model::MountAccessor;
use store::{Node, StoreError, records::Folder};

use crate::app::{App, AppError, keeper, mounts::change_table};

/// Secrets or folders per commit.
const BATCH: usize = 100;

/// Erases what the table of mounts says is left to erase.
pub(in crate::app) async fn erase_disabled(app: &App) -> Result<(), StoreError> {
    let Some(table) = app.store.get(&app.store.keys().mounts()).await? else { return Ok(()) };
    for accessor in &table.record.erasing {
        match keeper::forget(app, accessor).await {
            Ok(()) => {}
            // Tried again next time, like all that follows.
            Err(AppError::Busy(_)) => continue,
            Err(fault) => return Err(StoreError::Backend(fault.to_string())),
        }
        erase(app, accessor).await?;
        let done = change_table(app, |table| {
            table.erasing.retain(|other| other != accessor);
            Ok(())
        });
        match done.await {
            // Tried again next time.
            Ok(()) | Err(AppError::Busy(_)) => {}
            Err(fault) => return Err(StoreError::Backend(fault.to_string())),
        }
    }
    Ok(())
}

/// Walks the tree from its leaves up, so that what is interrupted can be found again from the root.
async fn erase(app: &App, accessor: &MountAccessor) -> Result<(), StoreError> {
    let (store, keys) = (&app.store, app.store.keys());
    let root = keys.mount(accessor);
    let mut path = vec![root];
    while let Some(&folder) = path.last() {
        let below = store.scan(&keys.folders_in(folder), None, 1).await?;
        if let Some((_, Folder { name })) = below.into_iter().next().map(|(key, stored)| (key, stored.record))
        {
            path.push(keys.segment(folder, &name));
            continue;
        }
        while erase_secrets(app, accessor, folder).await? {}
        path.pop();
        if let Some(&parent) = path.last() {
            let mut transaction = store.transaction();
            transaction.delete(&keys.folder(parent, folder));
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// Erases some secrets of a folder; whether there were any. Their destinations are asked to look: what
/// they hold stays, and that nothing is known of its source any more is for the engine to say.
async fn erase_secrets(app: &App, accessor: &MountAccessor, folder: Node) -> Result<bool, StoreError> {
    let (store, keys) = (&app.store, app.store.keys());
    let secrets = store.scan(&keys.secrets_in(folder), None, BATCH).await?;
    let any = !secrets.is_empty();
    let now = app.clock.now();
    for (key, meta) in secrets {
        let secret = keys.segment(folder, &meta.record.name);
        let mut transaction = store.transaction();
        for version in meta.record.versions.keys() {
            transaction.delete(&keys.secret_version(secret, *version));
        }
        transaction.delete(&key);
        let changed = Changed { accessor, mount: "", path: None, source: secret, now };
        let destinations = announce(store, &app.rules, &changed, &mut transaction).await?;
        match transaction.commit().await {
            Ok(_) => destinations.into_iter().for_each(|to| app.signal.pending(to, secret)),
            // An association was made or removed meanwhile: the next round finds the secret again.
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(any)
}
