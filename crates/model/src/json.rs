//! JSON that may hold secrets: limits checked before anything is built, canonical text, wiping.

use serde_json::Value;
use zeroize::Zeroize;

use crate::SecretBytes;

/// What a body may cost before anyone has authenticated (decisions 16).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nesting of objects and arrays.
    pub depth: usize,
    /// Bytes between the quotes of one string, escapes counted as written.
    pub string: usize,
    /// Members of one object, and elements of one array.
    pub members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 500, string: 1 << 20, members: 10_000 }
    }
}

/// A body that goes past a limit. Positions only, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// Nested too deeply.
    #[error("JSON nesting exceeds {limit} levels at byte {at}")]
    Depth {
        /// The limit.
        limit: usize,
        /// Where it was passed.
        at: usize,
    },
    /// A string too long.
    #[error("JSON string value exceeds allowed length of {limit} bytes at byte {at}")]
    String {
        /// The limit.
        limit: usize,
        /// Where the string begins.
        at: usize,
    },
    /// An object or array with too many members.
    #[error("JSON object or array exceeds {limit} members at byte {at}")]
    Members {
        /// The limit.
        limit: usize,
        /// Where it was passed.
        at: usize,
    },
}

/// Checks the limits in one pass without recursion and without building anything. It does not check
/// syntax: whatever passes still goes through the real parser, which is then safe to run.
pub fn check_limits(body: &[u8], limits: &Limits) -> Result<(), LimitExceeded> {
    // Commas seen so far in each open object or array.
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'"' => {
                let start = at;
                at += 1;
                while at < body.len() && body[at] != b'"' {
                    at += if body[at] == b'\\' { 2 } else { 1 };
                }
                if at.saturating_sub(start + 1) > limits.string {
                    return Err(LimitExceeded::String { limit: limits.string, at: start });
                }
            }
            b'{' | b'[' => {
                open.push(0);
                if open.len() > limits.depth {
                    return Err(LimitExceeded::Depth { limit: limits.depth, at });
                }
            }
            b'}' | b']' => {
                open.pop();
            }
            b',' => {
                if let Some(commas) = open.last_mut() {
                    *commas += 1;
                    if *commas >= limits.members {
                        return Err(LimitExceeded::Members { limit: limits.members, at });
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Why a text is not JSON: a position, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at line {line}, column {column}")]
pub struct NotJson {
    /// From 1.
    pub line: usize,
    /// From 1; 0 when the line is empty.
    pub column: usize,
}

impl From<&serde_json::Error> for NotJson {
    fn from(e: &serde_json::Error) -> Self {
        Self { line: e.line(), column: e.column() }
    }
}

/// A parsed JSON value whose strings are wiped on drop. It has no `Debug` that shows content.
#[derive(Clone, PartialEq)]
pub struct SecretJson(Value);

impl SecretJson {
    /// Parses a whole body. Check [`check_limits`] first on input from outside: depth is bounded
    /// there, not here.
    pub fn parse(body: &[u8]) -> Result<Self, NotJson> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        reader.disable_recursion_limit();
        let value = serde::Deserialize::deserialize(&mut reader).map_err(|e| NotJson::from(&e))?;
        let value = Self(value);
        reader.end().map_err(|e| NotJson::from(&e))?;
        Ok(value)
    }

    /// Wraps a value, to be wiped from now on.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Opens the value.
    pub fn expose(&self) -> &Value {
        &self.0
    }

    /// Opens the value for change.
    pub fn expose_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Compact text with sorted keys: equal values give equal bytes, numbers keep every digit.
    pub fn canonical(&self) -> SecretBytes {
        SecretBytes::new(serde_json::to_vec(&self.0).unwrap_or_default())
    }

    /// RFC 7396: `patch` laid over this value, `null` removing a member.
    pub fn merge(&mut self, patch: &Value) {
        merge_patch(&mut self.0, patch);
    }
}

impl std::fmt::Debug for SecretJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretJson(..)")
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Depth is bounded by the limit every body was checked against, so recursion is too.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        // A number's digits are out of reach; numbers are rarely the secret. SECURITY.md says so.
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// RFC 7396, section 2.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        wipe(target);
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        wipe(target);
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            if let Some(mut gone) = target.remove(key) {
                wipe(&mut gone);
            }
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Limits = Limits { depth: 3, string: 4, members: 3 };

    #[test]
    fn limits_are_inclusive() {
        for good in ["[[[1]]]", r#"["abcd"]"#, "[1,2,3]", r#"{"a":1,"b":2,"c":3}"#, r#"["\"\""]"#] {
            assert_eq!(check_limits(good.as_bytes(), &SMALL), Ok(()), "{good}");
        }
        assert_eq!(check_limits(b"[[[[1]]]]", &SMALL), Err(LimitExceeded::Depth { limit: 3, at: 3 }));
        assert_eq!(check_limits(br#"["abcde"]"#, &SMALL), Err(LimitExceeded::String { limit: 4, at: 1 }));
        assert_eq!(check_limits(b"[1,2,3,4]", &SMALL), Err(LimitExceeded::Members { limit: 3, at: 6 }));
    }

    #[test]
    fn brackets_and_commas_inside_strings_do_not_count() {
        assert_eq!(check_limits(br#"["[[[[", ",,,,"]"#, &SMALL), Ok(()));
    }

    #[test]
    fn deep_nesting_within_the_limit_parses() {
        let body = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(check_limits(body.as_bytes(), &Limits::default()), Ok(()));
        assert!(SecretJson::parse(body.as_bytes()).is_ok());
    }

    #[test]
    fn canonical_text_is_sorted_compact_and_exact() {
        let json = SecretJson::parse(br#"{ "b": 12345678901234567890123, "a": [1.10, "x"] }"#).unwrap();
        assert_eq!(json.canonical().expose(), br#"{"a":[1.10,"x"],"b":12345678901234567890123}"#);
    }

    #[test]
    fn syntax_errors_name_a_place_and_nothing_else() {
        let fault = SecretJson::parse(b"{\"password\": hunter2}").unwrap_err();
        assert_eq!(fault.to_string(), "not valid JSON at line 1, column 14");
        assert!(SecretJson::parse(b"{} {}").is_err());
    }

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merge_patch_follows_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, r"null", r"null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r"[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut value = SecretJson::parse(target.as_bytes()).unwrap();
            value.merge(&serde_json::from_str(patch).unwrap());
            assert_eq!(value.canonical().expose(), result.as_bytes(), "{target} + {patch}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_and_parsed_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if check_limits(&body, &Limits::default()).is_ok() {
                let _ = SecretJson::parse(&body);
            }
        }

        #[test]
        fn canonical_text_is_a_fixed_point(members in proptest::collection::btree_map(".{0,6}", any::<i64>(), 0..6)) {
            let text = serde_json::to_vec(&members).unwrap();
            let once = SecretJson::parse(&text).unwrap().canonical();
            let twice = SecretJson::parse(once.expose()).unwrap().canonical();
            prop_assert_eq!(once.expose(), twice.expose());
        }
    }
}
