//! Each server may use as much of a provider account as it has of the destinations that draw on it, so
//! together they keep to what one would keep to.

use std::collections::BTreeMap;

use store::StoreError;

use crate::{engine::Inner, manage::config_of};

impl Inner {
    /// Works out this server's share of every account it uses.
    pub(super) async fn share_out_accounts(&self) -> Result<(), StoreError> {
        let mut counts = BTreeMap::<[u8; 32], (u32, u32)>::new();
        let mut there = std::collections::BTreeSet::new();
        for (_, stored) in self.store.scan_all(&self.store.keys().destinations()).await? {
            let destination = &stored.record;
            there.insert(destination.id);
            let Some(kind) = self.registry.kind(&destination.key.kind) else { continue };
            let mut config = config_of(destination)?;
            self.registry.lay_in_shared(&self.store, kind, &mut config).await?;
            let identity = self.accounts.identity(self.store.keys(), kind, &config, destination.id);
            let Some(identity) = identity else { continue };
            let count = counts.entry(identity).or_default();
            count.0 += u32::from(self.cluster.owns(destination.id));
            count.1 += 1;
        }
        for (identity, (own, all)) in counts {
            self.accounts.set_part(identity, f64::from(own) / f64::from(all));
        }
        let mut lanes = self.lanes();
        for id in lanes.destinations() {
            // Removed by a request to another server.
            if !there.contains(&id) && lanes.known(id).is_some_and(|lane| lane.pending() == 0) {
                lanes.forget(id);
            }
        }
        Ok(())
    }
}
