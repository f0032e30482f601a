//! Whether whoever associated a secret may still read it.

use async_trait::async_trait;
use engine::{Authority, Permission};
use model::{MountAccessor, SecretPath};
use store::{
    Cached, Store,
    records::{Grantor, MountTable},
};

use crate::app::{
    AppError, Capability, identity,
    policy::{Acls, Given},
};

/// Decides by the policies as they are now of whoever made the association, whose token may be long gone:
/// what counts is what a token of theirs could do.
pub struct SourceRights {
    store: Store,
    acls: Acls,
    mounts: Cached<MountTable>,
}

impl SourceRights {
    /// Reads from this store.
    pub fn new(store: Store) -> Self {
        Self { acls: Acls::new(store.clone()), store, mounts: Cached::default() }
    }

    async fn decide(
        &self,
        grantor: &Grantor,
        accessor: &MountAccessor,
        mount: &str,
        path: &SecretPath,
    ) -> Result<bool, AppError> {
        let mut policies = grantor.policies.clone();
        let entity = match &grantor.entity {
            None => None,
            Some(id) => match identity::entity(&self.store, id).await? {
                Some(entity) if !entity.value.disabled => Some(entity),
                _ => return Ok(false),
            },
        };
        if let Some(entity) = &entity {
            policies.extend(entity.value.policies.iter().cloned());
            policies.sort();
            policies.dedup();
        }
        let acl = self.acls.acl(&policies, entity.as_ref()).await?;
        let table = self.store.get_cached(&self.store.keys().mounts(), &self.mounts).await?;
        let now_at = table.as_ref().and_then(|table| {
            table
                .record
                .mounts
                .iter()
                .find(|mount| mount.accessor == *accessor)
                .map(|mount| mount.path.bare())
        });
        // A mount that is gone has a word of its own; reading the source tells it.
        let mount = now_at.unwrap_or(mount);
        Ok(acl.check(Capability::Read, &format!("{mount}/data/{path}"), &Given::default()).is_ok())
    }
}

#[async_trait]
impl Authority for SourceRights {
    async fn may_read(
        &self,
        grantor: &Grantor,
        accessor: &MountAccessor,
        mount: &str,
        path: &SecretPath,
    ) -> Permission {
        match self.decide(grantor, accessor, mount, path).await {
            Ok(true) => Permission::Granted,
            Ok(false) => Permission::Lost,
            Err(error) => Permission::Unknown {
                message: format!("whether it may still be read cannot be told: {error}"),
            },
        }
    }
}
