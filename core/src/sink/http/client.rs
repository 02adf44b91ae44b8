//! Requests with their headers and secrets, over kept connections, and along the redirections that may be followed.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::write::GzEncoder;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::auth::{Auth, Proof};
use super::options::{Compression, Method, Redirects};
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::{Answer, Connections, Http, Settings};
use crate::sink::net::invalid;
use crate::sink::net::redact::Mask;

/// So many redirections are followed one after another.
const MAX_REDIRECTS: usize = 5;

/// For so many hosts where redirections led, connections are kept, besides those that are in use.
const MAX_ELSEWHERE: usize = 16;

/// The fastest level: smaller than gzip in a third of its time.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// What a sink does with each request, whatever is in it.
pub(super) struct Way {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) secret_headers: Vec<(HeaderName, Secret)>,
    /// What else must not show where the service repeats it.
    pub(super) hidden: Vec<Secret>,
    pub(super) auth: Auth,
    /// The header of a token, and what stands before the token in it.
    pub(super) authorization: (&'static str, &'static str),
    pub(super) redirects: Redirects,
    pub(super) compression: Compression,
    /// Larger bodies are announced.
    pub(super) expect_above: u64,
}

/// Sends requests to one URL.
pub(super) struct Client {
    way: Way,
    settings: Settings,
    http: Http,
    /// The clients for other hosts, where redirections led, the latest last.
    elsewhere: Mutex<Vec<Arc<Http>>>,
    /// How often the client was interrupted.
    interrupts: Mutex<u64>,
    interrupted: Condvar,
}

/// What the requests for one batch have in common, so that an interrupt ends all of them, those that were not begun yet too.
pub(super) struct Session {
    connections: Connections,
    interrupts: u64,
}

impl Client {
    /// # Errors
    /// The environment names a proxy that is none.
    pub(super) fn new(way: Way, settings: Settings) -> Result<Self> {
        let http = Http::new(origin(&way.url)?, settings.clone())?;
        let (interrupts, interrupted) = Default::default();
        Ok(Client { way, settings, http, elsewhere: Mutex::default(), interrupts, interrupted })
    }

    /// The name of requests in messages.
    pub(super) fn operation(&self) -> &'static str {
        match self.way.method {
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        }
    }

    /// Scheme, host and port: what shows in messages. The path may be secret.
    pub(super) fn place(&self) -> &Uri {
        self.http.place()
    }

    /// Where requests go.
    pub(super) fn url(&self) -> &Uri {
        &self.way.url
    }

    /// A `send` takes it once, for all of its requests.
    pub(super) fn session(&self) -> Session {
        let interrupts = *lock(&self.interrupts);
        Session { connections: self.http.connections(), interrupts }
    }

    /// Waits; whether nothing interrupted it.
    pub(super) fn pause(&self, session: &Session, time: Duration) -> bool {
        let unchanged = |count: &mut u64| *count == session.interrupts;
        let waited = self.interrupted.wait_timeout_while(lock(&self.interrupts), time, unchanged);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Ends the requests and pauses under way; later ones get fresh connections.
    pub(super) fn interrupt(&self) {
        *lock(&self.interrupts) += 1;
        self.interrupted.notify_all();
        self.http.interrupt();
        let elsewhere = lock(&self.elsewhere).clone();
        elsewhere.iter().for_each(|http| http.interrupt());
    }

    /// Sends a body to a URL of the service and reads the answer, whatever its status.
    pub(super) fn call(
        &self,
        session: &Session,
        mut url: Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let unavailable = |message: String| CallError::unavailable(self.operation(), message);
        let proof = self.way.auth.proof(self.way.authorization.1).map_err(unavailable)?;
        let (packed, encoding) = self.pack(body);
        let mut announced = packed.len() as u64 > self.way.expect_above;
        for _ in 0..=MAX_REDIRECTS {
            let is_home = same_origin(&url, &self.way.url);
            let authorization = proof.as_ref().filter(|_| is_home).map(|proof| &proof.value);
            let mut request = self.request(&url, headers, authorization, is_home, &packed).map_err(unavailable)?;
            if let Some(encoding) = encoding {
                request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            if announced {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
            }
            let mut answer = match is_home {
                true => self.http.call(&session.connections, request),
                false => {
                    let http = self.client_for(&url).map_err(|error| unavailable(error.to_string()))?;
                    let connections = http.connections();
                    // In this order: an interrupt that is not seen here comes later, and ends these connections.
                    if *lock(&self.interrupts) != session.interrupts {
                        return Err(unavailable("interrupted".into()));
                    }
                    http.call(&connections, request)
                }
            }
            .map_err(unavailable)?;
            // Who does not know of the announcement says so, and gets the body without: RFC 9110, 10.1.1.
            if answer.status == 417 && std::mem::take(&mut announced) {
                continue;
            }
            self.hide(&mut answer, proof.as_ref());
            match self.redirection(&url, &answer) {
                Some(next) => url = next,
                None => return Ok(answer),
            }
        }
        Err(unavailable(format!("more than {MAX_REDIRECTS} redirections ({})", self.place())))
    }

    /// Masks what the service repeats of our secrets.
    fn hide(&self, answer: &mut Answer, proof: Option<&Proof>) {
        let of_headers = self.way.secret_headers.iter().map(|(_, secret)| secret);
        let of_proof = proof.iter().flat_map(|proof| &proof.secrets);
        let secrets: Vec<_> = of_headers.chain(of_proof).chain(&self.way.hidden).map(Secret::reveal).collect();
        // Nobody reads anything but the body of a success.
        let is_mute = (200..300).contains(&answer.status) && answer.body.is_empty();
        if !secrets.is_empty() && !is_mute {
            answer.redact(&Mask::new(secrets));
        }
    }

    /// The body as it is sent, and its `Content-Encoding`.
    fn pack<'b>(&self, body: &'b [u8]) -> (Cow<'b, [u8]>, Option<&'static str>) {
        let (packed, encoding) = match self.way.compression {
            Compression::None => return (body.into(), None),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
                (encoder.write_all(body).and_then(|()| encoder.finish()), "gzip")
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => (zstd::bulk::compress(body, ZSTD_LEVEL), "zstd"),
            // No sink is made of it.
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => return (body.into(), None),
        };
        // Writing to memory cannot fail; should it, the body goes as it is.
        packed.map_or((body.into(), None), |packed| (packed.into(), Some(encoding)))
    }

    /// A request. Secrets go to the sink's own host and nowhere else.
    fn request<'b>(
        &self,
        url: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
        is_home: bool,
        body: &'b [u8],
    ) -> Result<http::Request<&'b [u8]>, String> {
        let mut request = http::Request::builder()
            .method(self.operation())
            .uri(url.clone())
            .body(body)
            .map_err(|error| error.to_string())?;
        let all = request.headers_mut();
        // What a record brings along is weaker than what the sink was configured with.
        all.extend(headers.clone());
        all.extend(self.way.headers.clone());
        if is_home {
            for (name, secret) in &self.way.secret_headers {
                let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| format!("{name} is no header"))?;
                value.set_sensitive(true);
                all.insert(name, value);
            }
            if let Some(value) = authorization {
                let name = match self.way.auth.is_basic() {
                    true => header::AUTHORIZATION,
                    false => HeaderName::from_static(self.way.authorization.0),
                };
                all.insert(name, value.clone());
            }
        }
        Ok(request)
    }

    /// Where a request that was answered so is to be sent instead.
    fn redirection(&self, url: &Uri, answer: &Answer) -> Option<Uri> {
        // With other statuses it would be a GET without a body, whose success says nothing about the records.
        if !matches!(answer.status, 307 | 308) || self.way.redirects == Redirects::None {
            return None;
        }
        let next = resolve(url, answer.header("location")?)?;
        let is_safe = match self.way.redirects {
            Redirects::Any => next.scheme_str() == Some("https") || url.scheme_str() == Some("http"),
            _ => same_origin(&next, url),
        };
        is_safe.then_some(next)
    }

    fn client_for(&self, url: &Uri) -> Result<Arc<Http>> {
        let place = origin(url)?;
        let mut elsewhere = lock(&self.elsewhere);
        let http = match elsewhere.iter().position(|http| *http.place() == place) {
            Some(known) => elsewhere.remove(known),
            None => {
                // A certificate that names us is for the host that the sink was made for.
                let settings = Settings { identity: None, ..self.settings.clone() };
                Arc::new(Http::new(place, settings)?)
            }
        };
        elsewhere.push(http.clone());
        while elsewhere.len() > MAX_ELSEWHERE
            && let Some(unused) = elsewhere.iter().position(|http| Arc::strong_count(http) == 1)
        {
            elsewhere.remove(unused);
        }
        Ok(http)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", self.place()).field("auth", &self.way.auth).finish_non_exhaustive()
    }
}

/// The URL that a `Location` names, as seen from the URL that it answers.
pub(super) fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let location = location.split('#').next()?;
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let next: Uri = absolute.parse().ok()?;
    let is_web = matches!(next.scheme_str()?, "http" | "https");
    (is_web && !next.authority()?.as_str().contains('@')).then_some(next)
}

/// A URL with more in its query.
pub(super) fn with_query(url: &Uri, query: &str) -> Option<Uri> {
    format!("{url}{}{query}", if url.query().is_some() { '&' } else { '?' }).parse().ok()
}

/// A URL with another path, made of its own, and the same query.
pub(super) fn at_path(url: &Uri, path: fn(&str) -> String) -> Option<Uri> {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    format!("{scheme}://{authority}{}{query}", path(url.path())).parse().ok()
}

/// Scheme, host and port of a URL.
fn origin(url: &Uri) -> Result<Uri> {
    let (scheme, authority) = (url.scheme_str().unwrap_or_default(), url.authority().map_or("", |it| it.as_str()));
    format!("{scheme}://{authority}/").parse().map_err(|_| invalid("the URL names no host"))
}

fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |url: &Uri| url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |url: &Uri| url.host().map(str::to_ascii_lowercase);
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let from: Uri = "https://host:8443/a/b?c".parse().unwrap();
        for (location, url) in [
            ("https://other/x?y#z", Some("https://other/x?y")),
            ("/x", Some("https://host:8443/x")),
            ("//other/x", Some("https://other/x")),
            ("x", None),
            ("", None),
            ("ftp://other/x", None),
            ("https://user:hush@other/x", None),
        ] {
            assert_eq!(resolve(&from, location).map(|url| url.to_string()).as_deref(), url, "{location}");
        }
        let same = |one: &str, other: &str| same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://HOST/a", "https://host:443/b") && same("http://h:80", "http://h"));
        assert!(!same("https://h", "http://h") && !same("https://h", "https://i") && !same("http://h", "http://h:81"));
    }
}
