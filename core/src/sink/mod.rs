//! Where batches go: the trait [`Sink`] and what a sink answers.

#[cfg(feature = "async")]
mod asynchronous;
pub mod aws;
mod closure;
mod file;
pub mod http;
pub mod kafka;
mod kind;
pub mod nats;
#[cfg(feature = "net")]
#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, unreachable_pub, reason = "without a sink of ours it serves those that are being written")
)]
pub(crate) mod net;
mod null;
pub mod postgres;
pub mod redis;
mod registry;
mod renewable;
mod url;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncSink, FromAsync, Sending, from_async};
pub use closure::{FnSink, IntoReport, from_fn};
#[cfg(feature = "torture")]
pub(crate) use file::Layout;
pub use file::{FileMode, FileOptions, FileSink, FileSinkBuilder, Framing};
pub use kind::{Constructor, Kind, Place};
pub use null::NullSink;
pub use registry::{Pair, index, kind, kinds, open, register, register_as, resolve, set_finder};
pub(crate) use renewable::Awaited;
pub use renewable::{Maker, renew, renewable};

use crate::batch::Batch;
use crate::error::Cause;
pub use crate::limits::{Limits, MAX_REASON_BYTES, MAX_RECEIPT_BYTES};
use crate::record::NewRecord;
use crate::text::cut;

/// A destination of batches.
///
/// `send` is called by one thread at a time (up to `max_in_flight` threads if that is more than 1; what is best for the sink, it
/// says in [`Limits::order`] and [`Limits::in_flight`]). It may
/// take as long as it needs: `put` does not wait for it. A panic in it is a failed attempt.
///
/// A forked child makes sinks of its own: one that was made before the fork shares its files and connections with the
/// parent's, and nothing guards them. [`maker`](Self::maker) says how.
///
/// [`from_fn`] makes one of a closure.
pub trait Sink: Send + Sync {
    /// Sends the batch and says what became of it.
    ///
    /// # Errors
    /// The error speaks for every record of the batch; to answer for each, return a [`Report`].
    fn send(&self, batch: &Batch) -> Result<Report, SendError>;

    /// What to keep with a batch before it is tried for the first time: a memo of at most
    /// [`MAX_MEMO_BYTES`](crate::limits::MAX_MEMO_BYTES), which every attempt finds in [`Batch::memo`], across restarts. A target's
    /// means to deliver once may need one: a producer id, a sequence number, the name of a transaction. `None` keeps nothing, and is
    /// asked again before the next attempt; so is a sink whose process died before the memo was on disk, when nothing was sent yet.
    ///
    /// The memo is durable before [`send`](Self::send) is called: it survives the death of the process, and a power loss as
    /// `durability` says. Where the disk does not take it, nothing is sent, and the batch is tried again later. In
    /// mode `manual` there is [`Producer::keep_memo`](crate::Producer::keep_memo) in its place.
    ///
    /// # Errors
    /// As of `send`: the attempt has failed before anything was sent.
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        let _ = batch;
        Ok(None)
    }

    /// What one call takes. Batches are sealed within it. A batch that an earlier run sealed under other limits
    /// may be larger; the sink then splits it.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Looks at a record before it is accepted; only called if [`Limits::checks_records`] says so.
    ///
    /// # Errors
    /// The reason why the sink would never take this record; `put` returns it as `InvalidArgument`.
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        let _ = record;
        Ok(())
    }

    /// A name for messages and dead letters. It must hold no secret.
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("sink")
    }

    /// The producer's time to close is over: a `send` under way should return as soon as it can. Called from
    /// another thread. Whatever has failed when `send` returns after this counts as [`SendError::Interrupted`].
    fn interrupt(&self) {}

    /// How a forked child makes this sink anew, for a producer with the option `shared`: asked for once, in the process that
    /// opens the producer, and called in each child that uses it. `None`: nobody knows, and a child is told so (`Forked`),
    /// unless [`Builder::sink_in_child`](crate::Builder::sink_in_child) says it. What [`open`] and [`renewable`] make know.
    fn maker(&self) -> Option<Maker> {
        None
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        (**self).send(batch)
    }
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        (**self).prepare(batch)
    }
    fn limits(&self) -> Limits {
        (**self).limits()
    }
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        (**self).admit(record)
    }
    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
    fn interrupt(&self) {
        (**self).interrupt();
    }
    fn maker(&self) -> Option<Maker> {
        (**self).maker()
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        (**self).send(batch)
    }
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        (**self).prepare(batch)
    }
    fn limits(&self) -> Limits {
        (**self).limits()
    }
    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        (**self).admit(record)
    }
    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
    fn interrupt(&self) {
        (**self).interrupt();
    }
    fn maker(&self) -> Option<Maker> {
        (**self).maker()
    }
}

/// The most bytes that the reasons of one dead letter take together, where there are many.
const MAX_REASONS_BYTES: usize = 4 << 20;

/// The longest reason that each of so many records may have.
pub(crate) fn reason_bytes(records: usize) -> usize {
    (MAX_REASONS_BYTES / records.max(1)).clamp(64, MAX_REASON_BYTES)
}

/// What became of the records of one `send`: delivered, unless it says otherwise.
///
/// Indices count the records of the batch that was passed to `send`; the last setting of an index holds. A report that
/// names an index past the batch's end is an error of the sink: nothing in it is believed, and the attempt has failed.
/// Reasons are cut to [`MAX_REASON_BYTES`].
///
/// ```
/// use unistream::{Outcome, Report};
/// let report = Report::delivered().rejected(2, "not UTF-8").failed(5, "internal failure");
/// assert!(matches!(report.outcome(0), Outcome::Delivered));
/// assert!(matches!(report.outcome(2), Outcome::Rejected { .. }));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By index; what is not here was delivered.
    exceptions: BTreeMap<usize, Outcome>,
    /// What the sink says of records that it took, by index.
    receipts: BTreeMap<usize, Box<str>>,
    /// One more than the highest index that was ever set.
    named: usize,
    /// Why records may have arrived twice, which the sink delivers once otherwise.
    once_ended: Option<String>,
    /// What to keep with what is left of the batch, in the place of its memo.
    pub(crate) memo: Option<Vec<u8>>,
}

/// What became of one record.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The sink has it.
    Delivered,
    /// Not delivered; try again. Counts toward `max_attempts`.
    Failed {
        /// Why.
        error: Cause,
    },
    /// Never to be delivered: into the dead letters with it.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Could not be delivered now through no fault of the record; uses up no attempt.
    Unavailable {
        /// Why.
        error: Cause,
        /// The sink asks not to be tried before this; at most [`MAX_WAIT`](crate::limits::MAX_WAIT), a day, is waited.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// The same, with no longer a reason than so many bytes.
    fn cut(self, most: usize) -> Outcome {
        match self {
            Outcome::Rejected { reason } => Outcome::Rejected { reason: cut(reason, most) },
            other => other,
        }
    }
}

impl Report {
    /// Every record was delivered.
    pub fn delivered() -> Self {
        Report::default()
    }

    /// Every record of a batch of `len` came to the same end.
    pub fn all(len: usize, outcome: Outcome) -> Self {
        let exceptions = match outcome.cut(reason_bytes(len)) {
            Outcome::Delivered => BTreeMap::new(),
            other => (0..len).map(|index| (index, other.clone())).collect(),
        };
        Report { exceptions, named: len, ..Report::default() }
    }

    /// Record `index` failed and is to be tried again.
    pub fn failed(self, index: usize, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.with(index, Outcome::Failed { error: error.into().into() })
    }

    /// Record `index` is never to be delivered.
    pub fn rejected(self, index: usize, reason: impl Into<String>) -> Self {
        self.with(index, Outcome::Rejected { reason: reason.into() })
    }

    /// Record `index` cannot be delivered now.
    pub fn unavailable(
        self,
        index: usize,
        error: impl Into<Box<dyn StdError + Send + Sync>>,
        retry_after: Option<Duration>,
    ) -> Self {
        self.with(index, Outcome::Unavailable { error: error.into().into(), retry_after })
    }

    pub(crate) fn set_rejected(&mut self, index: usize, reason: &str) {
        self.set(index, Outcome::Rejected { reason: reason.into() });
    }

    /// Sets the outcome of one record; the last setting holds.
    pub fn with(mut self, index: usize, outcome: Outcome) -> Self {
        self.set(index, outcome);
        self
    }

    /// Sets the outcome of one record; the last setting holds.
    pub fn set(&mut self, index: usize, outcome: Outcome) {
        self.named = self.named.max(index.saturating_add(1));
        match outcome {
            Outcome::Delivered => self.exceptions.remove(&index),
            outcome => self.exceptions.insert(index, outcome.cut(MAX_REASON_BYTES)),
        };
    }

    /// Tells that records which the sink delivers once otherwise may have arrived twice, and why; it becomes the event
    /// [`OnceEnded`](crate::Event::OnceEnded).
    pub fn set_once_ended(&mut self, reason: impl Into<String>) {
        self.once_ended = Some(cut(reason.into(), MAX_REASON_BYTES));
    }

    /// Why records may have arrived twice, if that is so.
    pub fn once_ended(&self) -> Option<&str> {
        self.once_ended.as_deref()
    }

    /// Says something of a record that was delivered, such as its partition and offset: who has put it by
    /// [`Producer::put_with`](crate::Producer::put_with) hears of it. Nobody else does, so that it may be left out unless
    /// [`Batch::wants_receipts`]. Cut to [`MAX_RECEIPT_BYTES`].
    pub fn set_receipt(&mut self, index: usize, receipt: impl Into<String>) {
        self.named = self.named.max(index.saturating_add(1));
        self.receipts.insert(index, cut(receipt.into(), MAX_RECEIPT_BYTES).into());
    }

    /// What was said of record `index`, if it was delivered.
    pub fn receipt(&self, index: usize) -> Option<&str> {
        self.receipts
            .get(&index)
            .map(|receipt| &**receipt)
            .filter(|_| matches!(self.outcome(index), Outcome::Delivered))
    }

    /// What became of record `index`.
    pub fn outcome(&self, index: usize) -> &Outcome {
        self.exceptions.get(&index).unwrap_or(&Outcome::Delivered)
    }

    /// What is wrong with it as the answer for a batch of `len`, if anything is.
    pub(crate) fn check(&self, len: usize) -> Result<(), SendError> {
        match self.named.checked_sub(1) {
            Some(last) if last >= len => Err(SendError::failed(format!(
                "the report speaks of record {last} of a batch of {len}, counted from 0"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether every record was delivered.
    pub fn is_delivered(&self) -> bool {
        self.exceptions.is_empty()
    }

    /// The records that were not delivered, by rising index.
    pub fn exceptions(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        self.exceptions.iter().map(|(index, outcome)| (*index, outcome))
    }
}

/// Why a whole batch was not delivered.
///
/// It implements no `std::error::Error` of its own, so that `?` turns any error into [`Failed`](Self::Failed).
#[derive(Clone, Debug)]
pub enum SendError {
    /// The attempt failed. It counts toward `max_attempts`.
    Failed(Cause),
    /// The sink cannot be reached now. Retried on the same schedule, using up no attempt.
    Unavailable {
        /// Why.
        error: Cause,
        /// The sink asks not to be tried before this; at most [`MAX_WAIT`](crate::limits::MAX_WAIT), a day, is waited.
        retry_after: Option<Duration>,
    },
    /// The sink will never take any record of this batch.
    Rejected(String),
    /// The attempt was cut short because the program or its producer is ending. It counts nothing, is not told of in any
    /// dead letter, and the batch is as it was before it. A sink need not say so once [`Sink::interrupt`] was called:
    /// failures after that are taken for this.
    Interrupted(Cause),
}

impl SendError {
    /// A failed attempt with a message.
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        SendError::Failed(error.into().into())
    }

    /// An unavailable sink with a message.
    pub fn unavailable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        SendError::Unavailable { error: error.into().into(), retry_after: None }
    }

    /// An attempt that was cut short because the program is ending.
    pub fn interrupted(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        SendError::Interrupted(error.into().into())
    }

    /// The outcome of each record of the batch.
    pub fn into_outcome(self) -> Outcome {
        match self {
            SendError::Failed(error) => Outcome::Failed { error },
            SendError::Unavailable { error, retry_after } => Outcome::Unavailable { error, retry_after },
            SendError::Rejected(reason) => Outcome::Rejected { reason },
            SendError::Interrupted(error) => Outcome::Unavailable { error, retry_after: None },
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Failed(error) => write!(f, "{error}"),
            SendError::Unavailable { error, .. } => write!(f, "unavailable: {error}"),
            SendError::Rejected(reason) => write!(f, "rejected: {reason}"),
            SendError::Interrupted(error) => write!(f, "interrupted: {error}"),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for SendError {
    fn from(error: E) -> Self {
        SendError::Failed(Arc::new(error))
    }
}
