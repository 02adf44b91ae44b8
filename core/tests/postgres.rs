//! The PostgreSQL sink against servers that end, talk too much, or are none. What real servers do, tests/brokers has.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use unistream::sink::postgres::{Environment, PostgresBuilder, PostgresSink, PostgresTls};
use unistream::{Batch, NewRecord, Outcome, Report, SendError, Sink};

/// What a client says, as far as these tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Startup(String),
    TlsRequest,
    Password(Vec<u8>),
    Query(String),
    /// Rows, all of a COPY.
    Rows(String),
    CopyFail,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &len[..], body].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            None => body.extend((-1i32).to_be_bytes()),
            Some(text) => {
                body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                body.extend(text.as_bytes());
            }
        }
    }
    message(b'D', &body)
}

fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0").as_bytes())
}

/// What a server says to an honest client; its note says `seq`.
fn usual(said: &Said, seq: &str) -> Vec<u8> {
    match said {
        Said::TlsRequest => b"N".to_vec(),
        Said::Startup(_) => {
            [message(b'R', &[0; 4]), message(b'S', b"server_version\x0015.0\0"), message(b'K', &[0; 8]), ready()]
                .concat()
        }
        Said::Query(sql) if sql.contains("pg_attribute") => {
            let columns = ["payload", "id", "key", "topic", "headers", "created_at"];
            let columns = columns.iter().map(|name| row(&[Some(name), Some("25")])).collect::<Vec<_>>().concat();
            let settings = row(&[Some("off"), Some("on"), Some("t")]);
            [settings, complete("SELECT 1"), columns, complete("SELECT 6"), ready()].concat()
        }
        Said::Query(sql) if sql.starts_with("BEGIN") => {
            [complete("BEGIN"), complete("SET"), row(&[Some(seq), Some(""), None]), complete("SELECT 1")]
                .into_iter()
                .chain([complete("SAVEPOINT"), ready()])
                .collect::<Vec<_>>()
                .concat()
        }
        Said::Query(sql) if sql.starts_with("COPY") => message(b'G', &[0, 0, 0]),
        Said::Rows(rows) => [complete(&format!("COPY {}", rows.lines().count())), ready()].concat(),
        Said::Query(sql) if sql.starts_with("RELEASE") && sql.ends_with("COMMIT") => {
            [complete("RELEASE"), complete("UPDATE 1"), complete("COMMIT"), ready()].concat()
        }
        Said::Query(sql) => [complete(sql.split(' ').next().unwrap()), ready()].concat(),
        Said::CopyFail => [error("ERROR", "57014", "COPY from stdin failed"), ready()].concat(),
        Said::Password(_) => error("FATAL", "28P01", "no"),
    }
}

/// Serves every connection in a thread; `answer` gets the number of the connection and what was said, none ends it. Its
/// port, and all that was said.
fn serve(answer: impl Fn(usize, &Said) -> Option<Vec<u8>> + Send + Clone + 'static) -> (u16, Receiver<(usize, Said)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let (stream, answer, sender) = (stream.unwrap(), answer.clone(), sender.clone());
            thread::spawn(move || converse(stream, &|said: &Said| answer(nth, said), nth, &sender));
        }
    });
    (port, receiver)
}

fn converse(
    mut stream: TcpStream,
    answer: &dyn Fn(&Said) -> Option<Vec<u8>>,
    nth: usize,
    heard: &Sender<(usize, Said)>,
) -> Option<()> {
    let mut rows = String::new();
    let mut has_begun = false;
    loop {
        let said = if has_begun {
            let mut kind = [0];
            stream.read_exact(&mut kind).ok()?;
            let body = body(&mut stream)?;
            let text = || String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
            match kind[0] {
                b'Q' => Said::Query(text()),
                b'p' => Said::Password(body),
                b'd' => {
                    rows.push_str(&String::from_utf8_lossy(&body));
                    continue;
                }
                b'c' => Said::Rows(std::mem::take(&mut rows)),
                b'f' => Said::CopyFail,
                other => panic!("a message {other}"),
            }
        } else {
            match body(&mut stream)? {
                body if body == [0x04, 0xd2, 0x16, 0x2f] => Said::TlsRequest,
                body => {
                    has_begun = true;
                    Said::Startup(String::from_utf8_lossy(&body[4..]).into_owned())
                }
            }
        };
        let answer = answer(&said);
        // Who has gone hears nothing, and a test that has what it wants does not listen.
        let _ = heard.send((nth, said));
        let _ = stream.write_all(&answer?);
    }
}

fn body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut body = vec![0; u32::from_be_bytes(len) as usize - 4];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn sink(port: u16) -> PostgresBuilder {
    let short = Duration::from_millis(800);
    PostgresSink::builder(format!("postgres://me@127.0.0.1:{port}/db/events"))
        .environment(Environment::empty())
        .timeout(short)
        .connect_timeout(short)
}

fn batch() -> Batch {
    Batch::from_records([NewRecord::new(b"one").id("1"), NewRecord::new(b"two").id("2")])
}

fn send(sink: &PostgresSink) -> Result<Report, SendError> {
    sink.send(&batch())
}

/// Why the first record is not there, and that this is nobody's fault.
fn unavailable(sent: Result<Report, SendError>) -> String {
    match sent {
        Err(SendError::Unavailable { error, .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(report) => match report.outcome(0) {
            Outcome::Unavailable { error, .. } => error.to_string(),
            other => panic!("{other:?}"),
        },
    }
}

fn queries(heard: &Receiver<(usize, Said)>) -> Vec<String> {
    let texts = heard.try_iter().map(|(_, said)| match said {
        Said::Query(sql) => sql,
        Said::Startup(text) | Said::Rows(text) => text,
        other => format!("{other:?}"),
    });
    texts.collect()
}

#[test]
fn rows_and_the_note_go_in_one_transaction() {
    let (port, heard) = serve(|_, said| Some(usual(said, "0")));
    let sink = sink(port).build().unwrap();
    assert!(send(&sink).unwrap().is_delivered());
    let said = queries(&heard);
    assert!(said[0].contains("user\0me\0") && said[0].contains("database\0db\0"), "{said:?}");
    assert!(said[2].starts_with("BEGIN ISOLATION LEVEL READ COMMITTED;") && said[2].contains("FOR UPDATE"), "{said:?}");
    assert!(said[3].starts_with("COPY \"events\" (\"payload\", \"id\", \"key\""), "{said:?}");
    assert!(said[4].starts_with("one\t1\t\\N\t\\N\t\\N\t") && said[4].contains("\ntwo\t2\t"), "{said:?}");
    assert!(said[5].starts_with("RELEASE SAVEPOINT unistream; UPDATE \"unistream_progress\" SET seq = 2"), "{said:?}");
    assert!(said[5].ends_with("; COMMIT"), "{said:?}");
    // The connection is kept.
    assert!(send(&sink).unwrap().is_delivered());
    assert!(queries(&heard)[0].starts_with("BEGIN"));
}

#[test]
fn what_is_noted_is_not_sent_again() {
    for (seq, rows) in [("1", 1), ("2", 0), ("9", 0)] {
        let (port, heard) = serve(move |_, said| Some(usual(said, seq)));
        let sink = sink(port).build().unwrap();
        assert!(send(&sink).unwrap().is_delivered(), "{seq}");
        let said = queries(&heard);
        assert_eq!(said.iter().filter(|sql| sql.starts_with("two")).count(), rows, "{said:?}");
        assert!(!said.iter().any(|sql| sql.starts_with("one")), "{said:?}");
        assert_eq!(said.iter().any(|sql| sql.ends_with("COMMIT")), rows == 1, "{said:?}");
    }
}

#[test]
fn a_commit_that_was_none_delivers_nothing() {
    for end in [
        [complete("RELEASE"), complete("UPDATE 1"), complete("ROLLBACK"), ready()].concat(),
        ready(),
        [error("ERROR", "40001", "could not serialize"), ready()].concat(),
        [error("ERROR", "53100", "No space left on device"), ready()].concat(),
        error("FATAL", "57P01", "terminating connection due to administrator command"),
        message(b'C', b"no end"),
    ] {
        let (port, _heard) = serve(move |_, said| match said {
            Said::Query(sql) if sql.ends_with("COMMIT") => Some(end.clone()),
            said => Some(usual(said, "0")),
        });
        unavailable(send(&sink(port).build().unwrap()));
    }
}

/// Wherever the server ends, the records are there only if it has said so.
#[test]
fn an_answer_that_is_cut_delivers_nothing() {
    let rows = Said::Rows(String::new());
    let commit = Said::Query("RELEASE; COMMIT".into());
    let steps = [
        Said::Startup(String::new()),
        Said::Query("pg_attribute".into()),
        Said::Query("BEGIN".into()),
        Said::Query("COPY".into()),
        rows,
        commit,
    ];
    let is_step = |step: usize, said: &Said| match (step, said) {
        (0, Said::Startup(_)) | (4, Said::Rows(_)) => true,
        (1, Said::Query(sql)) => sql.contains("pg_attribute"),
        (2, Said::Query(sql)) => sql.starts_with("BEGIN"),
        (3, Said::Query(sql)) => sql.starts_with("COPY"),
        (5, Said::Query(sql)) => sql.ends_with("COMMIT"),
        _ => false,
    };
    for (nth, step) in steps.iter().enumerate() {
        let len = usual(step, "0").len();
        for keep in (0..len).step_by(7).chain([len - 1]) {
            let (port, _heard) = serve(move |_, said| {
                let whole = usual(said, "0");
                if !is_step(nth, said) {
                    return Some(whole);
                }
                // The end follows in what is none of the protocol, which ends it as surely.
                let mut cut = whole[..keep.min(whole.len() - 1)].to_vec();
                cut.extend([0; 64]);
                Some(cut)
            });
            unavailable(send(&sink(port).build().unwrap()));
        }
    }
}

#[test]
fn a_connection_that_was_kept_and_has_ended_is_made_anew_at_once() {
    let (port, heard) = serve(|nth, said| match said {
        Said::Query(sql) if nth == 0 && sql.ends_with("COMMIT") => {
            Some([usual(said, "0"), error("FATAL", "57P01", "gone")].concat())
        }
        Said::Query(sql) if nth == 0 && sql.starts_with("COPY") => Some(usual(said, "0")),
        said => Some(usual(said, "0")),
    });
    let sink = sink(port).build().unwrap();
    assert!(send(&sink).unwrap().is_delivered());
    assert!(send(&sink).unwrap().is_delivered());
    assert!(heard.try_iter().any(|(nth, said)| nth == 1 && matches!(said, Said::Rows(_))));
}

#[test]
fn a_server_that_takes_no_writes_is_left_for_another() {
    let reads = |said: &Said| match said {
        Said::Query(sql) if sql.contains("pg_attribute") => {
            [row(&[Some("on"), Some("on"), Some("t")]), complete("SELECT 1"), complete("SELECT 0"), ready()].concat()
        }
        said => usual(said, "0"),
    };
    let (standby, _) = serve(move |_, said| Some(reads(said)));
    let why = unavailable(send(&sink(standby).build().unwrap()));
    assert!(why.contains("takes no writes"), "{why}");
    let (first, _) = serve(|_, said| Some(usual(said, "0")));
    let url = format!("postgres://me@127.0.0.1:{standby},127.0.0.1:{first}/db/events");
    assert!(send(&sink(first).set("url", &url).unwrap().build().unwrap()).unwrap().is_delivered());
    // One that became a standby while we were connected says so when it is asked to write.
    let (turned, _) = serve(|_, said| match said {
        Said::Query(sql) if sql.starts_with("BEGIN") => Some(
            [error("ERROR", "25006", "cannot execute SELECT FOR UPDATE in a read-only transaction"), ready()].concat(),
        ),
        Said::Query(sql) if sql.starts_with("COPY") => Some([error("ERROR", "25P02", "aborted"), ready()].concat()),
        said => Some(usual(said, "0")),
    });
    let url = format!("postgres://me@127.0.0.1:{turned},127.0.0.1:{first}/db/events");
    let sink = sink(first).set("url", &url).unwrap().build().unwrap();
    assert!(unavailable(send(&sink)).contains("25006"));
    assert!(send(&sink).unwrap().is_delivered());
}

#[test]
fn a_server_that_repeats_the_password_is_not_quoted() {
    let (port, _heard) = serve(|_, said| match said {
        Said::Startup(_) => Some(message(b'R', &[0, 0, 0, 3])),
        Said::Password(said) => {
            let said = String::from_utf8_lossy(said).into_owned();
            Some(error("FATAL", "28P01", said.trim_end_matches('\0')))
        }
        said => Some(usual(said, "0")),
    });
    let why = unavailable(send(&sink(port).password("hush-hush-hush").build().unwrap()));
    assert!(why.contains("28P01") && !why.contains("hush"), "{why}");
}

#[test]
fn tls_is_never_left_out() {
    let (port, heard) = serve(|_, said| Some(usual(said, "0")));
    let why = unavailable(send(&sink(port).sslmode(PostgresTls::Require).build().unwrap()));
    assert!(why.contains("speaks no TLS"), "{why}");
    assert!(heard.try_iter().all(|(_, said)| said == Said::TlsRequest));
    // What is said before TLS has begun is not taken for what the server says behind it.
    let (port, heard) = serve(|_, said| match said {
        Said::TlsRequest => Some([b"S".to_vec(), usual(&Said::Startup(String::new()), "0")].concat()),
        said => Some(usual(said, "0")),
    });
    unavailable(send(&sink(port).sslmode(PostgresTls::VerifyFull).build().unwrap()));
    assert!(!heard.try_iter().any(|(_, said)| matches!(said, Said::Startup(_))));
}

#[test]
fn what_is_no_server_of_postgresql_is_told_so() {
    for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"-ERR unknown command\r\n", b"\0", b"Z\0\0\0\x05I"] {
        let (port, _heard) = serve(move |_, _| Some(words.repeat(20)));
        let why = unavailable(send(&sink(port).build().unwrap()));
        assert!(why.contains("127.0.0.1"), "{why}");
    }
}

#[test]
fn an_answer_without_an_end_is_not_waited_for() {
    let begun = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A notice that comes byte by byte.
            let _ = stream.write_all(&[b'N', 0, 0, 0xff, 0]);
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    unavailable(send(&sink(port).build().unwrap()));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_send_that_waits_returns_when_it_is_interrupted() {
    let (port, heard) = serve(|_, said| match said {
        Said::Query(sql) if sql.ends_with("COMMIT") => Some(Vec::new()),
        said => Some(usual(said, "0")),
    });
    let sink = std::sync::Arc::new(sink(port).timeout(Duration::from_secs(300)).build().unwrap());
    let sending = thread::spawn({
        let sink = sink.clone();
        move || unavailable(send(&sink))
    });
    let waits = |(_, said): &(usize, Said)| matches!(said, Said::Query(sql) if sql.ends_with("COMMIT"));
    while !waits(&heard.recv_timeout(Duration::from_secs(60)).unwrap()) {}
    sink.interrupt();
    sending.join().unwrap();
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let builder = |url: &str| PostgresSink::builder(url).environment(Environment::empty());
    for (url, option, value) in [
        ("postgres://me@h/db", "key_column", "k"),
        ("postgres://me@h/db/t", "table", "u"),
        ("postgres://me@h/db/t", "username", "you"),
        ("postgres://h/db/t", "key_column", "k"),
        ("postgres://me@h/db/t", "id_column", "payload"),
        ("postgres://me@h/db/a.b.c", "key_column", "k"),
        ("postgres://me@h/db/t", "progress_table", "a..b"),
        ("postgres://me@h/db/t", "client_key", "k.pem"),
    ] {
        let built = builder(url).set(option, value).unwrap().build();
        assert!(built.is_err(), "{url} {option}={value}");
    }
    assert!(builder("postgres://h/db/t").set("sslmode", "prefer").is_err());
    let from_environment = Environment::empty().var("PGUSER", "me").var("PGPASSWORD", "hush");
    let sink = PostgresSink::builder("postgres://h/db/t").environment(from_environment).build().unwrap();
    assert_eq!(sink.name(), "postgres://h:5432/db/t");
    assert!(!format!("{sink:?}").contains("hush"));
}
