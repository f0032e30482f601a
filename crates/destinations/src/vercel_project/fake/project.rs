//! What the pretend Vercel does with a request, as destinations.md 5.1 has it.

use std::collections::BTreeMap;

use model::Timestamp;
use serde_json::{Value, json};

const TARGETS: [&str; 3] = ["production", "preview", "development"];

/// In which form a list is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListShape {
    /// With the number of hidden production variables.
    #[default]
    Counted,
    /// In pages of so many.
    Paged(usize),
    /// Just the variables; exactly one is answered as itself.
    Bare,
}

/// One variable as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// What it holds.
    pub value: String,
    /// Its type.
    pub kind: String,
    /// The environments it is for.
    pub target: Vec<String>,
    /// Its comment.
    pub comment: String,
    /// How often its content changed, its making included.
    pub changes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    id: String,
    pub(super) key: String,
    value: String,
    kind: String,
    target: Vec<String>,
    git_branch: Option<String>,
    custom_environment_ids: Vec<String>,
    comment: Option<String>,
    created_at: i64,
    updated_at: i64,
    changes: usize,
    /// Members of its answers that mean nothing here.
    more: serde_json::Map<String, Value>,
}

impl From<&Record> for Seen {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            value: record.value.clone(),
            kind: record.kind.clone(),
            target: record.target.clone(),
            comment: record.comment.clone().unwrap_or_default(),
            changes: record.changes,
        }
    }
}

pub(super) struct Project {
    pub(super) records: Vec<Record>,
    pub(super) denied: Vec<String>,
    pub(super) failing: Vec<(String, &'static str, usize)>,
    pub(super) whole: Option<bool>,
    pub(super) most_in_array: usize,
    pub(super) most_variables: usize,
    pub(super) shape: ListShape,
    pub(super) hides_production: bool,
    minted: u64,
    last_time: i64,
}

impl Default for Project {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            denied: Vec::new(),
            failing: Vec::new(),
            whole: None,
            most_in_array: 100,
            most_variables: 1000,
            shape: ListShape::default(),
            hides_production: false,
            minted: 0,
            last_time: 0,
        }
    }
}

/// A refused request, or a refused variable.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) invalid_token: bool,
    pub(super) key: Option<String>,
    pub(super) target: Option<Vec<String>>,
}

impl Refused {
    pub(super) fn of(status: u16, code: &'static str) -> Self {
        Self { status, code, invalid_token: false, key: None, target: None }
    }

    fn about(self, item: &Value) -> Self {
        Self { key: item["key"].as_str().map(ToOwned::to_owned), target: texts(&item["target"]), ..self }
    }

    pub(super) fn body(&self) -> Value {
        // Real services repeat what they were sent. So does this, to catch who repeats it further.
        let mut error = json!({"code": self.code, "message": "refused: CANARY-FROM-REMOTE"});
        if self.invalid_token {
            error["invalidToken"] = json!(true);
        }
        if let Some(key) = &self.key {
            error["envVarKey"] = json!(key);
        }
        if let Some(target) = &self.target {
            error["target"] = json!(target);
        }
        json!({ "error": error })
    }
}

type Outcome = Result<(u16, Value), Refused>;

impl Project {
    pub(super) fn call(
        &mut self,
        operation: &str,
        id: &str,
        query: &BTreeMap<String, String>,
        request: &Value,
        now: Timestamp,
    ) -> Outcome {
        if self.denied.iter().any(|denied| operation.starts_with(denied.as_str())) {
            return Err(Refused::of(403, "forbidden"));
        }
        match operation {
            "create" => self.create(request, query.get("upsert").is_some_and(|on| on == "true"), now),
            "list" => Ok((200, self.list(query.get("until")))),
            "edit" => self.edit(id, request, now),
            "remove" => {
                let at = self.position(id)?;
                Ok((200, self.records.remove(at).shown()))
            }
            "remove-many" => self.remove_many(request),
            _ => Err(Refused::of(404, "not_found")),
        }
    }

    fn position(&self, id: &str) -> Result<usize, Refused> {
        self.records.iter().position(|record| record.id == id).ok_or(Refused::of(404, "not_found"))
    }

    fn create(&mut self, request: &Value, upsert: bool, now: Timestamp) -> Outcome {
        let Some(items) = request.as_array() else {
            let made = self.create_one(request, upsert, now)?;
            return Ok((201, json!({"created": made, "failed": []})));
        };
        if items.len() > self.most_in_array {
            return Err(Refused::of(400, "TOO_MANY_KEYS"));
        }
        let before = self.records.clone();
        let (mut created, mut failed) = (Vec::new(), Vec::new());
        for item in items {
            let outcome = match self.failing_code(item) {
                Some(code) => Err(Refused::of(400, code).about(item)),
                None => self.create_one(item, upsert, now),
            };
            match (outcome, self.whole) {
                (Ok(made), _) => created.push(made),
                (Err(refused), None) => failed.push(refused.body()),
                (Err(refused), Some(naming)) => {
                    self.records = before;
                    return Err(if naming { refused } else { Refused::of(refused.status, refused.code) });
                }
            }
        }
        Ok((201, json!({"created": created, "failed": failed})))
    }

    fn failing_code(&mut self, item: &Value) -> Option<&'static str> {
        let key = item["key"].as_str()?;
        let (_, code, times) = self.failing.iter_mut().find(|(k, _, times)| k == key && *times > 0)?;
        *times -= 1;
        Some(code)
    }

    fn create_one(&mut self, item: &Value, upsert: bool, now: Timestamp) -> Result<Value, Refused> {
        let fault = |code| Refused::of(400, code).about(item);
        let key = item["key"].as_str().ok_or_else(|| fault("MISSING_KEY"))?;
        let value = item["value"].as_str().ok_or_else(|| fault("MISSING_VALUE"))?;
        let target = targets(&item["target"]).ok_or_else(|| fault("MISSING_TARGET"))?;
        check(key, value, item["type"].as_str(), &target).map_err(fault)?;
        let in_the_way =
            |record: &&Record| record.key == key && record.git_branch.is_none() && record.meets(&target);
        let in_the_way: Vec<&Record> = self.records.iter().filter(in_the_way).collect();
        match in_the_way.as_slice() {
            [] => {}
            [record] if upsert && same(&record.target, &target) => {
                let id = record.id.clone();
                self.change(&id, &json!({"value": value, "comment": item["comment"]}), now);
                return self.position(&id).map(|at| self.records[at].shown());
            }
            _ if upsert => return Err(fault("ENV_CONFLICT")),
            _ => return Err(fault("ENV_ALREADY_EXISTS")),
        }
        let crowded = target.iter().any(|one| {
            self.records.iter().filter(|record| record.target.contains(one)).count() >= self.most_variables
        });
        if crowded {
            return Err(fault("MAX_ENVS_EXCEEDED"));
        }
        let id = self.plant(item.clone(), now);
        self.position(&id).map(|at| self.records[at].shown())
    }

    /// Makes a record whatever it is.
    pub(super) fn plant(&mut self, record: Value, now: Timestamp) -> String {
        self.minted += 1;
        let id = format!("env_{:08x}", self.minted);
        let time = self.time(now);
        let mut record = match record {
            Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        let custom = record.remove("customEnvironmentIds");
        let target = record.remove("target");
        let mut text = |name: &str| match record.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (key, value, kind) = (text("key"), text("value"), text("type"));
        let (comment, git_branch) = (text("comment"), text("gitBranch"));
        self.records.push(Record {
            id: id.clone(),
            key: key.unwrap_or_default(),
            value: value.unwrap_or_default(),
            kind: kind.unwrap_or_else(|| "encrypted".to_owned()),
            target: target.as_ref().and_then(targets).unwrap_or_default(),
            git_branch,
            custom_environment_ids: custom.as_ref().and_then(texts).unwrap_or_default(),
            comment,
            created_at: time,
            updated_at: time,
            changes: 1,
            more: record,
        });
        id
    }

    /// Later than everything before, in milliseconds.
    fn time(&mut self, now: Timestamp) -> i64 {
        self.last_time = (self.last_time + 1).max(now.as_nanos() / 1_000_000);
        self.last_time
    }

    pub(super) fn change(&mut self, id: &str, changes: &Value, now: Timestamp) {
        let time = self.time(now);
        let Some(record) = self.records.iter_mut().find(|record| record.id == id) else { return };
        let before = (record.value.clone(), record.comment.clone());
        if let Some(value) = changes["value"].as_str() {
            value.clone_into(&mut record.value);
        }
        if let Some(comment) = changes["comment"].as_str() {
            record.comment = Some(comment.to_owned());
        }
        if let Some(key) = changes["key"].as_str() {
            key.clone_into(&mut record.key);
        }
        if let Some(target) = targets(&changes["target"]) {
            record.target = target;
        }
        if before != (record.value.clone(), record.comment.clone()) {
            record.changes += 1;
        }
        record.updated_at = time;
    }

    fn edit(&mut self, id: &str, request: &Value, now: Timestamp) -> Outcome {
        let at = self.position(id)?;
        let record = self.records[at].clone();
        let key = request["key"].as_str().unwrap_or(&record.key);
        let value = request["value"].as_str().unwrap_or(&record.value);
        let target = targets(&request["target"]).unwrap_or_else(|| record.target.clone());
        let kind = request["type"].as_str().unwrap_or(&record.kind);
        let fault = |code| Refused::of(400, code);
        if kind != record.kind && record.kind == "sensitive" {
            return Err(fault("bad_request"));
        }
        check(key, value, Some(kind), &target).map_err(fault)?;
        let conflict = self.records.iter().any(|other| {
            other.id != id
                && other.key == key
                && other.git_branch == record.git_branch
                && other.meets(&target)
        });
        if conflict {
            return Err(Refused { key: Some(key.to_owned()), ..fault("ENV_CONFLICT") });
        }
        self.change(id, request, now);
        Ok((200, self.records[at].shown()))
    }

    fn remove_many(&mut self, request: &Value) -> Outcome {
        let ids = texts(&request["ids"]).ok_or(Refused::of(400, "MISSING_ID"))?;
        if ids.len() > self.most_in_array {
            return Err(Refused::of(400, "TOO_MANY_IDS"));
        }
        let gone: Vec<String> = ids.into_iter().filter(|id| self.position(id).is_ok()).collect();
        self.records.retain(|record| !gone.contains(&record.id));
        Ok((200, json!({"deleted": gone.len(), "ids": gone})))
    }

    fn list(&self, until: Option<&String>) -> Value {
        let production = |record: &Record| record.target.iter().any(|target| target == "production");
        let (hidden, shown): (Vec<&Record>, Vec<&Record>) =
            self.records.iter().partition(|record| self.hides_production && production(record));
        let listed = |record: &Record| {
            let mut shown = record.shown();
            shown["securityIssues"] = json!([]);
            shown
        };
        let all =
            |records: &[&Record]| -> Vec<Value> { records.iter().map(|record| listed(record)).collect() };
        match self.shape {
            ListShape::Counted => json!({"envs": all(&shown), "hiddenProductionEnvCount": hidden.len()}),
            ListShape::Bare => match shown.as_slice() {
                [one] => listed(one),
                many => json!({"envs": all(many)}),
            },
            ListShape::Paged(size) => {
                // Newest first, from a time on which is itself included.
                let until = until.and_then(|until| until.parse().ok()).unwrap_or(i64::MAX);
                let mut rest: Vec<&Record> =
                    shown.into_iter().filter(|record| record.created_at <= until).collect();
                rest.sort_by_key(|record| std::cmp::Reverse(record.created_at));
                let more = rest.len() > size;
                rest.truncate(size);
                let next = rest.last().filter(|_| more).map(|last| last.created_at);
                let prev = rest.first().map(|first| first.created_at);
                let pagination = json!({"count": rest.len(), "next": next, "prev": prev});
                json!({"envs": all(&rest), "pagination": pagination})
            }
        }
    }
}

impl Record {
    fn meets(&self, target: &[String]) -> bool {
        self.target.iter().any(|one| target.contains(one))
    }

    fn shown(&self) -> Value {
        // What cannot be read back is not shown; what can is shown as it is kept.
        let value = match self.kind.as_str() {
            "plain" => self.value.clone(),
            "sensitive" => String::new(),
            _ => format!("eyJ2IjoidjIi-{}", self.value.len()),
        };
        let mut shown = json!({
            "id": self.id, "key": self.key, "value": value, "type": self.kind, "target": self.target,
            "customEnvironmentIds": self.custom_environment_ids, "createdAt": self.created_at,
            "updatedAt": self.updated_at, "createdBy": "user_pretend", "updatedBy": null,
            "configurationId": null, "edgeConfigId": null, "contentHint": null, "decrypted": false,
        });
        if let Some(comment) = &self.comment {
            shown["comment"] = json!(comment);
        }
        if let Some(branch) = &self.git_branch {
            shown["gitBranch"] = json!(branch);
        }
        if let Value::Object(all) = &mut shown {
            all.extend(self.more.clone());
        }
        shown
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|one| one.as_str().map(ToOwned::to_owned)).collect()
}

/// A set of environments, if it is one and not empty.
fn targets(value: &Value) -> Option<Vec<String>> {
    let targets = texts(value)?;
    let good = !targets.is_empty() && targets.iter().all(|target| TARGETS.contains(&target.as_str()));
    good.then_some(targets)
}

fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|one| b.contains(one))
}

fn check(key: &str, value: &str, kind: Option<&str>, target: &[String]) -> Result<(), &'static str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.is_empty() || key.len() > 256 {
        return Err("KEY_INVALID_LENGTH");
    }
    if !key.chars().all(word) || key.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("KEY_INVALID_CHARACTERS");
    }
    if matches!(key, "TZ" | "AWS_SECRET_KEY" | "VERCEL_ENV" | "VERCEL_URL") {
        return Err("RESERVED_ENV_VARIABLE");
    }
    if value.len() > 65_536 {
        return Err("VALUE_INVALID_LENGTH");
    }
    match kind {
        Some("sensitive") if target.iter().any(|one| one == "development") => Err("bad_request"),
        Some("sensitive" | "encrypted" | "plain" | "system") => Ok(()),
        _ => Err("VALUE_INVALID_TYPE"),
    }
}
