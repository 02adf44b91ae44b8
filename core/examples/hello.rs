//! The least that delivers: records survive the program, and end up as lines of events.log.

use std::time::Duration;

use unistream::{FileSink, Producer};

pub fn main() -> unistream::Result<()> {
    let producer = Producer::builder("outbox").open(FileSink::create("events.log")?)?;
    producer.put("hello")?;
    producer.close(Duration::from_secs(30))?;
    Ok(())
}
