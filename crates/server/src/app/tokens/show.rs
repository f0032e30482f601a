//! How tokens are shown.

use model::{SecretBytes, Timestamp};
use store::{StoreError, records::Token};

use super::MOUNT_TYPE;
use crate::app::{
    App, AppError, Reply,
    auth::live_token,
    identity,
    json::{self, Json, Object},
};

/// What a lookup tells.
pub(super) async fn lookup_reply(
    app: &App,
    token: &Token,
    id: Option<&SecretBytes>,
    spent: bool,
) -> Result<Reply, AppError> {
    let now = app.clock.now();
    let identity_policies = identity_policies(app, token).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("accessor", &token.accessor);
        if !token.bound_cidrs.is_empty() {
            o.put("bound_cidrs", &token.bound_cidrs);
        }
        o.put("creation_time", &token.created.as_secs())
            .put("creation_ttl", &token.creation_ttl)
            .put("display_name", &token.display_name)
            .put("entity_id", token.entity.as_deref().unwrap_or_default());
        put_time(o, "expire_time", token.expires);
        o.put("explicit_max_ttl", &token.explicit_max_ttl);
        // EXPOSE: whoever asks about a token by its text is told that text, as Vault does.
        o.put("id", id.and_then(|id| id.expose_text().ok()).unwrap_or_default());
        if !identity_policies.is_empty() {
            o.put("identity_policies", &identity_policies);
        }
        put_time(o, "issue_time", Some(token.created));
        if let Some(renewed) = token.renewed {
            o.put("last_renewal_time", &renewed.as_secs());
            put_time(o, "last_renewal", Some(renewed));
        }
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
            .put("type", kind(token));
        if let Some(role) = &token.role {
            o.put("role", role);
        }
    }))
}

fn kind(token: &Token) -> &'static str {
    if token.batch { "batch" } else { "service" }
}

fn put_time(o: &mut Object<'_>, name: &str, time: Option<Timestamp>) {
    match time {
        Some(time) => o.put_plain(name, time),
        None => o.put(name, &None::<()>),
    };
}

/// The policies that a token has besides its own, from whom it stands for.
async fn identity_policies(app: &App, token: &Token) -> Result<Vec<String>, StoreError> {
    let Some(id) = &token.entity else { return Ok(Vec::new()) };
    Ok(identity::entity(&app.store, id).await?.map(|entity| entity.value.policies).unwrap_or_default())
}

/// The `auth` object that create, renew and logins answer with.
pub(crate) async fn auth_json(
    app: &App,
    token: &Token,
    id: Option<&SecretBytes>,
    lease_duration: u64,
) -> Result<Json, AppError> {
    let identity_policies = identity_policies(app, token).await?;
    let mut all: Vec<&String> = token.policies.iter().chain(&identity_policies).collect();
    all.sort();
    all.dedup();
    Ok(json::object_with_room(768, |o| {
        // EXPOSE: a token is told to whoever made it or named it.
        o.put("client_token", id.and_then(|id| id.expose_text().ok()).unwrap_or_default())
            .put("accessor", &token.accessor)
            .put("policies", &all)
            .put("token_policies", &token.policies);
        if !identity_policies.is_empty() {
            o.put("identity_policies", &identity_policies);
        }
        o.put("metadata", &token.meta)
            .put("lease_duration", &lease_duration)
            .put("renewable", &token.renewable)
            .put("entity_id", token.entity.as_deref().unwrap_or_default())
            .put("token_type", kind(token))
            .put("orphan", &token.orphan)
            .put("mfa_requirement", &None::<()>)
            .put("num_uses", &token.num_uses);
    }))
}

/// `auth/token/accessors`.
pub(super) async fn accessors(app: &App) -> Result<Reply, AppError> {
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
