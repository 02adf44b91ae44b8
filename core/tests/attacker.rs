//! Another user, who may write to a directory that root's buffer or file is in, below, or told to be in. He can read,
//! change, make and remove nothing elsewhere, read no record, and stop nothing that is not in his directory.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use unistream::*;

const NOBODY: u32 = 65534;
const SECRET: &str = "the secret that root alone may read\n";
/// In every record that root puts here.
const RECORD: &str = "a record of root's";

/// These need root, to give something to attack; CI runs them as root.
macro_rules! root_only {
    () => {
        if !rustix::process::geteuid().is_root() {
            return say("not root: there is nobody to attack");
        }
    };
}

/// Becomes the other user, for good, with all threads.
#[allow(unsafe_code)]
fn become_nobody() {
    // SAFETY: an empty list is read from no pointer; the calls change nothing but this process's ids.
    let results = unsafe { [libc::setgroups(0, std::ptr::null()), libc::setgid(NOBODY), libc::setuid(NOBODY)] };
    assert_eq!(results, [0; 3]);
    assert!(!rustix::process::geteuid().is_root());
}

/// Does something as the other user, in a process of its own.
#[track_caller]
fn as_nobody(act: impl FnOnce()) {
    let code = in_fork(|| {
        become_nobody();
        act();
        0
    });
    assert_eq!(code, 0, "the attacker could not do what he may do");
}

/// What root does ends, whatever it comes to.
#[track_caller]
fn bounded<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(LONG).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A directory for the attacker to write to, and a vault beside it that he has no business in.
struct Field {
    root: tempfile::TempDir,
    open: PathBuf,
    vault: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

/// Whose the directory is, and its mode.
const DIRECTORIES: [(u32, u32, u32); 4] = [(0, 0, 0o777), (0, 0, 0o1777), (0, NOBODY, 0o770), (NOBODY, NOBODY, 0o755)];

impl Field {
    fn new((user, group, mode): (u32, u32, u32)) -> Field {
        let root = scratch();
        let (open, vault) = (root.path().join("open"), root.path().join("vault"));
        for dir in [&open, &vault, &vault.join("folder")] {
            fs::create_dir(dir).unwrap();
            chmod(dir, 0o755);
        }
        chmod(root.path(), 0o755);
        fs::write(vault.join("secret"), SECRET).unwrap();
        chmod(vault.join("secret"), 0o600);
        // What a clean-up that is led astray would remove.
        for name in ["cursor.0", "lock", "0000000000000001.seg", "0000000000000001-0-1.json.tmp"] {
            fs::write(vault.join("folder").join(name), SECRET).unwrap();
            chmod(vault.join("folder").join(name), 0o600);
        }
        chown(&open, Some(user), Some(group)).unwrap();
        chmod(&open, mode);
        let before = inventory(&vault);
        Field { root, open, vault, before }
    }

    /// Nothing outside has changed, and nothing came out of the vault or of root's records to where the attacker can read it.
    #[track_caller]
    fn is_unharmed(&self, told: &[String], what: &str) {
        assert_eq!(inventory(&self.vault), self.before, "{what}: the vault was changed");
        let mut inside: Vec<_> = self.root.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        inside.sort();
        assert_eq!(inside, ["open", "vault"], "{what}");
        assert!(told.iter().all(|text| !text.contains(&SECRET[..20])), "{what}: {told:?}");
        let mut dirs = vec![(self.open.clone(), true)];
        while let Some((dir, reachable)) = dirs.pop() {
            for entry in dir.read_dir().unwrap().map(|entry| entry.unwrap()) {
                let found = entry.path().symlink_metadata().unwrap();
                let may = |bit: u32| match (found.uid(), found.gid()) {
                    (NOBODY, _) => true,
                    (_, NOBODY) => found.mode() & (bit << 3 | bit) != 0,
                    _ => found.mode() & bit != 0,
                };
                if found.is_dir() {
                    dirs.push((entry.path(), reachable && may(0o001)));
                } else if found.is_file() && found.len() < 1 << 30 && !self.is_of_the_vault(&found) {
                    let bytes = fs::read(entry.path()).unwrap();
                    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
                    assert!(!has(&SECRET[..20]), "{what}: the secret is in {:?}", entry.path());
                    let readable = reachable && may(0o004);
                    assert!(!readable || !has(RECORD), "{what}: he can read records in {:?}", entry.path());
                }
            }
        }
    }

    /// A second name of a file there, which only root can have made on a kernel with protected_hardlinks.
    fn is_of_the_vault(&self, found: &fs::Metadata) -> bool {
        found.ino() == self.vault.join("secret").metadata().unwrap().ino()
    }

    /// What is root's own works all the time.
    #[track_caller]
    fn own_place_works(&self) {
        let own = self.root.path().join("own");
        let sink = FileSink::create({
            fs::create_dir(&own).unwrap();
            own.join("app.log")
        });
        let producer = quick(own.join("outbox")).open(sink.unwrap()).unwrap();
        producer.put(RECORD).unwrap();
        producer.flush(LONG).unwrap();
        producer.close(LONG).unwrap();
        assert_eq!(fs::read_to_string(own.join("app.log")).unwrap(), format!("{RECORD}\n"));
        fs::remove_dir_all(own).unwrap();
    }
}

/// Every name, and what stands there.
fn inventory(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let about = entry.symlink_metadata().unwrap();
        if about.is_dir() {
            found.extend(inventory(&entry));
        }
        // Not how many names it has: one of them may be in the attacker's directory.
        let contents = if about.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
        let (inode, mode, owner, changed) = (about.ino(), about.mode(), about.uid(), about.mtime_nsec());
        found.insert(entry, format!("{inode} {mode:o} {owner} {changed} {contents:?}"));
    }
    found
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn quick(dir: impl AsRef<Path>) -> Builder {
    Producer::builder(dir)
        .segment_bytes(64 << 10)
        .durability(Durability::Os)
        .linger(Duration::from_millis(1))
        .schedule_multiplier(Duration::from_millis(1))
}

/// What is put in the place of a name of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    LinkToSecret,
    LinkToNothing,
    LinkToFolder,
    HardLink,
    Fifo,
    Directory,
    Sparse,
    /// A file of his own, which everybody may write to.
    Own,
    Nothing,
}

const PLANTS: [Plant; 9] = [
    Plant::LinkToSecret,
    Plant::LinkToNothing,
    Plant::LinkToFolder,
    Plant::HardLink,
    Plant::Fifo,
    Plant::Directory,
    Plant::Sparse,
    Plant::Own,
    Plant::Nothing,
];

impl Plant {
    fn at(self, path: &Path, vault: &Path) -> io::Result<()> {
        match self {
            Plant::LinkToSecret => symlink(vault.join("secret"), path),
            Plant::LinkToNothing => symlink(vault.join("nothing"), path),
            Plant::LinkToFolder => symlink(vault.join("folder"), path),
            Plant::HardLink => fs::hard_link(vault.join("secret"), path),
            Plant::Fifo => {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o666.into(), 0)?;
                fs::set_permissions(path, Permissions::from_mode(0o666))
            }
            Plant::Directory => fs::create_dir(path),
            Plant::Sparse => File::create(path)?.set_len(1 << 40),
            Plant::Own => {
                fs::write(path, "unimark3 unidead\n what the attacker would have root send\n")?;
                fs::set_permissions(path, Permissions::from_mode(0o666))
            }
            Plant::Nothing => Ok(()),
        }
    }

    /// Puts it there as the other user. Hard links to what he may not write are the kernel's to forbid (`protected_hardlinks`):
    /// where it does, root makes the link, as he could himself elsewhere.
    fn by_nobody(self, path: &Path, vault: &Path) {
        let forbidden = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1");
        if self == Plant::HardLink && forbidden {
            as_nobody(|| assert!(self.at(path, vault).is_err()));
            self.at(path, vault).unwrap();
        } else {
            as_nobody(|| self.at(path, vault).unwrap());
        }
    }
}

/// All that root does with a buffer: what it is told, and what the sink got.
fn use_buffer(dir: &Path, trust: Trust) -> (Vec<String>, Vec<String>) {
    let (mut told, sink) = (Vec::new(), Collector::default());
    let mut note = |error: Error| told.push(format!("{error} {:?}", error.kind()));
    match quick(dir).trust(trust).max_attempts(1).open(sink.clone()) {
        Err(error) => note(error),
        Ok(producer) => {
            let _ = producer.put(RECORD).map_err(&mut note);
            let _ = producer.flush(Duration::from_millis(50)).map_err(&mut note);
            let _ = producer.dead_letters().list().map_err(&mut note);
            let _ = producer.close(Duration::from_millis(50)).map_err(&mut note);
        }
    }
    let _ = Inspection::open(dir).and_then(|inspection| inspection.verify()).map_err(&mut note);
    let _ = DeadLetters::open(dir).list().map_err(&mut note);
    (told, sink.texts())
}

#[test]
fn a_buffer_in_a_directory_that_another_user_may_write_to() {
    root_only!();
    let names =
        ["0000000000000001.seg", "0000000000000007.seg", "cursor.0", "cursor.3", "lock", "dead-letters", "corrupt"];
    for directory in DIRECTORIES {
        let field = Field::new(directory);
        for name in names {
            for plant in PLANTS {
                let path = field.open.join(name);
                plant.by_nobody(&path, &field.vault);
                // With `anyone` the program says that hard links are no matter; all else holds.
                for trust in [Trust::Owner, Trust::Group, Trust::Anyone] {
                    if trust == Trust::Anyone && plant == Plant::HardLink {
                        continue;
                    }
                    let what = format!("{directory:?}, {name}, {plant:?}, {trust:?}");
                    let dir = field.open.clone();
                    let (told, sent) = bounded(&what, move || use_buffer(&dir, trust));
                    assert!(sent.iter().all(|text| text == RECORD), "{what}: {sent:?}");
                    field.is_unharmed(&told, &what);
                    if trust == Trust::Owner {
                        assert!(told[0].contains("NotTrusted") && sent.is_empty(), "{what}: {told:?}");
                    }
                }
                empty(&field.open);
            }
        }
        field.own_place_works();
    }
}

fn empty(dir: &Path) {
    for path in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if path.symlink_metadata().unwrap().is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .unwrap();
    }
}

/// The path leads through what he has made.
#[test]
fn a_buffer_below_a_directory_that_another_user_may_write_to() {
    root_only!();
    for directory in DIRECTORIES {
        let field = Field::new(directory);
        for plant in PLANTS {
            for (planted, path) in [("outbox", "outbox"), ("app", "app/outbox"), ("app", "app/more/outbox")] {
                plant.by_nobody(&field.open.join(planted), &field.vault);
                let (what, dir) = (format!("{directory:?}, {plant:?}, {path}"), field.open.join(path));
                let (told, sent) = bounded(&what, move || use_buffer(&dir, Trust::Owner));
                field.is_unharmed(&told, &what);
                // Root's own, or one that the attacker made root a way to: the records are in it and nobody else's.
                let works = plant == Plant::Nothing || (plant == Plant::Directory && path != planted);
                assert_eq!(sent.len(), usize::from(works), "{what}: {told:?}");
                empty(&field.open);
            }
        }
        field.own_place_works();
    }
}

/// All that root does with a file.
fn use_file(log: &Path) -> Vec<String> {
    match FileSink::create(log) {
        Err(error) => vec![error.to_string()],
        Ok(sink) => send_twice(&sink),
    }
}

/// What a sink says to two records, if not that it has them.
fn send_twice(sink: &FileSink) -> Vec<String> {
    let (batches, mut told) = (batches(), Vec::new());
    batches.iter().for_each(|batch| told.extend(sink.send(batch).err().map(|error| format!("{error:?}"))));
    told
}

fn batches() -> [Batch; 2] {
    [RECORD, RECORD].map(|text| {
        let dir = scratch();
        let buffer = Producer::builder(dir.path()).max_records(1).segment_bytes(64 << 10);
        let buffer = buffer.open_manual(Limits::default()).unwrap();
        buffer.put(text).unwrap();
        buffer.next_batch().unwrap().unwrap()
    })
}

/// A pipe of the attacker's, with him at its end, takes records as well as a file of his.
#[test]
fn a_file_in_a_directory_that_another_user_may_write_to() {
    root_only!();
    for directory in DIRECTORIES {
        let field = Field::new(directory);
        for (planted, path) in
            [("app.log", "app.log"), ("app.log.unistream", "app.log"), ("app.log.1", "app.log"), ("app", "app/app.log")]
        {
            for plant in PLANTS {
                let what = format!("{directory:?}, {planted}, {plant:?}");
                let (at, log) = (field.open.join(planted), field.open.join(path));
                plant.by_nobody(&at, &field.vault);
                let mut pipe = (plant == Plant::Fifo).then(|| {
                    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
                    OpenOptions::new().read(true).custom_flags(nonblocking).open(&at).unwrap()
                });
                let used = log.clone();
                let told = bounded(&what, move || use_file(&used));
                // The program names a directory of his, as `DIR/app.log`: what he has there for it is where it goes.
                let given = directory.0 == NOBODY
                    && planted == "app.log"
                    && matches!(plant, Plant::Own | Plant::Fifo | Plant::Sparse);
                if given {
                    assert_eq!(inventory(&field.vault), field.before, "{what}");
                    empty(&field.open);
                    continue;
                }
                field.is_unharmed(&told, &what);
                let mut heard = [0; 100];
                let heard = pipe.as_mut().map_or(0, |pipe| pipe.read(&mut heard).unwrap_or(0));
                assert_eq!(heard, 0, "{what}: he has read records");
                let harmless = plant == Plant::Nothing && path == "app.log"
                    || planted == "app.log.1"
                    || (planted == "app" && plant == Plant::Directory);
                assert_eq!(told.is_empty(), harmless, "{what}: {told:?}");
                empty(&field.open);
                if path != "app.log" {
                    continue;
                }
                // He comes while root writes; what was written stays, and when his is gone root goes on.
                let sink = FileSink::create(&log).unwrap();
                assert!(send_twice(&sink).is_empty());
                let away = at.with_extension("away");
                if at.exists() {
                    fs::rename(&at, &away).unwrap();
                }
                plant.by_nobody(&at, &field.vault);
                let (told, sink) = bounded(&what, move || (send_twice(&sink), sink));
                field.is_unharmed(&told, &what);
                if at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                    fs::remove_dir(&at).unwrap();
                } else if plant != Plant::Nothing {
                    fs::remove_file(&at).unwrap();
                }
                assert!(send_twice(&sink).is_empty(), "{what}: it did not go on");
                empty(&field.open);
            }
        }
        field.own_place_works();
    }
}

/// How often root opens while names are swapped under its hands.
const OPENINGS: usize = 200;

/// Between a look and the use that follows it.
#[test]
fn names_are_swapped_while_root_opens() {
    root_only!();
    let field = Field::new((0, 0, 0o777));
    let (open, vault) = (field.open.clone(), field.vault.clone());
    let all = "app app.log app.log.unistream outbox 0000000000000001.seg cursor.0 lock dead-letters corrupt";
    let (open_text, vault_text) = (open.to_str().unwrap(), vault.to_str().unwrap());
    let attacker = Process::spawn("swap", &[("OPEN", open_text), ("VAULT", vault_text), ("NAMES", all)]);
    attacker.wait_for("swapping");
    let told = bounded("racing", move || {
        let mut told = Vec::new();
        for _ in 0..OPENINGS {
            told.extend(use_file(&open.join("app.log")));
            told.extend(use_buffer(&open.join("outbox"), Trust::Owner).0);
            told.extend(use_buffer(&open.join("app/outbox"), Trust::Owner).0);
            told.extend(use_file(&open.join("app/app.log")));
            let (said, sent) = use_buffer(&open, Trust::Anyone);
            assert!(sent.iter().all(|text| text == RECORD), "{sent:?}");
            told.extend(said);
        }
        told
    });
    attacker.kill();
    field.is_unharmed(&told, "racing");
    assert!(told.iter().any(|text| text.contains("symbolic link")), "he never came in between: {told:?}");
    field.own_place_works();
}

#[test]
#[ignore = "the attacker's side of the races"]
fn child() {
    if role().as_deref() != Some("swap") {
        return;
    }
    let (open, vault) = (PathBuf::from(argument("OPEN")), PathBuf::from(argument("VAULT")));
    become_nobody();
    let names = argument("NAMES");
    let mut random = Random::new(13);
    say("swapping");
    for number in 0.. {
        let name = names.split(' ').nth(random.below(9) as usize).unwrap();
        let (path, trash) = (open.join(name), open.join(format!("trash {}", number % 64)));
        let plant = PLANTS[random.below(PLANTS.len() as u64) as usize];
        // What is there goes by its name, so that it is not in the way; what root has in it stays as unreadable as it was.
        let _ = fs::remove_file(&path).or_else(|_| fs::rename(&path, &trash));
        // Each may be taken by root in between.
        let _ = plant.at(&path, &vault);
    }
}

/// The others would hold for somebody who can do nothing, and for one who can do everything.
#[test]
fn the_attacker_is_who_he_is_said_to_be() {
    root_only!();
    let field = Field::new((0, 0, 0o1777));
    let secret = field.vault.join("secret");
    as_nobody(|| {
        assert!(fs::read(&secret).is_err());
        assert!(fs::write(secret.with_extension("new"), "").is_err());
        fs::write(field.open.join("his"), "").unwrap();
    });
    assert_eq!(field.open.join("his").metadata().unwrap().uid(), NOBODY);
}
