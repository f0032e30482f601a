//! JSON with its texts replaced by keyed hashes: an audit entry shows that two values are the same, and not
//! what they are.
//!
//! The text is walked as it is, without a tree of values: every request passes here twice.

use std::borrow::Cow;

use aws_lc_rs::hmac;
use serde::de::IgnoredAny;

/// What begins a hashed text.
const MARK: &[u8; 12] = b"hmac-sha256:";

/// Hashes texts under one device's salt.
pub(crate) struct Salt(hmac::Key);

impl Salt {
    pub(crate) fn new(salt: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, salt))
    }

    /// `hmac-sha256:…`
    pub(crate) fn hash(&self, text: &[u8]) -> String {
        let mut hashed = Vec::with_capacity(76);
        self.write(text, &mut hashed);
        String::from_utf8(hashed).unwrap_or_default()
    }

    fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        let tag = hmac::sign(&self.0, text);
        let mut digits = [0; 64];
        let _ = hex::encode_to_slice(tag.as_ref(), &mut digits);
        out.extend_from_slice(MARK);
        out.extend_from_slice(&digits);
    }
}

/// Which of an object's members are hashed, by the name at its top.
#[derive(Clone, Copy)]
pub(super) enum Which<'n> {
    /// All but these.
    AllBut(&'n [String]),
    /// These only.
    Only(&'n [&'n str]),
}

/// Which numbers are hashed like texts.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Numbers {
    /// None: they are versions and times.
    #[default]
    Clear,
    /// Those below this member: they may be secrets.
    Below(&'static str),
    /// All.
    Hashed,
}

/// What is made of a text.
#[derive(Clone, Copy)]
pub(super) struct Veil<'n> {
    pub(super) which: Which<'n>,
    pub(super) numbers: Numbers,
}

impl Veil<'_> {
    fn covers(&self, top: &str) -> bool {
        match self.which {
            Which::AllBut(clear) => !clear.iter().any(|name| name == top),
            Which::Only(names) => names.contains(&top),
        }
    }

    fn covers_number(&self, top: &str) -> bool {
        self.covers(top)
            && match self.numbers {
                Numbers::Clear => false,
                Numbers::Below(name) => name == top,
                Numbers::Hashed => true,
            }
    }
}

/// Where the walk is.
enum Within {
    Object { name_next: bool },
    Array,
}

/// The text with its values hashed, on one line. Names, truth values and null stay.
///
/// `None`: it is no JSON text.
pub(super) fn conceal(text: &[u8], veil: &Veil<'_>, salt: &Salt) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?;
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    <IgnoredAny as serde::Deserialize>::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    // From here on it is known to be well formed.
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut within: Vec<Within> = Vec::new();
    let mut top = String::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' => {
                within.push(Within::Object { name_next: true });
                out.push(byte);
            }
            b'[' => {
                within.push(Within::Array);
                out.push(byte);
            }
            b'}' | b']' => {
                within.pop();
                out.push(byte);
            }
            b',' => {
                if let Some(Within::Object { name_next }) = within.last_mut() {
                    *name_next = true;
                }
                out.push(byte);
            }
            b':' => out.push(byte),
            b'"' => {
                let token = string_at(text, at)?;
                at += token.len();
                let depth = within.len();
                match within.last_mut() {
                    Some(Within::Object { name_next }) if *name_next => {
                        *name_next = false;
                        if depth == 1 {
                            top = decoded(token)?.into_owned();
                        }
                        out.extend_from_slice(token);
                    }
                    _ if veil.covers(&top) => {
                        out.push(b'"');
                        salt.write(decoded(token)?.as_bytes(), &mut out);
                        out.push(b'"');
                    }
                    _ => out.extend_from_slice(token),
                }
                continue;
            }
            _ => {
                let rest = text.get(at..)?;
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n'))
                    .unwrap_or(rest.len());
                let token = rest.get(..end)?;
                at += end;
                if matches!(byte, b'-' | b'0'..=b'9') && veil.covers_number(&top) {
                    out.push(b'"');
                    salt.write(token, &mut out);
                    out.push(b'"');
                } else {
                    out.extend_from_slice(token);
                }
                continue;
            }
        }
        at += 1;
    }
    Some(out)
}

/// The string that begins there, with its quotes.
fn string_at(text: &[u8], start: usize) -> Option<&[u8]> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return text.get(start..=at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What a string stands for.
fn decoded(token: &[u8]) -> Option<Cow<'_, str>> {
    let inner = token.get(1..token.len().checked_sub(1)?)?;
    if inner.contains(&b'\\') {
        serde_json::from_slice::<String>(token).ok().map(Cow::Owned)
    } else {
        std::str::from_utf8(inner).ok().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn salt() -> Salt {
        Salt::new(b"salt")
    }

    const ALL: Veil<'_> = Veil { which: Which::AllBut(&[]), numbers: Numbers::Clear };

    fn shown(text: &str, veil: &Veil<'_>) -> String {
        String::from_utf8(conceal(text.as_bytes(), veil, &salt()).unwrap()).unwrap()
    }

    /// The same by way of a tree.
    fn naive(value: &mut Value) {
        match value {
            Value::String(text) => *text = salt().hash(text.as_bytes()),
            Value::Array(items) => items.iter_mut().for_each(naive),
            Value::Object(members) => members.values_mut().for_each(naive),
            _ => {}
        }
    }

    #[test]
    fn a_hash_is_what_vault_would_write() {
        // echo -n text | openssl dgst -sha256 -hmac salt
        assert_eq!(
            salt().hash(b"text"),
            "hmac-sha256:fb31e17dd12cf07273c5fcb5da95c5e7d0680dd33cb88956dd652633beaa0219"
        );
    }

    #[test]
    fn texts_are_hashed_and_all_else_stays() {
        let a = salt().hash(b"a\"\n");
        assert_eq!(
            shown("{ \"k\\u00e9\" : [\"a\\\"\\n\", 1,\n true, null, -2.50e3], \"o\":{} }", &ALL),
            format!("{{\"k\\u00e9\":[\"{a}\",1,true,null,-2.50e3],\"o\":{{}}}}")
        );
        assert_eq!(shown("\"a\\\"\\n\"", &ALL), format!("\"{a}\""));
        assert_eq!(shown(" 7 ", &ALL), "7");
    }

    #[test]
    fn named_members_stay_in_clear_with_all_that_is_in_them() {
        let clear = ["path".to_owned(), "tab\t".to_owned()];
        let veil = Veil { which: Which::AllBut(&clear), numbers: Numbers::Clear };
        let hashed = salt().hash(b"v");
        assert_eq!(
            shown(r#"{"path":{"x":["v"]},"tab\t":"v","other":{"path":"v"}}"#, &veil),
            format!(r#"{{"path":{{"x":["v"]}},"tab\t":"v","other":{{"path":"{hashed}"}}}}"#)
        );
        let veil = Veil { which: Which::Only(&["token"]), numbers: Numbers::Clear };
        assert_eq!(
            shown(r#"{"token":"v","meta":{"token":"v"}}"#, &veil),
            format!(r#"{{"token":"{hashed}","meta":{{"token":"v"}}}}"#)
        );
    }

    #[test]
    fn numbers_that_may_be_secrets_are_hashed() {
        let veil = Veil { which: Which::AllBut(&[]), numbers: Numbers::Below("data") };
        let hashed = salt().hash(b"4711");
        assert_eq!(
            shown(r#"{"data":{"pin":4711,"on":true},"version":4711}"#, &veil),
            format!(r#"{{"data":{{"pin":"{hashed}","on":true}},"version":4711}}"#)
        );
    }

    #[test]
    fn what_is_no_json_is_not_shown() {
        for text in ["", "{", "{\"a\":1}x", "{\"a\":\"\x01\"}", "[1,]", "\"a", "{\"a\" 1}"] {
            assert_eq!(conceal(text.as_bytes(), &ALL, &salt()), None, "{text}");
        }
        assert_eq!(conceal(b"{\"\xff\":1}", &ALL, &salt()), None);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}|[\"\\\\\n\t{}:,\\[\\]]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a\"\\\\\n]{0,3}", inner, 0..5)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_the_same_as_by_way_of_a_tree(value in tree(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let concealed = conceal(text.as_bytes(), &ALL, &salt()).unwrap();
            prop_assert!(!concealed.contains(&b'\n'));
            let mut expected = value;
            naive(&mut expected);
            prop_assert_eq!(serde_json::from_slice::<Value>(&concealed).unwrap(), expected);
        }

        #[test]
        fn nothing_at_all_makes_it_panic(bytes: Vec<u8>) {
            let _ = conceal(&bytes, &ALL, &salt());
        }
    }
}
