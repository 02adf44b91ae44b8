//! What is put and what comes out: [`NewRecord`] and [`Record`].

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};

/// The longest `id` or `key`, in bytes: their lengths are 16-bit fields of the log.
pub const MAX_ID_BYTES: usize = u16::MAX as usize;
/// The longest id that a buffer gives to a record without one: `<buffer id>-<seq>`.
pub const MAX_OWN_ID_BYTES: usize = 16 + 1 + 20;

/// The first and the last microsecond that `created_at` may be: the years 1 to 9999, which every language's dates hold.
pub const CREATED_AT: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The error for a `created_at` out of range, with a guess at the reason: most often it is in another unit.
#[cold]
pub(crate) fn no_date(created_at: i64) -> Error {
    // The years 2000 to 2100.
    let is_likely = |micros: i64| (946_684_800_000_000..4_102_444_800_000_000).contains(&micros);
    let guess = if is_likely(created_at / 1000) {
        "; it looks like a thousand times too much: nanoseconds in place of microseconds, or milliseconds in place of seconds"
    } else if is_likely(created_at / 1_000_000) {
        "; it looks like a million times too much: microseconds in place of seconds"
    } else {
        ""
    };
    let message =
        format!("created_at is {created_at} microseconds since 1970, which is not in the years 1 to 9999{guess}");
    Error::new(ErrorKind::InvalidArgument, message)
}

/// A record on its way in: the payload and what the caller wants to say about it.
///
/// Anything that is bytes or text converts: `producer.put(b"raw")`, `producer.put("text")`.
///
/// ```
/// use unistream::NewRecord;
/// let record = NewRecord::new(b"{\"value\": 90}").id("order-17").key(b"user-7");
/// assert_eq!(record.id, Some("order-17"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// The payload, opaque to unistream.
    pub data: &'a [u8],
    /// The record's own id. Left out, it is the buffer's id and the sequence number.
    pub id: Option<&'a str>,
    /// The partition key, for sinks that have partitions.
    pub key: Option<&'a [u8]>,
    /// Microseconds since the Unix epoch, UTC, in the years 1 to 9999 ([`CREATED_AT`](crate::limits::CREATED_AT)). Left out, it is the time of
    /// `put` as the kernel's coarse clock has it (a resolution of about 4 ms).
    pub created_at: Option<i64>,
}

impl<'a> NewRecord<'a> {
    /// A record with this payload and nothing else.
    pub const fn new(data: &'a [u8]) -> Self {
        NewRecord { data, id: None, key: None, created_at: None }
    }

    /// Sets the record's own id.
    pub const fn id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the partition key.
    pub const fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the time of creation, in microseconds since the Unix epoch.
    pub const fn created_at(mut self, micros: i64) -> Self {
        self.created_at = Some(micros);
        self
    }
}

impl<'a> From<&'a [u8]> for NewRecord<'a> {
    fn from(data: &'a [u8]) -> Self {
        NewRecord::new(data)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for NewRecord<'a> {
    fn from(data: &'a [u8; N]) -> Self {
        NewRecord::new(data)
    }
}

impl<'a> From<&'a Vec<u8>> for NewRecord<'a> {
    fn from(data: &'a Vec<u8>) -> Self {
        NewRecord::new(data)
    }
}

impl<'a> From<&'a str> for NewRecord<'a> {
    fn from(text: &'a str) -> Self {
        NewRecord::new(text.as_bytes())
    }
}

impl<'a> From<&'a String> for NewRecord<'a> {
    fn from(text: &'a String) -> Self {
        NewRecord::new(text.as_bytes())
    }
}

/// A record that the buffer holds, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The sequence number: it rises with every record of this buffer and is never used again.
    pub seq: u64,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at: i64,
    /// The partition key, if one was put.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub data: &'a [u8],
    pub(crate) own_id: Option<&'a str>,
    pub(crate) buffer_id: u64,
}

impl<'a> Record<'a> {
    /// The id that was put, else `<buffer id>-<seq>`, which no other record has.
    pub fn id(&self) -> Cow<'a, str> {
        match self.own_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{:016x}-{}", self.buffer_id, self.seq)),
        }
    }

    /// The id only if the caller gave one.
    pub fn own_id(&self) -> Option<&'a str> {
        self.own_id
    }

    /// The same record as something to put again (a replay keeps its id, key and time).
    pub fn to_new(&self) -> NewRecord<'a> {
        NewRecord { data: self.data, id: self.own_id, key: self.key, created_at: Some(self.created_at) }
    }
}
