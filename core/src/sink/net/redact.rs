//! Masks the secrets that a service repeats, in the answer itself, before anything reads it.
//!
//! An error about a signature repeats the request's headers, the session token among them; escaped, or cut short by the
//! service or by ourselves. So this looks for every eight bytes of a secret, not for the whole of it.

use zeroize::Zeroize;

/// So many bytes of a secret in a row are masked. No key or token of AWS is shorter. Shorter ones, such as an emulator's
/// `x`, are not masked: that would hide the answer.
const RUN: usize = 8;

/// All runs of eight bytes of some secrets.
pub(crate) struct Mask {
    /// Sorted.
    runs: Vec<[u8; RUN]>,
    /// By `slot`, whether there may be such a run. This alone rules out most of an answer.
    likely: Vec<bool>,
}

impl Mask {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = Mask { runs: Vec::new(), likely: vec![false; 1 << 16] };
        for secret in secrets.into_iter().map(str::as_bytes) {
            for run in runs_of(secret) {
                mask.likely[slot(run)] = true;
                mask.runs.push(*run);
            }
        }
        mask.runs.sort_unstable();
        mask
    }

    /// Overwrites parts of secrets with stars. Leaves backslashes and what they escape alone, so that JSON stays JSON.
    pub(crate) fn apply(&self, text: &mut [u8]) {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for (at, run) in runs_of(text).enumerate() {
            if self.likely[slot(run)] && self.runs.binary_search(run).is_ok() {
                found.push((at, at + RUN));
            }
        }
        if found.is_empty() {
            return;
        }
        let mut hidden = vec![false; text.len()];
        found.into_iter().for_each(|(from, to)| hidden[from..to].fill(true));
        let mut escaped = false;
        for (byte, hidden) in text.iter_mut().zip(hidden) {
            let backslash = *byte == b'\\' && !escaped;
            if hidden && !backslash && !escaped {
                *byte = b'*';
            }
            escaped = backslash;
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        self.runs.zeroize();
        self.likely.zeroize();
    }
}

fn runs_of(bytes: &[u8]) -> impl Iterator<Item = &[u8; RUN]> {
    bytes.windows(RUN).filter_map(|run| run.first_chunk())
}

/// A hash of a run, below 65,536.
fn slot(run: &[u8; RUN]) -> usize {
    (u64::from_le_bytes(*run).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

/// Shortens a message of a service: to three stars where there are more in a row, and to at most so many characters.
pub(crate) fn brief(text: &str, chars: usize) -> String {
    let mut brief = String::new();
    let mut stars = 0;
    for char in text.chars() {
        stars = if char == '*' { stars + 1 } else { 0 };
        if stars <= 3 {
            brief.push(char);
        }
    }
    if let Some((end, _)) = brief.char_indices().nth(chars) {
        brief.truncate(end);
    }
    brief
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "IQoJb3JpZ2luX2VjEJr//abcdefghij+klmnopqrstu==";

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        Mask::new([TOKEN, "AKIDEXAMPLE", "x", ""]).apply(&mut bytes);
        brief(std::str::from_utf8(&bytes).unwrap(), 1000)
    }

    #[test]
    fn what_a_service_repeats_is_masked() {
        let text = format!("The Canonical String should have been x-amz-security-token:{TOKEN} AKIDEXAMPLE x");
        assert_eq!(masked(&text), "The Canonical String should have been x-amz-security-token:*** *** x");
        assert_eq!(masked("nothing of it"), "nothing of it");
        assert_eq!(masked(""), "");
    }

    /// The bug: the message was cut before it was redacted, so that the part that was left matched nothing.
    #[test]
    fn a_token_cut_at_either_end_is_masked() {
        for cut in RUN..TOKEN.len() {
            assert_eq!(masked(&TOKEN[..cut]), "***", "its first {cut} bytes");
            assert_eq!(masked(&TOKEN[TOKEN.len() - cut..]), "***", "its last {cut} bytes");
        }
    }

    #[test]
    fn a_token_in_json_is_masked_and_json_stays_json() {
        let escaped = format!("{{\"message\":\"<{}>\"}}", TOKEN.replace('/', "\\/"));
        let mut bytes = escaped.into_bytes();
        Mask::new([TOKEN]).apply(&mut bytes);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let text = value["message"].as_str().unwrap();
        assert!(text.starts_with("<***") && text.ends_with("***>"), "{text}");
        assert!(text.chars().all(|c| "<*/>".contains(c)), "{text}");
    }
}
