use std::time::Duration;

use model::{SecretPath, SyncStatus::*};

use super::{Pattern, RuleRef};
use crate::{
    AssociationError, DestinationError, Removal, Settings,
    testing::{Bench, destination, secret},
};

const VALUE: Option<&str> = Some(r#"{"a":"1"}"#);

fn rule(pattern: &str, exclude: &[&str]) -> RuleRef {
    let source = secret("x");
    RuleRef {
        grantor: None,
        accessor: source.accessor,
        mount: source.mount,
        pattern: Pattern::parse(pattern).unwrap(),
        exclude: exclude.iter().map(|text| Pattern::parse(text).unwrap()).collect(),
    }
}

async fn bench(secrets: &[&str]) -> Bench {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"secret_name_template":"{{ .SecretPath }}"}"#).await;
    for path in secrets {
        bench.write(path, VALUE).await;
    }
    bench
}

async fn set(bench: &Bench, pattern: &str, exclude: &[&str]) {
    let view = bench.engine.set_rule(&destination("one"), &rule(pattern, exclude)).await.unwrap();
    assert!(!view.covering, "all is done when it answers");
}

async fn remove(bench: &Bench, pattern: &str) -> bool {
    let rule = rule(pattern, &[]);
    let removed =
        bench.engine.remove_rule(&destination("one"), Some(&rule.accessor), "secret", &rule.pattern).await;
    removed.unwrap().is_some()
}

fn held(bench: &Bench) -> Vec<String> {
    bench.held().into_iter().map(|(name, _)| name).collect()
}

#[tokio::test(start_paused = true)]
async fn present_and_future_secrets_are_delivered() {
    let bench = bench(&["app/db", "app/deep/er", "other"]).await;
    set(&bench, "app/*", &[]).await;
    assert_eq!(held(&bench), ["app/db"]);
    let views = bench.views("one").await;
    assert_eq!((views.len(), views[0].status, views[0].rule.as_deref()), (1, Synced, Some("app/*")));
    bench.write("app/new", VALUE).await;
    bench.write("app/deep/new", VALUE).await;
    bench.settle().await;
    assert_eq!(held(&bench), ["app/db", "app/new"]);
    set(&bench, "app/**", &[]).await;
    assert_eq!(held(&bench), ["app/db", "app/deep/er", "app/deep/new", "app/new"]);
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.held()[0].1, r#"{"a":"2"}"#);
}

#[tokio::test(start_paused = true)]
async fn exclusions_come_and_go() {
    let bench = bench(&["app/db", "app/tmp-1", "app/tmp-2"]).await;
    set(&bench, "app/**", &["app/tmp-*"]).await;
    bench.write("app/tmp-3", VALUE).await;
    bench.settle().await;
    assert_eq!(held(&bench), ["app/db"]);
    set(&bench, "app/**", &["app/tmp-2"]).await;
    assert_eq!(held(&bench), ["app/db", "app/tmp_1", "app/tmp_3"]);
    set(&bench, "app/**", &["app/db"]).await;
    assert_eq!(held(&bench), ["app/tmp_1", "app/tmp_2", "app/tmp_3"], "what is excluded now is taken away");
    assert_eq!(bench.engine.rules(&destination("one")).await.unwrap().unwrap().len(), 1, "one rule, changed");
}

#[tokio::test(start_paused = true)]
async fn removing_a_rule_takes_its_members_but_not_others() {
    let bench = bench(&["app/db", "app/mine", "app/two"]).await;
    set(&bench, "app/**", &[]).await;
    set(&bench, "*/two", &[]).await;
    bench.set("one", "app/mine").await;
    assert!(remove(&bench, "app/**").await);
    bench.settle().await;
    assert_eq!(held(&bench), ["app/mine", "app/two"], "set singly, or due to another rule");
    assert!(!remove(&bench, "app/**").await, "removing what is not there succeeds");
    bench.write("app/later", VALUE).await;
    bench.settle().await;
    assert_eq!(held(&bench), ["app/mine", "app/two"]);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_removed_by_its_rule_and_what_was_set_singly_falls_back_to_it() {
    let bench = bench(&["app/db"]).await;
    set(&bench, "app/*", &[]).await;
    let source = secret("app/db");
    let single = async || {
        bench
            .engine
            .remove_association(&destination("one"), Some(&source.accessor), "secret", &source.path)
            .await
    };
    let error = single().await.unwrap_err();
    assert!(matches!(&error, AssociationError::RuleMember { pattern, .. } if pattern == "app/*"), "{error}");
    bench.set("one", "app/db").await;
    assert_eq!(bench.views("one").await[0].rule, None);
    let views = single().await.unwrap();
    assert_eq!(
        (views[0].status, views[0].rule.as_deref()),
        (Synced, Some("app/*")),
        "it stays, as the rule's"
    );
    assert_eq!(held(&bench), ["app/db"]);
}

#[tokio::test(start_paused = true)]
async fn a_member_goes_with_its_secret_and_comes_back_with_it() {
    let bench = bench(&["app/db", "app/dead"]).await;
    bench.write("app/dead", None).await;
    set(&bench, "app/*", &[]).await;
    assert_eq!(bench.status("one").await, [Synced], "a deleted secret is no member");
    bench.write("app/db", None).await;
    bench.settle().await;
    assert_eq!((held(&bench), bench.views("one").await.len()), (vec![], 0));
    for path in ["app/db", "app/dead"] {
        bench.write(path, VALUE).await;
    }
    bench.settle().await;
    assert_eq!(held(&bench), ["app/db", "app/dead"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_member_leaves_behind_is_not_forgotten() {
    let bench = bench(&["app/db"]).await;
    set(&bench, "app/*", &[]).await;
    bench.remotes.held.lock().unwrap().get_mut("app/db").unwrap().mark = None;
    bench.write("app/db", None).await;
    bench.settle().await;
    let views = bench.views("one").await;
    assert_eq!(views[0].failure.as_ref().unwrap().code, "ownership_lost");
    assert_eq!(held(&bench), ["app/db"]);
}

#[tokio::test(start_paused = true)]
async fn members_that_would_share_a_name_are_told_apart() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"secret_name_template":"{{ .SecretBaseName }}"}"#).await;
    for path in ["a/db", "b/db", "c/other"] {
        bench.write(path, VALUE).await;
    }
    set(&bench, "**", &[]).await;
    let views = bench.views("one").await;
    let collisions: Vec<_> = views
        .iter()
        .filter(|view| view.failure.as_ref().is_some_and(|f| f.code == "name_collision"))
        .collect();
    assert_eq!((views.len(), collisions.len()), (3, 1), "one has it, the other says so");
    assert_eq!(held(&bench), ["db", "other"]);
    // Once the holder goes, the other has it.
    let holder = if collisions[0].path.as_str() == "a/db" { "b/db" } else { "a/db" };
    bench.write(holder, None).await;
    bench.write(collisions[0].path.as_str(), Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    bench.write(collisions[0].path.as_str(), Some(r#"{"a":"3"}"#)).await;
    bench.settle().await;
    assert_eq!(bench.held()[0], ("db".into(), r#"{"a":"3"}"#.into()));
}

#[tokio::test(start_paused = true)]
async fn many_members_deleted_at_once_are_held() {
    let bench = bench(&[]).await;
    set(&bench, "s/*", &[]).await;
    for n in 0..60 {
        bench.write(&format!("s/{n}"), VALUE).await;
    }
    bench.settle().await;
    for n in 0..60 {
        bench.write(&format!("s/{n}"), None).await;
    }
    bench.settle().await;
    assert_eq!(bench.held().len(), 35);
    // A person's own removal of the rule is its own confirmation.
    assert!(remove(&bench, "s/*").await);
    bench.settle().await;
    assert_eq!((bench.held().len(), bench.views("one").await.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_destination_with_rules_is_in_use_and_a_purge_ends_them() {
    let bench = bench(&["app/db"]).await;
    set(&bench, "nothing/*", &[]).await;
    let error = bench.engine.remove_destination(&destination("one"), Removal::Plain).await.unwrap_err();
    assert!(matches!(error, DestinationError::InUse(_)));
    set(&bench, "app/*", &[]).await;
    bench.engine.remove_destination(&destination("one"), Removal::Purge).await.unwrap();
    bench.write("app/new", VALUE).await;
    bench.settle().await;
    assert_eq!(held(&bench), [""; 0]);
    assert!(bench.engine.destination(&destination("one")).await.unwrap().is_none());
    assert_eq!(bench.engine.count_rules().await.unwrap(), 0);
    // Made again under the same name it has none.
    bench.configure("one", "{}").await;
    bench.write("app/new", Some(r#"{"a":"2"}"#)).await;
    bench.settle().await;
    assert_eq!(held(&bench), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn force_takes_rules_along_and_leaves_what_was_written() {
    let bench = bench(&["app/db"]).await;
    set(&bench, "app/*", &[]).await;
    bench.engine.remove_destination(&destination("one"), Removal::Force).await.unwrap();
    assert_eq!((held(&bench).len(), bench.engine.count_rules().await.unwrap()), (1, 0));
    bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_covering() {
    let mut bench = bench(&[]).await;
    for n in 0..300 {
        bench.write(&format!("s/{n}"), VALUE).await;
    }
    // Made by a process that ended before it did anything about it.
    let first = rule("s/*", &[]);
    bench.engine.stop(Duration::ZERO).await;
    let _ = bench.engine.set_rule(&destination("one"), &first).await;
    assert_eq!(bench.held().len(), 0);
    bench.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.settle().await;
    assert_eq!(bench.held().len(), 300);
    assert!(!bench.engine.rules(&destination("one")).await.unwrap().unwrap()[0].covering);
}

#[tokio::test(start_paused = true)]
async fn covering_waits_for_room_in_the_queue() {
    let bench = Bench::with(Settings { concurrency: 4, ..Settings::default() }).await;
    bench.configure("one", "{}").await;
    for n in 0..500 {
        bench.write(&format!("s/{n}"), VALUE).await;
    }
    let mut config = bench.engine.sync_config().await.unwrap();
    config.queue_capacity = 100;
    bench.engine.set_sync_config(&config).await.unwrap();
    *bench.remotes.latency.lock().unwrap() = Duration::from_millis(100);
    let view = bench.engine.set_rule(&destination("one"), &rule("**", &[])).await.unwrap();
    assert!(view.covering);
    let mut most = 0;
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(bench.engine.0.lanes().len());
    }
    assert!(most <= 100 + 64, "{most}");
    bench.settle().await;
    assert_eq!(bench.held().len(), 500);
}

#[tokio::test(start_paused = true)]
async fn secrets_written_while_a_rule_is_made_and_removed_are_never_missed() {
    let bench = bench(&[]).await;
    for round in 0..20 {
        let (one, two) = (rule("s/**", &[]), destination("one"));
        let write = async {
            for n in 0..20 {
                bench.write(&format!("s/{round}/{n}"), VALUE).await;
                tokio::task::yield_now().await;
            }
        };
        let (made, ()) = tokio::join!(bench.engine.set_rule(&two, &one), write);
        made.unwrap();
        bench.settle().await;
        assert_eq!(bench.held().len(), 20 * (round + 1));
        if round % 5 == 4 {
            let write = async {
                for n in 0..20 {
                    bench.write(&format!("s/{round}/{n}"), Some(r#"{"a":"2"}"#)).await;
                }
            };
            let (removed, ()) = tokio::join!(
                bench.engine.remove_rule(&two, Some(&one.accessor), "secret", &one.pattern),
                write
            );
            assert!(removed.unwrap().is_some());
            bench.settle().await;
            assert_eq!((bench.held().len(), bench.views("one").await.len()), (0, 0));
        }
    }
}

/// A write looks at the rules of its own folders only, however many there are.
#[tokio::test(start_paused = true)]
async fn many_members_and_many_rules() {
    let bench = Bench::new().await;
    bench.configure("one", r#"{"secret_name_template":"{{ .SecretPath }}"}"#).await;
    for team in 0..100 {
        set(&bench, &format!("team-{team}/**"), &[]).await;
    }
    let total = 3000;
    for n in 0..total {
        bench.source.put(&format!("big/{}/{n}", n % 100), VALUE);
    }
    bench.engine.set_rule(&destination("one"), &rule("big/**", &[])).await.unwrap();
    for _ in 0..1000 {
        if bench.held().len() == total {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.settle().await;
    assert_eq!(bench.held().len(), total);
    let path = SecretPath::parse("team-77/x").unwrap();
    let rules = bench.engine.mount_rules(&secret("x").accessor).await.unwrap();
    assert_eq!(rules.about(&path).len(), 1);
    assert!(remove(&bench, "big/**").await);
    bench.settle().await;
    assert_eq!(bench.held().len(), 0);
}

/// Found by the simulation: what a worker recorded undid the wish that came while it was at work.
#[tokio::test(start_paused = true)]
async fn what_a_person_sets_while_the_rules_delivery_is_under_way_stays_theirs() {
    let bench = bench(&[]).await;
    set(&bench, "app/*", &[]).await;
    *bench.remotes.latency.lock().unwrap() = Duration::from_millis(500);
    bench.write("app/db", VALUE).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.set("one", "app/db").await[0].status, Synced);
    bench.write("app/db", None).await;
    bench.settle().await;
    let views = bench.views("one").await;
    assert_eq!((views.len(), views[0].status), (1, Unsynced), "it is not the rule's to take away");
}
