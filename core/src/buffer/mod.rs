//! The durable FIFO: records in, sealed batches out, committed batches forgotten.
//!
//! It knows nothing of sinks or schedules. Locks, in the order in which they may be taken: `chores` (one thread
//! prepares, frees and syncs), `reader` (what goes out), `log` (what comes in). `put` takes only the last.

pub(crate) mod cursor;
pub(crate) mod format;
mod keeper;
mod log;
mod opening;
pub(crate) mod reader;
mod recovery;
pub(crate) mod segment;
pub(crate) mod storage;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use crate::batch::Batch;
use crate::environment::{Apart, Environment, lock, lock_briefly};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Durability, NEVER, Options, WhenFull};
use crate::record::{MAX_ID_BYTES, NewRecord};
use crate::sink::Limits;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

use cursor::{Closed, Progress};
use format::{BatchId, Body};
use keeper::Keeper;
use log::{Appended, BatchCaps, Front, Log, Past, Refusal, Spare, Status};
use opening::make_segment;
pub(crate) use reader::Region;
use reader::{Head, Reader, Source};
use storage::{ForkGuard, Open};

/// The name of the lock file in the buffer's directory.
pub(crate) const LOCK: &str = "lock";
/// Where bytes go that were not what was written.
const CORRUPT: &str = "corrupt";

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
    keeper: Option<Keeper>,
}

/// What is shared with the keeper's thread.
pub(crate) struct Core {
    pub(crate) dir: PathBuf,
    pub(crate) env: Environment,
    pub(crate) options: Options,
    limits: Limits,
    caps: BatchCaps,
    max_data: u64,
    max_counted: u64,
    segment_bytes: u64,
    mapped: bool,
    pub(crate) fork: ForkGuard,
    chores: Mutex<Chores>,
    reader: Apart<Mutex<Reader>>,
    log: Apart<Mutex<Log>>,
    front: Arc<Apart<Mutex<Front>>>,
    closed: AtomicBool,
    /// Both clocks at the opening. The waits that earlier runs left are counted from there, whatever the wall does since.
    opened_at: (i64, Duration),
    /// Space was freed, or the log closed.
    space: Condvar,
    /// Whoever sends, to be told of a batch that was sealed by a put which waits for space.
    pub(crate) when_sealed: OnceLock<Box<dyn Fn() + Send + Sync>>,
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
    /// All that were counted, up to a number.
    reported: Mutex<Vec<Region>>,
    /// Held until the buffer is closed.
    owner: Mutex<Option<Box<dyn Send + Sync>>>,
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
}

/// Group commit: one thread syncs for all that wait.
#[derive(Default)]
struct Group {
    syncing: bool,
    synced_lsn: u64,
    /// Threads that came since the last sync began, and how many that one served.
    arrived: usize,
    served: usize,
}

/// What [`Core::take`] found.
pub(crate) enum Taken {
    Batch(Batch),
    /// The next batch may go out at this instant of the monotonic clock.
    Wait {
        ready_at: Duration,
        attempts: u32,
    },
    Nothing,
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
        let keeper = if core.env.threads { Some(Keeper::start(core.clone())?) } else { None };
        Ok(Buffer { core, keeper })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Puts a record and returns its sequence number. When it returns, the record survives the death of the
    /// process; under `durability = always` also a power loss.
    ///
    /// # Errors
    /// `RecordTooLarge`, `BufferFull` (after `full_timeout` if `when_full = block`), `DiskFull`, `Io`, `Closed`,
    /// `Forked`. In all of them the record is not in the buffer.
    pub fn put<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<u64> {
        let wait = match self.core.options.when_full {
            WhenFull::Block => self.core.options.full_timeout,
            WhenFull::Error => Duration::ZERO,
        };
        self.core.put(record.into(), Some(wait)).map(|appended| appended.seq)
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

    /// The oldest sealed batch; the same one again until it is committed.
    ///
    /// # Errors
    /// `Io` if the log cannot be read, `UnsupportedFormat` for a segment of an unknown version.
    pub fn emit(&self) -> Result<Option<Batch>> {
        self.core.peek()
    }

    /// Forgets a batch: its records are finished, and their space can be used again.
    ///
    /// # Errors
    /// `NotFound` if the batch is not the one that [`emit`](Self::emit) returns; `DiskFull` or `Io` if this could
    /// not be noted on disk. The batch is not emitted again in this run then, but after a restart it is.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        self.core.settle(batch.id, Settle { finished: true, ..Settle::default() }, || {})
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
        f.debug_struct("Buffer").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Settle {
    /// Nothing of it is left to send.
    pub(crate) finished: bool,
    /// Places that are finished.
    pub(crate) done: Vec<u32>,
    /// What is remembered of it from now on, `done` aside.
    pub(crate) progress: Option<Progress>,
    /// When what is left may go out again.
    pub(crate) ready_at: Duration,
}

impl Core {
    // ------------------------------------------------------------------------------------------------ in

    /// Appends a record, waiting for space at most `wait`; `None` does not even prepare the next segment.
    #[inline]
    pub(crate) fn put(&self, record: NewRecord<'_>, wait: Option<Duration>) -> Result<Appended> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let body = Body { id: record.id, key: record.key, data: record.data };
        let key_len = record.key.map_or(0, <[u8]>::len);
        let id_len = record.id.map_or(0, str::len);
        let counted = self.limits.record_bytes(record.data.len(), key_len);
        if record.data.len() as u64 > self.max_data || counted > self.max_counted || (key_len | id_len) > MAX_ID_BYTES {
            return Err(self.too_large(&record, counted));
        }
        let created_at = match record.created_at {
            Some(created_at) => created_at,
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
                None => return Err(would_wait()),
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
        wait: Duration,
    ) -> Result<Appended> {
        let deadline = self.env.clock.monotonic().saturating_add(wait);
        let clock = &*self.env.clock;
        loop {
            let freed = self.freed.load(Ordering::Acquire);
            let needed = {
                let mut log = lock(&self.log);
                let mut result = log.append(body, body_crc, created_at, counted, self.caps, clock);
                if let Err(Refusal::Segment(needed)) = result
                    && log.spare.as_ref().is_some_and(|spare| spare.length >= needed)
                {
                    log.roll(created_at)?;
                    result = log.append(body, body_crc, created_at, counted, self.caps, clock);
                }
                match result {
                    Ok(appended) => return Ok(appended),
                    Err(Refusal::Error(error)) => return Err(error),
                    Err(Refusal::Segment(needed)) => needed,
                }
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
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() || !self.env.threads {
                return Err(error);
            }
            if self.freed.load(Ordering::Acquire) != freed {
                continue;
            }
            // In steps: what is committed now is freed by the next `prepare`.
            drop(self.space.wait_timeout(log, left.min(Duration::from_millis(50))));
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

    // ----------------------------------------------------------------------------------------------- out

    /// Whether a batch is there that is not committed.
    pub(crate) fn has_batch(&self) -> bool {
        if self.fork.is_forked() {
            return false;
        }
        let reader = lock(&self.reader);
        let sealed = lock(&self.front).sealed;
        reader.heads.iter().any(|head| !head.finished) || reader.walk.at.seq < sealed.seq
    }

    fn load(&self, reader: &mut Reader) -> Result<bool> {
        loop {
            let upto = lock(&self.front).sealed;
            let Some(head) = reader.load(self, &upto, self.opened_at)? else { return Ok(false) };
            let finished = head.finished;
            reader.heads.push_back(head);
            if !finished {
                return Ok(true);
            }
            // An earlier run finished every record of it and died before the commit.
            reader.advance();
        }
    }

    fn peek(&self) -> Result<Option<Batch>> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let mut reader = lock(&self.reader);
        // What was read a while ago may have been overwritten since.
        if reader.heads.front().is_some_and(|head| !head.batch().is_whole()) {
            reader.read_again();
        }
        if reader.heads.is_empty() && !self.load(&mut reader)? {
            return Ok(None);
        }
        Ok(reader.heads.front().map(Head::batch))
    }

    /// The first batch that may go out now, among the first `in_flight`; handed out if `hand_out`.
    pub(crate) fn take(&self, in_flight: usize, hand_out: bool) -> Result<Taken> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let mut reader = lock(&self.reader);
        let now = self.env.clock.monotonic();
        let mut soonest: Option<(Duration, u32)> = None;
        let mut at = 0;
        while at < in_flight {
            let fresh = at >= reader.heads.len();
            if fresh && !self.load(&mut reader)? {
                break;
            }
            let head = &mut reader.heads[at];
            if !head.out && !head.finished {
                if head.ready_at <= now {
                    let batch = head.batch();
                    // What was read a while ago may have been overwritten since.
                    if fresh || batch.is_whole() {
                        head.out = hand_out;
                        return Ok(Taken::Batch(batch));
                    }
                    head.ready_at = now + REREAD_WAIT;
                    if reader.read_again() {
                        (at, soonest) = (0, None);
                        continue;
                    }
                }
                let head = &reader.heads[at];
                if soonest.is_none_or(|(ready_at, _)| head.ready_at < ready_at) {
                    soonest = Some((head.ready_at, head.progress.attempts));
                }
            }
            at += 1;
        }
        Ok(match soonest {
            Some((ready_at, attempts)) => Taken::Wait { ready_at, attempts },
            None => Taken::Nothing,
        })
    }

    /// Notes what became of a batch, on disk too.
    /// `known` is called once the batch is known to be this buffer's, before anybody can see that it is finished.
    pub(crate) fn settle(&self, id: BatchId, settle: Settle, known: impl FnOnce()) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let Some(at) = reader.heads.iter().position(|head| head.id == id && !head.finished) else {
            return Err(Error::new(ErrorKind::NotFound, "this batch is committed already, or of another buffer"));
        };
        known();
        let head = &mut reader.heads[at];
        head.out = false;
        head.ready_at = settle.ready_at;
        if let Some(progress) = settle.progress {
            head.progress = Progress { done: std::mem::take(&mut head.progress.done), ..progress };
        }
        if !settle.done.is_empty() {
            settle.done.iter().for_each(|place| head.progress.set_done(*place));
            let Head { entries, progress, .. } = head;
            entries.retain(|entry| !progress.is_done(entry.place));
        }
        if settle.finished && at > 0 {
            // The committed position cannot pass it yet: a crash must find that nothing of it is left to send.
            head.entries.drain(..).for_each(|entry| head.progress.set_done(entry.place));
        }
        head.finished = settle.finished || head.entries.is_empty();
        let before = reader.state.committed.segment;
        reader.advance();
        let frees = reader.state.committed.segment != before;
        self.note(&mut reader, frees)
    }

    /// The reader, to change what the cursor says: not in a forked child, and not after the close, when the
    /// directory may be another owner's.
    fn reader_in_service(&self) -> Result<MutexGuard<'_, Reader>> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let reader = lock(&self.reader);
        // A log that takes nothing can still be read and committed; one that is closed cannot.
        if self.closed.load(Ordering::Acquire) { Err(log::closed()) } else { Ok(reader) }
    }

    /// Reads what is not committed anew, because bytes that were handed out could no longer be read.
    pub(crate) fn read_again(&self) {
        lock(&self.reader).read_again();
    }

    /// Forgets attempts, so that what was given up on gets a fresh round.
    pub(crate) fn forgive(&self, exhausted: impl Fn(u32) -> bool) -> Result<()> {
        let mut reader = self.reader_in_service()?;
        let fresh = |progress: &mut Progress| {
            if exhausted(progress.attempts) {
                *progress = Progress { done: std::mem::take(&mut progress.done), ..Progress::default() };
                return true;
            }
            false
        };
        let mut changed = false;
        for (_, progress) in &mut reader.state.batches {
            changed |= fresh(progress);
        }
        for head in &mut reader.heads {
            if fresh(&mut head.progress) {
                head.ready_at = Duration::ZERO;
                changed = true;
            }
        }
        if changed { self.note(&mut reader, false) } else { Ok(()) }
    }

    /// Writes the cursor, and durably so if the mode wants it.
    fn note(&self, reader: &mut Reader, frees: bool) -> Result<()> {
        // The reader's own position does for the reservation: the keeper looks after what is ahead of it. The log's
        // lock is left to those who put.
        reader.write(reader.walk.at.seq)?;
        if self.options.durability == Durability::Always
            && let Some(file) = reader.begin_sync()?
        {
            let synced = file.sync();
            reader.cursor.end_sync(synced.is_ok());
            synced.map_err(|error| Error::io("could not sync the cursor", error))?;
        }
        if frees {
            self.wake_keeper();
        }
        Ok(())
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

    pub(crate) fn fill(&self, stats: &mut crate::event::Stats) {
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

    /// The corrupt regions found since the last call.
    pub(crate) fn take_regions(&self) -> Vec<Region> {
        std::mem::take(&mut *lock(&self.regions))
    }

    // -------------------------------------------------------------------------------------------- chores

    /// Sees to it that a spare segment of at least `needed` bytes is there.
    fn prepare(&self, needed: u64) -> Result<()> {
        let mut chores = lock(&self.chores);
        if lock(&self.log).spare.as_ref().is_some_and(|spare| spare.length >= needed) {
            return Ok(());
        }
        self.free(&mut chores)?;
        let length = self.segment_bytes.max(needed);
        let (index, reused, small) = {
            let mut log = lock(&self.log);
            log.check()?;
            let small = log.spare.take();
            let reused = log.pool.iter().rposition(|kept| kept.length >= length).map(|at| log.pool.swap_remove(at));
            (log.index + 1, reused, small)
        };
        let failed = |error| Error::io("could not prepare a segment", error);
        if let Some(small) = small {
            self.discard(small).map_err(failed)?;
        }
        // The name is durable before a record in it can be: at once, or as the first step of the next sync.
        let at_once = self.options.durability == Durability::Always;
        // The last one kept, whose pages are the warmest.
        let mut spare = match reused {
            Some(reused) => self.reuse(reused, index, at_once).map_err(failed)?,
            None => {
                let cap = self.options.max_buffer_bytes;
                if length.saturating_mul(2) > cap {
                    let message = format!(
                        "a record that needs a segment of {length} bytes does not fit max_buffer_bytes ({cap})"
                    );
                    return Err(Error::new(ErrorKind::RecordTooLarge, message));
                }
                while lock(&self.log).disk_bytes + length > cap {
                    // Kept segments that are too small for this.
                    let Some(kept) = lock(&self.log).pool.pop() else { return Err(full(cap)) };
                    self.discard(kept).map_err(failed)?;
                }
                let make = || make_segment(&self.env, &self.dir, index, length, self.mapped, at_once);
                let spare = make().or_else(|error| match error.kind() {
                    // A file that was removed takes its space for as long as a sync has it.
                    ErrorKind::DiskFull => {
                        self.wait_for_sync();
                        make()
                    }
                    _ => Err(error),
                })?;
                lock(&self.log).disk_bytes += length;
                spare
            }
        };
        spare.writer.warm(0, spare.length as usize);
        if !at_once {
            // Behind the name and before its use: a sync in between would take the name for durable.
            self.dir_unsynced.store(true, Ordering::Release);
        }
        lock(&self.log).spare = Some(spare);
        Ok(())
    }

    /// Makes a kept segment the next one.
    fn reuse(&self, mut kept: Spare, index: u64, durable: bool) -> io::Result<Spare> {
        let (from, to) = (self.dir.join(segment::name(kept.index)), self.dir.join(segment::name(index)));
        // Its header still names the old index, which tells a crashed opener that it holds nothing.
        let renamed = self
            .env
            .disk
            .rename(&from, &to)
            .and_then(|()| if durable { self.env.disk.sync_dir(&self.dir) } else { Ok(()) });
        if let Err(error) = renamed {
            lock(&self.log).disk_bytes -= kept.length;
            let _ = self.env.disk.remove(&from);
            let _ = self.env.disk.remove(&to);
            return Err(error);
        }
        kept.index = index;
        Ok(kept)
    }

    fn discard(&self, spare: Spare) -> io::Result<()> {
        let Spare { index, length, writer } = spare;
        drop(writer);
        self.env.disk.remove(&self.dir.join(segment::name(index)))?;
        let log = &mut *lock(&self.log);
        log.disk_bytes -= length;
        self.tell_of_space();
        Ok(())
    }

    /// Frees the segments before the committed position: keeps one or two for use again, removes the others.
    fn free(&self, _: &mut Chores) -> Result<()> {
        let committed = {
            let mut reader = lock(&self.reader);
            if reader.unwritten {
                let next_seq = lock(&self.log).next_seq;
                reader.write(next_seq)?;
            }
            reader.state.committed.segment
        };
        if lock(&self.log).past.front().is_none_or(|past| past.index >= committed) {
            return Ok(());
        }
        // The commit is durable before what it frees is written over or unlinked.
        if self.options.durability != Durability::Os {
            self.sync_cursor()?;
        }
        loop {
            let (past, keep) = {
                let mut log = lock(&self.log);
                match log.past.front() {
                    Some(past) if past.index < committed => {}
                    _ => break,
                }
                // Finished records need no sync any more.
                log.unsynced.retain(|(index, _)| *index >= committed);
                let keep = log.pool.len() < POOL && log.disk_bytes <= self.options.max_buffer_bytes;
                match log.past.pop_front() {
                    Some(past) => (past, keep),
                    None => break,
                }
            };
            let Past { index, length, writer } = past;
            match writer {
                Some(mut writer) if keep && length == self.segment_bytes => {
                    // A batch that is still in somebody's hands keeps its bytes: then the file goes.
                    if writer.recycle() {
                        let mut log = lock(&self.log);
                        log.pool.push(Spare { index, length, writer });
                        self.tell_of_space();
                        continue;
                    }
                    self.unlink(index, length)?;
                }
                _ => self.unlink(index, length)?,
            }
        }
        Ok(())
    }

    fn tell_of_space(&self) {
        self.freed.fetch_add(1, Ordering::Release);
        self.space.notify_all();
    }

    fn unlink(&self, index: u64, length: u64) -> Result<()> {
        let removed = self.env.disk.remove(&self.dir.join(segment::name(index)));
        let mut log = lock(&self.log);
        if let Err(error) = removed {
            // It is tried again.
            log.past.push_front(Past { index, length, writer: None });
            return Err(Error::io(format_args!("could not remove {}", segment::name(index)), error));
        }
        log.disk_bytes -= length;
        self.tell_of_space();
        Ok(())
    }

    /// Gives kept and prepared segments back to the filesystem. Without the chores another would be prepared meanwhile,
    /// under the name that is removed here.
    fn trim(&self, _: &mut Chores) {
        let kept = {
            let mut log = lock(&self.log);
            let mut kept = std::mem::take(&mut log.pool);
            kept.extend(log.spare.take());
            kept
        };
        for spare in kept {
            let _ = self.discard(spare);
        }
    }

    /// Makes the cursor durable. The caller has the chores.
    fn sync_cursor(&self) -> Result<()> {
        let begun = lock(&self.reader).begin_sync()?;
        if let Some(file) = begun {
            let synced = file.sync();
            lock(&self.reader).cursor.end_sync(synced.is_ok());
            synced.map_err(|error| Error::io("could not sync the cursor", error))?;
        }
        Ok(())
    }

    /// Makes everything up to `lsn` durable; threads that wait share one sync.
    fn sync_to(&self, lsn: u64) -> Result<()> {
        let mut group = lock(&self.group);
        group.arrived += 1;
        loop {
            if group.synced_lsn >= lsn {
                return Ok(());
            }
            if !group.syncing {
                break;
            }
            group = wait(&self.group_changed, group);
        }
        group.syncing = true;
        // Those whom the last sync served are about to come again: a sync for all is worth a moment.
        for _ in 0..GATHER_TURNS {
            if group.arrived >= group.served {
                break;
            }
            drop(group);
            thread::yield_now();
            group = lock(&self.group);
        }
        group.served = std::mem::take(&mut group.arrived);
        drop(group);
        let result = self.sync_log();
        let mut group = lock(&self.group);
        group.syncing = false;
        if let Ok(synced) = &result {
            group.synced_lsn = *synced;
        }
        self.group_changed.notify_all();
        drop(group);
        result.map(|_| ())
    }

    /// Waits until the sync that is under way is over, if there is one.
    fn wait_for_sync(&self) {
        let mut group = lock(&self.group);
        while group.syncing {
            group = wait(&self.group_changed, group);
        }
    }

    fn sync_log(&self) -> Result<u64> {
        let (readers, lsn) = {
            let mut log = lock(&self.log);
            if let Status::Failed(error) = &log.status {
                return Err(error.clone());
            }
            let mut readers = std::mem::take(&mut log.unsynced);
            readers.extend(log.reader(log.index).map(|reader| (log.index, reader)));
            (readers, log.lsn)
        };
        let names =
            if self.dir_unsynced.swap(false, Ordering::AcqRel) { self.env.disk.sync_dir(&self.dir) } else { Ok(()) };
        let files = readers.iter().map(|(_, reader)| reader.sync());
        for synced in std::iter::once(names).chain(files) {
            synced.map_err(|error| self.fail(Error::io("could not sync the log", error)))?;
        }
        self.check_there(&readers)?;
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(lsn)
    }

    /// An error if segments with records that are not finished were removed or cut by somebody: what is put into them
    /// would be gone with the process.
    fn check_there(&self, readers: &[(u64, Arc<dyn storage::SegmentReader>)]) -> Result<()> {
        for (index, reader) in readers {
            let gone = match reader.is_there() {
                Ok(true) => continue,
                Ok(false) => io::Error::new(io::ErrorKind::NotFound, "the file was removed, replaced or cut"),
                Err(error) => error,
            };
            // One that was freed meanwhile is gone with good reason.
            if lock(&self.reader).state.committed.segment <= *index {
                return Err(self.fail(Error::io(format_args!("lost {}", segment::name(*index)), gone)));
            }
        }
        Ok(())
    }

    /// The log takes nothing any more, and what it has may not be what will be found.
    fn fail(&self, error: Error) -> Error {
        lock(&self.log).fail(error.clone());
        self.distrust();
        error
    }

    /// Has the next owner take the log for one that a power loss cut off, as far as the cursor can still be written.
    fn distrust(&self) {
        let mut reader = lock(&self.reader);
        reader.state.boot_id = 0;
        let _ = reader.write_as_is();
    }

    pub(crate) fn sync(&self) -> Result<()> {
        if self.fork.is_forked() {
            return Err(forked());
        }
        let lsn = {
            let log = lock(&self.log);
            if matches!(log.status, Status::Closed) {
                return log.check();
            }
            log.lsn
        };
        self.sync_to(lsn)?;
        let _chores = lock(&self.chores);
        self.sync_cursor()
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
            if durable {
                result = self.sync_to(lsn);
            }
            let active = {
                let log = lock(&self.log);
                log.reader(log.index).map(|reader| (log.index, reader))
            };
            result = result.and_then(|()| self.check_there(active.as_slice()));
            let mut chores = lock(&self.chores);
            self.trim(&mut chores);
            let freed = self.free(&mut chores);
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
            let written = reader.write_as_is();
            drop(reader);
            let synced = if durable { self.sync_cursor() } else { Ok(()) };
            result = result.and(freed).and(written).and(synced);
        } else {
            self.distrust();
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

/// How often the thread that syncs lets others run, so that they join.
const GATHER_TURNS: u32 = 32;
/// When bytes changed that can only be read anew when other batches are back: the time until the next look.
const REREAD_WAIT: Duration = Duration::from_millis(10);
/// Segments kept for use again beside the spare one.
const POOL: usize = 2;
/// Corrupt regions that are remembered one by one until somebody is told; all are counted.
const MOST_REGIONS: usize = 1000;

impl Source for Core {
    fn open(&self, index: u64) -> Result<Option<segment::Finished>> {
        let own = {
            let log = lock(&self.log);
            log.reader(index).zip(log.length_of(index))
        };
        if let Some((reader, length)) = own {
            let head = reader.clone().read(0, format::SEGMENT_HEADER_BYTES);
            let head = head.map_err(|error| unreadable(index, error))?;
            let header = format::SegmentHeader::decode(head.bytes());
            return Ok(Some(segment::Finished { header, reader, length }));
        }
        segment::open(&*self.env.disk, &self.dir, index, self.mapped).map_err(|error| unreadable(index, error))
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        lock(&self.log).segment_after(index)
    }

    fn set_aside(&self, region: &Region, bytes: &[u8]) {
        {
            // What is read again is told once.
            let mut reported = lock(&self.reported);
            if reported.contains(region) {
                return;
            }
            if reported.len() < MOST_REGIONS {
                reported.push(region.clone());
            }
        }
        self.counts.corrupt_regions.fetch_add(1, Ordering::Relaxed);
        self.counts.corrupt_bytes.fetch_add(region.bytes, Ordering::Relaxed);
        self.counts.lost_records.fetch_add(region.records, Ordering::Relaxed);
        let name = segment::name(region.segment);
        if !bytes.is_empty() {
            // For whoever wants to look at them; not being able to keep them is no reason to stop.
            let dir = self.dir.join(CORRUPT);
            let path = dir.join(format!("{name}.{}", region.offset));
            let disk = &self.env.disk;
            let _ = disk.create_dir(&dir).and_then(|()| disk.open(&path, Open::Truncate)?.write_at(bytes, 0));
        }
        let mut regions = lock(&self.regions);
        if regions.len() < MOST_REGIONS {
            regions.push(region.clone());
        }
    }
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn unreadable(index: u64, error: io::Error) -> Error {
    Error::io(format_args!("could not read {}", segment::name(index)), error)
}

#[cold]
fn would_wait() -> Error {
    Error::new(ErrorKind::BufferFull, "the next segment is not prepared yet; put waits for it")
}

#[cold]
fn full(cap: u64) -> Error {
    let message = format!("the buffer has reached max_buffer_bytes ({cap}); the sink has to catch up first");
    Error::new(ErrorKind::BufferFull, message)
}

#[cold]
pub(crate) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "this process is a fork of the one that opened the producer; open one after the fork")
}
