//! Which partition a record goes to: what the Java client does with a key, and one partition a batch for what has none.

use crate::checksum::crc32c;

/// The partition of a key among so many, as the Java client's default partitioner has it.
pub(super) fn of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// The partition of a batch's records without a key: one for all of them, so that requests are few. It follows from the
/// batch's id alone, so that it is the same when the batch comes again.
pub(super) fn of_batch(id: &str, partitions: u32) -> u32 {
    crc32c(id.as_bytes()) % partitions.max(1)
}

/// MurmurHash2 with the seed of Kafka's clients.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the Java client's own tests.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_partition_is_one_of_those_that_there_are() {
        for partitions in [0, 1, 2, 3, 100] {
            for n in 0..200u32 {
                let most = partitions.max(1);
                assert!(of_key(&n.to_le_bytes(), partitions) < most && of_batch(&n.to_string(), partitions) < most);
            }
        }
    }
}
