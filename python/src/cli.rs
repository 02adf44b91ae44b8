//! The command line: `unistream_cli`, run by the package's entry point.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command line and returns its exit code. It takes over the process: its signals and its standard streams.
#[pyfunction]
pub(crate) fn cli(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let streams = unistream_cli::Streams::look();
    py.detach(|| unistream_cli::run(arguments, streams))
}
