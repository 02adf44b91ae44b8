//! The three standard streams as the process was given them.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};

use rustix::fs::{Mode, OFlags, open};

/// Which of the standard streams were closed when the process began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streams {
    /// Nothing can be read.
    pub stdin_is_closed: bool,
    /// Nothing can be written.
    pub stdout_is_closed: bool,
    /// Nobody can be told anything.
    pub stderr_is_closed: bool,
}

impl Streams {
    /// Looks at the streams. The runtime of a Rust program opens `/dev/null` in the place of closed ones before `main`, so
    /// a program has to look before that.
    pub fn look() -> Streams {
        let is_closed = |stream: BorrowedFd<'_>| rustix::io::fcntl_getfd(stream) == Err(rustix::io::Errno::BADF);
        Streams {
            stdin_is_closed: is_closed(rustix::stdio::stdin()),
            stdout_is_closed: is_closed(rustix::stdio::stdout()),
            stderr_is_closed: is_closed(rustix::stdio::stderr()),
        }
    }

    /// Sees to it that no file of the engine is given the number of a standard stream.
    pub(crate) fn fill() {
        while let Ok(null) = open("/dev/null", OFlags::RDWR, Mode::empty()) {
            if null.as_raw_fd() > 2 {
                break;
            }
            // It stays open to the end of the process.
            let _ = null.into_raw_fd();
        }
    }
}
