//! `Report`: what a sink says of single records.

use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::{PyBaseException, PyIndexError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use unistream::Outcome;

use crate::error::Raised;
use crate::sync::lock;
use crate::text;

/// Rows of a report that its `repr` shows.
const SHOWN: usize = 5;

/// What became of the records of a batch: delivered, unless it says otherwise. A sink returns it.
///
/// Indices count the records of the batch that the sink was given. The methods return the report itself, so that calls
/// can be chained.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Report {
    pub(crate) core: Mutex<unistream::Report>,
    /// The length of the batch, where it is known.
    len: Option<usize>,
}

impl Report {
    pub(crate) fn of_native(report: unistream::Report, len: usize) -> Self {
        Report { core: Mutex::new(report), len: Some(len) }
    }

    fn set<'py>(slf: Bound<'py, Self>, index: Index, outcome: Outcome) -> PyResult<Bound<'py, Self>> {
        let index = index.0;
        if slf.get().len.is_some_and(|len| index >= len) {
            return Err(PyIndexError::new_err(format!("report index {index} out of range")));
        }
        lock(&slf.get().core).set(index, outcome);
        Ok(slf)
    }
}

/// The place of a record in its batch, from 0: nothing counts from the end here.
struct Index(usize);

impl<'a, 'py> FromPyObject<'a, 'py> for Index {
    type Error = PyErr;

    fn extract(index: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        index.extract().map(Index).map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(index.py()) {
                PyIndexError::new_err(format!("report index {} out of range", text::shown(&index.to_string())))
            } else {
                error
            }
        })
    }
}

#[pymethods]
impl Report {
    #[new]
    fn new() -> Self {
        Report { core: Mutex::default(), len: None }
    }

    /// Record `index` failed and is to be tried again; that counts toward `max_attempts`.
    fn failed<'py>(slf: Bound<'py, Self>, index: Index, error: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let error = cause(error)?;
        Report::set(slf, index, Outcome::Failed { error })
    }

    /// Record `index` is never to be delivered: into the dead letters with it.
    fn rejected(slf: Bound<'_, Self>, index: Index, reason: String) -> PyResult<Bound<'_, Self>> {
        Report::set(slf, index, Outcome::Rejected { reason })
    }

    /// Record `index` cannot be delivered now through no fault of its own; uses up no attempt.
    ///
    /// A `retry_after` that is no wait (negative, NaN, text that is neither seconds nor a date of HTTP) is no floor; one
    /// of more than a day is a day.
    #[pyo3(signature = (index, error, *, retry_after = None))]
    fn unavailable<'py>(
        slf: Bound<'py, Self>,
        index: Index,
        error: &Bound<'py, PyAny>,
        retry_after: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        static SECONDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let seconds = SECONDS.import(slf.py(), "unistream._outage", "seconds")?;
        let retry_after: Option<f64> = seconds.call1((retry_after,))?.extract()?;
        let retry_after = retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Report::set(slf, index, Outcome::Unavailable { error: cause(error)?, retry_after })
    }

    /// Say something of record `index`, if it is delivered, such as its partition and offset: who has put it by `put_reported`
    /// hears it, and nobody else, so that it may be left out where `batch.wants_receipts` is false. At most 1,024 bytes.
    fn receipt(slf: Bound<'_, Self>, index: Index, receipt: String) -> PyResult<Bound<'_, Self>> {
        let index = index.0;
        if slf.get().len.is_some_and(|len| index >= len) {
            return Err(PyIndexError::new_err(format!("report index {index} out of range")));
        }
        lock(&slf.get().core).set_receipt(index, receipt);
        Ok(slf)
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
        let row = |(index, what, why): &(usize, &str, String)| format!(" {index} {what}: {}", text::shown(why));
        let rows: Vec<_> = exceptions.iter().take(SHOWN).map(row).collect();
        match exceptions.len() {
            0 => "<Report delivered>".into(),
            len if len > SHOWN => format!("<Report{}; and {} more>", rows.join(";"), len - SHOWN),
            _ => format!("<Report{}>", rows.join(";")),
        }
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
