//! `FileSink`: an append-only file that gets every record exactly once, unless somebody edits it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{format, *};
use unistream::*;

/// A batch of a buffer of its own, so that no two have the same id.
fn batch(texts: &[&str]) -> Batch {
    let dir = scratch();
    let mut options = Options::default();
    options.max_records = texts.len() as u64;
    options.segment_bytes = 64 << 10;
    options.durability = Durability::Os;
    let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
    texts.iter().for_each(|text| assert!(buffer.put(*text).unwrap() > 0));
    buffer.emit().unwrap().unwrap()
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = scratch();
    let path = dir.path().join("out.log");
    Place { _dir: dir, path }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_batch_that_is_sent_again_is_not_written_again() {
    let place = place();
    let (one, two) = (batch(&["a", "b"]), batch(&["c"]));
    let sink = FileSink::create(&place.path).unwrap();
    sink.send(&one).unwrap();
    sink.send(&one).unwrap();
    drop(sink);
    // Nor by the next process.
    let sink = FileSink::create(&place.path).unwrap();
    sink.send(&one).unwrap();
    assert_eq!(text(&place.path), "a\nb\n");
    sink.send(&two).unwrap();
    sink.send(&two).unwrap();
    assert_eq!(text(&place.path), "a\nb\nc\n");
}

/// As many batches of one buffer, of one record each.
fn batches<T: AsRef<str>>(texts: &[T]) -> Vec<Batch> {
    let dir = scratch();
    let mut options = Options::default();
    (options.max_records, options.segment_bytes) = (1, 64 << 10);
    let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
    let next = |text: &T| {
        buffer.put(text.as_ref()).unwrap();
        let batch = buffer.emit().unwrap().unwrap();
        buffer.commit(&batch).unwrap();
        batch
    };
    texts.iter().map(next).collect()
}

/// A power loss takes back what the buffer has noted, and more than one batch may be in flight.
#[test]
fn batches_that_come_again_in_any_order_are_not_written_again() {
    for sync in [false, true] {
        let place = place();
        let all = batches(&["a", "b", "c", "d"]);
        let sink = FileSink::create(&place.path).unwrap().sync(sync);
        [0, 2, 1].iter().for_each(|at| assert!(sink.send(&all[*at]).unwrap().is_delivered()));
        drop(sink);
        let sink = FileSink::create(&place.path).unwrap().sync(sync);
        all.iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
        assert_eq!(text(&place.path), "a\nc\nb\nd\n");
    }
}

/// The buffers of several producers count their records from 1 each: of two records of one seq the later one once took the place
/// of the other in the sidecar, which then was written again when its batch came again.
#[test]
fn buffers_with_the_same_seqs_keep_out_of_each_others_way() {
    for sync in [false, true] {
        let place = place();
        let buffers = ["a", "b", "c"].map(|name| batches(&[0, 1, 2].map(|number| format!("{name}{number}"))));
        let open = || FileSink::create(&place.path).unwrap().sync(sync);
        let send = |sink: &FileSink, batch: &Batch| assert!(sink.send(batch).unwrap().is_delivered());
        let sink = open();
        send(&sink, &buffers[0][0]);
        for number in 0..3 {
            buffers[1..].iter().for_each(|batches| send(&sink, &batches[number]));
        }
        let written = "a0\nb0\nc0\nb1\nc1\nb2\nc2\n";
        let again = |sink: &FileSink| {
            buffers[1..].iter().flatten().chain(&buffers[0][..1]).for_each(|batch| send(sink, batch));
            assert_eq!(text(&place.path), written, "{sync}");
        };
        again(&sink);
        drop(sink);
        again(&open());
    }
}

/// Slots come and go, and each is a buffer: the memory of the sidecar is bounded, and those that still write keep theirs.
#[test]
fn who_still_writes_is_remembered_over_thousands_of_buffers() {
    let place = place();
    let sink = FileSink::create(&place.path).unwrap();
    let slow = batches(&(0..30).map(|number| format!("slow {number}")).collect::<Vec<_>>());
    for (number, of_slow) in slow.iter().enumerate() {
        sink.send(of_slow).unwrap();
        for other in 0..80 {
            sink.send(&batch(&[&format!("{number} {other}")])).unwrap();
        }
    }
    drop(sink);
    let before = text(&place.path);
    assert_eq!(before.lines().count(), 30 * 81);
    let sink = FileSink::create(&place.path).unwrap();
    slow.iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    assert_eq!(text(&place.path), before);
    let sidecar = fs::metadata(place.path.with_file_name("out.log.unistream")).unwrap();
    assert!(sidecar.len() <= 10_552_320 + (64 << 10), "{}", sidecar.len());
}

/// A sidecar of a version that knew neither tags nor whose records a piece had.
#[test]
fn a_sidecar_without_tags_is_read_and_goes_on() {
    let place = place();
    let texts: Vec<String> = (0..1100).map(|number| format!("old {number}")).collect();
    let old = batches(&texts);
    let sink = FileSink::create(&place.path).unwrap();
    old.iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    drop(sink);
    let sidecar = place.path.with_file_name("out.log.unistream");
    let mut bytes = fs::read(&sidecar).unwrap();
    // What that version wrote of one buffer stands at the same places.
    bytes.truncate(10_552_320);
    for area in [0, 1_081_856] {
        let header = &mut bytes[area..area + 512];
        assert!(header.starts_with(b"unimark3") && header[72..80] != [0; 8]);
        header[72..80].fill(0);
        let crc = format::crc32c(&[&header[..508]]);
        header[508..].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&sidecar, bytes).unwrap();
    let whole: String = texts.iter().map(|text| format!("{text}\n")).collect();
    let mut expected = whole.clone();
    for round in 0..2 {
        let sink = FileSink::create(&place.path).unwrap();
        old.iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
        assert_eq!(text(&place.path), expected, "{round}");
        // Others, which take pages that are free: not those of what was written last.
        for number in 0..5 {
            sink.send(&batch(&[&format!("new {round} {number}")])).unwrap();
            expected += &format!("new {round} {number}\n");
        }
    }
    assert_eq!(text(&place.path), expected);
}

#[test]
fn more_gaps_than_the_sidecar_holds_cost_nothing() {
    let place = place();
    let texts: Vec<String> = (0..200).map(|number| format!("{number}{}", ["", "\n"][number % 2])).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let lines: String = (0..200).step_by(2).map(|number| format!("{number}\n")).collect();
    let batch = batch(&texts);
    let sink = FileSink::create(&place.path).unwrap();
    let report = sink.send(&batch).unwrap();
    assert_eq!(report.exceptions().map(|(index, _)| index).collect::<Vec<_>>(), Vec::from_iter((1..200).step_by(2)));
    assert_eq!(text(&place.path), lines);
    sink.send(&batches(&["one"])[0]).unwrap();
    assert_eq!(text(&place.path), lines + "one\n");
}

/// A buffer with three records, from a run that did not mind a newline in the second.
fn with_a_newline() -> tempfile::TempDir {
    let buffers = scratch();
    let buffer = Buffer::open(buffers.path(), Options::default(), Limits::default()).unwrap();
    for text in ["1", "2\n2", "3"] {
        buffer.put(text).unwrap();
    }
    buffer.close().unwrap();
    buffers
}

/// What is left of a batch that the file has in part comes under the batch's id.
#[test]
fn the_rest_of_a_batch_is_written_behind_it() {
    let place = place();
    let buffers = with_a_newline();
    let builder = || Producer::builder(buffers.path()).max_dead_letter_bytes(0);
    let producer = builder().open(FileSink::create(&place.path).unwrap()).unwrap();
    assert_eq!(producer.flush(LONG).unwrap_err().kind(), ErrorKind::DeadLettersFull);
    drop(producer);
    assert_eq!(text(&place.path), "1\n3\n");
    let sink = FileSink::create(&place.path).unwrap().framing(Framing::LengthPrefixed);
    let producer = builder().open(sink).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(text(&place.path), "1\n3\n\x03\0\0\x002\n2");
}

#[test]
fn records_that_no_buffer_holds_are_all_written() {
    let place = place();
    let sink = FileSink::create(&place.path).unwrap();
    for text in ["a", "b", "b"] {
        sink.send(&Batch::from_records([NewRecord::new(text.as_bytes())])).unwrap();
    }
    assert_eq!(text(&place.path), "a\nb\nb\n");
}

#[test]
fn half_a_line_that_was_there_before_ends_where_it_is() {
    let place = place();
    fs::write(&place.path, "half").unwrap();
    let sink = FileSink::create(&place.path).unwrap();
    let all = batches(&["a", "b"]);
    all.iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    assert_eq!(text(&place.path), "half\na\nb\n");
}

#[test]
fn others_may_read_the_file_and_not_the_sidecar() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    drop(FileSink::create(&place.path).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let ordinary = place.path.with_file_name("ordinary");
    fs::write(&ordinary, "").unwrap();
    // Group may read it where the umask lets, the world may not.
    assert_eq!(mode(&place.path), mode(&ordinary) & 0o640);
    assert_eq!(mode(&place.path.with_file_name("out.log.unistream")), 0o600);
    // What the program asks for it gets, whatever the umask; a file that is there keeps what it has.
    for wanted in [0o600, 0o666, 0o664] {
        fs::remove_file(&place.path).unwrap();
        drop(FileSink::builder(&place.path).mode(wanted).build().unwrap());
        assert_eq!(mode(&place.path), wanted);
        drop(FileSink::builder(&place.path).mode(0o600).build().unwrap());
        assert_eq!(mode(&place.path), wanted);
    }
    for wanted in [0o440, 0o4600, 0o10600] {
        let error = FileSink::builder(&place.path).mode(wanted).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wanted:o}");
    }
}

/// A buffer that was brought back from a copy gives its seqs out again. What is put then is not what was put before,
/// whatever the program says of when it was made.
#[test]
fn records_of_a_buffer_that_was_brought_back_are_written() {
    let place = place();
    let folder = scratch();
    let (outbox, copy) = (folder.path().join("outbox"), folder.path().join("copy"));
    let run = |texts: &[&str]| {
        let sink = FileSink::create(&place.path).unwrap();
        let producer = Producer::builder(&outbox).max_records(1).open(sink).unwrap();
        texts.iter().for_each(|text| assert!(producer.put(NewRecord::from(*text).created_at(1_000_000)).unwrap() > 0));
        producer.flush(LONG).unwrap();
        assert_eq!(producer.stats().delivered_records, texts.len() as u64);
        producer.close(LONG).unwrap();
    };
    let bring_back = || {
        fs::remove_dir_all(&outbox).unwrap();
        copy_dir(&copy, &outbox);
    };
    run(&["a"]);
    copy_dir(&outbox, &copy);
    run(&["b", "c"]);
    bring_back();
    run(&["d", "e"]);
    assert_eq!(text(&place.path), "a\nb\nc\nd\ne\n");
    // And once more, so that there are three records of one seq.
    bring_back();
    run(&["f", "c"]);
    assert_eq!(text(&place.path), "a\nb\nc\nd\ne\nf\nc\n");
}

/// The copy is of a time when records were in the buffer that the file has by now: those are not written twice.
#[test]
fn what_a_buffer_that_was_brought_back_sends_again_is_not_written_again() {
    for sync in [false, true] {
        let place = place();
        let folder = scratch();
        let (outbox, copy) = (folder.path().join("outbox"), folder.path().join("copy"));
        let sink = || FileSink::create(&place.path).unwrap().sync(sync);
        let producer = Producer::builder(&outbox).max_records(3).open(down()).unwrap();
        (0..10).for_each(|number| assert!(producer.put(&number.to_string()).unwrap() > 0));
        producer.close(Duration::ZERO).unwrap();
        copy_dir(&outbox, &copy);
        let send = |more: &str, max_records| {
            let producer = Producer::builder(&outbox).max_records(max_records).open(sink()).unwrap();
            producer.resume().unwrap();
            producer.put(more).unwrap();
            producer.flush(LONG).unwrap();
            producer.close(LONG).unwrap();
        };
        send("first", 3);
        fs::remove_dir_all(&outbox).unwrap();
        copy_dir(&copy, &outbox);
        // In other batches, too.
        send("second", 4);
        let numbers: String = (0..10).map(|number| format!("{number}\n")).collect();
        assert_eq!(text(&place.path), format!("{numbers}first\nsecond\n"));
    }
}

/// More records than a piece takes, and larger ones.
#[test]
fn large_batches_are_written_in_pieces() {
    let place = place();
    let folder = scratch();
    let sink = FileSink::create(&place.path).unwrap();
    let builder = Producer::builder(folder.path()).max_records(10_000).max_bytes(64 << 20).max_record_bytes(8 << 20);
    let producer = builder.max_buffer_bytes(256 << 20).segment_bytes(32 << 20).open(sink).unwrap();
    let mut expected = String::new();
    for length in [0, 5_000_000, 10, 1 << 20, (1 << 20) - 1, 3 << 20].into_iter().chain((0..5000).map(|n| n % 100)) {
        let line = "x".repeat(length);
        producer.put(&line).unwrap();
        expected.push_str(&line);
        expected.push('\n');
    }
    producer.flush(LONG).unwrap();
    assert!(text(&place.path) == expected);
}

#[test]
fn a_torn_batch_is_cut_off_and_written_again_wherever_it_was_torn() {
    // Lines that say the same, too: what was acknowledged before is not taken for the batch.
    for (first, second) in [
        (["first", "second"], ["third", "", "fourth"]),
        (["tick", "tick"], ["tick", "tick", "tick"]),
        (["tick", "tock"], ["tick", "tock", "tick"]),
        (["", ""], ["", "", ""]),
    ] {
        let (one, two) = (batch(&first), batch(&second));
        let before = first.map(|line| format!("{line}\n")).concat();
        let whole = before.clone() + &second.map(|line| format!("{line}\n")).concat();
        for torn in before.len()..=whole.len() {
            let place = place();
            let sink = FileSink::create(&place.path).unwrap();
            sink.send(&one).unwrap();
            sink.send(&two).unwrap();
            drop(sink);
            // The crash came while the second batch was written: its mark is there, the file ends somewhere in it.
            fs::OpenOptions::new().write(true).open(&place.path).unwrap().set_len(torn as u64).unwrap();
            let sink = FileSink::create(&place.path).unwrap();
            sink.send(&two).unwrap();
            assert_eq!(text(&place.path), whole, "torn at {torn}");
            sink.send(&batch(&["fifth"])).unwrap();
            assert_eq!(text(&place.path), format!("{whole}fifth\n"), "torn at {torn}");
        }
    }
}

/// The process may not make the file longer, so that nothing of the batch is written: the lines before it say the same, and
/// are neither taken for it nor cut off.
#[test]
fn a_batch_that_was_refused_is_not_found_in_lines_that_say_the_same() {
    let place = place();
    let path = place.path.to_str().unwrap();
    for count in ["3", "100", "1000"] {
        Process::spawn("refused", &[("PATH_OF_FILE", path), ("COUNT", count)]).finish();
    }
}

fn refused_by_a_limit() {
    let path = PathBuf::from(argument("PATH_OF_FILE"));
    let limit = |length: Option<u64>| {
        let limit = libc::rlimit { rlim_cur: length.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: it reads the struct, which outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    };
    let ticks = vec!["tick"; argument("COUNT").parse().unwrap()];
    let sink = FileSink::create(&path).unwrap();
    // The sidecar has its length after two batches.
    let (before, more) = (batch(&ticks), batch(&["tick"; 16]));
    [&before, &more].iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    fs::write(&path, "").unwrap();
    sink.send(&batch(&["x".repeat(50_000).as_str()])).unwrap();
    let acknowledged = batch(&ticks[..3]);
    sink.send(&acknowledged).unwrap();
    let (had, refused) = (text(&path), batch(&ticks));
    limit(Some(had.len() as u64));
    assert!(matches!(sink.send(&refused), Err(SendError::Unavailable { .. })));
    limit(None);
    assert_eq!(text(&path), had);
    assert!(sink.send(&refused).unwrap().is_delivered());
    assert_eq!(text(&path), had.clone() + &"tick\n".repeat(ticks.len()));
    drop(sink);
    let sink = FileSink::create(&path).unwrap();
    [acknowledged, refused].iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    assert_eq!(text(&path), had + &"tick\n".repeat(ticks.len()));
}

/// Somebody cut the file: what is there now says the same as the batch, and was acknowledged. Better a line twice than none.
#[test]
fn what_is_left_of_a_file_that_was_cut_stays() {
    let (one, two) = (batch(&["tick"; 5]), batch(&["tick"; 50]));
    for left in [0, 3, 5, 10, 24] {
        let place = place();
        let sink = FileSink::create(&place.path).unwrap();
        sink.send(&one).unwrap();
        sink.send(&two).unwrap();
        drop(sink);
        fs::OpenOptions::new().write(true).open(&place.path).unwrap().set_len(left).unwrap();
        let had = text(&place.path);
        let sink = FileSink::create(&place.path).unwrap();
        assert_eq!(text(&place.path), had);
        sink.send(&two).unwrap();
        let end = if had.is_empty() || had.ends_with('\n') { "" } else { "\n" };
        assert_eq!(text(&place.path), had + end + &"tick\n".repeat(50), "{left}");
    }
}

#[test]
fn a_torn_batch_that_never_comes_again_leaves_no_half_line() {
    let place = place();
    let sink = FileSink::create(&place.path).unwrap();
    sink.send(&batch(&["first"])).unwrap();
    sink.send(&batch(&["second"])).unwrap();
    drop(sink);
    fs::OpenOptions::new().write(true).open(&place.path).unwrap().set_len(8).unwrap();
    // It was torn, so it was not acknowledged; whatever comes next begins on a line of its own.
    let sink = FileSink::create(&place.path).unwrap();
    assert_eq!(text(&place.path), "first\n");
    sink.send(&batch(&["third"])).unwrap();
    assert_eq!(text(&place.path), "first\nthird\n");
}

#[test]
fn either_half_of_the_sidecar_may_be_damaged() {
    let (one, two) = (batch(&["a"]), batch(&["b"]));
    for at in (0..1024).step_by(8) {
        let place = place();
        let sink = FileSink::create(&place.path).unwrap();
        sink.send(&one).unwrap();
        sink.send(&two).unwrap();
        drop(sink);
        let sidecar = place.path.with_file_name("out.log.unistream");
        let mut bytes = fs::read(&sidecar).unwrap();
        bytes.resize(1024, 0);
        bytes[at] ^= 0xff;
        fs::write(&sidecar, bytes).unwrap();
        // What was written stays, and what is new is appended.
        let sink = FileSink::create(&place.path).unwrap();
        sink.send(&batch(&["c"])).unwrap();
        assert_eq!(text(&place.path), "a\nb\nc\n", "byte {at}");
    }
}

#[test]
fn what_somebody_else_wrote_is_never_cut() {
    let place = place();
    fs::write(&place.path, "mine\n").unwrap();
    let sink = FileSink::create(&place.path).unwrap();
    let (one, two) = (batch(&["a"]), batch(&["b"]));
    sink.send(&one).unwrap();
    fs::write(&place.path, "mine\na\nedited\n").unwrap();
    // A finished batch and the next one: appended behind the edit.
    sink.send(&one).unwrap();
    sink.send(&two).unwrap();
    assert_eq!(text(&place.path), "mine\na\nedited\nb\n");
    // An edit inside a batch that is there, with something behind it: it was delivered, and what others make of it is theirs.
    fs::write(&place.path, "mine\na\nedited\nX\nmore\n").unwrap();
    sink.send(&two).unwrap();
    assert_eq!(text(&place.path), "mine\na\nedited\nX\nmore\n");
    // The file is emptied: what comes is written.
    fs::write(&place.path, "").unwrap();
    sink.send(&batch(&["c"])).unwrap();
    assert_eq!(text(&place.path), "c\n");
}

#[test]
fn a_newline_is_refused_at_put() {
    let place = place();
    let buffers = scratch();
    let producer = Producer::builder(buffers.path()).open(FileSink::create(&place.path).unwrap()).unwrap();
    let error = producer.put("two\nlines").unwrap_err();
    assert_eq!((error.kind(), error.record_accepted()), (ErrorKind::InvalidArgument, false));
    assert!(error.message().contains("newline"), "{error}");
    producer.put("one\rline").unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(text(&place.path), "one\rline\n");
}

/// A backlog from a run with another framing or another sink can hold what this one does not take.
#[test]
fn a_newline_that_is_in_the_buffer_already_is_a_dead_letter() {
    let place = place();
    let buffers = with_a_newline();
    let producer = Producer::builder(buffers.path()).open(FileSink::create(&place.path).unwrap()).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(text(&place.path), "1\n3\n");
    let letters = producer.dead_letters().list().unwrap();
    assert_eq!((letters.len(), letters[0].records.len(), letters[0].records[0].seq), (1, 1, 2));
    assert!(letters[0].records[0].rejected && letters[0].sink.starts_with("file:"));
}

#[test]
fn length_prefixed_takes_any_bytes() {
    let place = place();
    let buffers = scratch();
    let sink = FileSink::create(&place.path).unwrap().framing(Framing::LengthPrefixed);
    let producer = Producer::builder(buffers.path()).open(sink).unwrap();
    let payloads: [&[u8]; 4] = [b"two\nlines", b"", b"\xff\xfe\x00", &[7; 300]];
    for payload in payloads {
        producer.put(payload).unwrap();
    }
    producer.flush(LONG).unwrap();
    let mut expected = Vec::new();
    for payload in payloads {
        expected.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        expected.extend_from_slice(payload);
    }
    assert_eq!(fs::read(&place.path).unwrap(), expected);
}

#[test]
fn one_file_sink_at_a_time_has_a_file() {
    let place = place();
    let sink = FileSink::create(&place.path).unwrap();
    let error = FileSink::create(&place.path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().contains("another FileSink"), "{error}");
    Process::spawn("second opener", &[("PATH_OF_FILE", place.path.to_str().unwrap())]).finish();
    drop(sink);
    FileSink::create(&place.path).unwrap();
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("second opener") => {
            let error = FileSink::create(argument("PATH_OF_FILE")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InUse);
        }
        Some("refused") => refused_by_a_limit(),
        _ => {}
    }
}

#[test]
fn synced_it_writes_the_same() {
    let place = place();
    let buffers = tempfile::tempdir().unwrap();
    let sink = FileSink::create(&place.path).unwrap().sync(true);
    let producer = Producer::builder(buffers.path()).max_records(3).open(sink).unwrap();
    for number in 0..10 {
        producer.put(&number.to_string()).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(text(&place.path), (0..10).map(|number| format!("{number}\n")).collect::<String>());
}
