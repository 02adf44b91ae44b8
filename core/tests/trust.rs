//! What others can do to a buffer through a directory that they may write to: nothing. They cannot have anything read,
//! written, made or removed outside of it, nor have their own records taken for the program's.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::*;
use unistream::*;

const NOBODY: u32 = 65534;

/// The tests that need another user need root.
macro_rules! root_only {
    () => {
        if !rustix::process::geteuid().is_root() {
            return say("not root: only root can give files to another user");
        }
    };
}

fn builder(dir: impl AsRef<Path>) -> Builder {
    Producer::builder(dir).segment_bytes(64 << 10).max_records(10).linger(NEVER).schedule_max(Duration::ZERO)
}

fn open(dir: impl AsRef<Path>) -> Result<Producer> {
    builder(dir).open_manual(Limits::default())
}

fn refusal(dir: impl AsRef<Path>, trust: Trust) -> Error {
    builder(dir).trust(trust).open_manual(Limits::default()).expect_err("it is not to be trusted")
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A buffer of several segments that was not closed, and what is in it.
fn left_behind(dir: &Path) -> Vec<String> {
    let copy = dir.with_extension("live");
    let producer = open(&copy).unwrap();
    let texts: Vec<String> = (0..300).map(|number| format!("{number:03}{}", "x".repeat(1000))).collect();
    for text in &texts {
        producer.put(text).unwrap();
    }
    copy_dir(&copy, dir);
    texts
}

/// A file that is none of the buffer's, and must stay as it is.
struct Victim(PathBuf);

impl Victim {
    const SECRET: &str = "a secret that nobody else may read, and that must stay what it is\n";

    fn new(path: PathBuf) -> Victim {
        fs::write(&path, Victim::SECRET).unwrap();
        chmod(&path, 0o600);
        Victim(path)
    }

    /// Nothing wrote to it, and nothing of it is in the buffer.
    #[track_caller]
    fn is_unharmed(&self, buffer: &Path) {
        assert_eq!(fs::read_to_string(&self.0).unwrap(), Victim::SECRET);
        assert_eq!(self.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut dirs = vec![buffer.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    dirs.push(entry.path());
                } else if kind.is_file() && entry.metadata().unwrap().len() < 1 << 20 {
                    let is_it = entry.metadata().unwrap().ino() == self.0.metadata().unwrap().ino();
                    let bytes = fs::read(entry.path()).unwrap();
                    let copied = bytes.windows(8).any(|part| part == &Victim::SECRET.as_bytes()[..8]);
                    assert!(is_it || !copied, "it was copied to {:?}", entry.path());
                }
            }
        }
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_and_not_touched() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    fs::create_dir(&dir).unwrap();
    for (mode, trust, word) in [
        (0o777, Trust::Owner, "chmod o-w"),
        (0o1777, Trust::Owner, "everybody"),
        (0o772, Trust::Group, "everybody"),
        (0o770, Trust::Owner, "chmod g-w"),
        (0o2775, Trust::Owner, "trust to group"),
    ] {
        chmod(&dir, mode);
        let error = refusal(&dir, trust);
        assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
        assert!(error.message().contains(word) && error.message().contains(dir.to_str().unwrap()), "{error}");
        assert!(!error.is_retryable());
        assert!(names(&dir).is_empty(), "it was touched");
    }
    for (mode, trust) in [
        (0o755, Trust::Owner),
        (0o700, Trust::Owner),
        (0o775, Trust::Group),
        (0o2770, Trust::Group),
        (0o777, Trust::Anyone),
    ] {
        chmod(&dir, mode);
        let producer = builder(&dir).trust(trust).open_manual(Limits::default()).unwrap();
        producer.put("x").unwrap();
        producer.close(Duration::ZERO).unwrap();
    }
    // What is made is for its owner alone, whatever is above it.
    chmod(root.path(), 0o777);
    let made = root.path().join("made/by/us");
    open(&made).unwrap().put("x").unwrap();
    for dir in [&made, &root.path().join("made")] {
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
    for name in names(&made) {
        assert_eq!(made.join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_directory_of_another_user_is_refused_also_to_root() {
    root_only!();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let texts = left_behind(&dir);
    chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let before = names(&dir);
    for (mode, trust) in [(0o700, Trust::Owner), (0o755, Trust::Owner), (0o755, Trust::Group), (0o770, Trust::Group)] {
        chmod(&dir, mode);
        let error = refusal(&dir, trust);
        assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
        assert!(error.message().contains("uid 65534") && error.message().contains("runs as uid 0"), "{error}");
        assert_eq!(names(&dir), before);
    }
    // Looking is no harm.
    assert_eq!(Inspection::open(&dir).unwrap().stats().unwrap().pending_records, 300);
    // It is the group's, of which this process is a member.
    chown(&dir, Some(NOBODY), Some(0)).unwrap();
    let group = builder(&dir).trust(Trust::Group).open_manual(Limits::default()).unwrap();
    assert_eq!(group.stats().pending_records, 300);
    drop(group);
    chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let drained = drain_with(builder(&dir).trust(Trust::Anyone));
    assert_eq!(drained.texts(), texts);
}

#[test]
fn files_of_another_user_are_not_taken_for_the_programs_own() {
    root_only!();
    let root = tempfile::tempdir().unwrap();
    for name in ["0000000000000003.seg", "cursor.1", "lock"] {
        let dir = root.path().join(format!("with {name}"));
        let texts = left_behind(&dir);
        chown(dir.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        let error = refusal(&dir, Trust::Owner);
        assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
        assert!(error.message().contains(name) && error.message().contains("uid 65534"), "{error}");
        assert_eq!(drain_with(builder(&dir).trust(Trust::Group)).texts(), texts);
    }
    let dir = root.path().join("writable");
    let texts = left_behind(&dir);
    chmod(dir.join("0000000000000002.seg"), 0o666);
    chmod(&dir, 0o755);
    let error = refusal(&dir, Trust::Owner);
    assert!(error.message().contains("0000000000000002.seg can be written by others"), "{error}");
    // Nobody else gets at it there.
    chmod(&dir, 0o700);
    assert_eq!(drain(&dir).texts(), texts);
}

/// A segment that was a link made root copy the file behind it to `corrupt/`; a cursor or lock that was one had its target
/// written over.
#[test]
fn links_in_the_directory_lead_nowhere() {
    for name in ["0000000000000001.seg", "0000000000000003.seg", "0000000000000009.seg", "cursor.0", "cursor.3", "lock"]
    {
        for hard in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("outbox");
            left_behind(&dir);
            let victim = Victim::new(root.path().join("secret"));
            let _ = fs::remove_file(dir.join(name));
            if hard { fs::hard_link(&victim.0, dir.join(name)) } else { symlink(&victim.0, dir.join(name)) }.unwrap();
            // A hard link is somebody else's doing where others can make names.
            let trust = if hard { Trust::Group } else { Trust::Owner };
            chmod(&dir, if hard { 0o770 } else { 0o700 });
            let error = refusal(&dir, trust);
            assert_eq!(error.kind(), if hard { ErrorKind::NotTrusted } else { ErrorKind::Io }, "{name}: {error}");
            let what = if hard { "hard links" } else { "is a symbolic link, not a file" };
            assert!(error.message().contains(name) && error.message().contains(what), "{name}: {error}");
            victim.is_unharmed(&dir);
            let refused = builder(&dir).trust(Trust::Anyone).open_manual(Limits::default());
            assert!(hard || refused.is_err(), "{name}: links are not followed for anyone");
        }
    }
}

/// A link that leads to nothing had its target made.
#[test]
fn nothing_is_made_at_the_end_of_a_link() {
    for name in ["lock", "cursor.0", "0000000000000001.seg"] {
        let root = tempfile::tempdir().unwrap();
        let (dir, target) = (root.path().join("outbox"), root.path().join("target"));
        fs::create_dir(&dir).unwrap();
        symlink(&target, dir.join(name)).unwrap();
        refusal(&dir, Trust::Owner);
        assert!(!target.exists(), "{name}");
    }
}

/// A link in place of `dead-letters` made opening remove files elsewhere.
#[test]
fn a_link_in_place_of_a_folder_is_not_entered() {
    let root = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (root.path().join("outbox"), root.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    for name in ["a.tmp", "b.records", "c.json", "0000000000000001-0-1.json.tmp"] {
        fs::write(elsewhere.join(name), "{}").unwrap();
    }
    let before = names(&elsewhere);
    let texts = left_behind(&dir);
    symlink(&elsewhere, dir.join("dead-letters")).unwrap();
    let error = refusal(&dir, Trust::Owner);
    assert!(error.message().contains("dead-letters is a symbolic link, not a directory"), "{error}");
    DeadLetters::open(&dir).list().unwrap_err();
    DeadLetters::open(&dir).delete("c").unwrap_err();
    fs::remove_file(dir.join("dead-letters")).unwrap();

    symlink(&elsewhere, dir.join("corrupt")).unwrap();
    let segment = dir.join("0000000000000002.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20_000..20_100].fill(0xff);
    fs::write(&segment, bytes).unwrap();
    // There is no place for what was damaged, which stays where it is; everything else is delivered.
    let producer = open(&dir).unwrap();
    assert_eq!(take_all(&producer).iter().map(|batch| batch.records.len()).sum::<usize>(), texts.len() - 1);
    let error = producer.close(Duration::ZERO).unwrap_err();
    assert!(error.message().contains("corrupt is a symbolic link, not a directory"), "{error}");
    assert!(segment.exists());
    assert_eq!(names(&elsewhere), before);
}

/// What a letter is written to is made anew, whatever had its name.
#[test]
fn a_letter_is_not_written_through_a_link() {
    for hard in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("outbox");
        let victim = Victim::new(root.path().join("secret"));
        let producer = builder(&dir).max_attempts(1).open_manual(Limits::default()).unwrap();
        producer.put("x").unwrap();
        producer.flush(Duration::ZERO).unwrap_err();
        let batch = producer.next_batch().unwrap().unwrap();
        let folder = dir.join("dead-letters");
        fs::create_dir(&folder).unwrap();
        for name in ["0.records", "json.tmp", "json"] {
            let name = folder.join(format!("{}.{name}", batch.id()));
            if hard { fs::hard_link(&victim.0, name) } else { symlink(&victim.0, name) }.unwrap();
        }
        let id = batch.id();
        producer.settle(batch, Err(SendError::failed("no"))).unwrap();
        assert_eq!(producer.dead_letters().get(&id).unwrap().batch().unwrap().len(), 1);
        victim.is_unharmed(&dir);
    }
}

#[test]
fn the_path_may_end_in_a_link_of_ones_own() {
    let root = tempfile::tempdir().unwrap();
    let (real, link) = (root.path().join("real"), root.path().join("link"));
    fs::create_dir(&real).unwrap();
    chmod(&real, 0o755);
    symlink("real", &link).unwrap();
    symlink(&link, root.path().join("link to a link")).unwrap();
    for (at, name) in ["link", "link/", "link to a link", "link/.", "../real"].into_iter().enumerate() {
        let path = if name == "../real" { link.join(name) } else { root.path().join(name) };
        let producer = open(&path).unwrap();
        assert_eq!(producer.stats().pending_records, at as u64, "{name}");
        producer.put("x").unwrap();
    }
    assert!(real.join("cursor.0").exists());
    symlink("nowhere", root.path().join("dangling")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for (name, says) in [("dangling", "nowhere"), ("loop", "symbolic links"), ("file", "is a file, not a directory")] {
        let error = refusal(root.path().join(name), Trust::Owner);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().contains(says), "{error}");
    }
    assert!(!root.path().join("nowhere").exists());
    if rustix::process::geteuid().is_root() {
        lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
        for path in ["link", "link/", "link to a link"] {
            let error = refusal(root.path().join(path), Trust::Group);
            assert_eq!(error.kind(), ErrorKind::NotTrusted, "{path}: {error}");
            assert!(error.message().contains("is a symbolic link that the user with uid 65534 made"), "{error}");
        }
        builder(&link).trust(Trust::Anyone).open_manual(Limits::default()).unwrap();
    }
}

/// A directory above that is a link had root make directories wherever it led.
#[test]
fn a_link_on_the_way_counts_only_if_it_is_ones_own() {
    let root = tempfile::tempdir().unwrap();
    let (real, link) = (root.path().join("real"), root.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink("real", &link).unwrap();
    open(link.join("one/outbox")).unwrap().put("x").unwrap();
    assert!(real.join("one/outbox/cursor.0").exists());
    if rustix::process::geteuid().is_root() {
        lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
        for path in ["one/outbox", "two/outbox", "two/../one/outbox"] {
            let error = refusal(link.join(path), Trust::Group);
            assert_eq!(error.kind(), ErrorKind::NotTrusted, "{path}: {error}");
            assert!(error.message().contains("link is a symbolic link that the user with uid 65534 made"), "{error}");
        }
        assert_eq!(names(&real), ["one"]);
        builder(link.join("two/outbox")).trust(Trust::Anyone).open_manual(Limits::default()).unwrap();
    }
}

/// A named pipe in place of a segment made opening hang; other things were errors that named nothing.
#[test]
fn what_is_no_file_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    left_behind(&whole);
    let kinds: [(&str, fn(&Path)); 5] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a named pipe", |path| mknod(path, rustix::fs::FileType::Fifo, 0)),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a symbolic link", |path| symlink("/dev/zero", path).unwrap()),
        // /dev/null and the like, which only root can make.
        ("a character device", |path| mknod(path, rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5))),
    ];
    for (what, make) in kinds {
        if what == "a character device" && !rustix::process::geteuid().is_root() {
            continue;
        }
        for name in ["0000000000000001.seg", "0000000000000003.seg", "00000000000000ff.seg", "cursor.2", "lock"] {
            let dir = root.path().join("outbox");
            copy_dir(&whole, &dir);
            let _ = fs::remove_file(dir.join(name));
            make(&dir.join(name));
            let error = refusal(&dir, Trust::Owner);
            let says = format!("{name} is {what}, not a file");
            assert!(error.message().contains(&says), "{name}, {what}: {error}");
            if name != "lock" {
                let error = Inspection::open(&dir).and_then(|inspection| inspection.verify()).unwrap_err();
                assert!(error.message().contains(&says), "{name}, {what}: {error}");
            }
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

fn mknod(path: &Path, kind: rustix::fs::FileType, device: u64) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::from(0o600), device).unwrap();
}

/// A batch that was given up on, and its letter.
fn letter(dir: &Path) -> String {
    let producer = builder(dir).max_attempts(1).open_manual(Limits::default()).unwrap();
    let seq = producer.put("x").unwrap();
    producer.flush(Duration::ZERO).unwrap_err();
    let batch = producer.next_batch().unwrap().unwrap();
    assert_eq!(batch.first_seq(), seq);
    let id = batch.id();
    producer.settle(batch, Err(SendError::failed("no"))).unwrap();
    id
}

/// One directory with a letter's name broke the whole list.
#[test]
fn what_is_no_letter_stands_in_the_way_of_none() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let ids = [letter(&dir), letter(&dir)];
    let folder = dir.join("dead-letters");
    fs::create_dir(folder.join("0000000000000001-0-1.json")).unwrap();
    mknod(&folder.join("0000000000000001-0-2.json"), rustix::fs::FileType::Fifo, 0);
    symlink("/dev/zero", folder.join("0000000000000001-0-3.json")).unwrap();
    fs::write(folder.join("0000000000000001-0-4.json"), "{}").unwrap();
    fs::write(folder.join("notes.tmp"), "not ours").unwrap();
    fs::write(folder.join("my.records"), "not ours").unwrap();
    let letters = DeadLetters::open(&dir);
    let listed = || letters.list().unwrap().into_iter().map(|letter| letter.id).collect::<Vec<_>>();
    assert_eq!(listed(), ids);
    for (number, says) in [(1, "is a directory"), (2, "is a named pipe"), (3, "is a symbolic link"), (4, "field")] {
        let error = letters.get(&format!("0000000000000001-0-{number}")).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.message().contains(says), "{error}");
    }
    // Nor for its records.
    fs::remove_file(folder.join(format!("{}.0.records", ids[0]))).unwrap();
    mknod(&folder.join(format!("{}.0.records", ids[0])), rustix::fs::FileType::Fifo, 0);
    assert_eq!(listed(), ids[1..]);
    // Opening goes on with the rest, and clears away nothing that is not ours.
    let producer = open(&dir).unwrap();
    assert_eq!(producer.dead_letters().list().unwrap().len(), 1);
    assert!(folder.join("notes.tmp").exists() && folder.join("my.records").exists());
    for number in 2..=4 {
        letters.delete(&format!("0000000000000001-0-{number}")).unwrap();
    }
}

/// A letter that named another's file as its own had it removed when it was deleted.
#[test]
fn a_letter_has_no_records_but_its_own() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let (good, crafted) = (letter(&dir), letter(&dir));
    let folder = dir.join("dead-letters");
    let (good_file, path) = (format!("{good}.0.records"), folder.join(format!("{crafted}.json")));
    let text = fs::read_to_string(&path).unwrap();
    for other in [good_file.as_str(), "lock", "../lock", "x.records", &format!("{crafted}.x.records")] {
        fs::write(&path, text.replace(&format!("{crafted}.0.records"), other)).unwrap();
        let letters = DeadLetters::open(&dir);
        let error = letters.get(&crafted).unwrap_err();
        assert!(error.message().contains("is damaged"), "{other}: {error}");
        letters.delete(&crafted).unwrap();
        assert!(folder.join(&good_file).exists(), "{other}");
    }
    assert_eq!(DeadLetters::open(&dir).get(&good).unwrap().batch().unwrap().len(), 1);
}

/// A letter of 2 GiB, nearly all of it a hole, was read into memory.
#[test]
fn what_is_only_long_costs_no_memory() {
    const LONG: u64 = (2 << 30) - 1;
    let lengthen = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(LONG).unwrap();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let ids = [letter(&dir), letter(&dir), letter(&dir)];
    let folder = dir.join("dead-letters");
    lengthen(&folder.join(format!("{}.json", ids[0])));
    lengthen(&folder.join(format!("{}.0.records", ids[1])));
    // Its first frame is said to be as long as it can be said to be.
    let records = folder.join(format!("{}.0.records", ids[2]));
    let mut bytes = fs::read(&records).unwrap();
    bytes[20..24].fill(0x7f);
    fs::write(&records, bytes).unwrap();
    lengthen(&records);
    let letters = DeadLetters::open(&dir);
    assert!(letters.get(&ids[0]).unwrap_err().message().contains("there are zeros in it"));
    let listed = letters.list().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].batch().unwrap().len(), 1);
    assert!(listed[1].batch().unwrap_err().message().contains("damaged"));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 512 << 10, "{kilobytes} KiB");
}

/// `cp -al` of a live buffer, as backups do it, stopped its delivery, and it could not be opened any more.
#[test]
fn a_backup_of_hard_links_stops_nobody() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let mut texts = left_behind(&dir);
    let link_all = |to: &str| {
        let backup = root.path().join(to);
        fs::create_dir(&backup).unwrap();
        for name in names(&dir).iter().filter(|name| dir.join(name).is_file()) {
            fs::hard_link(dir.join(name), backup.join(name)).unwrap();
        }
    };
    link_all("before");
    let producer = open(&dir).unwrap();
    link_all("live");
    producer.put("one more").unwrap();
    texts.push("one more".into());
    producer.sync().unwrap();
    let taken: Vec<String> = take_all(&producer).iter().flat_map(SeenBatch::texts).collect();
    assert_eq!(taken, texts);
    producer.close(Duration::ZERO).unwrap();
    link_all("after");
    open(&dir).unwrap().close(Duration::ZERO).unwrap();
}

/// A sync that finds a file which it does not trust has lost nothing: it was taken for a disk that failed, and the log
/// refused everything from then on.
#[test]
fn a_file_that_is_not_trusted_for_a_while_is_synced_later() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    fs::create_dir(&dir).unwrap();
    chmod(&dir, 0o755);
    let producer = builder(&dir).durability(Durability::Os).open_manual(Limits::default()).unwrap();
    for _ in 0..1500 {
        producer.put(&"x".repeat(1000)).unwrap();
    }
    chmod(dir.join("0000000000000001.seg"), 0o666);
    let error = producer.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTrusted, "{error}");
    producer.put("x").unwrap();
    chmod(dir.join("0000000000000001.seg"), 0o600);
    producer.sync().unwrap();
    producer.close(Duration::ZERO).unwrap();
}
