//! What the checkpoint remembers of a batch that is not committed.

use super::words::{Words, put_u32, put_u64};
use crate::batch::Progress;

/// A set of places in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(pub(crate) Vec<u64>);

impl Places {
    pub(crate) fn contains(&self, place: u32) -> bool {
        self.0.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, place: u32) {
        let word = place as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(crate) fn extend(&mut self, other: &Places) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }
}

/// What is remembered of a batch, across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchProgress {
    /// The lanes that the rest counts by; 0 is 1.
    pub(crate) lanes: u32,
    /// Lanes of which nothing is left to send, a bit each.
    pub(crate) finished: u64,
    /// The records in them.
    pub(crate) finished_records: u64,
    /// Places of records in other lanes that are finished (delivered or in the dead letters).
    pub(crate) done: Places,
    /// What is known of the attempts at other lanes, for those where something is.
    pub(crate) parts: Vec<(u32, Progress)>,
    /// The seq behind its last record, if no seal in the log says where it ends; 0 if one does.
    pub(crate) ends_before: u64,
}

impl BatchProgress {
    /// Records of it that are finished.
    pub(crate) fn done_records(&self) -> u64 {
        self.finished_records.saturating_add(self.done.count())
    }

    /// The memos of its parts, each with the batch's first seq and the lane.
    pub(super) fn memos(&self, first_seq: u64) -> impl Iterator<Item = (u64, u32, &[u8])> {
        self.parts.iter().filter_map(move |(lane, progress)| Some((first_seq, *lane, progress.memo.as_deref()?)))
    }

    pub(super) fn set_memo(&mut self, lane: u32, memo: Vec<u8>) {
        match self.parts.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, progress)) => progress.memo = Some(memo),
            None => {
                let at = self.parts.partition_point(|(known, _)| *known < lane);
                self.parts.insert(at, (lane, Progress { memo: Some(memo), ..Progress::default() }));
            }
        }
    }

    fn first(&self) -> (u32, Progress) {
        self.parts.first().cloned().unwrap_or_default()
    }

    /// The fields that states have had from the beginning.
    pub(super) fn encode(&self, first_seq: u64, bytes: &mut Vec<u8>) {
        let (_, progress) = self.first();
        put_u64(bytes, first_seq);
        encode_counts(&progress, bytes);
        put_u32(bytes, self.done.0.len() as u32);
        put_u32(bytes, progress.errors.len() as u32);
        self.done.0.iter().for_each(|word| put_u64(bytes, *word));
        encode_errors(&progress, bytes);
    }

    /// What came with lanes.
    pub(super) fn encode_lanes(&self, bytes: &mut Vec<u8>) {
        put_u32(bytes, self.lanes);
        put_u32(bytes, self.first().0);
        put_u64(bytes, self.finished);
        put_u64(bytes, self.finished_records);
        let further = self.parts.get(1..).unwrap_or_default();
        put_u32(bytes, further.len() as u32);
        for (lane, progress) in further {
            put_u32(bytes, *lane);
            encode_counts(progress, bytes);
            put_u32(bytes, progress.errors.len() as u32);
            encode_errors(progress, bytes);
        }
    }

    /// What [`encode`](Self::encode) wrote, and the first seq of the batch.
    pub(super) fn decode(rest: &mut Words<'_>) -> Option<(u64, BatchProgress)> {
        let first_seq = rest.u64()?;
        let mut progress = decode_counts(rest)?;
        let (words, errors) = (rest.u32()?, rest.u32()?);
        let done = Places((0..words).map(|_| rest.u64()).collect::<Option<_>>()?);
        progress.errors = (0..errors).map(|_| rest.text()).collect::<Option<_>>()?;
        let parts = if progress == Progress::default() { Vec::new() } else { vec![(0, progress)] };
        Some((first_seq, BatchProgress { done, parts, ..BatchProgress::default() }))
    }

    /// Adds what [`encode_lanes`](Self::encode_lanes) wrote.
    pub(super) fn decode_lanes(&mut self, rest: &mut Words<'_>) -> Option<()> {
        self.lanes = rest.u32()?;
        let lane = rest.u32()?;
        self.parts.iter_mut().for_each(|(first, _)| *first = lane);
        (self.finished, self.finished_records) = (rest.u64()?, rest.u64()?);
        for _ in 0..rest.u32()? {
            let lane = rest.u32()?;
            let mut progress = decode_counts(rest)?;
            let errors = rest.u32()?;
            progress.errors = (0..errors).map(|_| rest.text()).collect::<Option<_>>()?;
            if progress != Progress::default() {
                self.parts.push((lane, progress));
            }
        }
        Some(())
    }
}

fn encode_counts(progress: &Progress, bytes: &mut Vec<u8>) {
    put_u32(bytes, progress.attempts);
    put_u32(bytes, progress.failures);
    for time in [progress.first_attempt, progress.last_attempt, progress.next_attempt] {
        put_u64(bytes, time.cast_unsigned());
    }
}

fn encode_errors(progress: &Progress, bytes: &mut Vec<u8>) {
    for error in &progress.errors {
        put_u32(bytes, error.len() as u32);
        bytes.extend_from_slice(error.as_bytes());
    }
}

fn decode_counts(rest: &mut Words<'_>) -> Option<Progress> {
    Some(Progress {
        attempts: rest.u32()?,
        failures: rest.u32()?,
        first_attempt: rest.u64()?.cast_signed(),
        last_attempt: rest.u64()?.cast_signed(),
        next_attempt: rest.u64()?.cast_signed(),
        ..Progress::default()
    })
}
