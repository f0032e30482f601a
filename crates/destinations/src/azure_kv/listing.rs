//! Finding the newest version of a secret without reading a value.

use model::RemoteName;

use super::{
    adapter::AzureKv,
    api::{Operation, place},
    faults::Refusal,
    wire::{Entry, Page},
};
use crate::Fault;

/// A secret's versions come in no order of time, 25 to a page, so all of them have to be read. Beyond so
/// many pages the list of all secrets, which shows the current versions, may be shorter.
const MAX_VERSION_PAGES: usize = 20;

/// No list of secrets is read further.
const MAX_SECRET_PAGES: usize = 400;

impl AzureKv {
    /// The newest version under a name, if there is one. A deleted secret has none.
    pub(super) async fn newest(&self, name: &RemoteName) -> Result<Option<Entry>, Refusal> {
        let written_last = self.memory.last_version(name.as_str());
        let api = self.api().await;
        let mut page: Page =
            match api.call(Operation::Versions, &place("secrets", name, "/versions")?, None::<&()>).await {
                Err(Refusal::NotFound) => return Ok(None),
                page => page?,
            };
        let mut newest: Option<Entry> = None;
        for _ in 0..MAX_VERSION_PAGES {
            for entry in page.value {
                let age = |entry: &Entry| entry.age(written_last.as_deref());
                if newest.as_ref().is_none_or(|newest| age(&entry) > age(newest)) {
                    newest = Some(entry);
                }
            }
            match page.next_link.filter(|link| !link.is_empty()) {
                None => return Ok(newest),
                Some(link) => page = api.next(Operation::Versions, &link).await?,
            }
        }
        self.current(name).await
    }

    /// The same from the list of all secrets.
    async fn current(&self, name: &RemoteName) -> Result<Option<Entry>, Refusal> {
        let api = self.api().await;
        let mut page: Page = api.call(Operation::List, "/secrets", None::<&()>).await?;
        for _ in 0..MAX_SECRET_PAGES {
            let found = page.value.into_iter().find(|entry| entry.name().eq_ignore_ascii_case(name.as_str()));
            if found.is_some() {
                return Ok(found);
            }
            match page.next_link.filter(|link| !link.is_empty()) {
                None => break,
                Some(link) => page = api.next(Operation::List, &link).await?,
            }
        }
        Err(Refusal::Fault(Fault::client(
            "too_many_versions",
            "the secret has so many versions that its newest cannot be told; remove and purge it, or leave \
             ownership_check at identity",
        )))
    }
}
