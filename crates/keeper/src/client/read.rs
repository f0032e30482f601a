//! Fetching records and folders.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Client, answer,
    folders::Folders,
    transport::{Repeat, payload},
};
use crate::{
    Error,
    notation::{Evaluation, FailureKind, Notation, evaluate},
    records::{Scope, Vault},
};

/// Answers larger than this are opened on threads of their own.
const LARGE_ANSWER: usize = 256 << 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetSecret<'a> {
    pub(super) client_version: &'a str,
    pub(super) client_id: &'a str,
    /// Told once, while binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested_records: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_links: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetFolders<'a> {
    client_version: &'a str,
    client_id: &'a str,
}

impl Client {
    /// Fetches what is shared with the application: everything, or certain records.
    pub async fn fetch(&self, scope: Scope) -> Result<Vault, Error> {
        self.get_secret(scope, false).await
    }

    /// The same, with the links between records (`secret get` shows them).
    pub async fn fetch_with_links(&self, scope: Scope) -> Result<Vault, Error> {
        self.get_secret(scope, true).await
    }

    /// Fetches what the given notations need: certain records when all are named by UID, else
    /// everything. Where the small answer does not settle every notation (a UID that is not there, a
    /// title that looks like one, a reference to a further record), everything is fetched after all,
    /// once.
    pub async fn fetch_for<'n>(
        &self,
        notations: impl IntoIterator<Item = &'n Notation>,
    ) -> Result<Vault, Error> {
        self.fetch_for_and(notations, None).await
    }

    /// The same, and a further record by its UID in the same call.
    pub async fn fetch_for_and<'n>(
        &self,
        notations: impl IntoIterator<Item = &'n Notation>,
        also: Option<&str>,
    ) -> Result<Vault, Error> {
        let notations: Vec<&Notation> = notations.into_iter().collect();
        if notations.is_empty() || !notations.iter().all(|n| n.names_uid()) {
            return self.fetch(Scope::All).await;
        }
        let uids = notations.iter().map(|n| n.record.as_str()).chain(also);
        let mut uids: Vec<String> = uids.map(str::to_owned).collect();
        uids.sort_unstable();
        uids.dedup();
        let vault = self.fetch(Scope::Only(uids)).await?;
        let unsettled = |notation: &&Notation| match evaluate(notation, &vault) {
            Evaluation::Failed(failure) => {
                matches!(failure.kind, FailureKind::NotFetched | FailureKind::UnreadableLink)
            }
            Evaluation::Value(..) | Evaluation::Empty | Evaluation::NotShared => false,
        };
        if notations.iter().any(unsettled) { self.fetch(Scope::All).await } else { Ok(vault) }
    }

    async fn get_secret(&self, scope: Scope, links: bool) -> Result<Vault, Error> {
        let request = GetSecret {
            client_version: &self.transport.options.client_version,
            client_id: &self.config.client_id,
            public_key: None,
            requested_records: match &scope {
                Scope::All => None,
                Scope::Only(uids) => Some(uids),
            },
            request_links: links.then_some(true),
        };
        // Opened to be sealed for Keeper.
        let payload = payload(&request)?;
        let (answer, kept) = self.transport.post_or_recall("get_secret", payload.expose()).await?;
        let app_key = self.config.app_key.clone();
        let mut vault = apart(answer, move |answer| answer::vault(answer, &app_key, scope)).await?;
        // What was kept may be the answer to another question, and old: nothing is absent from it.
        vault.listed &= !kept;
        Ok(vault)
    }

    /// Fetches the folders that are shared with the application, and those below them.
    pub async fn folders(&self) -> Result<Folders, Error> {
        let request = GetFolders {
            client_version: &self.transport.options.client_version,
            client_id: &self.config.client_id,
        };
        // Opened to be sealed for Keeper.
        let answer = self.transport.post("get_folders", payload(&request)?.expose(), Repeat::Safe).await?;
        Folders::read(&answer, &self.config.app_key)
    }
}

/// Opens an answer, off the runtime's threads where it is large.
async fn apart<T: Send + 'static>(
    answer: Zeroizing<Vec<u8>>,
    open: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if answer.len() < LARGE_ANSWER {
        return open(&answer);
    }
    // The work is pure, so it fails only when the runtime is being shut down.
    tokio::task::spawn_blocking(move || open(&answer))
        .await
        .unwrap_or(Err(Error::Answer("could not be read: the program is ending")))
}
