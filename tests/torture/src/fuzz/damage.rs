//! Damaged directories whose records are known: what comes out is what was put.

use std::path::{Path, PathBuf};

use crate::options::{Mode, Storage, WhenFull};
use crate::platform::lock;
use crate::platform::simulated::{Dice, SimulatedDisk};
use crate::torture::Figures;
use crate::torture::oracle::Oracle;
use crate::torture::workloads::{self, Workload};
use crate::torture::world::{DIR, SimulatedClock, World};

/// A directory of a producer that was stopped somewhere, and the truth about it.
pub(crate) struct Specimen {
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    oracle: Oracle,
}

/// Directories to begin from: every script, stopped after some of its steps.
pub(crate) fn corpus(every: usize) -> Vec<Specimen> {
    let mut specimens = Vec::new();
    for (at, workload) in workloads::all().into_iter().enumerate().step_by(every) {
        let Workload { options, steps, .. } = workload;
        let disk = SimulatedDisk::new(options.storage != Storage::File);
        let oracle = Oracle::new(&options, false);
        let mut world = World::new(disk, SimulatedClock::new(), oracle, &options, at as u64);
        if world.open().is_err() {
            continue;
        }
        let stop = steps.len() * (at % 3 + 1) / 3;
        for step in &steps[..stop] {
            let _ = world.step(step);
        }
        let (disk, oracle) = world.abandon();
        specimens.push(Specimen { files: disk.files(Path::new(DIR)), oracle });
    }
    specimens
}

/// Damages a directory: bits, sectors, lengths, whole files.
fn damage(files: &mut Vec<(PathBuf, Vec<u8>)>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        if files.is_empty() {
            return;
        }
        let which = dice.below(files.len());
        let other = dice.below(files.len());
        let length = files[which].1.len();
        let at = if length == 0 { 0 } else { dice.below(length) };
        // Where something is, mostly.
        let at = if dice.chance(2) { at.min(8192) } else { at };
        match dice.below(9) {
            0 | 1 if length > 0 => files[which].1[at] ^= 1 << dice.below(8),
            2 => files[which].1.truncate(at),
            3 if length > 0 => {
                let end = (at / 512 * 512 + 512).min(length);
                files[which].1[at / 512 * 512..end].fill(0);
            }
            4 if length > 0 => {
                let end = (at + dice.below(2000)).min(length);
                files[which].1[at..end].iter_mut().for_each(|byte| *byte = dice.roll() as u8);
            }
            5 => drop(files.remove(which)),
            6 => {
                let bytes = files[other].1.clone();
                files[which].1 = bytes;
            }
            7 => {
                // The same bytes once more, under a name that does not belong to them.
                let name = format!("{:016x}.seg", dice.below(12));
                let bytes = files[which].1.clone();
                let path = Path::new(DIR).join(name);
                files.retain(|(other, _)| *other != path);
                files.push((path, bytes));
            }
            _ if length > 0 => {
                // A piece of the file in another place of it.
                let len = dice.below(600).min(length - at);
                let to = dice.below(length - len + 1);
                files[which].1.copy_within(at..at + len, to);
            }
            _ => {}
        }
    }
}

/// Opens a damaged directory. It opens, delivers nothing but what was put, and goes on.
pub(crate) fn open_damaged(specimen: &Specimen, seed: u64, figures: &mut Figures) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut files = specimen.files.clone();
    damage(&mut files, &mut dice);
    let disk = SimulatedDisk::new(dice.chance(2));
    for (path, bytes) in &files {
        disk.install(path, bytes);
    }
    let mut oracle = specimen.oracle.clone();
    oracle.damaged();
    let mut options = oracle.options().clone();
    options.mode = Mode::Inline;
    options.when_full = WhenFull::Block;
    options.max_buffer_bytes = 4 << 20;
    options.storage = Storage::Auto;
    let mut world = World::new(disk, SimulatedClock::rebooted(2_000_000_000_000_000), oracle, &options, seed);
    figures.fuzz_cases += 1;
    let told = |what: &str, error: crate::Error| format!("{what}: {error}");
    world.open().map_err(|error| told("opening", error))?;
    for len in [0, 3000] {
        world.put(len).map_err(|error| told("putting", error))?;
    }
    world.flush(std::time::Duration::from_secs(864_000)).map_err(|error| told("flushing", error))?;
    world.check_disk_taken(false)?;
    // Letters may be damaged as well: those that can be read hold what was put.
    let letters = world.letters().unwrap_or_default();
    let mut oracle = lock(&world.oracle);
    oracle.account(&letters);
    oracle.verdict().map_err(|what| format!("{what}; {:?}", lock(&world.events)))
}
