//! Looking at a buffer's directory without owning it: what the command line shows.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::OrRaise;
use crate::time;

/// A read-only look at a buffer's directory; a live producer in any process is not disturbed.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Inspection {
    core: unistream::Inspection,
}

#[pymethods]
impl Inspection {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let core = py.detach(|| unistream::Inspection::open(path)).or_raise(py)?;
        Ok(Inspection { core })
    }

    /// What is there, counted.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.core.stats()).or_raise(py)?;
        let dict = PyDict::new(py);
        dict.set_item("buffer_id", stats.buffer_id)?;
        dict.set_item("owner_pid", stats.owner_pid)?;
        dict.set_item("pending_records", stats.pending_records)?;
        dict.set_item("pending_bytes", stats.pending_bytes)?;
        dict.set_item("segments", stats.segments)?;
        dict.set_item("buffer_bytes", stats.buffer_bytes)?;
        dict.set_item("next_seq", stats.next_seq)?;
        dict.set_item("head_attempts", stats.head_attempts)?;
        dict.set_item("head_failures", stats.head_failures)?;
        let first = Some(stats.head_since).filter(|first| *first != 0);
        dict.set_item("head_since", first.map(unistream::time::timestamp))?;
        dict.set_item("last_errors", stats.last_errors)?;
        dict.set_item("corrupt_regions", stats.corrupt_regions)?;
        dict.set_item("corrupt_bytes", stats.corrupt_bytes)?;
        dict.set_item("lost_records", stats.lost_records)?;
        dict.set_item("set_aside_files", stats.set_aside_files)?;
        Ok(dict)
    }

    /// Calls `each(seq, id, key, created_at, data)` for every record from `first_seq` on that is not finished, in put
    /// order, until it returns `False`.
    #[pyo3(signature = (each, first_seq = 0))]
    fn for_each(&self, py: Python<'_>, each: &Bound<'_, PyAny>, first_seq: u64) -> PyResult<()> {
        let mut failure = None;
        let each = each.clone().unbind();
        let call = |py: Python<'_>, record: unistream::Record<'_>| -> PyResult<bool> {
            py.check_signals()?;
            if record.seq < first_seq {
                return Ok(true);
            }
            let key = record.key.map(|key| PyBytes::new(py, key));
            let created_at = time::from_micros(py, record.created_at)?;
            let arguments = (record.seq, record.id(), key, created_at, PyBytes::new(py, record.data));
            each.bind(py).call1(arguments)?.is_truthy()
        };
        // Between two records it reads files.
        let walked = py.detach(|| {
            self.core.for_each(|record| match Python::attach(|py| call(py, record)) {
                Ok(go_on) => go_on,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            })
        });
        failure.map_or(Ok(()), Err)?;
        walked.or_raise(py)
    }

    /// Checks every record that is not finished against its checksum.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = py.detach(|| self.core.verify()).or_raise(py)?;
        let dict = PyDict::new(py);
        dict.set_item("records", found.records)?;
        dict.set_item("bytes", found.bytes)?;
        dict.set_item("lost_records", found.lost_records)?;
        dict.set_item("corrupt", found.corrupt)?;
        dict.set_item("missing", found.missing)?;
        Ok(dict)
    }
}
