//! Values as the text that is written elsewhere.

use model::SecretBytes;
use zeroize::Zeroizing;

use crate::json::{Json, Style};

/// In whose manner values become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Ours (decisions 20): strings as they are, everything else as compact JSON.
    #[default]
    Json,
    /// The official CLI's, for byte-equality with what it has written before (`--python-values`):
    /// `True`, `{"a": 1}` and, inside flattened records, `{'a': 1}`. Numbers keep their digits.
    Python,
}

/// The text of a notation's value. There is none for `null`.
pub fn of_value(value: &Json, form: Form) -> Option<SecretBytes> {
    match (value, form) {
        (Json::Null, _) => None,
        (Json::Text(text), _) => Some(SecretBytes::from(text.as_str())),
        (Json::Bool(value), Form::Python) => Some(SecretBytes::from(python_bool(*value))),
        (other, Form::Python) => Some(other.write(Style::Python)),
        (other, Form::Json) => Some(other.write(Style::Compact)),
    }
}

/// The text of a field's value inside a flattened record (keeper.md 4.5): one element alone, several
/// as an array. There is none where the field holds nothing.
pub fn of_field(value: &Json, form: Form) -> Option<SecretBytes> {
    let several = match value {
        Json::Null => return None,
        Json::Text(text) if text.is_empty() => return None,
        Json::Array(items) => match items.as_slice() {
            [] => return None,
            [one] => return of_single(one, form),
            _ => true,
        },
        _ => false,
    };
    match form {
        Form::Python if several => Some(value.write(Style::PythonCompact)),
        _ => of_single(value, form),
    }
}

fn of_single(value: &Json, form: Form) -> Option<SecretBytes> {
    match (value, form) {
        (Json::Text(text), _) => Some(SecretBytes::from(text.as_str())),
        (Json::Null, Form::Json) => None,
        (other, Form::Json) => Some(other.write(Style::Compact)),
        (other, Form::Python) => {
            let mut length = 0;
            python_repr(other, &mut |piece| length += piece.len());
            let mut bytes = Vec::with_capacity(length);
            python_repr(other, &mut |piece| bytes.extend_from_slice(piece.as_bytes()));
            Some(SecretBytes::new(bytes))
        }
    }
}

const fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// What Python's `repr` prints.
fn python_repr(value: &Json, put: &mut dyn FnMut(&str)) {
    match value {
        Json::Null => put("None"),
        Json::Bool(value) => put(python_bool(*value)),
        Json::Number(digits) => put(digits),
        Json::Text(text) => python_string(text, put),
        Json::Array(items) => {
            put("[");
            for (at, item) in items.iter().enumerate() {
                put(if at == 0 { "" } else { ", " });
                python_repr(item, put);
            }
            put("]");
        }
        Json::Object(members) => {
            put("{");
            for (at, (name, value)) in members.iter().enumerate() {
                put(if at == 0 { "" } else { ", " });
                python_string(name, put);
                put(": ");
                python_repr(value, put);
            }
            put("}");
        }
    }
}

fn python_string(text: &str, put: &mut dyn FnMut(&str)) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut buffer = Zeroizing::new([0; 4]);
    let put_char = |c: char, buffer: &mut [u8; 4], put: &mut dyn FnMut(&str)| put(c.encode_utf8(buffer));
    put_char(quote, &mut buffer, put);
    for c in text.chars() {
        match c {
            '\\' => put("\\\\"),
            '\n' => put("\\n"),
            '\r' => put("\\r"),
            '\t' => put("\\t"),
            c if c == quote => {
                put("\\");
                put_char(c, &mut buffer, put);
            }
            c if is_printable(c) => put_char(c, &mut buffer, put),
            c => put(&match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02x}"),
                code @ 0x100..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    put_char(quote, &mut buffer, put);
}

/// Python's `str.isprintable` for a character, unassigned ones aside.
fn is_printable(c: char) -> bool {
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{f0000}'..='\u{10ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: Option<SecretBytes>) -> Option<String> {
        text.map(|t| t.expose_text().unwrap().to_owned())
    }

    #[test]
    fn values_become_text_in_both_manners() {
        for (json, ours, python) in [
            (r#""plain""#, Some("plain"), Some("plain")),
            (r#""""#, Some(""), Some("")),
            ("12345", Some("12345"), Some("12345")),
            ("true", Some("true"), Some("True")),
            ("null", None, None),
            (
                r#"{"k":"日本","n":[1,null]}"#,
                Some(r#"{"k":"日本","n":[1,null]}"#),
                Some(r#"{"k": "\u65e5\u672c", "n": [1, null]}"#),
            ),
        ] {
            let value = Json::parse(json).unwrap();
            assert_eq!(shown(of_value(&value, Form::Json)).as_deref(), ours, "{json}");
            assert_eq!(shown(of_value(&value, Form::Python)).as_deref(), python, "{json}");
        }
    }

    #[test]
    fn fields_become_text_in_both_manners() {
        for (json, ours, python) in [
            (r#"["one"]"#, Some("one"), Some("one")),
            (r#"["a","日"]"#, Some(r#"["a","日"]"#), Some(r#"["a","\u65e5"]"#)),
            ("[]", None, None),
            ("null", None, None),
            (r#""""#, None, None),
            ("[null]", None, Some("None")),
            (r#"[""]"#, Some(""), Some("")),
            ("[true]", Some("true"), Some("True")),
            (r#""bare""#, Some("bare"), Some("bare")),
            ("[1700000000000]", Some("1700000000000"), Some("1700000000000")),
            (
                r#"[{"hostName":"db's","port":null,"x":[true,"\"q\"","a'b\"c","\u0001\u00a0\n日\ue000\ud83d\ude00\udb80\udc00"]}]"#,
                Some(
                    "{\"hostName\":\"db's\",\"port\":null,\"x\":[true,\"\\\"q\\\"\",\"a'b\\\"c\",\"\\u0001\u{a0}\\n日\u{e000}😀\u{f0000}\"]}",
                ),
                Some(
                    r#"{'hostName': "db's", 'port': None, 'x': [True, '"q"', 'a\'b"c', '\x01\xa0\n日\ue000😀\U000f0000']}"#,
                ),
            ),
        ] {
            let value = Json::parse(json).unwrap();
            assert_eq!(shown(of_field(&value, Form::Json)).as_deref(), ours, "{json}");
            assert_eq!(shown(of_field(&value, Form::Python)).as_deref(), python, "{json}");
        }
    }
}
