//! The outbox that a producer has a slot of: it looks for slots whose processes have ended, adopts them, sends what is in
//! them with its own sink, and removes them when they are empty.
//!
//! An adopted slot is a [`Shared`] like the producer's own, without threads: the senders take turns at both, and what the log's
//! thread does for the own slot is done here between two batches. Its lock keeps other adopters out, so that what is known of
//! its batches (attempts, memos, lanes, ids) goes on as if its process had come back.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Shared;
use super::common::Common;
use super::lifecycle::Phase;
use crate::buffer::{Buffer, Place};
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::options::{Mode, Options};
use crate::outbox::{Outbox, Slot, numbers};
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::sync::{Mutex, MutexGuard};
use crate::platform::{Environment, lock};
use crate::stats::Stats;

/// The least time between two looks, and what each slot that there is adds to it: many processes look at many slots.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_EACH: Duration = Duration::from_millis(20);
/// The most slots that one producer sends at a time, besides its own: each holds some files and a batch.
const MOST_ADOPTED: usize = 4;
/// How long an adopted slot may come to nothing until it is given back, so that another process, whose sink may work, can have it;
/// and how long this one lets it alone then.
const PATIENCE: Duration = Duration::from_secs(30);
/// An adopted log takes no records, so that what has to be made of it is short.
const SEGMENT_BYTES: u64 = 64 << 10;

pub(super) struct Household {
    outbox: Outbox,
    /// Until the producer is closed.
    slot: Mutex<Option<Slot>>,
    number: u64,
    options: Options,
    env: Environment,
    adopted: Mutex<Vec<Arc<Adopted>>>,
    /// Whose turn it is among them.
    turn: AtomicU64,
    /// Held while a thread looks: slots that it lets alone, and until when.
    looking: Mutex<Vec<(u64, Duration)>>,
    /// When to look next, in milliseconds on the monotonic clock.
    next_look: AtomicU64,
    /// What was counted of slots that were given back.
    gone: Mutex<Stats>,
}

/// A slot whose process has ended.
struct Adopted {
    slot: Slot,
    shared: Arc<Shared>,
    /// What was left of it at the last look that saw some progress, and when that was.
    progress: Mutex<(u64, Duration)>,
    /// It is about to be given back, and no thread begins anything with it.
    retires: AtomicBool,
    /// Threads that are at it.
    busy: AtomicU64,
}

impl Adopted {
    /// Works with it, unless it is about to be given back.
    fn with<T>(&self, work: impl FnOnce(&Shared) -> T) -> Option<T> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        let done = (!self.retires.load(Ordering::SeqCst)).then(|| work(&self.shared));
        self.busy.fetch_sub(1, Ordering::SeqCst);
        done
    }

    /// A turn of a thread that sends; see `Shared::step`.
    fn step(&self) -> Option<Duration> {
        self.with(Shared::step).unwrap_or(Some(LOOK))
    }

    /// Whether it may be given back with what is left: no thread is at it, and none begins.
    fn retire(&self) -> bool {
        self.retires.store(true, Ordering::SeqCst);
        let is_free = self.busy.load(Ordering::SeqCst) == 0 && !self.shared.core().is_out();
        if !is_free {
            self.retires.store(false, Ordering::SeqCst);
        }
        is_free
    }

    /// For how long nothing of it was finished.
    fn idle(&self, now: Duration) -> Duration {
        let left = self.shared.core().pending().0;
        let mut progress = lock(&self.progress);
        if progress.0 != left {
            *progress = (left, now);
        }
        now.saturating_sub(progress.1)
    }
}

impl Household {
    pub(super) fn new(outbox: Outbox, slot: Slot, options: Options, env: Environment) -> Household {
        Household {
            outbox,
            number: slot.number,
            slot: Mutex::new(Some(slot)),
            options: Options { segment_bytes: SEGMENT_BYTES, ..options },
            env: Environment { threads: false, ..env },
            adopted: Mutex::default(),
            turn: AtomicU64::new(0),
            looking: Mutex::default(),
            next_look: AtomicU64::new(0),
            gone: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.outbox.root.path()
    }

    /// The name of the producer's own slot.
    pub(super) fn slot(&self) -> String {
        crate::outbox::name(self.number)
    }

    fn adopted(&self) -> Vec<Arc<Adopted>> {
        let adopted = lock(&self.adopted);
        // The ordinary case allocates nothing.
        if adopted.is_empty() { Vec::new() } else { adopted.clone() }
    }

    /// The same, another one first each time.
    fn adopted_in_turn(&self) -> Vec<Arc<Adopted>> {
        let mut adopted = self.adopted();
        if adopted.len() > 1 {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) as usize % adopted.len();
            adopted.rotate_left(first);
        }
        adopted
    }

    fn now(&self) -> u64 {
        u64::try_from(self.env.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A turn of a thread that sends: looks for slots if it is time, and sends a batch of one that was adopted. Returns how
    /// long there is nothing to do; `None`: it has sent something.
    pub(super) fn turn(&self, own: &Shared) -> Option<Duration> {
        if own.lifecycle.phase() != Phase::Running || own.common.ending.has_begun() {
            if own.lifecycle.phase() == Phase::Stopped {
                self.let_go();
            }
            return Some(LOOK);
        }
        let now = self.now();
        let mut wait = Some(Duration::from_millis(self.next_look.load(Ordering::Relaxed).saturating_sub(now)));
        if wait == Some(Duration::ZERO) {
            self.look_if_due(own);
            wait = Some(LOOK);
        }
        for adopted in self.adopted_in_turn() {
            let shared = &adopted.shared;
            let step = adopted.step();
            wait = wait.and_then(|wait| step.map(|until| wait.min(until)));
            if own.core().fork.is_forked() {
                // The sink has forked, and this is the child: nothing here is its own.
                return wait;
            }
            if shared.is_drained() {
                self.give_back(&adopted);
            } else if let Some(until) = shared.core().run_maintenance() {
                wait = wait.map(|wait| wait.min(until));
            }
            if wait.is_none() {
                // The own slot comes between any two batches of others: one `put` in inline mode waits for one of them at most.
                break;
            }
        }
        wait
    }

    /// Gives all back that nobody is at: a producer that has stopped sends nothing of it, and another may.
    fn let_go(&self) {
        for adopted in self.adopted() {
            if adopted.retire() {
                self.give_back(&adopted);
            }
        }
    }

    /// Looks, unless another thread is at it.
    fn look_if_due(&self, own: &Shared) {
        if let Ok(looking) = self.looking.try_lock() {
            let _ = self.look_with(own, looking);
        }
    }

    /// Looks for slots that nobody has, adopts those with records, removes those that are spare. Returns of how many it is known
    /// that there is something left in them, and what is wrong with one that could not be had. Waits while another thread looks,
    /// which may have seen less.
    pub(super) fn look(&self, own: &Shared) -> (usize, Result<()>) {
        self.look_with(own, lock(&self.looking))
    }

    /// How many slots of processes that have ended other living processes have adopted.
    pub(super) fn adopted_by_others(&self) -> Result<usize> {
        let adopted = self.adopted();
        let is_ours = |number| number == self.number || adopted.iter().any(|adopted| adopted.slot.number == number);
        let failed = |error: io::Error| Error::io("could not look for slots of the outbox", error);
        self.outbox.adopted_by_others(is_ours).map_err(failed)
    }

    fn look_with(&self, own: &Shared, mut alone: MutexGuard<'_, Vec<(u64, Duration)>>) -> (usize, Result<()>) {
        let clock = self.env.clock.monotonic();
        alone.retain(|(_, until)| *until > clock);
        for adopted in self.adopted() {
            // It has no thread of its own that would.
            adopted.shared.answer_requests();
            if adopted.idle(clock) > PATIENCE && adopted.retire() {
                self.give_back(&adopted);
                alone.push((adopted.slot.number, clock + PATIENCE));
            }
        }
        let failed = |error: io::Error| Error::io("could not look for slots of the outbox", error);
        let found = numbers(&*self.outbox.root).map_err(failed);
        let slots = found.as_ref().map_or(0, Vec::len) as u32;
        let next = LOOK + LOOK_FOR_EACH * slots;
        self.next_look.store(self.now() + next.as_millis() as u64, Ordering::Relaxed);
        let mut result = found.as_ref().map(drop).map_err(Clone::clone);
        for number in found.unwrap_or_default() {
            let adopted = self.adopted();
            if adopted.len() >= MOST_ADOPTED || own.common.ending.has_begun() {
                break;
            }
            if number == self.number
                || alone.iter().any(|(slot, _)| *slot == number)
                || adopted.iter().any(|adopted| adopted.slot.number == number)
            {
                continue;
            }
            // One that cannot be had now is tried again at the next look.
            if let Err(error) = self.outbox.adopt(number).map_err(failed).and_then(|slot| self.adopt(own, slot)) {
                own.statistics.note_error(&error);
                result = Err(error);
            }
        }
        (lock(&self.adopted).len() + alone.len(), result)
    }

    fn adopt(&self, own: &Shared, slot: Option<(Slot, bool)>) -> Result<()> {
        let Some((slot, is_finished)) = slot else { return Ok(()) };
        let failed =
            |error: io::Error| Error::io(format_args!("could not adopt a slot of {}", self.path().display()), error);
        if is_finished {
            return self.outbox.remove(slot).map_err(failed);
        }
        let name = slot.name();
        let common: &Arc<Common> = &own.common;
        let place = Place { dir: slot.dir.clone(), owner: slot.owner.clone(), neighbours: None };
        let buffer = Buffer::open_at(place, self.options.clone(), common.limits, self.env.clone())?;
        let disk = self.env.disk.clone();
        let letters = DeadLetters::of_slot(disk, &buffer.core().dir, &self.outbox.root, slot.number);
        letters.scan(true)?;
        let shared = Shared::new(buffer, common.clone(), letters, None);
        shared.begin()?;
        // Nothing is put any more: what is open would wait for its linger.
        let _ = shared.core().seal();
        let records = shared.core().pending().0;
        let progress = Mutex::new((records, self.env.clock.monotonic()));
        lock(&self.adopted).push(Arc::new(Adopted {
            slot,
            shared,
            progress,
            retires: AtomicBool::default(),
            busy: AtomicU64::default(),
        }));
        own.notify(&Event::Adopted { slot: &name, records });
        own.wake_sender();
        Ok(())
    }

    /// Says what is left in the slots that were adopted, here and by others.
    #[cold]
    pub(super) fn late(&self, by_others: usize) -> Error {
        let adopted = self.adopted();
        let left: u64 = adopted.iter().map(|adopted| adopted.shared.core().pending().0).sum();
        let mut message =
            format!("{left} records of processes that have ended are not delivered yet; they stay in the outbox");
        if by_others > 0 {
            message.push_str(&format!(
                "; other living processes have adopted {by_others} more slots, and send them or give them back"
            ));
        }
        if let Some(error) =
            adopted.iter().map(|adopted| adopted.shared.statistics.last_error()).find(|error| !error.is_empty())
        {
            message.push_str("; the last error: ");
            message.push_str(&error);
        }
        Error::new(ErrorKind::Timeout, message)
    }

    /// Closes a slot that is empty, and removes it if nothing is left in it.
    fn give_back(&self, adopted: &Arc<Adopted>) {
        {
            let mut all = lock(&self.adopted);
            // Another thread may have done it.
            let Some(at) = all.iter().position(|other| Arc::ptr_eq(other, adopted)) else { return };
            all.swap_remove(at);
        }
        lock(&self.gone).count(&adopted.shared.stats());
        adopted.shared.lifecycle.close();
        // What is wrong with it, its next owner finds out.
        if adopted.shared.buffer.close().is_ok() {
            let _ = self.outbox.remove(adopted.slot.clone());
        }
    }

    /// Gives all slots back: those that were adopted as they are, the own one too, which `is_closed` in order. What is
    /// empty is removed.
    pub(super) fn close(&self, is_closed: bool) {
        for adopted in self.adopted() {
            self.give_back(&adopted);
        }
        let own = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(own) = own.filter(|_| is_closed) {
            let _ = self.outbox.remove(own);
        }
    }

    /// The slots whose batch this may be: by the buffer's id.
    pub(super) fn of_buffer(&self, buffer_id: u64) -> Option<Arc<Shared>> {
        let mut adopted = self.adopted().into_iter().map(|adopted| adopted.shared.clone());
        adopted.find(|shared| shared.core().buffer_id() == buffer_id)
    }

    /// Mode manual: gives back what is empty.
    pub(super) fn give_back_drained(&self) {
        self.adopted().iter().filter(|adopted| adopted.shared.is_drained()).for_each(|adopted| self.give_back(adopted));
    }

    /// Mode manual: looks if it is time, gives back what is empty, and asks the slots that were adopted until one has something. What is
    /// given back meanwhile is not asked.
    pub(super) fn ask<T>(&self, own: &Shared, mut question: impl FnMut(&Shared) -> Option<T>) -> Option<T> {
        debug_assert_eq!(self.options.mode, Mode::Manual);
        if self.next_look.load(Ordering::Relaxed) <= self.now() {
            self.look_if_due(own);
        }
        self.give_back_drained();
        for adopted in self.adopted() {
            let _ = adopted.shared.core().run_maintenance();
        }
        self.adopted_in_turn().into_iter().find_map(|adopted| adopted.with(&mut question)?)
    }

    /// How long until the next look.
    pub(super) fn until_look(&self) -> Duration {
        Duration::from_millis(self.next_look.load(Ordering::Relaxed).saturating_sub(self.now()))
    }

    /// Tries all slots again: those that stopped, with a fresh round of attempts; those that wait, now.
    pub(super) fn resume(&self) -> Result<()> {
        self.adopted().iter().try_for_each(|adopted| adopted.shared.go_on())
    }

    /// Adds what was done for slots that were given back.
    pub(super) fn add_gone(&self, stats: &mut Stats) {
        stats.count(&lock(&self.gone));
    }

    /// Adds what the slots that were adopted have and did.
    pub(super) fn add_to(&self, stats: &mut Stats, letters: &DeadLetters) {
        let adopted = self.adopted();
        for adopted in &adopted {
            let other = adopted.shared.stats();
            stats.count(&other);
            stats.pending_records += other.pending_records;
            stats.pending_bytes += other.pending_bytes;
            stats.buffer_bytes += other.buffer_bytes;
        }
        stats.adopted_slots = adopted.len() as u64;
        stats.slots = numbers(&*self.outbox.root).map_or(1, |numbers| numbers.len() as u64);
        let (more, bytes) = letters.glance_at_others().unwrap_or_default();
        stats.dead_letters += more;
        stats.dead_letter_bytes += bytes;
    }
}

impl Shared {
    /// A turn of a thread that sends, at the own slot and at those that were adopted.
    pub(super) fn turn(&self) -> Option<Duration> {
        let own = self.step();
        let Some(household) = &self.household else { return own };
        let others = household.turn(self);
        own.and_then(|own| others.map(|others| own.min(others)))
    }

    /// Everything that was put is finished.
    fn is_drained(&self) -> bool {
        let core = self.core();
        core.pending().0 == 0 && core.committed_seq() >= core.next_seq()
    }
}
