//! How a command ends: the ONE table of exit codes, and the failures that lead to them.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use unistream::ErrorKind;

use crate::text;

/// Done.
pub(crate) const OK: u8 = 0;
/// An error of any other kind.
pub(crate) const FAILED: u8 = 1;
/// The command line, an option or a URL is wrong.
pub(crate) const USAGE: u8 = 2;
/// Records are left in the buffer.
pub(crate) const LEFT: u8 = 3;
/// The buffer is damaged.
pub(crate) const DAMAGED: u8 = 4;
/// Another process has the buffer.
pub(crate) const IN_USE: u8 = 5;
/// There is no such buffer or dead letter.
pub(crate) const NOT_FOUND: u8 = 6;
/// There are dead letters.
pub(crate) const DEAD: u8 = 7;
/// Records were lost.
pub(crate) const LOST: u8 = 8;
/// Something is wrong with the buffer.
pub(crate) const UNWELL: u8 = 9;
/// A line of the input is no record: `EX_DATAERR` of sysexits.h.
pub(crate) const BAD_LINE: u8 = 65;
/// Plus the number of the signal.
pub(crate) const STOPPED: u8 = 128;

/// Every exit code with its meaning, in the order of the help, the man pages and the guide.
pub const TABLE: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "an error; the message says which"),
    ("2", "the command line, an option or the URL of a sink is wrong"),
    ("3", "records are left (put --to, drain); the same command again goes on"),
    ("4", "the buffer is damaged (verify)"),
    ("5", "another process has the buffer, or does not answer"),
    ("6", "there is no such buffer or dead letter"),
    ("7", "all is sent, but there are dead letters, of any run (put --to, drain)"),
    ("8", "records may be lost: the run found damage in the log (put, drain)"),
    ("9", "something is wrong, and the output says what (doctor)"),
    ("65", "a line of the input is no record (put)"),
    ("128+N", "stopped by signal N, as 130 for Ctrl-C; what was put is safe"),
];

/// Why a command does not go on.
#[derive(Debug)]
pub(crate) enum Error {
    /// It ends with this code and this sentence.
    Failure(Failure),
    /// A signal says to stop.
    Stopped(i32),
    /// Whoever read the output has seen enough.
    BrokenPipe,
}

/// What a command ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// One sentence for a person.
    pub(crate) message: String,
    /// More for those who ask for it by `UNISTREAM_TRACEBACK`.
    pub(crate) detail: String,
}

impl Failure {
    /// A failure with a code of the table.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), detail: String::new() }
    }
}

impl Error {
    /// A failure with a code of the table.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Error {
        Error::Failure(Failure::new(code, message))
    }

    /// A failing file or stream, by its name.
    pub(crate) fn io(name: impl fmt::Display, error: &io::Error) -> Error {
        Error::new(FAILED, format!("{name}: {}", text::os_message(error)))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failure(failure)
    }
}

impl From<unistream::Error> for Error {
    fn from(error: unistream::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InUse | ErrorKind::Timeout => IN_USE,
            ErrorKind::NotFound => NOT_FOUND,
            ErrorKind::InvalidArgument => USAGE,
            _ => FAILED,
        };
        Error::Failure(Failure { code, message: error.to_string(), detail: causes(&error) })
    }
}

/// What an error was caused by, a cause a line.
pub(crate) fn causes(error: &dyn StdError) -> String {
    let mut said = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        said.push_str(&format!("caused by: {cause}\n"));
        next = cause.source();
    }
    said
}
