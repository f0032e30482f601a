use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::record;

/// A policy, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Lower case.
    pub name: String,
    /// Byte for byte what was sent.
    pub text: String,
    /// When it was last written.
    pub modified: Timestamp,
}

/// The names of all policies. Every change of a policy writes it anew, so its revision tells at one
/// look whether what was made of the policies still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PolicyIndex {
    /// Sorted. The built-in ones are not among them.
    pub names: Vec<String>,
}

record!(Policy, 0x22, 1);
record!(PolicyIndex, 0x23, 1);
