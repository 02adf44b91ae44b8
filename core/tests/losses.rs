//! What was lost or set aside is said, stays said when the buffer is opened again, and is never called recovered (P6).

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::format;
use common::*;
use unistream::*;

fn builder(dir: &Path) -> Builder {
    let builder = Producer::builder(dir).segment_bytes(64 << 10).max_records(10).linger(NEVER);
    builder.durability(Durability::Os).schedule_max(Duration::ZERO)
}

/// A buffer with records of 100 bytes, as a process leaves it that dies, or that closes it.
fn log(dir: &Path, records: u64, killed: bool) {
    let root = scratch();
    let producer = builder(root.path()).open_manual(Limits::default()).unwrap();
    for number in 0..records {
        producer.put(&format!("{number:03}{}", "x".repeat(97))).unwrap();
    }
    if killed {
        copy_dir(root.path(), dir);
    }
    producer.close(Duration::ZERO).unwrap();
    drop(producer);
    if !killed {
        copy_dir(root.path(), dir);
    }
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).unwrap()
}

fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("corrupt")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The last records of a process that was killed, or closed the buffer, are damaged. It was taken for a put that had not
/// returned: not counted, and their seqs given to others.
#[test]
fn the_damaged_tail_of_a_killed_buffer_is_counted_and_its_seqs_are_not_given_out_again() {
    type Damage = fn(&mut [u8]);
    let flip: Damage = |bytes| {
        let at = find(bytes, "049x") + 50;
        bytes[at] ^= 1;
    };
    let garbage: Damage = |bytes| {
        let range = find(bytes, "040x") - 32..find(bytes, "049x") + 100;
        let mut random = Random::new(7);
        bytes[range].fill_with(|| random.next() as u8 | 1);
    };
    let zeros: Damage = |bytes| {
        let range = find(bytes, "040x") - 40..find(bytes, "049x") + 100;
        bytes[range].fill(0);
    };
    for killed in [true, false] {
        for (what, whole, damage) in [("flip", 49, flip), ("garbage", 40, garbage), ("zeros", 40, zeros)] {
            let dir = scratch();
            log(dir.path(), 50, killed);
            let file = &segments(dir.path())[0];
            let mut bytes = fs::read(file).unwrap();
            damage(&mut bytes);
            fs::write(file, bytes).unwrap();
            let events = Events::default();
            let producer = builder(dir.path()).observer(events.observer()).open_manual(Limits::default()).unwrap();
            let delivered: usize = take_all(&producer).iter().map(|batch| batch.records.len()).sum();
            assert_eq!(delivered, whole, "{what}, killed: {killed}");
            let seq = producer.put("next").unwrap();
            assert!(seq > 50, "{what}, killed: {killed}: {seq} was given out before");
            let stats = producer.stats();
            assert!(stats.corrupt_regions > 0 && stats.corrupt_bytes > 0, "{what}, killed: {killed}: {stats:?}");
            assert!(stats.lost_records >= 1, "{what}, killed: {killed}: {stats:?}");
            assert!(!set_aside(dir.path()).is_empty(), "{what}, killed: {killed}");
            take_all(&producer);
            producer.close(LONG).unwrap();
            // It stays said.
            for _ in 0..2 {
                let again = builder(dir.path()).open_manual(Limits::default()).unwrap();
                let now = again.stats();
                let both = [&now, &stats].map(|stats| (stats.corrupt_regions, stats.corrupt_bytes, stats.lost_records));
                assert_eq!(both[0], both[1], "{what}, killed: {killed}");
                drop(again);
                let seen = Inspection::open(dir.path()).unwrap().stats().unwrap();
                assert_eq!((seen.corrupt_regions, seen.corrupt_bytes, seen.lost_records), both[0]);
                assert_eq!(seen.set_aside_files, set_aside(dir.path()).len() as u64);
            }
            let told = events.messages("recovered");
            assert!(told.iter().all(|told| told.starts_with(&format!("recovered {whole} records"))), "{told:?}");
        }
    }
}

/// What is lost in the middle of a backlog is counted once, however often the buffer is opened before it is delivered.
#[test]
fn damage_that_is_met_again_is_counted_once() {
    let dir = scratch();
    log(dir.path(), 900, false);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let at = find(&bytes, "150x") + 50;
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    for _ in 0..3 {
        let producer = builder(dir.path()).max_in_flight(20).open_manual(Limits::default()).unwrap();
        // Up to behind the damage.
        let batches: Vec<Batch> = (0..20).map(|_| producer.next_batch().unwrap().unwrap()).collect();
        assert_eq!(producer.stats().lost_records, 1);
        for batch in batches {
            producer.settle(batch, Err(SendError::unavailable("down"))).unwrap();
        }
        drop(producer);
    }
    let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
    let delivered: usize = take_all(&producer).iter().map(|batch| batch.records.len()).sum();
    let stats = producer.stats();
    assert_eq!((delivered, stats.lost_records, stats.corrupt_regions), (899, 1, 1));
    producer.close(LONG).unwrap();
    let stats = builder(dir.path()).open_manual(Limits::default()).unwrap().stats();
    assert_eq!((stats.lost_records, stats.corrupt_regions), (1, 1));
}

/// The same where delivery stands at the very place: what is lost there has no bytes, so that the place behind it is the same.
#[test]
fn what_is_lost_where_delivery_stands_is_counted_once() {
    let cut = |file: &Path| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1024).unwrap();
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let harms: [(&str, &dyn Fn(&Path)); 2] = [("cut behind its header", &cut), ("removed", &remove)];
    for (what, harm) in harms {
        let dir = scratch();
        log(dir.path(), 900, false);
        harm(&segments(dir.path())[0]);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
            let batch = producer.next_batch().unwrap().unwrap();
            producer.settle(batch, Err(SendError::unavailable("down"))).unwrap();
            let Stats { corrupt_regions, lost_records, .. } = producer.stats();
            seen.push((corrupt_regions, lost_records));
            drop(producer);
        }
        assert!(seen[0].1 > 0 && seen.iter().all(|counts| *counts == seen[0]), "{what}: {seen:?}");
    }
}

/// Somebody renames files of the log. They were taken for files that were prepared and never used, and removed.
#[test]
fn a_segment_under_another_name_is_set_aside_and_not_erased() {
    let names = [("0000000000000003.seg", "00000000000000ff.seg"), ("0000000000000002.seg", "0000000000000000.seg")];
    let last = ("0000000000000005.seg", "0000000000000009.seg");
    for (from, to) in names.into_iter().chain([last]) {
        for killed in [true, false] {
            let dir = scratch();
            log(dir.path(), 1900, killed);
            assert!(segments(dir.path()).len() >= 5);
            fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
            let bytes = fs::read(dir.path().join(to)).unwrap();
            let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
            let delivered = take_all(&producer).iter().map(|batch| batch.records.len()).sum::<usize>();
            let stats = producer.stats();
            assert!(delivered < 1900 && stats.corrupt_regions > 0, "{from} to {to}: {delivered}, {stats:?}");
            producer.close(LONG).unwrap();
            let kept = set_aside(dir.path()).into_iter().any(|file| {
                let kept = fs::read(file).unwrap();
                kept == bytes || bytes.ends_with(&kept) && kept.len() > 60_000
            });
            assert!(kept, "{from} to {to}, killed: {killed}: {:?}", set_aside(dir.path()));
        }
    }
}

/// The newest state of the cursor is damaged. An older one still names segments that were delivered and removed since.
#[test]
fn what_was_delivered_is_not_lost_when_the_cursor_falls_back() {
    let dir = scratch();
    let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
    for number in 0..5000 {
        producer.put(&format!("{number:03}{}", "x".repeat(97))).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    let cursors = [0, 1, 2, 3].map(|which| dir.path().join(format!("cursor.{which}")));
    let old = cursors.iter().map(|file| fs::read(file).unwrap()).max_by_key(|bytes| {
        let state = format::cursor(bytes);
        state.map(|state| state.generation)
    });
    take_all(&producer);
    producer.put("last").unwrap();
    producer.close(Duration::ZERO).unwrap();
    drop(producer);
    for file in &cursors {
        let mut bytes = fs::read(file).unwrap();
        bytes[60] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    fs::write(&cursors[2], old.unwrap()).unwrap();
    let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
    let texts: Vec<String> = take_all(&producer).iter().flat_map(SeenBatch::texts).collect();
    assert_eq!(texts.last().unwrap(), "last");
    let stats = producer.stats();
    assert_eq!((stats.lost_records, stats.corrupt_regions), (0, 0), "{stats:?}");
}

/// A payload may be full of what looks like frames, each of which claims megabytes. 8 MiB of it took a minute to open.
#[test]
fn bytes_that_look_like_frames_take_no_square_of_the_time() {
    const LENGTH: u32 = 8 << 20;
    let bait: Vec<u8> = [1u32.to_le_bytes(), (LENGTH / 2).to_le_bytes(), 5u32.to_le_bytes(), [0; 4], [0; 4], [0; 4]]
        .concat()
        .into_iter()
        .chain([1, 0, 0, 0, 0, 0, 0, 0])
        .collect();
    for storage in [Storage::Auto, Storage::File] {
        let dir = scratch();
        let open = || {
            let builder = builder(dir.path()).segment_bytes(u64::from(LENGTH) + 8192).storage(storage);
            builder.max_record_bytes(64 << 20).max_bytes(512 << 20).open_manual(Limits::default()).unwrap()
        };
        let producer = open();
        for text in ["one", "two", "three"] {
            producer.put(text).unwrap();
        }
        producer.put(&bait.repeat(LENGTH as usize / 32)).unwrap();
        producer.put("after").unwrap();
        producer.close(Duration::ZERO).unwrap();
        drop(producer);
        let file = &segments(dir.path())[0];
        let mut bytes = fs::read(file).unwrap();
        // The length of the fourth record.
        bytes[1024 + 40 * 3 + 4] ^= 0xff;
        fs::write(file, bytes).unwrap();
        let before = Instant::now();
        let producer = open();
        let texts: Vec<String> = take_all(&producer).iter().flat_map(SeenBatch::texts).collect();
        assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
        assert_eq!(texts, ["one", "two", "three", "after"]);
        assert_eq!(producer.stats().lost_records, 1);
    }
}

/// What was in a last file that somebody cut or removed counted as nothing, and the message named another file.
#[test]
fn what_is_cut_off_a_closed_log_is_counted_and_named() {
    const RECORDS: u64 = 1500;
    type Harm = fn(&[PathBuf]);
    let harms: [(&str, &str, Harm); 6] = [
        ("the last one cut", "0000000000000004.seg was cut off at 10000, 55536 bytes too early", |segments| {
            let last = fs::OpenOptions::new().write(true).open(segments.last().unwrap()).unwrap();
            last.set_len(10_000).unwrap();
        }),
        ("the last one's end erased", "what stood in 0000000000000004.seg at 1024 is missing", |segments| {
            let mut bytes = fs::read(segments.last().unwrap()).unwrap();
            bytes[1024..].fill(0);
            fs::write(segments.last().unwrap(), bytes).unwrap();
        }),
        ("the last one empty", "0000000000000004.seg is missing", |segments| {
            fs::write(segments.last().unwrap(), b"").unwrap();
        }),
        ("the last one removed", "0000000000000004.seg is missing", |segments| {
            fs::remove_file(segments.last().unwrap()).unwrap();
        }),
        ("two removed", "0000000000000003.seg and the 1 segments behind it are missing", |segments| {
            segments[2..].iter().for_each(|segment| fs::remove_file(segment).unwrap());
        }),
        ("all removed", "0000000000000001.seg and the 3 segments behind it are missing", |segments| {
            segments.iter().for_each(|segment| fs::remove_file(segment).unwrap());
        }),
    ];
    for durability in [Durability::Interval, Durability::Os] {
        for (what, message, harm) in harms {
            let dir = scratch();
            let producer = builder(dir.path()).durability(durability).open_manual(Limits::default()).unwrap();
            for number in 0..RECORDS {
                producer.put(&format!("{number:03}{}", "x".repeat(97))).unwrap();
            }
            producer.close(Duration::ZERO).unwrap();
            drop(producer);
            let found = segments(dir.path());
            assert_eq!(found.len(), 4);
            harm(&found);
            let verified = Inspection::open(dir.path()).unwrap().verify().unwrap();
            assert_eq!(verified.records + verified.lost_records, RECORDS, "{what}: {verified:?}");
            assert!(!verified.missing.is_empty() || !verified.corrupt.is_empty(), "{what}: {verified:?}");
            let drained = drain(dir.path());
            let delivered = drained.records().len() as u64;
            assert!(delivered < RECORDS, "{what}");
            assert_eq!((delivered, drained.stats.lost_records), (verified.records, RECORDS - delivered), "{what}");
            let told = drained.events.messages("corrupt");
            let lost = RECORDS - delivered;
            assert!(told.contains(&format!("{message}; {lost} records lost")), "{what}: {told:?}");
            // And stays said.
            assert_eq!(drain(dir.path()).stats.lost_records, lost, "{what}");
        }
    }
}

/// The message named the file behind the missing one, and bytes of it that were not damaged.
#[test]
fn a_missing_segment_is_named_with_its_records() {
    for (gone, message) in [
        (2..=2, "0000000000000002.seg is missing"),
        (1..=1, "0000000000000001.seg is missing"),
        (3..=5, "0000000000000003.seg and the 2 segments behind it are missing"),
    ] {
        let dir = scratch();
        log(dir.path(), 3000, false);
        let found = segments(dir.path());
        let count = gone.end() - gone.start() + 1;
        let first = found[gone.start() - 1].file_name().unwrap().to_str().unwrap().to_owned();
        gone.clone().for_each(|index| fs::remove_file(&found[index - 1]).unwrap());
        let verified = Inspection::open(dir.path()).unwrap().verify().unwrap();
        assert_eq!(verified.missing, [(first, count as u64, 3000 - verified.records)], "{gone:?}");
        assert!(verified.corrupt.is_empty(), "{:?}", verified.corrupt);
        let drained = drain(dir.path());
        let lost = 3000 - drained.records().len() as u64;
        assert_eq!(drained.stats.lost_records, lost);
        assert_eq!(drained.events.messages("corrupt"), [format!("{message}; {lost} records lost")]);
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The last segment was read into memory as a whole.
#[test]
fn a_segment_of_a_gigabyte_opens_with_flat_memory() {
    for killed in [false, true] {
        let (root, image) = (scratch(), scratch());
        let open = |dir: &Path| {
            let builder = Producer::builder(dir).segment_bytes(1 << 30).max_buffer_bytes(8 << 30).linger(NEVER);
            builder.storage(Storage::File).durability(Durability::Os).open_manual(Limits::default()).unwrap()
        };
        let producer = open(root.path());
        for _ in 0..10 {
            producer.put("x").unwrap();
        }
        let dir = if killed {
            // Sparse, or it would take a gigabyte.
            let mut copy = std::process::Command::new("cp");
            copy.args(["-a", "--sparse=always"]).arg(root.path()).arg(image.path());
            assert!(copy.status().unwrap().success());
            image.path().join(root.path().file_name().unwrap())
        } else {
            root.path().to_path_buf()
        };
        let _ = producer.close(Duration::ZERO);
        drop(producer);
        let before = resident();
        let producer = open(&dir);
        assert_eq!(producer.stats().pending_records, 10);
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes");
    }
}

/// A damaged segment that could be neither copied nor moved to `corrupt/` stopped everything behind it from being freed, and
/// then every put.
#[test]
fn damage_that_cannot_be_set_aside_stops_nobody_and_is_set_aside_later() {
    for link in [false, true] {
        let root = scratch();
        let dir = root.path().join("outbox");
        log(&dir, 3000, false);
        let damaged = dir.join("0000000000000002.seg");
        let mut bytes = fs::read(&damaged).unwrap();
        bytes[20_000..20_008].copy_from_slice(b"damage!!");
        fs::write(&damaged, bytes).unwrap();
        let corrupt = dir.join("corrupt");
        if link { std::os::unix::fs::symlink(root.path(), &corrupt) } else { fs::write(&corrupt, "") }.unwrap();
        let open = || builder(&dir).max_buffer_bytes(1 << 20).when_full(WhenFull::Error).open_manual(Limits::default());
        let producer = open().unwrap();
        let mut delivered: usize = take_all(&producer).iter().map(|batch| batch.records.len()).sum();
        // Several times what the buffer may take.
        for _ in 0..40 {
            for _ in 0..100 {
                producer.put(&"y".repeat(1000)).unwrap();
            }
            delivered += take_all(&producer).iter().map(|batch| batch.records.len()).sum::<usize>();
        }
        let stats = producer.stats();
        assert_eq!((delivered as u64 + stats.lost_records, stats.corrupt_regions), (7000, 1));
        assert!(stats.buffer_bytes <= 1 << 20, "{}", stats.buffer_bytes);
        let error = producer.close(LONG).unwrap_err();
        assert!(error.message().contains("0000000000000002.seg"), "{error}");
        assert!(damaged.exists() && segments(&dir).len() < 5, "{:?}", segments(&dir));
        drop(producer);
        // The next run finds it again: the file was removed then, with what could not be copied.
        fs::remove_file(&corrupt).unwrap();
        let producer = open().unwrap();
        producer.put("z").unwrap();
        assert_eq!(take_all(&producer).len(), 1);
        producer.close(LONG).unwrap();
        assert!(!damaged.exists());
        let kept: Vec<u8> = set_aside(&dir).iter().flat_map(|file| fs::read(file).unwrap()).collect();
        assert!(kept.windows(8).any(|bytes| bytes == b"damage!!"), "{:?}", set_aside(&dir));
    }
}
