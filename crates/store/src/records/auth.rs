use model::{MountAccessor, MountPath};
use serde::{Deserialize, Serialize};

use super::{MountConfig, record};

/// All auth mounts but `token/`, which is always there. One record, so that logins see all of it or none
/// of it, and a token can be told dead the moment its mount is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AuthTable {
    /// In no order.
    pub mounts: Vec<AuthMount>,
    /// Mounts that were disabled and whose entries are still being erased.
    pub erasing: Vec<MountAccessor>,
}

/// One way to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthMount {
    /// Below `auth/`.
    pub path: MountPath,
    /// Its stable identity; aliases and tokens name it.
    pub accessor: MountAccessor,
    /// A UUID, as Vault shows.
    pub uuid: String,
    /// `approle`, `userpass`, `jwt`.
    pub method: String,
    /// Free text.
    pub description: String,
    /// Lease and listing settings.
    pub config: MountConfig,
    /// `default-service`, `default-batch`, `service` or `batch`.
    pub token_type: String,
}

record!(AuthTable, 0x25, 1);
