use std::time::Duration;

use unistream::{Batch, NewRecord, Outcome, Sink};

use crate::strict::{Fault, Strict, now_ms};
use crate::{Put, data, drive, logs, puts, send};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

fn server() -> Strict {
    let server = Strict::start();
    server.log_stream("g", "s");
    server
}

fn events(server: &Strict) -> Vec<String> {
    server.events("g", "s").into_iter().map(|event| event.data).collect()
}

fn now(count: usize) -> Vec<Put> {
    let now = now_ms();
    puts(count).into_iter().enumerate().map(|(n, put)| put.at(now + n as i64)).collect()
}

#[test]
fn events_arrive_with_message_and_time() {
    let server = server();
    let sink = logs(&server, "g", "s").build().unwrap();
    let now = now_ms();
    let puts = [Put::new("ünï \"quoted\"\n\u{2028}").at(now), Put::new("{\"id\":\"1\"}").at(now + 1)];
    assert_eq!(send(&sink, &puts).delivered.len(), 2);
    let events = server.events("g", "s");
    assert_eq!(events.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), data(&puts));
    assert_eq!(events[0].key, now.to_string());
}

/// The predecessor sent batches as they were: unsorted ones were refused for ever.
#[test]
fn unsorted_batches_are_sorted_and_split() {
    let server = server();
    let sink = logs(&server, "g", "s").build().unwrap();
    let now = now_ms();
    let times = [0, -3 * HOUR, -26 * HOUR, -DAY, -HOUR, -50 * HOUR, 0];
    let puts: Vec<Put> = times.iter().enumerate().map(|(n, time)| Put::new(n.to_string()).at(now + time)).collect();
    let said = send(&sink, &puts);
    assert_eq!(said.delivered.len(), 7, "{said:?}");
    assert!(server.answers().iter().all(|answer| answer == "ok"), "{:?}", server.answers());
    assert_eq!(server.puts(), [vec!["5"], vec!["2", "3", "1"], vec!["4", "0", "6"]]);
}

/// The predecessor took a 200 for "all are in".
#[test]
fn rejected_events_become_rejected_records_and_the_others_are_delivered() {
    let server = server();
    server.retention("g", 7);
    let sink = logs(&server, "g", "s").build().unwrap();
    let now = now_ms();
    // Of one call, so that all kinds of indices are in one answer: everything within a day around each limit.
    let puts = [
        Put::new("expired").at(now - 7 * DAY - HOUR),
        Put::new("good").at(now - 7 * DAY + HOUR),
        Put::new("also expired").at(now - 7 * DAY - 2 * HOUR),
    ];
    let said = send(&sink, &puts);
    assert_eq!(said.delivered, ["good"]);
    assert!(said.rejected.iter().all(|(_, reason)| reason.starts_with("expired")), "{said:?}");
    let puts = [
        Put::new("too old").at(now - 14 * DAY - HOUR),
        Put::new("far ahead").at(now + 3 * HOUR),
        Put::new("ahead").at(now + HOUR),
    ];
    let said = send(&sink, &puts);
    assert_eq!(said.delivered, ["ahead"]);
    assert_eq!(said.rejected.len(), 2);
    let reason = &said.rejected.iter().find(|(data, _)| data == "far ahead").unwrap().1;
    let from = unistream::time::timestamp((now + HOUR) * 1000);
    assert!(reason.starts_with("too new") && reason.ends_with(&from), "{reason}");
    assert_eq!(events(&server), ["good", "ahead"]);
}

#[test]
fn too_old_is_told_from_expired() {
    let server = server();
    let sink = logs(&server, "g", "s").build().unwrap();
    let now = now_ms();
    let said = send(&sink, &[Put::new("old").at(now - 14 * DAY - HOUR), Put::new("new").at(now - 14 * DAY + HOUR)]);
    assert_eq!(said.delivered, ["new"]);
    assert!(said.rejected[0].1.starts_with("too old"), "{said:?}");
}

#[test]
fn what_is_not_text_is_rejected_with_that_reason() {
    let server = server();
    let sink = logs(&server, "g", "s").build().unwrap();
    let now = now_ms() * 1000;
    let records: [&[u8]; 3] = [b"text", b"\xff\xfe", b""];
    let batch = Batch::from_records(records.map(|data| NewRecord::new(data).created_at(now)));
    let report = sink.send(&batch).unwrap();
    assert!(matches!(report.outcome(0), Outcome::Delivered));
    assert!(matches!(report.outcome(1), Outcome::Rejected { reason } if reason.contains("UTF-8")));
    assert!(matches!(report.outcome(2), Outcome::Rejected { reason } if reason.contains("empty")));
    assert_eq!(events(&server), ["text"]);
}

#[test]
fn exactly_the_limits_pass() {
    let server = server();
    let sink = logs(&server, "g", "s").build().unwrap();
    assert_eq!(send(&sink, &now(10_001)).delivered.len(), 10_001);
    assert_eq!(server.puts().iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 1]);
    let now = now_ms();
    let half = "x".repeat(1_048_576 / 2 - 26);
    let full = [Put::new(format!("1{}", &half[1..])).at(now), Put::new(format!("2{}", &half[1..])).at(now)];
    assert_eq!(send(&sink, &full).delivered.len(), 2);
    assert_eq!(server.puts()[2].len(), 2, "1,048,576 bytes in a call");
    assert_eq!(send(&sink, &[Put::new("x".repeat(1_000_000)).at(now)]).delivered.len(), 1);
    assert!(server.answers().iter().all(|answer| answer == "ok"), "{:?}", server.answers());
}

#[test]
fn a_missing_group_or_stream_is_made_if_asked() {
    let server = Strict::start();
    let sink = logs(&server, "new/group", "new-stream").create_if_missing(true).build().unwrap();
    assert_eq!(send(&sink, &now(2)).delivered.len(), 2);
    assert_eq!(send(&sink, &now(1)).delivered.len(), 1);
    let operations: Vec<_> = server.calls().into_iter().map(|call| call.operation).collect();
    let expected =
        ["PutLogEvents", "CreateLogStream", "CreateLogGroup", "CreateLogStream", "PutLogEvents", "PutLogEvents"];
    assert_eq!(operations, expected);
    // A stream in a group that is there needs no permission to make groups.
    let sink = logs(&server, "new/group", "another").create_if_missing(true).build().unwrap();
    assert_eq!(send(&sink, &now(1)).delivered.len(), 1);
    let operations: Vec<_> = server.calls()[6..].iter().map(|call| call.operation.clone()).collect();
    assert_eq!(operations, ["PutLogEvents", "CreateLogStream", "PutLogEvents"]);
}

#[test]
fn a_creation_that_another_process_won_is_fine() {
    let server = Strict::start();
    server.race();
    let sink = logs(&server, "g", "s").create_if_missing(true).build().unwrap();
    assert_eq!(send(&sink, &now(2)).delivered.len(), 2);
    assert!(server.answers().contains(&"ResourceAlreadyExistsException".to_owned()));
}

#[test]
fn a_missing_stream_is_unavailable_unless_it_may_be_made() {
    let server = Strict::start();
    let sink = logs(&server, "g", "s").build().unwrap();
    let said = send(&sink, &now(2));
    assert_eq!(said.unavailable.len(), 2);
    assert!(said.unavailable[0].1.contains("The specified log group does not exist"), "{said:?}");
    assert_eq!(server.log_streams("g"), None);
    server.log_stream("g", "s");
    assert_eq!(send(&sink, &now(2)).delivered.len(), 2);
}

#[test]
fn the_culprit_of_a_refused_call_is_rejected_alone() {
    let server = server();
    server.poison("record 5");
    let said = send(&logs(&server, "g", "s").build().unwrap(), &now(12));
    assert_eq!(said.rejected.len(), 1);
    assert_eq!(said.delivered.len(), 11);
    assert_eq!(events(&server), said.delivered);
}

#[test]
fn every_fault_of_a_call_is_outlived() {
    let faults = [
        (Fault::Error(500, "ServiceUnavailableException", "?"), false),
        (Fault::Error(400, "ThrottlingException", "Rate exceeded"), false),
        (Fault::Error(400, "AccessDeniedException", "no"), false),
        (Fault::Busy(503, 1), false),
        (Fault::CutBefore, false),
        (Fault::Portal, false),
        (Fault::CutAfter, true),
        (Fault::Slow(Duration::from_millis(600)), true),
        (Fault::NotJson, true),
    ];
    for (fault, duplicates) in faults {
        let server = server();
        server.script([fault.clone()]);
        let sink = logs(&server, "g", "s").timeout(Duration::from_millis(300)).build().unwrap();
        let puts = now(3);
        let attempts = drive(&sink, &puts, || {});
        assert_eq!(attempts.len(), 2, "{fault:?}");
        assert_eq!(attempts[0].unavailable.len(), 3, "{fault:?}");
        assert_eq!(server.puts().len(), 2, "{fault:?}: no hidden retry");
        assert_eq!(events(&server), vec![data(&puts); if duplicates { 2 } else { 1 }].concat(), "{fault:?}");
    }
}

#[test]
fn a_fault_in_the_second_call_keeps_the_first() {
    let server = server();
    server.script([Fault::None, Fault::CutBefore]);
    let sink = logs(&server, "g", "s").build().unwrap();
    let puts = now(10_500);
    let attempts = drive(&sink, &puts, || {});
    assert_eq!(attempts[0].delivered.len(), 10_000);
    assert_eq!(attempts[1].delivered.len(), 500);
    assert_eq!(events(&server), data(&puts), "each once, in order");
}
