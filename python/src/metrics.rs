//! What the counters of a producer are, for those who export them.

use pyo3::prelude::*;
use unistream::{Metric, Stats};

/// Each counter's name, kind and documentation.
#[pyfunction]
pub(crate) fn metrics() -> Vec<(&'static str, &'static str, &'static str)> {
    let kind = |metric| match metric {
        Metric::Counter => "counter",
        Metric::Time => "time",
        Metric::Milliseconds => "milliseconds",
        Metric::Rate => "rate",
        Metric::Bucket(_) => "bucket",
        Metric::BucketSum => "sum",
        _ => "gauge",
    };
    Stats::default().metrics().map(|(name, _, metric, doc)| (name, kind(metric), doc)).collect()
}
