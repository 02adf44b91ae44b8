//! The durable FIFO: records in, sealed batches out, committed batches forgotten.
//!
//! It knows nothing of sinks or schedules. Locks, in the order in which they may be taken: `chores` (one thread
//! prepares, frees and syncs), `reader` (what goes out), `log` (what comes in), `front` (what the latter tells the former).
//! `put` takes only the last two, unless it finds no room.

pub(crate) mod checkpoint;
mod delivery;
pub(crate) mod format;
mod group_commit;
pub(crate) mod losses;
mod maintenance;
mod opening;
pub(crate) mod position;
mod quarantine;
mod reader;
mod recovery;
pub(crate) mod resync;
pub(crate) mod scan;
pub(crate) mod segment;
mod space;
mod tail;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::options::{Durability, NEVER, Options, WhenFull};
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::sync::{Condvar, Mutex, thread};
use crate::platform::{CachePadded, Directory, Environment, ForkGuard, Ownership, lock, lock_briefly};
use crate::record::{CREATED_AT, MAX_ID_BYTES, NewRecord, no_date};

use checkpoint::Closed;
pub(crate) use delivery::{Settle, Taken};
use format::Body;
use group_commit::{Group, disowned};
pub use losses::Damage;
pub(crate) use losses::Region;
use maintenance::Maintenance;
pub(crate) use quarantine::CORRUPT;
use reader::Reader;
use writer::{Appended, BatchCaps, Front, Log, Refusal, Status};

/// The name of the lock file in the buffer's directory.
pub(crate) const LOCK: &str = "lock";

/// A durable queue of records in a directory, from which batches are taken in order.
///
/// [`Producer`](crate::Producer) drives one; it can be used alone where the sending is done elsewhere. All
/// methods may be called from any thread. Dropping it closes it.
///
/// ```
/// use unistream::{Buffer, Limits, Options};
/// # let dir = std::env::temp_dir().join(format!("unistream-doc-buffer-{}", std::process::id()));
/// let mut options = Options::default();
/// options.max_records = 2;
/// let buffer = Buffer::open(&dir, options, Limits::default())?;
/// buffer.put(b"one")?;
/// assert!(!buffer.should_emit());
/// buffer.put(b"two")?;
/// let batch = buffer.emit()?.expect("two records make a batch");
/// assert_eq!(batch.iter().map(|record| record.data).collect::<Vec<_>>(), [b"one", b"two"]);
/// buffer.commit(&batch)?;
/// assert_eq!(buffer.len(), 0);
/// # drop(buffer);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), unistream::Error>(())
/// ```
pub struct Buffer {
    core: Arc<Core>,
    keeper: Option<Maintenance>,
}

/// What is shared with the keeper's thread.
pub(crate) struct Core {
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) env: Environment,
    pub(crate) options: Options,
    limits: Limits,
    caps: BatchCaps,
    max_data: u64,
    max_counted: u64,
    segment_bytes: u64,
    access: segment::Access,
    pub(crate) fork: ForkGuard,
    chores: Mutex<Chores>,
    reader: CachePadded<Mutex<Reader>>,
    log: CachePadded<Mutex<Log>>,
    front: Arc<CachePadded<Mutex<Front>>>,
    closed: AtomicBool,
    /// Both clocks at the opening. The waits that earlier runs left are counted from there, whatever the wall does since.
    opened_at: (i64, Duration),
    /// Space was freed, or the log closed.
    space: Condvar,
    /// Whoever sends, to be told of a batch that was sealed by a put which waits for space.
    pub(crate) when_sealed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// To be told by a put that is about to wait for space, on its thread and with no lock held.
    pub(crate) when_waiting: OnceLock<Box<dyn Fn(Duration) + Send + Sync>>,
    /// How often space was freed: so that who has found none and is about to wait does not miss it.
    freed: AtomicU64,
    group: Mutex<Group>,
    group_changed: Condvar,
    /// The keeper sleeps with nothing to do and wants to hear of the next put.
    keeper_idle: AtomicBool,
    keeper_thread: OnceLock<thread::Thread>,
    stopping: AtomicBool,
    /// A segment's name is not durable yet.
    dir_unsynced: AtomicBool,
    pub(crate) counts: Counts,
    /// Corrupt regions that nobody was told of yet.
    regions: Mutex<Vec<Region>>,
    found: Arc<losses::Found>,
    /// Segments with bytes that could not be copied: the files are kept.
    unreadable: Mutex<BTreeSet<u64>>,
    /// What lies before it was passed by earlier runs, which found damage: what of it they could not copy is not known.
    inherited: position::Position,
    /// Held until the buffer is closed.
    owner: Mutex<Option<Arc<dyn Ownership>>>,
}

/// Numbers that are kept beside the locks.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) syncs: AtomicU64,
    pub(crate) corrupt_regions: AtomicU64,
    pub(crate) corrupt_bytes: AtomicU64,
    pub(crate) lost_records: AtomicU64,
    pub(crate) recovered_records: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
}

/// State of who does the chores.
#[derive(Default)]
struct Chores {
    /// Since when the log has stood at which lsn, for giving space back.
    unchanged: (Duration, u64),
    last_sync: Duration,
    /// What could not be cleaned up.
    stuck: Option<space::Stuck>,
}

impl Buffer {
    /// Opens the buffer in `dir`, which is created if need be (0700). `limits` are the sink's.
    ///
    /// # Errors
    /// `InUse` if another producer has it, `UnsupportedFormat` for a log of an unknown version (nothing is
    /// touched), `InvalidArgument` for options out of range, `DiskFull` or `Io` from the disk.
    pub fn open(dir: impl AsRef<Path>, options: Options, limits: Limits) -> Result<Buffer> {
        Buffer::open_in(dir.as_ref(), options, limits, Environment::system())
    }

    pub(crate) fn open_in(dir: &Path, options: Options, limits: Limits, env: Environment) -> Result<Buffer> {
        let core = Arc::new(Core::open(dir, options, limits, env)?);
        let keeper = if core.env.threads { Some(Maintenance::start(core.clone())?) } else { None };
        Ok(Buffer { core, keeper })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Puts a record and returns its sequence number. When it returns, the record survives the death of the
    /// process; under `durability = always` also a power loss.
    ///
    /// # Errors
    /// `RecordTooLarge`, `InvalidArgument` for a `created_at` that is no date, `BufferFull` (after `full_timeout` if
    /// `when_full = block`), `DiskFull`, `Io`, `Closed`, `Forked`. In all of them the record is not in the buffer.
    pub fn put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        let wait = match self.core.options.when_full {
            WhenFull::Block => self.core.options.full_timeout,
            WhenFull::Error => Duration::ZERO,
        };
        if self.core.fork.is_forked() {
            return Err(forked());
        }
        self.core.put(record.into(), Some(wait.into())).map(|appended| appended.seq)
    }

    /// Ends the batch being filled; `false` if it was empty.
    ///
    /// # Errors
    /// As for a write to the log.
    pub fn seal(&self) -> Result<bool> {
        self.core.seal()
    }

    /// Whether a sealed batch is there. Seals one whose oldest record is older than `linger`.
    pub fn should_emit(&self) -> bool {
        let _ = self.core.seal_if_old();
        self.core.has_batch()
    }

    /// The oldest batch that is full, older than `linger`, or was [sealed](Self::seal); the same one again until it is
    /// committed.
    ///
    /// # Errors
    /// `Io` if the log cannot be read, `UnsupportedFormat` for a segment of an unknown version.
    pub fn emit(&self) -> Result<Option<Batch>> {
        // A log that takes nothing can still be read.
        let _ = self.core.seal_if_old();
        self.core.peek()
    }

    /// Forgets a batch: its records are finished, and their space can be used again. It may be any of those that
    /// [`emit`](Self::emit) has returned since the last commit, which are all the same one.
    ///
    /// # Errors
    /// `NotFound` for any other: one that is committed already, that an earlier opening emitted, or that was made of a
    /// dead letter; also if the log was damaged since, so that `emit` returns what is left of it. `DiskFull` or `Io` if this could
    /// not be noted on disk. The batch is not emitted again in this run then, but after a restart it is.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        self.core.settle(batch, Settle { finished: true, ..Settle::default() }, || {})
    }

    /// Makes all records durable now, whatever the durability mode.
    ///
    /// # Errors
    /// `Io` if the disk failed; the buffer then refuses further puts.
    pub fn sync(&self) -> Result<()> {
        self.core.sync()
    }

    /// Records that are not committed.
    pub fn len(&self) -> u64 {
        self.core.pending().0
    }

    /// Records in the batch being filled, and their bytes as the sink's limits count them: for callers that
    /// [`seal`](Self::seal) by rules of their own.
    pub fn filling(&self) -> (u64, u64) {
        if self.core.fork.is_forked() {
            return (0, 0);
        }
        let log = lock(&self.core.log);
        (log.open.records, log.open.bytes)
    }

    /// Whether every record is committed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the buffer; what is in it stays. Closing twice is fine.
    ///
    /// # Errors
    /// `Io` or `DiskFull` if the last sync failed. It is closed all the same.
    pub fn close(&self) -> Result<()> {
        if self.core.fork.is_forked() {
            return Err(forked());
        }
        if let Some(keeper) = &self.keeper {
            keeper.stop(&self.core);
        }
        self.core.close()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // An error has nobody to go to; what it concerns is found again on opening.
        let _ = self.close();
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("dir", &self.core.dir.path()).finish_non_exhaustive()
    }
}

/// How long a put may wait for space.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    /// Until it returns, at most.
    pub(crate) slice: Duration,
    /// With all the calls that its caller makes of it: what is told of. Zero waits for nothing.
    pub(crate) whole: Duration,
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Wait { slice: wait, whole: wait }
    }
}

impl Core {
    // ------------------------------------------------------------------------------------------------ in

    /// Appends a record, waiting for space at most `wait`; `None` does not even prepare the next segment. The caller has
    /// seen to it that this is no forked child.
    #[inline]
    pub(crate) fn put(&self, record: NewRecord<'_>, wait: Option<Wait>) -> Result<Appended> {
        let body = Body { id: record.id, key: record.key, data: record.data };
        let key_len = record.key.map_or(0, <[u8]>::len);
        let id_len = record.id.map_or(0, str::len);
        let counted = self.limits.record_bytes(record.data, record.key, record.id);
        if record.data.len() as u64 > self.max_data || counted > self.max_counted || (key_len | id_len) > MAX_ID_BYTES {
            return Err(self.too_large(&record, counted));
        }
        let created_at = match record.created_at {
            Some(created_at) if CREATED_AT.contains(&created_at) => created_at,
            Some(created_at) => return Err(no_date(created_at)),
            None => self.env.clock.wall(),
        };
        let body_crc = body.crc();
        // The guard ends with the statement: what follows takes the log again.
        let appended =
            lock_briefly(&self.log).append(&body, body_crc, created_at, counted, self.caps, &*self.env.clock);
        let appended = match appended {
            Ok(appended) => appended,
            Err(Refusal::Error(error)) => return Err(error),
            Err(Refusal::Segment(_)) => match wait {
                Some(wait) => self.append_slowly(&body, body_crc, created_at, counted, wait)?,
                None => match self.append_rolling(&body, body_crc, created_at, counted)? {
                    Ok(appended) => appended,
                    Err(_) => {
                        // Where it could not make the segment, it tries again.
                        self.wake_keeper();
                        return Err(would_wait());
                    }
                },
            },
        };
        if self.keeper_idle.load(Ordering::Relaxed) || appended.wants_spare {
            self.wake_keeper();
        }
        if self.options.durability == Durability::Always {
            // Failing here, the record is in the log, but whether it is durable is not known.
            self.sync_to(appended.lsn).map_err(|error| error.with_record_accepted(true))?;
        }
        Ok(appended)
    }

    /// The rest of a put that found no room: prepares the next segment, or waits for space.
    #[cold]
    fn append_slowly(
        &self,
        body: &Body<'_>,
        body_crc: u32,
        created_at: i64,
        counted: u64,
        wait: Wait,
    ) -> Result<Appended> {
        let deadline = self.env.clock.monotonic().saturating_add(wait.slice);
        let clock = &*self.env.clock;
        let mut told = false;
        loop {
            let freed = self.freed.load(Ordering::Acquire);
            let needed = match self.append_rolling(body, body_crc, created_at, counted)? {
                Ok(appended) => return Ok(appended),
                Err(needed) => needed,
            };
            let Err(error) = self.prepare(needed) else { continue };
            if error.kind() != ErrorKind::BufferFull {
                return Err(error);
            }
            let mut log = lock(&self.log);
            log.check()?;
            // What is open would wait for ever for a full batch, and its sender for the next put.
            if log.seal(self.env.clock.wall())?
                && let Some(tell) = self.when_sealed.get()
            {
                tell();
            }
            if wait.whole.is_zero() || !self.env.threads {
                return Err(error);
            }
            if self.freed.load(Ordering::Acquire) != freed {
                continue;
            }
            if !told && let Some(tell) = self.when_waiting.get() {
                told = true;
                drop(log);
                tell(wait.whole);
                continue;
            }
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(error);
            }
            // In steps: what is committed now is freed by the next `prepare`.
            drop(self.space.wait_timeout(log, left.min(Duration::from_millis(50))));
        }
    }

    /// Appends, in the spare segment if the active one has no room. Else says what length of a segment it needs.
    #[cold]
    fn append_rolling(
        &self,
        body: &Body<'_>,
        body_crc: u32,
        created_at: i64,
        counted: u64,
    ) -> Result<std::result::Result<Appended, u64>> {
        let clock = &*self.env.clock;
        let mut log = lock(&self.log);
        let mut result = log.append(body, body_crc, created_at, counted, self.caps, clock);
        if let Err(Refusal::Segment(needed)) = result
            && log.spare.as_ref().is_some_and(|spare| spare.length >= needed)
        {
            log.roll(created_at)?;
            result = log.append(body, body_crc, created_at, counted, self.caps, clock);
        }
        match result {
            Ok(appended) => Ok(Ok(appended)),
            Err(Refusal::Segment(needed)) => Ok(Err(needed)),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    #[cold]
    fn too_large(&self, record: &NewRecord<'_>, counted: u64) -> Error {
        let longest = record.key.map_or(0, <[u8]>::len).max(record.id.map_or(0, str::len));
        let message = if longest > MAX_ID_BYTES {
            format!("an id or key of {longest} bytes is longer than {MAX_ID_BYTES}")
        } else if record.data.len() as u64 > self.max_data {
            let limit = self.max_data;
            format!("a record of {} bytes is larger than max_record_bytes ({limit})", record.data.len())
        } else {
            let limit = self.max_counted;
            format!("a record that counts {counted} bytes is larger than a batch or the sink takes ({limit})")
        };
        Error::new(ErrorKind::RecordTooLarge, message)
    }

    pub(crate) fn seal(&self) -> Result<bool> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let mut log = lock(&self.log);
        log.check()?;
        log.seal(self.env.clock.wall())
    }

    /// Seals the open batch if it lingered long enough; else says when it will have.
    pub(crate) fn seal_if_old(&self) -> Result<Option<Duration>> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let is_due = |since: Duration| {
            let due = since.saturating_add(self.options.linger);
            (due, self.env.clock.monotonic() >= due)
        };
        if self.options.linger == NEVER {
            return Ok(None);
        }
        match lock(&self.front).open_since.map(is_due) {
            None => return Ok(None),
            Some((due, false)) => return Ok(Some(due)),
            Some((_, true)) => {}
        }
        // Another batch may have begun since.
        let mut log = lock(&self.log);
        if !matches!(log.status, Status::Open) {
            // It can never be sealed in this run.
            lock(&self.front).open_since = None;
        } else if log.open.records > 0 {
            match is_due(log.open.since) {
                (due, false) => return Ok(Some(due)),
                (_, true) => {
                    log.seal(self.env.clock.wall())?;
                }
            }
        }
        Ok(None)
    }

    /// Whether a batch waits to be read where `in_flight` may be read, or one that is being filled will have to be sealed by age.
    pub(crate) fn has_work(&self, in_flight: usize) -> bool {
        let read = {
            let reader = lock(&self.reader);
            // Behind as many as may be in flight none is read until the first of them is finished.
            if reader.heads.len() < in_flight { reader.walk.at.seq } else { u64::MAX }
        };
        let front = *lock(&self.front);
        front.sealed.seq > read || (front.open_since.is_some() && self.options.linger != NEVER)
    }

    /// Records and payload bytes that are not committed.
    pub(crate) fn pending(&self) -> (u64, u64) {
        if self.fork.is_forked() {
            return (0, 0);
        }
        let reader = lock(&self.reader);
        let log = lock(&self.log);
        let committed = &reader.state.committed;
        let done = reader.done_records();
        (log.records.saturating_sub(committed.records + done), log.bytes.saturating_sub(committed.bytes))
    }

    /// Everything put so far has a seq below this.
    pub(crate) fn next_seq(&self) -> u64 {
        lock(&self.log).next_seq
    }

    /// Everything below this is finished.
    pub(crate) fn committed_seq(&self) -> u64 {
        let reader = lock(&self.reader);
        let log = lock(&self.log);
        // All is read and nothing left: also records that were lost or seqs that were skipped are finished.
        let reached = (reader.walk.at.segment, reader.walk.at.offset) >= (log.sealed.segment, log.sealed.offset);
        if reader.heads.is_empty() && log.open.records == 0 && reached {
            return log.next_seq;
        }
        reader.state.committed.seq
    }

    pub(crate) fn fill(&self, stats: &mut crate::stats::Stats) {
        let (records, bytes) = self.pending();
        stats.pending_records = records;
        stats.pending_bytes = bytes;
        {
            let reader = lock(&self.reader);
            if let Some(head) = reader.heads.front() {
                let wait = head.ready_at.saturating_sub(self.env.clock.monotonic());
                stats.next_attempt_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                stats.head_attempts = u64::from(head.progress.attempts);
            }
        }
        let log = lock(&self.log);
        stats.put_records = log.records - log.opened_at.0;
        stats.put_bytes = log.bytes - log.opened_at.1;
        stats.buffer_bytes = log.disk_bytes;
        stats.next_seq = log.next_seq;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        stats.syncs = read(&self.counts.syncs);
        stats.corrupt_regions = read(&self.counts.corrupt_regions);
        stats.corrupt_bytes = read(&self.counts.corrupt_bytes);
        stats.lost_records = read(&self.counts.lost_records);
    }

    fn wake_keeper(&self) {
        if let Some(thread) = self.keeper_thread.get() {
            self.keeper_idle.store(false, Ordering::Relaxed);
            thread.unpark();
        }
    }

    fn close(&self) -> Result<()> {
        let Some(owner) = lock(&self.owner).take() else { return Ok(()) };
        let durable = self.options.durability != Durability::Os;
        // A log that has failed does not know what is durable: that is said once more.
        // Nothing is taken any more: what is accepted behind the last sync would never be synced.
        let (mut result, lsn) = {
            let mut log = lock(&self.log);
            let result = log.check();
            if result.is_ok() {
                log.status = Status::Closed;
            }
            self.tell_of_space();
            (result, log.lsn)
        };
        if result.is_ok() {
            result = owner.check().map_err(disowned);
        }
        if result.is_ok() {
            if durable {
                result = self.sync_to(lsn);
            }
            let active = {
                let log = lock(&self.log);
                (log.index, log.reader(log.index))
            };
            result = result.and_then(|()| self.check_there(&[active]));
            let mut chores = lock(&self.chores);
            self.trim(&mut chores);
            let freed = self.free(&mut chores);
            let freed = freed.and(chores.stuck.as_ref().map_or(Ok(()), |stuck| Err(stuck.error.clone())));
            self.trim(&mut chores);
            let mut reader = lock(&self.reader);
            reader.state.closed = match result.is_ok() && lock(&self.log).jumped_from.is_none() {
                false => Closed::No,
                true if durable => Closed::Durably,
                true => Closed::Unsynced,
            };
            // Where it cannot be that a later run is forgotten, no seq beyond the last was given out.
            if reader.state.closed == Closed::Durably {
                reader.state.seq_limit = lock(&self.log).next_seq;
            }
            if reader.state.closed != Closed::No {
                reader.state.end = lock(&self.log).end();
            }
            let written = reader.write();
            drop(reader);
            let synced = if durable { self.sync_cursor() } else { Ok(()) };
            result = result.and(freed).and(written).and(synced);
        } else {
            self.mark_unclean();
        }
        // Under the reader's lock: who settles meanwhile is done with the cursor before the directory is let go.
        let reader = lock(&self.reader);
        self.closed.store(true, Ordering::Release);
        lock(&self.log).status = Status::Closed;
        drop(reader);
        drop(owner);
        result
    }
}

#[cold]
fn would_wait() -> Error {
    Error::new(ErrorKind::BufferFull, "the next segment is not prepared yet; put waits for it")
}

#[cold]
pub(crate) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "this process is a fork of the one that opened the producer; open one after the fork")
}

#[cfg(all(test, feature = "torture"))]
mod tests;
