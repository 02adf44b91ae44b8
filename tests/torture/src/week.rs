//! A week in seconds: a program that puts all day long, a sink that is down at night, clocks that jump, a laptop that
//! sleeps, restarts. Nothing is lost, nothing comes twice, nothing waits for ever, nobody is hammered.

use std::time::Duration;

use super::Figures;
use super::oracle::{Mood, Oracle};
use super::workloads::options;
use super::world::{SimulatedClock, Step, World};
use crate::options::{Durability, Mode};
use crate::platform::simulated::{Dice, SimulatedDisk};
use crate::platform::{Clock, lock};
use crate::schedule::Jitter;

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Lives through a week.
pub(crate) fn a_week(mode: Mode, seed: u64, figures: &mut Figures) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut options = options();
    options.mode = mode;
    options.durability = Durability::Interval;
    options.linger = Duration::from_secs(5);
    options.schedule_multiplier = Duration::from_secs(1);
    options.schedule_max = MINUTE;
    options.jitter = Jitter::Full;
    options.max_attempts = 10;
    options.max_buffer_bytes = 64 << 20;
    let oracle = Oracle::new(&options, false);
    let clock = SimulatedClock::new();
    let mut world = World::new(SimulatedDisk::new(true), clock.clone(), oracle, &options, seed);
    let failed = |what: &str, error: crate::Error| format!("{what}: {error}");
    world.open().map_err(|error| failed("opening", error))?;
    let start = clock.monotonic();
    let mut hour = 0;
    let mut outage = Duration::ZERO;
    let mut offers_in_outage = 0;
    while clock.monotonic() - start < WEEK {
        let mut steps = Vec::new();
        // At night the sink is down: attempts go on, at most one a minute or so, and use up nothing.
        let night = hour % 24 < 6;
        steps.push(Step::Sink(if night { Mood::Down } else { Mood::Good }));
        match dice.below(30) {
            0 => steps.push(Step::JumpWall(-(dice.roll() as i64 & 0xff) * 3_600_000_000)),
            1 => steps.push(Step::JumpWall((dice.roll() as i64 & 0xff) * 3_600_000_000)),
            // A suspended machine: the clock that waits are measured by goes on.
            2 => steps.push(Step::Sleep(MINUTE * 60 * 9)),
            3 => steps.push(Step::Restart(1 + dice.roll() % 9)),
            // Time zones: nothing but the wall moves.
            4 => steps.push(Step::JumpWall(3_600_000_000)),
            _ => {}
        }
        for _ in 0..30 {
            steps.extend([Step::Put(dice.below(400)), Step::Sleep(MINUTE * 2), Step::Poll, Step::Chores]);
        }
        let before = (clock.monotonic(), lock(&world.oracle).offers);
        for step in &steps {
            figures.steps += 1;
            world.step(step).map_err(|error| failed(&format!("hour {hour}, {step:?}"), error))?;
        }
        if night {
            outage += clock.monotonic() - before.0;
            offers_in_outage += lock(&world.oracle).offers - before.1;
        }
        lock(&world.oracle).verdict().map_err(|what| format!("hour {hour}: {what}"))?;
        if hour % 24 == 12 {
            // By noon the backlog of the night is sent, whatever the wall clock says.
            world.flush(MINUTE * 60).map_err(|error| failed(&format!("hour {hour}, by noon"), error))?;
        }
        hour += 1;
    }
    if outage.is_zero() || offers_in_outage > outage.as_secs() / 10 {
        return Err(format!("{offers_in_outage} attempts in an outage of {outage:?}"));
    }
    lock(&world.oracle).mood = Mood::Good;
    world.flush(MINUTE * 60).map_err(|error| failed("at the end", error))?;
    let letters = world.letters().map_err(|error| failed("dead letters", error))?;
    if !letters.is_empty() {
        return Err(format!("an outage made {} dead letters", letters.len()));
    }
    let mut oracle = lock(&world.oracle);
    oracle.account(&letters);
    figures.records += oracle.accepted() as u64;
    oracle.verdict()
}
