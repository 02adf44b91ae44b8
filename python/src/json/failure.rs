//! An error inside of a value, and the place where it is.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::text;

/// An error, and the way to it: collected while the calls return, so that a value without errors pays nothing for it.
pub(super) struct Failure {
    error: PyErr,
    /// From the inside out.
    steps: Vec<Step>,
}

pub(super) enum Step {
    Key(Py<PyAny>),
    Index(usize),
}

impl From<PyErr> for Box<Failure> {
    fn from(error: PyErr) -> Self {
        Box::new(Failure { error, steps: Vec::new() })
    }
}

impl Failure {
    pub(super) fn within(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    /// The error with the place in its message; one of the program's own code gets it as a note.
    pub(super) fn raise(self, py: Python<'_>) -> PyErr {
        if self.steps.is_empty() {
            return self.error;
        }
        let place = self.place(py);
        let kind = self.error.get_type(py);
        let value = self.error.value(py);
        if kind.is(py.get_type::<PyTypeError>()) || kind.is(py.get_type::<PyValueError>()) {
            return PyErr::from_type(kind, format!("{place}: {value}"));
        }
        if let Ok(reason) = value.getattr("reason").and_then(|reason| reason.extract::<String>()) {
            // A UnicodeEncodeError: half of a surrogate pair.
            let _ = value.setattr("reason", format!("{reason}, in {place}"));
        } else {
            let _ = value.call_method1("add_note", (format!("in {place}"),));
        }
        self.error
    }

    fn place(&self, py: Python<'_>) -> String {
        /// The steps shown at both ends of a long way.
        const ENDS: usize = 8;
        let mut place = String::from("$");
        for (nth, step) in self.steps.iter().rev().enumerate() {
            if self.steps.len() > 2 * ENDS && nth == ENDS {
                place.push_str("[...]");
            }
            if self.steps.len() > 2 * ENDS && (ENDS..self.steps.len() - ENDS).contains(&nth) {
                continue;
            }
            match step {
                Step::Index(index) => place.push_str(&format!("[{index}]")),
                Step::Key(key) => {
                    let key = key.bind(py).str().map_or_else(|_| "?".into(), |key| key.to_string_lossy().into_owned());
                    let plain = |character: char| character.is_alphanumeric() || character == '_' || character == '-';
                    if !key.is_empty() && key.len() <= 64 && key.chars().all(plain) {
                        place.push('.');
                        place.push_str(&key);
                    } else {
                        place.push_str(&format!("[\"{}\"]", text::shown(&key)));
                    }
                }
            }
        }
        place
    }
}
