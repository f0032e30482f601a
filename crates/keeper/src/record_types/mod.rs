//! Types of records and fields, as the official CLI knows them, for making new records (keeper.md 2).
//!
//! [`parse_field`] reads `f.login=alice`, [`Draft`] puts fields in the places its record type has for them
//! and checks them, [`template`] shows what a record or field of a type consists of.

mod args;
mod draft;
mod shape;
mod tables;
mod template;

pub use args::parse_field;
pub use draft::{Draft, Given};
pub use shape::FieldKind;
pub use tables::{RecordKind, field_kinds, record_kinds};
pub use template::{MARK, of_field, of_record};

/// Why a record cannot be made so. Names types, labels and keys, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftFault {
    /// No such type of record.
    #[error("there is no record type {0:?}: `secret template record --show-list` names the ones there are")]
    NoRecordKind(String),
    /// No such type of field.
    #[error("there is no field type {0:?}: `secret template field --show-list` names the ones there are")]
    NoFieldKind(String),
    /// A field's argument is not written as it should be.
    #[error("a field is written [f.|c.]TYPE[[LABEL]][.KEY]=VALUE: {0}")]
    Argument(&'static str),
    /// The record type has no place for the field, or it is taken.
    #[error("the record type has no field {0}, or it was given already: as a custom field, write c.{0}=…")]
    NoPlace(String),
    /// Two custom fields that cannot be told apart.
    #[error("the custom field {0} was given twice: give each a label of its own, c.{0}[LABEL]=…")]
    Twice(String),
    /// The type has no such key.
    #[error("the field type {kind} has no key {key:?}")]
    NoKey {
        /// The type.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// The value breaks a rule.
    #[error("the value for {field} must be {rule}")]
    Value {
        /// The field, and the key in it.
        field: String,
        /// What it should be.
        rule: &'static str,
    },
    /// A record without a title.
    #[error("a record needs a title")]
    NoTitle,
    /// A file of records is not built as it should be.
    #[error("{place} {rule}")]
    File {
        /// Where in the file.
        place: String,
        /// What should be there.
        rule: &'static str,
    },
}
