//! YAML as files of records need it: read with every scalar as text (as the official CLI reads it), written
//! with every text in quotes. What is written, JSON readers of YAML read as well.

use saphyr_parser::{Event, Parser, ScalarStyle};
use zeroize::Zeroizing;

use crate::json::{Json, Style};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// Why a text is not YAML, or not of the kind that is read: a place, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid YAML at line {line}, column {column}: {what}")]
pub struct NotYaml {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// A collection that is being read.
enum Open {
    List(Vec<Json>),
    Map(Json, Option<String>),
}

/// Reads one document. Numbers and words like `true` are texts; a plain scalar without text is null.
/// Aliases are refused: a small file could stand for a huge one.
pub fn parse(text: &str) -> Result<Json, NotYaml> {
    let mut open: Vec<Open> = Vec::new();
    let mut whole: Option<Json> = None;
    for event in Parser::new_from_str(text) {
        let fault = |line, column, what| NotYaml { line, column, what };
        let (event, span) = event.map_err(|error| {
            fault(error.marker().line(), error.marker().col() + 1, "the structure is broken here")
        })?;
        let here = |what| fault(span.start.line(), span.start.col() + 1, what);
        let done = match event {
            Event::Scalar(text, style, ..) => {
                if text.is_empty() && style == ScalarStyle::Plain {
                    Json::Null
                } else {
                    Json::Text(Zeroizing::new(text.into_owned()))
                }
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                if open.len() > MAX_DEPTH {
                    return Err(here("it nests too deep"));
                }
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Json::object([]), None));
                if open.len() > MAX_DEPTH {
                    return Err(here("it nests too deep"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Json::Array(items),
                Some(Open::Map(map, _)) => map,
                None => return Err(here("the structure is broken here")),
            },
            Event::Alias(_) => return Err(here("aliases are not read")),
            Event::DocumentStart(_) if whole.is_some() => return Err(here("a second document begins")),
            _ => continue,
        };
        match open.last_mut() {
            None => whole = Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map(map, key)) => match key.take() {
                Some(name) if map.get(&name).is_some() => return Err(here("this key is there twice")),
                Some(name) => map.set(&name, done),
                None => *key = Some(done.as_text().ok_or_else(|| here("a key must be text"))?.to_owned()),
            },
        }
    }
    whole.ok_or(NotYaml { line: 1, column: 1, what: "there is nothing in it" })
}

/// Writes a value as a document of several lines.
pub fn write(json: &Json) -> Zeroizing<String> {
    // Larger than needed, so that no copy is left behind when it grows.
    let mut out =
        Zeroizing::new(String::with_capacity(4096 + 8 * json.write(Style::PythonIndented(4)).len()));
    block(json, 0, &mut out);
    out
}

/// A value whose first line continues the one before.
fn block(json: &Json, level: usize, out: &mut String) {
    match json {
        Json::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                indent(if at == 0 { 0 } else { level }, out);
                out.push_str("- ");
                block(item, level + 1, out);
            }
        }
        Json::Object(members) if !members.is_empty() => {
            for (at, (name, value)) in members.iter().enumerate() {
                indent(if at == 0 { 0 } else { level }, out);
                scalar(&Json::text(name.as_str()), true, out);
                out.push(':');
                match value {
                    Json::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        indent(level, out);
                        block(value, level, out);
                    }
                    Json::Object(members) if !members.is_empty() => {
                        out.push('\n');
                        indent(level + 1, out);
                        block(value, level + 1, out);
                    }
                    _ => {
                        out.push(' ');
                        scalar(value, false, out);
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            scalar(other, false, out);
            out.push('\n');
        }
    }
}

fn indent(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// A text in the quotes of JSON, which YAML shares; a plain name of letters without.
fn scalar(json: &Json, is_key: bool, out: &mut String) {
    match json.as_text() {
        Some(name)
            if is_key
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphabetic())
                && name.len() > 3 =>
        {
            out.push_str(name);
        }
        _ => {
            let text = json.write(Style::Compact);
            // Opened to become part of the document that was asked for; JSON is text.
            out.push_str(text.expose_text().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compact(json: &Json) -> String {
        json.write(Style::Compact).expose_text().unwrap().to_owned()
    }

    #[test]
    fn scalars_are_texts() {
        let text = "---\nversion: v3\ndata:\n- recordType: login\n  title: '1: x'\n  fields:\n  - type: login\n    value: 0123\n  - {type: text, value: [yes, \"a\\nb\"]}\n  empty:\n  long: |\n    one\n    two\n";
        assert_eq!(
            compact(&parse(text).unwrap()),
            r#"{"version":"v3","data":[{"recordType":"login","title":"1: x","fields":[{"type":"login","value":"0123"},{"type":"text","value":["yes","a\nb"]}],"empty":null,"long":"one\ntwo\n"}]}"#
        );
    }

    #[test]
    fn mistakes_are_placed() {
        for text in ["", "a: [", "a: 1\na: 2", "a: &x 1\nb: *x", "a\n---\nb", "? [a]\n: b", &"[".repeat(100)]
        {
            let error = parse(text).unwrap_err();
            assert!(error.line >= 1, "{text}");
        }
        assert_eq!(parse("a: 1\nb: 2\na: 3").unwrap_err().line, 3);
    }

    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            "\\PC{0,8}".prop_map(Json::text),
            "[a-z: #'\"\\-\\n]{0,8}".prop_map(Json::text),
            Just(Json::Null),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                prop::collection::btree_map("[a-zA-Z0-9 :]{1,6}", inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(json in value()) {
            let text = write(&json);
            let again = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{}", text.as_str())))?;
            // `null` is a word in YAML, and a text here.
            let plain = |json: &Json| compact(json).replace("\"null\"", "null");
            prop_assert_eq!(plain(&again), plain(&json), "{}", text.as_str());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\\-\\[\\]{}\\n &*|>'\"#?]{0,60}") {
            let _ = parse(&text);
        }
    }
}
