//! Every line of destinations.md 2.5, provoked: class, code, retry, and that all ends well afterwards.

use destinations::{
    Retry,
    fakes::{Refuse, Trouble},
};
use model::Blame::{self, Client, External};

use super::*;

const SOON: Retry = Retry::After(Duration::from_secs(3));

type Line = (&'static str, Refuse, (Blame, &'static str, Retry), bool);

const fn refuse(status: u16, code: &'static str, inner: Option<&'static str>) -> Refuse {
    Refuse { status, code, inner, number: 0, retry_after: None }
}

const fn sign_in(status: u16, code: &'static str, number: u64) -> Refuse {
    Refuse { status, code, inner: None, number, retry_after: None }
}

/// Operation, refusal, fault, and whether it leaves a write uncertain.
const LINES: &[Line] = &[
    // Two of them: the first is answered by another token.
    ("Set*2", refuse(401, "Unauthorized", None), (Client, "credentials_rejected", Retry::Slowly), false),
    (
        "Token",
        sign_in(401, "invalid_client", 7_000_215),
        (Client, "credentials_rejected", Retry::Slowly),
        false,
    ),
    (
        "Token",
        sign_in(401, "invalid_client", 7_000_222),
        (Client, "credentials_expired", Retry::Slowly),
        false,
    ),
    (
        "Token",
        sign_in(400, "unauthorized_client", 700_016),
        (Client, "credentials_rejected", Retry::Slowly),
        false,
    ),
    (
        "Token",
        sign_in(400, "invalid_request", 90_002),
        (Client, "credentials_rejected", Retry::Slowly),
        false,
    ),
    ("Token", sign_in(400, "invalid_client", 0), (Client, "credentials_rejected", Retry::Slowly), false),
    ("Token", sign_in(429, "", 0), (External, "throttled", Retry::Backoff), false),
    ("Token", sign_in(500, "server_error", 0), (External, "provider_down", Retry::Backoff), false),
    ("Token", sign_in(400, "temporarily_unavailable", 0), (External, "provider_down", Retry::Backoff), false),
    (
        "Set",
        refuse(403, "Forbidden", Some("ForbiddenByRbac")),
        (Client, "access_denied", Retry::Slowly),
        false,
    ),
    (
        "Set",
        refuse(403, "Forbidden", Some("ForbiddenByPolicy")),
        (Client, "access_denied", Retry::Slowly),
        false,
    ),
    ("Set", refuse(403, "Forbidden", Some("AccessDenied")), (Client, "access_denied", Retry::Slowly), false),
    (
        "Set",
        refuse(403, "Forbidden", Some("ForbiddenByFirewall")),
        (Client, "network_denied", Retry::Slowly),
        false,
    ),
    (
        "Set",
        refuse(403, "Forbidden", Some("VaultIsReadOnly")),
        (External, "vault_read_only", Retry::Backoff),
        false,
    ),
    ("Set", refuse(404, "VaultNotFound", None), (Client, "vault_not_found", Retry::Slowly), false),
    ("Set", refuse(409, "Conflict", Some("ObjectIsBeingDeleted")), (External, "name_busy", SOON), false),
    ("Set", refuse(409, "Conflict", Some("ObjectIsBeingRecovered")), (External, "name_busy", SOON), false),
    // The deleted secret is gone when it is looked for.
    (
        "Set",
        refuse(409, "Conflict", Some("ObjectIsDeletedButRecoverable")),
        (External, "name_busy", SOON),
        false,
    ),
    ("Set", refuse(409, "Conflict", None), (External, "name_busy", SOON), false),
    ("Set", refuse(400, "BadParameter", None), (Client, "invalid_parameter", Retry::WhenChanged), false),
    ("Set", refuse(429, "Throttled", None), (External, "throttled", Retry::Backoff), false),
    (
        "Set",
        Refuse { status: 429, code: "Throttled", inner: None, number: 0, retry_after: Some(7) },
        (External, "throttled", Retry::After(Duration::from_secs(7))),
        false,
    ),
    ("Set", refuse(500, "InternalError", None), (External, "provider_down", Retry::Backoff), true),
    ("Set", refuse(503, "", None), (External, "provider_down", Retry::Backoff), true),
    (
        "Set",
        Refuse { status: 503, code: "", inner: None, number: 0, retry_after: Some(9) },
        (External, "provider_down", Retry::After(Duration::from_secs(9))),
        true,
    ),
    ("Versions", refuse(500, "InternalError", None), (External, "provider_down", Retry::Backoff), false),
    ("Versions", refuse(404, "", None), (Client, "refused", Retry::Slowly), false),
];

#[tokio::test]
async fn every_line_of_the_failure_map_is_told_and_passes() {
    for (operation, refusal, expected, ambiguous) in LINES {
        let bench = Bench::new().await;
        let destination = bench.open(json!({}));
        let (operation, times) = operation.split_once('*').map_or((*operation, 1), |(name, _)| (name, 2));
        bench.fake.refuse(operation, std::iter::repeat_n(*refusal, times));
        let refused = put(&destination, "a", "v", 1, Expect::Absent).await;
        let fault = refused.clone().unwrap_err();
        let told = (fault.blame, code(refused), fault.retry);
        assert_eq!((told, fault.ambiguous), (*expected, *ambiguous), "{operation} {refusal:?}");
        assert_eq!(fault.http_status, Some(refusal.status), "{operation} {refusal:?}");
        assert!(bench.fake.view("a").is_none());

        bench.advance(3600);
        create(&destination, "a").await;
        assert_eq!((bench.value("a").as_str(), bench.fake.view("a").unwrap().versions), ("v", 1));
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_made_and_is_removed_already() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    // Azure shows no versions of it; other services of the same interface say that it is not there.
    bench.fake.refuse("Versions", [refuse(404, "SecretNotFound", None); 2]);
    assert_eq!(destination.look(&name("a")).await, Ok(Remote::Absent));
    remove(&destination, "a").await.unwrap();
    let made = create(&destination, "a").await;
    bench.fake.take_away("a");
    written(put(&destination, "a", "w", 2, Expect::Ours(made.handle.as_deref())).await);
    assert_eq!(bench.value("a"), "w");
    // Somebody was quicker than the removal.
    bench.fake.refuse("Delete", [refuse(404, "SecretNotFound", None)]);
    remove(&destination, "a").await.unwrap();
}

/// A gateway's 404 is no proof that a secret is gone.
#[tokio::test]
async fn an_unknown_404_is_not_taken_for_absence() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    for operation in ["Versions", "Delete"] {
        bench.fake.trouble(operation, [Trouble::Garbage("<html>404 CANARY-FROM-REMOTE</html>", 404)]);
        assert_eq!(code(remove(&destination, "a").await), "refused");
    }
    assert_eq!(bench.value("a"), "v");
}

#[tokio::test]
async fn a_vault_that_does_not_exist_is_the_operators() {
    let bench = Bench::new().await;
    let net = NetSettings {
        resolver: Some(Arc::new(Hosts::default())),
        allow_private_networks: true,
        ..NetSettings::default()
    };
    let settings =
        merged(bench.settings(), json!({"key_vault_uri": "https://typo.vault.azure.net", "endpoint": null}));
    let destination = try_open(settings, &bench.net(net, Snapshot::default())).unwrap();
    let refused = put(&destination, "a", "v", 1, Expect::Absent).await;
    let fault = refused.clone().unwrap_err();
    assert_eq!((fault.blame, code(refused), fault.retry), (Client, "vault_not_found", Retry::Slowly));
}

/// The write arrived, the answer did not: whoever repeats it finds it, whichever way it was lost.
#[tokio::test]
async fn a_lost_write_is_looked_for_before_it_is_repeated() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let made = create(&destination, "a").await;
    let handle = made.handle.as_deref();
    bench.fake.trouble("Set", [Trouble::LoseAnswer]);
    let lost = put(&destination, "a", "w", 2, Expect::Ours(handle)).await.unwrap_err();
    assert_eq!((lost.blame, lost.ambiguous), (External, true));
    bench.fake.forget_calls();
    let found = written(put(&destination, "a", "w", 2, Expect::Ours(handle)).await);
    assert_eq!(found.revision.unwrap(), bench.fake.view("a").unwrap().version);
    assert_eq!((bench.fake.calls("Versions"), bench.fake.calls("Set")), (1, 0));
    assert_eq!(bench.fake.view("a").unwrap().versions, 2);

    // It did not arrive: then it is made.
    bench.fake.trouble("Set", [Trouble::Break]);
    assert!(put(&destination, "a", "x", 3, Expect::Ours(handle)).await.unwrap_err().ambiguous);
    written(put(&destination, "a", "x", 3, Expect::Ours(handle)).await);
    assert_eq!((bench.value("a").as_str(), bench.fake.view("a").unwrap().versions), ("x", 3));

    // A success that cannot be read is a lost answer too.
    for answer in ["<html>", "{}", r#"{"id":7}"#] {
        bench.fake.trouble("Set", [Trouble::Garbage(answer, 200)]);
        let unread = put(&destination, "a", "y", 4, Expect::Ours(handle)).await.unwrap_err();
        assert_eq!((unread.code, unread.ambiguous), ("answer_unreadable", true));
    }
    written(put(&destination, "a", "y", 4, Expect::Ours(handle)).await);
    assert_eq!((bench.value("a").as_str(), bench.fake.view("a").unwrap().versions), ("y", 4));
}

/// After a restart nothing is remembered: the engine looks, and the tags tell which write is there.
#[tokio::test]
async fn a_lost_write_is_found_after_a_restart() {
    let bench = Bench::new().await;
    bench.fake.trouble("Set", [Trouble::LoseAnswer]);
    put(&bench.open(json!({})), "a", "w", 7, Expect::Absent).await.unwrap_err();
    let restarted = bench.open(json!({}));
    assert_eq!(present(&restarted, "a").await.mark, Some(mark(7)));
    bench.fake.forget_calls();
    written(put(&restarted, "a", "w", 7, Expect::Ours(None)).await);
    // The look was just made and is not made again; the write is there and is not made again.
    assert_eq!(bench.fake.vault_calls(), 0);
}

#[tokio::test]
async fn a_lost_removal_and_a_lost_recovery_are_done_again() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    bench.fake.trouble("Delete", [Trouble::LoseAnswer]);
    assert_eq!(code(remove(&destination, "a").await), "connection_lost");
    remove(&destination, "a").await.unwrap();
    bench.fake.trouble("Recover", [Trouble::LoseAnswer]);
    assert_eq!(code(put(&destination, "a", "w", 2, Expect::Absent).await), "connection_lost");
    written(put(&destination, "a", "w", 2, Expect::Absent).await);
    assert_eq!(bench.value("a"), "w");
}

/// What answers nonsense, or in nonsense, neither panics nor loops.
#[tokio::test]
async fn hostile_answers_are_faults() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    create(&destination, "a").await;
    for answer in [
        "",
        "null",
        "[]",
        r#"{"value":7}"#,
        r#"{"value":[{"id":7}]}"#,
        r#"{"value":[{}]}"#,
        r#"{"value":[],"nextLink":"nowhere"}"#,
        r#"{"value":[],"nextLink":"https://evil.example/metadata"}"#,
    ] {
        bench.fake.trouble("Versions", [Trouble::Garbage(answer, 200)]);
        let refused = destination.look(&name("a")).await;
        assert!(["answer_unreadable", "list_link"].contains(&code(refused)), "{answer}");
    }
    // A link to the same page, for ever: the search ends, at the list of all secrets.
    let endless =
        r#"{"value":[],"nextLink":"https://pretend.vault.azure.net/secrets/a/versions?api-version=7.4"}"#;
    bench.fake.trouble("Versions", std::iter::repeat_n(Trouble::Garbage(endless, 200), 100));
    bench.fake.forget_calls();
    assert!(present(&destination, "a").await.mark.unwrap().same_owner(&mark(1)));
    assert!(bench.fake.calls("Versions") <= 21, "{}", bench.fake.calls("Versions"));
    for answer in ["", "[]", r#"{"access_token":""}"#] {
        let other = bench.open(json!({}));
        bench.fake.trouble("Token", [Trouble::Garbage(answer, 200)]);
        assert_eq!(code(other.look(&name("a")).await), "token_unreadable");
    }
}
