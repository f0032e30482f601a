use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::record;
use crate::RecordKey;

/// A token. Its text is not here and is nowhere: the record's key is a keyed digest of it. A batch token
/// is not stored at all: it carries this record, sealed, in its own text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Token {
    /// Finds the token without being able to use it. Empty for a batch token.
    pub accessor: String,
    /// Sorted, lower case.
    pub policies: Vec<String>,
    /// The path that made it: `auth/token/create`.
    pub path: String,
    /// The user's own notes, or what the auth method tells of the login.
    pub meta: Option<BTreeMap<String, String>>,
    /// Shown in lookups and audit lines.
    pub display_name: String,
    /// Uses left; 0 = any number.
    pub num_uses: u64,
    /// Has no parent.
    pub orphan: bool,
    /// The parent's accessor.
    pub parent: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The ttl it was made with, in seconds; 0 = for ever.
    pub creation_ttl: u64,
    /// When it ends; `None` = never.
    pub expires: Option<Timestamp>,
    /// Seconds; 0 = none.
    pub explicit_max_ttl: u64,
    /// May be renewed.
    pub renewable: bool,
    /// Seconds between renewals of a periodic token; 0 = not periodic.
    pub period: u64,
    /// The role that made it.
    pub role: Option<String>,
    /// Batch: it lives in its own text.
    pub batch: bool,
    /// Who it stands for.
    pub entity: Option<String>,
    /// The accessor of the auth mount that gave it out; `None` for the token store.
    pub auth_mount: Option<String>,
    /// Where it may be used from; empty = anywhere.
    pub bound_cidrs: Vec<String>,
    /// When it was last renewed.
    pub renewed: Option<Timestamp>,
}

/// Finds a token's record by its accessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenByAccessor {
    /// The token record's key.
    pub key: Vec<u8>,
}

impl TokenByAccessor {
    /// For the token under a key.
    pub fn of(key: &RecordKey<Token>) -> Self {
        Self { key: key.as_bytes().to_vec() }
    }

    /// The token record's key.
    pub fn token(&self) -> RecordKey<Token> {
        RecordKey::of(self.key.clone())
    }
}

record!(Token, 0x20, 1);
record!(TokenByAccessor, 0x21, 1);
