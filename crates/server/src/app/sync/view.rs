//! Destinations and associations as clients see them.

use std::collections::BTreeMap;

use destinations::fields_of;
use engine::{BoundBy, DestinationView, EntryView};
use model::DestinationKey;
use serde_json::{Map, Value, json};

use super::{Reply, SYSTEM, SyncApi};

impl SyncApi {
    /// A destination as clients see it (vault-sync-api.md 3.3).
    pub(super) fn shown(&self, view: &DestinationView) -> Value {
        let mut options = Map::new();
        let mut details = Map::new();
        let kind = self.engine.kinds().iter().find(|kind| kind.slug() == view.key.kind);
        if let Some(shared) = kind.and_then(|kind| kind.shared())
            && let Some(name) = view.settings.get(shared.named_by)
        {
            // Nested, as the documentation has it, beside the flat form that the Terraform provider reads.
            details.insert(shared.shown_in.to_owned(), json!({ shared.named_by: name }));
        }
        for (name, value) in &view.settings {
            let is_option =
                kind.is_some_and(|kind| fields_of(*kind).any(|field| field.name == name && field.option));
            if is_option { &mut options } else { &mut details }.insert(name.clone(), value.clone());
        }
        options.entry("custom_tags").or_insert_with(|| json!({}));
        // Refresh reads one name, the read after a write the other (vault-sync-api.md 3.3).
        options.insert("granularity_level".into(), json!(view.granularity.as_str()));
        options.insert("granularity".into(), json!(view.granularity.as_str()));
        options.insert("secret_name_template".into(), json!(view.template));
        let mut shown = Map::from_iter([
            ("connection_details".to_owned(), Value::Object(details)),
            ("name".to_owned(), json!(view.key.name.as_str())),
            ("type".to_owned(), json!(view.key.kind)),
            ("options".to_owned(), Value::Object(options)),
        ]);
        if let Some(purge) = &view.purge {
            shown.insert("purge_initiated_at".into(), json!(purge.initiated.to_string()));
            if let Some(error) = &purge.error {
                shown.insert("purge_error".into(), json!(error));
            }
        }
        let backlog = &view.backlog;
        shown.insert(
            "backlog".into(),
            json!({
                "pending": backlog.pending,
                // Rounded up: at zero it is done.
                "eta_seconds": backlog.eta.map(|eta| eta.as_secs() + u64::from(eta.subsec_nanos() > 0)),
                "bound_by": backlog.bound_by.map(BoundBy::as_str),
            }),
        );
        if let Some(since) = view.mass_delete_held {
            shown.insert("mass_delete_held_at".into(), json!(since.to_string()));
        }
        Value::Object(shown)
    }
}

pub(super) fn associated(key: &DestinationKey, views: &[EntryView], counters: bool) -> Reply {
    Reply::serialized(SYSTEM, &associated_data(key, views, counters))
}

/// `associated_secrets`, keyed by accessor, secret and, if there is one, sub-key.
pub(super) fn associated_data(key: &DestinationKey, views: &[EntryView], with_counters: bool) -> Value {
    let secrets: Map<String, Value> = views
        .iter()
        .map(|view| {
            let mut entry = status_of(view);
            entry.insert("accessor".into(), json!(view.accessor.as_str()));
            entry.insert("secret_name".into(), json!(view.path.as_str()));
            entry.insert("mount".into(), json!(view.mount));
            if let Some(rule) = &view.rule {
                entry.insert("rule".into(), json!(rule));
            }
            let sub_key = view.sub_key.as_ref().map(|key| format!("/{key}")).unwrap_or_default();
            (format!("{}/{}{sub_key}", view.accessor, view.path), Value::Object(entry))
        })
        .collect();
    let mut data = json!({
        "associated_secrets": secrets, "store_name": key.name.as_str(), "store_type": key.kind,
    });
    if with_counters {
        data["sync_operation_counters"] = counters(views);
    }
    data
}

/// How many entries have which status.
pub(super) fn counters(views: &[EntryView]) -> Value {
    let mut counts = BTreeMap::<&str, usize>::new();
    for view in views {
        *counts.entry(view.status.as_str()).or_default() += 1;
    }
    json!(counts)
}

/// What every form of an association entry tells.
pub(super) fn status_of(view: &EntryView) -> Map<String, Value> {
    let mut entry = Map::from_iter([
        ("sync_status".to_owned(), json!(view.status.as_str())),
        ("updated_at".to_owned(), json!(view.updated_at.to_string())),
    ]);
    if let Some(sub_key) = &view.sub_key {
        entry.insert("sub_key".into(), json!(sub_key));
    }
    if let Some(name) = &view.external_name {
        entry.insert("external_name".into(), json!(name.as_str()));
    }
    if view.unverified {
        entry.insert("ownership".into(), json!("unverified"));
    }
    if let Some(failure) = &view.failure {
        entry.insert("error_code".into(), json!(failure.code));
        entry.insert("error_message".into(), json!(failure.message));
        entry.insert("error_at".into(), json!(failure.at.to_string()));
        entry.insert("retry_at".into(), json!(failure.retry_at.map(|at| at.to_string())));
        entry.insert("attempts".into(), json!(view.attempts));
    }
    entry
}
