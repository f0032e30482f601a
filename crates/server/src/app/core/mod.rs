//! The server as a whole: not initialised, sealed, or open with an [`App`] behind it.
//!
//! A [`Core`] owns what must work without an opened store: telling the state, making a store, unsealing it.
//! Everything else goes to the app, and what concerns the root key comes back from there once the app has
//! found the caller allowed. Sealing drops the app, and with it every key.

mod init;
mod keys;
mod rites;
mod snapshots;
mod status;
mod unseal;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use model::{Clock, Entropy, Timestamp, Tracer};
use store::{AutoUnseal, Backend, Guard, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

use super::{Admission, App, AppError, Cors, Operation, Reply, Request, Settings};
pub use init::Made;
use rites::{Rites, Sharing};
pub use snapshots::is_restore;

/// Builds what serves an opened store, and starts it.
#[async_trait]
pub trait Opener: Send + Sync {
    /// Puts the app over an opened store and starts what belongs to it.
    ///
    /// # Errors
    /// In words for the log.
    async fn open(&self, store: Store) -> Result<Opened, String>;

    /// Where it is counted what the apps it makes do: the same for all of them.
    fn metrics(&self) -> Arc<Metrics> {
        Arc::default()
    }

    /// Who is told what requests do; `None`: nobody.
    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        None
    }
}

/// An app that is served, and what ends with it.
pub struct Opened {
    /// The app.
    pub app: Arc<App>,
    /// What runs beside it.
    pub beside: Box<dyn Beside>,
}

/// What runs beside an app and must end before its store may be closed.
#[async_trait]
pub trait Beside: Send + Sync {
    /// Ends it; what is under way may finish within its deadline.
    async fn close(&self);
}

/// For apps that nothing runs beside.
pub struct Alone;

#[async_trait]
impl Beside for Alone {
    async fn close(&self) {}
}

/// How the root key of a store is had.
pub enum Unsealing {
    /// People hold shares of it.
    Shares,
    /// A service or the machine opens it.
    Auto(Arc<dyn AutoUnseal>),
    /// It was opened when the process started, and can be opened again only by starting another.
    AtStart,
}

/// What a [`Core`] is made of.
pub struct CoreParts {
    /// Where the store is, or will be.
    pub backend: Arc<dyn Backend>,
    /// How its root key is had.
    pub unsealing: Unsealing,
    /// Builds what serves it.
    pub opener: Arc<dyn Opener>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For keys, shares and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// What the server says about itself.
    pub settings: Settings,
}

/// The server without its sockets.
pub struct Core {
    backend: Arc<dyn Backend>,
    unsealing: Unsealing,
    opener: Arc<dyn Opener>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: Settings,
    metrics: Arc<Metrics>,
    tracer: Option<Arc<dyn Tracer>>,
    /// Why the service that unseals did not, when last it was asked.
    unseal_trouble: ArcSwapOption<String>,
    open: ArcSwapOption<Serving>,
    /// What several people take part in, one step at a time.
    rites: tokio::sync::Mutex<Rites>,
    /// The shares given so far to unseal it. Apart from the rites: the state is told while those go on.
    unsealing_shares: Mutex<Sharing>,
    /// How often what is under way is being ended; nothing is served any more.
    ending: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// An app while it is served.
struct Serving {
    app: Arc<App>,
    beside: Box<dyn Beside>,
    chores: CancellationToken,
}

impl Core {
    /// A server over a store that may be sealed or not there yet. Nothing is opened before
    /// [`Core::unseal_by_itself`] or a request for it.
    pub fn new(parts: CoreParts) -> Arc<Self> {
        Arc::new(Self {
            backend: parts.backend,
            unsealing: parts.unsealing,
            metrics: parts.opener.metrics(),
            tracer: parts.opener.tracer(),
            unseal_trouble: ArcSwapOption::empty(),
            opener: parts.opener,
            clock: parts.clock,
            entropy: parts.entropy,
            settings: parts.settings,
            open: ArcSwapOption::empty(),
            rites: tokio::sync::Mutex::default(),
            unsealing_shares: Mutex::default(),
            ending: Arc::default(),
            stop: CancellationToken::new(),
        })
    }

    /// A server over a store that is open already.
    pub fn opened(parts: CoreParts, opened: Opened) -> Arc<Self> {
        let core = Self::new(parts);
        core.serve(opened);
        core
    }

    fn closed(app: &App) -> Arc<Self> {
        struct Never(Arc<Metrics>);
        #[async_trait]
        impl Opener for Never {
            async fn open(&self, _: Store) -> Result<Opened, String> {
                Err("this store is opened when the server starts".to_owned())
            }

            fn metrics(&self) -> Arc<Metrics> {
                Arc::clone(&self.0)
            }
        }
        Self::new(CoreParts {
            backend: Arc::clone(app.store.backend()),
            unsealing: Unsealing::AtStart,
            opener: Arc::new(Never(Arc::clone(&app.metrics))),
            clock: Arc::clone(&app.clock),
            entropy: Arc::clone(&app.entropy),
            settings: app.settings.clone(),
        })
    }

    /// A server over an app alone, for tests.
    pub fn of(app: Arc<App>) -> Arc<Self> {
        let core = Self::closed(&app);
        core.metrics.set_open(true);
        core.open.store(Some(Arc::new(Serving {
            app,
            beside: Box::new(Alone),
            chores: CancellationToken::new(),
        })));
        core
    }

    /// Serves an app from now on.
    fn serve(&self, opened: Opened) {
        let Opened { app, beside } = opened;
        let chores = self.stop.child_token();
        tokio::spawn({
            let (app, chores) = (Arc::clone(&app), chores.clone());
            async move { tokio::join!(app.run_chores(chores.clone()), app.run_polls(chores)) }
        });
        self.open.store(Some(Arc::new(Serving { app, beside, chores })));
        self.metrics.set_open(true);
    }

    /// Ends what runs, and serves nothing any more.
    pub async fn close(&self) {
        self.stop.cancel();
        self.end().await;
    }

    /// Drops the app and all keys. Requests under way finish with what they hold. Nothing is served from the
    /// first moment on, while what runs beside takes until its deadline; it does so even if nobody waits for it
    /// any more.
    async fn end(&self) {
        let ending = Ending::begun(&self.ending);
        let Some(serving) = self.open.swap(None) else { return };
        self.metrics.set_open(false);
        serving.chores.cancel();
        let ended = tokio::spawn(async move {
            serving.beside.close().await;
            drop(ending);
        });
        if ended.await.is_err() {
            tracing::error!("what ran beside the app did not end in order");
        }
    }

    /// Whether it is being sealed, and what was served has not ended yet.
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) > 0
    }

    fn unsealing_shares(&self) -> MutexGuard<'_, Sharing> {
        self.unsealing_shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new request id.
    pub fn request_id(&self) -> String {
        model::uuid_v4(self.entropy.as_ref())
    }

    /// Counts a request under the quota that holds for it. While nothing is open there are none.
    pub async fn quota(&self, request: &Request) -> Result<Admission, AppError> {
        match self.open.load_full() {
            Some(serving) => serving.app.quota(request).await,
            None => Ok(Admission::default()),
        }
    }

    /// Who may call from a browser; `None`: nobody.
    pub async fn cors(&self) -> Result<Option<Arc<Cors>>, AppError> {
        match self.open.load_full() {
            Some(serving) => serving.app.cors().await,
            None => Ok(None),
        }
    }

    /// Who is told what requests do.
    pub fn tracer(&self) -> Option<&Arc<dyn Tracer>> {
        self.tracer.as_ref()
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The headers, in lower case, that requests are to be handed with because audit devices write them.
    pub fn audited_headers(&self) -> Option<Arc<[String]>> {
        let serving = self.open.load();
        serving.as_ref().map(|serving| Arc::clone(serving.app.audit.headers()))
    }

    /// Answers one request.
    pub async fn handle(&self, request: &Request) -> Result<Reply, AppError> {
        let begun = Instant::now();
        let answer = match request.trace {
            None => self.answer(request).await,
            // What it sets in motion is known to be set in motion by it.
            Some(trace) => Box::pin(engine::traced(trace, self.answer(request))).await,
        };
        self.metrics.handled(request, begun.elapsed());
        answer
    }

    async fn answer(&self, request: &Request) -> Result<Reply, AppError> {
        let serving = self.open.load_full();
        if let Some(path) = request.path.strip_prefix("sys/") {
            match path {
                "health" => return self.health(request).await,
                "seal-status" => return self.seal_status(request).await,
                "init" => return self.init(request).await,
                "unseal" => return self.unseal(request).await,
                "metrics" => return self.show_metrics(serving.as_deref(), request).await,
                _ => {}
            }
            if let Some(serving) = &serving
                && is_about_keys(path)
            {
                let (_, trail) = serving.app.enter(request).await?;
                let outcome = match self.about_keys(&serving.app, request, path).await {
                    Ok(reply) => serving.app.wrapped(request, reply).await,
                    refused => refused,
                };
                return trail.end(outcome);
            }
        }
        match serving {
            Some(serving) => serving.app.handle(request).await,
            None => Err(AppError::Sealed),
        }
    }

    /// `sys/metrics`: for whoever may read that path, or for anybody if that is how it is set up. While nothing
    /// is open nobody can be known, so then it is for anybody or nobody.
    async fn show_metrics(&self, serving: Option<&Serving>, request: &Request) -> Result<Reply, AppError> {
        if self.settings.unauthenticated_metrics {
            return self.metrics_now(serving, request).await;
        }
        let (_, trail) = serving.ok_or(AppError::Sealed)?.app.enter(request).await?;
        trail.end(self.metrics_now(serving, request).await)
    }

    async fn metrics_now(&self, serving: Option<&Serving>, request: &Request) -> Result<Reply, AppError> {
        let (now, engine) = (self.clock.now(), serving.and_then(|serving| serving.app.engine()));
        self.metrics.survey(engine, now).await?;
        self.metrics.show(request, now)
    }

    /// Whether there is a store, sealed or not.
    async fn is_initialised(&self) -> Result<bool, AppError> {
        Ok(self.open.load().is_some() || Store::is_in(self.backend.as_ref()).await?)
    }

    async fn guard(&self) -> Result<Option<Guard>, AppError> {
        Ok(Guard::read(self.backend.as_ref()).await?.map(|(guard, _)| guard))
    }

    /// What concerns the root key and the key ring. The caller was found allowed.
    async fn about_keys(&self, app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
        match path {
            "seal" => self.seal(request).await,
            "rotate" | "rotate/keyring" => self.rotate(app, request).await,
            "key-status" => self.key_status(app, request).await,
            snapshots::SNAPSHOT | snapshots::FORCE => self.snapshot(app, request, path).await,
            _ => self.rite(app, request, path).await,
        }
    }
}

/// Something is being ended, for as long as this lives.
struct Ending(Arc<AtomicUsize>);

impl Ending {
    fn begun(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Paths below `sys/` that the core serves once the caller was found allowed.
fn is_about_keys(path: &str) -> bool {
    matches!(path, "seal" | "rotate" | "rotate/keyring" | "key-status" | snapshots::SNAPSHOT | snapshots::FORCE)
        || path.starts_with("rekey/")
        || path.starts_with("rekey-recovery-key/")
        || path.starts_with("generate-root/")
        // OpenBao's name for it since it asks for a token.
        || path.starts_with("generate-root-token/")
}

/// Only a write.
fn write_only(request: &Request) -> Result<(), AppError> {
    if request.operation == Operation::Write { Ok(()) } else { Err(AppError::UnsupportedOperation) }
}
