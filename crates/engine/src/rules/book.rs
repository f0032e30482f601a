use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use model::{DestinationId, MountAccessor, SecretPath};
use store::{
    Cached, Revision, Store, StoreError,
    records::{Rule, Rules},
};

use super::Pattern;

/// The rules of every mount, read from the store when they changed and ready to be matched against.
#[derive(Default)]
pub struct RuleBook(Mutex<HashMap<MountAccessor, Arc<Shelf>>>);

#[derive(Default)]
struct Shelf {
    record: Cached<Rules>,
    ready: Mutex<Option<Arc<MountRules>>>,
}

impl RuleBook {
    /// The rules of a mount, as they are now.
    pub async fn of(&self, store: &Store, mount: &MountAccessor) -> Result<Arc<MountRules>, StoreError> {
        let held = {
            let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shelves.entry(mount.clone()).or_default())
        };
        let key = store.keys().rules(store.keys().mount(mount));
        let stored = store.get_cached(&key, &held.record).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let mut ready = held.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = ready.as_ref().filter(|ready| ready.revision == revision) {
            return Ok(Arc::clone(ready));
        }
        let rules = stored.map(|stored| stored.record.clone()).unwrap_or_default();
        let fresh = Arc::new(MountRules::new(rules, revision));
        *ready = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// The rules of one mount, filed under the folders they begin with: which of them are about a secret is
/// found without trying them all.
#[derive(Default)]
pub struct MountRules {
    /// What the record must still be for this to hold.
    pub(crate) revision: Option<Revision>,
    pub(crate) record: Rules,
    rules: Vec<Ready>,
    root: Folder,
    /// Destinations that have rules which could not be read: nothing of theirs is taken away.
    unreadable: Vec<DestinationId>,
}

struct Ready {
    pattern: Pattern,
    exclude: Vec<Pattern>,
}

#[derive(Default)]
struct Folder {
    /// Rules whose leading plain segments end here, by place.
    rules: Vec<usize>,
    folders: HashMap<String, Folder>,
}

impl MountRules {
    fn new(record: Rules, revision: Option<Revision>) -> Self {
        let mut new = Self { revision, ..Self::default() };
        // A pattern that does not parse was written by another version; it is not followed, and shown.
        let parsed = |rule: &Rule| {
            let exclude = rule.exclude.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>();
            Some(Ready { pattern: Pattern::parse(&rule.pattern).ok()?, exclude: exclude.ok()? })
        };
        let mut kept = Vec::with_capacity(record.rules.len());
        for rule in record.rules {
            let Some(ready) = parsed(&rule) else {
                tracing::error!(destination = %rule.key, "a rule has a pattern this version cannot read; it is not followed");
                new.unreadable.push(rule.destination);
                continue;
            };
            let mut folder = &mut new.root;
            for segment in ready.pattern.folder() {
                folder = folder.folders.entry(segment.to_owned()).or_default();
            }
            folder.rules.push(new.rules.len());
            new.rules.push(ready);
            kept.push(rule);
        }
        new.record = Rules { rules: kept, pending: record.pending };
        new
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that are about a secret.
    pub fn about(&self, path: &SecretPath) -> Vec<&Rule> {
        let mut found = Vec::new();
        let mut folder = Some(&self.root);
        let mut segments = path.segments();
        while let Some(here) = folder {
            found.extend(here.rules.iter().copied().filter(|at| {
                let Ready { pattern, exclude } = &self.rules[*at];
                pattern.matches(path) && !exclude.iter().any(|pattern| pattern.matches(path))
            }));
            folder = segments.next().and_then(|segment| here.folders.get(segment));
        }
        found.sort_unstable();
        found.into_iter().filter_map(|at| self.record.rules.get(at)).collect()
    }

    /// The first rule by which a secret is associated with a destination.
    pub fn why(&self, path: &SecretPath, destination: DestinationId) -> Option<&Rule> {
        self.about(path).into_iter().find(|rule| rule.destination == destination)
    }

    /// Whether all rules of a destination are understood.
    pub(crate) fn understood(&self, destination: DestinationId) -> bool {
        !self.unreadable.contains(&destination)
    }

    /// The patterns of a destination's rules.
    pub(crate) fn patterns(&self, destination: DestinationId) -> Vec<&Pattern> {
        let rules = self.record.rules.iter().zip(&self.rules);
        rules.filter(|(rule, _)| rule.destination == destination).map(|(_, ready)| &ready.pattern).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::{DestinationKey, DestinationName, Timestamp};

    use super::*;

    fn rule(destination: u8, pattern: &str, exclude: &[&str]) -> Rule {
        Rule {
            destination: DestinationId::from_bytes([destination; 16]),
            key: DestinationKey { kind: "test".into(), name: DestinationName::parse("d").unwrap() },
            accessor: MountAccessor::parse("kv_00000001").unwrap(),
            mount: "secret".into(),
            pattern: pattern.into(),
            exclude: exclude.iter().map(|text| (*text).to_owned()).collect(),
            created: Timestamp::from_secs(1),
            grantor: None,
        }
    }

    #[test]
    fn only_the_rules_about_a_secret_are_found() {
        let mut rules: Vec<Rule> = (0..1000).map(|n| rule(9, &format!("team-{n}/**"), &[])).collect();
        rules.extend([
            rule(1, "**/db", &["team-7/secret/*"]),
            rule(2, "team-7/*", &[]),
            rule(3, "*/x/**", &[]),
        ]);
        let book = MountRules::new(Rules { rules, pending: vec![] }, None);
        let about = |path: &str| {
            let path = SecretPath::parse(path).unwrap();
            book.about(&path).into_iter().map(|rule| rule.pattern.clone()).collect::<Vec<_>>()
        };
        assert_eq!(about("team-7/db"), ["team-7/**", "**/db", "team-7/*"]);
        assert_eq!(about("team-7/secret/db"), ["team-7/**"]);
        assert_eq!(about("team-12/x/y"), ["team-12/**", "*/x/**"]);
        assert_eq!(about("other"), [""; 0]);
    }

    #[test]
    fn a_pattern_of_another_version_is_left_out_and_the_rest_holds() {
        let rules = vec![rule(1, "a**", &[]), rule(2, "a/*", &["/"]), rule(3, "a/*", &[])];
        let book = MountRules::new(Rules { rules, pending: vec![] }, None);
        let about = book.about(&SecretPath::parse("a/b").unwrap());
        assert_eq!(about.iter().map(|rule| rule.destination.as_bytes()[0]).collect::<Vec<_>>(), [3]);
    }
}
