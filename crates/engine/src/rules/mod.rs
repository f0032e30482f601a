//! Bulk association: a rule associates every secret of a mount whose path matches with a destination,
//! those there are and those to come.
//!
//! The rules of a mount are one record. Whoever writes a secret reads it, adds the associations that the
//! rules ask for to the same transaction ([`announce`]), and expects the record unchanged: a secret that
//! is new cannot miss a rule that is new. Secrets that were there before are found by walking the mount,
//! in the background and again after a crash (`cover`), until what is associated is what the rules have.
//!
//! Which rule an association is due to is not recorded but worked out, so it cannot be wrong. What is
//! recorded is whether a person associated just this secret: such an association stays when rules go.
//! An association that is due to rules alone exists while its secret is live or something of it is left
//! at the destination.

mod book;
mod cover;
mod manage;
mod pattern;
#[cfg(test)]
mod tests;

use model::{AssociationId, DestinationId, DestinationKey, MountAccessor, SecretPath, Timestamp, Version};
use store::{
    Keys, Node, Store, StoreError, Transaction,
    records::{Association, Cause, Links, Outbox, Outcome},
};

pub use book::{MountRules, RuleBook};
pub(crate) use cover::Covering;
pub use manage::{RuleRef, RuleView};
pub use pattern::{InvalidPattern, Pattern};

/// A secret that a transaction changes.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    /// Its mount.
    pub accessor: &'a MountAccessor,
    /// Its mount's path, without trailing slash.
    pub mount: &'a str,
    /// Its path; `None` when it is only taken away, so that no rule can ask for it.
    pub path: Option<&'a SecretPath>,
    /// Its place.
    pub source: Node,
    /// Now.
    pub now: Timestamp,
}

/// Asks for a look at every association of a secret, in the transaction that gives it something to see,
/// and makes those that rules ask for. Links and rules are expected unchanged, so an association or a
/// rule made meanwhile is not missed. The destinations are to be named to
/// [`crate::Engine::pending`] once the transaction is committed.
pub async fn announce(
    store: &Store,
    book: &RuleBook,
    changed: &Changed<'_>,
    transaction: &mut Transaction,
) -> Result<Vec<DestinationId>, StoreError> {
    let keys = store.keys();
    let Changed { source, now, .. } = *changed;
    let links_key = keys.links(source);
    let links = store.get(&links_key).await?;
    transaction.expect(&links_key, links.as_ref().map(|links| links.revision));
    let mut destinations = links.map(|links| links.record.destinations).unwrap_or_default();
    let linked = destinations.len();
    if let Some(path) = changed.path {
        let rules = book.of(store, changed.accessor).await?;
        transaction.expect(&keys.rules(keys.mount(changed.accessor)), rules.revision);
        for rule in rules.about(path) {
            if destinations.contains(&rule.destination) {
                continue;
            }
            let destination_key = keys.destination(&rule.key);
            let there = store.get(&destination_key).await?;
            if there.is_none_or(|there| there.record.id != rule.destination) {
                // It is being taken away, and the rule with it. No write fails for that.
                continue;
            }
            let association = Association {
                mount: changed.mount.to_owned(),
                ..new_association(keys, &rule.key, changed.accessor, path, source, now)
            };
            let key = keys.association(rule.destination, source);
            transaction.expect_present(&destination_key);
            transaction.expect_absent(&key).put(&key, &association);
            destinations.push(rule.destination);
        }
    }
    for destination in &destinations {
        let row = Outbox { at: now, due: None, cause: Cause::Source };
        transaction.put(&keys.outbox(*destination, source), &row);
    }
    if destinations.len() > linked {
        transaction.put(&links_key, &Links { destinations: destinations.clone() });
    }
    Ok(destinations)
}

/// An association of which nothing is known yet, due to rules.
pub(crate) fn new_association(
    keys: &Keys,
    destination: &DestinationKey,
    accessor: &MountAccessor,
    path: &SecretPath,
    source: Node,
    now: Timestamp,
) -> Association {
    let parts = [destination.kind.as_bytes(), destination.name.as_str().as_bytes(), source.0.as_slice()];
    let digest = keys.digest("association", &parts);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Association {
        // The same secret and destination name give the same id again, so that an association made
        // anew knows what an earlier one left behind.
        id: AssociationId::from_bytes(id),
        destination: destination.clone(),
        accessor: accessor.clone(),
        mount: String::new(),
        path: path.clone(),
        created: now,
        removing: false,
        version: Version(0),
        generation: 0,
        attempts: 0,
        turn: 0,
        outcome: Outcome::New,
        outcome_at: now,
        entries: Vec::new(),
        single: false,
        grantor: None,
    }
}
