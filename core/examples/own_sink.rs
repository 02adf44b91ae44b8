//! A sink of one's own: appends records to a file, refuses empty ones for ever, and says when the disk has no room.

#![allow(clippy::print_stdout)]

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use unistream::{Batch, Producer, Report, SendError, sink};

/// Answers for each record; what the report does not mention was delivered.
fn send(batch: &Batch) -> Result<Report, SendError> {
    let mut file = OpenOptions::new().create(true).append(true).open("received.txt").map_err(SendError::unavailable)?;
    let mut report = Report::delivered();
    for (index, record) in batch.iter().enumerate() {
        if record.data.is_empty() {
            report = report.rejected(index, "empty");
        } else {
            file.write_all(&[record.data, b"\n"].concat()).map_err(SendError::unavailable)?;
        }
    }
    Ok(report)
}

/// Puts three records, of which the sink refuses one.
pub fn main() -> unistream::Result<()> {
    let producer = Producer::builder("outbox").open(sink::from_fn(send))?;
    producer.put("one")?;
    producer.put("")?;
    producer.put("two")?;
    producer.flush(Duration::from_secs(30))?;
    for letter in producer.dead_letters().list()? {
        println!("a dead letter: {}", letter.records[0].reason);
    }
    producer.close(Duration::from_secs(30))?;
    Ok(())
}
