//! The environments a record is for, and how the configured ones are divided among records.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

/// The words of the API, in the order they are sent in.
pub(super) const WORDS: [&str; 3] = ["production", "preview", "development"];

/// A set of environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Targets(u8);

impl Targets {
    pub(super) const PRODUCTION: Self = Self(1);
    pub(super) const PREVIEW: Self = Self(2);
    pub(super) const DEVELOPMENT: Self = Self(4);
    /// An environment this program does not know. Never asked for.
    const OTHER: Self = Self(8);

    pub(super) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().map(Self::word).fold(Self::default(), Self::with)
    }

    fn word(word: &str) -> Self {
        match word {
            "production" => Self::PRODUCTION,
            "preview" => Self::PREVIEW,
            "development" => Self::DEVELOPMENT,
            _ => Self::OTHER,
        }
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn meets(self, other: Self) -> bool {
        !self.both(other).is_empty()
    }

    /// As the API has them.
    pub(super) fn words(self) -> Vec<&'static str> {
        WORDS.into_iter().filter(|word| self.meets(Self::word(word))).collect()
    }

    /// The sets that records are made for. `sensitive` is refused for development, so a record of that
    /// type cannot be for all three (destinations.md 5.1); within a type one record for the whole set is
    /// one write for it, and the form a person would make.
    pub(super) fn records(self) -> Vec<Self> {
        [self.without(Self::DEVELOPMENT), self.both(Self::DEVELOPMENT)]
            .into_iter()
            .filter(|set| !set.is_empty())
            .collect()
    }

    /// Whether a record for these may be one whose value nobody can read back.
    pub(super) fn sensitive(self) -> bool {
        !self.meets(Self::DEVELOPMENT)
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join("+"))
    }
}

/// One word or a list of them.
impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an environment, or a list of them")
            }

            fn visit_str<E>(self, word: &str) -> Result<Targets, E> {
                Ok(Targets::word(word))
            }

            fn visit_unit<E>(self) -> Result<Targets, E> {
                Ok(Targets::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
                let mut targets = Targets::default();
                while let Some(word) = list.next_element::<Word>()? {
                    targets = targets.with(word.0);
                }
                Ok(targets)
            }
        }
        deserializer.deserialize_any(Words)
    }
}

struct Word(Targets);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self(Targets::word(&word)))
    }
}

/// The records of one entry by their ids: what the engine keeps as its handle. Says what each record is
/// for, so that records made under other settings are not taken for these.
pub(super) fn handle<'a>(records: impl IntoIterator<Item = (Targets, &'a str)>) -> String {
    let mut records: Vec<String> =
        records.into_iter().map(|(targets, id)| format!("{targets}={id}")).collect();
    records.sort_unstable();
    records.join(",")
}

/// The ids in a handle.
pub(super) fn ids(handle: &str) -> impl Iterator<Item = (Targets, &str)> {
    handle
        .split(',')
        .filter_map(|record| record.split_once('='))
        .filter(|(_, id)| !id.is_empty())
        .map(|(targets, id)| (Targets::of(targets.split('+')), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Targets {
        Targets::of(WORDS)
    }

    #[test]
    fn development_has_a_record_of_its_own() {
        let sets = |words: &[&str]| -> Vec<(String, bool)> {
            let records = Targets::of(words.iter().copied()).records();
            records.iter().map(|set| (set.to_string(), set.sensitive())).collect()
        };
        let both = ("production+preview".to_owned(), true);
        let development = ("development".to_owned(), false);
        assert_eq!(sets(&["development", "preview", "production"]), [both.clone(), development.clone()]);
        assert_eq!(sets(&["preview", "production"]), [both]);
        assert_eq!(sets(&["preview"]), [("preview".to_owned(), true)]);
        assert_eq!(sets(&["development"]), [development]);
    }

    #[test]
    fn a_handle_says_which_record_is_for_what() {
        let [most, development] = all().records()[..] else { panic!() };
        let text = handle([(most, "env_b"), (development, "env_a")]);
        assert_eq!(text, "development=env_a,production+preview=env_b");
        assert_eq!(ids(&text).collect::<Vec<_>>(), [(development, "env_a"), (most, "env_b")]);
        for odd in ["", "arn:aws:x", "production=", ",,,"] {
            assert_eq!(ids(odd).count(), 0, "{odd}");
        }
    }

    #[test]
    fn a_word_or_a_list_is_read() {
        let read = |text: &str| serde_json::from_str::<Targets>(text);
        assert_eq!(read(r#""preview""#).unwrap(), Targets::PREVIEW);
        assert_eq!(read(r#"["preview","production"]"#).unwrap().to_string(), "production+preview");
        assert_eq!(read("null").unwrap(), Targets::default());
        let other = read(r#"["staging","production"]"#).unwrap();
        assert!(other != Targets::PRODUCTION && other.without(all()) == Targets::OTHER);
        assert!(read(r"[1]").is_err());
    }
}
