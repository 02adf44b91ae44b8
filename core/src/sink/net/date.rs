//! The times in an answer: `Date` and `Retry-After`.

use std::time::{Duration, SystemTime};

use crate::schedule::MAX_WAIT;

/// A time as HTTP writes it, such as `Wed, 21 Oct 2015 07:28:00 GMT`, in any of the three forms of RFC 9110.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

/// How long `Retry-After` asks to wait: a number of seconds, or until a date. A date is compared with the server's own
/// clock where it says what that shows, so that a wrong clock on this machine changes nothing. A wait of more than a day
/// is a mistake and counts as a day, which is also the schedule's longest.
pub(crate) fn retry_after(value: &str, server_clock: Option<SystemTime>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number beyond 64 bits is a wait of more than a day, too.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let now = server_clock.unwrap_or_else(SystemTime::now);
        parse(value)?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let now = parse("Wed, 21 Oct 2015 07:28:00 GMT");
        assert!(now.is_some());
        for (value, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", Some(60)),
            ("Wed Oct 21 07:30:00 2015", Some(120)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Wed, 21 Oct 2037 07:28:00 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Wed, 41 Oct 2015 07:28:30 GMT", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_date_without_the_servers_clock_is_compared_with_ours() {
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
        let wait = retry_after(&later, None).unwrap();
        assert!(wait > Duration::from_secs(300) && wait <= Duration::from_secs(600), "{wait:?}");
    }
}
