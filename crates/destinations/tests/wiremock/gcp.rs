use model::Blame;

use super::*;

#[tokio::test]
async fn a_storm_of_quota_refusals_passes_and_makes_one_version() {
    let Some(wire) = Wire::new() else { return };
    let person =
        json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"});
    let destination = open(
        "gcp-sm",
        json!({"credentials": person.to_string(), "project_id": "p", "endpoint": wire.url(),
            "auth_endpoint": format!("{}/token", wire.url())}),
    );
    let token = json!({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"});
    wire.script("POST", "/token", [answer(200, token)]).await;
    let exhausted =
        || answer(429, json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": ""}}));
    let secret = json!({"name": "projects/1/secrets/a", "etag": "\"1\"", "createTime": "2026-11-24T00:00:00Z",
        "replication": {"automatic": {}}});
    let version = json!({"name": "projects/1/secrets/a/versions/1", "state": "ENABLED", "etag": "\"2\"",
        "createTime": "2026-11-24T00:00:00Z", "clientSpecifiedPayloadChecksum": true});
    wire.script("POST", "/v1/projects/p/secrets", [exhausted(), exhausted(), answer(200, secret)]).await;
    wire.script("POST", "/v1/projects/p/secrets/a:addVersion", [answer(200, version)]).await;
    for _ in 0..2 {
        let fault = put(&destination, "a", 1, Expect::Absent).await.unwrap_err();
        assert_eq!((fault.code, fault.blame), ("throttled", Blame::External));
    }
    written(put(&destination, "a", 1, Expect::Absent).await);
    let posts: Vec<String> = wire.requests("POST").await.into_iter().map(|(url, _)| url).collect();
    assert_eq!(posts.iter().filter(|url| url.contains("secretId=a")).count(), 3);
    assert_eq!(posts.iter().filter(|url| url.ends_with(":addVersion")).count(), 1);
    assert_eq!(posts.iter().filter(|url| url.as_str() == "/token").count(), 1);
}
