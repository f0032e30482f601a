use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use model::{Clock, Entropy, StoreId, uuid_v4};
use zeroize::Zeroizing;

use crate::{
    Backend, Barrier, Batch, Check, Keys, Record, RecordKey, RecordPrefix, Revision, RootKey, StoreError,
    Write, barrier::KEYRING_KEY, records::StoreHeader,
};

/// Typed, sealed records over a back end. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    barrier: Barrier,
    keys: Keys,
    header: StoreHeader,
    /// Held for rotation, which one person asks for at a time.
    root: Mutex<RootKey>,
}

/// A record and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<R> {
    /// The record.
    pub record: R,
    /// What [`Transaction::expect`] compares.
    pub revision: Revision,
}

/// A record kept opened between reads. Every read still asks the back end whether it changed, so it
/// is never stale; only the opening is saved. It holds the record of one key at a time: asked for
/// another, it forgets the one it held.
pub struct Cached<R>(ArcSwapOption<Held<R>>);

/// The revision alone does not tell records apart: one commit may write many.
struct Held<R> {
    key: Vec<u8>,
    stored: Arc<Stored<R>>,
}

impl<R> Default for Cached<R> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl Store {
    /// Makes a new store in an empty back end.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one already; it is left as it is.
    pub async fn init(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let now = clock.now();
        let ring = Barrier::create(root, &entropy, now)?;
        let (barrier, keys) = Barrier::open(root, &ring, Arc::clone(&entropy))?;
        let header = StoreHeader {
            id: StoreId::random(entropy.as_ref()),
            epoch: 0,
            created: now,
            cluster_id: uuid_v4(entropy.as_ref()),
        };
        let key = keys.header();
        let sealed = barrier.seal(key.as_bytes(), &encode(&header)?)?;
        let batch = Batch { checks: vec![Check::EmptyAfter(Vec::new())], writes: vec![] };
        // An empty back end first: a foreign one must not gain our records.
        backend.commit(batch).await?;
        let batch = Batch {
            checks: vec![Check::Absent(KEYRING_KEY.to_vec())],
            writes: vec![Write::Put(KEYRING_KEY.to_vec(), ring), Write::Put(key.as_bytes().to_vec(), sealed)],
        };
        backend.commit(batch).await?;
        Ok(Self(Arc::new(Inner { backend, barrier, keys, header, root: Mutex::new(root.clone()) })))
    }

    /// Opens a store. `None` when the back end holds none.
    pub async fn open(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(ring) = backend.get(KEYRING_KEY).await? else { return Ok(None) };
        let (barrier, keys) = Barrier::open(root, &ring.value, entropy)?;
        let key = keys.header();
        let entry = backend
            .get(key.as_bytes())
            .await?
            .ok_or(StoreError::Corrupt { tag: StoreHeader::TAG, what: "the store has no header" })?;
        let header = decode(&barrier.open_record(key.as_bytes(), &entry.value)?)?;
        Ok(Some(Self(Arc::new(Inner { backend, barrier, keys, header, root: Mutex::new(root.clone()) }))))
    }

    /// What the store says about itself.
    pub fn header(&self) -> &StoreHeader {
        &self.0.header
    }

    /// Makes record keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The back end's name.
    pub fn backend_name(&self) -> &'static str {
        self.0.backend.name()
    }

    /// The key term that seals new records.
    pub fn term(&self) -> u32 {
        self.0.barrier.term()
    }

    /// Adds a key term: records written from now on are sealed under it, older ones stay readable.
    pub async fn rotate(&self, clock: &dyn Clock) -> Result<u32, StoreError> {
        let root = self.0.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entry = self
            .0
            .backend
            .get(KEYRING_KEY)
            .await?
            .ok_or(StoreError::Corrupt { tag: 0, what: "the key ring is gone" })?;
        let (ring, number) = self.0.barrier.rotated(&root, &entry.value, clock.now())?;
        let batch = Batch {
            checks: vec![Check::Unchanged(KEYRING_KEY.to_vec(), entry.revision)],
            writes: vec![Write::Put(KEYRING_KEY.to_vec(), ring.clone())],
        };
        self.0.backend.commit(batch).await?;
        self.0.barrier.adopt(&root, &ring)?;
        Ok(number)
    }

    /// The record under a key.
    pub async fn get<R: Record>(&self, key: &RecordKey<R>) -> Result<Option<Stored<R>>, StoreError> {
        let Some(entry) = self.0.backend.get(key.as_bytes()).await? else { return Ok(None) };
        let record = self.open_record(key.as_bytes(), &entry.value)?;
        Ok(Some(Stored { record, revision: entry.revision }))
    }

    /// The record under a key, opened only if it changed since the last time.
    pub async fn get_cached<R: Record>(
        &self,
        key: &RecordKey<R>,
        cache: &Cached<R>,
    ) -> Result<Option<Arc<Stored<R>>>, StoreError> {
        let Some(entry) = self.0.backend.get(key.as_bytes()).await? else { return Ok(None) };
        if let Some(held) = &*cache.0.load()
            && held.stored.revision == entry.revision
            && held.key == key.as_bytes()
        {
            return Ok(Some(Arc::clone(&held.stored)));
        }
        let record = self.open_record(key.as_bytes(), &entry.value)?;
        let stored = Arc::new(Stored { record, revision: entry.revision });
        cache.0.store(Some(Arc::new(Held { key: key.as_bytes().to_vec(), stored: Arc::clone(&stored) })));
        Ok(Some(stored))
    }

    /// The first `limit` records after `after`, in key order, which is no order a user would know.
    pub async fn scan<R: Record>(
        &self,
        prefix: &RecordPrefix<R>,
        after: Option<&RecordKey<R>>,
        limit: usize,
    ) -> Result<Vec<(RecordKey<R>, Stored<R>)>, StoreError> {
        let entries = self.0.backend.scan(prefix.as_bytes(), after.map(RecordKey::as_bytes), limit).await?;
        entries
            .into_iter()
            .map(|(key, entry)| {
                let record = self.open_record(&key, &entry.value)?;
                Ok((RecordKey::of(key), Stored { record, revision: entry.revision }))
            })
            .collect()
    }

    /// All records under a prefix, read a page at a time (so not of one moment).
    pub async fn scan_all<R: Record>(
        &self,
        prefix: &RecordPrefix<R>,
    ) -> Result<Vec<(RecordKey<R>, Stored<R>)>, StoreError> {
        const PAGE: usize = 1000;
        let mut all = Vec::new();
        loop {
            let page = self.scan(prefix, all.last().map(|(key, _)| key), PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Starts a set of changes that take effect together.
    pub fn transaction(&self) -> Transaction {
        Transaction { store: self.clone(), batch: Batch::default(), failed: None }
    }

    fn open_record<R: Record>(&self, key: &[u8], sealed: &[u8]) -> Result<R, StoreError> {
        decode(&self.0.barrier.open_record(key, sealed)?)
    }
}

/// Changes that take effect together, if what they were decided on still holds.
#[must_use = "nothing happens before commit"]
pub struct Transaction {
    store: Store,
    batch: Batch,
    failed: Option<StoreError>,
}

impl Transaction {
    /// Nothing may be there.
    pub fn expect_absent<R: Record>(&mut self, key: &RecordKey<R>) -> &mut Self {
        self.batch.checks.push(Check::Absent(key.as_bytes().to_vec()));
        self
    }

    /// Something must be there.
    pub fn expect_present<R: Record>(&mut self, key: &RecordKey<R>) -> &mut Self {
        self.batch.checks.push(Check::Present(key.as_bytes().to_vec()));
        self
    }

    /// What was read must still be what is there; `None`: there was nothing.
    pub fn expect<R: Record>(&mut self, key: &RecordKey<R>, read: Option<Revision>) -> &mut Self {
        self.batch.checks.push(match read {
            Some(revision) => Check::Unchanged(key.as_bytes().to_vec(), revision),
            None => Check::Absent(key.as_bytes().to_vec()),
        });
        self
    }

    /// Nothing may be left under the prefix once this is done.
    pub fn expect_empty_after<R: Record>(&mut self, prefix: &RecordPrefix<R>) -> &mut Self {
        self.batch.checks.push(Check::EmptyAfter(prefix.as_bytes().to_vec()));
        self
    }

    /// Stores or replaces a record.
    pub fn put<R: Record>(&mut self, key: &RecordKey<R>, record: &R) -> &mut Self {
        let sealed = encode(record).and_then(|plain| self.store.0.barrier.seal(key.as_bytes(), &plain));
        match sealed {
            Ok(sealed) => self.batch.writes.push(Write::Put(key.as_bytes().to_vec(), sealed)),
            Err(error) => self.failed = Some(error),
        }
        self
    }

    /// Removes a record; removing what is not there is no error.
    pub fn delete<R: Record>(&mut self, key: &RecordKey<R>) -> &mut Self {
        self.batch.writes.push(Write::Delete(key.as_bytes().to_vec()));
        self
    }

    /// Makes the changes, durably.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an expectation no longer holds: nothing was changed.
    pub async fn commit(self) -> Result<Revision, StoreError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.store.0.backend.commit(self.batch).await,
        }
    }
}

/// Tag and format version, then the fields.
fn encode<R: Record>(record: &R) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    // Room for the usual record, so that growing does not leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(512));
    bytes.extend_from_slice(&[R::TAG, R::FORMAT]);
    match postcard::to_extend(record, std::mem::take(&mut *bytes)) {
        Ok(full) => Ok(Zeroizing::new(full)),
        Err(_) => Err(StoreError::Corrupt { tag: R::TAG, what: "its fields could not be encoded" }),
    }
}

fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    match bytes {
        [tag, format, fields @ ..] if *tag == R::TAG => {
            R::decode(*format, fields).map_err(|what| StoreError::Corrupt { tag: R::TAG, what })
        }
        _ => Err(StoreError::Corrupt { tag: R::TAG, what: "it is of another type" }),
    }
}

#[cfg(test)]
mod tests {
    use model::{ManualClock, MountAccessor, SeededEntropy};

    use super::*;
    use crate::{Memory, records::Folder};

    #[tokio::test]
    async fn a_cached_record_is_never_another_keys_nor_an_old_one() {
        let entropy = Arc::new(SeededEntropy::new(1));
        let root = RootKey::random(entropy.as_ref());
        let clock = ManualClock::new(model::Timestamp::from_secs(1));
        let store = Store::init(Arc::new(Memory::new()), &root, &clock, entropy).await.unwrap();
        let top = store.keys().mount(&MountAccessor::parse("kv_00000001").unwrap());
        let key = |name: &str| store.keys().folder(top, store.keys().segment(top, name));
        let write = async |names: &[(&str, &str)]| {
            let mut transaction = store.transaction();
            for (at, name) in names {
                transaction.put(&key(at), &Folder { name: (*name).to_owned() });
            }
            transaction.commit().await.unwrap();
        };
        let cache = Cached::default();
        let read = async |at: &str| {
            store.get_cached(&key(at), &cache).await.unwrap().map(|stored| stored.record.name.clone())
        };
        // One commit: both records have the same revision.
        write(&[("a", "a"), ("b", "b")]).await;
        assert_eq!(read("a").await.as_deref(), Some("a"));
        assert_eq!(read("b").await.as_deref(), Some("b"));
        assert_eq!(read("a").await.as_deref(), Some("a"));
        write(&[("a", "new")]).await;
        assert_eq!(read("a").await.as_deref(), Some("new"));
        assert_eq!(read("none").await, None);
    }
}
