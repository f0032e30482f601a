use destinations::{Retry, fakes::Trouble};

use super::*;

/// Comes back as the engine does, until it is written. How often it had to.
async fn written_in_time(bench: &Bench, destination: &Arc<dyn Destination>, at: &str, write: u8) -> usize {
    for tries in 0..20 {
        match put(destination, at, "back", write, Expect::Absent).await {
            Ok(PutOutcome::Written(_)) => return tries,
            Err(fault) => {
                assert_eq!((fault.code, fault.blame), ("name_busy", model::Blame::External));
                let Retry::After(wait) = fault.retry else { panic!("{fault:?}") };
                bench.clock.advance(wait);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("never written");
}

#[tokio::test]
async fn a_name_in_limbo_is_come_back_to() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.set_limbo(Duration::from_secs(10));
    create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    // Being deleted, deleted, being recovered, there: each step when Azure is done with the one before.
    assert!(written_in_time(&bench, &destination, "a", 2).await >= 6);
    assert_eq!(bench.value("a"), "back");
    let view = bench.fake.view("a").unwrap();
    assert_eq!((view.versions, view.deleted), (2, false));
    assert_eq!(bench.fake.calls("Recover"), 1);
    assert!(present(&destination, "a").await.mark.unwrap().same_owner(&mark(1)));
}

#[tokio::test]
async fn a_deleted_strangers_name_is_left_alone_unless_told() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("a", "theirs", &[("team", "x")]);
    bench.fake.delete("a");
    for expect in [Expect::Absent, Expect::Ours(None), Expect::Ours(Some("secrets/a"))] {
        let there = taken(put(&destination, "a", "ours", 1, expect).await);
        assert!(there.recoverable && there.mark.is_none() && !there.unreadable, "{expect:?}");
    }
    assert!(bench.fake.view("a").unwrap().deleted);
    assert_eq!(bench.fake.calls("Recover"), 0);
    written(put(&destination, "a", "ours", 1, Expect::Anything).await);
    assert_eq!(bench.value("a"), "ours");
}

#[tokio::test]
async fn an_update_recovers_what_was_deleted() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    bench.fake.delete("a");
    written(put(&destination, "a", "new", 2, Expect::Ours(made.handle.as_deref())).await);
    assert_eq!((bench.value("a").as_str(), bench.fake.view("a").unwrap().versions), ("new", 2));
}

#[tokio::test]
async fn removing_while_azure_is_busy_ends_removed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.set_limbo(Duration::from_secs(10));
    create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    // On its way out: there is nothing left to do.
    remove(&destination, "a").await.unwrap();
    bench.advance(10);
    remove(&destination, "a").await.unwrap();

    // Brought back for a write that was then no longer wanted.
    assert_eq!(code(put(&destination, "a", "w", 2, Expect::Absent).await), "name_busy");
    assert_eq!(code(remove(&destination, "a").await), "name_busy");
    bench.advance(10);
    remove(&destination, "a").await.unwrap();
    bench.advance(10);
    assert!(bench.fake.view("a").unwrap().deleted);
}

/// Some time passes before a look shows what is being recovered.
#[tokio::test]
async fn what_we_brought_back_is_removed_although_no_look_shows_it() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    bench.fake.trouble(
        "Set",
        [
            Trouble::Garbage(
                r#"{"error":{"code":"Conflict","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}"#,
                409,
            ),
            Trouble::Garbage(
                r#"{"error":{"code":"Conflict","innererror":{"code":"ObjectIsBeingRecovered"}}}"#,
                409,
            ),
        ],
    );
    assert_eq!(code(put(&destination, "a", "w", 2, Expect::Absent).await), "name_busy");
    bench.fake.trouble("Versions", [Trouble::Garbage(r#"{"value":[]}"#, 200)]);
    remove(&destination, "a").await.unwrap();
    assert!(bench.fake.view("a").unwrap().deleted);
}

#[tokio::test]
async fn a_secret_is_purged_when_told_and_its_name_used_again() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"purge_on_delete": true}));
    create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    assert!(bench.fake.names().is_empty());
    assert_eq!(bench.fake.calls("Purge"), 1);
    remove(&destination, "a").await.unwrap();

    bench.fake.set_limbo(Duration::from_secs(5));
    create(&destination, "a").await;
    let fault = remove(&destination, "a").await.unwrap_err();
    assert_eq!((fault.code, fault.retry), ("name_busy", Retry::After(Duration::from_secs(3))));
    bench.advance(5);
    remove(&destination, "a").await.unwrap();
    // Both looks say that nothing is there, and still it cannot be made for a while.
    assert_eq!(destination.look(&name("a")).await, Ok(Remote::Absent));
    assert!(written_in_time(&bench, &destination, "a", 2).await >= 1);
    assert_eq!(bench.fake.view("a").unwrap().versions, 1);
}

#[tokio::test]
async fn purging_spares_strangers() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"purge_on_delete": true}));
    bench.fake.plant("a", "theirs", &[]);
    bench.fake.delete("a");
    remove(&destination, "a").await.unwrap();
    assert_eq!((bench.fake.names().len(), bench.fake.calls("Purge")), (1, 0));
    // By order of a person it goes all the same.
    let order = Remove { name: &name("a"), handle: None, owner: None };
    destination.remove(&order).await.unwrap();
    assert!(bench.fake.names().is_empty());
}

#[tokio::test]
async fn purge_protection_keeps_a_removed_secret_and_fails_nothing() {
    let bench = Bench::new().await;
    bench.fake.protect_from_purge(true);
    let destination = bench.open(json!({"purge_on_delete": true}));
    create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    assert_eq!(bench.fake.calls("Purge"), 0, "the vault says that it cannot be");
    bench.fake.hide_recovery_level(true);
    create(&destination, "b").await;
    remove(&destination, "b").await.unwrap();
    assert_eq!(bench.fake.calls("Purge"), 1);
    for at in ["a", "b"] {
        assert!(bench.fake.view(at).unwrap().deleted);
    }

    // A permission that is missing is something else: somebody asked for purging and can mend it.
    bench.fake.protect_from_purge(false);
    bench.fake.deny("Purge", true);
    create(&destination, "c").await;
    let fault = remove(&destination, "c").await.unwrap_err();
    assert_eq!((fault.code, fault.retry), ("access_denied", Retry::Slowly));
    assert!(fault.message.contains("purge/action"));
    bench.fake.deny("Purge", false);
    remove(&destination, "c").await.unwrap();
    assert!(bench.fake.view("c").is_none());
}

#[tokio::test]
async fn a_deleted_secret_nobody_may_look_at() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    remove(&destination, "a").await.unwrap();
    bench.fake.deny("GetDeleted", true);
    let there = taken(put(&destination, "a", "w", 2, Expect::Absent).await);
    assert!(there.recoverable && there.unreadable);
    written(put(&destination, "a", "w", 2, Expect::Ours(made.handle.as_deref())).await);
    assert_eq!(bench.value("a"), "w");
}
