use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use model::{Clock, Entropy, StoreId, uuid_v4};

use crate::{
    Backend, Batch, Check, CommitWatch, Keys, Memory, Record, RecordKey, RecordPrefix, Revision, RootKey,
    StoreError, Write,
    barrier::{Barrier, Unopened},
    fence,
    guard::{GUARD_KEY, Guard},
    keyring::{self, KEYRING_KEY, KeyRing},
    records::StoreHeader,
};

/// The tag by which errors name the key ring, which is no record.
const KEYRING: u8 = 0;
/// The usual record fits; a larger one costs one more allocation.
const USUAL_RECORD: usize = 512;

/// Typed, sealed records over a back end. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    barrier: Barrier,
    keys: Keys,
    header: StoreHeader,
    entropy: Arc<dyn Entropy>,
    /// Kept to open the key ring again once it has changed.
    root: RootKey,
    watched: OnceLock<Arc<dyn CommitWatch>>,
}

/// A record and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<R> {
    /// The record.
    pub record: R,
    /// What [`Transaction::expect`] compares.
    pub revision: Revision,
}

/// A page of records that are not damaged.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound<R> {
    /// In key order.
    pub records: Vec<(RecordKey<R>, Stored<R>)>,
    /// How many were left out.
    pub damaged: usize,
    /// What the next page comes after; `None`: this was the last one.
    pub next: Option<RecordKey<R>>,
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
    pub(crate) fn watched(&self) -> &OnceLock<Arc<dyn CommitWatch>> {
        &self.0.watched
    }

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
        let ring = KeyRing::random(entropy.as_ref(), now);
        let (barrier, keys) = (Barrier::new(&ring, Arc::clone(&entropy)), ring.keys());
        let header = StoreHeader {
            id: StoreId::random(entropy.as_ref()),
            epoch: 0,
            created: now,
            cluster_id: uuid_v4(entropy.as_ref()),
        };
        let key = keys.header();
        let ring = ring.seal(root, &entropy).map_err(ring_corrupt)?;
        let sealed = seal(&barrier, &key, &header)?;
        let batch = Batch { checks: vec![Check::EmptyAfter(Vec::new())], writes: vec![] };
        // An empty back end first: a foreign one must not gain our records.
        backend.commit(batch).await?;
        let batch = Batch {
            checks: vec![Check::Absent(KEYRING_KEY.to_vec())],
            writes: vec![Write::Put(KEYRING_KEY.to_vec(), ring), Write::Put(key.as_bytes().to_vec(), sealed)],
        };
        backend.commit(batch).await?;
        let (root, watched) = (root.clone(), OnceLock::new());
        Ok(Self(Arc::new(Inner { backend, barrier, keys, header, entropy, root, watched })))
    }

    /// Makes a new store whose root key a guard keeps, together with what `fill` puts into it: all of it is
    /// there at once, or nothing is.
    ///
    /// # Errors
    /// As for [`Store::init`], and what `fill` answers.
    pub async fn init_guarded<T, F>(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        guard: &Guard,
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
        fill: F,
    ) -> Result<(Self, T), StoreError>
    where
        F: AsyncFnOnce(&Self) -> Result<T, StoreError>,
    {
        // Made in memory first, and carried over in one commit.
        let draft: Arc<dyn Backend> = Arc::new(Memory::new());
        let store = Self::init(Arc::clone(&draft), root, clock, Arc::clone(&entropy)).await?;
        let filled = fill(&store).await?;
        Self::carry_over(draft.as_ref(), backend.as_ref(), Some(guard)).await?;
        let store = Self::open(backend, root, entropy).await?;
        Ok((store.ok_or_else(|| ring_corrupt("the key ring is gone"))?, filled))
    }

    /// Puts what was made in a draft into an empty back end, with the guard of its root key if one keeps it:
    /// all of it is there at once, or nothing is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when something is there already; it is left as it is.
    pub(crate) async fn carry_over(
        draft: &dyn Backend,
        backend: &dyn Backend,
        guard: Option<&Guard>,
    ) -> Result<(), StoreError> {
        let entries = draft.scan(&[], None, usize::MAX).await?;
        let mut writes: Vec<Write> = guard.map(Guard::put).transpose()?.into_iter().collect();
        writes.extend(entries.into_iter().map(|(key, entry)| Write::Put(key, entry.value.to_vec())));
        // An empty back end first: a foreign one must not gain our records.
        backend.commit(Batch { checks: vec![Check::EmptyAfter(Vec::new())], writes: vec![] }).await?;
        let checks = [KEYRING_KEY, GUARD_KEY].map(|key| Check::Absent(key.to_vec())).into();
        backend.commit(Batch { checks, writes }).await?;
        Ok(())
    }

    /// Whether a back end holds a store, opened or not.
    pub async fn is_in(backend: &dyn Backend) -> Result<bool, StoreError> {
        Ok(backend.get(KEYRING_KEY).await?.is_some())
    }

    /// Opens a store. `None` when the back end holds none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the tag 0 when the root key is another store's, or the key ring is
    /// damaged.
    pub async fn open(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<Self>, StoreError> {
        Self::open_with(backend, root, entropy).await.map_err(|error| match error {
            OpenStore::WrongKey => ring_corrupt("the root key is another store's"),
            OpenStore::Store(error) => error,
        })
    }

    /// [`Store::open`], telling a wrong root key from all else.
    pub(crate) async fn open_with(
        backend: Arc<dyn Backend>,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<Self>, OpenStore> {
        let Some(ring) = backend.get(KEYRING_KEY).await? else { return Ok(None) };
        let ring = KeyRing::open(root, &ring.value).map_err(|unopened| match unopened {
            keyring::Unopened::WrongKey => OpenStore::WrongKey,
            keyring::Unopened::Broken(what) => ring_corrupt(what).into(),
        })?;
        let (barrier, keys) = (Barrier::new(&ring, Arc::clone(&entropy)), ring.keys());
        let key = keys.header();
        let corrupt = |what| StoreError::Corrupt { tag: StoreHeader::TAG, what };
        let entry = backend.get(key.as_bytes()).await?.ok_or_else(|| corrupt("the store has no header"))?;
        let header = match barrier.open(key.as_bytes(), &entry.value) {
            Ok(plain) => decode(&plain)?,
            Err(Unopened::Broken(what)) => return Err(corrupt(what).into()),
            Err(Unopened::UnknownTerm) => return Err(corrupt(UNKNOWN_TERM).into()),
        };
        let (root, watched) = (root.clone(), OnceLock::new());
        Ok(Some(Self(Arc::new(Inner { backend, barrier, keys, header, entropy, root, watched }))))
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

    /// When the key term that seals new records was made.
    pub async fn term_created(&self) -> Result<model::Timestamp, StoreError> {
        let (ring, _) = self.stored_ring().await?;
        ring.newest().ok_or_else(|| ring_corrupt("the key ring is empty"))
    }

    /// Whether other processes may be at work on it at the same time.
    pub fn shared(&self) -> bool {
        self.0.backend.shared()
    }

    /// The back end the records are in.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }

    /// The root key it was opened with, for whoever changes how that is kept.
    pub fn root_key(&self) -> &RootKey {
        &self.0.root
    }

    /// Adds a key term: records written from now on are sealed under it, older ones stay readable.
    /// Other processes on the same back end learn of it when they meet the first such record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another rotation came first.
    pub async fn rotate(&self, clock: &dyn Clock) -> Result<u32, StoreError> {
        let (ring, revision) = self.stored_ring().await?;
        let ring = ring
            .rotated(self.0.entropy.as_ref(), clock.now())
            .ok_or(StoreError::Backend("there can be no more key terms".into()))?;
        let sealed = ring.seal(&self.0.root, &self.0.entropy).map_err(ring_corrupt)?;
        let batch = Batch {
            checks: vec![Check::Unchanged(KEYRING_KEY.to_vec(), revision)],
            writes: vec![Write::Put(KEYRING_KEY.to_vec(), sealed)],
        };
        self.0.backend.commit(batch).await?;
        self.0.barrier.adopt(&ring);
        Ok(ring.term())
    }

    /// The key ring as it is stored now, perhaps by another process.
    async fn stored_ring(&self) -> Result<(KeyRing, Revision), StoreError> {
        let stored = self.0.backend.get(KEYRING_KEY).await?;
        let stored = stored.ok_or_else(|| ring_corrupt("the key ring is gone"))?;
        match KeyRing::open(&self.0.root, &stored.value) {
            Ok(ring) => Ok((ring, stored.revision)),
            Err(keyring::Unopened::WrongKey) => Err(ring_corrupt("the root key is another store's")),
            Err(keyring::Unopened::Broken(what)) => Err(ring_corrupt(what)),
        }
    }

    /// The record under a key.
    pub async fn get<R: Record>(&self, key: &RecordKey<R>) -> Result<Option<Stored<R>>, StoreError> {
        let Some(entry) = self.0.backend.get(key.as_bytes()).await? else { return Ok(None) };
        let record = self.open_record(key.as_bytes(), &entry.value).await?;
        Ok(Some(Stored { record, revision: entry.revision }))
    }

    /// The record under a key, opened only if it changed since the last time.
    pub async fn get_cached<R: Record>(
        &self,
        key: &RecordKey<R>,
        cache: &Cached<R>,
    ) -> Result<Option<Arc<Stored<R>>>, StoreError> {
        let Some(entry) = self.0.backend.get(key.as_bytes()).await? else {
            cache.0.store(None);
            return Ok(None);
        };
        if let Some(held) = &*cache.0.load()
            && held.stored.revision == entry.revision
            && held.key == key.as_bytes()
        {
            return Ok(Some(Arc::clone(&held.stored)));
        }
        let record = self.open_record(key.as_bytes(), &entry.value).await?;
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
        let mut found = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let record = self.open_record(&key, &entry.value).await?;
            found.push((RecordKey::of(key), Stored { record, revision: entry.revision }));
        }
        Ok(found)
    }

    /// The keys under a prefix with the commits that wrote what is there, in key order, without opening
    /// anything. For prefixes under which little is.
    pub async fn scan_revisions<R: Record>(
        &self,
        prefix: &RecordPrefix<R>,
    ) -> Result<Vec<(RecordKey<R>, Revision)>, StoreError> {
        let entries = self.0.backend.scan(prefix.as_bytes(), None, usize::MAX).await?;
        Ok(entries.into_iter().map(|(key, entry)| (RecordKey::of(key), entry.revision)).collect())
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

    /// [`Store::scan`] without what is damaged, which is told in the log: for whoever looks at each record for
    /// its own sake. Never to decide that something is not there.
    pub async fn scan_sound<R: Record>(
        &self,
        prefix: &RecordPrefix<R>,
        after: Option<&RecordKey<R>>,
        limit: usize,
    ) -> Result<Sound<R>, StoreError> {
        let entries = self.0.backend.scan(prefix.as_bytes(), after.map(RecordKey::as_bytes), limit).await?;
        let next =
            entries.last().filter(|_| entries.len() == limit).map(|(key, _)| RecordKey::of(key.clone()));
        let mut sound = Sound { records: Vec::with_capacity(entries.len()), damaged: 0, next };
        for (key, entry) in entries {
            match self.open_record(&key, &entry.value).await {
                Ok(record) => {
                    sound.records.push((RecordKey::of(key), Stored { record, revision: entry.revision }));
                }
                Err(error @ StoreError::Corrupt { .. }) => {
                    sound.damaged += 1;
                    tracing::error!(key = hex::encode(&key), %error, "a record is left out; see `keyferry doctor`");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sound)
    }

    /// All sound records under a prefix, read a page at a time, and how many damaged ones were left out.
    pub async fn scan_all_sound<R: Record>(
        &self,
        prefix: &RecordPrefix<R>,
    ) -> Result<(Vec<(RecordKey<R>, Stored<R>)>, usize), StoreError> {
        let (mut all, mut damaged, mut after) = (Vec::new(), 0, None);
        loop {
            let page = self.scan_sound(prefix, after.as_ref(), 1000).await?;
            all.extend(page.records);
            damaged += page.damaged;
            after = page.next;
            if after.is_none() {
                return Ok((all, damaged));
            }
        }
    }

    /// Starts a set of changes that take effect together.
    pub fn transaction(&self) -> Transaction {
        Transaction { store: self.clone(), batch: Batch::default(), failed: None }
    }

    /// Seals a record that its owner carries instead of the store: what a batch token consists of. Each
    /// is sealed under a key of its own, as stored records are.
    pub fn seal_detached<R: Record>(&self, record: &R) -> Result<Vec<u8>, StoreError> {
        let mut salt = [0; SALT];
        self.0.entropy.fill(&mut salt);
        let sealed = seal(&self.0.barrier, &detached_key::<R>(&salt), record)?;
        Ok([&salt, sealed.as_slice()].concat())
    }

    /// Opens what [`Store::seal_detached`] made. `None`: this store did not make it.
    pub async fn open_detached<R: Record>(&self, sealed: &[u8]) -> Result<Option<R>, StoreError> {
        let Some((salt, sealed)) = sealed.split_first_chunk::<SALT>() else { return Ok(None) };
        match self.open_record(detached_key::<R>(salt).as_bytes(), sealed).await {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn open_record<R: Record>(&self, key: &[u8], sealed: &[u8]) -> Result<R, StoreError> {
        let mut opened = self.0.barrier.open(key, sealed);
        if matches!(opened, Err(Unopened::UnknownTerm)) {
            // Another process may have added a term since this one read the key ring.
            self.0.barrier.adopt(&self.stored_ring().await?.0);
            opened = self.0.barrier.open(key, sealed);
        }
        match opened {
            Ok(plain) => decode(&plain),
            Err(Unopened::Broken(what)) => Err(StoreError::Corrupt { tag: R::TAG, what }),
            Err(Unopened::UnknownTerm) => Err(StoreError::Corrupt { tag: R::TAG, what: UNKNOWN_TERM }),
        }
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
        match seal(&self.store.0.barrier, key, record) {
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
    /// [`StoreError::Fenced`] when it was made [within a lease](crate::fence) that is lost.
    pub async fn commit(mut self) -> Result<Revision, StoreError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.batch.checks.extend(fence::current());
        match self.store.commit(self.batch).await {
            Err(StoreError::Conflict) => Err(fence::why_refused(self.store.0.backend.as_ref()).await),
            done => done,
        }
    }
}

/// Bytes of the salt before a detached record.
const SALT: usize = 16;

/// Longer than any key of a stored token, so the two cannot be taken for each other.
fn detached_key<R: Record>(salt: &[u8; SALT]) -> RecordKey<R> {
    RecordKey::of([&[R::TAG], b"detached".as_slice(), salt].concat())
}

const UNKNOWN_TERM: &str = "it is sealed under a key that the key ring does not hold";

fn ring_corrupt(what: &'static str) -> StoreError {
    StoreError::Corrupt { tag: KEYRING, what }
}

/// Why [`Store::open_with`] did not open a store.
#[derive(Debug)]
pub(crate) enum OpenStore {
    /// The root key is another store's.
    WrongKey,
    Store(StoreError),
}

impl From<StoreError> for OpenStore {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Tag and format version, then the fields, sealed.
pub(crate) fn seal<R: Record>(
    barrier: &Barrier,
    key: &RecordKey<R>,
    record: &R,
) -> Result<Vec<u8>, StoreError> {
    let corrupt = |what| StoreError::Corrupt { tag: R::TAG, what };
    let mut plain = Barrier::plain(USUAL_RECORD);
    plain.extend(&[R::TAG, R::FORMAT]);
    let plain = plain.with_fields(record).ok_or_else(|| corrupt("its fields could not be encoded"))?;
    barrier.seal(key.as_bytes(), plain).map_err(corrupt)
}

pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
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
    use crate::{
        Memory,
        fence::Fence,
        records::{Folder, NodeId, Shard},
    };

    struct Bench {
        backend: Arc<Memory>,
        root: RootKey,
        clock: ManualClock,
    }

    impl Bench {
        async fn new() -> (Self, Store) {
            let root = RootKey::random(&SeededEntropy::new(1));
            let clock = ManualClock::new(model::Timestamp::from_secs(1));
            let bench = Self { backend: Arc::new(Memory::new()), root, clock };
            let backend: Arc<Memory> = Arc::clone(&bench.backend);
            let entropy = Arc::new(SeededEntropy::new(2));
            let store = Store::init(backend, &bench.root, &bench.clock, entropy).await.unwrap();
            (bench, store)
        }

        /// Another handle, as another process would have.
        async fn open(&self, root: &RootKey) -> Result<Option<Store>, StoreError> {
            let backend: Arc<Memory> = Arc::clone(&self.backend);
            Store::open(backend, root, Arc::new(SeededEntropy::new(3))).await
        }
    }

    fn folder(store: &Store, name: &str) -> RecordKey<Folder> {
        let top = store.keys().mount(&MountAccessor::parse("kv_00000001").unwrap());
        store.keys().folder(top, store.keys().segment(top, name))
    }

    async fn write(store: &Store, at: &str, name: &str) {
        let mut transaction = store.transaction();
        transaction.put(&folder(store, at), &Folder { name: name.to_owned() });
        transaction.commit().await.unwrap();
    }

    async fn read(store: &Store, at: &str) -> Result<Option<String>, StoreError> {
        Ok(store.get(&folder(store, at)).await?.map(|stored| stored.record.name))
    }

    #[tokio::test]
    async fn a_store_is_made_once_and_opened_with_its_own_key() {
        let (bench, store) = Bench::new().await;
        write(&store, "a", "1").await;
        let again = Store::init(
            Arc::clone(&bench.backend) as Arc<dyn Backend>,
            &bench.root,
            &bench.clock,
            Arc::new(SeededEntropy::new(5)),
        );
        assert_eq!(again.await.err(), Some(StoreError::Conflict));
        let opened = bench.open(&bench.root).await.unwrap().unwrap();
        assert_eq!(opened.header(), store.header());
        assert_eq!(read(&opened, "a").await, Ok(Some("1".into())));
        let other = RootKey::random(&SeededEntropy::new(9));
        let refused = bench.open(&other).await.err().unwrap();
        assert!(refused.to_string().contains("another store's"), "{refused}");
        let empty = Arc::new(Memory::new());
        assert!(Store::open(empty, &bench.root, Arc::new(SeededEntropy::new(3))).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn records_survive_rotation_and_other_processes_follow() {
        let (bench, here) = Bench::new().await;
        let there = bench.open(&bench.root).await.unwrap().unwrap();
        write(&here, "old", "1").await;
        assert_eq!(here.rotate(&bench.clock).await, Ok(2));
        write(&here, "new", "2").await;
        assert_eq!((here.term(), there.term()), (2, 1));
        // What it does not know yet makes it read the key ring again.
        assert_eq!(read(&there, "new").await, Ok(Some("2".into())));
        assert_eq!(there.term(), 2);
        assert_eq!(read(&there, "old").await, Ok(Some("1".into())));
        // Also when scanning, and in the other direction.
        assert_eq!(there.rotate(&bench.clock).await, Ok(3));
        write(&there, "newer", "3").await;
        let top = here.keys().mount(&MountAccessor::parse("kv_00000001").unwrap());
        assert_eq!(here.scan_all(&here.keys().folders_in(top)).await.unwrap().len(), 3);
        assert_eq!(here.term(), 3);
        let reopened = bench.open(&bench.root).await.unwrap().unwrap();
        assert_eq!(reopened.term(), 3);
        for (at, name) in [("old", "1"), ("new", "2"), ("newer", "3")] {
            assert_eq!(read(&reopened, at).await, Ok(Some(name.into())));
        }
    }

    #[tokio::test]
    async fn a_rotation_from_a_process_that_is_behind_adds_to_the_newest_ring() {
        let (bench, here) = Bench::new().await;
        let there = bench.open(&bench.root).await.unwrap().unwrap();
        here.rotate(&bench.clock).await.unwrap();
        assert_eq!(there.rotate(&bench.clock).await, Ok(3));
    }

    #[tokio::test]
    async fn tampering_in_the_back_end_is_damage_and_never_absence() {
        let (bench, store) = Bench::new().await;
        write(&store, "a", "1").await;
        write(&store, "b", "2").await;
        let (a, b) = (folder(&store, "a"), folder(&store, "b"));
        let put = |key: &RecordKey<Folder>, value: &[u8]| {
            let write = Write::Put(key.as_bytes().to_vec(), value.to_vec());
            bench.backend.commit(Batch { checks: vec![], writes: vec![write] })
        };
        let sealed = bench.backend.get(a.as_bytes()).await.unwrap().unwrap().value;
        // One record's value in another's place.
        put(&b, &sealed).await.unwrap();
        assert!(matches!(read(&store, "b").await, Err(StoreError::Corrupt { tag: Folder::TAG, .. })));
        // A term nobody ever made.
        let mut unknown = sealed.to_vec();
        unknown[1] = 0xff;
        put(&a, &unknown).await.unwrap();
        assert_eq!(
            read(&store, "a").await,
            Err(StoreError::Corrupt { tag: Folder::TAG, what: UNKNOWN_TERM })
        );
        put(&a, b"").await.unwrap();
        assert!(matches!(read(&store, "a").await, Err(StoreError::Corrupt { .. })));
        put(&a, &sealed).await.unwrap();
        assert_eq!(read(&store, "a").await, Ok(Some("1".into())));
        // The key ring.
        let delete = Write::Delete(KEYRING_KEY.to_vec());
        bench.backend.commit(Batch { checks: vec![], writes: vec![delete] }).await.unwrap();
        assert!(matches!(store.rotate(&bench.clock).await, Err(StoreError::Corrupt { tag: 0, .. })));
    }

    #[tokio::test]
    async fn a_detached_record_opens_where_it_was_made_and_nowhere_else() {
        let (bench, store) = Bench::new().await;
        let record = Folder { name: "carried".to_owned() };
        let sealed = store.seal_detached(&record).unwrap();
        assert_ne!(sealed, store.seal_detached(&record).unwrap());
        assert_eq!(store.open_detached(&sealed).await, Ok(Some(record)));
        store.rotate(&bench.clock).await.unwrap();
        assert!(store.open_detached::<Folder>(&sealed).await.unwrap().is_some(), "after a rotation too");
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(store.open_detached::<Folder>(&other).await, Ok(None), "byte {at}");
        }
        for short in 0..sealed.len() {
            assert_eq!(store.open_detached::<Folder>(&sealed[..short]).await, Ok(None));
        }
        let key = RootKey::random(&SeededEntropy::new(8));
        let other = Store::init(Arc::new(Memory::new()), &key, &bench.clock, Arc::new(SeededEntropy::new(9)));
        assert_eq!(other.await.unwrap().open_detached::<Folder>(&sealed).await, Ok(None));
    }

    #[tokio::test]
    async fn what_is_done_for_a_lease_ends_with_it() {
        let (_bench, store) = Bench::new().await;
        let key = store.keys().shard(7);
        let take = async |owner: u8, term| {
            let mut transaction = store.transaction();
            let owner = Some(NodeId::from_bytes([owner; 16]));
            transaction.put(&key, &Shard { owner, term, settled: false });
            transaction.commit().await.unwrap()
        };
        let fence = Fence::new(&key, take(1, 1).await);
        let change = async |expect: Option<Revision>| {
            let mut transaction = store.transaction();
            let at = folder(&store, "a");
            transaction.expect(&at, expect).put(&at, &Folder { name: "x".to_owned() });
            transaction.commit().await
        };
        let first = crate::fence::within(fence.clone(), change(None)).await.unwrap();
        // Decided on what has changed, which is no reason to stop.
        assert_eq!(crate::fence::within(fence.clone(), change(None)).await, Err(StoreError::Conflict));
        take(2, 2).await;
        assert_eq!(crate::fence::within(fence.clone(), change(Some(first))).await, Err(StoreError::Fenced));
        assert_eq!(store.get(&folder(&store, "a")).await.unwrap().unwrap().revision, first);
        // Who does it for no lease is not held up.
        assert!(change(Some(first)).await.is_ok());
    }

    #[tokio::test]
    async fn the_back_end_sees_neither_names_nor_values() {
        let (bench, store) = Bench::new().await;
        write(&store, "canary-name", "canary-value").await;
        for (key, entry) in bench.backend.scan(b"", None, 100).await.unwrap() {
            for stored in [key.as_slice(), &entry.value] {
                assert!(!stored.windows(6).any(|window| window == b"canary"));
            }
        }
    }

    #[tokio::test]
    async fn a_cached_record_is_never_another_keys_nor_an_old_one() {
        let (_bench, store) = Bench::new().await;
        let write = async |names: &[(&str, &str)]| {
            let mut transaction = store.transaction();
            for (at, name) in names {
                transaction.put(&folder(&store, at), &Folder { name: (*name).to_owned() });
            }
            transaction.commit().await.unwrap();
        };
        let cache = Cached::default();
        let read = async |at: &str| {
            store
                .get_cached(&folder(&store, at), &cache)
                .await
                .unwrap()
                .map(|stored| stored.record.name.clone())
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
