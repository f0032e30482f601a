use destinations::Present;

use super::*;

#[tokio::test]
async fn each_scope_has_its_secrets_and_its_key() {
    let bench = Bench::new().await;
    let net = bench.net(Snapshot::default());
    let repository = bench.open(json!({}));
    let environment = bench.open(json!({"environment_name": "prod/eu 1"}));
    let all = bench.organization(json!({"organization_visibility": "all"}));
    let organization = try_open(all, &net, None).unwrap();
    for (destination, scope, value) in [
        (&repository, REPOSITORY, "of the repository"),
        (&environment, ENVIRONMENT, "of the environment"),
        (&organization, ORGANIZATION, "of the organization"),
    ] {
        // A value sealed for another scope's key would not open.
        written(put(destination, "A", value, Expect::Absent).await);
        assert_eq!(bench.value(scope, "A").unwrap(), value);
        assert_eq!(bench.cost(), "key 1, list 1, write 1");
        written(put(destination, "A", "changed", Expect::Ours(None)).await);
        assert_eq!(bench.cost(), "write 1");
        assert!(matches!(look(destination, "A").await, Ok(Remote::Present(_))));
        assert_eq!(look(destination, "B").await, Ok(Remote::Absent));
        bench.cost();
        remove(destination, "A").await.unwrap();
        assert_eq!(bench.cost(), "remove 1");
        assert_eq!(bench.value(scope, "A"), None);
    }
}

#[tokio::test]
async fn an_organizations_secrets_have_their_audience() {
    let bench = Bench::new().await;
    bench.fake.add_repository("acme/web");
    let net = bench.net(Snapshot::default());
    let open = |more: Value| try_open(bench.organization(more), &net, None).unwrap();
    let private = open(json!({"organization_visibility": "private"}));
    written(put(&private, "A", "v", Expect::Absent).await);
    let there = bench.fake.secret(ORGANIZATION, "A").unwrap();
    assert_eq!((there.visibility.as_deref(), there.repositories.len()), (Some("private"), 0));
    let selected =
        json!({"organization_visibility": "selected", "selected_repository_names": ["web", "app"]});
    let selected = open(selected);
    bench.cost();
    written(put(&selected, "A", "v", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "key 1, repository 2, write 1");
    let there = bench.fake.secret(ORGANIZATION, "A").unwrap();
    let ids = ["acme/web", "acme/app"].map(|name| bench.fake.repository(name).unwrap());
    assert_eq!((there.visibility.as_deref(), there.repositories), (Some("selected"), ids.to_vec()));
    written(put(&selected, "A", "w", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "write 1", "numbers are remembered");
    let unknown =
        open(json!({"organization_visibility": "selected", "selected_repository_names": ["app", "no"]}));
    let refused = fault(put(&unknown, "A", "v", Expect::Ours(None)).await);
    assert_eq!(refused.code, "repository_not_found");
    assert!(refused.message.contains("selected_repository_names[1]"));
    bench.fake.add_repository("acme/no");
    written(put(&unknown, "A", "v", Expect::Ours(None)).await);
}

#[tokio::test]
async fn a_strangers_secret_is_told_from_a_free_name() {
    let bench = Bench::new().await;
    bench.fake.plant(REPOSITORY, "THEIRS", "v");
    let destination = bench.open(json!({}));
    let there = put(&destination, "THEIRS", "w", Expect::Absent).await;
    let Ok(PutOutcome::Taken(Present { mark: None, revision: Some(revision), unreadable: false, .. })) =
        there
    else {
        panic!("{there:?}");
    };
    assert_eq!(
        look(&destination, "THEIRS").await,
        Ok(Remote::Present(Present { revision: Some(revision), ..Present::default() }))
    );
    assert_eq!(bench.value(REPOSITORY, "THEIRS").unwrap(), "v");
    written(put(&destination, "THEIRS", "w", Expect::Anything).await);
    assert_eq!(bench.value(REPOSITORY, "THEIRS").unwrap(), "w");

    // A token that may write but not look: the caller decides (decisions 6).
    bench.fake.deny("list", true);
    bench.fake.deny("look", true);
    let blind = bench.open(json!({}));
    let there = put(&blind, "A", "v", Expect::Absent).await;
    assert!(matches!(there, Ok(PutOutcome::Taken(Present { unreadable: true, .. }))), "{there:?}");
    written(put(&blind, "A", "v", Expect::Anything).await);
    assert_eq!(look(&blind, "A").await, Ok(Remote::CannotTell));
    let names = ["A", "B"].map(RemoteName::from_kind);
    assert_eq!(blind.look_many(&names).await, [Ok(Remote::CannotTell), Ok(Remote::CannotTell)]);
}

#[tokio::test]
async fn many_first_writes_share_one_list() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let names: Vec<RemoteName> = (0..30).map(|n| RemoteName::from_kind(format!("N{n}"))).collect();
    let seen = destination.look_many(&names).await;
    assert!(seen.iter().all(|seen| *seen == Ok(Remote::Absent)));
    for name in &names {
        written(put(&destination, name.as_str(), "v", Expect::Absent).await);
    }
    assert_eq!(bench.cost(), "key 1, list 1, write 30");
    // It is not believed for long.
    bench.fake.plant(REPOSITORY, "LATER", "v");
    bench.advance(Duration::from_secs(16)).await;
    assert!(matches!(put(&destination, "LATER", "w", Expect::Absent).await, Ok(PutOutcome::Taken(_))));
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let bench = Bench::new().await;
    for n in 0..250 {
        bench.fake.plant(ORGANIZATION, &format!("N{n:03}"), "v");
    }
    let all = bench.organization(json!({"organization_visibility": "all"}));
    let destination = try_open(all, &bench.net(Snapshot::default()), None).unwrap();
    let names = ["N000", "N249", "N250"].map(RemoteName::from_kind);
    let seen = destination.look_many(&names).await;
    assert!(
        matches!(seen[..], [Ok(Remote::Present(_)), Ok(Remote::Present(_)), Ok(Remote::Absent)]),
        "{seen:?}"
    );
    assert_eq!(bench.cost(), "list 3");
}

/// Told before the write, and in time again once there is room.
#[tokio::test]
async fn a_full_scope_is_told_before_the_write() {
    let bench = Bench::new().await;
    let net = bench.net(Snapshot::default());
    let all = bench.organization(json!({"organization_visibility": "all"}));
    for (destination, scope, most) in [
        (bench.open(json!({})), REPOSITORY, 100),
        (bench.open(json!({"environment_name": "prod/eu 1"})), ENVIRONMENT, 100),
        (try_open(all, &net, None).unwrap(), ORGANIZATION, 1000),
    ] {
        for n in 0..most - 1 {
            bench.fake.plant(scope, &format!("N{n}"), "v");
        }
        written(put(&destination, "LAST", "v", Expect::Absent).await);
        bench.cost();
        let refused = fault(put(&destination, "ONE_MORE", "v", Expect::Absent).await);
        assert_eq!((refused.code, refused.blame), ("quota_exceeded", model::Blame::Client));
        assert!(!bench.cost().contains("write"));
        written(put(&destination, "LAST", "w", Expect::Ours(None)).await);
        written(put(&destination, "N0", "w", Expect::Anything).await);
        bench.fake.take_away(scope, "N1");
        written(put(&destination, "ONE_MORE", "v", Expect::Absent).await);
    }
}

#[tokio::test]
async fn a_stale_key_is_fetched_anew_once() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    bench.cost();
    bench.fake.rotate_key(REPOSITORY);
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "key 1, write 2");
    assert_eq!(bench.value(REPOSITORY, "A").unwrap(), "2");
    // Eight at once meet the next change: one of them fetches for all.
    bench.fake.rotate_key(REPOSITORY);
    let writes = (0..8).map(|n| {
        let destination = &destination;
        async move { put(destination, &format!("N{n}"), "v", Expect::Ours(None)).await }
    });
    futures_util::future::join_all(writes).await.into_iter().for_each(|outcome| drop(written(outcome)));
    let cost = bench.cost();
    assert!(cost.starts_with("key 1, write "), "{cost}");
    // Used for an hour, then asked for again.
    bench.advance(Duration::from_secs(3500)).await;
    written(put(&destination, "A", "3", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "write 1");
    bench.advance(Duration::from_secs(200)).await;
    written(put(&destination, "A", "4", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "key 1, write 1");
}

#[tokio::test]
async fn bytes_are_written_as_base64_text_and_sizes_count_what_is_written() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let bytes = SecretBytes::new(vec![0, 159, 146, 150]);
    written(send(&destination, "A", &bytes, Encoding::Binary, Expect::Absent).await);
    assert_eq!(bench.value(REPOSITORY, "A").unwrap(), "AJ+Slg==");
    let large = SecretBytes::new(vec![7; 48 * 1024]);
    written(send(&destination, "A", &large, Encoding::Text, Expect::Ours(None)).await);
    let refused = fault(send(&destination, "A", &large, Encoding::Binary, Expect::Ours(None)).await);
    assert_eq!(refused.code, "value_too_large");
}

#[tokio::test]
async fn a_renamed_repository_is_followed_on_the_same_host() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    bench.fake.rename_repository("acme/app", "acme/renamed");
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    assert_eq!(bench.value("repos/acme/renamed", "A").unwrap(), "2");
    assert!(matches!(look(&destination, "A").await, Ok(Remote::Present(_))));
    remove(&destination, "A").await.unwrap();
    assert_eq!(bench.value("repos/acme/renamed", "A"), None);
}

/// Removing is done when nothing is there; GitHub says the same of a repository that is not there.
#[tokio::test]
async fn removing_what_is_gone_makes_sure_that_the_repository_is_there() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    remove(&destination, "A").await.unwrap();
    assert_eq!(bench.cost(), "key 1, remove 1");
    remove(&destination, "B").await.unwrap();
    assert_eq!(bench.cost(), "remove 1", "it was seen a moment ago");
    bench.advance(Duration::from_secs(700)).await;
    bench.fake.remove_scope(REPOSITORY);
    for refused in [fault(remove(&destination, "A").await), fault(look(&destination, "A").await)] {
        assert_eq!((refused.code, refused.blame), ("target_not_found", model::Blame::Client));
    }
    bench.fake.add_scope(REPOSITORY);
    remove(&destination, "A").await.unwrap();
}

#[tokio::test]
async fn writes_of_one_token_go_one_at_a_time() {
    let bench = Bench::new().await;
    let (one, two) = (bench.open(json!({})), bench.open(json!({"environment_name": "prod/eu 1"})));
    let writes = (0..10).map(|n| {
        let destination = if n % 2 == 0 { &one } else { &two };
        async move { put(destination, &format!("N{n}"), "v", Expect::Ours(None)).await }
    });
    futures_util::future::join_all(writes).await.into_iter().for_each(|outcome| drop(written(outcome)));
    assert_eq!(bench.fake.most_writes_at_once(), 1);
    // Another token need not wait.
    bench.fake.allow_token("ghp_another", true);
    let other = bench.open(json!({"access_token": "ghp_another"}));
    let slow = || destinations::fakes::Trouble::Slow(Duration::from_millis(50));
    bench.fake.trouble("write", [slow(), slow()]);
    let (a, b) =
        tokio::join!(put(&one, "A", "v", Expect::Ours(None)), put(&other, "B", "v", Expect::Ours(None)));
    written(a);
    written(b);
    assert_eq!(bench.fake.most_writes_at_once(), 2);
}
