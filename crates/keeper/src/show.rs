//! Records as the `secret` and `folder` commands show them (keeper.md 4.2).

use crate::{
    json::Json,
    notation::{Section, inflated},
    records::{File, Record, Vault},
};

/// Types of fields whose values a table on the screen hides.
const MASKED: &[&str] = &["password", "secret", "pinCode", "securityQuestion", "oneTimeCode", "cardRef"];
/// What stands for a hidden value.
const MASK: &str = "****";

/// How a record is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Hidden values in the open. JSON output is always in the open.
    pub unmask: bool,
    /// References to other records replaced by what those hold, where they can be read.
    pub inflate: bool,
}

/// The object of `secret get --json`.
pub fn record(record: &Record, vault: &Vault, shown: Shown) -> Json {
    let text = |text: Option<&str>| text.map_or(Json::Null, Json::text);
    Json::object([
        ("uid", Json::text(record.uid())),
        ("title", text(record.title())),
        ("type", text(record.kind())),
        ("notes", record.json().get("notes").cloned().unwrap_or_else(|| Json::text(""))),
        ("fields", fields(record, Section::Standard, vault, shown)),
        ("custom", fields(record, Section::Custom, vault, shown)),
        ("files", Json::Array(record.files().iter().map(file).collect())),
        ("links", Json::Array(record.links().map(|link| with_data(link.json(), link.data())).collect())),
    ])
}

/// One entry of `secret list --json`.
pub fn list_entry(record: &Record) -> Json {
    let text = |text: Option<&str>| text.map_or(Json::Null, Json::text);
    Json::object([
        ("uid", Json::text(record.uid())),
        ("title", text(record.title())),
        ("record_type", text(record.kind())),
    ])
}

/// What `secret get --field` prints: the first value of the field of that label, else of that type,
/// among the standard fields, else among the custom ones. Case counts.
pub fn field_value<'r>(record: &'r Record, name: &str) -> Option<&'r Json> {
    let field = [Section::Standard, Section::Custom].into_iter().find_map(|section| {
        let labelled = || record.fields(section).find(|f| f.label().or(f.kind()) == Some(name));
        let typed = || record.fields(section).find(|f| f.kind() == Some(name));
        labelled().or_else(typed)
    })?;
    field.first().or_else(|| field.value())
}

fn fields(record: &Record, section: Section, vault: &Vault, shown: Shown) -> Json {
    let fields = record.fields(section).map(|field| {
        let kind = field.kind().map_or(Json::Null, Json::text);
        let label = field.label().map_or_else(|| kind.clone(), Json::text);
        let hidden = !shown.unmask && field.kind().is_some_and(|kind| MASKED.contains(&kind));
        let value = match field.value() {
            Some(value) if hidden => masked(value),
            // Where a reference leads nowhere, the reference itself is shown.
            Some(value) if shown.inflate => inflated(field, vault)
                .ok()
                .flatten()
                .map_or_else(|| value.clone(), std::borrow::Cow::into_owned),
            Some(value) => value.clone(),
            None => Json::Null,
        };
        Json::object([("label", label), ("type", kind), ("value", value)])
    });
    Json::Array(fields.collect())
}

/// The same shape with every scalar hidden.
fn masked(value: &Json) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.iter().map(masked).collect()),
        Json::Object(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), masked(value))).collect())
        }
        _ => Json::text(MASK),
    }
}

fn file(file: &File) -> Json {
    let text = |text: Option<&str>| text.map_or(Json::Null, Json::text);
    let number = |number: Option<i64>| number.map_or(Json::Null, Json::int);
    Json::object([
        ("file_uid", Json::text(file.uid())),
        ("name", text(file.name())),
        ("title", text(file.title())),
        ("type", text(file.kind())),
        ("last_modified", number(file.last_modified())),
        ("size", number(file.size())),
    ])
}

fn with_data(link: &Json, data: Option<Json>) -> Json {
    let mut link = link.clone();
    link.set("decoded", data.unwrap_or(Json::Null));
    link
}
