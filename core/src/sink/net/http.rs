//! Requests to one place over kept connections.
//!
//! Nothing is retried and no redirection is followed: the producer's schedule decides when to try again, and credentials
//! go nowhere but where they were meant to.

use std::fmt;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::config::AutoHeaderValue;
use ureq::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Uri};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, SendBody};
use zeroize::Zeroizing;

use super::connect::Dialer;
use super::date;
use super::early::EarlyAnswers;
use super::environment::Environment;
use super::exchange::{Exchange, Unresolved};
use super::proxy::proxy_for;
use super::redact::Mask;
use super::trust::{Identity, Trust};
use crate::error::Result;

/// How to reach a place.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Chooses the proxy; [`Environment::empty`] is a direct way.
    pub(crate) proxies: Environment,
    pub(crate) trust: Trust,
    /// The certificate that we show to a server that asks for one.
    pub(crate) identity: Option<Identity>,
    /// The longest time to connect: names, addresses, proxy and TLS together.
    pub(crate) connect_timeout: Duration,
    /// The longest time from connecting to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// The most bytes of an answer's body, unpacked. A longer one is an error.
    pub(crate) max_answer: usize,
    /// Whether the server may compress the answer. Must be off where the answer holds secrets: unpacking leaves copies in
    /// memory that are not cleared.
    pub(crate) compressed: bool,
}

/// A connection that was idle for so long is not used again, and is closed by the next request.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// So long a server may take to say whether it wants a body that is announced by `Expect: 100-continue`. Then it is sent: a
/// server need not know of this.
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// So much memory is allocated for a body at once. A body that fits leaves no copies behind, as memory that grows does.
const USUAL_ANSWER: usize = 64 * 1024;

/// A client for one scheme, host and port. It keeps as many connections open as requests were under way at the same time.
#[derive(Debug)]
pub(crate) struct Http {
    place: Uri,
    settings: Settings,
    connections: Mutex<Connections>,
}

/// The connections of a client, until it is interrupted. A sink takes them once for a whole batch, so that an interrupt ends
/// all calls for it, those that were not begun yet too.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Agent);

impl Http {
    /// # Errors
    /// The environment names a proxy that is none.
    pub(crate) fn new(place: Uri, settings: Settings) -> Result<Self> {
        let connections = Mutex::new(Connections::new(&place, &settings)?);
        Ok(Http { place, settings, connections })
    }

    pub(crate) fn place(&self) -> &Uri {
        &self.place
    }

    pub(crate) fn connections(&self) -> Connections {
        self.lock().clone()
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// Why there is no complete answer, in words without secrets. A success that was answered before the body was sent is none:
    /// nobody has taken what was not sent.
    pub(crate) fn call(&self, connections: &Connections, request: Request<&[u8]>) -> Result<Answer, String> {
        let lost = |error: ureq::Error| format!("{} ({})", describe(&error), self.place);
        let (mut parts, mut unsent) = request.into_parts();
        // Only a GET has no body. Another request without one has a length all the same, which is 0: servers demand it.
        let response = if parts.method == Method::GET {
            connections.0.run(Request::from_parts(parts, ()))
        } else if unsent.is_empty() {
            connections.0.run(Request::from_parts(parts, unsent))
        } else {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(unsent.len()));
            connections.0.run(Request::from_parts(parts, SendBody::from_reader(&mut unsent)))
        };
        let mut response = response.map_err(lost)?;
        let status = response.status();
        if status.is_success() && !unsent.is_empty() {
            return Err(format!(
                "status {} before the body was sent, so that nobody has taken it ({})",
                status.as_u16(),
                self.place
            ));
        }
        let received = SystemTime::now();
        // A server that refuses a request by its head alone may close in the middle of its words; its status says enough.
        let is_without_end =
            response.body().content_length().is_none() && !response.headers().contains_key(TRANSFER_ENCODING);
        let most = self.settings.max_answer;
        let mut body = Zeroizing::new(Vec::with_capacity(most.min(USUAL_ANSWER) + 1));
        let read = response.body_mut().as_reader().take(most as u64 + 1).read_to_end(&mut body);
        if let Err(error) = read
            && !(is_without_end && status.is_client_error())
        {
            return Err(lost(error.into()));
        }
        if body.len() > most {
            return Err(format!("an answer of more than {most} bytes ({})", self.place));
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status: status.as_u16(), headers, body, received })
    }

    /// Ends the calls under way, except that one that is still connecting ends with `connect_timeout`. Later calls use new
    /// connections.
    pub(crate) fn interrupt(&self) {
        // The proxy was found good when the client was made.
        if let Ok(fresh) = Connections::new(&self.place, &self.settings) {
            let Connections(old) = std::mem::replace(&mut *self.lock(), fresh);
            old.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    fn new(place: &Uri, settings: &Settings) -> Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("unistream/", env!("CARGO_PKG_VERSION")))
            // Proxies and TLS are the business of `Exchange`.
            .proxy(None)
            .timeout_await_100(Some(CONTINUE_WITHIN))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_global(Some(settings.timeout))
            // Keep as many as are in flight; `max_in_flight` bounds them.
            .max_idle_connections(usize::MAX)
            .max_idle_connections_per_host(usize::MAX)
            .max_idle_age(MAX_IDLE);
        if !settings.compressed {
            config = config.accept_encoding(AutoHeaderValue::None);
        }
        let Settings { trust, identity, connect_timeout, timeout, .. } = settings.clone();
        let dialer = Dialer::new(Environment::empty(), trust, connect_timeout, timeout).identity(identity);
        let exchange = Exchange { dialer, proxy: proxy_for(place, &settings.proxies)? };
        Ok(Connections(Agent::with_parts(config.build(), exchange.chain(EarlyAnswers), Unresolved)))
    }
}

fn describe(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::Timeout(what) => format!("time-out ({what:?})"),
        other => other.to_string(),
    };
    // What a user can do about what TLS says in its own words.
    let hint = if text.contains("UnknownIssuer") {
        "; if its authority is your own, name the file of it: the option ca_bundle, or SSL_CERT_FILE"
    } else if text.contains("InvalidContentType") {
        "; the server does not speak TLS on this port"
    } else {
        ""
    };
    text + hint
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    /// The body, unpacked.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// When its head had arrived.
    received: SystemTime,
}

impl Answer {
    /// Makes an answer, for tests.
    #[cfg(any(test, feature = "torture"))]
    pub(crate) fn new(status: u16, headers: &[(&str, &[u8])], body: &[u8]) -> Self {
        let header = |(name, value): &(&str, &[u8])| {
            Some((ureq::http::HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
        };
        let headers = headers.iter().filter_map(header).collect();
        Answer { status, headers, body: Zeroizing::new(body.to_vec()), received: SystemTime::now() }
    }

    /// A header that is text; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether there is a header whose name begins so; in lower case.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "for the sinks that know a service by them"))]
    pub(crate) fn has_header_like(&self, start: &str) -> bool {
        self.headers.keys().any(|name| name.as_str().starts_with(start))
    }

    /// How long the server asks to leave it alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let server_clock = self.header("date").and_then(date::parse);
        date::retry_after(self.header("retry-after")?, server_clock)
    }

    /// How far the server's clock is ahead of ours, in seconds; negative if behind.
    pub(crate) fn clock_ahead(&self) -> Option<i64> {
        let server_clock = date::parse(self.header("date")?)?;
        let seconds = |wait: Duration| i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        Some(match server_clock.duration_since(self.received) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        })
    }

    /// Puts stars in place of the secrets that the server repeats.
    pub(crate) fn redact(&mut self, mask: &Mask) {
        mask.apply(&mut self.body);
        for value in self.headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            mask.apply(&mut bytes);
            if bytes != value.as_bytes() {
                // Stars are good bytes of a header.
                *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("***"));
            }
        }
    }
}

impl fmt::Debug for Answer {
    /// Shows no header and no body: they could hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}
