//! What such a mount is given: a Keeper configuration, which is sealed and never shown, and how often to ask.

use std::{collections::BTreeMap, time::Duration};

use keeper::config::{Config, StoredConfig};
use model::{MountAccessor, SecretBytes, parse_duration};
use serde::{Deserialize, Serialize, Serializer};
use store::{Revision, records::Mount};

use super::{App, AppError, reach};
use crate::app::entries::Table;

/// The mount option with the configuration. It is taken out before options are kept.
const CONFIG: &str = "ksm_config";
/// The mount option with the time between polls.
const INTERVAL: &str = "interval";

const USUAL_INTERVAL: Duration = Duration::from_secs(60);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// The sealed part. The text is JSON or base64 of it, as `ksm profile export` prints it.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::app) struct Settings {
    #[serde(serialize_with = "to_be_sealed")]
    config: SecretBytes,
}

fn to_be_sealed<S: Serializer>(config: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
    // EXPOSE: into a record, which the store seals.
    serializer.serialize_str(config.expose_text().unwrap_or_default())
}

impl Settings {
    pub(super) fn config(&self) -> Result<Config, AppError> {
        // EXPOSE: to be read as a configuration.
        bound(self.config.expose_text().unwrap_or_default())
    }
}

fn bound(text: &str) -> Result<Config, AppError> {
    match StoredConfig::parse(text) {
        Ok(StoredConfig::Bound(config)) => Ok(config),
        Ok(StoredConfig::Unbound(_)) => Err(AppError::invalid(
            "options.ksm_config holds a one-time token that is not bound yet: bind it with `ksm profile init`, \
             and give what `ksm profile export` prints",
        )),
        // Names a key or a rule, never a value.
        Err(error) => Err(AppError::invalid(format!("options.ksm_config: {error}"))),
    }
}

/// Takes the configuration out of a mount's options, checked; and checks the rest.
pub(in crate::app) fn take(options: &mut BTreeMap<String, String>) -> Result<Option<Settings>, AppError> {
    if let Some(interval) = options.get(INTERVAL) {
        check_interval(interval)?;
    }
    reach::check(options)?;
    let Some(config) = options.remove(CONFIG).map(SecretBytes::from) else { return Ok(None) };
    let settings = Settings { config };
    settings.config()?;
    Ok(Some(settings))
}

fn check_interval(text: &str) -> Result<Duration, AppError> {
    let wrong =
        || AppError::invalid("options.interval must be a duration of at least 10s, such as 60s or 5m");
    let interval = parse_duration(text).map_err(|_| wrong())?;
    let interval = u64::try_from(interval).map(Duration::from_nanos).map_err(|_| wrong())?;
    if interval < SHORTEST_INTERVAL { Err(wrong()) } else { Ok(interval) }
}

/// The time between two polls of a mount.
pub(super) fn interval(mount: &Mount) -> Duration {
    mount.options.get(INTERVAL).and_then(|text| check_interval(text).ok()).unwrap_or(USUAL_INTERVAL)
}

fn table<'s>(app: &'s App, accessor: &MountAccessor) -> Table<'s, Settings> {
    Table::new(&app.store, accessor.as_str(), "keeper")
}

const NAME: &str = "settings";

/// Keeps a mount's sealed part.
pub(in crate::app) async fn keep(
    app: &App,
    accessor: &MountAccessor,
    settings: Settings,
) -> Result<(), AppError> {
    table(app, accessor).change(NAME, |_| Ok((Some(settings.clone()), ()))).await?;
    app.keepers.wake();
    Ok(())
}

/// Takes it away.
pub(in crate::app) async fn forget(app: &App, accessor: &MountAccessor) -> Result<(), AppError> {
    table(app, accessor).change(NAME, |_| Ok((None, ()))).await
}

/// Another configuration for a mount that is there, from the options it is tuned with.
pub(in crate::app) async fn retune(
    app: &App,
    mount: &Mount,
    options: &mut BTreeMap<String, String>,
) -> Result<(), AppError> {
    if let Some(settings) = take(options)? {
        keep(app, &mount.accessor, settings).await?;
    }
    app.keepers.wake();
    Ok(())
}

/// A mount's sealed part, and when it was written.
pub(super) async fn read(
    app: &App,
    accessor: &MountAccessor,
) -> Result<Option<(Settings, Revision)>, AppError> {
    let kept = table(app, accessor).get(NAME).await?;
    Ok(kept.map(|kept| (kept.value, kept.revision)))
}

/// The text of a record's `data`.
pub(super) fn data_of(record: &keeper::Record) -> SecretBytes {
    keeper::sync_source::flattened(record).write(keeper::json::Style::Compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_configuration_is_refused_and_not_repeated() {
        for (config, said) in [
            ("CANARY", "options.ksm_config"),
            (r#"{"clientKey":"CANARY","hostname":"US"}"#, "options.ksm_config"),
            (r#"{"hostname":"US"}"#, "lacks"),
        ] {
            let mut options = BTreeMap::from([(CONFIG.to_owned(), config.to_owned())]);
            let error = take(&mut options).err().unwrap().to_string();
            assert!(error.contains(said) && !error.contains("CANARY"), "{error}");
        }
        for (interval, good) in
            [("60s", true), ("5m", true), ("10", true), ("9s", false), ("soon", false), ("-1m", false)]
        {
            let mut options = BTreeMap::from([(INTERVAL.to_owned(), interval.to_owned())]);
            assert_eq!(take(&mut options).is_ok(), good, "{interval}");
        }
    }
}
