//! What the pretend Secret Manager does with a request, as destinations.md 3.1 to 3.5 have it.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use model::{SecretBytes, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    super::{crc::crc32c, labels::Labels, place},
    Call,
};

/// A refused request: the canonical status, and HTTP's.
pub(super) type Refused = (&'static str, u16);

const NOT_FOUND: Refused = ("NOT_FOUND", 404);
const EXISTS: Refused = ("ALREADY_EXISTS", 409);
const PRECONDITION: Refused = ("FAILED_PRECONDITION", 400);
const ARGUMENT: Refused = ("INVALID_ARGUMENT", 400);

/// The project's number, by which Google calls it in names.
const NUMBER: &str = "123456789012";

/// All secrets of the project.
#[derive(Default)]
pub(super) struct Secrets {
    all: BTreeMap<String, Secret>,
    changes: u64,
    pub(super) broken_keys: Vec<String>,
    pub(super) list_lag: Duration,
    pub(super) unconfirmed: bool,
    pub(super) damaging: bool,
    /// What is destroyed is kept for a while, disabled.
    pub(super) slow_destruction: bool,
}

struct Secret {
    etag: String,
    created: Timestamp,
    labels: Labels,
    annotations: Labels,
    replication: Value,
    versions: Vec<Version>,
}

struct Version {
    number: u64,
    state: &'static str,
    /// The state before, and when it was left: what a list that is behind still shows.
    before: (&'static str, Timestamp),
    value: Option<SecretBytes>,
    etag: String,
    created: Timestamp,
    confirmed: bool,
    /// It will be destroyed.
    scheduled: bool,
}

/// A secret as tests see it.
#[derive(Debug, Clone)]
pub struct GcpView {
    /// The value of the newest version that can be read.
    pub value: Option<SecretBytes>,
    /// Numbers and states of all versions, in order.
    pub versions: Vec<(u64, &'static str)>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Where it is kept, as the API has it.
    pub replication: Value,
}

impl GcpView {
    /// The numbers of the versions in a state.
    pub fn in_state(&self, state: &str) -> Vec<u64> {
        self.versions.iter().filter(|(_, s)| *s == state).map(|(number, _)| *number).collect()
    }
}

impl Secrets {
    pub(super) fn view(&self, name: &str) -> Option<GcpView> {
        let secret = self.all.get(name)?;
        let newest = secret.versions.iter().rev().find(|version| version.state == "ENABLED");
        Some(GcpView {
            value: newest.and_then(|version| version.value.clone()),
            versions: secret.versions.iter().map(|version| (version.number, version.state)).collect(),
            labels: secret.labels.clone(),
            annotations: secret.annotations.clone(),
            replication: secret.replication.clone(),
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    pub(super) fn plant(&mut self, name: &str, value: &str, labels: &[(&str, &str)], now: Timestamp) {
        let secret = Secret {
            etag: self.etag(),
            created: now,
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            annotations: Labels::new(),
            replication: json!({"automatic": {}}),
            versions: Vec::new(),
        };
        self.all.insert(name.to_owned(), secret);
        self.add_foreign(name, value, now);
    }

    pub(super) fn take_away(&mut self, name: &str) {
        self.all.remove(name);
    }

    pub(super) fn add_foreign(&mut self, name: &str, value: &str, now: Timestamp) -> u64 {
        let etag = self.etag();
        let Some(secret) = self.all.get_mut(name) else { return 0 };
        secret.add(value.into(), etag, now, false)
    }

    pub(super) fn end_foreign(&mut self, name: &str, number: u64, destroy: bool, now: Timestamp) {
        let etag = self.etag();
        let version = self.all.get_mut(name).and_then(|secret| secret.version(number));
        if let Some(version) = version {
            version.become_(if destroy { "DESTROYED" } else { "DISABLED" }, etag, now);
        }
    }

    pub(super) fn touch(&mut self, name: &str, label: Option<(&str, &str)>) {
        let etag = self.etag();
        if let Some(secret) = self.all.get_mut(name) {
            secret.etag = etag;
            secret.labels.extend(label.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
    }

    /// Another one each time, in the odd form Google's have.
    fn etag(&mut self) -> String {
        self.changes += 1;
        format!("\"16{:011x}\"", self.changes)
    }

    pub(super) fn call(&mut self, call: &Call, body: &Value, now: Timestamp) -> Result<Value, Refused> {
        match call.operation {
            "create" => self.create(call, body, now),
            "list" => self.list(call, now),
            "get" => self.all.get(&call.secret).ok_or(NOT_FOUND).map(|secret| secret.shown(&call.secret)),
            "patch" => self.patch(call, body),
            "delete" => self.delete(call),
            "addVersion" => self.add_version(call, body, now),
            "listVersions" => self.list_versions(call, now),
            "getVersion" => self.version(call).map(|version| version.shown(&call.secret)),
            "access" => self.access(call),
            "destroy" => self.end(call, body, "DESTROYED", now),
            "disable" => self.end(call, body, "DISABLED", now),
            _ => Err(("UNIMPLEMENTED", 501)),
        }
    }

    fn create(&mut self, call: &Call, body: &Value, now: Timestamp) -> Result<Value, Refused> {
        let id = call.query.get("secretId").ok_or(ARGUMENT)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=255).contains(&id.len()) || !id.chars().all(legal) {
            return Err(ARGUMENT);
        }
        let members = only(body, &["replication", "labels", "annotations"])?;
        let labels = labels(members.get("labels"))?;
        let annotations = annotations(members.get("annotations"))?;
        let replication = members.get("replication").ok_or(ARGUMENT)?;
        places(replication)?;
        if self.all.contains_key(id) {
            return Err(EXISTS);
        }
        let secret = Secret {
            etag: self.etag(),
            created: now,
            labels,
            annotations,
            replication: replication.clone(),
            versions: Vec::new(),
        };
        let shown = secret.shown(id);
        self.all.insert(id.clone(), secret);
        Ok(shown)
    }

    fn patch(&mut self, call: &Call, body: &Value) -> Result<Value, Refused> {
        let members = only(body, &["etag", "labels", "annotations", "replication"])?.clone();
        let mask = call.query.get("updateMask").ok_or(ARGUMENT)?.clone();
        let etag = self.etag();
        let secret = self.all.get_mut(&call.secret).ok_or(NOT_FOUND)?;
        if members.get("etag").is_some_and(|given| given.as_str() != Some(&secret.etag)) {
            return Err(PRECONDITION);
        }
        for path in mask.split(',') {
            match path {
                "labels" => secret.labels = labels(members.get("labels"))?,
                "annotations" => secret.annotations = annotations(members.get("annotations"))?,
                "replication" => {
                    let wanted = members.get("replication").ok_or(ARGUMENT)?;
                    if places(wanted)? != places(&secret.replication)? {
                        return Err(ARGUMENT);
                    }
                    secret.replication = wanted.clone();
                }
                _ => return Err(ARGUMENT),
            }
        }
        secret.etag = etag;
        Ok(secret.shown(&call.secret))
    }

    fn delete(&mut self, call: &Call) -> Result<Value, Refused> {
        let secret = self.all.get(&call.secret).ok_or(NOT_FOUND)?;
        if call.query.get("etag").is_some_and(|etag| *etag != secret.etag) {
            return Err(PRECONDITION);
        }
        self.all.remove(&call.secret);
        Ok(json!({}))
    }

    fn add_version(&mut self, call: &Call, body: &Value, now: Timestamp) -> Result<Value, Refused> {
        let payload = only(body, &["payload"])?.get("payload").ok_or(ARGUMENT)?;
        let payload = only(payload, &["data", "dataCrc32c"])?;
        let data = payload.get("data").and_then(Value::as_str).ok_or(ARGUMENT)?;
        let mut value = BASE64_STANDARD.decode(data).map_err(|_| ARGUMENT)?;
        if !(1..=65_536).contains(&value.len()) {
            return Err(ARGUMENT);
        }
        let checksum = match payload.get("dataCrc32c") {
            // An int64 is a text in JSON.
            Some(Value::String(text)) => Some(text.parse::<i64>().map_err(|_| ARGUMENT)?),
            Some(_) => return Err(ARGUMENT),
            None => None,
        };
        if checksum.is_some_and(|checksum| checksum != i64::from(crc32c(&value))) {
            return Err(ARGUMENT);
        }
        if self.damaging
            && let Some(byte) = value.first_mut()
        {
            *byte ^= 1;
        }
        let (etag, confirmed) = (self.etag(), checksum.is_some() && !self.unconfirmed);
        let broken = self.broken_keys.clone();
        let secret = self.all.get_mut(&call.secret).ok_or(NOT_FOUND)?;
        let keys = secret.replication.to_string();
        if broken.iter().any(|key| keys.contains(key)) {
            return Err(PRECONDITION);
        }
        let number = secret.add(SecretBytes::new(value), etag, now, confirmed);
        secret.version(number).ok_or(NOT_FOUND).map(|version| version.shown(&call.secret))
    }

    fn version(&mut self, call: &Call) -> Result<&mut Version, Refused> {
        let secret = self.all.get_mut(&call.secret).ok_or(NOT_FOUND)?;
        // Not by `latest` or an alias: those are behind at Google, and nobody here may rely on them.
        let number = call.version.parse().map_err(|_| ARGUMENT)?;
        secret.version(number).ok_or(NOT_FOUND)
    }

    fn access(&mut self, call: &Call) -> Result<Value, Refused> {
        let version = self.version(call)?;
        let value = version.value.clone().filter(|_| version.state == "ENABLED").ok_or(PRECONDITION)?;
        let data = BASE64_STANDARD.encode(value.expose());
        let crc = crc32c(value.expose()).to_string();
        Ok(json!({"name": version.shown(&call.secret)["name"], "payload": {"data": data, "dataCrc32c": crc}}))
    }

    fn end(
        &mut self,
        call: &Call,
        body: &Value,
        state: &'static str,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let etag = only(body, &["etag"])?.get("etag").cloned();
        let fresh = self.etag();
        let slow = self.slow_destruction && state == "DESTROYED";
        let version = self.version(call)?;
        if etag.is_some_and(|etag| etag.as_str() != Some(&version.etag)) || version.state == "DESTROYED" {
            return Err(PRECONDITION);
        }
        version.scheduled |= slow;
        version.become_(if slow { "DISABLED" } else { state }, fresh, now);
        Ok(version.shown(&call.secret))
    }

    fn list(&self, call: &Call, now: Timestamp) -> Result<Value, Refused> {
        let label = match call.query.get("filter") {
            None => None,
            Some(filter) => {
                let (key, value) =
                    filter.strip_prefix("labels.").and_then(|rest| rest.split_once('=')).ok_or(ARGUMENT)?;
                Some((key.to_owned(), value.to_owned()))
            }
        };
        let seen = self.all.iter().filter(|(_, secret)| {
            label.as_ref().is_none_or(|(key, value)| secret.labels.get(key) == Some(value))
                && (self.list_lag.is_zero() || secret.created.plus(self.list_lag) <= now)
        });
        page(call, "secrets", seen.map(|(name, secret)| secret.shown(name)).collect())
    }

    fn list_versions(&self, call: &Call, now: Timestamp) -> Result<Value, Refused> {
        let enabled_only = match call.query.get("filter").map(String::as_str) {
            None => false,
            Some("state:ENABLED") => true,
            Some(_) => return Err(ARGUMENT),
        };
        let secret = self.all.get(&call.secret).ok_or(NOT_FOUND)?;
        let behind = |at: Timestamp| !self.list_lag.is_zero() && at.plus(self.list_lag) > now;
        let seen = secret.versions.iter().rev().filter(|version| !behind(version.created)).map(|version| {
            let state = if behind(version.before.1) { version.before.0 } else { version.state };
            let mut shown = version.shown(&call.secret);
            shown["state"] = state.into();
            shown
        });
        let seen = seen.filter(|shown| !enabled_only || shown["state"] == "ENABLED");
        page(call, "versions", seen.collect())
    }
}

impl Secret {
    fn version(&mut self, number: u64) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.number == number)
    }

    fn add(&mut self, value: SecretBytes, etag: String, now: Timestamp, confirmed: bool) -> u64 {
        let number = self.versions.len() as u64 + 1;
        let before = ("ENABLED", Timestamp::from_nanos(0));
        self.versions.push(Version {
            number,
            state: "ENABLED",
            before,
            value: Some(value),
            etag,
            created: now,
            confirmed,
            scheduled: false,
        });
        number
    }

    fn shown(&self, name: &str) -> Value {
        json!({
            "name": format!("projects/{NUMBER}/secrets/{name}"),
            "replication": self.replication,
            "createTime": self.created.to_string(),
            "labels": self.labels,
            "annotations": self.annotations,
            "etag": self.etag,
        })
    }
}

impl Version {
    fn become_(&mut self, state: &'static str, etag: String, now: Timestamp) {
        self.before = (self.state, now);
        self.state = state;
        self.etag = etag;
        if state == "DESTROYED" {
            self.value = None;
        }
    }

    fn shown(&self, name: &str) -> Value {
        let mut shown = json!({
            "name": format!("projects/{NUMBER}/secrets/{name}/versions/{}", self.number),
            "createTime": self.created.to_string(),
            "state": self.state,
            "replicationStatus": {"automatic": {}},
            "etag": self.etag,
        });
        if self.scheduled {
            shown["scheduledDestroyTime"] = self.created.to_string().into();
        }
        // As all of Google's JSON: what is false is left out.
        if self.confirmed {
            shown["clientSpecifiedPayloadChecksum"] = true.into();
        }
        shown
    }
}

/// The members of an object that has no others: Google refuses what it does not know.
fn only<'a>(body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Refused> {
    let members = body.as_object().ok_or(ARGUMENT)?;
    if members.keys().all(|key| known.contains(&key.as_str())) { Ok(members) } else { Err(ARGUMENT) }
}

fn texts(value: Option<&Value>) -> Result<Labels, Refused> {
    let Some(value) = value else { return Ok(Labels::new()) };
    let members = value.as_object().ok_or(ARGUMENT)?;
    members.iter().map(|(key, value)| Ok((key.clone(), value.as_str().ok_or(ARGUMENT)?.to_owned()))).collect()
}

fn labels(value: Option<&Value>) -> Result<Labels, Refused> {
    let labels = texts(value)?;
    let character = |c: char| c == '_' || c == '-' || (c.is_alphanumeric() && !c.is_uppercase());
    let legal = |text: &str| text.chars().count() <= 63 && text.len() <= 128 && text.chars().all(character);
    let ok = labels.len() <= 64
        && labels
            .iter()
            .all(|(key, value)| legal(key) && legal(value) && key.starts_with(char::is_alphabetic));
    if ok { Ok(labels) } else { Err(ARGUMENT) }
}

fn annotations(value: Option<&Value>) -> Result<Labels, Refused> {
    let annotations = texts(value)?;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let legal = |key: &str| {
        (1..=63).contains(&key.len())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && edge(key.chars().next())
            && edge(key.chars().last())
    };
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size <= 16_384 && annotations.keys().all(|key| legal(key)) { Ok(annotations) } else { Err(ARGUMENT) }
}

/// Where a replication keeps secrets, after a look at whether it is one.
fn places(replication: &Value) -> Result<Vec<String>, Refused> {
    let members = only(replication, &["automatic", "userManaged"])?;
    let key_is_legal = |place: &Value, location: &str| -> Result<(), Refused> {
        let Some(encryption) = place.get("customerManagedEncryption") else { return Ok(()) };
        let name =
            only(encryption, &["kmsKeyName"])?.get("kmsKeyName").and_then(Value::as_str).ok_or(ARGUMENT)?;
        if place::location_of_key(name) == Ok(location) { Ok(()) } else { Err(ARGUMENT) }
    };
    match (members.get("automatic"), members.get("userManaged")) {
        (Some(automatic), None) => {
            only(automatic, &["customerManagedEncryption"])?;
            key_is_legal(automatic, "global")?;
            Ok(Vec::new())
        }
        (None, Some(managed)) => {
            let replicas =
                only(managed, &["replicas"])?.get("replicas").and_then(Value::as_array).ok_or(ARGUMENT)?;
            let mut locations = Vec::new();
            for replica in replicas {
                only(replica, &["location", "customerManagedEncryption"])?;
                let location = replica.get("location").and_then(Value::as_str).ok_or(ARGUMENT)?;
                key_is_legal(replica, location)?;
                locations.push(location.to_owned());
            }
            locations.sort_unstable();
            if locations.is_empty() || locations.windows(2).any(|two| two[0] == two[1]) {
                return Err(ARGUMENT);
            }
            Ok(locations)
        }
        _ => Err(ARGUMENT),
    }
}

fn page(call: &Call, member: &str, all: Vec<Value>) -> Result<Value, Refused> {
    let number = |name: &str, without: usize| match call.query.get(name) {
        None => Ok(without),
        Some(text) => text.parse::<usize>().map_err(|_| ARGUMENT),
    };
    let (from, size) = (number("pageToken", 0)?, number("pageSize", 25_000)?.clamp(1, 25_000));
    let total = all.len();
    let some: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    let mut page = json!({"totalSize": total});
    if from + some.len() < total {
        page["nextPageToken"] = (from + some.len()).to_string().into();
    }
    if !some.is_empty() {
        page[member] = some.into();
    }
    Ok(page)
}
