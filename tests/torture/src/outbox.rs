//! Outboxes: several processes on one simulated disk, each with a slot, that open, put, send, die and close in any order. The world
//! is stopped before each change of the disk; then another process opens what is left, and has to send all that any of them
//! had acknowledged, in order for each life of a process, in the batches that were tried before, and to leave no slot behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faults::TROUBLES;
use super::world::SimulatedClock;
use super::{Figures, caught};
use crate::batch::Batch;
use crate::options::{Durability, NEVER};
use crate::platform::simulated::{Crash, Dice, Fault, SimulatedDisk, Snapshot};
use crate::platform::sync::Mutex as EngineMutex;
use crate::platform::{Clock as _, lock};
use crate::sink::{self, Report, SendError};
use crate::{Builder, Producer};

pub(super) const DIR: &str = "/var/outbox";
const PROCESSES: usize = 3;
const MOST_RECORDS: u64 = 3;

/// What a process does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize),
    /// As the only producer of the directory.
    OpenAlone(usize),
    Put(usize),
    /// The sender's thread has its turns; adoptions are among them.
    Send(usize),
    /// The log's thread has its turn.
    Chores(usize),
    /// SIGKILL.
    Die(usize),
    Close(usize),
    /// Time passes.
    Wait,
    /// Whether the sink takes anything.
    Mood(bool),
}

/// What everybody knows.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    /// Acknowledged puts.
    pub(super) accepted: BTreeSet<String>,
    /// What the sink took, in order.
    pub(super) delivered: Vec<String>,
    /// What was in each batch that was tried.
    batches: BTreeMap<String, Vec<String>>,
    pub(super) is_up: bool,
    pub(super) wrong: Option<String>,
}

pub(super) type Shared = Arc<Mutex<Ledger>>;

pub(super) fn with<T>(ledger: &Shared, work: impl FnOnce(&mut Ledger) -> T) -> T {
    work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Ledger {
    fn offer(&mut self, batch: &Batch) -> Result<Report, SendError> {
        let texts: Vec<String> = batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect();
        // Of one that was tried in part, what was rejected or delivered is not tried again.
        let known = self.batches.entry(batch.id()).or_insert_with(|| texts.clone());
        if !texts.iter().all(|text| known.contains(text)) {
            self.wrong = Some(format!("batch {} was {known:?} and is {texts:?}", batch.id()));
        }
        if !self.is_up {
            return Err(SendError::unavailable("down"));
        }
        let mut report = Report::delivered();
        for (index, text) in texts.into_iter().enumerate() {
            if text.ends_with('!') {
                report = report.rejected(index, "no");
            } else {
                self.delivered.push(text);
            }
        }
        Ok(report)
    }
}

pub(super) fn builder(disk: &SimulatedDisk, clock: &Arc<SimulatedClock>, durability: Durability, seed: u64) -> Builder {
    Producer::builder(Path::new(DIR))
        .environment(disk.environment(clock.clone(), seed))
        .durability(durability)
        .max_records(MOST_RECORDS)
        .linger(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(50))
        .full_timeout(NEVER)
        .segment_bytes(64 << 10)
        .max_buffer_bytes(2 << 20)
}

pub(super) fn open(builder: Builder, ledger: &Shared) -> crate::Result<Producer> {
    let ledger = ledger.clone();
    builder.open(sink::from_fn(move |batch: &Batch| with(&ledger, |ledger| ledger.offer(batch))))
}

/// The disk before an operation, and what was known then.
struct Picture {
    disk: Snapshot,
    ledger: Ledger,
    wall: i64,
    operation: usize,
}

fn record(
    disk: &SimulatedDisk,
    clock: &Arc<SimulatedClock>,
    ledger: &Shared,
    stride: usize,
    offset: usize,
) -> Pictures {
    let pictures = Pictures::default();
    let (taken, ledger, clock) = (pictures.clone(), ledger.clone(), clock.clone());
    let mut operation = 0;
    disk.record(Some(Box::new(move |disk| {
        operation += 1;
        if operation % stride == offset % stride {
            // An operation of the sink's own would have the lock; there is none.
            let ledger = with(&ledger, |ledger| ledger.clone());
            lock(&taken).push(Picture { disk, ledger, wall: clock.wall(), operation });
        }
    })));
    pictures
}

type Pictures = Arc<EngineMutex<Vec<Picture>>>;

/// A random life of some processes.
fn script(dice: &mut Dice, length: usize) -> Vec<Step> {
    let mut living = [false; PROCESSES];
    let mut steps = Vec::new();
    if dice.chance(3) {
        steps.extend([Step::OpenAlone(0), Step::Put(0), Step::Put(0), Step::Die(0)]);
    }
    while steps.len() < length {
        let process = dice.below(PROCESSES);
        let step = match dice.below(16) {
            _ if !living[process] => Step::Open(process),
            0 => Step::Die(process),
            1 => Step::Close(process),
            2 => Step::Mood(true),
            3 => Step::Mood(false),
            4 | 5 => Step::Wait,
            6 => Step::Chores(process),
            7..=9 => Step::Send(process),
            _ => Step::Put(process),
        };
        match step {
            Step::Open(process) => living[process] = true,
            Step::Die(process) | Step::Close(process) => living[process] = false,
            _ => {}
        }
        steps.push(step);
    }
    steps
}

/// How much is tried of each script.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    pub(super) stride: usize,
    pub(super) powers: u64,
    /// Every so many-th operation of the recovery is crashed at too.
    pub(super) second: usize,
}

/// Runs a script and crashes it everywhere.
pub(super) fn crash_everywhere(seed: u64, depth: Depth, figures: &mut Figures) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let durability = [Durability::Always, Durability::Os][dice.below(2)];
    let mapped = dice.chance(2);
    let steps = script(&mut dice, 40);
    let disk = SimulatedDisk::new(mapped);
    let clock = SimulatedClock::new();
    let ledger = Shared::default();
    let pictures = record(&disk, &clock, &ledger, depth.stride, seed as usize);
    let mut cast = Cast::new(&disk, &clock, &ledger, durability, seed);
    let told = |at: usize, step: &Step, what: String| format!("outbox {seed}, step {at}, {step:?}: {what}");
    for (at, step) in steps.iter().enumerate() {
        caught(|| cast.act(at, *step).map_err(|error| error.to_string())).map_err(|what| told(at, step, what))?;
        if let Some(wrong) = with(&ledger, |ledger| ledger.wrong.clone()) {
            return Err(told(at, step, wrong));
        }
        // Processes die between two steps, when every answer is noted.
        if with(&ledger, |ledger| ledger.repeated()) > 0 {
            return Err(told(at, step, "a record came again".into()));
        }
        for picture in std::mem::take(&mut *lock(&pictures)) {
            let crashes = std::iter::once(Crash::Kill);
            // Without syncs a power loss may take anything.
            let powers = (0..depth.powers).filter(|_| durability == Durability::Always).map(|_| Crash::Power);
            for crash in crashes.chain(powers) {
                let then = Wreck { crash, durability, seed: dice.roll(), dead: 1 };
                figures.crashes += 1;
                then.examine(&picture, depth.second, figures).map_err(|what| {
                    told(
                        at,
                        step,
                        format!("operation {} ({:?}), {crash:?}: {what}", picture.operation, picture.disk.op),
                    )
                })?;
            }
        }
    }
    figures.operations += disk.operations().0;
    figures.records += with(&ledger, |ledger| ledger.accepted.len() as u64);
    disk.record(None);
    cast.die();
    let at_end = cast.picture();
    let then = Wreck { crash: Crash::Kill, durability, seed, dead: 1 };
    then.examine(&at_end, 0, figures).map_err(|what| format!("outbox {seed}, at the end: {what}"))
}

/// Runs a script on a disk that answers one operation, or all from there on, with an error, at every `stride`-th of them. Who is told
/// so goes on. Then all die, the disk works again, and everything is there that was acknowledged.
pub(super) fn fail_everywhere(seed: u64, stride: u64, figures: &mut Figures) -> Result<(), String> {
    let mut dice = Dice::new(!seed);
    let durability = [Durability::Always, Durability::Os][dice.below(2)];
    let mapped = dice.chance(2);
    let steps = script(&mut dice, 40);
    let mut at = seed % stride;
    for turn in seed.. {
        let trouble = TROUBLES[turn as usize % TROUBLES.len()];
        let fault = Fault { at, trouble, lasts: turn / TROUBLES.len() as u64 % 2 == 1 };
        let told = |what: String| format!("outbox {seed}, {fault:?}: {what}");
        let disk = SimulatedDisk::new(mapped);
        let (clock, ledger) = (SimulatedClock::new(), Shared::default());
        let mut cast = Cast::new(&disk, &clock, &ledger, durability, seed);
        disk.set_fault(Some(fault));
        for (at, step) in steps.iter().enumerate() {
            // An error is an answer; a panic is none.
            let acted = caught(|| Ok(cast.act(at, *step)));
            drop(acted.map_err(|what| told(format!("step {at}, {step:?}: {what}")))?);
        }
        let (operations, faults) = disk.operations();
        disk.set_fault(None);
        figures.operations += operations;
        figures.faults += faults.min(1);
        figures.records += with(&ledger, |ledger| ledger.accepted.len() as u64);
        cast.die();
        let then = Wreck { crash: Crash::Kill, durability, seed: turn, dead: PROCESSES };
        then.examine(&cast.picture(), 0, figures).map_err(told)?;
        if faults == 0 {
            break;
        }
        at += stride;
    }
    Ok(())
}

/// The processes, and what they work on.
struct Cast<'a> {
    disk: &'a SimulatedDisk,
    clock: &'a Arc<SimulatedClock>,
    ledger: &'a Shared,
    durability: Durability,
    seed: u64,
    dice: Dice,
    /// Each with its name and the number of its next record.
    processes: [Option<(Producer, String, u64)>; PROCESSES],
}

impl<'a> Cast<'a> {
    fn new(
        disk: &'a SimulatedDisk,
        clock: &'a Arc<SimulatedClock>,
        ledger: &'a Shared,
        durability: Durability,
        seed: u64,
    ) -> Cast<'a> {
        Cast { disk, clock, ledger, durability, seed, dice: Dice::new(seed ^ 1), processes: Default::default() }
    }

    fn act(&mut self, at: usize, step: Step) -> crate::Result<()> {
        let life = |process: usize| (at * PROCESSES + process) as u64;
        match step {
            Step::Open(process) | Step::OpenAlone(process) => {
                let own = self.disk.of_process(life(process));
                let builder = builder(&own, self.clock, self.durability, self.seed ^ life(process) << 20);
                let opened = open(builder.shared(matches!(step, Step::Open(_))), self.ledger);
                // Who could not open has ended.
                let producer = opened.inspect_err(|_| self.disk.kill(life(process)))?;
                self.processes[process] = Some((producer, format!("p{}", life(process)), 0));
            }
            Step::Put(process) => {
                let end = if self.dice.chance(7) { "!" } else { "" };
                let Some((producer, name, number)) = &mut self.processes[process] else { return Ok(()) };
                let text = format!("{name} {number:04}{end}");
                *number += 1;
                let put = producer.put(&*text);
                if put.as_ref().map_or_else(|error| error.record_accepted(), |_| true) {
                    with(self.ledger, |ledger| ledger.accepted.insert(text));
                }
                put?;
            }
            Step::Send(process) => {
                let Some((producer, ..)) = &self.processes[process] else { return Ok(()) };
                producer.do_sending();
            }
            Step::Chores(process) => {
                let Some((producer, ..)) = &self.processes[process] else { return Ok(()) };
                producer.do_chores();
            }
            Step::Die(process) => self.kill(process),
            Step::Close(process) => {
                let Some((producer, name, _)) = self.processes[process].take() else { return Ok(()) };
                let closed = producer.close(Duration::ZERO);
                drop(producer);
                self.disk.kill(name[1..].parse().unwrap_or_default());
                closed?;
            }
            Step::Wait => self.clock.sleep(Duration::from_secs(2)),
            Step::Mood(up) => with(self.ledger, |ledger| ledger.is_up = up),
        }
        Ok(())
    }

    fn kill(&mut self, process: usize) {
        let Some((producer, name, _)) = self.processes[process].take() else { return };
        std::mem::forget(producer);
        self.disk.kill(name[1..].parse().unwrap_or_default());
    }

    /// Those that live die, all at once.
    fn die(&mut self) {
        (0..PROCESSES).for_each(|process| self.kill(process));
    }

    fn picture(&self) -> Picture {
        let ledger = with(self.ledger, |ledger| ledger.clone());
        Picture { disk: self.disk.snapshot(), ledger, wall: self.clock.wall(), operation: 0 }
    }
}

/// A crash, and the process that comes after it.
#[derive(Clone, Copy)]
struct Wreck {
    crash: Crash,
    durability: Durability,
    seed: u64,
    /// How many processes may have died before they noted an answer.
    dead: usize,
}

impl Wreck {
    fn examine(self, picture: &Picture, second: usize, figures: &mut Figures) -> Result<(), String> {
        let pictures = self.recover(picture, second)?;
        for again in &pictures {
            figures.second_crashes += 1;
            // What the first crash left is as durable as it was; a kill takes nothing more.
            // But what a power loss took back comes again whenever its turn comes.
            let dead = if self.crash == Crash::Power { usize::MAX } else { self.dead };
            let then = Wreck { crash: Crash::Kill, seed: self.seed ^ again.operation as u64, dead, ..self };
            then.recover(again, 0).map_err(|what| {
                format!("operation {} ({:?}) of the recovery: {what}", again.operation, again.disk.op)
            })?;
        }
        Ok(())
    }

    /// Opens what is left, sends all of it, and accounts for every record.
    fn recover(self, picture: &Picture, second: usize) -> Result<Vec<Picture>, String> {
        let disk = picture.disk.crash(self.crash, self.seed);
        let clock = match self.crash {
            Crash::Kill => SimulatedClock::new(),
            Crash::Power => SimulatedClock::rebooted(picture.wall),
        };
        let ledger: Shared = Arc::new(Mutex::new(Ledger { is_up: true, ..picture.ledger.clone() }));
        let pictures =
            if second > 0 { record(&disk, &clock, &ledger, second, self.seed as usize) } else { Pictures::default() };
        let own = disk.of_process(u64::MAX);
        let producer = open(builder(&own, &clock, self.durability, self.seed).shared(true), &ledger);
        let producer = producer.map_err(|error| format!("opening: {error}"))?;
        let mut letters = Vec::new();
        let mut is_over = false;
        for _ in 0..100 {
            caught(|| Ok(producer.do_sending()))?;
            producer.do_chores();
            clock.sleep(Duration::from_secs(2));
            letters = producer.dead_letters().list().map_err(|error| error.to_string())?;
            let stats = producer.stats();
            let kept = letters.len() as u64;
            is_over = stats.pending_records == 0 && stats.adopted_slots == 0 && stats.slots <= 1 + kept;
            if is_over {
                break;
            }
        }
        disk.record(None);
        let stats = producer.stats();
        if !is_over {
            let files: Vec<_> = disk.files(Path::new(DIR)).into_iter().map(|(path, _)| path).collect();
            return Err(format!("slots are left, or records in them: {stats:?}, {files:?}"));
        }
        if self.crash == Crash::Kill && stats.lost_records > 0 {
            return Err(format!("{} records are said to be lost", stats.lost_records));
        }
        let dead: BTreeSet<String> =
            letters.iter().flat_map(|letter| letter.batch().map(|batch| texts(&batch)).unwrap_or_default()).collect();
        producer.close(Duration::ZERO).map_err(|error| format!("closing: {error}"))?;
        with(&ledger, |ledger| ledger.check(&dead))?;
        // The death of a process takes the answer for one batch. (A power loss may take commits that were not synced.)
        let again = with(&ledger, |ledger| ledger.repeated()) - picture.ledger.repeated();
        if self.crash == Crash::Kill && again > self.dead.saturating_mul(MOST_RECORDS as usize) {
            return Err(format!("{again} records came again, of which a batch has {MOST_RECORDS}"));
        }
        Ok(std::mem::take(&mut *lock(&pictures)))
    }
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect()
}

impl Ledger {
    /// Records that the sink has taken more than once.
    fn repeated(&self) -> usize {
        self.delivered.len() - self.delivered.iter().collect::<BTreeSet<_>>().len()
    }

    fn check(&self, dead: &BTreeSet<String>) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let delivered: BTreeSet<&String> = self.delivered.iter().collect();
        for text in &self.accepted {
            if !delivered.contains(text) && !dead.contains(text) {
                return Err(format!("{text:?} was acknowledged, and is neither delivered nor a dead letter"));
            }
        }
        // What one life of a process has put comes in order, the first time that it comes.
        let (mut last, mut seen) = (BTreeMap::<&str, &str>::new(), BTreeSet::new());
        for text in self.delivered.iter().filter(|text| seen.insert(*text)) {
            let (name, number) = text.split_once(' ').unwrap_or((text, ""));
            if let Some(before) = last.insert(name, number)
                && before > number
            {
                return Err(format!("{name} {before} came before {text:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each slot that was made, and could not be opened for what all have in common, once led to the next one, up to the last.
    #[test]
    fn what_stops_every_slot_leaves_no_slots_behind() {
        let (disk, clock) = (SimulatedDisk::new(true), SimulatedClock::new());
        let shared = |process| {
            let own = disk.of_process(process);
            open(builder(&own, &clock, Durability::Os, process).shared(true), &Shared::default())
        };
        let living = shared(1).expect("it opens");
        disk.install_other(&Path::new(DIR).join("space"), crate::platform::FileKind::Fifo);
        for process in 2..6 {
            let error = shared(process).map(|_| ()).expect_err("it cannot count what the slots take");
            disk.kill(process);
            assert_eq!(error.kind(), crate::ErrorKind::Io, "{error}");
        }
        let made = (1..10).filter(|number| disk.kind(&Path::new(DIR).join(format!("slot-{number}"))).is_some());
        assert_eq!(made.count(), 0);
        drop(living);
    }

    /// Statistics once opened every letter of the other slots each time.
    #[test]
    fn letters_of_other_slots_are_counted_from_one_listing() {
        let (disk, clock) = (SimulatedDisk::new(false), SimulatedClock::new());
        let ledger = Shared::default();
        with(&ledger, |ledger| ledger.is_up = true);
        let producers = [1, 2].map(|process| {
            let own = disk.of_process(process);
            open(builder(&own, &clock, Durability::Os, process).shared(true), &ledger).expect("it opens")
        });
        let reject = |from: u64| {
            for number in from..from + 30 {
                producers[0].put(&*format!("dead {number}!")).expect("it is put");
            }
            for _ in 0..40 {
                producers[0].do_sending();
                clock.sleep(Duration::from_millis(60));
            }
        };
        let cost = || {
            let before = disk.operations().0;
            let letters = producers[1].stats().dead_letters;
            (letters, disk.operations().0 - before)
        };
        reject(0);
        let (first, again) = (cost(), cost());
        assert!(first.0 >= 10 && again.0 == first.0 && again.1 < first.1, "{first:?} {again:?}");
        reject(30);
        let (more, then) = (cost(), cost());
        assert!(more.0 >= 20 && then == (more.0, again.1), "{more:?} {then:?} {again:?}");
    }
}
