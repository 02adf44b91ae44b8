//! Fuzzing: whatever a profile's file, a source of keys or a service says, nobody panics, and what is made of it is whole.

use super::credentials::answers::{self, Answerer};
use super::credentials::process;
use super::profile::Profiles;
use super::protocol::refusal;
use super::{cloudwatch_logs, kinesis};
use crate::sink::Outcome;
use crate::sink::net::http::Answer;
use crate::sink::net::redact::Mask;

const ANSWERERS: [Answerer; 5] =
    [Answerer::Container, Answerer::Instance, Answerer::Process, Answerer::SingleSignOn, Answerer::TokenService];

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(()) };
    match kind % 10 {
        kind @ 0..5 => keys(ANSWERERS[usize::from(kind)], rest),
        5 => cached_token(rest),
        6 => profile(&String::from_utf8_lossy(rest)),
        7 => command(&String::from_utf8_lossy(rest)),
        8 => refused_call(rest),
        _ => records(rest),
    }
}

fn keys(answerer: Answerer, body: &[u8]) -> Result<(), String> {
    match answers::parse(answerer, body) {
        Ok(keys) => {
            let texts = [&keys.access_key_id, keys.session_token.reveal()];
            let printable = texts.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
            if !printable || keys.access_key_id.is_empty() || keys.secret_access_key.is_empty() {
                return Err(format!("{answerer:?} gave keys that cannot be signed with"));
            }
            let lasting = keys.expires_at.is_none() || keys.session_token.is_empty();
            if lasting && answerer != Answerer::Process {
                return Err(format!("{answerer:?} gave keys without an end"));
            }
        }
        // It is one sentence, whatever was said.
        Err(error) if error == "an answer that is not as documented" => {}
        Err(error) => return Err(format!("{answerer:?}: {error}")),
    }
    match answers::error_code(body) {
        Some(code) if code.len() > 64 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Err(code.into()),
        _ => Ok(()),
    }
}

fn cached_token(body: &[u8]) -> Result<(), String> {
    let _ = answers::cached_token(body);
    let _ = answers::renewed_token(body);
    Ok(())
}

/// What is found in a file stands on one of its lines.
fn profile(text: &str) -> Result<(), String> {
    for credentials in [false, true] {
        let mut profiles = Profiles::default();
        profiles.add(text, credentials);
        let before = profiles.entries();
        for (section, key, value) in &before {
            if key.contains(char::is_uppercase) && key.is_ascii() || value.trim() != value {
                return Err(format!("[{section}] {key}={value}"));
            }
            if !text.lines().any(|line| line.contains(&value[..])) {
                return Err(format!("[{section}] {key}={value} is nowhere"));
            }
        }
        profiles.add("", credentials);
        profiles.add(text, credentials);
        if profiles.entries() != before {
            return Err("a file that is read twice says something else".into());
        }
    }
    Ok(())
}

/// Words that are quoted anew are the same words.
fn command(line: &str) -> Result<(), String> {
    let Some(words) = process::words(line) else { return Ok(()) };
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    if process::words(&quoted.join(" ")).as_ref() == Some(&words) { Ok(()) } else { Err(format!("{words:?}")) }
}

/// An answer other than 200: the first bytes are its status and the token of the request that it may repeat.
fn refused_call(bytes: &[u8]) -> Result<(), String> {
    let (head, rest) = bytes.split_at(bytes.len().min(2));
    let (token, body) = rest.split_at(rest.len().min(32));
    let status = head.iter().fold(0, |status, byte| status << 8 | u16::from(*byte));
    let token = String::from_utf8_lossy(token).into_owned();
    let mut masked = body.to_vec();
    Mask::new([&token[..]]).apply(&mut masked);
    if masked.len() != body.len() {
        return Err("a mask changed the length".into());
    }
    let left = token.as_bytes().windows(8).any(|run| masked.windows(8).any(|part| part == run));
    if left && !body.contains(&b'\\') && !token.contains('*') {
        return Err(format!("a part of {token:?} is left"));
    }
    let header = &masked[..masked.len().min(200)];
    for headers in [&[("x-amzn-errortype", header), ("retry-after", header), ("date", header)][..], &[]] {
        let answer = Answer::new(status, headers, &masked);
        answer.clock_ahead();
        let error = refusal("Put", &answer);
        let code = error.code.as_ref().map_or(0, |code| code.chars().count());
        if error.message.chars().count() > 1000 || code > 100 {
            return Err(format!("not cut: {error}"));
        }
    }
    Ok(())
}

/// An answer 200: the first byte is the number of records that were sent. No answer delivers what it does not name.
fn records(bytes: &[u8]) -> Result<(), String> {
    let Some((count, body)) = bytes.split_first() else { return Ok(()) };
    let count = usize::from(count % 8);
    if let Ok(outcomes) = kinesis::outcomes(body, count) {
        // What is passed over may be text that is none.
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return Ok(()) };
        let named = value["Records"]
            .as_array()
            .map_or(0, |records| records.iter().filter(|record| !record["SequenceNumber"].is_null()).count());
        let delivered = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered)).count();
        if outcomes.len() != count || delivered > named {
            return Err(format!("{delivered} of {} delivered, {named} named", outcomes.len()));
        }
    }
    cloudwatch_logs::fuzz(body, count)
}

#[cfg(test)]
mod tests {
    /// The corpus and mutations of it, as for the other targets of `torture::fuzz`.
    #[test]
    fn arbitrary_files_and_answers_do_no_harm() {
        crate::torture::fuzz_kept("aws", 3000).unwrap();
    }
}
