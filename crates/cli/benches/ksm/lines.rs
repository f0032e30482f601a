//! Single command lines: how long each takes from start to end, and the processor time of it.

use std::time::{Duration, Instant};

use crate::{
    Wanted,
    bench::{Side, Tool},
};

/// Runs of ours for each of the peer's: ours are short, and their middle moves more.
const MORE: usize = 5;

/// Start-up: commands that ask nobody.
pub(crate) fn start(wanted: &Wanted) {
    println!("\nstart-up (bar: at most 10 ms, and 1/25 of the official CLI)");
    let (ours, theirs) = (Side::new(Tool::Ours), Side::new(Tool::Official(wanted.python.clone())));
    // The official CLI has no --version; its `version` is the nearest.
    compare(wanted, "--version", (&ours, &["--version"]), (&theirs, &["version"]));
    compare(wanted, "profile list", (&ours, &["profile", "list"]), (&theirs, &["profile", "list"]));
}

/// Reading one value or record over TLS.
pub(crate) fn read(wanted: &Wanted) {
    println!("\nreading (a vault of seven records, on loopback)");
    let (ours, theirs) = (Side::new(Tool::Ours), Side::new(Tool::Official(wanted.python.clone())));
    let uid = ours.uids["db"].clone();
    assert_eq!(uid, theirs.uids["db"], "both vaults are alike");
    let by_uid = format!("keeper://{uid}/field/login");
    for (name, words) in [
        ("secret notation, by UID", vec!["secret", "notation", by_uid.as_str()]),
        ("secret notation, by title", vec!["secret", "notation", "keeper://DB One/field/login"]),
        ("secret get --json", vec!["secret", "get", uid.as_str(), "--json"]),
        ("secret list --json", vec!["secret", "list", "--json"]),
    ] {
        compare(wanted, name, (&ours, &words), (&theirs, &words));
    }
}

/// One line of the table. Runs alternate, so that what else the machine does falls on both.
fn compare(wanted: &Wanted, name: &str, ours: (&Side, &[&str]), theirs: (&Side, &[&str])) {
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    let (mut our_cpu, mut their_cpu) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..wanted.runs {
        for _ in 0..MORE {
            let (time, cpu) = run(ours);
            our_times.push(time);
            our_cpu += cpu;
        }
        let (time, cpu) = run(theirs);
        their_times.push(time);
        their_cpu += cpu;
    }
    let (our, their) = (middle(our_times), middle(their_times));
    let runs = u32::try_from(wanted.runs).unwrap();
    let our_cpu = our_cpu / (runs * u32::try_from(MORE).unwrap());
    let their_cpu = their_cpu / runs;
    println!(
        "  {name:<28} {:>8.1} ms  official {:>8.1} ms  1/{:<5.0} processor {:>6.1} / {:>6.1} ms",
        millis(our),
        millis(their),
        millis(their) / millis(our).max(0.001),
        millis(our_cpu),
        millis(their_cpu),
    );
}

fn run((side, words): (&Side, &[&str])) -> (Duration, Duration) {
    let cpu = children();
    let start = Instant::now();
    let ran = side.run(words);
    let time = start.elapsed();
    ran.ok();
    (time, children().saturating_sub(cpu))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Processor time of all children that have ended, in steps of 10 ms (proc(5)): good as a sum over runs.
fn children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name.split(' ').skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
