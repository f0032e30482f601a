use std::collections::BTreeMap;

use model::{MountAccessor, MountPath, StoreId, Timestamp};
use serde::{Deserialize, Serialize};

use super::record;

/// What a store says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHeader {
    /// Part of the ownership mark at destinations.
    pub id: StoreId,
    /// Turns when a backup is restored or a store is cloned (decisions 6a).
    pub epoch: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Shown by `sys/health` and `sys/leader`.
    pub cluster_id: String,
}

/// That the store was restored from a snapshot, the last time it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When.
    pub at: Timestamp,
    /// When the snapshot was made, RFC 3339, as it says itself.
    pub saved: String,
    /// The store's epoch since. A process that works under another one has not noticed yet.
    pub epoch: u32,
    /// When a person said that destinations may be written to again.
    pub confirmed: Option<Timestamp>,
}

/// All mounts. One record, so that routing sees all of it or none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct MountTable {
    /// In no order.
    pub mounts: Vec<Mount>,
    /// Mounts that were disabled and whose data is still being erased.
    pub erasing: Vec<MountAccessor>,
}

/// One secrets engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it answers.
    pub path: MountPath,
    /// Its stable identity.
    pub accessor: MountAccessor,
    /// A UUID, as Vault shows.
    pub uuid: String,
    /// `kv`.
    pub mount_type: String,
    /// Free text.
    pub description: String,
    /// `version` → `2`, and whatever else was given.
    pub options: BTreeMap<String, String>,
    /// Lease and listing settings.
    pub config: MountConfig,
    /// The KV v2 engine's own settings (`M/config`).
    pub kv: KvConfig,
}

/// A mount's `config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct MountConfig {
    /// Seconds; 0 = the system's.
    pub default_lease_ttl: u64,
    /// Seconds; 0 = the system's.
    pub max_lease_ttl: u64,
    /// Kept and shown; KV does not cache.
    pub force_no_cache: bool,
    /// `unauth`, `hidden` or empty.
    pub listing_visibility: String,
    /// Keys of request data that audit devices leave in clear.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Keys of response data that audit devices leave in clear.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Kept and shown.
    pub passthrough_request_headers: Vec<String>,
    /// Kept and shown.
    pub allowed_response_headers: Vec<String>,
}

/// The settings of a KV v2 mount (kv-v2-api.md 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct KvConfig {
    /// 0 = unset.
    pub max_versions: u64,
    /// Every write must give `cas`.
    pub cas_required: bool,
    /// Nanoseconds; 0 = unset, negative = off for all keys.
    pub delete_version_after: i64,
}

record!(StoreHeader, 0x01, 1);
record!(MountTable, 0x02, 1);
record!(Restored, 0x06, 1);
