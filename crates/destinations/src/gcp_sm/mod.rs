//! `gcp-sm`: Google Secret Manager. Permissions, limits, cost and quirks are in notes.md.

mod adapter;
mod api;
mod auth;
mod crc;
#[cfg(feature = "fakes")]
pub(crate) mod fake;
mod faults;
mod labels;
mod limits;
mod listing;
mod place;
mod plan;
mod reading;
mod settings;
mod versions;
mod wire;

use std::sync::Arc;

use model::{Granularity, SecretBytes};

use crate::{
    Abilities, Case, Config, Destination, ENDPOINT, Field, FieldFault, Kind, Limits, NameRule, Net, Shape,
    TagRule,
    identity::{IDENTITY_TOKEN_AUDIENCE, IDENTITY_TOKEN_KEY, IDENTITY_TOKEN_TTL},
};
use adapter::GcpSm;

/// The kind.
pub(crate) struct GcpSmKind;

/// Largest value Google takes.
const MAX_VALUE_BYTES: usize = 65_536;

/// Most labels a secret may have.
const MAX_LABELS: usize = 64;

const FIELDS: &[Field] = &[
    Field::new(
        "credentials",
        Shape::Text,
        "Google credentials in JSON: a service account's key. Without them the server's own are used \
         (application default credentials).",
    )
    .secret(),
    Field::new(
        "project_id",
        Shape::Text,
        "Project to keep the secrets in. Without one, that of the credentials.",
    )
    .immutable()
    .checked(place::project_problem),
    Field::new(
        "kms_key_id",
        Shape::Text,
        "KMS key of location global to encrypt with. Without one, Google's own. Excludes replica_regions.",
    )
    .per_secret()
    .checked(key_problem),
    Field::new(
        "replica_regions",
        Shape::Map,
        "Locations to keep every secret in, each with a KMS key of that location, or nothing for Google's own: \
         all with a key or none. Without any, Google chooses.",
    )
    .per_secret()
    .checked(place::location_problem),
    Field::new("replication_locations", Shape::List, "Older form of replica_regions: its locations.")
        .per_secret()
        .checked(place::location_problem),
    Field::new("global_kms_key", Shape::Text, "Older name of kms_key_id.").per_secret().checked(key_problem),
    Field::new(
        "locational_kms_keys",
        Shape::Map,
        "Older form of replica_regions: a KMS key for each of replication_locations.",
    )
    .per_secret()
    .checked(place::location_problem),
    Field::new(
        "keep_versions",
        Shape::Int { min: 1, max: 100 },
        "How many versions of each secret stay, the newest included: 1 if not given. Google charges for each.",
    ),
    Field::new(
        "retired_versions",
        Shape::OneOf(&["destroy", "disable"]),
        "What becomes of versions beyond keep_versions: their values are wiped (destroy, the default), or they \
         can be enabled again and are charged for (disable).",
    ),
    IDENTITY_TOKEN_AUDIENCE,
    IDENTITY_TOKEN_KEY,
    IDENTITY_TOKEN_TTL,
    Field::new(
        "service_account_email",
        Shape::Text,
        "Workload identity federation: the service account to act as. Needs identity_token_audience, the full name \
         of the identity pool's provider (//iam.googleapis.com/projects/…).",
    ),
    ENDPOINT,
    Field::new(
        "auth_endpoint",
        Shape::Url,
        "URL at which the token for credentials is asked for instead of the one they name, for private \
         endpoints and tests. Needs credentials.",
    ),
];

fn key_problem(name: &str) -> Option<&'static str> {
    place::location_of_key(name).err()
}

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: "vault_{{ .MountAccessor }}_{{ .SecretPath }}",
    key_template: "vault_{{ .MountAccessor }}_{{ .SecretPath }}_{{ .SecretKey }}",
    names: NameRule {
        allows: |c| c.is_ascii_alphanumeric() || c == '_' || c == '-',
        allowed: "ASCII letters, digits, _ and -",
        replacement: '_',
        max_len: 255,
        case: Case::Sensitive,
        also: |_| None,
    },
    max_value_bytes: MAX_VALUE_BYTES,
    empty_values: false,
    marks: true,
    create_notices: true,
    custom_tags: Some(TagRule {
        max_tags: MAX_LABELS - labels::MARK_LABELS,
        max_key: 63,
        max_value: 63,
        key_allows: labels::key_character,
        value_allows: labels::value_character,
        allowed: "letters, digits and _-.:/@+= (and spaces in values); all but _ and - become _, and capitals small",
        key_also: labels::key_problem,
    }),
    binary: true,
    batch: 1,
};

impl Kind for GcpSmKind {
    fn slug(&self) -> &'static str {
        "gcp-sm"
    }

    fn title(&self) -> &'static str {
        "Google Secret Manager"
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
        Ok(Arc::new(GcpSm::new(plan::of(config, net)?, Arc::clone(net))))
    }
}
