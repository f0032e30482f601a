//! Entities: whoever logs in, however they do, and by which names (`identity/*`). A login's alias is the
//! name its auth mount knows it by; an entity has at most one alias per mount. There are no groups.

mod api;

use std::collections::BTreeMap;

use model::{Entropy, Timestamp, uuid_v4};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

pub(super) use api::{exists, handle};

use super::{
    ATTEMPTS, App, AppError,
    entries::{Kept, Table},
};

const OWNER: &str = "identity";
/// One entity keeps at most so many aliases.
const MOST_ALIASES: usize = 128;

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Added to those of every token of this entity. Sorted, lower case.
    pub(crate) policies: Vec<String>,
    /// Its tokens are refused.
    pub(crate) disabled: bool,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// The name by which an auth mount knows an entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Alias {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) mount_accessor: String,
    /// What the auth method tells.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What a person wrote.
    pub(crate) custom_metadata: BTreeMap<String, String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

fn entities(store: &Store) -> Table<'_, Entity> {
    Table::new(store, OWNER, "entity")
}

/// Name → id.
fn names(store: &Store) -> Table<'_, String> {
    Table::new(store, OWNER, "entity-name")
}

/// Mount accessor and alias name → entity id.
fn alias_names(store: &Store) -> Table<'_, String> {
    Table::new(store, OWNER, "alias-name")
}

/// Alias id → entity id.
fn alias_ids(store: &Store) -> Table<'_, String> {
    Table::new(store, OWNER, "alias-id")
}

/// An accessor has no slash before its end, so the two cannot run together.
fn alias_key(accessor: &str, name: &str) -> String {
    format!("{accessor}/{name}")
}

/// The entity with an id.
pub(crate) async fn entity(store: &Store, id: &str) -> Result<Option<Kept<Entity>>, StoreError> {
    entities(store).get(id).await
}

async fn entity_of_alias(
    store: &Store,
    accessor: &str,
    name: &str,
) -> Result<Option<Kept<Entity>>, StoreError> {
    match alias_names(store).get(&alias_key(accessor, name)).await? {
        Some(id) => entity(store, &id.value).await,
        None => Ok(None),
    }
}

/// The entity of whoever logs in at a mount under a name; made if nobody did before.
pub(crate) async fn of_login(
    app: &App,
    accessor: &str,
    name: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Entity, AppError> {
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let known = entity_of_alias(&app.store, accessor, name).await?;
        let mut next = match &known {
            Some(known) => known.value.clone(),
            None => Entity {
                id: uuid_v4(app.entropy.as_ref()),
                name: new_name(app.entropy.as_ref()),
                created: now,
                updated: now,
                ..Entity::default()
            },
        };
        match next.aliases.iter_mut().find(|alias| alias.mount_accessor == accessor) {
            Some(alias) if alias.metadata == *metadata => return Ok(next),
            Some(alias) => {
                alias.metadata.clone_from(metadata);
                alias.updated = now;
            }
            None => next.aliases.push(Alias {
                id: uuid_v4(app.entropy.as_ref()),
                name: name.to_owned(),
                mount_accessor: accessor.to_owned(),
                metadata: metadata.clone(),
                created: now,
                updated: now,
                ..Alias::default()
            }),
        }
        match save(&app.store, known.as_ref(), Some(&next)).await {
            Ok(()) => return Ok(next),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

fn new_name(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    format!("entity_{}", hex::encode(bytes))
}

/// Stores, changes or removes (`after` = `None`) an entity, with its names and aliases, in one.
///
/// # Errors
/// [`StoreError::Conflict`] when it changed meanwhile, or a name or alias belongs to another.
async fn save(
    store: &Store,
    before: Option<&Kept<Entity>>,
    after: Option<&Entity>,
) -> Result<(), StoreError> {
    let Some(id) = after.map(|entity| &entity.id).or(before.map(|before| &before.value.id)) else {
        return Ok(());
    };
    let mut transaction = store.transaction();
    let table = entities(store);
    transaction.expect(&table.key(id), before.map(|before| before.revision));
    let old = before.map(|before| &before.value);
    index(&mut transaction, &names(store), id, old.map(|e| e.name.clone()), after.map(|e| e.name.clone()))?;
    let aliases = |entity: Option<&Entity>, key: fn(&Alias) -> String| -> Vec<String> {
        entity.into_iter().flat_map(|entity| entity.aliases.iter().map(key)).collect()
    };
    let by_name: fn(&Alias) -> String = |alias| alias_key(&alias.mount_accessor, &alias.name);
    let by_id: fn(&Alias) -> String = |alias| alias.id.clone();
    index(&mut transaction, &alias_names(store), id, aliases(old, by_name), aliases(after, by_name))?;
    index(&mut transaction, &alias_ids(store), id, aliases(old, by_id), aliases(after, by_id))?;
    match after {
        Some(entity) => table.put(&mut transaction, id, entity)?,
        None => {
            transaction.delete(&table.key(id));
        }
    }
    transaction.commit().await.map(drop)
}

/// Takes the old names out of an index and puts the new ones in, which nobody else may have.
fn index(
    transaction: &mut Transaction,
    table: &Table<'_, String>,
    id: &String,
    old: impl IntoIterator<Item = String>,
    new: impl IntoIterator<Item = String>,
) -> Result<(), StoreError> {
    let (old, new): (Vec<_>, Vec<_>) = (old.into_iter().collect(), new.into_iter().collect());
    for gone in old.iter().filter(|name| !new.contains(name)) {
        transaction.delete(&table.key(gone));
    }
    for fresh in new.iter().filter(|name| !old.contains(name)) {
        transaction.expect_absent(&table.key(fresh));
        table.put(transaction, fresh, id)?;
    }
    Ok(())
}

/// Removes the aliases of an auth mount that is gone; entities stay.
pub(crate) async fn forget_mount(store: &Store, accessor: &str) -> Result<(), StoreError> {
    for (id, _) in entities(store).all().await? {
        loop {
            let Some(known) = entity(store, &id).await? else { break };
            let mut next = known.value.clone();
            next.aliases.retain(|alias| alias.mount_accessor != accessor);
            if next == known.value {
                break;
            }
            match save(store, Some(&known), Some(&next)).await {
                Ok(()) => break,
                Err(StoreError::Conflict) => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}
