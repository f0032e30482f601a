//! What the server says about itself (kv-v2-api.md 5). None of it needs a token.
//!
//! An [`App`] exists only over an opened store, so it is always initialised and never sealed.

use super::{App, AppError, Fields, Operation, Reply, Request, json};

/// `sys/health`: for load balancers and start-up scripts, which may choose the status they want.
pub(super) fn health(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let mut status = 200;
    for (name, text) in &request.query {
        if HEALTH_CODES.contains(&name.as_str()) {
            let code = text.parse::<u16>().ok().filter(|code| (200..=599).contains(code));
            let code =
                code.ok_or_else(|| AppError::invalid(format!("{name} must be a status from 200 to 599")))?;
            if name == "activecode" {
                status = code;
            }
        }
    }
    let json = json::object(|o| {
        o.put("initialized", &true)
            .put("sealed", &false)
            .put("standby", &false)
            .put("performance_standby", &false)
            .put("replication_performance_mode", "disabled")
            .put("replication_dr_mode", "disabled")
            .put("server_time_utc", &app.clock.now().as_secs())
            .put("version", &app.settings.vault_version)
            .put("enterprise", &false)
            .put("cluster_name", &app.settings.cluster_name)
            .put("cluster_id", &app.store.header().cluster_id)
            .put("echo_duration_ms", &0)
            .put("clock_skew_ms", &0)
            .put("replication_primary_canary_age_ms", &0)
            .put("keyferry_version", &app.settings.version);
    });
    Ok(Reply::bare(status, json))
}

const HEALTH_CODES: [&str; 6] =
    ["activecode", "standbycode", "sealedcode", "uninitcode", "drsecondarycode", "performancestandbycode"];

/// `sys/seal-status`.
pub(super) fn seal_status(app: &App, request: &Request) -> Result<Reply, AppError> {
    match request.operation {
        Operation::Read => Ok(seal_state(app)),
        _ => Err(AppError::UnsupportedOperation),
    }
}

fn seal_state(app: &App) -> Reply {
    let json = json::object(|o| {
        o.put("type", &app.settings.seal_type)
            .put("initialized", &true)
            .put("sealed", &false)
            .put("t", &1)
            .put("n", &1)
            .put("progress", &0)
            .put("nonce", "")
            .put("version", &app.settings.vault_version)
            .put("build_date", &app.settings.build_date)
            .put("migration", &false)
            .put("cluster_name", &app.settings.cluster_name)
            .put("cluster_id", &app.store.header().cluster_id)
            .put("recovery_seal", &false)
            .put("storage_type", app.store.backend_name())
            .put("keyferry_version", &app.settings.version);
    });
    Reply::bare(200, json)
}

/// `sys/leader`: every server of a cluster takes writes, so none leads.
pub(super) fn leader(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let json = json::object(|o| {
        o.put("ha_enabled", &false)
            .put("is_self", &true)
            .put("leader_address", "")
            .put("leader_cluster_address", "")
            .put("performance_standby", &false)
            .put("performance_standby_last_remote_wal", &0)
            .put("cluster_id", &app.store.header().cluster_id);
    });
    Ok(Reply::bare(200, json))
}

/// `sys/init`. A store is made by `keyferry init`, before the server starts.
pub(super) fn init(request: &Request) -> Result<Reply, AppError> {
    match request.operation {
        Operation::Read => Ok(Reply::bare(
            200,
            json::object(|o| {
                o.put("initialized", &true);
            }),
        )),
        Operation::Write => Err(AppError::invalid("Vault is already initialized")),
        _ => Err(AppError::UnsupportedOperation),
    }
}

/// `sys/unseal`: what is open stays open, whatever the key; the answer is the state, as Vault's is.
pub(super) fn unseal(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Write {
        return Err(AppError::UnsupportedOperation);
    }
    let mut fields = Fields::of(request)?;
    let reset = fields.boolean("reset")?.unwrap_or(false);
    if !reset && !fields.has("key") {
        return Err(AppError::invalid(
            "'key' must be specified in request body as JSON, or 'reset' set to true",
        ));
    }
    Ok(seal_state(app))
}

/// `sys/seal`.
pub(super) fn seal(request: &Request) -> Result<Reply, AppError> {
    match request.operation {
        Operation::Write => Err(AppError::invalid(
            "keyferry opens its store with the root key it was started with and cannot be sealed while it \
             runs; stop the server instead",
        )),
        _ => Err(AppError::UnsupportedOperation),
    }
}
