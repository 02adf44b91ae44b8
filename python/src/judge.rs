//! What a Python sink answered, in the core's terms: what it returned, and what it raised.

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use unistream::{Error, ErrorKind, SendError, Sink};

use crate::error::Raised;
use crate::payload::Encoded;
use crate::record::Batch;
use crate::report::Report;
use crate::sync::lock;
use crate::text;

pub(crate) type Answer = Result<unistream::Report, SendError>;
/// What a sink keeps with a batch.
pub(crate) type Memo = Result<Option<Vec<u8>>, SendError>;

/// Judges the answers of one producer's sink.
#[derive(Default)]
pub(crate) struct Judge {
    /// The sink, for messages.
    pub(crate) name: String,
    /// What the program counts as an outage besides the table of `unistream/_outage.py`.
    pub(crate) added: Option<Py<PyAny>>,
    /// The sink answered what nobody understands: it is not called again until somebody has looked.
    defect: Mutex<Option<String>>,
}

impl Judge {
    pub(crate) fn new(name: String, added: Option<Py<PyAny>>) -> Self {
        Judge { name, added, defect: Mutex::default() }
    }

    /// What `returned` means.
    pub(crate) fn answer(&self, returned: PyResult<Bound<'_, PyAny>>, py: Python<'_>) -> Answer {
        let returned = match returned {
            Ok(returned) => returned,
            Err(error) => return Err(self.error(py, error)),
        };
        if returned.is_none() {
            return Ok(unistream::Report::delivered());
        }
        match returned.cast::<Report>() {
            Ok(report) => Ok(lock(&report.get().core).clone()),
            // It may be a reply that says "failed" in its own way, and taking it for success could lose records. Or it
            // may be a success, and sending again would deliver twice, every time.
            Err(_) => Err(self.misunderstood(py, &returned)),
        }
    }

    /// What an exception from the sink means.
    pub(crate) fn error(&self, py: Python<'_>, error: PyErr) -> SendError {
        static REJECTED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static VERDICT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let rejected = REJECTED.import(py, "unistream._errors", "BatchRejected");
        if rejected.is_ok_and(|class| error.is_instance(py, class)) {
            return SendError::Rejected(text::cut(&error.value(py).to_string(), text::MOST));
        }
        let judge = || -> PyResult<(String, Option<f64>)> {
            let verdict = VERDICT.import(py, "unistream._outage", "verdict")?;
            verdict.call1((error.value(py), &self.added))?.extract()
        };
        // An interpreter that is ending cannot judge; what it breaks off is nobody's fault.
        let (verdict, seconds) = judge().unwrap_or_else(|_| ("interrupted".into(), None));
        let error = Raised::cause(py, error);
        let retry_after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match verdict.as_str() {
            "failed" => SendError::Failed(error),
            "interrupted" => SendError::Interrupted(error),
            _ => SendError::Unavailable { error, retry_after },
        }
    }

    fn misunderstood(&self, py: Python<'_>, returned: &Bound<'_, PyAny>) -> SendError {
        let kind = returned.get_type();
        let mut message = format!(
            "the sink {} returned {kind}, not None or a unistream.Report: nobody knows whether the batch was delivered, \
             so it is kept and no more is sent; correct the sink, then call resume() or open the producer again",
            self.name
        );
        if returned.hasattr("cr_frame").unwrap_or(false) {
            // Not awaited by anybody; a warning would only repeat it.
            let _ = returned.call_method0("close");
            message.push_str(" (a sink that makes coroutines is declared with async def)");
        }
        *lock(&self.defect) = Some(message.clone());
        SendError::Unavailable { error: Raised::cause(py, PyTypeError::new_err(message)), retry_after: None }
    }

    /// What `prepare` of a sink said.
    pub(crate) fn memo(&self, returned: PyResult<Bound<'_, PyAny>>, py: Python<'_>) -> Memo {
        let memo = match returned {
            Ok(none) if none.is_none() => return Ok(None),
            Ok(memo) => memo,
            Err(error) => return Err(self.error(py, error)),
        };
        match Encoded::key(&memo).and_then(|memo| memo.as_bytes().map(<[u8]>::to_vec)) {
            Ok(memo) => Ok(Some(memo)),
            Err(error) => Err(self.error(py, error)),
        }
    }

    /// The answer to every batch while the sink is not to be called.
    pub(crate) fn refusal(&self) -> Option<SendError> {
        lock(&self.defect).clone().map(SendError::unavailable)
    }

    /// Why flushing would wait for nothing.
    pub(crate) fn defect(&self) -> Option<Error> {
        lock(&self.defect).clone().map(|message| Error::new(ErrorKind::SendFailed, message))
    }

    /// Somebody has looked.
    pub(crate) fn forgive(&self) {
        lock(&self.defect).take();
    }
}

/// A Python callable, called on the thread that the core sends on: for inline mode, where that is the caller's.
pub(crate) struct Direct {
    pub(crate) send: Py<PyAny>,
    prepare: Option<Py<PyAny>>,
    pub(crate) judge: Judge,
    /// What is no `Exception` belongs to the caller: Ctrl-C, `exit()`. It comes out of the call that sent.
    interruption: Mutex<Option<PyErr>>,
}

impl Direct {
    pub(crate) fn new(send: Py<PyAny>, prepare: Option<Py<PyAny>>, judge: Judge) -> Self {
        Direct { send, prepare, judge, interruption: Mutex::default() }
    }

    /// Calls what is Python's.
    fn call<T>(
        &self,
        callable: &Py<PyAny>,
        batch: &unistream::Batch,
        judge: impl FnOnce(PyResult<Bound<'_, PyAny>>, Python<'_>) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        if let Some(refusal) = self.judge.refusal() {
            return Err(refusal);
        }
        let call = |py: Python<'_>| match callable.bind(py).call1((Batch::new(batch),)) {
            Err(error) if !error.is_instance_of::<PyException>(py) => {
                let cause = Raised::cause(py, error.clone_ref(py));
                *lock(&self.interruption) = Some(error);
                Err(SendError::Interrupted(cause))
            }
            returned => judge(returned, py),
        };
        Python::try_attach(call).unwrap_or_else(|| Err(SendError::interrupted("the interpreter is shutting down")))
    }

    /// What interrupted the sink since the last look.
    pub(crate) fn interruption(&self) -> Option<PyErr> {
        lock(&self.interruption).take()
    }
}

impl Sink for Direct {
    fn prepare(&self, batch: &unistream::Batch) -> Memo {
        let Some(prepare) = &self.prepare else { return Ok(None) };
        self.call(prepare, batch, |returned, py| self.judge.memo(returned, py))
    }

    fn send(&self, batch: &unistream::Batch) -> Answer {
        self.call(&self.send, batch, |returned, py| self.judge.answer(returned, py))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.judge.name)
    }
}
