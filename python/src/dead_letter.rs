//! Dead letters: what was given up on, with the reasons.

use std::path::PathBuf;

use pyo3::prelude::*;
use unistream::{Error, ErrorKind};

use crate::error::{OrRaise, raise};
use crate::record::Batch;
use crate::text;
use crate::time;

/// The dead letters of a buffer.
///
/// `producer.dead_letters` can do everything; `DeadLetters(path)` needs no producer and may stand beside a live one of
/// any process, but it cannot replay.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct DeadLetters {
    core: unistream::DeadLetters,
    /// The buffer's directory.
    path: PathBuf,
    /// Puts the records of one back, where there is a producer.
    replay: Option<Box<Replay>>,
}

/// What a producer does with the id of a dead letter that is to be put back.
pub(crate) type Replay = dyn Fn(Python<'_>, &str) -> PyResult<u64> + Send + Sync;

impl DeadLetters {
    pub(crate) fn new(core: unistream::DeadLetters, path: PathBuf, replay: Option<Box<Replay>>) -> Self {
        DeadLetters { core, path, replay }
    }
}

#[pymethods]
impl DeadLetters {
    #[new]
    fn open(py: Python<'_>, path: PathBuf) -> Self {
        DeadLetters::new(py.detach(|| unistream::DeadLetters::open(&path)), path, None)
    }

    fn __repr__(&self) -> String {
        format!("<DeadLetters of {}>", text::shown(&self.path.display().to_string()))
    }

    /// All of them, oldest first.
    fn list(&self, py: Python<'_>) -> PyResult<Vec<DeadLetter>> {
        let letters = py.detach(|| self.core.list()).or_raise(py)?;
        Ok(letters.into_iter().map(|core| DeadLetter { core }).collect())
    }

    /// The one with this id. Raises `NotFound`.
    fn read(&self, py: Python<'_>, id: &str) -> PyResult<DeadLetter> {
        let core = py.detach(|| self.core.get(id)).or_raise(py)?;
        Ok(DeadLetter { core })
    }

    /// Puts its records back into the buffer, in order, and deletes it; returns how many. Raises `NotFound`.
    fn replay(&self, py: Python<'_>, id: &str) -> PyResult<u64> {
        let Some(replay) = &self.replay else {
            let message = "only producer.dead_letters can replay: it needs the producer to put the records back";
            return Err(raise(py, Error::new(ErrorKind::WrongMode, message)));
        };
        replay(py, id)
    }

    /// Deletes it with its records, also those that were added since it was listed. Raises `NotFound`.
    fn delete(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        py.detach(|| self.core.delete(id)).or_raise(py)
    }
}

/// A batch that was given up on, or the records of one that its sink rejected.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct DeadLetter {
    core: unistream::DeadLetter,
}

#[pymethods]
impl DeadLetter {
    /// The batch's id.
    #[getter]
    fn id(&self) -> &str {
        &self.core.id
    }

    /// The sink's name.
    #[getter]
    fn sink(&self) -> &str {
        &self.core.sink
    }

    /// Attempts that counted.
    #[getter]
    fn attempts(&self) -> u32 {
        self.core.attempts
    }

    /// When the batch was first tried.
    #[getter]
    fn first_attempt<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        time::from_micros(py, self.core.first_attempt)
    }

    /// When it was last tried.
    #[getter]
    fn last_attempt<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        time::from_micros(py, self.core.last_attempt)
    }

    /// When it was given up on.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        time::from_micros(py, self.core.created_at)
    }

    /// The errors of its attempts as text, with the tracebacks of Python sinks.
    #[getter]
    fn errors(&self) -> Vec<String> {
        self.core.errors.clone()
    }

    /// Which records, and why.
    #[getter]
    fn records(&self) -> Vec<DeadRecord> {
        let record = |record: &unistream::DeadRecord| DeadRecord {
            seq: record.seq,
            id: record.id.clone(),
            reason: record.reason.clone(),
            rejected: record.rejected,
        };
        self.core.records.iter().map(record).collect()
    }

    /// Bytes on disk.
    #[getter]
    fn bytes(&self) -> u64 {
        self.core.bytes
    }

    /// The records themselves.
    fn batch(&self, py: Python<'_>) -> PyResult<Batch> {
        let batch = py.detach(|| self.core.batch()).or_raise(py)?;
        Ok(Batch::new(&batch))
    }

    fn __repr__(&self) -> String {
        format!("<DeadLetter {} of {} records>", text::shown(&self.core.id), self.core.records.len())
    }
}

/// A record of a dead letter.
#[pyclass(frozen, get_all, module = "unistream._native")]
pub(crate) struct DeadRecord {
    /// Its sequence number.
    seq: u64,
    /// Its id.
    id: String,
    /// Why it is here.
    reason: String,
    /// Whether the sink rejected it, rather than the attempts being used up.
    rejected: bool,
}

#[pymethods]
impl DeadRecord {
    fn __repr__(&self) -> String {
        format!("<DeadRecord {}: {}>", self.seq, text::shown(&self.reason))
    }
}
