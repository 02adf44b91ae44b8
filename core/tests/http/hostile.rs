//! What a service, or somebody in its place, does wrong on purpose, and records that would be something else than a record.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use unistream::sink::http::{AnswerForm, BodyForm, Preset, RecordForm};
use unistream::{Batch, Jitter, NewRecord, Order, Producer, Sink};

use crate::server::{Fault, Reply, Server};
use crate::{batch, numbers, send, side_by_side, sink};

fn raw(text: &str) -> Fault {
    Fault::Raw(text.replace('\n', "\r\n").into_bytes())
}

/// Else it would say of records that they arrived which the server never took.
#[test]
fn an_answer_too_many_is_not_taken_for_the_next_one() {
    let server = Server::start(|_| Reply::new(503, "down"));
    let sink = sink(&server, "/").build().unwrap();
    let one = "HTTP/1.1 200 OK\ncontent-length: 2\n\n{}";
    server.script([raw(&one.repeat(2))]);
    assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd");
    assert_eq!(send(&sink, &batch(&numbers(2))).0, "uu", "the server has not taken these");
    assert_eq!(server.connections(), 2);
}

#[test]
fn answers_that_break_off_or_never_end_are_an_outage() {
    let server = Server::taking();
    let sink = sink(&server, "/").timeout(Duration::from_millis(500)).build().unwrap();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 40 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let endless_head = format!("HTTP/1.1 200 OK\n{}", "x-more: and more and more\n".repeat(20_000));
    for fault in [
        raw("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\n{\"a\":"),
        raw("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nzz\n{}\n0\n\n"),
        raw("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nffffffffffffffff\n{}"),
        raw("HTTP/1.1 200 OK\ncontent-length: -1\n\n{}"),
        raw("HTTP/1.1 200 OK\ncontent-length: 99999999999\n\n{}"),
        raw("HTTP/1.1 101 Switching Protocols\nupgrade: websocket\n\n"),
        raw("HTTP/1.1 999 What\ncontent-length: 0\n\n"),
        raw("HTTP/9.9 200 OK\ncontent-length: 0\n\n"),
        raw("HTTP/1.1 20 OK\ncontent-length: 0\n\n"),
        raw(&endless_head),
        raw("HTTP/1.1 100 Continue\n\n"),
        Fault::Drip(Duration::from_millis(20)),
        Fault::Answer(Reply::new(200, bomb.clone()).header("content-encoding", "gzip")),
        Fault::Answer(Reply::new(200, &bomb[..bomb.len() / 2]).header("content-encoding", "gzip")),
        Fault::Answer(Reply::new(200, "no gzip at all").header("content-encoding", "gzip")),
    ] {
        server.script([fault.clone()]);
        let began = Instant::now();
        let (kinds, why) = send(&sink, &batch(&numbers(2)));
        let shown: String = format!("{fault:?}").chars().take(200).collect();
        assert!(kinds == "uu" && !why.is_empty() && why.len() < 2000, "{shown}: {kinds} {why}");
        assert!(began.elapsed() < Duration::from_secs(10), "{shown}: {:?}", began.elapsed());
        assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd", "after {shown}");
    }
}

#[test]
fn many_states_are_read_from_the_body_where_it_speaks_of_each_record() {
    let server = Server::start(|request| {
        let records: Vec<Value> = request
            .lines()
            .iter()
            .map(|line| json!({"status": if line == "1" { 422 } else { 201 }, "error": "so"}))
            .collect();
        Reply::new(207, json!({"records": records}).to_string())
    });
    let by_record = sink(&server, "/").answer(AnswerForm::Records).build().unwrap();
    assert_eq!(send(&by_record, &batch(&numbers(3))).0, "drd");
    assert_eq!(send(&sink(&server, "/").build().unwrap(), &batch(&numbers(3))).0, "uuu", "nobody reads the body");
    let stated = sink(&server, "/").answer(AnswerForm::Records).statuses("207=failed").build().unwrap();
    assert_eq!(send(&stated, &batch(&numbers(3))).0, "fff", "the options are stronger");
}

/// The bug: an id that had eight bytes in common with the URL's path was masked before it was compared.
#[test]
fn ids_that_look_like_the_path_are_ids() {
    let server = Server::start(|request| {
        let said = |line: &String| json!({"status": 201, "id": line.trim_matches('"')});
        Reply::new(200, json!({"records": request.lines().iter().map(said).collect::<Vec<_>>()}).to_string())
    });
    let by_record = sink(&server, "/events-of-2024-11-14").answer(AnswerForm::Records).build().unwrap();
    let of = |ids: [&str; 2], payloads: [&str; 2]| {
        let record = |(id, data)| NewRecord::new(str::as_bytes(data)).id(id);
        let records = Batch::from_records(ids.into_iter().zip(payloads).map(record));
        send(&by_record, &records).0
    };
    let ids = ["2024-11-14-a", "2024-11-14-b"];
    assert_eq!(of(ids, ["\"2024-11-14-a\"", "\"2024-11-14-b\""]), "dd");
    assert_eq!(of(ids, ["\"2024-11-14-b\"", "\"2024-11-14-a\""]), "uu", "in another order");
}

/// What a record brings along is no way to steer the request, or to be another tenant.
#[test]
fn headers_of_a_record_change_nothing_but_themselves() {
    let server = Server::taking();
    let headers: Vec<(&str, &[u8])> = [
        "X-Scope-OrgID",
        "X-Api-Key",
        "Idempotency-Key",
        "Accept-Encoding",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "X-HTTP-Method-Override",
        "X-Forwarded-For",
        "If-None-Match",
        "Proxy-Connection",
        "User-Agent",
        "X-Record-Id",
        "webhook-id",
        "webhook-signature",
    ]
    .map(|name| (name, &b"evil"[..]))
    .to_vec();
    let good: [(&str, &[u8]); 3] = [("x-twice", b"1"), ("x-twice", b"2"), ("x-split", b"a\r\nx-evil: evil")];
    let all: Vec<_> = headers.into_iter().chain(good).collect();
    let one = Batch::from_records([NewRecord::new(b"{}").id("i").headers(&all)]);
    let base = sink(&server, "/").header("X-Scope-OrgID", "tenant").secret_header("X-Api-Key", "hush-hush");
    let single = base.clone().body(BodyForm::Single).build().unwrap();
    let hook = base.preset(Preset::Webhook).build().unwrap();
    for sink in [&single, &hook] {
        assert_eq!(send(sink, &one).0, "d");
        let request = server.requests().pop().unwrap();
        let evil: Vec<_> =
            request.headers.iter().filter(|(name, value)| *name != "x-split" && value.contains("evil")).collect();
        // What one of them does not use is a header like others.
        let others = evil.iter().filter(|(name, _)| !name.starts_with("webhook-") && *name != "x-record-id");
        assert_eq!(others.count(), 0, "{evil:?}");
        assert_eq!((request.header("x-scope-orgid"), request.header("x-api-key")), ("tenant", "hush-hush"));
        assert_eq!((request.header("x-twice"), request.header("x-split")), ("1, 2", "a%0D%0Ax-evil: evil"));
    }
    assert_eq!(server.requests()[0].header("x-record-id"), "i");
    let hooked = server.requests().pop().unwrap();
    assert_eq!((hooked.header("webhook-id"), hooked.header("webhook-signature")), ("i", ""));
}

/// The bug: a record whose key made headers that no server takes waited for ever, and all behind it.
#[test]
fn headers_that_are_too_large_are_the_records_own_fault() {
    let server = Server::start(|request| match request.header("x-record-key").len() {
        1000.. => Reply::new(431, "too large"),
        _ => Reply::new(200, ""),
    });
    let sink = sink(&server, "/").body(BodyForm::Single).build().unwrap();
    let (long, longer) = ("k".repeat(2000), "k".repeat(7000));
    let record = NewRecord::new(b"x");
    let records = [record, record.key(long.as_bytes()), record];
    assert_eq!(send(&sink, &Batch::from_records(records)).0, "drd");
    assert!(sink.admit(&record.key(long.as_bytes())).is_ok());
    let why = sink.admit(&record.key(longer.as_bytes())).unwrap_err();
    assert!(why.contains("they may take 6144"), "{why}");
}

/// The bug: bytes that are no text passed for JSON between quotes, and made a body that no service can read.
#[test]
fn json_is_text() {
    let server = Server::taking();
    let bad = NewRecord::new(b"{\"a\": \"\xff\"}");
    for preset in [Preset::None, Preset::Elastic, Preset::Clickhouse] {
        let sink = sink(&server, "/logs").preset(preset).build().unwrap();
        assert!(sink.admit(&bad).is_err(), "{preset:?}");
        assert!(sink.admit(&NewRecord::new(b"{\"a\": \"\0\"}")).is_err(), "{preset:?}: a NUL");
        assert!(sink.admit(&NewRecord::new("{\"a\": \"\u{fc}\\u0000\"}".as_bytes())).is_ok(), "{preset:?}");
    }
    let enveloped = sink(&server, "/").record(RecordForm::Envelope).build().unwrap();
    assert_eq!(send(&enveloped, &Batch::from_records([bad])).0, "d");
    let object: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
    assert!(object["text_base64"].is_string(), "{object}");
}

#[test]
fn an_empty_record_is_a_request_without_a_body() {
    let server = Server::taking();
    for compressed in ["none", "gzip"] {
        let builder = sink(&server, "/").body(BodyForm::Single).set("compression", compressed).unwrap();
        assert_eq!(send(&builder.build().unwrap(), &batch(&[String::new(), "x".into()])).0, "dd", "{compressed}");
    }
    let bodies: Vec<String> = server.requests().iter().map(|request| request.text()).collect();
    assert_eq!(bodies, ["", "x", "", "x"]);
}

/// An answer in another shape than the service's errors have is somebody else's, whatever its status.
#[test]
fn what_a_preset_does_not_know_as_its_services_answer_costs_no_record() {
    let server = Server::taking();
    let records = Batch::from_records([NewRecord::new(b"{}").id("a"), NewRecord::new(b"{}").id("b")]);
    for (preset, answers) in [
        (Preset::Elastic, &[(200, "{}"), (400, "upstream says no"), (404, "{\"ok\": false}"), (422, "{}")][..]),
        (Preset::SplunkHec, &[(200, "OK"), (400, "no"), (422, "{}")]),
        (Preset::DatadogLogs, &[(200, "OK"), (400, "no")]),
        (Preset::Clickhouse, &[(200, ""), (400, "no"), (422, "no")]),
        (Preset::Loki, &[(200, "OK"), (200, "{}")]),
        (Preset::OtlpLogs, &[(200, "OK"), (200, "\n\u{5}x")]),
    ] {
        let sink = sink(&server, "/logs").preset(preset).build().unwrap();
        for (status, body) in answers {
            server.script([Fault::Answer(Reply::new(*status, *body).header("content-type", "text/plain"))]);
            let (kinds, why) = send(&sink, &records);
            assert_eq!(kinds, "uu", "{preset:?} {status} {body}: {why}");
        }
    }
    // Whoever sits behind something that changes answers can say so.
    let believing = sink(&server, "/logs").preset(Preset::DatadogLogs).answer_type("any").build().unwrap();
    server.script([Fault::Answer(Reply::new(202, "OK").header("content-type", "text/html"))]);
    assert_eq!(send(&believing, &records).0, "dd");
}

#[test]
fn an_answer_about_other_documents_says_nothing() {
    let server = Server::taking();
    let sink = sink(&server, "/logs").preset(Preset::Elastic).build().unwrap();
    let records = Batch::from_records(["a", "b"].map(|id| NewRecord::new(b"{}").id(id)));
    let item = |id: &str, status: u16| json!({"create": {"_id": id, "status": status}});
    for (items, kinds) in [
        (vec![item("a", 201), item("b", 201)], "dd"),
        (vec![item("b", 201), item("a", 201)], "uu"),
        (vec![item("a", 201)], "uu"),
        (vec![item("a", 201), item("b", 201), item("c", 201)], "uu"),
        (vec![item("a", 201), json!({"index": {"status": "201"}})], "uu"),
        (vec![item("a", 201), json!({})], "uu"),
    ] {
        let body = json!({"errors": false, "items": items}).to_string();
        server.script([Fault::Answer(Reply::new(200, body.clone()))]);
        assert_eq!(send(&sink, &records).0, kinds, "{body}");
    }
}

/// Counted as they stand in the body: escaped, and with the labels of streams of their own.
#[test]
fn no_body_is_larger_than_its_limit_whatever_is_in_the_records() {
    let server = Server::start(|request| match request.header("content-type") {
        "application/x-protobuf" => Reply::new(200, "").header("content-type", "application/x-protobuf"),
        _ if request.target.ends_with("/v1/logs") => Reply::new(200, "{}"),
        _ => Reply::new(204, ""),
    });
    let keys: Vec<String> = (0..200).map(|n| format!("{n}-{}", "k\"".repeat(200))).collect();
    let payload = "\u{1}\"".repeat(500);
    let records = || keys.iter().map(|key| NewRecord::new(payload.as_bytes()).key(key.as_bytes()));
    for (preset, kind) in [(Preset::Loki, ""), (Preset::OtlpLogs, ""), (Preset::OtlpLogs, "application/json")] {
        let builder = sink(&server, "/").preset(preset).content_type(kind).fields("tenant={key}");
        let sink = builder.max_call_bytes(64 << 10).build().unwrap();
        let before = server.requests().len();
        let (kinds, why) = send(&sink, &Batch::from_records(records()));
        assert_eq!(kinds, "d".repeat(200), "{preset:?} {why}");
        let sizes: Vec<usize> = server.requests()[before..].iter().map(|request| request.body.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 64 << 10), "{preset:?} {kind} {sizes:?}");
    }
    let loki = |fields: &str| sink(&server, "/").preset(Preset::Loki).fields(fields).build();
    for bad in ["service.name=web", "1st=x", "__name=x", "a-b=x"] {
        assert!(loki(bad).unwrap_err().message().contains("no label of Loki"), "{bad}");
    }
    let line = |bytes: usize| "\0".repeat(bytes);
    assert!(loki("a=b").unwrap().admit(&NewRecord::new(line(256 << 10).as_bytes())).is_ok());
    assert!(loki("a=b").unwrap().admit(&NewRecord::new(line((256 << 10) + 1).as_bytes())).is_err());
    // Another limit is that of a line's text, too, however long that is in JSON.
    let longer = sink(&server, "/").preset(Preset::Loki).max_record_bytes(300_000).build().unwrap();
    let quotes = "\"".repeat(300_000);
    assert!(longer.admit(&NewRecord::new(quotes.as_bytes())).is_ok());
    assert_eq!(send(&longer, &batch(&[quotes])).0, "d");
}

/// The bug: a password that a service repeated was shown, because only its Base64 form was known.
#[test]
fn what_is_secret_in_a_request_is_not_shown_by_what_the_service_repeats() {
    let server = Server::start(|request| {
        Reply::new(404, format!("Cannot POST {} of me:correct-horse {:?}", request.target, request.headers))
    });
    let basic = sink(&server, "/").username("me").password("correct-horse").build().unwrap();
    let path = sink(&server, "/services/T0000/B0000/quiet-key-in-a-path?code=quiet-code-in-a-query").build().unwrap();
    let hook = sink(&server, "/quiet-key-in-a-path").preset(Preset::Webhook).build().unwrap();
    for sink in [&basic, &path, &hook] {
        let (kinds, why) = send(sink, &batch(&numbers(1)));
        assert!(kinds == "u" && why.contains("Cannot POST"), "{why}");
        let shown = format!("{why} {sink:?} {}", sink.name());
        assert!(!shown.contains("horse") || std::ptr::eq(sink, &path) || std::ptr::eq(sink, &hook), "{shown}");
        assert!(!shown.contains("quiet"), "{shown}");
    }
}

#[test]
fn secrets_come_from_files_where_a_url_cannot_hold_them() {
    let server = Server::taking();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (password, keys) = (file("password", "p:w\n"), file("keys", "X-Api-Key: hush-hush\nX-More: quiet\n"));
    let url = format!("{}?use_environment=false&username=me", server.url("/in"));
    let open = |more: &str| unistream::sink::open(&format!("{url}{more}"), &[]);
    let sink = open(&format!("&password_file={password}&secret_headers_file={keys}")).unwrap();
    assert_eq!(send(&sink, &batch(&numbers(1))).0, "d");
    let request = server.requests().pop().unwrap();
    assert_eq!((request.header("authorization"), request.header("x-more")), ("Basic bWU6cDp3", "quiet"));
    file("password", "second");
    assert_eq!(send(&sink, &batch(&numbers(1))).0, "d");
    assert_eq!(server.requests().pop().unwrap().header("authorization"), "Basic bWU6c2Vjb25k", "it may be rotated");
    std::fs::remove_file(&password).unwrap();
    let (kinds, why) = send(&sink, &batch(&numbers(1)));
    assert!(kinds == "u" && why.contains("cannot read the password"), "{why}");
    let why = |more: &str| open(more).err().unwrap_or_else(|| panic!("{more} was taken")).message().to_owned();
    assert!(why("&password=hush").contains("password_file takes the path"), "{}", why("&password=hush"));
    assert!(why(&format!("&secret_headers_file={}/none", dir.path().display())).contains("secret_headers_file"));
    let both = unistream::sink::open(&format!("{url}&password_file=f"), &[("password", "x")]).err().unwrap();
    assert!(both.message().contains("exclude"), "{both}");
}

/// A token runs out; the records wait until somebody has rotated it, and none of them is lost to it.
#[test]
fn a_token_that_runs_out_costs_time_and_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let refused = Arc::new(AtomicBool::new(false));
    let seen = refused.clone();
    let server = Server::start(move |request| match request.header("authorization") {
        "Bearer new" => Reply::new(200, ""),
        _ => {
            seen.store(true, Ordering::SeqCst);
            Reply::new(401, "expired")
        }
    });
    let producer = Producer::builder(dir.path().join("outbox"))
        .max_attempts(1)
        .schedule_waits(vec![Duration::from_millis(5)])
        .jitter(Jitter::None)
        .open(sink(&server, "/").token_file(path.to_str().unwrap()).build().unwrap())
        .unwrap();
    (0..100).for_each(|n| assert!(producer.put(n.to_string().as_bytes()).unwrap() > 0));
    while !refused.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(&path, "new").unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!((producer.stats().delivered_records, producer.stats().dead_letters), (100, 0));
}

/// Requests side by side: one that is slow holds no other.
#[test]
fn a_slow_request_holds_no_other() {
    let (done, slow) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (others, began) = (done.clone(), slow.clone());
    let server = Server::start(move |request| {
        if request.lines().iter().any(|line| line == "0") {
            began.store(true, Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(15);
            while !others.load(Ordering::SeqCst) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Reply::new(200, "")
    });
    let dir = tempfile::tempdir().unwrap();
    let producer = side_by_side(dir.path(), Order::None, sink(&server, "/").build().unwrap(), 1000);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.requests().len() < 99 {
        assert!(Instant::now() < deadline, "{} requests", server.requests().len());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(slow.load(Ordering::SeqCst));
    done.store(true, Ordering::SeqCst);
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.stats().delivered_records, 1000);
}
