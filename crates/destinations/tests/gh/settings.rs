use super::*;

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    let bench = Bench::new().await;
    for (more, field) in [
        (json!({"repository_owner": null}), "repository_owner"),
        (json!({"repository_name": ""}), "repository_name"),
        (json!({"repository_name": "acme/app"}), "repository_name"),
        (json!({"repository_owner": "../x"}), "repository_owner"),
        (json!({"environment_name": "a\nb"}), "environment_name"),
        (json!({"access_token": null}), "access_token"),
        (json!({"access_token": "two words"}), "access_token"),
        (json!({"app_name": "ours"}), "installation_id"),
        (json!({"installation_id": 7}), "app_name"),
        (json!({"installation_id": "many"}), "installation_id"),
        (json!({"installation_id": 0}), "installation_id"),
        (json!({"app_name": "ours", "installation_id": 7}), "access_token"),
        (json!({"app_name": "ours", "installation_id": 7, "access_token": null}), "app_name"),
        (json!({"secrets_location": "everywhere"}), "secrets_location"),
        (json!({"organization_name": "acme"}), "organization_name"),
        (json!({"organization_visibility": "all"}), "organization_visibility"),
        (json!({"selected_repository_names": "app"}), "selected_repository_names"),
        (json!({"secrets_location": "organization", "organization_name": "acme"}), "repository_owner"),
        (json!({"enterprise_url": "git.example.com"}), "enterprise_url"),
        (json!({"endpoint": "http://user@127.0.0.1"}), "endpoint"),
        (json!({"custom_tags": {"a": "b"}}), "custom_tags"),
    ] {
        let fault = bench.try_open(more.clone()).err().unwrap_or_else(|| panic!("{more}"));
        assert_eq!(fault.field, field, "{more}");
    }
    let net = bench.net(Snapshot::default());
    for (more, field) in [
        (json!({"organization_name": null}), "organization_name"),
        (json!({}), "organization_visibility"),
        (json!({"organization_visibility": "some"}), "organization_visibility"),
        (json!({"organization_visibility": "selected"}), "selected_repository_names"),
        (
            json!({"organization_visibility": "selected", "selected_repository_names": ["acme/app"]}),
            "selected_repository_names[0]",
        ),
        (
            json!({"organization_visibility": "all", "selected_repository_names": ["app"]}),
            "selected_repository_names",
        ),
        (json!({"organization_visibility": "all", "environment_name": "prod"}), "environment_name"),
    ] {
        let settings = bench.organization(more.clone());
        let fault = try_open(settings, &net, None).err().unwrap_or_else(|| panic!("{more}"));
        assert_eq!(fault.field, field, "{more}");
    }
}

#[test]
fn names_are_made_legal_or_refused() {
    for (rendered, name) in [
        ("vault_kv_1_app/db_password", "VAULT_KV_1_APP_DB_PASSWORD"),
        ("Ünï-code.key", "_N__CODE_KEY"),
        ("_1", "_1"),
        ("GITHUBBER", "GITHUBBER"),
    ] {
        assert_eq!(kind().remote_name(rendered).unwrap().as_str(), name);
    }
    for rendered in ["1password", "github_token", "GITHUB_TOKEN", "Github-Token", "", &"x".repeat(256)] {
        let refused = fault(kind().remote_name(rendered));
        assert_eq!(refused.code, "illegal_name", "{rendered}");
    }
    // Names that differ in case only are one, so that the engine lets only the first have it.
    let names = &kind().abilities().names;
    let (a, b) = (kind().remote_name("db_Pass").unwrap(), kind().remote_name("DB_pass").unwrap());
    assert_eq!(names.identity(&a), names.identity(&b));
}

/// What Vault's interface says of its environment. The server's own token is sent to GitHub.com only.
#[tokio::test]
async fn the_servers_environment_fills_in() {
    let bench = Bench::new().await;
    let vars = [
        ("GITHUB_ACCESS_TOKEN", FakeGithub::TOKEN),
        ("GITHUB_REPOSITORY_OWNER", "acme"),
        ("GITHUB_REPOSITORY_NAME", "app"),
    ];
    let environment = |vars: &[(&str, &str)]| Snapshot {
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        home: None,
    };
    let net = bench.net(environment(&vars));
    assert!(try_open(json!({}), &net, None).is_ok());
    assert!(try_open(json!({"enterprise_url": "https://github.com"}), &net, None).is_ok());
    for elsewhere in [
        json!({"endpoint": bench.fake.url()}),
        json!({"enterprise_url": "https://git.example.com"}),
        json!({"enterprise_url": "https://acme.ghe.com"}),
    ] {
        assert_eq!(
            try_open(elsewhere.clone(), &net, None).err().unwrap().field,
            "access_token",
            "{elsewhere}"
        );
    }
    let located =
        try_open(json!({"endpoint": bench.fake.url(), "access_token": FakeGithub::TOKEN}), &net, None);
    written(put(&located.unwrap(), "A", "v", Expect::Absent).await);
    assert_eq!(bench.value(REPOSITORY, "A").unwrap(), "v");
    let net = bench.net(environment(&[("GITHUB_REPOSITORY_OWNER", "a/b")]));
    let fault = try_open(json!({"access_token": "x", "repository_name": "app"}), &net, None).err().unwrap();
    assert_eq!(fault.field, "repository_owner");
    assert!(!fault.to_string().contains("a/b"));
}

/// A later POST keeps the token; one that turns to an app gives it up.
#[test]
fn an_app_takes_the_place_of_a_token() {
    let read = |body: Value, previous: Option<&Config>| {
        Config::read(kind(), &SecretJson::new(body), Mode::Replace, previous).unwrap().0
    };
    let token = json!({"access_token": "t", "repository_owner": "o", "repository_name": "r"});
    let token = read(token, None);
    let kept = read(json!({"repository_owner": "o", "repository_name": "r"}), Some(&token));
    assert!(kept.secret("access_token").is_some());
    let app = json!({"app_name": "ours", "installation_id": 7, "repository_owner": "o"});
    assert!(read(app, Some(&token)).secret("access_token").is_none());
    let patch = SecretJson::new(json!({"app_name": "ours", "installation_id": "7"}));
    let (patched, _) = Config::read(kind(), &patch, Mode::Merge, Some(&token)).unwrap();
    assert!(patched.secret("access_token").is_none() && patched.int("installation_id") == Some(7));
}
