//! Batches whose answer comes later, from whatever thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use engine::{Batch, Report, SendError};

use crate::batch::unistream_batch;
use crate::constants::unistream_outcome;
use crate::panics::infallible;
use crate::report::unistream_report;

type Answered = Result<Report, SendError>;

/// A batch that an asynchronous callback has taken on, to be answered exactly once: by
/// `unistream_completion_finish()`, or by `unistream_completion_free()` as failed. Any thread may hold it, one at a
/// time.
pub struct unistream_completion {
    batch: unistream_batch<'static>,
    report: unistream_report,
    slot: Arc<AnswerSlot>,
}

impl unistream_completion {
    /// In a forked child nobody waits for the answer, and the lock may never be free.
    fn answer(&self, answer: impl FnOnce() -> Answered) {
        if !self.batch.batch.is_forked() {
            self.slot.put(answer());
        }
    }
}

impl Drop for unistream_completion {
    fn drop(&mut self) {
        self.answer(|| Err(SendError::failed("the sink gave the batch up without an answer")));
    }
}

/// Where one answer is waited for. The first one counts; later ones go nowhere.
#[derive(Default)]
struct AnswerSlot {
    answer: Mutex<Option<Answered>>,
    arrived: Condvar,
}

impl AnswerSlot {
    fn put(&self, answer: Answered) {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(answer);
        self.arrived.notify_all();
    }

    fn wait(&self) -> Answered {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.arrived.wait_while(answer, |answer| answer.is_none());
        answer.unwrap_or_else(PoisonError::into_inner).take().expect("waited until there is one")
    }
}

/// The answers that sends of one sink wait for.
#[derive(Default)]
pub(super) struct AwaitedAnswers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    slots: Vec<Arc<AnswerSlot>>,
    interrupted: bool,
}

impl AwaitedAnswers {
    /// Hands the batch to the program and waits for its answer, or for the interruption.
    pub(super) fn send_and_wait(&self, batch: &Batch, send: impl FnOnce(*mut unistream_completion)) -> Answered {
        let slot = Arc::new(AnswerSlot::default());
        {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.interrupted {
                return Err(closing());
            }
            waiting.slots.push(slot.clone());
        }
        // The completion has a batch of its own (the bytes are shared), because it can outlive this call.
        send(Box::into_raw(Box::new(unistream_completion {
            batch: unistream_batch::owned(batch.clone()),
            report: unistream_report::default(),
            slot: slot.clone(),
        })));
        let answer = slot.wait();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).slots.retain(|other| !Arc::ptr_eq(other, &slot));
        answer
    }

    /// Stops waiting, for good: the producer closes. What was not answered is sent again by the next run.
    pub(super) fn interrupt(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.interrupted = true;
        waiting.slots.iter().for_each(|slot| slot.put(Err(closing())));
    }
}

fn closing() -> SendError {
    SendError::interrupted("the producer closed before the sink answered")
}

/// The batch to send. It lives until the completion is finished or freed, even if the producer is closed before.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_completion_batch(
    completion: Option<&unistream_completion>,
) -> Option<&unistream_batch<'static>> {
    completion.map(|completion| &completion.batch)
}

/// The report that goes with the answer. It lives until the completion is finished or freed.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_completion_report(
    completion: Option<&mut unistream_completion>,
) -> Option<&mut unistream_report> {
    completion.map(|completion| &mut completion.report)
}

/// Answers: `outcome` holds for every record that the report says nothing else of. Takes the completion over, on any
/// thread, also inside the callback that it was passed to.
///
/// An answer after the producer was closed has no effect: the batch is still in the buffer, and the next run sends
/// it again; nor has one in a forked child. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_completion_finish(
    completion: Option<Box<unistream_completion>>,
    outcome: unistream_outcome,
) {
    infallible(|| {
        if let Some(completion) = completion {
            let count = completion.batch.batch.len();
            completion.answer(|| completion.report.answer(outcome, count));
        }
    });
}

/// Gives a completion up without an answer: the attempt counts as failed. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_completion_free(completion: Option<Box<unistream_completion>>) {
    infallible(|| drop(completion));
}
