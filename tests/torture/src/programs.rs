//! Random programs: compared with the model, and crashed on the way. What goes wrong, proptest makes small; what went
//! wrong once is kept.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

use super::crash::{Depth, crash_everywhere};
use super::model::compare;
use super::oracle::Mood::{self, *};
use super::workloads::{Workload, options};
use super::world::Step::{self, *};
use super::{Figures, for_all};
use crate::options::{Durability, Mode, NEVER, OnExhausted, OnExpired, Order, Storage, WhenFull};

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![4 => Just(Good), 2 => Just(Mixed), 1 => Just(Partial), 1 => Just(Fails), 1 => Just(Down), 1 => Just(Rejects), 1 => Just(Panics)]
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200usize, 2 => 0..2000usize, 1 => 0..70_000usize];
    let hours = -200..200i64;
    prop_oneof![
        12 => size.prop_map(Put),
        3 => Just(Flush),
        3 => Just(Poll),
        3 => Just(Chores),
        3 => (0..120u64).prop_map(|millis| Sleep(Duration::from_millis(millis))),
        1 => (1..100u64).prop_map(|hours| Sleep(Duration::from_secs(3600 * hours))),
        1 => hours.prop_map(|hours| JumpWall(hours * 3_600_000_000)),
        1 => Just(Sync),
        3 => mood().prop_map(Sink),
        1 => Just(Replay),
        1 => Just(Resume),
        1 => (1..9u64).prop_map(Restart),
        1 => (1..5u64).prop_map(RestartLanes),
        1 => (0..60u64).prop_map(FreeBlocks),
    ]
}

fn program(length: usize) -> impl Strategy<Value = Workload> {
    let durability = prop_oneof![Just(Durability::Always), Just(Durability::Interval), Just(Durability::Os)];
    let storage = prop_oneof![Just(Storage::Mapped), Just(Storage::File)];
    let mode = prop_oneof![Just(Mode::Background), Just(Mode::Inline), Just(Mode::Manual)];
    let on_exhausted = prop_oneof![Just(OnExhausted::Skip), Just(OnExhausted::Raise)];
    let ahead = prop_oneof![Just(1), 2..4u64, Just(4096)];
    let in_flight = prop_oneof![
        3 => Just((Order::Total, 1, 4096)),
        1 => (2..4u64).prop_map(|count| (Order::None, count, 4096)),
        2 => (2..5u64, ahead).prop_map(|(lanes, ahead)| (Order::Key, lanes, ahead)),
    ];
    let bytes = prop_oneof![Just(1 << 20), Just(80_000), 3100..6000u64];
    let rest = (1..9u64, 0..200u64, in_flight, any::<bool>(), bytes);
    let expired = prop_oneof![Just(OnExpired::Auto), Just(OnExpired::DeadLetter), Just(OnExpired::Drop)];
    let age = prop_oneof![
        5 => Just((OnExpired::Auto, NEVER)),
        2 => (expired.clone(), (1..300u64).prop_map(Duration::from_millis)),
        1 => expired.prop_map(|on_expired| (on_expired, NEVER)),
    ];
    // The waits that follow from them are whole microseconds, as the simulated clock's are.
    let rate = prop_oneof![
        4 => Just((0, 0)),
        1 => prop_oneof![Just(20), Just(100), Just(1000)].prop_map(|records| (records, 0)),
        1 => prop_oneof![Just(1000), Just(10_000), Just(1_000_000)].prop_map(|bytes| (0, bytes)),
        1 => Just((200, 100_000)),
    ];
    // Where it is not the model that has room for everything: for four to six segments.
    let room = prop_oneof![3 => Just(None), 1 => (256..400u64).prop_map(|kib| Some(kib << 10))];
    let steps = prop::collection::vec(step(), 1..length);
    (durability, storage, mode, on_exhausted, rest, (age, rate, room), steps).prop_map(
        |(durability, storage, mode, on_exhausted, rest, (age, rate, room), mut steps)| {
            let (max_records, linger, (order, max_in_flight, max_batches_ahead), count_unavailable, max_bytes) = rest;
            let linger = Duration::from_millis(linger);
            let mut options = options();
            options = crate::Options { durability, storage, mode, on_exhausted, max_records, linger, ..options };
            options = crate::Options { order, max_in_flight, max_batches_ahead, ..options };
            options = crate::Options { count_unavailable, max_bytes, ..options };
            (options.on_expired, options.max_age) = age;
            (options.max_rate_records, options.max_rate_bytes) = rate;
            if let Some(room) = room {
                (options.when_full, options.max_buffer_bytes, options.max_bytes) = (WhenFull::DropOldest, room, 80_000);
                // Records of which a few fill a segment, behind an outage.
                for step in &mut steps {
                    match step {
                        Put(len) => *len = 10_000 + *len * 7 % 60_000,
                        // It puts many records, and the model is told of a step how much made room in all.
                        Replay => *step = Chores,
                        _ => {}
                    }
                }
                steps.insert(0, Sink(Down));
            }
            Workload { name: "a random program".into(), options, steps, target: None }
        },
    )
}

/// Programs that went wrong once, each with what was wrong.
fn kept() -> Vec<Workload> {
    let zeros = |count: usize| vec![Put(0); count];
    let puts = |sizes: &[usize]| sizes.iter().map(|len| Put(*len)).collect::<Vec<_>>();
    let millis = |count| Sleep(Duration::from_millis(count));
    let program = |name: &str, durability, mode, max_records, linger, steps: Vec<Vec<Step>>| {
        let linger = Duration::from_millis(linger);
        let options = crate::Options { durability, mode, max_records, linger, ..options() };
        Workload { name: name.into(), options, steps: steps.concat(), target: None }
    };
    let in_flight = |max_in_flight, program: Workload| {
        let options = crate::Options { order: Order::None, max_in_flight, ..program.options };
        Workload { options, ..program }
    };
    vec![
        program(
            "a letter that grew while it was replayed was deleted with what had come",
            Durability::Always,
            Mode::Inline,
            6,
            13,
            vec![zeros(5), vec![Sink(Partial), Put(0), millis(10), Sink(Mixed), Replay]],
        ),
        program(
            "the records of a letter went before the letter that took its place was durable",
            Durability::Always,
            Mode::Manual,
            7,
            1,
            vec![zeros(4), vec![Sink(Fails), Put(0), Flush, Sync, Flush], zeros(3), vec![Sink(Mixed)], zeros(2)]
                .into_iter()
                .chain([vec![Replay, Put(0), Poll], zeros(3), vec![Sink(Partial), Flush, Flush]])
                .collect(),
        ),
        program(
            "a full disk kept a buffer from opening whose last segment was full",
            Durability::Always,
            Mode::Inline,
            5,
            1,
            vec![
                vec![Put(59_513), FreeBlocks(0)],
                puts(&[1093, 169, 121, 13, 161, 105, 149, 81, 17, 164]),
                vec![millis(1), Put(1465), Put(177), Restart(1), Put(28), Flush, Put(17), Restart(1), Put(0)],
            ],
        ),
        program(
            "a batch whose seal a power loss took came back with the next under its own id",
            Durability::Interval,
            Mode::Inline,
            1,
            0,
            vec![puts(&[121, 181, 193, 857, 61, 1345]), vec![Chores], puts(&[25, 0, 2945, 233, 164, 56_985])],
        ),
        program(
            "a batch without its seal reached over a jump of the seqs, and their difference over 32 bits",
            Durability::Os,
            Mode::Inline,
            5,
            46,
            vec![
                puts(&[569, 63_749, 42_169]),
                vec![Sync, Put(137), Sink(Partial), Put(1813), millis(10), Put(161), Put(19_817), Restart(1)],
            ],
        ),
        program(
            "a close under os was trusted after a power loss, and seqs were given out again",
            Durability::Os,
            Mode::Inline,
            6,
            1,
            vec![
                puts(&[121, 45, 161, 1193, 109, 113, 8633, 77, 129]),
                vec![millis(1), Sync, Put(137), Restart(2), Put(24_436), Put(28_529), Put(0)],
            ],
        ),
        in_flight(
            3,
            program(
                "what a batch in flight had finished was passed over, and its segment freed before the cursor said so",
                Durability::Interval,
                Mode::Background,
                3,
                1,
                vec![zeros(2), vec![Sink(Mixed), Put(0), Put(545), Put(157), Put(63_369), Flush, Restart(1)]],
            ),
        ),
    ]
}

/// Programs that a deliberate bug went through unseen, each with what it guards, and with how many operations of the
/// recovery lie between two that are crashed at.
pub(crate) fn guards() -> Vec<(Workload, usize)> {
    let millis = |count| Sleep(Duration::from_millis(count));
    let program = |name: &str, durability, mode, second, steps: Vec<Vec<Step>>| {
        let options = crate::Options { durability, mode, max_records: 1, ..options() };
        (Workload { name: name.into(), options, steps: steps.concat(), target: None }, second)
    };
    vec![
        program(
            "a commit is durable before the segment that it frees is used again",
            Durability::Interval,
            Mode::Inline,
            5,
            vec![
                vec![Sink(Down)],
                vec![Put(15_000); 5],
                vec![Sync, Sink(Good), millis(50), Flush, Chores, Put(40_000), Chores, Sync, Put(0)],
            ],
        ),
        program(
            "a segment is not freed while a record in it is not finished",
            Durability::Interval,
            Mode::Inline,
            7,
            vec![
                vec![Sink(Down)],
                vec![Put(20_000); 8],
                vec![Sink(Good), millis(50)],
                [Put(5), Chores].repeat(5),
                vec![Put(20_000), Flush],
            ],
        ),
        program(
            "what an outage has filled is given back when it is over, though nobody puts any more",
            Durability::Interval,
            Mode::Background,
            7,
            vec![vec![Sink(Down)], vec![Put(20_000); 19], vec![Sink(Good), millis(50), Poll, Flush, Chores]],
        ),
        program(
            "what a segment takes is counted once, though a smaller one cannot make way for it",
            Durability::Interval,
            Mode::Inline,
            7,
            vec![[Put(40_000), Chores, Put(100_000), Put(10)].repeat(2), vec![Flush, Chores]],
        ),
        program(
            "what was durable when it was closed is not forgotten by a run under os",
            Durability::Always,
            Mode::Inline,
            5,
            vec![vec![Put(10); 3], vec![RestartAs(Durability::Os)], vec![Put(20); 3], vec![Chores, Flush]],
        ),
        program(
            "what a process left that died is durable once its successor is open",
            Durability::Interval,
            Mode::Background,
            3,
            vec![
                vec![Put(100), Put(3000), Poll, Sink(Partial), Put(30), Poll, millis(10), Poll, Sink(Good), millis(50)],
                vec![Poll, Put(50), Chores, Put(60), Poll],
            ],
        ),
        program(
            "after a sync that failed, none says that all is well",
            Durability::Interval,
            Mode::Inline,
            7,
            vec![[Put(10), Sync, Sync].repeat(4)],
        ),
        program(
            "a letter that grows is whole at every instant",
            Durability::Always,
            Mode::Inline,
            5,
            vec![
                vec![Restart(6), Sink(Partial)],
                vec![Put(10); 6],
                [millis(50), Flush].repeat(3),
                vec![Sink(Good), Put(0), Replay, Flush],
            ],
        ),
        program(
            "what comes to a letter while it is replayed stays in it",
            Durability::Always,
            Mode::Inline,
            1,
            vec![
                vec![Restart(6), Sink(Partial)],
                vec![Put(10); 6],
                vec![millis(50), Sink(Rejects), Replay, Sink(Good), millis(50), Flush],
            ],
        ),
    ]
}

/// Compares the programs that are kept, and `cases` random ones, with the model, and crashes them on the way.
pub(crate) fn programs(cases: u32, length: usize, depth: Depth, figures: &mut Figures) -> Result<(), String> {
    let everywhere = |powers, second| Depth { stride: 1, offset: 0, powers, second };
    let kept = kept().into_iter().map(|program| (program, everywhere(4, 7)));
    let guards = guards().into_iter().map(|(program, second)| (program, everywhere(2, second)));
    for_all(&kept.chain(guards).collect::<Vec<_>>(), figures, |_, (program, depth), figures| {
        compare(program, 1, figures)?;
        crash_everywhere(program, *depth, 1, figures)
    })?;
    // A run tells its seed by its number.
    const CASES: u32 = 100;
    let seeds: Vec<u32> = (0..cases.div_ceil(CASES)).collect();
    for_all(&seeds, figures, |_, seed, figures| {
        let config = Config { cases: cases.min(CASES), failure_persistence: None, ..Config::default() };
        let mut bytes = [0x75; 32];
        bytes[..4].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(config.rng_algorithm, &bytes);
        let counted = RefCell::new(*figures);
        let result = TestRunner::new_with_rng(config, rng).run(&program(length), |program| {
            let mut figures = counted.borrow_mut();
            compare(&program, 1, &mut figures).map_err(TestCaseError::fail)?;
            crash_everywhere(&program, depth, 1, &mut figures).map_err(TestCaseError::fail)
        });
        *figures = counted.into_inner();
        result.map_err(|error| match error {
            TestError::Fail(reason, program) => {
                let Workload { options, steps, .. } = program;
                format!("run {seed}: {reason}\nsteps: {steps:?}\noptions: {options:?}")
            }
            TestError::Abort(reason) => reason.to_string(),
        })
    })
}
