//! The sidecar of a `FileSink`: where the last batch stands in the file, and which records the file has.

use std::io;
use std::sync::Arc;

use crate::buffer::format::{le_u16, le_u32, le_u64};
use crate::buffer::storage::File;
use crate::record::Record;

/// Seqs as ranges, ascending and apart; both ends of a range belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seqs(Vec<(u64, u64)>);

impl Seqs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another range may not fit into a mark any more.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_OF_BATCH
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub(super) fn has(&self, seq: u64) -> bool {
        // Most are behind all.
        self.0.last().is_some_and(|(_, last)| seq <= *last)
            && self.0.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }

    /// Whether any of it may be from `first` to `last`.
    pub(super) fn meets(&self, first: u64, last: u64) -> bool {
        self.0.first().is_some_and(|(start, _)| *start <= last) && self.0.last().is_some_and(|(_, end)| *end >= first)
    }

    #[inline]
    pub(super) fn add(&mut self, seq: u64) {
        match self.0.last_mut() {
            Some((_, last)) if last.saturating_add(1) == seq => *last = seq,
            _ => self.add_range(seq, seq),
        }
    }

    fn add_range(&mut self, first: u64, last: u64) {
        // What it touches becomes one with it.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1)).max(from);
        let touched = &self.0[from..to];
        let first = touched.first().map_or(first, |range| range.0.min(first));
        let last = touched.last().map_or(last, |range| range.1.max(last));
        self.0.splice(from..to, [(first, last)]);
    }

    /// Takes out what is not below `from`.
    fn cut(&mut self, from: u64) {
        self.0.retain_mut(|(first, last)| {
            *last = (*last).min(from.saturating_sub(1));
            *first <= *last
        });
    }

    fn add_all(&mut self, other: &Seqs) {
        other.0.iter().for_each(|(first, last)| self.add_range(*first, *last));
    }
}

/// Records on their way into the file.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) buffer_id: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) seqs: Seqs,
    /// When the newest of them was put.
    pub(super) latest: i64,
}

impl Piece {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.seqs.clear();
        self.latest = i64::MIN;
    }
}

/// The last batch that was begun, and the records of its buffer that stand in the file before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) buffer_id: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Of the bytes from `start` to `end`.
    pub(super) crc: u32,
    /// When the newest of all these records was put.
    latest: i64,
    before: Seqs,
    pub(super) batch: Seqs,
}

impl Mark {
    /// Whether the file has this record, if it has the batch. One that was put later than all of them is another: a buffer
    /// that was brought back from a copy gives seqs out again. Then those behind it are others, too.
    #[inline]
    pub(super) fn has(&mut self, buffer_id: u64, record: &Record<'_>) -> bool {
        if !self.is_of(buffer_id) || !(self.batch.has(record.seq) || self.before.has(record.seq)) {
            return false;
        }
        if record.created_at > self.latest {
            self.before.cut(record.seq);
            self.batch.cut(record.seq);
            return false;
        }
        true
    }

    /// Whether its seqs are those of this buffer. Batches that no buffer holds all count from 1.
    #[inline]
    pub(super) fn is_of(&self, buffer_id: u64) -> bool {
        self.buffer_id == buffer_id && buffer_id != 0
    }

    /// The batch is not in the file: it ends where the batch begins.
    pub(super) fn forget_batch(&mut self) {
        self.batch.clear();
        self.end = self.start;
        self.crc = 0;
    }
}

/// Two sectors, written in turn, so that a torn one leaves the other.
pub(super) struct Marks {
    file: Arc<dyn File>,
    generation: u64,
    /// In memory it is known of a batch that it is not in the file before the sidecar says so.
    pub(super) last: Mark,
    /// Used again for every mark.
    next: Mark,
}

const SECTOR: usize = 512;
const MAGIC: [u8; 8] = *b"unimark2";
/// Offsets in a sector: magic, generation, start, end, the batch's CRC-32C, how many ranges before it, how many of it,
/// the buffer's id, the newest record's time, the ranges, at the end the sector's CRC-32C.
const RANGES: usize = 56;
const MOST_RANGES: usize = (SECTOR - 4 - RANGES) / 16;
/// Ranges of one batch; those before it get the rest.
const MOST_OF_BATCH: usize = MOST_RANGES / 2;

impl Marks {
    pub(super) fn open(file: Arc<dyn File>) -> io::Result<Marks> {
        let mut bytes = [0; 2 * SECTOR];
        file.read_at(&mut bytes, 0)?;
        let newest = bytes.chunks_exact(SECTOR).filter_map(decode).max_by_key(|(generation, _)| *generation);
        let (generation, last) = newest.unwrap_or_default();
        Ok(Marks { file, generation, last, next: Mark::default() })
    }

    /// Marks a batch that begins at `start`. The batch marked before is in the file, or forgotten.
    pub(super) fn write(&mut self, piece: &Piece, start: u64, sync: bool) -> io::Result<()> {
        let (last, next) = (&self.last, &mut self.next);
        next.before.clear();
        next.latest = piece.latest;
        if last.is_of(piece.buffer_id) {
            next.before.0.extend_from_slice(&last.before.0);
            next.before.add_all(&last.batch);
            next.latest = next.latest.max(last.latest);
        }
        // The oldest are the least likely to come again.
        let extra = (next.before.0.len() + piece.seqs.0.len()).saturating_sub(MOST_RANGES);
        next.before.0.drain(..extra);
        next.batch.0.clone_from(&piece.seqs.0);
        (next.buffer_id, next.start, next.end) = (piece.buffer_id, start, start + piece.bytes.len() as u64);
        next.crc = crc32c::crc32c(&piece.bytes);
        let generation = self.generation + 1;
        self.file.write_at(&encode(generation, next), place(generation))?;
        if sync {
            self.file.sync()?;
        }
        self.generation = generation;
        std::mem::swap(&mut self.last, &mut self.next);
        Ok(())
    }

    /// Makes the newest mark durable before the other sector is written. It is written anew: where a sync of it has
    /// failed, the kernel takes it for clean.
    pub(super) fn keep(&self) -> io::Result<()> {
        if self.generation > 0 {
            let mut sector = [0; SECTOR];
            self.file.read_at(&mut sector, place(self.generation))?;
            self.file.write_at(&sector, place(self.generation))?;
        }
        self.file.sync()
    }
}

fn place(generation: u64) -> u64 {
    generation % 2 * SECTOR as u64
}

fn encode(generation: u64, mark: &Mark) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[0..8].copy_from_slice(&MAGIC);
    let latest = mark.latest.cast_unsigned();
    for (word, at) in [(generation, 8), (mark.start, 16), (mark.end, 24), (mark.buffer_id, 40), (latest, 48)] {
        sector[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    sector[32..36].copy_from_slice(&mark.crc.to_le_bytes());
    for (count, at) in [(mark.before.0.len(), 36), (mark.batch.0.len(), 38)] {
        sector[at..at + 2].copy_from_slice(&(count as u16).to_le_bytes());
    }
    let ranges = mark.before.0.iter().chain(&mark.batch.0);
    for ((first, last), at) in ranges.zip(sector[RANGES..SECTOR - 4].chunks_exact_mut(16)) {
        at[..8].copy_from_slice(&first.to_le_bytes());
        at[8..].copy_from_slice(&last.to_le_bytes());
    }
    let crc = crc32c::crc32c(&sector[..SECTOR - 4]);
    sector[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
    sector
}

fn decode(sector: &[u8]) -> Option<(u64, Mark)> {
    let whole = sector[0..8] == MAGIC && crc32c::crc32c(&sector[..SECTOR - 4]) == le_u32(sector, SECTOR - 4);
    if !whole {
        return None;
    }
    let (before, batch) = (usize::from(le_u16(sector, 36)), usize::from(le_u16(sector, 38)));
    let mut ranges = sector[RANGES..SECTOR - 4].chunks_exact(16).map(|at| (le_u64(at, 0), le_u64(at, 8)));
    let mark = Mark {
        buffer_id: le_u64(sector, 40),
        start: le_u64(sector, 16),
        end: le_u64(sector, 24),
        crc: le_u32(sector, 32),
        latest: le_u64(sector, 48).cast_signed(),
        before: Seqs(ranges.by_ref().take(before).collect()),
        batch: Seqs(ranges.take(batch).collect()),
    };
    Some((le_u64(sector, 8), mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_was_added_however_it_came() {
        let seqs = |ranges: &[(u64, u64)]| Seqs(ranges.to_vec());
        let mut all = Seqs::default();
        [5, 6, 7, 1, 9].iter().for_each(|seq| all.add(*seq));
        assert_eq!(all, seqs(&[(1, 1), (5, 7), (9, 9)]));
        all.add_all(&seqs(&[(8, 8), (3, 3), (12, 20)]));
        assert_eq!(all, seqs(&[(1, 1), (3, 3), (5, 9), (12, 20)]));
        all.add_all(&seqs(&[(2, 15)]));
        assert_eq!(all, seqs(&[(1, 20)]));
        assert!(all.has(1) && all.has(20) && !all.has(0) && !all.has(21));
        all.add_all(&seqs(&[(u64::MAX, u64::MAX)]));
        all.add(u64::MAX);
        assert_eq!(all, seqs(&[(1, 20), (u64::MAX, u64::MAX)]));
    }

    #[test]
    fn a_record_that_is_newer_than_all_in_the_file_is_another() {
        let seqs = Seqs(vec![(1, 9)]);
        let mut mark = Mark { buffer_id: 7, before: seqs, latest: 50, ..Mark::default() };
        let record = |seq, created_at| Record { seq, created_at, key: None, data: b"", own_id: None, buffer_id: 7 };
        assert!(mark.has(7, &record(9, 50)) && mark.has(7, &record(1, -3)));
        assert!(!mark.has(7, &record(10, 50)) && !mark.has(8, &record(9, 50)));
        // What comes in the same tick, too.
        assert!(!mark.has(7, &record(5, 51)) && !mark.has(7, &record(6, 50)));
        assert_eq!(mark.before, Seqs(vec![(1, 4)]));
    }
}
