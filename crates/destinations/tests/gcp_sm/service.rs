use super::*;

/// The role Vault's documentation grants: no reading of any sort (decisions 6).
#[tokio::test]
async fn without_permission_to_look_it_works_as_vault_does() {
    let bench = Bench::new().await;
    for operation in ["get", "list", "getVersion", "listVersions", "access"] {
        bench.fake.deny(operation, true);
    }
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    assert_eq!(look(&destination, "a").await, Ok(Remote::CannotTell));
    let two = after(&one, "v2", 2).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
    // After a write whose answer was lost, too.
    let three = Writing { unsure: true, ..after(&two, "v3", 3) }.written(&destination).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [3]);

    bench.fake.plant("theirs", "v", &[]);
    assert!(Writing { name: "theirs", ..first("w", 1) }.taken(&destination).await.unreadable);
    Writing { name: "theirs", expect: Expect::Anything, ..first("w", 1) }.written(&destination).await;
    assert_eq!(bench.value("theirs").unwrap(), "w");

    let wary = bench.open(json!({"ownership_check": "always"}));
    assert_eq!(after(&three, "v4", 4).fault(&wary).await.code, "cannot_look");
    // What proves a removal is the state of the secret we saw last.
    assert_eq!(fault(remove(&destination, "a", None, true).await).code, "cannot_look");
    bench.fake.touch("a", None);
    assert_eq!(fault(remove(&destination, "a", three.handle.as_deref(), true).await).code, "cannot_look");
    let fresh = Writing { name: "b", ..first("v", 1) }.written(&destination).await;
    remove(&destination, "b", fresh.handle.as_deref(), true).await.unwrap();
    assert!(bench.fake.view("b").is_none());
    remove(&destination, "theirs", None, false).await.unwrap();
}

#[tokio::test]
async fn a_strangers_secret_is_taken_over_by_order_and_its_versions_stay() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("a", "theirs 1", &[("team", "x"), ("hashicorp-vault", "")]);
    bench.fake.add_version("a", "theirs 2");
    assert!(present(&destination, "a").await.vaults);
    let take = Writing { expect: Expect::Anything, tags: &[("Cost:Centre", "A b")], ..first("ours", 1) };
    let one = take.written(&destination).await;
    let view = bench.view("a");
    assert_eq!((view.in_state("ENABLED"), bench.value("a").unwrap()), (vec![1, 2, 3], "ours".to_owned()));
    assert_eq!(view.labels["team"], "x");
    assert_eq!(view.labels["cost_centre"], "a_b");
    assert_eq!(view.annotations["keyferry.first-version"], "3");
    // Ours is replaced, theirs stay, also where many are tidied.
    let two = after(&one, "more", 2).written(&destination).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [1, 2, 4]);
    after(&two, "more", 3).written(&bench.open(json!({"keep_versions": 2}))).await;
    assert_eq!(bench.view("a").in_state("ENABLED"), [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_lost_takeover_is_finished() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("a", "theirs", &[]);
    let take = Writing { expect: Expect::Anything, ..first("ours", 1) };
    bench.fake.trouble("addVersion", [Trouble::LoseAnswer]);
    take.fault(&destination).await;
    take.written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "ENABLED"), (2, "ENABLED")]);
    assert_eq!(bench.value("a").unwrap(), "ours");
}

#[tokio::test]
async fn labels_are_brought_in_line_and_strangers_labels_stay() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one =
        Writing { tags: &[("Team", "a"), ("old.one", "x")], ..first("v1", 1) }.written(&destination).await;
    bench.fake.touch("a", Some(("theirs", "y")));
    bench.fake.forget_calls();
    let gone = ["old.one".to_owned()];
    let carry = Writing { settings: Some(&gone), tags: &[("Team", "b")], ..after(&one, "v1", 1) };
    let two = carry.written(&destination).await;
    assert_eq!(
        (two.revision.as_ref(), bench.calls(["get", "patch", "addVersion"])),
        (one.revision.as_ref(), [1, 1, 0])
    );
    let labels = bench.view("a").labels;
    assert_eq!((labels["team"].as_str(), labels["theirs"].as_str(), labels.get("old_one")), ("b", "y", None));
    // Nothing to do: no write.
    bench.fake.forget_calls();
    Writing { revision: two.revision.as_deref(), ..carry }.written(&destination).await;
    assert_eq!(bench.fake.all_calls(), 1);
}

#[tokio::test]
async fn places_and_keys_are_as_configured() {
    let key =
        |location: &str, name: &str| format!("projects/p/locations/{location}/keyRings/r/cryptoKeys/{name}");
    let named = |name: String| json!({"customerManagedEncryption": {"kmsKeyName": name}});
    for (settings, replication) in [
        (json!({}), json!({"automatic": {}})),
        (json!({"kms_key_id": key("global", "k")}), json!({"automatic": named(key("global", "k"))})),
        (json!({"global_kms_key": key("global", "k")}), json!({"automatic": named(key("global", "k"))})),
        (
            json!({"replica_regions": {"us-east1": "", "europe-west1": ""}}),
            json!({"userManaged": {"replicas": [{"location": "europe-west1"}, {"location": "us-east1"}]}}),
        ),
        (
            json!({"replication_locations": "us-east1,europe-west1"}),
            json!({"userManaged": {"replicas": [{"location": "europe-west1"}, {"location": "us-east1"}]}}),
        ),
        (
            json!({"replica_regions": {"us-east1": key("us-east1", "k")}}),
            json!({"userManaged": {"replicas": [{"location": "us-east1", "customerManagedEncryption":
                {"kmsKeyName": key("us-east1", "k")}}]}}),
        ),
        (
            json!({"replication_locations": ["us-east1"], "locational_kms_keys": {"us-east1": key("us-east1", "k")}}),
            json!({"userManaged": {"replicas": [{"location": "us-east1", "customerManagedEncryption":
                {"kmsKeyName": key("us-east1", "k")}}]}}),
        ),
    ] {
        let bench = Bench::new().await;
        first("v", 1).written(&bench.open(settings.clone())).await;
        assert_eq!(bench.view("a").replication, replication, "{settings}");
    }
}

#[tokio::test]
async fn keys_follow_the_configuration_and_places_cannot() {
    let key = |name: &str| format!("projects/p/locations/global/keyRings/r/cryptoKeys/{name}");
    let bench = Bench::new().await;
    let one = first("v1", 1).written(&bench.open(json!({"kms_key_id": key("one")}))).await;
    let carry = Writing { settings: Some(&[]), ..after(&one, "v1", 1) };
    carry.written(&bench.open(json!({"kms_key_id": key("two")}))).await;
    let has = |bench: &Bench| bench.view("a").replication;
    assert_eq!(has(&bench), json!({"automatic": {"customerManagedEncryption": {"kmsKeyName": key("two")}}}));
    carry.written(&bench.open(json!({}))).await;
    assert_eq!((has(&bench), bench.view("a").versions.len()), (json!({"automatic": {}}), 1));

    let elsewhere = bench.open(json!({"replica_regions": {"europe-west1": ""}}));
    let fixed = carry.fault(&elsewhere).await;
    assert_eq!(
        (fixed.code, fixed.blame, fixed.retry),
        ("replication_fixed", Blame::Client, Retry::WhenChanged)
    );
}

#[tokio::test]
async fn lists_are_believed_about_what_they_show_only() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.set_list_lag(Duration::from_secs(3600));
    let names: Vec<RemoteName> = (0..12).map(|n| RemoteName::from_kind(format!("n{n:02}"))).collect();
    for name in &names[1..] {
        Writing { name: name.as_str(), ..first("v", 1) }.written(&destination).await;
    }
    let as_it_is = |seen: Vec<Result<Remote, Fault>>| {
        seen.len() == 12
            && seen[0] == Ok(Remote::Absent)
            && seen[1..].iter().all(|one| matches!(one, Ok(Remote::Present(there)) if there.mark.is_some()))
    };
    bench.fake.forget_calls();
    assert!(as_it_is(destination.look_many(&names).await));
    assert_eq!(bench.calls(["list", "get"]), [1, 12]);
    bench.advance(Duration::from_secs(3601));
    bench.fake.forget_calls();
    let seen = destination.look_many(&names).await;
    assert!(
        seen.iter().skip(1).all(|one| matches!(one, Ok(Remote::Present(there)) if there.revision.is_some()))
    );
    assert!(as_it_is(seen));
    assert_eq!(bench.calls(["list", "get", "listVersions"]), [1, 1, 11]);
    bench.fake.deny("list", true);
    assert!(as_it_is(destination.look_many(&names).await));
}

#[tokio::test]
async fn the_newest_value_is_read_although_lists_are_behind() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("a", "one", &[]);
    bench.advance(Duration::from_secs(60));
    bench.fake.set_list_lag(Duration::from_secs(30));
    bench.fake.add_version("a", "two");
    let read = destination.read_many(&[RemoteName::from_kind("a"), RemoteName::from_kind("b")]).await;
    let [Ok(destinations::Held::Value(value, Encoding::Text)), Ok(destinations::Held::Nothing)] =
        read.as_slice()
    else {
        panic!("{read:?}")
    };
    assert_eq!(value.expose(), b"two");
    bench.fake.deny("access", true);
    let denied = destination.read_many(&[RemoteName::from_kind("a")]).await.pop().unwrap().unwrap_err();
    assert!(denied.message.contains("secretmanager.versions.access"), "{denied}");
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let bench = Bench::new().await;
    let endpoint = format!("{}/some/gateway/", bench.fake.url());
    first("v", 1).written(&bench.open(json!({ "endpoint": endpoint }))).await;
    assert_eq!(bench.fake.names(), ["a"]);
}
