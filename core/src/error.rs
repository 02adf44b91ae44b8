//! What happened, and what the caller can do now.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A shared cause: errors are cloned when several callers must hear of the same failure.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Declares [`ErrorKind`]. A row is `Kind = number, name, whether the same call can succeed later;`.
macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $number:literal, $name:literal, $retryable:literal;)+) => {
        /// What went wrong. The numbers are the C codes; 0 is success there and never an error here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorKind {
            $($(#[doc = $doc])* $kind = $number),+
        }

        impl ErrorKind {
            /// Every kind, by its number.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind),+];

            /// The name in the field's usual spelling, as C and the command line print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorKind::$kind => $name),+
                }
            }

            /// Whether the same call can succeed later with nothing changed by the caller.
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(ErrorKind::$kind => $retryable),+
                }
            }
        }
    };
}

error_kinds! {
    /// An argument or option is out of its range. Never retry; correct the call.
    InvalidArgument = 1, "invalid_argument", false;
    /// The record is larger than `max_record_bytes`, a batch, or the sink allows. Never retry.
    RecordTooLarge = 2, "record_too_large", false;
    /// The log has reached `max_buffer_bytes`. Retry when the sink has caught up, or raise the cap.
    BufferFull = 3, "buffer_full", true;
    /// The filesystem has no space. Retry when there is some; nothing that was accepted is touched.
    DiskFull = 4, "disk_full", true;
    /// The disk failed. The buffer refuses further puts; close it and open it again.
    Io = 5, "io", false;
    /// Another producer, of this or another process, has the buffer. Retry when it is closed.
    InUse = 6, "in_use", true;
    /// The producer, buffer or file is closed. Open a new one.
    Closed = 7, "closed", false;
    /// This process is a fork of the one that opened the producer. Open one after the fork.
    Forked = 8, "forked", false;
    /// The log was written by an unknown version. Nothing was touched; use that version.
    UnsupportedFormat = 9, "unsupported_format", false;
    /// A batch failed `max_attempts` times under `on_exhausted = raise`. The backlog is on disk;
    /// `resume` or reopening starts a fresh round.
    RetriesExhausted = 10, "retries_exhausted", false;
    /// The dead letters have reached `max_dead_letter_bytes`. Replay or delete some, then `resume`.
    DeadLettersFull = 11, "dead_letters_full", false;
    /// The time given was over first. What was not sent stays on disk; call again to wait longer.
    Timeout = 12, "timeout", true;
    /// There is no such dead letter, batch or file.
    NotFound = 13, "not_found", false;
    /// A call from inside a sink or an observer of the same producer. Make it from elsewhere.
    Reentrant = 14, "reentrant", false;
    /// The call does not fit the mode that the producer was opened in.
    WrongMode = 15, "wrong_mode", false;
    /// This build lacks what was asked for.
    Unsupported = 16, "unsupported", false;
    /// A defect of unistream or a panic in a callback. The producer refuses further work.
    Internal = 17, "internal", false;
    /// An attempt at a batch was not delivered. Events carry it; the schedule sees to the next attempt.
    SendFailed = 18, "send_failed", false;
    /// A limit of the process or the system was reached: open files, memory, mappings, threads. Retry when some are
    /// free, or raise the limit that the message names; nothing that was accepted is touched.
    ResourceExhausted = 19, "resource_exhausted", true;
    /// The buffer's directory or a file in it belongs to another user, or others can write to it. Nothing was touched;
    /// correct the owner or the mode, use a directory of your own, or set the option `trust`.
    NotTrusted = 20, "not_trusted", false;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The one error of this crate: a kind to act on, a message to read, the cause behind it.
#[derive(Clone)]
pub struct Error {
    // Boxed so that `Result<u64, Error>` stays two words on the put path.
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Cause>,
    record_accepted: bool,
}

impl Error {
    /// An error with a message for a person.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { inner: Box::new(Inner { kind, message: message.into(), source: None, record_accepted: false }) }
    }

    /// An I/O failure while doing `what`. A full filesystem becomes [`ErrorKind::DiskFull`], a limit of the process or the
    /// system [`ErrorKind::ResourceExhausted`], what is not to be trusted [`ErrorKind::NotTrusted`].
    #[cold]
    pub fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let full = is_full(&source);
        let too_large = source.kind() == io::ErrorKind::FileTooLarge;
        let (kind, advice) = match limit(&source) {
            Some(advice) => (ErrorKind::ResourceExhausted, advice),
            None if too_large => {
                (ErrorKind::DiskFull, "; the filesystem or RLIMIT_FSIZE (ulimit -f) allows no longer file")
            }
            None if full => (ErrorKind::DiskFull, "; free some space and try again"),
            None if source.get_ref().is_some_and(|inner| inner.is::<NotTrusted>()) => (ErrorKind::NotTrusted, ""),
            None => (ErrorKind::Io, ""),
        };
        Error::new(kind, format!("{what}: {source}{advice}")).with_source(Arc::new(source))
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: Cause) -> Self {
        self.inner.source = Some(source);
        self
    }

    /// Marks that the record of this `put` is in the log all the same.
    pub fn with_record_accepted(mut self, accepted: bool) -> Self {
        self.inner.record_accepted = accepted;
        self
    }

    /// The same error in other words.
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The message, without the cause's.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether the record of the `put` that returned this error is in the log nevertheless.
    pub fn record_accepted(&self) -> bool {
        self.inner.record_accepted
    }

    /// Whether the same call can succeed later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        self.inner.kind.is_retryable()
    }

    /// The operating system's error number behind it, if there is one.
    pub fn os_error(&self) -> Option<i32> {
        os_error(&**self.inner.source.as_ref()?)
    }

    /// The cause, to be downcast to the error type of the caller's own sink.
    pub fn cause(&self) -> Option<&Cause> {
        self.inner.source.as_ref()
    }
}

/// Inside an I/O error: what others can write to, and what to do about it.
#[derive(Debug)]
pub(crate) struct NotTrusted(pub(crate) String);

impl fmt::Display for NotTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for NotTrusted {}

/// The number in an I/O error, or in the one that it only gives a name to.
pub(crate) fn os_error(error: &(dyn StdError + 'static)) -> Option<i32> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        None => os_error(error.source()?),
        number => number,
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    lacks_space(error) || error.kind() == io::ErrorKind::FileTooLarge
}

/// Whether the disk is full, so that less may still fit. A limit on the length of files is no such thing: it was set by
/// somebody who wants to hear of it.
pub(crate) fn lacks_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do where an error says that a limit of the process or the system was reached.
fn limit(error: &io::Error) -> Option<&'static str> {
    match (os_error(error), error.kind()) {
        (Some(libc::EMFILE), _) => Some("; close some files of this process, or raise RLIMIT_NOFILE (ulimit -n)"),
        (Some(libc::ENFILE), _) => Some("; the system has as many files open as it can (fs.file-max)"),
        (Some(libc::EAGAIN), _) => {
            Some("; a limit on threads or locked memory is reached (RLIMIT_NPROC, RLIMIT_MEMLOCK, the control group's)")
        }
        (Some(libc::ENOLCK), _) => Some("; the system has no more file locks"),
        (Some(libc::ENOMEM), _) | (None, io::ErrorKind::OutOfMemory) => {
            Some("; memory is short, or a limit on it is reached (RLIMIT_AS, vm.max_map_count, the control group's)")
        }
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .field("record_accepted", &self.inner.record_accepted)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|cause| &**cause as &(dyn StdError + 'static))
    }
}
