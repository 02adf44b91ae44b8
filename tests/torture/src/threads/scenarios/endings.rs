//! Producers and buffers that are closed or dropped while others use them.

use std::time::Duration;

use super::{LARGE, syncer};
use crate::options::Durability;
use crate::platform::simulated::Crash;
use crate::platform::sync::scheduled;
use crate::torture::threads::run::{HOUR, Mood, Run, join, locked, spawn};

/// Two threads close while others put; both are told the same.
pub(super) fn closing(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    let producer = run.open(&options);
    run.take_pictures(&[Crash::Kill]);
    run.set_mood(run.one_of(&[Mood::Good, Mood::Fails]));
    let mut threads = run.putters(&producer, 2, &run.one_of(&[[10, LARGE, 10], [LARGE, LARGE, LARGE]]));
    let timeout = run.one_of(&[Duration::ZERO, Duration::from_millis(10)]);
    for _ in 0..2 {
        let (ledger, producer) = (run.ledger.clone(), producer.clone());
        threads.push(spawn(move || {
            let first = producer.close(timeout);
            let second = producer.close(HOUR);
            if let (Ok(first), Ok(second)) = (&first, &second)
                && first == second
            {
                return;
            }
            locked(&ledger).violate(format!("closed with {first:?}, then with {second:?}"));
        }));
    }
    join(threads);
    run.settle_accounts(producer);
}

/// A buffer closes while others put: what it took is durable then, and what comes later is refused.
pub(super) fn closing_a_buffer(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Interval;
    let buffer = run.open_buffer(&options);
    let mut threads = Vec::new();
    for name in 0..2 {
        let (putting, lens) = (buffer.clone(), run.one_of(&[[10; 4], [10, LARGE, 10, 10], [LARGE; 4]]));
        let put = move |data: &[u8]| putting.put(data);
        threads.push(run.putter_with(put, false, Duration::ZERO, name, lens.to_vec()));
    }
    let syncing = buffer.clone();
    threads.push(syncer(run, 1 + run.below(3), move || syncing.sync()));
    (0..run.below(10)).for_each(|_| scheduled::pause());
    run.expect("closing", buffer.close());
    join(threads);
    drop(buffer);
    run.settle_closed(&options);
}

/// The last one who has the producer drops it, which closes it.
pub(super) fn dropping(run: &Run) {
    let mut options = run.options();
    options.durability = run.one_of(&[Durability::Always, Durability::Interval, Durability::Os]);
    options.max_in_flight = run.one_of(&[1, 2]);
    let producer = run.open(&options);
    let putters = run.putters(&producer, 3, &[10, 10]);
    drop(producer);
    join(putters);
    // Nobody has it any more: it is there for the next one, with all that was accepted.
    run.drain(&options);
}
