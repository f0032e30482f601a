//! Whose tokens a mount takes.

use destinations::net::Policy;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{MOUNT_TYPE, keys};
use crate::app::{
    AppError, Fields, Reply, Request,
    auth::methods::Site,
    entries::{Kept, Table},
};

/// One mount's configuration. Exactly one of the four sources of keys is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Config {
    pub(super) jwks_url: String,
    pub(super) oidc_discovery_url: String,
    /// PEM, one each.
    pub(super) jwt_validation_pubkeys: Vec<String>,
    /// A key set, given outright.
    pub(super) jwks: String,
    pub(super) bound_issuer: String,
    /// Empty = all that are asymmetric.
    pub(super) jwt_supported_algs: Vec<String>,
    pub(super) default_role: String,
    pub(super) allowed_ipv4_addresses: Vec<String>,
    pub(super) allowed_ipv6_addresses: Vec<String>,
    pub(super) allowed_ports: Vec<i64>,
}

const NAME: &str = "config";

/// Parameters that Vault knows and that would change what is let in, or how it is looked at.
const NOT_AVAILABLE: [&str; 9] = [
    "oidc_client_id",
    "oidc_client_secret",
    "oidc_response_mode",
    "oidc_response_types",
    "provider_config",
    "jwks_pairs",
    "jwks_ca_pem",
    "oidc_discovery_ca_pem",
    "unsupported_critical_cert_extensions",
];

fn table<'a>(at: &Site<'a>) -> Table<'a, Config> {
    Table::new(&at.app.store, at.mount.accessor.as_str(), NAME)
}

pub(super) async fn get(at: &Site<'_>) -> Result<Option<Kept<Config>>, AppError> {
    Ok(table(at).get(NAME).await?)
}

impl Config {
    /// Where its keys may be fetched from.
    pub(super) fn policy(&self) -> Policy {
        Policy::allowing(&self.allowed_ipv4_addresses, &self.allowed_ipv6_addresses, &self.allowed_ports)
    }
}

pub(super) async fn read(at: &Site<'_>) -> Result<Reply, AppError> {
    let config = get(at).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("allowed_ipv4_addresses", &config.allowed_ipv4_addresses)
            .put("allowed_ipv6_addresses", &config.allowed_ipv6_addresses)
            .put("allowed_ports", &config.allowed_ports)
            .put("bound_issuer", &config.bound_issuer)
            .put("default_role", &config.default_role)
            .put("jwks", &config.jwks)
            .put("jwks_url", &config.jwks_url)
            .put("jwt_supported_algs", &config.jwt_supported_algs)
            .put("jwt_validation_pubkeys", &config.jwt_validation_pubkeys)
            .put("oidc_discovery_url", &config.oidc_discovery_url);
    }))
}

/// Replaces the configuration. Keys that come by URL are fetched once, so that a wrong address is told to
/// whoever gave it.
pub(super) async fn write(at: &Site<'_>, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    for name in NOT_AVAILABLE {
        let empty = match fields.get(name) {
            None => true,
            Some(value) => {
                value == ""
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
            }
        };
        if !empty {
            let hint = if name.ends_with("ca_pem") {
                "; name the authority in sync.ca_file of the server"
            } else {
                ""
            };
            return Err(AppError::invalid(format!("{name} is not available in keyferry{hint}")));
        }
    }
    let text = |fields: &mut Fields, name| Ok::<_, AppError>(fields.text(name)?.unwrap_or_default());
    let mut config = Config {
        jwks_url: text(&mut fields, "jwks_url")?,
        oidc_discovery_url: text(&mut fields, "oidc_discovery_url")?.trim_end_matches('/').to_owned(),
        jwt_validation_pubkeys: pems(&mut fields)?,
        jwks: match fields.get("jwks") {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        },
        bound_issuer: text(&mut fields, "bound_issuer")?,
        jwt_supported_algs: fields.list("jwt_supported_algs")?.unwrap_or_default(),
        default_role: text(&mut fields, "default_role")?.to_lowercase(),
        allowed_ipv4_addresses: fields.list("allowed_ipv4_addresses")?.unwrap_or_default(),
        allowed_ipv6_addresses: fields.list("allowed_ipv6_addresses")?.unwrap_or_default(),
        allowed_ports: fields.integers("allowed_ports")?.unwrap_or_default(),
    };
    let sources = [
        !config.jwks_url.is_empty(),
        !config.oidc_discovery_url.is_empty(),
        !config.jwt_validation_pubkeys.is_empty(),
        !config.jwks.is_empty(),
    ];
    if sources.into_iter().filter(|set| *set).count() != 1 {
        return Err(AppError::invalid(
            "exactly one of 'jwt_validation_pubkeys', 'jwks', 'jwks_url' or 'oidc_discovery_url' must be set",
        ));
    }
    check(&config)?;
    if let Some(unknown) =
        config.jwt_supported_algs.iter().find(|name| !keys::ALGORITHMS.contains(&name.as_str()))
    {
        let shown: String = unknown.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        return Err(AppError::invalid(format!("unsupported algorithm in jwt_supported_algs: {shown}")));
    }
    let issuer = keys::try_out(at, &config).await?;
    if config.bound_issuer.is_empty()
        && let Some(issuer) = issuer
    {
        config.bound_issuer = issuer;
    }
    table(at).change(NAME, |_| Ok((Some(config.clone()), ()))).await?;
    let reply = Reply::empty();
    Ok(match fields.unknown() {
        Some(warning) => reply.warn(warning),
        None => reply,
    })
}

/// PEM texts, which hold commas nowhere, so that a list in one text is not to be thought of.
fn pems(fields: &mut Fields) -> Result<Vec<String>, AppError> {
    match fields.get("jwt_validation_pubkeys") {
        Some(serde_json::Value::String(text)) if text.trim().is_empty() => Ok(Vec::new()),
        Some(serde_json::Value::String(text)) => Ok(vec![text.clone()]),
        _ => Ok(fields.list("jwt_validation_pubkeys")?.unwrap_or_default()),
    }
}

fn check(config: &Config) -> Result<(), AppError> {
    for (name, text) in [("jwks_url", &config.jwks_url), ("oidc_discovery_url", &config.oidc_discovery_url)] {
        if text.is_empty() {
            continue;
        }
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        let url = url.ok_or_else(|| AppError::invalid(format!("{name}: expected an http or https URL")))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(AppError::invalid(format!(
                "{name}: credentials and fragments do not belong into it"
            )));
        }
    }
    let wrong = |name: &str, what: &str| Err(AppError::invalid(format!("{name}: expected {what}")));
    if !config.allowed_ipv4_addresses.iter().all(|range| range.parse::<ipnet::Ipv4Net>().is_ok()) {
        return wrong("allowed_ipv4_addresses", "ranges such as 10.0.0.0/8");
    }
    if !config.allowed_ipv6_addresses.iter().all(|range| range.parse::<ipnet::Ipv6Net>().is_ok()) {
        return wrong("allowed_ipv6_addresses", "ranges such as fd00::/8");
    }
    if !config.allowed_ports.iter().all(|port| (1..=65535).contains(port)) {
        return wrong("allowed_ports", "ports from 1 to 65535");
    }
    Ok(())
}
