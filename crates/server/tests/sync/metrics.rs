//! What `sys/metrics` tells of deliveries.

use std::time::Duration;

use destinations::{Fault, in_mem::Step};
use serde_json::{Value, json};

use crate::{DESTINATION, SECRET, bench::Bench, source, synced};

/// The metrics of one sort (`Gauges`, `Counters`, `Samples`) and name: their labels and value or count.
async fn all(bench: &Bench, sort: &str, name: &str) -> Vec<(Value, f64)> {
    let told = bench.get("sys/metrics").await;
    assert_eq!(told.status, 200, "{told:?}");
    let all = told.body[sort].as_array().unwrap().iter().filter(|one| one["Name"] == name);
    all.map(|one| (one["Labels"].clone(), one["Value"].as_f64().or(one["Count"].as_f64()).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_counted_and_what_is_behind_is_told() {
    let bench = synced().await;
    bench.becomes(DESTINATION, "SYNCED").await;
    let written = json!({ "destination_type": "in-mem", "act": "written" });
    assert_eq!(all(&bench, "Counters", "keyferry.sync.deliveries").await, [(written, 1.0)]);
    let calls = all(&bench, "Counters", "keyferry.provider.calls").await;
    assert!(calls.iter().any(|(labels, _)| labels["outcome"] == "done"), "{calls:?}");
    let kind = json!({ "destination_type": "in-mem" });
    let propagation = all(&bench, "Samples", "keyferry.sync.propagation.seconds").await;
    assert_eq!(propagation, [(kind.clone(), 1.0)]);
    let name = json!({ "destination": "in-mem/my-store-1" });
    // Later than any survey lasts.
    tokio::time::sleep(Duration::from_secs(20)).await;
    for (metric, labels, value) in [
        ("vault.secrets-sync.destinations.count", &kind, 1.0),
        ("vault.secrets-sync.associations.count", &kind, 1.0),
        ("keyferry.sync.queue.depth", &name, 0.0),
        ("keyferry.sync.oldest_undelivered.seconds", &name, 0.0),
        ("keyferry.sync.held_removals", &name, 0.0),
    ] {
        assert_eq!(all(&bench, "Gauges", metric).await, [(labels.clone(), value)], "{metric}");
    }
    let remove = format!("{DESTINATION}/associations/remove");
    bench.post(&remove, source("my-secret-1")).await.ok();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 204);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(all(&bench, "Gauges", "keyferry.sync.queue.depth").await, [], "nobody names what is gone");
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_destination_and_stable_code_and_age_while_they_last() {
    let bench = synced().await;
    bench.becomes(DESTINATION, "SYNCED").await;
    let down = || Step::Fail(Fault::external("unavailable", "the service is down").status(503));
    bench.space().script(std::iter::repeat_with(down).take(200));
    bench.raw("POST", "my-kv/data/my-secret-1", &SECRET.replace("app", "two")).await.ok();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let name = json!({ "destination": "in-mem/my-store-1" });
    let errors = all(&bench, "Counters", "keyferry.sync.errors").await;
    let labels = json!({ "destination": "in-mem/my-store-1", "code": "unavailable" });
    assert_eq!(errors[0].0, labels);
    assert!(errors[0].1 >= 2.0, "{errors:?}");
    let retries = all(&bench, "Counters", "keyferry.sync.retries").await;
    assert_eq!(retries, [(name.clone(), errors[0].1 - 1.0)]);
    for metric in ["keyferry.sync.queue.depth", "keyferry.sync.failed_associations"] {
        assert_eq!(all(&bench, "Gauges", metric).await, [(name.clone(), 1.0)], "{metric}");
    }
    let age = all(&bench, "Gauges", "keyferry.sync.oldest_undelivered.seconds").await[0].1;
    assert!((119.0..140.0).contains(&age), "{age}");
    let text = bench.get("sys/metrics").await.body.to_string();
    assert!(!text.contains("my-secret-1") && !text.contains("canary"), "{text}");
}
