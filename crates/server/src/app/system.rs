//! What the open server says about itself (kv-v2-api.md 5). It needs no token. The rest of that chapter is
//! in [`super::core`], because it must be answered when the server is sealed.

use engine::NodeView;

use super::{App, AppError, Operation, Reply, Request, json};

/// `sys/leader`. Where several servers share a store each of them does all that a leader does; the one that is
/// called active has shard 0 of the work at destinations. Servers do not talk to each other but through the
/// store, so there are no cluster addresses.
pub(super) async fn leader(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let nodes = nodes(app).await?;
    let active = nodes.iter().flatten().find(|node| node.active);
    let json = json::object(|o| {
        o.put("ha_enabled", &nodes.is_some())
            .put("is_self", &(nodes.is_none() || active.is_some_and(|node| node.this)))
            .put("leader_address", active.map_or("", |node| &node.api_addr))
            .put("leader_cluster_address", "")
            .put("performance_standby", &false)
            .put("performance_standby_last_remote_wal", &0)
            .put("cluster_id", &app.store.header().cluster_id);
        if let Some(node) = active.filter(|node| node.this) {
            o.put_plain("active_time", node.started);
        }
    });
    Ok(Reply::bare(200, json))
}

/// The servers on this store; `None` where it is not shared.
async fn nodes(app: &App) -> Result<Option<Vec<NodeView>>, AppError> {
    match &app.sync {
        Some(sync) if app.store.shared() => Ok(Some(sync.engine().nodes().await?)),
        _ => Ok(None),
    }
}

/// `sys/ha-status`: the servers at work, and which of them is called active.
pub(super) async fn ha_status(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let now = app.clock.now();
    let alone = || {
        vec![json::object(|o| {
            o.put("hostname", "").put("api_address", "").put("cluster_address", "").put("active_node", &true);
            o.put("last_echo", &None::<u8>).put("echo_duration_ms", &0).put("clock_skew_ms", &0);
            o.put("version", &app.settings.vault_version).put("upgrade_version", &app.settings.vault_version);
            o.put("keyferry_version", &app.settings.version);
        })]
    };
    let all = nodes(app).await?.map_or_else(alone, |nodes| {
        let each = nodes.iter().map(|node| {
            json::object(|o| {
                o.put("hostname", &node.name).put("api_address", &node.api_addr);
                o.put("cluster_address", "").put("active_node", &node.active);
                if node.this {
                    o.put("last_echo", &None::<u8>);
                } else {
                    o.put_plain("last_echo", node.echo);
                }
                let age = now.as_nanos().saturating_sub(node.echo.as_nanos()).max(0) / 1_000_000;
                o.put("echo_duration_ms", &age).put("clock_skew_ms", &0);
                o.put("version", &app.settings.vault_version)
                    .put("upgrade_version", &app.settings.vault_version);
                o.put("keyferry_version", &node.version).put("node_id", &node.id.to_string());
            })
        });
        each.collect()
    });
    Ok(Reply::object("system", |o| {
        o.put_json("nodes", &json::array(&all));
    })
    .injected())
}

/// `sys/step-down`: this server hands its work at destinations to others for a while; it goes on to answer.
pub(super) fn step_down(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Write {
        return Err(AppError::UnsupportedOperation);
    }
    if let Some(sync) = &app.sync {
        sync.engine().step_down();
    }
    Ok(Reply::empty())
}
