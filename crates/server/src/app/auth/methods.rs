//! The seam between the server and a way to log in.

use async_trait::async_trait;
use store::{
    StoreError,
    records::{AuthMount, Token},
};

use super::{approle::AppRole, caller::Caller, jwt::Jwt, terms::Terms, userpass::UserPass};
use crate::app::{App, AppError, Operation, Reply, Request, Work, tokens};

/// A way to log in. It has no state of its own: what it knows is in tables that belong to its mounts.
#[async_trait]
pub(crate) trait Method: Send + Sync {
    /// The word of `sys/auth`: `approle`.
    fn slug(&self) -> &'static str;

    /// Whether a path below the mount is for those who have no token yet.
    fn is_open(&self, rest: &str, operation: Operation) -> bool;

    /// Whether what a write names is there, for the choice between `create` and `update`.
    async fn exists(&self, at: &Site<'_>, rest: &str) -> Result<bool, AppError>;

    /// Answers a request that is allowed, or open.
    async fn handle(&self, at: &Site<'_>, request: &Request, rest: &str) -> Result<Reply, AppError>;

    /// What the role or user that a token came from says today; an error when it is gone.
    async fn terms(&self, at: &Site<'_>, token: &Token) -> Result<Terms, AppError>;

    /// Removes what has expired.
    async fn tidy(&self, at: &Site<'_>) -> Result<(), StoreError>;
}

/// One mount of a method.
pub(crate) struct Site<'a> {
    pub(crate) app: &'a App,
    pub(crate) mount: &'a AuthMount,
}

/// Every method there is, in the order of their slugs. Tokens are not among them: they are what the
/// others give out.
pub(super) const ALL: [&dyn Method; 3] = [&AppRole, &Jwt, &UserPass];

pub(super) fn method(slug: &str) -> Option<&'static dyn Method> {
    ALL.into_iter().find(|method| method.slug() == slug)
}

/// What answers a request that needs no token, if it is such.
pub(in crate::app) async fn open<'a>(
    app: &'a App,
    request: &'a Request,
) -> Result<Option<Work<'a>>, AppError> {
    let Some(path) = request.path.strip_prefix("auth/") else { return Ok(None) };
    let table = app.auth_table().await?;
    let found =
        find(&table.mounts, path).and_then(|(mount, rest)| Some((mount, method(&mount.method)?, rest)));
    let Some((mount, method, rest)) =
        found.filter(|(_, method, rest)| method.is_open(rest, request.operation))
    else {
        return Ok(None);
    };
    let mount = mount.clone();
    Ok(Some(Box::pin(async move {
        let reply = method.handle(&Site { app, mount: &mount }, request, rest).await?;
        Ok(reply.of_engine(method.slug()))
    })))
}

/// Answers an authorised request below `auth/`.
pub(in crate::app) async fn handle(
    app: &App,
    caller: &Caller,
    request: &Request,
    path: &str,
) -> Result<Reply, AppError> {
    if let Some(rest) = path.strip_prefix("token/") {
        return tokens::handle(app, caller, request, rest).await;
    }
    let table = app.auth_table().await?;
    let no_route = || AppError::no_route(&request.path);
    let (mount, rest) = find(&table.mounts, path).ok_or_else(no_route)?;
    let method = method(&mount.method).ok_or_else(no_route)?;
    Ok(method.handle(&Site { app, mount }, request, rest).await?.of_engine(method.slug()))
}

/// Whether what a write below `auth/` names is there.
pub(in crate::app) async fn exists(app: &App, path: &str) -> Result<bool, AppError> {
    if let Some(rest) = path.strip_prefix("token/") {
        return match rest.strip_prefix("roles/") {
            Some(name) => tokens::role_exists(app, name).await,
            None => Ok(true),
        };
    }
    let table = app.auth_table().await?;
    match find(&table.mounts, path).and_then(|(mount, rest)| Some((mount, method(&mount.method)?, rest))) {
        Some((mount, method, rest)) => method.exists(&Site { app, mount }, rest).await,
        None => Ok(true),
    }
}

/// The mount that a path below `auth/` is in. No mount is below another.
fn find<'t, 'p>(mounts: &'t [AuthMount], path: &'p str) -> Option<(&'t AuthMount, &'p str)> {
    mounts.iter().find_map(|mount| Some((mount, path.strip_prefix(mount.path.as_str())?)))
}
