//! Signed calls to AWS Secrets Manager: JSON 1.1 over POST (destinations.md 1.1).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use model::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    credentials::{Cache, Credentials},
    faults::{self, Mend, Refusal},
    place::Endpoint,
    sign::{self, Parts, Stamp},
};
use crate::{
    Fault, Retry, json,
    net::{Answer, Client, Effect, Net, wiped_bytes},
};

/// The operations we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Put,
    Update,
    Describe,
    List,
    Get,
    BatchGet,
    Delete,
    Restore,
    Tag,
    Untag,
    MoveStage,
    AddReplicas,
    RemoveReplicas,
}

impl Operation {
    const fn target(self) -> &'static str {
        match self {
            Self::Create => "secretsmanager.CreateSecret",
            Self::Put => "secretsmanager.PutSecretValue",
            Self::Update => "secretsmanager.UpdateSecret",
            Self::Describe => "secretsmanager.DescribeSecret",
            Self::List => "secretsmanager.ListSecrets",
            Self::Get => "secretsmanager.GetSecretValue",
            Self::BatchGet => "secretsmanager.BatchGetSecretValue",
            Self::Delete => "secretsmanager.DeleteSecret",
            Self::Restore => "secretsmanager.RestoreSecret",
            Self::Tag => "secretsmanager.TagResource",
            Self::Untag => "secretsmanager.UntagResource",
            Self::MoveStage => "secretsmanager.UpdateSecretVersionStage",
            Self::AddReplicas => "secretsmanager.ReplicateSecretToRegions",
            Self::RemoveReplicas => "secretsmanager.RemoveRegionsFromReplication",
        }
    }

    /// As a policy names it.
    pub(super) const fn permission(self) -> &'static str {
        match self {
            Self::Create => "secretsmanager:CreateSecret (and secretsmanager:TagResource)",
            Self::Put => "secretsmanager:PutSecretValue",
            Self::Update => "secretsmanager:UpdateSecret",
            Self::Describe => "secretsmanager:DescribeSecret",
            Self::List => "secretsmanager:ListSecrets",
            Self::Get => "secretsmanager:GetSecretValue",
            Self::BatchGet => "secretsmanager:BatchGetSecretValue",
            Self::Delete => "secretsmanager:DeleteSecret",
            Self::Restore => "secretsmanager:RestoreSecret",
            Self::Tag => "secretsmanager:TagResource",
            Self::Untag => "secretsmanager:UntagResource",
            Self::MoveStage => "secretsmanager:UpdateSecretVersionStage",
            Self::AddReplicas => "secretsmanager:ReplicateSecretToRegions",
            Self::RemoveReplicas => "secretsmanager:RemoveRegionsFromReplication",
        }
    }

    const fn effect(self) -> Effect {
        match self {
            Self::Describe | Self::List | Self::Get | Self::BatchGet => Effect::Read,
            _ => Effect::Write,
        }
    }
}

/// How far this machine's clock is off AWS's, once that has been noticed.
#[derive(Debug, Default)]
pub(super) struct Skew(AtomicI64);

/// A difference below this is no reason to doubt the clock. AWS allows five minutes.
const NOTABLE_SKEW_SECS: i64 = 120;

impl Skew {
    /// AWS's time.
    pub(super) fn correct(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_secs(now.as_secs().saturating_add(self.0.load(Ordering::Relaxed)))
    }

    /// Takes the time of an answer over if it is notably off the time we signed with.
    pub(super) fn learn(&self, answered: &HeaderMap, now: Timestamp) -> bool {
        let theirs = answered
            .get(header::DATE)
            .and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok())
            .map(|date| date.timestamp().as_second());
        let Some(theirs) = theirs else { return false };
        if theirs.abs_diff(self.correct(now).as_secs()) < NOTABLE_SKEW_SECS.unsigned_abs() {
            return false;
        }
        self.0.store(theirs.saturating_sub(now.as_secs()), Ordering::Relaxed);
        tracing::warn!("this machine's clock is off; AWS requests are signed with AWS's time");
        true
    }
}

/// The service as one destination reaches it.
pub(super) struct Api {
    pub(super) net: Arc<Net>,
    pub(super) client: Client,
    pub(super) endpoint: Endpoint,
    /// The endpoint's path as it is signed.
    pub(super) path: String,
    pub(super) region: String,
    pub(super) credentials: Cache,
    pub(super) skew: Arc<Skew>,
}

/// The longest wait that is taken from an answer.
const MAX_WAIT: Duration = Duration::from_secs(3600);

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const AGENT: HeaderValue = HeaderValue::from_static("keyferry");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

impl Api {
    /// One operation. Expired credentials are renewed once, a wrong clock is corrected for once.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        body: &impl Serialize,
    ) -> Result<T, Refusal> {
        let body = json::compact(body)
            .ok_or_else(|| Fault::internal("request_encoding", "a request cannot be written as JSON"))?;
        let payload = sign::sha256_hex(&body);
        let body = wiped_bytes(body);
        let (mut renewed, mut corrected) = (false, false);
        loop {
            let credentials = self.credentials.get().await?;
            let answer = self.send(operation, body.clone(), &payload, &credentials).await?;
            if answer.status.is_success() {
                return read(operation, &answer);
            }
            // An answer to a refusal holds no value; it is opened to find its code.
            let code = faults::error_code(&answer.headers, answer.body.expose());
            match faults::mend(code.as_deref()) {
                Mend::Credentials if !renewed && self.credentials.refused(&credentials) => renewed = true,
                Mend::Clock if !corrected && self.skew.learn(&answer.headers, self.net.clock().now()) => {
                    corrected = true;
                }
                _ => {
                    let refusal = faults::of_service(operation, code.as_deref(), answer.status);
                    if matches!(&refusal, Refusal::Fault(fault) if fault.code.starts_with("credentials_")) {
                        // Someone may have put others in their place by the next try.
                        self.credentials.refused(&credentials);
                    }
                    return Err(match (refusal, wait_asked_for(&answer.headers)) {
                        (Refusal::Fault(fault), Some(wait)) if fault.retry == Retry::Backoff => {
                            Refusal::Fault(fault.retry(Retry::After(wait)))
                        }
                        (refusal, _) => refusal,
                    });
                }
            }
        }
    }

    async fn send(
        &self,
        operation: Operation,
        body: Bytes,
        payload: &str,
        credentials: &Arc<Credentials>,
    ) -> Result<Answer, Fault> {
        let signing = Signing {
            endpoint: &self.endpoint,
            path: &self.path,
            region: &self.region,
            service: "secretsmanager",
            target: operation.target(),
        };
        let now = self.skew.correct(self.net.clock().now());
        let request = signed(&signing, body, payload, credentials, now)?;
        self.client.call(request, operation.effect()).await
    }
}

/// Where a signed request goes, and what it asks for.
pub(super) struct Signing<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The endpoint's path as it is signed.
    pub(super) path: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'static str,
    /// Service and operation, as `X-Amz-Target` has them.
    pub(super) target: &'static str,
}

/// A request of a JSON service, signed. `payload` is the digest of `body`; `now` is AWS's time.
pub(super) fn signed(
    signing: &Signing<'_>,
    body: Bytes,
    payload: &str,
    credentials: &Arc<Credentials>,
    now: Timestamp,
) -> Result<Request<Bytes>, Fault> {
    let stamp = Stamp::of(now);
    let token = credentials.token.as_ref().and_then(|token| token.to_str().ok());
    let mut signed: [(&str, &str); 5] = [
        ("content-type", "application/x-amz-json-1.1"),
        ("host", &signing.endpoint.host),
        ("x-amz-date", stamp.as_str()),
        ("x-amz-security-token", token.unwrap_or_default()),
        ("x-amz-target", signing.target),
    ];
    let signed = match token {
        Some(_) => &signed[..],
        None => {
            signed[3] = signed[4];
            &signed[..4]
        }
    };
    let key = credentials.signing_key(&stamp, signing.region, signing.service);
    let parts = Parts { method: "POST", path: signing.path, query: "", headers: signed, payload };
    let authorization = sign::authorization(&key, &credentials.access_key_id, &stamp, &parts);

    let malformed = |_| Fault::client("credentials_config", "the access key id is malformed");
    let mut authorization = HeaderValue::try_from(authorization).map_err(malformed)?;
    authorization.set_sensitive(true);
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = signing.endpoint.uri.clone();
    let headers = request.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::USER_AGENT, AGENT);
    headers.insert(TARGET, HeaderValue::from_static(signing.target));
    if let Ok(date) = HeaderValue::from_str(stamp.as_str()) {
        headers.insert(DATE, date);
    }
    if let Some(token) = &credentials.token {
        headers.insert(TOKEN, token.clone());
    }
    headers.insert(header::AUTHORIZATION, authorization);
    Ok(request)
}

fn read<T: DeserializeOwned>(operation: Operation, answer: &Answer) -> Result<T, Refusal> {
    // Of all operations only reads answer with a value, which goes into bytes that wipe themselves.
    serde_json::from_slice(answer.body.expose()).map_err(|_| {
        let message = "AWS answered with success, but not in the form it promises";
        let fault = Fault::internal("answer_unreadable", message).status(answer.status.as_u16());
        Refusal::Fault(match operation.effect() {
            Effect::Read => fault,
            Effect::Write => fault.ambiguous(),
        })
    })
}

/// The wait a refusal asks for, in seconds, if it does. AWS itself does not say; proxies do.
fn wait_asked_for(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(date: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, HeaderValue::from_static(date));
        headers
    }

    #[test]
    fn only_a_notable_difference_corrects_the_clock() {
        let skew = Skew::default();
        let now = Timestamp::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        assert!(!skew.learn(&dated("Sun, 06 Nov 1994 08:50:37 GMT"), now));
        assert!(!skew.learn(&dated("rubbish"), now));
        assert!(!skew.learn(&HeaderMap::new(), now));
        assert_eq!(skew.correct(now), now);
        assert!(skew.learn(&dated("Sun, 06 Nov 1994 09:49:37 GMT"), now));
        assert_eq!(skew.correct(now), Timestamp::from_secs(784_111_777 + 3600));
        // Now we agree: another refusal is not the clock's.
        assert!(!skew.learn(&dated("Sun, 06 Nov 1994 09:49:37 GMT"), now));
    }
}
