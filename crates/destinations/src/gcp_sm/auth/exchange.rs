//! Getting a token: from a signed statement, a refresh token, an identity from elsewhere, or the machine.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use model::{SecretBytes, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    adc,
    file::{Account, External, Impersonation, Login, Place, Source, Subject, User},
};
use crate::{
    Fault, Retry, json,
    net::{Answer, Client, Effect, Net, wiped_bytes},
    tokens::bearer,
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long a statement lasts; Google takes an hour at most.
const STATEMENT_LASTS: i64 = 3600;

/// A difference from Google's clock below this is no reason to doubt ours.
const NOTABLE_SKEW_SECS: u64 = 60;

/// What a token service gave.
pub(super) struct Granted {
    pub(super) token: SecretBytes,
    pub(super) expires: Timestamp,
}

/// How token services are reached.
pub(super) struct Caller<'a> {
    pub(super) net: &'a Net,
    pub(super) client: Client,
}

#[derive(Deserialize)]
struct Grant {
    access_token: SecretBytes,
    expires_in: Option<u64>,
}

impl Caller<'_> {
    /// A token for what a file says.
    pub(super) async fn log_in(&self, login: &Login) -> Result<Granted, Fault> {
        let first = match &login.source {
            Source::Account(account) => self.account(account).await?,
            Source::User(user) => self.user(user).await?,
            Source::External(external) => self.external(external).await?,
        };
        match &login.impersonation {
            None => Ok(first),
            Some(other) => self.impersonate(other, &first).await,
        }
    }

    /// A token of the account the machine runs as.
    pub(super) async fn machine(&self) -> Result<Granted, Fault> {
        let asked = self.net.clock().now();
        let answer = adc::ask_machine(self.net, "instance/service-accounts/default/token").await?;
        if answer.status == http::StatusCode::NOT_FOUND {
            return Err(adc::config_fault("the machine has no service account".to_owned()));
        }
        granted(&answer, asked).map_err(|refused| refused.fault)
    }

    async fn account(&self, account: &Account) -> Result<Granted, Fault> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'a str,
            aud: &'a str,
            iat: i64,
            exp: i64,
        }
        let mut now = self.net.clock().now();
        let mut corrected = false;
        loop {
            let iat = now.as_secs();
            let claims = Claims {
                iss: &account.email,
                scope: SCOPE,
                aud: &account.audience,
                iat,
                exp: iat.saturating_add(STATEMENT_LASTS),
            };
            let statement = account
                .key
                .sign(account.key_id.as_deref(), &claims)
                .ok_or_else(|| Fault::internal("signing_failed", "the service account's key cannot sign"))?;
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            // Into the form it is sent in. It is good for this once, for an hour.
            let statement = statement.expose_text().unwrap_or_default();
            let form = [("grant_type", grant), ("assertion", statement)];
            match self.form(&account.url, &form).await? {
                Ok(granted) => return Ok(granted),
                // The statement was of another time in the eyes of who judges it. Once shows whether that was all.
                Err(Refused { grant: true, date: Some(theirs), .. })
                    if !corrected && theirs.as_secs().abs_diff(iat) >= NOTABLE_SKEW_SECS =>
                {
                    tracing::warn!("this machine's clock is off; Google's time is used to ask for a token");
                    (now, corrected) = (theirs, true);
                }
                Err(refused) => return Err(refused.fault),
            }
        }
    }

    async fn user(&self, user: &User) -> Result<Granted, Fault> {
        // Into the form they are sent in.
        let text = |secret: &'_ SecretBytes| -> Result<Zeroizing<String>, Fault> {
            let text = secret.expose_text();
            text.map(|text| Zeroizing::new(text.to_owned()))
                .map_err(|_| adc::config_fault("the Google credentials are not text".to_owned()))
        };
        let (secret, token) = (text(&user.client_secret)?, text(&user.refresh_token)?);
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", user.client_id.as_str()),
            ("client_secret", secret.as_str()),
            ("refresh_token", token.as_str()),
        ];
        self.form(&user.url, &form).await?.map_err(|refused| refused.fault)
    }

    async fn external(&self, external: &External) -> Result<Granted, Fault> {
        let subject = self.subject(&external.subject).await?;
        // Into the form it is exchanged in.
        let subject = subject
            .expose_text()
            .map_err(|_| adc::config_fault("the identity token is not text".to_owned()))?
            .trim();
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", external.audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", external.subject_token_type.as_str()),
            ("subject_token", subject),
        ];
        if let Some(options) = &external.user_project {
            form.push(("options", options));
        }
        self.form(&external.url, &form).await?.map_err(|refused| refused.fault)
    }

    /// Reads an identity's token anew each time: it is replaced before it expires.
    async fn subject(&self, subject: &Subject) -> Result<SecretBytes, Fault> {
        let whole = match &subject.place {
            Place::File(path) => {
                let (environment, path) = (std::sync::Arc::clone(self.net.environment()), path.clone());
                match tokio::task::spawn_blocking(move || environment.read(&path)).await {
                    Ok(Ok(bytes)) => bytes,
                    _ => {
                        return Err(adc::config_fault("the identity token's file cannot be read".to_owned()));
                    }
                }
            }
            Place::Url { url, headers } => {
                let mut request = Request::get(url.as_str()).body(Bytes::new()).map_err(|_| malformed())?;
                request.headers_mut().extend(headers.iter().cloned());
                let answer = self.client.call(request, Effect::Read).await?;
                if !answer.status.is_success() {
                    let message = "the source of the identity token refuses to give it";
                    return Err(Fault::client("identity_token_missing", message)
                        .retry(Retry::Slowly)
                        .status(answer.status.as_u16()));
                }
                answer.body
            }
            Place::Own(federation) => federation.token().await?,
        };
        let Some(member) = &subject.member else { return Ok(whole) };
        // Opened to take the token out.
        let mut members: std::collections::HashMap<String, Member> =
            serde_json::from_slice(whole.expose()).unwrap_or_default();
        match members.remove(member) {
            Some(Member::Text(token)) => Ok(token),
            _ => Err(adc::config_fault(
                "the identity token is not where subject_token_field_name says".to_owned(),
            )),
        }
    }

    async fn impersonate(&self, other: &Impersonation, first: &Granted) -> Result<Granted, Fault> {
        #[derive(Serialize)]
        struct Wish<'a> {
            delegates: &'a [String],
            scope: [&'a str; 1],
            lifetime: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fulfilled {
            access_token: SecretBytes,
            expire_time: String,
        }
        let wish =
            Wish { delegates: &other.delegates, scope: [SCOPE], lifetime: format!("{}s", other.lifetime) };
        let body = json::compact(&wish).ok_or_else(malformed)?;
        let mut request =
            Request::post(other.url.as_str()).body(wiped_bytes(body)).map_err(|_| malformed())?;
        let bearer = bearer(&first.token).ok_or_else(unreadable)?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.client.call(request, Effect::Read).await?;
        if !answer.status.is_success() {
            return Err(match answer.status.as_u16() {
                400 | 401 | 403 | 404 => Fault::client(
                    "impersonation_denied",
                    "Google does not let these credentials act as the other service account; they need \
                     iam.serviceAccounts.getAccessToken on it (Service Account Token Creator)",
                )
                .retry(Retry::Slowly)
                .status(answer.status.as_u16()),
                _ => refusal(&answer).fault,
            });
        }
        // Opened to take the token out.
        let granted: Fulfilled = serde_json::from_slice(answer.body.expose()).map_err(|_| unreadable())?;
        let expires: jiff::Timestamp = granted.expire_time.parse().map_err(|_| unreadable())?;
        Ok(Granted { token: granted.access_token, expires: Timestamp::from_secs(expires.as_second()) })
    }

    async fn form(&self, url: &str, form: &[(&str, &str)]) -> Result<Result<Granted, Refused>, Fault> {
        let mut request = Request::post(url).body(wiped_bytes(encoded(form))).map_err(|_| malformed())?;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let asked = self.net.clock().now();
        // Asking once more gives another token, and does no harm.
        let answer = self.client.call(request, Effect::Read).await?;
        Ok(granted(&answer, asked))
    }
}

fn granted(answer: &Answer, asked: Timestamp) -> Result<Granted, Refused> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    // Opened to take the token out.
    let grant: Grant = serde_json::from_slice(answer.body.expose()).map_err(|_| Refused {
        fault: unreadable(),
        grant: false,
        date: None,
    })?;
    let lasts = Duration::from_secs(grant.expires_in.unwrap_or(3600).min(86_400));
    Ok(Granted { token: grant.access_token, expires: asked.plus(lasts) })
}

/// A member of a JSON object that may be the token.
#[derive(Deserialize)]
#[serde(untagged)]
enum Member {
    Text(SecretBytes),
    Other(serde::de::IgnoredAny),
}

/// Why there is no token.
struct Refused {
    fault: Fault,
    /// It was the statement, the refresh token or the identity that was not accepted.
    grant: bool,
    /// The time by their clock.
    date: Option<Timestamp>,
}

fn refusal(answer: &Answer) -> Refused {
    #[derive(Deserialize)]
    struct Body {
        error: Option<String>,
    }
    // A refusal holds no token; it is opened to find its code.
    let code = serde_json::from_slice::<Body>(answer.body.expose()).ok().and_then(|body| body.error);
    let slowly = |code, message: &'static str| Fault::client(code, message).retry(Retry::Slowly);
    let status = answer.status;
    let fault = match (code.as_deref(), status.as_u16()) {
        (_, 429) => Fault::throttled("Google's token service asks for fewer calls"),
        (_, 500..) => Fault::external("provider_down", "Google's token service has a problem of its own"),
        (Some("invalid_target" | "invalid_request"), _) => slowly(
            "credentials_config",
            "Google's token service does not accept the request; is the identity pool's audience right?",
        ),
        _ => slowly(
            "credentials_rejected",
            "Google's token service does not accept the credentials; were they revoked or deleted?",
        ),
    };
    Refused {
        fault: fault.status(status.as_u16()),
        grant: code.as_deref() == Some("invalid_grant"),
        date: date(&answer.headers),
    }
}

/// Measured first, so that no growing text leaves copies of what is in it.
fn encoded(form: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let size: usize = form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut body = url::form_urlencoded::Serializer::new(String::with_capacity(size));
    body.extend_pairs(form);
    Zeroizing::new(body.finish().into_bytes())
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp::from_secs(date.timestamp().as_second()))
}

fn malformed() -> Fault {
    adc::config_fault("the address of the token service is malformed".to_owned())
}

fn unreadable() -> Fault {
    let message = "Google's token service answered with success, but not in the form it promises";
    Fault::internal("answer_unreadable", message)
}
