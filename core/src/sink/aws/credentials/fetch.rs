//! How keys are asked for over the network: from services of AWS over TLS, from this machine and its link in the clear
//! and directly.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

use crate::sink::net::environment::Environment;
use crate::sink::net::http::{Answer, Http, Settings};
use crate::sink::net::secret_file::read_text;
use crate::sink::net::trust::Trust;

/// The longest answer. Keys and tokens take some thousand bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks for keys, one question at a time.
pub(super) struct Fetch {
    pub(super) environment: Environment,
    trust: Trust,
    /// The question under way.
    current: Mutex<Option<Arc<Http>>>,
}

impl Fetch {
    pub(super) fn new(environment: &Environment, trust: &Trust) -> Self {
        Fetch { environment: environment.clone(), trust: trust.clone(), current: Mutex::new(None) }
    }

    /// Asks a container's or instance's own service: never through a proxy, which would be told the token.
    pub(super) fn nearby(&self, request: Request<&[u8]>) -> Result<Answer, String> {
        self.ask(request, &Environment::empty(), Duration::from_secs(1), Duration::from_secs(5))
    }

    /// Asks a service of AWS.
    pub(super) fn remote(&self, request: Request<&[u8]>) -> Result<Answer, String> {
        self.ask(request, &self.environment, Duration::from_secs(5), Duration::from_secs(30))
    }

    /// Ends the question under way.
    pub(super) fn interrupt(&self) {
        if let Some(http) = self.current().take() {
            http.interrupt();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Http>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(
        &self,
        request: Request<&[u8]>,
        proxies: &Environment,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let plain = uri.scheme_str() == Some("http");
        if !plain && uri.scheme_str() != Some("https") {
            return Err("its URL is neither https nor http".into());
        }
        if plain && !is_documented(host) {
            return Err(format!("keys are not asked of {host} without TLS"));
        }
        let settings = Settings {
            // A proxy would carry a request in the clear beyond this machine and its link.
            proxies: if plain { Environment::empty() } else { proxies.clone() },
            trust: self.trust.clone(),
            identity: None,
            connect_timeout,
            timeout,
            max_answer: MAX_ANSWER,
            compressed: false,
        };
        // Messages name the place, which is no more than the host: path and query may be secret.
        let place =
            format!("{}://{}/", if plain { "http" } else { "https" }, uri.authority().map_or("", |at| at.as_str()));
        let place = place.parse().map_err(|_| format!("{host} is not a host"))?;
        let http = Arc::new(Http::new(place, settings).map_err(|error| error.to_string())?);
        let connections = http.connections();
        *self.current() = Some(http.clone());
        let answer = http.call(&connections, request);
        *self.current() = None;
        answer
    }
}

/// Whether a host is one that AWS documents to answer without TLS: this machine, the containers' and the instances'
/// services.
fn is_documented(host: &str) -> bool {
    const SERVICES: [&str; 5] = ["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || SERVICES.iter().any(|service| service.parse() == Ok(ip)),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A request to a base URL and what follows it.
pub(super) fn request<'b>(method: Method, base: &str, rest: &str, body: &'b [u8]) -> Result<Request<&'b [u8]>, String> {
    let uri: Uri =
        format!("{}{rest}", base.trim_end_matches('/')).parse().map_err(|_| format!("{base} is not a URL"))?;
    Request::builder().method(method).uri(uri).body(body).map_err(|error| error.to_string())
}

/// A header that shows in no `Debug`.
pub(super) fn secret_header(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "its token cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of a good answer. Those of others are not repeated: they could hold anything.
pub(super) fn good(answer: Answer) -> Result<Zeroizing<Vec<u8>>, String> {
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("HTTP status {}", answer.status)) }
}

/// The text of a small file with a secret.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    read_text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Names in an error the source that it is about.
pub(super) fn named(source: &str) -> impl Fn(String) -> String {
    move |error| format!("no credentials from {source}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_asked_in_the_clear() {
        for (host, documented) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost", true),
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("169.254.170.23", true),
            ("[fd00:ec2::23]", true),
            ("[fd00:ec2::254]", true),
            ("169.254.170.3", false),
            ("169.254.1.1", false),
            ("[fd00:ec2::1]", false),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("localhost.example", false),
            ("169.254.169.254.example", false),
            ("", false),
        ] {
            assert_eq!(is_documented(host), documented, "{host}");
        }
    }
}
