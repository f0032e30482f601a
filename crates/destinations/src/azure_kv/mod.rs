//! `azure-kv`: secrets of an Azure Key Vault. Permissions, limits, cost and quirks are in notes.md.

mod adapter;
mod api;
mod auth;
mod cloud;
#[cfg(feature = "fakes")]
pub(crate) mod fake;
mod faults;
mod limits;
mod listing;
mod memory;
mod reading;
mod tags;
mod wire;

use std::sync::Arc;

use model::{Granularity, SecretBytes};

use crate::{
    Abilities, Case, Config, Destination, ENDPOINT, Field, FieldFault, Kind, Limits, NameRule, Net, Shape,
    TagRule,
    identity::{Federation, IDENTITY_TOKEN_AUDIENCE, IDENTITY_TOKEN_KEY, IDENTITY_TOKEN_TTL},
};
use adapter::{AzureKv, Plan};
use cloud::Cloud;

/// The kind.
pub(crate) struct AzureKvKind;

/// Largest value Azure takes: 25 KB of UTF-8.
const MAX_VALUE_BYTES: usize = 25 * 1024;

/// The version of the service's interface that is spoken: old enough for sovereign clouds and stand-ins,
/// new enough for all that is used.
const API_VERSION: &str = "7.4";

const FIELDS: &[Field] = &[
    Field::new(
        "key_vault_uri",
        Shape::Url,
        "Address of the vault, such as https://my-vault.vault.azure.net.",
    )
    .required()
    .immutable(),
    Field::new("tenant_id", Shape::Text, "Tenant of the app, by id or domain. Without one, the vault's own.")
        .immutable()
        .checked(tenant_problem),
    Field::new(
        "client_id",
        Shape::Text,
        "The app registration to sign in as. Without client_secret, the app or the user-assigned managed \
         identity of the server's own identity.",
    )
    .checked(|id| {
        let ok = id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic());
        (!ok).then_some("must be an app's client id: at most 128 characters, no spaces")
    }),
    Field::new(
        "client_secret",
        Shape::Text,
        "Client secret of the app. Without one, the server's own identity is used: environment, workload \
         identity, managed identity.",
    )
    .secret(),
    Field::new(
        "cloud",
        Shape::Text,
        "Azure's cloud the vault is in: cloud (the public one), usgovernment or china. Without one, the one \
         the vault's address belongs to.",
    )
    .immutable()
    .checked(cloud::name_problem),
    IDENTITY_TOKEN_AUDIENCE,
    IDENTITY_TOKEN_KEY,
    IDENTITY_TOKEN_TTL,
    Field::new(
        "purge_on_delete",
        Shape::Bool,
        "Purge a removed secret instead of leaving it to be recovered. Needs the purge permission; a vault \
         with purge protection keeps it all the same.",
    ),
    Field::new("api_version", Shape::Text, "Version of Key Vault's interface to speak instead of 7.4.")
        .checked(api_version_problem),
    ENDPOINT,
    Field::new(
        "auth_endpoint",
        Shape::Url,
        "Root of the authority that signs client_id and client_secret in, instead of the cloud's own, for \
         private endpoints and tests.",
    ),
];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: r#"vault-{{ .MountAccessor | replace "_" "-" }}-{{ .SecretPath }}"#,
    key_template: r#"vault-{{ .MountAccessor | replace "_" "-" }}-{{ .SecretPath }}-{{ .SecretKey }}"#,
    names: NameRule {
        allows: |c| c.is_ascii_alphanumeric() || c == '-',
        allowed: "ASCII letters, digits and hyphens",
        replacement: '-',
        max_len: 127,
        case: Case::Folded,
        also: |_| None,
    },
    max_value_bytes: MAX_VALUE_BYTES,
    empty_values: true,
    marks: true,
    // There is no conditional write.
    create_notices: false,
    custom_tags: Some(TagRule {
        max_tags: 15 - tags::MARK_TAGS,
        max_key: 256,
        max_value: 256,
        key_allows: |c| c.is_alphanumeric() || "_.:/=+-@".contains(c),
        value_allows: |c| !c.is_control(),
        allowed: "letters, digits and _.:/=+-@ in keys, no control characters in values",
        key_also: tags::reserved,
    }),
    binary: true,
    batch: 1,
};

/// What is wrong with a tenant, if anything. It becomes part of an address.
fn tenant_problem(tenant: &str) -> Option<&'static str> {
    let ok = (1..=253).contains(&tenant.len())
        && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && tenant.bytes().any(|b| b != b'.');
    (!ok).then_some("must be a tenant's id, or one of its domains such as contoso.onmicrosoft.com")
}

/// What is wrong with a version of the interface, if anything: `7.4`, `2025-07-01`, `2026-05-01-preview`.
fn api_version_problem(version: &str) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    let plain = version.strip_suffix("-preview").unwrap_or(version);
    let numbered = plain.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor));
    let dated = matches!(plain.split('-').collect::<Vec<_>>().as_slice(),
        [y, m, d] if y.len() == 4 && m.len() == 2 && d.len() == 2 && [y, m, d].iter().all(|part| digits(part)));
    (!(numbered || dated)).then_some("must be a version such as 7.4 or 2025-07-01")
}

impl Kind for AzureKvKind {
    fn slug(&self) -> &'static str {
        "azure-kv"
    }

    fn title(&self) -> &'static str {
        "Azure Key Vault"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn reads_values(&self) -> bool {
        true
    }

    fn limits(&self, _: &Config) -> Option<&'static Limits> {
        Some(&limits::LIMITS)
    }

    fn account(&self, config: &Config) -> Option<SecretBytes> {
        limits::account(config)
    }

    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::new(AzureKv::new(plan(config, net)?, Arc::clone(net))))
    }
}

/// Checks what one field alone cannot say.
fn plan(config: &Config, net: &Net) -> Result<Plan, FieldFault> {
    let federation = Federation::of(config, net)?;
    if federation.is_some() {
        if config.secret("client_secret").is_some() {
            return Err(FieldFault::new(
                "identity_token_audience",
                "excludes client_secret: give one or the other",
            ));
        }
        for field in ["tenant_id", "client_id"] {
            if config.text(field).is_none() {
                return Err(FieldFault::new(field, "is required together with identity_token_audience"));
            }
        }
    }
    if config.secret("client_secret").is_some() && config.text("client_id").is_none() {
        return Err(FieldFault::new("client_id", "is required together with client_secret"));
    }
    let (vault_host, vault_base) =
        address(config, "key_vault_uri")?.ok_or_else(|| FieldFault::new("key_vault_uri", "is required"))?;
    if vault_base.matches('/').count() != 2 {
        return Err(FieldFault::new(
            "key_vault_uri",
            "must be the vault's address without a path, such as https://my-vault.vault.azure.net",
        ));
    }
    let (called_host, base) =
        address(config, "endpoint")?.unwrap_or_else(|| (vault_host.clone(), vault_base.clone()));
    let of_vault = Cloud::of_vault(&vault_host);
    let named = config.text("cloud").and_then(Cloud::named);
    if let (Some(named), Some(of_vault)) = (named, of_vault)
        && named != of_vault
    {
        return Err(FieldFault::new(
            "cloud",
            format!("is not the cloud of key_vault_uri: vaults there are below {}", named.vaults),
        ));
    }
    Ok(Plan {
        config: config.clone(),
        federation,
        vault_host,
        base,
        called_host,
        cloud: named.or(of_vault),
        api_version: config.text("api_version").unwrap_or(API_VERSION).to_owned(),
        purge: config.flag("purge_on_delete"),
        always_look: config.text("ownership_check") == Some("always"),
    })
}

/// Host, and the URL without a slash at its end, of a field that holds one.
fn address(config: &Config, field: &'static str) -> Result<Option<(String, String)>, FieldFault> {
    let Some(text) = config.text(field) else { return Ok(None) };
    let problem = || FieldFault::new(field, "must be an http or https URL with a host");
    let url = url::Url::parse(text).map_err(|_| problem())?;
    let host = url.host_str().ok_or_else(problem)?.trim_end_matches('.').to_owned();
    Ok(Some((host, url.as_str().trim_end_matches('/').to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_interface_have_two_forms() {
        for good in ["7.4", "7.6", "2025-07-01", "2026-05-01-preview", "7.6-preview", "7.6-preview.1"] {
            assert_eq!(api_version_problem(good).is_some(), good == "7.6-preview.1", "{good}");
        }
        for bad in ["", "7", "7.", ".4", "7.4&x=1", "2025-7-1", "2025-07-01-beta", "latest", "7.4.1"] {
            assert!(api_version_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn tenants_are_parts_of_addresses() {
        for good in ["uuid", "16b3c013-d300-468d-ac64-7eda0820b6d3", "contoso.onmicrosoft.com"] {
            assert_eq!(tenant_problem(good), None, "{good}");
        }
        for bad in ["", "..", "a/b", "a?b", "a b", "é", &"a".repeat(254)] {
            assert!(tenant_problem(bad).is_some(), "{bad}");
        }
    }
}
