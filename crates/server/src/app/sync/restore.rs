//! `sys/sync/restore-plan`: what would change at destinations after a restore, and saying that it may.

use engine::{Engine, Forecast, Foreseen};
use model::{DestinationKey, DestinationName};
use serde_json::{Map, Value, json};
use store::records::Restored;

use super::{
    super::{AppError, Fields, Reply, Request},
    SYSTEM,
};

/// Associations of each destination that are looked at when nobody says how many.
const LIMIT: u64 = 1000;

/// Says in `sys/sync/config` that nothing is sent out, and why.
pub(super) fn put_paused(config: &mut Value, restored: &Restored) {
    config["paused"] = json!("restored");
    config["restored_at"] = json!(restored.at.to_string());
    config["snapshot_created_at"] = json!(restored.saved);
}

/// `GET sys/sync/restore-plan`, of one destination with `type` and `name`. Reads at destinations, writes
/// nowhere. Names, never values.
pub(super) async fn read_plan(engine: &Engine, request: &Request) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let limit = fields.unsigned("limit")?.unwrap_or(LIMIT);
    let only = match (fields.text("type")?, fields.text("name")?) {
        (None, None) => None,
        (Some(kind), Some(name)) => {
            let name =
                DestinationName::parse(&name).map_err(|error| AppError::invalid(format!("name: {error}")))?;
            let key = DestinationKey { kind, name };
            if engine.destination(&key).await.ok().flatten().is_none() {
                return Err(AppError::NotFound(Some(format!("there is no destination {key}"))));
            }
            Some(key)
        }
        _ => return Err(AppError::invalid("type and name of a destination are given together, or neither")),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(plan) = engine.restore_plan(only.as_ref(), limit).await? else {
        return Err(AppError::NotFound(Some("no restore waits to be confirmed".into())));
    };
    let mut destinations = Map::new();
    for forecast in plan.destinations {
        let mut shown = json!({
            "would_create": [], "would_overwrite": [], "would_remove": [], "would_leave": [], "refused": [],
            "unknown": [], "truncated": forecast.truncated,
        });
        for entry in &forecast.entries {
            let (list, reason) = match &entry.forecast {
                Forecast::Create => ("would_create", None),
                Forecast::Overwrite => ("would_overwrite", None),
                Forecast::Remove => ("would_remove", None),
                Forecast::Leave => ("would_leave", None),
                Forecast::Refuse(why) => ("refused", Some(why)),
                Forecast::Unknown(why) => ("unknown", Some(why)),
            };
            if let Some(list) = shown[list].as_array_mut() {
                list.push(shown_entry(entry, reason));
            }
        }
        destinations.insert(forecast.key.to_string(), shown);
    }
    let mut data = json!({ "destinations": destinations });
    put_paused(&mut data, &plan.restored);
    Ok(Reply::serialized(SYSTEM, &data).warn_of_unknown(fields.unknown()))
}

/// `POST sys/sync/restore-plan/confirm`.
pub(super) async fn confirm(engine: &Engine, request: &Request) -> Result<Reply, AppError> {
    let fields = Fields::of(request)?;
    if engine.unconfirmed_restore().await?.is_none() {
        return Err(AppError::invalid("no restore waits to be confirmed"));
    }
    engine.confirm_restore().await?;
    Ok(Reply::object(SYSTEM, |o| {
        o.put("confirmed", &true);
    })
    .warn_of_unknown(fields.unknown()))
}

fn shown_entry(entry: &Foreseen, reason: Option<&String>) -> Value {
    let mut shown = json!({
        "external_name": entry.name.as_str(), "mount": entry.mount, "secret_name": entry.path.as_str(),
    });
    if let Some(key) = &entry.sub_key {
        shown["sub_key"] = json!(key);
    }
    if let Some(reason) = reason {
        shown["reason"] = json!(reason);
    }
    shown
}
