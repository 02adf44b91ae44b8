//! What programs do with several threads.

mod answers;
mod endings;
mod slots;

use std::time::Duration;

use answers::{lanes, manual, raise_and_resume, rate, readiness, replay};
use endings::{closing, closing_a_buffer, dropping};
use slots::{adoption, manual_adoption};

use super::run::{HOUR, Mood, Run, SOON, join, locked, spawn};
use super::scheduler::current;
use crate::options::Durability;
use crate::platform::simulated::{Crash, Fault, Trouble};
use crate::platform::sync::{scheduled, thread};

/// The scenarios and their names.
pub(super) const SCENARIOS: [(&str, fn(&Run)); 22] = [
    ("everything at once", everything_at_once),
    ("group commit", group_commit),
    ("a sync that fails", a_sync_that_fails),
    ("waiting for space", waiting_for_space),
    ("a disk with no space to spare", a_disk_with_no_space_to_spare),
    ("a full batch or none", waiting_for_an_open_batch),
    ("flushes", flushes),
    ("interval", interval),
    ("a put as the maintenance thread goes to sleep", a_put_as_maintenance_goes_to_sleep),
    ("linger", linger),
    ("giving space back", giving_space_back),
    ("closing", closing),
    ("closing a buffer", closing_a_buffer),
    ("dropping", dropping),
    ("manual", manual),
    ("readiness", readiness),
    ("raise and resume", raise_and_resume),
    ("replay", replay),
    ("lanes", lanes),
    ("a rate", rate),
    ("adoption", adoption),
    ("adoption in manual mode", manual_adoption),
];

const LARGE: usize = 25_000;
const CRASHES: [Crash; 2] = [Crash::Kill, Crash::Power];

/// Puts, seals, syncs, statistics and a sink of changing moods; then a close, mostly in the midst of it.
fn everything_at_once(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    options.max_records = run.one_of(&[1, 2, 3]);
    options.max_attempts = 2;
    options.linger = run.one_of(&[Duration::ZERO, Duration::from_millis(5), crate::options::NEVER]);
    options.max_in_flight = run.one_of(&[1, 1, 2, 3]);
    let producer = run.open(&options);
    run.take_pictures(if options.durability == Durability::Os { &[Crash::Kill] } else { &CRASHES });
    run.set_mood(run.one_of(&[Mood::Good, Mood::Mixed]));
    let lens = [[10, LARGE, 10], [100, 10, 3], [LARGE, LARGE, LARGE]][run.below(3)];
    let mut threads = run.putters(&producer, 2, &lens);
    let syncing = producer.clone();
    threads.push(syncer(run, 1, move || syncing.sync()));
    let sealing = producer.clone();
    threads.push(spawn(move || {
        for _ in 0..2 {
            let _ = sealing.begin_flush();
            let _ = sealing.stats();
        }
    }));
    match run.below(3) {
        0 => join(threads),
        1 => {
            run.expect_open("closing at once", producer.close(HOUR));
            join(threads);
        }
        _ => {
            let closing = producer.clone();
            threads.push(spawn(move || drop(closing.close(Duration::ZERO))));
            join(threads);
        }
    }
    run.settle_accounts(producer);
}

/// A thread that syncs so many times: what was accepted before survives a power loss.
fn syncer(run: &Run, times: usize, sync: impl Fn() -> crate::error::Result<()> + Send + 'static) -> thread::JoinHandle {
    let ledger = run.ledger.clone();
    spawn(move || {
        for _ in 0..times {
            let before = locked(&ledger).accepted();
            if sync().is_ok() {
                locked(&ledger).synced(&before);
            }
        }
    })
}

/// What `put` returned under `always` survives a power loss at any later instant.
fn group_commit(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Always;
    options.max_records = run.one_of(&[1, 2, 100]);
    let producer = run.open(&options);
    run.take_pictures(&[Crash::Power]);
    let len = run.one_of(&[10, LARGE]);
    let putters = run.putters(&producer, 3, &[len, 10]);
    join(putters);
    run.flush_soon(&producer);
    run.settle_accounts(producer);
}

/// A sync fails, for whoever did it and for all who waited for it: nobody is told that a record is durable that is not.
fn a_sync_that_fails(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Always;
    options.max_records = run.one_of(&[1, 2, 100]);
    let producer = run.open(&options);
    locked(&run.ledger).no_memos = true;
    // Of what these threads do only syncs are interrupted.
    let at = run.disk.operations().0 + run.below(12) as u64;
    run.disk.set_fault(Some(Fault { at, trouble: Trouble::Errno(libc::EINTR), lasts: true }));
    join(run.putters(&producer, 3, &[10, 10]));
    run.lose_power();
    let _ = producer.close(Duration::ZERO);
    run.check();
    for crash in CRASHES {
        run.crash(crash);
    }
    drop(producer);
    run.settle_crashes(&options);
}

/// The disk has room for what the log may take, and no more. A file that was removed while it was synced takes its room until
/// then; nobody is refused for that.
fn a_disk_with_no_space_to_spare(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval]);
    options.sync_interval = Duration::from_millis(1);
    // Every record needs a segment of its own, and three are all that there may be: one that is being synced may be finished
    // before the next is needed.
    options.max_buffer_bytes = 256 << 10;
    options.max_records = 1;
    let producer = run.open(&options);
    run.disk.set_free_blocks((options.max_buffer_bytes - options.segment_bytes) / 4096);
    let mut threads = run.putters(&producer, 3, &[70_000; 4]);
    let syncing = producer.clone();
    threads.push(syncer(run, 4, move || syncing.sync()));
    join(threads);
    locked(&run.ledger).all_accepted();
    run.disk.set_free_blocks(u64::from(u32::MAX));
    run.expect("flushing", run.flush(&producer));
    run.settle_accounts(producer);
}

/// The log is full again and again: who waits for space goes on as soon as there is some.
fn waiting_for_space(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Os]);
    options.max_buffer_bytes = 256 << 10;
    options.max_records = run.one_of(&[1, 2]);
    options.max_in_flight = run.one_of(&[1, 2, 2]);
    let producer = run.open(&options);
    let putters = run.putters(&producer, 2, &[LARGE; 8]);
    join(putters);
    run.flush_soon(&producer);
    run.settle_accounts(producer);
}

/// The log is full of records in a batch that is not: it is sealed and sent.
fn waiting_for_an_open_batch(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Os;
    options.max_buffer_bytes = 256 << 10;
    options.max_records = 1000;
    options.max_bytes = 1 << 30;
    let producer = run.open(&options);
    let putters = run.putters(&producer, 2, &[LARGE; 8]);
    join(putters);
    run.flush_soon(&producer);
    run.settle_accounts(producer);
}

/// Several threads flush while others put. A flush is over when what was put before is finished, and not later.
fn flushes(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Os]);
    options.max_records = run.one_of(&[1, 2, 100]);
    options.max_in_flight = run.one_of(&[1, 3]);
    options.max_attempts = 2;
    let producer = run.open(&options);
    run.take_pictures(&[Crash::Kill]);
    run.set_mood(run.one_of(&[Mood::Good, Mood::Mixed]));
    let mut threads = Vec::new();
    for name in 0..2 {
        let putter = run.putter(&producer, name, vec![10, LARGE, 10]);
        let (ledger, producer) = (run.ledger.clone(), producer.clone());
        threads.push(putter);
        threads.push(spawn(move || {
            let before = locked(&ledger).accepted();
            match producer.flush(HOUR) {
                Ok(()) => locked(&ledger).flushed(&before),
                Err(error) => locked(&ledger).violate(format!("flushing: {error}")),
            }
        }));
    }
    join(threads);
    run.flush_soon(&producer);
    run.settle_accounts(producer);
}

/// Under `interval` a power loss costs no more than what was put since the last interval began.
fn interval(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Interval;
    options.sync_interval = Duration::from_millis(100);
    options.max_records = run.one_of(&[1, 100]);
    let producer = run.open(&options);
    run.set_mood(run.one_of(&[Mood::Good, Mood::Fails]));
    for round in 0..2 {
        // A single put, too: a second one would wake a maintenance thread that has missed the first.
        let (threads, lens) = run.one_of(&[(1, &[10][..]), (2, &[10, 10]), (2, &[10, LARGE])][round..]);
        join(run.putters(&producer, threads, lens));
        let before = locked(&run.ledger).accepted();
        let until = scheduled::now() + options.sync_interval;
        while scheduled::now() <= until {
            thread::sleep(options.sync_interval);
        }
        // In schedules that are not patient the maintenance thread may not have had its turn.
        if current().patient {
            locked(&run.ledger).synced(&before);
        }
        run.take_pictures(&CRASHES);
    }
    run.set_mood(Mood::Good);
    run.settle_accounts(producer);
}

/// A put at the moment in which the maintenance thread finds nothing to do, and no later put that would wake it: one
/// interval later the record is durable.
fn a_put_as_maintenance_goes_to_sleep(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Interval;
    options.sync_interval = Duration::from_millis(100);
    options.max_records = 100;
    let producer = run.open(&options);
    for _ in 0..3 {
        // The maintenance thread is awake: it syncs this at once, and one interval later it finds nothing more to do.
        join(run.putters(&producer, 1, &[10]));
        let (putting, pauses) = (producer.clone(), run.below(16));
        let put = move |data: &[u8]| {
            (0..pauses).for_each(|_| scheduled::pause());
            putting.put(data)
        };
        join([run.putter_with(put, false, options.sync_interval, 0, vec![10])]);
        thread::sleep(options.sync_interval + SOON);
        // In schedules that are not patient the maintenance thread may not have had its turn.
        if current().patient {
            let accepted = locked(&run.ledger).accepted();
            locked(&run.ledger).synced(&accepted);
            run.lose_power();
        }
    }
    run.settle_accounts(producer);
}

/// A batch that nobody fills goes out when it is old enough, and not later.
fn linger(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Os;
    options.linger = Duration::from_millis(5);
    let producer = run.open(&options);
    join(run.putters(&producer, run.one_of(&[1, 1, 3]), &[10]));
    let until = scheduled::now() + options.linger + Duration::from_millis(1);
    while scheduled::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    if current().patient && producer.stats().pending_records > 0 {
        locked(&run.ledger).violate("a batch is older than linger and was not sent".into());
    }
    run.settle_accounts(producer);
}

/// When nothing is put for a while, prepared and finished segments go; just then somebody puts, and needs one.
fn giving_space_back(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    options.max_records = 1;
    let producer = run.open(&options);
    join(run.putters(&producer, 1, &[LARGE, LARGE]));
    run.expect("flushing", run.flush(&producer));
    let mut threads = Vec::new();
    for name in 0..2 {
        let wait = Duration::from_millis(run.one_of(&[9_999, 10_000, 10_000, 10_500]));
        threads.push(run.putter_after(wait, &producer, name, vec![LARGE; run.one_of(&[1, 2, 2])]));
    }
    join(threads);
    run.expect("flushing", run.flush(&producer));
    // The maintenance thread may have looked just before and then waits once more; no put wakes it.
    thread::sleep(Duration::from_secs(25));
    let kept = producer.stats().buffer_bytes;
    if current().patient && kept > options.segment_bytes {
        locked(&run.ledger).violate(format!("drained and idle, it keeps {kept} bytes"));
    }
    run.settle_accounts(producer);
}
