//! The commands on an outbox that processes share.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use unistream::{Event, Inspection, Limits, Outcome, Producer, Report, sink};

const UNISTREAM: &str = env!("CARGO_BIN_EXE_unistream");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(UNISTREAM);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Ends a child that a failing test would leave.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two slots with a record each, whose owners are gone, and a dead letter in each.
fn leave(folder: &Path) {
    let open = || Producer::builder(folder.join("outbox")).shared(true).max_records(1).open_manual(Limits::default());
    let producers = [open().unwrap(), open().unwrap()];
    for (producer, name) in producers.iter().zip(["a", "b"]) {
        producer.put(format!("dead {name}").as_str()).unwrap();
        let batch = producer.next_batch().unwrap().unwrap();
        producer.settle(batch, Ok(Report::all(1, Outcome::Rejected { reason: "no".into() }))).unwrap();
        producer.put(format!("left {name}").as_str()).unwrap();
    }
    for producer in producers {
        assert_eq!(producer.close(Duration::ZERO).unwrap(), 1);
    }
}

#[test]
fn whole_outboxes_are_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    leave(folder);
    let stat: Value = serde_json::from_slice(&run(folder, &["stat", "outbox", "--json"]).stdout).unwrap();
    assert_eq!((&stat["pending_records"], &stat["slots"], &stat["owned_slots"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(stat["dead_letters"], 2);
    let slots: Vec<_> = stat["of_slots"].as_array().unwrap().iter().collect();
    assert_eq!(slots.iter().map(|slot| slot["slot"].as_str().unwrap()).collect::<Vec<_>>(), ["slot-0", "slot-1"]);
    assert!(slots.iter().all(|slot| slot["pending_records"] == 1 && slot["owner_pid"].is_null()));
    assert_eq!(text(&run(folder, &["cat", "outbox"]).stdout), "left a\nleft b\n");
    assert_eq!(text(&run(folder, &["cat", "outbox", "-n", "1"]).stdout), "left a\n");
    let verified = run(folder, &["verify", "outbox", "--json"]);
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["records"], &verified["corrupt"]), (&2.into(), &Value::Array(Vec::new())));
    let top: Value =
        serde_json::from_slice(&run(folder, &["top", "outbox", "-n", "1", "-i", "0.1", "--json"]).stdout).unwrap();
    assert_eq!((&top["pending_records"], top["of_slots"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!(top["sinks"][0]["dead_letters"], 2);
    // What is damaged is named with its slot.
    let segment = fs::read_dir(folder.join("outbox/slot-1")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|suffix| suffix == "seg")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"left b").unwrap();
    bytes[at] = b'L';
    fs::write(&segment, bytes).unwrap();
    let verified = run(folder, &["verify", "outbox"]);
    assert!(!verified.status.success() && text(&verified.stdout).contains("slot-1/"), "{verified:?}");
}

#[test]
fn dead_letters_of_all_slots_are_listed_replayed_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    leave(folder);
    let listed = run(folder, &["dead-letters", "list", "outbox"]);
    let ids: Vec<String> =
        text(&listed.stdout).lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
    let shown = run(folder, &["dead-letters", "show", "outbox", &ids[1]]);
    assert!(text(&shown.stdout).contains("dead b"), "{shown:?}");
    assert!(run(folder, &["dead-letters", "delete", "outbox", &ids[0]]).status.success());
    assert!(run(folder, &["dead-letters", "replay", "outbox", &ids[1]]).status.success());
    assert!(run(folder, &["dead-letters", "list", "outbox"]).stdout.is_empty());
    let drained = run(folder, &["drain", "outbox", "--to", "file:out.log", "--quiet"]);
    assert!(drained.status.success(), "{drained:?}");
    let mut lines: Vec<String> =
        fs::read_to_string(folder.join("out.log")).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["dead b", "left a", "left b"]);
    assert!(!folder.join("outbox/slot-1").exists());
}

#[test]
fn one_drains_while_others_put_and_the_next_takes_over() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    leave(folder);
    let arguments = ["drain", "outbox", "--to", "file:out.log", "--follow", "--quiet"];
    let mut first = Ends(command(folder, &arguments).spawn().unwrap());
    let lines = || fs::read_to_string(folder.join("out.log")).unwrap_or_default().lines().count();
    wait_until("what was left is sent", || lines() == 2);
    // The second one waits: also for the file, which is the first one's.
    let second = command(folder, &["drain", "outbox", "--to", "null:", "--timeout", "0.5"]).output().unwrap();
    assert!(!second.status.success() && text(&second.stderr).contains("drains the outbox"), "{second:?}");
    // A process that puts and ends, while the first one follows.
    leave(folder);
    wait_until("that is sent", || lines() == 4);
    // One that puts and lives sends itself.
    let producer = Producer::builder(folder.join("outbox")).shared(true).open(sink::from_fn(|_| ())).unwrap();
    producer.put("own").unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(lines(), 4);
    producer.close(Duration::from_secs(60)).unwrap();
    let waiting = Ends(command(folder, &["drain", "outbox", "--to", "file:second.log", "--follow"]).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    leave(folder);
    let taken = || fs::read_to_string(folder.join("second.log")).unwrap_or_default().lines().count();
    wait_until("the next one has taken over", || taken() == 2);
    let pid = i32::try_from(waiting.0.id()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    let mut waiting = waiting;
    let status = waiting.0.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(Inspection::open(folder.join("outbox")).unwrap().stats().unwrap().pending_records, 0);
}

/// What a living process has adopted, and does not send, is left: that is said, and one that follows gets it.
#[test]
fn a_drain_says_what_living_processes_have_adopted() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let open = || Producer::builder(folder.join("outbox")).shared(true).max_records(1).open_manual(Limits::default());
    let (keeps, dead) = (open().unwrap(), open().unwrap());
    dead.put("left").unwrap();
    assert_eq!(dead.close(Duration::ZERO).unwrap(), 1);
    wait_until("it has adopted the slot", || keeps.next_batch().unwrap().is_some());
    let drained = run(folder, &["drain", "outbox", "--to", "file:out.log", "--timeout", "0.5", "--quiet"]);
    assert_eq!(drained.status.code(), Some(3), "{drained:?}");
    assert!(text(&drained.stderr).contains("other living processes have adopted 1 more slots"), "{drained:?}");
    let follows = ["drain", "outbox", "--to", "file:out.log", "--follow", "--quiet"];
    let follows = Ends(command(folder, &follows).spawn().unwrap());
    drop(keeps);
    wait_until("it is sent", || fs::read_to_string(folder.join("out.log")).is_ok_and(|text| text == "left\n"));
    drop(follows);
}

#[test]
fn put_takes_no_outbox_of_others() {
    let root = tempfile::tempdir().unwrap();
    leave(root.path());
    for arguments in [&["put", "outbox"][..], &["put", "other", "-o", "shared=true"]] {
        let refused = run(root.path(), arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("a buffer of its own"), "{refused:?}");
    }
}

/// The event of a drain that adopts is of no interest on the screen.
#[test]
fn adopting_is_no_warning() {
    assert_eq!(Event::Adopted { slot: "slot-1", records: 1 }.level(), unistream::Level::Info);
}
