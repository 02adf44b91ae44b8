//! Requests with their headers and secrets, over kept connections, and along the redirections that may be followed.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::write::GzEncoder;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::auth::Auth;
use super::options::{Compression, Method, Redirects};
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::{Answer, Connections, Http, Settings};
use crate::sink::net::invalid;
use crate::sink::net::redact::Mask;

/// So many redirections are followed one after another.
const MAX_REDIRECTS: usize = 5;

/// What a sink does with each request, whatever is in it.
pub(super) struct Way {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) secret_headers: Vec<(HeaderName, Secret)>,
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
    /// The client for another host, where redirections last led, by its origin.
    elsewhere: Mutex<Option<(Uri, Arc<Http>)>>,
}

impl Client {
    /// # Errors
    /// The environment names a proxy that is none.
    pub(super) fn new(way: Way, settings: Settings) -> Result<Self> {
        let http = Http::new(origin(&way.url)?, settings.clone())?;
        Ok(Client { way, settings, http, elsewhere: Mutex::default() })
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

    /// The connections in use now. A `send` takes them once, so that an interrupt ends all of its requests.
    pub(super) fn connections(&self) -> Connections {
        self.http.connections()
    }

    /// Ends the requests under way; later ones get fresh connections.
    pub(super) fn interrupt(&self) {
        self.http.interrupt();
        let elsewhere = self.lock().clone();
        if let Some((_, http)) = elsewhere {
            http.interrupt();
        }
    }

    /// Sends a body and reads the answer, whatever its status.
    ///
    /// `query` is added to the URL's.
    pub(super) fn call(
        &self,
        connections: &Connections,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let unavailable = |message: String| CallError::unavailable(self.operation(), message);
        let authorization = self.way.auth.header(self.way.authorization.1).map_err(unavailable)?;
        let mut secrets: Vec<&str> = self.way.secret_headers.iter().map(|(_, secret)| secret.reveal()).collect();
        secrets.extend(authorization.iter().map(|(secret, _)| secret.reveal()));
        let mask = (!secrets.is_empty()).then(|| Mask::new(secrets));
        let packed = self.pack(body);
        let mut url = match query {
            Some(query) => with_query(&self.way.url, query).ok_or_else(|| unavailable("its query is none".into()))?,
            None => self.way.url.clone(),
        };
        for _ in 0..=MAX_REDIRECTS {
            let is_home = same_origin(&url, &self.way.url);
            let authorization = authorization.as_ref().filter(|_| is_home).map(|(_, value)| value);
            let request = self.request(&url, headers, authorization, is_home, &packed).map_err(unavailable)?;
            let mut answer = match is_home {
                true => self.http.call(connections, request),
                false => {
                    let http = self.client_for(&url).map_err(|error| unavailable(error.to_string()))?;
                    http.call(&http.connections(), request)
                }
            }
            .map_err(unavailable)?;
            if let Some(mask) = &mask {
                answer.redact(mask);
            }
            match self.redirection(&url, &answer) {
                Some(next) => url = next,
                None => return Ok(answer),
            }
        }
        Err(unavailable(format!("more than {MAX_REDIRECTS} redirections ({})", self.place())))
    }

    fn pack<'b>(&self, body: &'b [u8]) -> std::borrow::Cow<'b, [u8]> {
        match self.way.compression {
            Compression::None => body.into(),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
                // Writing to memory cannot fail; should it, the body goes as it is, which its header then says.
                match encoder.write_all(body).and_then(|()| encoder.finish()) {
                    Ok(packed) => packed.into(),
                    Err(_) => body.into(),
                }
            }
        }
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
        all.extend(self.way.headers.clone());
        all.extend(headers.clone());
        if is_home {
            for (name, secret) in &self.way.secret_headers {
                let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| format!("{name} is no header"))?;
                value.set_sensitive(true);
                all.insert(name, value);
            }
            if let Some(value) = authorization {
                let name = match self.way.auth {
                    Auth::Basic(_) => header::AUTHORIZATION,
                    _ => HeaderName::from_static(self.way.authorization.0),
                };
                all.insert(name, value.clone());
            }
        }
        if body.len() as u64 > self.way.expect_above {
            all.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        if self.way.compression == Compression::Gzip {
            all.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
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
        if let Some((known, http)) = &*self.lock()
            && *known == place
        {
            return Ok(http.clone());
        }
        // A certificate that names us is for the host that the sink was made for.
        let settings = Settings { identity: None, ..self.settings.clone() };
        let http = Arc::new(Http::new(place.clone(), settings)?);
        *self.lock() = Some((place, http.clone()));
        Ok(http)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Uri, Arc<Http>)>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", self.place()).field("auth", &self.way.auth).finish_non_exhaustive()
    }
}

/// The URL that a `Location` names, as seen from the URL that it answers.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
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
fn with_query(url: &Uri, query: &str) -> Option<Uri> {
    format!("{url}{}{query}", if url.query().is_some() { '&' } else { '?' }).parse().ok()
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
