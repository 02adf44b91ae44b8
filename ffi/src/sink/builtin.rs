//! The engine's own sinks.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use engine::sink::{FileSink, Framing, NullSink};

use super::unistream_sink;
use crate::boundary::{boundary, invalid, required, text};
use crate::constants::{UNISTREAM_FILE_LENGTH_PREFIXED, UNISTREAM_FILE_SYNC};
use crate::error::unistream_error;

/// Makes a sink that appends every payload to the file `path`, with a line feed after each; the file is created if
/// there is none. Beside it a small file with `.unistream` in its name remembers how far it was written, so that a
/// crash neither tears a record nor writes it twice.
///
/// `flags`: 0, or the sum of `UNISTREAM_FILE_LENGTH_PREFIXED` and `UNISTREAM_FILE_SYNC`.
///
/// Writes the sink to `sink` on success.
/// Errors: `UNISTREAM_INVALID_ARGUMENT`, `UNISTREAM_IO`, `UNISTREAM_DISK_FULL`, `UNISTREAM_IN_USE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_file(
    path: *const c_char,
    flags: u32,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    boundary(|| {
        let out = required(sink, "sink")?;
        if flags & !(UNISTREAM_FILE_LENGTH_PREFIXED | UNISTREAM_FILE_SYNC) != 0 {
            return Err(invalid(format!("flags is {flags:#x}, of which this version knows only 0x3")));
        }
        let framing =
            if flags & UNISTREAM_FILE_LENGTH_PREFIXED != 0 { Framing::LengthPrefixed } else { Framing::Lines };
        // SAFETY: the contract: a C string that lives for the call.
        let file = FileSink::create(unsafe { text(path, "path") }?)?;
        out.write(unistream_sink::boxed(file.framing(framing).sync(flags & UNISTREAM_FILE_SYNC != 0)));
        Ok(())
    })
}

/// Makes a sink that takes everything and keeps nothing: for measuring what comes before it.
///
/// Writes the sink to `sink`. Errors: `UNISTREAM_INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_sink_null(
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    boundary(|| {
        required(sink, "sink")?.write(unistream_sink::boxed(NullSink));
        Ok(())
    })
}
