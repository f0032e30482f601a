//! What a run has in common: options, environment, the profile, a client, a runtime.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

use destinations::{Net, NetSettings, net::Snapshot};
use keeper::{
    Around, Client, Options, TokioWait,
    config::{Config, Host, Lookup},
};
use model::SecretBytes;

use super::{
    args::{Globals, LogLevel},
    output::Output,
    store::Store,
    table::{Column, Table},
};
use crate::{failure::Failure, house::World, logging, printer};

/// One run of `ksm`. Nothing costly happens before a command asks for it.
pub(crate) struct Ksm {
    globals: Globals,
    environment: Snapshot,
    world: World,
    output: Output,
    store: OnceCell<Store>,
    runtime: OnceCell<tokio::runtime::Runtime>,
}

impl Ksm {
    pub(super) fn new(globals: Globals, environment: Snapshot) -> Self {
        let level = globals.log_level.or_else(|| debug_level(&environment));
        logging::start_talk(match level {
            Some(LogLevel::Debug) => tracing::Level::DEBUG,
            Some(LogLevel::Info) => tracing::Level::INFO,
            None | Some(LogLevel::Warning) => tracing::Level::WARN,
            Some(LogLevel::Error) => tracing::Level::ERROR,
        });
        let output = Output::new(&globals.output);
        let world = World::real();
        Self { globals, environment, world, output, store: OnceCell::new(), runtime: OnceCell::new() }
    }

    /// The options that stand before the command.
    pub(crate) const fn globals(&self) -> &Globals {
        &self.globals
    }

    /// Where data goes.
    pub(crate) const fn output(&self) -> &Output {
        &self.output
    }

    /// The process's environment, as it was at the start.
    pub(crate) const fn environment(&self) -> &Snapshot {
        &self.environment
    }

    /// An environment variable that is set to something.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable says yes, in the words of the official CLI.
    pub(crate) fn says_yes(&self, name: &str) -> bool {
        self.variable(name).is_some_and(is_yes)
    }

    /// The real clock and dice.
    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// The profiles, loaded once.
    pub(crate) fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::find(self)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Whether tables have colours: on a terminal, unless an option or the configuration says no.
    pub(crate) fn color(&self) -> bool {
        if !self.output.is_terminal() || self.globals.no_color {
            return false;
        }
        let configured =
            || self.store().ok().and_then(|store| store.common("color")).is_none_or(|c| is_yes(&c));
        self.globals.color || configured()
    }

    /// An empty table for this run's output.
    pub(crate) fn table(&self, columns: impl Into<Vec<Column>>) -> Table {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Table::new(columns, self.color(), width)
    }

    /// Waits for something asynchronous.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        if self.runtime.get().is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::failed(format!("cannot start: {}", e.kind())))?;
            let _ = self.runtime.set(runtime);
        }
        match self.runtime.get() {
            Some(runtime) => Ok(runtime.block_on(work)),
            None => Err(Failure::failed("cannot start")),
        }
    }

    /// Waits for a call to Keeper.
    pub(crate) fn call<T>(&self, call: impl Future<Output = Result<T, keeper::Error>>) -> Result<T, Failure> {
        self.block_on(call)?.map_err(Failure::from)
    }

    /// A client of the profile in use. `KSM_TOKEN` is bound first where that is how a profile comes.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let config = super::profile::bound(self)?;
        self.client_with(config, None)
    }

    /// The same for a command that only reads: where that is wanted, it keeps the last answer and uses it when
    /// Keeper cannot be reached.
    pub(crate) fn reading_client(&self) -> Result<Client, Failure> {
        let config = super::profile::bound(self)?;
        self.client_with(config, self.cache())
    }

    /// Where the last answer is kept, if it is to be.
    fn cache(&self) -> Option<PathBuf> {
        let configured =
            || self.store().ok().and_then(|store| store.common("cache")).is_some_and(|c| is_yes(&c));
        if self.globals.no_cache || !(self.globals.cache || configured()) {
            return None;
        }
        let directory =
            self.variable("KSM_CACHE_DIR").map_or_else(|| self.working_directory(), PathBuf::from);
        Some(directory.join("ksm_cache.bin"))
    }

    /// A client of this configuration.
    fn client_with(&self, config: Config, cache: Option<PathBuf>) -> Result<Client, Failure> {
        let config = match self.host()? {
            Some(host) => config.with_host(host),
            None => config,
        };
        let config = match self.variable("KSM_SERVER_PUBLIC_KEY") {
            Some(key) => config.with_server_key(key)?,
            None => config,
        };
        let options = Options { cache, ..self.options(config.host())? };
        Ok(Client::new(config, options, self.around())?)
    }

    /// `KSM_HOSTNAME`, which wins over the configuration.
    pub(crate) fn host(&self) -> Result<Option<Host>, Failure> {
        let host = self.variable("KSM_HOSTNAME").map(Host::parse).transpose();
        host.map_err(|error| Failure::failed(format!("KSM_HOSTNAME: {error}")))
    }

    /// What a client takes from the outside.
    pub(crate) fn around(&self) -> Around {
        let World { clock, entropy } = self.world.clone();
        // The host is the word of whoever runs the program.
        Around { entropy, clock, wait: Arc::new(TokioWait), guard: None }
    }

    /// How a client connects to this host.
    pub(crate) fn options(&self, host: &Host) -> Result<Options, Failure> {
        let mut options = Options { verify: !self.says_yes("KSM_SKIP_VERIFY"), ..Options::default() };
        let authorities = self.authorities()?;
        options.extra_ca = (!authorities.is_empty()).then_some(authorities);
        options.proxy = self.proxy(&host.to_string()).map(SecretBytes::from);
        if let Some(version) = self.variable("KSM_CLIENT_VERSION") {
            version.clone_into(&mut options.client_version);
        }
        Ok(options)
    }

    /// The way out to a cloud. Whoever runs the command names the addresses, so that no range is out of
    /// bounds.
    pub(crate) fn net(&self, environment: Snapshot) -> Result<Arc<Net>, Failure> {
        let mut extra_roots = self.authorities()?;
        if let Some(path) = self.variable("AWS_CA_BUNDLE") {
            extra_roots.extend(std::fs::read(path).map_err(|e| {
                Failure::failed(format!("AWS_CA_BUNDLE names a file that cannot be read: {}", e.kind()))
            })?);
        }
        let settings = NetSettings { extra_roots, allow_private_networks: true, ..NetSettings::default() };
        let World { clock, entropy } = self.world.clone();
        Net::new(settings, Arc::new(environment), clock, entropy).map_err(Failure::failed)
    }

    /// Certificates (PEM) that are trusted besides the system's.
    fn authorities(&self) -> Result<Vec<u8>, Failure> {
        let mut authorities = Vec::new();
        for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
            let Some(path) = self.variable(name) else { continue };
            let read = std::fs::read(path);
            authorities.extend(read.map_err(|e| {
                Failure::failed(format!("{name} names a CA file that cannot be read: {}", e.kind()))
            })?);
            authorities.push(b'\n');
        }
        Ok(authorities)
    }

    /// The proxy for a host, from the usual variables.
    fn proxy(&self, host: &str) -> Option<&str> {
        let either = |upper: &str, lower: &str| self.variable(lower).or_else(|| self.variable(upper));
        let proxy = either("HTTPS_PROXY", "https_proxy").or_else(|| either("ALL_PROXY", "all_proxy"))?;
        let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let direct = either("NO_PROXY", "no_proxy").is_some_and(|list| {
            list.split(',').map(str::trim).filter(|name| !name.is_empty()).any(|name| {
                let name = name.trim_start_matches("*.").trim_start_matches('.');
                name == "*"
                    || name == host
                    || bare == name
                    || bare.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
            })
        });
        (!direct).then_some(proxy)
    }
}

impl Lookup for Ksm {
    fn variable(&self, name: &str) -> Option<String> {
        let variables: &BTreeMap<_, _> = &self.environment.vars;
        if name == "HOME" && !variables.contains_key(name) {
            return self.environment.home.as_ref().map(|home| home.display().to_string());
        }
        variables.get(name).cloned()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn working_directory(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
    }
}

/// `KSM_DEBUG`: a level, or anything for all of it.
fn debug_level(environment: &Snapshot) -> Option<LogLevel> {
    use clap::ValueEnum as _;
    let wanted = environment.vars.get("KSM_DEBUG").filter(|value| !value.is_empty())?;
    Some(LogLevel::from_str(wanted, true).unwrap_or(LogLevel::Debug))
}

/// Python's `strtobool`, for what the official CLI keeps in its configuration.
pub(crate) fn is_yes(text: &str) -> bool {
    ["y", "yes", "t", "true", "on", "1"].contains(&text.to_lowercase().as_str())
}

/// A line of talk that is a warning.
pub(crate) fn warn(text: impl std::fmt::Display) {
    printer::talk(format_args!("Warning: {text}"));
}
