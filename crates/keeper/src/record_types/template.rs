//! What a record or field of a type consists of, to be filled in.

use super::{
    DraftFault, FieldKind,
    shape::Shape,
    tables::{field_kinds, record_kinds},
};
use crate::json::Json;

/// Marks a place to be filled in. A file that still holds it is not done.
pub const MARK: &str = "<#ADD";

/// A file with one record of this type, for [`super::Draft::of_file`].
pub fn of_record(kind: &str, title: Option<&str>, notes: Option<&str>) -> Result<Json, DraftFault> {
    let kind = record_kinds()
        .find(|known| known.name == kind)
        .ok_or_else(|| DraftFault::NoRecordKind(kind.to_owned()))?;
    let mut fields = Vec::new();
    for slot in kind.fields {
        fields.push(field(known(slot.kind)?));
    }
    let record = Json::object([
        ("recordType", Json::text(kind.name)),
        ("title", Json::text(title.unwrap_or("<#ADD: The title of record here. This is required.>"))),
        ("notes", Json::text(notes.unwrap_or("<#ADD: Add some notes or remove.>"))),
        ("fields", Json::Array(fields)),
    ]);
    Ok(Json::object([
        ("version", Json::text("v3")),
        ("kind", Json::text("KeeperRecord")),
        ("data", Json::Array(vec![record])),
    ]))
}

/// A field of this type.
pub fn of_field(kind: &str) -> Result<Json, DraftFault> {
    Ok(field(known(kind)?))
}

fn known(kind: &str) -> Result<&'static FieldKind, DraftFault> {
    field_kinds().find(|known| known.name == kind).ok_or_else(|| DraftFault::NoFieldKind(kind.to_owned()))
}

fn field(kind: &FieldKind) -> Json {
    let mut json = Json::object([
        ("type", Json::text(kind.name)),
        ("value", blank(kind.shape)),
        ("privacyScreen", Json::Bool(false)),
    ]);
    if kind.name == "password" {
        json.set("enforceGeneration", Json::Bool(false));
        let zero = || Json::int(0);
        json.set(
            "complexity",
            Json::object([
                ("length", Json::int(64)),
                ("caps", zero()),
                ("lowercase", zero()),
                ("digits", zero()),
                ("special", zero()),
                ("filter_characters", Json::Null),
            ]),
        );
    }
    json
}

fn blank(shape: Shape) -> Json {
    match shape {
        Shape::Text(help, _)
        | Shape::Date(help)
        | Shape::Flag(help)
        | Shape::Whole(help)
        | Shape::List(help) => Json::text(format!("{MARK}: {help}>")),
        Shape::Choice(words) => Json::text(format!("{MARK}: {}>", words.join(" | "))),
        Shape::Object(members) => {
            Json::Object(members.iter().map(|(name, shape)| ((*name).to_owned(), blank(*shape))).collect())
        }
    }
}
