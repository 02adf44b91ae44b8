//! Manual mode: the program asks for batches, sends them its own way, and says how that went.

use std::sync::Arc;
use std::time::Duration;

use super::sender::AGAIN;
use super::{Producer, Shared};
use crate::batch::Batch;
use crate::buffer::Taken;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Mode;
use crate::sink::{Report, SendError};

impl Producer {
    /// Manual mode: the next batch whose time has come, if there is one. It must be given back to
    /// [`settle`](Self::settle); until then it is not handed out again.
    ///
    /// # Errors
    /// `WrongMode` in other modes; those of a stopped or closed producer; `Io` if the log cannot be read.
    pub fn next_batch(&self) -> Result<Option<Batch>> {
        let next = self.find_batch();
        if !matches!(next, Ok(Some(_))) {
            self.look_when_next();
        }
        next
    }

    fn find_batch(&self) -> Result<Option<Batch>> {
        let shared = &*self.here()?.shared;
        shared.check()?;
        shared.check_manual()?;
        let own = shared.next_batch()?;
        let Some(household) = shared.household.as_ref().filter(|_| own.is_none()) else { return Ok(own) };
        // What is wrong with another's slot is no reason to stop.
        Ok(household.ask(shared, |adopted| adopted.next_batch().ok().flatten()))
    }

    /// Manual mode: keeps a memo with a batch that was handed out, of at most [`MAX_MEMO_BYTES`](crate::limits::MAX_MEMO_BYTES),
    /// as [`Sink::prepare`](crate::Sink::prepare) does in the other modes: [`Batch::memo`] has it at every later attempt, across
    /// restarts. Call it before anything of the batch is sent for the first time, which is when `Batch::memo` is `None`.
    ///
    /// When this has returned, the memo survives the death of the process, and a power loss as `durability` says.
    ///
    /// # Errors
    /// `WrongMode` in other modes; `Closed`; `NotFound` for a batch that waits for no answer; `InvalidArgument` for a memo that
    /// is too long, and for a batch that has one: what was sent with it may have arrived. `DiskFull` or `Io` if the disk does not take it.
    /// The batch has no other memo than before then.
    pub fn keep_memo(&self, batch: &mut Batch, memo: impl Into<Vec<u8>>) -> Result<()> {
        let shared = &*self.here()?.shared;
        shared.check_caller()?;
        shared.check_manual()?;
        shared.refuse_closed()?;
        shared.adopted_with(batch).as_deref().unwrap_or(shared).core().keep_memo(batch, memo.into())
    }

    /// Manual mode: how long until [`next_batch`](Self::next_batch) may have something, for an event loop's timer.
    /// `None`: not before the next `put`. An event loop that polls [`fd`](Self::fd) needs no timer.
    pub fn next_wait(&self) -> Option<Duration> {
        let shared = &*self.here().ok()?.shared;
        shared.check().ok()?;
        let own = shared.next_wait();
        let Some(household) = &shared.household else { return own };
        let mut wait = own.into_iter().chain([household.until_look()]).min();
        household.ask(shared, |adopted| {
            wait = adopted.next_wait().into_iter().chain(wait).min();
            None::<()>
        });
        wait
    }

    /// Manual mode: says what became of a batch. What was not delivered is handed out again when the schedule
    /// says so.
    ///
    /// # Errors
    /// `WrongMode` in other modes; `Closed`; `NotFound` for a batch that waits for no answer: each handing-out takes one,
    /// and the batch of a dead letter or of an earlier opening none; `InvalidArgument` for a report that names a record
    /// the batch does not have. Nothing has changed then: a clone of the batch can still be given back. `RetriesExhausted` or
    /// `DeadLettersFull` if this stops the producer; `DiskFull` or `Io` if it could not be noted on disk.
    pub fn settle(&self, batch: Batch, answer: Result<Report, SendError>) -> Result<()> {
        let settled = self.give_back(batch, answer);
        // Another may go out instead, or this one again.
        self.look_when_next();
        settled
    }

    fn give_back(&self, batch: Batch, answer: Result<Report, SendError>) -> Result<()> {
        let shared = &*self.here()?.shared;
        shared.check_caller()?;
        shared.check_manual()?;
        shared.refuse_closed()?;
        if let Ok(report) = &answer {
            let refused = |error| Error::new(ErrorKind::InvalidArgument, format!("{error}"));
            report.check(batch.len()).map_err(refused)?;
        }
        let Some(adopted) = shared.adopted_with(&batch) else { return shared.settle(batch, answer, Duration::ZERO) };
        let settled = adopted.settle(batch, answer, Duration::ZERO);
        // There may be no call for long.
        shared.household.as_ref().inspect(|household| household.give_back_drained());
        settled
    }
}

impl Shared {
    fn next_batch(&self) -> Result<Option<Batch>> {
        self.core().seal_if_old()?;
        match self.take(true)? {
            Taken::Batch(batch) => {
                self.begin_attempt(&batch);
                Ok(Some(batch))
            }
            Taken::Wait { ready_at, attempts } => {
                self.on_hold(ready_at, attempts);
                Ok(None)
            }
            Taken::Later(_) | Taken::Nothing => Ok(None),
        }
    }

    /// The adopted slot that a batch is of, if it is of one.
    fn adopted_with(&self, batch: &Batch) -> Option<Arc<Shared>> {
        self.household.as_ref()?.of_buffer(batch.id.buffer_id)
    }

    fn next_wait(&self) -> Option<Duration> {
        let now = self.core().env.clock.monotonic();
        // If the disk refused to seal, try again a little later.
        let linger = self.core().seal_if_old().unwrap_or(Some(now + AGAIN));
        let ready = match self.take(false) {
            Ok(Taken::Batch(_)) => Some(Duration::ZERO),
            Ok(Taken::Wait { ready_at, .. } | Taken::Later(ready_at)) => Some(ready_at.saturating_sub(now)),
            Ok(Taken::Nothing) => None,
            Err(_) => Some(AGAIN),
        };
        let linger = linger.map(|due| due.saturating_sub(now));
        [ready, linger].into_iter().flatten().min()
    }

    pub(super) fn check_manual(&self) -> Result<()> {
        match self.core().options.mode {
            Mode::Manual => Ok(()),
            _ => Err(Error::new(ErrorKind::WrongMode, "only a producer in manual mode hands out batches")),
        }
    }
}
