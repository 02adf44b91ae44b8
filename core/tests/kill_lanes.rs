//! Children with lanes, memos and records that fail, killed with SIGKILL at random instants, each with other options than the
//! one before: every record that was acknowledged arrives or is in a dead letter, each key in order; a part comes again with
//! the same memo and with nothing that it had not had; and what the sink had taken comes again only if the kill came before
//! that was noted.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use unistream::*;

const ROUNDS: u64 = 24;
const KEYS: u64 = 13;

fn failed() -> Outcome {
    Outcome::Failed { error: std::sync::Arc::new(std::io::Error::other("not this time")) }
}

/// What becomes of a record in an attempt.
fn outcome(seq: u64, attempt: u32, life: u64) -> Outcome {
    match (seq * 31 + life) % 19 {
        0 => Outcome::Rejected { reason: "never".into() },
        1..4 if attempt < 3 => failed(),
        // A key that fails all life long.
        _ if life % 3 == 1 && key_of(seq) == Some(5) => failed(),
        _ => Outcome::Delivered,
    }
}

/// The key of a record; every eighth has none.
fn key_of(seq: u64) -> Option<u64> {
    (seq % 8 != 3).then_some(seq / 3 % KEYS)
}

/// Says what it is given before it answers, and keeps a memo with every batch that nobody else has.
struct Telling {
    life: u64,
    memos: AtomicU64,
}

impl Sink for Telling {
    fn prepare(&self, _: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        let number = self.memos.fetch_add(1, Ordering::Relaxed);
        Ok(Some(format!("{}.{}.{number}", self.life, std::process::id()).into_bytes()))
    }

    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let memo = String::from_utf8(batch.memo().unwrap().to_vec()).unwrap();
        // As a sink that keeps keys in order does: what comes behind a record of its key that failed fails, too.
        let mut failing = BTreeSet::new();
        let outcomes = batch.iter().map(|record| match outcome(record.seq, batch.attempt(), self.life) {
            _ if key_of(record.seq).is_some_and(|key| failing.contains(&key)) => failed(),
            outcome @ Outcome::Failed { .. } => {
                failing.extend(key_of(record.seq));
                outcome
            }
            outcome => outcome,
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 'd',
            Outcome::Rejected { .. } => 'r',
            _ => 'f',
        };
        let records = batch.iter().zip(&outcomes).map(|(record, outcome)| {
            assert_eq!(record.data, payload(record.seq, 200));
            assert_eq!(record.topic, Some("topic"));
            format!("{}{}", record.seq, letter(outcome))
        });
        say(format_args!("sent {} {memo} {}", batch.id(), records.collect::<Vec<_>>().join(" ")));
        std::thread::sleep(Duration::from_micros(200));
        Ok(outcomes.into_iter().enumerate().fold(Report::delivered(), |report, (at, outcome)| report.with(at, outcome)))
    }
}

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir.join("buffer"))
        .linger(Duration::from_millis(3))
        .schedule_waits(vec![Duration::from_millis(1)])
        .jitter(Jitter::None)
        .max_attempts(0)
        .segment_bytes(64 << 10)
        .full_timeout(Duration::ZERO)
}

fn put(producer: &Producer, seq: u64) -> Result<u64, Error> {
    let key = key_of(seq).map(u64::to_le_bytes);
    let headers = [("seq", &seq.to_le_bytes()[..])];
    let record = NewRecord { key: key.as_ref().map(|key| &key[..]), data: &payload(seq, 200), ..NewRecord::new(b"") };
    producer.put(record.topic("topic").headers(&headers))
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    let Some(life) = role() else { return };
    let dir = argument("DIR");
    let mut builder = builder(Path::new(&dir));
    for key in ["durability", "order", "max_in_flight", "max_batches_ahead", "max_records"] {
        builder = builder.set(key, &argument(key)).unwrap();
    }
    let sink = Telling { life: life.parse().unwrap(), memos: AtomicU64::new(0) };
    let producer = builder.open(sink).unwrap();
    let mut seq = producer.stats().next_seq;
    loop {
        match put(&producer, seq) {
            Ok(given) => assert_eq!(given, seq),
            Err(error) => panic!("{error}"),
        }
        say(format_args!("put {seq}"));
        seq += 1;
        while producer.stats().pending_records > 500 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What all children said of a batch, or of a part of one.
#[derive(Default)]
struct Known {
    memo: String,
    seqs: BTreeSet<u64>,
}

#[derive(Default)]
struct Said {
    acknowledged: Vec<u64>,
    batches: BTreeMap<String, Known>,
    /// Of each key, or for each seq without one, the seqs as they were taken for good.
    finished: BTreeMap<Option<u64>, Vec<u64>>,
    taken: BTreeSet<u64>,
    /// Records that came again though the sink had taken them, in this life.
    again: BTreeSet<String>,
    /// How many parts may still come again: those that were in flight at a kill and have not come since.
    may_come: usize,
}

impl Said {
    /// What a child said that had at most so many parts in flight when it was killed.
    fn hear(&mut self, lines: &[String], in_flight: usize) {
        self.again.clear();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match &words[..] {
                ["put", seq] => self.acknowledged.push(seq.parse().unwrap()),
                ["sent", id, memo, records @ ..] => self.sent(id, memo, records),
                _ => panic!("a child said {line:?}"),
            }
        }
        let (again, may_come) = (&self.again, self.may_come);
        assert!(again.len() <= may_come, "{may_come} were in flight at kills, and came again: {again:?}");
        self.may_come = may_come - again.len() + in_flight;
    }

    fn sent(&mut self, id: &str, memo: &str, records: &[&str]) {
        let record = |word: &&str| (word[..word.len() - 1].parse::<u64>().unwrap(), word.chars().last().unwrap());
        let records: Vec<(u64, char)> = records.iter().map(record).collect();
        let known = self
            .batches
            .entry(id.to_owned())
            .or_insert_with(|| Known { memo: memo.to_owned(), seqs: records.iter().map(|(seq, _)| *seq).collect() });
        assert_eq!(known.memo, memo, "batch {id} came again with another memo");
        for (seq, outcome) in records {
            assert!(known.seqs.contains(&seq), "batch {id} came again with record {seq}, which it had not had");
            if self.taken.contains(&seq) {
                self.again.insert(id.to_owned());
            } else if outcome != 'f' {
                self.taken.insert(seq);
                let place = key_of(seq);
                if place.is_some() {
                    let before = self.finished.entry(place).or_default();
                    assert!(before.last() < Some(&seq), "{seq} of key {place:?} was taken behind {before:?}");
                    before.push(seq);
                }
            }
        }
    }
}

fn kills(durability: &str, seed: u64) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut random = Random::new(seed);
    let mut said = Said::default();
    for life in 0..ROUNDS {
        let (order, lanes) = match random.below(4) {
            0 => ("total", 1),
            _ => ("key", 1 + random.below(8)),
        };
        let ahead = [1, 3, 4096][random.below(3) as usize].to_string();
        let (in_flight, records) = (lanes.to_string(), (1 + random.below(30)).to_string());
        let child = Process::spawn(
            &life.to_string(),
            &[
                ("DIR", dir.to_str().unwrap()),
                ("durability", durability),
                ("order", order),
                ("max_in_flight", &in_flight),
                ("max_batches_ahead", &ahead),
                ("max_records", &records),
            ],
        );
        // Every third one may die while it still opens what the last one left.
        if life % 3 != 0 {
            child.wait_for("put");
        }
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        said.hear(&child.kill(), lanes as usize);
    }
    // All that is left is taken, with other lanes once more.
    let collector = Collector::default();
    let seen = collector.clone();
    let sink = sink::from_fn(move |batch: &Batch| seen.add(batch));
    let producer = builder(dir).order(Order::Key).max_in_flight(5).open(sink).unwrap();
    let letters = producer.dead_letters().list().unwrap();
    producer.flush(LONG).unwrap();
    let stats = producer.stats();
    assert_eq!((stats.lost_records, stats.corrupt_regions, stats.pending_records), (0, 0, 0));
    for batch in collector.batches() {
        for seq in batch.seqs() {
            if said.taken.insert(seq) && key_of(seq).is_some() {
                let before = said.finished.entry(key_of(seq)).or_default();
                assert!(before.last() < Some(&seq), "{seq} was taken behind {before:?}");
                before.push(seq);
            }
        }
    }
    assert!(said.acknowledged.is_sorted(), "never the same seq twice");
    let (puts, batches) = (said.acknowledged.len(), said.batches.len());
    assert!(
        puts as u64 > ROUNDS * 10 && batches as u64 > ROUNDS,
        "the children did little: {puts} puts, {batches} batches"
    );
    for seq in &said.acknowledged {
        assert!(said.taken.contains(seq), "{seq} was acknowledged and is gone");
    }
    // What was rejected for good is in a letter, with all that it carried.
    let buried: BTreeSet<u64> = letters.iter().flat_map(|letter| &letter.records).map(|record| record.seq).collect();
    assert!(!buried.is_empty(), "nothing was rejected");
    for letter in &letters {
        for record in letter.batch().unwrap().iter() {
            assert_eq!((record.data, record.topic), (&payload(record.seq, 200)[..], Some("topic")));
            assert_eq!(record.headers.get("seq"), Some(&record.seq.to_le_bytes()[..]));
        }
    }
}

#[test]
fn lanes_always() {
    kills("always", 1);
}

#[test]
fn lanes_interval() {
    kills("interval", 2);
}

#[test]
fn lanes_os() {
    kills("os", 3);
}
