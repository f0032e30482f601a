use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;

use super::{
    convert::{NAMESPACE, read_request},
    respond::{Refusal, reply},
};
use crate::app::core::Core;

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
        }
    }
}

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
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
    {
        let namespace = request.headers().get(NAMESPACE).cloned();
        // On the heap: the work of any request is as large as that of the largest, and what wraps it
        // here and in the connection moves it about.
        let work = AssertUnwindSafe(Box::pin(self.work(request))).catch_unwind();
        let mut response = match tokio::time::timeout(self.limits.request, work).await {
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
        response
    }

    async fn work<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let request = match read_request(&parts, body, &self.limits, self.core.request_id()).await {
            Ok(request) => request,
            Err(refusal) => return refusal.into_response(),
        };
        match self.core.handle(&request).await {
            Ok(answer) => reply(answer, &request.id),
            Err(error) => Refusal::of(error, &request.id).into_response(),
        }
    }
}
