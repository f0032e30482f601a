//! Vault's times by mount, whose names hold the mount's: `vault.route.read.secret-`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
};

use super::{catalogue, timing::Timing, words::OTHER};
use crate::app::Operation;

/// As the catalogue has it.
pub(super) const NAME: &str = "vault.route.<operation>.<mount>";

/// Mounts with names of their own.
const MOUNTS: usize = 100;

/// In the order of [`slot`].
const OPERATIONS: [&str; 5] = ["read", "update", "patch", "delete", "list"];

fn slot(operation: Operation) -> usize {
    match operation {
        Operation::Read => 0,
        Operation::Write => 1,
        Operation::Patch => 2,
        Operation::Delete => 3,
        Operation::List | Operation::Scan => 4,
    }
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By path, for whoever counts. Replaced as a whole when there is a new mount.
    mounts: ArcSwap<HashMap<Box<str>, Arc<Mount>>>,
    adding: Mutex<()>,
}

struct Mount {
    /// As it is printed.
    name: String,
    times: [Timing; OPERATIONS.len()],
}

impl Routes {
    pub(super) fn observe(&self, operation: Operation, mount: &str, took: Duration) {
        let mounts = self.0.mounts.load();
        let timing = |mount: &Mount| mount.times[slot(operation)].observe(took);
        match mounts.get(mount) {
            Some(mount) => timing(mount),
            None => timing(&self.add(mount)),
        }
    }

    fn add(&self, path: &str) -> Arc<Mount> {
        let _turn = self.0.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mounts = HashMap::clone(&self.0.mounts.load());
        let (path, name) =
            if mounts.len() < MOUNTS { (path, printed(path)) } else { (OTHER, OTHER.to_owned()) };
        if let Some(mount) = mounts.get(path) {
            return Arc::clone(mount);
        }
        // Paths that are printed alike are counted together.
        let same = mounts.values().find(|mount| mount.name == name).map(Arc::clone);
        let mount = same
            .unwrap_or_else(|| Arc::new(Mount { name, times: std::array::from_fn(|_| Timing::vaults()) }));
        mounts.insert(path.into(), Arc::clone(&mount));
        self.0.mounts.store(Arc::new(mounts));
        mount
    }
}

/// A path as a part of a metric's name.
fn printed(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}

impl Collector for Routes {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let mounts = self.0.mounts.load();
        let mut mounts: Vec<&Mount> = mounts.values().map(Arc::as_ref).collect();
        mounts.sort_by(|a, b| a.name.cmp(&b.name));
        mounts.dedup_by(|a, b| a.name == b.name);
        for mount in mounts {
            for (operation, timing) in OPERATIONS.iter().zip(&mount.times).filter(|(_, t)| t.is_used()) {
                let name = format!("vault_route_{operation}_{}", mount.name);
                timing.encode(to.encode_descriptor(
                    &name,
                    catalogue::help(NAME),
                    None,
                    timing.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_beyond_the_room_are_counted_as_one_and_alike_ones_together() {
        let routes = Routes::default();
        for n in 0..MOUNTS + 20 {
            routes.observe(Operation::Read, &format!("m{n}/"), Duration::from_millis(1));
        }
        let mounts = routes.0.mounts.load();
        assert_eq!((mounts.len(), mounts[OTHER].times[0].count()), (MOUNTS + 1, 20));
        let routes = Routes::default();
        routes.observe(Operation::List, "a-b/", Duration::ZERO);
        routes.observe(Operation::Scan, "a/b/", Duration::ZERO);
        assert_eq!(routes.0.mounts.load()["a-b/"].times[4].count(), 2);
    }
}
