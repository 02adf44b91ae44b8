//! Text on its way to C.

use std::ffi::CString;

/// Text for C. A NUL inside it would end it early, so it is replaced.
pub(crate) fn c_text(text: impl Into<String>) -> CString {
    let text: String = text.into();
    CString::new(text).unwrap_or_else(|error| {
        let clean = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\u{fffd}");
        CString::new(clean).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_c_keeps_what_stands_behind_a_nul() {
        assert_eq!(c_text("a\0b").to_str().unwrap(), "a\u{fffd}b");
    }
}
