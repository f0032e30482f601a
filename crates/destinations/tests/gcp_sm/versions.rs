//! Adding a version is not idempotent: what is lost, left half done, or done by somebody else.

use super::*;

#[tokio::test]
async fn a_first_write_is_two_calls_and_a_change_is_two() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    assert_eq!((bench.fake.all_calls(), bench.calls(["create", "addVersion"])), (2, [1, 1]));
    bench.fake.forget_calls();
    let two = after(&one, "v2", 2).written(&destination).await;
    assert_eq!((bench.fake.all_calls(), bench.calls(["addVersion", "destroy"])), (2, [1, 1]));
    let view = bench.view("a");
    assert_eq!((view.in_state("ENABLED"), view.in_state("DESTROYED")), (vec![2], vec![1]));
    assert_eq!(two.handle, one.handle);
    assert!(two.revision.unwrap().starts_with("2 \""));

    bench.fake.forget_calls();
    look(&destination, "a").await.unwrap();
    assert_eq!(bench.calls(["get", "listVersions"]), [1, 1]);
    bench.fake.forget_calls();
    remove(&destination, "a", None, true).await.unwrap();
    assert_eq!((bench.fake.all_calls(), bench.calls(["get", "delete"])), (2, [1, 1]));
}

/// The process died between the two calls of a first write.
#[tokio::test]
async fn a_secret_without_versions_is_finished() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.trouble("addVersion", [Trouble::Break]);
    assert!(first("v1", 1).fault(&destination).await.ambiguous);
    assert_eq!(bench.view("a").versions, []);
    assert_eq!(present(&destination, "a").await.revision, None);
    first("v2", 2).written(&destination).await;
    assert_eq!((bench.value("a").unwrap(), bench.view("a").versions.len()), ("v2".to_owned(), 1));
}

#[tokio::test]
async fn a_lost_first_version_is_found_without_being_read() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.deny("access", true);
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    assert!(first("v1", 1).fault(&destination).await.ambiguous);
    let receipt = first("v1", 1).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "ENABLED")]);
    // What it came to is as good as if nothing had been lost.
    let there = present(&destination, "a").await;
    assert_eq!((there.revision, there.handle), (receipt.revision.clone(), receipt.handle.clone()));
    assert_eq!(there.mark.unwrap().write, mark(1).write);
    after(&receipt, "v2", 2).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
}

#[tokio::test]
async fn a_lost_version_is_found_and_not_made_twice() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    // Lists are hours behind: what counts is asked for by number.
    bench.fake.set_list_lag(Duration::from_secs(7200));
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    assert!(after(&one, "v2", 2).fault(&destination).await.ambiguous);
    let again = Writing { unsure: true, ..after(&one, "v2", 2) };
    let two = again.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
    // And once more, as after a crash before it was recorded.
    assert_eq!(again.written(&destination).await, two);
    assert_eq!(bench.view("a").versions.len(), 2);
}

#[tokio::test]
async fn a_lost_version_that_cannot_be_read_is_made_again_and_disabled() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.deny("access", true);
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    after(&one, "v2", 2).fault(&destination).await;
    Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "DISABLED"), (3, "ENABLED")]);
    assert_eq!(bench.value("a").unwrap(), "v2");
}

/// The source changed before the lost write could be repeated: what it left may be anybody's.
#[tokio::test]
async fn a_lost_version_of_another_value_is_disabled_not_destroyed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    after(&one, "v2", 2).fault(&destination).await;
    Writing { unsure: true, ..after(&one, "v3", 3) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "DISABLED"), (3, "ENABLED")]);
}

#[tokio::test]
async fn a_write_that_never_arrived_is_made() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("addVersion", [Trouble::Break]);
    after(&one, "v2", 2).fault(&destination).await;
    bench.fake.forget_calls();
    Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
    // A look at the secret, one at the number after the last, then as always.
    assert_eq!(bench.calls(["get", "getVersion", "addVersion", "destroy"]), [1, 1, 1, 1]);
}

#[tokio::test]
async fn what_somebody_else_added_stays() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    assert_eq!(bench.fake.add_version("a", "by hand"), 2);
    let three = after(&one, "v2", 2).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED"), (3, "ENABLED")]);
    // One that is newer than ours is seen, and not touched before there is a newer one of ours.
    assert_eq!(bench.fake.add_version("a", "by hand"), 4);
    assert_ne!(present(&destination, "a").await.revision, three.revision);
    after(&three, "v3", 3).written(&destination).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [2, 4, 5]);
}

#[tokio::test]
async fn a_version_that_cannot_be_destroyed_now_is_destroyed_later() {
    for access in [true, false] {
        let bench = Bench::new().await;
        let destination = bench.open(json!({}));
        bench.fake.deny("access", !access);
        let one = first("v1", 1).written(&destination).await;
        bench.fake.trouble("destroy", [Trouble::Refuse("UNAVAILABLE", 503)]);
        let late = after(&one, "v2", 2).fault(&destination).await;
        assert_eq!((late.code, late.blame, late.ambiguous), ("provider_down", Blame::External, true));
        assert!(late.message.contains("the new value is there"), "{late}");
        assert_eq!(bench.value("a").unwrap(), "v2");
        Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
        let view = bench.view("a");
        assert_eq!(view.in_state("DESTROYED"), [1]);
        assert_eq!(view.in_state("ENABLED").len(), 1);
        assert_eq!(view.versions.len(), if access { 2 } else { 3 });
    }
}

#[tokio::test]
async fn a_lost_destruction_is_noticed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("destroy", [Trouble::LoseAnswer]);
    assert!(after(&one, "v2", 2).fault(&destination).await.ambiguous);
    Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
}

#[tokio::test]
async fn without_permission_to_destroy_that_is_said() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.deny("destroy", true);
    let denied = after(&one, "v2", 2).fault(&destination).await;
    assert_eq!((denied.code, denied.blame, denied.retry), ("access_denied", Blame::Client, Retry::Slowly));
    assert!(denied.message.contains("secretmanager.versions.destroy"), "{denied}");
    // The value arrived all the same, and trying again adds nothing.
    let again = Writing { unsure: true, ..after(&one, "v2", 2) };
    again.fault(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "ENABLED"), (2, "ENABLED")]);
    bench.fake.deny("destroy", false);
    again.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
}

/// Deleted and made again by somebody else: numbers may be behind ours, the same, or beyond.
#[tokio::test]
async fn what_was_written_into_anothers_secret_is_destroyed_and_told() {
    for versions in [1, 2, 3, 5] {
        let bench = Bench::new().await;
        let destination = bench.open(json!({}));
        let one = first("v1", 1).written(&destination).await;
        let two = after(&one, "v2", 2).written(&destination).await;
        let three = after(&two, "v3", 3).written(&destination).await;
        bench.fake.plant("a", "theirs 1", &[("team", "x")]);
        for number in 2..=versions {
            bench.fake.add_version("a", &format!("theirs {number}"));
        }
        let there = after(&three, "v4", 4).taken(&destination).await;
        assert_eq!((there.mark, there.unreadable), (None, false));
        let view = bench.view("a");
        assert_eq!(view.in_state("DESTROYED"), [versions + 1], "ours, and only ours");
        assert_eq!(bench.value("a").unwrap(), format!("theirs {versions}"));
    }
}

/// The same without permission to look.
#[tokio::test]
async fn anothers_secret_is_told_by_its_versions_too() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    let two = after(&one, "v2", 2).written(&destination).await;
    bench.fake.deny("get", true);
    bench.fake.plant("a", "theirs", &[]);
    assert!(after(&two, "v3", 3).taken(&destination).await.unreadable);
    assert_eq!(bench.view("a").versions, [(1, "ENABLED"), (2, "DESTROYED")]);
}

#[tokio::test]
async fn a_version_that_someone_changed_is_looked_at_before_it_is_retired() {
    for destroyed in [true, false] {
        let bench = Bench::new().await;
        let destination = bench.open(json!({}));
        let one = first("v1", 1).written(&destination).await;
        bench.fake.end_version("a", 1, destroyed);
        after(&one, "v2", 2).written(&destination).await;
        assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
    }
}

#[tokio::test]
async fn a_refresh_can_tell_that_ours_is_the_newest() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    let two = after(&one, "v2", 2).written(&destination).await;
    let there = present(&destination, "a").await;
    assert_eq!((&there.revision, there.mark.unwrap().write), (&two.revision, None));
    bench.fake.end_version("a", 2, false);
    assert_eq!(present(&destination, "a").await.revision, None);
}

#[tokio::test]
async fn as_many_versions_stay_as_are_to_be_kept() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"keep_versions": 3}));
    let mut receipt = first("v1", 1).written(&destination).await;
    for write in 2..=5 {
        receipt = after(&receipt, "v", write).written(&destination).await;
    }
    let view = bench.view("a");
    assert_eq!((view.in_state("ENABLED"), view.in_state("DESTROYED")), (vec![3, 4, 5], vec![1, 2]));
    // Fewer from now on.
    let fewer = bench.open(json!({"keep_versions": 2}));
    after(&receipt, "v", 6).written(&fewer).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [5, 6]);
}

#[tokio::test]
async fn retired_versions_can_be_disabled_instead() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"retired_versions": "disable"}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.forget_calls();
    let two = after(&one, "v2", 2).written(&destination).await;
    assert_eq!(bench.fake.all_calls(), 2);
    after(&two, "v3", 3).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DISABLED"), (2, "DISABLED"), (3, "ENABLED")]);
}

#[tokio::test]
async fn a_checksum_is_sent_and_its_check_looked_for() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    // Not confirmed, but right: read back by number.
    bench.fake.confirm_checksums(false);
    let one = first("v1", 1).written(&destination).await;
    assert_eq!(bench.fake.calls("access"), 1);

    bench.fake.damage_values(true);
    let damaged = after(&one, "v2", 2).fault(&destination).await;
    assert_eq!(
        (damaged.code, damaged.blame, damaged.retry),
        ("checksum_mismatch", Blame::External, Retry::Backoff)
    );
    assert_eq!(bench.view("a").versions, [(1, "ENABLED"), (2, "DESTROYED")]);
    bench.fake.damage_values(false);
    let two = Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "DESTROYED"), (3, "ENABLED")]);

    bench.fake.deny("access", true);
    let unsure = after(&two, "v3", 3).fault(&destination).await;
    assert_eq!((unsure.code, unsure.ambiguous), ("checksum_unconfirmed", true));
    bench.fake.confirm_checksums(true);
    Writing { unsure: true, ..after(&two, "v3", 3) }.written(&destination).await;
    assert_eq!(bench.value("a").unwrap(), "v3");
}

#[tokio::test]
async fn an_answer_that_arrives_damaged_is_not_believed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.confirm_checksums(false);
    let wrong = r#"{"name":"projects/1/secrets/a/versions/1","payload":{"data":"djE=","dataCrc32c":"1"}}"#;
    bench.fake.trouble("access", [Trouble::Garbage(wrong, 200)]);
    let damaged = first("v1", 1).fault(&destination).await;
    assert_eq!((damaged.code, damaged.blame), ("checksum_mismatch", Blame::External));
    first("v1", 1).written(&destination).await;
    assert_eq!(bench.view("a").versions.len(), 1);
}

/// A secret of ours may have been given a time for which destroyed versions can be brought back.
#[tokio::test]
async fn a_destruction_that_is_only_scheduled_is_enough() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.destroy_slowly(true);
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("destroy", [Trouble::LoseAnswer]);
    after(&one, "v2", 2).fault(&destination).await;
    bench.fake.forget_calls();
    let two = Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(
        (bench.view("a").versions, bench.fake.calls("destroy")),
        (vec![(1, "DISABLED"), (2, "ENABLED")], 1)
    );
    after(&two, "v3", 3).written(&destination).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [3]);
}

#[tokio::test]
async fn without_permission_to_disable_a_doubtful_version_stays() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.deny("access", true);
    bench.fake.deny("disable", true);
    let one = first("v1", 1).written(&destination).await;
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    after(&one, "v2", 2).fault(&destination).await;
    Writing { unsure: true, ..after(&one, "v2", 2) }.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED"), (3, "ENABLED")]);
}
