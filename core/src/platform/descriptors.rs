//! Opens files and makes them longer in whatever state the process was started: with closed standard streams, or with a
//! limit on the size of files.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::fork::ForkGuard;

/// The first descriptor that is not a standard stream.
const FIRST: i32 = 3;

/// Opens something under a descriptor that is not a standard stream's. If the log got the number of a closed stdout, what the
/// program prints would go into the log.
pub(crate) fn apart_from_streams<T: From<OwnedFd> + Into<OwnedFd>>(
    open: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    // The numbers are occupied before, because another thread may print before a wrong one could be corrected.
    let _taken = take_closed_streams();
    let opened: OwnedFd = open()?.into();
    if opened.as_raw_fd() >= FIRST {
        return Ok(opened.into());
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&opened, FIRST)?.into())
}

/// Holds `/dev/null` under the numbers of the streams that are closed. One thread does so at a time: another one that found
/// the numbers occupied would go on and open its file at the moment when they are free again.
struct TakenStreams {
    // Closed before the turn ends.
    _nulls: Vec<fs::File>,
    _turn: Turn,
}

fn take_closed_streams() -> Option<TakenStreams> {
    let turns = TURNS.load(Ordering::SeqCst);
    if closed_streams() == 0 && !Turn::is_taken() && TURNS.load(Ordering::SeqCst) == turns {
        return None;
    }
    let turn = Turn::take();
    let open = || fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    // The lowest free numbers are given first.
    Some(TakenStreams { _nulls: (0..closed_streams()).filter_map(|_| open().ok()).collect(), _turn: turn })
}

fn closed_streams() -> usize {
    use rustix::stdio::{stderr, stdin, stdout};
    let is_closed = |stream: BorrowedFd<'_>| rustix::io::fcntl_getfd(stream).is_err();
    [stdin(), stdout(), stderr()].into_iter().filter(|stream| is_closed(*stream)).count()
}

/// The process (its [`ForkGuard`] number) in which a thread occupies the streams; 0: none. It is the process, because a child
/// that is forked meanwhile has no such thread, and must not wait for it.
static TAKER: AtomicU64 = AtomicU64::new(0);
/// How many turns there have been, to notice one that began and ended between two looks.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// The right of one thread to occupy the streams.
struct Turn;

impl Turn {
    fn is_taken() -> bool {
        TAKER.load(Ordering::SeqCst) == ForkGuard::new().number()
    }

    fn take() -> Turn {
        let own = ForkGuard::new().number();
        loop {
            let taker = TAKER.load(Ordering::SeqCst);
            if taker != own && TAKER.compare_exchange(taker, own, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                TURNS.fetch_add(1, Ordering::SeqCst);
                return Turn;
            }
            thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKER.store(0, Ordering::SeqCst);
    }
}

/// An error if the process may not write to a file up to `end` (RLIMIT_FSIZE). If it did so all the same, the system would
/// end it with a signal.
pub(crate) fn may_write(end: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(most) if end > most => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        _ => Ok(()),
    }
}

/// As [`may_write`], for setting a file's length. A file that is that long already may stay so.
pub(crate) fn may_have_length(file: impl AsFd, len: u64) -> io::Result<()> {
    match may_write(len) {
        Err(_) if len <= rustix::fs::fstat(file)?.st_size.unsigned_abs() => Ok(()),
        result => result,
    }
}
