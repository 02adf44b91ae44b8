//! Where the log ends: the last segment, read frame by frame in pieces, so that its length costs no memory.

use std::io;
use std::sync::Arc;

use super::checkpoint::{Closed, State};
use super::format::{self, Bad, FRAME_BYTES, Kind, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, Shape, TERMINATOR_BYTES};
use super::losses::{Damage, Region};
use super::open_batch::{BatchCaps, OpenBatch};
use super::position::Position;
use super::resync::{PIECE, Search};
use super::segment;
use crate::checksum::crc32c_append;
use crate::limits::Limits;
use crate::platform::{File, read_past};

/// A write that is cut off, as its process dies, is cut at a multiple of this.
const PAGE: u64 = 4096;

/// The state behind the last whole frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    pub(crate) next_seq: u64,
    pub(crate) open: OpenBatch,
    /// What the last batch has of `open`, if seals were lost in it and it is cut where batches are full.
    pub(super) cut: OpenBatch,
    pub(crate) sealed: Position,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Those of `records` that are known to be lost.
    pub(crate) lost: u64,
}

impl End {
    /// A log that ends at this position.
    pub(super) fn at(position: Position) -> End {
        End {
            next_seq: position.seq,
            sealed: position,
            records: position.records,
            bytes: position.bytes,
            ..End::default()
        }
    }

    /// Goes on at the first seq of a segment without a header, if all before the segment is finished, so that the totals are
    /// known. No more records than `fit` can be missing in between: if it is more, seqs have jumped.
    fn jump_to(&mut self, first_seq: u64, fit: u64) {
        if first_seq.saturating_sub(self.next_seq) > fit {
            self.next_seq = first_seq;
            self.sealed.seq = first_seq;
        }
    }

    /// What came before a segment without a header, as far as the first seq that is found in it says: seqs may have jumped.
    fn assume_before(&mut self, first_seq: u64) {
        let before = first_seq.saturating_sub(self.next_seq);
        self.next_seq += before;
        self.records += before;
        (self.sealed.seq, self.sealed.records) = (self.next_seq, self.records);
    }
}

/// The segment that the log may go on in.
pub(crate) struct LastSegment {
    pub(crate) index: u64,
    pub(crate) length: u64,
    pub(crate) tail: usize,
    /// Whether an end stands behind the last record.
    pub(crate) ended: bool,
    /// Whether all of it that was looked at can be read.
    pub(crate) sound: bool,
    /// The features that its header names.
    pub(crate) features: u32,
    pub(crate) file: Arc<dyn File>,
}

/// What is known before the last segment is read.
pub(super) struct Before<'a> {
    pub(super) state: &'a State,
    pub(super) end: End,
    pub(super) power_lost: bool,
    pub(super) limits: &'a Limits,
    pub(super) caps: BatchCaps,
}

/// What the last segment says.
pub(super) struct Found {
    pub(super) end: End,
    pub(super) last: LastSegment,
    /// What came before the segment is a guess: its header is not whole.
    pub(super) is_guess: bool,
    /// The segments below this one are durable, its header says.
    pub(super) durable_before: u64,
    pub(super) torn_bytes: u64,
    pub(super) damage: Vec<Region>,
    /// Records or boundaries may be missing at the end.
    pub(super) uncertain: bool,
}

/// A segment's file and the piece of it at hand.
struct Frames<'a> {
    file: &'a dyn File,
    end: u64,
    salt: u32,
    piece: Vec<u8>,
    base: u64,
    unreadable: u64,
}

/// A whole frame, but for its body.
struct Seen {
    shape: Shape,
    seal: Option<Seal>,
}

impl Frames<'_> {
    /// At least `wanted` bytes from `at`, of at most a piece, or all up to the end.
    fn load(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = self.end.saturating_sub(at);
        let have = (self.base + self.piece.len() as u64).saturating_sub(at);
        if at < self.base || have < left.min(wanted as u64) {
            self.piece.resize(PIECE.min(left as usize), 0);
            let got = read_past(self.file, &mut self.piece, at)?;
            self.piece.truncate(got.bytes);
            self.unreadable += got.unreadable;
            self.base = at;
        }
        let start = ((at - self.base) as usize).min(self.piece.len());
        Ok(&self.piece[start..])
    }

    /// The frame at `at`, or why there is none.
    fn at(&mut self, at: u64) -> io::Result<Result<Seen, Bad>> {
        let (salt, end) = (self.salt, self.end);
        let bytes = self.load(at, FRAME_BYTES)?;
        if bytes.len() >= TERMINATOR_BYTES && bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
            return Ok(Err(Bad::Empty));
        }
        let shape = if bytes.len() < FRAME_BYTES { None } else { Shape::of(bytes) };
        let Some(shape) = shape.filter(|shape| at + shape.length as u64 <= end) else { return Ok(Err(Bad::Damaged)) };
        let bytes = self.load(at, shape.length.min(PIECE))?;
        if shape.length <= PIECE {
            let frame = format::decode(bytes, salt);
            return Ok(frame.map(|frame| Seen { shape, seal: seal(frame.kind, frame.data) }));
        }
        if bytes.len() < PIECE || !shape.is_readable(bytes) {
            return Ok(Err(Bad::Damaged));
        }
        let mut header = [0; FRAME_BYTES];
        header.copy_from_slice(&bytes[..FRAME_BYTES]);
        let (mut sum, mut from, stop) = (0, at + FRAME_BYTES as u64, at + shape.length as u64);
        while from < stop {
            let bytes = self.load(from, 1)?;
            let count = bytes.len().min((stop - from) as usize);
            if count == 0 {
                return Ok(Err(Bad::Damaged));
            }
            sum = crc32c_append(sum, &bytes[..count]);
            from += count as u64;
        }
        let is_whole = format::is_whole(&header, salt, sum);
        Ok(if is_whole { Ok(Seen { shape, seal: None }) } else { Err(Bad::Damaged) })
    }

    /// The next whole frame behind `at`.
    fn behind(&mut self, at: u64) -> io::Result<Option<u64>> {
        let search = Search::new(at + format::ALIGN as u64, self.end, self.salt);
        let unreadable = &mut self.unreadable;
        search.through(|piece, from| {
            let got = read_past(self.file, piece, from)?;
            *unreadable += got.unreadable;
            Ok(got.bytes)
        })
    }

    /// The first word at `at` or behind it that is zero, as the one that ends a log.
    fn terminator(&mut self, mut at: u64) -> io::Result<u64> {
        while at < self.end {
            let words = self.load(at, TERMINATOR_BYTES)?.chunks_exact(TERMINATOR_BYTES);
            let count = words.len();
            let zero = words.into_iter().position(|word| word == [0; TERMINATOR_BYTES]);
            if let Some(zero) = zero {
                return Ok(at + (zero * TERMINATOR_BYTES) as u64);
            }
            if count == 0 {
                break;
            }
            at += (count * TERMINATOR_BYTES) as u64;
        }
        Ok(self.end)
    }

    /// What stands at the end of the log and is neither a frame nor a terminator.
    fn rest(&mut self, at: u64, next_seq: u64) -> io::Result<Rest> {
        let most = self.end - at;
        let bytes = self.load(at, FRAME_BYTES)?;
        if bytes.len() < TERMINATOR_BYTES || bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
            let torn = bytes.len() < TERMINATOR_BYTES && bytes.iter().any(|byte| *byte != 0);
            return Ok(if torn { Rest::Torn(bytes.len() as u64) } else { Rest::Nothing });
        }
        let claimed = u64::from(format::le_u32(bytes, 4)).max(format::ALIGN as u64).min(most);
        match plausible(bytes, next_seq) {
            // A put that died stores a mapped frame's first word last, and writes a plain one page by page.
            // A seal is written anew, whether it died or was damaged: nobody is told of a seq that is its own.
            Some(Shape { kind: Kind::Seal, .. }) if self.terminator(at + claimed)? == at + claimed => {
                return Ok(Rest::Seal(claimed));
            }
            Some(_) if at % PAGE + claimed.next_multiple_of(8) + TERMINATOR_BYTES as u64 > PAGE => {
                return Ok(Rest::Torn(claimed));
            }
            None if at % PAGE + FRAME_BYTES as u64 > PAGE => return Ok(Rest::Torn(claimed)),
            _ => {}
        }
        // What was put is damaged: this frame, and what comes behind it up to the end.
        let (mut place, mut next_seq, mut records) = (at, next_seq, 0);
        loop {
            let bytes = self.load(place, FRAME_BYTES)?;
            if bytes.len() < TERMINATOR_BYTES || bytes[..TERMINATOR_BYTES] == [0; TERMINATOR_BYTES] {
                break;
            }
            match plausible(bytes, next_seq) {
                Some(shape) if place + shape.padded() as u64 <= self.end => {
                    let is_record = u64::from(shape.kind == Kind::Record);
                    (records, next_seq) = (records + is_record, next_seq + is_record);
                    place += shape.padded() as u64;
                }
                _ => {
                    place = self.terminator(place)?;
                    break;
                }
            }
        }
        Ok(Rest::Damaged { bytes: place.min(self.end) - at, records })
    }
}

/// What stands behind the last whole frame.
enum Rest {
    Nothing,
    /// A seal that is not whole, and nothing behind it.
    Seal(u64),
    /// What a put can have left that died before it returned; or one that returned, and was damaged.
    Torn(u64),
    /// What no such put leaves.
    Damaged {
        bytes: u64,
        records: u64,
    },
}

/// A header that the log can have written where `next_seq` comes next.
fn plausible(bytes: &[u8], next_seq: u64) -> Option<Shape> {
    let shape = bytes.get(..FRAME_BYTES).and_then(Shape::of)?;
    let expected = if shape.kind == Kind::Seal { next_seq.checked_sub(1)? } else { next_seq };
    (shape.seq == expected).then_some(shape)
}

fn seal(kind: Kind, data: &[u8]) -> Option<Seal> {
    if kind == Kind::Seal { Seal::decode(data) } else { None }
}

/// Finds the end of the last segment.
pub(super) fn read(
    Before { state, mut end, power_lost, limits, caps }: Before<'_>,
    index: u64,
    file: Arc<dyn File>,
    header: Option<SegmentHeader>,
) -> io::Result<Found> {
    let length = segment::length(&*file)?;
    let salt = segment::salt(state.buffer_id, index);
    let mut frames = Frames { file: &*file, end: length, salt, piece: Vec::new(), base: 0, unreadable: 0 };
    let (mut damage, mut uncertain, mut torn_bytes) = (Vec::new(), false, 0);
    match header {
        Some(header) => {
            end.next_seq = end.next_seq.max(header.next_seq);
            end.records = end.records.max(header.records_before);
            end.bytes = end.bytes.max(header.bytes_before);
            // At one place the greater total counts: what is missing between the two is lost.
            let reached = |position: &Position| (position.place(), position.records);
            if reached(&header.sealed) > reached(&end.sealed) {
                end.sealed = header.sealed;
            }
            end.open = OpenBatch {
                first_seq: header.open_first_seq,
                records: header.open_records,
                bytes: header.open_bytes,
                ..OpenBatch::default()
            };
            end.cut = end.open;
        }
        None => {
            let bytes = length.min(SEGMENT_HEADER_BYTES as u64);
            damage.push(Region { segment: index, bytes, ..Region::default() });
            // What came before this segment counts as sealed, under a new epoch.
            if end.sealed.segment < index {
                end.sealed = Position { segment: index, offset: SEGMENT_HEADER_BYTES as u64, ..end.sealed };
            }
        }
    }
    let mut is_guess = header.is_none();
    // Behind the header, or from the committed position if that is further on: what is before it is finished.
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let committed = state.committed;
    if committed.segment == index && committed.offset > at && committed.offset <= length {
        at = committed.offset;
        end = End::at(committed);
        is_guess = false;
    }
    let mut tail = at.min(length);
    let (mut ended, mut is_first) = (false, true);
    while at < length {
        let Seen { shape, seal } = match frames.at(at)? {
            Ok(seen) => seen,
            // Closed in order behind the last seq that was given out: there is nothing to look for.
            Err(Bad::Empty) if state.closed == Closed::Durably && end.next_seq == state.seq_limit => break,
            Err(_) => {
                let Some(next) = frames.behind(at)? else { break };
                uncertain = true;
                at = next;
                continue;
            }
        };
        let start = at;
        at += shape.padded() as u64;
        tail = at;
        if is_guess && is_first {
            let first_seq = shape.seq + u64::from(shape.kind == Kind::Seal);
            if committed.place() == (index, SEGMENT_HEADER_BYTES as u64) {
                end.jump_to(first_seq, (start - committed.offset) / FRAME_BYTES as u64);
            } else {
                end.assume_before(first_seq);
            }
        }
        is_first = false;
        match shape.kind {
            // A copy of a record that was there before.
            Kind::Record if shape.seq < end.next_seq => {}
            Kind::Record => {
                let lost = shape.seq.saturating_sub(end.next_seq);
                let counted =
                    limits.lengths_count(shape.data_len(), shape.key_len(), shape.id_len(), shape.attributes_len());
                if !end.cut.takes(counted, &caps) {
                    end.cut = OpenBatch::default();
                }
                end.open.add(shape.seq, counted);
                end.cut.add(shape.seq, counted);
                end.records += 1 + lost;
                end.lost += lost;
                end.bytes += shape.data_len() as u64;
                end.next_seq = shape.seq + 1;
            }
            Kind::Seal => {
                if let Some(seal) = seal {
                    let next = end.next_seq.max(seal.last_seq + 1);
                    end.records += next - end.next_seq;
                    end.lost += next - end.next_seq;
                    end.next_seq = next;
                }
                (end.open, end.cut) = Default::default();
                end.sealed =
                    Position { segment: index, offset: at, seq: end.next_seq, records: end.records, bytes: end.bytes };
            }
            Kind::End => {
                // It names the seq behind the last record of the segment, which may be one that is missing.
                let lost = shape.seq.saturating_sub(end.next_seq);
                end.next_seq += lost;
                end.records += lost;
                end.lost += lost;
                if lost > 0 && end.open.records == 0 {
                    // No batch will have them: they count as read with the batch before.
                    let End { next_seq: seq, records, bytes, .. } = end;
                    end.sealed = Position { segment: index, offset: start, seq, records, bytes };
                }
                ended = true;
                break;
            }
        }
    }
    if !ended && tail < length {
        let mut miss = |bytes, records| {
            torn_bytes = bytes;
            damage.push(Region { segment: index, offset: tail, bytes, records, ..Region::default() });
        };
        match frames.rest(tail, end.next_seq)? {
            Rest::Nothing => {}
            // A process that died in a put leaves this, and so does a power loss; one that closed the log does not.
            Rest::Seal(bytes) if state.closed == Closed::No => torn_bytes = bytes,
            Rest::Torn(bytes) if state.closed == Closed::No => {
                torn_bytes = bytes;
                uncertain = true;
            }
            Rest::Damaged { bytes, .. } if power_lost => torn_bytes = bytes,
            Rest::Seal(bytes) | Rest::Torn(bytes) => miss(bytes, 0),
            Rest::Damaged { bytes, records } => miss(bytes, records),
        }
    }
    let short = header.map_or(0, |header| header.length.saturating_sub(length));
    if short > 0 && !ended {
        damage.push(Region { damage: Damage::Truncated, segment: index, offset: length, bytes: short, records: 0 });
    }
    if ended {
        // The next segment is begun before this one is ended.
        damage.push(Region::missing_segments(index + 1, 1, 0));
    }
    // Nothing is written where the disk cannot read: a store to such a page would fail.
    let sound = frames.unreadable == 0;
    uncertain |= !sound || !damage.is_empty();
    let features = header.map_or(0, |header| header.features);
    let last = LastSegment { index, length, tail: tail as usize, ended, sound, features, file };
    let durable_before = header.map_or(0, |header| header.durable_before);
    Ok(Found { end, last, is_guess, durable_before, torn_bytes, damage, uncertain })
}
