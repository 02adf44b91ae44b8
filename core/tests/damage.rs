//! Bad bytes on disk never stop a buffer from opening, never crash and never deliver garbage (P6): what is whole
//! is delivered, what is not is set aside, counted and reported; and a seq is never given out twice.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::format::{self, Frame, Kind};
use common::*;
use unistream::*;

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    options.durability = Durability::Os;
    options
}

/// How the process that wrote a log ended.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    InOrder,
    Killed,
}

/// What was put into the small log.
struct Small {
    put: BTreeMap<u64, SeenRecord>,
    /// The batches that were sealed, by id.
    sealed: BTreeMap<String, Vec<u64>>,
}

/// Puts records that differ in every field, seals some of them, commits the first batch, and ends.
fn small_log(dir: &Path, storage: Storage, ended: Ended) -> Small {
    let root = scratch();
    let mut options = options();
    options.max_records = 4;
    options.storage = storage;
    let buffer = Buffer::open(root.path(), options, Limits::default()).unwrap();
    let mut put = Vec::new();
    for number in 0..14u64 {
        let data = payload(number, 40);
        let (id, key) = (format!("id-{number}"), [number as u8; 3]);
        let mut record = NewRecord::new(&data).created_at(number as i64);
        if number % 2 == 0 {
            record = record.id(&id);
        }
        if number % 3 == 0 {
            record = record.key(&key);
        }
        let seq = buffer.put(record).unwrap();
        put.push(SeenRecord {
            seq,
            id: record.id.map_or_else(String::new, str::to_owned),
            key: record.key.map(<[u8]>::to_vec),
            created_at: number as i64,
            attributes: Default::default(),
            data,
        });
    }
    let first = buffer.emit().unwrap().unwrap();
    assert_eq!(first.len(), 4);
    let id = first.id();
    let (prefix, _) = id.rsplit_once('-').unwrap();
    let sealed = [1, 5, 9].map(|first| (format!("{prefix}-{first}"), (first..first + 4).collect()));
    buffer.commit(&first).unwrap();
    if ended == Ended::Killed {
        // A process that dies leaves what it has stored.
        copy_dir(root.path(), dir);
    }
    buffer.close().unwrap();
    if ended == Ended::InOrder {
        copy_dir(root.path(), dir);
    }
    Small { put: by_seq(put), sealed: sealed.into() }
}

/// One damaged copy of a directory and what became of it.
struct Case<'a> {
    what: String,
    /// Every record that was ever put, by seq.
    put: &'a BTreeMap<u64, SeenRecord>,
    /// Those that must come out.
    whole: Vec<u64>,
    /// Those that may come out besides.
    maybe: Vec<u64>,
    /// What a batch's id stood for before.
    sealed: BTreeMap<String, Vec<u64>>,
}

impl Case<'_> {
    /// Opens the directory, takes all out, and checks it against what must and may be there.
    fn check(&self, dir: &Path) -> Drained {
        let what = &self.what;
        let drained = drain(dir);
        let seqs = drained.seqs();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{what}: out of order: {seqs:?}");
        for mut record in drained.records() {
            let known = &self.put.get(&record.seq).unwrap_or_else(|| panic!("{what}: garbage {record:?}"));
            if known.id.is_empty() {
                record.id.clear();
            }
            assert_eq!(record, **known, "{what}");
            let fits = self.whole.contains(&record.seq) || self.maybe.contains(&record.seq);
            assert!(fits, "{what}: seq {} was committed already", record.seq);
        }
        for seq in &self.whole {
            assert!(seqs.contains(seq), "{what}: seq {seq} is whole and did not come out of {seqs:?}");
        }
        for batch in &drained.batches {
            let before = self.sealed.get(&batch.id);
            let same = before.is_none_or(|before| batch.seqs().iter().all(|seq| before.contains(seq)));
            assert!(same, "{what}: batch {} was {before:?} and is {:?}", batch.id, batch.seqs());
        }
        // A seq that was given out before is not given out again, even if its record is gone.
        let buffer = Buffer::open(dir, options(), Limits::default()).unwrap();
        let next = buffer.put(b"next").unwrap();
        let last = *self.put.keys().last().unwrap();
        assert!(next > last, "{what}: seq {next} is given out a second time (the last was {last})");
        buffer.close().unwrap();
        drained
    }
}

fn by_seq(records: Vec<SeenRecord>) -> BTreeMap<u64, SeenRecord> {
    records.into_iter().map(|record| (record.seq, record)).collect()
}

/// What a run says that it did not deliver.
fn counted(drained: &Drained) -> bool {
    let torn = drained.events.messages("recovered").iter().any(|message| !message.contains("tail of 0 bytes"));
    let stats = &drained.stats;
    torn || stats.corrupt_bytes > 0 || stats.lost_records > 0 || drained.events.count("corrupt") > 0
}

/// Applies `damage` to a copy of the small log for each offset of a file.
fn every_byte(
    storage: Storage,
    ended: Ended,
    file: &str,
    upto: impl Fn(&[u8]) -> usize,
    damage: impl Fn(&mut Vec<u8>, usize),
) {
    let root = scratch();
    let original = root.path().join("original");
    let Small { put, sealed } = small_log(&original, storage, ended);
    let bytes = fs::read(original.join(file)).unwrap();
    let log = fs::read(&segments(&original)[0]).unwrap();
    let frames: Vec<Frame> = format::frames(&log).into_iter().filter(|frame| frame.kind == Kind::Record).collect();
    assert_eq!(frames.len(), put.len());
    let is_log = file.ends_with(".seg");
    for at in 0..upto(&bytes) {
        let dir = root.path().join("copy");
        copy_dir(&original, &dir);
        let mut damaged = bytes.clone();
        damage(&mut damaged, at);
        fs::write(dir.join(file), &damaged).unwrap();
        let is_whole = |frame: &&Frame| {
            let range = frame.offset..frame.offset + frame.length;
            !is_log || damaged.get(range.clone()) == Some(&bytes[range])
        };
        let (committed, pending) = frames.split_at(4);
        let whole: Vec<u64> = pending.iter().filter(is_whole).map(|frame| frame.seq).collect();
        // With an older cursor what was committed comes again: at least once.
        let maybe = if is_log { Vec::new() } else { committed.iter().map(|frame| frame.seq).collect() };
        let case = Case { what: format!("{file} byte {at}"), put: &put, whole, maybe, sealed: sealed.clone() };
        let drained = case.check(&dir);
        if drained.seqs().len() < pending.len() {
            assert!(counted(&drained), "{}: records are missing and nobody is told", case.what);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// The header, all frames, the terminator and a little of the emptiness behind.
fn written(bytes: &[u8]) -> usize {
    format::frames(bytes).last().unwrap().end() + 64
}

const SEGMENT: &str = "0000000000000001.seg";

#[test]
fn truncated_at_every_byte_mapped() {
    every_byte(Storage::Auto, Ended::InOrder, SEGMENT, written, |bytes, at| bytes.truncate(at));
}

#[test]
fn truncated_at_every_byte_plain() {
    every_byte(Storage::File, Ended::InOrder, SEGMENT, written, |bytes, at| bytes.truncate(at));
}

#[test]
fn every_byte_flipped_mapped() {
    every_byte(Storage::Auto, Ended::InOrder, SEGMENT, written, |bytes, at| bytes[at] ^= 0xff);
}

#[test]
fn every_byte_flipped_plain() {
    every_byte(Storage::File, Ended::InOrder, SEGMENT, written, |bytes, at| bytes[at] ^= 0x10);
}

#[test]
fn every_byte_flipped_of_what_a_killed_process_left() {
    every_byte(Storage::Auto, Ended::Killed, SEGMENT, written, |bytes, at| bytes[at] ^= 0xff);
}

#[test]
fn truncated_at_every_byte_of_what_a_killed_process_left() {
    every_byte(Storage::Auto, Ended::Killed, SEGMENT, written, |bytes, at| bytes.truncate(at));
}

#[test]
fn every_byte_of_the_cursors_flipped_or_cut() {
    for which in 0..4 {
        let file = format!("cursor.{which}");
        // The state of this log takes less than this.
        every_byte(Storage::Auto, Ended::InOrder, &file, |_| 128, |bytes, at| bytes[at] ^= 0xff);
        every_byte(Storage::Auto, Ended::InOrder, &file, |_| 128, |bytes, at| bytes.truncate(at));
    }
}

/// A backlog of several segments, nothing committed. Returns what was put and the files.
fn backlog(dir: &Path) -> (BTreeMap<u64, SeenRecord>, Vec<PathBuf>) {
    let mut options = options();
    options.max_records = 10;
    let buffer = Buffer::open(dir, options, Limits::default()).unwrap();
    let mut put = BTreeMap::new();
    for number in 1..=300u64 {
        let mut data = payload(number, 0);
        data.resize(1000, b'.');
        let seq = buffer.put(NewRecord::new(&data).created_at(5)).unwrap();
        put.insert(seq, SeenRecord { seq, created_at: 5, data, ..SeenRecord::default() });
    }
    buffer.close().unwrap();
    let files = segments(dir);
    assert_eq!(files.len(), 5);
    (put, files)
}

fn records_of(file: &Path) -> Vec<Frame> {
    let frames = format::frames(&fs::read(file).unwrap());
    frames.into_iter().filter(|frame| frame.kind == Kind::Record).collect()
}

/// Damages a backlog and checks that all but `lost` comes out, and that exactly that is counted as lost.
fn damaged_backlog(what: &str, damage: impl Fn(&[PathBuf]) -> Vec<u64>) -> (tempfile::TempDir, Drained) {
    let dir = tempfile::tempdir().unwrap();
    let (put, files) = backlog(dir.path());
    let lost = damage(&files);
    let whole = put.keys().copied().filter(|seq| !lost.contains(seq)).collect();
    let case = Case { what: what.to_owned(), put: &put, whole, maybe: Vec::new(), sealed: BTreeMap::new() };
    let drained = case.check(dir.path());
    assert_eq!(drained.stats.lost_records, lost.len() as u64, "{what}: {:?}", drained.events.names());
    assert_eq!(drained.stats.pending_records, 0, "{what}: what is lost does not stay pending");
    (dir, drained)
}

#[test]
fn flipped_bytes_inside_a_backlog_cost_the_records_they_hit_and_no_other() {
    let (dir, drained) = damaged_backlog("bytes flipped", |files| {
        let mut bytes = fs::read(&files[1]).unwrap();
        let records = records_of(&files[1]);
        let hit = [&records[3], &records[4], &records[20]];
        for frame in hit {
            bytes[frame.offset + 100] ^= 1;
        }
        fs::write(&files[1], bytes).unwrap();
        hit.map(|frame| frame.seq).to_vec()
    });
    assert_eq!(drained.events.count("corrupt"), 2, "two regions: {:?}", drained.events.messages("corrupt"));
    // What was there is kept for whoever wants to look.
    let kept: Vec<_> = fs::read_dir(dir.path().join("corrupt")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 2);
    let bytes: u64 = kept.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(bytes, drained.stats.corrupt_bytes);
    assert!(kept.iter().all(|path| path.file_name().unwrap().to_str().unwrap().starts_with("0000000000000002.seg.")));
}

/// Overwrites every seal in a file.
fn break_seals(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let seals: Vec<_> = format::frames(&bytes).into_iter().filter(|frame| frame.kind == Kind::Seal).collect();
    assert!(seals.len() > 1);
    seals.iter().for_each(|seal| bytes[seal.offset..seal.end()].fill(0xaa));
    fs::write(file, bytes).unwrap();
}

/// What was offered under an id never comes with other contents under the same.
#[test]
fn a_batch_that_lost_its_seals_has_an_id_of_its_own() {
    let dir = scratch();
    let open = |max_records| {
        let mut options = options();
        options.max_records = max_records;
        Buffer::open(dir.path(), options, Limits::default()).unwrap()
    };
    let buffer = open(2);
    for number in 0..10 {
        buffer.put(&payload(number, 20_000)).unwrap();
    }
    let offered = SeenBatch::of(&buffer.emit().unwrap().unwrap());
    assert_eq!(offered.seqs(), [1, 2]);
    drop(buffer);
    // In a segment before the last, which opening does not read.
    break_seals(&segments(dir.path())[0]);
    let again = SeenBatch::of(&open(3).emit().unwrap().unwrap());
    assert_eq!(again.seqs(), [1, 2, 3]);
    assert_ne!(again.id, offered.id);
}

/// Where no seal says where a batch ended, it ends where it is full: never is more shown to the sink than it asked for, and
/// what was shown once is the same batch after a restart.
#[test]
fn records_that_lost_their_seals_come_in_batches_that_are_not_too_large() {
    const BYTES: u64 = 1000;
    let caps = |max_records, max_bytes| {
        let mut options = options();
        (options.max_records, options.max_bytes) = (max_records, max_bytes);
        options
    };
    let limits = Limits { overhead_bytes: 26, ..Limits::default() };
    for (which, caps) in [caps(3, 1 << 20), caps(1000, 3 * (BYTES + 26))].into_iter().enumerate() {
        // In the last segment, which opening reads; over two segments; and in one that lies before the last.
        for (count, broken) in [(20, 0..1), (99, 0..2), (99, 0..1)] {
            let (dir, what) = (scratch(), format!("caps {which}, {count} records, segments {broken:?}"));
            let buffer = Buffer::open(dir.path(), caps.clone(), limits).unwrap();
            for number in 0..count {
                let mut data = payload(number, 0);
                data.resize(BYTES as usize, b'.');
                buffer.put(&data).unwrap();
            }
            drop(buffer);
            segments(dir.path())[broken].iter().for_each(|file| break_seals(file));
            // All of them, taken twice, the first time without a commit.
            let take = |committing: bool| {
                let buffer = Buffer::open(dir.path(), caps.clone(), limits).unwrap();
                let mut batches = Vec::new();
                while let Some(batch) = buffer.emit().unwrap() {
                    batches.push(SeenBatch::of(&batch));
                    if !committing {
                        break;
                    }
                    buffer.commit(&batch).unwrap();
                }
                assert_eq!(buffer.len(), if committing { 0 } else { count }, "{what}");
                batches
            };
            let first = take(false);
            let batches = take(true);
            assert_eq!(first[..], batches[..1], "{what}");
            let seqs: Vec<_> = batches.iter().flat_map(SeenBatch::seqs).collect();
            assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "{what}");
            let sizes: Vec<_> = batches.iter().map(|batch| batch.records.len()).collect();
            assert!(sizes.iter().all(|size| *size <= 3), "{what}: {sizes:?}");
            assert!(sizes.len() as u64 <= count / 3 + 3, "{what}: no smaller than they must be: {sizes:?}");
        }
    }
}

/// Nor does what is put behind a seal that was damaged join the batch that it ended.
#[test]
fn a_batch_whose_seal_was_damaged_at_the_end_of_the_log_takes_no_more() {
    let (dir, image) = (scratch(), scratch());
    let buffer = Buffer::open(dir.path(), options(), Limits::default()).unwrap();
    buffer.put(b"one").unwrap();
    buffer.put(b"two").unwrap();
    buffer.seal().unwrap();
    let offered = SeenBatch::of(&buffer.emit().unwrap().unwrap());
    // As a process leaves it that dies here.
    copy_dir(dir.path(), image.path());
    let last = &segments(image.path())[0];
    let mut bytes = fs::read(last).unwrap();
    let seal = format::frames(&bytes).pop().unwrap();
    assert_eq!(seal.kind, Kind::Seal);
    bytes[seal.end() - 8] ^= 1;
    fs::write(last, bytes).unwrap();
    let buffer = Buffer::open(image.path(), options(), Limits::default()).unwrap();
    buffer.put(b"three").unwrap();
    buffer.seal().unwrap();
    let again = SeenBatch::of(&buffer.emit().unwrap().unwrap());
    assert_eq!((again.id, again.records), (offered.id, offered.records));
}

#[test]
fn a_region_of_zeros_inside_a_backlog() {
    damaged_backlog("zeros", |files| {
        let mut bytes = fs::read(&files[2]).unwrap();
        let records = records_of(&files[2]);
        bytes[records[5].offset..records[9].offset].fill(0);
        fs::write(&files[2], bytes).unwrap();
        records[5..9].iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn a_missing_segment_inside_a_backlog() {
    damaged_backlog("segment deleted", |files| {
        let lost = records_of(&files[2]);
        fs::remove_file(&files[2]).unwrap();
        lost.iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn a_missing_first_segment() {
    damaged_backlog("first segment deleted", |files| {
        let lost = records_of(&files[0]);
        fs::remove_file(&files[0]).unwrap();
        lost.iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn a_segment_cut_in_the_middle_of_a_backlog() {
    damaged_backlog("segment cut", |files| {
        let records = records_of(&files[1]);
        let file = fs::OpenOptions::new().write(true).open(&files[1]).unwrap();
        file.set_len(records[30].offset as u64 + 7).unwrap();
        records[30..].iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn an_empty_segment_in_the_middle_of_a_backlog() {
    damaged_backlog("segment emptied", |files| {
        let records = records_of(&files[3]);
        fs::write(&files[3], b"").unwrap();
        records.iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn a_segment_whose_header_is_gone_still_gives_its_records() {
    damaged_backlog("header overwritten", |files| {
        let mut bytes = fs::read(&files[1]).unwrap();
        bytes[..1024].fill(0xaa);
        fs::write(&files[1], bytes).unwrap();
        Vec::new()
    });
}

#[test]
fn a_backlog_without_any_cursor_comes_out_whole() {
    damaged_backlog("cursors deleted", |files| {
        for which in 0..4 {
            fs::remove_file(files[0].with_file_name(format!("cursor.{which}"))).unwrap();
        }
        Vec::new()
    });
}

/// The end of the log is gone, so nobody can say how much was there. What is left comes out, it is told that
/// something is missing, and the seqs of what is gone are not given out again.
fn damaged_end(what: &str, damage: impl Fn(&[PathBuf]) -> Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let (put, files) = backlog(dir.path());
    let lost = damage(&files);
    let whole = put.keys().copied().filter(|seq| !lost.contains(seq)).collect();
    let case = Case { what: what.to_owned(), put: &put, whole, maybe: Vec::new(), sealed: BTreeMap::new() };
    let drained = case.check(dir.path());
    assert!(counted(&drained), "{what}: nobody is told");
}

#[test]
fn a_missing_last_segment() {
    damaged_end("last segment deleted", |files| {
        let lost = records_of(&files[4]);
        fs::remove_file(&files[4]).unwrap();
        lost.iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn an_emptied_last_segment() {
    damaged_end("last segment emptied", |files| {
        let lost = records_of(&files[4]);
        fs::write(&files[4], b"").unwrap();
        lost.iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn a_last_segment_cut_between_two_records() {
    damaged_end("last segment cut", |files| {
        let records = records_of(&files[4]);
        let file = fs::OpenOptions::new().write(true).open(&files[4]).unwrap();
        file.set_len(records[7].offset as u64).unwrap();
        records[7..].iter().map(|frame| frame.seq).collect()
    });
}

#[test]
fn every_segment_missing() {
    damaged_end("all segments deleted", |files| {
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
        (1..=300).collect()
    });
}

#[test]
fn a_segment_that_somebody_made_immensely_long_takes_no_such_memory() {
    damaged_backlog("segment of a terabyte", |files| {
        fs::OpenOptions::new().write(true).open(&files[1]).unwrap().set_len(1 << 40).unwrap();
        Vec::new()
    });
}

/// One that was prepared and not begun, too.
#[test]
fn a_prepared_segment_that_somebody_made_immensely_long_takes_no_such_memory() {
    let (dir, image) = (scratch(), scratch());
    let mut options = options();
    options.durability = Durability::Interval;
    let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
    for number in 0..2 {
        buffer.put(&payload(number, 0).repeat(5000)[..40_000]).unwrap();
    }
    wait_until("the next segment is prepared", || segments(dir.path()).len() == 3);
    // As a process leaves it that dies here.
    copy_dir(dir.path(), image.path());
    let spare = &segments(image.path())[2];
    fs::OpenOptions::new().write(true).open(spare).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(drain(image.path()).seqs(), [1, 2]);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (put, _) = backlog(dir.path());
    let foreign = [
        "notes.txt",
        "1.seg",
        "000000000000000g.seg",
        "0000000000000009.seg.bak",
        "cursor.4",
        // Numbers, but not as segments' names spell them; and one that no log counts to.
        "+000000000000009.seg",
        "000000000000000A.seg",
        "ffffffffffffffff.seg",
    ];
    for name in foreign {
        fs::write(dir.path().join(name), b"mine").unwrap();
    }
    assert_eq!(drain(dir.path()).seqs().len(), put.len());
    for name in foreign {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn an_unknown_version_is_refused_and_nothing_is_touched() {
    let cases = [
        (8, 2u32, "version 2"),
        (8, 0x8000_0001, "version 2147483649"),
        // What is kept for later is refused today.
        (12, 3, "is compressed"),
        (12, 4, "is encrypted"),
        (12, 7, "is compressed and is encrypted"),
        (12, 0x100, "uses features 0x100"),
    ];
    for (file, end) in [(SEGMENT, 508), ("cursor", 0)] {
        for (at, value, message) in cases {
            let dir = tempfile::tempdir().unwrap();
            small_log(dir.path(), Storage::Auto, Ended::InOrder);
            if file == SEGMENT {
                let path = dir.path().join(file);
                let mut bytes = fs::read(&path).unwrap();
                for copy in bytes[..1024].chunks_exact_mut(512) {
                    copy[at..at + 4].copy_from_slice(&value.to_le_bytes());
                    let crc = format::crc32c(&[&copy[..end]]);
                    copy[end..end + 4].copy_from_slice(&crc.to_le_bytes());
                }
                fs::write(&path, bytes).unwrap();
            } else {
                format::rewrite_cursors(dir.path(), at, value);
            }
            let before = contents(dir.path());
            let error = Buffer::open(dir.path(), Options::default(), Limits::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
            assert!(error.message().contains(message) && error.message().contains("version 1"), "{error}");
            let looked = Inspection::open(dir.path()).and_then(|inspection| inspection.verify());
            assert_eq!(looked.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
            assert_eq!(contents(dir.path()), before, "nothing was touched");
        }
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn random_damage_never_stops_the_buffer() {
    let root = scratch();
    let original = root.path().join("original");
    let (put, _) = backlog(&original);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let dir = root.path().join("copy");
        copy_dir(&original, &dir);
        let mut files: Vec<PathBuf> = segments(&dir);
        files.extend((0..4).map(|which| dir.join(format!("cursor.{which}"))));
        for _ in 0..=random.below(4) {
            let file = &files[random.below(files.len() as u64) as usize];
            let Ok(mut bytes) = fs::read(file) else { continue };
            let length = bytes.len() as u64;
            if length == 0 {
                continue;
            }
            let at = random.below(length) as usize;
            match random.below(5) {
                0 => drop(fs::remove_file(file)),
                1 => {
                    bytes.truncate(at);
                    fs::write(file, bytes).unwrap();
                }
                2 => {
                    let end = (at + random.below(5000) as usize).min(bytes.len());
                    bytes[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
                    fs::write(file, bytes).unwrap();
                }
                3 => {
                    let end = (at + random.below(5000) as usize).min(bytes.len());
                    bytes[at..end].fill(0);
                    fs::write(file, bytes).unwrap();
                }
                _ => {
                    // A piece of the log that stands where it does not belong.
                    let from = random.below(length) as usize / 8 * 8;
                    let count = (bytes.len() - from.max(at)).min(4000);
                    bytes.copy_within(from..from + count, at / 8 * 8);
                    fs::write(file, bytes).unwrap();
                }
            }
        }
        let what = format!("seed {seed}");
        let case =
            Case { what, put: &put, whole: Vec::new(), maybe: put.keys().copied().collect(), sealed: BTreeMap::new() };
        case.check(&dir);
        // And it takes and gives records afterwards.
        let producer = Producer::builder(&dir).open_manual(Limits::default()).unwrap();
        producer.put("after").unwrap();
        assert_eq!(take_all(&producer).last().unwrap().texts().last().unwrap(), "after", "seed {seed}");
        assert_eq!(producer.close(Duration::ZERO).unwrap(), 0);
        drop(producer);
        fs::remove_dir_all(&dir).unwrap();
    }
}
