//! CRC-16/XMODEM, by which Redis Cluster divides keys and NATS checks its keys.

pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        let shifted = |sum: u16| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| shifted(sum))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value() {
        assert_eq!(super::crc16(b"123456789"), 0x31c3);
    }
}
