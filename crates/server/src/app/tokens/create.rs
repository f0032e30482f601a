//! `auth/token/create`, `create-orphan` and `create/<role>`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{Entropy, SecretBytes, format_go_duration};
use store::{RecordKey, StoreError, records::Token};
use zeroize::Zeroizing;

use super::{
    MOUNT_TYPE, auth_json, insert,
    roles::{self, Role},
};
use crate::app::{
    App, AppError, Envelope, Fields, Reply, Request,
    auth::{BATCH, Caller, Kind, LONGEST_TOKEN, positive},
    identity,
    policy::{DEFAULT, RESPONSE_WRAPPING, ROOT, matches_glob},
};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How a token is asked for.
#[derive(Clone, Copy)]
pub(super) enum How<'p> {
    /// `create`
    Child,
    /// `create-orphan`
    Orphan,
    /// `create/<role>`
    Role(&'p str),
}

/// `auth/token/create*`.
pub(super) async fn create(
    app: &App,
    caller: &Caller,
    request: &Request,
    how: How<'_>,
) -> Result<Reply, AppError> {
    let parent = &caller.token.record;
    if parent.batch {
        return Err(AppError::invalid("batch tokens cannot create more tokens"));
    }
    if parent.num_uses > 0 || caller.spent {
        return Err(AppError::invalid("restricted use token cannot generate child tokens"));
    }
    let sudo = caller.acl.has_sudo(&request.path);
    let role = match how {
        How::Role(name) => {
            let name = name.to_lowercase();
            let role = roles::table(&app.store).get(&name).await?;
            Some((name.clone(), role.ok_or_else(|| AppError::invalid(format!("unknown role {name}")))?.value))
        }
        _ => None,
    };
    let mut fields = Fields::of(request)?;
    let mut warnings = Vec::new();

    let batch = wants_batch(&mut fields, role.as_ref().map(|(_, role)| role))?;
    let entity_alias = fields.text("entity_alias")?.filter(|alias| !alias.is_empty());
    let id = fields.secret("id")?.filter(|id| !id.is_empty());
    if let Some(id) = &id {
        check_id(id, sudo, batch, role.is_some())?;
    }
    let no_parent = fields.boolean("no_parent")?.unwrap_or(false);
    let orphan = match (how, &role) {
        (_, Some((_, role))) => role.orphan,
        (How::Orphan, _) => true,
        _ if no_parent && !sudo => {
            return Err(AppError::invalid("root or sudo privileges required to create orphan token"));
        }
        _ => no_parent,
    };
    let wanted = fields.list("policies")?.unwrap_or_default();
    let no_default = fields.boolean("no_default_policy")?.unwrap_or(false)
        || role.as_ref().is_some_and(|(_, role)| role.no_default_policy);
    let policies = match &role {
        Some((_, role)) if role.restricts() => role_policies(role, &wanted, no_default)?,
        _ => child_policies(parent, &wanted, no_default, sudo)?,
    };
    for policy in &policies {
        if !app.acls.exists(policy).await? {
            warnings.push(format!("Policy \"{policy}\" does not exist"));
        }
    }
    let is_root = policies == [ROOT];
    let num_uses = fields.integer("num_uses")?.unwrap_or(0);
    let mut num_uses =
        u64::try_from(num_uses).map_err(|_| AppError::invalid("number of uses cannot be negative"))?;
    let display_name = display_name(fields.text("display_name")?);
    let meta = fields.map("meta")?;
    let mut period = positive(&mut fields, "period")?.unwrap_or(0);
    if period > 0 && !sudo {
        return Err(AppError::invalid("root or sudo privileges required to create periodic token"));
    }
    let mut explicit_max_ttl = positive(&mut fields, "explicit_max_ttl")?.unwrap_or(0);
    let mut renewable = fields.boolean("renewable")?.unwrap_or(true);
    if let Some((_, role)) = &role {
        num_uses = smaller(num_uses, role.num_uses);
        explicit_max_ttl = smaller(explicit_max_ttl, role.explicit_max_ttl);
        period = if role.period > 0 { role.period } else { period };
        renewable = renewable && role.renewable;
    }
    let ttl = match positive(&mut fields, "ttl")?.unwrap_or(0) {
        0 => positive(&mut fields, "lease")?.unwrap_or(0),
        ttl => ttl,
    };
    fields.known(&["lease"]);
    if batch {
        check_batch(is_root, num_uses, period, explicit_max_ttl)?;
        renewable = false;
    }
    let mut times = Times {
        ttl,
        period,
        explicit_max_ttl,
        renewable,
        default_ttl: app.settings.default_lease_ttl,
        max_ttl: app.settings.max_lease_ttl,
    };
    let expires_after = times.settle(is_root, &mut warnings);
    if is_root && expires_after == 0 && parent.expires.is_some() {
        return Err(AppError::invalid("expiring root tokens cannot create non-expiring root tokens"));
    }
    let entity = match (entity_alias, &role) {
        (None, _) => (!orphan).then(|| parent.entity.clone()).flatten(),
        (Some(_), None) => {
            let text = "'entity_alias' is only allowed in combination with token role";
            return Err(AppError::invalid(text));
        }
        (Some(alias), Some((_, role))) => {
            let alias = alias.to_lowercase();
            let fits = |allowed: &String| matches_glob(&alias, allowed);
            if !role.allowed_entity_aliases.iter().any(fits) {
                return Err(AppError::invalid("invalid 'entity_alias' value"));
            }
            let accessor = app.token_mount_accessor();
            Some(identity::of_login(app, &accessor, &alias, &std::collections::BTreeMap::new()).await?.id)
        }
    };
    let now = app.clock.now();
    let token = Token {
        accessor: if batch { String::new() } else { base62(24, app.entropy.as_ref()) },
        policies,
        path: match (how, &role) {
            (_, Some((name, role))) if role.path_suffix.is_empty() => format!("auth/token/create/{name}"),
            (_, Some((name, role))) => format!("auth/token/create/{name}/{}", role.path_suffix),
            (How::Orphan, _) => "auth/token/create-orphan".to_owned(),
            _ => "auth/token/create".to_owned(),
        },
        meta: meta.filter(|meta| !meta.is_empty()),
        display_name,
        num_uses,
        orphan,
        parent: (!orphan).then(|| parent.accessor.clone()),
        created: now,
        creation_ttl: expires_after,
        expires: (expires_after > 0).then(|| now.plus(Duration::from_secs(expires_after))),
        explicit_max_ttl: times.explicit_max_ttl,
        renewable: times.renewable,
        period: times.period,
        bound_cidrs: role.as_ref().map(|(_, role)| role.bound_cidrs.clone()).unwrap_or_default(),
        role: role.map(|(name, _)| name),
        batch,
        entity,
        auth_mount: None,
        renewed: None,
    };
    let parent_key = caller.key.as_ref().filter(|_| !orphan);
    let id = store_token(app, &token, id, parent_key).await?;
    let auth = Some(auth_json(app, &token, Some(&id), expires_after).await?);
    let reply = Reply::envelope(Envelope { auth, warnings, mount_type: MOUNT_TYPE, ..Envelope::default() });
    Ok(reply.warn_of_unknown(fields.unknown()))
}

/// Stores a token, or seals a batch token into its own text; tells the text.
pub(crate) async fn store_token(
    app: &App,
    token: &Token,
    id: Option<SecretBytes>,
    parent: Option<&RecordKey<Token>>,
) -> Result<SecretBytes, AppError> {
    let method =
        token.auth_mount.as_deref().and_then(|accessor| accessor.split('_').nth(1)).unwrap_or("token");
    if token.batch {
        app.metrics.token_made(method, "batch");
        let sealed = app.store.seal_detached(token)?;
        let text = format!("{BATCH}{}", URL_SAFE_NO_PAD.encode(sealed));
        if text.len() > LONGEST_TOKEN {
            return Err(AppError::invalid(
                "a batch token carries its policies and metadata, and these are too long for one",
            ));
        }
        return Ok(SecretBytes::from(text));
    }
    let id = id.unwrap_or_else(|| new_id(app.entropy.as_ref()));
    // EXPOSE: to store it under its keyed digest.
    let key = app.store.keys().token(id.expose());
    match insert(&app.store, &key, token, parent).await {
        Ok(()) => {
            app.metrics.token_made(method, "service");
            Ok(id)
        }
        Err(StoreError::Conflict) if app.store.get(&key).await?.is_some() => {
            Err(AppError::invalid("cannot create a token with a duplicate ID"))
        }
        // The parent is gone.
        Err(StoreError::Conflict) => Err(AppError::no_token()),
        Err(other) => Err(other.into()),
    }
}

/// The smaller of two limits; 0 is none.
fn smaller(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, limit) | (limit, 0) => limit,
        (a, b) => a.min(b),
    }
}

/// The kind asked for, as far as the role leaves it open.
fn wants_batch(fields: &mut Fields, role: Option<&Role>) -> Result<bool, AppError> {
    let asked = match fields.text("type")?.as_deref() {
        None | Some("" | "default-service" | "default") => None,
        Some("service") => Some(false),
        Some("batch") => Some(true),
        Some(_) => return Err(AppError::invalid("invalid 'token_type' value")),
    };
    let kind = role.map_or(Kind::DefaultService, |role| role.kind);
    match (kind, asked) {
        (Kind::Service, Some(true)) => Err(AppError::invalid("the role makes service tokens only")),
        (Kind::Batch, Some(false)) => Err(AppError::invalid("the role makes batch tokens only")),
        (kind, asked) => Ok(asked.unwrap_or(kind.is_batch())),
    }
}

fn check_batch(is_root: bool, num_uses: u64, period: u64, explicit_max_ttl: u64) -> Result<(), AppError> {
    let what = match (is_root, num_uses, period, explicit_max_ttl) {
        (true, ..) => "be root tokens",
        // They are not stored, so nothing can count, and cannot be renewed.
        (_, 1.., ..) => "have \"num_uses\" set",
        (_, _, 1.., _) => "have \"period\" set",
        (.., 1..) => "have \"explicit_max_ttl\" set",
        _ => return Ok(()),
    };
    Err(AppError::invalid(format!("batch tokens cannot {what}")))
}

fn check_id(id: &SecretBytes, sudo: bool, batch: bool, role: bool) -> Result<(), AppError> {
    // EXPOSE: to check its form.
    let text = id.expose_text().unwrap_or_default();
    if !sudo {
        Err(AppError::invalid("root or sudo privileges required to specify token id"))
    } else if batch || role {
        Err(AppError::invalid("a token id cannot be given to batch tokens or with a role"))
    } else if text.contains('.') {
        Err(AppError::invalid("custom token ID cannot have a '.' in the value"))
    } else if text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(AppError::invalid(
            "custom token ID must be at most 256 printable ASCII characters without spaces",
        ))
    } else {
        Ok(())
    }
}

fn lowered(wanted: &[String]) -> Vec<String> {
    wanted.iter().map(|policy| policy.trim().to_lowercase()).filter(|policy| !policy.is_empty()).collect()
}

fn no_wrapping(policies: &[String]) -> Result<(), AppError> {
    if policies.iter().any(|policy| policy == RESPONSE_WRAPPING) {
        return Err(AppError::invalid("cannot assign policy \"response-wrapping\""));
    }
    Ok(())
}

/// Adds `default`, or takes it away where it is not wanted, even if it was named; sorts, and keeps each once.
fn with_default(mut policies: Vec<String>, no_default: bool) -> Vec<String> {
    if no_default {
        policies.retain(|policy| policy != DEFAULT);
    } else {
        policies.push(DEFAULT.to_owned());
    }
    policies.sort();
    policies.dedup();
    policies
}

/// What a child may have of what it asks for.
fn child_policies(
    parent: &Token,
    wanted: &[String],
    no_default: bool,
    sudo: bool,
) -> Result<Vec<String>, AppError> {
    let is_root = parent.policies.iter().any(|policy| policy == ROOT);
    let mut policies = lowered(wanted);
    if policies.is_empty() {
        policies.clone_from(&parent.policies);
    } else if !sudo {
        let allowed = |policy: &String| policy == DEFAULT || parent.policies.contains(policy);
        if !policies.iter().all(allowed) {
            return Err(AppError::invalid("child policies must be subset of parent"));
        }
    }
    if policies.iter().any(|policy| policy == ROOT) {
        if !is_root {
            let text = "root tokens may not be created without parent token being root";
            return Err(AppError::invalid(text));
        }
        return Ok(vec![ROOT.to_owned()]);
    }
    no_wrapping(&policies)?;
    Ok(with_default(policies, no_default))
}

/// What a role that names policies lets a token have of what it asks for. Whether the parent has them
/// makes no difference: that is what such a role is for.
fn role_policies(role: &Role, wanted: &[String], no_default: bool) -> Result<Vec<String>, AppError> {
    let mut policies = lowered(wanted);
    let names_some = !role.allowed_policies.is_empty() || !role.allowed_policies_glob.is_empty();
    if policies.is_empty() {
        policies.clone_from(&role.allowed_policies);
    }
    for policy in &policies {
        let is_default = policy == DEFAULT && !role.no_default_policy;
        let allowed = role.allowed_policies.contains(policy)
            || role.allowed_policies_glob.iter().any(|glob| matches_glob(policy, glob));
        if policy == ROOT || names_some && !allowed && !is_default {
            return Err(AppError::invalid(
                "token policies must be subset of the role's allowed policies or glob policies",
            ));
        }
        let disallowed = role.disallowed_policies.contains(policy)
            || role.disallowed_policies_glob.iter().any(|glob| matches_glob(policy, glob));
        if disallowed {
            return Err(AppError::invalid("a token policy is disallowed by this role"));
        }
    }
    no_wrapping(&policies)?;
    let denies_default = role.disallowed_policies.iter().any(|policy| policy == DEFAULT);
    Ok(with_default(policies, no_default || denies_default))
}

fn display_name(wanted: Option<String>) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    match wanted.filter(|name| !name.is_empty()) {
        Some(name) => format!("token-{}", name.chars().take(128).map(clean).collect::<String>()),
        None => "token".to_owned(),
    }
}

/// How long a token lasts, in seconds.
pub(crate) struct Times {
    pub(crate) ttl: u64,
    pub(crate) period: u64,
    pub(crate) explicit_max_ttl: u64,
    pub(crate) renewable: bool,
    /// What it gets when it asks for nothing.
    pub(crate) default_ttl: u64,
    /// What the mount or role allows at most.
    pub(crate) max_ttl: u64,
}

impl Times {
    /// Caps what was asked for, and tells after how many seconds the token ends; 0 = never.
    pub(crate) fn settle(&mut self, is_root: bool, warnings: &mut Vec<String>) -> u64 {
        let mut max = self.max_ttl;
        if self.explicit_max_ttl > max {
            warnings.push(format!(
                "Explicit max TTL of {} seconds is greater than system/mount allowed value; value is being \
                 capped to {max} seconds",
                self.explicit_max_ttl
            ));
            self.explicit_max_ttl = max;
        }
        if self.explicit_max_ttl > 0 {
            max = self.explicit_max_ttl;
        }
        let (what, wanted) = match (self.period, self.ttl) {
            // A root token that asks for no time lasts for ever, and has nothing to renew.
            (0, 0) if is_root && self.explicit_max_ttl == 0 => {
                self.renewable = false;
                return 0;
            }
            (0, 0) => ("TTL", self.default_ttl.min(max)),
            (0, ttl) => ("TTL", ttl),
            (period, _) => ("period", period),
        };
        if wanted > max {
            let value = if what == "TTL" { "TTL value" } else { "period value" };
            warnings.push(format!(
                "{what} of \"{}\" exceeded the effective max_ttl of \"{}\"; {value} is capped accordingly",
                short(wanted),
                short(max)
            ));
        }
        wanted.min(max)
    }
}

/// Seconds as Vault's warnings print them: `768h`, `1h30m`.
pub(crate) fn short(seconds: u64) -> String {
    let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let text = format_go_duration(nanos);
    let text = text.strip_suffix("m0s").map_or(text.clone(), |rest| format!("{rest}m"));
    text.strip_suffix("h0m").map_or(text.clone(), |rest| format!("{rest}h"))
}

/// Characters of a new token, as many as Vault's, for which people bring one-time passwords of that length:
/// `hvs.` and 24 of 62, about 143 bits.
pub(in crate::app) const ROOT_TOKEN_LEN: usize = 28;

/// Random letters and digits to keep secret.
pub(in crate::app) fn random_text(entropy: &dyn Entropy, length: usize) -> SecretBytes {
    SecretBytes::from(base62(length, entropy))
}

/// A new token's text.
pub(crate) fn new_id(entropy: &dyn Entropy) -> SecretBytes {
    let random = Zeroizing::new(base62(ROOT_TOKEN_LEN - 4, entropy));
    let mut id = String::with_capacity(ROOT_TOKEN_LEN);
    id.push_str("hvs.");
    id.push_str(&random);
    SecretBytes::from(id)
}

/// Random letters and digits, each as likely as the other.
pub(crate) fn base62(length: usize, entropy: &dyn Entropy) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = Zeroizing::new([0u8; 32]);
    while text.len() < length {
        entropy.fill(bytes.as_mut());
        // 248 is the largest multiple of 62 that a byte can count to: what is above would favour the
        // first letters.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).take(length - text.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;

    use super::*;

    #[test]
    fn durations_in_warnings_are_short() {
        for (seconds, text) in [(2_764_800, "768h"), (5_400, "1h30m"), (90, "1m30s"), (60, "1m"), (30, "30s")]
        {
            assert_eq!(short(seconds), text);
        }
    }

    #[test]
    fn policies_of_roles_are_held_to_their_lists() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let role = |allowed: &[&str], globs: &[&str], disallowed: &[&str]| Role {
            allowed_policies: list(allowed),
            allowed_policies_glob: list(globs),
            disallowed_policies: list(disallowed),
            ..Role::default()
        };
        for (role, wanted, got) in [
            (role(&["a", "b"], &[], &[]), &[][..], Some(&["a", "b", "default"][..])),
            (role(&["a"], &[], &[]), &["A"], Some(&["a", "default"])),
            (role(&["a"], &[], &[]), &["b"], None),
            (role(&["a"], &["dev-*"], &[]), &["dev-x"], Some(&["default", "dev-x"])),
            (role(&[], &["*-ro", "*mid*"], &[]), &["x-ro", "amidb"], Some(&["amidb", "default", "x-ro"])),
            (role(&[], &[], &["secret"]), &["b"], Some(&["b", "default"])),
            (role(&[], &[], &["secret"]), &["Secret"], None),
            (role(&[], &[], &["default"]), &["b"], Some(&["b"])),
            (role(&[], &["*"], &[]), &["root"], None),
            (role(&[], &["*"], &[]), &["ROOT "], None),
            (role(&[], &["*"], &[]), &["response-wrapping"], None),
        ] {
            let policies = role_policies(&role, &list(wanted), false).ok();
            assert_eq!(policies, got.map(list), "{wanted:?} of {role:?}");
        }
    }

    #[test]
    fn ids_are_long_and_of_letters_and_digits() {
        let id = new_id(&SeededEntropy::new(1));
        let text = id.expose_text().unwrap();
        assert_eq!((text.len(), &text[..4]), (28, "hvs."));
        assert!(text[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
