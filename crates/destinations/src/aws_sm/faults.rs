//! What AWS's refusals mean (destinations.md 1.8). Told by the code, never by the status: this protocol
//! has 400 for nearly everything. Nothing of an answer but its code is looked at, and nothing of an
//! answer is repeated.

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::api::Operation;
use crate::{Fault, Retry};

/// A refusal, as far as an operation can make something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `ResourceNotFoundException`.
    NotFound,
    /// `ResourceExistsException`: the name, or the token with another value.
    Exists,
    /// `InvalidRequestException`: the secret's state forbids it; most often it is scheduled for deletion.
    State(Fault),
    /// The credentials do not allow this operation.
    Denied(Fault),
    /// Anything else.
    Fault(Fault),
}

impl Refusal {
    /// For whom none of it was expected.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::State(fault) | Self::Denied(fault) | Self::Fault(fault) => fault,
            Self::NotFound => {
                Fault::external("vanished", "the secret disappeared at AWS while it was being worked on")
            }
            Self::Exists => Fault::internal(
                "write_id_reused",
                "AWS already holds another value under this write's identity",
            ),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a refused request can be mended by, before it is told to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    /// Nothing.
    No,
    /// Other credentials, if loading them again gives others.
    Credentials,
    /// The right time.
    Clock,
}

/// Whether the code says that trying once more after a repair may help.
pub(super) fn mend(code: Option<&str>) -> Mend {
    match code {
        Some("ExpiredTokenException" | "ExpiredToken" | "RequestExpiredToken") => Mend::Credentials,
        Some(
            "RequestExpired"
            | "RequestTimeTooSkewed"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "RequestInTheFuture",
        ) => Mend::Clock,
        _ => Mend::No,
    }
}

/// The meaning of a refused operation.
pub(super) fn of_service(operation: Operation, code: Option<&str>, status: StatusCode) -> Refusal {
    let slowly = |code, message: String| Fault::client(code, message).retry(Retry::Slowly);
    let fault = match code {
        Some("ResourceNotFoundException") => return Refusal::NotFound,
        Some("ResourceExistsException") => return Refusal::Exists,
        Some("InvalidRequestException") => {
            return Refusal::State(
                Fault::client(
                    "invalid_state",
                    "AWS refuses this in the secret's present state (being deleted, replicated or owned by \
                     another service)",
                )
                .retry(Retry::Slowly)
                .status(status.as_u16()),
            );
        }
        Some("AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "UnauthorizedOperation") => {
            let permission = operation.permission();
            return Refusal::Denied(
                slowly(
                    "access_denied",
                    format!("the AWS credentials lack a permission: {permission}, or one on its KMS key"),
                )
                .status(status.as_u16()),
            );
        }
        Some("ExpiredTokenException" | "ExpiredToken" | "RequestExpiredToken") => {
            slowly("credentials_expired", "the AWS credentials have expired".into())
        }
        Some(
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidAccessKeyId"
            | "AuthFailure",
        ) => slowly("credentials_rejected", "AWS does not accept the credentials; are they current?".into()),
        Some("OptInRequired" | "SubscriptionRequiredException") => slowly(
            "not_subscribed",
            "the AWS account has not opted in to Secrets Manager in this region".into(),
        ),
        Some("RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture") => {
            Fault::internal("clock_skew", "this machine's clock is too far from AWS's")
        }
        Some("LimitExceededException") => slowly(
            "quota_exceeded",
            "an AWS quota is used up: secrets in the region, or versions of this secret within a day".into(),
        ),
        Some(
            "EncryptionFailure"
            | "EncryptionFailureException"
            | "DecryptionFailure"
            | "DecryptionFailureException"
            | "KMSAccessDeniedException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException",
        ) => slowly(
            "kms_failed",
            "AWS cannot use the KMS key: does it exist, is it enabled, and may these credentials use it?"
                .into(),
        ),
        Some("PreconditionNotMetException" | "PreconditionNotMet") => {
            slowly("precondition_not_met", "AWS refuses because of another setting of the secret".into())
        }
        Some("RegionDisabledException") => {
            slowly("region_disabled", "the region is not enabled for the AWS account".into())
        }
        Some(
            "InvalidParameterException"
            | "ValidationException"
            | "InvalidParameterValue"
            | "MalformedPolicyDocumentException"
            | "SerializationException",
        ) => Fault::client(
            "invalid_parameter",
            "AWS does not accept a setting of this secret: its name, size, tags, key or regions",
        ),
        Some(code) if is_throttle(code) => throttled(),
        Some(
            "InternalServiceError"
            | "InternalServiceErrorException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException",
        ) => provider_down(),
        Some("InvalidNextTokenException") => {
            Fault::external("list_changed", "the list changed while it was read")
        }
        _ => by_status(status),
    };
    Refusal::Fault(fault.status(status.as_u16()))
}

/// The meaning of a refusal by the token service or the machine's metadata service.
pub(super) fn of_token_service(code: Option<&str>, status: StatusCode) -> Fault {
    let slowly = |code, message: &'static str| Fault::client(code, message).retry(Retry::Slowly);
    let fault = match code {
        Some("AccessDenied" | "AccessDeniedException") => {
            slowly("role_denied", "AWS does not let these credentials assume the role; see its trust policy")
        }
        Some(
            "InvalidIdentityToken"
            | "IDPRejectedClaim"
            | "PackedPolicyTooLarge"
            | "InvalidIdentityTokenException",
        ) => slowly("identity_token_rejected", "AWS does not accept the identity token of this server"),
        Some("IDPCommunicationError") => {
            Fault::external("identity_provider_down", "AWS could not reach the identity provider")
        }
        Some("ExpiredTokenException" | "ExpiredToken") => {
            slowly("credentials_expired", "the credentials to assume the role with have expired")
        }
        Some("RegionDisabledException") => {
            slowly("region_disabled", "the token service is not enabled in this region for the AWS account")
        }
        Some("RequestExpired" | "RequestTimeTooSkewed") => {
            Fault::internal("clock_skew", "this machine's clock is too far from AWS's")
        }
        Some(
            "ValidationError" | "ValidationException" | "InvalidParameterValue" | "MalformedPolicyDocument",
        ) => slowly("role_invalid", "AWS does not accept the role's ARN or external id"),
        Some(code) if is_throttle(code) => throttled(),
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            slowly("credentials_rejected", "AWS does not accept the credentials; are they current?")
        }
        _ => by_status(status),
    };
    fault.status(status.as_u16())
}

fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "ProvisionedThroughputExceededException"
            | "BandwidthLimitExceeded"
            | "PriorRequestNotComplete"
    )
}

fn throttled() -> Fault {
    Fault::throttled("AWS asks for fewer calls")
}

/// Without a code anybody knows: proxies and load balancers in between answer like this.
fn by_status(status: StatusCode) -> Fault {
    match status.as_u16() {
        429 => throttled(),
        401 | 403 => Fault::client(
            "access_denied",
            "something in front of AWS, or AWS without saying why, does not let these credentials in",
        )
        .retry(Retry::Slowly),
        400..=499 => {
            Fault::client("refused", "AWS refuses the request and does not say why in words we know")
                .retry(Retry::Slowly)
        }
        _ => provider_down(),
    }
}

fn provider_down() -> Fault {
    Fault::external("provider_down", "AWS has a problem of its own")
}

/// The error code of an answer: the header, else the JSON body, else an XML body (which a proxy, a
/// signature check or a stand-in may send).
pub(super) fn error_code(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody<'a> {
        #[serde(rename = "__type", borrow)]
        kind: Option<std::borrow::Cow<'a, str>>,
        #[serde(borrow)]
        code: Option<std::borrow::Cow<'a, str>>,
    }
    if let Some(code) = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()) {
        return Some(bare(code).to_owned());
    }
    match serde_json::from_slice::<ErrorBody<'_>>(body) {
        Ok(body) => body.kind.or(body.code).map(|code| bare(&code).to_owned()),
        Err(_) => error_code_of_xml(body),
    }
}

/// The code without namespace (`com.amazonaws.x#Code`) and address (`Code:http://…`).
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

/// What stands in the first `<Code>` element.
pub(super) fn error_code_of_xml(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain =
        !code.is_empty() && code.len() <= 100 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    plain.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    fn meaning(code: &str, status: u16) -> (Blame, &'static str, Retry) {
        let code = (!code.is_empty()).then_some(code);
        let fault = of_service(Operation::Put, code, StatusCode::from_u16(status).unwrap()).fault();
        (fault.blame, fault.code, fault.retry)
    }

    #[test]
    fn every_line_of_the_failure_map() {
        use Blame::{Client, External, Internal};
        use Retry::{Backoff, Slowly, WhenChanged};
        for (code, status, expected) in [
            ("ThrottlingException", 400, (External, "throttled", Backoff)),
            ("Throttling", 400, (External, "throttled", Backoff)),
            ("TooManyRequestsException", 400, (External, "throttled", Backoff)),
            ("RequestLimitExceeded", 503, (External, "throttled", Backoff)),
            ("", 429, (External, "throttled", Backoff)),
            ("InternalServiceError", 400, (External, "provider_down", Backoff)),
            ("InternalServiceError", 500, (External, "provider_down", Backoff)),
            ("ServiceUnavailable", 503, (External, "provider_down", Backoff)),
            ("", 502, (External, "provider_down", Backoff)),
            ("ExpiredTokenException", 400, (Client, "credentials_expired", Slowly)),
            ("UnrecognizedClientException", 400, (Client, "credentials_rejected", Slowly)),
            ("InvalidClientTokenId", 403, (Client, "credentials_rejected", Slowly)),
            ("InvalidSignatureException", 400, (Client, "credentials_rejected", Slowly)),
            ("AccessDeniedException", 400, (Client, "access_denied", Slowly)),
            ("", 403, (Client, "access_denied", Slowly)),
            ("RequestExpired", 400, (Internal, "clock_skew", Backoff)),
            ("ResourceExistsException", 400, (Internal, "write_id_reused", Backoff)),
            ("InvalidRequestException", 400, (Client, "invalid_state", Slowly)),
            ("InvalidParameterException", 400, (Client, "invalid_parameter", WhenChanged)),
            ("ValidationException", 400, (Client, "invalid_parameter", WhenChanged)),
            ("LimitExceededException", 400, (Client, "quota_exceeded", Slowly)),
            ("EncryptionFailure", 400, (Client, "kms_failed", Slowly)),
            ("RegionDisabledException", 403, (Client, "region_disabled", Slowly)),
            ("SomethingNew", 400, (Client, "refused", Slowly)),
            ("SomethingNew", 500, (External, "provider_down", Backoff)),
        ] {
            assert_eq!(meaning(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn codes_are_found_wherever_they_stand() {
        let none = HeaderMap::new();
        for (body, code) in [
            (r#"{"__type":"ResourceNotFoundException","message":"x"}"#, Some("ResourceNotFoundException")),
            (r#"{"__type":"com.amazonaws.sm#LimitExceededException"}"#, Some("LimitExceededException")),
            (r#"{"code":"A:http://internal.amazon.com/"}"#, Some("A")),
            ("<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error>", Some("InvalidClientTokenId")),
            ("<html>502 Bad Gateway</html>", None),
            ("<Code>not a code</Code>", None),
            ("{}", None),
            ("", None),
            ("\u{0}", None),
        ] {
            assert_eq!(error_code(&none, body.as_bytes()).as_deref(), code, "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", "AccessDeniedException:".parse().unwrap());
        assert_eq!(error_code(&headers, b"{}").as_deref(), Some("AccessDeniedException"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = error_code(&HeaderMap::new(), &body);
        }
    }
}
