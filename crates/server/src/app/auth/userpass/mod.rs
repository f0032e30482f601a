//! Names and passwords (kv-v2-api.md 8).

mod password;

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::SecretBytes;
use serde::{Deserialize, Serialize};
use store::{StoreError, records::Token};

use super::{
    lockout,
    login::{Login, check_origin, issue},
    methods::{Method, Site},
    terms::Terms,
};
use crate::app::{AppError, Fields, Operation, Reply, Request, entries::Table, policy};
use password::Hashed;
pub(crate) use password::Passwords;

const MOUNT_TYPE: &str = "userpass";
const LONGEST_NAME: usize = 128;
/// One text, whether the name or the password is wrong.
const REFUSED: &str = "invalid username or password";

/// The method.
pub(super) struct UserPass;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct User {
    #[serde(default)]
    password: Hashed,
    #[serde(default)]
    terms: Terms,
}

fn users<'a>(at: &Site<'a>) -> Table<'a, User> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "user")
}

#[async_trait]
impl Method for UserPass {
    fn slug(&self) -> &'static str {
        MOUNT_TYPE
    }

    fn is_open(&self, rest: &str, operation: Operation) -> bool {
        operation == Operation::Write && rest.strip_prefix("login/").is_some_and(|name| !name.is_empty())
    }

    async fn exists(&self, at: &Site<'_>, rest: &str) -> Result<bool, AppError> {
        match rest.strip_prefix("users/") {
            Some(name) if !name.contains('/') => Ok(users(at).get(&name.to_lowercase()).await?.is_some()),
            _ => Ok(true),
        }
    }

    async fn handle(&self, at: &Site<'_>, request: &Request, rest: &str) -> Result<Reply, AppError> {
        use Operation::{Delete, List, Read, Write};
        match (request.operation, rest.split('/').collect::<Vec<_>>().as_slice()) {
            (Write, ["login", name]) if !name.is_empty() => login(at, request, &name.to_lowercase()).await,
            (List, ["users", ""]) => list(at).await,
            (Read, ["users", name]) => read(at, &name.to_lowercase()).await,
            (Write, ["users", name]) => write(at, request, &name.to_lowercase()).await,
            (Delete, ["users", name]) => {
                users(at).remove(&name.to_lowercase()).await?;
                lockout::forgive(at, &name.to_lowercase()).await?;
                Ok(Reply::empty())
            }
            (Write, ["users", name, "password"]) => set_password(at, request, &name.to_lowercase()).await,
            (Write, ["users", name, "policies"]) => set_policies(at, request, &name.to_lowercase()).await,
            (_, ["login" | "users", _] | ["users", _, "password" | "policies"]) => {
                Err(AppError::UnsupportedOperation)
            }
            _ => Err(AppError::unsupported_path()),
        }
    }

    async fn terms(&self, at: &Site<'_>, token: &Token) -> Result<Terms, AppError> {
        let name = token.role.as_deref().unwrap_or_default();
        let user = users(at).get(name).await?;
        let user = user.ok_or_else(|| AppError::invalid("the user of this token is gone, not renewing"))?;
        let mut had = token.policies.clone();
        let mut has = user.value.terms.policies.clone();
        had.retain(|policy| policy != policy::DEFAULT);
        has.retain(|policy| policy != policy::DEFAULT);
        if had != has {
            return Err(AppError::invalid("policies have changed, not renewing"));
        }
        Ok(user.value.terms)
    }

    async fn tidy(&self, _at: &Site<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn login(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let password = fields.secret("password")?.filter(|password| !password.is_empty());
    let password = password.ok_or_else(|| AppError::invalid("missing password"))?;
    if name.len() > LONGEST_NAME {
        return Err(AppError::invalid(REFUSED));
    }
    let user = users(at).get(name).await?.map(|kept| kept.value);
    let guard = lockout::guard(at, name, user.is_some()).await?;
    // Whoever is not there has a password too, so that it takes as long to be wrong.
    let hashed = user.as_ref().map(|user| user.password.clone()).unwrap_or_default();
    let matches = at.app.passwords.verify(hashed, password).await?;
    let Some(user) = user.filter(|_| matches) else {
        guard.failed().await?;
        return Err(AppError::invalid(REFUSED));
    };
    guard.succeeded().await?;
    check_origin(request, &user.terms.bound_cidrs, REFUSED)?;
    let login = Login {
        alias: name.to_owned(),
        metadata: BTreeMap::from([("username".to_owned(), name.to_owned())]),
        display_name: format!("{}-{name}", at.mount.path.bare().replace('/', "-")),
        role: name.to_owned(),
        terms: user.terms,
    };
    issue(at, request, login).await
}

async fn list(at: &Site<'_>) -> Result<Reply, AppError> {
    let keys = users(at).names().await?;
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn read(at: &Site<'_>, name: &str) -> Result<Reply, AppError> {
    let user = users(at).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| user.terms.put(o)))
}

async fn write(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fine) {
        return Err(AppError::invalid(format!(
            "a user name must be 1 to {LONGEST_NAME} bytes of letters, digits, '-', '_', '.', '@' and '+'"
        )));
    }
    let mut fields = Fields::of(request)?;
    let mut terms = Terms::default();
    terms.read(&mut fields)?;
    terms.read_older(&mut fields)?;
    if fields.has("password_hash") {
        return Err(AppError::invalid("password_hash is not available in keyferry; send the password"));
    }
    let password = fields.secret("password")?.filter(|password| !password.is_empty());
    let hashed = match password {
        Some(password) => Some(at.app.passwords.hash(at.app.entropy.as_ref(), password).await?),
        None => None,
    };
    let changed = hashed.is_some();
    users(at)
        .change(name, |known| {
            let mut user = match (known, &hashed) {
                (Some(user), _) => user,
                (None, Some(_)) => User { password: Hashed::default(), terms: Terms::default() },
                (None, None) => return Err(AppError::invalid("missing password")),
            };
            if let Some(hashed) = &hashed {
                user.password = hashed.clone();
            }
            let mut fields = Fields::of(request)?;
            user.terms.read(&mut fields)?;
            user.terms.read_older(&mut fields)?;
            Ok((Some(user), ()))
        })
        .await?;
    if changed {
        lockout::forgive(at, name).await?;
    }
    Ok(Reply::empty())
}

async fn set_password(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let password: Option<SecretBytes> = Fields::of(request)?.secret("password")?;
    let password = password.filter(|password| !password.is_empty());
    let password = password.ok_or_else(|| AppError::invalid("missing password"))?;
    let hashed = at.app.passwords.hash(at.app.entropy.as_ref(), password).await?;
    users(at)
        .change(name, |known| match known {
            Some(user) => Ok((Some(User { password: hashed.clone(), ..user }), ())),
            None => Err(AppError::invalid("username does not exist")),
        })
        .await?;
    lockout::forgive(at, name).await?;
    Ok(Reply::empty())
}

async fn set_policies(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let policies = match fields.list("token_policies")? {
        Some(policies) => Some(policies),
        None => fields.list("policies")?,
    };
    let policies = policy::cleaned(&policies.unwrap_or_default())?;
    users(at)
        .change(name, |known| match known {
            Some(mut user) => {
                user.terms.policies.clone_from(&policies);
                Ok((Some(user), ()))
            }
            None => Err(AppError::invalid("username does not exist")),
        })
        .await?;
    Ok(Reply::empty())
}
