//! The token store: `auth/token/*` (kv-v2-api.md 7).

mod create;

use model::{Clock, Entropy, SecretBytes, Timestamp};
use store::{
    RecordKey, Store, StoreError, Stored,
    records::{Token, TokenByAccessor},
};

use super::{
    ATTEMPTS, App, AppError, Envelope, Fields, Operation, Reply, Request,
    auth::{Caller, identify, key_of_accessor, live_token},
    json::{self, Json, Object},
};
use create::{base62, create, new_id, short};

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
        meta: None,
        display_name: "root".to_owned(),
        num_uses: 0,
        orphan: true,
        parent: None,
        created: clock.now(),
        creation_ttl: 0,
        expires: None,
        explicit_max_ttl: 0,
        renewable: false,
        period: 0,
        role: None,
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
            let id = request.token.as_ref().ok_or_else(AppError::no_token)?;
            Ok(lookup_reply(app, caller.token.as_ref(), Some(id), caller.spent))
        }
        ("renew-self", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            fields.known(&["token"]);
            let id = request.token.as_ref().ok_or_else(AppError::no_token)?;
            renew(app, &caller.key, Some(id), fields).await
        }
        ("revoke-self", Operation::Write) => {
            revoke(app, &caller.key).await?;
            Ok(Reply::empty())
        }
        ("create" | "create-orphan", Operation::Write) => create(app, caller, request, rest).await,
        ("lookup", Operation::Read | Operation::Write) => lookup(app, caller, request).await,
        ("renew", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            let id = named_token(&mut fields)?;
            let key = match identify(app, Some(&id)).await {
                Ok(found) => found.key,
                Err(AppError::Denied(_)) => return Err(AppError::invalid("token not found")),
                Err(other) => return Err(other),
            };
            renew(app, &key, Some(&id), fields).await
        }
        ("revoke", Operation::Write) => {
            // EXPOSE: to find its record, by a keyed digest.
            let key = app.store.keys().token(named_token(&mut Fields::of(request)?)?.expose());
            revoke(app, &key).await?;
            Ok(Reply::empty())
        }
        ("revoke-orphan", Operation::Write) => {
            // EXPOSE: to find its record, by a keyed digest.
            let key = app.store.keys().token(named_token(&mut Fields::of(request)?)?.expose());
            revoke_orphan(app, &key).await
        }
        ("lookup-accessor", Operation::Write) => {
            let key = named_accessor(app, &mut Fields::of(request)?).await?;
            let found = match &key {
                Some(key) => live_token(app, key).await?,
                None => None,
            };
            match found {
                Some(token) => Ok(lookup_reply(app, &token, None, false)),
                None => Err(AppError::Denied("1 error occurred:\n\t* invalid accessor\n\n".to_owned())),
            }
        }
        ("renew-accessor", Operation::Write) => {
            let mut fields = Fields::of(request)?;
            match named_accessor(app, &mut fields).await? {
                Some(key) => renew(app, &key, None, fields).await,
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
        ("accessors" | "accessors/", Operation::List) => accessors(app).await,
        (
            "lookup-self" | "renew-self" | "revoke-self" | "create" | "create-orphan" | "lookup" | "renew"
            | "revoke" | "revoke-orphan" | "lookup-accessor" | "renew-accessor" | "revoke-accessor"
            | "accessors" | "accessors/",
            _,
        ) => Err(AppError::UnsupportedOperation),
        (rest, Operation::Write) if rest.starts_with("create/") => {
            Err(AppError::invalid("unknown role: token roles are not available in keyferry"))
        }
        _ => Err(AppError::unsupported_path()),
    }
}

fn named_token(fields: &mut Fields) -> Result<SecretBytes, AppError> {
    let token = fields.secret("token")?.filter(|token| !token.is_empty());
    token.ok_or_else(|| AppError::invalid("missing token ID"))
}

async fn named_accessor(app: &App, fields: &mut Fields) -> Result<Option<RecordKey<Token>>, AppError> {
    let accessor = fields.text("accessor")?.filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| AppError::invalid("missing accessor"))?;
    Ok(key_of_accessor(app, &accessor).await?)
}

async fn lookup(app: &App, caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let Some(id) = fields.secret("token")?.filter(|token| !token.is_empty()) else {
        return Ok(lookup_reply(app, &caller.token, request.token.as_ref(), caller.spent));
    };
    match identify(app, Some(&id)).await {
        Ok(found) => Ok(lookup_reply(app, &found.token, Some(&id), false)),
        Err(AppError::Denied(_)) => Err(AppError::Denied("bad token".to_owned())),
        Err(other) => Err(other),
    }
}

fn lookup_reply(app: &App, token: &Stored<Token>, id: Option<&SecretBytes>, spent: bool) -> Reply {
    let now = app.clock.now();
    let token = &token.record;
    Reply::object(MOUNT_TYPE, |o| {
        o.put("accessor", &token.accessor)
            .put("creation_time", &token.created.as_secs())
            .put("creation_ttl", &token.creation_ttl)
            .put("display_name", &token.display_name)
            .put("entity_id", "");
        put_time(o, "expire_time", token.expires);
        o.put("explicit_max_ttl", &token.explicit_max_ttl);
        // EXPOSE: whoever asks about a token by its text is told that text, as Vault does.
        o.put("id", id.and_then(|id| id.expose_text().ok()).unwrap_or_default());
        put_time(o, "issue_time", Some(token.created));
        o.put("meta", &token.meta)
            // Vault's sign of a token that this very request used up.
            .put("num_uses", &if spent { -1 } else { i64::try_from(token.num_uses).unwrap_or(i64::MAX) })
            .put("orphan", &token.orphan)
            .put("path", &token.path);
        if token.period > 0 {
            o.put("period", &token.period);
        }
        o.put("policies", &token.policies)
            .put("renewable", &token.renewable)
            .put("ttl", &token.expires.map_or(0, |expires| expires.since(now).as_secs()))
            .put("type", "service");
        if let Some(role) = &token.role {
            o.put("role", role);
        }
    })
}

fn put_time(o: &mut Object<'_>, name: &str, time: Option<Timestamp>) {
    match time {
        Some(time) => o.put_plain(name, time),
        None => o.put(name, &None::<()>),
    };
}

/// The `auth` object that create and renew answer with.
fn auth_json(token: &Token, id: Option<&SecretBytes>, lease_duration: u64) -> Json {
    json::object_with_room(512, |o| {
        // EXPOSE: a token is told to whoever made it or named it.
        o.put("client_token", id.and_then(|id| id.expose_text().ok()).unwrap_or_default())
            .put("accessor", &token.accessor)
            .put("policies", &token.policies)
            .put("token_policies", &token.policies)
            .put("metadata", &token.meta)
            .put("lease_duration", &lease_duration)
            .put("renewable", &token.renewable)
            .put("entity_id", "")
            .put("token_type", "service")
            .put("orphan", &token.orphan)
            .put("mfa_requirement", &None::<()>)
            .put("num_uses", &token.num_uses);
    })
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

async fn renew(
    app: &App,
    key: &RecordKey<Token>,
    id: Option<&SecretBytes>,
    mut fields: Fields,
) -> Result<Reply, AppError> {
    let increment = fields.seconds("increment")?.unwrap_or(0);
    let unknown = fields.unknown();
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let token = live_token(app, key).await?.ok_or_else(|| AppError::invalid("token not found"))?;
        let now = app.clock.now();
        let mut renewed = token.record.clone();
        if !renewed.renewable {
            return Err(AppError::invalid("lease is not renewable"));
        }
        let (ttl, warning) = renewed_ttl(app, &renewed, increment, now)?;
        renewed.expires = Some(now.plus(std::time::Duration::from_secs(ttl)));
        let mut transaction = app.store.transaction();
        transaction.expect(key, Some(token.revision)).put(key, &renewed);
        match transaction.commit().await {
            Ok(_) => {
                let auth = Some(auth_json(&renewed, id, ttl));
                let warnings = warning.into_iter().collect();
                let envelope = Envelope { auth, warnings, mount_type: MOUNT_TYPE, ..Envelope::default() };
                return Ok(Reply::envelope(envelope).warn_of_unknown(unknown));
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// How many seconds a renewed token has from now, and a warning when it wanted more.
fn renewed_ttl(
    app: &App,
    token: &Token,
    increment: u64,
    now: Timestamp,
) -> Result<(u64, Option<String>), AppError> {
    let wanted = match (token.period, increment) {
        (0, 0) => token.creation_ttl,
        (0, increment) => increment,
        (period, _) => period,
    };
    let max = match (token.explicit_max_ttl, token.period) {
        (0, 0) => app.settings.max_lease_ttl,
        // A periodic token without an explicit maximum can be renewed for ever.
        (0, _) => return Ok((wanted, None)),
        (explicit, _) => explicit,
    };
    let left = max.saturating_sub(now.since(token.created).as_secs());
    if left == 0 {
        return Err(AppError::invalid("past the max TTL, cannot renew"));
    }
    let warning = (wanted > left).then(|| {
        format!(
            "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
            short(wanted),
            short(left)
        )
    });
    Ok((wanted.min(left), warning))
}

/// Removes a token. Its children are dead from the same moment on, because a token lives only while
/// all its ancestors do; their records are swept afterwards.
async fn revoke(app: &App, key: &RecordKey<Token>) -> Result<(), AppError> {
    for _ in 0..ATTEMPTS {
        let Some(token) = app.store.get(key).await? else { return Ok(()) };
        let mut transaction = app.store.transaction();
        // Unchanged: a token of the same text made anew meanwhile has another accessor.
        transaction.expect(key, Some(token.revision));
        transaction.delete(key).delete(&app.store.keys().token_by_accessor(&token.record.accessor));
        match transaction.commit().await {
            Ok(_) => {
                app.chores.wake();
                return Ok(());
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Removes a token and makes orphans of its children, all in one.
async fn revoke_orphan(app: &App, key: &RecordKey<Token>) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let Some(token) = app.store.get(key).await? else {
            return Err(AppError::invalid("token to revoke not found"));
        };
        let accessor = &token.record.accessor;
        let mut transaction = app.store.transaction();
        transaction.expect(key, Some(token.revision));
        transaction.delete(key).delete(&app.store.keys().token_by_accessor(accessor));
        for (child_key, child) in app.store.scan_all(&app.store.keys().tokens()).await? {
            if child.record.parent.as_ref() == Some(accessor) {
                let orphan = Token { orphan: true, parent: None, ..child.record };
                transaction.expect(&child_key, Some(child.revision)).put(&child_key, &orphan);
            }
        }
        match transaction.commit().await {
            Ok(_) => return Ok(Reply::empty()),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

async fn accessors(app: &App) -> Result<Reply, AppError> {
    let mut keys = Vec::new();
    for (key, token) in app.store.scan_all(&app.store.keys().tokens()).await? {
        if live_token(app, &key).await?.is_some() {
            keys.push(token.record.accessor);
        }
    }
    keys.sort();
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

/// Removes the records of tokens that are dead: expired, or below one that is gone.
pub(super) async fn sweep(app: &App) -> Result<(), StoreError> {
    for (key, token) in app.store.scan_all(&app.store.keys().tokens()).await? {
        if live_token(app, &key).await?.is_none() {
            let mut transaction = app.store.transaction();
            // Unchanged: a token of the same text made anew meanwhile is another.
            transaction.expect(&key, Some(token.revision));
            transaction.delete(&key).delete(&app.store.keys().token_by_accessor(&token.record.accessor));
            match transaction.commit().await {
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}
