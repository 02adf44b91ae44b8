//! The real disk.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, StatxFlags};

use super::descriptors::{apart_from_streams, may_have_length, may_write};
use super::lock;
use super::mmap::{self, MappedWriter};
use super::{Directory, Disk, File, Holder, OsDirectory, Seen, SegmentReader, SegmentWriter, Sharing, shared_file};
use crate::options::Trust;

/// The operating system's files.
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn directory(&self, path: &Path, create: bool, trust: Trust) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(OsDirectory::open(path, create, trust)?))
    }

    fn boot_id(&self) -> u64 {
        match fs::read("/proc/sys/kernel/random/boot_id") {
            Ok(id) => id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            }),
            // Unknown: 0 is taken for "may have changed".
            Err(_) => 0,
        }
    }

    fn open(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: shared_file::open_alone(path, follow)? }))
    }

    fn open_shared(&self, path: &Path, how: Sharing) -> io::Result<Arc<dyn File>> {
        shared_file::open(path, how)
    }

    fn look(&self, path: &Path, follow: bool) -> io::Result<Option<Seen>> {
        shared_file::look(path, follow)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        apart_from_streams(|| fs::File::open(dir))?.sync_all()
    }

    fn lock(&self, path: &Path, follow: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        lock::take(|| shared_file::open_alone(path, follow), false)
    }
}

pub(super) struct OsFile {
    pub(super) file: fs::File,
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(names_and_length(&self.file)?.1)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        may_have_length(&self.file, len)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        may_have_length(&self.file, len)?;
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn is_allocated(&self, len: u64) -> io::Result<bool> {
        // Blocks of 512 bytes, whatever those of the filesystem are.
        let found = rustix::fs::fstat(&self.file)?;
        let (size, blocks) = (u64::try_from(found.st_size), u64::try_from(found.st_blocks));
        Ok(size.is_ok_and(|size| size >= len) && blocks.is_ok_and(|blocks| blocks.saturating_mul(512) >= len))
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buf.len();
        while !buf.is_empty() {
            match self.file.read_at(buf, offset) {
                Ok(0) => break,
                Ok(count) => {
                    buf = &mut buf[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buf.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        may_write(offset.saturating_add(bytes.len() as u64))?;
        self.write_within(bytes, offset)
    }

    fn write_within(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn look(&self) -> io::Result<Seen> {
        shared_file::look_at(&self.file)
    }

    fn is_there(&self) -> io::Result<bool> {
        Ok(names_and_length(&self.file)?.0 > 0)
    }

    fn map(self: Arc<Self>, len: usize, dumped: bool) -> io::Result<Box<dyn SegmentWriter>> {
        Ok(Box::new(MappedWriter::new(self, len, dumped)?))
    }

    fn map_read(&self, len: usize, dumped: bool) -> io::Result<Arc<dyn SegmentReader>> {
        mmap::map_read(&self.file, len, dumped)
    }
}

/// How many names a file has, and how long it is. Its times are not asked for: from Linux 6.13 on the kernel would then have to
/// tell the next store from those before, so that every sync that follows would have a new time to write.
pub(super) fn names_and_length(file: &fs::File) -> io::Result<(u64, u64)> {
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK | StatxFlags::SIZE) {
        Ok(found) => Ok((found.stx_nlink.into(), found.stx_size)),
        // A sandbox that does not know the call.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            file.metadata().map(|metadata| (metadata.nlink(), metadata.len()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

#[allow(clippy::useless_conversion)] // The fields' types differ between architectures.
pub(super) fn identity(found: &rustix::fs::Stat) -> Identity {
    (found.st_dev.into(), found.st_ino.into())
}
