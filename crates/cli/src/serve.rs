//! `keyferry server`

use std::{net::SocketAddr, sync::Arc};

use destinations::net::{Environment as _, Snapshot};
use model::SecretBytes;
use server::{app::core::Unsealing, lines::Sink, metrics::Metrics};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::ServerArgs,
    config::{Address, Config},
    failure::Failure,
    hardening::{self, Locked},
    house::{Builder, House, World},
    logging, printer,
    storage::Storage,
};

/// Serves until told to stop.
pub(crate) fn run(args: &ServerArgs, environment: Snapshot) -> Result<(), Failure> {
    let mut config = Config::load(args.config.as_deref(), &environment).map_err(Failure::wrong)?;
    let (what, listen) = if args.dev {
        // A developer's destinations are on the developer's machine more often than not.
        config.sync.allow_private_networks = true;
        (
            Served::Dev { token: dev_token(args, &environment)?, kv: !args.dev_no_kv },
            dev_address(args, &environment)?,
        )
    } else {
        let storage = Storage::configured(&config, args.data.as_deref()).map_err(Failure::wrong)?;
        config.storage.path = args.data.clone().or(config.storage.path);
        (Served::Stored(storage), args.listen)
    };
    logging::start(&config.log);
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    runtime.block_on(serve(what, listen.map(|Address(address)| address), Arc::new(config), environment))
}

enum Served {
    /// In memory.
    Dev { token: Option<SecretBytes>, kv: bool },
    /// Where `init` made it, or `sys/init` did or will.
    Stored(Storage),
}

async fn serve(
    what: Served,
    listen: Option<SocketAddr>,
    config: Arc<Config>,
    environment: Snapshot,
) -> Result<(), Failure> {
    let world = World::real();
    let mut signals = Signals::catch().map_err(Failure::failed)?;
    let audit = config.audit_devices().map_err(Failure::wrong)?;
    let chain = config.sync_audit_file().map_err(Failure::wrong)?;
    let mut files: Vec<Arc<dyn Sink>> = audit.iter().map(|device| Arc::clone(&device.sink)).collect();
    files.extend(chain.iter().map(|file| Arc::clone(file) as Arc<dyn Sink>));
    let metrics = Metrics::new(world.clock.now());
    let traces = config.traces(&environment, &world).map_err(Failure::wrong)?;
    let lock = !config.server.disable_mlock && !matches!(what, Served::Dev { .. });
    match hardening::lock_memory(lock) {
        Locked::Yes => tracing::info!("memory is locked: it is not swapped out"),
        Locked::NotAsked => {}
        Locked::No(why) if config.server.require_mlock => {
            return Err(Failure::failed(format!(
                "server.require_mlock is set, and memory cannot be locked: {why}"
            )));
        }
        Locked::No(why) => tracing::warn!(
            why,
            "memory is not locked, so secrets may be swapped out; use encrypted swap or none, or say \
             server.disable_mlock"
        ),
    }
    let builder = Builder {
        config: Arc::clone(&config),
        environment: environment.clone(),
        metrics: Arc::clone(&metrics),
        traces: traces.clone(),
        world: world.clone(),
        audit,
        chain,
    };
    let house = match what {
        Served::Dev { token, kv } => {
            let (core, token, key) = builder.dev(token, kv).await?;
            let house = House::open(core, listen, &config).await?;
            printer::talk("dev mode: everything is kept in memory and lost at the end");
            printer::data(format_args!("export VAULT_ADDR={}", house.url()));
            // EXPOSE: dev mode is for trying things out; its token and key open nothing else.
            let token = token.expose_text().map_err(Failure::failed)?;
            printer::data(format_args!("export VAULT_TOKEN={}", quoted(token)));
            printer::talk(format_args!("unseal key, should you seal it: {}", hex::encode(key.expose())));
            house
        }
        Served::Stored(storage) => {
            if let Some(file) = storage.file() {
                metrics.measure_store(file);
            }
            let core = match config.unsealing(&world, &environment).map_err(Failure::wrong)? {
                Unsealing::AtStart => {
                    storage.key_dir().map_err(Failure::wrong)?;
                    let store = storage.open(&world).await.map_err(Failure::failed)?;
                    builder.over(store).await?
                }
                unsealing => {
                    let backend = storage.backend(&world).await.map_err(Failure::failed)?;
                    let core = builder.sealed(backend, unsealing);
                    core.unseal_by_itself().await;
                    core
                }
            };
            let house = House::open(core, listen, &config).await?;
            printer::data(format_args!("export VAULT_ADDR={}", house.url()));
            house
        }
    };
    signals.end(house.writing_to(files)).await;
    if let Some(traces) = traces {
        traces.close().await;
    }
    Ok(())
}

fn dev_token(args: &ServerArgs, environment: &Snapshot) -> Result<Option<SecretBytes>, Failure> {
    let given = args
        .dev_root_token_id
        .clone()
        .or_else(|| environment.var("BAO_DEV_ROOT_TOKEN_ID"))
        .or_else(|| environment.var("VAULT_DEV_ROOT_TOKEN_ID"));
    match given {
        // It travels in a header.
        Some(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(Failure::wrong("--dev-root-token-id: want printable ASCII characters without spaces"))
        }
        given => Ok(given.map(SecretBytes::from)),
    }
}

fn dev_address(args: &ServerArgs, environment: &Snapshot) -> Result<Option<Address>, Failure> {
    if args.dev_listen_address.is_some() {
        return Ok(args.dev_listen_address);
    }
    for name in ["BAO_DEV_LISTEN_ADDRESS", "VAULT_DEV_LISTEN_ADDRESS"] {
        if let Some(text) = environment.var(name) {
            return text.parse().map(Some).map_err(|fault| Failure::wrong(format!("{name}: {fault}")));
        }
    }
    Ok(None)
}

/// As a POSIX shell takes it.
fn quoted(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The signals a server listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT and closes the house; a second one does not wait for that. SIGHUP
    /// reads the certificate again.
    async fn end(&mut self, house: House) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => house.reload(),
            }
        }
        tracing::info!("stopping; a second signal stops at once");
        tokio::select! {
            () = house.close() => tracing::info!("stopped"),
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_printed_as_a_shell_takes_it() {
        assert_eq!(quoted("root-1.x_Y"), "root-1.x_Y");
        assert_eq!(quoted("a'b$c"), r"'a'\''b$c'");
    }
}
