//! One Google Secret Manager destination (destinations.md 3.1 to 3.7).
//!
//! What a change costs: a new secret is made and then given a version; a changed value is a new version,
//! after which the one before is destroyed. Neither looks first. That an update went to the secret we
//! made is seen afterwards: numbers of versions only rise, and destroying the version we made last, by
//! its number and etag, works in that secret only. What was written into another's is destroyed at once
//! and told (versions.rs).

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use model::RemoteName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{
    MAX_VALUE_BYTES,
    api::{Api, Operation},
    auth::{self, Auth},
    crc,
    faults::Refusal,
    labels,
    listing::{LOOKS_AT_ONCE, WORTH_LISTING},
    place,
    plan::Plan,
    versions::{Revision, Standing},
    wire::{self, CreateSecret, Secret, Version},
};
use crate::{
    Destination, Expect, Fault, Held, Net, Present, Put, PutOutcome, Receipt, Remote, Remove, Retry,
    net::Policy,
};

pub(super) struct GcpSm {
    pub(super) plan: Plan,
    net: Arc<Net>,
    /// Opened with the first call: the project may only be known to the machine.
    api: OnceCell<Api>,
}

impl GcpSm {
    pub(super) fn new(plan: Plan, net: Arc<Net>) -> Self {
        Self { plan, net, api: OnceCell::new() }
    }

    async fn api(&self) -> Result<&Api, Fault> {
        self.api.get_or_try_init(|| Box::pin(self.open())).await
    }

    async fn open(&self) -> Result<Api, Fault> {
        let config = &self.plan.config;
        let endpoint = place::service(config, self.net.environment().as_ref())?;
        let project = match &self.plan.project {
            Some(project) => Some(project.clone()),
            None => auth::servers_project(&self.net).await?,
        };
        let project = project.filter(|project| place::project_problem(project).is_none()).ok_or_else(|| {
            Fault::client(
                "project_missing",
                "no usable project is set; set project_id on the destination, or GOOGLE_CLOUD_PROJECT for the \
                 server",
            )
            .retry(Retry::Slowly)
        })?;
        let destination = self.net.client(&Policy::of(config));
        Ok(Api {
            client: if endpoint.operators {
                self.net.client(&Policy::of_operator())
            } else {
                destination.clone()
            },
            base: endpoint.base,
            project,
            auth: Auth::new(Arc::clone(&self.net), destination, self.plan.own.clone()),
        })
    }

    /// An operation without a body.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Refusal> {
        self.api().await?.call(operation, path, query, None::<&()>).await
    }

    /// An operation with one.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &str,
        query: &[(&str, &str)],
        body: &(impl Serialize + Sync),
    ) -> Result<T, Refusal> {
        self.api().await?.call(operation, path, query, Some(body)).await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Secret, Refusal> {
        self.ask(Operation::Get, &format!("secrets/{name}"), &[]).await
    }
}

/// A put, with its value in the form the wire wants.
pub(super) struct Job<'a> {
    pub(super) put: &'a Put<'a>,
    pub(super) name: &'a str,
    pub(super) data: Zeroizing<String>,
    pub(super) crc: u32,
    /// The version we made last, as far as is known.
    pub(super) last: Option<Revision>,
}

impl<'a> Job<'a> {
    fn of(put: &'a Put<'a>) -> Result<Self, Fault> {
        match put.value.len() {
            0 => return Err(Fault::client("value_empty", "Google does not take a value of no bytes")),
            bytes if bytes > MAX_VALUE_BYTES => return Err(Fault::too_large(bytes, MAX_VALUE_BYTES)),
            _ => {}
        }
        if put.mark.write.is_none() {
            return Err(Fault::internal("write_id_missing", "a write came without its identity"));
        }
        // Into the request body, by way of a copy that wipes itself; and into a checksum.
        let value = put.value.expose();
        Ok(Self {
            put,
            name: put.name.as_str(),
            data: Zeroizing::new(BASE64_STANDARD.encode(value)),
            crc: crc::crc32c(value),
            last: put.last.revision.and_then(Revision::parse),
        })
    }

    pub(super) fn owns(&self, present: &Present) -> bool {
        present.mark.as_ref().is_some_and(|mark| mark.same_owner(self.put.mark))
    }
}

fn written(handle: Option<String>, version: &Version) -> PutOutcome {
    let revision = Revision::of(version).map(|revision| revision.to_string());
    PutOutcome::Written(Receipt { handle, revision })
}

impl GcpSm {
    /// Makes the secret and gives it its first version; what is in the way is looked at.
    async fn create(&self, job: &Job<'_>) -> Result<PutOutcome, Fault> {
        let body = CreateSecret {
            replication: &self.plan.replication,
            labels: &labels::wanted(job.put.mark, job.put.tags),
            annotations: &labels::beginning(job.put.mark, 1),
        };
        match self.send::<Secret>(Operation::Create, "secrets", &[("secretId", job.name)], &body).await {
            Ok(made) => {
                let version = self.add(job).await.map_err(Refusal::fault)?;
                Ok(written(made.handle(), &version))
            }
            Err(Refusal::Exists) => self.in_the_way(job).await,
            Err(Refusal::NotFound) => Err(Fault::client(
                "project_not_found",
                "the Google project does not exist, or these credentials cannot see it",
            )
            .retry(Retry::Slowly)
            .status(404)),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// Writes to what has the name already, if that may be.
    async fn in_the_way(&self, job: &Job<'_>) -> Result<PutOutcome, Fault> {
        let anything = job.put.expect == Expect::Anything;
        match self.get(job.name).await {
            Ok(found) => {
                let present = found.present();
                if job.owns(&present) {
                    // Our own earlier write, of which we do not know how far it came.
                    self.onto_ours(job, found, None).await
                } else if anything {
                    self.take_over(job, found).await
                } else {
                    Ok(PutOutcome::Taken(present))
                }
            }
            Err(Refusal::NotFound) => Err(Fault::external(
                "name_busy",
                "Google has not let go of the name yet, after a secret was deleted",
            )),
            Err(Refusal::Denied(_)) if anything => self.blindly(job, None).await.map_err(Refusal::fault),
            Err(Refusal::Denied(_)) => {
                Ok(PutOutcome::Taken(Present { unreadable: true, ..Present::default() }))
            }
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// Updates a secret we wrote.
    async fn update(&self, job: &Job<'_>, handle: Option<&str>) -> Result<PutOutcome, Fault> {
        let put = job.put;
        let look = self.plan.always_look
            || self.plan.keep > 1
            || put.settings_changed.is_some()
            || !put.value_changed
            || put.last.unsure;
        let Some(last) = job.last.as_ref().filter(|_| !look) else {
            return match self.get(job.name).await {
                Ok(found) if !job.owns(&found.present()) => Ok(PutOutcome::Taken(found.present())),
                Ok(found) => self.onto_ours(job, found, job.last.as_ref()).await,
                Err(Refusal::NotFound) => self.create(job).await,
                Err(Refusal::Denied(_)) if self.plan.always_look => Err(cannot_look(
                    "ownership_check is always, but the credentials lack secretmanager.secrets.get",
                )),
                Err(Refusal::Denied(_)) => match self.blindly(job, handle).await {
                    Err(Refusal::NotFound) => self.create(job).await,
                    outcome => outcome.map_err(Refusal::fault),
                },
                Err(refusal) => Err(refusal.fault()),
            };
        };
        match self.add(job).await {
            Ok(version) => self.settle(job, handle, version, last).await,
            Err(Refusal::NotFound) => self.create(job).await,
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// After a version was added without a look: retires the one before, which shows whether the secret
    /// is ours.
    async fn settle(
        &self,
        job: &Job<'_>,
        handle: Option<&str>,
        version: Version,
        last: &Revision,
    ) -> Result<PutOutcome, Fault> {
        match self.succeed(job, &version, last, false).await? {
            Standing::Ours => Ok(written(handle.map(ToOwned::to_owned), &version)),
            Standing::Anothers => {
                self.give_back(job, &version).await?;
                match self.get(job.name).await {
                    Ok(found) => Ok(PutOutcome::Taken(found.present())),
                    Err(Refusal::Denied(_)) => {
                        Ok(PutOutcome::Taken(Present { unreadable: true, ..Present::default() }))
                    }
                    Err(refusal) => Err(refusal.fault()),
                }
            }
        }
    }

    /// Writes to a secret that was looked at and is ours.
    async fn onto_ours(
        &self,
        job: &Job<'_>,
        mut found: Secret,
        last: Option<&Revision>,
    ) -> Result<PutOutcome, Fault> {
        if job.put.settings_changed.is_some() {
            found = self.bring_labels_in_line(job, found, None).await.map_err(Refusal::fault)?;
        }
        let outcome = if job.put.value_changed || last.is_none() {
            let version = self.reconcile(job, &found, last).await?;
            written(found.handle(), &version)
        } else {
            let revision = last.map(ToString::to_string);
            PutOutcome::Written(Receipt { handle: found.handle(), revision })
        };
        // Last, because it may be impossible, and the value should arrive all the same.
        if job.put.settings_changed.is_some() {
            self.bring_keys_in_line(job, &found).await?;
        }
        Ok(outcome)
    }

    /// Makes a stranger's secret ours and writes to it. The mark comes first, so that nothing we wrote to
    /// is ever without it. The versions there are stay: they are not ours.
    async fn take_over(&self, job: &Job<'_>, found: Secret) -> Result<PutOutcome, Fault> {
        let newest = self.newest_number(job.name).await.map_err(Refusal::fault)?;
        let found = self.bring_labels_in_line(job, found, Some(newest + 1)).await.map_err(Refusal::fault)?;
        let version = self.add(job).await.map_err(Refusal::fault)?;
        Ok(written(found.handle(), &version))
    }

    /// Writes where looking is not allowed: last write wins, as Vault does it (decisions 6).
    async fn blindly(&self, job: &Job<'_>, handle: Option<&str>) -> Result<PutOutcome, Refusal> {
        let version = self.add(job).await?;
        match &job.last {
            Some(last) => self.settle(job, handle, version, last).await.map_err(Refusal::Fault),
            None => Ok(written(handle.map(ToOwned::to_owned), &version)),
        }
    }

    /// Deletes a secret whose owner was seen, as it was seen.
    async fn delete(&self, name: &str, etag: Option<&str>) -> Result<(), Refusal> {
        let query: &[(&str, &str)] = match &etag {
            Some(etag) => &[("etag", etag)],
            None => &[],
        };
        let done =
            self.ask::<serde::de::IgnoredAny>(Operation::Delete, &format!("secrets/{name}"), query).await;
        match done {
            Ok(_) | Err(Refusal::NotFound) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// What may be known of a secret's newest version.
    async fn see(&self, found: &Secret, name: &str) -> Result<Present, Fault> {
        let mut present = found.present();
        let Some(mark) = &mut present.mark else { return Ok(present) };
        match self.newest_enabled(name).await {
            Ok(newest) => {
                let newest = newest.as_ref().and_then(Revision::of);
                if newest.as_ref().is_some_and(|newest| newest.number == found.first_version()) {
                    mark.write = labels::first_write(&found.annotations);
                }
                present.revision = newest.map(|newest| newest.to_string());
            }
            Err(Refusal::Denied(_) | Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal.fault()),
        }
        Ok(present)
    }
}

fn cannot_look(message: &'static str) -> Fault {
    Fault::client("cannot_look", message).retry(Retry::Slowly)
}

#[async_trait]
impl Destination for GcpSm {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        match self.get(name.as_str()).await {
            Ok(found) => self.see(&found, name.as_str()).await.map(Remote::Present),
            Err(Refusal::NotFound) => Ok(Remote::Absent),
            Err(Refusal::Denied(_)) => Ok(Remote::CannotTell),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let job = Job::of(put)?;
        match put.expect {
            Expect::Absent | Expect::Anything => Box::pin(self.create(&job)).await,
            Expect::Ours(handle) => Box::pin(self.update(&job, handle)).await,
        }
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let name = remove.name.as_str();
        for attempt in 0..2 {
            let found = match self.get(name).await {
                Ok(found) => found,
                Err(Refusal::NotFound) => return Ok(()),
                Err(Refusal::Denied(_)) => return self.remove_unseen(remove).await,
                Err(refusal) => return Err(refusal.fault()),
            };
            let mark = found.present().mark;
            if remove.owner.is_some_and(|owner| !mark.is_some_and(|mark| mark.same_owner(owner))) {
                return Err(Fault::ownership_lost());
            }
            match self.delete(name, found.etag.as_deref()).await {
                Ok(()) => return Ok(()),
                // Someone changed it meanwhile: is it still ours?
                Err(Refusal::Precondition(_)) if attempt == 0 => {}
                Err(refusal) => return Err(refusal.fault()),
            }
        }
        Err(Fault::external("provider_busy", "the secret is being changed by someone else"))
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        let listed = if names.len() < WORTH_LISTING { BTreeMap::new() } else { self.list(names).await };
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let listed = listed.get(name.as_str());
            answers.push(async move {
                match listed {
                    Some(found) => self.see(found, name.as_str()).await.map(Remote::Present),
                    // A list may be hours behind: only asking for it by name says that it is not there.
                    None => self.look(name).await,
                }
            });
        }
        stream::iter(answers).buffered(LOOKS_AT_ONCE).collect().await
    }

    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        let answers: Vec<_> = names.iter().map(|name| self.read(name.as_str())).collect();
        stream::iter(answers).buffered(LOOKS_AT_ONCE).collect().await
    }
}

impl GcpSm {
    /// Removes what cannot be looked at. Its state of when we last saw it proves as much as a mark: Google
    /// deletes it in that state only.
    async fn remove_unseen(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let etag = remove.handle.and_then(wire::etag_of_handle);
        if etag.is_none() && remove.owner.is_some() {
            return Err(cannot_look(
                "nothing proves that the secret is ours: its etag is not known, and the credentials lack \
                 secretmanager.secrets.get",
            ));
        }
        let etag = if remove.owner.is_some() { etag } else { None };
        match self.delete(remove.name.as_str(), etag).await {
            Ok(()) => Ok(()),
            Err(Refusal::Precondition(_)) => Err(cannot_look(
                "the secret was changed by someone else, and the credentials lack secretmanager.secrets.get to \
                 see whether it is still ours",
            )),
            Err(refusal) => Err(refusal.fault()),
        }
    }
}
