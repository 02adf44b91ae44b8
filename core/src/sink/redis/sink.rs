//! [`RedisSink`]: from batches to entries of streams.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::answer::{Meaning, meaning, redirection, refusal};
use super::client::{Client, Login, Setting, named, nowhere, unavailable};
use super::entries::{Entry, Fields, Trim, add, add_once, check_note};
use super::options::{RedisOptions, redis_setters};
use super::place::{Place, Server};
use super::resp::{Reply, command};
use super::session::Session;
use crate::batch::Batch;
use crate::error::Result;
use crate::order::Order;
use crate::record::{NewRecord, Record};
use crate::sink::net::attempted;
use crate::sink::net::builder::builder;
use crate::sink::net::connect::Dialer;
use crate::sink::net::delivery::{report, split};
use crate::sink::net::environment::Environment;
use crate::sink::net::failure::CallError;
use crate::sink::net::invalid;
use crate::sink::net::template::Destination;
use crate::sink::net::trust::{Identity, Trust};
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// What is counted of a record besides what it has: names of fields and lengths.
const OVERHEAD: u64 = 192;
/// So often the nodes of a cluster may send us on, for one batch.
const MOST_ROUNDS: usize = 16;

/// Adds records to streams of Redis.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::redis::RedisSink;
/// let sink = RedisSink::builder("redis://localhost/0/orders").max_len(1_000_000).build()?;
/// # Ok(())
/// # }
/// ```
pub struct RedisSink {
    client: Client,
    stream: Destination,
    fields: Fields,
    trim: Trim,
    once: bool,
    once_expiry: Duration,
    replicas: u64,
    limits: Limits,
    call_records: usize,
    call_bytes: u64,
    timeout: Duration,
    name: String,
}

/// What is left of a batch for one stream.
struct Group<'e, 'a> {
    /// Those that are not known to be there.
    left: Vec<&'e Entry<'a>>,
    /// The node that takes the next call, though the slot is another's.
    asking: Option<Server>,
    /// What became of the rest, if it is known.
    ended: Option<Outcome>,
}

/// What a call came to.
#[derive(Default)]
pub(super) struct Called {
    /// How many records are there, of those that were sent, from the first.
    pub(super) taken: usize,
    pub(super) error: Option<String>,
}

impl RedisSink {
    /// A sink for the servers of a URL.
    pub fn builder(url: impl Into<String>) -> RedisBuilder {
        RedisBuilder::of_options(RedisOptions { url: url.into(), ..RedisOptions::default() })
    }

    fn stream<'a>(&'a self, record: &NewRecord<'a>, id: &str) -> Result<Cow<'a, str>, String> {
        let stream = self.stream.of(record, id)?;
        if self.once {
            check_note(&stream)?;
        }
        Ok(stream)
    }

    fn entry<'a>(&'a self, index: usize, record: Record<'a>) -> Result<Entry<'a>, String> {
        let stream = self.stream(&record.to_new(), &record.id())?;
        Ok(Entry { index, record, stream, words: self.fields.of(&record) })
    }

    /// The first records of a group that fit into one call.
    fn call<'g, 'e, 'a>(&self, group: &'g Group<'e, 'a>) -> &'g [&'e Entry<'a>] {
        let calls = split(
            &group.left,
            |entry| (1, entry.bytes()),
            |(records, sum), entry| {
                let grown = (records + 1, sum + entry.bytes());
                Some(grown).filter(|(records, sum)| *records <= self.call_records && *sum <= self.call_bytes)
            },
        );
        calls.first().copied().unwrap_or_default()
    }

    /// Makes one call for each of some groups, all by one connection, and reads what became of them.
    ///
    /// # Errors
    /// Of the connection. What was replied before holds.
    fn exchange(
        &self,
        session: &mut Session,
        lane: Option<u32>,
        groups: &mut [&mut Group<'_, '_>],
        outcomes: &mut [Option<Outcome>],
    ) -> io::Result<()> {
        session.out.clear();
        for group in groups.iter() {
            if group.asking.is_some() {
                command([&b"ASKING"[..]].into_iter(), &mut session.out);
            }
            let call = self.call(group);
            match self.once {
                true => add_once(call, lane, self.once_expiry, &self.trim, &mut session.out),
                false => call.iter().for_each(|entry| add(entry, &self.trim, &mut session.out)),
            }
            session.flush_if_much()?;
        }
        if self.replicas > 0 {
            let wait = (self.timeout / 2).as_millis().max(1).to_string();
            let replicas = self.replicas.to_string();
            command([&b"WAIT"[..], replicas.as_bytes(), wait.as_bytes()].into_iter(), &mut session.out);
        }
        session.flush()?;
        let mut all_called = Vec::with_capacity(groups.len());
        for group in groups.iter() {
            if group.asking.is_some() {
                session.reply(self.timeout)?;
            }
            all_called.push(self.called(session, self.call(group).len())?);
        }
        let short = match self.replicas {
            0 => None,
            wanted => match session.reply(self.timeout)? {
                Reply::Number(have) if have.cast_unsigned() >= wanted => None,
                Reply::Number(have) => Some(format!("{have} of {wanted} replicas have the records")),
                Reply::Error(error) => Some(error),
                _ => Some("the reply to WAIT is not as documented".to_owned()),
            },
        };
        for (group, called) in groups.iter_mut().zip(all_called) {
            if let Some(short) = short.as_ref().filter(|_| called.taken > 0) {
                group.ended = Some(unavailable(short).into_outcome());
                continue;
            }
            for entry in group.left.drain(..called.taken) {
                outcomes[entry.index] = Some(Outcome::Delivered);
            }
            group.asking = None;
            if let Some(error) = called.error {
                self.refused(group, &error, &session.server);
            }
        }
        Ok(())
    }

    /// The replies to one call of so many records.
    fn called(&self, session: &mut Session, records: usize) -> io::Result<Called> {
        if self.once {
            return added(session.reply(self.timeout)?, records);
        }
        // Without the note each record has a reply. What follows an error is sent again, wherever it is already.
        let mut called = Called::default();
        for _ in 0..records {
            match session.reply(self.timeout)? {
                Reply::Text(_) if called.error.is_none() => called.taken += 1,
                Reply::Text(_) => {}
                Reply::Error(error) => {
                    called.error.get_or_insert(error);
                }
                _ => return Err(undocumented()),
            }
        }
        Ok(called)
    }

    /// Notes what an error means for what is left of a group.
    fn refused(&self, group: &mut Group<'_, '_>, error: &str, server: &Server) {
        match meaning(error) {
            Meaning::Moved => {
                let node = redirection(error).map(|(host, port)| server.told(host, port));
                self.client.changed(node.as_ref().unwrap_or(server));
            }
            Meaning::Ask => group.asking = redirection(error).map(|(host, port)| server.told(host, port)),
            other => {
                if other == Meaning::Elsewhere {
                    self.client.forget(server);
                }
                group.ended = Some(refusal(error).into_outcome());
            }
        }
    }

    /// Makes one call for each group that is left, wherever it goes; the error after which no more make sense.
    fn round(
        &self,
        lane: Option<u32>,
        groups: &mut [Group<'_, '_>],
        outcomes: &mut [Option<Outcome>],
        retried: &mut bool,
    ) -> Result<(), CallError> {
        let interrupts = self.client.interrupts();
        let mut is_nowhere = false;
        let mut places: Vec<(Server, Vec<&mut Group<'_, '_>>)> = Vec::new();
        for group in groups.iter_mut().filter(|group| group.is_open()) {
            let server = match &group.asking {
                Some(server) => server.clone(),
                None => match self.client.route(&group.left[0].stream)? {
                    Some(server) => server,
                    None => {
                        group.ended = Some(nowhere(&group.left[0].stream).into_outcome());
                        is_nowhere = true;
                        continue;
                    }
                },
            };
            match places.iter_mut().find(|(known, _)| *known == server) {
                Some((_, groups)) => groups.push(group),
                None => places.push((server, vec![group])),
            }
        }
        if is_nowhere {
            self.client.ask_anew();
        }
        for (server, mut groups) in places {
            let (was_kept, error) = match self.client.session(&server) {
                Ok((mut session, was_kept)) => match self.exchange(&mut session, lane, &mut groups, outcomes) {
                    Ok(()) => {
                        if groups.iter().all(|group| group.ended.is_none()) {
                            self.client.keep(session);
                        }
                        continue;
                    }
                    Err(error) => (was_kept, named(&server, error)),
                },
                Err(error) => (false, error),
            };
            self.client.forget(&server);
            let error = unavailable(error.to_string());
            if self.client.interrupts() != interrupts {
                return Err(error);
            }
            // A connection that was kept may have ended long ago. Then nobody has seen the records, or it is noted.
            if was_kept && !std::mem::replace(retried, true) {
                continue;
            }
            // The other servers take what is theirs.
            let outcome = error.into_outcome();
            groups.iter_mut().filter(|group| group.is_open()).for_each(|group| group.ended = Some(outcome.clone()));
        }
        Ok(())
    }
}

impl Group<'_, '_> {
    fn is_open(&self) -> bool {
        !self.left.is_empty() && self.ended.is_none()
    }
}

/// What the script replied that was to add so many records.
pub(super) fn added(reply: Reply, records: usize) -> io::Result<Called> {
    let parts = match reply {
        Reply::Error(error) => return Ok(Called { taken: 0, error: Some(error) }),
        Reply::Array(parts) => parts,
        _ => return Err(undocumented()),
    };
    let [Reply::Number(taken), fault] = &parts[..] else { return Err(undocumented()) };
    let taken = usize::try_from(*taken).ok().filter(|taken| *taken <= records).ok_or_else(undocumented)?;
    let error = match fault {
        Reply::Text(error) | Reply::Error(error) => Some(error.trim_start_matches('-').to_owned()),
        _ => (taken < records).then(|| "ERR an error without words".to_owned()),
    };
    Ok(Called { taken, error })
}

fn undocumented() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply is not as documented")
}

impl Sink for RedisSink {
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        if !self.once || batch.memo().is_some() {
            return Ok(None);
        }
        // As long as nobody can be reached, nothing was sent.
        let streams =
            batch.iter().filter_map(|record| self.stream(&record.to_new(), &record.id()).ok().map(Cow::into_owned));
        self.client.reach_any(streams).map_err(CallError::into_send_error)?;
        Ok(Some(attempted::memo()))
    }

    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut entries = Vec::with_capacity(batch.len());
        for (index, record) in batch.iter().enumerate() {
            match self.entry(index, record) {
                Ok(entry) => entries.push(entry),
                Err(reason) => outcomes[index] = Some(Outcome::Rejected { reason }),
            }
        }
        let mut groups: Vec<Group<'_, '_>> = Vec::new();
        for entry in &entries {
            match groups.iter_mut().find(|group| group.left[0].stream == entry.stream) {
                Some(group) => group.left.push(entry),
                None => groups.push(Group { left: vec![entry], asking: None, ended: None }),
            }
        }
        let mut stopped = None;
        let (mut rounds, mut retried, mut before) = (0, false, usize::MAX);
        while groups.iter().any(Group::is_open) {
            if let Err(error) = self.round(batch.id.lane, &mut groups, &mut outcomes, &mut retried) {
                stopped = Some(error);
                break;
            }
            let left = groups.iter().filter(|group| group.is_open()).map(|group| group.left.len()).sum();
            // A round that added something was no redirection.
            rounds = if left < before { 0 } else { rounds + 1 };
            before = left;
            if rounds == MOST_ROUNDS {
                stopped = Some(unavailable("the nodes of the cluster send us from one to another"));
                break;
            }
        }
        for group in groups {
            for entry in group.left {
                outcomes[entry.index] = group.ended.clone();
            }
        }
        let mut report = report(outcomes, stopped);
        let some_arrived = report.exceptions().count() < batch.len();
        let age = attempted::age(batch).filter(|age| self.once && some_arrived && *age > self.once_expiry);
        if let Some(age) = age {
            report.set_once_ended(format!(
                "its first attempt was {} s ago, and what is noted beside streams is kept for {} s (once_expiry)",
                age.as_secs(),
                self.once_expiry.as_secs()
            ));
        }
        Ok(report)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        // An id that the buffer gives can stand in the name of a stream.
        self.stream(record, record.id.unwrap_or("0-0")).map(drop)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink").field("name", &self.name).finish_non_exhaustive()
    }
}

builder! {
    /// Options of a [`RedisSink`] to be.
    RedisBuilder of RedisOptions, setters redis_setters
}

impl RedisBuilder {
    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option or a variable that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<RedisSink> {
        let RedisBuilder { options, environment } = self;
        options.check_ranges()?;
        let place = Place::parse(&options.url, !options.sentinel.is_empty())?;
        let stream = match (&place.stream[..], &options.stream[..]) {
            (stream, "") | ("", stream) => stream,
            _ => return Err(invalid("the stream is given twice: in the url, and as an option")),
        };
        let username = match (&place.username[..], &options.username[..]) {
            (name, "") | ("", name) => name,
            (named, given) if named == given => named,
            _ => return Err(invalid("the url and the option username name two users")),
        };
        if options.max_len > 0 && options.max_age != crate::option_table::NEVER {
            return Err(invalid("max_len and max_age exclude each other"));
        }
        if options.cluster && place.database != 0 {
            return Err(invalid("a cluster has database 0 alone"));
        }
        let sentinel = Login::of(
            &options.sentinel_username,
            &options.sentinel_password,
            &options.sentinel_password_file,
            "sentinel_username",
        )?;
        let setting = match (options.cluster, &options.sentinel[..]) {
            (true, "") => Setting::Cluster,
            (false, "") => Setting::Servers,
            (false, name) => Setting::Sentinels(name.to_owned(), sentinel),
            (true, _) => return Err(invalid("cluster and sentinel exclude each other")),
        };
        let proxies = Environment::chosen(environment, options.use_environment)?;
        let trust = Trust::chosen(&options.ca_bundle, &proxies)?;
        let identity = Identity::of_options(&options.client_cert, &options.client_key)?;
        let hosts: Vec<_> = place.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
        let name = format!("redis://{}/{stream}", hosts.join(",")).trim_end_matches('/').to_owned();
        let limits = Limits {
            max_records: Some(options.max_call_records),
            max_bytes: Some(options.max_call_bytes),
            max_record_bytes: Some(options.max_record_bytes),
            overhead_bytes: OVERHEAD,
            counts_key: !options.key_field.is_empty(),
            counts_headers: options.headers,
            ordered: options.once,
            // By default one batch is in flight, which is one lane. More can be, as long as each lane keeps its order.
            order: Order::Key,
            in_flight: 1,
            checks_records: true,
        };
        Ok(RedisSink {
            client: Client {
                seeds: place.servers,
                setting,
                login: Login::of(username, &options.password, &options.password_file, "username")?,
                database: place.database,
                tls: place.tls,
                dialer: Dialer::new(proxies, trust, options.connect_timeout, options.timeout).identity(identity),
                connect_timeout: options.connect_timeout,
                known: Mutex::default(),
                interrupts: AtomicU64::new(0),
            },
            stream: Destination::parse("stream", stream)?,
            fields: Fields {
                payload: options.payload_field,
                id: options.id_field,
                key: options.key_field,
                time: options.time_field,
                header_prefix: options.headers.then_some(options.header_prefix),
            },
            trim: Trim { max_len: options.max_len, max_age: options.max_age, exact: options.exact_trim },
            once: options.once,
            once_expiry: options.once_expiry,
            replicas: options.replicas,
            limits,
            call_records: options.max_call_records as usize,
            call_bytes: options.max_call_bytes,
            timeout: options.timeout,
            name,
        })
    }
}
