//! What keeps labels few.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

/// What stands for every word beyond those that have a place.
pub(crate) const OTHER: &str = "other";

/// The words one label may have. The first ones keep their places; all beyond are one.
#[derive(Debug)]
pub(crate) struct Words {
    most: usize,
    known: RwLock<HashSet<Box<str>>>,
}

impl Words {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, known: RwLock::default() }
    }

    /// The word, or [`OTHER`].
    pub(crate) fn of<'w>(&self, word: &'w str) -> &'w str {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).contains(word) {
            return word;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.contains(word) || known.len() < self.most {
            known.insert(word.into());
            word
        } else {
            OTHER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_words_have_a_place_of_their_own() {
        let words = Words::new(2);
        assert_eq!(["a", "b", "c", "a", "b"].map(|word| words.of(word)), ["a", "b", OTHER, "a", "b"]);
    }
}
