//! Fail at operation N: run a script on a disk that answers one operation, or all from there on, with an error. The
//! program is told the truth, and what it was told is there afterwards; also where its successor works on the disk that
//! has forgotten some of it, and the power goes then.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::crash::{Wreck, recover};
use super::oracle::{Mood, Oracle};
use super::workloads::Workload;
use super::world::{SimulatedClock, Step, World};
use super::{Figures, caught};
use crate::options::{Durability, Storage};
use crate::platform::lock;
use crate::platform::simulated::{Crash, Fault, Op, SimulatedDisk, Trouble};

/// What operating systems answer when things go wrong.
pub(crate) const TROUBLES: [Trouble; 6] = [
    Trouble::Errno(libc::ENOSPC),
    Trouble::Errno(libc::EIO),
    Trouble::Errno(libc::EINTR),
    Trouble::Errno(libc::EMFILE),
    Trouble::Errno(libc::EROFS),
    Trouble::Short,
];

/// What happens after a run with a fault, before the machine reboots: the disk works again, but what it failed to sync is
/// only in the page cache, whose pages the kernel has marked clean. Then the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aftermath {
    /// The process whose disk failed closes, in place of dying.
    closes: bool,
    /// How the sink of its successor answers; `None`: the successor does nothing.
    works: Option<Mood>,
    /// The successor closes, in place of dying.
    then_closes: bool,
}

/// How many there are.
pub(super) const AFTERMATHS: usize = 12;

impl Aftermath {
    fn number(number: usize) -> Aftermath {
        let works = [None, Some(Mood::Down), Some(Mood::Partial)];
        Aftermath { closes: number % 2 == 1, works: works[number / 4 % 3], then_closes: number / 2 % 2 == 1 }
    }
}

/// Runs a script with a fault.
fn run_with(workload: &Workload, fault: Fault, aftermaths: Range<usize>, figures: &mut Figures) -> Result<(), String> {
    let told = |what: String| format!("{}, {fault:?}: {what}", workload.name);
    let disk = SimulatedDisk::new(workload.options.storage != Storage::File);
    let mut oracle = Oracle::new(&workload.options, true);
    oracle.target = workload.target;
    let clock = SimulatedClock::new();
    let mut world = World::new(disk, clock.clone(), oracle, &workload.options, 1);
    world.disk.set_fault(Some(fault));
    let run = || {
        let _ = world.open();
        for step in &workload.steps {
            let _ = world.step(step);
            if world.producer().is_none() {
                // A program that could not open tries again.
                let _ = world.open();
            }
        }
        Ok(())
    };
    caught(run).map_err(told)?;
    lock(&world.oracle).verdict().map_err(told)?;
    world.check_disk_taken(fault.lasts).map_err(told)?;
    let hit = world.disk.operations().1 > 0;
    figures.operations += world.disk.operations().0;
    figures.faults += u64::from(hit);
    figures.records += lock(&world.oracle).accepted() as u64;
    // The process ends; its successor finds a disk that works again.
    let picture = world.disk.snapshot();
    let died = lock(&world.oracle).clone();
    let mut crashes = vec![(Crash::Kill, died.after(Crash::Kill))];
    if workload.options.durability != Durability::Os {
        crashes.push((Crash::Power, died.after(Crash::Power)));
    }
    for (crash, oracle) in crashes {
        let disk = picture.crash(crash, fault.at);
        let wreck =
            Wreck { disk, oracle, wall: None, crash: None, full: false, idle: false, max_records: None, lanes: None };
        recover(wreck, None, figures).map_err(|what| told(format!("then: {what}")))?;
    }
    // Where the cursor cannot be written either, nobody can tell the successor.
    if !hit || (fault.lasts && fault.trouble.fits(Op::Write)) || workload.options.durability == Durability::Os {
        return Ok(());
    }
    let close = || {
        let _ = world.close();
        Ok(())
    };
    caught(close).map_err(told)?;
    let closed = (world.disk.snapshot(), lock(&world.oracle).after(Crash::Kill));
    for aftermath in aftermaths.map(Aftermath::number) {
        let (picture, oracle) = match aftermath.closes {
            true => (&closed.0, closed.1.clone()),
            false => (&picture, died.after(Crash::Kill)),
        };
        let disk = picture.crash(Crash::Kill, fault.at);
        let lived = || live_on(disk, clock.clone(), oracle, aftermath, fault.at, figures);
        caught(lived).map_err(|what| told(format!("{aftermath:?}: {what}")))?;
    }
    Ok(())
}

fn live_on(
    disk: SimulatedDisk,
    clock: Arc<SimulatedClock>,
    oracle: Oracle,
    aftermath: Aftermath,
    seed: u64,
    figures: &mut Figures,
) -> Result<(), String> {
    let options = oracle.options().clone();
    let mut world = World::new(disk, clock, oracle, &options, 2);
    world.open().map_err(|error| format!("opening: {error}"))?;
    if let Some(mood) = aftermath.works {
        let steps = [Step::Sink(mood), Step::Put(10), Step::Put(3000), Step::Flush, Step::Put(40)];
        let wait = Step::Sleep(Duration::from_millis(50));
        for step in steps.into_iter().chain([wait, Step::Poll, Step::Put(0)]) {
            // Not the disk's doing: the sink may use up its attempts, or the buffer may be full.
            let _ = world.step(&step);
        }
        if let Some(producer) = world.producer() {
            producer.sync().map_err(|error| format!("a sync: {error}"))?;
            lock(&world.oracle).synced(Duration::MAX);
        }
    }
    world.check_disk_taken(false)?;
    if aftermath.then_closes {
        world.close().map_err(|error| format!("closing: {error}"))?;
    }
    lock(&world.oracle).verdict()?;
    let oracle = lock(&world.oracle).after(Crash::Power);
    let disk = world.disk.snapshot().crash(Crash::Power, seed);
    figures.crashes += 1;
    let wreck =
        Wreck { disk, oracle, wall: None, crash: None, full: false, idle: false, max_records: None, lanes: None };
    recover(wreck, None, figures).map(|_| ()).map_err(|what| format!("then a power loss: {what}"))
}

/// Every fault at every `stride`-th operation of a script, once and for good; and so many of the
/// [`AFTERMATHS`] behind each, by turns.
pub(crate) fn fail_everywhere(
    workload: &Workload,
    stride: u64,
    aftermaths: usize,
    offset: u64,
    figures: &mut Figures,
) -> Result<(), String> {
    let mut turn = offset as usize;
    for trouble in TROUBLES {
        for lasts in [false, true] {
            let mut at = offset % stride;
            // Stop as soon as the script ends before it reaches the operation that would fail.
            loop {
                let before = figures.operations;
                run_with(workload, Fault { at, trouble, lasts }, turn..turn + aftermaths, figures)?;
                turn += aftermaths;
                if figures.operations - before <= at {
                    break;
                }
                at += stride;
            }
        }
    }
    Ok(())
}
