//! What it costs to decide: `cargo bench -p server --bench policy`.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::{fmt::Write as _, hint::black_box, time::Instant};

use server::app::{Capability, PolicyCheck};

const RULES: usize = 1_000;

fn main() {
    let mut plain = String::new();
    let mut plus = String::new();
    for at in 0..RULES {
        let rule = "{ capabilities = [\"read\"] }";
        let _ = match at % 3 {
            0 => writeln!(plain, "path \"secret/data/team-{at}/app/db\" {rule}"),
            1 => writeln!(plain, "path \"secret/data/team-{at}/*\" {rule}"),
            _ => writeln!(plain, "path \"secret/data/team-{at}/+/db\" {rule}"),
        };
        // The worst there is: every pattern begins alike and has to be tried.
        let _ = writeln!(plus, "path \"secret/data/+/name-{at}\" {rule}");
    }
    for (name, text) in [("exact, prefix and + rules", plain), ("rules all alike up to a +", plus)] {
        let begin = Instant::now();
        let Ok(policy) = PolicyCheck::parse(&text) else { continue };
        let made = begin.elapsed();
        for (what, path) in [("hit", "secret/data/team-998/app/db"), ("miss", "secret/data/team-x/name-x")] {
            const TURNS: u32 = 100_000;
            let begin = Instant::now();
            for _ in 0..TURNS {
                black_box(policy.allows(Capability::Read, black_box(path)));
            }
            let each = begin.elapsed() / TURNS;
            println!("policy check, {RULES} {name}, {what}: {each:?} each (made in {made:?})");
        }
    }
}
