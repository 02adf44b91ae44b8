//! The batch that is being filled, and where it ends.

use std::time::Duration;

/// Where batches end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchCaps {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// The batch being filled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenBatch {
    pub(crate) first_seq: u64,
    pub(crate) records: u64,
    /// As the sink's limits count them.
    pub(crate) bytes: u64,
    /// When its first record came, on the monotonic clock.
    pub(crate) since: Duration,
}

impl OpenBatch {
    /// Whether a record that counts so many bytes goes into it; an empty one takes any.
    #[inline]
    pub(crate) fn takes(&self, counted: u64, caps: &BatchCaps) -> bool {
        self.records == 0 || (self.records < caps.records && self.bytes + counted.max(1) <= caps.bytes)
    }

    /// Whether it takes no record any more.
    #[inline]
    pub(crate) fn is_full(&self, caps: &BatchCaps) -> bool {
        self.records >= caps.records || self.bytes >= caps.bytes
    }

    /// Counts a record in.
    #[inline]
    pub(crate) fn add(&mut self, seq: u64, counted: u64) {
        if self.records == 0 {
            self.first_seq = seq;
        }
        self.records += 1;
        self.bytes += counted;
    }
}
