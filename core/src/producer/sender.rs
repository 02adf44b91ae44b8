//! Sending: takes the batch whose time has come and hands it to the sink; and the threads that do so in background mode.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::lifecycle::Phase;
use super::outage::OutageReport;
use super::readiness::Readiness;
use super::{Inner, Shared};
use crate::batch::Batch;
use crate::buffer::{self, Core, Taken};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::platform::lock;
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::sync::thread::{self, JoinHandle, Thread};
use crate::sink::SendError;

/// How long the sender waits after the disk has refused something.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How long closing waits for a sink that was interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// What is needed to wake the sender threads.
#[derive(Default)]
pub(super) struct Senders {
    /// A sender sleeps with nothing to send, and the next put has to wake it.
    pub(super) idle: AtomicBool,
    threads: Mutex<Vec<Thread>>,
    /// Threads that have not ended: the last of them closes what `close` had to leave to them.
    pub(super) living: AtomicU64,
    /// In manual mode the program is the sender, and may want to be woken by this.
    pub(super) readiness: OnceLock<Readiness>,
}

impl Senders {
    fn wake(&self) {
        self.idle.store(false, Ordering::Relaxed);
        for thread in lock(&self.threads).iter() {
            thread.unpark();
        }
        self.ring();
    }

    /// Wakes who polls, of whom there can be some in manual mode alone.
    pub(super) fn ring(&self) {
        if let Some(readiness) = self.readiness.get() {
            readiness.ring();
        }
    }

    /// Lets a put that has to seal a batch, because it waits for space, tell so.
    pub(super) fn tell_of_sealed(self: &Arc<Self>, core: &Core) {
        let woken = self.clone();
        let _ = core.when_sealed.set(Box::new(move || woken.wake()));
    }
}

impl Inner {
    /// Starts the threads of background mode.
    pub(super) fn start_senders(&self, number: u64) -> Result<()> {
        let shared = &self.shared;
        for _ in 0..number {
            let sending = shared.clone();
            shared.common.senders.living.fetch_add(1, Ordering::SeqCst);
            let sender = thread::start(c"unistream-send", move || sending.run());
            let sender = sender.map_err(|error| {
                shared.common.senders.living.fetch_sub(1, Ordering::SeqCst);
                Error::io("could not start the sender's thread", error)
            })?;
            lock(&shared.common.senders.threads).push(sender.thread().clone());
            lock(&self.senders).push(sender);
        }
        // Threads that went to sleep before they were listed here could not be woken: let them look again.
        shared.wake_sender();
        shared.common.senders.tell_of_sealed(shared.core());
        Ok(())
    }
}

impl Inner {
    /// Ends the threads that have begun, where not all could be started.
    pub(super) fn end_senders(&self) {
        self.shared.common.ending.begin();
        self.shared.wake_sender();
        lock(&self.senders).drain(..).for_each(JoinHandle::join);
    }
}

impl Shared {
    pub(super) fn wake_sender(&self) {
        self.common.senders.wake();
    }

    /// Waits for the threads, which are to end. False if the sink does not return from a call.
    pub(super) fn wait_for_senders(&self, threads: &[JoinHandle]) -> bool {
        if threads.iter().all(JoinHandle::is_finished) {
            return true;
        }
        // Interrupt only after a moment: a call that is about to return needs no interruption.
        let clock = &*self.core().env.clock;
        let deadline = clock.monotonic() + GRACE;
        let mut interrupted = false;
        while threads.iter().any(|thread| !thread.is_finished()) {
            let left = deadline.saturating_sub(clock.monotonic());
            if !interrupted && left < GRACE - Duration::from_millis(20) {
                interrupted = true;
                self.common.ending.interrupt();
                if let Some(sink) = &self.common.sink {
                    let _ = self.inside(|| sink.interrupt());
                }
            }
            if left.is_zero() {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// The sender's thread.
    fn run(&self) {
        let fork = self.core().fork;
        while !self.common.ending.has_begun() && !fork.is_forked() {
            match self.turn() {
                Some(wait) => thread::park_timeout(wait),
                None => continue,
            }
        }
        if fork.is_forked() {
            return;
        }
        // If `close` gave up waiting, the last thread closes the buffer. Not earlier: while others are inside the sink,
        // another producer that opened the buffer would send again what they are sending.
        let is_last = self.common.senders.living.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && self.common.ending.left().is_some() {
            let _ = self.close_slots();
        }
    }

    /// Sends a batch if one may go out; else says how long to wait.
    pub(super) fn step(&self) -> Option<Duration> {
        const LONG: Duration = Duration::from_secs(3600);
        if self.lifecycle.phase() == Phase::Stopped {
            return Some(LONG);
        }
        // Seal first, so that the batch can be taken below. If that fails (a full disk), sending goes on, and sealing is
        // tried again a little later.
        let again = |_| Some(self.core().env.clock.monotonic() + AGAIN);
        let linger = self.core().seal_if_old().unwrap_or_else(again);
        let taken = match self.take(true) {
            Ok(Taken::Batch(batch)) => {
                self.send(batch);
                return None;
            }
            taken => taken,
        };
        let now = self.core().env.clock.monotonic();
        let (wait, is_idle) = match taken {
            Ok(Taken::Wait { ready_at, attempts }) => {
                self.on_hold(ready_at, attempts);
                // What waits may hold its own lane only.
                (ready_at.saturating_sub(now), self.core().wants_batch())
            }
            Ok(Taken::Later(ready_at)) => (ready_at.saturating_sub(now), false),
            Ok(_) => {
                // `take` skips what an earlier run had finished: let `flush` look again.
                self.finished.notify();
                (LONG, true)
            }
            Err(_) => (AGAIN, false),
        };
        if is_idle && linger.is_none() {
            // Announce that this thread goes to sleep, then check once more: a put in between has not seen it.
            self.common.senders.idle.store(true, Ordering::SeqCst);
            if self.core().has_work() {
                return None;
            }
        }
        Some(linger.map_or(wait, |due| wait.min(due.saturating_sub(now))))
    }

    pub(super) fn take(&self, hand_out: bool) -> Result<Taken> {
        let core = self.core();
        let now = core.env.clock.monotonic();
        let turn = match self.common.pace.turn(&core.options, now) {
            Ok(turn) => turn,
            Err(later) => return Ok(Taken::Later(later)),
        };
        let mut taken = core.take(hand_out);
        while hand_out
            && let Ok(Taken::Batch(batch)) = &taken
            && self.expire(batch)?
        {
            taken = core.take(hand_out);
        }
        match &taken {
            Ok(Taken::Batch(batch)) if hand_out => turn.charge(&core.options, now, batch),
            _ => drop(turn),
        }
        for region in self.core().take_regions() {
            let segment = buffer::segment::name(region.segment);
            let buffer::Region { damage, offset, bytes, records, .. } = region;
            self.notify(&Event::Corrupt { damage, segment: &segment, offset, bytes, records });
        }
        match &taken {
            Ok(_) => self.report_readable(),
            Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Forked) => {}
            Err(error) => self.report_unreadable(error),
        }
        taken
    }

    /// Reports that the log cannot be read. Nothing is sent meanwhile, and no sink notices.
    #[cold]
    fn report_unreadable(&self, error: &Error) {
        self.statistics.note_error(error);
        let clock = &*self.core().env.clock;
        if let Some(report) = self.unreadable.goes_on(clock.monotonic(), clock.wall()) {
            let OutageReport { since, lasting, .. } = report;
            let pending = self.core().pending().0;
            self.notify(&Event::LogUnreadable { since, lasting, pending, error });
        }
    }

    fn report_readable(&self) {
        let over = self.unreadable.is_over(|| self.core().env.clock.monotonic());
        if let Some(OutageReport { since, lasting, .. }) = over {
            self.notify(&Event::LogReadable { since, lasting });
        }
    }

    pub(super) fn on_hold(&self, ready_at: Duration, attempts: u32) {
        let wait = ready_at.saturating_sub(self.core().env.clock.monotonic());
        self.notify(&Event::OnHold { attempts, wait });
    }

    pub(super) fn begin_attempt(&self, batch: &Batch) {
        self.statistics.attempts.fetch_add(1, Ordering::Relaxed);
        self.notify(&Event::SendStarted { batch });
    }

    /// Keeps what a sink has to say of a batch, before anything of it is sent.
    fn keep_memo(&self, batch: &mut Batch, memo: Vec<u8>) -> std::result::Result<(), SendError> {
        self.core().keep_memo(batch, memo).map_err(|error| {
            let message = format!("the sink's memo could not be kept, so nothing was sent: {error}");
            match error.kind() {
                ErrorKind::InvalidArgument => SendError::failed(message),
                // What the disk does not take is no fault of the batch: it uses up no attempt.
                _ => SendError::unavailable(message),
            }
        })
    }

    /// One attempt at a batch.
    pub(super) fn send(&self, mut batch: Batch) {
        let Some(sink) = &self.common.sink else { return };
        self.begin_attempt(&batch);
        batch.wants_receipts = self.wants_receipts(&batch);
        let clock = &*self.core().env.clock;
        let start = clock.monotonic();
        let panicked = || SendError::failed("the sink panicked");
        let prepared = match batch.memo() {
            Some(_) => Ok(None),
            None => self.inside(|| sink.prepare(&batch)).unwrap_or_else(|| Err(panicked())),
        };
        let kept = prepared.and_then(|memo| memo.map_or(Ok(()), |memo| self.keep_memo(&mut batch, memo)));
        let answer = kept.and_then(|()| self.inside(|| sink.send(&batch)).unwrap_or_else(|| Err(panicked())));
        if self.core().fork.is_forked() {
            // The sink has forked: this is the child, in which the call returns too.
            return;
        }
        let elapsed = clock.monotonic().saturating_sub(start);
        self.statistics.latency.add(elapsed);
        if let Err(error) = self.settle(batch, answer, elapsed) {
            self.statistics.note_error(&error);
        }
    }
}
