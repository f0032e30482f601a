//! What was seen and tried of late, by name. It saves calls: a look that was just made is not made again,
//! and a write that may have arrived is looked for before it is repeated, as every repetition would make
//! another version (destinations.md 0.1). Nothing depends on it for being right: it may be empty at any
//! time, and is after a restart, when the engine looks by itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::wire::Entry;
use crate::WriteId;

/// For so long a look counts as just made: from the engine's look to its write.
const FRESH: Duration = Duration::from_secs(2);

/// So many names are remembered; then all are forgotten.
const MAX_NAMES: usize = 10_000;

#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Note>>);

/// What a look saw.
#[derive(Debug)]
pub(super) enum Seen {
    Absent,
    /// The newest version.
    There(Box<Entry>),
}

#[derive(Default)]
struct Note {
    looked: Option<(Instant, Seen)>,
    /// The write that was sent last, whatever came of it.
    sent: Option<WriteId>,
    /// The version our last write made.
    version: Option<String>,
    /// We had a deleted secret of ours brought back, and have not written it yet.
    recovering: bool,
}

impl Memory {
    fn notes(&self) -> MutexGuard<'_, HashMap<String, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names are one whatever their case.
    fn note<T>(&self, name: &str, change: impl FnOnce(&mut Note) -> T) -> T {
        let mut notes = self.notes();
        if notes.len() >= MAX_NAMES {
            notes.clear();
        }
        change(notes.entry(name.to_ascii_lowercase()).or_default())
    }

    pub(super) fn looked(&self, name: &str, found: Option<&Entry>) {
        let seen = found.map_or(Seen::Absent, |found| Seen::There(Box::new(found.clone())));
        self.note(name, |note| note.looked = Some((Instant::now(), seen)));
    }

    /// What a look saw that was just made. It counts once.
    pub(super) fn take_look(&self, name: &str) -> Option<Seen> {
        let (at, seen) = self.notes().get_mut(&name.to_ascii_lowercase())?.looked.take()?;
        (at.elapsed() < FRESH).then_some(seen)
    }

    /// A write is about to be sent.
    pub(super) fn sending(&self, name: &str, write: WriteId) {
        self.note(name, |note| {
            *note = Note { sent: Some(write), recovering: note.recovering, ..Note::default() };
        });
    }

    /// The write that was sent last was not made.
    pub(super) fn not_sent(&self, name: &str) {
        self.note(name, |note| note.sent = None);
    }

    /// Whether this is the write that was sent last.
    pub(super) fn was_sent(&self, name: &str, write: WriteId) -> bool {
        self.notes().get(&name.to_ascii_lowercase()).is_some_and(|note| note.sent == Some(write))
    }

    pub(super) fn wrote(&self, name: &str, version: Option<&str>) {
        self.note(name, |note| {
            note.version = version.map(ToOwned::to_owned);
            note.recovering = false;
        });
    }

    pub(super) fn recovering(&self, name: &str) {
        self.note(name, |note| note.recovering = true);
    }

    /// Whether something of ours may be on its way back although a look does not show it yet.
    pub(super) fn is_recovering(&self, name: &str) -> bool {
        self.notes().get(&name.to_ascii_lowercase()).is_some_and(|note| note.recovering)
    }

    pub(super) fn last_version(&self, name: &str) -> Option<String> {
        self.notes().get(&name.to_ascii_lowercase())?.version.clone()
    }

    pub(super) fn forget(&self, name: &str) {
        self.notes().remove(&name.to_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_counts_once_and_for_a_while() {
        let memory = Memory::default();
        assert!(memory.take_look("a").is_none());
        memory.looked("A", None);
        assert!(matches!(memory.take_look("a"), Some(Seen::Absent)));
        assert!(memory.take_look("a").is_none());
        memory.looked("a", None);
        tokio::time::advance(FRESH).await;
        assert!(memory.take_look("a").is_none());
    }

    #[test]
    fn the_last_write_is_remembered_and_a_new_one_takes_its_place() {
        let memory = Memory::default();
        let (one, two) = (WriteId([1; 32]), WriteId([2; 32]));
        assert!(!memory.was_sent("a", one));
        memory.sending("a", one);
        memory.wrote("a", Some("v1"));
        assert!(memory.was_sent("A", one) && !memory.was_sent("a", two));
        assert_eq!(memory.last_version("A").as_deref(), Some("v1"));
        memory.sending("A", two);
        assert!(memory.was_sent("a", two) && !memory.was_sent("a", one));
        assert_eq!(memory.last_version("a"), None);
        memory.recovering("a");
        memory.sending("a", one);
        assert!(memory.is_recovering("A"));
        memory.wrote("a", None);
        assert!(!memory.is_recovering("a"));
        assert!(memory.was_sent("a", one));
        memory.not_sent("A");
        assert!(!memory.was_sent("a", one));
        memory.sending("a", one);
        memory.forget("a");
        assert!(!memory.was_sent("a", one));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let memory = Memory::default();
        for n in 0..=MAX_NAMES {
            memory.sending(&n.to_string(), WriteId([0; 32]));
        }
        assert!(memory.notes().len() < MAX_NAMES);
    }
}
