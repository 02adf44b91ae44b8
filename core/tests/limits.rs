//! What a process may not have more of: descriptors, mappings, memory, the length of a file. Whatever the limit, it is an
//! error that says so; nothing that was accepted is lost, and the buffer goes on when there is more.
//!
//! Limits are the process's, so that each test that sets one does it in a child.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use unistream::*;

fn small_segments() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    options.max_records = 100;
    options.linger = NEVER;
    options
}

fn open(dir: &Path, options: &Options) -> Result<Buffer> {
    Buffer::open(dir, options.clone(), Limits::default())
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of files under `dir`.
fn mappings(dir: &Path) -> usize {
    let dir = dir.to_str().unwrap();
    fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains(dir)).count()
}

/// All that is in the buffer, in order.
fn drain(buffer: &Buffer) -> u64 {
    let mut seen = 0;
    while let Some(batch) = buffer.emit().unwrap() {
        for record in batch.iter() {
            seen += 1;
            assert_eq!(record.seq, seen);
            assert_eq!(record.data.len(), 1000);
        }
        buffer.commit(&batch).unwrap();
    }
    seen
}

/// Each segment kept its mapping and its descriptor: behind 1,024 of them no buffer of the process took anything.
#[test]
fn a_backlog_of_a_thousand_segments_has_few_descriptors_and_mappings() {
    for (durability, storage) in
        [(Durability::Interval, Storage::Auto), (Durability::Os, Storage::Auto), (Durability::Interval, Storage::File)]
    {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("buffer");
        let mut options = small_segments();
        (options.durability, options.storage) = (durability, storage);
        let before = descriptors();
        let buffer = open(&dir, &options).unwrap();
        let records = 75_000;
        let (mut most_descriptors, mut most_mappings) = (0, 0);
        for number in 0..records {
            buffer.put(&[7; 1000]).unwrap();
            if number % 10_000 == 9_999 {
                most_descriptors = most_descriptors.max(descriptors().saturating_sub(before));
                most_mappings = most_mappings.max(mappings(&dir));
            }
        }
        let segments = fs::read_dir(&dir).unwrap().count();
        assert!(segments > 1100, "{segments}");
        // Other tests of this process have theirs.
        assert!(most_descriptors < 60, "{most_descriptors} descriptors");
        assert!(most_mappings < 20, "{most_mappings} mappings");
        open(&root.path().join("another"), &options).unwrap().put("x").unwrap();
        buffer.sync().unwrap();
        buffer.seal().unwrap();
        assert_eq!(drain(&buffer), records);
        buffer.close().unwrap();
        drop(buffer);
        assert!(open(&dir, &options).unwrap().is_empty());
    }
}

/// Sets the soft limit, in a child.
#[allow(unsafe_code)]
fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    // SAFETY: plain data that lives for the calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
    }
}

/// Too few descriptors to open it, then just enough, then too few to go on: an error of its own each time, that is not
/// the disk's, and when there are more, all goes on.
#[test]
fn too_few_descriptors_are_an_error_that_says_so_and_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let code = in_fork(|| {
        let options = small_segments();
        // The limit is on numbers: no other test's leaves a gap below it.
        let _gaps: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let mut refused = 0;
        let buffer = loop {
            limit(libc::RLIMIT_NOFILE, descriptors() as u64 - 1 + refused);
            match open(dir.path(), &options) {
                Ok(buffer) => break buffer,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                    assert!(error.is_retryable() && error.message().contains("RLIMIT_NOFILE"), "{error}");
                    refused += 1;
                }
            }
            limit(libc::RLIMIT_NOFILE, u64::MAX);
        };
        assert!(refused > 4, "{refused}");
        let mut accepted = 0;
        let error = loop {
            match buffer.put(&[7; 1000]) {
                Ok(_) => accepted += 1,
                Err(error) => break error,
            }
            assert!(accepted < 100_000);
        };
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        limit(libc::RLIMIT_NOFILE, u64::MAX);
        for _ in 0..1000 {
            buffer.put(&[7; 1000]).unwrap();
        }
        buffer.sync().unwrap();
        buffer.seal().unwrap();
        assert_eq!(drain(&buffer), accepted + 1000);
        buffer.close().unwrap();
        0
    });
    assert_eq!(code, 0);
}

/// RLIMIT_FSIZE is a signal that ends the process, for whoever asks for more.
#[test]
fn a_limit_on_the_length_of_files_is_a_full_disk_and_no_signal() {
    for storage in [Storage::Auto, Storage::File] {
        let dir = tempfile::tempdir().unwrap();
        let code = in_fork(|| {
            let mut options = small_segments();
            options.storage = storage;
            limit(libc::RLIMIT_FSIZE, 50_000);
            let error = open(&dir.path().join("buffer"), &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
            assert!(error.message().contains("RLIMIT_FSIZE"), "{error}");
            limit(libc::RLIMIT_FSIZE, u64::MAX);
            let buffer = open(&dir.path().join("buffer"), &options).unwrap();
            limit(libc::RLIMIT_FSIZE, 50_000);
            let mut accepted = 0;
            let error = loop {
                match buffer.put(&[7; 1000]) {
                    Ok(_) => accepted += 1,
                    Err(error) => break error,
                }
                assert!(accepted < 100_000);
            };
            assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
            limit(libc::RLIMIT_FSIZE, u64::MAX);
            buffer.put(&[7; 1000]).unwrap();
            buffer.seal().unwrap();
            assert_eq!(drain(&buffer), accepted + 1);

            let log = dir.path().join("log");
            let sink = FileSink::create(&log).unwrap();
            let batch = Batch::from_records([NewRecord::new(&[b'x'; 20_000]), NewRecord::new(&[b'y'; 40_000])]);
            limit(libc::RLIMIT_FSIZE, 50_000);
            assert!(sink.send(&batch).is_err());
            limit(libc::RLIMIT_FSIZE, u64::MAX);
            assert!(sink.send(&batch).is_ok());
            assert_eq!(fs::metadata(&log).unwrap().len(), 60_002);
            0
        });
        assert_eq!(code, 0, "{storage:?}");
    }
}

/// Where no more can be mapped, the log is written all the same.
#[test]
fn where_a_mapping_is_refused_plain_writes_do() {
    let dir = tempfile::tempdir().unwrap();
    let code = in_fork(|| {
        let mut options = Options::default();
        options.linger = NEVER;
        let buffer = open(dir.path(), &options).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        // Less than a segment.
        limit(libc::RLIMIT_AS, (size << 10) + (8 << 20));
        let records = 60_000;
        for _ in 0..records {
            buffer.put(&[7; 1000]).unwrap();
        }
        assert!(fs::read_dir(dir.path()).unwrap().count() > 7);
        assert!(mappings(dir.path()) < 3, "{}", mappings(dir.path()));
        buffer.seal().unwrap();
        assert_eq!(drain(&buffer), records);
        0
    });
    assert_eq!(code, 0);
}

/// The flags of each mapping of a file under `dir`, as `smaps` has them.
fn flags(dir: &Path) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut flags = Vec::new();
    for line in maps.lines() {
        if let Some(found) = line.strip_prefix("VmFlags:") {
            flags.extend(ours.then(|| found.to_owned()));
        } else if line.contains('-') && line.split(' ').next().is_some_and(|range| !range.ends_with(':')) {
            ours = line.contains(dir.to_str().unwrap());
        }
    }
    flags
}

#[test]
fn a_core_dump_can_do_without_the_log() {
    for (core_dumps, is_dumped) in [(CoreDumps::Include, true), (CoreDumps::Exclude, false)] {
        // Mapped, whatever the usual directory is on.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut options = small_segments();
        (options.core_dumps, options.storage) = (core_dumps, Storage::Mapped);
        let buffer = open(dir.path(), &options).unwrap();
        for _ in 0..2000 {
            buffer.put(&[7; 1000]).unwrap();
        }
        let batch = buffer.emit().unwrap().unwrap();
        // The active segment, and the one that is read. One that is being prepared is mapped just before it is left out.
        let as_told = |flags: &String| flags.split(' ').any(|flag| flag == "dd") != is_dumped;
        let seen = || flags(dir.path());
        wait_until("all mappings are as told", || seen().iter().all(as_told));
        assert!(seen().len() > 1, "{:?}", seen());
        buffer.commit(&batch).unwrap();
    }
}
