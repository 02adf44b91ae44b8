//! Which thread goes on: at random, at random but seldom another, or by priorities that change a few times (PCT:
//! Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding bugs", 2010). Every schedule
//! follows from its seed alone, so that one that found something can be kept.

use std::cell::Cell;
use std::collections::BTreeMap;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use crate::platform::simulated::Dice;
use crate::platform::sync::scheduled;

/// What is known of the schedule under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    pub(super) seed: u64,
    /// Time passes only when every thread waits, so that a thread that then needs its time-out was not woken.
    pub(super) patient: bool,
    /// Decisions, in all schedules of this thread of the system.
    pub(super) steps: u64,
}

thread_local! {
    static CURRENT: Cell<Current> = Cell::default();
}

pub(super) fn current() -> Current {
    CURRENT.get()
}

/// The thread that keeps the time is the first one that an execution starts.
const TIMEKEEPER: usize = 1;

enum Policy {
    Random,
    /// Every so many-th decision is for another thread.
    Seldom(usize),
    /// The thread with the highest priority runs; at these decisions it gets the lowest.
    Priorities {
        changes: Vec<u64>,
        of: BTreeMap<usize, u64>,
    },
}

/// The schedules of a range of seeds.
pub(super) struct Schedules {
    seeds: std::ops::Range<u64>,
    dice: Dice,
    policy: Policy,
    /// Time passes at every so many-th decision; 0: when all wait.
    passes: usize,
    decisions: u64,
    lowest: u64,
}

impl Schedules {
    pub(super) fn new(seeds: std::ops::Range<u64>) -> Self {
        Schedules { seeds, dice: Dice::new(0), policy: Policy::Random, passes: 0, decisions: 0, lowest: 0 }
    }
}

impl Scheduler for Schedules {
    fn new_execution(&mut self) -> Option<Schedule> {
        let seed = self.seeds.next()?;
        self.dice = Dice::new(seed);
        self.decisions = 0;
        self.lowest = u64::MAX / 2;
        self.policy = match self.dice.below(4) {
            0 => Policy::Random,
            1 => Policy::Seldom([3, 10, 40, 150][self.dice.below(4)]),
            _ => {
                let span = [300, 1000, 3000, 10_000][self.dice.below(4)];
                let depth = self.dice.below(6);
                let changes = (0..depth).map(|_| self.dice.below(span) as u64).collect();
                Policy::Priorities { changes, of: BTreeMap::new() }
            }
        };
        self.passes = if self.dice.chance(2) { 0 } else { [20, 100, 500][self.dice.below(3)] };
        let steps = current().steps;
        CURRENT.set(Current { seed, patient: self.passes == 0, steps });
        Some(Schedule::new(seed))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        CURRENT.set(Current { steps: self::current().steps + 1, ..self::current() });
        self.decisions += 1;
        let threads: Vec<TaskId> =
            runnable.iter().map(|task| task.id()).filter(|id| usize::from(*id) != TIMEKEEPER).collect();
        scheduled::set_idle(threads.is_empty());
        let time_may_pass = threads.len() < runnable.len();
        let passes = time_may_pass && self.passes > 0 && self.dice.chance(self.passes);
        if threads.is_empty() || passes || (time_may_pass && scheduled::is_ringing()) {
            return Some(TaskId::from(TIMEKEEPER));
        }
        let any = threads[self.dice.below(threads.len())];
        let Self { policy, dice, decisions, lowest, .. } = self;
        let current = current.filter(|current| threads.contains(current));
        Some(match (policy, current) {
            (Policy::Random, _) => any,
            (Policy::Seldom(seldom), Some(current)) => {
                if yields || dice.chance(*seldom) {
                    any
                } else {
                    current
                }
            }
            (Policy::Seldom(_), None) => any,
            (Policy::Priorities { changes, of }, current) => {
                for thread in &threads {
                    of.entry(usize::from(*thread)).or_insert_with(|| dice.roll() / 2);
                }
                if let Some(current) = current
                    && (yields || changes.contains(decisions))
                {
                    *lowest += 1;
                    of.insert(usize::from(current), *lowest);
                }
                threads.into_iter().min_by_key(|thread| of[&usize::from(*thread)]).unwrap_or(any)
            }
        })
    }

    fn next_u64(&mut self) -> u64 {
        self.dice.roll()
    }
}
