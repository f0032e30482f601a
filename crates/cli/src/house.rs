//! The wiring: a store, the engine, the app and its HTTP, put together once and taken down in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use destinations::{Net, net::Snapshot};
use engine::{Engine, IdentityIssuer, KvSource};
use model::{Clock, Entropy, SecretBytes};
use server::{
    app::{App, AppParts, Body, Operation, Request, SyncApi},
    http,
};
use store::Store;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::Config,
    failure::Failure,
    real::{SystemClock, SystemEntropy},
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

/// A server put together but not yet reachable.
pub(crate) struct Parts {
    pub(crate) app: App,
    engine: Engine,
}

impl Parts {
    pub(crate) fn new(
        store: &Store,
        config: &Config,
        environment: Snapshot,
        world: &World,
    ) -> Result<Self, Failure> {
        let World { clock, entropy } = world;
        let net = Net::new(
            config.net().map_err(Failure::wrong)?,
            Arc::new(environment),
            clock.clone(),
            entropy.clone(),
        )
        .map_err(Failure::failed)?;
        let engine = Engine::new(engine::Parts {
            store: store.clone(),
            source: Arc::new(KvSource::new(store.clone(), clock.clone())),
            kinds: destinations::kinds().to_vec(),
            net,
            identity: config.server.api_addr.as_ref().map(|url| {
                Arc::new(IdentityIssuer::new(store.clone(), clock.clone(), entropy.clone(), &url.0))
            }),
            clock: clock.clone(),
            entropy: entropy.clone(),
            settings: config.engine(),
        });
        let app = App::new(AppParts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            signal: Arc::new(engine.clone()),
            sync: Some(SyncApi::new(engine.clone(), store.clone(), config.sync_api())),
            settings: config.app(),
        });
        Ok(Self { app, engine })
    }

    /// Mounts KV v2 at `secret/`, as dev mode has it.
    pub(crate) async fn mount_kv(&self, root: &SecretBytes) -> Result<(), Failure> {
        let request = Request {
            id: self.app.request_id(),
            operation: Operation::Write,
            path: "sys/mounts/secret".to_owned(),
            token: Some(root.clone()),
            body: Body::Json(Zeroizing::new(br#"{"type":"kv-v2"}"#.to_vec())),
            ..Request::default()
        };
        self.app.handle(&request).await.map(drop).map_err(|fault| Failure::failed(format!("{fault:?}")))
    }

    /// Starts it. `listen` wins over the configuration.
    pub(crate) async fn open(self, listen: Option<SocketAddr>, config: &Config) -> Result<House, Failure> {
        let Self { app, engine } = self;
        let stop = CancellationToken::new();
        let http =
            http::start(config.http(listen), Arc::new(app), stop.clone()).await.map_err(
                |fault| match fault {
                    // The files are named in the configuration, so that is where to mend it.
                    http::StartError::Tls(http::TlsError::Key(..)) => {
                        Failure::wrong(format!("listener.tls_key_file: {fault}"))
                    }
                    http::StartError::Tls(_) => Failure::wrong(format!("listener.tls_cert_file: {fault}")),
                    http::StartError::Listen(..) => Failure::failed(fault),
                },
            )?;
        engine.start().await.map_err(Failure::failed)?;
        let tls = config.listener.tls_cert_file.is_some();
        tracing::info!(address = %http.address(), tls, "listening");
        let scheme = if tls { "https" } else { "http" };
        Ok(House { http, engine, stop, scheme, deadline: config.listener.shutdown_deadline.0 })
    }
}

/// A running server.
pub(crate) struct House {
    http: http::Handle,
    engine: Engine,
    stop: CancellationToken,
    scheme: &'static str,
    deadline: Duration,
}

impl House {
    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.http.address())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Reads the certificate again, for connections to come.
    pub(crate) fn reload(&self) {
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
        if !self.engine.stop(self.deadline).await {
            tracing::warn!("deliveries were still under way at the end of the shutdown's deadline");
        }
    }
}
