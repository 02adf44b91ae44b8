//! What must not get out: keys into messages, proxies, foreign servers and core dumps; and what must not get in: the
//! environment of a caller with fewer rights.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use unistream::ErrorKind;
use unistream::sink::aws::{Credentials, Environment, KinesisBuilder, KinesisSink};

use crate::http::{Reply, Request, Server, scratch};
use crate::strict::{KEY_ID, REGION, SECRET, Strict};
use crate::{kinesis, puts, send};

/// A token as long as real ones are, of what real ones are made of.
fn long_token() -> String {
    (0..900)
        .map(|n| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij/+0123456789"[(n * 31 + n / 48 * 7) % 48]))
        .collect()
}

/// A sink with temporary keys for a server that answers anything.
fn temporary(server: &Server, token: &str) -> KinesisSink {
    let keys = Credentials::new("ASIATEMPORARYKEYS", SECRET).session_token(token);
    let builder = KinesisSink::builder("s").region(REGION).endpoint_url(server.url()).credentials(keys);
    builder.environment(Environment::empty()).build().unwrap()
}

/// The bug: the message was cut at 1,000 characters before it was redacted, so that the part of the token that was left
/// matched nothing, and went into logs, counters and dead letters.
#[test]
fn a_session_token_that_the_service_repeats_shows_nowhere() {
    let token = long_token();
    let parts: Vec<String> = token.as_bytes().windows(12).map(|part| String::from_utf8(part.into()).unwrap()).collect();
    let answers: Vec<(u16, Vec<(String, String)>, String)> = [0, 50, 500, 950, 990]
        .iter()
        .flat_map(|padding| {
            let message = format!("{}x-amz-security-token:{token}", "x".repeat(*padding));
            let error = |code: &str| json!({"__type": code, "message": message}).to_string();
            let refused =
                json!({"FailedRecordCount": 1, "Records": [{"ErrorCode": "Failure", "ErrorMessage": message}]});
            [
                (403, Vec::new(), error("InvalidSignatureException")),
                (400, Vec::new(), error("ValidationException")),
                (400, Vec::new(), error("SomethingElse")),
                (400, Vec::new(), error("ValidationException").replace('/', "\\/")),
                (400, Vec::new(), json!({"__type": message}).to_string()),
                (400, vec![("x-amzn-errortype".to_owned(), message.clone())], String::new()),
                (200, Vec::new(), refused.to_string()),
                (200, Vec::new(), json!({"Records": message}).to_string()),
                (200, Vec::new(), json!({"Records": [{"ErrorCode": message}]}).to_string()),
            ]
        })
        .collect();
    let next = Arc::new(AtomicU64::new(0));
    let (served, at) = (answers.clone(), next.clone());
    let server = Server::start(move |_| {
        let (status, headers, body) = served[at.fetch_add(1, Ordering::SeqCst) as usize].clone();
        Reply { headers, ..Reply::new(status, body) }
    });
    let sink = temporary(&server, &token);
    for (status, headers, body) in &answers {
        let said = format!("{:?}", send(&sink, &puts(1)));
        assert!(!said.contains("delivered: [\""), "{said}");
        let leak = parts.iter().find(|part| said.contains(&part[..]));
        assert_eq!(leak, None, "{status} {headers:?} {body}: {said}");
    }
    assert_eq!(next.load(Ordering::SeqCst) as usize, answers.len());
}

/// A server that keeps the requests it gets.
fn recorder() -> (Server, Arc<Mutex<Vec<Request>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let server = Server::start(move |request| {
        log.lock().unwrap().push(request);
        Reply::new(500, "")
    });
    (server, asked)
}

fn with_stream() -> Strict {
    let server = Strict::start();
    server.stream("s", 1);
    server
}

fn chain(server: &Strict, environment: Environment) -> KinesisBuilder {
    KinesisSink::builder("s").region(REGION).endpoint_url(server.url()).environment(environment)
}

fn container_keys() -> Reply {
    let keys = json!({"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": "none", "Expiration":
        "2099-01-01T00:00:00Z"});
    Reply::new(200, keys.to_string())
}

/// The bug: the authorization of a container went to the proxy, in clear.
#[test]
fn a_container_is_asked_for_keys_directly_whatever_the_proxy() {
    let server = with_stream();
    server.key(KEY_ID, SECRET, Some("none"));
    let container = Server::start(|request: Request| match request.header("authorization") {
        "hush" => container_keys(),
        _ => Reply::new(403, ""),
    });
    let (proxy, asked) = recorder();
    let environment = Environment::empty()
        .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url()))
        .var("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush")
        .var("NO_PROXY", server.server.address().to_string().split(':').next().unwrap().replace("0.0.1", "0.0.9"));
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let sink = chain(&server, environment.clone().var(name, proxy.url())).build().unwrap();
        let said = send(&sink, &puts(1));
        // The sink's own call goes through the proxy, by its environment.
        assert!(said.delivered.len() == 1 || said.unavailable[0].1.contains("500"), "{name}: {said:?}");
    }
    for request in asked.lock().unwrap().iter() {
        assert!(request.header("authorization") != "hush" && !request.target.contains("/keys"), "{request:?}");
    }
}

/// `HTTP_PROXY` is what a client of a CGI program sends as the header `Proxy`.
#[test]
fn the_proxy_of_a_cgi_client_is_not_used() {
    let server = with_stream();
    let (proxy, asked) = recorder();
    let environment = |name: &str| Environment::empty().var(name, proxy.url());
    let sink = kinesis(&server, "s").environment(environment("HTTP_PROXY")).build().unwrap();
    assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
    assert!(asked.lock().unwrap().is_empty());
    let sink = kinesis(&server, "s").environment(environment("http_proxy")).build().unwrap();
    assert_eq!(send(&sink, &puts(1)).unavailable.len(), 1);
    assert!(!asked.lock().unwrap().is_empty(), "it is asked by its lower-case name");
}

#[test]
fn keys_are_asked_in_the_clear_only_where_aws_documents_it() {
    let server = with_stream();
    for (name, value) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/keys"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.2.example/keys"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://127.0.0.1/keys"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1"),
    ] {
        let said = send(&chain(&server, Environment::empty().var(name, value)).build().unwrap(), &puts(1));
        let error = &said.unavailable[0].1;
        assert!(error.contains("without TLS") || error.contains("neither https nor http"), "{name}={value}: {error}");
    }
}

#[test]
fn a_redirection_takes_no_token_elsewhere() {
    let server = with_stream();
    let (elsewhere, asked) = recorder();
    let location = elsewhere.url();
    let redirecting = Server::start(move |_| Reply {
        headers: vec![("location".into(), format!("{location}/there"))],
        ..Reply::new(307, "")
    });
    let container = Environment::empty()
        .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", redirecting.url()))
        .var("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush");
    let instance = Environment::empty().var("AWS_EC2_METADATA_SERVICE_ENDPOINT", redirecting.url());
    for environment in [container, instance] {
        let said = send(&chain(&server, environment).build().unwrap(), &puts(1));
        assert!(said.unavailable[0].1.contains("HTTP status 307"), "{said:?}");
    }
    let said = send(&temporary(&redirecting, "hush"), &puts(1));
    assert!(said.unavailable[0].1.contains("307"), "{said:?}");
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let server = with_stream();
    let container = Server::start(|_| Reply::new(200, vec![b' '; 50_000_000]));
    let uri = format!("{}/keys", container.url());
    let environment = Environment::empty().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri);
    let said = send(&chain(&server, environment).build().unwrap(), &puts(1));
    assert!(said.unavailable[0].1.contains("more than 65536 bytes"), "{said:?}");
}

/// A directory of its own, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = scratch(name);
        fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs an ignored test of this file as a program of its own.
fn child(program: PathBuf, test: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().args(["--exact", &format!("secure::{test}"), "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Variables with which a sink finds all that it needs, and a program to run.
fn tempting(place: &Place, server: &Strict, proxy: &Server) -> Vec<(&'static str, String)> {
    let mark = place.path("mark");
    let keys = json!({"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET});
    let program = place.write("program", &format!("id -u > {mark}\necho '{keys}'\n"));
    let config = format!("[default]\nregion = {REGION}\ncredential_process = sh {program}\n");
    fs::create_dir(place.0.join(".aws")).unwrap();
    place.write(".aws/config", &config);
    vec![
        ("PATH", std::env::var("PATH").unwrap()),
        ("HOME", place.0.to_str().unwrap().into()),
        ("AWS_CONFIG_FILE", place.write("config", &config)),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", proxy.url()),
        ("AWS_ENDPOINT_URL_KINESIS", server.url()),
        ("SSL_CERT_FILE", place.path("absent.pem")),
        ("all_proxy", proxy.url()),
        ("TEST_SERVER", server.url()),
        ("TEST_MARK", mark),
    ]
}

fn test_variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// What a sink does that reads no environment, with one at hand that would lead it astray.
fn reads_no_environment(builder: fn(&str) -> KinesisBuilder) {
    let error = builder("s").build().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("no AWS region"), "{error}");
    let server = test_variable("TEST_SERVER");
    let keyless = builder("s").region(REGION).endpoint_url(&server).timeout(Duration::from_secs(3)).build().unwrap();
    let said = send(&keyless, &puts(1));
    assert!(said.unavailable[0].1.contains("no AWS credentials"), "{said:?}");
    let with_keys = builder("s").region(REGION).endpoint_url(&server).access_key_id(KEY_ID).secret_access_key(SECRET);
    assert_eq!(send(&with_keys.build().unwrap(), &puts(1)).delivered.len(), 1, "directly, without the proxy");
    assert!(!std::path::Path::new(&test_variable("TEST_MARK")).exists(), "the program of the profile was run");
}

#[test]
#[ignore = "run by the tests below, as a program of its own"]
fn child_that_reads_none() {
    reads_no_environment(|stream| KinesisSink::builder(stream).use_environment(false));
    let given = KinesisSink::builder("s").environment(Environment::empty()).use_environment(false).build();
    assert_eq!(given.unwrap_err().kind(), ErrorKind::InvalidArgument, "one says read, one says do not");
}

#[test]
#[ignore = "run by the tests below, as a program of its own"]
fn child_with_more_rights() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let uids: Vec<&str> = uids.split_whitespace().collect();
    assert_eq!(uids[..2], ["65534", "0"], "setuid has no effect here: is the directory mounted nosuid?");
    reads_no_environment(|stream| KinesisSink::builder(stream));
}

#[test]
#[ignore = "run by the tests below, as a program of its own"]
fn child_that_reads_all() {
    let sink = KinesisSink::builder("s").build();
    // The authorities' file is absent, which stops it; without that variable it would send.
    assert_eq!(sink.unwrap_err().kind(), ErrorKind::Io);
}

/// The bug: with `AWS_CONFIG_FILE` the caller of a setuid program had a program of his run as root.
#[test]
fn a_setuid_program_reads_nothing_that_its_caller_chose() {
    let (place, server, (proxy, asked)) = (Place::new("setuid"), with_stream(), recorder());
    let copy = place.0.join("program.setuid");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let mut command = child(copy, "child_with_more_rights");
    command.uid(65534).gid(65534).envs(tempting(&place, &server, &proxy));
    passes(command);
    assert!(asked.lock().unwrap().is_empty(), "the proxy was used");
}

#[test]
fn a_sink_without_environment_reads_none() {
    let (place, server, (proxy, asked)) = (Place::new("none"), with_stream(), recorder());
    let variables = tempting(&place, &server, &proxy);
    for test in ["child_that_reads_none", "child_that_reads_all"] {
        let mut command = child(std::env::current_exe().unwrap(), test);
        command.envs(variables.clone());
        passes(command);
    }
    assert!(asked.lock().unwrap().is_empty(), "the proxy was used");
}

/// The memory of this process that a core dump would hold, and where in it the bytes are that `is_at` finds.
fn dumped(is_at: impl Fn(&[u8]) -> bool, len: usize) -> Vec<String> {
    let (mut found, mut line_of) = (Vec::new(), String::new());
    let memory = fs::File::open("/proc/self/mem").unwrap();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            line_of = line.into();
        }
        let Some(flags) = line.strip_prefix("VmFlags:") else { continue };
        let flags: Vec<&str> = flags.split_whitespace().collect();
        if !flags.contains(&"rd") || flags.contains(&"dd") || flags.contains(&"io") {
            continue;
        }
        let (from, to) = line_of.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        found.extend(bytes.windows(len).enumerate().filter(|(_, at)| is_at(at)).map(|(at, _)| {
            let before = String::from_utf8_lossy(&bytes[at.saturating_sub(60)..at]).into_owned();
            format!("{} + {at:x}, after {before:?}", line_of.trim())
        }));
    }
    found
}

/// Keys are read from a file, used, and are in no page that a core dump would hold.
#[test]
#[ignore = "run by the test below, as a program of its own"]
fn child_that_is_dumped() {
    let mut backwards = Vec::new();
    fs::File::open(test_variable("TEST_BACKWARDS")).unwrap().read_to_end(&mut backwards).unwrap();
    let sink = KinesisSink::builder("s").build().unwrap();
    assert_eq!(send(&sink, &puts(1)).delivered.len(), 1);
    let is_at = |bytes: &[u8]| bytes.iter().eq(backwards.iter().rev());
    let found = dumped(is_at, backwards.len());
    assert!(found.is_empty(), "{found:#?}");
    // That it would be found.
    let plain: Vec<u8> = backwards.iter().rev().copied().collect();
    assert!(!dumped(is_at, plain.len()).is_empty());
    drop((plain, sink));
}

#[test]
fn a_secret_key_is_in_no_core_dump() {
    let server = with_stream();
    let place = Place::new("dump");
    // The sources: a file, and a process whose answer is JSON.
    for (number, kind) in ["file", "process"].iter().enumerate() {
        let secret = format!(
            "{:032x}/+{number}",
            u128::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        );
        server.key(KEY_ID, &secret, None);
        let file = format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {secret}\n");
        let answer = json!({"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": secret}).to_string();
        let config = match *kind {
            "file" => place.write("config", &file),
            _ => {
                let answer = place.write("answer", &answer);
                place.write("config", &format!("[default]\ncredential_process = cat '{answer}'\n"))
            }
        };
        let backwards: String = secret.chars().rev().collect();
        let mut command = child(std::env::current_exe().unwrap(), "child_that_is_dumped");
        command.envs([
            ("PATH", std::env::var("PATH").unwrap()),
            ("AWS_CONFIG_FILE", config),
            ("AWS_REGION", REGION.into()),
            ("AWS_ENDPOINT_URL_KINESIS", server.url()),
            ("TEST_BACKWARDS", place.write("backwards", &backwards)),
        ]);
        passes(command);
    }
}
