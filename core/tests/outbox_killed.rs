//! Processes of one outbox that are killed while others adopt what they have left, drain it, and write it to one file.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::*;
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

fn append(dir: &Path, file: &str) -> fs::File {
    fs::File::options().append(true).create(true).open(dir.join(file)).unwrap()
}

/// Takes the file when it can be had, as a child of a fork does.
struct FileInTurn {
    path: PathBuf,
    file: Mutex<Option<FileSink>>,
}

impl Sink for FileInTurn {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let mut file = self.file.lock().unwrap();
        if file.is_none() {
            *file = Some(FileSink::create(&self.path).map_err(SendError::unavailable)?);
        }
        file.as_ref().unwrap().send(batch)
    }
}

fn file_in_turn(dir: &Path) -> FileInTurn {
    FileInTurn { path: dir.join("delivered"), file: Mutex::default() }
}

/// Appends lines to a file that other processes append to as well; each batch takes so long.
fn append_lines(dir: &Path, takes: Duration) -> impl Sink + use<> {
    let (delivered, calls) = (append(dir, "delivered"), AtomicU64::new(0));
    sink::from_fn(move |batch: &Batch| {
        std::thread::sleep(takes);
        if calls.fetch_add(1, Ordering::Relaxed) % 7 == 3 {
            return Err(SendError::unavailable("now and then"));
        }
        let lines: Vec<u8> = batch.iter().flat_map(|record| [record.data, b"\n"].concat()).collect();
        (&delivered).write_all(&lines).map_err(SendError::failed)
    })
}

/// Takes all but every third record, which it rejects.
fn rejects(dir: &Path) -> impl Sink + use<> {
    let delivered = append(dir, "delivered");
    sink::from_fn(move |batch: &Batch| {
        let mut report = Report::delivered();
        let mut lines = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            match record.data.ends_with(b"!") {
                true => report.set(index, Outcome::Rejected { reason: "no".into() }),
                false => lines.extend_from_slice(&[record.data, b"\n"].concat()),
            }
        }
        (&delivered).write_all(&lines).map_err(SendError::failed).map(|()| report)
    })
}

/// Puts all letters that there are into the log again. Another process may be at one of them.
fn replay_all(producer: &Producer) {
    let letters = producer.dead_letters().list().unwrap_or_default();
    for letter in letters {
        // Another process may have it, or may have done it.
        let _ = producer.replay_dead_letter(&letter.id);
    }
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    let Some(role) = role() else { return };
    let dir = argument("DIR");
    let (dir, name) = (Path::new(&dir), argument("NAME"));
    let opened = match role.as_str() {
        "appends" => builder(dir).open(append_lines(dir, Duration::from_millis(5))),
        "files" => builder(dir).open(file_in_turn(dir)),
        // So slow that it is seldom done when another one looks.
        "drains" => builder(dir).open(append_lines(dir, Duration::from_millis(30))),
        "rejects" => builder(dir).open(rejects(dir)),
        "replays" => builder(dir).open(append_lines(dir, Duration::ZERO)),
        other => panic!("no role {other}"),
    };
    let producer = opened.unwrap();
    say("open");
    if role == "drains" {
        loop {
            let _ = producer.drain(Duration::from_millis(100));
        }
    }
    if role == "replays" {
        loop {
            replay_all(&producer);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut acknowledged = append(dir, "acknowledged");
    for number in 0.. {
        let is_third = role == "rejects" && number % 3 == 0;
        let line = format!("{name} {number}{}", if is_third { "!" } else { "" });
        producer.put(&*line).unwrap();
        acknowledged.write_all(format!("{line}\n").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn start(role: &str, dir: &Path, name: &str) -> Process {
    Process::spawn(role, &[("DIR", dir.to_str().unwrap()), ("NAME", name)])
}

fn lines(dir: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    // A process may have been killed in the middle of its last line.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

fn slots(dir: &Path) -> usize {
    let names = fs::read_dir(dir.join("outbox")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("slot-")).count()
}

/// When `drain` returns, all is delivered of those that were dead when it was called: whoever had adopted it, was about to, or died
/// over it meanwhile.
#[test]
fn drain_leaves_nothing_of_the_dead_whoever_dies_meanwhile() {
    let root = scratch();
    let dir = root.path();
    let mut random = Random::new(171);
    let rest = Collector::default();
    let drains = builder(dir).open(rest.clone()).unwrap();
    let mut lives = 0;
    let mut start_one = |role: &str| {
        lives += 1;
        let name = format!("p{lives}");
        let child = start(role, dir, &name);
        child.wait_for("open");
        (name, child)
    };
    let mut living: Vec<(String, Process)> = (0..5).map(|_| start_one("appends")).collect();
    let mut dead: HashSet<String> = HashSet::new();
    let is_of = |dead: &HashSet<String>, line: &str| dead.contains(line.split(' ').next().unwrap());
    let delivered = || lines(dir, "delivered").into_iter().chain(rest.texts()).collect::<HashSet<String>>();
    for round in 0..10 {
        // It has a slot of its own before anybody dies, and so adopts those of the dead.
        let (_, other) = start_one("drains");
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let mut kill = |random: &mut Random| {
            let (name, child) = living.swap_remove(random.below(living.len() as u64) as usize);
            child.kill();
            name
        };
        dead.insert(kill(&mut random));
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let later = std::thread::scope(|scope| {
            let draining = scope.spawn(|| drains.drain(LONG));
            std::thread::sleep(Duration::from_millis(random.below(20)));
            let later = kill(&mut random);
            std::thread::sleep(Duration::from_millis(random.below(60)));
            other.kill();
            draining.join().unwrap().unwrap();
            later
        });
        let delivered = delivered();
        let acknowledged = lines(dir, "acknowledged");
        let lost: Vec<&String> =
            acknowledged.iter().filter(|line| is_of(&dead, line) && !delivered.contains(*line)).collect();
        assert!(lost.is_empty(), "round {round}: {} were drained and are not there: {:?}", lost.len(), lost.first());
        // What has died while `drain` ran is for the next one, before others open and take its slot.
        dead.insert(later);
        drains.drain(LONG).unwrap();
        living.extend((0..2).map(|_| start_one("appends")));
    }
    living.into_iter().for_each(|(_, child)| drop(child.kill()));
    drains.drain(LONG).unwrap();
    let delivered = delivered();
    let lost = lines(dir, "acknowledged").into_iter().filter(|line| !delivered.contains(line)).count();
    assert_eq!((lost, drains.stats().lost_records, drains.close(LONG).unwrap(), slots(dir)), (0, 0, 0, 0));
}

/// One process at a time has the file; who dies is followed by another one, which goes on with the slots of all that have died.
#[test]
fn a_file_has_each_record_once_whichever_process_is_killed() {
    let root = scratch();
    let dir = root.path();
    let mut random = Random::new(172);
    let mut living: Vec<Process> = Vec::new();
    for round in 0..16 {
        living.push(start("files", dir, &format!("p{round}")));
        std::thread::sleep(Duration::from_millis(20 + random.below(80)));
        if living.len() > 4 {
            living.swap_remove(random.below(5) as usize).kill();
        }
    }
    living.into_iter().for_each(|child| drop(child.kill()));
    let last = builder(dir).open(file_in_turn(dir)).unwrap();
    last.drain(LONG).unwrap();
    assert_eq!((last.stats().lost_records, last.close(LONG).unwrap(), slots(dir)), (0, 0, 0));
    drop(last);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    lines(dir, "delivered").into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} are there more than once: {:?}", twice.len(), twice.first());
    let acknowledged = lines(dir, "acknowledged");
    let lost = acknowledged.iter().filter(|line| !counts.contains_key(*line)).count();
    assert!(lost == 0 && !acknowledged.is_empty(), "{lost} of {} are gone", acknowledged.len());
}

/// Several open a path where nothing is, and die on the way.
#[test]
fn an_outbox_that_several_make_at_once_is_one() {
    let mut random = Random::new(173);
    for round in 0..8 {
        let root = scratch();
        let dir = root.path();
        let children: Vec<Process> =
            (0..4).map(|number| start("appends", dir, &format!("p{round}-{number}"))).collect();
        for child in children {
            std::thread::sleep(Duration::from_millis(random.below(12)));
            child.kill();
        }
        let rest = Collector::default();
        let last = builder(dir).open(rest.clone()).unwrap();
        last.drain(LONG).unwrap();
        let delivered: HashSet<String> = lines(dir, "delivered").into_iter().chain(rest.texts()).collect();
        let lost = lines(dir, "acknowledged").into_iter().filter(|line| !delivered.contains(line)).count();
        assert_eq!((lost, last.close(LONG).unwrap(), slots(dir)), (0, 0, 0), "round {round}");
    }
}

/// Some reject a third of the records, and some put what is in the dead letters into the log again; all are killed.
#[test]
fn dead_letters_are_lost_by_nobody_who_is_killed() {
    let root = scratch();
    let dir = root.path();
    let mut random = Random::new(174);
    let mut living: Vec<Process> = Vec::new();
    for round in 0..20 {
        let role = if round % 3 == 2 { "replays" } else { "rejects" };
        living.push(start(role, dir, &format!("p{round}")));
        std::thread::sleep(Duration::from_millis(20 + random.below(60)));
        if living.len() > 5 {
            living.swap_remove(random.below(6) as usize).kill();
        }
    }
    living.into_iter().for_each(|child| drop(child.kill()));
    let rest = Collector::default();
    let last = builder(dir).open(rest.clone()).unwrap();
    last.drain(LONG).unwrap();
    // Those that the others had no time for.
    replay_all(&last);
    last.drain(LONG).unwrap();
    assert_eq!(last.dead_letters().list().unwrap().len(), 0);
    assert_eq!((last.stats().lost_records, last.close(LONG).unwrap(), slots(dir)), (0, 0, 0));
    let delivered: HashSet<String> = lines(dir, "delivered").into_iter().chain(rest.texts()).collect();
    let acknowledged = lines(dir, "acknowledged");
    let lost: Vec<&String> = acknowledged.iter().filter(|line| !delivered.contains(*line)).collect();
    // What ends with it was rejected, and is there only by a replay.
    let rejected = acknowledged.iter().filter(|line| line.ends_with('!')).count();
    assert!(lost.is_empty() && rejected > 0, "{} of {}, {rejected} rejected: {lost:?}", lost.len(), acknowledged.len());
}
