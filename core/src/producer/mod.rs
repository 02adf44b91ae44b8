//! [`Producer`]: joins the buffer, the schedule, the sink and the dead letters. Only this folder knows them all.
//!
//! A record is put here (`shared`). `sender` hands its batch to the sink, on a thread of its own or, in mode `inline`, on
//! the caller's; `answer` acts on what the sink says; `flush` waits for that. Where processes share the directory, `household`
//! sends what those have left that ended, and `fork` opens a slot for a child. What another process asks is carried out by `requests`.

mod answer;
mod backlog;
mod builder;
mod common;
mod ending;
mod flush;
mod fork;
mod household;
mod inline;
mod lifecycle;
mod manual;
mod measure;
mod opening;
mod outage;
mod put_many;
mod readiness;
mod reentrancy;
mod reports;
mod requests;
mod sender;
mod shared;
mod statistics;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::Wait;
use crate::dead_letters::DeadLetters;
use crate::error::Result;
use crate::options::{Mode, Options};
use crate::platform::PerProcess;
use crate::platform::sync::Mutex;
use crate::platform::sync::thread::JoinHandle;
use crate::prometheus;
use crate::record::NewRecord;
use crate::stats::Stats;

pub use builder::Builder;
use fork::Anew;
use household::Household;
pub use put_many::PutManyError;
pub use reports::{Confirmation, Reporting};
use shared::Shared;

/// Puts records into a durable buffer and sends them, in batches and in order, to a sink.
///
/// All methods take `&self` and may be called from any thread, but not from inside this producer's own sink
/// or observer: there every call but [`stats`](Self::stats) returns `Reentrant`. In a forked child every call
/// returns `Forked`; with the option `shared`, the child's first call opens a slot of its own. Dropping a producer closes it without waiting; what was not sent stays on disk.
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
    /// A forked child makes one of its own, if the producer is shared.
    inner: PerProcess<Inner>,
}

/// The time between two looks of [`Producer::drain`].
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A producer as one process has it.
struct Inner {
    shared: Arc<Shared>,
    senders: Mutex<Vec<JoinHandle>>,
    /// How a child opens its own.
    anew: Option<Anew>,
}

impl Producer {
    /// Begins to configure a producer whose buffer is the directory `dir`.
    pub fn builder(dir: impl AsRef<Path>) -> Builder {
        Builder::new(dir.as_ref())
    }

    /// Puts a record and returns its sequence number. When it returns, the record survives the death of the
    /// process; under `durability = always` a power loss too. It does not wait for the sink, but in inline
    /// mode, where it sends at most one batch.
    ///
    /// # Errors
    /// `RecordTooLarge` or `InvalidArgument` for a record that never fits; `BufferFull` after `full_timeout`,
    /// `DiskFull`, `Io`; `RetriesExhausted` or `DeadLettersFull` once the producer has stopped; `Closed`.
    /// [`Error::record_accepted`](crate::Error::record_accepted) says whether the record is in the log all the same.
    #[inline(always)]
    pub fn put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        let record = record.into();
        if record.is_payload_alone() {
            return self.put_payload_here(record.data);
        }
        self.put_record(record)
    }

    /// As [`put`](Self::put), but waits for space no longer than `wait`, whatever `when_full` says.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    #[inline]
    pub fn put_within<'a>(&self, record: impl Into<NewRecord<'a>>, wait: Duration) -> Result<u64> {
        self.put_here(&record.into(), Some(wait.into()), true)
    }

    /// As [`put_within`](Self::put_within), for a caller that waits in slices to look up in between, and tries again after
    /// `BufferFull`: that is then no refused put, neither in [`Stats`] nor as the last error. `whole` is how long it waits
    /// in all, which the event `put_waiting` says; a slice may be zero.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    #[inline]
    pub fn put_in_slice<'a>(&self, record: impl Into<NewRecord<'a>>, slice: Duration, whole: Duration) -> Result<u64> {
        self.put_here(&record.into(), Some(Wait { slice, whole }), false)
    }

    /// As [`put`](Self::put), but it waits neither for space nor for the next segment to be made: for a caller that
    /// holds a lock. Under `durability = always` and in inline mode it waits for the disk and the sink all the same.
    ///
    /// # Errors
    /// Those of [`put`](Self::put); `BufferFull` also where [`put_within`](Self::put_within) would have to make a
    /// segment first, which counts as no refused put.
    #[inline]
    pub fn try_put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        self.put_here(&record.into(), None, false)
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

    /// The first half of [`flush`](Self::flush), for callers that cannot wait in one piece: seals the open batch and returns the point that [`wait_flushed`](Self::wait_flushed) waits for.
    ///
    /// # Errors
    /// Those of a stopped or closed producer.
    pub fn begin_flush(&self) -> Result<u64> {
        let shared = &self.here()?.shared;
        shared.check()?;
        shared.begin_flush()
    }

    /// The second half of [`flush`](Self::flush): waits until what was put before the point is delivered or in the dead
    /// letters. May be called again after `Timeout`.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub fn wait_flushed(&self, point: u64, timeout: Duration) -> Result<()> {
        let shared = &self.here()?.shared;
        shared.check()?;
        shared.wait_flushed(point, timeout)
    }

    /// As [`flush`](Self::flush), and waits besides until no slot of the outbox has records whose process has ended. Those of
    /// processes that live are theirs to send. Where the directory is not shared it is `flush`.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush); `Io` if the outbox cannot be read. In manual mode others have to send.
    pub fn drain(&self, timeout: Duration) -> Result<()> {
        let shared = &self.here()?.shared;
        let clock = &*shared.core().env.clock;
        let deadline = clock.monotonic().saturating_add(timeout);
        self.flush(timeout)?;
        let Some(household) = &shared.household else { return Ok(()) };
        loop {
            let (left, looked) = household.look(shared);
            let by_others = household.adopted_by_others()?;
            if left == 0 && by_others == 0 {
                // What can be sent was sent, before what cannot is said.
                return looked;
            }
            shared.check()?;
            if shared.core().options.mode == Mode::Inline {
                shared.send_one()?;
            }
            if clock.monotonic() >= deadline {
                return Err(household.late(by_others));
            }
            clock.sleep(DRAIN_LOOK.min(deadline.saturating_sub(clock.monotonic())));
        }
    }

    /// Makes every record put so far durable against power loss, whatever the durability mode.
    ///
    /// # Errors
    /// `Io` if the disk failed.
    pub fn sync(&self) -> Result<()> {
        let shared = &self.here()?.shared;
        shared.check_caller()?;
        shared.core().sync()
    }

    /// A snapshot of what the producer did and has. May be called from anywhere.
    pub fn stats(&self) -> Stats {
        self.inner().stats()
    }

    /// The same as the text that Prometheus scrapes, with the labels `path` and, in an outbox, `slot`. May be called from anywhere.
    pub fn prometheus(&self) -> String {
        let (path, slot) = (self.path().display().to_string(), self.slot());
        let labels = [("path", &*path), ("slot", slot.as_deref().unwrap_or_default())];
        prometheus::text(&[(&labels[..1 + usize::from(slot.is_some())], &self.stats())])
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.inner().shared.core().options
    }

    /// The directory that it was opened in.
    pub fn path(&self) -> &Path {
        let shared = &self.inner().shared;
        shared.household.as_ref().map_or_else(|| shared.core().dir.path(), Household::path)
    }

    /// The name of its slot, if it shares the directory: `slot-0` is the directory itself, the others are directories in it.
    pub fn slot(&self) -> Option<String> {
        self.inner().shared.household.as_ref().map(Household::slot)
    }

    /// Whether this process is a fork of the one that opened the producer, and has no slot of its own yet.
    pub fn is_forked(&self) -> bool {
        self.inner().is_forked()
    }

    /// The dead letters of this buffer, or of the whole outbox.
    pub fn dead_letters(&self) -> DeadLetters {
        self.inner().shared.letters.clone()
    }

    /// Puts the records of a dead letter into the buffer again, in order, and deletes the letter once they are
    /// safe there. Returns how many there were.
    ///
    /// # Errors
    /// `NotFound`, those of [`put`](Self::put), and those of [`DeadLetters::replay`].
    pub fn replay_dead_letter(&self, id: &str) -> Result<u64> {
        let shared = &self.here()?.shared;
        shared.check()?;
        // In inline mode a put may be accepted and return the error that stopped the producer: the record is in the log.
        let put = |record: NewRecord<'_>| match self.put(record) {
            Err(error) if error.record_accepted() => Ok(0),
            result => result,
        };
        // The records are synced before the letter is deleted, in every durability mode.
        shared.letters.replay(id, put, || self.sync())
    }

    /// What the log's thread does, for an environment without threads.
    #[cfg(feature = "torture")]
    pub(crate) fn do_chores(&self) {
        let _ = self.inner().shared.core().run_maintenance();
    }

    /// Background mode without threads: what the sender's thread does until it would wait; how long it would.
    #[cfg(feature = "torture")]
    pub(crate) fn do_sending(&self) -> Duration {
        let mut turns = 0;
        loop {
            if let Some(wait) = self.inner().shared.turn() {
                return wait;
            }
            turns += 1;
            assert!(turns < 100_000, "the sender spins");
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.is_forked() {
            // Leak the sink, the observer and the join handles: they belong to the parent, whose threads do not exist
            // here, and dropping a handle would touch memory of the C library that may have another owner by now.
            self.inner.forget();
            return;
        }
        // `drop` cannot return the error; the records are on disk.
        let _ = self.close(Duration::ZERO);
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
