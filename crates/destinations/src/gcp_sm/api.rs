//! Authorised calls to Secret Manager: JSON over HTTP (destinations.md 3.1).

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    auth::{Auth, Token},
    faults::{self, Refusal},
};
use crate::{
    Fault, json,
    net::{Answer, Client, Effect, wiped_bytes},
};

/// The operations we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Get,
    List,
    Patch,
    Delete,
    AddVersion,
    GetVersion,
    ListVersions,
    Access,
    Destroy,
    Disable,
}

impl Operation {
    const fn method(self) -> Method {
        match self {
            Self::Get | Self::List | Self::GetVersion | Self::ListVersions | Self::Access => Method::GET,
            Self::Create | Self::AddVersion | Self::Destroy | Self::Disable => Method::POST,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    pub(super) const fn effect(self) -> Effect {
        match self {
            Self::Get | Self::List | Self::GetVersion | Self::ListVersions | Self::Access => Effect::Read,
            _ => Effect::Write,
        }
    }

    /// As a role names it.
    pub(super) const fn permission(self) -> &'static str {
        match self {
            Self::Create => "secretmanager.secrets.create",
            Self::Get => "secretmanager.secrets.get",
            Self::List => "secretmanager.secrets.list",
            Self::Patch => "secretmanager.secrets.update",
            Self::Delete => "secretmanager.secrets.delete",
            Self::AddVersion => "secretmanager.versions.add",
            Self::GetVersion => "secretmanager.versions.get",
            Self::ListVersions => "secretmanager.versions.list",
            Self::Access => "secretmanager.versions.access",
            Self::Destroy => "secretmanager.versions.destroy",
            Self::Disable => "secretmanager.versions.disable",
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static("keyferry");
const QUOTA_PROJECT: &str = "x-goog-user-project";

/// The service as one destination reaches it.
pub(super) struct Api {
    pub(super) client: Client,
    /// Scheme, host and path, without a slash at the end.
    pub(super) base: String,
    pub(super) project: String,
    pub(super) auth: Auth,
}

impl Api {
    /// One operation. `path` follows the project's; it holds only characters of names and numbers. A
    /// token that is refused is renewed once.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Refusal> {
        let malformed = || Fault::internal("request_encoding", "a request cannot be written");
        let body = match body {
            // May hold a value: into the request, by way of a copy that wipes itself.
            Some(body) => wiped_bytes(json::compact(body).ok_or_else(malformed)?),
            None => Bytes::new(),
        };
        let uri = self.uri(path, query).ok_or_else(malformed)?;
        let mut renewed = false;
        loop {
            let token = self.auth.token().await?;
            let answer = self.send(operation, uri.clone(), body.clone(), &token).await?;
            if answer.status.is_success() {
                return read(operation, &answer);
            }
            // A refusal holds no value; it is opened to find its reason.
            let told = faults::told(&answer.headers, answer.body.expose());
            let refusal = faults::of_service(operation, &told, answer.status);
            if matches!(&refusal, Refusal::Fault(fault) if fault.code == "credentials_rejected") {
                self.auth.refused(&token);
                if !renewed {
                    renewed = true;
                    continue;
                }
            }
            return Err(refusal);
        }
    }

    fn uri(&self, path: &str, query: &[(&str, &str)]) -> Option<Uri> {
        let mut uri = format!("{}/v1/projects/{}/{path}", self.base, self.project);
        for (at, (name, value)) in query.iter().enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            let mut pair = url::form_urlencoded::Serializer::new(String::new());
            uri.push_str(&pair.append_pair(name, value).finish());
        }
        uri.parse().ok()
    }

    async fn send(
        &self,
        operation: Operation,
        uri: Uri,
        body: Bytes,
        token: &Token,
    ) -> Result<Answer, Fault> {
        let mut request = Request::new(body);
        *request.method_mut() = operation.method();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.reserve(5);
        if matches!(operation.method(), Method::POST | Method::PATCH) {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        headers.insert(header::USER_AGENT, AGENT);
        headers.insert(header::AUTHORIZATION, token.header.clone());
        if let Some(project) = &token.quota_project {
            headers.insert(QUOTA_PROJECT, project.clone());
        }
        self.client.call(request, operation.effect()).await
    }
}

fn read<T: DeserializeOwned>(operation: Operation, answer: &Answer) -> Result<T, Refusal> {
    // Of a value only when it was asked for; its text wipes itself.
    serde_json::from_slice(answer.body.expose()).map_err(|_| Refusal::Fault(unreadable(operation)))
}

/// Success, but not as promised.
pub(super) fn unreadable(operation: Operation) -> Fault {
    let message = "Google answered with success, but not in the form it promises";
    let fault = Fault::internal("answer_unreadable", message).status(200);
    match operation.effect() {
        Effect::Read => fault,
        Effect::Write => fault.ambiguous(),
    }
}
