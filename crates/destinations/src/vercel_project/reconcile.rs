//! From what a project holds to what has to be done for one entry. Pure.

use super::{
    targets::Targets,
    wire::{self, Record},
};
use crate::{Expect, Fault, Mark, Present, Put, Remove};

/// What a project shows of itself.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) records: Vec<Record>,
    /// Production variables that the token may not see.
    pub(super) hidden: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The record for these environments holds this very write.
    Keep { targets: Targets, id: String, revision: Option<String> },
    /// The record for just these environments is written over.
    Upsert { targets: Targets },
    /// There is none.
    Create { targets: Targets },
    /// A record of ours is for other environments than it should be.
    Move { targets: Targets, id: String },
    /// A record that is taken over reaches further than we do: what is beyond stays as it is.
    Narrow { id: String, rest: Targets },
    /// It is in the way, or no longer wanted.
    Delete { id: String },
}

/// What a listing means for a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something else is there.
    Taken(Present),
    /// These steps, in this order.
    Steps(Vec<Step>),
}

impl Listing {
    /// The variables of a name that hold for every branch.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.key == name && record.for_all_branches())
    }

    /// The variables of a name for any of these environments.
    pub(super) fn there<'a>(&'a self, name: &'a str, targets: Targets) -> Vec<&'a Record> {
        self.named(name).filter(|record| record.target.meets(targets)).collect()
    }

    /// Whether a record for some of these environments may be there without being shown.
    pub(super) fn may_hide(&self, targets: Targets) -> bool {
        self.hidden && targets.meets(Targets::PRODUCTION)
    }

    /// What has to be done so that a put is carried out. `ids`: records that are ours by the id they were
    /// given when they were made, whatever a person did to their comment. Not if it names another owner.
    pub(super) fn write(&self, put: &Put<'_>, wanted: Targets, ids: &[&str]) -> Verdict {
        let sets = wanted.records();
        let name = put.name.as_str();
        let there = self.there(name, wanted);
        let take_over = put.expect == Expect::Anything;
        let is_ours = |record: &Record| match record.mark() {
            Some(mark) => mark.same_owner(put.mark),
            None => ids.contains(&record.id.as_str()),
        };
        let strangers: Vec<&Record> = there.iter().copied().filter(|record| !is_ours(record)).collect();
        if strangers.iter().any(|record| record.managed()) || (!take_over && !strangers.is_empty()) {
            return Verdict::Taken(wire::present(&strangers, &sets));
        }
        let mut kept: Vec<&str> = Vec::new();
        let mut for_each_set = Vec::new();
        for targets in sets {
            let exact = there.iter().find(|record| {
                // A record never changes its type, except that what is ours stays as it is: a team may
                // have decided its type over our heads.
                record.target == targets
                    && !record.custom()
                    && (is_ours(record) || record.sensitive() == targets.sensitive())
            });
            let movable = there.iter().find(|record| {
                is_ours(record)
                    && record.target.meets(targets)
                    && !kept.contains(&record.id.as_str())
                    && record.sensitive() == targets.sensitive()
            });
            for_each_set.push(match (exact, movable) {
                (Some(record), _) => {
                    kept.push(&record.id);
                    let same = record
                        .mark()
                        .is_some_and(|mark| mark.same_owner(put.mark) && mark.write == put.mark.write);
                    if same {
                        Step::Keep { targets, id: record.id.clone(), revision: record.updated() }
                    } else {
                        Step::Upsert { targets }
                    }
                }
                (None, Some(record)) => {
                    kept.push(&record.id);
                    Step::Move { targets, id: record.id.clone() }
                }
                (None, None) => Step::Create { targets },
            });
        }
        let mut steps = Vec::new();
        for record in self.named(name).filter(|record| !kept.contains(&record.id.as_str())) {
            // Ours, also where it is no longer wanted; others' only where it is in the way.
            if is_ours(record) {
                steps.push(Step::Delete { id: record.id.clone() });
            } else if record.target.meets(wanted) {
                steps.push(out_of_the_way(record, wanted));
            }
        }
        steps.extend(for_each_set);
        Verdict::Steps(steps)
    }

    /// What has to be done so that a removal is carried out; the fault tells why it may not be.
    pub(super) fn remove(&self, remove: &Remove<'_>, wanted: Targets) -> Result<Vec<Step>, Fault> {
        let name = remove.name.as_str();
        let there = self.there(name, wanted);
        let Some(owner) = remove.owner else {
            if there.iter().any(|record| record.managed()) {
                return Err(Fault::client(
                    "managed_by_provider",
                    "the variable is kept by Vercel or an integration, and is left alone",
                ));
            }
            return Ok(there.into_iter().map(|record| out_of_the_way(record, wanted)).collect());
        };
        let ours: Vec<Step> = self
            .named(name)
            .filter(|record| is_of(record, owner))
            .map(|record| Step::Delete { id: record.id.clone() })
            .collect();
        if ours.is_empty() && !there.is_empty() { Err(Fault::ownership_lost()) } else { Ok(ours) }
    }
}

fn is_of(record: &Record, owner: &Mark) -> bool {
    record.mark().is_some_and(|mark| mark.same_owner(owner))
}

fn out_of_the_way(record: &Record, wanted: Targets) -> Step {
    let rest = record.target.without(wanted);
    let id = record.id.clone();
    if rest.is_empty() && !record.custom() { Step::Delete { id } } else { Step::Narrow { id, rest } }
}

#[cfg(test)]
mod tests {
    use model::{AssociationId, RemoteName};
    use serde_json::json;

    use super::*;
    use crate::{
        testing::{self, Writing},
        vercel_project::{mark, targets},
    };

    fn record(id: &str, target: &str, kind: &str, comment: &str) -> Record {
        let target: Vec<&str> = target.split('+').collect();
        serde_json::from_value(
            json!({"id": id, "key": "K", "target": target, "type": kind, "comment": comment}),
        )
        .unwrap()
    }

    fn ours(id: &str, target: &str, write: u8) -> Record {
        let kind = if target.contains("development") { "encrypted" } else { "sensitive" };
        record(id, target, kind, &mark::comment(&testing::mark(write)))
    }

    fn theirs(id: &str, target: &str, kind: &str) -> Record {
        record(id, target, kind, "the database")
    }

    fn verdict(records: Vec<Record>, expect: Expect<'_>, wanted: &str) -> Verdict {
        let writing = Writing::new("K", "v", 1).expecting(expect);
        let ids: Vec<&str> = match expect {
            Expect::Ours(Some(handle)) => targets::ids(handle).map(|(_, id)| id).collect(),
            _ => Vec::new(),
        };
        Listing { records, hidden: false }.write(&writing.put(), Targets::of(wanted.split('+')), &ids)
    }

    /// The steps in short, and whether nothing may be done.
    fn steps(records: Vec<Record>, expect: Expect<'_>, wanted: &str) -> String {
        match verdict(records, expect, wanted) {
            Verdict::Taken(_) => "taken".to_owned(),
            Verdict::Steps(steps) => {
                let words: Vec<String> = steps
                    .iter()
                    .map(|step| match step {
                        Step::Keep { id, .. } => format!("keep {id}"),
                        Step::Upsert { targets } => format!("upsert {targets}"),
                        Step::Create { targets } => format!("create {targets}"),
                        Step::Move { targets, id } => format!("move {id} to {targets}"),
                        Step::Narrow { id, rest } => format!("narrow {id} to {rest}"),
                        Step::Delete { id } => format!("delete {id}"),
                    })
                    .collect();
                words.join(", ")
            }
        }
    }

    const ALL: &str = "production+preview+development";

    #[test]
    fn nothing_there_is_made() {
        let made = "create production+preview, create development";
        for expect in [Expect::Absent, Expect::Ours(Some("production+preview=x")), Expect::Anything] {
            assert_eq!(steps(vec![], expect, ALL), made);
        }
    }

    #[test]
    fn ours_is_kept_written_over_moved_and_cleared_away() {
        let both = |write| vec![ours("a", "production+preview", write), ours("b", "development", write)];
        assert_eq!(steps(both(1), Expect::Absent, ALL), "keep a, keep b");
        assert_eq!(steps(both(9), Expect::Ours(None), ALL), "upsert production+preview, upsert development");
        // Fewer environments, more of them, others.
        assert_eq!(steps(both(1), Expect::Ours(None), "development"), "delete a, keep b");
        assert_eq!(steps(both(1), Expect::Ours(None), "production"), "delete b, move a to production");
        let preview = || vec![ours("a", "preview", 1)];
        assert_eq!(
            steps(preview(), Expect::Ours(None), ALL),
            "move a to production+preview, create development"
        );
        assert_eq!(steps(preview(), Expect::Ours(None), "production"), "delete a, create production");
        // Two where one is wanted.
        let two = vec![ours("a", "production", 1), ours("b", "preview", 1)];
        assert_eq!(
            steps(two, Expect::Ours(None), "production+preview"),
            "delete b, move a to production+preview"
        );
    }

    #[test]
    fn a_strangers_variable_is_left_alone_unless_taken_over() {
        for (target, kind, taken_over) in [
            ("production+preview", "sensitive", "upsert production+preview"),
            // Its type cannot be changed.
            ("production+preview", "encrypted", "delete x, create production+preview"),
            ("production", "sensitive", "delete x, create production+preview"),
            // What is beyond stays theirs.
            ("production+development", "encrypted", "narrow x to development, create production+preview"),
        ] {
            for expect in [Expect::Absent, Expect::Ours(None), Expect::Ours(Some("production+preview=y"))] {
                assert_eq!(steps(vec![theirs("x", target, kind)], expect, "production+preview"), "taken");
            }
            assert_eq!(
                steps(vec![theirs("x", target, kind)], Expect::Anything, "production+preview"),
                taken_over
            );
        }
        // One stranger among ours is enough.
        let mixed = vec![ours("a", "production+preview", 1), theirs("x", "development", "plain")];
        assert_eq!(steps(mixed, Expect::Ours(None), ALL), "taken");
    }

    #[test]
    fn a_comment_that_was_rewritten_does_not_make_it_a_strangers() {
        let handle = Expect::Ours(Some("production+preview=x"));
        let rewritten = || vec![theirs("x", "production+preview", "sensitive")];
        assert_eq!(steps(rewritten(), handle, "production+preview"), "upsert production+preview");
        // But one that names another owner does.
        let mark = Mark { association: AssociationId::from_bytes([3; 16]), ..testing::mark(1) };
        let anothers = vec![record("x", "production+preview", "sensitive", &mark::comment(&mark))];
        assert_eq!(steps(anothers, handle, "production+preview"), "taken");
    }

    #[test]
    fn other_branches_and_environments_are_other_variables() {
        let branch: Record = serde_json::from_value(
            json!({"id": "x", "key": "K", "target": ["preview"], "gitBranch": "feature", "type": "plain"}),
        )
        .unwrap();
        let custom: Record = serde_json::from_value(
            json!({"id": "y", "key": "K", "customEnvironmentIds": ["env_staging"], "type": "plain"}),
        )
        .unwrap();
        let others = vec![branch, custom, theirs("z", "development", "plain")];
        assert_eq!(steps(others, Expect::Anything, "production+preview"), "create production+preview");
    }

    #[test]
    fn what_an_integration_keeps_up_is_never_taken() {
        let managed: Record = serde_json::from_value(
            json!({"id": "x", "key": "K", "target": ["production"], "type": "encrypted", "configurationId": "icfg_1"}),
        )
        .unwrap();
        match verdict(vec![managed], Expect::Anything, ALL) {
            Verdict::Taken(present) => assert!(present.managed_by_provider),
            steps @ Verdict::Steps(_) => panic!("{steps:?}"),
        }
    }

    #[test]
    fn a_removal_takes_what_is_the_owners_wherever_it_is() {
        let name = RemoteName::from_kind("K");
        let mark = testing::mark(7);
        let listing = |records| Listing { records, hidden: false };
        let remove = |records, owner| {
            let remove = Remove { name: &name, handle: None, owner };
            listing(records).remove(&remove, Targets::of(["production", "preview"]))
        };
        let delete = |id: &str| Step::Delete { id: id.to_owned() };
        let all = || vec![ours("a", "production+preview", 1), ours("b", "development", 1)];
        assert_eq!(remove(all(), Some(&mark)).unwrap(), [delete("a"), delete("b")]);
        assert_eq!(remove(vec![], Some(&mark)).unwrap(), []);
        let mixed = || vec![theirs("x", "production", "plain"), ours("b", "preview", 1)];
        assert_eq!(remove(mixed(), Some(&mark)).unwrap(), [delete("b")]);
        assert!(remove(vec![theirs("x", "production", "plain")], Some(&mark)).is_err());
        // By order of a person, but no further than we reach.
        assert_eq!(remove(mixed(), None).unwrap(), [delete("x"), delete("b")]);
        let wide = vec![theirs("x", "production+development", "plain")];
        let narrow = Step::Narrow { id: "x".to_owned(), rest: Targets::DEVELOPMENT };
        assert_eq!(remove(wide, None).unwrap(), [narrow]);
    }
}
