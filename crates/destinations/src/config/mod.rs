mod bytes;
mod common;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use model::{Granularity, SecretBytes};
use serde_json::Value;

pub use bytes::CorruptConfig;
pub use common::{COMMON_FIELDS, ENDPOINT};
pub use read::Mode;

use crate::{Field, Kind, Shared};

/// What a secret field that is set is shown as, and what is never taken for a value.
pub const MASK: &str = "*****";

/// The checked settings of one destination: every value has the shape its [`crate::Field`] asks for.
#[derive(Debug, Clone, Default)]
pub struct Config(BTreeMap<String, FieldValue>);

/// One checked value. There is no empty value: a text, list or map of nothing, and a switch that is
/// off, are not set at all.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// Of a `Text`, `Url` or `OneOf` field.
    Text(String),
    /// Of a field marked secret, whatever its shape.
    Secret(SecretBytes),
    /// Of an `Int` field.
    Int(i64),
    /// Of a `Bool` field.
    Bool(bool),
    /// Of a `List` field.
    List(Vec<String>),
    /// Of an `IntList` field.
    IntList(Vec<i64>),
    /// Of a `Map` field.
    Map(BTreeMap<String, String>),
}

impl Config {
    /// The value of a field, if it was given.
    pub fn get(&self, field: &str) -> Option<&FieldValue> {
        self.0.get(field)
    }

    /// Sets or replaces a value.
    pub fn set(&mut self, field: impl Into<String>, value: FieldValue) {
        self.0.insert(field.into(), value);
    }

    /// Removes a value.
    pub fn unset(&mut self, field: &str) {
        self.0.remove(field);
    }

    /// All given values, by field name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// An open text field.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.get(field) {
            Some(FieldValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A secret field.
    pub fn secret(&self, field: &str) -> Option<&SecretBytes> {
        match self.get(field) {
            Some(FieldValue::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(&self, field: &str) -> Option<i64> {
        match self.get(field) {
            Some(FieldValue::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// A switch; off when not given.
    pub fn flag(&self, field: &str) -> bool {
        matches!(self.get(field), Some(FieldValue::Bool(true)))
    }

    /// A list of texts; empty when not given.
    pub fn list(&self, field: &str) -> &[String] {
        match self.get(field) {
            Some(FieldValue::List(list)) => list,
            _ => &[],
        }
    }

    /// A list of numbers; empty when not given.
    pub fn int_list(&self, field: &str) -> &[i64] {
        match self.get(field) {
            Some(FieldValue::IntList(list)) => list,
            _ => &[],
        }
    }

    /// A map, if it was given.
    pub fn map(&self, field: &str) -> Option<&BTreeMap<String, String>> {
        match self.get(field) {
            Some(FieldValue::Map(map)) => Some(map),
            _ => None,
        }
    }

    /// Whether the common field `granularity` asks for one entry per secret or per key; the kind's
    /// own habit when it does not say.
    pub fn granularity(&self, kind: &dyn Kind) -> Granularity {
        self.text("granularity").and_then(Granularity::parse).unwrap_or(kind.abilities().granularity)
    }

    /// The name template in force: the common field `secret_name_template`, else the kind's own for
    /// the granularity in force.
    pub fn name_template(&self, kind: &dyn Kind) -> &str {
        self.text("secret_name_template").unwrap_or(match self.granularity(kind) {
            Granularity::SecretPath => kind.abilities().path_template,
            Granularity::SecretKey => kind.abilities().key_template,
        })
    }

    /// What clients may see, by field name: secrets as [`MASK`], everything else as it was given, in
    /// the JSON type of its shape (vault-sync-api.md 3.3). What is not set is left out. A field whose
    /// [`Field::option`] is on belongs under `options` there, the others under `connection_details`.
    pub fn shown(&self, kind: &dyn Kind) -> serde_json::Map<String, Value> {
        self.shown_of(fields_of(kind))
    }

    /// The same for a shared credential.
    pub fn shown_shared(&self, shared: &Shared) -> serde_json::Map<String, Value> {
        self.shown_of(shared.fields)
    }

    fn shown_of(&self, fields: impl IntoIterator<Item = &'static Field>) -> serde_json::Map<String, Value> {
        let mut shown = serde_json::Map::new();
        for field in fields {
            let value = match self.get(field.name) {
                Some(FieldValue::Secret(_)) => Value::from(MASK),
                // A kind that made a field secret later must not show what was stored before.
                Some(_) if field.secret => Value::from(MASK),
                Some(FieldValue::Text(text)) => Value::from(text.as_str()),
                Some(FieldValue::Int(number)) => Value::from(*number),
                Some(FieldValue::Bool(on)) => Value::from(*on),
                Some(FieldValue::List(list)) => Value::from(list.as_slice()),
                Some(FieldValue::IntList(list)) => Value::from(list.as_slice()),
                Some(FieldValue::Map(map)) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
                None => continue,
            };
            shown.insert(field.name.to_owned(), value);
        }
        shown
    }

    /// Lays a shared credential into the settings of a destination that names it, for
    /// [`crate::Kind::open`]. Its values go where no request can put any, and are not to be stored.
    pub fn lay_in(&mut self, shared: &Shared, credential: &Self) {
        for (field, value) in credential.iter() {
            self.set(shared.place(field), value.clone());
        }
    }

    /// The names of the fields in which two configurations differ, sorted.
    pub fn changed_fields<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let names: BTreeSet<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        names.into_iter().filter(|name| !same(self.get(name), other.get(name))).collect()
    }
}

/// Every field a configuration of this kind can have: the kind's own, then those of every kind.
pub fn fields_of(kind: &dyn Kind) -> impl Iterator<Item = &'static Field> {
    kind.fields().iter().chain(COMMON_FIELDS)
}

fn same(a: Option<&FieldValue>, b: Option<&FieldValue>) -> bool {
    use FieldValue::{Bool, Int, IntList, List, Map, Secret, Text};
    match (a, b) {
        (None, None) => true,
        (Some(Text(a)), Some(Text(b))) => a == b,
        (Some(Secret(a)), Some(Secret(b))) => {
            // Opened to be compared, in constant time; nothing leaves this line.
            aws_lc_rs::constant_time::verify_slices_are_equal(a.expose(), b.expose()).is_ok()
        }
        (Some(Int(a)), Some(Int(b))) => a == b,
        (Some(Bool(a)), Some(Bool(b))) => a == b,
        (Some(List(a)), Some(List(b))) => a == b,
        (Some(IntList(a)), Some(IntList(b))) => a == b,
        (Some(Map(a)), Some(Map(b))) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
