//! Delivery, and how a command that delivers ends.

use std::path::Path;
use std::time::{Duration, Instant};

use unistream::{ErrorKind, Inspection, InspectionStats, Producer, State, Stats};

use crate::arguments::Sending;
use crate::context::Context;
use crate::exit::{DEAD, Error, LEFT, LOST, OK, STOPPED};
use crate::output::Values;
use crate::{signals, text};

/// How often a wait for the sink looks up.
const SLICE: Duration = Duration::from_millis(200);

/// What is counted of a run.
pub(crate) struct Run<'a> {
    context: &'a Context,
    sending: &'a Sending,
    buffer: &'a Path,
    /// Whether it puts, or only delivers.
    puts: bool,
    /// Records put, their bytes, and lines that an earlier run had put.
    pub(crate) put: u64,
    pub(crate) bytes: u64,
    pub(crate) already_in: u64,
    began: Instant,
    shown: Instant,
    shows: bool,
    before: InspectionStats,
    /// What is left of processes that have ended, where the time was over before all of it was sent.
    left_of_others: Option<unistream::Error>,
}

impl<'a> Run<'a> {
    /// Begins to count. The buffer need not exist.
    pub(crate) fn begin(context: &'a Context, sending: &'a Sending, buffer: &'a Path, puts: bool) -> Run<'a> {
        Run {
            context,
            sending,
            buffer,
            puts,
            put: 0,
            bytes: 0,
            already_in: 0,
            began: Instant::now(),
            shown: Instant::now(),
            shows: context.screen.shows_progress() && !sending.quiet,
            before: Inspection::open(buffer).and_then(|found| found.stats()).unwrap_or_default(),
            left_of_others: None,
        }
    }

    /// Waits until all is delivered or the time is over.
    pub(crate) fn deliver(&mut self, producer: &Producer) -> Result<(), Error> {
        // A time beyond all clocks is no limit.
        let deadline = self.sending.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let point = producer.begin_flush()?;
        let is_shared = producer.slot().is_some();
        loop {
            self.context.signals.check()?;
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()).min(SLICE));
            // Of an outbox, what the processes have left that have ended.
            let delivered = if is_shared { producer.drain(left) } else { producer.wait_flushed(point, left) };
            match delivered {
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    self.show(producer, None);
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        self.left_of_others = is_shared.then_some(error);
                        return Ok(());
                    }
                }
                flushed => return Ok(flushed?),
            }
        }
    }

    /// Delivers, again and again, until a signal says to stop.
    pub(crate) fn follow(&mut self, producer: &Producer) -> Result<(), Error> {
        loop {
            self.context.signals.check()?;
            match producer.drain(SLICE) {
                Err(error) if error.kind() == ErrorKind::Timeout => {}
                drained => {
                    drained?;
                    std::thread::sleep(SLICE);
                }
            }
            self.show(producer, None);
        }
    }

    /// Shows how far it is, now and then. `share` is the part of the input that was read.
    pub(crate) fn show(&mut self, producer: &Producer, share: Option<f64>) {
        if !self.shows || self.shown.elapsed() < SLICE {
            return;
        }
        self.shown = Instant::now();
        let stats = producer.stats();
        let rate = (self.put as f64 / self.began.elapsed().as_secs_f64()) as u64;
        let [put, rate, delivered, left] =
            [self.put, rate, stats.delivered_records, stats.pending_records].map(text::grouped);
        let puts = if self.puts { format!("{put} put ({rate}/s), ") } else { String::new() };
        let mut line = format!("{puts}{delivered} delivered, {left} left");
        if stats.state != State::Running {
            line.push_str(&format!(", {}: {}", stats.state.name(), stats.last_error));
        }
        self.context.screen.progress(share, &line);
    }

    /// Closes the producer after what was `done`, says what the run did, and returns the exit code. `forget` is called
    /// where the same command need not go on.
    pub(crate) fn finish(
        &self,
        producer: &Producer,
        done: Result<(), Error>,
        delivers: bool,
        forget: impl FnOnce() -> Result<(), Error>,
    ) -> Result<u8, Error> {
        let stopped = match done {
            Ok(()) => None,
            Err(Error::Stopped(signal)) => Some(signal),
            Err(error) => return Err(error),
        };
        let left = match producer.close(Duration::ZERO) {
            // The sink does not return from its call; the process ends without it.
            Err(error) if error.kind() == ErrorKind::Timeout => producer.stats().pending_records,
            closed => closed?,
        };
        let stats = producer.stats();
        self.summary(&stats, left)?;
        if let Some(signal) = stopped {
            let (stopped, buffer) = (signals::stopped(signal), text::name(self.buffer));
            self.context.screen.complain(&format!("{stopped}; {left} records are left in {buffer}"));
            return Ok(STOPPED + signal as u8);
        }
        if !(delivers && left > 0) {
            // The last of all: who is killed behind it has put the files, but could not say so.
            forget()?;
        }
        Ok(self.code(&stats, left, delivers))
    }

    /// Says what the run has done.
    fn summary(&self, stats: &Stats, left: u64) -> Result<(), Error> {
        self.context.screen.clear();
        let puts = [("put", self.put), ("bytes", self.bytes), ("already_in", self.already_in)];
        let counts = [("delivered", stats.delivered_records), ("left", left), ("dead_letters", stats.dead_letters)];
        let counts = puts.into_iter().filter(|_| self.puts).chain(counts);
        if self.sending.json {
            let mut output = self.context.output()?;
            output.json(&counts.fold(Values::default(), |all, (name, count)| all.with(name, count)))?;
            // Nobody who reads it is no reason to forget what is left.
            return match output.flush() {
                Err(Error::BrokenPipe) => Ok(()),
                flushed => flushed,
            };
        }
        if !self.sending.quiet {
            let counts = counts.map(|(name, count)| format!("{}: {count}", name.replace('_', " ")));
            self.context.screen.say(&counts.collect::<Vec<_>>().join(", "));
        }
        Ok(())
    }

    /// The exit code of a run that was not stopped, with a sentence for all that is not as it should be.
    fn code(&self, stats: &Stats, left: u64, delivers: bool) -> u8 {
        let buffer = text::name(self.buffer);
        let screen = &self.context.screen;
        let mut code = OK;
        if delivers && stats.dead_letters > 0 {
            let letters = stats.dead_letters;
            screen.complain(&format!("there are {letters} dead letters: unistream dead-letters list {buffer}"));
            code = DEAD;
        }
        if delivers && left > 0 {
            screen.complain(&format!("{left} records are left in {buffer}; the same command again goes on"));
            code = LEFT;
        } else if let Some(error) = &self.left_of_others {
            screen.complain(&format!(
                "{}; the same command again goes on, with --follow until it is told to end",
                error.message()
            ));
            code = LEFT;
        }
        let regions = stats.corrupt_regions.saturating_sub(self.before.corrupt_regions);
        let lost = stats.lost_records.saturating_sub(self.before.lost_records);
        if regions > 0 || lost > 0 {
            // It outranks the others: they are told again by the next run, and this is not.
            let message = format!(
                "damaged bytes of {buffer} were set aside in {buffer}/corrupt; {lost} records are known to be lost"
            );
            screen.complain(&message);
            code = LOST;
        }
        code
    }
}
