//! The parameters of a request, read with Vault's weak typing: an integer may come as a text, a
//! list as one text with commas, a truth value as `1` (kv-v2-api.md 2.3). What cannot be read is
//! named, never repeated.

use std::collections::BTreeMap;

use model::{SecretBytes, json::SecretJson, parse_duration};
use serde_json::{Map, Value};

use super::{
    AppError,
    request::{Body, Operation, Request},
};

/// A request's parameters. Reading one also makes it known: what is left unknown is told by
/// [`Fields::unknown`].
pub struct Fields {
    members: SecretJson,
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads a request's parameters: the body's for a write, the query's for the rest; a delete
    /// takes both.
    ///
    /// # Errors
    /// [`AppError::Invalid`] when the body is no JSON object.
    pub fn of(request: &Request) -> Result<Self, AppError> {
        let from_body = matches!(request.operation, Operation::Write | Operation::Patch | Operation::Delete);
        let from_query = !matches!(request.operation, Operation::Write | Operation::Patch);
        let mut members = match &request.body {
            Body::Json(text) if from_body => parse_object(text)?,
            Body::Form(text) if from_body => {
                let mut members = Map::new();
                for (name, value) in url::form_urlencoded::parse(text) {
                    add(&mut members, &name, &value);
                }
                SecretJson::new(Value::Object(members))
            }
            _ => SecretJson::new(Value::Object(Map::new())),
        };
        if from_query && let Value::Object(members) = members.expose_mut() {
            for (name, value) in &request.query {
                add(members, name, value);
            }
        }
        Ok(Self { members, known: Vec::new() })
    }

    /// Reads the members of an object that is itself a parameter.
    pub fn nested(object: &Value) -> Self {
        Self { members: SecretJson::new(object.clone()), known: Vec::new() }
    }

    /// Makes parameters known that are not read in this call.
    pub fn known(&mut self, names: &[&'static str]) -> &mut Self {
        self.known.extend_from_slice(names);
        self
    }

    /// The warning that names the parameters nobody asked for, as Vault words it.
    pub fn unknown(&self) -> Option<String> {
        let names: Vec<&str> =
            self.names().filter(|name| !self.known.iter().any(|known| known == name)).collect();
        ignored(&names)
    }

    /// The names of all parameters given, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let members = self.members.expose().as_object();
        members.into_iter().flat_map(|members| members.keys().map(String::as_str))
    }

    /// Whether the parameter is there and not null. Null counts as absent: clients send it.
    pub fn has(&mut self, name: &'static str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the parameter is there and null, which in a merge patch means: remove.
    pub fn is_null(&self, name: &str) -> bool {
        self.members.expose().get(name).is_some_and(Value::is_null)
    }

    /// The whole set as one value: what KV v1 stores.
    pub fn into_inner(self) -> SecretJson {
        self.members
    }

    /// The value as it came. Opens what may be a secret: keep it in this call.
    pub fn get(&mut self, name: &'static str) -> Option<&Value> {
        self.known.push(name);
        self.members.expose().get(name).filter(|value| !value.is_null())
    }

    /// Takes the value out, wrapped.
    pub fn take(&mut self, name: &'static str) -> Option<SecretJson> {
        self.known.push(name);
        let value = self.members.expose_mut().get_mut(name)?.take();
        (!value.is_null()).then(|| SecretJson::new(value))
    }

    /// Takes an object out, wrapped.
    pub fn take_object(&mut self, name: &'static str) -> Result<Option<SecretJson>, AppError> {
        match self.take(name) {
            Some(value) if !value.expose().is_object() => Err(wrong(name, "an object")),
            other => Ok(other),
        }
    }

    /// A text. Numbers and truth values become theirs.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, AppError> {
        self.get(name).map(|value| as_text(value).ok_or_else(|| wrong(name, "a string"))).transpose()
    }

    /// A secret text.
    pub fn secret(&mut self, name: &'static str) -> Result<Option<SecretBytes>, AppError> {
        Ok(self.text(name)?.map(SecretBytes::from))
    }

    /// A truth value.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, AppError> {
        self.get(name).map(|value| as_boolean(value).ok_or_else(|| wrong(name, "a boolean"))).transpose()
    }

    /// A whole number.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, AppError> {
        self.get(name).map(|value| as_integer(value).ok_or_else(|| wrong(name, "an integer"))).transpose()
    }

    /// A whole number that is not negative.
    pub fn unsigned(&mut self, name: &'static str) -> Result<Option<u64>, AppError> {
        let number = self.integer(name)?;
        number
            .map(|number| u64::try_from(number).map_err(|_| wrong(name, "an integer that is not negative")))
            .transpose()
    }

    /// A duration in nanoseconds: seconds as number or text, or Go's form. May be negative.
    pub fn signed_duration(&mut self, name: &'static str) -> Result<Option<i64>, AppError> {
        let duration = |value: &Value| match value {
            Value::Number(number) => parse_duration(&number.to_string()).ok(),
            Value::String(text) if text.is_empty() => Some(0),
            Value::String(text) => parse_duration(text).ok(),
            _ => None,
        };
        let want = "a duration such as 90, \"90s\" or \"1h30m\"";
        self.get(name).map(|value| duration(value).ok_or_else(|| wrong(name, want))).transpose()
    }

    /// A duration in nanoseconds that is not negative.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<i64>, AppError> {
        match self.signed_duration(name)? {
            Some(nanos) if nanos < 0 => Err(wrong(name, "a duration that is not negative")),
            other => Ok(other),
        }
    }

    /// A duration in whole seconds, rounded down, not negative.
    pub fn seconds(&mut self, name: &'static str) -> Result<Option<u64>, AppError> {
        Ok(self.duration(name)?.map(|nanos| nanos.unsigned_abs() / 1_000_000_000))
    }

    /// A list of texts: an array, or one text with commas.
    pub fn list(&mut self, name: &'static str) -> Result<Option<Vec<String>>, AppError> {
        self.get(name).map(|value| as_list(value).ok_or_else(|| wrong(name, "a list of strings"))).transpose()
    }

    /// A list of whole numbers: an array, or one text with commas.
    pub fn integers(&mut self, name: &'static str) -> Result<Option<Vec<i64>>, AppError> {
        let integers = |value: &Value| {
            let list = as_list(value)?;
            list.iter().map(|text| text.trim().parse().ok()).collect::<Option<Vec<i64>>>()
        };
        self.get(name)
            .map(|value| integers(value).ok_or_else(|| wrong(name, "a list of integers")))
            .transpose()
    }

    /// A map of texts: an object, or a text or list of texts `name=value`.
    pub fn map(&mut self, name: &'static str) -> Result<Option<BTreeMap<String, String>>, AppError> {
        let pair = |text: &str| text.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
        let map = |value: &Value| match value {
            Value::Object(members) => members
                .iter()
                .map(|(k, v)| Some((k.clone(), as_text(v)?)))
                .collect::<Option<BTreeMap<_, _>>>(),
            Value::String(text) if text.is_empty() => Some(BTreeMap::new()),
            Value::String(text) => pair(text).map(|pair| BTreeMap::from([pair])),
            Value::Array(items) => items.iter().map(|item| pair(item.as_str()?)).collect(),
            _ => None,
        };
        self.get(name).map(|value| map(value).ok_or_else(|| wrong(name, "a map of strings"))).transpose()
    }
}

fn parse_object(text: &[u8]) -> Result<SecretJson, AppError> {
    let value = SecretJson::parse(text)
        .map_err(|fault| AppError::invalid(format!("failed to parse JSON input: {fault}")))?;
    match value.expose() {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(SecretJson::new(Value::Object(Map::new()))),
        _ => Err(AppError::invalid("failed to parse JSON input: the body must be an object")),
    }
}

/// Adds a query or form parameter; one given twice becomes a list.
fn add(members: &mut Map<String, Value>, name: &str, value: &str) {
    let value = Value::String(value.to_owned());
    match members.get_mut(name) {
        None => {
            members.insert(name.to_owned(), value);
        }
        Some(Value::Array(items)) => items.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

/// The warning that names parameters nobody asked for, if there are any.
pub(crate) fn ignored<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty())
        .then(|| format!("Endpoint ignored these unrecognized parameters: [{}]", names.join(" ")))
}

/// The one text for a parameter of the wrong type.
pub fn wrong(name: &str, want: &str) -> AppError {
    AppError::invalid(format!(
        "Field validation failed: error converting input for field \"{name}\": expected {want}"
    ))
}

/// A text, number or truth value as text; nothing else has one.
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

/// A whole number, given as number or text.
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) if text.trim().is_empty() => Some(0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        _ => None,
    }
}

fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.is_empty() => Some(false),
        Value::String(text) => parse_bool(text),
        Value::Number(_) => as_integer(value).map(|number| number != 0),
        _ => None,
    }
}

/// The forms that Go's `strconv.ParseBool` takes.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn as_list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(as_text).collect(),
        Value::String(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::String(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
        Value::Number(_) => as_text(value).map(|text| vec![text]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn fields(operation: Operation, body: &str, query: &[(&str, &str)]) -> Result<Fields, AppError> {
        Fields::of(&Request {
            operation,
            body: Body::Json(Zeroizing::new(body.as_bytes().to_vec())),
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Request::default()
        })
    }

    fn body(body: &str) -> Fields {
        fields(Operation::Write, body, &[]).unwrap()
    }

    #[test]
    fn integers_come_as_numbers_or_texts() {
        for (text, number) in [("2", 2), ("\"2\"", 2), ("\" -7 \"", -7), ("\"\"", 0), ("true", 1)] {
            assert_eq!(body(&format!("{{\"n\":{text}}}")).integer("n"), Ok(Some(number)), "{text}");
        }
        for text in ["1.5", "\"x\"", "[1]", "{}", "99999999999999999999"] {
            let fault = body(&format!("{{\"n\":{text}}}")).integer("n").unwrap_err();
            assert_eq!(
                fault.to_string(),
                "Field validation failed: error converting input for field \"n\": expected an integer"
            );
        }
        assert!(body("{\"n\":-1}").unsigned("n").is_err());
    }

    #[test]
    fn booleans_come_in_every_form_of_go() {
        for text in ["true", "\"T\"", "1", "\"1\"", "\"True\""] {
            assert_eq!(body(&format!("{{\"b\":{text}}}")).boolean("b"), Ok(Some(true)), "{text}");
        }
        for text in ["false", "\"f\"", "0", "\"\""] {
            assert_eq!(body(&format!("{{\"b\":{text}}}")).boolean("b"), Ok(Some(false)), "{text}");
        }
        assert!(body("{\"b\":\"yes\"}").boolean("b").is_err());
    }

    #[test]
    fn lists_and_maps_come_in_several_shapes() {
        for text in [r#"["1",2]"#, r#""1, 2""#] {
            assert_eq!(body(&format!("{{\"v\":{text}}}")).integers("v"), Ok(Some(vec![1, 2])), "{text}");
        }
        assert_eq!(body(r#"{"v":3}"#).integers("v"), Ok(Some(vec![3])));
        assert_eq!(body(r#"{"v":""}"#).list("v"), Ok(Some(vec![])));
        assert!(body(r#"{"v":{"a":1}}"#).list("v").is_err());
        for text in [r#"{"version":2}"#, r#""version=2""#, r#"["version=2"]"#] {
            let map = BTreeMap::from([("version".to_owned(), "2".to_owned())]);
            assert_eq!(body(&format!("{{\"o\":{text}}}")).map("o"), Ok(Some(map)), "{text}");
        }
        assert!(body(r#"{"o":{"a":{}}}"#).map("o").is_err());
    }

    #[test]
    fn durations_come_in_seconds_or_gos_form() {
        for (text, seconds) in
            [("90", 90), ("\"90\"", 90), ("\"1h30m\"", 5_400), ("\"2d\"", 172_800), ("\"\"", 0)]
        {
            assert_eq!(body(&format!("{{\"d\":{text}}}")).seconds("d"), Ok(Some(seconds)), "{text}");
        }
        assert_eq!(body(r#"{"d":"-1s"}"#).signed_duration("d"), Ok(Some(-1_000_000_000)));
        assert!(body(r#"{"d":"-1s"}"#).duration("d").is_err());
        assert!(body(r#"{"d":true}"#).duration("d").is_err());
    }

    #[test]
    fn null_is_absent_and_unknown_names_are_told() {
        let mut fields = body(r#"{"z":1,"a":null,"n":null,"b":2}"#);
        assert_eq!(fields.text("n"), Ok(None));
        assert_eq!(fields.unknown().unwrap(), "Endpoint ignored these unrecognized parameters: [a b z]");
        assert_eq!(fields.known(&["z", "a", "b"]).unknown(), None);
    }

    #[test]
    fn only_objects_are_bodies_and_faults_do_not_repeat_them() {
        for text in ["[1]", "\"hunter2\"", "hunter2", "{\"a\":hunter2}", "{} {}"] {
            let fault = fields(Operation::Write, text, &[]).err().unwrap().to_string();
            assert!(fault.starts_with("failed to parse JSON input: "), "{fault}");
            assert!(!fault.contains("hunter2"));
        }
        assert!(fields(Operation::Write, "null", &[]).is_ok());
    }

    #[test]
    fn reads_take_the_query_writes_the_body_and_deletes_both() {
        let query = [("version", "3"), ("tag", "a"), ("tag", "b")];
        assert_eq!(fields(Operation::Read, "{}", &query).unwrap().integer("version"), Ok(Some(3)));
        assert_eq!(fields(Operation::Write, "{}", &query).unwrap().integer("version"), Ok(None));
        let mut both = fields(Operation::Delete, "{\"purge\":true}", &query).unwrap();
        assert_eq!(both.boolean("purge"), Ok(Some(true)));
        assert_eq!(both.list("tag"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn forms_are_read_too() {
        let mut fields = Fields::of(&Request {
            operation: Operation::Write,
            body: Body::Form(Zeroizing::new(b"type=kv&options=version%3D2&x=a+b".to_vec())),
            ..Request::default()
        })
        .unwrap();
        assert_eq!(fields.text("x"), Ok(Some("a b".to_owned())));
        assert_eq!(fields.map("options").unwrap().unwrap()["version"], "2");
    }
}
