//! Batches as C sees them.

use std::borrow::Cow;
use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use engine::Batch;

use crate::panics::infallible;
use crate::record::{unistream_header, unistream_record};
use crate::text::c_text;

/// Consecutive records on their way to a sink, shown where they lie in the log. Immutable: any threads may read it at
/// once, for as long as it lives. In a forked child it is empty, and what pointers of before point to is unspecified.
pub struct unistream_batch<'a> {
    pub(crate) batch: Cow<'a, Batch>,
    id: OnceLock<CString>,
    /// Of each record, once they are asked for: a record's frame has no such array.
    headers: OnceLock<Vec<Box<[unistream_header]>>>,
    /// What the program kept with it in manual mode.
    pub(crate) memo: OnceLock<Vec<u8>>,
}

impl<'a> unistream_batch<'a> {
    pub(crate) fn borrowed(batch: &'a Batch) -> Self {
        unistream_batch::of(Cow::Borrowed(batch))
    }

    pub(crate) fn owned(batch: Batch) -> unistream_batch<'static> {
        unistream_batch::of(Cow::Owned(batch))
    }

    fn of(batch: Cow<'_, Batch>) -> unistream_batch<'_> {
        unistream_batch { batch, id: OnceLock::new(), headers: OnceLock::new(), memo: OnceLock::new() }
    }

    /// The headers of record `index`, which is there.
    fn headers(&self, index: usize) -> &[unistream_header] {
        let all = || self.batch.iter().map(|record| unistream_header::all_of(&record)).collect();
        self.headers.get_or_init(all).get(index).map_or(&[], |headers| headers)
    }
}

/// The batch's id: no other batch has it, and it stays the same across retries and restarts, so that a target can
/// recognise what it has already. The text lives as long as the batch. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_id(batch: Option<&unistream_batch<'_>>) -> *const c_char {
    infallible(|| {
        let Some(view) = batch else { return ptr::null() };
        // In a forked child nothing is waited for: another thread of the parent may have been making it.
        match view.id.get() {
            None if view.batch.is_forked() => c"".as_ptr(),
            _ => view.id.get_or_init(|| c_text(view.batch.id())).as_ptr(),
        }
    })
}

/// How many records it holds. Those that the sink took or rejected in an earlier attempt are no longer in it.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_count(batch: Option<&unistream_batch<'_>>) -> usize {
    batch.map_or(0, |view| view.batch.len())
}

/// Whether somebody waits for what the sink says of a record, see `unistream_report_receipt()`.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_wants_receipts(batch: Option<&unistream_batch<'_>>) -> bool {
    batch.is_some_and(|view| view.batch.wants_receipts())
}

/// The sequence number of the first record that the batch was made of.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_first_seq(batch: Option<&unistream_batch<'_>>) -> u64 {
    batch.map_or(0, |view| view.batch.first_seq())
}

/// The sequence number of the last record that the batch was made of.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_last_seq(batch: Option<&unistream_batch<'_>>) -> u64 {
    batch.map_or(0, |view| view.batch.last_seq())
}

/// The number of this attempt, from 1, counting those that count.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_attempt(batch: Option<&unistream_batch<'_>>) -> u32 {
    batch.map_or(0, |view| view.batch.attempt())
}

/// The memo that the sink's `prepare` kept with the batch, or `unistream_producer_keep_memo()` in mode manual, and its length
/// in `length`; NULL and 0 if there is none. It lives as long as the batch.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_memo(
    batch: Option<&unistream_batch<'_>>,
    length: Option<&mut MaybeUninit<usize>>,
) -> *const c_void {
    let memo = batch.and_then(|view| view.batch.memo().or_else(|| view.memo.get().map(Vec::as_slice)));
    if let Some(length) = length {
        length.write(memo.map_or(0, <[u8]>::len));
    }
    memo.map_or(ptr::null(), |memo| memo.as_ptr().cast())
}

/// Shows record `index`, counted from 0, in put order. Nothing is copied: the pointers live as long as the batch.
///
/// Set `record->size` before, as `UNISTREAM_RECORD_INIT` does. Returns false, and writes nothing, behind the last
/// record, for NULL, and for a size that is not set; so a loop needs no more than
///
///     for (size_t i = 0; unistream_batch_record(batch, i, &record); i++)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_batch_record(
    batch: Option<&unistream_batch<'_>>,
    index: usize,
    record: *mut unistream_record,
) -> bool {
    infallible(|| {
        let Some((view, found)) = batch.and_then(|view| view.batch.get(index).map(|found| (view, found))) else {
            return false;
        };
        // SAFETY: the contract: a record of the size that it says. A program's structure may be shorter than ours.
        !record.is_null() && unsafe { unistream_record::show(record, &found, || view.headers(index)) }
    })
}

/// Copies the id of record `index`: the one that was put, else `<buffer id>-<seq>`, which no other record has.
///
/// Writes at most `capacity` bytes, the closing NUL included, to `buffer`, and returns the length of the whole id
/// without the NUL, as snprintf does; 0 if there is no such record. A NULL `buffer` only asks for the length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_batch_record_id(
    batch: Option<&unistream_batch<'_>>,
    index: usize,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    infallible(|| {
        let Some(record) = batch.and_then(|view| view.batch.get(index)) else { return 0 };
        let id = record.id();
        if let (false, Some(room)) = (buffer.is_null(), capacity.checked_sub(1)) {
            let length = id.len().min(room);
            // SAFETY: the contract: `capacity` bytes that are the caller's, and length + 1 are at most that many.
            unsafe {
                ptr::copy_nonoverlapping(id.as_ptr().cast(), buffer, length);
                *buffer.add(length) = 0;
            }
        }
        id.len()
    })
}

/// Frees a batch of `unistream_dead_letter_batch()`, or one of `unistream_producer_next_batch()` without an answer.
/// A batch that was lent to a callback is not the callback's to free. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_batch_free(batch: Option<Box<unistream_batch<'static>>>) {
    infallible(|| drop(batch));
}
