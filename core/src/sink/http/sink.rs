//! [`HttpSink`]: from batches to requests.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::auth::{Auth, TokenFn};
use super::client::{Client, Session, at_path, with_query};
use super::dialect::{CallLimits, Dialect, Entry, Question, Request, header_value};
use super::options::{
    AnswerForm, BodyForm, Compression, HttpOptions, Method, Preset, RecordForm, Redirects, http_setters,
};
use super::status::{Meaning, Statuses, refusal};
use super::unanswered::Unanswered;
use super::{presets, setup};
use crate::batch::Batch;
use crate::error::Result;
use crate::order::Order;
use crate::record::{NewRecord, Record};
use crate::secret::Secret;
use crate::sink::net::delivery::{Delivery, Outcomes, split};
use crate::sink::net::environment::Environment;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// How many requests at once are best for a service that sorts records itself: each takes a round trip and some milliseconds.
const IN_FLIGHT: u64 = 8;

/// A service is asked for an acknowledgement after this, then after twice as long each time, up to [`QUESTION_EVERY`].
const FIRST_QUESTION_AFTER: Duration = Duration::from_millis(100);

/// A service is asked for an acknowledgement at least so often.
const QUESTION_EVERY: Duration = Duration::from_secs(2);

/// Sends batches in requests of HTTP/1.1, over as many kept connections as there are batches in flight.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::http::HttpSink;
/// let sink = HttpSink::builder("https://example.org/events").token_file("/run/secrets/token").build()?;
/// # Ok(())
/// # }
/// ```
pub struct HttpSink {
    client: Client,
    dialect: Box<dyn Dialect>,
    statuses: Statuses,
    limits: CallLimits,
    content_type: HeaderValue,
    idempotency: Option<HeaderName>,
    /// How long a service may take to acknowledge what it has taken.
    acknowledge_timeout: Duration,
    /// Whether it is known that it does.
    acknowledges: AtomicBool,
}

impl HttpSink {
    /// A sink for a URL.
    pub fn builder(url: impl Into<String>) -> HttpBuilder {
        HttpBuilder::of_options(HttpOptions { url: url.into(), ..HttpOptions::default() })
    }

    fn entry<'a>(&self, index: usize, record: Record<'a>) -> Result<Entry<'a>, String> {
        self.dialect.check(&record.to_new())?;
        let id = record.id();
        let piece = self.dialect.piece(&record, &id);
        let (bytes, most) = (piece.len() as u64, self.limits.record_bytes);
        if bytes > most {
            return Err(format!("it is {bytes} bytes in the body; a record may be {most}"));
        }
        let bytes = bytes + self.dialect.framing_bytes() + self.dialect.extra_bytes(&record, &id);
        Ok(Entry { index, record, id, piece, bytes })
    }

    /// Consecutive entries within the limits of a request. A request that was not answered is one by itself again.
    fn calls<'e, 'a>(&self, entries: &'e [&'a Entry<'a>], unanswered: &Unanswered) -> Vec<&'e [&'a Entry<'a>]> {
        let with = |entry: &Entry<'_>| unanswered.with(entry.record.seq);
        split(
            entries,
            |entry| (1, entry.bytes, with(entry)),
            |(records, sum, before), entry| {
                let (records, sum) = (records + 1, sum + entry.bytes);
                let fits = records <= self.limits.records && sum <= self.limits.bytes && with(entry) == *before;
                fits.then_some((records, sum, *before))
            },
        )
    }

    /// Whether the service may know a request by its name. What sorts records itself knows each of them, or nothing; a record
    /// that has a request of its own has its own name.
    fn may_know_requests(&self) -> bool {
        !self.dialect.is_unordered() && self.limits.records > 1
    }

    fn exchange(&self, session: &Session, batch: &Batch, entries: &[&Entry<'_>]) -> Outcomes {
        let body = self.dialect.body(entries);
        let request = Request { batch, entries, body: &body };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if let Some(name) = &self.idempotency {
            let id = match entries {
                [entry] if self.limits.records == 1 => header_value(&entry.id),
                _ => header_value(&request.id()),
            };
            headers.insert(name, id);
        }
        self.dialect.headers(&request, &mut headers);
        if !self.acknowledges.load(Ordering::Relaxed) {
            if let Some(question) = self.dialect.first_question(&request) {
                self.ask(session, &question)?;
            }
            self.acknowledges.store(true, Ordering::Relaxed);
        }
        let url = match self.dialect.query(&request) {
            Some(query) => {
                with_query(self.client.url(), &query).ok_or_else(|| self.unavailable("its query is none"))?
            }
            None => self.client.url().clone(),
        };
        let answer = self.client.call(session, url, &headers, &body)?;
        let outcomes = judge(&*self.dialect, &self.statuses, self.client.operation(), &answer, entries)?;
        let is_taken = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered));
        if is_taken && let Some(question) = self.dialect.question(&answer, &request)? {
            self.await_yes(session, &question)?;
        }
        Ok(outcomes)
    }

    fn unavailable(&self, message: impl Into<String>) -> CallError {
        CallError::unavailable(self.client.operation(), message)
    }

    /// Asks the service once; whether it says yes.
    fn ask(&self, session: &Session, question: &Question) -> std::result::Result<bool, CallError> {
        let url = at_path(self.client.url(), question.path).ok_or_else(|| self.unavailable("its path is none"))?;
        let mut headers = question.headers.clone();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        let answer = self.client.call(session, url, &headers, &question.body)?;
        match self.statuses.is_the_services(&answer) {
            true => (question.is_yes)(&answer),
            false => Err(refusal(self.client.operation(), &answer, Meaning::Unavailable, false)),
        }
    }

    /// Asks the service until it says yes. What it took is there already, so that an answer that does not come is asked for
    /// again, and not the records sent again, before the time is over.
    fn await_yes(&self, session: &Session, question: &Question) -> std::result::Result<(), CallError> {
        let deadline = Instant::now() + self.acknowledge_timeout;
        let mut wait = FIRST_QUESTION_AFTER;
        loop {
            if !self.client.pause(session, wait) {
                return Err(self.unavailable("interrupted before the acknowledgement"));
            }
            let said = self.ask(session, question);
            match said {
                Ok(true) => return Ok(()),
                _ if Instant::now() < deadline => wait = (wait * 2).min(QUESTION_EVERY),
                Ok(false) => {
                    let seconds = self.acknowledge_timeout.as_secs_f64();
                    return Err(self.unavailable(format!("taken, but not acknowledged within {seconds} s")));
                }
                Err(error) => return Err(self.unavailable(format!("taken, but not acknowledged: {error}"))),
            }
        }
    }
}

/// What an answer means for the records of its request.
///
/// # Errors
/// It speaks for all of them, and they are not delivered.
pub(super) fn judge(
    dialect: &dyn Dialect,
    statuses: &Statuses,
    operation: &'static str,
    answer: &Answer,
    entries: &[&Entry<'_>],
) -> Outcomes {
    let ours = statuses.is_the_services(answer) && (statuses.believes_all() || dialect.is_own(answer));
    match statuses.of(answer, ours, dialect.meaning(answer)) {
        Meaning::Delivered => {
            let mut outcomes = dialect.delivered(answer, entries, statuses)?;
            for outcome in &mut outcomes {
                if let Outcome::Unavailable { retry_after, .. } = outcome {
                    *retry_after = retry_after.or_else(|| answer.retry_after());
                }
            }
            Ok(outcomes)
        }
        Meaning::Rejected => {
            let error = refusal(operation, answer, Meaning::Rejected, ours);
            Ok(vec![Outcome::Rejected { reason: error.to_string() }; entries.len()])
        }
        other => Err(refusal(operation, answer, other, ours)),
    }
}

impl Sink for HttpSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let session = self.client.session();
        let mut delivery = match self.dialect.is_unordered() {
            true => Delivery::new(batch.len()),
            false => Delivery::in_order(batch.len()),
        };
        let mut entries = Vec::with_capacity(batch.len());
        for (index, record) in batch.iter().enumerate() {
            match self.entry(index, record) {
                Ok(entry) => entries.push(entry),
                Err(reason) => delivery.reject(index, reason),
            }
        }
        let entries: Vec<_> = entries.iter().collect();
        let unanswered = Unanswered::of(batch);
        let mut calls = self.calls(&entries, &unanswered).into_iter();
        let stopped =
            calls.find_map(|call| delivery.send(call, &mut |part| self.exchange(&session, batch, part)).err());
        let ends = delivery.unanswered().filter(|_| self.may_know_requests());
        let mut report = delivery.finish(stopped);
        // Where nothing is settled, all of it happens once more, as it was.
        let left = report.exceptions().filter(|(_, outcome)| !matches!(outcome, Outcome::Rejected { .. })).count();
        if let Some((first, last)) = ends.filter(|_| left < batch.len() || batch.memo().is_some())
            && let (Some(first), Some(last)) = (batch.get(first), batch.get(last))
        {
            report.memo = Some(unanswered.after(first.seq, last.seq));
        }
        Ok(report)
    }

    fn limits(&self) -> Limits {
        // Where a request has one record, a batch may have many all the same.
        let of_call = |limit: u64| (self.limits.records > 1).then_some(limit);
        Limits {
            max_records: of_call(self.limits.records),
            max_bytes: of_call(self.limits.bytes),
            max_record_bytes: Some(self.limits.record_bytes + self.dialect.framing_bytes()),
            overhead_bytes: self.dialect.framing_bytes(),
            checks_records: true,
            order: if self.dialect.is_unordered() { Order::None } else { Order::Auto },
            in_flight: if self.dialect.is_unordered() { IN_FLIGHT } else { 1 },
            ..Limits::default()
        }
    }

    fn admit(&self, record: &NewRecord<'_>) -> Result<(), String> {
        self.dialect.check(record)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(self.client.place().to_string().trim_end_matches('/').to_owned())
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Options of an [`HttpSink`] to be.
#[derive(Clone, Default)]
pub struct HttpBuilder {
    options: HttpOptions,
    token: Option<Arc<TokenFn>>,
    environment: Option<Environment>,
    /// Whether a header was given that would have been several.
    breaks_lines: bool,
}

impl HttpBuilder {
    /// With these options, and nothing besides.
    pub(super) fn of_options(options: HttpOptions) -> Self {
        HttpBuilder { options, ..Self::default() }
    }

    http_setters!();

    /// Sets an option from its text form.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown key or a value that it does not take.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self> {
        self.options.set(key, value)?;
        Ok(self)
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.breaks_lines |= breaks_lines(name) || breaks_lines(value);
        self.options.headers.push_str(&format!("\n{name}: {value}"));
        self
    }

    /// Adds a header to every request that nobody else is to see, such as an API key.
    #[must_use]
    pub fn secret_header(mut self, name: &str, value: impl Into<Secret>) -> Self {
        let (before, value) = (self.options.secret_headers.clone(), value.into());
        self.breaks_lines |= breaks_lines(name) || breaks_lines(value.reveal());
        let lines = Zeroizing::new(format!("{}\n{name}: {}", before.reveal(), value.reveal()));
        self.options.secret_headers = Secret::new(&lines);
        self
    }

    /// Asks a closure for the token of `Authorization: Bearer` before every request. While it fails, the sink is unavailable.
    #[must_use]
    pub fn token_fn(
        mut self,
        function: impl Fn() -> Result<Secret, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.token = Some(Arc::new(function));
        self
    }

    /// Reads these variables instead of the process's own.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option or a variable that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<HttpSink> {
        let HttpBuilder { options, token, environment, breaks_lines } = self;
        if breaks_lines {
            return Err(invalid("a header has a line break, and would be several"));
        }
        options.check_ranges()?;
        let dialect = presets::dialect(&options)?;
        let auth = Auth::of(&options, token)?;
        let client = setup::client(&options, &*dialect, auth, environment)?;
        let usual = dialect.limits();
        let given = |own: u64, usual: u64| if own == 0 { usual } else { own };
        let bytes = given(options.max_call_bytes, usual.bytes);
        // Loki's is of a line's text, and its limits are made of it.
        let of_record = if options.preset == Preset::Loki { 0 } else { options.max_record_bytes };
        let record_bytes = given(of_record, usual.record_bytes.min(bytes)).min(bytes);
        let records = given(options.max_call_records, usual.records);
        if usual.records == 1 && records != 1 {
            return Err(invalid("max_call_records is above 1, and a request has one record"));
        }
        let content_type = match &options.content_type[..] {
            "" => HeaderValue::from_static(dialect.content_type()),
            given => HeaderValue::from_str(given).map_err(|_| invalid("content_type is not the value of a header"))?,
        };
        let idempotency = match &options.idempotency_header[..] {
            "" => None,
            name => Some(name.parse().map_err(|_| invalid("idempotency_header is not the name of a header"))?),
        };
        Ok(HttpSink {
            client,
            statuses: Statuses::parse(&options.statuses, &options.answer_type)?,
            limits: CallLimits { records, bytes, record_bytes },
            content_type,
            idempotency,
            dialect,
            acknowledge_timeout: options.acknowledge_timeout,
            acknowledges: AtomicBool::new(false),
        })
    }
}

fn breaks_lines(text: &str) -> bool {
    text.contains(['\r', '\n'])
}

impl fmt::Debug for HttpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBuilder").finish_non_exhaustive()
    }
}
