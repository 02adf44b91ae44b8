//! Sinks that the library brings.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use engine::Result;
use engine::sink::{self, FileSink, Framing, NullSink};

use super::unistream_sink;
use crate::arguments::{invalid, optional_text, path, required, text};
use crate::constants::{UNISTREAM_FILE_LENGTH_PREFIXED, UNISTREAM_FILE_SYNC};
use crate::error::{fallible, unistream_error};

/// Makes a sink that appends every payload to the file `path`, with a line feed after each; the file is created if
/// there is none. Beside it a file with `.unistream` behind its name remembers what was written, so that a crash neither
/// tears a record nor writes it twice. The path is followed: when the file is renamed, removed or truncated (logrotate),
/// the next batch goes to the file that is there then. `/dev/stdout`, other devices and named pipes are written to without
/// a sidecar, at least once.
///
/// `flags`: 0, or the sum of `UNISTREAM_FILE_LENGTH_PREFIXED` and `UNISTREAM_FILE_SYNC`. For the other options of the table
/// above (`mode`, `follow_links`): `unistream_sink_open("file", ...)`.
///
/// Writes the sink to `sink` on success.
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` (also for a directory, a socket or a link at that path), `UNISTREAM_ERROR_IO`,
/// `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_IN_USE`, `UNISTREAM_ERROR_NOT_TRUSTED` if others can change the sidecar.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_file(
    path: *const c_char,
    flags: u32,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        let out = required(sink, "sink")?;
        if flags & !(UNISTREAM_FILE_LENGTH_PREFIXED | UNISTREAM_FILE_SYNC) != 0 {
            return Err(invalid(format!("flags is {flags:#x}, of which this version knows only 0x3")));
        }
        let framing =
            if flags & UNISTREAM_FILE_LENGTH_PREFIXED != 0 { Framing::LengthPrefixed } else { Framing::Lines };
        // SAFETY: the contract: a C string that lives for the call.
        let file = FileSink::create(unsafe { self::path(path, "path") }?)?;
        out.write(unistream_sink::boxed(file.framing(framing).sync(flags & UNISTREAM_FILE_SYNC != 0)));
        Ok(())
    })
}

/// Makes a sink that takes everything and keeps nothing: for measuring what comes before it.
///
/// Writes the sink to `sink`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn unistream_sink_null(
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        required(sink, "sink")?.write(unistream_sink::boxed(NullSink));
        Ok(())
    })
}

/// Makes a sink that sends records to a stream of Amazon Kinesis Data Streams: a synonym of
/// `unistream_sink_open("kinesis", options, sink)`.
///
/// `options`: an array of keys and values in turn, with NULL behind the last; the table above lists them. `stream` is
/// needed, and a region there or where the AWS tools look for one, as for all that is left out. Credentials are looked
/// for at the first send; making the sink calls nobody.
///
/// Writes the sink to `sink` on success.
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`; `UNISTREAM_ERROR_IO` for a file that cannot be read; `UNISTREAM_ERROR_UNSUPPORTED` if the
/// library was built without that sink.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_kinesis(
    options: *const *const c_char,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    // SAFETY: the contract is that of `open`.
    fallible(|| unsafe { open("kinesis", options, sink) })
}

/// Makes a sink that sends records to a stream of Amazon CloudWatch Logs. As `unistream_sink_kinesis()`; `group` and
/// `stream` are needed. A synonym of `unistream_sink_open("cloudwatch-logs", options, sink)`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_cloudwatch_logs(
    options: *const *const c_char,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    // SAFETY: the contract is that of `open`.
    fallible(|| unsafe { open("cloudwatch-logs", options, sink) })
}

/// Makes a sink by a URL, such as `file:events.log`, `https://host/path?compression=gzip`,
/// `kinesis://stream?region=eu-central-1` or `cloudwatch-logs://group/stream?create_if_missing=true`, or by the name of its kind:
/// `file`, `null`, `http`, `kinesis`, `cloudwatch-logs`, or what was registered. What follows `?` in a URL are options of the sink, as the table above lists
/// them, divided by `&`; reserved characters are percent-encoded. Secrets are refused there.
///
/// `options`: an array of keys and values in turn, with NULL behind the last; NULL: none. They may come besides those of a
/// URL; an option that is given twice is refused.
///
/// Writes the sink to `sink` on success.
/// Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`; `UNISTREAM_ERROR_UNSUPPORTED` if the library was built without that sink; what the
/// sink itself finds wrong.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_sink_open(
    url_or_kind: *const c_char,
    options: *const *const c_char,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Option<Box<unistream_error>> {
    fallible(|| {
        // SAFETY: the contract: a C string that lives for the call.
        let url_or_kind = unsafe { text(url_or_kind, "url_or_kind") }?;
        // SAFETY: the contract is that of `open`.
        unsafe { open(url_or_kind, options, sink) }
    })
}

/// Makes a sink by a URL or the name of its kind, and by keys and values in turn.
///
/// # Safety
/// `options` is NULL or an array of C strings that live for the call, NULL behind the last.
unsafe fn open(
    url_or_kind: &str,
    options: *const *const c_char,
    sink: Option<&mut MaybeUninit<Option<Box<unistream_sink>>>>,
) -> Result<()> {
    let out = required(sink, "sink")?;
    let mut pairs = Vec::new();
    // SAFETY: C strings that live for the call, NULL behind the last.
    while let Some(key) = unsafe { option(options, 2 * pairs.len()) }? {
        // SAFETY: as above: behind a key stands its value, or the NULL that ends the list.
        let value = unsafe { option(options, 2 * pairs.len() + 1) }?;
        pairs.push((key, value.ok_or_else(|| invalid(format!("option {key} has no value")))?));
    }
    out.write(unistream_sink::boxed(sink::open(url_or_kind, &pairs)?));
    Ok(())
}

/// Entry `index` of an array of C strings that ends with NULL; none of an array that is NULL.
///
/// # Safety
/// No entry before `index` is NULL, and the strings live for `'a`.
unsafe fn option<'a>(options: *const *const c_char, index: usize) -> Result<Option<&'a str>> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: the array goes on at least to its first NULL; our caller promises the rest.
    unsafe { optional_text(*options.add(index), "option") }
}
