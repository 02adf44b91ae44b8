//! The record, one of the two public structures.

use std::ffi::{c_char, c_void};
use std::ops::RangeInclusive;
use std::ptr;

use engine::{NewRecord, Record, Result};

use crate::arguments::{bytes, invalid};

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
}

/// The sizes that a program can have set: from the structure as version 0.2 has it to more than any will have. Any
/// other was never initialised.
const SIZES: RangeInclusive<usize> = size_of::<unistream_record>()..=4096;

impl unistream_record {
    /// The record to put.
    ///
    /// # Safety
    /// `record` points to a record of the size that it says, whose pointers live for `'a`.
    #[inline]
    pub(crate) unsafe fn to_new<'a>(record: *const unistream_record) -> Result<NewRecord<'a>> {
        Self::check(record)?;
        // SAFETY: not NULL, aligned, and our caller promises a size, so at least these fields are there.
        let record = unsafe { &*record };
        if !SIZES.contains(&record.size) {
            return Err(invalid(format!("record.size is {}; set it to sizeof(unistream_record)", record.size)));
        }
        // SAFETY: our caller promises what the pointers point to.
        let (data, key, id) = unsafe {
            (
                bytes(record.data, record.data_length, "record.data")?,
                bytes(record.key, record.key_length, "record.key")?,
                bytes(record.id.cast(), record.id_length, "record.id")?,
            )
        };
        let id =
            id.map(str::from_utf8).transpose().map_err(|error| invalid(format!("record.id is not UTF-8: {error}")))?;
        let created_at = Some(record.created_at).filter(|created_at| *created_at != 0);
        Ok(NewRecord { data: data.unwrap_or_default(), id, key, created_at })
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

    /// Shows a record of a batch. False if the program's structure has no room for it.
    pub(crate) fn show(&mut self, record: &Record<'_>) -> bool {
        let size = self.size;
        if !SIZES.contains(&size) {
            return false;
        }
        let id = record.own_id();
        *self = unistream_record {
            size,
            data: record.data.as_ptr().cast(),
            data_length: record.data.len(),
            key: record.key.map_or(ptr::null(), |key| key.as_ptr().cast()),
            key_length: record.key.map_or(0, <[u8]>::len),
            id: id.map_or(ptr::null(), |id| id.as_ptr().cast()),
            id_length: id.map_or(0, str::len),
            created_at: record.created_at,
            seq: record.seq,
        };
        true
    }
}
