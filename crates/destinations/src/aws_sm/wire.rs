//! The requests and answers of the operations we use, as far as they matter here.

use std::collections::BTreeMap;

use model::SecretBytes;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::tags::{self, Tag};
use crate::{Present, Receipt};

/// The label of the version that is read by default.
pub(super) const CURRENT: &str = "AWSCURRENT";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateSecret<'a> {
    pub(super) name: &'a str,
    pub(super) client_request_token: &'a str,
    pub(super) description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_string: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_binary: Option<&'a str>,
    pub(super) tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kms_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) add_replica_regions: Vec<Replica<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutSecretValue<'a> {
    pub(super) secret_id: &'a str,
    pub(super) client_request_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_string: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_binary: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateSecret<'a> {
    pub(super) secret_id: &'a str,
    pub(super) kms_key_id: &'a str,
}

/// DescribeSecret and RestoreSecret.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretId<'a> {
    pub(super) secret_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteSecret<'a> {
    pub(super) secret_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery_window_in_days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) force_delete_without_recovery: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagResource<'a> {
    pub(super) secret_id: &'a str,
    pub(super) tags: &'a [Tag],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagResource<'a> {
    pub(super) secret_id: &'a str,
    pub(super) tag_keys: &'a [&'a String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateSecretVersionStage<'a> {
    pub(super) secret_id: &'a str,
    pub(super) version_stage: &'a str,
    pub(super) move_to_version_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remove_from_version_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Replica<'a> {
    pub(super) region: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) kms_key_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReplicateSecretToRegions<'a> {
    pub(super) secret_id: &'a str,
    pub(super) add_replica_regions: Vec<Replica<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveRegionsFromReplication<'a> {
    pub(super) secret_id: &'a str,
    pub(super) remove_replica_regions: &'a [&'a String],
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter<'a> {
    pub(super) key: &'static str,
    pub(super) values: &'a [&'a str],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListSecrets<'a> {
    pub(super) filters: [Filter<'a>; 1],
    pub(super) include_planned_deletion: bool,
    pub(super) max_results: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGetSecretValue<'a> {
    pub(super) secret_id_list: &'a [&'a str],
}

/// The answer to reading many: values, and errors of single ones.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch {
    #[serde(default)]
    pub(super) secret_values: Vec<SecretValue>,
    #[serde(default)]
    pub(super) errors: Vec<ReadError>,
}

/// A value that was read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretValue {
    pub(super) name: Option<String>,
    pub(super) secret_string: Option<SecretBytes>,
    /// In base64.
    pub(super) secret_binary: Option<SecretBytes>,
}

/// Why one of many was not read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReadError {
    pub(super) secret_id: Option<String>,
    pub(super) error_code: Option<String>,
}

/// The answer to a list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretPage {
    pub(super) secret_list: Vec<Metadata>,
    pub(super) next_token: Option<String>,
}

/// The answer to a write.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written {
    #[serde(rename = "ARN")]
    pub(super) arn: String,
    version_id: Option<String>,
    /// PutSecretValue only.
    version_stages: Option<Vec<String>>,
}

impl Written {
    pub(super) fn is_current(&self) -> bool {
        self.version_stages.as_ref().is_some_and(|stages| stages.iter().any(|stage| stage == CURRENT))
    }

    pub(super) fn receipt(self) -> Receipt {
        Receipt { handle: Some(self.arn), revision: self.version_id }
    }
}

/// What DescribeSecret and ListSecrets say of a secret.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metadata {
    #[serde(rename = "ARN")]
    pub(super) arn: String,
    pub(super) name: Option<String>,
    tags: Option<Vec<Tag>>,
    deleted_date: Option<IgnoredAny>,
    /// In DescribeSecret; a list calls the same thing [`Self::secret_versions_to_stages`].
    version_ids_to_stages: Option<BTreeMap<String, Vec<String>>>,
    secret_versions_to_stages: Option<BTreeMap<String, Vec<String>>>,
    owning_service: Option<String>,
    pub(super) kms_key_id: Option<String>,
    replication_status: Option<Vec<ReplicaStatus>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReplicaStatus {
    pub(super) region: String,
    pub(super) kms_key_id: Option<String>,
}

impl Metadata {
    pub(super) fn tags(&self) -> &[Tag] {
        self.tags.as_deref().unwrap_or_default()
    }

    pub(super) fn replicas(&self) -> &[ReplicaStatus] {
        self.replication_status.as_deref().unwrap_or_default()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted_date.is_some()
    }

    pub(super) fn current_version(&self) -> Option<&str> {
        let versions = self.version_ids_to_stages.as_ref().or(self.secret_versions_to_stages.as_ref())?;
        let current = |stages: &Vec<String>| stages.iter().any(|stage| stage == CURRENT);
        versions.iter().find(|(_, stages)| current(stages)).map(|(id, _)| id.as_str())
    }

    pub(super) fn present(&self) -> Present {
        let current = self.current_version();
        Present {
            mark: tags::mark(self.tags(), current),
            vaults: tags::vaults(self.tags()),
            managed_by_provider: self.owning_service.as_ref().is_some_and(|service| !service.is_empty()),
            handle: Some(self.arn.clone()),
            revision: current.map(ToOwned::to_owned),
            recoverable: self.is_deleted(),
            unreadable: false,
        }
    }
}
