//! Two answers side by side: status, headers that clients read, and each member of the body. What must differ between any two servers
//! (ids, times, tokens) is made alike first.

use hyper::header;
use regex::Regex;
use serde_json::Value;

use crate::harness::Answer;

/// Something that is not the same.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// `METHOD path`.
    pub(crate) request: String,
    /// `status`, a header's name, or a member of the body: `data.keys[0]`.
    pub(crate) at: String,
    pub(crate) bao: String,
    pub(crate) ours: String,
}

/// Members that hold seconds which pass while the test runs.
const SECONDS: &[&str] =
    &["ttl", "lease_duration", "creation_time", "last_renewal_time", "server_time_utc", "secret_id_ttl"];

/// Makes alike what must differ.
pub(crate) struct Norm(Vec<(Regex, &'static str)>);

impl Norm {
    pub(crate) fn new() -> Self {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
            (r"\b(hvs|hvb|s|b)\.[A-Za-z0-9_-]{20,}", "<token>"),
            (r"\b(kv|identity|system|sys|cubbyhole|auth_[a-z]+|ns_[a-z]+)_[0-9a-f]{6,10}\b", "${1}_<hex>"),
            (r"\bh?[0-9a-f]{40,64}\b", "<id>"),
            (r"\b[A-Za-z0-9]{24}\b", "<id>"),
            // What is left of it, of which a second may be gone.
            (r#"effective max_ttl of "[^"]*""#, "effective max_ttl of <left>"),
            (r"^v\d+\.\d+\.\d+\+builtin(\.bao)?$", "<version>"),
        ];
        Self(rules.map(|(pattern, with)| (Regex::new(pattern).unwrap(), with)).into())
    }

    fn text(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => list.iter().map(|value| self.value(value)).collect(),
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| match value {
                    // Only how much of it there is can be the same.
                    Value::String(text) if name == "random_bytes" => {
                        (name.clone(), Value::String(format!("<{} characters>", text.len())))
                    }
                    _ => (self.text(name), self.value(value)),
                };
                Value::Object(members.iter().map(member).collect())
            }
            other => other.clone(),
        }
    }

    /// All that differs between two answers. A success beside a refusal is one difference, that of the status.
    pub(crate) fn differences(&self, request: &str, bao: &Answer, ours: &Answer) -> Vec<Difference> {
        let mut found = Found { request, found: Vec::new() };
        let (theirs, mine) = (self.body(bao), self.body(ours));
        if bao.status.is_success() != ours.status.is_success() {
            let told = |answer: &Answer, body: &Value| match body["errors"][0].as_str() {
                Some(text) => format!("{} {text:?}", answer.status.as_str()),
                None => answer.status.as_str().to_owned(),
            };
            found.texts("status", &told(bao, &theirs), &told(ours, &mine));
            return found.found;
        }
        found.texts("status", bao.status.as_str(), ours.status.as_str());
        // OpenBao gives some of its empty answers a type.
        if !bao.text.is_empty() && !ours.text.is_empty() {
            let (theirs, mine) = (bao.header(&header::CONTENT_TYPE), ours.header(&header::CONTENT_TYPE));
            found.texts("Content-Type", &theirs, &mine);
        }
        for name in [header::CACHE_CONTROL, header::ACCESS_CONTROL_ALLOW_ORIGIN] {
            found.texts(name.as_str(), &bao.header(&name), &ours.header(&name));
        }
        found.values("", &theirs, &mine);
        found.found
    }

    fn body(&self, answer: &Answer) -> Value {
        let mut body = match serde_json::from_str::<Value>(&answer.text) {
            Ok(json) => self.value(&json),
            Err(_) => Value::String(self.text(&answer.text)),
        };
        fold_injected(&mut body);
        body
    }
}

/// Some answers repeat the members of `data` beside it. What is repeated is compared once.
fn fold_injected(body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    let Some(data) = members.get("data").and_then(Value::as_object).cloned() else { return };
    if !data.is_empty() && data.iter().all(|(name, value)| members.get(name) == Some(value)) {
        members.retain(|name, _| !data.contains_key(name));
        members.insert("(data again)".to_owned(), Value::Bool(true));
    }
}

struct Found<'r> {
    request: &'r str,
    found: Vec<Difference>,
}

impl Found<'_> {
    fn texts(&mut self, at: &str, bao: &str, ours: &str) {
        if bao != ours {
            self.found.push(Difference {
                request: self.request.to_owned(),
                at: if at.is_empty() { "body".to_owned() } else { at.to_owned() },
                bao: bao.to_owned(),
                ours: ours.to_owned(),
            });
        }
    }

    fn values(&mut self, at: &str, bao: &Value, ours: &Value) {
        match (bao, ours) {
            (Value::Object(theirs), Value::Object(mine)) => {
                let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
                for (name, value) in theirs {
                    match mine.get(name) {
                        Some(ours) => self.values(&below(name), value, ours),
                        None => self.texts(&below(name), &value.to_string(), "absent"),
                    }
                }
                for (name, value) in mine.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
                    self.texts(&below(name), "absent", &value.to_string());
                }
            }
            (Value::Array(theirs), Value::Array(mine)) if theirs.len() == mine.len() => {
                for (index, (bao, ours)) in theirs.iter().zip(mine).enumerate() {
                    self.values(&format!("{at}[{index}]"), bao, ours);
                }
            }
            (Value::Number(theirs), Value::Number(mine)) if is_seconds(at) => {
                let (theirs, mine) = (theirs.as_i64().unwrap_or(0), mine.as_i64().unwrap_or(0));
                if (theirs - mine).abs() > 30 {
                    self.texts(at, &theirs.to_string(), &mine.to_string());
                }
            }
            _ => self.texts(at, &bao.to_string(), &ours.to_string()),
        }
    }
}

fn is_seconds(at: &str) -> bool {
    SECONDS.contains(&at.rsplit('.').next().unwrap_or(at))
}
