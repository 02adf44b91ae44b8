//! `FileSink` among others: who rotates the file, appends to it, has put something else in its place, or would have it
//! write where they may not.

mod common;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use unistream::*;

struct Place {
    dir: tempfile::TempDir,
    log: PathBuf,
    sidecar: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = scratch();
        let log = dir.path().join("app.log");
        Place { sidecar: dir.path().join("app.log.unistream"), dir, log }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sink(&self) -> FileSink {
        FileSink::create(&self.log).unwrap()
    }

    fn outbox(&self) -> PathBuf {
        self.beside("outbox")
    }

    fn producer(&self) -> Producer {
        quick(&self.outbox()).open(self.sink()).unwrap()
    }
}

fn quick(outbox: &Path) -> Builder {
    Producer::builder(outbox)
        .max_records(7)
        .linger(Duration::from_millis(1))
        .schedule_multiplier(Duration::from_millis(1))
}

fn put(producer: &Producer, texts: &[&str]) {
    texts.iter().for_each(|text| assert!(producer.put(*text).unwrap() > 0));
    producer.flush(LONG).unwrap();
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// A batch of a buffer of its own.
fn batch(texts: &[&str]) -> Batch {
    let dir = scratch();
    let buffer = Producer::builder(dir.path()).max_records(texts.len() as u64).segment_bytes(64 << 10);
    let buffer = buffer.open_manual(Limits::default()).unwrap();
    texts.iter().for_each(|text| assert!(buffer.put(*text).unwrap() > 0));
    buffer.next_batch().unwrap().unwrap()
}

fn unavailable(result: Result<Report, SendError>) -> String {
    match result {
        Err(SendError::Unavailable { error, .. }) => error.to_string(),
        other => panic!("not unavailable: {other:?}"),
    }
}

// ------------------------------------------------------------------------------------------------ rotation

#[test]
fn a_file_that_was_renamed_is_left_and_a_new_one_begun() {
    for create in [false, true] {
        let place = Place::new();
        let producer = place.producer();
        put(&producer, &["a", "b"]);
        fs::rename(&place.log, place.beside("app.log.1")).unwrap();
        if create {
            fs::write(&place.log, "").unwrap();
        }
        put(&producer, &["c"]);
        assert_eq!((text(place.beside("app.log.1")), text(&place.log)), ("a\nb\n".into(), "c\n".into()));
        assert_eq!(producer.stats().delivered_records, 3);
    }
}

#[test]
fn a_file_that_was_removed_is_made_again() {
    let place = Place::new();
    let producer = place.producer();
    put(&producer, &["a"]);
    fs::remove_file(&place.log).unwrap();
    put(&producer, &["b"]);
    assert_eq!(text(&place.log), "b\n");
    // With its directory: that is an outage, until there is one again.
    let gone = place.beside("gone");
    fs::create_dir(&gone).unwrap();
    let sink = FileSink::create(gone.join("app.log")).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    assert!(unavailable(sink.send(&batch(&["c"]))).contains("No such file"));
    fs::create_dir(&gone).unwrap();
    sink.send(&batch(&["c"])).unwrap();
    assert_eq!(text(gone.join("app.log")), "c\n");
}

#[test]
fn a_file_that_was_copied_and_truncated_is_gone_on_with() {
    let place = Place::new();
    let producer = place.producer();
    put(&producer, &["first"]);
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    put(&producer, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    fs::copy(&place.log, place.beside("app.log.1")).unwrap();
    OpenOptions::new().write(true).open(&place.log).unwrap().set_len(0).unwrap();
    let others = "another program's line\n".repeat(5);
    OpenOptions::new().append(true).open(&place.log).unwrap().write_all(others.as_bytes()).unwrap();
    put(&producer, &["next"]);
    assert_eq!(text(&place.log), others.clone() + "next\n");
    // The next process cuts none of it either.
    drop(producer);
    put(&place.producer(), &["last"]);
    assert_eq!(text(&place.log), others + "next\nlast\n");
}

/// A rotation between a crash and the next process: the torn batch is cut off where it is, and written where it belongs.
#[test]
fn a_torn_batch_in_a_file_that_was_renamed_since() {
    let (one, two) = (batch(&["first"]), batch(&["second", "third"]));
    for whole in [false, true] {
        let place = Place::new();
        let sink = place.sink();
        sink.send(&one).unwrap();
        sink.send(&two).unwrap();
        drop(sink);
        let rotated = place.beside("app.log.1");
        fs::rename(&place.log, &rotated).unwrap();
        if !whole {
            OpenOptions::new().write(true).open(&rotated).unwrap().set_len(10).unwrap();
        }
        let sink = place.sink();
        sink.send(&two).unwrap();
        sink.send(&batch(&["fourth"])).unwrap();
        let (old, new) =
            if whole { ("first\nsecond\nthird\n", "fourth\n") } else { ("first\n", "second\nthird\nfourth\n") };
        assert_eq!((text(&rotated), text(&place.log)), (old.to_owned(), new.to_owned()));
    }
}

/// Nobody can find what was in it, so that it does not count if it comes again.
#[test]
fn a_batch_of_a_file_that_nobody_can_find() {
    let place = Place::new();
    let last = batch(&["a"]);
    place.sink().send(&last).unwrap();
    fs::remove_file(&place.log).unwrap();
    place.sink().send(&last).unwrap();
    assert_eq!(text(&place.log), "a\n");
}

/// As `mv` and `create` do it without a word to the program, again and again while records come.
#[test]
fn nothing_is_lost_or_doubled_while_somebody_rotates() {
    // Lines that say the same, too.
    for (sync, most) in [(false, u64::MAX), (true, u64::MAX), (false, 2), (false, 1)] {
        let place = Place::new();
        let (rotations, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let mut records = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let count = rotations.load(Ordering::Relaxed);
                    if fs::rename(&place.log, place.beside(&format!("app.log.{count:06}"))).is_ok() {
                        rotations.store(count + 1, Ordering::Relaxed);
                    }
                    if count % 2 == 0 {
                        drop(OpenOptions::new().append(true).create(true).open(&place.log).unwrap());
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            let producer = quick(&place.outbox()).open(place.sink().sync(sync)).unwrap();
            while rotations.load(Ordering::Relaxed) < 100 {
                (0..100).for_each(|more| assert!(producer.put(&format!("{}", (records + more) % most)).unwrap() > 0));
                records += 100;
                producer.flush(LONG).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            let stats = producer.stats();
            assert_eq!((stats.delivered_records, stats.skipped_records), (records, 0));
        });
        let count = rotations.load(Ordering::Relaxed);
        let mut all: String = (0..count).map(|count| text(place.beside(&format!("app.log.{count:06}")))).collect();
        all += &fs::read_to_string(&place.log).unwrap_or_default();
        let expected: String = (0..records).map(|number| format!("{}\n", number % most)).collect();
        assert!(all == expected, "{} lines of {records}", all.lines().count());
    }
}

/// Both keep all their lines whole, whoever comes first.
#[test]
fn another_program_appends_to_the_same_file() {
    let place = Place::new();
    let over = AtomicBool::new(false);
    let theirs = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut file = OpenOptions::new().append(true).create(true).open(&place.log).unwrap();
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                file.write_all(format!("other {count}\n").as_bytes()).unwrap();
                count += 1;
            }
            count
        });
        let producer = place.producer();
        for number in 0..20_000 {
            producer.put(&format!("ours {number}")).unwrap();
        }
        producer.flush(LONG).unwrap();
        assert_eq!(producer.stats().skipped_records, 0);
        over.store(true, Ordering::Relaxed);
        other.join().unwrap()
    });
    let text = text(&place.log);
    let of = |who: &str| text.lines().filter(|line| line.starts_with(who)).collect::<Vec<_>>().join("\n");
    let counted = |who: &str, count: usize| (0..count).map(|n| format!("{who} {n}")).collect::<Vec<_>>().join("\n");
    assert!(of("ours") == counted("ours", 20_000), "ours");
    assert!(of("other") == counted("other", theirs), "theirs");
    // A line of theirs that was seen half written for long is ended once more: an empty line.
    assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 20_000 + theirs);
}

/// The crash came between a write and another program's: what is whole counts, what is not is written again.
#[test]
fn others_wrote_behind_a_torn_batch() {
    let two = batch(&["second", "third"]);
    for (torn, expected) in [
        ("first\nsecond\nthi", "first\nsecond\nthi\nother\nthird\n"),
        ("first\nsecond\n", "first\nsecond\nother\nthird\n"),
        ("first\nsec", "first\nsec\nother\nsecond\nthird\n"),
        ("first\n", "first\nother\nsecond\nthird\n"),
    ] {
        let place = Place::new();
        let sink = place.sink();
        sink.send(&batch(&["first"])).unwrap();
        sink.send(&two).unwrap();
        drop(sink);
        let end = if torn.ends_with('\n') { "" } else { "\n" };
        fs::write(&place.log, format!("{torn}{end}other\n")).unwrap();
        let sink = place.sink();
        sink.send(&two).unwrap();
        sink.send(&two).unwrap();
        assert_eq!(text(&place.log), expected, "{torn:?}");
    }
}

/// The same where ours says what another program's line ends with: that line is not taken for ours, and not cut.
#[test]
fn a_line_of_others_that_ends_as_ours_is_theirs() {
    for (others, batch) in [("a tick\n", batch(&["tick"])), ("a tick\n", batch(&["tick", "tock"]))] {
        let place = Place::new();
        let sink = place.sink();
        sink.send(&batch).unwrap();
        drop(sink);
        fs::write(&place.log, others).unwrap();
        let sink = place.sink();
        assert_eq!(text(&place.log), others);
        sink.send(&batch).unwrap();
        let ours: String =
            batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned() + "\n").collect();
        assert_eq!(text(&place.log), others.to_owned() + &ours);
    }
}

/// Both say the same.
#[test]
fn another_program_appends_the_same_lines() {
    let place = Place::new();
    let over = AtomicBool::new(false);
    let theirs = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut file = OpenOptions::new().append(true).create(true).open(&place.log).unwrap();
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                file.write_all(b"tick\n").unwrap();
                count += 1;
            }
            count
        });
        let producer = place.producer();
        (0..20_000).for_each(|_| assert!(producer.put("tick").unwrap() > 0));
        producer.flush(LONG).unwrap();
        over.store(true, Ordering::Relaxed);
        other.join().unwrap()
    });
    assert_eq!(text(&place.log).lines().filter(|line| *line == "tick").count(), 20_000 + theirs);
}

/// The program that administrators run. It is part of every Debian.
#[test]
fn logrotate_rotates() {
    let configurations = ["create", "nocreate", "create\n compress", "copytruncate", "copytruncate\n compress"];
    if Command::new("logrotate").arg("--version").output().is_err() {
        let installed = Command::new("apt-get").args(["install", "-y", "-qq", "logrotate"]).output();
        assert!(installed.is_ok_and(|output| output.status.success()), "this test runs logrotate: install it");
    }
    for how in configurations {
        let dir = tempfile::tempdir().unwrap();
        let (log, state, rules) = (dir.path().join("app.log"), dir.path().join("state"), dir.path().join("rules"));
        fs::write(&rules, format!("{} {{\n rotate 100\n size 1\n {how}\n}}\n", log.display())).unwrap();
        fs::set_permissions(&rules, Permissions::from_mode(0o600)).unwrap();
        let producer = quick(&dir.path().join("outbox")).open(FileSink::create(&log).unwrap()).unwrap();
        for round in 0..5 {
            let texts: Vec<String> = (0..50).map(|number| format!("{round} {number}")).collect();
            put(&producer, &texts.iter().map(String::as_str).collect::<Vec<_>>());
            let output = Command::new("logrotate").args(["-f", "-s"]).arg(&state).arg(&rules).output().unwrap();
            assert!(output.status.success(), "{how}: {output:?}");
        }
        put(&producer, &["last"]);
        let mut all = String::new();
        for number in (1..=5).rev() {
            let plain = dir.path().join(format!("app.log.{number}"));
            match fs::read_to_string(&plain) {
                Ok(text) => all += &text,
                Err(_) => {
                    let unpacked =
                        Command::new("gzip").arg("-dc").arg(format!("{}.gz", plain.display())).output().unwrap();
                    assert!(unpacked.status.success(), "{how}: {unpacked:?}");
                    all += &String::from_utf8(unpacked.stdout).unwrap();
                }
            }
        }
        all += &text(&log);
        let expected: String =
            (0..5).flat_map(|round| (0..50).map(move |number| format!("{round} {number}\n"))).collect();
        assert_eq!(all, expected + "last\n", "{how}");
        assert_eq!(producer.stats().skipped_records, 0);
    }
}

// ------------------------------------------------------------------------------------------------ outages

#[test]
fn what_the_disk_says_is_no_fault_of_the_records() {
    let place = Place::new();
    let producer = quick(&place.outbox()).max_attempts(2).open(place.sink()).unwrap();
    put(&producer, &["a"]);
    // A directory in the file's place.
    fs::rename(&place.log, place.beside("old")).unwrap();
    fs::create_dir(&place.log).unwrap();
    producer.put("b").unwrap();
    wait_until("it was tried more often than that", || producer.stats().attempts > 5);
    let stats = producer.stats();
    assert_eq!((stats.skipped_records, stats.dead_letters, stats.pending_records), (0, 0, 1));
    assert!(stats.last_error.contains("directory"), "{}", stats.last_error);
    fs::remove_dir(&place.log).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!(text(&place.log), "b\n");
}

/// What only root could do, and on such a filesystem, where both are given.
#[test]
fn a_file_that_may_not_be_changed_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    let sink = FileSink::create(&log).unwrap();
    sink.send(&batch(&["a"])).unwrap();
    let attribute =
        |what: &str| Command::new("chattr").arg(what).arg(&log).output().is_ok_and(|out| out.status.success());
    if !attribute("+i") {
        // As any user on a filesystem without attributes sees it.
        fs::set_permissions(&log, Permissions::from_mode(0o400)).unwrap();
        fs::rename(&log, dir.path().join("kept")).unwrap();
        fs::create_dir(&log).unwrap();
        unavailable(sink.send(&batch(&["b"])));
        return;
    }
    unavailable(sink.send(&batch(&["b"])));
    assert!(attribute("-i"));
    // To be appended to only: that is all that a sink does as long as nothing fails.
    assert!(attribute("+a"));
    let all = [batch(&["c"]), batch(&["d"])];
    let sent: Vec<_> = all.iter().map(|batch| sink.send(batch)).collect();
    drop(sink);
    let sink = FileSink::create(&log).unwrap().sync(true);
    let again: Vec<_> = all.iter().map(|batch| sink.send(batch)).collect();
    assert!(attribute("-a"));
    assert!(sent.iter().chain(&again).all(|result| result.is_ok()), "{sent:?} {again:?}");
    assert_eq!(text(&log), "a\nc\nd\n");
}

// ------------------------------------------------------------------------------------------------ special files

#[test]
fn what_cannot_be_written_to_is_refused() {
    let place = Place::new();
    let refused = |path: &Path, why: &str| {
        let started = Instant::now();
        let error = FileSink::create(path).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(why) && error.message().contains(path.to_str().unwrap()), "{error}");
    };
    fs::create_dir(&place.log).unwrap();
    refused(&place.log, "a directory");
    fs::remove_dir(&place.log).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&place.log).unwrap();
    refused(&place.log, "a socket");
    fs::remove_file(&place.log).unwrap();
    symlink(place.beside("elsewhere"), &place.log).unwrap();
    refused(&place.log, "follow_links");
    fs::remove_file(&place.log).unwrap();
    let mkfifo = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    mkfifo(&place.sidecar);
    let error = FileSink::create(&place.log).unwrap_err();
    assert!(error.message().contains("a named pipe") && error.message().contains(".unistream"), "{error}");
    assert!(!place.beside("elsewhere").exists());
}

/// `/dev/null` takes everything, `/dev/full` nothing. Neither has a sidecar.
#[test]
fn devices() {
    let sink = FileSink::create("/dev/null").unwrap();
    let many: Vec<String> = (0..1000).map(|number| number.to_string().repeat(100)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(sink.send(&batch(&many)).unwrap().is_delivered());
    assert!(unavailable(FileSink::create("/dev/full").unwrap().send(&batch(&["a"]))).contains("/dev/full"));
    assert!(!Path::new("/dev/null.unistream").exists() && !Path::new("/dev/full.unistream").exists());
}

#[test]
fn a_pipe_is_waited_for_and_written_through() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(&place.log).status().unwrap().success());
    // Nobody reads: no hang.
    let sink = place.sink();
    let lines: Vec<String> = (0..3000).map(|number| format!("{number:0>100}")).collect();
    let first = batch(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(unavailable(sink.send(&first)).contains("nobody reads"));
    // A reader that takes a part, and then nothing: 300,000 bytes do not fit into a pipe.
    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&place.log).unwrap();
    let report = sink.send(&first).unwrap();
    let left: Vec<usize> = report.exceptions().map(|(index, _)| index).collect();
    assert!(!left.is_empty() && left[0] > 0 && *left.last().unwrap() == 2999, "{left:?}");
    assert!(report.exceptions().all(|(_, outcome)| matches!(outcome, Outcome::Unavailable { .. })));
    assert!(!place.sidecar.exists());
    // The same as it goes on in a producer: each line whole, each once.
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut window = [0; 1000];
        let started = Instant::now();
        while !text.ends_with(b"end\n") && started.elapsed() < LONG {
            match reader.read(&mut window) {
                Ok(0) => std::thread::sleep(Duration::from_millis(1)),
                Ok(count) => text.extend_from_slice(&window[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        String::from_utf8(text).unwrap()
    });
    // What is left of the batch, as a producer would send it: under its own seqs.
    let rest = batch(&lines[left[0]..].iter().map(String::as_str).chain(["end"]).collect::<Vec<_>>());
    let again = sink.send(&rest).unwrap();
    assert!(again.is_delivered(), "{again:?}");
    let text = reading.join().unwrap();
    // A line that had begun is ended before anything else comes, and is not taken for that of another buffer.
    let whole = text.lines().filter(|line| line.len() == 100).count();
    assert_eq!(text.lines().count(), whole + 1, "a torn line");
    assert!(whole == 3000 || whole == 3001, "{whole}");
}

/// With a producer in between it is the same record, and only its rest is written.
#[test]
fn a_slow_reader_gets_every_line_once() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(&place.log).status().unwrap().success());
    let producer =
        Producer::builder(place.outbox()).schedule_multiplier(Duration::from_millis(1)).open(place.sink()).unwrap();
    let lines: Vec<String> = (0..2000).map(|number| format!("{number:0>150}")).collect();
    lines.iter().for_each(|line| assert!(producer.put(line).unwrap() > 0));
    let mut reader = fs::File::open(&place.log).unwrap();
    // Longer than the sink waits for a reader.
    std::thread::sleep(Duration::from_millis(2500));
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    producer.flush(LONG).unwrap();
    producer.close(LONG).unwrap();
    drop(producer);
    let text = reading.join().unwrap();
    assert!(text.lines().eq(lines.iter().map(String::as_str)), "{} lines", text.lines().count());
}

/// An interruption is of the calls that wait. The next has patience with a reader again.
#[test]
fn a_stream_that_was_interrupted_once_waits_again() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(&place.log).status().unwrap().success());
    let sink = place.sink();
    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&place.log).unwrap();
    let lines = vec!["x".repeat(1000); 200];
    let many = batch(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    sink.interrupt();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| sink.send(&many).unwrap());
        std::thread::sleep(Duration::from_millis(700));
        assert!(!call.is_finished(), "it waits for the reader");
        sink.interrupt();
        assert!(!call.join().unwrap().is_delivered());
    });
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
    // Full by now: a reader that comes after a while is waited for.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            let mut window = vec![0; 1 << 20];
            let mut quiet = 0;
            while quiet < 100 {
                match reader.read(&mut window) {
                    Ok(count) if count > 0 => quiet = 0,
                    _ => quiet += 1,
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert!(sink.send(&batch(&["next"])).unwrap().is_delivered());
    });
}

#[test]
fn a_reader_that_went_is_waited_for() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(&place.log).status().unwrap().success());
    let sink = place.sink();
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&place.log).unwrap();
    let reader = open();
    sink.send(&batch(&["a"])).unwrap();
    drop(reader);
    unavailable(sink.send(&batch(&["b"])));
    let mut reader = open();
    sink.send(&batch(&["b"])).unwrap();
    let mut window = [0; 10];
    assert_eq!(reader.read(&mut window).unwrap(), 2);
    assert_eq!(&window[..2], b"b\n");
}

/// Where a container's log is read from: a pipe, a socket, or a file.
#[test]
fn the_programs_own_output() {
    let place = Place::new();
    let run = |output: Stdio, count: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("UNISTREAM_TEST_ROLE", "stdout").env("WHERE", place.outbox()).env("COUNT", count);
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().unwrap()
    };
    let ours = |text: &str| text.lines().filter(|line| line.contains("record ")).count();
    let output = run(Stdio::piped(), "1000").wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(ours(&String::from_utf8(output.stdout).unwrap()), 1000);
    let file = OpenOptions::new().append(true).create(true).open(&place.log).unwrap();
    assert!(run(file.into(), "1000").wait().unwrap().success());
    assert_eq!(ours(&text(&place.log)), 1000);
    let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let other: std::os::fd::OwnedFd = other.into();
    let mut child = run(other.into(), "1000");
    let mut text = String::new();
    one.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(ours(&text), 1000);
    // Nobody takes it any more: it stays in the buffer, and no signal ends the program.
    let mut child = run(Stdio::piped(), "100000");
    let mut output = child.stdout.take().unwrap();
    let mut window = [0; 100];
    while !String::from_utf8_lossy(&window).contains("record ") {
        assert!(output.read(&mut window).unwrap() > 0);
    }
    drop(output);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    match role().as_deref() {
        Some("stdout") => {
            let producer =
                quick(&PathBuf::from(argument("WHERE"))).open(FileSink::create("/dev/stdout").unwrap()).unwrap();
            let count: u32 = argument("COUNT").parse().unwrap();
            (0..count).for_each(|number| assert!(producer.put(&format!("record {number}")).unwrap() > 0));
            let flushed = producer.flush(Duration::from_secs(5));
            std::process::exit(if flushed.is_ok() { 0 } else { 3 });
        }
        Some("chdir") => {
            let here = PathBuf::from(argument("HERE"));
            std::env::set_current_dir(&here).unwrap();
            let sink = FileSink::create("app.log").unwrap();
            sink.send(&batch(&["a"])).unwrap();
            std::env::set_current_dir("/").unwrap();
            fs::rename(here.join("app.log"), here.join("app.log.1")).unwrap();
            sink.send(&batch(&["b"])).unwrap();
            assert_eq!((text(here.join("app.log.1")), text(here.join("app.log"))), ("a\n".into(), "b\n".into()));
        }
        _ => {}
    }
}

/// A relative path is the file's of that moment.
#[test]
fn a_program_that_changes_its_directory() {
    let place = Place::new();
    Process::spawn("chdir", &[("HERE", place.dir.path().to_str().unwrap())]).finish();
    assert!(!Path::new("/app.log").exists());
}

// ------------------------------------------------------------------------------------------------ trust

fn not_trusted(place: &Place) {
    let error = FileSink::create(&place.log).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
    assert!(error.message().contains("app.log.unistream"), "{error}");
}

#[test]
fn a_sidecar_that_others_can_change_is_refused() {
    let place = Place::new();
    let sink = place.sink();
    sink.send(&batch(&["a"])).unwrap();
    drop(sink);
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&place.sidecar, Permissions::from_mode(mode)).unwrap();
        not_trusted(&place);
    }
    fs::set_permissions(&place.sidecar, Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&place.sidecar, place.beside("another name")).unwrap();
    not_trusted(&place);
    fs::remove_file(place.beside("another name")).unwrap();
    drop(place.sink());
    // Somebody else's: another user made it first, for us to find.
    if std::os::unix::fs::chown(&place.sidecar, Some(12345), None).is_ok() {
        not_trusted(&place);
    }
    assert_eq!(text(&place.log), "a\n");
    // A link of theirs is not followed: nothing is made or locked where it leads.
    fs::remove_file(&place.sidecar).unwrap();
    symlink(place.beside("precious"), &place.sidecar).unwrap();
    let error = FileSink::create(&place.log).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(!place.beside("precious").exists());
}

/// A cleaner's work, say.
#[test]
fn a_sidecar_that_was_removed_gives_the_file_to_one_sink_only() {
    let place = Place::new();
    let sink = place.sink();
    sink.send(&batch(&["a"])).unwrap();
    // It is made again with the next batch, and is this sink's.
    fs::remove_file(&place.sidecar).unwrap();
    sink.send(&batch(&["b"])).unwrap();
    assert_eq!(FileSink::create(&place.log).unwrap_err().kind(), ErrorKind::InUse);
    // Whoever comes before that has the file, and the first waits.
    fs::remove_file(&place.sidecar).unwrap();
    let second = place.sink();
    let waits = batch(&["d"]);
    assert!(unavailable(sink.send(&waits)).contains("another FileSink"));
    second.send(&batch(&["c"])).unwrap();
    assert!(unavailable(sink.send(&waits)).contains("another FileSink"));
    drop(second);
    sink.send(&waits).unwrap();
    sink.send(&waits).unwrap();
    assert_eq!(text(&place.log), "a\nb\nc\nd\n");
}

#[test]
fn links_at_the_logs_path_are_followed_only_if_the_program_says_so() {
    let place = Place::new();
    let elsewhere = place.beside("elsewhere.log");
    fs::write(&elsewhere, "old\n").unwrap();
    symlink(&elsewhere, &place.log).unwrap();
    assert_eq!(FileSink::create(&place.log).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let sink = FileSink::builder(&place.log).follow_links(true).build().unwrap();
    sink.send(&batch(&["a"])).unwrap();
    assert_eq!(text(&elsewhere), "old\na\n");
    drop(sink);
    // Put there while a sink runs: what comes next waits.
    fs::remove_file(&place.log).unwrap();
    let sink = place.sink();
    fs::remove_file(&place.log).unwrap();
    symlink(&elsewhere, &place.log).unwrap();
    unavailable(sink.send(&batch(&["b"])));
    assert_eq!(text(&elsewhere), "old\na\n");
    drop(sink);
    // A second name: others may have made it, where others may write.
    fs::remove_file(&place.log).unwrap();
    fs::hard_link(&elsewhere, &place.log).unwrap();
    drop(place.sink());
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = FileSink::create(&place.log).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("second name"), "{error}");
    drop(FileSink::builder(&place.log).follow_links(true).build().unwrap());
    fs::set_permissions(place.dir.path(), Permissions::from_mode(0o700)).unwrap();
}

/// Who made the file before the program did would read all that is written to it, and so would who is behind a pipe.
#[test]
fn a_file_that_another_user_put_there_is_not_written_to() {
    if !rustix::process::geteuid().is_root() {
        return say("not root: only root can give files to another user");
    }
    for fifo in [false, true] {
        let place = Place::new();
        if fifo {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &place.log, kind, 0o666.into(), 0).unwrap();
        } else {
            fs::write(&place.log, "old\n").unwrap();
        }
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&place.log).unwrap();
        std::os::unix::fs::chown(&place.log, Some(12345), Some(12345)).unwrap();
        let send = |follow| {
            let sink = FileSink::builder(&place.log).follow_links(follow).build();
            sink.and_then(|sink| match sink.send(&batch(&["a"])) {
                Err(SendError::Unavailable { error, .. }) => Err(Error::new(ErrorKind::NotTrusted, error.to_string())),
                sent => {
                    assert!(sent.unwrap().is_delivered());
                    Ok(())
                }
            })
        };
        for mode in [0o777, 0o1777, 0o770] {
            fs::set_permissions(place.dir.path(), Permissions::from_mode(mode)).unwrap();
            let error = send(false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
            assert!(error.message().contains("uid 12345") && error.message().contains("follow_links"), "{error}");
        }
        // Only root makes names there: it is meant to be so. And so it is where the program says it.
        fs::set_permissions(place.dir.path(), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(place.dir.path(), Some(12345), None).unwrap();
        send(false).unwrap();
        fs::set_permissions(place.dir.path(), Permissions::from_mode(0o777)).unwrap();
        send(true).unwrap();
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        assert_eq!(text, if fifo { "a\na\n" } else { "old\na\na\n" });
    }
}

/// A directory above that is a link of another user's would have the file made where he may not.
#[test]
fn links_on_the_way_to_the_log_are_followed_if_they_are_ones_own() {
    let place = Place::new();
    let (real, link) = (place.beside("real"), place.beside("link"));
    fs::create_dir(&real).unwrap();
    symlink("real", &link).unwrap();
    FileSink::create(link.join("app.log")).unwrap().send(&batch(&["a"])).unwrap();
    assert_eq!(text(real.join("app.log")), "a\n");
    if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
        let error = FileSink::create(link.join("app.log")).unwrap_err();
        assert!(error.kind() == ErrorKind::NotTrusted && error.message().contains("uid 12345"), "{error}");
        let sink = FileSink::builder(link.join("app.log")).follow_links(true).build().unwrap();
        sink.send(&batch(&["b"])).unwrap();
        assert_eq!(text(real.join("app.log")), "a\nb\n");
    }
}

/// The header of a mark, as the format's page has it.
fn header(words: [u64; 5], crc: u32, entries: u32, contents: u32, body: &[u8]) -> Vec<u8> {
    let mut header = b"unimark3".to_vec();
    words.iter().for_each(|word| header.extend(word.to_le_bytes()));
    [crc, 0, entries, contents, format::crc32c(&[body])].iter().for_each(|word| header.extend(word.to_le_bytes()));
    header.resize(508, 0);
    header.extend(format::crc32c(&[&header]).to_le_bytes());
    [&header[..], body].concat()
}

/// A mark that says that a batch of a tebibyte was begun at the file's beginning once cut the file to nothing.
#[test]
fn crafted_marks_cut_nothing() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    drop(place.sink());
    let lines = "acknowledged\n".repeat(100);
    fs::write(&place.log, &lines).unwrap();
    let of = fs::metadata(&place.log).unwrap();
    let (device, inode, length) = (of.dev(), of.ino(), of.len());
    let entry = [1u64, 1].map(u64::to_le_bytes).concat();
    for (at, says) in [
        (0, 1u64 << 40),
        (0, u64::MAX),
        (u64::MAX, 2),
        (length - 5, 1 << 40),
        (5, length),
        (0, length + 9),
        (1 << 50, 9),
    ] {
        for contents in [b"".as_slice(), b"other text", &[0; 64]] {
            let body = [&entry, contents].concat();
            let mark = header([3, device, inode, at, says], 7, 1, contents.len() as u32, &body);
            // An odd generation stands in the second place.
            let mut sidecar = fs::read(&place.sidecar).unwrap();
            let area = (512 + 2048 * 16 + (1 << 20)) as usize;
            sidecar.resize(2 * area, 0);
            sidecar[area..area + mark.len()].copy_from_slice(&mark);
            fs::write(&place.sidecar, sidecar).unwrap();
            drop(place.sink());
            assert_eq!(text(&place.log), lines, "{at} {says}");
        }
    }
    place.sink().send(&batch(&["next"])).unwrap();
    assert_eq!(text(&place.log), lines + "next\n");
}

#[test]
fn a_sidecar_of_any_length_and_content_costs_nothing() {
    let place = Place::new();
    let (one, two) = (batch(&["a"]), batch(&["b"]));
    place.sink().send(&one).unwrap();
    let file = OpenOptions::new().write(true).open(&place.sidecar).unwrap();
    // What a file may be long at most is less on some filesystems.
    let long = [15 << 40, 1 << 40, 1 << 32].into_iter().find(|length| file.set_len(*length).is_ok());
    assert!(long.is_some());
    let started = Instant::now();
    let sink = place.sink();
    [&one, &two].iter().for_each(|batch| assert!(sink.send(batch).unwrap().is_delivered()));
    drop(sink);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(text(&place.log), "a\nb\n");
    // Bytes at random.
    let mut random = Random::new(7);
    let bytes: Vec<u8> = (0..3 << 20).map(|_| random.next() as u8).collect();
    fs::write(&place.sidecar, bytes).unwrap();
    place.sink().send(&batch(&["c"])).unwrap();
    assert_eq!(text(&place.log), "a\nb\nc\n");
}
