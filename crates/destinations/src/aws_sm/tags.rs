//! Our mark as AWS tags (decisions 6a). They do not change with the value, so that an update needs no
//! call for them; which write it was is told by the version id.

use std::collections::BTreeMap;

use model::{AssociationId, StoreId};
use serde::{Deserialize, Serialize};

use crate::{Mark, WriteId};

const MANAGED: &str = "keyferry:managed-by";
pub(super) const STORE: &str = "keyferry:store";
const EPOCH: &str = "keyferry:epoch";
const ASSOCIATION: &str = "keyferry:association";

/// How many tags the mark takes of the fifty a secret may have.
pub(super) const MARK_TAGS: usize = 4;

/// Vault's own mark (vault-sync-api.md 9.1).
const VAULTS: &str = "hashicorp:vault";

/// A tag on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

/// What is wrong with a custom tag's key, if it is one that has a meaning already.
pub(super) fn reserved(key: &str) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    if lower.starts_with("aws:") {
        return Some("must not begin with aws:, which AWS keeps for itself");
    }
    if lower.starts_with("keyferry:") {
        return Some("must not begin with keyferry:, which marks what keyferry wrote");
    }
    (lower == VAULTS).then_some("is the mark of Vault's own secrets sync")
}

/// The tags an entry is to have: the mark, and the custom ones.
pub(super) fn wanted(mark: &Mark, custom: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |key: &str, value: String| Tag { key: key.to_owned(), value };
    let mut tags = vec![
        tag(MANAGED, "keyferry".to_owned()),
        tag(STORE, mark.store.to_string()),
        tag(EPOCH, mark.epoch.to_string()),
        tag(ASSOCIATION, mark.association.to_string()),
    ];
    tags.extend(custom.iter().map(|(key, value)| tag(key, value.clone())));
    tags
}

/// The mark that tags and the current version id make, if they are ours.
pub(super) fn mark(tags: &[Tag], version_id: Option<&str>) -> Option<Mark> {
    let value = |key| tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str());
    let id = |key| {
        let mut bytes = [0; 16];
        hex::decode_to_slice(value(key)?, &mut bytes).ok().map(|()| bytes)
    };
    Some(Mark {
        store: StoreId::from_bytes(id(STORE)?),
        epoch: value(EPOCH)?.parse().ok()?,
        association: AssociationId::from_bytes(id(ASSOCIATION)?),
        version: 0,
        write: version_id.and_then(WriteId::parse),
    })
}

/// Whether Vault wrote it.
pub(super) fn vaults(tags: &[Tag]) -> bool {
    tags.iter().any(|tag| tag.key == VAULTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Mark {
        Mark {
            store: StoreId::from_bytes([1; 16]),
            epoch: 3,
            association: AssociationId::from_bytes([2; 16]),
            version: 0,
            write: Some(WriteId([9; 32])),
        }
    }

    #[test]
    fn a_mark_is_read_back() {
        let tags = wanted(&sample(), &BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        assert_eq!(tags.len(), MARK_TAGS + 1);
        assert_eq!(mark(&tags, Some(&WriteId([9; 32]).to_hex())), Some(sample()));
        assert_eq!(mark(&tags, Some("made by hand")).unwrap().write, None);
        for missing in [STORE, EPOCH, ASSOCIATION] {
            let fewer: Vec<Tag> = tags.iter().filter(|tag| tag.key != missing).cloned().collect();
            assert_eq!(mark(&fewer, None), None, "{missing}");
        }
    }

    #[test]
    fn keys_with_a_meaning_are_reserved() {
        for key in ["aws:x", "AWS:x", "keyferry:store", "Keyferry:x", "hashicorp:vault"] {
            assert!(reserved(key).is_some(), "{key}");
        }
        for key in ["team", "awsome", "hashicorp:vault2", "managed-by"] {
            assert_eq!(reserved(key), None, "{key}");
        }
    }
}
