//! The KV engines: v2 (kv-v2-api.md 3) and v1, which stores its one value as version 1.

mod change;
mod data;
mod erase;
mod list;
mod metadata;
pub(super) mod mirror;
mod v1;
mod versions;

use model::{MountAccessor, SecretPath, Timestamp, Version};
use store::{
    Node,
    records::{SecretMeta, VersionMeta},
};

use super::{
    App, AppError, Envelope, Operation, Reply, Request,
    json::Object,
    keeper,
    mounts::{Place, is_versioned},
};
pub(super) use erase::erase_disabled;

const MOUNT_TYPE: &str = "kv";
/// Versions kept when neither the mount nor the key says.
const DEFAULT_MAX_VERSIONS: u64 = 10;

/// One secret: what its records are filed under.
pub(super) struct Target {
    accessor: MountAccessor,
    root: Node,
    /// The folder it is in; the mount's root for one without a folder.
    parent: Node,
    secret: Node,
    path: SecretPath,
}

impl Target {
    /// `None` for a path that names no secret: an empty one, or a folder's.
    fn of(app: &App, place: &Place<'_>, path: &str) -> Option<Self> {
        let path = SecretPath::parse(path).ok()?;
        let (parent, secret) = app.store.keys().secret_in_parent(place.root, &path);
        Some(Self { accessor: place.mount.accessor.clone(), root: place.root, parent, secret, path })
    }

    fn or_not_found(app: &App, place: &Place<'_>, path: &str) -> Result<Self, AppError> {
        Self::of(app, place, path).ok_or_else(AppError::not_found)
    }
}

/// What a path below a v2 mount means.
enum Endpoint<'a> {
    Config,
    Data(&'a str),
    Delete(&'a str),
    Undelete(&'a str),
    Destroy(&'a str),
    Metadata(&'a str),
    DetailedMetadata(&'a str),
    Subkeys(&'a str),
    /// One of the first five with nothing after it.
    Bare,
    Unknown,
}

impl<'a> Endpoint<'a> {
    fn of(rest: &'a str) -> Self {
        let (word, path) = rest.split_once('/').map_or((rest, None), |(word, path)| (word, Some(path)));
        match (word, path) {
            ("config", None) => Self::Config,
            ("data", Some(path)) => Self::Data(path),
            ("delete", Some(path)) => Self::Delete(path),
            ("undelete", Some(path)) => Self::Undelete(path),
            ("destroy", Some(path)) => Self::Destroy(path),
            ("metadata", Some(path)) => Self::Metadata(path),
            ("detailed-metadata", Some(path)) => Self::DetailedMetadata(path),
            ("subkeys", Some(path)) => Self::Subkeys(path),
            ("data" | "delete" | "undelete" | "destroy" | "metadata", None) => Self::Bare,
            _ => Self::Unknown,
        }
    }
}

/// Whether what a write names exists already: then it is an update and not a creation. Endpoints that
/// know no such difference are updates.
pub(super) async fn exists(app: &App, place: &Place<'_>) -> Result<bool, AppError> {
    let path = if is_versioned(place.mount) {
        match Endpoint::of(place.rest) {
            Endpoint::Data(path) | Endpoint::Metadata(path) => path,
            _ => return Ok(true),
        }
    } else {
        place.rest
    };
    let Some(target) = Target::of(app, place, path) else { return Ok(false) };
    let key = app.store.keys().secret_meta(target.parent, target.secret);
    Ok(app.store.get(&key).await?.is_some())
}

/// Answers an authorised request below a KV mount.
pub(super) async fn handle(app: &App, place: &Place<'_>, request: &Request) -> Result<Reply, AppError> {
    use Operation::{Delete, List, Patch, Read, Scan, Write};
    keeper::check_read_only(place.mount, request.operation)?;
    if !is_versioned(place.mount) {
        return v1::handle(app, place, request).await;
    }
    match (Endpoint::of(place.rest), request.operation) {
        (Endpoint::Data(path), Read) => data::read(app, place, path, request).await,
        (Endpoint::Data(path), Write) => data::write(app, place, path, request).await,
        (Endpoint::Data(path), Patch) => data::patch(app, place, path, request).await,
        (Endpoint::Data(path), Delete) => data::delete(app, place, path).await,
        (Endpoint::Subkeys(path), Read) => data::subkeys(app, place, path, request).await,
        (Endpoint::Delete(path), Write) => versions::delete(app, place, path, request).await,
        (Endpoint::Undelete(path), Write) => versions::undelete(app, place, path, request).await,
        (Endpoint::Destroy(path), Write) => versions::destroy(app, place, path, request).await,
        (Endpoint::Metadata(path), Read) => metadata::read(app, place, path).await,
        (Endpoint::Metadata(path), Write) => metadata::write(app, place, path, request).await,
        (Endpoint::Metadata(path), Patch) => metadata::patch(app, place, path, request).await,
        (Endpoint::Metadata(path), Delete) => metadata::delete(app, place, path).await,
        (Endpoint::Metadata(path), List | Scan) => list::list(app, place, path, request, false).await,
        (Endpoint::DetailedMetadata(path), List | Scan) => list::list(app, place, path, request, true).await,
        (Endpoint::Config, Read) if place.mount.mount_type == keeper::MOUNT_TYPE => {
            Ok(keeper::read_config(app, place))
        }
        (Endpoint::Config, Read) => Ok(metadata::read_config(place)),
        (Endpoint::Config, Write) => metadata::write_config(app, place, request).await,
        (Endpoint::Bare, _) => {
            Ok(wrong_path("Non-listing operations on the root of a K/V v2 mount are not supported."))
        }
        (Endpoint::Unknown, operation) => Ok(wrong_path(&format!(
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API \
             endpoints to use. If using the Vault CLI, use 'vault kv {}' for this operation.",
            command_for(operation)
        ))),
        _ => Err(AppError::UnsupportedOperation),
    }
}

/// People see this text when they use `vault read secret/foo`.
fn wrong_path(warning: &str) -> Reply {
    let envelope = Envelope { mount_type: MOUNT_TYPE, ..Envelope::default() };
    Reply::envelope(envelope).warn(warning).not_found()
}

fn command_for(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "get",
        Operation::Write => "put",
        Operation::Patch => "patch",
        Operation::Delete => "delete",
        Operation::List | Operation::Scan => "list",
    }
}

/// What every answer about a version tells.
fn put_version(o: &mut Object<'_>, meta: &SecretMeta, number: Version, version: &VersionMeta) {
    put_version_times(o, version);
    o.put("custom_metadata", &meta.custom_metadata).put("version", &number.0);
}

fn put_version_times(o: &mut Object<'_>, version: &VersionMeta) {
    o.put_plain("created_time", version.created);
    match version.deletion {
        Some(at) => o.put_plain("deletion_time", at),
        None => o.put("deletion_time", ""),
    };
    o.put("destroyed", &version.destroyed);
}

/// When a version made or undeleted at `now` deletes itself: after the smaller of the times that the
/// mount and the key set; never when the mount says so. Nanoseconds; 0 = unset, negative = never.
fn deletion_time(now: Timestamp, mount: i64, key: i64) -> Option<Timestamp> {
    if mount < 0 {
        return None;
    }
    let after = [mount, key].into_iter().filter(|after| *after > 0).min()?;
    Some(now.plus(std::time::Duration::from_nanos(after.unsigned_abs())))
}

/// Adds a version and drops those beyond the limit, as Vault does; tells the dropped ones.
fn add_version(
    meta: &mut SecretMeta,
    now: Timestamp,
    deletion: Option<Timestamp>,
    mount_max_versions: u64,
) -> Vec<Version> {
    meta.current = meta.current.next();
    meta.versions.insert(meta.current, VersionMeta { created: now, deletion, destroyed: false });
    meta.updated = now;
    let limit = match meta.max_versions.max(mount_max_versions) {
        0 => DEFAULT_MAX_VERSIONS,
        limit => limit,
    };
    if meta.current.0 - meta.oldest.0 < limit {
        return Vec::new();
    }
    meta.oldest = Version(meta.current.0 - limit + 1);
    let kept = meta.versions.split_off(&meta.oldest);
    std::mem::replace(&mut meta.versions, kept).into_keys().collect()
}

/// The metadata of a secret that has no version yet.
fn new_meta(path: &SecretPath, now: Timestamp) -> SecretMeta {
    SecretMeta {
        name: path.base_name().to_owned(),
        current: Version(0),
        oldest: Version(0),
        created: now,
        updated: now,
        max_versions: 0,
        cas_required: false,
        delete_version_after: 0,
        custom_metadata: None,
        versions: std::collections::BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_dropped_as_vault_drops_them() {
        let now = Timestamp::from_secs(1);
        let mut meta = new_meta(&SecretPath::parse("a").unwrap(), now);
        for _ in 0..9 {
            assert_eq!(add_version(&mut meta, now, None, 0), vec![]);
        }
        assert_eq!((meta.current, meta.oldest), (Version(9), Version(0)));
        assert_eq!(add_version(&mut meta, now, None, 0), vec![]);
        assert_eq!((meta.current, meta.oldest), (Version(10), Version(1)));
        assert_eq!(add_version(&mut meta, now, None, 0), vec![Version(1)]);
        // The larger of the two limits holds, and a lowered one drops several at once.
        meta.max_versions = 3;
        assert_eq!(add_version(&mut meta, now, None, 20), vec![]);
        assert_eq!(add_version(&mut meta, now, None, 2), (2..=10).map(Version).collect::<Vec<_>>());
        assert_eq!(meta.versions.keys().map(|v| v.0).collect::<Vec<_>>(), [11, 12, 13]);
    }

    #[test]
    fn the_smaller_time_deletes_and_a_negative_mount_never_does() {
        let now = Timestamp::from_nanos(100);
        for (mount, key, at) in [
            (0, 0, None),
            (5, 0, Some(105)),
            (0, 7, Some(107)),
            (5, 7, Some(105)),
            (9, 7, Some(107)),
            (-1, 7, None),
        ] {
            assert_eq!(deletion_time(now, mount, key), at.map(Timestamp::from_nanos));
        }
    }
}
