//! The official CLI and ours side by side: the same command line against the same vault must give the
//! same stdout (as JSON where it is JSON), the same exit code, and leave the same vault behind.
//!
//! Where we differ on purpose, a row says in what and names the reason, which stands under that name in
//! docs/ksm-differences.md. A row that says so and does not differ fails, and so does a reason on the
//! page that no row shows.
//!
//! `KEYFERRY_TEST_KSM_PYTHON` names a Python with `keeper-secrets-manager-cli==1.5.0`, and
//! `KEYFERRY_TEST_MOTO` a moto server for `sync`. Without them the trials are shown as ignored, or fail when
//! `KEYFERRY_TEST_REQUIRE_PARTS=1`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../ksm/bench.rs"]
#[expect(dead_code, reason = "shared with the tests of our binary alone, which use more of it")]
mod bench;
mod cloud;
mod commands;
mod page;
mod row;
#[path = "../ksm/vault.rs"]
mod vault;

use libtest_mimic::{Arguments, Trial};

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, read once in main")]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let python = variable("KEYFERRY_TEST_KSM_PYTHON");
    let moto = cloud::moto();
    let required = variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() == Some("1");
    let rows: Vec<row::Row> = commands::rows();
    let mut trials = page::trials(&rows);
    for row in rows {
        let python = python.clone();
        let lacks_aws = row.needs_aws() && moto.is_none();
        let ignored = (python.is_none() || lacks_aws) && !required;
        let name = format!("beside::{}", row.name);
        let trial = Trial::test(name, move || {
            let python = python.ok_or("KEYFERRY_TEST_KSM_PYTHON is not set")?;
            if lacks_aws {
                return Err("KEYFERRY_TEST_MOTO is not set".into());
            }
            row.check(&python).map_err(Into::into)
        });
        trials.push(trial.with_ignored_flag(ignored));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
