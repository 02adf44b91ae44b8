//! Batches and records as Python sees them. A record's bytes stay in the log's mapping until they are asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice, PyString, PyTuple};

use crate::error::raise;
use crate::text;
use crate::time;

fn forked(py: Python<'_>) -> PyErr {
    let message = "this process is a fork of the one that took the batch; records are the parent's to read";
    raise(py, unistream::Error::new(unistream::ErrorKind::Forked, message))
}

/// A batch: a sequence of records on its way to a sink.
///
/// Its id and contents stay the same across retries and restarts, so that a target can deduplicate. Records that the
/// sink has already taken are no longer in it when it comes again. Immutable, safe to share between threads, and
/// readable for as long as it is referenced, by the process that has taken it: a forked child gets `Forked`.
#[pyclass(frozen, sequence, module = "unistream._native")]
pub(crate) struct Batch {
    pub(crate) core: unistream::Batch,
    /// What the program kept with it in manual mode.
    pub(crate) memo: OnceLock<Vec<u8>>,
}

impl Batch {
    pub(crate) fn new(batch: &unistream::Batch) -> Self {
        Batch { core: batch.clone(), memo: OnceLock::new() }
    }

    /// An error in a forked child, where nothing of the batch is to be seen.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.core.is_forked() { Err(forked(py)) } else { Ok(()) }
    }

    fn record<'py>(slf: &Bound<'py, Self>, index: usize) -> PyResult<Bound<'py, Record>> {
        Bound::new(slf.py(), Record { batch: slf.clone().unbind(), index })
    }
}

#[pymethods]
impl Batch {
    /// The id: unique, and the same across retries and restarts.
    #[getter]
    fn id(&self) -> String {
        self.core.id()
    }

    /// The number of this attempt, counting those that count, from 1.
    #[getter]
    fn attempt(&self) -> u32 {
        self.core.attempt()
    }

    /// What the sink's `prepare` kept with it before the first attempt, or `keep_memo` in manual mode, across restarts; `None`
    /// if nothing was kept.
    #[getter]
    fn memo<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let memo = self.core.memo().or_else(|| self.memo.get().map(Vec::as_slice));
        memo.map(|memo| PyBytes::new(py, memo))
    }

    /// Whether somebody waits for what the sink has to say of a record that it takes, see `Report.receipt`.
    #[getter]
    fn wants_receipts(&self) -> bool {
        self.core.wants_receipts()
    }

    /// The seq of the first record that the batch was sealed with.
    #[getter]
    fn first_seq(&self) -> u64 {
        self.core.first_seq()
    }

    /// The seq of the last record that the batch was sealed with.
    #[getter]
    fn last_seq(&self) -> u64 {
        self.core.last_seq()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.check(py)?;
        Ok(self.core.len())
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Records> {
        slf.get().check(slf.py())?;
        Ok(Records { batch: slf.unbind(), next: AtomicUsize::new(0) })
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().check(py)?;
        let len = slf.get().core.len();
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slice.indices(len as isize)?;
            let record = |nth| Batch::record(slf, (range.start + nth as isize * range.step) as usize);
            let records = (0..range.slicelength).map(record).collect::<PyResult<Vec<_>>>()?;
            return Ok(PyList::new(py, records)?.into_any());
        }
        let index: isize = index.extract()?;
        let place = if index < 0 { index + len as isize } else { index };
        match usize::try_from(place) {
            Ok(place) if place < len => Ok(Batch::record(slf, place)?.into_any()),
            _ => Err(PyIndexError::new_err("batch index out of range")),
        }
    }

    fn __repr__(&self) -> String {
        format!("<Batch {} of {} records, attempt {}>", self.core.id(), self.core.len(), self.core.attempt())
    }
}

/// The records of a batch, one after the other.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Records {
    batch: Py<Batch>,
    next: AtomicUsize,
}

#[pymethods]
impl Records {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        self.batch.get().check(py)?;
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        Ok((index < self.batch.get().core.len()).then(|| Record { batch: self.batch.clone_ref(py), index }))
    }

    fn __repr__(&self) -> String {
        format!("<Records of batch {}>", self.batch.get().core.id())
    }
}

/// A record of a batch.
///
/// It supports the buffer protocol: `memoryview(record)`, `file.write(record)` and `b"".join(batch)` read the payload
/// where it lies in the log, without a copy. Immutable and safe to share between threads.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Record {
    batch: Py<Batch>,
    index: usize,
}

impl Record {
    fn core(&self, py: Python<'_>) -> PyResult<unistream::Record<'_>> {
        // A record is only made for an index of its batch, which has none in a forked child.
        self.batch.get().core.get(self.index).ok_or_else(|| forked(py))
    }
}

#[pymethods]
impl Record {
    /// The sequence number: it rises with every record of the buffer and is never used again.
    #[getter]
    fn seq(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core(py)?.seq)
    }

    /// The id that was put, else the buffer's id and the seq.
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.core(py)?.id().into_owned())
    }

    /// The partition key, if one was put.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.core(py)?.key.map(|key| PyBytes::new(py, key)))
    }

    /// When it was put, or the time that was put with it: an aware `datetime` in UTC. Never raises: a time in an old
    /// log that no `datetime` holds is the nearest one.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        time::from_micros(py, self.core(py)?.created_at)
    }

    /// The headers that were put: pairs of name and value, in order.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let headers = self.core(py)?.headers;
        PyTuple::new(py, headers.iter().map(|(name, value)| (name, PyBytes::new(py, value))).collect::<Vec<_>>())
    }

    /// Where within the sink, if that was put.
    #[getter]
    fn topic(&self, py: Python<'_>) -> PyResult<Option<&str>> {
        Ok(self.core(py)?.topic)
    }

    /// From when on it is of no use to anybody, an aware `datetime` in UTC; `None`: always of use.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.core(py)?.expires_at.map(|micros| time::from_micros(py, micros)).transpose()
    }

    /// The payload, copied.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.core(py)?.data))
    }

    /// The payload where it lies, read-only. It keeps the batch readable for as long as it lives. In a forked child a
    /// view from before the fork is memory without the payload.
    #[getter]
    fn view<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf)
    }

    /// The payload as text. Raises `UnicodeDecodeError` if it is not UTF-8.
    #[getter]
    fn text<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyString>> {
        let py = slf.py();
        match std::str::from_utf8(slf.get().core(py)?.data) {
            Ok(text) => Ok(PyString::new(py, text)),
            Err(_) => Ok(slf.get().data(py)?.call_method0("decode")?.cast_into()?),
        }
    }

    /// The payload read as JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        LOADS.import(py, "json", "loads")?.call1((self.data(py)?,))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.data(py)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.core(py)?.data.len())
    }

    fn __repr__(&self) -> String {
        match self.batch.get().core.get(self.index) {
            Some(record) => {
                let id = text::shown(&record.id());
                format!("<Record {} ({id}), {} bytes>", record.seq, record.data.len())
            }
            None => "<Record of the parent process>".into(),
        }
    }

    /// The buffer protocol is pointers: the one place of this crate that needs `unsafe`.
    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: std::ffi::c_int) -> PyResult<()> {
        let data = slf.get().core(slf.py())?.data;
        // SAFETY: `view` is the caller's, as the protocol has it. The bytes live in the batch, which the record
        // holds and which is never changed; PyBuffer_FillInfo takes a reference to the record for the view's life.
        // The view is read-only.
        let result = unsafe {
            let (start, len) = (data.as_ptr().cast_mut().cast(), data.len() as ffi::Py_ssize_t);
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 1, flags)
        };
        if result == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
