//! Writing the chain as deliveries happen.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use engine::{Act, Delivery, Observer};
use model::{Clock, Entropy, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Revision, Store, StoreError, records::Cause};
use tokio::sync::{Mutex as Turn, oneshot};

use super::record::{MISSING, NOTHING, OPENED, Record, Signer};
use crate::{
    app::{Salt, Table, json::Object},
    lines::LineFile,
};

/// Nothing is delivered for so long after a record could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// Why a chain cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The file.
    #[error("sync_audit.file: {0}")]
    File(#[from] io::Error),
    /// The file holds records of which this store knows nothing.
    #[error(
        "sync_audit.file holds the records of another chain: move it away, or name the chain that it belongs to \
         in sync_audit.chain"
    )]
    Another,
}

/// What is kept of a chain in the store.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Of the signing key. The record is sealed.
    seed: String,
    /// What accessors are hashed under.
    salt: String,
    key: String,
    seq: u64,
    hash: String,
}

/// Where a chain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The number of the last record; 0 before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
    /// The public key of the chain, in hexadecimal digits.
    pub public_key: String,
}

fn table(store: &Store) -> Table<'_, Kept> {
    Table::new(store, "audit", "chain")
}

/// The heads of all chains that this store has seen, by name.
///
/// # Errors
/// When the store cannot be read.
pub async fn heads(store: &Store) -> Result<Vec<(String, Head)>, StoreError> {
    let all = table(store).all().await?;
    let head =
        |kept: Kept| Head { sequence: kept.seq, hash: kept.hash.clone(), public_key: kept.key.clone() };
    Ok(all.into_iter().map(|(name, kept)| (name, head(kept.value))).collect())
}

/// A chain that is being written.
pub struct Chain {
    store: Store,
    clock: Arc<dyn Clock>,
    file: Arc<LineFile>,
    name: String,
    signer: Signer,
    salt: Salt,
    /// Handed in by whoever waits for the turn; whoever has it writes for all.
    waiting: Mutex<Vec<Handed>>,
    turn: Turn<State>,
    /// Until when nothing is to be delivered.
    rest: Mutex<Option<Timestamp>>,
}

struct State {
    kept: Kept,
    revision: Revision,
}

/// Events, and where it is told whether they were written.
struct Handed {
    events: Vec<Event>,
    written: oneshot::Sender<Result<(), String>>,
}

/// What is written of one delivery.
#[derive(Serialize)]
struct Event {
    time: String,
    destination: String,
    destination_id: String,
    association: String,
    mount: String,
    mount_accessor: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_name: Option<String>,
    version: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    by: Vec<Whom>,
    cause: &'static str,
    asked: String,
    failed_before: u32,
}

/// By whose right something is delivered.
#[derive(Serialize)]
struct Whom {
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_id: Option<String>,
    accessor: String,
    policies: Vec<String>,
}

impl Chain {
    /// Goes on with a chain: looks where its file ends, and says so in it if that is not where it should.
    ///
    /// # Errors
    /// [`ChainError`]
    pub async fn open(
        store: &Store,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        file: Arc<LineFile>,
        name: &str,
    ) -> Result<Self, ChainError> {
        let (kept, revision) = kept_of(store, entropy, name).await?;
        let corrupt = || StoreError::Corrupt { tag: 0x24, what: "the key of a chain is not readable" };
        let seed = BASE64_STANDARD_NO_PAD.decode(&kept.seed).map_err(|_| corrupt())?;
        let signer = Signer::new(&seed).ok_or_else(corrupt)?;
        let salt = Salt::new(kept.salt.as_bytes());
        let chain = Self {
            store: store.clone(),
            clock,
            file,
            name: name.to_owned(),
            signer,
            salt,
            waiting: Mutex::default(),
            turn: Turn::new(State { kept, revision }),
            rest: Mutex::default(),
        };
        chain.resume().await?;
        Ok(chain)
    }

    async fn resume(&self) -> Result<(), ChainError> {
        let mut state = self.turn.lock().await;
        let mut found = 0;
        let mut right = true;
        let mut head = (state.kept.seq, state.kept.hash.clone());
        let mut at_head = head.0 == 0;
        self.file.mend(|line| {
            let Ok(record) = Record::read(line) else {
                right = false;
                return;
            };
            found = record.told.seq;
            if found == state.kept.seq {
                at_head = record.hash == state.kept.hash;
            } else if found == head.0 + 1 && at_head {
                // Written before the head could be moved.
                right &= record.told.prev == head.1 && record.is_by(&state.kept.key);
                head = (found, record.hash);
            }
        })?;
        if found == 0 && right {
            // A new file.
            return self.write(&mut state, Vec::new()).await.map_err(|why| io::Error::other(why).into());
        }
        if state.kept.seq == 0 && found > 0 && !(right && head.0 == found) {
            return Err(ChainError::Another);
        }
        if right && at_head && head.0 == found {
            (state.kept.seq, state.kept.hash) = head;
            return self.open_again(&mut state, None).await;
        }
        tracing::error!(
            chain = self.name,
            last_written = state.kept.seq,
            found,
            "records of the chain of sync events are missing or were changed"
        );
        self.open_again(&mut state, Some(found)).await
    }

    /// Writes that the server has started, and what it found missing.
    async fn open_again(&self, state: &mut State, missing: Option<u64>) -> Result<(), ChainError> {
        let mut lines = Vec::new();
        if let Some(found) = missing {
            self.add(state, &mut lines, MISSING, |o| {
                o.put_plain("time", self.clock.now()).put("found", &found);
            });
        }
        self.add_opened(state, &mut lines);
        self.commit(state, lines).await.map_err(|why| io::Error::other(why).into())
    }

    fn add(&self, state: &mut State, lines: &mut Vec<u8>, event: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let kept = &mut state.kept;
        let (line, hash) = self.signer.record(kept.seq + 1, &kept.hash, event, fill);
        (kept.seq, kept.hash) = (kept.seq + 1, hash);
        lines.extend_from_slice(&line);
    }

    fn add_opened(&self, state: &mut State, lines: &mut Vec<u8>) {
        self.add(state, lines, OPENED, |o| {
            o.put_plain("time", self.clock.now())
                .put("chain", &self.name)
                .put_plain("store", self.store.header().id)
                .put("key", &self.signer.public());
        });
    }

    /// Writes events and moves the head. What could not be written whole is taken back.
    async fn write(&self, state: &mut State, events: Vec<Event>) -> Result<(), String> {
        let mut lines = Vec::new();
        let before = state.kept.clone();
        if self.file.is_empty().map_err(|error| error.to_string())? {
            self.add_opened(state, &mut lines);
        }
        for event in &events {
            let told = crate::app::json::text(event);
            self.add(state, &mut lines, "delivery", |o| {
                o.put_members_of(&told);
            });
        }
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.commit(state, lines).await;
        if written.is_err() {
            state.kept = before;
        }
        written
    }

    async fn commit(&self, state: &mut State, lines: Vec<u8>) -> Result<(), String> {
        let file = Arc::clone(&self.file);
        let length = tokio::task::spawn_blocking(move || file.append_synced(&lines))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let table = table(&self.store);
        let mut transaction = self.store.transaction();
        transaction.expect(&table.key(&self.name), Some(state.revision));
        table.put(&mut transaction, &self.name, &state.kept).map_err(|error| error.to_string())?;
        match transaction.commit().await {
            Ok(revision) => {
                state.revision = revision;
                Ok(())
            }
            Err(error) => {
                if let Ok(Some(now)) = table.get(&self.name).await
                    && now.value.hash == state.kept.hash
                {
                    // It was committed, and the answer was lost.
                    state.revision = now.revision;
                    return Ok(());
                }
                // What the head does not know of was not written.
                self.file.cut(length).map_err(|error| error.to_string())?;
                Err(match error {
                    StoreError::Conflict => format!(
                        "another server writes the chain {}: give each a name of its own in sync_audit.chain",
                        self.name
                    ),
                    other => other.to_string(),
                })
            }
        }
    }

    fn event(&self, delivery: &Delivery<'_>) -> Option<Event> {
        let outcome = match (delivery.act, delivery.fault) {
            (_, Some((_, engine::MASS_DELETE_HELD | engine::PERMISSION_LOST))) => "held",
            (_, Some(_)) => "failed",
            (Act::Write, None) => "written",
            (Act::Remove, None) => "removed",
            (Act::Verify, None) => "verified",
            (Act::Forget, None) => "forgotten",
            // Nothing was to be done.
            (Act::Nothing, None) => return None,
        };
        Some(Event {
            time: delivery.answered.to_string(),
            destination: delivery.destination.to_string(),
            destination_id: hex::encode(delivery.destination_id.as_bytes()),
            association: hex::encode(delivery.association.as_bytes()),
            mount: delivery.mount.to_owned(),
            mount_accessor: delivery.accessor.to_string(),
            path: delivery.path.as_str().to_owned(),
            key: delivery.sub_key.map(str::to_owned),
            remote_name: delivery.name.map(|name| name.as_str().to_owned()),
            version: delivery.version.0,
            outcome,
            error_code: delivery.fault.map(|(_, code)| code.to_owned()),
            by: delivery
                .grantors
                .iter()
                .map(|grantor| Whom {
                    entity_id: grantor.entity.clone(),
                    accessor: self.salt.hash(grantor.accessor.as_bytes()),
                    policies: grantor.policies.clone(),
                })
                .collect(),
            cause: match delivery.cause {
                Cause::Source => "source",
                Cause::Set => "set",
                Cause::Remove => "remove",
                Cause::Settings => "settings",
                Cause::Sweep => "sweep",
            },
            asked: delivery.asked.to_string(),
            failed_before: delivery.attempts,
        })
    }

    fn rest_until(&self, until: Option<Timestamp>) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn take_waiting(&self) -> Vec<Handed> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Observer for Chain {
    fn ready(&self) -> bool {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.is_none_or(|until| until <= self.clock.now())
    }

    async fn delivered(&self, deliveries: &[Delivery<'_>]) -> Result<(), String> {
        let events: Vec<Event> = deliveries.iter().filter_map(|delivery| self.event(delivery)).collect();
        if events.is_empty() {
            return Ok(());
        }
        let (written, mut told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Handed { events, written });
        let mut state = self.turn.lock().await;
        match told.try_recv() {
            Ok(outcome) => return outcome,
            Err(oneshot::error::TryRecvError::Closed) => return Err("it was given up".to_owned()),
            // Nobody has taken ours yet.
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let (mut events, mut askers) = (Vec::new(), Vec::new());
        for handed in self.take_waiting() {
            events.extend(handed.events);
            askers.push(handed.written);
        }
        let outcome = self.write(&mut state, events).await;
        self.rest_until(outcome.is_err().then(|| self.clock.now().plus(PAUSE)));
        for asker in askers {
            // Who has gone away does not need to know.
            let _ = asker.send(outcome.clone());
        }
        outcome
    }
}

/// What is kept of a chain, made when it is first asked for.
async fn kept_of(store: &Store, entropy: &dyn Entropy, name: &str) -> Result<(Kept, Revision), StoreError> {
    let table = table(store);
    loop {
        if let Some(kept) = table.get(name).await? {
            return Ok((kept.value, kept.revision));
        }
        let random = || {
            let mut bytes = [0; 32];
            entropy.fill(&mut bytes);
            bytes
        };
        let seed = random();
        let key = Signer::new(&seed).map(|signer| signer.public()).unwrap_or_default();
        let kept = Kept {
            seed: BASE64_STANDARD_NO_PAD.encode(seed),
            salt: BASE64_STANDARD_NO_PAD.encode(random()),
            key,
            seq: 0,
            hash: NOTHING.to_owned(),
        };
        let mut transaction = store.transaction();
        transaction.expect_absent(&table.key(name));
        table.put(&mut transaction, name, &kept)?;
        match transaction.commit().await {
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}
