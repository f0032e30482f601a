use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Body;
use tracing::Instrument as _;

use super::{
    convert::{NAMESPACE, read_headers, read_request},
    respond::{Refusal, reply},
    snapshots::{Outgoing, take},
    trace::{RequestId, Traced},
};
use crate::app::{
    Body as Given,
    core::{Core, is_restore},
};

/// What one client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one request body; more is 413.
    pub body: usize,
    /// What a JSON body may be made of, checked before anyone has authenticated.
    pub json: model::json::Limits,
    /// A request that takes longer, its body's arrival included, is given up.
    pub request: Duration,
    /// How long nothing may happen on a connection: no request under way and no answer being taken. It
    /// then ends, idle or slow to send a request's head; after this time at the earliest and twice this
    /// time at the latest.
    pub header_read: Duration,
    /// Bytes of one request's head.
    pub header_size: usize,
    /// Requests at once on one HTTP/2 connection.
    pub concurrent_streams: u32,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long requests under way may go on once the server is told to stop.
    pub shutdown: Duration,
    /// Where a snapshot is kept while it is checked, before it is restored; without it none can be. It is as
    /// large as the store.
    pub spool: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            json: model::json::Limits::default(),
            request: Duration::from_secs(90),
            header_read: Duration::from_secs(30),
            header_size: 64 << 10,
            concurrent_streams: 256,
            connections: 10_000,
            shutdown: Duration::from_secs(30),
            spool: None,
        }
    }
}

/// Snapshots take as long as they take; each pause is limited on its own.
const FOR_EVER: Duration = Duration::from_secs(u64::MAX / 4);

/// Answers HTTP requests, whatever they came in on.
#[derive(Clone)]
pub struct Service {
    core: Arc<Core>,
    limits: Limits,
}

impl Service {
    /// Over a server without sockets.
    pub fn new(core: Arc<Core>, limits: Limits) -> Self {
        Self { core, limits }
    }

    /// Answers one request. It never fails and never panics: that too is an answer.
    pub async fn answer<B>(&self, mut request: Request<B>) -> Response<Outgoing>
    where
        B: Body<Data = Bytes>,
    {
        let under_way = self.core.metrics().request(request.uri().path());
        let traced = Traced::begin(&self.core, request.method(), request.headers());
        if let Some(traced) = &traced {
            request.extensions_mut().insert(traced.context);
            request.extensions_mut().insert(RequestId(traced.request_id.clone()));
        }
        let namespace = request.headers().get(NAMESPACE).cloned();
        let large = request.uri().path().starts_with("/v1/sys/storage/raft/snapshot");
        // On the heap: the work of any request is as large as that of the largest, and what wraps it
        // here and in the connection moves it about.
        let work = Box::pin(self.work(request));
        let span = traced.as_ref().map_or_else(tracing::Span::none, Traced::log_span);
        let work = AssertUnwindSafe(work.instrument(span)).catch_unwind();
        let limit = if large { FOR_EVER } else { self.limits.request };
        let mut response = match tokio::time::timeout(limit, work).await {
            Ok(Ok(response)) => response,
            // The panic hook has told where it was.
            Ok(Err(_)) => Refusal::internal().into_response(),
            Err(_) => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the request took longer than {} s and was given up", self.limits.request.as_secs()),
            )
            .into_response(),
        };
        if let Some(namespace) = namespace {
            response.headers_mut().insert(NAMESPACE, namespace);
        }
        let status = response.status().as_u16();
        if let Some(traced) = traced {
            traced.end(under_way.part(), status, self.core.now());
        }
        under_way.answered(status);
        response
    }

    async fn work<B>(&self, request: Request<B>) -> Response<Outgoing>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let allowed = match &origin {
            None => None,
            Some(origin) => match self.core.cors().await {
                Err(error) => return Refusal::of(error, "").into_response(),
                Ok(None) => None,
                Ok(Some(cors)) if origin.to_str().is_ok_and(|origin| cors.allows(origin)) => Some(cors),
                Ok(Some(_)) => {
                    return Refusal::new(StatusCode::FORBIDDEN, "origin not allowed").into_response();
                }
            },
        };
        let mut response = match &allowed {
            Some(cors) if parts.method == Method::OPTIONS => preflight(&cors.headers()),
            _ => self.answer_admitted(&parts, body).await,
        };
        if let (Some(_), Some(origin)) = (allowed, origin) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }

    /// Answers a request if no quota holds it up.
    async fn answer_admitted<B>(&self, parts: &http::request::Parts, body: B) -> Response<Outgoing>
    where
        B: Body<Data = Bytes>,
    {
        let large = parts.uri.path().starts_with("/v1/sys/storage/raft/snapshot");
        let id = match parts.extensions.get::<RequestId>() {
            Some(id) => id.0.clone(),
            None => self.core.request_id(),
        };
        // What is large is taken once it is known whose it is.
        let (read, large) = if large {
            (read_request(parts, Empty::<Bytes>::new(), &self.limits, id).await, Some(body))
        } else {
            (read_request(parts, body, &self.limits, id).await, None)
        };
        let mut request = match read {
            Ok(request) => request,
            Err(refusal) => return refusal.into_response(),
        };
        if let Some(audited) = self.core.audited_headers() {
            request.headers = read_headers(parts, &audited);
        }
        let admission = match self.core.quota(&request).await {
            Ok(admission) => admission,
            Err(error) => return Refusal::of(error, &request.id).into_response(),
        };
        let mut response = if admission.exceeded {
            let text = format!("request path \"{}\": rate limit quota exceeded", request.path);
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, text).into_response()
        } else {
            if let Some(body) = large.filter(|_| is_restore(&request)) {
                if let Err(error) = self.core.may_restore(&request).await {
                    return Refusal::of(error, &request.id).into_response();
                }
                request.body =
                    match take(body, self.limits.spool.as_deref(), &request.id, self.limits.request).await {
                        Ok(file) => Given::File(file),
                        Err(refusal) => return refusal.into_response(),
                    };
            }
            match self.core.handle(&request).await {
                Ok(answer) => reply(answer, &request.id),
                Err(error) => Refusal::of(error, &request.id).into_response(),
            }
        };
        for (name, number) in admission.headers {
            response.headers_mut().insert(name, HeaderValue::from(number));
        }
        response
    }
}

/// What a browser is told that asks before it calls.
fn preflight(headers: &str) -> Response<Outgoing> {
    let mut response = reply(crate::app::Reply::empty(), "");
    let to = response.headers_mut();
    to.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("DELETE, GET, OPTIONS, POST, PUT, LIST, PATCH"),
    );
    if let Ok(headers) = HeaderValue::from_str(headers) {
        to.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
    }
    to.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    response
}
