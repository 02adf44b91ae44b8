//! `_native.Buffer`: the durable FIFO alone.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use unistream::{Inspection, Limits, Record};

use crate::error::OrRaise;
use crate::extras::Extras;
use crate::options;
use crate::payload::Encoder;
use crate::record::Batch;
use crate::text;

#[pyclass(frozen, subclass, module = "unistream._native")]
pub(crate) struct Buffer {
    /// Taken out only by drop.
    core: Option<unistream::Buffer>,
    path: PathBuf,
    encoder: Encoder,
}

#[pymethods]
impl Buffer {
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        default: Option<Py<PyAny>>,
        serializer: Option<Py<PyAny>>,
        keywords: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let encoder = Encoder::new(default, serializer)?;
        let options = options::from_dict(keywords)?;
        let core = py.detach(|| unistream::Buffer::open(&path, options, Limits::default())).or_raise(py)?;
        Ok(Buffer { core: Some(core), path, encoder })
    }

    /// Puts a record, as `Producer.put` does; returns its seq.
    #[pyo3(signature = (
        data, *, id = None, key = None, created_at = None, headers = None, topic = None, expires_at = None, max_age = None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn put<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'py, PyAny>>,
        created_at: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        topic: Option<&str>,
        expires_at: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<u64> {
        let py = data.py();
        let extras = Extras { id, key, created_at, headers, topic, expires_at, max_age };
        extras.with(data, &self.encoder, |record| py.detach(|| self.core().put(record)).or_raise(py))
    }

    /// Whether a batch is there: one that is full, or old enough.
    fn should_emit(&self, py: Python<'_>) -> bool {
        py.detach(|| self.core().should_emit())
    }

    /// The oldest batch, the same again until it is committed; `None` if none is full or old enough.
    fn emit(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let batch = py.detach(|| self.core().emit()).or_raise(py)?;
        Ok(batch.as_ref().map(Batch::new))
    }

    /// Forgets the batch: its records are finished.
    fn commit(&self, py: Python<'_>, batch: &Bound<'_, Batch>) -> PyResult<()> {
        let batch = batch.get();
        py.detach(|| self.core().commit(&batch.core)).or_raise(py)
    }

    /// Makes a batch of what was put though it is not full; `False` if there was nothing.
    fn seal(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.core().seal()).or_raise(py)
    }

    /// Records in the batch being filled, and their bytes.
    #[getter]
    fn filling(&self, py: Python<'_>) -> (u64, u64) {
        py.detach(|| self.core().filling())
    }

    /// Makes every record put so far survive power loss.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.core().sync()).or_raise(py)
    }

    /// Closes it; what is in it stays on disk. Idempotent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.core().close()).or_raise(py)
    }

    /// How many records are neither committed nor set aside.
    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.core().len()) as usize
    }

    /// The seqs of the first and the last record of each batch that is sealed and not committed, oldest first. Reads the log.
    fn _batches(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64)>> {
        py.detach(|| Inspection::open(&self.path)?.batches()).or_raise(py)
    }

    /// The payloads of the records from seq `first` to `last` that are not committed. Reads the log from its beginning.
    fn _payloads<'py>(&self, py: Python<'py>, first: u64, last: u64) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let mut payloads = Vec::new();
        let read = |record: Record<'_>| {
            if record.seq >= first && record.seq <= last {
                payloads.push(record.data.to_vec());
            }
            record.seq < last
        };
        py.detach(|| Inspection::open(&self.path)?.for_each(read)).or_raise(py)?;
        Ok(payloads.iter().map(|payload| PyBytes::new(py, payload)).collect())
    }

    /// A buffer without records is still a buffer.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let records = py.detach(|| self.core().len());
        format!("<Buffer {} of {records} records>", text::shown(&self.path.display().to_string()))
    }
}

impl Buffer {
    fn core(&self) -> &unistream::Buffer {
        self.core.as_ref().expect("the core is taken out only by drop")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Closing syncs, and other threads run meanwhile. No interpreter, nobody who waits.
        let mut core = self.core.take();
        if Python::try_attach(|py| py.detach(|| drop(core.take()))).is_none() {
            drop(core);
        }
    }
}
