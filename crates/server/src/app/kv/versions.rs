//! `M/delete`, `M/undelete` and `M/destroy` (kv-v2-api.md 3.3). Keys and versions that are not there
//! are passed over in silence, as Vault does.

use model::{Timestamp, Version};
use store::records::{Mount, SecretMeta};

use super::{
    Target,
    change::{Edit, change},
    deletion_time,
};
use crate::app::{App, AppError, Fields, Reply, Request, mounts::Place};

pub(super) async fn delete(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let versions = versions(request, "No version number provided")?;
    edit(app, place, path, |_, meta, now| {
        for version in each(meta, &versions) {
            if version.live(now) {
                version.deletion = Some(now);
            }
        }
        Vec::new()
    })
    .await
}

pub(super) async fn undelete(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let versions = versions(request, "No version number provided")?;
    edit(app, place, path, |mount, meta, now| {
        let deletion = deletion_time(now, mount.kv.delete_version_after, meta.delete_version_after);
        for version in each(meta, &versions) {
            if !version.destroyed {
                version.deletion = deletion;
            }
        }
        Vec::new()
    })
    .await
}

pub(super) async fn destroy(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let versions = versions(request, "no version number provided")?;
    edit(app, place, path, |_, meta, _| {
        for version in each(meta, &versions) {
            version.destroyed = true;
        }
        versions.iter().copied().filter(|version| meta.versions.contains_key(version)).collect()
    })
    .await
}

fn versions(request: &Request, none: &str) -> Result<Vec<Version>, AppError> {
    let numbers = Fields::of(request)?.integers("versions")?.unwrap_or_default();
    if numbers.is_empty() {
        return Err(AppError::invalid(none));
    }
    Ok(numbers.into_iter().filter_map(|number| u64::try_from(number).ok()).map(Version).collect())
}

/// The versions of these numbers that there are.
fn each<'a>(
    meta: &'a mut SecretMeta,
    numbers: &'a [Version],
) -> impl Iterator<Item = &'a mut store::records::VersionMeta> {
    meta.versions.iter_mut().filter(|(number, _)| numbers.contains(number)).map(|(_, version)| version)
}

/// Applies `edit` to a secret's metadata; it tells the versions whose values go.
async fn edit(
    app: &App,
    place: &Place<'_>,
    path: &str,
    edit: impl Fn(&Mount, &mut SecretMeta, Timestamp) -> Vec<Version>,
) -> Result<Reply, AppError> {
    let Some(target) = Target::of(app, place, path) else { return Ok(Reply::empty()) };
    change(
        app,
        &target,
        |_, _| None,
        |mount, found, now| {
            let Some(found) = found else { return Ok((Edit::Keep, ())) };
            let mut meta = found.meta.record.clone();
            let erase = edit(mount, &mut meta, now);
            let unchanged = meta == found.meta.record;
            let edit =
                if unchanged { Edit::Keep } else { Edit::Put { meta, value: None, erase, delivers: true } };
            Ok((edit, ()))
        },
    )
    .await?;
    Ok(Reply::empty())
}
