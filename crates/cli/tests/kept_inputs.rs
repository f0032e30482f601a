//! Every input that fuzzing starts from, and every one that once was a finding, runs without a finding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "all of this is tests"
)]

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn what_is_kept_from_fuzzing_is_no_finding() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (target, run) in targets::TARGETS {
        let mut seeds = 0;
        for kept in ["corpus", "crashes"] {
            let Ok(inputs) = std::fs::read_dir(fuzz.join(kept).join(target)) else { continue };
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display());
                run(&std::fs::read(input).unwrap());
                seeds += 1;
            }
        }
        assert!(seeds > 0, "{target} has nothing to start from");
    }
}
