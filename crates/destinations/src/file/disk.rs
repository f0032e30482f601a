//! Reading and replacing small files with care: no link is followed, no other sort of file is opened,
//! a replacement appears whole or not at all, and two writers never mix.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use model::SecretBytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Fault, Retry};

/// Largest file that is read or written.
pub(super) const MAX_FILE_BYTES: usize = 64 << 20;

/// How often, and how long apart, a directory another process has locked is tried again.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// One version of a file: a replaced or edited file has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileVersion {
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    bytes: u64,
}

impl FileVersion {
    fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            modified_s: meta.mtime(),
            modified_ns: meta.mtime_nsec(),
            bytes: meta.len(),
        }
    }
}

/// Whether a path, as it is written, is below the root, as that is written or really is.
pub(super) fn is_below(root: &Path, path: &Path) -> bool {
    let below = |root: &Path| path.strip_prefix(root).is_ok_and(|rest| rest.components().next().is_some());
    below(root) || fs::canonicalize(root).is_ok_and(|root| below(&root))
}

/// The path with the links among its parents followed, provided that it is really below the root.
pub(super) fn real_path(root: &Path, path: &Path) -> Result<PathBuf, Fault> {
    let root = fs::canonicalize(root).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::client(
            "file_root_missing",
            "the directory that sync.file_root names does not exist; create it, or correct the configuration",
        )
        .retry(Retry::Slowly),
        _ => io_fault(&e),
    })?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let directory = fs::canonicalize(directory).map_err(|e| directory_fault(&e))?;
    let (true, Some(name)) = (directory.starts_with(&root), path.file_name()) else {
        let message = "a link leads the file's directory out of the server's sync.file_root; name a directory that \
                       is really below it";
        return Err(Fault::client("file_outside_root", message).retry(Retry::Slowly));
    };
    Ok(directory.join(name))
}

/// Keeps every other keyferry process out of the file's directory until dropped.
pub(super) async fn lock_directory(file: &Path) -> Result<File, Fault> {
    let directory = open_directory(file)?;
    for attempt in 0..LOCK_TRIES {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(fs::TryLockError::WouldBlock) if attempt + 1 < LOCK_TRIES => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(fs::TryLockError::WouldBlock) => break,
            Err(fs::TryLockError::Error(e)) => return Err(io_fault(&e)),
        }
    }
    Err(Fault::external("file_locked", "another process keeps the file's directory locked"))
}

fn open_directory(file: &Path) -> Result<File, Fault> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    File::open(directory).map_err(|e| directory_fault(&e))
}

fn directory_fault(e: &io::Error) -> Fault {
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Fault::client("file_directory_missing", "the directory of the file does not exist; create it")
                .retry(Retry::Slowly)
        }
        _ => io_fault(e),
    }
}

/// A whole regular file and its version, or `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<(SecretBytes, FileVersion)>, Fault> {
    let Some(seen) = regular(path)? else { return Ok(None) };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_fault(&e)),
    };
    let opened = file.metadata().map_err(|e| io_fault(&e))?;
    if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return Err(Fault::external("file_changing", "the file was exchanged while it was being read"));
    }
    let size = usize::try_from(opened.len()).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(vec![0; size]);
    file.read_exact(&mut bytes).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            Fault::external("file_changing", "the file was cut short while it was being read")
        }
        _ => io_fault(&e),
    })?;
    Ok(Some((SecretBytes::from(bytes), FileVersion::of(&opened))))
}

/// What is at the path, provided that it is a plain file of bearable size.
fn regular(path: &Path) -> Result<Option<Metadata>, Fault> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_fault(&e)),
    };
    if meta.is_symlink() {
        return Err(Fault::client("file_is_link", "the path is a symbolic link; name the file itself"));
    }
    if !meta.is_file() {
        return Err(Fault::client("file_not_regular", "the path is not a regular file"));
    }
    if meta.len() > MAX_FILE_BYTES as u64 {
        let message =
            format!("the file has more than {MAX_FILE_BYTES} bytes, which is the most that is handled");
        return Err(Fault::client("file_too_large", message));
    }
    Ok(Some(meta))
}

/// A replacement that is written and flushed, but not yet in place.
pub(super) struct Prepared {
    temporary: PathBuf,
    path: PathBuf,
    /// What the file's version will be.
    pub(super) version: FileVersion,
}

impl Prepared {
    /// Writes the replacement beside the file. Readable by its owner only, unless the file that is to
    /// be replaced already says otherwise. Only under [`lock_directory`].
    pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<Self, Fault> {
        let before = regular(path)?;
        let temporary = beside(path, ".new");
        match fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_fault(&e)),
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            if let Some(before) = before {
                keep_access(&file, &before)?;
            }
            file.sync_all()?;
            file.metadata()
        };
        match write() {
            Ok(meta) => Ok(Self { temporary, path: path.to_owned(), version: FileVersion::of(&meta) }),
            Err(e) => {
                // A half-written file of secrets is not left lying about.
                let _ = fs::remove_file(&temporary);
                Err(io_fault(&e))
            }
        }
    }

    /// Puts the replacement in place, for good.
    pub(super) fn commit(self, directory: &File) -> Result<(), Fault> {
        fs::rename(&self.temporary, &self.path).map_err(|e| io_fault(&e).ambiguous())?;
        directory.sync_all().map_err(|e| io_fault(&e).ambiguous())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Gone already after a commit.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The replacement is readable by whom the file was readable, as far as we may say so. Where its group
/// cannot be kept, neither are the group's rights.
fn keep_access(file: &File, before: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    let owner = (now.uid() != before.uid()).then_some(before.uid());
    let group = (now.gid() != before.gid()).then_some(before.gid());
    let kept = (owner, group) == (None, None) || std::os::unix::fs::fchown(file, owner, group).is_ok();
    let mode = if kept { before.mode() & 0o777 } else { 0o600 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// A hidden name in the same directory.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".keyferry");
    name.push(ending);
    path.with_file_name(name)
}

fn io_fault(e: &io::Error) -> Fault {
    match e.kind() {
        io::ErrorKind::PermissionDenied => Fault::client(
            "file_permission",
            "the server may not read or write the file or its directory; grant it access",
        )
        .retry(Retry::Slowly),
        io::ErrorKind::ReadOnlyFilesystem => {
            Fault::client("file_read_only", "the file is on a read-only file system").retry(Retry::Slowly)
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Fault::external("file_no_space", "no space is left for the file")
        }
        io::ErrorKind::InvalidFilename => Fault::client("file_name_too_long", "the file name is too long"),
        _ => Fault::external("file_io", "the operating system could not read or write the file"),
    }
}
