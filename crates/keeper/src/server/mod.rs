//! A pretend Keeper: the real protocol on a loopback port, with a vault in memory.
//!
//! For tests, the demonstration and benchmarks. It seals and signs like the service and checks what
//! clients send more strictly than the service needs to, so that a client's mistake is noticed. Our
//! tests run the official Python SDK and CLI against it, so that our client and this server cannot
//! agree on a mistake. What the real service answers is known only as far as its clients accept it
//! (keeper.md, head): this server is no evidence about the service.

mod calls;
mod faults;
mod files;
mod http;
mod state;
mod tls;
mod vault;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{Clock, Entropy};
use tokio::{net::TcpListener, task::JoinHandle};

pub use faults::Fault;
pub use vault::{Device, NewFile};

use crate::config::Host;
use state::State;

/// The id of the server key a new server asks for: the one clients begin with.
const FIRST_KEY_ID: &str = "10";

/// A running pretend Keeper. Dropping it stops it.
pub struct PretendKeeper {
    shared: Arc<Shared>,
    ca_pem: String,
    accepting: JoinHandle<()>,
}

/// What the connections' tasks share with the handle.
struct Shared {
    state: Mutex<State>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    address: SocketAddr,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }
}

impl PretendKeeper {
    /// Starts one on a free loopback port, with a certificate of its own making.
    pub async fn start(entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::start_with(entropy, clock, false).await
    }

    /// The same with a certificate that has expired, which is what a client sees whose own clock is wrong.
    pub async fn start_expired(entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::start_with(entropy, clock, true).await
    }

    async fn start_with(entropy: Arc<dyn Entropy>, clock: Arc<dyn Clock>, expired: bool) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (acceptor, ca_pem) = tls::acceptor(expired).map_err(io::Error::other)?;
        let state = State::new(FIRST_KEY_ID, &*entropy).map_err(io::Error::other)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::new(state), entropy, clock, address });
        let accepting = tokio::spawn(http::accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { shared, ca_pem, accepting })
    }

    /// Where it answers: `localhost:PORT`. The certificate is for that name and for 127.0.0.1.
    pub fn host(&self) -> Host {
        Host::parse(&self.shared.host()).unwrap_or_default()
    }

    /// The certificate (PEM) that clients have to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How many requests a call (`get_secret`, `create_secret`, …, `file_download`, `file_upload`) has
    /// had, faulty ones included.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.state().calls.get(path).copied().unwrap_or(0)
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// The `clientVersion` of the last request that got that far.
    pub fn last_client_version(&self) -> Option<String> {
        self.shared.state().last_version.clone()
    }
}

impl Drop for PretendKeeper {
    fn drop(&mut self) {
        self.accepting.abort();
        let state = self.shared.state();
        state.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}
