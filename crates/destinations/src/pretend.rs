//! What the pretend services have in common: listening on loopback, counting calls, breaking connections, and
//! the troubles that tests ask for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use model::Clock;
use tokio::{net::TcpListener, task::JoinHandle};

/// Largest request that is read: Vercel takes many variables in one.
const MAX_REQUEST: usize = 8 << 20;

/// What becomes of a coming call.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// Refused with this code and status, in the service's own form.
    Refuse(&'static str, u16),
    /// Answered with these bytes and status.
    Garbage(&'static str, u16),
    /// Answered with this status, these headers and these bytes, which the service says are of its usual form.
    Answer(u16, Vec<(&'static str, String)>, &'static str),
    /// It takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it takes effect.
    Break,
    /// It never gets an answer, and does not take effect.
    Hang,
    /// It goes through after this time.
    Slow(Duration),
}

impl Trouble {
    /// Answered with this status and body, and nothing else to go by.
    pub const fn answer(status: u16, body: &'static str) -> Self {
        Self::Answer(status, Vec::new(), body)
    }
}

/// What is to happen to coming calls, by operation, in order.
pub(crate) struct Queues<T>(Vec<(String, VecDeque<T>)>);

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Queues<T> {
    pub(crate) fn add(&mut self, operation: &str, items: impl IntoIterator<Item = T>) {
        self.0.push((operation.to_owned(), items.into_iter().collect()));
    }

    pub(crate) fn next(&mut self, operation: &str) -> Option<T> {
        self.0.iter_mut().find(|(name, queue)| name == operation && !queue.is_empty())?.1.pop_front()
    }
}

/// The calls a service had, and what becomes of those to come.
#[derive(Default)]
pub(crate) struct Calls {
    counted: BTreeMap<Cow<'static, str>, usize>,
    troubles: Queues<Trouble>,
}

impl Calls {
    /// Counts a call. What becomes of it, if not what it asks for.
    pub(crate) fn begin(&mut self, operation: impl Into<Cow<'static, str>>) -> Option<Trouble> {
        let operation = operation.into();
        let trouble = self.troubles.next(&operation);
        *self.counted.entry(operation).or_default() += 1;
        trouble
    }

    pub(crate) fn of(&self, operation: &str) -> usize {
        self.counted.get(operation).copied().unwrap_or_default()
    }

    /// All but those of some operations.
    pub(crate) fn except(&self, others: &[&str]) -> usize {
        self.counted.iter().filter(|(name, _)| !others.contains(&name.as_ref())).map(|(_, calls)| calls).sum()
    }

    pub(crate) fn forget(&mut self) {
        self.counted.clear();
    }

    pub(crate) fn trouble(&mut self, operation: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.troubles.add(operation, troubles);
    }
}

/// What stands behind a service's door: its clock, its address and its state.
pub(crate) struct Stage<S> {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) address: SocketAddr,
    state: Mutex<S>,
}

impl<S> Stage<S> {
    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer, dated by the service's clock.
    pub(crate) fn answer(&self, status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
        let now = jiff::Timestamp::from_second(self.clock.now().as_secs()).unwrap_or_default();
        let mut answer = Response::new(Full::new(body.into()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(date) = HeaderValue::try_from(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            answer.headers_mut().insert(header::DATE, date);
        }
        answer
    }

    /// Lets a call meet its trouble: `refuse` says no in the service's words, of which `kind` is the usual
    /// form; `carry_out` does what was asked for.
    pub(crate) async fn meet(
        &self,
        trouble: Option<Trouble>,
        kind: &'static str,
        refuse: impl FnOnce(&'static str, u16) -> Reply,
        carry_out: impl FnOnce() -> Reply,
    ) -> Result<Reply, Broken> {
        match trouble {
            None => {}
            Some(Trouble::Refuse(code, status)) => return Ok(refuse(code, status)),
            Some(Trouble::Garbage(body, status)) => return Ok(self.answer(status, "text/html", body)),
            Some(Trouble::Answer(status, headers, body)) => {
                let mut answer = self.answer(status, kind, body);
                for (name, value) in headers {
                    if let Ok(value) = HeaderValue::try_from(value) {
                        answer.headers_mut().insert(name, value);
                    }
                }
                return Ok(answer);
            }
            Some(Trouble::Break) => return Err(Broken),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Slow(time)) => tokio::time::sleep(time).await,
            Some(Trouble::LoseAnswer) => {
                drop(carry_out());
                return Err(Broken);
            }
        }
        Ok(carry_out())
    }
}

/// A running pretend service. It ends when this is dropped.
pub(crate) struct Service<S> {
    pub(crate) stage: Arc<Stage<S>>,
    /// Listens for as long as this lives.
    _server: Server,
}

impl<S> Service<S>
where
    Stage<S>: Pretend,
{
    /// Starts on a free loopback port.
    pub(crate) async fn start(clock: Arc<dyn Clock>, state: S) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Stage { clock, address, state: Mutex::new(state) });
        let server = Server(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Ok(Self { stage: shared, _server: server })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.stage.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        self.stage.state()
    }

    pub(crate) fn now(&self) -> model::Timestamp {
        self.stage.clock.now()
    }
}

/// The connection is to break: hyper drops it when its service fails.
#[derive(Debug, thiserror::Error)]
#[error("the connection breaks as it was told to")]
pub(crate) struct Broken;

/// An answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A service that only pretends.
pub(crate) trait Pretend: Send + Sync + 'static {
    /// Answers one request, whose body has been read.
    fn receive(&self, head: Parts, body: Bytes) -> impl Future<Output = Result<Reply, Broken>> + Send;
}

/// It listens until this is dropped.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, pretend: Arc<impl Pretend>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let pretend = Arc::clone(&pretend);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let pretend = Arc::clone(&pretend);
                async move {
                    let (head, body) = request.into_parts();
                    match Limited::new(body, MAX_REQUEST).collect().await {
                        Ok(body) => pretend.receive(head, body.to_bytes()).await,
                        Err(_) => Err(Broken),
                    }
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
