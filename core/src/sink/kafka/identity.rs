//! Once: by which numbers a broker knows a batch when it comes again, and what is kept of them.
//!
//! A broker remembers, for each partition, of each producer id the epoch that wrote last and the first and last sequence number of
//! its last five batches, and takes none of them twice. It forgets what earlier epochs wrote when a later one comes,
//! whose numbers begin at 0. So every batch of ours has an epoch of its own, and for each partition one batch of Kafka's
//! from number 0 on. No batch depends on what became of the one before it: a dead letter leaves no gap.
//!
//! - The epoch is raised without asking anybody, as the Java client does after an error. A new producer id is asked for when an id has
//!   no epochs left, when a process begins, and when a batch that is not finished keeps its own.
//! - What a batch needs to be sent again as it was is in its memo ([`Memo`]): the producer id, the epoch, and how many
//!   partitions its topics had, from which follows what goes to which. Of the records of a partition all or none are
//!   finished, so that those that come again are the same.
//! - An id is used again only by the thread that delivered its last batch, in the same buffer: that thread has then told the buffer so, and
//!   the memo of its next batch is written together with that. Another thread might be killed in between: then the first batch would
//!   come again after a later epoch of its id.
//! - What has no numbers in a memo (a part of a batch that the broker finds too large, a topic that was not known) has numbers of the moment
//!   ([`Numbers::fresh`]): once while the process lives, which remembers those whose answer did not come ([`Numbers::remember`]).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::record_batch::Numbering;
use crate::checksum::crc32c;
use crate::limits::MAX_MEMO_BYTES;
use crate::sink::net::failure::CallError;

/// What a memo begins with, so that no other sink's is taken for one.
const MAGIC: &[u8; 6] = b"kafka1";
/// The bytes of a memo before its topics.
const HEAD: usize = MAGIC.len() + 4 + 8 + 2 + 8;
/// The bytes that a memo has for a topic.
const TOPIC: usize = 8;
/// So many topics a memo has room for.
pub(super) const MOST_TOPICS: usize = (MAX_MEMO_BYTES - HEAD) / TOPIC;

/// So many threads may have an id waiting for them. In mode `inline` each thread of the program may be one.
const MOST_THREADS: usize = 256;

/// So many batches may be numbered and not yet sent. Of one that is forgotten here it is said that it may be there.
const MOST_UNUSED: usize = 4096;

/// What is kept with a batch before anything of it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memo {
    pub(super) numbering: Numbering,
    /// Which cluster gave the producer id.
    pub(super) cluster: u32,
    /// When, in milliseconds since the epoch.
    pub(super) made_at: i64,
    /// How many partitions a topic has, by [`hash`] of its name.
    topics: Vec<(u32, u32)>,
}

/// A topic or a cluster, in four bytes.
pub(super) fn hash(name: &str) -> u32 {
    crc32c(name.as_bytes())
}

impl Memo {
    /// Takes as many topics as it has room for; of two that have the same hash none.
    pub(super) fn new(numbering: Numbering, cluster: u32, made_at: i64, topics: &[(&str, u32)]) -> Self {
        let mut topics: Vec<_> = topics.iter().map(|(name, partitions)| (hash(name), *partitions)).collect();
        let all = topics.clone();
        topics.retain(|(this, _)| all.iter().filter(|(other, _)| other == this).count() == 1);
        topics.truncate(MOST_TOPICS);
        Memo { numbering, cluster, made_at, topics }
    }

    /// How many partitions a topic had when the batch was numbered.
    pub(super) fn partitions(&self, topic: &str) -> Option<u32> {
        let hash = hash(topic);
        self.topics.iter().find(|(known, _)| *known == hash).map(|(_, partitions)| *partitions)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + TOPIC * self.topics.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        bytes.extend_from_slice(&self.numbering.producer_id.to_le_bytes());
        bytes.extend_from_slice(&self.numbering.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.made_at.to_le_bytes());
        for (hash, partitions) in &self.topics {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&partitions.to_le_bytes());
        }
        bytes
    }

    /// The memo of these bytes; `None` if they are another sink's.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (cluster, rest) = rest.split_first_chunk()?;
        let (producer_id, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (made_at, rest) = rest.split_first_chunk()?;
        let (topics, []) = rest.as_chunks::<TOPIC>() else { return None };
        let half = |topic: &[u8; TOPIC], at: usize| {
            u32::from_le_bytes([topic[at], topic[at + 1], topic[at + 2], topic[at + 3]])
        };
        let numbering = Numbering { producer_id: i64::from_le_bytes(*producer_id), epoch: i16::from_le_bytes(*epoch) };
        if numbering.producer_id < 0 || numbering.epoch < 0 {
            return None;
        }
        Some(Memo {
            numbering,
            cluster: u32::from_le_bytes(*cluster),
            made_at: i64::from_le_bytes(*made_at),
            topics: topics.iter().map(|topic| (half(topic, 0), half(topic, 4))).collect(),
        })
    }
}

/// Whose turn an id is: of a thread, and a buffer.
type Owner = (ThreadId, u64);

/// Records that went to a partition together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Together {
    buffer: u64,
    partition: u32,
    first: u64,
    count: usize,
    /// Of the seqs of all.
    sum: u32,
}

impl Together {
    /// `seqs` of at least one record.
    pub(super) fn new(buffer: u64, partition: u32, seqs: &[u64]) -> Self {
        let bytes: Vec<u8> = seqs.iter().flat_map(|seq| seq.to_le_bytes()).collect();
        let first = seqs.first().copied().unwrap_or_default();
        Together { buffer, partition, first, count: seqs.len(), sum: crc32c(&bytes) }
    }

    fn place(&self) -> (u64, u32, u64) {
        (self.buffer, self.partition, self.first)
    }
}

/// The producer ids of this process that wait for their next batch.
#[derive(Default)]
pub(super) struct Numbers {
    /// With the cluster that gave them.
    kept: Mutex<HashMap<Owner, (u32, Numbering)>>,
    fresh: Mutex<HashMap<ThreadId, (u32, Numbering)>>,
    /// Those under which nothing can have been taken yet.
    unused: Mutex<HashSet<(i64, i16)>>,
    /// Numbers of the moment under which something may have been taken, and which cluster gave them; by where it begins.
    unanswered: Mutex<HashMap<(u64, u32, u64), (Together, u32, Numbering)>>,
}

impl Numbers {
    /// Numbers for a batch, which go into its memo; `ask` gives a new producer id.
    pub(super) fn take(
        &self,
        buffer: u64,
        cluster: u32,
        ask: impl FnOnce() -> Result<(i64, i16), CallError>,
    ) -> Result<Numbering, CallError> {
        let waiting = lock(&self.kept).remove(&(std::thread::current().id(), buffer));
        let numbering = match waiting.filter(|(of, _)| *of == cluster) {
            Some((_, numbering)) => numbering,
            None => ask().map(|(producer_id, epoch)| Numbering { producer_id, epoch })?,
        };
        self.is_unused(numbering);
        Ok(numbering)
    }

    /// Nothing can have been taken under these numbers.
    pub(super) fn is_unused(&self, numbering: Numbering) {
        let mut unused = lock(&self.unused);
        if unused.len() >= MOST_UNUSED {
            unused.clear();
        }
        unused.insert((numbering.producer_id, numbering.epoch));
    }

    /// Begins an attempt under these numbers. Returns whether something can have been taken under them before.
    pub(super) fn begin(&self, numbering: Numbering) -> bool {
        !lock(&self.unused).remove(&(numbering.producer_id, numbering.epoch))
    }

    /// The batch that had these numbers is finished.
    pub(super) fn give_back(&self, buffer: u64, cluster: u32, numbering: Numbering) {
        let Some(next) = following(numbering) else { return };
        let mut kept = lock(&self.kept);
        if kept.len() >= MOST_THREADS {
            kept.clear();
        }
        kept.insert((std::thread::current().id(), buffer), (cluster, next));
    }

    /// Numbers of the moment, which nothing had before.
    pub(super) fn fresh(
        &self,
        cluster: u32,
        ask: impl FnOnce() -> Result<(i64, i16), CallError>,
    ) -> Result<Numbering, CallError> {
        let owner = std::thread::current().id();
        let waiting = lock(&self.fresh).remove(&owner).filter(|(of, _)| *of == cluster);
        let numbering = match waiting {
            Some((_, numbering)) => numbering,
            None => ask().map(|(producer_id, epoch)| Numbering { producer_id, epoch })?,
        };
        if let Some(next) = following(numbering) {
            let mut fresh = lock(&self.fresh);
            if fresh.len() >= MOST_THREADS {
                fresh.clear();
            }
            fresh.insert(owner, (cluster, next));
        }
        Ok(numbering)
    }

    /// The answer to what went under these numbers of the moment did not come. No later epoch of their id is used: after that, the
    /// broker would not know them any more.
    pub(super) fn remember(&self, what: Together, cluster: u32, numbering: Numbering) {
        lock(&self.fresh).retain(|_, (_, next)| next.producer_id != numbering.producer_id);
        let mut unanswered = lock(&self.unanswered);
        if unanswered.len() >= MOST_UNUSED {
            unanswered.clear();
        }
        unanswered.insert(what.place(), (what, cluster, numbering));
    }

    /// What became of this is known.
    pub(super) fn forget(&self, what: Together) {
        lock(&self.unanswered).remove(&what.place());
    }

    /// How many of these records, from the first on, went together without an answer, and under which numbers. The records behind them
    /// were not sent then.
    pub(super) fn remembered(
        &self,
        cluster: u32,
        buffer: u64,
        partition: u32,
        seqs: &[u64],
    ) -> Option<(usize, Numbering)> {
        let place = (buffer, partition, *seqs.first()?);
        let (what, of, numbering) = *lock(&self.unanswered).get(&place)?;
        let same = Together::new(buffer, partition, seqs.get(..what.count)?) == what;
        (of == cluster && same).then_some((what.count, numbering))
    }
}

/// The next epoch of a producer id, if it has one.
fn following(numbering: Numbering) -> Option<Numbering> {
    Some(Numbering { epoch: numbering.epoch.checked_add(1)?, ..numbering })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn of(producer_id: i64, epoch: i16) -> Numbering {
        Numbering { producer_id, epoch }
    }

    #[test]
    fn a_memo_comes_back_as_it_was() {
        let memo = Memo::new(of(7, 3), 9, 1234, &[("a", 3), ("b", 1000)]);
        let bytes = memo.encode();
        assert_eq!(Memo::decode(&bytes), Some(memo.clone()));
        assert_eq!((memo.partitions("a"), memo.partitions("b"), memo.partitions("c")), (Some(3), Some(1000), None));
        for len in 0..bytes.len() {
            // Cut at a topic it is one of fewer topics, which no disk does to it.
            if len < HEAD || !(len - HEAD).is_multiple_of(TOPIC) {
                assert_eq!(Memo::decode(&bytes[..len]), None, "{len}");
            }
        }
        assert_eq!(Memo::decode(b"another sink's"), None);
        assert_eq!(Memo::decode(&Memo::new(of(-1, 3), 9, 0, &[]).encode()), None);
    }

    #[test]
    fn a_memo_has_room_for_so_many_topics_and_no_more() {
        let names: Vec<String> = (0..MOST_TOPICS + 100).map(|n| format!("topic-{n}")).collect();
        let topics: Vec<_> = names.iter().map(|name| (&name[..], 2)).collect();
        let memo = Memo::new(of(1, 1), 0, 0, &topics);
        assert!(memo.encode().len() <= MAX_MEMO_BYTES && memo.encode().len() > MAX_MEMO_BYTES - TOPIC);
        let known = names.iter().filter(|name| memo.partitions(name).is_some()).count();
        assert_eq!(known, MOST_TOPICS);
        // Of two names that are the same in four bytes, neither is believed.
        assert_eq!(Memo::new(of(1, 1), 0, 0, &[("a", 1), ("a", 2), ("b", 3)]).topics, [(hash("b"), 3)]);
    }

    #[test]
    fn an_id_is_used_again_by_its_thread_when_its_batch_is_finished() {
        let numbers = Numbers::default();
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            Ok((asked.get(), 0))
        };
        let first = numbers.take(1, 9, ask).unwrap();
        assert_eq!(first, of(1, 0));
        // Not finished: the next batch has another id.
        assert_eq!(numbers.take(1, 9, ask).unwrap(), of(2, 0));
        numbers.give_back(1, 9, first);
        assert_eq!(numbers.take(1, 9, ask).unwrap(), of(1, 1));
        // Another buffer, another cluster, another thread, and an id that has no epoch left.
        numbers.give_back(1, 9, of(1, 1));
        assert_eq!(numbers.take(2, 9, ask).unwrap(), of(3, 0));
        assert_eq!(numbers.take(1, 8, ask).unwrap(), of(4, 0));
        numbers.give_back(1, 9, of(1, 1));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| numbers.take(1, 9, || Ok((100, 0))).unwrap());
            assert_eq!(other.join().unwrap(), of(100, 0));
        });
        numbers.give_back(1, 9, of(1, i16::MAX));
        assert_eq!(numbers.take(1, 9, ask).unwrap(), of(1, 2));
    }

    #[test]
    fn what_went_without_an_answer_comes_again_under_its_numbers() {
        let numbers = Numbers::default();
        let ask = || Ok((5, 0));
        let given = numbers.fresh(1, ask).unwrap();
        numbers.remember(Together::new(7, 2, &[3, 4, 9]), 1, given);
        // A later epoch of the id would make the broker forget it.
        assert_eq!(numbers.fresh(1, || Ok((6, 0))).unwrap(), of(6, 0));
        assert_eq!(numbers.remembered(1, 7, 2, &[3, 4, 9]), Some((3, given)));
        assert_eq!(numbers.remembered(1, 7, 2, &[3, 4, 9, 10, 11]), Some((3, given)));
        for (cluster, buffer, partition, seqs) in [
            (2, 7, 2, &[3, 4, 9][..]),
            (1, 8, 2, &[3, 4, 9]),
            (1, 7, 1, &[3, 4, 9]),
            (1, 7, 2, &[4, 9]),
            (1, 7, 2, &[3, 4]),
            (1, 7, 2, &[3, 5, 9]),
            (1, 7, 2, &[]),
        ] {
            assert_eq!(numbers.remembered(cluster, buffer, partition, seqs), None, "{seqs:?}");
        }
        numbers.forget(Together::new(7, 2, &[3, 4, 9]));
        assert_eq!(numbers.remembered(1, 7, 2, &[3, 4, 9]), None);
    }

    #[test]
    fn numbers_of_the_moment_never_come_twice() {
        let numbers = Numbers::default();
        let mut seen = Vec::new();
        for n in 0..5 {
            let given = numbers.fresh(u32::from(n == 4), || Ok((n, i16::MAX - 1))).unwrap();
            assert!(!seen.contains(&given));
            seen.push(given);
        }
        assert_eq!(
            seen,
            [of(0, i16::MAX - 1), of(0, i16::MAX), of(2, i16::MAX - 1), of(2, i16::MAX), of(4, i16::MAX - 1)]
        );
    }
}
