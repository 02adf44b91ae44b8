//! Once: what comes again comes with the numbers that it had, and what ends that is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use unistream::sink::kafka::{KafkaSink, Once};
use unistream::{Builder, Event, Jitter, NewRecord, Order, Producer};

use crate::broker::{Cluster, Fault, Taken};
use crate::{LONG, sink};

/// The reasons of the events that say that once has ended.
type Ended = Arc<Mutex<Vec<String>>>;

fn builder(dir: &tempfile::TempDir, ended: &Ended) -> Builder {
    let ended = ended.clone();
    Producer::builder(dir.path().join("outbox"))
        .max_records(10)
        .linger(Duration::ZERO)
        .schedule_multiplier(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(10))
        .jitter(Jitter::None)
        .observer(move |event: &Event<'_>| {
            if let Event::OnceEnded { reason, .. } = event {
                ended.lock().unwrap().push((*reason).to_owned());
            }
        })
}

fn put(producer: &Producer, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let text = n.to_string();
        producer.put(NewRecord::from(&text).key(&[n as u8 % 7])).unwrap();
    }
}

/// A sink that gives up soon.
fn hasty(cluster: &Cluster) -> KafkaSink {
    sink(cluster).timeout(Duration::from_millis(300)).connect_timeout(Duration::from_millis(300)).build().unwrap()
}

fn all(numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut all: Vec<String> = numbers.map(|n| n.to_string()).collect();
    all.sort();
    all
}

fn arrived(cluster: &Cluster) -> Vec<String> {
    let mut values = cluster.values("t");
    values.sort();
    values
}

#[test]
fn every_record_arrives_once_through_faults_of_every_kind() {
    for (order, in_flight) in [(Order::Key, 8), (Order::Total, 1), (Order::None, 8)] {
        let cluster = Cluster::start(1, &[("t", 3)]);
        cluster.script((0..60).map(|n| match n % 8 {
            0 => Fault::CutAfter,
            1 => Fault::CutBefore,
            2 => Fault::Code(6),
            3 => Fault::Body(Vec::new()),
            4 => Fault::Raw(b"HTTP/1.1 502 Bad Gateway\r\n".to_vec()),
            5 => Fault::Code(19),
            6 => Fault::Silence,
            _ => Fault::None,
        }));
        let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
        let producer = builder(&dir, &ended).order(order).max_in_flight(in_flight).open(hasty(&cluster)).unwrap();
        put(&producer, 0..2000);
        producer.flush(LONG).unwrap();
        let stats = producer.stats();
        assert_eq!((stats.delivered_records, stats.dead_letters, stats.failed_attempts), (2000, 0, 0), "{stats:?}");
        assert_eq!(arrived(&cluster), all(0..2000), "{order:?}");
        assert!(ended.lock().unwrap().is_empty(), "{ended:?}");
    }
}

#[test]
fn without_numbers_the_same_is_there_twice() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.script([Fault::CutAfter]);
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let producer = builder(&dir, &ended).open(sink(&cluster).once(Once::None).build().unwrap()).unwrap();
    put(&producer, 0..1);
    producer.flush(LONG).unwrap();
    assert_eq!(arrived(&cluster), ["0", "0"]);
}

/// The process ends after the broker has taken a batch; the next one sends it again with the numbers that it had, whatever
/// happened to the topic.
#[test]
fn a_batch_keeps_its_numbers_across_a_restart() {
    let cluster = Cluster::start(1, &[("t", 3)]);
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    cluster.script(vec![Fault::Silence; 8]);
    let producer =
        builder(&dir, &ended).max_in_flight(1).order(Order::Total).open(sink(&cluster).build().unwrap()).unwrap();
    put(&producer, 0..10);
    while cluster.state().taken.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(producer.close(Duration::from_millis(10)).unwrap(), 10, "they are left");
    let before = cluster.state().taken.clone();
    cluster.state().topics.insert("t".into(), 5);
    *cluster.state().script() = Default::default();
    let producer =
        builder(&dir, &ended).max_in_flight(1).order(Order::Total).open(sink(&cluster).build().unwrap()).unwrap();
    put(&producer, 10..20);
    producer.flush(LONG).unwrap();
    assert_eq!(arrived(&cluster), all(0..20));
    let state = cluster.state();
    // A new batch has the same producer id, once the one before is finished, and another epoch.
    let numbers = |taken: &Taken| (taken.producer, taken.epoch);
    let (old, new): (Vec<_>, Vec<_>) = state.taken.iter().partition(|taken| before.contains(taken));
    assert!(old.iter().all(|old| new.iter().all(|new| numbers(new) > numbers(old))), "{old:?} {new:?}");
    let again = state.asked.iter().filter(|asked| before.contains(asked)).count();
    assert!(again > before.len(), "nothing came again");
    assert!(ended.lock().unwrap().is_empty(), "{ended:?}");
}

/// A batch that is given up leaves no gap for the next.
#[test]
fn what_was_given_up_holds_up_nobody() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.script(vec![Fault::Code(42); 3]);
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let producer =
        builder(&dir, &ended).max_attempts(3).order(Order::Total).open(sink(&cluster).build().unwrap()).unwrap();
    put(&producer, 0..10);
    producer.flush(LONG).unwrap();
    put(&producer, 10..40);
    producer.flush(LONG).unwrap();
    let stats = producer.stats();
    assert_eq!(stats.delivered_records + stats.skipped_records, 40);
    assert_eq!(arrived(&cluster).len() as u64, stats.delivered_records);
    assert!(stats.skipped_records > 0 && stats.delivered_records >= 30, "{stats:?}");
    assert!(ended.lock().unwrap().is_empty(), "{ended:?}");
    // As few ids as can be: one for what was given up, one for the rest.
    let ids: std::collections::BTreeSet<i64> = cluster.state().asked.iter().map(|asked| asked.producer).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn numbers_that_are_not_taken_are_told_of_and_replaced() {
    for code in [45, 47, 59] {
        let cluster = Cluster::start(1, &[("t", 1)]);
        cluster.script([Fault::Code(code)]);
        let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
        let producer = builder(&dir, &ended).open(sink(&cluster).build().unwrap()).unwrap();
        put(&producer, 0..1);
        producer.flush(LONG).unwrap();
        assert_eq!(arrived(&cluster), ["0"]);
        let ended = ended.lock().unwrap();
        assert!(ended.len() == 1 && ended[0].contains("numbers"), "{code}: {ended:?}");
        let state = cluster.state();
        assert_ne!(state.asked[0].producer, state.asked[1].producer);
    }
}

#[test]
fn a_batch_that_waited_for_longer_than_brokers_remember_is_told_of() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.script(vec![Fault::Code(19); 150]);
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let expiring = sink(&cluster).producer_id_expiration(Duration::from_secs(1)).build().unwrap();
    let producer = builder(&dir, &ended).schedule_min(Duration::from_millis(10)).open(expiring).unwrap();
    put(&producer, 0..1);
    producer.flush(LONG).unwrap();
    assert_eq!(arrived(&cluster), ["0"]);
    let ended = ended.lock().unwrap();
    assert!(ended.iter().any(|reason| reason.contains("forgotten")), "{ended:?}");
}

/// Brokers count from the times of the records, so that they may forget at once what is old already.
#[test]
fn an_old_batch_that_comes_again_is_told_of_and_one_that_comes_for_the_first_time_is_not() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let producer = builder(&dir, &ended).open(sink(&cluster).build().unwrap()).unwrap();
    let week_ago = std::time::SystemTime::now() - Duration::from_secs(7 * 86_400);
    let micros = week_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    producer.put(NewRecord::from("0").created_at(micros)).unwrap();
    producer.flush(LONG).unwrap();
    assert!(ended.lock().unwrap().is_empty(), "{ended:?}");
    cluster.script([Fault::CutAfter]);
    producer.put(NewRecord::from("1").created_at(micros)).unwrap();
    producer.flush(LONG).unwrap();
    let ended = ended.lock().unwrap();
    assert!(ended.len() == 1 && ended[0].contains("forgotten"), "{ended:?}");
    assert_eq!(arrived(&cluster), all(0..2));
}

/// A part of a batch that is too large for the topic has no numbers that are kept: the process remembers them.
#[test]
fn a_part_whose_answer_is_lost_comes_again_as_it_was() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.state().most = 400;
    // All of the batch is refused; the half is taken, and nothing is heard of it in several attempts.
    cluster.script([Fault::None].into_iter().chain(vec![Fault::CutAfter; 14]));
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let producer = builder(&dir, &ended).max_records(40).linger(Duration::from_millis(100)).order(Order::Total);
    let producer = producer.open(sink(&cluster).build().unwrap()).unwrap();
    put(&producer, 0..40);
    producer.flush(LONG).unwrap();
    assert_eq!(arrived(&cluster), all(0..40));
    assert!(cluster.state().script().is_empty(), "the test lost too few answers");
    let ended = ended.lock().unwrap();
    assert!(!ended.is_empty() && ended.iter().all(|why| why.contains("this process ends")), "{ended:?}");
}

/// The same, and the process ends before the answer comes.
#[test]
fn a_part_whose_answer_is_lost_is_told_of() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.state().most = 400;
    cluster.script([Fault::None, Fault::CutAfter].into_iter().chain(vec![Fault::CutBefore; 1000]));
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    let open = || {
        let producer = builder(&dir, &ended).max_records(40).linger(Duration::from_millis(100)).order(Order::Total);
        producer.open(hasty(&cluster)).unwrap()
    };
    let producer = open();
    put(&producer, 0..40);
    while ended.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(producer.close(Duration::from_millis(10)).unwrap(), 40);
    cluster.state().script().clear();
    let producer = open();
    producer.flush(LONG).unwrap();
    let values = arrived(&cluster);
    let mut once = values.clone();
    once.dedup();
    assert_eq!(once, all(0..40));
    assert!(values.len() > 40, "the test lost no answer");
}

/// A buffer that is sent to another cluster than before: the numbers of the first mean nothing there.
#[test]
fn numbers_of_another_cluster_are_not_used() {
    let (first, second) = (Cluster::start(1, &[("t", 1)]), Cluster::start(1, &[("t", 1)]));
    second.state().cluster = "another";
    second.state().last_producer = 5000;
    let (dir, ended) = (tempfile::tempdir().unwrap(), Ended::default());
    first.script(vec![Fault::Code(19); 1000]);
    let producer = builder(&dir, &ended).open(sink(&first).build().unwrap()).unwrap();
    put(&producer, 0..1);
    while first.state().asked.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(producer.close(Duration::from_millis(10)).unwrap(), 1, "it is left");
    // Somebody else has that number here.
    let producer = builder(&dir, &ended).open(sink(&second).build().unwrap()).unwrap();
    producer.flush(LONG).unwrap();
    let (asked, taken) = (first.state().asked[0].clone(), second.state().taken[0].clone());
    assert_eq!((arrived(&second), taken.count), (vec!["0".to_owned()], 1));
    assert_eq!((asked.producer, taken.producer), (1001, 5001));
    let ended = ended.lock().unwrap();
    assert!(ended.len() == 1 && ended[0].contains("another cluster"), "{ended:?}");
}
