//! Files, sidecars and links of others.

use super::*;

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
