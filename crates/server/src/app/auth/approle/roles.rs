//! Roles.

use model::uuid_v4;
use store::StoreError;

use super::{MOUNT_TYPE, Role, role_ids, roles, secrets};
use crate::app::{
    ATTEMPTS, AppError, Fields, Reply, Request,
    auth::{cidrs, methods::Site, positive},
    json::{self, Json},
};

const LONGEST: usize = 256;

pub(super) async fn list(at: &Site<'_>) -> Result<Reply, AppError> {
    let keys = roles(at).names().await?;
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

pub(super) async fn read(at: &Site<'_>, name: &str) -> Result<Reply, AppError> {
    Ok(Reply::data(MOUNT_TYPE, shown(at, name).await?))
}

/// A role as it is shown.
pub(super) async fn shown(at: &Site<'_>, name: &str) -> Result<Json, AppError> {
    let role = roles(at).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(json::object(|o| {
        o.put("bind_secret_id", &role.bind_secret_id)
            .put("local_secret_ids", &false)
            .put("secret_id_bound_cidrs", &role.secret_id_bound_cidrs)
            .put("secret_id_num_uses", &role.secret_id_num_uses)
            .put("secret_id_ttl", &role.secret_id_ttl);
        role.terms.put(o);
    }))
}

pub(super) async fn write(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(fine) {
        return Err(AppError::invalid(format!(
            "a role's name must be 1 to {LONGEST} bytes of letters, digits, '-', '_' and '.'"
        )));
    }
    write_by(at, name, &|| Fields::of(request)).await
}

/// Makes or changes a role by parameters, which are asked for as often as it takes.
pub(super) async fn write_by(
    at: &Site<'_>,
    name: &str,
    fields: &(dyn Fn() -> Result<Fields, AppError> + Sync),
) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let known = roles(at).get(name).await?;
        let mut role = known.as_ref().map_or_else(
            || Role { id: uuid_v4(at.app.entropy.as_ref()), bind_secret_id: true, ..Role::default() },
            |known| known.value.clone(),
        );
        change(&mut role, &mut fields()?)?;
        let mut transaction = at.app.store.transaction();
        transaction.expect(&roles(at).key(name), known.as_ref().map(|known| known.revision));
        roles(at).put(&mut transaction, name, &role)?;
        if known.as_ref().is_none_or(|known| known.value.id != role.id) {
            if let Some(known) = &known {
                transaction.delete(&role_ids(at).key(&known.value.id));
            }
            transaction.expect_absent(&role_ids(at).key(&role.id));
            role_ids(at).put(&mut transaction, &role.id, &name.to_owned())?;
        }
        match transaction.commit().await {
            Ok(_) => return Ok(Reply::empty()),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
        if role_ids(at).get(&role.id).await?.is_some_and(|holder| holder.value != name) {
            return Err(AppError::invalid("role_id is already in use by another role"));
        }
    }
    Err(StoreError::Conflict.into())
}

fn change(role: &mut Role, fields: &mut Fields) -> Result<(), AppError> {
    role.terms.read(fields)?;
    role.terms.read_older(fields)?;
    if !fields.has("secret_id_bound_cidrs")
        && let Some(given) = fields.list("bound_cidr_list")?
    {
        role.secret_id_bound_cidrs = cidrs("bound_cidr_list", &given)?;
    }
    if let Some(bind) = fields.boolean("bind_secret_id")? {
        role.bind_secret_id = bind;
    }
    if let Some(ranges) = fields.list("secret_id_bound_cidrs")? {
        role.secret_id_bound_cidrs = cidrs("secret_id_bound_cidrs", &ranges)?;
    }
    if let Some(uses) = fields.integer("secret_id_num_uses")? {
        role.secret_id_num_uses =
            u64::try_from(uses).map_err(|_| AppError::invalid("secret_id_num_uses cannot be negative"))?;
    }
    if let Some(ttl) = positive(fields, "secret_id_ttl")? {
        role.secret_id_ttl = ttl;
    }
    if fields.boolean("local_secret_ids")?.unwrap_or(false) {
        return Err(AppError::invalid("local_secret_ids is not available in keyferry"));
    }
    if let Some(id) = fields.text("role_id")?.filter(|id| !id.is_empty()) {
        if id.len() > LONGEST {
            return Err(AppError::invalid(format!("role_id must be at most {LONGEST} bytes")));
        }
        role.id = id;
    }
    // A role with neither would let anyone in who knows its id.
    let bound =
        role.bind_secret_id || !role.terms.bound_cidrs.is_empty() || !role.secret_id_bound_cidrs.is_empty();
    if !bound {
        return Err(AppError::invalid("at least one constraint should be enabled on the role"));
    }
    Ok(())
}

pub(super) async fn delete(at: &Site<'_>, name: &str) -> Result<Reply, AppError> {
    let Some(known) = roles(at).get(name).await? else { return Ok(Reply::empty()) };
    let mut transaction = at.app.store.transaction();
    transaction.expect(&roles(at).key(name), Some(known.revision));
    transaction.delete(&roles(at).key(name)).delete(&role_ids(at).key(&known.value.id));
    transaction.commit().await?;
    secrets::forget_role(at, name).await?;
    Ok(Reply::empty())
}

pub(super) async fn read_id(at: &Site<'_>, name: &str) -> Result<Reply, AppError> {
    let role = roles(at).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("role_id", &role.id);
    }))
}

pub(super) async fn write_id(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let given = Fields::of(request)?.text("role_id")?.filter(|id| !id.is_empty());
    if given.is_none() {
        return Err(AppError::invalid("missing role_id"));
    }
    if roles(at).get(name).await?.is_none() {
        return Err(AppError::not_found());
    }
    write(at, request, name).await
}
