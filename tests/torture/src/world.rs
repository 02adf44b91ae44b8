//! A producer on a simulated disk and clock, driven step by step beside its oracle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::{Extras, Mood, Oracle};
use crate::batch::Batch;
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::options::{Durability, Mode, Options, Order};
use crate::platform::simulated::{Crash, SimulatedDisk, Snapshot};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::platform::{Clock, Disk, lock};
use crate::producer::Producer;
use crate::record::NewRecord;
use crate::sink::{FileOptions, FileSink, Layout, Limits, Report, SendError, Sink};

/// Where the buffer is on the simulated disk.
pub(crate) const DIR: &str = "/data/buffer";
/// Where a `FileSink` writes: in a directory that nobody else syncs.
pub(crate) const FILE: &str = "/out/events.log";

/// The directory of that file, made by others.
pub(crate) fn make_file_dir(disk: &SimulatedDisk) {
    if disk.files(Path::new("/out")).is_empty() {
        disk.install(Path::new("/out/anything"), &[]);
    }
}

/// A sink for it, with a sidecar that is soon used up.
pub(crate) fn file_sink_on(disk: Arc<dyn Disk>) -> Result<FileSink> {
    let layout = Layout { records: 8, contents: 2048, page: 32, pages: 32, buffers: 4 };
    FileSink::create_on(disk, Path::new(FILE), &FileOptions::default(), layout)
}

/// What is in that file.
pub(crate) fn file_on(disk: &SimulatedDisk) -> Vec<u8> {
    let files = disk.files(Path::new("/out"));
    files.into_iter().find(|(path, _)| path == Path::new(FILE)).map(|(_, bytes)| bytes).unwrap_or_default()
}

/// How often the clock may be read within one simulated second. Code that reads it more often spins: it would loop for
/// ever, or step through an hour by microseconds.
const MOST_LOOKS: u64 = 20_000;
const SECOND: u64 = 1_000_000;

/// A clock that moves only when told. The wall may jump; what waits are measured by does not.
pub(crate) struct SimulatedClock {
    micros: AtomicU64,
    wall_offset: AtomicI64,
    /// The last second in which somebody looked, and how often so far.
    second: AtomicU64,
    looks: AtomicU64,
}

impl SimulatedClock {
    pub(crate) fn new() -> Arc<Self> {
        // Some time after boot, in 2024.
        SimulatedClock::at(1_000_000_000, 1_700_000_000_000_000)
    }

    /// The clock after a reboot: the wall goes on from there, the other begins anew.
    pub(crate) fn rebooted(wall: i64) -> Arc<Self> {
        SimulatedClock::at(5_000_000, wall - 5_000_000)
    }

    fn at(micros: u64, wall_offset: i64) -> Arc<Self> {
        Arc::new(SimulatedClock {
            micros: AtomicU64::new(micros),
            wall_offset: AtomicI64::new(wall_offset),
            second: AtomicU64::new(0),
            looks: AtomicU64::new(0),
        })
    }

    pub(crate) fn jump_wall(&self, micros: i64) {
        self.wall_offset.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> i64 {
        self.wall_offset.load(Ordering::Relaxed) + self.micros.load(Ordering::Relaxed).cast_signed()
    }

    fn monotonic(&self) -> Duration {
        let micros = self.micros.load(Ordering::Relaxed);
        if self.second.swap(micros / SECOND, Ordering::Relaxed) != micros / SECOND {
            self.looks.store(0, Ordering::Relaxed);
        }
        // A panic is already under way: let its clean-up read the clock.
        if self.looks.fetch_add(1, Ordering::Relaxed) == MOST_LOOKS && !std::thread::panicking() {
            self.looks.store(0, Ordering::Relaxed);
            panic!("somebody spins: {MOST_LOOKS} looks at the clock within a second of its time");
        }
        Duration::from_micros(micros)
    }

    fn sleep(&self, time: Duration) {
        // Always advance a little: a loop that sleeps for zero would never end.
        self.micros.fetch_add((time.as_micros() as u64).max(1), Ordering::Relaxed);
    }
}

/// These options with so many lanes; 1: none, all in order.
pub(crate) fn with_lanes(options: &Options, lanes: u64) -> Options {
    let order = if lanes > 1 { Order::Key } else { Order::Total };
    Options { order, max_in_flight: lanes, ..options.clone() }
}

/// One thing that a program does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Put(usize),
    /// Ends the batch being filled and sends what may go out.
    Flush,
    /// Sends what may go out: as a program's event loop would in manual mode, as the sender's thread in background mode.
    Poll,
    /// One turn of the maintenance thread.
    Chores,
    Sleep(Duration),
    JumpWall(i64),
    Sync,
    Sink(Mood),
    /// Puts every dead letter back.
    Replay,
    Resume,
    /// Closes in order and opens again, with these many records a batch.
    Restart(u64),
    /// Closes in order and opens again, with so many lanes; 1: none, all in order.
    RestartLanes(u64),
    /// Closes in order and opens again, with this durability.
    RestartAs(Durability),
    /// Leaves room for so many more blocks of 4096 bytes on the disk.
    FreeBlocks(u64),
}

/// The sink: the oracle, behind a lock, or a `FileSink` that the oracle watches.
struct OracleSink {
    oracle: Arc<Mutex<Oracle>>,
    clock: Arc<SimulatedClock>,
    offers: Offers,
    file: Option<FileSink>,
}

impl OracleSink {
    fn answer(&self, batch: &Batch) -> Result<Report, SendError> {
        lock(&self.offers).push(Offer::of(batch));
        let wall = self.clock.wall();
        let Some(file) = &self.file else { return lock(&self.oracle).send(batch, wall) };
        lock(&self.oracle).offered(batch, wall);
        // Whoever takes pictures of the disk looks at the oracle.
        let answer = file.send(batch);
        lock(&self.oracle).answered(batch, &answer);
        answer
    }
}

impl Sink for OracleSink {
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        Ok(lock(&self.oracle).prepared(batch))
    }

    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let panics = lock(&self.oracle).mood == Mood::Panics;
        let answer = self.answer(batch);
        assert!(!panics, "the sink panics because it is told to");
        answer
    }

    fn limits(&self) -> Limits {
        self.file.as_ref().map(Sink::limits).unwrap_or_default()
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), |file| file.admit(record))
    }
}

/// A batch as it was shown to the sink: its first seq, the number of the attempt, the seqs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer(pub(crate) u64, pub(crate) u32, pub(crate) Vec<u64>);

impl Offer {
    fn of(batch: &Batch) -> Offer {
        Offer(batch.first_seq(), batch.attempt(), batch.iter().map(|record| record.seq).collect())
    }
}

pub(crate) type Offers = Arc<Mutex<Vec<Offer>>>;

/// The disk in the instant before an operation, and the truth of that instant.
pub(crate) struct Picture {
    pub(crate) operation: usize,
    pub(crate) disk: Snapshot,
    pub(crate) oracle: Oracle,
    pub(crate) wall: i64,
}

pub(crate) type Pictures = Arc<Mutex<Vec<Picture>>>;

pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    pub(crate) options: Options,
    /// What the producer told of, for messages.
    pub(crate) events: Arc<Mutex<Vec<String>>>,
    /// All that the sink was shown.
    pub(crate) offers: Offers,
    seed: u64,
    sink: Option<Arc<OracleSink>>,
    producer: Option<Producer>,
}

impl World {
    pub(crate) fn new(
        disk: SimulatedDisk,
        clock: Arc<SimulatedClock>,
        oracle: Oracle,
        options: &Options,
        seed: u64,
    ) -> Self {
        if oracle.target.is_some() {
            make_file_dir(&disk);
        }
        World {
            disk,
            clock,
            oracle: Arc::new(Mutex::new(oracle)),
            options: options.clone(),
            events: Arc::default(),
            offers: Arc::default(),
            seed,
            sink: None,
            producer: None,
        }
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        self.producer = None;
        self.sink = None;
        self.seed += 1;
        let env = self.disk.environment(self.clock.clone(), self.seed);
        let target = lock(&self.oracle).target;
        let file = target.map(|target| {
            let sink = file_sink_on(env.disk.clone())?;
            Ok::<_, Error>(sink.framing(target.framing).sync(target.sync))
        });
        let sink = Arc::new(OracleSink {
            oracle: self.oracle.clone(),
            clock: self.clock.clone(),
            offers: self.offers.clone(),
            file: file.transpose()?,
        });
        self.sink = Some(sink.clone());
        let events = self.events.clone();
        let (oracle, clock) = (self.oracle.clone(), self.clock.clone());
        let observer = move |event: &Event<'_>| {
            if let Event::Expired { records, dropped, .. } = event {
                lock(&oracle).expired(*records, *dropped, clock.wall());
            }
            if let Event::Dropped { records, first_seq, last_seq, .. } = event {
                lock(&oracle).dropped(*records, *first_seq..=*last_seq);
            }
            if matches!(event, Event::Corrupt { .. } | Event::Recovered { .. } | Event::Stopped { .. }) {
                lock(&events).push(event.message());
            }
        };
        let builder = Producer::builder(DIR).options(self.options.clone()).environment(env).observer(observer);
        self.producer = Some(match self.options.mode {
            Mode::Manual => builder.open_manual(sink.limits())?,
            _ => builder.open(sink)?,
        });
        lock(&self.oracle).opened();
        Ok(())
    }

    /// Takes a picture before every `stride`-th change of the disk, of the disk and of the truth.
    pub(crate) fn record(&self, stride: usize, offset: usize) -> Pictures {
        let pictures = Pictures::default();
        let (kept, oracle, clock) = (pictures.clone(), self.oracle.clone(), self.clock.clone());
        let mut operation = 0;
        self.disk.record(Some(Box::new(move |disk| {
            operation += 1;
            if operation % stride == offset % stride {
                let oracle = lock(&oracle).clone();
                lock(&kept).push(Picture { operation, disk, oracle, wall: clock.wall() });
            }
        })));
        pictures
    }

    /// The process ends without a close.
    pub(crate) fn abandon(mut self) -> (SimulatedDisk, Oracle) {
        self.disk.record(None);
        let picture = self.disk.snapshot();
        self.producer = None;
        let disk = picture.crash(Crash::Kill, 0);
        let oracle = lock(&self.oracle).clone();
        (disk, oracle)
    }

    pub(crate) fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    pub(crate) fn put(&self, len: usize) -> Result<u64> {
        let Some(producer) = &self.producer else { return Err(Error::new(ErrorKind::Closed, "not open")) };
        let (number, data) = {
            let mut oracle = lock(&self.oracle);
            let number = oracle.begin_put(len, self.clock.monotonic(), self.clock.wall());
            (number, oracle.payload(number, len))
        };
        let result = Extras::of(number).with(&data, |record| producer.put(record));
        let told = match &result {
            Ok(seq) => Ok(Some(*seq)),
            Err(error) if error.record_accepted() => Ok(None),
            Err(_) => Err(()),
        };
        lock(&self.oracle).end_put(number, told);
        result
    }

    /// Sends until there is nothing that may go out. Returns how long that will be so.
    fn poll(&self, producer: &Producer) -> Result<Duration> {
        const NOTHING: Duration = Duration::from_millis(50);
        match self.options.mode {
            Mode::Background => Ok(producer.do_sending()),
            Mode::Manual => {
                while let Some((mut batch, sink)) = producer.next_batch()?.zip(self.sink.as_ref()) {
                    let memo = if batch.memo().is_none() { lock(&self.oracle).prepared(&batch) } else { None };
                    if let Some(memo) = memo
                        && let Err(error) = producer.keep_memo(&mut batch, memo)
                    {
                        // As a sink's memo that cannot be kept: nothing is sent.
                        producer.settle(batch, Err(SendError::unavailable(error)))?;
                        continue;
                    }
                    let (answer, again) = (sink.answer(&batch), batch.clone());
                    let settled = producer.settle(batch, answer);
                    // That was its one answer: the model and the oracle know of no other.
                    let second = producer.settle(again, Err(SendError::Rejected("a second answer".into())));
                    assert_eq!(second.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
                    settled?;
                }
                Ok(producer.next_wait().unwrap_or(NOTHING))
            }
            Mode::Inline => Ok(NOTHING),
        }
    }

    /// Fails unless the producer's figure for the disk space of its segments is right. On a disk that `fails` for good the last
    /// of them may be one that could neither be made nor removed; the next one is made over it.
    pub(crate) fn check_disk_taken(&self, fails: bool) -> Result<(), String> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let files = self.disk.files(Path::new(DIR));
        // Not those that were set aside.
        let is_segment =
            |path: &Path| path.parent() == Some(Path::new(DIR)) && path.extension().is_some_and(|kind| kind == "seg");
        let segments = files.iter().filter(|(path, _)| is_segment(path));
        let there: Vec<u64> = segments.map(|(_, bytes)| bytes.len() as u64).collect();
        let counted = producer.stats().buffer_bytes;
        let (takes, last) = (there.iter().sum::<u64>(), there.last().copied().unwrap_or_default());
        if counted == takes || (fails && counted + last == takes) {
            return Ok(());
        }
        Err(format!("segments take {takes} bytes of the disk, the producer counts {counted}"))
    }

    /// Closes without having done anything, and opens again.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.close()?;
        self.open()
    }

    /// Closes. What a producer had stopped with is said once more; it is closed all the same.
    pub(crate) fn close(&mut self) -> Result<()> {
        use ErrorKind::{DeadLettersFull, RetriesExhausted};
        match self.producer.take().map(|producer| producer.close(Duration::ZERO)) {
            Some(Err(error)) if !matches!(error.kind(), RetriesExhausted | DeadLettersFull) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until all is sent, for at most `time` of the simulated clock.
    pub(crate) fn flush(&self, time: Duration) -> Result<()> {
        let Some(producer) = &self.producer else { return Ok(()) };
        if self.options.mode == Mode::Inline {
            return producer.flush(time);
        }
        let point = producer.begin_flush()?;
        let deadline = self.clock.monotonic() + time;
        loop {
            let wait = self.poll(producer)?;
            let left = deadline.saturating_sub(self.clock.monotonic());
            match producer.wait_flushed(point, Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::Timeout && !left.is_zero() => self.clock.sleep(wait.min(left)),
                result => return result,
            }
        }
    }

    /// Does one step. What the program is told goes to the oracle; the error is the step's, if it had one.
    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        let result = self.take(step);
        lock(&self.oracle).noted(self.clock.monotonic());
        result
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Sleep(time) => self.clock.sleep(*time),
            Step::JumpWall(micros) => self.clock.jump_wall(*micros),
            Step::Sink(mood) => lock(&self.oracle).mood = *mood,
            Step::FreeBlocks(free) => {
                lock(&self.oracle).tight = true;
                self.disk.set_free_blocks(*free);
            }
            Step::Put(len) => return self.put(*len).map(|_| ()),
            Step::Restart(max_records) => {
                return self.restart(Options { max_records: *max_records, ..self.options.clone() });
            }
            Step::RestartAs(durability) => {
                return self.restart(Options { durability: *durability, ..self.options.clone() });
            }
            Step::RestartLanes(lanes) => return self.restart(with_lanes(&self.options, *lanes)),
            _ => {}
        }
        let Some(producer) = &self.producer else { return Ok(()) };
        match step {
            Step::Flush => self.flush(Duration::from_millis(5)),
            Step::Poll => self.poll(producer).map(drop),
            Step::Chores => {
                producer.do_chores();
                if self.options.durability == Durability::Interval {
                    let until = self.clock.monotonic().saturating_sub(self.options.sync_interval);
                    lock(&self.oracle).interval_over(until);
                }
                Ok(())
            }
            Step::Sync => {
                producer.sync()?;
                lock(&self.oracle).synced(Duration::MAX);
                Ok(())
            }
            Step::Replay => {
                for letter in producer.dead_letters().list()? {
                    lock(&self.oracle).begin_replay(letter.records.len());
                    producer.replay_dead_letter(&letter.id)?;
                    lock(&self.oracle).end_replay();
                }
                Ok(())
            }
            Step::Resume => producer.resume(),
            _ => Ok(()),
        }
    }

    fn restart(&mut self, options: Options) -> Result<()> {
        if self.producer.is_some() {
            self.close()?;
            lock(&self.oracle).closed();
        }
        self.options = options;
        lock(&self.oracle).set_options(&self.options);
        self.open()
    }

    pub(crate) fn letters(&self) -> Result<Vec<Batch>> {
        let letters = DeadLetters::open_on(Arc::new(self.disk.clone()), Path::new(DIR));
        let batches = letters.list()?.into_iter().map(|letter| letter.batch());
        match self.options.durability {
            // A power loss may have damaged any of them.
            Durability::Os => Ok(batches.flatten().collect()),
            _ => batches.collect(),
        }
    }
}
