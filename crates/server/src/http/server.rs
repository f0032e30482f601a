//! Listening, connections, and an orderly end.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Activity, Watched},
    service::{Limits, Service},
    tls::{TlsError, TlsFiles, acceptor},
};
use crate::app::core::Core;

/// How a server listens.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one; [`Handle::address`] tells which.
    pub listen: SocketAddr,
    /// Plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// What one client may cost.
    pub limits: Limits,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// TLS cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server that runs.
pub struct Handle {
    address: SocketAddr,
    tls: Option<(TlsFiles, Arc<ArcSwapOption<Acceptor>>)>,
    task: JoinHandle<()>,
}

struct Acceptor(TlsAcceptor);

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the certificate files again. New connections get what they hold now; on an error all
    /// stays as it was. Without TLS there is nothing to do.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        if let Some((files, current)) = &self.tls {
            current.store(Some(Arc::new(Acceptor(acceptor(files)?))));
        }
        Ok(())
    }

    /// Waits until it has ended, which it does when the token it was started with is cancelled and its
    /// requests are done.
    pub async fn ended(self) {
        // A panic of the accepting task has been told by the panic hook; there is nothing to add.
        let _ = self.task.await;
    }
}

/// Starts to listen. When `stop` is cancelled no connection is accepted any
/// more, requests under way finish until the deadline in [`Limits::shutdown`], and the rest is dropped.
pub async fn start(config: Config, core: Arc<Core>, stop: CancellationToken) -> Result<Handle, StartError> {
    let tls = match config.tls {
        Some(files) => {
            let acceptor = acceptor(&files)?;
            Some((files, Arc::new(ArcSwapOption::from_pointee(Acceptor(acceptor)))))
        }
        None => None,
    };
    let failed = |fault| StartError::Listen(config.listen, fault);
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let limits = config.limits;
    let shared = Arc::new(Shared {
        http: http(&limits),
        service: Service::new(core, limits.clone()),
        limits,
        tls: tls.as_ref().map(|(_, acceptor)| Arc::clone(acceptor)),
        drop: CancellationToken::new(),
    });
    Ok(Handle { address, tls, task: tokio::spawn(listen(listener, shared, stop)) })
}

/// What all connections share.
struct Shared {
    http: auto::Builder<TokioExecutor>,
    service: Service,
    limits: Limits,
    tls: Option<Arc<ArcSwapOption<Acceptor>>>,
    /// Cancelled when the deadline of the shutdown has passed.
    drop: CancellationToken,
}

fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().header_read_timeout(None).max_buf_size(limits.header_size.max(8192));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.concurrent_streams)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX));
    http
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(shared.limits.connections.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, remote, permit)) => {
                tokio::spawn(serve(stream, remote, permit, Arc::clone(&shared), graceful.watcher()));
            }
            Err(error) => {
                // Most often no file descriptor is free. Those who wait are served once one is.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(shared.limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way at the end of the shutdown's deadline");
        shared.drop.cancel();
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, remote, permit))
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    watcher: Watcher,
) {
    let _permit = permit;
    let tls = shared.tls.as_ref().and_then(|tls| tls.load_full());
    let connection = async {
        match tls {
            None => speak(stream, remote, &shared, watcher).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(shared.limits.header_read, tls.0.accept(stream));
                // Who cannot complete a handshake is a scanner or a misconfigured client: not our news.
                if let Ok(Ok(stream)) = handshake.await {
                    speak(stream, remote, &shared, watcher).await;
                }
            }
        }
    };
    tokio::select! {
        () = connection => {}
        () = shared.drop.cancelled() => {}
    }
}

async fn speak<S>(stream: S, remote: SocketAddr, shared: &Arc<Shared>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = service_fn({
        let (shared, activity) = (Arc::clone(shared), Arc::clone(&activity));
        move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(remote);
            let (shared, under_way) = (Arc::clone(&shared), activity.begin());
            async move {
                let answer = shared.service.answer(request).await;
                drop(under_way);
                Ok::<_, Infallible>(answer)
            }
        }
    });
    let stream = Watched { stream, activity: Arc::clone(&activity) };
    let connection = shared.http.serve_connection(TokioIo::new(stream), service).into_owned();
    // Errors here are the client's: it went away, or what it sent was no HTTP.
    tokio::select! {
        _ = watcher.watch(connection) => {}
        () = activity.ceases(shared.limits.header_read) => {}
    }
}
