//! A record as a flat object of texts, as `-r`, `-f` and `-fr` write it (keeper.md 4.5).

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::{
    json::Json,
    notation::Section,
    records::Record,
    text::{self, Form},
};

/// Standard fields under their type, then custom ones under their label, else their type. Fields that
/// hold nothing are left out. Of a name that comes again the second is `name:2`, and so on.
pub(super) fn flat(record: &Record, form: Form, notes: &mut Vec<String>) -> Json {
    let standard = record.fields(Section::Standard).map(|field| (field.kind(), field));
    let custom = record.fields(Section::Custom).map(|field| {
        let label = field.label().filter(|label| !label.is_empty());
        (label.or(field.kind()), field)
    });
    let mut flat = Json::object([]);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, field) in standard.chain(custom) {
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        let Some(value) = field.value().and_then(|value| text::of_field(value, form)) else { continue };
        // The text of a JSON value is always UTF-8; opened to go into the object.
        let value = Json::Text(Zeroizing::new(value.expose_text().unwrap_or_default().to_owned()));
        let count = counts.entry(name).or_default();
        *count += 1;
        if flat.get(name).is_none() {
            flat.set(name, value);
            continue;
        }
        let mut number = (*count).max(2);
        while flat.get(&format!("{name}:{number}")).is_some() {
            number += 1;
        }
        flat.set(&format!("{name}:{number}"), value);
    }
    let again: Vec<&str> = counts.iter().filter(|(_, count)| **count > 1).map(|(name, _)| *name).collect();
    if !again.is_empty() {
        notes.push(format!(
            "record {}: {} of its fields share a name with another one; they are numbered :2, :3, …",
            record.uid(),
            again.len()
        ));
    }
    flat
}
