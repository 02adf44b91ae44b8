//! Closures as sinks.

use std::borrow::Cow;

use super::{Report, SendError, Sink};
use crate::batch::Batch;

/// What a closure may return.
pub trait IntoReport {
    /// The answer that it stands for.
    fn into_report(self) -> Result<Report, SendError>;
}

impl IntoReport for () {
    fn into_report(self) -> Result<Report, SendError> {
        Ok(Report::delivered())
    }
}

impl IntoReport for Report {
    fn into_report(self) -> Result<Report, SendError> {
        Ok(self)
    }
}

impl<R: IntoReport, E: Into<SendError>> IntoReport for Result<R, E> {
    fn into_report(self) -> Result<Report, SendError> {
        self.map_err(Into::into)?.into_report()
    }
}

/// A closure as a sink. It may return `()`, a [`Report`], or a `Result` of either, whose error is a failed
/// attempt unless it is a [`SendError`] that says otherwise.
///
/// ```
/// use unistream::{Batch, Sink, sink};
/// let sink = sink::from_fn(|batch: &Batch| {
///     for record in batch.iter() {
///         println!("{} {:?}", record.seq, record.data);
///     }
/// });
/// assert!(sink.send(&Batch::from_records([])).is_ok());
/// ```
pub fn from_fn<F, R>(send: F) -> FnSink<F>
where
    F: Fn(&Batch) -> R + Send + Sync,
    R: IntoReport,
{
    FnSink(send)
}

/// What [`from_fn`] returns.
#[derive(Clone, Copy)]
pub struct FnSink<F>(F);

impl<F, R> Sink for FnSink<F>
where
    F: Fn(&Batch) -> R + Send + Sync,
    R: IntoReport,
{
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        (self.0)(batch).into_report()
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("callback")
    }
}
