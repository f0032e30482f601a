//! Our mark as labels and annotations (decisions 6a), and custom tags as labels.
//!
//! Labels say whose a secret is: they can be listed by. Annotations say which of its versions is the
//! first of ours and which write that was. None of it changes with the value, so that an update needs
//! no call for it.

use std::collections::BTreeMap;

use model::{AssociationId, StoreId};

use crate::{FieldFault, Mark, WriteId};

/// The label every secret of ours bears, whichever store wrote it.
pub(super) const MANAGED: &str = "keyferry_managed_by";
/// Its value.
pub(super) const KEYFERRY: &str = "keyferry";
const STORE: &str = "keyferry_store";
const EPOCH: &str = "keyferry_epoch";
const ASSOCIATION: &str = "keyferry_association";

/// How many labels the mark takes of the 64 a secret may have.
pub(super) const MARK_LABELS: usize = 4;

/// The number of the first version that is ours: 1, unless we took the secret over.
const FIRST_VERSION: &str = "keyferry.first-version";
/// Which write it was.
const FIRST_WRITE: &str = "keyferry.first-write";

/// Longest key and value of a label, in bytes of UTF-8. In characters it is 63.
const MAX_BYTES: usize = 128;

pub(super) type Labels = BTreeMap<String, String>;

/// A tag's key as a label's: lower case, and `_` for what a label cannot hold (vault-sync-api.md 6.5).
pub(super) fn label_key(key: &str) -> String {
    normalised(key)
}

/// A tag's value as a label's, likewise.
pub(super) fn label_value(value: &str) -> String {
    normalised(value)
}

fn normalised(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|c| if label_character(c) { c } else { '_' }).collect()
}

fn label_character(c: char) -> bool {
    c == '_' || c == '-' || (c.is_alphanumeric() && !c.is_uppercase())
}

/// What may stand in a custom tag's key: what a label's may hold, and what is mended quietly.
pub(super) fn key_character(c: char) -> bool {
    c.is_alphanumeric() || "_-.:/@+=".contains(c)
}

/// What may stand in a custom tag's value.
pub(super) fn value_character(c: char) -> bool {
    c == ' ' || key_character(c)
}

/// What is wrong with a custom tag's key beyond its characters.
pub(super) fn key_problem(key: &str) -> Option<&'static str> {
    let label = label_key(key);
    if !label.starts_with(char::is_alphabetic) {
        return Some("must begin with a letter");
    }
    if label.starts_with("keyferry_") {
        return Some("must not begin with keyferry_, which marks what keyferry wrote");
    }
    if label.starts_with("goog") {
        return Some("must not begin with goog, which Google keeps for itself");
    }
    if is_vaults(&label) {
        return Some("is the mark of Vault's own secrets sync");
    }
    (label.len() > MAX_BYTES || label.chars().count() > 63)
        .then_some("is longer than 63 characters or 128 bytes as a label")
}

/// Checks what one tag alone does not show.
pub(super) fn check(custom: &BTreeMap<String, String>) -> Result<(), FieldFault> {
    let mut labels: BTreeMap<String, usize> = BTreeMap::new();
    for (at, (key, value)) in custom.iter().enumerate() {
        let fault = |problem: String| Err(FieldFault::new(format!("custom_tags[{at}]"), problem));
        let value = label_value(value);
        if value.len() > MAX_BYTES || value.chars().count() > 63 {
            return fault("the value is longer than 63 characters or 128 bytes as a label".to_owned());
        }
        if let Some(other) = labels.insert(label_key(key), at) {
            return fault(format!(
                "the key becomes the same label as that of custom_tags[{other}] (labels are lower case, and \
                 hold letters, digits, _ and -)"
            ));
        }
    }
    Ok(())
}

/// The labels a secret is to have: the mark, and the custom ones.
pub(super) fn wanted(mark: &Mark, custom: &BTreeMap<String, String>) -> Labels {
    let mut labels: Labels = custom.iter().map(|(key, value)| (label_key(key), label_value(value))).collect();
    labels.insert(MANAGED.to_owned(), KEYFERRY.to_owned());
    labels.insert(STORE.to_owned(), mark.store.to_string());
    labels.insert(EPOCH.to_owned(), mark.epoch.to_string());
    labels.insert(ASSOCIATION.to_owned(), mark.association.to_string());
    labels
}

/// The annotations that say where our versions begin.
pub(super) fn beginning(mark: &Mark, first_version: u64) -> Labels {
    let mut annotations = Labels::from([(FIRST_VERSION.to_owned(), first_version.to_string())]);
    if let Some(write) = mark.write {
        annotations.insert(FIRST_WRITE.to_owned(), write.to_hex());
    }
    annotations
}

/// The number of the first version that is ours.
pub(super) fn first_version(annotations: &Labels) -> Option<u64> {
    annotations.get(FIRST_VERSION)?.parse().ok()
}

/// Which write the first version that is ours is.
pub(super) fn first_write(annotations: &Labels) -> Option<WriteId> {
    annotations.get(FIRST_WRITE).and_then(|hex| WriteId::parse(hex))
}

/// The mark that labels make, if they are ours. Which write it is they do not say.
pub(super) fn mark(labels: &Labels) -> Option<Mark> {
    let id = |key| {
        let mut bytes = [0; 16];
        hex::decode_to_slice(labels.get(key)?, &mut bytes).ok().map(|()| bytes)
    };
    Some(Mark {
        store: StoreId::from_bytes(id(STORE)?),
        epoch: labels.get(EPOCH)?.parse().ok()?,
        association: AssociationId::from_bytes(id(ASSOCIATION)?),
        version: 0,
        write: None,
    })
}

/// Whether Vault wrote it. Its `hashicorp:vault` cannot be a label as it is (vault-sync-api.md 9.1).
pub(super) fn vaults(labels: &Labels) -> bool {
    labels.keys().any(|key| is_vaults(key))
}

fn is_vaults(label: &str) -> bool {
    matches!(label, "hashicorp-vault" | "hashicorp_vault" | "hashicorp:vault")
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
            version: 7,
            write: Some(WriteId([9; 32])),
        }
    }

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_mark_is_read_back() {
        let labels = wanted(&sample(), &tags(&[("team", "a")]));
        assert_eq!(labels.len(), MARK_LABELS + 1);
        assert_eq!(mark(&labels), Some(Mark { version: 0, write: None, ..sample() }));
        for missing in [STORE, EPOCH, ASSOCIATION] {
            let mut fewer = labels.clone();
            fewer.remove(missing);
            assert_eq!(mark(&fewer), None, "{missing}");
        }
        let annotations = beginning(&sample(), 4);
        assert_eq!((first_version(&annotations), first_write(&annotations)), (Some(4), sample().write));
        assert_eq!(first_version(&Labels::new()), None);
    }

    #[test]
    fn custom_tags_become_labels_and_never_the_mark() {
        let labels = wanted(&sample(), &tags(&[("Cost:Centre", "A b/C"), ("straße", "é環")]));
        assert_eq!(labels.get("cost_centre").map(String::as_str), Some("a_b_c"));
        assert_eq!(labels.get("straße").map(String::as_str), Some("é環"));
    }

    #[test]
    fn keys_with_a_meaning_are_reserved() {
        for key in ["keyferry_store", "Keyferry:x", "hashicorp:vault", "hashicorp-vault", "goog-x", "1a", "-"]
        {
            assert!(key_problem(key).is_some(), "{key}");
        }
        assert!(key_problem(&"\u{3042}".repeat(43)).is_some(), "129 bytes");
        for key in ["team", "hashicorp-vault2", "managed-by", "a1", "\u{3042}"] {
            assert_eq!(key_problem(key), None, "{key}");
        }
    }

    #[test]
    fn two_tags_that_become_one_label_are_refused() {
        let fault = check(&tags(&[("A.b", ""), ("a_b", ""), ("c", "")])).unwrap_err();
        assert_eq!(fault.field, "custom_tags[1]");
        assert!(fault.problem.contains("custom_tags[0]"));
        assert!(check(&tags(&[("a.b", ""), ("a-b", "")])).is_ok());
        assert!(check(&tags(&[("a", &"\u{3042}".repeat(43))])).is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_a_label(text in "\\PC{0,20}") {
            let label = normalised(&text);
            prop_assert!(label.chars().all(label_character));
            prop_assert_eq!(normalised(&label), label);
        }
    }
}
