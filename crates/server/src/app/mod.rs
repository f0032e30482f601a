//! The use cases. Nothing here knows of HTTP: a [`Request`] comes in, a [`Reply`] or an
//! [`AppError`] goes out. Every request passes [`App::handle`], which asks who is calling and
//! whether they may before anything else happens.

pub mod audit;
pub mod auth;
mod background;
pub mod core;
mod cors;
mod cubbyhole;
mod entries;
mod error;
mod fields;
mod identity;
pub mod json;
mod keeper;
mod kv;
mod leases;
mod locks;
mod mounts;
mod namespaces;
mod policy;
mod quotas;
mod reply;
mod request;
mod signal;
mod sync;
mod system;
pub mod tokens;
mod tools;
mod trace;
mod wrapping;

use std::{pin::Pin, sync::Arc};

use arc_swap::ArcSwapOption;
use destinations::Net;
use model::{Clock, Entropy};
use store::{
    Cached, Revision, Store,
    records::{AuthTable, MountTable},
};
use tokio::time::Instant;

use crate::metrics::Metrics;

pub(crate) use self::namespaces::ROOT_ONLY;
pub(crate) use self::{audit::Salt, entries::Table};
use self::{
    audit::{Audit, Trail},
    auth::{Caller, KeyCache, Lockouts, Passwords, TokenCache},
    background::Chores,
    keeper::Keepers,
    locks::Locks,
    mounts::{Migrations, Router},
    policy::Acls,
    quotas::Quotas,
};
pub use self::{
    cors::Cors,
    error::AppError,
    fields::{Fields, as_integer, as_text, parse_bool, wrong},
    policy::PolicyCheck,
    quotas::Admission,
    reply::{Content, Envelope, Reply},
    request::{Body, Capability, Operation, Request},
    signal::{NoSignal, SyncSignal},
    sync::{SourceRights, SyncApi, SyncSettings},
    trace::TracedCalls,
};

/// How often a change is decided anew because others were faster, before the client is told to try
/// again itself.
pub(crate) const ATTEMPTS: usize = 100;

/// What the server says about itself and what it allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Vault version that clients are to treat this server as: a plain semantic version
    /// (decisions 14).
    pub vault_version: String,
    /// Our own version.
    pub version: String,
    /// When it was built, RFC 3339; may be empty.
    pub build_date: String,
    /// Shown by `sys/health` and `sys/seal-status`.
    pub cluster_name: String,
    /// Shown by `sys/seal-status` as `type`.
    pub seal_type: String,
    /// Seconds that a token lasts when it does not ask for a time.
    pub default_lease_ttl: u64,
    /// Seconds that a token lasts at most.
    pub max_lease_ttl: u64,
    /// Bytes of one secret's `data`, as stored.
    pub max_secret_size: usize,
    /// Whether `sys/metrics` is shown to whoever asks, without a token.
    pub unauthenticated_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            vault_version: "1.20.0".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_date: String::new(),
            cluster_name: "keyferry".to_owned(),
            seal_type: "shamir".to_owned(),
            default_lease_ttl: 2_764_800,
            max_lease_ttl: 2_764_800,
            max_secret_size: 1 << 20,
            unauthenticated_metrics: false,
        }
    }
}

/// What an [`App`] is made of.
pub struct AppParts {
    /// Opened.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For ids and tokens.
    pub entropy: Arc<dyn Entropy>,
    /// Told when a change leaves work for the sync engine.
    pub signal: Arc<dyn SyncSignal>,
    /// Serves `sys/sync`; a server without it answers 404 there.
    pub sync: Option<SyncApi>,
    /// The guarded way out, for keys that auth methods fetch; without it they cannot.
    pub net: Option<Arc<Net>>,
    /// What it says about itself and what it allows.
    pub settings: Settings,
}

/// The server without its sockets.
pub struct App {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) signal: Arc<dyn SyncSignal>,
    pub(crate) sync: Option<SyncApi>,
    pub(crate) net: Option<Arc<Net>>,
    pub(crate) settings: Settings,
    pub(crate) tokens: TokenCache,
    /// What sets of policies allow.
    pub(crate) acls: Arc<Acls>,
    /// Makes changes of one secret or token wait for each other instead of overtaking each other.
    pub(crate) locks: Locks,
    pub(crate) quotas: Quotas,
    pub(crate) cors_held: cors::Held,
    pub(crate) jwt_keys: KeyCache,
    pub(crate) lockouts: Lockouts,
    pub(crate) passwords: Passwords,
    pub(crate) auth_mounts: Cached<AuthTable>,
    pub(crate) auth_held: ArcSwapOption<(Option<Revision>, Arc<AuthTable>)>,
    mounts: Cached<MountTable>,
    router: ArcSwapOption<Router>,
    pub(crate) migrations: Migrations,
    pub(crate) chores: Chores,
    /// Which secrets are associated as soon as they are written.
    pub(crate) rules: engine::rules::RuleBook,
    pub(crate) keepers: Keepers,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
}

/// What answers a request, once it may be answered.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<Reply, AppError>> + Send + 'a>>;

/// Who was found allowed.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) router: Arc<Router>,
}

/// Somebody who was not, as far as they are known.
struct Refused {
    caller: Option<Caller>,
    capability: Option<Capability>,
    error: AppError,
}

impl App {
    /// Puts an app together. Nothing runs until it is called; [`App::run_chores`] is to run beside
    /// it, as [`core::Core`] sees to.
    pub fn new(parts: AppParts) -> Self {
        Self {
            acls: Arc::new(Acls::new(parts.store.clone())),
            store: parts.store,
            clock: parts.clock,
            entropy: parts.entropy,
            signal: parts.signal,
            sync: parts.sync,
            net: parts.net,
            settings: parts.settings,
            tokens: TokenCache::default(),
            locks: Locks::default(),
            quotas: Quotas::default(),
            cors_held: cors::Held::default(),
            jwt_keys: KeyCache::default(),
            lockouts: Lockouts::default(),
            passwords: Passwords::default(),
            auth_mounts: Cached::default(),
            auth_held: ArcSwapOption::empty(),
            mounts: Cached::default(),
            router: ArcSwapOption::empty(),
            migrations: Migrations::default(),
            chores: Chores::default(),
            rules: engine::rules::RuleBook::default(),
            keepers: Keepers::default(),
            metrics: Arc::default(),
            audit: Audit::default(),
        }
    }

    /// The same, counted here.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        self.store.watch(Arc::clone(&metrics) as Arc<dyn store::CommitWatch>);
        Self { metrics, ..self }
    }

    /// What delivers, if anything does.
    pub(crate) fn engine(&self) -> Option<&engine::Engine> {
        self.sync.as_ref().map(SyncApi::engine)
    }

    /// A new request id.
    pub fn request_id(&self) -> String {
        model::uuid_v4(self.entropy.as_ref())
    }

    /// Wraps an answer that [`core::Core`] gave itself, if the request wants that.
    pub(crate) async fn wrapped(&self, request: &Request, reply: Reply) -> Result<Reply, AppError> {
        wrapping::wrap_reply(self, request, reply).await
    }

    /// Answers one request: what is open as it is, all else after it is known who asks and decided that
    /// they may. An answer that is to be wrapped is, whatever it is. Audit devices are told of the request
    /// before it is carried out, and of the answer before it is given.
    pub async fn handle(&self, request: &Request) -> Result<Reply, AppError> {
        if let Some(work) = self.open(request).await? {
            let trail = self.trail(request, None, None, None, None).await?;
            let outcome = match work.await {
                Ok(reply) => self.wrapped(request, reply).await,
                refused => refused,
            };
            return trail.end(outcome);
        }
        let (Admitted { caller, router }, trail) = self.enter(request).await?;
        let outcome = match router.find(&request.path) {
            Some(place) => {
                let begun = Instant::now();
                let answer = kv::handle(self, &place, request).await;
                self.metrics.routed(request.operation, place.mount.path.as_str(), begun.elapsed());
                answer.map(|reply| reply.of_engine("kv"))
            }
            None => self.handle_system(&caller, request).await.map(|reply| reply.of_engine("system")),
        };
        let outcome = match outcome {
            Ok(reply) => self.wrapped(request, reply).await,
            refused => refused,
        };
        trail.end(outcome)
    }

    /// Finds out who is calling and whether they may, and tells the audit devices. Nobody gets past who may
    /// not, and nothing of which no account can be kept.
    pub(crate) async fn enter<'a>(&'a self, request: &'a Request) -> Result<(Admitted, Trail<'a>), AppError> {
        match self.admit(request).await {
            Ok((admitted, capability, granted)) => {
                let caller = Some(&admitted.caller);
                let trail = self.trail(request, caller, Some(&granted), Some(capability), None).await?;
                Ok((admitted, trail))
            }
            Err(refused) => Err(self.refuse(request, refused).await),
        }
    }

    /// Finds out whether a request may be made whose body has not been taken yet, and carries nothing out.
    pub(crate) async fn permit(&self, request: &Request) -> Result<(), AppError> {
        match self.admit(request).await {
            Ok(_) => Ok(()),
            Err(refused) => Err(self.refuse(request, refused).await),
        }
    }

    /// Writes down that somebody was not allowed something; what they are to be told.
    async fn refuse(&self, request: &Request, refused: Refused) -> AppError {
        let Refused { caller, capability, error } = refused;
        match self.trail(request, caller.as_ref(), None, capability, Some(&error)).await {
            Ok(trail) => trail.refuse(error),
            Err(unwritten) => unwritten,
        }
    }

    async fn admit(&self, request: &Request) -> Result<(Admitted, Capability, Vec<Arc<str>>), Refused> {
        let unknown = |error| Refused { caller: None, capability: None, error };
        let caller = auth::authenticate(self, request).await.map_err(unknown)?;
        let router = match self.router().await {
            Ok(router) => router,
            Err(error) => return Err(Refused { caller: Some(caller), capability: None, error }),
        };
        let place = router.find(&request.path);
        let capability = match request.operation {
            Operation::Read => Capability::Read,
            Operation::Patch => Capability::Patch,
            Operation::Delete => Capability::Delete,
            Operation::List => Capability::List,
            Operation::Scan => Capability::Scan,
            // Whether the thing is there decides what must be allowed, so it is asked first; what is
            // answered to those who are not allowed does not tell which it was.
            Operation::Write => {
                let exists = match &place {
                    Some(place) => kv::exists(self, place).await,
                    None => self.exists(&caller, &request.path).await,
                };
                match exists {
                    Ok(true) => Capability::Update,
                    Ok(false) => Capability::Create,
                    Err(error) => return Err(Refused { caller: Some(caller), capability: None, error }),
                }
            }
        };
        match policy::authorize(&caller.acl, capability, request).map(<[_]>::to_vec) {
            Ok(granted) => Ok((Admitted { caller, router }, capability, granted)),
            Err(error) => Err(Refused { caller: Some(caller), capability: Some(capability), error }),
        }
    }

    /// What answers paths that need no token, or that look at it themselves.
    async fn open<'a>(&'a self, request: &'a Request) -> Result<Option<Work<'a>>, AppError> {
        Ok(match request.path.as_str() {
            "sys/leader" => Some(Box::pin(system::leader(self, request))),
            "sys/internal/ui/mounts" | "sys/internal/ui/mounts/" => {
                Some(Box::pin(mounts::ui_list(self, request)))
            }
            path if path.starts_with("sys/wrapping/") => wrapping::open(self, request),
            path => match path.strip_prefix("sys/internal/ui/mounts/") {
                Some(path) => Some(Box::pin(mounts::ui_mount(self, request, path))),
                None => match auth::open(self, request).await? {
                    Some(work) => Some(work),
                    None => sync::open(self, request),
                },
            },
        })
    }

    /// Whether what a write names, outside secrets engines, exists already.
    async fn exists(&self, caller: &Caller, path: &str) -> Result<bool, AppError> {
        if let Some(path) = path.strip_prefix("cubbyhole/") {
            return cubbyhole::exists(self, caller, path).await;
        }
        if let Some(rest) = path.strip_prefix("identity/") {
            return identity::exists(self, rest).await;
        }
        match path.strip_prefix("auth/") {
            Some(path) => auth::exists(self, path).await,
            None => sync::exists(self, path).await,
        }
    }

    /// A policy, an entity or a token changed, so that some may do less or more than before.
    pub(crate) fn rights_changed(&self) {
        self.signal.rights_changed();
    }

    async fn handle_system(&self, caller: &Caller, request: &Request) -> Result<Reply, AppError> {
        let path = request.path.as_str();
        if let Some(rest) = path.strip_prefix("auth/") {
            return auth::handle(self, caller, request, rest).await;
        }
        if sync::owns(path) {
            return sync::handle(self, caller, request).await;
        }
        match path.strip_prefix("sys/") {
            Some("mounts" | "mounts/") => mounts::list(self, request).await,
            Some("ha-status") => system::ha_status(self, request).await,
            Some("step-down") => system::step_down(self, request),
            Some("remount") => mounts::remount(self, request).await,
            Some("capabilities-self") => auth::capabilities_self(caller, request),
            Some("capabilities") => auth::capabilities_of_token(self, request).await,
            Some("capabilities-accessor") => auth::capabilities_of_accessor(self, request).await,
            Some("internal/ui/resultant-acl") => policy::resultant_acl(caller, request),
            Some("config/cors") => cors::handle(self, request).await,
            Some("renew" | "revoke") => leases::handle(self, request, path.trim_start_matches("sys/")).await,
            Some(rest) => {
                // Older paths without `leases/` are the same.
                let older = ["renew/", "revoke/", "revoke-prefix/", "revoke-force/"];
                let is_older = older.iter().any(|older| rest.starts_with(older));
                if let Some(rest) = rest.strip_prefix("leases/").or(is_older.then_some(rest)) {
                    leases::handle(self, request, rest).await
                } else if let Some(rest) = rest.strip_prefix("wrapping/") {
                    wrapping::handle(self, caller, request, rest).await
                } else if let Some(rest) = rest.strip_prefix("quotas/") {
                    quotas::handle(self, request, rest).await
                } else if let Some(rest) = rest.strip_prefix("tools/") {
                    tools::handle(self, request, rest)
                } else if let Some(name) = below(rest, "namespaces") {
                    namespaces::handle(request, name)
                } else if let Some(path) = below(rest, "audit") {
                    audit::handle(self, request, path)
                } else if rest == "audit-chain" {
                    audit::chains(self, request).await
                } else if let Some(path) = rest.strip_prefix("audit-hash/") {
                    audit::hash(self, request, path)
                } else if let Some(path) = below(rest, "auth") {
                    auth::sys_auth(self, request, path).await
                } else if let Some(path) = rest.strip_prefix("mounts/auth/").filter(|p| p.ends_with("/tune"))
                {
                    auth::sys_auth(self, request, path).await
                } else if let Some(path) = rest.strip_prefix("mounts/") {
                    match path.strip_suffix("/tune") {
                        Some(path) => mounts::tune(self, request, path).await,
                        None => mounts::mount(self, request, path).await,
                    }
                } else if let Some(id) = rest.strip_prefix("remount/status/") {
                    mounts::remount_status(self, request, id)
                } else if let Some(name) = below(rest, "policies/acl") {
                    policy::handle(self, request, name).await
                } else if let Some(name) = below(rest, "policy") {
                    policy::handle_old(self, request, name).await
                } else {
                    Err(AppError::unsupported_path())
                }
            }
            None => match (path.strip_prefix("identity/"), path.strip_prefix("cubbyhole/")) {
                (Some(rest), _) => identity::handle(self, request, rest).await,
                (_, Some(rest)) => cubbyhole::handle(self, caller, request, rest).await,
                _ => Err(AppError::no_route(path)),
            },
        }
    }

    /// The mounts as they are now.
    pub(crate) async fn router(&self) -> Result<Arc<Router>, AppError> {
        let table = self.store.get_cached(&self.store.keys().mounts(), &self.mounts).await?;
        let revision = table.as_ref().map(|table| table.revision);
        if let Some(router) = &*self.router.load()
            && router.revision() == revision
        {
            return Ok(Arc::clone(router));
        }
        let router = Arc::new(Router::new(self.store.keys(), table));
        self.router.store(Some(Arc::clone(&router)));
        Ok(router)
    }
}

/// What of a path is below another; empty for that path itself.
fn below<'p>(path: &'p str, above: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(above)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}
