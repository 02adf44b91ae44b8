//! Files that others rotate, truncate and append to. They are looked up by their path each time, and appended to wherever
//! they end.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fstat};

use super::descriptors::{apart_from_streams, may_write};
use super::disk::{File, SegmentReader, SegmentWriter, Sharing};
use super::os_file::OsFile;
use super::path_walk;
use super::stat::{Seen, look_at};
use super::trust::check_shared;

/// The group may read, because those who ship and look at logs are often in it. Others may not.
const DEFAULT_MODE: u32 = 0o640;

/// Flags that every file is opened with. Opening something that is no file, such as a pipe, does not wait.
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
        check_shared(&seen, &fstat(&dir)?)?;
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
        check_shared(&look_at(&stream)?, &fstat(&dir)?)?;
    }
    Ok(stream.into())
}

/// A file opened with `O_APPEND`. A write goes where the file ends at that moment, so it overwrites nobody else's bytes.
struct SharedFile(OsFile);

impl File for SharedFile {
    fn look(&self) -> io::Result<Seen> {
        self.0.look()
    }

    fn append(&self, bytes: &[u8], end: u64) -> io::Result<u64> {
        may_write(end + bytes.len() as u64)?;
        let mut file = &self.0.file;
        file.write_all(bytes)?;
        // Nothing else moves the position, since all else is read and written at offsets. So this is where the kernel put it.
        file.stream_position()
    }

    /// `pwrite` appends while the descriptor has `O_APPEND`, so the flag is taken off for the call.
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
