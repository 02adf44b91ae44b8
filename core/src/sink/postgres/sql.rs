//! Names and texts as they stand in SQL.

use crate::error::Result;
use crate::sink::net::invalid;

/// A name of a table, perhaps with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    /// As it stands in SQL.
    pub(super) sql: String,
    /// As it was given.
    pub(super) given: String,
}

impl TableName {
    /// Of `table`, `schema.table`, each perhaps in double quotes.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such name.
    pub(super) fn parse(option: &str, text: &str) -> Result<Self> {
        let wrong = || invalid(format!("option {option}: {text:?} is no table such as events or audit.events"));
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (part, after) = split(rest).ok_or_else(wrong)?;
            if part.is_empty() || part.chars().any(char::is_control) {
                return Err(wrong());
            }
            parts.push(name(&part));
            match after {
                Some(more) if parts.len() < 2 => rest = more,
                Some(_) => return Err(wrong()),
                None => break,
            }
        }
        Ok(TableName { sql: parts.join("."), given: text.to_owned() })
    }
}

/// The first part of a name, and what follows its dot, if it has one.
fn split(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (part, after) = text.split_once('.').map_or((text, None), |(part, after)| (part, Some(after)));
        return (!part.contains('"')).then(|| (part.to_owned(), after));
    };
    let mut part = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        if char != '"' {
            part.push(char);
            continue;
        }
        let after = &quoted[at + 1..];
        match after.chars().next() {
            None => return Some((part, None)),
            Some('.') => return Some((part, Some(&after[1..]))),
            Some('"') => {
                part.push('"');
                chars.next();
            }
            Some(_) => return None,
        }
    }
    None
}

/// A name as it stands in SQL.
pub(super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text as it stands in SQL, whatever the server's `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables() {
        for (given, sql) in [
            ("events", "\"events\""),
            ("Audit.Events", "\"Audit\".\"Events\""),
            ("\"a.b\"", "\"a.b\""),
            ("\"a.b\".\"c\"\"d\"", "\"a.b\".\"c\"\"d\""),
            ("x; drop table y", "\"x; drop table y\""),
        ] {
            assert_eq!(TableName::parse("table", given).unwrap().sql, sql, "{given}");
        }
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\"b", "a\nb", "\"\""] {
            assert!(TableName::parse("table", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(literal("a"), "E'a'");
        assert_eq!(literal("'; \\"), "E'\\'; \\\\'");
    }
}
