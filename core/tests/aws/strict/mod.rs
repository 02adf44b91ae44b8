//! Kinesis Data Streams and CloudWatch Logs as their documentation says, and stricter than their emulators: it
//! verifies signatures, enforces every limit, throttles by shard, and fails as it is told to.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::http::{Cut, Reply, Request, Server};

mod operations;
mod signature;

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const KEY_ID: &str = "AKIDTEST";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
const MIB: usize = 1024 * 1024;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What happens to one call instead of, or besides, the ordinary.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: lets a call pass.
    None,
    /// These records of the call fail with a code; the others are taken.
    Records(Vec<usize>, &'static str),
    /// The call is refused with a status, a code and a message; nothing is taken.
    Error(u16, &'static str, &'static str),
    /// As an overloaded front end answers: a status, no JSON, `Retry-After`.
    Busy(u16, u64),
    /// The connection is closed before anything is taken.
    CutBefore,
    /// All is taken, and the connection is closed without an answer.
    CutAfter,
    /// All is taken, and the connection is closed within the answer.
    CutWithin,
    /// All is taken, and the answer comes late.
    Slow(Duration),
    /// All is taken, and the answer has this many entries more or fewer.
    Entries(isize),
    /// All is taken, and the answer is no JSON.
    NotJson,
    /// Nothing is taken, but the answer is 200 and a page for humans.
    Portal,
    /// Nothing is taken: somebody on the way answers, with a status, a type and a body.
    Elsewhere(u16, &'static str, &'static str),
    /// As [`Busy`](Self::Busy), with a date so many seconds ahead on the server's own clock, which is an hour slow.
    BusyUntil(u16, u64),
    /// All is taken, and the answer is gzipped.
    Gzip,
    /// All is taken, and the answer is a few bytes of gzip that unpack to so many MiB.
    GzipBomb(usize),
}

/// A record or event that the service took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) data: String,
    /// Partition key, or the timestamp in milliseconds.
    pub(crate) key: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    /// The payloads in it.
    pub(crate) records: Vec<String>,
    /// `ok`, or the code that it was answered with.
    pub(crate) answer: String,
    /// The payloads that it was told, in a whole answer, to have been taken.
    pub(crate) told: Vec<String>,
}

pub(crate) struct Key {
    secret: String,
    token: Option<String>,
    expired: bool,
}

#[derive(Default)]
struct Shard {
    /// Records and bytes of the present second.
    records: usize,
    bytes: usize,
}

struct Stream {
    shards: Vec<Shard>,
    max_record_bytes: usize,
    max_call_bytes: usize,
    taken: Vec<Taken>,
}

#[derive(Default)]
struct Group {
    streams: HashMap<String, Vec<Taken>>,
    retention_days: Option<i64>,
}

pub(crate) struct State {
    keys: HashMap<String, Key>,
    streams: HashMap<String, Stream>,
    groups: BTreeMap<String, Group>,
    faults: VecDeque<Fault>,
    calls: Vec<Call>,
    /// The service's clock, for signatures and for events, less that of this machine.
    skew_ms: i64,
    /// Create calls find what they are to make made by someone else at the last moment.
    raced: bool,
    region: String,
    /// A record with this payload makes the service refuse the whole call.
    poison: Option<String>,
}

pub(crate) struct Strict {
    state: Arc<Mutex<State>>,
    pub(crate) server: Server,
}

/// Code and message of a refused call.
type Refusal = (&'static str, String);

impl Strict {
    pub(crate) fn start() -> Self {
        let state = State::shared();
        let handler = state.clone();
        Strict { server: Server::start(move |request| answer(&handler, &request)), state }
    }

    /// With TLS, and another service in front that may answer instead.
    pub(crate) fn start_tls(names: &[&str], front: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let state = State::shared();
        let handler = state.clone();
        let server =
            Server::start_tls(names, move |request| front(&request).unwrap_or_else(|| answer(&handler, &request)));
        Strict { server, state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A stream that takes records of 1 MiB and calls of 10 MiB.
    pub(crate) fn stream(&self, name: &str, shards: usize) {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        let stream = Stream { shards, max_record_bytes: MIB, max_call_bytes: 10 * MIB, taken: Vec::new() };
        self.state().streams.insert(name.into(), stream);
    }

    pub(crate) fn stream_limits(&self, name: &str, max_record_bytes: usize, max_call_bytes: usize) {
        let mut state = self.state();
        let stream = state.streams.get_mut(name).unwrap();
        (stream.max_record_bytes, stream.max_call_bytes) = (max_record_bytes, max_call_bytes);
    }

    pub(crate) fn log_stream(&self, group: &str, stream: &str) {
        self.state().groups.entry(group.into()).or_default().streams.insert(stream.into(), Vec::new());
    }

    pub(crate) fn retention(&self, group: &str, days: i64) {
        self.state().groups.entry(group.into()).or_default().retention_days = Some(days);
    }

    pub(crate) fn log_streams(&self, group: &str) -> Option<Vec<String>> {
        self.state().groups.get(group).map(|group| group.streams.keys().cloned().collect())
    }

    pub(crate) fn key(&self, id: &str, secret: &str, token: Option<&str>) {
        let key = Key { secret: secret.into(), token: token.map(Into::into), expired: false };
        self.state().keys.insert(id.into(), key);
    }

    pub(crate) fn expire(&self, id: &str) {
        self.state().keys.get_mut(id).unwrap().expired = true;
    }

    /// The faults of the next calls that put something, one a call.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    pub(crate) fn poison(&self, payload: &str) {
        self.state().poison = Some(payload.into());
    }

    /// The region that it is in, [`REGION`] at first.
    pub(crate) fn region(&self, region: &str) {
        self.state().region = region.into();
    }

    pub(crate) fn race(&self) {
        self.state().raced = true;
    }

    pub(crate) fn skew(&self, millis: i64) {
        self.state().skew_ms = millis;
    }

    /// The second of the shards' limits is over.
    pub(crate) fn next_second(&self) {
        let mut state = self.state();
        state.streams.values_mut().flat_map(|stream| &mut stream.shards).for_each(|shard| *shard = Shard::default());
    }

    pub(crate) fn taken(&self, stream: &str) -> Vec<Taken> {
        self.state().streams[stream].taken.clone()
    }

    pub(crate) fn events(&self, group: &str, stream: &str) -> Vec<Taken> {
        self.state().groups[group].streams[stream].clone()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The payloads of each call that put something.
    pub(crate) fn puts(&self) -> Vec<Vec<String>> {
        let puts = |call: Call| call.operation.starts_with("Put").then_some(call.records);
        self.calls().into_iter().filter_map(puts).collect()
    }

    /// The codes that calls were answered with, `ok` among them.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.answer).collect()
    }
}

/// Milliseconds since the epoch on this machine's clock.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn answer(state: &Mutex<State>, request: &Request) -> Reply {
    let mut state = state.lock().unwrap();
    let target = request.header("x-amz-target").to_owned();
    let operation = target.split('.').nth(1).unwrap_or_default().to_owned();
    let is_put = operation.starts_with("Put");
    let fault = if is_put { state.faults.pop_front().unwrap_or(Fault::None) } else { Fault::None };
    let parsed: Option<Value> = serde_json::from_slice(&request.body).ok();
    let records = parsed.as_ref().map(payloads).unwrap_or_default();
    let whole = matches!(fault, Fault::None | Fault::Records(..));
    let (mut reply, code) = state.reply(request, &target, parsed, &records, fault);
    // Only what is the service's own says so, and what the service's clock shows.
    if reply.headers.iter().any(|(_, value)| value == "application/x-amz-json-1.1") {
        let clock = UNIX_EPOCH + Duration::from_millis(state.now_ms() as u64);
        reply.headers.push(("date".into(), httpdate::fmt_http_date(clock)));
        reply.headers.push(("x-amzn-requestid".into(), state.calls.len().to_string()));
    }
    let told = if whole && reply.status == 200 { told(&reply.body, &records) } else { Vec::new() };
    state.calls.push(Call { operation, records, answer: code, told });
    reply
}

/// The payloads of a call, for the log of calls.
fn payloads(body: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(String::from);
    let decoded = |entry: &Value| {
        let data = BASE64_STANDARD.decode(entry["Data"].as_str()?).ok()?;
        Some(String::from_utf8_lossy(&data).into_owned())
    };
    match (body["Records"].as_array(), body["logEvents"].as_array()) {
        (Some(records), _) => records.iter().filter_map(decoded).collect(),
        (_, Some(events)) => events.iter().filter_map(|event| text(&event["message"])).collect(),
        _ => Vec::new(),
    }
}

/// The payloads of a call whose entries in a `PutRecords` answer are no errors.
fn told(answer: &[u8], records: &[String]) -> Vec<String> {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let entries = answer["Records"].as_array().map_or(&[][..], Vec::as_slice);
    let good = entries.iter().zip(records).filter(|(entry, _)| entry["ErrorCode"].is_null());
    good.map(|(_, record)| record.clone()).collect()
}

fn gzip(reply: &mut Reply, body: &[u8]) {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(body).unwrap();
    reply.body = packed.finish().unwrap();
    reply.headers.push(("content-encoding".into(), "gzip".into()));
}

fn refuse(status: u16, code: &str, message: &str) -> Reply {
    let mut reply = Reply::new(status, json!({"__type": code, "message": message}).to_string());
    reply.headers.push(("content-type".into(), "application/x-amz-json-1.1".into()));
    reply
}

impl State {
    fn shared() -> Arc<Mutex<State>> {
        let key = Key { secret: SECRET.into(), token: None, expired: false };
        Arc::new(Mutex::new(State {
            keys: HashMap::from([(KEY_ID.into(), key)]),
            streams: HashMap::new(),
            groups: BTreeMap::new(),
            faults: VecDeque::new(),
            calls: Vec::new(),
            skew_ms: 0,
            raced: false,
            region: REGION.into(),
            poison: None,
        }))
    }

    fn now_ms(&self) -> i64 {
        now_ms() + self.skew_ms
    }

    fn reply(
        &mut self,
        request: &Request,
        target: &str,
        body: Option<Value>,
        records: &[String],
        fault: Fault,
    ) -> (Reply, String) {
        if let Err((code, message)) = self.verify(request, target) {
            return (refuse(400, code, &message), code.into());
        }
        match &fault {
            Fault::Error(status, code, message) => return (refuse(*status, code, message), (*code).into()),
            Fault::Busy(status, seconds) => {
                let mut reply = Reply::new(*status, "<html>busy</html>");
                reply.headers.push(("Retry-After".into(), seconds.to_string()));
                return (reply, status.to_string());
            }
            Fault::Elsewhere(status, kind, body) => {
                let mut reply = Reply::new(*status, *body);
                reply.headers.push(("content-type".into(), (*kind).into()));
                return (reply, status.to_string());
            }
            Fault::BusyUntil(status, seconds) => {
                let clock = SystemTime::now() - Duration::from_secs(3600);
                let mut reply = Reply::new(*status, "<html>busy</html>");
                reply.headers.push(("date".into(), httpdate::fmt_http_date(clock)));
                let until = httpdate::fmt_http_date(clock + Duration::from_secs(*seconds));
                reply.headers.push(("retry-after".into(), until));
                return (reply, status.to_string());
            }
            Fault::Portal => return (Reply::new(200, "<html>please log in</html>"), "portal".into()),
            Fault::CutBefore => return (Reply { cut: Cut::Before, ..Reply::new(200, "") }, "cut".into()),
            _ => {}
        }
        let Some(body) = body.filter(|_| request.header("content-type") == "application/x-amz-json-1.1") else {
            return (refuse(400, "SerializationException", ""), "SerializationException".into());
        };
        if self.poison.as_ref().is_some_and(|poison| records.contains(poison)) {
            return (refuse(400, "ValidationException", "a value is poison"), "ValidationException".into());
        }
        let done = match target {
            "Kinesis_20131202.PutRecords" => self.put_records(&body, &fault),
            "Logs_20140328.PutLogEvents" => self.put_log_events(&body),
            "Logs_20140328.CreateLogGroup" => self.create(&body, false),
            "Logs_20140328.CreateLogStream" => self.create(&body, true),
            _ => Err(("UnknownOperationException", String::new())),
        };
        let mut answer = match done {
            Ok(answer) => answer,
            Err((code, message)) => return (refuse(400, code, &message), code.into()),
        };
        if let Fault::Entries(more) = fault {
            let entries = answer["Records"].as_array_mut().unwrap();
            let extra = entries[0].clone();
            entries.resize(entries.len().checked_add_signed(more).unwrap(), extra);
        }
        let mut reply = Reply::new(200, answer.to_string());
        reply.headers.push(("content-type".into(), "application/x-amz-json-1.1".into()));
        match fault {
            Fault::Gzip => gzip(&mut reply, &answer.to_string().into_bytes()),
            Fault::GzipBomb(mib) => gzip(&mut reply, &vec![b' '; mib * MIB]),
            Fault::CutAfter => reply.cut = Cut::Before,
            Fault::CutWithin => reply.cut = Cut::Within,
            Fault::Slow(delay) => reply.delay = delay,
            Fault::NotJson => reply.body = b"<html>200 OK</html>".to_vec(),
            _ => {}
        }
        (reply, "ok".into())
    }
}
