//! Requests to produce: each broker gets one with all that it leads, and its answer says what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::{Cluster, Known, Session};
use super::codes::{self, Meaning};
use super::connection::{Connection, Place};
use super::group::Group;
use super::identity::{Numbers, Together, hash};
use super::messages::{self, PRODUCE, Produced};
use super::record_batch::{self, Form, HEAD_BYTES, Numbering};
use super::wire::{Malformed, Write};
use crate::batch::Batch;
use crate::sink::Outcome;
use crate::sink::net::failure::{CallError, Fault};

/// So often a batch is tried within one attempt, where who leads is not who we thought, or a connection was lost.
const ROUNDS: u32 = 4;

/// The wait before the second round; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A broker answers when all replicas that are in sync have it.
const ALL: i16 = -1;

/// How a sink produces.
pub(super) struct Producing {
    pub(super) cluster: Cluster,
    pub(super) form: Form,
    /// Whether batches are numbered.
    pub(super) numbered: bool,
    pub(super) numbers: Numbers,
    /// The most bytes of a batch of Kafka's, before compression.
    pub(super) max_bytes: usize,
}

/// What became of a group: the same for all of its records.
pub(super) type Verdict = Result<Outcome, CallError>;

/// A request under way.
struct Sent {
    connection: Connection,
    version: i16,
    groups: Vec<usize>,
}

/// Why a request was not sent as a whole.
struct Unsent {
    error: CallError,
    /// Whether some of it was, perhaps.
    in_part: bool,
}

impl From<CallError> for Unsent {
    fn from(error: CallError) -> Self {
        Unsent { error, in_part: false }
    }
}

impl Producing {
    /// Sends groups, of which no two are for the same partition; what became of each.
    pub(super) fn produce(&self, batch: &Batch, session: Session, groups: &mut [Group]) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; groups.len()];
        let topics = BTreeSet::from_iter(groups.iter().map(|group| &group.topic));
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        let mut than = None;
        let mut cluster = None;
        let mut pause = FIRST_PAUSE;
        for round in 1..=ROUNDS {
            let pending: Vec<usize> = (0..groups.len()).filter(|at| is_pending(&verdicts[*at])).collect();
            if pending.is_empty() || (round > 1 && !self.cluster.pause(session, pause)) {
                break;
            }
            if round > 1 {
                pause *= 2;
            }
            let known = match self.cluster.look_up(session, &topics, than) {
                Ok(known) => known,
                Err(error) => {
                    pending.iter().for_each(|at| verdicts[*at] = Some(Err(error.clone())));
                    continue;
                }
            };
            than = Some(known.number);
            cluster = Some(cluster_of(&known));
            self.round(batch, session, &known, groups, &pending, &mut verdicts);
        }
        let unsent = || Err(CallError::unavailable(PRODUCE.name, "interrupted"));
        let verdicts: Vec<Verdict> = verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(unsent)).collect();
        for (group, verdict) in groups.iter().zip(&verdicts).filter(|(group, _)| self.numbered && !group.is_kept) {
            let what = Together::new(batch.id.buffer_id, group.partition, &group.seqs(batch));
            match (group.numbering, cluster) {
                (Some(numbering), Some(cluster)) if group.unanswered && verdict.is_err() => {
                    self.numbers.remember(what, cluster, numbering);
                }
                // It was not sent, and what is known of an earlier attempt holds.
                _ if verdict.as_ref().is_err_and(|error| error.fault != Fault::Refused) => {}
                _ => self.numbers.forget(what),
            }
        }
        verdicts
    }

    /// What went before as a part of a group, and without an answer, goes again as it was, and alone. Returns what stands behind that.
    pub(super) fn recall(&self, batch: &Batch, cluster: u32, group: &mut Group) -> Vec<usize> {
        if !self.numbered {
            return Vec::new();
        }
        let seqs = group.seqs(batch);
        match self.numbers.remembered(cluster, batch.id.buffer_id, group.partition, &seqs) {
            Some((count, numbering)) => {
                (group.numbering, group.is_kept) = (Some(numbering), false);
                group.records.split_off(count)
            }
            None => Vec::new(),
        }
    }

    fn round(
        &self,
        batch: &Batch,
        session: Session,
        known: &Known,
        groups: &mut [Group],
        pending: &[usize],
        verdicts: &mut [Option<Verdict>],
    ) {
        let mut by_place: BTreeMap<&Place, Vec<usize>> = BTreeMap::new();
        for &at in pending {
            match self.check(batch, session, known, &mut groups[at]) {
                Ok(place) => by_place.entry(place).or_default().push(at),
                Err(error) => verdicts[at] = Some(Err(error)),
            }
        }
        // First all requests, then all answers, so that the brokers work side by side.
        let mut under_way = Vec::new();
        for (place, mine) in by_place {
            match self.send(batch, place, groups, &mine) {
                Ok(sent) => under_way.push(sent),
                Err(Unsent { error, in_part }) => self.lose(place, &error, in_part, &mine, groups, verdicts),
            }
        }
        for mut sent in under_way {
            match sent.connection.receive(PRODUCE).and_then(|body| read(&sent, &body)) {
                Ok(answers) => {
                    for &at in &sent.groups {
                        let group = &mut groups[at];
                        let is_its = |answer: &&Produced| {
                            answer.partition.cast_unsigned() == group.partition && *answer.topic == *group.topic
                        };
                        verdicts[at] = Some(match answers.iter().find(is_its) {
                            Some(answer) => judge(group, answer, &sent.connection.place),
                            None => {
                                group.unanswered = true;
                                Err(CallError::undocumented(PRODUCE.name, "it does not speak of all partitions"))
                            }
                        });
                    }
                    self.cluster.give_back(sent.connection);
                }
                Err(error) => self.lose(&sent.connection.place, &error, true, &sent.groups, groups, verdicts),
            }
        }
    }

    /// No answer came for these groups. If they were sent, they may be there or not.
    fn lose(
        &self,
        place: &Place,
        error: &CallError,
        sent: bool,
        mine: &[usize],
        groups: &mut [Group],
        verdicts: &mut [Option<Verdict>],
    ) {
        self.cluster.distrust(place);
        for &at in mine {
            groups[at].unanswered |= sent;
            verdicts[at] = Some(Err(error.clone()));
        }
    }

    /// The broker that a group goes to; sees to it that it has numbers.
    fn check<'k>(
        &self,
        batch: &Batch,
        session: Session,
        known: &'k Known,
        group: &mut Group,
    ) -> Result<&'k Place, CallError> {
        let records = group.records.iter().enumerate();
        let size = HEAD_BYTES
            + records
                .filter_map(|(place, index)| Some(record_batch::record_bytes(&self.form, &batch.get(*index)?, place)))
                .sum::<usize>();
        if size > self.max_bytes {
            let message = format!("{size} bytes, and max_message_bytes is {}", self.max_bytes);
            return Err(CallError { fault: Fault::Refused, ..CallError::unavailable(PRODUCE.name, message) });
        }
        let place = known.leader(&group.topic, group.partition).map_err(|code| {
            let message = format!("nobody leads partition {} of {} now", group.partition, group.topic);
            CallError { code: Some(codes::name(code)), ..CallError::unavailable(PRODUCE.name, message) }
        })?;
        if self.numbered && group.numbering.is_none() {
            let cluster = cluster_of(known);
            group.numbering = Some(self.numbers.fresh(cluster, || self.cluster.producer_id(session, known))?);
        }
        Ok(place)
    }

    fn send(&self, batch: &Batch, place: &Place, groups: &[Group], mine: &[usize]) -> Result<Sent, Unsent> {
        let mut connection = self.cluster.lend(place)?;
        let (mut request, version) = connection.begin(PRODUCE)?;
        let mut topics: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
        for &at in mine {
            topics.entry(&groups[at].topic).or_default().push(&groups[at]);
        }
        let timeout = i32::try_from(self.cluster.timeout().as_millis()).unwrap_or(i32::MAX);
        messages::produce_request(&mut request, ALL, timeout, topics.len());
        for (topic, partitions) in topics {
            request.text(topic);
            request.i32(partitions.len() as i32);
            for group in partitions {
                request.i32(group.partition.cast_signed());
                let records: Vec<_> = group.records.iter().filter_map(|index| batch.get(*index)).collect();
                let numbering = group.numbering.unwrap_or(Numbering::NONE);
                record_batch::write(&mut request, &self.form, numbering, &records)
                    .map_err(|error| CallError::unavailable(PRODUCE.name, format!("cannot compress: {error}")))?;
            }
        }
        // What could not be read of the log is zeros here: they must not have the numbers of what was put.
        if batch.is_faulted() {
            return Err(CallError::unavailable(PRODUCE.name, "the batch cannot be read from the log").into());
        }
        connection.send(PRODUCE, request).map_err(|error| Unsent { error, in_part: true })?;
        let groups = mine.to_vec();
        Ok(Sent { connection, version, groups })
    }
}

/// Which cluster it is, in four bytes.
pub(super) fn cluster_of(known: &Known) -> u32 {
    hash(known.metadata.cluster.as_deref().unwrap_or_default())
}

fn read(sent: &Sent, body: &[u8]) -> Result<Vec<Produced>, CallError> {
    messages::produced(sent.version, body).map_err(|Malformed| sent.connection.malformed(PRODUCE))
}

/// Whether there is reason to look up who leads, and to try once more at once.
fn is_pending(verdict: &Option<Verdict>) -> bool {
    match verdict {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(error)) => {
            let is_lasting = |code: &str| !matches!(codes::meaning_of(code), Meaning::Stale | Meaning::Sequence);
            matches!(error.fault, Fault::Unavailable { .. }) && !error.code.as_deref().is_some_and(is_lasting)
        }
    }
}

/// What an answer means for a group.
fn judge(group: &mut Group, answer: &Produced, place: &Place) -> Verdict {
    let meaning = codes::meaning(answer.code);
    let fault = match meaning {
        Meaning::Delivered => return Ok(Outcome::Delivered),
        Meaning::Stale | Meaning::Busy | Meaning::KeptOut => Fault::UNAVAILABLE,
        Meaning::Refused => Fault::Refused,
        Meaning::NoTopic | Meaning::Failed => Fault::Failed,
        Meaning::Sequence => {
            // Under other numbers it is taken, at the price that it may be there already.
            (group.numbering, group.is_kept, group.was_renumbered) = (None, false, true);
            Fault::UNAVAILABLE
        }
    };
    // The broker may have written it, and not have heard of all replicas in time.
    group.unanswered |= meaning == Meaning::Busy;
    let said = answer.message.as_deref().map(|said| format!("{said}; ")).unwrap_or_default();
    let message = format!("{said}partition {} of {} ({}:{})", group.partition, group.topic, place.0, place.1);
    let error = CallError {
        operation: PRODUCE.name,
        fault,
        code: Some(codes::name(answer.code)),
        message: crate::sink::net::redact::brief(&message, 1000),
    };
    match meaning {
        Meaning::NoTopic => Ok(Outcome::Rejected { reason: error.to_string() }),
        _ => Err(error),
    }
}
