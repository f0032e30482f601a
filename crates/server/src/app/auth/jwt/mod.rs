//! Bearer tokens of others: GitHub Actions, Kubernetes service accounts, anything that signs JWTs with a
//! key that can be known (OpenID Connect's keys by URL, or keys given outright). Logging in through a
//! browser is not part of it.

mod config;
mod keys;
mod roles;
mod verify;

use std::collections::BTreeMap;

use async_trait::async_trait;
use store::{StoreError, records::Token};

use super::{
    login::{Login, check_origin, issue},
    methods::{Method, Site},
    terms::Terms,
};
use crate::app::{AppError, Fields, Operation, Reply, Request};
pub(crate) use keys::KeyCache;

const MOUNT_TYPE: &str = "jwt";

/// The method.
pub(super) struct Jwt;

#[async_trait]
impl Method for Jwt {
    fn slug(&self) -> &'static str {
        MOUNT_TYPE
    }

    fn is_open(&self, rest: &str, operation: Operation) -> bool {
        operation == Operation::Write && rest == "login"
    }

    async fn exists(&self, at: &Site<'_>, rest: &str) -> Result<bool, AppError> {
        match rest.strip_prefix("role/") {
            Some(name) => Ok(roles::table(at).get(&name.to_lowercase()).await?.is_some()),
            None => Ok(true),
        }
    }

    async fn handle(&self, at: &Site<'_>, request: &Request, rest: &str) -> Result<Reply, AppError> {
        use Operation::{Delete, List, Read, Write};
        match (request.operation, rest.split('/').collect::<Vec<_>>().as_slice()) {
            (Write, ["login"]) => login(at, request).await,
            (Read, ["config"]) => config::read(at).await,
            (Write, ["config"]) => config::write(at, request).await,
            (List, ["role", ""]) => roles::list(at).await,
            (Read, ["role", name]) => roles::read(at, &name.to_lowercase()).await,
            (Write, ["role", name]) => roles::write(at, request, &name.to_lowercase()).await,
            (Delete, ["role", name]) => {
                roles::table(at).remove(&name.to_lowercase()).await?;
                Ok(Reply::empty())
            }
            (_, ["oidc", ..]) => Err(AppError::invalid(
                "logging in through a browser is not available in keyferry; log in with a signed token",
            )),
            (_, ["login" | "config"] | ["role", _]) => Err(AppError::UnsupportedOperation),
            _ => Err(AppError::unsupported_path()),
        }
    }

    async fn terms(&self, at: &Site<'_>, token: &Token) -> Result<Terms, AppError> {
        let role = roles::table(at).get(token.role.as_deref().unwrap_or_default()).await?;
        let role = role.ok_or_else(|| AppError::invalid("the role of this token is gone, not renewing"))?;
        Ok(role.value.terms)
    }

    async fn tidy(&self, _at: &Site<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn login(at: &Site<'_>, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let jwt = fields.secret("jwt")?.or(fields.secret("token")?).filter(|jwt| !jwt.is_empty());
    let jwt = jwt.ok_or_else(|| AppError::invalid("missing token"))?;
    let config = config::get(at).await?;
    let config = config.ok_or_else(|| AppError::invalid("could not load configuration"))?;
    let named = fields.text("role")?.filter(|name| !name.is_empty());
    let name = named.unwrap_or_else(|| config.value.default_role.clone()).to_lowercase();
    if name.is_empty() {
        return Err(AppError::invalid("missing role"));
    }
    let role = roles::table(at).get(&name).await?;
    let role = role.ok_or_else(|| AppError::invalid("role could not be found"))?.value;
    check_origin(request, &role.terms.bound_cidrs, "request originated from invalid CIDR")?;
    let claims = verify::verified(at, &config, &jwt).await?;
    verify::check_times(&claims, at.app.clock.now(), role.leeway())?;
    verify::check_issuer(&claims, &config.value)?;
    role.check(&claims)?;
    let alias = role.user(&claims)?;
    let mut metadata = BTreeMap::from([("role".to_owned(), name.clone())]);
    metadata.extend(role.metadata(&claims)?);
    let login = Login {
        display_name: format!("{}-{alias}", at.mount.path.bare().replace('/', "-")),
        alias,
        metadata,
        role: name,
        terms: role.terms,
    };
    issue(at, request, login).await
}
