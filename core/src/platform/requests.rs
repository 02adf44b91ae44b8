//! Named pipes by which another process asks the one that has a directory, and gets an answer.
//!
//! A request is a pipe in a folder of the directory, and its name says what is asked: nothing is written, so that a full disk
//! does not stand in the way. The asking process makes it under a name that nobody looks at, opens it to read, and then gives
//! it its name. The process that is asked removes the name, which is the taking, and writes the answer into the pipe. So an
//! asking process that was killed is known by a pipe that nobody reads, and one that is asked and was killed by an answer that
//! does not end. Who has not been heard removes the name too: if it was still there, nobody has taken it or ever will.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::descriptors::apart_from_streams;
use super::directory::{OsDirectory, single};
use super::named::naming;
use super::random::system_random;
use super::stat::{FileId, FileKind};

/// The most requests that are taken at one look.
const MOST: usize = 16;
/// Ends an answer.
const END: u8 = b'\n';
/// The most bytes of an answer that are read.
const MOST_BYTES: u64 = 1 << 20;
/// How long a full pipe is waited for: an answer is as small as the smallest pipe in all ordinary cases.
const TURNS: u32 = 20;
const TURN: Duration = Duration::from_millis(5);
const PIPE: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A request that was taken. Dropping it is no answer, which the asking process hears too.
pub(crate) struct Incoming {
    /// What is asked.
    pub(crate) name: String,
    pipe: fs::File,
    // Held, because the pipe that can be written needs a reader of this process: without one the system would end the program
    // by a signal (SIGPIPE) where the asking process has gone.
    _opened: OwnedFd,
}

impl Incoming {
    /// Answers with a line. Who does not read it in time does not get it.
    pub(crate) fn answer(mut self, line: &str) {
        let mut left = [line.as_bytes(), &[END]].concat();
        for _ in 0..TURNS {
            match self.pipe.write(&left) {
                Ok(written) => drop(left.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TURN),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            if left.is_empty() {
                return;
            }
        }
    }
}

/// Takes the requests that are there. Those of users that have nothing to say here stay where they are.
pub(super) fn take(dir: &OsDirectory, folder: &str) -> io::Result<Vec<Incoming>> {
    let folder = match dir.subdirectory(folder, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    // What has no name yet is about to be opened by who asks: it would hear this process go.
    let names = folder.names()?.into_iter().filter(|name| !name.starts_with('.'));
    // What is no request takes no request's place.
    Ok(names.filter_map(|name| take_one(&folder, name).ok().flatten()).take(MOST).collect())
}

fn take_one(folder: &OsDirectory, name: String) -> io::Result<Option<Incoming>> {
    let found = folder.look(&name)?;
    if FileKind::of(&found) != FileKind::Fifo || !folder.may_ask(&found) {
        return Ok(None);
    }
    let open = |access: OFlags| rustix::fs::openat(&folder.fd, &name, access | PIPE, Mode::empty());
    let opened: OwnedFd = match apart_from_streams(|| Ok(open(OFlags::WRONLY)?)) {
        // Nobody reads: who has asked is gone.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            rustix::fs::unlinkat(&folder.fd, &name, AtFlags::empty())?;
            return Ok(None);
        }
        opened => opened?,
    };
    let pipe: OwnedFd = apart_from_streams(|| Ok(open(OFlags::RDWR)?))?;
    let is_same = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|now| FileId::of(&now) == FileId::of(&found));
    if !is_same(&opened) || !is_same(&pipe) {
        return Ok(None);
    }
    // Whoever removes the name has the request: the asking process, if it waits no longer, or this one.
    rustix::fs::unlinkat(&folder.fd, &name, AtFlags::empty())?;
    Ok(Some(Incoming { name, pipe: pipe.into(), _opened: opened }))
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The answer.
    Answer(String),
    /// Nobody has taken it in time, and nobody will.
    Nothing,
    /// Somebody has taken it, and was gone before the answer was whole: what was asked may have been done or not.
    Broken,
}

/// A request that waits for its answer. Dropping it withdraws it.
pub(crate) struct Outgoing {
    dir: OsDirectory,
    folder: OsDirectory,
    folder_name: String,
    name: String,
    pipe: fs::File,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let _ = self.withdraw();
        // It goes once the last one that asks has gone.
        let _ = rustix::fs::unlinkat(&self.dir.fd, &self.folder_name, AtFlags::REMOVEDIR);
    }
}

/// Asks the process that has a directory.
pub(super) fn ask(dir: &OsDirectory, folder_name: &str, what: &str) -> io::Result<Outgoing> {
    loop {
        let made = make(dir, folder_name, what);
        match made {
            // Another that asks has removed the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.has(".") => {}
            made => return made,
        }
    }
}

fn make(dir: &OsDirectory, folder_name: &str, what: &str) -> io::Result<Outgoing> {
    // Not durable: after a power loss nobody waits for an answer.
    let folder_made = single(folder_name).and_then(|name| rustix::fs::mkdirat(&dir.fd, name, Mode::from(0o700)));
    match folder_made {
        Ok(()) => give(dir, dir, folder_name)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(naming(&folder_name, error.into())),
    }
    let folder = dir.subdirectory(folder_name, false)?;
    let random = format!("{:016x}", system_random());
    let (hidden, name) = (format!(".{random}"), format!("{random}.{what}"));
    single(&name)?;
    rustix::fs::mknodat(&folder.fd, &hidden, FileType::Fifo, Mode::from(0o600), 0)?;
    let opened = give(dir, &folder, &hidden).and_then(|()| {
        let open = || Ok(rustix::fs::openat(&folder.fd, &hidden, OFlags::RDONLY | PIPE, Mode::empty())?);
        let pipe: OwnedFd = apart_from_streams(open)?;
        rustix::fs::renameat(&folder.fd, &hidden, &folder.fd, &name)?;
        Ok(pipe)
    });
    match opened {
        Ok(pipe) => Ok(Outgoing { dir: dir.clone(), folder, folder_name: folder_name.into(), name, pipe: pipe.into() }),
        Err(error) => {
            let _ = rustix::fs::unlinkat(&folder.fd, &hidden, AtFlags::empty());
            let _ = rustix::fs::unlinkat(&dir.fd, folder_name, AtFlags::REMOVEDIR);
            Err(error)
        }
    }
}

/// Gives what root has made to the user whose directory it is made in, so that this user's process can open it.
fn give(owners: &OsDirectory, at: &OsDirectory, name: &str) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let found = rustix::fs::fstat(&owners.fd)?;
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    Ok(rustix::fs::chownat(&at.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

impl Outgoing {
    /// Waits for the answer: for `untaken` until somebody takes the request, and from then on for `taken`. `stop` is asked
    /// several times a second whether to give up early.
    pub(crate) fn wait(
        mut self,
        untaken: Duration,
        taken: Duration,
        mut stop: impl FnMut() -> bool,
    ) -> io::Result<Heard> {
        const SLICE: Duration = Duration::from_millis(100);
        let mut deadline = Instant::now() + untaken;
        let mut answer = Vec::new();
        let mut is_taken = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (!is_taken && stop()) {
                if is_taken {
                    return Ok(Heard::Broken);
                }
                if self.withdraw()? {
                    return Ok(Heard::Nothing);
                }
                is_taken = true;
                deadline = Instant::now() + taken;
                continue;
            }
            let slice = Timespec { tv_sec: 0, tv_nsec: left.min(SLICE).as_nanos() as _ };
            let mut polled = [PollFd::new(&self.pipe, PollFlags::IN)];
            match poll(&mut polled, Some(&slice)) {
                Ok(0) | Err(Errno::INTR) => continue,
                found => found?,
            };
            match (&mut self.pipe).take(MOST_BYTES).read_to_end(&mut answer) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // Something was written, or who could has gone.
                read => {
                    if answer.last() == Some(&END) {
                        answer.pop();
                        return Ok(Heard::Answer(String::from_utf8_lossy(&answer).into_owned()));
                    }
                    if read.is_ok() {
                        return Ok(if self.withdraw()? { Heard::Nothing } else { Heard::Broken });
                    }
                    if !is_taken {
                        is_taken = true;
                        deadline = Instant::now() + taken;
                    }
                }
            }
        }
    }

    /// Takes the request back. False if somebody has taken it.
    fn withdraw(&self) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.folder.fd, &self.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removes the folder with all pipes in it, where nobody has the directory any more who could be asked.
pub(super) fn forget(dir: &OsDirectory, folder: &str) -> io::Result<()> {
    let inner = match dir.subdirectory(folder, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        inner => inner?,
    };
    for name in inner.names()? {
        if inner.look(&name).is_ok_and(|found| FileKind::of(&found) == FileKind::Fifo) {
            rustix::fs::unlinkat(inner.fd.as_fd(), &name, AtFlags::empty())?;
        }
    }
    match rustix::fs::unlinkat(&dir.fd, folder, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(naming(&folder, error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use super::*;
    use crate::platform::Trust;

    const FOLDER: &str = "requests";

    fn directory() -> (tempfile::TempDir, OsDirectory) {
        let dir = tempfile::tempdir().unwrap();
        let opened = OsDirectory::open(dir.path(), false, Trust::Owner).unwrap();
        (dir, opened)
    }

    fn wait(outgoing: Outgoing, milliseconds: u64) -> Heard {
        outgoing.wait(Duration::from_millis(milliseconds), Duration::from_secs(30), || false).unwrap()
    }

    #[test]
    fn a_request_is_taken_once_and_answered_and_nothing_is_left() {
        let (dir, owner) = directory();
        assert!(take(&owner, FOLDER).unwrap().is_empty());
        let outgoing = ask(&owner, FOLDER, "stats").unwrap();
        let other = ask(&owner, FOLDER, "resume").unwrap();
        let mut incoming = take(&owner, FOLDER).unwrap();
        incoming.sort_by_key(|incoming| incoming.name.ends_with("resume"));
        assert!(take(&owner, FOLDER).unwrap().is_empty());
        let long = "x".repeat(20_000);
        let second = incoming.pop().unwrap();
        let first = incoming.pop().unwrap();
        assert!(first.name.ends_with(".stats") && second.name.ends_with(".resume"));
        first.answer(&long);
        second.answer("done");
        assert_eq!(wait(outgoing, 30_000), Heard::Answer(long));
        assert_eq!(wait(other, 30_000), Heard::Answer("done".into()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_takes_is_withdrawn_and_what_breaks_off_is_told_apart() {
        let (dir, owner) = directory();
        assert_eq!(wait(ask(&owner, FOLDER, "stats").unwrap(), 50), Heard::Nothing);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // It was taken, and there is no answer.
        let outgoing = ask(&owner, FOLDER, "stats").unwrap();
        drop(take(&owner, FOLDER).unwrap());
        assert_eq!(wait(outgoing, 30_000), Heard::Broken);
        // Half an answer.
        let outgoing = ask(&owner, FOLDER, "stats").unwrap();
        let mut incoming = take(&owner, FOLDER).unwrap().pop().unwrap();
        incoming.pipe.write_all(b"half").unwrap();
        drop(incoming);
        assert_eq!(wait(outgoing, 30_000), Heard::Broken);
    }

    /// A process whose answer nobody reads any more goes on: no signal ends it.
    #[test]
    fn who_has_asked_may_be_gone() {
        let (dir, owner) = directory();
        let outgoing = ask(&owner, FOLDER, "stats").unwrap();
        let incoming = take(&owner, FOLDER).unwrap().pop().unwrap();
        drop(outgoing);
        incoming.answer("nobody reads it");
        // Killed: the pipe stays, with nobody who reads it.
        let outgoing = ask(&owner, FOLDER, "resume").unwrap();
        let path = dir.path().join(FOLDER).join(&outgoing.name);
        fs::create_dir(dir.path().join("kept")).unwrap();
        fs::rename(&path, dir.path().join("kept/pipe")).unwrap();
        drop(outgoing);
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        fs::rename(dir.path().join("kept/pipe"), &path).unwrap();
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        assert!(take(&owner, FOLDER).unwrap().is_empty());
        assert!(!path.exists());
        forget(&owner, FOLDER).unwrap();
        forget(&owner, FOLDER).unwrap();
        assert!(!dir.path().join(FOLDER).exists());
    }

    #[test]
    fn what_is_no_pipe_asks_nothing() {
        let (dir, owner) = directory();
        let folder = dir.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("0.stats"), "").unwrap();
        fs::create_dir(folder.join("1.stats")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("2.stats")).unwrap();
        assert!(take(&owner, FOLDER).unwrap().is_empty());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        // However many of it there are, a request is seen.
        (0..100).for_each(|number| fs::write(folder.join(format!("{number}.resume")), "").unwrap());
        let outgoing = ask(&owner, FOLDER, "stats").unwrap();
        take(&owner, FOLDER).unwrap().into_iter().for_each(|incoming| incoming.answer("here"));
        assert_eq!(wait(outgoing, 30_000), Heard::Answer("here".into()));
    }
}
