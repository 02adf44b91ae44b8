//! Splunk's acknowledgements: what was taken counts only when it is acknowledged.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use unistream::sink::http::{HttpBuilder, Preset};
use unistream::{Jitter, Producer};

use crate::server::{Fault, Reply, Server};
use crate::{batch, numbers, send, sink};

/// A collector by its documentation: a channel is demanded, each request has an id, and an id is acknowledged when it was asked
/// for so often.
struct Collector {
    server: Server,
    /// The events that were taken, in order.
    taken: Arc<Mutex<Vec<String>>>,
    /// Whether what is taken is never acknowledged.
    stalls: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

fn collector(is_enabled: bool, after: u64) -> Collector {
    let (taken, stalls, asked) =
        (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)), Arc::default());
    let (events, stalled, count) = (taken.clone(), stalls.clone(), Arc::<AtomicU64>::clone(&asked));
    let (last, lost) = (AtomicU64::new(0), Mutex::new(HashSet::new()));
    let polls: Mutex<std::collections::HashMap<u64, u64>> = Mutex::default();
    let server = Server::start(move |request| {
        let said = |status, body: Value| Reply::new(status, body.to_string());
        if request.header("x-splunk-request-channel").len() != 36 {
            return said(400, json!({"text": "Data channel is missing", "code": 10}));
        }
        if request.target == "/services/collector/ack" {
            if !is_enabled {
                return said(400, json!({"text": "ACK is disabled", "code": 14}));
            }
            let ids: Value = serde_json::from_slice(&request.body).unwrap();
            let mut acks = serde_json::Map::new();
            for id in ids["acks"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()) {
                let mut polls = polls.lock().unwrap();
                let poll = polls.entry(id).or_insert(0);
                *poll += 1;
                count.fetch_add(u64::from(id > 0), Ordering::SeqCst);
                let good = id > 0 && *poll >= after && !lost.lock().unwrap().contains(&id);
                acks.insert(id.to_string(), good.into());
            }
            return said(200, json!({"acks": acks}));
        }
        assert_eq!(request.target, "/services/collector/event");
        let id = last.fetch_add(1, Ordering::SeqCst) + 1;
        if stalled.load(Ordering::SeqCst) {
            lost.lock().unwrap().insert(id);
        } else {
            events.lock().unwrap().extend(
                request.lines().iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].to_string()),
            );
        }
        said(200, json!({"text": "Success", "code": 0, "ackId": id}))
    });
    Collector { server, taken, stalls, asked }
}

fn acknowledged(server: &Server) -> HttpBuilder {
    sink(server, "/").preset(Preset::SplunkHec).token("tok").acknowledge(true)
}

#[test]
fn what_is_acknowledged_is_delivered() {
    let collector = collector(true, 3);
    let sink = acknowledged(&collector.server).build().unwrap();
    assert_eq!(send(&sink, &batch(&numbers(3))), ("ddd".into(), String::new()));
    assert_eq!(collector.asked.load(Ordering::SeqCst), 3, "until it said yes");
    assert_eq!(*collector.taken.lock().unwrap(), numbers(3));
    let requests = collector.server.requests();
    let channels: HashSet<_> = requests.iter().map(|request| request.header("x-splunk-request-channel")).collect();
    assert_eq!(channels.len(), 1);
    assert!(requests.iter().all(|request| request.header("authorization") == "Splunk tok"));
}

/// Also answers that get lost: the service has the events, so that they are asked for again and not sent again.
#[test]
fn an_acknowledgement_that_does_not_come_is_asked_for_again() {
    let collector = collector(true, 1);
    let sink = acknowledged(&collector.server).build().unwrap();
    let reply = Reply::html(502);
    collector.server.script([Fault::None, Fault::None, Fault::CutAfter, Fault::Answer(reply), Fault::Garbage]);
    assert_eq!(send(&sink, &batch(&numbers(3))).0, "ddd");
    assert_eq!(*collector.taken.lock().unwrap(), numbers(3), "once each");
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let collector = collector(true, 1);
    let sink = acknowledged(&collector.server).acknowledge_timeout(Duration::from_millis(300)).build().unwrap();
    collector.stalls.store(true, Ordering::SeqCst);
    let (kinds, why) = send(&sink, &batch(&numbers(3)));
    assert!(kinds == "uuu" && why.contains("not acknowledged within 0.3 s"), "{kinds} {why}");
    assert!(collector.taken.lock().unwrap().is_empty());
    collector.stalls.store(false, Ordering::SeqCst);
    assert_eq!(send(&sink, &batch(&numbers(3))).0, "ddd");
    assert_eq!(*collector.taken.lock().unwrap(), numbers(3));
}

/// A token without acknowledgement would take the events anew at each attempt.
#[test]
fn nothing_is_sent_where_acknowledgement_is_off() {
    let collector = collector(false, 1);
    let sink = acknowledged(&collector.server).build().unwrap();
    let (kinds, why) = send(&sink, &batch(&numbers(3)));
    assert!(kinds == "uuu" && why.contains("acknowledgement is off for this token"), "{kinds} {why}");
    // No record is to blame for that, nor for a collector that is busy when it is asked.
    let busy = Reply::new(503, json!({"text": "Server is busy", "code": 9}).to_string());
    collector.server.script([Fault::Answer(busy)]);
    let (kinds, why) = send(&sink, &batch(&numbers(3)));
    assert!(kinds == "uuu" && why.contains("busy"), "{kinds} {why}");
    assert!(collector.taken.lock().unwrap().is_empty());
    let wrong = unistream::sink::open("https://host/?preset=loki&acknowledge=true", &[]).err().unwrap();
    assert!(wrong.message().contains("splunk_hec"), "{wrong}");
}

#[test]
fn closing_ends_the_wait_for_an_acknowledgement_and_the_next_run_sends_again() {
    let collector = collector(true, 1);
    collector.stalls.store(true, Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Producer::builder(dir.path().join("outbox"))
            .linger(Duration::ZERO)
            .jitter(Jitter::None)
            .open(acknowledged(&collector.server).build().unwrap())
            .unwrap()
    };
    let producer = open();
    producer.put(b"1").unwrap();
    while collector.asked.load(Ordering::SeqCst) < 5 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(producer.stats().delivered_records, 0);
    let began = Instant::now();
    let _ = producer.close(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    collector.stalls.store(false, Ordering::SeqCst);
    let producer = open();
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!((producer.stats().delivered_records, collector.taken.lock().unwrap().len()), (1, 1));
}
