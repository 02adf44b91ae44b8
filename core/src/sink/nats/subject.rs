//! Subjects that can be published to.

/// # Errors
/// Why it is none. <https://docs.nats.io/nats-concepts/subjects>
pub(super) fn check(subject: &str) -> Result<(), String> {
    let wrong = if subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "it has white space or a control character in it"
    } else if subject.split('.').any(str::is_empty) {
        "a part of it is empty"
    } else if subject.split('.').any(|part| part == "*" || part == ">") {
        "it has a wildcard in it"
    } else if is_reserved(subject) {
        "what begins with $ tells a server what to do, other than $KV and $O"
    } else if subject.len() > MAX_BYTES {
        "it is longer than 2048 bytes"
    } else {
        return Ok(());
    };
    Err(format!("the subject {subject:?} is none: {wrong}"))
}

/// Whether a server listens to the subject itself: a record whose topic is `$JS.API.STREAM.PURGE.ORDERS` would purge the stream. The
/// buckets of keys and of objects are streams like others. A first part that has something of the record's in it is not known yet.
pub(super) fn is_reserved(subject: &str) -> bool {
    let first = subject.split('.').next().unwrap_or_default();
    first.starts_with('$') && !first.contains('{') && !matches!(first, "$KV" | "$O")
}

/// A server ends the connection of who writes lines longer than 4 KiB (`max_control_line`), in which subject, inbox and sizes
/// stand.
const MAX_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn subjects() {
        for good in ["a", "a.b", "orders.größe", "$KV.a", "$O.b.C.x", "a.$JS", "a*b.>c", &"x".repeat(2048)] {
            check(good).unwrap();
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\r\nPUB",
            "*",
            "a.>",
            "a.*.b",
            "$JS.API.STREAM.PURGE.S",
            "$SYS.x",
            "$JS",
            "$",
            &"x".repeat(2049),
        ] {
            check(bad).unwrap_err();
        }
    }
}
