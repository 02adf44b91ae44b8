//! Runs all the proofs at full depth and prints the figures:
//!
//!     cargo run --release -p unistream-torture --bin torture [TIMES [PROOF]]
//!
//! TIMES repeats the random parts with other numbers; PROOF runs one of them.
//!
//! It ends with the real thing: a program with several threads, killed again and again on a real disk.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use unistream_torture::torture::{Effort, Figures, PROOFS, run};
use unistream_torture::{FileSink, Producer};

const THREADS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, dir, first] = &arguments[..]
        && mark == "victim"
    {
        let Err(error) = put_until_killed(Path::new(dir), first.parse().unwrap_or(0));
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let times = arguments.first().and_then(|times| times.parse().ok()).unwrap_or(1);
    let only = arguments.get(1);
    // The scripts' sinks panic when told to; that is no news.
    std::panic::set_hook(Box::new(|info| {
        let told = info.payload_as_str().is_some_and(|text| text.contains("panics because it is told to"));
        if !told {
            eprintln!("{info}");
        }
    }));
    let mut failures: Vec<String> = Vec::new();
    let mut total = Figures::default();
    for proof in PROOFS {
        if only.is_some_and(|only| only != proof) {
            continue;
        }
        let (start, before) = (Instant::now(), total);
        let result = run(proof, Effort::full(times), &mut total);
        println!("{proof}: {:.0} s", start.elapsed().as_secs_f64());
        print(&before, &total);
        if let Err(what) = result {
            println!("  FAILED: {what}");
            failures.push(what);
        }
    }
    if only.is_none_or(|only| only == "kills") {
        let start = Instant::now();
        let kills = 100 * times;
        match kill_again_and_again(kills) {
            Ok(records) => println!(
                "kills: {:.0} s\n  {kills} kills, {records} records acknowledged, 0 lost, 0 twice in the file",
                start.elapsed().as_secs_f64()
            ),
            Err(error) => {
                println!("kills FAILED: {error}");
                failures.push(error.to_string());
            }
        }
    }
    let of_kind = |mark: &str| failures.iter().filter(|what| what.contains(mark)).count();
    println!(
        "failures: {}, among them losses: {}, duplicates outside whole batches: {}",
        failures.len(),
        of_kind("LOST"),
        of_kind("is sent again though it is finished") + of_kind("in the file"),
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(before: &Figures, now: &Figures) {
    let rows = [
        ("operations on simulated disks", before.operations, now.operations),
        ("steps of programs", before.steps, now.steps),
        ("records accepted", before.records, now.records),
        ("crashes", before.crashes, now.crashes),
        ("crashes during the recovery from another", before.second_crashes, now.second_crashes),
        ("recoveries on a full disk", before.full_disks, now.full_disks),
        ("operations that failed as told", before.faults, now.faults),
        ("fuzz cases", before.fuzz_cases, now.fuzz_cases),
        ("batches offered", before.offers, now.offers),
        ("records sent again in their batches", before.duplicates, now.duplicates),
    ];
    for (what, before, now) in rows.iter().filter(|(_, before, now)| now > before) {
        println!("  {:>12} {what}", now - before);
    }
}

/// The victim: threads put lines and say so on standard output when `put` has returned.
fn put_until_killed(dir: &Path, first: u64) -> Result<std::convert::Infallible, Box<dyn Error>> {
    let sink = FileSink::create(dir.join("events.log"))?;
    let producer = Producer::builder(dir.join("outbox")).segment_bytes(64 * 1024).max_records(50).open(sink)?;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let producer = &producer;
            scope.spawn(move || {
                for number in first.. {
                    let line = format!("{thread}-{number}");
                    if producer.put(&line).is_err() {
                        return;
                    }
                    // One write a line: whole lines only reach the pipe.
                    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
                }
            });
        }
    });
    Err("the victim ended by itself".into())
}

/// Kills it and looks: every line that was acknowledged is in the file, once, and each thread's in order.
fn kill_again_and_again(kills: u64) -> Result<usize, Box<dyn Error>> {
    let root = std::env::temp_dir().join(format!("unistream-torture-{}", std::process::id()));
    std::fs::create_dir_all(&root)?;
    let mut acknowledged = 0;
    for kill in 0..kills {
        // A few kills in one directory, then a new one.
        let dir = root.join(format!("{}", kill / 5));
        std::fs::create_dir_all(&dir)?;
        let mut victim = Command::new(std::env::current_exe()?)
            .args(["victim", dir.to_str().ok_or("a path that is not UTF-8")?, &(kill * 1_000_000_000).to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(victim.stdout.take().ok_or("no output")?);
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(20 + kill * 37 % 180));
        victim.kill()?;
        victim.wait()?;
        let lines = reader.join().map_err(|_| "the reader panicked")?;
        let producer = Producer::builder(dir.join("outbox")).open(FileSink::create(dir.join("events.log"))?)?;
        producer.flush(Duration::from_secs(60))?;
        if producer.close(Duration::from_secs(60))? != 0 || producer.stats().corrupt_regions != 0 {
            return Err(format!("kill {kill}: something is left, or corrupt").into());
        }
        let text = std::fs::read_to_string(dir.join("events.log"))?;
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        let mut last = [0; THREADS];
        for line in text.lines() {
            *seen.entry(line).or_default() += 1;
            let (thread, number) = line.split_once('-').ok_or("a line that nobody put")?;
            let (thread, number): (usize, u64) = (thread.parse()?, number.parse()?);
            if number < last[thread] {
                return Err(format!("kill {kill}: {line} is out of order").into());
            }
            last[thread] = number;
        }
        if let Some((line, count)) = seen.iter().find(|(_, count)| **count != 1) {
            return Err(format!("kill {kill}: {line} is in the file {count} times").into());
        }
        if let Some(line) = lines.iter().find(|line| !seen.contains_key(line.as_str())) {
            return Err(format!("kill {kill}: LOST: {line}").into());
        }
        acknowledged += lines.len();
    }
    std::fs::remove_dir_all(&root)?;
    Ok(acknowledged)
}
