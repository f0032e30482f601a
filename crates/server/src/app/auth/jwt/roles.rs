//! What a token must say to be let in, and as whom.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MOUNT_TYPE, verify::Claims};
use crate::app::{
    AppError, Fields, Reply, Request,
    auth::{methods::Site, terms::Terms},
    entries::Table,
    policy::matches_glob,
};

const LONGEST_NAME: usize = 256;
const LONGEST_USER: usize = 512;
const USUAL_LEEWAY: u64 = 60;

/// One role.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Role {
    bound_audiences: Vec<String>,
    bound_subject: String,
    /// Claim → the values that will do.
    bound_claims: BTreeMap<String, Vec<Value>>,
    /// The values are patterns.
    glob: bool,
    user_claim: String,
    user_claim_json_pointer: bool,
    /// Claim → name in the metadata.
    claim_mappings: BTreeMap<String, String>,
    /// Seconds.
    clock_skew_leeway: Option<u64>,
    /// Means something to logins through a browser only, of which there are none here. Clients that always
    /// send it find what they sent.
    allowed_redirect_uris: Vec<String>,
    pub(super) terms: Terms,
}

pub(super) fn table<'a>(at: &Site<'a>) -> Table<'a, Role> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), "role")
}

pub(super) async fn list(at: &Site<'_>) -> Result<Reply, AppError> {
    let keys = table(at).names().await?;
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

pub(super) async fn read(at: &Site<'_>, name: &str) -> Result<Reply, AppError> {
    let role = table(at).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("allowed_redirect_uris", &role.allowed_redirect_uris)
            .put("bound_audiences", &role.bound_audiences)
            .put("bound_claims", &role.bound_claims)
            .put("bound_claims_type", if role.glob { "glob" } else { "string" })
            .put("bound_subject", &role.bound_subject)
            .put("claim_mappings", &role.claim_mappings)
            .put("clock_skew_leeway", &role.clock_skew_leeway.unwrap_or(USUAL_LEEWAY))
            .put("role_type", "jwt")
            .put("user_claim", &role.user_claim)
            .put("user_claim_json_pointer", &role.user_claim_json_pointer);
        role.terms.put(o);
    }))
}

pub(super) async fn write(at: &Site<'_>, request: &Request, name: &str) -> Result<Reply, AppError> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(AppError::invalid(format!("a role's name must be 1 to {LONGEST_NAME} bytes")));
    }
    table(at)
        .change(name, |known| {
            let mut role = known.unwrap_or_default();
            role.read(&mut Fields::of(request)?)?;
            Ok((Some(role), ()))
        })
        .await?;
    Ok(Reply::empty())
}

impl Role {
    fn read(&mut self, fields: &mut Fields) -> Result<(), AppError> {
        self.terms.read(fields)?;
        if let Some(kind) = fields.text("role_type")?
            && !matches!(kind.as_str(), "" | "jwt")
        {
            return Err(AppError::invalid(
                "role_type must be jwt: logging in through a browser is not available in keyferry",
            ));
        }
        for name in ["groups_claim", "max_age"] {
            let given = fields.get(name).is_some_and(|value| {
                !(value == "" || value == 0 || value.as_array().is_some_and(Vec::is_empty))
            });
            if given {
                return Err(AppError::invalid(format!("{name} is not available in keyferry")));
            }
        }
        if let Some(uris) = fields.list("allowed_redirect_uris")? {
            self.allowed_redirect_uris = uris;
        }
        if let Some(audiences) = fields.list("bound_audiences")? {
            self.bound_audiences = audiences.into_iter().filter(|audience| !audience.is_empty()).collect();
        }
        if let Some(subject) = fields.text("bound_subject")? {
            self.bound_subject = subject;
        }
        if let Some(kind) = fields.text("bound_claims_type")? {
            self.glob = match kind.as_str() {
                "" | "string" => false,
                "glob" => true,
                _ => return Err(AppError::invalid("invalid 'bound_claims_type', must be string or glob")),
            };
        }
        if let Some(claims) = fields.get("bound_claims").cloned() {
            // Command lines send a map as its JSON text.
            let claims = match claims {
                Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
                claims => claims,
            };
            let Value::Object(claims) = &claims else {
                return Err(AppError::invalid("bound_claims must be a map of claims and values"));
            };
            self.bound_claims =
                claims.iter().map(|(name, value)| bound(name, value)).collect::<Result<_, _>>()?;
        }
        if let Some(claim) = fields.text("user_claim")? {
            self.user_claim = claim;
        }
        if let Some(pointer) = fields.boolean("user_claim_json_pointer")? {
            self.user_claim_json_pointer = pointer;
        }
        if let Some(mappings) = fields.map("claim_mappings")? {
            if mappings.values().any(|name| name == "role") {
                return Err(AppError::invalid("claim_mappings: metadata key role is reserved"));
            }
            self.claim_mappings = mappings;
        }
        if let Some(nanos) = fields.signed_duration("clock_skew_leeway")? {
            self.clock_skew_leeway = u64::try_from(nanos / 1_000_000_000).ok().filter(|seconds| *seconds > 0);
        }
        if self.user_claim.is_empty() {
            return Err(AppError::invalid("a user claim must be defined on the role"));
        }
        if self.glob && self.bound_claims.values().flatten().any(|value| !value.is_string()) {
            return Err(AppError::invalid("bound_claims: patterns must be strings"));
        }
        // Without one anybody whom the issuer knows would be let in.
        let bound = !self.bound_audiences.is_empty()
            || !self.bound_subject.is_empty()
            || !self.bound_claims.is_empty()
            || !self.terms.bound_cidrs.is_empty();
        if !bound {
            return Err(AppError::invalid(
                "must have at least one bound constraint when creating/updating a role",
            ));
        }
        Ok(())
    }

    /// How far clocks may be apart.
    pub(super) fn leeway(&self) -> Duration {
        Duration::from_secs(self.clock_skew_leeway.unwrap_or(USUAL_LEEWAY).min(3600))
    }

    /// Whether a token is for this role.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), AppError> {
        let bad = |problem: &str| AppError::invalid(format!("error validating token: {problem}"));
        let audiences = texts(claims.get("aud"));
        if self.bound_audiences.is_empty() {
            // A token for somebody else must not do here by accident.
            if !audiences.is_empty() {
                return Err(bad("audience claim found in JWT but no audiences bound to the role"));
            }
        } else if !audiences.iter().any(|audience| self.bound_audiences.iter().any(|bound| bound == audience))
        {
            return Err(bad("aud claim does not match any bound audience"));
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if !self.bound_subject.is_empty() && subject != self.bound_subject {
            return Err(bad("sub claim does not match bound subject"));
        }
        for (name, wanted) in &self.bound_claims {
            let Some(value) = find(claims, name) else {
                return Err(bad(&format!("claim {} is missing", shown(name))));
            };
            let values = match value {
                Value::Array(values) => values.iter().collect(),
                value => vec![value],
            };
            let fits = |value: &&Value| wanted.iter().any(|wanted| self.is_like(value, wanted));
            if !values.iter().any(fits) {
                return Err(bad(&format!(
                    "claim {} does not match any associated bound claim values",
                    shown(name)
                )));
            }
        }
        Ok(())
    }

    fn is_like(&self, value: &Value, wanted: &Value) -> bool {
        match (value, wanted) {
            (Value::String(value), Value::String(pattern)) if self.glob => matches_glob(value, pattern),
            (value, wanted) => value == wanted,
        }
    }

    /// The name by which the mount knows whoever brings the token.
    pub(super) fn user(&self, claims: &Claims) -> Result<String, AppError> {
        let value = if self.user_claim_json_pointer {
            find(claims, &self.user_claim)
        } else {
            claims.get(&self.user_claim)
        };
        let user = match value {
            Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST_USER => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => {
                return Err(AppError::invalid(format!(
                    "claim {} not found in token",
                    shown(&self.user_claim)
                )));
            }
        };
        if user.chars().any(char::is_control) {
            return Err(AppError::invalid(format!(
                "claim {} holds control characters",
                shown(&self.user_claim)
            )));
        }
        Ok(user)
    }

    /// What the token's metadata takes over of the claims.
    pub(super) fn metadata(&self, claims: &Claims) -> Result<BTreeMap<String, String>, AppError> {
        let mut metadata = BTreeMap::new();
        for (claim, name) in &self.claim_mappings {
            match find(claims, claim) {
                None => {}
                Some(Value::String(text)) => {
                    metadata.insert(name.clone(), text.clone());
                }
                Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                    metadata.insert(name.clone(), value.to_string());
                }
                Some(_) => {
                    return Err(AppError::invalid(format!(
                        "claim {} cannot be metadata: it is no text",
                        shown(claim)
                    )));
                }
            }
        }
        Ok(metadata)
    }
}

/// A claim by name, or by JSON pointer when the name begins with a slash.
fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
    let first = claims.get(&parts.next()?)?;
    parts.try_fold(first, |value, part| match value {
        Value::Object(members) => members.get(&part),
        Value::Array(values) => values.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A claim's name, as the role has it.
fn shown(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("\"{name}\"")
}

fn bound(name: &str, value: &Value) -> Result<(String, Vec<Value>), AppError> {
    let values = match value {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    let fine = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    if values.is_empty() || !values.iter().all(fine) {
        return Err(AppError::invalid(format!(
            "bound_claims: claim {} needs a value or a list of values",
            shown(name)
        )));
    }
    Ok((name.to_owned(), values))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn claims_are_found_by_name_and_by_pointer() {
        let claims = claims(&json!({ "a": { "b/c": [1, { "d": "x" }] }, "/odd": "y", "e": "z" }));
        for (name, value) in [
            ("e", Some(json!("z"))),
            ("/e", Some(json!("z"))),
            ("/odd", Some(json!("y"))),
            ("/a/b~1c/1/d", Some(json!("x"))),
            ("/a/b~1c/2", None),
            ("/a/none", None),
            ("none", None),
        ] {
            assert_eq!(find(&claims, name).cloned(), value, "{name}");
        }
    }

    #[test]
    fn a_token_must_say_all_that_the_role_wants() {
        let role = Role {
            bound_audiences: vec!["us".into()],
            bound_subject: "repo:o/r".into(),
            bound_claims: BTreeMap::from([
                ("env".into(), vec![json!("prod"), json!("stage")]),
                ("/k8s/ns".into(), vec![json!("ci")]),
            ]),
            user_claim: "sub".into(),
            ..Role::default()
        };
        let good = json!({ "aud": ["them", "us"], "sub": "repo:o/r", "env": ["dev", "stage"], "k8s": { "ns": "ci" } });
        assert!(role.check(&claims(&good)).is_ok());
        for (name, value) in [
            ("aud", json!("them")),
            ("aud", json!(null)),
            ("sub", json!("repo:o/other")),
            ("env", json!("Prod")),
            ("env", json!(null)),
            ("env", json!([])),
            ("k8s", json!({ "ns": "prod" })),
            ("k8s", json!({})),
        ] {
            let mut other = good.clone();
            other[name] = value.clone();
            assert!(role.check(&claims(&other)).is_err(), "{name} {value}");
        }
        let open = Role { user_claim: "sub".into(), ..Role::default() };
        assert!(open.check(&claims(&json!({ "sub": "x" }))).is_ok());
        assert!(open.check(&claims(&json!({ "aud": "them" }))).is_err());
        let glob = Role {
            glob: true,
            bound_claims: BTreeMap::from([("ref".into(), vec![json!("refs/heads/*")])]),
            ..Role::default()
        };
        assert!(glob.check(&claims(&json!({ "ref": "refs/heads/main" }))).is_ok());
        assert!(glob.check(&claims(&json!({ "ref": "refs/tags/v1" }))).is_err());
        assert!(glob.check(&claims(&json!({ "ref": 1 }))).is_err());
    }
}
