//! What a vault's refusals mean (destinations.md 2.2 and 2.5). Told by the status and by two codes in the
//! body, `error.code` and `error.innererror.code`. Nothing else of an answer is looked at, and nothing of
//! an answer is repeated.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use serde::Deserialize;

use super::api::Operation;
use crate::{Fault, Retry};

/// A refusal, as far as an operation can make something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such secret, or no such deleted secret.
    NotFound,
    /// The name is held by a deleted secret that can be recovered.
    Deleted(Fault),
    /// The secret is being deleted.
    Leaving(Fault),
    /// The name is between two states otherwise: being recovered or purged.
    Busy(Fault),
    /// The credentials do not allow this operation.
    Denied(Fault),
    /// The vault lets nobody purge.
    PurgeProtected(Fault),
    /// Anything else.
    Fault(Fault),
}

impl Refusal {
    /// Whether a write may have been made all the same.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.ambiguous)
    }

    /// For whom none of it was expected.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Deleted(fault)
            | Self::Leaving(fault)
            | Self::Busy(fault)
            | Self::Denied(fault)
            | Self::PurgeProtected(fault)
            | Self::Fault(fault) => fault,
            Self::NotFound => {
                Fault::external("vanished", "the secret disappeared at Azure while it was being worked on")
            }
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How long a name between two states is left in peace. Azure takes some seconds, rarely a minute.
const SETTLES_IN: Duration = Duration::from_secs(3);

/// A name between two states.
pub(super) fn busy(message: &'static str) -> Fault {
    Fault::external("name_busy", message).retry(Retry::After(SETTLES_IN))
}

/// The codes of a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Codes {
    code: String,
    inner: String,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: ErrorCodes<'a>,
}

#[derive(Deserialize)]
struct ErrorCodes<'a> {
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    innererror: Option<InnerError<'a>>,
}

#[derive(Deserialize)]
struct InnerError<'a> {
    #[serde(borrow, default)]
    code: Cow<'a, str>,
}

impl Codes {
    /// What the body says; nothing when it is not in Azure's form.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(ErrorBody { error }) = serde_json::from_slice(body) else { return Self::default() };
        let inner = error.innererror.map(|inner| inner.code.into_owned()).unwrap_or_default();
        Self { code: error.code.into_owned(), inner }
    }
}

/// The meaning of a refused operation. 401 is the caller's: it may be mended by another token.
pub(super) fn of_vault(operation: Operation, status: StatusCode, codes: &Codes) -> Refusal {
    let told = |fault: Fault| fault.status(status.as_u16());
    let slowly = |code, message: String| told(Fault::client(code, message).retry(Retry::Slowly));
    let inner = codes.inner.as_str();
    match (status.as_u16(), codes.code.as_str()) {
        (401, _) => {
            Refusal::Fault(told(not_let_in("is the client secret current, and is it the vault's tenant?")))
        }
        (403, _) => forbidden(operation, inner, status),
        (404, "SecretNotFound") => Refusal::NotFound,
        (404, "VaultNotFound") => Refusal::Fault(told(no_such_vault())),
        (409, _) => match inner {
            "ObjectIsDeletedButRecoverable" => Refusal::Deleted(told(busy(
                "the name is held by a deleted secret that Azure has not let go of yet",
            ))),
            "ObjectIsBeingDeleted" => {
                Refusal::Leaving(told(busy("Azure is still deleting the secret of this name")))
            }
            "ObjectIsBeingRecovered" => {
                Refusal::Busy(told(busy("Azure is still recovering the deleted secret of this name")))
            }
            _ => Refusal::Busy(told(busy("something else is happening to the secret of this name at Azure"))),
        },
        (400 | 413 | 414, _) => Refusal::Fault(told(Fault::client(
            "invalid_parameter",
            "Azure does not accept this secret's name, size or tags, or the api_version",
        ))),
        (408, _) => Refusal::Fault(told(Fault::external("timeout", "Azure gave the request up"))),
        (429, _) => Refusal::Fault(told(Fault::throttled("Azure asks for fewer calls"))),
        (400..=499, _) => Refusal::Fault(slowly(
            "refused",
            "Azure, or something in front of it, refuses the request and does not say why in words we know"
                .into(),
        )),
        _ => Refusal::Fault(told(Fault::external("provider_down", "Azure has a problem of its own"))),
    }
}

fn forbidden(operation: Operation, inner: &str, status: StatusCode) -> Refusal {
    let slowly =
        |code, message: String| Fault::client(code, message).retry(Retry::Slowly).status(status.as_u16());
    match inner {
        "ForbiddenByFirewall" | "ForbiddenByConnection" => Refusal::Fault(slowly(
            "network_denied",
            "the vault's firewall does not let this server in; allow its address or use a private endpoint"
                .into(),
        )),
        // A vault that has failed over to its second region takes no writes until it is back.
        _ if inner.contains("ReadOnly") || inner.contains("Failover") => Refusal::Fault(
            Fault::external("vault_read_only", "the vault takes no writes at the moment")
                .status(status.as_u16()),
        ),
        "ForbiddenByRbac" | "ForbiddenByPolicy" | "AccessDenied" => denied(operation, status),
        "SecretDisabled" => Refusal::Fault(slowly(
            "secret_disabled",
            "the secret is disabled at Azure, so its value cannot be read".into(),
        )),
        // Nothing tells purge protection from other reasons but that those have codes.
        _ if operation == Operation::Purge => Refusal::PurgeProtected(slowly(
            "purge_protected",
            "the vault does not allow purging; the name stays reserved until the retention period is over"
                .into(),
        )),
        _ => denied(operation, status),
    }
}

fn denied(operation: Operation, status: StatusCode) -> Refusal {
    let permission = operation.permission();
    let message = format!("the Azure identity lacks a permission on the vault: {permission}");
    Refusal::Denied(Fault::client("access_denied", message).retry(Retry::Slowly).status(status.as_u16()))
}

/// The vault, or the authority, does not know us.
pub(super) fn not_let_in(hint: &'static str) -> Fault {
    Fault::client("credentials_rejected", format!("Azure does not accept the credentials; {hint}"))
        .retry(Retry::Slowly)
}

/// Nothing answers to the vault's name.
pub(super) fn no_such_vault() -> Fault {
    Fault::client("vault_not_found", "there is no vault of this name; is key_vault_uri right?")
        .retry(Retry::Slowly)
}

#[cfg(test)]
mod tests {
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    fn refusal(operation: Operation, status: u16, code: &str, inner: &str) -> Refusal {
        let codes = Codes { code: code.to_owned(), inner: inner.to_owned() };
        of_vault(operation, StatusCode::from_u16(status).unwrap(), &codes)
    }

    #[test]
    fn every_line_of_the_failure_map() {
        use Blame::{Client, External};
        use Retry::{After, Backoff, Slowly, WhenChanged};
        let soon = After(SETTLES_IN);
        for (status, code, inner, expected) in [
            (401, "Unauthorized", "", (Client, "credentials_rejected", Slowly)),
            (403, "Forbidden", "ForbiddenByRbac", (Client, "access_denied", Slowly)),
            (403, "Forbidden", "ForbiddenByPolicy", (Client, "access_denied", Slowly)),
            (403, "Forbidden", "AccessDenied", (Client, "access_denied", Slowly)),
            (403, "Forbidden", "ForbiddenByFirewall", (Client, "network_denied", Slowly)),
            (403, "Forbidden", "ForbiddenByConnection", (Client, "network_denied", Slowly)),
            (403, "Forbidden", "VaultInReadOnlyMode", (External, "vault_read_only", Backoff)),
            (403, "Forbidden", "", (Client, "access_denied", Slowly)),
            (404, "VaultNotFound", "", (Client, "vault_not_found", Slowly)),
            (404, "", "", (Client, "refused", Slowly)),
            (409, "Conflict", "ObjectIsDeletedButRecoverable", (External, "name_busy", soon)),
            (409, "Conflict", "ObjectIsBeingDeleted", (External, "name_busy", soon)),
            (409, "Conflict", "ObjectIsBeingRecovered", (External, "name_busy", soon)),
            (409, "Conflict", "", (External, "name_busy", soon)),
            (400, "BadParameter", "", (Client, "invalid_parameter", WhenChanged)),
            (413, "", "", (Client, "invalid_parameter", WhenChanged)),
            (408, "", "", (External, "timeout", Backoff)),
            (429, "Throttled", "", (External, "throttled", Backoff)),
            (418, "", "", (Client, "refused", Slowly)),
            (500, "InternalError", "", (External, "provider_down", Backoff)),
            (503, "", "", (External, "provider_down", Backoff)),
        ] {
            let fault = refusal(Operation::Set, status, code, inner).fault();
            assert_eq!((fault.blame, fault.code, fault.retry), expected, "{status} {code} {inner}");
            assert_eq!(fault.http_status, Some(status));
        }
        assert_eq!(refusal(Operation::Delete, 404, "SecretNotFound", ""), Refusal::NotFound);
        assert!(matches!(refusal(Operation::Purge, 403, "Forbidden", ""), Refusal::PurgeProtected(_)));
        assert!(matches!(refusal(Operation::Purge, 403, "Forbidden", "ForbiddenByRbac"), Refusal::Denied(_)));
    }

    #[test]
    fn codes_are_read_from_azures_form_only() {
        let codes = |body: &str| Codes::of(body.as_bytes());
        let both = codes(
            r#"{"error":{"code":"Conflict","message":"m","innererror":{"code":"ObjectIsBeingDeleted"}}}"#,
        );
        assert_eq!((both.code.as_str(), both.inner.as_str()), ("Conflict", "ObjectIsBeingDeleted"));
        let one = codes(r#"{"error":{"code":"SecretNotFound","message":"m","innererror":null}}"#);
        assert_eq!((one.code.as_str(), one.inner.as_str()), ("SecretNotFound", ""));
        for other in ["", "{}", "<html>502</html>", r#"{"error":"x"}"#, r#"{"error":{"code":7}}"#] {
            assert_eq!(codes(other), Codes::default(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Codes::of(&body);
        }
    }
}
