//! What the open server says about itself (kv-v2-api.md 5). It needs no token. The rest of that chapter is
//! in [`super::core`], because it must be answered when the server is sealed.

use super::{App, AppError, Operation, Reply, Request, json};

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
