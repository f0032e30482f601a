//! The environment, read here and nowhere else.

use destinations::net::Snapshot;

/// The process's variables and home as they are at the start. What is not UTF-8 is left out.
pub(crate) fn snapshot() -> Snapshot {
    let vars = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect();
    Snapshot { vars, home: std::env::home_dir() }
}

/// Where files are put that nobody needs again.
pub(crate) fn scratch() -> std::path::PathBuf {
    std::env::temp_dir()
}
