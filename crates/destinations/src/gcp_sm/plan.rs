//! What a configuration says, checked beyond what one field alone shows (vault-sync-api.md 3.4, 4.3
//! and 13).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    auth::{Login, Whose},
    labels, place,
    wire::Replication,
};
use crate::{Config, FieldFault, Net, identity::Federation};

/// What becomes of versions that are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retire {
    Destroy,
    Disable,
}

/// What the configuration says, checked.
pub(super) struct Plan {
    pub(super) config: Config,
    /// The destination's own credentials.
    pub(super) own: Option<Arc<Login>>,
    /// The project, unless the server's own credentials are to say it.
    pub(super) project: Option<String>,
    pub(super) replication: Replication,
    /// How many versions stay, the newest included; at least 1.
    pub(super) keep: usize,
    pub(super) retire: Retire,
    pub(super) always_look: bool,
}

/// Checks a configuration.
pub(super) fn of(config: &Config, net: &Net) -> Result<Plan, FieldFault> {
    let federated = federated(config, net)?;
    let own = own(config)?.or(federated);
    let project = config.text("project_id").or(own.as_ref().and_then(|login| login.project.as_deref()));
    if own.is_some() && project.is_none() {
        return Err(FieldFault::new("project_id", "is required, because the credentials name no project"));
    }
    if let Some(tags) = config.map("custom_tags") {
        labels::check(tags)?;
    }
    Ok(Plan {
        project: project.map(ToOwned::to_owned),
        own: own.map(Arc::new),
        replication: replication(config)?,
        keep: config.int("keep_versions").and_then(|keep| usize::try_from(keep).ok()).unwrap_or(1).max(1),
        retire: match config.text("retired_versions") {
            Some("disable") => Retire::Disable,
            _ => Retire::Destroy,
        },
        always_look: config.text("ownership_check") == Some("always"),
        config: config.clone(),
    })
}

const BOTH_OR_NEITHER: &str = "failed to parse credentials: workload identity federation auth requires both \
                               identity_token_audience and service_account_email";

const EMAIL: &str = "failed to parse credentials: invalid service account email format, expected format: \
                     project-id@project-id.iam.gserviceaccount.com";

/// Credentials by tokens that this server signs, if they are wanted.
fn federated(config: &Config, net: &Net) -> Result<Option<Login>, FieldFault> {
    let audience = config.secret("identity_token_audience").is_some();
    let email = config.text("service_account_email");
    if !audience && email.is_none() {
        return Federation::of(config, net).map(|_| None);
    }
    if audience && config.get("credentials").is_some() {
        return Err(FieldFault::new("identity_token_audience", "excludes credentials"));
    }
    let Some(email) = email else { return Err(FieldFault::new("service_account_email", BOTH_OR_NEITHER)) };
    if !audience {
        return Err(FieldFault::new("identity_token_audience", BOTH_OR_NEITHER));
    }
    if !is_service_account(email) {
        return Err(FieldFault::new("service_account_email", EMAIL));
    }
    let Some(federation) = Federation::of(config, net)? else { return Ok(None) };
    let audience = federation.audience().to_owned();
    Ok(Some(Login::federated(federation, &audience, email, net.environment().as_ref())))
}

fn is_service_account(email: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    email
        .strip_suffix(".iam.gserviceaccount.com")
        .and_then(|rest| rest.split_once('@'))
        .is_some_and(|(name, project)| word(name) && word(project))
}

fn own(config: &Config) -> Result<Option<Login>, FieldFault> {
    let other_url = config.text("auth_endpoint");
    let Some(text) = config.secret("credentials") else {
        if other_url.is_some() {
            return Err(FieldFault::new(
                "auth_endpoint",
                "needs credentials: the server's own go only where they themselves say",
            ));
        }
        place::check_endpoint_for_own_credentials(config)?;
        return Ok(None);
    };
    match Login::parse(text, Whose::Destinations, other_url) {
        Ok(login) => Ok(Some(login)),
        Err(problem) => Err(FieldFault::new("credentials", problem)),
    }
}

/// Where secrets are kept and under which keys. The older three fields and the newer two say the same.
fn replication(config: &Config) -> Result<Replication, FieldFault> {
    let exclude = |field: &'static str, others: &[&str]| {
        let other = others.iter().find(|other| config.get(other).is_some());
        match other {
            Some(other) if config.get(field).is_some() => {
                Err(FieldFault::new(field, format!("excludes {other}; give one of them")))
            }
            _ => Ok(()),
        }
    };
    exclude(
        "kms_key_id",
        &["replica_regions", "global_kms_key", "locational_kms_keys", "replication_locations"],
    )?;
    exclude("replica_regions", &["global_kms_key", "locational_kms_keys", "replication_locations"])?;
    exclude("global_kms_key", &["locational_kms_keys", "replication_locations"])?;

    for field in ["kms_key_id", "global_kms_key"] {
        if let Some(key) = config.text(field) {
            check_key(field, key, "global")?;
            return Ok(Replication::automatic(Some(key)));
        }
    }
    if let Some(regions) = config.map("replica_regions") {
        let keyed = regions.values().filter(|key| !key.is_empty()).count();
        if keyed != 0 && keyed != regions.len() {
            return Err(FieldFault::new(
                "replica_regions",
                format!(
                    "must name a KMS key for every location or for none; {keyed} of {} have one",
                    regions.len()
                ),
            ));
        }
        return keyed_places("replica_regions", regions);
    }
    let locations = config.list("replication_locations");
    let Some(keys) = config.map("locational_kms_keys") else {
        let places: BTreeMap<String, Option<String>> =
            locations.iter().map(|location| (location.clone(), None)).collect();
        return Ok(if places.is_empty() {
            Replication::automatic(None)
        } else {
            Replication::user_managed(&places)
        });
    };
    if locations.is_empty() {
        return Err(FieldFault::new(
            "locational_kms_keys",
            "needs replication_locations, with the same locations",
        ));
    }
    let extra = keys.keys().find(|location| !locations.contains(location));
    let without = locations.iter().position(|location| keys.get(location).is_none_or(String::is_empty));
    match (extra, without) {
        (Some(_), _) => Err(FieldFault::new(
            "locational_kms_keys",
            "must have keys for the locations in replication_locations only",
        )),
        (None, Some(at)) => Err(FieldFault::new(
            "locational_kms_keys",
            format!("must have one key for each location; replication_locations[{at}] has none"),
        )),
        (None, None) => keyed_places("locational_kms_keys", keys),
    }
}

/// Locations, each with a key of its own, or with nothing.
fn keyed_places(field: &'static str, places: &BTreeMap<String, String>) -> Result<Replication, FieldFault> {
    let mut keyed = BTreeMap::new();
    for (location, key) in places {
        if !key.is_empty() {
            check_key(field, key, location)?;
        }
        keyed.insert(location.clone(), (!key.is_empty()).then(|| key.clone()));
    }
    Ok(Replication::user_managed(&keyed))
}

/// Google wants a key where the secret is (destinations.md 3.5).
fn check_key(field: &'static str, key: &str, location: &str) -> Result<(), FieldFault> {
    match place::location_of_key(key) {
        Err(problem) => Err(FieldFault::new(field, problem)),
        Ok(there) if there == location => Ok(()),
        Ok(_) => Err(FieldFault::new(field, format!("must name a key of the location {location}"))),
    }
}
