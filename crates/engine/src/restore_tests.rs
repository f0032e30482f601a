use std::time::Duration;

use destinations::{Fault, Mark};
use model::SyncStatus::*;

use crate::{
    Forecast, Removal, Settings,
    restore::Foreseen,
    testing::{Bench, Held, UNMARKED, destination},
};

fn value(text: &str) -> String {
    format!(r#"{{"a":"{text}"}}"#)
}

fn name(path: &str) -> String {
    format!("kv_00000001/{path}")
}

/// What a plan says, sorted.
async fn plan(bench: &Bench) -> Vec<(String, Forecast)> {
    let plan = bench.engine.restore_plan(None, 100).await.unwrap().unwrap();
    let [one] = &plan.destinations[..] else { panic!("{plan:?}") };
    assert!(!one.truncated);
    let told = |entry: &Foreseen| (entry.path.as_str().to_owned(), entry.forecast.clone());
    let mut told: Vec<_> = one.entries.iter().map(told).collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

/// Only looks.
fn only_reads(calls: &[String]) -> bool {
    calls.iter().all(|call| call.starts_with("look "))
}

/// A store saved when `kept`, `changed`, `deleted` and `renewed` held `1`; since then one was changed, one
/// deleted, one removed at the destination and one associated anew.
async fn older(unmarked: bool) -> (Bench, Vec<u8>) {
    let bench = if unmarked {
        Bench::with_abilities(Settings::default(), &UNMARKED).await
    } else {
        Bench::new().await
    };
    bench.configure("one", "{}").await;
    for path in ["kept", "changed", "deleted", "lost"] {
        bench.write(path, Some(&value("1"))).await;
        bench.set("one", path).await;
    }
    bench.settle().await;
    let saved = bench.save().await;
    bench.write("changed", Some(&value("2"))).await;
    bench.write("deleted", None).await;
    bench.write("unknown", Some(&value("9"))).await;
    bench.settle().await;
    bench.set("one", "unknown").await;
    bench.settle().await;
    bench.remotes.held.lock().unwrap().remove(&name("lost"));
    // The source goes back with the store.
    for path in ["changed", "deleted"] {
        bench.source.put(path, Some(&value("1")));
    }
    bench.source.put("unknown", None);
    bench.calls();
    (bench, saved)
}

#[tokio::test(start_paused = true)]
async fn nothing_but_looks_reaches_a_destination_before_a_restore_is_confirmed() {
    for unmarked in [false, true] {
        let (mut bench, saved) = older(unmarked).await;
        let before = bench.held();
        bench.restore(&saved).await;
        // Whatever happens meanwhile: edits, deletes, associations set and removed, sweeps, a restart.
        bench.write("kept", Some(&value("3"))).await;
        bench.write("lost", None).await;
        assert_eq!(bench.set("one", "changed").await[0].status, Pending);
        bench.remove("one", "deleted").await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        bench.restart().await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        let refused = bench.engine.remove_destination(&destination("one"), Removal::Purge).await;
        assert!(refused.unwrap_err().to_string().contains("restore-plan/confirm"));
        assert_eq!(bench.calls(), [""; 0]);
        plan(&bench).await;
        assert!(only_reads(&bench.calls()), "planning only looks");
        assert!(bench.status("one").await.iter().all(|status| matches!(status, Pending | Unsyncing)));
        assert_eq!(bench.held(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_tells_what_confirming_will_do_and_confirming_does_it() {
    let (mut bench, saved) = older(false).await;
    assert!(bench.engine.restore_plan(None, 100).await.unwrap().is_none(), "nothing was restored");
    bench.restore(&saved).await;
    bench.source.put("kept", Some(&value("1")));
    let told = plan(&bench).await;
    let told: Vec<_> = told.iter().map(|(path, forecast)| (path.as_str(), forecast.clone())).collect();
    let expected = [
        ("changed", Forecast::Overwrite),
        ("deleted", Forecast::Create),
        ("kept", Forecast::Leave),
        ("lost", Forecast::Create),
    ];
    assert_eq!(told, expected);
    bench.calls();
    bench.engine.confirm_restore().await.unwrap();
    bench.settle().await;
    let mut writes = bench.calls();
    writes.retain(|call| !call.starts_with("look "));
    writes.sort();
    let expected: Vec<_> = ["changed", "deleted", "lost"].map(|path| format!("put {}", name(path))).into();
    assert_eq!(writes, expected, "what is as it should be is not written again");
    let held = bench.held();
    for path in ["changed", "deleted", "kept", "lost"] {
        assert!(held.contains(&(name(path), value("1"))), "{path}");
    }
    assert!(held.contains(&(name("unknown"), value("9"))), "what the store does not know of is left alone");
    assert_eq!(bench.status("one").await, [Synced; 4]);
    assert!(bench.engine.restore_plan(None, 100).await.unwrap().is_none());
    bench.engine.confirm_restore().await.unwrap();
    bench.settle().await;
    assert_eq!(bench.calls(), [""; 0], "twice is once");
}

#[tokio::test(start_paused = true)]
async fn what_the_restored_store_knows_as_deleted_is_removed_once_confirmed() {
    let mut bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("a", Some(&value("1"))).await;
    bench.set("one", "a").await;
    bench.write("a", None).await;
    bench.settle().await;
    assert_eq!(bench.held(), []);
    let saved = bench.save().await;
    bench.write("a", Some(&value("2"))).await;
    bench.settle().await;
    assert_eq!(bench.held().len(), 1);
    bench.restore(&saved).await;
    bench.source.put("a", None);
    bench.engine.confirm_restore().await.unwrap();
    bench.settle().await;
    // The restored ledger holds no entry of that name: the store does not know of it.
    assert_eq!(bench.held().len(), 1);
    bench.write("a", Some(&value("3"))).await;
    bench.settle().await;
    assert_eq!(bench.held(), [(name("a"), value("3"))]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_after_confirming_is_made_up_for() {
    let (mut bench, saved) = older(false).await;
    bench.restore(&saved).await;
    bench.engine.confirm_restore().await.unwrap();
    bench.script([Some(Fault::external("unavailable", "down").status(503)), None, None]);
    bench.restart().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.settle().await;
    let held = bench.held();
    for path in ["changed", "deleted", "kept", "lost"] {
        assert!(held.contains(&(name(path), value("1"))), "{path}");
    }
    assert_eq!(bench.status("one").await, [Synced; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_read_after_confirming_is_not_forgotten() {
    let (mut bench, saved) = older(false).await;
    bench.restore(&saved).await;
    *bench.source.unreadable.lock().unwrap() = true;
    assert!(plan(&bench).await.iter().all(|(_, forecast)| matches!(forecast, Forecast::Unknown(_))));
    let before = bench.held();
    bench.engine.confirm_restore().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.held(), before, "unknown is never absent");
    *bench.source.unreadable.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    bench.settle().await;
    let held = bench.held();
    for path in ["changed", "deleted", "kept", "lost"] {
        assert!(held.contains(&(name(path), value("1"))), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_copy_restored_later_has_written_is_left_alone() {
    let (mut bench, saved) = older(false).await;
    bench.restore(&saved).await;
    let theirs = {
        let mut held = bench.remotes.held.lock().unwrap();
        let kept = held.get_mut(&name("kept")).unwrap();
        let mark = kept.mark.clone().unwrap();
        *kept = Held {
            value: value("theirs"),
            mark: Some(Mark { epoch: bench.store.header().epoch + 1, ..mark }),
            vaults: false,
        };
        kept.clone()
    };
    let told = plan(&bench).await;
    let (_, kept) = told.iter().find(|(path, _)| path == "kept").unwrap();
    assert!(matches!(kept, Forecast::Refuse(why) if why.contains("copy of this store")), "{kept:?}");
    bench.engine.confirm_restore().await.unwrap();
    bench.settle().await;
    assert_eq!(bench.remotes.held.lock().unwrap()[&name("kept")], theirs);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_missed_the_restore_sends_nothing_out() {
    let (mut bench, saved) = older(false).await;
    let behind = (bench.store.clone(), bench.engine.clone());
    bench.restore(&saved).await;
    bench.engine.confirm_restore().await.unwrap();
    bench.settle().await;
    assert!(!bench.engine.0.awaits_confirmation().await.unwrap());
    assert!(behind.1.0.awaits_confirmation().await.unwrap(), "it works under the epoch before");
    assert_ne!(behind.0.header().epoch, bench.store.header().epoch);
}

#[tokio::test(start_paused = true)]
async fn a_plan_keeps_to_its_limit_and_to_one_destination() {
    let mut bench = Bench::new().await;
    for at in ["one", "two"] {
        bench.configure(at, "{}").await;
    }
    for n in 0..5 {
        bench.write(&format!("s{n}"), Some(&value("1"))).await;
        bench.set("one", &format!("s{n}")).await;
    }
    let saved = bench.save().await;
    bench.restore(&saved).await;
    let plan = bench.engine.restore_plan(Some(&destination("one")), 3).await.unwrap().unwrap();
    let [one] = &plan.destinations[..] else { panic!("{plan:?}") };
    assert_eq!((one.entries.len(), one.truncated), (3, true));
    let plan = bench.engine.restore_plan(None, 5).await.unwrap().unwrap();
    let seen: Vec<_> = plan.destinations.iter().map(|d| (d.entries.len(), d.truncated)).collect();
    assert_eq!(seen, [(5, false), (0, false)]);
}
