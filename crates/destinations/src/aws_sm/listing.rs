//! Looking at many secrets at once.

use std::collections::{BTreeMap, BTreeSet};

use model::RemoteName;

use super::{
    adapter::AwsSm,
    api::Operation,
    faults::Refusal,
    tags,
    wire::{Filter, ListSecrets, Metadata, SecretPage},
};
use crate::Fault;

/// From so many names on, listing is cheaper than asking for each.
pub(super) const WORTH_LISTING: usize = 5;

/// So many values a filter takes (destinations.md 1.3).
const FILTER_VALUES: usize = 10;

impl AwsSm {
    /// What a list says of these names, as far as it can be had cheaply. The caller asks for everything
    /// that is missing by its name, so an early end does not matter here, nor a failure that is the
    /// list's own.
    ///
    /// # Errors
    /// A failure that every call would meet.
    pub(super) async fn list(&self, names: &[RemoteName]) -> Result<BTreeMap<String, Metadata>, Fault> {
        let wanted: BTreeSet<&str> = names.iter().map(RemoteName::as_str).collect();
        let by_name: Vec<&str> = wanted.iter().copied().collect();
        let filter = if wanted.len() <= FILTER_VALUES {
            Filter { key: "name", values: &by_name }
        } else {
            Filter { key: "tag-key", values: &[tags::STORE] }
        };
        // Pages beyond this cost more than asking for the rest.
        let most_pages = 10 + wanted.len() / 10;
        let mut found = BTreeMap::new();
        let mut next: Option<String> = None;
        for _ in 0..most_pages {
            let api = self.api().await?;
            let request = ListSecrets {
                filters: [filter],
                include_planned_deletion: true,
                max_results: 100,
                next_token: next.as_deref(),
            };
            let page = match api.call::<SecretPage>(Operation::List, &request).await {
                Ok(page) => page,
                Err(Refusal::Fault(fault)) if is_everybodys(&fault) => {
                    return Err(fault);
                }
                Err(_) => break,
            };
            for secret in page.secret_list {
                if let Some(name) = secret.name.clone().filter(|name| wanted.contains(name.as_str())) {
                    found.insert(name, secret);
                }
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() || found.len() == wanted.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether other calls would fail as this one did.
fn is_everybodys(fault: &Fault) -> bool {
    let refused = ["credentials_rejected", "credentials_expired", "not_subscribed", "clock_skew"];
    let unreached = [
        "network_blocked",
        "bad_address",
        "host_not_found",
        "dns_failed",
        "connect_timeout",
        "connect_failed",
        "tls_certificate",
        "tls_failed",
    ];
    refused.contains(&fault.code) || unreached.contains(&fault.code)
}
