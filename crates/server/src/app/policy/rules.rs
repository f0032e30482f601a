//! From a policy's text to its rules (kv-v2-api.md 6.2).

use std::collections::BTreeMap;

use model::parse_duration;
use serde_json::Value as Json;

use super::{
    capabilities::{Capabilities, Word},
    hcl::{self, Item, Node, Place, Value},
    template::Template,
};

/// A policy that has been read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Policy {
    /// In the order of the text.
    pub(super) rules: Vec<Rule>,
}

/// What a policy says about the paths of one pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// As written, without a leading slash, its template not filled in yet.
    pub(super) pattern: Template,
    pub(super) grant: Grant,
}

/// What is allowed, and under which conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Grant {
    pub(super) capabilities: Capabilities,
    /// By lower-case name. Empty = no condition; an empty list of values = any value.
    pub(super) allowed: Parameters,
    pub(super) denied: Parameters,
    /// Lower case.
    pub(super) required: Vec<String>,
    /// Seconds; 0 = no condition.
    pub(super) min_wrapping_ttl: u64,
    /// Seconds; 0 = no condition.
    pub(super) max_wrapping_ttl: u64,
}

/// Parameters by lower-case name, and values.
pub(super) type Parameters = BTreeMap<String, Vec<Json>>;

/// Reads a policy.
///
/// # Errors
/// What is wrong and where, beginning with `failed to parse policy`, on which clients match.
pub(super) fn parse(text: &str) -> Result<Policy, String> {
    let items = hcl::parse(text).map_err(|fault| at(fault.at, fault.problem))?;
    let mut rules = Vec::new();
    for item in &items {
        match (item.keys.as_slice(), &item.value.value) {
            ([name], Value::Text(_)) if name == "name" => {}
            ([name, pattern], Value::Object(keys)) if name == "path" => {
                rules.push(rule(pattern, item.at, keys)?);
            }
            ([name], Value::Object(paths)) if name == "path" => rules_of(paths, &mut rules)?,
            // JSON may repeat a pattern only so.
            ([name], Value::List(maps)) if name == "path" => {
                for map in maps {
                    match &map.value {
                        Value::Object(paths) => rules_of(paths, &mut rules)?,
                        _ => return Err(at(map.at, "path: expected an object")),
                    }
                }
            }
            ([name, ..], _) if name == "path" || name == "name" => {
                return Err(at(
                    item.at,
                    &format!("{name}: want `path \"<pattern>\" {{ … }}` or `name = \"…\"`"),
                ));
            }
            (names, _) => {
                let problem = format!("invalid key {}; only path and name are known here", quoted(names));
                return Err(at(item.at, &problem));
            }
        }
    }
    Ok(Policy { rules })
}

/// The error for a place in the text.
fn at(place: Place, problem: &str) -> String {
    format!("failed to parse policy: line {}, column {}: {problem}", place.line, place.column)
}

/// A name out of the text, short and printable.
fn quoted(names: &[String]) -> String {
    let name = names.first().map(String::as_str).unwrap_or_default();
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("\"{shown}\"")
}

fn rules_of(paths: &[Item], rules: &mut Vec<Rule>) -> Result<(), String> {
    for item in paths {
        match (item.keys.as_slice(), &item.value.value) {
            ([pattern], Value::Object(keys)) => rules.push(rule(pattern, item.at, keys)?),
            _ => return Err(at(item.at, "path: expected a pattern and an object")),
        }
    }
    Ok(())
}

fn rule(pattern: &str, place: Place, keys: &[Item]) -> Result<Rule, String> {
    let name = quoted(&[pattern.to_owned()]);
    let bad = |place: Place, problem: &str| at(place, &format!("path {name}: {problem}"));
    let bare = pattern.strip_prefix('/').unwrap_or(pattern);
    if bare.contains("+*") {
        return Err(bad(place, "invalid use of wildcards ('+*' is forbidden)"));
    }
    let pattern = Template::parse(bare).map_err(|problem| bad(place, problem))?;
    let mut grant = Grant::default();
    for item in keys {
        let bad = |problem: &str| bad(item.value.at, problem);
        let key = match item.keys.as_slice() {
            [key] => key.as_str(),
            _ => return Err(bad("expected one name and a value")),
        };
        match key {
            "capabilities" => {
                for node in
                    list(&item.value).ok_or_else(|| bad("capabilities: expected a list of strings"))?
                {
                    let word = text(node).ok_or_else(|| bad("capabilities: expected a list of strings"))?;
                    let word = Word::parse(word)
                        .ok_or_else(|| bad(&format!("invalid capability {}", quoted(&[word.to_owned()]))))?;
                    grant.capabilities.add(word);
                }
            }
            "policy" => {
                let word = text(&item.value).ok_or_else(|| bad("policy: expected a string"))?;
                let more = Capabilities::of_old_word(word)
                    .ok_or_else(|| bad("policy: must be one of deny, read, write, sudo"))?;
                grant.capabilities.join(more);
            }
            "allowed_parameters" => {
                grant.allowed = parameters(&item.value).map_err(|p| bad(&format!("{key}: {p}")))?;
            }
            "denied_parameters" => {
                grant.denied = parameters(&item.value).map_err(|p| bad(&format!("{key}: {p}")))?;
            }
            "required_parameters" => {
                let names = list(&item.value).and_then(|nodes| {
                    nodes.iter().map(|node| text(node).map(str::to_lowercase)).collect::<Option<Vec<_>>>()
                });
                grant.required =
                    names.ok_or_else(|| bad("required_parameters: expected a list of strings"))?;
                grant.required.sort();
                grant.required.dedup();
            }
            "min_wrapping_ttl" => {
                grant.min_wrapping_ttl = seconds(&item.value).map_err(|p| bad(&format!("{key}: {p}")))?;
            }
            "max_wrapping_ttl" => {
                grant.max_wrapping_ttl = seconds(&item.value).map_err(|p| bad(&format!("{key}: {p}")))?;
            }
            "comment" if text(&item.value).is_some() => {}
            "comment" => return Err(bad("comment: expected a string")),
            // Leaving one of these out of account would allow more than was meant.
            "mfa_methods"
            | "control_group"
            | "pagination_limit"
            | "expiration"
            | "list_scan_response_keys_filter_path"
            | "subscribe_event_types" => {
                return Err(bad(&format!("{key} is not available in keyferry")));
            }
            key => {
                let problem = format!("path {name}: invalid key {}", quoted(&[key.to_owned()]));
                return Err(at(item.at, &problem));
            }
        }
    }
    if grant.max_wrapping_ttl > 0 && grant.min_wrapping_ttl > grant.max_wrapping_ttl {
        return Err(bad(place, "max_wrapping_ttl cannot be less than min_wrapping_ttl"));
    }
    if grant.capabilities.denies() {
        // The rest of the rule is void.
        grant = Grant { capabilities: Capabilities::DENY, ..Grant::default() };
    }
    Ok(Rule { pattern, grant })
}

fn list(node: &Node) -> Option<&[Node]> {
    match &node.value {
        Value::List(nodes) => Some(nodes),
        _ => None,
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Seconds, as a number or in Go's form.
fn seconds(node: &Node) -> Result<u64, &'static str> {
    let want = "expected a duration such as 90 or \"1h30m\"";
    let (Value::Text(given) | Value::Number(given)) = &node.value else { return Err(want) };
    match parse_duration(given) {
        Ok(nanos) if nanos < 0 => Err("must not be negative"),
        // A fraction of a second is a condition too.
        Ok(nanos) => Ok(nanos.unsigned_abs().div_ceil(1_000_000_000)),
        Err(_) => Err(want),
    }
}

fn parameters(node: &Node) -> Result<Parameters, &'static str> {
    // HCL 1 lets a map stand in a list of its own.
    let items = match &node.value {
        Value::Object(items) => items,
        Value::List(maps) => match maps.as_slice() {
            [Node { value: Value::Object(items), .. }] => items,
            _ => return Err("expected a map of names and lists of values"),
        },
        _ => return Err("expected a map of names and lists of values"),
    };
    let mut parameters = Parameters::new();
    for item in items {
        let ([name], Some(values)) = (item.keys.as_slice(), list(&item.value)) else {
            return Err("expected a map of names and lists of values");
        };
        parameters.insert(name.to_lowercase(), values.iter().map(json).collect());
    }
    Ok(parameters)
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(nodes) => Json::Array(nodes.iter().map(json).collect()),
        Value::Object(items) => {
            Json::Object(items.iter().map(|item| (item.keys.join("."), json(&item.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn the_two_forms_mean_the_same() {
        let hcl = parse(
            r#"
            # Comments are fine.
            name = "dev"
            path "/secret/data/+/x*" {
                capabilities = ["read", "list"]
                allowed_parameters = { "Version" = [] , "n" = [1, true, "a*"] }
                denied_parameters { "*" = [] }
                required_parameters = ["B", "a"]
                min_wrapping_ttl = "1m"
                max_wrapping_ttl = 90
                comment = "why"
            }"#,
        )
        .unwrap();
        let json = r#"{"name":"dev","path":{"secret/data/+/x*":{"capabilities":["list","read"],
            "allowed_parameters":{"version":[],"n":[1,true,"a*"]},"denied_parameters":{"*":[]},
            "required_parameters":["a","b"],"min_wrapping_ttl":60,"max_wrapping_ttl":"90s"}}}"#;
        assert_eq!(parse(json).unwrap(), hcl);
        let listed = r#"{"path":[{"a":{"policy":"read"}},{"a":{"policy":"deny"}}]}"#;
        assert_eq!(
            parse(listed).unwrap(),
            parse(r#"path "a" { policy = "read" } path "a" { policy = "deny" }"#).unwrap()
        );
        assert_eq!(parse(" # nothing\n").unwrap().rules, vec![]);
    }

    #[test]
    fn deny_voids_the_rest_of_its_rule() {
        let policy =
            parse(r#"path "a" { capabilities = ["read", "deny", "sudo"] required_parameters = ["x"] }"#)
                .unwrap();
        assert_eq!(policy.rules[0].grant, Grant { capabilities: Capabilities::DENY, ..Grant::default() });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, said) in [
            (
                "path \"a\" {\n  capabilities = [\"reed\"]\n}",
                "line 2, column 18: path \"a\": invalid capability \"reed\"",
            ),
            (
                "path \"a\" {\n  capabilites = [\"read\"]\n}",
                "line 2, column 3: path \"a\": invalid key \"capabilites\"",
            ),
            ("paths \"a\" {}", "line 1, column 1: invalid key \"paths\"; only path and name are known here"),
            (
                "path \"a/+*\" {}",
                "line 1, column 1: path \"a/+*\": invalid use of wildcards ('+*' is forbidden)",
            ),
            (
                "path \"a\" { policy = \"own\" }",
                "line 1, column 21: path \"a\": policy: must be one of deny, read, write, sudo",
            ),
            (
                "path \"a\" { capabilities = \"read\" }",
                "line 1, column 27: path \"a\": capabilities: expected a list of strings",
            ),
            (
                "path \"a\" { min_wrapping_ttl = \"soon\" }",
                "line 1, column 31: path \"a\": min_wrapping_ttl: expected a duration such as 90 or \"1h30m\"",
            ),
            (
                "path \"a\" { max_wrapping_ttl = -1 }",
                "line 1, column 31: path \"a\": max_wrapping_ttl: must not be negative",
            ),
            (
                "path \"a\" { max_wrapping_ttl = 1 min_wrapping_ttl = 2 }",
                "line 1, column 1: path \"a\": max_wrapping_ttl cannot be less than min_wrapping_ttl",
            ),
            (
                "path \"a\" { control_group = {} }",
                "line 1, column 28: path \"a\": control_group is not available in keyferry",
            ),
            (
                "path \"a\" { allowed_parameters = [\"x\"] }",
                "line 1, column 33: path \"a\": allowed_parameters: expected a map of names and lists of values",
            ),
            (
                "path \"{{identity.entity.id\" {}",
                "line 1, column 1: path \"{{identity.entity.id\": {{ without }}",
            ),
            (
                "path \"a\" \"b\" {}",
                "line 1, column 1: path: want `path \"<pattern>\" { … }` or `name = \"…\"`",
            ),
            ("path \"a\" {", "line 1, column 11: a closing } is missing"),
        ] {
            assert_eq!(fault(text), format!("failed to parse policy: {said}"), "{text}");
        }
    }
}
