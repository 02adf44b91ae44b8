//! What was given up on is kept with the reasons, until somebody replays or deletes it.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use unistream::*;

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir)
        .durability(Durability::Os)
        .segment_bytes(64 << 10)
        .max_records(2)
        .linger(NEVER)
        .max_attempts(1)
        .schedule_max(Duration::ZERO)
}

/// A sink that takes all or nothing, as the test says.
fn switched(open: &Arc<AtomicBool>, sent: &Collector) -> impl Sink + use<> {
    let (open, sent) = (open.clone(), sent.clone());
    sink::from_fn(move |batch: &Batch| {
        if open.load(Ordering::Relaxed) {
            sent.add(batch);
            return Ok(());
        }
        Err(SendError::failed("closed"))
    })
}

#[test]
fn letters_that_would_exceed_their_cap_stop_the_producer_and_cost_nothing() {
    let dir = scratch();
    // Each letter takes some 800 bytes.
    let open = || builder(dir.path()).max_dead_letter_bytes(2500);
    let producer = open().open(failing()).unwrap();
    let mut accepted = 0;
    let error = loop {
        match producer.put(&format!("{accepted}")) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::DeadLettersFull, false), "{error}");
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::DeadLettersFull);
    let stats = producer.stats();
    assert_eq!(stats.state, State::Stopped);
    assert!(stats.dead_letter_bytes <= 2500 && stats.dead_letters >= 2);
    let letters = producer.dead_letters();
    let buried: usize = letters.list().unwrap().iter().map(|letter| letter.records.len()).sum();
    assert_eq!(buried as u64 + stats.pending_records, accepted, "there is no fourth place");
    // It stays so until there is room: resuming alone runs into the same wall.
    producer.resume().unwrap();
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::DeadLettersFull);
    // Deleting makes room, and resume goes on.
    for letter in letters.list().unwrap() {
        letters.delete(&letter.id).unwrap();
    }
    producer.resume().unwrap();
    let more = producer.put("more").unwrap();
    assert_eq!(more, accepted + 1);
    let _ = producer.flush(LONG);
    let now: usize = letters.list().unwrap().iter().map(|letter| letter.records.len()).sum();
    assert_eq!(now as u64 + producer.stats().pending_records, accepted + 1 - buried as u64);
    producer.close(Duration::ZERO).err();
    // A restart counts what is there.
    let producer = open().open(failing()).unwrap();
    assert_eq!(producer.stats().dead_letters, letters.list().unwrap().len() as u64);
}

#[test]
fn a_cap_that_stops_a_producer_leaves_the_records_to_a_sink_that_came_back() {
    let dir = scratch();
    let (gate, sent) = (Arc::new(AtomicBool::new(false)), Collector::default());
    let producer = builder(dir.path()).max_dead_letter_bytes(0).open(switched(&gate, &sent)).unwrap();
    producer.put("1").unwrap();
    producer.put("2").unwrap();
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::DeadLettersFull);
    gate.store(true, Ordering::Relaxed);
    producer.resume().unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["1", "2"]);
    assert_eq!(producer.stats().dead_letters, 0);
}

#[test]
fn a_letter_takes_the_disk_that_it_takes_whatever_it_says() {
    let dir = scratch();
    let bury = || {
        let producer = builder(dir.path()).open(failing()).unwrap();
        producer.put("1").unwrap();
        producer.put("2").unwrap();
        producer.flush(LONG).unwrap();
        producer.close(LONG).unwrap();
        producer.stats()
    };
    bury();
    let folder = dir.path().join("dead-letters");
    let json = DeadLetters::open(dir.path()).list().unwrap().remove(0).id + ".json";
    let text = fs::read_to_string(folder.join(&json)).unwrap();
    let claimed = text.lines().find(|line| line.contains("records_bytes")).unwrap();
    fs::write(folder.join(&json), text.replace(claimed, "  \"records_bytes\": 18446744073709551615,")).unwrap();
    // A sum that overflows would be a crash, and a full cap would stop the producer.
    let stats = bury();
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!((stats.dead_letters, stats.dead_letter_bytes), (2, files.sum()));
}

#[test]
fn a_letter_says_what_and_why_and_replays_as_it_was_put() {
    let dir = scratch();
    let (gate, sent) = (Arc::new(AtomicBool::new(false)), Collector::default());
    let producer = builder(dir.path()).max_records(3).open(switched(&gate, &sent)).unwrap();
    producer.put(NewRecord::new(b"a").id("first").key(b"k1").created_at(1_000_000)).unwrap();
    producer.put(NewRecord::new(b"").id("").key(b"").created_at(-5)).unwrap();
    let headers = [("traceparent", &b"00-4bf9"[..]), ("none", b"")];
    let carries = NewRecord::new(b"\xff\x00\n").created_at(3).topic("t").expires_at(7).headers(&headers);
    producer.put(carries).unwrap();
    producer.flush(LONG).unwrap();
    let letter = producer.dead_letters().list().unwrap().remove(0);
    assert_eq!(
        (letter.attempts, letter.sink.as_str(), letter.errors.as_slice()),
        (1, "callback", &["closed".to_owned()][..])
    );
    assert!(letter.first_attempt <= letter.last_attempt && letter.last_attempt <= letter.created_at);
    assert_eq!(letter.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(letter.records.iter().all(|record| record.reason == "closed" && !record.rejected));
    assert_eq!((letter.records[0].id.as_str(), letter.records[1].id.as_str()), ("first", ""));
    // For a person, too.
    let text = fs::read_to_string(dir.path().join("dead-letters").join(format!("{}.json", letter.id))).unwrap();
    assert!(text.contains("\"batch_id\"") && text.contains("\"reason\": \"closed\""), "{text}");
    let there = SeenBatch::of(&letter.batch().unwrap());

    gate.store(true, Ordering::Relaxed);
    producer.put("later").unwrap();
    assert_eq!(producer.replay_dead_letter(&letter.id).unwrap(), 3);
    producer.flush(LONG).unwrap();
    assert_eq!(producer.dead_letters().get(&letter.id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(producer.replay_dead_letter(&letter.id).unwrap_err().kind(), ErrorKind::NotFound);
    let records: Vec<_> = sent.batches().into_iter().flat_map(|batch| batch.records).collect();
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [4, 5, 6, 7], "they are put again");
    for (again, before) in records[1..].iter().zip(&there.records) {
        assert_eq!((&again.key, again.created_at, &again.data), (&before.key, before.created_at, &before.data));
        assert_eq!(again.attributes, before.attributes);
    }
    assert_eq!((records[1].id.as_str(), records[2].id.as_str()), ("first", ""));
    let expected = headers.map(|(name, value)| (name.to_owned(), value.to_vec()));
    assert_eq!(records[3].attributes, (Some("t".into()), Some(7), expected.to_vec()));
    let files = fs::read_dir(dir.path().join("dead-letters")).unwrap().count();
    assert_eq!(files, 0, "nothing of it is left");
}

#[test]
fn several_letters_replay_in_the_order_of_their_records() {
    let dir = scratch();
    let (gate, sent) = (Arc::new(AtomicBool::new(false)), Collector::default());
    let producer = builder(dir.path()).open(switched(&gate, &sent)).unwrap();
    for number in 0..30 {
        producer.put(&number.to_string()).unwrap();
    }
    producer.flush(LONG).unwrap();
    gate.store(true, Ordering::Relaxed);
    // Names sort 1, 11, 13, ..; letters do not.
    for letter in producer.dead_letters().list().unwrap() {
        producer.replay_dead_letter(&letter.id).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), (0..30).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn rejected_records_are_dead_at_once_and_the_rest_goes_on() {
    let dir = scratch();
    let sent = Collector::default();
    let kept = sent.clone();
    let sink = sink::from_fn(move |batch: &Batch| {
        kept.add(batch);
        let bad = batch.iter().position(|record| record.data == b"bad");
        bad.map_or_else(Report::delivered, |index| Report::delivered().rejected(index, "not UTF-16"))
    });
    let producer = builder(dir.path()).max_records(3).max_attempts(10).open(sink).unwrap();
    for text in ["1", "bad", "2", "3", "4", "5"] {
        producer.put(text).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(sent.batches().len(), 2, "no second attempt");
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!((letters.len(), letters[0].records.len()), (1, 1));
    let dead = &letters[0].records[0];
    assert_eq!((dead.seq, dead.reason.as_str(), dead.rejected), (2, "not UTF-16", true));
    let stats = producer.stats();
    assert_eq!((stats.delivered_records, stats.rejected_records, stats.skipped_records), (5, 1, 0));
}

/// Manual, with three records in a batch, of which the sink rejects the first and fails to take the others.
fn rejecting_the_first(dir: &Path) -> (Producer, String) {
    let producer = builder(dir).max_records(3).max_attempts(2).open_manual(Limits::default()).unwrap();
    for text in ["a", "b", "c"] {
        producer.put(text).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    let id = batch.id();
    let report = Report::delivered().rejected(0, "bad").failed(1, "down").failed(2, "down");
    producer.settle(batch, Ok(report)).unwrap();
    (producer, id)
}

/// The second attempt, which is the last: what is left of the batch is buried.
fn exhaust(producer: &Producer) {
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Err(SendError::failed("down"))).unwrap();
}

fn texts(letter: &DeadLetter) -> Vec<String> {
    SeenBatch::of(&letter.batch().unwrap()).texts()
}

/// The disk that the letters take, without what was set aside.
fn letter_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let letters = files.filter(|file| !file.file_name().to_str().unwrap().ends_with(".damaged"));
    letters.map(|file| file.metadata().unwrap().len()).sum()
}

/// The names of a letter and of its file come back once it is deleted: they do not say that it is the one that was read.
#[test]
fn a_replay_deletes_the_records_that_it_read_and_no_others() {
    let refused = |dir: &Path, id: &str| {
        let letters = DeadLetters::open(dir);
        let both = [letters.replay(id, |_| Ok(0), || Ok(())).map(drop), letters.delete(id)];
        both.into_iter().for_each(|result| assert_eq!(result.unwrap_err().kind(), ErrorKind::InUse));
    };
    let by_hand = |dir: &Path, id: &str| {
        for name in [format!("{id}.json"), format!("{id}.0.records")] {
            fs::remove_file(dir.join("dead-letters").join(name)).unwrap();
        }
    };
    let nothing = |_: &Path, _: &str| {};
    let meanwhile: [(&dyn Fn(&Path, &str), bool); 3] = [(&refused, true), (&by_hand, false), (&nothing, true)];
    for (before_the_burial, counted) in meanwhile {
        let dir = scratch();
        let (producer, id) = rejecting_the_first(dir.path());
        let letters = producer.dead_letters();
        let mut put = Vec::new();
        let keep = |record: NewRecord<'_>| {
            put.push(record.data.to_vec());
            Ok(0)
        };
        let done = || {
            before_the_burial(dir.path(), &id);
            exhaust(&producer);
            Ok(())
        };
        assert_eq!(letters.replay(&id, keep, done).unwrap(), 1);
        assert_eq!(put, [b"a"]);
        let letter = letters.get(&id).unwrap();
        assert_eq!(texts(&letter), ["b", "c"]);
        let stats = producer.stats();
        assert_eq!(stats.pending_records, 0);
        if counted {
            assert_eq!((stats.dead_letters, stats.dead_letter_bytes), (1, letter.bytes));
        }
        assert_eq!(letter_bytes(&dir.path().join("dead-letters")), letter.bytes, "no file is left over");
    }
}

#[test]
fn a_letter_that_was_read_and_is_another_now_is_not_damaged() {
    let dir = scratch();
    let (producer, id) = rejecting_the_first(dir.path());
    let letters = producer.dead_letters();
    let read = letters.get(&id).unwrap();
    letters.delete(&id).unwrap();
    assert_eq!(read.batch().unwrap_err().kind(), ErrorKind::NotFound);
    exhaust(&producer);
    assert_eq!(read.batch().unwrap_err().kind(), ErrorKind::NotFound, "b and c stand under its names");
}

/// A delete is of an id: what it holds by then goes.
#[test]
fn a_letter_is_deleted_with_what_was_added_since_it_was_listed() {
    let dir = scratch();
    let (producer, _) = rejecting_the_first(dir.path());
    let letters = producer.dead_letters();
    let listed = letters.list().unwrap().remove(0);
    exhaust(&producer);
    letters.delete(&listed.id).unwrap();
    assert!(letters.list().unwrap().is_empty());
    assert_eq!((producer.stats().dead_letters, producer.stats().dead_letter_bytes), (0, 0));
    assert_eq!(fs::read_dir(dir.path().join("dead-letters")).unwrap().count(), 0);
}

#[test]
fn a_damaged_letter_is_set_aside_by_the_next_one_of_its_batch() {
    let lose = |records: &Path| fs::remove_file(records).unwrap();
    let cut = |records: &Path| fs::write(records, &fs::read(records).unwrap()[..20]).unwrap();
    let damages: [&dyn Fn(&Path); 2] = [&lose, &cut];
    for damage in damages {
        let dir = scratch();
        let (producer, id) = rejecting_the_first(dir.path());
        let letters = producer.dead_letters();
        let folder = dir.path().join("dead-letters");
        let json = fs::read(folder.join(format!("{id}.json"))).unwrap();
        let records = folder.join(format!("{id}.0.records"));
        damage(&records);
        let left = fs::read(&records).ok();
        // The reasons are still there to be read; the records are an error that says where they were.
        let listed = letters.list().unwrap().remove(0);
        assert_eq!(listed.records[0].reason, "bad");
        for error in [listed.batch().unwrap_err(), producer.replay_dead_letter(&id).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.message().contains(records.to_str().unwrap()), "{error}");
        }
        // That of an earlier letter of the batch is not written over.
        fs::write(folder.join(format!("{id}.json.damaged")), b"earlier").unwrap();
        exhaust(&producer);
        let letter = letters.get(&id).unwrap();
        assert_eq!(texts(&letter), ["b", "c"]);
        assert_eq!(fs::read(folder.join(format!("{id}.json.damaged"))).unwrap(), b"earlier");
        assert_eq!(fs::read(folder.join(format!("{id}.json.damaged.damaged"))).unwrap(), json);
        assert_eq!(fs::read(folder.join(format!("{id}.0.records.damaged"))).ok(), left);
        let stats = producer.stats();
        assert_eq!((stats.dead_letters, stats.dead_letter_bytes), (1, letter.bytes));
        assert_eq!(letter_bytes(&folder), letter.bytes);
        // The next owner keeps them.
        producer.close(Duration::ZERO).unwrap();
        let names = || fs::read_dir(&folder).unwrap().count();
        let before = names();
        drop(builder(dir.path()).open(failing()).unwrap());
        assert_eq!(names(), before);
    }
}

/// The order of durable steps is letter, then commit. A crash between them finds both the letter and the batch.
#[test]
fn a_crash_between_letter_and_commit_does_not_bury_twice() {
    let (dir, image) = (scratch(), scratch());
    // The image of a crash: the buffer from before the attempt, the letters from after it.
    let before = image.path().join("buffer");
    let manual = builder(dir.path()).open_manual(Limits::default()).unwrap();
    manual.put("1").unwrap();
    manual.put("2").unwrap();
    copy_dir(dir.path(), &before);
    let batch = manual.next_batch().unwrap().unwrap();
    manual.settle(batch, Err(SendError::failed("refused"))).unwrap();
    copy_dir(&dir.path().join("dead-letters"), &before.join("dead-letters"));
    assert_eq!(DeadLetters::open(&before).list().unwrap()[0].records.len(), 2);

    let producer = builder(&before).open(failing()).unwrap();
    producer.flush(LONG).unwrap();
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!((letters.len(), letters[0].records.len()), (1, 2), "the same letter, once");
    assert_eq!(producer.stats().dead_letters, 1);
    assert_eq!(fs::read_dir(before.join("dead-letters")).unwrap().count(), 2, "the letter and its records");
}

/// A crash while a letter is written leaves files that no letter names.
#[test]
fn half_written_letters_are_no_letters_and_are_cleared_away() {
    let dir = scratch();
    let producer = builder(dir.path()).open(failing()).unwrap();
    producer.put("1").unwrap();
    producer.put("2").unwrap();
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
    let folder = dir.path().join("dead-letters");
    fs::write(folder.join("00000000000000ff-1-9.0.records"), b"half").unwrap();
    fs::write(folder.join("00000000000000ff-1-9.json.tmp"), b"{").unwrap();
    let letters = DeadLetters::open(dir.path());
    assert_eq!(letters.list().unwrap().len(), 1);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "looking changes nothing");
    let producer = builder(dir.path()).open(failing()).unwrap();
    assert_eq!(producer.dead_letters().list().unwrap()[0].batch().unwrap().len(), 2);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

/// What has the name of half a letter and cannot be cleared away stopped the producer from opening.
#[test]
fn what_cannot_be_cleared_away_stops_nobody() {
    let dir = scratch();
    let folder = dir.path().join("dead-letters");
    fs::create_dir_all(folder.join("00000000000000ff-1-8.0.records")).unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(&mut folder.metadata().unwrap().permissions(), 0o700);
    fs::write(folder.join("00000000000000ff-1-9.0.records"), b"half").unwrap();
    let producer = builder(dir.path()).open(failing()).unwrap();
    producer.put("1").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(producer.dead_letters().list().unwrap().len(), 1);
    assert!(!folder.join("00000000000000ff-1-9.0.records").exists());
}

#[test]
fn letters_are_read_beside_a_live_producer_and_by_another_process() {
    let dir = scratch();
    let producer = builder(dir.path()).open(failing()).unwrap();
    producer.put("1").unwrap();
    producer.put("2").unwrap();
    producer.flush(LONG).unwrap();
    Process::spawn("list", &[("DIR", dir.path().to_str().unwrap())]).finish();
    producer.put("3").unwrap();
    producer.put("4").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(DeadLetters::open(dir.path()).list().unwrap().len(), 2);
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    if role().is_none() {
        return;
    }
    let dir = argument("DIR");
    let letters = DeadLetters::open(&dir).list().unwrap();
    assert_eq!((letters.len(), letters[0].batch().unwrap().len()), (1, 2));
    let stats = Inspection::open(&dir).unwrap().stats().unwrap();
    assert!(stats.owner_pid.is_some_and(|pid| pid != std::process::id()));
}

#[test]
fn damaged_letters_are_errors_and_can_be_deleted() {
    let dir = scratch();
    let producer = builder(dir.path()).open(failing()).unwrap();
    for number in 0..4 {
        producer.put(&number.to_string()).unwrap();
    }
    producer.flush(LONG).unwrap();
    let letters = producer.dead_letters();
    let list = letters.list().unwrap();
    let folder = dir.path().join("dead-letters");
    let records: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let records = records.iter().find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&format!("{}.", list[0].id)) && name.ends_with(".records")
    });
    // A flipped byte in the records is found by their checksums.
    let records = records.unwrap();
    let mut bytes = fs::read(records).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let at = bytes.len() - 8;
    bytes[at] ^= 1;
    fs::write(records, &bytes).unwrap();
    assert_eq!(list[0].batch().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(producer.replay_dead_letter(&list[0].id).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(letters.list().unwrap().len(), 2, "a replay that failed leaves the letter");
    fs::write(folder.join(format!("{}.json", list[1].id)), b"no json").unwrap();
    assert_eq!(letters.get(&list[1].id).unwrap_err().kind(), ErrorKind::Io);
    producer.close(LONG).unwrap();
    // Neither stops a producer from opening.
    let producer = builder(dir.path()).open(failing()).unwrap();
    for letter in &list {
        producer.dead_letters().delete(&letter.id).unwrap();
    }
    assert!(producer.dead_letters().list().unwrap().is_empty());
    assert_eq!((producer.stats().dead_letters, producer.stats().dead_letter_bytes), (0, 0));
    // Also the records of the one that did not say any more which they were.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn an_id_from_outside_cannot_lead_out_of_the_folder() {
    let dir = scratch();
    fs::create_dir_all(dir.path().join("dead-letters")).unwrap();
    fs::write(dir.path().join("x.json"), b"{}").unwrap();
    let letters = DeadLetters::open(dir.path());
    for id in ["../x", "..", ".", "", "/etc/passwd", "a/b", "a\0b"] {
        assert_eq!(letters.get(id).unwrap_err().kind(), ErrorKind::NotFound, "{id:?}");
        assert_eq!(letters.delete(id).unwrap_err().kind(), ErrorKind::NotFound, "{id:?}");
    }
    assert!(dir.path().join("x.json").exists());
}

/// Opening looked at each file of records once for each letter: with 20,000 of them it took longer than the outage that made
/// them.
#[test]
fn twenty_thousand_letters_are_no_reason_to_wait() {
    let dir = scratch();
    let (producer, id) = rejecting_the_first(dir.path());
    producer.close(Duration::ZERO).unwrap();
    let folder = dir.path().join("dead-letters");
    let (text, records) =
        (fs::read(folder.join(format!("{id}.json"))).unwrap(), folder.join(format!("{id}.0.records")));
    let text = String::from_utf8(text).unwrap();
    let records = fs::read(records).unwrap();
    for number in 0..20_000 {
        let other = format!("{:016x}-0-{number}", 0xabc);
        fs::write(folder.join(format!("{other}.json")), text.replace(&id, &other)).unwrap();
        fs::write(folder.join(format!("{other}.0.records")), &records).unwrap();
    }
    // What a crash left of one of them, and of one that is none.
    let other = format!("{:016x}-0-7", 0xabc);
    let none = format!("{:016x}-0-7", 0xdef);
    for left_over in [format!("{other}.1.records"), format!("{none}.0.records"), format!("{other}.json.tmp")] {
        fs::write(folder.join(left_over), &records).unwrap();
    }
    let before = std::time::Instant::now();
    let producer = builder(dir.path()).open_manual(Limits::default()).unwrap();
    let took = before.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(producer.stats().dead_letters, 20_001);
    assert_eq!(producer.stats().dead_letter_bytes, letter_bytes(&folder));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2 * 20_001);
}

/// Two replays of a letter at once sent its records twice, and a deletion said that they were gone while they were sent.
#[test]
fn a_letter_is_replayed_by_one_call_at_a_time() {
    let dir = scratch();
    let producer = Producer::builder(dir.path()).max_records(2).open_manual(Limits::default()).unwrap();
    producer.put("a").unwrap();
    producer.put("b").unwrap();
    let batch = producer.next_batch().unwrap().unwrap();
    let id = batch.id();
    producer.settle(batch, Ok(Report::delivered().rejected(0, "bad").rejected(1, "bad"))).unwrap();
    let (letters, others) = (producer.dead_letters(), producer.dead_letters());
    let mut refused = Vec::new();
    let put = |record: NewRecord<'_>| {
        refused.push(others.replay(&id, |_| Ok(0), || Ok(())).unwrap_err().kind());
        refused.push(others.delete(&id).unwrap_err().kind());
        producer.put(record)
    };
    assert_eq!(letters.replay(&id, put, || Ok(())).unwrap(), 2);
    assert_eq!(refused, [ErrorKind::InUse; 4]);
    assert_eq!(others.delete(&id).unwrap_err().kind(), ErrorKind::NotFound);
    // One that failed leaves the letter to the next.
    let batch = producer.next_batch().unwrap().unwrap();
    let id = batch.id();
    producer.settle(batch, Ok(Report::delivered().rejected(0, "bad"))).unwrap();
    let fails = |_: NewRecord<'_>| Err(Error::new(ErrorKind::BufferFull, "no room"));
    assert_eq!(letters.replay(&id, fails, || Ok(())).unwrap_err().kind(), ErrorKind::BufferFull);
    assert_eq!(others.replay(&id, |_| Ok(0), || Ok(())).unwrap(), 1);
}
