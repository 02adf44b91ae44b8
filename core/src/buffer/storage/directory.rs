//! The real disk's directories, by descriptor: a path is looked up once.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::limits::apart_from_streams;
use super::lock;
use super::os::OsFile;
use super::{Directory, File, Holder, Open};

/// An open directory of the operating system.
pub(crate) struct OsDirectory {
    fd: OwnedFd,
    path: PathBuf,
}

impl OsDirectory {
    pub(crate) fn open(path: &Path) -> io::Result<OsDirectory> {
        let path = std::path::absolute(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = apart_from_streams(|| Ok(rustix::fs::open(&path, flags, Mode::empty())?))?;
        Ok(OsDirectory { fd, path })
    }

    /// The pid of whoever has the lock that this file stands for, if anybody has.
    pub(crate) fn owner(&self, name: &str) -> io::Result<Option<u32>> {
        match self.open_file(name, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => lock::holder(&file?).map(|holder| holder.map(|holder| holder.pid)),
        }
    }

    /// Whether there is anything of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn subdirectory(&self, name: &str, create: bool) -> io::Result<OsDirectory> {
        if create {
            match single(name).and_then(|name| rustix::fs::mkdirat(&self.fd, name, Mode::from(0o700))) {
                Ok(()) | Err(Errno::EXIST) => self.sync()?,
                Err(error) => return Err(naming(name, error.into())),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |name| rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        let fd = apart_from_streams(|| single(name).and_then(open).map_err(|error| naming(name, error.into())))?;
        Ok(OsDirectory { fd, path: self.path.join(name) })
    }

    fn open_file(&self, name: &str, how: Open) -> io::Result<fs::File> {
        let mut flags = if how == Open::Read { OFlags::RDONLY } else { OFlags::RDWR };
        // Nothing leads out of the directory, and nothing that is no file makes the opening wait.
        flags |= OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        flags.set(OFlags::CREATE, how.creates());
        let open = |name| rustix::fs::openat(&self.fd, name, flags, Mode::from(0o600));
        let open = || single(name).and_then(open).map_err(|error| self.named(name, error));
        let file = fs::File::from(apart_from_streams(open)?);
        let found = rustix::fs::fstat(&file).map_err(|error| self.named(name, error))?;
        check(FileType::from_raw_mode(found.st_mode)).map_err(|what| is_no_file(name, what))?;
        if how.creates() && found.st_size == 0 {
            write_in_place(&file);
        }
        if how == Open::Truncate {
            // Not by the opening, which knows nothing of what it opens.
            file.set_len(0).map_err(|error| naming(name, error))?;
        }
        Ok(file)
    }

    /// What an operation on a name says that failed.
    #[cold]
    fn named(&self, name: &str, error: Errno) -> io::Error {
        if matches!(error, Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV | Errno::NOTDIR)
            && let Ok(found) = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            && let Err(what) = check(FileType::from_raw_mode(found.st_mode))
        {
            return is_no_file(name, what);
        }
        naming(name, error.into())
    }
}

impl Directory for OsDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            // A name that is not UTF-8 is none of ours.
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: self.open_file(name, how)? }))
    }

    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.subdirectory(name, create)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = single(from).and(single(to)).and_then(|to| rustix::fs::renameat(&self.fd, from, &self.fd, to));
        renamed.map_err(|error| naming(to, error.into()))
    }

    fn move_into(&self, name: &str, directory: &str) -> io::Result<()> {
        let folder = self.subdirectory(directory, true)?;
        let mut to = single(name)?.to_owned();
        while folder.has(&to) {
            to.push_str(".again");
        }
        rustix::fs::renameat(&self.fd, name, &folder.fd, &to).map_err(|error| naming(name, error.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match single(name).and_then(|name| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(naming(name, error.into())),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    fn lock(&self, name: &str) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        lock::take(|| self.open_file(name, Open::Create), true)
    }

    fn may_map(&self) -> io::Result<bool> {
        // Filesystems that write allocated blocks in place, so that a store to a mapped page can never need a
        // new block. Numbers from statfs(2).
        const EXT4: i64 = 0xef53;
        const XFS: i64 = 0x5846_5342;
        const TMPFS: i64 = 0x0102_1994;
        #[allow(clippy::unnecessary_cast)] // The field's type differs between architectures.
        let kind = rustix::fs::fstatfs(&self.fd)?.f_type as i64;
        Ok([EXT4, XFS, TMPFS].contains(&kind))
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.fd)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Has btrfs write the blocks of a new file where they are, as other filesystems do: else a full one does not even take what
/// there is a place for. It keeps no checksums of the file then; the log has its own.
fn write_in_place(file: &fs::File) {
    const BTRFS: i64 = 0x9123_683e;
    #[allow(clippy::unnecessary_cast)] // The field's type differs between architectures.
    if rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type as i64 == BTRFS)
        && let Ok(flags) = rustix::fs::ioctl_getflags(file)
    {
        // Where it is refused, a full disk refuses more.
        let _ = rustix::fs::ioctl_setflags(file, flags | rustix::fs::IFlags::NOCOW);
    }
}

/// A name that stays in the directory.
fn single(name: &str) -> Result<&str, Errno> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." { Err(Errno::INVAL) } else { Ok(name) }
}

/// Says what stands where a file should, if it is none.
fn check(kind: FileType) -> Result<(), &'static str> {
    Err(match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    })
}

#[cold]
fn is_no_file(name: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is {what}, not a file"))
}

/// The error with the name that it is about.
#[cold]
fn naming(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Named { name: name.to_owned(), error })
}

#[derive(Debug)]
struct Named {
    name: String,
    error: io::Error,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

impl std::error::Error for Named {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
