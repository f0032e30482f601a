//! Every row of the failure map (destinations.md 3.7), provoked: who is to blame, under which code, when to
//! try again, and that all is well once the cause is gone.

use super::*;

/// What a failure is to be.
struct Row {
    operation: &'static str,
    trouble: Trouble,
    expected: (&'static str, Blame, Retry),
    /// A write may have been made.
    ambiguous: bool,
}

const fn row(
    operation: &'static str,
    trouble: Trouble,
    code: &'static str,
    blame: Blame,
    retry: Retry,
    ambiguous: bool,
) -> Row {
    Row { operation, trouble, expected: (code, blame, retry), ambiguous }
}

fn rows() -> Vec<Row> {
    use Blame::{Client, External, Internal};
    use Retry::{After, Backoff, Slowly, WhenChanged};
    use Trouble::{Break, Garbage, LoseAnswer, Refuse};
    let envelope = |body| Garbage(body, 403);
    vec![
        row("addVersion", Refuse("PERMISSION_DENIED", 403), "access_denied", Client, Slowly, false),
        row(
            "addVersion",
            envelope(
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}"#,
            ),
            "api_disabled",
            Client,
            Slowly,
            false,
        ),
        row(
            "addVersion",
            envelope(
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"reason":"BILLING_DISABLED"}]}}"#,
            ),
            "billing_disabled",
            Client,
            Slowly,
            false,
        ),
        row(
            "addVersion",
            envelope(
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"reason":"SECURITY_POLICY_VIOLATED"}]}}"#,
            ),
            "vpc_service_controls",
            Client,
            Slowly,
            false,
        ),
        row("addVersion", Refuse("FAILED_PRECONDITION", 400), "kms_failed", Client, Slowly, false),
        row("addVersion", Refuse("INVALID_ARGUMENT", 400), "invalid_parameter", Client, WhenChanged, false),
        row("addVersion", Refuse("OUT_OF_RANGE", 400), "invalid_parameter", Client, WhenChanged, false),
        row("addVersion", Refuse("RESOURCE_EXHAUSTED", 429), "throttled", External, Backoff, false),
        row(
            "addVersion",
            Garbage(
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"7s"}]}}"#,
                429,
            ),
            "throttled",
            External,
            After(Duration::from_secs(7)),
            false,
        ),
        row("addVersion", Garbage("", 429), "throttled", External, Backoff, false),
        row("addVersion", Refuse("ABORTED", 409), "provider_busy", External, Backoff, true),
        row("addVersion", Refuse("UNAVAILABLE", 503), "provider_down", External, Backoff, true),
        row("addVersion", Refuse("INTERNAL", 500), "provider_down", External, Backoff, true),
        row("addVersion", Refuse("DEADLINE_EXCEEDED", 504), "provider_down", External, Backoff, true),
        row("addVersion", Refuse("UNKNOWN", 500), "provider_down", External, Backoff, true),
        row(
            "addVersion",
            Garbage("<html>502 CANARY-FROM-REMOTE</html>", 502),
            "provider_down",
            External,
            Backoff,
            true,
        ),
        row(
            "addVersion",
            Garbage("<html>404 CANARY-FROM-REMOTE</html>", 404),
            "refused",
            Client,
            Slowly,
            false,
        ),
        row("addVersion", LoseAnswer, "connection_lost", External, Backoff, true),
        row("addVersion", Break, "connection_lost", External, Backoff, true),
        row("addVersion", Garbage("<html>", 200), "answer_unreadable", Internal, Backoff, true),
        row("addVersion", Garbage(r#"{"name":"x"}"#, 200), "answer_unreadable", Internal, Backoff, true),
        // The bare body of a transcoder or an emulator.
        row(
            "addVersion",
            Garbage(r#"{"code":8,"message":"x","details":[]}"#, 429),
            "throttled",
            External,
            Backoff,
            false,
        ),
        row(
            "addVersion",
            Garbage(r#"{"code":14,"message":"x"}"#, 503),
            "provider_down",
            External,
            Backoff,
            true,
        ),
        // The token service.
        row(
            "token",
            Garbage(r#"{"error":"invalid_grant"}"#, 400),
            "credentials_rejected",
            Client,
            Slowly,
            false,
        ),
        row(
            "token",
            Garbage(r#"{"error":"invalid_client"}"#, 401),
            "credentials_rejected",
            Client,
            Slowly,
            false,
        ),
        row(
            "token",
            Garbage(r#"{"error":"invalid_request"}"#, 400),
            "credentials_config",
            Client,
            Slowly,
            false,
        ),
        row("token", Garbage("", 429), "throttled", External, Backoff, false),
        row("token", Garbage("", 503), "provider_down", External, Backoff, false),
        row("token", Garbage("{}", 200), "answer_unreadable", Internal, Backoff, false),
        row("token", Break, "connection_lost", External, Backoff, false),
    ]
}

#[tokio::test]
async fn every_row_of_the_failure_map() {
    for (at, row) in rows().into_iter().enumerate() {
        let bench = Bench::new().await;
        let destination = bench.open(json!({}));
        let one = first("v1", 1).written(&destination).await;
        let destination = bench.open(json!({}));
        bench.fake.trouble(row.operation, [row.trouble]);
        let failed = after(&one, "v2", 2).fault(&destination).await;
        assert_eq!((failed.code, failed.blame, failed.retry), row.expected, "row {at}");
        assert_eq!(failed.ambiguous, row.ambiguous, "row {at}: {failed}");
        Writing { unsure: failed.ambiguous, ..after(&one, "v2", 2) }.written(&destination).await;
        // One version that can be read, and it is the right one.
        let view = bench.view("a");
        assert_eq!((view.in_state("ENABLED").len(), view.in_state("DISABLED").len()), (1, 0), "row {at}");
        assert_eq!(bench.value("a").unwrap(), "v2", "row {at}");
    }
}

/// The same for a first write.
#[tokio::test]
async fn a_first_write_converges_after_any_failure() {
    for (at, row) in rows().into_iter().enumerate() {
        let of_the_service = row.operation != "token";
        for operation in std::iter::once(row.operation).chain(of_the_service.then_some("create")) {
            let bench = Bench::new().await;
            let destination = bench.open(json!({}));
            bench.fake.trouble(operation, [row.trouble.clone()]);
            first("v1", 1).fault(&destination).await;
            first("v1", 1).written(&destination).await;
            assert_eq!(bench.view("a").versions, [(1, "ENABLED")], "row {at} {operation}");
            assert_eq!(bench.value("a").unwrap(), "v1", "row {at} {operation}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.revoke_tokens();
    after(&one, "v2", 2).written(&destination).await;
    assert_eq!(bench.fake.calls("token"), 2);
    // Still refused: the operator's.
    bench
        .fake
        .trouble("get", [Trouble::Refuse("UNAUTHENTICATED", 401), Trouble::Refuse("UNAUTHENTICATED", 401)]);
    let refused = fault(look(&destination, "a").await);
    assert_eq!(
        (refused.code, refused.blame, refused.retry),
        ("credentials_rejected", Blame::Client, Retry::Slowly)
    );
    assert_eq!(bench.fake.calls("get"), 2);
    present(&destination, "a").await;
}

#[tokio::test]
async fn what_is_not_there_is_made_or_already_removed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    bench.fake.take_away("a");
    let again = after(&one, "v2", 2).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "ENABLED")]);
    assert_ne!(again.handle, one.handle);
    remove(&destination, "a", None, true).await.unwrap();
    remove(&destination, "a", None, true).await.unwrap();
    // Deleted between the look and the deletion.
    first("v1", 1).written(&destination).await;
    bench.fake.trouble("delete", [Trouble::Refuse("NOT_FOUND", 404)]);
    remove(&destination, "a", None, true).await.unwrap();
    // A page of something in between proves nothing.
    bench.fake.trouble(
        "get",
        [Trouble::Garbage("<html>404</html>", 404), Trouble::Garbage("<html>404</html>", 404)],
    );
    assert_eq!(fault(look(&destination, "a").await).code, "refused");
    assert_eq!(fault(remove(&destination, "a", None, true).await).code, "refused");
    assert!(bench.fake.view("a").is_some());
}

#[tokio::test]
async fn a_project_that_is_not_there_is_the_operators() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    bench.fake.trouble("create", [Trouble::Refuse("NOT_FOUND", 404)]);
    let missing = first("v", 1).fault(&destination).await;
    assert_eq!(
        (missing.code, missing.blame, missing.retry),
        ("project_not_found", Blame::Client, Retry::Slowly)
    );
    let other = bench.open(json!({"project_id": "some-other-project"}));
    assert_eq!(first("v", 1).fault(&other).await.code, "access_denied");
}

#[tokio::test]
async fn a_name_that_is_taken_is_adopted_if_it_is_ours() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    first("v1", 1).written(&destination).await;
    first("v2", 2).written(&destination).await;
    assert_eq!(bench.view("a").versions, [(1, "DESTROYED"), (2, "ENABLED")]);
    bench.fake.plant("b", "theirs", &[]);
    assert_eq!(Writing { name: "b", ..first("v", 1) }.taken(&destination).await.mark, None);
    // Deleted a moment ago, and the name not yet free.
    bench.fake.trouble("create", [Trouble::Refuse("ALREADY_EXISTS", 409)]);
    let busy = Writing { name: "c", ..first("v", 1) }.fault(&destination).await;
    assert_eq!((busy.code, busy.blame, busy.retry), ("name_busy", Blame::External, Retry::Backoff));
    Writing { name: "c", ..first("v", 1) }.written(&destination).await;
}

#[tokio::test]
async fn an_etag_that_is_no_longer_right_is_read_again_once() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let one = first("v1", 1).written(&destination).await;
    let carry = |tags| Writing { settings: Some(&[]), tags, ..after(&one, "v1", 1) };
    let stale = Trouble::Refuse("FAILED_PRECONDITION", 400);
    bench.fake.trouble("patch", [stale.clone()]);
    bench.fake.forget_calls();
    carry(&[("team", "a")]).written(&destination).await;
    assert_eq!(bench.calls(["get", "patch"]), [2, 2]);
    bench.fake.trouble("patch", [stale.clone(), stale.clone()]);
    let busy = carry(&[("team", "b")]).fault(&destination).await;
    assert_eq!((busy.code, busy.blame), ("precondition_failed", Blame::Client));

    bench.fake.trouble("delete", [stale.clone()]);
    bench.fake.forget_calls();
    remove(&destination, "a", None, true).await.unwrap();
    assert_eq!(bench.calls(["get", "delete"]), [2, 2]);
    first("v1", 1).written(&destination).await;
    bench.fake.trouble("delete", [stale.clone(), stale]);
    assert_eq!(fault(remove(&destination, "a", None, true).await).code, "precondition_failed");
    assert!(bench.fake.view("a").is_some());
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_the_operators() {
    let bench = Bench::new().await;
    let key = "projects/p/locations/global/keyRings/r/cryptoKeys/k";
    let destination = bench.open(json!({"kms_key_id": key}));
    bench.fake.break_kms_key(key);
    let broken = first("v", 1).fault(&destination).await;
    assert_eq!((broken.code, broken.blame, broken.retry), ("kms_failed", Blame::Client, Retry::Slowly));
    assert_eq!(bench.view("a").versions, []);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    for (operation, permission) in
        [("create", "secretmanager.secrets.create"), ("addVersion", "secretmanager.versions.add")]
    {
        bench.fake.deny(operation, true);
        let denied = first("v", 1).fault(&destination).await;
        assert_eq!((denied.code, denied.http_status), ("access_denied", Some(403)));
        assert!(denied.message.contains(permission), "{denied}");
        bench.fake.deny(operation, false);
    }
    first("v", 1).written(&destination).await;
    bench.fake.deny("delete", true);
    let denied = fault(remove(&destination, "a", None, true).await);
    assert!(denied.message.contains("secretmanager.secrets.delete"), "{denied}");
}
