//! Bytes as text: percent-encoding and hexadecimal digits.

use std::fmt::Write;

/// Percent-encodes all but letters, digits, `-_.~` and the bytes in `safe`.
pub(crate) fn percent(text: &(impl AsRef<[u8]> + ?Sized), safe: &[u8]) -> String {
    let text = text.as_ref();
    let mut encoded = String::with_capacity(text.len());
    for byte in text.iter().copied() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            byte if safe.contains(&byte) => encoded.push(byte.into()),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Two lower-case hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_safe_is_encoded_byte_by_byte() {
        assert_eq!(percent("aZ09-_.~", b""), "aZ09-_.~");
        assert_eq!(percent("/a b/ä?", b"/"), "/a%20b/%C3%A4%3F");
        assert_eq!(percent("/", b""), "%2F");
        assert_eq!(hex(&[0, 0x7f, 0xff]), "007fff");
    }
}
