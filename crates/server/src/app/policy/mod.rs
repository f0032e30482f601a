//! Policies: reading them, keeping them, and what those of one caller allow together.
//!
//! Every decision is [`authorize`]'s. What a caller's policies come to is made once ([`Acls`]) and holds
//! until a policy or the caller's entity changes, which one look at a revision tells; nothing is told by
//! another process or needs a time to pass.

mod acl;
mod api;
mod capabilities;
mod constraints;
mod hcl;
mod rules;
mod sudo;
mod template;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use store::{Cached, Revision, Store, StoreError, records::PolicyIndex};

pub(super) use self::api::{handle, handle_old, resultant_acl};
use self::rules::Policy;
pub(crate) use self::{
    acl::Acl,
    constraints::{Given, Verdict, matches_glob},
};
use super::{AppError, Capability, Request, entries::Kept, identity::Entity as Who};

/// The policy of everything.
pub(crate) const ROOT: &str = "root";
/// The policy of a token's care for itself.
pub(crate) const DEFAULT: &str = "default";
/// The policy of a wrapping token. It cannot be given out.
pub(crate) const RESPONSE_WRAPPING: &str = "response-wrapping";

/// Policies read, at most so many kept.
const MOST_PARSED: usize = 4096;
/// Sets of policies put together, so many kept.
const MOST_ACLS: usize = 256;

const RESPONSE_WRAPPING_TEXT: &str = r#"
path "sys/wrapping/unwrap" { capabilities = ["update"] }
"#;

/// What everyone with policy `default` may do, until somebody writes it anew.
pub(crate) const DEFAULT_TEXT: &str = r#"# What every token may do unless it was made without this policy: look after itself.

path "auth/token/lookup-self" {
    capabilities = ["read"]
}
path "auth/token/renew-self" {
    capabilities = ["update"]
}
path "auth/token/revoke-self" {
    capabilities = ["update"]
}

# Ask what it may do.
path "sys/capabilities-self" {
    capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
    capabilities = ["read"]
}

# Know who it stands for.
path "identity/entity/id/{{identity.entity.id}}" {
    capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
    capabilities = ["read"]
}

# Look up and renew a lease it was told of.
path "sys/leases/lookup" {
    capabilities = ["update"]
}
path "sys/leases/renew" {
    capabilities = ["update"]
}
path "sys/renew" {
    capabilities = ["update"]
}

# A place of its own.
path "cubbyhole/*" {
    capabilities = ["create", "read", "update", "delete", "list"]
}

# Pass on an answer in a wrapping, and open one.
path "sys/wrapping/wrap" {
    capabilities = ["update"]
}
path "sys/wrapping/lookup" {
    capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}

# Hash, as a service.
path "sys/tools/hash" {
    capabilities = ["update"]
}
path "sys/tools/hash/*" {
    capabilities = ["update"]
}

# Answer an OpenID Connect client that asks for it.
path "identity/oidc/provider/+/authorize" {
    capabilities = ["read", "update"]
}
"#;

/// One policy by itself, for checking it without a server: what the benches measure.
pub struct PolicyCheck(Acl);

impl PolicyCheck {
    /// Reads a policy in HCL or JSON.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(Acl::new([("policy", &rules::parse(text)?)], None)))
    }

    /// Whether it allows a thing at a path, for a request without parameters.
    pub fn allows(&self, capability: Capability, path: &str) -> bool {
        self.0.check(capability, path, &Given::default()).is_ok()
    }
}

/// Makes and keeps what sets of policies allow. Cheap to share.
pub(crate) struct Acls {
    store: Store,
    index: Cached<PolicyIndex>,
    parsed: Mutex<HashMap<String, Parsed>>,
    made: Box<[ArcSwapOption<Made>]>,
    root: Arc<Acl>,
}

#[derive(Clone)]
struct Parsed {
    /// `None`: built in.
    revision: Option<Revision>,
    policy: Arc<Policy>,
}

struct Made {
    policies: Vec<String>,
    who: Option<(String, Revision)>,
    index: Option<Revision>,
    acl: Arc<Acl>,
}

impl Acls {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            index: Cached::default(),
            parsed: Mutex::default(),
            made: (0..MOST_ACLS).map(|_| ArcSwapOption::empty()).collect(),
            root: Arc::new(Acl::root()),
        }
    }

    /// What these policies allow someone.
    pub(crate) async fn acl(
        &self,
        policies: &[String],
        who: Option<&Kept<Who>>,
    ) -> Result<Arc<Acl>, AppError> {
        if policies == [ROOT] {
            return Ok(Arc::clone(&self.root));
        }
        // Read before the policies are: whatever changes from here on makes another index.
        let index = self.store.get_cached(&self.store.keys().policy_index(), &self.index).await?;
        let index = index.map(|index| index.revision);
        let mut hasher = DefaultHasher::new();
        policies.hash(&mut hasher);
        who.map(|who| &who.value.id).hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % MOST_ACLS as u64).unwrap_or(0);
        if let Some(made) = &*self.made[slot].load()
            && made.index == index
            && made.policies == policies
            && made.who.as_ref().map(|(id, revision)| (id, *revision))
                == who.map(|who| (&who.value.id, who.revision))
        {
            return Ok(Arc::clone(&made.acl));
        }
        let mut read = Vec::with_capacity(policies.len());
        for name in policies {
            // A root among others would be everything; no token is made so.
            if name != ROOT
                && let Some(policy) = self.policy(name).await?
            {
                read.push((name.as_str(), policy));
            }
        }
        let pairs = read.iter().map(|(name, policy)| (*name, policy.as_ref()));
        let acl = Arc::new(Acl::new(pairs, who.map(|who| &who.value)));
        self.made[slot].store(Some(Arc::new(Made {
            policies: policies.to_vec(),
            who: who.map(|who| (who.value.id.clone(), who.revision)),
            index,
            acl: Arc::clone(&acl),
        })));
        Ok(acl)
    }

    /// A policy, read. `None`: nobody has written one of that name.
    async fn policy(&self, name: &str) -> Result<Option<Arc<Policy>>, AppError> {
        let stored = self.store.get(&self.store.keys().policy(name)).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let text = match (&stored, name) {
            (Some(stored), _) => stored.record.text.as_str(),
            (None, DEFAULT) => DEFAULT_TEXT,
            (None, RESPONSE_WRAPPING) => RESPONSE_WRAPPING_TEXT,
            (None, _) => return Ok(None),
        };
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parsed.get(name).filter(|known| known.revision == revision) {
            return Ok(Some(Arc::clone(&known.policy)));
        }
        // It was read when it was written. Should it not be readable now, nothing is allowed.
        let policy = rules::parse(text)
            .map_err(|fault| AppError::Internal(format!("stored policy {name} is not readable: {fault}")))?;
        let policy = Arc::new(policy);
        if parsed.len() >= MOST_PARSED {
            parsed.clear();
        }
        parsed.insert(name.to_owned(), Parsed { revision, policy: Arc::clone(&policy) });
        Ok(Some(policy))
    }

    /// Whether anybody has written a policy, or it is built in.
    pub(crate) async fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(matches!(name, ROOT | DEFAULT | RESPONSE_WRAPPING)
            || self.store.get(&self.store.keys().policy(name)).await?.is_some())
    }
}

/// Whether a request may be carried out, and thanks to which policies; none of them for root. The one place
/// where that is decided.
pub(crate) fn authorize<'a>(
    acl: &'a Acl,
    capability: Capability,
    request: &Request,
) -> Result<&'a [Arc<str>], AppError> {
    let given = Given {
        sudo: sudo::is_needed(&request.path, request.operation),
        wrap_ttl: request.wrap_ttl,
        request: Some(request),
    };
    match acl.check(capability, &request.path, &given) {
        Ok(by) => Ok(by),
        Err(Verdict::Denied) => Err(AppError::denied()),
        Err(Verdict::Unreadable(fault)) => Err(fault),
    }
}

/// Names of policies as they are kept: trimmed, lower case, sorted, each once. `root` is refused: only a
/// root token gives it, and only to a token.
pub(crate) fn cleaned(policies: &[String]) -> Result<Vec<String>, AppError> {
    let mut cleaned: Vec<String> = policies
        .iter()
        .map(|policy| policy.trim().to_lowercase())
        .filter(|policy| !policy.is_empty())
        .collect();
    cleaned.sort();
    cleaned.dedup();
    if cleaned.iter().any(|policy| policy == ROOT) {
        return Err(AppError::invalid("policies cannot contain root: only a root token can make another"));
    }
    if cleaned.iter().any(|policy| policy == RESPONSE_WRAPPING) {
        return Err(AppError::invalid("cannot assign policy \"response-wrapping\""));
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_are_readable() {
        assert_eq!(rules::parse(DEFAULT_TEXT).unwrap().rules.len(), 17);
        assert_eq!(rules::parse(RESPONSE_WRAPPING_TEXT).unwrap().rules.len(), 1);
    }

    #[test]
    fn names_are_cleaned_before_they_are_compared() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(cleaned(&list(&["B", " a ", "b", ""])).unwrap(), list(&["a", "b"]));
        for name in ["root", "ROOT", " Root ", "response-WRAPPING"] {
            assert!(cleaned(&list(&[name])).is_err(), "{name}");
        }
    }
}
