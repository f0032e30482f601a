//! Looking at many secrets at once.

use std::collections::{BTreeMap, BTreeSet};

use model::RemoteName;

use super::{
    adapter::GcpSm,
    api::Operation,
    labels::{KEYFERRY, MANAGED},
    wire::{Secret, SecretPage},
};

/// From so many names on, listing is cheaper than asking for each.
pub(super) const WORTH_LISTING: usize = 5;

/// How many secrets of a bulk look are asked for at the same time.
pub(super) const LOOKS_AT_ONCE: usize = 8;

impl GcpSm {
    /// What a list says of these names, as far as it can be had cheaply. The caller asks for everything
    /// that is missing by its name, so neither a failure nor an early end matters here.
    pub(super) async fn list(&self, names: &[RemoteName]) -> BTreeMap<String, Secret> {
        let wanted: BTreeSet<&str> = names.iter().map(RemoteName::as_str).collect();
        let filter = format!("labels.{MANAGED}={KEYFERRY}");
        // Pages beyond this cost more than asking for the rest. A page stays well below the largest answer
        // that is read.
        let most_pages = 1 + wanted.len() / 2;
        let mut found = BTreeMap::new();
        let mut next = String::new();
        for _ in 0..most_pages {
            let mut query = vec![("filter", filter.as_str()), ("pageSize", "1000")];
            if !next.is_empty() {
                query.push(("pageToken", next.as_str()));
            }
            let Ok(page) = self.ask::<SecretPage>(Operation::List, "secrets", &query).await else { break };
            for secret in page.secrets {
                if wanted.contains(secret.id()) {
                    found.insert(secret.id().to_owned(), secret);
                }
            }
            next = page.next_page_token;
            if next.is_empty() || found.len() == wanted.len() {
                break;
            }
        }
        found
    }
}
