//! What a sink answers.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::time::Duration;

use engine::limits::MAX_REASON_BYTES;
use engine::{Outcome, Report, SendError};

use crate::constants::{
    UNISTREAM_OUTCOME_DELIVERED, UNISTREAM_OUTCOME_FAILED, UNISTREAM_OUTCOME_REJECTED, UNISTREAM_OUTCOME_UNAVAILABLE,
    unistream_outcome,
};
use crate::panics::infallible;

/// What a sink says besides the outcome of the whole batch: a message, a retry-after, outcomes of single records.
/// One thread at a time.
#[derive(Default)]
pub struct unistream_report {
    message: Option<String>,
    retry_after: Option<Duration>,
    records: BTreeMap<usize, (unistream_outcome, Option<String>)>,
    receipts: BTreeMap<usize, String>,
}

impl unistream_report {
    /// The engine's answer for a batch of `count` records of which `outcome` holds, single records excepted.
    ///
    /// An answer that makes no sense is a failed attempt that says so: nothing may count as delivered by mistake.
    pub(crate) fn answer(&self, outcome: unistream_outcome, count: usize) -> Result<Report, SendError> {
        let whole = self.outcome(outcome, self.message.as_deref())?;
        if self.records.is_empty() {
            return match whole {
                Outcome::Delivered => Ok(self.with_receipts(Report::delivered())),
                Outcome::Failed { error } => Err(SendError::Failed(error)),
                Outcome::Rejected { reason } => Err(SendError::Rejected(reason)),
                Outcome::Unavailable { error, retry_after } => Err(SendError::Unavailable { error, retry_after }),
            };
        }
        let mut report = Report::all(count, whole);
        for (index, (outcome, message)) in &self.records {
            report.set(*index, self.outcome(*outcome, message.as_deref().or(self.message.as_deref()))?);
        }
        Ok(self.with_receipts(report))
    }

    fn with_receipts(&self, mut report: Report) -> Report {
        for (index, receipt) in &self.receipts {
            report.set_receipt(*index, receipt.as_str());
        }
        report
    }

    fn outcome(&self, outcome: unistream_outcome, message: Option<&str>) -> Result<Outcome, SendError> {
        let message = |default: &str| message.unwrap_or(default).to_owned();
        let cause = |default: &str| Box::<dyn std::error::Error + Send + Sync>::from(message(default)).into();
        match outcome {
            UNISTREAM_OUTCOME_DELIVERED => Ok(Outcome::Delivered),
            UNISTREAM_OUTCOME_FAILED => Ok(Outcome::Failed { error: cause("the sink failed") }),
            UNISTREAM_OUTCOME_REJECTED => Ok(Outcome::Rejected { reason: message("the sink rejected it") }),
            UNISTREAM_OUTCOME_UNAVAILABLE => {
                Ok(Outcome::Unavailable { error: cause("the sink is unavailable"), retry_after: self.retry_after })
            }
            other => Err(SendError::failed(format!("the sink answered {other}, which is no outcome"))),
        }
    }
}

/// A message of a sink: text that is not UTF-8 is repaired rather than refused, since a sink that failed should not
/// fail again over its own message.
///
/// # Safety
/// `message` is NULL or a C string that lives for the call.
pub(crate) unsafe fn message(message: *const c_char) -> Option<String> {
    // SAFETY: not NULL, so our caller promises a C string.
    let text = (!message.is_null()).then(|| unsafe { CStr::from_ptr(message) }.to_string_lossy())?;
    // No more is kept of it anywhere.
    Some(text[..text.floor_char_boundary(MAX_REASON_BYTES)].to_owned())
}

/// Makes an empty report for `unistream_producer_settle()`. Callbacks are lent theirs.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_report_new() -> Option<Box<unistream_report>> {
    infallible(|| Some(Box::default()))
}

/// Answers for record `index` of the batch, counted from 0; the last answer for a record holds. Records that are not
/// answered for share the outcome of the whole batch.
///
/// `message`, copied, says why, and stands in the dead letter of a rejected record; NULL: the report's message. More
/// than 4096 bytes of it are cut off.
///
/// An index past the batch's end and a number that is no outcome turn the whole answer into a failed attempt whose
/// error names the mistake; the attempt's records are then all sent again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_report_record(
    report: Option<&mut unistream_report>,
    index: usize,
    outcome: unistream_outcome,
    message: *const c_char,
) {
    infallible(|| {
        // SAFETY: the contract: NULL or a C string that lives for the call.
        let message = unsafe { self::message(message) };
        if let Some(report) = report {
            report.records.insert(index, (outcome, message));
        }
    });
}

/// Says something of record `index`, if it is delivered, such as its partition and offset: the callback of
/// `unistream_producer_put_reported()` hears it. Copied, at most 1024 bytes of it; NULL does nothing. Nobody else hears it, so
/// that it may be left out where `unistream_batch_wants_receipts()` is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_report_receipt(
    report: Option<&mut unistream_report>,
    index: usize,
    receipt: *const c_char,
) {
    infallible(|| {
        // SAFETY: the contract: NULL or a C string that lives for the call.
        let receipt = unsafe { message(receipt) };
        if let (Some(report), Some(receipt)) = (report, receipt) {
            report.receipts.insert(index, receipt);
        }
    });
}

/// Says, for the log, the error and the dead letter, why records were not delivered. Copied, at most 4096 bytes of it;
/// NULL takes it back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_report_message(report: Option<&mut unistream_report>, message: *const c_char) {
    infallible(|| {
        // SAFETY: the contract: NULL or a C string that lives for the call.
        let message = unsafe { self::message(message) };
        if let Some(report) = report {
            report.message = message;
        }
    });
}

/// Asks, beside `UNISTREAM_OUTCOME_UNAVAILABLE`, not to be tried again before this many milliseconds; more than a day
/// counts as a day. The schedule may wait longer, and `unistream_producer_resume()` tries at once. Without effect on
/// other outcomes.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_report_retry_after(report: Option<&mut unistream_report>, milliseconds: u64) {
    if let Some(report) = report {
        report.retry_after = Some(Duration::from_millis(milliseconds));
    }
}

/// Frees a report of `unistream_report_new()`. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_report_free(report: Option<Box<unistream_report>>) {
    drop(report);
}
