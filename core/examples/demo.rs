//! The main job on real input: a program that generates records without pause into a file, through a sink that
//! fails at random, while it is killed and started again. At the end the file must hold every record once, in order.
//!
//! `cargo run --release --example demo [seconds]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use unistream::*;

const KILLS: u32 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("generate") => generate(Path::new(&args.next().ok_or("generate DIR SEED")?), &args.next().ok_or("SEED")?),
        seconds => supervise(seconds.map_or(Ok(6.0), str::parse)?),
    }
}

/// Starts the generator, kills it, starts it again; then lets it finish and looks at the file.
fn supervise(seconds: f64) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    println!("records go through the buffer {0}/outbox into {0}/events.log", dir.path().display());
    println!("the sink fails half of its calls; the process is killed {KILLS} times\n");
    let mut acknowledged = 0u64;
    for run in 0..=KILLS {
        let last = run == KILLS;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["generate".as_ref(), dir.path().as_os_str(), run.to_string().as_ref()])
            .args(last.then_some("finish"))
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the child has an output")?;
        let reader = std::thread::spawn(move || {
            let mut acknowledged = 0;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.strip_prefix("acknowledged ") {
                    Some(seq) => acknowledged = seq.parse().unwrap_or(acknowledged),
                    None => println!("  {line}"),
                }
            }
            acknowledged
        });
        println!("process {} started", child.id());
        if !last {
            std::thread::sleep(Duration::from_secs_f64(seconds / f64::from(KILLS + 1) * f64::from(run % 3 + 1) / 2.0));
            child.kill()?;
        }
        let status = child.wait()?;
        acknowledged = acknowledged.max(reader.join().map_err(|_| "the reader panicked")?);
        println!("process {} ended ({status}), {acknowledged} records acknowledged so far\n", child.id());
    }
    check(&dir.path().join("events.log"), acknowledged)
}

/// One life of the program.
fn generate(dir: &Path, seed: &str) -> Result<(), Box<dyn Error>> {
    let file = FileSink::create(dir.join("events.log"))?;
    let dice = Mutex::new(seed.parse::<u64>()? * 7919 + 1);
    let flaky = sink::from_fn(move |batch: &Batch| {
        let mut state = dice.lock().map_err(|_| SendError::failed("the dice are gone"))?;
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match *state >> 62 {
            0 => Err(SendError::failed("randomly failed before sending")),
            // The file has the batch, and the answer is lost: it will come again.
            1 => file.send(batch).and_then(|_| Err(SendError::failed("randomly failed after sending"))),
            _ => file.send(batch),
        }
    });
    let finish = std::env::args().any(|arg| arg == "finish");
    let started = Instant::now();
    let producer = Producer::builder(dir.join("outbox"))
        .max_records(100)
        .linger(Duration::from_millis(50))
        .schedule_multiplier(Duration::from_millis(1))
        .schedule_max(Duration::from_millis(20))
        .max_attempts(0)
        .segment_bytes(1 << 20)
        .max_buffer_bytes(64 << 20)
        .observer(|event| {
            if let Event::Recovered { .. } = event {
                println!("{}", event.message());
            }
        })
        .open(flaky)?;
    // Every record says its own sequence number: so it can be told at the end what is missing.
    for count in 0u64.. {
        let seq = producer.stats().next_seq;
        let put = producer.put(&format!("{{\"seq\": {seq}, \"value\": {}}}", seq * 37 % 101))?;
        assert_eq!(put, seq, "one thread puts");
        if count % 100 == 0 {
            println!("acknowledged {seq}");
            std::thread::sleep(Duration::from_micros(500));
        }
        if finish && started.elapsed() > Duration::from_secs(1) {
            println!("acknowledged {seq}");
            break;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    let Stats { put_records, delivered_records, attempts, failed_attempts, .. } = producer.stats();
    println!(
        "{put_records} records put, {delivered_records} delivered in {attempts} attempts, {failed_attempts} of them failed"
    );
    let left = producer.close(Duration::from_secs(10))?;
    println!("{left} records left in the buffer");
    Ok(())
}

/// Every record once, in order, and none of those acknowledged missing.
fn check(path: &Path, acknowledged: u64) -> Result<(), Box<dyn Error>> {
    let mut expected = 1;
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let line = line?;
        if line != format!("{{\"seq\": {expected}, \"value\": {}}}", expected * 37 % 101) {
            return Err(format!("line {expected} of {} is wrong: {line}", path.display()).into());
        }
        expected += 1;
    }
    let records = expected - 1;
    if records < acknowledged {
        return Err(format!("{acknowledged} records were acknowledged, the file has {records}").into());
    }
    println!(
        "OK: {records} records in the file, each once and in order; {acknowledged} were acknowledged, none is missing"
    );
    Ok(())
}
