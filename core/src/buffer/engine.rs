//! The engine behind [`Buffer`](super::Buffer): its parts, the numbers, and the close.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::checkpoint::Closed;
use super::dropping::Dropped;
use super::group_commit::GroupCommit;
use super::losses::{DamageReport, Losses};
use super::maintenance::{MaintenanceSignal, MaintenanceState};
use super::oldest::Oldest;
use super::open_batch::BatchCaps;
use super::position::Position;
use super::reader::Reader;
use super::segment::Access;
use super::space::Neighbours;
use super::space_signal::SpaceSignal;
use super::tick::Tick;
use super::window::{Next, Window};
use super::writer::{Front, Log, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::options::{Durability, NEVER, Options};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::{CachePadded, Directory, Environment, ForkGuard, Ownership, lock};

/// What a buffer is made of, shared with the maintenance thread. The files that import it add to its methods: `opening`,
/// `put`, `delivery`, `durability`, `space`, `upkeep`.
pub(crate) struct Core {
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) env: Environment,
    pub(crate) options: Options,
    pub(super) limits: Limits,
    pub(super) caps: BatchCaps,
    pub(super) window: Window,
    pub(super) max_data: u64,
    pub(super) max_counted: u64,
    /// What a record that is a payload alone counts besides its bytes, and how many bytes it may have.
    pub(super) payload_overhead: u64,
    pub(super) max_payload: u64,
    pub(super) segment_bytes: u64,
    pub(super) access: Access,
    pub(crate) fork: ForkGuard,
    pub(super) maintenance: Mutex<MaintenanceState>,
    pub(super) signal: MaintenanceSignal,
    pub(super) reader: CachePadded<Mutex<Reader>>,
    pub(super) log: CachePadded<Mutex<Log>>,
    pub(super) front: Arc<CachePadded<Mutex<Front>>>,
    pub(super) closed: AtomicBool,
    /// Both clocks at the opening. The waits that earlier runs left are counted from there, whatever the wall clock does since.
    pub(super) opened_at: (i64, Duration),
    pub(super) space: SpaceSignal,
    /// Called when a put that waits for space has sealed a batch.
    pub(crate) when_sealed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Called by a put that is about to wait for space, on its thread and with no lock held.
    pub(crate) when_waiting: OnceLock<Box<dyn Fn(Duration) + Send + Sync>>,
    /// Called by a put that has dropped the oldest batches, in the same way.
    pub(crate) when_dropped: OnceLock<Box<dyn Fn(&Dropped) + Send + Sync>>,
    pub(super) oldest: Oldest,
    /// What the log's thread does beside the log.
    pub(super) tick: Tick,
    pub(super) group: GroupCommit,
    /// A segment's name is not durable yet.
    pub(super) dir_unsynced: AtomicBool,
    pub(crate) counts: Counts,
    pub(super) damage: DamageReport,
    /// The committed position at the opening, if there was damage before it: whether earlier runs could copy all of it is not
    /// known.
    pub(super) inherited: Position,
    /// Held until the buffer is closed.
    pub(super) owner: Mutex<Option<Arc<dyn Ownership>>>,
    /// Logs that count towards the same `max_buffer_bytes`.
    pub(super) neighbours: Option<Arc<dyn Neighbours>>,
}

impl AsRef<MaintenanceSignal> for Core {
    fn as_ref(&self) -> &MaintenanceSignal {
        &self.signal
    }
}

/// Numbers that are kept beside the locks.
#[derive(Default)]
pub(crate) struct Counts {
    syncs: AtomicU64,
    pub(super) dropped_records: AtomicU64,
    pub(super) dropped_bytes: AtomicU64,
    recovered_records: u64,
    torn_bytes: u64,
}

impl Counts {
    pub(super) fn new(recovered_records: u64, torn_bytes: u64) -> Counts {
        Counts { recovered_records, torn_bytes, ..Counts::default() }
    }

    pub(super) fn add_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_dropped(&self, dropped: &Dropped) {
        self.dropped_records.fetch_add(dropped.records, Ordering::Relaxed);
        self.dropped_bytes.fetch_add(dropped.bytes, Ordering::Relaxed);
    }

    /// Records that opening found.
    pub(crate) fn recovered_records(&self) -> u64 {
        self.recovered_records
    }

    /// Bytes that opening cut off the log's end.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }
}

impl Core {
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

    /// Whether a batch waits to be read and may be, or one that is being filled will have to be sealed by age.
    pub(crate) fn has_work(&self) -> bool {
        let read = {
            let reader = lock(&self.reader);
            match self.window.next(&reader.heads, self.env.clock.monotonic()).0 {
                Next::Part(..) => return true,
                Next::Read => reader.scan.walk.at.seq,
                // None is read until one is finished.
                Next::Nothing => u64::MAX,
            }
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

    /// Whether a batch is handed out and not answered.
    pub(crate) fn is_out(&self) -> bool {
        lock(&self.reader).heads.iter().any(|head| head.is_out())
    }

    /// The id of the buffer, as it is part of batch ids.
    pub(crate) fn buffer_id(&self) -> u64 {
        lock(&self.reader).state.buffer_id
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
        let reached =
            (reader.scan.walk.at.segment, reader.scan.walk.at.offset) >= (log.sealed.segment, log.sealed.offset);
        if reader.heads.is_empty() && log.open.records == 0 && reached {
            return log.next_seq;
        }
        reader.state.committed.seq
    }

    pub(crate) fn fill(&self, stats: &mut crate::stats::Stats) {
        let (records, bytes) = self.pending();
        stats.pending_records = records;
        stats.pending_bytes = bytes;
        if records > 0 {
            let oldest = self.oldest_created_at();
            let age = oldest.map_or(0, |at| self.env.clock.wall().saturating_sub(at).max(0));
            stats.oldest_age_ms = age.cast_unsigned() / 1000;
        }
        {
            let reader = lock(&self.reader);
            let parts = || reader.heads.iter().flat_map(|head| &head.parts);
            stats.in_flight = parts().filter(|part| part.out.is_some()).count() as u64;
            let now = self.env.clock.monotonic();
            stats.waiting = parts().filter(|part| part.out.is_none() && part.ready_at > now).count() as u64;
            if let Some(part) = reader.heads.front().and_then(|head| head.parts.first()) {
                let wait = part.ready_at.saturating_sub(now);
                stats.next_attempt_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                stats.head_attempts = u64::from(part.progress.attempts);
            }
        }
        (stats.put_records, stats.put_bytes) = self.put_totals();
        let log = lock(&self.log);
        stats.buffer_bytes = log.disk_bytes;
        stats.next_seq = log.next_seq;
        stats.syncs = self.counts.syncs.load(Ordering::Relaxed);
        let Losses { regions, bytes, records } = self.damage.totals();
        (stats.corrupt_regions, stats.corrupt_bytes, stats.lost_records) = (regions, bytes, records);
    }

    /// Records and bytes put since the opening.
    pub(crate) fn put_totals(&self) -> (u64, u64) {
        let log = lock(&self.log);
        (log.records - log.opened_at.0, log.bytes - log.opened_at.1)
    }

    pub(super) fn close(&self) -> Result<()> {
        let Some(owner) = lock(&self.owner).take() else { return Ok(()) };
        let durable = self.options.durability != Durability::Os;
        // Refuse records first: one that is accepted behind the last sync would never be synced. A log that has failed does
        // not know what is durable, and closing repeats its error.
        let (mut result, lsn) = {
            let mut log = lock(&self.log);
            let result = log.check();
            if result.is_ok() {
                log.close();
            }
            self.space.notify();
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
            let mut maintenance = lock(&self.maintenance);
            self.trim(&mut maintenance);
            let freed = self.free(&mut maintenance);
            let freed = freed.and(maintenance.undeletable().map_or(Ok(()), |error| Err(error.clone())));
            self.trim(&mut maintenance);
            let mut reader = lock(&self.reader);
            let (jumped, end) = {
                let log = lock(&self.log);
                (log.jumped_from.is_some(), log.end())
            };
            let closed = match result.is_ok() && !jumped {
                false => Closed::No,
                true if durable => Closed::Durably,
                true => Closed::Unsynced,
            };
            let written = reader.end_run(closed, end);
            drop(reader);
            let synced = if durable { self.sync_checkpoint() } else { Ok(()) };
            result = result.and(freed).and(written).and(synced);
        } else {
            self.mark_unclean();
        }
        // Under the reader's lock, so that no call still writes the checkpoint when the directory is given up.
        let reader = lock(&self.reader);
        self.closed.store(true, Ordering::Release);
        lock(&self.log).close();
        drop(reader);
        drop(owner);
        result
    }
}

#[cold]
pub(crate) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "this process is a fork of the one that opened the producer; open one after the fork")
}

#[cold]
pub(super) fn disowned(error: io::Error) -> Error {
    Error::io("the buffer is not this producer's alone any more", error)
}
