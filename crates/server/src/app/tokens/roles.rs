//! `auth/token/roles`: what tokens made with a role may be.

use serde::{Deserialize, Serialize};
use store::Store;

use super::MOUNT_TYPE;
use crate::app::{
    App, AppError, Fields, Operation, Reply, Request,
    auth::{Kind, cidrs, positive},
    entries::Table,
};

const LONGEST_NAME: usize = 256;

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    pub(crate) allowed_policies: Vec<String>,
    pub(crate) allowed_policies_glob: Vec<String>,
    pub(crate) disallowed_policies: Vec<String>,
    pub(crate) disallowed_policies_glob: Vec<String>,
    pub(crate) allowed_entity_aliases: Vec<String>,
    pub(crate) orphan: bool,
    pub(crate) renewable: bool,
    pub(crate) path_suffix: String,
    pub(crate) kind: Kind,
    pub(crate) period: u64,
    pub(crate) explicit_max_ttl: u64,
    pub(crate) bound_cidrs: Vec<String>,
    pub(crate) num_uses: u64,
    pub(crate) no_default_policy: bool,
}

impl Role {
    /// Whether it, and not the parent, says which policies a token may have.
    pub(super) fn restricts(&self) -> bool {
        [
            &self.allowed_policies,
            &self.allowed_policies_glob,
            &self.disallowed_policies,
            &self.disallowed_policies_glob,
        ]
        .iter()
        .any(|list| !list.is_empty())
    }
}

impl Default for Role {
    fn default() -> Self {
        Self {
            allowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            allowed_entity_aliases: Vec::new(),
            orphan: false,
            renewable: true,
            path_suffix: String::new(),
            kind: Kind::DefaultService,
            period: 0,
            explicit_max_ttl: 0,
            bound_cidrs: Vec::new(),
            num_uses: 0,
            no_default_policy: false,
        }
    }
}

pub(super) fn table(store: &Store) -> Table<'_, Role> {
    Table::new(store, "auth_token", "role")
}

/// Whether a role is there, for the choice between `create` and `update`.
pub(in crate::app) async fn exists(app: &App, name: &str) -> Result<bool, AppError> {
    Ok(table(&app.store).get(&name.to_lowercase()).await?.is_some())
}

/// `auth/token/roles/<name>`, or the list for an empty name.
pub(super) async fn handle(app: &App, request: &Request, name: &str) -> Result<Reply, AppError> {
    let name = name.to_lowercase();
    match (request.operation, name.as_str()) {
        (Operation::List, "") => {
            let keys = table(&app.store).names().await?;
            if keys.is_empty() {
                return Err(AppError::not_found());
            }
            Ok(Reply::object(MOUNT_TYPE, |o| {
                o.put("keys", &keys);
            }))
        }
        (_, "") => Err(AppError::UnsupportedOperation),
        (Operation::Read, name) => read(app, name).await,
        (Operation::Write, name) => write(app, request, name).await,
        (Operation::Delete, name) => {
            table(&app.store).remove(name).await?;
            Ok(Reply::empty())
        }
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn read(app: &App, name: &str) -> Result<Reply, AppError> {
    let role = table(&app.store).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("allowed_entity_aliases", &role.allowed_entity_aliases)
            .put("allowed_policies", &role.allowed_policies)
            .put("allowed_policies_glob", &role.allowed_policies_glob)
            .put("disallowed_policies", &role.disallowed_policies)
            .put("disallowed_policies_glob", &role.disallowed_policies_glob)
            // The old name, and the new one.
            .put("explicit_max_ttl", &role.explicit_max_ttl)
            .put("name", name)
            .put("orphan", &role.orphan)
            .put("path_suffix", &role.path_suffix)
            .put("period", &role.period)
            .put("renewable", &role.renewable)
            .put("token_bound_cidrs", &role.bound_cidrs)
            .put("token_explicit_max_ttl", &role.explicit_max_ttl)
            .put("token_no_default_policy", &role.no_default_policy)
            .put("token_num_uses", &role.num_uses)
            .put("token_period", &role.period)
            .put("token_type", role.kind.as_str());
    }))
}

async fn write(app: &App, request: &Request, name: &str) -> Result<Reply, AppError> {
    if name.len() > LONGEST_NAME {
        return Err(AppError::invalid(format!("a role's name must be at most {LONGEST_NAME} bytes")));
    }
    table(&app.store)
        .change(name, |known| {
            let mut role = known.unwrap_or_default();
            let mut fields = Fields::of(request)?;
            for (name, list) in [
                ("allowed_policies", &mut role.allowed_policies),
                ("allowed_policies_glob", &mut role.allowed_policies_glob),
                ("disallowed_policies", &mut role.disallowed_policies),
                ("disallowed_policies_glob", &mut role.disallowed_policies_glob),
                ("allowed_entity_aliases", &mut role.allowed_entity_aliases),
            ] {
                if let Some(given) = fields.list(name)? {
                    *list = given
                        .iter()
                        .map(|word| word.trim().to_lowercase())
                        .filter(|w| !w.is_empty())
                        .collect();
                    list.sort();
                    list.dedup();
                }
            }
            for (name, flag) in [("orphan", &mut role.orphan), ("renewable", &mut role.renewable)] {
                if let Some(given) = fields.boolean(name)? {
                    *flag = given;
                }
            }
            if let Some(given) = fields.boolean("token_no_default_policy")? {
                role.no_default_policy = given;
            }
            if let Some(suffix) = fields.text("path_suffix")? {
                let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if suffix.len() > LONGEST_NAME || !suffix.chars().all(fine) || suffix.contains("..") {
                    return Err(AppError::invalid(
                        "given role path suffix contains invalid characters; \
                         letters, digits, '-', '_' and '.' are fine",
                    ));
                }
                role.path_suffix = suffix;
            }
            for (new, old, seconds) in [
                ("token_period", "period", &mut role.period),
                ("token_explicit_max_ttl", "explicit_max_ttl", &mut role.explicit_max_ttl),
            ] {
                let given = match positive(&mut fields, new)? {
                    Some(given) => Some(given),
                    None => positive(&mut fields, old)?,
                };
                if let Some(given) = given {
                    *seconds = given;
                }
                fields.known(&[old]);
            }
            let ranges = match fields.list("token_bound_cidrs")? {
                Some(ranges) => Some(ranges),
                None => fields.list("bound_cidrs")?,
            };
            if let Some(ranges) = ranges {
                role.bound_cidrs = cidrs("token_bound_cidrs", &ranges)?;
            }
            if let Some(uses) = fields.integer("token_num_uses")? {
                role.num_uses = u64::try_from(uses)
                    .map_err(|_| AppError::invalid("'token_num_uses' cannot be negative"))?;
            }
            if let Some(word) = fields.text("token_type")? {
                role.kind = match Kind::parse(&word) {
                    Some(Kind::Default) => Kind::DefaultService,
                    Some(kind) => kind,
                    None => return Err(AppError::invalid("invalid 'token_type' value")),
                };
            }
            let limit = match &role {
                Role { orphan: false, .. } => "non-orphan tokens",
                Role { period: 1.., .. } => "periodic tokens",
                Role { explicit_max_ttl: 1.., .. } => "tokens with an explicit max TTL",
                Role { num_uses: 1.., .. } => "tokens with limited use count",
                _ => "",
            };
            if role.kind == Kind::Batch && !limit.is_empty() {
                return Err(AppError::invalid(format!(
                    "'token_type' cannot be 'batch' when role is set to generate {limit}"
                )));
            }
            Ok((Some(role), ()))
        })
        .await?;
    Ok(Reply::empty())
}
