//! Renewing.

use model::{SecretBytes, Timestamp};
use store::{RecordKey, StoreError, records::Token};

use super::{MOUNT_TYPE, auth_json, create::short, roles};
use crate::app::{ATTEMPTS, App, AppError, Envelope, Fields, Reply, auth, auth::live_token};

/// How long a token may be made to last, by whom it came from.
pub(crate) struct Limits {
    /// Seconds that it gets when it does not ask; 0 = what it last got.
    pub(crate) ttl: u64,
    /// Seconds from its making on; 0 = the system's.
    pub(crate) max_ttl: u64,
    /// Seconds; 0 = not periodic.
    pub(crate) period: u64,
}

/// Renews the token under a key; a batch token has none, and cannot be renewed.
pub(super) async fn renew(
    app: &App,
    key: Option<&RecordKey<Token>>,
    id: Option<&SecretBytes>,
    mut fields: Fields,
) -> Result<Reply, AppError> {
    let key = key.ok_or_else(|| AppError::invalid("batch tokens cannot be renewed"))?;
    let increment = fields.seconds("increment")?.unwrap_or(0);
    let unknown = fields.unknown();
    let (renewed, ttl, warning) = renew_by(app, key, increment).await?;
    let auth = Some(auth_json(app, &renewed, id, ttl).await?);
    let warnings = warning.into_iter().collect();
    let envelope = Envelope { auth, warnings, mount_type: MOUNT_TYPE, ..Envelope::default() };
    Ok(Reply::envelope(envelope).warn_of_unknown(unknown))
}

/// Renews a token; tells it, its seconds from now, and a warning when it wanted more.
pub(crate) async fn renew_by(
    app: &App,
    key: &RecordKey<Token>,
    increment: u64,
) -> Result<(Token, u64, Option<String>), AppError> {
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let token = live_token(app, key).await?.ok_or_else(|| AppError::invalid("token not found"))?;
        let now = app.clock.now();
        let mut renewed = token.record.clone();
        if !renewed.renewable {
            return Err(AppError::invalid("lease is not renewable"));
        }
        let limits = limits(app, &renewed).await?;
        renewed.period = limits.period;
        let (ttl, warning) = renewed_ttl(app, &renewed, &limits, increment, now)?;
        renewed.expires = Some(now.plus(std::time::Duration::from_secs(ttl)));
        renewed.renewed = Some(now);
        let mut transaction = app.store.transaction();
        transaction.expect(key, Some(token.revision)).put(key, &renewed);
        match transaction.commit().await {
            Ok(_) => return Ok((renewed, ttl, warning)),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// What whoever gave the token out says about it today.
async fn limits(app: &App, token: &Token) -> Result<Limits, AppError> {
    if token.auth_mount.is_some() {
        return auth::renewal_limits(app, token).await;
    }
    let period = match &token.role {
        None => token.period,
        Some(name) => {
            let role = roles::table(&app.store).get(name).await?;
            let gone = || AppError::invalid("original token role could not be found, not renewing");
            role.ok_or_else(gone)?.value.period
        }
    };
    Ok(Limits { ttl: 0, max_ttl: 0, period })
}

/// The seconds that a token got when it was last renewed, or made.
fn last_ttl(token: &Token) -> u64 {
    match (token.renewed, token.expires) {
        (Some(renewed), Some(expires)) => expires.since(renewed).as_secs(),
        _ => token.creation_ttl,
    }
}

/// How many seconds a renewed token has from now, and a warning when it wanted more.
fn renewed_ttl(
    app: &App,
    token: &Token,
    limits: &Limits,
    increment: u64,
    now: Timestamp,
) -> Result<(u64, Option<String>), AppError> {
    let wanted = match (limits.period, increment, limits.ttl) {
        (0, 0, 0) => last_ttl(token),
        (0, 0, ttl) => ttl,
        (0, increment, _) => increment,
        (period, ..) => period,
    };
    let system = match limits.max_ttl {
        0 => app.settings.max_lease_ttl,
        max => max.min(app.settings.max_lease_ttl),
    };
    let max = match (token.explicit_max_ttl, limits.period) {
        (0, 0) => system,
        // A periodic token without an explicit maximum can be renewed for ever.
        (0, _) => return Ok((wanted, None)),
        (explicit, 0) => explicit.min(system),
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
