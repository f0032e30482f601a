//! `M/data/<path>` and `M/subkeys/<path>` (kv-v2-api.md 3.2, 3.5).

use model::{SecretBytes, Timestamp, Version, json::SecretJson};
use serde_json::Value;
use store::{
    kv::{Secret, read_secret},
    records::{Mount, SecretMeta, SecretVersion, VersionMeta},
};

use super::{
    MOUNT_TYPE, Target, add_version,
    change::{Edit, change},
    deletion_time, new_meta, put_version,
};
use crate::app::{
    App, AppError, Fields, Reply, Request, as_integer,
    json::{self, Json},
    mounts::Place,
};

/// The version a read asks for; `None` = the newest.
fn wanted_version(fields: &mut Fields) -> Result<Option<Version>, AppError> {
    let version = fields.integer("version")?.unwrap_or(0);
    Ok(u64::try_from(version).ok().filter(|version| *version > 0).map(Version))
}

/// A version that exists, and its value when it can be read.
struct Found {
    meta: SecretMeta,
    number: Version,
    version: VersionMeta,
    value: Option<SecretVersion>,
}

async fn find(app: &App, target: &Target, wanted: Option<Version>) -> Result<Found, AppError> {
    let now = app.clock.now();
    let pick = |meta: &SecretMeta| wanted.unwrap_or(meta.current);
    let choose = |meta: &SecretMeta| {
        let number = pick(meta);
        meta.versions.get(&number).is_some_and(|version| version.live(now)).then_some(number)
    };
    let secret = read_secret(&app.store, target.parent, target.secret, choose).await?;
    let Secret { meta, value } = secret.ok_or_else(AppError::not_found)?;
    let number = pick(&meta.record);
    let version = *meta.record.versions.get(&number).ok_or_else(AppError::not_found)?;
    Ok(Found { meta: meta.record, number, version, value: value.map(|(_, value)| value) })
}

pub(super) async fn read(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let wanted = wanted_version(&mut fields)?;
    let target = Target::or_not_found(app, place, path)?;
    let found = find(app, &target, wanted).await?;
    let data = found.value.as_ref().map_or(&b"null"[..], |value| &value.data);
    let reply = answer(&found, "data", data);
    let reply = if found.value.is_some() { reply } else { reply.not_found() };
    Ok(reply.warn_of_unknown(fields.unknown()))
}

fn answer(found: &Found, name: &str, json: &[u8]) -> Reply {
    let data = json::object_with_room(json.len() + 256, |o| {
        o.put_json(name, json)
            .put_object("metadata", |o| put_version(o, &found.meta, found.number, &found.version));
    });
    Reply::data(MOUNT_TYPE, data)
}

pub(super) async fn subkeys(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let wanted = wanted_version(&mut fields)?;
    let depth = fields.integer("depth")?.unwrap_or(0);
    let depth = usize::try_from(depth).ok().filter(|depth| *depth > 0);
    let target = Target::or_not_found(app, place, path)?;
    let found = find(app, &target, wanted).await?;
    let Some(value) = &found.value else { return Ok(answer(&found, "subkeys", b"null").not_found()) };
    let value = parse_stored(&value.data)?;
    let mut skeleton = json::Json::default();
    // EXPOSE: its shape is what is asked for; no value is written.
    write_skeleton(value.expose(), depth.unwrap_or(usize::MAX), &mut skeleton);
    Ok(answer(&found, "subkeys", &skeleton).warn_of_unknown(fields.unknown()))
}

/// The nesting of an object with every leaf, every empty object and everything below `depth` as null.
/// Stored values are nested no deeper than bodies may be.
fn write_skeleton(value: &Value, depth: usize, out: &mut Json) {
    match value {
        Value::Object(members) => {
            out.push(b'{');
            for (at, (name, member)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&json::text(name));
                out.push(b':');
                match member {
                    Value::Object(below) if depth > 1 && !below.is_empty() => {
                        write_skeleton(member, depth - 1, out);
                    }
                    _ => out.extend_from_slice(b"null"),
                }
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

fn parse_stored(data: &[u8]) -> Result<SecretJson, AppError> {
    SecretJson::parse(data).map_err(|fault| AppError::Internal(format!("a stored secret is {fault}")))
}

/// The check-and-set parameter.
#[derive(Clone, Copy)]
struct Cas(Option<i64>);

impl Cas {
    fn of(fields: &mut Fields) -> Result<Self, AppError> {
        let Some(options) = fields.take_object("options")? else { return Ok(Self(None)) };
        // EXPOSE: options are no secrets.
        let cas = options.expose().get("cas").filter(|cas| !cas.is_null());
        let number =
            |cas| as_integer(cas).ok_or_else(|| AppError::invalid("error parsing check-and-set parameter"));
        Ok(Self(cas.map(number).transpose()?))
    }

    fn check(self, mount: &Mount, meta: Option<&SecretMeta>) -> Result<(), AppError> {
        let current = meta.map_or(0, |meta| meta.current.0);
        match self.0 {
            Some(cas) if u64::try_from(cas).ok() == Some(current) => Ok(()),
            Some(_) => Err(AppError::invalid("check-and-set parameter did not match the current version")),
            None if mount.kv.cas_required || meta.is_some_and(|meta| meta.cas_required) => {
                Err(AppError::invalid("check-and-set parameter required for this call"))
            }
            None => Ok(()),
        }
    }
}

fn given_data(fields: &mut Fields) -> Result<SecretJson, AppError> {
    fields.take_object("data")?.ok_or_else(|| AppError::invalid("no data provided"))
}

/// Canonical text that is not too large to store.
pub(super) fn storable(app: &App, data: &SecretJson) -> Result<SecretBytes, AppError> {
    let data = data.canonical();
    let limit = app.settings.max_secret_size;
    if data.len() > limit {
        return Err(AppError::TooLarge(format!(
            "put failed due to value being too large; got {} bytes, max: {limit} bytes",
            data.len()
        )));
    }
    Ok(data)
}

pub(super) async fn write(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let data = storable(app, &given_data(&mut fields)?)?;
    let cas = Cas::of(&mut fields)?;
    let target = Target::of(app, place, path).ok_or_else(|| AppError::invalid("missing path"))?;
    let reply = change(
        app,
        &target,
        |_, _| None,
        |mount, found, now| {
            let meta = found.map(|found| &found.meta.record);
            cas.check(mount, meta)?;
            let meta = meta.cloned().unwrap_or_else(|| new_meta(&target.path, now));
            Ok(next_version(mount, meta, &data, now))
        },
    )
    .await?;
    Ok(reply.warn_of_unknown(fields.unknown()))
}

fn next_version(mount: &Mount, mut meta: SecretMeta, data: &SecretBytes, now: Timestamp) -> (Edit, Reply) {
    let deletion = deletion_time(now, mount.kv.delete_version_after, meta.delete_version_after);
    let erase = add_version(&mut meta, now, deletion, mount.kv.max_versions);
    let reply = flat(&meta);
    // EXPOSE: to be sealed by the store.
    let value = Some(SecretVersion { data: data.expose().to_vec() });
    (Edit::Put { meta, value, erase, delivers: true }, reply)
}

/// The current version's facts, not wrapped in `metadata`, as writes answer.
fn flat(meta: &SecretMeta) -> Reply {
    Reply::object(MOUNT_TYPE, |o| {
        if let Some(version) = meta.versions.get(&meta.current) {
            put_version(o, meta, meta.current, version);
        }
    })
}

pub(super) async fn patch(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let changes = given_data(&mut fields)?;
    let cas = Cas::of(&mut fields)?;
    let Some(target) = Target::of(app, place, path) else { return Ok(Reply::absent()) };
    let choose = |meta: &SecretMeta, now| {
        meta.versions.get(&meta.current).is_some_and(|version| version.live(now)).then_some(meta.current)
    };
    let reply = change(app, &target, choose, |mount, found, now| {
        let Some(Secret { meta, value }) = found else { return Ok((Edit::Keep, Reply::absent())) };
        let meta = &meta.record;
        cas.check(mount, Some(meta))?;
        if !meta.versions.contains_key(&meta.current) {
            return Ok((Edit::Keep, Reply::absent()));
        }
        let Some((_, value)) = value else { return Ok((Edit::Keep, flat(meta).not_found())) };
        let mut merged = parse_stored(&value.data)?;
        // EXPOSE: to lay it over the stored value.
        merged.merge(changes.expose());
        Ok(next_version(mount, meta.clone(), &storable(app, &merged)?, now))
    })
    .await?;
    Ok(reply.warn_of_unknown(fields.unknown()))
}

/// Deletes the newest version. It can be undeleted.
pub(super) async fn delete(app: &App, place: &Place<'_>, path: &str) -> Result<Reply, AppError> {
    let Some(target) = Target::of(app, place, path) else { return Ok(Reply::empty()) };
    end(app, &target).await?;
    Ok(Reply::empty())
}

/// Marks the newest version deleted, where there is one that is not.
pub(super) async fn end(app: &App, target: &Target) -> Result<(), AppError> {
    change(
        app,
        target,
        |_, _| None,
        |_, found, now| {
            let Some(found) = found else { return Ok((Edit::Keep, ())) };
            let mut meta = found.meta.record.clone();
            let current = meta.current;
            match meta.versions.get_mut(&current) {
                Some(version) if version.live(now) => version.deletion = Some(now),
                _ => return Ok((Edit::Keep, ())),
            }
            Ok((Edit::Put { meta, value: None, erase: Vec::new(), delivers: true }, ()))
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skeletons_keep_nesting_and_nothing_else() {
        let value = SecretJson::parse(br#"{"a":1,"b":{"c":{"d":"x"},"e":{}},"f":[{"g":1}]}"#).unwrap();
        for (depth, text) in [
            (usize::MAX, r#"{"a":null,"b":{"c":{"d":null},"e":null},"f":null}"#),
            (2, r#"{"a":null,"b":{"c":null,"e":null},"f":null}"#),
            (1, r#"{"a":null,"b":null,"f":null}"#),
        ] {
            let mut out = Json::default();
            write_skeleton(value.expose(), depth, &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), text);
        }
    }
}
