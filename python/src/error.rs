//! Errors in both directions: the core's become exceptions, and the exceptions that a sink raises travel through the
//! core as causes and come out whole.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use unistream::{Cause, Error};

use crate::text;

/// The bytes that a dead letter has for the message and the traceback together, less what joins them.
const ROOM: usize = 4000;

/// An exception on its way through the core.
#[derive(Debug)]
pub(crate) struct Raised {
    error: PyErr,
    summary: String,
    traceback: Traceback,
}

impl Raised {
    pub(crate) fn cause(py: Python<'_>, error: PyErr) -> Cause {
        // Fetched from a call, it carries its traceback beside it.
        if let Some(traceback) = error.traceback(py) {
            let _ = error.value(py).setattr("__traceback__", traceback);
        }
        // A message may be a page of HTML or all of a batch.
        let summary = text::cut(&error.to_string(), text::MOST);
        let traceback = Traceback(traceback(py, &error, ROOM - summary.len()).unwrap_or_default());
        Arc::new(Raised { error, summary, traceback })
    }

    /// The exception behind a core error, if a sink raised one.
    pub(crate) fn of(error: &Error) -> Option<&PyErr> {
        error.cause()?.downcast_ref::<Raised>().map(|raised| &raised.error)
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl StdError for Raised {
    /// The traceback as text, so that a dead letter keeps it.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.traceback)
    }
}

#[derive(Debug)]
struct Traceback(String);

impl fmt::Display for Traceback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Traceback {}

fn traceback(py: Python<'_>, error: &PyErr, most: usize) -> PyResult<String> {
    let lines = py.import("traceback")?.call_method1("format_exception", (error.value(py),))?;
    let whole = PyString::new(py, "").call_method1("join", (lines,))?;
    // A message may hold halves of surrogate pairs, which are no text outside of Python.
    Ok(shortened(whole.cast::<PyString>()?.to_string_lossy().trim_end(), most))
}

/// Text that a dead letter has room for: where it is too long, the middle of the stack goes.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = &text[..text.floor_char_boundary(most / 3)];
    let tail = &text[text.ceil_char_boundary(text.len() - most * 2 / 3)..];
    format!("{head}\n[...]\n{tail}")
}

/// The exception that stands for a core error; `unistream/_errors.py` says which class that is.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    let build = || -> PyResult<PyErr> {
        static FROM_NATIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = FROM_NATIVE.import(py, "unistream._errors", "from_native")?;
        let flags = (error.is_retryable(), error.record_accepted());
        let exception = class.call1((error.kind().name(), error.message(), flags.0, flags.1, error.os_error()))?;
        let exception = PyErr::from_value(exception);
        exception.set_cause(py, cause(py, &error));
        Ok(exception)
    };
    build().unwrap_or_else(|failure| failure)
}

fn cause(py: Python<'_>, error: &Error) -> Option<PyErr> {
    if let Some(raised) = Raised::of(error) {
        return Some(raised.clone_ref(py));
    }
    Some(io::Error::from_raw_os_error(error.os_error()?).into())
}

/// `result?` for core results.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for unistream::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, error))
    }
}
