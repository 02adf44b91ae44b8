//! What the errors of PostgreSQL mean: one table, by their SQLSTATE.

use std::io::{self, ErrorKind};

use super::wire::ServerError;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::redact::brief;

/// What an error means for the records of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not now: resources, a lock, another transaction, or the configuration is to blame. Retried without using up attempts.
    Unavailable,
    /// Not by this server: it ends, does not know us, or takes no writes. Another is looked for.
    Elsewhere,
    /// A record in the call is to blame, which is looked for.
    Record,
    /// We do not know. Retried as a failed attempt.
    Failed,
}

/// By SQLSTATE, whole or its class, the longest that fits; what is not here has failed.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const TABLE: &[(&str, Meaning)] = &[
    // Connections; servers that come and go; who we are; a database that is not there.
    ("08", Meaning::Elsewhere),
    ("28", Meaning::Elsewhere),
    ("3D", Meaning::Elsewhere),
    ("57P", Meaning::Elsewhere),
    // A standby, or a server that is told to take no writes.
    ("25006", Meaning::Elsewhere),
    // The session was idle in our transaction for too long: the program stood still.
    ("25P03", Meaning::Unavailable),
    ("25P04", Meaning::Unavailable),
    // The value is none of its column's type, is too long, breaks a constraint, or a trigger refuses it (`RAISE`).
    ("21", Meaning::Record),
    ("22", Meaning::Record),
    ("23", Meaning::Record),
    ("44", Meaning::Record),
    ("P0", Meaning::Record),
    // An entry too large for its index, and the like.
    ("54", Meaning::Record),
    // Serialization, deadlocks; a transaction whose end nobody knows.
    ("40", Meaning::Unavailable),
    // Disk full, out of memory, too many connections, a configured limit.
    ("53", Meaning::Unavailable),
    // A lock, an object in use, a feature or a setting that is not allowed now.
    ("55", Meaning::Unavailable),
    // Cancelled, by somebody or a time-out of the server.
    ("57", Meaning::Unavailable),
    // Files of the server.
    ("58", Meaning::Unavailable),
    ("XX001", Meaning::Unavailable),
    ("XX002", Meaning::Unavailable),
    // The configuration: no such table or column, no permission, a type that does not fit, what this kind of table does not take.
    ("0A", Meaning::Unavailable),
    ("3F", Meaning::Unavailable),
    ("42", Meaning::Unavailable),
    ("F0", Meaning::Unavailable),
];

pub(super) fn meaning(code: &str) -> Meaning {
    let fits = TABLE.iter().filter(|(known, _)| code.starts_with(known));
    fits.max_by_key(|(known, _)| known.len()).map_or(Meaning::Failed, |(_, meaning)| *meaning)
}

/// The error of a call that a server has refused.
pub(super) fn refusal(error: &ServerError) -> CallError {
    let fault = match meaning(&error.code) {
        Meaning::Unavailable | Meaning::Elsewhere => Fault::UNAVAILABLE,
        Meaning::Record => Fault::Refused,
        Meaning::Failed => Fault::Failed,
    };
    CallError { operation: "COPY", fault, code: Some(error.code.clone()), message: brief(&error.message, 500) }
}

/// The same where a connection is being made.
pub(super) fn as_io(error: &ServerError) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{}: {}", error.code, brief(&error.message, 500)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_mean_what_the_table_says() {
        for (code, expected) in [
            ("08006", Meaning::Elsewhere),
            ("28P01", Meaning::Elsewhere),
            ("57P01", Meaning::Elsewhere),
            ("57P03", Meaning::Elsewhere),
            ("57014", Meaning::Unavailable),
            ("25006", Meaning::Elsewhere),
            ("25P02", Meaning::Failed),
            ("40001", Meaning::Unavailable),
            ("40P01", Meaning::Unavailable),
            ("53100", Meaning::Unavailable),
            ("53300", Meaning::Unavailable),
            ("55P03", Meaning::Unavailable),
            ("22P02", Meaning::Record),
            ("22001", Meaning::Record),
            ("22021", Meaning::Record),
            ("23502", Meaning::Record),
            ("23505", Meaning::Record),
            ("23514", Meaning::Record),
            ("54000", Meaning::Record),
            ("P0001", Meaning::Record),
            ("42P01", Meaning::Unavailable),
            ("42703", Meaning::Unavailable),
            ("42501", Meaning::Unavailable),
            ("0A000", Meaning::Unavailable),
            ("XX000", Meaning::Failed),
            ("XX001", Meaning::Unavailable),
            ("", Meaning::Failed),
            ("2", Meaning::Failed),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }
}
