//! Fail at operation N: run a script on a disk that answers one operation, or all from there on, with an error. The
//! program is told the truth, and what it was told is there afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Figures;
use super::crash::{Wreck, recover};
use super::oracle::Oracle;
use super::workloads::Workload;
use super::world::{SimulatedClock, World};
use crate::buffer::storage::simulated::{Crash, Fault, SimulatedDisk, Trouble};
use crate::environment::lock;
use crate::options::{Durability, Storage};

/// What operating systems answer when things go wrong.
pub(crate) const TROUBLES: [Trouble; 6] = [
    Trouble::Errno(libc::ENOSPC),
    Trouble::Errno(libc::EIO),
    Trouble::Errno(libc::EINTR),
    Trouble::Errno(libc::EMFILE),
    Trouble::Errno(libc::EROFS),
    Trouble::Short,
];

/// Runs a script with a fault. Returns whether it came up.
pub(crate) fn run_with(workload: &Workload, fault: Fault, figures: &mut Figures) -> Result<bool, String> {
    let told = |what: String| format!("{}, {fault:?}: {what}", workload.name);
    let disk = SimulatedDisk::new(workload.options.storage != Storage::File);
    let mut oracle = Oracle::new(&workload.options, true);
    oracle.target = workload.target;
    let clock = SimulatedClock::new();
    let mut world = World::new(disk, clock.clone(), oracle, &workload.options, 1);
    world.disk.set_fault(Some(fault));
    let run = catch_unwind(AssertUnwindSafe(|| {
        let _ = world.open();
        for step in &workload.steps {
            let _ = world.step(step);
            if world.producer().is_none() {
                // A program that could not open tries again.
                let _ = world.open();
            }
        }
    }));
    if run.is_err() {
        return Err(told("a panic".into()));
    }
    lock(&world.oracle).verdict().map_err(told)?;
    let hit = world.disk.operations().1 > 0;
    figures.operations += world.disk.operations().0;
    figures.faults += u64::from(hit);
    figures.records += lock(&world.oracle).accepted() as u64;
    // The process ends; its successor finds a disk that works again.
    let picture = world.disk.snapshot();
    let (disk, oracle) = world.abandon();
    let mut crashes = vec![(disk, oracle.after(Crash::Kill))];
    if workload.options.durability != Durability::Os {
        crashes.push((picture.crash(Crash::Power, fault.at), oracle.after(Crash::Power)));
    }
    for (disk, oracle) in crashes {
        let wreck = Wreck { disk, oracle, wall: None, crash: None, full: false, idle: false };
        recover(wreck, None, figures).map_err(|what| told(format!("then: {what}")))?;
    }
    Ok(hit)
}

/// Every fault at every `stride`-th operation of a script, once and for good.
pub(crate) fn fail_everywhere(
    workload: &Workload,
    stride: u64,
    offset: u64,
    figures: &mut Figures,
) -> Result<(), String> {
    for trouble in TROUBLES {
        for lasts in [false, true] {
            let mut at = offset % stride;
            // Until the script is over before the fault comes.
            loop {
                let before = figures.operations;
                run_with(workload, Fault { at, trouble, lasts }, figures)?;
                if figures.operations - before <= at {
                    break;
                }
                at += stride;
            }
        }
    }
    Ok(())
}
