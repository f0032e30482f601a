//! Where data goes: stdout, stderr, or a file (`-o`). Values are opened here, in [`Output::secret`], and
//! nowhere else on their way out.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use keeper::json::{Json, Style};
use model::SecretBytes;

use crate::failure::Failure;

/// The writer of a command's data. Talk goes to stderr, by [`crate::printer::talk`].
pub(crate) struct Output {
    target: RefCell<Target>,
    terminal: bool,
}

enum Target {
    Stdout,
    Stderr,
    /// Opened when the first data comes, so that a command that fails leaves an old file alone.
    Unopened(PathBuf),
    File(PathBuf, File),
}

impl Output {
    /// `wanted` is the value of `-o`.
    pub(crate) fn new(wanted: &str) -> Self {
        let (target, terminal) = match wanted {
            "stdout" => (Target::Stdout, io::stdout().is_terminal()),
            "stderr" => (Target::Stderr, io::stderr().is_terminal()),
            file => (Target::Unopened(file.into()), false),
        };
        Self { target: RefCell::new(target), terminal }
    }

    /// Whether a person looks at it.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Text that is no secret. No line break is added.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.put(text.as_bytes())
    }

    /// A value, as it is.
    pub(crate) fn secret(&self, value: &SecretBytes) -> Result<(), Failure> {
        // Opened because the user asked for it to be printed.
        self.put(value.expose())
    }

    /// JSON as the official CLI prints it, on several lines with this indentation.
    pub(crate) fn json(&self, json: &Json, indent: usize) -> Result<(), Failure> {
        self.secret(&json.write(Style::PythonIndented(indent)))
    }

    /// Makes sure that everything is out.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let done = match &mut *self.target.borrow_mut() {
            Target::Stdout => io::stdout().lock().flush(),
            Target::Stderr | Target::Unopened(_) => Ok(()),
            Target::File(_, file) => file.flush(),
        };
        self.checked(done)
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        let target = &mut *self.target.borrow_mut();
        if let Target::Unopened(path) = target {
            let path = std::mem::take(path);
            let file = create(&path)
                .map_err(|e| Failure::failed(format!("cannot write {}: {}", path.display(), e.kind())))?;
            *target = Target::File(path, file);
        }
        let done = match target {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Target::Stderr => io::stderr().lock().write_all(bytes),
            Target::File(_, file) => file.write_all(bytes),
            Target::Unopened(_) => Ok(()),
        };
        written(target, done)
    }

    fn checked(&self, done: io::Result<()>) -> Result<(), Failure> {
        written(&self.target.borrow(), done)
    }
}

/// A reader that has gone away has what it wanted; everything else is a failure.
fn written(target: &Target, done: io::Result<()>) -> Result<(), Failure> {
    match done {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            let name = match target {
                Target::Stdout => "stdout".to_owned(),
                Target::Stderr => "stderr".to_owned(),
                Target::Unopened(path) | Target::File(path, _) => path.display().to_string(),
            };
            Err(Failure::failed(format!("cannot write {name}: {}", e.kind())))
        }
        _ => Ok(()),
    }
}

/// A file for values: a new one is readable by its owner only, an old one is emptied and keeps its mode.
pub(crate) fn create(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
