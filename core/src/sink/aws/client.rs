//! Signed calls to one service. Nothing is retried here: the producer's schedule is the only one.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ureq::http::{Request, Uri};

use super::credentials::Keys;
use super::endpoint::Endpoint;
use super::keys::Credentials;
use super::protocol::{is_about_keys, is_success, refusal};
use super::service::Service;
use super::sign::Scope;
use crate::error::Result;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::{Answer, Connections, Http, Settings};
use crate::sink::net::invalid;
use crate::sink::net::redact::Mask;

/// The longest answer: far more than the operations that we use give.
pub(super) const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Differences of clocks up to this many seconds are ignored: answers take time.
const TOLERANCE_S: i64 = 60;

/// Signs and sends calls to one service.
pub(super) struct Client {
    service: Service,
    region: String,
    keys: Keys,
    http: Http,
    /// How far the service's clock is ahead of ours, in seconds: a signature must be of about the service's time.
    clock_ahead: AtomicI64,
}

impl Client {
    /// # Errors
    /// The endpoint or the proxy for it is not a URL.
    pub(super) fn new(service: Service, endpoint: &Endpoint, keys: Keys, settings: Settings) -> Result<Self> {
        let place: Uri = format!("{}/", endpoint.url).parse().map_err(|_| invalid("endpoint_url is not a URL"))?;
        let http = Http::new(place, settings)?;
        Ok(Client { service, region: endpoint.region.clone(), keys, http, clock_ahead: AtomicI64::new(0) })
    }

    #[cfg(test)]
    pub(super) fn endpoint(&self) -> &Uri {
        self.http.place()
    }

    /// The connections in use now. A `send` takes them once, so that an interrupt ends all of its calls.
    pub(super) fn connections(&self) -> Connections {
        self.http.connections()
    }

    /// Ends the calls under way; later ones get fresh connections.
    pub(super) fn interrupt(&self) {
        self.keys.interrupt();
        self.http.interrupt();
    }

    /// One call. The answer has status 200 and names no error; whether it is the service's, its body tells.
    pub(super) fn call(
        &self,
        connections: &Connections,
        operation: &'static str,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let unavailable = |message: String| CallError::unavailable(operation, message);
        let keys = self.keys.get().map_err(unavailable)?;
        let request = self.signed(&keys, operation, body).map_err(unavailable)?;
        let mut answer = self.http.call(connections, request).map_err(unavailable)?;
        // Mask first: a secret that is cut short is harder to find.
        answer.redact(&Mask::new([&keys.access_key_id, keys.secret_access_key.reveal(), keys.session_token.reveal()]));
        if is_success(&answer) {
            return Ok(answer);
        }
        let error = refusal(operation, &answer);
        let corrected = error.code.is_some() && self.correct_clock(&answer);
        if is_about_keys(&error) && !corrected {
            self.keys.refused(&keys);
        }
        Err(error)
    }

    /// Takes over the service's clock for later signatures. Returns whether that changed anything.
    fn correct_clock(&self, answer: &Answer) -> bool {
        let Some(ahead) = answer.clock_ahead() else { return false };
        let known = self.clock_ahead.load(Ordering::Relaxed);
        if (ahead - known).abs() <= TOLERANCE_S {
            return false;
        }
        self.clock_ahead.store(if ahead.abs() <= TOLERANCE_S { 0 } else { ahead }, Ordering::Relaxed);
        true
    }

    /// The time on the service's clock.
    fn now(&self) -> SystemTime {
        let ahead = self.clock_ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        let corrected = if ahead >= 0 { now.checked_add(by) } else { now.checked_sub(by) };
        corrected.unwrap_or(now)
    }

    fn signed<'b>(&self, keys: &Credentials, operation: &str, body: &'b [u8]) -> Result<Request<&'b [u8]>, String> {
        let mut request = Request::post(self.http.place())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{}.{operation}", self.service.target_prefix()))
            .body(body)
            .map_err(|error| error.to_string())?;
        let scope = Scope { region: &self.region, service: self.service.signing_name() };
        scope.sign(&mut request, keys, self.now())?;
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", self.http.place()).finish_non_exhaustive()
    }
}
