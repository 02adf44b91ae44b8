//! Who the sink proves to be, and that its secrets show nowhere.

use std::sync::atomic::{AtomicU32, Ordering};

use unistream::sink::http::{Environment, HttpSink, Secret};
use unistream::{ErrorKind, Sink};

use crate::certificates::{Ask, Authority};
use crate::server::{Reply, Server};
use crate::{batch, numbers, send, sink};

#[test]
fn every_way_to_prove_it() {
    let server = Server::taking();
    let one = batch(&numbers(1));
    let sent = || server.requests().pop().unwrap().header("authorization").to_owned();
    assert_eq!(send(&sink(&server, "/").username("me").password("p:w").build().unwrap(), &one).0, "d");
    assert_eq!(sent(), "Basic bWU6cDp3");
    assert_eq!(send(&sink(&server, "/").token("abc").build().unwrap(), &one).0, "d");
    assert_eq!(sent(), "Bearer abc");
    let scheme = sink(&server, "/").secret_header("Authorization", "Splunk abc").build().unwrap();
    assert_eq!(send(&scheme, &one).0, "d");
    assert_eq!(sent(), "Splunk abc");
    let count = AtomicU32::new(0);
    let function = move || match count.fetch_add(1, Ordering::SeqCst) {
        1 => Err("the vault is closed".into()),
        n => Ok(Secret::from(format!("token-{n}"))),
    };
    let asking = sink(&server, "/").token_fn(function).build().unwrap();
    assert_eq!(send(&asking, &one).0, "d");
    assert_eq!(sent(), "Bearer token-0");
    let (kinds, why) = send(&asking, &one);
    assert!(kinds == "u" && why.contains("the vault is closed"), "{why}");
    assert_eq!(send(&asking, &one).0, "d");
    assert_eq!(sent(), "Bearer token-2");
}

#[test]
fn a_token_in_a_file_may_be_rotated() {
    let server = Server::taking();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let sink = sink(&server, "/").token_file(path.to_str().unwrap()).build().unwrap();
    let one = batch(&numbers(1));
    assert_eq!(send(&sink, &one).0, "u", "there is no file yet");
    for token in ["first", "second"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        assert_eq!(send(&sink, &one).0, "d");
        assert_eq!(server.requests().pop().unwrap().header("authorization"), format!("Bearer {token}"));
    }
    std::fs::write(&path, "two\nlines").unwrap();
    let (kinds, why) = send(&sink, &one);
    assert!(kinds == "u" && !why.contains("two"), "{why}");
}

#[test]
fn secrets_that_a_service_repeats_show_nowhere() {
    let server = Server::start(|request| Reply::new(403, format!("no: {:?}", request.headers)));
    let sink = sink(&server, "/")
        .token("quiet-token-of-many-bytes")
        .secret_header("X-Api-Key", "quiet-key-of-many-bytes")
        .build()
        .unwrap();
    let (kinds, why) = send(&sink, &batch(&numbers(1)));
    assert!(kinds == "u" && why.contains("***") && !why.contains("quiet"), "{why}");
    assert!(!format!("{sink:?} {}", sink.name()).contains("quiet"));
}

#[test]
fn mutual_tls() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let authority = Authority::new();
    let (us, other) = (authority.client(), authority.client());
    let (ca, certificate, key) = (file("ca", authority.pem()), file("cert", us.certificate), file("key", us.key));
    let config = authority.server(&["localhost"], Ask::Demand(&authority));
    let server = Server::start_with(Some(config), |_| Reply::new(200, ""));
    let url = format!("https://localhost:{}/", server.address().port());
    let builder = HttpSink::builder(url).environment(Environment::empty()).ca_bundle(&ca);
    let one = batch(&numbers(1));
    let known = builder.clone().client_cert(&certificate).client_key(&key).build().unwrap();
    assert_eq!(send(&known, &one), ("d".into(), String::new()));
    assert_eq!(send(&builder.clone().build().unwrap(), &one).0, "u", "a server that does not know us");
    let both = dir.path().join("both");
    let (first, second) = (std::fs::read_to_string(&certificate).unwrap(), std::fs::read_to_string(&key).unwrap());
    std::fs::write(&both, first + &second).unwrap();
    assert_eq!(send(&builder.clone().client_cert(both.to_str().unwrap()).build().unwrap(), &one).0, "d");
    for (certificate, key) in [(&key, &key), (&certificate, &certificate), (&ca, &"/nonexistent".to_owned())] {
        assert!(builder.clone().client_cert(certificate).client_key(key).build().is_err());
    }
    let clear = HttpSink::builder("http://localhost/").client_cert(&certificate).client_key(&key).build().unwrap_err();
    assert!(clear.message().contains("http://"), "{clear}");
    let builder = builder.client_cert(&certificate).client_key(file("other", other.key));
    let error = builder.build().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("another key"), "{error}");
    let strange = HttpSink::builder(format!("https://127.0.0.1:{}/", server.address().port()));
    let strange = strange.environment(Environment::empty()).ca_bundle(&ca).client_cert(&certificate).client_key(&key);
    let (kinds, why) = send(&strange.build().unwrap(), &one);
    assert!(kinds == "u" && why.to_lowercase().contains("certificate"), "{why}");
}
