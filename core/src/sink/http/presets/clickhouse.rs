//! ClickHouse: `JSONEachRow` with a deduplication token.

use std::borrow::Cow;

use super::super::dialect::{CallLimits, Dialect, Entry, Request, all_delivered};
use super::super::envelope::line;
use super::super::status::{Meaning, Statuses};
use super::{check_object, joined};
use crate::record::{NewRecord, Record};
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::encode::percent;
use crate::sink::net::failure::CallError;
use crate::sink::net::http::Answer;

const INSERT: &str = "INSERT";

/// Codes of values that cannot be read or do not fit their column:
/// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
const OF_A_ROW: &[u16] =
    &[6, 16, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 441, 467, 469, 675, 676, 691];

pub(super) struct ClickHouse;

impl Dialect for ClickHouse {
    /// A block is a million rows (`max_insert_block_size`), so that a request is one, whole or not at all.
    fn limits(&self) -> CallLimits {
        CallLimits { records: 100_000, bytes: 32 << 20, record_bytes: 32 << 20 }
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn framing_bytes(&self) -> u64 {
        1
    }

    /// The last segment is the table, which goes into the query.
    fn path(&self, path: &str) -> Result<String, String> {
        let (before, table) = path.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        let is_good =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !table.split('.').all(is_good) || table.split('.').count() > 2 {
            return Err("it names no table of letters, digits and _, such as http://host:8123/DATABASE.TABLE".into());
        }
        let query = percent(&format!("INSERT INTO {table} FORMAT JSONEachRow"), b"");
        Ok(format!("{before}/?query={query}&wait_end_of_query=1"))
    }

    fn query(&self, request: &Request<'_>) -> Option<String> {
        Some(format!("insert_deduplication_token={}", percent(&request.id(), b"")))
    }

    fn check(&self, record: &NewRecord<'_>) -> Result<(), String> {
        check_object(record.data, "ClickHouse's JSONEachRow")
    }

    fn piece<'a>(&self, record: &Record<'a>, _: &str) -> Cow<'a, [u8]> {
        line(record.data).unwrap_or(record.data).into()
    }

    fn body(&self, entries: &[&Entry<'_>]) -> Vec<u8> {
        joined(entries, b"", b"\n", b"\n")
    }

    fn delivered(&self, answer: &Answer, entries: &[&Entry<'_>], _: &Statuses) -> Outcomes {
        if exception(answer).is_some() || answer.body.trim_ascii_start().starts_with(b"Code:") {
            return Err(CallError::undocumented(INSERT, String::from_utf8_lossy(&answer.body)));
        }
        // An INSERT has no result.
        match answer.body.trim_ascii().is_empty() {
            true => all_delivered(entries),
            false => Err(CallError::undocumented(INSERT, "it has a body")),
        }
    }

    /// Each of its answers has headers of its own.
    fn is_own(&self, answer: &Answer) -> bool {
        answer.has_header_like("x-clickhouse-") || exception(answer).is_some()
    }

    fn meaning(&self, answer: &Answer) -> Option<Meaning> {
        if (200..300).contains(&answer.status) {
            return None;
        }
        let code = exception(answer)?;
        Some(if OF_A_ROW.contains(&code) { Meaning::Split } else { Meaning::Unavailable })
    }
}

/// The code of an exception, in its header or at the beginning of the body: `Code: 27. DB::Exception: …`.
fn exception(answer: &Answer) -> Option<u16> {
    if let Some(code) = answer.header("x-clickhouse-exception-code") {
        return code.trim().parse().ok();
    }
    let text = std::str::from_utf8(&answer.body).ok()?.trim_start().strip_prefix("Code: ")?;
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_path() {
        let query = "?query=INSERT%20INTO%20db.t%20FORMAT%20JSONEachRow&wait_end_of_query=1";
        assert_eq!(ClickHouse.path("/db.t").unwrap(), format!("/{query}"));
        assert_eq!(ClickHouse.path("/proxy/db.t/").unwrap(), format!("/proxy/{query}"));
        for bad in ["/", "", "/a.b.c", "/a%20b", "/a;drop", "/.t", "/t."] {
            assert!(ClickHouse.path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exceptions() {
        let parse = b"Code: 27. DB::Exception: Cannot parse input: expected '{'";
        assert_eq!(ClickHouse.meaning(&Answer::new(400, &[], parse)), Some(Meaning::Split));
        let parts: &[(&str, &[u8])] = &[("x-clickhouse-exception-code", b"252")];
        assert_eq!(ClickHouse.meaning(&Answer::new(500, parts, b"too many parts")), Some(Meaning::Unavailable));
        assert_eq!(
            ClickHouse.meaning(&Answer::new(404, &[], b"Code: 60. DB::Exception: no table")),
            Some(Meaning::Unavailable)
        );
        assert_eq!(ClickHouse.meaning(&Answer::new(502, &[], b"bad gateway")), None);
        let said = |headers: &[(&str, &[u8])], body: &[u8]| {
            ClickHouse.delivered(&Answer::new(200, headers, body), &[], &Statuses::default()).is_ok()
        };
        assert!(said(&[], b"") && said(&[("x-clickhouse-summary", b"{}")], b"\n"));
        assert!(!said(&[], parse) && !said(parts, b"") && !said(&[], b"{}"));
    }
}
