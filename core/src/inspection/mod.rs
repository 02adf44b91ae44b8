//! [`Inspection`]: a look at a buffer's directory, or at an outbox, without owning it, also while producers use it.

mod buffer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::buffer::BufferInspection;
use crate::buffer::is_shared;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Trust;
use crate::outbox;
use crate::platform::{Directory, Disk, OsDisk};
use crate::record::Record;
use crate::stats::{State, Stats};

/// A read-only look at a buffer's directory, or at all slots of an outbox. Nothing in it is changed, and a live producer is not
/// disturbed.
///
/// What a live producer does meanwhile may or may not be seen. Not for sending: a record seen here can be
/// delivered by its owner at the same time.
pub struct Inspection {
    path: PathBuf,
    /// By number; a buffer of one producer is slot 0.
    slots: Vec<(u64, BufferInspection)>,
    is_shared: bool,
}

/// What an [`Inspection`] counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectionStats {
    /// The buffer's id, as it stands in record and batch ids.
    pub buffer_id: String,
    /// The process that has the buffer now, by the pid that it has where it runs; 0 if it could not say.
    pub owner_pid: Option<u32>,
    /// Records that are not finished.
    pub pending_records: u64,
    /// Their payload bytes.
    pub pending_bytes: u64,
    /// When the oldest of them was created, in microseconds since the epoch; `None` if there is none.
    pub oldest_created_at: Option<i64>,
    /// Records that are finished, since the buffer was made: delivered, in the dead letters, or known to be lost.
    pub finished_records: u64,
    /// Their payload bytes.
    pub finished_bytes: u64,
    /// Files of the log, prepared ones included.
    pub segments: u64,
    /// The disk they take.
    pub buffer_bytes: u64,
    /// The seq after the last record.
    pub next_seq: u64,
    /// Counted attempts at the first batch.
    pub head_attempts: u32,
    /// Attempts at it that failed in a row, those included that found the sink unavailable and count nothing: many of
    /// them, and few that count, are an outage.
    pub head_failures: u32,
    /// When it was first sent, in microseconds since the epoch; 0 if no attempt has failed.
    pub head_since: i64,
    /// When it was last sent, likewise.
    pub head_last_attempt: i64,
    /// When it may be sent again, likewise.
    pub head_next_attempt: i64,
    /// The last errors of the first batch, oldest first.
    pub last_errors: Vec<String>,
    /// Corrupt regions that were set aside since the buffer was made.
    pub corrupt_regions: u64,
    /// Bytes in them.
    pub corrupt_bytes: u64,
    /// Records known to be lost by them.
    pub lost_records: u64,
    /// Files in `corrupt/`: what was set aside and nobody has removed.
    pub set_aside_files: u64,
    /// Slots, if it is an outbox that processes share; otherwise 0. What is counted above is then of all of them together; the head
    /// is that of the slot with the most failures.
    pub slots: u64,
    /// Those of them whose processes live.
    pub owned_slots: u64,
}

/// What [`Inspection::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Whole records that are not finished.
    pub records: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes that are not what was written: file, offset, length. Of an outbox the name has the slot in front.
    pub corrupt: Vec<(String, u64, u64)>,
    /// Files of the log that are not there: the first one, how many there are behind each other, records known to be lost
    /// with them.
    pub missing: Vec<(String, u64, u64)>,
    /// Records known to be lost by both.
    pub lost_records: u64,
}

impl Inspection {
    /// Reads the state of the buffer in `dir`.
    ///
    /// # Errors
    /// `NotFound` if there is no buffer, `UnsupportedFormat` for an unknown version, `Io`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Inspection> {
        let path = dir.as_ref();
        let failed = |error| Error::io(format_args!("could not read the buffer {}", path.display()), error);
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no buffer in {}", path.display()));
        let root: Arc<dyn Directory> = match OsDisk.directory(path, false, Trust::Anyone) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(missing());
            }
            opened => opened.map_err(failed)?,
        };
        let is_shared = is_shared(&*root).map_err(failed)?;
        let numbers = if is_shared { outbox::numbers(&*root).map_err(failed)? } else { vec![0] };
        let mut slots = Vec::with_capacity(numbers.len());
        for number in numbers {
            // A slot may be removed meanwhile, or be another user's.
            let Some(dir) = outbox::open(&root, number).map_err(failed)? else { continue };
            match BufferInspection::open_in(&dir) {
                Ok(Some(inspection)) => slots.push((number, inspection)),
                Ok(None) if is_shared => {}
                Ok(None) => return Err(missing()),
                Err(_) if number > 0 && outbox::open(&root, number).map_err(failed)?.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Inspection { path: root.path().to_path_buf(), slots, is_shared })
    }

    /// Whether it is an outbox that processes share.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Counts what is there, of an outbox in all slots together. Reads the last segment of each.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    pub fn stats(&self) -> Result<InspectionStats> {
        let mut all = InspectionStats::default();
        for (at, (_, slot)) in self.slots.iter().enumerate() {
            let stats = slot.stats()?;
            if at == 0 { all = stats } else { all.add(stats) }
        }
        if self.is_shared {
            all.slots = self.slots.len() as u64;
            all.owned_slots = self.slots.iter().filter(|(_, slot)| slot.is_owned()).count() as u64;
        }
        Ok(all)
    }

    /// The same for each slot by its name; nothing for a buffer of one producer.
    ///
    /// # Errors
    /// As of [`stats`](Self::stats).
    pub fn slots(&self) -> Result<Vec<(String, InspectionStats)>> {
        let slots = self.slots.iter().filter(|_| self.is_shared);
        slots.map(|(number, slot)| Ok((outbox::name(*number), slot.stats()?))).collect()
    }

    /// Calls `each` with every record that is not finished, in put order, until it returns `false`. Of an outbox one slot comes
    /// behind the other.
    ///
    /// # Errors
    /// `Io` if the log cannot be read, `UnsupportedFormat` for a segment of an unknown version.
    pub fn for_each(&self, mut each: impl FnMut(Record<'_>) -> bool) -> Result<()> {
        let mut goes_on = true;
        for (_, slot) in &self.slots {
            slot.for_each(|record| {
                goes_on = each(record);
                goes_on
            })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Returns the seqs of the first and of the last record of each batch that is full, or was
    /// [sealed](crate::Buffer::seal), and is not finished, in put order. What is put behind the last of them is in none yet. Of an
    /// outbox one slot comes behind the other.
    ///
    /// # Errors
    /// As for [`for_each`](Self::for_each).
    pub fn batches(&self) -> Result<Vec<(u64, u64)>> {
        self.slots.iter().try_fold(Vec::new(), |mut batches, (_, slot)| {
            batches.append(&mut slot.batches()?);
            Ok(batches)
        })
    }

    /// Reads every record that is not finished and checks it against its checksum; of a log that was closed, also whether
    /// its end is there.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    pub fn verify(&self) -> Result<Verification> {
        let mut all = Verification::default();
        for (number, slot) in &self.slots {
            let Verification { records, bytes, corrupt, missing, lost_records } = slot.verify()?;
            let named = |(file, place, size): (String, u64, u64)| match number {
                0 => (file, place, size),
                _ => (format!("{}/{file}", outbox::name(*number)), place, size),
            };
            all.records += records;
            all.bytes += bytes;
            all.lost_records += lost_records;
            all.corrupt.extend(corrupt.into_iter().map(named));
            all.missing.extend(missing.into_iter().map(named));
        }
        Ok(all)
    }
}

impl InspectionStats {
    /// As the [`Stats`] of a buffer that no process has, for those who show both: what is there, and no counter of what was
    /// done. `now` is the time in microseconds since the epoch, from which the age of the oldest record counts.
    pub fn to_stats(&self, now: i64) -> Stats {
        let age = self.oldest_created_at.map_or(0, |at| now.saturating_sub(at).max(0));
        Stats {
            pending_records: self.pending_records,
            pending_bytes: self.pending_bytes,
            oldest_age_ms: age.cast_unsigned() / 1000,
            buffer_bytes: self.buffer_bytes,
            head_attempts: self.head_attempts.into(),
            last_failure: self.head_last_attempt.max(0).cast_unsigned(),
            corrupt_regions: self.corrupt_regions,
            corrupt_bytes: self.corrupt_bytes,
            lost_records: self.lost_records,
            next_seq: self.next_seq,
            state: State::Closed,
            last_error: self.last_errors.last().cloned().unwrap_or_default(),
            ..Stats::default()
        }
    }

    /// Adds another slot.
    fn add(&mut self, other: InspectionStats) {
        self.owner_pid = self.owner_pid.or(other.owner_pid);
        self.pending_records += other.pending_records;
        self.pending_bytes += other.pending_bytes;
        self.oldest_created_at = self.oldest_created_at.into_iter().chain(other.oldest_created_at).min();
        self.finished_records += other.finished_records;
        self.finished_bytes += other.finished_bytes;
        self.segments += other.segments;
        self.buffer_bytes += other.buffer_bytes;
        self.next_seq = self.next_seq.max(other.next_seq);
        self.corrupt_regions += other.corrupt_regions;
        self.corrupt_bytes += other.corrupt_bytes;
        self.lost_records += other.lost_records;
        self.set_aside_files += other.set_aside_files;
        if other.head_failures > self.head_failures {
            self.head_attempts = other.head_attempts;
            self.head_failures = other.head_failures;
            self.head_since = other.head_since;
            self.head_last_attempt = other.head_last_attempt;
            self.head_next_attempt = other.head_next_attempt;
            self.last_errors = other.last_errors;
        }
    }
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").field("dir", &self.path).finish_non_exhaustive()
    }
}
