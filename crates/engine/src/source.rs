//! The other seam: where secrets come from.

use async_trait::async_trait;
use model::{MountAccessor, SecretBytes, SecretPath, Timestamp, Version};
use store::StoreError;

/// A source of secrets that can be associated with destinations.
#[async_trait]
pub trait Source: Send + Sync {
    /// What is there now. `previous` asks for the newest live version when the newest is deleted
    /// (decisions 12a).
    async fn read(&self, mount: &MountAccessor, path: &SecretPath, previous: bool) -> SourceState;

    /// The version a read would give, without the value; `None` when it is proven gone or unknown.
    /// For the sweep, which asks for every association.
    async fn version(&self, mount: &MountAccessor, path: &SecretPath, previous: bool) -> SourceVersion;

    /// What is directly in a folder, named by its segments: none is the mount itself. `None`: the mount
    /// is not there any more.
    async fn children(
        &self,
        mount: &MountAccessor,
        folder: &[String],
    ) -> Result<Option<Children>, StoreError>;
}

/// What is directly in a folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Children {
    /// Secrets, deleted ones among them.
    pub secrets: Vec<String>,
    /// Folders.
    pub folders: Vec<String>,
}

/// What a source answers. Unknown is never absent (decisions 8).
#[derive(Debug)]
pub enum SourceState {
    /// There it is.
    Present {
        /// Its version.
        version: Version,
        /// Its `data` object as canonical JSON.
        data: SecretBytes,
        /// When this version will stop being live, if it will.
        expires: Option<Timestamp>,
    },
    /// It is proven gone: deleted, destroyed, or its key removed.
    Absent,
    /// The mount is not there any more.
    MountGone,
    /// It could not be read.
    Unknown {
        /// In our words.
        message: String,
    },
}

/// The same without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceVersion {
    /// Live, with this version.
    Live(Version),
    /// Proven gone.
    Absent,
    /// The mount is not there any more.
    MountGone,
    /// Not to be told now.
    Unknown,
}
