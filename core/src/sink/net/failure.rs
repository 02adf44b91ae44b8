//! From a failed call to what becomes of its records: one table for every service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::http::Answer;
use super::redact::brief;
use crate::sink::{Outcome, SendError};

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request is not the cause: the network, throttling, the service, permissions, credentials, clocks, or somebody
    /// between us and the service. Retried without using up attempts.
    Unavailable { retry_after: Option<Duration> },
    /// The service refuses the contents of the request: a record in it is bad, or the request is too large. Sent again in
    /// smaller calls.
    Refused,
    /// The target does not exist; unavailable, unless the sink can make it.
    NotFound,
    /// What the request creates or writes exists already.
    Exists,
    /// The service refuses the request for a reason that we do not know. Retried as a failed attempt.
    Failed,
}

impl Fault {
    /// Unavailable, without a time to wait.
    pub(crate) const UNAVAILABLE: Fault = Fault::Unavailable { retry_after: None };
}

/// Who wrote an answer. Each service says how its own answers are recognised: by the shape of its errors, which no proxy,
/// portal or web server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The service, with a code that it documents.
    Known(Fault),
    /// The service, with a code that we do not know.
    Unknown,
    /// Somebody else.
    Elsewhere,
}

/// What an answer means that is no success.
///
/// | status | from the service | from elsewhere |
/// |---|---|---|
/// | 413 | refused: in smaller calls it may pass | the same |
/// | 408, 425, 429, 5xx | unavailable | unavailable |
/// | any, a known code | what the code means | |
/// | 2xx: not as documented; 3xx, 401, 403, 407: something stands in between, or keeps us out | unavailable | unavailable |
/// | another | failed: it counts as an attempt | unavailable |
pub(crate) fn classify(answer: &Answer, origin: Origin) -> Fault {
    let unavailable = Fault::Unavailable { retry_after: answer.retry_after() };
    match (answer.status, origin) {
        (413, _) => Fault::Refused,
        (408 | 425 | 429 | 500.., _) => unavailable,
        (_, Origin::Known(Fault::Unavailable { .. }) | Origin::Elsewhere) => unavailable,
        (_, Origin::Known(fault)) => fault,
        (..=399 | 401 | 403 | 407, Origin::Unknown) => unavailable,
        (_, Origin::Unknown) => Fault::Failed,
    }
}

/// Why a call did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    pub(crate) operation: &'static str,
    pub(crate) fault: Fault,
    /// The service's error code.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
}

impl CallError {
    /// The error of a call that got no answer, or could not be made.
    pub(crate) fn unavailable(operation: &'static str, message: impl Into<String>) -> Self {
        CallError { operation, fault: Fault::UNAVAILABLE, code: None, message: message.into() }
    }

    /// The error of a call whose answer is not what the service documents. Whoever answered, nothing counts as delivered.
    pub(crate) fn undocumented(operation: &'static str, what: impl fmt::Display) -> Self {
        CallError::unavailable(operation, brief(&format!("the answer is not as documented: {what}"), 1000))
    }

    /// The same as an answer for the whole batch.
    #[cfg_attr(
        not(any(feature = "nats", feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "for the sinks to brokers")
    )]
    pub(crate) fn into_send_error(self) -> SendError {
        match self.into_outcome() {
            Outcome::Unavailable { error, retry_after } => SendError::Unavailable { error, retry_after },
            Outcome::Rejected { reason } => SendError::Rejected(reason),
            Outcome::Failed { error } => SendError::Failed(error),
            Outcome::Delivered => SendError::failed("delivered"),
        }
    }

    /// What becomes of the records of the call, unless the sink knows better.
    pub(crate) fn into_outcome(self) -> Outcome {
        match self.fault {
            Fault::Unavailable { retry_after } => Outcome::Unavailable { error: Arc::new(self), retry_after },
            Fault::NotFound => Outcome::Unavailable { error: Arc::new(self), retry_after: None },
            Fault::Refused | Fault::Exists | Fault::Failed => Outcome::Failed { error: Arc::new(self) },
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{}: {code}: {}", self.operation, self.message),
            None => write!(f, "{}: {}", self.operation, self.message),
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Fault = Fault::UNAVAILABLE;

    #[test]
    fn an_answer_from_elsewhere_is_unavailable_whatever_its_status() {
        for status in [200, 204, 301, 302, 400, 401, 403, 404, 405, 407, 410, 422, 451, 499, 500, 502, 503, 504] {
            let answer = Answer::new(status, &[], b"<html>");
            assert_eq!(classify(&answer, Origin::Elsewhere), NOW, "{status}");
        }
        assert_eq!(classify(&Answer::new(413, &[], b"<html>"), Origin::Elsewhere), Fault::Refused);
    }

    #[test]
    fn an_answer_of_the_service_means_what_its_code_says_but_for_busy_ones() {
        for (status, origin, fault) in [
            (400, Origin::Known(Fault::Refused), Fault::Refused),
            (404, Origin::Known(Fault::NotFound), Fault::NotFound),
            (409, Origin::Known(Fault::Exists), Fault::Exists),
            (400, Origin::Known(NOW), NOW),
            (200, Origin::Known(NOW), NOW),
            (413, Origin::Known(NOW), Fault::Refused),
            (500, Origin::Known(Fault::Refused), NOW),
            (429, Origin::Known(Fault::Refused), NOW),
            (408, Origin::Known(Fault::Failed), NOW),
            (200, Origin::Unknown, NOW),
            (302, Origin::Unknown, NOW),
            (401, Origin::Unknown, NOW),
            (403, Origin::Unknown, NOW),
            (425, Origin::Unknown, NOW),
            (503, Origin::Unknown, NOW),
            (400, Origin::Unknown, Fault::Failed),
            (404, Origin::Unknown, Fault::Failed),
            (451, Origin::Unknown, Fault::Failed),
        ] {
            assert_eq!(classify(&Answer::new(status, &[], b""), origin), fault, "{status} {origin:?}");
        }
    }

    #[test]
    fn retry_after_is_taken_over_wherever_it_comes_from() {
        let headers: [(&str, &[u8]); 2] =
            [("retry-after", b"Wed, 21 Oct 2015 07:28:30 GMT"), ("date", b"Wed, 21 Oct 2015 07:28:00 GMT")];
        let wait = Fault::Unavailable { retry_after: Some(Duration::from_secs(30)) };
        for origin in [Origin::Elsewhere, Origin::Unknown, Origin::Known(NOW)] {
            assert_eq!(classify(&Answer::new(503, &headers, b""), origin), wait, "{origin:?}");
        }
        let outcome = CallError { fault: wait, ..CallError::unavailable("Put", "busy") }.into_outcome();
        assert!(matches!(outcome, Outcome::Unavailable { retry_after: Some(_), .. }));
    }
}
