//! `docs/monitoring.md` has its table of metrics from [`CATALOGUE`], and what the examples beside it name
//! exists. `KEYFERRY_BLESS=1 cargo test -p server monitoring` rewrites the table.

use std::{fmt::Write as _, path::Path};

use super::{CATALOGUE, Sort};

const BEGIN: &str = "<!-- Printed from the code: KEYFERRY_BLESS=1 cargo test -p server monitoring -->\n";
const END: &str = "<!-- until here -->\n";

fn docs(file: &str) -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(file)
}

fn table() -> String {
    let mut table = "\n| Metric | Sort | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for described in CATALOGUE {
        let sort = match described.sort {
            Sort::Gauge => "gauge",
            Sort::Counter => "counter",
            Sort::Histogram => "histogram",
        };
        let labels = described.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(table, "| `{}` | {sort} | {labels} | {} |", described.shown(), described.help);
    }
    table + "\n"
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer's switch, read by a test only")]
fn the_monitoring_page_lists_every_metric() {
    let path = docs("monitoring.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("KEYFERRY_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert_eq!(
        page, wanted,
        "docs/monitoring.md is out of date: KEYFERRY_BLESS=1 cargo test -p server monitoring"
    );
}

/// The words in a text that look like a metric of ours.
fn named(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| ["keyferry_", "vault_", "process_"].iter().any(|begin| word.starts_with(begin)))
        .collect()
}

fn exists(name: &str) -> bool {
    CATALOGUE.iter().any(|described| {
        let shown = described.shown();
        match described.sort {
            Sort::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(shown.as_str())),
            _ => name == shown,
        }
    })
}

#[test]
fn the_alert_rules_and_the_dashboard_of_the_monitoring_page_name_metrics_that_exist() {
    for file in ["monitoring/alerts.yml", "monitoring/grafana.json"] {
        let text = std::fs::read_to_string(docs(file)).unwrap();
        let named = named(&text);
        assert!(named.len() > 10, "{file}");
        for name in named {
            assert!(exists(name), "{file} names {name}, which does not exist");
        }
    }
    let dashboard = std::fs::read_to_string(docs("monitoring/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    assert!(!exists("keyferry_sync_queue_depth_total") && !exists("vault_core_unsealed_bucket"));
}
