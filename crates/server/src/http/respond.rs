//! From the app's answers to HTTP responses. Every refusal becomes `{"errors":[...]}` here and nowhere
//! else.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};

use super::snapshots::{Outgoing, saved};
use crate::app::{
    AppError, Content, Reply,
    json::{self, Json},
};

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// `None` prints as an empty list.
    text: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: Some(text.into()) }
    }

    /// Without a text, where clients look at the status alone.
    pub(super) fn silent(status: StatusCode) -> Self {
        Self { status, text: None }
    }

    /// Our fault; what it was is in the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// The status and text of what the app refused. What is our fault is logged here, once.
    pub(super) fn of(error: AppError, request_id: &str) -> Self {
        match error {
            AppError::NotFound(text) => Self { status: StatusCode::NOT_FOUND, text },
            AppError::Invalid(text) => Self::new(StatusCode::BAD_REQUEST, text),
            AppError::Denied(text) => Self::new(StatusCode::FORBIDDEN, text),
            AppError::UnsupportedOperation => {
                let text = "1 error occurred:\n\t* unsupported operation\n\n";
                Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
            }
            AppError::TooLarge(text) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            AppError::Busy(text) => Self::new(StatusCode::SERVICE_UNAVAILABLE, text),
            AppError::Sealed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed"),
            AppError::Damaged(what) => {
                tracing::error!(request_id, error = what, "a request met a damaged record");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!(
                        "{what}; everything else is served: find out which with `keyferry doctor`, then write it anew or \
                         restore a snapshot"
                    ),
                )
            }
            AppError::Internal(inside) => {
                tracing::error!(request_id, error = inside, "a request failed");
                Self::internal()
            }
        }
    }

    pub(super) fn into_response(self) -> Response<Outgoing> {
        let errors: &[String] = self.text.as_slice();
        let body = json::object(|o| {
            o.put("errors", errors);
        });
        response(self.status, Some(body))
    }
}

/// An answer that is none of refusal.
pub(super) fn reply(reply: Reply, request_id: &str) -> Response<Outgoing> {
    let Ok(status) = StatusCode::from_u16(reply.status) else {
        return Refusal::internal().into_response();
    };
    let body = match reply.content {
        Content::Snapshot(writer) => return saved(writer),
        Content::None => None,
        Content::Bare(json) => Some(json),
        Content::Envelope(envelope) => Some(envelope.to_json(request_id)),
        Content::Text(media_type, text) => {
            let mut response = response(status, None);
            *response.body_mut() = Either::Left(Full::new(text.into()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            return response;
        }
    };
    response(status, body)
}

fn response(status: StatusCode, body: Option<Json>) -> Response<Outgoing> {
    let json = body.is_some();
    // The text is wiped once the last holder of these bytes is done with them.
    let whole = Full::new(body.map_or_else(Bytes::new, Bytes::from_owner));
    let mut response = Response::new(Either::Left(whole));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if json {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
