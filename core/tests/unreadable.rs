//! Sectors that the disk cannot read cost what stands in them: the buffer opens, what can be read is delivered, the rest is
//! counted and set aside, and what may be read some day is kept (P6).

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::disk::SmallDisk;
use common::*;
use unistream::*;

const RECORDS: u64 = 1500;

fn builder(dir: &Path) -> Builder {
    let builder = Producer::builder(dir).max_records(10).linger(NEVER).segment_bytes(256 << 10);
    builder.schedule_max(Duration::ZERO)
}

/// A page of one of the buffer's files.
type Choice = fn(&Path) -> (PathBuf, usize);

fn newest_cursor(dir: &Path) -> (PathBuf, usize) {
    let files = (0..4).map(|which| dir.join(format!("cursor.{which}")));
    let newest = files.max_by_key(|file| format::cursor(&fs::read(file).unwrap()).map(|state| state.generation));
    (newest.unwrap(), 0)
}

fn header(dir: &Path) -> (PathBuf, usize) {
    (segments(dir)[2].clone(), 0)
}

fn middle(dir: &Path) -> (PathBuf, usize) {
    (segments(dir)[2].clone(), 100 << 10)
}

/// The last segment with something in this page: one that was only prepared is zeros, and so are pages of the filesystem's own.
fn last_with(dir: &Path, at: usize) -> PathBuf {
    let has = |file: &PathBuf| fs::read(file).unwrap()[at..at + 4096].iter().any(|byte| *byte != 0);
    segments(dir).into_iter().rfind(has).unwrap()
}

fn last_segment(dir: &Path) -> (PathBuf, usize) {
    (last_with(dir, 20 << 10), 20 << 10)
}

fn last_header(dir: &Path) -> (PathBuf, usize) {
    (last_with(dir, 0), 0)
}

const CHOICES: [(&str, Choice); 5] = [
    ("newest cursor", newest_cursor),
    ("header", header),
    ("middle", middle),
    ("last segment", last_segment),
    ("last header", last_header),
];

fn unreadable_sectors(disk: impl Fn() -> Option<SmallDisk>, closed: bool) {
    let root = scratch();
    let producer = builder(root.path()).open_manual(Limits::default()).unwrap();
    for number in 0..RECORDS {
        producer.put(&payload(number, 0).repeat(125)).unwrap();
    }
    let image = scratch();
    if !closed {
        // As a process leaves it that dies here.
        copy_dir(root.path(), image.path());
    }
    drop(producer);
    let from = if closed { root.path() } else { image.path() };
    for (what, choose) in CHOICES {
        let Some(mut disk) = disk() else { return say("not root: no disk to spoil") };
        let dir = disk.path().join("buffer");
        // Copied: what the crate makes on a btrfs has no checksums.
        copy_dir(from, &dir);
        let (file, at) = choose(&dir);
        let page = fs::read(&file).unwrap()[at..at + 4096].to_vec();
        assert!(page.iter().any(|byte| *byte != 0), "{what}: nothing stands in the page");
        disk.spoil(&[page]);
        let read = fs::read(&file).map_err(|error| error.raw_os_error());
        assert_eq!(read, Err(Some(5)), "{what}: the disk cannot read it");
        let producer = builder(&dir).open_manual(Limits::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut delivered = BTreeSet::new();
        for batch in take_all(&producer) {
            for record in batch.records {
                assert_eq!(record.data, payload(record.seq - 1, 0).repeat(125), "{what}");
                assert!(delivered.insert(record.seq), "{what}: {} twice", record.seq);
            }
        }
        let (stats, got) = (producer.stats(), delivered.len() as u64);
        let lost = RECORDS - got;
        assert!(lost <= 6, "{what}: a page costs the records that stand in it, not {lost}");
        assert_eq!(stats.pending_records, 0, "{what}");
        if what != "newest cursor" {
            assert!(stats.corrupt_regions > 0 && stats.corrupt_bytes >= 3000 && lost > 0, "{what}: {stats:?}");
            assert!(stats.lost_records <= lost && stats.lost_records + 6 >= lost, "{what}: {stats:?}");
        } else {
            assert_eq!((lost, stats.lost_records), (0, 0));
        }
        let seq = producer.put("after").unwrap();
        assert!(seq > RECORDS, "{what}: {seq} was given out before");
        assert_eq!(take_all(&producer).iter().flat_map(SeenBatch::texts).collect::<Vec<_>>(), ["after"]);
        producer.close(LONG).unwrap();
        let again = builder(&dir).open_manual(Limits::default()).unwrap().stats();
        assert_eq!(again.lost_records, stats.lost_records, "{what}: it stays counted");
        if ["middle", "header"].contains(&what) {
            let kept = dir.join("corrupt").join(file.file_name().unwrap());
            assert!(
                kept.exists(),
                "{what}: what may be read some day is kept: {:?}",
                fs::read_dir(dir.join("corrupt"))
            );
        }
    }
}

#[test]
fn unreadable_sectors_under_plain_files() {
    unreadable_sectors(|| SmallDisk::of("btrfs"), true);
    unreadable_sectors(|| SmallDisk::of("btrfs"), false);
}

#[test]
fn unreadable_sectors_under_mapped_files() {
    unreadable_sectors(SmallDisk::ext4_on_btrfs, true);
    unreadable_sectors(SmallDisk::ext4_on_btrfs, false);
}
