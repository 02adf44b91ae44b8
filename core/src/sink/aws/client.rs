//! One call of the JSON protocol: signed, sent once, its failure classified. Nothing is retried here: the
//! producer's schedule is the only one.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use ureq::Agent;
use ureq::http::{self, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::config::{Endpoint, Environment, Profile, invalid};
use super::credentials::{Credentials, Keys};
use super::redact::{Mask, brief};
use super::service::Service;
use super::sign::Scope;
use crate::error::{Error, Result};
use crate::schedule::MAX_WAIT;
use crate::sink::Outcome;

/// Whom to trust.
#[derive(Clone, Debug)]
pub(super) struct Tls(TlsConfig);

impl Tls {
    /// The authorities of the option's file, else of `AWS_CA_BUNDLE`, of the profile's `ca_bundle`, of
    /// `SSL_CERT_FILE`; else Mozilla's.
    pub(super) fn load(option: &str, environment: &Environment, profile: &Profile) -> Result<Self> {
        let path = Some(option)
            .filter(|path| !path.is_empty())
            .or_else(|| environment.get("AWS_CA_BUNDLE"))
            .or_else(|| profile.get("ca_bundle"))
            .or_else(|| environment.get("SSL_CERT_FILE"));
        let Some(path) = path else { return Ok(Tls(TlsConfig::default())) };
        let pem =
            std::fs::read(path).map_err(|error| Error::io(format_args!("cannot read the CA bundle {path}"), error))?;
        let certificates: Vec<_> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(invalid(format!("the CA bundle {path} holds no PEM certificate")));
        }
        Ok(Tls(TlsConfig::builder().root_certs(RootCerts::from(certificates)).build()))
    }
}

/// A pool of connections for calls to one place.
pub(super) fn agent(
    uri: &Uri,
    environment: &Environment,
    tls: &Tls,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("unistream/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy(uri, environment)?)
        .tls_config(tls.0.clone())
        .timeout_connect(Some(connect_timeout))
        .timeout_global(Some(timeout))
        .max_idle_age(Duration::from_secs(60));
    Ok(config.build().new_agent())
}

/// The proxy for a place by the usual variables. The lower-case name goes first, as in curl.
fn proxy(uri: &Uri, environment: &Environment) -> Result<Option<ureq::Proxy>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let plain = uri.scheme_str() == Some("http");
    let name = if plain { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    let found = environment.get_any_case(name).or_else(|| environment.get_any_case("ALL_PROXY"));
    let excluded = environment.get_any_case("NO_PROXY").is_some_and(|list| no_proxy(list, host));
    let Some(url) = found.filter(|_| !excluded) else { return Ok(None) };
    // The URL may hold a password, so that no message repeats it.
    let proxy = ureq::Proxy::new(url).map_err(|_| invalid(format!("{name} is not the URL of a proxy")))?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
        other => Err(invalid(format!("{name}: {other} proxies are not supported, only http and https ones"))),
    }
}

/// Whether a `NO_PROXY` list names the host: itself, a domain above it, a network that its address is in, or `*`.
fn no_proxy(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let ip = host.parse().ok();
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        let domain = domain.trim_matches(['[', ']']);
        let network = ip.is_some_and(|ip| in_network(&entry, ip));
        entry == "*" || network || !domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}")))
    })
}

/// Whether an address is in a network such as `10.0.0.0/8`.
fn in_network(network: &str, ip: IpAddr) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse(), bits.parse::<u32>()) else { return false };
    match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) if bits <= 32 => {
            (base.to_bits() ^ ip.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) if bits <= 128 => {
            (base.to_bits() ^ ip.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Signs and sends calls to one service.
pub(super) struct Client {
    service: Service,
    region: String,
    uri: Uri,
    keys: Keys,
    make_agent: Box<dyn Fn() -> Result<Agent> + Send + Sync>,
    agent: Mutex<Agent>,
}

impl Client {
    pub(super) fn new(
        service: Service,
        endpoint: &Endpoint,
        keys: Keys,
        environment: &Environment,
        tls: Tls,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self> {
        let uri: Uri = format!("{}/", endpoint.url).parse().map_err(|_| invalid("endpoint_url is not a URL"))?;
        let (place, environment) = (uri.clone(), environment.clone());
        let make_agent = Box::new(move || agent(&place, &environment, &tls, connect_timeout, timeout));
        Ok(Client { service, region: endpoint.region.clone(), uri, keys, agent: Mutex::new(make_agent()?), make_agent })
    }

    #[cfg(test)]
    pub(super) fn endpoint(&self) -> &Uri {
        &self.uri
    }

    /// The connections in use now. A `send` takes them once, so that an interrupt ends all of its calls.
    pub(super) fn connections(&self) -> Agent {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts the calls under way; later ones get fresh connections.
    pub(super) fn interrupt(&self) {
        if let Ok(fresh) = (self.make_agent)() {
            let old = std::mem::replace(&mut *self.agent.lock().unwrap_or_else(PoisonError::into_inner), fresh);
            old.shutdown();
        }
    }

    /// One call; the answer is the body of a response 200.
    pub(super) fn call(&self, connections: &Agent, operation: &'static str, body: &[u8]) -> Result<Vec<u8>, CallError> {
        let unavailable = |message: String| CallError {
            operation,
            fault: Fault::Unavailable { retry_after: None },
            code: None,
            message,
        };
        let keys = self.keys.get().map_err(unavailable)?;
        let request = self.signed(&keys, operation, body).map_err(unavailable)?;
        let lost = |error: ureq::Error| unavailable(format!("{} ({})", describe(&error), self.uri));
        let mut response = connections.run(request).map_err(lost)?;
        let status = response.status().as_u16();
        let mut body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(lost)?;
        // Before anybody reads it, and so before anything is cut.
        let mask = Mask::new([&keys.access_key_id, keys.secret_access_key.reveal(), keys.session_token.reveal()]);
        mask.apply(&mut body);
        if status == 200 {
            return Ok(body);
        }
        let header = |name: &str| {
            let mut value = response.headers().get(name)?.as_bytes().to_vec();
            mask.apply(&mut value);
            String::from_utf8(value).ok()
        };
        let error = CallError::from_response(operation, status, header, &body);
        if error.is_about_credentials() {
            self.keys.forget();
        }
        Err(error)
    }

    fn signed<'b>(
        &self,
        keys: &Credentials,
        operation: &str,
        body: &'b [u8],
    ) -> Result<http::Request<&'b [u8]>, String> {
        let mut request = http::Request::post(&self.uri)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{}.{operation}", self.service.target_prefix()))
            .body(body)
            .map_err(|error| error.to_string())?;
        let scope = Scope { region: &self.region, service: self.service.signing_name() };
        scope.sign(&mut request, keys, SystemTime::now())?;
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.uri).finish_non_exhaustive()
    }
}

/// No answer of the operations that we use comes near it.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("time-out ({what:?})"),
        other => other.to_string(),
    }
}

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Through no fault of the request: the network, throttling, the service, permissions, credentials, clocks.
    Unavailable { retry_after: Option<Duration> },
    /// The service refuses what the request says.
    Refused,
    /// The stream or group does not exist; unavailable, unless the sink can make it.
    NotFound,
    /// What was to be made exists, or is being made by someone else.
    Exists,
    /// Something else.
    Failed,
}

/// Why a call did not succeed.
#[derive(Clone, Debug)]
pub(super) struct CallError {
    pub(super) operation: &'static str,
    pub(super) fault: Fault,
    /// The service's error code.
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl CallError {
    /// The answer to a call is not what the service documents: whoever answered, nothing counts as delivered.
    pub(super) fn nonsense(operation: &'static str, what: impl fmt::Display) -> Self {
        CallError {
            operation,
            fault: Fault::Unavailable { retry_after: None },
            code: None,
            message: brief(&format!("the answer is not as documented: {what}"), 1000),
        }
    }

    /// An answer other than 200, with what tells a header by its name.
    pub(crate) fn from_response(
        operation: &'static str,
        status: u16,
        header: impl Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            __type: String,
            #[serde(alias = "Message")]
            message: Option<String>,
        }
        let parsed: Body = serde_json::from_slice(body).unwrap_or_default();
        // `com.amazonaws.kinesis.v20131202#Code`, `Code:http://...` and plain `Code` are all in use.
        let code = header("x-amzn-errortype").unwrap_or(parsed.__type);
        let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().trim();
        let seconds = header("retry-after").and_then(|value| value.trim().parse().ok());
        // A day at most: a longer one is a mistake, and would be one of the schedule too.
        let retry_after = seconds.map(|seconds: u64| Duration::from_secs(seconds).min(MAX_WAIT));
        let message = brief(&parsed.message.unwrap_or_default(), 1000);
        CallError {
            operation,
            fault: classify(status, code, retry_after),
            code: Some(code).filter(|code| !code.is_empty()).map(|code| brief(code, 100)),
            message: if message.is_empty() { format!("HTTP status {status}") } else { message },
        }
    }

    fn is_about_credentials(&self) -> bool {
        self.code.as_deref().is_some_and(|code| CREDENTIALS.contains(&code))
    }

    /// What becomes of the records of the call, unless the sink knows better.
    pub(super) fn into_outcome(self) -> Outcome {
        match self.fault {
            Fault::Unavailable { retry_after } => Outcome::Unavailable { error: Arc::new(self), retry_after },
            Fault::NotFound => Outcome::Unavailable { error: Arc::new(self), retry_after: None },
            Fault::Refused | Fault::Exists | Fault::Failed => Outcome::Failed { error: Arc::new(self) },
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{}: {code}: {}", self.operation, self.message),
            None => write!(f, "{}: {}", self.operation, self.message),
        }
    }
}

impl std::error::Error for CallError {}

/// Codes that say: not with these keys, or not with them now.
const CREDENTIALS: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// Codes that say: not so fast, or not now.
const BUSY: &[&str] = &[
    "BandwidthLimitExceeded",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ResourceInUseException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes that say: not with these arguments.
const ARGUMENTS: &[&str] = &[
    "InvalidArgument",
    "InvalidArgumentException",
    "InvalidParameterCombination",
    "InvalidParameterException",
    "InvalidParameterValue",
    "InvalidRequestException",
    "RequestEntityTooLarge",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
];

/// Whether the code of one record, or of a call, is one that comes and goes without the record's fault.
pub(super) fn is_passing(code: &str) -> bool {
    // All that the key service says: throttling, a key disabled or in the wrong state, no access to it.
    BUSY.contains(&code) || code.starts_with("KMS")
}

fn classify(status: u16, code: &str, retry_after: Option<Duration>) -> Fault {
    let unavailable = Fault::Unavailable { retry_after };
    match (status, code) {
        (_, code) if is_passing(code) || CREDENTIALS.contains(&code) => unavailable,
        (500.., _) | (429 | 408, _) => unavailable,
        (_, "ResourceNotFoundException") => Fault::NotFound,
        (_, "ResourceAlreadyExistsException" | "OperationAbortedException") => Fault::Exists,
        (_, code) if ARGUMENTS.contains(&code) => Fault::Refused,
        (413, _) => Fault::Refused,
        // What stands between us and the service: a proxy that wants a log-in, a portal.
        (300..=399 | 401 | 403 | 407, _) => unavailable,
        _ => Fault::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Fault = Fault::Unavailable { retry_after: None };

    fn error(status: u16, header: Option<&'static str>, body: &str) -> CallError {
        let found = |name: &str| header.filter(|_| name == "x-amzn-errortype").map(Into::into);
        CallError::from_response("PutRecords", status, found, body.as_bytes())
    }

    #[test]
    fn faults_by_status_and_code() {
        for (status, code, fault) in [
            (400, "ProvisionedThroughputExceededException", NOW),
            (400, "ThrottlingException", NOW),
            (400, "KMSThrottlingException", NOW),
            (400, "KMSDisabledException", NOW),
            (400, "AccessDeniedException", NOW),
            (400, "ExpiredTokenException", NOW),
            (403, "InvalidSignatureException", NOW),
            (400, "UnrecognizedClientException", NOW),
            (500, "InternalFailure", NOW),
            (500, "", NOW),
            (502, "", NOW),
            (503, "", NOW),
            (429, "", NOW),
            (408, "", NOW),
            (302, "", NOW),
            (403, "", NOW),
            (407, "", NOW),
            (500, "ValidationException", NOW),
            (400, "ResourceNotFoundException", Fault::NotFound),
            (400, "ResourceAlreadyExistsException", Fault::Exists),
            (400, "OperationAbortedException", Fault::Exists),
            (400, "ValidationException", Fault::Refused),
            (400, "InvalidArgumentException", Fault::Refused),
            (400, "InvalidParameterException", Fault::Refused),
            (400, "SerializationException", Fault::Refused),
            (413, "", Fault::Refused),
            (400, "", Fault::Failed),
            (400, "UnknownOperationException", Fault::Failed),
            (404, "", Fault::Failed),
        ] {
            assert_eq!(classify(status, code, None), fault, "{status} {code}");
        }
    }

    #[test]
    fn codes_in_all_their_forms() {
        let body = r#"{"__type":"com.amazonaws.kinesis.v20131202#ValidationException","message":"why"}"#;
        assert_eq!(error(400, None, body).to_string(), "PutRecords: ValidationException: why");
        let header = Some("ValidationException:http://internal.amazon.com/coral/com.amazon.coral.validate/");
        assert_eq!(error(400, header, r#"{"Message":"why"}"#).to_string(), "PutRecords: ValidationException: why");
        assert_eq!(error(400, None, r#"{"__type":"ValidationException"}"#).fault, Fault::Refused);
        assert_eq!(error(503, None, "<html>busy</html>").to_string(), "PutRecords: HTTP status 503");
    }

    #[test]
    fn retry_after_is_taken_over() {
        let after = |text: &str| {
            let found = |name: &str| (name == "retry-after").then(|| text.to_owned());
            CallError::from_response("PutRecords", 503, found, b"").fault
        };
        assert_eq!(after("7"), Fault::Unavailable { retry_after: Some(Duration::from_secs(7)) });
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), NOW);
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (list, host, excluded) in [
            ("*", "any.host", true),
            ("localhost,127.0.0.1", "127.0.0.1", true),
            ("localhost", "localhost.example", false),
            ("amazonaws.com", "kinesis.eu-west-1.amazonaws.com", true),
            (".amazonaws.com", "kinesis.eu-west-1.amazonaws.com", true),
            ("*.amazonaws.com", "kinesis.eu-west-1.AMAZONAWS.com", true),
            ("amazonaws.com", "notamazonaws.com", false),
            (" a , [::1] ", "::1", true),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("192.0.2.7/33", "192.0.2.7", false),
            ("10.0.0.0/8", "10.example", false),
            ("fd00:ec2::/32", "fd00:ec2::254", true),
            ("fd00:ec2::/32", "fd01::254", false),
            ("", "host", false),
            (",", "host", false),
        ] {
            assert_eq!(no_proxy(list, host), excluded, "{list} {host}");
        }
    }

    #[test]
    fn proxies_by_scheme() {
        let environment = Environment::empty()
            .var("HTTPS_PROXY", "http://secure:1")
            .var("http_proxy", "http://plain:2")
            .var("NO_PROXY", "direct");
        let host = |url: &str| {
            let proxy = proxy(&url.parse().unwrap(), &environment).unwrap();
            proxy.map(|proxy| proxy.host().to_owned())
        };
        assert_eq!(host("https://a/").as_deref(), Some("secure"));
        assert_eq!(host("http://a/").as_deref(), Some("plain"));
        assert_eq!(host("https://direct/"), None);
        // What a CGI program's client sends as the header Proxy.
        let cgi = Environment::empty().var("HTTP_PROXY", "http://evil:4");
        assert!(proxy(&"http://a/".parse().unwrap(), &cgi).unwrap().is_none());
        let all = Environment::empty().var("ALL_PROXY", "http://all:3");
        assert!(proxy(&"https://a/".parse().unwrap(), &all).unwrap().is_some());
        for bad in ["socks5://user:hush@proxy:1", "://hush"] {
            let environment = Environment::empty().var("HTTPS_PROXY", bad);
            let error = proxy(&"https://a/".parse().unwrap(), &environment).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
