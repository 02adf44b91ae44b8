//! Locks on files (`flock`). A lock belongs to the open file, not to the process.
//!
//! So it is not lost when other code of the process (a backup, a second copy of this library) opens and closes the same file,
//! and two owners in one process exclude each other as two processes do. A forked child does not share the lock.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::descriptors::may_write;
use super::disk::Holder;
use super::fork::Unshared;

/// The most bytes of a lock file: the pid of its owner and a line feed.
const SIGNATURE_BYTES: usize = 16;

/// A lock, held until it is dropped or the process ends.
struct Lock(Unshared);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = self.0.file() {
            // Closing the file is not enough: a child that is about to run another program may have it open for a moment.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// Takes the lock of the file that `open` opens, for as long as the result lives. `signs`: the file is there for nothing
/// else, so this process writes its pid into it.
pub(super) fn take(
    open: impl Fn() -> io::Result<fs::File>,
    signs: bool,
) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
    // A process that only looks whether the lock is taken, or a child that is about to run another program, has it for some
    // milliseconds. So it is tried for 20 ms.
    const TURNS: u32 = 10;
    const TURN: Duration = Duration::from_millis(2);
    let lock = Lock(Unshared::open(open)?);
    let Some(file) = lock.0.file() else { return Err(io::ErrorKind::Interrupted.into()) };
    for turn in 0.. {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if turn == TURNS => return Ok(Err(Holder { pid: signature(file) })),
            Err(Errno::WOULDBLOCK) => thread::sleep(TURN),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if signs {
        // Emptied first: on a full disk the file then names nobody rather than an earlier owner.
        let _ = file.set_len(0);
        let _ = may_write(SIGNATURE_BYTES as u64)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    }
    Ok(Ok(Box::new(lock)))
}

/// Who has the lock of an open file, if anybody has.
pub(super) fn holder(file: &fs::File) -> io::Result<Option<Holder>> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Closing it would not do: a process that was forked meanwhile has the lock too, until it ends.
            flock(file, FlockOperation::Unlock)?;
            Ok(None)
        }
        Err(Errno::WOULDBLOCK) => Ok(Some(Holder { pid: signature(file) })),
        Err(error) => Err(error.into()),
    }
}

/// The pid that the owner wrote, as it is in the owner's own namespace; 0 if there is none.
fn signature(file: &fs::File) -> u32 {
    let mut bytes = [0; SIGNATURE_BYTES];
    let got = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text = str::from_utf8(&bytes[..got]).unwrap_or_default();
    text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).unwrap_or(0)
}
