//! Every row of the failure map (destinations.md 4.5): provoked, told, and over once its cause is.

use destinations::{Retry, fakes::Trouble};
use model::Blame::{self, Client, External};

use super::*;

/// Provokes a failure of each call, checks what it is told as, and that the next try works.
async fn provoke(trouble: Trouble, expected: (Blame, &'static str, fn(Retry) -> bool), ambiguous: bool) {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    let check = |refused: Fault, ambiguous: bool| {
        let (blame, code, retry) = &expected;
        assert_eq!((refused.blame, refused.code), (*blame, *code), "{refused:?}");
        assert!(retry(refused.retry), "{refused:?}");
        assert_eq!(refused.ambiguous, ambiguous, "{refused:?}");
    };
    bench.fake.trouble("write", [trouble.clone()]);
    check(fault(put(&destination, "A", "2", Expect::Ours(None)).await), ambiguous);
    bench.advance(Duration::from_secs(3700)).await;
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    assert_eq!(bench.value(REPOSITORY, "A").unwrap(), "2");

    bench.fake.trouble("list", [trouble.clone()]);
    bench.advance(Duration::from_secs(3700)).await;
    let names = [RemoteName::from_kind("A")];
    match destination.look_many(&names).await.remove(0) {
        // Not being allowed to look is no fault.
        Ok(Remote::CannotTell) => assert_eq!(expected.0, Client),
        other => check(fault(other), false),
    }
    bench.advance(Duration::from_secs(3700)).await;
    assert!(matches!(destination.look_many(&names).await[0], Ok(Remote::Present(_))));

    bench.fake.trouble("remove", [trouble]);
    check(fault(remove(&destination, "A").await), ambiguous);
    bench.advance(Duration::from_secs(3700)).await;
    remove(&destination, "A").await.unwrap();
    assert_eq!(bench.value(REPOSITORY, "A"), None);
}

const HTML: &str = "<html>502 CANARY-FROM-REMOTE</html>";

fn slowly(retry: Retry) -> bool {
    retry == Retry::Slowly
}

fn backoff(retry: Retry) -> bool {
    retry == Retry::Backoff
}

#[tokio::test]
async fn bad_credentials() {
    let said = r#"{"message":"Bad credentials CANARY-FROM-REMOTE"}"#;
    provoke(Trouble::answer(401, said), (Client, "credentials_rejected", slowly), false).await;
}

#[tokio::test]
async fn a_limit_with_a_time() {
    let headers = vec![("retry-after", "30".to_owned())];
    let trouble = Trouble::Answer(403, headers, "{}");
    let thirty = |retry| retry == Retry::After(Duration::from_secs(30));
    provoke(trouble, (External, "throttled", thirty), false).await;
}

#[tokio::test]
async fn a_used_up_limit() {
    // The reset lies before the fake's clock: it is over at once, by GitHub's own time.
    let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "1".to_owned())];
    let trouble = Trouble::Answer(429, headers, "{}");
    let second = |retry| retry == Retry::After(Duration::from_secs(1));
    provoke(trouble, (External, "throttled", second), false).await;
}

#[tokio::test]
async fn a_secondary_limit_without_a_time() {
    let said = r#"{"message":"You have exceeded a secondary rate limit. CANARY-FROM-REMOTE"}"#;
    let minute = |retry| retry == Retry::After(Duration::from_secs(60));
    provoke(Trouble::answer(403, said), (External, "throttled", minute), false).await;
}

#[tokio::test]
async fn a_missing_permission() {
    let said = r#"{"message":"Resource not accessible by personal access token CANARY-FROM-REMOTE"}"#;
    provoke(Trouble::answer(403, said), (Client, "access_denied", slowly), false).await;
}

#[tokio::test]
async fn single_sign_on() {
    let headers = vec![("x-github-sso", "required; url=https://github.com/CANARY-FROM-REMOTE".to_owned())];
    let trouble = Trouble::Answer(403, headers, r#"{"message":"Resource protected by SAML"}"#);
    provoke(trouble, (Client, "sso_required", slowly), false).await;
}

#[tokio::test]
async fn an_archived_repository() {
    let said = r#"{"message":"Repository was archived so is read-only."}"#;
    provoke(Trouble::answer(403, said), (Client, "repository_archived", slowly), false).await;
}

#[tokio::test]
async fn an_address_that_is_not_allowed() {
    let said =
        r#"{"message":"the organization has an IP allow list enabled, and 192.0.2.1 is not permitted"}"#;
    provoke(Trouble::answer(403, said), (Client, "ip_not_allowed", slowly), false).await;
}

#[tokio::test]
async fn an_error_page() {
    provoke(Trouble::answer(502, HTML), (External, "provider_down", backoff), false).await;
}

#[tokio::test]
async fn an_internal_error() {
    let said = r#"{"message":"Server Error"}"#;
    provoke(Trouble::answer(500, said), (External, "provider_down", backoff), false).await;
}

#[tokio::test]
async fn a_broken_connection() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    for trouble in [Trouble::Break, Trouble::LoseAnswer] {
        bench.fake.trouble("write", [trouble]);
        let refused = fault(put(&destination, "A", "1", Expect::Ours(None)).await);
        assert_eq!((refused.blame, refused.code, refused.ambiguous), (External, "connection_lost", true));
        written(put(&destination, "A", "1", Expect::Ours(None)).await);
    }
    bench.fake.trouble("remove", [Trouble::LoseAnswer]);
    assert!(fault(remove(&destination, "A").await).ambiguous);
    remove(&destination, "A").await.unwrap();
    assert_eq!(bench.value(REPOSITORY, "A"), None);
}

#[tokio::test]
async fn a_repository_environment_or_organization_that_is_not_there() {
    let bench = Bench::new().await;
    let net = bench.net(Snapshot::default());
    let all = json!({"organization_visibility": "all", "organization_name": "other"});
    for (settings, scope) in [
        (bench.settings(json!({"repository_name": "none"})), "repos/acme/none"),
        (bench.settings(json!({"environment_name": "none"})), "repos/acme/app/environments/none"),
        (bench.organization(all), "orgs/other"),
    ] {
        let destination = try_open(settings, &net, None).unwrap();
        for refused in [
            fault(put(&destination, "A", "v", Expect::Absent).await),
            fault(put(&destination, "A", "v", Expect::Ours(None)).await),
            fault(look(&destination, "A").await),
            fault(remove(&destination, "A").await),
        ] {
            assert_eq!(
                (refused.blame, refused.code, refused.retry),
                (Client, "target_not_found", Retry::Slowly)
            );
        }
        bench.fake.add_scope(scope);
        written(put(&destination, "A", "v", Expect::Absent).await);
    }
}

#[tokio::test]
async fn a_conflict_is_githubs_once_and_the_operators_if_it_stays() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let busy = || Trouble::answer(409, r#"{"message":"Conflict"}"#);
    bench.fake.trouble("write", [busy(), busy()]);
    let first = fault(put(&destination, "A", "v", Expect::Ours(None)).await);
    assert_eq!((first.blame, first.code, first.retry), (External, "conflict", Retry::Backoff));
    let second = fault(put(&destination, "A", "v", Expect::Ours(None)).await);
    assert_eq!((second.blame, second.code, second.retry), (Client, "conflict", Retry::Slowly));
    written(put(&destination, "A", "v", Expect::Ours(None)).await);
    bench.fake.trouble("remove", [busy()]);
    assert_eq!(fault(remove(&destination, "A").await).blame, External, "a new one");
    remove(&destination, "A").await.unwrap();
}

/// 422: a value that cannot be decrypted is sealed anew once; anything else is the operator's.
#[tokio::test]
async fn what_github_does_not_accept() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let refuse = |said| Trouble::answer(422, said);
    for (said, code, retry) in [
        (r#"{"message":"Bad request - improperly encrypted secret"}"#, "encryption_refused", Retry::Slowly),
        (r#"{"message":"Invalid request. key_id wasn't supplied"}"#, "encryption_refused", Retry::Slowly),
        (r#"{"message":"Secret names can only contain …"}"#, "illegal_name", Retry::WhenChanged),
        (r#"{"message":"The value is too large"}"#, "value_too_large", Retry::WhenChanged),
        (r#"{"message":"The limit of 100 secrets is reached"}"#, "quota_exceeded", Retry::Slowly),
    ] {
        bench.fake.trouble("write", [refuse(said), refuse(said)]);
        let refused = fault(put(&destination, "A", "v", Expect::Ours(None)).await);
        assert_eq!((refused.blame, refused.code, refused.retry), (Client, code, retry), "{said}");
        assert_eq!(refused.http_status, Some(422));
        // The key had not changed, so there was no second write: the other trouble is still there.
        assert_eq!(bench.fake.calls("write"), 1, "{said}");
        fault(put(&destination, "A", "v", Expect::Ours(None)).await);
        written(put(&destination, "A", "v", Expect::Ours(None)).await);
        bench.fake.forget_calls();
    }
    // A key that changed meanwhile, and a second refusal.
    bench.fake.rotate_key(REPOSITORY);
    bench.fake.trouble("write", [refuse("{}"), refuse("{}")]);
    let refused = fault(put(&destination, "A", "v", Expect::Ours(None)).await);
    assert_eq!(
        (refused.code, bench.fake.calls("write"), bench.fake.calls("key")),
        ("encryption_refused", 2, 1)
    );
    written(put(&destination, "A", "v", Expect::Ours(None)).await);
}

#[tokio::test]
async fn redirects_that_may_not_be_followed() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let to = |location: &str| Trouble::Answer(307, vec![("location", location.to_owned())], "{}");
    bench.fake.trouble("write", [to("https://evil.example/repos/acme/app"), Trouble::answer(301, "{}")]);
    for _ in 0..2 {
        let refused = fault(put(&destination, "A", "v", Expect::Ours(None)).await);
        assert_eq!((refused.blame, refused.code, refused.retry), (Client, "moved", Retry::Slowly));
    }
    let round = to("/repos/acme/app/actions/secrets/A");
    bench.fake.trouble("write", [round.clone(), round.clone(), round]);
    assert_eq!(fault(put(&destination, "A", "v", Expect::Ours(None)).await).code, "redirects");
    written(put(&destination, "A", "v", Expect::Ours(None)).await);
}

#[tokio::test]
async fn answers_that_are_not_what_was_promised() {
    let bench = Bench::new().await;
    for operation in ["key", "list"] {
        for body in ["", "[]", "{}", HTML, r#"{"key_id":"1","key":"short"}"#] {
            let destination = bench.open(json!({}));
            bench.fake.trouble(operation, [Trouble::answer(200, body)]);
            let refused = fault(put(&destination, "A", "v", Expect::Anything).await);
            assert_eq!(
                (refused.blame, refused.code),
                (Blame::Internal, "answer_unreadable"),
                "{operation} {body}"
            );
            written(put(&destination, "A", "v", Expect::Anything).await);
        }
    }
}
