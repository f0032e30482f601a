//! What Vercel's refusals mean (destinations.md 5.3). Told by the code where there is one we know, else
//! by the status. Codes are compared without regard to case: the service has both spellings. Nothing of
//! an answer but its code, key, environments and times is looked at, and nothing of it is repeated.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use model::Timestamp;

use super::{
    targets::Targets,
    wire::{Error, Refused},
};
use crate::{Fault, Retry};

/// What the caller can make of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A variable of this name is there for one of the environments.
    Conflict,
    /// The array is too long.
    TooMany,
    /// The project, or the record, is not there.
    NotFound,
    /// The token does not reach so far.
    Denied,
    /// One variable of several is at fault, whichever.
    Item,
    /// Anything else.
    Other,
}

/// A refused call, or one variable of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) meaning: Meaning,
    /// For whom none of it was expected.
    pub(super) fault: Fault,
    /// The variable it names.
    pub(super) key: Option<String>,
    /// The environments it names.
    pub(super) targets: Targets,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { meaning: Meaning::Other, fault, key: None, targets: Targets::default() }
    }
}

/// The longest wait that is taken from an answer.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// The shortest: a moment that has passed already has been seen in answers.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// The meaning of a refused call.
pub(super) fn of_call(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Refusal {
    let error = serde_json::from_slice::<Refused>(body).map(|refused| refused.error).unwrap_or_default();
    let mut refusal = of_error(&error, Some(status));
    refusal.fault = refusal.fault.status(status.as_u16());
    if refusal.fault.retry == Retry::Backoff
        && let Some(wait) = wait_asked_for(&error, headers, now)
    {
        refusal.fault.retry = Retry::After(wait);
    }
    refusal
}

/// The meaning of one failed variable among others, which has no status of its own.
pub(super) fn of_item(error: &Error) -> Refusal {
    of_error(error, None)
}

fn of_error(error: &Error, status: Option<StatusCode>) -> Refusal {
    let code = error.code.to_ascii_uppercase();
    let (meaning, fault) = match code.as_str() {
        _ if error.invalid_token => rejected(),
        "ENV_CONFLICT" | "ENV_ALREADY_EXISTS" | "EXISTING_KEY_AND_TARGET" => (
            Meaning::Conflict,
            Fault::external(
                "name_busy",
                "Vercel says that a variable of this name is there, and does not show it",
            ),
        ),
        "TOO_MANY_KEYS" | "TOO_MANY_IDS" => (
            Meaning::TooMany,
            Fault::internal("batch_too_large", "Vercel finds even a single variable too many for one call"),
        ),
        "ID_NOT_FOUND" => (Meaning::NotFound, vanished()),
        "KEY_INVALID_CHARACTERS" | "KEY_INVALID_LENGTH" | "INVALID_KEY" => (
            Meaning::Item,
            Fault::client("illegal_name", "Vercel does not accept the name; choose another name template"),
        ),
        "KEY_RESERVED" | "RESERVED_ENV_VARIABLE" | "SYSTEM_ENV_WITH_VALUE" => (
            Meaning::Item,
            Fault::client("name_reserved", "Vercel keeps this name for itself; choose another name template"),
        ),
        "INVALID_VALUE" | "VALUE_INVALID_LENGTH" | "VALUE_INVALID_TYPE" | "MISSING_VALUE" => (
            Meaning::Item,
            Fault::client(
                "value_refused",
                "Vercel does not accept the value: its length, or that it is empty",
            ),
        ),
        "MISSING_KEY" | "MISSING_TARGET" | "MISSING_ID" | "NOT_DECRYPTABLE" => (Meaning::Item, refused()),
        "MAX_ENVS_EXCEEDED" => (
            Meaning::Item,
            slowly("quota_exceeded", "the project has as many variables for an environment as Vercel allows"),
        ),
        "TEAM_NOT_FOUND" => (Meaning::NotFound, no_project()),
        "RATE_LIMITED" | "TOO_MANY_REQUESTS" => (Meaning::Other, throttled()),
        "UNKNOWN_ERROR" | "INTERNAL_SERVER_ERROR" | "INTERNAL_ERROR" => (Meaning::Other, provider_down()),
        "BAD_REQUEST" => (Meaning::Item, refused()),
        "FORBIDDEN" | "NOT_AUTHORIZED" if status.is_none() => denied(),
        _ => by_status(status),
    };
    Refusal { meaning, fault, key: error.key().map(ToOwned::to_owned), targets: error.target }
}

fn by_status(status: Option<StatusCode>) -> (Meaning, Fault) {
    match status.map(|status| status.as_u16()) {
        None => (Meaning::Item, refused()),
        Some(401) => rejected(),
        Some(402) => (
            Meaning::Other,
            slowly("payment_required", "Vercel asks for payment, or has blocked the account"),
        ),
        Some(403) => denied(),
        Some(404) => (Meaning::NotFound, no_project()),
        // Answered while a project is being handed to another team.
        Some(409) => (
            Meaning::Other,
            Fault::external("project_busy", "Vercel is busy with the project; is it being transferred?")
                .retry(Retry::Slowly),
        ),
        Some(408 | 425) => (Meaning::Other, provider_down()),
        Some(429) => (Meaning::Other, throttled()),
        Some(300..=399) => (
            Meaning::Other,
            slowly(
                "redirected",
                "the address answers with a redirect, which is not followed; check endpoint",
            ),
        ),
        Some(413) => (
            Meaning::TooMany,
            Fault::client("value_too_large", "Vercel finds the value too large for one call"),
        ),
        Some(400..=499) => (Meaning::Item, refused()),
        Some(_) => (Meaning::Other, provider_down()),
    }
}

fn slowly(code: &'static str, message: &'static str) -> Fault {
    Fault::client(code, message).retry(Retry::Slowly)
}

fn rejected() -> (Meaning, Fault) {
    (
        Meaning::Other,
        slowly("credentials_rejected", "Vercel does not accept the access token; is it current?"),
    )
}

fn denied() -> (Meaning, Fault) {
    (
        Meaning::Denied,
        slowly(
            "access_denied",
            "the access token does not allow this: it needs the team the project belongs to in its scope, and \
             a role that may edit variables of these environments",
        ),
    )
}

pub(super) fn no_project() -> Fault {
    slowly(
        "project_not_found",
        "there is no such project, or the access token does not reach it; a project of a team needs team_id",
    )
}

fn vanished() -> Fault {
    Fault::external("vanished", "the variable disappeared at Vercel while it was being worked on")
}

fn refused() -> Fault {
    Fault::client("request_refused", "Vercel does not accept this variable: its name, value or environments")
}

fn throttled() -> Fault {
    Fault::throttled("Vercel asks for fewer calls")
}

fn provider_down() -> Fault {
    Fault::external("provider_down", "Vercel cannot answer at the moment")
}

/// How long an answer asks to wait: until its allowance is renewed, or as `Retry-After` says, in seconds
/// or as a date; the later of the two.
fn wait_asked_for(error: &Error, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let until = |seconds: i64| {
        Duration::from_secs(u64::try_from(seconds.saturating_sub(now.as_secs())).unwrap_or_default())
    };
    let reset = error.limit.as_ref().and_then(|limit| limit.reset.as_ref()).and_then(|reset| {
        let reset = reset.as_i64()?;
        // Seconds are documented; milliseconds are what the rest of the API counts in.
        Some(until(if reset > 100_000_000_000 { reset / 1000 } else { reset }))
    });
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| {
        let value = value.trim();
        match value.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => Some(until(jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second())),
        }
    });
    reset.max(after).map(|wait| wait.clamp(MIN_WAIT, MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn call(status: u16, body: &str) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        of_call(status, &HeaderMap::new(), body.as_bytes(), NOW).fault
    }

    fn wait(body: &str, after: Option<&'static str>) -> Retry {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after));
        }
        of_call(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes(), NOW).fault.retry
    }

    #[test]
    fn every_row_of_the_failure_map() {
        use Blame::{Client, External, Internal};
        use Retry::{Backoff, Slowly, WhenChanged};
        for (status, code, expected) in [
            (401, "not_authenticated", (Client, "credentials_rejected", Slowly)),
            (403, "forbidden", (Client, "access_denied", Slowly)),
            (402, "payment_required", (Client, "payment_required", Slowly)),
            (404, "not_found", (Client, "project_not_found", Slowly)),
            (404, "TEAM_NOT_FOUND", (Client, "project_not_found", Slowly)),
            (404, "ID_NOT_FOUND", (External, "vanished", Backoff)),
            (400, "ENV_CONFLICT", (External, "name_busy", Backoff)),
            (403, "ENV_ALREADY_EXISTS", (External, "name_busy", Backoff)),
            (409, "env_already_exists", (External, "name_busy", Backoff)),
            (400, "KEY_INVALID_CHARACTERS", (Client, "illegal_name", WhenChanged)),
            (400, "KEY_INVALID_LENGTH", (Client, "illegal_name", WhenChanged)),
            (400, "INVALID_KEY", (Client, "illegal_name", WhenChanged)),
            (400, "KEY_RESERVED", (Client, "name_reserved", WhenChanged)),
            (400, "RESERVED_ENV_VARIABLE", (Client, "name_reserved", WhenChanged)),
            (400, "SYSTEM_ENV_WITH_VALUE", (Client, "name_reserved", WhenChanged)),
            (400, "VALUE_INVALID_LENGTH", (Client, "value_refused", WhenChanged)),
            (400, "VALUE_INVALID_TYPE", (Client, "value_refused", WhenChanged)),
            (400, "INVALID_VALUE", (Client, "value_refused", WhenChanged)),
            (400, "MISSING_VALUE", (Client, "value_refused", WhenChanged)),
            (400, "MISSING_TARGET", (Client, "request_refused", WhenChanged)),
            (400, "MAX_ENVS_EXCEEDED", (Client, "quota_exceeded", Slowly)),
            (400, "bad_request", (Client, "request_refused", WhenChanged)),
            (422, "whatever", (Client, "request_refused", WhenChanged)),
            (400, "TOO_MANY_KEYS", (Internal, "batch_too_large", Backoff)),
            (400, "TOO_MANY_IDS", (Internal, "batch_too_large", Backoff)),
            (409, "project_being_transferred", (External, "project_busy", Slowly)),
            (429, "rate_limited", (External, "throttled", Backoff)),
            (500, "internal_server_error", (External, "provider_down", Backoff)),
            (503, "", (External, "provider_down", Backoff)),
            (302, "", (Client, "redirected", Slowly)),
        ] {
            let fault = call(status, &format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#));
            assert_eq!((fault.blame, fault.code, fault.retry), expected, "{status} {code}");
            assert_eq!(fault.http_status, Some(status));
        }
        let token = call(403, r#"{"error":{"code":"forbidden","invalidToken":true}}"#);
        assert_eq!(token.code, "credentials_rejected");
        assert_eq!(call(502, "<html>").code, "provider_down");
    }

    #[test]
    fn the_wait_is_what_the_answer_asks_for() {
        let seconds = |n| Retry::After(Duration::from_secs(n));
        let reset = |at: i64| {
            format!(
                r#"{{"error":{{"code":"rate_limited","limit":{{"total":60,"remaining":0,"reset":{at}}}}}}}"#
            )
        };
        assert_eq!(wait(&reset(1_800_000_040), None), seconds(40));
        assert_eq!(wait(&reset(1_800_000_040_000), None), seconds(40));
        // Seen in the wild: a reset that has passed.
        assert_eq!(wait(&reset(1_799_999_000), None), seconds(1));
        assert_eq!(wait(&reset(1_900_000_000), None), seconds(3600));
        assert_eq!(wait("{}", Some("7")), seconds(7));
        assert_eq!(wait("{}", Some("0")), seconds(1));
        assert_eq!(wait("{}", Some("Fri, 15 Jan 2027 08:01:00 GMT")), seconds(60));
        assert_eq!(wait(&reset(1_800_000_040), Some("7")), seconds(40));
        assert_eq!(wait("{}", Some("soon")), Retry::Backoff);
        assert_eq!(wait("<html>", None), Retry::Backoff);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            status in 300u16..600,
            body in r#"[\[\]{}",:a-z0-9]{0,60}"#,
            after in "[ -~]{0,20}",
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::try_from(after).unwrap());
            let _ = of_call(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), NOW);
        }
    }
}
