//! Each preset against a server that is strict by the service's documentation.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use serde_json::{Value, json};
use unistream::sink::http::Preset;
use unistream::{Batch, NewRecord, Sink};

use crate::server::{Fault, Reply, Server};
use crate::{send, sink};

/// Records with the ids `a`, `b`, … and the times 2023-11-14T22:13:20.00000Ns.
fn records(payloads: &[&str]) -> Batch {
    let ids: Vec<String> = ('a'..).take(payloads.len()).map(String::from).collect();
    Batch::from_records(payloads.iter().zip(&ids).enumerate().map(|(nth, (data, id))| {
        NewRecord::new(data.as_bytes()).id(id).key(b"k").created_at(1_700_000_000_000_000 + nth as i64)
    }))
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// Documents by their ids; what has the field `bad` is refused, what is there already conflicts.
fn elastic() -> Server {
    let documents: Mutex<HashMap<String, Value>> = Mutex::default();
    Server::start(move |request| {
        assert!(request.target.ends_with("/logs/_bulk"), "{}", request.target);
        assert_eq!(request.header("content-type"), "application/x-ndjson");
        assert!(request.body.ends_with(b"\n"));
        let lines = request.lines();
        let mut documents = documents.lock().unwrap();
        let items = lines.chunks(2).map(|pair| {
            let (action, document) = (json_of(pair[0].as_bytes()), json_of(pair[1].as_bytes()));
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            let refused = |status: u16, kind: &str| json!({"create": {"_id": id, "status": status, "error": {"type": kind, "reason": "so"}}});
            if !document["bad"].is_null() {
                return refused(400, "document_parsing_exception");
            }
            if documents.contains_key(&id) {
                return refused(409, "version_conflict_engine_exception");
            }
            documents.insert(id.clone(), document);
            json!({"create": {"_id": id, "status": 201}})
        });
        Reply::new(200, json!({"errors": true, "items": items.collect::<Vec<_>>()}).to_string())
    })
}

#[test]
fn elastic_has_each_document_once() {
    for preset in [Preset::Elastic, Preset::Opensearch] {
        let server = elastic();
        let sink = sink(&server, "/logs").preset(preset).token("k:v").build().unwrap();
        let batch = records(&["{\"n\": 1}", "{\"bad\": 1}", "{\"n\": 3}"]);
        server.script([Fault::CutAfter]);
        assert_eq!(send(&sink, &batch).0, "uuu");
        let (kinds, why) = send(&sink, &batch);
        assert_eq!(kinds, "drd", "what was there already is delivered");
        assert!(why.contains("document_parsing_exception: so"), "{why}");
        assert_eq!(server.requests()[1].header("authorization"), "ApiKey k:v");
        for bad in ["7", "text", "[{}]", "{\n}", ""] {
            assert!(sink.admit(&NewRecord::new(bad.as_bytes())).is_err(), "{bad:?}");
        }
        // A line of a file of Windows.
        assert_eq!(send(&sink, &Batch::from_records([NewRecord::new(b"{\"n\": 4}\r").id("w")])).0, "d");
        assert!(server.requests().pop().unwrap().text().ends_with("}}\n{\"n\": 4}\n"));
        assert!(sink.admit(&NewRecord::new(b"{}").id(&"i".repeat(513))).is_err());
        server.script([Fault::Answer(Reply::new(200, "{\"tagline\": \"You Know, for Search\"}"))]);
        assert_eq!(send(&sink, &batch).0, "uuu", "an answer of another API");
    }
}

#[test]
fn clickhouse_gets_a_token_for_each_insert() {
    let server = Server::start(|request| {
        let line = request.lines().iter().position(|line| line.contains("bad"));
        match line {
            Some(_) => {
                Reply::new(400, "Code: 27. DB::Exception: Cannot parse input").header("content-type", "text/plain")
            }
            None => Reply::new(200, "").header("x-clickhouse-summary", "{}"),
        }
    });
    let sink =
        sink(&server, "/db.events").preset(Preset::Clickhouse).username("default").password("pw").build().unwrap();
    let batch = records(&["{\"n\": 1}", "{\"bad\": 2}", "{\"n\": 3}", "{\"n\": 4}"]);
    assert_eq!(send(&sink, &batch).0, "drdd");
    assert_eq!(send(&sink, &batch).0, "drdd");
    let targets: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    let (first, second) = targets.split_at(targets.len() / 2);
    assert_eq!(first, second, "the same rows have the same tokens");
    let insert =
        "/?query=INSERT%20INTO%20db.events%20FORMAT%20JSONEachRow&wait_end_of_query=1&insert_deduplication_token=";
    assert_eq!(first[0], format!("{insert}{}", batch.id()));
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), first.len());
    assert!(server.requests()[0].header("authorization").starts_with("Basic "));
    assert_eq!(server.requests().last().unwrap().text(), "{\"n\": 3}\n{\"n\": 4}\n");
}

/// Loki takes what is in its window and answers 400 for the rest; two lines of one time and text are one.
#[test]
fn loki_keeps_every_line_and_says_which_are_too_old() {
    let taken = std::sync::Arc::new(Mutex::new(Vec::new()));
    let lines = taken.clone();
    let server = Server::start(move |request| {
        assert_eq!((&request.target[..], request.header("x-scope-orgid")), ("/loki/api/v1/push", "tenant"));
        let mut old = 0;
        for stream in json_of(&request.body)["streams"].as_array().unwrap() {
            assert_eq!(stream["stream"], json!({"service": "web", "tenant": "k"}));
            for value in stream["values"].as_array().unwrap() {
                let (time, line) = (value[0].as_str().unwrap().to_owned(), value[1].as_str().unwrap().to_owned());
                if line == "old" {
                    old += 1;
                } else if !lines.lock().unwrap().contains(&(time.clone(), line.clone())) {
                    lines.lock().unwrap().push((time, line));
                }
            }
        }
        match old {
            0 => Reply::new(204, ""),
            _ => Reply::new(400, "entry for stream has timestamp too old").header("content-type", "text/plain"),
        }
    });
    let builder = sink(&server, "/").preset(Preset::Loki).fields("service=web,tenant={key}");
    let sink = builder.header("X-Scope-OrgID", "tenant").build().unwrap();
    let same = NewRecord::new(b"same \"line\"\n").key(b"k").created_at(1_700_000_000_000_000);
    let (kinds, why) = send(&sink, &Batch::from_records([same, NewRecord { data: b"old", ..same }, same, same]));
    assert!(kinds == "drdd" && why.contains("timestamp too old"), "{kinds} {why}");
    let mut taken = taken.lock().unwrap().clone();
    taken.sort();
    let expected = ["001", "003", "004"].map(|end| (format!("1700000000000000{end}"), "same \"line\"\n".to_owned()));
    assert_eq!(taken, expected);
    assert!(sink.admit(&NewRecord::new(b"\xff")).is_err());
}

#[test]
fn splunk_hec() {
    let server = Server::start(|request| {
        assert_eq!((&request.target[..], request.header("authorization")), ("/services/collector/event", "Splunk tok"));
        let events = serde_json::Deserializer::from_slice(&request.body).into_iter::<Value>();
        let events: Vec<Value> = events.map(Result::unwrap).collect();
        match events.iter().position(|event| event["index"] == "nowhere") {
            Some(nth) => {
                Reply::new(400, json!({"text": "Incorrect index", "code": 7, "invalid-event-number": nth}).to_string())
            }
            None => Reply::new(200, json!({"text": "Success", "code": 0}).to_string()),
        }
    });
    let builder = sink(&server, "/").preset(Preset::SplunkHec).token("tok");
    let fields = "host=web-1,sourcetype=app,region=eu";
    let good = builder.clone().fields(fields).build().unwrap();
    assert_eq!(send(&good, &records(&["{\"n\": 1}", "plain \"text\""])).0, "dd");
    let body = server.requests()[0].text();
    let events: Vec<Value> = body.lines().map(|line| json_of(line.as_bytes())).collect();
    assert_eq!(
        events[0],
        json!({"time": 1_700_000_000.0, "host": "web-1", "sourcetype": "app", "event": {"n": 1},
            "fields": {"record_id": "a", "region": "eu"}})
    );
    assert_eq!(events[1]["event"], "plain \"text\"");
    assert!(body.contains("\"time\":1700000000.000001,"), "{body}");
    let by_key = builder.fields("index={key}").build().unwrap();
    let to = |key: &'static [u8]| NewRecord::new(b"x").key(key);
    assert_eq!(send(&by_key, &Batch::from_records([to(b"main"), to(b"nowhere"), to(b"main")])).0, "drd");
    for (status, body) in [
        (503, json!({"text": "Server is busy", "code": 9})),
        (400, json!({"text": "no channel", "code": 10})),
        (403, json!({"text": "Invalid token", "code": 4})),
    ] {
        server.script([Fault::Answer(Reply::new(status, body.to_string()))]);
        assert_eq!(send(&good, &records(&["x", "y"])).0, "uu", "{body}");
    }
    assert!(good.admit(&NewRecord::new(b" \n")).is_err());
}

#[test]
fn datadog_logs() {
    let server = Server::start(|request| {
        assert_eq!((&request.target[..], request.header("dd-api-key")), ("/api/v2/logs", "api-key"));
        let logs = json_of(&request.body);
        assert!(logs.as_array().unwrap().len() <= 1000 && request.body.len() <= 5_000_000);
        Reply::new(202, "{}")
    });
    let sink = sink(&server, "").preset(Preset::DatadogLogs).token("api-key").fields("service=web,ddtags=env:test");
    let sink = sink.build().unwrap();
    let payloads: Vec<String> = (0..1500).map(|n| format!("line {n}")).collect();
    assert_eq!(
        send(&sink, &records(&payloads.iter().map(|text| &text[..]).collect::<Vec<_>>()[..26])).0,
        "d".repeat(26)
    );
    let log = &json_of(&server.requests()[0].body)[1];
    let expected = json!({"message": "line 1", "timestamp": 1_700_000_000_000_u64, "record_id": "b", "service": "web", "ddtags": "env:test"});
    assert_eq!(*log, expected);
    assert_eq!(send(&sink, &crate::batch(&payloads)).0, "d".repeat(1500));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn otlp_in_json() {
    let server = Server::start(|request| {
        assert_eq!((&request.target[..], request.header("content-type")), ("/v1/logs", "application/json"));
        let logs = &json_of(&request.body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        let bad = logs.as_array().unwrap().iter().filter(|log| log["body"]["stringValue"] == "bad").count();
        let said = if bad == 0 {
            json!({})
        } else {
            json!({"partialSuccess": {"rejectedLogRecords": bad.to_string(), "errorMessage": "bad ones"}})
        };
        Reply::new(200, said.to_string())
    });
    let sink = sink(&server, "").preset(Preset::OtlpLogs).content_type("application/json").fields("service.name=web");
    let sink = sink.build().unwrap();
    let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(
        send(&sink, &Batch::from_records([NewRecord::new(b"x").headers(&[("traceparent", &parent[..])])])).0,
        "d"
    );
    let log = json_of(&server.requests()[0].body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].clone();
    assert_eq!(
        (&log["traceId"], &log["spanId"]),
        (&json!("4bf92f3577b34da6a3ce929d0e0e4736"), &json!("00f067aa0ba902b7"))
    );
    let (kinds, why) = send(&sink, &records(&["one", "bad", "three"]));
    assert!(kinds == "drd" && why.contains("bad ones"), "{kinds} {why}");
    let first = json_of(&server.requests()[1].body);
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]});
    assert_eq!(first["resourceLogs"][0]["resource"], resource);
    let log = &first["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!((&log["timeUnixNano"], &log["body"]), (&json!("1700000000000000000"), &json!({"stringValue": "one"})));
}

#[test]
fn webhooks_are_signed_one_by_one() {
    let server = Server::taking();
    let sink = sink(&server, "/hook").preset(Preset::Webhook).signing_secret("whsec_c2VjcmV0").build().unwrap();
    assert_eq!(send(&sink, &records(&["{\"n\": 1}", "{\"n\": 2}"])).0, "dd");
    for (request, id) in server.requests().iter().zip(["a", "b"]) {
        assert_eq!((request.header("webhook-id"), request.header("idempotency-key")), (id, id));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
        let signed = format!("{id}.{}.{}", request.header("webhook-timestamp"), request.text());
        let expected = base64::prelude::BASE64_STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()));
        assert_eq!(request.header("webhook-signature"), format!("v1,{expected}"));
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_does_not_go_with_a_preset_is_refused() {
    let open =
        |query: &str| unistream::sink::open(&format!("https://host/{query}"), &[]).err().map(|error| error.to_string());
    for (query, why) in [
        ("?preset=elastic", "INDEX"),
        ("a%20b?preset=clickhouse", "TABLE"),
        ("logs?preset=elastic&body=single", "decides"),
        ("?fields=a%3Db", "presets"),
        ("logs?preset=elastic&fields=a%3Db", "no fields"),
        ("?preset=loki&fields=a", "service=web"),
        ("?preset=datadog_logs&fields=message%3Dx", "record's own"),
        ("?preset=webhook&max_call_records=2", "one record"),
        ("?preset=carrier_pigeon", "elastic"),
    ] {
        let error = open(query).unwrap_or_else(|| panic!("{query} was taken"));
        assert!(error.contains(why), "{query}: {error}");
    }
    assert_eq!(open("logs?preset=opensearch&query=pipeline%3Dp"), None);
}
