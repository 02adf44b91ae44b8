//! The file is renamed, removed, cut, or appended to by another program.

use super::*;

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
