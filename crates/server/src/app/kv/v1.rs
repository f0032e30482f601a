//! KV v1: one value per path, no versions. It is stored as version 1 of a v2 secret, so that a mount
//! becomes v2 by its option alone.

use model::{Version, json::SecretJson, parse_duration};
use store::{
    kv::{Secret, read_secret},
    records::{SecretVersion, VersionMeta},
};

use super::{
    MOUNT_TYPE, Target,
    change::{Edit, change},
    data::storable,
    list::list,
    new_meta,
};
use crate::app::{
    App, AppError, Envelope, Fields, Operation, Reply, Request, as_text, json::Json, mounts::Place,
};

const ONLY: Version = Version(1);

pub(super) async fn handle(app: &App, place: &Place<'_>, request: &Request) -> Result<Reply, AppError> {
    let path = place.rest;
    match request.operation {
        Operation::Read => read(app, place, path).await,
        Operation::Write => write(app, place, path, request).await,
        Operation::Delete => delete(app, place, path).await,
        Operation::List | Operation::Scan => list(app, place, path, request, false).await,
        Operation::Patch => Err(AppError::UnsupportedOperation),
    }
}

async fn read(app: &App, place: &Place<'_>, path: &str) -> Result<Reply, AppError> {
    let target = Target::or_not_found(app, place, path)?;
    let found = read_secret(&app.store, target.parent, target.secret, |_| Some(ONLY)).await?;
    let Some(Secret { value: Some((_, mut value)), .. }) = found else { return Err(AppError::not_found()) };
    let lease_duration = lease_of(&value.data).unwrap_or(match place.mount.config.default_lease_ttl {
        0 => app.settings.default_lease_ttl,
        seconds => seconds,
    });
    let data = Json::from(std::mem::take(&mut value.data));
    let envelope =
        Envelope { data: Some(data), lease_duration, mount_type: MOUNT_TYPE, ..Envelope::default() };
    Ok(Reply::envelope(envelope))
}

/// How many seconds the value itself, under `ttl` or `lease`, says that it may be kept.
fn lease_of(data: &[u8]) -> Option<u64> {
    let data = SecretJson::parse(data).ok()?;
    // EXPOSE: to look for one number.
    let lease = data.expose().get("ttl").or_else(|| data.expose().get("lease"))?;
    let nanos = parse_duration(&as_text(lease)?).ok()?;
    u64::try_from(nanos).ok().map(|nanos| nanos / 1_000_000_000)
}

async fn write(app: &App, place: &Place<'_>, path: &str, request: &Request) -> Result<Reply, AppError> {
    let body = Fields::of(request)?.into_inner();
    // EXPOSE: to see whether there is anything in it.
    if body.expose().as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(AppError::invalid("missing data fields"));
    }
    let data = storable(app, &body)?;
    let target = Target::of(app, place, path).ok_or_else(|| AppError::invalid("missing path"))?;
    change(
        app,
        &target,
        |_, _| None,
        |_, found, now| {
            let mut meta =
                found.map_or_else(|| new_meta(&target.path, now), |found| found.meta.record.clone());
            meta.current = ONLY;
            meta.updated = now;
            meta.versions.insert(ONLY, VersionMeta { created: now, deletion: None, destroyed: false });
            // EXPOSE: to be sealed by the store.
            let value = Some(SecretVersion { data: data.expose().to_vec() });
            // Only v2 mounts can be associated.
            Ok((Edit::Put { meta, value, erase: Vec::new(), delivers: false }, ()))
        },
    )
    .await?;
    Ok(Reply::empty())
}

async fn delete(app: &App, place: &Place<'_>, path: &str) -> Result<Reply, AppError> {
    if let Some(target) = Target::of(app, place, path) {
        change(
            app,
            &target,
            |_, _| None,
            |_, found, _| Ok((if found.is_some() { Edit::Remove } else { Edit::Keep }, ())),
        )
        .await?;
    }
    Ok(Reply::empty())
}
