//! What depends on the clock, on a clock of the tests' own.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::Producer;
use crate::batch::Batch;
use crate::buffer::lanes::lane_of;
use crate::error::ErrorKind;
use crate::event::Level;
use crate::options::{Durability, Mode, NEVER};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::platform::{Clock, EngineClock, Environment, OsDisk};
use crate::record::NewRecord;
use crate::schedule::Jitter;
use crate::sink::{Report, SendError};
use crate::stats::State;

/// Two clocks that move when they are told to.
#[derive(Default)]
struct Hands {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl Hands {
    /// Both go on.
    fn pass(&self, time: Duration) {
        let micros = time.as_micros() as i64;
        self.wall.fetch_add(micros, Ordering::SeqCst);
        self.monotonic.fetch_add(micros as u64, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    fn jump(&self, seconds: i64) {
        self.wall.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    fn now(&self) -> f64 {
        self.monotonic().as_secs_f64()
    }
}

impl Clock for Hands {
    fn wall(&self) -> i64 {
        1_700_000_000_000_000 + self.wall.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}

struct World {
    dir: tempfile::TempDir,
    hands: Arc<Hands>,
    /// When attempts began, and at which batch.
    attempts: Arc<Mutex<Vec<(f64, u64)>>>,
    /// When events happened, their levels, names and messages.
    events: Arc<Mutex<Vec<(f64, Level, &'static str, String)>>>,
}

impl World {
    fn new() -> World {
        let (hands, attempts, events) = Default::default();
        World { dir: tempfile::tempdir().unwrap(), hands, attempts, events }
    }

    /// An inline producer whose sink notes each attempt, takes `takes` of time, and answers with `answer`.
    fn open(
        &self,
        options: &[(&str, &str)],
        takes: Duration,
        answer: impl Fn(&Batch) -> Result<Report, SendError> + Send + Sync + 'static,
    ) -> Producer {
        let (hands, passing, attempts) = (self.hands.clone(), self.hands.clone(), self.attempts.clone());
        let sink = crate::sink::from_fn(move |batch: &Batch| {
            attempts.lock().unwrap().push((passing.now(), batch.first_seq()));
            passing.pass(takes);
            answer(batch)
        });
        let events = self.events.clone();
        let mut builder = Producer::builder(self.dir.path())
            .observer(move |event| {
                events.lock().unwrap().push((hands.now(), event.level(), event.name(), event.message()))
            })
            .mode(Mode::Inline)
            .durability(Durability::Os)
            .segment_bytes(64 << 10)
            .max_records(1)
            .linger(NEVER)
            .jitter(Jitter::None);
        for (key, value) in options {
            builder = builder.set(key, value).unwrap();
        }
        let random = Arc::new(|| 5);
        builder.env = Environment {
            disk: Arc::new(OsDisk),
            clock: EngineClock::Other(self.hands.clone()),
            random,
            threads: false,
        };
        builder.open(sink).unwrap()
    }

    /// Lets time pass in steps, with a turn of the event loop at each.
    fn run(&self, producer: &Producer, steps: u32, step: Duration) {
        for _ in 0..steps {
            let _ = producer.inner().shared.send_one();
            self.hands.pass(step);
        }
    }

    /// When an event of this name happened, and what it said.
    fn told(&self, name: &str) -> Vec<(f64, String)> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|(_, _, other, _)| *other == name).map(|(at, _, _, text)| (*at, text.clone())).collect()
    }

    /// What a listener heard that is a warning or worse.
    fn warnings(&self) -> Vec<(f64, &'static str, String)> {
        let events = self.events.lock().unwrap();
        let loud = events.iter().filter(|(_, level, _, _)| *level >= Level::Warning);
        loud.map(|(at, _, name, text)| (*at, *name, text.clone())).collect()
    }

    /// When the batch that begins with this seq was tried.
    fn tried(&self, first_seq: u64) -> Vec<f64> {
        let attempts = self.attempts.lock().unwrap();
        attempts.iter().filter(|(_, seq)| *seq == first_seq).map(|(at, _)| *at).collect()
    }
}

const SPEC: [(&str, &str); 2] = [("schedule_max", "4"), ("max_attempts", "4")];
const TICK: Duration = Duration::from_millis(250);

fn fail(_: &Batch) -> Result<Report, SendError> {
    Err(SendError::failed("no"))
}

/// The picture of the spec, by the producer itself: attempts at t = 0, 1, 3, 7, then the next batch.
#[test]
fn attempts_at_0_1_3_and_7_seconds_then_skipped() {
    let world = World::new();
    let producer = world.open(&SPEC, Duration::ZERO, fail);
    producer.put("poison").unwrap();
    producer.put("next").unwrap();
    world.run(&producer, 30, TICK);
    assert_eq!(world.tried(1), [0.0, 1.0, 3.0, 7.0]);
    assert_eq!(producer.dead_letters().list().unwrap()[0].attempts, 4);
    assert_eq!(world.tried(2)[0], 7.25, "skipping makes way for the next batch");
}

#[test]
fn raise_stops_at_the_last_attempt_and_says_that_the_record_was_accepted() {
    let world = World::new();
    let producer = world.open(&[SPEC[0], SPEC[1], ("on_exhausted", "raise")], Duration::ZERO, fail);
    producer.put("poison").unwrap();
    let mut puts = 1;
    let error = loop {
        world.hands.pass(TICK);
        puts += 1;
        if let Err(error) = producer.put("more") {
            break error;
        }
    };
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::RetriesExhausted, true));
    assert!(!producer.put("refused").unwrap_err().record_accepted());
    assert_eq!(world.tried(1), [0.0, 1.0, 3.0, 7.0]);
    assert_eq!(producer.stats().pending_records, puts, "the backlog stays");
    producer.resume().unwrap();
    world.run(&producer, 1, TICK);
    assert_eq!(world.tried(1)[4], 7.0, "a fresh round begins at once");
}

#[test]
fn backoff_runs_from_the_end_of_the_attempt() {
    let world = World::new();
    let producer = world.open(&SPEC, Duration::from_secs(10), fail);
    producer.put("x").unwrap();
    world.run(&producer, 40, TICK);
    assert_eq!(world.tried(1), [0.0, 11.0, 23.0, 37.0]);
}

#[test]
fn backoff_runs_on_the_monotonic_clock() {
    let world = World::new();
    let producer = world.open(&SPEC, Duration::ZERO, fail);
    producer.put("x").unwrap();
    // An hour on, two hours back: neither brings the next attempt nearer nor puts it off.
    world.hands.jump(3600);
    world.run(&producer, 3, TICK);
    world.hands.jump(-7200);
    world.run(&producer, 30, TICK);
    assert_eq!(world.tried(1), [0.0, 1.0, 3.0, 7.0]);
}

#[test]
fn the_next_attempts_time_survives_a_restart_whatever_the_wall_clock_does() {
    for (jump, passes, expected) in [(0, 1, 3.0), (3600, 1, 2.0), (-3600, 1, 4.0)] {
        let world = World::new();
        let producer = world.open(&[("schedule_waits", "2")], Duration::ZERO, fail);
        world.hands.pass(Duration::from_secs(1));
        producer.put("x").unwrap();
        drop(producer);
        world.hands.pass(Duration::from_secs(passes));
        world.hands.jump(jump);
        let producer = world.open(&[("schedule_waits", "2")], Duration::ZERO, fail);
        world.run(&producer, 20, TICK);
        // Set back, the clock says nothing of the time between: then the whole wait is waited again, not an hour.
        assert_eq!(world.tried(1)[..2], [1.0, expected], "wall clock set by {jump} s");
        assert_eq!(world.tried(1)[2], expected + 2.0);
    }
}

#[test]
fn an_unavailable_sink_uses_up_no_attempts_and_may_say_when_to_come_back() {
    let world = World::new();
    let answer = |_: &Batch| {
        let retry_after = Some(Duration::from_secs(30));
        Err(SendError::Unavailable { error: Arc::new(std::io::Error::other("throttled")), retry_after })
    };
    let producer = world.open(&SPEC, Duration::ZERO, answer);
    producer.put("x").unwrap();
    world.run(&producer, 100, Duration::from_secs(3));
    assert_eq!(world.tried(1), [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0]);
    let stats = producer.stats();
    assert_eq!((stats.head_attempts, stats.unavailable_attempts, stats.dead_letters), (0, 10, 0));
    assert_eq!(stats.state, State::Unavailable);
}

/// Each attempt was a warning, beside those of the outage; now they are one line when it begins, reminders that become
/// rare, and one line when it is over.
#[test]
fn an_outage_is_told_of_when_it_begins_now_and_then_and_when_it_ends() {
    let world = World::new();
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let answer = move |_: &Batch| match is_up.load(Ordering::Relaxed) {
        true => Ok(Report::delivered()),
        false => Err(SendError::unavailable("there is no such group")),
    };
    let producer = world.open(&[("schedule_waits", "30")], Duration::ZERO, answer);
    world.hands.pass(Duration::from_secs(10));
    producer.put("a").unwrap();
    producer.put("b").unwrap();
    assert_eq!(producer.stats().unavailable_since, 1_700_000_010_000_000);
    world.run(&producer, 60 * 30, Duration::from_secs(10));
    let minutes: Vec<f64> = world.told("sink_down").iter().map(|(at, _)| (at - 10.0) / 60.0).collect();
    assert_eq!(minutes, [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 124.0, 184.0, 244.0]);
    let told = world.told("sink_down");
    assert_eq!(told[0].1, "sink unavailable, next attempt in 30.000s; 1 records wait: there is no such group");
    let long = "sink unavailable, for 1h 4m now (129 attempts); 2 records wait: there is no such group";
    assert_eq!(told[7].1, long);

    up.store(true, Ordering::Relaxed);
    world.run(&producer, 6, Duration::from_secs(10));
    let stats = producer.stats();
    assert_eq!((stats.pending_records, stats.unavailable_since), (0, 0));
    assert_eq!(world.told("sink_down").len(), 11);
    let up = world.told("sink_up");
    assert_eq!(up.len(), 1, "{up:?}");
    assert_eq!(up[0].1, "sink up again, after 5h (600 attempts)");
    // All that somebody sees who listens from warnings on.
    assert_eq!(world.warnings().len(), 12);
}

/// Failures count and end in the dead letters; until then they are told of as an outage is, and what could be sent
/// meanwhile ends it.
#[test]
fn a_sink_that_fails_is_told_of_once() {
    let world = World::new();
    let poison = |batch: &Batch| match batch.first_seq() {
        1 => Err(SendError::failed("bad")),
        _ => Ok(Report::delivered()),
    };
    let producer = world.open(&SPEC, Duration::ZERO, poison);
    producer.put("poison").unwrap();
    producer.put("next").unwrap();
    world.run(&producer, 40, TICK);
    assert_eq!(producer.stats().unavailable_since, 0);
    let warnings = world.warnings();
    let names: Vec<&str> = warnings.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names, ["sink_down", "skipped", "sink_up"]);
    assert_eq!(warnings[0].2, "sink failing, next attempt in 1.000s; 1 records wait: bad");
    assert_eq!((world.told("send_failed").len(), warnings[2].2.as_str()), (4, "sink up again, after 7s (4 attempts)"));
}

#[test]
fn count_unavailable_takes_the_cap_literally() {
    let world = World::new();
    let options = [SPEC[0], SPEC[1], ("count_unavailable", "true")];
    let producer = world.open(&options, Duration::ZERO, |_: &Batch| Err(SendError::unavailable("down")));
    producer.put("x").unwrap();
    world.run(&producer, 60, TICK);
    assert_eq!(world.tried(1), [0.0, 1.0, 3.0, 7.0]);
    assert_eq!(producer.stats().skipped_records, 1);
}

#[test]
fn jitter_spreads_the_waits_by_the_random_number() {
    let world = World::new();
    // The random number of these tests is near 0: no wait to speak of.
    let producer = world.open(&[SPEC[0], SPEC[1], ("jitter", "full")], Duration::ZERO, fail);
    producer.put("x").unwrap();
    world.run(&producer, 10, TICK);
    assert_eq!(world.tried(1), [0.0, 0.0, 0.25, 0.5]);
}

#[test]
fn a_batch_lingers_from_its_oldest_record() {
    let world = World::new();
    let options = [("max_records", "100"), ("linger", "2")];
    let producer = world.open(&options, Duration::ZERO, |_: &Batch| Ok(Report::delivered()));
    producer.put("1").unwrap();
    world.hands.pass(Duration::from_millis(1999));
    producer.put("2").unwrap();
    assert!(world.tried(1).is_empty());
    world.hands.jump(3600);
    assert!(world.tried(1).is_empty(), "the wall clock has no say");
    world.hands.pass(Duration::from_millis(1));
    producer.put("3").unwrap();
    assert_eq!(world.tried(1), [2.0]);
    assert_eq!(producer.stats().delivered_records, 3);
}

/// Records that became too old during an outage are not sent when it is over: they go where the option says, counted and told.
#[test]
fn what_is_too_old_is_not_sent() {
    for on_expired in ["dead_letter", "drop"] {
        let world = World::new();
        let is_down = Arc::new(AtomicBool::new(true));
        let down = is_down.clone();
        let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
        let taking = taken.clone();
        let options = [("max_age", "1h"), ("on_expired", on_expired), ("max_records", "4"), ("max_attempts", "0")];
        let producer = world.open(&options, Duration::ZERO, move |batch| {
            if down.load(Ordering::SeqCst) {
                return Err(SendError::unavailable("down"));
            }
            taking.lock().unwrap().extend(batch.iter().map(|record| record.seq));
            Ok(Report::delivered())
        });
        // Eight records, ten minutes apart: batches of four.
        for _ in 0..8 {
            producer.put(b"12345").unwrap();
            world.run(&producer, 10, Duration::from_secs(60));
        }
        // 80 minutes after the first: it, the second and the third are older than an hour.
        is_down.store(false, Ordering::SeqCst);
        world.run(&producer, 4, Duration::from_secs(1));
        assert_eq!(*taken.lock().unwrap(), [4, 5, 6, 7, 8], "{on_expired}");
        let stats = producer.stats();
        assert_eq!((stats.expired_records, stats.expired_bytes, stats.pending_records), (3, 15, 0), "{on_expired}");
        let letters = producer.dead_letters().list().unwrap();
        let buried: Vec<u64> = letters.iter().flat_map(|letter| &letter.records).map(|record| record.seq).collect();
        let told = world.told("expired");
        assert!(!told.is_empty(), "{on_expired}");
        if on_expired == "drop" {
            assert_eq!(buried, [] as [u64; 0]);
            assert!(told[0].1.ends_with("dropped"), "{told:?}");
        } else {
            assert_eq!(buried, [1, 2, 3]);
            assert!(letters[0].records[0].reason.contains("max_age"), "{letters:?}");
        }
    }
}

/// A record's own time of expiry counts once the options say what becomes of it.
#[test]
fn a_record_expires_by_its_own_time() {
    for (on_expired, expected) in [("auto", 3), ("dead_letter", 2), ("drop", 2)] {
        let world = World::new();
        let options = [("on_expired", on_expired), ("max_records", "3")];
        let producer = world.open(&options, Duration::ZERO, |_| Ok(Report::delivered()));
        let now = world.hands.wall();
        for expires_at in [None, Some(now - 1), Some(now + 1_000_000)] {
            producer.put(NewRecord { expires_at, ..NewRecord::new(b"x") }).unwrap();
        }
        world.run(&producer, 3, Duration::from_millis(1));
        let stats = producer.stats();
        assert_eq!((stats.delivered_records, stats.expired_records), (expected, 3 - expected), "{on_expired}");
        assert_eq!((stats.pending_records, stats.dead_letters), (0, u64::from(on_expired == "dead_letter")));
        for letter in producer.dead_letters().list().unwrap() {
            // It was never tried: its times are that of the letter, not the beginning of time.
            let times = (letter.attempts, letter.first_attempt, letter.last_attempt);
            assert_eq!(times, (0, letter.created_at, letter.created_at));
        }
    }
}

/// A backlog is sent no faster than the options say, by records and by bytes.
#[test]
fn a_backlog_is_sent_at_the_rate() {
    for (key, rate, seconds) in [("max_rate_records", "10", 9.0), ("max_rate_bytes", "500", 18.0)] {
        let world = World::new();
        let options = [(key, rate), ("max_records", "10")];
        let producer = world.open(&options, Duration::ZERO, |_| Ok(Report::delivered()));
        for _ in 0..100 {
            producer.put(&[b'x'; 100]).unwrap();
        }
        world.run(&producer, 1000, Duration::from_millis(100));
        assert_eq!(producer.stats().pending_records, 0);
        let attempts = world.attempts.lock().unwrap();
        let (first, last) = (attempts[0].0, attempts[attempts.len() - 1].0);
        assert!((last - first - seconds).abs() < 1.0, "{key}: {} s for nine batches of ten", last - first);
    }
}

/// One lane is down for an hour, over a restart. The others deliver all that is put, second by second; what is kept in memory
/// does not grow with what waits; and when it is well again, it gets its records once and in order.
#[test]
fn a_lane_that_fails_for_an_hour_holds_no_other() {
    const LANES: u32 = 4;
    let world = World::new();
    let keys: Vec<String> = (0..LANES)
        .map(|lane| {
            (0..).map(|number: u32| number.to_string()).find(|key| lane_of(Some(key.as_bytes()), 0, LANES) == lane)
        })
        .map(Option::unwrap)
        .collect();
    let down = Arc::new(AtomicBool::new(true));
    let taken: Arc<Mutex<Vec<Vec<u64>>>> = Arc::new(Mutex::new(vec![Vec::new(); LANES as usize]));
    let open = || {
        let (down, taken, sick) = (down.clone(), taken.clone(), keys[1].clone());
        let lanes = LANES.to_string();
        let options = [("order", "key"), ("max_in_flight", &*lanes), ("max_records", "100"), ("linger", "1")];
        world.open(&options, Duration::ZERO, move |batch| {
            let key = batch.get(0).and_then(|record| record.key).unwrap();
            assert!(batch.iter().all(|record| record.key == Some(key)), "a lane has one key here");
            if down.load(Ordering::SeqCst) && key == sick.as_bytes() {
                return Err(SendError::unavailable("down"));
            }
            let lane = lane_of(Some(key), 0, LANES) as usize;
            taken.lock().unwrap()[lane].extend(batch.iter().map(|record| record.seq));
            Ok(Report::delivered())
        })
    };
    let (mut producer, mut put) = (open(), vec![Vec::new(); LANES as usize]);
    let work = |producer: &Producer| while producer.inner().shared.send_one().unwrap().is_none() {};
    for second in 0..3600 {
        for (key, put) in keys.iter().zip(&mut put) {
            put.push(producer.put(NewRecord { key: Some(key.as_bytes()), ..NewRecord::new(b"x") }).unwrap());
        }
        world.hands.pass(Duration::from_secs(1));
        work(&producer);
        let taken = taken.lock().unwrap();
        for lane in [0, 2, 3] {
            assert_eq!(taken[lane], put[lane], "lane {lane} at second {second}");
        }
        assert!(taken[1].is_empty());
        assert_eq!(producer.stats().pending_records, put[1].len() as u64);
        let core = producer.inner().shared.core();
        let (read, at_hand) = core.batches_read();
        assert!(read <= put[1].len() && at_hand <= LANES as usize + 1, "{at_hand} of {read} batches are in memory");
        if second == 1800 {
            drop(taken);
            producer.close(Duration::ZERO).unwrap();
            producer = open();
        }
    }
    let attempts = producer.stats().unavailable_attempts;
    assert!((10..120).contains(&attempts), "{attempts} attempts in half an hour: at most one a minute or so");
    down.store(false, Ordering::SeqCst);
    world.hands.pass(Duration::from_secs(60));
    work(&producer);
    assert_eq!(*taken.lock().unwrap(), put);
    assert_eq!((producer.stats().pending_records, producer.stats().dead_letters), (0, 0));
}

/// Other lanes get only so many batches ahead as the option says; and no batch is read that could not go out.
#[test]
fn lanes_get_so_far_ahead_and_no_further() {
    let world = World::new();
    let lanes = [("order", "key"), ("max_in_flight", "2"), ("max_batches_ahead", "5")];
    let options = [&lanes[..], &[("max_records", "2"), ("max_attempts", "0")]].concat();
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let producer = world.open(&options, Duration::ZERO, move |batch| match batch.id.lane {
        Some(1) if !is_well.load(Ordering::SeqCst) => Err(SendError::failed("not this lane")),
        _ => Ok(Report::delivered()),
    });
    // Without keys lanes go by seq: a batch has two records of one and one of the other.
    for _ in 0..18 {
        let _ = producer.put(b"x").unwrap();
    }
    world.run(&producer, 50, Duration::from_millis(1));
    let core = producer.inner().shared.core();
    assert_eq!((core.batches_read().0, producer.stats().delivered_records), (5, 7));
    well.store(true, Ordering::SeqCst);
    world.run(&producer, 100, Duration::from_secs(60));
    assert_eq!((producer.stats().delivered_records, producer.stats().pending_records), (18, 0));
}
