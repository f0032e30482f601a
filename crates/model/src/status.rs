use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose turn it is to mend a failure (destinations.md 0.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Blame {
    /// Us: a bug, an unreadable record, a source that could not be read.
    Internal,
    /// The operator: credentials, permission, a name or size rule, someone else's object.
    Client,
    /// The provider, or time: throttling, outage, timeout.
    External,
}

/// What the latest operation on an association came to, in the words of the founding overview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyncStatus {
    /// A write to the destination is due or under way.
    Syncing,
    /// The destination holds the newest version.
    Synced,
    /// A removal from the destination is due or under way.
    Unsyncing,
    /// The secret was removed from the destination; the association remains.
    Unsynced,
    /// It failed on our side.
    InternalVaultError,
    /// It failed because of configuration.
    ClientSideError,
    /// It failed at the provider.
    ExternalServiceError,
    /// What the destination holds cannot be told.
    Unknown,
    /// Queued while syncing is switched off in `sys/sync/config` (decisions 2).
    Pending,
}

impl SyncStatus {
    /// The word clients see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "SYNCING",
            Self::Synced => "SYNCED",
            Self::Unsyncing => "UNSYNCING",
            Self::Unsynced => "UNSYNCED",
            Self::InternalVaultError => "INTERNAL_VAULT_ERROR",
            Self::ClientSideError => "CLIENT_SIDE_ERROR",
            Self::ExternalServiceError => "EXTERNAL_SERVICE_ERROR",
            Self::Unknown => "UNKNOWN",
            Self::Pending => "PENDING",
        }
    }

    /// The status a failure is shown as. No `_` arm: a new blame must choose its word.
    pub const fn of_blame(blame: Blame) -> Self {
        match blame {
            Blame::Internal => Self::InternalVaultError,
            Blame::Client => Self::ClientSideError,
            Blame::External => Self::ExternalServiceError,
        }
    }
}

impl fmt::Display for SyncStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a secret one remote entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Granularity {
    /// `secret-path`: the whole secret as one JSON object.
    SecretPath,
    /// `secret-key`: one remote entry per top-level key.
    SecretKey,
}

impl Granularity {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecretPath => "secret-path",
            Self::SecretKey => "secret-key",
        }
    }

    /// Reads the word of the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SecretPath, Self::SecretKey].into_iter().find(|g| g.as_str() == text)
    }
}
