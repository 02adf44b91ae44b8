//! [`HttpSink`]: from batches to requests.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::auth::{Auth, TokenFn};
use super::client::Client;
use super::dialect::{CallLimits, Dialect, Entry, Request, header_value};
use super::options::{
    AnswerForm, BodyForm, Compression, HttpOptions, Method, Preset, RecordForm, Redirects, http_setters,
};
use super::status::{Meaning, Statuses};
use super::{presets, setup};
use crate::batch::Batch;
use crate::error::Result;
use crate::record::{NewRecord, Record};
use crate::secret::Secret;
use crate::sink::net::delivery::{Delivery, Outcomes, split};
use crate::sink::net::environment::Environment;
use crate::sink::net::http::Connections;
use crate::sink::net::invalid;
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

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
        Ok(Entry { index, record, id, piece })
    }

    /// Consecutive entries within the limits of a request.
    fn calls<'e, 'a>(&self, entries: &'e [&'a Entry<'a>]) -> Vec<&'e [&'a Entry<'a>]> {
        let bytes = |entry: &&Entry<'_>| entry.piece.len() as u64 + self.dialect.framing_bytes();
        split(
            entries,
            |entry| (1, bytes(entry)),
            |(records, sum), entry| {
                let grown = (records + 1, sum + bytes(entry));
                Some(grown).filter(|(records, sum)| *records <= self.limits.records && *sum <= self.limits.bytes)
            },
        )
    }

    fn exchange(&self, connections: &Connections, batch: &Batch, entries: &[&Entry<'_>]) -> Outcomes {
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
        let answer = self.client.call(connections, self.dialect.query(&request).as_deref(), &headers, &body)?;
        let ours = self.statuses.is_the_services(&answer);
        let meaning = match self.dialect.meaning(&answer).filter(|_| ours) {
            Some(meaning) => meaning,
            None => self.statuses.of(&answer),
        };
        match meaning {
            Meaning::Delivered => self.dialect.delivered(&answer, entries, &self.statuses),
            Meaning::Rejected => {
                let error = self.statuses.refusal(self.client.operation(), &answer, meaning);
                Ok(vec![Outcome::Rejected { reason: error.to_string() }; entries.len()])
            }
            other => Err(self.statuses.refusal(self.client.operation(), &answer, other)),
        }
    }
}

impl Sink for HttpSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        let connections = self.client.connections();
        let mut delivery = Delivery::new(batch.len());
        let mut entries = Vec::with_capacity(batch.len());
        for (index, record) in batch.iter().enumerate() {
            match self.entry(index, record) {
                Ok(entry) => entries.push(entry),
                Err(reason) => delivery.reject(index, reason),
            }
        }
        let entries: Vec<_> = entries.iter().collect();
        for call in self.calls(&entries) {
            if let Err(error) = delivery.send(call, &mut |entries| self.exchange(&connections, batch, entries)) {
                return Ok(delivery.finish(Some(error)));
            }
        }
        Ok(delivery.finish(None))
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
        self.options.headers.push_str(&format!("\n{name}: {value}"));
        self
    }

    /// Adds a header to every request that nobody else is to see, such as an API key.
    #[must_use]
    pub fn secret_header(mut self, name: &str, value: impl Into<Secret>) -> Self {
        let (before, value) = (self.options.secret_headers.clone(), value.into());
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
        let HttpBuilder { options, token, environment } = self;
        options.check_ranges()?;
        let dialect = presets::dialect(&options)?;
        let auth = Auth::of(&options, token)?;
        let client = setup::client(&options, &*dialect, auth, environment)?;
        let usual = dialect.limits();
        let given = |own: u64, usual: u64| if own == 0 { usual } else { own };
        let bytes = given(options.max_call_bytes, usual.bytes);
        let record_bytes = given(options.max_record_bytes, usual.record_bytes.min(bytes)).min(bytes);
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
        })
    }
}

impl fmt::Debug for HttpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBuilder").finish_non_exhaustive()
    }
}
