//! The NATS sink against servers that break off, say what is none of the protocol, or answer what nobody asked. What real servers
//! do, tests/brokers has.

#[path = "common/certificates.rs"]
mod certificates;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use certificates::{Ask, Authority};
use unistream::sink::nats::{Environment, NatsSink};
use unistream::{Batch, NewRecord, Outcome, Producer, Report, Sink};

const INFO: &str = r#"INFO {"server_id":"x","version":"2.12.0","max_payload":1000,"headers":true}"#;

/// A message that was published: the subject of its answer, and its bytes.
struct Published {
    reply: String,
    bytes: String,
}

/// Serves every connection in a thread: greets, and gives each message to `answer`, which writes what it likes; false ends the
/// connection. The URL.
fn serve(
    greeting: &'static str,
    answer: impl Fn(usize, &Published, &mut TcpStream) -> bool + Send + Clone + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}/s", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || converse(stream, greeting, &answer));
        }
    });
    url
}

fn converse(mut stream: TcpStream, greeting: &str, answer: &impl Fn(usize, &Published, &mut TcpStream) -> bool) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    if write!(stream, "{greeting}\r\n").is_err() {
        return;
    }
    let (mut line, mut nth) = (String::new(), 0);
    while from.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        line.clear();
        match &words[0][..] {
            "PING" => stream.write_all(b"PONG\r\n").unwrap(),
            "HPUB" | "PUB" => {
                let mut bytes = vec![0; words.last().unwrap().parse::<usize>().unwrap() + 2];
                from.read_exact(&mut bytes).unwrap();
                let published = Published { reply: words[2].clone(), bytes: String::from_utf8(bytes).unwrap() };
                if !answer(nth, &published, &mut stream) {
                    return;
                }
                nth += 1;
            }
            _ => {}
        }
    }
}

fn say(stream: &mut TcpStream, subject: &str, payload: &str) {
    // Who has gone hears nothing.
    let _ = write!(stream, "MSG {subject} 1 {}\r\n{payload}\r\n", payload.len());
}

fn send(url: &str, records: &[&[u8]]) -> Report {
    let sink = NatsSink::builder(url)
        .environment(Environment::empty())
        .timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    sink.send(&Batch::from_records(records.iter().map(|data| NewRecord::new(data)))).unwrap()
}

/// `d`elivered, `u`navailable, `r`ejected, `f`ailed: a letter for each.
fn kinds(report: &Report, len: usize) -> String {
    let letter = |index| match report.outcome(index) {
        Outcome::Delivered => 'd',
        Outcome::Failed { .. } => 'f',
        Outcome::Rejected { .. } => 'r',
        Outcome::Unavailable { .. } => 'u',
    };
    (0..len).map(letter).collect()
}

fn why(report: &Report, index: usize) -> String {
    match report.outcome(index) {
        Outcome::Unavailable { error, .. } | Outcome::Failed { error } => error.to_string(),
        Outcome::Rejected { reason } => reason.clone(),
        Outcome::Delivered => String::new(),
    }
}

const ACK: &str = r#"{"stream":"S","seq":1}"#;

#[test]
fn what_was_acknowledged_before_the_end_is_delivered_and_no_more() {
    let url = serve(INFO, |nth, published, stream| {
        say(stream, &published.reply, ACK);
        nth < 1
    });
    assert_eq!(kinds(&send(&url, &[b"a", b"b", b"c"]), 3), "ddu");
    let cut = serve(INFO, |_, published, stream| {
        let _ = write!(stream, "MSG {} 1 22\r\n{{\"stream\":\"S\"", published.reply);
        false
    });
    assert_eq!(kinds(&send(&cut, &[b"a", b"b"]), 2), "uu");
}

#[test]
fn an_answer_that_nobody_asked_for_delivers_nothing() {
    let url = serve(INFO, |nth, published, stream| {
        let (inbox, number) = published.reply.rsplit_once('.').unwrap();
        let other = number.parse::<u64>().unwrap() + 1000;
        say(stream, &format!("{inbox}.{other}"), ACK);
        say(stream, "_INBOX.other.0", ACK);
        say(stream, &format!("{inbox}.x"), ACK);
        // The first is answered twice, and the second not at all.
        if nth == 0 {
            say(stream, &published.reply, ACK);
            say(stream, &published.reply, ACK);
        }
        true
    });
    let report = send(&url, &[b"a", b"b"]);
    assert_eq!(kinds(&report, 2), "du");
    assert!(why(&report, 1).contains("does not answer") || why(&report, 1).contains("too long"), "{}", why(&report, 1));
}

#[test]
fn what_is_no_answer_of_jetstream_delivers_nothing() {
    for payload in ["+OK", "{}", "null", "<html>", r#"{"stream":"S","seq":0}"#] {
        let url = serve(INFO, move |_, published, stream| {
            say(stream, &published.reply, payload);
            true
        });
        assert_eq!(kinds(&send(&url, &[b"a"]), 1), "u", "{payload}");
    }
}

#[test]
fn errors_speak_of_their_record_alone() {
    let url = serve(INFO, |nth, published, stream| {
        let (code, err_code) = [(400, 10054), (503, 10077), (400, 10071), (0, 0)][nth];
        let error = format!(r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"why"}}}}"#);
        say(stream, &published.reply, if code == 0 { ACK } else { &error });
        true
    });
    assert_eq!(kinds(&send(&url, &[b"a", b"b", b"c", b"d"]), 4), "rufd");
}

#[test]
fn what_is_no_server_of_nats_is_an_outage() {
    for greeting in ["HTTP/1.1 400 Bad Request", "INFO nonsense", "-ERR 'maximum connections exceeded'", "", "PING"] {
        let url = serve(greeting, |_, _, _| true);
        let report = send(&url, &[b"a"]);
        assert_eq!(kinds(&report, 1), "u", "{greeting}: {}", why(&report, 0));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let report = send(&format!("nats://{}/s", nobody.local_addr().unwrap()), &[b"a"]);
    assert!(why(&report, 0).contains("too long"), "it accepts and stays silent: {}", why(&report, 0));
}

#[test]
fn a_record_above_what_the_server_takes_is_rejected_and_the_others_go() {
    let url = serve(INFO, |_, published, stream| {
        assert!(published.bytes.starts_with("NATS/1.0\r\nNats-Msg-Id: 0000000000000000-"), "{}", published.bytes);
        say(stream, &published.reply, ACK);
        true
    });
    let report = send(&url, &[b"a", &[b'x'; 1000], b"c"]);
    assert_eq!(kinds(&report, 3), "drd");
    assert!(why(&report, 1).contains("max_payload"), "{}", why(&report, 1));
}

#[test]
fn a_record_that_no_message_can_carry_is_refused_at_put() {
    let sink = NatsSink::builder("nats://localhost/s").environment(Environment::empty()).build().unwrap();
    let refused = |record: NewRecord<'_>| sink.admit(&record).unwrap_err();
    sink.admit(&NewRecord::new(b"").headers(&[("a", &b"\xff b"[..])])).unwrap();
    assert!(refused(NewRecord::new(b"").topic("a b")).contains("white space"));
    assert!(refused(NewRecord::new(b"").topic("a.>")).contains("wildcard"));
    assert!(refused(NewRecord::new(b"").topic("$JS.API.STREAM.PURGE.S")).contains("begins with $"));
    sink.admit(&NewRecord::new(b"").topic("$KV.bucket.key")).unwrap();
    let told = NatsSink::builder("nats://localhost/$JS.API.STREAM.PURGE.S").environment(Environment::empty()).build();
    assert!(told.unwrap_err().to_string().contains("listens to itself"));
    assert!(refused(NewRecord::new(b"").headers(&[("a", &b"b\r\nNats-Msg-Id: c"[..])])).contains("line break"));
    assert!(refused(NewRecord::new(b"").headers(&[("a:b", &b""[..])])).contains("name"));
    let nowhere = NatsSink::builder("nats://localhost").environment(Environment::empty()).build().unwrap();
    assert!(nowhere.admit(&NewRecord::new(b"")).unwrap_err().contains("no topic"));
}

#[test]
fn a_report_says_where_a_message_is() {
    let url = serve(INFO, |nth, published, stream| {
        say(stream, &published.reply, &format!(r#"{{"stream":"S","seq":{}}}"#, nth + 7));
        true
    });
    let dir = tempfile::tempdir().unwrap();
    let sink = NatsSink::builder(url).environment(Environment::empty()).build().unwrap();
    let producer = Producer::builder(dir.path().join("outbox")).max_records(1).open(sink).unwrap();
    let (tell, told) = mpsc::channel();
    for _ in 0..2 {
        let tell = tell.clone();
        producer.put_with("record", move |report| drop(tell.send(report))).unwrap();
    }
    let mut receipts: Vec<_> =
        (0..2).map(|_| told.recv_timeout(Duration::from_secs(30)).unwrap().receipt.unwrap_or_default()).collect();
    receipts.sort();
    assert_eq!(receipts, ["S:7", "S:8"]);
    producer.close(Duration::from_secs(30)).unwrap();
}

/// Serves every connection: greets in clear, goes on with TLS, says `under_tls` there, and acknowledges what it gets. The URL.
fn serve_tls(config: Arc<rustls::ServerConfig>, greeting: &'static str, under_tls: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://{}/s", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            write!(stream, "{greeting}\r\n").unwrap();
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = BufReader::new(rustls::StreamOwned::new(session, stream));
            let mut line = String::new();
            while tls.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
                line.clear();
                let said = match &words[0][..] {
                    "PING" => format!("{under_tls}PONG\r\n"),
                    "HPUB" => {
                        let mut bytes = vec![0; words.last().unwrap().parse::<usize>().unwrap() + 2];
                        tls.read_exact(&mut bytes).unwrap();
                        format!("MSG {} 1 {}\r\n{ACK}\r\n", words[2], ACK.len())
                    }
                    _ => continue,
                };
                tls.get_mut().write_all(said.as_bytes()).unwrap();
            }
        }
    });
    url
}

#[test]
fn what_was_said_before_tls_rejects_nothing() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("ca.pem");
    std::fs::write(&bundle, authority.pem()).unwrap();
    let config = authority.server(&["127.0.0.1"], Ask::Nothing);
    let greeting = r#"INFO {"max_payload":10,"headers":true,"tls_required":true,"connect_urls":["nowhere.invalid:1"]}"#;
    for (under_tls, expected) in
        [("", "f"), ("INFO {\"max_payload\":1000}\r\n", "d"), ("INFO {\"max_payload\":11}\r\n", "r")]
    {
        let sink = NatsSink::builder(serve_tls(config.clone(), greeting, under_tls))
            .environment(Environment::empty())
            .ca_bundle(bundle.to_str().unwrap())
            .build()
            .unwrap();
        let report = sink.send(&Batch::from_records([NewRecord::new(&[b'x'; 100])])).unwrap();
        assert_eq!(kinds(&report, 1), expected, "{under_tls}: {}", why(&report, 0));
    }
}

#[test]
fn a_connection_on_which_an_error_was_told_is_not_kept() {
    let (tell, told) = mpsc::channel();
    let url = serve(INFO, move |_, published, stream| {
        tell.send(published.reply.rsplit_once('.').unwrap().0.to_owned()).unwrap();
        if published.bytes.ends_with("bad\r\n") {
            let _ = stream.write_all(b"-ERR 'Permissions Violation for Publish to \"other\"'\r\n");
        }
        say(stream, &published.reply, ACK);
        true
    });
    let sink = NatsSink::builder(url).environment(Environment::empty()).build().unwrap();
    for data in [&b"good"[..], b"bad", b"good"] {
        assert_eq!(kinds(&sink.send(&Batch::from_records([NewRecord::new(data)])).unwrap(), 1), "d");
    }
    let inboxes: Vec<_> = told.try_iter().collect();
    assert!(inboxes[0] == inboxes[1] && inboxes[1] != inboxes[2], "{inboxes:?}");
}

#[test]
fn a_greeting_without_an_end_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}/s", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"I").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let begun = Instant::now();
    assert_eq!(kinds(&send(&url, &[b"a"]), 1), "u");
    assert!(begun.elapsed() < Duration::from_secs(30));
}
