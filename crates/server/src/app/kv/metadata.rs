//! `M/config` and `M/metadata/<path>` (kv-v2-api.md 3.1, 3.4).

use std::collections::BTreeMap;

use model::format_go_duration;
use serde_json::Value;
use store::records::{KvConfig, SecretMeta};

use super::{
    MOUNT_TYPE, Target,
    change::{Edit, change},
    new_meta, put_version_times,
};
use crate::app::{
    App, AppError, Fields, Reply, Request, as_text,
    json::Object,
    mounts::{Place, change_table},
    wrong,
};

const MOST_CUSTOM_METADATA: usize = 64;
const LONGEST_CUSTOM_KEY: usize = 128;
const LONGEST_CUSTOM_VALUE: usize = 512;
const CAS_MANDATED: &str =
    "\"cas_required\" set to false, but is mandated by backend config. This value will be ignored.";
const NO_METADATA_CAS: &str = "check-and-set for metadata is not available in keyferry";

/// `M/config`, GET.
pub(super) fn read_config(place: &Place<'_>) -> Reply {
    let KvConfig { max_versions, cas_required, delete_version_after } = &place.mount.kv;
    Reply::object(MOUNT_TYPE, |o| {
        o.put("cas_required", cas_required)
            .put("delete_version_after", &format_go_duration(*delete_version_after))
            .put("max_versions", max_versions);
    })
}

/// `M/config`, POST: any subset.
pub(super) async fn write_config(app: &App, place: &Place<'_>, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let max_versions = max_versions(&mut fields)?;
    let cas_required = fields.boolean("cas_required")?;
    // Negative switches deletion off for all keys. Vault keeps one value for it.
    let delete_version_after =
        fields.signed_duration("delete_version_after")?.map(|nanos| nanos.max(-1_000_000_000));
    let delete_version_after =
        delete_version_after.map(|nanos| if nanos < 0 { -1_000_000_000 } else { nanos });
    if fields.boolean("metadata_cas_required")?.unwrap_or(false) {
        return Err(AppError::invalid(NO_METADATA_CAS));
    }
    let accessor = &place.mount.accessor;
    change_table(app, |table| {
        let mount = table.mounts.iter_mut().find(|mount| mount.accessor == *accessor);
        let kv = &mut mount.ok_or_else(|| AppError::no_route(&request.path))?.kv;
        kv.max_versions = max_versions.unwrap_or(kv.max_versions);
        kv.cas_required = cas_required.unwrap_or(kv.cas_required);
        kv.delete_version_after = delete_version_after.unwrap_or(kv.delete_version_after);
        Ok(())
    })
    .await?;
    Ok(Reply::empty())
}

/// Vault counts versions to keep in 32 bits.
fn max_versions(fields: &mut Fields) -> Result<Option<u64>, AppError> {
    match fields.unsigned("max_versions")? {
        Some(number) if number > u64::from(u32::MAX) => Err(wrong("max_versions", "an integer of 32 bits")),
        other => Ok(other),
    }
}

pub(super) async fn read(app: &App, place: &Place<'_>, path: &str) -> Result<Reply, AppError> {
    let target = Target::or_not_found(app, place, path)?;
    let key = app.store.keys().secret_meta(target.parent, target.secret);
    let meta = app.store.get(&key).await?.ok_or_else(AppError::not_found)?.record;
    Ok(Reply::object(MOUNT_TYPE, |o| put_meta(o, &meta)))
}

/// All that is told of a secret beside its values.
pub(super) fn put_meta(o: &mut Object<'_>, meta: &SecretMeta) {
    o.put("cas_required", &meta.cas_required)
        .put_plain("created_time", meta.created)
        .put("current_version", &meta.current.0)
        .put("custom_metadata", &meta.custom_metadata)
        .put("delete_version_after", &format_go_duration(meta.delete_version_after))
        .put("max_versions", &meta.max_versions)
        .put("oldest_version", &meta.oldest.0)
        .put_plain("updated_time", meta.updated)
        .put_object("versions", |o| {
            for (number, version) in &meta.versions {
                o.put_object(&number.to_string(), |o| put_version_times(o, version));
            }
        });
}

/// What a write or patch of metadata sets.
struct Wanted {
    max_versions: Option<u64>,
    cas_required: Option<bool>,
    delete_version_after: Option<i64>,
    custom_metadata: Option<CustomMetadata>,
}

enum CustomMetadata {
    /// All of it is this.
    Replace(BTreeMap<String, String>),
    /// Each key gets this value, or goes.
    Merge(BTreeMap<String, Option<String>>),
}

impl Wanted {
    /// A field that a patch sends as null returns to what it is when unset.
    fn of(fields: &mut Fields, patch: bool) -> Result<Self, AppError> {
        if fields.has("metadata_cas") || fields.boolean("metadata_cas_required")?.unwrap_or(false) {
            return Err(AppError::invalid(NO_METADATA_CAS));
        }
        let unset = |name: &str, fields: &Fields| patch && fields.is_null(name);
        let custom_metadata = match fields.take_object("custom_metadata")? {
            // EXPOSE: custom metadata is no secret; it is shown to whoever may read metadata.
            Some(given) => Some(custom_metadata(given.expose(), patch)?),
            None => unset("custom_metadata", fields).then(|| CustomMetadata::Replace(BTreeMap::new())),
        };
        Ok(Self {
            max_versions: max_versions(fields)?.or_else(|| unset("max_versions", fields).then_some(0)),
            cas_required: fields
                .boolean("cas_required")?
                .or_else(|| unset("cas_required", fields).then_some(false)),
            delete_version_after: fields
                .duration("delete_version_after")?
                .or_else(|| unset("delete_version_after", fields).then_some(0)),
            custom_metadata,
        })
    }

    fn is_nothing(&self) -> bool {
        let Self { max_versions, cas_required, delete_version_after, custom_metadata } = self;
        max_versions.is_none()
            && cas_required.is_none()
            && delete_version_after.is_none()
            && custom_metadata.is_none()
    }

    fn apply(&self, meta: &mut SecretMeta) -> Result<(), AppError> {
        meta.max_versions = self.max_versions.unwrap_or(meta.max_versions);
        meta.cas_required = self.cas_required.unwrap_or(meta.cas_required);
        meta.delete_version_after = self.delete_version_after.unwrap_or(meta.delete_version_after);
        match &self.custom_metadata {
            None => {}
            Some(CustomMetadata::Replace(all)) => meta.custom_metadata = Some(all.clone()),
            Some(CustomMetadata::Merge(some)) => {
                let all = meta.custom_metadata.get_or_insert_default();
                for (key, value) in some {
                    match value {
                        Some(value) => all.insert(key.clone(), value.clone()),
                        None => all.remove(key),
                    };
                }
                check_count(all.len())?;
            }
        }
        meta.custom_metadata.take_if(|all| all.is_empty());
        Ok(())
    }
}

fn custom_metadata(given: &Value, patch: bool) -> Result<CustomMetadata, AppError> {
    let members = given.as_object().into_iter().flatten();
    let mut wanted = BTreeMap::new();
    for (key, value) in members {
        let value = match value {
            Value::Null => None,
            value => Some(as_text(value).ok_or_else(|| {
                AppError::invalid(format!(
                    "custom_metadata validation failed: the value of key {} must be a string",
                    shown(key)
                ))
            })?),
        };
        wanted.insert(key.clone(), value);
    }
    if !patch {
        // Outside a patch null is an empty text, which is refused below.
        let all = wanted.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
        check_custom_metadata(&all)?;
        return Ok(CustomMetadata::Replace(all));
    }
    let set = wanted.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    check_custom_metadata(&set)?;
    Ok(CustomMetadata::Merge(wanted))
}

fn check_count(count: usize) -> Result<(), AppError> {
    if count > MOST_CUSTOM_METADATA {
        return Err(AppError::invalid(format!(
            "custom_metadata validation failed: payload must contain at most {MOST_CUSTOM_METADATA} keys, \
             provided {count}"
        )));
    }
    Ok(())
}

fn check_custom_metadata(all: &BTreeMap<String, String>) -> Result<(), AppError> {
    check_count(all.len())?;
    let mut faults = Vec::new();
    for (key, value) in all {
        let (key_length, value_length, key_shown) = (key.len(), value.len(), shown(key));
        if key_length == 0 || key_length > LONGEST_CUSTOM_KEY {
            faults.push(format!(
                "length of key {key_shown} is {key_length} but must be 0 < len(key) <= {LONGEST_CUSTOM_KEY}"
            ));
        }
        if value_length == 0 || value_length > LONGEST_CUSTOM_VALUE {
            faults.push(format!(
                "length of value for key {key_shown} is {value_length} but must be 0 < len(value) <= \
                 {LONGEST_CUSTOM_VALUE}"
            ));
        }
        if !printable(key) {
            faults.push(format!("key {key_shown} contains unprintable characters"));
        }
        if !printable(value) {
            faults.push(format!("value for key {key_shown} contains unprintable characters"));
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        _ => {
            let s = if faults.len() == 1 { "" } else { "s" };
            let mut text = format!("{} error{s} occurred:", faults.len());
            for fault in &faults {
                text.push_str("\n\t* custom_metadata validation failed: ");
                text.push_str(fault);
            }
            Err(AppError::invalid(text + "\n\n"))
        }
    }
}

/// Whether a text has something to show for each of its characters: no control characters, no blanks
/// but the plain space, nothing invisible.
fn printable(text: &str) -> bool {
    let plain = |c: char| matches!(c, '"' | '\'' | '\\');
    // Behind a letter marks that combine with it are printable, as they are in words.
    text.chars().all(|c| plain(c) || ['a', c].iter().collect::<String>().escape_debug().count() == 2)
}

/// A key in quotes, unprintable characters escaped, cut when it is long.
fn shown(key: &str) -> String {
    let cut: String = key.chars().take(LONGEST_CUSTOM_KEY).collect();
    format!("{cut:?}")
}

pub(super) async fn write(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let wanted = Wanted::of(&mut Fields::of(request)?, false)?;
    let target = Target::of(app, place, path).ok_or_else(|| AppError::invalid("missing path"))?;
    if wanted.is_nothing() {
        return Ok(Reply::empty());
    }
    put(app, &target, &wanted, true).await
}

pub(super) async fn patch(
    app: &App,
    place: &Place<'_>,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let wanted = Wanted::of(&mut Fields::of(request)?, true)?;
    match Target::of(app, place, path) {
        Some(target) => put(app, &target, &wanted, false).await,
        None => Ok(Reply::absent()),
    }
}

async fn put(app: &App, target: &Target, wanted: &Wanted, create: bool) -> Result<Reply, AppError> {
    change(
        app,
        target,
        |_, _| None,
        |mount, found, now| {
            let mut meta = match found {
                Some(found) => found.meta.record.clone(),
                None if create => new_meta(&target.path, now),
                None => return Ok((Edit::Keep, Reply::absent())),
            };
            wanted.apply(&mut meta)?;
            let reply = if wanted.cas_required == Some(false) && mount.kv.cas_required {
                Reply::empty().warn(CAS_MANDATED)
            } else {
                Reply::empty()
            };
            if found.is_some_and(|found| found.meta.record == meta) {
                return Ok((Edit::Keep, reply));
            }
            // No version changes, so no destination needs to hear of it.
            Ok((Edit::Put { meta, value: None, erase: Vec::new(), delivers: false }, reply))
        },
    )
    .await
}

/// Removes the key and all its versions for good.
pub(super) async fn delete(app: &App, place: &Place<'_>, path: &str) -> Result<Reply, AppError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: &[(&str, &str)]) -> String {
        let all = members.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        check_custom_metadata(&all).map_or_else(|fault| fault.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn custom_metadata_is_checked_as_vault_checks_it() {
        assert_eq!(check(&[("a", "1"), ("ü", "ß"), ("\"'\\", "e\u{301} 環境 🔑\u{fe0f}")]), "ok");
        for unprintable in ["\n", "a\u{200b}", "\u{a0}", "\u{85}", "\u{202e}"] {
            assert!(
                check(&[("a", unprintable)]).ends_with("contains unprintable characters\n\n"),
                "{unprintable:?}"
            );
        }
        assert_eq!(
            check(&[("a", "")]),
            "1 error occurred:\n\t* custom_metadata validation failed: length of value for key \"a\" is 0 but must \
             be 0 < len(value) <= 512\n\n"
        );
        assert_eq!(
            check(&[("", "x"), ("b", "\u{1}")]),
            "2 errors occurred:\n\t* custom_metadata validation failed: length of key \"\" is 0 but must be 0 < \
             len(key) <= 128\n\t* custom_metadata validation failed: value for key \"b\" contains unprintable \
             characters\n\n"
        );
        let many: BTreeMap<_, _> = (0..65).map(|n| (n.to_string(), "x".to_owned())).collect();
        assert_eq!(
            check_custom_metadata(&many).unwrap_err().to_string(),
            "custom_metadata validation failed: payload must contain at most 64 keys, provided 65"
        );
    }
}
