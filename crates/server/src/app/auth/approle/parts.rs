//! `role/<name>/<part>`: one parameter of a role by itself.

use serde_json::{Value, json};

use super::{MOUNT_TYPE, roles};
use crate::app::{AppError, Fields, Operation, Reply, Request, auth::methods::Site};

/// The part's path, its parameter, and, as JSON, what it is when nobody says.
const PARTS: &[(&str, &str, &str)] = &[
    ("policies", "token_policies", "[]"),
    ("token-ttl", "token_ttl", "0"),
    ("token-max-ttl", "token_max_ttl", "0"),
    ("token-num-uses", "token_num_uses", "0"),
    ("token-bound-cidrs", "token_bound_cidrs", "[]"),
    ("period", "token_period", "0"),
    ("secret-id-ttl", "secret_id_ttl", "0"),
    ("secret-id-num-uses", "secret_id_num_uses", "0"),
    ("secret-id-bound-cidrs", "secret_id_bound_cidrs", "[]"),
    ("bind-secret-id", "bind_secret_id", "true"),
];

pub(super) fn is_one(part: &str) -> bool {
    PARTS.iter().any(|(path, ..)| *path == part)
}

pub(super) async fn handle(
    at: &Site<'_>,
    request: &Request,
    role: &str,
    part: &str,
) -> Result<Reply, AppError> {
    let found = PARTS.iter().find(|(path, ..)| *path == part);
    let (_, name, otherwise) = found.ok_or_else(AppError::unsupported_path)?;
    // A role that is not there is not made by one of its parts.
    let shown: Value = serde_json::from_slice(&roles::shown(at, role).await?).unwrap_or_default();
    let value = match request.operation {
        Operation::Read => {
            return Ok(Reply::object(MOUNT_TYPE, |o| {
                o.put(name, &shown[*name]);
            }));
        }
        Operation::Write => {
            let mut fields = Fields::of(request)?;
            let older = if *name == "token_policies" { fields.get("policies").cloned() } else { None };
            let given = fields.get(name).cloned().or(older);
            given.ok_or_else(|| AppError::invalid(format!("missing {name}")))?
        }
        Operation::Delete => serde_json::from_str(otherwise).unwrap_or_default(),
        _ => return Err(AppError::UnsupportedOperation),
    };
    let one = json!({ *name: value });
    roles::write_by(at, role, &|| Ok(Fields::nested(&one))).await
}
