//! Secrets that are written by ourselves, for mounts that show what is elsewhere.

use std::collections::BTreeMap;

use model::{SecretBytes, SecretPath};
use store::records::{Mount, SecretMeta, SecretVersion};

use super::{
    Target, add_version,
    change::{Edit, change},
    list, new_meta,
};
use crate::app::{App, AppError, mounts::Place};

fn target(app: &App, mount: &Mount, path: &SecretPath) -> Result<Target, AppError> {
    let place = Place { mount, root: app.store.keys().mount(&mount.accessor), rest: "" };
    Target::or_not_found(app, &place, path.as_str())
}

/// Every secret of a mount, with its metadata.
pub(in crate::app) async fn all(app: &App, mount: &Mount) -> Result<Vec<(SecretPath, SecretMeta)>, AppError> {
    let found = list::all(app, app.store.keys().mount(&mount.accessor)).await?;
    Ok(found.into_iter().filter_map(|(path, meta)| Some((SecretPath::parse(&path).ok()?, meta))).collect())
}

/// Writes a new version, unless the newest is live and came with the same facts.
pub(in crate::app) async fn put(
    app: &App,
    mount: &Mount,
    path: &SecretPath,
    data: &SecretBytes,
    facts: BTreeMap<String, String>,
) -> Result<(), AppError> {
    let limit = app.settings.max_secret_size;
    if data.len() > limit {
        return Err(AppError::TooLarge(format!("it has {} bytes, max: {limit} bytes", data.len())));
    }
    let target = target(app, mount, path)?;
    change(
        app,
        &target,
        |_, _| None,
        |mount, found, now| {
            let mut meta = found.map_or_else(|| new_meta(path, now), |found| found.meta.record.clone());
            let live = meta.versions.get(&meta.current).is_some_and(|version| version.live(now));
            if live && meta.custom_metadata.as_ref() == Some(&facts) {
                return Ok((Edit::Keep, ()));
            }
            meta.custom_metadata = Some(facts.clone());
            let erase = add_version(&mut meta, now, None, mount.kv.max_versions);
            // EXPOSE: to be sealed by the store.
            let value = Some(SecretVersion { data: data.expose().to_vec() });
            Ok((Edit::Put { meta, value, erase, delivers: true }, ()))
        },
    )
    .await
}

/// Deletes the newest version, as a person would.
pub(in crate::app) async fn end(app: &App, mount: &Mount, path: &SecretPath) -> Result<(), AppError> {
    let target = target(app, mount, path)?;
    super::data::end(app, &target).await
}
