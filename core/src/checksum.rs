//! CRC-32C, the checksum of every frame.
//!
//! Most of what is summed is short: a frame's header and a small record. For those a call of the `crc32c` crate costs more
//! instructions than the sum itself, because it prepares for inputs of many KiB. This file sums short inputs with the
//! processor's own instruction, eight bytes at a time, and leaves long ones and other processors to the crate.
//!
//! `unsafe`, because a function that is compiled for one processor feature may only be called where the feature is.
#![allow(unsafe_code)]

/// Above this many bytes the crate is faster: it keeps three sums under way at once, which hides the three cycles that
/// each instruction takes.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 512;

/// The CRC-32C of `bytes`.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The CRC-32C of some bytes whose sum is `crc`, followed by `bytes`.
#[inline]
pub(crate) fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() <= SHORT && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE 4.2, as the line above has asked.
        return unsafe { sum_with_sse42(crc, bytes) };
    }
    crc32c::crc32c_append(crc, bytes)
}

/// The CRC-32C of some bytes whose sum is `crc`, followed by these words as little-endian bytes: a frame's header, from
/// registers.
#[inline(always)]
pub(crate) fn crc32c_append_words(crc: u32, words: [u64; 4]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        let [a, b, c, d] = words;
        // SAFETY: the processor has SSE 4.2, as the line above has asked.
        return unsafe { sum_words_with_sse42(crc, a, b, c, d) };
    }
    words.iter().fold(crc, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn sum_words_with_sse42(crc: u32, a: u64, b: u64, c: u64, d: u64) -> u32 {
    use std::arch::x86_64::_mm_crc32_u64;

    let sum = _mm_crc32_u64(_mm_crc32_u64(u64::from(!crc), a), b);
    !(_mm_crc32_u64(_mm_crc32_u64(sum, c), d) as u32)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn sum_with_sse42(crc: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u16, _mm_crc32_u32};

    // The sum is kept inverted while it is under way.
    let mut sum = u64::from(!crc);
    let mut rest = bytes;
    // Each length has its own step, so that a short input passes a dozen comparisons and no inner loop.
    while let Some((block, after)) = rest.split_first_chunk::<64>() {
        (sum, rest) = (sum_block_with_sse42(sum, block), after);
    }
    if let Some((block, after)) = rest.split_first_chunk::<32>() {
        (sum, rest) = (sum_block_with_sse42(sum, block), after);
    }
    if let Some((block, after)) = rest.split_first_chunk::<16>() {
        (sum, rest) = (sum_block_with_sse42(sum, block), after);
    }
    if let Some((block, after)) = rest.split_first_chunk::<8>() {
        (sum, rest) = (sum_block_with_sse42(sum, block), after);
    }
    // The instruction leaves the upper half zero.
    let mut sum = sum as u32;
    if let Some((bytes, after)) = rest.split_first_chunk::<4>() {
        (sum, rest) = (_mm_crc32_u32(sum, u32::from_le_bytes(*bytes)), after);
    }
    if let Some((bytes, after)) = rest.split_first_chunk::<2>() {
        (sum, rest) = (_mm_crc32_u16(sum, u16::from_le_bytes(*bytes)), after);
    }
    if let Some(byte) = rest.first() {
        sum = _mm_crc32_u8(sum, *byte);
    }
    !sum
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
fn sum_block_with_sse42<const BYTES: usize>(mut sum: u64, block: &[u8; BYTES]) -> u64 {
    for word in block.as_chunks::<8>().0 {
        sum = std::arch::x86_64::_mm_crc32_u64(sum, u64::from_le_bytes(*word));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{crc32c, crc32c_append, crc32c_append_words};

    /// The definition, bit by bit: Castagnoli's polynomial, reflected.
    fn by_definition(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
        })
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(byte).take(len).collect()
    }

    /// RFC 3720, appendix B.4.
    #[test]
    fn published_values_come_out() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[]), 0);
    }

    #[test]
    fn every_length_at_every_alignment_is_summed_as_the_crate_and_the_definition_do() {
        let bytes = noise(1200);
        for at in 0..16 {
            for len in 0..1100 {
                let part = &bytes[at..at + len];
                assert_eq!(crc32c(part), crc32c::crc32c(part), "{len} bytes at {at}");
            }
            let part = &bytes[at..at + 61 * (at + 1)];
            assert_eq!(crc32c(part), by_definition(part), "{} bytes at {at}", part.len());
        }
    }

    #[test]
    fn words_are_summed_as_their_bytes() {
        for at in 0..100 {
            let bytes = noise(at + 32);
            let (before, of_words) = bytes.split_at(at);
            let (words, _) = of_words.as_chunks::<8>();
            let words = std::array::from_fn(|n| u64::from_le_bytes(words[n]));
            assert_eq!(crc32c_append_words(crc32c(before), words), crc32c::crc32c(&bytes));
        }
    }

    #[test]
    fn a_sum_goes_on_wherever_it_was_broken_off() {
        let bytes = noise(1100);
        for len in [0, 1, 7, 8, 9, 132, 511, 512, 513, 600, 1024, 1100] {
            let whole = crc32c(&bytes[..len]);
            for cut in 0..=len {
                assert_eq!(crc32c_append(crc32c(&bytes[..cut]), &bytes[cut..len]), whole, "{len} bytes cut at {cut}");
            }
        }
    }
}
