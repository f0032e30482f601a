use std::{
    fs::File,
    io::{BufReader, Seek as _},
    sync::Arc,
};

use model::{Entropy, Timestamp};

use super::{Meta, Pair, Pairs, Reader, SnapshotError, read::Ended};
use crate::{
    Backend, Keys, Record as _, Revision, RootKey, Store, StoreError,
    barrier::Barrier,
    guard::GUARD_KEY,
    keyring::{KEYRING_KEY, KeyRing},
    records::{Restored, ServerNode, Shard, StoreHeader},
    typed::{decode, seal},
};

/// A snapshot that was read to its end and is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it says about itself. Proven only where the key was given.
    pub meta: Meta,
    /// How much there is in it.
    pub ended: Ended,
}

/// Which guard of the root key a restored store gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarding {
    /// The snapshot's: whoever held shares when it was made opens the store.
    AsSaved,
    /// The one the store has now, or none, if a key file keeps its key: the root key is the same one, and
    /// shares that were withdrawn since stay withdrawn.
    AsNow,
}

/// Why a snapshot was not restored. Everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot.
    #[error("the snapshot cannot be restored: {0}")]
    Snapshot(#[from] SnapshotError),
    /// Where it was to go.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a whole snapshot. With the root key everything in it is proven; without, damage is found but no
/// forgery.
///
/// # Errors
/// What is wrong with it.
pub fn check(file: &File, root: Option<&RootKey>) -> Result<Checked, SnapshotError> {
    let mut reader = open(file, root)?;
    while reader.page()?.is_some() {}
    let ended = reader.end().ok_or(SnapshotError::Damaged("it ends early"))?;
    Ok(Checked { meta: reader.meta().clone(), ended })
}

/// Puts a snapshot in the place of everything in a back end, in one step: it is read through before anything
/// is touched, and anything that goes wrong leaves everything as it was. The restored store has another epoch
/// than any before it, and syncing waits for a person ([`Restored`]).
///
/// # Errors
/// What is wrong with the snapshot, or what the back end says.
pub async fn restore(
    file: File,
    root: &RootKey,
    backend: &Arc<dyn Backend>,
    guarding: Guarding,
    now: Timestamp,
    entropy: Arc<dyn Entropy>,
) -> Result<(Checked, Revision), RestoreError> {
    let checked = check(&file, Some(root))?;
    let guard = match guarding {
        Guarding::AsSaved => None,
        Guarding::AsNow => backend.get(GUARD_KEY).await?.map(|entry| entry.value.to_vec()),
    };
    let before = Store::open_with(Arc::clone(backend), root, Arc::clone(&entropy)).await;
    let floor = before.ok().flatten().map_or(0, |store| store.header().epoch);
    let entries = Entries {
        reader: open(&file, Some(root))?,
        root: root.clone(),
        entropy,
        now,
        saved: checked.meta.created.clone(),
        floor,
        keys: None,
        restored: None,
        page: Pairs::new().into_iter(),
        more: None,
        guarding,
        guard,
    };
    Ok((checked, backend.replace(Box::new(entries)).await?))
}

fn open(file: &File, root: Option<&RootKey>) -> Result<Reader<BufReader<File>>, SnapshotError> {
    let io = |error: std::io::Error| SnapshotError::Io(error.to_string());
    let mut file = file.try_clone().map_err(io)?;
    file.rewind().map_err(io)?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 17, file))?;
    if let Some(root) = root {
        reader.unlock(root)?;
    }
    Ok(reader)
}

/// What a back end is to hold.
struct Entries {
    reader: Reader<BufReader<File>>,
    root: RootKey,
    entropy: Arc<dyn Entropy>,
    now: Timestamp,
    saved: String,
    /// An epoch that was used.
    floor: u32,
    /// From the key ring, which comes first.
    keys: Option<(Barrier, Keys)>,
    /// That it was restored, once the header has come.
    restored: Option<Pair>,
    page: std::vec::IntoIter<Pair>,
    /// Added at the end.
    more: Option<Pairs>,
    guarding: Guarding,
    /// The guard there is now, if it is to stay.
    guard: Option<Vec<u8>>,
}

impl Iterator for Entries {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.page.next() {
                Some((key, value)) => {
                    if let Some(entry) = self.entry(key, value).transpose() {
                        return Some(entry);
                    }
                }
                None => match &mut self.more {
                    Some(more) => return more.pop().map(Ok),
                    None => match self.reader.page() {
                        Ok(Some(page)) => self.page = page.into_iter(),
                        Ok(None) => {
                            let Some(restored) = self.restored.take() else {
                                return Some(Err(damaged("it holds no store")));
                            };
                            let guard = self.guard.take().map(|guard| (GUARD_KEY.to_vec(), guard));
                            self.more = Some(guard.into_iter().chain([restored]).collect());
                        }
                        Err(error) => return Some(Err(StoreError::Backend(error.to_string()))),
                    },
                },
            }
        }
    }
}

impl Entries {
    /// What an entry of the snapshot becomes; `None`: it is left out.
    fn entry(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<Option<Pair>, StoreError> {
        if key == KEYRING_KEY {
            let ring =
                KeyRing::open(&self.root, &value).map_err(|_| damaged("its key ring does not open"))?;
            self.keys = Some((Barrier::new(&ring, Arc::clone(&self.entropy)), ring.keys()));
            return Ok(Some((key, value)));
        }
        if key == GUARD_KEY {
            return Ok((self.guarding == Guarding::AsSaved).then_some((key, value)));
        }
        let Some((barrier, keys)) = &self.keys else {
            return Err(damaged("it does not begin with a key ring"));
        };
        match key.first() {
            // What servers at work said of themselves then says nothing of those at work now.
            Some(&(ServerNode::TAG | Shard::TAG)) => Ok(None),
            Some(&Restored::TAG) => Ok(None),
            Some(&StoreHeader::TAG) => {
                let plain = barrier.open(&key, &value).map_err(|_| damaged("its header does not open"))?;
                let header: StoreHeader = decode(&plain)?;
                // An epoch is never used twice, also when the same snapshot is restored again, or elsewhere:
                // it is the time of the restore, in seconds.
                let seconds = u32::try_from(self.now.as_secs()).unwrap_or_default();
                let epoch = seconds.max(header.epoch.max(self.floor).saturating_add(1));
                let header = StoreHeader { epoch, ..header };
                let restored = Restored { at: self.now, saved: self.saved.clone(), epoch, confirmed: None };
                let told = keys.restored();
                let restored = seal(barrier, &told, &restored)?;
                let header = seal(barrier, &keys.header(), &header)?;
                self.restored = Some((told.as_bytes().to_vec(), restored));
                Ok(Some((key, header)))
            }
            _ => Ok(Some((key, value))),
        }
    }
}

fn damaged(what: &'static str) -> StoreError {
    StoreError::Backend(SnapshotError::Damaged(what).to_string())
}
