//! `_native.Producer`: the calls that must be fast or must wait. `unistream/_producer.py` adds the rest.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyException, PyIndexError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString};
use unistream::{ErrorKind, NewRecord, SendError, State};

use crate::dead_letter::DeadLetters;
use crate::delivery::Reporting;
use crate::error::{OrRaise, raise};
use crate::event;
use crate::extras::Extras;
use crate::judge::{Answer, Judge};
use crate::options;
use crate::parts::{Chain, Opener, Parts};
use crate::payload::{self, Encoded, Encoder};
use crate::record::Batch;
use crate::report::Report;
use crate::sync::lock;
use crate::time::Timeout;

/// Payloads from here on are copied with the GIL released: by then that is the smaller cost.
const LARGE: usize = 64 * 1024;
/// Records of `put_many` between two moments in which other threads may run.
const TURN: u64 = 128;

#[pyclass(frozen, subclass, module = "unistream._native")]
pub(crate) struct Producer {
    chain: Arc<Chain>,
    /// Opens it anew in a forked child, if it is shared.
    anew: Option<Py<PyAny>>,
    encoder: Encoder,
}

#[pymethods]
impl Producer {
    /// `start` is given an `Opener`, which it must use; once now, and once in each forked child that uses a shared producer.
    /// `default` and `serializer` are what an `Encoder` has.
    #[new]
    fn new(
        py: Python<'_>,
        start: Py<PyAny>,
        default: Option<Py<PyAny>>,
        serializer: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let encoder = Encoder::new(default, serializer)?;
        let chain = Arc::<Chain>::default();
        start.call1(py, (Opener::new(chain.clone()),))?;
        let parts = chain.current().ok_or_else(|| PyRuntimeError::new_err("the producer was not opened"))?;
        let anew = parts.core().options().shared.then_some(start);
        Ok(Producer { chain, anew, encoder })
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
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        py.detach(|| parts.core().begin_flush()).or_raise(py)
    }

    /// The second half of a flush. Other threads run meanwhile, and Ctrl-C interrupts it.
    fn _wait_flushed(&self, py: Python<'_>, point: u64, timeout: Timeout) -> PyResult<()> {
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        parts.in_slices(py, timeout.0, ErrorKind::Timeout, |slice, _| parts.core().wait_flushed(point, slice))
    }

    /// Flushes for at most `timeout`, closes whatever that said, and returns how many records are left.
    fn close(&self, py: Python<'_>, timeout: Timeout) -> PyResult<u64> {
        let parts = self.parts();
        let core = parts.core();
        if core.is_forked() {
            // A child that has not used it has nothing to close.
            return py.detach(|| core.close(Duration::ZERO)).or_raise(py);
        }
        parts.refuse_reentry(py)?;
        let flushed = self._begin_flush(py).and_then(|point| self._wait_flushed(py, point, timeout));
        // Whatever flush said, nothing stays open; the count says what is left.
        let closed = py.detach(|| core.close(Duration::ZERO));
        parts.release_sink();
        match flushed {
            Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
            _ => {
                let left = closed.or_raise(py)?;
                match parts.sinks_judge().and_then(Judge::defect).filter(|_| left > 0) {
                    Some(defect) => {
                        // Once is enough: closing again says what is left.
                        parts.forgive();
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
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        parts.forgive();
        py.detach(|| parts.core().resume()).or_raise(py)
    }

    /// Makes every record put so far survive power loss, whatever the durability option says.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        py.detach(|| parts.core().sync()).or_raise(py)
    }

    /// The counters by name, `state` and `last_error`.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.parts().core().stats());
        let dict = PyDict::new(py);
        for (name, value, _) in stats.counters() {
            dict.set_item(name, value)?;
        }
        dict.set_item("state", stats.state.name())?;
        dict.set_item("last_error", stats.last_error)?;
        Ok(dict)
    }

    /// Announces that the next put's record is to be reported.
    fn _reporting(&self, py: Python<'_>) -> PyResult<Reporting> {
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        py.detach(|| parts.core().reporting()).map(Reporting::new).or_raise(py)
    }

    /// Return the counters and the state as the text that Prometheus scrapes, with the labels `path` and, in an outbox,
    /// `slot`. May be called from anywhere, sinks included.
    fn prometheus(&self, py: Python<'_>) -> String {
        py.detach(|| self.parts().core().prometheus())
    }

    /// The buffer's directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.parts().core().path().to_owned()
    }

    /// Every option in force, in its text form.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options::to_dict(py, self.parts().core().options())
    }

    /// Whether this process is a fork of the one that opened the producer; every call but this one then fails, or, with
    /// `shared=True`, opens a slot for this process.
    #[getter]
    fn is_forked(&self) -> bool {
        self.parts().core().is_forked()
    }

    /// The name of this process's slot of the outbox, with `shared=True`: `"slot-0"` is the directory itself, the others are
    /// directories in it.
    #[getter]
    fn slot(&self) -> Option<String> {
        self.parts().core().slot()
    }

    /// The first part of a drain has flushed; this waits until no slot has records whose process has ended.
    fn _drain(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        parts.in_slices(py, timeout.0, ErrorKind::Timeout, |slice, _| parts.core().drain(slice))
    }

    /// The batches that were given up on.
    #[getter]
    fn dead_letters(slf: &Bound<'_, Self>) -> DeadLetters {
        let core = slf.get().parts().core();
        let producer = slf.clone().unbind();
        let replay = move |py: Python<'_>, id: &str| {
            let parts = producer.get().here(py)?;
            parts.refuse_reentry(py)?;
            py.detach(|| parts.core().replay_dead_letter(id)).or_raise(py)
        };
        DeadLetters::new(core.dead_letters(), core.path().to_owned(), Some(Box::new(replay)))
    }

    /// Manual mode: the next batch whose time has come, or `None`. It is not handed out again until it is
    /// settled; what was never settled is handed out again when the producer is closed and opened again.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let parts = self.here(py)?;
        let batch = py.detach(|| parts.core().next_batch()).or_raise(py)?;
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
        let parts = self.here(py)?;
        py.detach(|| parts.core().keep_memo(&mut core, &*memo)).or_raise(py)?;
        let _ = view.memo.set(memo);
        Ok(())
    }

    /// Manual mode: seconds until `next_batch` may have one; `None`: nothing is waited for.
    fn next_wait(&self, py: Python<'_>) -> Option<f64> {
        // It may seal a batch, which under `durability = always` waits for the disk.
        let parts = self.here(py).ok()?;
        py.detach(|| parts.core().next_wait()).map(|wait| wait.as_secs_f64())
    }

    /// Manual mode: a descriptor that is readable when `next_batch` may have a batch, also by `linger`, the schedule or
    /// `max_rate_*`: `loop.add_reader(producer, ...)`, `select`, `selectors`. Level-triggered: readable until `next_batch` has
    /// returned `None`, and once the producer has stopped or is closed. Only poll it: do not read from it or close it. It stays the
    /// same for as long as the producer lives; a forked child's means nothing until the child has asked for its own.
    ///
    /// :raises WrongMode: the producer is not in manual mode.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let parts = self.here(py)?;
        parts.refuse_reentry(py)?;
        py.detach(|| parts.core().fd().map(|fd| fd.as_raw_fd())).or_raise(py)
    }

    /// Manual mode: the whole batch was delivered.
    fn commit(&self, py: Python<'_>, batch: &Bound<'_, Batch>) -> PyResult<()> {
        self.answer(py, batch, Ok(unistream::Report::delivered()))
    }

    /// Manual mode: the batch was not delivered. `error` is an exception, judged as one that a sink raises (an outage
    /// uses up no attempt), or text.
    fn failed(&self, py: Python<'_>, batch: &Bound<'_, Batch>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let error = if error.is_instance_of::<PyBaseException>() {
            self.parts().judge.error(py, PyErr::from_value(error.clone()))
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
    /// What this process has, or what its parent had.
    #[inline]
    fn parts(&self) -> &Parts {
        self.chain.current().expect("it was opened when it was made")
    }

    /// What this process has. A forked child opens its own, if the producer is shared.
    #[inline]
    fn here(&self, py: Python<'_>) -> PyResult<&Parts> {
        let parts = self.parts();
        if parts.core().is_forked() { self.in_child(py) } else { Ok(parts) }
    }

    #[cold]
    fn in_child(&self, py: Python<'_>) -> PyResult<&Parts> {
        if let Some(anew) = self.anew.as_ref().filter(|_| self.parts().core().stats().state != State::Closed) {
            anew.call1(py, (Opener::new(self.chain.clone()),))?;
        }
        Ok(self.parts())
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

    fn put_record<'py>(&self, data: &Bound<'py, PyAny>, extras: &Extras<'_, 'py>) -> PyResult<u64> {
        extras.with(data, &self.encoder, |record| self.append(data.py(), record))
    }

    #[inline]
    fn append(&self, py: Python<'_>, record: NewRecord<'_>) -> PyResult<u64> {
        let parts = self.here(py)?;
        let core = parts.core();
        let result = if parts.put_waits || record.data.len() >= LARGE {
            let result = py.detach(|| core.put_in_slice(record, Duration::ZERO, Duration::ZERO));
            parts.interruption(py, Some(&result))?;
            result
        } else {
            // Handing the GIL over and taking it back would cost more than the append itself.
            core.try_put(record)
        };
        match result {
            Ok(seq) => Ok(seq),
            Err(error) if error.kind() == ErrorKind::BufferFull => {
                // A sink may put, but if it waited for space, it would wait for itself.
                let timeout = if parts.is_sending_here(py) { Duration::ZERO } else { parts.full_timeout };
                parts.in_slices(py, timeout, ErrorKind::BufferFull, |slice, last| {
                    // Only the last slice can refuse the record.
                    if last { core.put_within(record, slice) } else { core.put_in_slice(record, slice, timeout) }
                })
            }
            Err(error) => Err(raise(py, error)),
        }
    }

    fn answer(&self, py: Python<'_>, batch: &Bound<'_, Batch>, answer: Answer) -> PyResult<()> {
        let batch = batch.get().core.clone();
        let parts = self.here(py)?;
        py.detach(|| parts.core().settle(batch, answer)).map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => PyIndexError::new_err(error.message().to_owned()),
            _ => raise(py, error),
        })
    }
}

fn record_accepted(py: Python<'_>, error: &PyErr) -> bool {
    let accepted = error.value(py).getattr("record_accepted").and_then(|accepted| accepted.extract());
    accepted.unwrap_or(false)
}
