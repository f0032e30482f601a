//! The requests and answers of the operations we use, as far as they matter here (destinations.md 2.1).
//! Only [`SecretValue`] takes a value: elsewhere serde skips it where it stands, in memory that is wiped.

use std::collections::BTreeMap;

use model::SecretBytes;
use serde::{Deserialize, Serialize};

use super::tags;
use crate::{Mark, Present, Receipt};

/// `PUT /secrets/{name}`: every write makes a version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SetSecret<'a> {
    pub(super) value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<&'static str>,
    pub(super) tags: &'a BTreeMap<String, String>,
}

/// `PATCH /secrets/{name}/{version}`: the tags are replaced as a whole.
#[derive(Serialize)]
pub(super) struct UpdateSecret<'a> {
    pub(super) tags: &'a BTreeMap<String, String>,
}

/// What every answer and every list says of a version, or of a secret's current one.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// `https://{vault}/secrets/{name}[/{version}]`.
    id: String,
    #[serde(default)]
    attributes: Attributes,
    tags: Option<BTreeMap<String, String>>,
    /// It holds the key of a certificate, and belongs to it.
    managed: Option<bool>,
    /// Of a deleted secret: when it goes for good, in seconds of Unix time.
    pub(super) scheduled_purge_date: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    /// Seconds of Unix time.
    #[serde(default)]
    created: i64,
    #[serde(default)]
    recovery_level: String,
}

/// A value that was read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretValue {
    pub(super) value: Option<SecretBytes>,
    pub(super) content_type: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(default)]
    pub(super) value: Vec<Entry>,
    pub(super) next_link: Option<String>,
}

impl Entry {
    /// The parts of its id after `/secrets/` or `/deletedsecrets/`: name, and version if it says one.
    fn place(&self) -> (&str, Option<&str>) {
        let path = self.id.split_once("://").map_or(self.id.as_str(), |(_, rest)| rest);
        let mut parts = path.split('/').skip(2).filter(|part| !part.is_empty());
        (parts.next().unwrap_or_default(), parts.next())
    }

    /// The name, as it was written when the secret was made.
    pub(super) fn name(&self) -> &str {
        self.place().0
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.place().1
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.tags.as_ref().and_then(tags::mark)
    }

    pub(super) fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.tags.as_ref()
    }

    pub(super) fn is_managed(&self) -> bool {
        self.managed == Some(true)
    }

    /// Whether the vault lets a deleted secret be purged before its time.
    pub(super) fn is_purgeable(&self) -> bool {
        let level = &self.attributes.recovery_level;
        level.is_empty() || level.to_ascii_lowercase().contains("purgeable")
    }

    /// Versions by age, the newest last. Azure tells whole seconds. Among versions of the same second it
    /// is the one we know to have written last, then a stranger's, which is the careful side, then that of
    /// the newest source version.
    pub(super) fn age(&self, written_last: Option<&str>) -> (i64, bool, bool, u64) {
        let mark = self.mark();
        let last = written_last.is_some() && self.version() == written_last;
        (self.attributes.created, last, mark.is_none(), mark.map_or(0, |mark| mark.version))
    }

    /// The unversioned id: the same for as long as the name is in use. It is no proof of anything.
    fn handle(&self) -> String {
        format!("secrets/{}", self.name().to_ascii_lowercase())
    }

    pub(super) fn receipt(&self) -> Receipt {
        Receipt { handle: Some(self.handle()), revision: self.version().map(ToOwned::to_owned) }
    }

    pub(super) fn present(&self) -> Present {
        Present {
            mark: self.mark(),
            vaults: self.tags.as_ref().is_some_and(tags::vaults),
            managed_by_provider: self.is_managed(),
            handle: Some(self.handle()),
            revision: self.version().map(ToOwned::to_owned),
            recoverable: false,
            unreadable: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Entry {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn ids_tell_name_and_version() {
        for (id, name, version) in [
            ("https://v.vault.azure.net/secrets/Db-Pass/0a1b", "Db-Pass", Some("0a1b")),
            ("https://v.vault.azure.net:443/secrets/x", "x", None),
            ("https://v.vault.azure.net/secrets/x/", "x", None),
            ("", "", None),
            ("secrets", "", None),
        ] {
            let entry = entry(&format!(r#"{{"id":"{id}"}}"#));
            assert_eq!((entry.name(), entry.version()), (name, version), "{id}");
        }
    }

    #[test]
    fn the_newest_version_is_told_by_its_time_and_a_doubt_goes_to_the_stranger() {
        let at = |created: i64, tags: &str| {
            entry(&format!(
                r#"{{"id":"https://v/secrets/x/1","attributes":{{"created":{created}}},"tags":{tags}}}"#
            ))
        };
        let owner = format!(r#""keyferry:owner":"{} 1 {}""#, "01".repeat(16), "02".repeat(16));
        let ours = |version| format!(r#"{{{owner},"keyferry:write":"{version} {}"}}"#, "09".repeat(32));
        let older = |a: Entry, b: Entry| a.age(None) < b.age(None);
        assert!(older(at(1, &ours(9)), at(2, &ours(1))));
        assert!(older(at(1, &ours(1)), at(1, &ours(2))));
        assert!(older(at(1, &ours(9)), at(1, "{}")));
        assert!(older(at(1, &ours(9)), at(1, "null")));
        let one = at(1, &ours(1));
        assert!(one.age(Some("1")) > at(1, &ours(9)).age(Some("another")));
        assert!(one.age(Some("1")) > at(1, "{}").age(Some("another")));
        assert!(at(2, "{}").age(Some("another")) > one.age(Some("1")));
    }

    #[test]
    fn purging_is_possible_unless_the_vault_says_otherwise() {
        for (level, purgeable) in [
            ("Recoverable+Purgeable", true),
            ("CustomizedRecoverable+Purgeable", true),
            ("Purgeable", true),
            ("", true),
            ("Recoverable", false),
            ("Recoverable+ProtectedSubscription", false),
            ("CustomizedRecoverable", false),
        ] {
            let entry = entry(&format!(r#"{{"id":"x","attributes":{{"recoveryLevel":"{level}"}}}}"#));
            assert_eq!(entry.is_purgeable(), purgeable, "{level}");
        }
    }
}
