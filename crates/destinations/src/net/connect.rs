//! Opening connections: resolve, check every address against the policy, connect to what is left, and
//! wrap in TLS. The address that was checked is the address that is connected to, so neither a literal
//! in the URL nor a name that changes its mind gets around the policy.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::policy::{Blocked, Policy};

/// How long one address has before the next is tried beside it (RFC 8305 suggests 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Turns host names into addresses.
pub trait Resolve: Send + Sync {
    /// All addresses of a host, best first.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) })
    }
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectFault {
    Blocked(Blocked),
    NoSuchHost,
    Dns,
    Refused,
    Timeout,
    Tls,
    Certificate,
    Url,
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for ConnectFault {}

/// The connector behind every client of one policy.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Inner>);

struct Inner {
    policy: Policy,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(
        policy: Policy,
        resolver: Arc<dyn Resolve>,
        tls: Arc<rustls::ClientConfig>,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(Inner { policy, resolver, tls: TlsConnector::from(tls), timeout }))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectFault;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectFault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::time::timeout(inner.timeout, inner.connect(&uri))
                .await
                .unwrap_or(Err(ConnectFault::Timeout))
                .map(TokioIo::new)
        })
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectFault> {
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ConnectFault::Url),
        };
        let host = uri.host().ok_or(ConnectFault::Url)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let addresses =
            allowed_addresses(&self.policy, self.resolver.as_ref(), host, port, encrypted).await?;
        let tcp = first_to_connect(&addresses, port).await?;
        // Requests are small and complete: waiting to fill a packet only delays them.
        let _ = tcp.set_nodelay(true);
        if !encrypted {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectFault::Url)?;
        match self.tls.connect(name, tcp).await {
            Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
            Err(e) => Err(tls_fault(&e)),
        }
    }
}

/// The addresses of a host that may be connected to. What is connected to must be one of these, and not what the
/// name is looked up to a second time.
pub(super) async fn allowed_addresses(
    policy: &Policy,
    resolver: &dyn Resolve,
    host: &str,
    port: u16,
    encrypted: bool,
) -> Result<Vec<IpAddr>, ConnectFault> {
    let found = match host.parse::<IpAddr>() {
        Ok(literal) => vec![literal],
        Err(_) => resolver.resolve(host).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ConnectFault::NoSuchHost,
            _ => ConnectFault::Dns,
        })?,
    };
    let mut blocked = None;
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match policy.check(address, port, encrypted) {
            Ok(()) => allowed.push(address),
            Err(why) => blocked = Some(why),
        }
    }
    match (allowed.is_empty(), blocked) {
        (false, _) => Ok(allowed),
        (true, Some(why)) => Err(ConnectFault::Blocked(why)),
        (true, None) => Err(ConnectFault::NoSuchHost),
    }
}

/// Tries the addresses in order, each a little after the one before, and keeps the first connection.
async fn first_to_connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, ConnectFault> {
    let mut attempts = FuturesUnordered::new();
    let mut waiting = addresses.iter();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(SocketAddr::new(*address, port)));
        } else if attempts.is_empty() {
            return Err(ConnectFault::Refused);
        }
        let more = waiting.len() > 0;
        tokio::select! {
            attempt = attempts.next(), if !attempts.is_empty() => {
                if let Some(Ok(stream)) = attempt {
                    return Ok(stream);
                }
            }
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

fn tls_fault(e: &io::Error) -> ConnectFault {
    let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ConnectFault::Certificate
        }
        _ => ConnectFault::Tls,
    }
}

/// A connection, encrypted or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
