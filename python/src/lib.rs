//! The extension module `unistream._native`: the core's types with Python's manners. What needs no speed and no
//! lock (typing, printing) is written in Python, in the package around it.
#![deny(unsafe_code)]

mod aws;
mod bell;
mod buffer;
mod channel;
mod cli;
mod dead_letter;
mod delivery;
mod error;
mod event;
mod extras;
mod http;
mod intake;
mod json;
mod judge;
mod kafka;
mod metrics;
mod options;
mod parts;
mod payload;
mod producer;
mod record;
mod registry;
mod report;
mod sink;
mod sync;
mod text;
mod time;

use pyo3::prelude::*;

// Every class is frozen over a core type that is Send and Sync, so the module needs no GIL.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::aws::{CloudWatchLogsSink, KinesisSink};
    #[pymodule_export]
    use crate::buffer::Buffer;
    #[pymodule_export]
    use crate::channel::{Channel, Job};
    #[pymodule_export]
    use crate::cli::cli;
    #[pymodule_export]
    use crate::dead_letter::{DeadLetter, DeadLetters, DeadRecord};
    #[pymodule_export]
    use crate::delivery::Reporting;
    #[pymodule_export]
    use crate::event::Events;
    #[pymodule_export]
    use crate::http::HttpSink;
    #[pymodule_export]
    use crate::intake::Intake;
    #[pymodule_export]
    use crate::kafka::KafkaSink;
    #[pymodule_export]
    use crate::metrics::metrics;
    #[pymodule_export]
    use crate::options::options;
    #[pymodule_export]
    use crate::parts::Opener;
    #[pymodule_export]
    use crate::payload::encode;
    #[pymodule_export]
    use crate::producer::Producer;
    #[pymodule_export]
    use crate::record::{Batch, Record};
    #[pymodule_export]
    use crate::registry::{open_sink, register_sink, set_sink_finder, sink_kinds, sink_options};
    #[pymodule_export]
    use crate::report::Report;
    #[pymodule_export]
    use crate::sink::{FileSink, NativeSink, NullSink};

    /// The most seconds that a sink's wish not to be tried is kept.
    #[pymodule_export]
    const MAX_WAIT: f64 = unistream::limits::MAX_WAIT.as_secs() as f64;

    /// The version of the crate, which is the package's.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
