use destinations::{Held, Retry, fakes::Trouble};

use super::*;

/// The calls of the vault since this was last asked.
fn calls(bench: &Bench) -> usize {
    let calls = bench.fake.vault_calls();
    bench.fake.forget_calls();
    calls
}

#[tokio::test]
async fn every_kind_of_work_costs_what_it_should() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    let handle = made.handle.as_deref();
    assert_eq!(calls(&bench), 2, "a look and a write");
    // As the engine does it: it looks first, and that look is not made again.
    assert_eq!(destination.look(&name("b")).await, Ok(Remote::Absent));
    create(&destination, "b").await;
    assert_eq!(calls(&bench), 2);
    written(put(&destination, "c", "v", 1, Expect::Anything).await);
    assert_eq!(calls(&bench), 1, "taking whatever is there over needs no look");
    for write in 2..5 {
        written(put(&destination, "a", &format!("v{write}"), write, Expect::Ours(handle)).await);
        assert_eq!(calls(&bench), 1, "an update is one write");
    }
    written(put(&destination, "a", "v4", 4, Expect::Ours(handle)).await);
    assert_eq!(calls(&bench), 1, "the same write again is one look");
    written(send(&destination, "a", "v4", 4, Expect::Ours(handle), &[("team", "x")], Some(&[])).await);
    assert_eq!(calls(&bench), 2, "tags alone are a look and a change of tags");
    let wary = bench.open(json!({"ownership_check": "always"}));
    written(put(&wary, "a", "v5", 5, Expect::Ours(handle)).await);
    assert_eq!(calls(&bench), 2);
    remove(&destination, "a").await.unwrap();
    assert_eq!(calls(&bench), 2, "a look and a removal");
    written(put(&destination, "a", "v6", 6, Expect::Absent).await);
    assert_eq!(calls(&bench), 5, "look, refused write, look at what is deleted, recovery, write");
    let purging = bench.open(json!({"purge_on_delete": true}));
    remove(&purging, "a").await.unwrap();
    assert_eq!(calls(&bench), 4);
    assert_eq!(bench.fake.calls("Token"), 0, "one token for all of it, since counting began anew");
}

/// What goes over the wire, letter by letter.
#[tokio::test]
async fn requests_are_as_azure_wants_them() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = written(send(&destination, "Db", "a\"b\n", 1, Expect::Absent, &[("team", "x y")], None).await);
    let owner = format!("{} 1 {}", "01".repeat(16), "02".repeat(16));
    let write = format!("1 {}", "01".repeat(32));
    let tags = json!({"keyferry:owner": owner, "keyferry:write": write, "team": "x y"});
    assert_eq!(
        bench.fake.last_change().unwrap(),
        ("PUT".into(), "/secrets/Db?api-version=7.4".into(), json!({"value": "a\"b\n", "tags": tags}))
    );
    let version = bench.fake.view("Db").unwrap().version;
    assert_eq!(
        (made.handle.as_deref(), made.revision.as_deref()),
        (Some("secrets/db"), Some(version.as_str()))
    );
    written(send(&destination, "Db", "a", 1, Expect::Ours(None), &[], Some(&["team".to_owned()])).await);
    let tags = json!({"keyferry:owner": owner, "keyferry:write": write});
    assert_eq!(
        bench.fake.last_change().unwrap(),
        ("PATCH".into(), format!("/secrets/Db/{version}?api-version=7.4"), json!({ "tags": tags }))
    );
    let newer = bench.open(json!({"api_version": "2025-07-01"}));
    remove(&newer, "Db").await.unwrap();
    assert_eq!(
        bench.fake.last_change().unwrap(),
        ("DELETE".into(), "/secrets/Db?api-version=2025-07-01".into(), Value::Null)
    );
}

#[tokio::test]
async fn the_newest_of_many_versions_is_found_whatever_their_order() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("a", "theirs", &[]);
    bench.fake.add_old_versions("a", 60);
    bench.advance(5);
    written(put(&destination, "a", "ours", 1, Expect::Anything).await);
    bench.fake.forget_calls();
    assert_eq!(present(&destination, "a").await.mark, Some(mark(1)));
    assert_eq!(bench.fake.calls("Versions"), 3);

    // So many that the list of all secrets is shorter.
    bench.fake.add_old_versions("a", 600);
    for n in 0..30 {
        bench.fake.plant(&format!("Z-other-{n}"), "x", &[]);
    }
    bench.fake.plant("Zz", "theirs", &[]);
    bench.fake.add_old_versions("Zz", 600);
    bench.fake.forget_calls();
    assert_eq!(present(&destination, "a").await.mark, Some(mark(1)));
    assert_eq!((bench.fake.calls("Versions"), bench.fake.calls("List")), (21, 1));
    assert_eq!(present(&destination, "zz").await.mark, None);
    remove(&destination, "a").await.unwrap();
    assert!(bench.fake.view("a").unwrap().deleted);
}

/// Azure tells whole seconds.
#[tokio::test]
async fn writes_of_one_second_are_told_apart() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    for write in [2, 3, 2, 9, 1] {
        written(put(&destination, "a", &format!("v{write}"), write, Expect::Ours(Some("x"))).await);
        assert_eq!(present(&destination, "a").await.mark, Some(mark(write)));
    }
    // Another process cannot know the order, but that of source versions.
    let other = bench.open(json!({}));
    assert_eq!(present(&other, "a").await.mark, Some(mark(9)));
}

#[tokio::test]
async fn names_are_one_whatever_their_case() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("DB-Password", "theirs", &[]);
    taken(put(&destination, "db-password", "ours", 1, Expect::Absent).await);
    let rule = &kind().abilities().names;
    for (one, other) in [("app/db", "app-db"), ("App", "aPP"), ("a_b.c", "A-B-C"), ("é", "-")] {
        assert_eq!(rule.identity(&name(one)), rule.identity(&name(other)), "{one} {other}");
    }
    assert_eq!(name("vault-kv-1a/App_db").as_str(), "vault-kv-1a-App-db");
    assert_eq!(code(kind().remote_name(&"n".repeat(128))), "illegal_name");
}

/// Nobody granted listing, as in the role Vault's documentation describes (decisions 6).
#[tokio::test]
async fn without_permission_to_look_it_works_as_vault_does() {
    let bench = Bench::new().await;
    bench.fake.deny("Versions", true);
    let destination = bench.open(json!({}));
    assert_eq!(destination.look(&name("a")).await, Ok(Remote::CannotTell));
    let there = taken(put(&destination, "a", "v", 1, Expect::Absent).await);
    assert!(there.unreadable && there.mark.is_none());
    // The engine then comes again, as Vault would.
    let made = written(put(&destination, "a", "v", 1, Expect::Anything).await);
    let handle = made.handle.as_deref();
    written(put(&destination, "a", "w", 2, Expect::Ours(handle)).await);
    written(send(&destination, "a", "w", 2, Expect::Ours(handle), &[("team", "x")], Some(&[])).await);
    assert_eq!(bench.fake.view("a").unwrap().tags["team"], "x");
    let wary = bench.open(json!({"ownership_check": "always"}));
    assert_eq!(code(put(&wary, "a", "x", 3, Expect::Ours(handle)).await), "cannot_look");
    // A handle is no more than the name here.
    let owner = mark(0);
    let proved = Remove { name: &name("a"), handle, owner: Some(&owner) };
    assert_eq!(code(destination.remove(&proved).await), "cannot_look");
    destination.remove(&Remove { owner: None, ..proved }).await.unwrap();
    assert!(bench.fake.view("a").unwrap().deleted);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    bench.fake.deny("Set", true);
    bench.fake.deny("Delete", true);
    let set = put(&destination, "a", "w", 2, Expect::Ours(Some("x"))).await.unwrap_err();
    assert!(set.message.contains("setSecret/action"), "{set}");
    let delete = remove(&destination, "a").await.unwrap_err();
    assert!(delete.message.contains("secrets/delete"), "{delete}");
    assert_eq!((set.retry, delete.retry), (Retry::Slowly, Retry::Slowly));
}

#[tokio::test]
async fn a_certificates_secret_is_never_written_or_removed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.plant("cert", "key", &[]);
    bench.fake.give_to_certificate("cert");
    for expect in [Expect::Absent, Expect::Anything, Expect::Ours(None), Expect::Ours(Some("x"))] {
        assert!(taken(put(&destination, "cert", "v", 1, expect).await).managed_by_provider, "{expect:?}");
    }
    assert_eq!(code(remove(&destination, "cert").await), "managed_by_provider");
    let order = Remove { name: &name("cert"), handle: None, owner: None };
    assert_eq!(code(destination.remove(&order).await), "access_denied");
    assert_eq!(bench.value("cert"), "key");
}

/// Vault's own mark on Azure is not documented: either form is taken for it.
#[tokio::test]
async fn vaults_own_secrets_are_recognised() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    for (at, tag) in [("a", "hashicorp:vault"), ("b", "hashicorp-vault")] {
        bench.fake.plant(at, "vaults", &[(tag, "")]);
        let there = taken(put(&destination, at, "ours", 1, Expect::Absent).await);
        assert!(there.vaults && there.mark.is_none());
    }
}

#[tokio::test]
async fn tags_that_are_right_cost_no_change() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = written(send(&destination, "a", "v", 1, Expect::Absent, &[("team", "x")], None).await);
    bench.fake.forget_calls();
    let again =
        send(&destination, "a", "v", 1, Expect::Ours(made.handle.as_deref()), &[("team", "x")], Some(&[]))
            .await;
    assert_eq!(written(again), made);
    assert_eq!(bench.fake.calls("Update"), 0);
    // The version vanished between look and change: the value is written anew.
    bench.fake.trouble("Update", [Trouble::Garbage(r#"{"error":{"code":"SecretNotFound"}}"#, 404)]);
    written(send(&destination, "a", "v", 1, Expect::Ours(None), &[("team", "y")], Some(&[])).await);
    assert_eq!(bench.fake.view("a").unwrap().tags["team"], "y");
}

#[tokio::test]
async fn values_are_as_large_as_azure_takes_them() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let send = async |at: &str, bytes: Vec<u8>, encoding| {
        let value = model::SecretBytes::new(bytes);
        Writing { value, encoding, ..Writing::new(name(at), "", 1) }.send(&destination).await
    };
    written(send("text", vec![b'x'; 25_600], Encoding::Text).await);
    assert_eq!(code(send("text", vec![b'x'; 25_601], Encoding::Text).await), "value_too_large");
    // As base64.
    written(send("bytes", vec![0xff; 19_200], Encoding::Binary).await);
    assert_eq!(code(send("bytes", vec![0xff; 19_201], Encoding::Binary).await), "value_too_large");
    assert_eq!(code(send("bytes", vec![0xff], Encoding::Text).await), "value_not_text");
    let kind = bench.fake.view("bytes").unwrap().content_type;
    assert_eq!(kind.as_deref(), Some("application/octet-stream;base64"));
}

#[tokio::test]
async fn values_are_read_one_by_one_and_refusals_are_told() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    let names = [name("a"), name("b")];
    let read = destination.read_many(&names).await;
    assert!(matches!(read.as_slice(), [Ok(Held::Value(..)), Ok(Held::Nothing)]), "{read:?}");
    bench.fake.deny("Get", true);
    let denied = destination.read_many(&names).await;
    assert!(denied.into_iter().all(|read| code(read) == "access_denied"));
    bench.fake.deny("Get", false);
    for (answer, status, expected) in [
        (r#"{"error":{"code":"Forbidden","innererror":{"code":"SecretDisabled"}}}"#, 403, "secret_disabled"),
        (r#"{"value":"%%","contentType":"application/octet-stream;base64"}"#, 200, "value_unreadable"),
        ("[]", 200, "answer_unreadable"),
        ("<html>", 502, "provider_down"),
    ] {
        bench.fake.trouble("Get", [Trouble::Garbage(answer, status)]);
        let read = destination.read_many(&names[..1]).await.pop().unwrap();
        assert_eq!(code(read), expected, "{answer}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_with_their_field() {
    let bench = Bench::new().await;
    let net = bench.net(NetSettings::default(), Snapshot::default());
    let fifteen: BTreeMap<String, String> = (0..14).map(|n| (format!("t{n}"), String::new())).collect();
    for (more, field) in [
        (json!({"key_vault_uri": null}), "key_vault_uri"),
        (json!({"key_vault_uri": "my-vault"}), "key_vault_uri"),
        (json!({"key_vault_uri": "https://v.vault.azure.net/secrets"}), "key_vault_uri"),
        (json!({"key_vault_uri": "https://v.vault.azure.net?x=1"}), "key_vault_uri"),
        (json!({"tenant_id": "a/b"}), "tenant_id"),
        (json!({"tenant_id": ".."}), "tenant_id"),
        (json!({"client_id": "a b"}), "client_id"),
        (json!({"client_id": null}), "client_id"),
        (json!({"cloud": "cloudy"}), "cloud"),
        (json!({"cloud": "AzureGermanCloud"}), "cloud"),
        (json!({"cloud": "china"}), "cloud"),
        (json!({"cloud": "cloud", "key_vault_uri": "https://v.vault.azure.cn"}), "cloud"),
        (json!({"api_version": "latest"}), "api_version"),
        (json!({"api_version": "7.4&x=y"}), "api_version"),
        (json!({"endpoint": "ftp://x"}), "endpoint"),
        (json!({"auth_endpoint": "x"}), "auth_endpoint"),
        (json!({"purge_on_delete": "maybe"}), "purge_on_delete"),
        (json!({"identity_token_audience": "api://AzureADTokenExchange"}), "identity_token_audience"),
        (json!({"identity_token_key": "k"}), "identity_token_key"),
        (json!({"identity_token_ttl": 60}), "identity_token_ttl"),
        (json!({"custom_tags": {"invalid key with spaces": "x"}}), "custom_tags[0]"),
        (json!({"custom_tags": {"keyferry:owner": "x"}}), "custom_tags[0]"),
        (json!({"custom_tags": {"hashicorp:vault": "x"}}), "custom_tags[0]"),
        (json!({"custom_tags": {"a": "x".repeat(257)}}), "custom_tags[0]"),
        (json!({ "custom_tags": fifteen }), "custom_tags"),
    ] {
        let refused = try_open(merged(bench.settings(), more.clone()), &net).err();
        let refused = refused.unwrap_or_else(|| panic!("{more} was accepted"));
        assert_eq!(refused.field, field, "{more}: {refused}");
        assert!(!refused.to_string().contains(FakeAzure::CLIENT_SECRET));
    }
    for fine in [
        json!({"identity_token_ttl": 0}),
        json!({"cloud": "AzurePublicCloud"}),
        json!({"key_vault_uri": "https://V.vault.azure.net/"}),
        json!({"client_secret": null, "client_id": null, "tenant_id": null}),
        json!({"client_secret": null}),
    ] {
        assert!(try_open(merged(bench.settings(), fine.clone()), &net).is_ok(), "{fine}");
    }
}

/// The payload of the founding page, word for word.
#[tokio::test]
async fn the_founding_pages_sample_is_taken() {
    let sample = json!({"key_vault_uri": "https://keyvault-1234abcd.vault.azure.net", "subscription_id": "uuid",
        "tenant_id": "uuid", "client_id": "uuid", "client_secret": "90y8Q***"});
    for (sample, cloud) in
        [(sample.clone(), None), (merged(sample, json!({"cloud": "cloud"})), Some("cloud"))]
    {
        let (config, unknown) = Config::read(kind(), &SecretJson::new(sample), Mode::Replace, None).unwrap();
        assert_eq!(unknown, ["subscription_id"]);
        let mut shown = json!({"key_vault_uri": "https://keyvault-1234abcd.vault.azure.net", "tenant_id": "uuid",
            "client_id": "uuid", "client_secret": "*****"});
        if let Some(cloud) = cloud {
            shown["cloud"] = cloud.into();
        }
        assert_eq!(Value::Object(config.shown(kind())), shown);
        let net = Bench::new().await.net(NetSettings::default(), Snapshot::default());
        assert!(kind().open(&config, &net).is_ok());
    }
}
