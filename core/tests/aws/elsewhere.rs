//! Answers that are not the service's: of proxies, portals, wrong endpoints; and what the service says of the account.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use unistream::{Jitter, NewRecord, Producer};

use crate::strict::{Fault, Strict, now_ms};
use crate::{Put, data, kinesis, logs, puts, send};

fn server() -> Strict {
    let server = Strict::start();
    server.stream("s", 4);
    server.log_stream("g", "s");
    server
}

fn now(count: usize) -> Vec<Put> {
    puts(count).into_iter().map(|put| put.at(now_ms())).collect()
}

const HTML: &str = "<html><body>Please log in</body></html>";

/// What used up attempts, or counted as delivered.
fn strangers() -> Vec<Fault> {
    let pages = [200, 203, 204, 301, 302, 400, 401, 403, 404, 405, 407, 410, 422, 451, 495, 502];
    let pages = pages.map(|status| Fault::Elsewhere(status, "text/html", if status == 204 { "" } else { HTML }));
    let bodies = ["{}", "[]", "null", "\"ok\"", "{\"status\":\"ok\"}", "{\"message\":\"Forbidden\"}", "[{}]", ""];
    let json = [200, 400, 403, 404]
        .into_iter()
        .flat_map(|status| bodies.map(|body| Fault::Elsewhere(status, "application/json", body)));
    let codes = ["SubscriptionRequiredException", "AccountProblem", "UnknownOperationException", "OptInRequired"];
    let account = codes.map(|code| Fault::Error(400, code, "not with this account"));
    let throttled = Fault::Error(200, "ThrottlingException", "Rate exceeded");
    pages.into_iter().chain(json).chain(account).chain([throttled]).collect()
}

#[test]
fn what_the_service_did_not_say_is_unavailable() {
    let server = server();
    let (kinesis, logs) = (kinesis(&server, "s").build().unwrap(), logs(&server, "g", "s").build().unwrap());
    for fault in strangers() {
        server.script([fault.clone(), fault.clone()]);
        for said in [send(&kinesis, &now(3)), send(&logs, &now(3))] {
            assert_eq!(said.unavailable.len(), 3, "{fault:?}: {said:?}");
        }
    }
    assert!(server.taken("s").is_empty() && server.events("g", "s").is_empty());
    assert_eq!(send(&kinesis, &now(3)).delivered.len(), 3);
    assert_eq!(send(&logs, &now(3)).delivered.len(), 3);
}

/// The bug: 4,000 of 8,000 records were dead in 160 s.
#[test]
fn a_portal_for_a_while_costs_no_record() {
    let server = server();
    let faults = strangers();
    server.script(faults.clone());
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::builder(dir.path().join("outbox"))
        .max_attempts(2)
        .schedule_multiplier(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(2))
        .jitter(Jitter::None)
        .open(logs(&server, "g", "s").build().unwrap())
        .unwrap();
    for n in 0..20 {
        producer.put(NewRecord::new(n.to_string().as_bytes()).created_at(now_ms() * 1000)).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.delivered_records, stats.dead_letters, stats.failed_attempts), (20, 0, 0), "{stats:?}");
    assert!(stats.unavailable_attempts >= faults.len() as u64, "{stats:?}");
    assert_eq!(server.events("g", "s").len(), 20);
}

/// The bug: a service that refuses whatever is said was asked about each record anew, at every attempt.
#[test]
fn a_refusal_of_every_record_is_not_halved_to_the_end() {
    let server = server();
    server.script(vec![Fault::Error(400, "ValidationException", "no"); 2000]);
    let said = send(&kinesis(&server, "s").build().unwrap(), &puts(500));
    assert_eq!(said.failed.len(), 500, "no single record is at fault");
    assert!(server.puts().len() <= 15, "{} calls", server.puts().len());
}

/// The bug: three idle connections were kept, whatever was in flight: 166 for 300 calls.
#[test]
fn as_many_connections_are_kept_as_are_in_flight() {
    const THREADS: usize = 16;
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..12 {
                    barrier.wait();
                    assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
                }
            });
        }
    });
    let connections = server.server.connections();
    assert!(connections <= THREADS as u64, "{connections} connections for {} calls", THREADS * 12);
}

#[test]
fn answers_may_be_gzipped_and_are_bounded_as_they_are_unpacked() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    server.script([Fault::Gzip, Fault::GzipBomb(64)]);
    assert_eq!(send(&sink, &puts(3)).delivered, data(&puts(3)));
    let said = send(&sink, &puts(3));
    assert_eq!(said.unavailable.len(), 3);
    assert!(said.unavailable[0].1.contains("more than 16777216 bytes"), "{said:?}");
    assert_eq!(send(&sink, &puts(3)).delivered.len(), 3);
}

#[test]
fn a_date_in_retry_after_is_read_by_the_servers_clock() {
    let server = server();
    server.script([Fault::BusyUntil(503, 40)]);
    let said = send(&kinesis(&server, "s").build().unwrap(), &puts(2));
    assert_eq!(said.retry_after, Some(Duration::from_secs(40)));
}

#[test]
fn a_wrong_clock_is_corrected_by_the_services_and_back() {
    let server = server();
    let sink = kinesis(&server, "s").build().unwrap();
    for skew_minutes in [10, -70, 0] {
        server.skew(skew_minutes * 60 * 1000);
        let said = send(&sink, &puts(1));
        assert!(said.unavailable[0].1.contains("Signature expired"), "{said:?}");
        assert_eq!(send(&sink, &puts(1)).delivered.len(), 1, "signed by the service's clock");
        assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
    }
}

/// An answer that was lost makes a call that brings the same events again.
#[test]
fn data_that_was_already_accepted_is_delivered() {
    let server = server();
    server.script([Fault::CutAfter, Fault::Error(400, "DataAlreadyAcceptedException", "The given batch was accepted")]);
    let sink = logs(&server, "g", "s").build().unwrap();
    assert_eq!(send(&sink, &now(3)).unavailable.len(), 3);
    assert_eq!(send(&sink, &now(3)).delivered.len(), 3);
    assert_eq!(server.events("g", "s").len(), 3);
}
