//! What stands at a path or is open: its kind, its owner, its size.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Stat, StatxFlags};
use rustix::io::Errno;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    #[allow(clippy::useless_conversion)] // The fields' types differ between architectures.
    pub(super) fn of(found: &Stat) -> FileId {
        FileId { device: found.st_dev.into(), inode: found.st_ino.into() }
    }
}

/// What stands at a path, or is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: FileId,
    pub(crate) length: u64,
    pub(crate) links: u64,
    pub(crate) kind: FileKind,
    pub(crate) owner: u32,
    /// The twelve bits of permissions.
    pub(crate) mode: u32,
}

impl Seen {
    /// An error if it is anything but a file.
    pub(crate) fn require_file(&self) -> io::Result<()> {
        match self.kind {
            FileKind::Regular => Ok(()),
            kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a file", kind.name()))),
        }
    }
}

/// What kind of thing has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    Link,
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
}

impl FileKind {
    /// What it is, for a person.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FileKind::Regular => "a file",
            FileKind::Directory => "a directory",
            FileKind::Link => "a symbolic link",
            FileKind::Fifo => "a named pipe",
            FileKind::Socket => "a socket",
            FileKind::CharacterDevice => "a character device",
            FileKind::BlockDevice => "a block device",
        }
    }

    pub(super) fn of(found: &Stat) -> FileKind {
        FileKind::of_mode(found.st_mode)
    }

    fn of_mode(mode: u32) -> FileKind {
        #[allow(clippy::useless_conversion)] // The type differs between architectures.
        match FileType::from_raw_mode(mode.into()) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Link,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::CharacterDevice | FileType::Unknown => FileKind::CharacterDevice,
        }
    }
}

/// What is asked of a file. No times: from Linux 6.13 on the kernel has to tell the next store to a file from those before
/// once somebody has asked for its times, so that every sync that follows has a new time to write.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

/// What stands at a path, if anything does; with `follow` where the links there lead.
pub(super) fn look(path: &Path, follow: bool) -> io::Result<Option<Seen>> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let seen = match rustix::fs::statx(CWD, path, flags, WANTED) {
        Ok(found) => Ok(by_statx(&found)),
        // A sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
            found.map(|found| by_metadata(&found))
        }
        Err(error) => Err(error.into()),
    };
    match seen {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The same of an open file.
pub(super) fn look_at(file: &fs::File) -> io::Result<Seen> {
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, WANTED) {
        Ok(found) => Ok(by_statx(&found)),
        Err(Errno::NOSYS | Errno::PERM) => file.metadata().map(|found| by_metadata(&found)),
        Err(error) => Err(error.into()),
    }
}

fn by_statx(found: &rustix::fs::Statx) -> Seen {
    let mode = u32::from(found.stx_mode);
    Seen {
        id: FileId { device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino },
        length: found.stx_size,
        links: found.stx_nlink.into(),
        kind: FileKind::of_mode(mode),
        owner: found.stx_uid,
        mode: mode & 0o7777,
    }
}

fn by_metadata(found: &fs::Metadata) -> Seen {
    Seen {
        id: FileId { device: found.dev(), inode: found.ino() },
        length: found.len(),
        links: found.nlink(),
        kind: FileKind::of_mode(found.mode()),
        owner: found.uid(),
        mode: found.mode() & 0o7777,
    }
}
