//! The log and its cursor on a simulated disk: what is durable when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::checkpoint::{Checkpoint, Found, RESERVED_SEQS};
use super::engine::Core;
use super::format::HeaderState;
use super::{Place, Settle, Taken, segment};
use crate::batch::Batch;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::options::{Durability, Options, Trust};
use crate::platform::simulated::{Crash, Dice, Fault, Op, SimulatedDisk, Snapshot, Trouble};
use crate::platform::{Directory, Disk, Environment, Open, OsDisk, lock};
use crate::record::NewRecord;
use crate::torture::world::SimulatedClock;

const DIR: &str = "/buffer";

fn open(disk: &SimulatedDisk, durability: Durability) -> Core {
    let env = disk.environment(SimulatedClock::new(), 1);
    let options =
        Options { durability, max_records: 4, segment_bytes: 64 << 10, max_in_flight: 2, ..Options::default() };
    open_alone(Path::new(DIR), options, env)
}

fn open_with(disk: &SimulatedDisk, max_records: u64) -> Core {
    let env = disk.environment(SimulatedClock::new(), 1);
    let options = Options { max_records, segment_bytes: 64 << 10, ..Options::default() };
    open_alone(Path::new(DIR), options, env)
}

fn open_alone(path: &Path, options: Options, env: Environment) -> Core {
    let options = options.for_sink(&Limits::default()).unwrap();
    let place = Place::alone(path, &options, &env).unwrap();
    Core::open(place, options, Limits::default(), env).unwrap()
}

fn directory(disk: &SimulatedDisk) -> Arc<dyn Directory> {
    disk.directory(Path::new(DIR), false, Trust::Owner).unwrap()
}

fn put(core: &Core, records: usize, bytes: usize) {
    for _ in 0..records {
        core.put(&NewRecord::new(&vec![7; bytes]), Some(Duration::ZERO.into())).unwrap();
    }
}

/// What comes out of what a power loss leaves.
fn records_left(snapshot: &Snapshot, seed: u64) -> usize {
    let core = open(&snapshot.crash(Crash::Power, seed), Durability::Interval);
    let mut records = 0;
    while let Some(batch) = core.peek().unwrap() {
        records += batch.len();
        core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
    }
    records
}

/// Seqs are set apart ahead of those that are given out, in every mode: a power loss forgets records, never that.
#[test]
fn seqs_are_set_apart_before_they_are_given_out() {
    for durability in [Durability::Always, Durability::Interval, Durability::Os] {
        let disk = SimulatedDisk::new(false);
        let core = open(&disk, durability);
        for next_seq in [RESERVED_SEQS / 2, RESERVED_SEQS, 3 * RESERVED_SEQS] {
            lock(&core.log).next_seq = next_seq;
            // The first write fails, and what it was to say is said with the next.
            disk.set_fault(Some(Fault { at: disk.operations().0, trouble: Trouble::Errno(libc::EIO), lasts: true }));
            core.run_maintenance();
            disk.set_fault(None);
            core.run_maintenance();
            for seed in 0..20 {
                let left = match Checkpoint::peek(&*directory(&disk.snapshot().crash(Crash::Power, seed))).unwrap() {
                    Found::State(state) => state.seq_limit,
                    _ => 0,
                };
                assert!(left > next_seq, "{durability:?}: {left} is the limit, {next_seq} is given out next");
            }
        }
    }
}

/// Also what an earlier run left, which did not sync it.
#[test]
fn a_sync_makes_all_durable_that_was_put_before() {
    for earlier_run_syncs in [false, true] {
        let disk = SimulatedDisk::new(false);
        let core = open(&disk, Durability::Os);
        put(&core, 20, 10_000);
        if earlier_run_syncs {
            core.sync().unwrap();
        }
        put(&core, 20, 10_000);
        core.close().unwrap();
        let core = open(&disk, Durability::Os);
        for records in [40, 60] {
            core.sync().unwrap();
            for seed in 0..20 {
                assert_eq!(records_left(&disk.snapshot(), seed), records);
            }
            put(&core, 20, 10_000);
        }
    }
}

/// After a death it takes as long to open a long backlog as a short one: what was durable is not synced again.
#[test]
fn opening_syncs_only_what_may_not_be_durable() {
    for durability in [Durability::Always, Durability::Interval] {
        let disk = SimulatedDisk::new(false);
        let core = open(&disk, durability);
        for _ in 0..40 {
            put(&core, 4, 15_000);
            core.sync().unwrap();
        }
        assert!(lock(&core.log).past.len() >= 39);
        let left = disk.snapshot().crash(Crash::Kill, 1);
        let syncs = Arc::new(AtomicUsize::new(0));
        let counted = syncs.clone();
        left.record(Some(Box::new(move |snapshot| {
            counted.fetch_add(usize::from(snapshot.op == Some(Op::Sync)), Ordering::Relaxed);
        })));
        open(&left, durability);
        let syncs = syncs.load(Ordering::Relaxed);
        assert!((3..8).contains(&syncs), "{syncs} syncs of files, two of them of the cursor");
    }
}

/// A sync that failed has dropped what it was to write, and the next one says that all is well: who opens the log after
/// that stores it once more.
#[test]
fn what_a_failed_sync_dropped_is_stored_again_by_the_next_owner() {
    for durability in [Durability::Always, Durability::Interval] {
        let disk = SimulatedDisk::new(false);
        let core = open(&disk, durability);
        put(&core, 10, 10_000);
        core.sync().unwrap();
        let put_more = || core.put(&NewRecord::new(&[7; 10_000]), Some(Duration::ZERO.into()));
        // The sync comes after so many other operations.
        let fails = |others: u64| {
            let at = disk.operations().0 + others;
            disk.set_fault(Some(Fault { at, trouble: Trouble::Errno(libc::EIO), lasts: false }));
        };
        if durability == Durability::Always {
            fails(1);
            assert!(put_more().unwrap_err().record_accepted());
        } else {
            put_more().unwrap();
            fails(0);
            core.sync().unwrap_err();
        }
        disk.set_fault(None);
        drop(core);
        let core = open(&disk, durability);
        core.seal().unwrap();
        core.sync().unwrap();
        for seed in 0..20 {
            assert_eq!(records_left(&disk.snapshot(), seed), 11, "{durability:?}");
        }
    }
}

/// What is read anew waits for as long as it would have.
#[test]
fn a_batch_that_is_read_again_keeps_its_wait() {
    let disk = SimulatedDisk::new(false);
    let core = open(&disk, Durability::Interval);
    for _ in 0..2 {
        put(&core, 1, 10);
        core.seal().unwrap();
    }
    let take = || match core.take(true).unwrap() {
        Taken::Batch(batch) => batch.first_seq(),
        Taken::Wait { ready_at, .. } => u64::MAX - ready_at.as_secs(),
        Taken::Later(_) | Taken::Nothing => 0,
    };
    let fail = |ready_at| {
        let Taken::Batch(batch) = core.take(true).unwrap() else { panic!("no batch may go out") };
        core.settle(&batch, Settle { ready_at, ..Settle::default() }, || {}).unwrap();
        batch.first_seq()
    };
    let later = core.env.clock.monotonic() + Duration::from_secs(60);
    assert_eq!((fail(later), fail(Duration::ZERO)), (1, 2));
    core.read_again();
    assert_eq!((take(), take()), (2, u64::MAX - later.as_secs()));
}

/// What cannot be removed is kept, and counted once.
#[test]
fn a_prepared_segment_that_cannot_be_removed_stays_prepared() {
    let disk = SimulatedDisk::new(false);
    let core = open(&disk, Durability::Os);
    core.prepare(0).unwrap();
    let taken = || {
        let log = lock(&core.log);
        (log.disk_bytes, log.spare.as_ref().map(|spare| spare.length))
    };
    let before = taken();
    disk.set_fault(Some(Fault { at: disk.operations().0, trouble: Trouble::Errno(libc::EIO), lasts: false }));
    core.prepare(200_000).unwrap_err();
    disk.set_fault(None);
    assert_eq!(taken(), before);
    put(&core, 4, 150_000);
    let dir = directory(&disk);
    let segments = dir.list().unwrap().into_iter().filter(|name| name.ends_with(".seg"));
    let bytes: u64 = segments.map(|name| dir.open(&name, Open::Existing).unwrap().len().unwrap()).sum();
    assert_eq!(taken().0, bytes);
    core.sync().unwrap();
    assert_eq!(records_left(&disk.snapshot(), 1), 4);
}

/// Damage behind the last batch is finished with that batch.
#[test]
fn what_was_passed_over_does_not_stay_pending() {
    let disk = SimulatedDisk::new(false);
    let core = open(&disk, Durability::Os);
    let mut ends = [0; 2];
    for end in &mut ends {
        put(&core, 1, 10);
        core.seal().unwrap();
        *end = lock(&core.log).tail;
    }
    let path = Path::new(DIR).join(segment::name(lock(&core.log).index));
    let file = disk.open(&path, false).unwrap();
    file.write_at(&vec![0xaa; ends[1] - ends[0]], ends[0] as u64).unwrap();
    let Taken::Batch(batch) = core.take(true).unwrap() else { panic!("no batch may go out") };
    assert!(matches!(core.take(true).unwrap(), Taken::Nothing));
    assert_eq!(core.pending().0, 2);
    core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
    assert_eq!(core.pending().0, 0);
}

/// However many buffers the process has.
#[test]
fn where_no_more_can_be_guarded_plain_writes_do() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = OsDisk.directory(root.path(), true, Trust::Owner).unwrap();
    let file = dir.open("file", Open::Create).unwrap();
    file.allocate(4096).unwrap();
    let mut mapped = Vec::new();
    while let Ok(writer) = file.clone().map(4096, true) {
        mapped.push(writer);
        assert!(mapped.len() < 10_000, "there is no end");
    }
    let mut plain = segment::writer(file.clone(), 4096, segment::Access { mapped: true, dumped: true });
    plain.space(0, 5).unwrap().copy_from_slice(b"bytes");
    plain.append(0, 5).unwrap();
    let mut found = [0; 5];
    file.read_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"bytes");
    drop(mapped);
    assert!(file.map(4096, true).is_ok());
}

/// It was mapped as far as it went, up to a gigabyte, and every page of it made.
#[test]
fn a_segment_that_somebody_made_longer_is_read_as_far_as_it_was() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let core = open_alone(root.path(), options, Environment::system());
    core.put(&NewRecord::new(b"x"), None).unwrap();
    core.close().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(root.path().join(segment::name(1))).unwrap();
    file.set_len(100 << 30).unwrap();
    let dir = OsDisk.directory(root.path(), false, Trust::Owner).unwrap();
    let found = segment::open(&*dir, 1, segment::Access { mapped: true, dumped: true }).unwrap().unwrap();
    assert_eq!(found.length, 64 << 10);
}

/// A crash may leave records without the seals of their batches, and a full disk has no room to seal them anew; they go out all
/// the same, in batches of the owner's size. The same batches came back as others when the next owner had another
/// `max_records`: some records then came a second time under another id.
#[test]
fn batches_without_a_seal_stay_what_they_are_whatever_the_limits_of_the_next_owner() {
    for (seed, stays_full) in [(1, true), (1, false), (2, true), (2, false)] {
        let disk = SimulatedDisk::new(false);
        let core = open_with(&disk, 100);
        put(&core, 8, 7000);
        core.sync().unwrap();
        let disk = disk.snapshot().crash(Crash::Power, seed);
        disk.set_free_blocks(0);
        let core = open_with(&disk, 2);
        let seqs = |batch: &Batch| batch.iter().map(|record| record.seq).collect::<Vec<_>>();
        let first = core.peek().unwrap().unwrap();
        assert_eq!(seqs(&first), [1, 2]);
        core.settle(&first, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
        let second = core.peek().unwrap().unwrap();
        assert_eq!(seqs(&second), [3, 4]);
        // The process dies before the answer. Twice, so that what is known of a batch is read and written again.
        let mut disk = disk.snapshot().crash(Crash::Kill, seed);
        for max_records in [7, 1] {
            disk.set_free_blocks(if stays_full { 0 } else { u64::from(u32::MAX) });
            let core = open_with(&disk, max_records);
            let again = core.peek().unwrap().unwrap();
            assert_eq!((again.id(), seqs(&again)), (second.id(), seqs(&second)), "{max_records}, {stays_full}");
            disk = disk.snapshot().crash(Crash::Kill, seed);
        }
        disk.set_free_blocks(u64::from(u32::MAX));
        let core = open_with(&disk, 3);
        let mut left = Vec::new();
        while let Some(batch) = core.peek().unwrap() {
            left.push(seqs(&batch));
            core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
        }
        // The first of these owners sealed the last two.
        assert_eq!(left, [vec![3, 4], vec![5, 6], vec![7, 8]]);
    }
}
/// The directory of a producer that died, lost the power or was closed some times, and closed it at last; with the number
/// of records that were pending then, and of those that are known to be lost before them.
fn closed_log(dice: &mut Dice) -> (Vec<(PathBuf, Vec<u8>)>, u64, u64) {
    let mut disk = SimulatedDisk::new(dice.chance(2));
    let deaths = dice.below(3);
    for session in 0..=deaths {
        // What was closed under `os` may have lost its end where the boot is another, as it is of the disk that gets the files.
        let is_last = session == deaths;
        let core = open(
            &disk,
            if is_last { Durability::Interval } else { [Durability::Interval, Durability::Os][dice.below(2)] },
        );
        for _ in 0..dice.below(60) {
            put(&core, 1, dice.below(6000));
            match dice.below(12) {
                0 => drop(core.seal().unwrap()),
                1 => core.sync().unwrap(),
                2 if let Some(batch) = core.peek().unwrap() => {
                    core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
                }
                _ => {}
            }
        }
        if is_last || dice.chance(3) {
            let pending = core.pending().0;
            core.close().unwrap();
            if is_last {
                // What is known of places that are not committed is found once more.
                return (disk.files(Path::new(DIR)), pending, lock(&core.reader).state.lost.records);
            }
        } else {
            let crash = [Crash::Kill, Crash::Power][dice.below(2)];
            disk = disk.snapshot().crash(crash, dice.roll());
        }
    }
    unreachable!("the last session returns")
}

/// Seqs cannot tell: those that jumped look as if their records were missing.
#[test]
fn what_is_missing_at_the_end_of_a_closed_log_is_counted_exactly() {
    for seed in 0..2000 {
        let mut dice = Dice::new(seed);
        let (mut files, pending, lost_before) = closed_log(&mut dice);
        let mut segments: Vec<PathBuf> = files
            .iter()
            .map(|(path, _)| path.clone())
            .filter(|path| path.extension().is_some_and(|is| is == "seg"))
            .collect();
        segments.sort();
        let last = segments.last().unwrap().clone();
        let harm = dice.below(5);
        match harm {
            0 => {
                let gone = segments.split_off(dice.below(segments.len()));
                files.retain(|(path, _)| !gone.contains(path));
            }
            _ => {
                let (_, bytes) = files.iter_mut().find(|(path, _)| *path == last).unwrap();
                let most = [2000, bytes.len()][dice.below(2)];
                let at = dice.below(most);
                match harm {
                    1 => bytes.truncate(at),
                    2 => bytes[at..].fill(0),
                    3 => bytes[at..].iter_mut().for_each(|byte| *byte = dice.roll() as u8),
                    _ => {}
                }
            }
        }
        let disk = SimulatedDisk::new(dice.chance(2));
        files.iter().for_each(|(path, bytes)| disk.install(path, bytes));
        let mut delivered = 0;
        // Whoever opens it may die before anything is read, again and again.
        for _ in 0..=dice.below(3) {
            drop(open(&disk, Durability::Os));
        }
        let core = open(&disk, Durability::Os);
        core.seal().unwrap();
        while let Some(batch) = core.peek().unwrap() {
            delivered += batch.len() as u64;
            core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
        }
        let lost = core.damage.totals().records - lost_before;
        assert_eq!(delivered + lost, pending, "seed {seed}, harm {harm}: {delivered} delivered, {lost} lost");
    }
}

/// Its header once was not: a log in which nothing was put was believed to be durable as it was.
#[test]
fn a_log_that_was_only_opened_is_durable_when_it_is_closed() {
    for durability in [Durability::Always, Durability::Interval] {
        let disk = SimulatedDisk::new(false);
        open(&disk, durability).close().unwrap();
        for seed in 0..20 {
            let left = disk.snapshot().crash(Crash::Power, seed);
            let file = directory(&left).open(&segment::name(1), Open::Read).unwrap();
            assert!(matches!(segment::read_header(&*file, 1).unwrap().0, HeaderState::Valid(_)), "seed {seed}");
        }
    }
}

/// All that was reserved once counted as lost, four billion records, where seqs had jumped and the header that said so was
/// damaged.
#[test]
fn seqs_that_jumped_are_not_lost_with_the_header_that_tells_of_the_jump() {
    let drain = |core: &Core| {
        core.seal().unwrap();
        let mut records = 0;
        while let Some(batch) = core.peek().unwrap() {
            records += batch.len();
            core.settle(&batch, Settle { finished: true, ..Settle::default() }, || {}).unwrap();
        }
        records
    };
    // The files of a log that was drained, without its segments: seqs jump in the next one.
    let disk = SimulatedDisk::new(false);
    let core = open(&disk, Durability::Os);
    put(&core, 4, 10);
    assert_eq!(drain(&core), 4);
    core.close().unwrap();
    let files = disk.files(Path::new(DIR));
    let disk = SimulatedDisk::new(false);
    let is_segment = |path: &Path| path.extension().is_some_and(|is| is == "seg");
    files.iter().filter(|(path, _)| !is_segment(path)).for_each(|(path, bytes)| disk.install(path, bytes));
    let core = open(&disk, Durability::Os);
    put(&core, 3, 10);
    assert!(lock(&core.log).next_seq > RESERVED_SEQS);
    let killed = disk.files(Path::new(DIR));
    core.close().unwrap();
    let closed = disk.files(Path::new(DIR));
    // Only who closed the log says how many records there were.
    for (files, spoiled, lost) in [(&killed, 0, 0), (&killed, 1, 0), (&closed, 0, 0), (&closed, 1, 1)] {
        let disk = SimulatedDisk::new(false);
        for (path, bytes) in files {
            let mut bytes = bytes.clone();
            if is_segment(path) {
                bytes[..1024 + 48 * spoiled].fill(7);
            }
            disk.install(path, &bytes);
        }
        for _ in 0..2 {
            drop(open(&disk, Durability::Os));
        }
        let core = open(&disk, Durability::Os);
        assert_eq!(drain(&core), 3 - spoiled);
        assert_eq!(core.damage.totals().records, lost);
    }
}

/// A segment of an unknown version ahead: whoever looks whether there is a batch read everything before it each time.
#[test]
fn what_lies_before_an_unknown_version_is_not_read_for_each_look() {
    let disk = SimulatedDisk::new(false);
    let core = open(&disk, Durability::Os);
    // One batch over several segments.
    put(&core, 3, 50_000);
    core.close().unwrap();
    let (path, bytes) =
        disk.files(Path::new(DIR)).into_iter().find(|(path, _)| path.ends_with(segment::name(3))).unwrap();
    let mut unknown = bytes.clone();
    for copy in unknown[..1024].chunks_exact_mut(512) {
        copy[8] = 9;
        let crc = crate::checksum::crc32c(&copy[..508]);
        copy[508..].copy_from_slice(&crc.to_le_bytes());
    }
    let core = open(&disk, Durability::Os);
    core.put(&NewRecord::new(&[7; 60_000]), Some(Duration::ZERO.into())).unwrap();
    core.seal().unwrap();
    let file = disk.open(&path, false).unwrap();
    file.write_at(&unknown, 0).unwrap();
    let look = || {
        let before = disk.operations().0;
        assert_eq!(core.peek().unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        disk.operations().0 - before
    };
    let (first, again) = (look(), look());
    assert!(again > 0 && 2 * again < first, "{first} operations, then {again}");
    assert!((0..10).all(|_| look() == again));
    // Somebody puts it right.
    file.write_at(&bytes, 0).unwrap();
    assert_eq!(core.peek().unwrap().unwrap().len(), 4);
}
