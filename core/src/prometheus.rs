//! The text that Prometheus scrapes: [`text`] makes it of [`Stats`].
//!
//! Every counter of the table is a metric `unistream_...`, in seconds where it is a time or a span. The rates are left out, which
//! Prometheus makes of the counters. The format is that of its text exposition, version 0.0.4.

use std::fmt::Write as _;

use crate::stats::{Metric, State, Stats};

/// What the text's type of content is where it is served.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The histogram of the calls to the sink.
const LATENCY: &str = "unistream_sink_latency_seconds";

/// The text for producers, or slots, that are told apart by their labels.
///
/// ```
/// use unistream::{Stats, prometheus};
/// let text = prometheus::text(&[(&[("path", "outbox")], &Stats::default())]);
/// assert!(text.contains("\nunistream_put_records_total{path=\"outbox\"} 0\n"));
/// ```
pub fn text(all: &[(&[(&str, &str)], &Stats)]) -> String {
    let mut text = String::new();
    let labels: Vec<String> = all.iter().map(|(labels, _)| written(labels)).collect();
    let values: Vec<Vec<u64>> =
        all.iter().map(|(_, stats)| stats.counters().map(|(_, value, _)| value).collect()).collect();
    let mut last = String::new();
    for (at, (name, _, metric, doc)) in Stats::default().metrics().enumerate() {
        let Some(Family { family, sample, kind, bound }) = Family::of(name, metric) else { continue };
        if family != last {
            let help = if family == LATENCY { "How long calls to the sink took, whatever the answer." } else { doc };
            head(&mut text, &family, kind, help);
            last = family;
        }
        for (labels, values) in labels.iter().zip(&values) {
            let bound = bound.as_ref().map(|bound| format!("le=\"{bound}\"")).unwrap_or_default();
            let comma = if labels.is_empty() || bound.is_empty() { "" } else { "," };
            line(&mut text, &sample, &format!("{labels}{comma}{bound}"), shown(metric, values[at]));
            if metric == Metric::Bucket(u64::MAX) {
                line(&mut text, &format!("{LATENCY}_count"), labels, values[at].to_string());
            }
        }
    }
    head(&mut text, "unistream_state", "gauge", "What the producer is doing: 1 for that, 0 for the others.");
    for (labels, (_, stats)) in labels.iter().zip(all) {
        for state in State::ALL {
            let comma = if labels.is_empty() { "" } else { "," };
            let labels = format!("{labels}{comma}state=\"{}\"", state.name());
            line(&mut text, "unistream_state", &labels, u8::from(stats.state == state).to_string());
        }
    }
    text
}

/// How a counter is named.
struct Family {
    family: String,
    /// The name of its lines.
    sample: String,
    kind: &'static str,
    /// Of a bucket.
    bound: Option<String>,
}

impl Family {
    fn of(name: &str, metric: Metric) -> Option<Family> {
        let (family, kind) = match metric {
            Metric::Rate => return None,
            Metric::Counter => (format!("unistream_{name}_total"), "counter"),
            Metric::Gauge => (format!("unistream_{name}"), "gauge"),
            Metric::Time => (format!("unistream_{name}_timestamp_seconds"), "gauge"),
            Metric::Milliseconds => {
                (format!("unistream_{}_seconds", name.strip_suffix("_ms").unwrap_or(name)), "gauge")
            }
            Metric::Bucket(_) | Metric::BucketSum => (LATENCY.to_owned(), "histogram"),
        };
        let (sample, bound) = match metric {
            Metric::Bucket(u64::MAX) => (format!("{LATENCY}_bucket"), Some("+Inf".into())),
            Metric::Bucket(most) => (format!("{LATENCY}_bucket"), Some((most as f64 / 1e3).to_string())),
            Metric::BucketSum => (format!("{LATENCY}_sum"), None),
            _ => (family.clone(), None),
        };
        Some(Family { family, sample, kind, bound })
    }
}

fn shown(metric: Metric, value: u64) -> String {
    match metric {
        Metric::Time | Metric::BucketSum => (value as f64 / 1e6).to_string(),
        Metric::Milliseconds => (value as f64 / 1e3).to_string(),
        _ => value.to_string(),
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",")
}

fn head(text: &mut String, family: &str, kind: &str, help: &str) {
    let help = help.replace('`', "");
    let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: String) {
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        _ => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_stands_once_with_all_its_lines() {
        let mut stats =
            Stats { put_records: 3, oldest_age_ms: 1500, last_success: 1_764_426_000_500_000, ..Stats::default() };
        (stats.sink_calls_10_s, stats.sink_calls, stats.sink_micros) = (1, 2, 2_500_000);
        (stats.state, stats.put_records_per_second) = (State::OnHold, 9);
        let other = Stats::default();
        let text = text(&[(&[("path", "a\"\\\n")], &stats), (&[], &other)]);
        for expected in [
            "# TYPE unistream_put_records_total counter\nunistream_put_records_total{path=\"a\\\"\\\\\\n\"} 3\nunistream_put_records_total 0\n",
            "unistream_oldest_age_seconds{path=\"a\\\"\\\\\\n\"} 1.5\n",
            "unistream_last_success_timestamp_seconds{path=\"a\\\"\\\\\\n\"} 1764426000.5\n",
            ",le=\"0.001\"} 0\n",
            ",le=\"10\"} 1\n",
            ",le=\"+Inf\"} 2\n",
            "unistream_sink_latency_seconds_count{path=\"a\\\"\\\\\\n\"} 2\nunistream_sink_latency_seconds_bucket{le=\"+Inf\"} 0\n",
            "unistream_sink_latency_seconds_sum{path=\"a\\\"\\\\\\n\"} 2.5\n",
            ",state=\"on_hold\"} 1\n",
            "unistream_state{state=\"running\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("per_second") && !text.contains('`'));
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut once = heads.clone();
        once.dedup();
        assert_eq!(heads, once);
        assert_eq!(heads.len(), Stats::default().counters().count() - 4 - 12 + 1);
    }
}
