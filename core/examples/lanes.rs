//! Order by key: each of 64 keys keeps its order, and eight calls are under way at once.
//!
//! `cargo run --release -p unistream --example lanes`
//!
//! The sink takes 50 ms a call, whatever is in it. The program sends the same records twice: one batch at a time, then in eight
//! lanes. It fails if a key has lost its order or a record is missing, and prints how much faster the lanes were.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unistream::{Batch, NEVER, NewRecord, Order, Producer, SendError, sink};

const RECORDS: u64 = 64 * 98;
const CALL: Duration = Duration::from_millis(50);

/// The squares of a chessboard.
fn key(number: u64) -> String {
    let (file, rank) = (number % 8, number / 8 % 8);
    format!("{}{}", char::from(b'a' + file as u8), rank + 1)
}

/// What the sink has seen: how many records, and the last number of each key.
#[derive(Default)]
struct Seen {
    records: u64,
    last: HashMap<Vec<u8>, u64>,
}

/// A call takes its time; then the records are there, if each comes behind those of its key.
fn receive(seen: &Mutex<Seen>, batch: &Batch) -> Result<(), SendError> {
    std::thread::sleep(CALL);
    let mut seen = seen.lock().map_err(|_| SendError::failed("another call panicked"))?;
    for record in batch.iter() {
        let number = std::str::from_utf8(record.data)?.parse()?;
        let before = seen.last.insert(record.key.unwrap_or_default().to_vec(), number);
        if before.is_some_and(|before| before >= number) {
            return Err(SendError::Rejected(format!("{number} comes behind {before:?} of its key")));
        }
        seen.records += 1;
    }
    Ok(())
}

/// Records a second.
fn run(directory: &Path, order: Order, in_flight: u64) -> Result<f64, Box<dyn Error>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let receiving = seen.clone();
    let producer = Producer::builder(directory)
        .order(order)
        .max_in_flight(in_flight)
        .max_records(80)
        .linger(NEVER)
        .open(sink::from_fn(move |batch: &Batch| receive(&receiving, batch)))?;
    let begin = Instant::now();
    for number in 0..RECORDS {
        let (key, data) = (key(number), number.to_string());
        producer.put(NewRecord { key: Some(key.as_bytes()), ..NewRecord::new(data.as_bytes()) })?;
    }
    producer.flush(Duration::from_secs(60))?;
    let rate = RECORDS as f64 / begin.elapsed().as_secs_f64();
    producer.close(Duration::from_secs(10))?;
    let seen = seen.lock().map_err(|_| "a call panicked")?;
    if (seen.records, seen.last.len()) != (RECORDS, 64) {
        return Err(format!("the sink has {} records of {} keys", seen.records, seen.last.len()).into());
    }
    println!("order {order:?}, {in_flight} in flight: {rate:.0} records/s, each key in order");
    Ok(rate)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("unistream-example-lanes-{}", std::process::id()));
    let one = run(&directory, Order::Total, 1)?;
    let eight = run(&directory, Order::Key, 8)?;
    std::fs::remove_dir_all(&directory)?;
    println!("{:.1} times the records", eight / one);
    Ok(())
}
