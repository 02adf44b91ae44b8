//! What every file of ours is opened and made longer through, whatever the process was started with: closed standard
//! streams, limits of its own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::fork::ForkGuard;

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

/// `/dev/null` under the numbers of the streams that are closed, and the turn of the thread that put it there: another that
/// saw them taken would open its file when they are free again.
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

/// Which process has a thread that takes the streams; 0: none. That of a parent is none in its child, where nobody would end
/// the turn.
static TAKER: AtomicU64 = AtomicU64::new(0);
/// How many turns there were.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// One thread at a time.
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
