//! The layer for `tracing`: what arrives of an event, and that it neither waits nor goes in a circle.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt;
use unistream::tracing::Layer;
use unistream::{NullSink, Producer, Report, SendError, sink};

const LONG: Duration = Duration::from_secs(60);

/// Runs `program` with a layer over a producer, and returns what the sink took.
fn told(program: impl FnOnce()) -> Vec<(Value, i64)> {
    let directory = tempfile::tempdir().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let books = taken.clone();
    let sink = sink::from_fn(move |batch| {
        let mut books = books.lock().unwrap();
        books.extend(batch.iter().map(|record| (serde_json::from_slice(record.data).unwrap(), record.created_at)));
        Ok::<_, SendError>(Report::delivered())
    });
    let producer = Arc::new(Producer::builder(directory.path().join("outbox")).open(sink).unwrap());
    let subscriber = tracing_subscriber::registry().with(Layer::new(producer.clone()));
    tracing::subscriber::with_default(subscriber, program);
    producer.flush(LONG).unwrap();
    producer.close(Duration::ZERO).unwrap();
    std::mem::take(&mut taken.lock().unwrap())
}

#[test]
fn an_event_is_json_with_its_fields_and_spans() {
    let before = unistream::time::micros(std::time::SystemTime::now());
    let mut told = told(|| {
        let order = tracing::info_span!("order", id = 17, total = 1.5, state = tracing::field::Empty);
        let _order = order.enter();
        order.record("state", "late");
        let _step = tracing::debug_span!("step").entered();
        let error = std::io::Error::other("no \"route\"");
        tracing::warn!(
            target: "shop", user = "größe", paid = true, nan = f64::NAN, size = u64::MAX, list = ?[1, 2],
            error = &error as &(dyn std::error::Error + 'static), "two\nlines of {}", "text"
        );
        tracing::trace!("bare");
    });
    assert_eq!(told.len(), 2);
    let (mut event, created_at) = told.remove(0);
    let event = event.as_object_mut().unwrap();
    assert_eq!(event.remove("time").unwrap(), unistream::time::timestamp(created_at));
    assert!((0..60_000_000).contains(&(created_at - before)));
    assert!(event.remove("line").unwrap().as_u64().unwrap() > 0);
    assert_eq!(
        Value::Object(event.clone()),
        json!({
            "level": "WARN", "target": "shop", "message": "two\nlines of text", "file": file!(),
            "thread": "an_event_is_json_with_its_fields_and_spans",
            "fields": {
                "user": "größe", "paid": true, "nan": "NaN", "size": u64::MAX, "list": "[1, 2]",
                "error": "no \"route\"",
            },
            "spans": [{"name": "order", "id": 17, "total": 1.5, "state": "late"}, {"name": "step"}],
        })
    );
    assert_eq!(told[0].0["message"], "bare");
    assert_eq!(told[0].0.get("fields"), None);
}

#[test]
fn what_its_own_sink_tells_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let sink = sink::from_fn(move |batch| {
        tracing::error!("sending {}", batch.len());
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(SendError::unavailable("down")),
            _ => Ok(Report::delivered()),
        }
    });
    let builder = Producer::builder(directory.path().join("outbox")).linger(Duration::ZERO);
    let producer = builder.schedule_waits(vec![Duration::ZERO]).open(sink).unwrap();
    let producer = Arc::new(producer);
    // For every thread: the sink is called on another one.
    let subscriber = tracing_subscriber::registry().with(Layer::new(producer.clone()));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::info!("the only one");
    producer.flush(LONG).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(producer.stats().put_records, 1);
    assert_eq!((producer.stats().refused_puts, producer.stats().invalid_puts), (0, 0));
    producer.close(Duration::ZERO).unwrap();
}

#[test]
fn a_full_log_keeps_no_event_waiting_longer_than_was_said() {
    let directory = tempfile::tempdir().unwrap();
    for (nth, max_wait) in [Duration::ZERO, Duration::from_millis(300)].into_iter().enumerate() {
        let sink = sink::from_fn(|_| Err::<Report, _>(SendError::unavailable("down")));
        let builder = Producer::builder(directory.path().join(nth.to_string()));
        let builder = builder.max_buffer_bytes(1 << 20).segment_bytes(64 << 10);
        let producer = Arc::new(builder.open(sink).unwrap());
        let subscriber = tracing_subscriber::registry().with(Layer::new(producer.clone()).max_wait(max_wait));
        let text = "x".repeat(5000);
        let mut longest = Duration::ZERO;
        tracing::subscriber::with_default(subscriber, || {
            while producer.stats().refused_puts == 0 {
                let began = Instant::now();
                tracing::info!("{text}");
                longest = began.elapsed();
            }
        });
        assert!(longest >= max_wait && longest < max_wait + Duration::from_secs(10), "{longest:?}");
        producer.close(Duration::ZERO).unwrap();
    }
}

/// The program that is killed: it tells events until then, and says which calls have returned.
#[test]
fn told_until_killed() {
    let Some(path) = std::env::var_os("UNISTREAM_TRACING_VICTIM") else { return };
    // Nothing is sent before the kill.
    let producer = Producer::builder(path).max_records(10_000).linger(LONG).open(NullSink).unwrap();
    let subscriber = tracing_subscriber::registry().with(Layer::new(producer));
    let _default = tracing::subscriber::set_default(subscriber);
    for number in 0..1000 {
        tracing::info!(number);
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_killed_program_loses_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox");
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["told_until_killed", "--exact"]).env("UNISTREAM_TRACING_VICTIM", &path);
    let output = victim.output().unwrap();
    assert!(!output.status.success());
    let books = Arc::new(Mutex::new(Vec::new()));
    let taken = books.clone();
    let producer = Producer::builder(&path).open(sink::from_fn(move |batch| {
        let number = |data| serde_json::from_slice::<Value>(data).unwrap()["fields"]["number"].as_u64().unwrap();
        taken.lock().unwrap().extend(batch.iter().map(|record| number(record.data)));
        Ok::<_, SendError>(Report::delivered())
    }));
    let producer = producer.unwrap();
    producer.flush(LONG).unwrap();
    producer.close(Duration::ZERO).unwrap();
    let books = books.lock().unwrap();
    assert_eq!(*books, (0..1000).collect::<Vec<u64>>());
}
