//! Each filesystem that a buffer may be on: what has filled it is opened and drained, with no space at all, and the defaults
//! work on one that is small.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::disk::SmallDisk;
use common::*;
use unistream::*;

const ALL: [&str; 5] = ["tmpfs", "ext2", "ext4", "xfs", "btrfs"];

macro_rules! disk {
    ($kind:expr) => {
        match SmallDisk::of($kind) {
            Some(disk) => disk,
            None => return say("not root: no disk to fill"),
        }
    };
}

fn builder(dir: &Path) -> Builder {
    let builder = Producer::builder(dir).max_records(100).linger(NEVER).when_full(WhenFull::Error);
    builder.max_buffer_bytes(8 << 30).schedule_max(Duration::ZERO)
}

/// Puts until the disk is full. The seqs that were accepted.
fn fill(producer: &Producer) -> Vec<u64> {
    let mut seqs = Vec::new();
    for length in [50_000, 100] {
        loop {
            match producer.put(&vec![b'x'; length]) {
                Ok(seq) => seqs.push(seq),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
                    break;
                }
            }
        }
    }
    seqs
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    if role().is_none() {
        return;
    }
    let producer = builder(&PathBuf::from(argument("DIR"))).open_manual(Limits::default()).unwrap();
    let seqs = fill(&producer);
    say(format_args!("filled {}", seqs.len()));
    wait_for_parent();
}

/// A long outage fills the disk, the program ends one way or the other, and is started again: on XFS, ext2 and btrfs it never
/// opened again, since what was there already was asked for once more.
#[test]
fn a_buffer_that_filled_its_disk_opens_and_drains_on_every_filesystem() {
    for kind in ALL {
        for killed in [true, false] {
            let disk = disk!(kind);
            disk.leave(8 << 20);
            let dir = disk.path().join("buffer");
            let put = if killed {
                let child = Process::spawn("fill", &[("DIR", dir.to_str().unwrap())]);
                let put = child.wait_for("filled ").parse().unwrap();
                child.kill();
                put
            } else {
                let producer = builder(&dir).open_manual(Limits::default()).unwrap();
                let put = fill(&producer).len();
                let _ = producer.close(Duration::ZERO);
                put
            };
            assert!(put > 50, "{kind}");
            disk.fill();
            // Twice, since opening writes too.
            for _ in 0..2 {
                let producer = builder(&dir).open_manual(Limits::default());
                let producer = producer.unwrap_or_else(|error| panic!("{kind}, killed: {killed}: {error}"));
                assert_eq!(producer.stats().pending_records, put as u64, "{kind}");
                let _ = producer.close(Duration::ZERO);
            }
            let producer = builder(&dir).open_manual(Limits::default()).unwrap();
            let delivered: Vec<u64> = take_all(&producer).iter().flat_map(SeenBatch::seqs).collect();
            assert_eq!(delivered, (1..=put as u64).collect::<Vec<_>>(), "{kind}, killed: {killed}");
            assert_eq!(producer.stats().lost_records, 0);
            disk.free();
            wait_until("there is room again", || producer.put("again").is_ok());
            assert_eq!(take_all(&producer).iter().flat_map(SeenBatch::texts).collect::<Vec<_>>(), ["again"], "{kind}");
            drop(producer);
        }
    }
}

/// A copy of a live buffer shares its blocks on XFS, so that a store needs blocks of its own. On a full disk there are none,
/// and the producer was dead until it was opened again.
#[test]
fn a_copy_that_shares_blocks_and_a_full_disk_are_a_full_disk() {
    let disk = disk!("xfs");
    disk.leave(12 << 20);
    let producer = builder(&disk.path().join("buffer")).segment_bytes(1 << 20).open_manual(Limits::default()).unwrap();
    let mut seqs: Vec<u64> = (0..300).map(|_| producer.put(&[b'x'; 1000]).unwrap()).collect();
    rustix::fs::syncfs(std::fs::File::open(disk.path()).unwrap()).unwrap();
    let copy = |to: &str| {
        let mut copy = std::process::Command::new("cp");
        copy.args(["-a", "--reflink=always"]).arg(disk.path().join("buffer")).arg(disk.path().join(to));
        assert!(copy.status().unwrap().success());
    };
    copy("one");
    disk.fill();
    let mut refused = 0;
    while refused < 20 {
        match producer.put(&[b'y'; 1000]) {
            Ok(seq) => seqs.push(seq),
            Err(error) => {
                assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::DiskFull, false), "{error}");
                refused += 1;
            }
        }
        assert!(seqs.len() < 20_000, "this disk is never full");
    }
    disk.free();
    wait_until("there is room again", || producer.put(&[b'z'; 1000]).map(|seq| seqs.push(seq)).is_ok());
    for _ in 0..2000 {
        seqs.push(producer.put(&[b'z'; 1000]).unwrap());
    }
    let delivered: Vec<u64> = take_all(&producer).iter().flat_map(SeenBatch::seqs).collect();
    assert_eq!(delivered, seqs);
    let stats = producer.stats();
    assert_eq!((stats.lost_records, stats.corrupt_regions), (0, 0), "{stats:?}");
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

/// The defaults want segments of 16 MiB, and one in reserve.
#[test]
fn the_defaults_work_on_a_disk_of_8_megabytes() {
    for kind in ALL {
        let disk = disk!(kind);
        disk.leave(8 << 20);
        let producer = Producer::builder(disk.path().join("buffer")).open_manual(Limits::default()).unwrap();
        let mut put = 0;
        // More than the disk holds goes through it.
        for round in 0..40 {
            for _ in 0..10 {
                producer.put(&vec![round; 50_000]).unwrap_or_else(|error| panic!("{kind}, round {round}: {error}"));
                put += 1;
            }
            let taken: usize = take_all(&producer).iter().map(|batch| batch.records.len()).sum();
            assert_eq!(taken, 10, "{kind}");
        }
        assert_eq!(producer.stats().put_records, put);
        assert_eq!(producer.close(LONG).unwrap(), 0);
        let left = rustix::fs::statvfs(disk.path()).unwrap();
        assert!(left.f_bavail > 0, "{kind}: not all of the disk is taken");
    }
}
