//! The requests and answers we use, as far as they matter here (destinations.md 3.1).

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use model::SecretBytes;
use serde::{Deserialize, Serialize};

use super::{
    crc,
    labels::{self, Labels},
};
use crate::{Fault, Present};

#[derive(Serialize)]
pub(super) struct CreateSecret<'a> {
    pub(super) replication: &'a Replication,
    pub(super) labels: &'a Labels,
    pub(super) annotations: &'a Labels,
}

/// What a PATCH sets; its `updateMask` names the same.
#[derive(Serialize)]
pub(super) struct PatchSecret<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<&'a Replication>,
}

#[derive(Serialize)]
pub(super) struct AddVersion<'a> {
    pub(super) payload: PayloadToSend<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PayloadToSend<'a> {
    /// Base64.
    pub(super) data: &'a str,
    /// An int64, which JSON has as text.
    pub(super) data_crc32c: String,
}

/// Of destroy and disable.
#[derive(Serialize)]
pub(super) struct Etag<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<&'a str>,
}

/// Where a secret's versions are kept, and under which keys: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replication {
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic: Option<Encrypted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_managed: Option<UserManaged>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encrypted {
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_managed_encryption: Option<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    kms_key_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UserManaged {
    replicas: Vec<Replica>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replica {
    location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_managed_encryption: Option<Key>,
}

impl Replication {
    /// Where Google chooses.
    pub(super) fn automatic(key: Option<&str>) -> Self {
        let automatic = Encrypted { customer_managed_encryption: key.map(Key::named) };
        Self { automatic: Some(automatic), user_managed: None }
    }

    /// In these locations, each with a key or none.
    pub(super) fn user_managed(places: &BTreeMap<String, Option<String>>) -> Self {
        let replica = |(location, key): (&String, &Option<String>)| Replica {
            location: location.clone(),
            customer_managed_encryption: key.as_deref().map(Key::named),
        };
        let replicas = places.iter().map(replica).collect();
        Self { automatic: None, user_managed: Some(UserManaged { replicas }) }
    }

    /// The locations, sorted; `None` where Google chooses.
    pub(super) fn locations(&self) -> Option<Vec<&str>> {
        let managed = self.user_managed.as_ref()?;
        let mut locations: Vec<&str> = managed.replicas.iter().map(|r| r.location.as_str()).collect();
        locations.sort_unstable();
        Some(locations)
    }

    /// The same in one order, whichever order the service lists replicas in.
    pub(super) fn sorted(mut self) -> Self {
        if let Some(managed) = &mut self.user_managed {
            managed.replicas.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        }
        self
    }
}

impl Key {
    fn named(name: &str) -> Self {
        Self { kms_key_name: name.to_owned() }
    }
}

/// What the service says of a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Secret {
    #[serde(default)]
    pub(super) name: String,
    create_time: Option<String>,
    #[serde(default)]
    pub(super) labels: Labels,
    #[serde(default)]
    pub(super) annotations: Labels,
    pub(super) etag: Option<String>,
    pub(super) replication: Option<Replication>,
}

impl Secret {
    /// When it was made and in which state it is: no other secret of this name has both.
    pub(super) fn handle(&self) -> Option<String> {
        let made = self.create_time.as_deref()?;
        Some(self.etag.as_deref().map_or_else(|| made.to_owned(), |etag| format!("{made} {etag}")))
    }

    /// Its name within the project.
    pub(super) fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The number of the first version that is ours, in a secret that is ours.
    pub(super) fn first_version(&self) -> u64 {
        labels::first_version(&self.annotations).unwrap_or(1)
    }

    pub(super) fn present(&self) -> Present {
        Present {
            mark: labels::mark(&self.labels),
            vaults: labels::vaults(&self.labels),
            handle: self.handle(),
            ..Present::default()
        }
    }
}

/// The etag that a handle holds.
pub(super) fn etag_of_handle(handle: &str) -> Option<&str> {
    handle.split_once(' ').map(|(_, etag)| etag)
}

/// A page of secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretPage {
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
    #[serde(default)]
    pub(super) next_page_token: String,
}

/// What the service says of a version.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    name: String,
    #[serde(default)]
    state: String,
    /// It was destroyed, and its secret keeps what was destroyed for a while.
    scheduled_destroy_time: Option<String>,
    pub(super) etag: Option<String>,
    /// Our checksum arrived and was right.
    #[serde(default)]
    pub(super) client_specified_payload_checksum: bool,
}

impl Version {
    pub(super) fn number(&self) -> Option<u64> {
        self.name.rsplit('/').next()?.parse().ok().filter(|number| *number > 0)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.state == "ENABLED"
    }

    /// Its value is there to stay: it is enabled or disabled, and nobody has destroyed it.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "ENABLED" | "DISABLED") && self.scheduled_destroy_time.is_none()
    }
}

/// A page of versions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionPage {
    #[serde(default)]
    pub(super) versions: Vec<Version>,
    #[serde(default)]
    pub(super) next_page_token: String,
}

/// A version's value.
#[derive(Deserialize)]
pub(super) struct Accessed {
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    /// Base64; left out when there are no bytes.
    data: Option<SecretBytes>,
    data_crc32c: Option<String>,
}

impl Accessed {
    /// The value, if it arrived whole.
    pub(super) fn value(&self) -> Result<SecretBytes, Fault> {
        let damaged = || Fault::external("checksum_mismatch", "Google's answer arrived damaged");
        // Opened to be decoded, into a copy that wipes itself.
        let base64 = self.payload.data.as_ref().map(SecretBytes::expose).unwrap_or_default();
        let value = BASE64_STANDARD.decode(base64).map(SecretBytes::new).map_err(|_| damaged())?;
        let told = self.payload.data_crc32c.as_deref().map(str::parse::<u32>);
        if told.is_some_and(|told| told != Ok(crc::crc32c(value.expose()))) {
            return Err(damaged());
        }
        Ok(value)
    }
}
