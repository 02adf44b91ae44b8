//! A place in the log and the totals before it: what segment headers, the checkpoint, the writer and the reader share.

/// A place between two frames of the log, and what lies before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The seq that the next record at this place has at least.
    pub(crate) seq: u64,
    /// Records and payload bytes before it since the buffer was made.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Position {
    /// Where in the log it is, whatever the totals say.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }

    /// In the order in which the files store them.
    pub(crate) fn words(&self) -> [u64; 5] {
        [self.segment, self.offset, self.seq, self.records, self.bytes]
    }

    pub(crate) fn from_words([segment, offset, seq, records, bytes]: [u64; 5]) -> Position {
        Position { segment, offset, seq, records, bytes }
    }
}
