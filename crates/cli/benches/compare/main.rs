//! What keyferry costs, as ratios taken in one run on one machine (`benches/run`).
//!
//! Every contender is a process of its own on the same disk; rounds alternate, and the middle round
//! counts. The load generator shares the processors with what it measures, for all alike.
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod audit;
mod bare;
mod disk;
#[path = "../../tests/e2e/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use more of it")]
mod harness;
mod kv;
mod load;
mod openbao;
mod size;
mod stub;
mod sync;

use std::time::Duration;

/// How long and how much.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// One round of one contender.
    pub(crate) round: Duration,
    /// Rounds per figure; the middle one counts.
    pub(crate) rounds: usize,
    /// Associations in the throughput part.
    pub(crate) associations: usize,
    /// Secrets in the memory part.
    pub(crate) secrets: usize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == bare::FLAG) {
        return bare::serve().await;
    }
    let scale = if arguments.iter().any(|word| word == "--quick") {
        Scale { round: Duration::from_millis(500), rounds: 1, associations: 1_000, secrets: 5_000 }
    } else {
        Scale { round: Duration::from_secs(3), rounds: 3, associations: 10_000, secrets: 100_000 }
    };
    let wanted = |part: &str| {
        let named = arguments
            .iter()
            .any(|word| ["kv", "pg", "audit", "latency", "throughput", "size"].contains(&word.as_str()));
        !named || arguments.iter().any(|word| word == part)
    };
    disk::probe(scale).await;
    if wanted("kv") {
        kv::compare(scale).await;
    }
    // It needs a PostgreSQL, so it is not among what is measured unasked.
    if arguments.iter().any(|word| word == "pg") {
        kv::compare_on_postgres(scale).await;
    }
    if wanted("audit") {
        audit::measure(scale).await;
    }
    if wanted("latency") {
        sync::latency(scale).await;
    }
    if wanted("throughput") {
        sync::throughput(scale).await;
    }
    if wanted("size") {
        size::measure(scale).await;
    }
}
