//! What the pretend services have in common: listening on loopback, breaking connections, and the troubles
//! that tests ask for.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Largest request that is read: Vercel takes many variables in one.
const MAX_REQUEST: usize = 8 << 20;

/// What becomes of a coming call.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// Refused with this code and status.
    Refuse(&'static str, u16),
    /// Answered with these bytes and status.
    Garbage(&'static str, u16),
    /// It takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it takes effect.
    Break,
    /// It never gets an answer, and does not take effect.
    Hang,
    /// It goes through after this time.
    Slow(Duration),
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
pub(crate) struct Server(JoinHandle<()>);

impl Server {
    pub(crate) fn start(listener: TcpListener, service: Arc<impl Pretend>) -> Self {
        Self(tokio::spawn(serve(listener, service)))
    }
}

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
