use std::{fs, io, net::IpAddr, time::Duration};

use destinations::{Identity, IdentityTokens, net::Resolve};
use futures_util::future::BoxFuture;
use model::SecretBytes;
use tempfile::TempDir;

use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/sync";

/// Settings without keys of their own.
fn bare(bench: &Bench) -> Value {
    json!({"region": REGION, "endpoint": bench.fake.url()})
}

async fn works(destination: &Arc<dyn Destination>) {
    create(destination, "a").await;
}

#[tokio::test]
async fn the_environment_gives_keys() {
    let bench = Bench::new().await;
    let env = environment(&[
        ("AWS_ACCESS_KEY_ID", FakeAws::ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", FakeAws::SECRET_KEY),
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &bench.fake.url()),
    ]);
    works(&bench.open_in(json!({}), env)).await;
    assert_eq!(bench.fake.names("eu-west-3"), ["a"]);
}

fn profiles(dir: &TempDir, config: &str, credentials: &str) -> [(&'static str, String); 2] {
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [
        ("AWS_CONFIG_FILE", path("config", config)),
        ("AWS_SHARED_CREDENTIALS_FILE", path("credentials", credentials)),
    ]
}

fn with_profiles(files: &[(&'static str, String); 2], more: &[(&str, &str)]) -> Snapshot {
    let mut all: Vec<(&str, &str)> = files.iter().map(|(name, path)| (*name, path.as_str())).collect();
    all.extend(more);
    environment(&all)
}

fn keys_section(name: &str) -> String {
    format!(
        "[{name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        FakeAws::ACCESS_KEY,
        FakeAws::SECRET_KEY
    )
}

#[tokio::test]
async fn a_profile_gives_keys_and_region() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let files = profiles(&dir, "[profile ops]\nregion = eu-west-2\n", &keys_section("ops"));
    let env = with_profiles(&files, &[("AWS_PROFILE", "ops")]);
    works(&bench.open_in(json!({"endpoint": bench.fake.url()}), env)).await;
    assert_eq!(bench.fake.names("eu-west-2"), ["a"]);

    let env = with_profiles(&files, &[("AWS_PROFILE", "nobody")]);
    assert_eq!(
        code(put(&bench.open_in(bare(&bench), env), "a", "v", 1, Expect::Absent).await),
        "credentials_config"
    );
}

#[tokio::test]
async fn a_profile_names_a_role_on_top_of_another() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let config = format!("[profile ops]\nrole_arn = {ROLE}\nsource_profile = base\n");
    let files = profiles(&dir, &config, &keys_section("base"));
    let url = bench.fake.url();
    let env = with_profiles(&files, &[("AWS_PROFILE", "ops"), ("AWS_ENDPOINT_URL_STS", &url)]);
    works(&bench.open_in(bare(&bench), env)).await;
    assert_eq!(bench.fake.calls("AssumeRole"), 1);

    let files = profiles(&dir, "[default]\ncredential_process = /bin/true\n", "");
    let unsupported = bench.open_in(bare(&bench), with_profiles(&files, &[]));
    assert_eq!(code(put(&unsupported, "b", "v", 1, Expect::Absent).await), "credentials_config");
}

#[tokio::test]
async fn a_role_is_assumed_with_keys_and_external_id() {
    let bench = Bench::new().await;
    let with = |id: &str| {
        bench.open(json!({"role_arn": ROLE, "external_id": id, "auth_endpoint": bench.fake.url()}))
    };
    works(&with("right")).await;
    assert_eq!(bench.fake.calls("AssumeRole"), 1);
    assert_eq!(code(put(&with("wrong"), "b", "v", 1, Expect::Absent).await), "role_denied");
}

#[tokio::test]
async fn an_identity_token_gives_a_role() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "good-token\n").unwrap();
    let url = bench.fake.url();
    let env = environment(&[
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &url),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
    ]);
    works(&bench.open_in(bare(&bench), env.clone())).await;
    assert_eq!(bench.fake.calls("AssumeRoleWithWebIdentity"), 1);

    // What is configured and fails is told; nothing else is tried in its place.
    fs::write(&token, "bad-token").unwrap();
    let refused = put(&bench.open_in(bare(&bench), env), "b", "v", 1, Expect::Absent).await;
    assert_eq!(code(refused), "identity_token_rejected");
    assert_eq!(bench.fake.calls("imds"), 0);
}

/// Signs nothing, but says what it was asked for.
struct Signer;

#[async_trait::async_trait]
impl IdentityTokens for Signer {
    async fn issue(&self, audience: &str, subject: &str, ttl: Duration) -> Result<SecretBytes, Fault> {
        assert_eq!((audience, ttl.as_secs()), ("sts.amazonaws.com", 900));
        assert_eq!(subject, "secrets-sync:root:aws-sm:prod");
        Ok(SecretBytes::from("good-token"))
    }
}

#[tokio::test]
async fn a_token_of_the_servers_own_gives_a_role() {
    let bench = Bench::new().await;
    let env = environment(&[("AWS_ENDPOINT_URL_STS", &bench.fake.url())]);
    let net = bench.net(NetSettings { allow_private_networks: true, ..NetSettings::default() }, env);
    let signing = net.with_identity(Identity::new(Arc::new(Signer), "aws-sm", "prod"));
    let with = |more: Value, net: &Arc<Net>| {
        let mut settings = bare(&bench);
        settings["identity_token_audience"] = "sts.amazonaws.com".into();
        settings["identity_token_ttl"] = "15m".into();
        settings["role_arn"] = ROLE.into();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        try_open(settings, net)
    };
    works(&with(json!({}), &signing).unwrap()).await;
    assert_eq!(bench.fake.calls("AssumeRoleWithWebIdentity"), 1);

    let refused = |more: Value, net: &Arc<Net>| with(more, net).err().unwrap().field;
    assert_eq!(refused(json!({}), &net), "identity_token_audience", "nobody signs");
    assert_eq!(refused(json!({"role_arn": null}), &signing), "role_arn");
    assert_eq!(refused(json!({"external_id": "an-id"}), &signing), "external_id");
    assert_eq!(refused(json!({"identity_token_audience": null}), &signing), "identity_token_ttl");
    let keys = json!({"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "key"});
    assert_eq!(refused(keys, &signing), "identity_token_audience");
}

struct Nowhere;

impl Resolve for Nowhere {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::NotFound.into())))
    }
}

/// Whoever configures destinations must not be able to collect the server's identity token.
#[tokio::test]
async fn an_identity_token_is_not_sent_where_a_destination_says() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "good-token").unwrap();
    let env =
        environment(&[("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())]);
    let settings = NetSettings {
        allow_private_networks: true,
        resolver: Some(Arc::new(Nowhere)),
        ..NetSettings::default()
    };
    let mut nosy = bare(&bench);
    nosy["auth_endpoint"] = bench.fake.url().into();
    let destination = try_open(nosy, &bench.net(settings, env)).unwrap();
    assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "host_not_found");
    assert_eq!(bench.fake.calls("AssumeRoleWithWebIdentity"), 0);
}

/// The machine's own services are reached for credentials, past a policy that lets nothing private in.
#[tokio::test]
async fn the_machine_gives_credentials_and_region_under_strict_networking() {
    let (bench, machine) = (Bench::new().await, Bench::new().await);
    let url = machine.fake.url();
    let env = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    let port: u16 = bench.fake.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let settings = json!({"endpoint": bench.fake.url(), "allowed_ipv4_addresses": "127.0.0.1/32",
        "allowed_ports": port});
    let destination = try_open(settings, &bench.net(NetSettings::default(), env.clone())).unwrap();
    // The keys are the machine's and not known to the other service: that far it got.
    let refused = put(&destination, "a", "v", 1, Expect::Absent).await;
    assert_eq!(code(refused), "credentials_rejected");
    assert_eq!(machine.fake.calls("imds"), 5);

    let settings = json!({"endpoint": machine.fake.url()});
    let strict = try_open(settings.clone(), &bench.net(NetSettings::default(), env.clone())).unwrap();
    assert_eq!(code(put(&strict, "a", "v", 1, Expect::Absent).await), "network_blocked");
    works(&bench.open_in(settings, env)).await;
    assert_eq!(machine.fake.names("eu-north-1"), ["a"]);
}

#[tokio::test]
async fn a_container_gives_credentials() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let token = dir.path().join("token");
    fs::write(&token, "ecs-token").unwrap();
    let env = environment(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/ecs/credentials", bench.fake.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ]);
    works(&bench.open_in(bare(&bench), env)).await;
    assert_eq!(bench.fake.calls("ecs"), 1);
}

#[tokio::test]
async fn without_any_source_that_is_said() {
    let bench = Bench::new().await;
    let env = environment(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let nobody = bench.open_in(bare(&bench), env.clone());
    assert_eq!(code(put(&nobody, "a", "v", 1, Expect::Absent).await), "credentials_missing");
    let nowhere = bench.open_in(json!({}), env);
    assert_eq!(code(put(&nowhere, "a", "v", 1, Expect::Absent).await), "region_missing");
}

fn with_role(bench: &Bench) -> Arc<dyn Destination> {
    bench.open(json!({"role_arn": ROLE, "auth_endpoint": bench.fake.url()}))
}

#[tokio::test]
async fn credentials_are_renewed_before_they_expire_and_once_for_all() {
    let bench = Bench::new().await;
    let destination = with_role(&bench);
    let many = |from: usize| {
        let destination = &destination;
        futures_util::future::join_all((from..from + 10).map(|n| async move {
            let name = format!("n{n}");
            written(put(destination, &name, "v", 1, Expect::Absent).await);
        }))
    };
    many(0).await;
    assert_eq!(bench.fake.calls("AssumeRole"), 1);
    bench.advance(Duration::from_secs(54 * 60));
    many(10).await;
    assert_eq!(bench.fake.calls("AssumeRole"), 1);
    bench.advance(Duration::from_secs(2 * 60));
    many(20).await;
    assert_eq!(bench.fake.calls("AssumeRole"), 2);

    // Still good for some minutes: a token service that is down harms nobody yet.
    bench.advance(Duration::from_secs(57 * 60));
    bench.fake.trouble("AssumeRole", [destinations::fakes::Trouble::Refuse("ServiceUnavailable", 503)]);
    create(&destination, "late").await;
}

#[tokio::test]
async fn expired_credentials_are_renewed_once() {
    let bench = Bench::new().await;
    let destination = with_role(&bench);
    create(&destination, "a").await;
    bench.fake.expire_keys(None);
    create(&destination, "b").await;
    assert_eq!(bench.fake.calls("AssumeRole"), 2);

    let fixed = bench.open(json!({}));
    bench.fake.expire_keys(Some(FakeAws::ACCESS_KEY));
    bench.fake.forget_calls();
    assert_eq!(code(put(&fixed, "c", "v", 1, Expect::Absent).await), "credentials_expired");
    assert_eq!(bench.fake.all_calls(), 1);
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_for_once() {
    let bench = Bench::new().await;
    bench.ours.advance(Duration::from_secs(3600));
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    assert_eq!(bench.fake.all_calls(), 2);
    create(&destination, "b").await;
    assert_eq!(bench.fake.all_calls(), 3);
}

#[tokio::test]
async fn a_refused_key_works_once_it_is_let_in() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"access_key_id": "AKIANEW"}));
    assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "credentials_rejected");
    bench.fake.allow_key("AKIANEW", FakeAws::SECRET_KEY, None);
    create(&destination, "a").await;
}
