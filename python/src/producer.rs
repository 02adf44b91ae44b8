//! `_native.Producer`: the calls that must be fast or must wait. `unistream/_producer.py` adds the rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyBaseException, PyException, PyIndexError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString};
use unistream::{Durability, Error, ErrorKind, Limits, Mode, NewRecord, SendError};

use crate::channel::{Channel, Exchange};
use crate::dead_letter::DeadLetters;
use crate::error::{OrRaise, raise};
use crate::event::Events;
use crate::extras::Extras;
use crate::judge::{Answer, Direct, Judge};
use crate::payload::{self, Encoded, Encoder};
use crate::record::Batch;
use crate::report::Report;
use crate::sink::{Lease, NativeSink};
use crate::sync::lock;
use crate::time::Timeout;
use crate::{event, options};

/// The longest wait without a look at signals: how long Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(50);
/// The longest sleep of a greenlet between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Payloads from here on are copied with the GIL released: by then that is the smaller cost.
const LARGE: usize = 64 * 1024;
/// Records of `put_many` between two moments in which other threads may run.
const TURN: u64 = 128;

#[pyclass(frozen, subclass, module = "unistream._native")]
pub(crate) struct Producer {
    /// Taken out only by drop.
    core: Option<unistream::Producer>,
    /// The sink, where it is a Python callable on threads of its own.
    exchange: Option<Arc<Exchange>>,
    /// The sink, where it is a native one.
    lease: Option<Arc<Lease>>,
    /// The sink, where it is a Python callable on the caller's thread.
    direct: Option<Arc<Direct>>,
    /// Judges what the program says in manual mode.
    judge: Judge,
    /// Sleeps for some seconds and lets other greenlets run, in a process whose threads are greenlets.
    pause: Option<Py<PyAny>>,
    encoder: Encoder,
    /// Every put may wait, for a sync or for the sink: the GIL is released for each.
    put_waits: bool,
    /// How long a put waits for space.
    full_timeout: Duration,
}

#[pymethods]
impl Producer {
    /// `sink` is a native sink, a channel, a callable for inline mode, or `None` for manual mode; `unavailable` a
    /// function that judges exceptions before the table does; `prepare` what such a callable keeps with a batch; `default`
    /// and `serializer` what an `Encoder` has.
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        sink: Option<&Bound<'_, PyAny>>,
        name: String,
        unavailable: Option<Py<PyAny>>,
        prepare: Option<Py<PyAny>>,
        default: Option<Py<PyAny>>,
        serializer: Option<Py<PyAny>>,
        keywords: &Bound<'_, PyDict>,
        events: &Events,
        log_threshold: u8,
        pause: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let encoder = Encoder::new(default, serializer)?;
        let options = options::from_dict(keywords)?;
        let put_waits = options.mode == Mode::Inline || options.durability == Durability::Always;
        let full_timeout = options.put_timeout();
        let native = sink.and_then(|sink| sink.cast::<NativeSink>().ok());
        let shown = native.map_or_else(|| name.clone(), |native| native.get().core.name().into_owned());
        let observer =
            events.observer(event::level(log_threshold), if sink.is_none() { "manual".into() } else { shown });
        let builder = unistream::Producer::builder(path).options(options).observer(observer).put_events(false);
        let (mut exchange, mut lease, mut direct) = (None, None, None);
        let added = unavailable.as_ref().map(|added| added.clone_ref(py));
        let core = match sink {
            None => py.detach(|| builder.open_manual(Limits::default())),
            Some(sink) => {
                if let Some(native) = native {
                    let sink = Lease::new(native.get());
                    lease = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else if let Ok(channel) = sink.cast::<Channel>() {
                    let sink = channel.get().core.clone();
                    exchange = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else {
                    let sink = Arc::new(Direct::new(sink.clone().unbind(), prepare, Judge::new(name, added)));
                    direct = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                }
            }
        };
        let judge = Judge::new("manual".into(), unavailable);
        let core = Some(core.or_raise(py)?);
        Ok(Producer { core, exchange, lease, direct, judge, pause, encoder, put_waits, full_timeout })
    }

    /// Puts a record: when this returns, it survives the death of the process.
    ///
    /// :param data: bytes-like objects are stored as they are, `str` as UTF-8, an object with `serialize()` as that
    ///     returns (with its `id`, if that is text), what else has a form in JSON as JSON: mappings, lists, dataclasses,
    ///     models of pydantic, numbers and arrays of numpy and more. What has none goes to the producer's `default`;
    ///     with a `serializer` nothing is JSON but what that makes.
    /// :param id: the record's own id, at most 65,535 bytes of UTF-8. Left out, it is the buffer's id and the seq.
    /// :param key: the partition key, for sinks that have partitions; bytes or text, at most 65,535 bytes.
    /// :param created_at: an aware `datetime` or Unix seconds. Left out, it is now, to about 4 ms.
    /// :param headers: names with values (bytes or text) that travel beside the payload, for sinks that carry them: a
    ///     mapping, or pairs, where a name comes more than once. At most 100, of at most 32,768 bytes together.
    /// :param topic: where within the sink: a topic, subject, stream or path, as the sink has it; at most 1,024 bytes.
    /// :param expires_at: from when on the record is of no use to anybody: an aware `datetime` or Unix seconds.
    /// :param max_age: the same as a span from `created_at`: seconds or a `timedelta`.
    /// :param verbose: print what happens.
    /// :returns: the record's sequence number.
    /// :raises BufferFull: the log is at `max_buffer_bytes` and stayed there for `full_timeout`.
    /// :raises RecordTooLarge, InvalidArgument: the record can never be put.
    /// :raises RetriesExhausted: the producer has stopped; `record_accepted` says whether this record is in the log.
    #[pyo3(signature = (
        data, *, id = None, key = None, created_at = None, headers = None, topic = None, expires_at = None, max_age = None,
        verbose = false
    ))]
    #[allow(clippy::too_many_arguments)]
    fn put<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'py, PyAny>>,
        created_at: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        topic: Option<&str>,
        expires_at: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
        verbose: bool,
    ) -> PyResult<u64> {
        let py = slf.py();
        if verbose {
            let keywords = PyDict::new(py);
            keywords.set_item("id", id)?;
            keywords.set_item("key", key)?;
            keywords.set_item("created_at", created_at)?;
            keywords.set_item("headers", headers)?;
            keywords.set_item("topic", topic)?;
            keywords.set_item("expires_at", expires_at)?;
            keywords.set_item("max_age", max_age)?;
            let put = py.import("unistream._verbose")?.getattr("put")?;
            return put.call((slf, data), Some(&keywords))?.extract();
        }
        slf.get().put_record(data, &Extras { id, key, created_at, headers, topic, expires_at, max_age })
    }

    /// Puts every item, as `put` does, and returns how many. Other threads run meanwhile.
    ///
    /// If one raises, those before it are in the log, and the exception's attribute `accepted` says how many.
    ///
    /// :raises TypeError: for text, bytes and mappings, which are one payload each.
    fn put_many(&self, items: &Bound<'_, PyAny>) -> PyResult<u64> {
        payload::refuse_single(items)?;
        let mut count: u64 = 0;
        let result = self.put_each(items, &mut count);
        result.map(|()| count).inspect_err(|error| {
            let py = items.py();
            // An exception without room for it has it in its text.
            let accepted = count + u64::from(record_accepted(py, error));
            let _ = error.value(py).setattr("accepted", accepted);
            let _ = error.value(py).call_method1("add_note", (format!("{accepted} items were put before this one"),));
        })
    }

    /// What `put` would store, and the id that comes with it.
    fn _encode<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyString>>)> {
        Encoded::of(data, &self.encoder)?.into_python(data.py())
    }

    /// Puts with `watcher(event, value)` called for what happens meanwhile on this thread.
    #[pyo3(signature = (watcher, data, id, key, created_at, headers, topic, expires_at, max_age))]
    #[allow(clippy::too_many_arguments)]
    fn _put_watched<'py>(
        &self,
        watcher: Py<PyAny>,
        data: &Bound<'py, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'py, PyAny>>,
        created_at: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        topic: Option<&str>,
        expires_at: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<u64> {
        let extras = Extras { id, key, created_at, headers, topic, expires_at, max_age };
        event::watched(watcher, || self.put_record(data, &extras))
    }

    /// The first half of a flush: the point that the second half waits for.
    fn _begin_flush(&self, py: Python<'_>) -> PyResult<u64> {
        self.refuse_reentry(py)?;
        py.detach(|| self.core().begin_flush()).or_raise(py)
    }

    /// The second half of a flush. Other threads run meanwhile, and Ctrl-C interrupts it.
    fn _wait_flushed(&self, py: Python<'_>, point: u64, timeout: Timeout) -> PyResult<()> {
        self.refuse_reentry(py)?;
        self.in_slices(py, timeout.0, ErrorKind::Timeout, |slice, _| self.core().wait_flushed(point, slice))
    }

    /// Flushes for at most `timeout`, closes whatever that said, and returns how many records are left.
    fn close(&self, py: Python<'_>, timeout: Timeout) -> PyResult<u64> {
        self.refuse_reentry(py)?;
        let core = self.core();
        let flushed = self._begin_flush(py).and_then(|point| self._wait_flushed(py, point, timeout));
        // Whatever flush said, nothing stays open; the count says what is left.
        let closed = py.detach(|| core.close(Duration::ZERO));
        self.release_sink();
        match flushed {
            Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
            _ => {
                let left = closed.or_raise(py)?;
                match self.sinks_judge().and_then(Judge::defect).filter(|_| left > 0) {
                    Some(defect) => {
                        // Once is enough: closing again says what is left.
                        self.forgive();
                        Err(raise(py, defect))
                    }
                    None => Ok(left),
                }
            }
        }
    }

    /// Goes on after a stop, with a fresh round of attempts, or after an answer of the sink that nobody understood; a
    /// running producer tries now what waits for its next attempt.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_reentry(py)?;
        self.forgive();
        py.detach(|| self.core().resume()).or_raise(py)
    }

    /// Makes every record put so far survive power loss, whatever the durability option says.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_reentry(py)?;
        py.detach(|| self.core().sync()).or_raise(py)
    }

    /// The counters by name, `state` and `last_error`.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.core().stats());
        let dict = PyDict::new(py);
        for (name, value, _) in stats.counters() {
            dict.set_item(name, value)?;
        }
        dict.set_item("state", stats.state.name())?;
        dict.set_item("last_error", stats.last_error)?;
        Ok(dict)
    }

    /// The buffer's directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.core().path().to_owned()
    }

    /// Every option in force, in its text form.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options::to_dict(py, self.core().options())
    }

    /// Whether this process is a fork of the one that opened the producer; every call but this one then fails.
    #[getter]
    fn is_forked(&self) -> bool {
        self.core().is_forked()
    }

    /// The batches that were given up on.
    #[getter]
    fn dead_letters(slf: &Bound<'_, Self>) -> DeadLetters {
        let core = slf.get().core();
        let producer = slf.clone().unbind();
        let replay = move |py: Python<'_>, id: &str| {
            let producer = producer.get();
            producer.refuse_reentry(py)?;
            py.detach(|| producer.core().replay_dead_letter(id)).or_raise(py)
        };
        DeadLetters::new(core.dead_letters(), core.path().to_owned(), Some(Box::new(replay)))
    }

    /// Manual mode: the next batch whose time has come, or `None`. It is not handed out again until it is
    /// settled; what was never settled is handed out again when the producer is closed and opened again.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let batch = py.detach(|| self.core().next_batch()).or_raise(py)?;
        Ok(batch.as_ref().map(Batch::new))
    }

    /// Manual mode: keeps a memo of at most 4,096 bytes with a batch, before anything of it is sent for the first time:
    /// `batch.memo` has it from now on, also in every later attempt, across restarts. When this returns, it survives the
    /// death of the process.
    ///
    /// :raises InvalidArgument: the memo is too long, or the batch has one: what was sent with it may have arrived.
    /// :raises NotFound: the batch waits for no answer.
    fn keep_memo(&self, py: Python<'_>, batch: &Bound<'_, Batch>, memo: &Bound<'_, PyAny>) -> PyResult<()> {
        let memo = Encoded::key(memo)?.as_bytes()?.to_vec();
        let (view, mut core) = (batch.get(), batch.get().core.clone());
        py.detach(|| self.core().keep_memo(&mut core, &*memo)).or_raise(py)?;
        let _ = view.memo.set(memo);
        Ok(())
    }

    /// Manual mode: seconds until `next_batch` may have one; `None`: nothing is waited for.
    fn next_wait(&self, py: Python<'_>) -> Option<f64> {
        // It may seal a batch, which under `durability = always` waits for the disk.
        py.detach(|| self.core().next_wait()).map(|wait| wait.as_secs_f64())
    }

    /// Manual mode: the whole batch was delivered.
    fn commit(&self, py: Python<'_>, batch: &Bound<'_, Batch>) -> PyResult<()> {
        self.answer(py, batch, Ok(unistream::Report::delivered()))
    }

    /// Manual mode: the batch was not delivered. `error` is an exception, judged as one that a sink raises (an outage
    /// uses up no attempt), or text.
    fn failed(&self, py: Python<'_>, batch: &Bound<'_, Batch>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let error = if error.is_instance_of::<PyBaseException>() {
            self.judge.error(py, PyErr::from_value(error.clone()))
        } else {
            SendError::failed(error.extract::<String>()?)
        };
        self.answer(py, batch, Err(error))
    }

    /// Manual mode: the report says what became of each record. Raises `IndexError` for one that speaks of records that
    /// the batch does not have; nothing has changed then.
    fn settle(&self, py: Python<'_>, batch: &Bound<'_, Batch>, report: &Bound<'_, Report>) -> PyResult<()> {
        let report = lock(&report.get().core).clone();
        self.answer(py, batch, Ok(report))
    }
}

impl Producer {
    #[inline]
    fn core(&self) -> &unistream::Producer {
        self.core.as_ref().expect("the core is taken out only by drop")
    }

    /// The core knows its own threads; a sink on a Python thread is known by its exchange.
    #[inline]
    fn refuse_reentry(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_sending_here(py) {
            let message = "this producer was called from inside its own sink; call it from elsewhere";
            return Err(raise(py, Error::new(ErrorKind::Reentrant, message)));
        }
        Ok(())
    }

    fn is_sending_here(&self, py: Python<'_>) -> bool {
        // (A sink may have forked: then that comes first.)
        self.exchange.as_ref().is_some_and(|exchange| !self.core().is_forked() && exchange.is_sending_here(py))
    }

    fn sinks_judge(&self) -> Option<&Judge> {
        let direct = || self.direct.as_ref().map(|direct| &direct.judge);
        self.exchange.as_ref().map(|exchange| &exchange.judge).or_else(direct)
    }

    fn forgive(&self) {
        if let Some(judge) = self.sinks_judge() {
            judge.forgive();
        }
    }

    /// What interrupted a sink that ran on this thread comes out of the call that ran it. It says, as other errors do, if
    /// that was a put whose record is in the log.
    fn interruption<T>(&self, py: Python<'_>, put: Option<&unistream::Result<T>>) -> PyResult<()> {
        let Some(error) = self.direct.as_ref().and_then(|direct| direct.interruption()) else { return Ok(()) };
        if let Some(put) = put {
            let accepted = put.as_ref().map_or_else(Error::record_accepted, |_| true);
            let _ = error.value(py).setattr("record_accepted", accepted);
        }
        Err(error)
    }

    fn put_each(&self, items: &Bound<'_, PyAny>, count: &mut u64) -> PyResult<()> {
        for item in PyIterator::from_object(items)? {
            self.put_record(&item?, &Extras::default())?;
            *count += 1;
            if count.is_multiple_of(TURN) {
                items.py().detach(|| ());
                items.py().check_signals()?;
            }
        }
        Ok(())
    }

    fn release_sink(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.close();
        }
        if let Some(lease) = &self.lease {
            lease.end();
        }
    }

    fn put_record<'py>(&self, data: &Bound<'py, PyAny>, extras: &Extras<'_, 'py>) -> PyResult<u64> {
        extras.with(data, &self.encoder, |record| self.append(data.py(), record))
    }

    #[inline]
    fn append(&self, py: Python<'_>, record: NewRecord<'_>) -> PyResult<u64> {
        let core = self.core();
        let result = if self.put_waits || record.data.len() >= LARGE {
            let result = py.detach(|| core.put_in_slice(record, Duration::ZERO, Duration::ZERO));
            self.interruption(py, Some(&result))?;
            result
        } else {
            // Handing the GIL over and taking it back would cost more than the append itself.
            core.try_put(record)
        };
        match result {
            Ok(seq) => Ok(seq),
            Err(error) if error.kind() == ErrorKind::BufferFull => {
                // A sink may put, but if it waited for space, it would wait for itself.
                let timeout = if self.is_sending_here(py) { Duration::ZERO } else { self.full_timeout };
                self.in_slices(py, timeout, ErrorKind::BufferFull, |slice, last| {
                    // Only the last slice can refuse the record.
                    if last { core.put_within(record, slice) } else { core.put_in_slice(record, slice, timeout) }
                })
            }
            Err(error) => Err(raise(py, error)),
        }
    }

    /// Waits in slices, with the GIL released, and lets signal handlers run in between. In a process whose threads are
    /// greenlets the others run in between, the sink among them.
    fn in_slices<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Duration,
        over: ErrorKind,
        wait: impl Fn(Duration, bool) -> unistream::Result<T> + Sync,
    ) -> PyResult<T> {
        let start = Instant::now();
        let mut sleep = Duration::from_millis(1);
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let slice = if self.pause.is_some() { Duration::ZERO } else { left.min(SLICE) };
            let last = left <= slice;
            let result = py.detach(|| wait(slice, last));
            self.interruption(py, (over == ErrorKind::BufferFull).then_some(&result))?;
            match result {
                Err(error) if error.kind() == over && !last => {
                    if let Some(defect) = self.sinks_judge().and_then(Judge::defect) {
                        return Err(raise(py, defect));
                    }
                    py.check_signals()?;
                    if let Some(pause) = &self.pause {
                        pause.call1(py, (sleep.min(left).as_secs_f64(),))?;
                        sleep = (sleep * 2).min(LOOK);
                    }
                }
                result => return result.or_raise(py),
            }
        }
    }

    fn answer(&self, py: Python<'_>, batch: &Bound<'_, Batch>, answer: Answer) -> PyResult<()> {
        let batch = batch.get().core.clone();
        py.detach(|| self.core().settle(batch, answer)).map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => PyIndexError::new_err(error.message().to_owned()),
            _ => raise(py, error),
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        if core.is_forked() {
            // The sink's lock may be held for ever in the child, and what the sink is made of is the parent's.
            std::mem::forget((core, self.exchange.take(), self.lease.take()));
            return;
        }
        self.release_sink();
        // Dropping waits for the sender, which may be waiting for the GIL to log. An interpreter that is shutting
        // down stops such a sender for ever: then nothing is waited for, and the records are safe as they lie.
        let mut core = Some(core);
        Python::try_attach(|py| py.detach(|| drop(core.take())));
        std::mem::forget(core);
    }
}

fn record_accepted(py: Python<'_>, error: &PyErr) -> bool {
    let accepted = error.value(py).getattr("record_accepted").and_then(|accepted| accepted.extract());
    accepted.unwrap_or(false)
}
