//! What the services that hand out tokens answer: tokens, and why there are none (destinations.md 2.3,
//! 2.5).

use std::{borrow::Cow, time::Duration};

use http::{HeaderValue, StatusCode};
use model::{SecretBytes, Timestamp};
use serde::Deserialize;

use super::super::faults::not_let_in;
use crate::{
    Fault, Retry,
    net::Answer,
    tokens::{Life, bearer},
};

/// Tokens are renewed this long before they expire, unless the answer says when.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// Tokens that last this long or longer are renewed at half their time, as Azure's own clients do.
const LONG_LIFE: Duration = Duration::from_secs(7200);
/// What a token lasts whose answer does not say.
const UNKNOWN_LIFE: Duration = Duration::from_secs(600);
/// No token is believed to last longer.
const MAX_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// An access token, ready for use.
pub(crate) struct Token {
    /// The value of the `Authorization` header, wiped when it is dropped.
    pub(crate) header: HeaderValue,
}

/// Numbers come as numbers from the authority and as text from the machine.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Whole(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

impl Number<'_> {
    fn read(self) -> Option<u64> {
        match self {
            Self::Whole(number) => Some(number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Other(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Given<'a> {
    access_token: SecretBytes,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires_in: Option<Number<'a>>,
    #[serde(borrow)]
    refresh_in: Option<Number<'a>>,
    /// Seconds of Unix time.
    #[serde(borrow)]
    expires_on: Option<Number<'a>>,
}

/// The token of an answer with success, and how long it lasts.
pub(super) fn token(answer: &Answer, now: Timestamp) -> Result<(Token, Life), Fault> {
    let unreadable =
        || Fault::external("token_unreadable", "what should have been an Azure token is in no form we know");
    // A token, on its way into a header.
    let given: Given<'_> = serde_json::from_slice(answer.body.expose()).map_err(|_| unreadable())?;
    if given.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
        || given.access_token.is_empty()
    {
        return Err(unreadable());
    }
    let seconds = |number: Option<Number<'_>>| number.and_then(Number::read).map(Duration::from_secs);
    let until = |at: Duration| {
        let left = at.as_secs().saturating_sub(u64::try_from(now.as_secs()).unwrap_or_default());
        Duration::from_secs(left)
    };
    let life = seconds(given.expires_in).or_else(|| seconds(given.expires_on).map(until));
    let life = life.unwrap_or(UNKNOWN_LIFE).min(MAX_LIFE);
    let expires_at = now.plus(life);
    let life = match seconds(given.refresh_in) {
        Some(asked) => Life { renew_at: now.plus(asked.min(life)), expires_at },
        None if life >= LONG_LIFE => Life { renew_at: now.plus(life / 2), expires_at },
        None => Life::until(expires_at, now, RENEW_BEFORE),
    };
    let header = bearer(&given.access_token).ok_or_else(unreadable)?;
    Ok((Token { header }, life))
}

/// A refusal by the authority.
#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    /// The numbers of `AADSTS…`.
    #[serde(default)]
    error_codes: Vec<u64>,
}

/// Why the authority gives no token. `federated`: it was asked with the server's identity token.
pub(super) fn of_authority(status: StatusCode, body: &[u8], federated: bool) -> Fault {
    let refused = serde_json::from_slice::<Refused<'_>>(body)
        .unwrap_or(Refused { error: Cow::Borrowed(""), error_codes: Vec::new() });
    let slowly = |code, message: &'static str| Fault::client(code, message).retry(Retry::Slowly);
    let any = |codes: &[u64]| refused.error_codes.iter().any(|code| codes.contains(code));
    let fault = match status.as_u16() {
        429 => Fault::throttled("Azure's sign-in asks for fewer calls"),
        _ if refused.error == "temporarily_unavailable" => sign_in_down(),
        500.. => sign_in_down(),
        _ if any(&[7_000_222]) => {
            slowly("credentials_expired", "the client secret has expired; make a new one for the app")
        }
        _ if any(&[7_000_215]) => {
            not_let_in("the client secret is not the app's; give the secret's value, not its id")
        }
        _ if any(&[700_016, 700_038]) => not_let_in("the tenant knows no app of this client_id"),
        _ if any(&[90_002, 900_023, 900_021]) => {
            not_let_in("there is no tenant of this tenant_id in this cloud")
        }
        _ if any(&[500_011, 650_057]) => slowly(
            "resource_unknown",
            "the tenant does not know Azure Key Vault as a resource; is cloud the vault's?",
        ),
        _ if federated
            && (refused.error == "invalid_client" || refused.error == "invalid_grant" || any(FEDERATION)) =>
        {
            slowly(
                "identity_token_rejected",
                "Azure does not accept the identity token of this server; see the app's federated credentials",
            )
        }
        _ if refused.error == "interaction_required" => slowly(
            "credentials_rejected",
            "Azure does not accept the credentials: a conditional access policy stands in the way",
        ),
        400..=499 => not_let_in("are client_id, client_secret and tenant_id right and current?"),
        _ => sign_in_down(),
    };
    fault.status(status.as_u16())
}

/// No such federated credential, or its token is wrong, foreign or too old.
const FEDERATION: &[u64] = &[70_021, 700_211, 700_212, 700_213, 700_024, 700_027, 7_000_226];

fn sign_in_down() -> Fault {
    Fault::external("provider_down", "Azure's sign-in has a problem of its own")
}

/// Why the machine's identity service gives no token. 404 and 410 pass within a minute or so there.
pub(super) fn of_machine(status: StatusCode) -> Fault {
    let fault = match status.as_u16() {
        429 => Fault::throttled("the machine's identity service asks for fewer calls"),
        404 | 410 | 500.. => Fault::external(
            "identity_unavailable",
            "the machine's identity service has no token to give yet (set client_id and client_secret if this \
             machine is not Azure's)",
        ),
        _ => Fault::client(
            "credentials_missing",
            "this machine has no managed identity, or not the one client_id names; assign one, or set \
             client_id and client_secret",
        )
        .retry(Retry::Slowly),
    };
    fault.status(status.as_u16())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use model::Blame;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn given(body: &str) -> Result<(Token, Life), Fault> {
        token(&Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() }, NOW)
    }

    fn lives(body: &str) -> (u64, u64) {
        let (_, life) = given(body).unwrap();
        (life.renew_at.since(NOW).as_secs(), life.expires_at.since(NOW).as_secs())
    }

    #[test]
    fn a_tokens_life_is_read_in_every_form() {
        for (body, life) in [
            (r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#, (3299, 3599)),
            (r#"{"expires_in":"3599","access_token":"t"}"#, (3299, 3599)),
            (r#"{"expires_in":86399,"access_token":"t"}"#, (43_199, 86_399)),
            (r#"{"expires_in":86399,"refresh_in":43000,"access_token":"t"}"#, (43_000, 86_399)),
            (r#"{"expires_on":"1003600","access_token":"t"}"#, (3300, 3600)),
            (r#"{"expires_on":1003600,"access_token":"t"}"#, (3300, 3600)),
            (r#"{"expires_on":"06/20/2019 02:57:58 AM +00:00","access_token":"t"}"#, (300, 600)),
            (r#"{"access_token":"t"}"#, (300, 600)),
            (r#"{"expires_in":100,"access_token":"t"}"#, (50, 100)),
            (r#"{"expires_in":100,"refresh_in":9999,"access_token":"t"}"#, (100, 100)),
            (r#"{"expires_in":18446744073709551615,"access_token":"t"}"#, (302_400, 604_800)),
        ] {
            assert_eq!(lives(body), life, "{body}");
        }
        let header = given(r#"{"access_token":"abc"}"#).unwrap().0.header;
        assert_eq!((header.to_str().unwrap(), header.is_sensitive()), ("Bearer abc", true));
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for body in [
            "",
            "{}",
            "<html>",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":"t","token_type":"pop"}"#,
        ] {
            let fault = given(body).err().unwrap();
            assert_eq!((fault.code, fault.blame), ("token_unreadable", Blame::External), "{body}");
        }
    }

    #[test]
    fn every_refusal_of_the_authority() {
        use Blame::{Client, External};
        use Retry::{Backoff, Slowly};
        for (status, error, number, federated, expected) in [
            (401, "invalid_client", 7_000_215, false, (Client, "credentials_rejected", Slowly)),
            (401, "invalid_client", 7_000_222, false, (Client, "credentials_expired", Slowly)),
            (400, "unauthorized_client", 700_016, false, (Client, "credentials_rejected", Slowly)),
            (400, "invalid_request", 90_002, false, (Client, "credentials_rejected", Slowly)),
            (400, "invalid_request", 0, false, (Client, "credentials_rejected", Slowly)),
            (400, "invalid_resource", 500_011, false, (Client, "resource_unknown", Slowly)),
            (400, "interaction_required", 50_076, false, (Client, "credentials_rejected", Slowly)),
            (401, "invalid_client", 700_213, true, (Client, "identity_token_rejected", Slowly)),
            (400, "invalid_request", 70_021, true, (Client, "identity_token_rejected", Slowly)),
            (400, "unauthorized_client", 700_016, true, (Client, "credentials_rejected", Slowly)),
            (400, "temporarily_unavailable", 0, false, (External, "provider_down", Backoff)),
            (429, "", 0, false, (External, "throttled", Backoff)),
            (500, "server_error", 0, false, (External, "provider_down", Backoff)),
            (503, "", 0, false, (External, "provider_down", Backoff)),
            (302, "", 0, false, (External, "provider_down", Backoff)),
        ] {
            let body = format!(r#"{{"error":"{error}","error_description":"x","error_codes":[{number}]}}"#);
            let fault = of_authority(StatusCode::from_u16(status).unwrap(), body.as_bytes(), federated);
            assert_eq!((fault.blame, fault.code, fault.retry), expected, "{status} {error} {number}");
        }
        let unreadable = of_authority(StatusCode::UNAUTHORIZED, b"<html>", false);
        assert_eq!(unreadable.code, "credentials_rejected");
    }

    #[test]
    fn every_refusal_of_the_machine() {
        for (status, code, blame) in [
            (400, "credentials_missing", Blame::Client),
            (403, "credentials_missing", Blame::Client),
            (404, "identity_unavailable", Blame::External),
            (410, "identity_unavailable", Blame::External),
            (429, "throttled", Blame::External),
            (500, "identity_unavailable", Blame::External),
        ] {
            let fault = of_machine(StatusCode::from_u16(status).unwrap());
            assert_eq!((fault.code, fault.blame), (code, blame), "{status}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = of_authority(StatusCode::BAD_REQUEST, &body, true);
            let body = SecretBytes::new(body);
            let _ = token(&Answer { status: StatusCode::OK, headers: HeaderMap::new(), body }, NOW);
        }
    }
}
