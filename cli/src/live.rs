//! What the processes say that have a buffer, and what they do for a command.

use std::path::Path;
use std::time::Duration;

use unistream::{Admin, ErrorKind, Inspection, State, Stats};

use crate::arguments::Look;
use crate::context::Context;
use crate::exit::{Error, OK};
use crate::look::time;
use crate::output::Values;

/// How long an owner may take that is only asked for its numbers: what is on disk is shown without them.
const PATIENCE: Duration = Duration::from_secs(3);

/// What owners say, slot by slot.
#[derive(Default)]
pub(crate) struct Owners {
    pub(crate) answers: Vec<(String, Stats)>,
    /// Those that have not answered, and why.
    pub(crate) silent: Vec<(String, String)>,
}

impl Owners {
    /// Asks all that there are; nobody, if no process has the buffer.
    pub(crate) fn ask(buffer: &Path) -> Owners {
        let mut owners = Owners::default();
        match Admin::new(buffer).patience(PATIENCE).stats() {
            Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::NotFound) => {}
            Err(error) => owners.silent.push((String::new(), error.to_string())),
            Ok(all) => {
                for (slot, answer) in all {
                    match answer {
                        Ok(stats) => owners.answers.push((slot, stats)),
                        Err(error) if error.kind() == ErrorKind::Closed => {}
                        Err(error) => owners.silent.push((slot, error.to_string())),
                    }
                }
            }
        }
        owners
    }

    /// A counter of all of them together.
    pub(crate) fn sum(&self, counter: fn(&Stats) -> u64) -> u64 {
        self.answers.iter().map(|(_, stats)| counter(stats)).sum()
    }

    /// The earliest of times of which 0 is none.
    pub(crate) fn since(&self, of: fn(&Stats) -> u64) -> i64 {
        let earliest = self.answers.iter().map(|(_, stats)| of(stats)).filter(|at| *at != 0).min();
        earliest.map_or(0, u64::cast_signed)
    }

    fn latest(&self, of: fn(&Stats) -> u64) -> i64 {
        self.answers.iter().map(|(_, stats)| of(stats)).max().unwrap_or(0).cast_signed()
    }

    /// The state that most needs looking after.
    pub(crate) fn state(&self) -> Option<State> {
        let urgency = |state: &State| match state {
            State::Stopped => 4,
            State::Unavailable => 3,
            State::OnHold => 2,
            State::Running => 1,
            State::Closed => 0,
        };
        self.answers.iter().map(|(_, stats)| stats.state).max_by_key(urgency)
    }

    pub(crate) fn last_error(&self) -> Option<&str> {
        let worst = self.state();
        let of_state = |stats: &Stats| Some(stats.state) == worst;
        let errors = self.answers.iter().filter(|(_, stats)| !stats.last_error.is_empty());
        let mut errors: Vec<_> = errors.collect();
        errors.sort_by_key(|(_, stats)| !of_state(stats));
        errors.first().map(|(_, stats)| &*stats.last_error)
    }

    /// All of that by name; nothing if nobody was asked.
    pub(crate) fn values(&self) -> Values {
        let mut values = Values::default();
        if !self.answers.is_empty() {
            let at = |of: fn(&Stats) -> u64| time(self.since(of));
            values = values
                .with("state", self.state().map(State::name))
                .with("put_records", self.sum(|stats| stats.put_records))
                .with("put_bytes", self.sum(|stats| stats.put_bytes))
                .with("put_records_per_second", self.sum(|stats| stats.put_records_per_second))
                .with("put_bytes_per_second", self.sum(|stats| stats.put_bytes_per_second))
                .with("delivered_records_per_second", self.sum(|stats| stats.delivered_records_per_second))
                .with("delivered_bytes_per_second", self.sum(|stats| stats.delivered_bytes_per_second))
                .with("delivered_records", self.sum(|stats| stats.delivered_records))
                .with("attempts", self.sum(|stats| stats.attempts))
                .with("failed_attempts", self.sum(|stats| stats.failed_attempts))
                .with("unavailable_attempts", self.sum(|stats| stats.unavailable_attempts))
                .with("rejected_records", self.sum(|stats| stats.rejected_records))
                .with("skipped_records", self.sum(|stats| stats.skipped_records))
                .with("expired_records", self.sum(|stats| stats.expired_records))
                .with("dropped_records", self.sum(|stats| stats.dropped_records))
                .with("refused_puts", self.sum(|stats| stats.refused_puts))
                .with("invalid_puts", self.sum(|stats| stats.invalid_puts))
                .with("last_success", time(self.latest(|stats| stats.last_success)))
                .with("last_failure", time(self.latest(|stats| stats.last_failure)))
                .with("unavailable_since", at(|stats| stats.unavailable_since))
                .with("unreadable_since", at(|stats| stats.unreadable_since))
                .with("last_error", self.last_error());
        }
        if !self.silent.is_empty() {
            let silent: Vec<&str> = self.silent.iter().map(|(_, why)| &**why).collect();
            values = values.with("not_answered", silent);
        }
        values
    }
}

/// `unistream resume`.
pub(crate) fn resume(context: &Context, arguments: &Look) -> Result<u8, Error> {
    let mut output = context.output()?;
    let mut failure = None;
    for (slot, answer) in Admin::new(&arguments.buffer).resume()? {
        match answer {
            Ok(()) if arguments.json => {
                output.json(&Values::default().with("slot", slot).with("resumed", true))?;
            }
            Ok(()) => output.line(&format!("{slot}: goes on, and tries now what waits"))?,
            // It has ended in between.
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => failure = Some(error),
        }
    }
    output.flush()?;
    failure.map_or(Ok(OK), |error| Err(error.into()))
}

/// Whether one process has this buffer alone, which has to do then what is done with it.
pub(crate) fn has_owner(buffer: &Path) -> Result<bool, Error> {
    let found = Inspection::open(buffer)?;
    Ok(!found.is_shared() && found.stats()?.owner_pid.is_some())
}
