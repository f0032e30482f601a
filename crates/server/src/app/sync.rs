//! The place of `sys/sync/*` and `sys/activation-flags*`.

use super::{App, AppError, Reply, Request, auth::Caller};

/// Whether a path belongs here.
pub(super) fn owns(path: &str) -> bool {
    path == "sys/sync"
        || path.starts_with("sys/sync/")
        || path == "sys/activation-flags"
        || path.starts_with("sys/activation-flags/")
}

/// Answers what needs no token, if `request` is that.
#[expect(clippy::unused_async, reason = "the use cases that come here wait for the store")]
pub(super) async fn handle_open(_app: &App, _request: &Request) -> Option<Result<Reply, AppError>> {
    None
}

/// Whether what a write names exists already: then it is an update and not a creation. Paths that
/// know no such difference are updates.
#[expect(clippy::unused_async, reason = "the use cases that come here wait for the store")]
pub(super) async fn exists(_app: &App, _path: &str) -> Result<bool, AppError> {
    Ok(true)
}

/// Answers an authorised request.
#[expect(clippy::unused_async, reason = "the use cases that come here wait for the store")]
pub(super) async fn handle(_app: &App, _caller: &Caller, _request: &Request) -> Result<Reply, AppError> {
    Err(AppError::unsupported_path())
}
