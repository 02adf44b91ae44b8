//! The writer's side of the log: the active segment, those before it, the one prepared to follow.
//!
//! All of it is guarded by one mutex, which no I/O is done under but plain (unmapped) writes: appends, and the header of the
//! next segment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::format::{
    self, Body, END_BYTES, Head, Kind, SEAL_BYTES, SEGMENT_FEATURES, SEGMENT_HEADER_BYTES, Seal, SegmentHeader,
    TAIL_BYTES, TERMINATOR_BYTES,
};
use super::lanes::Filling;
use super::open_batch::{BatchCaps, OpenBatch};
use super::position::Position;
use super::segment;
use crate::error::{Error, ErrorKind};
use crate::features;
use crate::platform::sync::Mutex;
use crate::platform::{AnyWriter, CachePadded, EngineClock, SegmentReader, SegmentWriter, lock};

/// Whether the log takes records.
pub(crate) enum Status {
    Open,
    /// A write or a sync failed: what is on disk is no longer known for certain.
    Failed(Error),
    Closed,
}

/// What those who read look at, so that they need not take the log's lock: it changes twice a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    /// Where the last sealed batch ends.
    pub(crate) sealed: Position,
    /// What must be synced for its seal to be durable.
    pub(crate) sealed_lsn: u64,
    /// When the batch being filled began, if there is one that can still be sealed.
    pub(crate) open_since: Option<Duration>,
}

/// A segment before the active one.
pub(crate) struct SealedSegment {
    pub(crate) index: u64,
    pub(crate) length: u64,
    /// Absent for segments of an earlier run, and for those of this one that a backlog has left far behind.
    pub(crate) writer: Option<AnyWriter>,
}

/// A prepared segment: allocated and named. Its header is blank, or of an earlier use.
pub(crate) struct PreparedSegment {
    pub(crate) index: u64,
    pub(crate) length: u64,
    pub(crate) writer: AnyWriter,
}

/// What a put did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) seq: u64,
    /// It sealed a batch: there is something to emit.
    pub(crate) sealed: bool,
    /// It began a batch: linger starts now.
    pub(crate) began: bool,
    /// What must be synced for it to be durable.
    pub(crate) lsn: u64,
    /// The active segment is half full and no other is prepared.
    pub(crate) wants_spare: bool,
}

/// Why a put did nothing.
pub(crate) enum Refusal {
    /// A segment of at least this length must be prepared first.
    Segment(u64),
    Error(Error),
}

pub(crate) struct Log {
    pub(crate) status: Status,
    pub(crate) buffer_id: u64,
    pub(crate) epoch: u32,
    writer: AnyWriter,
    reader: Arc<dyn SegmentReader>,
    pub(crate) index: u64,
    salt: u32,
    /// Whether the segment's header says that its records may have attributes. One of an early build says not.
    takes_attributes: bool,
    pub(crate) length: u64,
    /// Where the next frame goes.
    pub(crate) tail: usize,
    /// Records end here at the latest, so that a seal and an end always fit.
    limit: usize,
    pub(crate) next_seq: u64,
    /// Where the seqs of the active segment end, if the next one begins further on: within a segment they have no gaps.
    pub(crate) jumped_from: Option<u64>,
    pub(crate) open: OpenBatch,
    /// How full its lanes are.
    filling: Filling,
    /// Behind the last seal: what lies before it is in sealed batches and never changes.
    pub(crate) sealed: Position,
    front: Arc<CachePadded<Mutex<Front>>>,
    /// Records and payload bytes put since the buffer was made.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Segments before the active one that are not freed, by rising index.
    pub(crate) past: VecDeque<SealedSegment>,
    pub(crate) spare: Option<PreparedSegment>,
    /// Freed segments kept for use again, with the index in their file's name.
    pub(crate) pool: Vec<PreparedSegment>,
    /// Disk that all segment files take.
    pub(crate) disk_bytes: u64,
    /// The segments below this one are durable.
    pub(crate) durable_before: u64,
    /// Counts frames; a sync makes all up to some lsn durable.
    pub(crate) lsn: u64,
    /// The same, when the log was opened.
    pub(crate) opened_at: (u64, u64),
}

/// Segments before the active one that keep their writers: to be used again where the sink keeps up.
const WRITERS: usize = 4;

/// What recovery or creation found out about the log's end.
pub(crate) struct Tail {
    pub(crate) buffer_id: u64,
    pub(crate) epoch: u32,
    pub(crate) next_seq: u64,
    pub(crate) open: OpenBatch,
    pub(crate) sealed: Position,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) durable_before: u64,
    /// The features that the header of the segment names which is gone on with.
    pub(crate) features: u32,
}

impl Log {
    /// A log whose active segment is `spare`, written up to `tail`.
    pub(crate) fn resume(
        active: PreparedSegment,
        tail: usize,
        state: Tail,
        past: VecDeque<SealedSegment>,
        disk_bytes: u64,
    ) -> Log {
        Log {
            status: Status::Open,
            buffer_id: state.buffer_id,
            epoch: state.epoch,
            reader: active.writer.reader(),
            writer: active.writer,
            index: active.index,
            salt: segment::salt(state.buffer_id, active.index),
            takes_attributes: state.features & features::ATTRIBUTES != 0,
            length: active.length,
            tail,
            limit: limit(active.length),
            next_seq: state.next_seq,
            jumped_from: None,
            open: state.open,
            filling: Filling::of(0),
            sealed: state.sealed,
            front: Arc::new(CachePadded(Mutex::new(Front {
                sealed: state.sealed,
                sealed_lsn: 0,
                open_since: (state.open.records > 0).then_some(state.open.since),
            }))),
            records: state.records,
            bytes: state.bytes,
            past,
            spare: None,
            pool: Vec::new(),
            disk_bytes,
            durable_before: state.durable_before.min(active.index),
            // What an earlier run left counts as a frame that is not synced.
            lsn: u64::from(state.durable_before <= active.index),
            opened_at: (state.records, state.bytes),
        }
    }

    /// A log that begins a new segment.
    pub(crate) fn begin(
        spare: PreparedSegment,
        state: Tail,
        past: VecDeque<SealedSegment>,
        disk_bytes: u64,
    ) -> Result<Log, Error> {
        let state = Tail { features: SEGMENT_FEATURES, ..state };
        let mut log = Log::resume(spare, SEGMENT_HEADER_BYTES, state, past, disk_bytes);
        let header = log.header_for(log.index, log.length);
        begin(&mut *log.writer, &header).map_err(|error| log.failed("begin a segment", error))?;
        // The header counts as a frame that is not synced, even if all that earlier runs left is durable.
        log.lsn = log.lsn.max(1);
        Ok(log)
    }

    /// The length of the segment that a record with such a body needs for itself, behind the seal of the batch before it.
    pub(crate) fn segment_for(body: usize) -> u64 {
        let needed = SEGMENT_HEADER_BYTES + SEAL_BYTES + format::padded(body) + TAIL_BYTES;
        (needed as u64).next_multiple_of(4096)
    }

    /// Appends a record where that is all there is to do, as with most: it neither begins nor ends a batch, the segment has room
    /// for it, and no other has to be prepared. `None`: nothing has happened, and [`append`](Self::append) knows what to do.
    #[inline(always)]
    pub(crate) fn append_amid(
        &mut self,
        body: &Body<'_>,
        created_at: i64,
        counted: u64,
        caps: &BatchCaps,
    ) -> Result<Option<u64>, Error> {
        let OpenBatch { records, bytes, .. } = self.open;
        let end = self.tail + format::padded(body.len());
        if matches!(self.status, Status::Open)
            && self.filling.count() == 0
            && !body.has_attributes()
            && records > 0
            && records + 1 < caps.records
            && bytes + counted < caps.bytes
            && end <= self.limit
            && (self.spare.is_some() || end * 2 <= self.limit)
        {
            return self.record(body, created_at, counted).map(Some);
        }
        Ok(None)
    }

    /// Appends a record.
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        body: &Body<'_>,
        created_at: i64,
        counted: u64,
        caps: &BatchCaps,
        clock: &EngineClock,
    ) -> Result<Appended, Refusal> {
        self.check().map_err(Refusal::Error)?;
        // By bytes; or it was full already: the process died before its seal, the seal found no space, or the caps were larger.
        let mut sealed = !self.filling.takes(&self.open, body.key, self.next_seq, counted, caps);
        let needed = format::padded(body.len()) + if sealed { SEAL_BYTES } else { 0 };
        if self.tail + needed > self.limit || (body.has_attributes() && !self.takes_attributes) {
            return Err(Refusal::Segment(Log::segment_for(body.len())));
        }
        if sealed {
            self.seal(created_at).map_err(Refusal::Error)?;
        }
        let began = self.open.records == 0;
        let seq = self.record(body, created_at, counted).map_err(Refusal::Error)?;
        if began {
            self.open = OpenBatch { first_seq: seq, records: 1, bytes: counted, since: clock.monotonic() };
            lock(&self.front).open_since = Some(self.open.since);
        }
        if self.filling.add(&self.open, body.key, seq, counted, caps) {
            // The record is in: should its seal fail, the next put or linger seals.
            sealed |= self.seal(created_at).is_ok();
        }
        let wants_spare = self.spare.is_none() && self.tail * 2 > self.limit;
        Ok(Appended { seq, sealed, began, lsn: self.lsn, wants_spare })
    }

    /// Writes a record at the tail and counts it in. Returns its seq.
    #[inline(always)]
    fn record(&mut self, body: &Body<'_>, created_at: i64, counted: u64) -> Result<u64, Error> {
        let seq = self.next_seq;
        self.frame(Head { kind: Kind::Record, seq, created_at }, body)?;
        self.next_seq = seq + 1;
        self.records += 1;
        self.bytes += body.data_len() as u64;
        self.open.records += 1;
        self.open.bytes += counted;
        Ok(seq)
    }

    /// Ends the open batch, if it has records.
    pub(crate) fn seal(&mut self, now: i64) -> Result<bool, Error> {
        if self.open.records == 0 {
            return Ok(false);
        }
        let last_seq = self.next_seq - 1;
        let OpenBatch { first_seq, records, .. } = self.open;
        let lanes = self.filling.count();
        let seal = Seal { first_seq, last_seq, records: records as u32, epoch: self.epoch, lanes };
        let encoded = seal.encode();
        let body = Body::of(&encoded);
        self.frame(Head { kind: Kind::Seal, seq: last_seq, created_at: now }, &body)?;
        self.end_batch();
        Ok(true)
    }

    /// No batch is being filled any more.
    fn end_batch(&mut self) {
        self.open = OpenBatch::default();
        self.filling.clear();
        self.sealed = self.end();
        *lock(&self.front) = Front { sealed: self.sealed, sealed_lsn: self.lsn, open_since: None };
    }

    /// From now on batches are divided into so many lanes. The one that is open, if one is, was so before.
    pub(crate) fn divide(&mut self, lanes: u32) {
        self.filling = Filling::of(lanes);
    }

    /// Behind the last frame.
    #[inline]
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.index,
            offset: self.tail as u64,
            seq: self.next_seq,
            records: self.records,
            bytes: self.bytes,
        }
    }

    /// The segments below this one are durable.
    pub(crate) fn set_durable_before(&mut self, index: u64) {
        self.durable_before = index;
    }

    /// Takes no more records, and says so; unless it has failed, which stays the reason.
    pub(crate) fn close(&mut self) {
        self.status = Status::Closed;
    }

    /// What readers look at, now and later.
    pub(crate) fn front(&self) -> Arc<CachePadded<Mutex<Front>>> {
        self.front.clone()
    }

    /// The next record gets `next_seq`, and stands in the next segment. No batch is open.
    pub(crate) fn jump(&mut self, next_seq: u64) {
        self.jumped_from = Some(std::mem::replace(&mut self.next_seq, next_seq));
        self.limit = 0;
    }

    /// The next record gets `next_seq`, and stands in the next segment, as after a [`jump`](Self::jump). A batch that is open
    /// ends here, without the seal that there is no room for: the reader takes it for one whose seal was lost.
    pub(crate) fn stop(&mut self, next_seq: u64) {
        if self.open.records > 0 || (self.sealed.segment, self.sealed.offset) > (self.index, self.tail as u64) {
            self.end_batch();
        }
        if self.jumped_from.is_none() {
            self.jump(next_seq);
        }
    }

    /// Goes on in the spare segment, if there is one.
    pub(crate) fn roll(&mut self, now: i64) -> Result<(), Error> {
        let Some((index, length)) = self.spare.as_ref().map(|spare| (spare.index, spare.length)) else { return Ok(()) };
        let header = self.header_for(index, length);
        if let Some(spare) = &mut self.spare {
            begin(&mut *spare.writer, &header).map_err(|error| self.failed("begin a segment", error))?;
        }
        // The end comes after the beginning of the next segment: an end that nothing follows means a lost file. A
        // segment that lacks its end is read just as well, so that this may fail.
        let seq = self.jumped_from.take().unwrap_or(self.next_seq);
        let head = Head { kind: Kind::End, seq, created_at: now };
        let body = Body::of(&[]);
        if self.tail as u64 + END_BYTES as u64 <= self.length {
            let _ = self.frame(head, &body);
        }
        let Some(PreparedSegment { writer, .. }) = self.spare.take() else { return Ok(()) };
        self.reader = writer.reader();
        let old = std::mem::replace(&mut self.writer, writer);
        self.past.push_back(SealedSegment { index: self.index, length: self.length, writer: Some(old) });
        self.index = index;
        self.salt = header.salt;
        self.takes_attributes = header.features & features::ATTRIBUTES != 0;
        self.length = length;
        self.tail = SEGMENT_HEADER_BYTES;
        self.limit = limit(length);
        self.lsn += 1;
        Ok(())
    }

    fn header_for(&self, index: u64, length: u64) -> SegmentHeader {
        SegmentHeader {
            index,
            length,
            buffer_id: self.buffer_id,
            salt: segment::salt(self.buffer_id, index),
            epoch: self.epoch,
            next_seq: self.next_seq,
            records_before: self.records,
            bytes_before: self.bytes,
            open_first_seq: self.open.first_seq,
            open_records: self.open.records,
            open_bytes: self.open.bytes,
            sealed: self.sealed,
            durable_before: self.durable_before,
            features: SEGMENT_FEATURES,
        }
    }

    /// Takes the writers of all but the last few segments: however many there are, they keep few files and mappings. They
    /// are for the caller to drop, which takes its time.
    pub(crate) fn retire(&mut self) -> Vec<AnyWriter> {
        let retired = self.past.len().saturating_sub(WRITERS);
        // What is behind one that has none was taken before.
        self.past.iter_mut().take(retired).rev().map_while(|past| past.writer.take()).collect()
    }

    /// A reader of a segment that this run wrote, if it still has its writer.
    pub(crate) fn reader(&self, index: u64) -> Option<Arc<dyn SegmentReader>> {
        if index == self.index {
            return Some(self.reader.clone());
        }
        let at = self.past.binary_search_by_key(&index, |past| past.index).ok()?;
        self.past[at].writer.as_ref().map(|writer| writer.reader())
    }

    /// The segments that a sync has to make durable, with the readers of those that have their writers.
    pub(crate) fn not_durable(&self) -> Vec<(u64, Option<Arc<dyn SegmentReader>>)> {
        let from = self.past.partition_point(|past| past.index < self.durable_before);
        let past = self.past.range(from..).map(|past| (past.index, past.writer.as_ref().map(|writer| writer.reader())));
        past.chain([(self.index, Some(self.reader.clone()))]).collect()
    }

    /// The length of a segment that is there.
    pub(crate) fn length_of(&self, index: u64) -> Option<u64> {
        if index == self.index {
            return Some(self.length);
        }
        let at = self.past.binary_search_by_key(&index, |past| past.index).ok()?;
        Some(self.past[at].length)
    }

    /// The first segment after `index` that is there.
    pub(crate) fn segment_after(&self, index: u64) -> Option<u64> {
        let at = self.past.partition_point(|past| past.index <= index);
        self.past.get(at).map(|past| past.index).or((self.index > index).then_some(self.index))
    }

    /// An error unless the log takes records.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.status {
            Status::Open => Ok(()),
            Status::Failed(error) => Err(refused(error)),
            Status::Closed => Err(closed()),
        }
    }

    /// Writes a frame at the tail and moves the tail behind it.
    #[inline(always)]
    fn frame(&mut self, head: Head, body: &Body<'_>) -> Result<(), Error> {
        let padded = format::padded(body.len());
        let stored = match self.writer.space(self.tail, padded + TERMINATOR_BYTES) {
            Ok(space) => {
                format::encode(space, head, body, self.salt);
                self.writer.append(self.tail, self.tail + padded)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            return Err(self.failed("write to the log", error));
        }
        self.tail += padded;
        self.lsn += 1;
        Ok(())
    }

    /// A failed write. A full disk, or a limit, left the log as it was: the tail has not moved, and what stands behind it
    /// is written over or cut. After anything else the log refuses to go on.
    #[cold]
    fn failed(&mut self, what: &str, error: io::Error) -> Error {
        let error = Error::io(format_args!("could not {what}"), error);
        if !matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::ResourceExhausted) {
            self.fail(error.clone());
        }
        error
    }

    /// Refuses everything from now on.
    pub(crate) fn fail(&mut self, error: Error) {
        if matches!(self.status, Status::Open) {
            self.status = Status::Failed(error);
        }
    }
}

/// Where records end at the latest in a segment of this length.
fn limit(length: u64) -> usize {
    (length as usize).saturating_sub(TAIL_BYTES)
}

/// Writes the header of a segment that is about to be used, behind a terminator for what is to come.
pub(crate) fn begin(writer: &mut dyn SegmentWriter, header: &SegmentHeader) -> io::Result<()> {
    writer.write(SEGMENT_HEADER_BYTES, &[0; TERMINATOR_BYTES])?;
    let written = writer.write(0, &header.encode());
    match &written {
        Ok(()) => writer.publish(SEGMENT_HEADER_BYTES),
        // One whole copy would say that the segment is begun, while the log goes on before it.
        Err(_) => drop(writer.write(0, &[0; SEGMENT_HEADER_BYTES])),
    }
    written
}

#[cold]
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the buffer is closed; open it again")
}

#[cold]
fn refused(error: &Error) -> Error {
    let message = format!(
        "the buffer refuses records since a disk error ({error}); what it has is safe: close it and open it again"
    );
    let refused = Error::new(ErrorKind::Io, message);
    match error.cause() {
        Some(cause) => refused.with_source(cause.clone()),
        None => refused,
    }
}
