//! Random batches, on a back end and on a model too simple to be wrong.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use store::{Backend, Batch, Check, Revision, StoreError, Write};

use super::Making;

/// A check as generated: `Unchanged` cannot know revisions beforehand.
#[derive(Debug, Clone)]
enum Want {
    Absent(Vec<u8>),
    Present(Vec<u8>),
    /// What the key's revision was when the batch was sent, or a wrong one.
    Unchanged(Vec<u8>, bool),
    EmptyAfter(Vec<u8>),
}

#[derive(Debug, Clone)]
enum Step {
    /// Sent together: each sees those before it.
    Commits(Vec<(Vec<Want>, Vec<Write>)>),
    Get(Vec<u8>),
    Scan(Vec<u8>, Option<Vec<u8>>, usize),
}

/// Few and short, so that they meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(0xff)], 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    let want = prop_oneof![
        key().prop_map(Want::Absent),
        key().prop_map(Want::Present),
        (key(), prop::bool::weighted(0.8)).prop_map(|(key, right)| Want::Unchanged(key, right)),
        key().prop_map(Want::EmptyAfter),
    ];
    let change = prop_oneof![
        3 => (key(), vec(any::<u8>(), 0..40)).prop_map(|(key, value)| Write::Put(key, value)),
        2 => key().prop_map(Write::Delete),
    ];
    let batch = (vec(want, 0..3), vec(change, 0..5));
    prop_oneof![
        4 => vec(batch, 1..5).prop_map(Step::Commits),
        1 => key().prop_map(Step::Get),
        1 => (key(), prop::option::of(key()), 0..12_usize).prop_map(|(p, a, l)| Step::Scan(p, a, l)),
    ]
}

/// Each entry with the number of the commit that wrote it.
#[derive(Default, Clone)]
struct Model {
    entries: BTreeMap<Vec<u8>, (Vec<u8>, usize)>,
    commits: usize,
}

impl Model {
    /// The number of the commit, if it took effect. `known`: what each revision asked for means.
    fn commit(&mut self, batch: &Batch, known: &HashMap<Revision, usize>) -> Option<usize> {
        let mut after = self.clone();
        if !batch.writes.is_empty() {
            after.commits += 1;
        }
        for write in &batch.writes {
            match write {
                Write::Put(key, value) => {
                    after.entries.insert(key.clone(), (value.clone(), after.commits));
                }
                Write::Delete(key) => {
                    after.entries.remove(key);
                }
            }
        }
        let all = batch.checks.iter().all(|check| match check {
            Check::Absent(key) => !self.entries.contains_key(key),
            Check::Present(key) => self.entries.contains_key(key),
            Check::Unchanged(key, revision) => {
                self.entries.get(key).is_some_and(|(_, commit)| known.get(revision) == Some(commit))
            }
            Check::EmptyAfter(prefix) => !after.entries.keys().any(|key| key.starts_with(prefix)),
        });
        all.then(|| {
            *self = after;
            self.commits
        })
    }
}

async fn play(backend: Arc<dyn Backend>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut known: HashMap<Revision, usize> = HashMap::new();
    for step in steps {
        match step {
            Step::Commits(wanted) => {
                let mut batches = Vec::new();
                for (wants, writes) in wanted {
                    let mut checks = Vec::new();
                    for want in wants {
                        checks.push(match want {
                            Want::Absent(key) => Check::Absent(key),
                            Want::Present(key) => Check::Present(key),
                            Want::EmptyAfter(prefix) => Check::EmptyAfter(prefix),
                            Want::Unchanged(key, right) => {
                                let now =
                                    backend.get(&key).await.unwrap().map_or(Revision(3), |e| e.revision);
                                Check::Unchanged(key, if right { now } else { Revision(now.0 + 1_000_000) })
                            }
                        });
                    }
                    batches.push(Batch { checks, writes });
                }
                // Polled in order, so queued in order.
                let outcomes = join_all(batches.iter().map(|batch| backend.commit(batch.clone()))).await;
                for (batch, outcome) in batches.iter().zip(outcomes) {
                    match (model.commit(batch, &known), outcome) {
                        (Some(number), Ok(revision)) => {
                            if !batch.writes.is_empty() {
                                prop_assert!(known.keys().all(|earlier| *earlier < revision));
                                known.insert(revision, number);
                            }
                        }
                        (None, Err(StoreError::Conflict)) => {}
                        (expected, outcome) => {
                            prop_assert!(false, "{batch:?}: model {expected:?}, back end {outcome:?}");
                        }
                    }
                }
            }
            Step::Get(key) => {
                let found = backend.get(&key).await.unwrap();
                let found = found.map(|entry| (entry.value.to_vec(), known[&entry.revision]));
                prop_assert_eq!(found.as_ref(), model.entries.get(&key));
            }
            Step::Scan(prefix, after, limit) => {
                let found = backend.scan(&prefix, after.as_deref(), limit).await.unwrap();
                let found: Vec<_> =
                    found.into_iter().map(|(key, e)| (key, (e.value.to_vec(), known[&e.revision]))).collect();
                let expected: Vec<_> = model
                    .entries
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|a| *key > a))
                    .take(limit)
                    .map(|(key, entry)| (key.clone(), entry.clone()))
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
    let all = backend.scan(b"", None, usize::MAX).await.unwrap();
    let all: BTreeMap<_, _> =
        all.into_iter().map(|(key, e)| (key, (e.value.to_vec(), known[&e.revision]))).collect();
    prop_assert_eq!(all, model.entries);
    Ok(())
}

pub(crate) fn compare(make: fn() -> Making) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    runner
        .run(&vec(step(), 1..40), |steps| {
            runtime.block_on(async {
                let fresh = make().await;
                play(Arc::clone(&fresh.backend), steps).await
            })
        })
        .map_err(|error| error.to_string())
}
