//! For how long a stream remembers the ids of messages.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::session::{Heard, Session};

/// The window of a stream that was made without saying so.
pub(super) const USUAL: Duration = Duration::from_secs(120);

/// The `duplicate_window` of the stream that has a subject, or of the one that is named; `None` if it is not told.
///
/// # Errors
/// Of the connection.
pub(super) fn duplicate_window(
    session: &mut Session,
    api: &str,
    subject: &str,
    stream: &str,
    wait: Duration,
) -> io::Result<Option<Duration>> {
    let stream = match stream {
        "" => {
            let names = ask(session, &format!("{api}.STREAM.NAMES"), &json!({ "subject": subject }).to_string(), wait)?;
            names["streams"][0].as_str().map(ToOwned::to_owned)
        }
        named => Some(named.to_owned()),
    };
    let Some(stream) = stream else { return Ok(None) };
    let info = ask(session, &format!("{api}.STREAM.INFO.{stream}"), "", wait)?;
    Ok(info["config"]["duplicate_window"].as_u64().map(Duration::from_nanos))
}

/// What JetStream answers; null if it does not, or we may not ask.
fn ask(session: &mut Session, subject: &str, question: &str, wait: Duration) -> io::Result<Value> {
    let deadline = Instant::now() + wait;
    let ours = session.numbers(1);
    session.publish(subject, Some(ours), b"", question.as_bytes())?;
    session.flush()?;
    loop {
        match session.hear(deadline)? {
            Heard::Answer(number, _, payload) if number == ours => {
                return Ok(serde_json::from_slice(&payload).unwrap_or_default());
            }
            Heard::Told(told) if told.subject.as_deref() == Some(subject) => return Ok(Value::Null),
            _ => {}
        }
    }
}
