//! What is sent: bodies, headers, limits, splitting.

use unistream::sink::http::{BodyForm, Compression, HttpSink, Method, Preset, RecordForm};
use unistream::{Batch, ErrorKind, NewRecord, Sink, sink as sinks};

use crate::server::{Fault, Reply, Server};
use crate::{batch, numbers, send, sink};

#[test]
fn bodies_of_every_form() {
    let server = Server::taking();
    let three = batch(&numbers(3));
    for (form, kind, body) in [
        (BodyForm::Ndjson, "application/x-ndjson", &b"0\n1\n2\n"[..]),
        (BodyForm::JsonArray, "application/json", b"[0,1,2]"),
        (BodyForm::LengthPrefixed, "application/octet-stream", b"\x01\0\0\x000\x01\0\0\x001\x01\0\0\x002"),
    ] {
        let compressions = [Compression::None, Compression::Gzip];
        let zstd = cfg!(feature = "zstd").then_some(Compression::Zstd);
        for compression in compressions.into_iter().chain(zstd) {
            let sink = sink(&server, "/a?b=c").body(form).compression(compression).build().unwrap();
            assert_eq!(send(&sink, &three).0, "ddd");
            let request = server.requests().pop().unwrap();
            assert_eq!((&request.method[..], &request.target[..]), ("POST", "/a?b=c"));
            assert_eq!((request.header("content-type"), &request.body[..]), (kind, body));
            assert_eq!(request.header("idempotency-key"), three.id());
            assert!(request.header("user-agent").starts_with("unistream/"));
        }
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn a_build_without_zstd_says_what_is_missing() {
    let error = sinks::open("https://host/?compression=zstd", &[]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("cargo feature \"zstd\""), "{error}");
}

#[test]
fn a_request_a_record_says_what_is_known_of_it() {
    let server = Server::taking();
    let put = NewRecord::new(b"\xff raw").id("id 1").key("k\u{e4}\n%".as_bytes()).created_at(1_700_000_000_000_000);
    let headers = [("traceparent", &b"00-1-2-01"[..]), ("Host", b"evil"), ("no token", b"x"), ("Authorization", b"x")];
    let put = put.topic("t").headers(&headers);
    let two = Batch::from_records([put, NewRecord::new(b"second")]);
    let sink = sink(&server, "/").body(BodyForm::Single).method(Method::Put).header("X-Kind", "a b").build().unwrap();
    assert_eq!(send(&sink, &two).0, "dd");
    let [first, second] = &server.requests()[..] else { panic!("two requests") };
    assert_eq!((&first.method[..], &first.body[..]), ("PUT", &b"\xff raw"[..]));
    for (name, value) in [
        ("idempotency-key", "id 1"),
        ("x-record-id", "id 1"),
        ("x-record-key", "k%C3%A4%0A%25"),
        ("x-record-time", "2023-11-14T22:13:20.000000Z"),
        ("x-kind", "a b"),
        ("x-record-topic", "t"),
        ("traceparent", "00-1-2-01"),
        ("authorization", ""),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    assert_eq!(second.header("idempotency-key"), two.get(1).unwrap().id());
    assert_eq!(server.connections(), 1);
}

#[test]
fn envelopes_take_any_bytes() {
    let server = Server::taking();
    let sink = sink(&server, "/").record(RecordForm::Envelope).build().unwrap();
    let batch = Batch::from_records([NewRecord::new(b"\xff").id("i"), NewRecord::new(b"{\n}").key(b"k").id("j")]);
    assert_eq!(send(&sink, &batch).0, "dd");
    let lines = server.requests()[0].lines();
    let objects: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    assert_eq!((&objects[0]["text_base64"], &objects[0]["id"]), (&"/w==".into(), &"i".into()));
    assert_eq!((&objects[1]["data"], &objects[1]["key"]), (&serde_json::json!({}), &"k".into()));
}

#[test]
fn what_the_body_cannot_hold_is_refused_at_put_and_rejected_in_old_batches() {
    let server = Server::taking();
    let ndjson = sink(&server, "/").build().unwrap();
    let array = sink(&server, "/").body(BodyForm::JsonArray).build().unwrap();
    for (data, good_line, good_element) in [
        (&b"{}"[..], true, true),
        (b"{\n}", false, true),
        (b"text", false, false),
        (b"", false, false),
        (b"1 2", false, false),
    ] {
        let record = NewRecord::new(data);
        assert_eq!(ndjson.admit(&record).is_ok(), good_line, "{data:?}");
        assert_eq!(array.admit(&record).is_ok(), good_element, "{data:?}");
    }
    let mixed = batch(&["1".into(), "no json".into(), "3".into()]);
    let (kinds, why) = send(&array, &mixed);
    assert!(kinds == "drd" && why.contains("not JSON"), "{kinds} {why}");
    assert_eq!(server.requests()[0].text(), "[1,3]");
    let small = sink(&server, "/").body(BodyForm::LengthPrefixed).max_record_bytes(3).build().unwrap();
    let (kinds, why) = send(&small, &batch(&["12".into(), "1234".into()]));
    assert!(kinds == "dr" && why.contains("a record may be 3"), "{kinds} {why}");
    assert_eq!(small.limits().max_record_bytes, Some(7), "with the length before it");
}

#[test]
fn requests_stay_within_their_limits() {
    let server = Server::taking();
    let by_count = sink(&server, "/").max_call_records(4).build().unwrap();
    assert_eq!(send(&by_count, &batch(&numbers(10))).0, "d".repeat(10));
    let sizes: Vec<usize> = server.requests().iter().map(|request| request.lines().len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let keys: Vec<String> = server.requests().iter().map(|request| request.header("idempotency-key").into()).collect();
    let id = batch(&numbers(1)).id();
    assert!(keys[0].starts_with(&format!("{id}.1-4-")) && keys[1].starts_with(&format!("{id}.5-8-")), "{keys:?}");
    assert_eq!(send(&by_count, &batch(&numbers(10))).0, "d".repeat(10));
    let again: Vec<String> =
        server.requests()[3..].iter().map(|request| request.header("idempotency-key").into()).collect();
    assert_eq!(again, keys, "the same parts have the same keys");
    let by_bytes = sink(&server, "/").max_call_bytes(10).build().unwrap();
    assert_eq!(send(&by_bytes, &batch(&numbers(12))).0, "d".repeat(12));
    assert!(server.requests()[6..].iter().all(|request| request.body.len() <= 10));
    assert_eq!(server.requests()[6..].iter().flat_map(|request| request.lines()).collect::<Vec<_>>(), numbers(12));
}

/// A body that is too large is halved until it fits; a record alone that is too large, or wrong, becomes a dead letter.
#[test]
fn what_is_too_large_is_split_and_a_culprit_is_found_alone() {
    let server = Server::start(|request| match request.text() {
        text if text.contains("13") => Reply::new(422, r#"{"error": "no thirteen"}"#),
        text if text.lines().count() > 3 => Reply::html(413),
        _ => Reply::new(202, ""),
    });
    let sink = sink(&server, "/").build().unwrap();
    let (kinds, why) = send(&sink, &batch(&numbers(20)));
    assert_eq!(kinds, format!("{}r{}", "d".repeat(13), "d".repeat(6)));
    assert!(why.contains("422") && why.contains("no thirteen"), "{why}");
    let taken = server.requests().into_iter().filter(|request| request.lines().len() <= 3);
    let mut taken: Vec<String> = taken.flat_map(|request| request.lines()).filter(|line| line != "13").collect();
    taken.sort_by_key(|line| line.parse::<u32>().unwrap());
    taken.dedup();
    let expected: Vec<String> = numbers(20).into_iter().filter(|line| line != "13").collect();
    assert_eq!(taken, expected);
}

/// The bug: when the first two were refused, the last one went before all others.
#[test]
fn nothing_goes_before_its_turn_while_a_culprit_is_looked_for() {
    for (preset, path) in [(Preset::None, "/"), (Preset::Clickhouse, "/events")] {
        let taken = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let lines = taken.clone();
        let server = Server::start(move |request| match request.text().contains("bad") {
            true => Reply::new(400, "Code: 27. DB::Exception: no").header("x-clickhouse-exception-code", "27"),
            false => {
                lines.lock().unwrap().extend(request.lines());
                Reply::new(200, "").header("x-clickhouse-summary", "{}")
            }
        });
        let record = |n: usize| format!("{{\"{}\": {n}}}", if n < 2 { "bad" } else { "n" });
        let records: Vec<String> = (0..6).map(record).collect();
        let sink = sink(&server, path).preset(preset).build().unwrap();
        assert_eq!(send(&sink, &batch(&records)).0, "rrdddd", "{preset:?}");
        assert_eq!(*taken.lock().unwrap(), records[2..], "{preset:?}");
    }
}

#[test]
fn a_refusal_of_everything_rejects_nothing() {
    let server = Server::start(|_| Reply::new(400, "bad"));
    let sink = sink(&server, "/").build().unwrap();
    assert_eq!(send(&sink, &batch(&numbers(50))).0, "f".repeat(50));
    assert!(server.requests().len() < 20);
}

#[test]
fn options_that_do_not_fit_are_refused_when_the_sink_is_built() {
    let refused = |url: &str, options: &[(&str, &str)]| {
        let error = sinks::open(url, options).err().unwrap_or_else(|| panic!("{url} {options:?} was taken"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(!error.message().contains("hush"), "{error}");
        error.message().to_owned()
    };
    for (url, options, why) in [
        ("http", &[][..], "url"),
        ("http://", &[], "url"),
        ("https://user:hush@host/", &[], "username and password"),
        (
            "https://user:hush@host/hush?hush",
            &[],
            "\"https://host/...\" is not the URL of a sink: an option has no value",
        ),
        ("https://host/#hush", &[], "fragment"),
        ("https://host/?token=hush", &[], "does not belong in a URL"),
        ("https://host/", &[("headers", "X-Api-Key: hush")], "secret_headers"),
        ("https://host/", &[("headers", "hush")], "Name: value"),
        ("https://host/", &[("headers", "Content-Length: 3")], "itself"),
        ("https://host/", &[("secret_headers", "hush")], "Name: value"),
        ("https://host/", &[("token", "hush"), ("token_file", "f")], "exclude"),
        ("https://host/", &[("token", "hush"), ("secret_headers", "Authorization: hush")], "twice"),
        ("https://host/", &[("statuses", "409=maybe")], "409=delivered"),
        ("https://host/", &[("client_key", "f")], "client_cert"),
        ("https://host/?body=single", &[("max_call_records", "2")], "one record"),
        ("https://host/", &[("method", "GET")], "POST"),
    ] {
        assert!(refused(url, options).contains(why), "{url} {options:?}: {}", refused(url, options));
    }
    let opened =
        sinks::open("https://host:8443/secret/path?query=a%3Db&headers=X-Scope:%20t%0AX-More:%20u", &[]).unwrap();
    assert_eq!(opened.name(), "https://host:8443");
    assert!(HttpSink::builder("ftp://host/").build().is_err());
    let host = || HttpSink::builder("https://host/");
    for broken in [host().header("X-Tenant", "a\nX-Role: hush"), host().secret_header("X-Key\nX-Role", "hush")] {
        let error = broken.build().unwrap_err();
        assert!(error.message().contains("line break") && !error.message().contains("hush"), "{error}");
    }
    assert!(sinks::open("https://host/", &[("client_cert", "/nonexistent")]).is_err());
}

#[test]
fn a_url_of_a_sink_names_the_request_too() {
    let server = Server::taking();
    let url = format!("{}?query=wait%3Dtrue%26db%3Dx&body=json-array&use_environment=false", server.url("/in/here"));
    let sink = sinks::open(&url, &[("secret_headers", "X-Api-Key: hush-hush")]).unwrap();
    assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd");
    let request = &server.requests()[0];
    assert_eq!((&request.target[..], request.header("x-api-key")), ("/in/here?wait=true&db=x", "hush-hush"));
    assert_eq!(request.text(), "[0,1]");
}

#[test]
fn large_bodies_are_announced() {
    let server = Server::taking();
    let sink = sink(&server, "/").body(BodyForm::LengthPrefixed).expect_continue(1000).build().unwrap();
    assert_eq!(send(&sink, &batch(&["x".repeat(996)])).0, "d");
    assert_eq!(send(&sink, &batch(&["x".repeat(997)])).0, "d");
    let expects: Vec<_> = server.requests().iter().map(|request| request.header("expect").to_owned()).collect();
    assert_eq!(expects, ["", "100-continue"]);
    // Refused by its head, nothing of the body is sent.
    server.script([Fault::Early(Reply::new(413, "x")), Fault::Early(Reply::new(401, "who?"))]);
    assert!(send(&sink, &batch(&["x".repeat(997)])).1.contains("413"));
    let why = send(&sink, &batch(&["x".repeat(997)])).1;
    assert!(why.contains("401: who?"), "{why}");
    // Who does not know of the announcement gets it without.
    server.script([Fault::Early(Reply::new(417, "what?"))]);
    assert_eq!(send(&sink, &batch(&["x".repeat(997)])).0, "d");
    assert_eq!(server.requests().pop().unwrap().header("expect"), "");
    server.script([Fault::Early(Reply::new(417, "what?")), Fault::Answer(Reply::new(417, "still?"))]);
    assert!(send(&sink, &batch(&["x".repeat(997)])).1.contains("417: still?"));
    // Also where that is called a success, nobody has taken it.
    server.script([Fault::Early(Reply::new(200, "{}"))]);
    let (kinds, why) = send(&sink, &batch(&["x".repeat(997)]));
    assert!(kinds == "u" && why.contains("before the body was sent"), "{kinds} {why}");
}
