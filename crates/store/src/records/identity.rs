use std::fmt;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::record;
use crate::wipe::wipe;

/// The keys that sign identity tokens, oldest first. One record, so that servers sharing a store agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct IdentityKeys {
    /// Never empty once written.
    pub keys: Vec<IdentityKey>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityKey {
    /// What tokens and the published key call it.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// PKCS#8 DER. Wiped on drop.
    #[serde(with = "super::run")]
    pub der: Vec<u8>,
}

impl Drop for IdentityKey {
    fn drop(&mut self) {
        wipe(&mut self.der);
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({}, {} bytes)", self.id, self.der.len())
    }
}

record!(IdentityKeys, 0x04, 1);
