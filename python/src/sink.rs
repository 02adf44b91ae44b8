//! The sinks that are part of the core, as handles.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use unistream::sink::{FileMode, FileOptions, FileSink as CoreFileSink, Framing};
use unistream::{NewRecord, SendError, Sink};

use crate::error::OrRaise;
use crate::judge::{Answer, Memo};
use crate::record::Batch;
use crate::report::Report;
use crate::sync::lock;
use crate::text;

/// A sink that is part of unistream: it works without the interpreter.
#[pyclass(frozen, subclass, module = "unistream._native")]
pub(crate) struct NativeSink {
    pub(crate) core: Arc<dyn Sink>,
    /// The process that made it: its files and connections are that one's, and none of a forked child's.
    maker: u32,
}

impl NativeSink {
    pub(crate) fn new(sink: impl Sink + 'static) -> Self {
        NativeSink::of(Arc::new(sink))
    }

    pub(crate) fn of(core: Arc<dyn Sink>) -> Self {
        NativeSink { core, maker: std::process::id() }
    }

    /// Whether this process is a fork of the one that made it.
    pub(crate) fn is_parents(&self) -> bool {
        self.maker != std::process::id()
    }

    /// A sink that a forked child can make anew.
    pub(crate) fn renewable(
        make: impl Fn() -> unistream::Result<Box<dyn Sink>> + Send + Sync + 'static,
    ) -> unistream::Result<Self> {
        Ok(NativeSink::of(unistream::sink::renewable(make)?.into()))
    }

    /// Sends a batch; an error that speaks for all of it becomes the report that says the same of each record.
    fn report(&self, py: Python<'_>, batch: &unistream::Batch) -> Report {
        let all = |error: SendError| unistream::Report::all(batch.len(), error.into_outcome());
        let report = py.detach(|| self.core.send(batch)).unwrap_or_else(all);
        Report::of_native(report, batch.len())
    }
}

#[pymethods]
impl NativeSink {
    /// The name in messages and dead letters.
    #[getter]
    fn name(&self) -> String {
        self.core.name().into_owned()
    }

    /// Sends records that no buffer holds: data, id and microseconds since the epoch of each.
    #[pyo3(name = "_send_records")]
    fn send_records(&self, py: Python<'_>, records: Vec<(Vec<u8>, String, i64)>) -> Report {
        let new = records.iter().map(|(data, id, created_at)| NewRecord::new(data).id(id).created_at(*created_at));
        self.report(py, &unistream::Batch::from_records(new))
    }

    /// Sends a batch, for a sink of your own that wraps this one; returns the report to return.
    fn send(&self, py: Python<'_>, batch: &Bound<'_, Batch>) -> Report {
        self.report(py, &batch.get().core)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("<{} {}>", slf.get_type().name()?, text::shown(&slf.get().core.name())))
    }
}

/// Calls what the program gave a native sink to ask; what that logs is left out of logs that the sink sends.
pub(crate) fn call_quietly<'py>(function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static CALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CALL.import(function.py(), "unistream._quiet", "call")?.call1((function,))
}

/// A native sink for as long as its producer is open: a closed producer that is still referenced must not keep a
/// file locked.
pub(crate) struct Lease(Mutex<Option<Arc<dyn Sink>>>);

impl Lease {
    pub(crate) fn new(sink: &NativeSink) -> Arc<Self> {
        Lease::of(sink.core.clone())
    }

    pub(crate) fn of(sink: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Lease(Mutex::new(Some(sink))))
    }

    pub(crate) fn end(&self) {
        lock(&self.0).take();
    }

    fn sink(&self) -> Option<Arc<dyn Sink>> {
        lock(&self.0).clone()
    }
}

impl Sink for Lease {
    fn prepare(&self, batch: &unistream::Batch) -> Memo {
        self.sink().map_or(Ok(None), |sink| sink.prepare(batch))
    }

    fn send(&self, batch: &unistream::Batch) -> Answer {
        self.sink().map_or_else(|| Err(SendError::unavailable("the producer is closed")), |sink| sink.send(batch))
    }

    fn limits(&self) -> unistream::Limits {
        self.sink().map(|sink| sink.limits()).unwrap_or_default()
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.sink().map_or(Ok(()), |sink| sink.admit(record))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(self.sink().map_or_else(String::new, |sink| sink.name().into_owned()))
    }

    fn interrupt(&self) {
        if let Some(sink) = self.sink() {
            sink.interrupt();
        }
    }
}

/// Appends records to a file, each exactly once, whatever dies in between, and whoever rotates it.
///
/// The path is followed: when the file is renamed, removed or truncated, the next batch goes to the file that is there
/// then. `/dev/stdout`, other devices and named pipes are written to as well, at least once.
///
/// :param path: the file; created if it does not exist. Beside it stands `<path>.unistream`, which knows what was written.
/// :param framing: `"lines"`: one record a line, line feeds in records refused at `put`; or `"length-prefixed"`: any
///     bytes, each record after its length.
/// :param sync: whether each batch is on stable storage before it counts as delivered.
/// :param mode: the permissions of a file that is created, whatever the umask, such as `0o600`; `None`: 0640 less the umask.
/// :param follow_links: whether symbolic links at the path are followed, and a file may be one that another user put there.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct FileSink {
    path: PathBuf,
    options: FileOptions,
}

#[pymethods]
impl FileSink {
    #[new]
    #[pyo3(signature = (path, *, framing = "lines", sync = false, mode = None, follow_links = false))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        framing: &str,
        sync: bool,
        mode: Option<u32>,
        follow_links: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let framing = match framing {
            "lines" => Framing::Lines,
            "length-prefixed" => Framing::LengthPrefixed,
            _ => return Err(PyValueError::new_err("framing is \"lines\" or \"length-prefixed\"")),
        };
        let mut options = FileOptions::default();
        (options.framing, options.sync, options.mode, options.follow_links) =
            (framing, sync, FileMode(mode), follow_links);
        let builder = CoreFileSink::builder(&path).options(options.clone());
        let sink = py.detach(|| builder.build()).or_raise(py)?;
        Ok(PyClassInitializer::from(NativeSink::new(sink)).add_subclass(FileSink { path, options }))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let FileOptions { framing, sync, mode, follow_links, .. } = &self.options;
        let mut text = format!("FileSink({}", self.path.as_os_str().into_pyobject(py)?.repr()?);
        if *framing == Framing::LengthPrefixed {
            text.push_str(", framing='length-prefixed'");
        }
        if *sync {
            text.push_str(", sync=True");
        }
        if let FileMode(Some(mode)) = mode {
            text.push_str(&format!(", mode={mode:#o}"));
        }
        if *follow_links {
            text.push_str(", follow_links=True");
        }
        Ok(text + ")")
    }
}

/// Takes everything and keeps nothing: for measuring what comes before the sink.
#[pyclass(frozen, extends = NativeSink, module = "unistream._native")]
pub(crate) struct NullSink;

#[pymethods]
impl NullSink {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(NativeSink::new(unistream::NullSink)).add_subclass(NullSink)
    }
}
