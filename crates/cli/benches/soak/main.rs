//! `benches/run soak [operations]`: a day's worth of requests, and what is left of it afterwards.
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

#[path = "../../tests/e2e/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use more of it")]
mod harness;
#[path = "../../tests/e2e/soak/mod.rs"]
mod soak;

use std::time::Duration;

use soak::Plan;

/// How far resident memory may be from what it was once the server was warm, in percent.
const MEMORY: f64 = 5.0;

#[tokio::main]
async fn main() {
    let given = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let operations = given.map_or(5_000_000, |word| word.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let plan = Plan { operations, connections: 64, limit: Duration::from_mins(20) };
    let report = soak::run(home.path(), plan).await;
    println!(
        "{} operations over {} connections in {:.0} s",
        report.operations,
        plan.connections,
        report.took.as_secs_f64()
    );
    for (from, to) in [(0, 10), (25, 35), (50, 60), (90, 100)] {
        println!(
            "{from:>3} to {to:>3} %: {:>7.0} operations a second, {:>6.1} MB resident",
            report.rate(from, to),
            report.resident(from, to)
        );
    }
    let (warm, end) = (report.resident(25, 35), report.resident(90, 100));
    let grown = (end / warm - 1.0) * 100.0;
    println!("memory, end beside warm: {grown:+.1} %");
    println!("store's file: {} bytes before, {} after", report.file.0, report.file.1);
    println!("records by tag before: {:02x?}", report.before.0);
    println!("records by tag after:  {:02x?}", report.after.0);
    assert_eq!(report.before, report.after, "records are left");
    assert!(report.operations >= operations, "only {} operations within {:?}", report.operations, plan.limit);
    assert!(grown.abs() <= MEMORY, "memory is not flat");
}
