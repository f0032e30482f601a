//! `gh`: GitHub Actions secrets of a repository, an environment or an organization. Permissions, limits and
//! quirks are in notes.md.

mod account;
mod adapter;
mod api;
mod auth;
#[cfg(feature = "fakes")]
pub(crate) mod fake;
mod faults;
mod inventory;
mod place;
mod seal;

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use aws_lc_rs::digest;
use bytes::Bytes;
use model::{Granularity, SecretBytes};
use serde_json::json;

use crate::{
    Abilities, Case, Config, Destination, Draw, ENDPOINT, Field, FieldFault, Kind, Limits, NameRule, Net,
    Pool, Shape, Shared, jwt::SigningKey, net::Policy, tokens::TokenCache,
};
use account::Accounts;
use adapter::{Audience, Gh};
use api::{Api, Wire};
use auth::{App, Source};
use place::{Place, Scope};

/// The kind.
pub(crate) struct GhKind {
    accounts: Accounts,
}

impl GhKind {
    pub(crate) const fn new() -> Self {
        Self { accounts: Accounts::new() }
    }
}

/// Largest value GitHub takes: 48 KB.
const MAX_VALUE_BYTES: usize = 48 * 1024;

const ENTERPRISE_URL: Field = Field::new(
    "enterprise_url",
    Shape::Url,
    "URL of an own GitHub (Enterprise Server, or a subdomain of ghe.com) instead of GitHub.com.",
)
.immutable();

const FIELDS: &[Field] = &[
    Field::new(
        "access_token",
        Shape::Text,
        "Personal access token, classic or fine-grained. Without one or app_name, GITHUB_ACCESS_TOKEN of the \
         server's environment is used, at GitHub.com only.",
    )
    .secret()
    .replaced_by("app_name")
    .checked(|token| {
        // Of whatever length and form: GitHub changes them.
        let ok = token.len() <= 8192 && token.bytes().all(|b| b.is_ascii_graphic());
        (!ok).then_some("must be a token: visible ASCII characters without spaces")
    }),
    Field::new("app_name", Shape::Text, "Name of a GitHub app kept at sys/sync/github-apps. Needs installation_id."),
    Field::new(
        "installation_id",
        Shape::Int { min: 1, max: i64::MAX },
        "Number of the app's installation to act as. Needs app_name.",
    ),
    Field::new(
        "secrets_location",
        Shape::OneOf(&["repository", "organization"]),
        "Whether the secrets belong to a repository (the default) or to an organization.",
    )
    .immutable(),
    Field::new(
        "repository_owner",
        Shape::Text,
        "User or organization that owns the repository. Without one, GITHUB_REPOSITORY_OWNER of the server's \
         environment.",
    )
    .immutable()
    .checked(place::owner_problem),
    Field::new(
        "repository_name",
        Shape::Text,
        "Name of the repository, without its owner. Without one, GITHUB_REPOSITORY_NAME of the server's \
         environment.",
    )
    .immutable()
    .checked(place::repository_problem),
    Field::new(
        "environment_name",
        Shape::Text,
        "Environment of the repository that the secrets belong to. It has to be there.",
    )
    .immutable()
    .checked(place::environment_problem),
    Field::new("organization_name", Shape::Text, "Organization, for secrets_location organization.")
        .immutable()
        .checked(place::owner_problem),
    Field::new(
        "organization_visibility",
        Shape::OneOf(&["all", "private", "selected"]),
        "Which of the organization's repositories may use the secrets: all, the private and internal ones, or \
         those in selected_repository_names.",
    )
    .per_secret(),
    Field::new(
        "selected_repository_names",
        Shape::List,
        "Names of the repositories that may use the secrets, for organization_visibility selected.",
    )
    .per_secret()
    .checked(place::repository_problem),
    ENTERPRISE_URL,
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
        max_len: 255,
        case: Case::Upper,
        also: |name| {
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                return Some("must not begin with a digit");
            }
            name.starts_with("GITHUB_")
                .then_some("must not begin with GITHUB_, which GitHub keeps for itself")
        },
    },
    max_value_bytes: MAX_VALUE_BYTES,
    empty_values: true,
    marks: false,
    create_notices: false,
    custom_tags: None,
    binary: false,
    batch: 1,
};

/// What GitHub counts by token or installation (destinations.md 4.4). Whether writing a secret counts as
/// creating content, of which 80 a minute and 500 an hour are allowed, is not documented; answers would tell.
static LIMITS: Limits = Limits {
    pools: &[
        Pool::paced("points", 900, Duration::from_secs(60)),
        Pool::stock("requests", 5000, Duration::from_secs(3600)),
    ],
    look: &[Draw::of(0, 1), Draw::of(1, 1)],
    create: &[Draw::of(0, 5), Draw::of(1, 1)],
    update: &[Draw::of(0, 5), Draw::of(1, 1)],
    remove: &[Draw::of(0, 5), Draw::of(1, 1)],
    // GitHub wants one write at a time.
    at_once: Some(1),
    entry_pause: Duration::ZERO,
};

/// GitHub apps, as Vault has them (vault-sync-api.md 3.6). An app belongs to one GitHub, and its statements
/// are sent nowhere else: whoever may configure destinations could otherwise have them sent to themselves.
static APPS: Shared = Shared {
    slug: "github-apps",
    title: "GitHub app",
    named_by: "app_name",
    shown_in: "app_config",
    fields: &[
        Field::new("app_id", Shape::Int { min: 1, max: i64::MAX }, "The app's number.").required(),
        Field::new("private_key", Shape::Text, "A private key of the app, in PEM form.").required().secret(),
        ENTERPRISE_URL,
        ENDPOINT,
    ],
    describe: |config| {
        place::base_of(config)?;
        let key = app_key(config.secret("private_key"), "private_key")?;
        let fingerprint = auth::fingerprint(&key)
            .ok_or_else(|| FieldFault::new("private_key", "has a public key that cannot be written down"))?;
        Ok(vec![("fingerprint", fingerprint)])
    },
};

fn app_key(pem: Option<&SecretBytes>, field: &'static str) -> Result<SigningKey, FieldFault> {
    let pem = pem.ok_or_else(|| FieldFault::new(field, "is required"))?;
    // EXPOSE: opened to become a key.
    SigningKey::from_pem(pem.expose()).map_err(|bad| FieldFault::new(field, bad.to_string()))
}

impl Kind for GhKind {
    fn slug(&self) -> &'static str {
        "gh"
    }

    fn title(&self) -> &'static str {
        "GitHub Actions secrets"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shared(&self) -> Option<&'static Shared> {
        Some(&APPS)
    }

    fn limits(&self, _: &Config) -> Option<&'static Limits> {
        Some(&LIMITS)
    }

    fn account(&self, config: &Config) -> Option<SecretBytes> {
        let base = place::base_of(config).ok()?;
        let whose = match config.int("installation_id") {
            Some(installation) => SecretBytes::from(format!("installation {installation}")),
            None => config.secret("access_token")?.clone(),
        };
        // EXPOSE: the engine digests it at once.
        Some(SecretBytes::new([base.as_str().as_bytes(), b" ", whose.expose()].concat()))
    }

    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        let base = place::base_of(config)?;
        let scope = scope(config, net)?;
        let audience = audience(config, &scope)?;
        let place = Place { base, scope };
        let (source, identity) = source(config, &place, net)?;
        let account = self.accounts.get(account_digest(&place, &identity));
        let wire = Wire { net: Arc::clone(net), client: net.client(&Policy::of(config)), account };
        Ok(Arc::new(Gh::new(Api { wire, source, place }, audience)))
    }
}

/// Reads and checks where the secrets belong.
fn scope(config: &Config, net: &Net) -> Result<Scope, FieldFault> {
    let organization = config.text("secrets_location") == Some("organization");
    let refuse = |fields: &[&'static str], problem: &'static str| {
        let given = fields.iter().find(|field| config.get(field).is_some());
        given.map_or(Ok(()), |field| Err(FieldFault::new(*field, problem)))
    };
    if organization {
        refuse(
            &["repository_owner", "repository_name", "environment_name"],
            "belongs to secrets_location repository; leave it out for an organization's secrets",
        )?;
        let name = config.text("organization_name").map(ToOwned::to_owned).ok_or_else(|| {
            FieldFault::new("organization_name", "is required for secrets_location organization")
        })?;
        return Ok(Scope::Organization { name });
    }
    refuse(
        &["organization_name", "organization_visibility", "selected_repository_names"],
        "needs secrets_location organization",
    )?;
    let part = |field: &'static str, variable: &str, problem: fn(&str) -> Option<&'static str>| {
        if let Some(text) = config.text(field) {
            return Ok(text.to_owned());
        }
        match net.environment().var(variable).filter(|text| !text.is_empty()) {
            Some(text) => match problem(&text) {
                Some(problem) => Err(FieldFault::new(field, format!("taken from {variable}: {problem}"))),
                None => Ok(text),
            },
            None => Err(FieldFault::new(field, "is required")),
        }
    };
    let owner = part("repository_owner", "GITHUB_REPOSITORY_OWNER", place::owner_problem)?;
    let name = part("repository_name", "GITHUB_REPOSITORY_NAME", place::repository_problem)?;
    Ok(match config.text("environment_name") {
        Some(environment) => Scope::Environment { owner, name, environment: environment.to_owned() },
        None => Scope::Repository { owner, name },
    })
}

fn audience(config: &Config, scope: &Scope) -> Result<Option<Audience>, FieldFault> {
    let Scope::Organization { .. } = scope else { return Ok(None) };
    let names = config.list("selected_repository_names");
    let selected = config.text("organization_visibility") == Some("selected");
    if !selected && !names.is_empty() {
        return Err(FieldFault::new("selected_repository_names", "needs organization_visibility selected"));
    }
    match config.text("organization_visibility") {
        Some("all") => Ok(Some(Audience::All)),
        Some("private") => Ok(Some(Audience::Private)),
        Some("selected") if !names.is_empty() => Ok(Some(Audience::Selected(names.to_vec()))),
        Some("selected") => Err(FieldFault::new(
            "selected_repository_names",
            "is required for organization_visibility selected",
        )),
        _ => Err(FieldFault::new(
            "organization_visibility",
            "is required for secrets_location organization: all, private or selected",
        )),
    }
}

/// Where tokens come from, and what tells the account apart from others.
fn source(config: &Config, place: &Place, net: &Net) -> Result<(Source, SecretBytes), FieldFault> {
    let (app, installation) = (config.text("app_name"), config.int("installation_id"));
    match (app, installation) {
        (Some(_), None) => {
            return Err(FieldFault::new("installation_id", "is required together with app_name"));
        }
        (None, Some(_)) => {
            return Err(FieldFault::new("app_name", "is required together with installation_id"));
        }
        (Some(_), Some(_)) if config.get("access_token").is_some() => {
            return Err(FieldFault::new(
                "access_token",
                "cannot be given together with app_name; choose one",
            ));
        }
        (Some(_), Some(installation)) => return app_source(config, place, installation),
        (None, None) => {}
    }
    let environment = || {
        // The server's own token goes to GitHub.com and nowhere a destination names.
        let own = place::is_public(&place.base).then(|| net.environment().var("GITHUB_ACCESS_TOKEN"));
        own.flatten().filter(|token| !token.is_empty()).map(SecretBytes::from)
    };
    let token = config.secret("access_token").cloned().or_else(environment).ok_or_else(|| {
        FieldFault::new("access_token", "is required, unless app_name and installation_id are given")
    })?;
    let source = Source::fixed(&token).ok_or_else(|| {
        FieldFault::new("access_token", "must be a token: visible ASCII characters without spaces")
    })?;
    Ok((source, token))
}

fn app_source(
    config: &Config,
    place: &Place,
    installation: i64,
) -> Result<(Source, SecretBytes), FieldFault> {
    let id = config.int(&APPS.place("app_id")).ok_or_else(|| {
        FieldFault::new("app_name", "names no GitHub app; make it first at sys/sync/github-apps")
    })?;
    if !place::same(&place::base_of_app(config, &APPS)?, &place.base) {
        return Err(FieldFault::new(
            "app_name",
            "names a GitHub app of another GitHub: enterprise_url and endpoint must lead to the same place on \
             both",
        ));
    }
    let key = app_key(config.secret(&APPS.place("private_key")), "app_name")?;
    let number = installation.to_string();
    let tokens = place::address(&place.base, &["app", "installations", &number, "access_tokens"], "")
        .map_err(|_| FieldFault::new("endpoint", "must be an http or https URL with a host"))?;
    let app = App {
        id,
        key,
        tokens,
        narrowed: narrowed(&place.scope),
        held: TokenCache::new("a GitHub app's token"),
        skew: AtomicI64::new(0),
    };
    Ok((Source::App(Box::new(app)), SecretBytes::from(format!("app {id} installation {installation}"))))
}

/// What an installation's token is to be good for: this target, and no more than is needed there.
fn narrowed(scope: &Scope) -> Bytes {
    let body = match scope {
        Scope::Repository { name, .. } => {
            json!({"repositories": [name], "permissions": {"secrets": "write"}})
        }
        Scope::Environment { name, .. } => {
            json!({"repositories": [name], "permissions": {"environments": "write"}})
        }
        // Selected repositories are looked up by name, which needs their metadata.
        Scope::Organization { .. } => {
            json!({"permissions": {"organization_secrets": "write", "metadata": "read"}})
        }
    };
    Bytes::from(body.to_string())
}

fn account_digest(place: &Place, identity: &SecretBytes) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(place.base.as_str().as_bytes());
    context.update(b"\0");
    // EXPOSE: into a digest that stays in memory and tells accounts apart.
    context.update(identity.expose());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
