//! Lanes: how the records of a batch are divided among parts that are sent side by side.
//!
//! Under `order = key` a batch that is sealed is divided into as many *lanes* as may be in flight. The lane of a record follows from its key
//! ([`lane_of`]), and the number of lanes stands in the batch's seal; so which records a part has, and its id (the batch's id,
//! `-`, the lane), is the same after a restart with whatever options. A batch is sealed when one of its lanes is full, so that no
//! part is more than the sink takes.
//!
//! - The reader has a window of batches (`head`), each with the parts of it that are not finished. Attempts, waits and finished
//!   records are the part's.
//! - A part may go out when no earlier batch has a part of its lane left: `window` chooses. So a lane that fails or waits holds
//!   no other, until it is `max_batches_ahead` batches behind them.
//! - Of a batch whose parts all wait for earlier ones, only numbers are kept in memory. Its records are read again when their turn
//!   has come. At most as many batches are at hand as there are lanes, and one.
//! - Batches that are divided in different ways, because options changed or a seal was lost, do not overlap: the first of one kind waits
//!   for the last of the other.
//! - The checkpoint remembers of each batch in the window which lanes are finished, and the attempts at the others.
//! - The committed position moves behind a batch when all of its parts are finished, and those of all batches before it: a
//!   lane that fails keeps the log's space.
//! - The batch that was being filled when a process died ends where the next one opens the log: how full its lanes were is
//!   not on disk. The number of lanes that the process had is in the checkpoint.
//! - The key chooses the lane, and the sink does not. One whose target numbers the records of each partition keeps such a number for
//!   each lane, in the parts' memos: a key has one lane and one partition, so that its order holds though a partition is fed by several
//!   lanes. Were a sink to choose, its choice would have to stand in the record's frame, since the next process may have another
//!   sink. A flag in `features` would announce that, and a method of `Sink` with a default would change no sink.

use super::open_batch::{BatchCaps, OpenBatch};
use crate::checksum::crc32c;

/// The most lanes: as many as can be in flight, and a bit each in a word.
pub(crate) const MOST_LANES: u32 = 64;
/// The most records of a batch, whatever it is divided into.
pub(crate) const MOST_RECORDS: u64 = 1_000_000;

/// The lane of a record. It depends on nothing else, so that the lanes of a batch are the same whenever it is read.
#[inline]
pub(crate) fn lane_of(key: Option<&[u8]>, seq: u64, lanes: u32) -> u32 {
    match key {
        _ if lanes <= 1 => 0,
        Some(key) => crc32c(key) % lanes,
        None => (seq % u64::from(lanes)) as u32,
    }
}

/// The bit that stands for a lane.
pub(crate) fn bit(lane: u32) -> u64 {
    1 << (lane % MOST_LANES)
}

/// The number of lanes that a seal or a checkpoint means.
pub(crate) fn valid(lanes: u32) -> u32 {
    lanes.clamp(1, MOST_LANES)
}

/// How full the lanes of the batch are that is being filled.
pub(crate) struct Filling {
    /// One a lane; none where batches are not divided.
    lanes: Box<[OpenBatch]>,
}

impl Filling {
    pub(crate) fn of(lanes: u32) -> Filling {
        let count = if lanes > 1 { valid(lanes) as usize } else { 0 };
        Filling { lanes: vec![OpenBatch::default(); count].into() }
    }

    /// How many there are; 0: batches are not divided.
    pub(crate) fn count(&self) -> u32 {
        self.lanes.len() as u32
    }

    /// Whether the batch takes a record that counts so many bytes.
    #[inline(always)]
    pub(crate) fn takes(&self, open: &OpenBatch, key: Option<&[u8]>, seq: u64, counted: u64, caps: &BatchCaps) -> bool {
        if self.lanes.is_empty() {
            return open.takes(counted, caps);
        }
        open.records < MOST_RECORDS && self.lanes[lane_of(key, seq, self.count()) as usize].takes(counted, caps)
    }

    /// Counts a record that the batch has taken into its lane. Returns whether the batch is full now.
    #[inline(always)]
    pub(crate) fn add(
        &mut self,
        open: &OpenBatch,
        key: Option<&[u8]>,
        seq: u64,
        counted: u64,
        caps: &BatchCaps,
    ) -> bool {
        if self.lanes.is_empty() {
            return open.is_full(caps);
        }
        let lane = &mut self.lanes[lane_of(key, seq, self.lanes.len() as u32) as usize];
        lane.add(seq, counted);
        lane.is_full(caps) || open.records >= MOST_RECORDS
    }

    /// The batch is sealed.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.lanes.fill(OpenBatch::default());
    }
}
