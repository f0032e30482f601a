//! The token store: `auth/token/*` (kv-v2-api.md 7).

mod create;
mod renew;
mod revoke;
mod roles;
mod show;

use model::{Clock, Entropy, SecretBytes};
use store::{
    RecordKey, Store, StoreError,
    records::{Token, TokenByAccessor},
};

use super::{
    App, AppError, Fields, Operation, Reply, Request,
    auth::{Caller, Found, identify, key_of_accessor, live_token},
};
use create::{How, create};
pub(super) use create::{ROOT_TOKEN_LEN, Times, base62, new_id, random_text, store_token};
use renew::renew;
pub(super) use renew::{Limits, renew_by};
pub(super) use revoke::{revoke, revoke_all, sweep};
pub(super) use roles::exists as role_exists;
pub(super) use show::auth_json;
use show::{accessors, lookup_reply};

const MOUNT_TYPE: &str = "token";

/// Makes the first root token: with the given text, or a new one. A token of that text that is
/// there already is left as it is.
pub async fn create_root(
    store: &Store,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    id: Option<SecretBytes>,
) -> Result<SecretBytes, StoreError> {
    let id = id.unwrap_or_else(|| new_id(entropy));
    let token = Token {
        accessor: base62(24, entropy),
        policies: vec!["root".to_owned()],
        path: "auth/token/root".to_owned(),
        display_name: "root".to_owned(),
        orphan: true,
        created: clock.now(),
        ..Token::default()
    };
    // EXPOSE: to store it under its keyed digest.
    let key = store.keys().token(id.expose());
    match insert(store, &key, &token, None).await {
        Ok(()) | Err(StoreError::Conflict) => Ok(id),
        Err(other) => Err(other),
    }
}

/// `auth/token/<rest>`.
pub(super) async fn handle(
    app: &App,
    caller: &Caller,
    request: &Request,
    rest: &str,
) -> Result<Reply, AppError> {
    match (rest, request.operation) {
        ("lookup-self", Operation::Read | Operation::Write) => {
            lookup_reply(app, &caller.token.record, request.token.as_ref(), caller.spent).await
        }
        ("renew-self", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            fields.known(&["token"]);
            renew(app, caller.key.as_ref(), request.token.as_ref(), fields).await
        }
        ("revoke-self", Operation::Write) => {
            let key = caller.key.as_ref().ok_or_else(batch_cannot_be_revoked)?;
            revoke(app, key).await?;
            Ok(Reply::empty())
        }
        ("create", Operation::Write) => create(app, caller, request, How::Child).await,
        ("create-orphan", Operation::Write) => create(app, caller, request, How::Orphan).await,
        ("lookup", Operation::Read | Operation::Write) => lookup(app, caller, request).await,
        ("renew", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            let id = named_token(&mut fields)?;
            let found = find(app, &id).await?.ok_or_else(|| AppError::invalid("token not found"))?;
            renew(app, found.key.as_ref(), Some(&id), fields).await
        }
        ("revoke", Operation::Write) => {
            let id = named_token(&mut Fields::of(request)?)?;
            if let Some(Found { key: None, .. }) = find(app, &id).await? {
                return Err(batch_cannot_be_revoked());
            }
            // EXPOSE: to find its record, by a keyed digest.
            revoke(app, &app.store.keys().token(id.expose())).await?;
            Ok(Reply::empty())
        }
        ("revoke-orphan", Operation::Write) => {
            if !caller.acl.has_sudo(&request.path) {
                return Err(AppError::invalid("root or sudo privileges required to revoke and orphan"));
            }
            let id = named_token(&mut Fields::of(request)?)?;
            // EXPOSE: to find its record, by a keyed digest.
            revoke::revoke_orphan(app, &app.store.keys().token(id.expose())).await
        }
        ("lookup-accessor", Operation::Write) => {
            let key = named_accessor(app, &mut Fields::of(request)?).await?;
            let found = match &key {
                Some(key) => live_token(app, key).await?,
                None => None,
            };
            match found {
                Some(token) => lookup_reply(app, &token.record, None, false).await,
                None => Err(AppError::invalid("1 error occurred:\n\t* invalid accessor\n\n")),
            }
        }
        ("renew-accessor", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            match named_accessor(app, &mut fields).await? {
                Some(key) => renew(app, Some(&key), None, fields).await,
                None => Err(AppError::invalid("1 error occurred:\n\t* invalid accessor\n\n")),
            }
        }
        ("revoke-accessor", Operation::Write) => {
            match named_accessor(app, &mut Fields::of(request)?).await? {
                Some(key) => {
                    revoke(app, &key).await?;
                    Ok(Reply::empty())
                }
                None => Ok(Reply::empty().warn("No token found with this accessor").of_engine(MOUNT_TYPE)),
            }
        }
        ("tidy", Operation::Write) => {
            app.chores.wake();
            let reply = Reply::empty().warn(
                "Tidy operation successfully started. Any information from the operation will be printed to \
                 the server's logs.",
            );
            Ok(Reply { status: 202, ..reply.of_engine(MOUNT_TYPE) })
        }
        ("accessors" | "accessors/", Operation::List) => accessors(app).await,
        (
            "lookup-self" | "renew-self" | "revoke-self" | "create" | "create-orphan" | "lookup" | "renew"
            | "revoke" | "revoke-orphan" | "lookup-accessor" | "renew-accessor" | "revoke-accessor"
            | "accessors" | "accessors/" | "tidy",
            _,
        ) => Err(AppError::UnsupportedOperation),
        (rest, operation) => {
            if let Some(role) = rest.strip_prefix("create/") {
                return match operation {
                    Operation::Write => create(app, caller, request, How::Role(role)).await,
                    _ => Err(AppError::UnsupportedOperation),
                };
            }
            match rest.strip_prefix("roles") {
                Some("" | "/") => roles::handle(app, request, "").await,
                Some(name) if name.starts_with('/') => roles::handle(app, request, &name[1..]).await,
                _ => Err(AppError::unsupported_path()),
            }
        }
    }
}

fn batch_cannot_be_revoked() -> AppError {
    AppError::invalid("batch tokens cannot be revoked")
}

/// The token of a text, if it is good.
async fn find(app: &App, id: &SecretBytes) -> Result<Option<Found>, AppError> {
    match identify(app, Some(id)).await {
        Ok(found) => Ok(Some(found)),
        Err(AppError::Denied(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

fn named_token(fields: &mut Fields) -> Result<SecretBytes, AppError> {
    let token = fields.secret("token")?.filter(|token| !token.is_empty());
    token.ok_or_else(|| AppError::invalid("missing token ID"))
}

async fn named_accessor(app: &App, fields: &mut Fields) -> Result<Option<RecordKey<Token>>, AppError> {
    let accessor = fields.text("accessor")?.filter(|accessor| !accessor.is_empty());
    let accessor =
        accessor.ok_or_else(|| AppError::invalid("1 error occurred:\n\t* missing accessor\n\n"))?;
    Ok(key_of_accessor(app, &accessor).await?)
}

async fn lookup(app: &App, caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let Some(id) = fields.secret("token")?.filter(|token| !token.is_empty()) else {
        return lookup_reply(app, &caller.token.record, request.token.as_ref(), caller.spent).await;
    };
    match find(app, &id).await? {
        Some(found) => lookup_reply(app, &found.token.record, Some(&id), false).await,
        None => Err(AppError::Denied("bad token".to_owned())),
    }
}

/// Stores a new token, if its parent still is there.
async fn insert(
    store: &Store,
    key: &RecordKey<Token>,
    token: &Token,
    parent: Option<&RecordKey<Token>>,
) -> Result<(), StoreError> {
    let by_accessor = store.keys().token_by_accessor(&token.accessor);
    let mut transaction = store.transaction();
    transaction.expect_absent(key).expect_absent(&by_accessor);
    if let Some(parent) = parent {
        transaction.expect_present(parent);
    }
    transaction.put(key, token).put(&by_accessor, &TokenByAccessor::of(key));
    transaction.commit().await.map(|_| ())
}
