//! Outboxes: slots whose process has died, adopted by producers of several threads, each record delivered by one of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::batch::Batch;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::options::{Durability, Mode, Options};
use crate::platform::sync::thread;
use crate::producer::{Builder, Producer};
use crate::sink::{self, Report};
use crate::torture::threads::run::{HOUR, Run, join, locked, spawn};

const DIR: &str = "/data/outbox";
/// Longer than an adopted slot may come to nothing.
const LONG_AGO: Duration = Duration::from_secs(31);

/// How often each record was delivered.
type Delivered = Arc<Mutex<BTreeMap<String, usize>>>;

fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned()).collect()
}

fn deliver(delivered: &Delivered, batch: &Batch) {
    let mut delivered = locked(delivered);
    texts(batch).into_iter().for_each(|text| *delivered.entry(text).or_default() += 1);
}

/// A producer of a process of its own.
fn builder(run: &Run, process: u64, options: &Options, threads: bool) -> Builder {
    let mut env = run.environment(threads);
    env.disk = Arc::new(run.disk.of_process(process));
    Producer::builder(DIR).options(Options { shared: true, ..options.clone() }).environment(env)
}

/// Leaves so many slots with some records each, whose processes have died. Returns what is in them.
fn leave(run: &Run, options: &Options, slots: u64) -> Vec<String> {
    let options = Options { mode: Mode::Manual, ..options.clone() };
    let mut all = Vec::new();
    let mut dead = Vec::new();
    for process in 0..slots {
        let opened = builder(run, 100 + process, &options, false).open_manual(Limits::default());
        let producer = run.expect("opening", opened);
        for number in 0..3 {
            let text = format!("dead {process} {number}");
            run.expect("putting", producer.put(&*text));
            all.push(text);
        }
        dead.push(producer);
    }
    for (producer, process) in dead.into_iter().zip(0..) {
        std::mem::forget(producer);
        run.disk.kill(100 + process);
    }
    all
}

/// Every record once, and no slot left.
fn account(run: &Run, delivered: &Delivered, expected: &[String]) {
    let delivered = locked(delivered);
    for text in expected {
        match delivered.get(text) {
            Some(1) => {}
            Some(times) => run.fail(format!("{text:?} was delivered {times} times")),
            None => run.fail(format!("{text:?} was not delivered")),
        }
    }
    let slots = run.disk.files(std::path::Path::new(DIR));
    if let Some((path, _)) = slots.iter().find(|(path, _)| path.to_string_lossy().contains("/slot-")) {
        run.fail(format!("{} is left", path.display()));
    }
}

/// Two processes with senders of their own adopt what others have left, while they put and one of them closes.
pub(super) fn adoption(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Os;
    options.max_in_flight = run.one_of(&[1, 2]);
    options.max_records = 2;
    let mut expected = leave(run, &options, 2);
    let delivered = Delivered::default();
    let open = |process| {
        let delivered = delivered.clone();
        let sink = sink::from_fn(move |batch: &Batch| deliver(&delivered, batch));
        Arc::new(run.expect("opening", builder(run, process, &options, true).open(sink)))
    };
    let producers = [open(1), open(2)];
    let mut threads = Vec::new();
    for (producer, name) in producers.iter().cloned().zip(["a", "b"]) {
        let texts = [0, 1].map(|number| format!("own {name} {number}"));
        expected.extend(texts.clone());
        threads.push(spawn(move || {
            for text in texts {
                assert!(producer.put(&*text).is_ok(), "a put was refused");
            }
            let stats = producer.stats();
            assert!(stats.slots >= 1 && stats.adopted_slots <= 4, "{stats:?}");
        }));
    }
    join(threads);
    let [first, second] = producers;
    let closing = spawn(move || assert!(first.close(HOUR).is_ok_and(|left| left == 0), "closing"));
    run.expect("draining", second.drain(HOUR));
    join([closing]);
    // What the one had adopted when it closed the other gets.
    run.expect("draining", second.drain(HOUR));
    assert_eq!(run.expect("closing", second.close(HOUR)), 0);
    account(run, &delivered, &expected);
}

/// Two threads of a program in manual mode take what was adopted and answer for it, also long after: a slot is not given back between
/// the look at it and the taking of its batch.
pub(super) fn manual_adoption(run: &Run) {
    let mut options = run.options();
    options.durability = Durability::Os;
    options.mode = Mode::Manual;
    options.max_records = 1;
    let expected = leave(run, &options, 2);
    let delivered = Delivered::default();
    let opened = builder(run, 1, &options, true).open_manual(Limits::default());
    let producer = Arc::new(run.expect("opening", opened));
    let takes = || {
        let (producer, delivered) = (producer.clone(), delivered.clone());
        spawn(move || {
            for _ in 0..8 {
                let _ = producer.next_wait();
                let Ok(Some(batch)) = producer.next_batch() else {
                    thread::sleep(LONG_AGO);
                    continue;
                };
                let settled = producer.settle(batch.clone(), Ok(Report::delivered()));
                match settled {
                    Ok(()) => deliver(&delivered, &batch),
                    Err(error) => panic!("a batch that was handed out waits for no answer: {error}"),
                }
            }
        })
    };
    join([takes(), takes()]);
    for _ in 0..100 {
        match run.expect("taking", producer.next_batch()) {
            Some(batch) => {
                run.expect("settling", producer.settle(batch.clone(), Ok(Report::delivered())));
                deliver(&delivered, &batch);
            }
            None => thread::sleep(LONG_AGO),
        }
        if locked(&delivered).len() == expected.len() {
            break;
        }
    }
    match producer.drain(HOUR) {
        Err(error) if error.kind() != ErrorKind::Timeout => run.fail(format!("draining: {error}")),
        _ => {}
    }
    assert_eq!(run.expect("closing", producer.close(HOUR)), 0);
    account(run, &delivered, &expected);
}
