//! Amazon Kinesis Data Streams.

mod sink;

#[cfg(feature = "torture")]
pub(super) use self::sink::outcomes;
pub use self::sink::{KinesisBuilder, KinesisOptions, KinesisSink, PartitionBy};
