//! The Kafka sink against a strict stand-in for a cluster that does wrong what a script says. Against Apache Kafka itself it is
//! tested in `tests/kafka`.
#![cfg(feature = "kafka")]

mod broker;
mod once;
#[path = "../common/web.rs"]
#[allow(dead_code, reason = "the half that reads HTTP is for others")]
mod web;

use std::time::{Duration, Instant};

use broker::{Cluster, Fault};
use unistream::sink::kafka::{KafkaBuilder, KafkaSink};
use unistream::{Batch, NewRecord, Outcome, Producer, Report, Sink};

const LONG: Duration = Duration::from_secs(60);

fn sink(cluster: &Cluster) -> KafkaBuilder {
    KafkaSink::builder(cluster.brokers()).topic("t").timeout(Duration::from_secs(20)).use_environment(false)
}

/// Records that are numbers, with keys that are the same number.
fn batch(numbers: std::ops::Range<u32>) -> Batch {
    let texts: Vec<String> = numbers.map(|n| n.to_string()).collect();
    Batch::from_records(texts.iter().map(|text| NewRecord::from(text).key(text.as_bytes())))
}

/// What became of each record: `d`elivered, `f`ailed, `u`navailable, `r`ejected.
fn letters(report: &Report, len: usize) -> String {
    (0..len)
        .map(|index| match report.outcome(index) {
            Outcome::Delivered => 'd',
            Outcome::Failed { .. } => 'f',
            Outcome::Unavailable { .. } => 'u',
            Outcome::Rejected { .. } => 'r',
        })
        .collect()
}

fn why(report: &Report) -> String {
    match report.exceptions().next() {
        Some((_, Outcome::Failed { error } | Outcome::Unavailable { error, .. })) => error.to_string(),
        Some((_, Outcome::Rejected { reason })) => reason.clone(),
        _ => String::new(),
    }
}

/// Every code of the protocol, as the answer to one record: what becomes of it, and how often it was sent.
#[test]
fn every_code_has_an_outcome() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    let sink = sink(&cluster).once(unistream::sink::kafka::Once::None).build().unwrap();
    for code in -1..=140 {
        cluster.script([Fault::Code(code)]);
        let report = sink.send(&batch(0..1)).unwrap();
        let expected = match code {
            // Tried again at once, and then taken.
            0 | 46 | 3 | 5 | 6 | 8 | 9 | 13 | 56 | 72 | 74 | 75 | 80 | 83 | 100 | 103 | 108 | 129 => "d",
            45 | 47 | 49 | 59 | 90 => "d",
            7 | 14 | 15 | 16 | 19 | 20 | 51 | 60 | 89 => "u",
            21 | 29 | 30 | 31 | 33 | 34 | 35 | 43 | 53 | 54 | 58 | 61..=67 | 76 | 93 | 97 => "u",
            10 | 17 | 18 | 32 | 87 => "r",
            _ => "f",
        };
        assert_eq!(letters(&report, 1), expected, "{code}: {}", why(&report));
        assert_eq!(report.once_ended(), None, "nothing is once here");
    }
}

#[test]
fn words_of_the_broker_are_passed_on() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    let sink = sink(&cluster).build().unwrap();
    cluster.script([Fault::Words(29, "not for you")]);
    let report = sink.send(&batch(0..1)).unwrap();
    let why = why(&report);
    assert!(why.contains("TOPIC_AUTHORIZATION_FAILED") && why.contains("not for you"), "{why}");
    assert!(why.contains("partition 0 of t"), "{why}");
}

/// What is no answer of Kafka's delivers nothing, and harms nobody.
#[test]
fn answers_that_are_none() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    let sink = sink(&cluster).build().unwrap();
    let mut whole = Vec::new();
    whole.extend(1i32.to_be_bytes());
    whole.extend([0, 1, b't']);
    whole.extend(1i32.to_be_bytes());
    whole.extend([0; 4]);
    let cut: Vec<Fault> = (0..whole.len()).map(|len| Fault::Body(whole[..len].to_vec())).collect();
    let mut others = vec![
        // Speaks of no partition; of another one; of more than there are bytes.
        Fault::Body([&0i32.to_be_bytes()[..], &0i32.to_be_bytes()].concat()),
        Fault::Body(i32::MAX.to_be_bytes().to_vec()),
        Fault::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Fault::Raw(vec![0x15, 3, 3, 0, 2, 2, 70, 0]),
        Fault::Raw(vec![0; 8]),
        Fault::Raw(vec![0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Fault::Raw(vec![0x7f; 64]),
        Fault::CutBefore,
    ];
    others.extend(cut);
    for fault in others {
        // As often as it is tried within an attempt.
        cluster.script(vec![fault.clone(); 4]);
        let report = sink.send(&batch(0..3)).unwrap();
        assert_eq!(letters(&report, 3), "uuu", "{fault:?}");
    }
    assert_eq!(letters(&sink.send(&batch(0..3)).unwrap(), 3), "ddd");
}

#[test]
fn who_leads_is_looked_up_anew() {
    let cluster = Cluster::start(3, &[("t", 2)]);
    let sink = sink(&cluster).build().unwrap();
    let report = sink.send(&batch(0..10)).unwrap();
    assert!(report.is_delivered());
    for leader in [1, 2, 0] {
        cluster.state().leader = leader;
        let report = sink.send(&batch(0..10)).unwrap();
        assert!(report.is_delivered(), "{}", why(&report));
    }
    cluster.script([Fault::Moved(2)]);
    assert!(sink.send(&batch(0..10)).unwrap().is_delivered());
    assert_eq!(cluster.values("t").len(), 50);
}

#[test]
fn a_record_to_blame_is_found_whatever_the_broker_says() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.state().most = 400;
    let sink = sink(&cluster).build().unwrap();
    let long = "x".repeat(500);
    let texts: Vec<String> = (0..40).map(|n| if n == 23 { long.clone() } else { n.to_string() }).collect();
    let batch = Batch::from_records(texts.iter().map(NewRecord::from));
    let report = sink.send(&batch).unwrap();
    assert_eq!(letters(&report, 40), format!("{}r{}", "d".repeat(23), "d".repeat(16)));
    assert!(why(&report).contains("MESSAGE_TOO_LARGE"));
    let expected: Vec<String> = texts.iter().filter(|text| **text != long).cloned().collect();
    assert_eq!(cluster.values("t"), expected, "each once, in order");
}

#[test]
fn what_the_sink_knows_to_be_too_large_is_not_sent() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    let sink = sink(&cluster).max_message_bytes(1024).build().unwrap();
    let long = "x".repeat(1100);
    let report = sink.send(&Batch::from_records([NewRecord::from(&long), NewRecord::new(b"short")])).unwrap();
    assert_eq!(letters(&report, 2), "rd");
    let texts: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert!(sink.send(&Batch::from_records(texts.iter().map(NewRecord::from))).unwrap().is_delivered());
    let state = cluster.state();
    assert!(state.asked.iter().all(|asked| asked.values.iter().map(String::len).sum::<usize>() < 1024));
}

#[test]
fn versions_that_do_not_meet_are_said() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.state().produce = (9, 13);
    let sink = sink(&cluster).build().unwrap();
    let report = sink.send(&batch(0..1)).unwrap();
    assert!(letters(&report, 1) == "u" && why(&report).contains("9 to 13"), "{}", why(&report));
}

#[test]
fn older_versions_are_spoken_too() {
    for most in [5, 6, 7] {
        let cluster = Cluster::start(1, &[("t", 1)]);
        cluster.state().produce = (0, most);
        let report = sink(&cluster).build().unwrap().send(&batch(0..5)).unwrap();
        assert!(report.is_delivered(), "{most}: {}", why(&report));
        assert_eq!(cluster.values("t").len(), 5);
    }
}

#[test]
fn a_right_that_is_missing_is_named() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.state().producer_code = 31;
    let sink = sink(&cluster).build().unwrap();
    let error = sink.prepare(&batch(0..1)).unwrap_err().to_string();
    assert!(error.contains("IdempotentWrite") && error.contains("CLUSTER_AUTHORIZATION_FAILED"), "{error}");
}

#[test]
fn closing_ends_a_request_under_way() {
    let cluster = Cluster::start(1, &[("t", 1)]);
    cluster.script([Fault::Silence]);
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path().join("outbox"))
        .linger(Duration::ZERO)
        .open(sink(&cluster).build().unwrap())
        .unwrap();
    producer.put(b"1").unwrap();
    while cluster.state().asked.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    let _ = producer.close(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// While nobody answers, several senders ask who leads, one after the other: the end of one ends all.
#[test]
fn closing_ends_the_search_for_a_broker() {
    // What they accept they never answer.
    let deaf: Vec<_> = (0..6).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let brokers: Vec<_> = deaf.iter().map(|broker| broker.local_addr().unwrap().to_string()).collect();
    let sink = KafkaSink::builder(brokers.join(",")).topic("t").timeout(Duration::from_secs(600)).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path().join("outbox"))
        .max_records(1)
        .linger(Duration::ZERO)
        .max_in_flight(4)
        .open(sink)
        .unwrap();
    for n in 0..4 {
        producer.put(&[n][..]).unwrap();
    }
    // One of them has begun.
    let _asked = deaf[0].accept().unwrap();
    let began = Instant::now();
    assert_eq!(producer.close(Duration::from_millis(50)).unwrap(), 4);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
