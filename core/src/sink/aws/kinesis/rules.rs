//! From a batch to calls: the keys of each record, the limits of a call, the order of records of a key.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::request::{Entry, PUT_RECORDS};
use super::{MAX_KEY_CHARS, PartitionBy, is_hash_key};
use crate::batch::Batch;
use crate::record::NewRecord;
use crate::sink::net::delivery::{Delivery, Outcomes, split};
use crate::sink::net::failure::CallError;
use crate::sink::{Outcome, Report};

// The limits of PutRecords: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>.
pub(super) const MAX_RECORDS: usize = 500;

/// A rule of the user's own that gives a record a key.
pub(super) type KeyFn = dyn Fn(&NewRecord<'_>) -> String + Send + Sync;

/// What to do with records, apart from sending them.
pub(super) struct Rules {
    pub(super) partition: Partition,
    pub(super) hash: Hash,
    pub(super) ordered: bool,
    pub(super) max_call_bytes: u64,
    pub(super) max_record_bytes: u64,
}

pub(super) enum Partition {
    By(PartitionBy),
    Fixed(String),
    Rule(Arc<KeyFn>),
}

pub(super) enum Hash {
    None,
    Key,
    Fixed(String),
    Rule(Arc<KeyFn>),
}

impl Rules {
    /// The partition key and the explicit hash key of a record, or why there is none. `id` is the record's own,
    /// or the one that the buffer gave it.
    pub(super) fn keys<'a>(
        &'a self,
        record: &NewRecord<'a>,
        id: &'a str,
    ) -> Result<(Cow<'a, str>, Option<Cow<'a, str>>), String> {
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
    pub(super) fn counts_key(&self) -> bool {
        matches!(self.partition, Partition::By(PartitionBy::Key))
    }

    pub(super) fn check_bytes(&self, record: &NewRecord<'_>, key: &str) -> Result<(), String> {
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
    pub(super) fn deliver(&self, batch: &Batch, call: &mut dyn FnMut(&[&Entry<'_>]) -> Outcomes) -> Report {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::net::failure::Fault;

    /// The defaults.
    fn rules(ordered: bool) -> Rules {
        Rules {
            partition: Partition::By(PartitionBy::Key),
            hash: Hash::None,
            ordered,
            max_call_bytes: 10 << 20,
            max_record_bytes: 1 << 20,
        }
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
        let rules = Rules { max_call_bytes: 1000, max_record_bytes: 1000, ..rules(false) };
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
