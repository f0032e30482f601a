//! Logs go to stderr, one line per event. Values and tokens are kept out where events are made; here
//! what is left is closed off: libraries that log headers or bodies at their finer levels are never
//! let below `warn`, and a panic is logged by its place, not by its text.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat, LogLevel};

/// The crates whose events are ours.
const OURS: [&str; 7] = ["keyferry", "model", "store", "keeper", "destinations", "engine", "server"];

/// Sets the process's logging up. To be called once.
pub(crate) fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let filter = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets(OURS.map(|name| (name, level)));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        tracing::error!(place, "a task panicked; the request it served has failed");
    }));
}

/// The same for a command of a moment: what a person should know while it runs, without time and place.
pub(crate) fn start_talk(level: tracing::Level) {
    let level = LevelFilter::from_level(level);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_targets(OURS.map(|name| (name, level)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false);
    // A second start within one process is a test's; the first one stays.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
