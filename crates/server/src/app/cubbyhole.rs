//! A place of its own for every token, which nobody else can look into and which ends with the token.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Store, StoreError};
use zeroize::Zeroize;

use super::{
    App, AppError, Fields, Operation, Reply, Request,
    auth::Caller,
    entries::{self, Table},
    json::Json,
};

const MOUNT_TYPE: &str = "cubbyhole";
/// Entries of one token.
const MOST: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Content {
    /// A JSON object's text.
    data: String,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

fn owner(accessor: &str) -> String {
    format!("cubbyhole/{accessor}")
}

fn table<'s>(store: &'s Store, accessor: &str) -> Table<'s, Content> {
    Table::new(store, owner(accessor), "entry")
}

/// The accessors of all tokens that keep something.
fn owners(store: &Store) -> Table<'_, ()> {
    Table::new(store, "cubbyhole", "owner")
}

/// Whether what a write names is there.
pub(super) async fn exists(app: &App, caller: &Caller, path: &str) -> Result<bool, AppError> {
    Ok(table(&app.store, &caller.token.record.accessor).get(path).await?.is_some())
}

/// `cubbyhole/<path>`.
pub(super) async fn handle(
    app: &App,
    caller: &Caller,
    request: &Request,
    path: &str,
) -> Result<Reply, AppError> {
    let token = &caller.token.record;
    if token.batch {
        return Err(AppError::invalid("cubbyhole operations are only supported by \"service\" type tokens"));
    }
    let table = table(&app.store, &token.accessor);
    match request.operation {
        Operation::List => list(&table, path).await,
        Operation::Read => {
            let found = table.get(path).await?.ok_or_else(AppError::not_found)?;
            Ok(Reply::data(MOUNT_TYPE, Json::from(found.value.data.clone().into_bytes())))
        }
        Operation::Write if path.is_empty() => Err(AppError::invalid("missing path")),
        Operation::Write => write(app, &table, &token.accessor, path, request).await,
        Operation::Delete => {
            table.remove(path).await?;
            Ok(Reply::empty())
        }
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn list(table: &Table<'_, Content>, folder: &str) -> Result<Reply, AppError> {
    let mut keys: Vec<String> = table
        .names()
        .await?
        .iter()
        .filter_map(|name| name.strip_prefix(folder))
        .map(|rest| match rest.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        })
        .collect();
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn write(
    app: &App,
    table: &Table<'_, Content>,
    accessor: &str,
    path: &str,
    request: &Request,
) -> Result<Reply, AppError> {
    let data = Fields::of(request)?.into_inner();
    // EXPOSE: to keep it, sealed.
    let text = match data.expose() {
        Value::Object(members) if members.is_empty() => return Err(AppError::invalid("missing data fields")),
        value => value.to_string(),
    };
    if text.len() > app.settings.max_secret_size {
        return Err(AppError::TooLarge(format!(
            "put failed due to value being too large; got {} bytes, max: {} bytes",
            text.len(),
            app.settings.max_secret_size
        )));
    }
    if table.get(path).await?.is_none() && table.names().await?.len() >= MOST {
        return Err(AppError::invalid(format!("a token's cubbyhole holds at most {MOST} entries")));
    }
    let mut transaction = app.store.transaction();
    owners(&app.store).put(&mut transaction, accessor, &())?;
    table.put(&mut transaction, path, &Content { data: text })?;
    transaction.commit().await?;
    Ok(Reply::empty())
}

/// Erases what tokens kept that are gone, of many in one commit.
pub(super) async fn sweep(app: &App) -> Result<(), StoreError> {
    const FEW: usize = 16;
    let (owners, keys) = (owners(&app.store), app.store.keys());
    for some in owners.names().await?.chunks(256) {
        let mut gone = Vec::new();
        for accessor in some {
            if app.store.get(&keys.token_by_accessor(accessor)).await?.is_some() {
                continue;
            }
            let place = owner(accessor);
            let held = app.store.scan(&keys.entries_owned(&place), None, FEW).await?;
            if held.len() == FEW {
                entries::erase_owned(&app.store, &place).await?;
            } else {
                gone.extend(held.into_iter().map(|(key, _)| key));
            }
            gone.push(owners.key(accessor));
        }
        if !gone.is_empty() {
            let mut transaction = app.store.transaction();
            for key in &gone {
                transaction.delete(key);
            }
            transaction.commit().await?;
        }
    }
    Ok(())
}
