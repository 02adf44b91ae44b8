//! A look at one buffer.

use std::io;
use std::sync::Arc;

use super::{InspectionStats, Verification};
use crate::batch::Progress;
use crate::buffer::checkpoint::{Checkpoint, Found};
use crate::buffer::format::{HeaderState, SEGMENT_HEADER_BYTES};
use crate::buffer::losses::{Damage, Losses, Region};
use crate::buffer::position::Position;
use crate::buffer::scan::{Scan, Source, Step};
use crate::buffer::segment::{self, Finished};
use crate::buffer::{CORRUPT, LOCK};
use crate::error::{Error, Result};
use crate::features;
use crate::frame;
use crate::platform::sync::Mutex;
use crate::platform::{Directory, Disk, Open, OsDisk, lock};
use crate::record::Record;

/// A look at one buffer: of an outbox, at one slot.
pub(super) struct BufferInspection {
    dir: Arc<dyn Directory>,
    buffer_id: u64,
    committed: Position,
    head: Progress,
    lost: Losses,
    /// Where the log ended when it was closed, as far as that is known.
    ended_at: Option<Position>,
    owner: Option<u32>,
    segments: Vec<(u64, u64)>,
    /// The last segment that was begun. Those behind it are only prepared.
    last: u64,
    regions: Mutex<Vec<Region>>,
}

impl BufferInspection {
    /// Reads the state of the buffer in an open directory. `None` if there is none.
    pub(super) fn open_in(dir: &Arc<dyn Directory>) -> Result<Option<BufferInspection>> {
        let failed = |error| Error::io(format_args!("could not read the buffer {}", dir.path().display()), error);
        let names = dir.list().map_err(failed)?;
        if !names.iter().any(|name| name == LOCK) {
            return Ok(None);
        }
        // The cursor is read before the segments: what is committed in between is then still in them, or is passed over.
        let state = match Checkpoint::peek(&**dir).map_err(failed)? {
            Found::State(state) => Some(state),
            Found::Unknown { version, flags } => return Err(features::unsupported("the log", version, flags)),
            Found::Nothing => None,
        };
        let names = dir.list().map_err(failed)?;
        let mut segments = Vec::new();
        for index in names.iter().filter_map(|name| segment::index(name)) {
            match dir.open(&segment::name(index), Open::Read) {
                Ok(file) => segments.push((index, segment::length(&*file).map_err(failed)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        segments.sort_unstable();
        let mut inspection = BufferInspection {
            buffer_id: 0,
            committed: Position::default(),
            head: Progress::default(),
            lost: Losses::default(),
            ended_at: None,
            owner: dir.holder(LOCK).map_err(failed)?.map(|holder| holder.pid),
            dir: dir.clone(),
            segments,
            last: 0,
            regions: Mutex::default(),
        };
        for (index, _) in inspection.segments.iter().rev() {
            if inspection.open(*index)?.is_some_and(|found| found.header != HeaderState::Blank) {
                inspection.last = *index;
                break;
            }
        }
        match state {
            Some(state) => {
                inspection.buffer_id = state.buffer_id;
                inspection.committed = state.committed;
                inspection.lost = state.lost;
                inspection.ended_at = state.ended_at(OsDisk.boot_id());
                let head = state.batches.into_iter().min_by_key(|(first_seq, _)| *first_seq);
                let tried = head.and_then(|(_, batch)| batch.parts.into_iter().max_by_key(|(_, part)| part.failures));
                inspection.head = tried.map(|(_, progress)| progress).unwrap_or_default();
            }
            None => {
                let first = inspection.segments.first().map_or(1, |(index, _)| *index);
                inspection.committed =
                    Position { segment: first, offset: SEGMENT_HEADER_BYTES as u64, ..Position::default() };
                if let Some(Finished { header: HeaderState::Valid(header), .. }) = inspection.open(first)? {
                    inspection.buffer_id = header.buffer_id;
                }
            }
        }
        Ok(Some(inspection))
    }

    /// Whether a process has it.
    pub(super) fn is_owned(&self) -> bool {
        self.owner.is_some()
    }

    /// Counts what is there. Reads the last segment.
    pub(super) fn stats(&self) -> Result<InspectionStats> {
        let mut end = self.committed;
        // The last segment that was begun knows what came before it.
        if let Some(Finished { header: HeaderState::Valid(header), .. }) = self.open(self.last)?
            && self.last > end.segment
        {
            end = Position {
                segment: self.last,
                offset: SEGMENT_HEADER_BYTES as u64,
                seq: header.next_seq,
                records: header.records_before,
                bytes: header.bytes_before,
            };
        }
        let mut walk = Scan::new(self.buffer_id, end);
        while !matches!(walk.step(self, &self.limit())?, Step::Limit) {}
        let end = walk.at;
        let mut oldest = None;
        self.for_each(|record| {
            oldest = Some(record.created_at);
            false
        })?;
        lock(&self.regions).clear();
        Ok(InspectionStats {
            buffer_id: format!("{:016x}", self.buffer_id),
            owner_pid: self.owner,
            pending_records: end.records.saturating_sub(self.committed.records),
            pending_bytes: end.bytes.saturating_sub(self.committed.bytes),
            oldest_created_at: oldest,
            finished_records: self.committed.records,
            finished_bytes: self.committed.bytes,
            segments: self.segments.len() as u64,
            buffer_bytes: self.segments.iter().map(|(_, length)| length).sum(),
            next_seq: end.seq,
            head_attempts: self.head.attempts,
            head_failures: self.head.failures,
            head_since: self.head.first_attempt,
            head_last_attempt: self.head.last_attempt,
            head_next_attempt: self.head.next_attempt,
            last_errors: self.head.errors.clone(),
            corrupt_regions: self.lost.regions,
            corrupt_bytes: self.lost.bytes,
            lost_records: self.lost.records,
            slots: 0,
            owned_slots: 0,
            set_aside_files: self
                .dir
                .directory(CORRUPT, false)
                .and_then(|dir| dir.list())
                .map_or(0, |names| names.len() as u64),
        })
    }

    /// Calls `each` with every record that is not finished, in put order, until it returns `false`.
    pub(super) fn for_each(&self, mut each: impl FnMut(Record<'_>) -> bool) -> Result<()> {
        self.scan(|record| record.is_none_or(&mut each)).map(drop)
    }

    /// Returns the seqs of the first and of the last record of each batch that is full, or was
    /// [sealed](crate::Buffer::seal), and is not finished, in put order. What is put behind the last of them is in none yet.
    pub(super) fn batches(&self) -> Result<Vec<(u64, u64)>> {
        let (mut batches, mut open) = (Vec::new(), None);
        self.scan(|record| {
            match record {
                Some(record) => open = Some((open.map_or(record.seq, |(first, _)| first), record.seq)),
                None => batches.extend(open.take()),
            }
            true
        })?;
        lock(&self.regions).clear();
        Ok(batches)
    }

    /// Calls `each` with every record that is not finished, and with `None` where a batch ends, until it returns `false`.
    /// Returns where the last record ends, with all that is known to come before it.
    fn scan(&self, mut each: impl FnMut(Option<Record<'_>>) -> bool) -> Result<Position> {
        let mut walk = Scan::new(self.buffer_id, self.committed);
        let mut end = self.committed.place();
        loop {
            match walk.step(self, &self.limit())? {
                Step::Record { offset, base, .. } => {
                    end = walk.at.place();
                    let bytes = walk.chunk().map_or(&[][..], |chunk| &chunk.bytes()[(offset - base) as usize..]);
                    if let Some(frame) = frame::parse(bytes)
                        && !each(Some(Record::of(&frame, self.buffer_id)))
                    {
                        return Ok(walk.at);
                    }
                }
                Step::Seal(_) => {
                    if !each(None) {
                        return Ok(walk.at);
                    }
                }
                Step::Passed => {}
                Step::Limit => return Ok(Position { segment: end.0, offset: end.1, ..walk.at }),
            }
        }
    }

    /// Reads every record that is not finished and checks it against its checksum; of a log that was closed, also whether
    /// its end is there.
    pub(super) fn verify(&self) -> Result<Verification> {
        let mut found = Verification::default();
        lock(&self.regions).clear();
        let end = self.scan(|record| {
            if let Some(record) = record {
                found.records += 1;
                found.bytes += record.data.len() as u64;
            }
            true
        })?;
        let mut regions = std::mem::take(&mut *lock(&self.regions));
        regions.extend(self.ended_at.and_then(|ended_at| self.missing_end(&end, &ended_at)));
        for region in regions {
            let name = segment::name(region.segment);
            found.lost_records += region.records;
            match region.damage {
                Damage::MissingSegments(count) => found.missing.push((name, count, region.records)),
                _ => found.corrupt.push((name, region.offset, region.bytes)),
            }
        }
        Ok(found)
    }

    /// What is not there of a log that ended at `ended_at` and whose last record that can be found ends at `end`.
    fn missing_end(&self, end: &Position, ended_at: &Position) -> Option<Region> {
        let lost = ended_at.records.saturating_sub(end.records);
        let first = self.last.max(self.committed.segment.saturating_sub(1)) + 1;
        if first <= ended_at.segment {
            return Some(Region::missing_segments(first, ended_at.segment + 1 - first, lost));
        }
        (lost > 0).then(|| Region::missing_records(end.segment, end.offset, lost))
    }

    /// Where to stop: at the end of the last segment, wherever that is.
    fn limit(&self) -> Position {
        Position { segment: self.last, offset: u64::MAX, ..Position::default() }
    }
}

impl Source for BufferInspection {
    fn open(&self, index: u64) -> Result<Option<Finished>> {
        // Plain reads: a producer may use the file again while it is looked at.
        segment::open(&*self.dir, index, segment::Access::PLAIN)
            .map_err(|error| Error::io(format_args!("could not read {}", segment::name(index)), error))
    }

    fn segment_after(&self, index: u64) -> Option<u64> {
        let at = self.segments.partition_point(|(other, _)| *other <= index);
        self.segments.get(at).map(|(index, _)| *index)
    }

    fn set_aside(&self, region: &Region, _: &Position) {
        lock(&self.regions).push(region.clone());
    }
}
