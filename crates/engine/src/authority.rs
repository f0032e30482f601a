//! The third seam: whether whoever associated a secret may still read it. Watched only where somebody
//! says so ([`Engine::authorise_by`]); an association that has lost its right is left as it is, at the
//! destination too, until the right is back or somebody else sets it.

use std::sync::Arc;

use async_trait::async_trait;
use destinations::Fault;
use model::{MountAccessor, SecretPath};
use store::{
    Keys, StoreError,
    records::{Association, Cause, Grantor, Outbox, Outcome},
};

use crate::{Engine, engine::Inner, lanes::Urgency};

/// `error_code` of an association that has lost its right.
pub const PERMISSION_LOST: &str = "source_permission_lost";

/// Knows who may read what.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Whether somebody may read a secret. `mount` is the path the mount had when the secret was
    /// associated; its accessor tells where it is now.
    async fn may_read(
        &self,
        grantor: &Grantor,
        accessor: &MountAccessor,
        mount: &str,
        path: &SecretPath,
    ) -> Permission;
}

/// What an [`Authority`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// They may.
    Granted,
    /// They may not any more.
    Lost,
    /// Not to be told now.
    Unknown {
        /// In our words.
        message: String,
    },
}

impl Engine {
    /// Watches associations by this authority from now on. To be said before [`Engine::start`], once.
    pub fn authorise_by(&self, authority: Arc<dyn Authority>) {
        // Said twice, the first holds.
        let _ = self.0.authority.set(authority);
    }

    /// Somebody may do less or more than before: associations are looked at again soon.
    pub fn rights_changed(&self) {
        if self.0.authority.get().is_some() {
            self.0.rights.notify_one();
        }
    }
}

impl Inner {
    /// Why an association may not be worked on, if it may not.
    pub(crate) async fn permission_fault(&self, association: &Association) -> Option<Fault> {
        match self.permission(association).await {
            Permission::Granted => None,
            Permission::Lost => Some(Fault::client(
                PERMISSION_LOST,
                "whoever associated this secret may not read it any more; the remote entry is left as it is until \
                 they may again, or until somebody who may sets the association anew",
            )),
            Permission::Unknown { message } => Some(Fault::internal("source_permission_unknown", message)),
        }
    }

    async fn permission(&self, association: &Association) -> Permission {
        let Some(authority) = self.authority.get() else { return Permission::Granted };
        let grantors = match self.grantors(association).await {
            Ok(grantors) => grantors,
            Err(error) => {
                let message = format!("whether it may still be read cannot be told: {error}");
                return Permission::Unknown { message };
            }
        };
        // One who may is enough; where nobody is known, nobody can have lost anything.
        let mut worst = Permission::Granted;
        for grantor in grantors {
            let Association { accessor, mount, path, .. } = association;
            match authority.may_read(&grantor, accessor, mount, path).await {
                Permission::Granted => return Permission::Granted,
                Permission::Lost if matches!(worst, Permission::Unknown { .. }) => {}
                other => worst = other,
            }
        }
        worst
    }

    /// Whoever associated just this secret, and whoever made the rules it is due to.
    async fn grantors(&self, association: &Association) -> Result<Vec<Grantor>, StoreError> {
        let mut grantors = Vec::new();
        if association.single {
            match &association.grantor {
                Some(grantor) => grantors.push(grantor.clone()),
                None => return Ok(grantors),
            }
        }
        let rules = self.book.of(&self.store, &association.accessor).await?;
        for rule in rules.about(&association.path).into_iter().filter(|r| r.key == association.destination) {
            match &rule.grantor {
                Some(grantor) => grantors.push(grantor.clone()),
                None => return Ok(Vec::new()),
            }
        }
        Ok(grantors)
    }

    /// Whether an association is held back though it need not be, or not held back though it should be.
    pub(crate) async fn permission_differs(&self, association: &Association) -> bool {
        match self.permission(association).await {
            Permission::Granted => is_held_back(association),
            Permission::Lost => !is_held_back(association),
            Permission::Unknown { .. } => false,
        }
    }

    /// Puts every association in line whose right was lost or came back.
    pub(crate) async fn reauthorise(self: &Arc<Self>) -> Result<(), StoreError> {
        for (key, association) in self.store.scan_all(&self.store.keys().associations()).await? {
            let Some((id, source)) = Keys::parts_of_association(key.as_bytes()) else { continue };
            if association.record.removing || !self.permission_differs(&association.record).await {
                continue;
            }
            let row_key = self.store.keys().outbox(id, source);
            let mut transaction = self.store.transaction();
            let row = Outbox { at: self.clock.now(), due: None, cause: Cause::Sweep };
            transaction.expect_absent(&row_key).put(&row_key, &row);
            match transaction.commit().await {
                Ok(_) => self.offer(id, source, Urgency::Edit),
                // It is looked at anyway.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the last look at an association found its right lost.
pub(crate) fn is_held_back(association: &Association) -> bool {
    matches!(&association.outcome, Outcome::Failed(failure) if failure.code == PERMISSION_LOST)
}
