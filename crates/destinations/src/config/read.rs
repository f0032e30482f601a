//! Weak reading of a request body against a kind's field table (vault-sync-api.md 1, 3.3 and 3.4).

use std::{borrow::Cow, collections::BTreeMap};

use model::{SecretBytes, json::SecretJson};
use serde_json::{Map, Value};

use super::{Config, FieldValue, MASK, fields_of};
use crate::{Field, FieldFault, Kind, Shape, Shared};

/// How a request body is laid over what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// POST: what the body leaves out is cleared, except secret fields, which are kept.
    Replace,
    /// PATCH: what the body leaves out is kept, `null` clears, maps merge key by key, and
    /// `tags_to_remove` names custom tags to take away.
    Merge,
}

/// What a body says about one field.
enum Given {
    Nothing,
    Clear,
    Value(FieldValue),
}

impl Config {
    /// Reads a request body. The second part of the answer names the members no field is called by,
    /// for a warning.
    ///
    /// # Errors
    /// The first field that cannot be accepted. What one field alone cannot say is checked by
    /// [`Kind::open`].
    pub fn read(
        kind: &dyn Kind,
        body: &SecretJson,
        mode: Mode,
        previous: Option<&Self>,
    ) -> Result<(Self, Vec<String>), FieldFault> {
        let body = object(body)?;
        let mut config = Self::default();
        for field in fields_of(kind) {
            config.take(field, body, mode, previous)?;
        }
        if mode == Mode::Merge {
            remove_from_maps(kind, body, &mut config)?;
        }
        config.check_required(fields_of(kind))?;
        config.check_not_lured(fields_of(kind).collect(), body, previous)?;
        config.check_tags(kind)?;
        let known = |name: &str| name == TAGS_TO_REMOVE || fields_of(kind).any(|field| field.name == name);
        let unknown = body.keys().filter(|name| !known(name)).cloned().collect();
        Ok((config, unknown))
    }

    /// Reads a request body that makes or replaces a shared credential; otherwise as [`Config::read`].
    pub fn read_shared(
        shared: &Shared,
        body: &SecretJson,
        previous: Option<&Self>,
    ) -> Result<(Self, Vec<String>), FieldFault> {
        let body = object(body)?;
        let mut config = Self::default();
        for field in shared.fields {
            config.take(field, body, Mode::Replace, previous)?;
        }
        config.check_required(shared.fields)?;
        config.check_not_lured(shared.fields.iter().collect(), body, previous)?;
        let known = |name: &str| shared.fields.iter().any(|field| field.name == name);
        let unknown = body.keys().filter(|name| !known(name)).cloned().collect();
        Ok((config, unknown))
    }

    /// Takes one field from a body, or keeps what there was.
    fn take(
        &mut self,
        field: &Field,
        body: &Map<String, Value>,
        mode: Mode,
        previous: Option<&Self>,
    ) -> Result<(), FieldFault> {
        let before = previous.and_then(|p| p.get(field.name));
        let replaced = field.replaced_by.and_then(|other| body.get(other)).is_some_and(says_something);
        let kept = match read_field(field, body.get(field.name), mode)? {
            Given::Value(FieldValue::Map(map)) if mode == Mode::Merge => Some(merged(before, &map)),
            Given::Value(value) => Some(value),
            Given::Nothing if replaced => None,
            Given::Nothing if mode == Mode::Merge || field.secret => before.cloned(),
            Given::Nothing | Given::Clear => None,
        };
        if let Some(value) = kept {
            self.set(field.name, value);
        }
        Ok(())
    }

    fn check_required(&self, fields: impl IntoIterator<Item = &'static Field>) -> Result<(), FieldFault> {
        for field in fields {
            if field.required && self.get(field.name).is_none() {
                return Err(FieldFault::new(field.name, "is required"));
            }
        }
        Ok(())
    }

    /// A kept secret is not sent to another address than it was given for: whoever may change settings but
    /// not read them could have it sent to themselves.
    fn check_not_lured(
        &self,
        fields: Vec<&'static Field>,
        body: &Map<String, Value>,
        previous: Option<&Self>,
    ) -> Result<(), FieldFault> {
        let Some(previous) = previous else { return Ok(()) };
        let changed = previous.changed_fields(self);
        let moved = |field: &&Field| field.shape == Shape::Url && changed.contains(&field.name);
        let Some(moved) = fields.iter().copied().find(moved) else { return Ok(()) };
        let given =
            |name: &str| body.get(name).is_some_and(|v| says_something(v) && v.as_str() != Some(MASK));
        let kept = |field: &&Field| field.secret && self.get(field.name).is_some() && !given(field.name);
        match fields.into_iter().find(kept) {
            Some(kept) => Err(FieldFault::new(
                kept.name,
                format!("must be given again, because {} changes and it would be sent there", moved.name),
            )),
            None => Ok(()),
        }
    }

    fn check_tags(&self, kind: &dyn Kind) -> Result<(), FieldFault> {
        if let Some(tags) = self.map("custom_tags") {
            let Some(rule) = &kind.abilities().custom_tags else {
                let problem = format!("{} has no tags; leave this field out", kind.title());
                return Err(FieldFault::new("custom_tags", problem));
            };
            rule.check(tags)?;
        }
        Ok(())
    }
}

fn object(body: &SecretJson) -> Result<&Map<String, Value>, FieldFault> {
    body.expose().as_object().ok_or_else(|| FieldFault::new("body", "must be a JSON object"))
}

/// Neither `null` nor an empty text, which stand for nothing.
fn says_something(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

const TAGS_TO_REMOVE: &str = "tags_to_remove";

/// A map laid over the one there was.
fn merged(before: Option<&FieldValue>, given: &BTreeMap<String, String>) -> FieldValue {
    let mut map = match before {
        Some(FieldValue::Map(before)) => before.clone(),
        _ => BTreeMap::new(),
    };
    map.extend(given.iter().map(|(k, v)| (k.clone(), v.clone())));
    FieldValue::Map(map)
}

/// The two ways a PATCH takes members out of maps: `tags_to_remove`, and `null` for a member as JSON
/// merge patch has it.
fn remove_from_maps(
    kind: &dyn Kind,
    body: &Map<String, Value>,
    config: &mut Config,
) -> Result<(), FieldFault> {
    let field = Field::new(TAGS_TO_REMOVE, Shape::List, "");
    let mut gone: Vec<(&str, String)> = Vec::new();
    if let Given::Value(FieldValue::List(keys)) = read_field(&field, body.get(TAGS_TO_REMOVE), Mode::Merge)? {
        gone.extend(keys.into_iter().map(|key| ("custom_tags", key)));
    }
    for field in fields_of(kind).filter(|field| field.shape == Shape::Map) {
        if let Some(Value::Object(members)) = body.get(field.name) {
            let nulls = members.iter().filter(|(_, value)| value.is_null());
            gone.extend(nulls.map(|(key, _)| (field.name, key.clone())));
        }
    }
    for (field, key) in gone {
        if let Some(FieldValue::Map(map)) = config.0.get_mut(field) {
            map.remove(&key);
            if map.is_empty() {
                config.unset(field);
            }
        }
    }
    Ok(())
}

fn read_field(field: &Field, given: Option<&Value>, mode: Mode) -> Result<Given, FieldFault> {
    let value = match given {
        // In a merge patch null takes a member away; in a POST it says no more than leaving it out.
        Some(Value::Null) if mode == Mode::Merge => return Ok(Given::Clear),
        None | Some(Value::Null) => return Ok(Given::Nothing),
        Some(Value::String(text)) if field.secret && text == MASK => return Ok(Given::Nothing),
        Some(value) => value,
    };
    let read = Reader { field };
    if field.secret {
        let text = read.text(value, None)?;
        read.check(&text, None)?;
        // `text` borrows from the body, which wipes itself.
        return Ok(if text.is_empty() {
            Given::Clear
        } else {
            Given::Value(FieldValue::Secret(SecretBytes::from(text.as_bytes())))
        });
    }
    let value = match field.shape {
        Shape::Text => read.checked_text(value)?.map(FieldValue::Text),
        Shape::Url => read.checked_text(value)?.map(|text| read.url(text)).transpose()?,
        Shape::OneOf(words) => read.checked_text(value)?.map(|text| read.word(text, words)).transpose()?,
        Shape::Int { min, max } => read.int(value, None, min, max)?.map(FieldValue::Int),
        Shape::Seconds { min, max } => read.seconds(value, min, max)?.map(FieldValue::Int),
        Shape::Bool => read.switch(value)?.then_some(FieldValue::Bool(true)),
        Shape::List => some_unless_empty(read.list(value)?).map(FieldValue::List),
        Shape::IntList { min, max } => {
            some_unless_empty(read.int_list(value, min, max)?).map(FieldValue::IntList)
        }
        Shape::Map => {
            let map = read.map(value)?;
            // A PATCH with an empty map, or with removals only, changes nothing by itself.
            match (map.is_empty(), mode) {
                (true, Mode::Merge) => return Ok(Given::Nothing),
                (true, Mode::Replace) => None,
                (false, _) => Some(FieldValue::Map(map)),
            }
        }
    };
    Ok(value.map_or(Given::Clear, Given::Value))
}

fn some_unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Reads one field's value. What was given is never repeated in a fault: it may be a secret that
/// landed in the wrong field.
struct Reader<'f> {
    field: &'f Field,
}

impl Reader<'_> {
    fn fault(&self, at: Option<usize>, problem: impl Into<Cow<'static, str>>) -> FieldFault {
        match at {
            Some(at) => FieldFault::new(format!("{}[{at}]", self.field.name), problem),
            None => FieldFault::new(self.field.name, problem),
        }
    }

    fn check(&self, text: &str, at: Option<usize>) -> Result<(), FieldFault> {
        let problem = if text.is_empty() { None } else { (self.field.check)(text) };
        problem.map_or(Ok(()), |problem| Err(self.fault(at, problem)))
    }

    fn text<'v>(&self, value: &'v Value, at: Option<usize>) -> Result<Cow<'v, str>, FieldFault> {
        match value {
            Value::String(text) => Ok(Cow::Borrowed(text)),
            Value::Number(number) => Ok(Cow::Owned(number.to_string())),
            Value::Bool(on) => Ok(Cow::Borrowed(if *on { "true" } else { "false" })),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(self.fault(at, "must be a text")),
        }
    }

    fn checked_text(&self, value: &Value) -> Result<Option<String>, FieldFault> {
        let text = self.text(value, None)?;
        self.check(&text, None)?;
        Ok((!text.is_empty()).then(|| text.into_owned()))
    }

    fn url(&self, text: String) -> Result<FieldValue, FieldFault> {
        let refuse = |problem| Err(self.fault(None, problem));
        let Ok(url) = url::Url::parse(&text) else {
            return refuse("must be an absolute URL such as https://service.example");
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return refuse("must be an http or https URL with a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("must not hold a user name or password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("must not have a query (?) or fragment (#)");
        }
        Ok(FieldValue::Text(text))
    }

    fn word(&self, text: String, words: &[&str]) -> Result<FieldValue, FieldFault> {
        if words.contains(&text.as_str()) {
            return Ok(FieldValue::Text(text));
        }
        Err(self.fault(None, format!("must be one of: {}", words.join(", "))))
    }

    /// `None` for an empty text.
    fn int(&self, value: &Value, at: Option<usize>, min: i64, max: i64) -> Result<Option<i64>, FieldFault> {
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.fault(at, format!("must be a whole number in the range {min} to {max}"))),
        }
    }

    /// `None` for an empty text.
    fn seconds(&self, value: &Value, min: i64, max: i64) -> Result<Option<i64>, FieldFault> {
        const NANOS: i64 = 1_000_000_000;
        let given = match value {
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => model::parse_duration(text).ok(),
            Value::Number(number) => number.as_i64().and_then(|seconds| seconds.checked_mul(NANOS)),
            _ => None,
        };
        match given.filter(|nanos| nanos % NANOS == 0).map(|nanos| nanos / NANOS) {
            Some(seconds) if (min..=max).contains(&seconds) => Ok(Some(seconds)),
            _ => Err(self.fault(
                None,
                format!("must be {min} to {max} whole seconds, as a number or as text such as \"1h\""),
            )),
        }
    }

    /// The words are those of Go's `ParseBool`, which Vault uses.
    fn switch(&self, value: &Value) -> Result<bool, FieldFault> {
        let on = match value {
            Value::Bool(on) => Some(*on),
            Value::Number(number) => number.as_i64().filter(|n| matches!(n, 0 | 1)).map(|n| n == 1),
            Value::String(text) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
                _ => None,
            },
            _ => None,
        };
        on.ok_or_else(|| self.fault(None, "must be true or false"))
    }

    fn list(&self, value: &Value) -> Result<Vec<String>, FieldFault> {
        let mut list = Vec::new();
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let text = self.text(item, Some(at))?;
                    let text = text.trim();
                    self.check(text, Some(at))?;
                    list.extend((!text.is_empty()).then(|| text.to_owned()));
                }
            }
            Value::String(text) => {
                for (at, part) in text.split(',').enumerate() {
                    self.check(part.trim(), Some(at))?;
                    list.extend((!part.trim().is_empty()).then(|| part.trim().to_owned()));
                }
            }
            _ => return Err(self.fault(None, "must be a list, or text with commas")),
        }
        Ok(list)
    }

    fn int_list(&self, value: &Value, min: i64, max: i64) -> Result<Vec<i64>, FieldFault> {
        let mut list = Vec::new();
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    list.extend(self.int(item, Some(at), min, max)?);
                }
            }
            Value::String(text) => {
                for (at, part) in text.split(',').enumerate() {
                    list.extend(self.int(&Value::from(part), Some(at), min, max)?);
                }
            }
            Value::Number(_) => list.extend(self.int(value, None, min, max)?),
            _ => {
                return Err(self.fault(None, format!("must be a list of whole numbers from {min} to {max}")));
            }
        }
        Ok(list)
    }

    /// An object, `k=v` texts, or a list of either.
    fn map(&self, value: &Value) -> Result<BTreeMap<String, String>, FieldFault> {
        let mut map = BTreeMap::new();
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.add_to_map(item, Some(at), &mut map)?;
                }
            }
            Value::String(text) if text.is_empty() => {}
            _ => self.add_to_map(value, None, &mut map)?,
        }
        Ok(map)
    }

    fn add_to_map(
        &self,
        value: &Value,
        at: Option<usize>,
        map: &mut BTreeMap<String, String>,
    ) -> Result<(), FieldFault> {
        match value {
            Value::Object(members) => {
                for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                    self.check(key, at)?;
                    let value = match self.text(value, at) {
                        Ok(text) => text.into_owned(),
                        Err(_) => return Err(self.fault(at, "must map texts to texts")),
                    };
                    map.insert(key.clone(), value);
                }
                Ok(())
            }
            Value::String(text) => {
                let Some((key, value)) = text.split_once('=') else {
                    return Err(self.fault(at, "must have the form key=value"));
                };
                self.check(key, at)?;
                map.insert(key.to_owned(), value.to_owned());
                Ok(())
            }
            _ => Err(self.fault(at, "must be an object, or a list of key=value texts")),
        }
    }
}
