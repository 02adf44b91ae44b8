//! Apache Kafka: `KafkaSink` sends batches to the topics of a cluster (cargo feature `kafka`).
//!
//! ```no_run
//! # #[cfg(not(feature = "kafka"))]
//! # fn main() {}
//! # #[cfg(feature = "kafka")]
//! # fn main() -> unistream::Result<()> {
//! use unistream::sink::kafka::{Compression, KafkaSink};
//! let sink = KafkaSink::builder("broker:9092").topic("clicks").compression(Compression::Lz4).build()?;
//! # Ok(())
//! # }
//! ```
#![doc = include_str!("page.md")]

#[cfg(feature = "kafka")]
mod cluster;
#[cfg(feature = "kafka")]
mod codes;
#[cfg(feature = "kafka")]
mod connection;
#[cfg(all(feature = "kafka", feature = "torture"))]
#[path = "../../../../tests/torture/src/fuzz/kafka.rs"]
pub(crate) mod fuzz;
#[cfg(feature = "kafka")]
mod group;
#[cfg(feature = "kafka")]
mod identity;
#[cfg(feature = "kafka")]
mod messages;
mod options;
#[cfg(feature = "kafka")]
mod partition;
#[cfg(feature = "kafka")]
mod produce;
#[cfg(feature = "kafka")]
mod record_batch;
#[cfg(feature = "kafka")]
mod sasl;
#[cfg(feature = "kafka")]
mod sink;
#[cfg(feature = "kafka")]
mod wire;

pub use self::options::{Compression, KafkaOptions, Once, Sasl};
#[cfg(feature = "kafka")]
pub use self::sink::{KafkaBuilder, KafkaSink};
use super::kind::{Kind, Place};
#[cfg(feature = "kafka")]
pub use super::net::environment::Environment;
pub use crate::options::Secret;

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "kafka",
    aliases: &[],
    summary: "Sends records to topics of Apache Kafka, and of what speaks its protocol.",
    once: "Exactly once, also when programs and brokers are killed, as long as the brokers remember the producer (a day, by \
           default): a producer id, epoch and sequence numbers are kept with each batch. Under `once=none` at least once.",
    page: include_str!("page.md"),
    options: KafkaOptions::TABLE,
    takes_any: false,
    place: Place::Names(&["brokers", "topic"]),
    feature: "kafka",
    #[cfg(feature = "kafka")]
    open: Some(&|options| Ok(Box::new(KafkaBuilder::of_options(KafkaOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "kafka"))]
    open: None,
};
