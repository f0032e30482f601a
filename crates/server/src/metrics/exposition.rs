//! From what the crate prints (OpenMetrics) to what `sys/metrics` answers: Prometheus' text format 0.0.4, as
//! Vault's, and the JSON that Vault answers by default.

use std::{collections::BTreeMap, fmt::Write as _};

use model::Timestamp;
use serde::Serialize;

use crate::app::json::{self, Json};

/// The media type of the text, as Vault says it.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics in the older text form. There a counter is called the same in its description and in its
/// samples: with `_total` for ours, without for Vault's, as Vault prints them.
pub(crate) fn text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // The description of a counter comes before its type is told.
    let mut help = None;
    let mut counter = false;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = Some(described);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "untyped"));
            counter = kind == "counter";
            let total = if counter && !name.starts_with("vault_") { "_total" } else { "" };
            let words = help.take().and_then(|help| help.split_once(' ')).map_or("", |(_, words)| words);
            let _ = writeln!(out, "# HELP {name}{total} {words}\n# TYPE {name}{total} {kind}");
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            let name = match name.strip_suffix("_total") {
                Some(bare) if counter && name.starts_with("vault_") => bare,
                _ => name,
            };
            let _ = writeln!(out, "{name}{rest}");
        }
    }
    out
}

/// One sample of the text.
struct Sample<'t> {
    name: &'t str,
    labels: BTreeMap<&'t str, String>,
    value: &'t str,
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        escaped => value.push(escaped),
                    },
                    (at, '"') => break at,
                    (_, plain) => value.push(plain),
                }
            };
            labels.insert(label, value);
            rest = &after[end + 1..];
        }
        rest = &rest[1..];
    }
    Some(Sample { name, labels, value: rest.trim() })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Gauge<'t> {
    name: &'t str,
    value: f64,
    labels: BTreeMap<&'t str, String>,
}

/// What Vault tells of counters and samples, as far as it is known of the whole time since the start.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Aggregate<'t> {
    name: &'t str,
    count: u64,
    sum: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    labels: BTreeMap<&'t str, String>,
}

/// The same as JSON. `dotted` gives the name under which Vault's JSON knows a metric.
pub(crate) fn json<'t>(text: &'t str, now: Timestamp, dotted: impl Fn(&'t str) -> &'t str) -> Json {
    let (mut gauges, mut counters, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    let mut typed = ("", "");
    // A histogram's sum comes before its count.
    let mut sum = 0.0;
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            typed = header.split_once(' ').unwrap_or_default();
        }
        let Some(Sample { name, labels, value }) = (!line.starts_with('#')).then(|| sample(line)).flatten()
        else {
            continue;
        };
        let number: f64 = value.parse().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = number as u64;
        match typed {
            (_, "gauge") => gauges.push(Gauge { name: dotted(name), value: number, labels }),
            (_, "counter") => {
                counters.push(Aggregate { name: dotted(name), count, sum: number, mean: None, labels });
            }
            (base, "histogram") => match name.strip_prefix(base) {
                Some("_sum") => sum = number,
                Some("_count") => {
                    let mean = (count > 0).then(|| sum / number);
                    samples.push(Aggregate { name: dotted(base), count, sum, mean, labels });
                }
                _ => {}
            },
            _ => {}
        }
    }
    // As Go prints a time.
    let time = now.to_string().replace('T', " ").replace('Z', " +0000 UTC");
    json::object(|o| {
        o.put("Timestamp", &time)
            .put("Gauges", &gauges)
            .put("Points", &[(); 0])
            .put("Counters", &counters)
            .put("Samples", &samples);
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const PRINTED: &str = "\
# HELP vault_core_unsealed Whether it is open.
# TYPE vault_core_unsealed gauge
vault_core_unsealed 1
# HELP vault_token_creation Tokens made.
# TYPE vault_token_creation counter
vault_token_creation_total{token_type=\"service\"} 3
# HELP keyferry_calls Calls.
# TYPE keyferry_calls counter
keyferry_calls_total{destination=\"a\\\"b\\\\c\",code=\"x\"} 2
# HELP vault_core_handle_request Time, ms.
# TYPE vault_core_handle_request histogram
vault_core_handle_request_sum 4.5
vault_core_handle_request_count 3
vault_core_handle_request_bucket{le=\"1.0\"} 2
vault_core_handle_request_bucket{le=\"+Inf\"} 3
# EOF
";

    #[test]
    fn counters_are_called_as_prometheus_and_vault_call_them() {
        let text = text(PRINTED);
        for line in [
            "# TYPE vault_token_creation counter",
            "vault_token_creation{token_type=\"service\"} 3",
            "# HELP keyferry_calls_total Calls.",
            "# TYPE keyferry_calls_total counter",
            "keyferry_calls_total{destination=\"a\\\"b\\\\c\",code=\"x\"} 2",
            "vault_core_handle_request_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn the_same_is_told_as_json() {
        let text = text(PRINTED);
        let dotted = |name| if name == "vault_core_unsealed" { "vault.core.unsealed" } else { name };
        let told: Value =
            serde_json::from_slice(&json(&text, Timestamp::from_secs(1_700_000_000), dotted)).unwrap();
        assert_eq!(told["Timestamp"], "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(
            told["Gauges"],
            serde_json::json!([{"Name": "vault.core.unsealed", "Value": 1.0, "Labels": {}}])
        );
        assert_eq!(told["Counters"][1]["Labels"]["destination"], "a\"b\\c");
        assert_eq!(told["Counters"][0]["Count"], 3);
        let handled = &told["Samples"][0];
        assert_eq!((&handled["Count"], &handled["Mean"]), (&3.into(), &1.5.into()));
        assert_eq!(told["Points"], serde_json::json!([]));
    }
}
