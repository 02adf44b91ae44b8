//! The brokers of a cluster: who leads what, and kept connections to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::codes::{self, NONE};
use super::connection::{Connection, Place, Way};
use super::messages::{self, INIT_PRODUCER_ID, METADATA, Metadata, Topic};
use super::wire::Malformed;
use crate::sink::net::failure::CallError;

/// What is known of the cluster is asked for anew after this, as the Java client does, so that new partitions are seen.
const MAX_AGE: Duration = Duration::from_secs(300);

/// So many topics are remembered.
const MOST_TOPICS: usize = 10_000;

pub(super) struct Cluster {
    way: Way,
    /// The brokers that the sink was given.
    first: Vec<Place>,
    create_topics: bool,
    known: Mutex<Known>,
    /// Held by the thread that asks, so that the others wait for its answer.
    asking: Mutex<()>,
    idle: Mutex<HashMap<Place, Vec<Connection>>>,
    /// With which broker to begin.
    turn: AtomicUsize,
    interrupts: Mutex<u64>,
    interrupted: Condvar,
}

/// What the cluster has said of itself.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) metadata: Arc<Metadata>,
    pub(super) at: Option<Instant>,
    /// Rises with every answer.
    pub(super) number: u64,
}

impl Known {
    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.metadata.topics.get(name)
    }

    /// How many partitions a topic has; `None` if there is no such topic now.
    pub(super) fn partitions(&self, name: &str) -> Option<u32> {
        let topic = self.topic(name).filter(|topic| topic.code == NONE)?;
        Some(topic.leaders.len() as u32).filter(|count| *count > 0)
    }

    /// The broker that leads a partition.
    ///
    /// # Errors
    /// The code that says why there is none.
    pub(super) fn leader(&self, topic: &str, partition: u32) -> Result<&Place, i16> {
        const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
        const LEADER_NOT_AVAILABLE: i16 = 5;
        let topic = self.topic(topic).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
        if topic.code != NONE {
            return Err(topic.code);
        }
        let leader = topic.leaders.get(partition as usize).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
        let node = leader.map_err(|code| if code == NONE { LEADER_NOT_AVAILABLE } else { code })?;
        self.metadata.brokers.get(&node).ok_or(LEADER_NOT_AVAILABLE)
    }
}

/// The interrupts so far: a `send` takes it once, and an interrupt ends all that it does.
#[derive(Clone, Copy)]
pub(super) struct Session(u64);

impl Cluster {
    pub(super) fn new(way: Way, first: Vec<Place>, create_topics: bool) -> Self {
        Cluster {
            way,
            first,
            create_topics,
            known: Mutex::default(),
            asking: Mutex::default(),
            idle: Mutex::default(),
            turn: AtomicUsize::new(0),
            interrupts: Mutex::default(),
            interrupted: Condvar::new(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.way.timeout
    }

    pub(super) fn creates_topics(&self) -> bool {
        self.create_topics
    }

    pub(super) fn session(&self) -> Session {
        Session(*lock(&self.interrupts))
    }

    pub(super) fn is_interrupted(&self, session: Session) -> bool {
        *lock(&self.interrupts) != session.0
    }

    /// Waits; whether nothing interrupted it.
    pub(super) fn pause(&self, session: Session, time: Duration) -> bool {
        let unchanged = |count: &mut u64| *count == session.0;
        let waited = self.interrupted.wait_timeout_while(lock(&self.interrupts), time, unchanged);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(super) fn interrupt(&self) {
        *lock(&self.interrupts) += 1;
        self.interrupted.notify_all();
        lock(&self.idle).clear();
        self.way.dialer.interrupt();
    }

    /// What is known of these topics: by an answer after number `than`, if that is given.
    ///
    /// # Errors
    /// No broker says anything, or the session was interrupted.
    pub(super) fn look_up(&self, session: Session, topics: &[String], than: Option<u64>) -> Result<Known, CallError> {
        let suffices = |known: &Known| {
            let is_good = |topic: &Topic| topic.code == NONE || than.is_some();
            known.at.is_some_and(|at| at.elapsed() < MAX_AGE)
                && than.is_none_or(|than| known.number > than)
                && topics.iter().all(|topic| known.topic(topic).is_some_and(is_good))
        };
        let known = lock(&self.known).clone();
        if suffices(&known) {
            return Ok(known);
        }
        let _asking = lock(&self.asking);
        // Another thread may have asked meanwhile.
        let known = lock(&self.known).clone();
        if suffices(&known) {
            return Ok(known);
        }
        let answer = self.ask_any(session, &known, |connection| {
            let (version, body) =
                connection.call(METADATA, |out, _| messages::metadata_request(out, topics, self.create_topics))?;
            messages::metadata(version, &body).map_err(|Malformed| connection.malformed(METADATA))
        })?;
        let mut merged = answer;
        let mut at = Instant::now();
        if let Some(before) = known.at.filter(|at| at.elapsed() < MAX_AGE)
            && known.metadata.cluster == merged.cluster
            && known.metadata.topics.len() < MOST_TOPICS
        {
            for (name, topic) in &known.metadata.topics {
                merged.topics.entry(name.clone()).or_insert_with(|| {
                    // All is as old as the oldest of it.
                    at = before;
                    topic.clone()
                });
            }
        }
        let known = Known { metadata: Arc::new(merged), at: Some(at), number: known.number + 1 };
        *lock(&self.known) = known.clone();
        Ok(known)
    }

    /// A producer id with its epoch.
    ///
    /// # Errors
    /// No broker gives one, or the session was interrupted.
    pub(super) fn producer_id(&self, session: Session, known: &Known) -> Result<(i64, i16), CallError> {
        self.ask_any(session, known, |connection| {
            let (_, body) = connection.call(INIT_PRODUCER_ID, |out, _| messages::init_producer_id_request(out))?;
            match messages::init_producer_id(&body) {
                Ok(Ok(given)) => Ok(given),
                Ok(Err(code)) => {
                    let hint = match codes::name(code).as_str() {
                        "CLUSTER_AUTHORIZATION_FAILED" => Some(
                            "once=idempotence needs the right IdempotentWrite for the cluster; with once=none it does not",
                        ),
                        _ => None,
                    };
                    Err(connection.refused(INIT_PRODUCER_ID, code, hint))
                }
                Err(Malformed) => Err(connection.malformed(INIT_PRODUCER_ID)),
            }
        })
    }

    /// Asks one broker after another, until one answers: those that are known, then those that the sink was given.
    fn ask_any<T>(
        &self,
        session: Session,
        known: &Known,
        ask: impl Fn(&mut Connection) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut places: Vec<&Place> = known.metadata.brokers.values().collect();
        places.sort_unstable();
        if !places.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % places.len();
            places.rotate_left(turn);
        }
        for place in &self.first {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let mut first_error = None;
        for place in places {
            if self.is_interrupted(session) {
                break;
            }
            match self.lend(place).and_then(|mut connection| Ok((ask(&mut connection)?, connection))) {
                Ok((answer, connection)) => {
                    self.give_back(connection);
                    return Ok(answer);
                }
                Err(error) => {
                    self.distrust(place);
                    first_error.get_or_insert(error)
                }
            };
        }
        Err(first_error.unwrap_or_else(|| CallError::unavailable(METADATA.name, "interrupted")))
    }

    /// A connection to a broker, for one request at a time. Whoever has its answer gives it back.
    pub(super) fn lend(&self, place: &Place) -> Result<Connection, CallError> {
        let idle = lock(&self.idle).get_mut(place).and_then(Vec::pop).filter(Connection::is_fresh);
        idle.map_or_else(|| Connection::open(&self.way, place.clone()), Ok)
    }

    pub(super) fn give_back(&self, connection: Connection) {
        lock(&self.idle).entry(connection.place.clone()).or_default().push(connection);
    }

    /// Closes the idle connections to a broker: one of them turned out to be of no use.
    pub(super) fn distrust(&self, place: &Place) {
        lock(&self.idle).remove(place);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The brokers that an option names.
///
/// # Errors
/// What is wrong with it.
pub(super) fn places(text: &str) -> Result<Vec<Place>, String> {
    const PORT: u16 = 9092;
    let mut places = Vec::new();
    for given in text.split(',').map(str::trim).filter(|given| !given.is_empty()) {
        let wrong = || format!("{given:?} is not such as host:9092");
        let (host, port) = match given.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && (given.starts_with('[') == host.ends_with(']')) => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            // An address of IPv6 in brackets, without a port.
            Some(_) if given.starts_with('[') && given.ends_with(']') => (given, PORT),
            Some(_) => return Err(wrong()),
            None => (given, PORT),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        places.push((host.to_owned(), port));
    }
    if places.is_empty() { Err("it names no broker".into()) } else { Ok(places) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_of_an_option() {
        let read =
            |text: &str| places(text).map(|places| places.iter().map(|(h, p)| format!("{h} {p}")).collect::<Vec<_>>());
        assert_eq!(read("a:1,b").unwrap(), ["a 1", "b 9092"]);
        assert_eq!(read(" a.example.org:19092 , ").unwrap(), ["a.example.org 19092"]);
        assert_eq!(read("[::1]:9093,[::2]").unwrap(), ["[::1] 9093", "[::2] 9092"]);
        for bad in ["", ",", "a:", ":1", "a:0", "a:70000", "a:b", "a/b:1", "user@a:1", "::1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_leads_a_partition() {
        let topic = Topic { code: NONE, leaders: vec![Ok(1), Err(5), Ok(2)] };
        let bad = Topic { code: 29, leaders: Vec::new() };
        let metadata = Metadata {
            cluster: None,
            brokers: HashMap::from([(1, ("one".to_owned(), 1))]),
            topics: HashMap::from([("t".to_owned(), topic), ("bad".to_owned(), bad)]),
        };
        let known = Known { metadata: Arc::new(metadata), at: None, number: 1 };
        assert_eq!(known.leader("t", 0).unwrap().0, "one");
        let codes: Vec<_> =
            [("t", 1), ("t", 2), ("t", 3), ("u", 0), ("bad", 0)].map(|(t, p)| known.leader(t, p)).into();
        assert_eq!(codes, [Err(5), Err(5), Err(3), Err(3), Err(29)]);
        assert_eq!((known.partitions("t"), known.partitions("u"), known.partitions("bad")), (Some(3), None, None));
    }
}
