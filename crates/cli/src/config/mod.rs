//! One TOML file, overridden key by key from the environment, checked whole before anything starts.
//!
//! A message names the file and line (or the variable), the key, and what would be right. It never
//! repeats a value: the file may hold secrets one day, and a habit is easier kept than begun.

mod audit;
mod docs;
mod keys;
mod sections;
mod settings;
mod value;

use std::{fmt::Write as _, path::Path};

#[cfg(test)]
pub(crate) use audit::AUDIT_KEYS;
use destinations::net::Environment;
pub(crate) use keys::KEYS;
use keys::Takes;
pub(crate) use sections::{Config, Listener, Log, LogFormat, LogLevel, SealType, Telemetry};
pub(crate) use value::Address;

/// A configuration that cannot be used. Its text is meant for the operator as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Config {
    /// Reads the file, if one is named, and lays the environment over it.
    pub(crate) fn load(file: Option<&Path>, env: &dyn Environment) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| ConfigError(format!("{}: cannot be read: {e}", path.display())))?,
            None => String::new(),
        };
        let shown = file.map_or_else(String::new, |path| path.display().to_string());
        let config = Self::parse(&shown, &text, env)?;
        config.check()?;
        Ok(config)
    }

    fn parse(file: &str, text: &str, env: &dyn Environment) -> Result<Self, ConfigError> {
        // First the file alone, while positions are known …
        toml::from_str::<Self>(text).map_err(|e| in_file(file, text, &e))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| in_file(file, text, &e))?;
        // … then each variable alone, so that a fault in one names it.
        for key in KEYS {
            let variable = key.variable();
            let Some(given) = env.var(&variable) else { continue };
            let value = match key.takes {
                Takes::Text => toml::Value::String(given),
                Takes::Whole => toml::Value::Integer(
                    given.parse().map_err(|_| ConfigError(format!("{variable}: want a whole number")))?,
                ),
                Takes::Bool => toml::Value::Boolean(match given.as_str() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(ConfigError(format!("{variable}: want true or false"))),
                }),
            };
            let mut alone = toml::Table::new();
            put(&mut alone, key.section, key.name, value.clone());
            alone
                .try_into::<Self>()
                .map_err(|e| ConfigError(format!("{variable}: {}", without_values(e.message()))))?;
            put(&mut table, key.section, key.name, value);
        }
        table.try_into().map_err(|e: toml::de::Error| ConfigError(without_values(e.message())))
    }

    /// What one key alone cannot show.
    fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        let Listener { tls_cert_file, tls_key_file, .. } = &self.listener;
        match (tls_cert_file, tls_key_file) {
            (Some(_), None) => faults.push(
                "listener.tls_cert_file is set without listener.tls_key_file: set both for TLS, or neither"
                    .to_owned(),
            ),
            (None, Some(_)) => faults.push(
                "listener.tls_key_file is set without listener.tls_cert_file: set both for TLS, or neither"
                    .to_owned(),
            ),
            _ => {}
        }
        for (name, span) in [
            ("storage.timeout", self.storage.timeout),
            ("listener.max_request_duration", self.listener.max_request_duration),
            ("listener.shutdown_deadline", self.listener.shutdown_deadline),
            ("server.default_lease_ttl", self.server.default_lease_ttl),
            ("server.max_lease_ttl", self.server.max_lease_ttl),
            ("sync.connect_timeout", self.sync.connect_timeout),
            ("sync.call_timeout", self.sync.call_timeout),
            ("sync.sweep_interval", self.sync.sweep_interval),
            ("sync.mass_delete_window", self.sync.mass_delete_window),
        ] {
            if span.0.is_zero() {
                faults.push(format!("{name} must be longer than 0s"));
            }
        }
        if self.server.disable_mlock && self.server.require_mlock {
            faults.push("server.disable_mlock and server.require_mlock exclude each other".to_owned());
        }
        if self.server.default_lease_ttl.0 > self.server.max_lease_ttl.0 {
            faults.push("server.default_lease_ttl must not be longer than server.max_lease_ttl".to_owned());
        }
        audit::check(&self.audit, &self.sync_audit, &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(ConfigError(faults.join("\n"))) }
    }
}

fn put(table: &mut toml::Table, section: &str, name: &str, value: toml::Value) {
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}

/// `keyferry.toml:4: listener.address: not an address …`
fn in_file(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let mut message = file.to_owned();
    if let Some(span) = error.span() {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let _ = write!(message, ":{line}");
        if let Some(key) = key_at(text, line) {
            let _ = write!(message, ": {key}");
        }
    }
    let _ = write!(message, ": {}", without_values(error.message()));
    ConfigError(message)
}

/// The dotted key written on a line (from 1), with the section it stands in.
fn key_at(text: &str, line: usize) -> Option<String> {
    let mut section = "";
    for (at, row) in text.lines().enumerate() {
        let row = row.trim();
        if let Some(header) =
            row.strip_prefix('[').and_then(|rest| rest.trim_start_matches('[').split(']').next())
        {
            section = header.trim();
            if at + 1 == line {
                return Some(section.to_owned());
            }
        }
        if at + 1 == line {
            let (key, _) = row.split_once('=')?;
            let key = key.trim();
            let plain = !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            return plain
                .then(|| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    None
}

/// serde's `invalid type: string "…", expected X` and `invalid value: …` quote what was given.
fn without_values(message: &str) -> String {
    let quotes = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes => format!("want {expected}"),
        // A word that is none of those allowed is quoted too.
        _ => {
            match message.strip_prefix("unknown variant ").and_then(|rest| rest.rsplit_once(", expected ")) {
                Some((_, expected)) => format!("want {expected}"),
                None => message.replace("wanted string or table", "want text"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use destinations::net::Snapshot;

    use super::*;

    fn vars(vars: &[(&str, &str)]) -> Snapshot {
        let vars = vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Snapshot { vars, home: None }
    }

    fn fault(text: &str) -> String {
        Config::parse("k.toml", text, &Snapshot::default())
            .and_then(|config| config.check())
            .expect_err("a fault was expected")
            .to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = Config::parse("k.toml", "", &Snapshot::default()).unwrap();
        assert_eq!(config.listener.address.0.to_string(), "127.0.0.1:8200");
        assert!(!config.sync.allow_private_networks);
        assert!(config.check().is_ok());
    }

    #[test]
    fn a_fault_names_file_line_key_and_what_would_be_right() {
        for (text, message) in [
            (
                "[listener]\naddress = \"nowhere\"\n",
                "k.toml:2: listener.address: not an address to listen on: want an IP address and a port, such as \
                 127.0.0.1:8200 or [::]:8200",
            ),
            (
                "[listener]\n\nmax_json_depth = 0\n",
                "k.toml:3: listener.max_json_depth: want a whole number from 1 to 10000",
            ),
            (
                "[sync]\nsweep_interval = \"soon\"\n",
                "k.toml:2: sync.sweep_interval: not a duration: want seconds such as 90, or a form such as 1h30m, 250ms \
                 or 2d",
            ),
            ("[sync]\nlist_key_style = \"both\"\n", "k.toml:2: sync.list_key_style: want `plain` or `slash`"),
            ("[log]\nlevel = 3\n", "k.toml:2: log.level: want text"),
            (
                "[log]\ncolour = true\n",
                "k.toml:2: log.colour: unknown field `colour`, expected `format` or `level`",
            ),
            (
                "[stroage]\n",
                "k.toml:1: stroage: unknown field `stroage`, expected one of `storage`, `seal`, `listener`, `server`, `sync`, `telemetry`, `sync_audit`, `audit`, `log`",
            ),
        ] {
            assert_eq!(fault(text), message);
        }
        assert!(fault("[listener\n").starts_with("k.toml:1: "));
        assert!(
            fault("[log]\nlevel = \"info\"\nlevel = \"warn\"\n")
                .starts_with("k.toml:3: log.level: duplicate key")
        );
    }

    #[test]
    fn the_root_of_delivered_files_is_a_directory_named_from_the_top() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let net = |root: &str| {
            let text = format!("[sync]\nfile_root = \"{root}\"\n");
            let config = Config::parse("k.toml", &text, &Snapshot::default()).unwrap();
            config.net().map(|net| net.file_root).map_err(|fault| fault.to_string())
        };
        assert_eq!(net(dir.path().to_str().unwrap()), Ok(Some(dir.path().to_owned())));
        for (root, said) in [
            ("out", "must be an absolute path"),
            (file.to_str().unwrap(), "is not a directory"),
            (dir.path().join("none").to_str().unwrap(), "cannot be used"),
        ] {
            let fault = net(root).unwrap_err();
            assert!(fault.starts_with("sync.file_root: ") && fault.contains(said), "{fault}");
        }
        assert_eq!(Config::parse("k.toml", "", &Snapshot::default()).unwrap().net().unwrap().file_root, None);
    }

    #[test]
    fn a_fault_repeats_no_value() {
        for text in [
            "[log]\nlevel = \"hunter2\"",
            "[listener]\naddress = \"hunter2\"",
            "[listener]\nmax_json_depth = \"hunter2\"",
            "[sync]\nrequire_activation = \"hunter2\"",
            "[sync]\nsweep_interval = \"hunter2\"",
            "[storage]\npath = { a = \"hunter2\" }",
            "log = \"hunter2\"",
        ] {
            assert!(!fault(text).contains("hunter2"), "{}", fault(text));
        }
    }

    #[test]
    fn what_one_key_cannot_show_is_checked_together() {
        let message = fault("[listener]\ntls_cert_file = \"a.pem\"\nmax_request_duration = 0\n");
        assert!(message.contains("tls_key_file"), "{message}");
        assert!(message.contains("listener.max_request_duration must be longer than 0s"), "{message}");
    }

    #[test]
    fn a_variable_overrides_its_key_and_its_faults_name_it() {
        let env = vars(&[
            ("KEYFERRY_LISTENER_ADDRESS", "[::1]:9000"),
            ("KEYFERRY_SYNC_REQUIRE_ACTIVATION", "true"),
            ("KEYFERRY_SYNC_CONCURRENCY", "3"),
        ]);
        let config =
            Config::parse("k.toml", "[listener]\naddress = \"127.0.0.1:1\"\nmax_json_depth = 7\n", &env)
                .unwrap();
        assert_eq!(config.listener.address.0.to_string(), "[::1]:9000");
        assert_eq!(config.listener.max_json_depth.0, 7);
        assert!(config.sync.require_activation);
        assert_eq!(config.sync.concurrency.0, 3);

        for (name, given, message) in [
            ("KEYFERRY_SYNC_CONCURRENCY", "many", "KEYFERRY_SYNC_CONCURRENCY: want a whole number"),
            (
                "KEYFERRY_SYNC_CONCURRENCY",
                "0",
                "KEYFERRY_SYNC_CONCURRENCY: want a whole number from 1 to 1024",
            ),
            (
                "KEYFERRY_SYNC_REQUIRE_ACTIVATION",
                "maybe",
                "KEYFERRY_SYNC_REQUIRE_ACTIVATION: want true or false",
            ),
            (
                "KEYFERRY_LOG_LEVEL",
                "loud",
                "KEYFERRY_LOG_LEVEL: want one of `error`, `warn`, `info`, `debug`",
            ),
        ] {
            let fault = Config::parse("", "", &vars(&[(name, given)])).err().unwrap().to_string();
            assert_eq!(fault, message);
        }
    }

    #[test]
    fn the_key_table_and_the_structs_say_the_same() {
        let sections = serde_json::to_value(Config::default()).unwrap();
        let mut held: Vec<String> = Vec::new();
        for (section, keys) in sections.as_object().unwrap() {
            held.extend(keys.as_object().unwrap().keys().map(|key| format!("{section}.{key}")));
        }
        let mut told: Vec<String> = KEYS.iter().map(|key| format!("{}.{}", key.section, key.name)).collect();
        held.sort();
        told.sort();
        assert_eq!(held, told);
    }
}
