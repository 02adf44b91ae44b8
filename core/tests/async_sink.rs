//! Sinks that are asked with `async`: driven by tokio, by a `block_on` of a few lines, or by one that gives up.

mod common;

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::*;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use unistream::sink::{AsyncSink, Sending, from_async};
use unistream::*;

fn runtime() -> Runtime {
    RuntimeBuilder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn on(runtime: &Runtime) -> impl Fn(Sending<'_>) + Send + Sync + 'static {
    let handle = runtime.handle().clone();
    move |sending| handle.block_on(sending)
}

fn builder(dir: &tempfile::TempDir) -> Builder {
    Producer::builder(dir).max_records(2).schedule_waits(vec![Duration::from_millis(1)])
}

/// Rejects `bad`, fails the first attempt at each batch, and takes its time over both.
#[derive(Default)]
struct Careful {
    sent: Arc<Mutex<Vec<String>>>,
    calls: AtomicUsize,
}

impl AsyncSink for Careful {
    async fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        if batch.attempt() == 1 {
            return Err(SendError::failed("once"));
        }
        let mut report = Report::delivered();
        for (index, record) in batch.iter().enumerate() {
            tokio::task::yield_now().await;
            match record.data {
                b"bad" => report = report.rejected(index, "it is bad"),
                data => self.sent.lock().unwrap().push(String::from_utf8(data.to_vec()).unwrap()),
            }
        }
        Ok(report)
    }

    fn limits(&self) -> Limits {
        Limits { max_record_bytes: Some(10), checks_records: true, ..Limits::default() }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        if record.data.is_empty() { Err("nothing to send".into()) } else { Ok(()) }
    }
}

/// Keeps a memo that it has to wait for, and says at each attempt which it got; takes nothing before the third.
#[derive(Clone, Default)]
struct Keeper {
    prepared: Arc<AtomicUsize>,
    memos: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl AsyncSink for Keeper {
    async fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(batch.memo().is_none());
        match self.prepared.fetch_add(1, Ordering::Relaxed) {
            0 => Err(SendError::failed("not yet")),
            number => Ok(Some(format!("memo {number}").into_bytes())),
        }
    }

    async fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        self.memos.lock().unwrap().push(batch.memo().map(<[u8]>::to_vec));
        if self.memos.lock().unwrap().len() < 3 { Err(SendError::failed("no")) } else { Ok(Report::delivered()) }
    }
}

#[test]
fn an_async_sink_keeps_a_memo_that_it_waited_for() {
    let (dir, runtime, sink) = (scratch(), runtime(), Keeper::default());
    let producer = builder(&dir).open(from_async(on(&runtime), sink.clone())).unwrap();
    producer.put_many(["1", "2"]).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(
        sink.prepared.load(Ordering::Relaxed),
        2,
        "asked again where it failed, and not where it kept something"
    );
    assert_eq!(*sink.memos.lock().unwrap(), vec![Some(b"memo 1".to_vec()); 3]);
}

/// Never says what to keep.
struct NeverPrepared(Arc<AtomicBool>);

impl AsyncSink for NeverPrepared {
    async fn prepare(&self, _: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        self.0.store(true, Ordering::SeqCst);
        pending().await
    }

    async fn send(&self, _: &Batch) -> Result<Report, SendError> {
        panic!("nothing was prepared")
    }
}

#[test]
fn closing_interrupts_what_prepares() {
    let (dir, runtime, begun) = (scratch(), runtime(), Arc::new(AtomicBool::new(false)));
    let producer = builder(&dir).open(from_async(on(&runtime), NeverPrepared(begun.clone()))).unwrap();
    producer.put_many(["1", "2"]).unwrap();
    wait_until("it prepares", || begun.load(Ordering::SeqCst));
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 2);
    drop(producer);
    let image = Inspection::open(&dir).unwrap().stats().unwrap();
    assert_eq!((image.pending_records, image.head_attempts), (2, 0));
}

#[test]
fn an_async_sink_is_a_sink() {
    let (dir, runtime, sink) = (scratch(), runtime(), Careful::default());
    let sent = sink.sent.clone();
    let producer = builder(&dir).open(from_async(on(&runtime), sink)).unwrap();
    producer.put_many(["1", "2", "bad", "4", "5"]).unwrap();
    assert_eq!(producer.put("").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(producer.put("longer than ten").unwrap_err().kind(), ErrorKind::RecordTooLarge);
    producer.flush(LONG).unwrap();
    assert_eq!(*sent.lock().unwrap(), ["1", "2", "4", "5"]);
    let stats = producer.stats();
    assert_eq!((stats.failed_attempts, stats.rejected_records, stats.delivered_records), (3, 1, 4));
    assert_eq!(producer.dead_letters().list().unwrap()[0].sink, "async sink");
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

/// Waits for others to be inside, too.
struct Together(tokio::sync::Barrier);

impl AsyncSink for Together {
    async fn send(&self, _: &Batch) -> Result<Report, SendError> {
        self.0.wait().await;
        Ok(Report::delivered())
    }
}

#[test]
fn as_many_are_under_way_as_max_in_flight_says() {
    let (dir, runtime) = (scratch(), runtime());
    let sink = from_async(on(&runtime), Together(tokio::sync::Barrier::new(4)));
    let producer = builder(&dir).max_records(1).max_in_flight(4).open(sink).unwrap();
    producer.put_many(["1", "2", "3", "4"]).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(producer.stats().delivered_records, 4);
}

/// A target that never answers; its futures say when they are dropped.
#[derive(Default)]
struct Silent {
    entered: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl AsyncSink for Silent {
    async fn send(&self, _: &Batch) -> Result<Report, SendError> {
        struct Guard<'a>(&'a AtomicUsize);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _guard = Guard(&self.dropped);
        self.entered.fetch_add(1, Ordering::SeqCst);
        pending().await
    }
}

#[test]
fn closing_cuts_the_sends_short_and_they_count_nothing() {
    let (dir, runtime, sink) = (scratch(), runtime(), Silent::default());
    let (entered, dropped) = (sink.entered.clone(), sink.dropped.clone());
    let producer = builder(&dir).max_in_flight(3).open(from_async(on(&runtime), sink)).unwrap();
    producer.put_many(["1", "2", "3", "4", "5", "6", "7"]).unwrap();
    wait_until("three are under way", || entered.load(Ordering::SeqCst) == 3);
    let began = Instant::now();
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 7);
    // Two seconds are what it would wait for a sink that does not return.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
    let stats = producer.stats();
    assert_eq!((stats.failed_attempts, stats.unavailable_attempts, stats.pending_records), (0, 0, 7));

    let sent = Collector::default();
    let producer = builder(&dir).open(sent.clone()).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["1", "2", "3", "4", "5", "6", "7"]);
}

/// Panics once.
#[derive(Default)]
struct Panicking(AtomicBool);

impl AsyncSink for Panicking {
    async fn send(&self, _: &Batch) -> Result<Report, SendError> {
        tokio::task::yield_now().await;
        assert!(self.0.swap(true, Ordering::Relaxed), "I am a sink that panics");
        Ok(Report::delivered())
    }
}

#[test]
fn a_future_that_panics_is_a_failed_attempt() {
    let (dir, runtime) = (scratch(), runtime());
    let producer = builder(&dir).open(from_async(on(&runtime), Panicking::default())).unwrap();
    producer.put("x").unwrap();
    producer.flush(LONG).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.failed_attempts, stats.delivered_records), (1, 1));
}

/// All that a runtime has to be able to do.
fn block_on(mut sending: Sending<'_>) {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while sending.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
        std::thread::park();
    }
}

#[test]
fn no_runtime_in_particular_is_needed() {
    let (dir, sink) = (scratch(), Silent::default());
    let entered = sink.entered.clone();
    let producer = builder(&dir).open(from_async(block_on, sink)).unwrap();
    producer.put("x").unwrap();
    wait_until("it is under way", || entered.load(Ordering::SeqCst) == 1);
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 1);
}

#[test]
fn a_runtime_that_gives_up_counts_nothing() {
    let (dir, sink) = (scratch(), Silent::default());
    let producer = builder(&dir).open(from_async(|_: Sending<'_>| {}, sink)).unwrap();
    producer.put("x").unwrap();
    wait_until("it was tried", || producer.stats().attempts > 0);
    wait_until("it is known", || !producer.stats().last_error.is_empty());
    let stats = producer.stats();
    assert_eq!((stats.failed_attempts, stats.dead_letters, stats.pending_records), (0, 0, 1));
    assert!(stats.last_error.contains("the runtime has not driven the sink to its end"), "{}", stats.last_error);
}
