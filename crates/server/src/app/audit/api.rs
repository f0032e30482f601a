//! `sys/audit` and `sys/audit-hash`: devices are shown and their hashes told; they are made and removed in
//! the configuration.

use super::super::{App, AppError, Fields, Operation, Reply, Request, json};

const MOUNT_TYPE: &str = "system";

/// `sys/audit` and `sys/audit/<path>`.
pub(in crate::app) fn handle(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    match (request.operation, path) {
        (Operation::Read, "") => {
            let reply = Reply::object(MOUNT_TYPE, |o| {
                for salted in &app.audit.devices {
                    let device = &salted.device;
                    let shown = json::object(|o| {
                        o.put("type", device.kind)
                            .put("description", &device.description)
                            .put("options", &device.options)
                            .put("local", &false)
                            .put("path", &device.path);
                    });
                    o.put_json(&device.path, &shown);
                }
            });
            Ok(reply.injected())
        }
        (Operation::Write, path) if !path.is_empty() => Err(AppError::invalid(
            "cannot enable audit device via API; use declarative, config-based audit device management instead: \
             declare it as [[audit]] in the server's configuration file",
        )),
        (Operation::Delete, path) if !path.is_empty() => Err(AppError::invalid(
            "cannot disable audit device via API; use declarative, config-based audit device management instead: \
             take its [[audit]] out of the server's configuration file",
        )),
        _ => Err(AppError::UnsupportedOperation),
    }
}

/// `sys/audit-chain`: where the chains of sync events are, and the keys to check them with.
pub(in crate::app) async fn chains(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let heads = crate::chain::heads(&app.store).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put_object("chains", |o| {
            for (name, head) in &heads {
                o.put(name, head);
            }
        });
    }))
}

/// `sys/audit-hash/<path>`: what a text looks like in a device's lines.
pub(in crate::app) fn hash(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    if request.operation != Operation::Write {
        return Err(AppError::UnsupportedOperation);
    }
    let mut fields = Fields::of(request)?;
    let input = fields.secret("input")?.filter(|input| !input.is_empty());
    let input = input.ok_or_else(|| AppError::invalid("the \"input\" parameter is empty"))?;
    let path = format!("{}/", path.trim_end_matches('/'));
    let salted = app.audit.devices.iter().find(|salted| salted.device.path == path);
    let salted = salted.ok_or_else(|| AppError::invalid(format!("unknown audit backend: \"{path}\"")))?;
    // EXPOSE: into a keyed hash.
    let hash = salted.salt.hash(input.expose());
    let reply = Reply::object(MOUNT_TYPE, |o| {
        o.put("hash", &hash);
    });
    Ok(reply.injected().warn_of_unknown(fields.unknown()))
}
