//! The accounts of a run with several threads: who was told what, what the sink was shown and what it answered.
//!
//! Guarded by a lock of the standard library, which no schedule sees: what is written here happens at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::options::{Durability, OnExhausted, Options, Order};
use crate::platform::simulated::Crash;
use crate::record::Record;
use crate::sink::{Outcome, Report, SendError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet, or an error that leaves it open.
    Nothing,
    Accepted,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Put {
    thread: usize,
    len: usize,
    told: Told,
    /// A power loss may not take it.
    durable: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    options: Options,
    puts: Vec<Put>,
    seqs: BTreeMap<u64, usize>,
    /// What each batch has left.
    batches: BTreeMap<String, Vec<u64>>,
    /// What it was first sent with.
    whole: BTreeMap<String, Vec<u64>>,
    at_sink: BTreeSet<String>,
    /// Finished in this run: it must not come again.
    finished: BTreeSet<u64>,
    delivered: BTreeSet<usize>,
    /// Records that were put again from a dead letter.
    replayed: bool,
    newest: u64,
    /// What each batch was last sent with.
    memos: BTreeMap<String, Option<Vec<u8>>>,
    memos_made: u64,
    /// The disk fails for good: a sink that keeps memos would send nothing.
    pub(super) no_memos: bool,
    untaken: u64,
    crashed: bool,
    lost_power: bool,
    violations: Vec<String>,
}

/// The record with this number.
pub(super) fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = (number as u64).to_le_bytes().to_vec();
    bytes.resize(8 + len, number as u8 ^ 0x5a);
    bytes
}

/// The key of the record with this payload.
pub(super) fn key(payload: &[u8]) -> [u8; 1] {
    [payload[0] % 3]
}

impl Ledger {
    pub(super) fn new(options: &Options) -> Self {
        Ledger { options: options.clone(), ..Ledger::default() }
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(super) fn verdict(&self) -> Result<(), String> {
        self.violations.first().map_or(Ok(()), |what| Err(what.clone()))
    }

    pub(super) fn begin_put(&mut self, thread: usize, len: usize) -> usize {
        self.puts.push(Put { thread, len, told: Told::Nothing, durable: false });
        self.puts.len() - 1
    }

    pub(super) fn end_put(&mut self, number: usize, told: Told, seq: Option<u64>, durable: bool) {
        self.puts[number].told = told;
        self.puts[number].durable |= durable;
        if let Some(seq) = seq {
            self.assign(seq, number);
        }
        if told == Told::Refused && self.seqs.values().any(|other| *other == number) {
            self.violate(format!("record {number} was sent, but its put was refused"));
        }
    }

    fn assign(&mut self, seq: u64, number: usize) {
        if let Some(other) = self.seqs.insert(seq, number).filter(|other| *other != number) {
            self.violate(format!("seq {seq} was given to record {other} and to record {number}"));
        }
    }

    /// What was accepted so far, for [`synced`](Self::synced) and [`flushed`](Self::flushed).
    pub(super) fn accepted(&self) -> Vec<usize> {
        (0..self.puts.len()).filter(|number| self.puts[*number].told == Told::Accepted).collect()
    }

    /// A sync that began after these were accepted has succeeded.
    pub(super) fn synced(&mut self, numbers: &[usize]) {
        numbers.iter().for_each(|number| self.puts[*number].durable = true);
    }

    /// A flush that began after these were accepted has succeeded.
    pub(super) fn flushed(&mut self, numbers: &[usize]) {
        for number in numbers {
            let finished = self.seqs.iter().any(|(seq, other)| other == number && self.finished.contains(seq));
            if !finished {
                self.violate(format!("a flush is over, but record {number} is not finished"));
            }
        }
    }

    /// Nobody had a reason to refuse a record.
    pub(super) fn all_accepted(&mut self) {
        if let Some(number) = self.puts.iter().position(|put| put.told == Told::Refused) {
            self.violate(format!("record {number} was refused"));
        }
    }

    pub(super) fn replaying(&mut self) {
        self.replayed = true;
    }

    // ------------------------------------------------------------------------------------------- the sink

    /// What is kept with a batch: with every second one, and another memo each time that it is asked for.
    pub(super) fn memo(&mut self, batch: &Batch) -> Option<Vec<u8>> {
        self.memos_made += 1;
        (!self.no_memos && batch.first_seq() % 2 == 1)
            .then(|| format!("{} {}", batch.id(), self.memos_made).into_bytes())
    }

    /// A batch arrives.
    pub(super) fn arrive(&mut self, batch: &Batch) {
        let id = batch.id();
        let memo = batch.memo().map(<[u8]>::to_vec);
        // A power loss may have taken it.
        if let Some(Some(known)) = self.memos.insert(id.clone(), memo.clone())
            && memo.as_ref() != Some(&known)
            && !self.lost_power
        {
            self.violate(format!("batch {id} comes with the memo {memo:?}, it had {known:?}"));
        }
        let mut seqs = Vec::new();
        for record in batch.iter() {
            let Some(number) = self.recognise(&record) else { continue };
            if self.puts[number].told == Told::Refused {
                self.violate(format!("record {number} is sent, but its put was refused"));
            }
            if self.finished.contains(&record.seq) {
                self.violate(format!("batch {id}: seq {} is sent again though it is finished", record.seq));
            }
            self.assign(record.seq, number);
            seqs.push(record.seq);
        }
        if seqs.is_empty() || !seqs.is_sorted_by(|one, other| one < other) {
            self.violate(format!("batch {id} comes with {seqs:?}"));
        }
        if !self.at_sink.insert(id.clone()) {
            self.violate(format!("batch {id} is sent twice at once"));
        }
        if self.at_sink.len() as u64 > self.options.max_in_flight {
            self.violate(format!("{:?} are sent at once", self.at_sink));
        }
        let first = seqs.first().copied().unwrap_or_default();
        match self.batches.get(&id) {
            Some(left) if *left != seqs && !self.crashed => {
                self.violate(format!("batch {id} comes back with {seqs:?} though {left:?} are left"));
            }
            Some(left) if seqs.iter().any(|seq| !left.contains(seq)) => {
                self.violate(format!("batch {id} comes back with {seqs:?}, it had {left:?}"));
            }
            Some(_) => {}
            None if self.options.max_in_flight == 1 && !self.crashed => {
                let unfinished = self.batches.iter().find(|(_, left)| !left.is_empty());
                if let Some((other, _)) = unfinished {
                    self.violate(format!("batch {id} is sent before batch {other} is finished"));
                }
                if first <= self.newest {
                    self.violate(format!("batch {id} begins at {first}, behind {}", self.newest));
                }
            }
            None => {}
        }
        if self.options.order == Order::Key && !self.crashed {
            self.check_keys(&id, &seqs);
        }
        self.newest = self.newest.max(seqs.last().copied().unwrap_or_default());
        self.whole.entry(id.clone()).or_insert_with(|| seqs.clone());
        self.batches.insert(id, seqs);
    }

    /// No record of a key is sent before an earlier one that is not finished.
    fn check_keys(&mut self, id: &str, seqs: &[u64]) {
        let key = |seq: &u64| self.seqs.get(seq).map(|number| number % 256 % 3);
        for seq in seqs {
            let is_held = |before: &&u64| !self.finished.contains(before) && !seqs.contains(before);
            let held =
                self.seqs.range(..seq).map(|(before, _)| before).filter(is_held).find(|before| key(before) == key(seq));
            if let Some(before) = held {
                let what = format!("batch {id}: seq {seq} is sent before seq {before} of its key is finished");
                return self.violate(what);
            }
        }
    }

    /// Looks at the bytes of a batch that is in somebody's hands.
    pub(super) fn look(&mut self, batch: &Batch) {
        for record in batch.iter() {
            self.recognise(&record);
        }
    }

    fn recognise(&mut self, record: &Record<'_>) -> Option<usize> {
        let number = record.data.first_chunk().map(|head| u64::from_le_bytes(*head) as usize);
        let known = number.filter(|number| {
            self.puts.get(*number).is_some_and(|put| {
                record.data.len() == put.len + 8 && record.data[8..].iter().all(|byte| *byte == *number as u8 ^ 0x5a)
            })
        });
        if known.is_none() {
            let begins = &record.data[..record.data.len().min(16)];
            self.violate(format!("seq {} is not what was put: {begins:?}", record.seq));
        }
        known
    }

    /// The sink has made up its mind.
    pub(super) fn answer(&mut self, batch: &Batch, answer: &Result<Report, SendError>) {
        let id = batch.id();
        let report = match answer {
            Ok(report) => report.clone(),
            Err(error) => Report::all(batch.len(), error.clone().into_outcome()),
        };
        let counts = (0..batch.len()).any(|at| matches!(report.outcome(at), Outcome::Failed { .. }));
        let last = u64::from(batch.attempt()) >= self.options.max_attempts;
        let given_up = counts && last && self.options.on_exhausted == OnExhausted::Skip;
        let mut left = Vec::new();
        for (at, record) in batch.iter().enumerate() {
            let finished = match report.outcome(at) {
                Outcome::Delivered => {
                    self.delivered.extend(self.seqs.get(&record.seq));
                    true
                }
                Outcome::Rejected { .. } => true,
                Outcome::Failed { .. } => given_up,
                Outcome::Unavailable { .. } => false,
            };
            if finished {
                self.finished.insert(record.seq);
            } else {
                left.push(record.seq);
            }
        }
        self.at_sink.remove(&id);
        self.batches.insert(id, left);
    }

    /// Manual mode: the answer was not taken, because the producer had been closed. The batch comes again.
    pub(super) fn not_taken(&mut self, batch: &Batch) {
        self.at_sink.remove(&batch.id());
        self.untaken += batch.len() as u64;
        let seqs: Vec<u64> = batch.iter().map(|record| record.seq).collect();
        self.finished.retain(|seq| !seqs.contains(seq));
        self.batches.insert(batch.id(), seqs);
    }

    // -------------------------------------------------------------------------------------- the end of it

    /// These accounts, but of puts only what was known before.
    pub(super) fn with_puts_of(mut self, before: &Ledger) -> Ledger {
        for (number, put) in self.puts.iter_mut().enumerate() {
            let known = before.puts.get(number).filter(|known| known.told == put.told);
            put.told = known.map_or(Told::Nothing, |known| known.told);
            put.durable = known.is_some_and(|known| known.durable);
        }
        self
    }

    /// The accounts as the next process finds them.
    pub(super) fn after(&self, crash: Crash) -> Ledger {
        let mut after = self.clone();
        after.crashed = true;
        after.lost_power |= crash == Crash::Power && self.options.durability != Durability::Always;
        after.options.max_in_flight = 1;
        after.at_sink.clear();
        // What was answered may not be noted. Then it comes again, in its batch as it was.
        after.finished.clear();
        after.batches = after.whole.clone();
        if crash == Crash::Power {
            for put in after.puts.iter_mut().filter(|put| !put.durable) {
                put.told = Told::Nothing;
            }
        }
        after
    }

    /// The buffer is drained; these are the dead letters. Every record must be accounted for.
    pub(super) fn account(&mut self, letters: &[Batch]) {
        let mut there = self.delivered.clone();
        for record in letters.iter().flat_map(Batch::iter) {
            there.extend(self.recognise(&record));
        }
        for (number, put) in self.puts.clone().into_iter().enumerate() {
            if put.told == Told::Accepted && !there.contains(&number) {
                self.violate(format!("LOST: record {number} of thread {}", put.thread));
            }
            if put.told == Told::Refused && there.contains(&number) {
                self.violate(format!("record {number} came out, but its put was refused"));
            }
        }
        if !self.replayed {
            let mut last = BTreeMap::new();
            for (seq, number) in self.seqs.clone() {
                let thread = self.puts[number].thread;
                if last.insert(thread, number).is_some_and(|before| before >= number) {
                    self.violate(format!("seq {seq} is record {number}, before which thread {thread} put another"));
                }
            }
        }
    }

    /// Records accepted that the sink does not have, or has and has not said so.
    pub(super) fn undelivered(&self) -> u64 {
        let undelivered = self.accepted().iter().filter(|number| !self.delivered.contains(number)).count();
        undelivered as u64 + self.untaken
    }
}
