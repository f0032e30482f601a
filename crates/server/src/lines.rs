//! Files that lines are added to and nothing is taken from: audit entries, the chain of sync events.
//!
//! A line is handed to the system in one call, at the file's end, so that lines of several processes do not
//! mix. Where the disk had no room for all of one, the next line begins on a new one.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Why a file is not written to.
#[derive(Debug, thiserror::Error)]
pub enum LineFileError {
    /// It cannot be opened or made.
    #[error("{}: cannot be opened for appending: {}", .0.display(), .1)]
    Open(PathBuf, io::Error),
    /// It is a directory, a pipe, a device, or a link to something else.
    #[error(
        "{}: is not a regular file, and lines are appended to regular files only (no links, pipes or devices)",
        .0.display()
    )]
    NotAFile(PathBuf),
}

/// Where lines go.
pub trait Sink: Send + Sync {
    /// Adds whole lines, each ending in a line feed.
    ///
    /// # Errors
    /// They may be there in part; then whatever comes next begins on a line of its own.
    fn append(&self, lines: &[u8]) -> io::Result<()>;

    /// Looks the file up by its name again: the old one was moved away.
    ///
    /// # Errors
    /// The old one stays in use.
    fn reopen(&self) -> Result<(), LineFileError> {
        Ok(())
    }
}

/// A file that lines are added to.
pub struct LineFile {
    path: PathBuf,
    mode: u32,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    /// What it ends in is no whole line.
    torn: bool,
}

impl LineFile {
    /// Opens a file, or makes it with these permissions; takes away any others that it has.
    ///
    /// # Errors
    /// When it is no regular file, or may not be written.
    pub fn open(path: &Path, mode: u32) -> Result<Self, LineFileError> {
        Ok(Self { path: path.to_owned(), mode, open: Mutex::new(open(path, mode)?) })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing is in it.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.held().file.metadata()?.len() == 0)
    }

    /// Adds whole lines and waits until they are on the disk; what could not be added whole is taken back. For
    /// files that one process writes. How long the file was before.
    ///
    /// # Errors
    /// The file is as it was, unless that could not be brought about either.
    pub fn append_synced(&self, lines: &[u8]) -> io::Result<u64> {
        let mut open = self.held();
        let before = open.file.metadata()?.len();
        let added = open.write(lines).and_then(|()| open.file.sync_data());
        if let Err(error) = added {
            open.file.set_len(before)?;
            open.torn = false;
            return Err(error);
        }
        Ok(before)
    }

    /// Takes away what was added since it was so long.
    ///
    /// # Errors
    /// It is as it was.
    pub fn cut(&self, length: u64) -> io::Result<()> {
        self.held().file.set_len(length)
    }

    /// Shows every whole line, without its line feed, and takes away a torn one at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mend(&self, mut see: impl FnMut(&[u8])) -> io::Result<()> {
        let mut open = self.held();
        open.file.seek(SeekFrom::Start(0))?;
        let mut whole = 0;
        {
            let mut reader = BufReader::new(&open.file);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = reader.read_until(b'\n', &mut line)?;
                let Some(text) = line.strip_suffix(b"\n") else { break };
                whole += read as u64;
                see(text);
            }
        }
        open.file.set_len(whole)?;
        open.torn = false;
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for LineFile {
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut open = self.held();
        if open.torn {
            let healed = [b"\n", lines].concat();
            open.write(&healed)
        } else {
            open.write(lines)
        }
    }

    fn reopen(&self) -> Result<(), LineFileError> {
        let new = open(&self.path, self.mode)?;
        *self.held() = new;
        Ok(())
    }
}

impl Open {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn open(path: &Path, mode: u32) -> Result<Open, LineFileError> {
    let failed = |error| LineFileError::Open(path.to_owned(), error);
    let odd = || LineFileError::NotAFile(path.to_owned());
    // Looked at before it is opened, because opening a pipe waits for whoever reads it.
    match path.symlink_metadata() {
        Ok(there) if !there.is_file() => return Err(odd()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(mode).open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    let named = path.symlink_metadata().map_err(failed)?;
    if !opened.is_file() || (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(odd());
    }
    if opened.mode() & 0o7777 & !mode != 0 {
        file.set_permissions(Permissions::from_mode(opened.mode() & mode)).map_err(failed)?;
    }
    let mut last = [b'\n'];
    if opened.len() > 0 {
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    }
    Ok(Open { file, torn: last != *b"\n" })
}

/// The process's standard output.
pub struct Stdout;

impl Sink for Stdout {
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_added_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        for line in ["one\n", "two\n"] {
            LineFile::open(&path, 0o600).unwrap().append(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&path), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_others_may_do_with_a_file_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o757)).unwrap();
        LineFile::open(&path, 0o640).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        fs::write(&path, "whole\nto").unwrap();
        let file = LineFile::open(&path, 0o600).unwrap();
        file.append(b"next\n").unwrap();
        file.append(b"last\n").unwrap();
        assert_eq!(text(&path), "whole\nto\nnext\nlast\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("lines"), dir.path().join("lines.1"));
        let file = LineFile::open(&path, 0o600).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.append(b"two\n").unwrap();
        file.reopen().unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
        // Where it cannot be made, the old one stays.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.reopen().is_err());
        file.append(b"four\n").unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(dir.path().join("elsewhere"), &link).unwrap();
        for path in [link.as_path(), dir.path(), Path::new("/dev/null")] {
            let refused = LineFile::open(path, 0o600).err().unwrap();
            assert!(matches!(refused, LineFileError::NotAFile(_)), "{refused}");
        }
        assert!(!dir.path().join("elsewhere").exists());
        assert!(matches!(LineFile::open(&dir.path().join("no/such"), 0o600), Err(LineFileError::Open(..))));
    }
}
