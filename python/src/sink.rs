//! Sinks: the core's own as handles, Python callables behind a channel or called directly, and what they answer.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBaseException, PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use unistream::sink::{FileMode, FileOptions, FileSink as CoreFileSink, Framing};
use unistream::{NewRecord, Outcome, SendError, Sink};

use crate::error::{OrRaise, Raised, send_error};
use crate::record::Batch;
use crate::time;

/// A sink that is part of unistream: it works without the interpreter.
#[pyclass(frozen, subclass, module = "unistream")]
pub(crate) struct NativeSink {
    pub(crate) core: Arc<dyn Sink>,
}

impl NativeSink {
    pub(crate) fn new(sink: impl Sink + 'static) -> Self {
        NativeSink { core: Arc::new(sink) }
    }

    /// Sends a batch; an error that speaks for all of it becomes the report that says the same of each record.
    fn report(&self, py: Python<'_>, batch: &unistream::Batch) -> Report {
        let all = |error: SendError| unistream::Report::all(batch.len(), error.into_outcome());
        let report = py.detach(|| self.core.send(batch)).unwrap_or_else(all);
        Report { core: Mutex::new(report), len: Some(batch.len()) }
    }
}

#[pymethods]
impl NativeSink {
    /// A sink by its URL, such as `kinesis://stream?region=eu-central-1`; what follows `?` are the sink's options.
    #[staticmethod]
    fn from_url(py: Python<'_>, url: &str) -> PyResult<NativeSink> {
        let sink = py.detach(|| unistream::sink::from_url(url)).or_raise(py)?;
        Ok(NativeSink { core: sink.into() })
    }

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
}

/// A native sink for as long as its producer is open: a closed producer that is still referenced must not keep a
/// file locked.
pub(crate) struct Lease(Mutex<Option<Arc<dyn Sink>>>);

impl Lease {
    pub(crate) fn new(sink: &NativeSink) -> Arc<Self> {
        Arc::new(Lease(Mutex::new(Some(sink.core.clone()))))
    }

    pub(crate) fn end(&self) {
        lock(&self.0).take();
    }

    fn sink(&self) -> Option<Arc<dyn Sink>> {
        lock(&self.0).clone()
    }
}

impl Sink for Lease {
    fn send(&self, batch: &unistream::Batch) -> Answer {
        self.sink().map_or_else(|| unavailable("the producer is closed"), |sink| sink.send(batch))
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
/// :param follow_links: whether symbolic links at the path are followed, and a file may have a second name.
#[pyclass(frozen, extends = NativeSink, module = "unistream")]
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
#[pyclass(frozen, extends = NativeSink, module = "unistream")]
pub(crate) struct NullSink;

#[pymethods]
impl NullSink {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(NativeSink::new(unistream::NullSink)).add_subclass(NullSink)
    }
}

/// What became of the records of a batch: delivered, unless it says otherwise. A sink returns it.
///
/// Indices count the records of the batch that the sink was given. The methods return the report itself, so that calls
/// can be chained.
#[pyclass(frozen, module = "unistream")]
pub(crate) struct Report {
    core: Mutex<unistream::Report>,
    /// The length of the batch, where it is known.
    len: Option<usize>,
}

impl Report {
    fn set<'py>(slf: Bound<'py, Self>, index: usize, outcome: Outcome) -> PyResult<Bound<'py, Self>> {
        if slf.get().len.is_some_and(|len| index >= len) {
            return Err(PyIndexError::new_err("report index out of range"));
        }
        lock(&slf.get().core).set(index, outcome);
        Ok(slf)
    }
}

#[pymethods]
impl Report {
    #[new]
    fn new() -> Self {
        Report { core: Mutex::default(), len: None }
    }

    /// Record `index` failed and is to be tried again; that counts toward `max_attempts`.
    fn failed<'py>(slf: Bound<'py, Self>, index: usize, error: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let error = cause(error)?;
        Report::set(slf, index, Outcome::Failed { error })
    }

    /// Record `index` is never to be delivered: into the dead letters with it.
    fn rejected(slf: Bound<'_, Self>, index: usize, reason: String) -> PyResult<Bound<'_, Self>> {
        Report::set(slf, index, Outcome::Rejected { reason })
    }

    /// Record `index` cannot be delivered now through no fault of its own; uses up no attempt.
    #[pyo3(signature = (index, error, *, retry_after = None))]
    fn unavailable<'py>(
        slf: Bound<'py, Self>,
        index: usize,
        error: &Bound<'py, PyAny>,
        retry_after: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let retry_after = retry_after.map(time::duration).transpose()?;
        Report::set(slf, index, Outcome::Unavailable { error: cause(error)?, retry_after })
    }

    /// Whether every record was delivered.
    #[getter]
    fn delivered(&self) -> bool {
        lock(&self.core).is_delivered()
    }

    /// What is said of records that were not delivered: index, `"failed"`, `"rejected"` or `"unavailable"`, and why.
    #[getter]
    fn exceptions(&self) -> Vec<(usize, &'static str, String)> {
        let report = lock(&self.core);
        let row = |(index, outcome): (usize, &Outcome)| match outcome {
            Outcome::Delivered => (index, "delivered", String::new()),
            Outcome::Failed { error } => (index, "failed", error.to_string()),
            Outcome::Rejected { reason } => (index, "rejected", reason.clone()),
            Outcome::Unavailable { error, .. } => (index, "unavailable", error.to_string()),
        };
        report.exceptions().map(row).collect()
    }

    fn __repr__(&self) -> String {
        let exceptions = self.exceptions();
        let text: Vec<_> = exceptions.iter().map(|(index, what, why)| format!(" {index} {what}: {why}")).collect();
        format!("<Report{}>", if text.is_empty() { " delivered".into() } else { text.join(";") })
    }
}

/// Why a record was not delivered: an exception, or text.
fn cause(error: &Bound<'_, PyAny>) -> PyResult<unistream::Cause> {
    if error.is_instance_of::<PyBaseException>() {
        return Ok(Raised::cause(error.py(), PyErr::from_value(error.clone())));
    }
    let text: Box<dyn std::error::Error + Send + Sync> = error.extract::<String>()?.into();
    Ok(text.into())
}

/// An answer of a Python sink, or the exception that it raised, in the core's terms.
pub(crate) fn answer(py: Python<'_>, returned: PyResult<Bound<'_, PyAny>>) -> Answer {
    let returned = match returned {
        Ok(returned) => returned,
        Err(error) => return Err(send_error(py, error)),
    };
    if returned.is_none() {
        return Ok(unistream::Report::delivered());
    }
    if let Ok(report) = returned.cast::<Report>() {
        return Ok(lock(&report.get().core).clone());
    }
    // Anything else may be a reply that says "failed" in its own way: taking it for success could lose records.
    let kind = returned.get_type();
    let error = PyTypeError::new_err(format!("a sink returns None or a unistream.Report, not {kind}"));
    Err(SendError::Failed(Raised::cause(py, error)))
}

pub(crate) type Answer = Result<unistream::Report, SendError>;

fn unavailable(reason: &str) -> Answer {
    Err(SendError::unavailable(reason))
}

/// A Python callable, called on the thread that the core sends on: for inline mode, where that is the caller's.
pub(crate) struct Direct {
    pub(crate) send: Py<PyAny>,
    pub(crate) name: String,
}

impl Sink for Direct {
    fn send(&self, batch: &unistream::Batch) -> Answer {
        let call = |py: Python<'_>| answer(py, self.send.bind(py).call1((Batch::new(batch),)));
        Python::try_attach(call).unwrap_or_else(|| unavailable("the interpreter is shutting down"))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}

/// Hands batches to threads of the interpreter and their answers back.
///
/// The core's own thread never runs Python code: so it can be stopped at any time, also while a sink hangs, and the
/// interpreter can exit under a sink that is still running.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Channel {
    pub(crate) core: Arc<Exchange>,
}

pub(crate) struct Exchange {
    id: u64,
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: u64,
    /// Not yet taken by a worker.
    waiting: VecDeque<(u64, unistream::Batch)>,
    /// Sent, and their senders still want to know.
    pending: HashMap<u64, Option<Answer>>,
    closed: bool,
}

thread_local! {
    /// The exchange that this thread is running a sink for; 0 is none.
    static SENDING: Cell<u64> = const { Cell::new(0) };
}

impl Exchange {
    /// Whether this thread is inside this sink, so that waiting for the sink would wait for itself.
    #[inline]
    pub(crate) fn is_sending_here(&self) -> bool {
        SENDING.get() == self.id
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    fn receive(&self) -> Option<(u64, unistream::Batch)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let state = self.changed.wait_while(lock(&self.state), idle);
        state.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    fn settle(&self, job: u64, answer: Answer) {
        // A sender that was interrupted is gone, and nobody wants the answer.
        if let Some(place) = lock(&self.state).pending.get_mut(&job) {
            *place = Some(answer);
        }
        self.changed.notify_all();
    }
}

impl Sink for Exchange {
    fn send(&self, batch: &unistream::Batch) -> Answer {
        let mut state = lock(&self.state);
        let job = state.jobs;
        state.jobs += 1;
        state.waiting.push_back((job, batch.clone()));
        state.pending.insert(job, None);
        self.changed.notify_all();
        let unanswered = |state: &mut State| !state.closed && state.pending[&job].is_none();
        let mut state = self.changed.wait_while(state, unanswered).unwrap_or_else(PoisonError::into_inner);
        match state.pending.remove(&job).flatten() {
            Some(answer) => answer,
            None => unavailable("closed while the sink was running"),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn interrupt(&self) {
        self.close();
    }
}

#[pymethods]
impl Channel {
    #[new]
    fn new(name: String) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Channel { core: Arc::new(Exchange { id, name, state: Mutex::default(), changed: Condvar::new() }) }
    }

    /// The next batch to send; `None` when the producer is closed.
    fn receive(&self, py: Python<'_>) -> Option<Job> {
        SENDING.set(0);
        let (job, batch) = py.detach(|| self.core.receive())?;
        SENDING.set(self.core.id);
        Some(Job { channel: self.core.clone(), job, batch })
    }
}

/// A batch that a worker has taken and owes an answer for.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Job {
    channel: Arc<Exchange>,
    job: u64,
    batch: unistream::Batch,
}

#[pymethods]
impl Job {
    #[getter]
    fn batch(&self) -> Batch {
        Batch::new(&self.batch)
    }

    /// The sink returned this.
    fn returned<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) {
        self.settle(answer(py, Ok(value)));
    }

    /// The sink raised this.
    fn raised<'py>(&self, py: Python<'py>, error: Bound<'py, PyAny>) {
        self.settle(answer(py, Err(PyErr::from_value(error))));
    }

    /// Whether the sink came back in a forked child, which sends nothing.
    #[getter]
    fn is_forked(&self) -> bool {
        self.batch.is_forked()
    }
}

impl Job {
    fn settle(&self, answer: Answer) {
        // In a child nobody waits for it, and the lock may never be free.
        if !self.batch.is_forked() {
            self.channel.settle(self.job, answer);
        }
    }
}

/// A panic while the lock was held leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
