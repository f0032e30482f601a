//! Response wrapping: an answer is kept under a token that can be used once, and that token is answered
//! instead (kv-v2-api.md 9).

use std::time::Duration;

use model::{SecretBytes, Timestamp};
use serde::{Deserialize, Serialize};
use store::{
    Store, StoreError,
    records::{Token, TokenByAccessor},
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

use super::{
    App, AppError, Content, Envelope, Fields, Operation, Reply, Request, Work,
    auth::{Caller, identify},
    entries::{Kept, Table},
    json::{self, Json},
    policy::RESPONSE_WRAPPING,
    tokens,
};

const MOUNT_TYPE: &str = "system";
const UNWRAP: &str = "sys/wrapping/unwrap";

/// A kept answer.
#[derive(Serialize, Deserialize)]
struct Wrapped {
    status: u16,
    /// The JSON text of the whole answer.
    body: String,
    path: String,
    created: Timestamp,
    ttl: u64,
    accessor: Option<String>,
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

/// By the wrapping token's accessor.
fn table(store: &Store) -> Table<'_, Wrapped> {
    Table::new(store, "wrapping", "answer")
}

fn invalid() -> AppError {
    AppError::invalid("wrapping token is not valid or does not exist")
}

/// Wraps an answer if the request wants that. Answers without a body have nothing to wrap.
pub(super) async fn wrap_reply(app: &App, request: &Request, reply: Reply) -> Result<Reply, AppError> {
    let (Some(ttl), Content::Envelope(envelope)) = (request.wrap_ttl, &reply.content) else {
        return Ok(reply);
    };
    if envelope.wrap_info.is_some() {
        return Ok(reply);
    }
    // EXPOSE: to keep it, sealed, until it is asked for.
    let body = String::from_utf8(envelope.to_json(&request.id).to_vec())
        .map_err(|_| AppError::Internal("an answer is no text".to_owned()))?;
    let wrapped = Wrapped {
        status: reply.status,
        body,
        path: request.path.clone(),
        created: app.clock.now(),
        ttl: ttl.min(app.settings.max_lease_ttl),
        accessor: envelope.auth.as_ref().and_then(accessor_of),
    };
    keep(app, &wrapped).await
}

/// The accessor in an `auth` object.
fn accessor_of(auth: &Json) -> Option<String> {
    let auth: serde_json::Value = serde_json::from_slice(auth).ok()?;
    auth.get("accessor")?.as_str().filter(|accessor| !accessor.is_empty()).map(str::to_owned)
}

/// Keeps an answer and answers with its token.
async fn keep(app: &App, wrapped: &Wrapped) -> Result<Reply, AppError> {
    let now = app.clock.now();
    let token = Token {
        accessor: tokens::base62(24, app.entropy.as_ref()),
        policies: vec![RESPONSE_WRAPPING.to_owned()],
        path: wrapped.path.clone(),
        display_name: "response-wrapping".to_owned(),
        num_uses: 1,
        orphan: true,
        created: now,
        creation_ttl: wrapped.ttl,
        expires: Some(now.plus(Duration::from_secs(wrapped.ttl))),
        explicit_max_ttl: wrapped.ttl,
        ..Token::default()
    };
    let id = tokens::new_id(app.entropy.as_ref());
    let keys = app.store.keys();
    // EXPOSE: to store it under its keyed digest.
    let key = keys.token(id.expose());
    let mut transaction = app.store.transaction();
    transaction.expect_absent(&key).put(&key, &token);
    transaction.put(&keys.token_by_accessor(&token.accessor), &TokenByAccessor::of(&key));
    table(&app.store).put(&mut transaction, &token.accessor, wrapped)?;
    transaction.commit().await?;
    let wrap_info = json::object(|o| {
        // EXPOSE: it is told to whoever asked for the wrapping.
        o.put("token", id.expose_text().unwrap_or_default())
            .put("accessor", &token.accessor)
            .put("ttl", &wrapped.ttl)
            .put_plain("creation_time", now)
            .put("creation_path", &wrapped.path);
        if let Some(accessor) = &wrapped.accessor {
            o.put("wrapped_accessor", accessor);
        }
    });
    Ok(Reply::envelope(Envelope { wrap_info: Some(wrap_info), ..Envelope::default() }))
}

/// What answers a request that needs no other token than the wrapping one: looking it up, and unwrapping
/// with it as the caller's own.
pub(super) fn open<'a>(app: &'a App, request: &'a Request) -> Option<Work<'a>> {
    let write = request.operation == Operation::Write;
    match request.path.as_str() {
        "sys/wrapping/lookup" if write || request.operation == Operation::Read => {
            Some(Box::pin(lookup(app, request)))
        }
        UNWRAP if write => {
            let token = match (named_token(request), &request.token) {
                // With a token of the caller's own besides, the caller's rights decide.
                // EXPOSE: to compare the two.
                (Ok(Some(named)), Some(own)) if !bool::from(named.expose().ct_eq(own.expose())) => {
                    return None;
                }
                (Ok(Some(named)), _) => Ok(named),
                (Ok(None), own) => own.clone().ok_or_else(invalid),
                (Err(error), _) => Err(error),
            };
            Some(Box::pin(async move { unwrap(app, &token?).await }))
        }
        _ => None,
    }
}

/// `sys/wrapping/<rest>` for somebody who may.
pub(super) async fn handle(
    app: &App,
    _caller: &Caller,
    request: &Request,
    rest: &str,
) -> Result<Reply, AppError> {
    match (rest, request.operation) {
        ("wrap", Operation::Write) => wrap(request),
        ("unwrap", Operation::Write) => unwrap(app, &named_token(request)?.ok_or_else(invalid)?).await,
        ("rewrap", Operation::Write) => {
            let named = named_token(request)?.or_else(|| request.token.clone());
            let mut wrapped = take(app, &named.ok_or_else(invalid)?).await?;
            wrapped.created = app.clock.now();
            keep(app, &wrapped).await
        }
        ("wrap" | "unwrap" | "rewrap" | "lookup", _) => Err(AppError::UnsupportedOperation),
        _ => Err(AppError::unsupported_path()),
    }
}

fn named_token(request: &Request) -> Result<Option<SecretBytes>, AppError> {
    Ok(Fields::of(request)?.secret("token")?.filter(|token| !token.is_empty()))
}

/// `sys/wrapping/wrap`: whatever was sent is the answer, which must be wrapped.
fn wrap(request: &Request) -> Result<Reply, AppError> {
    if request.wrap_ttl.is_none() {
        return Err(AppError::invalid("endpoint requires response wrapping to be used"));
    }
    // EXPOSE: into the answer, which is wrapped.
    let data = json::text(Fields::of(request)?.into_inner().expose());
    Ok(Reply::data(MOUNT_TYPE, data))
}

/// The kept answer, as it was, and the token is used up.
async fn unwrap(app: &App, token: &SecretBytes) -> Result<Reply, AppError> {
    let wrapped = take(app, token).await?;
    Ok(Reply::bare(wrapped.status, Json::from(wrapped.body.clone().into_bytes())))
}

async fn lookup(app: &App, request: &Request) -> Result<Reply, AppError> {
    let named = named_token(request)?.or_else(|| request.token.clone());
    let (_, _, wrapped) = find(app, &named.ok_or_else(invalid)?).await?;
    let wrapped = wrapped.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("creation_path", &wrapped.path)
            .put_plain("creation_time", wrapped.created)
            .put("creation_ttl", &wrapped.ttl);
    }))
}

/// The wrapping token and what it holds.
async fn find(
    app: &App,
    token: &SecretBytes,
) -> Result<(store::RecordKey<Token>, std::sync::Arc<store::Stored<Token>>, Kept<Wrapped>), AppError> {
    let found = match identify(app, Some(token)).await {
        Err(AppError::Denied(_)) => return Err(invalid()),
        found => found?,
    };
    let (Some(key), true) = (found.key, found.token.record.policies == [RESPONSE_WRAPPING]) else {
        return Err(invalid());
    };
    let wrapped = table(&app.store).get(&found.token.record.accessor).await?.ok_or_else(invalid)?;
    Ok((key, found.token, wrapped))
}

/// Takes what a wrapping token holds, and the token with it. Only one of many who try gets it.
async fn take(app: &App, token: &SecretBytes) -> Result<Wrapped, AppError> {
    let (key, token, wrapped) = find(app, token).await?;
    let accessor = &token.record.accessor;
    let answer = table(&app.store).key(accessor);
    let mut transaction = app.store.transaction();
    transaction.expect(&key, Some(token.revision)).delete(&key);
    transaction.expect(&answer, Some(wrapped.revision)).delete(&answer);
    transaction.delete(&app.store.keys().token_by_accessor(accessor));
    match transaction.commit().await {
        Ok(_) => Ok(wrapped.value),
        Err(StoreError::Conflict) => Err(invalid()),
        Err(other) => Err(other.into()),
    }
}

/// Removes kept answers whose token is gone.
pub(super) async fn sweep(app: &App) -> Result<(), StoreError> {
    let table = table(&app.store);
    for some in table.names().await?.chunks(256) {
        let mut gone = Vec::new();
        for accessor in some {
            if app.store.get(&app.store.keys().token_by_accessor(accessor)).await?.is_none() {
                gone.push(table.key(accessor));
            }
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
