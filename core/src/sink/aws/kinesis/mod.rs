//! Amazon Kinesis Data Streams.

#[cfg(feature = "aws")]
mod answer;
#[cfg(feature = "aws")]
mod request;
#[cfg(feature = "aws")]
mod rules;
#[cfg(feature = "aws")]
mod sink;

use std::time::Duration;

#[cfg(all(feature = "aws", feature = "torture"))]
pub(super) use self::answer::outcomes;
#[cfg(feature = "aws")]
pub use self::sink::{KinesisBuilder, KinesisSink};
use super::options::aws_options;
use crate::option_table::{Bytes, Text, choice};
use crate::secret::Secret;
use crate::sink::kind::{Kind, Place};

pub(in crate::sink) static KIND: Kind = Kind {
    scheme: "kinesis",
    aliases: &[],
    summary: "Sends records to a stream of Amazon Kinesis Data Streams.",
    once: "At least once: what the service accepted without our seeing its answer is sent again. The id of a record can be its partition key.",
    page: concat!(include_str!("page.md"), "\n", include_str!("../page.md")),
    options: KinesisOptions::TABLE,
    takes_any: false,
    place: Place::Names(&["stream"]),
    feature: "aws",
    #[cfg(feature = "aws")]
    open: Some(&|options| Ok(Box::new(KinesisBuilder::of_options(KinesisOptions::from_pairs(options)?).build()?))),
    #[cfg(not(feature = "aws"))]
    open: None,
};

/// The longest partition key: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>.
const MAX_KEY_CHARS: usize = 256;
const MIB: u64 = 1024 * 1024;

choice! {
    /// What the partition key of a record is.
    PartitionBy: "one of key, id" {
        /// The record's key, or its id where it has no key.
        Key = "key",
        /// The record's id.
        Id = "id",
    }
}

aws_options! {
    /// The options of a `KinesisSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct KinesisOptions, setters kinesis_setters;
    /// The stream, by name or ARN.
    stream: Text = "", "the name or the ARN of a stream", |_| true;
    /// What the partition key of a record is, unless `partition_key` is set.
    partition_by: PartitionBy = "key", "key, id", |_| true;
    /// One partition key for all records: they all go to one shard.
    partition_key: Text = "", "1 to 256 characters, or empty", |v| v.chars().count() <= MAX_KEY_CHARS;
    /// What chooses the shard in place of the partition key's hash: one number for all records, or `key`: each
    /// record's key, which must then be such a number.
    explicit_hash_key: Text = "", "a decimal number below 2^128, key, or empty",
        |v| v.is_empty() || v == "key" || is_hash_key(v);
    /// Keep strict order per partition key: no record is in a call while an earlier one of its key is not yet
    /// accepted. A call then holds at most one record a key. It needs the order `key` or `total`; where the partition key is not the
    /// record's key, `total`.
    ordered: bool = "false", "true, false", |_| true;
    /// The most bytes in a call, data and partition keys. Streams that were not raised to more take 5 MiB.
    max_call_bytes: Bytes = "10MiB", "1 to 10MiB", |v| (1..=10 * MIB).contains(v);
    /// The most bytes in a record, data and partition key. Streams take more than 1 MiB only if set so.
    max_record_bytes: Bytes = "1MiB", "1 to 10MiB", |v| (1..=10 * MIB).contains(v);
}

/// The explicit hash key: a decimal number below 2^128, without leading zeros.
fn is_hash_key(text: &str) -> bool {
    text.parse::<u128>().is_ok_and(|number| number.to_string() == text)
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "aws")]
#[allow(clippy::single_component_path_imports)]
use kinesis_setters;
