//! The one way out. Every call any adapter makes goes through a [`Client`] of a [`Net`], which looks
//! at the address it really connects to, follows no redirect, uses no proxy, and limits time and size.
//!
//! It is hyper's own pooled client under a connector of ours rather than reqwest: the connector is where
//! the address policy must sit anyway, and it leaves nothing of the call path in between (measured at
//! 1.4 times reqwest's rate).

mod client;
mod connect;
mod environment;
mod policy;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use model::{Clock, Entropy};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use client::{Answer, Client, Effect, wiped_bytes};
pub use connect::Resolve;
pub use environment::{Environment, Snapshot};
pub use policy::Policy;

use crate::{Fault, Identity};
use connect::{ConnectFault, Connector, SystemResolver};

/// What `cli` decides about the way out.
#[derive(Clone)]
pub struct NetSettings {
    /// Trust the authorities of the operating system.
    pub system_roots: bool,
    /// Further authorities: any number of PEM certificates.
    pub extra_roots: Vec<u8>,
    /// Limit for name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Limit for a whole call, from the first byte to the last of the answer.
    pub call_timeout: Duration,
    /// Longest answer in bytes.
    pub max_answer: usize,
    /// Lift strict networking for every destination (`sync.allow_private_networks`).
    pub allow_private_networks: bool,
    /// Where files may be delivered to: below this directory. `None`: wherever the server's user may write.
    pub file_root: Option<PathBuf>,
    /// Look host names up here instead of asking the operating system. For tests.
    pub resolver: Option<Arc<dyn Resolve>>,
}

impl Default for NetSettings {
    fn default() -> Self {
        Self {
            system_roots: true,
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            max_answer: 2 << 20,
            allow_private_networks: false,
            file_root: None,
            resolver: None,
        }
    }
}

/// A way out that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The extra authorities are no PEM certificates.
    #[error("the extra certificate authorities hold no valid PEM certificate")]
    ExtraRoots,
    /// TLS has nothing to trust.
    #[error("the system has no certificate authorities; name some in the configuration")]
    NoRoots,
    /// The cryptography library offers no TLS version.
    #[error("TLS cannot be set up")]
    Tls,
}

/// The way out: time limits, trust roots, the address guard and the environment, built once by `cli`.
pub struct Net {
    shared: Arc<Shared>,
    /// By whose name an adapter may speak.
    identity: Option<Identity>,
}

struct Shared {
    settings: NetSettings,
    tls: Arc<rustls::ClientConfig>,
    resolver: Arc<dyn Resolve>,
    environment: Arc<dyn Environment>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// One client per policy, for as long as a destination uses it.
    clients: Mutex<HashMap<Policy, Weak<client::Inner>>>,
}

impl Net {
    /// Builds the way out.
    pub fn new(
        settings: NetSettings,
        environment: Arc<dyn Environment>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, NetError> {
        let tls = Arc::new(tls_config(&settings)?);
        let resolver = settings.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver));
        let clients = Mutex::new(HashMap::new());
        let shared = Shared { settings, tls, resolver, environment, clock, entropy, clients };
        Ok(Arc::new(Self { shared: Arc::new(shared), identity: None }))
    }

    /// The same way out, for a destination that has an identity to show.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(&self.shared), identity: Some(identity) })
    }

    /// By whose name the destination may speak; `None` where the server issues no identity tokens.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The client of a policy. Policies that are equal share one, and its connections.
    pub fn client(&self, policy: &Policy) -> Client {
        let shared = &self.shared;
        let policy = self.in_force(policy);
        let mut clients = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = clients.get(&policy).and_then(Weak::upgrade) {
            return Client::from_inner(inner);
        }
        clients.retain(|_, inner| inner.strong_count() > 0);
        let connector = Connector::new(
            policy.clone(),
            Arc::clone(&shared.resolver),
            Arc::clone(&shared.tls),
            shared.settings.connect_timeout,
        );
        let client = Client::new(connector, shared.settings.call_timeout, shared.settings.max_answer);
        clients.insert(policy, Arc::downgrade(client.inner()));
        client
    }

    /// For clients that connect themselves, over TLS: the addresses of a host, or the literal it is, that may be
    /// connected to at this port. They must connect to one of these and not look the name up again.
    ///
    /// # Errors
    /// `network_blocked` when there are only others; `host_not_found`, `dns_failed`, `connect_timeout`.
    pub async fn addresses(&self, policy: &Policy, host: &str, port: u16) -> Result<Vec<IpAddr>, Fault> {
        let (shared, policy) = (&self.shared, self.in_force(policy));
        let found = connect::allowed_addresses(&policy, shared.resolver.as_ref(), host, port, true);
        tokio::time::timeout(shared.settings.connect_timeout, found)
            .await
            .unwrap_or(Err(ConnectFault::Timeout))
            .map_err(|fault| client::connect_fault(Some(&fault)))
    }

    fn in_force(&self, policy: &Policy) -> Policy {
        if self.shared.settings.allow_private_networks { policy.clone().lift() } else { policy.clone() }
    }

    /// Where files may be delivered to; `None`: anywhere.
    pub(crate) fn file_root(&self) -> Option<&Path> {
        self.shared.settings.file_root.as_deref()
    }

    /// Variables and files, for credential chains.
    pub fn environment(&self) -> &Arc<dyn Environment> {
        &self.shared.environment
    }

    /// The clock requests are dated by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Random bytes.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.shared.entropy
    }
}

fn tls_config(settings: &NetSettings) -> Result<rustls::ClientConfig, NetError> {
    let mut roots = RootCertStore::empty();
    if settings.system_roots {
        // What the system has and rustls cannot read is not worth refusing the rest.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if !settings.extra_roots.is_empty() {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&settings.extra_roots) {
            let certificate = certificate.map_err(|_| NetError::ExtraRoots)?;
            roots.add(certificate).map_err(|_| NetError::ExtraRoots)?;
        }
        if roots.len() == before {
            return Err(NetError::ExtraRoots);
        }
    }
    if settings.system_roots && roots.is_empty() {
        return Err(NetError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| NetError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
