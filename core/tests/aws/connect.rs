//! TLS, endpoints, proxies, and what shows in messages.

use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use unistream::sink::aws::{Credentials, Environment, KinesisBuilder, KinesisSink};
use unistream::{ErrorKind, Sink};

use crate::http::{Proxy, scratch};
use crate::strict::{Fault, KEY_ID, SECRET, Strict};
use crate::{kinesis, logs, puts, send};

/// As [`kinesis`], but with the endpoint left to the environment.
fn by_environment(stream: &str, environment: Environment) -> KinesisBuilder {
    KinesisSink::builder(stream).credentials(Credentials::new(KEY_ID, SECRET)).environment(environment)
}

#[test]
fn certificates_are_verified() {
    let server = Strict::start_tls(&["localhost", "127.0.0.1"], |_| None);
    server.stream("s", 1);
    let untrusting = kinesis(&server, "s").build().unwrap();
    let said = send(&untrusting, &puts(1));
    assert!(said.unavailable[0].1.to_lowercase().contains("certificate"), "{said:?}");
    let bundle = server.server.ca_bundle();
    let trusting = kinesis(&server, "s").ca_bundle(&bundle).build().unwrap();
    assert_eq!(send(&trusting, &puts(1)).delivered.len(), 1);
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let sink = kinesis(&server, "s").environment(Environment::empty().var(name, &bundle)).build().unwrap();
        assert_eq!(send(&sink, &puts(1)).delivered.len(), 1, "{name}");
    }
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let server = Strict::start_tls(&["kinesis.example"], |_| None);
    server.stream("s", 1);
    let sink = kinesis(&server, "s").ca_bundle(server.server.ca_bundle()).build().unwrap();
    let said = send(&sink, &puts(1));
    assert!(said.unavailable[0].1.to_lowercase().contains("certificate"), "{said:?}");
    assert!(server.calls().is_empty());
}

#[test]
fn a_bundle_that_is_none_is_an_error_at_once() {
    let server = Strict::start();
    let error = kinesis(&server, "s").ca_bundle("/nonexistent/ca.pem").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let path = scratch("not.pem");
    std::fs::write(&path, "no certificate").unwrap();
    let error = kinesis(&server, "s").ca_bundle(path.to_str().unwrap()).build().unwrap_err();
    std::fs::remove_file(path).unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// The endpoints of the partitions as their own names: a proxy leads them all to our server, which has a certificate
/// for each.
#[test]
fn regional_endpoints_through_a_proxy() {
    let hosts = [
        ("eu-west-1", "", "kinesis.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "", "kinesis.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "", "kinesis.cn-north-1.amazonaws.com.cn"),
        ("us-east-1", "AWS_USE_FIPS_ENDPOINT", "kinesis-fips.us-east-1.amazonaws.com"),
        ("us-east-1", "AWS_USE_DUALSTACK_ENDPOINT", "kinesis.us-east-1.api.aws"),
    ];
    let server = Strict::start_tls(&hosts.map(|(_, _, host)| host), |_| None);
    server.stream("s", 1);
    let proxy = Proxy::start(server.server.address());
    for (region, flag, host) in hosts {
        server.region(region);
        let environment = Environment::empty()
            .var("AWS_REGION", region)
            .var("HTTPS_PROXY", proxy.url().replace("http://", "http://me:p%40ss@"))
            .var("HTTP_PROXY", "http://127.0.0.1:1")
            .var("NO_PROXY", "localhost,127.0.0.1")
            .var("AWS_CA_BUNDLE", server.server.ca_bundle())
            .var(if flag.is_empty() { "UNUSED" } else { flag }, "true");
        let said = send(&by_environment("s", environment).build().unwrap(), &puts(1));
        assert_eq!(said.delivered.len(), 1, "{host}: {said:?}");
        // "me:p@ss" in Base64.
        assert_eq!(proxy.asked().last().unwrap(), &format!("CONNECT {host}:443 Basic bWU6cEBzcw=="));
    }
}

#[test]
fn hosts_of_no_proxy_are_reached_directly() {
    let server = Strict::start();
    server.stream("s", 1);
    let environment = Environment::empty()
        .var("AWS_REGION", "eu-west-1")
        .var("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .var("AWS_ENDPOINT_URL_KINESIS", server.url())
        .var("http_proxy", "http://127.0.0.1:1");
    let proxied = by_environment("s", environment.clone()).build().unwrap();
    assert_eq!(send(&proxied, &puts(1)).unavailable.len(), 1, "nobody is there");
    let direct = by_environment("s", environment.var("no_proxy", "127.0.0.0,127.0.0.1")).build().unwrap();
    assert_eq!(send(&direct, &puts(1)).delivered.len(), 1);
}

#[test]
fn options_that_do_not_fit_are_refused_when_the_sink_is_built() {
    let server = Strict::start();
    let wrong = |builder: KinesisBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.to_string()
    };
    wrong(kinesis(&server, "no such name"));
    wrong(kinesis(&server, "s").profile("absent"));
    wrong(kinesis(&server, "s").endpoint_url("ftp://host"));
    wrong(kinesis(&server, "s").use_fips(true));
    wrong(kinesis(&server, "s").timeout(Duration::ZERO));
    wrong(kinesis(&server, "s").max_record_bytes(0));
    wrong(kinesis(&server, "s").access_key_id("a").secret_access_key("b"));
    wrong(KinesisSink::builder("s").environment(Environment::empty()));
    let socks = Environment::empty().var("http_proxy", "socks5://me:hush@proxy");
    assert!(!wrong(kinesis(&server, "s").environment(socks)).contains("hush"));
    assert!(server.calls().is_empty(), "building calls nobody");
}

/// All that is logged by anyone in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Capture;

impl log::Log for Capture {
    /// All but the dump of the wire, which the documentation warns of.
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() != "ureq_proto::util"
    }

    fn log(&self, record: &log::Record<'_>) {
        use std::fmt::Write;
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(log, "{} {} {}", record.level(), record.target(), record.args()).unwrap();
    }

    fn flush(&self) {}
}

fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

#[test]
fn secrets_show_in_no_message_debug_name_or_log() {
    capture_log();
    let server = Strict::start();
    server.stream("s", 1);
    server.log_stream("g", "s");
    let (id, secret, token) = ("AKIDQUIET", "quiet-secret-access-key", "quiet-session-token");
    server.key(id, secret, Some(token));
    let credentials = || Credentials::new(id, secret).session_token(token);
    let builder = kinesis(&server, "s").credentials(credentials());
    let logs = logs(&server, "g", "s").access_key_id(id).secret_access_key(secret).session_token(token);
    let mut texts = format!("{:?} {builder:?} {logs:?}", credentials());
    let (sink, logs) = (builder.build().unwrap(), logs.build().unwrap());
    texts += &format!("{sink:?} {logs:?} {} {}", sink.name(), logs.name());
    assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
    assert_eq!(send(&logs, &puts(1)[..1]).rejected.len(), 1, "an event of 1970");
    // The service's complaint about a signature repeats the session token.
    server.key(id, "another", Some(token));
    let said = send(&sink, &puts(1));
    assert!(said.unavailable[0].1.contains("x-amz-security-token:***"), "{said:?}");
    server.script([Fault::Error(400, "AccessDeniedException", "no: quiet-session-token"), Fault::CutBefore]);
    server.key(id, secret, Some(token));
    texts += &format!("{said:?} {:?} {:?}", send(&sink, &puts(1)), send(&sink, &puts(1)));
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(log.contains("ureq"), "the log was captured");
    for line in texts.lines().chain(log.lines()) {
        assert!(!line.contains("quiet-") && !line.contains("AKIDQUIET"), "{line}");
    }
}
