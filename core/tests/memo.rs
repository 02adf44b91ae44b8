//! What a sink keeps with a batch: asked for before the first attempt, on disk before anything is sent, and there at every later
//! attempt, across restarts.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use unistream::limits::MAX_MEMO_BYTES;
use unistream::*;

/// What a sink was asked and given.
#[derive(Default)]
struct Notes {
    prepared: AtomicU64,
    /// The batch's id and memo at each attempt.
    sent: Mutex<Vec<(String, Option<Vec<u8>>)>>,
    /// Where the buffer was copied to at each attempt: as it is found if the process dies there.
    images: Mutex<Vec<tempfile::TempDir>>,
}

/// A sink that keeps a memo, another one each time that it is asked, and fails.
struct Keeps {
    notes: Arc<Notes>,
    dir: std::path::PathBuf,
    memo: fn(u64) -> std::result::Result<Option<Vec<u8>>, SendError>,
    takes: bool,
}

impl Sink for Keeps {
    fn prepare(&self, _batch: &Batch) -> std::result::Result<Option<Vec<u8>>, SendError> {
        (self.memo)(self.notes.prepared.fetch_add(1, Ordering::SeqCst))
    }

    fn send(&self, batch: &Batch) -> std::result::Result<Report, SendError> {
        let image = scratch();
        copy_dir(&self.dir, image.path());
        self.notes.images.lock().unwrap().push(image);
        self.notes.sent.lock().unwrap().push((batch.id(), batch.memo().map(<[u8]>::to_vec)));
        if self.takes { Ok(Report::delivered()) } else { Err(SendError::failed("no")) }
    }
}

fn unique(number: u64) -> std::result::Result<Option<Vec<u8>>, SendError> {
    Ok(Some(format!("memo {number}").into_bytes()))
}

fn builder(dir: &std::path::Path) -> Builder {
    let waits = vec![Duration::from_millis(1)];
    Producer::builder(dir).max_records(2).schedule_waits(waits).jitter(Jitter::None).max_attempts(1000).linger(NEVER)
}

fn keeps(
    dir: &std::path::Path,
    memo: fn(u64) -> std::result::Result<Option<Vec<u8>>, SendError>,
) -> (Keeps, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    (Keeps { notes: notes.clone(), dir: dir.to_owned(), memo, takes: false }, notes)
}

#[test]
fn a_memo_comes_with_every_attempt_wherever_the_process_dies() {
    for durability in [Durability::Os, Durability::Interval, Durability::Always] {
        let dir = scratch();
        let (sink, notes) = keeps(dir.path(), unique);
        let producer = builder(dir.path()).durability(durability).open(sink).unwrap();
        ["a", "b"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
        wait_until("several attempts", || notes.sent.lock().unwrap().len() > 3);
        producer.close(Duration::ZERO).unwrap();
        let sent = notes.sent.lock().unwrap().clone();
        assert!(sent.iter().all(|attempt| *attempt == sent[0]), "{sent:?}");
        assert_eq!((sent[0].1.as_deref(), notes.prepared.load(Ordering::SeqCst)), (Some(&b"memo 0"[..]), 1));
        // By the page it stands in the cursor, which a program that does not know of memos refuses.
        let image = notes.images.lock().unwrap()[0].path().to_owned();
        let files = (0..4).map(|which| std::fs::read(image.join(format!("cursor.{which}"))).unwrap());
        let cursor = files.filter_map(|bytes| format::cursor(&bytes)).max_by_key(|cursor| cursor.generation).unwrap();
        assert_eq!(cursor.memos, [(1, 0, b"memo 0".to_vec())]);
        // A process that died inside any of the attempts, also inside the first, and one that closed.
        let images = std::mem::take(&mut *notes.images.lock().unwrap());
        for image in images.iter().map(tempfile::TempDir::path).chain([dir.path()]) {
            let (mut sink, again) = keeps(image, |number| unique(number + 100));
            sink.takes = true;
            let producer = builder(image).durability(durability).open(sink).unwrap();
            producer.flush(LONG).unwrap();
            assert_eq!(*again.sent.lock().unwrap(), [sent[0].clone()]);
            assert_eq!(again.prepared.load(Ordering::SeqCst), 0, "it has one");
            // Nothing of it is left when the batch is finished.
            ["c", "d"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
            producer.flush(LONG).unwrap();
            assert_eq!(again.sent.lock().unwrap()[1].1.as_deref(), Some(&b"memo 100"[..]));
        }
    }
}

/// A fresh round of attempts is one at the same batch: what was sent of it may have arrived.
#[test]
fn a_memo_outlives_the_attempts_that_are_forgotten() {
    let dir = scratch();
    let (sink, notes) = keeps(dir.path(), unique);
    let producer = builder(dir.path()).max_attempts(2).on_exhausted(OnExhausted::Raise).open(sink).unwrap();
    ["a", "b"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::RetriesExhausted);
    producer.resume().unwrap();
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::RetriesExhausted);
    let sent = notes.sent.lock().unwrap().clone();
    assert_eq!((sent.len(), sent.iter().all(|attempt| *attempt == sent[0])), (4, true), "{sent:?}");
    assert_eq!(notes.prepared.load(Ordering::SeqCst), 1);
}

/// Lanes are batches of their own: each has its memo.
#[test]
fn each_lane_has_its_own_memo() {
    let dir = scratch();
    let (sink, notes) = keeps(dir.path(), unique);
    let producer = builder(dir.path()).max_records(8).order(Order::Key).max_in_flight(4).open(sink).unwrap();
    for key in 0..32u8 {
        producer.put(NewRecord::new(b"x").key(&[key])).unwrap();
    }
    wait_until("several attempts", || notes.sent.lock().unwrap().len() > 20);
    producer.close(Duration::ZERO).unwrap();
    let mut known = std::collections::BTreeMap::new();
    for (id, memo) in notes.sent.lock().unwrap().iter() {
        assert_eq!(known.entry(id.clone()).or_insert_with(|| memo.clone()), memo);
    }
    let different: std::collections::BTreeSet<_> = known.values().collect();
    assert!(known.len() > 1 && different.len() == known.len(), "{known:?}");
    let (mut sink, again) = keeps(dir.path(), |number| unique(number + 100));
    sink.takes = true;
    let producer = builder(dir.path()).open(sink).unwrap();
    producer.flush(LONG).unwrap();
    for (id, memo) in again.sent.lock().unwrap().iter().filter(|(id, _)| known.contains_key(id)) {
        assert_eq!(&known[id], memo);
    }
}

#[test]
fn what_cannot_be_kept_is_a_failed_attempt_and_nothing_is_sent() {
    let cases: [(fn(u64) -> std::result::Result<Option<Vec<u8>>, SendError>, &str); 3] = [
        (|_| Ok(Some(vec![0; MAX_MEMO_BYTES + 1])), "4097 bytes"),
        (|_| Err(SendError::failed("cannot say")), "cannot say"),
        (|_| panic!("on purpose"), "panicked"),
    ];
    for (memo, reason) in cases {
        let dir = scratch();
        let (sink, notes) = keeps(dir.path(), memo);
        let producer = builder(dir.path()).max_attempts(2).open(sink).unwrap();
        ["a", "b"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
        producer.flush(LONG).unwrap();
        let letter = producer.dead_letters().list().unwrap().remove(0);
        assert!(letter.records.len() == 2 && letter.errors[0].contains(reason), "{:?}", letter.errors);
        assert!(notes.sent.lock().unwrap().is_empty());
        assert_eq!(notes.prepared.load(Ordering::SeqCst), 2);
    }
}

/// The longest, and none: which is asked for again.
#[test]
fn a_memo_may_be_long_or_missing() {
    let dir = scratch();
    let (sink, notes) = keeps(dir.path(), |number| Ok((number > 1).then(|| vec![7; MAX_MEMO_BYTES])));
    let producer = builder(dir.path()).open(sink).unwrap();
    ["a", "b"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
    wait_until("several attempts", || notes.sent.lock().unwrap().len() > 4);
    producer.close(Duration::ZERO).unwrap();
    let sent = notes.sent.lock().unwrap().clone();
    assert!(sent[0].1.is_none() && sent[1].1.is_none());
    assert!(sent[2..].iter().all(|(_, memo)| memo.as_deref() == Some(&[7; MAX_MEMO_BYTES][..])));
    assert_eq!(notes.prepared.load(Ordering::SeqCst), 3);
}

/// A program that takes batches by hand says what to keep itself, before it sends: there at every later handing-out, whichever
/// clone of the batch it answers with.
#[test]
fn manual_mode_keeps_a_memo_with_the_batch_that_was_handed_out() {
    let dir = scratch();
    let open = |dir: &std::path::Path| builder(dir).mode(Mode::Manual).open_manual(Limits::default()).unwrap();
    let producer = open(dir.path());
    ["a", "b"].iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
    let mut batch = producer.next_batch().unwrap().unwrap();
    let before = batch.clone();
    assert_eq!(batch.memo(), None);
    let refused = |error: Error, words: &str| assert!(error.message().contains(words), "{error}");
    refused(producer.keep_memo(&mut batch, vec![0; MAX_MEMO_BYTES + 1]).unwrap_err(), "4097 bytes");
    assert_eq!(batch.memo(), None);
    producer.keep_memo(&mut batch, "one").unwrap();
    assert_eq!(batch.memo(), Some(&b"one"[..]));
    // What was sent with it may have arrived: it is not exchanged, also not by a clone that does not know of it.
    refused(producer.keep_memo(&mut batch, "two").unwrap_err(), "has a memo");
    refused(producer.keep_memo(&mut before.clone(), "two").unwrap_err(), "has a memo");
    // A process that died here, and one that answered with a clone of before.
    let image = scratch();
    copy_dir(dir.path(), image.path());
    let mut late = before.clone();
    producer.settle(before, Err(SendError::failed("no"))).unwrap();
    assert_eq!(producer.keep_memo(&mut late, "three").unwrap_err().kind(), ErrorKind::NotFound);
    let again = next_batch(&producer);
    assert_eq!((again.memo(), again.attempt()), (Some(&b"one"[..]), 2));
    let half = Report::delivered().failed(1, "the rest");
    producer.settle(again, Ok(half)).unwrap();
    assert_eq!(next_batch(&producer).memo(), Some(&b"one"[..]));
    producer.close(Duration::ZERO).unwrap();
    assert_eq!(producer.keep_memo(&mut late, "three").unwrap_err().kind(), ErrorKind::Closed);
    drop((producer, late));
    for dir in [image.path(), dir.path()] {
        let producer = open(dir);
        let batch = next_batch(&producer);
        assert_eq!(batch.memo(), Some(&b"one"[..]));
        producer.settle(batch, Ok(Report::delivered())).unwrap();
        // A batch of a dead letter, or of no buffer, is nobody's.
        let mut alone = Batch::from_records([NewRecord::new(b"x")]);
        assert_eq!(producer.keep_memo(&mut alone, "x").unwrap_err().kind(), ErrorKind::NotFound);
    }
    let other = scratch();
    let background = builder(other.path()).open(NullSink).unwrap();
    let mut alone = Batch::from_records([NewRecord::new(b"x")]);
    assert_eq!(background.keep_memo(&mut alone, "x").unwrap_err().kind(), ErrorKind::WrongMode);
}

fn next_batch(producer: &Producer) -> Batch {
    let mut batch = None;
    wait_until("the batch is due", || {
        batch = producer.next_batch().unwrap();
        batch.is_some()
    });
    batch.unwrap()
}
