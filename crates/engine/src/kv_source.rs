use std::sync::Arc;

use async_trait::async_trait;
use model::{Clock, MountAccessor, SecretPath};
use store::{
    Cached, Store, StoreError,
    kv::{self, LatestDeleted},
    records::MountTable,
};

use crate::source::{Children, Source, SourceState, SourceVersion};

/// The KV v2 engine's secrets, read straight from the store.
pub struct KvSource {
    store: Store,
    mounts: Cached<MountTable>,
    clock: Arc<dyn Clock>,
}

impl KvSource {
    /// Reads from this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, mounts: Cached::default(), clock }
    }
}

fn fallback(previous: bool) -> LatestDeleted {
    if previous { LatestDeleted::Previous } else { LatestDeleted::Absent }
}

#[async_trait]
impl Source for KvSource {
    async fn read(&self, mount: &MountAccessor, path: &SecretPath, previous: bool) -> SourceState {
        match kv::read_current(&self.store, &self.mounts, mount, path, fallback(previous), self.clock.now())
            .await
        {
            Ok(kv::SourceState::Present { version, data, next_expiry }) => {
                SourceState::Present { version, data, expires: next_expiry }
            }
            Ok(kv::SourceState::Absent) => SourceState::Absent,
            Ok(kv::SourceState::MountGone) => SourceState::MountGone,
            Err(StoreError::Conflict) => {
                SourceState::Unknown { message: "the secret changes faster than it can be read".into() }
            }
            Err(error) => SourceState::Unknown { message: format!("the secret could not be read: {error}") },
        }
    }

    async fn version(&self, mount: &MountAccessor, path: &SecretPath, previous: bool) -> SourceVersion {
        match self.read(mount, path, previous).await {
            SourceState::Present { version, .. } => SourceVersion::Live(version),
            SourceState::Absent => SourceVersion::Absent,
            SourceState::MountGone => SourceVersion::MountGone,
            SourceState::Unknown { .. } => SourceVersion::Unknown,
        }
    }

    async fn children(
        &self,
        mount: &MountAccessor,
        folder: &[String],
    ) -> Result<Option<Children>, StoreError> {
        let keys = self.store.keys();
        let root = keys.mount(mount);
        let place = folder.iter().fold(root, |parent, segment| keys.segment(parent, segment));
        let secrets = self.store.scan_all(&keys.secrets_in(place)).await?;
        let folders = self.store.scan_all(&keys.folders_in(place)).await?;
        // Only after the data, as a read does it: a mount leaves the table before its data goes.
        let table = self.store.get_cached(&keys.mounts(), &self.mounts).await?;
        let mounted = table.is_some_and(|table| table.record.mounts.iter().any(|m| m.accessor == *mount));
        Ok(mounted.then(|| Children {
            secrets: secrets.into_iter().map(|(_, meta)| meta.record.name).collect(),
            folders: folders.into_iter().map(|(_, folder)| folder.record.name).collect(),
        }))
    }
}
