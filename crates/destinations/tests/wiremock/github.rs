use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;

const SECRETS: &str = "/repos/acme/app/actions/secrets";

/// A public key of an X25519 key pair: nobody needs its other half here.
fn key(id: &str, first: u8) -> Value {
    let mut bytes = [7; 32];
    bytes[0] = first;
    answer(200, json!({"key_id": id, "key": BASE64_STANDARD.encode(bytes)}))
}

#[tokio::test]
async fn a_stale_key_is_fetched_anew_and_the_value_sealed_again() {
    let Some(wire) = Wire::new() else { return };
    let destination = open(
        "gh",
        json!({"endpoint": wire.url(), "access_token": "ghp_wiremock", "repository_owner": "acme",
            "repository_name": "app"}),
    );
    wire.script("GET", SECRETS, [answer(200, json!({"total_count": 0, "secrets": []}))]).await;
    wire.script("GET", &format!("{SECRETS}/public-key"), [key("1", 9), key("2", 10), key("3", 11)]).await;
    let stale = || answer(422, json!({"message": "Bad request - the secret was improperly encrypted"}));
    let made = || answer(201, json!({}));
    let kept = json!({"status": 204});
    wire.script("PUT", &format!("{SECRETS}/A"), [made(), stale(), kept]).await;
    wire.script("PUT", &format!("{SECRETS}/B"), [stale()]).await;

    let receipt = written(put(&destination, "A", 1, Expect::Absent).await);
    written(put(&destination, "A", 2, Expect::Ours(receipt.handle.as_deref())).await);
    let puts = wire.requests("PUT").await;
    let ids: Vec<&str> = puts.iter().map(|(_, body)| body["key_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "1", "2"]);
    assert_ne!(puts[1].1["encrypted_value"], puts[2].1["encrypted_value"]);
    // One that is refused with the newest key too is the operator's, after one more key.
    let refused = put(&destination, "B", 1, Expect::Absent).await.unwrap_err();
    assert_eq!((refused.code, refused.blame), ("encryption_refused", model::Blame::Client));
    let ids: Vec<Value> =
        wire.requests("PUT").await.into_iter().map(|(_, body)| body["key_id"].clone()).collect();
    assert_eq!(ids[3..], [json!("2"), json!("3")]);
}
