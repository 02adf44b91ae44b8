//! [`KinesisSink`]: records into a stream of Amazon Kinesis Data Streams.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::{KinesisOptions, MAX_KEY_CHARS, PartitionBy, is_hash_key, kinesis_setters};
use crate::batch::Batch;
use crate::error::Result;
use crate::record::{MAX_OWN_ID_BYTES, NewRecord};
use crate::sink::aws::client::Client;
use crate::sink::aws::connection::{Connection, connect, connection_setters};
use crate::sink::aws::protocol::is_passing;
use crate::sink::aws::service::Service;
use crate::sink::net::delivery::{Delivery, Item, Outcomes, split};
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::invalid;
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

// The limits of PutRecords: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>.
const MAX_RECORDS: usize = 500;
/// As long as the longest id that a buffer gives.
const LONGEST_OWN_ID: &str = "ffffffffffffffff-18446744073709551615";
const _: () = assert!(LONGEST_OWN_ID.len() == MAX_OWN_ID_BYTES);

/// A rule of the user's own that gives a record a key.
type KeyFn = dyn Fn(&NewRecord<'_>) -> String + Send + Sync;

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
            ordered: self.rules.ordered,
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

const PUT_RECORDS: &str = "PutRecords";

/// The stream, as `PutRecords` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Name(String),
    Arn { arn: String, region: String },
}

impl Target {
    /// Names are checked here, so that a refused call speaks of its records.
    fn parse(stream: &str) -> Result<Self> {
        let is_name = |name: &str| {
            let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            (1..=128).contains(&name.len()) && name.chars().all(valid)
        };
        if !stream.starts_with("arn:") {
            return match is_name(stream) {
                true => Ok(Target::Name(stream.into())),
                false => Err(invalid(format!(
                    "{stream:?} is not the name of a stream: 1 to 128 letters, digits, '_', '.' and '-'"
                ))),
            };
        }
        match stream.splitn(6, ':').collect::<Vec<_>>()[..] {
            [_, _, "kinesis", region, account, resource]
                if !region.is_empty()
                    && account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit())
                    && resource.strip_prefix("stream/").is_some_and(is_name) =>
            {
                Ok(Target::Arn { arn: stream.into(), region: region.into() })
            }
            _ => Err(invalid(format!(
                "{stream:?} is not the ARN of a stream, such as arn:aws:kinesis:eu-central-1:123456789012:stream/name"
            ))),
        }
    }

    fn name(&self) -> &str {
        match self {
            Target::Name(name) => name,
            Target::Arn { arn, .. } => arn.rsplit('/').next().unwrap_or(arn),
        }
    }

    /// The body of a `PutRecords` call.
    fn request(&self, items: &[&Entry<'_>]) -> Vec<u8> {
        let bytes: usize = items.iter().map(|item| item.data.len() / 3 * 4 + item.key.len() + 128).sum();
        let mut body = String::with_capacity(bytes);
        let (parameter, stream) = match self {
            Target::Name(name) => ("StreamName", name),
            Target::Arn { arn, .. } => ("StreamARN", arn),
        };
        body.push_str(&format!("{{\"{parameter}\":\"{stream}\",\"Records\":["));
        for (place, item) in items.iter().enumerate() {
            body.push_str(if place == 0 { "{\"Data\":\"" } else { ",{\"Data\":\"" });
            BASE64_STANDARD.encode_string(item.data, &mut body);
            body.push_str("\",\"PartitionKey\":");
            body.push_str(&serde_json::Value::from(&*item.key).to_string());
            if let Some(hash) = &item.hash_key {
                body.push_str(&format!(",\"ExplicitHashKey\":\"{hash}\""));
            }
            body.push('}');
        }
        body.push_str("]}");
        body.into_bytes()
    }
}

/// What to do with records, apart from sending them.
struct Rules {
    partition: Partition,
    hash: Hash,
    ordered: bool,
    max_call_bytes: u64,
    max_record_bytes: u64,
}

enum Partition {
    By(PartitionBy),
    Fixed(String),
    Rule(Arc<KeyFn>),
}

enum Hash {
    None,
    Key,
    Fixed(String),
    Rule(Arc<KeyFn>),
}

/// A record as a call carries it.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    index: usize,
    data: &'a [u8],
    key: Cow<'a, str>,
    hash_key: Option<Cow<'a, str>>,
}

impl Entry<'_> {
    fn bytes(&self) -> u64 {
        (self.data.len() + self.key.len()) as u64
    }
}

impl Item for Entry<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

impl Rules {
    /// The partition key and the explicit hash key of a record, or why there is none. `id` is the record's own,
    /// or the one that the buffer gave it.
    fn keys<'a>(&'a self, record: &NewRecord<'a>, id: &'a str) -> Result<(Cow<'a, str>, Option<Cow<'a, str>>), String> {
        let text =
            |key: &'a [u8]| std::str::from_utf8(key).map_err(|_| "its key is not UTF-8, as Kinesis demands".to_owned());
        let key = match (&self.partition, record.key) {
            (Partition::Fixed(key), _) => Cow::Borrowed(key.as_str()),
            (Partition::Rule(rule), _) => Cow::Owned(rule(record)),
            (Partition::By(PartitionBy::Key), Some(key)) => Cow::Borrowed(text(key)?),
            (Partition::By(_), _) => Cow::Borrowed(id),
        };
        let chars = key.chars().count();
        if !(1..=MAX_KEY_CHARS).contains(&chars) {
            return Err(format!("its partition key has {chars} characters; Kinesis takes 1 to {MAX_KEY_CHARS}"));
        }
        let hash_key = match &self.hash {
            Hash::None => None,
            Hash::Fixed(number) => Some(Cow::Borrowed(number.as_str())),
            Hash::Rule(rule) => Some(Cow::Owned(rule(record))),
            Hash::Key => Some(Cow::Borrowed(text(record.key.unwrap_or_default())?)),
        };
        if let Some(number) = hash_key.as_ref().filter(|number| !is_hash_key(number)) {
            return Err(format!("its explicit hash key {number:?} is not a decimal number below 2^128"));
        }
        Ok((key, hash_key))
    }

    /// Whether the partition key is what the limits of a sink can count: the record's key, else its id.
    fn counts_key(&self) -> bool {
        matches!(self.partition, Partition::By(PartitionBy::Key))
    }

    fn check_bytes(&self, record: &NewRecord<'_>, key: &str) -> Result<(), String> {
        let bytes = (record.data.len() + key.len()) as u64;
        match self.max_record_bytes.min(self.max_call_bytes) {
            limit if bytes > limit => {
                Err(format!("its data and partition key are {bytes} bytes; Kinesis is set to take {limit}"))
            }
            _ => Ok(()),
        }
    }

    fn entry<'a>(&'a self, index: usize, record: &NewRecord<'a>, id: &'a str) -> Result<Entry<'a>, String> {
        let (key, hash_key) = self.keys(record, id)?;
        self.check_bytes(record, &key)?;
        Ok(Entry { index, data: record.data, key, hash_key })
    }

    /// Sends the batch by `call`, in as many calls as it takes.
    fn deliver(&self, batch: &Batch, call: &mut dyn FnMut(&[&Entry<'_>]) -> Outcomes) -> Report {
        let mut delivery = Delivery::new(batch.len());
        let ids: Vec<_> = batch.iter().map(|record| record.id()).collect();
        let mut entries = Vec::with_capacity(batch.len());
        for (index, (record, id)) in batch.iter().zip(&ids).enumerate() {
            match self.entry(index, &record.to_new(), id) {
                Ok(entry) => entries.push(entry),
                Err(reason) => delivery.reject(index, reason),
            }
        }
        let waves = if self.ordered { waves(&entries) } else { vec![entries.iter().collect()] };
        let mut blocked = HashSet::new();
        for wave in waves {
            let (held, free): (Vec<_>, Vec<_>) = wave.into_iter().partition(|entry| blocked.contains(&entry.key));
            for entry in held {
                delivery.hold(entry.index, held_back());
            }
            for items in self.calls(&free) {
                if let Err(error) = delivery.send(items, call) {
                    return delivery.finish(Some(error));
                }
            }
            if self.ordered {
                blocked.extend(free.iter().filter(|entry| !delivery.is_settled(entry.index)).map(|entry| &entry.key));
            }
        }
        delivery.finish(None)
    }

    /// Consecutive entries within the limits of a call.
    fn calls<'e, 'a>(&self, entries: &'e [&'a Entry<'a>]) -> Vec<&'e [&'a Entry<'a>]> {
        split(
            entries,
            |entry| (1, entry.bytes()),
            |(records, bytes), entry| {
                let grown = (records + 1, bytes + entry.bytes());
                Some(grown).filter(|(records, bytes)| *records <= MAX_RECORDS && *bytes <= self.max_call_bytes)
            },
        )
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("ordered", &self.ordered).finish_non_exhaustive()
    }
}

/// The n-th wave has the n-th record of every key, in put order: no two records of a key are in one wave.
fn waves<'e, 'a>(entries: &'e [Entry<'a>]) -> Vec<Vec<&'e Entry<'a>>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut waves: Vec<Vec<&Entry<'_>>> = Vec::new();
    for entry in entries {
        let depth = seen.entry(&entry.key).or_default();
        if waves.len() == *depth {
            waves.push(Vec::new());
        }
        waves[*depth].push(entry);
        *depth += 1;
    }
    waves
}

fn held_back() -> Outcome {
    let why = "held back: an earlier record of its partition key is not yet accepted";
    CallError::unavailable(PUT_RECORDS, why).into_outcome()
}

/// What an answer says about each record of the call. An answer with more or fewer entries than records says
/// nothing about any.
pub(in crate::sink::aws) fn outcomes(answer: &[u8], records: usize) -> Outcomes {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        records: Vec<Result>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Result {
        sequence_number: Option<String>,
        error_code: Option<String>,
        error_message: Option<String>,
    }
    let answer: Body = serde_json::from_slice(answer)
        .map_err(|error| CallError::undocumented(PUT_RECORDS, format_args!("{error}")))?;
    if answer.records.len() != records {
        let what = format_args!("{} entries for {records} records", answer.records.len());
        return Err(CallError::undocumented(PUT_RECORDS, what));
    }
    let outcome = |result: Result| match (result.error_code.filter(|code| !code.is_empty()), result.sequence_number) {
        (None, Some(_)) => Outcome::Delivered,
        (None, None) => {
            CallError::undocumented(PUT_RECORDS, "an entry has neither a sequence number nor an error").into_outcome()
        }
        (Some(code), _) => {
            let fault = if is_passing(&code) { Fault::UNAVAILABLE } else { Fault::Failed };
            let message = result.error_message.unwrap_or_default();
            CallError { operation: PUT_RECORDS, fault, code: Some(code), message }.into_outcome()
        }
    };
    Ok(answer.records.into_iter().map(outcome).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::aws::Environment;

    fn builder(stream: &str) -> KinesisBuilder {
        KinesisSink::builder(stream).region("eu-west-1").environment(Environment::empty())
    }

    fn rules(ordered: bool) -> Rules {
        builder("s").ordered(ordered).build().unwrap().rules
    }

    fn unavailable() -> CallError {
        CallError::unavailable(PUT_RECORDS, "gone")
    }

    /// Numbers that look random and are the same every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    #[test]
    fn a_request_has_the_payload_once_encoded_and_the_keys() {
        let entries = [
            Entry { index: 0, data: b"\x00\xff raw", key: "k\"\u{2028}\n".into(), hash_key: None },
            Entry { index: 1, data: b"", key: "b".into(), hash_key: Some("17".into()) },
        ];
        let body = Target::Name("s".into()).request(&entries.iter().collect::<Vec<_>>());
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({"StreamName": "s", "Records": [
            {"Data": "AP8gcmF3", "PartitionKey": "k\"\u{2028}\n"},
            {"Data": "", "PartitionKey": "b", "ExplicitHashKey": "17"},
        ]});
        assert_eq!(body, expected);
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/s";
        let body = Target::parse(arn).unwrap().request(&[]);
        assert_eq!(String::from_utf8(body).unwrap(), format!("{{\"StreamARN\":\"{arn}\",\"Records\":[]}}"));
    }

    #[test]
    fn streams_are_names_or_arns() {
        let arn = "arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/clicks";
        assert_eq!(Target::parse("click_s.v-1").unwrap().name(), "click_s.v-1");
        assert_eq!(Target::parse(arn).unwrap().name(), "clicks");
        for bad in [
            "",
            "with space",
            "quote\"",
            &"x".repeat(129),
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:kinesis::123456789012:stream/s",
            "arn:aws:kinesis:eu-west-1:12345:stream/s",
            "arn:aws:firehose:eu-west-1:123456789012:stream/s",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/s/consumer/c:1",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
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

    #[test]
    fn answers_are_read_record_by_record() {
        let answer = br#"{"FailedRecordCount":3,"Records":[
            {"SequenceNumber":"1","ShardId":"shardId-000000000000"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"},
            {"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."},
            {"ErrorCode":"KMSThrottlingException"},
            {"ErrorCode":"SomethingNew","ErrorMessage":"?"},
            {"SequenceNumber":"2","ErrorCode":null},
            {}]}"#;
        let outcomes = outcomes(answer, 7).unwrap();
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Delivered => 'd',
                Outcome::Unavailable { .. } => 'u',
                Outcome::Failed { .. } => 'f',
                Outcome::Rejected { .. } => 'r',
            })
            .collect();
        assert_eq!(kinds, ['d', 'u', 'u', 'u', 'f', 'd', 'u']);
        let Outcome::Unavailable { error, .. } = &outcomes[1] else { unreachable!() };
        assert_eq!(error.to_string(), "PutRecords: ProvisionedThroughputExceededException: Rate exceeded");
    }

    #[test]
    fn answers_that_do_not_fit_say_nothing() {
        let one = br#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
        assert!(outcomes(one, 1).is_ok());
        for (answer, records) in [(&one[..], 0), (one, 2), (b"", 1), (b"{}", 1), (b"<html>", 1), (b"[]", 0)] {
            let error = outcomes(answer, records).unwrap_err();
            assert!(matches!(error.into_outcome(), Outcome::Unavailable { .. }));
        }
    }

    #[test]
    fn a_batch_of_other_limits_is_split_in_order() {
        let data: Vec<Vec<u8>> = (0..1201).map(|n: u32| n.to_string().into_bytes()).collect();
        let batch = Batch::from_records(data.iter().map(|data| NewRecord::new(data)));
        let (mut sizes, mut sent) = (Vec::new(), Vec::new());
        let report = rules(false).deliver(&batch, &mut |items| {
            sizes.push(items.len());
            sent.extend(items.iter().map(|item| item.data.to_vec()));
            Ok(vec![Outcome::Delivered; items.len()])
        });
        assert!(report.is_delivered());
        assert_eq!(sizes, [500, 500, 201]);
        assert_eq!(sent, data);
    }

    #[test]
    fn calls_keep_to_the_limit_of_bytes_and_oversize_is_rejected_alone() {
        let rules = builder("s").max_call_bytes(1000).max_record_bytes(1000).build().unwrap().rules;
        // Each counts its data and one byte of key.
        let sizes = [499, 499, 1000, 999, 0, 997];
        let data: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
        let batch = Batch::from_records(data.iter().map(|data| NewRecord::new(data).key(b"k")));
        let mut calls = Vec::new();
        let report = rules.deliver(&batch, &mut |items| {
            calls.push(items.iter().map(|item| item.data.len()).collect::<Vec<_>>());
            Ok(vec![Outcome::Delivered; items.len()])
        });
        assert_eq!(calls, [vec![499, 499], vec![999], vec![0, 997]]);
        let exceptions: Vec<_> = report.exceptions().collect();
        assert!(matches!(exceptions[..], [(2, Outcome::Rejected { .. })]), "{exceptions:?}");
    }

    #[test]
    fn a_throttled_shard_holds_up_only_its_own_records() {
        let keys = ["a", "b", "a", "b", "c"];
        let batch = Batch::from_records(keys.iter().map(|key| NewRecord::new(b"x").key(key.as_bytes())));
        let report = rules(false).deliver(&batch, &mut |items| {
            let one =
                |item: &&Entry<'_>| if item.key == "b" { unavailable().into_outcome() } else { Outcome::Delivered };
            Ok(items.iter().map(one).collect())
        });
        let left: Vec<_> = report.exceptions().map(|(index, _)| index).collect();
        assert_eq!(left, [1, 3]);
    }

    #[test]
    fn a_lost_connection_in_the_second_call_keeps_the_first() {
        let data = vec![b"x".to_vec(); 1200];
        let batch = Batch::from_records(data.iter().map(|data| NewRecord::new(data)));
        let mut calls = 0;
        let report = rules(false).deliver(&batch, &mut |items| {
            calls += 1;
            if calls == 2 { Err(unavailable()) } else { Ok(vec![Outcome::Delivered; items.len()]) }
        });
        assert_eq!(calls, 2, "no further call to a service that is away");
        assert_eq!(report.exceptions().count(), 700);
        assert!(matches!(report.outcome(499), Outcome::Delivered));
        assert!(matches!(report.outcome(500), Outcome::Unavailable { .. }));
    }

    /// The model of a stream that fails at random: the promise of `ordered`, and that nothing is lost, sent again
    /// without need, or kept waiting for another key.
    #[test]
    fn ordered_keeps_every_key_in_order_under_partial_failures() {
        let mut random = Random(17);
        for round in 0..300 {
            let records: Vec<(String, String)> = (0..random.below(40) + 1)
                .map(|n| (format!("k{}", random.below(1 + round % 7)), n.to_string()))
                .collect();
            let mut left: Vec<usize> = (0..records.len()).collect();
            let mut stream: Vec<usize> = Vec::new();
            for attempt in 0.. {
                let batch = Batch::from_records(
                    left.iter().map(|&n| NewRecord::new(records[n].1.as_bytes()).key(records[n].0.as_bytes())),
                );
                let report = rules(true).deliver(&batch, &mut |items| {
                    let keys: HashSet<_> = items.iter().map(|item| &item.key).collect();
                    assert_eq!(keys.len(), items.len(), "a key twice in a call");
                    if attempt < 20 && random.below(9) == 0 {
                        return Err(unavailable());
                    }
                    let mut one = |item: &&Entry<'_>| match attempt < 20 && random.below(3) == 0 {
                        true => unavailable().into_outcome(),
                        false => {
                            stream.push(left[item.index]);
                            Outcome::Delivered
                        }
                    };
                    Ok(items.iter().map(&mut one).collect())
                });
                left = report.exceptions().map(|(index, _)| left[index]).collect();
                if left.is_empty() {
                    break;
                }
            }
            let mut all = stream.clone();
            all.sort_unstable();
            assert_eq!(all, (0..records.len()).collect::<Vec<_>>(), "each once");
            for (key, _) in &records {
                let of_key: Vec<_> = stream.iter().filter(|&&n| records[n].0 == *key).collect();
                assert!(of_key.is_sorted(), "{key}: {of_key:?}");
            }
        }
    }

    #[test]
    fn ordered_goes_on_behind_a_rejected_record() {
        let records = [("a", "bad"), ("b", "1"), ("a", "2"), ("a", "3")];
        let batch =
            Batch::from_records(records.iter().map(|(key, data)| NewRecord::new(data.as_bytes()).key(key.as_bytes())));
        let refused = || CallError { fault: Fault::Refused, ..unavailable() };
        let report = rules(true).deliver(&batch, &mut |items| match items.iter().any(|item| item.data == b"bad") {
            true => Err(refused()),
            false => Ok(vec![Outcome::Delivered; items.len()]),
        });
        let exceptions: Vec<_> = report.exceptions().collect();
        assert!(matches!(exceptions[..], [(0, Outcome::Rejected { .. })]), "{exceptions:?}");
    }
}
