//! The conditions that a rule sets besides its capabilities: parameters and wrapping.

use serde_json::{Map, Value};

use super::rules::{Grant, Parameters};
use crate::app::{AppError, Capability, Fields, Request};

/// What a rule's conditions are about.
#[derive(Default)]
pub(crate) struct Given<'r> {
    /// The path needs `sudo` as well.
    pub(crate) sudo: bool,
    /// Seconds for which the answer is to be wrapped, if it is.
    pub(crate) wrap_ttl: Option<u64>,
    /// Whose parameters. Without a request there are none.
    pub(crate) request: Option<&'r Request>,
}

/// Why something may not be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not allowed, or not in this way.
    Denied,
    /// Whether it is allowed depends on the parameters, and those cannot be read.
    Unreadable(AppError),
}

impl Given<'_> {
    /// Whether the request is as the rule wants it.
    pub(super) fn meet(&self, grant: &Grant, capability: Capability) -> Result<(), Verdict> {
        let wrapped_within = |limit: u64, fits: fn(u64, u64) -> bool| {
            limit == 0 || self.wrap_ttl.is_some_and(|ttl| fits(ttl, limit))
        };
        if !wrapped_within(grant.max_wrapping_ttl, |ttl, limit| ttl <= limit)
            || !wrapped_within(grant.min_wrapping_ttl, |ttl, limit| ttl >= limit)
        {
            return Err(Verdict::Denied);
        }
        let with_parameters = matches!(
            capability,
            Capability::Read | Capability::Create | Capability::Update | Capability::Patch
        );
        let conditions = !(grant.required.is_empty() && grant.allowed.is_empty() && grant.denied.is_empty());
        if !with_parameters || !conditions {
            return Ok(());
        }
        let members = match self.request {
            Some(request) => Some(Fields::of(request).map_err(Verdict::Unreadable)?.into_inner()),
            None => None,
        };
        let none = Map::new();
        // EXPOSE: to compare with the values of the policy.
        let members = members.as_ref().and_then(|members| members.expose().as_object()).unwrap_or(&none);
        if fits(grant, members) { Ok(()) } else { Err(Verdict::Denied) }
    }
}

fn fits(grant: &Grant, members: &Map<String, Value>) -> bool {
    let has = |name: &String| members.keys().any(|member| member.to_lowercase() == *name);
    if !grant.required.iter().all(has) {
        return false;
    }
    if members.is_empty() {
        return true;
    }
    if grant.denied.contains_key("*") {
        return false;
    }
    let values = |parameters: &'_ Parameters, name: &str| parameters.get(&name.to_lowercase()).cloned();
    let denied = |(name, value): (&String, &Value)| {
        values(&grant.denied, name).is_some_and(|values| is_among(value, &values))
    };
    if members.iter().any(denied) {
        return false;
    }
    let any_name = grant.allowed.is_empty() || grant.allowed.contains_key("*");
    members.iter().all(|(name, value)| match values(&grant.allowed, name) {
        Some(values) => is_among(value, &values),
        None => any_name,
    })
}

/// Whether a value is one of a list; an empty list means any.
fn is_among(value: &Value, list: &[Value]) -> bool {
    list.is_empty() || list.iter().any(|wanted| is_like(value, wanted))
}

/// Whether a value is what the policy says. Texts may begin or end in `*`. A number or truth value may
/// come as text, as everywhere in this API, and must not slip past a denial by that.
fn is_like(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Array(_) | Value::Object(_) | Value::Null, _)
        | (_, Value::Array(_) | Value::Object(_) | Value::Null) => value == wanted,
        (value, Value::String(pattern)) => matches_glob(&scalar(value), pattern),
        (value, Value::Bool(truth)) => crate::app::parse_bool(&scalar(value)) == Some(*truth),
        (value, wanted) => scalar(value).trim() == scalar(wanted),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text is of a pattern that may begin or end in `*`.
pub(crate) fn matches_glob(text: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), Some(_)) if !end.is_empty() => text.contains(&end[..end.len() - 1]),
        (Some(end), _) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::{super::rules, *};
    use crate::app::{Body, Operation};

    fn verdict(rule: &str, body: &Value) -> bool {
        let policy = rules::parse(&format!("path \"a\" {{ {rule} }}")).unwrap();
        let request = Request {
            operation: Operation::Write,
            body: Body::Json(Zeroizing::new(body.to_string().into_bytes())),
            ..Request::default()
        };
        let given = Given { request: Some(&request), ..Given::default() };
        given.meet(&policy.rules[0].grant, Capability::Update).is_ok()
    }

    #[test]
    fn parameters_are_held_to_the_rule() {
        let required = r#"required_parameters = ["Path"]"#;
        let allowed = r#"allowed_parameters = { "n" = [1, "a*", "*z", "*mid*"], "any" = [], "b" = [true] }"#;
        let open = r#"allowed_parameters = { "*" = [], "n" = ["1"] }"#;
        let denied = r#"denied_parameters = { "n" = ["x*", 5, true], "never" = [] }"#;
        let nothing = r#"denied_parameters = { "*" = [] }"#;
        for (rule, body, fits) in [
            (required, json!({}), false),
            (required, json!({ "path": null }), true),
            (required, json!({ "PATH": 1 }), true),
            (allowed, json!({}), true),
            (allowed, json!({ "n": 1 }), true),
            (allowed, json!({ "n": "1" }), true),
            (allowed, json!({ "n": "abc" }), true),
            (allowed, json!({ "n": "xyz" }), true),
            (allowed, json!({ "n": "x mid y" }), true),
            (allowed, json!({ "n": 2 }), false),
            (allowed, json!({ "N": "a", "ANY": [1] }), true),
            (allowed, json!({ "other": 1 }), false),
            (allowed, json!({ "b": "true" }), true),
            (allowed, json!({ "b": false }), false),
            (open, json!({ "other": 1 }), true),
            (open, json!({ "n": 2 }), false),
            (denied, json!({ "n": "x1" }), false),
            (denied, json!({ "n": 5 }), false),
            (denied, json!({ "n": " 5 " }), false),
            (denied, json!({ "n": "T" }), false),
            (denied, json!({ "N": 5 }), false),
            (denied, json!({ "never": {} }), false),
            (denied, json!({ "n": "y", "else": 1 }), true),
            (nothing, json!({}), true),
            (nothing, json!({ "a": 1 }), false),
        ] {
            assert_eq!(verdict(rule, &body), fits, "{rule} {body}");
        }
    }

    #[test]
    fn answers_must_be_wrapped_within_the_limits() {
        let policy = rules::parse(r#"path "a" { min_wrapping_ttl = 10 max_wrapping_ttl = 20 }"#).unwrap();
        for (wrap_ttl, fits) in
            [(None, false), (Some(9), false), (Some(10), true), (Some(20), true), (Some(21), false)]
        {
            let given = Given { wrap_ttl, ..Given::default() };
            assert_eq!(given.meet(&policy.rules[0].grant, Capability::List).is_ok(), fits, "{wrap_ttl:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_allowed() {
        let policy = rules::parse(r#"path "a" { required_parameters = ["x"] }"#).unwrap();
        let body = Body::Json(Zeroizing::new(b"nonsense".to_vec()));
        let request = Request { operation: Operation::Write, body, ..Request::default() };
        let given = Given { request: Some(&request), ..Given::default() };
        let verdict = given.meet(&policy.rules[0].grant, Capability::Update).unwrap_err();
        assert!(matches!(verdict, Verdict::Unreadable(AppError::Invalid(_))));
    }
}
