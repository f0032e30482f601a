use destinations::{Present, Remote, fakes::Trouble};

use super::*;

async fn look(destination: &Arc<dyn Destination>, name: &str) -> Remote {
    destination.look(&RemoteName::from_kind(name)).await.unwrap()
}

fn taken(outcome: Result<PutOutcome, Fault>) -> Present {
    match outcome {
        Ok(PutOutcome::Taken(present)) => present,
        other => panic!("not taken: {other:?}"),
    }
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    let bench = Bench::new().await;
    let net = bench.net(NetSettings::default(), Snapshot::default());
    for (settings, field) in [
        (json!({"access_key_id": "AKIA"}), "secret_access_key"),
        (json!({"secret_access_key": "s"}), "access_key_id"),
        (json!({"access_key_id": "AKIA/x", "secret_access_key": "s"}), "access_key_id"),
        (json!({"region": "us-east-1.evil.example"}), "region"),
        (json!({"role_arn": "sync"}), "role_arn"),
        (json!({"external_id": "a b"}), "external_id"),
        (json!({"identity_token_audience": "x"}), "identity_token_audience"),
        (json!({"identity_token_key": "x"}), "identity_token_key"),
        (json!({"identity_token_ttl": 3600}), "identity_token_ttl"),
        (json!({"recovery_window_in_days": 6}), "recovery_window_in_days"),
        (json!({"recovery_window_in_days": 31}), "recovery_window_in_days"),
        (json!({"region": "eu-west-1", "replica_regions": {"eu-west-1": ""}}), "replica_regions"),
        (json!({"replica_regions": {"no region": ""}}), "replica_regions"),
        (json!({"custom_tags": {"aws:x": ""}}), "custom_tags[0]"),
        (json!({"custom_tags": {"keyferry:store": ""}}), "custom_tags[0]"),
        (json!({"custom_tags": {"a;b": ""}}), "custom_tags[0]"),
    ] {
        let fault = try_open(settings.clone(), &net).err().unwrap_or_else(|| panic!("{settings}"));
        assert_eq!(fault.field, field, "{settings}");
    }
    for settings in [
        json!({}),
        json!({"identity_token_ttl": 0, "recovery_window_in_days": 0}),
        json!({"replica_regions": ["eu-west-1=", "eu-west-2=arn:aws:kms:x"], "custom_tags": {"Team é": "a b"}}),
    ] {
        assert!(try_open(settings.clone(), &net).is_ok(), "{settings}");
    }
}

#[tokio::test]
async fn every_kind_of_work_costs_what_it_should() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    let handle = made.handle.as_deref();
    let cost = || {
        let calls = bench.fake.all_calls();
        bench.fake.forget_calls();
        calls
    };
    assert_eq!(cost(), 1);
    written(put(&destination, "a", "w", 2, Expect::Ours(handle)).await);
    assert_eq!(cost(), 1);
    // The same first write again, and another one: create; create, look, put.
    written(put(&destination, "a", "w", 2, Expect::Absent).await);
    assert_eq!(cost(), 1);
    written(put(&destination, "a", "x", 3, Expect::Absent).await);
    assert_eq!(cost(), 3);
    bench.fake.plant(REGION, "theirs", "v", &[]);
    taken(put(&destination, "theirs", "w", 2, Expect::Absent).await);
    assert_eq!(cost(), 2);
    let wary = bench.open(json!({"ownership_check": "always"}));
    written(put(&wary, "a", "y", 4, Expect::Ours(handle)).await);
    assert_eq!(cost(), 2);
    look(&destination, "a").await;
    assert_eq!(cost(), 1);
    remove(&destination, "a", handle, true).await.unwrap();
    assert_eq!(cost(), 2);
    remove(&destination, "a", handle, true).await.unwrap();
    assert_eq!(cost(), 1);
}

#[tokio::test]
async fn values_are_read_by_the_cheapest_means_that_is_allowed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let names: Vec<_> = (0..45).map(|n| RemoteName::from_kind(format!("n{n}"))).collect();
    for name in &names[..44] {
        bench.fake.plant(REGION, name.as_str(), name.as_str(), &[]);
    }
    let read = async |expected: &[(&str, usize)]| {
        bench.fake.forget_calls();
        let read = destination.read_many(&names).await;
        for (name, read) in names.iter().zip(&read) {
            match read {
                Ok(Held::Value(value, Encoding::Text)) => {
                    assert_eq!(value.expose(), name.as_str().as_bytes());
                }
                Ok(Held::Nothing) => assert_eq!(name.as_str(), "n44"),
                other => panic!("{name}: {other:?}"),
            }
        }
        for (operation, calls) in expected {
            assert_eq!(bench.fake.calls(operation), *calls, "{operation}");
        }
    };
    read(&[("BatchGetSecretValue", 3), ("GetSecretValue", 0)]).await;
    bench.fake.deny("BatchGetSecretValue", true);
    read(&[("BatchGetSecretValue", 3), ("GetSecretValue", 45)]).await;
    bench.fake.deny("GetSecretValue", true);
    let denied = destination.read_many(&names[..2]).await;
    assert!(denied.into_iter().all(|read| code(read) == "access_denied"));
    bench.fake.deny("BatchGetSecretValue", false);
    bench.fake.trouble("BatchGetSecretValue", [Trouble::Refuse("InternalServiceError", 500)]);
    let down = destination.read_many(&names[..2]).await;
    assert!(down.into_iter().all(|read| code(read) == "provider_down"), "not taken for absence");
}

/// The policy Vault's documentation grants: no reading of any sort (decisions 6).
#[tokio::test]
async fn without_permission_to_look_it_works_as_vault_does() {
    let bench = Bench::new().await;
    bench.fake.deny("DescribeSecret", true);
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    let handle = made.handle.as_deref();
    assert_eq!(look(&destination, "a").await, Remote::CannotTell);
    written(put(&destination, "a", "w", 2, Expect::Ours(handle)).await);
    written(send(&destination, "a", "w", 2, Expect::Ours(handle), Some(&[])).await);
    written(put(&destination, "a", "x", 3, Expect::Ours(None)).await);
    assert_eq!(bench.fake.view(REGION, "a").unwrap().value.unwrap().expose(), b"x");

    bench.fake.plant(REGION, "theirs", "v", &[]);
    assert!(taken(put(&destination, "theirs", "w", 1, Expect::Absent).await).unreadable);
    written(put(&destination, "theirs", "w", 1, Expect::Anything).await);
    let there = bench.fake.view(REGION, "theirs").unwrap();
    assert!(there.value.unwrap().expose() == b"w" && there.tags.contains_key("keyferry:store"));

    let wary = bench.open(json!({"ownership_check": "always"}));
    assert_eq!(code(put(&wary, "a", "y", 4, Expect::Ours(handle)).await), "cannot_look");
    assert_eq!(code(remove(&destination, "a", None, true).await), "cannot_look");
    remove(&destination, "a", handle, true).await.unwrap();
    assert!(bench.fake.view(REGION, "a").unwrap().deleted);
    written(put(&destination, "a", "z", 5, Expect::Ours(handle)).await);
    assert!(!bench.fake.view(REGION, "a").unwrap().deleted);
    remove(&destination, "theirs", None, false).await.unwrap();
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let bench = Bench::new().await;
    bench.fake.deny("CreateSecret", true);
    let fault = put(&bench.open(json!({})), "a", "v", 1, Expect::Absent).await.unwrap_err();
    assert_eq!((fault.code, fault.http_status), ("access_denied", Some(400)));
    assert!(fault.message.contains("secretsmanager:CreateSecret"), "{fault}");
}

#[tokio::test]
async fn keys_are_used_changed_and_missed() {
    let bench = Bench::new().await;
    let key = |key: &str| bench.open(json!({ "kms_key_id": key }));
    let made = create(&key("alias/one"), "a").await;
    let handle = made.handle.as_deref();
    assert_eq!(bench.fake.view(REGION, "a").unwrap().kms_key_id.as_deref(), Some("alias/one"));
    written(send(&key("alias/two"), "a", "v", 1, Expect::Ours(handle), Some(&[])).await);
    assert_eq!(bench.fake.view(REGION, "a").unwrap().kms_key_id.as_deref(), Some("alias/two"));
    written(send(&bench.open(json!({})), "a", "v", 1, Expect::Ours(handle), Some(&[])).await);
    assert_eq!(bench.fake.view(REGION, "a").unwrap().kms_key_id, None);
    assert_eq!(bench.fake.view(REGION, "a").unwrap().versions, 1);

    bench.fake.break_kms_key("alias/broken");
    assert_eq!(code(put(&key("alias/broken"), "b", "v", 1, Expect::Absent).await), "kms_failed");
}

#[tokio::test]
async fn replicas_come_follow_and_go() {
    let bench = Bench::new().await;
    let two = bench.open(json!({"replica_regions": {"eu-west-1": "", "eu-west-2": "arn:aws:kms:k"}}));
    let made = create(&two, "a").await;
    let handle = made.handle.as_deref();
    assert_eq!(bench.fake.view(REGION, "a").unwrap().replicas, ["eu-west-1", "eu-west-2"]);
    assert_eq!(bench.fake.view("eu-west-2", "a").unwrap().kms_key_id.as_deref(), Some("arn:aws:kms:k"));

    let others = bench.open(json!({"replica_regions": {"eu-west-2": "arn:aws:kms:l", "eu-west-3": ""}}));
    written(send(&others, "a", "v", 1, Expect::Ours(handle), Some(&[])).await);
    assert_eq!(bench.fake.view(REGION, "a").unwrap().replicas, ["eu-west-2", "eu-west-3"]);
    assert_eq!(bench.fake.view("eu-west-2", "a").unwrap().kms_key_id.as_deref(), Some("arn:aws:kms:l"));
    bench.fake.forget_calls();
    written(send(&others, "a", "v", 1, Expect::Ours(handle), Some(&[])).await);
    assert_eq!(bench.fake.all_calls(), 1, "nothing was left to bring in line");

    remove(&others, "a", handle, true).await.unwrap();
    assert!(bench.fake.view(REGION, "a").unwrap().deleted);
    assert!(bench.fake.view("eu-west-3", "a").is_none());
}

#[tokio::test]
async fn replicas_that_are_slow_to_go_delay_the_removal() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"replica_regions": {"eu-west-1": ""}}));
    let made = create(&destination, "a").await;
    // The removal of replicas is accepted, and has not happened yet.
    bench.fake.trouble("RemoveRegionsFromReplication", [Trouble::Garbage("{}", 200)]);
    let refused = remove(&destination, "a", made.handle.as_deref(), true).await;
    assert_eq!(code(refused), "replicas_leaving");
    remove(&destination, "a", made.handle.as_deref(), true).await.unwrap();
}

#[tokio::test]
async fn what_belongs_to_another_service_is_never_touched() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant(REGION, "rds", "v", &[]);
    bench.fake.give_to_service(REGION, "rds", "rds");
    for expect in [Expect::Absent, Expect::Anything, Expect::Ours(None)] {
        assert!(taken(put(&destination, "rds", "w", 1, expect).await).managed_by_provider);
    }
    assert_eq!(code(remove(&destination, "rds", None, false).await), "managed_by_provider");
    assert_eq!(bench.fake.view(REGION, "rds").unwrap().value.unwrap().expose(), b"v");
}

#[tokio::test]
async fn vaults_own_entries_are_recognised() {
    let bench = Bench::new().await;
    bench.fake.plant(REGION, "vault/kv/a", "v", &[("hashicorp:vault", "")]);
    let there = taken(put(&bench.open(json!({})), "vault/kv/a", "w", 1, Expect::Absent).await);
    assert!(there.vaults && there.mark.is_none());
}

#[tokio::test]
async fn the_recovery_window_is_what_was_configured() {
    let bench = Bench::new().await;
    let day = Duration::from_secs(86_400);
    for (days, kept) in [(None, 30), (Some(7), 7)] {
        let settings = days.map_or(json!({}), |days| json!({ "recovery_window_in_days": days }));
        let destination = bench.open(settings);
        create(&destination, "a").await;
        remove(&destination, "a", None, true).await.unwrap();
        bench.advance(day * (kept - 1));
        assert!(bench.fake.view(REGION, "a").is_some());
        bench.advance(day);
        assert!(bench.fake.view(REGION, "a").is_none());
    }
    let destination = bench.open(json!({"recovery_window_in_days": 0}));
    create(&destination, "a").await;
    remove(&destination, "a", None, true).await.unwrap();
    assert!(bench.fake.view(REGION, "a").is_none());
}

#[tokio::test]
async fn a_list_that_is_behind_is_not_believed_about_what_is_missing() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let lag = Duration::from_secs(300);
    bench.fake.set_list_lag(lag);
    let names: Vec<RemoteName> = (0..120).map(|n| RemoteName::from_kind(format!("n{n:03}"))).collect();
    for name in &names {
        create(&destination, name.as_str()).await;
    }
    let all_there = |seen: Vec<Result<Remote, Fault>>| {
        seen.len() == names.len() && seen.iter().all(|one| matches!(one, Ok(Remote::Present(_))))
    };
    assert!(all_there(destination.look_many(&names).await));
    assert_eq!(bench.fake.calls("DescribeSecret"), 120);

    bench.advance(lag + Duration::from_secs(1));
    bench.fake.forget_calls();
    assert!(all_there(destination.look_many(&names).await));
    assert_eq!((bench.fake.calls("ListSecrets"), bench.fake.calls("DescribeSecret")), (2, 0));

    bench.fake.deny("ListSecrets", true);
    assert!(all_there(destination.look_many(&names).await));
}

#[tokio::test]
async fn success_that_cannot_be_read_is_our_problem_and_uncertain() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.trouble("CreateSecret", [Trouble::Garbage("<html>", 200)]);
    let fault = put(&destination, "a", "v", 1, Expect::Absent).await.unwrap_err();
    assert_eq!(
        (fault.code, fault.blame, fault.ambiguous),
        ("answer_unreadable", model::Blame::Internal, true)
    );
}

#[tokio::test]
async fn a_name_that_aws_has_not_let_go_of_is_tried_again() {
    let bench = Bench::new().await;
    bench.fake.trouble("CreateSecret", [Trouble::Refuse("ResourceExistsException", 400)]);
    let destination = bench.open(json!({}));
    let fault = put(&destination, "a", "v", 1, Expect::Absent).await.unwrap_err();
    assert_eq!((fault.code, fault.retry), ("name_busy", destinations::Retry::Backoff));
    create(&destination, "a").await;
}

#[tokio::test]
async fn too_many_versions_wait_for_hours() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    let mut last = Ok(PutOutcome::Taken(Present::default()));
    for write in 2..=120 {
        last =
            put(&destination, "a", &format!("v{write}"), write, Expect::Ours(made.handle.as_deref())).await;
    }
    let fault = last.unwrap_err();
    assert_eq!((fault.code, fault.retry), ("quota_exceeded", destinations::Retry::Slowly));
    bench.advance(Duration::from_secs(86_400));
    written(put(&destination, "a", "next day", 121, Expect::Ours(made.handle.as_deref())).await);
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let bench = Bench::new().await;
    create(
        &bench.open(json!({"endpoint": format!("{}/a b/gateway/", bench.fake.url()).replace(' ', "%20")})),
        "a",
    )
    .await;
}
