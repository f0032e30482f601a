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
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("flush", dir))
}

fn backend(file: File) -> io::Result<FileBackend> {
    FileBackend::new(file).map_err(|error| match error {
        DatabaseError::Storage(StorageError::Io(error)) => error,
        other => io::Error::other(other.to_string()),
    })
}
