//! `sys/namespaces`: there is the root namespace, and no other.

use super::{AppError, Operation, Reply, Request};

/// What is said of any other namespace.
pub(crate) const ROOT_ONLY: &str = "namespace not found: this server has the root namespace only";

/// `sys/namespaces/<name>`, or the list for an empty name.
pub(super) fn handle(request: &Request, name: &str) -> Result<Reply, AppError> {
    match (request.operation, name) {
        // As of a server on which nobody has made one yet.
        (Operation::List | Operation::Scan | Operation::Read, _) => match (request.operation, name) {
            (Operation::Read, "") => Err(AppError::UnsupportedOperation),
            _ => Err(AppError::not_found()),
        },
        (_, "") => Err(AppError::UnsupportedOperation),
        (Operation::Delete, _) => Ok(Reply::empty().warn("requested namespace does not exist")),
        (Operation::Write | Operation::Patch, _) => Err(AppError::invalid(
            "namespaces are not available in keyferry: this server has the root namespace only",
        )),
    }
}
