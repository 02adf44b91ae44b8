//! The operating system's directories, used by descriptor. A path is looked up once, and what is opened is checked before it
//! is used.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::descriptors::apart_from_streams;
use super::disk::Open;
use super::named::{is_no, naming};
use super::path_walk::{self, DIRECTORY};
use super::stat::FileKind;
use super::trust::{Trust, Trusted};

/// Flags to open a file with. No link is followed out of the directory, and opening something that is no file does not wait.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// How often a name is freed for a new file before giving up, if others take it again each time.
const MOST_TRIES: usize = 10;

/// An open directory of the operating system. Clones are the same open directory.
#[derive(Clone)]
pub(crate) struct OsDirectory {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) path: PathBuf,
    trusted: Trusted,
}

impl OsDirectory {
    /// Opens a directory by its path. Links on the way are followed only if this process's user, or root, made them. `create`:
    /// the directory is made if it is missing, see [`path_walk::find`].
    pub(crate) fn open(path: &Path, create: bool, trust: Trust) -> io::Result<OsDirectory> {
        let path: PathBuf = std::path::absolute(path)?.components().collect();
        let found = path_walk::find(&path, create, trust)?;
        let open = || Ok(rustix::fs::openat(&found, ".", DIRECTORY, Mode::empty())?);
        OsDirectory::check(apart_from_streams(open)?, path, trust)
    }

    fn check(fd: OwnedFd, path: PathBuf, trust: Trust) -> io::Result<OsDirectory> {
        let trusted = Trusted::directory(&rustix::fs::fstat(&fd)?, &path, trust)?;
        Ok(OsDirectory { fd: Arc::new(fd), path, trusted })
    }

    /// Whether there is anything of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.look(name).is_ok()
    }

    /// The names in it, in no order.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        // `Dir::read_from` would open it under the number of a closed stream.
        for entry in Dir::new(self.reopen()?)? {
            // No file of a buffer has a name that is not UTF-8.
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// What has this name; a link itself, not what it leads to.
    pub(super) fn look(&self, name: &str) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn subdirectory(&self, name: &str, create: bool) -> io::Result<OsDirectory> {
        let mut made = false;
        if create {
            match single(name).and_then(|name| rustix::fs::mkdirat(&self.fd, name, Mode::from(0o700))) {
                result @ (Ok(()) | Err(Errno::EXIST)) => {
                    made = result.is_ok();
                    rustix::fs::fsync(&self.fd)?;
                }
                Err(error) => return Err(naming(&name, error.into())),
            }
        }
        let open = |name| rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
        let fd = apart_from_streams(|| {
            single(name).and_then(open).map_err(|error| match error {
                // A link, too, is "not a directory".
                Errno::NOTDIR | Errno::LOOP => match self.look(name) {
                    Ok(found) => is_no(&name, FileKind::of(&found).name(), "directory"),
                    Err(_) => naming(&name, error.into()),
                },
                error => naming(&name, error.into()),
            })
        })?;
        if made {
            self.share(&fd, &rustix::fs::fstat(&fd)?);
        }
        OsDirectory::check(fd, self.path.join(name), self.trusted.policy())
    }

    /// Gives what was just made to the group that this directory is shared with.
    fn share(&self, fd: impl AsFd, found: &Stat) {
        if let Some(mode) = self.trusted.mode_of_new(found) {
            // Where that is refused it stays this user's own.
            let _ = rustix::fs::fchmod(fd, Mode::from(mode));
        }
    }

    /// Opens the same directory once more. The new descriptor has locks of its own.
    pub(super) fn reopen(&self) -> io::Result<fs::File> {
        let open = || Ok(fs::File::from(rustix::fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())?));
        apart_from_streams(open)
    }

    pub(super) fn open_file(&self, name: &str, how: Open) -> io::Result<fs::File> {
        let access = if how == Open::Read { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | FILE;
        let open = |name| match how {
            Open::Read | Open::Existing => rustix::fs::openat(&self.fd, name, flags, Mode::empty()),
            Open::Create => rustix::fs::openat(&self.fd, name, flags | OFlags::CREATE, Mode::from(0o600)),
            Open::New => self.make(name, flags),
        };
        let file = apart_from_streams(|| single(name).and_then(open).map_err(|error| self.named(name, error)))?;
        let found = self.check_file(name, &file)?;
        if how.creates() && found.st_size == 0 {
            write_in_place(&file);
            self.share(&file, &found);
        }
        Ok(fs::File::from(file))
    }

    /// Whether what was found in it was put there by somebody whom this process obeys.
    pub(super) fn may_ask(&self, found: &Stat) -> bool {
        self.trusted.may_ask(found)
    }

    fn make(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..MOST_TRIES {
            match rustix::fs::openat(&self.fd, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::from(0o600)) {
                Err(Errno::EXIST) => rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?,
                result => return result,
            }
        }
        Err(Errno::EXIST)
    }

    /// Checks that it is a regular file that can be trusted. Returns what it is.
    fn check_file(&self, name: &str, file: impl AsFd) -> io::Result<Stat> {
        let found = rustix::fs::fstat(file).map_err(|error| naming(&name, error.into()))?;
        match FileKind::of(&found) {
            FileKind::Regular => self.trusted.check_file(&found, &self.path, name)?,
            kind => return Err(is_no(&name, kind.name(), "file")),
        }
        Ok(found)
    }

    /// The error of a failed operation on a name, with the reason if it is the kind of thing that has the name.
    #[cold]
    pub(super) fn named(&self, name: &str, error: Errno) -> io::Error {
        if matches!(error, Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV | Errno::NOTDIR)
            && let Ok(found) = self.look(name)
            && FileKind::of(&found) != FileKind::Regular
        {
            return is_no(&name, FileKind::of(&found).name(), "file");
        }
        naming(&name, error.into())
    }
}

/// Has btrfs write the blocks of a new file in place, as other filesystems do. Otherwise every write needs a new block, and a
/// full disk refuses even what blocks were reserved for. Btrfs keeps no checksums of the file then; the log has its own.
fn write_in_place(file: impl AsFd + Copy) {
    const BTRFS: i64 = 0x9123_683e;
    #[allow(clippy::unnecessary_cast)] // The field's type differs between architectures.
    if rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type as i64 == BTRFS)
        && let Ok(flags) = rustix::fs::ioctl_getflags(file)
    {
        // Where it is refused, a full disk refuses more.
        let _ = rustix::fs::ioctl_setflags(file, flags | rustix::fs::IFlags::NOCOW);
    }
}

/// The name, if it is one that stays in the directory.
pub(super) fn single(name: &str) -> Result<&str, Errno> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." { Err(Errno::INVAL) } else { Ok(name) }
}
