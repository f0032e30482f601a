use std::{collections::BTreeMap, fmt};

use model::{Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::record;
use crate::wipe::wipe;

/// A folder's entry in its parent. It exists exactly while something is below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Its name: one segment.
    pub name: String,
}

/// What is known of a secret beside its values (kv-v2-api.md 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMeta {
    /// Its name: the last segment.
    pub name: String,
    /// The newest version; 0 when there is none yet.
    pub current: Version,
    /// The oldest version kept; 0 until the limit is reached.
    pub oldest: Version,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
    /// 0 = unset.
    pub max_versions: u64,
    /// Every write must give `cas`.
    pub cas_required: bool,
    /// Nanoseconds; 0 = unset.
    pub delete_version_after: i64,
    /// The user's own notes. `None` prints as null.
    pub custom_metadata: Option<BTreeMap<String, String>>,
    /// By version number.
    pub versions: BTreeMap<Version, VersionMeta>,
}

/// What is known of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionMeta {
    /// When it was written.
    pub created: Timestamp,
    /// When it was or will be deleted.
    pub deletion: Option<Timestamp>,
    /// Its value is gone for good.
    pub destroyed: bool,
}

impl VersionMeta {
    /// Whether the value can be read at `now`.
    pub fn live(&self, now: Timestamp) -> bool {
        !self.destroyed && self.deletion.is_none_or(|at| at > now)
    }
}

/// One version's value: the `data` object as canonical JSON text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Compact JSON with sorted keys. Wiped on drop.
    #[serde(with = "super::run")]
    pub data: Vec<u8>,
}

impl Drop for SecretVersion {
    fn drop(&mut self) {
        wipe(&mut self.data);
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVersion({} bytes)", self.data.len())
    }
}

record!(SecretMeta, 0x10, 1);
record!(Folder, 0x11, 1);
record!(SecretVersion, 0x12, 1);
