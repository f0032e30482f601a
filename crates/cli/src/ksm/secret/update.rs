//! `ksm secret update` and `ksm secret delete`.

use std::process::ExitCode;

use clap::Args;
use keeper::{Scope, Transaction, json::Json};

use super::record_of;
use crate::{
    failure::Failure,
    ksm::{Done, Ksm, deleted},
};

#[derive(Args)]
pub(crate) struct UpdateArgs {
    /// The record
    #[arg(short, long, value_name = "UID")]
    uid: String,
    /// New value of a standard field, named by its label or type
    #[arg(long, value_name = "LABEL=VALUE")]
    field: Vec<String>,
    /// New value of a custom field
    #[arg(long, value_name = "LABEL=VALUE")]
    custom_field: Vec<String>,
    /// New value of a standard field, as JSON
    #[arg(long, value_name = "LABEL=JSON")]
    field_json: Vec<String>,
    /// New value of a custom field, as JSON
    #[arg(long, value_name = "LABEL=JSON")]
    custom_field_json: Vec<String>,
    /// New title
    #[arg(short, long, value_name = "TITLE")]
    title: Option<String>,
    /// New notes
    #[arg(short, long, value_name = "TEXT")]
    notes: Option<String>,
}

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// A record
    #[arg(short, long, value_name = "UID", required = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    uid: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn update(ksm: &Ksm, args: &UpdateArgs) -> Done {
    let client = ksm.client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let mut body = record.json().clone();
    for (key, text) in [("title", &args.title), ("notes", &args.notes)] {
        if let Some(text) = text {
            body.set(key, Json::text(text.as_str()));
        }
    }
    for (list, given, json) in [
        ("fields", &args.field, false),
        ("custom", &args.custom_field, false),
        ("fields", &args.field_json, true),
        ("custom", &args.custom_field_json, true),
    ] {
        for text in given {
            set(&mut body, list, text, json)?;
        }
    }
    ksm.call(client.update(record, &body, Transaction::General))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets the field that `LABEL=VALUE` names. A label may hold `=` itself, so it is told by the labels
/// that are there.
fn set(body: &mut Json, list: &str, given: &str, json: bool) -> Result<(), Failure> {
    let given = unquoted(given);
    let Some(Json::Array(fields)) = body.get_mut(list) else {
        return Err(no_field(list, given));
    };
    let name = |field: &Json| {
        let text = |key: &str| field.get(key).and_then(Json::as_text).filter(|text| !text.is_empty());
        text("label").or(text("type")).map(str::to_owned)
    };
    let value_for = |name: &str| given.strip_prefix(name)?.strip_prefix('=');
    let longest = fields
        .iter()
        .filter_map(|field| Some((name(field)?, field)))
        .filter(|(name, _)| value_for(name).is_some())
        .map(|(name, _)| name)
        .max_by_key(String::len);
    // A type is known in any case, a label in its own only.
    let by_type = || {
        let (word, _) = given.split_once('=')?;
        fields.iter().find_map(|field| {
            let kind = field.get("type").and_then(Json::as_text)?;
            (kind.to_lowercase() == word.to_lowercase()).then(|| word.to_owned())
        })
    };
    let wanted = longest.or_else(by_type).ok_or_else(|| no_field(list, given))?;
    let value = value_for(&wanted).unwrap_or_default();
    let value = if json {
        match Json::parse(value) {
            Ok(Json::Array(items)) => Json::Array(items),
            Ok(other) => Json::Array(vec![other]),
            Err(error) => {
                return Err(Failure::wrong(format!("the value for {wanted:?}: {error}")));
            }
        }
    } else {
        Json::Array(vec![Json::text(value)])
    };
    let labelled =
        fields.iter().position(|field| field.get("label").and_then(Json::as_text) == Some(&wanted));
    let typed = || {
        let folded = wanted.to_lowercase();
        let is_of = |field: &Json| {
            field.get("type").and_then(Json::as_text).is_some_and(|kind| kind.to_lowercase() == folded)
        };
        fields.iter().position(is_of)
    };
    match labelled.or_else(typed).and_then(|at| fields.get_mut(at)) {
        Some(field) => field.set("value", value),
        None => return Err(no_field(list, given)),
    }
    Ok(())
}

/// A whole argument may stand in quotes that the shell did not take away.
fn unquoted(text: &str) -> &str {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}

/// Names the label, not the value that stands behind it.
fn no_field(list: &str, given: &str) -> Failure {
    let kind = if list == "fields" { "standard" } else { "custom" };
    match given.split_once('=') {
        Some((label, _)) => Failure::failed(format!(
            "the record has no {kind} field with the label or type {label:?}; nothing was changed"
        )),
        None => Failure::wrong("a new value is written LABEL=VALUE"),
    }
}

pub(super) fn delete(ksm: &Ksm, args: &DeleteArgs) -> Done {
    let client = ksm.client()?;
    let gone = ksm.call(client.delete(&args.uid))?;
    deleted::tell(ksm, &args.uid, &gone, args.json)
}

#[cfg(test)]
mod tests {
    use keeper::json::Style;

    use super::*;

    const BODY: &str = r#"{"title":"t","fields":[{"type":"login","value":["a"]},{"type":"text","label":"a=b","value":[]},{"type":"text","label":"a","value":[]}],"custom":[{"type":"host","label":"","value":[]}]}"#;

    fn after(list: &str, given: &str, json: bool) -> Result<String, String> {
        let mut body = Json::parse(BODY).unwrap();
        set(&mut body, list, given, json).map_err(|failure| failure.to_string())?;
        Ok(body.write(Style::Compact).expose_text().unwrap().to_owned())
    }

    #[test]
    fn the_longest_label_wins_and_the_value_is_all_that_follows() {
        assert!(after("fields", "a=b=c=d", false).unwrap().contains(r#""label":"a=b","value":["c=d"]"#));
        assert!(after("fields", "a=b", false).unwrap().contains(r#""label":"a","value":["b"]"#));
        assert!(after("fields", "'login=x y'", false).unwrap().contains(r#""login","value":["x y"]"#));
        assert!(after("fields", "LOGIN=", false).unwrap().contains(r#""login","value":[""]"#));
        assert!(
            after("custom", r#"host={"hostName":"h"}"#, true)
                .unwrap()
                .contains(r#""value":[{"hostName":"h"}]"#)
        );
        assert!(after("custom", "host=[1,2]", true).unwrap().contains(r#""value":[1,2]"#));
    }

    #[test]
    fn mistakes_name_the_label_and_never_the_value() {
        for (list, given, json) in [
            ("fields", "nosuch=hunter2", false),
            ("custom", "login=hunter2", false),
            ("fields", "login=hunter2", true),
            ("fields", "hunter2", false),
        ] {
            let error = after(list, given, json).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
