//! Sets of capabilities.

use crate::app::Capability;

/// A word of a `capabilities` list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// What an operation needs.
    Operation(Capability),
    /// Nothing at all, whatever else is granted.
    Deny,
}

impl Word {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "deny" => Some(Self::Deny),
            word => ALL.iter().find(|capability| capability.as_str() == word).map(|c| Self::Operation(*c)),
        }
    }
}

/// In the order in which they are told: that of the alphabet, as Vault sorts them.
const ALL: [Capability; 10] = [
    Capability::Create,
    Capability::Delete,
    Capability::List,
    Capability::Patch,
    Capability::Read,
    Capability::Recover,
    Capability::Scan,
    Capability::Subscribe,
    Capability::Sudo,
    Capability::Update,
];

/// Which capabilities a rule grants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities(u16);

impl Capabilities {
    /// Nothing, whatever else is granted.
    pub(super) const DENY: Self = Self(1 << 15);

    pub(super) const fn bit(capability: Capability) -> u16 {
        1 << capability as u16
    }

    pub(super) fn add(&mut self, word: Word) {
        self.0 |= match word {
            Word::Operation(capability) => Self::bit(capability),
            Word::Deny => Self::DENY.0,
        };
    }

    /// Adds another's. A denial wins.
    pub(super) fn join(&mut self, other: Self) {
        self.0 |= other.0;
        if self.denies() {
            *self = Self::DENY;
        }
    }

    pub(super) fn denies(self) -> bool {
        self.0 & Self::DENY.0 != 0
    }

    /// Whether this is granted.
    pub(super) fn has(self, capability: Capability) -> bool {
        !self.denies() && self.0 & Self::bit(capability) != 0
    }

    /// Whether anything is granted.
    pub(super) fn any(self) -> bool {
        !self.denies() && self.0 != 0
    }

    /// What `policy = "<word>"` of old stands for.
    pub(super) fn of_old_word(word: &str) -> Option<Self> {
        use Capability::{Create, Delete, List, Read, Sudo, Update};
        let capabilities: &[Capability] = match word {
            "deny" => return Some(Self::DENY),
            "read" => &[Read, List],
            "write" => &[Create, Read, Update, Delete, List],
            "sudo" => &[Create, Read, Update, Delete, List, Sudo],
            _ => return None,
        };
        Some(Self(capabilities.iter().fold(0, |bits, capability| bits | Self::bit(*capability))))
    }

    /// The words, sorted; `deny` when there are none.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let words: Vec<_> =
            ALL.into_iter().filter(|capability| self.has(*capability)).map(Capability::as_str).collect();
        if words.is_empty() { vec!["deny"] } else { words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_and_told() {
        let mut all = Capabilities::default();
        for capability in ALL {
            let mut one = Capabilities::default();
            let word = Word::parse(capability.as_str()).unwrap();
            one.add(word);
            assert_eq!(one.words(), [capability.as_str()]);
            assert!(one.has(capability) && one.any());
            all.join(one);
        }
        assert!(all.words().is_sorted());
        assert_eq!(all.words().len(), ALL.len());
        all.join(Capabilities::DENY);
        assert_eq!((all.words(), all.any()), (vec!["deny"], false));
        assert_eq!(Word::parse("Read"), None);
        assert_eq!(
            Capabilities::of_old_word("write").unwrap().words(),
            ["create", "delete", "list", "read", "update"]
        );
    }
}
