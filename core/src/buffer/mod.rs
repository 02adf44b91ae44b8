//! The durable FIFO: records in, sealed batches out, committed batches forgotten.
//!
//! It knows nothing of sinks or schedules. Locks, in the order in which they may be taken: `maintenance` (one thread
//! prepares, frees and syncs), `reader` (what goes out), `log` (what comes in), `front` (what the latter tells the former).
//! `put` takes only the last two, unless it finds no room.

mod batch_scan;
pub(crate) mod checkpoint;
mod delivery;
mod dropping;
mod durability;
mod engine;
pub(crate) mod format;
mod group_commit;
pub(crate) mod head;
pub(crate) mod lanes;
pub(crate) mod losses;
mod maintenance;
mod memo;
mod oldest;
mod open_batch;
mod opening;
pub(crate) mod position;
mod put;
mod quarantine;
mod reader;
mod recovery;
pub(crate) mod resync;
pub(crate) mod scan;
pub(crate) mod segment;
mod space;
mod space_signal;
mod tail;
mod tick;
mod upkeep;
mod window;
mod writer;

use std::path::Path;
use std::sync::Arc;

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::options::Options;
use crate::platform::{Environment, lock};
use crate::record::NewRecord;

pub(crate) use delivery::Taken;
pub(crate) use dropping::Dropped;
pub(crate) use engine::{Core, forked};
pub(crate) use head::Settle;
pub use losses::Damage;
pub(crate) use losses::Region;
use maintenance::Maintenance;
pub(crate) use opening::{Place, in_use, is_shared};
pub(crate) use put::Wait;
pub(crate) use quarantine::CORRUPT;
pub(crate) use space::Neighbours;
pub(crate) use writer::Appended;

/// The name of the lock file in the buffer's directory.
pub(crate) const LOCK: &str = "lock";
/// The name of the file that makes a directory an outbox that processes share: see `outbox/`.
pub(crate) const SHARED: &str = "shared";

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
    maintenance: Option<Maintenance>,
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
        let options = options.for_sink(&limits)?;
        if options.shared {
            let message = "a Buffer alone is one process's; a Producer is what shared = true is for";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let place = Place::alone(dir, &options, &env)?;
        Buffer::open_at(place, options, limits, env)
    }

    /// Opens the buffer in a directory that this process owns, with options that are those of the sink.
    pub(crate) fn open_at(place: Place, options: Options, limits: Limits, env: Environment) -> Result<Buffer> {
        let core = Arc::new(Core::open(place, options, limits, env)?);
        let start = || Maintenance::start(&core, core.fork, Core::run_thread);
        let maintenance = if core.env.threads { Some(start()?) } else { None };
        Ok(Buffer { core, maintenance })
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
        let wait = self.core.options.put_timeout();
        if self.core.fork.is_forked() {
            return Err(forked());
        }
        self.core.put(&record.into(), Some(wait.into())).map(|appended| appended.seq)
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
        if let Some(maintenance) = &self.maintenance {
            maintenance.stop(&self.core.signal);
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

#[cfg(all(test, feature = "torture"))]
mod tests;
