use std::time::Duration;

use destinations::{Fault, Retry};
use model::{SyncStatus::*, json::SecretJson};

use crate::{
    AssociationError, DestinationError, Removal, Settings,
    testing::{Bench, Held, UNMARKED, destination, secret},
};

const NAME: &str = "kv_00000001/app/db";

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn down() -> Fault {
    Fault::external("unavailable", "the service is down").status(503)
}

#[tokio::test(start_paused = true)]
async fn a_secret_arrives_follows_and_leaves() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    let views = bench.set("one", "app/db").await;
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].status, views[0].external_name.as_ref().unwrap().as_str()), (Synced, NAME));
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"1"}"#)]);

    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"2"}"#)]);

    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!(bench.held(), []);
    assert_eq!(bench.status("one").await, [Unsynced]);

    bench.write("app/db", Some(r#"{"a":"3"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.status("one").await, [Synced]);

    let views = bench.remove("one", "app/db").await;
    assert_eq!(views[0].status, Unsynced);
    assert_eq!(bench.held(), []);
    assert!(bench.views("one").await.is_empty());
    assert!(bench.remove("one", "app/db").await.is_empty(), "removing what is not there succeeds");
}

#[tokio::test(start_paused = true)]
async fn one_call_per_change_and_none_without() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    assert_eq!(bench.calls(), [format!("put {NAME}")]);
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.calls(), [format!("put {NAME}")]);
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.calls(), [""; 0], "another version of the same value");
    assert_eq!(bench.status("one").await, [Synced]);
}

#[tokio::test(start_paused = true)]
async fn rapid_writes_become_the_last_value() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"n":0}"#)).await;
    bench.set("one", "app/db").await;
    *bench.remotes.latency.lock().unwrap() = Duration::from_millis(50);
    bench.calls();
    for n in 1..=100 {
        bench.write("app/db", Some(&format!("{{\"n\":{n}}}"))).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"n":100}"#)]);
    assert!(bench.calls().len() <= 4, "they were coalesced");
}

#[tokio::test(start_paused = true)]
async fn keys_come_and_go_one_by_one() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"granularity":"secret-key"}"#).await;
    bench.write("app/db", Some(r#"{"a":"x","b":{"c":[1,null]},"n":12.50}"#)).await;
    let views = bench.set("one", "app/db").await;
    assert_eq!(views.iter().map(|v| v.sub_key.as_deref().unwrap()).collect::<Vec<_>>(), ["a", "b", "n"]);
    let name = |key: &str| format!("{NAME}/{key}");
    assert_eq!(
        bench.held(),
        [pair(&name("a"), "x"), pair(&name("b"), r#"{"c":[1,null]}"#), pair(&name("n"), "12.50")]
    );
    bench.calls();
    bench.write("app/db", Some(r#"{"a":"y","n":12.50,"z":"new"}"#)).await;
    bench.settle().await;
    let mut calls = bench.calls();
    calls.sort();
    assert_eq!(calls, [format!("put {NAME}/a"), format!("put {NAME}/z"), format!("remove {NAME}/b")]);
    assert_eq!(bench.status("one").await, [Synced, Synced, Synced]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_waited_out_and_mended_and_harms_nobody_else() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.script((0..6).map(|_| Some(down())));
    let views = bench.set("one", "app/db").await;
    let failure = views[0].failure.clone().unwrap();
    assert_eq!((views[0].status, failure.code.as_str()), (ExternalServiceError, "unavailable"));
    assert!(failure.retry_at.is_some());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.status("one").await, [Synced]);
    assert_eq!(bench.held().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_obeyed() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    let wait = Duration::from_secs(40);
    bench.script([Some(Fault::external("throttled", "slow down").retry(Retry::After(wait)))]);
    bench.set("one", "app/db").await;
    bench.calls();
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!(bench.calls(), [""; 0]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.status("one").await, [Synced]);
}

/// The provider is still deleting what bore the name: nobody else waits for that.
#[tokio::test(start_paused = true)]
async fn a_busy_name_holds_nobody_else_up() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.write("app/web", Some(r#"{"a":"1"}"#)).await;
    let wait = Duration::from_secs(40);
    bench.script([Some(Fault::external("name_busy", "still deleting").retry(Retry::After(wait)))]);
    assert_eq!(bench.set("one", "app/db").await[0].status, ExternalServiceError);
    let before = tokio::time::Instant::now();
    assert_eq!(bench.set("one", "app/web").await[0].status, Synced);
    assert!(before.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(36)).await;
    assert_eq!(bench.held().len(), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.held().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_operator_can_mend_waits_for_a_change() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(&format!(r#"{{"a":"{}"}}"#, "x".repeat(200)))).await;
    let views = bench.set("one", "app/db").await;
    assert_eq!(
        (views[0].status, views[0].failure.as_ref().unwrap().code.as_str()),
        (ClientSideError, "value_too_large")
    );
    assert_eq!(views[0].failure.as_ref().unwrap().retry_at, None);
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert_eq!(bench.calls(), [""; 0], "the remote is untouched");
    bench.write("app/db", Some(r#"{"a":"small"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.status("one").await, [Synced]);
    // And a value that is too large leaves the last good one in place.
    bench.write("app/db", Some(&format!(r#"{{"a":"{}"}}"#, "x".repeat(200)))).await;
    bench.settle().await;
    assert_eq!(bench.status("one").await, [ClientSideError]);
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"small"}"#)]);
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_recover_by_themselves_when_mended_outside() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    let denied = || Some(Fault::client("access_denied", "not allowed").retry(Retry::Slowly));
    bench.script([denied(), denied()]);
    let views = bench.set("one", "app/db").await;
    assert_eq!(views[0].status, ClientSideError);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.status("one").await, [ClientSideError]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.status("one").await, [Synced]);
}

#[tokio::test(start_paused = true)]
async fn a_strangers_entry_is_left_alone_until_someone_says_otherwise() {
    let bench = Bench::new().await;
    let strangers = Held { value: "theirs".into(), mark: None, vaults: false };
    bench.remotes.held.lock().unwrap().insert(NAME.into(), strangers);
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    let views = bench.set("one", "app/db").await;
    assert_eq!(
        (views[0].status, views[0].failure.as_ref().unwrap().code.as_str()),
        (ClientSideError, "name_taken")
    );
    assert_eq!(bench.held(), [pair(NAME, "theirs")]);
    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, "theirs")], "nor is it removed with our secret");
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.configure("one", r#"{"on_conflict":"overwrite"}"#).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"2"}"#)]);
    assert_eq!(bench.status("one").await, [Synced]);
}

#[tokio::test(start_paused = true)]
async fn vaults_own_entries_are_taken_over() {
    let bench = Bench::new().await;
    let vaults = Held { value: "old".into(), mark: None, vaults: true };
    bench.remotes.held.lock().unwrap().insert(NAME.into(), vaults);
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    assert_eq!(bench.set("one", "app/db").await[0].status, Synced);
}

#[tokio::test(start_paused = true)]
async fn a_lost_mark_is_reported_and_not_deleted() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"ownership_check":"always"}"#).await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    bench.remotes.held.lock().unwrap().get_mut(NAME).unwrap().mark = None;
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.views("one").await[0].failure.as_ref().unwrap().code, "ownership_lost");
    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"1"}"#)]);
    assert_eq!(bench.views("one").await[0].failure.as_ref().unwrap().code, "ownership_lost");
}

#[tokio::test(start_paused = true)]
async fn unknown_is_never_absent() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    *bench.source.mount_gone.lock().unwrap() = true;
    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!(bench.status("one").await, [Unknown]);
    *bench.source.mount_gone.lock().unwrap() = false;
    *bench.source.unreadable.lock().unwrap() = true;
    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!(bench.status("one").await, [InternalVaultError]);
    assert_eq!(bench.held().len(), 1);
    // Even with the mount gone, a person may take the association away.
    *bench.source.mount_gone.lock().unwrap() = true;
    bench
        .engine
        .remove_association(&destination("one"), None, "secret/", &secret("app/db").path)
        .await
        .unwrap();
    assert_eq!(bench.held(), []);
}

#[tokio::test(start_paused = true)]
async fn two_secrets_cannot_share_a_remote_name() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"secret_name_template":"{{ .SecretBaseName }}"}"#).await;
    bench.write("a/db", Some(r#"{"a":"1"}"#)).await;
    bench.write("b/db", Some(r#"{"a":"2"}"#)).await;
    bench.set("one", "a/db").await;
    let error = bench.engine.set_association(&destination("one"), &secret("b/db")).await.unwrap_err();
    assert!(
        matches!(&error, AssociationError::NameHeld { holder, .. } if holder == "secret/a/db"),
        "{error}"
    );
    bench.remove("one", "a/db").await;
    assert_eq!(bench.set("one", "b/db").await[0].status, Synced, "the name is free again");
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_secret_cannot_share_a_remote_name() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"granularity":"secret-key"}"#).await;
    bench.write("app/db", Some(r#"{"a-b":"1","a.b":"2","c":"3"}"#)).await;
    let views = bench.set("one", "app/db").await;
    let codes: Vec<_> = views.iter().map(|v| v.failure.as_ref().map(|f| f.code.clone())).collect();
    assert_eq!(codes, [Some("name_collision".into()), Some("name_collision".into()), None]);
    assert_eq!(bench.held(), [pair(&format!("{NAME}/c"), "3")]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_writes_the_new_name_before_the_old_one_goes() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    bench.calls();
    bench.configure("one", r#"{"secret_name_template":"new/{{ .SecretPath }}"}"#).await;
    bench.settle().await;
    assert_eq!(bench.calls(), ["put new/app/db".to_owned(), format!("remove {NAME}")]);
    // And when the new name cannot be written, the old one stays.
    bench.script([Some(Fault::client("bad", "no"))]);
    bench.configure("one", r#"{"secret_name_template":"newer/{{ .SecretPath }}"}"#).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair("new/app/db", r#"{"a":"1"}"#)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_no_orphan() {
    let mut bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    *bench.remotes.lose_answer.lock().unwrap() = true;
    let views = bench.set("one", "app/db").await;
    assert_eq!(views[0].status, ExternalServiceError);
    // The secret goes before the retry comes, and the process too.
    bench.write("app/db", None).await;
    bench.restart().await;
    bench.settle().await;
    assert_eq!(bench.held(), []);
    assert_eq!(bench.status("one").await, [Unsynced]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_what_was_left() {
    let mut bench = Bench::new().await;
    bench.configure("one", "{}").await;
    for n in 0..20 {
        bench.write(&format!("s/{n}"), Some(r#"{"a":"1"}"#)).await;
        bench.set("one", &format!("s/{n}")).await;
    }
    *bench.remotes.latency.lock().unwrap() = Duration::from_secs(1);
    for n in 0..20 {
        bench.write(&format!("s/{n}"), Some(r#"{"a":"2"}"#)).await;
    }
    bench.restart().await;
    bench.settle().await;
    assert!(bench.held().iter().all(|(_, value)| value == r#"{"a":"2"}"#));
    assert_eq!(bench.status("one").await, [Synced; 20]);
}

#[tokio::test(start_paused = true)]
async fn work_queues_while_sync_is_off_and_runs_when_it_is_on() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    let mut config = bench.engine.sync_config().await.unwrap();
    config.disabled = true;
    bench.engine.set_sync_config(&config).await.unwrap();
    assert_eq!(bench.set("one", "app/db").await[0].status, Pending);
    assert_eq!(bench.calls(), [""; 0]);
    config.disabled = false;
    bench.engine.set_sync_config(&config).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.status("one").await, [Synced]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_expires_is_taken_away_in_time() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    let now = bench.engine.0.clock.now();
    *bench.source.expires.lock().unwrap() = Some(now.plus(Duration::from_secs(60)));
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    assert_eq!(bench.set("one", "app/db").await[0].status, Synced);
    // The source forgets it without a word.
    *bench.source.expires.lock().unwrap() = None;
    bench.source.forget("app/db");
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.held().len(), 1);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(bench.held(), []);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_finds_lost_work() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    bench.calls();
    bench.source.change_silently("app/db", r#"{"a":"2"}"#);
    tokio::time::sleep(Duration::from_secs(301)).await;
    bench.settle().await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"2"}"#)]);
    bench.calls();
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(bench.calls(), [""; 0], "a sweep over what is in order makes no call");
}

#[tokio::test(start_paused = true)]
async fn setting_again_mends_what_someone_changed_there() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    bench.calls();
    bench.set("one", "app/db").await;
    assert_eq!(bench.calls(), [format!("look {NAME}")], "it is as it should be");
    bench.remotes.held.lock().unwrap().clear();
    bench.set("one", "app/db").await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"1"}"#)]);
    // Only the value, and the mark was left as it was.
    bench.remotes.held.lock().unwrap().get_mut(NAME).unwrap().value = "by hand".to_owned();
    bench.set("one", "app/db").await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"1"}"#)]);
}

#[tokio::test(start_paused = true)]
async fn many_deletes_at_once_are_held_until_confirmed() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    for n in 0..60 {
        bench.write(&format!("s/{n}"), Some(r#"{"a":"1"}"#)).await;
        bench.set("one", &format!("s/{n}")).await;
    }
    for n in 0..60 {
        bench.write(&format!("s/{n}"), None).await;
    }
    bench.settle().await;
    assert_eq!(bench.held().len(), 35);
    let held = bench.views("one").await;
    let codes = held.iter().filter_map(|view| view.failure.as_ref()).filter(|f| f.code == "mass_delete_held");
    assert_eq!(codes.count(), 35);
    // A secret that is written meanwhile is delivered all the same.
    bench.write("s/59", Some(r#"{"a":"back"}"#)).await;
    bench.settle().await;
    assert!(bench.held().iter().any(|(_, value)| value.contains("back")));
    bench.engine.confirm_deletes(&destination("one")).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.held().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn destinations_are_not_dropped_or_moved_under_their_secrets() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"where":"here"}"#).await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    let body = SecretJson::parse(br#"{"where":"there"}"#).unwrap();
    let error = bench
        .engine
        .write_destination(&destination("one"), &body, destinations::Mode::Merge)
        .await
        .unwrap_err();
    assert!(matches!(error, DestinationError::Immutable { .. }));
    let error = bench.engine.remove_destination(&destination("one"), Removal::Plain).await.unwrap_err();
    assert!(matches!(error, DestinationError::InUse(_)));
    bench.engine.remove_destination(&destination("one"), Removal::Purge).await.unwrap();
    bench.settle().await;
    assert!(bench.engine.destination(&destination("one")).await.unwrap().is_none());
    assert_eq!(bench.held(), []);
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_fails_says_so_and_leaves_the_destination_usable() {
    let bench = Bench::new().await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench.set("one", "app/db").await;
    bench.remotes.held.lock().unwrap().get_mut(NAME).unwrap().mark = None;
    bench.engine.remove_destination(&destination("one"), Removal::Purge).await.unwrap();
    bench.settle().await;
    let view = bench.engine.destination(&destination("one")).await.unwrap().unwrap();
    assert!(view.purge.unwrap().error.unwrap().contains("ownership_lost"));
    bench.write("app/other", Some(r#"{"a":"1"}"#)).await;
    assert_eq!(bench.set("one", "app/other").await[0].status, Synced);
    bench.engine.remove_destination(&destination("one"), Removal::Force).await.unwrap();
    assert!(bench.engine.destination(&destination("one")).await.unwrap().is_none());
    assert_eq!(bench.held().len(), 2, "left behind, as asked");
}

#[tokio::test(start_paused = true)]
async fn a_silent_destination_does_not_hold_up_another() {
    let bench = Bench::with(Settings { concurrency: 2, ..Settings::default() }).await;
    bench.configure("slow", r#"{"secret_name_template":"slow/{{ .SecretPath }}"}"#).await;
    bench.configure("fast", r#"{"secret_name_template":"fast/{{ .SecretPath }}"}"#).await;
    for n in 0..10 {
        bench.write(&format!("s/{n}"), Some(r#"{"a":"1"}"#)).await;
        bench.set("fast", &format!("s/{n}")).await;
    }
    *bench.remotes.latency.lock().unwrap() = Duration::from_secs(60);
    let views = bench.set("slow", "s/0").await;
    assert_eq!(views[0].status, Syncing, "two seconds are waited, no more");
    bench.set("slow", "s/1").await;
    bench.set("slow", "s/2").await;
    *bench.remotes.latency.lock().unwrap() = Duration::ZERO;
    bench.write("s/5", Some(r#"{"a":"2"}"#)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(bench.held().contains(&pair("fast/s/5", r#"{"a":"2"}"#)));
}

/// What is known of an entry where nothing can be marked: what we sent, and what we did not.
async fn unmarked() -> Bench {
    let bench = Bench::with_abilities(Settings::default(), &UNMARKED).await;
    bench.configure("one", "{}").await;
    bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn without_marks_a_first_write_looks_and_leaves_a_strangers_entry_alone() {
    let bench = unmarked().await;
    let theirs = Held { value: "theirs".into(), mark: None, vaults: false };
    bench.remotes.held.lock().unwrap().insert(NAME.to_owned(), theirs);
    let views = bench.set("one", "app/db").await;
    assert_eq!(
        (views[0].status, views[0].failure.as_ref().unwrap().code.as_str()),
        (ClientSideError, "name_taken")
    );
    assert_eq!(bench.calls(), [format!("look {NAME}")]);
    // Not once an order removes the association, either.
    bench.remove("one", "app/db").await;
    assert_eq!(bench.held(), [pair(NAME, "theirs")]);
    assert_eq!(bench.calls(), [""; 0]);
    bench.configure("one", r#"{"on_conflict":"overwrite"}"#).await;
    bench.set("one", "app/db").await;
    assert_eq!(bench.held(), [pair(NAME, r#"{"a":"1"}"#)]);
}

#[tokio::test(start_paused = true)]
async fn without_marks_what_was_never_sent_is_never_removed() {
    let bench = unmarked().await;
    bench.script([Some(Fault::client("access_denied", "no").retry(Retry::Slowly))]);
    assert_eq!(bench.set("one", "app/db").await[0].status, ClientSideError);
    let theirs = Held { value: "theirs".into(), mark: None, vaults: false };
    bench.remotes.held.lock().unwrap().insert(NAME.to_owned(), theirs);
    bench.remove("one", "app/db").await;
    assert!(bench.views("one").await.is_empty());
    assert_eq!(bench.held(), [pair(NAME, "theirs")]);
}

#[tokio::test(start_paused = true)]
async fn without_marks_a_lost_first_write_is_known_again_and_one_call_changes() {
    let bench = unmarked().await;
    *bench.remotes.lose_answer.lock().unwrap() = true;
    let views = bench.set("one", "app/db").await;
    assert_eq!(views[0].status, ExternalServiceError);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.status("one").await, [Synced]);
    bench.calls();
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.calls(), [format!("put {NAME}")]);
    // A person who sets it again has it looked at and written again.
    let views = bench.set("one", "app/db").await;
    assert_eq!((views[0].status, bench.held()), (Synced, vec![pair(NAME, r#"{"a":"2"}"#)]));
    bench.remove("one", "app/db").await;
    assert_eq!(bench.held(), []);
}
