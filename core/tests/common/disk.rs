//! Filesystems of a test's own, small and breakable: tmpfs, and ext4 in a file on one.
//!
//! Mounting takes root. Where we may not, there is no disk, and the test that wanted it is passed over.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Process;

/// Which filesystem a small disk has.
const KIND: &str = "UNISTREAM_TEST_DISK";

/// Mounts by a loop device. One that is found free may be another's by the time that it is taken.
fn mount(arguments: &[&str]) -> bool {
    (0..20).any(|turn| {
        if turn > 0 {
            std::thread::sleep(Duration::from_millis(20 * turn));
            // The kernel may still know an older state of a btrfs by another loop device, and refuses this one then.
            quietly("btrfs", &["device", "scan", "--forget"]);
        }
        quietly("mount", arguments)
    })
}

/// Runs a command that must not be heard. Whether it succeeded.
fn quietly(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A small filesystem, unmounted when the test ends.
pub struct SmallDisk {
    root: tempfile::TempDir,
    kind: &'static str,
    mounted: bool,
}

impl SmallDisk {
    /// A tmpfs, or what the variable says. `None` where we may not mount.
    pub fn new(bytes: u64) -> Option<SmallDisk> {
        match std::env::var(KIND).as_deref() {
            Ok("ext4") => SmallDisk::ext4(bytes),
            _ => SmallDisk::tmpfs(bytes),
        }
    }

    fn tmpfs(bytes: u64) -> Option<SmallDisk> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("disk")).unwrap();
        let mut disk = SmallDisk { root, kind: "tmpfs", mounted: false };
        let at = disk.path();
        disk.mounted =
            quietly("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs", at.to_str().unwrap()]);
        disk.mounted.then_some(disk)
    }

    /// An ext4 with room for about so many bytes, in a sparse file. The loop device goes with the mount.
    pub fn ext4(bytes: u64) -> Option<SmallDisk> {
        const JOURNAL: u64 = 1 << 20;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("disk")).unwrap();
        // The image has a filesystem of its own, so that its blocks can be taken away.
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        let room = format!("size={},mode=700", bytes + 3 * JOURNAL);
        if !quietly("mount", &["-t", "tmpfs", "-o", &room, "tmpfs", below.to_str().unwrap()]) {
            return None;
        }
        let mut disk = SmallDisk { root, kind: "ext4", mounted: false };
        let image = fs::File::create(disk.image()).unwrap();
        image.set_len(bytes + 2 * JOURNAL).unwrap();
        let image = disk.image();
        let image = image.to_str().unwrap();
        let made = quietly("mkfs.ext4", &["-q", "-F", "-b", "1024", "-J", "size=1", "-m", "0", "-N", "256", image]);
        if !made || !disk.mount() {
            return None;
        }
        Some(disk)
    }

    /// A filesystem of a kind that a program may meet: tmpfs, ext2, ext4, xfs or btrfs, as small as it can be made. `None`
    /// where we may not mount; who may has to have the tools.
    pub fn of(kind: &'static str) -> Option<SmallDisk> {
        if kind == "tmpfs" {
            return SmallDisk::tmpfs(8 << 20);
        }
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::create_dir(root.path().join("disk")).unwrap();
        if !quietly("mount", &["-t", "tmpfs", "-o", "size=1g,mode=700", "tmpfs", below.to_str().unwrap()]) {
            return None;
        }
        let mut disk = SmallDisk { root, kind, mounted: false };
        make(kind, &disk.image());
        assert!(disk.mount(), "this kernel mounts no {kind}");
        Some(disk)
    }

    /// An ext4 whose image is a file of a btrfs: what is [spoiled](Self::spoil) on that is an error of the ext4's device.
    pub fn ext4_on_btrfs() -> Option<SmallDisk> {
        let mut disk = SmallDisk::of("btrfs")?;
        fs::create_dir(disk.root.path().join("upper")).unwrap();
        make("ext4", &disk.path().join("upper"));
        disk.kind = "ext4 on btrfs";
        assert!(disk.mount_upper());
        Some(disk)
    }

    fn mount_upper(&self) -> bool {
        let (image, at) = (self.root.path().join("disk/upper"), self.root.path().join("upper"));
        mount(&["-t", "ext4", "-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()])
    }

    /// Makes these pages of files unreadable: btrfs says so of bytes that are not those that it has a checksum of.
    pub fn spoil(&mut self, pages: &[Vec<u8>]) {
        if self.kind == "ext4 on btrfs" {
            unmount(&self.path());
        }
        unmount(&self.root.path().join("disk"));
        let mut bytes = fs::read(self.image()).unwrap();
        for page in pages {
            let places = (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(page));
            let places: Vec<usize> = places.collect();
            assert!(!places.is_empty(), "the page is on the disk");
            places.into_iter().for_each(|at| bytes[at + page.len() / 2] ^= 1);
        }
        fs::write(self.image(), bytes).unwrap();
        self.mounted = false;
        assert!(self.mount() && (self.kind != "ext4 on btrfs" || self.mount_upper()));
    }

    /// Takes all but about so many bytes.
    pub fn leave(&self, bytes: u64) {
        let free = rustix::fs::statvfs(self.path()).unwrap();
        let ballast = (free.f_bavail * free.f_frsize).saturating_sub(bytes);
        let file = fs::File::create(self.path().join("ballast")).unwrap();
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, ballast).is_err() {
            let mut left = ballast;
            while left > 0 && (&file).write_all(&vec![7; left.min(1 << 16) as usize]).is_ok() {
                left = left.saturating_sub(1 << 16);
            }
        }
        file.sync_all().unwrap();
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.root.path().join(if self.kind == "ext4 on btrfs" { "upper" } else { "disk" })
    }

    /// What stands for the device of an ext4.
    pub fn image(&self) -> PathBuf {
        self.root.path().join("below/image")
    }

    fn mount(&mut self) -> bool {
        let (image, at) = (self.image(), self.root.path().join("disk"));
        let options = if self.kind == "ext4" { "loop,errors=remount-ro" } else { "loop" };
        self.mounted = mount(&["-o", options, image.to_str().unwrap(), at.to_str().unwrap()]);
        self.mounted
    }

    /// Unmounts an ext4; fails as long as anybody has a file of it open.
    pub fn unmount(&mut self) {
        unmount(&self.path());
        self.mounted = false;
    }

    /// Unmounts an ext4, repairs it, and mounts it again: as after a reboot.
    pub fn repair(&mut self) {
        self.unmount();
        self.mount_repaired();
    }

    pub fn mount_repaired(&mut self) {
        let image = self.image();
        // 1: errors were corrected.
        let status = Command::new("fsck.ext4").arg("-fy").arg(image).output().unwrap().status;
        assert!(status.code().is_some_and(|code| code <= 1), "fsck: {status}");
        assert!(self.mount(), "the repaired disk is mounted");
    }

    /// Makes this a new boot of the kernel for whoever asks, in a child with mounts of its own.
    pub fn reboot(&self) {
        let boot = self.root.path().join("boot");
        fs::write(&boot, b"another boot").unwrap();
        assert!(quietly("mount", &["--bind", boot.to_str().unwrap(), "/proc/sys/kernel/random/boot_id"]));
    }

    /// Takes all the space that is left. [`free`](Self::free) gives it back.
    pub fn fill(&self) {
        fill(&self.path().join("filler"));
    }

    pub fn free(&self) {
        for filler in ["filler", "ballast"].map(|name| self.path().join(name)).into_iter().filter(|path| path.exists())
        {
            // First cut: a child that another test is about to start may have it open still.
            fs::OpenOptions::new().write(true).truncate(true).open(&filler).unwrap();
            fs::remove_file(filler).unwrap();
        }
        // ext4 gives the blocks out again when their release is in its journal, which may be later than the name's.
        rustix::fs::syncfs(fs::File::open(self.path()).unwrap()).unwrap();
    }

    /// Breaks an ext4 under its users. [`repair`](Self::repair) mends it.
    pub fn fail(&self, how: Failure) {
        let at = self.path();
        let at = at.to_str().unwrap();
        match how {
            Failure::ReadOnly => assert!(quietly("mount", &["-o", "remount,abort", at])),
            // FS_IOC_SHUTDOWN, the journal not written: as if the plug was pulled.
            Failure::Gone => {
                let shutdown = "my $how = pack('L', 2); open(F, '<', $ARGV[0]) && ioctl(F, 0x8004587d, $how) or die $!";
                assert!(quietly("perl", &["-e", shutdown, at]));
            }
            Failure::Thin => fill(&self.root.path().join("below/filler")),
        }
    }

    /// Gives back what [`Failure::Thin`] took.
    pub fn restore(&self) {
        let _ = fs::remove_file(self.root.path().join("below/filler"));
    }
}

/// What happens to a disk in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// ext4 met an error and is read-only from now on.
    ReadOnly,
    /// Every operation fails.
    Gone,
    /// The device promised blocks that it does not have: writing back fails, then everything.
    Thin,
}

/// Makes a filesystem in a sparse file.
fn make(kind: &str, image: &Path) {
    let (megabytes, package, options): (u64, _, &[&str]) = match kind {
        "xfs" => (320, "xfsprogs", &["-q"]),
        "btrfs" => (128, "btrfs-progs", &["-q"]),
        _ => (16, "e2fsprogs", &["-q", "-F", "-b", "4096"]),
    };
    fs::File::create(image).unwrap().set_len(megabytes << 20).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).args(options).arg(image).output();
    let made = made.unwrap_or_else(|error| panic!("mkfs.{kind}: {error}; install the package {package}"));
    assert!(made.status.success(), "mkfs.{kind}: {}", String::from_utf8_lossy(&made.stderr));
}

fn fill(filler: &Path) {
    let mut file = match fs::OpenOptions::new().append(true).create(true).open(filler) {
        // Not even a name fits.
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return,
        file => file.unwrap(),
    };
    for length in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; length]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let upper = self.kind == "ext4 on btrfs";
        for (what, mounted) in [("upper", upper), ("disk", self.mounted), ("below", self.image().exists())] {
            let at = self.root.path().join(what);
            let unmounted = !mounted || quietly("umount", &["--lazy", at.to_str().unwrap()]);
            assert!(unmounted || std::thread::panicking());
        }
    }
}

/// A child process whose mounts go with it, however it ends. `None` where we may not mount.
pub fn with_mounts(role: &str, arguments: &[(&str, &str)]) -> Option<Process> {
    if !can_mount() {
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--"]).arg(std::env::current_exe().unwrap());
    Some(Process::spawn_by(unshare, role, arguments))
}

/// Runs the tests of this binary once more, but those whose names contain `skip`, with ext4 as the small disk.
/// `None` where we may not mount.
pub fn all_again_on_ext4(skip: &str) -> Option<std::process::Output> {
    if !can_mount() {
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--"]).arg(std::env::current_exe().unwrap()).args(["--skip", skip]);
    Some(unshare.env(KIND, "ext4").output().unwrap())
}

/// Whether this process may mount an ext4 that lies in a file.
fn can_mount() -> bool {
    let probe = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && truncate -s 4M $d/i && mkfs.ext4 -q -F $d/i && \
                 mkdir $d/m && mount -o loop $d/i $d/m; ok=$?; umount $d/m; umount $d; rmdir $d; exit $ok";
    quietly("unshare", &["--mount", "--", "sh", "-c", probe])
}

/// Unmounts a disk. A program that another test starts has its files, too, for the moment before it begins.
fn unmount(at: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !quietly("umount", &[at.to_str().unwrap()]) {
        assert!(Instant::now() < deadline, "a file is still open");
        std::thread::sleep(Duration::from_millis(20));
    }
}
