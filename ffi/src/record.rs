//! The record and its headers: public structures.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ops::RangeInclusive;
use std::ptr;

use engine::limits::MAX_HEADERS;
use engine::{Error, ErrorKind, Headers, NewRecord, Record, Result};

use crate::arguments::{bytes, invalid};

/// A header of a record: a name with a value. A public structure that never changes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unistream_header {
    /// The name, UTF-8 without control characters, not NUL-terminated; 1 to 256 bytes.
    pub name: *const c_char,
    /// Bytes of the name.
    pub name_length: usize,
    /// The value. May be NULL if `value_length` is 0.
    pub value: *const c_void,
    /// Bytes of the value.
    pub value_length: usize,
}

// SAFETY: it is a view of bytes that nobody writes, and of itself it does nothing with them.
unsafe impl Send for unistream_header {}
// SAFETY: as above.
unsafe impl Sync for unistream_header {}

/// Names with values, as the engine takes them.
pub(crate) type Pair<'a> = (&'a str, &'a [u8]);

impl unistream_header {
    fn of((name, value): Pair<'_>) -> unistream_header {
        unistream_header {
            name: name.as_ptr().cast(),
            name_length: name.len(),
            value: value.as_ptr().cast(),
            value_length: value.len(),
        }
    }

    /// The headers of a record, to be kept as long as it is shown.
    pub(crate) fn all_of(record: &Record<'_>) -> Box<[unistream_header]> {
        record.headers.iter().map(unistream_header::of).collect()
    }
}

/// A record: what is put, and what a batch holds. A public structure; begin with `UNISTREAM_RECORD_INIT`, or zero it
/// and set `size`. Later versions may add fields at its end, never change these.
///
/// On the way out everything points into the batch and lives as long as it does.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unistream_record {
    /// `sizeof(unistream_record)`: the version of the structure that the program knows.
    pub size: usize,
    /// The payload, opaque to unistream. May be NULL if `data_length` is 0.
    pub data: *const c_void,
    /// Bytes of payload.
    pub data_length: usize,
    /// The partition key, for sinks that have partitions; NULL: none. At most 65535 bytes.
    pub key: *const c_void,
    /// Bytes of the key.
    pub key_length: usize,
    /// The record's own id, UTF-8, not NUL-terminated; NULL: none was given, and
    /// `unistream_batch_record_id()` makes one of the buffer and the sequence number. At most 65535 bytes.
    pub id: *const c_char,
    /// Bytes of the id.
    pub id_length: usize,
    /// Microseconds since 1970-01-01, UTC, in the years 1 to 9999. 0 on the way in: the time of the put, to about 4 ms.
    pub created_at: i64,
    /// The sequence number: it rises with every record of a buffer and is never used again. Ignored on the way in.
    pub seq: u64,
    /// Names with values that travel beside the payload, for sinks that carry them; NULL: none. At most 100, of at most
    /// 32768 bytes together. A name may come more than once.
    pub headers: *const unistream_header,
    /// How many headers.
    pub header_count: usize,
    /// Where within the sink: a topic, subject, stream or path, as the sink has it. UTF-8 without control characters, not
    /// NUL-terminated; NULL: the sink's own. 1 to 1024 bytes.
    pub topic: *const c_char,
    /// Bytes of the topic.
    pub topic_length: usize,
    /// Microseconds since 1970-01-01, UTC, from when on the record is of no use to anybody, in the years 1 to 9999. 0: never.
    pub expires_at: i64,
}

/// The structure as programs have it that were compiled before `headers` came behind `seq`.
const FIRST: usize = offset_of!(unistream_record, headers);
const WHOLE: usize = size_of::<unistream_record>();
/// The sizes that a program can have set: from the first structure to more than any will have. Any other was never
/// initialised.
const SIZES: RangeInclusive<usize> = FIRST..=4096;

impl unistream_record {
    /// The fields that the program's structure has; the others are zero.
    ///
    /// # Safety
    /// `record` points to a record of the size that it says.
    #[inline]
    unsafe fn read(record: *const unistream_record) -> Result<unistream_record> {
        Self::check(record)?;
        // SAFETY: not NULL, aligned, and every record begins with its size.
        let size = unsafe { (*record).size };
        if size >= WHOLE && SIZES.contains(&size) {
            // SAFETY: our caller promises a size, so all of these fields are there.
            return Ok(unsafe { *record });
        }
        if !SIZES.contains(&size) {
            return Err(invalid(format!("record.size is {size}; set it to sizeof(unistream_record)")));
        }
        let mut read = unistream_record {
            size,
            data: ptr::null(),
            data_length: 0,
            key: ptr::null(),
            key_length: 0,
            id: ptr::null(),
            id_length: 0,
            created_at: 0,
            seq: 0,
            headers: ptr::null(),
            header_count: 0,
            topic: ptr::null(),
            topic_length: 0,
            expires_at: 0,
        };
        // SAFETY: our caller promises `size` bytes, which are at least the first fields; they are plain numbers and pointers.
        unsafe { ptr::copy_nonoverlapping(record.cast::<u8>(), (&raw mut read).cast(), FIRST) };
        Ok(read)
    }

    /// Calls `put` with the record to put.
    ///
    /// # Safety
    /// `record` points to a record of the size that it says, whose pointers live for the call.
    #[inline]
    pub(crate) unsafe fn with_new<T>(
        record: *const unistream_record,
        put: impl FnOnce(NewRecord<'_>) -> Result<T>,
    ) -> Result<T> {
        // SAFETY: our caller promises it.
        let read = unsafe { Self::read(record) }?;
        if read.header_count > 0 || !read.headers.is_null() {
            // On the stack: a put allocates nothing.
            let mut pairs: [Pair<'_>; MAX_HEADERS] = [("", &[]); MAX_HEADERS];
            let mut count = 0;
            // SAFETY: our caller promises it.
            unsafe {
                read.each_header(|pair| {
                    pairs[count] = pair;
                    count += 1;
                })
            }?;
            // SAFETY: our caller promises it.
            return put(unsafe { read.new_with(Headers::from(&pairs[..count])) }?);
        }
        // SAFETY: our caller promises it.
        put(unsafe { read.new_with(Headers::NONE) }?)
    }

    /// # Safety
    /// The pointers are what the fields say, and live for `'a`.
    #[inline]
    unsafe fn new_with<'a>(&self, headers: Headers<'a>) -> Result<NewRecord<'a>> {
        let record = self;
        // SAFETY: our caller promises what the pointers point to.
        let (data, key, id, topic) = unsafe {
            (
                bytes(record.data, record.data_length, "record.data")?,
                bytes(record.key, record.key_length, "record.key")?,
                bytes(record.id.cast(), record.id_length, "record.id")?,
                bytes(record.topic.cast(), record.topic_length, "record.topic")?,
            )
        };
        let given = |micros: i64| Some(micros).filter(|micros| *micros != 0);
        Ok(NewRecord {
            data: data.unwrap_or_default(),
            id: id.map(|id| text(id, "record.id")).transpose()?,
            key,
            created_at: given(record.created_at),
            headers,
            topic: topic.map(|topic| text(topic, "record.topic")).transpose()?,
            expires_at: given(record.expires_at),
        })
    }

    /// # Safety
    /// As of [`new_with`](Self::new_with).
    unsafe fn each_header<'a>(&self, mut each: impl FnMut(Pair<'a>)) -> Result<()> {
        let count = self.header_count;
        if self.headers.is_null() {
            let message = format!("record.headers is NULL, record.header_count is {count}");
            return if count == 0 { Ok(()) } else { Err(invalid(message)) };
        }
        if count > MAX_HEADERS {
            let message = format!("a record has {count} headers, more than {MAX_HEADERS}");
            return Err(Error::new(ErrorKind::RecordTooLarge, message));
        }
        if !self.headers.is_aligned() {
            return Err(invalid("record.headers is not aligned"));
        }
        for index in 0..count {
            // SAFETY: not NULL, aligned, and our caller promises so many headers and what they point to.
            let (name, value) = unsafe {
                let header = *self.headers.add(index);
                (
                    bytes(header.name.cast(), header.name_length, "header.name")?,
                    bytes(header.value, header.value_length, "header.value")?,
                )
            };
            each((text(name.unwrap_or_default(), "header.name")?, value.unwrap_or_default()));
        }
        Ok(())
    }

    fn check(record: *const unistream_record) -> Result<()> {
        if record.is_null() {
            return Err(invalid("record is NULL"));
        }
        if !record.is_aligned() {
            return Err(invalid("record is not aligned"));
        }
        Ok(())
    }

    /// The distance from one record to the next in an array, as its first one says.
    ///
    /// # Safety
    /// `records` is NULL or points to a record.
    pub(crate) unsafe fn stride(records: *const unistream_record) -> Result<usize> {
        Self::check(records)?;
        // SAFETY: not NULL, aligned, and our caller promises a record.
        let stride = unsafe { (*records).size };
        if !SIZES.contains(&stride) || stride % align_of::<unistream_record>() != 0 {
            return Err(invalid(format!("records[0].size is {stride}; set it to sizeof(unistream_record)")));
        }
        Ok(stride)
    }

    /// Shows a record of a batch in the program's structure, with what `headers` gives, as far as that has room. False if it
    /// was never initialised.
    ///
    /// # Safety
    /// `to` points to a record of the size that it says, which is the caller's to write.
    pub(crate) unsafe fn show<'a>(
        to: *mut unistream_record,
        record: &Record<'_>,
        headers: impl FnOnce() -> &'a [unistream_header],
    ) -> bool {
        // SAFETY: every record begins with its size, and our caller promises one.
        let size = unsafe { (*to).size };
        if !SIZES.contains(&size) {
            return false;
        }
        let known = if size >= WHOLE { WHOLE } else { FIRST };
        let headers = if known == WHOLE && !record.headers.is_empty() { headers() } else { &[] };
        let id = record.own_id();
        let shown = unistream_record {
            size,
            data: record.data.as_ptr().cast(),
            data_length: record.data.len(),
            key: record.key.map_or(ptr::null(), |key| key.as_ptr().cast()),
            key_length: record.key.map_or(0, <[u8]>::len),
            id: id.map_or(ptr::null(), |id| id.as_ptr().cast()),
            id_length: id.map_or(0, str::len),
            created_at: record.created_at,
            seq: record.seq,
            headers: if headers.is_empty() { ptr::null() } else { headers.as_ptr() },
            header_count: headers.len(),
            topic: record.topic.map_or(ptr::null(), |topic| topic.as_ptr().cast()),
            topic_length: record.topic.map_or(0, str::len),
            expires_at: record.expires_at.unwrap_or(0),
        };
        // SAFETY: our caller promises `size` bytes to write, and `known` are no more.
        unsafe { ptr::copy_nonoverlapping((&raw const shown).cast::<u8>(), to.cast(), known) };
        true
    }
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    str::from_utf8(bytes).map_err(|error| invalid(format!("{name} is not UTF-8: {error}")))
}
