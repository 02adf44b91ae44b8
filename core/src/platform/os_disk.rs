//! The operating system's disk: the traits of `disk.rs` over its directories and files.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::directory::{OsDirectory, single};
use super::disk::{Directory, Disk, File, Holder, Open, Ownership, Sharing};
use super::named::naming;
use super::os_file::OsFile;
use super::requests::{self, Incoming, Outgoing};
use super::stat::{self, Seen};
use super::trust::Trust;
use super::{file_lock, ownership, path_walk, shared_file};

/// The operating system's disk.
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
        stat::look(path, follow)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        // Not opened by its name: what another user has put there by now could be a pipe, at which that waits for ever.
        Ok(path_walk::keep_names(&path_walk::find(dir, false, Trust::Anyone)?)?)
    }

    fn lock(&self, path: &Path, follow: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        file_lock::take(|| shared_file::open_alone(path, follow), false)
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

    fn lock_file(&self, name: &str) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        ownership::own_file(self, name)
    }

    fn hold(&self, name: Option<&str>) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let open = || name.map_or_else(|| self.reopen(), |name| self.open_file(name, Open::Read));
        Ok(file_lock::take(open, false)?.ok())
    }

    fn holder(&self, name: &str) -> io::Result<Option<Holder>> {
        match self.open_file(name, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file_lock::holder(&file?),
        }
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        match single(name).and_then(|name| rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(naming(&name, error.into())),
        }
    }

    fn is_remote(&self) -> io::Result<bool> {
        #[allow(clippy::unnecessary_cast)] // The field's type differs between architectures.
        let kind = rustix::fs::fstatfs(&self.fd)?.f_type as i64;
        Ok(is_remote(kind))
    }

    fn takes_requests(&self) -> bool {
        true
    }

    fn take_requests(&self, folder: &str) -> io::Result<Vec<Incoming>> {
        requests::take(self, folder)
    }

    fn ask(&self, folder: &str, what: &str) -> io::Result<Outgoing> {
        requests::ask(self, folder, what)
    }

    fn forget_requests(&self, folder: &str) -> io::Result<()> {
        requests::forget(self, folder)
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

/// Whether a filesystem of this kind is another machine's. Numbers from statfs(2) and `linux/magic.h`; those of SMB are of
/// its three versions. What a filesystem in user space (FUSE) stands for cannot be told.
fn is_remote(kind: i64) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: [i64; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    const AFS: [i64; 2] = [0x5346_414f, 0x6b41_4653];
    const CODA: i64 = 0x7375_7245;
    // Its sign is lost where the field is of 32 bits.
    let kind = kind & 0xffff_ffff;
    kind == NFS || kind == CODA || SMB.contains(&kind) || AFS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_filesystem_of_another_machine_is_known_by_its_number() {
        assert!(
            [0x6969, 0x517b, 0xff53_4d42, -11317950, 0x6b41_4653].into_iter().all(is_remote),
            "NFS, SMB, CIFS, AFS"
        );
        assert!(![0xef53, 0x5846_5342, 0x0102_1994, 0x9123_683e].into_iter().any(is_remote), "ext4, xfs, tmpfs, btrfs");
        let dir = tempfile::tempdir().unwrap();
        assert!(!OsDisk.directory(dir.path(), false, Trust::Owner).unwrap().is_remote().unwrap());
    }

    #[test]
    fn only_an_empty_directory_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = OsDisk.directory(dir.path(), false, Trust::Owner).unwrap();
        let inner = root.directory("inner", true).unwrap();
        inner.open("file", Open::New).unwrap();
        assert_eq!(root.remove_directory("inner").unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        inner.remove("file").unwrap();
        root.remove_directory("inner").unwrap();
        root.remove_directory("inner").unwrap();
        // Nothing is made any more in one that is gone.
        assert_eq!(inner.open("file", Open::Create).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
        let holder = root.lock("lock").unwrap().ok().unwrap();
        assert_eq!(root.holder("lock").unwrap(), Some(Holder { pid: std::process::id() }));
        drop(holder);
        assert_eq!((root.holder("lock").unwrap(), root.holder("none").unwrap()), (None, None));
    }

    /// Syncing the directory of a path once opened it by its name, and waited at a pipe that had been put there.
    #[test]
    fn a_pipe_in_the_place_of_a_directory_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let error = OsDisk.sync_dir(&pipe).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{error}");
        OsDisk.sync_dir(dir.path()).unwrap();
        OsDisk.sync_dir(Path::new("")).unwrap();
    }
}
