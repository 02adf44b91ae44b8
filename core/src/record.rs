//! What is put and what comes out: [`NewRecord`] and [`Record`].

use std::borrow::Cow;

use crate::attributes::{Attributes, Headers};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

/// The longest `id` or `key`, in bytes: their lengths are 16-bit fields of the log.
pub const MAX_ID_BYTES: usize = u16::MAX as usize;
/// The longest id that a buffer gives to a record without one: `<buffer id>-<seq>`.
pub const MAX_OWN_ID_BYTES: usize = 16 + 1 + 20;

/// The longest topic, in bytes: as long as a key of S3 can be. What a topic may be beside that is for the sink to say: Kafka
/// takes 249 bytes of letters, digits, `.`, `_` and `-`.
pub const MAX_TOPIC_BYTES: usize = 1024;
/// The most headers of a record: as many fields as a request to the Apache HTTP server may have, and a message of Google Pub/Sub
/// attributes.
pub const MAX_HEADERS: usize = 100;
/// The longest name of a header, in bytes: as of an attribute of Google Pub/Sub.
pub const MAX_HEADER_NAME_BYTES: usize = 256;
/// The most bytes that names and values of a record's headers have together: what nginx takes of a request (four buffers of 8 KiB).
pub const MAX_HEADERS_BYTES: usize = 32 << 10;

/// The first and the last microsecond that `created_at` and `expires_at` may be: the years 1 to 9999, which every language's dates hold.
pub const CREATED_AT: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The error for a time out of range, with a guess at the reason: most often it is in another unit.
#[cold]
pub(crate) fn no_date(field: &str, micros: i64) -> Error {
    // The years 2000 to 2100.
    let is_likely = |micros: i64| (946_684_800_000_000..4_102_444_800_000_000).contains(&micros);
    let guess = if is_likely(micros / 1000) {
        "; it looks like a thousand times too much: nanoseconds in place of microseconds, or milliseconds in place of seconds"
    } else if is_likely(micros / 1_000_000) {
        "; it looks like a million times too much: microseconds in place of seconds"
    } else {
        ""
    };
    let message = format!("{field} is {micros} microseconds since 1970, which is not in the years 1 to 9999{guess}");
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
    /// Names with values that travel beside the payload, for sinks that carry them: at most
    /// [`MAX_HEADERS`](crate::limits::MAX_HEADERS), of at most [`MAX_HEADERS_BYTES`](crate::limits::MAX_HEADERS_BYTES)
    /// together.
    pub headers: Headers<'a>,
    /// Where within the sink: a topic, subject, stream or path, as the sink has it. Left out, it is the sink's own.
    pub topic: Option<&'a str>,
    /// Microseconds since the Unix epoch, UTC, from when on the record is of no use to anybody; in the years 1 to 9999. Left out,
    /// it never expires.
    pub expires_at: Option<i64>,
}

impl<'a> NewRecord<'a> {
    /// A record with this payload and nothing else.
    pub const fn new(data: &'a [u8]) -> Self {
        NewRecord { data, id: None, key: None, created_at: None, headers: Headers::NONE, topic: None, expires_at: None }
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

    /// Sets the headers.
    pub fn headers(mut self, headers: impl Into<Headers<'a>>) -> Self {
        self.headers = headers.into();
        self
    }

    /// Sets the topic.
    pub const fn topic(mut self, topic: &'a str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Sets the time of expiry, in microseconds since the Unix epoch.
    pub const fn expires_at(mut self, micros: i64) -> Self {
        self.expires_at = Some(micros);
        self
    }

    #[inline]
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes { topic: self.topic, expires_at: self.expires_at, headers: self.headers }
    }

    /// Whether it carries any of headers, topic and time of expiry.
    #[inline]
    pub(crate) fn has_attributes(&self) -> bool {
        self.topic.is_some() || self.expires_at.is_some() || !self.headers.is_empty()
    }

    /// Whether it is a payload and nothing else.
    #[inline(always)]
    pub(crate) const fn is_payload_alone(&self) -> bool {
        self.id.is_none()
            && self.key.is_none()
            && self.created_at.is_none()
            && self.topic.is_none()
            && self.expires_at.is_none()
            && self.headers.is_empty()
    }

    /// The attributes, unless one of them can never be put.
    #[cold]
    pub(crate) fn checked_attributes(&self) -> Result<Attributes<'a>> {
        let too_large = |message: String| Err(Error::new(ErrorKind::RecordTooLarge, message));
        if let Some(expires_at) = self.expires_at.filter(|expires_at| !CREATED_AT.contains(expires_at)) {
            return Err(no_date("expires_at", expires_at));
        }
        if let Some(topic) = self.topic {
            if topic.len() > MAX_TOPIC_BYTES {
                return too_large(format!("a topic of {} bytes is longer than {MAX_TOPIC_BYTES}", topic.len()));
            }
            check_name("a topic", topic)?;
        }
        let (mut count, mut bytes) = (0, 0);
        for (name, value) in self.headers {
            (count, bytes) = (count + 1, bytes + name.len() + value.len());
            if name.len() > MAX_HEADER_NAME_BYTES {
                let limit = MAX_HEADER_NAME_BYTES;
                return too_large(format!("the name of header {count} has {} bytes, more than {limit}", name.len()));
            }
            check_name("the name of a header", name)?;
        }
        if count > MAX_HEADERS {
            return too_large(format!("a record has {count} headers, more than {MAX_HEADERS}"));
        }
        if bytes > MAX_HEADERS_BYTES {
            return too_large(format!("the headers of a record have {bytes} bytes, more than {MAX_HEADERS_BYTES}"));
        }
        Ok(self.attributes())
    }
}

/// Names go into requests of all kinds, where a line break or a NUL would begin something else.
fn check_name(what: &str, name: &str) -> Result<()> {
    let message = if name.is_empty() {
        format!("{what} is empty; leave it out")
    } else if name.chars().any(char::is_control) {
        format!("{what} has a control character: {name:?}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, message))
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
    /// The headers that were put.
    pub headers: Headers<'a>,
    /// Where within the sink, if that was put.
    pub topic: Option<&'a str>,
    /// Microseconds since the Unix epoch, UTC, from when on it is of no use, if that was put.
    pub expires_at: Option<i64>,
    pub(crate) own_id: Option<&'a str>,
    pub(crate) buffer_id: u64,
}

impl<'a> Record<'a> {
    pub(crate) fn of(frame: &Frame<'a>, buffer_id: u64) -> Record<'a> {
        // Whatever another program wrote there, the times are such as every language's dates can hold.
        let date = |micros: i64| micros.clamp(*CREATED_AT.start(), *CREATED_AT.end());
        let Attributes { topic, expires_at, headers } = frame.attributes;
        Record {
            seq: frame.seq,
            created_at: date(frame.created_at),
            key: frame.key,
            data: frame.data,
            headers,
            topic,
            expires_at: expires_at.map(date),
            own_id: frame.id,
            buffer_id,
        }
    }

    /// A record that says nothing of itself.
    pub(crate) fn nothing(data: &'a [u8], buffer_id: u64) -> Record<'a> {
        Record {
            seq: 0,
            created_at: 0,
            key: None,
            data,
            headers: Headers::NONE,
            topic: None,
            expires_at: None,
            own_id: None,
            buffer_id,
        }
    }

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

    /// The same record as something to put again (a replay keeps all that was put with it).
    pub fn to_new(&self) -> NewRecord<'a> {
        NewRecord {
            data: self.data,
            id: self.own_id,
            key: self.key,
            created_at: Some(self.created_at),
            headers: self.headers,
            topic: self.topic,
            expires_at: self.expires_at,
        }
    }
}
