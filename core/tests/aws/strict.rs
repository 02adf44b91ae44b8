//! Kinesis Data Streams and CloudWatch Logs as their documentation says, and stricter than their emulators: it
//! verifies signatures, enforces every limit, throttles by shard, and fails as it is told to.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::http::{Cut, Reply, Request, Server};

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
    let (reply, code) = state.reply(request, &target, parsed, &records, fault);
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
        match fault {
            Fault::CutAfter => reply.cut = Cut::Before,
            Fault::CutWithin => reply.cut = Cut::Within,
            Fault::Slow(delay) => reply.delay = delay,
            Fault::NotJson => reply.body = b"<html>200 OK</html>".to_vec(),
            _ => {}
        }
        (reply, "ok".into())
    }

    /// Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn verify(&self, request: &Request, target: &str) -> Result<(), Refusal> {
        let refuse = |code, message: &str| Err((code, message.to_owned()));
        let Some(fields) = request.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else {
            return refuse("MissingAuthenticationTokenException", "Missing Authentication Token");
        };
        let field = |name: &str| {
            let prefix = format!("{name}=");
            fields.split(", ").find_map(|field| field.strip_prefix(&prefix)).unwrap_or_default().to_owned()
        };
        let (credential, signed, signature) = (field("Credential"), field("SignedHeaders"), field("Signature"));
        let [id, date, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
            return refuse("IncompleteSignatureException", "Credential");
        };
        let Some(key) = self.keys.get(id) else {
            return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
        };
        let token = Some(request.header("x-amz-security-token")).filter(|token| !token.is_empty());
        if token != key.token.as_deref() {
            return refuse("UnrecognizedClientException", "The security token included in the request is invalid.");
        }
        if key.expired {
            return refuse("ExpiredTokenException", "The security token included in the request is expired");
        }
        let expected = if target.starts_with("Kinesis") { "kinesis" } else { "logs" };
        let timestamp = request.header("x-amz-date");
        if service != expected || region != self.region || !timestamp.starts_with(date) {
            return refuse("InvalidSignatureException", "Credential should be scoped to a valid region and service");
        }
        if (parse_amz_date(timestamp) - self.now_ms()).abs() > 5 * 60 * 1000 {
            return refuse("InvalidSignatureException", "Signature expired");
        }
        let names: Vec<&str> = signed.split(';').collect();
        if !names.is_sorted() || !["host", "x-amz-date", "x-amz-target"].iter().all(|name| names.contains(name)) {
            return refuse("IncompleteSignatureException", "SignedHeaders");
        }
        let payload = hex(ring::digest::digest(&ring::digest::SHA256, &request.body).as_ref());
        if request.header("x-amz-content-sha256") != payload {
            return refuse("InvalidSignatureException", "the payload is not the one that was signed");
        }
        let headers: String = names.iter().map(|name| format!("{name}:{}\n", request.header(name))).collect();
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let canonical = format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{payload}", request.method);
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let hashed = hex(ring::digest::digest(&ring::digest::SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashed}");
        let seed = format!("AWS4{}", key.secret).into_bytes();
        let signing_key = [date, region, service, "aws4_request"].iter().fold(seed, |key, part| hmac(&key, part));
        if hex(&hmac(&signing_key, &to_sign)) != signature {
            // The real service repeats the request's headers here, the session token among them.
            return refuse("InvalidSignatureException", &format!("The Canonical String should have been\n{canonical}"));
        }
        Ok(())
    }

    fn put_records(&mut self, body: &Value, fault: &Fault) -> Result<Value, Refusal> {
        let invalid = |message: String| ("ValidationException", message);
        let name = match (body["StreamName"].as_str(), body["StreamARN"].as_str()) {
            (Some(name), None) => name,
            (None, Some(arn)) => arn.rsplit('/').next().unwrap(),
            _ => return Err(invalid("exactly one of StreamName and StreamARN".into())),
        };
        let entries = body["Records"].as_array().ok_or(("SerializationException", String::new()))?;
        if !(1..=500).contains(&entries.len()) {
            return Err(invalid("'records': Member must have length less than or equal to 500".into()));
        }
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(("ResourceNotFoundException", format!("Stream {name} under account 000000000000 not found.")));
        };
        let mut total = 0;
        let mut records = Vec::new();
        for entry in entries {
            let data = entry["Data"].as_str().and_then(|data| BASE64_STANDARD.decode(data).ok());
            let (Some(data), Some(key)) = (data, entry["PartitionKey"].as_str()) else {
                return Err(("SerializationException", String::new()));
            };
            if !(1..=256).contains(&key.chars().count()) {
                return Err(invalid("'partitionKey': Member must have length less than or equal to 256".into()));
            }
            let bytes = data.len() + key.len();
            if bytes > stream.max_record_bytes {
                return Err(("InvalidArgumentException", format!("a record of {bytes} bytes")));
            }
            let hash = match &entry["ExplicitHashKey"] {
                // The real service takes MD5; that which shard gets a key differs does not matter here.
                Value::Null => {
                    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
                    u128::from_be_bytes(digest.as_ref()[..16].try_into().unwrap())
                }
                number => {
                    let text = number.as_str().unwrap_or_default();
                    let parsed = text.parse::<u128>().ok().filter(|parsed| parsed.to_string() == text);
                    parsed.ok_or_else(|| ("InvalidArgumentException", format!("ExplicitHashKey {text}")))?
                }
            };
            total += bytes;
            records.push((data, key, hash));
        }
        if total > stream.max_call_bytes {
            return Err(("InvalidArgumentException", format!("Records size exceeds limit: {total}")));
        }
        let mut failed = 0;
        let mut answers = Vec::new();
        for (place, (data, key, hash)) in records.into_iter().enumerate() {
            let count = stream.shards.len() as u128;
            let number = (hash / (u128::MAX / count)).min(count - 1) as usize;
            let shard = &mut stream.shards[number];
            let id = format!("shardId-{number:012}");
            let scripted = match fault {
                Fault::Records(places, code) if places.contains(&place) => Some(*code),
                _ => None,
            };
            let throttled = shard.records + 1 > 1000 || shard.bytes + data.len() > MIB;
            if let Some(code) = scripted.or(throttled.then_some("ProvisionedThroughputExceededException")) {
                failed += 1;
                let message = format!("Rate exceeded for shard {id} in stream {name} under account 000000000000.");
                answers.push(json!({"ErrorCode": code, "ErrorMessage": message}));
                continue;
            }
            shard.records += 1;
            shard.bytes += data.len();
            let data = String::from_utf8_lossy(&data).into_owned();
            stream.taken.push(Taken { data, key: key.into() });
            answers.push(json!({"SequenceNumber": stream.taken.len().to_string(), "ShardId": id}));
        }
        Ok(json!({"FailedRecordCount": failed, "Records": answers, "EncryptionType": "NONE"}))
    }

    fn put_log_events(&mut self, body: &Value) -> Result<Value, Refusal> {
        let invalid = |message: &str| ("InvalidParameterException", message.to_owned());
        let missing = |what: &str| ("ResourceNotFoundException", format!("The specified log {what} does not exist."));
        if !body["sequenceToken"].is_null() {
            return Err(invalid("sequence tokens are a thing of the past"));
        }
        let now = self.now_ms();
        let (group, stream) = names(body)?;
        let group = self.groups.get_mut(&group).ok_or_else(|| missing("group"))?;
        let retention_days = group.retention_days;
        let taken = group.streams.get_mut(&stream.unwrap_or_default()).ok_or_else(|| missing("stream"))?;
        let events = body["logEvents"].as_array().ok_or(("SerializationException", String::new()))?;
        if !(1..=10_000).contains(&events.len()) {
            return Err(invalid("1 to 10,000 log events"));
        }
        let mut parsed = Vec::new();
        for event in events {
            let (Some(time), Some(message)) = (event["timestamp"].as_i64(), event["message"].as_str()) else {
                return Err(("SerializationException", String::new()));
            };
            if time < 0 || message.is_empty() || message.len() > 1_000_000 {
                return Err(invalid("timestamp from 0, message from 1 to 1,000,000 bytes"));
            }
            parsed.push((time, message));
        }
        if !parsed.is_sorted_by_key(|(time, _)| *time) {
            return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
        }
        if parsed.iter().map(|(_, message)| message.len() + 26).sum::<usize>() > 1_048_576 {
            return Err(invalid("Upload too large"));
        }
        if parsed[parsed.len() - 1].0 - parsed[0].0 > 24 * HOUR_MS {
            return Err(invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
            ));
        }
        let place = |limit: i64| parsed.iter().take_while(|(time, _)| *time < limit).count();
        let old = place(now - 14 * 24 * HOUR_MS);
        let expired = retention_days.map_or(0, |days| place(now - days * 24 * HOUR_MS));
        let new = place(now + 2 * HOUR_MS + 1);
        let kept = old.max(expired)..new.max(old.max(expired));
        for (time, message) in &parsed[kept] {
            taken.push(Taken { data: (*message).into(), key: time.to_string() });
        }
        let mut rejected = serde_json::Map::new();
        if old > 0 {
            rejected.insert("tooOldLogEventEndIndex".into(), old.into());
        }
        if expired > 0 {
            rejected.insert("expiredLogEventEndIndex".into(), expired.into());
        }
        if new < parsed.len() {
            rejected.insert("tooNewLogEventStartIndex".into(), new.into());
        }
        Ok(if rejected.is_empty() { json!({}) } else { json!({"rejectedLogEventsInfo": rejected}) })
    }

    fn create(&mut self, body: &Value, of_stream: bool) -> Result<Value, Refusal> {
        let exists =
            |what: &str| ("ResourceAlreadyExistsException", format!("The specified log {what} already exists"));
        let (group, stream) = names(body)?;
        if !of_stream {
            let made = !self.groups.contains_key(&group);
            self.groups.entry(group).or_default();
            return if made && !self.raced { Ok(json!({})) } else { Err(exists("group")) };
        }
        let missing = || ("ResourceNotFoundException", "The specified log group does not exist.".to_owned());
        let group = self.groups.get_mut(&group).ok_or_else(missing)?;
        let stream = stream.unwrap_or_default();
        let made = !group.streams.contains_key(&stream);
        group.streams.entry(stream).or_default();
        if made && !self.raced { Ok(json!({})) } else { Err(exists("stream")) }
    }
}

/// Log group and log stream of a call.
fn names(body: &Value) -> Result<(String, Option<String>), Refusal> {
    let group = body["logGroupName"].as_str().ok_or(("InvalidParameterException", "logGroupName".to_owned()))?;
    Ok((group.into(), body["logStreamName"].as_str().map(Into::into)))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20240107T073141Z` in milliseconds since the epoch.
fn parse_amz_date(text: &str) -> i64 {
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    // Days of the civil calendar, counted from March so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + number(9..11)) * 60 + number(11..13)) * 60 + number(13..15)) * 1000
}

#[test]
fn dates_are_read() {
    assert_eq!(parse_amz_date("19700101T000000Z"), 0);
    assert_eq!(parse_amz_date("20240229T235959Z"), 1_709_251_199_000);
    assert_eq!(parse_amz_date("20261122T214501Z"), 1_795_383_901_000);
}

/// The example of AWS's own documentation for the derivation of a signing key.
#[test]
fn signing_keys_are_derived() {
    let seed = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
    let key = ["20120215", "us-east-1", "iam", "aws4_request"].iter().fold(seed, |key, part| hmac(&key, part));
    assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}
