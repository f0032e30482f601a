use std::collections::BTreeMap;

use model::SecretBytes;

/// The checked settings of one destination: every value has the shape its [`crate::Field`] asks for.
#[derive(Debug, Clone, Default)]
pub struct Config(BTreeMap<String, FieldValue>);

/// One checked value.
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
}
