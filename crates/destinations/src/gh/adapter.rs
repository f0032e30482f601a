//! One GitHub destination (destinations.md 4).
//!
//! What a change costs: one PUT, which creates or updates. Values cannot be read back and nothing can be
//! marked: whose a secret is, the caller's ledger says. Whether a name is free is told by a list that serves
//! many first writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use model::RemoteName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    MAX_VALUE_BYTES,
    api::Api,
    faults::{self, Refusal},
    inventory::{Inventory, Standing, json},
    place,
    seal::TargetKey,
};
use crate::{Destination, Encoding, Expect, Fault, Present, Put, PutOutcome, Receipt, Remote, Remove, Retry};

/// How long the number of a repository is remembered.
const REPOSITORY_GOOD_FOR: Duration = Duration::from_secs(3600);

/// Who may use an organization's secrets.
#[derive(Debug, Clone)]
pub(super) enum Audience {
    All,
    Private,
    /// These repositories of the organization.
    Selected(Vec<String>),
}

pub(super) struct Gh {
    pub(super) api: Api,
    /// Of an organization's secrets.
    pub(super) audience: Option<Audience>,
    inventory: Inventory,
    /// Names whose last write or removal met a conflict.
    conflicts: Mutex<BTreeSet<String>>,
    /// Numbers of selected repositories.
    repositories: Mutex<BTreeMap<String, (u64, Instant)>>,
}

/// The body of a write.
#[derive(Serialize)]
struct Body<'a> {
    encrypted_value: &'a str,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_repository_ids: Option<&'a [u64]>,
}

impl Gh {
    pub(super) fn new(api: Api, audience: Option<Audience>) -> Self {
        Self {
            api,
            audience,
            inventory: Inventory::default(),
            conflicts: Mutex::default(),
            repositories: Mutex::default(),
        }
    }

    /// Encrypts and writes. A public key that has become stale is fetched anew, once.
    async fn write(&self, name: &str, value: &[u8]) -> Result<StatusCode, Refusal> {
        let selected = self.selected().await?;
        let key = self.inventory.key(&self.api, None).await?;
        match self.send(name, value, &key, selected.as_deref()).await {
            Err(Refusal::Key(fault)) => {
                let fresh = self.inventory.key(&self.api, Some(&key)).await?;
                if fresh.same(&key) {
                    return Err(Refusal::Key(fault));
                }
                self.send(name, value, &fresh, selected.as_deref()).await
            }
            outcome => outcome,
        }
    }

    async fn send(
        &self,
        name: &str,
        value: &[u8],
        key: &TargetKey,
        selected: Option<&[u64]>,
    ) -> Result<StatusCode, Refusal> {
        let sealed = key.seal(value, self.api.wire.net.entropy().as_ref())?;
        let body = Body {
            encrypted_value: &sealed,
            key_id: &key.id,
            visibility: self.audience.as_ref().map(|audience| match audience {
                Audience::All => "all",
                Audience::Private => "private",
                Audience::Selected(_) => "selected",
            }),
            selected_repository_ids: selected,
        };
        let body = serde_json::to_vec(&body)
            .map_err(|_| Fault::internal("request_encoding", "a request cannot be written as JSON"))?;
        let uri = self.api.place.secrets(&[name])?;
        self.api.call(Method::PUT, uri, Some(Bytes::from(body))).await.map(|answer| answer.status)
    }

    /// The numbers of the selected repositories, which is what GitHub wants.
    async fn selected(&self) -> Result<Option<Vec<u64>>, Refusal> {
        let Some(Audience::Selected(names)) = &self.audience else { return Ok(None) };
        let mut ids = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            ids.push(self.repository(at, name).await?);
        }
        Ok(Some(ids))
    }

    async fn repository(&self, at: usize, name: &str) -> Result<u64, Refusal> {
        #[derive(Deserialize)]
        struct Repository {
            id: u64,
        }
        let known = self.repositories().get(name).copied();
        if let Some((id, fetched)) = known
            && fetched.elapsed() < REPOSITORY_GOOD_FOR
        {
            return Ok(id);
        }
        let place::Scope::Organization { name: organization } = &self.api.place.scope else {
            return Err(
                Fault::internal("no_organization", "selected repositories without an organization").into()
            );
        };
        let uri = place::address(&self.api.place.base, &["repos", organization, name], "")?;
        let answer = self.api.call(Method::GET, uri, None).await.map_err(|refusal| match refusal {
            Refusal::NotFound(_) => Refusal::Fault(
                Fault::client(
                    "repository_not_found",
                    format!(
                        "GitHub shows no repository of the organization under the name in \
                         selected_repository_names[{at}] to these credentials"
                    ),
                )
                .retry(Retry::Slowly)
                .status(404),
            ),
            refusal => refusal,
        })?;
        let id = json::<Repository>(&answer)?.id;
        self.repositories().insert(name.to_owned(), (id, Instant::now()));
        Ok(id)
    }

    fn repositories(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (u64, Instant)>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failed write or removal of a name is told as. A conflict is the provider's once; one that
    /// comes back needs someone to look (destinations.md 4.5).
    fn failed(&self, name: &str, refusal: Refusal) -> Fault {
        let mut conflicts = self.conflicts.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Refusal::Conflict(fault) if conflicts.insert(name.to_owned()) => fault,
            Refusal::Conflict(fault) => Fault {
                message: "GitHub goes on refusing this secret because of a conflict; look at it there".into(),
                retry: Retry::Slowly,
                blame: model::Blame::Client,
                ..fault
            },
            refusal => refusal.fault(),
        }
    }

    fn went_through(&self, name: &str) {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether a first write may go ahead: what is in the way, if anything.
    async fn in_the_way(&self, put: &Put<'_>) -> Result<Option<Present>, Fault> {
        match self.inventory.standing(&self.api, put.name.as_str()).await.map_err(Refusal::fault)? {
            Standing::Present(_) if put.expect == Expect::Anything => Ok(None),
            Standing::Present(changed) => Ok(Some(present(changed))),
            Standing::Absent(others) if others >= self.api.place.scope.most() => Err(faults::full()),
            Standing::Absent(_) => Ok(None),
            Standing::CannotTell if put.expect == Expect::Anything => Ok(None),
            Standing::CannotTell => Ok(Some(Present { unreadable: true, ..Present::default() })),
        }
    }
}

fn present(changed: String) -> Present {
    Present { revision: (!changed.is_empty()).then_some(changed), ..Present::default() }
}

#[async_trait]
impl Destination for Gh {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(default)]
            updated_at: String,
        }
        let uri = self.api.place.secrets(&[name.as_str()])?;
        match self.api.call(Method::GET, uri, None).await {
            Ok(answer) => {
                let secret: Secret = json(&answer).map_err(Refusal::fault)?;
                Ok(Remote::Present(present(secret.updated_at)))
            }
            Err(Refusal::NotFound(_)) => match self.inventory.confirm(&self.api).await {
                Ok(()) => Ok(Remote::Absent),
                Err(refusal) => Err(refusal.fault()),
            },
            Err(Refusal::Denied(_)) => Ok(Remote::CannotTell),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let encoded = match put.encoding {
            Encoding::Text => None,
            // Into the box, by way of a copy that wipes itself.
            Encoding::Binary => Some(Zeroizing::new(BASE64_STANDARD.encode(put.value.expose()))),
        };
        // Into the box.
        let value = encoded.as_ref().map_or(put.value.expose(), |encoded| encoded.as_bytes());
        if value.len() > MAX_VALUE_BYTES {
            return Err(Fault::too_large(value.len(), MAX_VALUE_BYTES));
        }
        let name = put.name.as_str();
        let first = !matches!(put.expect, Expect::Ours(_));
        if first && let Some(present) = self.in_the_way(put).await? {
            return Ok(PutOutcome::Taken(present));
        }
        match self.write(name, value).await {
            Ok(status) => {
                if put.expect == Expect::Absent && status == StatusCode::NO_CONTENT {
                    tracing::warn!(
                        "a secret of the same name was made at GitHub at the same moment and has been overwritten"
                    );
                }
                self.went_through(name);
                self.inventory.wrote(name).await;
                Ok(PutOutcome::Written(Receipt::default()))
            }
            Err(refusal) => {
                let fault = self.failed(name, refusal);
                if fault.ambiguous {
                    self.inventory.forget().await;
                }
                Err(fault)
            }
        }
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let name = remove.name.as_str();
        let uri = self.api.place.secrets(&[name])?;
        match self.api.call(Method::DELETE, uri, None).await {
            Ok(_) => {}
            // Already gone, unless it is the repository that is not there, or not there any more for us.
            Err(Refusal::NotFound(_)) => self.inventory.confirm(&self.api).await.map_err(Refusal::fault)?,
            Err(refusal) => {
                let fault = self.failed(name, refusal);
                if fault.ambiguous {
                    self.inventory.forget().await;
                }
                return Err(fault);
            }
        }
        self.went_through(name);
        self.inventory.removed(name).await;
        Ok(())
    }

    /// By the list: one call for any number of names, and for whoever else asks at the same time.
    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        let all = match self.inventory.all(&self.api).await {
            Ok(all) => all,
            Err(refusal) => {
                let fault = refusal.fault();
                return names.iter().map(|_| Err(fault.clone())).collect();
            }
        };
        let seen = |name: &RemoteName| match all.as_ref().map(|all| all.get(name.as_str())) {
            None => Remote::CannotTell,
            Some(None) => Remote::Absent,
            Some(Some(changed)) => Remote::Present(present(changed.clone())),
        };
        names.iter().map(|name| Ok(seen(name))).collect()
    }
}
