//! Everything that is logged while the trials run, to search it for values.

use std::{
    fmt::Debug,
    future::Future,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use destinations::Fault;
use libtest_mimic::Failed;

/// Part of every value that must not be seen anywhere.
pub(crate) const CANARY: &str = "CANARY-5f1e0c";

/// Part of what the pretend services say in their refusals.
pub(crate) const REMOTE_CANARY: &str = "CANARY-FROM-REMOTE";

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn log() -> MutexGuard<'static, Vec<u8>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to everything, at the finest level, whoever says it and however.
pub(crate) fn install() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(|| Tee)
        .init();
    log::set_max_level(log::LevelFilter::Trace);
    let _ = log::set_logger(&Tee);
}

struct Tee;

impl io::Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl log::Log for Tee {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        log().extend_from_slice(format!("{} {}\n", record.target(), record.args()).as_bytes());
    }

    fn flush(&self) {}
}

/// Runs a trial on a runtime of its own, and for no longer than is bearable.
pub(crate) fn run(trial: impl Future<Output = ()>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), trial).await });
    outcome.map_err(|_| Failed::from("the trial took longer than two minutes"))?;
    let log = log();
    for canary in [CANARY, REMOTE_CANARY] {
        if let Some(at) = log.windows(canary.len()).position(|window| window == canary.as_bytes()) {
            let from = at.saturating_sub(200);
            return Err(Failed::from(format!(
                "a value was logged: {}",
                String::from_utf8_lossy(&log[from..at + canary.len()])
            )));
        }
    }
    Ok(())
}

/// The fault an outcome is, after making sure that it repeats nothing.
pub(crate) fn fault<T: Debug>(outcome: Result<T, Fault>) -> Fault {
    let fault = outcome.expect_err("this had to fail");
    for text in [format!("{fault}"), format!("{fault:?}"), fault.message.to_string(), fault.code.to_owned()] {
        for canary in [CANARY, REMOTE_CANARY] {
            assert!(!text.contains(canary), "the fault repeats what it must not: {text}");
        }
    }
    fault
}
