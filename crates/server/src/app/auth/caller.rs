use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ipnet::IpNet;
use model::{SecretBytes, Timestamp};
use store::{Cached, RecordKey, Revision, StoreError, Stored, records::Token};

use crate::app::{
    ATTEMPTS, App, AppError, Request,
    entries::Kept,
    identity::{self, Entity},
    locks::stripe,
    policy::Acl,
};

/// A token longer than this is not looked up.
pub(crate) const LONGEST_TOKEN: usize = 8192;
/// What the text of a batch token begins with.
pub(crate) const BATCH: &str = "hvb.";

/// Who is calling.
pub struct Caller {
    /// Where the token's record is, or was if this was its last use. A batch token has none.
    pub key: Option<RecordKey<Token>>,
    /// The token, this use already taken off.
    pub token: Arc<Stored<Token>>,
    /// This was the last use that `num_uses` allowed: the record is gone.
    pub spent: bool,
    /// What the caller may do.
    pub(crate) acl: Arc<Acl>,
    /// Who the token stands for.
    pub(crate) entity: Option<Kept<Entity>>,
}

/// A token that is good.
pub(crate) struct Found {
    /// Where its record is. A batch token has none.
    pub(crate) key: Option<RecordKey<Token>>,
    pub(crate) token: Arc<Stored<Token>>,
}

/// Opened token records, a fixed number of them.
pub(crate) struct TokenCache(Box<[Cached<Token>]>);

impl Default for TokenCache {
    fn default() -> Self {
        Self((0..1024).map(|_| Cached::default()).collect())
    }
}

/// Tells who is calling, without counting it as a use. For paths that look at the token themselves.
pub(crate) async fn look(app: &App, request: &Request) -> Result<Caller, AppError> {
    let found = identify(app, request.token.as_ref()).await?;
    if !is_within(&found.token.record.bound_cidrs, request.remote.map(|remote| remote.ip())) {
        return Err(AppError::no_token());
    }
    let (acl, entity) = rights_of(app, &found.token.record).await?;
    Ok(Caller { key: found.key, token: found.token, spent: false, acl, entity })
}

/// Tells who is calling, and takes one use off a token that has a number of them.
///
/// # Errors
/// [`AppError::Denied`], with one text, for a token that is missing, unknown, expired, spent, used from
/// where it may not be, or whose parent, entity or auth mount is gone.
pub(crate) async fn authenticate(app: &App, request: &Request) -> Result<Caller, AppError> {
    let found = identify(app, request.token.as_ref()).await?;
    if !is_within(&found.token.record.bound_cidrs, request.remote.map(|remote| remote.ip())) {
        return Err(AppError::no_token());
    }
    let (found, spent) = match &found.key {
        Some(key) if found.token.record.num_uses > 0 => use_once(app, key, Arc::clone(&found.token)).await?,
        _ => (found, false),
    };
    let (acl, entity) = rights_of(app, &found.token.record).await?;
    Ok(Caller { key: found.key, token: found.token, spent, acl, entity })
}

/// What a token may do, and who it stands for.
pub(crate) async fn rights_of(
    app: &App,
    token: &Token,
) -> Result<(Arc<Acl>, Option<Kept<Entity>>), AppError> {
    let Some(id) = &token.entity else { return Ok((app.acls.acl(&token.policies, None).await?, None)) };
    let entity = identity::entity(&app.store, id).await?.ok_or_else(AppError::no_token)?;
    let acl = if entity.value.policies.is_empty() {
        app.acls.acl(&token.policies, Some(&entity)).await?
    } else {
        let mut policies: Vec<String> =
            token.policies.iter().chain(&entity.value.policies).cloned().collect();
        policies.sort();
        policies.dedup();
        app.acls.acl(&policies, Some(&entity)).await?
    };
    Ok((acl, Some(entity)))
}

/// Whether an address is in one of the ranges; no range means anywhere. From an address that is not
/// known nothing bound is let in.
pub(crate) fn is_within(ranges: &[String], address: Option<IpAddr>) -> bool {
    if ranges.is_empty() {
        return true;
    }
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    ranges.iter().filter_map(|range| range.parse::<IpNet>().ok()).any(|range| range.contains(&address))
}

/// Tells whose a token is, without counting it as a use.
pub(crate) async fn identify(app: &App, token: Option<&SecretBytes>) -> Result<Found, AppError> {
    let token = token.filter(|token| token.len() <= LONGEST_TOKEN).ok_or_else(AppError::no_token)?;
    // EXPOSE: to find its record, by a keyed digest, or to open what it carries.
    let text = token.expose();
    if let Some(sealed) = text.strip_prefix(BATCH.as_bytes()) {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| AppError::no_token())?;
        let record: Token = app.store.open_detached(&sealed).await?.ok_or_else(AppError::no_token)?;
        let token = Arc::new(Stored { record, revision: Revision(0) });
        let live = is_live(app, &token.record).await?;
        return if live { Ok(Found { key: None, token }) } else { Err(AppError::no_token()) };
    }
    let key = app.store.keys().token(text);
    match live_token(app, &key).await? {
        Some(token) => Ok(Found { key: Some(key), token }),
        None => Err(AppError::no_token()),
    }
}

/// The token under a key, unless it is dead.
pub(crate) async fn live_token(
    app: &App,
    key: &RecordKey<Token>,
) -> Result<Option<Arc<Stored<Token>>>, StoreError> {
    let Some(token) = cached(app, key).await? else { return Ok(None) };
    Ok(is_live(app, &token.record).await?.then_some(token))
}

/// Whether a token has not expired, and neither it nor one of its ancestors has, and what gave it out and
/// who it stands for are still there. A token's life thus ends with that of what it hangs on in the same
/// instant, whenever its own record is swept.
async fn is_live(app: &App, token: &Token) -> Result<bool, StoreError> {
    let now = app.clock.now();
    if !unexpired(token, now) || !app.stands(token).await? {
        return Ok(false);
    }
    let mut parent = token.parent.clone();
    while let Some(accessor) = &parent {
        let Some(key) = key_of_accessor(app, accessor).await? else { return Ok(false) };
        let Some(ancestor) = cached(app, &key).await? else { return Ok(false) };
        if !unexpired(&ancestor.record, now) || !app.stands(&ancestor.record).await? {
            return Ok(false);
        }
        parent.clone_from(&ancestor.record.parent);
    }
    Ok(true)
}

impl App {
    /// Whether a token's auth mount and entity are still there, and the entity is not disabled.
    async fn stands(&self, token: &Token) -> Result<bool, StoreError> {
        if let Some(id) = &token.entity
            && identity::entity(&self.store, id).await?.is_none_or(|entity| entity.value.disabled)
        {
            return Ok(false);
        }
        match &token.auth_mount {
            Some(accessor) => {
                Ok(self.auth_table().await?.mounts.iter().any(|m| m.accessor.as_str() == accessor))
            }
            None => Ok(true),
        }
    }
}

fn unexpired(token: &Token, now: Timestamp) -> bool {
    token.expires.is_none_or(|expires| now < expires)
}

async fn cached(app: &App, key: &RecordKey<Token>) -> Result<Option<Arc<Stored<Token>>>, StoreError> {
    let cache = &app.tokens.0[stripe(key.as_bytes(), app.tokens.0.len())];
    app.store.get_cached(key, cache).await
}

/// Where the token with an accessor is.
pub(crate) async fn key_of_accessor(
    app: &App,
    accessor: &str,
) -> Result<Option<RecordKey<Token>>, StoreError> {
    let found = app.store.get(&app.store.keys().token_by_accessor(accessor)).await?;
    Ok(found.map(|found| found.record.token()))
}

/// Takes one use off, exactly: of many requests at once only as many pass as uses are left. The last
/// use removes the token before the request goes on, so that nothing can use it again.
async fn use_once(
    app: &App,
    key: &RecordKey<Token>,
    mut token: Arc<Stored<Token>>,
) -> Result<(Found, bool), AppError> {
    let found = |token| Found { key: Some(key.clone()), token };
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let mut left = token.record.clone();
        if left.num_uses == 0 {
            return Ok((found(token), false));
        }
        left.num_uses -= 1;
        let spent = left.num_uses == 0;
        let mut transaction = app.store.transaction();
        transaction.expect(key, Some(token.revision));
        if spent {
            transaction.delete(key).delete(&app.store.keys().token_by_accessor(&left.accessor));
        } else {
            transaction.put(key, &left);
        }
        match transaction.commit().await {
            Ok(revision) => return Ok((found(Arc::new(Stored { record: left, revision })), spent)),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
        token = live_token(app, key).await?.ok_or_else(AppError::no_token)?;
    }
    Err(StoreError::Conflict.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold() {
        let ranges = ["10.0.0.0/8".to_owned(), "::1/128".to_owned(), "broken".to_owned()];
        for (address, within) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("::1", true),
            ("11.0.0.1", false),
            ("::2", false),
        ] {
            assert_eq!(is_within(&ranges, address.parse().ok()), within, "{address}");
        }
        assert!(is_within(&[], None));
        assert!(!is_within(&ranges, None));
    }
}
