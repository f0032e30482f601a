//! Our mark as Azure tags (decisions 6a). Tags belong to a version there, so every write sends them all
//! and they can say which write it was. Two are enough, so that thirteen of the fifteen are left.

use std::collections::BTreeMap;

use model::{AssociationId, StoreId};

use crate::{Mark, WriteId};

/// Whose it is: store, epoch and association.
const OWNER: &str = "keyferry:owner";
/// Which write it was: source version and the write's identity, a keyed digest.
const WRITE: &str = "keyferry:write";

/// How many tags the mark takes of the fifteen a version may have.
pub(super) const MARK_TAGS: usize = 2;

/// Vault's own mark (vault-sync-api.md 9.1; which of the two it is on Azure is not documented).
const VAULTS: [&str; 2] = ["hashicorp:vault", "hashicorp-vault"];

/// What is wrong with a custom tag's key, if it is one that has a meaning already.
pub(super) fn reserved(key: &str) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    if lower.starts_with("keyferry:") {
        return Some("must not begin with keyferry:, which marks what keyferry wrote");
    }
    VAULTS.contains(&lower.as_str()).then_some("is the mark of Vault's own secrets sync")
}

/// The tags a version is to have: the mark, and the custom ones.
pub(super) fn wanted(mark: &Mark, custom: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut tags = custom.clone();
    tags.insert(OWNER.to_owned(), format!("{} {} {}", mark.store, mark.epoch, mark.association));
    if let Some(write) = mark.write {
        tags.insert(WRITE.to_owned(), format!("{} {}", mark.version, write.to_hex()));
    }
    tags
}

/// The mark that tags make, if they are ours.
pub(super) fn mark(tags: &BTreeMap<String, String>) -> Option<Mark> {
    let id = |text: &str| {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
    };
    let mut owner = tags.get(OWNER)?.split(' ');
    let (store, epoch, association) = (owner.next()?, owner.next()?, owner.next()?);
    if owner.next().is_some() {
        return None;
    }
    let write = tags.get(WRITE).and_then(|write| write.split_once(' '));
    Some(Mark {
        store: StoreId::from_bytes(id(store)?),
        epoch: epoch.parse().ok()?,
        association: AssociationId::from_bytes(id(association)?),
        version: write.and_then(|(version, _)| version.parse().ok()).unwrap_or_default(),
        write: write.and_then(|(_, write)| WriteId::parse(write)),
    })
}

/// Whether Vault wrote it.
pub(super) fn vaults(tags: &BTreeMap<String, String>) -> bool {
    VAULTS.iter().any(|key| tags.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Mark {
        Mark {
            store: StoreId::from_bytes([1; 16]),
            epoch: 3,
            association: AssociationId::from_bytes([2; 16]),
            version: 17,
            write: Some(WriteId([9; 32])),
        }
    }

    #[test]
    fn a_mark_is_read_back() {
        let tags = wanted(&sample(), &BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        assert_eq!(tags.len(), MARK_TAGS + 1);
        assert!(tags.values().all(|value| value.len() <= 256));
        assert_eq!(mark(&tags), Some(sample()));
        let mut unknown_write = tags.clone();
        unknown_write.insert(WRITE.to_owned(), "made by hand".to_owned());
        assert_eq!(mark(&unknown_write).unwrap().write, None);
        for broken in ["", "x", "a b c", "a b", "1 2 3 4"] {
            let mut broken_tags = tags.clone();
            broken_tags.insert(OWNER.to_owned(), broken.to_owned());
            assert_eq!(mark(&broken_tags), None, "{broken}");
        }
        assert_eq!(mark(&BTreeMap::new()), None);
    }

    #[test]
    fn keys_with_a_meaning_are_reserved() {
        for key in ["keyferry:owner", "Keyferry:x", "hashicorp:vault", "HashiCorp-Vault"] {
            assert!(reserved(key).is_some(), "{key}");
        }
        for key in ["team", "hashicorp:vault2", "managed-by"] {
            assert_eq!(reserved(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn what_others_write_into_our_tags_makes_nothing_panic(owner in ".{0,60}", write in ".{0,60}") {
            let tags = BTreeMap::from([(OWNER.to_owned(), owner), (WRITE.to_owned(), write)]);
            let _ = mark(&tags);
        }
    }
}
