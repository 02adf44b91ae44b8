//! Which records go to which partition.

use super::cluster::Known;
use super::identity::Memo;
use super::partition;
use super::record_batch::Numbering;
use crate::batch::Batch;

/// The longest name of a topic.
const MAX_TOPIC: usize = 249;

/// The records of a batch that go to one partition, in put order.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) topic: String,
    pub(super) partition: u32,
    /// Their places in the batch.
    pub(super) records: Vec<usize>,
    /// By what the broker knows them when they come again; `None`: numbers of the moment, which are taken when they are sent.
    pub(super) numbering: Option<Numbering>,
    /// Whether the numbers stand in the batch's memo.
    pub(super) is_kept: bool,
    /// Whether it was sent, and the answer does not say whether it is there.
    pub(super) unanswered: bool,
    /// Whether the broker did not take its numbers, so that it has others now.
    pub(super) was_renumbered: bool,
}

impl Group {
    pub(super) fn new(topic: String, partition: u32, numbering: Option<Numbering>) -> Self {
        let is_kept = numbering.is_some();
        let (unanswered, was_renumbered) = (false, false);
        Group { topic, partition, records: Vec::new(), numbering, is_kept, unanswered, was_renumbered }
    }

    /// The seqs of its records.
    pub(super) fn seqs(&self, batch: &Batch) -> Vec<u64> {
        self.records.iter().filter_map(|index| Some(batch.get(*index)?.seq)).collect()
    }

    /// A part of it, with numbers of the moment.
    pub(super) fn part(&self, records: Vec<usize>) -> Self {
        Group { records, ..Group::new(self.topic.clone(), self.partition, None) }
    }
}

/// Checks the name of a topic.
///
/// # Errors
/// Why there can be no such topic.
pub(super) fn check_topic(topic: &str) -> Result<(), String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match topic {
        "" => Err("it names no topic, and the sink has no option topic".into()),
        "." | ".." => Err(format!("{topic:?} is not the name of a topic")),
        _ if topic.len() > MAX_TOPIC => {
            Err(format!("its topic has {} bytes, more than the {MAX_TOPIC} that Kafka takes", topic.len()))
        }
        _ if !topic.bytes().all(is_good) => {
            Err(format!("its topic {topic:?} has more than letters, digits, . _ and -"))
        }
        _ => Ok(()),
    }
}

/// The topics of a batch's records, each once, in the order in which they come.
pub(super) fn topics(batch: &Batch, default: &str) -> Vec<String> {
    let mut topics: Vec<String> = Vec::new();
    for record in batch.iter() {
        let topic = record.topic.unwrap_or(default);
        // Most batches have one topic.
        if topics.last().is_none_or(|last| last != topic)
            && !topics.iter().any(|known| known == topic)
            && check_topic(topic).is_ok()
        {
            topics.push(topic.to_owned());
        }
    }
    topics
}

/// What [`divide`] makes of a batch.
#[derive(Debug, Default)]
pub(super) struct Divided {
    pub(super) groups: Vec<Group>,
    /// Records whose topic there is not now.
    pub(super) homeless: Vec<(usize, String)>,
    /// Records that can go to no topic, and why.
    pub(super) bad: Vec<(usize, String)>,
}

/// Divides a batch among partitions: as its memo says, if it has one that still holds, or else as the cluster is now.
pub(super) fn divide(batch: &Batch, default: &str, memo: Option<&Memo>, known: &Known) -> Divided {
    struct Home {
        topic: String,
        partitions: Option<u32>,
        numbering: Option<Numbering>,
        /// The group of each partition.
        groups: Vec<Option<usize>>,
    }
    let mut divided = Divided::default();
    let mut homes: Vec<Home> = Vec::new();
    let keyless = batch.id();
    for (index, record) in batch.iter().enumerate() {
        let topic = record.topic.unwrap_or(default);
        if let Err(why) = check_topic(topic) {
            divided.bad.push((index, why));
            continue;
        }
        let at = homes.iter().rposition(|home| home.topic == topic).unwrap_or_else(|| {
            let now = known.partitions(topic);
            let then = memo.and_then(|memo| memo.partitions(topic));
            // A topic with fewer partitions than it had was deleted and made again.
            let holds = then.is_some_and(|then| now.is_none_or(|now| then <= now));
            let partitions = if holds { then } else { now };
            let numbering = memo.filter(|_| holds).map(|memo| memo.numbering);
            let groups = vec![None; partitions.unwrap_or(0) as usize];
            homes.push(Home { topic: topic.to_owned(), partitions, numbering, groups });
            homes.len() - 1
        });
        let home = &mut homes[at];
        let Some(partitions) = home.partitions else {
            divided.homeless.push((index, home.topic.clone()));
            continue;
        };
        let partition = match record.key {
            Some(key) => partition::of_key(key, partitions),
            None => partition::of_batch(&keyless, partitions),
        };
        let group = *home.groups[partition as usize].get_or_insert_with(|| {
            let (topic, numbering) = (home.topic.clone(), home.numbering);
            divided.groups.push(Group::new(topic, partition, numbering));
            divided.groups.len() - 1
        });
        divided.groups[group].records.push(index);
    }
    divided
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::messages::{Metadata, Topic};
    use super::*;
    use crate::record::NewRecord;

    fn known(topics: &[(&str, usize)]) -> Known {
        let topic = |count: &usize| Topic { code: 0, leaders: vec![Ok(1); *count] };
        let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), topic(count))).collect();
        Known { metadata: Arc::new(Metadata { topics, ..Metadata::default() }), at: None, number: 1 }
    }

    fn batch() -> Batch {
        let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("k{n}").into_bytes()).collect();
        let keyed = keys.iter().map(|key| NewRecord::new(b"x").key(key));
        let others = [NewRecord::new(b"y"), NewRecord::new(b"y").topic("other"), NewRecord::new(b"z").topic("b a d")];
        Batch::from_records(keyed.chain(others))
    }

    #[test]
    fn every_record_goes_somewhere_in_its_order() {
        let batch = batch();
        let divided = divide(&batch, "t", None, &known(&[("t", 3)]));
        let mut all: Vec<usize> = divided.groups.iter().flat_map(|group| group.records.clone()).collect();
        assert!(divided.groups.iter().all(|group| group.records.is_sorted() && group.topic == "t"));
        assert_eq!(divided.groups.len(), 3);
        all.sort_unstable();
        assert_eq!(all, (0..21).collect::<Vec<_>>());
        assert_eq!(divided.homeless, [(21, "other".to_owned())]);
        assert_eq!(divided.bad.len(), 1);
        assert_eq!(topics(&batch, "t"), ["t", "other"]);
        assert_eq!(topics(&batch, ""), ["other"]);
    }

    #[test]
    fn what_comes_again_goes_where_it_went() {
        let batch = batch();
        let numbering = Numbering { producer_id: 1, epoch: 1 };
        let memo = Memo::new(numbering, 0, 0, &[("t", 3)]);
        let before = divide(&batch, "t", Some(&memo), &known(&[("t", 3)]));
        // More partitions, and a topic of which nothing is known now.
        for now in [known(&[("t", 30)]), known(&[])] {
            let again = divide(&batch, "t", Some(&memo), &now);
            for (a, b) in before.groups.iter().zip(&again.groups) {
                assert_eq!((a.partition, &a.records, a.numbering), (b.partition, &b.records, b.numbering));
                assert_eq!(a.numbering, Some(numbering));
            }
        }
        let fewer = divide(&batch, "t", Some(&memo), &known(&[("t", 2)]));
        assert!(fewer.groups.iter().all(|group| group.partition < 2 && group.numbering.is_none()));
        let other = divide(&batch, "t", Some(&memo), &known(&[("t", 3), ("other", 1)]));
        let new = other.groups.iter().find(|group| group.topic == "other").unwrap();
        assert_eq!((new.numbering, &new.records[..]), (None, &[21][..]));
    }

    #[test]
    fn names_of_topics() {
        for good in ["a", "a.b_c-D9", &"x".repeat(249)] {
            check_topic(good).unwrap();
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            check_topic(bad).unwrap_err();
        }
    }
}
