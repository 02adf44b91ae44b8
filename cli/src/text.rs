//! Text for a person: nothing in it steers a terminal or adds lines.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Text in which what cannot be seen is escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut shown, c));
    shown
}

/// Bytes likewise: what is not UTF-8 becomes `\xff`.
pub(crate) fn printable_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut shown, c));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The name of a file likewise.
pub(crate) fn name(name: impl AsRef<OsStr>) -> String {
    printable_bytes(name.as_ref().as_bytes())
}

fn push(shown: &mut String, c: char) {
    match c {
        ' '..='~' => shown.push(c),
        '\t' => shown.push_str("\\t"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        c if is_printable(c) => shown.push(c),
        c => {
            let _ = match u32::from(c) {
                code @ ..0x100 => write!(shown, "\\x{code:02x}"),
                code @ ..0x1_0000 => write!(shown, "\\u{code:04x}"),
                code => write!(shown, "\\U{code:08x}"),
            };
        }
    }
}

/// Whether the standard library's tables say that a character can be seen. They escape a combining mark only at the
/// beginning of a text, where nothing precedes it.
fn is_printable(c: char) -> bool {
    let mut bytes = [b'a'; 5];
    let end = 1 + c.encode_utf8(&mut bytes[1..]).len();
    std::str::from_utf8(&bytes[..end]).is_ok_and(|text| text.escape_debug().nth(2).is_none())
}

/// What the system says of an error, without the number.
pub(crate) fn os_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A number with a comma between each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A rate such as `0.25` or `12,345`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 { format!("{per_second:.2}") } else { grouped(per_second.round() as u64) }
}

/// A size such as `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit takes everything")
}

/// A span such as `250 ms`, `12.5 s`, `3 m 20 s`, `5 h 10 m` or `3 d 4 h`.
pub(crate) fn span(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    let two = |first: i64, unit: &str, second: i64, below: &str| format!("{first} {unit} {second} {below}");
    match seconds {
        0 => format!("{} ms", micros.max(0) / 1000),
        1..60 => format!("{:.1} s", micros as f64 / 1e6),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A time in microseconds since the epoch as RFC 3339 text in UTC, exactly, in the years 1 to 9999.
pub(crate) fn time(micros: i64) -> String {
    let (days, micros) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (year, month, day) = date(days);
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The date of a day that is counted from 1970-01-01. Years begin in March here, so that a leap day is a year's last;
/// 400 years have 146,097 days.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The instant that an RFC 3339 text names, in microseconds since the epoch; `None` if it is no such text. What is finer than a
/// microsecond is cut off.
pub(crate) fn micros(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let marks = [text.get(4..5)?, text.get(7..8)?, text.get(13..14)?, text.get(16..17)?];
    let is_text = marks == ["-", "-", ":", ":"] && matches!(text.get(10..11)?, "T" | "t" | " ");
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let first: String = rest[..digits].chars().chain("000000".chars()).take(6).collect();
            (first.parse::<i64>().ok().filter(|_| digits > 0)?, &rest[digits..])
        }
        None => (0, rest),
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let (hours, minutes) = (number(at, at + 2)?, number(at + 3, at + 5)?);
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let days = days(year, month, day);
    if !is_text || date(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((days * 86_400 + hour * 3600 + (minute - offset) * 60 + second) * 1_000_000 + fraction)
}

/// The inverse of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(printable("a\nb\x1b[2J\u{202e}\u{9b}"), "a\\nb\\x1b[2J\\u202e\\x9b");
        assert_eq!(printable("snow ☃ e\u{301} 漢字 👍 \\ \"'"), "snow ☃ e\u{301} 漢字 👍 \\ \"'");
        assert_eq!(printable("\u{a0}\u{2028}\u{feff}\u{e0001}\t\r"), "\\xa0\\u2028\\ufeff\\U000e0001\\t\\r");
        assert_eq!(printable_bytes(b"a\xffb\xc3\xbc"), "a\\xffbü");
    }

    #[test]
    fn times_are_exact_in_every_year() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
        ] {
            assert_eq!(time(micros), text);
            assert_eq!(super::micros(text), Some(micros));
        }
        for day in (0..2_932_896).step_by(97) {
            let micros = day * 86_400_000_000 + 43_200_123_456;
            assert_eq!(time(micros), unistream::time::timestamp(micros));
            assert_eq!(super::micros(&time(micros)), Some(micros));
        }
    }

    #[test]
    fn times_are_read_in_every_zone() {
        assert_eq!(micros("1970-01-01t00:00:01z"), Some(1_000_000));
        assert_eq!(micros("1970-01-01 01:00:00.5+01:00"), Some(500_000));
        assert_eq!(micros("1969-12-31T19:30:00.1234567-04:30"), Some(123_456));
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "+970-01-01T00:00:00Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00Zz",
            "1970-01-01T00:00:00ü",
            "ü1970-01-01T00:00:00Z",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_for_a_person() {
        assert_eq!((grouped(0), grouped(999), grouped(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!((size(1023), size(1536), size(5 << 40)), ("1023 B".into(), "1.5 KiB".into(), "5120.0 GiB".into()));
        assert_eq!((span(-5), span(1_500_000), span(200_000_000)), ("0 ms".into(), "1.5 s".into(), "3 m 20 s".into()));
        assert_eq!((span(18_600_000_000), span(273_600_000_000)), ("5 h 10 m".into(), "3 d 4 h".into()));
    }
}
