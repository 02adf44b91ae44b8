//! [`Head`]: a batch that was read and is not committed, and the [`Part`]s of it that are left.

use std::time::Duration;

use super::checkpoint::{BatchProgress, Places};
use super::format;
use super::lanes::{self, bit, lane_of};
use super::position::Position;
use crate::batch::{Batch, BatchId, Entry, Piece, Progress, Turn};
use crate::platform::ForkGuard;

/// What became of a batch, or of the part of one that was handed out.
#[derive(Default)]
pub(crate) struct Settle {
    /// Nothing of it is left to send.
    pub(crate) finished: bool,
    /// Places that are finished.
    pub(crate) done: Vec<u32>,
    /// What is remembered of it from now on, `done` and the memo aside.
    pub(crate) progress: Option<Progress>,
    /// What the sink keeps with it from now on, if that is something else.
    pub(crate) memo: Option<Vec<u8>>,
    /// When what is left may go out again.
    pub(crate) ready_at: Duration,
}

/// The records of a batch that go out together: those of one lane. A batch that is not divided has one part.
pub(crate) struct Part {
    pub(crate) lane: u32,
    /// Those that are left; empty while the batch is not at hand.
    entries: Vec<Entry>,
    /// How many are left.
    left: usize,
    /// Those that are not.
    done: Places,
    pub(crate) progress: Progress,
    /// Handed out, in this turn, and not answered.
    pub(crate) out: Option<Turn>,
    /// On the monotonic clock.
    pub(crate) ready_at: Duration,
}

/// A batch that was read and is not committed.
pub(crate) struct Head {
    pub(crate) id: BatchId,
    pub(crate) last_seq: u64,
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) lanes: u32,
    /// Those of which something is left, by rising lane.
    pub(crate) parts: Vec<Part>,
    /// Whether a seal in the log says where it ends.
    pub(crate) sealed: bool,
    pub(crate) ends_before: u64,
    finished: u64,
    finished_records: u64,
    pieces: Vec<Piece>,
    at_hand: bool,
}

/// What was read of a batch.
pub(crate) struct Contents {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) entries: Vec<Entry>,
}

impl Contents {
    fn lane(&self, entry: &Entry, first_seq: u64, lanes: u32) -> u32 {
        if lanes <= 1 {
            return 0;
        }
        let bytes = &self.pieces[entry.piece as usize].chunk.bytes()[entry.offset as usize..];
        let key = format::parse(bytes).and_then(|frame| frame.key);
        lane_of(key, first_seq + u64::from(entry.place), lanes)
    }

    /// Its entries by lane.
    fn divide(&mut self, first_seq: u64, lanes: u32) -> Vec<Vec<Entry>> {
        let entries = std::mem::take(&mut self.entries);
        if lanes <= 1 {
            return vec![entries];
        }
        let mut divided = vec![Vec::new(); lanes as usize];
        for entry in entries {
            divided[self.lane(&entry, first_seq, lanes) as usize].push(entry);
        }
        divided
    }
}

impl Head {
    /// A batch of which `known` is remembered.
    pub(crate) fn new(
        id: BatchId,
        last_seq: u64,
        (start, end): (Position, Position),
        lanes: u32,
        mut contents: Contents,
        known: BatchProgress,
    ) -> Head {
        let same = lanes::valid(known.lanes) == lanes;
        let BatchProgress { finished, mut done, parts, ends_before, .. } = known;
        if !same && finished != 0 {
            // Its seal was lost or came back: what is finished counts by record.
            for entry in &contents.entries {
                let lane = contents.lane(entry, id.first_seq, lanes::valid(known.lanes));
                if finished & bit(lane) != 0 {
                    done.insert(entry.place);
                }
            }
        }
        let mut head = Head {
            id,
            last_seq,
            start,
            end,
            lanes,
            parts: Vec::new(),
            sealed: true,
            ends_before,
            finished: if same { finished } else { 0 },
            finished_records: if same { known.finished_records } else { 0 },
            pieces: Vec::new(),
            at_hand: true,
        };
        let mut placed = 0;
        for (lane, mut entries) in (0..).zip(contents.divide(id.first_seq, lanes)) {
            if head.finished & bit(lane) != 0 {
                continue;
            }
            let mut own = Places::default();
            if !done.0.is_empty() {
                entries.iter().filter(|entry| done.contains(entry.place)).for_each(|entry| own.insert(entry.place));
                entries.retain(|entry| !done.contains(entry.place));
                placed += own.count();
            }
            if !entries.is_empty() {
                let known = parts.iter().find(|(known, _)| same && *known == lane);
                let progress = known.map(|(_, progress)| progress.clone()).unwrap_or_default();
                let left = entries.len();
                head.parts.push(Part { lane, entries, left, done: own, progress, out: None, ready_at: Duration::ZERO });
            } else if !own.0.is_empty() {
                head.finished |= bit(lane);
                head.finished_records += own.count();
            }
        }
        // Of those, some may be lost by now.
        head.finished_records += done.count().saturating_sub(placed);
        head.pieces = contents.pieces;
        head
    }

    /// A view of what is left of a part.
    pub(crate) fn batch(&self, part: usize) -> Batch {
        let part = &self.parts[part];
        let lane = (self.lanes > 1).then_some(part.lane);
        Batch {
            id: BatchId { lane, ..self.id },
            turn: part.out,
            last_seq: self.last_seq,
            progress: part.progress.clone(),
            pieces: self.pieces.clone(),
            entries: part.entries.clone(),
            wants_receipts: false,
            fork: ForkGuard::new(),
        }
    }

    /// Nothing of it is left to send.
    pub(crate) fn is_finished(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn is_out(&self) -> bool {
        self.parts.iter().any(|part| part.out.is_some())
    }

    /// Whether its records are in memory.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.at_hand
    }

    /// Keeps no more of it than numbers, until [`take_up`](Self::take_up).
    pub(crate) fn put_away(&mut self) {
        self.at_hand = false;
        self.pieces = Vec::new();
        self.parts.iter_mut().for_each(|part| part.entries = Vec::new());
    }

    /// Has its records again. False if they are not those that were there before.
    pub(crate) fn take_up(&mut self, mut contents: Contents) -> bool {
        let mut divided = contents.divide(self.id.first_seq, self.lanes);
        for part in &mut self.parts {
            let mut entries = std::mem::take(&mut divided[part.lane as usize]);
            entries.retain(|entry| !part.done.contains(entry.place));
            if entries.len() != part.left {
                self.put_away();
                return false;
            }
            part.entries = entries;
        }
        self.pieces = contents.pieces;
        self.at_hand = true;
        true
    }

    /// Notes what became of a part. Returns its list of entries, to be used again, if nothing of it is left.
    pub(crate) fn settle(&mut self, at: usize, settle: Settle) -> Option<Vec<Entry>> {
        let part = &mut self.parts[at];
        part.out = None;
        part.ready_at = settle.ready_at;
        if let Some(progress) = settle.progress {
            // The memo stays, whoever answers: a clone of the batch may not have it.
            part.progress = Progress { memo: part.progress.memo.take(), ..progress };
        }
        if settle.memo.is_some() {
            part.progress.memo = settle.memo;
        }
        if !settle.done.is_empty() {
            let Part { entries, done, .. } = part;
            settle.done.iter().for_each(|place| done.insert(*place));
            entries.retain(|entry| !done.contains(entry.place));
            part.left = entries.len();
        }
        if !settle.finished && part.left > 0 {
            return None;
        }
        self.finished |= bit(part.lane);
        self.finished_records += part.left as u64 + part.done.count();
        Some(self.parts.remove(at).entries)
    }

    /// Records of it that are finished.
    pub(crate) fn done_records(&self) -> u64 {
        self.finished_records + self.parts.iter().map(|part| part.done.count()).sum::<u64>()
    }

    /// What the checkpoint is to remember; the default if that is nothing.
    pub(crate) fn progress(&self) -> BatchProgress {
        let mut done = Places::default();
        self.parts.iter().for_each(|part| done.extend(&part.done));
        let known = self.parts.iter().filter(|part| part.progress != Progress::default());
        let parts: Vec<_> = known.map(|part| (part.lane, part.progress.clone())).collect();
        let Head { finished, finished_records, ends_before, .. } = *self;
        let nothing = finished == 0 && finished_records == 0 && parts.is_empty() && done.0.is_empty();
        let lanes = if nothing || self.lanes <= 1 { 0 } else { self.lanes };
        BatchProgress { lanes, finished, finished_records, done, parts, ends_before }
    }
}
