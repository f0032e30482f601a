//! What is seen from outside of a process and of its store.

use std::{collections::BTreeMap, path::Path};

use store::{
    Backend as _, Embedded, EmbeddedOptions, Record as _,
    records::{Entry, Token},
};

/// A user, a role and its id, and for each of the two logins an entity and its alias by their names and ids.
const SET_UP: usize = 11;

/// Records by tag, the first byte of every key. Names and values are sealed, but how many there are is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) BTreeMap<u8, usize>);

impl Counts {
    /// One token, the root's, and a handful of entries: what was set up.
    pub(super) fn at_rest(&self) -> bool {
        let of = |tag: u8| self.0.get(&tag).copied().unwrap_or(0);
        of(Token::TAG) == 1 && of(Entry::TAG) <= SET_UP
    }

    /// Of the store in a directory that no process has open.
    pub(crate) async fn of(data: &Path) -> Self {
        let backend = Embedded::open(&data.join("keyferry.redb"), EmbeddedOptions::default()).unwrap();
        let (mut counts, mut after) = (BTreeMap::new(), None::<Vec<u8>>);
        loop {
            let page = backend.scan(&[], after.as_deref(), 1000).await.unwrap();
            for (key, _) in &page {
                *counts.entry(key.first().copied().unwrap_or(0)).or_default() += 1;
            }
            match page.last() {
                Some((last, _)) => after = Some(last.clone()),
                None => return Self(counts),
            }
        }
    }
}

/// Bytes of all files in a directory.
pub(crate) fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    files.map(|file| file.metadata().unwrap().len()).sum()
}

/// Resident memory of a process in MB.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
