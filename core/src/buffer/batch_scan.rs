//! One batch after the other out of the frames of the log: from seal to seal, and where seals were lost, as far as a batch would
//! have been filled.

use super::checkpoint::BatchProgress;
use super::format::{self, HeaderState, Seal};
use super::head::Contents;
use super::lanes::{self, MOST_RECORDS};
use super::losses::Region;
use super::open_batch::{BatchCaps, OpenBatch};
use super::position::Position;
use super::scan::{Scan, Source, Step};
use super::segment::{self, Finished};
use crate::batch::{BatchId, Entry, Piece};
use crate::checksum::crc32c_append;
use crate::error::{ErrorKind, Result};
use crate::features;
use crate::limits::Limits;
use crate::platform::Chunk;

/// No batch has more records, and no batch is made of seqs that are further apart: those jumped, and are of two batches.
pub(super) const MOST_PLACES: u64 = MOST_RECORDS;

/// What was read of a batch so far.
#[derive(Default)]
struct Read {
    start: Position,
    /// Seqs of the first and the last record.
    first: u64,
    last: u64,
    entries: Vec<Entry>,
    pieces: Vec<Piece>,
    /// Where each of them begins, to find the way back when the batch turns out to end earlier.
    bases: Vec<(u64, u64)>,
    /// Records lost on the way, by the entry before which they stood.
    lost: Vec<(usize, u64)>,
    /// What it has, as a batch is counted that is being filled; only where seals were lost.
    counted: OpenBatch,
}

impl Read {
    fn begin(start: Position, mut entries: Vec<Entry>) -> Read {
        entries.clear();
        Read { start, entries, ..Read::default() }
    }

    /// Counts the last record in. Whether a batch that is divided where it is full takes it.
    fn count(&mut self, limits: &Limits, caps: BatchCaps) -> bool {
        let frame = self.entries.last().and_then(|entry| frame(&self.pieces, entry));
        let counted = frame.map_or(0, |frame| {
            let (key, id) = (frame.key.map(<[u8]>::len), frame.id.map(str::len));
            limits.lengths_count(frame.data.len(), key, id, frame.attributes.len())
        });
        let takes = self.counted.takes(counted, &caps);
        self.counted.add(self.last, counted);
        takes
    }

    /// What was read, of a batch that begins with this seq.
    fn contents(mut self, first_seq: u64) -> Contents {
        let shift = (self.first - first_seq) as u32;
        self.entries.iter_mut().for_each(|entry| entry.place += shift);
        Contents { pieces: self.pieces, entries: self.entries }
    }

    fn add(&mut self, seq: u64, base: (u64, u64), offset: u32, chunk: Option<&Chunk>, salt: u32) {
        if self.bases.last() != Some(&base)
            && let Some(chunk) = chunk
        {
            self.pieces.push(Piece { chunk: chunk.clone(), salt });
            self.bases.push(base);
        }
        if self.entries.is_empty() {
            self.first = seq;
        }
        self.last = seq;
        self.entries.push(Entry { piece: self.pieces.len() as u32 - 1, offset, place: (seq - self.first) as u32 });
    }
}

/// A batch as it stands in the log.
pub(super) struct Found {
    pub(super) id: BatchId,
    pub(super) last_seq: u64,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) lanes: u32,
    pub(super) sealed: bool,
    pub(super) contents: Contents,
}

/// Finds batches from a position forward.
pub(crate) struct BatchScan {
    pub(crate) walk: Scan,
    buffer_id: u64,
    limits: Limits,
    caps: BatchCaps,
    /// What is read next has no seals before this seq: it was read up to there, and none was found.
    unsealed_before: u64,
    /// The segment of an unknown version at which reading stopped.
    stopped_at: Option<u64>,
    /// Entries of the last batch, to be used again.
    entries: Vec<Entry>,
}

impl BatchScan {
    pub(super) fn new(buffer_id: u64, at: Position, limits: Limits, caps: BatchCaps) -> BatchScan {
        let walk = Scan::new(buffer_id, at);
        BatchScan { walk, buffer_id, limits, caps, unsealed_before: 0, stopped_at: None, entries: Vec::new() }
    }

    /// Goes back to a position, to read all behind it anew.
    pub(super) fn restart(&mut self, at: Position) {
        self.walk.restart(at);
        self.unsealed_before = 0;
    }

    /// Takes a list of entries, to use it again.
    pub(super) fn recycle(&mut self, entries: Option<Vec<Entry>>) {
        self.entries = entries.unwrap_or_default();
    }

    /// Reads the next sealed batch, if one ends before `upto`; `None`: nothing whole is left before it, and the scan stands there.
    /// After an error it begins at the same place again. `known`: what is remembered of batches, by first seq.
    pub(super) fn next(
        &mut self,
        source: &dyn Source,
        upto: &Position,
        known: &[(u64, BatchProgress)],
    ) -> Result<Option<Found>> {
        let start = self.walk.at;
        // Where an unknown version stopped the reader, what lies before it is not read again for each look.
        if let Some(index) = self.stopped_at.take()
            && let Some(Finished { header: HeaderState::Unknown { version, flags }, .. }) = source.open(index)?
        {
            self.stopped_at = Some(index);
            return Err(features::unsupported("the log", version, flags));
        }
        let mut found = self.read_batch(source, upto, known);
        match &mut found {
            // At the limit the writer's totals count: records that it put, and that were not found up to here, are lost.
            Ok(Some(found)) if found.end.place() == upto.place() => {
                let lost = upto.records.saturating_sub(found.end.records);
                if lost > 0 {
                    source.set_aside(&Region::missing_records(upto.segment, upto.offset, lost), upto);
                }
                found.end = *upto;
                self.walk.seek(*upto);
            }
            Ok(_) => {}
            Err(error) => {
                if error.kind() == ErrorKind::UnsupportedFormat {
                    self.stopped_at = Some(self.walk.at.segment);
                }
                self.walk.seek(start);
            }
        }
        found
    }

    fn read_batch(
        &mut self,
        source: &dyn Source,
        upto: &Position,
        known: &[(u64, BatchProgress)],
    ) -> Result<Option<Found>> {
        let mut read = Read::begin(self.walk.at, std::mem::take(&mut self.entries));
        loop {
            let before = self.walk.at.records;
            match self.walk.step(source, upto)? {
                Step::Record { segment, offset, base } => {
                    let seq = self.walk.at.seq - 1;
                    let salt = segment::salt(self.buffer_id, segment);
                    read.add(seq, (segment, base), (offset - base) as u32, self.walk.chunk(), salt);
                    let is_too_far = seq - read.first >= MOST_PLACES;
                    if is_too_far && self.reads_again(&mut read, seq) {
                        continue;
                    }
                    // Without seals a batch ends where it is full.
                    if is_too_far || (seq < self.unsealed_before && !self.takes(&mut read, seq, known)) {
                        return Ok(Some(self.unsealed(read, Some(seq))));
                    }
                }
                Step::Passed => read.lost.push((read.entries.len(), self.walk.at.records - before)),
                Step::Seal(seal) if read.entries.is_empty() => {
                    // Every record of it was lost. The batch is passed over.
                    self.account_for(&seal, source);
                }
                Step::Seal(seal) if read.first < seal.first_seq => {
                    // The seal before this one was lost: this one says where its batch ended.
                    if self.reads_again(&mut read, seal.first_seq) {
                        continue;
                    }
                    if read.last < seal.first_seq {
                        self.account_for(&seal, source);
                        return Ok(Some(self.unsealed(read, None)));
                    }
                    return Ok(Some(self.unsealed(read, Some(seal.first_seq))));
                }
                Step::Seal(seal) => {
                    // The first records may be lost: places count from the first that was sealed.
                    let shift = (read.first - seal.first_seq).min(MOST_PLACES) as u32;
                    if shift > 0 {
                        read.entries.iter_mut().for_each(|entry| entry.place += shift);
                    }
                    self.account_for(&seal, source);
                    self.walk.leave_segment(upto)?;
                    let end = self.walk.at;
                    let Seal { epoch, first_seq, .. } = seal;
                    let id = BatchId { buffer_id: self.buffer_id, epoch, first_seq, lane: None };
                    return Ok(Some(Found {
                        id,
                        last_seq: seal.last_seq,
                        start: read.start,
                        end,
                        lanes: lanes::valid(seal.lanes),
                        sealed: true,
                        contents: Contents { pieces: read.pieces, entries: read.entries },
                    }));
                }
                Step::Limit => {
                    // Where the last seal was lost: what is before the limit was sealed.
                    let behind = read.last + 1;
                    if !read.entries.is_empty() && self.reads_again(&mut read, behind) {
                        continue;
                    }
                    // What was put before the limit and not found is lost.
                    let lost = upto.records.saturating_sub(self.walk.at.records);
                    if lost > 0 {
                        let Position { segment, offset, .. } = *upto;
                        source.set_aside(&Region::missing_records(segment, offset, lost), upto);
                    }
                    self.walk.seek(*upto);
                    if read.entries.is_empty() {
                        self.entries = read.entries;
                        return Ok(None);
                    }
                    return Ok(Some(self.unsealed(read, None)));
                }
            }
        }
    }

    /// Whether a batch without a seal has this record, the last that was read: as it was when it was handed out, if it ever
    /// was, else until it is full.
    fn takes(&self, read: &mut Read, seq: u64, known: &[(u64, BatchProgress)]) -> bool {
        let has_room = read.count(&self.limits, self.caps);
        let known = known.iter().find(|(first_seq, _)| *first_seq == read.first);
        match known.map_or(0, |(_, progress)| progress.ends_before) {
            0 => has_room,
            end => seq < end,
        }
    }

    /// Begins the batch anew if it was not known that the records before a seq have no seals, and says so.
    fn reads_again(&mut self, read: &mut Read, unsealed_before: u64) -> bool {
        let is_new = self.unsealed_before < unsealed_before;
        if is_new {
            self.unsealed_before = unsealed_before;
            self.walk.seek(read.start);
            *read = Read::begin(read.start, std::mem::take(&mut read.entries));
        }
        is_new
    }

    /// A batch whose seal was lost: what was read before the record `next`, which is read again with the batch that
    /// follows, or all of it.
    fn unsealed(&mut self, mut read: Read, next: Option<u64>) -> Found {
        if let Some(next) = next {
            let at = read.entries.iter().position(|entry| read.first + u64::from(entry.place) >= next);
            let at = at.unwrap_or(read.entries.len() - 1);
            let behind = read.entries.split_off(at);
            let (segment, base) = read.bases[behind[0].piece as usize];
            let mut end = self.walk.at;
            end.segment = segment;
            end.offset = base + u64::from(behind[0].offset);
            // What is lost before it is passed, also if the next batch began there.
            end.seq = read.first + u64::from(behind[0].place);
            let lost = read.lost.iter().filter(|(index, _)| *index > at).map(|(_, lost)| lost);
            end.records = end.records.saturating_sub(behind.len() as u64 + lost.sum::<u64>());
            end.bytes = end.bytes.saturating_sub(payload_bytes(&read.pieces, &behind));
            read.last = read.entries.last().map_or(read.first, |entry| read.first + u64::from(entry.place));
            self.walk.seek(end);
        }
        let id = self.unsealed_id(read.first, &read.entries);
        Found {
            id,
            last_seq: read.last,
            start: read.start,
            end: self.walk.at,
            lanes: 1,
            sealed: false,
            contents: Contents { pieces: read.pieces, entries: read.entries },
        }
    }

    /// The id of a batch whose seal was lost. Where it ended is not known, so it may have been sent with fewer records:
    /// this id stands for just those that are in it now, and no epoch comes that far.
    fn unsealed_id(&self, first: u64, entries: &[Entry]) -> BatchId {
        let crc = entries.iter().fold(0, |crc, entry| {
            let seq = first + u64::from(entry.place);
            crc32c_append(crc, &seq.to_le_bytes())
        });
        BatchId { buffer_id: self.buffer_id, epoch: crc | 1 << 31, first_seq: first, lane: None }
    }

    /// Counts the records at a batch's end that its seal knows of and that were not found.
    fn account_for(&mut self, seal: &Seal, source: &dyn Source) {
        let lost = (seal.last_seq + 1).min(self.walk.most().seq).saturating_sub(self.walk.at.seq);
        if lost > 0 {
            self.walk.at.seq += lost;
            self.walk.at.records += lost;
            let Position { segment, offset, .. } = self.walk.at;
            source.set_aside(&Region::missing_records(segment, offset, lost), &self.walk.at);
        }
    }

    /// Reads the records of a batch that was put away once more. `None` if they are not what they were.
    pub(super) fn read_again(
        &self,
        (start, end): (&Position, &Position),
        (first_seq, last_seq): (u64, u64),
        source: &dyn Source,
    ) -> Result<Option<Contents>> {
        let mut walk = self.walk.begin_at(*start);
        let mut read = Read::begin(*start, Vec::new());
        loop {
            match walk.step(source, end)? {
                Step::Record { segment, offset, base } => {
                    let seq = walk.at.seq - 1;
                    if !(first_seq..=last_seq).contains(&seq) {
                        return Ok(None);
                    }
                    let salt = segment::salt(self.buffer_id, segment);
                    read.add(seq, (segment, base), (offset - base) as u32, walk.chunk(), salt);
                }
                Step::Seal(_) | Step::Passed => {}
                Step::Limit => break,
            }
        }
        Ok(Some(read.contents(first_seq)))
    }
}

fn payload_bytes(pieces: &[Piece], entries: &[Entry]) -> u64 {
    entries.iter().filter_map(|entry| frame(pieces, entry)).map(|frame| frame.data.len() as u64).sum()
}

fn frame<'a>(pieces: &'a [Piece], entry: &Entry) -> Option<format::Frame<'a>> {
    format::parse(&pieces[entry.piece as usize].chunk.bytes()[entry.offset as usize..])
}
