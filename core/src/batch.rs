//! [`Batch`]: consecutive records on their way to a sink, borrowed from the log without a copy. With it what a batch is known
//! by ([`BatchId`]) and what is remembered of it between attempts ([`Progress`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::{self, Body, Head, Kind};
use crate::platform::{Chunk, ForkGuard};
use crate::record::{NewRecord, Record};

/// Records that go to the sink together.
///
/// Its id and its contents stay the same across retries and restarts. Records that the sink has already
/// taken or that were rejected are no longer in it when it comes again. A clone shares the records' bytes.
///
/// In a forked child it is empty. What was borrowed from a record before the fork stays readable there, but its contents are
/// unspecified.
#[derive(Clone)]
pub struct Batch {
    pub(crate) id: BatchId,
    /// Which handing-out this is; an answer must name it. `None`: no buffer waits for an answer.
    pub(crate) turn: Option<Turn>,
    pub(crate) last_seq: u64,
    pub(crate) progress: Progress,
    pub(crate) pieces: Vec<Piece>,
    /// The pending records.
    pub(crate) entries: Vec<Entry>,
    /// Somebody waits for what the sink says of a record.
    pub(crate) wants_receipts: bool,
    /// The process that has taken it.
    pub(crate) fork: ForkGuard,
}

/// The number of a handing-out of a batch, which takes one answer. A batch that is sent again has the same id and another
/// turn, so that a late answer to an earlier attempt is not taken for an answer to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Turn {
    /// A number that no other handing-out in this process has, also none of an earlier opening of the same buffer.
    pub(crate) fn next() -> Turn {
        // The standard library's atomic, not `platform::sync`'s: nothing depends on which number it is, so the proofs need not
        // try the orders in which threads come here.
        static LAST: AtomicU64 = AtomicU64::new(0);
        Turn(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// A batch's id: the buffer, the epoch it was sealed in, its first seq; and the lane, if it is a part of one that is divided.
/// Also the name of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchId {
    pub(crate) buffer_id: u64,
    pub(crate) epoch: u32,
    pub(crate) first_seq: u64,
    pub(crate) lane: Option<u32>,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.buffer_id, self.epoch, self.first_seq)?;
        self.lane.map_or(Ok(()), |lane| write!(f, "-{lane}"))
    }
}

/// What is remembered of a batch, or of a part of one, between attempts, across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Attempts that count.
    pub(crate) attempts: u32,
    /// Attempts in a row that failed, whatever the reason: what the schedule counts.
    pub(crate) failures: u32,
    /// Wall-clock times in microseconds; 0 is "none".
    pub(crate) first_attempt: i64,
    pub(crate) last_attempt: i64,
    pub(crate) next_attempt: i64,
    /// The errors so far, oldest first, cut to a few.
    pub(crate) errors: Vec<String>,
    /// What the sink keeps with it.
    pub(crate) memo: Option<Vec<u8>>,
}

impl Progress {
    /// What is left of it when the attempts are forgotten.
    pub(crate) fn without_attempts(&mut self) -> Progress {
        Progress { memo: self.memo.take(), ..Progress::default() }
    }
}

/// Bytes of a segment, with the salt of the frames in them.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) chunk: Chunk,
    pub(crate) salt: u32,
}

/// Where a record of a batch stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) piece: u32,
    pub(crate) offset: u32,
    /// The record's place in the batch as it was sealed. Acknowledgements are remembered by it.
    pub(crate) place: u32,
}

impl Batch {
    /// The batch's id: unique, and the same across retries and restarts, so that a target can deduplicate.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.shown().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.shown().is_empty()
    }

    /// Whether this process is a fork of the one that has taken it, and sees none of its records.
    pub fn is_forked(&self) -> bool {
        self.fork.is_forked()
    }

    #[inline]
    fn shown(&self) -> &[Entry] {
        if self.fork.is_forked() { &[] } else { &self.entries }
    }

    /// The seq of the first record that it was sealed with. A part of a batch (`order = key`) says that of the batch.
    pub fn first_seq(&self) -> u64 {
        self.id.first_seq
    }

    /// The seq of the last record that it was sealed with. A part of a batch (`order = key`) says that of the batch.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The number of this attempt, counting those that count, from 1.
    pub fn attempt(&self) -> u32 {
        self.progress.attempts.saturating_add(1)
    }

    /// What [`Sink::prepare`](crate::Sink::prepare) said before the first attempt, or
    /// [`Producer::keep_memo`](crate::Producer::keep_memo) in manual mode, across restarts; `None` if nothing was kept.
    pub fn memo(&self) -> Option<&[u8]> {
        self.progress.memo.as_deref()
    }

    /// Whether somebody waits for what the sink has to say of a record that it takes, see
    /// [`Report::set_receipt`](crate::Report::set_receipt). If not, it may as well say nothing.
    pub fn wants_receipts(&self) -> bool {
        self.wants_receipts
    }

    /// Record `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        self.shown().get(index).map(|entry| self.record(entry))
    }

    /// The records in put order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.shown().iter().map(|entry| self.record(entry))
    }

    /// A batch of records that no buffer holds, for testing sinks.
    pub fn from_records<'a>(records: impl IntoIterator<Item = NewRecord<'a>>) -> Batch {
        Batch::of(BatchId { buffer_id: 0, epoch: 0, first_seq: 1, lane: None }, records)
    }

    /// A batch of records that are not in the log.
    pub(crate) fn of<'a>(id: BatchId, records: impl IntoIterator<Item = NewRecord<'a>>) -> Batch {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for (place, record) in (0u32..).zip(records) {
            entries.push(Entry { piece: 0, offset: bytes.len() as u32, place });
            let attributes = record.attributes();
            let body = Body::new(record.id, record.key, Some(&attributes), record.data);
            let created_at = record.created_at.unwrap_or_default();
            let head = Head { kind: Kind::Record, seq: id.first_seq + u64::from(place), created_at };
            bytes.extend_from_slice(&frame::frame(head, &body, 0));
        }
        Batch {
            id,
            turn: None,
            last_seq: id.first_seq + entries.len() as u64 - 1,
            progress: Progress::default(),
            pieces: vec![Piece { chunk: Chunk::Heap(bytes.into()), salt: 0 }],
            entries,
            wants_receipts: false,
            fork: ForkGuard::new(),
        }
    }

    /// Whether bytes of it could not be read and were zeros instead.
    pub(crate) fn is_faulted(&self) -> bool {
        self.pieces.iter().any(|piece| piece.chunk.is_faulted())
    }

    /// Whether every record is still what was read. Bytes change under a batch if another program overwrites the log or cuts
    /// its file. (A page that became unreadable is zeros from then on.)
    pub(crate) fn is_whole(&self) -> bool {
        let whole = |entry: &Entry| frame::decode(self.bytes(entry), self.pieces[entry.piece as usize].salt).is_ok();
        self.entries.iter().all(whole)
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.pieces[entry.piece as usize].chunk.bytes()[entry.offset as usize..]
    }

    fn record(&self, entry: &Entry) -> Record<'_> {
        let bytes = self.bytes(entry);
        // The checksum was verified when the batch was read. If another program has overwritten the bytes since then, they
        // may no longer parse: then the record is empty, rather than that the program crashes.
        let (buffer_id, empty) = (self.id.buffer_id, &bytes[..0]);
        match frame::parse(bytes) {
            Some(frame) => Record::of(&frame, buffer_id),
            None => Record::nothing(empty, buffer_id),
        }
    }
}

impl fmt::Debug for Batch {
    /// Shows which batch it is, and no payloads, which belong in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id())
            .field("len", &self.len())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
