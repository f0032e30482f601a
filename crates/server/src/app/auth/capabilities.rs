//! `sys/capabilities*` (kv-v2-api.md 6.4).

use super::{Caller, identify, key_of_accessor, live_token, rights_of};
use crate::app::{App, AppError, Fields, Operation, Reply, Request, policy::Acl};

/// `sys/capabilities-self`.
pub(in crate::app) fn capabilities_self(caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    fields.known(&["token"]);
    capabilities(&caller.acl, fields)
}

/// `sys/capabilities`.
pub(in crate::app) async fn capabilities_of_token(app: &App, request: &Request) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    let token = fields.secret("token")?;
    match identify(app, token.as_ref()).await {
        Ok(found) => capabilities(&rights_of(app, &found.token.record).await?.0, fields),
        Err(AppError::Denied(_)) => Err(AppError::invalid("1 error occurred:\n\t* invalid token\n\n")),
        Err(other) => Err(other),
    }
}

/// `sys/capabilities-accessor`.
pub(in crate::app) async fn capabilities_of_accessor(
    app: &App,
    request: &Request,
) -> Result<Reply, AppError> {
    require_write(request)?;
    let mut fields = Fields::of(request)?;
    let accessor = fields.text("accessor")?.filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| AppError::invalid("missing accessor"))?;
    let token = match key_of_accessor(app, &accessor).await? {
        Some(key) => live_token(app, &key).await?,
        None => None,
    };
    match token {
        Some(token) => capabilities(&rights_of(app, &token.record).await?.0, fields),
        None => Err(AppError::invalid("1 error occurred:\n\t* invalid accessor\n\n")),
    }
}

fn require_write(request: &Request) -> Result<(), AppError> {
    match request.operation {
        Operation::Write => Ok(()),
        _ => Err(AppError::UnsupportedOperation),
    }
}

fn capabilities(acl: &Acl, mut fields: Fields) -> Result<Reply, AppError> {
    let mut paths = fields.list("paths")?.unwrap_or_default();
    if paths.is_empty() {
        paths = fields.list("path")?.unwrap_or_default();
    }
    if paths.is_empty() {
        return Err(AppError::invalid("paths must be supplied"));
    }
    let words = |path: &str| acl.capabilities(path.strip_prefix('/').unwrap_or(path));
    paths.sort();
    paths.dedup();
    let reply = Reply::object("system", |o| {
        if let [path] = paths.as_slice() {
            o.put("capabilities", &words(path));
        }
        for path in &paths {
            o.put(path, &words(path));
        }
    });
    fields.known(&["path"]);
    Ok(reply.injected().warn_of_unknown(fields.unknown()))
}
