//! The least that delivers: records survive the program, and end up as lines of events.log.

use std::time::Duration;

use unistream::{FileSink, Producer};

/// Puts a record, and has it delivered.
pub fn main() -> unistream::Result<()> {
    let sink = FileSink::create("events.log")?;
    let producer = Producer::builder("outbox").open(sink)?;
    producer.put("hello")?;
    producer.close(Duration::from_secs(30))?;
    Ok(())
}
