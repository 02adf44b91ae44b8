//! [`NullSink`]: nothing is kept.

use std::borrow::Cow;
use std::sync::Arc;

use super::kind::{Kind, Place};
use super::{Maker, Report, SendError, Sink};
use crate::batch::Batch;

pub(super) static KIND: Kind = Kind {
    scheme: "null",
    aliases: &[],
    summary: "Takes everything and keeps nothing: for measuring what comes before the sink.",
    once: "At least once, and at once forgotten.",
    page: include_str!("page.md"),
    options: &[],
    takes_any: false,
    place: Place::Nothing,
    feature: "",
    open: Some(&|_| Ok(Box::new(NullSink))),
};

/// A sink that takes everything and keeps nothing: for measuring what comes before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    fn send(&self, _: &Batch) -> Result<Report, SendError> {
        Ok(Report::delivered())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("null")
    }

    fn maker(&self) -> Option<Maker> {
        Some(Arc::new(|| Ok(Box::new(NullSink))))
    }
}
