//! Secret ids: made, looked up, spent, destroyed.

use std::{collections::BTreeMap, time::Duration};

use model::{SecretBytes, Timestamp, uuid_v4};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{StoreError, Transaction};

use super::{MOUNT_TYPE, roles};
use crate::app::{
    ATTEMPTS, AppError, Fields, Reply, Request,
    auth::{caller::is_within, cidrs, methods::Site, positive},
    entries::{Kept, Table},
    json::Object,
};

const LONGEST: usize = 4096;

/// A secret id; its text is kept nowhere.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Secret {
    role: String,
    accessor: String,
    pub(super) metadata: BTreeMap<String, String>,
    cidrs: Vec<String>,
    pub(super) token_bound_cidrs: Vec<String>,
    created: Timestamp,
    updated: Timestamp,
    ttl: u64,
    expires: Option<Timestamp>,
    /// Uses left; 0 = any number.
    uses: u64,
}

/// By keyed digest of role and text.
fn secrets<'a>(at: &Site<'a>) -> Table<'a, Secret> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "secret-id")
}

/// Accessor → that digest.
fn accessors<'a>(at: &Site<'a>) -> Table<'a, String> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "secret-id-accessor")
}

fn digest(at: &Site<'_>, role: &str, secret_id: &SecretBytes) -> String {
    // EXPOSE: into a keyed digest.
    let parts = [at.mount.accessor.as_str().as_bytes(), role.as_bytes(), secret_id.expose()];
    hex::encode(at.app.store.keys().digest("approle secret id", &parts))
}

/// `secret-id` and `custom-secret-id`.
pub(super) async fn make(
    at: &Site<'_>,
    request: &Request,
    role_name: &str,
    custom: bool,
) -> Result<Reply, AppError> {
    let role = roles(at).get(role_name).await?;
    let gone = || AppError::NotFound(Some(format!("role \"{role_name}\" does not exist")));
    let role = role.ok_or_else(gone)?.value;
    if !role.bind_secret_id {
        return Err(AppError::invalid("bind_secret_id is not set on the role"));
    }
    let mut fields = Fields::of(request)?;
    let now = at.app.clock.now();
    let given = fields.secret("secret_id")?.filter(|id| !id.is_empty());
    let secret_id = match (custom, given) {
        (true, Some(given)) if given.len() <= LONGEST => given,
        (true, Some(_)) => {
            return Err(AppError::invalid(format!("secret_id must be at most {LONGEST} bytes")));
        }
        (true, None) => return Err(AppError::invalid("missing secret_id")),
        (false, _) => SecretBytes::from(uuid_v4(at.app.entropy.as_ref())),
    };
    let ranges = match fields.list("cidr_list")? {
        Some(ranges) => cidrs("cidr_list", &ranges)?,
        None => Vec::new(),
    };
    let token_bound_cidrs = match fields.list("token_bound_cidrs")? {
        Some(ranges) => cidrs("token_bound_cidrs", &ranges)?,
        None => Vec::new(),
    };
    within("cidr_list", &ranges, &role.secret_id_bound_cidrs)?;
    within("token_bound_cidrs", &token_bound_cidrs, &role.terms.bound_cidrs)?;
    let ttl = capped("ttl", positive(&mut fields, "ttl")?, role.secret_id_ttl)?;
    let uses = match fields.integer("num_uses")? {
        Some(uses) => {
            Some(u64::try_from(uses).map_err(|_| AppError::invalid("num_uses cannot be negative"))?)
        }
        None => None,
    };
    let uses = capped("num_uses", uses, role.secret_id_num_uses)?;
    let secret = Secret {
        role: role_name.to_owned(),
        accessor: uuid_v4(at.app.entropy.as_ref()),
        metadata: metadata(&mut fields)?,
        cidrs: ranges,
        token_bound_cidrs,
        created: now,
        updated: now,
        ttl,
        expires: (ttl > 0).then(|| now.plus(Duration::from_secs(ttl))),
        uses,
    };
    let name = digest(at, role_name, &secret_id);
    let mut transaction = at.app.store.transaction();
    transaction.expect_absent(&secrets(at).key(&name));
    transaction.expect_present(&roles(at).key(role_name));
    secrets(at).put(&mut transaction, &name, &secret)?;
    accessors(at).put(&mut transaction, &secret.accessor, &name)?;
    match transaction.commit().await {
        Ok(_) => {}
        Err(StoreError::Conflict) => {
            return Err(AppError::invalid("SecretID is already registered"));
        }
        Err(other) => return Err(other.into()),
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        // EXPOSE: it is told once, to whoever made it.
        o.put("secret_id", secret_id.expose_text().unwrap_or_default())
            .put("secret_id_accessor", &secret.accessor)
            .put("secret_id_num_uses", &secret.uses)
            .put("secret_id_ttl", &secret.ttl);
    })
    .warn_of_unknown(fields.unknown()))
}

/// Notes, as JSON text or as a map.
fn metadata(fields: &mut Fields) -> Result<BTreeMap<String, String>, AppError> {
    let wrong = || AppError::invalid("metadata must be a JSON object of strings");
    let Some(given) = fields.get("metadata").cloned() else { return Ok(BTreeMap::new()) };
    let members = match given {
        Value::Object(members) => members,
        Value::String(text) if text.is_empty() => return Ok(BTreeMap::new()),
        Value::String(text) => serde_json::from_str(&text).map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    members
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            _ => Err(wrong()),
        })
        .collect()
}

/// What a secret id may have of what is asked for; 0 is no limit.
fn capped(name: &str, asked: Option<u64>, role: u64) -> Result<u64, AppError> {
    match (asked, role) {
        (None, role) => Ok(role),
        (Some(asked), 0) => Ok(asked),
        (Some(asked), role) if asked > 0 && asked <= role => Ok(asked),
        (Some(_), _) => Err(AppError::invalid(format!("{name} cannot be more than what the role allows"))),
    }
}

fn within(name: &str, ranges: &[String], role: &[String]) -> Result<(), AppError> {
    let role: Vec<ipnet::IpNet> = role.iter().filter_map(|range| range.parse().ok()).collect();
    let inside = |range: &String| {
        range.parse::<ipnet::IpNet>().is_ok_and(|range| role.iter().any(|wide| wide.contains(&range)))
    };
    if role.is_empty() || ranges.iter().all(inside) {
        return Ok(());
    }
    Err(AppError::invalid(format!("{name}: must be within the ranges of the role")))
}

/// The secret id that was given, one use taken off; `None` when it is none, spent, expired or of another
/// role, or is used from where it may not be.
pub(super) async fn spend(
    at: &Site<'_>,
    request: &Request,
    role: &str,
    secret_id: &SecretBytes,
    role_cidrs: &[String],
) -> Result<Option<Secret>, AppError> {
    let name = digest(at, role, secret_id);
    let key = secrets(at).key(&name);
    let _turn = at.app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let Some(found) = secrets(at).get(&name).await? else { return Ok(None) };
        let now = at.app.clock.now();
        let secret = found.value;
        let address = request.remote.map(|remote| remote.ip());
        if secret.expires.is_some_and(|expires| expires <= now)
            || !is_within(role_cidrs, address)
            || !is_within(&secret.cidrs, address)
        {
            return Ok(None);
        }
        if secret.uses == 0 {
            return Ok(Some(secret));
        }
        let mut transaction = at.app.store.transaction();
        transaction.expect(&key, Some(found.revision));
        if secret.uses == 1 {
            remove(at, &mut transaction, &name, &secret);
        } else {
            let left = Secret { uses: secret.uses - 1, updated: now, ..secret.clone() };
            secrets(at).put(&mut transaction, &name, &left)?;
        }
        match transaction.commit().await {
            Ok(_) => return Ok(Some(secret)),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

fn remove(at: &Site<'_>, transaction: &mut Transaction, name: &str, secret: &Secret) {
    transaction.delete(&secrets(at).key(name)).delete(&accessors(at).key(&secret.accessor));
}

pub(super) async fn list(at: &Site<'_>, role: &str) -> Result<Reply, AppError> {
    let all = secrets(at).all().await?;
    let mut keys: Vec<_> = all
        .into_iter()
        .filter(|(_, kept)| kept.value.role == role)
        .map(|(_, kept)| kept.value.accessor)
        .collect();
    if keys.is_empty() {
        return match roles(at).get(role).await? {
            Some(_) => Err(AppError::not_found()),
            None => Err(AppError::invalid(format!("role \"{role}\" does not exist"))),
        };
    }
    keys.sort();
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn of_text(
    at: &Site<'_>,
    request: &Request,
    role: &str,
) -> Result<Option<(String, Kept<Secret>)>, AppError> {
    let secret_id = Fields::of(request)?.secret("secret_id")?.filter(|id| !id.is_empty());
    let secret_id = secret_id.ok_or_else(|| AppError::invalid("missing secret_id"))?;
    let name = digest(at, role, &secret_id);
    Ok(secrets(at).get(&name).await?.map(|found| (name, found)))
}

async fn of_accessor(
    at: &Site<'_>,
    request: &Request,
    role: &str,
) -> Result<Option<(String, Kept<Secret>)>, AppError> {
    let accessor = Fields::of(request)?.text("secret_id_accessor")?.filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| AppError::invalid("missing secret_id_accessor"))?;
    let Some(name) = accessors(at).get(&accessor).await? else { return Ok(None) };
    let found = secrets(at).get(&name.value).await?;
    Ok(found.filter(|found| found.value.role == role).map(|found| (name.value, found)))
}

pub(super) async fn lookup(at: &Site<'_>, request: &Request, role: &str) -> Result<Reply, AppError> {
    match of_text(at, request, role).await? {
        Some((_, found)) => Ok(Reply::object(MOUNT_TYPE, |o| put(o, &found.value))),
        None => Ok(Reply::empty()),
    }
}

pub(super) async fn lookup_accessor(at: &Site<'_>, request: &Request, role: &str) -> Result<Reply, AppError> {
    let (_, found) = of_accessor(at, request, role).await?.ok_or_else(AppError::not_found)?;
    Ok(Reply::object(MOUNT_TYPE, |o| put(o, &found.value)))
}

fn put(o: &mut Object<'_>, secret: &Secret) {
    o.put("cidr_list", &secret.cidrs).put_plain("creation_time", secret.created);
    match secret.expires {
        Some(expires) => o.put_plain("expiration_time", expires),
        None => o.put("expiration_time", "0001-01-01T00:00:00Z"),
    };
    o.put_plain("last_updated_time", secret.updated)
        .put("metadata", &secret.metadata)
        .put("secret_id_accessor", &secret.accessor)
        .put("secret_id_num_uses", &secret.uses)
        .put("secret_id_ttl", &secret.ttl)
        .put("token_bound_cidrs", &secret.token_bound_cidrs);
}

pub(super) async fn destroy(at: &Site<'_>, request: &Request, role: &str) -> Result<Reply, AppError> {
    let found = of_text(at, request, role).await?;
    gone(at, found).await
}

pub(super) async fn destroy_accessor(
    at: &Site<'_>,
    request: &Request,
    role: &str,
) -> Result<Reply, AppError> {
    let found = of_accessor(at, request, role).await?;
    if found.is_none() {
        return Err(AppError::not_found());
    }
    gone(at, found).await
}

async fn gone(at: &Site<'_>, found: Option<(String, Kept<Secret>)>) -> Result<Reply, AppError> {
    if let Some((name, found)) = found {
        let mut transaction = at.app.store.transaction();
        remove(at, &mut transaction, &name, &found.value);
        transaction.commit().await?;
    }
    Ok(Reply::empty())
}

/// Removes all secret ids of a role.
pub(super) async fn forget_role(at: &Site<'_>, role: &str) -> Result<(), StoreError> {
    forget(at, |secret| secret.role == role).await
}

/// Removes what has expired.
pub(super) async fn tidy(at: &Site<'_>) -> Result<(), StoreError> {
    let now = at.app.clock.now();
    forget(at, |secret| secret.expires.is_some_and(|expires| expires <= now)).await
}

async fn forget(at: &Site<'_>, which: impl Fn(&Secret) -> bool) -> Result<(), StoreError> {
    for (name, found) in secrets(at).all().await? {
        if which(&found.value) {
            let mut transaction = at.app.store.transaction();
            transaction.expect(&secrets(at).key(&name), Some(found.revision));
            remove(at, &mut transaction, &name, &found.value);
            match transaction.commit().await {
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}
