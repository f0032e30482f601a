//! Where tokens come from, how they are kept, and where they may go.

use std::fs;

use destinations::{Identity, IdentityTokens};
use model::SecretBytes;
use tempfile::TempDir;

use super::*;

/// The environment names the service: only so can the server's own credentials go to a stand-in.
const OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

/// A destination with the server's own credentials.
fn servers(bench: &Bench, more: &[(&str, &str)]) -> Arc<dyn Destination> {
    let url = bench.fake.url();
    let mut vars = vec![(OVERRIDE, url.as_str())];
    vars.extend(more);
    // Under strict networking: the operator's word is enough.
    try_open(json!({}), &bench.net(NetSettings::default(), environment(&vars))).unwrap()
}

fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn user(bench: &Bench) -> Value {
    json!({"type": "authorized_user", "client_id": "client", "client_secret": "client-secret",
        "refresh_token": "refresh-me", "quota_project_id": "pays", "token_uri": format!("{}/token", bench.fake.url())})
}

#[tokio::test]
async fn the_environment_names_a_service_accounts_file() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let path = file(&dir, "key.json", &bench.fake.credentials());
    first("v", 1).written(&servers(&bench, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)])).await;
    assert_eq!((bench.fake.names(), bench.calls(["token", "metadata"])), (vec!["a".to_owned()], [1, 0]));
    // What is named and cannot be used is told; nothing else is tried.
    for text in ["{", r#"{"type":"gdch_service_account"}"#] {
        let path = file(&dir, "bad.json", text);
        let refused =
            first("v", 1).fault(&servers(&bench, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)])).await;
        assert_eq!((refused.code, refused.retry), ("credentials_config", Retry::Slowly));
    }
    let missing = servers(&bench, &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")]);
    assert_eq!(first("v", 1).fault(&missing).await.code, "credentials_config");
    assert_eq!(bench.fake.calls("metadata"), 0);
}

#[tokio::test]
async fn gclouds_file_is_found_and_its_quota_project_charged() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let folder = dir.path().to_str().unwrap();
    file(&dir, "application_default_credentials.json", &user(&bench).to_string());
    let project = [("CLOUDSDK_CONFIG", folder), ("GOOGLE_CLOUD_PROJECT", FakeGcp::PROJECT)];
    first("v", 1).written(&servers(&bench, &project)).await;
    assert_eq!(bench.fake.quota_projects(), ["pays", "pays"]);
    // A person's file names no project.
    let nowhere = first("v", 1).fault(&servers(&bench, &project[..1])).await;
    assert_eq!((nowhere.code, nowhere.blame), ("project_missing", Blame::Client));

    file(&dir, ".config/gcloud/application_default_credentials.json", &user(&bench).to_string());
    let vars =
        [(OVERRIDE.to_owned(), bench.fake.url()), ("GCLOUD_PROJECT".to_owned(), FakeGcp::PROJECT.to_owned())];
    let home = Snapshot { vars: vars.into(), home: Some(dir.path().to_owned()) };
    let destination = try_open(json!({}), &bench.net(NetSettings::default(), home)).unwrap();
    present(&destination, "a").await;

    let mut revoked = user(&bench);
    revoked["refresh_token"] = "revoked".into();
    file(&dir, "application_default_credentials.json", &revoked.to_string());
    assert_eq!(first("v", 1).fault(&servers(&bench, &project)).await.code, "credentials_rejected");
}

#[tokio::test]
async fn the_machine_gives_a_token_and_the_project() {
    let bench = Bench::new().await;
    let url = bench.fake.url();
    let host = url.strip_prefix("http://").unwrap();
    first("v", 1).written(&servers(&bench, &[("GCE_METADATA_HOST", host)])).await;
    assert_eq!(bench.fake.calls("metadata"), 2);
    let none = servers(&bench, &[("NO_GCE_CHECK", "true")]);
    let missing = first("v", 1).fault(&none).await;
    assert_eq!(
        (missing.code, missing.blame, missing.retry),
        ("credentials_missing", Blame::Client, Retry::Slowly)
    );
    // Something else lives at the address.
    bench.fake.trouble("metadata", [Trouble::Garbage("hello", 200)]);
    let other = servers(&bench, &[("GCE_METADATA_HOST", host), ("GOOGLE_CLOUD_PROJECT", FakeGcp::PROJECT)]);
    assert_eq!(first("v", 1).fault(&other).await.code, "credentials_missing");
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at the call")]
fn external(bench: &Bench, source: Value) -> Value {
    json!({"type": "external_account", "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{}/sts", bench.fake.url()),
        "credential_source": source})
}

#[tokio::test]
async fn an_identity_from_elsewhere_is_exchanged_and_read_anew_each_time() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let token = file(&dir, "token", "good-identity\n");
    let mut credentials = external(&bench, json!({"file": token}));
    credentials["service_account_impersonation_url"] =
        format!("{}/impersonate/other:generateAccessToken", bench.fake.url()).into();
    let path = file(&dir, "adc.json", &credentials.to_string());
    let vars =
        [("GOOGLE_APPLICATION_CREDENTIALS", path.as_str()), ("GOOGLE_CLOUD_PROJECT", FakeGcp::PROJECT)];
    let destination = servers(&bench, &vars);
    let one = first("v1", 1).written(&destination).await;
    assert_eq!(bench.calls(["sts", "impersonate", "token"]), [1, 1, 0]);

    file(&dir, "token", "expired-identity");
    bench.advance(Duration::from_secs(3600));
    assert_eq!(after(&one, "v2", 2).fault(&destination).await.code, "credentials_rejected");
    file(&dir, "token", "good-identity");
    after(&one, "v2", 2).written(&destination).await;

    // From a URL, within a JSON object.
    let source = json!({"url": format!("{}/subject", bench.fake.url()), "headers": {"x-ask": "nicely"},
        "format": {"type": "json", "subject_token_field_name": "value"}});
    file(&dir, "adc.json", &external(&bench, source).to_string());
    present(&servers(&bench, &vars), "a").await;
    assert_eq!(bench.fake.calls("subject"), 1);
    let source = json!({"url": format!("{}/subject", bench.fake.url())});
    file(&dir, "adc.json", &external(&bench, source).to_string());
    assert_eq!(fault(look(&servers(&bench, &vars), "a").await).code, "identity_token_missing");
    // No program is run.
    let source = json!({"executable": {"command": "/bin/touch /tmp/keyferry-was-here"}});
    file(&dir, "adc.json", &external(&bench, source).to_string());
    let refused = fault(look(&servers(&bench, &vars), "a").await);
    assert!(
        refused.code == "credentials_config" && refused.message.contains("runs no programs"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_account_is_impersonated() {
    let bench = Bench::new().await;
    let impersonated = |target: &str| {
        json!({"type": "impersonated_service_account", "delegates": [],
            "service_account_impersonation_url": format!("{}/impersonate/{target}", bench.fake.url()),
            "source_credentials": serde_json::from_str::<Value>(&bench.fake.credentials()).unwrap()})
        .to_string()
    };
    let destination = bench.open(json!({"credentials": impersonated("other:generateAccessToken")}));
    first("v", 1).written(&destination).await;
    assert_eq!(bench.calls(["token", "impersonate"]), [1, 1]);
    let denied = first("v", 1).fault(&bench.open(json!({"credentials": impersonated("root:x")}))).await;
    assert_eq!(
        (denied.code, denied.blame, denied.retry),
        ("impersonation_denied", Blame::Client, Retry::Slowly)
    );
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire_and_once_for_all() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let many = || futures_util::future::join_all((0..10).map(|_| look(&destination, "a")));
    many().await;
    assert_eq!(bench.fake.calls("token"), 1);
    // 3 minutes 45 seconds before the end (destinations.md 3.4).
    bench.advance(Duration::from_secs(3600 - 226));
    many().await;
    assert_eq!(bench.fake.calls("token"), 1);
    bench.advance(Duration::from_secs(2));
    many().await;
    assert_eq!(bench.fake.calls("token"), 2);

    // Still good for a while: a token service that is down harms nobody yet.
    bench.advance(Duration::from_secs(3600 - 60));
    bench.fake.trouble("token", [Trouble::Garbage("", 503)]);
    look(&destination, "a").await.unwrap();
    bench.advance(Duration::from_secs(50));
    bench.fake.trouble("token", [Trouble::Garbage("", 503)]);
    assert_eq!(fault(look(&destination, "a").await).code, "provider_down");
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_for() {
    for ahead in [true, false] {
        let bench = Bench::new().await;
        let other = if ahead { &bench.ours } else { &bench.theirs };
        other.advance(Duration::from_secs(7200));
        first("v", 1).written(&bench.open(json!({}))).await;
        assert_eq!(bench.fake.calls("token"), 2);
    }
}

#[tokio::test]
async fn a_stale_key_is_refused_until_it_is_replaced() {
    let bench = Bench::new().await;
    let stale = bench.open(json!({"credentials": bench.fake.stale_credentials()}));
    let refused = first("v", 1).fault(&stale).await;
    assert_eq!(
        (refused.code, refused.blame, refused.retry),
        ("credentials_rejected", Blame::Client, Retry::Slowly)
    );
    assert_eq!(bench.fake.all_calls(), 0);
}

/// A token is good for all that its account may do: it goes where the operator says, not where somebody
/// who configures destinations says.
#[tokio::test]
async fn the_servers_own_token_is_not_sent_where_a_destination_says() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let path = file(&dir, "key.json", &bench.fake.credentials());
    let env = environment(&[("GOOGLE_APPLICATION_CREDENTIALS", &path)]);
    let lenient = NetSettings { allow_private_networks: true, ..NetSettings::default() };
    let net = bench.net(lenient, env);
    for field in ["endpoint", "auth_endpoint"] {
        let refused = try_open(json!({ field: bench.fake.url() }), &net).err().unwrap();
        assert_eq!(refused.field, field);
    }
    assert_eq!(bench.calls(["token", "get"]), [0, 0]);
}

/// Addresses within a destination's credentials are a user's: under the destination's own network policy.
#[tokio::test]
async fn addresses_in_credentials_are_guarded() {
    let bench = Bench::new().await;
    let url = bench.fake.url();
    let port: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let strict = |more: Value| {
        let mut settings = json!({"credentials": bench.fake.credentials(), "endpoint": url});
        if let (Value::Object(all), Value::Object(more)) = (&mut settings, more) {
            all.extend(more);
        }
        try_open(settings, &bench.net(NetSettings::default(), Snapshot::default())).unwrap()
    };
    let blocked = first("v", 1).fault(&strict(json!({}))).await;
    assert_eq!((blocked.code, blocked.blame), ("network_blocked", Blame::Client));
    assert_eq!(bench.fake.calls("token"), 0);
    let allowed = strict(json!({"allowed_ipv4_addresses": "127.0.0.1/32", "allowed_ports": port}));
    first("v", 1).written(&allowed).await;

    // Nor the machine's metadata service, whatever else is allowed.
    let mut file: Value = serde_json::from_str(&bench.fake.credentials()).unwrap();
    file["token_uri"] = "http://169.254.169.254/computeMetadata/v1/".into();
    let nosy = bench.open(json!({"credentials": file.to_string()}));
    assert_eq!(first("v", 1).fault(&nosy).await.code, "network_blocked");
}

#[tokio::test]
async fn a_token_may_be_asked_for_elsewhere() {
    let bench = Bench::new().await;
    let mut file: Value = serde_json::from_str(&bench.fake.credentials()).unwrap();
    // Whom the statement is for stays as it is.
    assert!(file["token_uri"].as_str().unwrap().ends_with("/token"));
    let elsewhere = Bench::new().await;
    let auth_endpoint = format!("{}/token", bench.fake.url());
    first("v", 1).written(&bench.open(json!({ "auth_endpoint": auth_endpoint }))).await;
    file["token_uri"] = format!("{}/token", elsewhere.fake.url()).into();
    let refused = bench.open(json!({"credentials": file.to_string(), "auth_endpoint": auth_endpoint}));
    assert_eq!(first("v", 1).fault(&refused).await.code, "credentials_rejected");
    assert_eq!(elsewhere.fake.calls("token"), 0);
}

/// Signs nothing, but says what it was asked for.
struct Signer;

#[async_trait::async_trait]
impl IdentityTokens for Signer {
    async fn issue(&self, audience: &str, subject: &str, ttl: Duration) -> Result<SecretBytes, Fault> {
        assert_eq!((audience, ttl.as_secs()), ("//iam.googleapis.com/pool", 3600));
        assert_eq!(subject, "secrets-sync:root:gcp-sm:prod");
        Ok(SecretBytes::from("good-identity"))
    }
}

#[tokio::test]
async fn a_token_of_the_servers_own_acts_as_a_service_account() {
    let bench = Bench::new().await;
    let url = bench.fake.url();
    let operators = environment(&[
        (OVERRIDE, &url),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", &url),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", &url),
    ]);
    let net = bench.net(NetSettings::default(), operators);
    let signing = net.with_identity(Identity::new(Arc::new(Signer), "gcp-sm", "prod"));
    let settings = json!({"identity_token_audience": "//iam.googleapis.com/pool", "project_id": FakeGcp::PROJECT,
        "service_account_email": "sync@my-project.iam.gserviceaccount.com"});
    // Under strict networking: where the operator says, and nowhere else.
    first("v", 1).written(&try_open(settings.clone(), &signing).unwrap()).await;
    assert_eq!(bench.calls(["sts", "impersonate"]), [1, 1]);

    assert_eq!(try_open(settings.clone(), &net).err().unwrap().field, "identity_token_audience");
    for (name, address) in [("endpoint", url.as_str()), ("auth_endpoint", url.as_str())] {
        let mut nosy = settings.clone();
        nosy[name] = address.into();
        assert_eq!(try_open(nosy, &signing).err().unwrap().field, name);
    }
}
