//! The real disk's directories, by descriptor: a path is looked up once, and what stands there is looked at before it is
//! used.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use super::descriptors::apart_from_streams;
use super::os_disk::OsFile;
use super::{Directory, File, Holder, Open, Ownership};
use super::{lock, ownership, path_walk};
use crate::error::NotTrusted;
use crate::options::Trust;

/// How to open a directory: for reading its names.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How to open a file: nothing leads out of the directory, and nothing that is no file makes the opening wait.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// How often a name is freed for a new file, if somebody takes it again each time.
const MOST_TRIES: usize = 10;

/// An open directory of the operating system. Clones are the same.
#[derive(Clone)]
pub(crate) struct OsDirectory {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    trust: Trust,
    /// What others may do to a file in it, if the file's mode lets them: write permission for those who may search it.
    reach: u32,
    /// Others can make names in it, also one for a file that is not theirs. Where nobody else can, a second name is this
    /// user's own doing: a backup of hard links.
    shared: bool,
}

impl OsDirectory {
    /// Opens a directory by its path. Links on the way are followed only if nobody but this process's user, or root, can have
    /// made them. `create`: made if it is missing, see [`path_walk::find`].
    pub(crate) fn open(path: &Path, create: bool, trust: Trust) -> io::Result<OsDirectory> {
        let path: PathBuf = std::path::absolute(path)?.components().collect();
        let found = path_walk::find(&path, create, trust)?;
        let open = || Ok(rustix::fs::openat(&found, ".", DIRECTORY, Mode::empty())?);
        OsDirectory::check(apart_from_streams(open)?, path, trust)
    }

    /// The directory, if nobody can have made it, or can change what is in it, who is not trusted.
    fn check(fd: OwnedFd, path: PathBuf, trust: Trust) -> io::Result<OsDirectory> {
        let found = rustix::fs::fstat(&fd)?;
        let (mode, named) = (found.st_mode & 0o7777, path.display());
        let by_group = mode & 0o020 != 0;
        let in_group = || {
            let gid = rustix::process::Gid::from_raw(found.st_gid);
            getegid() == gid || getgroups().is_ok_and(|groups| groups.contains(&gid))
        };
        let complaint = match trust {
            Trust::Anyone => None,
            _ if mode & 0o002 != 0 => Some(format!(
                "{named} can be written by everybody (mode {mode:04o}): take that from them (chmod o-w), use a directory \
                 below it, or set the option trust to anyone"
            )),
            Trust::Group if is_ours(&found) || (by_group && in_group()) => None,
            Trust::Owner | Trust::Group if !is_ours(&found) => Some(format!(
                "{named} belongs to the user with uid {}, and this process runs as uid {}: use a directory of its own, give it \
                 this one with all that is in it (chown -R), or set the option trust to {}",
                found.st_uid,
                geteuid().as_raw(),
                if by_group && in_group() { "group" } else { "anyone" },
            )),
            _ if by_group => Some(format!(
                "{named} can be written by its group (gid {}, mode {mode:04o}): take that from it (chmod g-w), or set the \
                 option trust to group",
                found.st_gid,
            )),
            _ => None,
        };
        match complaint {
            Some(complaint) => Err(not_trusted(complaint)),
            None => {
                let shared = by_group || !is_ours(&found);
                Ok(OsDirectory { fd: Arc::new(fd), path, trust, reach: (mode & 0o011) << 1, shared })
            }
        }
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
        self.look(name).is_ok()
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
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

    /// What has this name, itself and not what it leads to.
    pub(super) fn look(&self, name: &str) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn subdirectory(&self, name: &str, create: bool) -> io::Result<OsDirectory> {
        if create {
            match single(name).and_then(|name| rustix::fs::mkdirat(&self.fd, name, Mode::from(0o700))) {
                Ok(()) | Err(Errno::EXIST) => self.sync()?,
                Err(error) => return Err(naming(&name, error.into())),
            }
        }
        let open = |name| rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
        let fd = apart_from_streams(|| {
            single(name).and_then(open).map_err(|error| match error {
                // A link, too, is "not a directory".
                Errno::NOTDIR | Errno::LOOP => {
                    let kind =
                        self.look(name).map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode));
                    is_no(&name, what(kind), "directory")
                }
                error => naming(&name, error.into()),
            })
        })?;
        OsDirectory::check(fd, self.path.join(name), self.trust)
    }

    /// Another descriptor of it, which has locks of its own.
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
        let length = self.check_file(name, &file)?;
        if how.creates() && length == 0 {
            write_in_place(&file);
        }
        Ok(fs::File::from(file))
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

    /// Whether it is a regular file that nobody else can have made, or can write to, under this name or another. Its length.
    fn check_file(&self, name: &str, file: impl AsFd) -> io::Result<u64> {
        let found = rustix::fs::fstat(file).map_err(|error| naming(&name, error.into()))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::RegularFile {
            return Err(is_no(&name, what(kind), "file"));
        }
        let others = self.reach & if self.trust == Trust::Group { 0o002 } else { 0o022 };
        let complaint = if self.trust == Trust::Anyone {
            return Ok(found.st_size.unsigned_abs());
        } else if self.shared && found.st_nlink > 1 {
            format!("has {} names (hard links); put a copy in its place", found.st_nlink)
        } else if self.trust == Trust::Owner && !is_ours(&found) {
            format!("belongs to the user with uid {}", found.st_uid)
        } else if found.st_mode & others != 0 {
            format!("can be written by others (mode {:04o})", found.st_mode & 0o7777)
        } else {
            return Ok(found.st_size.unsigned_abs());
        };
        Err(not_trusted(format!("{} {complaint}", self.path.join(name).display())))
    }

    /// What an operation on a name says that failed.
    #[cold]
    fn named(&self, name: &str, error: Errno) -> io::Error {
        if matches!(error, Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV | Errno::NOTDIR)
            && let Ok(found) = self.look(name)
            && FileType::from_raw_mode(found.st_mode) != FileType::RegularFile
        {
            return is_no(&name, what(FileType::from_raw_mode(found.st_mode)), "file");
        }
        naming(&name, error.into())
    }
}

impl Directory for OsDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.names()
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: self.open_file(name, how)? }))
    }

    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.subdirectory(name, create)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = single(from).and(single(to)).and_then(|to| rustix::fs::renameat(&self.fd, from, &self.fd, to));
        renamed.map_err(|error| naming(&to, error.into()))
    }

    fn move_into(&self, name: &str, directory: &str) -> io::Result<()> {
        let folder = self.subdirectory(directory, true)?;
        let mut to = single(name)?.to_owned();
        while folder.has(&to) {
            to.push_str(".again");
        }
        rustix::fs::renameat(&self.fd, name, &folder.fd, &to).map_err(|error| naming(&name, error.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match single(name).and_then(|name| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.named(name, error)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    fn lock(&self, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>> {
        ownership::own(self, name)
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

/// Whether it belongs to the user that the process runs as, or to root, who can do everything anyway.
pub(super) fn is_ours(found: &Stat) -> bool {
    found.st_uid == geteuid().as_raw() || found.st_uid == 0
}

/// A name that stays in the directory.
fn single(name: &str) -> Result<&str, Errno> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." { Err(Errno::INVAL) } else { Ok(name) }
}

/// What something is, for a person.
pub(super) fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

#[cold]
pub(super) fn is_no(name: &dyn std::fmt::Display, is: &str, should: &str) -> io::Error {
    let kind = if should == "directory" { io::ErrorKind::NotADirectory } else { io::ErrorKind::InvalidInput };
    io::Error::new(kind, format!("{name} is {is}, not a {should}"))
}

#[cold]
pub(super) fn not_trusted(complaint: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, NotTrusted(complaint))
}

/// The error with the name that it is about.
#[cold]
pub(super) fn naming(name: &dyn std::fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Named { name: name.to_string(), error })
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
