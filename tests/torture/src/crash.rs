//! Crash at every operation: run a script, stop the world before each change of the disk, start anew from what is
//! left, drain, and account for every record. And once more with a second crash on the way.

use std::time::Duration;

use super::oracle::Oracle;
use super::workloads::Workload;
use super::world::{Picture, SimulatedClock, World, file_on, with_lanes};
use super::{Figures, caught};
use crate::error::ErrorKind;
use crate::options::{Durability, Mode, NEVER, OnExpired, Storage, WhenFull};
use crate::platform::simulated::{Crash, Dice, SimulatedDisk};
use crate::platform::{Clock as _, lock};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    /// Every so many-th operation is crashed at.
    pub(crate) stride: usize,
    pub(crate) offset: usize,
    /// Power losses tried at each, with other random numbers.
    pub(crate) powers: u64,
    /// Every so many-th operation of the recovery is crashed at too; 0: none.
    pub(crate) second: usize,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a script and crashes it. The error tells how to get there again.
pub(crate) fn crash_everywhere(
    workload: &Workload,
    depth: Depth,
    seed: u64,
    figures: &mut Figures,
) -> Result<(), String> {
    let disk = SimulatedDisk::new(workload.options.storage != Storage::File);
    let mut oracle = Oracle::new(&workload.options, false);
    oracle.target = workload.target;
    let mut world = World::new(disk, SimulatedClock::new(), oracle, &workload.options, seed);
    let pictures = world.record(depth.stride, depth.offset);
    let told = |what: String| format!("{}, seed {seed}: {what}", workload.name);
    world.open().map_err(|error| told(format!("opening: {error}")))?;
    for (at, step) in workload.steps.iter().enumerate() {
        let result = caught(|| Ok(world.step(step))).map_err(|what| told(format!("step {at}, {step:?}: {what}")))?;
        if let Err(error) = result {
            use ErrorKind::*;
            if !matches!(
                error.kind(),
                BufferFull | DiskFull | RetriesExhausted | DeadLettersFull | Timeout | RecordTooLarge
            ) {
                return Err(told(format!("step {at}, {step:?}: {error}")));
            }
        }
        lock(&world.oracle).verdict().map_err(|what| told(format!("step {at}, {step:?}: {what}")))?;
        let taken = std::mem::take(&mut *lock(&pictures));
        for picture in taken {
            crash_at(&picture, depth, seed, figures).map_err(|what| {
                let place = format!("operation {} ({:?})", picture.operation, picture.disk.op);
                told(format!("step {at}, {step:?}, {place}: {what}"))
            })?;
        }
    }
    figures.operations += world.disk.operations().0;
    figures.records += lock(&world.oracle).accepted() as u64;
    world.disk.record(None);
    let (disk, oracle) = world.abandon();
    let wreck = Wreck {
        disk,
        oracle: oracle.after(Crash::Kill),
        wall: None,
        crash: Some(Crash::Kill),
        full: false,
        idle: true,
        max_records: None,
        lanes: None,
    };
    recover(wreck, None, figures).map_err(|what| told(format!("at the end: {what}")))?;
    Ok(())
}

fn crash_at(picture: &Picture, depth: Depth, seed: u64, figures: &mut Figures) -> Result<(), String> {
    let kills = [(Crash::Kill, 0)];
    let powers = (1..=depth.powers).map(|round| (Crash::Power, round));
    for (crash, round) in kills.into_iter().chain(powers) {
        let mut dice = Dice::new(seed ^ (picture.operation as u64) << 8 ^ round);
        let disk = picture.disk.crash(crash, dice.roll());
        figures.crashes += 1;
        let told = |what| format!("{crash:?} {round}: {what}");
        // Another offset each time, so that the second crash does not always hit the same operations.
        let again = (depth.second > 0).then(|| (depth.second, dice.below(depth.second)));
        let oracle = picture.oracle.after(crash);
        let wreck = Wreck {
            disk,
            oracle,
            wall: Some(picture.wall),
            crash: Some(crash),
            full: dice.chance(3),
            idle: dice.chance(3),
            max_records: dice.chance(3).then(|| 1 + dice.roll() % 8),
            lanes: dice.chance(3).then(|| 1 + dice.roll() % 4),
        };
        let pictures = recover(wreck, again, figures).map_err(told)?;
        for second in &pictures {
            let then = [Crash::Kill, Crash::Power][dice.below(2)];
            let disk = second.disk.crash(then, dice.roll());
            figures.second_crashes += 1;
            let worst = if then == Crash::Power { then } else { crash };
            let oracle = second.oracle.after(then);
            let wreck = Wreck {
                disk,
                oracle,
                wall: Some(second.wall),
                crash: Some(worst),
                full: dice.chance(3),
                idle: dice.chance(3),
                max_records: dice.chance(3).then(|| 1 + dice.roll() % 8),
                lanes: dice.chance(3).then(|| 1 + dice.roll() % 4),
            };
            recover(wreck, None, figures)
                .map_err(|what| told(format!("operation {} of the recovery, {then:?}: {what}", second.operation)))?;
        }
    }
    Ok(())
}

/// What a crash left.
pub(crate) struct Wreck {
    pub(crate) disk: SimulatedDisk,
    pub(crate) oracle: Oracle,
    /// The time of the crash.
    pub(crate) wall: Option<i64>,
    /// `None`: the disk had failed before.
    pub(crate) crash: Option<Crash>,
    /// There is no space when it is opened again.
    pub(crate) full: bool,
    /// Who opens it next closes it without having done anything.
    pub(crate) idle: bool,
    /// Who opens it next makes other batches.
    pub(crate) max_records: Option<u64>,
    /// And has another number of lanes.
    pub(crate) lanes: Option<u64>,
}

/// Opens what a crash left, goes on putting, drains it to a sink that takes everything, and settles the accounts.
/// `again` asks for pictures of every so many-th operation from some offset.
pub(crate) fn recover(
    wreck: Wreck,
    again: Option<(usize, usize)>,
    figures: &mut Figures,
) -> Result<Vec<Picture>, String> {
    caught(|| go_on_after(wreck, again, figures))
}

fn go_on_after(
    Wreck { disk, mut oracle, wall, crash, full, idle, max_records, lanes }: Wreck,
    again: Option<(usize, usize)>,
    figures: &mut Figures,
) -> Result<Vec<Picture>, String> {
    let mut options = oracle.options().clone();
    options.max_records = max_records.unwrap_or(options.max_records);
    // What a `FileSink` takes stays in order.
    if let Some(lanes) = lanes.filter(|_| oracle.target.is_none()) {
        options = with_lanes(&options, lanes);
    }
    oracle.set_options(&options);
    // The next process may use another mode and other batch sizes. Inline, because then a put that waits for space sends.
    options.mode = Mode::Inline;
    options.when_full = WhenFull::Block;
    options.max_dead_letter_bytes = u64::MAX;
    let clock = wall.map_or_else(SimulatedClock::new, |wall| SimulatedClock::rebooted(wall + 86_400_000_000));
    // A process that is killed leaves no hole in the log; a power loss leaves none in the part that was synced.
    let (holes, at_risk) = match crash {
        Some(Crash::Kill) => (false, 0),
        Some(Crash::Power) if options.durability != Durability::Os => (true, oracle.at_risk()),
        _ => (true, u64::MAX),
    };
    let mut world = World::new(disk, clock, oracle, &options, 77);
    let pictures = again.map(|(stride, offset)| world.record(stride, offset)).unwrap_or_default();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| format!("{what} after the crash: {error}")
    };
    // A file sink needs the space itself, to write what is in the buffer.
    // So does a dead letter of what has expired.
    let buries = options.on_expired == OnExpired::DeadLetter || options.max_age != NEVER;
    let full = full && lock(&world.oracle).target.is_none() && (!buries || options.on_expired == OnExpired::Drop);
    // Where the disk is full, what is there is opened and sent all the same, unless nothing of the log is left
    // to go on in.
    world.disk.set_free_blocks(if full { 0 } else { u64::from(u32::MAX) });
    lock(&world.oracle).keeps_memos = !full;
    match world.open() {
        Err(error) if full && error.kind() == ErrorKind::DiskFull => {}
        result => {
            result.map_err(failed("opening"))?;
            if full {
                world.flush(HOUR).map_err(failed("flushing on a full disk"))?;
                figures.full_disks += 1;
            }
        }
    }
    world.disk.set_free_blocks(u64::from(u32::MAX));
    lock(&world.oracle).keeps_memos = true;
    if world.producer().is_none() {
        world.open().map_err(failed("opening again"))?;
    }
    if idle {
        world.reopen().map_err(failed("closing and opening"))?;
    }
    for len in [0, 100, 3000] {
        world.put(len).map_err(failed("putting"))?;
    }
    world.flush(HOUR).map_err(failed("flushing"))?;
    // The pictures are of a producer at work, not of the accounting.
    world.disk.record(None);
    lock(&world.oracle).noted(world.clock.monotonic());
    let letters = world.letters().map_err(failed("reading the dead letters"))?;
    let Some(producer) = world.producer() else { return Err("not open".into()) };
    let stats = producer.stats();
    if stats.pending_records > 0 {
        return Err(format!("{} records are pending though all is flushed", stats.pending_records));
    }
    world.check_disk_taken(false)?;
    if stats.lost_records > at_risk || (stats.corrupt_regions > 0 && !holes) {
        return Err(format!("holes in what was not at risk: {:?}", lock(&world.events)));
    }
    let left = producer.close(HOUR).map_err(failed("closing"))?;
    if left > 0 {
        return Err(format!("{left} records are left though all is flushed"));
    }
    world.open().map_err(failed("opening once more"))?;
    lock(&world.oracle).account(&letters);
    world.put(10).map_err(failed("putting once more"))?;
    world.flush(HOUR).map_err(failed("flushing once more"))?;
    let Some(stats) = world.producer().map(|producer| producer.stats()) else { return Err("not open".into()) };
    if stats.pending_records > 0 || stats.delivered_records + stats.expired_records != 1 {
        return Err(format!("after a drain and a close, one put: {stats:?}"));
    }
    let mut oracle = lock(&world.oracle);
    oracle.account_file(&file_on(&world.disk));
    figures.duplicates += oracle.duplicates;
    figures.offers += oracle.offers;
    oracle.verdict().map_err(|what| format!("{what}; {:?}", lock(&world.events)))?;
    drop(oracle);
    let pictures = std::mem::take(&mut *lock(&pictures));
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::workloads;

    /// Single crashes that once showed a fault which hardly any other shows: the workload, the seed, the operation.
    #[test]
    fn crashes_that_showed_a_fault_show_it_no_more() {
        let known = [
            // What two batches had lost between them counted again with the second one.
            ("lanes (Interval, Mapped, Manual)", 2, 324),
        ];
        for (name, seed, operation) in known {
            let workloads = workloads::all();
            let workload = workloads.iter().find(|workload| workload.name == name).unwrap();
            let depth = Depth { stride: 1 << 30, offset: operation, powers: 4, second: 3 };
            let mut figures = Figures::default();
            crash_everywhere(workload, depth, seed, &mut figures).unwrap();
            assert!(figures.crashes > 0, "{name} has no operation {operation}");
        }
    }
}
