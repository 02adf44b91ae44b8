//! What the errors of Redis mean: one table, by their first word.

use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::redact::brief;

/// What an error means for the records of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not now: memory, persistence, the cluster, credentials or the configuration is to blame. Retried without using up attempts.
    Unavailable,
    /// Not by this server: a replica, or one that does not know us any more. The connection is given up, too.
    Elsewhere,
    /// We do not know, or the key is no stream. Retried as a failed attempt.
    Failed,
    /// Another node has the slot from now on.
    Moved,
    /// Another node has the slot for this call.
    Ask,
}

/// <https://redis.io/docs/latest/develop/reference/> and the server's `redis.log`s name them; what is not here has failed.
const TABLE: &[(&str, Meaning)] = &[
    // The server has no more memory (`maxmemory`), cannot persist (`stop-writes-on-bgsave-error`), or has too few replicas
    // (`min-replicas-to-write`).
    ("OOM", Meaning::Unavailable),
    ("MISCONF", Meaning::Unavailable),
    ("NOREPLICAS", Meaning::Unavailable),
    // It is reading its data, or a script runs for too long.
    ("LOADING", Meaning::Unavailable),
    ("BUSY", Meaning::Unavailable),
    ("TRYAGAIN", Meaning::Unavailable),
    ("CLUSTERDOWN", Meaning::Unavailable),
    ("MASTERDOWN", Meaning::Elsewhere),
    ("READONLY", Meaning::Elsewhere),
    // Who we are: nobody here knows us, or we may not do this.
    ("NOAUTH", Meaning::Elsewhere),
    ("WRONGPASS", Meaning::Elsewhere),
    ("NOPERM", Meaning::Unavailable),
    ("DENIED", Meaning::Elsewhere),
    // The key has something else in it, or one call has keys of several slots.
    ("WRONGTYPE", Meaning::Failed),
    ("CROSSSLOT", Meaning::Failed),
    ("MOVED", Meaning::Moved),
    ("ASK", Meaning::Ask),
];

pub(super) fn meaning(error: &str) -> Meaning {
    let known = |error: &str| {
        let word = error.split(' ').next().unwrap_or_default();
        TABLE.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
    };
    match known(error).or_else(|| known(in_script(error)?)) {
        Some(meaning) => meaning,
        // Said without a word of its own.
        None if error.contains("max number of clients") => Meaning::Elsewhere,
        // A command of the script that the ACL of the user does not allow.
        None if error.contains("The user executing the script can't") => Meaning::Unavailable,
        None => Meaning::Failed,
    }
}

/// What a command in a script was refused with. Servers before 7.0, and those that come from them, say first where that was:
/// `@user_script: 12: -READONLY You can't write…`, perhaps behind `ERR Error running script…`.
fn in_script(error: &str) -> Option<&str> {
    let (_, behind) = error.rsplit_once("user_script:")?;
    Some(behind.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ').trim_start_matches('-'))
}

/// Where another node is, by `MOVED 3999 host:port` and `ASK` likewise.
pub(super) fn redirection(error: &str) -> Option<(&str, u16)> {
    let (host, port) = error.split(' ').nth(2)?.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port.parse().ok()?))
}

pub(super) fn refusal(error: &str) -> CallError {
    let fault = match meaning(error) {
        Meaning::Failed => Fault::Failed,
        _ => Fault::UNAVAILABLE,
    };
    CallError { operation: "XADD", fault, code: None, message: brief(error, 500) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_mean_what_the_table_says() {
        for (error, expected, fault) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Meaning::Unavailable, Fault::UNAVAILABLE),
            ("LOADING Redis is loading the dataset in memory", Meaning::Unavailable, Fault::UNAVAILABLE),
            ("READONLY You can't write against a read only replica.", Meaning::Elsewhere, Fault::UNAVAILABLE),
            ("NOPERM User few has no permissions", Meaning::Unavailable, Fault::UNAVAILABLE),
            ("WRONGTYPE Operation against a key", Meaning::Failed, Fault::Failed),
            ("ERR unknown command 'EVAL'", Meaning::Failed, Fault::Failed),
            ("ERR max number of clients reached", Meaning::Elsewhere, Fault::UNAVAILABLE),
            ("CLUSTERDOWN The cluster is down", Meaning::Unavailable, Fault::UNAVAILABLE),
            ("MOVED 3999 127.0.0.1:6381", Meaning::Moved, Fault::UNAVAILABLE),
            ("ASK 3999 127.0.0.1:6381", Meaning::Ask, Fault::UNAVAILABLE),
            ("", Meaning::Failed, Fault::Failed),
            ("@user_script: 12: -READONLY You can't write", Meaning::Elsewhere, Fault::UNAVAILABLE),
            (
                "ERR Error running script (call to f_2a): @user_script:4: @user_script: 4: -OOM command not allowed",
                Meaning::Unavailable,
                Fault::UNAVAILABLE,
            ),
            (
                "ERR Error running script (call to f_2a): @user_script:4: -MISCONF Redis is configured to save",
                Meaning::Unavailable,
                Fault::UNAVAILABLE,
            ),
            (
                "@user_script: 4: The user executing the script can't run this command",
                Meaning::Unavailable,
                Fault::UNAVAILABLE,
            ),
            ("OOM command not allowed. script: 2a, on @user_script:4.", Meaning::Unavailable, Fault::UNAVAILABLE),
            ("ERR syntax error script: 2a, on @user_script:4.", Meaning::Failed, Fault::Failed),
            (
                "ERR Error running script (call to f_2a): @user_script:4: WRONGTYPE Operation",
                Meaning::Failed,
                Fault::Failed,
            ),
        ] {
            assert_eq!((meaning(error), refusal(error).fault), (expected, fault), "{error}");
        }
        assert_eq!(redirection("MOVED 3999 127.0.0.1:6381"), Some(("127.0.0.1", 6381)));
        assert_eq!(redirection("MOVED 3999 :6381"), Some(("", 6381)));
        assert_eq!(redirection("ASK 3999 ::1:6381"), Some(("::1", 6381)));
        for bad in ["MOVED", "MOVED 1", "MOVED 1 host", "MOVED 1 host:x"] {
            assert_eq!(redirection(bad), None, "{bad}");
        }
    }
}
