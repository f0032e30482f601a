use model::Blame;

use super::*;

#[tokio::test]
async fn a_storm_of_throttling_passes() {
    let Some(wire) = Wire::new() else { return };
    let destination = open(
        "aws-sm",
        json!({"region": "eu-west-1", "endpoint": wire.url(), "access_key_id": "AKIAEXAMPLE",
            "secret_access_key": "secret"}),
    );
    let throttled = |code: &str| answer(400, json!({"__type": code, "message": ""}));
    let made = json!({"ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf", "Name": "a",
        "VersionId": "01".repeat(32)});
    let storm = [
        throttled("ThrottlingException"),
        throttled("TooManyRequestsException"),
        throttled("com.amazonaws.secretsmanager#ThrottledException"),
        json!({"fault": "EMPTY_RESPONSE"}),
        answer(503, json!({})),
        answer(200, made),
    ];
    wire.script("POST", "/?", storm).await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        let fault = put(&destination, "a", 1, Expect::Absent).await.unwrap_err();
        assert_eq!(fault.blame, Blame::External);
        codes.push(fault.code);
    }
    assert_eq!(codes, ["throttled", "throttled", "throttled", "connection_lost", "provider_down"]);
    written(put(&destination, "a", 1, Expect::Absent).await);
    // The same write each time, by its token.
    let posts = wire.requests("POST").await;
    assert_eq!(posts.len(), 6);
    assert!(posts.iter().all(|(_, body)| body["ClientRequestToken"] == "01".repeat(32)));
}
