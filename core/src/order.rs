//! [`Order`]: which batches may be under way at once.

/// Which order the sink sees, and so which batches may be under way at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What `max_in_flight` says: one batch keeps all in put order, more give it up. Where that is not set either, what is best
    /// for the sink.
    #[default]
    Auto,
    /// Put order. One batch at a time.
    Total,
    /// Put order for each key: batches are divided into lanes by their records' keys, and a lane has one part under way.
    /// What fails or waits holds its own lane, and no other.
    Key,
    /// None. Several batches at a time, whatever is in them.
    None,
}
