//! `sys/remount`: a mount moves, its accessor stays, and with it all data and associations.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use model::{MountPath, uuid_v4};

use super::{MOUNT_TYPE, change_table, mountable, overlaps};
use crate::app::{App, AppError, Envelope, Fields, Operation, Reply, Request, json};

/// The latest moves of mounts, for those who ask how theirs went. A move is one commit, so it is
/// over before anyone can ask.
#[derive(Default)]
pub(crate) struct Migrations(Mutex<VecDeque<Migration>>);

#[derive(Clone)]
struct Migration {
    id: String,
    from: MountPath,
    to: MountPath,
}

const MIGRATIONS_KEPT: usize = 256;

/// `sys/remount`: moves a mount. Its accessor stays, and with it all data and associations.
pub(in crate::app) async fn remount(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Write {
        return Err(AppError::UnsupportedOperation);
    }
    let mut fields = Fields::of(request)?;
    let (Some(from), Some(to)) = (fields.text("from")?, fields.text("to")?) else {
        return Err(AppError::invalid("both 'from' and 'to' path must be specified as a string"));
    };
    let from = mountable(&from, |from| format!("cannot remount \"{from}\""))?;
    let to = mountable(&to, |to| format!("cannot remount to destination {to}"))?;
    change_table(app, |table| {
        let at = table.mounts.iter().position(|mount| mount.path == from);
        let at = at.ok_or_else(|| AppError::invalid(format!("no matching mount at \"{from}\"")))?;
        let others = table.mounts.iter().filter(|mount| mount.path != from);
        if let Some(taken) = others.map(|mount| &mount.path).find(|path| overlaps(path, &to)) {
            return Err(AppError::invalid(format!("path already in use at \"{taken}\"")));
        }
        table.mounts[at].path = to.clone();
        Ok(())
    })
    .await?;
    let id = uuid_v4(app.entropy.as_ref());
    let data = Some(json::object(|o| {
        o.put("migration_id", &id);
    }));
    let mut kept = app.migrations.0.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == MIGRATIONS_KEPT {
        kept.pop_front();
    }
    kept.push_back(Migration { id, from, to });
    drop(kept);
    let warnings =
        vec!["Mount move has been carried out. Its status can be read under its migration_id".to_owned()];
    let envelope = Envelope { data, warnings, injected: true, mount_type: MOUNT_TYPE, ..Envelope::default() };
    Ok(Reply::envelope(envelope))
}

/// `sys/remount/status/<id>`.
pub(in crate::app) fn remount_status(app: &App, request: &Request, id: &str) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let kept = app.migrations.0.lock().unwrap_or_else(PoisonError::into_inner);
    let found = kept.iter().find(|migration| migration.id == id).cloned();
    drop(kept);
    let Migration { id, from, to } = found.ok_or_else(AppError::not_found)?;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("migration_id", &id).put_object("migration_info", |o| {
            o.put("source_mount", from.as_str()).put("target_mount", to.as_str()).put("status", "success");
        });
    }))
}
