//! Text that a person reads: bounded, and on one line.

use std::fmt::Write as _;

/// The most bytes of an exception's message that are kept.
pub(crate) const MOST: usize = 1024;
/// The most characters of a name or a reason in a `repr`.
const SHOWN: usize = 120;

/// At most `most` bytes of `text`.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}[...]", &text[..text.floor_char_boundary(most)])
}

/// Text as a `repr` shows it: escaped and bounded.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(SHOWN) {
        push(&mut out, character);
    }
    if characters.next().is_some() {
        out.push_str("...");
    }
    out
}

fn push(out: &mut String, character: char) {
    // Controls of terminals, and those that turn the direction of writing or break lines.
    let steers = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || steers {
        let _ = write!(out, "{}", character.escape_default());
    } else {
        out.push(character);
    }
}
