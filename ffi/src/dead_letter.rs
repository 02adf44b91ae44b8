//! Dead letters: list, read, delete.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use engine::{DeadLetter, DeadLetters};

use crate::arguments::{path, required, text};
use crate::batch::unistream_batch;
use crate::error::{fallible, unistream_error};
use crate::panics::infallible;
use crate::text::c_text;

/// The dead letters of a buffer as they were when this list was made, oldest first. Immutable; any thread may read it.
pub struct unistream_dead_letters {
    directory: DeadLetters,
    letters: Vec<unistream_dead_letter>,
}

/// A batch, or single records of one, that was given up on, with the reasons. Belongs to its list; immutable.
pub struct unistream_dead_letter {
    letter: DeadLetter,
    id: CString,
    sink: CString,
    errors: Vec<CString>,
    reasons: Vec<CString>,
}

impl unistream_dead_letters {
    pub(crate) fn list(directory: DeadLetters) -> engine::Result<Box<Self>> {
        let letters = directory.list()?.into_iter().map(unistream_dead_letter::from).collect();
        Ok(Box::new(unistream_dead_letters { directory, letters }))
    }
}

impl From<DeadLetter> for unistream_dead_letter {
    fn from(letter: DeadLetter) -> Self {
        unistream_dead_letter {
            id: c_text(&*letter.id),
            sink: c_text(&*letter.sink),
            errors: letter.errors.iter().map(|error| c_text(&**error)).collect(),
            reasons: letter.records.iter().map(|record| c_text(&*record.reason)).collect(),
            letter,
        }
    }
}

/// Lists the dead letters of the buffer in the directory `buffer_path`, whether a producer has it open or not. A
/// program that has it open can ask its producer: `unistream_producer_dead_letters()`.
///
/// Writes the list to `letters` on success; free it with `unistream_dead_letters_free()`.
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, `UNISTREAM_ERROR_IO`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_dead_letters_open(
    buffer_path: *const c_char,
    letters: Option<&mut MaybeUninit<Option<Box<unistream_dead_letters>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let out = required(letters, "letters")?;
        // SAFETY: the contract: a C string that lives for the call.
        let path = unsafe { path(buffer_path, "buffer_path") }?;
        out.write(Some(unistream_dead_letters::list(DeadLetters::open(path))?));
        Ok(())
    })
}

/// How many letters the list has.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letters_count(letters: Option<&unistream_dead_letters>) -> usize {
    letters.map_or(0, |letters| letters.letters.len())
}

/// Letter `index`, counted from 0; NULL behind the last one. It lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letters_get(
    letters: Option<&unistream_dead_letters>,
    index: usize,
) -> Option<&unistream_dead_letter> {
    infallible(|| letters.and_then(|letters| letters.letters.get(index)))
}

/// Deletes a letter from the disk, records and all, also those that were added since it was listed. The list stays as
/// it is.
///
/// Errors: `UNISTREAM_ERROR_NOT_FOUND`, `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_dead_letters_delete(
    letters: Option<&unistream_dead_letters>,
    id: *const c_char,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let letters = required(letters, "letters")?;
        // SAFETY: the contract: a C string that lives for the call.
        letters.directory.delete(unsafe { text(id, "id") }?)
    })
}

/// Frees a list and the letters in it. Nothing on the disk changes. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letters_free(letters: Option<Box<unistream_dead_letters>>) {
    infallible(|| drop(letters));
}

/// The letter's id, by which it is replayed and deleted. The text lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_id(letter: Option<&unistream_dead_letter>) -> *const c_char {
    letter.map_or(ptr::null(), |letter| letter.id.as_ptr())
}

/// The name of the sink that did not take it. The text lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_sink(letter: Option<&unistream_dead_letter>) -> *const c_char {
    letter.map_or(ptr::null(), |letter| letter.sink.as_ptr())
}

/// How many attempts were made that counted.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_attempts(letter: Option<&unistream_dead_letter>) -> u32 {
    letter.map_or(0, |letter| letter.letter.attempts)
}

/// When the first attempt was made: microseconds since 1970-01-01, UTC.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_first_attempt(letter: Option<&unistream_dead_letter>) -> i64 {
    letter.map_or(0, |letter| letter.letter.first_attempt)
}

/// When the last attempt was made: microseconds since 1970-01-01, UTC.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_last_attempt(letter: Option<&unistream_dead_letter>) -> i64 {
    letter.map_or(0, |letter| letter.letter.last_attempt)
}

/// When it became a dead letter: microseconds since 1970-01-01, UTC.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_created_at(letter: Option<&unistream_dead_letter>) -> i64 {
    letter.map_or(0, |letter| letter.letter.created_at)
}

/// The disk that it takes, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_bytes(letter: Option<&unistream_dead_letter>) -> u64 {
    letter.map_or(0, |letter| letter.letter.bytes)
}

/// The errors that led here, `index` counted from 0; NULL behind the last one. The text lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_error(letter: Option<&unistream_dead_letter>, index: usize) -> *const c_char {
    infallible(|| letter.and_then(|letter| letter.errors.get(index)).map_or(ptr::null(), |error| error.as_ptr()))
}

/// Why record `index`, counted from 0 as in `unistream_dead_letter_batch()`, is here; NULL behind the last one. The
/// text lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_reason(letter: Option<&unistream_dead_letter>, index: usize) -> *const c_char {
    infallible(|| letter.and_then(|letter| letter.reasons.get(index)).map_or(ptr::null(), |reason| reason.as_ptr()))
}

/// Whether the sink rejected record `index`, rather than failing until the attempts were used up.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_is_rejected(letter: Option<&unistream_dead_letter>, index: usize) -> bool {
    infallible(|| letter.and_then(|letter| letter.letter.records.get(index)).is_some_and(|record| record.rejected))
}

/// Reads the records of a letter from the disk.
///
/// Writes them to `batch` on success; free it with `unistream_batch_free()`. Errors: `UNISTREAM_ERROR_NOT_FOUND` if
/// the letter was deleted meanwhile, `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_dead_letter_batch(
    letter: Option<&unistream_dead_letter>,
    batch: Option<&mut MaybeUninit<Option<Box<unistream_batch<'static>>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let (letter, out) = (required(letter, "letter")?, required(batch, "batch")?);
        out.write(Some(Box::new(unistream_batch::owned(letter.letter.batch()?))));
        Ok(())
    })
}
