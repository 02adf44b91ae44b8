//! What is bounded: [`Limits`], what one call to a sink takes, by which batches are sealed; and what holds for every
//! record, wait and reason.

use crate::order::Order;
use crate::record::NewRecord;
pub use crate::record::{
    CREATED_AT, MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_HEADERS_BYTES, MAX_ID_BYTES, MAX_OWN_ID_BYTES, MAX_TOPIC_BYTES,
};
pub use crate::schedule::MAX_WAIT;

/// The longest reason that is kept of a record, in bytes of UTF-8. Longer ones are cut, between characters.
pub const MAX_REASON_BYTES: usize = 4096;
/// The most bytes of what a sink says of a record that it took.
pub const MAX_RECEIPT_BYTES: usize = 1024;

/// The longest memo that a sink keeps with a batch, in bytes: the checkpoint holds it, and is written with every answer.
pub const MAX_MEMO_BYTES: usize = 4096;

/// What one call to a sink takes. `None` is "no limit of its own".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Records a call.
    pub max_records: Option<u64>,
    /// Bytes a call, as [`record_bytes`](Self::record_bytes) counts them.
    pub max_bytes: Option<u64>,
    /// Bytes a record, as [`record_bytes`](Self::record_bytes) counts them.
    pub max_record_bytes: Option<u64>,
    /// Bytes that the sink adds to each record (CloudWatch Logs counts 26).
    pub overhead_bytes: u64,
    /// Whether the key counts, or the id where there is no key. An id that the buffer gives counts
    /// [`MAX_OWN_ID_BYTES`], its longest.
    pub counts_key: bool,
    /// Whether headers, topic and time of expiry count, as they stand in the log: names, values and topic, 4 bytes more for
    /// each header, and 12 more for a record that has any of it.
    pub counts_headers: bool,
    /// Whether the sink keeps an order that it could not keep if it were given a batch before the one before it is
    /// finished. A producer with more than one batch in flight is then refused; unless its `order` is `key`, and that is what
    /// is best for the sink, too.
    pub ordered: bool,
    /// The order that is best for the sink, where the option `order` leaves it open; `Auto` is put order. Not looked at in inline
    /// mode, where nothing is sent side by side.
    pub order: Order,
    /// How many calls at once are best for the sink, where the option `max_in_flight` leaves it open; 0 is 1.
    pub in_flight: u64,
    /// Whether [`Sink::admit`](crate::Sink::admit) wants to see each record.
    pub checks_records: bool,
}

impl Limits {
    /// What a record counts.
    #[inline]
    pub fn record_bytes(&self, record: &NewRecord<'_>) -> u64 {
        let attributes = if self.counts_headers { record.attributes().len() } else { 0 };
        self.lengths_count(record.data.len(), record.key.map(<[u8]>::len), record.id.map(str::len), attributes)
    }

    /// The same, for a record of these lengths.
    #[inline]
    pub(crate) fn lengths_count(&self, data: usize, key: Option<usize>, id: Option<usize>, attributes: usize) -> u64 {
        let key = match (self.counts_key, key) {
            (false, _) => 0,
            (true, Some(key)) => key,
            (true, None) => id.unwrap_or(MAX_OWN_ID_BYTES),
        };
        let attributes = if self.counts_headers { attributes } else { 0 };
        data as u64 + key as u64 + attributes as u64 + self.overhead_bytes
    }
}
