//! Simulated misfortune: several servers over one store, seed → one thread, virtual time, random work, faults
//! at every call that leaves a process. Whatever happened on the way, once things are quiet the
//! destination holds what the source holds, nothing of ours is left behind, nothing of a stranger's was
//! touched, nothing was removed for no reason, every server tells the same, and it is true.
//!
//! - `KEYFERRY_SIM_SEEDS=FROM..TO cargo test --release -p engine simulated` runs as many as asked, on all cores.
//! - `KEYFERRY_SIM_CASE=… cargo test -p engine simulated_case` runs one again, as a failure prints it: already cut
//!   down to the steps and faults it needs.

mod ear;
mod plan;
mod play;
mod world;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use plan::Case;
use play::Sim;
use world::World;

use crate::cluster::Broken;

/// Runs that once ended badly, as they were printed. What a number means is given by `plan::Case::steps`: whoever
/// changes that finds them anew, with what was wrong put back ([`Broken`]).
const KEPT: &[&str] = &[];

/// Runs a case; an error tells what is wrong and what led to it.
async fn play(
    case: &Case,
    broken: Option<Broken>,
    world: std::sync::Arc<World>,
) -> Result<Vec<String>, String> {
    let mut sim = Sim::new(case, broken, world).await;
    sim.begin().await;
    for (number, step) in case.steps() {
        sim.world.note(format!("-- {number}"));
        sim.step(&step).await;
    }
    sim.calm_down().await;
    let checked = sim.check().await;
    sim.end();
    let log = std::mem::take(&mut *sim.world.log.lock().unwrap());
    checked.map(|()| log.clone()).map_err(|wrong| format!("{wrong}\n{}", log.join("\n")))
}

fn run(case: &Case, broken: Option<Broken>) -> Result<Vec<String>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = World::new(case.seed, case.marks, case.faults);
    let ear = ear::Ear::new(std::sync::Arc::clone(&world.log));
    let done = tracing::subscriber::with_default(ear, || runtime.block_on(play(case, broken, world)));
    runtime.shutdown_background();
    done
}

/// What a failure is called, without what differs from run to run.
fn sort(story: &str) -> &str {
    let first = story.lines().next().unwrap_or_default();
    first.split([':', '"']).next().unwrap_or(first)
}

/// Leaves out faults and steps as long as what is left still goes wrong.
fn cut_down(case: Case, broken: Option<Broken>) -> (Case, String) {
    let (mut case, mut story) = match run(&case, broken) {
        Err(story) => (case, story),
        Ok(_) => return (case, "it does not go wrong again".to_owned()),
    };
    let smaller = |next: Case, case: &mut Case, story: &mut String| {
        if let Err(wrong) = run(&next, broken) {
            (*case, *story) = (next, wrong);
            return true;
        }
        false
    };
    for fault in case.faults.each() {
        let next = Case { faults: case.faults.without(fault), ..case.clone() };
        smaller(next, &mut case, &mut story);
    }
    let mut width = plan::STEPS / 2;
    while width > 0 {
        for from in (0..plan::STEPS).step_by(width) {
            let mut next = case.clone();
            next.skip.extend(from..(from + width).min(plan::STEPS));
            if next != case {
                smaller(next, &mut case, &mut story);
            }
        }
        width /= 2;
    }
    (case, story)
}

fn tell(case: Case, broken: Option<Broken>) -> String {
    let (case, story) = cut_down(case, broken);
    format!("{story}\n\nKEYFERRY_SIM_CASE={case} cargo test -p engine simulated_case\n")
}

fn asked(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "which runs is the caller's choice")]
    std::env::var(name).ok()
}

fn seeds() -> Option<std::ops::Range<u64>> {
    let asked = asked("KEYFERRY_SIM_SEEDS")?;
    let (from, to) = asked.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// All seeds of a range on so many threads, until three have gone wrong.
fn run_all(seeds: std::ops::Range<u64>, marks: bool, threads: usize) {
    let next = AtomicU64::new(seeds.start);
    let wrong = AtomicUsize::new(0);
    let stories = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || wrong.load(Ordering::Relaxed) >= 3 {
                        return;
                    }
                    let case = Case::of(seed, marks);
                    if run(&case, None).is_err() {
                        wrong.fetch_add(1, Ordering::Relaxed);
                        let story = tell(case, None);
                        println!("seed {seed}: {story}");
                        stories.lock().unwrap().push(seed);
                    }
                    if seed % 10_000 == 9_999 {
                        println!("{} seeds without a violation", seed + 1 - seeds.start);
                    }
                }
            });
        }
    });
    let stories = stories.into_inner().unwrap();
    assert!(stories.is_empty(), "seeds ended badly: {stories:?}");
}

fn end_well(marks: bool) {
    match seeds() {
        Some(seeds) => {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            run_all(seeds, marks, threads);
        }
        None => run_all(0..300, marks, 1),
    }
}

#[test]
fn simulated_misfortune_ends_well() {
    end_well(true);
}

/// A destination that holds no marks: the ledger alone tells a stranger's entry from ours.
#[test]
fn simulated_misfortune_ends_well_without_marks() {
    end_well(false);
}

#[test]
fn simulated_misfortune_repeats() {
    for seed in 0..12 {
        let case = Case::of(seed, true);
        assert_eq!(run(&case, None), run(&case, None), "seed {seed} told two stories");
    }
}

#[test]
fn simulated_case() {
    let kept = KEPT.iter().map(|text| (*text).to_owned());
    for text in kept.chain(asked("KEYFERRY_SIM_CASE")) {
        let case: Case = text.parse().unwrap();
        assert_eq!(case.to_string(), text);
        if let Err(story) = run(&case, None) {
            panic!("{story}");
        }
    }
}

/// A simulation that finds nothing wrong with what is wrong proves nothing.
fn finds(broken: Broken) {
    let found = (0..400).find_map(|seed| {
        let case = Case::of(seed, seed % 2 == 0);
        run(&case, Some(broken)).err().map(|story| (case, story))
    });
    let (case, story) = found.unwrap_or_else(|| panic!("nothing was found wrong with {broken:?}"));
    println!("{broken:?} is found by seed {}: {}", case.seed, sort(&story));
    // And it is that which is wrong, not the run.
    assert_eq!(run(&case, None).err(), None);
}

#[test]
fn calls_beyond_the_lease_are_found() {
    finds(Broken::Deadline);
}

#[test]
fn trust_in_what_a_dead_server_recorded_is_found() {
    finds(Broken::Suspicion);
}

#[test]
fn a_missing_fence_is_found() {
    finds(Broken::Fence);
}

#[test]
fn a_shard_left_with_nobody_is_found() {
    finds(Broken::HandBack);
}
