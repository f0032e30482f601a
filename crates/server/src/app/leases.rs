//! `sys/leases`: the only leases there are are those of tokens. A lease's id is the path that made the
//! token and the token's accessor.

use store::{RecordKey, Stored, records::Token};

use super::{
    App, AppError, Envelope, Fields, Operation, Reply, Request,
    auth::{key_of_accessor, live_token},
    tokens,
};

const MOUNT_TYPE: &str = "system";

/// `sys/leases/<rest>`.
pub(super) async fn handle(app: &App, request: &Request, rest: &str) -> Result<Reply, AppError> {
    use Operation::{List, Write};
    let (word, id) = rest.split_once('/').unwrap_or((rest, ""));
    match (word, request.operation) {
        ("lookup", Write) => lookup(app, request).await,
        ("lookup", List) => list(app, id).await,
        ("renew", Write) => renew(app, request, id).await,
        ("revoke", Write) => revoke(app, request, id).await,
        ("revoke-prefix" | "revoke-force", Write) => revoke_prefix(app, id).await,
        ("tidy", Write) => {
            app.chores.wake();
            let reply = Reply::empty().warn(
                "Tidy operation successfully started. Any information from the operation will be printed to \
                 the server's logs.",
            );
            Ok(Reply { status: 202, ..reply.of_engine(MOUNT_TYPE) })
        }
        ("lookup" | "renew" | "revoke" | "revoke-prefix" | "revoke-force" | "tidy", _) => {
            Err(AppError::UnsupportedOperation)
        }
        _ => Err(AppError::unsupported_path()),
    }
}

fn id_of(token: &Token) -> String {
    format!("{}/{}", token.path, token.accessor)
}

/// The token of a lease.
async fn find(
    app: &App,
    id: &str,
) -> Result<Option<(RecordKey<Token>, std::sync::Arc<Stored<Token>>)>, AppError> {
    let Some((path, accessor)) = id.rsplit_once('/') else { return Ok(None) };
    let Some(key) = key_of_accessor(app, accessor).await? else { return Ok(None) };
    let found = live_token(app, &key).await?;
    Ok(found
        .filter(|token| token.record.path == path && token.record.expires.is_some())
        .map(|token| (key, token)))
}

fn named(fields: &mut Fields, in_path: &str) -> Result<String, AppError> {
    let given = if in_path.is_empty() { fields.text("lease_id")? } else { Some(in_path.to_owned()) };
    given.filter(|id| !id.is_empty()).ok_or_else(|| AppError::invalid("lease_id must be specified"))
}

async fn lookup(app: &App, request: &Request) -> Result<Reply, AppError> {
    let id = named(&mut Fields::of(request)?, "")?;
    let (_, token) = find(app, &id).await?.ok_or_else(|| AppError::invalid("invalid lease"))?;
    let now = app.clock.now();
    let token = &token.record;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        match token.expires {
            Some(expires) => o.put_plain("expire_time", expires),
            None => o.put("expire_time", &None::<()>),
        };
        o.put("id", &id).put_plain("issue_time", token.created);
        match token.renewed {
            Some(renewed) => o.put_plain("last_renewal", renewed),
            None => o.put("last_renewal", &None::<()>),
        };
        o.put("renewable", &token.renewable)
            .put("ttl", &token.expires.map_or(0, |expires| expires.since(now).as_secs()));
    }))
}

async fn list(app: &App, prefix: &str) -> Result<Reply, AppError> {
    let mut keys = Vec::new();
    for (key, token) in app.store.scan_all(&app.store.keys().tokens()).await? {
        let id = id_of(&token.record);
        let Some(rest) = id.strip_prefix(prefix) else { continue };
        if token.record.expires.is_some() && live_token(app, &key).await?.is_some() {
            keys.push(match rest.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => rest.to_owned(),
            });
        }
    }
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    keys.sort();
    keys.dedup();
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn renew(app: &App, request: &Request, in_path: &str) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let id = named(&mut fields, in_path)?;
    let increment = fields.seconds("increment")?.unwrap_or(0);
    let (key, _) = find(app, &id).await?.ok_or_else(|| AppError::invalid("lease not found"))?;
    let (token, lease_duration, warning) = tokens::renew_by(app, &key, increment).await?;
    Ok(Reply::envelope(Envelope {
        lease: Some((id, token.renewable)),
        lease_duration,
        warnings: warning.into_iter().collect(),
        mount_type: MOUNT_TYPE,
        ..Envelope::default()
    }))
}

async fn revoke(app: &App, request: &Request, in_path: &str) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    fields.known(&["sync"]);
    let id = named(&mut fields, in_path)?;
    if let Some((key, _)) = find(app, &id).await? {
        tokens::revoke(app, &key).await?;
    }
    Ok(Reply::empty())
}

async fn revoke_prefix(app: &App, prefix: &str) -> Result<Reply, AppError> {
    let bare = prefix.trim_end_matches('/');
    if bare.is_empty() {
        return Err(AppError::invalid("a prefix must be specified"));
    }
    // Whole segments only: auth/u is not auth/userpass.
    let below = format!("{bare}/");
    tokens::revoke_all(app, |token| token.expires.is_some() && id_of(token).starts_with(&below)).await?;
    Ok(Reply::empty())
}
