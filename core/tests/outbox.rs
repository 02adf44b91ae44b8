//! An outbox that processes share: each has a slot, those that live send what the others have left, and nothing stays behind.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{format, *};
use unistream::*;

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir.join("outbox"))
        .shared(true)
        .segment_bytes(64 << 10)
        .durability(Durability::Os)
        .linger(Duration::from_millis(5))
        .max_records(20)
        .schedule_max(Duration::from_millis(20))
}

/// The slots that are directories.
fn slots(dir: &Path) -> Vec<String> {
    let names =
        fs::read_dir(dir.join("outbox")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut slots: Vec<String> = names.filter(|name| name.starts_with("slot-")).collect();
    slots.sort();
    slots
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    let Some(role) = role() else { return };
    let dir = argument("DIR");
    let dir = Path::new(&dir);
    match role.as_str() {
        // Puts until it is killed, into a sink that takes nothing or everything.
        "puts" => {
            let name = argument("NAME");
            let builder = builder(dir).max_record_bytes(1000);
            let producer = match argument("SINK").as_str() {
                "down" => builder.open(down()),
                _ => builder.open(sink::from_fn(|batch: &Batch| {
                    batch.iter().for_each(|record| say(format_args!("sent {}", String::from_utf8_lossy(record.data))));
                })),
            };
            let producer = producer.unwrap();
            say(format_args!("slot {}", producer.slot().unwrap()));
            for number in 0.. {
                producer.put(&*format!("{name} {number}")).unwrap();
                say(format_args!("put {name} {number}"));
                std::thread::sleep(Duration::from_micros(300));
            }
        }
        // Puts and sends until it is killed; what it puts and what it sends are lines of two files.
        "soaks" => {
            let name = argument("NAME");
            let append = |file: &str| fs::File::options().append(true).create(true).open(dir.join(file)).unwrap();
            let (mut acknowledged, delivered) = (append("acknowledged"), append("delivered"));
            let calls = AtomicU64::new(0);
            let sends = sink::from_fn(move |batch: &Batch| {
                if calls.fetch_add(1, Ordering::Relaxed) % 7 == 3 {
                    return Err(SendError::unavailable("now and then"));
                }
                let lines: Vec<u8> = batch.iter().flat_map(|record| [record.data, b"\n"].concat()).collect();
                (&delivered).write_all(&lines).map_err(SendError::failed)
            });
            let producer = builder(dir).open(sends).unwrap();
            for number in 0.. {
                let line = format!("{name} {number}");
                producer.put(&*line).unwrap();
                acknowledged.write_all(format!("{line}\n").as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // One of several users of an outbox.
        "member" => {
            let name = argument("NAME");
            let takes = argument("SINK") != "down";
            let sink = sink::from_fn(move |batch: &Batch| {
                let mut report = Report::delivered();
                for (index, record) in batch.iter().enumerate() {
                    let text = String::from_utf8_lossy(record.data);
                    let text = text.trim_end();
                    match text.ends_with('!') {
                        true => report.set(index, Outcome::Rejected { reason: "no".into() }),
                        false if takes => say(format_args!("sent {text}")),
                        false => return Err(SendError::unavailable("down")),
                    }
                }
                Ok(report)
            });
            let outbox = dir.join("outbox");
            let producer = builder(dir).trust(Trust::Group).max_buffer_bytes(4 << 20).open(sink).unwrap();
            say(format_args!("slot {}", producer.slot().unwrap()));
            producer.put(&*format!("{name}!")).unwrap();
            producer.flush(LONG).unwrap();
            let letters = producer.dead_letters();
            let list = letters.list().unwrap();
            say(format_args!("letters {}", list.len()));
            // By whomever it was made.
            letters.delete(&list[0].id).unwrap();
            drop(DrainTurn::take(&outbox, Trust::Group, LONG).unwrap());
            // More than a segment, so that all slots are counted.
            for number in 0..200 {
                producer.put(&*format!("{:1000}", format!("{name} {number}"))).unwrap();
            }
            say("put");
            std::thread::sleep(LONG);
        }
        // Puts some, tries them once, and waits to be killed.
        "tries" => {
            let dead = sink::from_fn(|batch: &Batch| {
                say(format_args!("tried {} {}", batch.id(), batch.attempt()));
                Err::<(), _>(SendError::failed("no"))
            });
            let builder = builder(dir).schedule_multiplier(Duration::from_secs(1)).jitter(Jitter::None);
            let producer = builder.schedule_max(Duration::from_secs(1)).open(dead).unwrap();
            (0..3).for_each(|number| assert!(producer.put(&*format!("tried {number}")).is_ok()));
            std::thread::sleep(LONG);
        }
        other => panic!("no role {other}"),
    }
}

fn putting(dir: &Path, name: &str, sink: &str) -> Process {
    Process::spawn("puts", &[("DIR", dir.to_str().unwrap()), ("NAME", name), ("SINK", sink)])
}

/// What children said with this word in front.
fn said(lines: &[String], word: &str) -> Vec<String> {
    lines.iter().filter_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned()).collect()
}

#[test]
fn producers_of_one_outbox_have_a_slot_each() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let sent = [Collector::default(), Collector::default(), Collector::default()];
    let open = |sent: &Collector| builder(dir).open(sent.clone()).unwrap();
    let (first, second, third) = (open(&sent[0]), open(&sent[1]), open(&sent[2]));
    let names = [&first, &second, &third].map(|producer| producer.slot().unwrap());
    assert_eq!(names, ["slot-0", "slot-1", "slot-2"]);
    assert_eq!(first.path(), dir.join("outbox"));
    assert_eq!(second.path(), dir.join("outbox"));
    for (producer, text) in [(&first, "a"), (&second, "b"), (&third, "c")] {
        assert_eq!(producer.put(text).unwrap(), 1);
        producer.flush(LONG).unwrap();
        assert_eq!(producer.stats().slots, 3);
    }
    assert_eq!(sent.each_ref().map(|sent| sent.texts().concat()), ["a", "b", "c"]);
    // The smallest that is free is taken; what was closed with nothing in it is gone.
    assert_eq!(second.close(LONG).unwrap(), 0);
    assert_eq!(slots(dir), ["slot-2"]);
    let again = open(&sent[1]);
    assert_eq!(again.slot().unwrap(), "slot-1");
    for producer in [&first, &again, &third] {
        assert_eq!(producer.close(LONG).unwrap(), 0);
    }
    assert_eq!(slots(dir), [""; 0]);
    assert_eq!(open(&sent[0]).slot().unwrap(), "slot-0");
}

#[test]
fn a_buffer_of_one_producer_becomes_an_outbox_and_stays_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let alone = || Producer::builder(dir.join("outbox"));
    let producer = alone().open(down()).unwrap();
    producer.put("left").unwrap();
    // Not under a producer that has it alone.
    let error = builder(dir).open(NullSink).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    assert_eq!(producer.close(Duration::ZERO).unwrap(), 1);
    let (events, sent) = (Events::default(), Collector::default());
    let producer = builder(dir).observer(events.observer()).open(sent.clone()).unwrap();
    producer.flush(LONG).unwrap();
    assert_eq!((events.count("shared"), sent.texts()), (1, vec!["left".to_owned()]));
    for taken in [true, false] {
        let error = alone().open(NullSink).unwrap_err();
        let expected = if taken { ErrorKind::InUse } else { ErrorKind::InvalidArgument };
        assert_eq!(error.kind(), expected, "{error}");
        assert_eq!(producer.close(LONG).unwrap(), 0);
    }
    let error = alone().open(NullSink).unwrap_err();
    assert!(error.message().contains("shared = true"), "{error}");
    let buffer = Buffer::open(dir.join("outbox"), Options::default(), Limits::default());
    assert_eq!(buffer.unwrap_err().kind(), ErrorKind::InvalidArgument);
    // Later openings tell nothing new, nor does an outbox that was never anything else.
    let events = Events::default();
    drop(builder(dir).observer(events.observer()).open(NullSink).unwrap());
    drop(builder(&dir.join("other")).observer(events.observer()).open(NullSink).unwrap());
    assert_eq!(events.count("shared"), 0);
}

/// A mark that was cut off or overwritten is still a mark; one of a later version is refused.
#[test]
fn a_damaged_mark_still_makes_an_outbox() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    drop(builder(dir).open(NullSink).unwrap());
    let mark = dir.join("outbox/shared");
    let whole = fs::read(&mark).unwrap();
    for damaged in [&whole[..7], &[], &[b'x'; 40]] {
        fs::write(&mark, damaged).unwrap();
        drop(builder(dir).open(NullSink).unwrap());
        assert_eq!(
            Producer::builder(dir.join("outbox")).open(NullSink).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    let mut later = whole.clone();
    later[8] = 2;
    later.truncate(16);
    later.extend_from_slice(&format::crc32c(&[&later]).to_le_bytes());
    fs::write(&mark, later).unwrap();
    assert_eq!(builder(dir).open(NullSink).unwrap_err().kind(), ErrorKind::UnsupportedFormat);
}

#[test]
fn what_a_killed_process_has_left_the_living_send() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let (events, sent) = (Events::default(), Collector::default());
    let producer = builder(dir).observer(events.observer()).open(sent.clone()).unwrap();
    let children = ["a", "b", "c"].map(|name| putting(dir, name, "down"));
    for child in &children {
        // One that the producer looks at in that moment is passed over.
        assert_ne!(child.wait_for("slot"), "slot-0");
        child.wait_for("put");
    }
    std::thread::sleep(Duration::from_millis(100));
    let put = children.map(|child| said(&child.kill(), "put"));
    let all: usize = put.iter().map(Vec::len).sum();
    wait_until("all is sent", || sent.texts().len() >= all);
    let texts = sent.texts();
    for put in put {
        assert!(put.len() > 10);
        let name = &put[0][..1];
        let of_child: Vec<&String> = texts.iter().filter(|text| text.starts_with(name)).collect();
        // One more may be in the log than was acknowledged. In order, and once.
        assert_eq!(of_child[..put.len()], put.iter().collect::<Vec<_>>());
        assert!(of_child.len() <= put.len() + 1);
    }
    wait_until("the slots are removed", || slots(dir).is_empty());
    assert_eq!(events.count("adopted"), 3);
    let stats = producer.stats();
    assert_eq!((stats.slots, stats.adopted_slots, stats.pending_records), (1, 0, 0));
    assert_eq!(stats.delivered_records, texts.len() as u64);
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

/// With the documented modes two users of one group share all of an outbox: each adopts what the other has left, sees and deletes its
/// dead letters, and neither is stopped by a file that the other one made.
#[test]
fn two_users_of_one_group_share_all_of_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return say("not root: only root can run processes of other users");
    }
    const GROUP: u32 = 54321;
    let root = tempfile::tempdir().unwrap();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(root.path(), 0o755);
    let outbox = root.path().join("outbox");
    fs::create_dir(&outbox).unwrap();
    chown(&outbox, Some(0), Some(GROUP)).unwrap();
    chmod(&outbox, 0o2770);
    // Where the other users may run it.
    let program = root.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chmod(&program, 0o755);
    let start = |user: u32, name: &str, sink: &str| {
        let mut command = std::process::Command::new(&program);
        command.uid(user).gid(GROUP).current_dir("/");
        let arguments = [("DIR", root.path().to_str().unwrap()), ("NAME", name), ("SINK", sink)];
        let child = Process::spawn_by(command, "member", &arguments);
        child.wait_for("put");
        child
    };
    let slot = |child: &Process| child.wait_for("slot");
    let one = start(54322, "one", "down");
    let two = start(54323, "two", "up");
    assert_eq!([slot(&one), slot(&two)], ["slot-0", "slot-1"]);
    let of = |path: &str| fs::metadata(outbox.join(path)).unwrap();
    assert_eq!((of("slot-1").uid(), of("slot-1").mode() & 0o7777), (54323, 0o2770));
    assert_eq!((of("space").uid(), of("space").mode() & 0o777), (54322, 0o660));
    assert_eq!(of("dead-letters").mode() & 0o7777, 0o2770);
    two.wait_for("sent two 199");
    one.kill();
    two.wait_for("sent one 199");
    let three = start(54323, "three", "down");
    assert_eq!(slot(&three), "slot-0");
    two.kill();
    let four = start(54322, "four", "up");
    three.kill();
    four.wait_for("sent three 199");
    wait_until("the slots of both users are removed", || slots(root.path()).len() <= 1);
    four.kill();
    // What root makes in it, its users can go on with.
    let sent = Collector::default();
    let producer = builder(root.path()).trust(Trust::Anyone).open(sent.clone()).unwrap();
    producer.drain(LONG).unwrap();
    assert_eq!(producer.close(LONG).unwrap(), 0);
    let five = start(54322, "five", "up");
    five.wait_for("sent five 199");
    five.kill();
}

/// The attempt of the process that died counts, its schedule goes on, and its batch keeps its id.
#[test]
fn attempts_and_ids_are_kept_over_an_adoption() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let sent = Collector::default();
    let producer = builder(dir).open(sent.clone()).unwrap();
    let child = Process::spawn("tries", &[("DIR", dir.to_str().unwrap())]);
    let tried = child.wait_for("tried");
    // The attempt is noted behind the call.
    std::thread::sleep(Duration::from_millis(200));
    let lines = child.kill();
    let attempts = said(&lines, "tried").len() as u32;
    let id = tried.split(' ').next().unwrap();
    wait_until("it is sent", || !sent.batches().is_empty());
    let batches = sent.batches();
    assert_eq!((batches[0].id.as_str(), batches[0].attempt), (id, attempts + 1));
    assert_eq!(batches[0].texts(), ["tried 0", "tried 1", "tried 2"]);
    drop(producer);
}

/// In modes that have no thread, whoever calls adopts too.
#[test]
fn inline_and_manual_producers_adopt_as_well() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    for mode in [Mode::Inline, Mode::Manual] {
        let first = builder(dir).open(NullSink).unwrap();
        let child = putting(dir, "a", "down");
        child.wait_for("put a 20");
        let put = said(&child.kill(), "put");
        drop(first);
        let sent = Collector::default();
        if mode == Mode::Inline {
            // Takes slot 0: the child's is another's.
            let producer = builder(dir).mode(mode).open(sent.clone()).unwrap();
            producer.drain(LONG).unwrap();
            assert_eq!(producer.close(LONG).unwrap(), 0);
            assert!(sent.texts().starts_with(&put));
        } else {
            let producer = builder(dir).open_manual(Limits::default()).unwrap();
            let mut texts = Vec::new();
            wait_until("all was handed out", || {
                while let Some(batch) = producer.next_batch().unwrap() {
                    texts.extend(SeenBatch::of(&batch).texts());
                    producer.settle(batch, Ok(Report::delivered())).unwrap();
                }
                assert!(producer.next_wait().unwrap() <= Duration::from_secs(3));
                texts.len() >= put.len()
            });
            assert!(texts.starts_with(&put));
            assert!(producer.next_batch().unwrap().is_none());
            assert_eq!(producer.close(LONG).unwrap(), 0);
        }
        assert_eq!(slots(dir), [""; 0], "{mode:?}");
    }
}

/// What another living process has adopted and does not send, `drain` once took for sent.
#[test]
fn drain_waits_for_what_another_has_adopted_or_says_so() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let [keeps, dead] = [0, 1].map(|_| builder(dir).open_manual(Limits::default()).unwrap());
    dead.put("left").unwrap();
    assert_eq!(dead.close(Duration::ZERO).unwrap(), 1);
    let mut batch = None;
    wait_until("it has adopted the slot", || {
        batch = keeps.next_batch().unwrap();
        batch.is_some()
    });
    let sent = Collector::default();
    let drains = builder(dir).open(sent.clone()).unwrap();
    assert_eq!(drains.slot().unwrap(), "slot-2");
    let error = drains.drain(Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("other living processes have adopted 1 more"), "{error}");
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| drains.drain(LONG));
        keeps.settle(batch.unwrap(), Ok(Report::delivered())).unwrap();
        // Given back at once: there may be no other call for long.
        drained.join().unwrap().unwrap();
    });
    assert_eq!((sent.texts(), slots(dir)), (Vec::new(), vec!["slot-2".to_owned()]));
}

/// A slot that another process had taken and not yet marked was once one of a process that lives, so that `drain` was over.
#[test]
fn drain_waits_for_what_another_is_about_to_adopt() {
    use rustix::fs::{FlockOperation, flock};
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let sent = Collector::default();
    let drains = builder(dir).open(sent.clone()).unwrap();
    let dead = builder(dir).open_manual(Limits::default()).unwrap();
    dead.put("left").unwrap();
    let slot = dir.join("outbox").join(dead.slot().unwrap());
    // As another process does it: the turn, the lock, the mark.
    let turn = fs::File::open(dir.join("outbox/shared")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    assert_eq!(dead.close(Duration::ZERO).unwrap(), 1);
    let taken = fs::File::open(slot.join("lock")).unwrap();
    flock(&taken, FlockOperation::LockExclusive).unwrap();
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| drains.drain(LONG));
        let waits = |what: &str| {
            std::thread::sleep(Duration::from_millis(300));
            assert!(!drained.is_finished(), "{what}");
        };
        waits("it is about to be marked");
        fs::write(slot.join("adopted"), "").unwrap();
        drop(turn);
        waits("it is marked");
        drop(taken);
        drained.join().unwrap().unwrap();
    });
    assert_eq!(sent.texts(), ["left"]);
    wait_until("the slot is removed", || slots(dir).is_empty());
}

/// A process that is stopped while it adopts a slot keeps that one, and not those of all that die meanwhile.
#[test]
fn who_is_stopped_while_it_adopts_stops_nobody() {
    use rustix::fs::{FlockOperation, flock};
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let sent = Collector::default();
    let living = builder(dir).open(sent.clone()).unwrap();
    let dead = builder(dir).open(down()).unwrap();
    dead.put("left").unwrap();
    let turn = fs::File::open(dir.join("outbox/shared")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    assert_eq!(dead.close(Duration::ZERO).unwrap(), 1);
    wait_until("it is adopted and sent", || sent.texts() == ["left"]);
    // Somebody may be about to mark another one.
    assert_eq!(living.drain(Duration::from_millis(100)).unwrap_err().kind(), ErrorKind::Timeout);
    drop(turn);
    living.drain(LONG).unwrap();
}

/// A put in inline mode once sent a batch of each slot that was adopted, up to four.
#[test]
fn one_put_in_inline_mode_sends_one_batch_of_others_at_most() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let dead = ["a", "b", "c", "d"].map(|name| {
        let producer = builder(dir).max_records(1).open_manual(Limits::default()).unwrap();
        (0..3).for_each(|_| assert!(producer.put(name).is_ok()));
        producer
    });
    let producer = {
        // Takes a slot of its own, since the others are taken.
        let calls = std::sync::Arc::new(AtomicU64::new(0));
        let counts = calls.clone();
        let sink = sink::from_fn(move |_: &Batch| {
            counts.fetch_add(1, Ordering::SeqCst);
        });
        let producer = builder(dir).mode(Mode::Inline).linger(NEVER).max_records(1000).open(sink).unwrap();
        dead.into_iter().for_each(|dead| assert_eq!(dead.close(Duration::ZERO).unwrap(), 3));
        let mut before = 0;
        wait_until("all is sent", || {
            producer.put("own").unwrap();
            let now = calls.load(Ordering::SeqCst);
            assert!(now <= before + 1, "{} batches in one put", now - before);
            before = now;
            now == 12
        });
        producer
    };
    assert_eq!(producer.close(LONG).unwrap(), 0);
}

#[test]
fn dead_letters_are_one_list_over_all_slots() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let refuses = || {
        let refuse = |batch: &Batch| Report::all(batch.len(), Outcome::Rejected { reason: "no".into() });
        sink::from_fn(refuse)
    };
    let producers = ["a", "b", "c"].map(|text| {
        let producer = builder(dir).open(refuses()).unwrap();
        producer.put(text).unwrap();
        producer.flush(LONG).unwrap();
        producer
    });
    let ids = |letters: &DeadLetters| -> Vec<String> {
        letters.list().unwrap().into_iter().map(|letter| letter.id).collect()
    };
    let letters = DeadLetters::open(dir.join("outbox"));
    let all = ids(&letters);
    assert_eq!(all.len(), 3);
    for producer in &producers {
        assert_eq!(ids(&producer.dead_letters()), all);
        assert_eq!(producer.stats().dead_letters, 3);
    }
    let text = |id: &str| letters.get(id).unwrap().batch().unwrap().get(0).unwrap().data.to_vec();
    assert_eq!(all.iter().map(|id| text(id)).collect::<Vec<_>>().concat(), b"abc");
    // Slots whose letters nobody has replayed or deleted stay when their owners go.
    drop(producers);
    assert_eq!(slots(dir), ["slot-1", "slot-2"]);
    let sent = Collector::default();
    let producer = builder(dir).open(sent.clone()).unwrap();
    assert_eq!(producer.replay_dead_letter(&all[2]).unwrap(), 1);
    producer.flush(LONG).unwrap();
    assert_eq!(sent.texts(), ["c"]);
    letters.delete(&all[1]).unwrap();
    assert_eq!(letters.delete(&all[1]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ids(&letters), all[..1]);
    // They are spare now.
    wait_until("they are removed", || slots(dir).is_empty());
    assert_eq!(ids(&producer.dead_letters()), all[..1]);
}

/// A slot that another version has written, and what has the name of a slot and is none, stop nobody: others are taken, what is in
/// the rest is drained, and then it is said.
#[test]
fn what_cannot_be_opened_stops_nobody() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let outbox = dir.join("outbox");
    let ended = [0, 1, 2].map(|_| builder(dir).open(down()).unwrap());
    for (number, producer) in ended.iter().enumerate() {
        producer.put(&*format!("of {number}")).unwrap();
    }
    let later = outbox.join(ended[1].slot().unwrap());
    ended.into_iter().for_each(|producer| assert_eq!(producer.close(Duration::ZERO).unwrap(), 1));
    format::rewrite_cursors(&later, 8, 7);
    let none = (1..).map(|number| outbox.join(format!("slot-{number}"))).find(|path| !path.exists()).unwrap();
    fs::write(&none, "no directory").unwrap();
    let sent = Collector::default();
    let first = builder(dir).open(sent.clone()).unwrap();
    let second = builder(dir).open(sent.clone()).unwrap();
    for producer in [&first, &second] {
        let own = outbox.join(producer.slot().unwrap());
        assert!(own != later && own != none, "{own:?}");
        // Enough for segments that are not there yet.
        for _ in 0..150 {
            producer.put(&[b'x'; 1000]).unwrap();
        }
    }
    second.close(LONG).unwrap();
    assert!(matches!(first.drain(LONG).unwrap_err().kind(), ErrorKind::UnsupportedFormat | ErrorKind::Io));
    let has = |text: &str| sent.texts().iter().any(|sent| sent == text);
    assert!(has("of 0") && has("of 2") && !has("of 1"));
    assert_eq!(first.close(LONG).unwrap(), 0);
    format::rewrite_cursors(&later, 8, 1);
    fs::remove_file(none).unwrap();
    builder(dir).open(sent.clone()).unwrap().drain(LONG).unwrap();
    assert!(has("of 1"));
}

/// A producer that has stopped sends nothing of what it has adopted; another may.
#[test]
fn who_has_stopped_keeps_nobodys_slot() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let [own, dead] = [0, 1].map(|_| builder(dir).open(down()).unwrap());
    dead.put("left").unwrap();
    assert_eq!((dead.close(Duration::ZERO).unwrap(), own.close(Duration::ZERO).unwrap()), (1, 0));
    // It says of the other's records that its sink is not there, and of its own that they are wrong.
    let refuses = sink::from_fn(|batch: &Batch| match batch.get(0).unwrap().data {
        b"left" => Err::<(), _>(SendError::unavailable("not yet")),
        _ => Err(SendError::failed("wrong")),
    });
    let stops = builder(dir).on_exhausted(OnExhausted::Raise).max_attempts(1).open(refuses).unwrap();
    wait_until("it has adopted the slot", || stops.stats().adopted_slots == 1);
    stops.put("own").unwrap();
    wait_until("it has stopped", || stops.stats().state == State::Stopped);
    let sent = Collector::default();
    let living = builder(dir).open(sent.clone()).unwrap();
    wait_until("another has sent what it had adopted", || sent.texts() == ["left"]);
    living.close(LONG).unwrap();
}

#[test]
fn the_cap_of_the_dead_letters_holds_over_all_slots() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let refuse = || sink::from_fn(|batch: &Batch| Report::all(batch.len(), Outcome::Rejected { reason: "no".into() }));
    let open = || builder(dir).max_dead_letter_bytes(10_000).open(refuse()).unwrap();
    let (first, second) = (open(), open());
    first.put(&[b'x'; 6000]).unwrap();
    first.flush(LONG).unwrap();
    second.put(&[b'x'; 6000]).unwrap();
    assert_eq!(second.flush(LONG).unwrap_err().kind(), ErrorKind::DeadLettersFull);
    let letters = first.dead_letters();
    letters.delete(&letters.list().unwrap()[0].id).unwrap();
    second.resume().unwrap();
    second.flush(LONG).unwrap();
    assert_eq!(first.stats().dead_letters, 1);
}

#[test]
fn the_cap_of_the_buffer_holds_over_all_slots() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let cap = 1 << 20;
    let open = || builder(dir).max_buffer_bytes(cap).when_full(WhenFull::Error).open(down()).unwrap();
    let producers = [open(), open(), open(), open()];
    let record = vec![b'x'; 1000];
    // One takes what there is, and the others find it taken.
    let fill = |producer: &Producer| (0..).find(|_| producer.put(&record).is_err()).unwrap();
    let most = fill(&producers[0]);
    let others: Vec<u64> = producers[1..].iter().map(fill).collect();
    assert!(most > 500 && others.iter().all(|other| *other < 250), "{most} {others:?}");
    let taken = || {
        let of_slots = slots(dir).into_iter().map(|slot| segment_bytes(dir.join("outbox").join(slot)));
        of_slots.sum::<u64>() + segment_bytes(dir.join("outbox"))
    };
    assert!(taken() <= cap + 4 * (128 << 10), "{}", taken());
    assert_eq!(producers[1].put(&record).unwrap_err().kind(), ErrorKind::BufferFull);
    // What one gives back the others may have.
    let put = most + others.iter().sum::<u64>();
    for producer in producers {
        producer.close(Duration::ZERO).unwrap();
    }
    let sent = Collector::default();
    let drains = builder(dir).open(sent.clone()).unwrap();
    drains.drain(LONG).unwrap();
    assert_eq!(sent.texts().len() as u64, put);
    wait_until("the space is given back", || taken() <= 4 << 16);
}

/// A new slot once took a whole first segment, whatever the others had.
#[test]
fn a_new_slot_takes_no_more_than_is_left() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let cap = 16 << 20;
    let open = || {
        let builder = Producer::builder(dir.join("outbox")).shared(true).durability(Durability::Os);
        builder.max_buffer_bytes(cap).when_full(WhenFull::Error).open_manual(Limits::default()).unwrap()
    };
    let first = open();
    while first.put(&[b'x'; 10_000]).is_ok() {}
    let others = [open(), open(), open()];
    for other in &others {
        let bytes = segment_bytes(dir.join("outbox").join(other.slot().unwrap()));
        assert!(bytes <= 128 << 10, "{bytes}");
        other.put("x").unwrap();
    }
    // And one that comes back to a slot with records.
    let slot = others[0].slot().unwrap();
    drop(others);
    let again = open();
    assert_eq!(again.slot().unwrap(), slot);
    assert!(segment_bytes(dir.join("outbox").join(slot)) <= 128 << 10);
    assert_eq!(again.stats().pending_records, 1);
}

/// Whoever opens while another makes the mark on a slow disk was once refused after a second, as if one had the directory alone.
#[test]
fn a_mark_that_takes_long_is_waited_for() {
    use rustix::fs::{FlockOperation, flock};
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let (outbox, other) = (dir.join("outbox"), dir.join("other"));
    drop(builder(&other).open(NullSink).unwrap());
    fs::create_dir(&outbox).unwrap();
    let maker = fs::File::create(outbox.join("lock")).unwrap();
    flock(&maker, FlockOperation::LockExclusive).unwrap();
    fs::write(outbox.join("shared.tmp"), "").unwrap();
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| builder(dir).open(NullSink).map(|producer| producer.slot().unwrap()));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!opened.is_finished());
        fs::copy(other.join("outbox/shared"), outbox.join("shared.tmp")).unwrap();
        fs::rename(outbox.join("shared.tmp"), outbox.join("shared")).unwrap();
        assert_eq!(opened.join().unwrap().unwrap(), "slot-1");
    });
}

/// Processes come and go, killed at any moment, while others live: what any of them acknowledged is sent by somebody, in order
/// for each process, and no slot is left.
#[test]
fn nothing_is_lost_and_nothing_left_whoever_is_killed() {
    const ROUNDS: u64 = 40;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut random = Random::new(17);
    let mut lines: Vec<String> = Vec::new();
    let mut living: Vec<Process> = Vec::new();
    for round in 0..ROUNDS {
        let sink = if round % 3 == 0 { "down" } else { "up" };
        let child = putting(dir, &format!("p{round}"), sink);
        if round % 4 != 3 {
            child.wait_for("put");
        }
        living.push(child);
        std::thread::sleep(Duration::from_millis(random.below(40)));
        if living.len() > 5 {
            let child = living.swap_remove(random.below(5) as usize);
            lines.extend(child.kill());
        }
    }
    living.into_iter().for_each(|child| lines.extend(child.kill()));
    let (put, mut sent) = (said(&lines, "put"), said(&lines, "sent"));
    let by_children = sent.len();
    let rest = Collector::default();
    let last = builder(dir).open(rest.clone()).unwrap();
    last.drain(LONG).unwrap();
    assert_eq!(last.stats().lost_records, 0);
    assert_eq!(last.close(LONG).unwrap(), 0);
    assert_eq!(slots(dir), [""; 0]);
    sent.extend(rest.texts());
    assert!(put.len() > 1000 && by_children > 100, "{} put, {by_children} sent by the children", put.len());
    let mut firsts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for text in &sent {
        let (name, number) = text.split_once(' ').unwrap();
        firsts.entry(name).or_default().push(number.parse().unwrap());
    }
    for text in &put {
        let (name, number) = text.split_once(' ').unwrap();
        assert!(firsts[name].contains(&number.parse().unwrap()), "{text} was acknowledged and is gone");
    }
}

/// Sixteen processes put and send, and each second one is killed: for as long as `UNISTREAM_SOAK_SECONDS` says.
#[test]
fn sixteen_processes_and_a_kill_each_second() {
    let seconds = std::env::var("UNISTREAM_SOAK_SECONDS").map_or(6, |seconds| seconds.parse().unwrap());
    let root = scratch();
    let dir = root.path();
    let mut random = Random::new(seconds);
    let mut lives = 0;
    let mut start = || {
        lives += 1;
        Process::spawn("soaks", &[("DIR", dir.to_str().unwrap()), ("NAME", &format!("p{lives}"))])
    };
    let mut living: Vec<Process> = (0..16).map(|_| start()).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500 + random.below(1000)));
        let victim = random.below(16) as usize;
        std::mem::replace(&mut living[victim], start()).kill();
        kills += 1;
    }
    let killed_at = Instant::now();
    living.into_iter().for_each(|child| drop(child.kill()));
    let rest = Collector::default();
    let last = builder(dir).open(rest.clone()).unwrap();
    // On a busy machine they have put faster than they sent.
    last.drain(10 * LONG).unwrap();
    assert_eq!(last.stats().lost_records, 0);
    assert_eq!(last.close(LONG).unwrap(), 0);
    assert_eq!(slots(dir), [""; 0]);
    let file = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let (acknowledged, delivered) = (file("acknowledged"), file("delivered"));
    let rest = rest.texts();
    let delivered: HashSet<&str> = delivered.lines().chain(rest.iter().map(String::as_str)).collect();
    let lost: Vec<&str> = acknowledged.lines().filter(|line| !delivered.contains(line)).collect();
    assert!(lost.is_empty(), "{} were acknowledged and are gone: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    let put = acknowledged.lines().count();
    assert!(put > 100 && kills > 2, "{put} put, {kills} kills");
    // The line that `make torture` shows.
    #[allow(clippy::print_stdout)]
    {
        println!("{kills} kills, {put} records acknowledged, 0 lost; the rest took {:.1?}", killed_at.elapsed());
    }
}

#[test]
fn one_process_at_a_time_drains_from_outside() {
    let root = tempfile::tempdir().unwrap();
    let outbox = root.path().join("outbox");
    let take = |wait| DrainTurn::take(&outbox, Trust::Owner, wait);
    assert_eq!(take(LONG).unwrap_err().kind(), ErrorKind::NotFound);
    drop(builder(root.path()).open(NullSink).unwrap());
    let turn = take(Duration::ZERO).unwrap();
    let error = take(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    drop(turn);
    take(Duration::ZERO).unwrap();
}

/// A slot that one opens and another finds empty was once removed between the making of its directory and the opening.
#[test]
fn slots_that_come_and_go_are_in_nobodys_way() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let keeper = builder(dir).open(NullSink).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..60 {
                    let producer = builder(dir).open(NullSink).unwrap();
                    producer.put("x").unwrap();
                    producer.flush(LONG).unwrap();
                    assert_eq!(producer.close(LONG).unwrap(), 0);
                }
            });
        }
        scope.spawn(|| (0..400).for_each(|_| keeper.drain(LONG).unwrap()));
    });
    keeper.drain(LONG).unwrap();
    assert_eq!(slots(dir), [""; 0]);
}

/// A process whose sink is broken once kept what it had adopted for as long as it lived.
#[test]
fn what_one_cannot_send_another_gets() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let broken = builder(dir).open(down()).unwrap();
    let child = putting(dir, "a", "down");
    child.wait_for("put a 10");
    let put = said(&child.kill(), "put");
    wait_until("it is adopted", || broken.stats().adopted_slots == 1);
    let sent = Collector::default();
    let works = builder(dir).open(sent.clone()).unwrap();
    wait_until("the other one has sent it", || sent.texts().len() >= put.len());
    assert!(sent.texts().starts_with(&put));
    drop(works);
}
