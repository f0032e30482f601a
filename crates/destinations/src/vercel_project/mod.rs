//! `vercel-project`: the environment variables of a Vercel project. Permissions, limits, cost and quirks
//! are in notes.md.

mod adapter;
mod api;
#[cfg(feature = "fakes")]
pub(crate) mod fake;
mod faults;
mod limits;
mod mark;
mod post;
mod reconcile;
mod targets;
mod wire;

use std::sync::{Arc, atomic::AtomicUsize};

use model::{Granularity, SecretBytes};
use url::Url;

use crate::{
    Abilities, Case, Config, Destination, ENDPOINT, Field, FieldFault, Kind, Limits, NameRule, Net, Shape,
    net::Policy,
};
use adapter::VercelProject;
use api::Api;
use targets::Targets;

/// The kind.
pub(crate) struct VercelProjectKind;

/// Largest value: as much as all variables of a deployment may take together.
const MAX_VALUE_BYTES: usize = 65_536;

const FIELDS: &[Field] = &[
    Field::new(
        "access_token",
        Shape::Text,
        "Access token of a user who may edit the project's environment variables, with the project's team in \
         its scope.",
    )
    .required()
    .secret()
    .checked(|token| {
        let ok = token.len() <= 4096 && token.bytes().all(|b| b.is_ascii_graphic());
        (!ok).then_some("must be an access token: at most 4096 characters, no spaces")
    }),
    Field::new("project_id", Shape::Text, "Project to keep the variables in, by its id (prj_…) or name.")
        .required()
        .immutable()
        .checked(|id| {
            let word = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            let ok = id.len() <= 100 && id.bytes().all(word) && !matches!(id, "." | "..");
            (!ok).then_some("must be the id or name of a project: at most 100 letters, digits or ._-")
        }),
    Field::new(
        "team_id",
        Shape::Text,
        "Team the project belongs to (team_…). Not needed for a project of the token's own user.",
    )
    .checked(|id| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        (id.len() > 100 || !id.bytes().all(word))
            .then_some("must be the id of a team: at most 100 letters, digits or _-")
    }),
    Field::new(
        "deployment_environments",
        Shape::List,
        "Environments the variables are for: development, preview, production.",
    )
    .required()
    .per_secret()
    .checked(|word| {
        (!word.is_empty() && !targets::WORDS.contains(&word))
            .then_some("must be development, preview or production")
    }),
    ENDPOINT,
];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretKey,
    path_template: "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}",
    key_template: "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}_{{ .SecretKey | uppercase }}",
    names: NameRule {
        allows: |c| c.is_ascii_alphanumeric() || c == '_',
        allowed: "ASCII letters, digits and _",
        replacement: '_',
        max_len: 256,
        case: Case::Sensitive,
        also: |name| {
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                return Some("must not begin with a digit");
            }
            RESERVED.contains(&name).then_some("is reserved by Vercel's function runtimes")
        },
    },
    max_value_bytes: MAX_VALUE_BYTES,
    empty_values: true,
    marks: true,
    create_notices: true,
    custom_tags: None,
    binary: false,
    batch: post::MOST_IN_ARRAY / 2,
};

/// Names the function runtimes keep for themselves, as Vercel lists them.
const RESERVED: &[&str] = &[
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_SECRET_KEY",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "NOW_REGION",
    "TZ",
];

impl Kind for VercelProjectKind {
    fn slug(&self) -> &'static str {
        "vercel-project"
    }

    fn title(&self) -> &'static str {
        "Vercel project environment variables"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn limits(&self, _: &Config) -> Option<&'static Limits> {
        Some(&limits::LIMITS)
    }

    fn account(&self, config: &Config) -> Option<SecretBytes> {
        limits::account(config)
    }

    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        let required = |field: &'static str| FieldFault::new(field, "is required");
        let base = Url::parse(config.text("endpoint").unwrap_or(api::PUBLIC))
            .map_err(|_| FieldFault::new("endpoint", "must be a URL"))?;
        let token: SecretBytes =
            config.secret("access_token").cloned().ok_or_else(|| required("access_token"))?;
        let project = config.text("project_id").ok_or_else(|| required("project_id"))?.to_owned();
        let wanted = Targets::of(config.list("deployment_environments").iter().map(String::as_str));
        if wanted.is_empty() {
            return Err(required("deployment_environments"));
        }
        Ok(Arc::new(VercelProject {
            api: Api {
                net: Arc::clone(net),
                client: net.client(&Policy::of(config)),
                base,
                project,
                team: config.text("team_id").map(ToOwned::to_owned),
                token,
                most_in_array: AtomicUsize::new(post::MOST_IN_ARRAY),
            },
            wanted,
            always_look: config.text("ownership_check") == Some("always"),
        }))
    }
}
