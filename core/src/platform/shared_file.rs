//! Files that others rotate, truncate and append to: looked up by their path each time, appended to wherever they end.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::descriptors::{apart_from_streams, may_write};
use super::directory::not_trusted;
use super::os_disk::OsFile;
use super::{File, SegmentReader, SegmentWriter, path_walk};

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
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
    /// Whether nobody but this user and root can change it.
    pub(crate) fn is_ours_alone(&self) -> bool {
        self.owner == rustix::process::geteuid().as_raw() && self.mode & 0o022 == 0
    }

    /// An error if it is anything but a file.
    pub(crate) fn require_file(&self) -> io::Result<()> {
        match self.kind {
            FileKind::Regular => Ok(()),
            kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a file", kind.name()))),
        }
    }
}

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

    fn of(mode: u32) -> FileKind {
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

/// How to open a file that others use too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// Create it if it does not exist.
    pub(crate) create: bool,
    /// Follow symbolic links at its path.
    pub(crate) follow: bool,
    /// The mode of a file that is created: just this one, or 0640 as far as the umask lets.
    pub(crate) mode: Option<u32>,
}

/// Group may read: those who ship and look at logs. The world may not.
const DEFAULT_MODE: u32 = 0o640;

pub(super) fn look(path: &Path, follow: bool) -> io::Result<Option<Seen>> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let seen = match rustix::fs::statx(CWD, path, flags, WANTED) {
        Ok(found) => Ok(seen_by_statx(&found)),
        // A sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
            found.map(|found| seen_by_stat(&found))
        }
        Err(error) => Err(error.into()),
    };
    match seen {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// No times: see `names_and_length`.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

fn seen_by_statx(found: &rustix::fs::Statx) -> Seen {
    let mode = u32::from(found.stx_mode);
    Seen {
        id: FileId { device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino },
        length: found.stx_size,
        links: found.stx_nlink.into(),
        kind: FileKind::of(mode),
        owner: found.stx_uid,
        mode: mode & 0o7777,
    }
}

fn seen_by_stat(found: &fs::Metadata) -> Seen {
    Seen {
        id: FileId { device: found.dev(), inode: found.ino() },
        length: found.len(),
        links: found.nlink(),
        kind: FileKind::of(found.mode()),
        owner: found.uid(),
        mode: found.mode() & 0o7777,
    }
}

pub(super) fn look_at(file: &fs::File) -> io::Result<Seen> {
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, WANTED) {
        Ok(found) => Ok(seen_by_statx(&found)),
        Err(Errno::NOSYS | Errno::PERM) => file.metadata().map(|found| seen_by_stat(&found)),
        Err(error) => Err(error.into()),
    }
}

/// What every file is opened with: nothing that stands there instead makes it wait.
const FILE: OFlags = OFlags::RDWR.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file to append to.
pub(super) fn open(path: &Path, how: Sharing) -> io::Result<Arc<dyn File>> {
    let (dir, name) = path_walk::above(path, how.follow)?;
    let mut flags = FILE | OFlags::APPEND;
    flags.set(OFlags::NOFOLLOW, !how.follow);
    let mode = Mode::from(how.mode.unwrap_or(DEFAULT_MODE));
    let open = |flags| apart_from_streams(|| Ok(fs::File::from(rustix::fs::openat(&dir, name, flags, mode)?)));
    let (file, is_new) = match open(flags) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && how.create => (open(flags | OFlags::CREATE)?, true),
        result => (result?, false),
    };
    let seen = look_at(&file)?;
    seen.require_file()?;
    if !how.follow {
        require_trust(&dir, &seen)?;
    }
    if let Some(mode) = how.mode.filter(|_| is_new && seen.length == 0) {
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(Arc::new(SharedFile(OsFile { file })))
}

/// Opens a file that nobody else uses, or creates it.
pub(super) fn open_alone(path: &Path, follow: bool) -> io::Result<fs::File> {
    let (dir, name) = path_walk::above(path, follow)?;
    let flags = FILE | OFlags::NOFOLLOW | OFlags::CREATE;
    let open = || Ok(fs::File::from(rustix::fs::openat(&dir, name, flags, Mode::from(0o600))?));
    let file = apart_from_streams(open)?;
    look_at(&file)?.require_file()?;
    Ok(file)
}

/// Opens what is no file, for writing only.
pub(crate) fn open_stream(path: &Path, follow: bool) -> io::Result<OwnedFd> {
    let (dir, name) = path_walk::above(path, follow)?;
    let mut flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    let open = || Ok(fs::File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?));
    let stream = apart_from_streams(open)?;
    if !follow {
        require_trust(&dir, &look_at(&stream)?)?;
    }
    Ok(stream.into())
}

/// An error if another may have put it there than whom the directory is of: he would read what is written, or have it written
/// where he may not himself. (The kernel's `protected_regular` and `protected_hardlinks` are the same where they are on.)
fn require_trust(dir: &OwnedFd, seen: &Seen) -> io::Result<()> {
    let ours = |owner: u32| owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours(seen.owner) && seen.links <= 1 {
        return Ok(());
    }
    let above = rustix::fs::fstat(dir)?;
    let one_writes = above.st_mode & 0o022 == 0;
    if seen.links > 1 && !(one_writes && ours(above.st_uid)) {
        let message = "it has a second name, which others may have made; the option follow_links permits that";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let given = ours(seen.owner) || (one_writes && above.st_uid == seen.owner);
    if !given {
        return Err(not_trusted(format!(
            "it belongs to the user with uid {}, who may have put it there; the option follow_links permits that",
            seen.owner
        )));
    }
    Ok(())
}

/// A file opened with `O_APPEND`: a write goes where the file ends in that moment, so that it is over nobody else's bytes.
struct SharedFile(OsFile);

impl File for SharedFile {
    fn look(&self) -> io::Result<Seen> {
        self.0.look()
    }

    fn append(&self, bytes: &[u8], end: u64) -> io::Result<u64> {
        may_write(end + bytes.len() as u64)?;
        let mut file = &self.0.file;
        file.write_all(bytes)?;
        // All else is read and written at its place, so that this is where the kernel put it.
        file.stream_position()
    }

    /// `pwrite` appends as long as the descriptor does, so that it is told not to.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        may_write(offset + bytes.len() as u64)?;
        let file = &self.0.file;
        let flags = rustix::fs::fcntl_getfl(file)?;
        rustix::fs::fcntl_setfl(file, flags - OFlags::APPEND)?;
        let written = file.write_all_at(bytes, offset);
        rustix::fs::fcntl_setfl(file, flags)?;
        written
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn map(self: Arc<Self>, _: usize, _: bool) -> io::Result<Box<dyn SegmentWriter>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn map_read(&self, _: usize, _: bool) -> io::Result<Arc<dyn SegmentReader>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
