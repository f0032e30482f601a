//! What Google's refusals mean (destinations.md 3.7). Told by `error.status`, and by the HTTP status
//! where the body has none. Of an answer only words out of fixed lists and a waiting time are looked at;
//! nothing of it is repeated.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::api::Operation;
use crate::{Fault, Retry, net::Effect};

/// A refusal, as far as an operation can make something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `NOT_FOUND`.
    NotFound,
    /// `ALREADY_EXISTS`.
    Exists,
    /// `FAILED_PRECONDITION`: an etag that is no longer right, a version that is destroyed, a key.
    Precondition(Fault),
    /// The credentials do not allow this operation.
    Denied(Fault),
    /// Anything else.
    Fault(Fault),
}

impl Refusal {
    /// For whom none of it was expected.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Precondition(fault) | Self::Denied(fault) | Self::Fault(fault) => fault,
            Self::NotFound => {
                Fault::external("vanished", "the secret disappeared at Google while it was being worked on")
            }
            Self::Exists => Fault::external(
                "name_busy",
                "Google already has a secret of this name that cannot be seen yet",
            ),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a body says, in fixed words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The canonical status.
    pub(super) status: Option<String>,
    /// The reason of an `ErrorInfo`.
    pub(super) reason: Option<String>,
    /// How long to wait.
    pub(super) wait: Option<Duration>,
    /// It is a refusal in a form that Google's services or a transcoder give. A proxy's page that says
    /// 404 is not: it proves nothing about a secret.
    pub(super) theirs: bool,
}

/// The longest wait that is taken from an answer.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// The meaning of a refused operation.
pub(super) fn of_service(operation: Operation, told: &Told, status: StatusCode) -> Refusal {
    let slowly = |code, message: &'static str| Fault::client(code, message).retry(Retry::Slowly);
    let word = told.status.as_deref().unwrap_or_else(|| canonical(operation, told, status));
    let fault = match word {
        "NOT_FOUND" => return Refusal::NotFound,
        "ALREADY_EXISTS" => return Refusal::Exists,
        "FAILED_PRECONDITION" => {
            return Refusal::Precondition(precondition(operation).status(status.as_u16()));
        }
        "UNAUTHENTICATED" => {
            slowly("credentials_rejected", "Google does not accept the credentials; are they current?")
        }
        "PERMISSION_DENIED" => match told.reason.as_deref() {
            Some("SERVICE_DISABLED") => slowly(
                "api_disabled",
                "the Secret Manager API is not enabled in the project, or was only minutes ago",
            ),
            Some("BILLING_DISABLED") => {
                slowly("billing_disabled", "the Google project has no billing account")
            }
            Some("SECURITY_POLICY_VIOLATED") => {
                slowly("vpc_service_controls", "the project's VPC Service Controls do not let this server in")
            }
            Some("CONSUMER_INVALID" | "CONSUMER_SUSPENDED" | "USER_PROJECT_DENIED") => slowly(
                "project_not_usable",
                "Google does not let these credentials use the project, or the quota project they name",
            ),
            _ => {
                let permission = operation.permission();
                let message = format!(
                    "the Google credentials lack {permission}, or the project does not exist; new grants \
                     take some minutes"
                );
                let fault = Fault::client("access_denied", message).retry(Retry::Slowly);
                return Refusal::Denied(fault.status(status.as_u16()));
            }
        },
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => Fault::client(
            "invalid_parameter",
            "Google does not accept a setting of this secret: its name, size, labels, locations or key",
        ),
        "RESOURCE_EXHAUSTED" => Fault::throttled("Google asks for fewer calls"),
        "CANCELLED" => uncertain(operation, busy()),
        "ABORTED" => uncertain(operation, busy()),
        "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "UNKNOWN" | "DATA_LOSS" => {
            uncertain(operation, provider_down())
        }
        _ if status.is_server_error() => uncertain(operation, provider_down()),
        _ => slowly("refused", "Google refuses the request and does not say why in words we know"),
    };
    let fault = match told.wait {
        Some(wait) if fault.retry == Retry::Backoff => fault.retry(Retry::After(wait)),
        _ => fault,
    };
    Refusal::Fault(fault.status(status.as_u16()))
}

/// A state that forbids an operation. Where etags are sent the caller looks again.
fn precondition(operation: Operation) -> Fault {
    let (code, message) = match operation {
        Operation::Create | Operation::AddVersion | Operation::Access => (
            "kms_failed",
            "Google cannot use the KMS key: does it exist, is it enabled, and may the project's Secret Manager \
             service agent use it? (Or an organisation policy forbids the location.)",
        ),
        _ => (
            "precondition_failed",
            "Google refuses this in the secret's present state: it is being changed by someone else, or its \
             KMS key cannot be used",
        ),
    };
    Fault::client(code, message).retry(Retry::Slowly)
}

fn busy() -> Fault {
    Fault::external("provider_busy", "Google was busy with the same secret")
}

fn provider_down() -> Fault {
    Fault::external("provider_down", "Google has a problem of its own")
}

/// A server that fails may have done what was asked (destinations.md 3.7).
fn uncertain(operation: Operation, fault: Fault) -> Fault {
    match operation.effect() {
        Effect::Read => fault,
        Effect::Write => fault.ambiguous(),
    }
}

/// The canonical status where the body does not say it: a proxy, or a stand-in with a bare body.
fn canonical(operation: Operation, told: &Told, status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 if told.theirs => "NOT_FOUND",
        409 if told.theirs && operation == Operation::Create => "ALREADY_EXISTS",
        409 => "ABORTED",
        412 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        _ => "",
    }
}

/// gRPC's codes by number, as a bare `{"code": 5}` has them.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What an answer says of why it refuses: Google's envelope, or the bare body of a transcoder.
pub(super) fn told(headers: &HeaderMap, body: &[u8]) -> Told {
    #[derive(Deserialize)]
    struct Body {
        error: Option<Inner>,
        code: Option<usize>,
    }
    #[derive(Deserialize)]
    struct Inner {
        status: Option<String>,
        #[serde(default)]
        details: Vec<Detail>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail {
        reason: Option<String>,
        retry_delay: Option<String>,
    }
    let wait = headers
        .get(header::RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut told = Told::default();
    if let Ok(body) = serde_json::from_slice::<Body>(body) {
        told.theirs = body.error.is_some() || body.code.is_some();
        if let Some(error) = body.error {
            told.status = error.status.filter(|word| CODES.contains(&word.as_str()));
            told.reason = error.details.iter().find_map(|detail| detail.reason.clone());
            told.wait = error.details.iter().find_map(|detail| seconds(detail.retry_delay.as_deref()?));
        } else if let Some(code) = body.code {
            // 0 would be success, and there is no telling what a refusal with it means.
            told.status = CODES.get(code).filter(|_| code > 0).map(|word| (*word).to_owned());
        }
    }
    told.wait = wait.or(told.wait).map(|wait| wait.min(MAX_WAIT));
    told
}

/// A duration as JSON has it: `3.5s`.
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    fn meaning(operation: Operation, word: &str, status: u16) -> (Blame, &'static str, Retry, bool) {
        let told = Told { status: (!word.is_empty()).then(|| word.to_owned()), ..Told::default() };
        let fault = of_service(operation, &told, StatusCode::from_u16(status).unwrap()).fault();
        (fault.blame, fault.code, fault.retry, fault.ambiguous)
    }

    #[test]
    fn every_line_of_the_failure_map() {
        use Blame::{Client, External};
        use Retry::{Backoff, Slowly, WhenChanged};
        for (word, status, expected) in [
            ("UNAUTHENTICATED", 401, (Client, "credentials_rejected", Slowly, false)),
            ("PERMISSION_DENIED", 403, (Client, "access_denied", Slowly, false)),
            ("FAILED_PRECONDITION", 400, (Client, "kms_failed", Slowly, false)),
            ("INVALID_ARGUMENT", 400, (Client, "invalid_parameter", WhenChanged, false)),
            ("OUT_OF_RANGE", 400, (Client, "invalid_parameter", WhenChanged, false)),
            ("RESOURCE_EXHAUSTED", 429, (External, "throttled", Backoff, false)),
            ("ABORTED", 409, (External, "provider_busy", Backoff, true)),
            ("UNAVAILABLE", 503, (External, "provider_down", Backoff, true)),
            ("INTERNAL", 500, (External, "provider_down", Backoff, true)),
            ("DEADLINE_EXCEEDED", 504, (External, "provider_down", Backoff, true)),
            ("UNKNOWN", 500, (External, "provider_down", Backoff, true)),
            // Only the HTTP status.
            ("", 401, (Client, "credentials_rejected", Slowly, false)),
            ("", 403, (Client, "access_denied", Slowly, false)),
            ("", 400, (Client, "invalid_parameter", WhenChanged, false)),
            ("", 409, (External, "provider_busy", Backoff, true)),
            ("", 429, (External, "throttled", Backoff, false)),
            ("", 502, (External, "provider_down", Backoff, true)),
            ("", 418, (Client, "refused", Slowly, false)),
            // The status decides, not the HTTP status.
            ("UNAVAILABLE", 400, (External, "provider_down", Backoff, true)),
        ] {
            assert_eq!(meaning(Operation::AddVersion, word, status), expected, "{word} {status}");
        }
        // A failed look changed nothing.
        assert!(!meaning(Operation::Get, "UNAVAILABLE", 503).3);
        assert_eq!(meaning(Operation::Destroy, "FAILED_PRECONDITION", 400).1, "precondition_failed");
        let is = |word: &str, status: u16| {
            let named = (!word.is_empty()).then(|| word.to_owned());
            let told = Told { status: named, theirs: true, ..Told::default() };
            of_service(Operation::Create, &told, StatusCode::from_u16(status).unwrap())
        };
        assert_eq!((is("NOT_FOUND", 404), is("", 404)), (Refusal::NotFound, Refusal::NotFound));
        assert_eq!((is("ALREADY_EXISTS", 409), is("", 409)), (Refusal::Exists, Refusal::Exists));
        assert!(matches!(is("PERMISSION_DENIED", 403), Refusal::Denied(_)));
        // A page of something in between says nothing about secrets.
        assert_eq!(meaning(Operation::Get, "", 404).1, "refused");
    }

    #[test]
    fn a_refusal_for_the_whole_project_is_not_a_missing_permission() {
        for (reason, code) in [
            ("SERVICE_DISABLED", "api_disabled"),
            ("BILLING_DISABLED", "billing_disabled"),
            ("SECURITY_POLICY_VIOLATED", "vpc_service_controls"),
            ("CONSUMER_INVALID", "project_not_usable"),
        ] {
            let told = Told {
                status: Some("PERMISSION_DENIED".into()),
                reason: Some(reason.into()),
                ..Told::default()
            };
            match of_service(Operation::Get, &told, StatusCode::FORBIDDEN) {
                Refusal::Fault(fault) => assert_eq!((fault.code, fault.retry), (code, Retry::Slowly)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn bodies_are_read_wherever_they_come_from() {
        let none = HeaderMap::new();
        let status = |body: &str| told(&none, body.as_bytes()).status;
        assert_eq!(
            status(r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#).unwrap(),
            "NOT_FOUND"
        );
        assert_eq!(status(r#"{"code":6,"message":"x","details":[]}"#).unwrap(), "ALREADY_EXISTS");
        for body in
            [r#"{"code":0}"#, r#"{"code":404}"#, r#"{"error":{"status":"MADE_UP"}}"#, "<html>", "", "{}"]
        {
            assert_eq!(status(body), None, "{body}");
        }
        let detailed = br#"{"error":{"status":"RESOURCE_EXHAUSTED","details":[{"@type":"x","reason":"R"},
            {"retryDelay":"3.5s"}]}}"#;
        let told_all = told(&none, detailed);
        assert_eq!(
            (told_all.reason.as_deref(), told_all.wait),
            (Some("R"), Some(Duration::from_millis(3500)))
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "99999".parse().unwrap());
        assert_eq!(told(&headers, b"").wait, Some(MAX_WAIT));
        match of_service(Operation::Get, &told_all, StatusCode::TOO_MANY_REQUESTS) {
            Refusal::Fault(fault) => assert_eq!(fault.retry, Retry::After(Duration::from_millis(3500))),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60), delay in "[-0-9.einf]{0,8}s") {
            let _ = told(&HeaderMap::new(), &body);
            let _ = seconds(&delay);
        }
    }
}
