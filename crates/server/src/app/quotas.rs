//! Rate-limit quotas: how many requests one address may send within an interval (`sys/quotas`). They are
//! asked before anything else is, who is calling included.
//!
//! Each process counts for itself. A window begins with the first request and lets a whole interval's worth
//! through, as Vault's does.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Cached, Revision, StoreError, records::Entry};

use super::{ATTEMPTS, App, AppError, Fields, Operation, Reply, Request, auth::positive, entries::Table};

const MOUNT_TYPE: &str = "system";
const CONFIG: &str = "config";
const LONGEST_NAME: usize = 256;
/// Addresses counted at once.
const MOST_WINDOWS: usize = 100_000;

/// Paths that no quota holds up unless the configuration says otherwise: those by which a server is
/// watched and opened.
const EXEMPT: [&str; 7] = [
    "sys/generate-recovery-token/attempt",
    "sys/generate-recovery-token/update",
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/health",
    "sys/seal-status",
    "sys/unseal",
];

/// One quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Quota {
    /// Below which it holds; empty = everywhere.
    path: String,
    /// Requests within one interval.
    rate: f64,
    /// Seconds.
    interval: u64,
    /// Seconds for which an address is held off that sent more; 0 = until the interval ends.
    block_interval: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Config {
    exempt_paths: Vec<String>,
    headers: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { exempt_paths: EXEMPT.map(str::to_owned).to_vec(), headers: false }
    }
}

/// What is counted, and what is known of the quotas.
#[derive(Default)]
pub(crate) struct Quotas {
    config: Cached<Entry>,
    held: ArcSwapOption<Held>,
    windows: Mutex<HashMap<(String, IpAddr), Window>>,
}

struct Held {
    revision: Option<Revision>,
    config: Config,
    quotas: Vec<(String, Quota)>,
}

/// One address's requests under one quota.
#[derive(Clone, Copy)]
struct Window {
    ends: Timestamp,
    left: u64,
    blocked_until: Option<Timestamp>,
}

/// Whether a request may go on, and the headers that its answer gets.
#[derive(Debug, Default)]
pub struct Admission {
    /// A quota is exceeded.
    pub exceeded: bool,
    /// `X-Ratelimit-*`, and `Retry-After` when it may not.
    pub headers: Vec<(&'static str, u64)>,
}

fn quotas(app: &App) -> Table<'_, Quota> {
    Table::new(&app.store, "quota", "rate-limit")
}

fn configs(app: &App) -> Table<'_, Config> {
    Table::new(&app.store, "quota", CONFIG)
}

impl App {
    /// Counts a request and tells whether it may go on.
    pub(crate) async fn quota(&self, request: &Request) -> Result<Admission, AppError> {
        let held = self.quotas_held().await?;
        let Some(address) = request.remote.map(|remote| remote.ip().to_canonical()) else {
            return Ok(Admission::default());
        };
        if held.quotas.is_empty() || held.config.exempt_paths.iter().any(|exempt| fits(exempt, &request.path))
        {
            return Ok(Admission::default());
        }
        let holds = held.quotas.iter().filter(|(_, quota)| fits(&quota.path, &request.path));
        let Some((name, quota)) = holds.max_by_key(|(_, quota)| quota.path.len()) else {
            return Ok(Admission::default());
        };
        let now = self.clock.now();
        let limit = limit(quota);
        let interval = Duration::from_secs(quota.interval);
        let mut windows = self.quotas.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MOST_WINDOWS {
            windows.retain(|_, window| {
                window.ends > now || window.blocked_until.is_some_and(|until| until > now)
            });
            if windows.len() >= MOST_WINDOWS {
                windows.clear();
            }
        }
        let fresh = Window { ends: now.plus(interval), left: limit, blocked_until: None };
        let window = windows.entry((name.clone(), address)).or_insert(fresh);
        if window.blocked_until.is_some_and(|until| until <= now)
            || window.blocked_until.is_none() && window.ends <= now
        {
            *window = fresh;
        }
        let exceeded = window.blocked_until.is_some() || window.left == 0;
        if exceeded {
            self.metrics.quota_exceeded();
            if quota.block_interval > 0 && window.blocked_until.is_none() {
                window.blocked_until = Some(now.plus(Duration::from_secs(quota.block_interval)));
            }
        } else {
            window.left -= 1;
        }
        let window = *window;
        drop(windows);
        let mut headers = Vec::new();
        if held.config.headers {
            let until = window.blocked_until.unwrap_or(window.ends);
            let reset = until.since(now).as_secs().max(1);
            headers.extend([
                ("x-ratelimit-limit", limit),
                ("x-ratelimit-remaining", window.left),
                ("x-ratelimit-reset", reset),
            ]);
            if exceeded {
                headers.push(("retry-after", reset));
            }
        }
        Ok(Admission { exceeded, headers })
    }

    async fn quotas_held(&self) -> Result<Arc<Held>, AppError> {
        let key = configs(self).key(CONFIG);
        let stored = self.store.get_cached(&key, &self.quotas.config).await?;
        let revision = stored.map(|stored| stored.revision);
        if let Some(held) = &*self.quotas.held.load()
            && held.revision == revision
        {
            return Ok(Arc::clone(held));
        }
        let config = configs(self).get(CONFIG).await?.map(|kept| kept.value).unwrap_or_default();
        // Without a configuration record nobody ever wrote a quota.
        let quotas = match revision {
            None => Vec::new(),
            Some(_) => quotas(self).all().await?.into_iter().map(|(name, kept)| (name, kept.value)).collect(),
        };
        let held = Arc::new(Held { revision, config, quotas });
        self.quotas.held.store(Some(Arc::clone(&held)));
        Ok(held)
    }
}

/// Whether a path is at or below another, or of a pattern that ends in `*`.
fn fits(pattern: &str, path: &str) -> bool {
    if let Some(start) = pattern.strip_suffix('*') {
        return path.starts_with(start);
    }
    let bare = pattern.trim_end_matches('/');
    bare.is_empty() || path.strip_prefix(bare).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whole requests within one interval.
fn limit(quota: &Quota) -> u64 {
    // Checked to be between 0 and a billion.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked when it was written"
    )]
    let limit = quota.rate.ceil() as u64;
    limit
}

/// `sys/quotas/<rest>`.
pub(super) async fn handle(app: &App, request: &Request, rest: &str) -> Result<Reply, AppError> {
    use Operation::{Delete, List, Read, Write};
    match (request.operation, rest.split_once('/').unwrap_or((rest, ""))) {
        (Read, ("config", "")) => read_config(app).await,
        (Write, ("config", "")) => write_config(app, request).await,
        (List, ("rate-limit", "")) => list(app).await,
        (Read, ("rate-limit", name)) if !name.is_empty() => read(app, name).await,
        (Write, ("rate-limit", name)) if !name.is_empty() => write(app, request, name).await,
        (Delete, ("rate-limit", name)) if !name.is_empty() => change(app, name, None).await,
        (_, ("config" | "rate-limit", _)) => Err(AppError::UnsupportedOperation),
        _ => Err(AppError::unsupported_path()),
    }
}

async fn read_config(app: &App) -> Result<Reply, AppError> {
    let config = configs(app).get(CONFIG).await?.map(|kept| kept.value).unwrap_or_default();
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("enable_rate_limit_audit_logging", &false)
            .put("enable_rate_limit_response_headers", &config.headers)
            .put("rate_limit_exempt_paths", &config.exempt_paths);
    }))
}

async fn write_config(app: &App, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    if fields.boolean("enable_rate_limit_audit_logging")?.unwrap_or(false) {
        return Err(AppError::invalid("enable_rate_limit_audit_logging is not available in keyferry"));
    }
    let headers = fields.boolean("enable_rate_limit_response_headers")?;
    let exempt = fields.list("rate_limit_exempt_paths")?;
    configs(app)
        .change(CONFIG, |known| {
            let mut config = known.unwrap_or_default();
            if let Some(headers) = headers {
                config.headers = headers;
            }
            if let Some(exempt) = &exempt {
                config.exempt_paths = exempt
                    .iter()
                    .filter(|path| !path.is_empty())
                    .map(|path| path.trim_start_matches('/').to_owned())
                    .collect();
            }
            Ok((Some(config), ()))
        })
        .await?;
    Ok(Reply::empty())
}

async fn list(app: &App) -> Result<Reply, AppError> {
    let keys = quotas(app).names().await?;
    if keys.is_empty() {
        return Err(AppError::not_found());
    }
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &keys);
    }))
}

async fn read(app: &App, name: &str) -> Result<Reply, AppError> {
    let quota = quotas(app).get(name).await?.ok_or_else(AppError::not_found)?.value;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("block_interval", &quota.block_interval)
            .put("inheritable", &false)
            .put("interval", &quota.interval)
            .put("name", name)
            .put("path", &quota.path);
        // As Go prints it: a whole number without a point.
        if quota.rate.fract() == 0.0 {
            o.put("rate", &limit(&quota));
        } else {
            o.put("rate", &quota.rate);
        }
        o.put("role", "").put("type", "rate-limit");
    }))
}

async fn write(app: &App, request: &Request, name: &str) -> Result<Reply, AppError> {
    if name.len() > LONGEST_NAME {
        return Err(AppError::invalid(format!("a quota's name must be at most {LONGEST_NAME} bytes")));
    }
    let mut fields = Fields::of(request)?;
    for field in ["role", "inheritable"] {
        if fields.text(field)?.is_some_and(|text| !matches!(text.as_str(), "" | "0" | "false")) {
            return Err(AppError::invalid(format!("{field} is not available in keyferry's quotas")));
        }
    }
    let known = quotas(app).get(name).await?.map(|kept| kept.value);
    let rate = match fields.text("rate")? {
        Some(text) => text.trim().parse::<f64>().ok(),
        None => known.as_ref().map(|known| known.rate),
    };
    let rate = rate.filter(|rate| *rate > 0.0 && *rate <= 1e9);
    let rate =
        rate.ok_or_else(|| AppError::invalid("rate: expected a number of requests, greater than 0"))?;
    let interval = match positive(&mut fields, "interval")? {
        Some(0) => return Err(AppError::invalid("interval: must be at least one second")),
        Some(interval) => interval,
        None => known.as_ref().map_or(1, |known| known.interval),
    };
    let block_interval = match positive(&mut fields, "block_interval")? {
        Some(interval) => interval,
        None => known.as_ref().map_or(0, |known| known.block_interval),
    };
    let path = match fields.text("path")? {
        Some(path) => path.trim_start_matches('/').to_owned(),
        None => known.map(|known| known.path).unwrap_or_default(),
    };
    if !path.is_empty() && !is_served(app, &path).await? {
        return Err(AppError::invalid(format!("invalid mount path \"{path}\"")));
    }
    change(app, name, Some(Quota { path, rate, interval, block_interval })).await
}

/// Whether something is mounted at or above a path, so that a quota there could ever count.
async fn is_served(app: &App, path: &str) -> Result<bool, AppError> {
    if ["sys/", "identity/", "cubbyhole/", "auth/token/"].iter().any(|built_in| fits(built_in, path)) {
        return Ok(true);
    }
    if let Some(path) = path.strip_prefix("auth/") {
        let table = app.auth_table().await?;
        return Ok(table.mounts.iter().any(|mount| fits(mount.path.as_str(), path)));
    }
    Ok(app.router().await?.find(path).is_some())
}

/// Writes or removes a quota, and the configuration with it, whose revision tells of changes.
async fn change(app: &App, name: &str, quota: Option<Quota>) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let config = configs(app).get(CONFIG).await?;
        if let Some(quota) = &quota {
            let twin = quotas(app)
                .all()
                .await?
                .into_iter()
                .find(|(other, kept)| other != name && kept.value.path == quota.path);
            if let Some((twin, _)) = twin {
                return Err(AppError::invalid(format!(
                    "quota rule with similar properties exists under the name \"{twin}\""
                )));
            }
        }
        let mut transaction = app.store.transaction();
        transaction.expect(&configs(app).key(CONFIG), config.as_ref().map(|config| config.revision));
        let config = config.map(|config| config.value).unwrap_or_default();
        configs(app).put(&mut transaction, CONFIG, &config)?;
        match &quota {
            Some(quota) => quotas(app).put(&mut transaction, name, quota)?,
            None => {
                transaction.delete(&quotas(app).key(name));
            }
        }
        match transaction.commit().await {
            Ok(_) => return Ok(Reply::empty()),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_hold_at_and_below_their_path() {
        for (pattern, path, holds) in [
            ("", "anything", true),
            ("secret", "secret/data/a", true),
            ("secret/", "secret", true),
            ("secret", "secrets/x", false),
            ("auth/u/login/*", "auth/u/login/anna", true),
            ("sys/health", "sys/health", true),
            ("sys/health", "sys/healthy", false),
        ] {
            assert_eq!(fits(pattern, path), holds, "{pattern} {path}");
        }
    }
}
