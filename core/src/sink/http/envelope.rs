//! A record as a JSON object, with all that is known of it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::IgnoredAny;

use crate::record::Record;
use crate::time::timestamp;

/// Whether bytes are one JSON value. What is ignored while it is parsed is not looked at for UTF-8, which JSON must be.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// A JSON value as a line: without white space at its end, such as the line breaks of other systems. `None`: it is several lines.
pub(super) fn line(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.trim_ascii_end();
    (!line.iter().any(|byte| matches!(byte, b'\n' | b'\r'))).then_some(line)
}

/// Writes a text as JSON.
pub(super) fn quote(text: &str, into: &mut Vec<u8>) {
    // Writing to memory cannot fail, and text can always be quoted.
    let _ = serde_json::to_writer(into, text);
}

/// Writes bytes as the member `name` of a JSON object: as text, else in Base64 as the member `name_base64`.
fn member(name: &str, bytes: &[u8], into: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            into.extend_from_slice(format!(",\"{name}\":").as_bytes());
            quote(text, into);
        }
        Err(_) => {
            into.extend_from_slice(format!(",\"{name}_base64\":\"{}\"", BASE64_STANDARD.encode(bytes)).as_bytes())
        }
    }
}

/// The envelope of a record. Its payload is the member `data` if it is JSON, else `text` if it is text, else `text_base64`.
pub(super) fn envelope(record: &Record<'_>, id: &str) -> Vec<u8> {
    let mut object = Vec::with_capacity(record.data.len() + 160);
    object.extend_from_slice(b"{\"id\":");
    quote(id, &mut object);
    let place = format!(",\"seq\":{},\"created_at\":\"{}\"", record.seq, timestamp(record.created_at));
    object.extend_from_slice(place.as_bytes());
    if let Some(key) = record.key {
        member("key", key, &mut object);
    }
    if let Some(topic) = record.topic {
        member("topic", topic.as_bytes(), &mut object);
    }
    if !record.headers.is_empty() {
        object.extend_from_slice(b",\"headers\":[");
        for (nth, (name, value)) in record.headers.iter().enumerate() {
            object.extend_from_slice(if nth == 0 { b"{\"name\":" } else { b",{\"name\":" });
            quote(name, &mut object);
            member("value", value, &mut object);
            object.push(b'}');
        }
        object.push(b']');
    }
    if is_json(record.data) {
        object.extend_from_slice(b",\"data\":");
        // Line feeds in JSON stand between its words, where blanks may stand too.
        object.extend(record.data.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    } else {
        member("text", record.data, &mut object);
    }
    object.push(b'}');
    object
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Batch, NewRecord};

    fn of(record: NewRecord<'_>) -> Value {
        let batch = Batch::from_records([record]);
        let record = batch.get(0).unwrap();
        let object = envelope(&record, &record.id());
        assert!(!object.contains(&b'\n'));
        serde_json::from_slice(&object).unwrap()
    }

    #[test]
    fn payloads_of_every_kind() {
        let put = |data| NewRecord::new(data).id("i\"").created_at(1_700_000_000_123_456);
        let with = |payload: Value| {
            let mut object = json!({"id": "i\"", "seq": 1, "created_at": "2023-11-14T22:13:20.123456Z"});
            object.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
            object
        };
        assert_eq!(of(put(b"{\"a\":\r\n [1]}")), with(json!({"data": {"a": [1]}})));
        assert_eq!(of(put(b" 7 ").key(b"k\n")), with(json!({"key": "k\n", "data": 7})));
        assert_eq!(of(put(b"plain\ntext")), with(json!({"text": "plain\ntext"})));
        assert_eq!(of(put(b"\xff\x00").key(b"\xfe")), with(json!({"key_base64": "/g==", "text_base64": "/wA="})));
        assert_eq!(of(put(b"")), with(json!({"text": ""})));
        // Quoted as JSON quotes, but not UTF-8: no JSON.
        assert_eq!(of(put(b"\"\xff\"")), with(json!({"text_base64": "Iv8i"})));
        let headers = [("a", &b"b"[..]), ("a", b"\xff")];
        let expected = json!([{"name": "a", "value": "b"}, {"name": "a", "value_base64": "/w=="}]);
        assert_eq!(
            of(put(b"1").topic("t").headers(&headers)),
            with(json!({"topic": "t", "headers": expected, "data": 1}))
        );
    }
}
