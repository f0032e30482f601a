//! What every store back end must do, tried on each of them: the contract of `store::Backend`.
//!
//! A back end joins by one line in `SUBJECTS`.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod concurrency;
mod contract;
mod killed;
mod model;
mod moments;
mod postgres;

use std::{future::Future, pin::Pin, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use store::{Backend, Embedded, EmbeddedOptions, Memory};
use tempfile::TempDir;

/// A back end under test.
struct Subject {
    name: &'static str,
    make: fn() -> Making,
    /// Whether commits are carried out in the order in which they are asked for.
    ordered: bool,
    /// What it needs is not here.
    missing: fn() -> bool,
}

type Making = Pin<Box<dyn Future<Output = Fresh> + Send>>;

/// A back end that holds nothing yet, with what must live as long as it does.
struct Fresh {
    backend: Arc<dyn Backend>,
    _dir: Option<TempDir>,
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "memory",
        make: || Box::pin(async { Fresh { backend: Arc::new(Memory::new()), _dir: None } }),
        ordered: true,
        missing: || false,
    },
    Subject {
        name: "embedded",
        make: || {
            Box::pin(async {
                let dir = TempDir::new().unwrap();
                let made = Embedded::create(&dir.path().join("store"), EmbeddedOptions::default()).unwrap();
                Fresh { backend: Arc::new(made), _dir: Some(dir) }
            })
        },
        ordered: true,
        missing: || false,
    },
    Subject {
        name: "postgresql",
        make: || Box::pin(async { Fresh { backend: Arc::new(postgres::fresh().await), _dir: None } }),
        ordered: true,
        missing: postgres::missing,
    },
    // Two processes as far as the database can tell; every call goes to the other one than the call before.
    Subject {
        name: "two_on_one_postgresql",
        make: || Box::pin(async { Fresh { backend: Arc::new(postgres::Two::fresh().await), _dir: None } }),
        ordered: false,
        missing: postgres::missing,
    },
];

type Trying = Pin<Box<dyn Future<Output = ()> + Send>>;
type Behaviour = (&'static str, fn(Arc<dyn Backend>) -> Trying);

/// Names a behaviour after its function.
macro_rules! behaviours {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |backend| Box::pin($module::$name(backend)))),*]
    };
}

const BEHAVIOURS: &[Behaviour] = behaviours![
    contract::what_is_put_is_got,
    contract::keys_are_any_bytes,
    contract::values_are_any_size_up_to_the_limit,
    contract::writes_of_a_batch_apply_in_order,
    contract::deleting_what_is_not_there_is_no_error,
    contract::scans_are_in_key_order_and_keep_to_the_prefix,
    contract::scans_page,
    contract::after_need_not_exist,
    contract::absent_and_present_look_at_the_state_before_the_batch,
    contract::unchanged_tells_writes_apart_even_of_equal_values,
    contract::a_key_made_again_has_another_revision,
    contract::empty_after_looks_at_the_state_after_the_batch,
    contract::a_refused_batch_changes_nothing,
    contract::a_batch_without_writes_only_checks,
    contract::revisions_grow_and_are_the_commits,
    moments::a_snapshot_is_of_one_moment,
    moments::a_snapshot_of_nothing_is_empty,
    moments::a_replacement_takes_the_place_of_everything,
    moments::a_replacement_that_fails_changes_nothing,
    moments::revisions_go_on_growing_after_a_replacement,
    concurrency::increments_are_never_lost,
    concurrency::of_many_creators_one_wins,
    concurrency::a_refused_batch_does_not_harm_those_committed_with_it,
    concurrency::whoever_is_told_of_a_commit_reads_it,
    concurrency::a_scan_sees_one_moment,
    concurrency::a_commit_nobody_waits_for_is_whole_or_nothing,
];

fn main() {
    if let [_, role, file] = &std::env::args().collect::<Vec<_>>()[..]
        && role == killed::VICTIM
    {
        return killed::victim(file);
    }
    let mut trials = vec![Trial::test("embedded::what_a_killed_process_was_told_is_done_is_there", || {
        killed::what_a_killed_process_was_told_is_done_is_there();
        Ok(())
    })];
    for subject in SUBJECTS {
        let missing = (subject.missing)();
        for (name, behaviour) in BEHAVIOURS {
            let trial = Trial::test(format!("{}::{name}", subject.name), move || {
                run(async {
                    let fresh = (subject.make)().await;
                    behaviour(Arc::clone(&fresh.backend)).await;
                });
                Ok(())
            });
            trials.push(trial.with_ignored_flag(missing));
        }
        if subject.ordered {
            let name = format!("{}::does_what_a_naive_model_does", subject.name);
            let trial = Trial::test(name, move || model::compare(subject.make).map_err(Into::into));
            trials.push(trial.with_ignored_flag(missing));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// On several threads, so that what can interleave does.
fn run(trying: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(trying);
}
