//! [`NatsSink`]: from batches to the messages of a stream.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::auth::Auth;
use super::client::{Client, lock};
use super::options::{NatsAtomic, NatsOptions, NatsTls, nats_setters};
use super::publish::{Entry, Headers, Publisher, check_header};
use super::servers::{Place, Servers};
use super::session::Session;
use super::subject;
use super::window::{USUAL, duplicate_window};
use crate::batch::Batch;
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::sink::net::attempted;
use crate::sink::net::builder::builder;
use crate::sink::net::connect::Dialer;
use crate::sink::net::delivery::report;
use crate::sink::net::environment::Environment;
use crate::sink::net::failure::CallError;
use crate::sink::net::invalid;
use crate::sink::net::template::Destination;
use crate::sink::net::trust::{Identity, Trust};
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// What is counted of a message besides what its record counts: our headers.
const OVERHEAD: u64 = 128;
/// A stream that takes no atomic batches is asked again after this.
const ATOMIC_AGAIN: Duration = Duration::from_secs(60);
/// A stream's window is asked for again after this.
const WINDOW_AGAIN: Duration = Duration::from_secs(60);
/// No stream has a shorter window.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

/// Publishes records to a stream of JetStream and waits for the acknowledgement of each.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::nats::NatsSink;
/// let sink = NatsSink::builder("nats://localhost:4222/orders").creds_file("/run/secrets/user.creds").build()?;
/// # Ok(())
/// # }
/// ```
pub struct NatsSink {
    client: Client,
    subject: Destination,
    headers: Headers,
    atomic: NatsAtomic,
    /// No atomic batch is tried before this.
    alone_until: Mutex<Option<Instant>>,
    limits: Limits,
    timeout: Duration,
    /// What the subjects of JetStream's API begin with.
    api: String,
    /// The stream's window for ids, as it was known last.
    window: Mutex<Option<(Instant, Option<Duration>)>>,
    name: String,
}

impl NatsSink {
    /// A sink for the servers, and perhaps the subject, of a URL.
    pub fn builder(url: impl Into<String>) -> NatsBuilder {
        NatsBuilder::of_options(NatsOptions { url: url.into(), ..NatsOptions::default() })
    }

    /// Who speaks to the servers, for fuzzing.
    #[cfg(feature = "torture")]
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn subject<'a>(&'a self, record: &NewRecord<'a>, id: &str) -> Result<Cow<'a, str>, String> {
        let subject = self.subject.of(record, id)?;
        subject::check(&subject)?;
        record.headers.iter().try_for_each(|(name, value)| check_header(name, value))?;
        Ok(subject)
    }

    fn entry<'a>(&'a self, index: usize, record: Record<'a>) -> Result<Entry<'a>, String> {
        let id = record.id();
        let subject = self.subject(&record.to_new(), &id)?;
        Ok(Entry { index, record, subject, id })
    }

    fn publish(
        &self,
        session: &mut Session,
        entries: &[&Entry<'_>],
        outcomes: &mut [Option<Outcome>],
        receipts: Option<&mut Vec<(usize, String)>>,
    ) -> std::io::Result<()> {
        let (client, headers, timeout) = (&self.client, &self.headers, self.timeout);
        let mut publisher = Publisher { client, session, headers, timeout, outcomes, receipts };
        let until = *lock(&self.alone_until);
        let is_alone = match self.atomic {
            NatsAtomic::Never => true,
            NatsAtomic::Auto => until.is_some_and(|until| Instant::now() < until),
            NatsAtomic::Require => false,
        };
        if is_alone {
            return publisher.each(entries);
        }
        if !publisher.atomically(entries, self.atomic == NatsAtomic::Require)? {
            *lock(&self.alone_until) = Some(Instant::now() + ATOMIC_AGAIN);
        }
        Ok(())
    }
}

impl NatsSink {
    /// Why the stream may not know any more what an earlier attempt has sent, if that is so. `age` is how long that may be ago.
    fn why_forgotten(&self, session: &mut Session, subject: &str, age: Duration) -> Option<String> {
        let known = *lock(&self.window);
        let window = match known {
            Some((at, window)) if at.elapsed() < WINDOW_AGAIN => window,
            _ => {
                let stream = &self.headers.stream;
                let window = duplicate_window(session, &self.api, subject, stream, self.timeout).ok()?;
                *lock(&self.window) = Some((Instant::now(), window));
                window
            }
        };
        let (limit, whose) = match window {
            Some(window) => (window, "the stream remembers ids"),
            None => (USUAL, "streams remember ids, unless they are made otherwise,"),
        };
        (age > limit).then(|| {
            let (age, limit) = (age.as_secs_f64(), limit.as_secs_f64());
            format!("its first attempt was {age:.1} s ago, and {whose} for {limit} s (duplicate_window)")
        })
    }
}

impl Sink for NatsSink {
    fn prepare(&self, batch: &Batch) -> Result<Option<Vec<u8>>, SendError> {
        if !self.headers.deduplicate || batch.memo().is_some() {
            return Ok(None);
        }
        // As long as nobody can be reached, nothing was sent.
        let (session, _) = self.client.session().map_err(CallError::into_send_error)?;
        self.client.keep(session);
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
        let mut left: Vec<&Entry<'_>> = entries.iter().collect();
        let interrupts = self.client.interrupts();
        let mut receipts = batch.wants_receipts().then(Vec::new);
        let mut stopped = None;
        let mut forgotten = None;
        let age = attempted::age(batch).filter(|age| self.headers.deduplicate && *age >= SHORTEST_WINDOW);
        while !left.is_empty() {
            let (mut session, was_kept) = match self.client.session() {
                Ok(session) => session,
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            };
            if let Some(age) = age.filter(|_| forgotten.is_none()) {
                forgotten = self.why_forgotten(&mut session, &left[0].subject, age);
            }
            let Err(error) = self.publish(&mut session, &left, &mut outcomes, receipts.as_mut()) else {
                self.client.keep(session);
                break;
            };
            self.client.leave(&session);
            let (host, port) = (&session.server.host, session.server.port);
            let error = CallError::unavailable("publish", format!("{host}:{port}: {error}"));
            let before = left.len();
            left.retain(|entry| outcomes[entry.index].is_none());
            // A connection that was kept may have ended long ago. Then nobody has seen the records, or their ids tell.
            if !was_kept || left.len() < before || self.client.interrupts() != interrupts {
                stopped = Some(error);
                break;
            }
        }
        let mut report = report(outcomes, stopped);
        receipts.into_iter().flatten().for_each(|(index, receipt)| report.set_receipt(index, receipt));
        let some_arrived = report.exceptions().count() < batch.len();
        if let Some(why) = forgotten.filter(|_| some_arrived) {
            report.set_once_ended(why);
        }
        Ok(report)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        // An id that the buffer gives can stand in a subject.
        self.subject(record, record.id.unwrap_or("0-0")).map(drop)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink").field("name", &self.name).finish_non_exhaustive()
    }
}

builder! {
    /// Options of a [`NatsSink`] to be.
    NatsBuilder of NatsOptions, setters nats_setters
}

impl NatsBuilder {
    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option or a variable that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<NatsSink> {
        let NatsBuilder { options, environment } = self;
        options.check_ranges()?;
        let place = Place::parse(&options.url)?;
        let tls = match options.tls {
            NatsTls::Auto if place.tls => NatsTls::Require,
            given => given,
        };
        let subject = match (&place.subject[..], &options.subject[..]) {
            (subject, "") | ("", subject) => subject,
            _ => return Err(invalid("the subject is given twice: in the url, and as an option")),
        };
        let proxies = Environment::chosen(environment, options.use_environment)?;
        let trust = Trust::chosen(&options.ca_bundle, &proxies)?;
        let identity = Identity::of_options(&options.client_cert, &options.client_key)?;
        let limits = Limits {
            max_records: Some(options.max_call_records),
            max_bytes: Some(options.max_call_bytes),
            max_record_bytes: Some(options.max_record_bytes),
            overhead_bytes: OVERHEAD,
            counts_key: options.metadata,
            counts_headers: true,
            checks_records: true,
            ..Limits::default()
        };
        let hosts: Vec<_> = place.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
        let name = format!("nats://{}/{subject}", hosts.join(",")).trim_end_matches('/').to_owned();
        if subject::is_reserved(subject) {
            return Err(invalid(format!("the subject {subject:?} is one that a server listens to itself")));
        }
        let subject = Destination::parse("subject", subject)?;
        let client = Client {
            auth: Auth::of(&options, place.username)?,
            servers: Mutex::new(Servers::new(place.servers)),
            dialer: Dialer::new(proxies, trust, options.connect_timeout, options.timeout).identity(identity),
            tls,
            discover: options.discover,
            inbox_prefix: options.inbox_prefix,
            name: options.connection_name,
            connect_timeout: options.connect_timeout,
            idle: Mutex::default(),
            interrupts: AtomicU64::new(0),
        };
        Ok(NatsSink {
            client,
            subject,
            headers: Headers { deduplicate: options.deduplicate, metadata: options.metadata, stream: options.stream },
            atomic: options.atomic,
            alone_until: Mutex::default(),
            limits,
            timeout: options.timeout,
            api: match &options.domain[..] {
                "" => "$JS.API".to_owned(),
                domain => format!("$JS.{domain}.API"),
            },
            window: Mutex::default(),
            name,
        })
    }
}
