use destinations::fakes::Trouble;

use super::*;

const APP: i64 = 4242;
const INSTALLATION: i64 = 9001;

fn app(bench: &Bench, id: i64, pem: &str) -> Config {
    let mut app = Config::default();
    app.set("app_id", FieldValue::Int(id));
    app.set("private_key", FieldValue::Secret(pem.into()));
    app.set("endpoint", FieldValue::Text(bench.fake.url()));
    app
}

fn as_app(more: Value) -> Value {
    with(json!({"access_token": null, "app_name": "ours", "installation_id": INSTALLATION}), more)
}

struct Apps {
    bench: Bench,
    key: RsaPem,
}

impl Apps {
    async fn new() -> Self {
        let (bench, key) = (Bench::new().await, RsaPem::generate());
        bench.fake.add_app(APP, &key, INSTALLATION);
        Self { bench, key }
    }

    fn open(&self, more: Value) -> Arc<dyn Destination> {
        self.open_with(more, &app(&self.bench, APP, &self.key.pkcs1))
    }

    fn open_with(&self, more: Value, app: &Config) -> Arc<dyn Destination> {
        let settings = self.bench.settings(as_app(more));
        try_open(settings, &self.bench.net(Snapshot::default()), Some(app)).unwrap()
    }
}

#[tokio::test]
async fn both_forms_of_a_key_sign_and_have_the_fingerprint_github_shows() {
    let apps = Apps::new().await;
    for pem in [&apps.key.pkcs1, &apps.key.pkcs8] {
        let of = app(&apps.bench, APP, pem);
        let shown = (kind().shared().unwrap().describe)(&of).unwrap();
        assert_eq!(shown, [("fingerprint", apps.key.fingerprint.clone())]);
        written(put(&apps.open_with(json!({}), &of), "A", "v", Expect::Anything).await);
    }
    for bad in ["", "no PEM", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"] {
        let fault = (kind().shared().unwrap().describe)(&app(&apps.bench, APP, bad)).unwrap_err();
        assert_eq!(fault.field, "private_key", "{bad}");
    }
}

/// Narrowed to the target: the pretend service refuses anything else with such a token.
#[tokio::test]
async fn a_token_is_made_for_the_target_and_used_until_five_minutes_before_it_ends() {
    let apps = Apps::new().await;
    let bench = &apps.bench;
    let repository = apps.open(json!({}));
    written(put(&repository, "A", "v", Expect::Absent).await);
    assert_eq!(bench.cost(), "token 1, key 1, list 1, write 1");
    bench.advance(Duration::from_secs(3290)).await;
    written(put(&repository, "A", "v", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "write 1");
    bench.advance(Duration::from_secs(15)).await;
    written(put(&repository, "A", "v", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "token 1, write 1");

    let environment = apps.open(json!({"environment_name": "prod/eu 1"}));
    written(put(&environment, "A", "v", Expect::Absent).await);
    let organization = json!({"repository_owner": null, "repository_name": null,
        "secrets_location": "organization", "organization_name": "acme",
        "organization_visibility": "selected", "selected_repository_names": "app"});
    let organization = apps.open(organization);
    written(put(&organization, "A", "v", Expect::Absent).await);
    for scope in [REPOSITORY, ENVIRONMENT, ORGANIZATION] {
        assert_eq!(bench.value(scope, "A").unwrap(), "v");
    }
}

#[tokio::test]
async fn many_calls_at_once_make_one_token() {
    let apps = Apps::new().await;
    let destination = apps.open(json!({}));
    let writes = (0..12).map(|n| {
        let destination = &destination;
        async move { put(destination, &format!("N{n}"), "v", Expect::Ours(None)).await }
    });
    futures_util::future::join_all(writes).await.into_iter().for_each(|outcome| drop(written(outcome)));
    assert_eq!(apps.bench.cost(), "token 1, key 1, write 12");
}

#[tokio::test]
async fn a_refused_token_is_made_anew_once() {
    let apps = Apps::new().await;
    let bench = &apps.bench;
    let destination = apps.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    bench.cost();
    bench.fake.revoke_installation_tokens();
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    assert_eq!(bench.cost(), "token 1, write 2");
    let refuse = || Trouble::answer(401, r#"{"message":"Bad credentials CANARY-FROM-REMOTE"}"#);
    bench.fake.trouble("write", [refuse(), refuse()]);
    assert_eq!(fault(put(&destination, "A", "3", Expect::Ours(None)).await).code, "credentials_rejected");
    assert_eq!(bench.cost(), "token 1, write 2");
    written(put(&destination, "A", "3", Expect::Ours(None)).await);
}

#[tokio::test]
async fn a_renewal_that_fails_does_not_hurt_while_the_token_lasts() {
    let apps = Apps::new().await;
    let bench = &apps.bench;
    let destination = apps.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    bench.advance(Duration::from_secs(3400)).await;
    bench.fake.trouble("token", [Trouble::answer(502, "down")]);
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    bench.advance(Duration::from_secs(190)).await;
    bench.fake.trouble("token", [Trouble::answer(502, "down")]);
    let refused = fault(put(&destination, "A", "3", Expect::Ours(None)).await);
    assert_eq!((refused.code, refused.blame), ("provider_down", model::Blame::External));
    written(put(&destination, "A", "3", Expect::Ours(None)).await);
}

#[tokio::test]
async fn what_an_app_may_not_is_told() {
    let apps = Apps::new().await;
    let bench = &apps.bench;
    let code = |destination: Arc<dyn Destination>| async move {
        let refused = fault(put(&destination, "A", "v", Expect::Anything).await);
        assert_eq!((refused.blame, refused.retry), (model::Blame::Client, destinations::Retry::Slowly));
        refused.code
    };
    let stranger = RsaPem::generate();
    assert_eq!(
        code(apps.open_with(json!({}), &app(bench, APP, &stranger.pkcs1))).await,
        "credentials_rejected"
    );
    assert_eq!(
        code(apps.open_with(json!({}), &app(bench, 1, &apps.key.pkcs1))).await,
        "credentials_rejected"
    );
    assert_eq!(code(apps.open(json!({"installation_id": 7}))).await, "installation_not_found");
    assert_eq!(code(apps.open(json!({"repository_name": "none"}))).await, "access_denied");
    bench.fake.take_permission(APP, "secrets");
    let destination = apps.open(json!({}));
    let refused = fault(put(&destination, "A", "v", Expect::Anything).await);
    assert_eq!(refused.code, "access_denied");
    assert!(refused.message.contains("secrets: write"), "{refused}");
    bench
        .fake
        .trouble("token", [Trouble::answer(403, r#"{"message":"This installation has been suspended"}"#)]);
    assert_eq!(code(destination).await, "installation_suspended");
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_for() {
    for off in [-1200, 1200] {
        let apps = Apps::new().await;
        let now = apps.bench.theirs_secs();
        apps.bench.ours.set(Timestamp::from_secs(now + off));
        let destination = apps.open(json!({}));
        written(put(&destination, "A", "v", Expect::Anything).await);
        assert_eq!(apps.bench.cost(), "token 2, key 1, list 1, write 1");
        // Its end is reckoned by our clock.
        apps.bench.advance(Duration::from_secs(3290)).await;
        written(put(&destination, "A", "v", Expect::Ours(None)).await);
        assert_eq!(apps.bench.cost(), "write 1");
    }
}

/// Whoever may configure destinations must not be able to have an app's statements sent to themselves.
#[tokio::test]
async fn an_app_is_used_at_its_own_github_only() {
    let apps = Apps::new().await;
    let net = apps.bench.net(Snapshot::default());
    let mut public = app(&apps.bench, APP, &apps.key.pkcs1);
    public.unset("endpoint");
    let fault = try_open(apps.bench.settings(as_app(json!({}))), &net, Some(&public)).err().unwrap();
    assert_eq!(fault.field, "app_name");
    let elsewhere = as_app(json!({"endpoint": null, "enterprise_url": "https://git.example.com"}));
    let fault = try_open(apps.bench.settings(elsewhere.clone()), &net, Some(&public)).err().unwrap();
    assert_eq!(fault.field, "app_name");
    public.set("enterprise_url", FieldValue::Text("https://git.example.com/".into()));
    assert!(try_open(apps.bench.settings(elsewhere), &net, Some(&public)).is_ok());
}
