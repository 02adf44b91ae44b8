//! Delivery reports: who puts a record by `put_with` or `put_confirmed` hears once what became of it, whatever that is.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use common::*;
use unistream::*;

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir.join("buffer"))
        .max_records(4)
        .linger(NEVER)
        .segment_bytes(64 << 10)
        .schedule_max(Duration::ZERO)
}

/// Puts texts and gives what is reported of them.
fn put_all(producer: &Producer, texts: &[&str]) -> (Vec<u64>, Receiver<DeliveryReport>) {
    let (tell, told) = channel();
    let put = |text: &&str| {
        let tell = tell.clone();
        producer.put_with(*text, move |report| drop(tell.send(report))).unwrap()
    };
    (texts.iter().map(put).collect(), told)
}

/// Every report, by seq, once nobody can tell any more.
fn all(told: &Receiver<DeliveryReport>) -> BTreeMap<u64, DeliveryReport> {
    let mut reports = BTreeMap::new();
    while let Ok(report) = told.recv_timeout(LONG) {
        assert!(reports.insert(report.seq, report).is_none(), "each is told once");
    }
    reports
}

fn named(reports: &BTreeMap<u64, DeliveryReport>) -> Vec<&'static str> {
    reports.values().map(|report| report.delivery.name()).collect()
}

/// Rejects "r", fails "f", says something of the rest.
fn by_text(batch: &Batch) -> Report {
    let mut report = Report::delivered();
    for (index, record) in batch.iter().enumerate() {
        match record.data[0] {
            b'r' => report.set(index, Outcome::Rejected { reason: "begins with r".into() }),
            b'f' => report.set(index, Outcome::Failed { error: Arc::new(std::io::Error::other("no room")) }),
            _ if batch.wants_receipts() => report.set_receipt(index, format!("offset {}", record.seq + 100)),
            _ => {}
        }
    }
    report
}

#[test]
fn each_record_is_told_of_once() {
    for (mode, attempts) in [("background", "2"), ("inline", "2"), ("manual", "2")] {
        let root = tempfile::tempdir().unwrap();
        let open = builder(root.path()).set("mode", mode).unwrap().set("max_attempts", attempts).unwrap();
        let producer = match mode {
            "manual" => open.open_manual(Limits::default()).unwrap(),
            _ => open.open(sink::from_fn(by_text)).unwrap(),
        };
        let (seqs, told) = put_all(&producer, &["a", "r", "f", "b", "c", "d", "e", "r"]);
        producer.put("nobody waits").unwrap();
        if mode == "manual" {
            assert_eq!(producer.flush(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
            while let Some(batch) = producer.next_batch().unwrap() {
                let report = by_text(&batch);
                producer.settle(batch, Ok(report)).unwrap();
            }
        }
        producer.flush(LONG).unwrap();
        producer.close(LONG).unwrap();
        let reports = all(&told);
        assert_eq!(reports.keys().copied().collect::<Vec<_>>(), seqs);
        let (d, x) = ("delivered", "dead_lettered");
        assert_eq!(named(&reports), [d, x, x, d, d, d, d, x], "{mode}");
        assert_eq!(reports[&seqs[1]].reason, "begins with r");
        assert_eq!(reports[&seqs[2]].reason, "no room");
        // In manual mode the program has sent it, and knows.
        let receipt = if mode == "manual" { None } else { Some(format!("offset {}", seqs[3] + 100)) };
        assert_eq!(reports[&seqs[3]].receipt, receipt);
        assert_eq!((reports[&seqs[1]].receipt.as_deref(), &*reports[&seqs[3]].reason), (None, ""));
    }
}

#[test]
fn what_is_dropped_expired_or_left_is_told_too() {
    // Dropped: the log is full, and the sink takes nothing.
    let root = tempfile::tempdir().unwrap();
    let open = builder(root.path()).max_buffer_bytes(256 << 10).when_full(WhenFull::DropOldest);
    let producer = open.open_manual(Limits::default()).unwrap();
    let text = "x".repeat(8 << 10);
    let (seqs, told) = put_all(&producer, &vec![&*text; 60]);
    producer.close(Duration::ZERO).unwrap();
    let reports = all(&told);
    assert_eq!(reports.len(), seqs.len());
    let dropped = named(&reports).iter().filter(|name| **name == "dropped").count();
    assert!(dropped > 20 && named(&reports)[..dropped].iter().all(|name| *name == "dropped"), "{:?}", named(&reports));
    assert!(named(&reports)[dropped..].iter().all(|name| *name == "closed"));
    // The others are there.
    let left = drain_with(Producer::builder(root.path().join("buffer")).segment_bytes(64 << 10));
    assert_eq!(left.seqs(), seqs[dropped..]);
    // Expired.
    for on_expired in [OnExpired::Drop, OnExpired::DeadLetter] {
        let root = tempfile::tempdir().unwrap();
        let producer = builder(root.path()).on_expired(on_expired).open(NullSink).unwrap();
        let (tell, told) = channel();
        let past = time::micros(SystemTime::now()) - 1_000_000;
        for (text, expires_at) in [("old", Some(past)), ("young", None), ("old too", Some(past)), ("last", None)] {
            let (tell, record) = (tell.clone(), NewRecord { expires_at, ..NewRecord::new(text.as_bytes()) });
            producer.put_with(record, move |report| drop(tell.send(report))).unwrap();
        }
        drop(tell);
        producer.flush(LONG).unwrap();
        assert_eq!(named(&all(&told)), ["expired", "delivered", "expired", "delivered"]);
    }
}

/// A batch in lanes, several in flight, a sink that fails every other time: each record once, and only when it is so.
#[test]
fn lanes_and_several_in_flight_are_right() {
    let root = tempfile::tempdir().unwrap();
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, calls) = (taken.clone(), AtomicU64::new(0));
    let sink = sink::from_fn(move |batch: &Batch| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        if call.is_multiple_of(3) {
            return Err(SendError::unavailable("not this time"));
        }
        // Half of it, now and then.
        let takes = if call.is_multiple_of(5) { batch.len().div_ceil(2) } else { batch.len() };
        let mut report = Report::delivered();
        for (index, record) in batch.iter().enumerate() {
            if index < takes {
                seen.lock().unwrap().insert(record.seq);
            } else {
                report = report.unavailable(index, "later", None);
            }
        }
        Ok(report)
    });
    let open = builder(root.path()).max_records(50).max_in_flight(4).order(Order::Key);
    let producer = Arc::new(open.open(sink).unwrap());
    let told = Arc::new(Mutex::new(BTreeMap::new()));
    let early = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (producer, told, taken, early) = (&producer, &told, &taken, &early);
            scope.spawn(move || {
                for number in 0..1000 {
                    let key = format!("{}", (number * 7 + thread) % 13);
                    let record = NewRecord { key: Some(key.as_bytes()), ..NewRecord::new(b"record") };
                    let (told, taken, early) = (told.clone(), taken.clone(), early.clone());
                    let on_report = move |report: DeliveryReport| {
                        if !taken.lock().unwrap().contains(&report.seq) {
                            early.store(true, Ordering::SeqCst);
                        }
                        let before = told.lock().unwrap().insert(report.seq, report.delivery);
                        assert!(before.is_none());
                    };
                    producer.put_with(record, on_report).unwrap();
                    if number % 3 == 0 {
                        producer.put("nobody waits").unwrap();
                    }
                }
            });
        }
    });
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 4000);
    assert!(told.values().all(|delivery| *delivery == Delivery::Delivered));
    assert!(!early.load(Ordering::SeqCst), "nothing was told before it was so");
}

/// Code of the user's runs with no lock held: others put, and ask for reports, while one of them waits. What it calls of its own producer is refused.
#[test]
fn a_report_may_take_its_time_and_may_panic() {
    let root = tempfile::tempdir().unwrap();
    let producer = Arc::new(builder(root.path()).max_records(1).open(NullSink).unwrap());
    let (release, waits) = channel::<()>();
    let (tell, told) = channel();
    let inner = Arc::downgrade(&producer);
    let holds = move |_| {
        let producer = inner.upgrade().unwrap();
        tell.send(producer.put("from inside").unwrap_err().kind()).unwrap();
        assert!(producer.stats().put_records >= 1);
        waits.recv_timeout(LONG).unwrap();
        panic!("it ends badly");
    };
    // On a thread of its own: it may be this one that is told, if the record is delivered before its put has returned.
    let puts = producer.clone();
    let slow = std::thread::spawn(move || puts.put_with("slow", holds).unwrap());
    assert_eq!(told.recv_timeout(LONG).unwrap(), ErrorKind::Reentrant);
    let others: Vec<_> = (0..10).map(|_| producer.put_confirmed("other").unwrap()).collect();
    // The only sender is inside, unless it is the other thread's own call.
    let _ = others[0].wait(Duration::from_millis(20));
    release.send(()).unwrap();
    for other in &others {
        assert!(other.wait(LONG).unwrap().is_delivered());
    }
    slow.join().unwrap();
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_confirmation_is_a_future_and_can_be_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let producer = builder(root.path()).open_manual(Limits::default()).unwrap();
    let mut confirmation = producer.put_confirmed("record").unwrap();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut poll = || Future::poll(std::pin::Pin::new(&mut confirmation), &mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    drop(producer.put_confirmed("nobody looks").unwrap());
    assert_eq!(producer.flush(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    let batch = producer.next_batch().unwrap().unwrap();
    assert!(!flag.0.load(Ordering::SeqCst));
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert!(flag.0.load(Ordering::SeqCst));
    let Poll::Ready(report) = poll() else { panic!("it is over") };
    assert_eq!((report.delivery, report.seq), (Delivery::Delivered, 1));
    assert_eq!(confirmation.wait(Duration::ZERO).unwrap(), report);
}

/// A put that fails drops the closure; one that was never made, too; a closed producer tells at once.
#[test]
fn what_was_not_put_is_not_told() {
    let root = tempfile::tempdir().unwrap();
    let producer = builder(root.path()).max_record_bytes(10).open(NullSink).unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let (counted, kept) = (Arc::new(()), told.clone());
    let held = counted.clone();
    let on_report = move |_| {
        let _held = &held;
        kept.store(true, Ordering::SeqCst);
    };
    assert_eq!(producer.put_with("too large a record", on_report).unwrap_err().kind(), ErrorKind::RecordTooLarge);
    assert_eq!(Arc::strong_count(&counted), 1);
    drop(producer.reporting().unwrap());
    let reporting = producer.reporting().unwrap();
    producer.put("one").unwrap();
    let seq = producer.put("two").unwrap();
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
    // Named only now: it was kept what became of it.
    let (tell, heard) = channel();
    reporting.attach(seq, move |report: DeliveryReport| tell.send(report.delivery).unwrap());
    assert_eq!(heard.try_recv().unwrap(), Delivery::Delivered);
    // Of a closed producer there is nothing to hear, and its put says so.
    assert_eq!(producer.put_with("late", |_| ()).unwrap_err().kind(), ErrorKind::Closed);
    assert!(!told.load(Ordering::SeqCst));
}

/// What is damaged on disk is passed over, and who waits hears of it.
#[test]
fn a_record_that_is_damaged_is_told_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let works = Arc::new(AtomicBool::new(false));
    let seen = works.clone();
    let sink = sink::from_fn(move |_: &Batch| match seen.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(SendError::unavailable("not yet")),
    });
    let hour = Duration::from_secs(3600);
    let open = builder(root.path()).max_records(1).schedule_min(hour).schedule_max(hour).storage(Storage::File);
    let producer = open.open(sink).unwrap();
    let first = producer.put_confirmed("first").unwrap();
    wait_until("it was tried", || producer.stats().unavailable_attempts == 1);
    let damaged = producer.put_confirmed("to be damaged").unwrap();
    let last = producer.put_confirmed("last").unwrap();
    let segment = &segments(root.path().join("buffer"))[0];
    let mut bytes = std::fs::read(segment).unwrap();
    let at = bytes.windows(13).position(|window| window == b"to be damaged").unwrap();
    bytes[at] ^= 1;
    // In place: the log has it open.
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(segment).unwrap(),
        &bytes[at..=at],
        at as u64,
    )
    .unwrap();
    works.store(true, Ordering::SeqCst);
    producer.resume().unwrap();
    assert!(first.wait(LONG).unwrap().is_delivered());
    assert!(last.wait(LONG).unwrap().is_delivered());
    assert_eq!(damaged.wait(LONG).unwrap().delivery, Delivery::Lost);
}

/// In a forked child nobody is told: what waits is the parent's.
#[test]
fn a_fork_leaves_the_reports_to_the_parent() {
    let root = tempfile::tempdir().unwrap();
    let producer = builder(root.path()).shared(true).open_manual(Limits::default()).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    producer
        .put_with("parent", move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    let code = in_fork(|| {
        let (tell, heard) = channel();
        producer.put_with("child", move |report: DeliveryReport| tell.send(report.delivery).unwrap()).unwrap();
        producer.close(Duration::ZERO).unwrap();
        let own = heard.try_recv() == Ok(Delivery::Closed);
        i32::from(!(own && told.load(Ordering::SeqCst) == 0))
    });
    assert_eq!(code, 0);
    assert_eq!(producer.flush(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
    producer.close(LONG).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
}
