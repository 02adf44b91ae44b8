//! Scripts of what programs do, each in every mode of storage and durability.

use std::time::Duration;

use super::oracle::{Mood, Target};
use super::world::Step::{self, *};
use crate::options::{Durability, Mode, OnExhausted, OnExpired, Options, Order, Storage, WhenFull};
use crate::schedule::Jitter;
use crate::sink::Framing;

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) steps: Vec<Step>,
    /// Where batches go, if not to the oracle.
    pub(crate) target: Option<Target>,
}

/// Small segments, short waits, no jitter.
pub(crate) fn options() -> Options {
    Options {
        max_records: 4,
        max_record_bytes: 256 * 1024,
        segment_bytes: 64 * 1024,
        max_buffer_bytes: 512 * 1024,
        when_full: WhenFull::Error,
        schedule_multiplier: Duration::from_millis(10),
        schedule_max: Duration::from_millis(40),
        jitter: Jitter::None,
        max_attempts: 3,
        sync_interval: Duration::from_millis(100),
        mode: Mode::Inline,
        order: Order::Total,
        max_in_flight: 1,
        ..Options::default()
    }
}

fn millis(count: u64) -> Step {
    Sleep(Duration::from_millis(count))
}

fn puts(sizes: impl IntoIterator<Item = usize>) -> Vec<Step> {
    sizes.into_iter().flat_map(|len| [Put(len), Poll]).collect()
}

/// What each script is called, its steps, and what it needs of the options.
fn scripts() -> Vec<(&'static str, Vec<Step>, fn(&mut Options))> {
    let same: fn(&mut Options) = |_| {};
    let mixed = || puts([0, 1, 7, 8, 100, 470, 480, 481, 1500, 5000, 3, 40]);
    vec![
        ("mixed sizes", [mixed(), vec![Sync, Chores], mixed(), vec![millis(150), Chores, Flush]].concat(), same),
        (
            "a sink that fails",
            [
                vec![Sink(Mood::Fails)],
                mixed(),
                vec![millis(50), Poll, Flush, millis(50), Poll, Flush, millis(120), Chores],
                puts([20; 8]),
                vec![Sink(Mood::Good), millis(50), Poll, Flush, Replay, millis(50), Flush, Poll, Flush],
            ]
            .concat(),
            same,
        ),
        (
            "partial answers",
            [
                vec![Sink(Mood::Partial)],
                mixed(),
                vec![millis(150), Chores],
                (0..12).flat_map(|_| [millis(50), Poll, Flush]).collect(),
                vec![Sink(Mood::Rejects)],
                puts([30; 6]),
                vec![Flush, Chores, Sink(Mood::Good), millis(200), Poll, Flush, Replay, Flush],
            ]
            .concat(),
            |options| options.max_attempts = 20,
        ),
        (
            "raise and resume",
            [
                vec![Sink(Mood::Partial)],
                puts([50; 5]),
                vec![Sink(Mood::Fails)],
                (0..4).flat_map(|_| [millis(50), Poll, Flush]).collect(),
                vec![Resume, millis(110), Chores],
                (0..4).flat_map(|_| [millis(50), Poll, Flush]).collect(),
                vec![Sink(Mood::Good), Resume, Poll, Flush],
                puts([50; 5]),
                vec![Flush],
            ]
            .concat(),
            |options| options.on_exhausted = OnExhausted::Raise,
        ),
        (
            "recycling",
            (0..14)
                .flat_map(|round| {
                    [puts([6000, 3000, 9000]), vec![millis(60), Chores, Flush, Chores], puts([round])].concat()
                })
                .collect(),
            same,
        ),
        (
            "a full buffer",
            [
                vec![Sink(Mood::Down)],
                puts([20_000; 24]),
                vec![millis(200), Chores, Sink(Mood::Good), millis(200), Poll, Flush, Chores],
                puts([20_000; 10]),
                vec![Flush],
            ]
            .concat(),
            |options| options.max_buffer_bytes = 256 * 1024,
        ),
        (
            "a full disk",
            [
                puts([100; 5]),
                vec![FreeBlocks(20), Sink(Mood::Down)],
                puts([9000; 16]),
                vec![millis(200), Chores, Sink(Mood::Rejects), millis(200), Poll, Flush, Chores],
                vec![FreeBlocks(500), Sink(Mood::Good), millis(2000), Poll, Flush, Chores],
                puts([9000; 10]),
                vec![Flush],
            ]
            .concat(),
            same,
        ),
        (
            "restarts",
            [
                vec![Sink(Mood::Down)],
                puts([10; 6]),
                vec![Restart(2)],
                puts([600; 3]),
                vec![Sink(Mood::Partial), millis(100), Poll, Flush, Restart(7)],
                puts([10; 3]),
                vec![Sink(Mood::Fails), millis(100), Poll, Flush, Restart(1), Sink(Mood::Good)],
                puts([10; 3]),
                vec![millis(100), Chores, Flush, Replay, Restart(4), Flush],
            ]
            .concat(),
            same,
        ),
        (
            "the oldest make room",
            [
                vec![Sink(Mood::Down)],
                puts([20_000; 24]),
                vec![millis(200), Chores, Sink(Mood::Partial), millis(200), Poll],
                puts([20_000; 12]),
                vec![Restart(3)],
                puts([20_000; 6]),
                vec![Sink(Mood::Good), millis(200), Poll, Flush, Chores],
                puts([20_000; 10]),
                vec![Flush],
            ]
            .concat(),
            |options| {
                options.max_buffer_bytes = 256 * 1024;
                options.when_full = WhenFull::DropOldest;
            },
        ),
        (
            "lanes",
            [
                vec![Sink(Mood::Mixed)],
                mixed(),
                vec![millis(15), Poll, Sync, Chores],
                mixed(),
                (0..6).flat_map(|_| [millis(50), Poll, Flush]).collect(),
                vec![RestartLanes(3), Sink(Mood::Partial)],
                puts([700; 9]),
                vec![millis(50), Poll, RestartLanes(1)],
                puts([10; 5]),
                vec![Sink(Mood::Good), millis(100), Poll, Flush, RestartLanes(4), Replay],
                puts([10; 9]),
                vec![Flush, Chores],
            ]
            .concat(),
            |options| (options.order, options.max_in_flight) = (Order::Key, 4),
        ),
        (
            "lanes of which the oldest make room and expire",
            [
                vec![Sink(Mood::Mixed)],
                puts([900, 10, 20_000, 0, 3000, 20_000, 40, 20_000, 7, 20_000]),
                vec![millis(30), Poll, Sync, Chores, Sink(Mood::Partial)],
                puts([20_000; 12]),
                vec![millis(40), Poll, Flush, RestartLanes(2), Sink(Mood::Down)],
                puts([20_000; 8]),
                vec![millis(400), JumpWall(-300_000), Poll, Put(10), Chores, Sink(Mood::Mixed)],
                (0..6).flat_map(|_| [millis(50), Poll, Flush]).collect(),
                vec![RestartLanes(4), JumpWall(86_400_000_000), Put(30), Sink(Mood::Good), Flush, Replay],
                puts([20_000; 6]),
                vec![Flush, Chores],
            ]
            .concat(),
            |options| {
                (options.order, options.max_in_flight) = (Order::Key, 4);
                (options.when_full, options.max_buffer_bytes) = (WhenFull::DropOldest, 256 * 1024);
                (options.max_age, options.on_expired) = (Duration::from_millis(300), OnExpired::Drop);
            },
        ),
        (
            "what expires is buried, and the rest goes at a rate",
            [
                vec![Sink(Mood::Fails)],
                mixed(),
                vec![millis(15), Poll, Sink(Mood::Down), millis(150), Poll, Sync],
                mixed(),
                vec![millis(250), Sink(Mood::Mixed)],
                (0..8).flat_map(|_| [millis(60), Poll, Flush]).collect(),
                vec![FreeBlocks(3), millis(400), Poll, Flush, FreeBlocks(500), millis(1100), Poll, Restart(2)],
                puts([50; 9]),
                vec![Sink(Mood::Good), millis(300), Flush, Replay, Flush, Chores],
            ]
            .concat(),
            |options| {
                (options.order, options.max_in_flight, options.max_attempts) = (Order::Key, 3, 20);
                (options.max_age, options.on_expired) = (Duration::from_millis(300), OnExpired::DeadLetter);
                (options.max_rate_records, options.max_rate_bytes) = (200, 1_000_000);
            },
        ),
        (
            "records larger than a segment",
            [
                puts([70_000, 10, 100_000, 20, 65_400, 64_300, 64_400, 10]),
                vec![millis(110), Chores],
                puts([130_000, 5]),
                vec![Flush],
            ]
            .concat(),
            |options| options.max_buffer_bytes = 4 << 20,
        ),
        (
            "batches over segments",
            [puts([7000; 40]), vec![Flush, Chores, millis(110), Chores], puts([7000; 20]), vec![Flush]].concat(),
            |options| {
                options.max_records = 13;
                options.max_buffer_bytes = 2 << 20;
            },
        ),
        (
            "dead letters fill up",
            [
                vec![Sink(Mood::Rejects)],
                puts([900; 24]),
                vec![Flush, Chores, Sink(Mood::Good), Resume, millis(2000), Poll, Flush, Replay, Flush],
            ]
            .concat(),
            |options| options.max_dead_letter_bytes = 8000,
        ),
        (
            "the wall clock jumps",
            [
                vec![Sink(Mood::Fails)],
                puts([50; 4]),
                vec![JumpWall(-86_400_000_000), millis(50), Poll, Restart(4), millis(50), Poll, Flush],
                puts([50; 4]),
                vec![JumpWall(7 * 86_400_000_000), Restart(4), Sink(Mood::Good), millis(100), Poll, Flush],
            ]
            .concat(),
            same,
        ),
    ]
}

/// Every script under every combination of mode, storage and durability.
pub(crate) fn all() -> Vec<Workload> {
    let mut workloads = Vec::new();
    for (name, steps, adapt) in scripts() {
        for durability in [Durability::Always, Durability::Interval, Durability::Os] {
            for storage in [Storage::Mapped, Storage::File] {
                for mode in [Mode::Background, Mode::Inline, Mode::Manual] {
                    let mut options = Options { durability, storage, mode, ..options() };
                    adapt(&mut options);
                    let name = format!("{name} ({durability:?}, {storage:?}, {mode:?})");
                    workloads.push(Workload { name, options, steps: steps.clone(), target: None });
                }
            }
        }
    }
    workloads
}

/// Scripts for a [`FileSink`](crate::FileSink): the file is as old as the buffer, grows by small and large batches, by
/// those of several processes, and waits for space.
fn file_scripts() -> Vec<(&'static str, Vec<Step>)> {
    let sizes = || puts([0, 1, 100, 470, 1500, 3, 40, 600, 5, 5]);
    vec![
        ("a file", [sizes(), vec![Sync, Chores], sizes(), vec![millis(150), Chores], sizes(), vec![Flush]].concat()),
        (
            "a file of several processes",
            [
                puts([10; 6]),
                vec![Restart(2)],
                puts([600; 3]),
                vec![millis(150), Chores, Restart(7)],
                puts([10; 9]),
                vec![Flush, Restart(4)],
                puts([2000; 5]),
            ]
            .concat(),
        ),
        (
            "a file on a full disk",
            [
                puts([900; 5]),
                vec![FreeBlocks(1)],
                puts([900; 9]),
                vec![millis(200), Chores, Poll, FreeBlocks(500), millis(200), Poll, Flush, Chores],
                puts([900; 5]),
            ]
            .concat(),
        ),
    ]
}

/// Every script for a `FileSink` under every combination of mode, durability, framing and sync.
pub(crate) fn files() -> Vec<Workload> {
    let targets = [
        Target { framing: Framing::Lines, sync: true },
        Target { framing: Framing::LengthPrefixed, sync: true },
        Target { framing: Framing::Lines, sync: false },
        Target { framing: Framing::LengthPrefixed, sync: false },
    ];
    let mut workloads = Vec::new();
    for (name, steps) in file_scripts() {
        for durability in [Durability::Always, Durability::Interval, Durability::Os] {
            for mode in [Mode::Inline, Mode::Background, Mode::Manual] {
                for target in targets {
                    let at = workloads.len();
                    let storage = [Storage::Mapped, Storage::File][(at + at / targets.len()) % 2];
                    let options = Options { durability, storage, mode, ..options() };
                    let Target { framing, sync } = target;
                    let name = format!("{name} ({durability:?}, {storage:?}, {mode:?}, {framing:?}, sync {sync})");
                    workloads.push(Workload { name, options, steps: steps.clone(), target: Some(target) });
                }
            }
        }
    }
    workloads
}
