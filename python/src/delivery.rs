//! What `put_reported` stands on: a record that is to be reported is announced before its put and named after it.

use std::sync::Mutex;

use pyo3::prelude::*;
use unistream::DeliveryReport;

use crate::sync::lock;

/// The next put's record is to be reported, until it is named, or the put has failed.
#[pyclass(frozen, module = "unistream._native")]
pub(crate) struct Reporting(Mutex<Option<unistream::Reporting>>);

impl Reporting {
    pub(crate) fn new(reporting: unistream::Reporting) -> Self {
        Reporting(Mutex::new(Some(reporting)))
    }
}

#[pymethods]
impl Reporting {
    /// Names the record. `on_report(seq, delivery, reason, receipt)` is called once, on any thread.
    fn attach(&self, py: Python<'_>, seq: u64, on_report: Py<PyAny>) {
        let Some(reporting) = lock(&self.0).take() else { return };
        let on_report = move |report: DeliveryReport| {
            let DeliveryReport { seq, delivery, reason, receipt, .. } = report;
            // Where the interpreter ends nobody is left to hear it.
            let _ = Python::try_attach(|py| {
                if let Err(error) = on_report.call1(py, (seq, delivery.name(), reason, receipt)) {
                    error.write_unraisable(py, Some(on_report.bind(py)));
                }
            });
        };
        // It may be called at once, and by other threads meanwhile.
        py.detach(|| reporting.attach(seq, on_report));
    }

    /// The put has failed.
    fn cancel(&self, py: Python<'_>) {
        let reporting = lock(&self.0).take();
        py.detach(|| drop(reporting));
    }
}
