//! `aws-sm`: AWS Secrets Manager. Permissions, limits, cost and quirks are in notes.md.

mod adapter;
mod api;
mod credentials;
#[cfg(feature = "fakes")]
pub(crate) mod fake;
mod faults;
pub(crate) mod kms;
mod limits;
mod listing;
mod outside;
mod place;
mod profile;
mod reading;
mod settings;
mod sign;
mod tags;
mod wire;

use std::sync::Arc;

use model::{Granularity, SecretBytes};

use crate::{
    Abilities, Case, Config, Destination, ENDPOINT, Field, FieldFault, Kind, Limits, NameRule, Net, Shape,
    TagRule,
    identity::{Federation, IDENTITY_TOKEN_AUDIENCE, IDENTITY_TOKEN_KEY, IDENTITY_TOKEN_TTL},
};
use adapter::{AwsSm, Plan, Recovery};

/// The kind.
pub(crate) struct AwsSmKind;

/// Largest value AWS takes.
const MAX_VALUE_BYTES: usize = 65_536;

const FIELDS: &[Field] = &[
    Field::new(
        "access_key_id",
        Shape::Text,
        "Access key to sign with. Without one, the server's own AWS credentials are used: environment, \
         profile, web identity, container, instance.",
    )
    .secret()
    .checked(|id| {
        // What would break the signature's header apart; whether it is a real one AWS will tell.
        let ok = id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b','));
        (!ok).then_some("must be an access key id: at most 128 characters, no space, slash or comma")
    }),
    Field::new("secret_access_key", Shape::Text, "The secret that belongs to access_key_id.").secret(),
    Field::new(
        "region",
        Shape::Text,
        "Region to keep the secrets in. Without one, that of the server's environment, profile or machine.",
    )
    .immutable()
    .checked(place::region_problem),
    Field::new("role_arn", Shape::Text, "Role to assume, with the credentials above or the server's own.")
        .checked(|arn| {
            let ok = (20..=2048).contains(&arn.len()) && arn.starts_with("arn:") && arn.contains(":role/");
            (!ok).then_some("must be the ARN of a role such as arn:aws:iam::123456789012:role/sync")
        }),
    Field::new("external_id", Shape::Text, "External id the role's trust policy asks for. Needs role_arn.")
        .checked(|id| {
            let word = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b);
            let ok = (2..=1224).contains(&id.len()) && id.bytes().all(word);
            (!ok).then_some("must be 2 to 1224 letters, digits or _+=,.@:/-")
        }),
    IDENTITY_TOKEN_AUDIENCE,
    IDENTITY_TOKEN_KEY,
    IDENTITY_TOKEN_TTL,
    Field::new("kms_key_id", Shape::Text, "KMS key to encrypt with, by ARN, id or alias. Without one, AWS's own.")
        .per_secret()
        .checked(|id| (id.len() > 2048).then_some("must be at most 2048 characters")),
    Field::new(
        "replica_regions",
        Shape::Map,
        "Regions to replicate every secret to, each with the ARN of a KMS key there, or nothing for AWS's own.",
    )
    .per_secret()
    .checked(place::region_problem),
    Field::new(
        "recovery_window_in_days",
        Shape::Int { min: 0, max: 30 },
        "How long a removed secret can be recovered: 7 to 30 days, 30 if not given. 0 removes it at once.",
    ),
    ENDPOINT,
    Field::new(
        "auth_endpoint",
        Shape::Url,
        "Base URL of the token service (STS) for role_arn instead of AWS's own, for private endpoints and \
         tests.",
    ),
];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
    key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
    names: NameRule {
        allows: |c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c),
        allowed: "ASCII letters, digits and /_+=.@-",
        replacement: '_',
        max_len: 512,
        case: Case::Sensitive,
        also: |_| None,
    },
    max_value_bytes: MAX_VALUE_BYTES,
    empty_values: false,
    marks: true,
    create_notices: true,
    custom_tags: Some(TagRule {
        max_tags: 50 - tags::MARK_TAGS,
        max_key: 128,
        max_value: 256,
        key_allows: tag_character,
        value_allows: tag_character,
        allowed: "letters, digits, spaces and _.:/=+-@",
        key_also: tags::reserved,
    }),
    binary: true,
    batch: 1,
};

fn tag_character(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

impl Kind for AwsSmKind {
    fn slug(&self) -> &'static str {
        "aws-sm"
    }

    fn title(&self) -> &'static str {
        "AWS Secrets Manager"
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
        Some(limits::account(config))
    }

    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::new(AwsSm::new(plan(config, net)?, Arc::clone(net))))
    }
}

/// Checks what one field alone cannot say.
fn plan(config: &Config, net: &Net) -> Result<Plan, FieldFault> {
    let federation = Federation::of(config, net)?;
    if federation.is_some() {
        if config.get("access_key_id").is_some() {
            return Err(FieldFault::new(
                "identity_token_audience",
                "excludes access_key_id: give one or the other",
            ));
        }
        if config.get("role_arn").is_none() {
            return Err(FieldFault::new("role_arn", "is required together with identity_token_audience"));
        }
        if config.get("external_id").is_some() {
            return Err(FieldFault::new(
                "external_id",
                "has no meaning with identity_token_audience: AWS takes none with an identity token",
            ));
        }
    }
    match (config.get("access_key_id"), config.get("secret_access_key")) {
        (Some(_), None) => {
            return Err(FieldFault::new("secret_access_key", "is required together with access_key_id"));
        }
        (None, Some(_)) => {
            return Err(FieldFault::new("access_key_id", "is required together with secret_access_key"));
        }
        _ => {}
    }
    let replicas = config.map("replica_regions").cloned().unwrap_or_default();
    if config.text("region").is_some_and(|region| replicas.contains_key(region)) {
        return Err(FieldFault::new("replica_regions", "must not name the destination's own region"));
    }
    if replicas.values().any(|key| key.len() > 2048) {
        return Err(FieldFault::new("replica_regions", "must name KMS keys of at most 2048 characters"));
    }
    let recovery = match config.int("recovery_window_in_days") {
        None => Recovery::Days(30),
        Some(0) => Recovery::None,
        Some(days @ 7..=30) => Recovery::Days(days),
        Some(_) => {
            return Err(FieldFault::new("recovery_window_in_days", "must be 0, or in the range 7 to 30"));
        }
    };
    Ok(Plan {
        config: config.clone(),
        federation,
        recovery,
        kms_key_id: config.text("kms_key_id").map(ToOwned::to_owned),
        replicas,
        always_look: config.text("ownership_check") == Some("always"),
    })
}
