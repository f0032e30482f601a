//! Calls to GitHub's REST API, with the headers it insists on (destinations.md 4.1).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

use super::{
    account::Account,
    auth::Source,
    faults::{self, Refusal},
    place::{self, Place},
};
use crate::{
    Fault,
    net::{Answer, Client, Effect, Net},
};

const AGENT: HeaderValue = HeaderValue::from_static("keyferry");
const ACCEPT: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static("2022-11-28"));

/// How many redirects are followed.
const REDIRECTS: usize = 3;

/// The way to one GitHub, as one account.
pub(super) struct Wire {
    pub(super) net: Arc<Net>,
    pub(super) client: Client,
    pub(super) account: Arc<Account>,
}

/// Method, address, body.
pub(super) type Call = (Method, Uri, Option<Bytes>);

impl Wire {
    /// Sends a request, and once more for each redirect that may be followed. Learns what the answer says
    /// about limits.
    pub(super) async fn exchange(
        &self,
        (method, mut uri, body): Call,
        authorization: &HeaderValue,
        effect: Effect,
    ) -> Result<Answer, Fault> {
        for _ in 0..REDIRECTS {
            let answer =
                self.client.call(request(&method, &uri, body.clone(), authorization), effect).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 307 | 308) {
                return self.learned(answer);
            }
            // Repositories and organizations are renamed; GitHub then sends their old addresses on.
            let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
            match location.and_then(|location| place::redirected(&uri, location)) {
                Some(next) => {
                    tracing::warn!(
                        "GitHub sends a request on: a repository or organization was renamed; name it as it is \
                         called now"
                    );
                    uri = next;
                }
                None => return Ok(answer),
            }
        }
        Err(Fault::external("redirects", "GitHub sends the request from one address to the next"))
    }

    fn learned(&self, answer: Answer) -> Result<Answer, Fault> {
        let message = match answer.status.as_u16() {
            // Opened for a few phrases.
            403 | 429 => faults::message(answer.body.expose()),
            _ => String::new(),
        };
        self.account.learn(answer.status, &answer.headers, &message, self.net.clock().now())?;
        Ok(answer)
    }
}

fn request(method: &Method, uri: &Uri, body: Option<Bytes>, authorization: &HeaderValue) -> Request<Bytes> {
    let has_body = body.is_some();
    let mut request = Request::new(body.unwrap_or_default());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.reserve(6);
    headers.insert(header::USER_AGENT, AGENT);
    headers.insert(header::ACCEPT, ACCEPT);
    headers.insert(VERSION.0, VERSION.1);
    if has_body {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    headers.insert(header::AUTHORIZATION, authorization.clone());
    request
}

/// A scope as one destination reaches it.
pub(super) struct Api {
    pub(super) wire: Wire,
    pub(super) source: Source,
    pub(super) place: Place,
}

impl Api {
    /// One call. A refused installation token is renewed once. Writes wait for their turn: GitHub wants
    /// one at a time from each account.
    pub(super) async fn call(
        &self,
        method: Method,
        uri: Uri,
        body: Option<Bytes>,
    ) -> Result<Answer, Refusal> {
        let effect = if method == Method::GET { Effect::Read } else { Effect::Write };
        let mut renewed = false;
        loop {
            self.wire.account.check()?;
            let token = self.source.get(&self.wire, &self.place.scope).await?;
            let answer = {
                let _turn = match effect {
                    Effect::Read => None,
                    Effect::Write => Some(self.wire.account.turn.lock().await),
                };
                // The write before may have met a limit.
                self.wire.account.check()?;
                let call = (method.clone(), uri.clone(), body.clone());
                self.wire.exchange(call, &token.header, effect).await?
            };
            if answer.status.is_success() {
                return Ok(answer);
            }
            if answer.status == http::StatusCode::UNAUTHORIZED && self.source.refused(&token) && !renewed {
                renewed = true;
                continue;
            }
            // Opened for a few phrases.
            let message = faults::message(answer.body.expose());
            return Err(faults::of_call(&self.place.scope, answer.status, &answer.headers, &message));
        }
    }
}
