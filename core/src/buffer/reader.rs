//! The reader's side of the log: from the committed position forward, one sealed batch at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::checkpoint::{BatchProgress, Checkpoint, CheckpointSync, Closed, RESERVED_SEQS, State};
use super::format::{self, HeaderState, Seal};
use super::head::{Contents, Head};
use super::lanes::{self, MOST_RECORDS};
use super::losses::{Found, Region};
use super::position::Position;
use super::scan::{Scan, Source, Step};
use super::segment::{self, Finished};
use super::writer::{BatchCaps, OpenBatch};
use crate::batch::{Batch, BatchId, Entry, Piece, Progress};
use crate::checksum::crc32c_append;
use crate::error::{Error, ErrorKind, Result};
use crate::features;
use crate::limits::Limits;
use crate::platform::{Chunk, Ownership};
use crate::schedule::MAX_WAIT;

/// The owner of a checkpoint before the run begins.
struct Nobody;

impl Ownership for Nobody {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// No batch has more records, and no batch is made of seqs that are further apart: those jumped, and are of two batches.
const MOST_PLACES: u64 = MOST_RECORDS;
/// Microseconds that a batch may have to wait, whatever the cursor says: no sink and no schedule is given a longer one.
const LONGEST_WAIT: u64 = MAX_WAIT.as_micros() as u64;

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
        let takes = self.counted.takes(counted, caps);
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

/// The reader's state, guarded by one mutex that `put` does not take unless it finds no room.
pub(crate) struct Reader {
    checkpoint: Checkpoint,
    pub(crate) state: State,
    found: Arc<Found>,
    pub(crate) heads: VecDeque<Head>,
    /// What is remembered of batches that are not read (again) yet, by first seq.
    unread: Vec<(u64, BatchProgress)>,
    pub(crate) walk: Scan,
    /// The state in memory is ahead of the checkpoint's file: a write failed, or batches were passed over that an earlier run
    /// had finished.
    unwritten: bool,
    /// The `seq_limit` that a power loss leaves.
    reserved: u64,
    limits: Limits,
    caps: BatchCaps,
    /// What is read next has no seals before this seq: it was read up to there, and none was found.
    unsealed_before: u64,
    /// The segment of an unknown version at which reading stopped.
    stopped_at: Option<u64>,
    /// Until when batches wait that are read again, by first seq and lane. (The checkpoint holds wall-clock times, for the next
    /// run.)
    waits: Vec<((u64, u32), Duration)>,
    /// Entries of the last batch, to be used again.
    entries: Vec<Entry>,
    /// Checked before each write of the checkpoint: the directory may be another process's by now.
    owner: Weak<dyn Ownership>,
}

impl Reader {
    pub(crate) fn new(
        checkpoint: Checkpoint,
        state: State,
        found: Arc<Found>,
        limits: Limits,
        caps: BatchCaps,
    ) -> Self {
        Reader {
            walk: Scan::new(state.buffer_id, state.committed),
            unread: state.batches.clone(),
            checkpoint,
            state,
            found,
            heads: Default::default(),
            unwritten: false,
            reserved: 0,
            limits,
            caps,
            unsealed_before: 0,
            stopped_at: None,
            waits: Vec::new(),
            entries: Vec::new(),
            owner: Weak::<Nobody>::new(),
        }
    }

    /// Reads the next sealed batch, if one ends before `upto`. After an error it begins at the same place again.
    pub(crate) fn load(
        &mut self,
        source: &dyn Source,
        upto: &Position,
        opened_at: (i64, Duration),
    ) -> Result<Option<Head>> {
        let start = self.walk.at;
        // Where an unknown version stopped the reader, what lies before it is not read again for each look.
        if let Some(index) = self.stopped_at.take()
            && let Some(Finished { header: HeaderState::Unknown { version, flags }, .. }) = source.open(index)?
        {
            self.stopped_at = Some(index);
            return Err(features::unsupported("the log", version, flags));
        }
        let mut loaded = self.read_batch(source, upto, opened_at);
        match &mut loaded {
            // At the limit the writer's totals count: records that it put, and that were not found up to here, are lost.
            Ok(Some(head)) if head.end.place() == upto.place() => {
                let lost = upto.records.saturating_sub(head.end.records);
                if lost > 0 {
                    source.set_aside(&Region::missing_records(upto.segment, upto.offset, lost), upto);
                }
                head.end = *upto;
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
        loaded
    }

    fn read_batch(&mut self, source: &dyn Source, upto: &Position, opened_at: (i64, Duration)) -> Result<Option<Head>> {
        let mut read = Read::begin(self.walk.at, std::mem::take(&mut self.entries));
        loop {
            let before = self.walk.at.records;
            match self.walk.step(source, upto)? {
                Step::Record { segment, offset, base } => {
                    let seq = self.walk.at.seq - 1;
                    let salt = segment::salt(self.state.buffer_id, segment);
                    read.add(seq, (segment, base), (offset - base) as u32, self.walk.chunk(), salt);
                    let is_too_far = seq - read.first >= MOST_PLACES;
                    if is_too_far && self.reads_again(&mut read, seq) {
                        continue;
                    }
                    // Without seals a batch ends where it is full.
                    if is_too_far || (seq < self.unsealed_before && !self.takes(&mut read, seq)) {
                        return Ok(Some(self.unsealed(read, Some(seq), opened_at)));
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
                        return Ok(Some(self.unsealed(read, None, opened_at)));
                    }
                    return Ok(Some(self.unsealed(read, Some(seal.first_seq), opened_at)));
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
                    let id = BatchId { buffer_id: self.state.buffer_id, epoch, first_seq, lane: None };
                    return Ok(Some(self.head(id, seal.last_seq, end, lanes::valid(seal.lanes), read, opened_at)));
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
                        // Nothing whole is left before the limit: what was passed over is finished with what is before it.
                        match self.heads.back_mut() {
                            Some(last) => last.end = *upto,
                            None if self.state.committed != *upto => {
                                self.state.committed = *upto;
                                self.unwritten = true;
                            }
                            None => {}
                        }
                        self.entries = read.entries;
                        return Ok(None);
                    }
                    return Ok(Some(self.unsealed(read, None, opened_at)));
                }
            }
        }
    }

    /// Whether a batch without a seal has this record, the last that was read: as it was when it was handed out, if it ever
    /// was, else until it is full.
    fn takes(&self, read: &mut Read, seq: u64) -> bool {
        let has_room = read.count(&self.limits, self.caps);
        let known = self.unread.iter().find(|(first_seq, _)| *first_seq == read.first);
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
    fn unsealed(&mut self, mut read: Read, next: Option<u64>, opened_at: (i64, Duration)) -> Head {
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
        let (last, end) = (read.last, self.walk.at);
        let mut head = self.head(id, last, end, 1, read, opened_at);
        head.sealed = false;
        head
    }

    /// The id of a batch whose seal was lost. Where it ended is not known, so it may have been sent with fewer records:
    /// this id stands for just those that are in it now, and no epoch comes that far.
    fn unsealed_id(&self, first: u64, entries: &[Entry]) -> BatchId {
        let crc = entries.iter().fold(0, |crc, entry| {
            let seq = first + u64::from(entry.place);
            crc32c_append(crc, &seq.to_le_bytes())
        });
        BatchId { buffer_id: self.state.buffer_id, epoch: crc | 1 << 31, first_seq: first, lane: None }
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

    fn head(
        &mut self,
        id: BatchId,
        last_seq: u64,
        end: Position,
        lanes: u32,
        read: Read,
        (wall, monotonic): (i64, Duration),
    ) -> Head {
        let known = self.unread.iter().position(|(first_seq, _)| *first_seq == id.first_seq);
        let known = known.map(|at| self.unread.remove(at).1).unwrap_or_default();
        let start = read.start;
        let contents = Contents { pieces: read.pieces, entries: read.entries };
        let mut head = Head::new(id, last_seq, (start, end), lanes, contents, known);
        for part in &mut head.parts {
            part.ready_at = match self.waits.iter().position(|(waiting, _)| *waiting == (id.first_seq, part.lane)) {
                Some(at) => self.waits.swap_remove(at).1,
                None => {
                    let Progress { next_attempt, last_attempt, .. } = part.progress;
                    // Never longer than it was to begin with: the wall clock may have been set back since.
                    let wait = next_attempt.saturating_sub(wall.max(last_attempt));
                    let wait = u64::try_from(wait).unwrap_or(0).min(LONGEST_WAIT);
                    if wait == 0 { Duration::ZERO } else { monotonic + Duration::from_micros(wait) }
                }
            };
        }
        head
    }

    /// Where the batch is among those that were read, and which part of it is, if it is out in this very turn.
    pub(crate) fn place_of(&self, batch: &Batch) -> Option<(usize, usize)> {
        batch.turn?;
        let id = BatchId { lane: None, ..batch.id };
        let at = self.heads.iter().position(|head| head.id == id)?;
        let part = self.heads[at].parts.iter().position(|part| part.out == batch.turn)?;
        Some((at, part))
    }

    /// Forgets what was read and not committed, so that it is read anew; not while any of it is handed out.
    pub(crate) fn read_again(&mut self) -> bool {
        let alone = !self.heads.iter().any(Head::is_out);
        if alone {
            for head in std::mem::take(&mut self.heads) {
                self.forget(&head);
                let waits = head.parts.iter().map(|part| ((head.id.first_seq, part.lane), part.ready_at));
                self.waits.extend(waits);
            }
            self.walk.restart(self.state.committed);
            self.unsealed_before = 0;
        }
        alone
    }

    /// Drops the finished batches at the front; the committed position moves behind them.
    pub(crate) fn advance(&mut self) {
        while self.heads.front().is_some_and(Head::is_finished)
            && let Some(head) = self.heads.pop_front()
        {
            self.state.committed = head.end;
            self.unwritten = true;
        }
    }

    /// Remembers what is to be remembered of a batch that is not among those that were read any more.
    pub(crate) fn forget(&mut self, head: &Head) {
        let progress = head.progress();
        if progress != BatchProgress::default() {
            self.unread.push((head.id.first_seq, progress));
        }
    }

    /// Takes a list of entries, to use it again.
    pub(crate) fn recycle(&mut self, entries: Option<Vec<Entry>>) {
        self.entries = entries.unwrap_or_default();
    }

    /// Reads the records of a batch that was put away once more. `None` if they are not what they were.
    pub(crate) fn read_head(&self, at: usize, source: &dyn Source) -> Result<Option<Contents>> {
        let head = &self.heads[at];
        let mut walk = self.walk.begin_at(head.start);
        let mut read = Read::begin(head.start, Vec::new());
        loop {
            match walk.step(source, &head.end)? {
                Step::Record { segment, offset, base } => {
                    let seq = walk.at.seq - 1;
                    if !(head.id.first_seq..=head.last_seq).contains(&seq) {
                        return Ok(None);
                    }
                    let salt = segment::salt(self.state.buffer_id, segment);
                    read.add(seq, (segment, base), (offset - base) as u32, walk.chunk(), salt);
                }
                Step::Seal(_) | Step::Passed => {}
                Step::Limit => break,
            }
        }
        Ok(Some(read.contents(head.id.first_seq)))
    }

    /// Records behind the committed position that are finished.
    pub(crate) fn done_records(&self) -> u64 {
        let unread = self.unread.iter().map(|(_, progress)| progress.done_records());
        self.heads.iter().map(Head::done_records).chain(unread).fold(0, u64::saturating_add)
    }

    /// Begins a run: the buffer is open, and its next record gets `next_seq`. `boot_id` 0 makes the next owner treat the log as
    /// one that a power loss cut off. Writes the checkpoint durably in every mode: else a power loss would bring back a log
    /// that seems to be complete, or a lower limit of seqs, and seqs of this run would be given out again.
    pub(crate) fn begin_run(
        &mut self,
        boot_id: u64,
        next_seq: u64,
        lanes: u32,
        owner: &Arc<dyn Ownership>,
    ) -> Result<()> {
        (self.state.boot_id, self.state.lanes) = (boot_id, lanes);
        (self.state.closed, self.state.end) = (Closed::No, Position::default());
        self.owner = Arc::downgrade(owner);
        let limit = self.reserve(next_seq);
        self.write()?;
        self.sync()?;
        self.reserved_durably(limit);
        Ok(())
    }

    /// Ends it: the log was closed, and ended there.
    pub(crate) fn end_run(&mut self, closed: Closed, end: Position) -> Result<()> {
        self.state.closed = closed;
        // A power loss cannot bring back the state before a later run, so no seq behind the last one will be given out.
        if closed == Closed::Durably {
            self.state.seq_limit = end.seq;
        }
        if closed != Closed::No {
            self.state.end = end;
        }
        self.write()
    }

    /// Makes the next owner treat the log as one that a power loss cut off, if the checkpoint can still be written.
    pub(crate) fn mark_unclean(&mut self) {
        self.state.boot_id = 0;
        let _ = self.write();
    }

    /// Reserves seqs, far enough ahead that no put has to wait for it. They may be given out when the checkpoint is durable:
    /// then [`reserved_durably`](Self::reserved_durably) must be called with the limit that this returns.
    pub(crate) fn reserve(&mut self, next_seq: u64) -> u64 {
        if self.state.seq_limit < next_seq + RESERVED_SEQS / 2 {
            self.state.seq_limit = next_seq + RESERVED_SEQS;
        }
        self.state.seq_limit
    }

    pub(crate) fn reserved_durably(&mut self, limit: u64) {
        self.reserved = limit;
    }

    /// Seqs below this are reserved durably.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    #[cfg(all(test, feature = "torture"))]
    pub(crate) fn checkpoint(&mut self) -> &mut Checkpoint {
        &mut self.checkpoint
    }

    /// Whether the state in memory is ahead of the checkpoint's file.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.unwritten
    }

    /// Whether the checkpoint's file is not durable.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.checkpoint.is_unsynced()
    }

    /// Forgets the attempts at batches for which `exhausted`, so that they get as many again. Returns whether there were any.
    pub(crate) fn reset_attempts(&mut self, exhausted: impl Fn(u32) -> bool) -> bool {
        let fresh = |progress: &mut Progress| {
            let is_exhausted = exhausted(progress.attempts);
            if is_exhausted {
                *progress = progress.without_attempts();
            }
            is_exhausted
        };
        let mut changed = false;
        for (first_seq, batch) in &mut self.unread {
            for (lane, progress) in &mut batch.parts {
                if fresh(progress) {
                    self.waits.retain(|(waiting, _)| *waiting != (*first_seq, *lane));
                    changed = true;
                }
            }
            batch.parts.retain(|(_, progress)| *progress != Progress::default());
        }
        for part in self.heads.iter_mut().flat_map(|head| &mut head.parts) {
            if fresh(&mut part.progress) {
                part.ready_at = Duration::ZERO;
                changed = true;
            }
        }
        changed
    }

    /// Ends the waits for the next attempt. Attempts stay counted.
    pub(crate) fn make_due(&mut self) {
        self.waits.clear();
        for (_, batch) in &mut self.unread {
            batch.parts.iter_mut().for_each(|(_, progress)| progress.next_attempt = 0);
        }
        for part in self.heads.iter_mut().flat_map(|head| &mut head.parts) {
            (part.progress.next_attempt, part.ready_at) = (0, Duration::ZERO);
        }
    }

    /// The sync that makes the checkpoint durable, if it is not; see [`Checkpoint::begin_sync`].
    pub(crate) fn begin_sync(&mut self) -> Result<Option<CheckpointSync>> {
        if self.checkpoint.is_dropped() {
            self.write()?;
        }
        Ok(self.checkpoint.begin_sync())
    }

    pub(crate) fn end_sync(&mut self, sync: &CheckpointSync, synced: io::Result<()>) -> Result<()> {
        self.checkpoint.end_sync(sync, synced).map_err(|error| Error::io("could not sync the cursor", error))
    }

    /// Makes the checkpoint durable while the reader is locked.
    pub(crate) fn sync(&mut self) -> Result<()> {
        match self.begin_sync()? {
            Some(sync) => self.end_sync(&sync, sync.run()),
            None => Ok(()),
        }
    }

    /// Brings what is remembered of batches up to date and writes the checkpoint.
    pub(crate) fn write(&mut self) -> Result<()> {
        let committed = self.state.committed.seq;
        // Batches that are not read again yet keep what an earlier run wrote of them; also one that lost its first
        // records, so that the committed position lies within it.
        self.unread.retain(|(first_seq, _)| first_seq + MOST_PLACES > committed);
        let read = self.heads.iter().map(|head| (head.id.first_seq, head.progress()));
        let known = read.filter(|(_, progress)| *progress != BatchProgress::default());
        self.state.batches.clear();
        self.state.batches.extend(self.unread.iter().cloned().chain(known));
        self.found.pass(&self.state.committed, &mut self.state.lost);
        let owned = self.owner.upgrade().map_or(Ok(()), |owner| owner.check());
        let written = owned.and_then(|()| self.checkpoint.write(&self.state));
        self.unwritten = written.is_err();
        written.map_err(|error| Error::io("could not write the cursor", error))
    }
}

fn payload_bytes(pieces: &[Piece], entries: &[Entry]) -> u64 {
    entries.iter().filter_map(|entry| frame(pieces, entry)).map(|frame| frame.data.len() as u64).sum()
}

fn frame<'a>(pieces: &'a [Piece], entry: &Entry) -> Option<format::Frame<'a>> {
    format::parse(&pieces[entry.piece as usize].chunk.bytes()[entry.offset as usize..])
}
