//! Entries kept in this process, never served without asking the database first what changed.
//!
//! The cache is right as of one revision, `known`. Whoever learns what changed after that, by asking or by
//! having made the changes, removes or replaces what changed and moves `known` on. Commits become visible in
//! the order of their revisions, so there is nothing between.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{Entry, Revision};

/// What an entry counts for beyond its bytes.
const OVERHEAD: usize = 128;
/// How many changed keys are remembered, against which a late answer is held.
const RECENT: usize = 8192;

/// What is under a key: an entry, or nothing. `revision` is the commit that made it so, 0 when the database
/// no longer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) revision: u64,
    pub(super) value: Option<Bytes>,
}

impl Item {
    pub(super) fn nothing() -> Self {
        Self { revision: 0, value: None }
    }

    pub(super) fn entry(self) -> Option<Entry> {
        let revision = Revision(self.revision);
        self.value.map(|value| Entry { value, revision })
    }
}

type Items = HashMap<Box<[u8]>, Item>;

/// Bounded by bytes. What was not asked for during a whole filling is what goes: `young` takes what is new
/// or asked for, and when it is half the room, it takes the place of `old`.
pub(super) struct Cache {
    room: usize,
    young: Items,
    young_bytes: usize,
    old: Items,
    /// Right as of this revision. `None`: nothing is known, and nothing held.
    known: Option<u64>,
    /// Keys that changed after `floor`, each with the newest revision known of it.
    recent: HashMap<Box<[u8]>, u64>,
    floor: u64,
}

impl Cache {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            young: Items::new(),
            young_bytes: 0,
            old: Items::new(),
            known: None,
            recent: HashMap::new(),
            floor: 0,
        }
    }

    /// The revision it is right as of.
    pub(super) fn known(&self) -> Option<u64> {
        self.known
    }

    /// Nothing is known but that the database is at this revision, or later.
    pub(super) fn start_over(&mut self, at: u64) {
        self.young.clear();
        self.young_bytes = 0;
        self.old.clear();
        self.recent.clear();
        self.floor = self.floor.max(at).max(self.known.unwrap_or(0));
        self.known = Some(self.floor);
    }

    /// Everything that changed after `known` as it was when that was asked for, up to `at` at least.
    pub(super) fn changed<'a>(&mut self, at: u64, keys: impl Iterator<Item = (&'a [u8], u64)>) {
        for (key, revision) in keys {
            self.note(key, revision);
        }
        self.known = self.known.max(Some(at));
    }

    /// Our own commits: they follow `before` at once, and end at `after`.
    pub(super) fn committed(&mut self, before: u64, after: u64, items: Vec<(Vec<u8>, Item)>) {
        let follows = self.known.is_some_and(|known| known >= before);
        for (key, item) in items {
            self.note(&key, item.revision);
            self.offer(&key, item, after);
        }
        if follows {
            self.known = self.known.max(Some(after));
        }
    }

    /// A key was changed by this commit.
    fn note(&mut self, key: &[u8], revision: u64) {
        if self.recent.len() >= RECENT {
            let newest = self.recent.values().max().copied().unwrap_or(0);
            self.recent.clear();
            self.floor = self.floor.max(newest);
        }
        let newest = self.recent.entry(key.into()).or_insert(revision);
        *newest = revision.max(*newest);
        if self.young.get(key).is_some_and(|held| held.revision < revision)
            && let Some(held) = self.young.remove(key)
        {
            self.young_bytes -= bytes(key, &held);
        }
        if self.old.get(key).is_some_and(|held| held.revision < revision) {
            self.old.remove(key);
        }
    }

    /// What was found under a key by who looked at the revision `seen` or later. It is kept unless the key
    /// may have changed since.
    pub(super) fn offer(&mut self, key: &[u8], item: Item, seen: u64) {
        let seen = seen.max(item.revision);
        if self.known.is_none() || seen < self.floor || self.recent.get(key).is_some_and(|last| *last > seen)
        {
            return;
        }
        let size = bytes(key, &item);
        if size > self.room / 8 {
            return;
        }
        self.old.remove(key);
        if let Some(held) = self.young.remove(key) {
            self.young_bytes -= bytes(key, &held);
        }
        self.keep(key.into(), item, size);
    }

    fn keep(&mut self, key: Box<[u8]>, item: Item, size: usize) {
        if self.young_bytes + size > self.room / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += size;
        self.young.insert(key, item);
    }

    /// What is under a key as of `known`, if that is held.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Item> {
        if let Some(item) = self.young.get(key) {
            return Some(item.clone());
        }
        let (key, item) = self.old.remove_entry(key)?;
        let size = bytes(&key, &item);
        self.keep(key, item.clone(), size);
        Some(item)
    }

    /// Whether it is held.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }
}

fn bytes(key: &[u8], item: &Item) -> usize {
    OVERHEAD + key.len() + item.value.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(revision: u64, text: &'static str) -> Item {
        Item { revision, value: Some(Bytes::from_static(text.as_bytes())) }
    }

    fn at(revision: u64) -> Cache {
        let mut cache = Cache::new(1 << 20);
        cache.start_over(revision);
        cache
    }

    #[test]
    fn what_changed_is_no_longer_held() {
        let mut cache = at(5);
        cache.offer(b"a", item(3, "a"), 5);
        cache.offer(b"b", Item::nothing(), 5);
        cache.changed(7, [(b"a".as_slice(), 6), (b"b", 7)].into_iter());
        assert_eq!((cache.get(b"a"), cache.get(b"b"), cache.known()), (None, None, Some(7)));
    }

    #[test]
    fn what_is_as_new_as_the_change_stays() {
        let mut cache = at(5);
        cache.offer(b"a", item(6, "new"), 6);
        cache.changed(6, std::iter::once((b"a".as_slice(), 6)));
        assert_eq!(cache.get(b"a"), Some(item(6, "new")));
    }

    #[test]
    fn an_answer_that_comes_after_the_news_of_a_change_is_not_kept() {
        let mut cache = at(5);
        cache.changed(9, std::iter::once((b"a".as_slice(), 8)));
        cache.offer(b"a", item(3, "old"), 5);
        assert_eq!(cache.get(b"a"), None);
        cache.offer(b"a", item(8, "new"), 5);
        assert_eq!(cache.get(b"a"), Some(item(8, "new")));
    }

    #[test]
    fn commits_of_ours_move_on_only_what_they_follow() {
        let mut cache = at(5);
        cache.committed(5, 7, vec![(b"a".to_vec(), item(6, "a"))]);
        assert_eq!((cache.get(b"a"), cache.known()), (Some(item(6, "a")), Some(7)));
        // Somebody else's commits are between.
        cache.committed(9, 10, vec![(b"a".to_vec(), item(10, "b"))]);
        assert_eq!((cache.get(b"a"), cache.known()), (Some(item(10, "b")), Some(7)));
        // Ours, told late: the wave that brought 12 knew of a later change.
        cache.changed(12, std::iter::once((b"a".as_slice(), 12)));
        cache.committed(10, 11, vec![(b"a".to_vec(), item(11, "c"))]);
        assert_eq!((cache.get(b"a"), cache.known()), (None, Some(12)));
    }

    #[test]
    fn starting_over_forgets_and_lets_nothing_older_in() {
        let mut cache = at(5);
        cache.offer(b"a", item(3, "a"), 5);
        cache.start_over(9);
        assert_eq!(cache.get(b"a"), None);
        cache.offer(b"a", item(3, "a"), 8);
        assert_eq!(cache.get(b"a"), None);
        cache.offer(b"a", item(3, "a"), 9);
        assert!(cache.holds(b"a"));
    }

    #[test]
    fn forgetting_which_keys_changed_lets_no_late_answer_in() {
        let mut cache = at(1);
        cache.changed(2, std::iter::once((b"a".as_slice(), 2)));
        for number in 0..u64::try_from(RECENT).unwrap() {
            cache.changed(number + 3, std::iter::once((number.to_be_bytes().as_slice(), number + 3)));
        }
        cache.offer(b"a", item(1, "old"), 1);
        assert_eq!(cache.get(b"a"), None);
    }

    #[test]
    fn it_keeps_to_its_room_and_prefers_what_is_asked_for() {
        let mut cache = Cache::new(100 * (OVERHEAD + 2));
        cache.start_over(1);
        cache.offer(b"hh", Item::nothing(), 1);
        for number in 0..1000_u16 {
            cache.offer(&number.to_be_bytes(), Item::nothing(), 1);
            assert!(cache.get(b"hh").is_some(), "{number}");
            assert!(cache.young.len() + cache.old.len() <= 100, "{number}");
        }
        cache.offer(b"large", Item { revision: 1, value: Some(vec![0; 4000].into()) }, 1);
        assert!(!cache.holds(b"large"), "one entry shall not push out all others");
    }
}
