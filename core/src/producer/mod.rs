//! [`Producer`]: joins the buffer, the schedule, the sink and the dead letters. Only this file and its folder know them
//! all.
//!
//! A record is put here. `sender` hands its batch to the sink, on a thread of its own or, in mode `inline`, on the
//! caller's; `answer` acts on what the sink says; `flush` waits for that.

mod answer;
mod builder;
mod flush;
mod inline;
mod outage;
mod sender;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::batch::Batch;
use crate::buffer::{self, Buffer, Core, Taken, Wait};
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Observer};
use crate::limits::Limits;
use crate::options::{Mode, Options, WhenFull};
use crate::platform::lock;
use crate::platform::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::platform::sync::thread::JoinHandle;
use crate::platform::sync::{Condvar, Mutex, thread_local};
use crate::record::NewRecord;
use crate::schedule::Schedule;
use crate::sink::{MAX_REASON_BYTES, Report, SendError, Sink};
use crate::stats::{State, Stats};
use crate::text::bounded;

pub use builder::Builder;
use outage::Outage;
use sender::{AGAIN, Senders};

/// Puts records into a durable buffer and sends them, in batches and in order, to a sink.
///
/// All methods take `&self` and may be called from any thread, but not from inside this producer's own sink
/// or observer: there every call but [`stats`](Self::stats) returns `Reentrant`. In a forked child every call
/// returns `Forked`. Dropping a producer closes it without waiting; what was not sent stays on disk.
///
/// ```
/// use std::time::Duration;
/// use unistream::{Producer, sink};
/// # let dir = std::env::temp_dir().join(format!("unistream-doc-producer-{}", std::process::id()));
/// let producer = Producer::builder(&dir)
///     .max_records(2)
///     .open(sink::from_fn(|batch| println!("{} records", batch.len())))?;
/// producer.put(b"one")?;
/// producer.put("two")?;
/// producer.flush(Duration::from_secs(10))?;
/// assert_eq!(producer.close(Duration::from_secs(10))?, 0);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), unistream::Error>(())
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    senders: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    buffer: Buffer,
    sink: Option<Box<dyn Sink>>,
    checks_records: bool,
    schedule: Schedule,
    observer: Option<Observer>,
    tells_puts: bool,
    letters: DeadLetters,
    status: AtomicU8,
    /// Why the producer stopped.
    stopped: Mutex<Option<Error>>,
    /// A batch was settled, or the status changed.
    progress: (Mutex<()>, Condvar),
    senders: Arc<Senders>,
    quitting: AtomicBool,
    /// The sink was interrupted by the close: what fails now says nothing of the batch.
    ending: AtomicBool,
    outage: Outage,
    /// The log cannot be read.
    unreadable: Outage,
    /// Milliseconds of the monotonic clock before which no further put that waits is told of.
    next_waiting: AtomicU64,
    /// Serialises inline sends.
    inline: Mutex<()>,
    holding: AtomicU8,
    counters: Counters,
    last_error: Mutex<String>,
    left: Mutex<Option<u64>>,
}

#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    attempts: AtomicU64,
    failed: AtomicU64,
    unavailable: AtomicU64,
    rejected: AtomicU64,
    skipped: AtomicU64,
    refused: AtomicU64,
}

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;
const CLOSED: u8 = 2;

thread_local! {
    /// The producers whose sink or observer this thread is inside of.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// Whether there is any: all that an ordinary `put` looks at.
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

impl Producer {
    /// Begins to configure a producer whose buffer is the directory `dir`.
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder::new(dir.as_ref())
    }

    fn open(builder: Builder, sink: Option<Box<dyn Sink>>, limits: Limits) -> Result<Producer> {
        let Builder { dir, options, observer, put_events, env } = builder;
        let schedule = options.schedule()?;
        let (mode, in_flight) = (options.mode, options.max_in_flight);
        if limits.ordered && in_flight > 1 {
            let message = format!(
                "the sink is to keep order (`ordered`), which several batches in flight at once would break: \
                 max_in_flight is {in_flight}; set it to 1"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let threads = env.threads;
        let buffer = Buffer::open_in(&dir, options, limits, env)?;
        let letters = DeadLetters::of(buffer.core().env.disk.clone(), &buffer.core().dir);
        letters.scan(true)?;
        let shared = Arc::new(Shared {
            buffer,
            checks_records: limits.checks_records && sink.is_some(),
            sink,
            schedule,
            tells_puts: put_events && observer.is_some(),
            observer,
            letters,
            status: AtomicU8::new(RUNNING),
            stopped: Mutex::new(None),
            progress: Default::default(),
            senders: Arc::default(),
            quitting: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            outage: Outage::of_sink(),
            unreadable: Outage::of_log(),
            next_waiting: AtomicU64::new(0),
            inline: Mutex::new(()),
            holding: AtomicU8::new(0),
            counters: Counters::default(),
            last_error: Mutex::default(),
            left: Mutex::new(None),
        });
        if shared.observer.is_some() {
            // Not more than a look at the producer: the buffer is a part of it.
            let told = Arc::downgrade(&shared);
            let tell = move |wait| {
                if let Some(shared) = told.upgrade() {
                    shared.tell_of_waiting(wait);
                }
            };
            let _ = shared.core().when_waiting.set(Box::new(tell));
        }
        // What was given up on under `raise` gets a fresh round.
        shared.core().reset_attempts(|attempts| shared.schedule.is_exhausted(attempts))?;
        shared.report_recovery();
        let producer = Producer { shared, senders: Mutex::default() };
        if mode == Mode::Background && threads {
            producer.start_senders(in_flight)?;
        }
        Ok(producer)
    }

    /// Puts a record and returns its sequence number. When it returns, the record survives the death of the
    /// process; under `durability = always` a power loss too. It does not wait for the sink, but in inline
    /// mode, where it sends at most one batch.
    ///
    /// # Errors
    /// `RecordTooLarge` or `InvalidArgument` for a record that never fits; `BufferFull` after `full_timeout`,
    /// `DiskFull`, `Io`; `RetriesExhausted` or `DeadLettersFull` once the producer has stopped; `Closed`.
    /// [`Error::record_accepted`] says whether the record is in the log all the same.
    #[inline]
    pub fn put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        let options = &self.shared.core().options;
        let wait = match options.when_full {
            WhenFull::Block => options.full_timeout,
            WhenFull::Error => Duration::ZERO,
        };
        self.put_within(record, wait)
    }

    /// As [`put`](Self::put), but waits for space no longer than `wait`, whatever `when_full` says.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    #[inline]
    pub fn put_within<'a>(&self, record: impl Into<NewRecord<'a>>, wait: Duration) -> Result<u64> {
        self.shared.put(record.into(), Some(wait.into()), true)
    }

    /// As [`put_within`](Self::put_within), for a caller that waits in slices to look up in between, and tries again after
    /// `BufferFull`: that is then no refused put, neither in [`Stats`] nor as the last error. `whole` is how long it waits
    /// in all, which the event `put_waiting` tells; a slice may be zero.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    #[inline]
    pub fn put_in_slice<'a>(&self, record: impl Into<NewRecord<'a>>, slice: Duration, whole: Duration) -> Result<u64> {
        self.shared.put(record.into(), Some(Wait { slice, whole }), false)
    }

    /// As [`put`](Self::put), but it waits neither for space nor for the next segment to be made: for a caller that
    /// holds a lock. Under `durability = always` and in inline mode it waits for the disk and the sink all the same.
    ///
    /// # Errors
    /// Those of [`put`](Self::put); `BufferFull` also where [`put_within`](Self::put_within) would have to make a
    /// segment first, which counts as no refused put.
    #[inline]
    pub fn try_put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        self.shared.put(record.into(), None, false)
    }

    /// Puts records until one fails. Returns how many were accepted, and why not more.
    pub fn put_many<'a, R: Into<NewRecord<'a>>>(&self, records: impl IntoIterator<Item = R>) -> (u64, Result<()>) {
        let mut accepted = 0;
        for record in records {
            match self.put(record) {
                Ok(_) => accepted += 1,
                Err(error) => return (accepted + u64::from(error.record_accepted()), Err(error)),
            }
        }
        (accepted, Ok(()))
    }

    /// Waits until every record put before is delivered or in the dead letters. Backoff is respected. In inline
    /// mode it does the sending; in manual mode others have to.
    ///
    /// # Errors
    /// `Timeout` when the time is over (what is left stays in the buffer); `RetriesExhausted` or
    /// `DeadLettersFull` if the producer stopped.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let point = self.begin_flush()?;
        self.wait_flushed(point, timeout)
    }

    /// The first half of [`flush`](Self::flush), for those who have to look up from the wait now and then: ends the
    /// batch being filled and returns the point that [`wait_flushed`](Self::wait_flushed) waits for.
    ///
    /// # Errors
    /// Those of a stopped or closed producer.
    pub fn begin_flush(&self) -> Result<u64> {
        self.shared.check()?;
        self.shared.begin_flush()
    }

    /// The second half of [`flush`](Self::flush): waits until what was put before the point is delivered or in the dead
    /// letters. May be called again after `Timeout`.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub fn wait_flushed(&self, point: u64, timeout: Duration) -> Result<()> {
        self.shared.check()?;
        self.shared.wait_flushed(point, timeout)
    }

    /// Flushes for at most `timeout`, then closes. Returns how many records are left on disk; the next producer on
    /// the buffer sends them. Closing again returns the same number.
    ///
    /// # Errors
    /// What the producer had stopped with; `Io` or `DiskFull` from the last sync; `Timeout` if the sink does not
    /// return from a call even after [`Sink::interrupt`]: the buffer is then released when it does. The producer
    /// is closed in all of them. An attempt that fails once the sink was interrupted counts nothing.
    pub fn close(&self, timeout: Duration) -> Result<u64> {
        let shared = &*self.shared;
        shared.check_caller()?;
        let mut senders = lock(&self.senders);
        if let Some(left) = *lock(&shared.left) {
            return Ok(left);
        }
        let flushed = match shared.status.load(Ordering::Acquire) {
            RUNNING => shared.begin_flush().and_then(|point| shared.wait_flushed(point, timeout)),
            _ => shared.check(),
        };
        shared.status.store(CLOSED, Ordering::Release);
        shared.quitting.store(true, Ordering::Release);
        shared.wake_sender();
        shared.notify();
        let note_left = || {
            let left = shared.core().pending().0;
            *lock(&shared.left) = Some(left);
            left
        };
        if !shared.wait_for_senders(&senders) {
            // The threads have the buffer until the sink returns; the last of them closes it. It looks for what is noted
            // here after it has ended, so one of the two sees the other.
            let left = note_left();
            if shared.senders.living.load(Ordering::SeqCst) == 0 {
                let _ = shared.buffer.close();
            }
            senders.clear();
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the sink has not returned from its call; {left} records are left on disk"),
            ));
        }
        for sender in senders.drain(..) {
            let _ = sender.join();
        }
        let closed = shared.buffer.close();
        // Counted last: a put that was under way is accepted until the buffer is closed.
        let left = note_left();
        match flushed {
            // That time was short is no error of closing: the number says what is left.
            Err(error) if !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Closed) => Err(error),
            _ => closed.map(|()| left),
        }
    }

    /// Goes on after a stop, with a fresh round of attempts. In a running producer, batches that wait for their next
    /// attempt, whatever the schedule or the sink's `retry_after` says, may go out now; their attempts stay counted. In
    /// inline mode the next `put` or `flush` sends, in manual mode [`next_batch`](Self::next_batch) has them.
    ///
    /// # Errors
    /// `Closed`; `DiskFull` or `Io` if the fresh round could not be noted.
    pub fn resume(&self) -> Result<()> {
        let shared = &*self.shared;
        if shared.core().fork.is_forked() || shared.status.load(Ordering::Acquire) == CLOSED {
            shared.refuse()?;
        }
        shared.check_caller()?;
        if shared.status.load(Ordering::Acquire) == RUNNING {
            shared.core().make_due()?;
            shared.wake_sender();
            return Ok(());
        }
        shared.core().reset_attempts(|_| true)?;
        {
            let mut stopped = lock(&shared.stopped);
            stopped.take();
            let _ = shared.status.compare_exchange(STOPPED, RUNNING, Ordering::AcqRel, Ordering::Relaxed);
        }
        shared.wake_sender();
        Ok(())
    }

    /// Makes every record put so far durable against power loss, whatever the durability mode.
    ///
    /// # Errors
    /// `Io` if the disk failed.
    pub fn sync(&self) -> Result<()> {
        self.shared.check_caller()?;
        self.shared.core().sync()
    }

    /// A snapshot of what the producer did and has. May be called from anywhere.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.shared.core().options
    }

    /// The buffer's directory.
    pub fn path(&self) -> &Path {
        self.shared.core().dir.path()
    }

    /// Whether this process is a fork of the one that opened the producer.
    pub fn is_forked(&self) -> bool {
        self.shared.core().fork.is_forked()
    }

    /// The dead letters of this buffer.
    pub fn dead_letters(&self) -> DeadLetters {
        self.shared.letters.clone()
    }

    /// Puts the records of a dead letter into the buffer again, in order, and deletes the letter once they are
    /// safe there. Returns how many there were.
    ///
    /// # Errors
    /// `NotFound`, those of [`put`](Self::put), and those of [`DeadLetters::replay`].
    pub fn replay_dead_letter(&self, id: &str) -> Result<u64> {
        self.shared.check()?;
        // A put that was accepted and then found the sink failing is a put.
        let put = |record: NewRecord<'_>| match self.put(record) {
            Err(error) if error.record_accepted() => Ok(0),
            result => result,
        };
        // Before the letter goes, in every durability mode.
        self.shared.letters.replay(id, put, || self.sync())
    }

    /// What the log's thread does, for an environment without threads.
    #[cfg(feature = "torture")]
    pub(crate) fn do_chores(&self) {
        let _ = self.shared.core().do_chores();
    }

    /// Background mode without threads: what the sender's thread does until it would wait; how long it would.
    #[cfg(feature = "torture")]
    pub(crate) fn do_sending(&self) -> Duration {
        let mut turns = 0;
        loop {
            if let Some(wait) = self.shared.step() {
                return wait;
            }
            turns += 1;
            assert!(turns < 100_000, "the sender spins");
        }
    }

    /// Manual mode: the next batch whose time has come, if there is one. It must be given back to
    /// [`settle`](Self::settle); until then it is not handed out again.
    ///
    /// # Errors
    /// `WrongMode` in other modes; those of a stopped or closed producer; `Io` if the log cannot be read.
    pub fn next_batch(&self) -> Result<Option<Batch>> {
        let shared = &*self.shared;
        shared.check()?;
        shared.check_manual()?;
        shared.core().seal_if_old()?;
        match shared.take(true)? {
            Taken::Batch(batch) => {
                shared.begin(&batch);
                Ok(Some(batch))
            }
            Taken::Wait { ready_at, attempts } => {
                shared.on_hold(ready_at, attempts);
                Ok(None)
            }
            Taken::Nothing => Ok(None),
        }
    }

    /// Manual mode: how long until [`next_batch`](Self::next_batch) may have something, for an event loop's timer.
    /// `None`: not before the next `put`.
    pub fn next_wait(&self) -> Option<Duration> {
        let shared = &*self.shared;
        shared.check().ok()?;
        let now = shared.core().env.clock.monotonic();
        // What the disk has refused may go well a little later.
        let linger = shared.core().seal_if_old().unwrap_or(Some(now + AGAIN));
        let ready = match shared.take(false) {
            Ok(Taken::Batch(_)) => Some(Duration::ZERO),
            Ok(Taken::Wait { ready_at, .. }) => Some(ready_at.saturating_sub(now)),
            Ok(Taken::Nothing) => None,
            Err(_) => Some(AGAIN),
        };
        let linger = linger.map(|due| due.saturating_sub(now));
        [ready, linger].into_iter().flatten().min()
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
        let shared = &*self.shared;
        shared.check_caller()?;
        shared.check_manual()?;
        if shared.status.load(Ordering::Acquire) == CLOSED {
            shared.refuse()?;
        }
        if let Ok(report) = &answer {
            let refused = |error| Error::new(ErrorKind::InvalidArgument, format!("{error}"));
            report.check(batch.len()).map_err(refused)?;
        }
        shared.settle(batch, answer, Duration::ZERO)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.is_forked() {
            // Sink and observer are the parent's, and so are the threads: a child has none of them, and what the system
            // library keeps of them may be another's by now.
            std::mem::forget(self.shared.clone());
            std::mem::forget(std::mem::take(self.senders.get_mut().unwrap_or_else(PoisonError::into_inner)));
            return;
        }
        // An error has nobody to go to. The data is on disk.
        let _ = self.close(Duration::ZERO);
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Shared {
    #[inline]
    fn core(&self) -> &Core {
        self.buffer.core()
    }

    /// An error unless the producer takes calls from here and now.
    #[inline]
    fn check(&self) -> Result<()> {
        if self.status.load(Ordering::Relaxed) != RUNNING {
            self.refuse()?;
        }
        self.check_caller()
    }

    /// An error in a forked child, before anything is waited for there; and for calls from inside.
    #[inline]
    fn check_caller(&self) -> Result<()> {
        if self.core().fork.is_forked() {
            return Err(buffer::forked());
        }
        // A thread that is ending, by an `exit` in a callback, remembers only that it is inside of something.
        let is_inside = |inside: &RefCell<Vec<usize>>| inside.borrow().contains(&self.address());
        if DEEP.with(Cell::get) && INSIDE.try_with(is_inside).unwrap_or(true) {
            return Err(reentrant());
        }
        Ok(())
    }

    fn check_manual(&self) -> Result<()> {
        match self.core().options.mode {
            Mode::Manual => Ok(()),
            _ => Err(Error::new(ErrorKind::WrongMode, "only a producer in manual mode hands out batches")),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The error of a producer that does not run. None if it was resumed meanwhile.
    #[cold]
    fn refuse(&self) -> Result<()> {
        if self.core().fork.is_forked() {
            return Err(buffer::forked());
        }
        // Who stops or resumes has this lock: the status and the reason belong together.
        let stopped = lock(&self.stopped);
        let reason = match self.status.load(Ordering::Acquire) {
            RUNNING => return Ok(()),
            STOPPED => stopped.clone(),
            _ => None,
        };
        Err(reason.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the producer is closed; open a new one")))
    }

    #[cold]
    fn admit_error(reason: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("the sink refuses this record: {reason}"))
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<()> {
        match &self.sink {
            Some(sink) => sink.admit(record).map_err(Shared::admit_error),
            None => Ok(()),
        }
    }

    /// Runs code of the user's. `None` if it panicked.
    fn inside<T>(&self, callback: impl FnOnce() -> T) -> Option<T> {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                let _ = INSIDE.try_with(|inside| {
                    let mut inside = inside.borrow_mut();
                    inside.pop();
                    DEEP.with(|deep| deep.set(!inside.is_empty()));
                });
            }
        }
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(self.address()));
        DEEP.with(|deep| deep.set(true));
        let _leave = Leave;
        catch_unwind(AssertUnwindSafe(callback)).ok()
    }

    #[inline]
    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            // A panicking observer must not take the producer down with it.
            let _ = self.inside(|| observer(event));
        }
    }

    fn report_recovery(&self) {
        let counts = &self.core().counts;
        let records = counts.recovered_records.load(Ordering::Relaxed);
        let torn_bytes = counts.torn_bytes.load(Ordering::Relaxed);
        if records > 0 || torn_bytes > 0 {
            self.tell(&Event::Recovered { records, torn_bytes });
        }
    }

    fn note_error(&self, error: &Error) {
        *lock(&self.last_error) = bounded(error, MAX_REASON_BYTES);
    }

    /// A put comes to nothing, which who does not look at its error can see in the statistics.
    #[cold]
    fn refuse_put(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Closed | ErrorKind::Forked | ErrorKind::Reentrant) {
            self.note_error(&error);
            if !error.record_accepted() {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        error
    }

    /// A put is about to wait for space, for at most so long.
    #[cold]
    fn tell_of_waiting(&self, timeout: Duration) {
        /// The least time between two that are told of: where a sink is slow, every put waits.
        const BETWEEN: Duration = Duration::from_secs(60);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = self.core().env.clock.monotonic();
        let next = self.next_waiting.load(Ordering::Relaxed);
        if milliseconds(now) >= next {
            let after = milliseconds(now + BETWEEN);
            if self.next_waiting.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.tell(&Event::PutWaiting { timeout, pending: self.core().pending().0 });
            }
        }
    }

    fn stop(&self, error: &Error) {
        {
            let mut stopped = lock(&self.stopped);
            *stopped = Some(error.clone());
            let _ = self.status.compare_exchange(RUNNING, STOPPED, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.note_error(error);
        self.tell(&Event::Stopped { error });
    }

    #[inline]
    fn put(&self, record: NewRecord<'_>, wait: Option<Wait>, is_last: bool) -> Result<u64> {
        self.check().map_err(|error| self.refuse_put(error))?;
        if self.checks_records {
            self.admit(&record).map_err(|error| self.refuse_put(error))?;
        }
        // Who tries again after it was not refused.
        let is_refused = |error: &Error| is_last || error.kind() != ErrorKind::BufferFull;
        let core = self.core();
        if core.options.mode == Mode::Inline {
            let put = self.put_inline(record, wait.unwrap_or(Duration::ZERO.into()));
            return put.map_err(|error| if is_refused(&error) { self.refuse_put(error) } else { error });
        }
        let appended = match core.put(record, wait) {
            Ok(appended) => appended,
            Err(error) => {
                // It may have sealed a batch, and found no room for the record.
                self.wake_sender();
                return Err(if is_refused(&error) { self.refuse_put(error) } else { error });
            }
        };
        if self.tells_puts {
            self.tell(&Event::Put { seq: appended.seq, record });
        }
        if appended.sealed || (appended.began && self.senders.idle.load(Ordering::Relaxed)) {
            self.wake_sender();
        }
        Ok(appended.seq)
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        if self.core().fork.is_forked() {
            stats.state = State::Closed;
            return stats;
        }
        self.core().fill(&mut stats);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.delivered_records = read(&self.counters.delivered);
        stats.attempts = read(&self.counters.attempts);
        stats.failed_attempts = read(&self.counters.failed);
        stats.unavailable_attempts = read(&self.counters.unavailable);
        stats.rejected_records = read(&self.counters.rejected);
        stats.skipped_records = read(&self.counters.skipped);
        stats.refused_puts = read(&self.counters.refused);
        stats.unavailable_since = self.outage.since();
        stats.unreadable_since = self.unreadable.since();
        (stats.dead_letters, stats.dead_letter_bytes) = self.letters.usage();
        stats.state = match (self.status.load(Ordering::Acquire), self.holding.load(Ordering::Relaxed)) {
            (CLOSED, _) => State::Closed,
            (STOPPED, _) => State::Stopped,
            (_, 1) => State::OnHold,
            (_, 2) => State::Unavailable,
            _ => State::Running,
        };
        stats.last_error = lock(&self.last_error).clone();
        stats
    }
}

#[cold]
fn reentrant() -> Error {
    Error::new(
        ErrorKind::Reentrant,
        "a call from inside a sink or an observer of the same producer; make it from elsewhere",
    )
}

#[cfg(test)]
mod tests;
