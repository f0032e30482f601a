use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use model::SecretBytes;

/// What a credential chain may look at on this machine. Only `cli` hands in the real one.
pub trait Environment: Send + Sync {
    /// An environment variable. One that is set to nothing counts as not set.
    fn var(&self, name: &str) -> Option<String>;

    /// The home directory of the user the server runs as.
    fn home(&self) -> Option<PathBuf>;

    /// A whole file. May block; callers move it off the async threads.
    fn read(&self, path: &Path) -> io::Result<SecretBytes>;
}

/// Variables as they were at one moment, and the machine's real files. The default knows no variable
/// and no home: destinations then need credentials of their own.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The variables.
    pub vars: BTreeMap<String, String>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl std::fmt::Debug for Snapshot {
    /// Names only: a variable may hold a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("vars", &self.vars.keys()).field("home", &self.home).finish()
    }
}

impl Environment for Snapshot {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }

    fn read(&self, path: &Path) -> io::Result<SecretBytes> {
        std::fs::read(path).map(SecretBytes::new)
    }
}
