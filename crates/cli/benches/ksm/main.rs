//! What `ksm` costs beside the official CLI (`benches/run ksm`): the same command lines against the same kind of
//! pretend Keeper, alternating, and the middle of all runs counts.
//!
//! The official CLI is run without its two questions to a package index at every start, which would cost it
//! a second more.
#![expect(clippy::unwrap_used, reason = "a bench stops where it fails")]
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

#[path = "../../tests/ksm/bench.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod bench;
mod lines;
mod sync;
#[path = "../../tests/ksm/vault.rs"]
mod vault;

/// Which parts to run, and how often.
pub(crate) struct Wanted {
    words: Vec<String>,
    /// Runs of each contender.
    pub(crate) runs: usize,
    /// The Python that has the official CLI.
    pub(crate) python: std::path::PathBuf,
}

impl Wanted {
    fn part(&self, name: &str) -> bool {
        let known = ["start", "read", "sync"];
        let named = self.words.iter().any(|word| known.contains(&word.as_str()));
        !named || self.words.iter().any(|word| word == name)
    }
}

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a bench is told where its parts are")]
    let python =
        std::env::var_os("KEYFERRY_TEST_KSM_PYTHON").expect("benches/run sets KEYFERRY_TEST_KSM_PYTHON");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    let wanted = Wanted { words, runs: if quick { 3 } else { 11 }, python: python.into() };
    if wanted.part("start") {
        lines::start(&wanted);
    }
    if wanted.part("read") {
        lines::read(&wanted);
    }
    if wanted.part("sync") {
        sync::sync(&wanted);
    }
}
