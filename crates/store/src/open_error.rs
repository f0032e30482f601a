use std::{io, path::PathBuf};

use crate::StoreError;

/// Why a store could not be made or opened. Every text names the file and the way out; none of them
/// repeats what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no store where one was to be opened.
    #[error(
        "{} does not exist; make a store with `keyferry init --data DIR`, or correct the directory",
        .file.display()
    )]
    NoStore {
        /// The store's file.
        file: PathBuf,
    },
    /// There is something already where a store was to be made.
    #[error("{} exists already and was left as it is; choose another directory, or serve this one", .file.display())]
    AlreadyThere {
        /// What is there.
        file: PathBuf,
    },
    /// There is a root key but no store beside it.
    #[error(
        "{key} exists but {file} does not; put the store back beside its key, or move the key file away \
         and run init again",
        key = .key.display(), file = .file.display()
    )]
    KeyWithoutStore {
        /// The key file.
        key: PathBuf,
        /// The store's file, absent.
        file: PathBuf,
    },
    /// A root key lies beside a store that is to be opened in another way.
    #[error(
        "{} keeps this store's root key; serve the store with seal.type = \"key-file\", or choose another directory",
        .key.display()
    )]
    KeyFileThere {
        /// The key file.
        key: PathBuf,
    },
    /// A store was being made and is not complete.
    #[error(
        "an init of {} was interrupted, or is still running; if it is not, nothing was stored yet: delete \
         {} and {}, and run init again",
        .dir.display(), .new_key.display(), .file.display()
    )]
    Interrupted {
        /// The data directory.
        dir: PathBuf,
        /// The working name of the root key.
        new_key: PathBuf,
        /// The store's file, if it got that far.
        file: PathBuf,
    },
    /// Another process holds the file.
    #[error("another process has {} open; stop that server first", .file.display())]
    InUse {
        /// The store's file.
        file: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a keyferry store ({what}); it was left as it is: correct the directory, or restore the store from a backup", .file.display())]
    NotAStore {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The file is of a format this program does not read.
    #[error("{} is of store format {found}, and this keyferry reads format {known}; run the version that wrote it", .file.display())]
    OtherFormat {
        /// The store's file.
        file: PathBuf,
        /// Its format.
        found: u64,
        /// The format this program reads.
        known: u64,
    },
    /// The file is a store, but its contents are not what was written.
    #[error(
        "{} is damaged ({what}); nothing was changed: check the disk, then restore the file from a backup",
        .file.display()
    )]
    Damaged {
        /// The store's file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The root key file is missing.
    #[error("{} does not exist; put the root key file back from its backup: the store cannot be opened without it", .file.display())]
    NoKey {
        /// The key file.
        file: PathBuf,
    },
    /// Others than the owner can read or change the root key file.
    #[error("{file} is open to others than its owner (mode {mode:04o}); run `chmod 600 {file}`, and consider the key known to whoever could read it", file = .file.display())]
    KeyOpenToOthers {
        /// The key file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The root key file holds no key.
    #[error("{} is not a keyferry root key file ({what}); restore it from its backup", .file.display())]
    KeyMalformed {
        /// The key file.
        file: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The root key is another store's.
    #[error("the root key in {key} does not belong to the store {file}; put the store's own key file beside it", key = .key.display(), file = .file.display())]
    WrongKey {
        /// The key file.
        key: PathBuf,
        /// The store's file.
        file: PathBuf,
    },
    /// Others than the owner can replace what is in the data directory.
    #[error("{dir} can be changed by others than its owner (mode {mode:04o}); run `chmod 700 {dir}`", dir = .dir.display())]
    DirOpenToOthers {
        /// The data directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused something.
    #[error("could not {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried: `open`, `create`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A database cannot be used.
    #[error("the database {at}: {what}; nothing was changed")]
    Database {
        /// Host, port and database.
        at: String,
        /// Why not.
        what: String,
    },
    /// There is a store where one was to be made.
    #[error(
        "{place} holds a store already, which was left as it is; serve that one, or name another schema with storage.schema"
    )]
    StoreThere {
        /// Schema and database.
        place: String,
    },
    /// There is no store where one was to be opened.
    #[error(
        "{place} holds no store yet; make one with `keyferry init --config FILE`, or correct the configuration"
    )]
    NoStoreInDatabase {
        /// Schema and database.
        place: String,
    },
    /// A store was being made and may not be complete.
    #[error(
        "an init was interrupted, or is still running; if it is not: serve {place}, or, when that holds no store, \
         delete {} and run init again",
        .new_key.display()
    )]
    InitUnfinished {
        /// The working name of the root key.
        new_key: PathBuf,
        /// Schema and database.
        place: String,
    },
    /// The root key is another store's.
    #[error("the root key in {} does not belong to the store in {place}; put a copy of that store's own key file in its place", .key.display())]
    WrongKeyForDatabase {
        /// The key file.
        key: PathBuf,
        /// Schema and database.
        place: String,
    },
    /// The database opens, but what is stored in it does not.
    #[error("{place}: {source}")]
    InDatabase {
        /// Schema and database.
        place: String,
        /// What is wrong.
        source: StoreError,
    },
    /// The tables are of a format this program does not read.
    #[error(
        "{at} is of store format {found}, and this keyferry reads formats up to {known}; run the version that made it, or a newer one"
    )]
    NewerSchema {
        /// The schema and its database.
        at: String,
        /// Its format.
        found: i64,
        /// The newest format this program reads.
        known: usize,
    },
    /// Somebody else's tables are where ours would be.
    #[error(
        "{at} holds tables that are not keyferry's ({tables}); they were left as they are: name another schema with storage.schema"
    )]
    ForeignSchema {
        /// The schema and its database.
        at: String,
        /// Some of them.
        tables: String,
    },
    /// The file opens, but what is stored in it does not.
    #[error("{}: {source}", .file.display())]
    Contents {
        /// The store's file.
        file: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
}

impl OpenError {
    /// For `map_err` on a system call.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
