//! The Rust row of `run.sh`: the median cost of `Producer::put` in nanoseconds, by the method of `bench.h`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::{Duration, Instant};

use engine::{NullSink, Producer};

const WARM_UP: usize = 3;
const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (Some(bytes), Some(directory)) = (arguments.next(), arguments.next()) else {
        // `cargo bench` without arguments: run.sh has the rows.
        println!("usage: put BYTES DIRECTORY");
        return Ok(());
    };
    let record = vec![b'x'; bytes.parse()?];
    let puts = 100_000_000 / (record.len() + 400);
    let producer = Producer::builder(directory).open(NullSink)?;
    let mut costs = Vec::with_capacity(WARM_UP + ROUNDS);
    for _ in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        for _ in 0..puts {
            producer.put(&record)?;
        }
        costs.push(start.elapsed().as_nanos() as f64 / puts as f64);
        producer.flush(Duration::from_secs(60))?;
    }
    let delivered = producer.stats().delivered_records;
    assert_eq!(delivered, ((WARM_UP + ROUNDS) * puts) as u64, "every record was delivered");
    producer.close(Duration::from_secs(60))?;
    costs.drain(..WARM_UP);
    costs.sort_by(f64::total_cmp);
    println!("{:.2}", costs[ROUNDS / 2]);
    Ok(())
}
