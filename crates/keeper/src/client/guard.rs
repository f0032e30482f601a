//! Whom a client may connect to, where somebody else than the one who runs it names the host.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Says which addresses may be connected to. Keeper is always spoken to over TLS.
#[async_trait]
pub trait Guard: Send + Sync {
    /// The addresses of a host, or the literal it is, that may be connected to at this port, best first. The
    /// client connects to one of these and looks the name up nowhere else.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, NoAddress>;
}

/// Why there is nothing to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// There are only addresses that must not be connected to. The words say why, and what would be right.
    Blocked(String),
    /// The name leads nowhere.
    NotFound,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(why) => f.write_str(why),
            Self::NotFound => f.write_str("the host name leads nowhere"),
        }
    }
}

impl std::error::Error for NoAddress {}

/// The port that every guard allows; the port itself is looked at before a request is made.
pub(super) const USUAL_PORT: u16 = 443;

/// Names are looked up by the guard.
pub(super) struct Guarded(pub(super) Arc<dyn Guard>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str(), USUAL_PORT).await?;
            // With port 0 reqwest takes the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
