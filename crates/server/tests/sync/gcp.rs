//! The founding page's Google destination, and what its peer's Terraform provider expects of it.

use std::{sync::Arc, time::Duration};

use destinations::fakes::{FakeGcp, Trouble};
use serde_json::json;
use tokio::time::Instant;

use crate::bench::{Bench, TokioClock};

const PATH: &str = "sys/sync/destinations/gcp-sm/my-store-1";

/// Credentials that need no key: a person's, with the project they work on.
const CREDENTIALS: &str = r#"{"type": "authorized_user", "client_id": "c", "client_secret": "hunter2",
    "refresh_token": "r", "project_id": "my-project"}"#;

/// The sample payload: nothing but credentials.
#[tokio::test(start_paused = true)]
async fn the_sample_is_made_and_read_masked() {
    let bench = Bench::new().await;
    let made = bench.post(PATH, json!({ "credentials": CREDENTIALS })).await;
    let expected = json!({
        "connection_details": { "credentials": "*****" },
        "name": "my-store-1",
        "type": "gcp-sm",
        "options": {
            "custom_tags": {},
            "granularity": "secret-path",
            "granularity_level": "secret-path",
            "secret_name_template": "vault_{{ .MountAccessor }}_{{ .SecretPath }}"
        },
        "backlog": { "pending": 0, "eta_seconds": 0, "bound_by": null }
    });
    assert_eq!(made.data(), expected);
    assert_eq!(bench.get(PATH).await.data(), expected);
}

/// JSON types as Terraform's schema has them; what was not sent again is gone, but not a secret.
#[tokio::test(start_paused = true)]
async fn what_is_sent_comes_back_in_the_types_terraform_reads() {
    let bench = Bench::new().await;
    let key = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";
    let body = json!({"credentials": CREDENTIALS, "project_id": "other-project", "replication_locations": "us-east1",
        "locational_kms_keys": {"us-east1": key}, "custom_tags": {"Team": "A b"}, "keep_versions": "2",
        "allowed_ports": "443,8443", "granularity": "secret-key",
        "secret_name_template": "VAULT_{{ .SecretPath }}/{{ .SecretKey }}"});
    let data = bench.post(PATH, body).await.data();
    assert_eq!(
        data["connection_details"],
        json!({"credentials": "*****", "project_id": "other-project", "replication_locations": ["us-east1"],
            "locational_kms_keys": {"us-east1": key}, "keep_versions": 2, "allowed_ports": [443, 8443]})
    );
    assert_eq!(data["options"]["custom_tags"], json!({"Team": "A b"}), "as it was sent, not as a label");
    assert_eq!(data["options"]["secret_name_template"], "VAULT_{{ .SecretPath }}/{{ .SecretKey }}");

    let regions = json!({"replica_regions": {"us-east1": "", "us-west1": ""}});
    let data = bench.post(PATH, regions.clone()).await.data();
    assert_eq!(
        data["connection_details"],
        json!({"credentials": "*****", "replica_regions": {"us-east1": "", "us-west1": ""}})
    );
    let patched =
        bench.raw("PATCH", PATH, r#"{"credentials":"*****","project_id":"third-project"}"#).await.data();
    assert_eq!(patched["connection_details"]["project_id"], "third-project");
    assert_eq!(patched["connection_details"]["credentials"], "*****");
    assert_eq!(patched["connection_details"]["replica_regions"], regions["replica_regions"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_by_name() {
    let bench = Bench::new().await;
    let key = |location: &str| format!("projects/p/locations/{location}/keyRings/r/cryptoKeys/k");
    let email = "sync@my-project.iam.gserviceaccount.com";
    for (body, says) in [
        (json!({"credentials": "<JSON string>"}), "credentials: "),
        (json!({"credentials": "@/path/to/file"}), "the file's content"),
        (json!({"kms_key_id": key("global"), "replica_regions": {"us-east1": ""}}), "kms_key_id: excludes"),
        (
            json!({"replica_regions": {"us-east1": key("us-east1"), "us-west1": ""}}),
            "replica_regions: must name a KMS key for every location or for none",
        ),
        (json!({"custom_tags": {"invalid key with spaces": "x"}}), "custom_tags[0]: "),
        (json!({"secret_name_template": "{{ .Nope }}"}), "secret_name_template: "),
        (json!({"allowed_ipv4_addresses": ["203.0.113.5"]}), "CIDR"),
        (json!({"allowed_ports": [70_000]}), "allowed_ports[0]: must be a whole number in the range"),
        (
            json!({"identity_token_audience": "aud"}),
            "failed to parse credentials: workload identity federation auth requires both identity_token_audience and \
             service_account_email",
        ),
        (
            json!({"identity_token_audience": "aud", "service_account_email": "not-an-email"}),
            "failed to parse credentials: invalid service account email format, expected format: \
             project-id@project-id.iam.gserviceaccount.com",
        ),
        (
            json!({"identity_token_audience": "aud", "service_account_email": email, "credentials": CREDENTIALS}),
            "identity_token_audience: excludes credentials",
        ),
    ] {
        let refused = bench.post(PATH, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(says), "{body}: {}", refused.text());
        assert!(!refused.text().contains("hunter2"), "{}", refused.text());
    }
    assert_eq!(bench.get(PATH).await.status, 404);
}

/// A secret's life, through the engine: made, changed although an answer is lost, looked at, set right
/// after somebody changed it, removed, and back under its name.
#[tokio::test]
async fn a_secret_lives_at_google() {
    let bench = Bench::new().await;
    let google = FakeGcp::start(Arc::new(TokioClock(Instant::now()))).await.unwrap();
    let settings = json!({"credentials": google.credentials(), "endpoint": google.url(),
        "disable_strict_networking": true});
    bench.post(PATH, settings).await.ok();
    bench.post("my-kv/data/app/db", json!({"data": {"password": "first"}})).await.ok();
    let pair = json!({"mount": "my-kv", "secret_name": "app/db"});
    let set = bench.post(&format!("{PATH}/associations/set"), pair.clone()).await.data();
    let entry = set["associated_secrets"].as_object().unwrap().values().next().unwrap();
    assert_eq!(entry["sync_status"], "SYNCED", "{entry}");
    let name = entry["external_name"].as_str().unwrap();
    assert_eq!(name, format!("vault_{}_app_db", bench.accessor));
    let value = || Some(google.view(name)?.value?.expose_text().unwrap().to_owned());
    assert_eq!(value().as_deref(), Some(r#"{"password":"first"}"#));
    assert_eq!(google.all_calls(), 2, "made, and given a version");

    // What a lost answer left is found, and nothing is made twice.
    google.trouble("addVersion", [Trouble::LoseAnswer]);
    bench.post("my-kv/data/app/db", json!({"data": {"password": "second"}})).await.ok();
    let failed = bench.becomes(PATH, "EXTERNAL_SERVICE_ERROR").await;
    assert_eq!(failed["error_code"], "connection_lost");
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!(value().as_deref(), Some(r#"{"password":"second"}"#));
    assert_eq!(google.view(name).unwrap().versions, [(1, "DESTROYED"), (2, "ENABLED")]);

    google.forget_calls();
    bench.post("my-kv/data/app/db", json!({"data": {"password": "third"}})).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    for _ in 0..200 {
        if google.calls("destroy") == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (value().as_deref(), google.all_calls()),
        (Some(r#"{"password":"third"}"#), 2),
        "added, destroyed"
    );

    // A refresh sees that all is well, and writes nothing.
    google.forget_calls();
    bench.post(&format!("{PATH}/associations/set"), pair.clone()).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!((google.calls("get"), google.calls("listVersions"), google.all_calls()), (1, 1, 2));
    // Or that it is not: ours comes on top, and what somebody added stays.
    google.add_version(name, "by hand");
    bench.post(&format!("{PATH}/associations/set"), pair.clone()).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!(value().as_deref(), Some(r#"{"password":"third"}"#));
    assert_eq!(google.view(name).unwrap().in_state("ENABLED"), [4, 5]);

    bench.raw("DELETE", "my-kv/data/app/db", "").await.ok();
    bench.becomes(PATH, "UNSYNCED").await;
    assert!(google.view(name).is_none());
    bench.post("my-kv/data/app/db", json!({"data": {"password": "fourth"}})).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!(google.view(name).unwrap().versions, [(1, "ENABLED")]);
    // Deleted and made again by somebody else: theirs is left as it was, and that is said.
    google.plant(name, "theirs", &[]);
    bench.post("my-kv/data/app/db", json!({"data": {"password": "fifth"}})).await.ok();
    let lost = bench.becomes(PATH, "CLIENT_SIDE_ERROR").await;
    assert_eq!((lost["error_code"].as_str(), value().as_deref()), (Some("ownership_lost"), Some("theirs")));
    google.take_away(name);
    bench.post("my-kv/data/app/db", json!({"data": {"password": "sixth"}})).await.ok();
    bench.becomes(PATH, "SYNCED").await;
    assert_eq!(value().as_deref(), Some(r#"{"password":"sixth"}"#));

    let removed = bench.post(&format!("{PATH}/associations/remove"), pair).await.data();
    for _ in 0..200 {
        if google.view(name).is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(google.view(name).is_none(), "{removed}");
    bench.raw("DELETE", PATH, "").await.ok();
    assert!(!bench.everything_said().contains("PRIVATE KEY"));
    assert!(!bench.everything_said().contains("CANARY-FROM-REMOTE"));
}
