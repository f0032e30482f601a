//! Calls to one vault: JSON over HTTPS with a bearer token (destinations.md 2.1, 2.3).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use model::RemoteName;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    auth::{Auth, Challenge, Token},
    faults::{self, Codes, Refusal},
};
use crate::{
    Fault, Retry, json,
    net::{Answer, Client, Effect, wiped_bytes},
};

/// The operations we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// A new version, with its tags.
    Set,
    /// The tags of a version.
    Update,
    /// All versions of a secret, without values.
    Versions,
    /// All secrets, without values.
    List,
    /// A secret with its value.
    Get,
    Delete,
    /// A deleted secret, without its value.
    GetDeleted,
    Recover,
    Purge,
}

impl Operation {
    /// As an access policy names it, and the data action of a role.
    pub(super) const fn permission(self) -> &'static str {
        match self {
            Self::Set => "set (role: Microsoft.KeyVault/vaults/secrets/setSecret/action)",
            Self::Update => "set (role: Microsoft.KeyVault/vaults/secrets/update/action)",
            Self::Versions | Self::List => {
                "list (role: Microsoft.KeyVault/vaults/secrets/readMetadata/action)"
            }
            Self::Get => "get (role: Microsoft.KeyVault/vaults/secrets/getSecret/action)",
            Self::GetDeleted => "get or list (role: Microsoft.KeyVault/vaults/secrets/readMetadata/action)",
            Self::Delete => "delete (role: Microsoft.KeyVault/vaults/secrets/delete)",
            Self::Recover => "recover (role: Microsoft.KeyVault/vaults/secrets/recover/action)",
            Self::Purge => "purge (role: Microsoft.KeyVault/vaults/secrets/purge/action)",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Set => Method::PUT,
            Self::Update => Method::PATCH,
            Self::Versions | Self::List | Self::Get | Self::GetDeleted => Method::GET,
            Self::Delete | Self::Purge => Method::DELETE,
            Self::Recover => Method::POST,
        }
    }

    const fn effect(self) -> Effect {
        match self {
            Self::Versions | Self::List | Self::Get | Self::GetDeleted => Effect::Read,
            _ => Effect::Write,
        }
    }
}

/// The vault as one destination reaches it.
pub(super) struct Api {
    pub(super) client: Client,
    /// Scheme, host and path before `/secrets`, without a slash at the end.
    pub(super) base: String,
    pub(super) version: String,
    pub(super) auth: Auth,
}

/// So many entries are in a page; more cannot be asked for.
const PAGE: u32 = 25;

/// The longest wait that is taken from an answer.
const MAX_WAIT: Duration = Duration::from_secs(3600);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static("keyferry");

impl Api {
    /// One operation on a place below the vault: `/secrets/name`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        place: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Refusal> {
        let list = if matches!(operation, Operation::Versions | Operation::List) {
            format!("&maxresults={PAGE}")
        } else {
            String::new()
        };
        let url = format!("{}{place}?api-version={}{list}", self.base, self.version);
        let answer = self.exchange(operation, uri(&url)?, body).await?;
        read(operation, &answer)
    }

    /// The same for operations whose answer is of no interest, or none.
    pub(super) async fn done(&self, operation: Operation, place: &str) -> Result<(), Refusal> {
        let url = format!("{}{place}?api-version={}", self.base, self.version);
        self.exchange(operation, uri(&url)?, None::<&()>).await.map(|_| ())
    }

    /// A further page of a list, under the link the page before gave. Of the link only path and query
    /// are followed: a token goes to no host but the vault's.
    pub(super) async fn next<T: DeserializeOwned>(
        &self,
        operation: Operation,
        link: &str,
    ) -> Result<T, Refusal> {
        let stray = || Fault::internal("list_link", "Azure's link to the rest of a list leads nowhere");
        let link: Uri = link.parse().map_err(|_| stray())?;
        let rest = link.path_and_query().ok_or_else(stray)?.as_str();
        let place = rest.find("/secrets").and_then(|at| rest.get(at..)).ok_or_else(stray)?;
        let answer = self.exchange(operation, uri(&format!("{}{place}", self.base))?, None::<&()>).await?;
        read(operation, &answer)
    }

    /// Sends a request until it is let in: a token that is refused is renewed once, claims that are asked
    /// for are brought once. A request that was refused with 401 has done nothing.
    async fn exchange(
        &self,
        operation: Operation,
        uri: Uri,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Answer, Refusal> {
        let body = match body {
            Some(body) => {
                let body = json::compact(body).ok_or_else(|| {
                    Fault::internal("request_encoding", "a request cannot be written as JSON")
                })?;
                Some(wiped_bytes(body))
            }
            None => None,
        };
        if self.auth.needs_challenge() {
            self.hear_challenge().await?;
        }
        let (mut renewed, mut claimed) = (false, false);
        loop {
            let token = self.auth.token().await?;
            let answer = self.send(operation, uri.clone(), body.clone(), Some(&token)).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            if answer.status == StatusCode::UNAUTHORIZED {
                let challenge = Challenge::of(&answer.headers);
                if let Some(claims) = challenge.claims.as_deref().filter(|_| !claimed) {
                    claimed = true;
                    self.auth.renew(&token, Some(claims)).await?;
                    continue;
                }
                if !renewed && challenge.claims.is_none() {
                    renewed = true;
                    if !self.auth.learn(&challenge)? {
                        self.auth.renew(&token, None).await?;
                    }
                    continue;
                }
                // Others may be in force by the next try.
                self.auth.forget(&token);
            }
            return Err(refusal(operation, &answer));
        }
    }

    /// Asks without a token, to be told which one is wanted.
    async fn hear_challenge(&self) -> Result<(), Refusal> {
        let url = format!("{}/secrets?api-version={}&maxresults=1", self.base, self.version);
        let answer = self.send(Operation::List, uri(&url)?, None, None).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Err(if answer.status.is_success() {
                Refusal::Fault(no_challenge())
            } else {
                refusal(Operation::List, &answer)
            });
        }
        self.auth.learn(&Challenge::of(&answer.headers))?;
        if self.auth.needs_challenge() { Err(Refusal::Fault(no_challenge())) } else { Ok(()) }
    }

    async fn send(
        &self,
        operation: Operation,
        uri: Uri,
        body: Option<Bytes>,
        token: Option<&Arc<Token>>,
    ) -> Result<Answer, Fault> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = operation.method();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::USER_AGENT, AGENT);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, JSON);
        } else if operation == Operation::Recover {
            // A POST of nothing says so, or Azure's front door answers 411.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.header.clone());
        }
        *request.body_mut() = body.unwrap_or_default();
        self.client.call(request, operation.effect()).await.map_err(|fault| match fault.code {
            // The host is the vault's name: it is wrong, or the vault is gone (destinations.md 2.5).
            "host_not_found" => faults::no_such_vault(),
            _ => fault,
        })
    }
}

fn no_challenge() -> Fault {
    Fault::client(
        "challenge_missing",
        "what answers at key_vault_uri does not say which token it wants; is it a vault? Set tenant_id and a \
         key_vault_uri in one of Azure's domains",
    )
    .retry(Retry::Slowly)
}

fn uri(url: &str) -> Result<Uri, Fault> {
    url.parse().map_err(|_| Fault::client("bad_address", "the address of the vault is not a URL"))
}

/// The place of a secret, a deleted secret or what is below it. A name is checked although every name
/// comes from [`crate::Kind::remote_name`]: it becomes part of an address.
pub(super) fn place(root: &str, name: &RemoteName, below: &str) -> Result<String, Fault> {
    if !name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || name.as_str().is_empty() {
        return Err(Fault::client("illegal_name", "Azure takes letters, digits and hyphens in names"));
    }
    Ok(format!("/{root}/{}{below}", name.as_str()))
}

fn refusal(operation: Operation, answer: &Answer) -> Refusal {
    // An answer to a refusal holds no value; it is opened to find its codes.
    let codes = Codes::of(answer.body.expose());
    match faults::of_vault(operation, answer.status, &codes) {
        Refusal::Fault(fault) => {
            // Behind a gateway's error the write may have been made (destinations.md 2.5).
            let unsure = answer.status.is_server_error() || answer.status == StatusCode::REQUEST_TIMEOUT;
            let fault = if unsure && operation.effect() == Effect::Write { fault.ambiguous() } else { fault };
            Refusal::Fault(asked_to_wait(fault, &answer.headers))
        }
        other => other,
    }
}

/// A fault that time mends, at the time the answer asks for, in seconds.
pub(super) fn asked_to_wait(fault: Fault, headers: &HeaderMap) -> Fault {
    let seconds = || headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    match seconds() {
        Some(seconds) if fault.retry == Retry::Backoff => {
            fault.retry(Retry::After(Duration::from_secs(seconds).min(MAX_WAIT)))
        }
        _ => fault,
    }
}

fn read<T: DeserializeOwned>(operation: Operation, answer: &Answer) -> Result<T, Refusal> {
    // Answers to a write repeat the value; what is read of them does not take it.
    serde_json::from_slice(answer.body.expose()).map_err(|_| {
        let message = "Azure answered with success, but not in the form it promises";
        let fault = Fault::internal("answer_unreadable", message).status(answer.status.as_u16());
        Refusal::Fault(match operation.effect() {
            Effect::Read => fault,
            Effect::Write => fault.ambiguous(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_addresses() {
        let name = |name| RemoteName::from_kind(name);
        assert_eq!(place("secrets", &name("a-B1"), "/versions").unwrap(), "/secrets/a-B1/versions");
        for bad in ["", "a/b", "a?b", "..", "a b", "é", "a%2f"] {
            assert_eq!(place("secrets", &name(bad), "").unwrap_err().code, "illegal_name", "{bad}");
        }
    }

    #[test]
    fn a_wait_is_taken_from_the_answer() {
        let after = |value: &'static str, fault: Fault| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            asked_to_wait(fault, &headers).retry
        };
        let throttled = || Fault::external("throttled", "");
        assert_eq!(after("7", throttled()), Retry::After(Duration::from_secs(7)));
        assert_eq!(after("99999999", throttled()), Retry::After(MAX_WAIT));
        assert_eq!(after("soon", throttled()), Retry::Backoff);
        assert_eq!(after("7", Fault::client("refused", "")), Retry::WhenChanged);
        assert_eq!(asked_to_wait(throttled(), &HeaderMap::new()).retry, Retry::Backoff);
    }
}
