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
    } else if subject.len() > MAX_BYTES {
        "it is longer than 2048 bytes"
    } else {
        return Ok(());
    };
    Err(format!("the subject {subject:?} is none: {wrong}"))
}

/// A server ends the connection of who writes lines longer than 4 KiB (`max_control_line`), in which subject, inbox and sizes
/// stand.
const MAX_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn subjects() {
        for good in ["a", "a.b", "orders.größe", "$KV.a", "a*b.>c", &"x".repeat(2048)] {
            check(good).unwrap();
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB", "*", "a.>", "a.*.b", &"x".repeat(2049)] {
            check(bad).unwrap_err();
        }
    }
}
