//! Children killed with SIGKILL at random instants: what `put` acknowledged is there (P1), in order (P4), in no
//! fourth place (P3), and a batch id always stands for the same contents (P5).

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use common::*;
use unistream::*;

/// Kills of one scenario; there are 12, so 216 in a run.
const ROUNDS: u64 = 18;

/// Says which batches go to the sink behind it.
struct Telling(Box<dyn Sink>);

impl Sink for Telling {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        say(format_args!("batch {} {}", batch.id(), SeenBatch::of(batch).digest()));
        self.0.send(batch)
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.0.admit(record)
    }
}

fn builder(dir: &Path) -> Builder {
    Producer::builder(dir.join("buffer"))
        .durability(Durability::Os)
        .max_records(25)
        .linger(Duration::from_millis(3))
        .schedule_max(Duration::from_millis(2))
        .full_timeout(Duration::ZERO)
}

fn file_sink(dir: &Path) -> FileSink {
    FileSink::create(dir.join("out.log")).unwrap()
}

#[test]
#[ignore = "the child's side of the other tests"]
fn child() {
    let Some(sink) = role() else { return };
    let dir = argument("DIR");
    let dir = Path::new(&dir);
    let sink: Box<dyn Sink> = match sink.as_str() {
        "file" => Box::new(file_sink(dir)),
        _ => Box::new(down()),
    };
    let builder = builder(dir).set("durability", &argument("DURABILITY")).unwrap();
    let builder = builder.set("storage", &argument("STORAGE")).unwrap().sync_interval(Duration::from_millis(2));
    let producer = builder.set("segment_bytes", &argument("SEGMENT")).unwrap().open(Telling(sink)).unwrap();
    let mut seq = producer.stats().next_seq;
    loop {
        assert_eq!(producer.put(&payload(seq, 200)).unwrap(), seq);
        say(format_args!("put {seq}"));
        seq += 1;
    }
}

/// What all children of a scenario said.
#[derive(Default)]
struct Said {
    acknowledged: Vec<u64>,
    batches: HashMap<String, u64>,
}

impl Said {
    fn batch(&mut self, id: &str, digest: u64) {
        let known = *self.batches.entry(id.to_owned()).or_insert(digest);
        assert_eq!(known, digest, "batch {id} came again with other contents");
    }

    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["put", seq] => self.acknowledged.push(seq.parse().unwrap()),
                ["batch", id, digest] => self.batch(id, digest.parse().unwrap()),
                _ => panic!("a child said {line:?}"),
            }
        }
    }

    /// `delivered`: seqs and payloads in the order of delivery.
    fn check(&self, delivered: &[(u64, Vec<u8>)]) {
        assert!(self.acknowledged.is_sorted(), "acknowledged in put order, never the same seq twice");
        let (puts, batches) = (self.acknowledged.len() as u64, self.batches.len());
        assert!(puts >= ROUNDS / 2 && batches > 0, "the children did little: {puts} puts, {batches} batches");
        for pair in delivered.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} came before {}", pair[0].0, pair[1].0);
        }
        for (seq, data) in delivered {
            assert_eq!(*data, payload(*seq, 200), "the payload of {seq}");
        }
        let mut seqs = delivered.iter().map(|(seq, _)| *seq);
        for seq in &self.acknowledged {
            assert!(seqs.any(|other| other == *seq), "{seq} was acknowledged and is gone");
        }
    }
}

fn kills(sink: &str, durability: &str, segment: &str, seed: u64) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let mut random = Random::new(seed);
    let mut said = Said::default();
    for round in 0..ROUNDS {
        let storage = if round % 3 == 2 { "file" } else { "auto" };
        let child = Process::spawn(
            sink,
            &[("DIR", dir.to_str().unwrap()), ("DURABILITY", durability), ("STORAGE", storage), ("SEGMENT", segment)],
        );
        // Every other one may die while it still opens what the last one left.
        if round % 2 == 1 {
            child.wait_for("put");
        }
        std::thread::sleep(Duration::from_micros(random.below(70_000)));
        said.hear(&child.kill());
    }
    let delivered: Vec<(u64, Vec<u8>)> = match sink {
        "file" => {
            let producer = builder(dir).open(file_sink(dir)).unwrap();
            producer.flush(LONG).unwrap();
            assert_eq!(producer.close(LONG).unwrap(), 0);
            let file = std::fs::read(dir.join("out.log")).unwrap();
            assert_eq!(file.last(), Some(&b'\n'), "no half line");
            let lines = file[..file.len() - 1].split(|byte| *byte == b'\n');
            // Strictly rising, hence exactly once.
            lines.map(|line| (std::str::from_utf8(&line[..8]).unwrap().parse().unwrap(), line.to_vec())).collect()
        }
        _ => {
            let drained = drain_with(builder(dir));
            drained.batches.iter().for_each(|batch| said.batch(&batch.id, batch.digest()));
            assert_eq!((drained.stats.lost_records, drained.stats.corrupt_regions), (0, 0));
            drained.records().into_iter().map(|record| (record.seq, record.data)).collect()
        }
    };
    said.check(&delivered);
}

macro_rules! scenarios {
    ($($name:ident: $sink:literal $durability:literal $segment:literal;)+) => {
        $(#[test] fn $name() { kills($sink, $durability, $segment, line!().into()); })+
        const _: () = assert!(ROUNDS * [$($sink),+].len() as u64 >= 200);
    };
}

scenarios! {
    down_always_small: "down" "always" "64KiB";
    down_always_large: "down" "always" "16MiB";
    down_interval_small: "down" "interval" "64KiB";
    down_interval_large: "down" "interval" "16MiB";
    down_os_small: "down" "os" "64KiB";
    down_os_large: "down" "os" "16MiB";
    file_always_small: "file" "always" "64KiB";
    file_always_large: "file" "always" "16MiB";
    file_interval_small: "file" "interval" "64KiB";
    file_interval_large: "file" "interval" "16MiB";
    file_os_small: "file" "os" "64KiB";
    file_os_large: "file" "os" "16MiB";
}
