//! What the pretend Secrets Manager does with a request, as destinations.md 1.3 to 1.5 have it.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use model::{SecretBytes, Timestamp};
use serde_json::{Value, json};

/// A refused request: the code.
type Refused = &'static str;

const NOT_FOUND: Refused = "ResourceNotFoundException";
const EXISTS: Refused = "ResourceExistsException";
const STATE: Refused = "InvalidRequestException";
const PARAMETER: Refused = "InvalidParameterException";

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

const DAY: Duration = Duration::from_secs(86_400);

/// All secrets of all regions.
#[derive(Default)]
pub(super) struct Secrets {
    /// By region and name.
    all: BTreeMap<(String, String), Secret>,
    pub(super) broken_keys: Vec<String>,
    pub(super) list_lag: Duration,
}

#[derive(Clone)]
struct Secret {
    arn: String,
    description: String,
    tags: BTreeMap<String, String>,
    kms_key_id: Option<String>,
    versions: Vec<Version>,
    created: Timestamp,
    changed: Timestamp,
    /// What a list that is behind still shows.
    before: Option<Box<Secret>>,
    deleted: Option<Timestamp>,
    purge: Option<Timestamp>,
    owning_service: Option<String>,
    /// Region, key, and whether the replica came to be.
    replicas: BTreeMap<String, (Option<String>, bool)>,
    primary: Option<String>,
}

#[derive(Clone)]
struct Version {
    id: String,
    value: SecretBytes,
    binary: bool,
    stages: Vec<&'static str>,
    made: Timestamp,
}

/// A secret as tests see it.
#[derive(Debug, Clone)]
pub struct View {
    /// The ARN.
    pub arn: String,
    /// The current value.
    pub value: Option<SecretBytes>,
    /// It is `SecretBinary`.
    pub binary: bool,
    /// The id of the current version.
    pub version_id: Option<String>,
    /// How many versions there are.
    pub versions: usize,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The key, if it is not AWS's own.
    pub kms_key_id: Option<String>,
    /// It is scheduled for deletion.
    pub deleted: bool,
    /// The regions of its replicas.
    pub replicas: Vec<String>,
}

impl Secrets {
    pub(super) fn call(
        &mut self,
        operation: &str,
        region: &str,
        request: &Value,
        now: Timestamp,
        suffix: &str,
    ) -> Result<Value, Refused> {
        self.purge(now);
        let mut call = Call { secrets: self, region, request, now };
        match operation {
            "CreateSecret" => call.create(suffix),
            "PutSecretValue" => call.put(),
            "UpdateSecret" => call.update(),
            "DescribeSecret" => call.describe(),
            "ListSecrets" => call.list(),
            "GetSecretValue" => call.get(),
            "BatchGetSecretValue" => call.batch_get(),
            "DeleteSecret" => call.delete(),
            "RestoreSecret" => call.restore(),
            "TagResource" => call.tag(),
            "UntagResource" => call.untag(),
            "UpdateSecretVersionStage" => call.move_stage(),
            "ReplicateSecretToRegions" => call.replicate(),
            "RemoveRegionsFromReplication" => call.remove_regions(),
            _ => Err("UnknownOperationException"),
        }
    }

    pub(super) fn view(&mut self, region: &str, name: &str, now: Timestamp) -> Option<View> {
        self.purge(now);
        let secret = self.all.get(&(region.to_owned(), name.to_owned()))?;
        let current = secret.versions.iter().find(|version| version.stages.contains(&CURRENT));
        Some(View {
            arn: secret.arn.clone(),
            value: current.map(|version| version.value.clone()),
            binary: current.is_some_and(|version| version.binary),
            version_id: current.map(|version| version.id.clone()),
            versions: secret.versions.len(),
            tags: secret.tags.clone(),
            kms_key_id: secret.kms_key_id.clone(),
            deleted: secret.deleted.is_some(),
            replicas: secret.replicas.keys().cloned().collect(),
        })
    }

    pub(super) fn names(&mut self, region: &str, now: Timestamp) -> Vec<String> {
        self.purge(now);
        self.all.keys().filter(|(r, _)| r == region).map(|(_, name)| name.clone()).collect()
    }

    pub(super) fn give_to_service(&mut self, region: &str, name: &str, service: &str) {
        if let Some(secret) = self.all.get_mut(&(region.to_owned(), name.to_owned())) {
            secret.owning_service = Some(service.to_owned());
        }
    }

    fn purge(&mut self, now: Timestamp) {
        self.all.retain(|_, secret| secret.purge.is_none_or(|purge| purge > now));
    }
}

struct Call<'a> {
    secrets: &'a mut Secrets,
    region: &'a str,
    request: &'a Value,
    now: Timestamp,
}

impl Call<'_> {
    fn text(&self, field: &str) -> Option<&str> {
        self.request.get(field).and_then(Value::as_str)
    }

    fn name_is_legal(name: &str) -> bool {
        (1..=512).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c))
    }

    fn key_of(&self, id: &str) -> Option<(String, String)> {
        let all = &self.secrets.all;
        let by_name = (self.region.to_owned(), id.to_owned());
        if all.contains_key(&by_name) {
            return Some(by_name);
        }
        all.iter()
            .find(|((region, name), secret)| region == self.region && (name == id || secret.arn == id))
            .map(|(key, _)| key.clone())
    }

    fn find(&mut self) -> Result<&mut Secret, Refused> {
        let key = self.text("SecretId").and_then(|id| self.key_of(id)).ok_or(NOT_FOUND)?;
        self.secrets.all.get_mut(&key).ok_or(NOT_FOUND)
    }

    /// For everything that a secret in its recovery window refuses, and a replica too.
    fn find_live(&mut self) -> Result<&mut Secret, Refused> {
        let secret = self.find()?;
        if secret.deleted.is_some() || secret.primary.is_some() { Err(STATE) } else { Ok(secret) }
    }

    fn value(&self) -> Result<Option<(SecretBytes, bool)>, Refused> {
        let value = match (self.text("SecretString"), self.text("SecretBinary")) {
            (None, None) => return Ok(None),
            (Some(text), None) => (SecretBytes::from(text), false),
            (None, Some(binary)) => {
                let bytes = BASE64_STANDARD.decode(binary).map_err(|_| "SerializationException")?;
                (SecretBytes::new(bytes), true)
            }
            (Some(_), Some(_)) => return Err(PARAMETER),
        };
        if (1..=65_536).contains(&value.0.len()) { Ok(Some(value)) } else { Err("ValidationException") }
    }

    fn token(&self) -> Result<&str, Refused> {
        let token = self.text("ClientRequestToken").ok_or(PARAMETER)?;
        if (32..=64).contains(&token.len()) { Ok(token) } else { Err(PARAMETER) }
    }

    fn tags(&self) -> Result<BTreeMap<String, String>, Refused> {
        let mut tags = BTreeMap::new();
        for tag in self.request.get("Tags").and_then(Value::as_array).into_iter().flatten() {
            let key = tag.get("Key").and_then(Value::as_str).ok_or(PARAMETER)?;
            let value = tag.get("Value").and_then(Value::as_str).unwrap_or_default();
            let legal = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
            let ok = (1..=128).contains(&key.chars().count())
                && value.chars().count() <= 256
                && !key.to_ascii_lowercase().starts_with("aws:")
                && key.chars().chain(value.chars()).all(legal);
            if !ok {
                return Err(PARAMETER);
            }
            tags.insert(key.to_owned(), value.to_owned());
        }
        Ok(tags)
    }

    fn check_key(&self) -> Result<Option<String>, Refused> {
        match self.text("KmsKeyId") {
            Some(key) if self.secrets.broken_keys.iter().any(|broken| broken == key) => {
                Err("EncryptionFailure")
            }
            Some("alias/aws/secretsmanager") | None => Ok(None),
            Some(key) => Ok(Some(key.to_owned())),
        }
    }

    fn create(&mut self, suffix: &str) -> Result<Value, Refused> {
        let name = self.text("Name").ok_or("ValidationException")?.to_owned();
        if !Self::name_is_legal(&name) {
            return Err("ValidationException");
        }
        let (token, value, tags, key) =
            (self.token()?.to_owned(), self.value()?, self.tags()?, self.check_key()?);
        if tags.len() > 50 {
            return Err(PARAMETER);
        }
        let place = (self.region.to_owned(), name.clone());
        if let Some(there) = self.secrets.all.get(&place) {
            if there.deleted.is_some() {
                return Err(STATE);
            }
            let same = |version: &Version| {
                version.id == token
                    && value.as_ref().is_some_and(|(bytes, _)| bytes.expose() == version.value.expose())
            };
            return if there.versions.iter().any(same) {
                Ok(json!({"ARN": there.arn, "Name": name, "VersionId": token}))
            } else {
                Err(EXISTS)
            };
        }
        let versions = value.into_iter().map(|(value, binary)| Version {
            id: token.clone(),
            value,
            binary,
            stages: vec![CURRENT],
            made: self.now,
        });
        let secret = Secret {
            arn: format!("arn:aws:secretsmanager:{}:123456789012:secret:{name}-{suffix}", self.region),
            description: self.text("Description").unwrap_or_default().to_owned(),
            tags,
            kms_key_id: key,
            versions: versions.collect(),
            created: self.now,
            changed: self.now,
            before: None,
            deleted: None,
            purge: None,
            owning_service: None,
            replicas: BTreeMap::new(),
            primary: None,
        };
        let answer = json!({"ARN": secret.arn, "Name": name, "VersionId": token});
        self.secrets.all.insert(place.clone(), secret);
        self.add_replicas(&place)?;
        Ok(answer)
    }

    fn put(&mut self) -> Result<Value, Refused> {
        let (token, now) = (self.token()?.to_owned(), self.now);
        let (value, binary) = self.value()?.ok_or(PARAMETER)?;
        let broken = self.secrets.broken_keys.clone();
        let name = self.text("SecretId").and_then(|id| self.key_of(id)).map(|(_, name)| name);
        let secret = self.find_live()?;
        if secret.kms_key_id.as_ref().is_some_and(|key| broken.contains(key)) {
            return Err("EncryptionFailure");
        }
        if let Some(version) = secret.versions.iter().find(|version| version.id == token) {
            if version.value.expose() != value.expose() {
                return Err(EXISTS);
            }
            return Ok(json!({"ARN": secret.arn, "Name": name, "VersionId": token,
                "VersionStages": version.stages}));
        }
        secret.remember(now);
        secret.collect_versions(now);
        if secret.versions.len() > 100 {
            return Err("LimitExceededException");
        }
        secret.versions.push(Version { id: token.clone(), value, binary, stages: Vec::new(), made: now });
        secret.make_current(&token);
        Ok(json!({"ARN": secret.arn, "Name": name, "VersionId": token, "VersionStages": [CURRENT]}))
    }

    fn update(&mut self) -> Result<Value, Refused> {
        let key = self.check_key()?;
        let asked = self.text("KmsKeyId").is_some();
        let description = self.text("Description").map(ToOwned::to_owned);
        if self.value()?.is_some() {
            return Err("ValidationException");
        }
        let secret = self.find_live()?;
        if asked {
            secret.kms_key_id = key;
        }
        if let Some(description) = description {
            secret.description = description;
        }
        Ok(json!({"ARN": secret.arn}))
    }

    fn describe(&mut self) -> Result<Value, Refused> {
        let key = self.text("SecretId").and_then(|id| self.key_of(id)).ok_or(NOT_FOUND)?;
        let secret = self.secrets.all.get(&key).ok_or(NOT_FOUND)?;
        Ok(secret.metadata(&key.1, "VersionIdsToStages"))
    }

    fn batch_get(&mut self) -> Result<Value, Refused> {
        let ids = self.request.get("SecretIdList").and_then(Value::as_array).ok_or(PARAMETER)?;
        if !(1..=20).contains(&ids.len()) {
            return Err("ValidationException");
        }
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids.iter().filter_map(Value::as_str) {
            let found = self.key_of(id).ok_or(NOT_FOUND);
            match found.and_then(|key| Self::value_of(&key.1, self.secrets.all.get(&key).ok_or(NOT_FOUND)?)) {
                Ok(value) => values.push(value),
                Err(code) => {
                    errors.push(json!({"SecretId": id, "ErrorCode": code, "Message": "CANARY-FROM-REMOTE"}));
                }
            }
        }
        Ok(json!({"SecretValues": values, "Errors": errors}))
    }

    fn get(&mut self) -> Result<Value, Refused> {
        let key = self.text("SecretId").and_then(|id| self.key_of(id)).ok_or(NOT_FOUND)?;
        Self::value_of(&key.1, self.secrets.all.get(&key).ok_or(NOT_FOUND)?)
    }

    fn value_of(name: &str, secret: &Secret) -> Result<Value, Refused> {
        if secret.deleted.is_some() {
            return Err(STATE);
        }
        let current = secret.versions.iter().find(|version| version.stages.contains(&CURRENT));
        let current = current.ok_or(NOT_FOUND)?;
        let mut answer = json!({"ARN": secret.arn, "Name": name, "VersionId": current.id,
            "VersionStages": current.stages});
        if current.binary {
            answer["SecretBinary"] = json!(BASE64_STANDARD.encode(current.value.expose()));
        } else {
            answer["SecretString"] = json!(current.value.expose_text().unwrap_or_default());
        }
        Ok(answer)
    }

    fn delete(&mut self) -> Result<Value, Refused> {
        let force = self.request.get("ForceDeleteWithoutRecovery").and_then(Value::as_bool) == Some(true);
        let window = self.request.get("RecoveryWindowInDays").and_then(Value::as_u64);
        if (force && window.is_some()) || window.is_some_and(|days| !(7..=30).contains(&days)) {
            return Err(PARAMETER);
        }
        let now = self.now;
        let key = match self.text("SecretId").and_then(|id| self.key_of(id)) {
            Some(key) => key,
            // Forcing away what is not there is fine.
            None if force => return Ok(json!({"DeletionDate": now.as_secs()})),
            None => return Err(NOT_FOUND),
        };
        let secret = self.secrets.all.get_mut(&key).ok_or(NOT_FOUND)?;
        if !secret.replicas.is_empty() || secret.primary.is_some() {
            return Err(STATE);
        }
        let answer = json!({"ARN": secret.arn, "Name": key.1, "DeletionDate": now.as_secs()});
        if force {
            self.secrets.all.remove(&key);
            return Ok(answer);
        }
        if secret.deleted.is_some() {
            return Err(STATE);
        }
        secret.remember(now);
        secret.deleted = Some(now);
        secret.purge = Some(now.plus(DAY * u32::try_from(window.unwrap_or(30)).unwrap_or(30)));
        Ok(answer)
    }

    fn restore(&mut self) -> Result<Value, Refused> {
        let secret = self.find()?;
        secret.deleted = None;
        secret.purge = None;
        Ok(json!({"ARN": secret.arn}))
    }

    fn tag(&mut self) -> Result<Value, Refused> {
        let tags = self.tags()?;
        let secret = self.find_live()?;
        let mut all = secret.tags.clone();
        all.extend(tags);
        if all.len() > 50 {
            return Err(PARAMETER);
        }
        secret.tags = all;
        Ok(json!({}))
    }

    fn untag(&mut self) -> Result<Value, Refused> {
        let keys = self.request.get("TagKeys").and_then(Value::as_array).ok_or(PARAMETER)?.clone();
        let secret = self.find_live()?;
        secret.tags.retain(|key, _| !keys.iter().any(|gone| gone.as_str() == Some(key)));
        Ok(json!({}))
    }

    fn move_stage(&mut self) -> Result<Value, Refused> {
        let to = self.text("MoveToVersionId").ok_or(PARAMETER)?.to_owned();
        let from = self.text("RemoveFromVersionId").map(ToOwned::to_owned);
        if self.text("VersionStage") != Some(CURRENT) {
            return Err(PARAMETER);
        }
        let now = self.now;
        let secret = self.find_live()?;
        let current = secret.versions.iter().find(|version| version.stages.contains(&CURRENT));
        if current.map(|version| version.id.clone()) != from {
            return Err(PARAMETER);
        }
        if !secret.versions.iter().any(|version| version.id == to) {
            return Err(NOT_FOUND);
        }
        secret.remember(now);
        secret.make_current(&to);
        Ok(json!({"ARN": secret.arn}))
    }

    fn replicate(&mut self) -> Result<Value, Refused> {
        self.find_live()?;
        let key = self.text("SecretId").and_then(|id| self.key_of(id)).ok_or(NOT_FOUND)?;
        self.add_replicas(&key)?;
        Ok(json!({}))
    }

    fn add_replicas(&mut self, primary: &(String, String)) -> Result<(), Refused> {
        let wanted = self.request.get("AddReplicaRegions").and_then(Value::as_array).cloned();
        for replica in wanted.unwrap_or_default() {
            let region = replica.get("Region").and_then(Value::as_str).ok_or(PARAMETER)?;
            let kms = replica.get("KmsKeyId").and_then(Value::as_str).map(ToOwned::to_owned);
            let place = (region.to_owned(), primary.1.clone());
            let free = !self.secrets.all.contains_key(&place);
            let source = self.secrets.all.get_mut(primary).ok_or(NOT_FOUND)?;
            if region == primary.0 || source.replicas.contains_key(region) {
                return Err(PARAMETER);
            }
            source.replicas.insert(region.to_owned(), (kms.clone(), free));
            if free {
                let mut copy = source.clone();
                copy.arn = copy.arn.replace(&primary.0, region);
                copy.replicas.clear();
                copy.kms_key_id = kms;
                copy.primary = Some(primary.0.clone());
                self.secrets.all.insert(place, copy);
            }
        }
        Ok(())
    }

    fn remove_regions(&mut self) -> Result<Value, Refused> {
        let regions = self.request.get("RemoveReplicaRegions").and_then(Value::as_array).cloned();
        let key = self.text("SecretId").and_then(|id| self.key_of(id)).ok_or(NOT_FOUND)?;
        for region in regions.unwrap_or_default() {
            let region = region.as_str().ok_or(PARAMETER)?.to_owned();
            let secret = self.secrets.all.get_mut(&key).ok_or(NOT_FOUND)?;
            if let Some((_, true)) = secret.replicas.remove(&region) {
                self.secrets.all.remove(&(region, key.1.clone()));
            }
        }
        Ok(json!({}))
    }

    fn list(&mut self) -> Result<Value, Refused> {
        let planned = self.request.get("IncludePlannedDeletion").and_then(Value::as_bool) == Some(true);
        let limit = self.request.get("MaxResults").and_then(Value::as_u64).unwrap_or(100);
        if !(1..=100).contains(&limit) {
            return Err(PARAMETER);
        }
        let after = self.text("NextToken").unwrap_or_default();
        let (lag, now) = (self.secrets.list_lag, self.now);
        let seen = |secret: &Secret| -> Option<Secret> {
            if secret.created.plus(lag) > now && !lag.is_zero() {
                return None;
            }
            match &secret.before {
                Some(before) if secret.changed.plus(lag) > now => Some((**before).clone()),
                _ => Some(secret.clone()),
            }
        };
        let mut page = Vec::new();
        let mut next = None;
        for ((region, name), secret) in &self.secrets.all {
            if region != self.region || name.as_str() <= after {
                continue;
            }
            let Some(secret) = seen(secret) else { continue };
            if (secret.deleted.is_some() && !planned) || !self.passes(name, &secret) {
                continue;
            }
            if page.len() as u64 == limit {
                next = page.last().and_then(|last: &Value| last["Name"].as_str()).map(ToOwned::to_owned);
                break;
            }
            page.push(secret.metadata(name, "SecretVersionsToStages"));
        }
        Ok(json!({"SecretList": page, "NextToken": next}))
    }

    /// Filters match by prefix; all filters must match, with any of their values.
    fn passes(&self, name: &str, secret: &Secret) -> bool {
        let filters = self.request.get("Filters").and_then(Value::as_array);
        filters.into_iter().flatten().all(|filter| {
            let values = filter.get("Values").and_then(Value::as_array).into_iter().flatten();
            let mut values = values.filter_map(Value::as_str);
            match filter.get("Key").and_then(Value::as_str) {
                Some("name") => values.any(|value| name.starts_with(value)),
                Some("tag-key") => values.any(|value| secret.tags.keys().any(|key| key.starts_with(value))),
                Some("tag-value") => {
                    values.any(|value| secret.tags.values().any(|tag| tag.starts_with(value)))
                }
                _ => false,
            }
        })
    }
}

impl Secret {
    /// Keeps what a list that is behind goes on showing.
    fn remember(&mut self, now: Timestamp) {
        let mut before = self.clone();
        before.before = None;
        self.before = Some(Box::new(before));
        self.changed = now;
    }

    fn make_current(&mut self, id: &str) {
        for version in &mut self.versions {
            version.stages.retain(|stage| *stage != PREVIOUS);
            if version.id != id && version.stages.contains(&CURRENT) {
                version.stages = vec![PREVIOUS];
            }
        }
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            version.stages = vec![CURRENT];
        }
    }

    /// Versions without a label are dropped once they are a day old.
    fn collect_versions(&mut self, now: Timestamp) {
        self.versions.retain(|version| !version.stages.is_empty() || now.since(version.made) < DAY);
    }

    fn metadata(&self, name: &str, versions: &str) -> Value {
        let tags: Vec<Value> = self.tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect();
        let stages: serde_json::Map<String, Value> = self
            .versions
            .iter()
            .filter(|version| !version.stages.is_empty())
            .map(|version| (version.id.clone(), json!(version.stages)))
            .collect();
        let replicas: Vec<Value> = self
            .replicas
            .iter()
            .map(|(region, (key, made))| {
                let status = if *made { "InSync" } else { "Failed" };
                json!({"Region": region, "KmsKeyId": key, "Status": status})
            })
            .collect();
        let mut metadata = json!({"ARN": self.arn, "Name": name, "Description": self.description, "Tags": tags,
            "CreatedDate": self.created.as_secs(), "LastChangedDate": self.changed.as_secs()});
        metadata[versions] = Value::Object(stages);
        if let Some(key) = &self.kms_key_id {
            metadata["KmsKeyId"] = json!(key);
        }
        if let Some(deleted) = self.deleted {
            metadata["DeletedDate"] = json!(deleted.as_secs());
        }
        if let Some(service) = &self.owning_service {
            metadata["OwningService"] = json!(service);
        }
        if !replicas.is_empty() {
            metadata["ReplicationStatus"] = Value::Array(replicas);
        }
        metadata
    }
}
