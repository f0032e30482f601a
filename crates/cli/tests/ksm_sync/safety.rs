//! Unknown is never absent (decisions 8, 18 to 22): whatever goes wrong while reading, nothing is removed.

use std::{process::Stdio, time::Duration};

use keeper::server::{Device, Fault};
use serde_json::json;

use crate::bench::{Ran, login};
use crate::{Sync, everywhere, password};

/// A way in which a read fails: what is done to a bench, and what stderr has to say.
struct Failure {
    name: &'static str,
    /// Given the record that is mapped, breaks something and says by which notation it is read now.
    breaks: fn(&Sync, &str) -> String,
    says: &'static str,
}

const FAILURES: &[Failure] = &[
    Failure {
        name: "HTTP 500",
        breaks: |sync, uid| {
            sync.bench.keeper.fail("get_secret", Fault::Status(500), 100);
            password(uid)
        },
        says: "HTTP 500",
    },
    Failure {
        name: "throttling without end",
        breaks: |sync, uid| {
            sync.bench.keeper.fail("get_secret", Fault::Throttled(Some(100_000.0)), 100);
            password(uid)
        },
        says: "throttles",
    },
    Failure {
        name: "an answer that is rubbish",
        breaks: |sync, uid| {
            sync.bench.keeper.fail("get_secret", Fault::Garbage, 100);
            password(uid)
        },
        says: "decrypt",
    },
    Failure {
        name: "an answer that lists nothing",
        breaks: |sync, uid| {
            sync.bench.keeper.fail("get_secret", Fault::Sealed("{}"), 100);
            password(uid)
        },
        says: "record",
    },
    Failure {
        name: "a revoked device",
        breaks: |sync, uid| {
            sync.bench.keeper.revoke(&Device(sync.bench.config.client_id().to_owned()));
            password(uid)
        },
        says: "access",
    },
    Failure {
        name: "a typo in the field",
        breaks: |_, uid| format!("keeper://{uid}/field/passwrod"),
        says: "no such field",
    },
    Failure {
        name: "a typo in the title",
        breaks: |_, _| "keeper://DBB/field/password".to_owned(),
        says: "no record",
    },
    Failure {
        name: "a title that two records have",
        breaks: |sync, _| {
            sync.bench.login("DB", "another");
            "keeper://DB/field/password".to_owned()
        },
        says: "records",
    },
    Failure {
        name: "a record that was renamed",
        breaks: |sync, uid| {
            sync.bench.keeper.set_record(uid, &login("Database", "pw")).unwrap();
            "keeper://DB/field/password".to_owned()
        },
        says: "no record",
    },
    Failure {
        name: "a record that does not decrypt",
        breaks: |sync, uid| {
            sync.bench.keeper.break_record(uid);
            password(uid)
        },
        says: "decrypt",
    },
    Failure {
        name: "a field without the index",
        breaks: |_, uid| format!("keeper://{uid}/field/password[3]"),
        says: "3",
    },
    Failure {
        name: "a file that is not there",
        breaks: |_, uid| format!("keeper://{uid}/file/cert.pem"),
        says: "file",
    },
    Failure {
        name: "a file that does not come",
        breaks: |sync, uid| {
            sync.bench.attach(uid, "cert.pem", b"x");
            sync.bench.keeper.fail("file_download", Fault::Garbage, 100);
            format!("keeper://{uid}/file/cert.pem")
        },
        says: "decrypt",
    },
];

#[test]
fn one_failing_read_never_leads_to_a_removal() {
    for failure in FAILURES {
        everywhere(|sync| {
            let uid = sync.bench.login("DB", "pw");
            let gone = sync.bench.login("gone", "pw");
            sync.run(&["-m", "db", &password(&uid), "-m", "other", &password(&gone)]).ended(0);
            // Beside the read that fails there is a source that is really gone.
            sync.bench.keeper.remove_record(&gone);
            let notation = (failure.breaks)(&sync, &uid);
            let ran = sync.run(&["-m", "db", &notation, "-m", "other", &password(&gone)]).ended(1);
            assert!(ran.err.contains(failure.says), "{}: {}", failure.name, ran.err);
            assert_eq!(sync.value("db").as_deref(), Some("pw"), "{}", failure.name);
            assert_eq!(sync.value("other").as_deref(), Some("pw"), "{}: nothing is removed", failure.name);
            // Without even the credentials there is nothing to list.
            assert!(ran.out.is_empty() || ran.json()["status"]["failed"].as_u64().unwrap() >= 1);
            assert!(!ran.err.contains("pw\n") && !ran.out.contains("\"pw\""), "{ran:?}");
        });
    }
}

#[test]
fn without_a_network_nothing_is_removed_either() {
    everywhere(|mut sync| {
        let uid = sync.bench.login("DB", "pw");
        let map = password(&uid);
        sync.run(&["-m", "db", &map]).ended(0);
        sync.bench.variables.push(("KSM_HOSTNAME".to_owned(), "localhost:1".to_owned()));
        let ran = sync.run(&["-m", "db", &map]).ended(1);
        assert_eq!(ran.json()["status"], json!({"processed": 1, "failed": 1}));
        assert_eq!(sync.value("db").as_deref(), Some("pw"));
    });
}

#[test]
fn a_destination_that_cannot_be_read_changes_nothing() {
    everywhere(|sync| {
        let (uid, gone) = (sync.bench.login("DB", "pw"), sync.bench.login("gone", "pw"));
        let (map, gone_map) = (password(&uid), password(&gone));
        sync.run(&["-m", "gone", &gone_map]).ended(0);
        sync.bench.keeper.remove_record(&gone);
        sync.cloud.fail_reads(40);
        sync.cloud.calls();
        let ran = sync.run(&["-m", "db", &map, "-m", "gone", &gone_map]).ended(1);
        assert_eq!(ran.json()["status"], json!({"processed": 2, "failed": 2}));
        assert_eq!(sync.cloud.calls().writes, 0);
        assert_eq!(sync.value("gone").as_deref(), Some("pw"));
    });
}

#[test]
fn a_run_that_could_not_read_everything_writes_what_is_certain() {
    everywhere(|sync| {
        let (uid, gone) = (sync.bench.login("DB", "pw"), sync.bench.login("gone", "pw"));
        sync.run(&["-m", "gone", &password(&gone)]).ended(0);
        sync.bench.keeper.remove_record(&gone);
        let typo = format!("keeper://{uid}/field/nope");
        let arguments = ["-m", "typo", &typo, "-m", "gone", &password(&gone), "-m", "db", &password(&uid)];
        let ran = sync.run(&arguments).ended(1);
        assert_eq!(sync.value("db").as_deref(), Some("pw"));
        assert_eq!(sync.value("gone").as_deref(), Some("pw"));
        assert_eq!(ran.json()["status"], json!({"processed": 3, "failed": 2}));
        assert!(ran.err.contains("gone: it is not removed, because other sources"), "{}", ran.err);
        let log = ran.json()["log"].to_string();
        assert!(log.contains("typo: ") && log.contains("gone: "), "each is named: {log}");
        // Mended, the removal comes about.
        sync.run(&["-m", "gone", &password(&gone)]).ended(0);
        assert_eq!(sync.value("gone"), None);
    });
}

#[test]
fn what_is_proven_gone_is_removed_unless_it_is_to_be_kept() {
    everywhere(|sync| {
        let empties = sync.bench.login("empties", "1");
        let leaves = sync.bench.login("leaves", "2");
        let (a, b) = (password(&empties), password(&leaves));
        let arguments = ["-m", "empties", &a, "-m", "leaves", &b];
        sync.run(&arguments).ended(0);
        let empty = r#"{"title":"empties","type":"login","fields":[{"type":"password","value":[]}]}"#;
        sync.bench.keeper.set_record(&empties, empty).unwrap();
        sync.bench.keeper.unshare(sync.bench.app, &leaves);
        for keep in ["-p", "--preserve-missing", "-n"] {
            let mut kept = arguments.to_vec();
            kept.push(keep);
            sync.run(&kept).ended(0);
            assert_eq!(sync.value("empties").as_deref(), Some("1"), "{keep}");
            assert_eq!(sync.value("leaves").as_deref(), Some("2"), "{keep}");
        }
        sync.run(&arguments).ended(0);
        assert_eq!((sync.value("empties"), sync.value("leaves")), (None, None));
        // And again: there is nothing left to do.
        sync.run(&arguments).ended(0);
        // It comes back.
        sync.bench.keeper.set_record(&empties, &login("empties", "3")).unwrap();
        sync.run(&arguments[..3]).ended(0);
        assert_eq!(sync.value("empties").as_deref(), Some("3"));
    });
}

/// Forty mappings, and their records.
fn forty(sync: &Sync) -> (Vec<String>, Vec<String>) {
    let uids: Vec<String> = (0..40).map(|n| sync.bench.login(&format!("t{n}"), "pw")).collect();
    let map = |(n, uid): (usize, &String)| ["-m".to_owned(), format!("n{n}"), password(uid)];
    let arguments = uids.iter().enumerate().flat_map(map).collect();
    (uids, arguments)
}

#[test]
fn many_removals_at_once_wait_for_a_person() {
    everywhere(|sync| {
        let (uids, arguments) = forty(&sync);
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        sync.run(&arguments).ended(0);
        uids[..26].iter().for_each(|uid| sync.bench.keeper.remove_record(uid));
        sync.bench.keeper.set_record(&uids[39], &login("t39", "changed")).unwrap();
        for dry in [true, false] {
            let mut held = arguments.clone();
            held.extend(dry.then_some("-n"));
            let ran = sync.run(&held).ended(1);
            assert_eq!(ran.json()["status"], json!({"processed": 40, "failed": 26}));
            assert!(ran.err.contains("26 of 40 would go at once: confirm with --yes"), "{}", ran.err);
            assert_eq!(sync.value("n0").as_deref(), Some("pw"));
        }
        assert_eq!(sync.value("n39").as_deref(), Some("changed"), "writes go on");
        arguments.push("--yes");
        sync.run(&arguments).ended(0);
        assert_eq!((sync.value("n0"), sync.value("n25")), (None, None));
        assert_eq!(sync.value("n26").as_deref(), Some("pw"));
    });
}

#[test]
fn a_few_removals_do_not_wait() {
    everywhere(|sync| {
        let (uids, arguments) = forty(&sync);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        sync.run(&arguments).ended(0);
        uids[..25].iter().for_each(|uid| sync.bench.keeper.remove_record(uid));
        sync.run(&arguments).ended(0);
        assert_eq!((sync.value("n24"), sync.value("n25").as_deref()), (None, Some("pw")));
    });
}

#[test]
fn two_runs_of_a_profile_do_not_overlap() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    let (map, credentials) = (password(&uid), sync.credentials.clone());
    let arguments = ["sync", "-t", "aws", "-c", &credentials, "-m", "db", &map];
    let spawn = || {
        let mut command = sync.bench.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    sync.bench.run(&arguments).ended(0);
    let locks = sync.bench.home.path().join(".local/state/keyferry");
    let lock = std::fs::read_dir(locks).unwrap().next().unwrap().unwrap().path();
    // This test is the run that is at work.
    let lock = std::fs::File::open(lock).unwrap();
    lock.lock().unwrap();
    let mut waiting = spawn();
    // One that does not wait is not held up, and a dry run has no need to wait.
    for free in ["--no-lock", "-n"] {
        let mut arguments = arguments.to_vec();
        arguments.push(free);
        sync.bench.run(&arguments).ended(0);
    }
    assert_eq!(waiting.try_wait().unwrap(), None, "it waits");
    assert_eq!(sync.bench.keeper.calls("get_secret"), 3, "and has asked for nothing");
    lock.unlock().unwrap();
    Ran::of(waiting.wait_with_output().unwrap()).ended(0);
    assert_eq!(sync.bench.keeper.calls("get_secret"), 4);
    // One that is killed leaves nothing behind that blocks.
    sync.bench.keeper.fail("get_secret", Fault::Slow(Duration::from_secs(60)), 1);
    let mut killed = spawn();
    while sync.bench.keeper.calls("get_secret") == 4 {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    sync.bench.run(&arguments).ended(0);
}
