//! `identity/entity*`, `identity/entity-alias*` and `identity/lookup/entity`.

use std::collections::BTreeMap;

use model::uuid_v4;

use super::{
    Alias, Entity, MOST_ALIASES, alias_ids, entities, entity, entity_of_alias, names, new_name, save,
};
use crate::app::{
    ATTEMPTS, App, AppError, Fields, Operation, Reply, Request, auth,
    json::{self, Json, Object},
    policy,
};

const MOUNT_TYPE: &str = "identity";
const LONGEST_NAME: usize = 512;

/// Whether what a write names is there, for the choice between `create` and `update`.
pub(in crate::app) async fn exists(app: &App, rest: &str) -> Result<bool, AppError> {
    Ok(match rest.strip_prefix("entity/name/") {
        Some(name) => names(&app.store).get(name).await?.is_some(),
        None => true,
    })
}

/// `identity/<rest>`.
pub(in crate::app) async fn handle(app: &App, request: &Request, rest: &str) -> Result<Reply, AppError> {
    use Operation::{Delete, List, Read, Write};
    let trimmed = rest.trim_end_matches('/');
    match (request.operation, trimmed.split('/').collect::<Vec<_>>().as_slice()) {
        (Write, ["entity"]) => write_named_in_body(app, request).await,
        (List, ["entity", "id"]) => list(app, true).await,
        (List, ["entity", "name"]) => list(app, false).await,
        (Read, ["entity", "id", id]) => read(app, id).await,
        (Write, ["entity", "id", id]) => {
            entity(&app.store, id).await?.ok_or_else(|| AppError::invalid("entity not found from id"))?;
            write(app, request, Some(id.to_string()), None).await
        }
        (Delete, ["entity", "id", id]) => delete(app, id).await,
        (Read, ["entity", "name", name]) => {
            read(app, &id_of_name(app, name).await?.unwrap_or_default()).await
        }
        (Write, ["entity", "name", name]) => {
            let id = id_of_name(app, name).await?;
            write(app, request, id, Some(name.to_string())).await
        }
        (Delete, ["entity", "name", name]) => {
            delete(app, &id_of_name(app, name).await?.unwrap_or_default()).await
        }
        (Write, ["entity-alias"]) => write_alias(app, request, None).await,
        (List, ["entity-alias", "id"]) => list_aliases(app).await,
        (Read, ["entity-alias", "id", id]) => read_alias(app, id).await,
        (Write, ["entity-alias", "id", id]) => write_alias(app, request, Some(id)).await,
        (Delete, ["entity-alias", "id", id]) => delete_alias(app, id).await,
        (Write, ["lookup", "entity"]) => lookup(app, request).await,
        (
            _,
            ["entity" | "entity-alias"]
            | ["entity", "id" | "name", ..]
            | ["entity-alias", "id", ..]
            | ["lookup", "entity"],
        ) => Err(AppError::UnsupportedOperation),
        // As of a server on which nobody has made one yet.
        (List | Read, ["group" | "group-alias", "id" | "name", ..]) => Err(AppError::not_found()),
        (_, ["group" | "group-alias" | "lookup", ..]) => {
            Err(AppError::invalid("identity groups are not available in keyferry; put policies on entities"))
        }
        (_, ["oidc" | "mfa", ..]) => {
            Err(AppError::invalid("the OIDC provider and MFA are not available in keyferry"))
        }
        _ => Err(AppError::unsupported_path()),
    }
}

async fn id_of_name(app: &App, name: &str) -> Result<Option<String>, AppError> {
    Ok(names(&app.store).get(name).await?.map(|id| id.value))
}

async fn read(app: &App, id: &str) -> Result<Reply, AppError> {
    let found = entity(&app.store, id).await?.ok_or_else(AppError::not_found)?;
    shown(app, &found.value).await
}

async fn shown(app: &App, entity: &Entity) -> Result<Reply, AppError> {
    let mounts = auth::mount_infos(app).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| put_entity(o, entity, &mounts)))
}

/// Mount path and type by accessor.
type Mounts = BTreeMap<String, (String, String)>;

fn put_entity(o: &mut Object<'_>, entity: &Entity, mounts: &Mounts) {
    let aliases: Vec<Json> =
        entity.aliases.iter().map(|alias| json::object(|o| put_alias(o, entity, alias, mounts))).collect();
    o.put_json("aliases", &json::array(&aliases))
        .put_plain("creation_time", entity.created)
        .put("direct_group_ids", &[(); 0])
        .put("disabled", &entity.disabled)
        .put("group_ids", &[(); 0])
        .put("id", &entity.id)
        .put("inherited_group_ids", &[(); 0])
        .put_plain("last_update_time", entity.updated)
        .put("merged_entity_ids", &None::<()>)
        .put("metadata", &(!entity.metadata.is_empty()).then_some(&entity.metadata))
        .put("name", &entity.name)
        .put("namespace_id", "root")
        .put("policies", &entity.policies);
}

fn put_alias(o: &mut Object<'_>, entity: &Entity, alias: &Alias, mounts: &Mounts) {
    let (path, kind) = mounts.get(&alias.mount_accessor).cloned().unwrap_or_default();
    o.put("canonical_id", &entity.id)
        .put_plain("creation_time", alias.created)
        .put("custom_metadata", &alias.custom_metadata)
        .put("id", &alias.id)
        .put_plain("last_update_time", alias.updated)
        .put("local", &false)
        .put("merged_from_canonical_ids", &None::<()>)
        .put("metadata", &(!alias.metadata.is_empty()).then_some(&alias.metadata))
        .put("mount_accessor", &alias.mount_accessor)
        .put("mount_path", &path)
        .put("mount_type", &kind)
        .put("name", &alias.name);
}

async fn list(app: &App, by_id: bool) -> Result<Reply, AppError> {
    let all = entities(&app.store).all().await?;
    if all.is_empty() {
        return Err(AppError::not_found());
    }
    let mut keys: Vec<&String> =
        all.iter().map(|(id, found)| if by_id { id } else { &found.value.name }).collect();
    keys.sort();
    let mounts = auth::mount_infos(app).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
        if by_id {
            o.put_object("key_info", |o| {
                for (id, found) in &all {
                    let aliases: Vec<Json> = found
                        .value
                        .aliases
                        .iter()
                        .map(|alias| json::object(|o| put_alias(o, &found.value, alias, &mounts)))
                        .collect();
                    o.put_object(id, |o| {
                        o.put_json("aliases", &json::array(&aliases)).put("name", &found.value.name);
                    });
                }
            });
        }
    }))
}

/// `identity/entity`: by `id` or `name` in the body, or a new one.
async fn write_named_in_body(app: &App, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let id = fields.text("id")?.filter(|id| !id.is_empty());
    let name = fields.text("name")?.filter(|name| !name.is_empty());
    let id = match (id, &name) {
        (Some(id), _) if entity(&app.store, &id).await?.is_none() => {
            return Err(AppError::invalid("entity not found from id"));
        }
        (Some(id), _) => Some(id),
        (None, Some(name)) => id_of_name(app, name).await?,
        (None, None) => None,
    };
    write(app, request, id, name).await
}

/// Makes or changes an entity. A new one is told, a changed one is not, as in Vault.
async fn write(
    app: &App,
    request: &Request,
    id: Option<String>,
    name: Option<String>,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let name = match fields.text("name")?.filter(|name| !name.is_empty()) {
        Some(given) => Some(given),
        None => name,
    };
    if let Some(name) = &name {
        check_name("name", name)?;
    }
    let metadata = fields.map("metadata")?;
    let policies = match fields.list("policies")? {
        Some(policies) => Some(policy::cleaned(&policies)?),
        None => None,
    };
    let disabled = fields.boolean("disabled")?;
    fields.known(&["id"]);
    let unknown = fields.unknown();
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let known = match &id {
            Some(id) => entity(&app.store, id).await?,
            None => None,
        };
        let mut next = known.as_ref().map_or_else(
            || Entity { id: uuid_v4(app.entropy.as_ref()), created: now, ..Entity::default() },
            |known| known.value.clone(),
        );
        next.updated = now;
        if let Some(name) = &name {
            next.name.clone_from(name);
        } else if next.name.is_empty() {
            next.name = new_name(app.entropy.as_ref());
        }
        if let Some(metadata) = &metadata {
            next.metadata.clone_from(metadata);
        }
        if let Some(policies) = &policies {
            next.policies.clone_from(policies);
        }
        if let Some(disabled) = disabled {
            next.disabled = disabled;
        }
        match save(&app.store, known.as_ref(), Some(&next)).await {
            Ok(()) if known.is_some() => {
                app.rights_changed();
                return Ok(Reply::empty());
            }
            Ok(()) => {
                return Ok(Reply::object(MOUNT_TYPE, |o| {
                    o.put("aliases", &None::<()>).put("id", &next.id).put("name", &next.name);
                })
                .warn_of_unknown(unknown));
            }
            Err(store::StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
        if id_of_name(app, &next.name).await?.is_some_and(|holder| holder != next.id) {
            return Err(AppError::invalid("entity name is already in use"));
        }
    }
    Err(store::StoreError::Conflict.into())
}

fn check_name(what: &str, name: &str) -> Result<(), AppError> {
    if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(AppError::invalid(format!(
            "{what} must be at most {LONGEST_NAME} bytes and hold no control characters"
        )));
    }
    Ok(())
}

async fn delete(app: &App, id: &str) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let Some(known) = entity(&app.store, id).await? else { return Ok(Reply::empty()) };
        match save(&app.store, Some(&known), None).await {
            Ok(()) => {
                // Its tokens are dead from now on.
                app.chores.wake();
                app.rights_changed();
                return Ok(Reply::empty());
            }
            Err(store::StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(store::StoreError::Conflict.into())
}

async fn write_alias(app: &App, request: &Request, id: Option<&str>) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let given_id = fields.text("id")?.filter(|id| !id.is_empty());
    let id = id.map(str::to_owned).or(given_id);
    let name = fields.text("name")?.filter(|name| !name.is_empty());
    let accessor = fields.text("mount_accessor")?.filter(|accessor| !accessor.is_empty());
    let canonical = fields.text("canonical_id")?.or(fields.text("entity_id")?).filter(|id| !id.is_empty());
    let custom_metadata = fields.map("custom_metadata")?;
    if let Some(name) = &name {
        check_name("name", name)?;
    }
    let unknown = fields.unknown();
    if let Some(accessor) = &accessor
        && !auth::mount_infos(app).await?.contains_key(accessor)
    {
        return Err(AppError::invalid("invalid mount accessor: no auth mount has it"));
    }
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let holder = match (&id, &accessor, &name) {
            (Some(id), ..) => match alias_ids(&app.store).get(id).await? {
                Some(holder) => entity(&app.store, &holder.value).await?,
                None => return Err(AppError::invalid("invalid entity alias ID")),
            },
            (None, Some(accessor), Some(name)) => entity_of_alias(&app.store, accessor, name).await?,
            (None, _, None) => return Err(AppError::invalid("missing alias name")),
            (None, None, _) => return Err(AppError::invalid("missing mount_accessor")),
        };
        if let (Some(holder), Some(canonical)) = (&holder, &canonical)
            && holder.value.id != *canonical
        {
            return Err(AppError::invalid(
                "the alias belongs to another entity; entities cannot be merged in keyferry",
            ));
        }
        let known = match (holder, &canonical) {
            (Some(holder), _) => Some(holder),
            (None, Some(canonical)) => Some(
                entity(&app.store, canonical)
                    .await?
                    .ok_or_else(|| AppError::invalid("invalid canonical ID"))?,
            ),
            (None, None) => None,
        };
        let mut next = known.as_ref().map_or_else(
            || Entity {
                id: uuid_v4(app.entropy.as_ref()),
                name: new_name(app.entropy.as_ref()),
                created: now,
                ..Entity::default()
            },
            |known| known.value.clone(),
        );
        next.updated = now;
        let at = next.aliases.iter().position(|alias| match &id {
            Some(id) => alias.id == *id,
            None => Some(&alias.mount_accessor) == accessor.as_ref(),
        });
        let at = match at {
            Some(at) => at,
            None if next.aliases.len() >= MOST_ALIASES => {
                return Err(AppError::invalid("the entity has too many aliases"));
            }
            None => {
                next.aliases.push(Alias {
                    id: uuid_v4(app.entropy.as_ref()),
                    created: now,
                    ..Alias::default()
                });
                next.aliases.len() - 1
            }
        };
        let Some(alias) = next.aliases.get_mut(at) else { continue };
        alias.updated = now;
        if let Some(name) = &name {
            alias.name.clone_from(name);
        }
        if let Some(accessor) = &accessor {
            alias.mount_accessor.clone_from(accessor);
        }
        if let Some(custom_metadata) = &custom_metadata {
            alias.custom_metadata.clone_from(custom_metadata);
        }
        let alias = alias.clone();
        if next.aliases.iter().filter(|other| other.mount_accessor == alias.mount_accessor).count() > 1 {
            return Err(AppError::invalid("the entity already has an alias at that mount"));
        }
        match save(&app.store, known.as_ref(), Some(&next)).await {
            Ok(()) => {
                return Ok(Reply::object(MOUNT_TYPE, |o| {
                    o.put("canonical_id", &next.id).put("id", &alias.id);
                })
                .warn_of_unknown(unknown));
            }
            Err(store::StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
        let taken = entity_of_alias(&app.store, &alias.mount_accessor, &alias.name).await?;
        if taken.is_some_and(|taken| taken.value.id != next.id) {
            return Err(AppError::invalid("an alias of that name at that mount belongs to another entity"));
        }
    }
    Err(store::StoreError::Conflict.into())
}

async fn holder_of_alias(app: &App, id: &str) -> Result<Option<Entity>, AppError> {
    match alias_ids(&app.store).get(id).await? {
        Some(holder) => Ok(entity(&app.store, &holder.value).await?.map(|holder| holder.value)),
        None => Ok(None),
    }
}

async fn read_alias(app: &App, id: &str) -> Result<Reply, AppError> {
    let holder = holder_of_alias(app, id).await?.ok_or_else(AppError::not_found)?;
    let alias = holder.aliases.iter().find(|alias| alias.id == id).ok_or_else(AppError::not_found)?;
    let mounts = auth::mount_infos(app).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| put_alias(o, &holder, alias, &mounts)))
}

async fn list_aliases(app: &App) -> Result<Reply, AppError> {
    let keys = alias_ids(&app.store).names().await?;
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn delete_alias(app: &App, id: &str) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let Some(holder) = holder_of_alias(app, id).await? else { return Ok(Reply::empty()) };
        let Some(known) = entity(&app.store, &holder.id).await? else { return Ok(Reply::empty()) };
        let mut next = known.value.clone();
        next.aliases.retain(|alias| alias.id != id);
        next.updated = app.clock.now();
        match save(&app.store, Some(&known), Some(&next)).await {
            Ok(()) => return Ok(Reply::empty()),
            Err(store::StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(store::StoreError::Conflict.into())
}

async fn lookup(app: &App, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let text =
        |fields: &mut Fields, name| Ok::<_, AppError>(fields.text(name)?.filter(|text| !text.is_empty()));
    let (id, name) = (text(&mut fields, "id")?, text(&mut fields, "name")?);
    let (alias_id, alias_name) = (text(&mut fields, "alias_id")?, text(&mut fields, "alias_name")?);
    let accessor = text(&mut fields, "alias_mount_accessor")?;
    let found = match (id, name, alias_id, alias_name, accessor) {
        (Some(id), None, None, None, None) => entity(&app.store, &id).await?.map(|found| found.value),
        (None, Some(name), None, None, None) => match id_of_name(app, &name).await? {
            Some(id) => entity(&app.store, &id).await?.map(|found| found.value),
            None => None,
        },
        (None, None, Some(id), None, None) => holder_of_alias(app, &id).await?,
        (None, None, None, Some(name), Some(accessor)) => {
            entity_of_alias(&app.store, &accessor, &name).await?.map(|found| found.value)
        }
        _ => {
            return Err(AppError::invalid(
                "query by exactly one of: id, name, alias_id, or alias_name with alias_mount_accessor",
            ));
        }
    };
    match found {
        Some(found) => shown(app, &found).await,
        None => Ok(Reply::empty()),
    }
}
