//! What the status of an answer means.

use crate::error::Result;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::http::Answer;
use crate::sink::net::invalid;
use crate::sink::net::redact::brief;

/// What becomes of the records of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The service has them.
    Delivered,
    /// Not now: retried without using up attempts.
    Unavailable,
    /// Retried as a failed attempt.
    Failed,
    /// Never: into the dead letters.
    Rejected,
    /// One of them may be the reason, or there are too many: sent again in halves, down to single records. A record alone is
    /// rejected.
    Split,
}

/// What the statuses mean that are not as in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    /// From and to, both included. The first that fits holds; single statuses stand before classes.
    overrides: Vec<(u16, u16, Meaning)>,
    /// The media type of the service's own answers; empty: all but HTML; `any`: all.
    answer_type: String,
}

impl Statuses {
    /// # Errors
    /// `InvalidArgument` for what is no list such as `409=delivered,4xx=failed`.
    pub(super) fn parse(list: &str, answer_type: &str) -> Result<Self> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let parse = |entry: &str| {
            let (status, word) = entry.split_once('=')?;
            let (from, to) = match status.trim() {
                "2xx" => (200, 299),
                "3xx" => (300, 399),
                "4xx" => (400, 499),
                "5xx" => (500, 599),
                one => (one.parse().ok()?, one.parse().ok()?),
            };
            let meaning = match word.trim() {
                "delivered" => Meaning::Delivered,
                "unavailable" => Meaning::Unavailable,
                "failed" => Meaning::Failed,
                "rejected" => Meaning::Rejected,
                "split" => Meaning::Split,
                _ => return None,
            };
            (200..600).contains(&from).then_some((from, to, meaning))
        };
        let wrong =
            |entry: &str| invalid(format!("option statuses: {entry:?} is not such as 409=delivered or 4xx=failed"));
        let mut overrides =
            entries.map(|entry| parse(entry).ok_or_else(|| wrong(entry))).collect::<Result<Vec<_>>>()?;
        overrides.sort_by_key(|(from, to, _)| (to - from, *from));
        if let Some(twice) = overrides.windows(2).find(|two| (two[0].0, two[0].1) == (two[1].0, two[1].1)) {
            return Err(invalid(format!("option statuses: {} is given a meaning twice", twice[0].0)));
        }
        Ok(Statuses { overrides, answer_type: answer_type.trim().to_ascii_lowercase() })
    }

    /// What the options say that a status means.
    pub(super) fn stated(&self, status: u16) -> Option<Meaning> {
        self.overrides.iter().find(|(from, to, _)| (*from..=*to).contains(&status)).map(|(.., meaning)| *meaning)
    }

    /// What a status of the service means.
    pub(super) fn meaning(&self, status: u16) -> Meaning {
        self.stated(status).unwrap_or_else(|| usual(status))
    }

    /// Whether every answer is the service's, whatever it looks like.
    pub(super) fn believes_all(&self) -> bool {
        self.answer_type == "any"
    }

    /// Whether an answer is the service's, and not that of a proxy, a portal or a wrong host.
    pub(super) fn is_the_services(&self, answer: &Answer) -> bool {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &self.answer_type[..] {
            "any" => true,
            "" => !matches!(&kind[..], "text/html" | "application/xhtml+xml"),
            expected => kind == expected || (kind.is_empty() && answer.body.is_empty()),
        }
    }

    /// What an answer means for all records of its request, if it is the service's (`ours`), or somebody else's. `own` is what
    /// the service means by it, where that is not what others mean; the options are stronger.
    pub(super) fn of(&self, answer: &Answer, ours: bool, own: Option<Meaning>) -> Meaning {
        match ours {
            true => self.stated(answer.status).or(own).unwrap_or_else(|| usual(answer.status)),
            // Also a proxy says that a body is too large for it.
            false if answer.status == 413 => Meaning::Split,
            false => Meaning::Unavailable,
        }
    }
}

/// What a status means by itself.
fn usual(status: u16) -> Meaning {
    match status {
        200..=205 => Meaning::Delivered,
        400 | 413 | 422 => Meaning::Split,
        // What the URL, the credentials, the headers or the time are to blame for would be so for every record.
        401..=411 | 414 | 415 | 417 | 421 | 423..=426 | 428 | 429 | 431 | 451 => Meaning::Unavailable,
        412..=499 => Meaning::Failed,
        // What is no answer to a request such as ours, redirections, and what the server itself is to blame for.
        _ => Meaning::Unavailable,
    }
}

/// The error of a request whose answer is no success, the service's (`ours`) or somebody else's. `operation` names the request.
pub(super) fn refusal(operation: &'static str, answer: &Answer, meaning: Meaning, ours: bool) -> CallError {
    let fault = match meaning {
        Meaning::Delivered | Meaning::Unavailable => Fault::Unavailable { retry_after: answer.retry_after() },
        Meaning::Failed => Fault::Failed,
        Meaning::Rejected | Meaning::Split => Fault::Refused,
    };
    let status = answer.status;
    let message = match ours {
        false => format!("HTTP status {status}, in an answer that is not the service's; see the option answer_type"),
        true => match said(answer) {
            Some(said) => format!("HTTP status {status}: {said}"),
            None => format!("HTTP status {status}"),
        },
    };
    CallError { operation, fault, code: None, message }
}

/// What the service says in words, or where it says that it has moved.
pub(super) fn said(answer: &Answer) -> Option<String> {
    if let Some(place) = answer.header("location").filter(|_| (300..400).contains(&answer.status)) {
        let place = place.split(['?', '#']).next().unwrap_or_default();
        return Some(brief(&format!("it has moved to {place}; see the options url and redirects"), 500));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let words: Vec<_> = text.split_whitespace().collect();
    Some(brief(&words.join(" "), 500)).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statuses: &Statuses, status: u16, kind: &str) -> Meaning {
        let headers: &[(&str, &[u8])] = &[("content-type", kind.as_bytes())];
        let answer = Answer::new(status, if kind.is_empty() { &[] } else { headers }, b"x");
        statuses.of(&answer, statuses.is_the_services(&answer), None)
    }

    #[test]
    fn the_table() {
        let usual = Statuses::default();
        for (meaning, statuses) in [
            (Meaning::Delivered, &[200, 201, 202, 203, 204, 205][..]),
            (Meaning::Split, &[400, 413, 422]),
            (Meaning::Failed, &[412, 416, 418, 419, 420, 427, 430, 432, 450, 452, 499]),
        ] {
            for status in statuses {
                assert_eq!(of(&usual, *status, "application/json"), meaning, "{status}");
                let elsewhere = if *status == 413 { Meaning::Split } else { Meaning::Unavailable };
                assert_eq!(of(&usual, *status, "Text/HTML; charset=utf-8"), elsewhere, "{status} of a proxy");
            }
        }
        let others =
            (206..400).chain(401..412).filter(|status| *status != 400).chain([414, 415, 417, 421, 423, 424, 425]);
        for status in others.chain([426, 428, 429, 431, 451]).chain(500..600) {
            assert_eq!(of(&usual, status, ""), Meaning::Unavailable, "{status}");
        }
    }

    #[test]
    fn statuses_can_mean_something_else() {
        let own = Statuses::parse("409=delivered, 4xx=rejected,503=failed", "").unwrap();
        for (status, meaning) in [
            (409, Meaning::Delivered),
            (404, Meaning::Rejected),
            (413, Meaning::Rejected),
            (503, Meaning::Failed),
            (500, Meaning::Unavailable),
            (200, Meaning::Delivered),
        ] {
            assert_eq!(of(&own, status, ""), meaning, "{status}");
        }
        let reversed = Statuses::parse("4xx=rejected,409=delivered", "").unwrap();
        assert_eq!(of(&reversed, 409, ""), Meaning::Delivered, "one status is stronger than a class");
        assert_eq!(of(&own, 409, "text/html"), Meaning::Unavailable, "of a proxy");
        assert_eq!(of(&own, 413, "text/html"), Meaning::Split, "of a proxy");
        let answer = Answer::new(404, &[], b"");
        assert_eq!(own.of(&answer, true, Some(Meaning::Split)), Meaning::Rejected, "the options are stronger");
        assert_eq!(Statuses::default().of(&answer, true, Some(Meaning::Split)), Meaning::Split);
        for bad in
            ["409", "409=", "409=gone", "99=failed", "600=failed", "1xx=delivered", "x=failed", "409=failed,409=failed"]
        {
            assert!(Statuses::parse(bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_of_another_type_are_not_the_services() {
        let json = Statuses::parse("", "application/json").unwrap();
        assert_eq!(of(&json, 200, "application/json;charset=utf-8"), Meaning::Delivered);
        assert_eq!(of(&json, 200, "text/plain"), Meaning::Unavailable);
        assert_eq!(of(&json, 200, ""), Meaning::Unavailable, "a body without a type");
        assert!(json.is_the_services(&Answer::new(204, &[], b"")));
        assert_eq!(of(&Statuses::parse("", "any").unwrap(), 200, "text/html"), Meaning::Delivered);
    }
}
