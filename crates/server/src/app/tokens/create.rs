//! `auth/token/create` and `create-orphan`.

use std::time::Duration;

use model::{Entropy, SecretBytes, format_go_duration};
use store::{StoreError, records::Token};
use zeroize::Zeroizing;

use super::{MOUNT_TYPE, auth_json, insert};
use crate::app::{App, AppError, Envelope, Fields, Reply, Request, auth::Caller};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) async fn create(
    app: &App,
    caller: &Caller,
    request: &Request,
    rest: &str,
) -> Result<Reply, AppError> {
    let parent = &caller.token.record;
    if parent.num_uses > 0 || caller.spent {
        return Err(AppError::invalid("restricted use token cannot generate child tokens"));
    }
    let is_root = parent.policies.iter().any(|policy| policy == "root");
    let mut fields = Fields::of(request)?;
    let mut warnings = Vec::new();

    match fields.text("type")?.as_deref() {
        None | Some("" | "service" | "default-service" | "default") => {}
        Some("batch") => return Err(AppError::invalid("batch tokens are not available in keyferry")),
        Some(_) => return Err(AppError::invalid("invalid 'token_type' value")),
    }
    if fields.text("entity_alias")?.is_some_and(|alias| !alias.is_empty()) {
        let text = "'entity_alias' is only allowed in combination with token role";
        return Err(AppError::invalid(text));
    }
    let id = fields.secret("id")?.filter(|id| !id.is_empty());
    if let Some(id) = &id {
        check_id(id, is_root)?;
    }
    let orphan = rest == "create-orphan" || fields.boolean("no_parent")?.unwrap_or(false);
    if orphan && rest != "create-orphan" && !is_root {
        return Err(AppError::invalid("root or sudo privileges required to create orphan token"));
    }
    let wanted = fields.list("policies")?.unwrap_or_default();
    let no_default = fields.boolean("no_default_policy")?.unwrap_or(false);
    let policies = child_policies(parent, &wanted, no_default)?;
    for policy in policies.iter().filter(|policy| !matches!(policy.as_str(), "root" | "default")) {
        warnings.push(format!("Policy \"{policy}\" does not exist"));
    }
    let num_uses = fields.integer("num_uses")?.unwrap_or(0);
    let num_uses =
        u64::try_from(num_uses).map_err(|_| AppError::invalid("number of uses cannot be negative"))?;
    let display_name = display_name(fields.text("display_name")?);
    let meta = fields.map("meta")?;
    let period = positive(&mut fields, "period")?;
    if period > 0 && !is_root {
        return Err(AppError::invalid("root or sudo privileges required to create periodic token"));
    }
    let mut times = Times {
        ttl: match positive(&mut fields, "ttl")? {
            0 => positive(&mut fields, "lease")?,
            ttl => ttl,
        },
        period,
        explicit_max_ttl: positive(&mut fields, "explicit_max_ttl")?,
        renewable: fields.boolean("renewable")?.unwrap_or(true),
    };
    fields.known(&["lease"]);
    let expires_after = times.settle(app, policies == ["root"], &mut warnings);

    let now = app.clock.now();
    let token = Token {
        accessor: base62(24, app.entropy.as_ref()),
        policies,
        path: format!("auth/token/{rest}"),
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
        role: None,
    };
    let id = id.unwrap_or_else(|| new_id(app.entropy.as_ref()));
    // EXPOSE: to store it under its keyed digest.
    let key = app.store.keys().token(id.expose());
    let parent_key = (!orphan).then_some(&caller.key);
    match insert(&app.store, &key, &token, parent_key).await {
        Ok(()) => {}
        Err(StoreError::Conflict) if app.store.get(&key).await?.is_some() => {
            return Err(AppError::invalid("cannot create a token with a duplicate ID"));
        }
        // The parent is gone.
        Err(StoreError::Conflict) => return Err(AppError::no_token()),
        Err(other) => return Err(other.into()),
    }
    let auth = Some(auth_json(&token, Some(&id), expires_after));
    let reply = Reply::envelope(Envelope { auth, warnings, mount_type: MOUNT_TYPE, ..Envelope::default() });
    Ok(reply.warn_of_unknown(fields.unknown()))
}

fn check_id(id: &SecretBytes, is_root: bool) -> Result<(), AppError> {
    // EXPOSE: to check its form.
    let text = id.expose_text().unwrap_or_default();
    if !is_root {
        Err(AppError::invalid("root or sudo privileges required to specify token id"))
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

/// What a child may have of what it asks for.
fn child_policies(parent: &Token, wanted: &[String], no_default: bool) -> Result<Vec<String>, AppError> {
    let is_root = parent.policies.iter().any(|policy| policy == "root");
    let mut policies: Vec<String> = wanted
        .iter()
        .map(|policy| policy.trim().to_lowercase())
        .filter(|policy| !policy.is_empty())
        .collect();
    if policies.is_empty() {
        policies.clone_from(&parent.policies);
    } else if !is_root {
        let allowed = |policy: &String| policy == "default" || parent.policies.contains(policy);
        if !policies.iter().all(allowed) {
            return Err(AppError::invalid("child policies must be subset of parent"));
        }
    }
    if policies.iter().any(|policy| policy == "root") {
        if !is_root {
            let text = "root tokens may not be created without parent token being root";
            return Err(AppError::invalid(text));
        }
        return Ok(vec!["root".to_owned()]);
    }
    if policies.iter().any(|policy| policy == "response-wrapping") {
        return Err(AppError::invalid("cannot assign policy \"response-wrapping\""));
    }
    if no_default {
        policies.retain(|policy| policy != "default" || wanted.iter().any(|wanted| wanted == "default"));
    } else {
        policies.push("default".to_owned());
    }
    policies.sort();
    policies.dedup();
    Ok(policies)
}

fn display_name(wanted: Option<String>) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    match wanted.filter(|name| !name.is_empty()) {
        Some(name) => format!("token-{}", name.chars().take(128).map(clean).collect::<String>()),
        None => "token".to_owned(),
    }
}

/// A duration in seconds whose sign has its own text.
fn positive(fields: &mut Fields, name: &'static str) -> Result<u64, AppError> {
    match fields.signed_duration(name)?.unwrap_or(0) {
        nanos if nanos < 0 => Err(AppError::invalid(format!("{name} must be positive"))),
        nanos => Ok(nanos.unsigned_abs() / 1_000_000_000),
    }
}

/// How long a token lasts, in seconds.
struct Times {
    ttl: u64,
    period: u64,
    explicit_max_ttl: u64,
    renewable: bool,
}

impl Times {
    /// Caps what was asked for, and tells after how many seconds the token ends; 0 = never.
    fn settle(&mut self, app: &App, is_root: bool, warnings: &mut Vec<String>) -> u64 {
        let mut max = app.settings.max_lease_ttl;
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
            (0, 0) => ("TTL", app.settings.default_lease_ttl.min(max)),
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
pub(super) fn short(seconds: u64) -> String {
    let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let text = format_go_duration(nanos);
    let text = text.strip_suffix("m0s").map_or(text.clone(), |rest| format!("{rest}m"));
    text.strip_suffix("h0m").map_or(text.clone(), |rest| format!("{rest}h"))
}

/// A new token's text: 26 characters of 62, about 154 bits.
pub(super) fn new_id(entropy: &dyn Entropy) -> SecretBytes {
    let random = Zeroizing::new(base62(26, entropy));
    let mut id = String::with_capacity(30);
    id.push_str("hvs.");
    id.push_str(&random);
    SecretBytes::from(id)
}

/// Random letters and digits, each as likely as the other.
pub(super) fn base62(length: usize, entropy: &dyn Entropy) -> String {
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
    fn ids_are_long_and_of_letters_and_digits() {
        let id = new_id(&SeededEntropy::new(1));
        let text = id.expose_text().unwrap();
        assert_eq!((text.len(), &text[..4]), (30, "hvs."));
        assert!(text[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
