//! One Azure Key Vault (destinations.md 2).
//!
//! What a change costs: one PUT, which carries value and tags. Azure has no conditional write and makes a
//! version of every PUT, so a first write looks before it (two calls), and a write that may have arrived
//! is looked for before it is repeated. An update is trusted to be of ours, as the ledger says that we
//! wrote it; `ownership_check = always` has it looked at. What a PUT writes over stays in the vault as an
//! older version.
//!
//! A name between two states (being deleted, recovered, purged) is not waited for here: the fault says
//! when to come back, and every step may be taken again.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use model::RemoteName;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{
    MAX_VALUE_BYTES,
    api::{Api, Operation, place},
    auth::{Auth, Settings, Sources},
    cloud::{Cloud, is_below},
    faults::{Refusal, busy},
    memory::{Memory, Seen},
    tags,
    wire::{Entry, SetSecret, UpdateSecret},
};
use crate::{
    Config, Destination, Encoding, Expect, Fault, Held, Mark, Net, Present, Put, PutOutcome, Remote, Remove,
    Retry, WriteId, identity::Federation, net::Policy,
};

/// What the configuration says, checked.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) federation: Option<Federation>,
    /// The vault's own name.
    pub(super) vault_host: String,
    /// Where calls go: scheme, host and path, without a slash at the end.
    pub(super) base: String,
    /// The host of that.
    pub(super) called_host: String,
    pub(super) cloud: Option<&'static Cloud>,
    pub(super) api_version: String,
    pub(super) purge: bool,
    pub(super) always_look: bool,
}

pub(super) struct AzureKv {
    plan: Plan,
    net: Arc<Net>,
    /// Opened with the first call.
    api: OnceCell<Api>,
    pub(super) memory: Memory,
}

/// How a value that is not text is written, as base64.
pub(super) const BINARY: &str = "application/octet-stream;base64";

/// How many secrets of a bulk look are asked for at the same time.
const LOOKS_AT_ONCE: usize = 8;

impl AzureKv {
    pub(super) fn new(plan: Plan, net: Arc<Net>) -> Self {
        Self { plan, net, api: OnceCell::new(), memory: Memory::default() }
    }

    pub(super) async fn api(&self) -> &Api {
        self.api.get_or_init(|| async { self.open() }).await
    }

    fn open(&self) -> Api {
        let config = &self.plan.config;
        let client = self.net.client(&Policy::of(config));
        let own_secret = config.secret("client_secret").is_some();
        let settings = Settings {
            tenant: config.text("tenant_id").map(ToOwned::to_owned),
            client_id: config.text("client_id").map(ToOwned::to_owned),
            client_secret: config.secret("client_secret").cloned(),
            authority: config.text("auth_endpoint").map(ToOwned::to_owned),
            cloud: self.plan.cloud,
            federation: self.plan.federation.clone(),
        };
        // A token for an app that came with the destination may go where the destination says. One for the
        // server's own identity goes to a vault only, whatever `endpoint` says.
        let host = if own_secret { &self.plan.vault_host } else { &self.plan.called_host };
        let resource = self.plan.cloud.filter(|cloud| is_below(host, cloud.vaults)).map(Cloud::resource);
        let sources = Sources::new(Arc::clone(&self.net), settings, client.clone());
        Api {
            client,
            base: self.plan.base.clone(),
            version: self.plan.api_version.clone(),
            auth: Auth::new(sources, host.clone(), resource),
        }
    }
}

/// A put with its identity, and its value and tags in the form the wire wants.
struct Job<'a> {
    put: &'a Put<'a>,
    write: WriteId,
    binary: Option<Zeroizing<String>>,
    tags: BTreeMap<String, String>,
}

impl<'a> Job<'a> {
    fn of(put: &'a Put<'a>) -> Result<Self, Fault> {
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
        let size = binary.as_ref().map_or(put.value.len(), |encoded| encoded.len());
        if size > MAX_VALUE_BYTES {
            return Err(Fault::too_large(size, MAX_VALUE_BYTES));
        }
        Ok(Self { put, write, binary, tags: tags::wanted(put.mark, put.tags) })
    }

    fn name(&self) -> &str {
        self.put.name.as_str()
    }

    fn request(&self) -> SetSecret<'_> {
        SetSecret {
            // Into the request body.
            value: match &self.binary {
                Some(encoded) => encoded,
                None => self.put.value.expose_text().unwrap_or_default(),
            },
            content_type: self.binary.is_some().then_some(BINARY),
            tags: &self.tags,
        }
    }

    fn owns(&self, mark: Option<&Mark>) -> bool {
        mark.is_some_and(|mark| mark.same_owner(self.put.mark))
    }

    fn takes_anything(&self) -> bool {
        self.put.expect == Expect::Anything
    }
}

/// What is known of the secret before a write.
enum Known {
    /// Nobody asked.
    Unasked,
    Absent,
    There(Entry),
    /// The credentials do not allow looking.
    Hidden,
}

impl AzureKv {
    /// What a write has to know first, from a look that was just made or from one of its own.
    async fn known(&self, job: &Job<'_>) -> Result<Known, Fault> {
        let look = match job.put.expect {
            Expect::Absent | Expect::Ours(None) => true,
            // What may be a repetition is looked for. A change of settings alone goes to a version by its id.
            Expect::Ours(Some(_)) => {
                self.plan.always_look
                    || !job.put.value_changed
                    || job.put.last.unsure
                    || self.memory.was_sent(job.name(), job.write)
            }
            Expect::Anything => self.memory.was_sent(job.name(), job.write),
        };
        if !look {
            return Ok(Known::Unasked);
        }
        let seen = match self.memory.take_look(job.name()) {
            Some(Seen::There(found)) => return Ok(Known::There(*found)),
            Some(Seen::Absent) => return Ok(Known::Absent),
            None => self.newest(job.put.name).await,
        };
        match seen {
            Ok(Some(found)) => Ok(Known::There(found)),
            Ok(None) => Ok(Known::Absent),
            Err(Refusal::Denied(_)) => Ok(Known::Hidden),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn write(&self, job: &Job<'_>) -> Result<PutOutcome, Fault> {
        match self.known(job).await? {
            Known::There(found) => self.onto(job, &found).await,
            Known::Hidden if job.put.expect == Expect::Absent => {
                Ok(PutOutcome::Taken(Present { unreadable: true, ..Present::default() }))
            }
            Known::Hidden if self.plan.always_look => {
                Err(cannot_look("ownership_check is always, but the identity may not list secrets"))
            }
            // Where nobody can look the last write wins, as Vault has it (decisions 6).
            Known::Hidden | Known::Absent | Known::Unasked => self.set(job).await,
        }
    }

    /// Writes to what is there, if that may be and is needed.
    async fn onto(&self, job: &Job<'_>, found: &Entry) -> Result<PutOutcome, Fault> {
        let mark = found.mark();
        let ours = job.owns(mark.as_ref());
        if found.is_managed() || !(ours || job.takes_anything()) {
            return Ok(PutOutcome::Taken(found.present()));
        }
        let there = ours && mark.and_then(|mark| mark.write) == Some(job.write);
        if there || (ours && !job.put.value_changed) {
            // The value is the one that is wanted.
            if found.tags() == Some(&job.tags) {
                return Ok(PutOutcome::Written(found.receipt()));
            }
            if let Some(version) = found.version() {
                return self.bring_tags_in_line(job, version).await;
            }
        }
        self.set(job).await
    }

    async fn bring_tags_in_line(&self, job: &Job<'_>, version: &str) -> Result<PutOutcome, Fault> {
        let place = place("secrets", job.put.name, &format!("/{version}"))?;
        let request = UpdateSecret { tags: &job.tags };
        let updated = self.api().await.call::<Entry>(Operation::Update, &place, Some(&request)).await;
        match updated {
            Ok(updated) => Ok(PutOutcome::Written(updated.receipt())),
            // It went away meanwhile: the value is written again.
            Err(Refusal::NotFound) => self.set(job).await,
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// The write itself. A deleted secret that holds the name is recovered first, if that may be.
    async fn set(&self, job: &Job<'_>) -> Result<PutOutcome, Fault> {
        let in_the_way = match self.set_once(job).await {
            Err(Refusal::Deleted(fault)) => fault,
            outcome => return self.settle(job, outcome).await,
        };
        if let Some(taken) = self.recover(job, in_the_way).await? {
            return Ok(taken);
        }
        let outcome = self.set_once(job).await;
        self.settle(job, outcome).await
    }

    async fn set_once(&self, job: &Job<'_>) -> Result<Entry, Refusal> {
        let place = place("secrets", job.put.name, "")?;
        self.memory.sending(job.name(), job.write);
        let outcome = self.api().await.call(Operation::Set, &place, Some(&job.request())).await;
        if matches!(&outcome, Err(refusal) if !refusal.is_uncertain()) {
            // It was refused for certain, and need not be looked for when it is tried again.
            self.memory.not_sent(job.name());
        }
        outcome
    }

    async fn settle(&self, job: &Job<'_>, outcome: Result<Entry, Refusal>) -> Result<PutOutcome, Fault> {
        match outcome {
            Ok(made) => {
                self.memory.wrote(job.name(), made.version());
                Ok(PutOutcome::Written(made.receipt()))
            }
            // A certificate's secret refuses every write, without a code of its own.
            Err(Refusal::Denied(fault)) => match self.newest(job.put.name).await {
                Ok(Some(found)) if found.is_managed() => Ok(PutOutcome::Taken(found.present())),
                _ => Err(fault),
            },
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// Brings a deleted secret back, whose old versions come with it. Says when it is not ours to bring.
    async fn recover(&self, job: &Job<'_>, in_the_way: Fault) -> Result<Option<PutOutcome>, Fault> {
        match self.deleted(job.put.name).await {
            Ok(found) => {
                if !(job.owns(found.mark().as_ref()) || job.takes_anything()) {
                    return Ok(Some(PutOutcome::Taken(Present { recoverable: true, ..found.present() })));
                }
            }
            // On its way from deleted to purged, or from live to deleted.
            Err(Refusal::NotFound) => return Err(in_the_way),
            Err(Refusal::Denied(_)) if job.put.expect == Expect::Absent => {
                let hidden = Present { recoverable: true, unreadable: true, ..Present::default() };
                return Ok(Some(PutOutcome::Taken(hidden)));
            }
            Err(Refusal::Denied(_)) => {}
            Err(refusal) => return Err(refusal.fault()),
        }
        let place = place("deletedsecrets", job.put.name, "/recover")?;
        match self.api().await.done(Operation::Recover, &place).await {
            Ok(()) => {
                // Whether it is there yet, the write will tell.
                self.memory.recovering(job.name());
                Ok(None)
            }
            Err(Refusal::NotFound) => Ok(None),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    pub(super) async fn deleted(&self, name: &RemoteName) -> Result<Entry, Refusal> {
        let place = place("deletedsecrets", name, "")?;
        self.api().await.call(Operation::GetDeleted, &place, None::<&()>).await
    }
}

impl AzureKv {
    /// Makes sure that what is there may be deleted. Whether there is anything.
    async fn may_delete(&self, remove: &Remove<'_>) -> Result<bool, Fault> {
        // By order of a person there is nothing to find out.
        let Some(owner) = remove.owner else { return Ok(true) };
        match self.newest(remove.name).await {
            // What we had brought back shows late.
            Ok(None) => Ok(self.memory.is_recovering(remove.name.as_str())),
            Ok(Some(found)) if found.is_managed() => Err(Fault::client(
                "managed_by_provider",
                "the secret belongs to a certificate of the vault and is left alone",
            )),
            Ok(Some(found)) if found.mark().is_some_and(|mark| mark.same_owner(owner)) => Ok(true),
            Ok(Some(_)) => Err(Fault::ownership_lost()),
            // Our handle is the name, which proves nothing.
            Err(Refusal::Denied(_)) => Err(cannot_look(
                "nothing proves that the secret is ours: the identity may not list secrets (role: \
                 Microsoft.KeyVault/vaults/secrets/readMetadata/action)",
            )),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    /// Takes a deleted secret of ours away for good.
    async fn purge(&self, remove: &Remove<'_>, just_deleted: bool) -> Result<(), Fault> {
        let found = match self.deleted(remove.name).await {
            Ok(found) => found,
            Err(Refusal::NotFound) if just_deleted => {
                return Err(busy("the secret is deleted; it is purged once Azure is done with that"));
            }
            Err(Refusal::NotFound) => return Ok(()),
            Err(refusal) => return Err(refusal.fault()),
        };
        if remove.owner.is_some_and(|owner| !found.mark().is_some_and(|mark| mark.same_owner(owner))) {
            // Ours is gone; this is somebody else's.
            return Ok(());
        }
        if !found.is_purgeable() {
            reserved(remove.name, &found);
            return Ok(());
        }
        let place = place("deletedsecrets", remove.name, "")?;
        match self.api().await.done(Operation::Purge, &place).await {
            Ok(()) | Err(Refusal::NotFound) => Ok(()),
            Err(Refusal::PurgeProtected(_)) => {
                reserved(remove.name, &found);
                Ok(())
            }
            Err(refusal) => Err(refusal.fault()),
        }
    }
}

/// The secret is gone from view, which is what was asked for; its name is not free yet.
fn reserved(name: &RemoteName, found: &Entry) {
    let until = found.scheduled_purge_date.map(model::Timestamp::from_secs);
    tracing::warn!(
        name = name.as_str(),
        until = until.map(tracing::field::display),
        "the vault is protected against purging: the name stays reserved"
    );
}

fn cannot_look(message: &'static str) -> Fault {
    Fault::client("cannot_look", message).retry(Retry::Slowly)
}

#[async_trait]
impl Destination for AzureKv {
    /// A deleted secret counts as absent here: whose it is, the write finds out that it is in the way of.
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        match self.newest(name).await {
            Ok(found) => {
                self.memory.looked(name.as_str(), found.as_ref());
                Ok(found.map_or(Remote::Absent, |found| Remote::Present(found.present())))
            }
            Err(Refusal::Denied(_)) => Ok(Remote::CannotTell),
            Err(refusal) => Err(refusal.fault()),
        }
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        self.write(&Job::of(put)?).await
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        let there = self.may_delete(remove).await?;
        let mut just_deleted = false;
        if there {
            let place = place("secrets", remove.name, "")?;
            match self.api().await.done(Operation::Delete, &place).await {
                Ok(()) => just_deleted = true,
                Err(Refusal::NotFound | Refusal::Deleted(_)) => {}
                // On its way out already.
                Err(Refusal::Leaving(_)) => just_deleted = true,
                Err(refusal) => return Err(refusal.fault()),
            }
        }
        self.memory.forget(remove.name.as_str());
        if self.plan.purge { self.purge(remove, just_deleted).await } else { Ok(()) }
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        let looks: Vec<_> = names.iter().map(|name| async move { self.look(name).await }).collect();
        stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await
    }

    async fn read_many(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        self.read(names).await
    }
}
