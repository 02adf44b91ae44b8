//! The real disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, StatxFlags};

use super::mapped::{self, MappedWriter};
use super::{Directory, Disk, File, Holder, Open, OsDirectory, SegmentReader, SegmentWriter, sync_name};

/// The operating system's files.
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn directory(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        if create {
            create_dir(path)?;
        }
        Ok(Arc::new(OsDirectory::open(path)?))
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

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(how != Open::Read).mode(if how == Open::CreateShared { 0o666 } else { 0o600 });
        options.create(how.creates()).truncate(how == Open::Truncate);
        Ok(Arc::new(OsFile { file: options.open(path)? }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        let identity = || fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        lock(identity, || {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        })
    }
}

/// Makes a directory, and those above it, with names that survive a power loss; one that exists is no error.
fn create_dir(dir: &Path) -> io::Result<()> {
    let made = match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?;
            create_dir(parent)?;
            fs::DirBuilder::new().mode(0o700).create(dir)
        }
        result => result,
    };
    made.and_then(|()| sync_name(&OsDisk, dir))
}

pub(super) struct OsFile {
    pub(super) file: fs::File,
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(names_and_length(&self.file)?.1)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
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
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn is_there(&self) -> io::Result<bool> {
        Ok(names_and_length(&self.file)?.0 > 0)
    }

    fn map(self: Arc<Self>, len: usize) -> io::Result<Box<dyn SegmentWriter>> {
        Ok(Box::new(MappedWriter::new(&self.file, len)?))
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<dyn SegmentReader>> {
        mapped::map_read(&self.file, len)
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

/// Locks held by this process, by device and inode: POSIX locks do not exclude a second opener of the same
/// process, and closing any descriptor of the file would drop the lock, so it must not even be opened.
static HELD: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// Device and inode.
pub(super) type Identity = (u64, u64);

struct Lock {
    identity: Identity,
    // Closing it releases the lock. A forked child does not have the lock: POSIX locks are not inherited.
    _file: fs::File,
    guard: super::ForkGuard,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.guard.is_forked() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.identity);
        }
    }
}

/// Takes the lock of the file that `open` opens, which has that identity if it exists.
pub(super) fn lock(
    identity: impl Fn() -> Option<Identity>,
    open: impl FnOnce() -> io::Result<fs::File>,
) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
    let guard = super::ForkGuard::new();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if identity().is_some_and(|identity| held.contains(&identity)) {
        return Ok(Err(Holder { pid: std::process::id() }));
    }
    let file = open()?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            return Ok(Err(Holder { pid: holder(&file) }));
        }
        Err(error) => return Err(error.into()),
    }
    let metadata = file.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    held.insert(identity);
    Ok(Ok(Box::new(Lock { identity, _file: file, guard })))
}

/// The pid of whoever has the lock, if anybody has.
pub(super) fn owner(identity: Identity, open: impl FnOnce() -> io::Result<fs::File>) -> io::Result<Option<u32>> {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.contains(&identity) {
        // Opening and closing the file here would drop the lock.
        return Ok(Some(std::process::id()));
    }
    Ok(Some(holder(&open()?)).filter(|pid| *pid != 0))
}

/// The pid that holds the lock, 0 if it cannot be told (it may just have let go).
fn holder(file: &fs::File) -> u32 {
    let probe = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
    match rustix::process::fcntl_getlk(file, &probe) {
        Ok(Some(found)) => found.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs()),
        _ => 0,
    }
}
