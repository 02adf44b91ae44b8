//! What another process may ask of the one that has a buffer, and the words for it and for the answer.
//!
//! A request is a name, an answer a line of JSON: what was asked for, or an error.

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::stats::{State, Stats};
use crate::text::bounded;

/// The folder in a buffer's directory that requests lie in, while there are some.
pub(crate) const FOLDER: &str = "requests";
/// The most bytes of a message in an answer: an answer has to fit into a pipe.
const MOST_BYTES: usize = 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// What the producer did and has.
    Stats,
    /// To go on after a stop, and to try now what waits.
    Resume,
    /// To put the records of a dead letter again.
    Replay(String),
    /// To delete a dead letter.
    Delete(String),
}

impl Request {
    /// As it stands in a name.
    pub(crate) fn words(&self) -> String {
        match self {
            Request::Stats => "stats".into(),
            Request::Resume => "resume".into(),
            Request::Replay(id) => format!("replay.{id}"),
            Request::Delete(id) => format!("delete.{id}"),
        }
    }

    /// What a name asks: a number, and what is asked, with points in between.
    ///
    /// # Errors
    /// `Unsupported` if this version does not know it.
    pub(crate) fn of_name(name: &str) -> Result<Request> {
        let mut words = name.splitn(3, '.').skip(1);
        match (words.next(), words.next()) {
            (Some("stats"), None) => Ok(Request::Stats),
            (Some("resume"), None) => Ok(Request::Resume),
            (Some("replay"), Some(id)) => Ok(Request::Replay(id.into())),
            (Some("delete"), Some(id)) => Ok(Request::Delete(id.into())),
            _ => {
                let message = "the process that has the buffer is of a version that does not know this request";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

/// The line that answers.
pub(crate) fn line(result: Result<Value>) -> String {
    let answer = match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error.kind().name(), "message": bounded(&error, MOST_BYTES) }),
    };
    answer.to_string()
}

/// What a line answers.
///
/// # Errors
/// The one that is the answer; `Io` for what is none.
pub(crate) fn of_line(line: &str) -> Result<Value> {
    let no_answer = || Error::new(ErrorKind::Io, "the process that has the buffer gave an answer that is none");
    let mut answer: Map<String, Value> = serde_json::from_str(line).map_err(|_| no_answer())?;
    if let Some(value) = answer.remove("ok") {
        return Ok(value);
    }
    let name = answer.get("error").and_then(Value::as_str).ok_or_else(no_answer)?;
    let kind = ErrorKind::ALL.iter().find(|kind| kind.name() == name).unwrap_or(&ErrorKind::Internal);
    Err(Error::new(*kind, answer.get("message").and_then(Value::as_str).unwrap_or(name)))
}

/// Stats as an answer.
pub(crate) fn of_stats(stats: &Stats) -> Value {
    let mut all: Map<String, Value> =
        stats.counters().map(|(name, value, _)| (name.to_owned(), value.into())).collect();
    all.insert("state".into(), stats.state.name().into());
    all.insert("last_error".into(), bounded(&stats.last_error, MOST_BYTES).into());
    all.into()
}

/// Stats of an answer. What this version does not know is passed over, what it misses is 0.
pub(crate) fn stats(answer: &Value) -> Stats {
    let mut stats = Stats::default();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("state", Value::String(name)) => {
                let state = State::ALL.into_iter().find(|state| state.name() == name);
                stats.state = state.unwrap_or_default();
            }
            ("last_error", Value::String(text)) => stats.last_error.clone_from(text),
            (name, value) => stats.set(name, value.as_u64().unwrap_or(0)),
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_comes_back_as_it_was() {
        let id = "0123-1-7.2";
        for request in [Request::Stats, Request::Resume, Request::Replay(id.into()), Request::Delete(id.into())] {
            assert_eq!(Request::of_name(&format!("00ff.{}", request.words())).unwrap(), request);
        }
        for unknown in ["", "00ff", "00ff.stats.x", "00ff.replay", "00ff.stop", "stats"] {
            assert_eq!(Request::of_name(unknown).unwrap_err().kind(), ErrorKind::Unsupported, "{unknown:?}");
        }
        assert_eq!(of_line(&line(Ok(json!(3)))).unwrap(), json!(3));
        for kind in ErrorKind::ALL {
            let error = of_line(&line(Err(Error::new(*kind, "two\nlines")))).unwrap_err();
            assert_eq!((error.kind(), error.message()), (*kind, "two\nlines"));
        }
        for none in ["", "3", "{}", "{\"error\": 3}", "[]"] {
            assert_eq!(of_line(none).unwrap_err().kind(), ErrorKind::Io);
        }
        let mut before = Stats { state: State::Unavailable, last_error: "no".into(), ..Stats::default() };
        let names: Vec<&str> = before.counters().map(|(name, ..)| name).collect();
        for (name, value) in names.iter().zip(1..) {
            before.set(name, value);
        }
        assert_eq!(stats(&of_line(&line(Ok(of_stats(&before)))).unwrap()), before);
        // One of another version has other counters.
        assert_eq!(stats(&json!({ "new": 3, "put_records": 1, "state": "newer" })).put_records, 1);
        // The longest one fits into the smallest pipe that is usual.
        let all = Stats { last_error: "x".repeat(100_000), ..before };
        assert!(line(Ok(of_stats(&all))).len() < 4096);
    }
}
