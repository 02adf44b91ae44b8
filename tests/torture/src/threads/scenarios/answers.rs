//! Batches that are answered by several threads, and what follows from the answers: stopping, resuming, dead letters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::LARGE;
use crate::batch::Batch;
use crate::error::ErrorKind;
use crate::options::{Durability, Mode, OnExhausted, Order};
use crate::platform::simulated::Crash;
use crate::platform::sync::scheduled;
use crate::producer::Producer;
use crate::sink::{Report, SendError};
use crate::torture::threads::run::{Mood, Run, join, locked, spawn};

/// Lanes beside each other, of which some fail and wait: what is put goes on, and each key keeps its order.
pub(super) fn lanes(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    options.order = Order::Key;
    options.max_in_flight = run.one_of(&[2, 3]);
    options.max_batches_ahead = run.one_of(&[1, 2, 4096]);
    options.max_records = run.one_of(&[1, 2]);
    options.max_attempts = 2;
    options.linger = run.one_of(&[Duration::ZERO, crate::options::NEVER]);
    let producer = run.open(&options);
    run.take_pictures(if options.durability == Durability::Os { &[Crash::Kill] } else { &[Crash::Kill, Crash::Power] });
    run.set_mood(run.one_of(&[Mood::Good, Mood::Mixed]));
    let mut threads = run.putters(&producer, 2, &[10, LARGE, 10, 10]);
    let looking = producer.clone();
    threads.push(spawn(move || {
        let stats = looking.stats();
        assert!(stats.pending_records <= stats.put_records, "{stats:?}");
    }));
    join(threads);
    if run.below(2) == 0 {
        run.flush_soon(&producer);
    }
    run.settle_accounts(producer);
}

/// Several send at a rate: one batch at a time, each when its time has come, however many threads look for one.
pub(super) fn rate(run: &Run) {
    const BETWEEN: Duration = Duration::from_millis(1);
    let mut options = run.options();
    options.order = Order::None;
    options.max_in_flight = 3;
    options.max_records = 1;
    options.max_rate_records = 1000;
    let producer = run.open(&options);
    join(run.putters(&producer, 2, &[10, 10, 10]));
    run.expect("flushing", run.flush(&producer));
    let elapsed = scheduled::elapsed();
    if elapsed < BETWEEN * 5 {
        locked(&run.ledger).violate(format!("six records of a thousand a second went out within {elapsed:?}"));
    }
    run.settle_accounts(producer);
}

/// Manual mode: threads take all that they find, and one asks for the descriptor meanwhile. Whatever comes in between what, the
/// descriptor is readable in the end if there is a batch that nobody has seen.
pub(super) fn readiness(run: &Run) {
    let mut options = run.options();
    options.mode = Mode::Manual;
    options.durability = Durability::Os;
    options.max_records = 1;
    options.max_in_flight = run.one_of(&[1, 2]);
    options.order = Order::None;
    options.linger = run.one_of(&[Duration::from_millis(5), crate::options::NEVER]);
    let producer = run.open(&options);
    let mut threads = run.putters(&producer, 2, &[10, 10, 10]);
    for _ in 0..2 {
        let (ledger, producer) = (run.ledger.clone(), producer.clone());
        threads.push(spawn(move || {
            for _ in 0..3 {
                let _ = producer.fd().expect("there is a descriptor");
                while let Some(batch) = producer.next_batch().expect("it runs") {
                    locked(&ledger).arrive(&batch);
                    let answer = Ok(Report::delivered());
                    {
                        let mut ledger = locked(&ledger);
                        ledger.look(&batch);
                        ledger.answer(&batch, &answer);
                    }
                    producer.settle(batch, answer).expect("it is heard");
                }
                scheduled::pause();
            }
        }));
    }
    join(threads);
    if producer.next_wait() == Some(Duration::ZERO) {
        // Real time: it is readable already, unless this is the failure.
        let within = rustix::time::Timespec { tv_sec: 2, tv_nsec: 0 };
        let fd = producer.fd().expect("there is a descriptor");
        let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut polled, Some(&within)) != Ok(1) {
            locked(&run.ledger).violate("there is a batch, and who polls is not told".into());
        }
    }
    drop(producer.close(Duration::ZERO));
    run.settle_accounts(producer);
}

/// Manual mode: the program's threads take batches and settle them, until one closes. Of two that answer for one at the same
/// time one is heard; a late answer, also one of an attempt before, is not.
pub(super) fn manual(run: &Run) {
    let mut options = run.options();
    options.mode = Mode::Manual;
    options.durability = run.one_of(&[Durability::Always, Durability::Os]);
    options.max_in_flight = run.one_of(&[1, 2]);
    options.max_attempts = 2;
    let producer = run.open(&options);
    run.take_pictures(&[Crash::Kill]);
    let closes = run.below(2) == 0;
    let mut threads = run.putters(&producer, 2, &[10, LARGE, 10]);
    for _ in 0..2 {
        let (ledger, producer, sink) = (run.ledger.clone(), producer.clone(), run.sink(1));
        threads.push(spawn(move || {
            let mut answered: Option<Batch> = None;
            for turn in 0..4 {
                let _ = producer.next_wait();
                if let Some(batch) = answered.take()
                    && producer.settle(batch, Ok(Report::delivered())).is_ok()
                {
                    locked(&ledger).violate("a late answer was heard".into());
                }
                match producer.next_batch() {
                    Ok(Some(batch)) => {
                        locked(&ledger).arrive(&batch);
                        scheduled::pause();
                        let answer = sink.decide(batch.len());
                        let again = batch.clone();
                        {
                            let mut ledger = locked(&ledger);
                            ledger.look(&batch);
                            ledger.answer(&batch, &answer);
                        }
                        let heard = if turn % 2 == 0 {
                            answer_twice(&producer, batch, answer)
                        } else {
                            usize::from(producer.settle(batch, answer).is_ok())
                        };
                        match heard {
                            0 => locked(&ledger).not_taken(&again),
                            1 => {}
                            _ => locked(&ledger).violate("two answers were heard".into()),
                        }
                        answered = Some(again);
                    }
                    Ok(None) => scheduled::pause(),
                    Err(_) => return,
                }
            }
        }));
    }
    if closes {
        let closing = producer.clone();
        threads.push(spawn(move || drop(closing.close(Duration::from_millis(1)))));
    }
    let looking = producer.clone();
    threads.push(spawn(move || {
        let stats = looking.stats();
        assert!(stats.pending_records <= stats.put_records, "{stats:?}");
    }));
    run.set_mood(run.one_of(&[Mood::Good, Mood::Mixed]));
    join(threads);
    drop(producer.close(Duration::ZERO));
    run.settle_accounts(producer);
}

/// Two threads give the same answer at the same time. Returns how many were heard.
fn answer_twice(producer: &Arc<Producer>, batch: Batch, answer: Result<Report, SendError>) -> usize {
    let heard = Arc::new(Mutex::new(0));
    let answers = [(batch.clone(), answer.clone()), (batch, answer)].map(|(batch, answer)| {
        let (producer, heard) = (producer.clone(), heard.clone());
        spawn(move || {
            if producer.settle(batch, answer).is_ok() {
                *locked(&heard) += 1;
            }
        })
    });
    join(answers);
    *locked(&heard)
}

/// The sink fails until the producer stops; somebody resumes it, while others put.
pub(super) fn raise_and_resume(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Os]);
    options.on_exhausted = OnExhausted::Raise;
    options.max_attempts = 1;
    let producer = run.open(&options);
    run.take_pictures(&[Crash::Kill]);
    run.set_mood(Mood::Fails);
    let mut threads = run.putters(&producer, 2, &[10, 10, 10]);
    let (resuming, ledger, mood) = (producer.clone(), run.ledger.clone(), run.mood.clone());
    threads.push(spawn(move || {
        for _ in 0..3 {
            let _ = resuming.resume();
            scheduled::pause();
        }
        *locked(&mood) = Mood::Good;
        if let Err(error) = resuming.resume() {
            locked(&ledger).violate(format!("resuming: {error}"));
        }
    }));
    join(threads);
    // An attempt that began before the sink was well again may have stopped it once more.
    loop {
        match run.flush(&producer) {
            Err(error) if error.kind() == ErrorKind::RetriesExhausted => run.expect("resuming", producer.resume()),
            result => break run.expect("flushing", result),
        }
    }
    run.expect_soon();
    run.settle_accounts(producer);
}

/// Dead letters go back into the buffer beside puts.
pub(super) fn replay(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    let producer = run.open(&options);
    locked(&run.ledger).replaying();
    run.set_mood(Mood::Rejects);
    let putters = run.putters(&producer, 2, &[10, 10]);
    join(putters);
    run.flush_soon(&producer);
    run.take_pictures(&[Crash::Kill]);
    run.set_mood(Mood::Good);
    let mut threads = run.putters(&producer, 1, &[10, LARGE]);
    for _ in 0..2 {
        let (ledger, producer) = (run.ledger.clone(), producer.clone());
        threads.push(spawn(move || {
            for letter in producer.dead_letters().list().unwrap_or_default() {
                match producer.replay_dead_letter(&letter.id) {
                    Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InUse) => {
                        locked(&ledger).violate(format!("replaying: {error}"));
                    }
                    _ => {}
                }
            }
        }));
    }
    join(threads);
    run.flush_soon(&producer);
    run.settle_accounts(producer);
}
