//! From options to the parts of a sink.

use std::path::Path;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::auth::Auth;
use super::client::{Client, Way};
use super::dialect::Dialect;
use super::options::{Compression, HttpOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::sink::net::environment::Environment;
use crate::sink::net::http::Settings;
use crate::sink::net::trust::{Identity, Trust};
use crate::sink::net::{invalid, secret_file};

/// The longest answer: one that speaks of each record of a large request.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Headers that the sink or the transport sets.
const OWN: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a record may not set this header of its request.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    OWN.contains(&name) || SECRET.contains(&name) || STEERING.contains(&name) || name.starts_with("x-forwarded-")
}

/// Headers by which servers and proxies decide what a request is, and whose. They are for whoever configures the sink, and no
/// record's.
const STEERING: &[&str] = &[
    "accept",
    "date",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Headers whose values are secret.
const SECRET: &[&str] = &["authorization", "cookie", "api-key", "x-api-key", "dd-api-key"];

pub(super) fn client(
    options: &HttpOptions,
    dialect: &dyn Dialect,
    auth: Auth,
    environment: Option<Environment>,
) -> Result<Client> {
    let proxies = Environment::chosen(environment, options.use_environment)?;
    let trust = Trust::chosen(&options.ca_bundle, &proxies)?;
    if options.compression == Compression::Zstd && !cfg!(feature = "zstd") {
        let missing = "this build of unistream has no compression zstd: it lacks the cargo feature \"zstd\"";
        return Err(Error::new(ErrorKind::Unsupported, missing));
    }
    let url = url(&options.url, &options.query, dialect)?;
    let identity = Identity::of_options(&options.client_cert, &options.client_key)?;
    if identity.is_some() && url.scheme_str() == Some("http") {
        return Err(invalid("client_cert is given, and nobody asks for it where the URL begins with http://"));
    }
    let (headers, secret_headers) = headers(options)?;
    let authorization = dialect.authorization();
    let given = if auth.is_basic() { "authorization" } else { authorization.0 };
    if !matches!(auth, Auth::None) && secret_headers.iter().any(|(name, _)| name == given) {
        return Err(invalid(format!("{given} is given twice: as a secret header, and by other options")));
    }
    let settings = Settings {
        proxies,
        trust,
        identity,
        connect_timeout: options.connect_timeout,
        timeout: options.timeout,
        max_answer: MAX_ANSWER,
        compressed: true,
    };
    // A service that speaks of a path repeats it; some paths and queries are keys.
    let path = url.path_and_query().map_or("", |path| path.as_str());
    let hidden = if dialect.hides_path() { vec![Secret::new(path)] } else { Vec::new() };
    let way = Way {
        method: options.method,
        url,
        headers,
        secret_headers,
        hidden,
        auth,
        authorization,
        redirects: options.redirects,
        compression: options.compression,
        expect_above: options.expect_continue,
    };
    Client::new(way, settings)
}

/// The URL of the requests. No message repeats it: it may hold a secret by mistake, or on purpose in its path.
fn url(text: &str, query: &str, dialect: &dyn Dialect) -> Result<Uri> {
    let wrong = |why: &str| invalid(format!("option url: {why}"));
    if text.contains('#') || query.contains('#') {
        return Err(wrong("it has a fragment (#), which is not sent"));
    }
    let url: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it begins with neither https:// nor http://"));
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(wrong("user and password do not belong in a URL; there are the options username and password"));
    }
    if url.host().unwrap_or_default().is_empty() {
        return Err(wrong("it names no host"));
    }
    let mut target = dialect.path(url.path()).map_err(|why| wrong(&why))?;
    for more in [url.query().unwrap_or_default(), query] {
        if !more.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(more);
        }
    }
    let whole = format!("{}://{authority}{target}", url.scheme_str().unwrap_or_default());
    whole.parse().map_err(|_| wrong("with its query it is not a URL"))
}

/// The headers of every request, and those of them that are secret.
fn headers(options: &HttpOptions) -> Result<(HeaderMap, Vec<(HeaderName, Secret)>)> {
    let mut headers = HeaderMap::new();
    for line in lines(&options.headers) {
        let (name, value) = header("headers", line)?;
        if options.idempotency_header.eq_ignore_ascii_case(name.as_str()) {
            return Err(invalid(format!("option headers: {name} is another for each request; see idempotency_header")));
        }
        if SECRET.contains(&name.as_str()) {
            return Err(invalid(format!("option headers: {name} is secret; give it as secret_headers or a token")));
        }
        let value = HeaderValue::from_str(value);
        headers.append(name, value.map_err(|_| invalid("option headers: a value has bytes that none can have"))?);
    }
    let mut secret_headers = Vec::new();
    let given = secret("secret_headers", &options.secret_headers, &options.secret_headers_file)?;
    for line in lines(given.reveal()) {
        let (name, value) = header("secret_headers", line)?;
        if HeaderValue::from_str(value).is_err() {
            return Err(invalid(format!("option secret_headers: the value of {name} has bytes that none can have")));
        }
        secret_headers.push((name, Secret::new(value)));
    }
    Ok((headers, secret_headers))
}

/// A secret that is given, or that a file holds.
///
/// # Errors
/// Both are given, or the file cannot be read.
pub(super) fn secret(option: &str, given: &Secret, file: &str) -> Result<Secret> {
    if file.is_empty() {
        return Ok(given.clone());
    }
    if !given.is_empty() {
        return Err(invalid(format!("{option} and {option}_file exclude each other")));
    }
    let text = secret_file::read_text(Path::new(file))
        .map_err(|error| Error::io(format_args!("option {option}_file: cannot read {file}"), error))?;
    Ok(Secret::new(text.trim()))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn header<'l>(option: &str, line: &'l str) -> Result<(HeaderName, &'l str)> {
    // The line may be a secret without its name, so that no message repeats it.
    let wrong = || invalid(format!("option {option}: a line is not such as Name: value"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    if OWN.contains(&name.as_str()) {
        return Err(invalid(format!("option {option}: {name} is set by the sink itself or by another option")));
    }
    Ok((name, value.trim()))
}
