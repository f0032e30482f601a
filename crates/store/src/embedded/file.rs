//! Making and opening the store's file, and telling apart what is wrong with one that does not open.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError, TableDefinition,
    TableError, backends::FileBackend,
};

use super::{EmbeddedOptions, disk::Disk};
use crate::OpenError;

/// Sealed entries. A value is the revision that wrote it, 8 bytes big endian, and the entry's bytes.
pub(super) const ENTRIES: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("entries");
/// What the file says about itself. Its name is what makes a redb file one of ours.
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("keyferry store");
/// In [`META`]: the layout of both tables.
const META_FORMAT: &str = "format";
/// In [`META`]: no entry carries a higher revision than this. Raised a block at a time, so that an
/// ordinary commit need not write it.
pub(super) const META_RESERVED: &str = "revisions reserved";
/// The layout written today.
const FORMAT: u64 = 1;

/// What every redb file begins with, whatever its version.
const REDB_MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Where the bytes come from: the file, or a pretend disk in tests. Called again when the file is
/// opened anew after a failed write.
pub(super) type Bytes = Box<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send>;

/// How to open the database, as often as needed.
pub(super) struct Source {
    /// For messages only.
    pub(super) path: PathBuf,
    bytes: Bytes,
    options: EmbeddedOptions,
    /// Set for good once a flush to disk failed.
    flush_failed: Arc<AtomicBool>,
}

/// An open database and what it says about itself.
pub(super) struct Opened {
    pub(super) database: Database,
    /// No entry carries a higher revision.
    pub(super) reserved: u64,
}

impl Source {
    pub(super) fn file(path: &Path, options: EmbeddedOptions) -> Self {
        let at = path.to_path_buf();
        let bytes = move || {
            let file = OpenOptions::new().read(true).write(true).open(&at)?;
            Ok(Box::new(backend(file)?) as Box<dyn StorageBackend>)
        };
        Self::new(path, options, Box::new(bytes))
    }

    pub(super) fn new(path: &Path, options: EmbeddedOptions, bytes: Bytes) -> Self {
        Self { path: path.to_path_buf(), bytes, options, flush_failed: Arc::default() }
    }

    /// Whether a flush to disk failed since this was made.
    pub(super) fn flush_failed(&self) -> bool {
        self.flush_failed.load(Ordering::Acquire)
    }

    /// Makes the tables in a file that is empty.
    pub(super) fn create(&self) -> Result<Opened, OpenError> {
        let bytes = self.bytes()?;
        let database = self.contained(|| self.builder().create_with_backend(self.disk(bytes)))?;
        self.contained(|| {
            let transaction = database.begin_write()?;
            transaction.open_table(ENTRIES)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_FORMAT, FORMAT)?;
            meta.insert(META_RESERVED, 0)?;
            drop(meta);
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        })?;
        Ok(Opened { database, reserved: 0 })
    }

    /// Opens what [`Source::create`] made, and nothing else.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        let bytes = self.bytes()?;
        // redb would take an empty file for a new database.
        self.check_magic(bytes.as_ref())?;
        let database = self.contained(|| self.builder().create_with_backend(self.disk(bytes)))?;
        let reserved = self.check_meta(&database)?;
        Ok(Opened { database, reserved })
    }

    fn bytes(&self) -> Result<Box<dyn StorageBackend>, OpenError> {
        (self.bytes)().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::NoStore { file: self.path.clone() },
            _ => OpenError::io("open", &self.path)(error),
        })
    }

    fn disk(&self, bytes: Box<dyn StorageBackend>) -> Disk {
        Disk::new(bytes, Arc::clone(&self.flush_failed))
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        // Without it redb trusts a file that was closed cleanly, and may panic later on a page that
        // went bad since.
        builder.set_check_integrity_on_open(self.options.check_on_open);
        builder
    }

    fn check_magic(&self, bytes: &dyn StorageBackend) -> Result<(), OpenError> {
        let not_a_store = |what| OpenError::NotAStore { file: self.path.clone(), what };
        let length = bytes.len().map_err(OpenError::io("read", &self.path))?;
        if length == 0 {
            return Err(not_a_store("it is empty"));
        }
        let mut magic = [0; REDB_MAGIC.len()];
        if length < magic.len() as u64 {
            return Err(not_a_store("it is too short"));
        }
        bytes.read(0, &mut magic).map_err(OpenError::io("read", &self.path))?;
        if magic == REDB_MAGIC { Ok(()) } else { Err(not_a_store("it does not begin as one")) }
    }

    /// Reads the revisions reserved, once it is certain that the file is ours and of our format.
    fn check_meta(&self, database: &Database) -> Result<u64, OpenError> {
        let foreign =
            || OpenError::NotAStore { file: self.path.clone(), what: "it is a database of another program" };
        let (format, reserved) = self.contained(|| {
            let transaction = database.begin_read()?;
            let meta = match transaction.open_table(META) {
                Ok(meta) => meta,
                Err(TableError::Storage(error)) => return Err(redb::Error::from(error)),
                Err(_) => return Ok((None, None)),
            };
            let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|number| number.value()));
            let (format, reserved) = (number(META_FORMAT)?, number(META_RESERVED)?);
            if format == Some(FORMAT) {
                transaction.open_table(ENTRIES)?;
            }
            Ok((format, reserved))
        })?;
        match (format, reserved) {
            (None, _) => Err(foreign()),
            (Some(FORMAT), Some(reserved)) => Ok(reserved),
            (Some(FORMAT), None) => Err(OpenError::Damaged {
                file: self.path.clone(),
                what: "its table of revisions is gone".into(),
            }),
            (Some(found), _) => Err(OpenError::OtherFormat { file: self.path.clone(), found, known: FORMAT }),
        }
    }

    /// Runs a piece of redb: its errors and its panics become ours.
    fn contained<T, E: Into<redb::Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, OpenError> {
        let damaged =
            |what: &dyn fmt::Display| OpenError::Damaged { file: self.path.clone(), what: what.to_string() };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(match error.into() {
                redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                    OpenError::InUse { file: self.path.clone() }
                }
                redb::Error::UpgradeRequired(_) => OpenError::NotAStore {
                    file: self.path.clone(),
                    what: "it is a database of an older kind than keyferry ever wrote",
                },
                redb::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    OpenError::io("read", &self.path)(error)
                }
                other => damaged(&other),
            }),
            Err(_) => Err(damaged(&"its structure makes no sense")),
        }
    }
}

/// Makes an empty file that only its owner can read, where none may be yet.
pub(super) fn make_empty(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(OpenError::AlreadyThere { file: path.to_path_buf() })
        }
        Err(error) => Err(OpenError::io("create", path)(error)),
    }
}

/// Makes the names in the file's directory durable.
pub(crate) fn sync_dir_of(path: &Path) -> Result<(), OpenError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Elsewhere a directory cannot be opened like a file.
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("flush", dir))?;
    }
    Ok(())
}

fn backend(file: File) -> io::Result<FileBackend> {
    FileBackend::new(file).map_err(|error| match error {
        DatabaseError::Storage(StorageError::Io(error)) => error,
        other => io::Error::other(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::{Backend, Batch, Embedded, StoreError, Write};

    fn open(path: &Path) -> Result<Embedded, OpenError> {
        Embedded::open(path, EmbeddedOptions::default())
    }

    fn create(path: &Path) -> Embedded {
        Embedded::create(path, EmbeddedOptions::default()).unwrap()
    }

    /// The error's text, which must name the file.
    fn refusal(path: &Path) -> String {
        let error = open(path).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_opening_again() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let store = create(&path);
        let put = |value: &[u8]| Batch {
            checks: vec![],
            writes: vec![Write::Put(b"key".to_vec(), value.to_vec())],
        };
        let first = store.commit(put(b"1")).await.unwrap();
        drop(store);
        let store = open(&path).unwrap();
        let entry = store.get(b"key").await.unwrap().unwrap();
        assert_eq!((entry.value.as_ref(), entry.revision), (b"1".as_slice(), first));
        assert!(store.commit(put(b"2")).await.unwrap() > first);
    }

    #[tokio::test]
    async fn dropping_a_store_finishes_what_was_queued() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let store = create(&path);
        for number in 0..100_u8 {
            let batch = Batch { checks: vec![], writes: vec![Write::Put(vec![number], vec![])] };
            let _ = futures_util::FutureExt::now_or_never(store.commit(batch));
        }
        drop(store);
        let store = open(&path).unwrap();
        assert_eq!(store.scan(b"", None, 1000).await.map(|found| found.len()), Ok(100));
    }

    #[test]
    fn opening_makes_nothing() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        assert!(matches!(open(&path), Err(OpenError::NoStore { .. })));
        assert!(refusal(&path).contains("keyferry init"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn creating_leaves_what_is_there() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        for there in [b"".as_slice(), b"something"] {
            fs::write(&path, there).unwrap();
            let refused = Embedded::create(&path, EmbeddedOptions::default());
            assert!(matches!(refused, Err(OpenError::AlreadyThere { .. })));
            assert_eq!(fs::read(&path).unwrap(), there);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let _store = create(&path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_in_use_is_told_so() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let store = create(&path);
        assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
        assert!(refusal(&path).contains("another process"));
        drop(store);
        open(&path).unwrap();
    }

    #[test]
    fn other_files_are_refused_and_left_alone() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        for (contents, word) in [
            (b"".as_slice(), "empty"),
            (b"redb", "short"),
            (b"SQLite format 3\0 and so on", "does not begin as one"),
        ] {
            fs::write(&path, contents).unwrap();
            assert!(matches!(open(&path), Err(OpenError::NotAStore { .. })));
            assert!(refusal(&path).contains(word));
            assert_eq!(fs::read(&path).unwrap(), contents);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Io { .. })));
        refusal(&path);
    }

    #[test]
    fn a_database_of_another_program_is_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let database = Database::create(&path).unwrap();
        drop(database);
        assert!(refusal(&path).contains("another program"));
        // One that happens to use our table's name for something else.
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("keyferry store")).unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(refusal(&path).contains("another program"));
    }

    #[test]
    fn a_newer_format_is_refused_and_named() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        drop(create(&path));
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(META_FORMAT, FORMAT + 1).unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(matches!(open(&path), Err(OpenError::OtherFormat { found: 2, known: 1, .. })));
        refusal(&path);
    }

    #[tokio::test]
    async fn a_large_flush_queue_makes_committers_wait_and_all_go_through() {
        let dir = TempDir::new().unwrap();
        let store = create(&dir.path().join("store"));
        // 20 times 8 MiB: more than may wait at once.
        let commits = (0..20_u8).map(|number| {
            let writes = vec![Write::Put(vec![number], vec![number; 8 << 20])];
            store.commit(Batch { checks: vec![], writes })
        });
        let outcomes: Result<Vec<_>, StoreError> =
            futures_util::future::join_all(commits).await.into_iter().collect();
        assert_eq!(outcomes.unwrap().len(), 20);
    }
}
