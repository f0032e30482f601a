//! From what an auth method learnt of somebody to a token.

use std::{collections::BTreeMap, time::Duration};

use store::records::Token;

use super::{
    caller::is_within,
    methods::{self, Site},
    terms::{Kind, Terms},
};
use crate::app::{
    App, AppError, Envelope, Reply, Request, identity,
    policy::DEFAULT,
    tokens::{self, Limits, Times},
};

/// Somebody whom an auth method knows.
pub(super) struct Login {
    /// The name by which the mount knows them.
    pub(super) alias: String,
    /// What is told about them: the token's `meta` and the alias's metadata.
    pub(super) metadata: BTreeMap<String, String>,
    /// Shown in lookups and audit lines.
    pub(super) display_name: String,
    /// The role or user whose terms hold, for renewals.
    pub(super) role: String,
    pub(super) terms: Terms,
}

/// Refuses a login that comes from where none may.
pub(super) fn check_origin(request: &Request, ranges: &[String], refused: &str) -> Result<(), AppError> {
    if is_within(ranges, request.remote.map(|remote| remote.ip())) {
        return Ok(());
    }
    Err(AppError::invalid(refused))
}

/// Makes the token and answers with it.
pub(super) async fn issue(at: &Site<'_>, request: &Request, login: Login) -> Result<Reply, AppError> {
    let Site { app, mount } = at;
    let Login { alias, metadata, display_name, role, terms } = login;
    let batch = match (Kind::parse(&mount.token_type), terms.kind) {
        (Some(fixed @ (Kind::Service | Kind::Batch)), _) => fixed.is_batch(),
        (usual, Kind::Default) => usual.is_some_and(Kind::is_batch),
        (_, kind) => kind.is_batch(),
    };
    if batch && (terms.num_uses > 0 || terms.period > 0 || terms.explicit_max_ttl > 0) {
        return Err(AppError::invalid(
            "this mount gives out batch tokens, which cannot be periodic, limited in uses or explicitly capped",
        ));
    }
    let entity = identity::of_login(app, mount.accessor.as_str(), &alias, &metadata).await?;
    if entity.disabled {
        return Err(AppError::no_token());
    }
    let mut warnings = Vec::new();
    let mut times = Times {
        ttl: terms.ttl,
        period: terms.period,
        explicit_max_ttl: terms.explicit_max_ttl,
        renewable: !batch,
        default_ttl: match mount.config.default_lease_ttl {
            0 => app.settings.default_lease_ttl,
            ttl => ttl,
        },
        max_ttl: max_ttl(at, &terms),
    };
    let lasts = times.settle(false, &mut warnings);
    let mut policies = terms.policies;
    if !terms.no_default_policy {
        policies.push(DEFAULT.to_owned());
        policies.sort();
        policies.dedup();
    }
    let now = app.clock.now();
    let token = Token {
        accessor: if batch { String::new() } else { tokens::base62(24, app.entropy.as_ref()) },
        policies,
        path: request.path.clone(),
        meta: (!metadata.is_empty()).then_some(metadata),
        display_name,
        num_uses: terms.num_uses,
        orphan: true,
        parent: None,
        created: now,
        creation_ttl: lasts,
        expires: Some(now.plus(Duration::from_secs(lasts))),
        explicit_max_ttl: times.explicit_max_ttl,
        renewable: times.renewable,
        period: times.period,
        role: Some(role),
        batch,
        entity: Some(entity.id),
        auth_mount: Some(mount.accessor.to_string()),
        bound_cidrs: terms.bound_cidrs,
        renewed: None,
    };
    let id = tokens::store_token(app, &token, None, None).await?;
    let auth = Some(tokens::auth_json(app, &token, Some(&id), lasts).await?);
    Ok(Reply::envelope(Envelope { auth, warnings, ..Envelope::default() }))
}

/// Seconds that a token lasts at most: the least of what the role, the mount and the system say.
fn max_ttl(at: &Site<'_>, terms: &Terms) -> u64 {
    let limits = [terms.max_ttl, at.mount.config.max_lease_ttl, at.app.settings.max_lease_ttl];
    limits.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
}

/// How long a token that an auth mount gave out may be made to last, by what its role says today.
pub(in crate::app) async fn renewal_limits(app: &App, token: &Token) -> Result<Limits, AppError> {
    let table = app.auth_table().await?;
    let mount =
        table.mounts.iter().find(|mount| Some(mount.accessor.as_str()) == token.auth_mount.as_deref());
    let found = mount.and_then(|mount| Some((mount, methods::method(&mount.method)?)));
    let (mount, method) = found.ok_or_else(|| AppError::invalid("token not found"))?;
    let at = Site { app, mount };
    let terms = method.terms(&at, token).await?;
    Ok(Limits { ttl: terms.ttl, max_ttl: max_ttl(&at, &terms), period: terms.period })
}
