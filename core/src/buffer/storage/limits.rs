//! What every file of ours is opened and made longer through, whatever the process was started with: closed standard
//! streams, limits of its own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Resource, getrlimit};

/// The first number that is no standard stream's.
const FIRST: i32 = 3;

/// Opens something under a number that is no standard stream's. Where those are closed, what the program prints would go
/// into the log.
pub(crate) fn apart_from_streams<T: From<OwnedFd> + Into<OwnedFd>>(
    open: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    // Taken before, not corrected afterwards: another thread may be printing.
    let _taken = take_closed_streams();
    let opened: OwnedFd = open()?.into();
    if opened.as_raw_fd() >= FIRST {
        return Ok(opened.into());
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&opened, FIRST)?.into())
}

fn take_closed_streams() -> Vec<fs::File> {
    use rustix::stdio::{stderr, stdin, stdout};
    let is_closed = |stream: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_getfd(stream).is_err();
    let closed = [stdin(), stdout(), stderr()].into_iter().filter(|stream| is_closed(*stream)).count();
    let open = || fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    // The lowest free numbers are given first.
    (0..closed).filter_map(|_| open().ok()).collect()
}

/// An error if nothing may be written to a file up to `end` (RLIMIT_FSIZE): asked for all the same, the system answers with
/// a signal that ends the process.
pub(crate) fn may_write(end: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(most) if end > most => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        _ => Ok(()),
    }
}

/// As [`may_write`], for making a file so long, which one may be that was so long before.
pub(crate) fn may_have_length(file: impl AsFd, len: u64) -> io::Result<()> {
    match may_write(len) {
        Err(_) if len <= rustix::fs::fstat(file)?.st_size.unsigned_abs() => Ok(()),
        result => result,
    }
}
