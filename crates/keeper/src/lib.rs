//! Keeper Secrets Manager: the notation that names a value, and the JSON of records.

pub mod json;
pub mod notation;
