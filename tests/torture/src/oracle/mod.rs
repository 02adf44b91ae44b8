//! What must be true of a producer, kept beside it: who was told what, and what follows from that.

mod accounting;
mod mood;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(crate) use mood::{Extras, Fate, Mood, key_of, payload};

use crate::batch::Batch;
use crate::options::{Durability, NEVER, OnExhausted, OnExpired, Options, Order, WhenFull};
use crate::platform::simulated::Crash;
use crate::record::NewRecord;
use crate::sink::{Framing, Report, SendError};

/// What a caller of `put` was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing: the process died first, or the error left it open.
    Nothing,
    Accepted,
    Refused,
}

#[derive(Clone, Debug)]
struct Put {
    told: Told,
    len: usize,
    at: Duration,
    /// By the wall clock.
    created_at: i64,
    durable: bool,
    /// The sink said that it has it.
    delivered: bool,
    /// A power loss may have taken it.
    excused: bool,
    /// It is in a dead letter.
    buried: bool,
    /// A power loss came while its file was not synced: it may be missing there, or twice.
    loose: bool,
}

/// A `FileSink` that takes the batches: the oracle does not answer for it, but knows what must be in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) framing: Framing,
    pub(crate) sync: bool,
}

/// How far a seq got in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Offered,
    /// The sink answered finally for it, or it was given up on.
    Answered,
    /// And the producer has noted that, at this time, where the death of the process does not take it.
    Noted(Duration),
    /// Nor does a power loss.
    Kept,
}

impl Stage {
    fn is_noted(self) -> bool {
        matches!(self, Stage::Noted(_) | Stage::Kept)
    }
}

/// What is known to be true. Every snapshot of the disk has a clone of it.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    puts: Vec<Put>,
    seqs: BTreeMap<u64, (usize, Stage)>,
    /// What each batch was first offered with.
    batches: BTreeMap<String, Vec<u64>>,
    /// The batch that the sink has not finished in this run.
    at_sink: Option<String>,
    /// The highest seq that was offered, of each lane.
    highest: BTreeMap<Option<u32>, u64>,
    pub(crate) mood: Mood,
    pub(crate) target: Option<Target>,
    options: Options,
    /// The disk fails at times: what the producer has noted may not be on it.
    faulty: bool,
    /// There may be no room to note what was answered, or to bury what was given up.
    pub(crate) tight: bool,
    /// A power loss has been: records and seals that were not durable may be missing.
    lossy: bool,
    /// Batches that had been shown to a sink may come back divided in another way.
    divided: bool,
    /// Records that a replay has put again and not made durable yet. Their letters are still there.
    copies_at_risk: u64,
    /// The most records and bytes that a batch could have in any run so far.
    most_records: u64,
    most_bytes: u64,
    violations: Vec<String>,
    /// What each batch was last offered with.
    memos: BTreeMap<String, Option<Vec<u8>>>,
    memos_made: u64,
    /// The latest that the wall clock was when something may have expired.
    latest: i64,
    /// Records that were told of as expired and dropped.
    expired: u64,
    /// There may be more, of which a crash kept the producer from telling.
    expired_untold: u64,
    /// Where the disk takes nothing, a sink that keeps memos sends nothing.
    pub(crate) keeps_memos: bool,
    pub(crate) offers: u64,
    pub(crate) duplicates: u64,
}

impl Oracle {
    pub(crate) fn new(options: &Options, faulty: bool) -> Self {
        Oracle {
            puts: Vec::new(),
            seqs: BTreeMap::new(),
            batches: BTreeMap::new(),
            at_sink: None,
            highest: BTreeMap::new(),
            mood: Mood::Good,
            target: None,
            options: options.clone(),
            faulty,
            tight: options.max_dead_letter_bytes < 1 << 20,
            lossy: false,
            divided: false,
            copies_at_risk: 0,
            most_records: options.max_records,
            most_bytes: options.max_bytes,
            violations: Vec::new(),
            memos: BTreeMap::new(),
            memos_made: 0,
            latest: i64::MIN,
            expired: 0,
            expired_untold: 0,
            keeps_memos: true,
            offers: 0,
            duplicates: 0,
        }
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// The first thing that was not as it must be.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        self.violations.first().map_or(Ok(()), |what| Err(what.clone()))
    }

    // ---------------------------------------------------------------------------------------------- puts

    fn has_lines(&self) -> bool {
        self.target.is_some_and(|target| target.framing == Framing::Lines)
    }

    /// What is put as number `number`. A line holds no newline, not in its number either.
    pub(crate) fn payload(&self, number: usize, len: usize) -> Vec<u8> {
        let mut bytes = payload(number, len);
        if self.has_lines() {
            bytes[..8].copy_from_slice(format!("{number:08}").as_bytes());
            bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
        bytes
    }

    /// Which put these bytes are of.
    fn number_of(&self, data: &[u8]) -> Option<usize> {
        let head = data.first_chunk()?;
        let number = match self.has_lines() {
            true => std::str::from_utf8(head).ok()?.parse().ok()?,
            false => u64::from_le_bytes(*head) as usize,
        };
        let put = self.puts.get(number)?;
        (data == self.payload(number, put.len)).then_some(number)
    }

    /// A put begins. Returns its number.
    pub(crate) fn begin_put(&mut self, len: usize, now: Duration, wall: i64) -> usize {
        self.puts.push(Put {
            told: Told::Nothing,
            len,
            at: now,
            created_at: wall,
            durable: false,
            delivered: false,
            excused: false,
            buried: false,
            loose: false,
        });
        self.puts.len() - 1
    }

    pub(crate) fn end_put(&mut self, number: usize, accepted: Result<Option<u64>, ()>) {
        let put = &mut self.puts[number];
        match accepted {
            Ok(seq) => {
                put.told = Told::Accepted;
                // An error that left the record in the log says nothing of its durability.
                put.durable |= seq.is_some() && self.options.durability == Durability::Always;
                if let Some(seq) = seq {
                    self.assign(seq, number);
                }
            }
            Err(()) => {
                put.told = Told::Refused;
                if self.seqs.values().any(|(other, _)| *other == number) {
                    self.violate(format!("record {number} was sent, but its put was refused"));
                }
            }
        }
    }

    fn assign(&mut self, seq: u64, number: usize) {
        match self.seqs.get(&seq) {
            Some((other, _)) if *other != number => {
                self.violate(format!("seq {seq} was given to record {other} and again to record {number}"));
            }
            Some(_) => {}
            None => {
                self.seqs.insert(seq, (number, Stage::Offered));
            }
        }
    }

    /// A sync has succeeded: what was accepted or noted at `until` or before is durable.
    pub(crate) fn synced(&mut self, until: Duration) {
        for put in &mut self.puts {
            put.durable |= put.told == Told::Accepted && put.at <= until;
        }
        for (_, stage) in self.seqs.values_mut() {
            if matches!(stage, Stage::Noted(at) if *at <= until) {
                *stage = Stage::Kept;
            }
        }
    }

    /// The buffer is open: what the process before left is durable, unless the mode asks for nothing.
    pub(crate) fn opened(&mut self) {
        if self.options.durability != Durability::Os {
            self.interval_over(Duration::MAX);
        }
    }

    pub(crate) fn begin_replay(&mut self, records: usize) {
        self.copies_at_risk += records as u64;
    }

    /// All that a replay has put is durable.
    pub(crate) fn end_replay(&mut self) {
        self.copies_at_risk = 0;
    }

    /// The maintenance thread had its turn: what was accepted at `until` or before is durable, unless the disk fails.
    pub(crate) fn interval_over(&mut self, until: Duration) {
        if !self.faulty {
            self.synced(until);
        }
    }

    /// A step of the workload went by without a crash: what was answered in it is noted.
    pub(crate) fn noted(&mut self, now: Duration) {
        if !self.faulty && !self.tight {
            for (_, stage) in self.seqs.values_mut() {
                if *stage == Stage::Answered {
                    *stage = Stage::Noted(now);
                }
            }
        }
    }

    // -------------------------------------------------------------------------------------------- the sink

    /// A batch arrives at the sink, which answers.
    pub(crate) fn send(&mut self, batch: &Batch, wall: i64) -> Result<Report, SendError> {
        self.offered(batch, wall);
        let fates = self.mood.fates(batch.first_seq(), batch.id.lane, batch.progress.failures, batch.len());
        // Where all records have the same outcome, answer for the batch as a whole, as real sinks do.
        let answer = match fates.first() {
            Some(Fate::Failed) if fates.iter().all(|fate| *fate == Fate::Failed) => {
                Err(SendError::failed("refused by the oracle"))
            }
            Some(Fate::Unavailable) if fates.iter().all(|fate| *fate == Fate::Unavailable) => {
                Err(SendError::unavailable("down"))
            }
            _ => Ok(fates.iter().enumerate().fold(Report::delivered(), |report, (at, fate)| match fate {
                Fate::Delivered => report,
                Fate::Failed => report.failed(at, "not this time"),
                Fate::Unavailable => report.unavailable(at, "throttled", None),
                Fate::Rejected => report.rejected(at, "never"),
            })),
        };
        self.answered(batch, &answer);
        answer
    }

    /// The memo of a batch that has none: of every third one, and another each time that it is asked for.
    pub(crate) fn prepared(&mut self, batch: &Batch) -> Option<Vec<u8>> {
        self.memos_made += 1;
        (self.keeps_memos && batch.first_seq() % 3 == 1)
            .then(|| format!("{} {}", batch.id(), self.memos_made).into_bytes())
    }

    /// What was kept before the first attempt comes with every later one. A power loss may take it, as it may take what was
    /// not synced, but under `always`.
    fn check_memo(&mut self, batch: &Batch) {
        let (id, memo) = (batch.id(), batch.memo().map(<[u8]>::to_vec));
        let excused = self.faulty || (self.lossy && self.options.durability != Durability::Always);
        match self.memos.insert(id.clone(), memo.clone()) {
            Some(known) if known.is_some() && known != memo && !excused => {
                self.violate(format!("batch {id} has the memo {memo:?}, and had {known:?}"));
            }
            _ => {}
        }
    }

    pub(crate) fn offered(&mut self, batch: &Batch, wall: i64) {
        self.offers += 1;
        self.check_memo(batch);
        self.latest = self.latest.max(wall);
        let id = batch.id();
        let mut seqs = Vec::with_capacity(batch.len());
        for record in batch.iter() {
            if seqs.last().is_some_and(|last| *last >= record.seq) {
                self.violate(format!("batch {id}: seq {} comes behind {:?}", record.seq, seqs.last()));
            }
            let Some(number) = self.recognise(&record) else { continue };
            if self.puts[number].told == Told::Refused {
                self.violate(format!("record {number} is sent, but its put was refused"));
            }
            if self.is_expired(record.created_at, number, wall) {
                self.violate(format!("batch {id}: seq {} is sent though it has expired", record.seq));
            }
            match self.seqs.get(&record.seq).copied() {
                Some((_, stage)) if stage.is_noted() => {
                    self.violate(format!("batch {id}: seq {} is sent again though it is finished", record.seq));
                }
                Some((_, Stage::Answered)) => self.duplicates += 1,
                _ => {}
            }
            self.assign(record.seq, number);
            seqs.push(record.seq);
        }
        if seqs.is_empty() {
            self.violate(format!("batch {id} has no records"));
        }
        if seqs.len() as u64 > self.most_records {
            self.violate(format!("batch {id} has {} records; {} are the most", seqs.len(), self.most_records));
        }
        let bytes: usize = batch.iter().map(|record| record.data.len()).sum();
        if bytes as u64 > self.most_bytes && seqs.len() > 1 {
            self.violate(format!("batch {id} has {bytes} bytes; {} are the most", self.most_bytes));
        }
        // In put order: a batch that is offered for the first time begins after all that was offered before.
        match self.batches.get(&id) {
            None => {
                // A lane has an order of its own, unless what was not divided came between.
                let lane = batch.id.lane;
                let before = |(other, _): &(&Option<u32>, _)| lane.is_none() || other.is_none() || **other == lane;
                let highest = self.highest.iter().filter(before).map(|(_, seq)| *seq).max().unwrap_or(0);
                if seqs.first().is_some_and(|first| *first <= highest) && !self.overlaps_whole_batches(&seqs) {
                    self.violate(format!("batch {id} begins at seq {:?}, behind {highest}", seqs.first()));
                }
                self.batches.insert(id.clone(), seqs.clone());
            }
            Some(known) => {
                let stranger = seqs.iter().find(|seq| !known.contains(seq));
                let missing = known.iter().find(|seq| !seqs.contains(seq) && !self.may_miss(**seq));
                let wrong =
                    stranger.or(missing).map(|seq| format!("batch {id} came back with other contents at {seq}"));
                self.violations.extend(wrong);
            }
        }
        let highest = self.highest.entry(batch.id.lane).or_default();
        *highest = (*highest).max(seqs.last().copied().unwrap_or_default());
        self.check_keys(&id, &seqs);
        if !self.faulty
            && self.options.max_in_flight == 1
            && let Some(other) = &self.at_sink
            && *other != id
        {
            let other = other.clone();
            self.violate(format!("batch {id} is sent before batch {other} is finished"));
        }
        self.at_sink = Some(id);
    }

    /// No record of a key goes out before an earlier one that is not finished.
    fn check_keys(&mut self, id: &str, seqs: &[u64]) {
        if self.faulty || self.options.order == Order::None {
            return;
        }
        let key = |number: usize| key_of(number);
        for seq in seqs {
            let Some(own) = self.seqs.get(seq).and_then(|(number, _)| key(*number)) else { continue };
            let held = self.seqs.range(..seq).find(|(before, (number, stage))| {
                *stage == Stage::Offered
                    && !self.puts[*number].excused
                    && !self.may_have_expired(*number)
                    && !self.is_copy_at_risk(**before, *number)
                    && !seqs.contains(before)
                    && key(*number).as_ref() == Some(&own)
            });
            if let Some((before, _)) = held {
                self.violations.push(format!("batch {id}: seq {seq} comes before seq {before} of its key is finished"));
                return;
            }
        }
    }

    /// Whether a batch of a new id may hold these seqs that came before: only where a power loss took a seal, and
    /// none of it is finished for certain.
    fn overlaps_whole_batches(&self, seqs: &[u64]) -> bool {
        self.divided && seqs.iter().all(|seq| self.seqs.get(seq).is_none_or(|(_, stage)| !stage.is_noted()))
    }

    /// The producer has dropped the oldest records to make room.
    pub(crate) fn dropped(&mut self, records: u64, seqs: RangeInclusive<u64>) {
        if self.options.when_full != WhenFull::DropOldest {
            self.violate(format!("{records} records were dropped, of {seqs:?}"));
        }
        self.at_sink = None;
        let gone: Vec<_> = self.seqs.range(seqs.clone()).map(|(_, known)| *known).collect();
        let is_left = |(number, stage): &&(usize, Stage)| *stage == Stage::Offered && !self.may_have_expired(*number);
        let left = gone.iter().filter(is_left).count() as u64;
        gone.iter().for_each(|(number, _)| self.puts[*number].excused = true);
        // A record that the sink has answered for may not be noted as such yet.
        if !self.faulty && records < left {
            self.violate(format!("{records} records are said to be dropped, {left} of {seqs:?} are gone"));
        }
    }

    /// The producer says that records have become too old to be sent.
    pub(crate) fn expired(&mut self, records: usize, dropped: bool, wall: i64) {
        self.latest = self.latest.max(wall);
        self.at_sink = None;
        if self.options.max_age == NEVER && self.options.on_expired == OnExpired::Auto {
            self.violate(format!("{records} records have expired, and nobody asked for that"));
        }
        if dropped != (self.options.on_expired == OnExpired::Drop) {
            self.violate(format!("{records} records have expired, dropped: {dropped}"));
        }
        self.expired += if dropped { records as u64 } else { 0 };
    }

    /// Whether a record is too old to be sent.
    fn is_expired(&self, created_at: i64, number: usize, wall: i64) -> bool {
        let Options { max_age, on_expired, .. } = self.options;
        let age = i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX);
        let own = if on_expired == OnExpired::Auto { None } else { Extras::of(number).expires_at };
        (max_age != NEVER && created_at <= wall.saturating_sub(age)) || own.is_some_and(|at| at <= wall)
    }

    /// Whether a record may have been given up because it was too old.
    fn may_have_expired(&self, number: usize) -> bool {
        self.is_expired(self.puts[number].created_at, number, self.latest)
    }

    fn may_miss(&self, seq: u64) -> bool {
        match self.seqs.get(&seq) {
            // Until the copy that a replay put is synced, only the dead letter is durable.
            Some((number, Stage::Offered)) => {
                self.puts[*number].excused || self.may_have_expired(*number) || self.is_copy_at_risk(seq, *number)
            }
            _ => true,
        }
    }

    fn is_copy_at_risk(&self, seq: u64, number: usize) -> bool {
        (self.faulty || self.copies_at_risk > 0) && self.seqs.range(..seq).any(|(_, (other, _))| *other == number)
    }

    /// Which put this record is of.
    fn recognise(&mut self, record: &crate::Record<'_>) -> Option<usize> {
        let known = self.number_of(record.data).filter(|number| {
            let put = |put: NewRecord<'_>| NewRecord { created_at: None, ..record.to_new() } == put;
            Extras::of(*number).with(record.data, put)
        });
        if known.is_none() {
            self.violate(format!(
                "seq {} is not what was put: {:?}",
                record.seq,
                &record.data[..record.data.len().min(16)]
            ));
        }
        known
    }

    pub(crate) fn answered(&mut self, batch: &Batch, answer: &Result<Report, SendError>) {
        use crate::sink::Outcome;
        let report = match answer {
            Ok(report) => report.clone(),
            Err(error) => Report::all(batch.len(), error.clone().into_outcome()),
        };
        let outcomes: Vec<&Outcome> = (0..batch.len()).map(|at| report.outcome(at)).collect();
        let unavailable_counts = self.options.count_unavailable;
        let counts = outcomes.iter().any(|outcome| match outcome {
            Outcome::Failed { .. } => true,
            Outcome::Unavailable { .. } => unavailable_counts,
            _ => false,
        });
        let last = self.options.max_attempts != 0 && u64::from(batch.attempt()) >= self.options.max_attempts;
        let given_up = counts && last && self.options.on_exhausted == OnExhausted::Skip;
        let mut left = 0;
        for (record, outcome) in batch.iter().zip(outcomes) {
            let finished = match outcome {
                Outcome::Delivered | Outcome::Rejected { .. } => true,
                Outcome::Failed { .. } => given_up,
                Outcome::Unavailable { .. } => given_up && unavailable_counts,
            };
            left += usize::from(!finished);
            if let Some((number, stage)) = self.seqs.get_mut(&record.seq)
                && finished
            {
                *stage = Stage::Answered;
                self.puts[*number].delivered |= matches!(outcome, Outcome::Delivered);
            }
        }
        if left == 0 {
            self.at_sink = None;
        }
    }

    // ------------------------------------------------------------------------------------------- crashes

    /// The truth as the next process finds it.
    pub(crate) fn after(&self, crash: Crash) -> Oracle {
        let mut after = self.clone();
        after.at_sink = None;
        after.mood = Mood::Good;
        if after.options.on_expired == OnExpired::Drop {
            // It may just have given up what had expired of a batch, and told nobody yet.
            after.expired_untold += after.most_records;
        }
        let is_putting = after.puts.last().is_some_and(|put| put.told == Told::Nothing);
        if is_putting && after.options.when_full == WhenFull::DropOldest {
            // It may just have dropped the oldest, and told nobody yet.
            after.puts.iter_mut().for_each(|put| put.excused = true);
        }
        if crash == Crash::Power {
            after.lossy = true;
            // Under `always` nobody is shown a batch before its seal is durable.
            after.divided |= self.faulty || self.options.durability != Durability::Always;
            for put in &mut after.puts {
                // What a failing write left of a refused record was wiped, but the wiping was not synced.
                if self.faulty && put.told == Told::Refused {
                    put.told = Told::Nothing;
                }
                put.excused |= !put.durable || self.options.durability == Durability::Os;
                put.loose |= self.target.is_some_and(|target| !target.sync);
            }
            match self.options.durability {
                Durability::Always => {}
                Durability::Os | Durability::Interval => {
                    // What was finished since the last sync may have to be finished again.
                    for (_, stage) in after.seqs.values_mut().filter(|(_, stage)| matches!(stage, Stage::Noted(_))) {
                        *stage = Stage::Answered;
                    }
                }
            }
        }
        after
    }

    /// Somebody damaged the directory: anything may be missing, but nothing may come that was not put.
    pub(crate) fn damaged(&mut self) {
        self.faulty = true;
        self.divided = true;
        self.mood = Mood::Good;
        self.at_sink = None;
        self.puts.iter_mut().for_each(|put| put.excused = true);
        self.forget_seqs();
    }

    fn forget_seqs(&mut self) {
        self.seqs.clear();
        self.batches.clear();
        self.highest.clear();
    }

    /// The producer was closed in order: everything is durable and noted.
    pub(crate) fn closed(&mut self) {
        self.noted(Duration::ZERO);
        self.at_sink = None;
        if self.options.durability != Durability::Os {
            self.synced(Duration::MAX);
        }
    }

    /// The next run has other options.
    pub(crate) fn set_options(&mut self, options: &Options) {
        // Records without a seal are batched anew, by the new options.
        self.divided |= self.lossy && options.max_records != self.options.max_records;
        self.options = options.clone();
        self.most_records = self.most_records.max(options.max_records);
        self.most_bytes = self.most_bytes.max(options.max_bytes);
    }

    /// Records accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.puts.iter().filter(|put| put.told == Told::Accepted).count()
    }

    /// Records that a power loss may have taken.
    pub(crate) fn at_risk(&self) -> u64 {
        self.puts.iter().filter(|put| put.excused || put.told == Told::Nothing).count() as u64 + self.copies_at_risk
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}
