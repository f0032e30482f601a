//! Machines: a role id that may be known, and a secret id that may not (kv-v2-api.md 8).
//!
//! A secret id is a random UUID, or what its maker chose. Only a keyed digest of it is kept. No name is
//! locked after failures here: a secret id cannot be guessed, and a role id, which is no secret, would be
//! enough to keep a whole fleet out.

mod parts;
mod roles;
mod secrets;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use store::{StoreError, records::Token};

use super::{
    login::{Login, check_origin, issue},
    methods::{Method, Site},
    terms::Terms,
};
use crate::app::{AppError, Fields, Operation, Reply, Request, entries::Table};

const MOUNT_TYPE: &str = "approle";
/// One text, whatever is wrong.
const REFUSED: &str = "invalid role or secret ID";

/// The method.
pub(super) struct AppRole;

#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default)]
struct Role {
    #[serde(rename = "role_id")]
    id: String,
    bind_secret_id: bool,
    secret_id_bound_cidrs: Vec<String>,
    secret_id_num_uses: u64,
    secret_id_ttl: u64,
    terms: Terms,
}

fn roles<'a>(at: &Site<'a>) -> Table<'a, Role> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "role")
}

/// Role id → role.
fn role_ids<'a>(at: &Site<'a>) -> Table<'a, String> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "role-id")
}

#[async_trait]
impl Method for AppRole {
    fn slug(&self) -> &'static str {
        MOUNT_TYPE
    }

    fn is_open(&self, rest: &str, operation: Operation) -> bool {
        operation == Operation::Write && rest == "login"
    }

    async fn exists(&self, at: &Site<'_>, rest: &str) -> Result<bool, AppError> {
        match rest.strip_prefix("role/") {
            Some(name) if !name.contains('/') => Ok(roles(at).get(&name.to_lowercase()).await?.is_some()),
            _ => Ok(true),
        }
    }

    async fn handle(&self, at: &Site<'_>, request: &Request, rest: &str) -> Result<Reply, AppError> {
        use Operation::{Delete, List, Read, Write};
        let parts: Vec<_> = rest.split('/').collect();
        let role = parts.get(1).map(|name| name.to_lowercase()).unwrap_or_default();
        match (request.operation, parts.as_slice()) {
            (Write, ["login"]) => login(at, request).await,
            (List, ["role", ""]) => roles::list(at).await,
            (Read, ["role", _]) => roles::read(at, &role).await,
            (Write, ["role", _]) => roles::write(at, request, &role).await,
            (Delete, ["role", _]) => roles::delete(at, &role).await,
            (Read, ["role", _, "role-id"]) => roles::read_id(at, &role).await,
            (Write, ["role", _, "role-id"]) => roles::write_id(at, request, &role).await,
            (Write, ["role", _, "secret-id"]) => secrets::make(at, request, &role, false).await,
            (List, ["role", _, "secret-id", ""]) => secrets::list(at, &role).await,
            (Write, ["role", _, "custom-secret-id"]) => secrets::make(at, request, &role, true).await,
            (Write, ["role", _, "secret-id", "lookup"]) => secrets::lookup(at, request, &role).await,
            (Write | Delete, ["role", _, "secret-id", "destroy"]) => {
                secrets::destroy(at, request, &role).await
            }
            (Write, ["role", _, "secret-id-accessor", "lookup"]) => {
                secrets::lookup_accessor(at, request, &role).await
            }
            (Write | Delete, ["role", _, "secret-id-accessor", "destroy"]) => {
                secrets::destroy_accessor(at, request, &role).await
            }
            (Write, ["tidy", "secret-id"]) => {
                at.app.chores.wake();
                let reply = Reply::empty().warn("Tidy operation successfully started.");
                Ok(Reply { status: 202, ..reply })
            }
            (_, ["role", _, part]) if parts::is_one(part) => parts::handle(at, request, &role, part).await,
            (_, ["login"] | ["role", _] | ["role", _, "role-id" | "secret-id" | "custom-secret-id"]) => {
                Err(AppError::UnsupportedOperation)
            }
            (
                _,
                ["role", _, "secret-id" | "secret-id-accessor", "lookup" | "destroy"] | ["tidy", "secret-id"],
            ) => Err(AppError::UnsupportedOperation),
            _ => Err(AppError::unsupported_path()),
        }
    }

    async fn terms(&self, at: &Site<'_>, token: &Token) -> Result<Terms, AppError> {
        let role = roles(at).get(token.role.as_deref().unwrap_or_default()).await?;
        let role = role.ok_or_else(|| AppError::invalid("the role of this token is gone, not renewing"))?;
        Ok(role.value.terms)
    }

    async fn tidy(&self, at: &Site<'_>) -> Result<(), StoreError> {
        secrets::tidy(at).await
    }
}

async fn login(at: &Site<'_>, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let role_id = fields.text("role_id")?.filter(|id| !id.is_empty());
    let role_id = role_id.ok_or_else(|| AppError::invalid("missing role_id"))?;
    let secret_id = fields.secret("secret_id")?.filter(|id| !id.is_empty());
    let refused = || AppError::invalid(REFUSED);
    let name = role_ids(at).get(&role_id).await?.ok_or_else(refused)?.value;
    let role = roles(at).get(&name).await?.ok_or_else(refused)?.value;
    let mut metadata = BTreeMap::from([("role_name".to_owned(), name.clone())]);
    let mut terms = role.terms;
    if role.bind_secret_id {
        let secret_id = secret_id.ok_or_else(|| AppError::invalid("missing secret_id"))?;
        let secret = secrets::spend(at, request, &name, &secret_id, &role.secret_id_bound_cidrs).await?;
        let secret = secret.ok_or_else(refused)?;
        metadata.extend(secret.metadata);
        if !secret.token_bound_cidrs.is_empty() {
            terms.bound_cidrs = secret.token_bound_cidrs;
        }
    }
    check_origin(request, &terms.bound_cidrs, REFUSED)?;
    let login = Login {
        alias: role_id,
        metadata,
        display_name: at.mount.path.bare().replace('/', "-"),
        role: name,
        terms,
    };
    issue(at, request, login).await
}
