//! What servers, proxies and networks do wrong.

use std::time::Duration;

use unistream::sink::http::{AnswerForm, Redirects};

use crate::server::{Fault, Reply, Server};
use crate::{batch, numbers, retry_after, send, sink};

/// Nothing counts as delivered that was not said to be; nothing is rejected for what is not its fault.
#[test]
fn answers_that_are_none_are_an_outage() {
    let server = Server::taking();
    let sink = sink(&server, "/").timeout(Duration::from_millis(300)).build().unwrap();
    let two = batch(&numbers(2));
    let portal = Reply::html(200);
    let moved = Reply::new(302, "").header("location", "https://login/?next=hush");
    let bomb = Reply::new(200, vec![b' '; 33 << 20]);
    for fault in [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::CutWithin,
        Fault::ResetWithin,
        Fault::Garbage,
        Fault::Slow(Duration::from_millis(900)),
        Fault::Answer(portal),
        Fault::Answer(moved.clone()),
        Fault::Answer(bomb),
        Fault::Answer(Reply::new(207, "{}")),
        Fault::Answer(Reply::new(401, "{}")),
        Fault::Answer(Reply::new(403, "{}")),
        Fault::Answer(Reply::new(404, "{}")),
        Fault::Answer(Reply::html(400)),
        Fault::Answer(Reply::html(502)),
        Fault::Early(Reply::new(503, "{}")),
    ] {
        server.script([fault.clone()]);
        let (kinds, why) = send(&sink, &two);
        assert!(kinds == "uu" && !why.is_empty() && !why.contains("hush"), "{fault:?}: {kinds} {why}");
        assert_eq!(send(&sink, &two).0, "dd", "after {fault:?}");
    }
    server.script([Fault::Answer(moved)]);
    assert!(send(&sink, &two).1.contains("moved to https://login/;"));
}

#[test]
fn answers_in_odd_forms_are_answers() {
    let server = Server::start(|_| Reply::new(201, r#"{"taken": true}"#));
    let sink = sink(&server, "/").build().unwrap();
    for fault in
        [Fault::Chunked, Fault::Interim, Fault::Slow(Duration::from_millis(50)), Fault::Answer(Reply::new(204, ""))]
    {
        server.script([fault.clone()]);
        assert_eq!(send(&sink, &batch(&numbers(2))), ("dd".into(), String::new()), "{fault:?}");
    }
    assert_eq!(server.connections(), 1, "kept through all of them");
}

/// A server answers by the head and resets the connection while the body is being sent: what it said counts, not the reset.
#[test]
fn an_answer_before_the_body_was_sent_is_heard() {
    let server = Server::taking();
    let sink = sink(&server, "/").expect_continue(1 << 40).build().unwrap();
    let large: Vec<String> = (0..64).map(|n| format!("\"{n}{}\"", "x".repeat(100_000))).collect();
    server.script([Fault::Early(Reply::html(413))]);
    let (kinds, why) = send(&sink, &batch(&large));
    assert_eq!(kinds, "d".repeat(64), "in two halves: {why}");
    assert_eq!(server.requests().len(), 2);
    // Nobody has taken what was not sent: more than the kernel keeps for a server that does not read.
    let sink = crate::sink(&server, "/").expect_continue(1 << 40).max_call_bytes(1 << 30).build().unwrap();
    let larger: Vec<String> = (0..64).map(|n| format!("\"{n}{}\"", "x".repeat(700_000))).collect();
    server.script([Fault::Early(Reply::new(200, "{}"))]);
    let (kinds, why) = send(&sink, &batch(&larger));
    assert!(kinds == "u".repeat(64) && !why.is_empty(), "{kinds} {why}");
}

#[test]
fn a_server_that_asks_to_wait_is_heard() {
    let server = Server::taking();
    let sink = sink(&server, "/").build().unwrap();
    let two = batch(&numbers(2));
    let now = "Wed, 21 Oct 2015 07:28:00 GMT";
    for (status, header, wait) in [
        (429, "7", Some(7)),
        (503, "Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
        (503, "soon", None),
        (503, "999999999", Some(86_400)),
        (408, "1", Some(1)),
        (425, "2", Some(2)),
        (409, "3", Some(3)),
    ] {
        server.script([Fault::Answer(Reply::new(status, "").header("retry-after", header).header("date", now))]);
        assert_eq!(retry_after(&sink, &two), wait.map(Duration::from_secs), "{status} {header}");
    }
    // Also of the records that it did not take, where it speaks of each.
    let by_record = crate::sink(&server, "/").answer(AnswerForm::Records).build().unwrap();
    let busy = Reply::new(207, r#"{"records": [{"status": 429}, {"status": 201}]}"#);
    server.script([Fault::Answer(busy.header("retry-after", "7"))]);
    assert_eq!(retry_after(&by_record, &two), Some(Duration::from_secs(7)));
}

#[test]
fn statuses_can_be_given_another_meaning() {
    let server = Server::taking();
    let sink = sink(&server, "/").statuses("409=delivered,404=rejected,503=failed").build().unwrap();
    for (reply, kinds) in [
        (Reply::new(409, ""), "dd"),
        (Reply::new(404, "no such thing"), "rr"),
        (Reply::html(404), "uu"),
        (Reply::new(503, ""), "ff"),
        (Reply::new(500, ""), "uu"),
    ] {
        server.script([Fault::Answer(reply.clone())]);
        assert_eq!(send(&sink, &batch(&numbers(2))).0, kinds, "{reply:?}");
    }
}

#[test]
fn answers_speak_of_each_record_where_they_do() {
    let body = r#"{"records": [{"status": 201}, {"status": 429, "error": "busy"}, {"status": 422, "error": "no"}, {"status": 418}]}"#;
    let server = Server::start(move |_| Reply::new(207, body));
    let sink = sink(&server, "/").answer(AnswerForm::Records).statuses("207=delivered").build().unwrap();
    assert_eq!(send(&sink, &batch(&numbers(4))).0, "durf");
    assert_eq!(send(&sink, &batch(&numbers(3))).0, "uuu", "an entry too many says nothing about any");
    assert_eq!(send(&sink, &batch(&numbers(5))).0, "uuuuu");
}

#[test]
fn redirections_are_followed_only_as_configured_and_take_no_secret_elsewhere() {
    let other = Server::taking();
    let target = other.url("/there");
    let server = Server::start(move |request| match &request.target[..] {
        "/here" => Reply::new(307, "").header("location", "/moved?x=1"),
        "/away" => Reply::new(308, "").header("location", target.clone()),
        "/get" => Reply::new(303, "").header("location", "/moved"),
        "/loop" => Reply::new(307, "").header("location", "/loop"),
        _ => Reply::new(200, ""),
    });
    let two = batch(&numbers(2));
    let by = |path: &str, redirects| {
        let sink = sink(&server, path).redirects(redirects).token("quiet-token").secret_header("X-Key", "quiet-key");
        send(&sink.header("X-Plain", "p").build().unwrap(), &two)
    };
    assert_eq!(by("/here", Redirects::None).0, "uu");
    assert_eq!(by("/here", Redirects::SameHost).0, "dd");
    let moved = server.requests().pop().unwrap();
    assert_eq!((&moved.target[..], moved.header("authorization")), ("/moved?x=1", "Bearer quiet-token"));
    assert_eq!((&moved.method[..], moved.text()), ("POST", "0\n1\n".into()));
    assert_eq!(by("/away", Redirects::SameHost).0, "uu");
    assert!(other.requests().is_empty());
    assert_eq!(by("/away", Redirects::Any).0, "dd");
    let [away] = &other.requests()[..] else { panic!("one request") };
    assert_eq!((&away.target[..], away.text(), away.header("x-plain")), ("/there", "0\n1\n".into(), "p"));
    assert!(!format!("{away:?}").contains("quiet"), "{away:?}");
    assert_eq!(by("/get", Redirects::Any).0, "uu", "a GET without the records would be answered 200");
    assert!(by("/loop", Redirects::Any).1.contains("redirections"));
}
