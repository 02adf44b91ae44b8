//! Cuts text that others wrote to what there is room for. The error of a sink may be ten megabytes long.

use std::fmt::{self, Display, Write};

/// Stands in place of what was cut.
const MORE: &str = "…";

/// What `text` displays, cut to at most `most` bytes, between characters. No more of it is written than is kept.
pub(crate) fn bounded(text: impl Display, most: usize) -> String {
    struct Kept {
        text: String,
        most: usize,
        is_cut: bool,
    }
    impl Write for Kept {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            let room = self.most - self.text.len();
            let fits = more.floor_char_boundary(room.min(more.len()));
            self.text.push_str(&more[..fits]);
            self.is_cut |= fits < more.len();
            if self.is_cut { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut kept = Kept { text: String::new(), most, is_cut: false };
    // An error means that it was cut, or that the display itself gave up. What was written until then is kept.
    let _ = write!(kept, "{text}");
    let Kept { mut text, is_cut, .. } = kept;
    if is_cut && most >= MORE.len() {
        text.truncate(text.floor_char_boundary(most - MORE.len()));
        text.push_str(MORE);
    }
    text
}

/// The text itself, cut in the same way.
pub(crate) fn cut(text: String, most: usize) -> String {
    if text.len() <= most { text } else { bounded(text, most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("longer", 5), "lo…");
        assert_eq!(bounded("äöüß", 7), "äö…");
        assert_eq!(cut("äöüß".into(), 8), "äöüß");
        assert_eq!(bounded("abc", 2), "ab");
        for most in 0..40 {
            let text = bounded(format_args!("{}-{}", "漢字".repeat(4), "x".repeat(9)), most);
            assert!(text.len() <= most);
        }
    }

    /// A display that would write for ever ends as soon as there is enough.
    #[test]
    fn what_is_cut_is_not_written() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again and ")?;
                }
            }
        }
        assert_eq!(bounded(Endless, 20).len(), 20);
    }
}
