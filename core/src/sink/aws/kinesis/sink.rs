//! [`KinesisSink`]: records into a stream of Amazon Kinesis Data Streams.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::answer::outcomes;
use super::request::{PUT_RECORDS, Target};
use super::rules::{Hash, KeyFn, MAX_RECORDS, Partition, Rules};
use super::{KinesisOptions, PartitionBy, kinesis_setters};
use crate::batch::Batch;
use crate::error::Result;
use crate::order::Order;
use crate::record::{MAX_OWN_ID_BYTES, NewRecord};
use crate::sink::aws::client::Client;
use crate::sink::aws::connection::{Connection, connect, connection_setters};
use crate::sink::aws::service::Service;
use crate::sink::net::invalid;
use crate::sink::{Limits, Report, SendError, Sink};

/// How many calls at once are best: a call takes a round trip and some milliseconds, and a shard takes 1,000 records a second.
const IN_FLIGHT: u64 = 24;
/// As long as the longest id that a buffer gives.
const LONGEST_OWN_ID: &str = "ffffffffffffffff-18446744073709551615";
const _: () = assert!(LONGEST_OWN_ID.len() == MAX_OWN_ID_BYTES);

/// Sends records to a stream by `PutRecords`. Payloads go as they are.
///
/// Records of a call that fail one by one (a shard's throughput is exceeded) are sent again, and only those.
/// `PutRecords` promises no order among the records of a call when some fail, so that a record sent again may
/// come behind later ones of its key; the option `ordered` keeps strict order per partition key, at the price
/// of one call for each record of the most frequent key.
///
/// One call: 500 records and `max_call_bytes`; a key: 1 to 256 characters. What can be known to exceed a limit is
/// refused at `put`.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::aws::KinesisSink;
/// let sink = KinesisSink::builder("arn:aws:kinesis:eu-central-1:123456789012:stream/clicks")
///     .ordered(true)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KinesisSink {
    target: Target,
    rules: Rules,
    client: Client,
}

impl KinesisSink {
    /// A sink for a stream, by its name or ARN.
    pub fn builder(stream: impl Into<String>) -> KinesisBuilder {
        let options = KinesisOptions { stream: stream.into(), ..KinesisOptions::default() };
        KinesisBuilder { options, ..KinesisBuilder::default() }
    }
}

/// Options of a [`KinesisSink`] to be.
#[derive(Clone, Default)]
pub struct KinesisBuilder {
    options: KinesisOptions,
    connection: Connection,
    partition_key: Option<Arc<KeyFn>>,
    hash_key: Option<Arc<KeyFn>>,
}

impl KinesisBuilder {
    /// With these options, and nothing besides.
    pub(super) fn of_options(options: KinesisOptions) -> Self {
        KinesisBuilder { options, ..Self::default() }
    }

    kinesis_setters!();
    connection_setters!();

    /// Gives each record the partition key that a closure computes, instead of its key or id. It must give the
    /// same record the same key every time.
    #[must_use]
    pub fn partition_key_fn(mut self, rule: impl Fn(&NewRecord<'_>) -> String + Send + Sync + 'static) -> Self {
        self.partition_key = Some(Arc::new(rule));
        self
    }

    /// Gives each record the explicit hash key that a closure computes: a decimal number below 2^128.
    #[must_use]
    pub fn explicit_hash_key_fn(mut self, rule: impl Fn(&NewRecord<'_>) -> String + Send + Sync + 'static) -> Self {
        self.hash_key = Some(Arc::new(rule));
        self
    }

    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option, variable or profile that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<KinesisSink> {
        let KinesisBuilder { mut options, connection, partition_key, hash_key } = self;
        let target = Target::parse(&options.stream)?;
        if let Target::Arn { region, .. } = &target {
            if !options.region.is_empty() && options.region != *region {
                return Err(invalid(format!("the stream is in {region}, not in {}", options.region)));
            }
            options.region.clone_from(region);
        }
        let client = connect!(Service::Kinesis, options, connection);
        let partition = match (partition_key, options.partition_key.is_empty()) {
            (Some(rule), true) => Partition::Rule(rule),
            (Some(_), false) => return Err(invalid("partition_key and partition_key_fn exclude each other")),
            (None, false) => Partition::Fixed(options.partition_key),
            (None, true) => Partition::By(options.partition_by),
        };
        let hash = match (hash_key, options.explicit_hash_key.as_str()) {
            (Some(rule), "") => Hash::Rule(rule),
            (Some(_), _) => return Err(invalid("explicit_hash_key and explicit_hash_key_fn exclude each other")),
            (None, "") => Hash::None,
            (None, "key") => Hash::Key,
            (None, _) => Hash::Fixed(options.explicit_hash_key),
        };
        let rules = Rules {
            partition,
            hash,
            ordered: options.ordered,
            max_call_bytes: options.max_call_bytes,
            max_record_bytes: options.max_record_bytes,
        };
        Ok(KinesisSink { target, rules, client })
    }
}

impl fmt::Debug for KinesisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Sink for KinesisSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let connections = self.client.connections();
        Ok(self.rules.deliver(batch, &mut |items| {
            let answer = self.client.call(&connections, PUT_RECORDS, &self.target.request(items))?;
            outcomes(&answer.body, items.len())
        }))
    }

    fn limits(&self) -> Limits {
        Limits {
            max_records: Some(MAX_RECORDS as u64),
            max_bytes: Some(self.rules.max_call_bytes),
            max_record_bytes: Some(self.rules.max_record_bytes),
            overhead_bytes: 0,
            counts_key: self.rules.counts_key(),
            counts_headers: false,
            ordered: self.rules.ordered,
            // Lanes go by the record's key: they keep the order of a partition key that is that.
            order: if self.rules.counts_key() { Order::Key } else { Order::Auto },
            in_flight: if self.rules.counts_key() { IN_FLIGHT } else { 1 },
            checks_records: true,
        }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        // An id of the buffer's own is always a good key; it counts as much as its longest.
        let (key, _) = self.rules.keys(record, record.id.unwrap_or(LONGEST_OWN_ID))?;
        // What the limits count is checked by them.
        if self.rules.counts_key() { Ok(()) } else { self.rules.check_bytes(record, &key) }
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("kinesis:{}", self.target.name()))
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::aws::Environment;

    fn builder(stream: &str) -> KinesisBuilder {
        KinesisSink::builder(stream).region("eu-west-1").environment(Environment::empty())
    }

    #[test]
    fn the_region_of_an_arn_rules() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
        let environment = Environment::empty().var("AWS_REGION", "us-east-1");
        let sink = KinesisSink::builder(arn).environment(environment.clone()).build().unwrap();
        assert_eq!(sink.client.endpoint().host(), Some("kinesis.eu-west-1.amazonaws.com"));
        assert_eq!(sink.name(), "kinesis:s");
        assert!(KinesisSink::builder(arn).environment(environment).region("us-east-1").build().is_err());
    }

    #[test]
    fn the_partition_key_follows_the_rule() {
        let with_key = NewRecord::new(b"data").key(b"key").id("id");
        let without = NewRecord::new(b"data").id("id");
        let key_of = |builder: KinesisBuilder, record: NewRecord<'_>| {
            let rules = builder.build().unwrap().rules;
            rules.keys(&record, record.id.unwrap()).map(|(key, _)| key.into_owned())
        };
        assert_eq!(key_of(builder("s"), with_key).unwrap(), "key");
        assert_eq!(key_of(builder("s"), without).unwrap(), "id");
        assert_eq!(key_of(builder("s").partition_by(PartitionBy::Id), with_key).unwrap(), "id");
        assert_eq!(key_of(builder("s").partition_key("one"), with_key).unwrap(), "one");
        let rule = |record: &NewRecord<'_>| format!("p{}", record.data.len());
        assert_eq!(key_of(builder("s").partition_key_fn(rule), with_key).unwrap(), "p4");
        assert!(builder("s").partition_key("one").partition_key_fn(rule).build().is_err());
    }

    #[test]
    fn put_refuses_what_kinesis_would() {
        let sink = builder("s").max_record_bytes(100).build().unwrap();
        let refused = |record: NewRecord<'_>| sink.admit(&record).unwrap_err();
        assert_eq!(sink.limits().max_record_bytes, Some(100));
        let fixed = builder("s").max_record_bytes(100).partition_key("k").build().unwrap();
        assert!(sink.limits().counts_key && !fixed.limits().counts_key);
        fixed.admit(&NewRecord::new(&[0; 99])).unwrap();
        assert!(fixed.admit(&NewRecord::new(&[0; 100])).unwrap_err().contains("101 bytes"));
        assert!(refused(NewRecord::new(b"").key(b"")).contains("0 characters"));
        assert!(refused(NewRecord::new(b"").key(b"\xff")).contains("UTF-8"));
        assert!(refused(NewRecord::new(b"").id(&"i".repeat(257))).contains("257 characters"));
        // Where the id is the key, its bytes are the key's: the buffer's own id, at its longest, where none was put.
        let by_id = builder("s").max_record_bytes(100).partition_by(PartitionBy::Id).build().unwrap();
        by_id.admit(&NewRecord::new(&[0; 90]).id("ten-bytes!")).unwrap();
        by_id.admit(&NewRecord::new(&[0; 91]).id("ten-bytes!")).unwrap_err();
        by_id.admit(&NewRecord::new(&[0; 100 - MAX_OWN_ID_BYTES])).unwrap();
        by_id.admit(&NewRecord::new(&[0; 101 - MAX_OWN_ID_BYTES])).unwrap_err();
        assert!(!by_id.limits().ordered && builder("s").ordered(true).build().unwrap().limits().ordered);
        // Characters, not bytes: 50 of two bytes each leave no room for data, but are a good key.
        sink.admit(&NewRecord::new(b"").key("ä".repeat(50).as_bytes())).unwrap();
        let long = builder("s").build().unwrap();
        long.admit(&NewRecord::new(b"").key("ä".repeat(256).as_bytes())).unwrap();
        long.admit(&NewRecord::new(b"")).unwrap();
    }

    #[test]
    fn hash_keys_are_decimal_numbers_of_128_bits() {
        let max = "340282366920938463463374607431768211455";
        for good in ["0", "7", max] {
            builder("s").explicit_hash_key(good).build().unwrap();
        }
        for bad in ["340282366920938463463374607431768211456", "007", "-1", "+1", "1e3", "0x10", " "] {
            assert!(builder("s").explicit_hash_key(bad).build().is_err(), "{bad}");
        }
        let sink = builder("s").explicit_hash_key("key").build().unwrap();
        sink.admit(&NewRecord::new(b"").key(b"12")).unwrap();
        assert!(sink.admit(&NewRecord::new(b"").key(b"x")).is_err());
        assert!(sink.admit(&NewRecord::new(b"")).is_err());
        let sink = builder("s").explicit_hash_key_fn(|record| record.data.len().to_string()).build().unwrap();
        assert_eq!(sink.rules.keys(&NewRecord::new(b"four"), "i").unwrap().1.unwrap(), "4");
    }
}
