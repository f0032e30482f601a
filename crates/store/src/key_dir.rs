//! The directory of a server whose store is in a database: it holds the root key's file and nothing else. Every
//! server of that store has such a directory, with a copy of the same file.
//!
//! Making a store is one step as far as anyone can see: until it is in the database the key has a working
//! name, `root.key.new`. Should the process end between the two, [`open`] finishes the step.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use model::{Clock, Entropy};

use crate::{
    Backend, Memory, OpenError, RootKey, Store, StoreError,
    data_dir::{KEY_FILE, NEW_KEY_FILE, check_dir, exists, make_dir},
    embedded::sync_dir_of,
    root_key_file,
    typed::OpenStore,
};

/// A store that is made but not in its database yet. Without [`Prepared::finish`] the key's file is removed
/// again, and nothing else was done.
pub struct Prepared {
    store: Store,
    backend: Arc<dyn Backend>,
    place: String,
    key: PathBuf,
    new_key: PathBuf,
    finished: bool,
}

/// Makes a store for an empty database, and its root key's file. `place` names the database in what is said.
///
/// # Errors
/// When there is a store or a key already, which are left as they are, or one of the two places cannot be used.
pub async fn prepare(
    dir: &Path,
    backend: Arc<dyn Backend>,
    place: &str,
    clock: &dyn Clock,
    entropy: Arc<dyn Entropy>,
) -> Result<Prepared, OpenError> {
    let (key, new_key) = (dir.join(KEY_FILE), dir.join(NEW_KEY_FILE));
    let contents = |source| OpenError::InDatabase { place: place.to_owned(), source };
    if Store::is_in(backend.as_ref()).await.map_err(contents)? {
        return Err(OpenError::StoreThere { place: place.to_owned() });
    }
    make_dir(dir)?;
    check_dir(dir)?;
    if exists(&key)? {
        return Err(OpenError::AlreadyThere { file: key });
    }
    let root = RootKey::random(entropy.as_ref());
    // Only one init gets past this.
    root_key_file::create(&new_key, &root).map_err(|error| match error {
        OpenError::AlreadyThere { file } => {
            OpenError::InitUnfinished { new_key: file, place: place.to_owned() }
        }
        other => other,
    })?;
    let made = Store::init(Arc::new(Memory::new()), &root, clock, entropy).await;
    match made {
        Ok(store) => Ok(Prepared { store, backend, place: place.to_owned(), key, new_key, finished: false }),
        Err(source) => {
            let _ = fs::remove_file(&new_key);
            Err(contents(source))
        }
    }
}

/// Opens the store in a database by the root key in the directory.
///
/// # Errors
/// When there is no store (nothing is ever made here), when the directory or the key file is open to others,
/// and when the key is missing or another store's.
pub async fn open(
    dir: &Path,
    backend: Arc<dyn Backend>,
    place: &str,
    entropy: Arc<dyn Entropy>,
) -> Result<Store, OpenError> {
    let (key, new_key) = (dir.join(KEY_FILE), dir.join(NEW_KEY_FILE));
    let place = || place.to_owned();
    if !Store::is_in(backend.as_ref())
        .await
        .map_err(|source| OpenError::InDatabase { place: place(), source })?
    {
        return Err(OpenError::NoStoreInDatabase { place: place() });
    }
    // An init that ended after the store was in the database and before the key had its name.
    let unfinished = !exists(&key)? && exists(&new_key)?;
    let file = if unfinished { &new_key } else { &key };
    if exists(dir)? {
        check_dir(dir)?;
    }
    let root = root_key_file::read(file)?;
    match Store::open_with(backend, &root, entropy).await {
        Ok(Some(store)) => {
            if unfinished {
                name_key(&new_key, &key)?;
            }
            Ok(store)
        }
        Ok(None) => Err(OpenError::NoStoreInDatabase { place: place() }),
        Err(OpenStore::WrongKey) => Err(OpenError::WrongKeyForDatabase { key: file.clone(), place: place() }),
        Err(OpenStore::Store(source)) => Err(OpenError::InDatabase { place: place(), source }),
    }
}

fn name_key(new_key: &Path, key: &Path) -> Result<(), OpenError> {
    fs::rename(new_key, key).map_err(OpenError::io("rename", new_key))?;
    sync_dir_of(key)
}

impl Prepared {
    /// The store, to put into it what belongs to its making: a root token.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Puts it into the database, in one commit, and gives the key's file its name.
    ///
    /// # Errors
    /// When somebody else made a store there meanwhile, or the database fails. If it does not say whether the
    /// store was made, the key is kept under its working name.
    pub async fn finish(mut self) -> Result<(), OpenError> {
        match Store::carry_over(self.store.backend().as_ref(), self.backend.as_ref(), None).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(OpenError::StoreThere { place: self.place.clone() }),
            Err(source) => {
                self.finished = source == StoreError::Unknown;
                return Err(OpenError::InDatabase { place: self.place.clone(), source });
            }
        }
        self.finished = true;
        name_key(&self.new_key, &self.key)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing was promised about it, and the failure that led here is the one to tell.
            let _ = fs::remove_file(&self.new_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{ManualClock, SeededEntropy, Timestamp};
    use tempfile::TempDir;

    use super::*;

    fn entropy(seed: u64) -> Arc<SeededEntropy> {
        Arc::new(SeededEntropy::new(seed))
    }

    async fn make(dir: &Path, backend: &Arc<Memory>, seed: u64) -> Result<Prepared, OpenError> {
        let clock = ManualClock::new(Timestamp::from_secs(1));
        prepare(dir, backend.clone(), "db", &clock, entropy(seed)).await
    }

    async fn reopen(dir: &Path, backend: &Arc<Memory>) -> Result<Store, OpenError> {
        open(dir, backend.clone(), "db", entropy(9)).await
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_store_is_made_once_and_opened_wherever_its_key_is() {
        let (temp, backend) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        assert!(matches!(reopen(&one, &backend).await, Err(OpenError::NoStoreInDatabase { .. })));
        make(&one, &backend, 1).await.unwrap().finish().await.unwrap();
        assert_eq!(names(&one), [KEY_FILE]);
        let id = reopen(&one, &backend).await.unwrap().header().id;
        assert!(matches!(make(&one, &backend, 2).await, Err(OpenError::StoreThere { .. })));
        assert!(matches!(make(&two, &backend, 2).await, Err(OpenError::StoreThere { .. })));
        assert!(matches!(reopen(&two, &backend).await, Err(OpenError::NoKey { .. })));
        make_dir(&two).unwrap();
        fs::copy(one.join(KEY_FILE), two.join(KEY_FILE)).unwrap();
        assert_eq!(reopen(&two, &backend).await.unwrap().header().id, id);
    }

    #[tokio::test]
    async fn of_two_inits_one_makes_the_store_and_the_other_leaves_nothing() {
        let (temp, backend) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        let (first, second) =
            (make(&one, &backend, 1).await.unwrap(), make(&two, &backend, 2).await.unwrap());
        let again = make(&one, &backend, 3).await.err().unwrap();
        assert!(matches!(again, OpenError::InitUnfinished { .. }), "{again}");
        second.finish().await.unwrap();
        assert!(matches!(first.finish().await, Err(OpenError::StoreThere { .. })));
        assert!(names(&one).is_empty());
        reopen(&two, &backend).await.unwrap();
    }

    #[tokio::test]
    async fn an_init_that_was_given_up_leaves_nothing() {
        let (temp, backend) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        drop(make(temp.path(), &backend, 1).await.unwrap());
        assert!(names(temp.path()).is_empty());
        assert!(!Store::is_in(backend.as_ref()).await.unwrap());
    }

    #[tokio::test]
    async fn an_init_that_was_cut_off_after_its_commit_is_finished_by_opening() {
        let (temp, backend) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        make(temp.path(), &backend, 1).await.unwrap().finish().await.unwrap();
        fs::rename(temp.path().join(KEY_FILE), temp.path().join(NEW_KEY_FILE)).unwrap();
        reopen(temp.path(), &backend).await.unwrap();
        assert_eq!(names(temp.path()), [KEY_FILE]);
    }

    #[tokio::test]
    async fn another_stores_key_is_refused() {
        let (temp, backend) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        make(temp.path(), &backend, 1).await.unwrap().finish().await.unwrap();
        fs::remove_file(temp.path().join(KEY_FILE)).unwrap();
        let other = RootKey::random(entropy(7).as_ref());
        root_key_file::create(&temp.path().join(KEY_FILE), &other).unwrap();
        let refused = reopen(temp.path(), &backend).await.err().unwrap().to_string();
        assert!(refused.contains("root.key") && refused.contains("db"), "{refused}");
    }
}
