//! `_native.Producer`: the calls that must be fast or must wait. `unistream/_producer.py` adds the rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator};
use unistream::{Durability, Error, ErrorKind, Limits, Mode, NewRecord, SendError, WhenFull};

use crate::dead_letter::DeadLetters;
use crate::error::{OrRaise, raise, send_error};
use crate::payload::Encoded;
use crate::record::Batch;
use crate::sink::{Answer, Channel, Direct, Exchange, Lease, NativeSink, Report, answer};
use crate::time::{self, Timeout};
use crate::{event, options};

/// The longest wait without a look at signals: how long Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(50);

#[pyclass(frozen, subclass, module = "unistream._native")]
pub(crate) struct Producer {
    /// Taken out only by drop.
    core: Option<unistream::Producer>,
    /// The sink, where it is a Python callable on threads of its own.
    exchange: Option<Arc<Exchange>>,
    /// The sink, where it is a native one.
    lease: Option<Arc<Lease>>,
    /// Every put may wait, for a sync or for the sink: the GIL is released for each.
    put_waits: bool,
    /// How long a put waits for space.
    full_timeout: Duration,
}

#[pymethods]
impl Producer {
    /// `sink` is a native sink, a channel, a callable for inline mode, or `None` for manual mode.
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        sink: Option<&Bound<'_, PyAny>>,
        name: String,
        keywords: &Bound<'_, PyDict>,
        log_threshold: u8,
    ) -> PyResult<Self> {
        let options = options::from_dict(keywords)?;
        let put_waits = options.mode == Mode::Inline || options.durability == Durability::Always;
        let full_timeout = match options.when_full {
            WhenFull::Block => options.full_timeout,
            WhenFull::Error => Duration::ZERO,
        };
        let observer = event::observer(event::level(log_threshold));
        let builder = unistream::Producer::builder(path).options(options).observer(observer).put_events(false);
        let (mut exchange, mut lease) = (None, None);
        let core = match sink {
            None => py.detach(|| builder.open_manual(Limits::default())),
            Some(sink) => {
                if let Ok(native) = sink.cast::<NativeSink>() {
                    let sink = Lease::new(native.get());
                    lease = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else if let Ok(channel) = sink.cast::<Channel>() {
                    let sink = channel.get().core.clone();
                    exchange = Some(sink.clone());
                    py.detach(|| builder.open(sink))
                } else {
                    let sink = Direct { send: sink.clone().unbind(), name };
                    py.detach(|| builder.open(sink))
                }
            }
        };
        Ok(Producer { core: Some(core.or_raise(py)?), exchange, lease, put_waits, full_timeout })
    }

    /// Puts a record: when this returns, it survives the death of the process.
    ///
    /// :param data: bytes-like objects are stored as they are, `str` as UTF-8, mappings, lists and dataclasses as
    ///     JSON, any other object as its `serialize()` returns (with its `id`, if that is text).
    /// :param id: the record's own id, at most 65,535 bytes of UTF-8. Left out, it is the buffer's id and the seq.
    /// :param key: the partition key, for sinks that have partitions; bytes or text, at most 65,535 bytes.
    /// :param created_at: an aware `datetime` or Unix seconds. Left out, it is now, to about 4 ms.
    /// :param verbose: print what happens.
    /// :returns: the record's sequence number.
    /// :raises BufferFull: the log is at `max_buffer_bytes` and stayed there for `full_timeout`.
    /// :raises RecordTooLarge, InvalidArgument: the record can never be put.
    /// :raises RetriesExhausted: the producer has stopped; `record_accepted` says whether this record is in the log.
    #[pyo3(signature = (data, *, id = None, key = None, created_at = None, verbose = false))]
    fn put<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'py, PyAny>>,
        created_at: Option<&Bound<'py, PyAny>>,
        verbose: bool,
    ) -> PyResult<u64> {
        let py = slf.py();
        if verbose {
            let keywords = PyDict::new(py);
            keywords.set_item("id", id)?;
            keywords.set_item("key", key)?;
            keywords.set_item("created_at", created_at)?;
            let put = py.import("unistream._verbose")?.getattr("put")?;
            return put.call((slf, data), Some(&keywords))?.extract();
        }
        slf.get().put_record(data, id, key, created_at)
    }

    /// Puts every item, as `put` does, and returns how many. If one raises, those before it are in the log.
    fn put_many(&self, items: &Bound<'_, PyAny>) -> PyResult<u64> {
        let mut count: u64 = 0;
        for item in PyIterator::from_object(items)? {
            self.put_record(&item?, None, None, None)?;
            count += 1;
            if count.is_multiple_of(4096) {
                items.py().check_signals()?;
            }
        }
        Ok(count)
    }

    /// Puts with `watcher(event, value)` called for what happens meanwhile on this thread.
    #[pyo3(signature = (watcher, data, id, key, created_at))]
    fn _put_watched(
        &self,
        watcher: Py<PyAny>,
        data: &Bound<'_, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'_, PyAny>>,
        created_at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        event::watched(watcher, || self.put_record(data, id, key, created_at))
    }

    /// The first half of a flush: the point that the second half waits for.
    fn _begin_flush(&self, py: Python<'_>) -> PyResult<u64> {
        self.refuse_reentry(py)?;
        self.core().begin_flush().or_raise(py)
    }

    /// The second half of a flush. Other threads run meanwhile, and Ctrl-C interrupts it.
    fn _wait_flushed(&self, py: Python<'_>, point: u64, timeout: Timeout) -> PyResult<()> {
        self.refuse_reentry(py)?;
        in_slices(py, timeout.0, ErrorKind::Timeout, |slice| self.core().wait_flushed(point, slice))
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
            _ => closed.or_raise(py),
        }
    }

    /// Goes on after a stop, with a fresh round of attempts; a running producer tries now what waits for its next attempt.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_reentry(py)?;
        py.detach(|| self.core().resume()).or_raise(py)
    }

    /// Makes every record put so far survive power loss, whatever the durability option says.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_reentry(py)?;
        py.detach(|| self.core().sync()).or_raise(py)
    }

    /// The counters by name, `state` and `last_error`.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.core().stats();
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
        DeadLetters::of(slf)
    }

    /// Manual mode: the next batch whose time has come, or `None`. The same again until it is settled.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let batch = py.detach(|| self.core().next_batch()).or_raise(py)?;
        Ok(batch.as_ref().map(Batch::new))
    }

    /// Manual mode: seconds until `next_batch` may have one; `None`: nothing is waited for.
    fn next_wait(&self) -> Option<f64> {
        self.core().next_wait().map(|wait| wait.as_secs_f64())
    }

    /// Manual mode: the whole batch was delivered.
    fn commit(&self, py: Python<'_>, batch: &Bound<'_, Batch>) -> PyResult<()> {
        self.answer(py, batch, Ok(unistream::Report::delivered()))
    }

    /// Manual mode: the batch was not delivered. `error` is an exception (`SinkUnavailable` uses up no attempt) or text.
    fn failed(&self, py: Python<'_>, batch: &Bound<'_, Batch>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let error = if error.is_instance_of::<PyBaseException>() {
            send_error(py, PyErr::from_value(error.clone()))
        } else {
            SendError::failed(error.extract::<String>()?)
        };
        self.answer(py, batch, Err(error))
    }

    /// Manual mode: the report says what became of each record.
    fn settle(&self, py: Python<'_>, batch: &Bound<'_, Batch>, report: &Bound<'_, Report>) -> PyResult<()> {
        self.answer(py, batch, answer(py, Ok(report.clone().into_any())))
    }
}

impl Producer {
    #[inline]
    pub(crate) fn core(&self) -> &unistream::Producer {
        self.core.as_ref().expect("the core is taken out only by drop")
    }

    /// The core knows its own threads; a sink on a Python thread is known by its exchange.
    #[inline]
    fn refuse_reentry(&self, py: Python<'_>) -> PyResult<()> {
        match &self.exchange {
            // (A sink may have forked: then that comes first.)
            Some(exchange) if exchange.is_sending_here() && !self.core().is_forked() => {
                let message = "this producer was called from inside its own sink; call it from elsewhere";
                Err(raise(py, Error::new(ErrorKind::Reentrant, message)))
            }
            _ => Ok(()),
        }
    }

    fn release_sink(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.close();
        }
        if let Some(lease) = &self.lease {
            lease.end();
        }
    }

    fn put_record<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        id: Option<&str>,
        key: Option<&Bound<'py, PyAny>>,
        created_at: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<u64> {
        let py = data.py();
        self.refuse_reentry(py)?;
        let key = key.map(Encoded::key).transpose()?;
        let key = key.as_ref().map(Encoded::as_bytes).transpose()?;
        let created_at = created_at.map(time::to_micros).transpose()?;
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return self.append(py, NewRecord { data: bytes.as_bytes(), id, key, created_at });
        }
        let encoded = Encoded::of(data)?;
        let own_id = encoded.id.as_ref().map(|id| id.to_str()).transpose()?;
        self.append(py, NewRecord { data: encoded.as_bytes()?, id: id.or(own_id), key, created_at })
    }

    #[inline]
    fn append(&self, py: Python<'_>, record: NewRecord<'_>) -> PyResult<u64> {
        let core = self.core();
        let result = if self.put_waits {
            py.detach(|| core.put_in_slice(record, Duration::ZERO))
        } else {
            // Handing the GIL over and taking it back would cost more than the append itself.
            core.try_put(record)
        };
        match result {
            Ok(seq) => Ok(seq),
            Err(error) if error.kind() == ErrorKind::BufferFull => {
                in_slices(py, self.full_timeout, ErrorKind::BufferFull, |slice| {
                    // Only the last slice can refuse the record.
                    if slice < SLICE { core.put_within(record, slice) } else { core.put_in_slice(record, slice) }
                })
            }
            Err(error) => Err(raise(py, error)),
        }
    }

    fn answer(&self, py: Python<'_>, batch: &Bound<'_, Batch>, answer: Answer) -> PyResult<()> {
        let batch = batch.get().core.clone();
        py.detach(|| self.core().settle(batch, answer)).or_raise(py)
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

/// Waits in slices, with the GIL released, and lets signal handlers run in between.
fn in_slices<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    over: ErrorKind,
    wait: impl Fn(Duration) -> unistream::Result<T> + Sync,
) -> PyResult<T> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match py.detach(|| wait(left.min(SLICE))) {
            Err(error) if error.kind() == over && left > SLICE => py.check_signals()?,
            result => return result.or_raise(py),
        }
    }
}
