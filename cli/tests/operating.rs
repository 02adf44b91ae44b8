//! The commands on a buffer whose producer lives, and what `doctor` finds.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use unistream::{Batch, Builder, Limits, NEVER, OnExhausted, Outcome, Producer, Report, SendError, State, sink};

const UNISTREAM: &str = env!("CARGO_BIN_EXE_unistream");
const LONG: Duration = Duration::from_secs(60);

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(UNISTREAM);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let ended = run(folder, arguments);
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {:?} {:?}", ended.out, ended.err))
}

/// The words of what is wrong.
fn found(folder: &Path) -> Vec<String> {
    let ended = run(folder, &["doctor", "outbox", "--json"]);
    let rows = ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found: Vec<String> = rows.map(|row| row["what"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ended.code, if found.is_empty() { 0 } else { 9 }, "{}", ended.err);
    // What the machine's own disk is like is not the test's.
    found.retain(|what| what != "disk_low");
    found
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn builder(folder: &Path) -> Builder {
    Producer::builder(folder.join("outbox")).max_records(1).linger(NEVER).segment_bytes(64 << 10)
}

/// A sink that answers so until it works.
fn answers(works: &Arc<AtomicBool>, answer: fn() -> SendError) -> impl sink::Sink + use<> {
    let works = works.clone();
    sink::from_fn(move |_: &Batch| if works.load(Ordering::SeqCst) { Ok(()) } else { Err(answer()) })
}

#[test]
fn a_live_producer_is_operated_from_outside() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let rejects = Arc::new(AtomicBool::new(true));
    let seen = rejects.clone();
    let sink = sink::from_fn(move |batch: &Batch| match seen.load(Ordering::SeqCst) {
        true => Report::all(batch.len(), Outcome::Rejected { reason: "not now".into() }),
        false => Report::delivered(),
    });
    let producer = builder(folder).open(sink).unwrap();
    for record in ["1", "2", "3"] {
        producer.put(record).unwrap();
    }
    producer.flush(LONG).unwrap();
    assert_eq!(found(folder), ["dead_letters"]);
    let listed = run(folder, &["dead-letters", "list", "outbox"]);
    let ids: Vec<&str> = listed.out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((listed.code, ids.len()), (0, 3));
    rejects.store(false, Ordering::SeqCst);
    let deleted = run(folder, &["dead-letters", "delete", "outbox", ids[0]]);
    assert_eq!((deleted.code, &*deleted.out), (0, &*format!("{}: deleted\n", ids[0])), "{}", deleted.err);
    let replayed = run(folder, &["dead-letters", "replay", "outbox", "--all"]);
    assert_eq!((replayed.code, replayed.out.lines().count()), (0, 2), "{}", replayed.err);
    producer.flush(LONG).unwrap();
    assert_eq!(producer.stats().delivered_records, 2);
    let stat = json(folder, &["stat", "outbox", "--json"]);
    assert_eq!((&stat["state"], &stat["delivered_records"]), (&"running".into(), &2.into()));
    assert_eq!(
        (&stat["put_records"], &stat["rejected_records"], &stat["dead_letters"]),
        (&5.into(), &3.into(), &0.into())
    );
    assert!(json(folder, &["stat", "outbox", "--json", "--files"])["state"].is_null());
    let person = run(folder, &["stat", "outbox"]);
    let says = |line: &str| line.split_whitespace().collect::<Vec<_>>() == ["state", "running"];
    assert!(person.out.lines().any(says), "{}", person.out);
    let missing = run(folder, &["dead-letters", "replay", "outbox", ids[0]]);
    assert_eq!(missing.code, 6, "{}", missing.err);
    assert!(found(folder).is_empty());
    let well = run(folder, &["doctor", "outbox"]);
    assert!(
        well.out.contains("Nothing is wrong with outbox; 0 records wait") || well.out.contains("nearly full"),
        "{}",
        well.out
    );
    producer.close(LONG).unwrap();
    let nobody = run(folder, &["resume", "outbox"]);
    assert_eq!((nobody.code, &*nobody.err), (1, "unistream: no process has the buffer outbox now\n"));
    assert_eq!(run(folder, &["doctor", "none"]).code, 6);
}

#[test]
fn what_waits_or_has_stopped_goes_on_by_a_command() {
    for (on_exhausted, state, what) in
        [(OnExhausted::Raise, State::Stopped, "stopped"), (OnExhausted::Skip, State::OnHold, "sink_failing")]
    {
        let root = tempfile::tempdir().unwrap();
        let works = Arc::default();
        let hour = Duration::from_secs(3600);
        let attempts = if on_exhausted == OnExhausted::Raise { "1" } else { "9" };
        let open = builder(root.path()).schedule_min(hour).schedule_max(hour).on_exhausted(on_exhausted);
        let open = open.set("max_attempts", attempts).unwrap();
        let producer = open.open(answers(&works, || SendError::failed("the table is missing"))).unwrap();
        producer.put("record").unwrap();
        wait_until("it has failed", || producer.stats().state == state);
        assert_eq!(found(root.path()), [what]);
        let told = run(root.path(), &["doctor", "outbox"]);
        assert!(
            told.out.contains("the table is missing") && told.out.contains("unistream resume outbox"),
            "{}",
            told.out
        );
        works.store(true, Ordering::SeqCst);
        let resumed = run(root.path(), &[if what == "stopped" { "resume" } else { "try-now" }, "outbox"]);
        assert_eq!((resumed.code, &*resumed.out), (0, "slot-0: goes on, and tries now what waits\n"));
        producer.flush(LONG).unwrap();
        assert!(found(root.path()).is_empty());
    }
}

#[test]
fn the_doctor_says_what_is_wrong() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    // A sink that cannot be reached, in one slot; another slot that nobody has.
    let works = Arc::default();
    let unavailable = || SendError::unavailable("connection refused");
    let left = builder(folder).shared(true).open_manual(Limits::default()).unwrap();
    left.put("left").unwrap();
    let live = builder(folder).shared(true).open(answers(&works, unavailable)).unwrap();
    live.put("live").unwrap();
    wait_until("it was tried", || live.stats().unavailable_attempts > 0);
    assert_eq!(found(folder), ["sink_unavailable"]);
    let told = run(folder, &["doctor", "outbox"]);
    assert!(told.out.contains("unavailable since") && told.out.contains("connection refused"), "{}", told.out);
    assert!(!told.out.contains("ZZ"), "{}", told.out);
    let stat = json(folder, &["stat", "outbox", "--json"]);
    assert!(stat["unavailable_since"].is_string() && stat["last_error"] == "connection refused", "{stat}");
    live.close(Duration::ZERO).unwrap();
    left.close(Duration::ZERO).unwrap();
    assert!(found(folder).contains(&"orphaned".into()));
    // Records that nobody sends, bytes that are not what was put, a letter that is none, a directory of others.
    let alone = folder.join("outbox");
    fs::remove_dir_all(&alone).unwrap();
    let producer = builder(folder).open_manual(Limits::default()).unwrap();
    producer.put("a record to be damaged").unwrap();
    producer.put("another one").unwrap();
    producer.close(Duration::ZERO).unwrap();
    assert_eq!(found(folder), ["no_owner"]);
    let segment = fs::read_dir(&alone).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|suffix| suffix == "seg")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"record").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::create_dir_all(alone.join("dead-letters")).unwrap();
    fs::write(alone.join("dead-letters/x-1-2.json"), "{").unwrap();
    assert_eq!(found(folder), ["damaged", "no_owner", "damaged_letter"]);
    fs::set_permissions(&alone, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
    assert!(found(folder).contains(&"not_trusted".into()));
}

/// A producer that was stopped (SIGSTOP) answers nobody: the commands say so, with the code of a buffer that is in use.
#[test]
fn who_does_not_answer_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let producer = builder(folder).open_manual(Limits::default()).unwrap();
    for record in [r#"{"n": 1}"#, r#"{"n": 2}"#] {
        producer.put(record).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Ok(Report::all(1, Outcome::Rejected { reason: "no".into() }))).unwrap();
    producer.close(Duration::ZERO).unwrap();
    let mut child = Command::new(UNISTREAM);
    // A listener that nobody accepts at: the sink waits for an answer, and the record stays.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/", silent.local_addr().unwrap());
    child.args(["drain", "outbox", "--follow", "--quiet", "--to", &to]).current_dir(folder);
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it runs", || json(folder, &["stat", "outbox", "--json"])["state"] == "running");
    let signal = |signal: &str| {
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    let stat = json(folder, &["stat", "outbox", "--json"]);
    let why = stat["not_answered"][0].as_str().unwrap();
    assert!(why.contains(&format!("pid {}", child.id())), "{why}");
    assert!(found(folder).contains(&"silent".into()));
    let replayed = run(folder, &["dead-letters", "replay", "outbox", "--all"]);
    assert_eq!(replayed.code, 5, "{}", replayed.err);
    assert!(replayed.err.contains("has not answered"), "{}", replayed.err);
    assert_eq!(run(folder, &["dead-letters", "list", "outbox"]).out.lines().count(), 1);
    signal("-CONT");
    let replayed = run(folder, &["dead-letters", "replay", "outbox", "--all"]);
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(json(folder, &["stat", "outbox", "--json"])["pending_records"], 2);
}
