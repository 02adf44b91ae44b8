//! From records to rows, in the text format of `COPY`.
//! <https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format"

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::options::PostgresOptions;
use super::sql::{TableName, name};
use crate::attributes::Headers;
use crate::error::Result;
use crate::record::Record;
use crate::sink::net::invalid;
use crate::time::timestamp;

/// What a column has of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Payload,
    Id,
    Key,
    Topic,
    Headers,
    CreatedAt,
    Batch,
    Seq,
}

#[derive(Debug)]
struct Column {
    name: String,
    option: &'static str,
    what: What,
}

/// The columns that get something of a record.
#[derive(Debug)]
pub(super) struct Columns(Vec<Column>);

/// Whether each of the columns is `bytea`, which gets bytes as they are. Others get text, which the server reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(Vec<bool>);

impl Columns {
    /// # Errors
    /// `InvalidArgument` for a name that is none, or comes twice.
    pub(super) fn of_options(options: &PostgresOptions) -> Result<Self> {
        let columns = [
            ("payload_column", &options.payload_column, What::Payload),
            ("id_column", &options.id_column, What::Id),
            ("key_column", &options.key_column, What::Key),
            ("topic_column", &options.topic_column, What::Topic),
            ("headers_column", &options.headers_column, What::Headers),
            ("created_at_column", &options.created_at_column, What::CreatedAt),
            ("batch_column", &options.batch_column, What::Batch),
            ("seq_column", &options.seq_column, What::Seq),
        ];
        let given = columns.into_iter().filter(|(_, name, _)| !name.is_empty());
        let columns: Vec<_> = given.map(|(option, name, what)| Column { name: name.clone(), option, what }).collect();
        for (place, Column { name, option, .. }) in columns.iter().enumerate() {
            if name.chars().any(char::is_control) {
                return Err(invalid(format!("option {option}: {name:?} is no name of a column")));
            }
            if let Some(other) = columns[..place].iter().find(|other| other.name == *name) {
                return Err(invalid(format!(
                    "the options {} and {option} name the same column {name:?}",
                    other.option
                )));
            }
        }
        Ok(Columns(columns))
    }

    /// The statement that takes rows.
    pub(super) fn copy(&self, table: &TableName) -> String {
        let names: Vec<_> = self.0.iter().map(|column| name(&column.name)).collect();
        format!("COPY {} ({}) FROM STDIN", table.sql, names.join(", "))
    }

    /// Which columns are `bytea`, by what the table has: names with whether they are.
    ///
    /// # Errors
    /// The table lacks one.
    pub(super) fn kinds(&self, table: &TableName, has: &[(&str, bool)]) -> Result<Kinds, String> {
        let kind = |Column { name, option, .. }: &Column| {
            let found = has.iter().find(|(known, _)| known == name);
            found.map(|(_, is_bytes)| *is_bytes).ok_or_else(|| {
                let instead = if *option == "payload_column" { "" } else { "; empty: none" };
                format!("the table {} has no column {name} (option {option}{instead})", table.given)
            })
        };
        self.0.iter().map(kind).collect::<Result<_, _>>().map(Kinds)
    }

    /// Looks whether the columns take a record, as far as can be seen without the server.
    ///
    /// # Errors
    /// Why they do not.
    pub(super) fn check(&self, record: &Record<'_>, kinds: &Kinds) -> Result<(), String> {
        for (Column { name, what, .. }, is_bytes) in self.0.iter().zip(&kinds.0) {
            let id;
            let (bytes, part) = match what {
                What::Payload => (record.data, "payload"),
                What::Key => (record.key.unwrap_or_default(), "key"),
                What::Id => {
                    id = record.id();
                    (id.as_bytes(), "id")
                }
                _ => continue,
            };
            if *is_bytes {
                continue;
            }
            if std::str::from_utf8(bytes).is_err() {
                return Err(format!("its {part} is not UTF-8, and the column {name} is not bytea"));
            }
            if bytes.contains(&0) {
                return Err(format!("its {part} has a NUL in it, and the column {name} is not bytea"));
            }
        }
        Ok(())
    }

    /// Adds a row.
    pub(super) fn push(&self, record: &Record<'_>, batch: &str, kinds: &Kinds, out: &mut Vec<u8>) {
        for (place, (Column { what, .. }, is_bytes)) in self.0.iter().zip(&kinds.0).enumerate() {
            if place > 0 {
                out.push(b'\t');
            }
            let value: Option<Cow<'_, [u8]>> = match what {
                What::Payload => Some(Cow::Borrowed(record.data)),
                What::Key => record.key.map(Cow::Borrowed),
                What::Topic => record.topic.map(|topic| Cow::Borrowed(topic.as_bytes())),
                What::Batch => Some(Cow::Borrowed(batch.as_bytes())),
                What::Id => Some(match record.id() {
                    Cow::Borrowed(id) => Cow::Borrowed(id.as_bytes()),
                    Cow::Owned(id) => Cow::Owned(id.into_bytes()),
                }),
                What::Headers => headers(record.headers).map(|json| Cow::Owned(json.into_bytes())),
                What::CreatedAt => Some(Cow::Owned(timestamp(record.created_at).into_bytes())),
                What::Seq => Some(Cow::Owned(record.seq.to_string().into_bytes())),
            };
            match value {
                None => out.extend_from_slice(b"\\N"),
                Some(value) if *is_bytes => push_bytes(&value, out),
                Some(value) => push_text(&value, out),
            }
        }
        out.push(b'\n');
    }
}

/// Headers as a JSON object; `None` without any. A name that comes several times has an array; a value that is not UTF-8, or has
/// a NUL, which PostgreSQL's JSON cannot hold, is `{"base64": "…"}`.
fn headers(headers: Headers<'_>) -> Option<String> {
    let mut object: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let value = match std::str::from_utf8(value) {
            Ok(text) if !text.contains('\0') => Value::from(text),
            _ => json!({"base64": BASE64_STANDARD.encode(value)}),
        };
        match object.get_mut(name) {
            None => {
                object.insert(name.to_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    (!object.is_empty()).then(|| Value::Object(object).to_string())
}

fn push_text(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        let escaped = match rest[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            byte => byte,
        };
        out.extend_from_slice(&[b'\\', escaped]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\\\x");
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, NewRecord};

    fn columns(pairs: &[(&str, &str)]) -> Columns {
        let pairs: Vec<_> = [("url", "postgres://h")].into_iter().chain(pairs.iter().copied()).collect();
        Columns::of_options(&PostgresOptions::from_pairs(&pairs).unwrap()).unwrap()
    }

    fn row(columns: &Columns, kinds: &Kinds, record: NewRecord<'_>) -> String {
        let batch = Batch::from_records([record]);
        let mut out = Vec::new();
        columns.push(&batch.get(0).unwrap(), "b", kinds, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_have_what_the_options_name() {
        let table = TableName::parse("table", "s.t").unwrap();
        let all = columns(&[("batch_column", "b\"b"), ("seq_column", "n")]);
        let names = "\"payload\", \"id\", \"key\", \"topic\", \"headers\", \"created_at\", \"b\"\"b\", \"n\"";
        assert_eq!(all.copy(&table), format!("COPY \"s\".\"t\" ({names}) FROM STDIN"));
        let text = Kinds(vec![false; 8]);
        let record = NewRecord::new(b"a\tb\\\n\r").id("i").key(b"\\N").topic("t").created_at(0);
        let headers = [("h", &b"1"[..]), ("h", b"2"), ("x", b"\xff"), ("z", b"\\\"\n")];
        assert_eq!(
            row(&all, &text, record.headers(&headers)),
            "a\\tb\\\\\\n\\r\ti\t\\\\N\tt\t{\"h\":[\"1\",\"2\"],\"x\":{\"base64\":\"/w==\"},\"z\":\"\\\\\\\\\\\\\"\\\\n\"}\t\
             1970-01-01T00:00:00.000000Z\tb\t1\n"
        );
        let few = columns(&[("topic_column", ""), ("headers_column", ""), ("created_at_column", "")]);
        assert_eq!(row(&few, &Kinds(vec![true, false, true]), record.key(b"\0")), "\\\\x6109625c0a0d\ti\t\\\\x00\n");
        assert_eq!(row(&few, &Kinds(vec![true; 3]), NewRecord::new(b"").id("i")), "\\\\x\t\\\\x69\t\\N\n");
    }

    #[test]
    fn what_a_column_cannot_have_is_known_before_the_server_is_asked() {
        let columns = columns(&[("topic_column", ""), ("headers_column", ""), ("created_at_column", "")]);
        for (record, text, bytes) in [
            (NewRecord::new(b"fine").key(b"k").id("i"), true, true),
            (NewRecord::new(b"\xff"), false, true),
            (NewRecord::new(b"a\0"), false, true),
            (NewRecord::new(b"").key(b"\xff"), false, true),
            (NewRecord::new(b"").id("a\0"), false, true),
        ] {
            let batch = Batch::from_records([record]);
            for (is_bytes, taken) in [(false, text), (true, bytes)] {
                let checked = columns.check(&batch.get(0).unwrap(), &Kinds(vec![is_bytes; 3]));
                assert_eq!(checked.is_ok(), taken, "{checked:?}");
            }
        }
    }

    #[test]
    fn columns_that_cannot_be() {
        for pairs in [[("id_column", "payload")], [("key_column", "a\nb")]] {
            let pairs: Vec<_> = [("url", "postgres://h")].into_iter().chain(pairs).collect();
            assert!(Columns::of_options(&PostgresOptions::from_pairs(&pairs).unwrap()).is_err(), "{pairs:?}");
        }
        let table = TableName::parse("table", "t").unwrap();
        let columns = columns(&[("headers_column", ""), ("created_at_column", ""), ("topic_column", "")]);
        let has = [("key", true), ("payload", false), ("id", false)];
        assert_eq!(columns.kinds(&table, &has), Ok(Kinds(vec![false, false, true])));
        let error = columns.kinds(&table, &has[..2]).unwrap_err();
        assert!(error.contains("no column id (option id_column"), "{error}");
    }
}
