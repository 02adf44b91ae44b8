//! What is no file, and disks that say no.

use super::*;

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

/// A relative path is the file's of that moment.
#[test]
fn a_program_that_changes_its_directory() {
    let place = Place::new();
    Process::spawn("chdir", &[("HERE", place.dir.path().to_str().unwrap())]).finish();
    assert!(!Path::new("/app.log").exists());
}
