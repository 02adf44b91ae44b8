//! Opening: what an earlier run left, told apart into whole, torn and foreign.
//!
//! Only the last segment is read; what lies before it is read when its turn to be sent comes.

use std::io;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Closed, Found, RESERVED_SEQS, State};
use super::format::{self, HeaderState, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::losses::{Damage, Region};
use super::open_batch::BatchCaps;
use super::position::Position;
use super::quarantine::{self, CORRUPT};
use super::resync::Search;
use super::segment;
use super::tail::{self, End, LastSegment};
use crate::error::{Error, ErrorKind, Result};
use crate::features;
use crate::limits::Limits;
use crate::platform::{Directory, File, Open, read_past};

/// A log that has counted to this, which no log does, would soon write what counts as damage.
const SPENT: u64 = format::MOST / 2;

/// What a directory holds.
pub(crate) struct Recovered {
    pub(crate) cursor: Checkpoint,
    pub(crate) state: State,
    /// The segments with records, by rising index, with their lengths.
    pub(crate) segments: Vec<(u64, u64)>,
    /// The last of them, unless all that is there lies before the committed position.
    pub(crate) last: Option<LastSegment>,
    /// The totals at the log's end.
    pub(crate) end: End,
    /// Records or boundaries may be missing at the end: a power loss took what was not synced, or somebody
    /// damaged or cut the last file. Seqs and batch ids that may have been given out are not given out again.
    pub(crate) uncertain: bool,
    /// Records behind the last seal were handed out, in batches that have none.
    pub(crate) divided: bool,
    power_lost: bool,
    /// The totals at the log's end are a guess: the last segment's header is not whole.
    is_guess: bool,
    pub(crate) torn_bytes: u64,
    /// The segments below this one are durable.
    pub(crate) durable_before: u64,
    /// What is known to be missing.
    pub(crate) missing: Vec<Region>,
}

/// Reads what is there. Refuses an unknown format before anything is changed.
pub(crate) fn recover(
    dir: &dyn Directory,
    boot_id: u64,
    limits: &Limits,
    caps: BatchCaps,
    fresh_id: u64,
) -> Result<Recovered> {
    let failed =
        |error: io::Error| Error::io(format_args!("could not open the buffer {}", dir.path().display()), error);
    // The buffer whose frames are looked for where a header is blank. After a power loss that is what was not synced.
    let (buffer_id, unfinished) = match Checkpoint::peek(dir).map_err(failed)? {
        Found::Unknown { version, flags } => return Err(features::unsupported("the log", version, flags)),
        // A power loss may also have taken a name, and left what was stored under it to the one before.
        Found::State(state) if state.is_cut_off(boot_id) => (None, u64::MAX),
        Found::State(state) => (Some(state.buffer_id), state.committed.segment),
        Found::Nothing => (None, 0),
    };
    // A file that is used again has the header of a segment that was finished. One with the header of a segment that was
    // not is that segment, under another name.
    let is_live = |file: &dyn File, index: u64| {
        let header = segment::header(file)?;
        Ok::<_, io::Error>(header.is_some_and(|header| header.index != index && header.index >= unfinished))
    };
    let names = dir.list().map_err(failed)?;
    let mut indices: Vec<u64> = names.iter().filter_map(|name| segment::index(name)).collect();
    indices.sort_unstable();
    // From the end: segments that were prepared and never begun hold nothing.
    let (mut blanks, mut strangers) = (Vec::new(), Vec::new());
    let mut last: Option<(u64, Arc<dyn File>, Option<SegmentHeader>)> = None;
    while let Some(index) = indices.last().copied() {
        let file = dir.open(&segment::name(index), Open::Existing).map_err(failed)?;
        match segment::read_header(&*file, index).map_err(failed)?.0 {
            HeaderState::Unknown { version, flags } => return Err(features::unsupported("the log", version, flags)),
            HeaderState::Valid(header) => {
                last = Some((index, file, Some(header)));
                break;
            }
            HeaderState::Blank if !has_frames(&*file, index, buffer_id).map_err(failed)? => {
                if is_live(&*file, index).map_err(failed)? { strangers.push(index) } else { blanks.push(index) }
            }
            HeaderState::Torn if segment::is_empty(&*file).map_err(failed)? => blanks.push(index),
            // Neither copy of the header is whole. Its frames can still be told by their salt.
            HeaderState::Blank | HeaderState::Torn | HeaderState::Damaged => {
                last = Some((index, file, None));
                break;
            }
        }
        indices.pop();
    }
    // What lies before the committed position is about to be removed.
    let finished = if unfinished == u64::MAX { 0 } else { indices.partition_point(|index| *index < unfinished) };
    for index in &indices[..finished] {
        let file = dir.open(&segment::name(*index), Open::Read).map_err(failed)?;
        if last.as_ref().is_some_and(|(last, _, _)| last != index) && is_live(&*file, *index).map_err(failed)? {
            strangers.push(*index);
        }
    }
    indices.retain(|index| !strangers.contains(index));
    let first = match indices.first() {
        Some(first) if Some(*first) != indices.last().copied() => {
            let file = dir.open(&segment::name(*first), Open::Read).map_err(failed)?;
            Some(segment::read_header(&*file, *first).map_err(failed)?.0)
        }
        _ => None,
    };
    if let Some(HeaderState::Unknown { version, flags }) = first {
        return Err(features::unsupported("the log", version, flags));
    }

    // Nothing was changed up to here.
    for index in blanks {
        dir.remove(&segment::name(index)).map_err(failed)?;
    }
    let mut renamed = Vec::new();
    for index in strangers {
        let name = segment::name(index);
        let bytes = dir.open(&name, Open::Read).and_then(|file| segment::length(&*file)).map_err(failed)?;
        dir.move_into(&name, CORRUPT).map_err(failed)?;
        renamed.push(Region { segment: index, bytes, ..Region::default() });
    }
    let (cursor, found) = Checkpoint::open(dir).map_err(failed)?;
    let header_of = |state: &Option<HeaderState>| match state {
        Some(HeaderState::Valid(header)) => Some(*header),
        _ => None,
    };
    let any_header = last.as_ref().and_then(|(_, _, header)| *header).or(header_of(&first));
    let known = matches!(found, Found::State(_));
    let (mut state, cursor_lost) = match found {
        Found::State(state) if any_header.is_none_or(|header| fits(&state, &header)) => (state, false),
        _ => {
            let mut state = State { buffer_id: fresh_id, closed: Closed::Durably, ..State::default() };
            if let Some(header) = any_header {
                state.buffer_id = header.buffer_id;
                state.epoch = header.epoch;
            }
            (state, !indices.is_empty())
        }
    };
    if cursor_lost || state.committed == Position::default() {
        // From the beginning of what is there.
        let first_index = indices.first().copied().unwrap_or(1);
        let header = header_of(&first).or(any_header).unwrap_or_default();
        state.committed = Position {
            segment: first_index,
            offset: SEGMENT_HEADER_BYTES as u64,
            seq: header.next_seq.max(1),
            records: header.records_before,
            bytes: header.bytes_before,
        };
    }
    // Where an older state of the cursor had to do, what is not there any more before the first segment was finished.
    if cursor.fell_back()
        && let Some((index, header)) = indices.first().copied().zip(header_of(&first).or(any_header))
        && header.index == index
        && index > state.committed.segment
        && header.next_seq >= state.committed.seq
    {
        state.committed = Position {
            segment: index,
            offset: SEGMENT_HEADER_BYTES as u64,
            seq: header.next_seq,
            records: header.records_before,
            bytes: header.bytes_before,
        };
    }
    let power_lost = cursor_lost || state.is_cut_off(boot_id);
    // An older state of the cursor does not know what was finished since.
    let ended_at = state.ended_at(boot_id).filter(|_| !cursor.fell_back());

    let committed = state.committed;
    let mut recovered = Recovered {
        segments: Vec::new(),
        last: None,
        end: End { next_seq: committed.seq.max(1), ..End::at(committed) },
        uncertain: power_lost,
        divided: false,
        power_lost,
        is_guess: false,
        torn_bytes: 0,
        durable_before: if state.closed == Closed::Durably { u64::MAX } else { 0 },
        missing: Vec::new(),
        cursor,
        state,
    };
    for index in &indices {
        let length = dir.open(&segment::name(*index), Open::Read).and_then(|file| segment::length(&*file));
        recovered.segments.push((*index, length.map_err(failed)?));
    }
    for region in renamed {
        recovered.state.lost.add(&region);
        recovered.missing.push(region);
    }
    let headless = last.as_ref().is_some_and(|(_, _, header)| header.is_none());
    let reach = recovered.segments.last().copied().unwrap_or_default();
    match last {
        Some((index, file, header)) if reach >= (committed.segment, committed.offset) => {
            recovered.read_last(index, file, header, limits, caps).map_err(failed)?;
        }
        // The log ends before the committed position: a power loss took what was finished before it was synced.
        // Nothing that is left is unfinished.
        Some(_) if power_lost => {}
        // Somebody removed or cut files. (A segment is begun before the first cursor is written.)
        last if known || last.is_some() => {
            let Position { segment, offset, .. } = committed;
            recovered.miss(match reach {
                (index, length) if index == segment => {
                    let bytes = offset - length;
                    Region { damage: Damage::Truncated, segment, offset: length, bytes, records: 0 }
                }
                _ => Region::missing_segments(segment, 1, 0),
            });
        }
        _ => {}
    }
    if let Some(ended_at) = ended_at {
        recovered.count_missing(&ended_at);
    }
    if cursor_lost || headless {
        // Which seqs were given out is not known any more.
        let limit = recovered.end.next_seq.saturating_add(RESERVED_SEQS);
        recovered.state.seq_limit = recovered.state.seq_limit.max(limit);
    }
    // A batch that was tried had been sealed: if its seal is not there, the log's end is gone. Unless there was no room for
    // the seal, which is known of it then.
    let End { open, sealed, .. } = recovered.end;
    let unsealed = if open.records > 0 { open.first_seq.min(sealed.seq) } else { sealed.seq };
    let mut tried = recovered.state.batches.iter().filter(|(first_seq, _)| *first_seq >= unsealed);
    recovered.divided = tried.clone().any(|(_, progress)| progress.ends_before > 0);
    if tried.any(|(_, progress)| progress.ends_before == 0) {
        let (segment, offset) = recovered.last.as_ref().map_or((reach.0, 0), |last| (last.index, last.tail as u64));
        recovered.miss(Region::missing_records(segment, offset, 0));
    }
    if recovered.uncertain {
        // It may be several batches whose seals were lost.
        recovered.end.open = recovered.end.cut;
    }
    let End { next_seq, records, bytes, .. } = recovered.end;
    let State { seq_limit, .. } = recovered.state;
    let counts = [recovered.cursor.generation(), reach.0, committed.segment, seq_limit, next_seq, records, bytes];
    if counts.into_iter().any(|count| count >= SPENT) {
        let message =
            format!("the log in {} has counted further than this unistream goes on from", dir.path().display());
        return Err(Error::new(ErrorKind::UnsupportedFormat, message));
    }
    Ok(recovered)
}

/// Whether frames of segment `index` stand in the file: then it was begun, and somebody overwrote its header.
fn has_frames(file: &dyn File, index: u64, buffer_id: Option<u64>) -> io::Result<bool> {
    let Some(buffer_id) = buffer_id else { return Ok(false) };
    let search = Search::new(SEGMENT_HEADER_BYTES as u64, segment::length(file)?, segment::salt(buffer_id, index));
    search.through(|piece, at| Ok(read_past(file, piece, at)?.bytes)).map(|found| found.is_some())
}

/// Whether the cursor can be one of the log with this segment: of the same buffer, and no further than what the
/// segment says was there before it.
fn fits(state: &State, header: &SegmentHeader) -> bool {
    let Position { segment, seq, .. } = state.committed;
    state.buffer_id == header.buffer_id && (segment >= header.index || seq <= header.next_seq)
}

impl Recovered {
    /// Makes durable what was found.
    pub(crate) fn sync(&mut self, dir: &dyn Directory) -> io::Result<()> {
        for (index, _) in self.segments.iter().filter(|(index, _)| *index >= self.durable_before) {
            // An earlier owner's sync failed: see `Checkpoint::refresh`.
            if self.state.boot_id == 0 {
                segment::refresh(dir, *index)?;
            }
            segment::sync(dir, *index)?;
        }
        self.durable_before = u64::MAX;
        dir.sync()
    }

    /// Keeps what stands in the last segment and is no frame, before its end is written over.
    pub(crate) fn keep(&self, dir: &dyn Directory) {
        let Some(last) = &self.last else { return };
        for region in self.missing.iter().filter(|region| region.segment == last.index && region.has_bytes()) {
            // For whoever wants to look at it; not being able to keep it is no reason to stop.
            let _ = quarantine::keep(dir, region, &*last.file);
        }
    }

    /// Finds the end of the last segment.
    fn read_last(
        &mut self,
        index: u64,
        file: Arc<dyn File>,
        header: Option<SegmentHeader>,
        limits: &Limits,
        caps: BatchCaps,
    ) -> io::Result<()> {
        let before = tail::Before { state: &self.state, end: self.end, power_lost: self.power_lost, limits, caps };
        let found = tail::read(before, index, file, header)?;
        self.end = found.end;
        self.last = Some(found.last);
        self.is_guess = found.is_guess;
        self.durable_before = self.durable_before.max(found.durable_before);
        self.torn_bytes = found.torn_bytes;
        self.uncertain |= found.uncertain;
        found.damage.into_iter().for_each(|region| self.miss(region));
        Ok(())
    }

    /// Counts what is missing at the end of a log that was closed at `ended_at`: the totals there say how many records it had.
    fn count_missing(&mut self, ended_at: &Position) {
        if let Some(Region { damage: Damage::MissingSegments(count), segment, .. }) = self.missing.last_mut() {
            *count = (ended_at.segment + 1).saturating_sub(*segment).max(1);
        }
        let told: u64 = self.missing.iter().map(|region| region.records).sum();
        let records = ended_at.records.saturating_sub(told).max(self.state.committed.records);
        let End { sealed, .. } = self.end;
        if self.is_guess {
            // The reader finds out what came before the last segment, and what of it is lost, if the totals are right.
            let behind_seal = self.end.records - sealed.records;
            self.end.sealed.records = records.saturating_sub(behind_seal).max(self.state.committed.records);
            self.end.records = self.end.sealed.records + behind_seal;
            self.end.bytes = ended_at.bytes.max(sealed.bytes);
            return;
        }
        let (segment, offset) = self.last.as_ref().map_or((sealed.segment, 0), |last| (last.index, last.tail as u64));
        let lost = records.saturating_sub(self.end.records);
        if lost == 0 || (segment, offset) == ended_at.place() {
            return;
        }
        match self.missing.last_mut() {
            Some(region) => {
                region.records += lost;
                self.state.lost.records = self.state.lost.records.saturating_add(lost);
            }
            None if segment < ended_at.segment => {
                self.miss(Region::missing_segments(segment + 1, ended_at.segment - segment, lost));
            }
            None => self.miss(Region::missing_records(segment, offset, lost)),
        }
    }

    fn miss(&mut self, region: Region) {
        self.state.lost.add(&region);
        self.missing.push(region);
        self.uncertain = true;
    }
}
