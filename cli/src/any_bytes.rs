//! Bytes made from others, for tests of what reads files that anybody may have written.

/// Calls `each` with the seeds, and so many times with one of them changed in some places. The same every time.
pub(crate) fn changed(seeds: &[&[u8]], times: u64, mut each: impl FnMut(&[u8])) {
    seeds.iter().for_each(|seed| each(seed));
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end.max(1) as u64) as usize
    };
    for time in 0..times {
        let mut bytes = seeds[time as usize % seeds.len()].to_vec();
        for _ in 0..=below(4) {
            let at = below(bytes.len() + 1);
            let end = (at + below(12)).min(bytes.len());
            match below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                3 => bytes.insert(at, [b'\n', b' ', b'"', b'9', 0, 0xff, b'}', b'-'][below(8)]),
                _ => bytes.truncate(at),
            }
        }
        each(&bytes);
    }
}
