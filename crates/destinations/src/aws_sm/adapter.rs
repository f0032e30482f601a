//! One AWS Secrets Manager destination (destinations.md 1.3 to 1.8).
//!
//! What a change costs: a new secret is one CreateSecret, tags and all; a changed value is one
//! PutSecretValue. Neither looks first. CreateSecret notices by itself that a name is taken. An update
//! is addressed by the ARN that creation gave: its ending is drawn anew whenever a secret is made, so a
//! secret that was deleted and made again by someone else does not answer to it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use model::RemoteName;
use serde::{Serialize, de::IgnoredAny};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{
    MAX_VALUE_BYTES,
    api::{Api, Operation, Skew},
    credentials::{Cache, Load, Settings},
    faults::Refusal,
    listing::WORTH_LISTING,
    place, sign, tags,
    wire::{
        CURRENT, CreateSecret, DeleteSecret, Metadata, PutSecretValue, SecretId, UpdateSecretVersionStage,
        Written,
    },
};
use crate::{
    Config, Destination, Encoding, Expect, Fault, Held, Net, Present, Put, PutOutcome, Receipt, Remote,
    Remove, Retry, identity::Federation, net::Policy,
};

/// How long a deleted secret can be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    Days(i64),
    None,
}

/// What the configuration says, checked.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) federation: Option<Federation>,
    pub(super) recovery: Recovery,
    pub(super) kms_key_id: Option<String>,
    /// Region to key; an empty key is AWS's own.
    pub(super) replicas: BTreeMap<String, String>,
    pub(super) always_look: bool,
}

pub(super) struct AwsSm {
    pub(super) plan: Plan,
    net: Arc<Net>,
    /// Opened with the first call: the region may only be known to the machine.
    api: OnceCell<Api>,
}

impl AwsSm {
    pub(super) fn new(plan: Plan, net: Arc<Net>) -> Self {
        Self { plan, net, api: OnceCell::new() }
    }

    pub(super) async fn api(&self) -> Result<&Api, Fault> {
        self.api.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Api, Fault> {
        let config = &self.plan.config;
        let environment = self.net.environment().as_ref();
        let region = place::region(config, &self.net).await?;
        let endpoint = place::service(config, environment, &region)?;
        let destination = self.net.client(&Policy::of(config));
        let skew = Arc::new(Skew::default());
        let keys = match (config.secret("access_key_id"), config.secret("secret_access_key")) {
            (Some(id), Some(secret)) => Some((id.clone(), secret.clone())),
            _ => None,
        };
        let role = config
            .text("role_arn")
            .map(|arn| (arn.to_owned(), config.text("external_id").map(ToOwned::to_owned)));
        let load = Load {
            net: Arc::clone(&self.net),
            settings: Settings { keys, role, federation: self.plan.federation.clone() },
            client: destination.clone(),
            region: region.clone(),
            sts: place::sts(config, environment),
            operators_sts: place::operators_sts(environment),
            skew: Arc::clone(&skew),
        };
        Ok(Api {
            client: if endpoint.operators { self.net.client(&Policy::of_operator()) } else { destination },
            path: sign::canonical_path(endpoint.uri.path()),
            endpoint,
            region,
            credentials: Cache::new(load),
            net: Arc::clone(&self.net),
            skew,
        })
    }
}

/// How many secrets of a bulk look are asked for at the same time.
const LOOKS_AT_ONCE: usize = 8;

const DESCRIPTION: &str = "Written by keyferry. Changes made here are overwritten.";

/// A put with its token, and its value in the form the wire wants.
pub(super) struct Job<'a> {
    pub(super) put: &'a Put<'a>,
    token: String,
    binary: Option<Zeroizing<String>>,
}

impl<'a> Job<'a> {
    fn of(put: &'a Put<'a>) -> Result<Self, Fault> {
        match put.value.len() {
            0 => return Err(Fault::client("value_empty", "AWS does not take a value of no bytes")),
            bytes if bytes > MAX_VALUE_BYTES => return Err(Fault::too_large(bytes, MAX_VALUE_BYTES)),
            _ => {}
        }
        let Some(write) = put.mark.write else {
            return Err(Fault::internal("write_id_missing", "a write came without its identity"));
        };
        let binary = match put.encoding {
            Encoding::Text if put.value.expose_text().is_err() => {
                return Err(Fault::internal("value_not_text", "a text value is not UTF-8"));
            }
            Encoding::Text => None,
            // Into the request body, by way of a copy that wipes itself.
            Encoding::Binary => Some(Zeroizing::new(BASE64_STANDARD.encode(put.value.expose()))),
        };
        Ok(Self { put, token: write.to_hex(), binary })
    }

    fn text(&self) -> Option<&str> {
        match self.binary {
            Some(_) => None,
            // Into the request body.
            None => self.put.value.expose_text().ok(),
        }
    }

    fn binary(&self) -> Option<&str> {
        self.binary.as_deref().map(String::as_str)
    }

    fn owns(&self, present: &Present) -> bool {
        present.mark.as_ref().is_some_and(|mark| mark.same_owner(self.put.mark))
    }
}

impl AwsSm {
    /// Makes the secret; what is in the way is looked at.
    async fn create(&self, job: &Job<'_>) -> Result<PutOutcome, Fault> {
        let name = job.put.name.as_str();
        let request = CreateSecret {
            name,
            client_request_token: &job.token,
            description: DESCRIPTION,
            secret_string: job.text(),
            secret_binary: job.binary(),
            tags: tags::wanted(job.put.mark, job.put.tags),
            kms_key_id: self.plan.kms_key_id.as_deref(),
            add_replica_regions: self.replicas(|_| true),
        };
        let in_the_way = match self.api().await?.call::<Written>(Operation::Create, &request).await {
            Ok(made) => return Ok(PutOutcome::Written(made.receipt())),
            Err(Refusal::Exists) => None,
            // The name is in its recovery window, or something else is wrong: metadata tells.
            Err(Refusal::State(fault)) => Some(fault),
            Err(refusal) => return Err(refusal.fault()),
        };
        match self.describe(name).await {
            Ok(found) => self.onto(job, &found, in_the_way).await,
            Err(Refusal::NotFound) => Err(in_the_way.unwrap_or_else(|| {
                Fault::external("name_busy", "AWS has not let go of the name yet, after a secret was deleted")
            })),
            Err(Refusal::Denied(_)) if job.put.expect == Expect::Anything => {
                self.blindly(job, name).await.map(PutOutcome::Written).map_err(Refusal::fault)
            }
            Err(Refusal::Denied(_)) => {
                Ok(PutOutcome::Taken(Present { unreadable: true, ..Present::default() }))
            }
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// Writes to what was found in the way, if that may be.
    async fn onto(
        &self,
        job: &Job<'_>,
        found: &Metadata,
        in_the_way: Option<Fault>,
    ) -> Result<PutOutcome, Fault> {
        let present = found.present();
        if present.managed_by_provider || !(job.owns(&present) || job.put.expect == Expect::Anything) {
            return Ok(PutOutcome::Taken(present));
        }
        match in_the_way {
            Some(fault) if !present.recoverable => Err(fault),
            _ => self.overwrite(job, found, true).await.map_err(Refusal::fault),
        }
    }

    /// Updates a secret we wrote.
    async fn update(&self, job: &Job<'_>, handle: Option<&str>) -> Result<PutOutcome, Fault> {
        let put = job.put;
        let id = handle.unwrap_or(put.name.as_str());
        // Without a handle only the mark tells whose it is, and settings need to be compared.
        let look = handle.is_none() || put.settings_changed.is_some() || !put.value_changed;
        if look || self.plan.always_look {
            return match self.describe(id).await {
                Ok(found) => self.onto_ours(job, &found).await,
                Err(Refusal::NotFound) => self.create(job).await,
                Err(Refusal::Denied(_)) if self.plan.always_look => Err(cannot_look(
                    "ownership_check is always, but the credentials lack secretsmanager:DescribeSecret",
                )),
                Err(Refusal::Denied(_)) => self.blindly_or_anew(job, id).await,
                Err(refusal) => Err(refusal.fault()),
            };
        }
        match self.put_value(job, id).await {
            Ok(receipt) => Ok(PutOutcome::Written(receipt)),
            Err(Refusal::NotFound) => self.create(job).await,
            Err(Refusal::State(fault)) => match self.describe(id).await {
                Ok(found) => self.onto(job, &found, Some(fault)).await,
                Err(Refusal::NotFound) => self.create(job).await,
                // Most likely it is being deleted; its ARN says that it is ours.
                Err(Refusal::Denied(_)) => self.blindly_or_anew(job, id).await,
                Err(refusal) => Err(refusal.fault()),
            },
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn onto_ours(&self, job: &Job<'_>, found: &Metadata) -> Result<PutOutcome, Fault> {
        let present = found.present();
        if present.managed_by_provider || !job.owns(&present) {
            return Ok(PutOutcome::Taken(present));
        }
        self.overwrite(job, found, job.put.value_changed).await.map_err(Refusal::fault)
    }

    /// Writes to a secret whose metadata is known and that may be written to. Marks it before the value
    /// changes, so that nothing we overwrote is ever without our mark.
    async fn overwrite(&self, job: &Job<'_>, found: &Metadata, value: bool) -> Result<PutOutcome, Refusal> {
        if found.is_deleted() {
            self.done(Operation::Restore, &SecretId { secret_id: &found.arn }).await?;
        }
        self.bring_tags_in_line(job, found).await?;
        if job.put.settings_changed.is_some() {
            self.bring_settings_in_line(found).await?;
        }
        if value {
            return self.put_value(job, &found.arn).await.map(PutOutcome::Written);
        }
        let revision = found.current_version().map(ToOwned::to_owned);
        Ok(PutOutcome::Written(Receipt { handle: Some(found.arn.clone()), revision }))
    }

    /// The value itself. The same write again changes nothing and adds no version.
    async fn put_value(&self, job: &Job<'_>, id: &str) -> Result<Receipt, Refusal> {
        let request = PutSecretValue {
            secret_id: id,
            client_request_token: &job.token,
            secret_string: job.text(),
            secret_binary: job.binary(),
        };
        let written: Written = self.api().await?.call(Operation::Put, &request).await?;
        if !written.is_current() {
            // This write was made before, and another one since (destinations.md 1.4).
            self.make_current(&written.arn, &job.token).await?;
        }
        Ok(written.receipt())
    }

    async fn make_current(&self, arn: &str, version: &str) -> Result<(), Refusal> {
        let found = self.describe(arn).await?;
        let current = found.current_version();
        if current == Some(version) {
            return Ok(());
        }
        let request = UpdateSecretVersionStage {
            secret_id: arn,
            version_stage: CURRENT,
            move_to_version_id: version,
            remove_from_version_id: current,
        };
        self.done(Operation::MoveStage, &request).await
    }

    /// Writes where looking is not allowed: last write wins, as Vault does it (decisions 6).
    async fn blindly(&self, job: &Job<'_>, id: &str) -> Result<Receipt, Refusal> {
        let receipt = match self.put_value(job, id).await {
            Err(Refusal::State(_)) => {
                self.done(Operation::Restore, &SecretId { secret_id: id }).await?;
                self.put_value(job, id).await?
            }
            other => other?,
        };
        if job.put.settings_changed.is_some() || job.put.expect == Expect::Anything {
            let gone: Vec<&String> = job.put.settings_changed.unwrap_or_default().iter().collect();
            self.tag(id, &tags::wanted(job.put.mark, job.put.tags), &gone).await?;
        }
        Ok(receipt)
    }

    async fn blindly_or_anew(&self, job: &Job<'_>, id: &str) -> Result<PutOutcome, Fault> {
        match self.blindly(job, id).await {
            Ok(receipt) => Ok(PutOutcome::Written(receipt)),
            Err(Refusal::NotFound) => self.create(job).await,
            Err(refusal) => Err(refusal.fault()),
        }
    }

    pub(super) async fn describe(&self, id: &str) -> Result<Metadata, Refusal> {
        self.api().await?.call(Operation::Describe, &SecretId { secret_id: id }).await
    }

    /// An operation whose answer says nothing further.
    pub(super) async fn done(&self, operation: Operation, request: &impl Serialize) -> Result<(), Refusal> {
        self.api().await?.call::<IgnoredAny>(operation, request).await.map(|_| ())
    }

    /// What is to be deleted, by ARN where it is known. `None` when there is nothing to do.
    async fn to_delete(&self, remove: &Remove<'_>) -> Result<Option<String>, Fault> {
        let id = remove.handle.unwrap_or(remove.name.as_str());
        let found = match self.describe(id).await {
            Ok(found) if found.is_deleted() => return Ok(None),
            Ok(found) => found,
            Err(Refusal::NotFound) => return Ok(None),
            // The ARN is given to no other secret, so it proves as much as the mark.
            Err(Refusal::Denied(_)) if remove.handle.is_some() || remove.owner.is_none() => {
                return Ok(Some(id.to_owned()));
            }
            Err(Refusal::Denied(_)) => {
                return Err(cannot_look(
                    "nothing proves that the secret is ours: its ARN is not known, and the credentials lack \
                     secretsmanager:DescribeSecret",
                ));
            }
            Err(refusal) => return Err(refusal.fault()),
        };
        let present = found.present();
        if present.managed_by_provider {
            return Err(Fault::client(
                "managed_by_provider",
                "the secret belongs to another AWS service and is left alone",
            ));
        }
        if remove.owner.is_some_and(|owner| !present.mark.is_some_and(|mark| mark.same_owner(owner))) {
            return Err(Fault::ownership_lost());
        }
        let regions: Vec<&String> = found.replicas().iter().map(|status| &status.region).collect();
        self.remove_replicas(&found.arn, &regions).await.map_err(Refusal::fault)?;
        Ok(Some(found.arn))
    }

    /// A deletion was refused for the secret's state.
    async fn not_deleted(&self, id: &str, fault: Fault) -> Result<(), Fault> {
        match self.describe(id).await {
            // Someone else was quicker.
            Err(Refusal::NotFound) => Ok(()),
            Ok(found) if found.is_deleted() => Ok(()),
            Ok(found) if !found.replicas().is_empty() => Err(Fault::external(
                "replicas_leaving",
                "the secret can be deleted once its replicas are gone",
            )),
            _ => Err(fault),
        }
    }
}

fn cannot_look(message: &'static str) -> Fault {
    Fault::client("cannot_look", message).retry(Retry::Slowly)
}

#[async_trait]
impl Destination for AwsSm {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        match self.describe(name.as_str()).await {
            Ok(found) => Ok(Remote::Present(found.present())),
            Err(Refusal::NotFound) => Ok(Remote::Absent),
            Err(Refusal::Denied(_)) => Ok(Remote::CannotTell),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let job = Job::of(put)?;
        match put.expect {
            Expect::Absent | Expect::Anything => self.create(&job).await,
            Expect::Ours(handle) => self.update(&job, handle).await,
        }
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let Some(id) = self.to_delete(remove).await? else { return Ok(()) };
        let (days, force) = match self.plan.recovery {
            Recovery::Days(days) => (Some(days), None),
            Recovery::None => (None, Some(true)),
        };
        let request = DeleteSecret {
            secret_id: &id,
            recovery_window_in_days: days,
            force_delete_without_recovery: force,
        };
        match self.done(Operation::Delete, &request).await {
            Ok(()) | Err(Refusal::NotFound) => Ok(()),
            Err(Refusal::State(fault)) => self.not_deleted(&id, fault).await,
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        let listed = if names.len() < WORTH_LISTING { Ok(BTreeMap::new()) } else { self.list(names).await };
        let listed = match listed {
            Ok(listed) => listed,
            Err(fault) => return names.iter().map(|_| Err(fault.clone())).collect(),
        };
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let listed = listed.get(name.as_str());
            answers.push(async move {
                match listed {
                    Some(found) => Ok(Remote::Present(found.present())),
                    // A list may be minutes behind: only asking for it by name says that it is not there.
                    None => self.look(name).await,
                }
            });
        }
        stream::iter(answers).buffered(LOOKS_AT_ONCE).collect().await
    }

    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        self.read(names).await
    }
}
