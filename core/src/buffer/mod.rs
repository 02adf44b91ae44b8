//! The durable FIFO.

pub(crate) mod cursor;
pub(crate) mod format;
pub(crate) mod storage;
