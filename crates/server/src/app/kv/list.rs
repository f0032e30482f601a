//! LIST and SCAN on `M/metadata` and `M/detailed-metadata` (kv-v2-api.md 3.4, 3.6).

use store::{Node, Record as _, StoreError, records::SecretMeta};

use super::{MOUNT_TYPE, metadata::put_meta};
use crate::app::{App, AppError, Fields, Operation, Reply, Request, mounts::Place};

/// Something in a folder, under the name that lists give it; a folder has no metadata.
struct Entry {
    name: String,
    meta: Option<SecretMeta>,
}

pub(super) async fn list(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
    detailed: bool,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let exclude_deleted = fields.boolean("exclude_deleted")?.unwrap_or(false);
    let after = fields.text("after")?.unwrap_or_default();
    let limit = fields.integer("limit")?.unwrap_or(-1);
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let folder = folder(app, place.root, path);
    let (mut entries, damaged) = match request.operation {
        Operation::Scan => scan(app, folder).await?,
        _ => read_folder(app, folder).await?,
    };
    entries.retain(|entry| entry.name > after && !(exclude_deleted && newest_is_deleted(entry)));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.truncate(limit);
    if entries.is_empty() && damaged == 0 {
        return Err(AppError::not_found());
    }
    let reply = Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>());
        if detailed {
            o.put_object("key_info", |o| {
                for Entry { name, meta } in &entries {
                    o.put_object(name, |o| meta.iter().for_each(|meta| put_meta(o, meta)));
                }
            });
        }
    });
    let reply = reply.warn_of_unknown(fields.unknown());
    Ok(match damaged {
        0 => reply,
        some => reply.warn(format!(
            "{some} damaged records are not listed; the server's log tells their keys, `keyferry doctor` their names"
        )),
    })
}

/// Whether the newest version has a deletion time, be it to come.
fn newest_is_deleted(entry: &Entry) -> bool {
    let newest = entry.meta.as_ref().and_then(|meta| meta.versions.get(&meta.current));
    newest.is_some_and(|version| version.deletion.is_some())
}

/// The place of the folder that a list's path names: it ends in `/`, or is empty for the mount.
pub(super) fn folder(app: &App, root: Node, path: &str) -> Node {
    match path.strip_suffix('/').unwrap_or(path) {
        "" => root,
        path => path.split('/').fold(root, |parent, segment| app.store.keys().segment(parent, segment)),
    }
}

/// What is directly in a folder, and how much of it is damaged and left out.
async fn read_folder(app: &App, folder: Node) -> Result<(Vec<Entry>, usize), StoreError> {
    let (store, keys) = (&app.store, app.store.keys());
    let (secrets, broken) = store.scan_all_sound(&keys.secrets_in(folder)).await?;
    let (folders, cut_off) = store.scan_all_sound(&keys.folders_in(folder)).await?;
    let secrets = secrets
        .into_iter()
        .map(|(_, meta)| Entry { name: meta.record.name.clone(), meta: Some(meta.record) });
    let folders =
        folders.into_iter().map(|(_, folder)| Entry { name: format!("{}/", folder.record.name), meta: None });
    Ok((secrets.chain(folders).collect(), broken + cut_off))
}

/// All secrets below a folder with their metadata, under their paths from there.
pub(super) async fn all(app: &App, folder: Node) -> Result<Vec<(String, SecretMeta)>, StoreError> {
    let (found, damaged) = scan(app, folder).await?;
    if damaged > 0 {
        return Err(StoreError::Corrupt {
            tag: SecretMeta::TAG,
            what: "some of what is in a folder cannot be told",
        });
    }
    Ok(found.into_iter().filter_map(|entry| Some((entry.name, entry.meta?))).collect())
}

/// All secrets below a folder, under their paths from there, and how much is damaged and left out.
async fn scan(app: &App, folder: Node) -> Result<(Vec<Entry>, usize), StoreError> {
    let (mut found, mut damaged) = (Vec::new(), 0);
    let mut open = vec![(folder, String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let (entries, broken) = read_folder(app, folder).await?;
        damaged += broken;
        for Entry { name, meta } in entries {
            let path = format!("{prefix}{name}");
            match (&meta, name.strip_suffix('/')) {
                (None, Some(segment)) => open.push((app.store.keys().segment(folder, segment), path)),
                _ => found.push(Entry { name: path, meta }),
            }
        }
    }
    Ok((found, damaged))
}
