//! What the server counts, and `sys/metrics`, which shows it.
//!
//! Names that Vault has are Vault's, with Vault's units (milliseconds); ours begin with `keyferry` and are in
//! seconds. [`CATALOGUE`] is the one list of them: help texts, the page in `docs/monitoring.md` and the tests of
//! the example dashboard come from it. Counting costs the way of a request a handful of atomic additions.
//! Labels are few: what could be many (destinations, mounts, error codes) has room for so many words, and all
//! others are `other` ([`words`]). No label holds a secret's name or anything of its value.

mod catalogue;
mod exposition;
#[cfg(test)]
mod page;
mod process;
mod requests;
mod routes;
mod sync;
mod timing;
mod words;

use std::{
    collections::HashSet,
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use model::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        TypedMetric,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Metric, Registry},
};
use store::StoreError;

pub use catalogue::{CATALOGUE, Described, Sort};
use requests::Requests;
pub(crate) use requests::UnderWay;
use routes::Routes;
use timing::Timing;

use crate::app::{AppError, Content, Operation, Reply, Request};

/// What tells one series of a metric from another.
type Labels = Vec<(&'static str, String)>;

/// Everything that is counted. One for a process, through sealing and unsealing.
pub struct Metrics {
    registry: Registry,
    registered: HashSet<&'static str>,
    requests: Requests,
    routes: Routes,
    sync: sync::Sync,
    unsealed: Gauge,
    active: Gauge,
    handled: Timing,
    logins: Timing,
    tokens: Family<Labels, Counter>,
    quota_violations: Counter,
    commit_time: Timing,
    barrier_put: Timing,
    commits: Family<Labels, Counter>,
    store_file: Arc<OnceLock<PathBuf>>,
    started: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut made = Making::default();
        let store_file = Arc::new(OnceLock::new());
        let routes = Routes::default();
        let build = Family::<Labels, Gauge>::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        made.add("keyferry.build.info", build);
        let metrics = Self {
            requests: Requests::new(&mut made),
            sync: sync::Sync::new(&mut made),
            unsealed: made.add("vault.core.unsealed", Gauge::default()),
            active: made.add("vault.core.active", Gauge::default()),
            handled: made.add("vault.core.handle_request", Timing::vaults()),
            logins: made.add("vault.core.handle_login_request", Timing::vaults()),
            tokens: made.add("vault.token.creation", Family::default()),
            quota_violations: made.add("vault.quota.rate_limit.violation", Counter::default()),
            commit_time: made.add("keyferry.store.commit.seconds", Timing::serving()),
            barrier_put: made.add("vault.barrier.put", Timing::vaults()),
            commits: made.add("keyferry.store.commits", Family::default()),
            started: made.add("process.start_time_seconds", Gauge::default()),
            routes: routes.clone(),
            store_file: Arc::clone(&store_file),
            registry: Registry::default(),
            registered: HashSet::new(),
        };
        made.registered.extend(Machine::NAMES);
        made.registry.register_collector(Box::new(Machine(store_file)));
        made.registered.insert(routes::NAME);
        made.registry.register_collector(Box::new(routes));
        Self { registry: made.registry, registered: made.registered, ..metrics }
    }
}

/// Metrics being put together.
#[derive(Default)]
struct Making {
    registry: Registry,
    registered: HashSet<&'static str>,
}

impl Making {
    /// Shows a metric of the catalogue.
    fn add<M: Metric + TypedMetric + Clone>(&mut self, name: &'static str, metric: M) -> M {
        self.registered.insert(name);
        self.registry.register(catalogue::printed(name), catalogue::help(name), metric.clone());
        metric
    }
}

impl Metrics {
    /// For a process that began now.
    pub fn new(now: Timestamp) -> Arc<Self> {
        let metrics = Self::default();
        metrics.started.set(now.as_secs());
        Arc::new(metrics)
    }

    /// The names of what is shown once there is something to show, as in [`CATALOGUE`].
    pub fn registered(&self) -> &HashSet<&'static str> {
        &self.registered
    }

    /// The file whose size is the store's.
    pub fn measure_store(&self, file: PathBuf) {
        // Said once, at the start.
        let _ = self.store_file.set(file);
    }

    /// A store is served, or none.
    pub(crate) fn set_open(&self, open: bool) {
        self.unsealed.set(open.into());
        self.active.set(open.into());
    }

    /// A request came; it is under way until what this gives is dropped or told how it ended.
    pub(crate) fn request(&self, path: &str) -> UnderWay<'_> {
        self.requests.begin(path)
    }

    /// The core has handled a request.
    pub(crate) fn handled(&self, request: &Request, took: Duration) {
        let login = request.path.starts_with("auth/") && request.path.contains("/login");
        if login { &self.logins } else { &self.handled }.observe(took);
    }

    /// A secrets engine has answered.
    pub(crate) fn routed(&self, operation: Operation, mount: &str, took: Duration) {
        self.routes.observe(operation, mount, took);
    }

    /// A token was made. `method` is the sort of auth mount it came from.
    pub(crate) fn token_made(&self, method: &str, token_type: &str) {
        let labels = vec![("auth_method", method.to_owned()), ("token_type", token_type.to_owned())];
        self.tokens.get_or_create(&labels).inc();
    }

    /// A request was refused for its quota.
    pub(crate) fn quota_exceeded(&self) {
        self.quota_violations.inc();
    }

    /// Answers `sys/metrics`.
    pub(crate) fn show(&self, request: &Request, now: Timestamp) -> Result<Reply, AppError> {
        if request.operation != Operation::Read {
            return Err(AppError::UnsupportedOperation);
        }
        let format = request.query.iter().find(|(name, _)| name == "format").map_or("", |(_, f)| f.as_str());
        let prometheus = match format {
            "prometheus" => true,
            "" => false,
            _ => {
                return Err(AppError::invalid(
                    "metric response format unknown: want prometheus, or none for JSON",
                ));
            }
        };
        let mut printed = String::new();
        prometheus_client::encoding::text::encode(&mut printed, &self.registry)
            .map_err(|_| AppError::Internal("metrics could not be printed".to_owned()))?;
        let text = exposition::text(&printed);
        Ok(if prometheus {
            Reply { status: 200, content: Content::Text(exposition::TEXT, text) }
        } else {
            Reply::bare(200, exposition::json(&text, now, catalogue::dotted))
        })
    }
}

impl store::CommitWatch for Metrics {
    fn committed(&self, took: Duration, outcome: Result<(), &StoreError>) {
        self.commit_time.observe(took);
        self.barrier_put.observe(took);
        let outcome = match outcome {
            Ok(()) => "done",
            Err(StoreError::Conflict) => "conflict",
            Err(_) => "failed",
        };
        self.commits.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }
}

/// What is measured when it is asked for.
#[derive(Debug)]
struct Machine(Arc<OnceLock<PathBuf>>);

impl Machine {
    const NAMES: [&str; 8] = [
        "process.resident_memory_bytes",
        "process.virtual_memory_bytes",
        "process.locked_memory_bytes",
        "process.threads",
        "process.open_fds",
        "process.max_fds",
        "process.cpu_seconds",
        "keyferry.store.size.bytes",
    ];
}

impl Collector for Machine {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let now = process::Process::now();
        let size = self.0.get().and_then(|file| std::fs::metadata(file).ok()).map(|file| file.len());
        let values = [
            now.resident,
            now.virtual_memory,
            now.locked,
            now.threads,
            now.open_fds,
            now.max_fds,
            None,
            size,
        ];
        for (name, value) in Self::NAMES.into_iter().zip(values) {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                let (printed, help) = (catalogue::printed(name), catalogue::help(name));
                gauge.encode(to.encode_descriptor(&printed, help, None, gauge.metric_type())?)?;
            }
        }
        if let Some(cpu) = now.cpu {
            let (counter, name) = (ConstCounter::new(cpu), "process.cpu_seconds");
            let (printed, help) = (catalogue::printed(name), catalogue::help(name));
            counter.encode(to.encode_descriptor(&printed, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_what_the_catalogue_lists() {
        let metrics = Metrics::default();
        let listed: HashSet<&str> = CATALOGUE.iter().map(|described| described.name).collect();
        assert_eq!(listed.len(), CATALOGUE.len(), "one is listed twice");
        assert_eq!(*metrics.registered(), listed);
    }
}
