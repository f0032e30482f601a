//! What every destination owes the engine: every kind, against its pretend service and against the
//! stand-ins and real services the environment names, through every behaviour, one named trial each.
//!
//! A trial that does not apply is ignored and says why in brackets, so that the gap stays visible:
//! because the kind lacks the ability, because the part it would run against lies there (gaps.rs), or
//! because the part is not there.
//!
//! | Variable | Part |
//! |---|---|
//! | `KEYFERRY_TEST_MOTO` | base URL of a moto server |
//! | `KEYFERRY_TEST_MOTO_AUTH` | base URL of a moto server that checks credentials |
//! | `KEYFERRY_TEST_MINISTACK` | base URL of a ministack |
//! | `KEYFERRY_TEST_PRISM_GITHUB` | base URL of a Prism that mocks GitHub's own description |
//! | `KEYFERRY_TEST_EMULATE_GITHUB` | base URL of an emulate's GitHub |
//! | `KEYFERRY_TEST_NACL_PYTHON` | a Python that has PyNaCl |
//! | `KEYFERRY_TEST_REAL_GITHUB_TOKEN`, `…_OWNER`, `…_REPOSITORY` | a real repository, to which values can be written but not read back |
//! | `KEYFERRY_TEST_REAL_AWS_REGION`, `…_ACCESS_KEY_ID`, `…_SECRET_ACCESS_KEY` | a real account |
//! | `KEYFERRY_TEST_REAL_AZURE_VAULT`, `…_TENANT_ID`, `…_CLIENT_ID`, `…_CLIENT_SECRET` | a real vault; its address and an app that may do everything with its secrets |
//! | `KEYFERRY_TEST_EMULATE_VERCEL` | base URL of an emulate's Vercel |
//! | `KEYFERRY_TEST_REAL_VERCEL_TOKEN`, `…_PROJECT_ID`, `…_TEAM_ID` | a real project |
//! | `KEYFERRY_TEST_GOOGLE` | base URL of Google's description of Secret Manager (google/run.py) |
//! | `KEYFERRY_TEST_REAL_GCP_CREDENTIALS` | the JSON of a real service account's key |
//! | `KEYFERRY_TEST_REQUIRE_PARTS=1` | the stand-ins must be there |

#![expect(clippy::unwrap_used, reason = "a trial fails by panicking")]

mod aws;
mod azure;
mod behaviours;
mod bench;
mod credentials;
mod emulate;
mod gaps;
mod gcp;
mod github;
mod judge;
mod local;
mod truth;
mod vercel;
mod watch;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use bench::{Part, Setting};

fn main() {
    let arguments = Arguments::from_args();
    watch::install();
    let mut trials = Vec::new();
    for part in bench::parts() {
        add_part(&mut trials, &part);
    }
    trials.extend(credentials::trials());
    trials.extend(github::trials());
    trials.push(truth::trial());
    libtest_mimic::run(&arguments, trials).exit();
}

fn add_part(trials: &mut Vec<Trial>, part: &Part) {
    let start = match &part.setting {
        Setting::There(start) => start,
        // One line for all that is not tried.
        Setting::Missing(why) => {
            let trial = Trial::test(format!("{}/{}", part.kind, part.name), || Ok(()));
            trials.push(trial.with_kind(*why).with_ignored_flag(true));
            return;
        }
        Setting::Required(why) => {
            let why = *why;
            trials.push(Trial::test(format!("{}/{}", part.kind, part.name), move || Err(Failed::from(why))));
            return;
        }
    };
    for behaviour in behaviours::ALL {
        let name = format!("{}/{}/{}", part.kind, part.name, behaviour.name);
        let ignored = part.lacks(behaviour.needs).or_else(|| gaps::lie(part.name, behaviour.name));
        let (start, run) = (Arc::clone(start), behaviour.run);
        let trial = Trial::test(name, move || watch::run(async move { run(start().await).await }));
        trials.push(match ignored {
            Some(why) => trial.with_kind(why).with_ignored_flag(true),
            None => trial,
        });
    }
}
