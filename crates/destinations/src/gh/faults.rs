//! What GitHub's refusals mean (destinations.md 4.5). GitHub has no codes, so where the status does not tell
//! enough, a few phrases of its message are looked for. Nothing of an answer is repeated.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::place::Scope;
use crate::{Fault, Retry};

/// A refusal, as far as a call can make something of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 404: the secret, or all that is around it.
    NotFound(Fault),
    /// 403: the credentials do not allow this call.
    Denied(Fault),
    /// 409.
    Conflict(Fault),
    /// 422, for a value that a fresh public key may mend.
    Key(Fault),
    /// Anything else.
    Fault(Fault),
}

impl Refusal {
    /// For whom none of it was expected.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::NotFound(fault)
            | Self::Denied(fault)
            | Self::Conflict(fault)
            | Self::Key(fault)
            | Self::Fault(fault) => fault,
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn slowly(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::client(code, message).retry(Retry::Slowly)
}

/// The meaning of a refused call at a scope. What GitHub counts is told by [`super::account`], before this.
pub(super) fn of_call(scope: &Scope, status: StatusCode, headers: &HeaderMap, message: &str) -> Refusal {
    let told = |fault: Fault| fault.status(status.as_u16());
    match status.as_u16() {
        401 => Refusal::Fault(told(credentials_rejected())),
        403 => Refusal::Denied(told(denied(scope, headers, message))),
        404 => Refusal::NotFound(told(not_found(scope))),
        409 => Refusal::Conflict(told(Fault::external("conflict", "GitHub was busy with this secret"))),
        422 => unprocessable(message, told),
        301 | 302 | 303 | 307 | 308 => Refusal::Fault(told(slowly(
            "moved",
            format!("GitHub says that the {} is at another address, which is not followed", scope.word()),
        ))),
        400..=499 => Refusal::Fault(told(slowly(
            "refused",
            "GitHub refuses the request and does not say why in words we know",
        ))),
        _ => Refusal::Fault(told(provider_down())),
    }
}

fn provider_down() -> Fault {
    Fault::external("provider_down", "GitHub has a problem of its own")
}

fn credentials_rejected() -> Fault {
    slowly("credentials_rejected", "GitHub does not accept the credentials; are they current?")
}

/// No such thing, or none that these credentials may see: GitHub does not tell which.
pub(super) fn not_found(scope: &Scope) -> Fault {
    let hint = match scope {
        Scope::Repository { .. } | Scope::Organization { .. } => "",
        Scope::Environment { .. } => " (an environment has to be made before secrets can be put in it)",
    };
    slowly(
        "target_not_found",
        format!(
            "GitHub shows no such {} to these credentials; check its name and their access{hint}",
            scope.word()
        ),
    )
}

fn denied(scope: &Scope, headers: &HeaderMap, message: &str) -> Fault {
    if headers.contains_key("x-github-sso") {
        return slowly(
            "sso_required",
            "the organization asks for single sign-on, and the token is not authorised for it; authorise it in \
             the token's settings (Configure SSO)",
        );
    }
    if message.contains("archived") {
        return slowly("repository_archived", "the repository is archived, so GitHub changes nothing in it");
    }
    if message.contains("ip allow list") {
        return slowly(
            "ip_not_allowed",
            "the organization's list of allowed addresses does not have this server's",
        );
    }
    slowly(
        "access_denied",
        format!(
            "the GitHub credentials lack a permission: {} for this {}, or a policy of the organization forbids it",
            scope.permission(),
            scope.word()
        ),
    )
}

/// A value that is not accepted. Only what is clearly about something else is not blamed on the key.
fn unprocessable(message: &str, told: impl Fn(Fault) -> Fault) -> Refusal {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["too large", "too long", "too big", " size", "48 kb", "48kb"]) {
        let text = "GitHub finds the value too large; it takes 48 KB";
        return Refusal::Fault(told(Fault::client("value_too_large", text)));
    }
    if says(&["limit", "number of secrets", "too many", "exceed"]) {
        return Refusal::Fault(told(full()));
    }
    if says(&["secret name", "name "]) {
        let text = "GitHub does not accept the secret's name; change the name template";
        return Refusal::Fault(told(Fault::client("illegal_name", text)));
    }
    if says(&["repositor", "visibility"]) {
        let text = "GitHub does not accept the organization secret's visibility or selected repositories";
        return Refusal::Fault(told(Fault::client("invalid_parameter", text)));
    }
    Refusal::Key(told(slowly(
        "encryption_refused",
        "GitHub does not accept the encrypted value, although it was made with its newest public key",
    )))
}

/// No more secrets fit.
pub(super) fn full() -> Fault {
    slowly(
        "quota_exceeded",
        "the limit of secrets is reached (100 in a repository or environment, 1,000 in an organization); \
         remove some, or use another destination",
    )
}

/// The meaning of a refused request for an installation's token.
pub(super) fn of_token_request(scope: &Scope, status: StatusCode, message: &str) -> Fault {
    let fault = match status.as_u16() {
        401 => slowly(
            "credentials_rejected",
            "GitHub does not accept the app's signature; do app_id and private_key belong together, and is this \
             machine's clock right?",
        ),
        403 if message.contains("suspended") => {
            slowly("installation_suspended", "the installation of the GitHub app is suspended")
        }
        403 => slowly("access_denied", "GitHub does not give the app a token for its installation"),
        404 => slowly(
            "installation_not_found",
            "GitHub knows no such installation of the app; check installation_id",
        ),
        422 => slowly(
            "access_denied",
            format!(
                "the app's installation does not cover the {}, or was not granted {}",
                scope.word(),
                scope.permission()
            ),
        ),
        400..=499 => {
            slowly("refused", "GitHub refuses the app a token and does not say why in words we know")
        }
        _ => provider_down(),
    };
    fault.status(status.as_u16())
}

/// What GitHub says, in lower case, to look for phrases in.
pub(super) fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        message: Cow<'a, str>,
    }
    serde_json::from_slice::<Body<'_>>(body).map(|body| body.message.to_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    fn repository() -> Scope {
        Scope::Repository { owner: "o".into(), name: "r".into() }
    }

    #[test]
    fn every_line_of_the_failure_map() {
        use Blame::{Client, External};
        use Retry::{Backoff, Slowly, WhenChanged};
        let none = HeaderMap::new();
        let mut sso = HeaderMap::new();
        sso.insert("x-github-sso", "required; url=https://github.com/x".parse().unwrap());
        for (status, headers, message, expected) in [
            (401, &none, "bad credentials", (Client, "credentials_rejected", Slowly)),
            (403, &none, "resource not accessible by integration", (Client, "access_denied", Slowly)),
            (
                403,
                &sso,
                "resource protected by organization saml enforcement.",
                (Client, "sso_required", Slowly),
            ),
            (403, &none, "repository was archived so is read-only.", (Client, "repository_archived", Slowly)),
            (403, &none, "x has an ip allow list enabled", (Client, "ip_not_allowed", Slowly)),
            (404, &none, "not found", (Client, "target_not_found", Slowly)),
            (409, &none, "", (External, "conflict", Backoff)),
            (422, &none, "bad request - improperly encrypted secret", (Client, "encryption_refused", Slowly)),
            (
                422,
                &none,
                "invalid request. \"key_id\" wasn't supplied.",
                (Client, "encryption_refused", Slowly),
            ),
            (422, &none, "", (Client, "encryption_refused", Slowly)),
            (422, &none, "secret names can only contain …", (Client, "illegal_name", WhenChanged)),
            (422, &none, "value is too large", (Client, "value_too_large", WhenChanged)),
            (422, &none, "you have reached the limit of 100 secrets", (Client, "quota_exceeded", Slowly)),
            (422, &none, "visibility is not one of", (Client, "invalid_parameter", WhenChanged)),
            (307, &none, "", (Client, "moved", Slowly)),
            (400, &none, "problems parsing json", (Client, "refused", Slowly)),
            (500, &none, "", (External, "provider_down", Backoff)),
            (502, &none, "", (External, "provider_down", Backoff)),
            (503, &none, "", (External, "provider_down", Backoff)),
        ] {
            let status_code = StatusCode::from_u16(status).unwrap();
            let fault = of_call(&repository(), status_code, headers, message).fault();
            assert_eq!((fault.blame, fault.code, fault.retry), expected, "{status} {message}");
            assert_eq!(fault.http_status, Some(status));
        }
        for (status, message, code) in [
            (401, "a json web token could not be decoded", "credentials_rejected"),
            (403, "this installation has been suspended", "installation_suspended"),
            (403, "", "access_denied"),
            (404, "not found", "installation_not_found"),
            (422, "the permissions requested are not granted", "access_denied"),
            (400, "", "refused"),
            (500, "", "provider_down"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(of_token_request(&repository(), status, message).code, code);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60), status in 100u16..999) {
            let status = StatusCode::from_u16(status).unwrap();
            let _ = of_call(&repository(), status, &HeaderMap::new(), &message(&body));
        }
    }
}
