use destinations::{Remote, fakes::ListShape};

use super::*;

async fn look(destination: &Arc<dyn Destination>, name: &str) -> Remote {
    destination.look(&RemoteName::from_kind(name)).await.unwrap()
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let bench = Bench::new().await;
    for (field, value, culprit) in [
        ("access_token", json!(""), "access_token"),
        ("access_token", json!("a b"), "access_token"),
        ("project_id", json!(""), "project_id"),
        ("project_id", json!("../../v2/user"), "project_id"),
        ("project_id", json!(".."), "project_id"),
        ("team_id", json!("a&b=c"), "team_id"),
        ("deployment_environments", json!([]), "deployment_environments"),
        ("deployment_environments", json!(["production", "staging"]), "deployment_environments[1]"),
        ("deployment_environments", json!("production,Preview"), "deployment_environments[1]"),
        ("custom_tags", json!({"team": "a"}), "custom_tags"),
        ("endpoint", json!("ftp://x"), "endpoint"),
    ] {
        let mut settings = bench.settings(&ALL);
        settings[field] = value.clone();
        let fault = try_open(settings, &bench.net()).err().unwrap_or_else(|| panic!("{field} {value}"));
        assert_eq!(fault.field, culprit, "{value}");
    }
    for environments in [json!(["production", "production"]), json!("development, preview")] {
        let mut settings = bench.settings(&ALL);
        settings["deployment_environments"] = environments;
        assert!(try_open(settings, &bench.net()).is_ok());
    }
}

/// The sample of the product's API page.
#[test]
fn what_was_configured_is_shown_in_its_order() {
    let body = json!({"access_token": "<token>>", "project_id": "prj_12345",
        "deployment_environments": ["development", "preview", "production"]});
    let (config, unknown) = Config::read(kind(), &SecretJson::new(body), Mode::Replace, None).unwrap();
    assert!(unknown.is_empty());
    let shown = Value::Object(config.shown(kind()));
    let expected = json!({"access_token": "*****", "project_id": "prj_12345",
        "deployment_environments": ["development", "preview", "production"]});
    assert_eq!(shown, expected);
    assert_eq!(config.granularity(kind()), model::Granularity::SecretKey);
}

#[test]
fn names_are_adapted_or_refused() {
    let name = |rendered: &str| kind().remote_name(rendered);
    assert_eq!(name("VAULT_KV_1_APP/DB-URL").unwrap().as_str(), "VAULT_KV_1_APP_DB_URL");
    assert_eq!(name("_x").unwrap().as_str(), "_x");
    for bad in ["1x", "TZ", "AWS_SECRET_KEY", "LAMBDA_TASK_ROOT", ""] {
        assert_eq!(fault(name(bad)).code, "illegal_name", "{bad}");
    }
    // Allowed, says Vercel's own page of reserved names.
    for good in ["AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        assert_eq!(name(good).unwrap().as_str(), good);
    }
}

#[tokio::test]
async fn environments_are_divided_among_records_by_type() {
    let bench = Bench::new().await;
    for (name, environments, expected) in [
        ("A", &ALL[..], &["encrypted development=v", "sensitive preview+production=v"][..]),
        ("B", &["production"], &["sensitive production=v"]),
        ("C", &["preview", "production"], &["sensitive preview+production=v"]),
        ("D", &["development"], &["encrypted development=v"]),
        ("E", &["preview", "development"], &["encrypted development=v", "sensitive preview=v"]),
    ] {
        create(&bench.open(environments), name).await;
        assert_eq!(bench.state(name), expected);
        assert!(bench.fake.seen(name).iter().all(|record| record.comment.contains("keyferry:1:")));
    }
}

#[tokio::test]
async fn every_kind_of_work_costs_what_it_should() {
    let bench = Bench::new().await;
    // A whole batch of new entries: one call, whatever the number of records.
    let destination = bench.open(&ALL);
    let names: Vec<String> = (0..25).map(|n| format!("N{n}")).collect();
    let writings: Vec<Writing<'_>> = names.iter().map(|name| writing(name, "v", 1, Expect::Absent)).collect();
    let receipts: Vec<Receipt> = put_all(&destination, &writings).await.into_iter().map(written).collect();
    assert_eq!((bench.cost(), bench.fake.names().len()), (1, 50));
    // A batch of changes: one list, one upsert.
    let handle = |n: usize| Expect::Ours(receipts[n].handle.as_deref());
    let writings: Vec<Writing<'_>> =
        names.iter().enumerate().map(|(n, name)| writing(name, "w", 2, handle(n))).collect();
    let again: Vec<Receipt> = put_all(&destination, &writings).await.into_iter().map(written).collect();
    assert_eq!(bench.fake.calls("list"), 1);
    assert_eq!(bench.cost(), 2);
    for (n, name) in names.iter().enumerate() {
        assert_eq!(again[n].handle, receipts[n].handle);
        assert_ne!(again[n].revision, receipts[n].revision);
        assert_eq!(bench.state(name), ["encrypted development=w", "sensitive preview+production=w"]);
    }
    // One change: each record by its id.
    written(put(&destination, "N0", "x", 3, handle(0)).await);
    assert_eq!((bench.fake.calls("edit"), bench.cost()), (2, 2));
    // The same first write again, and another one; a stranger's name.
    written(put(&destination, "N0", "x", 3, Expect::Absent).await);
    assert_eq!(bench.cost(), 2);
    written(put(&destination, "N0", "y", 4, Expect::Absent).await);
    assert_eq!(bench.cost(), 3);
    bench.fake.plant(json!({"key": "T", "value": "t", "target": ["production"]}));
    taken(put(&destination, "T", "y", 4, Expect::Absent).await);
    assert_eq!(bench.cost(), 3, "create, list, and taking back what was made beside it");
    // Looks at any number, and removals of any number.
    let names: Vec<RemoteName> = names.into_iter().map(RemoteName::from_kind).collect();
    assert_eq!(destination.look_many(&names).await.len(), 25);
    assert_eq!(bench.cost(), 1);
    assert!(destination.look_many(&[]).await.is_empty() && bench.cost() == 0);
    let owner = mark(0);
    let removes: Vec<Remove<'_>> =
        names.iter().map(|name| Remove { name, handle: None, owner: Some(&owner) }).collect();
    assert!(destination.remove_many(&removes).await.iter().all(Result::is_ok));
    assert_eq!(bench.cost(), 2);
    assert_eq!(bench.fake.names(), ["T"]);

    let single = bench.open(&["production"]);
    let receipt = create(&single, "A").await;
    assert_eq!(bench.cost(), 1);
    written(put(&single, "A", "w", 2, Expect::Ours(receipt.handle.as_deref())).await);
    assert_eq!(bench.cost(), 1);
    remove(&single, "A", receipt.handle.as_deref(), true).await.unwrap();
    assert_eq!(bench.cost(), 2);
}

#[tokio::test]
async fn a_batch_leaves_strangers_alone_and_serves_the_others() {
    let bench = Bench::new().await;
    let destination = bench.open(&ALL);
    let ours = create(&destination, "OURS").await;
    let lost = create(&destination, "LOST").await;
    bench.fake.take_away("LOST");
    bench.fake.plant(json!({"key": "LOST", "value": "theirs", "target": ["development"]}));
    bench.fake.plant(json!({"key": "THEIRS", "value": "theirs", "target": ["preview"]}));
    let writings = [
        writing("NEW", "w", 2, Expect::Absent),
        writing("THEIRS", "w", 2, Expect::Absent),
        writing("OURS", "w", 2, Expect::Ours(ours.handle.as_deref())),
        writing("LOST", "w", 2, Expect::Ours(lost.handle.as_deref())),
    ];
    let mut outcomes = put_all(&destination, &writings).await.into_iter();
    let mut next = || outcomes.next().unwrap();
    written(next());
    assert_eq!(taken(next()).mark, None);
    assert_eq!(written(next()).handle, ours.handle);
    assert_eq!(taken(next()).mark, None);
    let both = ["encrypted development=w", "sensitive preview+production=w"];
    assert_eq!(
        (bench.state("NEW"), bench.state("OURS")),
        (both.map(Into::into).into(), both.map(Into::into).into())
    );
    // Nothing of ours is left beside what could not be written.
    assert_eq!(bench.state("THEIRS"), ["encrypted preview=theirs"]);
    assert_eq!(bench.state("LOST"), ["encrypted development=theirs"]);
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_told() {
    let bench = Bench::new().await;
    bench.fake.plant(json!({"key": "A", "value": "theirs", "target": ["development"]}));
    bench.fake.deny("remove", true);
    let fault = fault(put(&bench.open(&ALL), "A", "w", 1, Expect::Absent).await);
    assert_eq!((fault.code, fault.ambiguous), ("access_denied", true));
    bench.fake.deny("remove", false);
    taken(put(&bench.open(&ALL), "A", "w", 1, Expect::Absent).await);
    // It is known to be ours, so the removal of the association takes it away.
    remove(&bench.open(&ALL), "A", None, true).await.unwrap();
    assert_eq!(bench.state("A"), ["encrypted development=theirs"]);
}

#[tokio::test]
async fn other_environments_are_carried_to_what_is_there() {
    let bench = Bench::new().await;
    let receipt = create(&bench.open(&["production"]), "A").await;
    let mut handle = receipt.handle;
    for (environments, expected) in [
        (&ALL[..], &["encrypted development=v", "sensitive preview+production=v"][..]),
        (&["preview", "development"], &["encrypted development=v", "sensitive preview=v"]),
        (&["development"], &["encrypted development=v"]),
        (&["production"], &["sensitive production=v"]),
    ] {
        let carry = writing("A", "v", 1, Expect::Ours(handle.as_deref())).carrying(&[]);
        let mut outcomes = put_all(&bench.open(environments), &[carry]).await;
        assert_eq!(bench.state("A"), expected, "{environments:?}");
        handle = written(outcomes.pop().unwrap()).handle;
    }
    // After a look that finds none of the new environments, too.
    let carry = writing("A", "v", 1, Expect::Absent).carrying(&[]);
    written(put_all(&bench.open(&["preview"]), &[carry]).await.pop().unwrap());
    assert_eq!(bench.state("A"), ["sensitive preview=v"]);
}

#[tokio::test]
async fn what_is_taken_over_is_taken_no_further_than_we_reach() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production", "preview"]);
    for (name, kind, target, expected) in [
        ("A", "encrypted", &["production", "preview"][..], &["sensitive preview+production=w"][..]),
        ("B", "sensitive", &["preview", "production"], &["sensitive preview+production=w"]),
        ("C", "encrypted", &ALL, &["encrypted development=theirs", "sensitive preview+production=w"]),
        ("D", "plain", &["preview"], &["sensitive preview+production=w"]),
    ] {
        bench.fake.plant(json!({"key": name, "value": "theirs", "type": kind, "target": target}));
        written(put(&destination, name, "w", 1, Expect::Anything).await);
        assert_eq!(bench.state(name), expected, "{name}");
    }
    // Variables of one branch, and of environments of the project's own, are others.
    bench.fake.plant(json!({"key": "E", "value": "b", "target": ["preview"], "gitBranch": "feature"}));
    bench.fake.plant(json!({"key": "E", "value": "c", "customEnvironmentIds": ["env_staging"]}));
    create(&destination, "E").await;
    assert_eq!(bench.state("E"), ["encrypted =c", "encrypted preview=b", "sensitive preview+production=v"]);
    remove(&destination, "E", None, false).await.unwrap();
    assert_eq!(bench.state("E"), ["encrypted =c", "encrypted preview=b"]);
    // By order of a person, and no further than we reach.
    remove(&destination, "C", None, false).await.unwrap();
    assert_eq!(bench.state("C"), ["encrypted development=theirs"]);
}

#[tokio::test]
async fn what_an_integration_keeps_is_never_touched() {
    let bench = Bench::new().await;
    let destination = bench.open(&ALL);
    bench
        .fake
        .plant(json!({"key": "A", "value": "v", "target": ["production"], "configurationId": "icfg_1"}));
    for expect in [Expect::Absent, Expect::Anything, Expect::Ours(None)] {
        assert!(taken(put(&destination, "A", "w", 1, expect).await).managed_by_provider);
    }
    assert_eq!(fault(remove(&destination, "A", None, false).await).code, "managed_by_provider");
    assert_eq!(bench.state("A"), ["encrypted production=v"]);
}

#[tokio::test]
async fn a_value_changed_by_hand_is_told_by_its_revision() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production"]);
    let receipt = create(&destination, "A").await;
    let id = bench.fake.seen("A")[0].id.clone();
    bench.fake.change(&id, &json!({"value": "by hand"}));
    let Remote::Present(there) = look(&destination, "A").await else { panic!() };
    assert!(there.mark.is_some() && there.handle == receipt.handle && there.revision != receipt.revision);
    // A comment that was rewritten leaves it ours by its id, and is put right by the next write.
    bench.fake.change(&id, &json!({"comment": "mine"}));
    written(put(&destination, "A", "w", 2, Expect::Ours(receipt.handle.as_deref())).await);
    assert!(bench.fake.seen("A")[0].comment.contains("keyferry:1:"));
    // One that was renamed is named back.
    bench.fake.change(&id, &json!({"key": "B"}));
    written(put(&destination, "A", "x", 3, Expect::Ours(receipt.handle.as_deref())).await);
    assert_eq!(
        (bench.fake.names(), bench.state("A")),
        (vec!["A".to_owned()], vec!["sensitive production=x".to_owned()])
    );
}

#[tokio::test]
async fn half_an_entry_is_made_whole() {
    let bench = Bench::new().await;
    let destination = bench.open(&ALL);
    let receipt = create(&destination, "A").await;
    let development =
        bench.fake.seen("A").into_iter().find(|record| record.target == ["development"]).unwrap();
    remove(&bench.open(&["development"]), "B", Some("development=x"), true).await.unwrap();
    bench.fake.change(&development.id, &json!({"key": "ELSEWHERE", "comment": ""}));
    let Remote::Present(there) = look(&destination, "A").await else { panic!() };
    assert_eq!(there.mark.map(|mark| mark.write), Some(None), "it is not all there");
    bench.fake.take_away("ELSEWHERE");
    written(put(&destination, "A", "w", 2, Expect::Ours(receipt.handle.as_deref())).await);
    assert_eq!(bench.state("A"), ["encrypted development=w", "sensitive preview+production=w"]);
}

#[tokio::test]
async fn hidden_variables_are_not_taken_for_missing() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production"]);
    let receipt = create(&destination, "A").await;
    bench.fake.plant(json!({"key": "THEIRS", "value": "t", "target": ["production"]}));
    bench.fake.hide_production(true);
    assert_eq!(look(&destination, "A").await, Remote::CannotTell);
    assert_eq!(look(&destination, "NEVER").await, Remote::CannotTell);
    // What is not hidden can be told.
    assert_eq!(look(&bench.open(&["preview"]), "NEVER").await, Remote::Absent);
    // A first write notices by itself; whose it is nobody can say.
    assert!(taken(put(&destination, "THEIRS", "w", 1, Expect::Absent).await).unreadable);
    written(put(&destination, "THEIRS", "w", 1, Expect::Anything).await);
    assert_eq!(bench.state("THEIRS"), ["encrypted production=w"]);
    // A change goes by id, and so does a removal.
    written(put(&destination, "A", "w", 2, Expect::Ours(receipt.handle.as_deref())).await);
    assert_eq!(fault(remove(&destination, "A", None, true).await).code, "cannot_look");
    remove(&destination, "A", receipt.handle.as_deref(), true).await.unwrap();
    assert!(bench.state("A").is_empty());
    remove(&destination, "A", receipt.handle.as_deref(), true).await.unwrap();
}

#[tokio::test]
async fn without_permission_to_list_it_works_as_vault_does() {
    let bench = Bench::new().await;
    bench.fake.deny("list", true);
    let destination = bench.open(&["production"]);
    let receipt = create(&destination, "A").await;
    let handle = receipt.handle.as_deref();
    assert_eq!(look(&destination, "A").await, Remote::CannotTell);
    written(put(&destination, "A", "w", 2, Expect::Ours(handle)).await);
    written(put(&destination, "A", "x", 3, Expect::Ours(None)).await);
    bench.fake.plant(json!({"key": "THEIRS", "value": "t", "target": ["production"]}));
    assert!(taken(put(&destination, "THEIRS", "w", 1, Expect::Absent).await).unreadable);
    written(put(&destination, "THEIRS", "w", 1, Expect::Anything).await);
    let wary = bench.open_with(&["production"], json!({"ownership_check": "always"}));
    assert_eq!(fault(put(&wary, "A", "y", 4, Expect::Ours(handle)).await).code, "cannot_look");
    assert_eq!(fault(remove(&destination, "A", None, true).await).code, "cannot_look");
    assert_eq!(bench.state("A"), ["sensitive production=x"]);
    remove(&destination, "A", handle, true).await.unwrap();
    assert!(bench.state("A").is_empty());
}

#[tokio::test]
async fn a_list_is_read_in_each_of_its_forms() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production"]);
    let names: Vec<RemoteName> = (0..45).map(|n| RemoteName::from_kind(format!("N{n:02}"))).collect();
    for (n, shape) in [ListShape::Counted, ListShape::Bare, ListShape::Paged(20)].into_iter().enumerate() {
        bench.fake.shape_list(shape);
        // Nothing, one, many.
        for count in [0, 1, 45] {
            for name in &names[..count] {
                if bench.fake.seen(name.as_str()).is_empty() {
                    create(&destination, name.as_str()).await;
                }
            }
            let seen = destination.look_many(&names).await;
            let present = seen.iter().filter(|one| matches!(one, Ok(Remote::Present(_)))).count();
            assert_eq!(present, count, "{n} {shape:?}");
        }
        for name in &names {
            bench.fake.take_away(name.as_str());
        }
    }
    bench.fake.forget_calls();
    for name in &names {
        create(&destination, name.as_str()).await;
    }
    bench.cost();
    look(&destination, "N00").await;
    // A page begins with the last of the page before.
    assert_eq!(bench.cost(), 3);
    // Pages that lead nowhere are not followed for ever.
    bench.fake.shape_list(ListShape::Paged(1));
    assert_eq!(fault(destination.look(&names[0]).await).code, "list_incomplete");
}

#[tokio::test]
async fn arrays_that_are_too_long_are_halved_and_the_length_is_learnt() {
    let bench = Bench::new().await;
    let destination = bench.open(&ALL);
    bench.fake.limit_arrays(12);
    let names: Vec<String> = (0..25).map(|n| format!("N{n}")).collect();
    let writings: Vec<Writing<'_>> = names.iter().map(|name| writing(name, "v", 1, Expect::Absent)).collect();
    for outcome in put_all(&destination, &writings).await {
        written(outcome);
    }
    assert_eq!(bench.fake.names().len(), 50);
    // 50 and 25 are too many; 12 at a time are not, with one left over from each half.
    assert_eq!(bench.cost(), 2 + 6);
    let names: Vec<RemoteName> = names.into_iter().map(RemoteName::from_kind).collect();
    let owner = mark(0);
    let removes: Vec<Remove<'_>> =
        names.iter().map(|name| Remove { name, handle: None, owner: Some(&owner) }).collect();
    bench.fake.limit_arrays(10);
    assert!(destination.remove_many(&removes).await.iter().all(Result::is_ok));
    assert!(bench.fake.names().is_empty());
    // A list, 12 are too many, 6 at a time are not.
    assert_eq!(bench.cost(), 1 + 1 + 9);
    bench.fake.limit_arrays(1);
    for outcome in put_all(&destination, &writings).await {
        written(outcome);
    }
}

#[tokio::test]
async fn several_that_are_gone_do_not_keep_the_others() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production"]);
    for name in ["A", "B", "C"] {
        create(&destination, name).await;
    }
    // The service answers as if somebody had been quicker.
    let missing = destinations::fakes::Answer::refusal(404, "not_found");
    bench.fake.answer("remove", [missing]);
    let names = ["A", "B", "C"].map(RemoteName::from_kind);
    let owner = mark(0);
    let removes: Vec<Remove<'_>> =
        names.iter().map(|name| Remove { name, handle: None, owner: Some(&owner) }).collect();
    assert!(destination.remove_many(&removes).await.iter().all(Result::is_ok));
    assert!(bench.fake.names().is_empty());
}

#[tokio::test]
async fn a_project_of_another_team_is_not_found() {
    let bench = Bench::new().await;
    for (field, value) in [("team_id", ""), ("team_id", "team_other"), ("project_id", "prj_other")] {
        let destination = bench.open_with(&ALL, json!({ field: value }));
        for fault in [
            fault(put(&destination, "A", "v", 1, Expect::Absent).await),
            fault(
                put(&destination, "A", "v", 1, Expect::Ours(Some("development=a,preview+production=b")))
                    .await,
            ),
            fault(destination.look(&RemoteName::from_kind("A")).await),
            fault(remove(&destination, "A", Some("production=a"), true).await),
        ] {
            assert_eq!((fault.code, fault.http_status), ("project_not_found", Some(404)));
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_text_become_base64() {
    let bench = Bench::new().await;
    let destination = bench.open(&["production"]);
    let bytes = |value| Writing {
        value: SecretBytes::new(value),
        encoding: Encoding::Binary,
        ..writing("A", "", 1, Expect::Absent)
    };
    bytes(vec![0xff, 0, 1]).written(&destination).await;
    assert_eq!(bench.state("A"), ["sensitive production=/wAB"]);
    // As sent, it is measured.
    assert_eq!(bytes(vec![0xff; 60_000]).fault(&destination).await.code, "value_too_large");
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    // A gateway that passes on what is under its path is not there; the request shows where it went.
    let bench = Bench::new().await;
    let destination = bench.open_with(&ALL, json!({"endpoint": format!("{}/gateway/", bench.fake.url())}));
    assert_eq!(fault(destination.look(&RemoteName::from_kind("A")).await).code, "project_not_found");
    assert_eq!(bench.fake.calls("unknown"), 1);
}
