//! Fields as arguments: `f.login=alice`, `c.text[My label]=x`, `name.first=Ann`.

use super::{DraftFault, Given, tables::field_kinds};
use crate::{json::Json, notation::Section};

/// Reads one argument: `[f.|c.]TYPE[[LABEL]][.KEY]=VALUE`. A value that is a JSON array gives several
/// values, a JSON object one of several keys; everything else is text.
pub fn parse_field(argument: &str) -> Result<Given, DraftFault> {
    let fault = DraftFault::Argument;
    let (section, rest) = match argument.split_at_checked(2) {
        Some(("f.", rest)) => (Section::Standard, rest),
        Some(("c.", rest)) => (Section::Custom, rest),
        _ => (Section::Standard, argument),
    };
    let end = rest.find(['.', '[', '=']).ok_or(fault("'=' is missing"))?;
    let (word, mut rest) = rest.split_at(end);
    let kind = field_kinds().find(|kind| kind.name == word);
    // What stands before the first sign is a name and no value.
    let kind = kind.ok_or_else(|| DraftFault::NoFieldKind(word.to_owned()))?;
    let (mut label, mut key) = (None, None);
    loop {
        if let Some(after) = rest.strip_prefix('=') {
            return Ok(Given { section, kind, label, key, value: value(kind.is_object(), after) });
        } else if let Some(after) = rest.strip_prefix('[') {
            let (text, after) = bracketed(after).ok_or(fault("the label's ']' is missing"))?;
            label = Some(text).filter(|text| !text.is_empty());
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', '=']).ok_or(fault("'=' is missing"))?;
            let name = &after[..end];
            if key.is_some() {
                return Err(fault("it names two keys"));
            }
            if !kind.has_key(name) {
                return Err(DraftFault::NoKey { kind: kind.name, key: name.to_owned() });
            }
            key = Some(name.to_owned());
            rest = &after[end..];
        } else {
            return Err(fault("'=' must follow the label"));
        }
    }
}

/// A label up to its `]`; a backslash takes the next sign as it is.
fn bracketed(text: &str) -> Option<(String, &str)> {
    let mut label = String::new();
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            ']' => return Some((label, &text[at + 1..])),
            '\\' => label.push(signs.next()?.1),
            sign => label.push(sign),
        }
    }
    None
}

/// Only what cannot be ordinary text is taken for JSON: a password of digits stays text.
fn value(of_object: bool, text: &str) -> Json {
    let begins = text.trim_start();
    let may_be_json = begins.starts_with('[') || of_object && begins.starts_with('{');
    Json::parse(text).ok().filter(|_| may_be_json).unwrap_or_else(|| Json::text(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Style;

    fn read(argument: &str) -> String {
        match parse_field(argument) {
            Ok(given) => format!(
                "{:?} {} {:?} {:?} {}",
                given.section,
                given.kind.name,
                given.label,
                given.key,
                given.value.write(Style::Compact).expose_text().unwrap()
            ),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn arguments_are_read() {
        for (argument, want) in [
            ("login=alice", r#"Standard login None None "alice""#),
            ("f.password=1234", r#"Standard password None None "1234""#),
            ("c.text[My label]=a=b", r#"Custom text Some("My label") None "a=b""#),
            (r"c.text[\[x\] \\]=", r#"Custom text Some("[x] \\") None """#),
            ("name.first=Ann", r#"Standard name None Some("first") "Ann""#),
            ("c.phone[home].number=5", r#"Custom phone Some("home") Some("number") "5""#),
            ("url=[\"a\",\"b\"]", r#"Standard url None None ["a","b"]"#),
            (r#"host={"hostName":"h"}"#, r#"Standard host None None {"hostName":"h"}"#),
            (r#"c.text={"a":1}"#, r#"Custom text None None "{\"a\":1}""#),
            ("note=[not json", r#"Standard note None None "[not json""#),
        ] {
            assert_eq!(read(argument), want, "{argument}");
        }
        for argument in [
            "",
            "login",
            "nope=hunter2",
            "name.nope=hunter2",
            "name.first.last=x",
            "text[x=hunter2",
            "text[x]y=hunter2",
        ] {
            let fault = parse_field(argument).unwrap_err().to_string();
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn no_argument_makes_it_panic(argument in "\\PC{0,30}", tail in "[fc]\\.(name|text)[\\[\\].=\\\\a]{0,12}") {
            let _ = parse_field(&argument);
            let _ = parse_field(&tail);
        }
    }
}
