//! hvac's own integration tests, as its authors wrote them, against our server. They start a program `vault` by a
//! configuration file; the file `vault` beside this one is that program, and starts ours. What does not apply is listed with its
//! reason in `left_out.txt`; everything else must pass, and nothing may skip itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{bao_beside::fits, harness::hvac_suite};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/hvac_suite");
const TESTS: &str = "tests/integration_tests";

/// What is not run: files, and patterns of names.
struct LeftOut {
    files: Vec<String>,
    patterns: Vec<String>,
}

fn left_out() -> LeftOut {
    let text = fs::read_to_string(Path::new(HERE).join("left_out.txt")).unwrap();
    let (mut files, mut patterns) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (what, reason) =
            line.split_once(": ").unwrap_or_else(|| panic!("left_out.txt: no reason: {line}"));
        assert!(!reason.trim().is_empty(), "left_out.txt: no reason: {line}");
        let what = format!("{TESTS}/{what}");
        if what.contains("::") { patterns.push(what) } else { files.push(what) }
    }
    LeftOut { files, patterns }
}

/// A copy of their tests, which write beside themselves, and how they are run in it.
struct Suite {
    python: PathBuf,
    home: tempfile::TempDir,
}

impl Suite {
    fn pytest(&self, words: &[String]) -> (bool, String) {
        let output = Command::new(&self.python)
            .args([
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-o",
                "addopts=",
                "--tb=short",
                "-rs",
                TESTS,
            ])
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", format!("{HERE}:/usr/local/bin:/usr/bin:/bin"))
            .env("HOME", self.home.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("KEYFERRY_SUITE_HOME", self.home.path())
            .env("KEYFERRY_SUITE_BINARY", env!("CARGO_BIN_EXE_keyferry"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    }
}

#[test]
fn hvacs_own_tests_pass() {
    let Some((source, python)) = hvac_suite() else { return };
    let suite = Suite { python, home: tempfile::tempdir().unwrap() };
    let copied = Command::new("cp").arg("-r").arg(source.join("tests")).arg(suite.home.path()).status();
    assert!(copied.unwrap().success());
    let LeftOut { files, patterns } = left_out();
    for file in &files {
        assert!(suite.home.path().join(file).is_file(), "left_out.txt: no such file: {file}");
    }
    let ignored: Vec<_> = files.iter().map(|file| format!("--ignore={file}")).collect();

    let (_, listed) = suite.pytest(&[&ignored[..], &["--collect-only".to_owned()]].concat());
    let all: BTreeSet<_> = listed.lines().filter(|line| line.contains("::")).collect();
    assert!(all.len() > 300, "{listed}");
    let mut words = ignored;
    let mut left = BTreeSet::new();
    for pattern in &patterns {
        let fitting: Vec<_> = all.iter().copied().filter(|test| fits(pattern, test)).collect();
        assert!(!fitting.is_empty(), "left_out.txt: fits no test: {pattern}");
        words.extend(fitting.iter().map(|test| format!("--deselect={test}")));
        left.extend(fitting);
    }
    let wanted = all.len() - left.len();
    let (passed, said) = suite.pytest(&words);
    println!("{wanted} tests of hvac, {} left out by name, {} files left out", left.len(), files.len());
    // None failed, none was skipped, and as many passed as there are.
    let last = said.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    assert!(passed && last.contains(&format!("{wanted} passed")) && !last.contains("skipped"), "{said}");
}
