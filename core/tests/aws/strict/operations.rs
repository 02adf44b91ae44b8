//! The operations of the services, with every limit that their documentation names.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Fault, HOUR_MS, MIB, Refusal, State, Taken};

impl State {
    pub(super) fn put_records(&mut self, body: &Value, fault: &Fault) -> Result<Value, Refusal> {
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

    pub(super) fn put_log_events(&mut self, body: &Value) -> Result<Value, Refusal> {
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
        let mut answer = json!({"nextSequenceToken": "4961"});
        if !rejected.is_empty() {
            answer["rejectedLogEventsInfo"] = rejected.into();
        }
        Ok(answer)
    }

    pub(super) fn create(&mut self, body: &Value, of_stream: bool) -> Result<Value, Refusal> {
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
