//! The frame around a record, independent of files: `length u32 | check u32 | payload | zeros up to a multiple of 8`.
//! The check is the payload's CRC-32 mixed with boot, position and length, so a frame is valid in one place only.
use crate::BootId;

/// Length and check. Little-endian on every machine.
pub(crate) const HEAD: u64 = 8;
/// Frames begin at multiples of this, so a head never straddles a page and a rest too small for a head cannot occur.
pub(crate) const ALIGN: u64 = 8;
/// In place of a length: no more records in this segment.
const END: u32 = u32::MAX;

/// Bytes that a record of `len` occupies in the stream.
pub(crate) const fn framed(len: u64) -> u64 {
    (HEAD + len).next_multiple_of(ALIGN)
}

/// Ties frames to their stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u64);

impl Salt {
    pub(crate) fn of(boot: BootId) -> Salt {
        let number = u128::from_be_bytes(*boot.as_bytes());
        Salt((number >> 64) as u64 ^ number as u64)
    }

    /// SplitMix64's finalizer (Steele, Lea, Flood 2014), folded: any change of place or length changes half of the bits.
    fn mix(self, position: u64, len: u32) -> u32 {
        let mut z = (position ^ self.0).wrapping_add(u64::from(len).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32
    }

    /// The head of a record. `crc` is [`crc`] of its payload. The caller computes it before it takes the lock, under
    /// which alone the position is known.
    pub(crate) fn head(self, position: u64, len: u32, crc: u32) -> [u8; 8] {
        let check = crc ^ self.mix(position, len);
        (u64::from(len) | u64::from(check) << 32).to_le_bytes()
    }

    /// The head that ends a segment.
    pub(crate) fn end_head(self, position: u64) -> [u8; 8] {
        self.head(position, END, 0)
    }

    /// Whether `payload` was written at `position`.
    pub(crate) fn accepts(self, position: u64, check: u32, payload: &[u8]) -> bool {
        u32::try_from(payload.len()).is_ok_and(|len| crc(payload) ^ self.mix(position, len) == check)
    }

    /// Reads the head at `position`, without its payload.
    pub(crate) fn read_head(self, position: u64, head: [u8; 8], max_record: u32) -> Head {
        let word = u64::from_le_bytes(head);
        let (len, check) = (word as u32, (word >> 32) as u32);
        match len {
            END if check == self.mix(position, END) => Head::End,
            1.. if len <= max_record => Head::Record { len, check },
            _ => Head::Invalid,
        }
    }
}

/// The content of a head. A record's payload must still be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Record { len: u32, check: u32 },
    End,
    Invalid,
}

pub(crate) fn crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(7);

    fn check_of(head: [u8; 8]) -> u32 {
        match SALT.read_head(64, head, 100) {
            Head::Record { check, .. } => check,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_frame_is_valid_in_its_place_only() {
        let check = check_of(SALT.head(64, 5, crc(b"hello")));
        assert!(SALT.accepts(64, check, b"hello"));
        assert!(!SALT.accepts(72, check, b"hello"));
        assert!(!SALT.accepts(64, check, b"hallo"));
        assert!(!SALT.accepts(64, check, b"hello\0"));
        assert!(!Salt(8).accepts(64, check, b"hello"));
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(SALT.read_head(0, [0; 8], 100), Head::Invalid);
        assert_eq!(SALT.read_head(8, SALT.end_head(8), 100), Head::End);
        assert_eq!(SALT.read_head(16, SALT.end_head(8), 100), Head::Invalid);
    }

    #[test]
    fn a_frame_fills_whole_words() {
        assert_eq!([framed(1), framed(8), framed(9)], [16, 16, 24]);
    }
}
