//! Who is calling, and what they may do. Two functions decide: [`authenticate`] and [`authorize`].

use std::sync::Arc;

use model::{SecretBytes, Timestamp};
use store::{Cached, RecordKey, StoreError, Stored, records::Token};

use super::{
    ATTEMPTS, App, AppError, Capability, Fields, Operation, Reply, Request,
    json::{self, Json},
    locks::stripe,
};

/// A token longer than this is not looked up.
const LONGEST_TOKEN: usize = 4096;

/// Who is calling.
pub struct Caller {
    /// Where the token's record is, or was if this was its last use.
    pub key: RecordKey<Token>,
    /// The token, this use already taken off.
    pub token: Arc<Stored<Token>>,
    /// This was the last use that `num_uses` allowed: the record is gone.
    pub spent: bool,
}

/// Opened token records, a fixed number of them.
pub(crate) struct TokenCache(Box<[Cached<Token>]>);

impl Default for TokenCache {
    fn default() -> Self {
        Self((0..1024).map(|_| Cached::default()).collect())
    }
}

/// Tells who is calling, and takes one use off a token that has a number of them.
///
/// # Errors
/// [`AppError::Denied`], with one text, for a token that is missing, unknown, expired, spent or whose
/// parent is gone.
pub(crate) async fn authenticate(app: &App, token: Option<&SecretBytes>) -> Result<Caller, AppError> {
    let caller = identify(app, token).await?;
    if caller.token.record.num_uses == 0 { Ok(caller) } else { use_once(app, caller).await }
}

/// Tells who is calling, without counting it as a use.
pub(crate) async fn identify(app: &App, token: Option<&SecretBytes>) -> Result<Caller, AppError> {
    let token = token.filter(|token| token.len() <= LONGEST_TOKEN).ok_or_else(AppError::no_token)?;
    // EXPOSE: to find its record, by a keyed digest.
    let key = app.store.keys().token(token.expose());
    match live_token(app, &key).await? {
        Some(token) => Ok(Caller { key, token, spent: false }),
        None => Err(AppError::no_token()),
    }
}

/// The token under a key, unless it or one of its ancestors is gone or expired. A child's life thus
/// ends with its parent's in the same instant, whenever its own record is swept.
pub(crate) async fn live_token(
    app: &App,
    key: &RecordKey<Token>,
) -> Result<Option<Arc<Stored<Token>>>, StoreError> {
    let now = app.clock.now();
    let Some(token) = unexpired(app, key, now).await? else { return Ok(None) };
    let mut parent = token.record.parent.clone();
    while let Some(accessor) = &parent {
        let Some(key) = key_of_accessor(app, accessor).await? else { return Ok(None) };
        let Some(ancestor) = unexpired(app, &key, now).await? else { return Ok(None) };
        parent.clone_from(&ancestor.record.parent);
    }
    Ok(Some(token))
}

async fn unexpired(
    app: &App,
    key: &RecordKey<Token>,
    now: Timestamp,
) -> Result<Option<Arc<Stored<Token>>>, StoreError> {
    let cache = &app.tokens.0[stripe(key.as_bytes(), app.tokens.0.len())];
    let token = app.store.get_cached(key, cache).await?;
    Ok(token.filter(|token| token.record.expires.is_none_or(|expires| now < expires)))
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
async fn use_once(app: &App, caller: Caller) -> Result<Caller, AppError> {
    let Caller { key, mut token, .. } = caller;
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let mut left = token.record.clone();
        if left.num_uses == 0 {
            return Ok(Caller { key, token, spent: false });
        }
        left.num_uses -= 1;
        let spent = left.num_uses == 0;
        let mut transaction = app.store.transaction();
        transaction.expect(&key, Some(token.revision));
        if spent {
            transaction.delete(&key).delete(&app.store.keys().token_by_accessor(&left.accessor));
        } else {
            transaction.put(&key, &left);
        }
        match transaction.commit().await {
            Ok(revision) => {
                return Ok(Caller { key, token: Arc::new(Stored { record: left, revision }), spent });
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
        token = live_token(app, &key).await?.ok_or_else(AppError::no_token)?;
    }
    Err(StoreError::Conflict.into())
}

/// Whether a token may do a thing at a path. The one place where that is decided.
pub(crate) fn authorize(token: &Token, capability: Capability, path: &str) -> Result<(), AppError> {
    match rights(token, path) {
        Rights::All => Ok(()),
        Rights::Some(capabilities) if capabilities.contains(&capability) => Ok(()),
        Rights::Some(_) => Err(AppError::denied()),
    }
}

/// What a token may do at a path.
enum Rights {
    /// Everything, as `root` may.
    All,
    /// This; nothing when empty.
    Some(&'static [Capability]),
}

/// What policy `default` lets every token do with itself.
const DEFAULT_POLICY: &[(&str, &[Capability])] = &[
    ("auth/token/lookup-self", &[Capability::Read]),
    ("auth/token/renew-self", &[Capability::Update]),
    ("auth/token/revoke-self", &[Capability::Update]),
    ("sys/capabilities-self", &[Capability::Update]),
];

/// `root` is everything and `default` is a token's care for itself. No other policy has rules, so no
/// other gives a right.
fn rights(token: &Token, path: &str) -> Rights {
    if token.policies.iter().any(|policy| policy == "root") {
        return Rights::All;
    }
    let rule = DEFAULT_POLICY.iter().find(|(rule, _)| *rule == path);
    match rule {
        Some((_, capabilities)) if token.policies.iter().any(|policy| policy == "default") => {
            Rights::Some(capabilities)
        }
        _ => Rights::Some(&[]),
    }
}

/// Whether a token may do anything at all at or below a mount, which decides whether it may know of
/// it.
pub(crate) fn may_see_mount(token: &Token, mount_path: &str) -> bool {
    match rights(token, mount_path) {
        Rights::All => true,
        Rights::Some(capabilities) => {
            !capabilities.is_empty()
                || (token.policies.iter().any(|policy| policy == "default")
                    && DEFAULT_POLICY.iter().any(|(rule, _)| rule.starts_with(mount_path)))
        }
    }
}

/// `sys/capabilities-self`.
pub(super) fn capabilities_self(caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    fields.known(&["token"]);
    capabilities(&caller.token.record, fields)
}

/// `sys/capabilities`.
pub(super) async fn capabilities_of_token(app: &App, request: &Request) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    let token = fields.secret("token")?;
    match identify(app, token.as_ref()).await {
        Ok(caller) => capabilities(&caller.token.record, fields),
        Err(AppError::Denied(_)) => Err(AppError::invalid("1 error occurred:\n\t* invalid token\n\n")),
        Err(other) => Err(other),
    }
}

/// `sys/capabilities-accessor`.
pub(super) async fn capabilities_of_accessor(app: &App, request: &Request) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    let accessor = fields.text("accessor")?.unwrap_or_default();
    let token = match key_of_accessor(app, &accessor).await? {
        Some(key) => live_token(app, &key).await?,
        None => None,
    };
    match token {
        Some(token) => capabilities(&token.record, fields),
        None => Err(AppError::invalid("1 error occurred:\n\t* invalid accessor\n\n")),
    }
}

fn require_write(request: &Request) -> Result<(), AppError> {
    match request.operation {
        Operation::Write => Ok(()),
        _ => Err(AppError::UnsupportedOperation),
    }
}

fn capabilities(token: &Token, mut fields: Fields) -> Result<Reply, AppError> {
    let mut paths = fields.list("paths")?.unwrap_or_default();
    if paths.is_empty() {
        paths = fields.list("path")?.unwrap_or_default();
    }
    if paths.is_empty() {
        return Err(AppError::invalid("paths must be supplied"));
    }
    let words = |path: &str| -> Json {
        match rights(token, path.strip_prefix('/').unwrap_or(path)) {
            Rights::All => json::text(&["root"]),
            Rights::Some([]) => json::text(&["deny"]),
            Rights::Some(some) => json::text(&some.iter().map(|c| c.as_str()).collect::<Vec<_>>()),
        }
    };
    paths.sort();
    paths.dedup();
    let reply = Reply::object("system", |o| {
        if let [path] = paths.as_slice() {
            o.put_json("capabilities", &words(path));
        }
        for path in &paths {
            o.put_json(path, &words(path));
        }
    });
    fields.known(&["path"]);
    Ok(reply.injected().warn_of_unknown(fields.unknown()))
}
