//! `make bench`: what the engine costs, each row beside its limit measured in the same run.
//!
//! Prints a table and writes `target/bench/results.json`. Figures are medians of rounds; only ratios mean
//! anything on another machine. Everything that is timed is also checked: what went in must come out.
//!
//! `UNISTREAM_BENCH_BACKLOG_GB` sets the size of the backlog rows (default 10), `UNISTREAM_BENCH_DIR` where files
//! go (default: a temporary directory below `target`), and an argument runs only the rows whose name contains it.
#![allow(missing_docs, clippy::print_stdout)]

mod processes;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use unistream::*;

const ROUNDS: usize = 15;
const LONG: Duration = Duration::from_secs(600);

/// One line of the table.
struct Row {
    row: String,
    unit: &'static str,
    value: f64,
    /// The limit's name and value, if there is one to compare with.
    limit: Option<(String, f64)>,
    ratio: Option<f64>,
    target: &'static str,
}

struct Bench {
    dir: PathBuf,
    only: String,
    rows: Vec<Row>,
}

fn main() {
    if processes::child() {
        return;
    }
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&target).expect("target/bench can be made");
    let base = std::env::var_os("UNISTREAM_BENCH_DIR").map_or(target.clone(), PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("a directory for the benchmark");
    let mut bench = Bench { dir: dir.path().to_path_buf(), only, rows: Vec::new() };
    bench.puts(100);
    bench.puts(1024);
    bench.writes();
    bench.threads();
    bench.latency();
    bench.delivery();
    bench.file_sink();
    bench.always();
    bench.backlog();
    bench.processes();
    bench.many_slots();
    bench.report(&target.join("results.json"));
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    fn row(&mut self, row: &str, unit: &'static str, value: f64, limit: Option<(&str, f64)>, target: &'static str) {
        let ratio = limit.map(|(_, limit)| value / limit);
        let limit = limit.map(|(name, limit)| (name.to_owned(), limit));
        println!("{row:<44} {value:>12.1} {unit}");
        self.rows.push(Row { row: row.into(), unit, value, limit, ratio, target });
    }

    fn open(&self, name: &str, sink: impl Sink + 'static, set: impl FnOnce(Builder) -> Builder) -> Producer {
        let dir = self.dir.join(name);
        let _ = fs::remove_dir_all(&dir);
        set(Producer::builder(dir)).open(sink).expect("the producer opens")
    }

    /// `put` in background mode with a sink that keeps up, beside CRC and memcpy into warm memory under a lock.
    fn puts(&mut self, size: usize) {
        let name = format!("put {size} B");
        if !self.wants(&name) {
            return;
        }
        let payload = vec![0xa5u8; size];
        let count = 100_000_000 / (size + 400);
        let (seen, sink) = counting();
        let producer = self.open("put", sink, |builder| builder);
        let mut warm = Warm::new();
        let (mut puts, mut limits) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS + 3 {
            let limit = warm.round(&payload, count);
            let start = Instant::now();
            for _ in 0..count {
                producer.put(&payload).expect("put");
            }
            let time = start.elapsed();
            producer.flush(LONG).expect("flush");
            // The first rounds make and warm the segments.
            if round >= 3 {
                limits.push(limit);
                puts.push(per_record(time, count));
            }
        }
        assert_eq!(seen.load(Ordering::Relaxed), ((ROUNDS + 3) * count) as u64, "every record came out");
        producer.close(LONG).expect("close");
        let limit = Some(("CRC-32C + memcpy, warm, under a lock", median(&mut limits)));
        self.row(&name, "ns", median(&mut puts), limit, if size == 100 { "ratio at most 2" } else { "" });
    }

    /// What other ways to the page cache and to the disk cost here.
    fn writes(&mut self) {
        if !self.wants("write(2)") {
            return;
        }
        let file = File::create(self.dir.join("raw")).expect("a file");
        let payload = [0xa5u8; 100];
        let (count, mut times) = (100_000, Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for at in 0..count {
                file.write_all_at(&payload, at as u64 * 100).expect("write");
            }
            times.push(per_record(start.elapsed(), count));
        }
        self.row("one write(2) of 100 B", "ns", median(&mut times), None, "");
    }

    /// Four threads in total, beside one.
    fn threads(&mut self) {
        if !self.wants("4 threads") {
            return;
        }
        let count = 200_000;
        let payload = [0xa5u8; 100];
        let (seen, sink) = counting();
        let producer = self.open("threads", sink, |builder| builder);
        let (mut ones, mut fours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS + 3 {
            for (threads, times) in [(1, &mut ones), (4, &mut fours)] {
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..count / threads {
                                producer.put(&payload).expect("put");
                            }
                        });
                    }
                });
                let time = start.elapsed();
                producer.flush(LONG).expect("flush");
                if round >= 3 {
                    times.push(per_record(time, count));
                }
            }
        }
        assert_eq!(seen.load(Ordering::Relaxed), ((ROUNDS + 3) * 2 * count) as u64, "every record came out");
        producer.close(LONG).expect("close");
        let one = median(&mut ones);
        self.row(
            "4 threads putting 100 B, per record",
            "ns",
            median(&mut fours),
            Some(("one thread", one)),
            "ratio at most 1",
        );
    }

    /// The distribution of single puts under `durability = interval`, on warm segments.
    fn latency(&mut self) {
        if !self.wants("latency") {
            return;
        }
        let payload = [0xa5u8; 100];
        let (_, sink) = counting();
        let producer = self.open("latency", sink, |builder| builder.sync_interval(Duration::from_millis(50)));
        // Paced a little, so that the sender keeps up and segments are recycled.
        let mut histogram = vec![0u64; 1 << 20];
        for round in 0..60 {
            for _ in 0..50_000 {
                let start = Instant::now();
                producer.put(&payload).expect("put");
                let nanos = start.elapsed().as_nanos() as usize;
                if round >= 5 {
                    let slots = histogram.len();
                    histogram[nanos.min(slots - 1)] += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        producer.flush(LONG).expect("flush");
        producer.close(LONG).expect("close");
        let mut reads: Vec<f64> = (0..10_001).map(|_| Instant::now().elapsed().as_nanos() as f64).collect();
        let clock = median(&mut reads);
        for (name, share, target) in
            [("p50", 0.5, "at most 100 ns"), ("p99.9", 0.999, "at most 25 us"), ("p99.99", 0.9999, "at most 100 us")]
        {
            let nanos = quantile(&histogram, share);
            self.row(
                &format!("put latency {name}, interval, 100 B"),
                "ns",
                nanos,
                Some(("two reads of the clock, included", clock)),
                target,
            );
        }
    }

    /// From the put of a record to the sink that has it, under `durability = interval` and without lingering.
    fn delivery(&mut self) {
        if !self.wants("put to sink") {
            return;
        }
        let begun = Instant::now();
        let histogram = Arc::new(Mutex::new(vec![0u64; 1 << 20]));
        let seen = histogram.clone();
        let sink = sink::from_fn(move |batch: &Batch| {
            let now = begun.elapsed().as_nanos() as u64;
            let mut seen = seen.lock().expect("nobody panics");
            for record in batch.iter() {
                let put = u64::from_le_bytes(record.data[..8].try_into().expect("the time of the put"));
                let slots = seen.len();
                seen[((now - put) as usize / 100).min(slots - 1)] += 1;
            }
        });
        let interval = Duration::from_millis(50);
        let producer = self.open("delivery", sink, |builder| builder.linger(Duration::ZERO).sync_interval(interval));
        let mut payload = [0xa5u8; 100];
        let count = 100_000;
        for at in 0..count {
            if at == count / 10 {
                // What comes before makes and warms the segments.
                producer.flush(LONG).expect("flush");
                histogram.lock().expect("nobody panics").fill(0);
            }
            payload[..8].copy_from_slice(&(begun.elapsed().as_nanos() as u64).to_le_bytes());
            producer.put(&payload).expect("put");
            std::thread::sleep(Duration::from_micros(50));
        }
        producer.flush(LONG).expect("flush");
        producer.close(LONG).expect("close");
        let histogram = histogram.lock().expect("nobody panics");
        assert_eq!(histogram.iter().sum::<u64>(), count - count / 10, "every record came out");
        for (name, share, target) in [("p50", 0.5, "at most 15 us"), ("p99.9", 0.999, "at most 500 us")] {
            let value = 100.0 * quantile(&histogram, share) / 1000.0;
            self.row(&format!("put to sink {name}, linger 0, interval"), "us", value, None, target);
        }
    }

    /// Put to FileSink, end to end, beside write(2) of the same bytes in the same pieces.
    fn file_sink(&mut self) {
        if !self.wants("FileSink") {
            return;
        }
        let count = 1_000_000;
        let payload = [b'x'; 100];
        let path = self.dir.join("events.log");
        let (mut rates, mut limits) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            for name in [&path, &self.dir.join("events.log.unistream")] {
                let _ = fs::remove_file(name);
            }
            let sink = FileSink::create(&path).expect("the sink opens");
            let producer = self.open("file", sink, |builder| builder);
            let start = Instant::now();
            for _ in 0..count {
                producer.put(&payload).expect("put");
            }
            producer.flush(LONG).expect("flush");
            rates.push(count as f64 / start.elapsed().as_secs_f64());
            producer.close(LONG).expect("close");
            assert_eq!(fs::metadata(&path).expect("the file").len(), count as u64 * 101, "every record came out");

            let mut raw = File::create(self.dir.join("raw-lines")).expect("a file");
            let piece = vec![b'x'; 500 * 101];
            let start = Instant::now();
            for _ in 0..count / 500 {
                raw.write_all(&piece).expect("write");
            }
            limits.push(count as f64 / start.elapsed().as_secs_f64());
        }
        let limit = Some(("write(2) of 500 records", median(&mut limits)));
        self.row("put to FileSink, end to end", "records/s", median(&mut rates), limit, "");
    }

    /// `durability = always`: group commit, beside raw fdatasync.
    fn always(&mut self) {
        if !self.wants("always") {
            return;
        }
        let payload = [0xa5u8; 100];
        let raw = File::create(self.dir.join("raw-sync")).expect("a file");
        let block = vec![0u8; 16 << 20];
        raw.write_all_at(&block, 0).expect("write");
        raw.sync_all().expect("sync");
        let (_, sink) = counting();
        let producer =
            self.open("always", sink, |builder| builder.durability(Durability::Always).segment_bytes(1 << 20));
        let count = 200;
        let (mut limits, mut ones, mut sixteens) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let start = Instant::now();
            for at in 0..count {
                raw.write_all_at(&payload, at as u64 * 136).expect("write");
                raw.sync_data().expect("sync");
            }
            limits.push(per_record(start.elapsed(), count));
            for (threads, times) in [(1, &mut ones), (16, &mut sixteens)] {
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..count {
                                producer.put(&payload).expect("put");
                            }
                        });
                    }
                });
                if round >= 2 {
                    times.push(per_record(start.elapsed(), count * threads));
                }
            }
        }
        producer.flush(LONG).expect("flush");
        producer.close(LONG).expect("close");
        let (limit, one) = (median(&mut limits), median(&mut ones));
        self.row("always, one thread", "ns", one, Some(("pwrite + fdatasync", limit)), "ratio at most 1.1");
        let gain = one / median(&mut sixteens);
        self.row("always, 16 threads: gain over one", "x", gain, Some(("one thread", 1.0)), "ratio at least 8");
    }

    /// Opening and draining a large backlog.
    fn backlog(&mut self) {
        if !self.wants("backlog") {
            return;
        }
        let gigabytes: f64 =
            std::env::var("UNISTREAM_BENCH_BACKLOG_GB").ok().and_then(|text| text.parse().ok()).unwrap_or(10.0);
        let payload = vec![0xa5u8; 1000];
        let count = (gigabytes * 1e9 / 1032.0) as u64;
        let configure =
            |builder: Builder| builder.max_buffer_bytes(1 << 40).max_records(1000).durability(Durability::Os);
        let dir = self.dir.join("backlog");
        let producer = configure(Producer::builder(&dir)).open_manual(Limits::default()).expect("open");
        for _ in 0..count {
            producer.put(&payload).expect("put");
        }
        producer.close(Duration::ZERO).expect("close");
        // In a process of its own, so that what is resident is what opening took.
        let (seen, sink) = counting();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("a fresh mutex");
        let held = gate.clone();
        let gated = sink::from_fn(move |batch: &Batch| {
            drop(held.lock());
            sink.send(batch)
        });
        let resident = resident_bytes();
        let start = Instant::now();
        let producer = configure(Producer::builder(&dir)).open(gated).expect("open");
        let opened = start.elapsed();
        let grown = resident_bytes().saturating_sub(resident);
        let start = Instant::now();
        drop(closed);
        producer.flush(LONG).expect("flush");
        let drained = start.elapsed();
        assert_eq!(seen.load(Ordering::Relaxed), count, "every record came out");
        producer.close(LONG).expect("close");
        let label = format!("{gigabytes} GB backlog");
        self.row(&format!("open with a {label}"), "ms", opened.as_secs_f64() * 1e3, None, "at most 100 ms");
        self.row(&format!("open with a {label}, resident"), "MiB", grown as f64 / 1048576.0, None, "at most 64 MiB");
        let rate = count as f64 * 1032.0 / drained.as_secs_f64() / 1e9;
        self.row(&format!("drain a {label} to a null sink"), "GB/s", rate, None, "at least 2 GB/s");
        let anonymous = anonymous_bytes();
        self.row("heap after the drain", "MiB", anonymous as f64 / 1048576.0, None, "at most 64 MiB");
        let _ = fs::remove_dir_all(&dir);
    }

    fn report(&self, path: &Path) {
        println!("\n| row | value | unit | limit | ratio | target |\n|---|---|---|---|---|---|");
        let mut rows = Vec::new();
        for Row { row, unit, value, limit, ratio, target } in &self.rows {
            let text = limit.as_ref().map_or(String::new(), |(name, value)| format!("{value:.1} ({name})"));
            let shown = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            println!("| {row} | {value:.1} | {unit} | {text} | {shown} | {target} |");
            let limit = limit.as_ref().map(|(_, value)| *value);
            rows.push(json!({"row": row, "unit": unit, "value": value, "limit": limit, "ratio": ratio}));
        }
        fs::write(path, serde_json::to_vec_pretty(&rows).expect("rows are JSON")).expect("results are written");
        println!("\nwritten to target/bench/results.json");
    }
}

/// Memory whose pages are there, as much as the log cycles through, and the lock that guards it: the least that an
/// append of so many bytes can cost.
struct Warm {
    memory: Mutex<(Vec<u8>, usize)>,
}

/// What a frame has besides its payload: a header, and padding to whole words.
const HEADER: usize = 32;

impl Warm {
    fn new() -> Self {
        Warm { memory: Mutex::new((vec![1; 32 << 20], 0)) }
    }

    /// Nanoseconds a record.
    fn round(&mut self, payload: &[u8], count: usize) -> f64 {
        let frame: Vec<u8> = [&[0; HEADER], payload].concat();
        let length = frame.len().next_multiple_of(8);
        let start = Instant::now();
        for _ in 0..count {
            let frame = std::hint::black_box(&frame[..]);
            let mut guard = self.memory.lock().expect("nobody panics");
            let (memory, at) = &mut *guard;
            if *at + length > memory.len() {
                *at = 0;
            }
            let crc = crc32c::crc32c(&frame[4..]);
            memory[*at..*at + frame.len()].copy_from_slice(frame);
            memory[*at..*at + 4].copy_from_slice(&crc.to_le_bytes());
            *at += length;
        }
        per_record(start.elapsed(), count)
    }
}

/// A null sink that counts.
fn counting() -> (Arc<AtomicU64>, impl Sink + use<>) {
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    (
        seen,
        sink::from_fn(move |batch: &Batch| {
            count.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }),
    )
}

fn per_record(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// Below which slot of a histogram so much of it lies.
fn quantile(histogram: &[u64], share: f64) -> f64 {
    let rank = (histogram.iter().sum::<u64>() as f64 * share) as u64;
    let mut before = 0;
    let slot = histogram.iter().position(|count| {
        before += count;
        before > rank
    });
    slot.unwrap_or(histogram.len()) as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn resident_bytes() -> u64 {
    status("VmRSS")
}

fn anonymous_bytes() -> u64 {
    status("RssAnon")
}
