//! Random programs. What each must lead to, the oracle says; what goes wrong, proptest makes small.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};

use super::Figures;
use super::crash::{Depth, crash_everywhere};
use super::oracle::Mood;
use super::workloads::{Workload, options};
use super::world::Step;
use crate::options::{Durability, Mode, OnExhausted, Storage};

/// Failing cases of earlier runs, tried first.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/model.seeds");

fn mood() -> impl Strategy<Value = Mood> {
    use Mood::*;
    prop_oneof![4 => Just(Good), 2 => Just(Mixed), 1 => Just(Partial), 1 => Just(Fails), 1 => Just(Down), 1 => Just(Rejects), 1 => Just(Panics)]
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200usize, 2 => 0..2000usize, 1 => 0..70_000usize];
    let hours = -200..200i64;
    prop_oneof![
        12 => size.prop_map(Step::Put),
        3 => Just(Step::Flush),
        3 => Just(Step::Poll),
        3 => Just(Step::Chores),
        3 => (0..120u64).prop_map(|millis| Step::Sleep(Duration::from_millis(millis))),
        1 => (1..100u64).prop_map(|hours| Step::Sleep(Duration::from_secs(3600 * hours))),
        1 => hours.prop_map(|hours| Step::JumpWall(hours * 3_600_000_000)),
        1 => Just(Step::Sync),
        3 => mood().prop_map(Step::Sink),
        1 => Just(Step::Replay),
        1 => Just(Step::Resume),
        1 => (1..9u64).prop_map(Step::Restart),
        1 => (0..60u64).prop_map(Step::FreeBlocks),
    ]
}

fn program(length: usize) -> impl Strategy<Value = Workload> {
    let durability = prop_oneof![Just(Durability::Always), Just(Durability::Interval), Just(Durability::Os)];
    let storage = prop_oneof![Just(Storage::Mapped), Just(Storage::File)];
    let mode = prop_oneof![Just(Mode::Inline), Just(Mode::Manual)];
    let on_exhausted = prop_oneof![Just(OnExhausted::Skip), Just(OnExhausted::Raise)];
    let rest = (1..9u64, 0..200u64, any::<bool>());
    let steps = prop::collection::vec(step(), 1..length);
    (durability, storage, mode, on_exhausted, rest, steps).prop_map(
        |(durability, storage, mode, on_exhausted, rest, steps)| {
            let (max_records, linger, count_unavailable) = rest;
            let mut options = options();
            options.durability = durability;
            options.storage = storage;
            options.mode = mode;
            options.on_exhausted = on_exhausted;
            options.max_records = max_records;
            options.linger = Duration::from_millis(linger);
            options.count_unavailable = count_unavailable;
            Workload { name: "a random program".into(), options, steps }
        },
    )
}

/// Runs so many random programs, each with crashes at every `stride`-th operation.
pub(crate) fn random_programs(cases: u32, length: usize, depth: Depth, figures: &mut Figures) -> Result<(), String> {
    let persistence = Box::new(FileFailurePersistence::Direct(SEEDS));
    let config =
        Config { cases, failure_persistence: Some(persistence), source_file: Some(file!()), ..Config::default() };
    let counted = RefCell::new(*figures);
    let result = TestRunner::new(config).run(&program(length), |workload| {
        let mut figures = counted.borrow_mut();
        figures.steps += workload.steps.len() as u64;
        crash_everywhere(&workload, depth, 1, &mut figures).map_err(TestCaseError::fail)
    });
    *figures = counted.into_inner();
    result.map_err(|error| match error {
        TestError::Fail(reason, workload) => format!("{reason}\n{workload:#?}"),
        TestError::Abort(reason) => reason.to_string(),
    })
}
