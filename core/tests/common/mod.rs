//! What the integration tests share: sinks that remember, a way to take out all that a buffer holds, child
//! processes, (in `disk`) small filesystems, and (in `format`) a second reader of the log's bytes.
#![allow(dead_code, unreachable_pub)] // Every test binary compiles this module and uses its own part of it.

pub mod disk;
pub mod format;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use unistream::*;

/// A time-out that only a hanging test reaches.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Forks, runs `child` in the child, and returns the child's exit code.
#[allow(unsafe_code)]
pub fn in_fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls what is under test, which promises to work there, and leaves by `_exit` in every
    // case, so that nothing of the parent's runs twice. The parent waits for the pid that it was given.
    unsafe {
        match libc::fork() {
            0 => {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
                libc::_exit(code)
            }
            pid => {
                assert!(pid > 0, "fork failed");
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                assert!(libc::WIFEXITED(status), "the child died: {status}");
                libc::WEXITSTATUS(status)
            }
        }
    }
}

/// What a record carries besides: topic, time of expiry, headers.
pub type SeenAttributes = (Option<String>, Option<i64>, Vec<(String, Vec<u8>)>);

/// A record as a sink saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenRecord {
    pub seq: u64,
    pub id: String,
    pub key: Option<Vec<u8>>,
    pub created_at: i64,
    pub attributes: SeenAttributes,
    pub data: Vec<u8>,
}

/// A batch as a sink saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBatch {
    pub id: String,
    pub attempt: u32,
    pub records: Vec<SeenRecord>,
}

impl SeenBatch {
    pub fn of(batch: &Batch) -> SeenBatch {
        let records = batch.iter().map(|record| SeenRecord {
            seq: record.seq,
            id: record.id().into_owned(),
            key: record.key.map(<[u8]>::to_vec),
            created_at: record.created_at,
            attributes: (
                record.topic.map(str::to_owned),
                record.expires_at,
                record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            ),
            data: record.data.to_vec(),
        });
        SeenBatch { id: batch.id(), attempt: batch.attempt(), records: records.collect() }
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.seq).collect()
    }

    pub fn texts(&self) -> Vec<String> {
        self.records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
    }

    /// Stands for the contents.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.records.hash(&mut hasher);
        hasher.finish()
    }
}

/// A sink that takes everything and remembers it.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<SeenBatch>>>);

impl Collector {
    pub fn batches(&self) -> Vec<SeenBatch> {
        self.0.lock().unwrap().clone()
    }

    pub fn add(&self, batch: &Batch) {
        self.0.lock().unwrap().push(SeenBatch::of(batch));
    }

    pub fn texts(&self) -> Vec<String> {
        self.batches().iter().flat_map(SeenBatch::texts).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.batches().iter().flat_map(SeenBatch::seqs).collect()
    }
}

impl Sink for Collector {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        self.add(batch);
        Ok(Report::delivered())
    }
}

/// A sink that cannot be reached.
pub fn down() -> impl Sink {
    sink::from_fn(|_: &Batch| Err::<(), _>(SendError::unavailable("the network is down")))
}

/// A sink whose every attempt fails and counts.
pub fn failing() -> impl Sink {
    sink::from_fn(|_: &Batch| Err::<(), _>(SendError::failed("refused")))
}

/// Notes of events: name and text.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<(String, String)>>>);

impl Events {
    pub fn observer(&self) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push((event.name().to_owned(), event.message()))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|other| *other == name).count()
    }

    pub fn messages(&self, name: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|(other, _)| other == name).map(|(_, message)| message.clone()).collect()
    }
}

/// All that a buffer held.
pub struct Drained {
    pub batches: Vec<SeenBatch>,
    pub events: Events,
    /// As they were when the last batch was committed.
    pub stats: Stats,
}

impl Drained {
    pub fn records(&self) -> Vec<SeenRecord> {
        self.batches.iter().flat_map(|batch| batch.records.clone()).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.batches.iter().flat_map(SeenBatch::seqs).collect()
    }

    pub fn texts(&self) -> Vec<String> {
        self.batches.iter().flat_map(SeenBatch::texts).collect()
    }
}

/// Opens a buffer, takes out and commits every batch, and closes it.
pub fn drain(dir: impl AsRef<Path>) -> Drained {
    drain_with(Producer::builder(dir).durability(Durability::Os).segment_bytes(64 << 10))
}

/// As [`drain`], with options of the test's own.
pub fn drain_with(builder: Builder) -> Drained {
    let events = Events::default();
    let producer = builder.linger(NEVER).observer(events.observer()).open_manual(Limits::default()).unwrap();
    let batches = take_all(&producer);
    let stats = producer.stats();
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 0, "every batch was committed");
    Drained { batches, events, stats }
}

/// Takes out and commits every batch of a producer in manual mode, the open one too.
pub fn take_all(producer: &Producer) -> Vec<SeenBatch> {
    // In manual mode a flush seals; sending is up to us.
    match producer.flush(Duration::ZERO) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
    }
    let mut batches = Vec::new();
    loop {
        match producer.next_batch().unwrap() {
            Some(batch) => {
                batches.push(SeenBatch::of(&batch));
                producer.settle(batch, Ok(Report::delivered())).unwrap();
            }
            None => match producer.next_wait() {
                Some(wait) => std::thread::sleep(wait),
                None => return batches,
            },
        }
    }
}

/// A directory for tests that make thousands of files: in memory where there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The segment files of a buffer, in order.
pub fn segments(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|suffix| suffix == "seg")).collect();
    files.sort();
    files
}

/// Bytes of the segment files of a buffer.
pub fn segment_bytes(dir: impl AsRef<Path>) -> u64 {
    // One that is removed meanwhile takes none.
    segments(dir).iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Copies a directory of files and directories.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // A buffer goes by no directory that others can write to, as the umask may have it.
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy_dir(&entry, &target);
        } else {
            // Under a live producer a spare segment may get another name meanwhile; it holds nothing.
            match std::fs::copy(&entry, &target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => drop(result.unwrap()),
            }
        }
    }
}

/// A payload that its seq determines, of a length between 8 and 8 + `most` bytes.
pub fn payload(seq: u64, most: u64) -> Vec<u8> {
    let mut random = Random::new(seq);
    let length = if most == 0 { 0 } else { random.below(most) };
    let filler = (0..length).map(|_| b'a' + (random.next() % 26) as u8);
    format!("{seq:08}").into_bytes().into_iter().chain(filler).collect()
}

/// Pseudo-random numbers (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The variable that tells a child process what to do.
const ROLE: &str = "UNISTREAM_TEST_ROLE";

/// A process that runs the test named `child` of the same binary, which must be `#[ignore]`d and begin with
/// [`role`]. What it [`say`]s comes line by line.
pub struct Process {
    pub child: Child,
    lines: Option<JoinHandle<Vec<String>>>,
    sofar: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn spawn(role: &str, arguments: &[(&str, &str)]) -> Process {
        Process::spawn_by(Command::new(std::env::current_exe().unwrap()), role, arguments)
    }

    /// As [`spawn`](Self::spawn), with what runs the test binary.
    pub fn spawn_by(mut command: Command, role: &str, arguments: &[(&str, &str)]) -> Process {
        command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).envs(arguments.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let sofar = Arc::<Mutex<Vec<String>>>::default();
        let all = sofar.clone();
        let lines = std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                all.lock().unwrap().push(line);
            }
            std::mem::take(&mut *all.lock().unwrap())
        });
        Process { child, lines: Some(lines), sofar }
    }

    /// Waits for a line that begins with `prefix`, and returns the rest of it.
    #[track_caller]
    pub fn wait_for(&self, prefix: &str) -> String {
        let mut found = None;
        wait_until(&format!("the child says {prefix:?}"), || {
            let lines = self.sofar.lock().unwrap();
            found = lines.iter().find_map(|line| line.strip_prefix(prefix)).map(|rest| rest.trim().to_owned());
            found.is_some()
        });
        found.unwrap()
    }

    /// Tells the child to go on, see [`wait_for_parent`].
    pub fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Kills it with SIGKILL. Returns all that it said before.
    #[track_caller]
    pub fn kill(mut self) -> Vec<String> {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        let lines = self.lines.take().unwrap().join().unwrap();
        let tail = &lines[lines.len().saturating_sub(20)..];
        assert_eq!(status.signal(), Some(9), "the child ended by itself ({status}): {tail:#?}");
        lines
    }

    /// Waits until it ends well. Returns all that it said.
    #[track_caller]
    pub fn finish(mut self) -> Vec<String> {
        let status = self.child.wait().unwrap();
        let lines = self.lines.take().unwrap().join().unwrap();
        assert!(status.success(), "the child failed ({status}): {lines:#?}");
        lines
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only a failing test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a child: what to do. `None`: this is no child, somebody ran all ignored tests.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// In a child: an argument.
pub fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the parent gave no {name}"))
}

/// In a child: a line to the parent, in one write.
pub fn say(line: impl std::fmt::Display) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// In a child: waits for [`Process::go_on`].
pub fn wait_for_parent() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}
