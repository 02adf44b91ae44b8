//! One run of a scenario: its disk, its sink, the account of it, and what is done and checked at its end.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ledger::{Ledger, Told, key, payload};
use super::scheduler::current;
use crate::batch::Batch;
use crate::buffer::Buffer;
use crate::dead_letters::DeadLetters;
use crate::error::{ErrorKind, Result};
use crate::options::{Durability, Mode, Options, Storage, WhenFull};
use crate::platform::simulated::{Crash, Dice, SimulatedDisk, Snapshot};
use crate::platform::sync::{scheduled, thread};
use crate::platform::{Clock, Environment};
use crate::producer::Producer;
use crate::record::NewRecord;
use crate::sink::{Limits, Report, SendError, Sink};

const DIR: &str = "/data/buffer";
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// Shorter than any time-out that stands in for a notification. What the engine sleeps while it waits for a lock or
/// for a thread to end is shorter.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// The clock that the scheduler moves.
struct ScheduledClock;

impl Clock for ScheduledClock {
    fn wall(&self) -> i64 {
        1_700_000_000_000_000 + scheduled::now().as_micros() as i64
    }

    fn monotonic(&self) -> Duration {
        scheduled::now()
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time.max(Duration::from_micros(1)));
    }
}

/// How the sink answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    /// Delivers, fails, is down, answers for each record.
    Mixed,
    Fails,
    Rejects,
}

pub(super) struct LedgerSink {
    ledger: Arc<Mutex<Ledger>>,
    mood: Arc<Mutex<Mood>>,
    dice: Mutex<Dice>,
    /// How long it holds a batch, counted in points where others may be scheduled.
    holds: usize,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl LedgerSink {
    pub(super) fn decide(&self, len: usize) -> std::result::Result<Report, SendError> {
        let mut dice = locked(&self.dice);
        let mood = *locked(&self.mood);
        match (mood, dice.below(6)) {
            (Mood::Good, _) | (Mood::Mixed, 0 | 1) => Ok(Report::delivered()),
            (Mood::Fails, _) | (Mood::Mixed, 2) => Err(SendError::failed("not now")),
            (Mood::Rejects, _) | (Mood::Mixed, 3) => Err(SendError::Rejected("never".into())),
            (Mood::Mixed, 4) => Err(SendError::unavailable("down")),
            (Mood::Mixed, _) => Ok((0..len).fold(Report::delivered(), |report, at| match dice.below(4) {
                0 => report.failed(at, "not this one"),
                1 => report.rejected(at, "never this one"),
                2 => report.unavailable(at, "throttled", None),
                _ => report,
            })),
        }
    }
}

impl Sink for LedgerSink {
    fn prepare(&self, batch: &Batch) -> std::result::Result<Option<Vec<u8>>, SendError> {
        Ok(locked(&self.ledger).memo(batch))
    }

    fn send(&self, batch: &Batch) -> std::result::Result<Report, SendError> {
        locked(&self.ledger).arrive(batch);
        for _ in 0..self.holds {
            scheduled::pause();
        }
        let answer = self.decide(batch.len());
        let mut ledger = locked(&self.ledger);
        // The same bytes as when it came, whatever was freed meanwhile.
        ledger.look(batch);
        ledger.answer(batch, &answer);
        answer
    }
}

/// The disk and the accounts in the instant before an operation.
struct Picture {
    disk: Snapshot,
    ledger: Ledger,
    crash: Crash,
    seed: u64,
}

/// One run of a scenario under one schedule.
pub(super) struct Run {
    pub(super) disk: SimulatedDisk,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) mood: Arc<Mutex<Mood>>,
    dice: Arc<Mutex<Dice>>,
    pictures: Arc<Mutex<Vec<Picture>>>,
    /// What happened before, for messages.
    after: Mutex<String>,
}

impl Run {
    pub(super) fn new(seed: u64) -> Run {
        Run {
            disk: SimulatedDisk::new(true),
            ledger: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Good)),
            dice: Arc::new(Mutex::new(Dice::new(!seed))),
            pictures: Arc::default(),
            after: Mutex::default(),
        }
    }

    pub(super) fn below(&self, end: usize) -> usize {
        locked(&self.dice).below(end)
    }

    pub(super) fn one_of<T: Copy>(&self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    pub(super) fn options(&self) -> Options {
        Options {
            max_records: 2,
            linger: crate::options::NEVER,
            segment_bytes: 64 << 10,
            max_buffer_bytes: 1 << 20,
            full_timeout: crate::options::NEVER,
            schedule_max: Duration::ZERO,
            jitter: crate::schedule::Jitter::None,
            max_in_flight: 1,
            storage: self.one_of(&[Storage::Mapped, Storage::File]),
            ..Options::default()
        }
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        *locked(&self.mood) = mood;
    }

    pub(super) fn environment(&self, threads: bool) -> Environment {
        let seed = self.below(1 << 30) as u64;
        Environment { threads, ..self.disk.environment(Arc::new(ScheduledClock), seed) }
    }

    pub(super) fn sink(&self, holds: usize) -> LedgerSink {
        let dice = Mutex::new(Dice::new(self.below(1 << 30) as u64));
        LedgerSink { ledger: self.ledger.clone(), mood: self.mood.clone(), dice, holds }
    }

    /// Opens a producer with threads of its own.
    pub(super) fn open(&self, options: &Options) -> Arc<Producer> {
        *locked(&self.ledger) = Ledger::new(options);
        let builder = Producer::builder(DIR).options(options.clone()).environment(self.environment(true));
        let opened = match options.mode {
            Mode::Manual => builder.open_manual(Limits::default()),
            _ => builder.open(self.sink(self.below(4))),
        };
        Arc::new(self.expect("opening", opened))
    }

    /// Opens a buffer that nobody sends from.
    pub(super) fn open_buffer(&self, options: &Options) -> Arc<Buffer> {
        *locked(&self.ledger) = Ledger::new(options);
        let opened = Buffer::open_in(Path::new(DIR), options.clone(), Limits::default(), self.environment(true));
        Arc::new(self.expect("opening", opened))
    }

    #[track_caller]
    pub(super) fn expect<T>(&self, what: &str, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(format!("{what}: {error}")),
        }
    }

    #[track_caller]
    pub(super) fn fail(&self, what: String) -> ! {
        panic!("{}{what}", locked(&self.after))
    }

    #[track_caller]
    pub(super) fn check(&self) {
        let verdict = locked(&self.ledger).verdict();
        if let Err(what) = verdict {
            self.fail(what);
        }
    }

    /// From now on pictures are taken at some operations of the disk; [`settle_accounts`](Self::settle_accounts) opens
    /// what a crash leaves of them.
    pub(super) fn take_pictures(&self, crashes: &'static [Crash]) {
        let (ledger, pictures, dice) = (self.ledger.clone(), self.pictures.clone(), self.dice.clone());
        let one_in = self.one_of(&[3, 10, 30]);
        self.disk.record(Some(Box::new(move |disk| {
            let (mut dice, mut pictures) = (locked(&dice), locked(&pictures));
            if pictures.len() < 2 && dice.chance(one_in) {
                let crash = crashes[dice.below(crashes.len())];
                pictures.push(Picture { disk, ledger: locked(&ledger).clone(), crash, seed: dice.roll() });
            }
        })));
    }

    /// Notes what a crash now would leave: [`settle_crashes`](Self::settle_crashes) looks at what is left then.
    pub(super) fn crash(&self, crash: Crash) {
        let (disk, ledger) = (self.disk.snapshot(), locked(&self.ledger).clone());
        let seed = self.below(1 << 30) as u64;
        locked(&self.pictures).push(Picture { disk, ledger, crash, seed });
    }

    /// Several times, as a power loss may leave what was not synced.
    pub(super) fn lose_power(&self) {
        (0..2).for_each(|_| self.crash(Crash::Power));
    }

    /// A thread that puts records of these lengths, and tells the ledger what came of each.
    pub(super) fn putter(&self, producer: &Arc<Producer>, name: usize, lens: Vec<usize>) -> thread::JoinHandle {
        self.putter_after(Duration::ZERO, producer, name, lens)
    }

    pub(super) fn putter_after(
        &self,
        wait: Duration,
        producer: &Arc<Producer>,
        name: usize,
        lens: Vec<usize>,
    ) -> thread::JoinHandle {
        let putting = producer.clone();
        let durable = producer.options().durability == Durability::Always;
        let put = move |data: &[u8]| {
            let key = key(data);
            putting.put(NewRecord { key: Some(&key), ..NewRecord::new(data) })
        };
        self.putter_with(put, durable, wait, name, lens)
    }

    pub(super) fn putter_with(
        &self,
        put: impl Fn(&[u8]) -> Result<u64> + Send + 'static,
        durable: bool,
        wait: Duration,
        name: usize,
        lens: Vec<usize>,
    ) -> thread::JoinHandle {
        let ledger = self.ledger.clone();
        let (disk, pictures, dice) = (self.disk.clone(), self.pictures.clone(), self.dice.clone());
        spawn(move || {
            thread::sleep(wait);
            for len in lens {
                let number = locked(&ledger).begin_put(name, len);
                let result = put(&payload(number, len));
                match result {
                    Ok(seq) => locked(&ledger).end_put(number, Told::Accepted, Some(seq), durable),
                    Err(error) if error.record_accepted() => {
                        locked(&ledger).end_put(number, Told::Accepted, None, false);
                    }
                    Err(_) => locked(&ledger).end_put(number, Told::Refused, None, false),
                }
                if durable && locked(&pictures).len() < 3 && locked(&dice).chance(2) {
                    // The power goes right after put has returned.
                    let before = locked(&ledger).clone();
                    let disk = disk.snapshot();
                    let ledger = locked(&ledger).clone().with_puts_of(&before);
                    let seed = locked(&dice).roll();
                    locked(&pictures).push(Picture { disk, ledger, crash: Crash::Power, seed });
                }
            }
        })
    }

    pub(super) fn putters(&self, producer: &Arc<Producer>, threads: usize, lens: &[usize]) -> Vec<thread::JoinHandle> {
        (0..threads).map(|name| self.putter(producer, name, lens.to_vec())).collect()
    }

    /// Flushes: what was accepted before is finished then.
    pub(super) fn flush(&self, producer: &Producer) -> Result<()> {
        let before = locked(&self.ledger).accepted();
        producer.flush(HOUR)?;
        locked(&self.ledger).flushed(&before);
        Ok(())
    }

    /// No simulated time should have passed beyond [`SOON`]: a thread that waited longer was not woken.
    pub(super) fn expect_soon(&self) {
        let elapsed = scheduled::elapsed();
        if current().patient && elapsed > SOON {
            locked(&self.ledger).violate(format!("somebody waited for a time-out: {elapsed:?} have passed"));
        }
    }

    /// Closes, drains what is left in another producer, does the same with what crashes left, and looks whether every
    /// record is accounted for.
    pub(super) fn settle_accounts(&self, producer: Arc<Producer>) {
        let left = self.expect("closing", producer.close(HOUR));
        self.disk.record(None);
        let pending = producer.stats().pending_records;
        let mut ledger = locked(&self.ledger);
        if left > ledger.undelivered() || left != pending {
            let undelivered = ledger.undelivered();
            ledger.violate(format!("{left} records are left, {pending} pending, {undelivered} not delivered"));
        }
        let options = producer.options().clone();
        drop(ledger);
        self.check();
        drop(producer);
        self.settle_closed(&options);
    }

    /// The rest of it, once it is closed.
    pub(super) fn settle_closed(&self, options: &Options) {
        // What was accepted before the close was over survives a power loss at any time after it.
        if options.durability != Durability::Os {
            let accepted = locked(&self.ledger).accepted();
            locked(&self.ledger).synced(&accepted);
            self.lose_power();
        }
        self.drain(options);
        self.settle_crashes(options);
    }

    /// Opens what crashes left.
    pub(super) fn settle_crashes(&self, options: &Options) {
        for picture in std::mem::take(&mut *locked(&self.pictures)) {
            let Picture { disk, ledger, crash, seed } = picture;
            let operation = disk.op;
            let run = Run { disk: disk.crash(crash, seed), ..Run::new(seed) };
            run.disk.set_free_blocks(u64::from(u32::MAX));
            *locked(&run.ledger) = ledger.after(crash);
            *locked(&run.after) = format!("after a crash ({crash:?}) before {operation:?}: ");
            run.drain(options);
        }
    }

    /// A producer without threads opens what is there and sends it to a sink that takes everything.
    pub(super) fn drain(&self, options: &Options) {
        self.set_mood(Mood::Good);
        let mut options = options.clone();
        options.mode = Mode::Inline;
        options.when_full = WhenFull::Block;
        options.max_in_flight = 1;
        let builder = Producer::builder(DIR).options(options).environment(self.environment(false));
        let producer = self.expect("opening again", builder.open(self.sink(0)));
        let number = locked(&self.ledger).begin_put(usize::MAX, 10);
        let seq = self.expect("putting", producer.put(&payload(number, 10)[..]));
        locked(&self.ledger).end_put(number, Told::Accepted, Some(seq), true);
        self.expect("flushing", producer.flush(HOUR));
        let stats = producer.stats();
        if self.expect("closing again", producer.close(HOUR)) > 0 || stats.pending_records > 0 {
            self.fail("records are left though all is flushed".into());
        }
        let letters = DeadLetters::open_on(Arc::new(self.disk.clone()), Path::new(DIR));
        let letters = self.expect("listing the dead letters", letters.list());
        let letters: Vec<Batch> =
            letters.iter().map(|letter| self.expect("reading a dead letter", letter.batch())).collect();
        locked(&self.ledger).account(&letters);
        self.check();
    }

    /// Flushes; by now nobody should have waited for a time-out.
    pub(super) fn flush_soon(&self, producer: &Producer) {
        self.expect("flushing", self.flush(producer));
        self.expect_soon();
    }

    /// As [`expect`](Self::expect), where a close may come before or behind another.
    pub(super) fn expect_open<T>(&self, what: &str, result: Result<T>) -> Option<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::Closed => None,
            result => Some(self.expect(what, result)),
        }
    }
}

pub(super) fn spawn(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle {
    match thread::start(c"test", body) {
        Ok(thread) => thread,
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn join(threads: impl IntoIterator<Item = thread::JoinHandle>) {
    for thread in threads {
        thread.join();
    }
}
