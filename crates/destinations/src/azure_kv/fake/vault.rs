//! What the pretend vault does with a request, as destinations.md 2.1 and 2.2 have it.

use std::{collections::BTreeMap, time::Duration};

use model::{SecretBytes, Timestamp};
use serde_json::{Value, json};

/// A refused request: status, `error.code`, `error.innererror.code`.
#[derive(Debug)]
pub(super) struct Refused(pub(super) u16, pub(super) &'static str, pub(super) Option<&'static str>);

const NOT_FOUND: Refused = Refused(404, "SecretNotFound", None);
const BAD_PARAMETER: Refused = Refused(400, "BadParameter", None);

const fn conflict(inner: &'static str) -> Refused {
    Refused(409, "Conflict", Some(inner))
}

/// Deleted secrets are kept so long.
const RETENTION: Duration = Duration::from_secs(90 * 86_400);

const PAGE: usize = 25;

#[derive(Default)]
pub(super) struct Vault {
    /// By name in lower case.
    secrets: BTreeMap<String, Secret>,
    minted: u64,
    /// How long deleting, recovering and purging take.
    pub(super) limbo: Duration,
    pub(super) purge_protected: bool,
    pub(super) level_hidden: bool,
}

struct Secret {
    /// As it was written first.
    name: String,
    versions: Vec<Version>,
    managed: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// On its way out until then; neither here nor there.
    Deleting(Timestamp),
    /// Gone for good at that time.
    Deleted(Timestamp),
    /// On its way back until then; its versions show already.
    Recovering(Timestamp),
    /// On its way to nothing until then; only a write notices.
    Purging(Timestamp),
}

#[derive(Clone)]
struct Version {
    id: String,
    value: SecretBytes,
    content_type: Option<String>,
    tags: BTreeMap<String, String>,
    /// When it was made, and in which order.
    created: Timestamp,
    order: u64,
}

/// A secret as tests see it.
#[derive(Debug, Clone)]
pub struct SecretView {
    /// The current value, as it is written.
    pub value: SecretBytes,
    /// Its content type.
    pub content_type: Option<String>,
    /// The tags of the current version.
    pub tags: BTreeMap<String, String>,
    /// The current version.
    pub version: String,
    /// How many versions there are.
    pub versions: usize,
    /// It is deleted, or on its way out.
    pub deleted: bool,
    /// The name as it was written first.
    pub name: String,
}

impl Vault {
    pub(super) fn call(
        &mut self,
        operation: &str,
        path: &str,
        query: &str,
        request: &Value,
        base: &str,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        self.pass_time(now);
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if !query.contains_key("api-version") {
            return Err(BAD_PARAMETER);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.get(1).copied().unwrap_or_default();
        let legal = |name: &str| {
            (1..=127).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if operation != "List" && !legal(name) {
            return Err(BAD_PARAMETER);
        }
        match operation {
            "Set" => self.set(name, request, base, now),
            "Update" => self.update(name, parts.get(2).copied().unwrap_or_default(), request, base),
            "Get" => self.get(name, parts.get(2).copied(), base),
            "Versions" => self.list_versions(name, &query, base),
            "List" => self.list(&query, base),
            "Delete" => self.delete(name, base, now),
            "GetDeleted" => self.get_deleted(name, base),
            "Recover" => self.recover(name, base, now),
            "Purge" => self.purge(name, now),
            _ => Err(BAD_PARAMETER),
        }
    }

    /// Ends what was to end by now.
    fn pass_time(&mut self, now: Timestamp) {
        for secret in self.secrets.values_mut() {
            secret.state = match secret.state {
                State::Deleting(until) if until <= now => State::Deleted(until.plus(RETENTION)),
                State::Recovering(until) if until <= now => State::Live,
                state => state,
            };
        }
        self.secrets.retain(|_, secret| match secret.state {
            State::Deleted(until) | State::Purging(until) => until > now,
            _ => true,
        });
    }

    fn live(&mut self, name: &str) -> Result<&mut Secret, Refused> {
        match self.secrets.get_mut(&name.to_ascii_lowercase()) {
            Some(secret) if matches!(secret.state, State::Live | State::Recovering(_)) => Ok(secret),
            _ => Err(NOT_FOUND),
        }
    }

    fn set(&mut self, name: &str, request: &Value, base: &str, now: Timestamp) -> Result<Value, Refused> {
        let value = request.get("value").and_then(Value::as_str).ok_or(BAD_PARAMETER)?;
        let tags = tags(request)?;
        let content_type = request.get("contentType").and_then(Value::as_str).map(ToOwned::to_owned);
        if value.len() > 25 * 1024 || content_type.as_ref().is_some_and(|kind| kind.len() > 255) {
            return Err(BAD_PARAMETER);
        }
        if let Some(there) = self.secrets.get(&name.to_ascii_lowercase()) {
            match there.state {
                State::Deleting(_) | State::Purging(_) => return Err(conflict("ObjectIsBeingDeleted")),
                State::Deleted(_) => return Err(conflict("ObjectIsDeletedButRecoverable")),
                State::Recovering(_) => return Err(conflict("ObjectIsBeingRecovered")),
                State::Live if there.managed => return Err(Refused(403, "Forbidden", None)),
                State::Live => {}
            }
        }
        let version = self.version(value, content_type, tags, now);
        let secret = self.secrets.entry(name.to_ascii_lowercase()).or_insert_with(|| Secret {
            name: name.to_owned(),
            versions: Vec::new(),
            managed: false,
            state: State::Live,
        });
        secret.versions.push(version);
        secret.current().map(|version| secret.bundle(version, base, true)).ok_or(NOT_FOUND)
    }

    fn version(
        &mut self,
        value: &str,
        content_type: Option<String>,
        tags: BTreeMap<String, String>,
        created: Timestamp,
    ) -> Version {
        self.minted += 1;
        // Like Azure's: in no order of time.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.minted.to_be_bytes());
        let id = hex::encode(&digest.as_ref()[..16]);
        Version { id, value: value.into(), content_type, tags, created, order: self.minted }
    }

    fn update(&mut self, name: &str, version: &str, request: &Value, base: &str) -> Result<Value, Refused> {
        let tags = tags(request)?;
        let secret = self.live(name)?;
        let at = secret.versions.iter().position(|there| there.id == version).ok_or(NOT_FOUND)?;
        if request.get("tags").is_some() {
            secret.versions[at].tags = tags;
        }
        Ok(secret.bundle(&secret.versions[at], base, false))
    }

    fn get(&mut self, name: &str, version: Option<&str>, base: &str) -> Result<Value, Refused> {
        let secret = self.live(name)?;
        let found = match version {
            Some(version) => secret.versions.iter().find(|there| there.id == version),
            None => secret.current(),
        };
        found.map(|version| secret.bundle(version, base, true)).ok_or(NOT_FOUND)
    }

    fn list_versions(
        &mut self,
        name: &str,
        query: &BTreeMap<String, String>,
        base: &str,
    ) -> Result<Value, Refused> {
        // A secret that is not there has no versions.
        let Ok(secret) = self.live(name) else { return Ok(json!({"value": [], "nextLink": null})) };
        let mut versions: Vec<&Version> = secret.versions.iter().collect();
        versions.sort_by(|a, b| a.id.cmp(&b.id));
        let all: Vec<(String, Value)> = versions
            .iter()
            .map(|version| (version.id.clone(), secret.bundle(version, base, false)))
            .collect();
        page(&all, query, &format!("{base}/secrets/{name}/versions"))
    }

    fn list(&mut self, query: &BTreeMap<String, String>, base: &str) -> Result<Value, Refused> {
        let live = self.secrets.iter().filter(|(_, s)| matches!(s.state, State::Live | State::Recovering(_)));
        let all: Vec<(String, Value)> = live
            .filter_map(|(key, secret)| {
                let mut bundle = secret.bundle(secret.current()?, base, false);
                bundle["id"] = json!(format!("{base}/secrets/{}", secret.name));
                Some((key.clone(), bundle))
            })
            .collect();
        page(&all, query, &format!("{base}/secrets"))
    }

    fn delete(&mut self, name: &str, base: &str, now: Timestamp) -> Result<Value, Refused> {
        let until = now.plus(self.limbo);
        let secret = self.secrets.get_mut(&name.to_ascii_lowercase()).ok_or(NOT_FOUND)?;
        match secret.state {
            State::Live if secret.managed => return Err(Refused(403, "Forbidden", None)),
            State::Live => {}
            State::Deleting(_) => return Err(conflict("ObjectIsBeingDeleted")),
            State::Recovering(_) => return Err(conflict("ObjectIsBeingRecovered")),
            State::Deleted(_) | State::Purging(_) => return Err(NOT_FOUND),
        }
        secret.state = State::Deleting(until);
        let answer = self.deleted_bundle(name, base, until.plus(RETENTION));
        self.pass_time(now);
        answer.ok_or(NOT_FOUND)
    }

    fn get_deleted(&mut self, name: &str, base: &str) -> Result<Value, Refused> {
        match self.secrets.get(&name.to_ascii_lowercase()).map(|secret| secret.state) {
            Some(State::Deleted(until)) => self.deleted_bundle(name, base, until).ok_or(NOT_FOUND),
            _ => Err(NOT_FOUND),
        }
    }

    fn deleted_bundle(&self, name: &str, base: &str, purge: Timestamp) -> Option<Value> {
        let secret = self.secrets.get(&name.to_ascii_lowercase())?;
        let mut bundle = secret.bundle(secret.current()?, base, false);
        bundle["recoveryId"] = json!(format!("{base}/deletedsecrets/{}", secret.name));
        bundle["deletedDate"] =
            json!(purge.as_secs() - i64::try_from(RETENTION.as_secs()).unwrap_or_default());
        bundle["scheduledPurgeDate"] = json!(purge.as_secs());
        let level = if self.purge_protected { "Recoverable" } else { "Recoverable+Purgeable" };
        bundle["attributes"]["recoveryLevel"] = if self.level_hidden { json!("") } else { json!(level) };
        Some(bundle)
    }

    fn recover(&mut self, name: &str, base: &str, now: Timestamp) -> Result<Value, Refused> {
        let until = now.plus(self.limbo);
        let secret = self.secrets.get_mut(&name.to_ascii_lowercase()).ok_or(NOT_FOUND)?;
        match secret.state {
            State::Deleted(_) => secret.state = State::Recovering(until),
            State::Recovering(_) => return Err(conflict("ObjectIsBeingRecovered")),
            _ => return Err(NOT_FOUND),
        }
        let answer = secret.current().map(|version| secret.bundle(version, base, false));
        self.pass_time(now);
        answer.ok_or(NOT_FOUND)
    }

    fn purge(&mut self, name: &str, now: Timestamp) -> Result<Value, Refused> {
        let until = now.plus(self.limbo);
        let secret = self.secrets.get_mut(&name.to_ascii_lowercase()).ok_or(NOT_FOUND)?;
        match secret.state {
            State::Deleted(_) if self.purge_protected => return Err(Refused(403, "Forbidden", None)),
            State::Deleted(_) => secret.state = State::Purging(until),
            _ => return Err(NOT_FOUND),
        }
        self.pass_time(now);
        Ok(Value::Null)
    }
}

/// What tests do and see past the interface.
impl Vault {
    pub(super) fn view(&mut self, name: &str, now: Timestamp) -> Option<SecretView> {
        self.pass_time(now);
        let secret = self.secrets.get(&name.to_ascii_lowercase())?;
        let current = secret.current()?;
        Some(SecretView {
            value: current.value.clone(),
            content_type: current.content_type.clone(),
            tags: current.tags.clone(),
            version: current.id.clone(),
            versions: secret.versions.len(),
            deleted: !matches!(secret.state, State::Live | State::Recovering(_)),
            name: secret.name.clone(),
        })
    }

    pub(super) fn names(&mut self, now: Timestamp) -> Vec<String> {
        self.pass_time(now);
        self.secrets.values().map(|secret| secret.name.clone()).collect()
    }

    pub(super) fn plant(&mut self, name: &str, value: &str, tags: &[(&str, &str)], now: Timestamp) {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let versions = vec![self.version(value, None, tags, now)];
        let secret = Secret { name: name.to_owned(), versions, managed: false, state: State::Live };
        self.secrets.insert(name.to_ascii_lowercase(), secret);
    }

    pub(super) fn add_old_versions(&mut self, name: &str, count: usize) {
        for _ in 0..count {
            let mut version = self.version("old", None, BTreeMap::new(), Timestamp::from_secs(1_000));
            version.order = 0;
            if let Some(secret) = self.secrets.get_mut(&name.to_ascii_lowercase()) {
                secret.versions.push(version);
            }
        }
    }

    pub(super) fn take_away(&mut self, name: &str) {
        self.secrets.remove(&name.to_ascii_lowercase());
    }

    pub(super) fn delete_now(&mut self, name: &str, now: Timestamp) {
        if let Some(secret) = self.secrets.get_mut(&name.to_ascii_lowercase()) {
            secret.state = State::Deleted(now.plus(RETENTION));
        }
    }

    pub(super) fn give_to_certificate(&mut self, name: &str) {
        if let Some(secret) = self.secrets.get_mut(&name.to_ascii_lowercase()) {
            secret.managed = true;
        }
    }
}

impl Secret {
    fn current(&self) -> Option<&Version> {
        self.versions.iter().max_by_key(|version| (version.created, version.order))
    }

    fn bundle(&self, version: &Version, base: &str, with_value: bool) -> Value {
        let created = version.created.as_secs();
        let mut bundle = json!({
            "id": format!("{base}/secrets/{}/{}", self.name, version.id),
            "attributes": {"enabled": true, "created": created, "updated": created,
                "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90},
            "tags": version.tags,
        });
        if let Some(kind) = &version.content_type {
            bundle["contentType"] = json!(kind);
        }
        if self.managed {
            bundle["managed"] = json!(true);
            bundle["kid"] = json!(format!("{base}/keys/{}/{}", self.name, version.id));
        }
        if with_value {
            // What was put there, back to whoever may read it.
            bundle["value"] = json!(version.value.expose_text().unwrap_or_default());
        }
        bundle
    }
}

fn tags(request: &Value) -> Result<BTreeMap<String, String>, Refused> {
    let mut tags = BTreeMap::new();
    for (key, value) in request.get("tags").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or(BAD_PARAMETER)?;
        if !(1..=256).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(BAD_PARAMETER);
        }
        tags.insert(key.clone(), value.to_owned());
    }
    if tags.len() > 15 { Err(BAD_PARAMETER) } else { Ok(tags) }
}

/// One page of a list that is sorted by its keys.
fn page(all: &[(String, Value)], query: &BTreeMap<String, String>, url: &str) -> Result<Value, Refused> {
    let limit = match query.get("maxresults").map(|limit| limit.parse::<usize>()) {
        None => PAGE,
        Some(Ok(limit)) if (1..=PAGE).contains(&limit) => limit,
        Some(_) => return Err(BAD_PARAMETER),
    };
    let after = query.get("$skiptoken").map(String::as_str).unwrap_or_default();
    let mut rest = all.iter().filter(|(key, _)| key.as_str() > after);
    let page: Vec<&(String, Value)> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(page.last()).map(|(key, _)| {
        let version = query.get("api-version").map(String::as_str).unwrap_or_default();
        format!("{url}?api-version={version}&$skiptoken={key}&maxresults={limit}")
    });
    Ok(json!({"value": page.iter().map(|(_, value)| value).collect::<Vec<_>>(), "nextLink": next}))
}
