//! What a configuration may say.

use super::*;

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    let bench = Bench::new().await;
    let net = bench.net(NetSettings::default(), Snapshot::default());
    let key = |location: &str| format!("projects/p/locations/{location}/keyRings/r/cryptoKeys/k");
    let (global, east) = (key("global"), key("us-east1"));
    let email = "sync@my-project.iam.gserviceaccount.com";
    for (settings, field, says) in [
        (json!({"credentials": "@/etc/key.json"}), "credentials", "the file's content"),
        (json!({"credentials": "not json"}), "credentials", "line 1, column"),
        (json!({"credentials": "{\"type\":\"service_account\"}"}), "credentials", "client_email"),
        (json!({"credentials": "{\"type\":\"external_account\"}"}), "credentials", "external_account"),
        (json!({"project_id": "My Project"}), "project_id", "project id"),
        (json!({"auth_endpoint": "https://x.example"}), "auth_endpoint", "needs credentials"),
        (json!({"endpoint": "https://x.example"}), "endpoint", "googleapis.com"),
        (json!({"endpoint": "x"}), "endpoint", "absolute URL"),
        // Keys and places (vault-sync-api.md 4.3).
        (json!({"kms_key_id": "k"}), "kms_key_id", "projects/P/locations/L"),
        (json!({"kms_key_id": east}), "kms_key_id", "location global"),
        (
            json!({"kms_key_id": global, "replica_regions": {"us-east1": ""}}),
            "kms_key_id",
            "excludes replica_regions",
        ),
        (json!({"kms_key_id": global, "global_kms_key": global}), "kms_key_id", "excludes global_kms_key"),
        (
            json!({"replica_regions": {"us-east1": "", "us-west1": key("us-west1")}}),
            "replica_regions",
            "1 of 2",
        ),
        (json!({"replica_regions": {"us-east1": global}}), "replica_regions", "location us-east1"),
        (json!({"replica_regions": {"US East": ""}}), "replica_regions", "europe-west1"),
        (
            json!({"replica_regions": {"us-east1": ""}, "replication_locations": ["us-east1"]}),
            "replica_regions",
            "excludes replication_locations",
        ),
        (
            json!({"global_kms_key": global, "replication_locations": ["us-east1"]}),
            "global_kms_key",
            "excludes replication_locations",
        ),
        (
            json!({"global_kms_key": global, "locational_kms_keys": {"us-east1": east}}),
            "global_kms_key",
            "excludes locational_kms_keys",
        ),
        (
            json!({"locational_kms_keys": {"us-east1": east}}),
            "locational_kms_keys",
            "needs replication_locations",
        ),
        (
            json!({"replication_locations": ["us-east1", "us-west1"], "locational_kms_keys": {"us-east1": east}}),
            "locational_kms_keys",
            "replication_locations[1] has none",
        ),
        (
            json!({"replication_locations": ["us-east1"],
                "locational_kms_keys": {"us-east1": east, "us-west1": key("us-west1")}}),
            "locational_kms_keys",
            "in replication_locations only",
        ),
        (
            json!({"replication_locations": ["us-east1"], "locational_kms_keys": {"us-east1": global}}),
            "locational_kms_keys",
            "location us-east1",
        ),
        (
            json!({"replication_locations": ["us-east1", "no where"]}),
            "replication_locations[1]",
            "europe-west1",
        ),
        (json!({"keep_versions": 0}), "keep_versions", "1 to 100"),
        (json!({"retired_versions": "sell"}), "retired_versions", "destroy, disable"),
        // Labels.
        (json!({"custom_tags": {"key with spaces": ""}}), "custom_tags[0]", "not allowed"),
        (json!({"custom_tags": {"1st": ""}}), "custom_tags[0]", "letter"),
        (json!({"custom_tags": {"keyferry_store": ""}}), "custom_tags[0]", "keyferry_"),
        (json!({"custom_tags": {"a.b": "", "a_b": ""}}), "custom_tags[1]", "same label"),
        (json!({"custom_tags": {"a": "semi;colon"}}), "custom_tags[0]", "not allowed"),
        (json!({"allowed_ipv4_addresses": ["203.0.113.5"]}), "allowed_ipv4_addresses[0]", "CIDR"),
        (json!({"allowed_ports": [70_000]}), "allowed_ports[0]", "range"),
        // Workload identity federation (vault-sync-api.md 13).
        (
            json!({"identity_token_audience": "x"}),
            "service_account_email",
            "failed to parse credentials: workload identity federation auth requires both identity_token_audience \
             and service_account_email",
        ),
        (
            json!({"service_account_email": email}),
            "identity_token_audience",
            "failed to parse credentials: workload identity federation auth requires both identity_token_audience \
             and service_account_email",
        ),
        (
            json!({"identity_token_audience": "x", "service_account_email": "sync@example.com"}),
            "service_account_email",
            "failed to parse credentials: invalid service account email format, expected format: \
             project-id@project-id.iam.gserviceaccount.com",
        ),
        (
            json!({"identity_token_audience": "x", "service_account_email": email, "credentials": "{}"}),
            "identity_token_audience",
            "excludes credentials",
        ),
        (
            json!({"identity_token_audience": "x", "service_account_email": email}),
            "identity_token_audience",
            "server.api_addr",
        ),
    ] {
        let fault = try_open(settings.clone(), &net).err().unwrap_or_else(|| panic!("{settings}"));
        assert_eq!(fault.field, field, "{settings}: {fault}");
        assert!(fault.problem.contains(says), "{settings}: {fault}");
    }
}

#[tokio::test]
async fn a_project_is_needed_and_may_be_another_than_the_credentials() {
    let bench = Bench::new().await;
    let net = bench.net(NetSettings::default(), Snapshot::default());
    let mut file: Value = serde_json::from_str(&bench.fake.credentials()).unwrap();
    file["project_id"] = Value::Null;
    let settings = json!({"credentials": file.to_string(), "endpoint": bench.fake.url()});
    assert_eq!(try_open(settings.clone(), &net).err().unwrap().field, "project_id");
    file["project_id"] = "somewhere-else".into();
    let destination = bench.open(json!({"credentials": file.to_string(), "project_id": FakeGcp::PROJECT}));
    first("v", 1).written(&destination).await;
    // The founding page's sample: nothing but credentials.
    assert!(try_open(json!({"credentials": bench.fake.credentials()}), &net).is_ok());
    assert!(try_open(json!({}), &net).is_ok(), "the server's own");
}

#[tokio::test]
async fn what_goes_together_is_accepted() {
    let bench = Bench::new().await;
    let net = bench.net(NetSettings::default(), Snapshot::default());
    for settings in [
        json!({"replication_locations": "us-east1,us-west1"}),
        json!({"replica_regions": ["us-east1=", "us-west1="]}),
        json!({"custom_tags": {"Team": "A b", "cost:centre": "x/y"}, "keep_versions": "2"}),
        json!({"endpoint": "https://secretmanager.europe-west1.rep.googleapis.com"}),
        json!({"identity_token_ttl": 0}),
    ] {
        assert!(try_open(settings.clone(), &net).is_ok(), "{settings}");
    }
}
