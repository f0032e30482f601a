//! How a configuration is stored. The bytes hold secrets; whoever keeps them seals them.

use std::collections::BTreeMap;

use model::SecretBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Config, FieldValue, fields_of};
use crate::Kind;

/// The first byte. A change of [`Stored`] that is not an added variant at the end needs another.
const FORMAT: u8 = 1;

/// Stored bytes that are not a configuration, or one of a later format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored destination configuration cannot be read")]
pub struct CorruptConfig;

/// A value as stored. The order of the variants is part of the format.
#[derive(Serialize, Deserialize)]
enum Stored<'a> {
    Text(&'a str),
    Secret(&'a [u8]),
    Int(i64),
    Bool(bool),
    #[serde(borrow)]
    List(Vec<&'a str>),
    IntList(Vec<i64>),
    #[serde(borrow)]
    Map(BTreeMap<&'a str, &'a str>),
}

impl<'a> From<&'a FieldValue> for Stored<'a> {
    fn from(value: &'a FieldValue) -> Self {
        match value {
            FieldValue::Text(text) => Self::Text(text),
            // Opened into bytes that wipe themselves and are sealed by the store.
            FieldValue::Secret(secret) => Self::Secret(secret.expose()),
            FieldValue::Int(number) => Self::Int(*number),
            FieldValue::Bool(on) => Self::Bool(*on),
            FieldValue::List(list) => Self::List(list.iter().map(String::as_str).collect()),
            FieldValue::IntList(list) => Self::IntList(list.clone()),
            FieldValue::Map(map) => Self::Map(map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()),
        }
    }
}

impl From<Stored<'_>> for FieldValue {
    fn from(stored: Stored<'_>) -> Self {
        match stored {
            Stored::Text(text) => Self::Text(text.to_owned()),
            Stored::Secret(bytes) => Self::Secret(SecretBytes::from(bytes)),
            Stored::Int(number) => Self::Int(number),
            Stored::Bool(on) => Self::Bool(on),
            Stored::List(list) => Self::List(list.into_iter().map(str::to_owned).collect()),
            Stored::IntList(list) => Self::IntList(list),
            Stored::Map(map) => {
                Self::Map(map.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
            }
        }
    }
}

impl Config {
    /// The stored form: equal configurations give equal bytes.
    pub fn to_bytes(&self) -> SecretBytes {
        encode(self.iter())
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &SecretBytes) -> Result<Self, CorruptConfig> {
        // Opened to be taken apart; secret parts go straight into wrappers of their own.
        let [FORMAT, rest @ ..] = bytes.expose() else { return Err(CorruptConfig) };
        let (stored, rest): (BTreeMap<&str, Stored<'_>>, _) =
            postcard::take_from_bytes(rest).map_err(|_| CorruptConfig)?;
        if !rest.is_empty() {
            return Err(CorruptConfig);
        }
        Ok(Self(stored.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()))
    }

    /// A digest of the fields that shape each remote entry ([`crate::Field::per_secret`]). When it
    /// changes, entries already written must be brought in line.
    pub fn per_secret_digest(&self, kind: &dyn Kind) -> [u8; 32] {
        let names: Vec<&str> = fields_of(kind).filter(|f| f.per_secret).map(|f| f.name).collect();
        let bytes = encode(self.iter().filter(|(name, _)| names.contains(name)));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes.expose());
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        out
    }
}

/// Measured first, so that no growing vector leaves copies of a secret behind.
fn encode<'a>(fields: impl Iterator<Item = (&'a str, &'a FieldValue)>) -> SecretBytes {
    let stored: BTreeMap<&str, Stored<'_>> = fields.map(|(name, value)| (name, value.into())).collect();
    let size = postcard::experimental::serialized_size(&stored).unwrap_or_default();
    let mut bytes = Zeroizing::new(vec![FORMAT; 1 + size]);
    let written = postcard::to_slice(&stored, &mut bytes[1..]).map(|written| written.len());
    debug_assert_eq!(written, Ok(size), "a map of texts and numbers always encodes");
    SecretBytes::from(bytes)
}
