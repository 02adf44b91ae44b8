//! What is no file: a pipe, a terminal, a device, the program's own output. It cannot be looked at again, so that there is no
//! sidecar: whoever crashes in between sends again. Nothing here waits for a reader for long.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::piece::{Entry, Piece, UNKNOWN, fingerprint};
use super::{Framing, NEWLINE, not_opened};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::platform::{FileKind, lock, may_write, open_stream};
use crate::sink::{FileOptions, Outcome, Report};

pub(super) struct Stream {
    /// What is opened; none for the program's own output.
    path: Option<PathBuf>,
    follow: bool,
    state: Mutex<State>,
    /// How many calls there were, and how many of them are to end. Those that come later are another producer's.
    calls: AtomicU64,
    interrupted: AtomicU64,
}

#[derive(Default)]
struct State {
    fd: Option<OwnedFd>,
    /// What is left of a record of which a part was written, and which one it is.
    rest: Vec<u8>,
    of: Option<(u64, Entry)>,
    piece: Piece,
}

/// So much may be written without waiting where `poll` says that there is room. Fewer bytes come in one piece, also where
/// others write to the same pipe.
const ROOM: usize = 4096;
/// A reader that takes nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);
/// Above the three that belong to the program.
const LOWEST: i32 = 3;

impl Stream {
    /// What stands at the path, if it is something to write to and no file.
    pub(super) fn at(path: &Path, options: &FileOptions) -> Result<Option<Stream>> {
        let failed = |error: io::Error| not_opened(path, error);
        let stream = |path, fd| {
            let state = Mutex::new(State { fd, ..State::default() });
            let (calls, interrupted) = (AtomicU64::new(0), AtomicU64::new(0));
            Some(Stream { path, follow: options.follow_links, state, calls, interrupted })
        };
        // Opened by their names they would be files with a place of their own in them, and sockets cannot be opened.
        let own = match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
                Some(fcntl_dupfd_cloexec(rustix::stdio::stdout(), LOWEST))
            }
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
                Some(fcntl_dupfd_cloexec(rustix::stdio::stderr(), LOWEST))
            }
            _ => None,
        };
        if let Some(fd) = own {
            return Ok(stream(None, Some(fd.map_err(|error| failed(error.into()))?)));
        }
        let absolute = std::path::absolute(path).map_err(failed)?;
        let kind = match kind_of(&absolute, options.follow_links).map_err(failed)? {
            None | Some(FileKind::Regular) => return Ok(None),
            Some(kind) => kind,
        };
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidArgument, format!("{} is {why}", path.display())));
        match kind {
            FileKind::Fifo | FileKind::CharacterDevice => Ok(stream(Some(absolute), None)),
            FileKind::Link => refused("a symbolic link; the option follow_links lets the sink follow it"),
            kind => refused(&format!("{}, not a file", kind.name())),
        }
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(self.calls.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Writes the records. Those that are written whole are delivered, whatever becomes of the others.
    pub(super) fn write(&self, batch: &Batch, framing: Framing) -> io::Result<Report> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let state = &mut *lock(&self.state);
        if state.fd.is_none() {
            state.fd = Some(self.open()?);
        }
        let mut report = Report::delivered();
        let mut failure = None;
        let mut first = 0;
        let buffer_id = batch.id.buffer_id;
        let head = batch.get(0).map(|record| (buffer_id, (record.seq, fingerprint(buffer_id, &record))));
        let begun = state.of.take().filter(|(_, (_, print))| *print != UNKNOWN);
        // The rest of a line comes before anything else. If it is of the batch's first record, that one is written then.
        let rest = std::mem::take(&mut state.rest);
        match self.push(state, call, &rest) {
            (_, None) if begun.is_some() && begun == head => first = 1,
            (_, None) => {}
            (written, Some(error)) => {
                if !is_gone(&error) {
                    state.rest = rest[written..].to_vec();
                    state.of = begun;
                }
                return Err(self.settle(state, error));
            }
        }
        let mut index = first;
        while index < batch.len() {
            // As many records as go out together.
            let from = index;
            let mut ends = Vec::new();
            state.piece.clear();
            while let Some(record) = batch.get(index)
                && (index == from || state.piece.len() + record.data.len() < ROOM)
            {
                if framing == Framing::Lines && record.data.contains(&b'\n') {
                    report.set_rejected(index, NEWLINE);
                } else {
                    state.piece.add(framing, (record.seq, UNKNOWN), record.data);
                }
                ends.push(state.piece.len());
                index += 1;
            }
            let piece = std::mem::take(&mut state.piece);
            let bytes = piece.framed(false);
            let (written, error) = self.push(state, call, bytes);
            if let Some(error) = error {
                let whole = ends.partition_point(|end| *end <= written);
                let begins = whole.checked_sub(1).map_or(0, |last| ends[last]);
                index = from + whole;
                if written > begins
                    && !is_gone(&error)
                    && let (Some(record), Some(end)) = (batch.get(index), ends.get(whole))
                {
                    state.rest = bytes[written..*end].to_vec();
                    state.of = Some((buffer_id, (record.seq, fingerprint(buffer_id, &record))));
                }
                failure = Some(self.settle(state, error));
            }
            state.piece = piece;
            if failure.is_some() {
                break;
            }
        }
        match failure {
            Some(error) if index == 0 => Err(error),
            Some(error) => {
                let error: crate::error::Cause = std::sync::Arc::new(error);
                for left in index..batch.len() {
                    if matches!(report.outcome(left), Outcome::Delivered) {
                        report.set(left, Outcome::Unavailable { error: error.clone(), retry_after: None });
                    }
                }
                Ok(report)
            }
            None => Ok(report),
        }
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let Some(path) = &self.path else { return Err(Errno::BADF.into()) };
        match kind_of(path, self.follow)? {
            Some(FileKind::Fifo | FileKind::CharacterDevice) => {}
            _ => return Err(io::Error::new(io::ErrorKind::NotFound, "the pipe or device is gone")),
        }
        // Not to wait for a reader that may never come.
        match open_stream(path, self.follow) {
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                Err(io::Error::new(error.kind(), "nobody reads from it"))
            }
            result => result,
        }
    }

    /// A pipe whose reader went is opened again for the next.
    fn settle(&self, state: &mut State, error: io::Error) -> io::Error {
        if self.path.is_some() && is_gone(&error) {
            state.fd = None;
        }
        error
    }

    /// Writes bytes. Returns how many, and why not more.
    fn push(&self, state: &State, call: u64, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        let mut since = Instant::now();
        let Some(fd) = &state.fd else { return (0, Some(Errno::BADF.into())) };
        while written < bytes.len() {
            match self.has_room(fd) {
                Ok(true) => {}
                Ok(false) if since.elapsed() < PATIENCE && self.interrupted.load(Ordering::SeqCst) < call => continue,
                Ok(false) => {
                    return (written, Some(io::Error::new(io::ErrorKind::TimedOut, "its reader takes nothing")));
                }
                Err(error) => return (written, Some(error)),
            }
            let end = bytes.len().min(written + ROOM);
            if let Err(error) = may_grow(fd, (end - written) as u64) {
                return (written, Some(error));
            }
            match rustix::io::write(fd, &bytes[written..end]) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => (written, since) = (written + count, Instant::now()),
                // Another took the room.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return (written, Some(error.into())),
            }
        }
        (written, None)
    }

    /// Whether a write would not wait. Where nobody reads it is not tried: that would send SIGPIPE to the program.
    fn has_room(&self, fd: &OwnedFd) -> io::Result<bool> {
        let mut fds = [PollFd::new(fd, PollFlags::OUT)];
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as _ };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let events = fds[0].revents();
        if events.contains(PollFlags::NVAL) {
            return Err(Errno::BADF.into());
        }
        if events.intersects(PollFlags::ERR | PollFlags::HUP) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads from it any more"));
        }
        Ok(events.contains(PollFlags::OUT))
    }
}

/// Output that goes to a file may be longer than the process may make one, see [`may_write`].
fn may_grow(fd: &OwnedFd, bytes: u64) -> io::Result<()> {
    let found = rustix::fs::fstat(fd)?;
    match rustix::fs::FileType::from_raw_mode(found.st_mode) {
        rustix::fs::FileType::RegularFile => may_write(found.st_size.unsigned_abs() + bytes),
        _ => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn kind_of(path: &Path, follow: bool) -> io::Result<Option<FileKind>> {
    use crate::platform::{Disk, OsDisk};
    Ok(OsDisk.look(path, follow)?.map(|seen| seen.kind))
}
