//! What a producer must do, in plain Rust, as long as neither the disk nor the process fails; and the comparison with
//! what one does, step by step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::oracle::{Extras, Fate, Mood, Oracle, key_of, payload};
use super::workloads::Workload;
use super::world::{Offer, SimulatedClock, Step, World, with_lanes};
use super::{Figures, caught};
use crate::batch::Batch;
use crate::error::{ErrorKind, Result};
use crate::options::{Mode, NEVER, OnExhausted, OnExpired, Options, Order, Storage, WhenFull};
use crate::platform::simulated::SimulatedDisk;
use crate::platform::{Clock, lock};
use crate::stats::State;

/// A sealed batch and what is left of it.
#[derive(Debug)]
struct Sealed {
    first: u64,
    lanes: u32,
    parts: Vec<Part>,
}

/// What goes out together.
#[derive(Debug, Default)]
struct Part {
    lane: Option<u32>,
    left: Vec<u64>,
    attempts: u32,
    failures: u32,
    ready: Duration,
    /// When the last attempt ended and the next may begin, on the wall.
    last: i64,
    next: i64,
}

impl Part {
    /// A fresh round.
    fn reset_attempts(&mut self, now: Duration) {
        (self.attempts, self.failures, self.ready, self.last, self.next) = (0, 0, now, 0, 0);
    }
}

/// What is known of a record.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: usize,
    bytes: u64,
    created_at: i64,
}

#[derive(Debug)]
struct Model {
    options: Options,
    now: Duration,
    wall_ahead: i64,
    mood: Mood,
    next_seq: u64,
    next_number: usize,
    /// By seq.
    records: BTreeMap<u64, Known>,
    /// The batch being filled, and since when.
    open: Option<(Duration, Vec<u64>)>,
    batches: VecDeque<Sealed>,
    /// By first seq and lane.
    letters: BTreeMap<(u64, Option<u32>), BTreeSet<u64>>,
    delivered: u64,
    /// Records and bytes that were too old to be sent.
    expired: (u64, u64),
    /// Records and bytes that made room for others.
    dropped: (u64, u64),
    /// Nothing goes out before this, by the rate.
    paced_until: Duration,
    stopped: bool,
    offers: Vec<Offer>,
}

/// What a step comes to: nothing, or the kind of its error.
type Told = std::result::Result<(), ErrorKind>;

impl Model {
    fn seal(&mut self) {
        if let Some((_, seqs)) = self.open.take() {
            let (first, lanes) = (seqs[0], self.lanes());
            let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
            for seq in seqs {
                let lane = self.lane(self.records[&seq].number, seq);
                let part = parts.entry(lane).or_default();
                part.lane = (lanes > 1).then_some(lane);
                part.left.push(seq);
            }
            self.batches.push_back(Sealed { first, lanes, parts: parts.into_values().collect() });
        }
    }

    fn lanes(&self) -> u32 {
        if self.options.order == Order::Key { self.options.max_in_flight as u32 } else { 1 }
    }

    fn lane(&self, number: usize, seq: u64) -> u32 {
        match key_of(number) {
            Some(key) => crc32c::crc32c(&key) % self.lanes(),
            None => (seq % u64::from(self.lanes())) as u32,
        }
    }

    /// The parts that may go out, or will once their time has come: their batch, and their place in it.
    fn candidates(&self) -> Vec<(usize, usize)> {
        let left = |batch: &Sealed| batch.parts.iter().any(|part| !part.left.is_empty());
        let Options { max_batches_ahead, max_in_flight, .. } = self.options;
        let (ahead, unfinished) = match self.options.order {
            Order::Key => (max_batches_ahead, u64::MAX),
            Order::None => (max_batches_ahead.max(max_in_flight), max_in_flight),
            _ => (max_in_flight, max_in_flight),
        };
        let window = || {
            let read = self.batches.iter().enumerate().take(ahead as usize);
            read.filter(|(_, batch)| left(batch)).take(unfinished as usize)
        };
        let mut candidates = Vec::new();
        for (at, batch) in window() {
            for (place, part) in batch.parts.iter().enumerate().filter(|(_, part)| !part.left.is_empty()) {
                let waits = |other: &Part| !other.left.is_empty() && other.lane == part.lane;
                let held = match self.options.order {
                    Order::None => false,
                    Order::Key => window()
                        .take_while(|(before, _)| *before < at)
                        .any(|(_, before)| before.lanes != batch.lanes || before.parts.iter().any(waits)),
                    _ => !candidates.is_empty(),
                };
                if !held {
                    candidates.push((at, place));
                }
            }
        }
        candidates
    }

    fn check(&self) -> Told {
        if self.stopped { Err(ErrorKind::RetriesExhausted) } else { Ok(()) }
    }

    fn wall(&self) -> i64 {
        self.wall_ahead + self.now.as_micros() as i64
    }

    /// Whether a record of so many bytes finds no room in the batch being filled.
    fn is_full(&self, lane: u32, bytes: u64) -> bool {
        self.open.as_ref().is_some_and(|(_, seqs)| {
            let mine = seqs.iter().map(|seq| (*seq, self.records[seq]));
            let mine = mine.filter(|(seq, record)| self.lane(record.number, *seq) == lane);
            let (count, sum) = mine.fold((0, 0), |(count, sum), (_, record)| (count + 1, sum + record.bytes));
            count > 0 && (count >= self.options.max_records || sum + bytes > self.options.max_bytes)
        })
    }

    /// The oldest batches make room, with so many records in all. Where segments end is not for the model to know, but they
    /// are the first ones, and whole. Returns the bytes of all but the last of them.
    fn drop_oldest(&mut self, records: u64) -> u64 {
        self.seal();
        let (before, mut last) = (self.dropped, 0);
        while self.dropped.0 < before.0 + records
            && let Some(batch) = self.batches.pop_front()
        {
            let left = batch.parts.iter().flat_map(|part| &part.left);
            last = left.clone().map(|seq| self.records[seq].bytes).sum();
            self.dropped = (self.dropped.0 + left.count() as u64, self.dropped.1 + last);
        }
        self.forget_finished();
        self.dropped.1 - before.1 - last
    }

    fn put(&mut self, record: Known) -> Told {
        self.check()?;
        let Known { number, bytes, .. } = record;
        if bytes > self.options.max_bytes {
            return Err(ErrorKind::RecordTooLarge);
        }
        let lane = self.lane(number, self.next_seq);
        if self.is_full(lane, bytes) {
            self.seal();
        }
        self.open.get_or_insert((self.now, Vec::new())).1.push(self.next_seq);
        self.records.insert(self.next_seq, record);
        self.next_seq += 1;
        if self.is_full(lane, 1) {
            self.seal();
        }
        if self.options.mode == Mode::Inline {
            self.turn();
        }
        self.check()
    }

    /// Sends one batch, if the time of one has come.
    fn turn(&mut self) -> bool {
        if self.stopped {
            return false;
        }
        let Options { linger, max_attempts, on_exhausted, count_unavailable, .. } = self.options;
        if self.open.as_ref().is_some_and(|(since, _)| *since + linger <= self.now) {
            self.seal();
        }
        let (now, wall) = (self.now, self.wall());
        if self.paced_until > now {
            return false;
        }
        let (at, place) = loop {
            let mut ready = self.candidates().into_iter();
            let Some((at, place)) = ready.find(|(at, place)| self.batches[*at].parts[*place].ready <= now) else {
                return false;
            };
            if !self.expire(at, place) {
                break (at, place);
            }
        };
        self.pace(at, place);
        let first = self.batches[at].first;
        let batch = &mut self.batches[at].parts[place];
        self.offers.push(Offer(first, batch.attempts + 1, batch.left.clone()));
        let fates = self.mood.fates(first, batch.lane, batch.failures, batch.left.len());
        let counts = fates.contains(&Fate::Failed) || (count_unavailable && fates.contains(&Fate::Unavailable));
        if counts || fates.contains(&Fate::Unavailable) {
            batch.failures += 1;
            batch.attempts += u32::from(counts);
        }
        let exhausted = counts && max_attempts > 0 && u64::from(batch.attempts) >= max_attempts;
        let skip = exhausted && on_exhausted == OnExhausted::Skip;
        for (seq, fate) in std::mem::take(&mut batch.left).into_iter().zip(fates) {
            match fate {
                Fate::Delivered => self.delivered += 1,
                Fate::Failed if !skip => batch.left.push(seq),
                Fate::Unavailable if !(skip && count_unavailable) => batch.left.push(seq),
                _ => drop(self.letters.entry((first, batch.lane)).or_default().insert(seq)),
            }
        }
        if skip {
            batch.attempts = 0;
        }
        let schedule = self.options.schedule().unwrap_or_default();
        let wait = schedule.wait(batch.failures.max(1), 0);
        (batch.ready, batch.last, batch.next) = (now + wait, wall, wall + wait.as_micros() as i64);
        self.stopped |= exhausted && !skip;
        self.forget_finished();
        true
    }

    fn forget_finished(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.parts.iter().all(|part| part.left.is_empty())) {
            self.batches.pop_front();
        }
    }

    fn is_expired(&self, record: &Known) -> bool {
        let Options { max_age, on_expired, .. } = self.options;
        let own = if on_expired == OnExpired::Auto { None } else { Extras::of(record.number).expires_at };
        let is_old = max_age != NEVER && record.created_at <= self.wall() - max_age.as_micros() as i64;
        is_old || own.is_some_and(|at| at <= self.wall())
    }

    /// Takes what is too old out of a part that may go out. False if there is nothing.
    fn expire(&mut self, at: usize, place: usize) -> bool {
        let first = self.batches[at].first;
        let part = &self.batches[at].parts[place];
        let lane = part.lane;
        let (old, left): (Vec<u64>, Vec<u64>) = part.left.iter().partition(|seq| self.is_expired(&self.records[seq]));
        if old.is_empty() {
            return false;
        }
        let bytes: u64 = old.iter().map(|seq| self.records[seq].bytes).sum();
        self.expired = (self.expired.0 + old.len() as u64, self.expired.1 + bytes);
        if self.options.on_expired != OnExpired::Drop {
            self.letters.entry((first, lane)).or_default().extend(old);
        }
        let part = &mut self.batches[at].parts[place];
        (part.left, part.ready) = (left, Duration::ZERO);
        self.forget_finished();
        true
    }

    /// A part goes out: the next waits for as long as the rates take for it.
    fn pace(&mut self, at: usize, place: usize) {
        let left = &self.batches[at].parts[place].left;
        let (count, bytes) = (left.len() as u64, left.iter().map(|seq| self.records[seq].bytes).sum::<u64>());
        // The rates of the programs divide a million.
        let micros = |amount: u64, rate: u64| (amount * 1_000_000).checked_div(rate).unwrap_or(0);
        let Options { max_rate_records, max_rate_bytes, .. } = self.options;
        let takes = micros(count, max_rate_records).max(micros(bytes, max_rate_bytes));
        if max_rate_records + max_rate_bytes > 0 {
            self.paced_until = self.paced_until.max(self.now) + Duration::from_micros(takes);
        }
    }

    fn poll(&mut self) -> Told {
        while self.options.mode != Mode::Inline && self.turn() {}
        // A program that sends by itself is told of the stop by its own call; the sender's thread has nobody to tell.
        if self.options.mode == Mode::Manual { self.check() } else { Ok(()) }
    }

    fn flush(&mut self, time: Duration) -> Told {
        self.check()?;
        self.seal();
        let deadline = self.now + time;
        loop {
            self.poll()?;
            if self.batches.is_empty() {
                return Ok(());
            }
            self.check()?;
            let inline = self.options.mode == Mode::Inline;
            if self.now >= deadline {
                return Err(ErrorKind::Timeout);
            }
            let sent = inline && self.turn();
            // What was left may just have expired.
            if !sent && !self.batches.is_empty() {
                let ready = self.candidates().into_iter().map(|(at, place)| self.batches[at].parts[place].ready).min();
                let ready = ready.map_or(deadline, |ready| ready.max(self.paced_until));
                self.now = ready.clamp(self.now, deadline);
            }
            self.check()?;
        }
    }

    fn replay(&mut self) -> Told {
        let mut letters: Vec<_> = self.letters.iter().map(|(id, seqs)| (*id, seqs.clone())).collect();
        letters.sort_by_key(|(_, seqs)| seqs.first().copied());
        for (id, seqs) in letters {
            self.check()?;
            for seq in &seqs {
                // The put that sees the producer stop is a put.
                let stopped = self.stopped;
                self.put(self.records[seq]).or_else(|kind| if stopped { Err(kind) } else { Ok(()) })?;
            }
            let left: BTreeSet<u64> = self.letters.remove(&id).unwrap_or_default().difference(&seqs).copied().collect();
            if !left.is_empty() {
                self.letters.insert(id, left);
            }
        }
        Ok(())
    }

    fn restart(&mut self, options: Options) {
        // A batch that is in lanes does not go on in another run.
        if !self.stopped || self.lanes() > 1 || options.order == Order::Key {
            self.seal();
        }
        let (now, wall) = (self.now, self.wall());
        self.open.iter_mut().for_each(|(since, _)| *since = now);
        let max_attempts = self.options.max_attempts;
        for batch in self.batches.iter_mut().flat_map(|batch| &mut batch.parts) {
            let wait = u64::try_from(batch.next - wall.max(batch.last)).unwrap_or(0);
            batch.ready = now + Duration::from_micros(wait);
            if max_attempts > 0 && u64::from(batch.attempts) >= max_attempts {
                batch.reset_attempts(now);
            }
        }
        self.options = options;
        (self.delivered, self.expired, self.dropped, self.stopped) = (0, (0, 0), (0, 0), false);
        self.paced_until = Duration::ZERO;
    }

    fn resume(&mut self) {
        let (now, stopped) = (self.now, std::mem::take(&mut self.stopped));
        for batch in self.batches.iter_mut().flat_map(|batch| &mut batch.parts) {
            if stopped {
                batch.reset_attempts(now);
            }
            (batch.ready, batch.next) = (now, 0);
        }
    }

    fn step(&mut self, step: &Step) -> Told {
        match step {
            Step::Put(len) => {
                self.next_number += 1;
                let (number, bytes) = (self.next_number - 1, payload(0, *len).len() as u64);
                return self.put(Known { number, bytes, created_at: self.wall() });
            }
            Step::Flush => return self.flush(Duration::from_millis(5)),
            Step::Poll => return self.poll(),
            Step::Replay => return self.replay(),
            Step::Sleep(time) => self.now += (*time).max(Duration::from_micros(1)),
            Step::JumpWall(micros) => self.wall_ahead += micros,
            Step::Sink(mood) => self.mood = *mood,
            Step::Resume => self.resume(),
            Step::Restart(max_records) => self.restart(Options { max_records: *max_records, ..self.options.clone() }),
            Step::RestartLanes(lanes) => self.restart(with_lanes(&self.options, *lanes)),
            Step::RestartAs(_) => self.restart(self.options.clone()),
            // These are about the disk.
            Step::Chores | Step::Sync | Step::FreeBlocks(_) => {}
        }
        Ok(())
    }
}

/// What the log may take when everything is finished: the segment in use, the next, and those kept for use again, each as
/// large as the largest record makes it.
const MOST_KEPT: u64 = 4 * LONGEST_SEGMENT;

/// The longest segment that a record of a random program makes.
const LONGEST_SEGMENT: u64 = 80 << 10;

/// Runs a program and the model side by side. The error says where they differ.
pub(crate) fn compare(program: &Workload, seed: u64, figures: &mut Figures) -> std::result::Result<(), String> {
    let mut options = program.options.clone();
    // The model has room for everything, or for all that is put.
    if options.when_full != WhenFull::DropOldest {
        options.max_buffer_bytes = 1 << 30;
    }
    let oracle = Oracle::new(&options, false);
    let clock = SimulatedClock::new();
    let disk = SimulatedDisk::new(options.storage != Storage::File);
    let mut world = World::new(disk, clock.clone(), oracle, &options, seed);
    let mut model = Model {
        now: clock.monotonic(),
        wall_ahead: clock.wall() - clock.monotonic().as_micros() as i64,
        options,
        mood: Mood::Good,
        next_seq: 1,
        next_number: 0,
        records: BTreeMap::new(),
        open: None,
        batches: VecDeque::new(),
        letters: BTreeMap::new(),
        delivered: 0,
        expired: (0, 0),
        dropped: (0, 0),
        paced_until: Duration::ZERO,
        stopped: false,
        offers: Vec::new(),
    };
    world.open().map_err(|error| error.to_string())?;
    for (at, step) in program.steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::FreeBlocks(_))) {
        figures.steps += 1;
        let buffer_bytes = world.producer().map_or(0, |producer| producer.stats().buffer_bytes);
        let stepped = caught(|| Ok(world.step(step)));
        let result = stepped.map_err(|what| format!("{}, step {at}, {step:?}: {what}", program.name))?;
        let result = result.map_err(|error| error.kind());
        let dropped = world.producer().map_or(model.dropped.0, |producer| producer.stats().dropped_records);
        let dropped = dropped.saturating_sub(model.dropped.0);
        let made_room = if dropped > 0 { model.drop_oldest(dropped) } else { 0 };
        let told = model.step(step);
        let here = |what: &str, must: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
            Err(format!("{}, step {at}, {step:?}: {what} must be {must:?} and is {is:?}\n{model:?}", program.name))
        };
        if result != told {
            return here("the result", &told, &result);
        }
        if *lock(&world.offers) != model.offers {
            return here("what was sent", &model.offers, &lock(&world.offers));
        }
        let Some(producer) = world.producer() else { return here("the producer", &"open", &"closed") };
        let stats = producer.stats();
        let open = model.open.as_ref().map_or(0, |(_, records)| records.len());
        let pending = (open
            + model.batches.iter().flat_map(|batch| &batch.parts).map(|part| part.left.len()).sum::<usize>())
            as u64;
        if stats.pending_records != pending {
            return here("the number of pending records", &pending, &stats.pending_records);
        }
        if (stats.delivered_records, stats.next_seq) != (model.delivered, model.next_seq) {
            let must = (model.delivered, model.next_seq);
            return here("delivered records and next seq", &must, &(stats.delivered_records, stats.next_seq));
        }
        if (stats.expired_records, stats.expired_bytes) != model.expired {
            let is = (stats.expired_records, stats.expired_bytes);
            return here("expired records and bytes", &model.expired, &is);
        }
        if (stats.dropped_records, stats.dropped_bytes) != model.dropped {
            return here("dropped records and bytes", &model.dropped, &(stats.dropped_records, stats.dropped_bytes));
        }
        if dropped > 0 && buffer_bytes + LONGEST_SEGMENT <= model.options.max_buffer_bytes {
            return here("what the log takes when it drops", &model.options.max_buffer_bytes, &buffer_bytes);
        }
        // A record may need more than the first segment has had. The last batch may reach into the next one.
        if made_room > 2 * LONGEST_SEGMENT {
            return here("the bytes that make room", &(2 * LONGEST_SEGMENT), &made_room);
        }
        if matches!(step, Step::Chores) && pending == 0 && stats.buffer_bytes > MOST_KEPT {
            return here("what a drained log takes", &MOST_KEPT, &stats.buffer_bytes);
        }
        if (stats.state == State::Stopped) != model.stopped {
            return here("whether it is stopped", &model.stopped, &stats.state);
        }
        let letters: Result<Vec<_>> = world.letters();
        let letters = letters.map_err(|error| error.to_string())?;
        let seqs = |batch: &Batch| batch.iter().map(|record| record.seq).collect();
        let letters = letters.iter().map(|batch| ((batch.first_seq(), batch.id.lane), seqs(batch)));
        let letters: BTreeMap<_, BTreeSet<u64>> = letters.collect();
        if letters != model.letters {
            return here("the dead letters", &model.letters, &letters);
        }
        if clock.monotonic() != model.now {
            return here("the time", &model.now, &clock.monotonic());
        }
        lock(&world.oracle).verdict()?;
    }
    world.check_disk_taken(false).map_err(|what| format!("{}: {what}", program.name))
}
