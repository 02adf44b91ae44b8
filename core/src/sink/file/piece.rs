//! Records on their way into the file, and what tells one record from another.

use super::Framing;
use crate::checksum::{crc32c, crc32c_append};
use crate::record::Record;

/// A record that the file has, or gets: its seq, and what it is.
pub(super) type Entry = (u64, u64);

/// Of records that no buffer holds: their seqs say nothing, so that each is written.
pub(super) const UNKNOWN: u64 = 0;

/// What a record is, as 64 bits: the upper half of whose it is and which, the lower of what is in it. Two records of one seq
/// there are where a buffer was brought back from a copy.
pub(super) fn fingerprint(buffer_id: u64, record: &Record<'_>) -> u64 {
    if buffer_id == 0 {
        return UNKNOWN;
    }
    let mut name = [0; 16];
    name[..8].copy_from_slice(&buffer_id.to_le_bytes());
    name[8..].copy_from_slice(&record.seq.to_le_bytes());
    let (id, key) = (record.own_id.map(str::as_bytes), record.key);
    let mut head = [0; 16];
    head[..8].copy_from_slice(&record.created_at.to_le_bytes());
    // Lengths are below 2^16; one more than the length, so that none is not empty.
    for (part, at) in [(id, 8), (key, 12)] {
        let length = part.map_or(0, |part| part.len() as u32 + 1);
        head[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let mut contents = crc32c(&head);
    for part in [id.unwrap_or_default(), key.unwrap_or_default(), record.data] {
        if !part.is_empty() {
            contents = crc32c_append(contents, part);
        }
    }
    let print = u64::from(crc32c(&name)) << 32 | u64::from(contents);
    print.max(UNKNOWN + 1)
}

/// Records that are written together.
pub(super) struct Piece {
    /// Begins with the end of a line, for where another began one.
    bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

impl Default for Piece {
    fn default() -> Self {
        Piece { bytes: vec![b'\n'], entries: Vec::new() }
    }
}

impl Piece {
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(1);
        self.entries.clear();
    }

    /// How many bytes the records are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - 1
    }

    /// The bytes to write.
    pub(super) fn framed(&self, ends_a_line: bool) -> &[u8] {
        &self.bytes[usize::from(!ends_a_line)..]
    }

    pub(super) fn add(&mut self, framing: Framing, entry: Entry, data: &[u8]) {
        match framing {
            Framing::Lines => {
                self.bytes.extend_from_slice(data);
                self.bytes.push(b'\n');
            }
            Framing::LengthPrefixed => {
                // A record is at most 256 MiB.
                self.bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
                self.bytes.extend_from_slice(data);
            }
        }
        self.entries.push(entry);
    }
}

/// How many records stand whole at the beginning of a piece of which only these bytes are there.
pub(super) fn whole_records(framing: Framing, ends_a_line: bool, bytes: &[u8]) -> usize {
    match framing {
        Framing::Lines => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            lines.saturating_sub(usize::from(ends_a_line))
        }
        Framing::LengthPrefixed => {
            let (mut rest, mut count) = (bytes, 0);
            while let Some((head, behind)) = rest.split_first_chunk()
                && let Some(behind) = behind.get(u32::from_le_bytes(*head) as usize..)
            {
                (rest, count) = (behind, count + 1);
            }
            count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_another_if_anything_in_it_is() {
        let record = Record { seq: 7, created_at: 1, ..Record::nothing(b"data", 9) };
        let others = [
            Record { seq: 8, ..record },
            Record { created_at: 2, ..record },
            Record { key: Some(b""), ..record },
            Record { key: Some(b"k"), ..record },
            Record { own_id: Some(""), ..record },
            Record { own_id: Some("k"), ..record },
            Record { data: b"", ..record },
            Record { data: b"dat", ..record },
            Record { data: b"ata", own_id: Some("d"), ..record },
            Record { data: b"ata", key: Some(b"d"), ..record },
        ];
        let mut prints: Vec<u64> = others.iter().map(|other| fingerprint(9, other)).collect();
        prints.extend([fingerprint(9, &record), fingerprint(10, &record)]);
        assert_eq!(fingerprint(9, &record), fingerprint(9, &record.clone()));
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), others.len() + 2);
        assert_eq!(fingerprint(0, &record), UNKNOWN);
    }

    #[test]
    fn whole_records_of_a_part() {
        let lines = |bytes: &[u8], ends| whole_records(Framing::Lines, ends, bytes);
        assert_eq!(
            [lines(b"", true), lines(b"\n", true), lines(b"\n\na\nb", true), lines(b"a\nb", false)],
            [0, 0, 2, 1]
        );
        let mut piece = Piece::default();
        [b"ab".as_slice(), b"", b"c"].iter().for_each(|data| piece.add(Framing::LengthPrefixed, (1, 1), data));
        let counts =
            (0..=piece.len()).map(|end| whole_records(Framing::LengthPrefixed, false, &piece.framed(false)[..end]));
        assert_eq!(counts.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
    }
}
