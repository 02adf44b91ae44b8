//! A `FileSink` without a producer: so few operations that each pair of crashes can be tried, also behind each failed one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Figures;
use super::faults::TROUBLES;
use super::world::{FILE, file_on, file_sink_on, make_file_dir};
use crate::batch::{Batch, BatchId};
use crate::platform::simulated::{Crash, Dice, Fault, Recorder, SimulatedDisk, Snapshot};
use crate::platform::sync::Mutex;
use crate::platform::{Disk, lock};
use crate::record::NewRecord;
use crate::sink::Sink;

const BATCHES: usize = 5;
const RECORDS: usize = 2;
/// From this one on the batches are of a buffer that was brought back from a copy, which gives out the seqs of
/// [`AS_BEFORE`] again.
const BROUGHT_BACK: usize = 3;
const AS_BEFORE: usize = 1;
/// This one is of another buffer, which gives out the seqs of the one before it: its slot was adopted.
const ADOPTED: usize = 4;
/// Before this one somebody renames the file.
const ROTATED: usize = 2;
/// More operations than one process performs.
const MOST_OPERATIONS: u64 = 100;
/// How often a process sends a batch before it gives up.
const ATTEMPTS: usize = 3;

/// What the lines say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Numbered,
    /// All lines are equal, like those of a program that logs "tick".
    Alike,
}

impl Lines {
    /// A line of more than half a sector.
    fn line(self, number: usize) -> String {
        format!("{:0>300}", if self == Lines::Alike { 1 } else { number + 1 })
    }

    fn text(self, numbers: impl IntoIterator<Item = usize>) -> String {
        let records = numbers.into_iter().flat_map(|number| (0..RECORDS).map(move |at| number * RECORDS + at));
        records.map(|number| self.line(number) + "\n").collect()
    }
}

fn batch(number: usize, says: Lines) -> Batch {
    let lines: Vec<String> = (0..RECORDS).map(|at| says.line(number * RECORDS + at)).collect();
    let (buffer_id, place) = match number {
        BROUGHT_BACK => (7, AS_BEFORE),
        ADOPTED => (8, AS_BEFORE),
        _ => (7, number),
    };
    let first_seq = (place * RECORDS) as u64 + 1;
    // What tells them from those that had their seqs before, where the lines do not.
    let made = number as i64;
    Batch::of(
        BatchId { buffer_id, epoch: 0, first_seq, lane: None },
        lines.iter().map(|line| NewRecord::new(line.as_bytes()).created_at(made)),
    )
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
struct How {
    sync: bool,
    says: Lines,
}

/// The disk before an operation, and how many batches were acknowledged by then.
type Pictures = Vec<(Snapshot, usize)>;

/// A process that sends the batches from `from` on, of which so many are acknowledged already; with pictures of its
/// operations, if wanted, and of its end.
fn process(disk: &SimulatedDisk, from: usize, acknowledged: usize, how: How, wanted: bool) -> Pictures {
    let state = Arc::new(Mutex::new((Pictures::new(), acknowledged)));
    let seen = state.clone();
    disk.record(wanted.then(|| -> Recorder {
        Box::new(move |snapshot| {
            let (pictures, acknowledged) = &mut *lock(&seen);
            pictures.push((snapshot, *acknowledged));
        })
    }));
    if let Ok(sink) = file_sink_on(Arc::new(disk.clone())) {
        let sink = sink.sync(how.sync);
        for number in from..BATCHES {
            let batch = batch(number, how.says);
            if number == ROTATED && rotate(disk).is_err() {
                break;
            }
            if !(0..ATTEMPTS).any(|_| sink.send(&batch).is_ok()) {
                break;
            }
            let acknowledged = &mut lock(&state).1;
            *acknowledged = (*acknowledged).max(number + 1);
        }
    }
    disk.record(None);
    let (mut pictures, acknowledged) = std::mem::take(&mut *lock(&state));
    pictures.push((disk.snapshot(), acknowledged));
    pictures
}

/// What a program does that rotates logs, once.
fn rotate(disk: &SimulatedDisk) -> io::Result<()> {
    let old = format!("{FILE}.1");
    if disk.files(Path::new("/out")).iter().any(|(path, _)| path == Path::new(&old)) {
        return Ok(());
    }
    let dir = disk.directory(Path::new("/out"), false, crate::options::Trust::Owner)?;
    dir.rename("events.log", "events.log.1")?;
    dir.sync()
}

/// From which batch on a buffer sends again that has lost what it knew of those that were acknowledged.
fn oldest(acknowledged: usize) -> usize {
    if acknowledged >= BROUGHT_BACK { BROUGHT_BACK } else { 0 }
}

fn has(disk: &SimulatedDisk, whole: &str) -> Result<(), String> {
    let rotated = disk.files(Path::new("/out")).into_iter().find(|(path, _)| path.ends_with("events.log.1"));
    let file = [rotated.map(|(_, bytes)| bytes).unwrap_or_default(), file_on(disk)].concat();
    if file == whole.as_bytes() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&file);
    let ends: Vec<_> = text.split('\n').map(|line| (line.len(), line.trim_start_matches('0'))).collect();
    Err(format!("LOST or twice: the lengths and ends of the lines are {ends:?}"))
}

/// The last process: nothing fails any more, and the file has every record once.
fn finish(disk: &SimulatedDisk, from: usize, how: How) -> Result<(), String> {
    if process(disk, from, from, how, false).iter().any(|(_, acknowledged)| *acknowledged != BATCHES) {
        return Err("a batch could not be sent".into());
    }
    has(disk, &how.says.text(0..BATCHES))
}

/// The disk fails while the second batch is sent, from each operation on, and the batch is given up; then the disk is
/// well again: what was given up is not in the file.
fn give_up(how: How, figures: &mut Figures) -> Result<(), String> {
    for trouble in TROUBLES {
        for at in 0.. {
            let disk = SimulatedDisk::new(false);
            make_file_dir(&disk);
            let told = |what: String| format!("a file alone, {how:?}, given up at {at} by {trouble:?}: {what}");
            let sink = file_sink_on(Arc::new(disk.clone()));
            let sink = sink.map_err(|error| told(error.to_string()))?.sync(how.sync);
            let send = |number| sink.send(&batch(number, how.says)).map_err(|error| told(error.to_string()));
            send(0)?;
            disk.set_fault(Some(Fault { at: disk.operations().0 + at, trouble, lasts: true }));
            let result = send(1);
            disk.set_fault(None);
            send(2)?;
            let there = (0..BROUGHT_BACK).filter(|number| *number != 1 || result.is_ok());
            has(&disk, &how.says.text(there)).map_err(told)?;
            figures.operations += disk.operations().0;
            if disk.operations().1 == 0 {
                break;
            }
            figures.faults += 1;
        }
    }
    Ok(())
}

/// Which process meets the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    First,
    Second,
}

/// Two processes that end at any operation, by any crash; the one that meets a fault, if there is one, goes on to its
/// end. Then a third. A power loss may also take back that batches were noted as sent: then all come again.
fn crash_twice(
    fault: Option<(Meets, Fault)>,
    how: How,
    powers: u64,
    seed: u64,
    figures: &mut Figures,
) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut run = |disk: &SimulatedDisk, from, acknowledged, who| {
        let fault = fault.filter(|(meets, _)| *meets == who).map(|(_, fault)| fault);
        disk.set_fault(fault);
        // What happens before a fault, or where none comes up, is tried without.
        let pictures = process(disk, from, acknowledged, how, fault.is_none());
        let (operations, faults) = disk.operations();
        figures.operations += operations;
        figures.faults += faults.min(1);
        if fault.is_some() && faults == 0 { Pictures::new() } else { pictures }
    };
    // Without sync the promise covers the death of the process, not a power loss.
    let crashes =
        |powers| [Crash::Kill].into_iter().chain((0..if how.sync { powers } else { 0 }).map(|_| Crash::Power));
    let disk = SimulatedDisk::new(false);
    make_file_dir(&disk);
    let first = run(&disk, 0, 0, Meets::First);
    for (at, (snapshot, acknowledged)) in first.iter().enumerate() {
        for crash in crashes(1) {
            let from = if crash == Crash::Power && dice.chance(2) { oldest(*acknowledged) } else { *acknowledged };
            let left = snapshot.crash(crash, dice.roll());
            figures.crashes += 1;
            let second = run(&left, from, *acknowledged, Meets::Second);
            for (again, (snapshot, acknowledged)) in second.iter().enumerate() {
                for then in crashes(powers) {
                    let from =
                        if then == Crash::Power && dice.chance(2) { oldest(*acknowledged) } else { *acknowledged };
                    figures.second_crashes += 1;
                    finish(&snapshot.crash(then, dice.roll()), from, how).map_err(|what| {
                        let (before, behind) = (&first[at].0.op, &snapshot.op);
                        format!(
                            "a file alone, {how:?}, {fault:?}, seed {seed}: {crash:?} at {at} ({before:?}), \
                             {then:?} at {again} ({behind:?}), from batch {from}: {what}"
                        )
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Every pair of crashes, `seeds` times over; and with every fault at every operation of either process.
pub(crate) fn alone(sync: bool, seeds: u64, powers: u64, figures: &mut Figures) -> Result<(), String> {
    let mut seed = 0;
    for how in [Lines::Numbered, Lines::Alike].map(|says| How { sync, says }) {
        for _ in 0..seeds {
            seed += 1;
            crash_twice(None, how, 10, seed, figures)?;
        }
        give_up(how, figures)?;
    }
    let says = [Lines::Numbered, Lines::Alike];
    for trouble in TROUBLES {
        for (meets, lasts) in
            [(Meets::First, false), (Meets::First, true), (Meets::Second, false), (Meets::Second, true)]
        {
            for at in 0..MOST_OPERATIONS {
                seed += 1;
                // One of both, so that it takes no longer.
                let how = How { sync, says: says[(at / 2 % 2) as usize] };
                crash_twice(Some((meets, Fault { at, trouble, lasts })), how, 4 * powers, seed, figures)?;
            }
        }
    }
    Ok(())
}
