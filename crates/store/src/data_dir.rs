//! A data directory: the store of a single server and the root key that opens it.
//!
//! `keyferry.redb` is the store, `root.key` the key (see [`root_key_file`]). Making both is one step
//! as far as anyone can see: the key has a working name, `root.key.new`, until everything is in place,
//! and a directory where that name is left over is called an interrupted init.

use std::{
    fs::{self, DirBuilder},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use model::{Clock, Entropy};

use crate::{
    Embedded, EmbeddedOptions, OpenError, RootKey, Store, embedded::sync_dir_of, root_key_file,
    typed::OpenStore,
};

/// The store's file in a data directory.
pub const STORE_FILE: &str = "keyferry.redb";
/// The root key's file in a data directory. Keep a copy of it elsewhere.
pub const KEY_FILE: &str = "root.key";
/// The root key's file before the store is complete.
pub(crate) const NEW_KEY_FILE: &str = "root.key.new";

/// A store that is made but not finished: without [`Prepared::finish`] it is removed again.
pub struct Prepared {
    store: Store,
    unfinished: Unfinished,
}

/// What is removed again unless it is finished.
struct Unfinished {
    files: Files,
    /// Whether the store's file is this one's to remove.
    store_made: bool,
    finished: bool,
}

/// The files of a data directory.
struct Files {
    dir: PathBuf,
    store: PathBuf,
    key: PathBuf,
    new_key: PathBuf,
}

/// Makes a data directory, with a new store and its root key.
///
/// # Errors
/// When something is there already, which is left as it is, or the directory cannot be used.
pub async fn init(dir: &Path, clock: &dyn Clock, entropy: Arc<dyn Entropy>) -> Result<Store, OpenError> {
    prepare(dir, clock, entropy).await?.finish()
}

/// [`init`], but leaves the last step to the caller, who has things to put into the store that belong
/// to its making: a root token. Should the process end before [`Prepared::finish`], nobody will take
/// what is there for a store.
///
/// # Errors
/// As for [`init`].
pub async fn prepare(
    dir: &Path,
    clock: &dyn Clock,
    entropy: Arc<dyn Entropy>,
) -> Result<Prepared, OpenError> {
    let files = Files::in_dir(dir);
    make_dir(dir)?;
    check_dir(dir)?;
    files.check_unused()?;
    let root = RootKey::random(entropy.as_ref());
    // Only one init gets past this; a second one is told that one was interrupted or is under way.
    root_key_file::create(&files.new_key, &root).map_err(|error| match error {
        OpenError::AlreadyThere { .. } => files.interrupted(),
        other => other,
    })?;
    // From here on, failing removes what was made.
    let mut unfinished = Unfinished { files, store_made: false, finished: false };
    let path = &unfinished.files.store;
    let file = Embedded::create(path, EmbeddedOptions::default())?;
    unfinished.store_made = true;
    let store = Store::init(Arc::new(file), &root, clock, entropy)
        .await
        .map_err(|source| OpenError::Contents { file: path.clone(), source })?;
    Ok(Prepared { store, unfinished })
}

/// Opens the store in a data directory.
///
/// # Errors
/// When there is none (nothing is ever made here), when the directory or the key file is open to
/// others, when the key is missing or another store's, and when the store is in use, damaged or of
/// another format.
pub async fn open(
    dir: &Path,
    entropy: Arc<dyn Entropy>,
    options: EmbeddedOptions,
) -> Result<Store, OpenError> {
    let files = Files::in_dir(dir);
    if !exists(&files.store)? {
        return Err(OpenError::NoStore { file: files.store });
    }
    if exists(&files.new_key)? && !exists(&files.key)? {
        return Err(files.interrupted());
    }
    check_dir(dir)?;
    let root = root_key_file::read(&files.key)?;
    let file = Embedded::open(&files.store, options)?;
    match Store::open_with(Arc::new(file), &root, entropy).await {
        Ok(Some(store)) => Ok(store),
        Ok(None) => Err(OpenError::Damaged { file: files.store, what: "it holds no key ring".into() }),
        Err(OpenStore::WrongKey) => Err(OpenError::WrongKey { key: files.key, file: files.store }),
        Err(OpenStore::Store(source)) => Err(OpenError::Contents { file: files.store, source }),
    }
}

/// The back end in a data directory whose root key is not kept beside it; made, empty, if there is none.
/// What is in it is for the caller to find out.
///
/// # Errors
/// When the directory is open to others or cannot be used, when it holds a root key file (then [`open`] is
/// the way in), and when the store is in use, damaged or of another format.
pub fn backend(dir: &Path, options: EmbeddedOptions) -> Result<Embedded, OpenError> {
    let files = Files::in_dir(dir);
    make_dir(dir)?;
    check_dir(dir)?;
    if exists(&files.new_key)? {
        return Err(files.interrupted());
    }
    if exists(&files.key)? {
        return Err(OpenError::KeyFileThere { key: files.key });
    }
    if exists(&files.store)? {
        Embedded::open(&files.store, options)
    } else {
        Embedded::create(&files.store, options)
    }
}

/// The back end in a data directory that no server has open, for looking at it: its root key may be kept
/// beside it or not. Nothing is made.
///
/// # Errors
/// When there is none, and when it is in use, damaged or of another format.
pub fn existing(dir: &Path, options: EmbeddedOptions) -> Result<Embedded, OpenError> {
    let files = Files::in_dir(dir);
    if exists(&files.new_key)? && !exists(&files.key)? {
        return Err(files.interrupted());
    }
    Embedded::open(&files.store, options)
}

/// The root key that is kept in a data directory; `None`: it is kept elsewhere.
///
/// # Errors
/// As for [`root_key_file::read`], but for the file's absence.
pub fn root_key(dir: &Path) -> Result<Option<RootKey>, OpenError> {
    let files = Files::in_dir(dir);
    if exists(&files.key)? { root_key_file::read(&files.key).map(Some) } else { Ok(None) }
}

/// A store on its way into a directory that holds none. Without [`Arriving::finish`] it is removed again, and
/// nobody takes it for a store meanwhile.
pub struct Arriving {
    files: Files,
    part: PathBuf,
    finished: bool,
}

/// Makes room for a store that is restored into a directory that holds none; and its back end, empty.
///
/// # Errors
/// When there is a store already, which is left as it is, or the directory cannot be used.
pub fn arrive(dir: &Path) -> Result<(Arriving, Embedded), OpenError> {
    let files = Files::in_dir(dir);
    make_dir(dir)?;
    check_dir(dir)?;
    if exists(&files.new_key)? {
        return Err(files.interrupted());
    }
    if exists(&files.store)? {
        return Err(OpenError::AlreadyThere { file: files.store });
    }
    let part = dir.join(format!("{STORE_FILE}.restoring"));
    let backend = Embedded::create(&part, EmbeddedOptions::default())?;
    Ok((Arriving { files, part, finished: false }, backend))
}

impl Arriving {
    /// Gives the store its name, once its back end is closed, and puts its root key beside it if that is where
    /// it is to be kept.
    ///
    /// # Errors
    /// When the files cannot be written; then the store is removed again.
    pub fn finish(mut self, key: Option<&RootKey>) -> Result<(), OpenError> {
        if let Some(key) = key
            && !exists(&self.files.key)?
        {
            root_key_file::create(&self.files.key, key)?;
        }
        fs::rename(&self.part, &self.files.store).map_err(OpenError::io("rename", &self.part))?;
        self.finished = true;
        sync_dir_of(&self.files.store)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing was promised about it, and the failure that led here is the one to tell.
            let _ = fs::remove_file(&self.part);
        }
    }
}

impl Prepared {
    /// The store, which can be used.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes it a store that [`open`] opens.
    ///
    /// # Errors
    /// When the key file cannot be given its name; then everything is removed.
    pub fn finish(mut self) -> Result<Store, OpenError> {
        let Files { key, new_key, .. } = &self.unfinished.files;
        fs::rename(new_key, key).map_err(OpenError::io("rename", new_key))?;
        self.unfinished.finished = true;
        sync_dir_of(key)?;
        Ok(self.store)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing was promised about them, and the failure that led here is the one to tell.
        if !self.finished && self.store_made {
            let _ = fs::remove_file(&self.files.store);
        }
        if !self.finished {
            let _ = fs::remove_file(&self.files.new_key);
        }
    }
}

impl Files {
    fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            store: dir.join(STORE_FILE),
            key: dir.join(KEY_FILE),
            new_key: dir.join(NEW_KEY_FILE),
        }
    }

    fn check_unused(&self) -> Result<(), OpenError> {
        if exists(&self.new_key)? {
            return Err(self.interrupted());
        }
        if exists(&self.store)? {
            return Err(OpenError::AlreadyThere { file: self.store.clone() });
        }
        if exists(&self.key)? {
            return Err(OpenError::KeyWithoutStore { key: self.key.clone(), file: self.store.clone() });
        }
        Ok(())
    }

    fn interrupted(&self) -> OpenError {
        OpenError::Interrupted {
            dir: self.dir.clone(),
            new_key: self.new_key.clone(),
            file: self.store.clone(),
        }
    }
}

pub(crate) fn exists(path: &Path) -> Result<bool, OpenError> {
    // Also a link that leads nowhere is in the way.
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::io("look at", path)(error)),
    }
}

/// Makes the directory, and those above it, for their owner only.
pub(crate) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(OpenError::io("create", dir))?;
    missing.into_iter().filter(|dir| !dir.as_os_str().is_empty()).try_for_each(sync_dir_of)
}

/// Whoever can write to the directory can replace the key and the store.
pub(crate) fn check_dir(dir: &Path) -> Result<(), OpenError> {
    #[cfg(unix)]
    {
        let metadata = fs::metadata(dir).map_err(OpenError::io("look at", dir))?;
        let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o7777;
        if mode & 0o022 != 0 {
            return Err(OpenError::DirOpenToOthers { dir: dir.to_path_buf(), mode });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::{ManualClock, SeededEntropy, Timestamp};
    use tempfile::TempDir;

    use super::*;
    use crate::{StoreError, records::SyncConfig};

    fn entropy(seed: u64) -> Arc<SeededEntropy> {
        Arc::new(SeededEntropy::new(seed))
    }

    fn clock() -> ManualClock {
        ManualClock::new(Timestamp::from_secs(1))
    }

    async fn make(dir: &Path) -> Result<Store, OpenError> {
        init(dir, &clock(), entropy(1)).await
    }

    async fn reopen(dir: &Path) -> Result<Store, OpenError> {
        open(dir, entropy(2), EmbeddedOptions::default()).await
    }

    async fn put(store: &Store) {
        let mut transaction = store.transaction();
        transaction.put(&store.keys().sync_config(), &SyncConfig { disabled: true, ..SyncConfig::default() });
        transaction.commit().await.unwrap();
    }

    async fn is_put(store: &Store) -> bool {
        store.get(&store.keys().sync_config()).await.unwrap().is_some_and(|stored| stored.record.disabled)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_store_is_made_once_and_opened_again() {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("some/where");
        let store = make(&dir).await.unwrap();
        put(&store).await;
        let header = store.header().clone();
        drop(store);
        assert_eq!(names(&dir), [STORE_FILE, KEY_FILE]);
        let store = reopen(&dir).await.unwrap();
        assert_eq!((store.header(), store.backend_name()), (&header, "embedded"));
        assert!(is_put(&store).await);
        assert!(matches!(make(&dir).await, Err(OpenError::AlreadyThere { .. })));
        drop(store);
        assert!(matches!(make(&dir).await, Err(OpenError::AlreadyThere { .. })));
        assert!(is_put(&reopen(&dir).await.unwrap()).await, "left as it was");
    }

    #[tokio::test]
    async fn opening_makes_nothing() {
        let temp = TempDir::new().unwrap();
        assert!(matches!(reopen(temp.path()).await, Err(OpenError::NoStore { .. })));
        assert!(names(temp.path()).is_empty());
        let nowhere = temp.path().join("nowhere");
        assert!(matches!(reopen(&nowhere).await, Err(OpenError::NoStore { .. })));
        assert!(!nowhere.exists());
    }

    #[tokio::test]
    async fn an_unfinished_store_leaves_nothing_behind() {
        let temp = TempDir::new().unwrap();
        let prepared = prepare(temp.path(), &clock(), entropy(1)).await.unwrap();
        put(prepared.store()).await;
        let second = make(temp.path()).await.err().unwrap();
        assert!(matches!(second, OpenError::Interrupted { .. }), "{second}");
        assert!(matches!(reopen(temp.path()).await, Err(OpenError::Interrupted { .. })));
        drop(prepared);
        assert!(names(temp.path()).is_empty());
        let prepared = prepare(temp.path(), &clock(), entropy(1)).await.unwrap();
        put(prepared.store()).await;
        drop(prepared.finish().unwrap());
        assert!(is_put(&reopen(temp.path()).await.unwrap()).await);
    }

    #[tokio::test]
    async fn an_init_that_was_cut_off_is_told_and_can_be_done_again() {
        let temp = TempDir::new().unwrap();
        let prepared = prepare(temp.path(), &clock(), entropy(1)).await.unwrap();
        std::mem::forget(prepared);
        let told = make(temp.path()).await.err().unwrap().to_string();
        for file in [STORE_FILE, NEW_KEY_FILE] {
            let path = temp.path().join(file);
            assert!(told.contains(path.to_str().unwrap()), "{told}");
            fs::remove_file(path).unwrap();
        }
        make(temp.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_or_foreign_key_is_refused() {
        let temp = TempDir::new().unwrap();
        let (here, there) = (temp.path().join("here"), temp.path().join("there"));
        drop(make(&here).await.unwrap());
        drop(init(&there, &clock(), entropy(9)).await.unwrap());
        let key = here.join(KEY_FILE);
        let own = fs::read(&key).unwrap();
        fs::copy(there.join(KEY_FILE), &key).unwrap();
        let refused = reopen(&here).await.err().unwrap();
        assert!(matches!(refused, OpenError::WrongKey { .. }), "{refused}");
        for file in [&key, &here.join(STORE_FILE)] {
            assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
        }
        fs::write(&key, "mistyped").unwrap();
        assert!(matches!(reopen(&here).await, Err(OpenError::KeyMalformed { .. })));
        fs::remove_file(&key).unwrap();
        assert!(matches!(reopen(&here).await, Err(OpenError::NoKey { .. })));
        root_key_file::create(&key, &RootKey::random(&SeededEntropy::new(1))).unwrap();
        fs::write(&key, own).unwrap();
        reopen(&here).await.unwrap();
    }

    #[tokio::test]
    async fn a_key_whose_store_was_moved_away_is_kept() {
        let temp = TempDir::new().unwrap();
        drop(make(temp.path()).await.unwrap());
        fs::remove_file(temp.path().join(STORE_FILE)).unwrap();
        let key = fs::read(temp.path().join(KEY_FILE)).unwrap();
        assert!(matches!(make(temp.path()).await, Err(OpenError::KeyWithoutStore { .. })));
        assert!(matches!(reopen(temp.path()).await, Err(OpenError::NoStore { .. })));
        assert_eq!(fs::read(temp.path().join(KEY_FILE)).unwrap(), key);
    }

    #[tokio::test]
    async fn a_store_that_was_never_initialised_is_refused() {
        let temp = TempDir::new().unwrap();
        drop(Embedded::create(&temp.path().join(STORE_FILE), EmbeddedOptions::default()).unwrap());
        root_key_file::create(&temp.path().join(KEY_FILE), &RootKey::random(&SeededEntropy::new(1))).unwrap();
        let refused = reopen(temp.path()).await.err().unwrap();
        assert!(refused.to_string().contains("no key ring"), "{refused}");
    }

    #[tokio::test]
    async fn a_damaged_key_ring_is_no_wrong_key() {
        use crate::{Backend, Batch, Write, keyring::KEYRING_KEY};
        let temp = TempDir::new().unwrap();
        drop(make(temp.path()).await.unwrap());
        let file = Embedded::open(&temp.path().join(STORE_FILE), EmbeddedOptions::default()).unwrap();
        let mut ring = file.get(KEYRING_KEY).await.unwrap().unwrap().value.to_vec();
        *ring.last_mut().unwrap() ^= 1;
        let writes = vec![Write::Put(KEYRING_KEY.to_vec(), ring)];
        file.commit(Batch { checks: vec![], writes }).await.unwrap();
        drop(file);
        let refused = reopen(temp.path()).await.err().unwrap();
        assert!(
            matches!(refused, OpenError::Contents { source: StoreError::Corrupt { tag: 0, .. }, .. }),
            "{refused}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_gets_in() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("data");
        drop(make(&dir).await.unwrap());
        assert_eq!(mode(&dir), 0o700);
        assert_eq!((mode(&dir.join(STORE_FILE)), mode(&dir.join(KEY_FILE))), (0o600, 0o600));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = reopen(&dir).await.err().unwrap();
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        reopen(&dir).await.unwrap();
        let open_dir = temp.path().join("open");
        fs::create_dir(&open_dir).unwrap();
        fs::set_permissions(&open_dir, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(make(&open_dir).await, Err(OpenError::DirOpenToOthers { mode: 0o1777, .. })));
        assert!(names(&open_dir).is_empty());
    }
}
