//! New text for a value that is already there: members of a JSON object, or a whole record
//! (keeper.md 4.5).

use model::SecretBytes;
use zeroize::Zeroizing;

use crate::{
    json::{Json, Style},
    text::Form,
};

/// Where text is kept that stood at the destination and was no JSON object. Upstream's name for it.
const PRESERVED: &str = "_preserved_plaintext";

/// What is to become of one member.
#[derive(Debug)]
pub enum Change {
    /// It is to be this text.
    Set(SecretBytes),
    /// It is to go.
    Remove,
}

/// The value at the destination is not text, so it cannot be merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the current value at the destination is not text, and no JSON key can be set in it")]
pub struct NotText;

/// The text after changing members of the object that is there, or nothing when it is so already.
/// Members that are not mentioned stay. A value that is no JSON object is kept as a member of its own.
pub fn members(
    current: Option<&SecretBytes>,
    changes: &[(&str, Change)],
    form: Form,
) -> Result<Option<SecretBytes>, NotText> {
    let mut object = match current {
        None => Json::object([]),
        Some(current) => object_of(current)?,
    };
    let mut differs = false;
    for (name, change) in changes {
        match change {
            Change::Set(value) => {
                // Opened to be compared and put into the object.
                let value = value.expose_text().map_err(|_| NotText)?;
                if object.get(name).and_then(Json::as_text) != Some(value) {
                    object.set(name, Json::text(value));
                    differs = true;
                }
            }
            Change::Remove => {
                if let Json::Object(members) = &mut object {
                    let before = members.len();
                    members.retain(|(known, _)| known != name);
                    differs |= members.len() < before;
                }
            }
        }
    }
    Ok(differs.then(|| object.write(style(form))))
}

/// The text of a whole record, or nothing when what is there is the same object, the kept text aside.
/// Text that is there and is no JSON object is kept as a member.
pub fn record(
    current: Option<&SecretBytes>,
    record: &Json,
    form: Form,
) -> Result<Option<SecretBytes>, NotText> {
    let Some(current) = current else { return Ok(Some(record.write(style(form)))) };
    let mut old = object_of(current)?;
    let kept = take(&mut old, PRESERVED);
    let mut new = record.clone();
    let new_kept = take(&mut new, PRESERVED);
    let was_object =
        Json::parse(current.expose_text().map_err(|_| NotText)?).is_ok_and(|json| json.as_object().is_some());
    if was_object && same(&old, &new) {
        return Ok(None);
    }
    if let Some(kept) = new_kept.or(kept) {
        new.set(PRESERVED, kept);
    }
    Ok(Some(new.write(style(form))))
}

const fn style(form: Form) -> Style {
    match form {
        Form::Json => Style::Compact,
        Form::Python => Style::PythonCompact,
    }
}

fn object_of(current: &SecretBytes) -> Result<Json, NotText> {
    // Opened to be read.
    let text = current.expose_text().map_err(|_| NotText)?;
    match Json::parse(text) {
        Ok(json) if json.as_object().is_some() => Ok(json),
        // Upstream breaks off on JSON that is no object; as text it is as good as any other.
        _ if text.is_empty() => Ok(Json::object([])),
        _ => Ok(Json::object([(PRESERVED, Json::Text(Zeroizing::new(text.to_owned())))])),
    }
}

fn take(object: &mut Json, name: &str) -> Option<Json> {
    let Json::Object(members) = object else { return None };
    let at = members.iter().position(|(known, _)| known == name)?;
    Some(members.remove(at).1)
}

/// Equal but for the order of members.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(a), Json::Bool(b)) => a == b,
        (Json::Number(a), Json::Number(b)) | (Json::Text(a), Json::Text(b)) => a == b,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len()
                && x.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(current: Option<&str>, changes: &[(&str, Option<&str>)]) -> Option<String> {
        let changes: Vec<_> = changes
            .iter()
            .map(|(name, value)| (*name, value.map_or(Change::Remove, |v| Change::Set(SecretBytes::from(v)))))
            .collect();
        let text = members(current.map(SecretBytes::from).as_ref(), &changes, Form::Json).unwrap();
        text.map(|t| t.expose_text().unwrap().to_owned())
    }

    #[test]
    fn members_change_and_the_rest_stays() {
        for (current, changes, want) in [
            (None, vec![("a", Some("1"))], Some(r#"{"a":"1"}"#)),
            (None, vec![("a", None)], None),
            (Some(r#"{"z":{"k":1},"a":"1"}"#), vec![("a", Some("1"))], None),
            (
                Some(r#"{"z":{"k":1},"a":"1"}"#),
                vec![("a", Some("2")), ("b", Some("3"))],
                Some(r#"{"z":{"k":1},"a":"2","b":"3"}"#),
            ),
            (Some(r#"{"z":1,"a":"1"}"#), vec![("a", None)], Some(r#"{"z":1}"#)),
            (Some(r#"{"a":"1"}"#), vec![("a", None)], Some("{}")),
            (Some(r#"{"a":1}"#), vec![("a", Some("1"))], Some(r#"{"a":"1"}"#)),
            (Some("plain"), vec![("a", Some("1"))], Some(r#"{"_preserved_plaintext":"plain","a":"1"}"#)),
            (Some("12345"), vec![("a", Some("1"))], Some(r#"{"_preserved_plaintext":"12345","a":"1"}"#)),
            (Some("plain"), vec![("a", None)], None),
            (Some(""), vec![("a", Some("1"))], Some(r#"{"a":"1"}"#)),
        ] {
            assert_eq!(merged(current, &changes).as_deref(), want, "{current:?} {changes:?}");
        }
        let binary = SecretBytes::new(vec![0xff]);
        assert_eq!(members(Some(&binary), &[("a", Change::Remove)], Form::Json).unwrap_err(), NotText);
    }

    #[test]
    fn a_record_is_written_when_it_differs() {
        let new = Json::parse(r#"{"login":"a","x":[{"p":1,"q":2}]}"#).unwrap();
        for (current, want) in [
            (None, Some(r#"{"login":"a","x":[{"p":1,"q":2}]}"#)),
            (Some(r#"{"x":[{"q":2,"p":1}],"login":"a"}"#), None),
            (Some(r#"{"x":[{"q":2,"p":1}],"login":"a","_preserved_plaintext":"old"}"#), None),
            (
                Some(r#"{"login":"b","_preserved_plaintext":"old"}"#),
                Some(r#"{"login":"a","x":[{"p":1,"q":2}],"_preserved_plaintext":"old"}"#),
            ),
            (Some("plain"), Some(r#"{"login":"a","x":[{"p":1,"q":2}],"_preserved_plaintext":"plain"}"#)),
        ] {
            let text = record(current.map(SecretBytes::from).as_ref(), &new, Form::Json).unwrap();
            assert_eq!(text.map(|t| t.expose_text().unwrap().to_owned()).as_deref(), want, "{current:?}");
        }
    }
}
