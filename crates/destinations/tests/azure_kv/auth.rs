use std::{fs, path::Path};

use destinations::{
    Identity, IdentityTokens, Retry,
    fakes::{Refuse, Trouble},
};
use futures_util::future::join_all;
use model::SecretBytes;
use tempfile::TempDir;

use super::*;

async fn works(destination: &Arc<dyn Destination>) {
    create(destination, "a").await;
}

#[tokio::test]
async fn a_client_secret_gives_a_token_that_is_kept() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    for at in ["a", "b", "c"] {
        create(&destination, at).await;
    }
    assert_eq!(bench.fake.calls("Token"), 1);
    // Nobody asked without a token: tenant and resource are known.
    assert_eq!((bench.fake.calls("Versions"), bench.fake.calls("List")), (3, 0));
    let asked = bench.fake.last_token_request();
    let expected: BTreeMap<String, String> = [
        ("grant_type", "client_credentials"),
        ("client_id", FakeAzure::CLIENT_ID),
        ("client_secret", FakeAzure::CLIENT_SECRET),
        ("scope", "https://vault.azure.net/.default"),
    ]
    .iter()
    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
    .collect();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_tenant_that_is_not_said_is_the_vaults() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"tenant_id": null}));
    works(&destination).await;
    assert_eq!((bench.fake.calls("List"), bench.fake.calls("Token")), (1, 1));
    create(&destination, "b").await;
    assert_eq!((bench.fake.calls("List"), bench.fake.calls("Token")), (1, 1));

    // The probe's own failures are told like any other's.
    let other = bench.open(json!({"tenant_id": null}));
    bench.fake.refuse("List", [Refuse { status: 503, ..Refuse::default() }]);
    assert_eq!(code(put(&other, "c", "v", 1, Expect::Absent).await), "provider_down");
    bench.fake.trouble("List", [Trouble::Garbage("{}", 200)]);
    assert_eq!(code(put(&other, "c", "v", 1, Expect::Absent).await), "challenge_missing");
    create(&other, "c").await;
}

/// Whoever answers for a vault must not be able to collect tokens for something else.
#[tokio::test]
async fn a_challenge_for_a_foreign_resource_gets_no_token() {
    let bench = Bench::new().await;
    bench.fake.set_resource("https://management.azure.com");
    // The resource is known, the token is refused, and the challenge asks for another.
    let known = bench.open(json!({}));
    assert_eq!(code(put(&known, "a", "v", 1, Expect::Absent).await), "challenge_rejected");
    assert_eq!(bench.fake.calls("Token"), 1);
    assert_eq!(bench.fake.last_token_request()["scope"], "https://vault.azure.net/.default");

    // A host that is in no domain of Azure's.
    bench.fake.forget_calls();
    bench.fake.set_resource("https://vault.azure.net");
    let foreign = bench.open(json!({"key_vault_uri": bench.fake.url(), "endpoint": null}));
    assert_eq!(code(put(&foreign, "a", "v", 1, Expect::Absent).await), "challenge_rejected");
    assert_eq!(bench.fake.calls("Token"), 0);
}

#[tokio::test]
async fn a_vault_of_an_unknown_cloud_says_what_it_wants() {
    let bench = Bench::new().await;
    bench.fake.set_resource("https://vault.local.stack.example");
    let destination = bench.open(json!({"key_vault_uri": "https://my.vault.local.stack.example"}));
    works(&destination).await;
    assert_eq!(bench.fake.last_token_request()["scope"], "https://vault.local.stack.example/.default");
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire_and_once_for_all() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let many = |from: usize| {
        let destination = &destination;
        join_all((from..from + 10).map(|n| async move {
            create(destination, &format!("n{n}")).await;
        }))
    };
    many(0).await;
    assert_eq!(bench.fake.calls("Token"), 1);
    bench.advance(54 * 60);
    many(10).await;
    assert_eq!(bench.fake.calls("Token"), 1);
    bench.advance(60);
    many(20).await;
    assert_eq!(bench.fake.calls("Token"), 2);

    // Still good for some minutes: a sign-in that is down harms nobody yet, and is not asked at every call.
    bench.advance(56 * 60);
    bench.fake.refuse("Token", [Refuse { status: 503, ..Refuse::default() }; 2]);
    many(30).await;
    assert_eq!(bench.fake.calls("Token"), 3);
    bench.advance(5 * 60);
    assert_eq!(code(put(&destination, "late", "v", 1, Expect::Absent).await), "provider_down");
    create(&destination, "late").await;
}

#[tokio::test]
async fn a_token_is_renewed_when_the_authority_says() {
    let bench = Bench::new().await;
    bench.fake.set_token_life(Duration::from_secs(86_400), Some(Duration::from_secs(1000)));
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    bench.advance(999);
    create(&destination, "b").await;
    assert_eq!(bench.fake.calls("Token"), 1);
    bench.advance(1);
    create(&destination, "c").await;
    assert_eq!(bench.fake.calls("Token"), 2);
}

#[tokio::test]
async fn waiting_callers_share_a_refusal() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({"client_secret": "wrong"}));
    let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    let outcomes = join_all(names.iter().map(|at| put(&destination, at, "v", 1, Expect::Absent))).await;
    assert!(outcomes.into_iter().all(|outcome| code(outcome) == "credentials_rejected"));
    assert_eq!((bench.fake.calls("Token"), bench.fake.vault_calls()), (1, 0));

    // It works as soon as the secret does.
    bench.fake.set_client_secret("wrong");
    works(&destination).await;
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    bench.fake.revoke_tokens();
    bench.fake.forget_calls();
    written(put(&destination, "a", "w", 2, Expect::Ours(Some("x"))).await);
    assert_eq!((bench.fake.calls("Token"), bench.fake.calls("Set")), (1, 2));
    assert_eq!(bench.fake.view("a").unwrap().versions, 2);

    bench.fake.forget_calls();
    bench.fake.refuse("Set", [Refuse { status: 401, code: "Unauthorized", ..Refuse::default() }; 2]);
    let refused = put(&destination, "a", "x", 3, Expect::Ours(Some("x"))).await;
    let fault = refused.clone().unwrap_err();
    assert_eq!((code(refused), fault.retry, fault.ambiguous), ("credentials_rejected", Retry::Slowly, false));
    assert_eq!((bench.fake.calls("Token"), bench.fake.calls("Set")), (1, 2));
    // Whoever mends it outside need not tell us.
    written(put(&destination, "a", "x", 3, Expect::Ours(Some("x"))).await);
}

#[tokio::test]
async fn claims_that_are_asked_for_are_brought_once() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    bench.fake.ask_for_claims();
    bench.fake.forget_calls();
    written(put(&destination, "a", "w", 2, Expect::Ours(Some("x"))).await);
    assert_eq!((bench.fake.calls("Token"), bench.fake.calls("Set")), (1, 2));
    let claims: Value = serde_json::from_str(&bench.fake.last_token_request()["claims"]).unwrap();
    assert!(claims["access_token"]["nbf"]["essential"].as_bool().unwrap());

    // An identity that cannot bring them is told so after one try.
    let machine = bench.open_as_server(json!({}), machine(&bench));
    bench.fake.forget_calls();
    assert_eq!(code(put(&machine, "b", "v", 1, Expect::Absent).await), "credentials_rejected");
    assert_eq!((bench.fake.calls("Machine"), bench.fake.calls("Versions")), (2, 2));
}

fn machine(bench: &Bench) -> Snapshot {
    environment(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &bench.fake.url())])
}

#[tokio::test]
async fn a_machine_gives_its_identity() {
    let bench = Bench::new().await;
    let destination = bench.open_as_server(json!({}), machine(&bench));
    works(&destination).await;
    assert_eq!((bench.fake.calls("Machine"), bench.fake.calls("Token")), (1, 0));
    let asked = bench.fake.last_token_request();
    assert_eq!(asked["resource"], "https://vault.azure.net");
    assert!(!asked.contains_key("client_id"));

    let chosen = bench.open_as_server(json!({"client_id": FakeAzure::CLIENT_ID}), machine(&bench));
    create(&chosen, "b").await;
    assert_eq!(bench.fake.last_token_request()["client_id"], FakeAzure::CLIENT_ID);
    let unknown = bench.open_as_server(json!({"client_id": "no-such-identity"}), machine(&bench));
    assert_eq!(code(put(&unknown, "c", "v", 1, Expect::Absent).await), "credentials_missing");
}

#[tokio::test]
async fn a_machine_that_is_not_ready_passes() {
    let bench = Bench::new().await;
    for (at, (status, expected)) in [
        (404, "identity_unavailable"),
        (410, "identity_unavailable"),
        (429, "throttled"),
        (500, "identity_unavailable"),
    ]
    .into_iter()
    .enumerate()
    {
        let destination = bench.open_as_server(json!({}), machine(&bench));
        let at = format!("n{at}");
        bench.fake.refuse("Machine", [Refuse { status, retry_after: Some(4), ..Refuse::default() }]);
        let refused = put(&destination, &at, "v", 1, Expect::Absent).await;
        assert_eq!(refused.clone().unwrap_err().retry, Retry::After(Duration::from_secs(4)));
        assert_eq!(code(refused), expected);
        create(&destination, &at).await;
    }
    let nowhere = environment(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")]);
    let nobody = bench.open_as_server(json!({}), nowhere);
    assert_eq!(code(put(&nobody, "x", "v", 1, Expect::Absent).await), "credentials_missing");
}

/// The machine's own services are reached past a policy that lets nothing private in.
#[tokio::test]
async fn strict_networking_holds_for_the_vault_and_not_for_the_machine() {
    let bench = Bench::new().await;
    let uri = format!("http://pretend.vault.azure.net:{}", bench.fake.port());
    let net = || {
        let settings = NetSettings { resolver: Some(Arc::new(Hosts::default())), ..NetSettings::default() };
        bench.net(settings, machine(&bench))
    };
    let strict = try_open(json!({ "key_vault_uri": uri }), &net()).unwrap();
    assert_eq!(code(put(&strict, "a", "v", 1, Expect::Absent).await), "network_blocked");
    assert_eq!((bench.fake.calls("Machine"), bench.fake.vault_calls()), (1, 0));

    let allowed = json!({"key_vault_uri": uri, "allowed_ports": bench.fake.port(),
        "allowed_ipv4_addresses": "127.0.0.1/32"});
    works(&try_open(allowed, &net()).unwrap()).await;
}

/// Whoever configures destinations must not be able to collect tokens of the server's identity.
#[tokio::test]
async fn the_servers_identity_is_used_with_vaults_of_azure_only() {
    let bench = Bench::new().await;
    let nosy = json!({"key_vault_uri": FakeAzure::VAULT, "endpoint": bench.fake.url()});
    let destination = bench.open_in(nosy, machine(&bench));
    assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "challenge_rejected");
    assert_eq!(bench.fake.calls("Machine"), 0);

    let nosy = json!({"key_vault_uri": bench.fake.url()});
    let destination = bench.open_in(nosy, machine(&bench));
    assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "challenge_rejected");
    assert_eq!(bench.fake.calls("Machine"), 0);
}

#[tokio::test]
async fn app_service_gives_its_identity() {
    let bench = Bench::new().await;
    let url = format!("{}/msi/token", bench.fake.url());
    let with = |header: &str| environment(&[("IDENTITY_ENDPOINT", &url), ("IDENTITY_HEADER", header)]);
    works(&bench.open_as_server(json!({"client_id": FakeAzure::CLIENT_ID}), with("service-header"))).await;
    assert_eq!((bench.fake.calls("Service"), bench.fake.calls("Machine")), (1, 0));
    assert_eq!(bench.fake.last_token_request()["client_id"], FakeAzure::CLIENT_ID);

    let wrong = bench.open_as_server(json!({}), with("another"));
    assert_eq!(code(put(&wrong, "b", "v", 1, Expect::Absent).await), "credentials_missing");
    for unsupported in [
        environment(&[("IDENTITY_ENDPOINT", &url), ("IMDS_ENDPOINT", "http://127.0.0.1:40342")]),
        environment(&[
            ("IDENTITY_ENDPOINT", &url),
            ("IDENTITY_HEADER", "x"),
            ("IDENTITY_SERVER_THUMBPRINT", "y"),
        ]),
    ] {
        let destination = bench.open_as_server(json!({}), unsupported);
        assert_eq!(code(put(&destination, "b", "v", 1, Expect::Absent).await), "credentials_config");
    }
}

fn workload(bench: &Bench, file: &Path, more: &[(&str, &str)]) -> Snapshot {
    let url = bench.fake.url();
    let mut all = vec![
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
        // What comes later is not tried.
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str()),
    ];
    all.extend(more);
    environment(&all)
}

const IDS: [(&str, &str); 2] =
    [("AZURE_TENANT_ID", FakeAzure::TENANT), ("AZURE_CLIENT_ID", FakeAzure::CLIENT_ID)];

#[tokio::test]
async fn an_identity_token_gives_a_token_and_is_read_each_time() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let file = dir.path().join("token");
    fs::write(&file, format!("{}\n", FakeAzure::IDENTITY_TOKEN)).unwrap();
    let destination = bench.open_as_server(json!({}), workload(&bench, &file, &IDS));
    works(&destination).await;
    let asked = bench.fake.last_token_request();
    assert_eq!(asked["client_assertion"], FakeAzure::IDENTITY_TOKEN);
    assert!(!asked.contains_key("client_secret"));

    fs::write(&file, "too.old.token").unwrap();
    bench.advance(3600);
    assert_eq!(code(put(&destination, "b", "v", 1, Expect::Absent).await), "identity_token_rejected");
    fs::write(&file, FakeAzure::IDENTITY_TOKEN).unwrap();
    create(&destination, "b").await;
    assert_eq!(bench.fake.calls("Machine"), 0);

    // The destination may name tenant and app; the environment need not.
    let ids = json!({"tenant_id": FakeAzure::TENANT, "client_id": FakeAzure::CLIENT_ID});
    create(&bench.open_as_server(ids, workload(&bench, &file, &[])), "c").await;
    for (environment, expected) in [
        (workload(&bench, &file, &[]), "credentials_config"),
        (workload(&bench, &dir.path().join("none"), &IDS), "credentials_config"),
        (workload(&bench, &file, &[("AZURE_TENANT_ID", "a/b"), IDS[1]]), "credentials_config"),
    ] {
        let destination = bench.open_as_server(json!({}), environment);
        assert_eq!(code(put(&destination, "d", "v", 1, Expect::Absent).await), expected);
    }
    fs::write(&file, " \n").unwrap();
    let empty = bench.open_as_server(json!({}), workload(&bench, &file, &IDS));
    assert_eq!(code(put(&empty, "d", "v", 1, Expect::Absent).await), "credentials_config");
}

/// Whoever configures destinations must not be able to collect what the server signs in with.
#[tokio::test]
async fn what_the_server_holds_is_not_sent_where_a_destination_says() {
    let (bench, dir) = (Bench::new().await, TempDir::new().unwrap());
    let file = dir.path().join("token");
    fs::write(&file, FakeAzure::IDENTITY_TOKEN).unwrap();
    let token_file = [("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()), IDS[0], IDS[1]];
    let secret = [("AZURE_CLIENT_SECRET", FakeAzure::CLIENT_SECRET), IDS[0], IDS[1]];
    for variables in [token_file, secret] {
        let nosy = json!({"auth_endpoint": bench.fake.url()});
        let destination = bench.open_as_server(nosy, environment(&variables));
        // It goes to Azure's own sign-in, which cannot be found from here.
        assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "host_not_found");
        assert_eq!(bench.fake.calls("Token"), 0);
    }
}

#[tokio::test]
async fn the_environment_gives_a_secret_unless_another_app_is_named() {
    let bench = Bench::new().await;
    let url = bench.fake.url();
    let variables = [
        ("AZURE_CLIENT_SECRET", FakeAzure::CLIENT_SECRET),
        ("AZURE_AUTHORITY_HOST", &url),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url),
        IDS[0],
        IDS[1],
    ];
    works(&bench.open_as_server(json!({}), environment(&variables))).await;
    assert_eq!((bench.fake.calls("Token"), bench.fake.calls("Machine")), (1, 0));
    let other = bench.open_as_server(json!({"client_id": "another-app"}), environment(&variables));
    assert_eq!(code(put(&other, "b", "v", 1, Expect::Absent).await), "credentials_missing");
    assert_eq!((bench.fake.calls("Token"), bench.fake.calls("Machine")), (1, 1));
}

/// Which hosts would be called, asked of a resolver that knows none of them.
#[tokio::test]
async fn every_cloud_signs_in_at_its_own_authority() {
    let bench = Bench::new().await;
    let own = |uri: &str, cloud: Option<&str>| json!({"key_vault_uri": uri, "tenant_id": "t", "client_id": "c", "client_secret": "s", "cloud": cloud});
    let elsewhere = [("AZURE_AUTHORITY_HOST", "login.elsewhere.example")];
    let federated = [("AZURE_FEDERATED_TOKEN_FILE", "/dev/null"), elsewhere[0], IDS[0], IDS[1]];
    for (settings, variables, host) in [
        (own("https://x.vault.azure.net", None), &[][..], "login.microsoftonline.com"),
        (own("https://x.vault.azure.net", Some("cloud")), &[], "login.microsoftonline.com"),
        (own("https://x.vault.usgovcloudapi.net", None), &[], "login.microsoftonline.us"),
        (
            own("https://x.vault.usgovcloudapi.net", Some("AzureUSGovernment")),
            &[],
            "login.microsoftonline.us",
        ),
        (own("https://x.vault.azure.cn", Some("china")), &[], "login.chinacloudapi.cn"),
        // The destination's cloud counts for the destination's secret, whatever the server is set to.
        (own("https://x.vault.azure.cn", None), &elsewhere, "login.chinacloudapi.cn"),
    ] {
        let hosts = Arc::new(Hosts::default());
        let net = NetSettings { resolver: Some(hosts.clone()), ..NetSettings::default() };
        let settings = merged(settings, json!({}));
        let destination = try_open(settings.clone(), &bench.net(net, environment(variables))).unwrap();
        assert_eq!(
            code(put(&destination, "a", "v", 1, Expect::Absent).await),
            "host_not_found",
            "{settings}"
        );
        assert_eq!(*hosts.0.lock().unwrap(), [host], "{settings}");
    }
    // An empty identity token is not sent anywhere.
    let hosts = Arc::new(Hosts::default());
    let net = NetSettings { resolver: Some(hosts.clone()), ..NetSettings::default() };
    let settings = json!({"key_vault_uri": "https://x.vault.azure.net"});
    let destination = try_open(settings, &bench.net(net, environment(&federated))).unwrap();
    assert_eq!(code(put(&destination, "a", "v", 1, Expect::Absent).await), "credentials_config");
    assert!(hosts.0.lock().unwrap().is_empty());
}

/// Signs nothing, but says what it was asked for.
struct Signer;

#[async_trait::async_trait]
impl IdentityTokens for Signer {
    async fn issue(
        &self,
        audience: &str,
        subject: &str,
        _: std::time::Duration,
    ) -> Result<SecretBytes, destinations::Fault> {
        assert_eq!((audience, subject), ("api://AzureADTokenExchange", "secrets-sync:root:azure-kv:prod"));
        Ok(SecretBytes::from(FakeAzure::IDENTITY_TOKEN))
    }
}

#[tokio::test]
async fn a_token_of_the_servers_own_stands_for_a_secret() {
    let bench = Bench::new().await;
    let settings = NetSettings { allow_private_networks: true, ..NetSettings::default() };
    let net = bench.net(settings, environment(&[("AZURE_AUTHORITY_HOST", &bench.fake.url())]));
    let signing = net.with_identity(Identity::new(Arc::new(Signer), "azure-kv", "prod"));
    // The destination's own word about where tokens come from does not count.
    let own = merged(
        bench.settings(),
        json!({"client_secret": null, "auth_endpoint": "http://127.0.0.1:9",
            "identity_token_audience": "api://AzureADTokenExchange"}),
    );
    // A vault's name, as for everything the server holds: its token goes to vaults only.
    let uri = format!("http://pretend.vault.azure.net:{}", bench.fake.port());
    let own = merged(own, json!({"key_vault_uri": uri, "endpoint": null}));
    let hosts = NetSettings {
        allow_private_networks: true,
        resolver: Some(Arc::new(Hosts::default())),
        ..NetSettings::default()
    };
    let resolving = bench
        .net(hosts, environment(&[("AZURE_AUTHORITY_HOST", &bench.fake.url())]))
        .with_identity(Identity::new(Arc::new(Signer), "azure-kv", "prod"));
    works(&try_open(own.clone(), &resolving).unwrap()).await;
    let asked = bench.fake.last_token_request();
    assert_eq!(asked["client_assertion"], FakeAzure::IDENTITY_TOKEN);
    assert!(!asked.contains_key("client_secret"));

    let refused = |more: Value, net: &Arc<Net>| try_open(merged(own.clone(), more), net).err().unwrap().field;
    assert_eq!(refused(json!({}), &net), "identity_token_audience", "nobody signs");
    assert_eq!(refused(json!({"tenant_id": null}), &signing), "tenant_id");
    assert_eq!(refused(json!({"client_id": null}), &signing), "client_id");
    assert_eq!(refused(json!({"client_secret": "s"}), &signing), "identity_token_audience");
}
