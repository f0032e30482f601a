use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use model::SecretBytes;
use zeroize::Zeroizing;

use super::connect::{ConnectFault, Connector};
use crate::Fault;

/// How long an unused connection is kept. Below the idle limits of the providers' load balancers.
const IDLE: Duration = Duration::from_secs(50);

/// What a request does at the other end, which decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It may change something: a lost answer is [`Fault::ambiguous`].
    Write,
}

/// A client of one network policy. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(super) struct Inner {
    http: legacy::Client<Connector, Full<Bytes>>,
    call_timeout: Duration,
    max_answer: usize,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most as long as the limit of [`super::NetSettings`].
    pub body: SecretBytes,
}

impl Client {
    pub(super) fn new(connector: Connector, call_timeout: Duration, max_answer: usize) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        Self(Arc::new(Inner { http, call_timeout, max_answer }))
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(super) fn from_inner(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Sends a request and reads the whole answer. No redirect is followed, no proxy is used, nothing
    /// is decompressed. A body made with [`wiped_bytes`] is wiped when it has been sent; what the
    /// operating system and the TLS and HTTP buffers hold is out of reach.
    pub async fn call(&self, request: Request<Bytes>, effect: Effect) -> Result<Answer, Fault> {
        let exchange = async {
            let (head, body) = self.0.http.request(request.map(Full::new)).await?.into_parts();
            let body = self.read(&head.headers, body).await?;
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(self.0.call_timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(broken)) => Err(fault(&broken, effect)),
            Err(_) => {
                Err(uncertain(Fault::external("timeout", "the destination did not answer in time"), effect))
            }
        }
    }

    async fn read(&self, headers: &HeaderMap, mut body: Incoming) -> Result<SecretBytes, Broken> {
        let announced = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
            .or(body.size_hint().exact().and_then(|n| usize::try_from(n).ok()))
            .unwrap_or_default();
        if announced > self.0.max_answer {
            return Err(Broken::TooLarge);
        }
        let mut whole = Zeroizing::new(Vec::with_capacity(announced));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Broken::Http)?.into_data() else { continue };
            if whole.len() + data.len() > self.0.max_answer {
                return Err(Broken::TooLarge);
            }
            if whole.len() + data.len() > whole.capacity() {
                // Grown by hand, so that the old copy is wiped.
                let mut larger = Zeroizing::new(Vec::with_capacity(2 * (whole.len() + data.len())));
                larger.extend_from_slice(&whole);
                whole = larger;
            }
            whole.extend_from_slice(&data);
        }
        Ok(SecretBytes::from(whole))
    }
}

/// Bytes that are wiped when the last clone of them is dropped.
pub fn wiped_bytes(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

/// An exchange that came to no answer.
enum Broken {
    Client(legacy::Error),
    Http(hyper::Error),
    TooLarge,
}

impl From<legacy::Error> for Broken {
    fn from(e: legacy::Error) -> Self {
        Self::Client(e)
    }
}

fn fault(broken: &Broken, effect: Effect) -> Fault {
    match broken {
        Broken::Client(e) if e.is_connect() => connect_fault(find(e)),
        Broken::Client(e) => uncertain(exchange_fault(find(e)), effect),
        Broken::Http(e) => uncertain(exchange_fault(Some(e)), effect),
        Broken::TooLarge => {
            uncertain(Fault::external("answer_too_large", "the destination's answer is too large"), effect)
        }
    }
}

/// A fault after the request may have arrived.
fn uncertain(fault: Fault, effect: Effect) -> Fault {
    match effect {
        Effect::Read => fault,
        Effect::Write => fault.ambiguous(),
    }
}

/// The first error of the wanted type in a chain of causes.
fn find<'e, T: Error + 'static>(e: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        next = e.source();
    }
    None
}

/// Nothing was sent.
pub(super) fn connect_fault(fault: Option<&ConnectFault>) -> Fault {
    match fault {
        Some(ConnectFault::Blocked(why)) => Fault::client("network_blocked", why.words()),
        Some(ConnectFault::Url) => {
            Fault::client("bad_address", "the address of the destination is not a URL")
        }
        Some(ConnectFault::NoSuchHost) => {
            Fault::external("host_not_found", "the destination's host name does not exist")
        }
        Some(ConnectFault::Dns) => {
            Fault::external("dns_failed", "the destination's host name could not be looked up")
        }
        Some(ConnectFault::Timeout) => {
            Fault::external("connect_timeout", "connecting to the destination took too long")
        }
        Some(ConnectFault::Certificate) => Fault::external(
            "tls_certificate",
            "the destination's certificate is not trusted; an own authority must be named in the server's \
             configuration",
        ),
        Some(ConnectFault::Tls) => Fault::external("tls_failed", "no TLS connection to the destination"),
        Some(ConnectFault::Refused) | None => {
            Fault::external("connect_failed", "the destination cannot be connected to")
        }
    }
}

fn exchange_fault(e: Option<&hyper::Error>) -> Fault {
    match e {
        Some(e) if e.is_parse() => Fault::external("not_http", "the destination's answer is not HTTP"),
        _ => Fault::external("connection_lost", "the connection to the destination broke"),
    }
}
