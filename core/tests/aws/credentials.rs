//! Where credentials come from: every source against a server, a file or a program of this test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use unistream::sink::aws::{Credentials, Environment, KinesisBuilder, KinesisSink};

use crate::http::{Proxy, Reply, Request, Server, scratch};
use crate::strict::{Fault, KEY_ID, REGION, SECRET, Strict};
use crate::{Said, puts, send};

const TOKEN: &str = "token-of-the-session";

/// A server with a stream, which knows lasting and temporary keys.
fn server() -> Strict {
    let server = Strict::start();
    prepare(&server);
    server
}

fn prepare(server: &Strict) {
    server.stream("s", 1);
    server.key("ASIATEMPORARYKEYS", SECRET, Some(TOKEN));
}

/// A directory as a home, gone when dropped.
struct Home(PathBuf);

impl Home {
    fn new(config: &str, credentials: &str) -> Self {
        let home = Home(scratch("home"));
        std::fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        home.write(".aws/config", config);
        home.write(".aws/credentials", credentials);
        home
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An environment whose instance metadata service is switched off: these tests ask nobody beyond this machine.
fn environment() -> Environment {
    Environment::empty().var("AWS_EC2_METADATA_DISABLED", "true")
}

fn builder(server: &Strict, environment: Environment) -> KinesisBuilder {
    KinesisSink::builder("s").region(REGION).endpoint_url(server.url()).environment(environment)
}

fn send_one(server: &Strict, environment: Environment) -> Said {
    send(&builder(server, environment).build().unwrap(), &puts(1))
}

fn delivers(said: &Said) {
    assert_eq!(said.delivered.len(), 1, "{said:?}");
}

fn keys_of(id: &str, secret: &str) -> String {
    format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

/// RFC 3339, this far from now.
fn expiration(from_now: Duration) -> String {
    unistream::time::timestamp(unistream::time::micros(SystemTime::now() + from_now))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn from_the_environment() {
    let server = server();
    let lasting = environment().var("AWS_ACCESS_KEY_ID", KEY_ID).var("AWS_SECRET_ACCESS_KEY", SECRET);
    delivers(&send_one(&server, lasting.clone()));
    let temporary = lasting.var("AWS_ACCESS_KEY_ID", "ASIATEMPORARYKEYS");
    assert_eq!(send_one(&server, temporary.clone()).unavailable.len(), 1, "without its token");
    delivers(&send_one(&server, temporary.var("AWS_SESSION_TOKEN", TOKEN)));
}

#[test]
fn from_options() {
    let server = server();
    let sink = builder(&server, environment()).access_key_id("ASIATEMPORARYKEYS").secret_access_key(SECRET);
    delivers(&send(&sink.session_token(TOKEN).build().unwrap(), &puts(1)));
}

#[test]
fn none_is_unavailable_and_says_where_it_looked() {
    let server = server();
    let said = send_one(&server, environment());
    assert!(said.unavailable[0].1.contains("no AWS credentials: none in the environment, the profile"), "{said:?}");
    assert!(server.calls().is_empty());
}

#[test]
fn from_a_profile_which_the_option_puts_before_the_environment() {
    let server = server();
    let home = Home::new("[profile ours]\nregion = eu-west-1\n", &format!("[ours]\n{}", keys_of(KEY_ID, SECRET)));
    let environment = environment().home(home.path());
    delivers(&send_one(&server, environment.clone().var("AWS_PROFILE", "ours")));
    let wrong = environment.var("AWS_ACCESS_KEY_ID", "AKIDWRONG").var("AWS_SECRET_ACCESS_KEY", "x");
    assert_eq!(send_one(&server, wrong.clone()).unavailable.len(), 1);
    delivers(&send(&builder(&server, wrong).profile("ours").build().unwrap(), &puts(1)));
}

/// A side-car that rewrites the file is how many hosts rotate keys.
#[test]
fn keys_that_the_service_no_longer_takes_are_read_again() {
    let server = server();
    let home = Home::new("", &format!("[default]\n{}", keys_of(KEY_ID, SECRET)));
    let sink = builder(&server, environment().home(home.path())).build().unwrap();
    delivers(&send(&sink, &puts(1)));
    server.expire(KEY_ID);
    home.write(
        ".aws/credentials",
        &format!("[default]\n{}aws_session_token = {TOKEN}\n", keys_of("ASIATEMPORARYKEYS", SECRET)),
    );
    let said = send(&sink, &puts(1));
    assert!(said.unavailable[0].1.contains("ExpiredTokenException"), "{said:?}");
    delivers(&send(&sink, &puts(1)));
}

#[test]
fn from_a_process() {
    let server = server();
    let program = scratch("helper.sh");
    let output = json!({"Version": 1, "AccessKeyId": "ASIATEMPORARYKEYS", "SecretAccessKey": SECRET, "SessionToken": TOKEN,
        "Expiration": expiration(DAY)});
    std::fs::write(&program, format!("test \"$1\" = argument || {{ echo hush >&2; exit 3; }}\necho '{output}'\n"))
        .unwrap();
    let profile = |argument: &str| {
        let config = format!("[default]\ncredential_process = sh {} {argument}\n", program.display());
        let home = Home::new(&config, "");
        send_one(&server, environment().var("PATH", std::env::var("PATH").unwrap()).home(home.path()))
    };
    delivers(&profile("argument"));
    let said = profile("other");
    std::fs::remove_file(&program).unwrap();
    assert!(said.unavailable[0].1.contains("credential_process of profile default"), "{said:?}");
    assert!(said.unavailable[0].1.contains("status 3") && !said.unavailable[0].1.contains("hush"), "{said:?}");
}

/// A metadata service that counts how often it gives keys.
fn metadata(lifetime: Duration, token: &'static str) -> (Server, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let keys = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let keys = json!({"Code": "Success", "AccessKeyId": "ASIATEMPORARYKEYS", "SecretAccessKey": SECRET, "Token": TOKEN,
            "Expiration": expiration(lifetime)});
        Reply::new(200, keys.to_string())
    };
    let server = Server::start(move |request: Request| match (&request.method[..], &request.target[..]) {
        ("GET", "/container") if request.header("authorization") == token => keys(),
        ("PUT", "/latest/api/token") => Reply::new(200, "imds-token"),
        ("GET", "/latest/meta-data/iam/security-credentials/")
            if request.header("x-aws-ec2-metadata-token") == "imds-token" =>
        {
            Reply::new(200, "role")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/role")
            if request.header("x-aws-ec2-metadata-token") == "imds-token" =>
        {
            keys()
        }
        _ => Reply::new(403, "no"),
    });
    (server, count)
}

/// Keys that are about to end are renewed while they are used, but their source is not asked at every call.
#[test]
fn from_a_container_and_kept_until_they_near_their_end() {
    for lifetime in [DAY, Duration::from_secs(60)] {
        let server = server();
        let (metadata, count) = metadata(lifetime, "Bearer pod");
        let environment = environment()
            .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", metadata.url()))
            .var("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer pod")
            .var("HTTP_PROXY", "http://127.0.0.1:1")
            .var("NO_PROXY", "127.0.0.1");
        let sink = builder(&server, environment).build().unwrap();
        (0..3).for_each(|_| delivers(&send(&sink, &puts(1))));
        assert_eq!(count.load(Ordering::SeqCst), 1, "keys that last {lifetime:?}");
    }
}

#[test]
fn keys_near_their_end_are_renewed_in_time() {
    let server = server();
    let (metadata, count) = metadata(Duration::from_secs(4), "");
    let uri = format!("{}/container", metadata.url());
    let sink = builder(&server, environment().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)).build().unwrap();
    let start = Instant::now();
    while count.load(Ordering::SeqCst) < 3 {
        delivers(&send(&sink, &puts(1)));
        std::thread::sleep(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(60), "a second is a quarter of their life");
    }
}

/// The metadata service is away for a moment: keys that still last are used on.
#[test]
fn keys_are_used_to_their_end_where_no_new_ones_are_to_be_had() {
    let server = server();
    let (metadata, count) = metadata(Duration::from_secs(90), "");
    let uri = format!("{}/container", metadata.url());
    let sink = builder(&server, environment().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)).build().unwrap();
    delivers(&send(&sink, &puts(1)));
    drop(metadata);
    delivers(&send(&sink, &puts(1)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn from_an_instance() {
    let server = server();
    let (metadata, count) = metadata(DAY, "");
    let environment = Environment::empty().var("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url());
    let sink = builder(&server, environment).build().unwrap();
    (0..2).for_each(|_| delivers(&send(&sink, &puts(1))));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// The bug: a token that the metadata service no longer took made the answer an error.
#[test]
fn a_metadata_token_that_ended_is_renewed() {
    let server = server();
    let tokens = Arc::new(AtomicU64::new(0));
    let given = tokens.clone();
    let metadata = Server::start(move |request: Request| {
        let role = "/latest/meta-data/iam/security-credentials/";
        let token = request.header("x-aws-ec2-metadata-token");
        let keys = json!({"Code": "Success", "AccessKeyId": "ASIATEMPORARYKEYS", "SecretAccessKey": SECRET, "Token": TOKEN,
            "Expiration": expiration(DAY)});
        match (&request.method[..], &request.target[..], token) {
            ("PUT", ..) => Reply::new(200, format!("token-{}", given.fetch_add(1, Ordering::SeqCst))),
            (_, target, "token-0") if target == role => Reply::new(200, "role"),
            (_, target, "token-1") if target == format!("{role}role") => Reply::new(200, keys.to_string()),
            _ => Reply::new(401, "Unauthorized"),
        }
    });
    let environment = Environment::empty().var("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url());
    delivers(&send(&builder(&server, environment).build().unwrap(), &puts(1)));
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

/// The service may take keys beyond their end, as AWS lets it where the metadata service fails; what it says if it does
/// not, and then what the source says, is what is told.
#[test]
fn keys_that_have_ended_are_tried_while_their_source_is_silent() {
    let server = server();
    let (metadata, _) = metadata(Duration::from_millis(1500), "");
    let uri = format!("{}/container", metadata.url());
    let sink = builder(&server, environment().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)).build().unwrap();
    delivers(&send(&sink, &puts(1)));
    drop(metadata);
    std::thread::sleep(Duration::from_secs(2));
    delivers(&send(&sink, &puts(1)));
    server.expire("ASIATEMPORARYKEYS");
    let said = send(&sink, &puts(1));
    assert!(said.unavailable[0].1.contains("ExpiredTokenException"), "{said:?}");
    let said = send(&sink, &puts(1));
    assert!(said.unavailable[0].1.contains("no credentials from the container: "), "{said:?}");
}

/// The bug: a missing permission threw good keys away, and every call asked their source.
#[test]
fn a_missing_permission_does_not_cost_the_keys() {
    let server = server();
    let (metadata, count) = metadata(DAY, "");
    let uri = format!("{}/container", metadata.url());
    let sink = builder(&server, environment().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)).build().unwrap();
    server.script(vec![Fault::Error(400, "AccessDeniedException", "not authorized"); 5]);
    (0..5).for_each(|_| assert_eq!(send(&sink, &puts(1)).unavailable.len(), 1));
    delivers(&send(&sink, &puts(1)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn never_in_the_clear_from_afar() {
    let server = server();
    let environment = environment().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/container");
    let said = send_one(&server, environment);
    assert!(said.unavailable[0].1.contains("no credentials from the container"), "{said:?}");
}

#[test]
fn from_single_sign_on() {
    let server = server();
    let portal = Server::start(|request: Request| {
        let authorized = request.header("x-amz-sso_bearer_token") == "sso-token";
        let asked = request.target == "/federation/credentials?role_name=Writer&account_id=123456789012";
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        let keys = json!({"roleCredentials": {"accessKeyId": "ASIATEMPORARYKEYS", "secretAccessKey": SECRET,
            "sessionToken": TOKEN, "expiration": millis + 3_600_000}});
        if authorized && asked { Reply::new(200, keys.to_string()) } else { Reply::new(401, "{}") }
    });
    let config = "
[profile old]
sso_start_url = https://corp.example/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Writer
[profile new]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Writer
[sso-session corp]
sso_start_url = https://corp.example/start
sso_region = eu-west-1
";
    let home = Home::new(config, "");
    let environment = environment().home(home.path()).var("AWS_ENDPOINT_URL_SSO", portal.url());
    let sink = |profile: &str| builder(&server, environment.clone()).profile(profile).build().unwrap();
    let said = send(&sink("new"), &puts(1));
    assert!(said.unavailable[0].1.contains("aws sso login"), "{said:?}");
    let cached = json!({"accessToken": "sso-token", "expiresAt": expiration(DAY)}).to_string();
    // Named after the SHA-1 of the start URL, or of the session's name.
    for (profile, of) in [("old", "https://corp.example/start"), ("new", "corp")] {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, of.as_bytes());
        let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        home.write(&format!(".aws/sso/cache/{name}.json"), &cached);
        delivers(&send(&sink(profile), &puts(1)));
    }
}

/// A token near its end is renewed, and the new one kept for the AWS tools and the next start.
#[test]
fn from_single_sign_on_with_a_token_that_is_renewed() {
    let server = server();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let portal = Server::start(move |request: Request| {
        if request.target == "/token" {
            count.fetch_add(1, Ordering::SeqCst);
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            let expected = json!({"clientId": "client", "clientSecret": "client\"secret", "grantType": "refresh_token",
                "refreshToken": "refresh-1"});
            let token = json!({"accessToken": "sso-new", "tokenType": "Bearer", "expiresIn": 28800, "refreshToken": "refresh-2"});
            return if body == expected { Reply::new(200, token.to_string()) } else { Reply::new(400, "{}") };
        }
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        let keys = json!({"roleCredentials": {"accessKeyId": "ASIATEMPORARYKEYS", "secretAccessKey": SECRET,
            "sessionToken": TOKEN, "expiration": millis + 3_600_000}});
        let authorized = request.header("x-amz-sso_bearer_token") == "sso-new";
        if authorized { Reply::new(200, keys.to_string()) } else { Reply::new(401, "{}") }
    });
    let config = "
[default]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Writer
[sso-session corp]
sso_start_url = https://corp.example/start
sso_region = eu-west-1
";
    let home = Home::new(config, "");
    let environment = environment()
        .home(home.path())
        .var("AWS_ENDPOINT_URL_SSO", portal.url())
        .var("AWS_ENDPOINT_URL_SSO_OIDC", portal.url());
    // The SHA-1 of "corp".
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"corp");
    let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = format!(".aws/sso/cache/{name}.json");
    let cached = |refresh: &str| {
        json!({"accessToken": "sso-old", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": refresh, "clientId": "client",
            "clientSecret": "client\"secret", "region": "eu-west-1"})
    };
    home.write(&file, &cached("wrong").to_string());
    let said = send_one(&server, environment.clone());
    assert!(said.unavailable[0].1.contains("run aws sso login (HTTP status 400)"), "{said:?}");
    home.write(&file, &cached("refresh-1").to_string());
    delivers(&send_one(&server, environment.clone()));
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(home.path().join(&file)).unwrap()).unwrap();
    assert_eq!((&kept["accessToken"], &kept["refreshToken"]), (&json!("sso-new"), &json!("refresh-2")));
    assert_eq!(kept["region"], "eu-west-1", "all else is as it was");
    delivers(&send_one(&server, environment));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "the kept token lasts");
}

#[test]
fn from_a_closure() {
    let server = server();
    for (lasting, asked) in [(false, 3), (true, 1)] {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let function = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let credentials = Credentials::new("ASIATEMPORARYKEYS", SECRET).session_token(TOKEN);
            Ok(if lasting { credentials.expires_at(SystemTime::now() + DAY) } else { credentials })
        };
        let sink = builder(&server, environment()).credentials_fn(function).build().unwrap();
        (0..3).for_each(|_| delivers(&send(&sink, &puts(1))));
        assert_eq!(count.load(Ordering::SeqCst), asked);
    }
    let sink = builder(&server, environment()).credentials_fn(|| Err("the vault is sealed".into())).build().unwrap();
    assert!(send(&sink, &puts(1)).unavailable[0].1.contains("the vault is sealed"));
}

/// A security token service at its regional endpoint, reached through a proxy: roles by web identity and by profile.
#[test]
fn from_roles() {
    let sts = |request: &Request| {
        if !request.header("host").starts_with("sts.") {
            return None;
        }
        let query = format!("{}{}", request.target, String::from_utf8_lossy(&request.body));
        let action = if query.contains("WebIdentity") { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
        let authorized = match action {
            "AssumeRole" => request.header("authorization").contains(KEY_ID),
            _ => query.contains("WebIdentityToken=identity"),
        };
        if !authorized || !query.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2FWriter") {
            return Some(Reply::new(
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            ));
        }
        Some(Reply::new(
            200,
            format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>ASIATEMPORARYKEYS</AccessKeyId>\
                 <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>\
                 <Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
                expiration(DAY)
            ),
        ))
    };
    let server = Strict::start_tls(&["127.0.0.1", "sts.eu-west-1.amazonaws.com"], sts);
    prepare(&server);
    let proxy = Proxy::start(server.server.address());
    let role = "role_arn = arn:aws:iam::123456789012:role/Writer\n";
    let keys = keys_of(KEY_ID, SECRET);
    let config = format!(
        "[profile role]\n{role}source_profile = base\n[profile base]\n{keys}[profile own]\n{role}source_profile = own\n{keys}\
         [profile env]\n{role}credential_source = Environment\n[profile circle]\n{role}source_profile = round\n\
         [profile round]\n{role}source_profile = circle\n[profile wrong]\n{role}source_profile = other\n[profile other]\n{}",
        keys_of("AKIDOTHER", "x"),
    );
    let home = Home::new(&config, "");
    home.write("token", "identity\n");
    let environment = environment()
        .home(home.path())
        .var("HTTPS_PROXY", proxy.url())
        .var("NO_PROXY", "127.0.0.1")
        .var("AWS_CA_BUNDLE", server.server.ca_bundle());
    let token_file = home.path().join("token");
    let web = environment
        .clone()
        .var("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/Writer")
        .var("AWS_WEB_IDENTITY_TOKEN_FILE", token_file.to_str().unwrap());
    delivers(&send_one(&server, web));
    assert_eq!(proxy.asked(), ["CONNECT sts.eu-west-1.amazonaws.com:443"]);
    let with_keys = environment.var("AWS_ACCESS_KEY_ID", KEY_ID).var("AWS_SECRET_ACCESS_KEY", SECRET);
    let by = |profile: &str| send(&builder(&server, with_keys.clone()).profile(profile).build().unwrap(), &puts(1));
    for profile in ["role", "own", "env"] {
        delivers(&by(profile));
    }
    assert!(by("circle").unavailable[0].1.contains("leads back to itself"));
    assert!(by("wrong").unavailable[0].1.contains("no credentials from the role of profile wrong"));
}
