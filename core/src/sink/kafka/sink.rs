//! [`KafkaSink`]: from batches to topics.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cluster::{Cluster, Known, Session, places};
use super::connection::Way;
use super::group::{Group, check_topic, divide, topics};
use super::identity::{Memo, Numbers};
use super::messages::METADATA;
use super::options::{Compression, KafkaOptions, Once, Sasl, kafka_setters};
use super::produce::{Producing, Verdict, cluster_of};
use super::record_batch::{Form, HEAD_BYTES};
use super::sasl::Credentials;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_OWN_ID_BYTES;
use crate::order::Order;
use crate::record::NewRecord;
use crate::sink::net::builder::builder;
use crate::sink::net::connect::Dialer;
use crate::sink::net::delivery::{Delivery, Item, Outcomes};
use crate::sink::net::environment::Environment;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::invalid;
use crate::sink::net::trust::{Identity, Trust};
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// How many batches at once are best: a request takes a round trip and the time of the replicas.
const IN_FLIGHT: u64 = 8;

/// What a record takes besides key, payload and headers, at most, where its headers are few.
const RECORD_OVERHEAD: u64 = 32;

/// A topic that is to be made is looked for so often, after so long.
const CREATION: (u32, Duration) = (10, Duration::from_millis(200));

/// Sends records to the topics of a Kafka cluster, and of what speaks its protocol.
///
/// A record goes to its own topic or that of the option, and to the partition that the Java client would choose for its key. Records
/// without a key go to one partition a batch. All replicas that are in sync have a record before it counts as delivered.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::kafka::KafkaSink;
/// let sink = KafkaSink::builder("broker1:9092,broker2:9092").topic("clicks").build()?;
/// # Ok(())
/// # }
/// ```
pub struct KafkaSink {
    producing: Producing,
    topic: String,
    expiration: Duration,
    brokers: String,
}

impl KafkaSink {
    /// A sink for a cluster, by some of its brokers, such as `host:9092,host2:9092`.
    pub fn builder(brokers: impl Into<String>) -> KafkaBuilder {
        KafkaBuilder::of_options(KafkaOptions { brokers: brokers.into(), ..KafkaOptions::default() })
    }

    /// The topics of a batch, and what is known of them; some may not exist.
    fn look_up(&self, session: Session, topics: &[String]) -> Result<Known, CallError> {
        let cluster = &self.producing.cluster;
        let mut known = cluster.look_up(session, topics, None)?;
        let (times, pause) = if cluster.creates_topics() { CREATION } else { (1, Duration::ZERO) };
        for _ in 1..times {
            if topics.iter().all(|topic| known.partitions(topic).is_some()) || !cluster.pause(session, pause) {
                break;
            }
            known = cluster.look_up(session, topics, Some(known.number))?;
        }
        Ok(known)
    }

    /// Sends the records of a group in smaller parts, because the broker refuses them together.
    fn halve(
        &self,
        batch: &Batch,
        session: Session,
        group: &Group,
        refused: CallError,
        delivery: &mut Delivery,
        doubts: &mut Doubts,
    ) -> Result<(), CallError> {
        let mut known = Some(refused);
        let mut call = |places: &[Place]| -> Outcomes {
            // All of them together have been refused already.
            match known.take() {
                Some(refused) => Err(refused),
                None => self.send_part(batch, session, group, places, doubts),
            }
        };
        delivery.send(&Place::of(&group.records), &mut call)
    }

    /// Sends some records of a group, with numbers of the moment.
    fn send_part(
        &self,
        batch: &Batch,
        session: Session,
        group: &Group,
        places: &[Place],
        doubts: &mut Doubts,
    ) -> Outcomes {
        let mut parts = [group.part(places.iter().map(Item::index).collect())];
        let verdict = self.producing.produce(batch, session, &mut parts).pop();
        let verdict = verdict.unwrap_or_else(|| Err(CallError::unavailable("Produce", "there is no verdict")));
        doubts.look_at(&parts[0], &verdict);
        verdict.map(|outcome| vec![outcome; places.len()])
    }
}

/// A record by its place in the batch.
struct Place(usize);

impl Place {
    fn of(records: &[usize]) -> Vec<Place> {
        records.iter().copied().map(Place).collect()
    }
}

impl Item for Place {
    fn index(&self) -> usize {
        self.0
    }
}

/// Why records may be there twice.
#[derive(Default)]
struct Doubts(Option<String>);

impl Doubts {
    fn of_another_cluster(&mut self) {
        self.0 = Some(
            "the batch has numbers of another cluster than the one that answers now, so that it is sent under new ones: what that \
             cluster had taken before is there too"
                .to_owned(),
        );
    }

    fn look_at(&mut self, group: &Group, verdict: &Verdict) {
        let place = format_args!("partition {} of {}", group.partition, group.topic);
        if group.was_renumbered {
            self.0 = Some(format!(
                "the broker of {place} did not take the numbers that the batch had, so that it was sent under new ones: what it \
                 had taken before is there twice"
            ));
        } else if group.unanswered
            && !group.is_kept
            && let Err(error) = verdict
        {
            self.0 = Some(format!(
                "a part of a batch for {place} was sent without numbers that are kept, and the answer did not come ({error}): if it \
                 was taken, and this process ends before that is known, it is there twice"
            ));
        }
    }
}

impl Doubts {
    /// Looks at a group that may have been taken already. Brokers count how long a producer is silent from the times of the records
    /// that it wrote, and look at times and sizes before they look whether they have a batch.
    fn look_at_times(&mut self, batch: &Batch, group: &Group, verdict: &Verdict, expiration: Duration) {
        let place = format_args!("partition {} of {}", group.partition, group.topic);
        let newest = group.records.iter().filter_map(|index| Some(batch.get(*index)?.created_at)).max();
        let age = millis_now().saturating_sub(newest.unwrap_or_default().div_euclid(1000));
        if verdict.is_ok() && age > expiration.as_millis() as i64 {
            self.0 = Some(format!(
                "the batch for {place} came again, and its newest record is {} s old: the brokers may have forgotten its producer, and \
                 what they had taken before is there twice",
                age / 1000
            ));
        } else if matches!(verdict, Err(error) if error.fault == Fault::Refused) {
            self.0 = Some(format!(
                "the broker refuses a batch for {place} that it may have taken before: what it had taken is there, whatever becomes of \
                 its records now"
            ));
        }
    }
}

fn millis_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Sink for KafkaSink {
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        if !self.producing.numbered {
            return Ok(None);
        }
        let session = self.producing.cluster.session();
        let topics = topics(batch, &self.topic);
        let failed = |error: CallError| SendError::unavailable(error);
        let known = self.look_up(session, &topics).map_err(failed)?;
        let counted: Vec<_> = topics.iter().filter_map(|topic| Some((&topic[..], known.partitions(topic)?))).collect();
        if counted.is_empty() && !topics.is_empty() {
            let error = missing(&known, &topics[0]);
            return Err(SendError::unavailable(error));
        }
        let cluster = cluster_of(&known);
        let producing = &self.producing;
        let ask = || producing.cluster.producer_id(session, &known);
        let taken = producing.numbers.take(batch.id.buffer_id, cluster, ask);
        Ok(Some(Memo::new(taken.map_err(failed)?, cluster, millis_now(), &counted).encode()))
    }

    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let producing = &self.producing;
        let session = producing.cluster.session();
        let topics = topics(batch, &self.topic);
        let known = self.look_up(session, &topics).map_err(SendError::unavailable)?;
        let cluster = cluster_of(&known);
        let mut doubts = Doubts::default();
        let mut memo = batch.memo().and_then(Memo::decode).filter(|_| producing.numbered);
        if let Some(strange) = memo.take_if(|memo| memo.cluster != cluster)
            && producing.numbers.begin(strange.numbering)
        {
            doubts.of_another_cluster();
        }
        let mut delivery = Delivery::in_order(batch.len());
        let mut divided = divide(batch, &self.topic, memo.as_ref(), &known);
        for (index, why) in divided.bad {
            delivery.reject(index, why);
        }
        for (index, topic) in divided.homeless {
            delivery.hold(index, missing(&known, &topic).into_outcome());
        }
        let may_be_there = memo.as_ref().is_some_and(|memo| producing.numbers.begin(memo.numbering));
        let behind: Vec<Vec<usize>> =
            divided.groups.iter_mut().map(|group| producing.recall(batch, cluster, group)).collect();
        let verdicts = producing.produce(batch, session, &mut divided.groups);
        if let Some(memo) = memo.as_ref().filter(|_| !may_be_there)
            // A code is a broker's: some say that it has written the records all the same.
            && verdicts.iter().all(|verdict| matches!(verdict, Err(error) if error.code.is_none() || error.fault == Fault::Refused))
            && !divided.groups.iter().any(|group| group.unanswered)
        {
            producing.numbers.is_unused(memo.numbering);
        }
        for (group, verdict) in divided.groups.iter().zip(&verdicts) {
            if group.is_kept && (may_be_there || group.unanswered) {
                doubts.look_at_times(batch, group, verdict, self.expiration);
            }
        }
        if verdicts.iter().any(Result::is_ok) {
            delivery.understand();
        }
        let mut stopped = None;
        for ((group, verdict), behind) in divided.groups.iter().zip(verdicts).zip(&behind) {
            doubts.look_at(group, &verdict);
            let places = Place::of(&group.records);
            let mut ended = match verdict {
                Err(error) if error.fault == Fault::Refused => {
                    self.halve(batch, session, group, error, &mut delivery, &mut doubts)
                }
                verdict => delivery.send(&places, &mut |_| verdict.clone().map(|outcome| vec![outcome; places.len()])),
            };
            if ended.is_ok() {
                let mut call = |places: &[Place]| self.send_part(batch, session, group, places, &mut doubts);
                ended = delivery.send(&Place::of(behind), &mut call);
            }
            if let Err(error) = ended {
                // The outcome of what the others do not speak of. What this group has not settled is its own.
                for index in group
                    .records
                    .iter()
                    .chain(behind)
                    .copied()
                    .filter(|index| !delivery.is_settled(*index))
                    .collect::<Vec<_>>()
                {
                    delivery.hold(index, error.clone().into_outcome());
                }
                stopped = Some(error);
            }
        }
        let mut report = delivery.finish(stopped);
        let is_finished = report.exceptions().all(|(_, outcome)| matches!(outcome, Outcome::Rejected { .. }));
        if let Some(memo) = memo.filter(|_| is_finished) {
            producing.numbers.give_back(batch.id.buffer_id, cluster, memo.numbering);
        }
        if let Some(reason) = doubts.0.filter(|_| producing.numbered) {
            report.set_once_ended(reason);
        }
        Ok(report)
    }

    fn limits(&self) -> Limits {
        let most = (self.producing.max_bytes - HEAD_BYTES) as u64;
        let of_id = self.producing.form.id_header.as_ref().map_or(0, |name| name.len() + 8 + MAX_OWN_ID_BYTES);
        Limits {
            max_bytes: Some(most),
            max_record_bytes: Some(most),
            overhead_bytes: RECORD_OVERHEAD + of_id as u64,
            counts_key: true,
            counts_headers: true,
            order: Order::Key,
            in_flight: IN_FLIGHT,
            checks_records: true,
            ..Limits::default()
        }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        check_topic(record.topic.unwrap_or(&self.topic))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(match &self.topic[..] {
            "" => format!("kafka:{}", self.brokers),
            topic => format!("kafka:{topic}"),
        })
    }

    fn interrupt(&self) {
        self.producing.cluster.interrupt();
    }
}

/// The error for a topic that is not there now.
fn missing(known: &Known, topic: &str) -> CallError {
    let code = known.topic(topic).map_or(3, |topic| topic.code);
    let message = match super::codes::name(code).as_str() {
        "UNKNOWN_TOPIC_OR_PARTITION" => format!("there is no topic {topic}; create it, or set create_topics"),
        _ => format!("topic {topic}"),
    };
    CallError { code: Some(super::codes::name(code)), ..CallError::unavailable(METADATA.name, message) }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("brokers", &self.brokers).field("topic", &self.topic).finish_non_exhaustive()
    }
}

builder! {
    /// Options of a [`KafkaSink`] to be.
    KafkaBuilder of KafkaOptions, setters kafka_setters
}

impl KafkaBuilder {
    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option that does not fit; `Io` if a file cannot be read; `Unsupported` for what this build lacks.
    pub fn build(self) -> Result<KafkaSink> {
        let KafkaBuilder { options, environment } = self;
        options.check_ranges()?;
        let unsupported = |message: &str| Err(Error::new(ErrorKind::Unsupported, message));
        if options.once == Once::Transactions {
            return unsupported(
                "option once: this version has no transactions; idempotence is once for each record, too",
            );
        }
        if options.compression == Compression::Zstd && !cfg!(feature = "zstd") {
            return unsupported("this build of unistream has no compression zstd: it lacks the cargo feature \"zstd\"");
        }
        let first = places(&options.brokers).map_err(|why| invalid(format!("option brokers: {why}")))?;
        if !options.topic.is_empty() {
            check_topic(&options.topic).map_err(|why| invalid(format!("option topic: {why}")))?;
        }
        let environment = Environment::chosen(environment, options.use_environment)?;
        let has_tls_options =
            [&options.ca_bundle, &options.client_cert, &options.client_key].iter().any(|path| !path.is_empty());
        if has_tls_options && !options.tls {
            return Err(invalid("ca_bundle, client_cert and client_key are for tls=true"));
        }
        let trust = if options.tls { Trust::chosen(&options.ca_bundle, &environment)? } else { Trust::default() };
        let identity = Identity::of_options(&options.client_cert, &options.client_key)?;
        // What proxies the environment names are for HTTP.
        let dialer =
            Dialer::new(Environment::empty(), trust, options.connect_timeout, options.timeout).identity(identity);
        let way = Way {
            dialer,
            tls: options.tls,
            credentials: Credentials::of(&options)?,
            client_id: options.client_id,
            timeout: options.timeout,
        };
        let id_header = Some(options.id_header).filter(|name| !name.is_empty());
        Ok(KafkaSink {
            producing: Producing {
                cluster: Cluster::new(way, first, options.create_topics),
                form: Form { compression: options.compression, id_header },
                numbered: options.once == Once::Idempotence,
                numbers: Numbers::default(),
                max_bytes: options.max_message_bytes as usize,
            },
            topic: options.topic,
            expiration: options.producer_id_expiration,
            brokers: options.brokers,
        })
    }
}
