use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use unistream::{NewRecord, Sink};

use crate::strict::{Fault, KEY_ID, Strict};
use crate::{Put, data, drive, kinesis, puts, send};

fn server() -> Strict {
    let server = Strict::start();
    server.stream("s", 4);
    server
}

fn taken(server: &Strict) -> Vec<String> {
    server.taken("s").into_iter().map(|record| record.data).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[test]
fn records_arrive_with_their_keys_over_one_connection() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    let texts = ["plain", "{\"id\":\"1\"}", "line\nbreak \u{2028} \u{0} ünï", "id only"];
    for (n, text) in texts.iter().enumerate() {
        let put = if n < 3 { Put::new(*text).key(format!("user-{n}")) } else { Put::new(*text) };
        assert_eq!(send(&sink, &[put]).delivered, [*text]);
    }
    let records = server.taken("s");
    assert_eq!(records.iter().map(|record| &record.data[..]).collect::<Vec<_>>(), texts);
    let keys: Vec<_> = records.iter().map(|record| &record.key[..]).collect();
    assert_eq!(keys, ["user-0", "user-1", "user-2", "id only"]);
    assert_eq!(server.server.connections(), 1);
}

#[test]
fn an_arn_is_sent_as_an_arn() {
    let server = server();
    let sink = kinesis(&server, "arn:aws:kinesis:eu-west-1:123456789012:stream/s").build().unwrap();
    send(&sink, &puts(3));
    assert_eq!(taken(&server), data(&puts(3)));
}

/// The predecessor took a call with failed records for sent.
#[test]
fn only_the_records_that_failed_are_sent_again() {
    let server = server();
    server.script([
        Fault::Records(vec![1, 4], "ProvisionedThroughputExceededException"),
        Fault::Records(vec![0], "InternalFailure"),
    ]);
    let sink = kinesis(&server, "s").build().unwrap();
    let attempts = drive(&sink, &puts(6), || {});
    let expected = [
        vec!["record 0", "record 1", "record 2", "record 3", "record 4", "record 5"],
        vec!["record 1", "record 4"],
        vec!["record 1"],
    ];
    assert_eq!(server.puts(), expected);
    assert_eq!(attempts[0].unavailable.len(), 2);
    assert!(attempts[0].unavailable[0].1.contains("Rate exceeded for shard"));
    assert_eq!(sorted(taken(&server)), data(&puts(6)), "each once");
}

#[test]
fn an_error_code_that_nobody_documents_counts_as_failed() {
    let server = server();
    server.script([Fault::Records(vec![2], "SomethingElse")]);
    let said = send(&kinesis(&server, "s").build().unwrap(), &puts(3));
    assert_eq!(said.delivered, ["record 0", "record 1"]);
    assert_eq!(said.failed.len(), 1);
}

/// 1,000 records a second and shard: the rest of a batch goes on while one shard is full.
#[test]
fn throttled_shards_hold_up_only_their_own() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    let many: Vec<Put> = (0..2400)
        .map(|n| Put::new(n.to_string()).key(if n % 2 == 0 { "hot".into() } else { format!("cold-{n}") }))
        .collect();
    let attempts = drive(&sink, &many, || server.next_second());
    assert_eq!(attempts.len(), 2);
    let throttled: Vec<usize> = attempts[0].unavailable.iter().map(|(data, _)| data.parse().unwrap()).collect();
    let hot = throttled.iter().filter(|n| *n % 2 == 0).count();
    assert!(hot >= 200, "1,200 hot records into a shard of 1,000: {hot}");
    assert!(throttled.len() < 1000, "the other shards took theirs: {}", throttled.len());
    assert!(attempts.iter().all(|said| said.failed.is_empty() && said.rejected.is_empty()));
    let expected = sorted((0..2400).map(|n| n.to_string()).collect());
    assert_eq!(sorted(taken(&server)), expected, "each once");
}

#[test]
fn bytes_are_throttled_by_shard_too() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    let many: Vec<Put> = (0..5).map(|n| Put::new(format!("{n}{}", "x".repeat(300_000))).key("hot")).collect();
    let attempts = drive(&sink, &many, || server.next_second());
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].delivered.len(), 3);
    assert_eq!(sorted(taken(&server)), data(&many));
}

/// Whatever happens to a call: nothing is lost, nothing that was not taken counts as delivered, and the next attempt
/// sends what is left.
#[test]
fn every_fault_of_a_call_is_outlived() {
    let passing = |code, message| Fault::Error(400, code, message);
    // The fault, and whether the call was taken all the same, so that the next attempt makes duplicates.
    let faults = [
        (Fault::Error(500, "InternalFailure", "?"), false),
        (Fault::Error(503, "ServiceUnavailable", "?"), false),
        (passing("ProvisionedThroughputExceededException", "Rate exceeded"), false),
        (passing("LimitExceededException", "?"), false),
        (passing("KMSThrottlingException", "?"), false),
        (passing("KMSDisabledException", "?"), false),
        (passing("AccessDeniedException", "User is not authorized to perform kinesis:PutRecords"), false),
        (passing("ResourceNotFoundException", "not found"), false),
        (Fault::Busy(503, 3), false),
        (Fault::Busy(429, 1), false),
        (Fault::Busy(502, 0), false),
        (Fault::CutBefore, false),
        (Fault::Portal, false),
        (Fault::CutAfter, true),
        (Fault::CutWithin, true),
        (Fault::Slow(Duration::from_millis(600)), true),
        (Fault::Entries(-1), true),
        (Fault::Entries(-5), true),
        (Fault::Entries(1), true),
        (Fault::NotJson, true),
    ];
    for (fault, duplicates) in faults {
        let server = server();
        server.script([fault.clone()]);
        let sink = kinesis(&server, "s").timeout(Duration::from_millis(300)).build().unwrap();
        let first = send(&sink, &puts(5));
        assert_eq!(first.unavailable.len(), 5, "{fault:?}: {first:?}");
        assert_eq!(server.puts().len(), 1, "{fault:?}: no hidden retry");
        let said = send(&sink, &puts(5));
        assert_eq!(said.delivered, data(&puts(5)), "{fault:?}");
        let copies = if duplicates { 2 } else { 1 };
        assert_eq!(taken(&server), vec![data(&puts(5)); copies].concat(), "{fault:?}: duplicates are whole calls");
    }
}

#[test]
fn retry_after_is_passed_on() {
    let server = server();
    server.script([Fault::Busy(503, 3)]);
    let said = send(&kinesis(&server, "s").build().unwrap(), &puts(2));
    assert_eq!(said.retry_after, Some(Duration::from_secs(3)));
}

#[test]
fn what_is_wrong_with_the_sink_is_unavailable_and_says_so() {
    let server = server();
    let says = |said: crate::Said, code: &str| {
        assert_eq!((said.delivered.len(), said.unavailable.len()), (0, 2), "{said:?}");
        assert!(said.unavailable[0].1.contains(code), "{said:?}");
    };
    let sink = kinesis(&server, "s").build().unwrap();
    says(send(&kinesis(&server, "absent").build().unwrap(), &puts(2)), "ResourceNotFoundException");
    server.skew(-10 * 60 * 1000);
    says(send(&sink, &puts(2)), "InvalidSignatureException: Signature expired");
    server.skew(0);
    server.expire(KEY_ID);
    says(send(&sink, &puts(2)), "ExpiredTokenException");
    server.key(KEY_ID, "another secret", None);
    says(send(&sink, &puts(2)), "InvalidSignatureException");
    let unknown = unistream::sink::aws::Credentials::new("AKIDUNKNOWN", "x");
    says(send(&kinesis(&server, "s").credentials(unknown).build().unwrap(), &puts(2)), "UnrecognizedClientException");
    assert!(taken(&server).is_empty());
}

#[test]
fn nobody_there_is_unavailable() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    drop(server);
    let said = send(&sink, &puts(2));
    assert_eq!(said.unavailable.len(), 2);
    assert!(said.unavailable[0].1.starts_with("PutRecords: "), "{said:?}");
}

#[test]
fn the_culprit_of_a_refused_call_is_rejected_alone() {
    let server = server();
    server.poison("record 317");
    let sink = kinesis(&server, "s").build().unwrap();
    let said = send(&sink, &puts(500));
    assert_eq!(said.rejected.len(), 1);
    assert_eq!(said.rejected[0].0, "record 317");
    assert!(said.rejected[0].1.contains("ValidationException: a value is poison"));
    assert_eq!(said.delivered.len(), 499);
    assert_eq!(taken(&server), said.delivered, "in put order, once each");
    assert!(server.puts().len() < 25, "halving takes few calls: {}", server.puts().len());
}

#[test]
fn halving_meets_a_fault_and_goes_on_at_the_next_attempt() {
    let server = server();
    server.poison("record 3");
    // The call, its halves [0 1] and [2 3], then [2] cut.
    server.script([Fault::None, Fault::None, Fault::None, Fault::CutAfter]);
    let attempts = drive(&kinesis(&server, "s").build().unwrap(), &puts(4), || {});
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].delivered, ["record 0", "record 1"]);
    assert_eq!(attempts[1].rejected.len(), 1);
    assert_eq!(taken(&server), ["record 0", "record 1", "record 2", "record 2"]);
}

#[test]
fn exactly_the_limits_pass() {
    let server = server();
    server.stream_limits("s", 1 << 20, 5 << 20);
    let sink = kinesis(&server, "s").max_call_bytes(5 << 20).build().unwrap();
    assert_eq!(send(&sink, &puts(500)).delivered.len(), 500);
    assert_eq!(server.puts().len(), 1);
    server.next_second();
    // Data and key are 1 MiB together, and five of them fill a call.
    let big: Vec<Put> =
        (0..6).map(|n| Put::new(format!("{n}{}", "x".repeat((1 << 20) - 9))).key(format!("key-{n:04}"))).collect();
    sink.admit(&NewRecord::new(big[0].data.as_bytes()).key(b"key-0000")).unwrap();
    drive(&sink, &big, || server.next_second());
    assert!(server.answers().iter().all(|answer| answer == "ok"), "{:?}", server.answers());
    assert_eq!(server.puts()[1].len(), 5);
}

#[test]
fn streams_of_large_records_take_them() {
    let server = server();
    server.stream_limits("s", 10 << 20, 10 << 20);
    let large = Put::new("x".repeat(3 << 20)).key("k");
    let small = kinesis(&server, "s").build().unwrap();
    let said = send(&small, std::slice::from_ref(&large));
    assert_eq!(said.rejected.len(), 1, "a record of an earlier run that no call can carry");
    assert!(server.puts().is_empty());
    let sink = kinesis(&server, "s").max_record_bytes(10 << 20).build().unwrap();
    let said = send(&sink, &[large]);
    // The strict server has no burst capacity: what counts is that the call was well-formed.
    assert_eq!((said.rejected.len(), said.failed.len()), (0, 0), "{said:?}");
    assert_eq!(server.answers(), ["ok"]);
}

#[test]
fn explicit_hash_keys_choose_the_shard() {
    let server = server();
    let last = u128::MAX.to_string();
    let sink = kinesis(&server, "s").explicit_hash_key(&last).build().unwrap();
    // One shard takes 1,000 records a second whatever their keys.
    let many: Vec<Put> = (0..1001).map(|n| Put::new(n.to_string())).collect();
    let said = send(&sink, &many);
    assert_eq!(said.delivered.len(), 1000);
    assert!(said.unavailable[0].1.contains("shardId-000000000003"), "{said:?}");
}

/// The promise of `ordered` end to end, under faults of all kinds: in the stream, a record's first copy never
/// stands before that of an earlier record of its key.
#[test]
fn ordered_keeps_the_order_of_every_key() {
    let server = server();
    let sink = kinesis(&server, "s").ordered(true).build().unwrap();
    let throttled = "ProvisionedThroughputExceededException";
    server.script([
        Fault::Records(vec![0, 2], throttled),
        Fault::CutAfter,
        Fault::Records(vec![1], "InternalFailure"),
        Fault::Busy(503, 0),
        Fault::Records(vec![0, 1, 2, 3], throttled),
        Fault::Entries(1),
        Fault::CutBefore,
        Fault::Records(vec![3], throttled),
    ]);
    let many: Vec<Put> = (0..60).map(|n| Put::new(format!("{n:02}")).key(format!("k{}", n % 4))).collect();
    drive(&sink, &many, || server.next_second());
    for call in server.puts() {
        let keys: HashSet<_> = call.iter().map(|data| data.parse::<usize>().unwrap() % 4).collect();
        assert_eq!(keys.len(), call.len(), "a key twice in a call");
    }
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for record in server.taken("s") {
        let of_key = seen.entry(record.key).or_default();
        if !of_key.contains(&record.data) {
            of_key.push(record.data);
        }
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), 60, "nothing lost");
    assert!(seen.values().all(|of_key| of_key.is_sorted()), "{seen:?}");
}

#[test]
fn an_interrupt_ends_a_call_and_the_sink_lives_on() {
    let server = server();
    server.script([Fault::Slow(Duration::from_secs(3))]);
    let sink = Arc::new(kinesis(&server, "s").build().unwrap());
    let sender = thread::spawn({
        let sink = sink.clone();
        move || {
            let start = Instant::now();
            (send(&sink, &puts(700)), start.elapsed())
        }
    });
    while server.puts().is_empty() && !sender.is_finished() {
        thread::sleep(Duration::from_millis(5));
    }
    sink.interrupt();
    let (said, elapsed) = sender.join().unwrap();
    assert_eq!(said.unavailable.len(), 700, "and no second call was begun");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
}

#[test]
fn nothing_is_sent_for_no_records() {
    let server = server();
    let said = send(&kinesis(&server, "s").build().unwrap(), &[]);
    assert!(said.delivered.is_empty());
    assert!(server.calls().is_empty());
}
