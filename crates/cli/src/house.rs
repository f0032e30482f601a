//! The wiring: a store, the engine, the app and its HTTP, put together once and taken down in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use destinations::{Net, net::Snapshot};
use engine::{Engine, IdentityIssuer, KvSource};
use model::{Clock, Entropy, SecretBytes, Tracer};
use server::{
    app::{
        App, AppError, AppParts, Body, Operation, Request, SourceRights, SyncApi, TracedCalls,
        audit::{Audit, Device},
        core::{Beside, Core, CoreParts, Made, Opened, Opener, Unsealing},
    },
    chain::Chain,
    http,
    lines::{LineFile, Sink},
    metrics::Metrics,
};
use store::{Backend, Memory, Store};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::Config,
    failure::Failure,
    real::{SystemClock, SystemEntropy},
    telemetry::Traces,
};

/// The real clock and dice, shared by all parts.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl World {
    pub(crate) fn real() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy::default()) }
    }
}

/// Builds what serves an opened store: the engine and the app, wired to each other.
pub(crate) struct Builder {
    pub(crate) config: Arc<Config>,
    pub(crate) environment: Snapshot,
    pub(crate) world: World,
    pub(crate) metrics: Arc<Metrics>,
    /// What is asked and answered is written there.
    pub(crate) audit: Vec<Arc<Device>>,
    /// Where traces go, if anywhere.
    pub(crate) traces: Option<Arc<Traces>>,
    /// What is delivered is written there.
    pub(crate) chain: Option<Arc<LineFile>>,
}

impl Builder {
    fn build(&self, store: &Store) -> Result<(App, Engine), Failure> {
        let World { clock, entropy } = &self.world;
        let config = &self.config;
        let keeper = config.keeper().map_err(Failure::wrong)?;
        let net = Net::new(
            config.net().map_err(Failure::wrong)?,
            Arc::new(self.environment.clone()),
            clock.clone(),
            entropy.clone(),
        )
        .map_err(Failure::failed)?;
        let engine = Engine::new(engine::Parts {
            store: store.clone(),
            source: Arc::new(KvSource::new(store.clone(), clock.clone())),
            kinds: destinations::kinds().to_vec(),
            net: net.clone(),
            identity: config.server.api_addr.as_ref().map(|url| {
                Arc::new(IdentityIssuer::new(store.clone(), clock.clone(), entropy.clone(), &url.0))
            }),
            clock: clock.clone(),
            entropy: entropy.clone(),
            settings: config.engine(),
        });
        if config.sync.continuous_authorisation {
            engine.authorise_by(Arc::new(SourceRights::new(store.clone())));
        }
        let app = App::new(AppParts {
            net: Some(net),
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            signal: Arc::new(engine.clone()),
            sync: Some(SyncApi::new(engine.clone(), store.clone(), config.sync_api())),
            settings: config.app(),
        })
        .with_keeper(keeper)
        .with_metrics(Arc::clone(&self.metrics));
        engine.observe(self.metrics.clone());
        if let Some(traces) = &self.traces {
            engine.observe(Arc::new(TracedCalls::new(traces.clone(), entropy.clone())));
        }
        Ok((app, engine))
    }

    /// A server over a store that is open.
    pub(crate) async fn over(self, store: Store) -> Result<Arc<Core>, Failure> {
        let backend = Arc::clone(store.backend());
        let opened = self.open(store).await.map_err(Failure::failed)?;
        Ok(Core::opened(self.parts(backend, Unsealing::AtStart), opened))
    }

    /// A server over a store that is sealed, or not there yet.
    pub(crate) fn sealed(self, backend: Arc<dyn Backend>, unsealing: Unsealing) -> Arc<Core> {
        Core::new(self.parts(backend, unsealing))
    }

    fn parts(self, backend: Arc<dyn Backend>, unsealing: Unsealing) -> CoreParts {
        CoreParts {
            backend,
            unsealing,
            clock: self.world.clock.clone(),
            entropy: self.world.entropy.clone(),
            settings: self.config.app(),
            opener: Arc::new(self),
        }
    }

    /// A server in memory, made, unsealed and with KV v2 at `secret/` if wanted; its root token and its
    /// unseal key.
    pub(crate) async fn dev(
        self,
        token: Option<SecretBytes>,
        kv: bool,
    ) -> Result<(Arc<Core>, SecretBytes, SecretBytes), Failure> {
        let failed = |fault: AppError| Failure::failed(format!("{fault:?}"));
        let core = self.sealed(Arc::new(Memory::new()), Unsealing::Shares);
        let Made { shares, root_token } = core.make(1, 1, token).await.map_err(failed)?;
        core.unseal_by(&shares).await.map_err(failed)?;
        let [key] = <[SecretBytes; 1]>::try_from(shares)
            .map_err(|_| Failure::failed("there must be one unseal key"))?;
        if kv {
            let request = Request {
                id: core.request_id(),
                operation: Operation::Write,
                path: "sys/mounts/secret".to_owned(),
                token: Some(root_token.clone()),
                body: Body::Json(Zeroizing::new(
                    br#"{"type":"kv-v2","description":"key/value secret storage"}"#.to_vec(),
                )),
                ..Request::default()
            };
            core.handle(&request).await.map_err(failed)?;
        }
        Ok((core, root_token, key))
    }
}

#[async_trait]
impl Opener for Builder {
    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.traces.clone().map(|traces| traces as Arc<dyn Tracer>)
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    async fn open(&self, store: Store) -> Result<Opened, String> {
        let (app, engine) = self.build(&store).map_err(|failure| failure.to_string())?;
        let audit = Audit::open(&store, self.world.entropy.as_ref(), &self.audit).await;
        let app = app.with_audit(audit.map_err(|fault| fault.to_string())?);
        if let Some(file) = &self.chain {
            let World { clock, entropy } = &self.world;
            let name = &self.config.sync_audit.chain;
            let chain = Chain::open(&store, clock.clone(), entropy.as_ref(), Arc::clone(file), name).await;
            engine.observe(Arc::new(chain.map_err(|fault| fault.to_string())?));
        }
        engine.start().await.map_err(|fault| fault.to_string())?;
        let deadline = self.config.listener.shutdown_deadline.0;
        Ok(Opened { app: Arc::new(app), beside: Box::new(Deliveries { engine, deadline }) })
    }
}

/// The engine, while its app is served.
struct Deliveries {
    engine: Engine,
    deadline: Duration,
}

#[async_trait]
impl Beside for Deliveries {
    async fn close(&self) {
        if !self.engine.stop(self.deadline).await {
            tracing::warn!("deliveries were still under way at the deadline; they go on at the next start");
        }
    }
}

/// A running server.
pub(crate) struct House {
    http: http::Handle,
    core: Arc<Core>,
    stop: CancellationToken,
    scheme: &'static str,
    /// Files that may have been moved away when it is told to look again.
    files: Vec<Arc<dyn Sink>>,
}

impl House {
    /// Opens the door. `listen` wins over the configuration.
    pub(crate) async fn open(
        core: Arc<Core>,
        listen: Option<SocketAddr>,
        config: &Config,
    ) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let http = match http::start(config.http(listen), Arc::clone(&core), stop.clone()).await {
            Ok(http) => http,
            Err(fault) => {
                core.close().await;
                return Err(match fault {
                    // The files are named in the configuration, so that is where to mend it.
                    http::StartError::Tls(http::TlsError::Key(..)) => {
                        Failure::wrong(format!("listener.tls_key_file: {fault}"))
                    }
                    http::StartError::Tls(_) => Failure::wrong(format!("listener.tls_cert_file: {fault}")),
                    http::StartError::Listen(..) => Failure::failed(fault),
                });
            }
        };
        let tls = config.listener.tls_cert_file.is_some();
        tracing::info!(address = %http.address(), tls, "listening");
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { http, core, stop, scheme, files: Vec::new() })
    }

    /// With files that [`House::reload`] opens anew.
    pub(crate) fn writing_to(mut self, files: Vec<Arc<dyn Sink>>) -> Self {
        self.files = files;
        self
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.http.address())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Reads the certificate again, for connections to come, and opens the files it writes to by their names.
    pub(crate) fn reload(&self) {
        for file in &self.files {
            if let Err(error) = file.reopen() {
                tracing::error!(%error, "a file was not opened anew; lines go on to the old one");
            }
        }
        match self.http.reload_tls() {
            Ok(()) => tracing::info!("certificate read again"),
            Err(error) => tracing::error!(%error, "the certificate was not read again; the old one stays"),
        }
    }

    /// Takes no new requests, finishes those under way, then stops delivering. What is not delivered by
    /// then is in the store and goes on at the next start.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.http.ended().await;
        self.core.close().await;
    }
}
