use std::time::Duration;

use destinations::Retry;

use super::*;

#[tokio::test]
async fn a_name_in_limbo_is_written_once_azure_lets_go_of_it() {
    let Some(wire) = Wire::new() else { return };
    let tenant = "8a7c5d1e-0000-4000-8000-000000000001";
    let destination = open(
        "azure-kv",
        json!({"key_vault_uri": "https://limbo.vault.azure.net", "endpoint": wire.url(), "auth_endpoint": wire.url(),
            "tenant_id": tenant, "client_id": "8a7c5d1e-0000-4000-8000-000000000002", "client_secret": "s"}),
    );
    let token = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "token"});
    wire.script("POST", &format!("/{tenant}/oauth2/v2.0/token"), [answer(200, token)]).await;
    let missing = answer(404, json!({"error": {"code": "SecretNotFound", "message": ""}}));
    wire.script("GET", "/secrets/a/versions", [missing]).await;
    let limbo = |code: &str| {
        answer(409, json!({"error": {"code": "Conflict", "message": "", "innererror": {"code": code}}}))
    };
    let bundle = json!({"value": "v", "id": "https://limbo.vault.azure.net/secrets/a/0123456789abcdef0123456789abcdef",
        "attributes": {"enabled": true, "created": 1_700_000_000, "updated": 1_700_000_000}});
    let put_answers = [limbo("ObjectIsBeingDeleted"), limbo("ObjectIsBeingRecovered"), answer(200, bundle)];
    wire.script("PUT", "/secrets/a", put_answers).await;
    for _ in 0..2 {
        let fault = put(&destination, "a", 1, Expect::Absent).await.unwrap_err();
        assert_eq!((fault.code, fault.retry), ("name_busy", Retry::After(Duration::from_secs(3))));
    }
    written(put(&destination, "a", 1, Expect::Absent).await);
    let puts = wire.requests("PUT").await;
    assert_eq!(puts.len(), 3);
    assert!(puts.iter().all(|(_, body)| body["value"] == "v" && body["tags"]["keyferry:owner"].is_string()));
    // One token for all of it.
    assert_eq!(wire.requests("POST").await.len(), 1);
}
