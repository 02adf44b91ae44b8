//! The primitive types of Kafka's protocol, in the forms that its messages had before "flexible" versions.

/// What an answer holds that is none of the protocol: it ends too early, or a length makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// So many items of an array have room before they are read: each may take many times the bytes in memory that it has in an answer.
const MOST_AT_ONCE: usize = 1024;

/// Reads an answer from its begin to its end. What it says of itself is believed only as far as there are bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.array::<1>()? != [0])
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text; a null one is `None`.
    pub(super) fn nullable(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            len => {
                let bytes = self.take(usize::try_from(len).map_err(|_| Malformed)?)?;
                std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
            }
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.nullable()?.ok_or(Malformed)
    }

    /// Bytes; null ones are empty.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        match self.i32()? {
            -1 => Ok(&[]),
            len => self.take(usize::try_from(len).map_err(|_| Malformed)?),
        }
    }

    /// An array, whose items `item` reads; a null one is empty.
    pub(super) fn items<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.i32()?.max(0) as usize;
        // Every item has a byte at least: allocate no more than there can be, and not much of it before it is there.
        let mut items = Vec::with_capacity(count.min(self.rest.len()).min(MOST_AT_ONCE));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

/// Writes requests.
pub(super) trait Write {
    fn i8(&mut self, value: i8);
    fn i16(&mut self, value: i16);
    fn i32(&mut self, value: i32);
    fn i64(&mut self, value: i64);
    /// A text of at most 32,767 bytes.
    fn text(&mut self, text: &str);
    fn bytes(&mut self, bytes: &[u8]);
    /// A number in as few bytes as it takes, by zigzag.
    fn varint(&mut self, value: i64);
    /// Overwrites the 32 bits at a place.
    fn set_i32(&mut self, at: usize, value: i32);
}

impl Write for Vec<u8> {
    fn i8(&mut self, value: i8) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn i16(&mut self, value: i16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        debug_assert!(text.len() <= i16::MAX as usize);
        self.i16(text.len() as i16);
        self.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.i32(bytes.len() as i32);
        self.extend_from_slice(bytes);
    }

    fn varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.push(rest as u8);
    }

    fn set_i32(&mut self, at: usize, value: i32) {
        self[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// How many bytes [`Write::varint`] writes.
pub(super) fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (64, &[0x80, 1]),
            (-64, &[127]),
            (300, &[0xd8, 4]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            out.varint(value);
            assert_eq!((&out[..], varint_len(value)), (bytes, bytes.len()), "{value}");
        }
    }

    #[test]
    fn an_answer_that_ends_too_early_or_lies_of_its_lengths_is_malformed() {
        let mut whole = Vec::new();
        whole.i32(2);
        whole.text("ab");
        whole.text("c");
        let read = |bytes: &[u8]| Reader::new(bytes).items(|reader| reader.text().map(str::to_owned));
        assert_eq!(read(&whole).unwrap(), ["ab", "c"]);
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Err(Malformed), "{len}");
        }
        assert_eq!(read(&i32::MAX.to_be_bytes()), Err(Malformed));
        assert_eq!(read(&(-1i32).to_be_bytes()).unwrap(), [""; 0]);
        assert!(Reader::new(&[0xff, 0xfe]).text().is_err() && Reader::new(&[0xff, 0xff]).text().is_err());
        assert_eq!(Reader::new(&[0xff, 0xff]).nullable(), Ok(None));
        assert!(Reader::new(&[0x80, 0, 0, 0]).bytes().is_err());
    }
}
