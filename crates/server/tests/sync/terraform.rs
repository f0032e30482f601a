//! The requests that the Terraform provider's sync resources make, in their order (vault-sync-api.md 3.3
//! to 3.5): create, refresh, update with fields left out, import, and destroy in either order.

use serde_json::{Value, json};

use crate::{SECRET, bench::Bench, source};

/// One of each kind: its settings, a field whose value is masked, and one that a later apply leaves out.
fn resources() -> Vec<(&'static str, Value, Option<&'static str>)> {
    vec![
        (
            "aws-sm",
            json!({ "access_key_id": "AKIAEXAMPLE", "secret_access_key": "canary-key", "region": "us-east-1" }),
            Some("secret_access_key"),
        ),
        (
            "azure-kv",
            json!({ "key_vault_uri": "https://v.vault.azure.net", "tenant_id": "t", "client_id": "c",
                "client_secret": "canary-key", "cloud": "cloud" }),
            Some("client_secret"),
        ),
        ("gcp-sm", json!({ "project_id": "my-project-123456" }), None),
        (
            "gh",
            json!({ "access_token": "canary-key", "repository_owner": "acme", "repository_name": "app" }),
            Some("access_token"),
        ),
        (
            "vercel-project",
            json!({ "access_token": "canary-key", "project_id": "prj_1",
                "deployment_environments": ["development", "preview", "production"] }),
            Some("access_token"),
        ),
        ("in-mem", json!({}), None),
    ]
}

fn with(settings: &Value, more: Value) -> Value {
    let mut all = settings.clone();
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_created_refreshed_updated_imported_and_destroyed() {
    let bench = Bench::new().await;
    // What the provider does before anything else: a semantic version, and a child token of its own.
    let version = bench.send("GET", "sys/seal-status", "", None).await.body["version"].clone();
    let numbers: Vec<&str> = version.as_str().unwrap().split('.').collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|part| part.parse::<u32>().is_ok()), "{version}");
    let wish = json!({ "display_name": "terraform", "ttl": "1200s", "explicit_max_ttl": "1200s", "renewable": false });
    let child = bench.post("auth/token/create", wish).await.body["auth"]["client_token"].clone();
    let child = child.as_str().unwrap();

    for (kind, settings, secret) in resources() {
        let at = format!("sys/sync/destinations/{kind}/tf");
        let call = async |method: &str, body: Value| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            bench.send(method, &at, &body, Some(child)).await
        };
        let limits = json!({ "allowed_ipv4_addresses": ["192.0.2.0/24"], "allowed_ports": [443, 8443],
            "disable_strict_networking": false });
        let created = call("PUT", with(&settings, limits)).await.data();
        let refreshed = call("GET", Value::Null).await.data();
        assert_eq!(created, refreshed, "{kind}: what create tells is what a refresh tells");
        let details = &refreshed["connection_details"];
        assert_eq!(details["allowed_ports"], json!([443, 8443]), "{kind}: numbers");
        assert!(details.get("disable_strict_networking").is_none(), "{kind}: left out when false");
        assert_eq!((&refreshed["type"], &refreshed["name"]), (&json!(kind), &json!("tf")));
        if let Some(secret) = secret {
            assert_eq!(details[secret], "*****", "{kind}");
        }

        // Update: what the plan no longer says is gone, except secrets, which the provider does not send again.
        let mut again = settings.clone();
        if let (Some(secret), Value::Object(members)) = (secret, &mut again) {
            members.remove(secret);
        }
        let updated = call("PUT", again).await.data()["connection_details"].clone();
        assert!(
            updated.get("allowed_ports").is_none() && updated.get("allowed_ipv4_addresses").is_none(),
            "{kind}"
        );
        if let Some(secret) = secret {
            assert_eq!(updated[secret], "*****", "{kind}: kept");
        }
        // Import is a refresh without anything before it; destroying twice is destroying once.
        assert_eq!(call("GET", Value::Null).await.data()["connection_details"], updated, "{kind}");
        for _ in 0..2 {
            assert_eq!(call("DELETE", Value::Null).await.status, 204, "{kind}");
        }
        assert_eq!(call("GET", Value::Null).await.status, 404, "{kind}: the resource is gone from the state");
    }
    assert!(!bench.everything_said().contains("canary-key"));
}

/// The association resource reads right after it was set, and its destroy is followed by the destination's
/// without a pause.
#[tokio::test(start_paused = true)]
async fn an_association_lives_and_goes_in_either_order() {
    const AT: &str = "sys/sync/destinations/in-mem/tf";
    let bench = Bench::new().await;
    bench.raw("POST", "my-kv/data/app", SECRET).await.ok();
    let members = async || {
        let data = bench.get(&format!("{AT}/associations")).await.data();
        data["associated_secrets"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let key = format!("{}/app", bench.accessor);
    for destination_first in [false, true] {
        bench.post(AT, json!({})).await.ok();
        let set = bench.post(&format!("{AT}/associations/set"), source("app")).await.data();
        assert_eq!(set["associated_secrets"][&key]["sync_status"], "SYNCED");
        assert_eq!(members().await, [key.as_str()], "read after write");
        assert_eq!(bench.get(AT).await.status, 200);
        if destination_first {
            let refused = bench.raw("DELETE", AT, "").await;
            assert_eq!(refused.status, 400, "{}", refused.text());
            assert_eq!(members().await, [key.as_str()], "nothing was lost by trying");
        }
        bench.post(&format!("{AT}/associations/remove"), source("app")).await.ok();
        assert_eq!(bench.raw("DELETE", AT, "").await.status, 204, "at once");
        // A refresh of an association whose destination is gone finds a body, and nothing in it.
        assert!(members().await.is_empty());
        assert!(bench.space().names().is_empty(), "nothing of ours is left there");
    }
}

/// The configuration resource: numbers are numbers, and destroying it brings the defaults back.
#[tokio::test(start_paused = true)]
async fn the_configuration_is_patched_and_reset() {
    let bench = Bench::new().await;
    let patched =
        bench.raw("PATCH", "sys/sync/config", r#"{"disabled":true,"queue_capacity":1}"#).await.data();
    assert_eq!((&patched["disabled"], &patched["queue_capacity"]), (&json!(true), &json!(1)));
    assert_eq!(bench.get("sys/sync/config").await.data(), patched);
    let reset = bench.raw("DELETE", "sys/sync/config", "").await.data();
    assert_eq!((&reset["disabled"], &reset["queue_capacity"]), (&json!(false), &json!(1_000_000)));
}
