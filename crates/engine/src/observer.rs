//! The fourth seam: whoever wants to know what came of deliveries, such as a log that outlives them or a
//! count of them. The engine knows nothing of where that is kept.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use model::{AssociationId, Blame, DestinationId, DestinationKey, MountAccessor, RemoteName, SecretPath};
use model::{Timestamp, Version};
use store::{
    StoreError,
    records::{Association, Cause, Grantor, Outcome},
};

use crate::{Call, Engine, engine::Inner, registry::Opened, worker::Work};

/// Is told what came of every piece of sync work.
#[async_trait]
pub trait Observer: Send + Sync {
    /// Whether it could take what it would be told. While it could not, nothing is delivered: work stays
    /// in line. Asked before every piece of work, so it must answer at once.
    fn ready(&self) -> bool {
        true
    }

    /// This is what came of it, told before it is recorded in the store. After a crash between the two it is
    /// done and told again, so what was done is told at least once.
    ///
    /// # Errors
    /// In words for the log. Then it is not recorded either, and is looked at again soon.
    async fn delivered(&self, deliveries: &[Delivery<'_>]) -> Result<(), String>;

    /// A call to a destination has ended. Must not block.
    fn called(&self, _call: &Call<'_>) {}
}

/// What was done, or with a fault tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Nothing was called for; with a fault, nothing could be tried.
    Nothing,
    /// Looked at, and found as it should be.
    Verify,
    /// Written.
    Write,
    /// Removed.
    Remove,
    /// Nothing of ours is there any more, and it is no longer looked after.
    Forget,
}

/// What came of one remote entry, or of a source as a whole where it did not come to entries. No value, and
/// nothing from which one follows.
#[derive(Debug, Clone)]
pub struct Delivery<'a> {
    /// Type and name of the destination.
    pub destination: &'a DestinationKey,
    /// Its identity: made again under the same name it is another.
    pub destination_id: DestinationId,
    /// The association.
    pub association: AssociationId,
    /// The source's mount.
    pub accessor: &'a MountAccessor,
    /// The path the mount had when the secret was associated.
    pub mount: &'a str,
    /// The secret's path below its mount.
    pub path: &'a SecretPath,
    /// By whose right it is delivered: whoever associated the secret, or made the rules it is due to.
    pub grantors: &'a [Grantor],
    /// The key of the secret that the entry holds; `None`: all of it, or the source as a whole.
    pub sub_key: Option<&'a str>,
    /// The entry's name at the destination; `None` when it did not come to names.
    pub name: Option<&'a RemoteName>,
    /// The source's version; 0 when it is not known.
    pub version: Version,
    /// What was done.
    pub act: Act,
    /// Why it is not as it should be: whose turn it is, and a stable code.
    pub fault: Option<(Blame, &'a str)>,
    /// Why it was looked at.
    pub cause: Cause,
    /// When the change was committed that asked for it.
    pub asked: Timestamp,
    /// When the destination had answered.
    pub answered: Timestamp,
    /// Attempts at it before this one that failed.
    pub attempts: u32,
}

impl Engine {
    /// Tells this observer from now on too. To be said before [`Engine::start`].
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.0.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }
}

impl Inner {
    pub(crate) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        self.observers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether everybody who wants to know what is done can take it.
    pub(crate) fn is_observed(&self) -> bool {
        self.observers().iter().all(|observer| observer.ready())
    }

    /// Tells what came of work, before it is recorded. False when somebody could not take it: then it must
    /// not be.
    pub(crate) async fn tell(&self, opened: &Opened, works: &[Work]) -> Result<bool, StoreError> {
        let observers = self.observers();
        if observers.is_empty() {
            return Ok(true);
        }
        let answered = self.clock.now();
        let mut grantors = Vec::with_capacity(works.len());
        for work in works {
            grantors.push(self.responsible(&work.association.record).await?);
        }
        let mut deliveries = Vec::new();
        for (work, grantors) in works.iter().zip(&grantors) {
            let association = &work.association.record;
            let whole = Delivery {
                destination: &opened.record.key,
                destination_id: opened.record.id,
                association: association.id,
                accessor: &association.accessor,
                mount: &association.mount,
                path: &association.path,
                grantors,
                sub_key: None,
                name: None,
                version: work.version,
                act: Act::Nothing,
                fault: None,
                cause: work.row.record.cause,
                asked: work.row.record.at,
                answered,
                attempts: association.attempts,
            };
            match &work.whole {
                Some(Outcome::Failed(failure) | Outcome::Unknown(failure)) => {
                    deliveries.push(Delivery { fault: Some((failure.blame, &failure.code)), ..whole });
                }
                Some(Outcome::New | Outcome::Synced | Outcome::Unsynced) => deliveries.push(whole),
                None => deliveries.extend(work.done.iter().filter_map(|done| {
                    let entry = done.entry.as_ref().or(done.gone.as_ref())?;
                    let named = !entry.name.as_str().is_empty();
                    Some(Delivery {
                        sub_key: entry.sub_key.as_deref(),
                        name: named.then_some(&entry.name),
                        version: if work.gone { entry.version } else { work.version },
                        act: done.act,
                        fault: done.fault.as_ref().map(|fault| (fault.blame, fault.code)),
                        ..whole.clone()
                    })
                })),
            }
        }
        for observer in observers {
            if let Err(error) = observer.delivered(&deliveries).await {
                tracing::error!(destination = %opened.record.key, error, "what was delivered could not be told; it is looked at again");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whoever associated just this secret, and whoever made the rules it is due to, as far as known.
    async fn responsible(&self, association: &Association) -> Result<Vec<Grantor>, StoreError> {
        let single = association.single.then(|| association.grantor.clone()).flatten();
        let rules = self.book.of(&self.store, &association.accessor).await?;
        let rules = rules.about(&association.path).into_iter();
        let rules = rules.filter(|rule| rule.key == association.destination);
        Ok(single.into_iter().chain(rules.filter_map(|rule| rule.grantor.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use destinations::Fault;

    use super::*;
    use crate::testing::Bench;

    #[derive(Default)]
    struct Notes {
        lines: Mutex<Vec<String>>,
        deaf: AtomicBool,
        full: AtomicBool,
    }

    impl Notes {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.lines.lock().unwrap())
        }
    }

    #[async_trait]
    impl Observer for Notes {
        fn ready(&self) -> bool {
            !self.deaf.load(Ordering::Relaxed)
        }

        async fn delivered(&self, deliveries: &[Delivery<'_>]) -> Result<(), String> {
            if self.full.load(Ordering::Relaxed) {
                return Err("no space left".to_owned());
            }
            self.lines.lock().unwrap().extend(deliveries.iter().map(|one| {
                assert!(one.answered >= one.asked);
                let name = one.name.map_or("-", RemoteName::as_str);
                let code = one.fault.map_or("", |(_, code)| code);
                format!("{:?} {}/{} v{} {name} {code}", one.act, one.mount, one.path, one.version.0)
            }));
            Ok(())
        }
    }

    async fn watched() -> (Bench, Arc<Notes>) {
        let bench = Bench::new().await;
        let notes = Arc::new(Notes::default());
        bench.engine.observe(notes.clone());
        bench.configure("one", "{}").await;
        bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
        (bench, notes)
    }

    #[tokio::test(start_paused = true)]
    async fn everything_that_is_done_is_told() {
        let (bench, notes) = watched().await;
        bench.set("one", "app/db").await;
        assert_eq!(notes.take(), ["Write secret/app/db v1 kv_00000001/app/db "]);
        bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
        bench.settle().await;
        assert_eq!(notes.take(), ["Nothing secret/app/db v2 kv_00000001/app/db "]);
        bench.script([Some(Fault::client("access_denied", "no"))]);
        bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
        bench.settle().await;
        assert_eq!(notes.take(), ["Write secret/app/db v3 kv_00000001/app/db access_denied"]);
        *bench.source.unreadable.lock().unwrap() = true;
        bench.write("app/db", Some(r#"{"a":"3"}"#)).await;
        bench.settle().await;
        assert_eq!(notes.take(), ["Nothing secret/app/db v0 - source_unreadable"]);
        *bench.source.unreadable.lock().unwrap() = false;
        bench.write("app/db", None).await;
        bench.settle().await;
        assert_eq!(notes.take(), ["Remove secret/app/db v2 kv_00000001/app/db "]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_done_that_cannot_be_told() {
        let (bench, notes) = watched().await;
        bench.set("one", "app/db").await;
        notes.deaf.store(true, Ordering::Relaxed);
        bench.calls();
        bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        assert_eq!(bench.calls(), [""; 0]);
        notes.deaf.store(false, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(bench.calls(), ["put kv_00000001/app/db"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_told_later() {
        let (bench, notes) = watched().await;
        bench.set("one", "app/db").await;
        notes.take();
        notes.full.store(true, Ordering::Relaxed);
        bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
        bench.settle().await;
        assert_eq!(notes.take(), [""; 0]);
        notes.full.store(false, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        // The same write is made again, and told.
        assert_eq!(notes.take(), ["Write secret/app/db v2 kv_00000001/app/db "]);
    }
}
